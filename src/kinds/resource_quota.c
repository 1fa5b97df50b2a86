#include "kinds/cell.h"
#include "kinds/rows.h"

static void cells(struct kind_ctx *c, const struct json *doc, struct json *row)
{
    struct buf requests = BUF_INIT, limits = BUF_INIT;
    const struct json *used = json_path(doc, "status", "used", NULL);
    json_for (json_path(doc, "status", "hard", NULL), h) { /* stored in order of names */
        struct buf *b = str_starts(json_key(h), STR("limits.")) ? &limits : &requests;
        struct str u = json_as_str(json_get(used, json_key(h)));
        buf_printf(b, "%s%.*s: %.*s/%.*s", b->n ? ", " : "", STR_ARG(json_key(h)), STR_ARG(u.n ? u : STR("0")), STR_ARG(json_as_str(h)));
    }
    cell_add_str(c, row, json_str_at(doc, "metadata", "name", NULL));
    cell_add_str(c, row, buf_to_pool(&requests, c->pool));
    cell_add_str(c, row, buf_to_pool(&limits, c->pool));
    cell_add_age(c, row, json_str_at(doc, "metadata", "creationTimestamp", NULL));
}

const struct kind_hooks kind_resource_quota = {KIND("", "ResourceQuota"), .cells = cells};
