/* The gate process (unprivileged): a node's face to the network and to the Kubernetes API. It holds the uplink to the cluster and its mirror, resolves pods for the
 * node process (node/proto.h), probes them, reports their status, serves logs and exec to the cluster through the uplink, answers names, and, in the mode of
 * `sampan connect` or beside a server that joined a hub, carries the hub's requests to the local Kubernetes API.
 *
 * It starts without any link: what the mirror holds runs.
 */
#pragma once
#include "base/err.h"
#include "base/str.h"

struct gate_options {
    const char *state_dir;       /* ours alone: key, mirror, outbox, tokens */
    int node_fd;                 /* socket to node, or -1 (connect) */
    int broker_fd;               /* wire to the supervisor (NODE_LINK), or -1 */
    /* the cluster: either the local socket, or a server's URL */
    const char *api_socket;
    const char *server;          /* https://host:port */
    struct str token;            /* password to join with (without the K10 prefix and user) */
    struct str ca_hash;          /* from the token's K10 form; absent: TLS is not verified at the first join, then pinned */
    const char *node_name, *node_ip, *backend, *cgroup_root, *resolv_conf, *cluster_domain, *cluster_dns, *service_cidr, *cluster_cidr;
    bool no_network_policy;      /* NetworkPolicies are not enforced */
    const char *kubelet_dir;     /* where node plugins expect the kubelet */
    bool mirrors_only;           /* a registry that has mirrors is not asked itself */
    const char *registries;      /* registries.yaml; NULL or absent: none */
    const char *const *labels; size_t nlabels;     /* key=value */
    const char *const *taints; size_t ntaints;     /* key=value:Effect */
    const struct node_settings *settings;          /* NULL: all by default */
    const char *const *unsafe_sysctls; size_t nunsafe_sysctls; /* that pods may set: names, or beginnings that end in * */
    const char *static_pods;     /* folder of manifests; NULL: none */
    /* the hub, if one was joined */
    const char *hub;             /* https://host[:port] */
    struct str hub_token;
    int64_t hub_heartbeat_s;     /* how long the uplink to it may be silent; 0: 10 s */
    const char *kubeconfig;      /* connect: of the cluster; NULL: the service account of the pod we run in, or api_socket */
    const char *user;            /* whose rights are left after start; NULL: stay */
};
/* Runs until told to stop; returns the exit code. lockdown is called once everything that needs rights is open. */
int gate_main(const struct gate_options *o, int (*lockdown)(void *arg, struct err **e), void *arg);
