#include "kinds/rows.h"
#include "kinds/volume.h"
#include "schema/ferr.h"

struct str volume_modes(struct pool *p, const struct json *modes)
{
    static const char *const names[][2] = {
        {"ReadWriteOnce", "RWO"}, {"ReadOnlyMany", "ROX"}, {"ReadWriteMany", "RWX"}, {"ReadWriteOncePod", "RWOP"}};
    struct buf b = BUF_INIT;
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        bool has = false;
        json_for (modes, m)
            has |= str_eqz(json_as_str(m), names[i][0]);
        if (has)
            buf_printf(&b, "%s%s", b.n ? "," : "", names[i][1]);
    }
    return buf_to_pool(&b, p);
}

struct str volume_class(const struct json *doc)
{
    struct str old = json_get_str(json_path(doc, "metadata", "annotations", NULL), "volume.beta.kubernetes.io/storage-class");
    return old.n ? old : json_str_at(doc, "spec", "storageClassName", NULL);
}

static void validate(struct kind_ctx *c, const struct json *doc, const struct json *old, struct err **e)
{
    struct fpath at = FPATH(NULL, "spec"), modes = FPATH(&at, "accessModes"), cap = FPATH(&at, "capacity"), vm = FPATH(&at, "volumeMode");
    const struct json *spec = json_get(doc, STR("spec")), *was = json_get(old, STR("spec"));
    if (str_eqz(c->sub, "status"))
        return;
    if (!json_count(json_get(spec, STR("accessModes"))))
        ferr_required(e, &modes, "");
    if (!json_count(json_get(spec, STR("capacity"))))
        ferr_required(e, &cap, "");
    struct str a = json_get_str(spec, "volumeMode"), b = json_get_str(was, "volumeMode");
    if (was && !str_eq(a, b))
        ferr_invalid_str(e, &vm, a, "field is immutable");
}

static void cells(struct kind_ctx *c, const struct json *doc, struct json *row)
{
    const struct json *spec = json_get(doc, STR("spec")), *claim = json_get(spec, STR("claimRef"));
    cell_add_str(c, row, json_str_at(doc, "metadata", "name", NULL));
    cell_add_or(c, row, json_str_at(spec, "capacity", "storage", NULL), "0");
    cell_add_str(c, row, volume_modes(c->pool, json_get(spec, STR("accessModes"))));
    cell_add_str(c, row, json_get_str(spec, "persistentVolumeReclaimPolicy"));
    cell_add_str(
        c, row, json_str_at(doc, "metadata", "deletionTimestamp", NULL).n ? STR("Terminating") : json_str_at(doc, "status", "phase", NULL));
    cell_add_str(c, row,
        claim ? pool_printf(c->pool, "%.*s/%.*s", STR_ARG(json_get_str(claim, "namespace")), STR_ARG(json_get_str(claim, "name")))
              : STR(""));
    cell_add_str(c, row, volume_class(doc));
    cell_add_or(c, row, json_get_str(spec, "volumeAttributesClassName"), "<unset>");
    cell_add_str(c, row, json_str_at(doc, "status", "reason", NULL));
    cell_add_age(c, row, json_str_at(doc, "metadata", "creationTimestamp", NULL));
    cell_add_or(c, row, json_get_str(spec, "volumeMode"), "<unset>");
}

/* The Secrets that its CSI driver is given on nodes, so that these have them. */
static void index_keys(struct pool *p, const struct json *doc, struct obj_index *out)
{
    static const char *const refs[] = {"nodeStageSecretRef", "nodePublishSecretRef", "nodeExpandSecretRef"};
    const struct json *csi = json_path(doc, "spec", "csi", NULL);
    (void)p;
    for (size_t i = 0; i < ARRAY_LEN(refs); i++) {
        const struct json *ref = json_get(csi, str_of(refs[i]));
        if (json_get_str(ref, "name").n)
            obj_index_add(out, "ref",
                pool_printf(out->pool, "Secret/%.*s/%.*s", STR_ARG(json_get_str(ref, "namespace")), STR_ARG(json_get_str(ref, "name"))));
    }
}

const struct kind_hooks kind_persistent_volume = {
    KIND("", "PersistentVolume"), .validate = validate, .cells = cells, .index = index_keys};
