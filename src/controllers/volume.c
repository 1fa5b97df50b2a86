/* The binder of claims and volumes (kube-controller-manager's pkg/controller/volume/persistentvolume). Volumes are made and unmade by
 * external provisioners; this brings claim and volume together, both ways, and says when a volume is free again.
 *
 * Keys: "v|<volume>" and "c|<namespace>/<claim>".
 */
#include "controllers/volume.h"

static void add_volume(struct ctl *c, struct str name)
{
    struct buf b = BUF_INIT;
    buf_printf(&b, "v|%.*s", STR_ARG(name));
    ctl_add_raw(c, buf_str(&b));
    buf_clear(&b);
}

static void add_claim(struct ctl *c, struct str ns, struct str name)
{
    struct buf b = BUF_INIT;
    buf_printf(&b, "c|%.*s/%.*s", STR_ARG(ns), STR_ARG(name));
    ctl_add_raw(c, buf_str(&b));
    buf_clear(&b);
}

static void annotate(struct sync *s, struct json *tree, const char *name, struct str value)
{
    json_set_str(s->pool, json_put_obj(s->pool, json_put_obj(s->pool, tree, STR("metadata")), STR("annotations")), str_of(name), value);
}

static int forgive(int r, struct err **e)
{
    return err_is(e, ERR_NOT_FOUND) ? 0 : MIN(r, 0);
}

/* ---- volumes ---- */

static int set_phase(struct sync *s, const struct obj *o, const char *phase, struct err **e)
{
    struct json *tree = sync_tree(s, o), *old = json_get(tree, STR("status")), *status;
    if (str_eqz(json_get_str(old, "phase"), phase))
        return 0;
    status = old ? json_clone(s->pool, old) : json_obj(s->pool);
    json_set_str(s->pool, status, STR("phase"), str_of(phase));
    json_set(s->pool, status, STR("lastPhaseTransitionTime"), time_json(s->pool, s->now));
    return forgive(sync_status(s, R_PVS, o, tree, status, e), e);
}

/* Its claim is gone. A volume that we bound to it and nobody made for it is free for others only by hand (Retain); Delete is its
 * provisioner's. */
static int released(struct sync *s, const struct obj *o, const struct json *tree, struct err **e)
{
    const struct json *ref = json_path(tree, "spec", "claimRef", NULL);
    if (!json_get_str(ref, "uid").n)
        return set_phase(s, o, "Available", e); /* reserved for a claim that has not come */
    return set_phase(s, o, "Released", e);
}

static int sync_volume(struct sync *s, struct str name, struct err **e)
{
    const struct obj *o = sync_get(s, R_PVS, STR(""), name), *claim;
    if (!o)
        return 0;
    struct json *tree = sync_tree(s, o);
    const struct json *ref = json_path(tree, "spec", "claimRef", NULL);
    if (!ref)
        return set_phase(s, o, "Available", e);
    claim = sync_get(s, R_PVCS, json_get_str(ref, "namespace"), json_get_str(ref, "name"));
    if (!claim || !volume_is_for(tree, claim->ns, claim->name, claim->uid))
        return released(s, o, tree, e);
    struct str volume = json_str_at(sync_tree(s, claim), "spec", "volumeName", NULL);
    if (!volume.n) {
        add_claim(s->ctl, claim->ns, claim->name);
        return 0;
    }
    if (str_eq(volume, o->name))
        return set_phase(s, o, "Bound", e);
    if (!annotation_of(tree, ANN_BOUND_BY).n)
        return 0;                                           /* reserved by hand for a claim that went elsewhere */
    json_del(json_get(tree, STR("spec")), STR("claimRef")); /* we bound it, and the claim found another */
    json_del(json_path(tree, "metadata", "annotations", NULL), STR(ANN_BOUND_BY));
    return forgive(sync_update(s, R_PVS, o, NULL, tree, NULL, e), e);
}

/* ---- claims ---- */

static int claim_status(struct claim *c, const char *phase, const struct json *volume, struct err **e)
{
    struct pool *p = c->s->pool;
    struct json *old = json_get(c->tree, STR("status")), *status = old ? json_clone(p, old) : json_obj(p);
    json_set_str(p, status, STR("phase"), str_of(phase));
    if (volume) {
        const struct json *spec = json_get(volume, STR("spec"));
        struct json *capacity = json_get(json_get(spec, STR("capacity")), STR("storage"));
        json_set(p, status, STR("accessModes"), json_clone(p, json_get(spec, STR("accessModes"))));
        if (capacity && !json_path(status, "capacity", "storage", NULL))
            json_set(p, json_put_obj(p, status, STR("capacity")), STR("storage"), json_clone(p, capacity));
    } else {
        json_del(status, STR("accessModes"));
        json_del(status, STR("capacity"));
    }
    return forgive(sync_status(c->s, R_PVCS, c->o, c->tree, status, e), e);
}

/* The volume first: whoever is killed between the two writes finds it reserved for this claim. */
static int reserve(struct claim *c, const struct obj **volume, struct err **e)
{
    struct pool *p = c->s->pool;
    struct json *tree = sync_tree(c->s, *volume), *spec = json_get(tree, STR("spec")), *ref = json_put_obj(p, spec, STR("claimRef"));
    if (str_eq(json_get_str(ref, "uid"), c->o->uid))
        return 0;
    if (!json_get_str(ref, "name").n)
        annotate(c->s, tree, ANN_BOUND_BY, STR("yes"));
    json_set_str(p, ref, STR("kind"), STR("PersistentVolumeClaim"));
    json_set_str(p, ref, STR("apiVersion"), STR("v1"));
    json_set_str(p, ref, STR("namespace"), c->o->ns);
    json_set_str(p, ref, STR("name"), c->o->name);
    json_set_str(p, ref, STR("uid"), c->o->uid);
    json_set(p, ref, STR("resourceVersion"), json_str_view(p, pool_printf(p, "%" PRId64, c->o->rev)));
    return sync_update(c->s, R_PVS, *volume, NULL, tree, volume, e);
}

static int bind(struct claim *c, const struct obj *volume, struct err **e)
{
    const struct obj *now;
    int r = reserve(c, &volume, e);
    if (r != 0)
        return forgive(r, e);
    if (!str_eq(c->volume, volume->name) || !annotation_of(c->tree, ANN_BIND_COMPLETED).n) {
        if (!c->volume.n)
            annotate(c->s, c->tree, ANN_BOUND_BY, STR("yes"));
        annotate(c->s, c->tree, ANN_BIND_COMPLETED, STR("yes"));
        json_set_str(c->s->pool, c->spec, STR("volumeName"), volume->name);
        r = sync_update(c->s, R_PVCS, c->o, NULL, c->tree, &now, e);
        if (r != 0)
            return forgive(r, e);
        claim_read(c->s, now, c);
    }
    r = claim_status(c, "Bound", sync_tree(c->s, volume), e);
    return r < 0 ? r : set_phase(c->s, volume, "Bound", e);
}

static int want_provisioning(struct claim *c, struct err **e)
{
    struct str provisioner = json_get_str(c->class_tree, "provisioner");
    bool late = str_eqz(json_get_str(c->class_tree, "volumeBindingMode"), "WaitForFirstConsumer");
    if (!c->class_tree) {
        ctl_event(c->s->ctl, R_PVCS, c->o, true, c->class.n ? "ProvisioningFailed" : "FailedBinding",
            c->class.n ? "storageclass.storage.k8s.io \"%.*s\" not found"
                       : "no persistent volumes available for this claim and no storage class is set%.*s",
            STR_ARG(c->class));
    } else if (str_eqz(provisioner, "kubernetes.io/no-provisioner")) {
        ctl_event(c->s->ctl, R_PVCS, c->o, false, late && !c->selected_node.n ? "WaitForFirstConsumer" : "FailedBinding",
            late && !c->selected_node.n ? "waiting for first consumer to be created before binding"
                                        : "no persistent volumes available for this claim");
    } else if (late && !c->selected_node.n) {
        ctl_event(c->s->ctl, R_PVCS, c->o, false, "WaitForFirstConsumer", "waiting for first consumer to be created before binding");
    } else {
        if (!str_eq(annotation_of(c->tree, "volume.kubernetes.io/storage-provisioner"), provisioner)) {
            annotate(c->s, c->tree, "volume.kubernetes.io/storage-provisioner", provisioner);
            annotate(c->s, c->tree, "volume.beta.kubernetes.io/storage-provisioner", provisioner);
            const struct obj *now;
            int r = sync_update(c->s, R_PVCS, c->o, NULL, c->tree, &now, e);
            if (r != 0)
                return forgive(r, e);
            claim_read(c->s, now, c);
        }
        ctl_event(c->s->ctl, R_PVCS, c->o, false, "ExternalProvisioning",
            "Waiting for a volume to be created either by the external provisioner '%.*s' or manually by the system administrator. If "
            "volume creation is delayed, please verify that the provisioner is running and correctly registered.",
            STR_ARG(provisioner));
    }
    return claim_status(c, "Pending", NULL, e);
}

static int sync_unbound(struct claim *c, struct err **e)
{
    bool late = str_eqz(json_get_str(c->class_tree, "volumeBindingMode"), "WaitForFirstConsumer");
    const struct obj *volume = claim_find_volume(c);
    if (volume && (!late || c->selected_node.n || volume_is_for(sync_tree(c->s, volume), c->o->ns, c->o->name, c->o->uid)))
        return bind(c, volume, e);
    return want_provisioning(c, e);
}

static int sync_one(struct sync *s, struct str key, struct err **e)
{
    struct str ns, name;
    struct claim c;
    const struct obj *o = str_cut(key, '/', &ns, &name) ? sync_get(s, R_PVCS, ns, name) : NULL, *volume;
    if (!o || o->deleted)
        return 0;
    claim_read(s, o, &c);
    if (!c.volume.n)
        return sync_unbound(&c, e);
    volume = sync_get(s, R_PVS, STR(""), c.volume);
    if (!volume) {
        if (!annotation_of(c.tree, ANN_BIND_COMPLETED).n)
            return claim_status(&c, "Pending", NULL, e); /* asked for by name, and not there yet */
        ctl_event(s->ctl, R_PVCS, o, true, "ClaimLost", "Bound claim has lost its PersistentVolume. Data on the volume is lost!");
        return claim_status(&c, "Lost", NULL, e);
    }
    const struct json *tree = sync_tree(s, volume);
    if (!json_path(tree, "spec", "claimRef", NULL) || volume_is_for(tree, o->ns, o->name, o->uid))
        return bind(&c, volume, e);
    if (!annotation_of(c.tree, ANN_BIND_COMPLETED).n)
        return claim_status(&c, "Pending", NULL, e);
    ctl_event(s->ctl, R_PVCS, o, true, "ClaimMisbound", "Two claims are bound to the same volume, this one is bound incorrectly");
    return claim_status(&c, "Lost", NULL, e);
}

static int sync(struct sync *s, struct err **e)
{
    if (str_starts(s->key, STR("v|")))
        return sync_volume(s, str_sub(s->key, 2, s->key.n), e);
    return sync_one(s, str_sub(s->key, 2, s->key.n), e);
}

/* ---- what wakes it ---- */

static void on_claim(struct ctl *c, const struct change *ch)
{
    const struct obj *before = ch->before;
    add_claim(c, ch->obj->ns, ch->obj->name);
    if (!ch->gone && before && !ch->obj->deleted == !before->deleted)
        return;
    _cleanup_(pool_freep) struct pool *p = pool_new();
    struct json *tree;
    if (obj_parse(ch->obj, p, &tree, NULL) == 0 && json_str_at(tree, "spec", "volumeName", NULL).n)
        add_volume(c, json_str_at(tree, "spec", "volumeName", NULL));
}

static void add_pending_claims(struct ctl *c)
{
    _cleanup_(store_view_unrefp) struct store_view *v = store_view(c->store);
    struct store_iter it;
    iter_start(&it, v, ctl_store_res(c, R_PVCS), STR(""), STR_NULL, STR_NULL);
    for (const struct obj *o; (o = iter_next(&it));)
        if (str_find(o->json, STR("\"volumeName\"")) < 0)
            add_claim(c, o->ns, o->name);
}

static void on_volume(struct ctl *c, const struct change *ch)
{
    _cleanup_(pool_freep) struct pool *p = pool_new();
    struct json *tree;
    add_volume(c, ch->obj->name);
    if (obj_parse(ch->obj, p, &tree, NULL) < 0)
        return;
    const struct json *ref = json_path(tree, "spec", "claimRef", NULL);
    if (ref)
        add_claim(c, json_get_str(ref, "namespace"), json_get_str(ref, "name"));
    else if (!ch->gone)
        add_pending_claims(c);
}

static void on_class(struct ctl *c, const struct change *ch)
{
    if (!ch->gone)
        add_pending_claims(c);
}

const struct controller volume_controller = {
    .name = "persistentvolume-binder",
    .account = "persistent-volume-binder",
    .component = "persistentvolume-controller",
    .watches = {{R_PVCS, on_claim}, {R_PVS, on_volume}, {R_CLASSES, on_class}},
    .sync = sync,
};
