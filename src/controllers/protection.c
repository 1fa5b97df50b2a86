/* Claims in use by a pod, and volumes in use by a claim, are not removed before they are free: the finalizers that admission puts on them
 * go then. */
#include "controllers/ctl.h"

#define CLAIM_FINALIZER "kubernetes.io/pvc-protection"
#define VOLUME_FINALIZER "kubernetes.io/pv-protection"

static int remove_finalizer(struct sync *s, enum ctl_resource r, const struct obj *o, const char *name, struct err **e)
{
    struct json *tree = sync_tree(s, o), *meta = json_get(tree, STR("metadata")), *list = json_get(meta, STR("finalizers"));
    bool found = false;
    json_for (list, f)
        if (str_eqz(json_as_str(f), name))
            found = json_remove(list, f);
    if (!found)
        return 0;
    if (json_count(list) == 0)
        json_del(meta, STR("finalizers"));
    int rc = sync_update(s, r, o, NULL, tree, NULL, e);
    return err_is(e, ERR_NOT_FOUND) ? 0 : MIN(rc, 0);
}

static bool uses(const struct obj *pod)
{
    enum pod_phase phase = pod_phase_of(pod);
    return phase != POD_SUCCEEDED && phase != POD_FAILED;
}

static int sync_claim_use(struct sync *s, struct err **e)
{
    const struct obj *o = sync_self(s, R_PVCS);
    if (!o || !o->deleted || !o->finalizers)
        return 0;
    struct str key = pool_printf(s->pool, "PersistentVolumeClaim/%.*s", STR_ARG(s->key));
    struct obj_array pods = sync_indexed(s, R_PODS, STR("ref"), key);
    for (size_t i = 0; i < pods.n; i++)
        if (uses(pods.p[i]))
            return 0;
    return remove_finalizer(s, R_PVCS, o, CLAIM_FINALIZER, e);
}

static int sync_volume_use(struct sync *s, struct err **e)
{
    const struct obj *o = sync_self(s, R_PVS);
    if (!o || !o->deleted || !o->finalizers || str_eqz(json_str_at(sync_tree(s, o), "status", "phase", NULL), "Bound"))
        return 0;
    return remove_finalizer(s, R_PVS, o, VOLUME_FINALIZER, e);
}

/* A pod that went or ended: claims being deleted that it used. */
static void on_pod(struct ctl *c, const struct change *ch)
{
    struct str mark = STR("PersistentVolumeClaim/");
    if (!ch->gone && uses(ch->obj))
        return;
    for (uint32_t i = 0; i < ch->obj->nkeys; i++)
        if (str_eqz(ch->obj->keys[i].index, "ref") && str_starts(ch->obj->keys[i].key, mark))
            ctl_add_raw(c, str_sub(ch->obj->keys[i].key, mark.n, ch->obj->keys[i].key.n));
}

const struct controller claim_protection_controller = {
    .name = "pvc-protection",
    .account = "pvc-protection-controller",
    .watches = {{R_PVCS, ctl_add_change}, {R_PODS, on_pod}},
    .sync = sync_claim_use,
};
const struct controller volume_protection_controller = {
    .name = "pv-protection",
    .account = "pv-protection-controller",
    .watches = {{R_PVS, ctl_add_change}},
    .sync = sync_volume_use,
};
