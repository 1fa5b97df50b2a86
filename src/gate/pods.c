/* Which pods should run here, what node was told of them, and what the cluster is told.
 *
 * A pod comes from the mirror (spec.nodeName is ours). It leaves in one of two ways: deletionTimestamp is set, then node is asked to stop it with grace, and when node
 * says that it is gone the object is deleted with grace 0 and its uid; or the object went from the mirror (deleted by force), then node clears it up at once. */
#include <stdlib.h>

#include "gate/impl.h"
#include "gate/csi.h"
#include "gate/pull.h"

#define PODS STR("/pods/")
#define RETRY_NS (5 * NS_PER_S)

static struct str own(struct str s)
{
    return str_make(str_dup(s), s.n);
}

static void gpod_free(void *arg)
{
    struct gpod *p = arg;
    probes_free(p->probes);
    hooks_forget(p);
    resize_free(p->resize);
    free(p->refused);
    free(p->refused_why);
    free((char *)p->mirror_uid.p);
    pulls_forget(p);
    timer_del(&p->retry);
    bytes_unref(p->object);
    bytes_unref(p->sent);
    bytes_unref(p->reported);
    pool_free(p->tree_pool);
    pool_free(p->state_pool);
    free((char *)p->uid.p);
    free((char *)p->ns.p);
    free((char *)p->name.p);
    free(p);
}

struct gpod *pods_find(struct gate *g, struct str uid)
{
    return map_get(&g->pods, uid);
}

struct gpod *pods_find_name(struct gate *g, struct str ns, struct str name)
{
    map_for(&g->pods, it) {
        struct gpod *p = it->value;
        if (str_eq(p->ns, ns) && str_eq(p->name, name) && p->object)
            return p;
    }
    return NULL;
}

struct json *gpod_tree(struct gpod *p)
{
    if (!p->tree && p->object) {
        p->tree_pool = pool_new();
        if (json_parse(p->tree_pool, bytes_str(p->object), &(struct json_limits){.view = true}, &p->tree, NULL) < 0)
            p->tree = NULL;
    }
    return p->tree;
}

void gpod_dirty(struct gpod *p)
{
    p->dirty = true;
    gate_turn(p->gate);
}

void gpod_report(struct gpod *p)
{
    p->report = true;
    p->gate->services_dirty = true; /* our own readiness overrides mirrored slices */
    gate_turn(p->gate);
}

static void set_object(struct gpod *p, struct bytes *object)
{
    bytes_unref(p->object);
    p->object = bytes_ref(object);
    p->tree = NULL;
    pool_free(TAKE(p->tree_pool));
    struct json *tree = gpod_tree(p);
    p->deleting = tree && json_str_at(tree, "metadata", "deletionTimestamp", NULL).n > 0;
    p->stop_grace = json_get_int(json_get(tree, STR("metadata")), "deletionGracePeriodSeconds", 30);
    p->dirty = p->report = true;
}

static bool finished(const struct json *tree)
{
    struct str phase = json_str_at(tree, "status", "phase", NULL);
    return str_eqz(phase, "Succeeded") || str_eqz(phase, "Failed");
}

static struct gpod *gpod_new(struct gate *g, struct str uid, struct str ns, struct str name)
{
    struct gpod *p = xcalloc(1, sizeof *p);
    p->gate = g;
    p->uid = own(uid);
    p->ns = own(ns);
    p->name = own(name);
    list_init(&p->hooks);
    map_put(&g->pods, uid, p);
    return p;
}

static void put(struct gate *g, const struct mirror_item *it)
{
    struct gpod *p = pods_find(g, it->uid);
    struct str rest = str_sub(it->key, PODS.n, it->key.n), ns, name;
    if (!p && str_cut(rest, '/', &ns, &name))
        p = gpod_new(g, it->uid, ns, name);
    if (p)
        set_object(p, it->bytes);
}

/* The object went: whoever deleted it did so by force, or our own deletion came back. */
static void drop(struct gate *g, struct str uid)
{
    struct gpod *p = pods_find(g, uid);
    if (!p)
        return;
    bytes_unref(TAKE(p->object));
    p->tree = NULL;
    pool_free(TAKE(p->tree_pool));
    p->stop_grace = 0;
    if (p->gone || !p->sent) {
        map_del(&g->pods, uid);
        (void)csi_release(g, p->uid);
        gpod_free(p);
        return;
    }
    p->dirty = true;
}

/* ---- static pods ---- */

struct gpod *pods_put_static(struct gate *g, struct str uid, struct str ns, struct str name, struct bytes *object)
{
    struct gpod *p = gpod_new(g, uid, ns, name);
    p->is_static = true;
    set_object(p, object);
    gate_turn(g);
    return p;
}

void pods_drop_static(struct gpod *p)
{
    struct gate *g = p->gate;
    int64_t grace = json_get_int(json_get(gpod_tree(p), STR("spec")), "terminationGracePeriodSeconds", 30);
    bool told = p->sent || p->state;
    statics_drop_mirror(p);
    bytes_unref(TAKE(p->object));
    p->tree = NULL;
    pool_free(TAKE(p->tree_pool));
    p->stop_grace = grace;
    p->dirty = true;
    if (p->gone || (!told && g->synced)) { /* before node was told all, it may have it from an earlier life */
        map_del(&g->pods, p->uid);
        gpod_free(p);
    }
    gate_turn(g);
}

struct str gpod_api_uid(const struct gpod *p)
{
    return p->is_static ? p->mirror_uid : p->uid;
}

/* A ConfigMap or Secret changed: the pods of its namespace may show it. */
static void touch_namespace(struct gate *g, struct str key)
{
    struct str rest = key, piece, ns = STR_NULL;
    for (int i = 0; i < 3 && str_split(&rest, '/', &piece); i++)
        ns = piece; /* "", resource, namespace */
    map_for(&g->pods, it) {
        struct gpod *p = it->value;
        if (str_eq(p->ns, ns))
            p->dirty = true;
    }
}

static void own_node_changed(struct gate *g, const struct mirror_item *it)
{
    _cleanup_(pool_freep) struct pool *p = pool_new();
    struct json *tree;
    if (json_parse(p, bytes_str(it->bytes), NULL, &tree, NULL) < 0)
        return;
    struct str cidr = json_str_at(tree, "spec", "podCIDR", NULL);
    if (str_empty(cidr) || str_eqz(cidr, g->pod_cidr))
        return;
    snprintf(g->pod_cidr, sizeof g->pod_cidr, "%.*s", STR_ARG(cidr));
    g->config_dirty = g->all_dirty = true;
}

void pods_mirror_change(struct gate *g, struct str key, const struct mirror_item *before, const struct mirror_item *after)
{
    policies_mirror_change(g, key);
    if (str_starts(key, STR("/nodes/")) || str_eqz(key, "/configmaps/kube-system/coredns-custom"))
        g->names_dirty = true;
    if (str_starts(key, PODS) && (statics_is_mirror(before) || statics_is_mirror(after))) {
        statics_mirror(g, before, after);
    } else if (str_starts(key, PODS)) {
        if (before && (!after || !str_eq(before->uid, after->uid)))
            drop(g, before->uid);
        if (after)
            put(g, after);
        g->services_dirty = true;
    } else if (str_starts(key, STR("/configmaps/")) || str_starts(key, STR("/secrets/")) || str_starts(key, STR("/persistentvolume"))) {
        touch_namespace(g, key);
        if (str_starts(key, STR("/persistentvolumes/")))
            storage_mirror_change(g, key, !after);
    } else if (str_starts(key, STR("/nodes/"))) {
        g->peers_dirty = true;
        bool own = str_ends(key, str_of(g->o->node_name)) && key.n == sizeof "/nodes//" - 1 + strlen(g->o->node_name);
        if (!own && g->paths.npaths)
            cluster_node_changed(g); /* who is Ready counts for who should be reached */
        if (own && after) {
            own_node_changed(g, after);
            g->services_dirty = true; /* its zone counts */
        }
    } else if (str_starts(key, STR("storage.k8s.io/"))) {
        g->all_dirty = true;
    } else if (str_starts(key, STR("/services/")) || str_starts(key, STR("discovery.k8s.io/endpointslices/"))) {
        services_mirror_change(g, key);
        g->services_dirty = true;
    }
    gate_turn(g);
}

static bool load_one(void *arg, const struct mirror_item *it)
{
    pods_mirror_change(arg, it->key, NULL, it);
    return true;
}

void pods_load(struct gate *g)
{
    mirror_each(g->mirror, STR(""), load_one, g);
}

/* ---- node ---- */

void pods_node_restarted(struct gate *g)
{
    g->synced = false;
    g->storage_dirty = true;
    map_for(&g->pods, it) {
        struct gpod *p = it->value;
        bytes_unref(TAKE(p->sent));
        p->stop_sent = p->gone = false;
        hooks_forget(p); /* node asks again */
        p->dirty = true;
    }
}

void pods_state(struct gate *g, struct wire_msg *m)
{
    _cleanup_(err_freep) struct err *e = NULL;
    struct pool *pool = pool_new();
    struct node_pod_state *s = pool_new_of(pool, struct node_pod_state);
    if (wire_decode(&node_pod_state_type, pool_str(pool, m->body), pool, s, &e) < 0) {
        log_error("from node: %s", err_msg(e));
        pool_free(pool);
        return;
    }
    struct gpod *p = pods_find(g, s->uid);
    if (!p) { /* node has it from before, and the mirror has not: NODE_SYNCED lets node clear it up */
        pool_free(pool);
        return;
    }
    if (p->wants_ip && !str_eq(gpod_ip(p), s->ip))
        p->dirty = true;
    pool_free(p->state_pool);
    p->state_pool = pool;
    p->state = s;
    policies_pod_changed(g);
    probes_update(p);
    gpod_report(p);
}

static void delete_object(struct gpod *p)
{
    _cleanup_(pool_freep) struct pool *pool = pool_new();
    struct str path = pool_printf(pool, "/api/v1/namespaces/%.*s/pods/%.*s", STR_ARG(p->ns), STR_ARG(p->name));
    struct str body = pool_printf(pool, "{\"kind\":\"DeleteOptions\",\"apiVersion\":\"v1\",\"gracePeriodSeconds\":0,\"preconditions\":{\"uid\":\"%.*s\"}}", STR_ARG(p->uid));
    struct outbox_entry x = {.key = pool_printf(pool, "delete/%.*s", STR_ARG(p->uid)), .method = STR("DELETE"), .path = path, .content_type = STR("application/json"), .body = body};
    outbox_put(p->gate->outbox, &x, 0);
}

void pods_gone(struct gate *g, struct str uid)
{
    struct gpod *p = pods_find(g, uid);
    if (csi_release(g, uid) || !p) /* its volumes first: the object is what holds them attached */
        return;
    p->gone = true;
    if (p->object) {
        p->report = true; /* the last status goes out before the deletion */
        gate_turn(g);
        return;
    }
    map_del(&g->pods, uid);
    gpod_free(p);
}

static void on_retry(struct timer *t)
{
    gpod_dirty(container_of(t, struct gpod, retry));
}

static void send_stop(struct gpod *p, int64_t grace)
{
    struct node_pod_stop m = {.uid = p->uid, .grace_s = grace, .reason = STR("deleted")};
    wire_send(p->gate->node, NODE_POD_STOP, 0, &node_pod_stop_type, &m, NULL, 0);
    p->stop_sent = true;
}

/* A pod that was never told to node since it (re)connected and is to go may still run there: node is asked to stop it all the same, and says GONE. */
static void stop(struct gpod *p)
{
    int64_t grace = p->object || p->is_static ? p->stop_grace : 0;
    if (!p->stop_sent)
        send_stop(p, grace);
}

static void run(struct gpod *p)
{
    struct gate *g = p->gate;
    _cleanup_(pool_freep) struct pool *pool = pool_new();
    _cleanup_(err_freep) struct err *e = NULL;
    _cleanup_(buf_clear) struct buf b = BUF_INIT;
    struct node_pod m = {0};
    int r = resolve_pod(g, p, pool, &m, &e);
    if (r < 0) {
        if (p->tries++) /* what is on its way (a token, a ConfigMap of the same apply) is no event */
            event_pod(p, STR_NULL, true, r == -ERR_UNAVAILABLE ? "FailedMount" : "Failed", "%s", err_msg(e));
        if (!p->retry.loop)
            timer_in(g->loop, &p->retry, RETRY_NS, on_retry);
        return;
    }
    struct str wished = m.ip; /* a wish only: when it changes, the pod does not */
    m.ip = STR_NULL;
    wire_encode(&node_pod_type, &m, &b);
    p->tries = 0;
    m.ip = wished;
    if (p->sent && str_eq(bytes_str(p->sent), buf_str(&b)))
        return;
    wire_send(g->node, NODE_POD, 0, &node_pod_type, &m, NULL, 0);
    bytes_unref(p->sent);
    p->sent = buf_to_bytes(&b);
}

static void resolve_one(struct gpod *p)
{
    p->dirty = p->object && statics_waits(p);
    if (p->gone || p->dirty)
        return;
    struct json *tree = gpod_tree(p);
    if (!p->object || p->deleting)
        stop(p);
    else if (tree && !(finished(tree) && !p->sent) && !pod_refused(p)) /* a pod that had finished before node came stays finished */
        run(p);
}

/* ---- status ---- */

static void report_one(struct gpod *p)
{
    struct gate *g = p->gate;
    _cleanup_(pool_freep) struct pool *pool = pool_new();
    _cleanup_(buf_clear) struct buf b = BUF_INIT;
    p->report = false;
    struct json *status = p->object ? status_compose(g, p, pool) : NULL;
    if (status) {
        struct json *patch = json_obj(pool), *meta = json_put_obj(pool, patch, STR("metadata"));
        struct str uid = gpod_api_uid(p);
        json_set_str(pool, meta, STR("uid"), uid);
        json_set(pool, patch, STR("status"), status);
        json_write(&b, patch);
        /* The cluster says that a node is out of reach by writing into its pods that they are not ready: what it was told before has to be told again. */
        bool overridden = status_pod_ready(json_get(gpod_tree(p), STR("status"))) != status_pod_ready(status);
        if (uid.n && (!p->reported || overridden || !str_eq(bytes_str(p->reported), buf_str(&b)))) {
            struct outbox_entry x = {
                .key = pool_printf(pool, "status/%.*s", STR_ARG(uid)),
                .method = STR("PATCH"),
                .path = pool_printf(pool, "/api/v1/namespaces/%.*s/pods/%.*s/status", STR_ARG(p->ns), STR_ARG(p->name)),
                .content_type = STR("application/merge-patch+json"),
                .body = buf_str(&b),
            };
            outbox_put(g->outbox, &x, 0);
            bytes_unref(p->reported);
            p->reported = buf_to_bytes(&b);
        }
    }
    if (p->gone && p->deleting && p->object)
        delete_object(p);
}

/* Pods that should run here and could not be resolved (a CSI driver is not registered yet, a Secret is missing): should node run them, it goes on. */
static void keep_unresolved(struct gate *g)
{
    map_for(&g->pods, it) {
        struct gpod *p = it->value;
        struct node_uid m = {p->uid};
        if (p->object && !p->sent && !p->deleting && !p->gone && !finished(gpod_tree(p)))
            wire_send(g->node, NODE_POD_KEEP, 0, &node_uid_type, &m, NULL, 0);
    }
}

void pods_work(struct gate *g)
{
    bool node = g->node && g->hello.cpus && g->images_known;
    map_for(&g->pods, it) {
        struct gpod *p = it->value;
        if (node && (p->dirty || g->all_dirty || resize_waits(p)))
            resolve_one(p);
    }
    if (node) {
        g->all_dirty = false;
        if (!g->synced) {
            struct node_empty none = {0};
            keep_unresolved(g);
            wire_send(g->node, NODE_SYNCED, 0, &node_empty_type, &none, NULL, 0);
            g->synced = true;
            csi_synced(g);
        }
    }
    statics_work(g);
    map_for(&g->pods, it) {
        struct gpod *p = it->value;
        if (p->report)
            report_one(p);
    }
}

void pods_free(struct gate *g)
{
    map_clear(&g->pods, gpod_free);
}

/* ---- our own truth, for Services and names ---- */

struct str gpod_ip(const struct gpod *p)
{
    return p->state ? p->state->ip : STR_NULL;
}

bool gpod_serving(const struct gpod *p, bool *ready)
{
    *ready = false;
    if (!p->state || !p->object)
        return false;
    bool all = p->state->ncontainers > 0;
    for (size_t i = 0; i < p->state->ncontainers; i++) {
        const struct node_container_state *c = &p->state->containers[i];
        if (c->state != CS_TERMINATED || c->exit_code != 0)
            all = all && c->state == CS_RUNNING && probes_ready(p, c->name);
    }
    *ready = all && !p->deleting && !p->gone;
    return !p->gone;
}
