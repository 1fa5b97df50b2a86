#include "gate/csi_impl.h"

#include <stdlib.h>

#define PLUGINS_MAX 64
#define RETRY_FIRST (1 * NS_PER_S)
#define RETRY_MAX (30 * NS_PER_S)

static void driver_free(struct csi_driver *d)
{
    if (!d)
        return;
    pool_free(d->pool);
    free(d->name);
    free(d->endpoint);
    free(d->node_id);
    free(d);
}

static void plugin_free(void *arg)
{
    struct csi_plugin *pl = arg;
    csi_call_cancel(pl->call);
    timer_del(&pl->retry);
    driver_free(pl->driver);
    driver_free(pl->asking);
    free(pl->socket);
    free(pl);
}

void csi_plugins_free(struct csi *s)
{
    map_clear(&s->plugins, plugin_free);
}

const struct csi_driver *csi_driver(struct csi *s, struct str name)
{
    map_for (&s->plugins, it) {
        const struct csi_plugin *pl = it->value;
        if (pl->driver && str_eqz(name, pl->driver->name))
            return pl->driver;
    }
    return NULL;
}

/* ---- what the cluster is told ---- */

static struct json *driver_json(struct pool *p, const struct csi_driver *d)
{
    struct json *o = json_obj(p);
    json_set_str(p, o, STR("name"), str_of(d->name));
    json_set_str(p, o, STR("nodeID"), str_of(d->node_id));
    struct json *keys = json_count(d->topology) ? json_put_arr(p, o, STR("topologyKeys")) : NULL;
    json_for (d->topology, it)
        json_append(keys, json_str_view(p, json_key(it)));
    if (d->max_volumes)
        json_set_int(p, json_put_obj(p, o, STR("allocatable")), STR("count"), d->max_volumes);
    return o;
}

static void put_out(struct gate *g, struct pool *p, const char *key, struct str path, const char *type, const struct json *body)
{
    struct outbox_entry x = {
        .key = str_of(key), .method = STR("PATCH"), .path = path, .content_type = str_of(type), .body = json_to_pool(p, body)};
    outbox_put(g->outbox, &x, 0);
}

/* The labels by which the scheduler knows where this node's volumes can be. */
static void report_topology(struct gate *g, struct pool *p)
{
    struct json *patch = json_obj(p), *labels = json_put_obj(p, json_put_obj(p, patch, STR("metadata")), STR("labels"));
    map_for (&g->csi->plugins, it) {
        const struct csi_plugin *pl = it->value;
        json_for (pl->driver ? pl->driver->topology : NULL, t)
            json_set_str(p, labels, json_key(t), json_as_str(t));
    }
    if (json_count(labels))
        put_out(g, p, "topology", pool_printf(p, "/api/v1/nodes/%s", g->o->node_name), "application/merge-patch+json", patch);
}

/* Server-side apply of the whole list: what is not in it any more goes. */
static void report(struct csi *s)
{
    struct gate *g = s->gate;
    _cleanup_(pool_freep) struct pool *p = pool_new();
    struct str uid = json_str_at(cluster_node_tree(g, p), "metadata", "uid", NULL);
    struct json *o = json_obj(p), *meta = json_put_obj(p, o, STR("metadata"));
    json_set_str(p, o, STR("apiVersion"), STR("storage.k8s.io/v1"));
    json_set_str(p, o, STR("kind"), STR("CSINode"));
    json_set_str(p, meta, STR("name"), str_of(g->o->node_name));
    if (uid.n) {
        struct json *owner = json_append(json_put_arr(p, meta, STR("ownerReferences")), json_obj(p));
        json_set_str(p, owner, STR("apiVersion"), STR("v1"));
        json_set_str(p, owner, STR("kind"), STR("Node"));
        json_set_str(p, owner, STR("name"), str_of(g->o->node_name));
        json_set_str(p, owner, STR("uid"), uid);
    }
    struct json *drivers = json_put_arr(p, json_put_obj(p, o, STR("spec")), STR("drivers"));
    map_for (&s->plugins, it) {
        const struct csi_plugin *pl = it->value;
        if (pl->driver)
            json_append(drivers, driver_json(p, pl->driver));
    }
    put_out(g, p, "csinode", pool_printf(p, "/apis/storage.k8s.io/v1/csinodes/%s?fieldManager=kubelet&force=true", g->o->node_name),
        "application/apply-patch+yaml", o);
    report_topology(g, p);
    g->all_dirty = true; /* pods may have waited for it */
    gate_turn(g);
}

/* ---- asking a plugin ---- */

static void ask(struct csi_plugin *pl);

static void on_retry(struct timer *t)
{
    ask(container_of(t, struct csi_plugin, retry));
}

static void give_up(struct csi_plugin *pl, const char *what, const struct err *e)
{
    driver_free(TAKE(pl->asking));
    pl->delay = pl->delay ? MIN(pl->delay * 2, RETRY_MAX) : RETRY_FIRST;
    log_warn("plugin=%s: %s: %s", pl->socket, what, err_msg(e));
    timer_in(pl->csi->gate->loop, &pl->retry, pl->delay, on_retry);
}

static void on_told(void *arg, const struct err *e, struct str answer)
{
    struct csi_plugin *pl = arg;
    (void)answer;
    pl->call = NULL;
    if (e) /* it was registered all the same: a registrar that was started anew asks again */
        log_warn("plugin=%s: NotifyRegistrationStatus: %s", pl->socket, err_msg(e));
}

static void tell(struct csi_plugin *pl, bool good, const char *why)
{
    _cleanup_(buf_clear) struct buf b = BUF_INIT;
    csi_write_registered(&b, good, str_of(why));
    pl->call = csi_call(pl->csi->gate, pl->socket, "/pluginregistration.Registration/NotifyRegistrationStatus", buf_str(&b), on_told, pl);
}

static void on_capabilities(void *arg, const struct err *e, struct str answer)
{
    struct csi_plugin *pl = arg;
    pl->call = NULL;
    if (e) {
        give_up(pl, "NodeGetCapabilities", e);
        return;
    }
    pl->asking->stages = csi_read_stages(answer);
    pl->asking->expands = csi_read_expands(answer);
    pl->asking->multi_writer = csi_read_multi_writer(answer);
    driver_free(pl->driver);
    pl->driver = TAKE(pl->asking);
    pl->delay = 0;
    log_info("CSI driver=%s is registered, node id %s", pl->driver->name, pl->driver->node_id);
    report(pl->csi);
    tell(pl, true, "");
}

static void on_node_info(void *arg, const struct err *e, struct str answer)
{
    struct csi_plugin *pl = arg;
    struct csi_driver *d = pl->asking;
    struct csi_node_info info;
    _cleanup_(err_freep) struct err *bad = NULL;
    pl->call = NULL;
    if (!e && !csi_read_node_info(d->pool, answer, &info))
        err_set(&bad, ERR_PARSE, "the answer has no node id, or is malformed");
    if (e || bad) {
        give_up(pl, "NodeGetInfo", e ? e : bad);
        return;
    }
    d->node_id = str_dup(info.node_id);
    d->max_volumes = info.max_volumes;
    d->topology = info.topology;
    pl->call = csi_call(pl->csi->gate, d->endpoint, "/csi.v1.Node/NodeGetCapabilities", STR(""), on_capabilities, pl);
}

static void on_info(void *arg, const struct err *e, struct str answer)
{
    struct csi_plugin *pl = arg;
    struct csi_plugin_info info;
    _cleanup_(err_freep) struct err *bad = NULL;
    pl->call = NULL;
    if (!e && !csi_read_plugin_info(answer, &info))
        err_set(&bad, ERR_PARSE, "the answer has no name, or is malformed");
    if (e || bad) {
        give_up(pl, "GetInfo", e ? e : bad);
        return;
    }
    if (!str_eqz(info.type, "CSIPlugin")) {
        log_warn("plugin=%s: type %.*s is not supported on this node", pl->socket, STR_ARG(info.type));
        tell(pl, false, "this type of plugin is not supported on this node");
        return;
    }
    struct csi_driver *d = pl->asking = xcalloc(1, sizeof *d);
    d->name = str_dup(info.name);
    d->endpoint = info.endpoint.n ? str_dup(info.endpoint) : xstrdup(pl->socket);
    d->pool = pool_new();
    pl->call = csi_call(pl->csi->gate, d->endpoint, "/csi.v1.Node/NodeGetInfo", STR(""), on_node_info, pl);
}

static void ask(struct csi_plugin *pl)
{
    pl->call = csi_call(pl->csi->gate, pl->socket, "/pluginregistration.Registration/GetInfo", STR(""), on_info, pl);
}

/* ---- sockets come and go ---- */

void csi_plugins(struct gate *g, struct str body)
{
    struct csi *s = g->csi;
    _cleanup_(pool_freep) struct pool *p = pool_new();
    _cleanup_(err_freep) struct err *e = NULL;
    struct node_plugins m;
    bool gone = false;
    if (wire_decode(&node_plugins_type, body, p, &m, &e) < 0) {
        log_error("from node: %s", err_msg(e));
        return;
    }
    map_for (&s->plugins, it)
        ((struct csi_plugin *)it->value)->seen = false;
    for (size_t i = 0; i < m.nsockets && i < PLUGINS_MAX; i++) {
        struct csi_plugin *pl = map_get(&s->plugins, m.sockets[i]);
        if (!pl) {
            pl = xcalloc(1, sizeof *pl);
            pl->csi = s;
            pl->socket = str_dup(m.sockets[i]);
            map_put(&s->plugins, m.sockets[i], pl);
            ask(pl);
        }
        pl->seen = true;
    }
    map_for (&s->plugins, it) {
        struct csi_plugin *pl = it->value;
        if (pl->seen)
            continue;
        gone = gone || pl->driver;
        if (pl->driver)
            log_info("CSI driver=%s is gone", pl->driver->name);
        _cleanup_(freep) char *key = xstrdup(pl->socket);
        map_del(&s->plugins, str_of(key));
        plugin_free(pl);
    }
    if (gone)
        report(s);
}
