/* What the files of this room share. Nobody else includes it. */
#pragma once
#include "base/map.h"
#include "net/addr.h"
#include "net/net.h"
#include "net/nft.h"
#include "net/rtnl.h"

#define NET_BRIDGE "sampan0"
#define NET_VXLAN "sampan-vx"
#define NET_DNS "sampan-dns"
#define NET_VNI 1
#define NET_VXLAN_PORT 8472
#define NET_MAX_PORTS 256
#define NET_FLAT 16 /* endpoints of a Service that needs no chain */

enum net_backend_kind { BACKEND_VXLAN, BACKEND_HOST_GW, BACKEND_NONE };

struct net_hostport {
    uint32_t host_ip /* network order, 0: any */;
    uint16_t host_port, container_port;
    uint8_t proto;
};
struct net_rec { /* one pod's address; kept on disk */
    uint32_t ip; /* host order */
    struct net_hostport *ports;
    size_t nports;
    bool in_kernel; /* its elements stand in the table */
};

struct net_peer_rec {
    uint32_t ip;
    struct net_cidr range;
    uint8_t mac[6];
    bool keep;
    /* probe.c */
    bool probed, reached;      /* something is known; the last word */
    uint32_t sent, large_sent; /* since the last answer */
    uint32_t mtu;              /* of the route, found; 0: the link's */
    bool narrowing;            /* it was lowered and no large echo has come back since: the next step need not be sure again */
};

struct net {
    struct loop *loop;
    struct net_options o;
    char *state_dir;
    int rt, nft, home; /* netlink sockets; our own network namespace */
    struct watch addr_watch;
    int addr_fd;
    struct timer addr_timer;

    bool configured, table_ready;
    uint32_t node_ip, dns_ip, gateway; /* network order; 0: none */
    struct net_cidr pod, cluster, service;
    enum net_backend_kind backend;
    int br, vx, mtu;

    struct map recs;  /* pod uid → struct net_rec */
    uint32_t last_ip; /* the next search starts behind it, so that an address rests before it is used again */

    struct map services; /* ns/name → struct net_svc */
    struct map owners;   /* element of a kernel map → the piece that put it there */
    char epoch[9];       /* in chains' names: chains of another run of this process are told apart */
    uint32_t next_id;
    bool services_known; /* the kernel holds exactly what `services` says */

    struct map policies;  /* id → struct pol; policy.c */
    struct map policed;   /* pod uid → struct polpod */
    char policy_epoch[9]; /* as epoch, for policies' chains and sets */
    bool policies_known;

    int probe_fd;
    struct watch probe_watch;
    struct timer probe_timer;
    uint32_t probe_nonce, probe_turn;
    uint16_t probe_id;

    struct map peers; /* name → struct net_peer_rec */
    bool peers_known;
};

/* alloc.c */
int net_alloc_load(struct net *n, struct err **e) _must_check_;
int net_alloc_save(struct net *n, struct err **e) _must_check_;
int net_alloc_get(struct net *n, struct str uid, struct str wanted, struct net_rec **out, struct err **e) _must_check_;
void net_rec_free(void *rec);
/* pod.c */
void net_ifname(struct str uid, char out[16]);
void net_pod_elems(struct nft *b, const struct net_rec *r, bool add);
/* table.c */
int net_table_build(struct net *n, struct err **e) _must_check_;
void net_x_saddr(struct nft *b, uint32_t reg);
void net_x_daddr(struct nft *b, uint32_t reg);
void net_x_in(struct nft *b, uint32_t reg, const struct net_cidr *c, bool in); /* reg holds an address, which is overwritten */
/* conntrack.c: UDP flows to endpoints that are gone (keys made by net_flow_key; address and port in network order) are led anew. */
#define NET_FLOW_KEY 6
struct str net_flow_key(uint32_t ip, uint16_t port, char out[NET_FLOW_KEY]);
void net_flows_forget(struct net *n, const struct map *gone);
/* service.c */
/* Chains and sets in the kernel whose names begin with one of these letters and another epoch: of another run of this process. */
struct net_leftovers {
    const char *epoch, *kinds;
    char **v;
    size_t k;
};
int net_leftovers_read(struct net *n, struct net_leftovers *o, bool sets, struct err **e) _must_check_;
void net_leftovers_clear(struct net_leftovers *o);
/* foreign.c: other firewalls let pods pass, or (accept false) are as they were. Done again whenever the host's addresses change. */
int net_foreign(struct net *n, bool accept, struct err **e) _must_check_;
/* policy.c */
void net_policies_clear(struct net *n);
int net_policy_pod(struct net *n, struct str uid, struct err **e) _must_check_; /* its address came or went */
void net_services_clear(struct net *n);
/* peer.c */
void net_peers_clear(struct net *n);
int net_peers_again(struct net *n, struct err **e) _must_check_;  /* all of n->peers, after the node's own address or link changed */
void net_routes_drop(struct net *n);                              /* our routes that no peer of n->peers has */
void net_peer_route(struct net *n, const struct net_peer_rec *r); /* again, with another MTU */
/* probe.c */
int net_probe_start(struct net *n, struct err **e) _must_check_;
/* link.c */
int net_links(struct net *n, struct err **e) _must_check_;
int net_sysctl(const char *path, const char *value);
int net_iface_of(uint32_t ip, int *mtu); /* ifindex that holds a local address; 0: none */

static inline uint8_t net_proto(struct str p)
{
    return str_eqz(p, "TCP") ? 6 : str_eqz(p, "UDP") ? 17 : str_eqz(p, "SCTP") ? 132 : 0;
}
