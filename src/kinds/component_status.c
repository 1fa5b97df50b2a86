#include "kinds/cell.h"
#include "kinds/rows.h"

static void cells(struct kind_ctx *c, const struct json *doc, struct json *row)
{
    const char *status = "Unknown";
    struct str message = STR_NULL, error = STR_NULL;
    json_for (json_get(doc, STR("conditions")), x) {
        if (!str_eqz(json_get_str(x, "type"), "Healthy"))
            continue;
        status = str_eqz(json_get_str(x, "status"), "True") ? "Healthy" : "Unhealthy";
        message = json_get_str(x, "message");
        error = json_get_str(x, "error");
        break;
    }
    cell_add_str(c, row, json_str_at(doc, "metadata", "name", NULL));
    cell_add_z(c, row, status);
    cell_add_str(c, row, message);
    cell_add_str(c, row, error);
}

const struct kind_hooks kind_component_status = {KIND("", "ComponentStatus"), .cells = cells};
