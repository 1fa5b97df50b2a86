#include "kinds/cell.h"

#include <stdlib.h>

#include "base/clock.h"
#include "schema/selector.h"

struct str cell_duration(struct pool *p, int64_t ns)
{
    int64_t s = ns / NS_PER_S, m = s / 60, h = m / 60, d = h / 24;
    if (s < -1)
        return STR("<invalid>");
    if (s < 0)
        return STR("0s");
    if (s < 120)
        return pool_printf(p, "%" PRId64 "s", s);
    if (m < 10)
        return s % 60 ? pool_printf(p, "%" PRId64 "m%" PRId64 "s", m, s % 60) : pool_printf(p, "%" PRId64 "m", m);
    if (m < 180)
        return pool_printf(p, "%" PRId64 "m", m);
    if (h < 8)
        return m % 60 ? pool_printf(p, "%" PRId64 "h%" PRId64 "m", h, m % 60) : pool_printf(p, "%" PRId64 "h", h);
    if (h < 48)
        return pool_printf(p, "%" PRId64 "h", h);
    if (d < 8)
        return h % 24 ? pool_printf(p, "%" PRId64 "d%" PRId64 "h", d, h % 24) : pool_printf(p, "%" PRId64 "d", d);
    if (d < 365 * 2)
        return pool_printf(p, "%" PRId64 "d", d);
    if (d < 365 * 8)
        return d % 365 ? pool_printf(p, "%" PRId64 "y%" PRId64 "d", d / 365, d % 365) : pool_printf(p, "%" PRId64 "y", d / 365);
    return pool_printf(p, "%" PRId64 "y", d / 365);
}

int64_t cell_between(int64_t from, int64_t to)
{
    int64_t d;
    return __builtin_sub_overflow(to, from, &d) ? to > from ? INT64_MAX : INT64_MIN : d;
}

struct str cell_since(struct kind_ctx *c, struct str time)
{
    int64_t at;
    return time_parse(time, &at) ? cell_duration(c->pool, cell_between(at, c->now)) : STR("<unknown>");
}

void cell_add_str(struct kind_ctx *c, struct json *cells, struct str s)
{
    json_append(cells, json_str_view(c->pool, s.p ? s : STR("")));
}
void cell_add_z(struct kind_ctx *c, struct json *cells, const char *z)
{
    cell_add_str(c, cells, str_of(z));
}
void cell_add_int(struct kind_ctx *c, struct json *cells, int64_t v)
{
    json_append(cells, json_int(c->pool, v));
}
void cell_add_age(struct kind_ctx *c, struct json *cells, struct str time)
{
    cell_add_str(c, cells, cell_since(c, time));
}
void cell_add_or(struct kind_ctx *c, struct json *cells, struct str s, const char *otherwise)
{
    cell_add_str(c, cells, s.n ? s : str_of(otherwise));
}

static int cmp_key(const void *a, const void *b)
{
    return str_cmp(json_key(*(struct json *const *)a), json_key(*(struct json *const *)b));
}

struct str cell_labels(struct pool *p, const struct json *map)
{
    if (!json_count(map))
        return STR("<none>");
    struct json **all = pool_array(p, struct json *, map->n);
    size_t n = 0;
    json_for (map, m)
        all[n++] = m;
    qsort(all, n, sizeof(*all), cmp_key);
    struct buf b = BUF_INIT;
    for (size_t i = 0; i < n; i++)
        buf_printf(&b, "%s%.*s=%.*s", i ? "," : "", STR_ARG(json_key(all[i])), STR_ARG(json_as_str(all[i])));
    return buf_to_pool(&b, p);
}

struct str cell_selector(struct pool *p, const struct json *selector)
{
    struct selector s;
    if (!selector || selector->type == JSON_NULL)
        return STR("<none>");
    if (selector_from_json(p, selector, &s, NULL) < 0)
        return STR("<error>");
    struct str text = selector_text(p, &s);
    return text.n ? text : STR("<none>");
}

struct str cell_member_join(struct pool *p, const struct json *arr, const char *member, const char *sep)
{
    struct buf b = BUF_INIT;
    bool first = true;
    json_for (arr, x) {
        if (!first)
            buf_puts(&b, sep);
        first = false;
        buf_str_add(&b, member ? json_get_str(x, member) : json_as_str(x));
    }
    return buf_to_pool(&b, p);
}

struct str cell_join(struct pool *p, const struct json *arr, const char *sep)
{
    return cell_member_join(p, arr, NULL, sep);
}

const struct json *cell_path(const struct json *doc, struct str path)
{
    while (doc && path.n) {
        size_t end = 1;
        struct str name;
        if (str_starts(path, STR("['"))) {
            ssize_t close = str_find(path, STR("']"));
            if (close < 0)
                return NULL;
            name = str_sub(path, 2, (size_t)close);
            end = (size_t)close + 2;
        } else if (path.p[0] == '.') {
            while (end < path.n && path.p[end] != '.' && path.p[end] != '[')
                end++;
            name = str_sub(path, 1, end);
        } else {
            return NULL;
        }
        doc = json_get(doc, name);
        path = str_sub(path, end, path.n);
    }
    return doc && doc->type != JSON_NULL ? doc : NULL;
}

static void add_plain(struct kind_ctx *c, const struct schema_column *col, const struct json *v, struct str otherwise, struct json *cells)
{
    if (v && v->type != JSON_OBJ && v->type != JSON_ARR)
        json_append(cells, json_clone(c->pool, v));
    else if (otherwise.p)
        cell_add_str(c, cells, otherwise);
    else if (str_eqz(col->type, "integer"))
        cell_add_int(c, cells, 0);
    else if (str_eqz(col->type, "boolean"))
        json_append(cells, json_bool(c->pool, false));
    else
        cell_add_str(c, cells, STR(""));
}

static int64_t int_at(const struct json *doc, struct str path)
{
    return json_as_int(cell_path(doc, path), 0);
}

static void add_count(struct kind_ctx *c, const struct json *doc, struct str paths, struct json *cells)
{
    int64_t n = 0;
    struct str one;
    while (str_split(&paths, '+', &one))
        n += (int64_t)json_count(cell_path(doc, one));
    cell_add_int(c, cells, n);
}

static void add_cell(struct kind_ctx *c, const struct schema_column *col, const struct json *doc, struct json *cells)
{
    struct str how = STR(""), path = col->path, otherwise = STR_NULL, a, b;
    if (path.n && path.p[0] != '.' && path.p[0] != '[')
        str_cut(path, ':', &how, &path);
    if (str_cut(path, '|', &a, &b)) {
        path = a;
        otherwise = b;
    }
    if (str_eqz(how, "count")) {
        add_count(c, doc, path, cells);
        return;
    }
    if (str_eqz(how, "frac") && str_cut(path, '/', &a, &b)) {
        cell_add_str(c, cells, pool_printf(c->pool, "%" PRId64 "/%" PRId64, int_at(doc, a), int_at(doc, b)));
        return;
    }
    const struct json *v = cell_path(doc, path);
    if (!how.n)
        add_plain(c, col, v, otherwise, cells);
    else if (!v && otherwise.p)
        cell_add_str(c, cells, otherwise);
    else if (str_eqz(how, "age"))
        cell_add_age(c, cells, json_as_str(v));
    else if (str_eqz(how, "int"))
        cell_add_int(c, cells, json_as_int(v, 0));
    else if (str_eqz(how, "bool"))
        cell_add_z(c, cells, !v ? "<unset>" : json_as_bool(v, false) ? "True" : "False");
    else if (str_eqz(how, "join"))
        cell_add_str(c, cells, cell_join(c->pool, v, ","));
    else if (str_eqz(how, "labels"))
        cell_add_str(c, cells, cell_labels(c->pool, v));
    else if (str_eqz(how, "selector"))
        cell_add_str(c, cells, cell_selector(c->pool, v));
    else if (str_eqz(how, "names") || str_eqz(how, "images"))
        cell_add_str(c, cells, cell_member_join(c->pool, json_get(v, STR("containers")), str_eqz(how, "names") ? "name" : "image", ","));
    else
        cell_add_str(c, cells, STR(""));
}

void cells_by_path(struct kind_ctx *c, const struct json *doc, struct json *cells)
{
    for (uint8_t i = 0; i < c->res->ncolumns; i++)
        add_cell(c, &c->res->columns[i], doc, cells);
}
