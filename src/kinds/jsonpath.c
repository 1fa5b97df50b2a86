#include "kinds/jsonpath.h"

#include <stdlib.h>

enum { DEPTH_MAX = 32, STEPS_MAX = 20000 };
struct walk {
    const struct json **out;
    size_t n, max, steps;
    int depth;
    bool bad;
};

static void follow(struct walk *w, const struct json *v, struct str path);

static void each(struct walk *w, const struct json *v, struct str rest)
{
    json_for (v, x)
        follow(w, x, rest);
}

/* Everything below v, v too, that has the member. */
static void deep(struct walk *w, const struct json *v, struct str name, struct str rest)
{
    if (++w->steps > STEPS_MAX || w->depth >= DEPTH_MAX)
        return;
    w->depth++;
    if (str_eqz(name, "*"))
        each(w, v, rest);
    else if (v->type == JSON_OBJ && json_get(v, name))
        follow(w, json_get(v, name), rest);
    json_for (v, x)
        if (x->type == JSON_OBJ || x->type == JSON_ARR)
            deep(w, x, name, rest);
    w->depth--;
}

static size_t name_end(struct str path, size_t from)
{
    size_t i = from;
    for (; i < path.n && path.p[i] != '.' && path.p[i] != '['; i++)
        if (path.p[i] == '\\')
            i++;
    return MIN(i, path.n);
}

/* A name without its backslashes, in buf when there are any. */
static struct str unescape(struct str s, char *buf, size_t size)
{
    size_t n = 0;
    if (str_chr(s, '\\') < 0)
        return s;
    for (size_t i = 0; i < s.n && n < size; i++) {
        if (s.p[i] == '\\' && i + 1 < s.n)
            i++;
        buf[n++] = s.p[i];
    }
    return str_make(buf, n);
}

/* The closing bracket of path[from] == '[', quotes and nested brackets observed; path.n: none. */
static size_t closing(struct str path, size_t from)
{
    char quote = 0;
    int depth = 0;
    for (size_t i = from; i < path.n; i++) {
        char c = path.p[i];
        if (quote) {
            if (c == '\\')
                i++;
            else if (c == quote)
                quote = 0;
        } else if (c == '\'' || c == '"') {
            quote = c;
        } else if (c == '[') {
            depth++;
        } else if (c == ']' && --depth == 0) {
            return i;
        }
    }
    return path.n;
}

/* ---- filters ---- */

struct operand {
    const struct json *value;
    struct json literal;
};

static bool operand_read(const struct json *at, struct str s, struct operand *o)
{
    int64_t i;
    double d;
    s = str_trim(s);
    *o = (struct operand){0};
    if (s.n >= 2 && (s.p[0] == '"' || s.p[0] == '\'') && s.p[s.n - 1] == s.p[0]) {
        o->literal = (struct json){.type = JSON_STR, .sp = s.p + 1, .n = (uint32_t)(s.n - 2)};
    } else if (s.n && s.p[0] == '@') {
        o->value = s.n == 1 ? at : jsonpath_first(at, str_sub(s, 1, s.n));
        return true;
    } else if (str_eqz(s, "true") || str_eqz(s, "false")) {
        o->literal = (struct json){.type = JSON_BOOL, .b = s.p[0] == 't'};
    } else if (str_to_i64(s, &i)) {
        o->literal = (struct json){.type = JSON_INT, .i = i};
    } else if (str_to_double(s, &d)) {
        o->literal = (struct json){.type = JSON_DOUBLE, .d = d};
    } else {
        return false;
    }
    o->value = &o->literal;
    return true;
}

static bool compare(const struct json *a, const struct json *b, int *out)
{
    bool an = json_is(a, JSON_INT) || json_is(a, JSON_DOUBLE), bn = json_is(b, JSON_INT) || json_is(b, JSON_DOUBLE);
    if (an && bn) {
        double x = a->type == JSON_INT ? (double)a->i : a->d, y = b->type == JSON_INT ? (double)b->i : b->d;
        *out = x < y ? -1 : x > y;
        return true;
    }
    if (json_is(a, JSON_STR) && json_is(b, JSON_STR)) {
        *out = str_cmp(json_as_str(a), json_as_str(b));
        return true;
    }
    *out = !(json_is(a, JSON_BOOL) && json_is(b, JSON_BOOL) && a->b == b->b);
    return json_is(a, JSON_BOOL) && json_is(b, JSON_BOOL);
}

/* "@.type=="Ready"" */
static bool holds(const struct json *at, struct str filter)
{
    static const char *const ops[] = {"==", "!=", "<=", ">=", "<", ">"};
    struct operand a, b;
    int c;
    char quote = 0;
    for (size_t i = 0; i < filter.n; i++) {
        char ch = filter.p[i];
        if (quote) {
            quote = ch == quote ? 0 : quote;
            continue;
        }
        if (ch == '"' || ch == '\'')
            quote = ch;
        for (size_t k = 0; k < ARRAY_LEN(ops) && !quote; k++) {
            struct str op = str_of(ops[k]);
            if (!str_starts(str_sub(filter, i, filter.n), op))
                continue;
            if (!operand_read(at, str_sub(filter, 0, i), &a) || !operand_read(at, str_sub(filter, i + op.n, filter.n), &b) || !a.value ||
                !b.value || !compare(a.value, b.value, &c))
                return false;
            return k == 0 ? c == 0 : k == 1 ? c != 0 : k == 2 ? c <= 0 : k == 3 ? c >= 0 : k == 4 ? c < 0 : c > 0;
        }
    }
    return operand_read(at, filter, &a) && a.value;
}

/* ---- brackets ---- */

static void slice(struct walk *w, const struct json *v, struct str inner, struct str rest)
{
    struct str from = inner, to = STR_NULL;
    int64_t a = 0, b = (int64_t)json_count(v), i = 0, n = b;
    bool range = str_cut(inner, ':', &from, &to);
    if (!json_is(v, JSON_ARR))
        return;
    if (from.n && !str_to_i64(from, &a)) {
        w->bad = true;
        return;
    }
    a = a < 0 ? a + n : a;
    if (range && to.n && !str_to_i64(to, &b)) {
        w->bad = true;
        return;
    }
    b = range ? (b < 0 ? b + n : b) : a + 1;
    json_for (v, x) {
        if (i >= a && i < b)
            follow(w, x, rest);
        i++;
    }
}

static void bracket(struct walk *w, const struct json *v, struct str path)
{
    size_t end = closing(path, 0);
    struct str inner = str_trim(str_sub(path, 1, end)), rest = str_sub(path, end + 1, path.n);
    char name[256];
    if (end == path.n) {
        w->bad = true;
    } else if (str_eqz(inner, "*")) {
        each(w, v, rest);
    } else if (str_starts(inner, STR("?(")) && str_ends(inner, STR(")"))) {
        json_for (v, x)
            if (holds(x, str_sub(inner, 2, inner.n - 1)))
                follow(w, x, rest);
    } else if (inner.n >= 2 && (inner.p[0] == '\'' || inner.p[0] == '"') && inner.p[inner.n - 1] == inner.p[0]) {
        const struct json *x = json_get(v, unescape(str_sub(inner, 1, inner.n - 1), name, sizeof name));
        if (x)
            follow(w, x, rest);
    } else {
        slice(w, v, inner, rest);
    }
}

static void follow(struct walk *w, const struct json *v, struct str path)
{
    char buf[256];
    if (w->bad || w->n >= w->max || ++w->steps > STEPS_MAX || w->depth >= DEPTH_MAX)
        return;
    if (path.n == 0) {
        w->out[w->n++] = v;
        return;
    }
    w->depth++;
    bool recursive = str_starts(path, STR(".."));
    if (path.p[0] == '[') {
        bracket(w, v, path);
    } else if (path.p[0] == '.') {
        size_t from = recursive ? 2 : 1, end = name_end(path, from);
        struct str name = unescape(str_sub(path, from, end), buf, sizeof buf), rest = str_sub(path, end, path.n);
        if (recursive)
            deep(w, v, name, rest);
        else if (end == from && rest.n) /* ".['a']" */
            follow(w, v, rest);
        else if (str_eqz(name, "*"))
            each(w, v, rest);
        else if (json_get(v, name))
            follow(w, json_get(v, name), rest);
    } else {
        w->bad = true;
    }
    w->depth--;
}

size_t jsonpath_find(const struct json *doc, struct str path, const struct json **out, size_t max)
{
    struct walk w = {.out = out, .max = max};
    path = str_trim(path);
    if (path.n >= 2 && path.p[0] == '{' && path.p[path.n - 1] == '}')
        path = str_sub(path, 1, path.n - 1);
    if (path.n && path.p[0] == '$')
        path = str_sub(path, 1, path.n);
    if (doc)
        follow(&w, doc, path);
    return w.bad ? 0 : w.n;
}

const struct json *jsonpath_first(const struct json *doc, struct str path)
{
    const struct json *one = NULL;
    return jsonpath_find(doc, path, &one, 1) ? one : NULL;
}

bool jsonpath_valid(struct str path)
{
    size_t i = 0;
    if (!path.n || (path.p[0] != '.' && path.p[0] != '['))
        return false;
    while (i < path.n) {
        if (path.p[i] == '[') {
            size_t end = closing(path, i);
            if (end == path.n || end == i + 1)
                return false;
            i = end + 1;
        } else if (path.p[i] == '.') {
            size_t from = i + 1 + (i + 1 < path.n && path.p[i + 1] == '.'), end = name_end(path, from);
            if (end == from && (from >= path.n || path.p[from] != '['))
                return false;
            i = end;
        } else {
            return false;
        }
    }
    return true;
}

/* The next member name of a simple path. */
static bool next_name(struct str *path, char *buf, size_t size, struct str *name)
{
    size_t end;
    if (path->n && path->p[0] == '.') {
        end = name_end(*path, 1);
        *name = unescape(str_sub(*path, 1, end), buf, size);
    } else if (str_starts(*path, STR("['"))) {
        end = closing(*path, 0);
        if (end >= path->n || path->p[end - 1] != '\'')
            return false;
        *name = unescape(str_sub(*path, 2, end - 1), buf, size);
        end++;
    } else {
        return false;
    }
    *path = str_sub(*path, end, path->n);
    return name->n > 0 && !str_eqz(*name, "*");
}

bool jsonpath_simple(struct str path)
{
    char buf[256];
    struct str name;
    if (!path.n)
        return false;
    while (path.n)
        if (!next_name(&path, buf, sizeof buf, &name))
            return false;
    return true;
}

bool jsonpath_set(struct pool *p, struct json *doc, struct str path, struct json *value)
{
    char buf[256];
    struct str name;
    if (!jsonpath_simple(path))
        return false;
    while (next_name(&path, buf, sizeof buf, &name)) {
        if (!json_is(doc, JSON_OBJ))
            return false;
        if (!path.n) {
            json_set(p, doc, name, value);
            return true;
        }
        struct json *next = json_get(doc, name);
        if (next && next->type != JSON_OBJ)
            return false;
        doc = next ? next : json_put_obj(p, doc, name);
    }
    return false;
}
