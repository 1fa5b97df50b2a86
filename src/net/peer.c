/* The way to other nodes: a route to each one's pod range; over the overlay also who has which hardware and outer address (nothing is
 * learned, nothing is asked). */
#include <arpa/inet.h>
#include <errno.h>
#include "net/impl.h"

static int peer_parse(struct net *n, const struct net_peer *p, struct net_peer_rec *r, struct err **e)
{
    *r = (struct net_peer_rec){.range.prefix = -1};
    if (!p->name.n || p->name.n > 253)
        return err_set(e, ERR_INVALID, "peer without a name");
    if (!net_ip_parse(p->ip, &r->ip))
        return err_set(e, ERR_INVALID, "peer %.*s: ip \"%.*s\" is not an IPv4 address", STR_ARG(p->name), STR_ARG(p->ip));
    if (!net_cidr_parse(p->pod_cidr, &r->range) || r->range.prefix == 0 || (n->pod.prefix >= 0 && net_cidr_has(&n->pod, r->range.base)))
        return err_set(e, ERR_INVALID, "peer %.*s: podCIDR \"%.*s\" is not a range of its own", STR_ARG(p->name), STR_ARG(p->pod_cidr));
    net_mac_of(htonl(r->range.base), r->mac);
    if (p->vtep_mac.n && !net_mac_parse(p->vtep_mac, r->mac))
        return err_set(e, ERR_INVALID, "peer %.*s: vtepMAC is not valid", STR_ARG(p->name));
    return 0;
}

/* Adding what stands there already is fine. */
static int apply(struct net *n, const struct net_peer_rec *r, bool add, struct nft *b)
{
    struct rtnl_route t = {
        .dst = htonl(r->range.base), .prefix = r->range.prefix, .src = n->gateway, .scope = RT_SCOPE_UNIVERSE, .mtu = r->mtu};
    int rc = 0;

    nft_elem(b, add, "peers", &r->ip, 4, NULL, 0, NULL);
    if (n->backend == BACKEND_NONE || !n->gateway)
        return 0;
    if (n->backend == BACKEND_HOST_GW) {
        t.gateway = r->ip;
        return rtnl_route(n->rt, add, &t);
    }
    if (!n->vx)
        return 0;
    t.gateway = htonl(r->range.base);
    t.ifindex = n->vx;
    t.onlink = true;
    if (add) {
        rc = rtnl_fdb(n->rt, true, n->vx, r->mac, r->ip);
        if (rc == 0)
            rc = rtnl_neigh(n->rt, true, n->vx, t.gateway, r->mac);
        return rc < 0 ? rc : rtnl_route(n->rt, true, &t);
    }
    rtnl_route(n->rt, false, &t);
    rtnl_neigh(n->rt, false, n->vx, t.gateway, r->mac);
    rtnl_fdb(n->rt, false, n->vx, r->mac, r->ip);
    return 0;
}

void net_peer_route(struct net *n, const struct net_peer_rec *r)
{
    struct nft b;

    nft_begin(&b);
    apply(n, r, true, &b);
    nft_clear(&b); /* the element stands already */
}

/* Routes of another run of this process that nobody names any more. */
struct stale {
    struct net *n;
    struct rtnl_route *v;
    size_t k;
};

static int stale_route(const struct nlmsghdr *h, void *arg)
{
    struct stale *s = arg;
    const struct rtmsg *m = mnl_nlmsg_get_payload(h);
    struct rtnl_route t = {.prefix = m->rtm_dst_len};
    const struct nlattr *a;
    bool named = false;

    if (m->rtm_family != AF_INET || m->rtm_protocol != NET_ROUTE_PROTO || m->rtm_table != RT_TABLE_MAIN)
        return 0;
    mnl_attr_for_each(a, h, sizeof *m)
    {
        if (mnl_attr_get_type(a) == RTA_DST)
            t.dst = mnl_attr_get_u32(a);
        if (mnl_attr_get_type(a) == RTA_OIF)
            t.ifindex = (int)mnl_attr_get_u32(a);
    }
    map_for (&s->n->peers, it) {
        const struct net_peer_rec *p = it->value;
        named |= htonl(p->range.base) == t.dst && p->range.prefix == t.prefix;
    }
    if (named || (s->n->service.prefix == t.prefix && htonl(s->n->service.base) == t.dst))
        return 0;
    s->v = xrealloc(s->v, (s->k + 1) * sizeof t);
    s->v[s->k++] = t;
    return 0;
}

void net_routes_drop(struct net *n)
{
    struct stale s = {.n = n};
    struct rtnl_req q;
    struct rtmsg *m = rtnl_begin(&q, RTM_GETROUTE, 0, sizeof *m);

    m->rtm_family = AF_INET;
    rtnl_dump(n->rt, q.nlh, stale_route, &s);
    for (size_t i = 0; i < s.k; i++)
        rtnl_route(n->rt, false, &s.v[i]);
    free(s.v);
}

void net_peers_clear(struct net *n)
{
    map_clear(&n->peers, free);
    n->peers_known = false;
}

int net_peers_again(struct net *n, struct err **e)
{
    struct nft b;

    nft_begin(&b);
    map_for (&n->peers, it)
        apply(n, it->value, true, &b);
    return nft_commit(&b, n->nft, e);
}

static bool same(const struct net_peer_rec *a, const struct net_peer_rec *b)
{
    return a->ip == b->ip && a->range.base == b->range.base && a->range.prefix == b->range.prefix && memcmp(a->mac, b->mac, 6) == 0;
}

static void take(struct net *n, const struct net_peer *p, struct nft *b, struct err **first)
{
    struct net_peer_rec r, *old;
    int rc = peer_parse(n, p, &r, *first ? NULL : first);

    if (rc < 0)
        return;
    old = map_get(&n->peers, p->name);
    if (old && same(old, &r)) {
        old->keep = true;
        return;
    }
    map_for (&n->peers, it) /* nobody else may claim the same range or address: the first one holds it */
        if (it->value != old && ((struct net_peer_rec *)it->value)->keep &&
            (((struct net_peer_rec *)it->value)->range.base == r.range.base || ((struct net_peer_rec *)it->value)->ip == r.ip)) {
            err_set(*first ? NULL : first, ERR_INVALID, "peer %.*s: its podCIDR or ip is another peer's", STR_ARG(p->name));
            return;
        }
    if (old)
        apply(n, old, false, b);
    else
        map_put(&n->peers, p->name, old = xmalloc(sizeof *old));
    *old = r;
    old->keep = true;
    rc = apply(n, old, true, b);
    if (rc < 0)
        err_errno(*first ? NULL : first, -rc, "peer %.*s: route to %.*s", STR_ARG(p->name), STR_ARG(p->pod_cidr));
}

int net_peers(struct net *n, const struct net_peer *p, size_t count, struct err **e)
{
    struct err *first = NULL;
    struct nft b;
    int r;

    if (!n->table_ready)
        return err_set(e, ERR_UNAVAILABLE, "the pod network is not configured yet");
    nft_begin(&b);
    if (!n->peers_known)
        nft_set_flush(&b, "peers");
    map_for (&n->peers, it) {
        bool named = false;
        for (size_t i = 0; i < count && !named; i++)
            named = str_eq(p[i].name, map_key(it));
        ((struct net_peer_rec *)it->value)->keep = false;
        if (!named) {
            struct net_peer_rec *gone = it->value;
            apply(n, gone, false, &b);
            map_del(&n->peers, map_key(it));
            free(gone);
        }
    }
    for (size_t i = 0; i < count; i++)
        take(n, &p[i], &b, &first);
    r = nft_commit(&b, n->nft, first ? NULL : &first);
    if (r < 0) {
        net_peers_clear(n);
        return err_move(e, first);
    }
    if (!n->peers_known)
        net_routes_drop(n);
    n->peers_known = true;
    return first ? err_move(e, first) : 0;
}
