#include "kinds/cell.h"
#include "kinds/rows.h"

static void cells(struct kind_ctx *c, const struct json *doc, struct json *row)
{
    bool deleted = json_str_at(doc, "metadata", "deletionTimestamp", NULL).n > 0,
         allocated = json_is(json_path(doc, "status", "allocation", NULL), JSON_OBJ);
    bool reserved = json_count(json_path(doc, "status", "reservedFor", NULL)) > 0;
    cell_add_str(c, row, json_str_at(doc, "metadata", "name", NULL));
    cell_add_str(c, row,
        pool_printf(c->pool, "%s%s%s",
            deleted     ? "deleted"
            : allocated ? ""
                        : "pending",
            allocated ? (deleted ? ",allocated" : "allocated") : "", allocated && reserved ? ",reserved" : ""));
    cell_add_age(c, row, json_str_at(doc, "metadata", "creationTimestamp", NULL));
}

const struct kind_hooks kind_resource_claim = {KIND("resource.k8s.io", "ResourceClaim"), .cells = cells};
