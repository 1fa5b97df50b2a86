/* Services and EndpointSlices of the mirror → NODE_SERVICES and the names in dns; the other nodes → NODE_PEERS.
 *
 * A Service is composed anew when it or one of its slices changed, or, as long as it has endpoints on this node, at every turn in which a
 * pod of ours changed: for those the node's own truth (address, readiness) stands above what the slices say, so that a reboot without a
 * link serves what really runs. What was sent last is kept as bytes; only what differs goes to node. When node refuses the list as a whole
 * (it was restarted, its network is not up yet) the whole list goes again. */
#include <stdlib.h>

#include "gate/health.h"
#include "gate/impl.h"
#include "gate/names.h"

#define SERVICES STR("/services/")
#define SLICES STR("discovery.k8s.io/endpointslices/")
#define RETRY_NS (2 * NS_PER_S)
#define BATCH_BYTES (2u << 20)

struct gsvc {           /* one Service */
    struct str key;     /* ns/name, owned */
    struct map slices;  /* mirror keys of its slices */
    struct bytes *sent; /* as last sent to node; NULL: node does not have it */
    bool dirty, local;  /* local: has an endpoint among our own pods */
};
struct services {
    struct gate *gate;
    struct map all;      /* ns/name → struct gsvc */
    struct map slice_of; /* mirror key of a slice → ns/name of its Service (malloc'ed) */
    struct health *health;
    char zone[64]; /* of our Node, as it was when the hints were last looked at */
    bool whole;    /* node needs the whole list */
    struct timer retry, peers_retry;
};

/* ---- which Service a slice belongs to ---- */

static struct gsvc *svc_get(struct services *s, struct str key)
{
    struct gsvc *v = map_get(&s->all, key);
    if (v)
        return v;
    v = xcalloc(1, sizeof *v);
    v->key = str_make(str_dup(key), key.n);
    map_put(&s->all, key, v);
    return v;
}

static void svc_free(void *arg)
{
    struct gsvc *v = arg;
    map_clear(&v->slices, NULL);
    bytes_unref(v->sent);
    free((char *)(uintptr_t)v->key.p);
    free(v);
}

static void slice_unlink(struct services *s, struct str key)
{
    _cleanup_(freep) char *owner = map_del(&s->slice_of, key);
    struct gsvc *v = owner ? map_get(&s->all, str_of(owner)) : NULL;
    if (v) {
        map_del(&v->slices, key);
        v->dirty = true;
    }
}

static void slice_changed(struct services *s, struct str key)
{
    _cleanup_(pool_freep) struct pool *p = pool_new();
    const struct mirror_item *it = mirror_get(s->gate->mirror, key);
    struct json *o;

    slice_unlink(s, key);
    if (!it || json_parse(p, bytes_str(it->bytes), &(struct json_limits){.view = true}, &o, NULL) < 0)
        return;
    struct str name = json_get_str(json_path(o, "metadata", "labels", NULL), "kubernetes.io/service-name");
    struct str ns = json_str_at(o, "metadata", "namespace", NULL);
    if (!name.n || !ns.n)
        return;
    struct str owner = pool_printf(p, "%.*s/%.*s", STR_ARG(ns), STR_ARG(name));
    struct gsvc *v = svc_get(s, owner);
    map_put(&v->slices, key, s);
    map_put(&s->slice_of, key, str_dup(owner));
    v->dirty = true;
}

void services_mirror_change(struct gate *g, struct str key)
{
    struct services *s = g->services;
    if (!s)
        return;
    if (str_starts(key, SLICES))
        slice_changed(s, key);
    else if (str_starts(key, SERVICES))
        svc_get(s, str_sub(key, SERVICES.n, key.n))->dirty = true;
}

/* ---- composing ---- */

struct compose {
    struct services *s;
    struct gsvc *v;
    struct pool *pool;
    struct json *spec;
    bool publish_not_ready, headless;
    size_t local_ready; /* endpoints of the first port */
    struct json **slices;
    size_t nslices;
    struct node_service out;
    struct dns_service dns;
};

static bool condition(const struct json *endpoint, const char *name, bool absent)
{
    return json_get_bool(json_get(endpoint, STR("conditions")), name, absent);
}

struct state {
    bool ready, serving, local;
    struct str ip;
};

/* An endpoint on this node: what we know ourselves. false: it is gone. */
static bool own_state(struct compose *c, const struct json *endpoint, struct state *st)
{
    struct gate *g = c->s->gate;
    struct gpod *p = pods_find(g, json_str_at(endpoint, "targetRef", "uid", NULL));
    bool ready;

    if (!json_str_at(endpoint, "targetRef", "uid", NULL).n)
        return true; /* not a pod: an endpoint that somebody wrote by hand */
    c->v->local = true;
    if (!p)
        return false;
    if (!g->hello.cpus)
        return true; /* node is away: what was known last */
    if (!gpod_serving(p, &ready))
        return false;
    st->ready = ready;
    st->serving = ready || (st->serving && p->deleting);
    if (gpod_ip(p).n)
        st->ip = gpod_ip(p);
    return true;
}

static bool endpoint_state(struct compose *c, const struct json *endpoint, struct str address, struct state *st)
{
    *st = (struct state){.ready = condition(endpoint, "ready", true), .ip = address};
    st->serving = condition(endpoint, "serving", st->ready);
    st->local = str_eqz(json_get_str(endpoint, "nodeName"), c->s->gate->o->node_name);
    if (st->local && !own_state(c, endpoint, st))
        return false;
    if (c->publish_not_ready)
        st->ready = true;
    return true;
}

static const struct json *slice_port(const struct json *slice, struct str name, struct str protocol)
{
    json_for (json_get(slice, STR("ports")), p) {
        struct str proto = json_get_str(p, "protocol");
        if (str_eq(json_get_str(p, "name"), name) && str_eq(proto.n ? proto : STR("TCP"), protocol))
            return p;
    }
    return NULL;
}

/* ---- hints: endpoints of the same node or zone are preferred where every ready one says whom it is for, and one is for us (KEP-2433,
 * 3015) ---- */

struct hinted {
    bool zone, node, for_zone, for_node; /* has such hints; they name us */
};

static struct hinted hints_of(struct compose *c, const struct json *ep)
{
    const struct json *hints = json_get(ep, STR("hints")), *zones = json_get(hints, STR("forZones")),
                      *nodes = json_get(hints, STR("forNodes"));
    struct hinted h = {.zone = json_count(zones) > 0, .node = json_count(nodes) > 0};
    json_for (zones, z)
        h.for_zone |= c->s->zone[0] && str_eqz(json_get_str(z, "name"), c->s->zone);
    json_for (nodes, n)
        h.for_node |= str_eqz(json_get_str(n, "name"), c->s->gate->o->node_name);
    return h;
}

static void keep_hinted(struct node_service_port *out, const struct hinted *h, bool by_node)
{
    size_t k = 0;
    for (size_t i = 0; i < out->nbackends; i++)
        if (out->backends[i].serving_only || (by_node ? h[i].for_node : h[i].for_zone))
            out->backends[k++] = out->backends[i];
    out->nbackends = k;
}

static void prefer(struct node_service_port *out, const struct hinted *h)
{
    bool zones = true, nodes = true, zone = false, node = false;
    for (size_t i = 0; i < out->nbackends; i++) {
        if (out->backends[i].serving_only)
            continue;
        zones &= h[i].zone;
        nodes &= h[i].node;
        zone |= h[i].for_zone;
        node |= h[i].for_node;
    }
    if (nodes && node)
        keep_hinted(out, h, true);
    else if (zones && zone)
        keep_hinted(out, h, false);
}

static void backends(struct compose *c, struct node_service_port *out)
{
    struct hinted *h;
    size_t cap = 0;
    for (size_t i = 0; i < c->nslices; i++)
        cap += json_count(json_get(c->slices[i], STR("endpoints")));
    out->backends = pool_array(c->pool, struct node_backend, cap + 1);
    h = pool_array(c->pool, struct hinted, cap + 1);
    for (size_t i = 0; i < c->nslices; i++) {
        const struct json *port = slice_port(c->slices[i], out->name, out->protocol);
        int64_t number = json_get_int(port, "port", 0);
        if (number <= 0 || number > 65535 || !str_eqz(json_get_str(c->slices[i], "addressType"), "IPv4"))
            continue;
        json_for (json_get(c->slices[i], STR("endpoints")), ep) {
            struct state st;
            struct str address = json_as_str(json_at(json_get(ep, STR("addresses")), 0));
            if (!address.n || !endpoint_state(c, ep, address, &st) || (!st.ready && !st.serving))
                continue;
            h[out->nbackends] = hints_of(c, ep);
            c->local_ready += st.local && st.ready && out == &c->out.ports[0];
            out->backends[out->nbackends++] = (struct node_backend){
                .ip = pool_str(c->pool, st.ip), .port = (uint64_t)number, .local = st.local, .serving_only = !st.ready};
        }
    }
    prefer(out, h);
}

static void ports(struct compose *c)
{
    const struct json *list = json_get(c->spec, STR("ports"));
    c->out.ports = pool_array(c->pool, struct node_service_port, json_count(list) + 1);
    json_for (list, p) {
        struct node_service_port *out = &c->out.ports[c->out.nports];
        int64_t port = json_get_int(p, "port", 0), node_port = json_get_int(p, "nodePort", 0);
        struct str proto = json_get_str(p, "protocol");
        if (port <= 0 || port > 65535 || node_port < 0 || node_port > 65535)
            continue;
        *out = (struct node_service_port){.name = json_get_str(p, "name"),
            .protocol = proto.n ? proto : STR("TCP"),
            .port = (uint64_t)port,
            .node_port = (uint64_t)node_port};
        c->out.nports++;
        if (!c->headless)
            backends(c, out);
    }
}

static struct str *strings(struct pool *p, const struct json *list, size_t more, size_t *n)
{
    struct str *v = pool_array(p, struct str, json_count(list) + more + 1);
    json_for (list, it)
        if (json_as_str(it).n && !str_eqz(json_as_str(it), "None"))
            v[(*n)++] = json_as_str(it);
    return v;
}

/* Is it one that our Node tells beside the address it has, such as one that a router translates? */
static bool own_address(struct compose *c, struct str ip)
{
    struct gate *g = c->s->gate;
    const struct json *node = cluster_node_tree(g, c->pool);
    if (!g->host_ip[0] || str_eqz(ip, g->host_ip))
        return false;
    json_for (json_path(node, "status", "addresses", NULL), a)
        if (str_eq(json_get_str(a, "address"), ip))
            return true;
    return false;
}

static void addresses(struct compose *c, const struct json *service)
{
    bool own = false;
    const struct json *ips = json_get(c->spec, STR("clusterIPs")), *ingress = json_path(service, "status", "loadBalancer", "ingress", NULL);
    struct str one = json_get_str(c->spec, "clusterIP");

    c->out.cluster_ips = strings(c->pool, ips, 1, &c->out.ncluster_ips);
    if (!json_count(ips) && one.n && !str_eqz(one, "None"))
        c->out.cluster_ips[c->out.ncluster_ips++] = one;
    c->out.external_ips = strings(c->pool, json_get(c->spec, STR("externalIPs")), json_count(ingress) + 1, &c->out.nexternal_ips);
    json_for (ingress, it)
        if (json_get_str(it, "ip").n && !str_eqz(json_get_str(it, "ipMode"), "Proxy")) {
            c->out.external_ips[c->out.nexternal_ips++] = json_get_str(it, "ip");
            own |= own_address(c, json_get_str(it, "ip"));
        }
    if (own)
        c->out.external_ips[c->out.nexternal_ips++] = str_of(c->s->gate->host_ip);
    c->out.source_ranges = strings(c->pool, json_get(c->spec, STR("loadBalancerSourceRanges")), 0, &c->out.nsource_ranges);
}

/* ---- names ---- */

static const struct dns_port *names_ports(struct compose *c, const struct json *list, const char *port, size_t *n)
{
    struct dns_port *v = pool_array(c->pool, struct dns_port, json_count(list) + 1);
    json_for (list, p) {
        struct str proto = json_get_str(p, "protocol");
        int64_t number = json_get_int(p, port, 0);
        if (number > 0 && number <= 65535)
            v[(*n)++] = (struct dns_port){json_get_str(p, "name"), proto.n ? proto : STR("TCP"), (uint16_t)number};
    }
    return v;
}

static void names_endpoints(struct compose *c)
{
    size_t cap = 0;
    struct dns_endpoint *v;
    for (size_t i = 0; i < c->nslices; i++)
        cap += json_count(json_get(c->slices[i], STR("endpoints")));
    v = pool_array(c->pool, struct dns_endpoint, cap + 1);
    c->dns.endpoints = v;
    for (size_t i = 0; i < c->nslices; i++) {
        size_t nports = 0;
        const struct dns_port *list = names_ports(c, json_get(c->slices[i], STR("ports")), "port", &nports);
        json_for (json_get(c->slices[i], STR("endpoints")), ep) {
            struct state st;
            struct str address = json_as_str(json_at(json_get(ep, STR("addresses")), 0));
            if (address.n && endpoint_state(c, ep, address, &st) && st.ready)
                v[c->dns.nendpoints++] = (struct dns_endpoint){pool_str(c->pool, st.ip), json_get_str(ep, "hostname"), list, nports};
        }
    }
}

static void feed_names(struct compose *c)
{
    c->dns.ns = c->out.ns;
    c->dns.name = c->out.name;
    c->dns.cluster_ips = c->out.cluster_ips;
    c->dns.ncluster_ips = c->out.ncluster_ips;
    c->dns.ports = names_ports(c, json_get(c->spec, STR("ports")), "port", &c->dns.nports);
    if (str_eqz(json_get_str(c->spec, "type"), "ExternalName"))
        c->dns.external_name = json_get_str(c->spec, "externalName");
    else if (c->headless)
        names_endpoints(c);
    names_service(c->s->gate, &c->dns);
}

/* ---- one Service ---- */

static void load_slices(struct compose *c)
{
    c->slices = pool_array(c->pool, struct json *, map_count(&c->v->slices) + 1);
    map_for (&c->v->slices, it) {
        const struct mirror_item *m = mirror_get(c->s->gate->mirror, map_key(it));
        struct json *o;
        if (m && json_parse(c->pool, bytes_str(m->bytes), &(struct json_limits){.view = true}, &o, NULL) == 0)
            c->slices[c->nslices++] = o;
    }
}

/* false: the Service is not there (any more). out is for node; headless ones and ExternalNames have no addresses there. */
static bool compose(struct compose *c)
{
    struct str ns, name;
    struct json *o;

    c->v->dirty = c->v->local = false;
    if (!str_cut(c->v->key, '/', &ns, &name))
        return false;
    o = mirror_tree(c->s->gate, c->pool, "/services", ns, name);
    if (!o)
        return false;
    c->spec = json_get(o, STR("spec"));
    c->publish_not_ready = json_get_bool(c->spec, "publishNotReadyAddresses", false);
    c->out.ns = ns;
    c->out.name = name;
    addresses(c, o);
    c->headless = !c->out.ncluster_ips;
    load_slices(c);
    ports(c);
    c->out.local_internal = str_eqz(json_get_str(c->spec, "internalTrafficPolicy"), "Local");
    c->out.local_external = str_eqz(json_get_str(c->spec, "externalTrafficPolicy"), "Local");
    c->out.health_port = (uint64_t)MAX(INT64_C(0), json_get_int(c->spec, "healthCheckNodePort", 0));
    if (str_eqz(json_get_str(c->spec, "sessionAffinity"), "ClientIP"))
        c->out.affinity_s = (uint64_t)json_get_int(json_path(c->spec, "sessionAffinityConfig", "clientIP", NULL), "timeoutSeconds", 10800);
    feed_names(c);
    return true;
}

/* ---- to node ---- */

static void on_services(void *arg, struct wire_msg *m);

struct batch {
    struct pool *pool;
    struct node_service *v;
    size_t n, cap, bytes;
    bool whole;
};

static void send_batch(struct services *s, struct batch *b)
{
    struct node_services m = {.whole = b->whole, .services = b->v, .nservices = b->n};
    if (b->n || b->whole)
        gate_ask(s->gate, NODE_SERVICES, &node_services_type, &m, on_services, s);
    b->n = b->bytes = 0;
    b->whole = false;
}

static void add(struct services *s, struct batch *b, const struct node_service *one, size_t bytes)
{
    if (b->bytes + bytes > BATCH_BYTES)
        send_batch(s, b);
    if (b->n == b->cap) {
        b->v = pool_grow(b->pool, b->v, b->cap * sizeof *b->v, (b->cap * 2 + 16) * sizeof *b->v);
        b->cap = b->cap * 2 + 16;
    }
    b->v[b->n++] = *one;
    b->bytes += bytes;
}

/* Composes one Service; what differs from what node has goes into the batch. */
static bool update(struct services *s, struct gsvc *v, struct batch *b, bool node)
{
    struct compose c = {.s = s, .v = v, .pool = b->pool};
    _cleanup_(buf_clear) struct buf bytes = BUF_INIT;
    bool there = compose(&c), wanted = there && (c.out.ncluster_ips || c.out.nexternal_ips);

    if (!there)
        names_service_gone(s->gate, v->key);
    health_put(s->health, v->key, there ? (uint16_t)MIN(c.out.health_port, UINT64_C(65535)) : 0, c.local_ready);
    if (!node)
        return there;
    if (wanted) {
        struct node_services one = {.services = &c.out, .nservices = 1};
        wire_encode(&node_services_type, &one, &bytes);
        if (v->sent && str_eq(bytes_str(v->sent), buf_str(&bytes)))
            return true;
        add(s, b, &c.out, bytes.n);
        bytes_unref(v->sent);
        v->sent = buf_to_bytes(&bytes);
    } else if (v->sent) {
        struct str ns = STR_NULL, name = STR_NULL;
        str_cut(v->key, '/', &ns, &name);
        add(s, b, &(struct node_service){.ns = pool_str(b->pool, ns), .name = pool_str(b->pool, name), .remove = true}, 64);
        bytes_unref(TAKE(v->sent));
    }
    return there;
}

static void again(struct timer *t)
{
    struct services *s = container_of(t, struct services, retry);
    s->gate->services_dirty = true;
    gate_turn(s->gate);
}

/* Hints count for the zone we are in: when that changes, all Services are composed anew. */
static void look_zone(struct services *s)
{
    _cleanup_(pool_freep) struct pool *p = pool_new();
    struct str zone = json_get_str(json_path(cluster_node_tree(s->gate, p), "metadata", "labels", NULL), "topology.kubernetes.io/zone");
    if (str_eqz(zone, s->zone) || zone.n >= sizeof s->zone)
        return;
    snprintf(s->zone, sizeof s->zone, "%.*s", STR_ARG(zone));
    map_for (&s->all, it)
        ((struct gsvc *)it->value)->dirty = true;
}

void services_work(struct gate *g)
{
    struct services *s = g->services;
    look_zone(s);
    bool node = g->node && g->hello.cpus && g->pod_cidr[0];
    struct batch b = {.pool = pool_new(), .whole = node && s->whole};

    if (b.whole) {
        s->whole = false;
        map_for (&s->all, it)
            bytes_unref(TAKE(((struct gsvc *)it->value)->sent));
    }
    map_for (&s->all, it) {
        struct gsvc *v = it->value;
        if (!v->dirty && !v->local && (v->sent || !b.whole))
            continue;
        if (!update(s, v, &b, node) && !map_count(&v->slices) && !v->sent) {
            map_del(&s->all, v->key);
            svc_free(v);
        }
    }
    if (node)
        send_batch(s, &b);
    pool_free(b.pool);
    if (!node && g->hello.cpus && !s->retry.loop) /* our own range is not known yet */
        timer_in(g->loop, &s->retry, RETRY_NS, again);
}

static int reply_code(struct wire_msg *m, struct pool *p, struct str *message)
{
    struct node_reply r = {.code = ERR_UNAVAILABLE};
    if (m && wire_decode(&node_reply_type, m->body, p, &r, NULL) < 0)
        r.code = ERR_PARSE;
    *message = r.message;
    return (int)r.code;
}

static void on_services(void *arg, struct wire_msg *m)
{
    struct services *s = arg;
    _cleanup_(pool_freep) struct pool *p = pool_new();
    struct str message;
    int code = reply_code(m, p, &message);

    if (!m || code == 0)
        return;
    if (code == ERR_INVALID || code == ERR_LIMIT || code == ERR_EXISTS) {
        log_warn("Services: %.*s", STR_ARG(message)); /* the others stand */
        return;
    }
    s->whole = true;
    if (!s->retry.loop)
        timer_in(s->gate->loop, &s->retry, RETRY_NS, again);
}

void services_node_restarted(struct gate *g)
{
    if (!g->services)
        return;
    g->services->whole = true;
    g->services_dirty = g->peers_dirty = true;
}

/* ---- other nodes ---- */

static void peers_again(struct timer *t)
{
    struct services *s = container_of(t, struct services, peers_retry);
    s->gate->peers_dirty = true;
    gate_turn(s->gate);
}

static void on_peers(void *arg, struct wire_msg *m)
{
    struct services *s = arg;
    _cleanup_(pool_freep) struct pool *p = pool_new();
    struct str message;
    int code = reply_code(m, p, &message);

    if (!m || code == 0)
        return;
    if (code == ERR_INVALID)
        log_warn("other nodes: %.*s", STR_ARG(message));
    else if (!s->peers_retry.loop)
        timer_in(s->gate->loop, &s->peers_retry, RETRY_NS, peers_again);
}

struct peers {
    struct gate *g;
    struct pool *pool;
    struct node_peer *v;
    size_t n, cap;
};

static bool peer(void *arg, const struct mirror_item *it)
{
    struct peers *x = arg;
    struct json *o;
    struct node_peer p = {0};

    if (json_parse(x->pool, bytes_str(it->bytes), &(struct json_limits){.view = true}, &o, NULL) < 0)
        return true;
    p.name = json_str_at(o, "metadata", "name", NULL);
    p.pod_cidr = json_str_at(o, "spec", "podCIDR", NULL);
    json_for (json_path(o, "status", "addresses", NULL), a)
        if (!p.ip.n && str_eqz(json_get_str(a, "type"), "InternalIP") && str_chr(json_get_str(a, "address"), ':') < 0)
            p.ip = json_get_str(a, "address");
    if (str_eqz(p.name, x->g->o->node_name) || !p.pod_cidr.n || !p.ip.n)
        return true;
    if (x->n == x->cap) {
        x->v = pool_grow(x->pool, x->v, x->cap * sizeof p, (x->cap * 2 + 8) * sizeof p);
        x->cap = x->cap * 2 + 8;
    }
    x->v[x->n++] = p;
    return true;
}

void peers_work(struct gate *g)
{
    struct peers x = {.g = g, .pool = pool_new()};
    mirror_each(g->mirror, STR("/nodes/"), peer, &x);
    struct node_peers m = {x.v, x.n};
    if (g->node && g->pod_cidr[0])
        gate_ask(g, NODE_PEERS, &node_peers_type, &m, on_peers, g->services);
    pool_free(x.pool);
}

int services_open(struct gate *g, struct err **e)
{
    (void)e;
    g->services = xcalloc(1, sizeof *g->services);
    g->services->gate = g;
    g->services->whole = true;
    g->services->health = health_new(g->loop);
    return 0;
}

void services_close(struct gate *g)
{
    struct services *s = g->services;
    if (!s)
        return;
    timer_del(&s->retry);
    timer_del(&s->peers_retry);
    map_clear(&s->all, svc_free);
    map_clear(&s->slice_of, free);
    health_free(s->health);
    free(TAKE(g->services));
}
