/* What a pod's CSI volume is: from its PersistentVolume or its inline form to the requests that its plugin gets. */
#include "gate/csi_impl.h"
#include "crypto/hash.h"
#include "crypto/jwt.h"
#include "schema/quantity.h"

enum mode {
    SINGLE_NODE_WRITER = 1,
    MULTI_NODE_READER_ONLY = 3,
    MULTI_NODE_MULTI_WRITER = 5,
    SINGLE_NODE_SINGLE_WRITER = 6,
    SINGLE_NODE_MULTI_WRITER = 7
};

struct wish {
    struct gate *g;
    struct gpod *gp;
    struct pool *p;
    const struct json *pv, *src, *driver_object; /* src: PersistentVolume's or pod's csi */
    struct str volume, driver;
    const struct csi_driver *d;
};

static int mode_of(const struct wish *w)
{
    struct str first = STR_NULL;
    json_for (json_path(w->pv, "spec", "accessModes", NULL), m)
        first = first.n ? first : json_as_str(m);
    if (str_eqz(first, "ReadWriteMany"))
        return MULTI_NODE_MULTI_WRITER;
    if (str_eqz(first, "ReadOnlyMany"))
        return MULTI_NODE_READER_ONLY;
    if (str_eqz(first, "ReadWriteOncePod") && w->d->multi_writer)
        return SINGLE_NODE_SINGLE_WRITER;
    return w->d->multi_writer ? SINGLE_NODE_MULTI_WRITER : SINGLE_NODE_WRITER;
}

/* A Secret's values, decoded. Missing: the pod waits. */
static int secret_of(const struct wish *w, const char *ref, const struct json **out, struct err **e)
{
    const struct json *r = json_get(w->src, str_of(ref)), *secret;
    struct str ns = json_get_str(r, "namespace"), name = json_get_str(r, "name");
    struct json *plain = json_obj(w->p);
    *out = NULL;
    if (!name.n)
        return 0;
    secret = mirror_tree(w->g, w->p, "/secrets", ns.n ? ns : w->gp->ns, name);
    if (!secret)
        return err_set(e, ERR_UNAVAILABLE, "secret \"%.*s\" not found", STR_ARG(name));
    json_for (json_get(secret, STR("data")), it) {
        struct buf b = BUF_INIT;
        if (!buf_unbase64(&b, json_as_str(it))) {
            buf_clear(&b);
            return err_set(e, ERR_INVALID, "secret \"%.*s\": a value is no base64", STR_ARG(name));
        }
        json_set_str(w->p, plain, json_key(it), buf_to_pool(&b, w->p));
    }
    *out = plain;
    return 0;
}

/* CSIDriver.spec.tokenRequests: the pod's tokens for these audiences, as the kubelet writes them. A stale one is given rather than none. */
static int add_tokens(const struct wish *w, struct json *context, struct err **e)
{
    struct str account = json_str_at(gpod_tree(w->gp), "spec", "serviceAccountName", NULL);
    const struct json *list = json_path(w->driver_object, "spec", "tokenRequests", NULL);
    struct json *tokens = json_obj(w->p);
    if (!json_count(list))
        return 0;
    json_for (list, one) {
        struct str audience = json_get_str(one, "audience"), token;
        struct jwt jwt;
        char when[TIME_MAX];
        if (tokens_get(w->g, w->gp, account.n ? account : STR("default"), audience, json_get_int(one, "expirationSeconds", 3600), w->p,
                &token, e) < 0)
            return -(int)(*e)->code;
        struct json *o = json_put_obj(w->p, tokens, audience.n ? audience : STR(""));
        json_set_str(w->p, o, STR("token"), token);
        if (jwt_parse(token, w->p, &jwt, NULL) == 0)
            json_set_str(w->p, o, STR("expirationTimestamp"), time_format(json_get_int(jwt.claims, "exp", 0) * NS_PER_S, when));
    }
    json_set_str(w->p, context, STR("csi.storage.k8s.io/serviceAccount.tokens"), json_to_pool(w->p, tokens));
    return 0;
}

static struct json *volume_context(const struct wish *w)
{
    const struct json *from = json_get(w->src, STR("volumeAttributes"));
    struct json *out = from ? json_clone(w->p, from) : json_obj(w->p);
    if (!json_get_bool(json_get(w->driver_object, STR("spec")), "podInfoOnMount", false))
        return out;
    struct str account = json_str_at(gpod_tree(w->gp), "spec", "serviceAccountName", NULL);
    json_set_str(w->p, out, STR("csi.storage.k8s.io/pod.name"), w->gp->name);
    json_set_str(w->p, out, STR("csi.storage.k8s.io/pod.namespace"), w->gp->ns);
    json_set_str(w->p, out, STR("csi.storage.k8s.io/pod.uid"), w->gp->uid);
    json_set_str(w->p, out, STR("csi.storage.k8s.io/serviceAccount.name"), account);
    json_set_str(w->p, out, STR("csi.storage.k8s.io/ephemeral"), w->pv ? STR("false") : STR("true"));
    return out;
}

/* The handle of an inline volume: the kubelet's makeVolumeHandle. */
static struct str inline_handle(const struct wish *w)
{
    char hex[HASH_HEX + 1];
    struct str text = pool_printf(w->p, "%.*s%.*s%.*s", STR_ARG(w->gp->uid), STR_ARG(w->volume), STR_ARG(w->driver));
    return pool_printf(w->p, "csi-%.*s", STR_ARG(hash_sha256_hex(text, hex)));
}

static void paths(const struct wish *w, struct csi_volume *v)
{
    const char *root = w->g->o->kubelet_dir;
    char hex[HASH_HEX + 1];
    struct str pv = json_str_at(w->pv, "metadata", "name", NULL), name = pv.n ? pv : w->volume;
    if (v->block) {
        v->staging = pool_printf(w->p, "%s/plugins/kubernetes.io/csi/volumeDevices/staging/%.*s", root, STR_ARG(name));
        v->target =
            pool_printf(w->p, "%s/plugins/kubernetes.io/csi/volumeDevices/publish/%.*s/%.*s", root, STR_ARG(name), STR_ARG(w->gp->uid));
        return;
    }
    v->staging = w->pv ? pool_printf(w->p, "%s/plugins/kubernetes.io/csi/%.*s/%.*s/globalmount", root, STR_ARG(w->driver),
                             STR_ARG(hash_sha256_hex(v->handle, hex)))
                       : STR("");
    v->target = pool_printf(w->p, "%s/pods/%.*s/volumes/kubernetes.io~csi/%.*s/mount", root, STR_ARG(w->gp->uid), STR_ARG(name));
}

/* ---- attachment ---- */

struct attachment {
    const struct wish *w;
    const struct json *found;
};

static bool look_at(void *arg, const struct mirror_item *it)
{
    struct attachment *a = arg;
    struct json *o;
    pool_hold(a->w->p, bytes_ref(it->bytes));
    if (json_parse(a->w->p, bytes_str(it->bytes), &(struct json_limits){.view = true}, &o, NULL) == 0 &&
        str_eq(json_str_at(o, "spec", "source", "persistentVolumeName", NULL), json_str_at(a->w->pv, "metadata", "name", NULL)) &&
        str_eqz(json_str_at(o, "spec", "nodeName", NULL), a->w->g->o->node_name) &&
        str_eq(json_str_at(o, "spec", "attacher", NULL), a->w->driver))
        a->found = o;
    return a->found == NULL;
}

/* The context that the attacher left; drivers that need no attaching say so in their CSIDriver. */
static int attached(const struct wish *w, const struct json **context, struct err **e)
{
    struct attachment a = {w, NULL};
    *context = NULL;
    if (!w->pv || !json_get_bool(json_get(w->driver_object, STR("spec")), "attachRequired", true))
        return 0;
    mirror_each(w->g->mirror, STR("storage.k8s.io/volumeattachments/"), look_at, &a);
    const struct json *status = json_get(a.found, STR("status"));
    if (!json_get_bool(status, "attached", false)) {
        struct str why = json_str_at(status, "attachError", "message", NULL);
        return err_set(e, ERR_UNAVAILABLE, "volume \"%.*s\" is not attached to this node yet%s%.*s",
            STR_ARG(json_str_at(w->pv, "metadata", "name", NULL)), why.n ? ": " : "", STR_ARG(why));
    }
    *context = json_get(status, STR("attachmentMetadata"));
    return 0;
}

/* ---- the whole ---- */

static int fill(const struct wish *w, struct csi_volume *v, struct err **e)
{
    const struct json *spec = json_get(w->pv, STR("spec"));
    struct str handle = json_get_str(w->src, "volumeHandle");
    *v = (struct csi_volume){
        .handle = w->pv ? handle : inline_handle(w),
        .fs_type = json_get_str(w->src, "fsType"),
        .volume_context = volume_context(w),
        .mount_flags = json_get(spec, STR("mountOptions")),
        .access_mode = mode_of(w),
        .block = str_eqz(json_get_str(spec, "volumeMode"), "Block"),
        .read_only = json_get_bool(w->src, "readOnly", false),
    };
    if (!v->handle.n)
        return err_set(e, ERR_INVALID, "csi.volumeHandle is missing");
    paths(w, v);
    return attached(w, &v->publish_context, e);
}

/* CSIDriver.spec.fsGroupPolicy; ReadWriteOnceWithFSType is the default. */
static bool gives_group(const struct wish *w)
{
    struct str policy = json_str_at(w->driver_object, "spec", "fsGroupPolicy", NULL);
    bool once = false;
    json_for (json_path(w->pv, "spec", "accessModes", NULL), m)
        once = once || str_eqz(json_as_str(m), "ReadWriteOnce");
    if (str_eqz(policy, "File"))
        return true;
    return !str_eqz(policy, "None") && w->pv && once && json_get_str(w->src, "fsType").n && !json_get_bool(w->src, "readOnly", false);
}

static int begin(const struct wish *w, const struct csi_volume *v, struct csi_mount *m, struct err **e)
{
    struct csi_volume stage = *v, publish = *v;
    struct json *context = json_clone(w->p, v->volume_context); /* tokens are for publishing alone */
    publish.volume_context = context;
    if (add_tokens(w, context, e) < 0)
        return -(int)(*e)->code;
    if (secret_of(w, "nodeStageSecretRef", &stage.secrets, e) < 0 || secret_of(w, "nodePublishSecretRef", &publish.secrets, e) < 0)
        return -(int)(*e)->code;
    if (!w->d->stages)
        publish.staging = STR("");
    m = m ? m : csi_mount_new(w->g->csi, w->gp->uid, w->volume, w->driver, v);
    csi_begin(m, w->d, &stage, &publish);
    return m->why ? err_set(e, ERR_UNAVAILABLE, "%s", m->why)
                  : err_set(e, ERR_UNAVAILABLE, "it is being mounted by driver %.*s", STR_ARG(w->driver));
}

/* Made larger in the cluster (spec.capacity of the volume) and not yet here (status.capacity of its claim). */
static void expand(const struct wish *w, struct csi_mount *m)
{
    const struct json *ref = json_path(w->pv, "spec", "claimRef", NULL);
    struct str ns = json_get_str(ref, "namespace"), name = json_get_str(ref, "name"),
               want = json_str_at(w->pv, "spec", "capacity", "storage", NULL);
    const struct json *claim = w->pv && w->d && w->d->expands ? mirror_tree(w->g, w->p, "/persistentvolumeclaims", ns, name) : NULL;
    struct str have = json_str_at(claim, "status", "capacity", "storage", NULL);
    struct quantity a, b;
    struct csi_volume v;
    if (!have.n || quantity_parse(want, &a, NULL) < 0 || quantity_parse(have, &b, NULL) < 0 || quantity_cmp(a, b) <= 0)
        return;
    if (fill(w, &v, NULL) == 0 && secret_of(w, "nodeExpandSecretRef", &v.secrets, NULL) == 0)
        csi_expand(m, w->d, &v, ns, name, want, quantity_value(a));
}

int csi_volume(struct gate *g, struct gpod *gp, const struct json *pv, const struct json *volume, struct node_volume *out, struct err **e)
{
    _cleanup_(pool_freep) struct pool *p = pool_new();
    struct wish w = {.g = g,
        .gp = gp,
        .p = p,
        .pv = pv,
        .src = pv ? json_path(pv, "spec", "csi", NULL) : json_get(volume, STR("csi")),
        .volume = out->name};
    struct csi_mount *m = csi_mount_of(g->csi, gp->uid, out->name);
    struct csi_volume v;
    w.driver = json_get_str(w.src, "driver");
    w.driver_object = mirror_tree(g, p, "storage.k8s.io/csidrivers", STR(""), w.driver);
    w.d = csi_driver(g->csi, w.driver);
    out->kind = VOL_CSI;
    out->give = gives_group(&w);
    if (m && m->state == CSI_PUBLISHED) { /* it stays so while the driver is away, too */
        _cleanup_(err_freep) struct err *not_now = NULL;
        out->path = str_of(m->target);
        if (csi_wants_again(m, json_get_bool(json_get(w.driver_object, STR("spec")), "requiresRepublish", false)) && w.d &&
            fill(&w, &v, &not_now) == 0)
            (void)!begin(&w, &v, m, &not_now);
        expand(&w, m);
        return 0;
    }
    if (!w.d)
        return err_set(e, ERR_UNAVAILABLE, "driver name %.*s not found in the list of registered CSI drivers", STR_ARG(w.driver));
    int r = fill(&w, &v, e);
    return r < 0 ? r : begin(&w, &v, m, e);
}
