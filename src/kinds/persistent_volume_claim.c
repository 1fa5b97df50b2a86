#include "kinds/rows.h"
#include "kinds/volume.h"
#include "schema/ferr.h"

static void validate(struct kind_ctx *c, const struct json *doc, const struct json *old, struct err **e)
{
    struct fpath at = FPATH(NULL, "spec"), modes = FPATH(&at, "accessModes"), res = FPATH(&at, "resources"),
                 storage = fpath_key(&res, STR("storage"));
    const struct json *spec = json_get(doc, STR("spec")), *was = json_get(old, STR("spec"));
    if (str_eqz(c->sub, "status"))
        return;
    if (!json_count(json_get(spec, STR("accessModes"))))
        ferr_required(e, &modes, "at least 1 access mode is required");
    if (!json_str_at(spec, "resources", "requests", "storage", NULL).n)
        ferr_required(e, &storage, "");
    if (!was)
        return;
    struct json *a = json_clone(c->pool, spec), *b = json_clone(c->pool, was);
    /* the claim is bound by giving it a volume; sizes may grow; a class may be filled in */
    if (!json_get_str(b, "volumeName").n)
        json_del(a, STR("volumeName"));
    if (!json_get(b, STR("storageClassName")))
        json_del(a, STR("storageClassName"));
    static const char *const mutable[] = {"resources", "volumeAttributesClassName"};
    for (size_t i = 0; i < ARRAY_LEN(mutable); i++) {
        json_del(a, str_of(mutable[i]));
        json_del(b, str_of(mutable[i]));
    }
    if (!json_equal(a, b))
        ferr_forbidden(
            e, &at, "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims\n");
}

static void cells(struct kind_ctx *c, const struct json *doc, struct json *row)
{
    const struct json *spec = json_get(doc, STR("spec"));
    struct str volume = json_get_str(spec, "volumeName"), size = json_str_at(doc, "status", "capacity", "storage", NULL);
    cell_add_str(c, row, json_str_at(doc, "metadata", "name", NULL));
    cell_add_str(
        c, row, json_str_at(doc, "metadata", "deletionTimestamp", NULL).n ? STR("Terminating") : json_str_at(doc, "status", "phase", NULL));
    cell_add_str(c, row, volume);
    cell_add_str(c, row, volume.n ? (size.n ? size : STR("0")) : STR(""));
    cell_add_str(c, row, volume.n ? volume_modes(c->pool, json_path(doc, "status", "accessModes", NULL)) : STR(""));
    cell_add_str(c, row, volume_class(doc));
    cell_add_or(c, row, json_get_str(spec, "volumeAttributesClassName"), "<unset>");
    cell_add_age(c, row, json_str_at(doc, "metadata", "creationTimestamp", NULL));
    cell_add_or(c, row, json_get_str(spec, "volumeMode"), "<unset>");
}

const struct kind_hooks kind_persistent_volume_claim = {KIND("", "PersistentVolumeClaim"), .validate = validate, .cells = cells};
