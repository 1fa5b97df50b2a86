#include "api/nodes.h"
#include "base/file.h"
#include "kinds/local_path.h"
#include "kinds/pod.h"
#include "schema/selector.h"

/* What a node's mirror holds (view "node"): its Node, its pods with the ConfigMaps, Secrets, claims and volumes that they name, all
 * Services, EndpointSlices and (slim) Nodes. While there is any NetworkPolicy in the cluster also all of these, and of every namespace and of
 * other nodes' pods what a policy can ask for: labels, addresses, names of ports ("peers/pods/...").
 *
 * Events of the store are only hints which keys may have changed ("dirty"). A cut is made from one root: wait until the root is durable,
 * look every dirty key up in it, send what differs from what was sent before, commit. So a cut is consistent by construction, nothing in it
 * can be taken back, and a pod never comes before what it names.
 *
 *      IDLE ──hint──→ DOOR (a root is held, its hard writes are waited for) ──→ send, commit ──→ IDLE, or DOOR again
 *
 * Keys: "<group>/<resource>/<namespace>/<name>" as in uplink/mirror.h.
 */

#define PEERS "peers/pods/"
#define QUEUE_MAX ((size_t)1 << 20)

struct sent {
    int64_t rev;
    uint64_t hash;
    char uid[UUID_LEN + 1];
};
struct part {
    struct store_res *res;
    const char *prefix;
    bool (*wanted)(struct node_view *w, const struct store_view *v, const struct obj *o);
    void (*slim)(struct pool *p, const struct json *doc, struct json *out); /* NULL: whole objects */
};

struct node_view {
    struct node_link *link;
    struct store_watch *watch;
    struct store_view *root; /* held while waiting at the door */
    struct store_wait wait;
    struct map sent, dirty; /* key → struct sent; key → (void *)1 */
    struct part parts[14];
    size_t nparts;
    bool waiting, all, started, changed;
    bool policies; /* there are NetworkPolicies, as of the last cut */
    int64_t cut; /* revision of the last commit */
};

/* ---- what is wanted ---- */

static bool on_node(const struct node_view *w, const struct obj *pod)
{
    for (uint32_t i = 0; i < pod->nkeys; i++)
        if (str_eqz(pod->keys[i].index, "node"))
            return str_eq(pod->keys[i].key, w->link->name);
    return false;
}

static bool always(struct node_view *w, const struct store_view *v, const struct obj *o)
{
    (void)w, (void)v, (void)o;
    return true;
}
static bool pod_wanted(struct node_view *w, const struct store_view *v, const struct obj *o)
{
    (void)v;
    return on_node(w, o);
}

/* What only policies ask for. */
static bool namespace_wanted(struct node_view *w, const struct store_view *v, const struct obj *o)
{
    (void)v, (void)o;
    return w->policies;
}
static bool peer_wanted(struct node_view *w, const struct store_view *v, const struct obj *o)
{
    const struct pod_view *p = o->view && o->nview >= sizeof *p ? o->view : NULL;
    (void)v;
    return w->policies && p && p->ip.n && !(p->flags & POD_HOST_NETWORK) && p->phase <= POD_RUNNING && !on_node(w, o);
}

struct search {
    struct node_view *w;
    bool found;
};
static bool search_pod(void *arg, const struct obj *o)
{
    struct search *s = arg;
    s->found = on_node(s->w, o);
    return !s->found;
}

static bool referenced(struct node_view *w, const struct store_view *v, const char *kind, struct str ns, struct str name)
{
    char key[600];
    struct search s = {w, false};
    int n = snprintf(key, sizeof key, "%s/%.*s/%.*s", kind, STR_ARG(ns), STR_ARG(name));
    if (n > 0 && (size_t)n < sizeof key)
        view_index(v, w->link->api->res.pods, STR("ref"), (struct str){key, (size_t)n}, search_pod, &s);
    return s.found;
}

static bool configmap_wanted(struct node_view *w, const struct store_view *v, const struct obj *o)
{
    if (str_eqz(o->name, "coredns-custom") && str_eqz(o->ns, "kube-system"))
        return true; /* names are answered on every node */
    return referenced(w, v, "ConfigMap", o->ns, o->name);
}
static bool claim_wanted(struct node_view *w, const struct store_view *v, const struct obj *o)
{
    return referenced(w, v, "PersistentVolumeClaim", o->ns, o->name);
}

/* A volume of the class local-path whose folder is on this node: the node removes it when its claim is gone. */
static bool volume_here(const struct node_view *w, const struct json *pv)
{
    const struct json *ann = json_path(pv, "metadata", "annotations", NULL);
    return json_get(ann, STR(LOCAL_PATH_MANAGED)) && str_eq(json_get_str(ann, LOCAL_PATH_NODE), w->link->name);
}

static bool volume_wanted(struct node_view *w, const struct store_view *v, const struct obj *o)
{
    _cleanup_(pool_freep) struct pool *p = pool_new();
    struct json *doc;
    if (obj_parse(o, p, &doc, NULL) < 0)
        return false;
    const struct json *claim = json_path(doc, "spec", "claimRef", NULL);
    if (volume_here(w, doc))
        return true;
    return claim && referenced(w, v, "PersistentVolumeClaim", json_get_str(claim, "namespace"), json_get_str(claim, "name"));
}

struct volume_search {
    struct node_view *w;
    const struct store_view *v;
    bool found;
};
static bool search_volume(void *arg, const struct obj *o)
{
    struct volume_search *s = arg;
    s->found = volume_wanted(s->w, s->v, o);
    return !s->found;
}

/* A pod of this node names it, or a volume that one of its pods mounts (for the volume's CSI driver). */
static bool secret_wanted(struct node_view *w, const struct store_view *v, const struct obj *o)
{
    char key[600];
    struct volume_search s = {w, v, false};
    int n = snprintf(key, sizeof key, "Secret/%.*s/%.*s", STR_ARG(o->ns), STR_ARG(o->name));
    if (referenced(w, v, "Secret", o->ns, o->name))
        return true;
    if (n > 0 && (size_t)n < sizeof key)
        view_index(v, w->link->api->res.pvs, STR("ref"), str_make(key, (size_t)n), search_volume, &s);
    return s.found;
}

static bool attachment_wanted(struct node_view *w, const struct store_view *v, const struct obj *o)
{
    _cleanup_(pool_freep) struct pool *p = pool_new();
    struct json *doc;
    (void)v;
    return obj_parse(o, p, &doc, NULL) == 0 && str_eq(json_str_at(doc, "spec", "nodeName", NULL), w->link->name);
}

static const struct part *part_of(const struct node_view *w, const struct store_res *r)
{
    for (size_t i = 0; i < w->nparts; i++)
        if (w->parts[i].res == r)
            return &w->parts[i];
    return NULL;
}

static const struct part *part_of_key(const struct node_view *w, struct str key)
{
    for (size_t i = 0; i < w->nparts; i++)
        if (str_starts(key, str_of(w->parts[i].prefix)))
            return &w->parts[i];
    return NULL;
}

/* ---- dirty keys ---- */

static void dirty(struct node_view *w, struct str key)
{
    (void)map_put(&w->dirty, key, w);
}

static void dirty_obj(struct node_view *w, const struct part *part, const struct obj *o)
{
    char key[700];
    int n = snprintf(key, sizeof key, "%s%.*s/%.*s", part->prefix, STR_ARG(o->ns), STR_ARG(o->name));
    if (n > 0 && (size_t)n < sizeof key)
        dirty(w, (struct str){key, (size_t)n});
}

static void dirty_secrets(struct node_view *w, const struct obj *volume)
{
    char key[700];
    for (uint32_t i = 0; volume && i < volume->nkeys; i++) {
        struct str v = volume->keys[i].key;
        int n = str_starts(v, STR("Secret/")) ? snprintf(key, sizeof key, "/secrets/%.*s", STR_ARG(str_sub(v, 7, v.n))) : 0;
        if (n > 0 && (size_t)n < sizeof key)
            dirty(w, str_make(key, (size_t)n));
    }
}

/* A claim's volume comes and goes with it, and the Secrets that the volume names. */
static void dirty_volume(struct node_view *w, const struct store_view *v, const struct obj *claim)
{
    _cleanup_(pool_freep) struct pool *p = pool_new();
    struct json *doc;
    if (obj_parse(claim, p, &doc, NULL) < 0)
        return;
    struct str name = json_str_at(doc, "spec", "volumeName", NULL);
    if (str_empty(name))
        return;
    dirty(w, pool_printf(p, "/persistentvolumes//%.*s", STR_ARG(name)));
    dirty_secrets(w, view_get(v, w->link->api->res.pvs, STR(""), name));
}

/* What a pod of this node names may have become wanted, or no longer so. */
static void dirty_refs(struct node_view *w, const struct store_view *v, const struct obj *pod)
{
    static const struct {
        const char *kind, *prefix;
    } kinds[] = {{"ConfigMap/", "/configmaps/"}, {"Secret/", "/secrets/"}, {"PersistentVolumeClaim/", "/persistentvolumeclaims/"}};
    char key[700];
    for (uint32_t i = 0; i < pod->nkeys; i++)
        for (size_t k = 0; str_eqz(pod->keys[i].index, "ref") && k < ARRAY_LEN(kinds); k++) {
            struct str prefix = str_of(kinds[k].kind), v_key = pod->keys[i].key;
            if (!str_starts(v_key, prefix))
                continue;
            int n = snprintf(key, sizeof key, "%s%.*s", kinds[k].prefix, STR_ARG(str_sub(v_key, prefix.n, v_key.n)));
            if (n > 0 && (size_t)n < sizeof key)
                dirty(w, (struct str){key, (size_t)n});
            struct str ns, name;
            const struct obj *claim = NULL;
            if (str_eqz(prefix, "PersistentVolumeClaim/") && str_cut(str_sub(v_key, prefix.n, v_key.n), '/', &ns, &name))
                claim = view_get(v, w->link->api->res.pvcs, ns, name);
            if (claim) /* bound before the pod came here: nothing else tells of its volume */
                dirty_volume(w, v, claim);
        }
}

static void hint(struct node_view *w, const struct store_event *ev)
{
    const struct part *part = part_of(w, ev->obj->res);
    struct api *a = w->link->api;
    if (!part)
        return;
    _cleanup_(store_view_unrefp) struct store_view *v = ev->obj->res == a->res.pods || ev->obj->res == a->res.pvcs ? store_view(a->store) : NULL;
    if (ev->obj->res == a->res.pods) {
        bool now = on_node(w, ev->obj), was = ev->before && on_node(w, ev->before);
        if (w->policies)
            dirty_obj(w, part_of_key(w, STR(PEERS)), ev->obj);
        if (!now && !was)
            return;
        dirty_refs(w, v, ev->obj);
        if (ev->before)
            dirty_refs(w, v, ev->before);
    }
    if (ev->obj->res == a->res.pvcs)
        dirty_volume(w, v, ev->obj);
    if (ev->obj->res == a->res.pvs)
        dirty_secrets(w, ev->obj);
    dirty_obj(w, part, ev->obj);
}

/* ---- sending ---- */

/* Of some objects only what the network needs, so that the rest of their changes are no news. */
static void slim_copy(struct pool *p, const struct json *doc, struct json *out, const char *from, const char *key)
{
    const struct json *v = json_path(doc, from, key, NULL);
    if (v)
        json_set(p, json_put_obj(p, out, str_of(from)), str_of(key), json_clone(p, v));
}

static void slim_node(struct pool *p, const struct json *doc, struct json *out)
{
    slim_copy(p, doc, out, "metadata", "labels");
    slim_copy(p, doc, out, "metadata", "annotations");
    slim_copy(p, doc, out, "spec", "podCIDR");
    slim_copy(p, doc, out, "spec", "podCIDRs");
    slim_copy(p, doc, out, "status", "addresses");
    json_for (json_path(doc, "status", "conditions", NULL), c)
        if (str_eqz(json_get_str(c, "type"), "Ready")) {
            struct json *ready = json_append(json_put_arr(p, json_put_obj(p, out, STR("status")), STR("conditions")), json_obj(p));
            json_set_str(p, ready, STR("type"), STR("Ready"));
            json_set_str(p, ready, STR("status"), json_get_str(c, "status"));
        }
}

static void slim_namespace(struct pool *p, const struct json *doc, struct json *out)
{
    slim_copy(p, doc, out, "metadata", "labels");
}

static void slim_pod(struct pool *p, const struct json *doc, struct json *out)
{
    slim_copy(p, doc, out, "metadata", "namespace");
    slim_copy(p, doc, out, "metadata", "labels");
    slim_copy(p, doc, out, "status", "podIP");
    struct json *list = json_put_arr(p, json_put_obj(p, out, STR("spec")), STR("containers"));
    json_for (json_path(doc, "spec", "containers", NULL), c) {
        const struct json *ports = json_get(c, STR("ports"));
        if (json_count(ports))
            json_set(p, json_append(list, json_obj(p)), STR("ports"), json_clone(p, ports));
    }
}

static struct str slim(struct pool *p, const struct obj *o, const struct part *part)
{
    struct json *doc, *out = json_obj(p);
    if (obj_parse(o, p, &doc, NULL) < 0)
        return o->json;
    json_set(p, out, STR("kind"), json_clone(p, json_get(doc, STR("kind"))));
    json_set_str(p, out, STR("apiVersion"), STR("v1"));
    struct json *m = json_put_obj(p, out, STR("metadata"));
    json_set_str(p, m, STR("name"), o->name);
    json_set_str(p, m, STR("uid"), o->uid);
    part->slim(p, doc, out);
    return json_to_pool(p, out);
}

static void upsert(struct node_view *w, const struct part *part, struct str key, const struct obj *o)
{
    _cleanup_(pool_freep) struct pool *p = pool_new();
    bool other = part->slim && !(o->res == w->link->api->res.nodes && str_eq(o->name, w->link->name));
    struct sent *s = map_get(&w->sent, key);
    if (s && s->rev == o->rev)
        return;
    struct str bytes = other ? slim(p, o, part) : o->json;
    uint64_t hash = other ? str_hash(bytes) : 0;
    if (s && other && s->hash == hash && str_eqz(o->uid, s->uid))
        return;
    if (!s) {
        s = xcalloc(1, sizeof *s);
        (void)map_put(&w->sent, key, s);
    }
    s->rev = o->rev;
    s->hash = hash;
    snprintf(s->uid, sizeof s->uid, "%.*s", STR_ARG(o->uid));
    uplink_upsert(w->link->peer, key, o->uid, o->rev, bytes);
    w->changed = true;
}

static void tombstone(struct node_view *w, struct str key, int64_t rev)
{
    struct sent *s = map_del(&w->sent, key);
    if (!s)
        return;
    uplink_delete(w->link->peer, key, str_of(s->uid), rev);
    free(s);
    w->changed = true;
}

static const struct obj *look_up(const struct store_view *v, const struct part *part, struct str key)
{
    struct str rest = str_sub(key, strlen(part->prefix), key.n), ns, name;
    return str_cut(rest, '/', &ns, &name) ? view_get(v, part->res, ns, name) : NULL;
}

static void send_key(struct node_view *w, const struct part *part, struct str key, bool gone)
{
    const struct obj *o = look_up(w->root, part, key);
    bool wanted = o && part->wanted(w, w->root, o);
    if (wanted && !gone)
        upsert(w, part, key, o);
    else if (!wanted && gone)
        tombstone(w, key, view_rev(w->root));
}

/* In the order of the parts, so that what a pod names comes before it; and the other way round when things go. */
static void send_dirty(struct node_view *w)
{
    for (size_t i = 0; i < 2 * w->nparts; i++) {
        bool gone = i >= w->nparts;
        const struct part *part = &w->parts[gone ? 2 * w->nparts - 1 - i : i];
        map_for (&w->dirty, it)
            if (part_of_key(w, map_key(it)) == part)
                send_key(w, part, map_key(it), gone);
    }
}

/* Everything: what is wanted is sent, what was sent and is wanted no more goes. */
static void send_all(struct node_view *w)
{
    struct map seen = {0};
    for (size_t i = 0; i < w->nparts; i++) {
        struct store_iter it;
        iter_start(&it, w->root, w->parts[i].res, STR_NULL, STR_NULL, STR_NULL);
        for (const struct obj *o; (o = iter_next(&it));) {
            char key[700];
            int n = snprintf(key, sizeof key, "%s%.*s/%.*s", w->parts[i].prefix, STR_ARG(o->ns), STR_ARG(o->name));
            if (n <= 0 || (size_t)n >= sizeof key || !w->parts[i].wanted(w, w->root, o))
                continue;
            struct str k = {key, (size_t)n};
            (void)map_put(&seen, k, w);
            upsert(w, &w->parts[i], k, o);
        }
    }
    for (size_t i = w->nparts; i-- > 0;)
        map_for (&w->sent, it) {
            struct str key = map_key(it);
            if (part_of_key(w, key) == &w->parts[i] && !map_get(&seen, key)) {
                _cleanup_(pool_freep) struct pool *p = pool_new();
                tombstone(w, pool_str(p, key), view_rev(w->root)); /* frees the entry that key lives in */
            }
        }
    map_clear(&seen, NULL);
}

static int64_t hard_rev(const struct node_view *w, const struct store_view *v)
{
    int64_t rev = 0;
    for (size_t i = 0; i < w->nparts; i++)
        rev = MAX(rev, view_res_rev(v, w->parts[i].res));
    return rev;
}

static void drain_hints(struct node_view *w)
{
    struct store_event *ev;
    struct err *e = NULL;
    while (w->watch && (ev = store_watch_next(w->watch, &e))) {
        if (ev->type == STORE_RESYNC)
            w->all = true;
        else
            hint(w, ev);
        store_event_unref(ev);
    }
    if (e) { /* fell off the ring: a whole comparison makes up for it */
        err_free(e);
        store_watch_close(TAKE(w->watch));
        w->all = true;
    }
}

static bool policies_in(const struct node_view *w)
{
    struct store_res *r = w->link->api->res.network_policies;
    struct store_iter it;
    if (!r)
        return false;
    iter_start(&it, w->root, r, STR_NULL, STR_NULL, STR_NULL);
    return iter_next(&it) != NULL;
}

static void turn(struct node_view *w);

static void cut(struct node_view *w)
{
    w->changed = false;
    if (policies_in(w) != w->policies) {
        w->policies = !w->policies;
        w->all = true;
    }
    if (w->all)
        send_all(w);
    else
        send_dirty(w);
    w->all = false;
    map_clear(&w->dirty, NULL);
    int64_t rev = hard_rev(w, w->root);
    if (w->changed || !w->started)
        uplink_commit(w->link->peer, rev);
    w->started = true;
    w->cut = rev;
    store_view_unref(TAKE(w->root));
}

static void door(struct store_wait *sw, int result)
{
    struct node_view *w = container_of(sw, struct node_view, wait);
    w->waiting = false;
    if (result < 0) { /* what we were about to send was taken back */
        store_view_unref(TAKE(w->root));
        w->all = true;
    } else {
        cut(w);
    }
    turn(w);
}

static void notify(void *arg)
{
    turn(arg);
}

static void drained(void *arg, struct uplink_peer *p)
{
    struct node_link *l = uplink_peer_user(p);
    (void)arg;
    if (l && l->view)
        turn(l->view);
}

static bool open_watch(struct node_view *w)
{
    struct api *a = w->link->api;
    if (w->watch)
        return true;
    _cleanup_(store_view_unrefp) struct store_view *v = store_view(a->store);
    return store_watch_open(a->store, NULL, view_rev(v), 0, w->link->loop, notify, w, &w->watch, NULL) >= 0;
}

static void turn(struct node_view *w)
{
    struct api *a = w->link->api;
    if (w->waiting || !w->link->peer)
        return;
    if (!open_watch(w))
        return;
    for (;;) {
        if (uplink_peer_queued(w->link->peer) > QUEUE_MAX)
            return;                     /* drained() comes */
        w->root = store_view(a->store); /* before the hints are read: a hint that is missed is in a later root */
        drain_hints(w);
        if (!w->watch) {
            store_view_unref(TAKE(w->root));
            if (!open_watch(w))
                return;
            continue;
        }
        if (!w->all && map_count(&w->dirty) == 0) {
            store_view_unref(TAKE(w->root));
            return;
        }
        store_view_unref(w->root);
        w->root = store_view(a->store); /* newer than every hint that was read */
        if (!store_wait(a->store, hard_rev(w, w->root), &w->wait, w->link->loop, door)) {
            w->waiting = true;
            return;
        }
        cut(w);
    }
}

/* ---- life ---- */

struct node_view *node_view_new(struct node_link *l)
{
    struct node_view *w = xcalloc(1, sizeof *w);
    struct api *a = l->api;
    const struct part parts[] = {{a->res.nodes, "/nodes/", always, slim_node},
        {a->res.runtime_classes, "node.k8s.io/runtimeclasses/", always, NULL},
        {a->res.namespaces, "/namespaces/", namespace_wanted, slim_namespace},
        {a->res.network_policies, "networking.k8s.io/networkpolicies/", always, NULL},
        {a->res.secrets, "/secrets/", secret_wanted, NULL},
        {a->res.configmaps, "/configmaps/", configmap_wanted, NULL}, {a->res.pvcs, "/persistentvolumeclaims/", claim_wanted, NULL},
        {a->res.pvs, "/persistentvolumes/", volume_wanted, NULL},
        {store_find(a->store, STR("storage.k8s.io/csidrivers")), "storage.k8s.io/csidrivers/", always, NULL},
        {store_find(a->store, STR("storage.k8s.io/volumeattachments")), "storage.k8s.io/volumeattachments/", attachment_wanted, NULL}, {a->res.pods, "/pods/", pod_wanted, NULL},
        {a->res.services, "/services/", always, NULL},
        {a->res.slices, "discovery.k8s.io/endpointslices/", always, NULL}, {a->res.pods, PEERS, peer_wanted, slim_pod}};
    w->link = l;
    for (size_t i = 0; i < ARRAY_LEN(parts); i++)
        if (parts[i].res)
            w->parts[w->nparts++] = parts[i];
    return w;
}

void node_view_free(struct node_view *w)
{
    if (!w)
        return;
    if (w->waiting)
        store_wait_cancel(w->link->api->store, &w->wait);
    store_watch_close(w->watch);
    store_view_unref(w->root);
    map_clear(&w->sent, free);
    map_clear(&w->dirty, NULL);
    free(w);
}

void node_view_resume(struct node_view *w, int64_t rev)
{
    if (w->link->peer)
        uplink_peer_on_drain(w->link->peer, drained);
    if (rev > 0) {
        uplink_ask_inventory(w->link->peer);
        return;
    }
    w->all = true;
    turn(w);
}

/* What the node has already counts as sent: only differences and tombstones follow. */
void node_view_inventory(struct node_view *w, const struct mirror_item *items, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct sent *s = xcalloc(1, sizeof *s);
        s->rev = items[i].rev;
        snprintf(s->uid, sizeof s->uid, "%.*s", STR_ARG(items[i].uid));
        free(map_put(&w->sent, items[i].key, s));
    }
    w->all = true;
    turn(w);
}
