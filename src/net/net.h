/* The pod network of one machine: bridge, pods' addresses and links, overlay to the other nodes, Services in nftables. Used by the node
 * process (root).
 *
 *     net_open → net_configure (whenever NODE_CONFIG comes) → net_attach / net_detach per pod, net_services, net_peers → net_close
 *
 * Everything lives in the network namespace of the caller, under names that only we use: links sampan0 (bridge), sampan-vx (vxlan),
 * sampan-dns (the DNS address), sp<10 hex> (the host's end of a pod's veth), nftables table `inet sampan`, routes of protocol
 * NET_ROUTE_PROTO. Nothing else is ever changed, but for sysctls (ip_forward, send_redirects, and those of our own links). net_close leaves
 * everything in place, so that a restart of the process cuts no connection; net_uninstall removes it all.
 *
 * A pod's link is routed, not switched: the pod has its address as /32 and a default route through the bridge's address, so that every
 * packet passes the host's IP layer, where conntrack undoes what the Services' rules did, also between two pods of one node (no
 * br_netfilter needed).
 *
 * Addresses are given out from the node's pod CIDR and remembered on disk by pod uid (file `<state_dir>/addresses`, replaced atomically):
 * the same uid gets the same address again after a restart or reboot; net_release gives it back, net_each lists who holds one, so that the
 * caller can release what it no longer knows.
 *
 * Single-threaded, on the caller's loop. Calls talk to the kernel synchronously (netlink answers at once) and cost tens of microseconds.
 * All names, addresses and ports are checked here again; errors name the field.
 */
#pragma once
#include "base/err.h"
#include "base/loop.h"

#define NET_ROUTE_PROTO 0xC7 /* rtnetlink protocol number on our routes */
#define NET_MARK_MASQ 0x4000 /* meta mark bit: masquerade in postrouting (kube-proxy's own value) */

struct net;

struct net_options {
    const char *state_dir; /* existing folder, ours alone */
    /* The host's addresses or the default route changed (debounced 200 ms). May be NULL. */
    void (*on_addresses)(void *arg);
    void *arg;
    /* The way to a peer was found or lost (net_paths tells). NULL: ways are not probed. */
    void (*on_paths)(void *arg);
};
int net_open(struct loop *l, const struct net_options *o, struct net **out, struct err **e) _must_check_;
void net_close(struct net *n); /* leaves links and rules */
DEFINE_CLEANUP(struct net *, net_close)
/* Removes every link, route and rule of ours in this network namespace, and the remembered addresses below state_dir (NULL: they are kept).
 * Needs no struct net. */
int net_uninstall(const char *state_dir, struct err **e) _must_check_;

/* Text as in struct node_config; empty means "not known". Idempotent; a changed pod_cidr keeps links of running pods. */
struct net_config {
    struct str node_ip;  /* source of the overlay */
    struct str pod_cidr; /* 10.42.0.0/24: gateway is .1 */
    struct str cluster_cidr, service_cidr;
    struct str dns_ip;  /* put on sampan-dns on every node */
    struct str backend; /* "vxlan" (default), "host-gw", "none" */
};
int net_configure(struct net *n, const struct net_config *c, struct err **e) _must_check_;

/* The host's global addresses, preferred (source of the default route) first. Text into out[i]; returns how many (at most max). */
#define NET_ADDR_TEXT 46
size_t net_host_addresses(struct net *n, char (*out)[NET_ADDR_TEXT], size_t max);
int net_mtu(const struct net *n);                     /* that pods' links get: the default route's link, less the overlay's header */
bool net_vtep_mac(const struct net *n, char out[18]); /* MAC of sampan-vx for our peers; false without overlay */

/* ---- pods ---- */
struct net_port {
    uint16_t container_port, host_port;
    struct str protocol /* TCP UDP SCTP */, host_ip /* or empty */;
};
struct net_pod {
    struct str uid;
    struct str wanted_ip;         /* given when free and inside the CIDR; may be empty */
    int netns;                    /* fd of the pod's network namespace (lo is brought up there too) */
    const struct net_port *ports; /* host ports; may be 0 */
    size_t nports;
};
/* Makes (or finds again) the pod's link eth0, address, routes and host ports. Idempotent by uid: after a restart of ours it adopts, in a
 * new namespace it makes the link anew. ERR_UNAVAILABLE when no pod CIDR is configured, ERR_LIMIT when the range is full, ERR_EXISTS when a
 * host port is taken by another pod. */
int net_attach(struct net *n, const struct net_pod *p, char ip[NET_ADDR_TEXT], struct err **e) _must_check_;
/* Takes link and host ports away (the link also goes with its namespace); the address stays reserved for uid until net_release. Unknown
 * uid: nothing. */
void net_detach(struct net *n, struct str uid);
void net_release(struct net *n, struct str uid); /* detach, and give the address back */
void net_each(
    struct net *n, void (*fn)(void *arg, struct str uid, const char *ip), void *arg); /* who holds an address; fn may call net_release */
/* Bytes since the link was made, as the pod sees it. false: no link. */
bool net_counters(struct net *n, struct str uid, uint64_t *rx, uint64_t *tx);

/* Socket in the pod's network namespace connected to 127.0.0.1 (then ::1) : port, non-blocking connect not used: loopback answers at once.
 * fd or -code. */
int net_connect(int netns, uint16_t port, struct err **e);
/* Bound (TCP: listening, backlog 512) socket in our namespace, IP_FREEBIND, SO_REUSEADDR. */
int net_listen(struct str address, uint16_t port, bool udp, struct err **e);

/* ---- Services: the same shapes as struct node_service in node/proto.h ---- */
struct net_backend {
    struct str ip;
    uint16_t port;
    bool local;
    bool serving_only;
};
struct net_service_port {
    struct str name, protocol;
    uint16_t port, node_port;
    const struct net_backend *backends;
    size_t nbackends;
};
struct net_service {
    struct str ns, name;
    const struct str *cluster_ips;
    size_t ncluster_ips;
    const struct str *external_ips;
    size_t nexternal_ips;
    const struct str *source_ranges;
    size_t nsource_ranges;
    bool local_external, local_internal, remove;
    uint32_t affinity_s;
    uint16_t health_port;
    const struct net_service_port *ports;
    size_t nports;
};
/* whole: what is not named goes away. Only differences go to the kernel, in one atomic batch. At open the kernel's table is taken as
 * unknown: the first call with whole set replaces it in one batch (without it: ERR_CONFLICT). One Service that is not valid does not hinder
 * the others: the first such is named in *e (ERR_INVALID, ERR_LIMIT; ERR_EXISTS when another Service holds one of its ports), the others
 * stand. ERR_IO: nothing of the call was done, and the whole list is needed next. */
int net_services(struct net *n, bool whole, const struct net_service *s, size_t count, struct err **e) _must_check_;

/* ---- NetworkPolicies: the same shapes as struct node_policies in node/proto.h ----
 *
 * A pod that is named here with a policy in a direction is isolated in it: only what a rule of these policies allows passes, beside
 * answers, itself, and, coming in, what its own node sends. What is refused is rejected with ICMP, as K3s does. A pod that is named before
 * net_attach has its rules in the kernel before its link exists. */
struct net_policy_block {
    struct str cidr;
    const struct str *excepts;
    size_t nexcepts;
};
struct net_policy_port {
    struct str protocol;
    uint16_t from, to; /* from 0: every port; to 0: from alone */
};
struct net_policy_named {
    struct str ip, protocol;
    uint16_t port;
};
struct net_policy_rule {
    bool egress, any_peer, any_port;
    const struct str *addresses;
    size_t naddresses;
    const struct net_policy_block *blocks;
    size_t nblocks;
    const struct net_policy_port *ports;
    size_t nports;
    const struct net_policy_named *named; /* port names, resolved: the destination is one of these */
    size_t nnamed;
};
struct net_policy {
    struct str id; /* any text up to 600 bytes */
    bool remove;
    const struct net_policy_rule *rules;
    size_t nrules;
};
struct net_policed {
    struct str uid;
    bool remove;
    const struct str *ingress; /* ids; none: not isolated in that direction */
    size_t ningress;
    const struct str *egress;
    size_t negress;
};
/* whole: what is not named goes away. One atomic batch. The first call after net_open needs whole (else ERR_CONFLICT). A policy with a rule
 * that is not valid, or with more than NET_POLICY_RULES, allows nothing, and the first such is named in *e (ERR_INVALID, ERR_LIMIT); a pod
 * that names an unknown policy is isolated without it. ERR_IO: nothing was done, and the whole list is needed next. */
#define NET_POLICY_RULES 8192 /* of the kernel, for one policy */
int net_policies(struct net *n, bool whole, const struct net_policy *v, size_t count, const struct net_policed *pods, size_t npods,
    struct err **e) _must_check_;
bool net_policed(const struct net *n, struct str uid); /* net_policies has named it */

/* ---- other nodes ---- */
struct net_peer {
    struct str name, ip, pod_cidr, vtep_mac;
};
/* The whole list, each time. A peer that is not valid is left out and named in *e. */
int net_peers(struct net *n, const struct net_peer *p, size_t count, struct err **e) _must_check_;
/* What is known of the ways to the peers, found by ICMP echoes: whether the last ones were answered, and the largest packet that passes.
 * Peers of which nothing is known yet are left out. */
void net_paths(struct net *n, void (*fn)(void *arg, struct str peer, bool reached, uint32_t mtu), void *arg);
