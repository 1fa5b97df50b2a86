#include "kinds/cell.h"
#include "kinds/rows.h"

static void cells(struct kind_ctx *c, const struct json *doc, struct json *row)
{
    const struct json *spec = json_get(doc, STR("spec"));
    struct str dangling = STR("?");
    json_for (json_path(doc, "status", "conditions", NULL), x)
        if (str_eqz(json_get_str(x, "type"), "Dangling"))
            dangling = json_get_str(x, "status");
    cell_add_str(c, row, json_str_at(doc, "metadata", "name", NULL));
    cell_add_str(c, row, json_str_at(spec, "priorityLevelConfiguration", "name", NULL));
    cell_add_int(c, row, json_get_int(spec, "matchingPrecedence", 0));
    cell_add_or(c, row, json_str_at(spec, "distinguisherMethod", "type", NULL), "<none>");
    cell_add_age(c, row, json_str_at(doc, "metadata", "creationTimestamp", NULL));
    cell_add_str(c, row, dangling);
}

const struct kind_hooks kind_flow_schema = {KIND("flowcontrol.apiserver.k8s.io", "FlowSchema"), .cells = cells};
