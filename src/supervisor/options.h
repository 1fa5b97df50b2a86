/* What a user can set, for every long-running command. Filled by cli from flags, environment and config file (in that order of weight); read-only afterwards.
 * Names, defaults and meaning are K3s' wherever K3s has the flag (docs/flags.md is generated from cli's tables). Strings are owned by the struct; NULL: not given. */
#pragma once
#include "base/err.h"
#include "node/proto.h"

struct strs { char **v; size_t n; };

enum role { ROLE_SERVER, ROLE_AGENT, ROLE_HUB, ROLE_CONNECT };
struct options {
    enum role role;
    /* everywhere */
    char *config, *data_dir, *run_dir, *log_level, *user;
    /* server and hub */
    char *bind_address, *advertise_address, *write_kubeconfig, *write_kubeconfig_mode, *write_kubeconfig_group;
    int64_t https_listen_port, hub_heartbeat;
    struct strs tls_san, disable, apiserver_arg;
    char *local_storage_path;
    char *cluster_cidr, *service_cidr, *cluster_dns, *cluster_domain;
    char *token, *token_file, *agent_token, *agent_token_file;
    bool disable_agent, secrets_encryption, disable_network_policy;
    /* agent side */
    char *server, *node_name, *node_ip, *flannel_backend, *resolv_conf, *private_registry, *cgroup_root, *kubelet_dir;
    struct strs node_label, node_taint, scheduler_name;
    bool autonomous;
    struct strs kubelet_arg, unsafe_sysctls;
    struct node_settings settings; /* of kubelet_arg */
    char *static_pods;             /* folder of manifests, from kubelet_arg; else the default below data_dir */
    bool with_node_id, disable_default_registry_endpoint;
    /* hub link: `sampan connect` and a server that joins a hub */
    char *hub, *hub_token, *hub_token_file, *hub_ca_hash, *kubeconfig, *cluster_name;
};
void options_clear(struct options *o);
