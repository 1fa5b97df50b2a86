#include "net/net.h"
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/file.h"
#include "net/impl.h"

static void addresses_settled(struct timer *t)
{
    struct net *n = container_of(t, struct net, addr_timer);
    if (n->configured && map_count(&n->peers) && net_peers_again(n, NULL) < 0)
        n->configured = false; /* the next net_configure does it all anew */
    if (n->table_ready)
        (void)!net_foreign(n, true, NULL); /* docker0 may have come */
    if (n->o.on_addresses)
        n->o.on_addresses(n->o.arg);
}

/* What changed is not read: 200 ms later the whole is looked at once. */
static void addresses_event(struct watch *w, uint32_t events)
{
    struct net *n = container_of(w, struct net, addr_watch);
    char drop[8192];

    while (recv(w->fd, drop, sizeof drop, MSG_DONTWAIT) > 0 || errno == ENOBUFS || errno == EINTR)
        errno = 0;
    if (!n->addr_timer.loop)
        timer_in(n->loop, &n->addr_timer, 200 * INT64_C(1000000), addresses_settled);
}

static int watch_addresses(struct net *n, struct err **e)
{
    struct sockaddr_nl a = {.nl_family = AF_NETLINK, .nl_groups = RTMGRP_IPV4_IFADDR};

    n->addr_fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE);
    if (n->addr_fd < 0 || bind(n->addr_fd, (struct sockaddr *)&a, sizeof a) < 0)
        return err_errno(e, errno, "watch the host's addresses");
    return watch_add(n->loop, &n->addr_watch, n->addr_fd, EPOLLIN, addresses_event, e);
}

int net_open(struct loop *l, const struct net_options *o, struct net **out, struct err **e)
{
    _cleanup_(net_closep) struct net *n = xcalloc(1, sizeof *n);
    int r;

    n->loop = l;
    n->o = *o;
    n->rt = n->nft = n->addr_fd = n->probe_fd = -1;
    n->state_dir = xstrdup(o->state_dir);
    n->pod.prefix = n->cluster.prefix = n->service.prefix = -1;
    snprintf(n->epoch, sizeof n->epoch, "%08x", (unsigned)random_u64());
    n->rt = rtnl_socket();
    if (n->rt < 0)
        return err_errno(e, -n->rt, "rtnetlink socket");
    n->nft = nft_socket(e);
    if (n->nft < 0)
        return n->nft;
    r = net_alloc_load(n, e);
    if (r == 0 && o->on_addresses)
        r = watch_addresses(n, e);
    if (r < 0)
        return r;
    *out = TAKE(n);
    return 0;
}

void net_close(struct net *n)
{
    if (!n)
        return;
    watch_del(&n->addr_watch);
    timer_del(&n->addr_timer);
    watch_del(&n->probe_watch);
    timer_del(&n->probe_timer);
    closep(&n->probe_fd);
    closep(&n->addr_fd);
    closep(&n->rt);
    closep(&n->nft);
    map_clear(&n->recs, net_rec_free);
    net_services_clear(n);
    net_policies_clear(n);
    net_peers_clear(n);
    free(n->state_dir);
    free(n);
}

static int cidr_field(const char *name, struct str s, struct net_cidr *out, struct err **e)
{
    *out = (struct net_cidr){0, -1};
    if (s.n && !net_cidr_parse(s, out))
        return err_set(e, ERR_INVALID, "%s: \"%.*s\" is not an IPv4 range", name, STR_ARG(s));
    return 0;
}

static int config_parse(const struct net_config *c, struct net *t, struct err **e)
{
    int r = cidr_field("podCIDR", c->pod_cidr, &t->pod, e);

    if (r == 0)
        r = cidr_field("clusterCIDR", c->cluster_cidr, &t->cluster, e);
    if (r == 0)
        r = cidr_field("serviceCIDR", c->service_cidr, &t->service, e);
    if (r < 0)
        return r;
    if (t->pod.prefix > 29)
        return err_set(e, ERR_INVALID, "podCIDR: \"%.*s\" holds no pods: at least /29 is needed", STR_ARG(c->pod_cidr));
    if (c->node_ip.n && !net_ip_parse(c->node_ip, &t->node_ip))
        return err_set(e, ERR_INVALID, "nodeIP: \"%.*s\" is not an IPv4 address", STR_ARG(c->node_ip));
    if (c->dns_ip.n && !net_ip_parse(c->dns_ip, &t->dns_ip))
        return err_set(e, ERR_INVALID, "clusterDNS: \"%.*s\" is not an IPv4 address", STR_ARG(c->dns_ip));
    if (!c->backend.n || str_eqz(c->backend, "vxlan"))
        t->backend = BACKEND_VXLAN;
    else if (str_eqz(c->backend, "host-gw"))
        t->backend = BACKEND_HOST_GW;
    else if (str_eqz(c->backend, "none"))
        t->backend = BACKEND_NONE;
    else
        return err_set(e, ERR_INVALID, "backend: \"%.*s\" is not one of vxlan, host-gw, none", STR_ARG(c->backend));
    if (t->pod.prefix >= 0)
        t->gateway = htonl(t->pod.base + 1);
    return 0;
}

static bool cidr_same(const struct net_cidr *a, const struct net_cidr *b)
{
    return a->base == b->base && a->prefix == b->prefix;
}

int net_configure(struct net *n, const struct net_config *c, struct err **e)
{
    struct net t = {0};
    int r = config_parse(c, &t, e);

    if (r < 0)
        return r;
    if (n->configured && cidr_same(&t.pod, &n->pod) && cidr_same(&t.cluster, &n->cluster) && cidr_same(&t.service, &n->service) &&
        t.node_ip == n->node_ip && t.dns_ip == n->dns_ip && t.backend == n->backend)
        return 0;
    n->configured = false;
    n->pod = t.pod;
    n->cluster = t.cluster;
    n->service = t.service;
    n->node_ip = t.node_ip;
    n->dns_ip = t.dns_ip;
    n->gateway = t.gateway;
    n->backend = t.backend;
    r = net_links(n, e);
    if (r == 0)
        r = net_table_build(n, e);
    if (r == 0 && map_count(&n->peers)) /* their link may be a new one, and routes by way of an address go when it goes */
        r = net_peers_again(n, e);
    if (r == 0)
        r = net_foreign(n, true, e);
    if (r == 0)
        r = net_probe_start(n, e);
    n->configured = r == 0;
    return r;
}

int net_mtu(const struct net *n)
{
    return n->mtu;
}

bool net_vtep_mac(const struct net *n, char out[18])
{
    uint8_t m[6];

    if (!n->vx)
        return false;
    net_mac_of(htonl(n->pod.base), m);
    snprintf(out, 18, "%02x:%02x:%02x:%02x:%02x:%02x", m[0], m[1], m[2], m[3], m[4], m[5]);
    return true;
}

/* ---- uninstall ---- */

static void links_remove(int rt)
{
    struct if_nameindex *all = if_nameindex();

    for (struct if_nameindex *i = all; i && i->if_index; i++) {
        bool pod = strlen(i->if_name) == 12 && strncmp(i->if_name, "sp", 2) == 0 && strspn(i->if_name + 2, "0123456789abcdef") == 10;
        if (pod || strcmp(i->if_name, NET_BRIDGE) == 0 || strcmp(i->if_name, NET_VXLAN) == 0 || strcmp(i->if_name, NET_DNS) == 0)
            rtnl_link_del(rt, (int)i->if_index);
    }
    if_freenameindex(all);
}

int net_uninstall(const char *state_dir, struct err **e)
{
    struct net_options o = {.state_dir = state_dir ? state_dir : "/nonexistent"};
    _cleanup_(net_closep) struct net *n = NULL;
    _cleanup_(freep) char *path = xasprintf("%s/addresses", o.state_dir);
    struct nft b;
    int r = net_open(NULL, &o, &n, e);

    if (r < 0)
        return r;
    links_remove(n->rt);
    net_routes_drop(n); /* routes by way of other links: host-gw */
    nft_begin(&b);
    nft_table_add(&b); /* deleting what is not there would fail */
    nft_table_del(&b);
    r = nft_commit(&b, n->nft, e);
    if (r == 0)
        r = net_foreign(n, false, e);
    if (state_dir && unlink(path) < 0 && errno != ENOENT && r == 0)
        r = err_errno(e, errno, "remove %s", path);
    return r;
}
