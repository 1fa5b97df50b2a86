/* The protocol's Services and peers in the network room's form. Bounds of numbers are checked here, everything else there. */
#include "base/log.h"
#include "node/impl.h"

static const struct net_service_port *ports_of(struct pool *p, const struct node_service *s)
{
    struct net_service_port *out = pool_array(p, struct net_service_port, s->nports + 1);
    for (size_t i = 0; i < s->nports; i++) {
        const struct node_service_port *q = &s->ports[i];
        struct net_backend *b = pool_array(p, struct net_backend, q->nbackends + 1);
        for (size_t k = 0; k < q->nbackends; k++)
            b[k] =
                (struct net_backend){q->backends[k].ip, (uint16_t)q->backends[k].port, q->backends[k].local, q->backends[k].serving_only};
        out[i] = (struct net_service_port){q->name, q->protocol, (uint16_t)q->port, (uint16_t)q->node_port, b, q->nbackends};
    }
    return out;
}

static bool ports_ok(const struct node_service *s)
{
    for (size_t i = 0; i < s->nports; i++) {
        if (s->ports[i].port > 65535 || s->ports[i].node_port > 65535)
            return false;
        for (size_t k = 0; k < s->ports[i].nbackends; k++)
            if (s->ports[i].backends[k].port > 65535)
                return false;
    }
    return s->health_port <= 65535 && s->affinity_s <= 86400;
}

static int take(struct node *n, struct wire_msg *m, struct err **e)
{
    _cleanup_(pool_freep) struct pool *p = pool_new();
    struct node_services x;
    int r = wire_decode(&node_services_type, m->body, p, &x, e);
    if (r < 0)
        return r;
    if (!n->net || !n->configured)
        return err_set(e, ERR_UNAVAILABLE, "the network is not configured yet");
    struct net_service *list = pool_array(p, struct net_service, x.nservices + 1);
    for (size_t i = 0; i < x.nservices; i++) {
        const struct node_service *s = &x.services[i];
        if (!ports_ok(s))
            return err_set(e, ERR_INVALID, "service %.*s/%.*s: a port is above 65535", STR_ARG(s->ns), STR_ARG(s->name));
        list[i] = (struct net_service){s->ns, s->name, s->cluster_ips, s->ncluster_ips, s->external_ips, s->nexternal_ips, s->source_ranges,
            s->nsource_ranges, s->local_external, s->local_internal, s->remove, (uint32_t)s->affinity_s, (uint16_t)s->health_port,
            ports_of(p, s), s->nports};
    }
    return net_services(n->net, x.whole, list, x.nservices, e);
}

void services_take(struct node *n, struct wire_msg *m)
{
    _cleanup_(err_freep) struct err *e = NULL;
    (void)!take(n, m, &e);
    if (e)
        log_warn("services: %s", err_msg(e));
    node_reply(n, m->id, e, NULL, 0);
}

void peers_take(struct node *n, struct wire_msg *m)
{
    _cleanup_(pool_freep) struct pool *p = pool_new();
    _cleanup_(err_freep) struct err *e = NULL;
    struct node_peers x;
    if (wire_decode(&node_peers_type, m->body, p, &x, &e) == 0) {
        struct net_peer *list = pool_array(p, struct net_peer, x.npeers + 1);
        for (size_t i = 0; i < x.npeers; i++)
            list[i] = (struct net_peer){x.peers[i].name, x.peers[i].ip, x.peers[i].pod_cidr, x.peers[i].vtep_mac};
        if (!n->net || !n->configured)
            err_set(&e, ERR_UNAVAILABLE, "the network is not configured yet");
        else
            (void)!net_peers(n->net, list, x.npeers, &e);
    }
    if (e)
        log_warn("peers: %s", err_msg(e));
    node_reply(n, m->id, e, NULL, 0);
}

static const struct net_policy_rule *rules_of(struct pool *p, const struct node_policy *v)
{
    struct net_policy_rule *out = pool_array(p, struct net_policy_rule, v->nrules + 1);
    for (size_t i = 0; i < v->nrules; i++) {
        const struct node_policy_rule *r = &v->rules[i];
        struct net_policy_block *blocks = pool_array(p, struct net_policy_block, r->nblocks + 1);
        struct net_policy_port *ports = pool_array(p, struct net_policy_port, r->nports + 1);
        struct net_policy_named *named = pool_array(p, struct net_policy_named, r->nnamed + 1);
        for (size_t k = 0; k < r->nblocks; k++)
            blocks[k] = (struct net_policy_block){r->blocks[k].cidr, r->blocks[k].excepts, r->blocks[k].nexcepts};
        for (size_t k = 0; k < r->nports; k++)
            ports[k] = (struct net_policy_port){
                r->ports[k].protocol, (uint16_t)MIN(r->ports[k].from, UINT64_C(65535)), (uint16_t)MIN(r->ports[k].to, UINT64_C(65535))};
        for (size_t k = 0; k < r->nnamed; k++)
            named[k] = (struct net_policy_named){r->named[k].ip, r->named[k].protocol, (uint16_t)r->named[k].port};
        out[i] = (struct net_policy_rule){
            r->egress, r->any_peer, r->any_port, r->addresses, r->naddresses, blocks, r->nblocks, ports, r->nports, named, r->nnamed};
    }
    return out;
}

void policies_take(struct node *n, struct wire_msg *m)
{
    _cleanup_(pool_freep) struct pool *p = pool_new();
    _cleanup_(err_freep) struct err *e = NULL;
    struct node_policies x;
    if (wire_decode(&node_policies_type, m->body, p, &x, &e) == 0) {
        struct net_policy *v = pool_array(p, struct net_policy, x.npolicies + 1);
        struct net_policed *pods = pool_array(p, struct net_policed, x.npods + 1);
        for (size_t i = 0; i < x.npolicies; i++)
            v[i] = (struct net_policy){x.policies[i].id, x.policies[i].remove, rules_of(p, &x.policies[i]), x.policies[i].nrules};
        for (size_t i = 0; i < x.npods; i++)
            pods[i] = (struct net_policed){
                x.pods[i].uid, x.pods[i].remove, x.pods[i].ingress, x.pods[i].ningress, x.pods[i].egress, x.pods[i].negress};
        if (!n->net || !n->configured)
            err_set(&e, ERR_UNAVAILABLE, "the network is not configured yet");
        else
            (void)!net_policies(n->net, x.whole, v, x.npolicies, pods, x.npods, &e);
    }
    if (e)
        log_warn("network policies: %s", err_msg(e));
    node_reply(n, m->id, e, NULL, 0);
}

struct paths {
    struct pool *p;
    struct node_paths m;
};

static void on_path(void *arg, struct str peer, bool reached, uint32_t mtu)
{
    struct paths *x = arg;
    if (x->m.npaths % 64 == 0)
        x->m.paths = pool_grow(x->p, x->m.paths, x->m.npaths * sizeof *x->m.paths, (x->m.npaths + 64) * sizeof *x->m.paths);
    x->m.paths[x->m.npaths++] = (struct node_path){pool_str(x->p, peer), reached, mtu};
}

void paths_send(struct node *n)
{
    _cleanup_(pool_freep) struct pool *p = pool_new();
    struct paths x = {.p = p};
    if (!n->gate || !n->net)
        return;
    net_paths(n->net, on_path, &x);
    wire_send(n->gate, NODE_PATHS, 0, &node_paths_type, &x.m, NULL, 0);
}
