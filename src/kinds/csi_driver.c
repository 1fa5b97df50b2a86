#include "kinds/cell.h"
#include "kinds/rows.h"

static void add_bool(struct kind_ctx *c, struct json *row, const struct json *spec, const char *name, bool absent)
{
    json_append(row, json_bool(c->pool, json_get_bool(spec, name, absent)));
}

static void cells(struct kind_ctx *c, const struct json *doc, struct json *row)
{
    const struct json *spec = json_get(doc, STR("spec")), *tokens = json_get(spec, STR("tokenRequests"));
    cell_add_str(c, row, json_str_at(doc, "metadata", "name", NULL));
    add_bool(c, row, spec, "attachRequired", true);
    add_bool(c, row, spec, "podInfoOnMount", false);
    add_bool(c, row, spec, "storageCapacity", false);
    cell_add_str(c, row, tokens ? cell_member_join(c->pool, tokens, "audience", ",") : STR("<unset>"));
    add_bool(c, row, spec, "requiresRepublish", false);
    cell_add_or(c, row, cell_join(c->pool, json_get(spec, STR("volumeLifecycleModes")), ","), "<none>");
    cell_add_age(c, row, json_str_at(doc, "metadata", "creationTimestamp", NULL));
}

const struct kind_hooks kind_csi_driver = {KIND("storage.k8s.io", "CSIDriver"), .cells = cells};
