/* A pod's link: a veth pair, one end on the bridge, the other (eth0) in the pod's namespace with a /32 address. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include "net/impl.h"

void net_ifname(struct str uid, char out[16])
{
    /* A fixed hash (FNV-1a), not str_hash: the name must be the same in the next run. */
    uint64_t h = UINT64_C(14695981039346656037);
    for (size_t i = 0; i < uid.n; i++)
        h = (h ^ (uint8_t)uid.p[i]) * UINT64_C(1099511628211);
    snprintf(out, 16, "sp%010" PRIx64, h & UINT64_C(0xffffffffff));
}

static void key_port(uint8_t proto, uint16_t port, uint8_t out[8])
{
    uint16_t be = htons(port);
    memset(out, 0, 8);
    out[0] = proto;
    memcpy(out + 4, &be, 2);
}

static void port_elem(struct nft *b, const struct net_rec *r, const struct net_hostport *p, bool add)
{
    uint8_t key[12], to[8] = {0};
    uint32_t ip = htonl(r->ip);
    uint16_t port = htons(p->container_port);

    memcpy(to, &ip, 4);
    memcpy(to + 4, &port, 2);
    memcpy(key, &p->host_ip, 4);
    key_port(p->proto, p->host_port, key + 4);
    if (p->host_ip)
        nft_elem(b, add, "hostips", key, 12, to, 8, NULL);
    else
        nft_elem(b, add, "hostports", key + 4, 8, to, 8, NULL);
}

void net_pod_elems(struct nft *b, const struct net_rec *r, bool add)
{
    uint32_t pair[2] = {htonl(r->ip), htonl(r->ip)};

    nft_elem(b, add, "hairpin", pair, sizeof pair, NULL, 0, NULL);
    for (size_t i = 0; i < r->nports; i++)
        port_elem(b, r, &r->ports[i], add);
}

static bool port_taken(struct net *n, const struct net_rec *mine, const struct net_hostport *p)
{
    map_for (&n->recs, it) {
        const struct net_rec *r = it->value;
        for (size_t i = 0; r != mine && i < r->nports; i++) {
            const struct net_hostport *q = &r->ports[i];
            if (q->proto == p->proto && q->host_port == p->host_port && (!q->host_ip || !p->host_ip || q->host_ip == p->host_ip))
                return true;
        }
    }
    return false;
}

static int ports_parse(
    struct net *n, const struct net_rec *r, const struct net_pod *p, struct net_hostport **out, size_t *count, struct err **e)
{
    _cleanup_(freep) void *mem = xcalloc(p->nports + 1, sizeof **out);
    struct net_hostport *v = mem;
    size_t k = 0;

    if (p->nports > NET_MAX_PORTS)
        return err_set(e, ERR_LIMIT, "ports: at most %d host ports a pod", NET_MAX_PORTS);
    for (size_t i = 0; i < p->nports; i++) {
        const struct net_port *s = &p->ports[i];
        struct net_hostport h = {.host_port = s->host_port, .container_port = s->container_port, .proto = net_proto(s->protocol)};
        if (!s->host_port)
            continue;
        if (!h.proto || !h.container_port || (s->host_ip.n && !net_ip_parse(s->host_ip, &h.host_ip)))
            return err_set(e, ERR_INVALID, "ports[%zu]: protocol, containerPort or hostIP is not valid", i);
        if (port_taken(n, r, &h))
            return err_set(e, ERR_EXISTS, "ports[%zu]: host port %u is in use by another pod", i, h.host_port);
        v[k++] = h;
    }
    *out = TAKE(mem);
    *count = k;
    return 0;
}

/* eth0, lo, address and routes inside. Everything may stand there already. */
static int configure_inside(struct net *n, int fd, uint32_t ip, struct err **e)
{
    struct rtnl_route gw = {.gateway = n->gateway, .onlink = true, .scope = RT_SCOPE_UNIVERSE, .ifindex = rtnl_find(fd, "eth0")};
    int r;

    if (gw.ifindex < 0)
        return err_errno(e, -gw.ifindex, "the pod's link eth0");
    r = rtnl_link_set(fd, gw.ifindex, true, 0, 0, NULL);
    if (r == 0)
        r = rtnl_link_set(fd, 1, true, 0, 0, NULL);
    if (r < 0)
        return err_errno(e, -r, "bring up the pod's links");
    r = rtnl_addr_add(fd, gw.ifindex, ip, 32, true);
    if (r < 0 && r != -EEXIST)
        return err_errno(e, -r, "the pod's address");
    r = rtnl_route(fd, true, &gw);
    return r < 0 ? err_errno(e, -r, "the pod's default route") : 0;
}

static int wire_up(struct net *n, const struct net_pod *p, const struct net_rec *r, struct err **e)
{
    _cleanup_(closep) int inside = rtnl_socket_in(p->netns);
    char name[16];
    uint8_t mac[6];
    int rc, old;

    if (inside < 0)
        return err_errno(e, -inside, "enter the pod's network namespace");
    net_ifname(p->uid, name);
    net_mac_of(htonl(r->ip), mac);
    if (rtnl_find(inside, "eth0") < 0) {
        old = rtnl_ifindex(name);
        if (old) /* of a namespace that is going away */
            rtnl_link_del(n->rt, old);
        rc = rtnl_veth_make(n->rt, name, n->br, "eth0", p->netns, mac, (uint32_t)n->mtu);
        if (rc < 0)
            return err_errno(e, -rc, "make the pod's link %s", name);
        /* Where bridge-nf-call-iptables is on, a pod's packet to itself by way of a Service is turned round inside the bridge. */
        rc = rtnl_hairpin(n->rt, rtnl_ifindex(name));
        if (rc < 0)
            return err_errno(e, -rc, "hairpin mode of %s", name);
    }
    return configure_inside(n, inside, htonl(r->ip), e);
}

static int elems_change(struct net *n, const struct net_rec *was, struct net_rec *now, struct err **e)
{
    struct nft b;
    int r;

    if (!n->table_ready)
        return 0; /* they come with the table */
    nft_begin(&b);
    if (was && was->in_kernel)
        net_pod_elems(&b, was, false);
    if (now)
        net_pod_elems(&b, now, true);
    r = nft_commit(&b, n->nft, e);
    if (now && r == 0)
        now->in_kernel = true;
    return r;
}

int net_attach(struct net *n, const struct net_pod *p, char ip[NET_ADDR_TEXT], struct err **e)
{
    bool known = map_get(&n->recs, p->uid) != NULL;
    struct net_rec *r, was = {0};
    struct net_hostport *ports = NULL;
    size_t nports = 0;
    char t[16];
    int rc = net_alloc_get(n, p->uid, p->wanted_ip, &r, e);

    if (rc < 0)
        return rc;
    rc = ports_parse(n, r, p, &ports, &nports, e);
    if (rc == 0 && (!known || nports != r->nports || (nports && memcmp(ports, r->ports, nports * sizeof *ports)))) {
        was = *r;
        r->ports = TAKE(ports);
        r->nports = nports;
        rc = net_alloc_save(n, e);
        if (rc == 0)
            rc = elems_change(n, known ? &was : NULL, r, e);
        free(was.ports);
    }
    free(ports);
    if (rc == 0)
        rc = net_policy_pod(n, p->uid, e); /* before it can send anything */
    if (rc == 0)
        rc = wire_up(n, p, r, e);
    if (rc < 0) {
        if (!known)
            net_release(n, p->uid);
        return rc;
    }
    snprintf(ip, NET_ADDR_TEXT, "%s", net_ip_text(htonl(r->ip), t));
    return 0;
}

void net_detach(struct net *n, struct str uid)
{
    struct net_rec *r = map_get(&n->recs, uid), bare;
    char name[16];
    int at;

    if (!r)
        return;
    net_ifname(uid, name);
    at = rtnl_ifindex(name);
    if (at)
        rtnl_link_del(n->rt, at);
    if (!r->nports)
        return;
    bare = (struct net_rec){.ip = r->ip, .in_kernel = r->in_kernel};
    if (elems_change(n, r, &bare, NULL) < 0)
        return;
    free(TAKE(r->ports));
    r->nports = 0;
    if (net_alloc_save(n, NULL) < 0) /* a failure leaves a line too many, which the next save mends */
        return;
}

void net_release(struct net *n, struct str uid)
{
    struct net_rec *r = map_get(&n->recs, uid);

    if (!r)
        return;
    net_detach(n, uid);
    if (elems_change(n, r, NULL, NULL) < 0)
        return;
    map_del(&n->recs, uid);
    net_rec_free(r);
    (void)!net_policy_pod(n, uid, NULL); /* what a failure leaves goes when the policies no longer name it */
    if (net_alloc_save(n, NULL) < 0)
        return;
}

void net_each(struct net *n, void (*fn)(void *arg, struct str uid, const char *ip), void *arg)
{
    char t[16];

    map_for (&n->recs, it) {
        _cleanup_(freep) char *uid = str_dup(map_key(it)); /* fn may release it */
        net_ip_text(htonl(((struct net_rec *)it->value)->ip), t);
        fn(arg, str_of(uid), t);
    }
}

static bool counter(const char *link, const char *what, uint64_t *out)
{
    char path[96], text[32];
    ssize_t k;
    _cleanup_(closep) int fd = -1;

    snprintf(path, sizeof path, "/sys/class/net/%s/statistics/%s", link, what);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || (k = read(fd, text, sizeof text)) <= 0)
        return false;
    return str_to_u64(str_trim(str_make(text, (size_t)k)), out);
}

bool net_counters(struct net *n, struct str uid, uint64_t *rx, uint64_t *tx)
{
    char name[16];

    net_ifname(uid, name);
    return counter(name, "tx_bytes", rx) && counter(name, "rx_bytes", tx); /* what the host's end sent the pod has received */
}
