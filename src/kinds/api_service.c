#include "kinds/cell.h"
#include "kinds/rows.h"
#include "schema/ferr.h"

static void validate(struct kind_ctx *c, const struct json *doc, const struct json *old, struct err **e)
{
    struct fpath meta = FPATH(NULL, "metadata"), at = FPATH(&meta, "name");
    struct str name = json_str_at(doc, "metadata", "name", NULL);
    struct str want = pool_printf(
        c->pool, "%.*s.%.*s", STR_ARG(json_str_at(doc, "spec", "version", NULL)), STR_ARG(json_str_at(doc, "spec", "group", NULL)));
    (void)old;
    if (!str_eq(name, want))
        ferr_invalid_str(e, &at, name, pool_printf(c->pool, "must be `spec.version+\".\"+spec.group`: \"%.*s\"", STR_ARG(want)).p);
}

static void cells(struct kind_ctx *c, const struct json *doc, struct json *row)
{
    const struct json *service = json_path(doc, "spec", "service", NULL);
    struct str available = STR("Unknown");
    json_for (json_path(doc, "status", "conditions", NULL), x) {
        struct str status = json_get_str(x, "status"), reason = json_get_str(x, "reason");
        if (!str_eqz(json_get_str(x, "type"), "Available"))
            continue;
        available = str_eqz(status, "True") ? status : pool_printf(c->pool, "%.*s (%.*s)", STR_ARG(status), STR_ARG(reason));
    }
    cell_add_str(c, row, json_str_at(doc, "metadata", "name", NULL));
    cell_add_str(c, row,
        service && service->type == JSON_OBJ
            ? pool_printf(c->pool, "%.*s/%.*s", STR_ARG(json_get_str(service, "namespace")), STR_ARG(json_get_str(service, "name")))
            : STR("Local"));
    cell_add_str(c, row, available);
    cell_add_age(c, row, json_str_at(doc, "metadata", "creationTimestamp", NULL));
}

const struct kind_hooks kind_api_service = {KIND("apiregistration.k8s.io", "APIService"), .validate = validate, .cells = cells};
