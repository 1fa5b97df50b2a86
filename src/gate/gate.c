#include "gate/identity.h"
#include "gate/gate.h"

#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include "gate/impl.h"
#include "gate/csi.h"
#include "gate/pull.h"

/* ---- requests to node ---- */

static struct str id_text(uint64_t id, char out[24])
{
    int n = snprintf(out, 24, "%" PRIu64, id);
    return str_make(out, (size_t)n);
}

void gate_keep(struct gate *g, uint64_t id, void (*fn)(void *arg, struct wire_msg *m), void *arg)
{
    char text[24];
    struct node_wait *w = xcalloc(1, sizeof *w);
    *w = (struct node_wait){fn, arg};
    free(map_put(&g->waits, id_text(id, text), w));
}

uint64_t gate_ask(struct gate *g, uint16_t type, const struct wire_type *t, const void *msg, void (*fn)(void *arg, struct wire_msg *m), void *arg)
{
    uint64_t id = ++g->next_id;
    if (!g->node) {
        fn(arg, NULL);
        return 0;
    }
    gate_keep(g, id, fn, arg);
    wire_send(g->node, type, id, t, msg, NULL, 0);
    return id;
}

void gate_forget(struct gate *g, uint64_t id)
{
    char text[24];
    free(map_del(&g->waits, id_text(id, text)));
}

static void answer_wait(struct gate *g, struct wire_msg *m)
{
    char text[24];
    struct node_wait *w = map_del(&g->waits, id_text(m->id, text));
    if (!w)
        return;
    struct node_wait call = *w;
    free(w);
    call.fn(call.arg, m);
}

static void fail_waits(struct gate *g)
{
    struct map all = g->waits;
    g->waits = (struct map){0};
    map_for(&all, it) {
        struct node_wait *w = it->value;
        w->fn(w->arg, NULL);
    }
    map_clear(&all, free);
}

/* ---- what node says ---- */

static int on_hello(struct gate *g, struct str body, struct err **e)
{
    struct pool *p = pool_new();
    struct node_hello hello = {0};
    if (wire_decode(&node_hello_type, pool_str(p, body), p, &hello, e) < 0) {
        pool_free(p);
        return -ERR_PARSE;
    }
    pool_free(g->hello_pool);
    g->hello_pool = p;
    g->hello = hello;
    const char *ip = g->o->node_ip;
    struct str text = ip ? str_of(ip) : hello.naddresses ? hello.addresses[0] : STR("");
    snprintf(g->host_ip, sizeof g->host_ip, "%.*s", STR_ARG(text));
    g->config_dirty = true;
    pods_node_restarted(g);
    services_node_restarted(g);
    policies_node_restarted(g);
    names_node_ready(g);
    cluster_hello(g);
    cluster_node_changed(g);
    return 0;
}

static int on_images(struct gate *g, struct str body, struct err **e)
{
    struct pool *p = pool_new();
    struct node_images images = {0};
    if (wire_decode(&node_images_type, pool_str(p, body), p, &images, e) < 0) {
        pool_free(p);
        return -ERR_PARSE;
    }
    pool_free(g->images_pool);
    g->images_pool = p;
    g->images = images;
    g->images_known = true;
    g->all_dirty = true;
    cluster_node_changed(g);
    return 0;
}

static int on_addresses(struct gate *g, struct str body, struct err **e)
{
    _cleanup_(pool_freep) struct pool *p = pool_new();
    struct node_addresses m = {0};
    if (wire_decode(&node_addresses_type, body, p, &m, e) < 0)
        return -ERR_PARSE;
    struct str *kept = pool_array(g->hello_pool, struct str, m.naddresses + 1);
    for (size_t i = 0; i < m.naddresses; i++)
        kept[i] = pool_str(g->hello_pool, m.addresses[i]);
    g->hello.addresses = kept;
    g->hello.naddresses = m.naddresses;
    if (!g->o->node_ip && m.naddresses) {
        bool other = !str_eqz(m.addresses[0], g->host_ip);
        snprintf(g->host_ip, sizeof g->host_ip, "%.*s", STR_ARG(m.addresses[0]));
        if (other && g->uplink && !g->o->api_socket)
            uplink_redial(g->uplink, NULL); /* the connection from the old address is dead, and would be noticed only after its silence */
    }
    g->config_dirty = g->all_dirty = true;
    cluster_node_changed(g);
    return 0;
}

static int on_pressure(struct gate *g, struct str body, struct err **e)
{
    _cleanup_(pool_freep) struct pool *p = pool_new();
    int r = wire_decode(&node_pressure_type, body, p, &g->pressure, e);
    if (r == 0)
        cluster_node_changed(g);
    return r;
}

static int on_paths(struct gate *g, struct str body, struct err **e)
{
    struct pool *p = pool_new();
    struct node_paths paths = {0};
    if (wire_decode(&node_paths_type, pool_str(p, body), p, &paths, e) < 0) {
        pool_free(p);
        return -ERR_PARSE;
    }
    pool_free(g->paths_pool);
    g->paths_pool = p;
    g->paths = paths;
    cluster_node_changed(g);
    return 0;
}

static int on_node_event(struct gate *g, struct str body, struct err **e)
{
    _cleanup_(pool_freep) struct pool *p = pool_new();
    struct node_event m = {0};
    if (wire_decode(&node_event_type, body, p, &m, e) < 0)
        return -ERR_PARSE;
    struct gpod *gp = pods_find(g, m.uid);
    char *reason = pool_strz(p, m.reason);
    if (gp)
        event_pod(gp, m.container, m.warning, reason, "%.*s", STR_ARG(m.message));
    return 0;
}

static int on_node_gone(struct gate *g, struct str body, struct err **e)
{
    _cleanup_(pool_freep) struct pool *p = pool_new();
    struct node_uid m = {0};
    if (wire_decode(&node_uid_type, body, p, &m, e) < 0)
        return -ERR_PARSE;
    pods_gone(g, m.uid);
    return 0;
}

static void on_node_msg(void *arg, struct wire_msg *m)
{
    struct gate *g = arg;
    _cleanup_(err_freep) struct err *e = NULL;
    int r = 0;
    switch (m->type) {
    case NODE_HELLO: r = on_hello(g, m->body, &e); break;
    case NODE_IMAGES: r = on_images(g, m->body, &e); break;
    case NODE_ADDRESSES: r = on_addresses(g, m->body, &e); break;
    case NODE_PATHS: r = on_paths(g, m->body, &e); break;
    case NODE_PRESSURE: r = on_pressure(g, m->body, &e); break;
    case NODE_EVENT: r = on_node_event(g, m->body, &e); break;
    case NODE_POD_GONE: r = on_node_gone(g, m->body, &e); break;
    case NODE_PLUGINS: csi_plugins(g, m->body); break;
    case NODE_POD_STATE: pods_state(g, m); break;
    case NODE_HOOK: hook_ask(g, m); break;
    default: answer_wait(g, m); break;
    }
    if (r < 0)
        log_error("from node: %s", err_msg(e));
    gate_turn(g);
}

static void on_node_close(void *arg, const struct err *e)
{
    struct gate *g = arg;
    log_warn("node is away: %s", e ? err_msg(e) : "it ended");
    wire_free(TAKE(g->node));
    g->hello.cpus = 0;
    g->synced = g->images_known = false;
    fail_waits(g);
}

static int take_node(struct gate *g, int fd, struct err **e)
{
    static const struct wire_ops ops = {on_node_msg, on_node_close};
    if (g->node) {
        wire_free(TAKE(g->node));
        fail_waits(g);
    }
    g->hello.cpus = 0;
    g->synced = g->images_known = false;
    g->node = wire_new(g->loop, fd, &ops, g, e);
    return g->node ? 0 : err_wrap(e, "socket to node");
}

/* ---- the supervisor ---- */

static void on_broker_msg(void *arg, struct wire_msg *m)
{
    struct gate *g = arg;
    _cleanup_(err_freep) struct err *e = NULL;
    if (m->type != NODE_LINK || m->nfds != 1)
        return;
    int fd = m->fds[0];
    m->fds[0] = -1;
    if (take_node(g, fd, &e) < 0)
        log_error("%s", err_msg(e));
}

static void on_broker_close(void *arg, const struct err *e)
{
    struct gate *g = arg;
    (void)e;
    log_warn("the supervisor is gone, ending");
    wire_free(TAKE(g->broker));
    loop_stop(g->loop, 0);
}

/* ---- one turn ---- */

int64_t gate_max_pods(const struct gate *g)
{
    return g->o->settings && g->o->settings->max_pods ? g->o->settings->max_pods : 110;
}

static void send_config(struct gate *g)
{
    const struct gate_options *o = g->o;
    if (!g->node || !g->hello.cpus)
        return;
    struct node_config c = {
        .node_name = str_of(o->node_name),
        .node_ip = str_of(g->host_ip), /* --node-ip, or what the host has now: the overlay starts from it */
        .pod_cidr = str_of(g->pod_cidr),
        .cluster_cidr = str_of(o->cluster_cidr),
        .service_cidr = str_of(o->service_cidr),
        .dns_ip = str_of(o->cluster_dns),
        .cluster_domain = str_of(o->cluster_domain),
        .backend = str_of(o->backend),
        .cgroup_root = str_of(o->cgroup_root),
        .max_pods = (uint64_t)gate_max_pods(g),
        .cluster_dns_upstream = str_of(o->resolv_conf),
    };
    if (o->settings)
        c.settings = *o->settings;
    wire_send(g->node, NODE_CONFIG, 0, &node_config_type, &c, NULL, 0);
}

static void work(struct defer *d)
{
    struct gate *g = container_of(d, struct gate, turn);
    if (g->config_dirty && g->hello.cpus) {
        g->config_dirty = false;
        send_config(g);
    }
    policies_work(g);
    pods_work(g);
    if (g->peers_dirty && g->hello.cpus) {
        g->peers_dirty = false;
        peers_work(g);
    }
    if (g->names_dirty) {
        g->names_dirty = false;
        names_extra(g);
    }
    if (g->services_dirty) {
        g->services_dirty = false;
        services_work(g);
    }
    if (g->storage_dirty && g->synced) {
        g->storage_dirty = false;
        storage_work(g);
    }
}

void gate_turn(struct gate *g)
{
    if (!g->turn.on)
        loop_defer(g->loop, &g->turn, work);
}

/* ---- start and end ---- */

static int open_state(struct gate *g, struct err **e)
{
    const char *dir = g->o->state_dir;
    _cleanup_(freep) char *key = xasprintf("%s/uplink.key", dir), *seal = xasprintf("%s/seal.key", dir), *floor = xasprintf("%s/clock", dir);
    g->clock = clock_new(floor);
    if (g->o->node_fd < 0 && !g->o->kubeconfig && !g->o->api_socket && identity_fetch(key, g->clock, e) < 0)
        return err_wrap(e, "identity");
    if (key_load_or_make(key, KEY_ED25519, &g->key, e) < 0 || seal_load_or_make(seal, &g->seal, e) < 0)
        return err_wrap(e, "identity");
    if (g->o->node_fd < 0)
        return 0;
    _cleanup_(freep) char *mirror = xasprintf("%s/mirror.db", dir), *outbox = xasprintf("%s/outbox.db", dir);
    if (mirror_open(mirror, g->seal, &g->mirror, e) < 0 || outbox_open(outbox, g->loop, g->clock, g->seal, &g->outbox, e) < 0)
        return -(int)(*e)->code;
    return 0;
}

static int open_node_side(struct gate *g, struct err **e)
{
    if (g->o->node_fd < 0)
        return 0;
    facts_open(g);
    if (pulls_open(g, e) < 0 || tokens_open(g, e) < 0 || services_open(g, e) < 0 || names_open(g, e) < 0)
        return -(int)(*e)->code;
    policies_open(g);
    g->events = events_new();
    storage_open(g);
    if (csi_open(g, e) < 0)
        return -(int)(*e)->code;
    if (statics_open(g, e) < 0) /* before the mirror is read: it holds these pods' mirrors */
        return -(int)(*e)->code;
    pods_load(g);
    g->all_dirty = g->services_dirty = g->peers_dirty = g->names_dirty = true;
    if (take_node(g, g->o->node_fd, e) < 0)
        return -ERR_IO;
    return cluster_start(g, e);
}

static void on_signal(void *arg, int signo)
{
    struct gate *g = arg;
    (void)signo;
    loop_stop(g->loop, 0);
}

static int start(struct gate *g, struct connect **connect, int (*lockdown)(void *arg, struct err **e), void *arg, struct err **e)
{
    static const int signals[] = {SIGTERM, SIGINT};
    static const struct wire_ops broker_ops = {on_broker_msg, on_broker_close};
    signal(SIGPIPE, SIG_IGN);
    g->loop = loop_new(e);
    if (g->o->node_fd >= 0)
        pulls_config(g, g->o->registries);
    if (!g->loop || loop_signals(g->loop, signals, ARRAY_LEN(signals), on_signal, g, e) < 0 || (lockdown && lockdown(arg, e) < 0) || open_state(g, e) < 0)
        return -(int)(*e)->code;
    if (g->o->broker_fd >= 0) {
        g->broker = wire_new(g->loop, g->o->broker_fd, &broker_ops, g, e);
        if (!g->broker)
            return -ERR_IO;
    }
    if (open_node_side(g, e) < 0)
        return -(int)(*e)->code;
    return g->o->hub ? connect_open(g, connect, e) : 0;
}

static void stop(struct gate *g)
{
    if (g->o->node_fd >= 0 && g->mirror) {
        cluster_stop(g);
        names_close(g);
        services_close(g);
        policies_close(g);
        statics_close(g);
        pods_free(g);
        tokens_close(g);
        events_free(g->events);
        storage_close(g);
        csi_close(g);
    }
    pulls_close(g);
    usage_free(g->usage);
    wire_free(g->node);
    wire_free(g->broker);
    map_clear(&g->waits, free);
    outbox_close(g->outbox);
    mirror_close(g->mirror);
    if (g->loop)
        defer_del(g->loop, &g->turn);
    pool_free(g->hello_pool);
    pool_free(g->images_pool);
    pool_free(g->paths_pool);
    seal_free(g->seal);
    key_free(g->key);
    clock_free(g->clock);
    loop_free(g->loop);
    facts_close(g);
}

int gate_main(const struct gate_options *o, int (*lockdown)(void *arg, struct err **e), void *arg)
{
    struct gate g = {.o = o};
    struct connect *connect = NULL;
    _cleanup_(err_freep) struct err *e = NULL;
    int code = 1;
    if (start(&g, &connect, lockdown, arg, &e) < 0)
        log_error("%s", err_msg(e));
    else
        code = loop_run(g.loop);
    connect_close(connect);
    stop(&g);
    return code;
}
