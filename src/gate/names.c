/* Names for pods: the dns room, fed by services.c, on sockets at the cluster's DNS address that node opens for us (port 53 is not ours to
 * bind). Upstreams are those of
 * --resolv-conf, or /etc/resolv.conf; the file is looked at again once a minute, since DHCP changes it. */
#include "gate/names.h"
#include "base/file.h"
#include "gate/corefile.h"

#define RETRY_NS (500 * NS_PER_MS)
#define UPSTREAMS_NS (60 * NS_PER_S)
#define UPSTREAMS 8

struct names {
    struct gate *gate;
    struct dns *dns;
    bool udp, tcp; /* sockets are there */
    bool looked;
    struct timer retry, upstreams;
    struct buf last; /* resolv.conf as last seen */
    bool overridden; /* coredns-custom names the upstreams */
};

void names_service(struct gate *g, const struct dns_service *s)
{
    if (g->names)
        dns_service_put(g->names->dns, s);
}

void names_service_gone(struct gate *g, struct str key)
{
    struct str ns, name;
    if (g->names && str_cut(key, '/', &ns, &name))
        dns_service_del(g->names->dns, ns, name);
}

/* ---- upstreams ---- */

static void look(struct names *n)
{
    _cleanup_(buf_clear) struct buf b = BUF_INIT;
    const char *path = n->gate->o->resolv_conf && n->gate->o->resolv_conf[0] ? n->gate->o->resolv_conf : "/etc/resolv.conf";
    struct str servers[UPSTREAMS], rest, line;
    size_t k = 0;

    if (file_read(path, 64 << 10, &b, NULL) < 0)
        buf_reset(&b); /* none: only the cluster's own names are answered */
    if (n->looked && str_eq(buf_str(&b), buf_str(&n->last)))
        return;
    rest = buf_str(&b);
    while (k < UPSTREAMS && str_split(&rest, '\n', &line)) {
        line = str_trim(line);
        if (!str_starts(line, STR("nameserver")))
            continue;
        line = str_trim(str_sub(line, 10, line.n));
        if (line.n && !str_eqz(line, n->gate->o->cluster_dns)) /* we would ask ourselves */
            servers[k++] = line;
    }
    if (!n->overridden)
        dns_upstreams(n->dns, servers, k);
    n->looked = true;
    buf_reset(&n->last);
    buf_str_add(&n->last, buf_str(&b));
}

static void look_again(struct timer *t)
{
    struct names *n = container_of(t, struct names, upstreams);
    look(n);
    timer_in(n->gate->loop, t, UPSTREAMS_NS, look_again);
}

/* ---- what operators add: the ConfigMap of K3s, and the names of nodes ---- */

struct extra {
    struct gate *gate;
    struct pool *pool;
    struct corefile c;
    size_t cap;
};

static bool extra_node(void *arg, const struct mirror_item *it)
{
    struct extra *x = arg;
    struct json *o;
    if (json_parse(x->pool, bytes_str(it->bytes), &(struct json_limits){.view = true}, &o, NULL) < 0)
        return true;
    json_for (json_path(o, "status", "addresses", NULL), a) {
        if (!str_eqz(json_get_str(a, "type"), "InternalIP"))
            continue;
        struct str *ip = pool_array(x->pool, struct str, 1);
        *ip = json_get_str(a, "address");
        if (x->c.nhosts >= x->cap) {
            size_t cap = x->c.nhosts * 2 + 16;
            x->c.hosts = pool_grow(x->pool, x->c.hosts, x->c.nhosts * sizeof *x->c.hosts, cap * sizeof *x->c.hosts);
            x->cap = cap;
        }
        x->c.hosts[x->c.nhosts++] = (struct dns_host){json_str_at(o, "metadata", "name", NULL), ip, 1};
    }
    return true;
}

void names_extra(struct gate *g)
{
    struct names *n = g->names;
    struct extra x = {.gate = g, .pool = pool_new()};
    const struct json *data =
        n ? json_get(mirror_tree(g, x.pool, "/configmaps", STR("kube-system"), STR("coredns-custom")), STR("data")) : NULL;
    json_for (data, text) {
        _cleanup_(err_freep) struct err *e = NULL;
        struct str key = str_make(text->keyp, text->keyn);
        bool override = str_ends(key, STR(".override"));
        if (!override && !str_ends(key, STR(".server")))
            continue;
        x.c.unknown = STR("");
        if (corefile_parse(x.pool, json_as_str(text), override, &x.c, &e) < 0)
            event_node(g, true, "InvalidDNSConfig", "ConfigMap kube-system/coredns-custom: %.*s: %s", STR_ARG(key), err_msg(e));
        else if (x.c.unknown.n)
            event_node(g, true, "InvalidDNSConfig",
                "ConfigMap kube-system/coredns-custom: %.*s: \"%.*s\" is not supported and was left out", STR_ARG(key),
                STR_ARG(x.c.unknown));
    }
    x.cap = x.c.nhosts; /* full: the next one grows it */
    mirror_each(g->mirror, STR("/nodes/"), extra_node, &x);
    if (n) {
        dns_hosts(n->dns, x.c.hosts, x.c.nhosts);
        dns_stubs(n->dns, x.c.stubs, x.c.nstubs);
        bool was = n->overridden;
        n->overridden = x.c.nupstreams > 0;
        if (n->overridden)
            dns_upstreams(n->dns, x.c.upstreams, x.c.nupstreams);
        else if (was) {
            n->looked = false;
            look(n);
        }
    }
    pool_free(x.pool);
}

/* ---- sockets ---- */

static void ask(struct names *n);

static void again(struct timer *t)
{
    ask(container_of(t, struct names, retry));
}

static void retry(struct names *n)
{
    if (!n->retry.loop)
        timer_in(n->gate->loop, &n->retry, RETRY_NS, again);
}

static int take(struct names *n, bool udp, struct wire_msg *m)
{
    _cleanup_(err_freep) struct err *e = NULL;
    int fd, r;

    if (!m || m->nfds < 1 || m->fds[0] < 0)
        return -1;
    fd = m->fds[0];
    m->fds[0] = -1;
    fd_nonblock(fd);
    r = udp ? dns_serve_udp(n->dns, fd, &e) : dns_serve_tcp(n->dns, fd, &e);
    if (r < 0)
        log_error("names: %s", err_msg(e));
    return r;
}

static void on_udp(void *arg, struct wire_msg *m)
{
    struct names *n = arg;
    if (m && take(n, true, m) == 0)
        n->udp = true;
    else if (m)
        retry(n);
}

static void on_tcp(void *arg, struct wire_msg *m)
{
    struct names *n = arg;
    if (m && take(n, false, m) == 0) {
        n->tcp = true;
        log_info("names are answered at %s", n->gate->o->cluster_dns);
    } else if (m) {
        retry(n);
    }
}

/* The address stands on a link that node makes when it is configured: until then it refuses, and is asked again. */
static void ask(struct names *n)
{
    struct gate *g = n->gate;
    struct node_listen m = {.udp = true, .address = str_of(g->o->cluster_dns), .port = 53};

    if (!g->node || !g->hello.cpus || !m.address.n)
        return;
    if (!n->udp)
        gate_ask(g, NODE_LISTEN, &node_listen_type, &m, on_udp, n);
    m.udp = false;
    if (!n->tcp)
        gate_ask(g, NODE_LISTEN, &node_listen_type, &m, on_tcp, n);
}

void names_node_ready(struct gate *g)
{
    if (g->names)
        ask(g->names); /* sockets from before go on: they do not belong to node */
}

int names_open(struct gate *g, struct err **e)
{
    struct names *n = xcalloc(1, sizeof *n);
    struct str ranges[2] = {str_of(g->o->service_cidr), str_of(g->o->cluster_cidr)};
    struct dns_options o = {.loop = g->loop,
        .clock = g->clock,
        .domain = g->o->cluster_domain ? str_of(g->o->cluster_domain) : STR("cluster.local"),
        .reverse = ranges,
        .nreverse = 2};

    g->names = n;
    n->gate = g;
    n->dns = dns_new(&o, e);
    if (!n->dns)
        return -ERR_INVALID;
    look_again(&n->upstreams);
    return 0;
}

void names_close(struct gate *g)
{
    struct names *n = g->names;
    if (!n)
        return;
    timer_del(&n->retry);
    timer_del(&n->upstreams);
    dns_free(n->dns);
    buf_clear(&n->last);
    free(TAKE(g->names));
}
