/* Attach and detach (kube-controller-manager's pkg/controller/volume/attachdetach, for CSI): a VolumeAttachment for every volume that a pod
 * on a node needs and whose driver wants one; the driver's own attacher does the rest and says so in its status, which the node waits for.
 *
 * Keys are nodes. A volume for one node at a time is not attached to a second one before the first has let go. A pod's object goes only
 * when its node has unmounted, so what no pod needs can be detached, unless the node is out of reach: then nobody knows what it still does,
 * and its attachments stay, until it is back, gone, or somebody who knows says so with the taint node.kubernetes.io/out-of-service.
 */
#include "controllers/ctl.h"
#include "crypto/hash.h"

#define LOOK_AGAIN (15 * NS_PER_S)

struct want {
    const struct obj *pod;
    struct str pv, driver, handle;
    bool exclusive;
};
struct wants {
    struct want *list;
    size_t n, cap;
};

static bool finished(const struct obj *pod)
{
    enum pod_phase p = pod_phase_of(pod);
    return p == POD_SUCCEEDED || p == POD_FAILED;
}

/* CSIDriver.spec.attachRequired is true unless it says otherwise; so is a driver that nobody described. */
static bool attachable(struct sync *s, struct str driver)
{
    const struct obj *o = driver.n ? sync_get(s, R_CSIDRIVERS, STR(""), driver) : NULL;
    return driver.n && (!o || json_as_bool(json_path(sync_tree(s, o), "spec", "attachRequired", NULL), true));
}

static bool exclusive(const struct json *pv)
{
    json_for (json_path(pv, "spec", "accessModes", NULL), m)
        if (str_eqz(json_as_str(m), "ReadWriteMany") || str_eqz(json_as_str(m), "ReadOnlyMany"))
            return false;
    return true;
}

static void add_want(struct sync *s, struct wants *w, const struct obj *pod, const struct obj *claim)
{
    struct str volume = json_str_at(sync_tree(s, claim), "spec", "volumeName", NULL);
    const struct obj *o = volume.n ? sync_get(s, R_PVS, STR(""), volume) : NULL;
    const struct json *pv = o ? sync_tree(s, o) : NULL;
    struct str driver = json_str_at(pv, "spec", "csi", "driver", NULL);
    if (!o || !attachable(s, driver))
        return;
    if (w->n == w->cap) {
        size_t cap = w->cap ? w->cap * 2 : 8;
        w->list = pool_grow(s->pool, w->list, w->cap * sizeof *w->list, cap * sizeof *w->list);
        w->cap = cap;
    }
    w->list[w->n++] = (struct want){pod, o->name, driver, json_str_at(pv, "spec", "csi", "volumeHandle", NULL), exclusive(pv)};
}

static void collect(struct sync *s, struct wants *w)
{
    struct obj_array pods = sync_indexed(s, R_PODS, STR("node"), s->key);
    struct str mark = STR("PersistentVolumeClaim/"), ns, name;
    for (size_t i = 0; i < pods.n; i++)
        for (uint32_t k = 0; k < pods.p[i]->nkeys && !finished(pods.p[i]); k++) {
            struct str key = pods.p[i]->keys[k].key;
            const struct obj *claim;
            if (str_eqz(pods.p[i]->keys[k].index, "ref") && str_starts(key, mark) &&
                str_cut(str_sub(key, mark.n, key.n), '/', &ns, &name) && (claim = sync_get(s, R_PVCS, ns, name)))
                add_want(s, w, pods.p[i], claim);
        }
}

/* As the kubelet looks for it: a hash of handle, driver and node. */
static struct str attachment_name(struct sync *s, const struct want *w)
{
    char hex[HASH_HEX + 1];
    hash_sha256_hex(pool_printf(s->pool, "%.*s%.*s%.*s", STR_ARG(w->handle), STR_ARG(w->driver), STR_ARG(s->key)), hex);
    return pool_printf(s->pool, "csi-%s", hex);
}

struct attachment {
    const struct obj *o;
    const struct json *tree;
    struct str node, pv;
};

static struct attachment read_attachment(struct sync *s, const struct obj *o)
{
    const struct json *tree = sync_tree(s, o);
    return (struct attachment){
        o, tree, json_str_at(tree, "spec", "nodeName", NULL), json_str_at(tree, "spec", "source", "persistentVolumeName", NULL)};
}

static int attach(struct sync *s, const struct want *w, const struct attachment *all, size_t n, struct err **e)
{
    for (size_t i = 0; i < n; i++) {
        if (!str_eq(all[i].pv, w->pv))
            continue;
        if (str_eq(all[i].node, s->key))
            return 0;
        if (w->exclusive) {
            ctl_event(s->ctl, R_PODS, w->pod, true, "FailedAttachVolume",
                "Multi-Attach error for volume \"%.*s\" Volume is already exclusively attached to one node and can't be attached to "
                "another",
                STR_ARG(w->pv));
            sync_again_at(s, s->now + LOOK_AGAIN);
            return 0;
        }
    }
    struct pool *p = s->pool;
    struct json *body = json_obj(p), *spec = json_put_obj(p, body, STR("spec"));
    json_set_str(p, json_put_obj(p, body, STR("metadata")), STR("name"), attachment_name(s, w));
    json_set_str(p, spec, STR("attacher"), w->driver);
    json_set_str(p, spec, STR("nodeName"), s->key);
    json_set_str(p, json_put_obj(p, spec, STR("source")), STR("persistentVolumeName"), w->pv);
    int r = sync_create(s, R_ATTACHMENTS, STR(""), body, NULL, e);
    return err_is(e, ERR_EXISTS) ? 0 : MIN(r, 0);
}

/* Does anybody know that the node does nothing with its volumes any more? */
static bool may_detach(struct sync *s, struct str handle)
{
    const struct obj *node = sync_get(s, R_NODES, STR(""), s->key);
    if (!node)
        return true;
    const struct json *tree = sync_tree(s, node), *ready = condition_find(json_path(tree, "status", "conditions", NULL), STR("Ready"));
    json_for (json_path(tree, "spec", "taints", NULL), t)
        if (str_eqz(json_get_str(t, "key"), "node.kubernetes.io/out-of-service"))
            return true;
    json_for (json_path(tree, "status", "volumesInUse", NULL), v)
        if (handle.n && str_ends(json_as_str(v), handle))
            return false;
    return str_eqz(json_get_str(ready, "status"), "True");
}

static bool wanted(const struct wants *w, struct str pv)
{
    for (size_t i = 0; i < w->n; i++)
        if (str_eq(w->list[i].pv, pv))
            return true;
    return false;
}

static int detach(struct sync *s, const struct wants *w, const struct attachment *all, size_t n, struct err **e)
{
    for (size_t i = 0; i < n; i++) {
        if (!str_eq(all[i].node, s->key) || !all[i].pv.n || all[i].o->deleted || wanted(w, all[i].pv))
            continue;
        const struct obj *pv = sync_get(s, R_PVS, STR(""), all[i].pv);
        if (!may_detach(s, pv ? json_str_at(sync_tree(s, pv), "spec", "csi", "volumeHandle", NULL) : STR(""))) {
            sync_again_at(s, s->now + LOOK_AGAIN);
            continue;
        }
        int r = sync_delete(s, all[i].o, NULL, e);
        if (r < 0)
            return r;
    }
    return 0;
}

static int sync_node(struct sync *s, struct err **e)
{
    struct wants w = {0};
    struct obj_array objects = sync_list(s, R_ATTACHMENTS, STR(""));
    struct attachment *all = pool_array(s->pool, struct attachment, objects.n + 1);
    for (size_t i = 0; i < objects.n; i++)
        all[i] = read_attachment(s, objects.p[i]);
    collect(s, &w);
    for (size_t i = 0; i < w.n; i++) {
        int r = attach(s, &w.list[i], all, objects.n, e);
        if (r < 0)
            return r;
    }
    return detach(s, &w, all, objects.n, e);
}

/* ---- what wakes it ---- */

static void on_pod(struct ctl *c, const struct change *ch)
{
    struct str node = pod_node(ch->obj), mark = STR("PersistentVolumeClaim/");
    bool news = ch->gone || !ch->before || !pod_node(ch->before).n || finished(ch->obj) != finished(ch->before);
    for (uint32_t k = 0; node.n && news && k < ch->obj->nkeys; k++)
        if (str_eqz(ch->obj->keys[k].index, "ref") && str_starts(ch->obj->keys[k].key, mark)) {
            ctl_add_raw(c, node);
            return;
        }
}

/* The attacher's verdict is told to the pods that wait for it. */
static void tell(struct ctl *c, const struct obj *o, const struct json *now, const struct json *was)
{
    bool up = json_as_bool(json_path(now, "status", "attached", NULL), false),
         before = json_as_bool(json_path(was, "status", "attached", NULL), false);
    struct str wrong = json_str_at(now, "status", "attachError", "message", NULL),
               pv = json_str_at(now, "spec", "source", "persistentVolumeName", NULL);
    bool failed = wrong.n && !str_eq(wrong, json_str_at(was, "status", "attachError", "message", NULL));
    if (!failed && (!up || before))
        return;
    _cleanup_(store_view_unrefp) struct store_view *v = store_view(c->store);
    struct store_iter it;
    struct str node = json_str_at(now, "spec", "nodeName", NULL);
    const struct obj *volume = view_get(v, ctl_store_res(c, R_PVS), STR(""), pv);
    _cleanup_(pool_freep) struct pool *p = pool_new();
    struct json *tree = NULL;
    if (!volume || obj_parse(volume, p, &tree, NULL) < 0)
        return;
    struct str ns = json_str_at(tree, "spec", "claimRef", "namespace", NULL);
    struct str key =
        pool_printf(p, "PersistentVolumeClaim/%.*s/%.*s", STR_ARG(ns), STR_ARG(json_str_at(tree, "spec", "claimRef", "name", NULL)));
    iter_start(&it, v, ctl_store_res(c, R_PODS), ns, STR_NULL, STR_NULL);
    for (const struct obj *pod; ns.n && (pod = iter_next(&it));)
        for (uint32_t k = 0; k < pod->nkeys; k++)
            if (str_eq(pod_node(pod), node) && str_eqz(pod->keys[k].index, "ref") && str_eq(pod->keys[k].key, key))
                ctl_event(c, R_PODS, pod, failed, failed ? "FailedAttachVolume" : "SuccessfulAttachVolume",
                    "AttachVolume.Attach %s for volume \"%.*s\" %s%.*s", failed ? "failed" : "succeeded", STR_ARG(pv), failed ? ": " : "",
                    STR_ARG(wrong));
    (void)o;
}

static void on_attachment(struct ctl *c, const struct change *ch)
{
    _cleanup_(pool_freep) struct pool *p = pool_new();
    struct json *tree, *was = NULL;
    if (obj_parse(ch->obj, p, &tree, NULL) < 0 || (ch->before && obj_parse(ch->before, p, &was, NULL) < 0))
        return;
    ctl_add_raw(c, json_str_at(tree, "spec", "nodeName", NULL));
    if (!ch->gone && was)
        tell(c, ch->obj, tree, was);
}

static void on_node(struct ctl *c, const struct change *ch)
{
    if (ch->gone || !ch->before)
        ctl_add_raw(c, ch->obj->name);
}

const struct controller attach_controller = {
    .name = "attachdetach",
    .account = "attachdetach-controller",
    .watches = {{R_PODS, on_pod}, {R_ATTACHMENTS, on_attachment}, {R_NODES, on_node}},
    .sync = sync_node,
};
