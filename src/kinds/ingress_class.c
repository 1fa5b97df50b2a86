#include "kinds/cell.h"
#include "kinds/rows.h"

static void cells(struct kind_ctx *c, const struct json *doc, struct json *row)
{
    const struct json *p = json_path(doc, "spec", "parameters", NULL), *ann = json_path(doc, "metadata", "annotations", NULL);
    struct str group = json_get_str(p, "apiGroup"), name = json_str_at(doc, "metadata", "name", NULL);
    bool is_default = str_eqz(json_get_str(ann, "ingressclass.kubernetes.io/is-default-class"), "true");
    cell_add_str(c, row, is_default ? pool_printf(c->pool, "%.*s (default)", STR_ARG(name)) : name);
    cell_add_str(c, row, json_str_at(doc, "spec", "controller", NULL));
    if (p)
        cell_add_str(c, row,
            pool_printf(c->pool, "%.*s%s%.*s/%.*s", STR_ARG(json_get_str(p, "kind")), group.n ? "." : "", STR_ARG(group),
                STR_ARG(json_get_str(p, "name"))));
    else
        cell_add_z(c, row, "<none>");
    cell_add_age(c, row, json_str_at(doc, "metadata", "creationTimestamp", NULL));
}

const struct kind_hooks kind_ingress_class = {KIND("networking.k8s.io", "IngressClass"), .cells = cells};
