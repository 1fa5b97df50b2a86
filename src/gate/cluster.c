/* The uplink to the cluster, and this node's own objects there: Node, its status, its Lease. */
#include <stdlib.h>

#include "base/file.h"
#include "gate/impl.h"
#include "gate/trust.h"

#define LEASE_NS (10 * NS_PER_S)
#define STATUS_NS (300 * NS_PER_S)
#define SETTLE_NS (200 * NS_PER_MS)
#define IMAGES_SHOWN 50

struct node_link {
    struct gate *gate;
    struct trust *trust;
    struct timer lease, status;
    struct uplink_call *creating, *leasing;
    bool registered, leased, refusal_told;
    int64_t ready_since, since_change;
    struct node_pressure was;
    bool was_ready, was_cut;
    int64_t cut_since;
    size_t was_missing;
    struct timer thaw;
    bool told_frozen;
    char *thawed; /* the last value of the Node's annotation THAW that was seen; on disk too */
};

static void report_soon(struct node_link *l, int64_t ns);

/* ---- the Node's status ---- */

static void set_quantity(struct pool *p, struct json *o, const char *key, int64_t value, const char *unit)
{
    json_set_str(p, o, str_of(key), pool_printf(p, "%" PRId64 "%s", value, unit));
}

/* What stays free below the eviction threshold, and what the operator keeps for the machine itself. */
static int64_t kept_memory(const struct gate *g)
{
    const struct node_hello *h = &g->hello;
    const struct node_settings *s = g->o->settings;
    int64_t threshold = h->memory > (512 << 20) ? 100 << 20 : 0;
    if (s && (s->evict_memory_bytes || s->evict_memory_percent))
        threshold = MAX(MAX(s->evict_memory_bytes, 0), h->memory / 100 * MAX(s->evict_memory_percent, 0));
    return MIN(threshold + (s ? s->reserved_memory : 0), h->memory);
}

static int64_t kept_storage(const struct gate *g)
{
    const struct node_hello *h = &g->hello;
    const struct node_settings *s = g->o->settings;
    int64_t threshold = h->storage / 10;
    if (s && (s->evict_disk_bytes || s->evict_disk_percent))
        threshold = MAX(MAX(s->evict_disk_bytes, 0), h->storage / 100 * MAX(s->evict_disk_percent, 0));
    return MIN(threshold + (s ? s->reserved_storage : 0), h->storage);
}

void cluster_allocatable(const struct gate *g, int64_t *cpu_milli, int64_t *memory)
{
    *cpu_milli = MAX((int64_t)g->hello.cpus * 1000 - (g->o->settings ? g->o->settings->reserved_cpu_milli : 0), 0);
    *memory = g->hello.memory - kept_memory(g);
}

static void resources(struct gate *g, struct pool *p, struct json *status)
{
    const struct node_hello *h = &g->hello;
    struct json *capacity = json_put_obj(p, status, STR("capacity")), *allocatable = json_put_obj(p, status, STR("allocatable"));
    int64_t milli, memory;
    cluster_allocatable(g, &milli, &memory);
    set_quantity(p, capacity, "cpu", (int64_t)h->cpus, "");
    set_quantity(p, capacity, "memory", h->memory / 1024, "Ki");
    set_quantity(p, capacity, "ephemeral-storage", h->storage / 1024, "Ki");
    set_quantity(p, capacity, "pods", gate_max_pods(g), "");
    if (milli % 1000)
        set_quantity(p, allocatable, "cpu", milli, "m");
    else
        set_quantity(p, allocatable, "cpu", milli / 1000, "");
    set_quantity(p, allocatable, "memory", memory / 1024, "Ki");
    set_quantity(p, allocatable, "ephemeral-storage", h->storage - kept_storage(g), "");
    set_quantity(p, allocatable, "pods", gate_max_pods(g), "");
}

static void add_condition(struct node_link *l, struct pool *p, struct json *list, const char *type, bool on, const char *reason, const char *message, int64_t since)
{
    char now_text[TIME_MAX], since_text[TIME_MAX];
    struct json *c = json_append(list, json_obj(p));
    json_set_str(p, c, STR("type"), str_of(type));
    json_set_str(p, c, STR("status"), on ? STR("True") : STR("False"));
    json_set_str(p, c, STR("lastHeartbeatTime"), time_format(clock_now(l->gate->clock), now_text));
    json_set_str(p, c, STR("lastTransitionTime"), time_format(since, since_text));
    json_set_str(p, c, STR("reason"), str_of(reason));
    json_set_str(p, c, STR("message"), str_of(message));
}

/* ---- ways to other nodes ---- */

struct reach {
    struct gate *gate;
    struct pool *pool;
    struct buf lost; /* names */
    size_t ready, missing;
};

static bool reach_node(void *arg, const struct mirror_item *it)
{
    struct reach *x = arg;
    struct json *o;
    struct str name;
    bool up = false;
    if (json_parse(x->pool, bytes_str(it->bytes), &(struct json_limits){.view = true}, &o, NULL) < 0)
        return true;
    name = json_str_at(o, "metadata", "name", NULL);
    json_for (json_path(o, "status", "conditions", NULL), c)
        up |= str_eqz(json_get_str(c, "type"), "Ready") && str_eqz(json_get_str(c, "status"), "True");
    for (size_t i = 0; up && i < x->gate->paths.npaths; i++) {
        const struct node_path *path = &x->gate->paths.paths[i];
        if (!str_eq(path->peer, name))
            continue;
        x->ready++;
        if (path->reached)
            continue;
        x->missing++;
        if (x->lost.n < 400)
            buf_printf(&x->lost, "%s%.*s", x->lost.n ? ", " : "", STR_ARG(name));
    }
    return true;
}

/* A node that cannot reach most of the nodes that are Ready is cut off itself. One that only misses a few says which, and goes on: they may be
 * the ones. Nodes that are not Ready are nobody's fault. */
static void network_condition(struct node_link *l, struct pool *p, struct json *list)
{
    struct gate *g = l->gate;
    struct reach x = {.gate = g, .pool = p};
    const char *message = "the pod network is up";
    if (g->paths.npaths)
        mirror_each(g->mirror, STR("/nodes/"), reach_node, &x);
    bool cut = x.missing * 2 > x.ready;
    buf_putc(&x.lost, 0);
    if (x.missing)
        message = pool_printf(p, "no answer over the pod network from %zu of %zu nodes that are Ready: %s", x.missing, x.ready, x.lost.p).p;
    if (cut != l->was_cut || !l->cut_since)
        l->cut_since = clock_now(g->clock);
    if (x.missing > l->was_missing)
        event_node(g, true, "PeerUnreachable", "%s", message);
    l->was_missing = x.missing;
    l->was_cut = cut;
    add_condition(l, p, list, "NetworkUnavailable", cut, cut ? "PeersUnreachable" : x.missing ? "SomePeersUnreachable" : "PodNetworkIsUp", message, l->cut_since);
    buf_clear(&x.lost);
}

static void conditions(struct node_link *l, struct pool *p, struct json *status)
{
    struct gate *g = l->gate;
    struct json *list = json_put_arr(p, status, STR("conditions"));
    bool node = g->node && g->hello.cpus, network = g->pod_cidr[0] != 0, ready = node && network;
    if (ready != l->was_ready || !l->ready_since)
        l->ready_since = clock_now(g->clock);
    l->was_ready = ready;
    bool memory = g->pressure.memory, disk = g->pressure.disk, pids = g->pressure.pids;
    if (!l->since_change || memory != l->was.memory || disk != l->was.disk || pids != l->was.pids)
        l->since_change = clock_now(g->clock);
    l->was = g->pressure;
    add_condition(l, p, list, "MemoryPressure", memory, memory ? "KubeletHasInsufficientMemory" : "KubeletHasSufficientMemory",
        memory ? "kubelet has insufficient memory available" : "kubelet has sufficient memory available", l->since_change);
    add_condition(l, p, list, "DiskPressure", disk, disk ? "KubeletHasDiskPressure" : "KubeletHasNoDiskPressure",
        disk ? "kubelet has disk pressure" : "kubelet has no disk pressure", l->since_change);
    add_condition(l, p, list, "PIDPressure", pids, pids ? "KubeletHasInsufficientPID" : "KubeletHasSufficientPID",
        pids ? "kubelet has insufficient PID available" : "kubelet has sufficient PID available", l->since_change);
    add_condition(l, p, list, "Ready", ready, ready ? "KubeletReady" : "KubeletNotReady",
        ready ? "kubelet is posting ready status" : !node ? "the node process is away" : "container runtime network not ready: no pod CIDR was assigned to this node yet", l->ready_since);
    if (network)
        network_condition(l, p, list);
}

static void info(struct gate *g, struct pool *p, struct json *status)
{
    const struct node_hello *h = &g->hello;
    struct json *o = json_put_obj(p, status, STR("nodeInfo"));
    json_set_str(p, o, STR("machineID"), h->machine_id);
    json_set_str(p, o, STR("systemUUID"), h->system_uuid);
    json_set_str(p, o, STR("bootID"), h->boot_id);
    json_set_str(p, o, STR("kernelVersion"), h->kernel);
    json_set_str(p, o, STR("osImage"), h->os_image);
    json_set_str(p, o, STR("containerRuntimeVersion"), h->runtime_version);
    json_set_str(p, o, STR("kubeletVersion"), STR("v1.36.2+sampan" SAMPAN_VERSION));
    json_set_str(p, o, STR("kubeProxyVersion"), STR(""));
    json_set_str(p, o, STR("operatingSystem"), STR("linux"));
    json_set_str(p, o, STR("architecture"), h->arch);
}

static void addresses(struct gate *g, struct pool *p, struct json *status)
{
    struct json *list = json_put_arr(p, status, STR("addresses"));
    if (g->host_ip[0]) {
        struct json *a = json_append(list, json_obj(p));
        json_set_str(p, a, STR("type"), STR("InternalIP"));
        json_set_str(p, a, STR("address"), str_of(g->host_ip));
    }
    struct json *h = json_append(list, json_obj(p));
    json_set_str(p, h, STR("type"), STR("Hostname"));
    json_set_str(p, h, STR("address"), str_of(g->o->node_name));
}

static void images(struct gate *g, struct pool *p, struct json *status)
{
    struct json *list = json_put_arr(p, status, STR("images"));
    for (size_t i = 0; i < g->images.nimages && i < IMAGES_SHOWN; i++) {
        const struct node_image *im = &g->images.images[i];
        struct json *o = json_append(list, json_obj(p)), *names = json_put_arr(p, o, STR("names"));
        for (size_t k = 0; k < im->ndigests; k++)
            json_append(names, json_str(p, im->digests[k]));
        for (size_t k = 0; k < im->nnames; k++)
            json_append(names, json_str(p, im->names[k]));
        json_set_int(p, o, STR("sizeBytes"), im->size);
    }
}

static struct json *status_tree(struct node_link *l, struct pool *p)
{
    struct json *status = json_obj(p);
    resources(l->gate, p, status);
    conditions(l, p, status);
    addresses(l->gate, p, status);
    json_set_int(p, json_put_obj(p, json_put_obj(p, status, STR("daemonEndpoints")), STR("kubeletEndpoint")), STR("Port"), 10250);
    info(l->gate, p, status);
    images(l->gate, p, status);
    json_set_bool(p, json_put_obj(p, status, STR("features")), STR("supplementalGroupsPolicy"), true);
    return status;
}

static void report(struct timer *t)
{
    struct node_link *l = container_of(t, struct node_link, status);
    struct gate *g = l->gate;
    _cleanup_(pool_freep) struct pool *p = pool_new();
    _cleanup_(buf_clear) struct buf b = BUF_INIT;
    report_soon(l, STATUS_NS);
    if (!l->registered)
        return;
    struct json *patch = json_obj(p);
    json_set(p, patch, STR("status"), status_tree(l, p));
    json_write(&b, patch);
    struct outbox_entry x = {
        .key = STR("node-status"),
        .method = STR("PATCH"),
        .path = pool_printf(p, "/api/v1/nodes/%s/status", g->o->node_name),
        .content_type = STR("application/merge-patch+json"),
        .body = buf_str(&b),
    };
    outbox_put(g->outbox, &x, OUTBOX_VOLATILE);
}

static void report_soon(struct node_link *l, int64_t ns)
{
    timer_in(l->gate->loop, &l->status, ns, report);
}

void cluster_node_changed(struct gate *g)
{
    if (g->link)
        report_soon(g->link, SETTLE_NS);
}

const struct json *cluster_node_tree(struct gate *g, struct pool *p)
{
    return mirror_tree(g, p, "/nodes", STR(""), str_of(g->o->node_name));
}

/* ---- the Lease ---- */

static void renew(struct timer *t)
{
    struct node_link *l = container_of(t, struct node_link, lease);
    struct gate *g = l->gate;
    _cleanup_(pool_freep) struct pool *p = pool_new();
    char text[TIME_MAX];
    timer_in(g->loop, &l->lease, LEASE_NS, renew);
    if (!l->leased || !uplink_connected(g->uplink) || !g->hello.cpus)
        return; /* a node whose root side is away must not look alive */
    struct outbox_entry x = {
        .key = STR("lease"),
        .method = STR("PATCH"),
        .path = pool_printf(p, "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/%s", g->o->node_name),
        .content_type = STR("application/merge-patch+json"),
        .body = pool_printf(p, "{\"spec\":{\"renewTime\":\"%.*s\"}}", STR_ARG(time_format_micro(clock_now(g->clock), text))),
    };
    outbox_put(g->outbox, &x, OUTBOX_VOLATILE);
}

static void on_leased(void *arg, int status, struct str body, const struct err *e)
{
    struct node_link *l = arg;
    l->leasing = NULL;
    if (e)
        return;
    if (status == 201 || status == 200 || status == 409) {
        l->leased = true;
        timer_in(l->gate->loop, &l->lease, 0, renew);
    } else {
        log_warn("the node's Lease was refused: %.*s", STR_ARG(str_sub(body, 0, 300)));
    }
}

static void make_lease(struct node_link *l)
{
    struct gate *g = l->gate;
    _cleanup_(pool_freep) struct pool *p = pool_new();
    char text[TIME_MAX];
    struct str body = pool_printf(p,
        "{\"apiVersion\":\"coordination.k8s.io/v1\",\"kind\":\"Lease\",\"metadata\":{\"name\":\"%s\",\"namespace\":\"kube-node-lease\"},"
        "\"spec\":{\"holderIdentity\":\"%s\",\"leaseDurationSeconds\":40,\"renewTime\":\"%.*s\"}}",
        g->o->node_name, g->o->node_name, STR_ARG(time_format_micro(clock_now(g->clock), text)));
    if (!l->leasing)
        l->leasing = uplink_call(g->uplink, STR("POST"), STR("/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"), STR("application/json"), body, on_leased, l);
}

/* ---- registration ---- */

static void add_labels(struct gate *g, struct pool *p, struct json *meta)
{
    struct json *labels = json_put_obj(p, meta, STR("labels"));
    json_set_str(p, labels, STR("kubernetes.io/hostname"), str_of(g->o->node_name));
    json_set_str(p, labels, STR("kubernetes.io/os"), STR("linux"));
    json_set_str(p, labels, STR("kubernetes.io/arch"), g->hello.arch);
    json_set_str(p, labels, STR("beta.kubernetes.io/os"), STR("linux"));
    json_set_str(p, labels, STR("beta.kubernetes.io/arch"), g->hello.arch);
    for (size_t i = 0; i < g->o->nlabels; i++) {
        struct str key, value;
        if (str_cut(str_of(g->o->labels[i]), '=', &key, &value))
            json_set_str(p, labels, key, value);
    }
}

static void add_taints(struct gate *g, struct pool *p, struct json *spec)
{
    if (!g->o->ntaints)
        return;
    struct json *list = json_put_arr(p, spec, STR("taints"));
    for (size_t i = 0; i < g->o->ntaints; i++) {
        struct str text = str_of(g->o->taints[i]), key, value = STR("");
        ssize_t colon = str_rchr(text, ':');
        struct json *t = json_append(list, json_obj(p));
        json_set_str(p, t, STR("effect"), str_sub(text, (size_t)colon + 1, text.n));
        key = str_sub(text, 0, (size_t)colon);
        str_cut(key, '=', &key, &value);
        json_set_str(p, t, STR("key"), key);
        if (value.n)
            json_set_str(p, t, STR("value"), value);
    }
}

static void on_created(void *arg, int status, struct str body, const struct err *e)
{
    struct node_link *l = arg;
    l->creating = NULL;
    if (e)
        return;
    if (status != 201 && status != 409) {
        log_warn("the cluster refuses this node: %.*s", STR_ARG(str_sub(body, 0, 300)));
        return;
    }
    l->registered = true;
    report_soon(l, 0);
    make_lease(l);
}

/* Says who we are, as soon as both the cluster and the node process are there. */
static void register_node(struct node_link *l)
{
    struct gate *g = l->gate;
    _cleanup_(pool_freep) struct pool *p = pool_new();
    _cleanup_(buf_clear) struct buf b = BUF_INIT;
    if (l->creating || !g->hello.cpus || !uplink_connected(g->uplink))
        return;
    struct json *node = json_obj(p), *meta = json_put_obj(p, node, STR("metadata"));
    json_set_str(p, node, STR("apiVersion"), STR("v1"));
    json_set_str(p, node, STR("kind"), STR("Node"));
    json_set_str(p, meta, STR("name"), str_of(g->o->node_name));
    add_labels(g, p, meta);
    add_taints(g, p, json_put_obj(p, node, STR("spec")));
    json_set(p, node, STR("status"), status_tree(l, p));
    json_write(&b, node);
    l->creating = uplink_call(g->uplink, STR("POST"), STR("/api/v1/nodes"), STR("application/json"), buf_str(&b), on_created, l);
}

void cluster_hello(struct gate *g)
{
    if (g->link && !g->link->registered)
        register_node(g->link);
}

/* ---- the uplink ---- */

static void on_state(void *arg, bool connected, struct str assigned, const struct err *why)
{
    struct node_link *l = arg;
    (void)assigned;
    if (connected) {
        log_info("connected to the cluster");
        l->registered = l->leased = l->refusal_told = false;
        register_node(l);
        tokens_connected(l->gate);
        facts_ask(l->gate);
        return;
    }
    if (why && (why->code == ERR_UNAUTHORIZED || why->code == ERR_FORBIDDEN)) {
        if (!l->refusal_told)
            log_error("the cluster refused this node: %s", err_msg(why));
        l->refusal_told = true;
    } else {
        log_info("not connected to the cluster: %s", err_msg(why));
    }
}

static void on_mirror_change(void *arg, struct str key, const struct mirror_item *before, const struct mirror_item *after)
{
    pods_mirror_change(arg, key, before, after);
}

/* ---- a frozen mirror ---- a cluster that was restored prunes nothing here until a person says so: by a new value in the Node's annotation. A value is good once, so that an old one, which a
 * backup brings back, says nothing. */

#define THAW "sampan.io/thaw"

static void on_thaw(struct timer *t)
{
    struct node_link *l = container_of(t, struct node_link, thaw);
    log_info("the mirror is thawed: what the cluster no longer has goes from this node");
    mirror_thaw(l->gate->mirror);
    if (l->gate->uplink)
        uplink_redial(l->gate->uplink, NULL);
}

static void on_mirror_cut(void *arg)
{
    struct gate *g = arg;
    struct node_link *l = g->link;
    _cleanup_(pool_freep) struct pool *p = pool_new();
    _cleanup_(err_freep) struct err *e = NULL;
    struct str value = json_as_str(json_get(json_path(cluster_node_tree(g, p), "metadata", "annotations", NULL), STR(THAW)));
    if (mirror_frozen(g->mirror) && !l->told_frozen)
        log_warn("the cluster's store is another or an older one than before: the mirror is frozen, nothing is pruned here until annotation " THAW " of this Node gets a new value");
    l->told_frozen = mirror_frozen(g->mirror);
    if (!value.n || (l->thawed && str_eqz(value, l->thawed)))
        return;
    _cleanup_(freep) char *file = xasprintf("%s/thawed", g->o->state_dir);
    if (file_replace(file, value, 0600, &e) < 0) {
        log_warn("annotation " THAW " cannot be taken: %s", err_msg(e));
        return;
    }
    free(l->thawed);
    l->thawed = str_dup(value);
    if (mirror_frozen(g->mirror))
        timer_in(g->loop, &l->thaw, 0, on_thaw); /* not from within the cut */
}

static void load_thawed(struct node_link *l)
{
    _cleanup_(freep) char *file = xasprintf("%s/thawed", l->gate->o->state_dir);
    _cleanup_(buf_clear) struct buf b = BUF_INIT;
    if (file_read(file, 4096, &b, NULL) == 0)
        l->thawed = str_dup(buf_str(&b));
}

static void on_refused(void *arg, const struct outbox_entry *x, int status, struct str message)
{
    struct gate *g = arg;
    if (status == 404 || status == 409) /* the object is gone, or was made anew: the mirror says so too */
        log_debug("report %.*s was not taken: %d %.*s", STR_ARG(x->key), status, STR_ARG(str_sub(message, 0, 200)));
    else
        log_warn("report %.*s was refused: %d %.*s", STR_ARG(x->key), status, STR_ARG(str_sub(message, 0, 300)));
    if (str_eqz(x->key, "lease") && status == 404 && g->link) {
        g->link->leased = false;
        make_lease(g->link);
    }
    if (str_eqz(x->key, "node-status") && status == 404 && g->link) {
        g->link->registered = false;
        register_node(g->link);
    }
}

static int open_uplink(struct gate *g, const struct endpoint *ep, struct err **e)
{
    _cleanup_(freep) char *pin = xasprintf("%s/cluster.pin", g->o->state_dir);
    struct uplink_config c = {
        .loop = g->loop,
        .clock = g->clock,
        .endpoint = *ep,
        .key = g->key,
        .pin_path = pin,
        .view = STR("node"),
        .name = str_of(g->o->node_name),
        .token = g->o->token,
        .info = STR("{\"version\":\"" SAMPAN_VERSION "\"}"),
        .mirror = g->mirror,
        .outbox = g->outbox,
        .handler = serve_request,
        .handler_arg = g,
        .idle_ns = 10 * NS_PER_S,
        .backoff_max_ns = 8 * NS_PER_S, /* a cluster has few nodes, and each waits for its pods' news */
        .on_state = on_state,
        .arg = g->link,
    };
    g->uplink = uplink_new(&c, e);
    return g->uplink ? 0 : err_wrap(e, "uplink");
}

static void on_trust(void *arg, const struct endpoint *ep, const struct err *why)
{
    struct gate *g = arg;
    _cleanup_(err_freep) struct err *e = NULL;
    if (!ep) {
        if (why->code == ERR_FORBIDDEN)
            log_error("the token is not valid for this server: %s", err_msg(why));
        else
            log_warn("the server does not answer: %s", err_msg(why));
        return;
    }
    if (open_uplink(g, ep, &e) < 0)
        log_error("%s", err_msg(e));
}

int cluster_start(struct gate *g, struct err **e)
{
    struct mirror_listener listener = {.on_change = on_mirror_change, .on_cut = on_mirror_cut, .arg = g};
    struct node_link *l = xcalloc(1, sizeof *l);
    l->gate = g;
    g->link = l;
    load_thawed(l);
    mirror_listen(g->mirror, &listener);
    outbox_on_refused(g->outbox, on_refused, g);
    timer_in(g->loop, &l->lease, LEASE_NS, renew);
    if (g->o->api_socket) {
        struct endpoint ep = {.unix_path = g->o->api_socket};
        return open_uplink(g, &ep, e);
    }
    _cleanup_(freep) char *ca = xasprintf("%s/cluster-ca.pem", g->o->state_dir);
    l->trust = trust_open(g->loop, g->clock, g->o->server, g->o->ca_hash, ca, on_trust, g, e);
    return l->trust ? 0 : err_wrap(e, "--server");
}

void cluster_stop(struct gate *g)
{
    struct node_link *l = g->link;
    if (!l)
        return;
    uplink_call_cancel(l->creating);
    uplink_call_cancel(l->leasing);
    facts_cancel(g);
    uplink_free(TAKE(g->uplink));
    trust_close(l->trust);
    timer_del(&l->lease);
    timer_del(&l->status);
    timer_del(&l->thaw);
    free(l->thawed);
    free(l);
    g->link = NULL;
}
