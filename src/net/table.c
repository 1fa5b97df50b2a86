/* The table's fixed part: which hook leads where. What changes (Services, host ports, pods, peers) are elements of maps, so these rules
 * never do.
 *
 *     prerouting, output (nat)   → nat: services, nodeports → the Service's own chain; hostips, hostports → DNAT
 *     postrouting (nat)          hairpin (a pod that reached itself), marked, foreign source to a Service, pod to the outside: masquerade
 *     input, forward (filter)    → policy-egress: np-from → the pod's own chain; then forward → policy-ingress: np-to (policy.c)
 *     input, forward, output     → guard: Services without endpoints and unknown Service addresses: reject at once; overlay from strangers:
 * drop
 */
#include <arpa/inet.h>
#include <errno.h>

#include <linux/netfilter/nf_conntrack_common.h>
#include <linux/rtnetlink.h>
#include "net/impl.h"

void net_x_saddr(struct nft *b, uint32_t reg)
{
    nft_x_payload(b, NFT_AT_NET, 12, 4, reg);
}
void net_x_daddr(struct nft *b, uint32_t reg)
{
    nft_x_payload(b, NFT_AT_NET, 16, 4, reg);
}

void net_x_in(struct nft *b, uint32_t reg, const struct net_cidr *c, bool in)
{
    uint32_t mask = htonl(net_mask(c->prefix)), base = htonl(c->base), zero = 0;
    nft_x_mask(b, reg, &mask, &zero, 4);
    nft_x_cmp(b, reg, in ? NFT_CMP_EQ : NFT_CMP_NEQ, &base, 4);
}

/* proto and destination port into reg, reg + 1 */
static void x_port(struct nft *b, uint32_t reg)
{
    nft_x_meta(b, NFT_META_L4PROTO, reg);
    nft_x_payload(b, NFT_AT_TH, 2, 2, reg + 1);
}

static const struct net_cidr loopback = {0x7f000000, 8};

/* The rule goes on only for an address of this host. */
static void x_ours(struct nft *b)
{
    uint32_t local = RTN_LOCAL;

    nft_x_is_ip4(b);
    nft_x_fib_type(b, R0);
    nft_x_cmp(b, R0, NFT_CMP_EQ, &local, 4);
}

/* The same without 127.0.0.0/8: node ports are not for programs on the node that ask there, as in kube-proxy's nftables mode. */
static void x_local(struct nft *b)
{
    x_ours(b);
    net_x_daddr(b, R0);
    net_x_in(b, R0, &loopback, false);
}

static void x_dest(struct nft *b)
{
    nft_x_is_ip4(b);
    net_x_daddr(b, R0);
    x_port(b, R0 + 1);
}

static void sets(struct nft *b)
{
    const uint32_t dest = NFT_CAT3(NFT_T_IP4, NFT_T_PROTO, NFT_T_PORT), port = NFT_CAT2(NFT_T_PROTO, NFT_T_PORT),
                   to = NFT_CAT2(NFT_T_IP4, NFT_T_PORT);
    const struct nft_set all[] = {
        {.name = "services", .key_type = dest, .key_len = 12, .map = true, .verdicts = true},
        {.name = "nodeports", .key_type = port, .key_len = 8, .map = true, .verdicts = true},
        {.name = "noendpoints", .key_type = dest, .key_len = 12},
        {.name = "noendports", .key_type = port, .key_len = 8},
        {.name = "hostips", .key_type = dest, .key_len = 12, .map = true, .data_type = to, .data_len = 8},
        {.name = "hostports", .key_type = port, .key_len = 8, .map = true, .data_type = to, .data_len = 8},
        {.name = "hairpin", .key_type = NFT_CAT2(NFT_T_IP4, NFT_T_IP4), .key_len = 8},
        {.name = "peers", .key_type = NFT_T_IP4, .key_len = 4},
        {.name = "np-from", .key_type = NFT_T_IP4, .key_len = 4, .map = true, .verdicts = true},
        {.name = "np-to", .key_type = NFT_T_IP4, .key_len = 4, .map = true, .verdicts = true},
    };
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        nft_set_add(b, &all[i]);
    for (uint32_t i = 1; i <= NET_FLAT; i++) {
        char name[16];
        struct nft_set s = {.name = name,
            .key_type = i == 1 ? dest : (dest << 6 | NFT_T_MARK),
            .key_len = i == 1 ? 12 : 16,
            .map = true,
            .data_type = to,
            .data_len = 8};
        snprintf(name, sizeof name, "svc%u", i);
        nft_set_add(b, &s);
    }
}

static void jump(struct nft *b, const char *from, const char *to)
{
    nft_rule(b, from);
    nft_x_verdict(b, NFT_JUMP, to);
    nft_rule_end(b);
}

static void chains(struct nft *b)
{
    static const struct {
        const char *name;
        struct nft_hook hook;
        const char *to;
    } base[] = {
        {"prerouting-raw", {NF_INET_PRE_ROUTING, -300, "filter"}, NULL},
        {"prerouting", {NF_INET_PRE_ROUTING, -100, "nat"}, "nat"},
        {"output", {NF_INET_LOCAL_OUT, -100, "nat"}, "nat"},
        {"postrouting", {NF_INET_POST_ROUTING, 100, "nat"}, NULL},
        {"input-guard", {NF_INET_LOCAL_IN, -5, "filter"}, "guard"},
        {"forward-guard", {NF_INET_FORWARD, -5, "filter"}, "guard"},
        {"output-guard", {NF_INET_LOCAL_OUT, -5, "filter"}, "guard"},
        {"input-egress", {NF_INET_LOCAL_IN, -2, "filter"}, "policy-egress"},
        {"forward-egress", {NF_INET_FORWARD, -2, "filter"}, "policy-egress"},
        {"forward-ingress", {NF_INET_FORWARD, -1, "filter"}, "policy-ingress"},
    };
    nft_chain(b, "nat", NULL);
    nft_chain_flush(b, "nat");
    nft_chain(b, "guard", NULL);
    nft_chain_flush(b, "guard");
    nft_chain(b, "policy-egress", NULL);
    nft_chain_flush(b, "policy-egress");
    nft_chain(b, "policy-ingress", NULL);
    nft_chain_flush(b, "policy-ingress");
    for (size_t i = 0; i < ARRAY_LEN(base); i++) {
        nft_chain(b, base[i].name, &base[i].hook);
        nft_chain_flush(b, base[i].name);
        if (base[i].to)
            jump(b, base[i].name, base[i].to);
    }
}

/* Services that are elements alone, by their number of endpoints (service.c). */
static void flat_rules(struct nft *b)
{
    for (uint32_t i = 1; i <= NET_FLAT; i++) {
        char name[16];
        snprintf(name, sizeof name, "svc%u", i);
        nft_rule(b, "nat");
        x_dest(b);
        if (i > 1)
            nft_x_numgen(b, R0 + 3, i);
        nft_x_lookup(b, name, R0, R0, false);
        nft_x_dnat(b, R0, R0 + 1);
        nft_rule_end(b);
    }
}

static void nat_rules(struct nft *b)
{
    flat_rules(b);
    nft_rule(b, "nat");
    x_dest(b);
    nft_x_lookup(b, "services", R0, NFT_REG_VERDICT, false);
    nft_rule_end(b);

    nft_rule(b, "nat");
    x_local(b);
    x_port(b, R0);
    nft_x_lookup(b, "nodeports", R0, NFT_REG_VERDICT, false);
    nft_rule_end(b);

    nft_rule(b, "nat");
    x_dest(b);
    nft_x_lookup(b, "hostips", R0, R0, false);
    nft_x_dnat(b, R0, R0 + 1);
    nft_rule_end(b);

    nft_rule(b, "nat");
    x_ours(b);
    x_port(b, R0);
    nft_x_lookup(b, "hostports", R0, R0, false);
    nft_x_dnat(b, R0, R0 + 1);
    nft_rule_end(b);
}

/* A host port that the node itself asks for at 127.0.0.1: the question leaves by the bridge with an address that can be answered, and the
 * answer comes in for 127.0.0.1 again (route_localnet of the bridge). Nobody else may send there. */
static void loopback_rules(struct nft *b)
{
    char bridge[16] = NET_BRIDGE;

    nft_rule(b, "postrouting");
    nft_x_is_ip4(b);
    net_x_saddr(b, R0);
    net_x_in(b, R0, &loopback, true);
    nft_x_meta(b, NFT_META_OIFNAME, R0);
    nft_x_cmp(b, R0, NFT_CMP_EQ, bridge, sizeof bridge);
    nft_x_masq(b);
    nft_rule_end(b);

    for (int source = 0; source < 2; source++) {
        nft_rule(b, "prerouting-raw");
        nft_x_is_ip4(b);
        nft_x_meta(b, NFT_META_IIFNAME, R0);
        nft_x_cmp(b, R0, NFT_CMP_EQ, bridge, sizeof bridge);
        if (source)
            net_x_saddr(b, R0);
        else
            net_x_daddr(b, R0);
        net_x_in(b, R0, &loopback, true);
        nft_x_verdict(b, NF_DROP, NULL);
        nft_rule_end(b);
    }
}

static void masq_rules(struct net *n, struct nft *b)
{
    uint32_t mark = NET_MARK_MASQ, zero = 0;

    nft_rule(b, "postrouting");
    nft_x_is_ip4(b);
    net_x_saddr(b, R0);
    net_x_daddr(b, R0 + 1);
    nft_x_lookup(b, "hairpin", R0, -1, false);
    nft_x_masq(b);
    nft_rule_end(b);

    nft_rule(b, "postrouting");
    nft_x_meta(b, NFT_META_MARK, R0);
    nft_x_mask(b, R0, &mark, &zero, 4);
    nft_x_cmp(b, R0, NFT_CMP_NEQ, &zero, 4);
    if (n->pod.prefix >= 0) { /* an endpoint on this node answers through here anyway: it sees the client's own address */
        nft_x_is_ip4(b);
        net_x_daddr(b, R0);
        net_x_in(b, R0, &n->pod, false);
    }
    nft_x_masq(b);
    nft_rule_end(b);

    if (n->service.prefix >= 0 && n->cluster.prefix >= 0) { /* a source that is no pod's: the answer must come back through here */
        nft_rule(b, "postrouting");
        nft_x_is_ip4(b);
        nft_x_ct(b, NFT_CT_DST_IP, 0 /* original direction */, R0);
        net_x_in(b, R0, &n->service, true);
        net_x_saddr(b, R0);
        net_x_in(b, R0, &n->cluster, false);
        nft_x_masq(b);
        nft_rule_end(b);
    }
    if (n->pod.prefix >= 0) {
        const struct net_cidr *inside = n->cluster.prefix >= 0 ? &n->cluster : &n->pod;
        char bridge[16] = NET_BRIDGE;
        nft_rule(b, "postrouting");
        nft_x_is_ip4(b);
        net_x_saddr(b, R0);
        net_x_in(b, R0, &n->pod, true);
        net_x_daddr(b, R0);
        net_x_in(b, R0, inside, false);
        nft_x_meta(b, NFT_META_OIFNAME, R0);
        nft_x_cmp(b, R0, NFT_CMP_NEQ, bridge, sizeof bridge);
        nft_x_masq(b);
        nft_rule_end(b);
    }
}

static void guard_rules(struct net *n, struct nft *b)
{
    nft_rule(b, "guard");
    x_dest(b);
    nft_x_lookup(b, "noendpoints", R0, -1, false);
    nft_x_reject(b);
    nft_rule_end(b);

    nft_rule(b, "guard");
    x_local(b);
    x_port(b, R0);
    nft_x_lookup(b, "noendports", R0, -1, false);
    nft_x_reject(b);
    nft_rule_end(b);

    if (n->service.prefix >= 0) { /* no Service stands there: say so, instead of a time-out */
        nft_rule(b, "guard");
        nft_x_is_ip4(b);
        net_x_daddr(b, R0);
        if (n->dns_ip)
            nft_x_cmp(b, R0, NFT_CMP_NEQ, &n->dns_ip, 4);
        net_x_in(b, R0, &n->service, true);
        nft_x_reject(b);
        nft_rule_end(b);
    }
    if (n->backend == BACKEND_VXLAN) {
        uint8_t udp = 17;
        uint16_t port = htons(NET_VXLAN_PORT);
        nft_rule(b, "input-guard");
        nft_x_is_ip4(b);
        nft_x_meta(b, NFT_META_L4PROTO, R0);
        nft_x_cmp(b, R0, NFT_CMP_EQ, &udp, 1);
        nft_x_payload(b, NFT_AT_TH, 2, 2, R0);
        nft_x_cmp(b, R0, NFT_CMP_EQ, &port, 2);
        net_x_saddr(b, R0);
        nft_x_lookup(b, "peers", R0, -1, true);
        nft_x_verdict(b, NF_DROP, NULL);
        nft_rule_end(b);
    }
}

/* NetworkPolicies: two hooks, one after the other, so that what a pod may send still has to be what the other may receive. Connections that
 * stand, and a pod's talk with itself by way of a Service, pass. What the node itself sends goes through neither. */
static void policy_rules(struct nft *b)
{
    static const struct {
        const char *chain, *map;
        bool source;
    } dirs[] = {{"policy-egress", "np-from", true}, {"policy-ingress", "np-to", false}};
    uint32_t stand = NF_CT_STATE_BIT(IP_CT_ESTABLISHED) | NF_CT_STATE_BIT(IP_CT_RELATED), zero = 0;

    for (size_t i = 0; i < ARRAY_LEN(dirs); i++) {
        nft_rule(b, dirs[i].chain);
        nft_x_ct(b, NFT_CT_STATE, -1, R0);
        nft_x_mask(b, R0, &stand, &zero, 4);
        nft_x_cmp(b, R0, NFT_CMP_NEQ, &zero, 4);
        nft_x_verdict(b, NF_ACCEPT, NULL);
        nft_rule_end(b);

        nft_rule(b, dirs[i].chain);
        nft_x_is_ip4(b);
        net_x_saddr(b, R0);
        net_x_daddr(b, R0 + 1);
        nft_x_lookup(b, "hairpin", R0, -1, false);
        nft_x_verdict(b, NF_ACCEPT, NULL);
        nft_rule_end(b);

        nft_rule(b, dirs[i].chain);
        nft_x_is_ip4(b);
        if (dirs[i].source)
            net_x_saddr(b, R0);
        else
            net_x_daddr(b, R0);
        nft_x_lookup(b, dirs[i].map, R0, NFT_REG_VERDICT, false);
        nft_rule_end(b);
    }
}

static int build(struct net *n, bool anew, struct err **e)
{
    static const char *const ours[] = {"hostips", "hostports", "hairpin"};
    struct nft b;

    nft_begin(&b);
    nft_table_add(&b);
    if (anew) {
        nft_table_del(&b);
        nft_table_add(&b);
    }
    sets(&b);
    chains(&b);
    nat_rules(&b);
    loopback_rules(&b);
    masq_rules(n, &b);
    guard_rules(n, &b);
    policy_rules(&b);
    for (size_t i = 0; i < ARRAY_LEN(ours); i++)
        nft_set_flush(&b, ours[i]);
    map_for (&n->recs, it)
        net_pod_elems(&b, it->value, true);
    if (nft_commit(&b, n->nft, e) < 0)
        return -ERR_IO;
    map_for (&n->recs, it)
        ((struct net_rec *)it->value)->in_kernel = true;
    return 0;
}

int net_table_build(struct net *n, struct err **e)
{
    if (build(n, false, NULL) < 0) {
        /* A table of the same name and another form, of an older version: in one batch away with it. Services come again with the next
         * whole list. */
        int r = build(n, true, e);
        if (r < 0)
            return err_wrap(e, "rules of the pod network");
        net_services_clear(n);
        net_policies_clear(n);
        net_peers_clear(n);
    }
    n->table_ready = true;
    return 0;
}
