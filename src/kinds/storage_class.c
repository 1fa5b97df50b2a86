#include "kinds/cell.h"
#include "kinds/rows.h"
#include "schema/ferr.h"

static void validate(struct kind_ctx *c, const struct json *doc, const struct json *old, struct err **e)
{
    static const struct {
        const char *member, *why;
    } fixed[] = {{"parameters", "updates to parameters are forbidden."}, {"provisioner", "updates to provisioner are forbidden."},
        {"reclaimPolicy", "updates to reclaimPolicy are forbidden."}};
    (void)c;
    for (size_t i = 0; old && i < ARRAY_LEN(fixed); i++) {
        struct fpath at = fpath_name(NULL, str_of(fixed[i].member));
        const struct json *a = json_get(doc, str_of(fixed[i].member)), *b = json_get(old, str_of(fixed[i].member));
        if ((a || b) && !(a && b && json_equal(a, b)))
            ferr_forbidden(e, &at, fixed[i].why);
    }
}

static void cells(struct kind_ctx *c, const struct json *doc, struct json *row)
{
    const struct json *ann = json_path(doc, "metadata", "annotations", NULL);
    struct str name = json_str_at(doc, "metadata", "name", NULL);
    bool is_default = str_eqz(json_get_str(ann, "storageclass.kubernetes.io/is-default-class"), "true") ||
                      str_eqz(json_get_str(ann, "storageclass.beta.kubernetes.io/is-default-class"), "true");
    cell_add_str(c, row, is_default ? pool_printf(c->pool, "%.*s (default)", STR_ARG(name)) : name);
    cell_add_str(c, row, json_get_str(doc, "provisioner"));
    cell_add_or(c, row, json_get_str(doc, "reclaimPolicy"), "Delete");
    cell_add_or(c, row, json_get_str(doc, "volumeBindingMode"), "Immediate");
    json_append(row, json_bool(c->pool, json_get_bool(doc, "allowVolumeExpansion", false)));
    cell_add_age(c, row, json_str_at(doc, "metadata", "creationTimestamp", NULL));
}

const struct kind_hooks kind_storage_class = {KIND("storage.k8s.io", "StorageClass"), .validate = validate, .cells = cells};
