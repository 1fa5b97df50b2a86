#include "kinds/custom.h"

#include <stdio.h>

#include "kinds/cell.h"
#include "kinds/jsonpath.h"

enum { VALUES_MAX = 64 };

static void text_cell(struct kind_ctx *c, const struct json *const *v, size_t n, struct json *cells)
{
    struct buf b = BUF_INIT;
    for (size_t i = 0; i < n; i++) {
        if (i)
            buf_putc(&b, ' ');
        if (v[i]->type == JSON_STR)
            buf_str_add(&b, json_as_str(v[i]));
        else if (v[i]->type != JSON_NULL)
            json_write(&b, v[i]);
    }
    cell_add_str(c, cells, buf_to_pool(&b, c->pool));
}

static void add(struct kind_ctx *c, const struct schema_column *col, const struct json *doc, struct json *cells)
{
    const struct json *v[VALUES_MAX];
    size_t n = jsonpath_find(doc, col->path, v, VALUES_MAX);
    struct json *cell = NULL;
    if (n && v[0]->type == JSON_NULL)
        n = 0;
    if (!n) {
        json_append(cells, json_null(c->pool));
        return;
    }
    if (str_eqz(col->type, "string")) {
        text_cell(c, v, n, cells);
        return;
    }
    if (str_eqz(col->type, "integer") && v[0]->type == JSON_INT)
        cell = json_int(c->pool, v[0]->i);
    else if (str_eqz(col->type, "integer") && v[0]->type == JSON_DOUBLE)
        cell = json_int(c->pool, (int64_t)v[0]->d);
    else if (str_eqz(col->type, "number") && (v[0]->type == JSON_DOUBLE || v[0]->type == JSON_INT))
        cell = json_clone(c->pool, v[0]);
    else if (str_eqz(col->type, "boolean") && v[0]->type == JSON_BOOL)
        cell = json_bool(c->pool, v[0]->b);
    else if (str_eqz(col->type, "date") && v[0]->type == JSON_STR)
        cell = json_str(c->pool, cell_since(c, json_as_str(v[0])));
    if (cell) /* keys of clones stay behind */
        cell->keyp = NULL, cell->keyn = 0;
    json_append(cells, cell ? cell : json_null(c->pool));
}

void custom_cells(struct kind_ctx *c, const struct json *doc, struct json *cells)
{
    for (uint8_t i = 0; i < c->res->ncolumns; i++)
        add(c, &c->res->columns[i], doc, cells);
}

struct str custom_field(const struct json *doc, struct str path)
{
    static _Thread_local char numbers[8][24]; /* the caller compares at once */
    static _Thread_local unsigned turn;
    char dotted[512];
    int n = snprintf(dotted, sizeof dotted, ".%.*s", STR_ARG(path));
    const struct json *v = n > 0 && (size_t)n < sizeof dotted ? jsonpath_first(doc, str_make(dotted, (size_t)n)) : NULL;
    if (json_is(v, JSON_STR))
        return json_as_str(v);
    if (json_is(v, JSON_BOOL))
        return v->b ? STR("true") : STR("false");
    if (!json_is(v, JSON_INT))
        return STR("");
    char *at = numbers[turn++ % ARRAY_LEN(numbers)];
    n = snprintf(at, sizeof numbers[0], "%" PRId64, v->i);
    return str_make(at, (size_t)n);
}
