/* The storage class `local-path` and its provisioner: folders on the node that a claim's first pod was scheduled to, as K3s users know them
 * (rancher.io/local-path: one folder pvc-<uid>_<namespace>_<claim> below one base folder, the volume tied to its node).
 *
 * This half makes and names volumes; it never touches a disk. The node's half makes the folder when a pod first mounts it and removes it
 * when the volume is Released (src/gate/storage.c, src/node/storage.c), then deletes the volume. Of a node that is no more only the volume
 * is left to delete, which is done here.
 *
 * Keys: "class", "c|<namespace>/<claim>", "v|<volume>".
 */
#include "controllers/inner.h"
#include "controllers/volume.h"
#include "kinds/local_path.h"

#define CLASS STR("local-path")

/* ---- the class ---- */

static const char class_text[] =
    "{\"apiVersion\":\"storage.k8s.io/v1\",\"kind\":\"StorageClass\",\"metadata\":{\"name\":\"local-path\",\"annotations\":{"
    "\"storageclass.kubernetes.io/is-default-class\":\"true\",\"" LOCAL_PATH_MANAGED "\":\"true\"}},"
    "\"provisioner\":\"" LOCAL_PATH_PROVISIONER "\",\"reclaimPolicy\":\"Delete\",\"volumeBindingMode\":\"WaitForFirstConsumer\"}";

static const char *base_of(const struct sync *s)
{
    return s->ctl->all->cfg.local_storage;
}

/* Made when it is not there; what an administrator changed stays. Without the provisioner a class of ours goes. */
static int sync_class(struct sync *s, struct err **e)
{
    const struct obj *o = sync_get(s, R_CLASSES, STR(""), CLASS);
    struct json *doc;
    if (base_of(s) && !o) {
        if (json_parse(s->pool, str_of(class_text), NULL, &doc, e) < 0)
            return -ERR_INTERNAL;
        int r = sync_create(s, R_CLASSES, STR(""), doc, NULL, e);
        return err_is(e, ERR_EXISTS) ? 0 : MIN(r, 0);
    }
    if (!base_of(s) && o && annotation_of(sync_tree(s, o), LOCAL_PATH_MANAGED).n)
        return MIN(sync_delete(s, o, NULL, e), 0);
    return 0;
}

/* ---- claims ---- */

static int refuse(struct claim *c, const char *why)
{
    ctl_event(c->s->ctl, R_PVCS, c->o, true, "ProvisioningFailed", "failed to provision volume with StorageClass \"%.*s\": %s",
        STR_ARG(c->class), why);
    return 0;
}

static bool modes_possible(const struct json *spec)
{
    json_for (json_get(spec, STR("accessModes")), mode)
        if (!str_eqz(json_as_str(mode), "ReadWriteOnce") && !str_eqz(json_as_str(mode), "ReadWriteOncePod"))
            return false;
    return true;
}

static struct json *claim_ref(struct claim *c)
{
    struct pool *p = c->s->pool;
    struct json *ref = json_obj(p);
    json_set_str(p, ref, STR("kind"), STR("PersistentVolumeClaim"));
    json_set_str(p, ref, STR("apiVersion"), STR("v1"));
    json_set_str(p, ref, STR("namespace"), c->o->ns);
    json_set_str(p, ref, STR("name"), c->o->name);
    json_set_str(p, ref, STR("uid"), c->o->uid);
    json_set_str(p, ref, STR("resourceVersion"), pool_printf(p, "%" PRId64, c->o->rev));
    return ref;
}

/* Only the node whose host name label this is. */
static void tie_to_node(struct pool *p, struct json *spec, struct str hostname)
{
    struct json *required = json_put_obj(p, json_put_obj(p, spec, STR("nodeAffinity")), STR("required"));
    struct json *term = json_obj(p), *expr = json_obj(p), *values = json_put_arr(p, expr, STR("values"));
    json_set_str(p, expr, STR("key"), STR("kubernetes.io/hostname"));
    json_set_str(p, expr, STR("operator"), STR("In"));
    json_append(values, json_str_view(p, hostname));
    json_append(json_put_arr(p, term, STR("matchExpressions")), expr);
    json_append(json_put_arr(p, required, STR("nodeSelectorTerms")), term);
}

static struct json *volume_for(struct claim *c, struct str name, struct str node, struct str hostname)
{
    struct pool *p = c->s->pool;
    struct json *pv = json_obj(p), *meta = json_put_obj(p, pv, STR("metadata")), *ann = json_put_obj(p, meta, STR("annotations")),
                *spec = json_put_obj(p, pv, STR("spec")), *path = json_put_obj(p, spec, STR("hostPath"));
    struct str policy = json_get_str(c->class_tree, "reclaimPolicy");
    json_set_str(p, meta, STR("name"), name);
    json_set_str(p, ann, STR(ANN_PROVISIONED_BY), STR(LOCAL_PATH_PROVISIONER));
    json_set_str(p, ann, STR(LOCAL_PATH_NODE), node);
    json_set_str(p, ann, STR(LOCAL_PATH_MANAGED), STR("true"));
    json_set_str(
        p, path, STR("path"), pool_printf(p, "%s/%.*s_%.*s_%.*s", base_of(c->s), STR_ARG(name), STR_ARG(c->o->ns), STR_ARG(c->o->name)));
    json_set_str(p, path, STR("type"), STR("DirectoryOrCreate"));
    json_set(p, spec, STR("accessModes"), json_clone(p, json_get(c->spec, STR("accessModes"))));
    json_set(p, json_put_obj(p, spec, STR("capacity")), STR("storage"),
        json_clone(p, json_path(c->spec, "resources", "requests", "storage", NULL)));
    json_set(p, spec, STR("claimRef"), claim_ref(c));
    json_set_str(p, spec, STR("persistentVolumeReclaimPolicy"), policy.n ? policy : STR("Delete"));
    json_set_str(p, spec, STR("storageClassName"), c->class);
    json_set_str(p, spec, STR("volumeMode"), STR("Filesystem"));
    tie_to_node(p, spec, hostname);
    return pv;
}

/* A pod that cannot be placed after all lets go of the node: the scheduler chooses again. */
static int choose_again(struct claim *c, struct err **e)
{
    json_del(json_path(c->tree, "metadata", "annotations", NULL), STR(ANN_SELECTED_NODE));
    int r = sync_update(c->s, R_PVCS, c->o, NULL, c->tree, NULL, e);
    return err_is(e, ERR_NOT_FOUND) || err_is(e, ERR_CONFLICT) ? 0 : MIN(r, 0);
}

static int provision(struct claim *c, struct err **e)
{
    struct str name = pool_printf(c->s->pool, "pvc-%.*s", STR_ARG(c->o->uid));
    const struct obj *node = sync_get(c->s, R_NODES, STR(""), c->selected_node);
    if (sync_get(c->s, R_PVS, STR(""), name))
        return 0;
    if (!node)
        return choose_again(c, e);
    if (str_eqz(json_get_str(c->spec, "volumeMode"), "Block"))
        return refuse(c, "block volumes are not supported");
    if (!modes_possible(c->spec))
        return refuse(c, "NodePath only supports ReadWriteOnce and ReadWriteOncePod (1.22+) access modes");
    if (json_get(c->spec, STR("selector")))
        return refuse(c, "claim.Spec.Selector is not supported");
    if (json_count(json_get(c->class_tree, STR("parameters"))))
        return refuse(c, "parameters of the class are not supported");
    struct str host = json_as_str(json_get(json_path(sync_tree(c->s, node), "metadata", "labels", NULL), STR("kubernetes.io/hostname")));
    struct json *pv = volume_for(c, name, c->selected_node, host.n ? host : c->selected_node);
    int r = sync_create(c->s, R_PVS, STR(""), pv, NULL, e);
    if (err_is(e, ERR_EXISTS))
        return 0;
    if (r == 0)
        ctl_event(c->s->ctl, R_PVCS, c->o, false, "ProvisioningSucceeded", "Successfully provisioned volume %.*s", STR_ARG(name));
    return MIN(r, 0);
}

static int sync_claim_of_ours(struct sync *s, struct str key, struct err **e)
{
    struct str ns, name;
    struct claim c;
    const struct obj *o = str_cut(key, '/', &ns, &name) ? sync_get(s, R_PVCS, ns, name) : NULL;
    if (!o || o->deleted)
        return 0;
    claim_read(s, o, &c);
    if (c.volume.n || !str_eqz(json_get_str(c.class_tree, "provisioner"), LOCAL_PATH_PROVISIONER))
        return 0;
    if (!c.selected_node.n) {
        if (!str_eqz(json_get_str(c.class_tree, "volumeBindingMode"), "WaitForFirstConsumer"))
            return refuse(&c, "configuration error, no node was specified: the class needs volumeBindingMode WaitForFirstConsumer");
        return 0;
    }
    return provision(&c, e);
}

/* ---- volumes whose node is gone ---- */

static int sync_lost(struct sync *s, struct str name, struct err **e)
{
    const struct obj *o = sync_get(s, R_PVS, STR(""), name);
    struct json *tree = o && !o->deleted ? sync_tree(s, o) : NULL;
    struct str node = tree ? annotation_of(tree, LOCAL_PATH_NODE) : STR_NULL;
    if (!tree || !annotation_of(tree, LOCAL_PATH_MANAGED).n || !str_eqz(json_str_at(tree, "status", "phase", NULL), "Released") ||
        !str_eqz(json_str_at(tree, "spec", "persistentVolumeReclaimPolicy", NULL), "Delete") || sync_get(s, R_NODES, STR(""), node))
        return 0;
    return MIN(sync_delete(s, o, NULL, e), 0);
}

static int sync(struct sync *s, struct err **e)
{
    if (str_eqz(s->key, "class"))
        return sync_class(s, e);
    if (!base_of(s))
        return 0;
    struct str rest = str_sub(s->key, 2, s->key.n);
    return str_starts(s->key, STR("v|")) ? sync_lost(s, rest, e) : sync_claim_of_ours(s, rest, e);
}

/* ---- what wakes it ---- */

static void add(struct ctl *c, const char *kind, const struct obj *o)
{
    struct buf b = BUF_INIT;
    buf_puts(&b, kind);
    if (o->ns.n)
        buf_printf(&b, "%.*s/", STR_ARG(o->ns));
    buf_str_add(&b, o->name);
    ctl_add_raw(c, buf_str(&b));
    buf_clear(&b);
}

static void on_claim(struct ctl *c, const struct change *ch)
{
    if (!ch->gone && str_find(ch->obj->json, STR("\"volumeName\"")) < 0)
        add(c, "c|", ch->obj);
}

static void on_volume(struct ctl *c, const struct change *ch)
{
    if (!ch->gone && str_find(ch->obj->json, STR(LOCAL_PATH_MANAGED)) >= 0)
        add(c, "v|", ch->obj);
}

static void add_all(struct ctl *c, enum ctl_resource r, const char *kind)
{
    _cleanup_(store_view_unrefp) struct store_view *v = store_view(c->store);
    struct store_iter it;
    iter_start(&it, v, ctl_store_res(c, r), STR(""), STR_NULL, STR_NULL);
    for (const struct obj *o; (o = iter_next(&it));)
        add(c, kind, o);
}

static void on_node(struct ctl *c, const struct change *ch)
{
    if (ch->gone)
        add_all(c, R_PVS, "v|");
}

/* A class that appears may be what claims wait for. */
static void on_class(struct ctl *c, const struct change *ch)
{
    if (!ch->gone && !ch->before)
        add_all(c, R_PVCS, "c|");
}

static int start(struct ctl *c, struct err **e)
{
    (void)e;
    ctl_add_raw(c, STR("class"));
    return 0;
}

const struct controller localpath_controller = {
    .name = "local-path",
    .account = "local-path-provisioner",
    .component = LOCAL_PATH_PROVISIONER,
    .watches = {{R_PVCS, on_claim}, {R_PVS, on_volume}, {R_NODES, on_node}, {R_CLASSES, on_class}},
    .sync = sync,
    .start = start,
};
