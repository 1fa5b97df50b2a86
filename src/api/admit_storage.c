#include "api/admit.h"
#include "schema/quantity.h"

/* Defaults that come from other objects (DefaultStorageClass, DefaultIngressClass), and finalizers that keep volumes in use
 * (StorageObjectInUseProtection). */

struct newest {
    const char *annotation;
    struct str name;
    int64_t created;
};

static bool find_default(void *arg, const struct obj *o, struct json *doc)
{
    struct newest *n = arg;
    if (!str_eqz(json_as_str(json_get(json_path(doc, "metadata", "annotations", NULL), str_of(n->annotation))), "true"))
        return true;
    if (str_empty(n->name) || o->created > n->created) {
        n->name = o->name;
        n->created = o->created;
    }
    return true;
}

int admit_storage_class(struct call *c, struct err **e)
{
    (void)e;
    struct json *spec = json_put_obj(c->pool, c->w.doc, STR("spec"));
    bool beta = json_get(json_path(c->w.doc, "metadata", "annotations", NULL), STR("volume.beta.kubernetes.io/storage-class")) != NULL;
    if (!str_empty(c->ri.sub) || beta || json_get(spec, STR("storageClassName")))
        return 0;
    struct newest n = {.annotation = "storageclass.kubernetes.io/is-default-class"};
    admit_each(c, c->api->res.storage_classes, STR_NULL, find_default, &n);
    if (!str_empty(n.name))
        json_set_str(c->pool, spec, STR("storageClassName"), n.name);
    return 0;
}

int admit_ingress_class(struct call *c, struct err **e)
{
    (void)e;
    struct json *spec = json_put_obj(c->pool, c->w.doc, STR("spec"));
    bool old = json_get(json_path(c->w.doc, "metadata", "annotations", NULL), STR("kubernetes.io/ingress.class")) != NULL;
    if (!str_empty(c->ri.sub) || old || json_get(spec, STR("ingressClassName")))
        return 0;
    struct newest n = {.annotation = "ingressclass.kubernetes.io/is-default-class"};
    admit_each(c, c->api->res.ingress_classes, STR_NULL, find_default, &n);
    if (!str_empty(n.name))
        json_set_str(c->pool, spec, STR("ingressClassName"), n.name);
    return 0;
}

int admit_in_use(struct call *c, struct err **e)
{
    (void)e;
    if (!str_empty(c->ri.sub))
        return 0;
    struct str want = str_eqz(c->ri.res, "persistentvolumes") ? STR("kubernetes.io/pv-protection") : STR("kubernetes.io/pvc-protection");
    struct json *f = json_put_arr(c->pool, json_put_obj(c->pool, c->w.doc, STR("metadata")), STR("finalizers"));
    json_for (f, it)
        if (str_eq(json_as_str(it), want))
            return 0;
    json_append(f, json_str(c->pool, want));
    return 0;
}

/* PersistentVolumeClaimResize: a claim grows only where its class lets volumes grow. */
int admit_claim_resize(struct call *c, struct err **e)
{
    struct quantity was, now;
    struct str a = json_str_at(c->w.old, "spec", "resources", "requests", "storage", NULL),
               b = json_str_at(c->w.doc, "spec", "resources", "requests", "storage", NULL);
    if (!str_empty(c->ri.sub) || quantity_parse(a, &was, NULL) < 0 || quantity_parse(b, &now, NULL) < 0 || quantity_cmp(now, was) <= 0)
        return 0;
    if (!str_eqz(json_str_at(c->w.old, "status", "phase", NULL), "Bound"))
        return admit_forbid(c, e, "Only bound persistent volume claims can be expanded");
    struct str name = json_str_at(c->w.old, "spec", "storageClassName", NULL);
    const struct json *sc = str_empty(name) ? NULL : admit_lookup(c, c->api->res.storage_classes, STR_NULL, name);
    if (!json_get_bool(sc, "allowVolumeExpansion", false))
        return admit_forbid(
            c, e, "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize");
    return 0;
}
