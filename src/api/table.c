#include "api/call.h"

/* meta.k8s.io/v1 Table: what kubectl get asks for. Cells come from kind_cells, one per column. */

enum include_object table_include(struct call *c)
{
    struct str v = call_query(c, "includeObject");
    return str_eqz(v, "Object") ? INCLUDE_OBJECT : str_eqz(v, "None") ? INCLUDE_NONE : INCLUDE_METADATA;
}

static void column_write(struct buf *out, const struct schema_column *k)
{
    buf_puts(out, "{\"name\":");
    json_write_str(out, k->name);
    buf_puts(out, ",\"type\":");
    json_write_str(out, k->type);
    buf_puts(out, ",\"format\":");
    json_write_str(out, k->format.p ? k->format : STR(""));
    buf_puts(out, ",\"description\":");
    json_write_str(out, k->doc.p ? k->doc : STR(""));
    buf_printf(out, ",\"priority\":%d}", k->priority);
}

/* Everything up to the rows: `{"kind":"Table",...,"rows":[`. Columns are left out of all but the first frame of a watch. */
void table_begin(struct call *c, struct buf *out, struct str rv, struct str cont, int64_t remaining, bool columns)
{
    static const struct schema_column plain[] = {
        {STR("Name"), STR("string"), STR("name"), STR_NULL, STR("Name must be unique within a namespace."), 0},
        {STR("Created At"), STR("date"), STR(""), STR_NULL, STR("When the object was made."), 0}};
    buf_puts(out, "{\"kind\":\"Table\",\"apiVersion\":\"meta.k8s.io/v1\",\"metadata\":{");
    const char *comma = "";
    if (!str_empty(rv)) {
        buf_puts(out, "\"resourceVersion\":");
        json_write_str(out, rv);
        comma = ",";
    }
    if (!str_empty(cont)) {
        buf_printf(out, "%s\"continue\":", comma);
        json_write_str(out, cont);
        comma = ",";
    }
    if (remaining > 0)
        buf_printf(out, "%s\"remainingItemCount\":%" PRId64, comma, remaining);
    buf_puts(out, "},\"columnDefinitions\":[");
    const struct schema_column *k = c->res->ncolumns ? c->res->columns : plain;
    size_t n = c->res->ncolumns ? c->res->ncolumns : ARRAY_LEN(plain);
    for (size_t i = 0; columns && i < n; i++) {
        if (i)
            buf_putc(out, ',');
        column_write(out, &k[i]);
    }
    buf_puts(out, "],\"rows\":[");
}

void table_row(struct call *c, struct buf *out, struct json *doc, enum include_object inc)
{
    struct kind_ctx k = {c->pool, c->res, STR(""), clock_now(api_clock(c->api))};
    struct json *cells = json_arr(c->pool);
    if (c->res->ncolumns) {
        kind_cells(&k, doc, cells);
    } else {
        json_append(cells, json_str_view(c->pool, json_str_at(doc, "metadata", "name", NULL)));
        json_append(cells, json_str_view(c->pool, json_str_at(doc, "metadata", "creationTimestamp", NULL)));
    }
    buf_puts(out, "{\"cells\":");
    json_write(out, cells);
    if (inc == INCLUDE_METADATA) {
        buf_puts(out, ",\"object\":");
        json_write(out, encode_partial(c->pool, doc));
    } else if (inc == INCLUDE_OBJECT) {
        buf_puts(out, ",\"object\":");
        json_write(out, doc);
    }
    buf_putc(out, '}');
}
