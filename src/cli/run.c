/* sampan server | agent | hub | connect: the long-running commands. Their flags as tables, and what must hold between flags. */
#include "cli/run.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/file.h"
#include "cli/cli.h"
#include "cli/flags.h"
#include "cli/kubelet_arg.h"
#include "supervisor/supervisor.h"

#define AT(member) offsetof(struct options, member)

static const struct flag common_flags[] = {
    {"config", 'c', FLAG_STR, AT(config), "SAMPAN_CONFIG_FILE", NULL, "Load configuration from FILE"},
    {"run-dir", 0, FLAG_STR, AT(run_dir), NULL, NULL, "Folder for sockets and mounts that end with a reboot (default: /run/sampan, or <data-dir>/run with another data-dir)"},
    {"log-level", 'v', FLAG_STR, AT(log_level), "SAMPAN_LOG", "info", "error, warn, info or debug", check_log_level},
    {"user", 0, FLAG_STR, AT(user), NULL, "sampan", "User for the processes that face the network"},
    FLAG_END,
};

static const struct flag server_flags[] = {
    {"bind-address", 0, FLAG_STR, AT(bind_address), NULL, "0.0.0.0", "Address to listen on", check_ip},
    {"advertise-address", 0, FLAG_STR, AT(advertise_address), NULL, NULL, "IP address that the server tells members of the cluster (default: node-ip)", check_ip},
    {"tls-san", 0, FLAG_STRS, AT(tls_san), NULL, NULL, "Additional host names or addresses in the server's certificate"},
    {"write-kubeconfig", 'o', FLAG_STR, AT(write_kubeconfig), "SAMPAN_KUBECONFIG_OUTPUT", NULL, "Write the admin kubeconfig to this file"},
    {"write-kubeconfig-mode", 0, FLAG_STR, AT(write_kubeconfig_mode), "SAMPAN_KUBECONFIG_MODE", "600", "Mode of the kubeconfig file", check_mode},
    {"write-kubeconfig-group", 0, FLAG_STR, AT(write_kubeconfig_group), "SAMPAN_KUBECONFIG_GROUP", NULL, "Group of the kubeconfig file"},
    FLAG_END,
};

/* Of the whole cluster. An agent asks the server; what is given to it stands above the answer. */
#define RANGES(name_, pods_, services_, domain_) \
    static const struct flag name_[] = { \
        {"cluster-cidr", 0, FLAG_STR, AT(cluster_cidr), NULL, pods_, "Addresses for pods", check_cidr}, \
        {"service-cidr", 0, FLAG_STR, AT(service_cidr), NULL, services_, "Addresses for Services", check_cidr}, \
        {"cluster-dns", 0, FLAG_STR, AT(cluster_dns), NULL, NULL, "Address of the cluster's names service (default: the tenth of service-cidr)", check_ip}, \
        {"cluster-domain", 0, FLAG_STR, AT(cluster_domain), NULL, domain_, "Domain of the cluster", check_node_name}, \
        FLAG_END, \
    }
RANGES(range_flags, "10.42.0.0/16", "10.43.0.0/16", "cluster.local");
RANGES(agent_range_flags, NULL, NULL, NULL);

static const struct flag cluster_flags[] = {
    {"token", 't', FLAG_STR, AT(token), NULL, NULL, "Shared secret used to join a server or agent"},
    {"token-file", 0, FLAG_STR, AT(token_file), NULL, NULL, "File that holds the token"},
    {"agent-token", 0, FLAG_STR, AT(agent_token), NULL, NULL, "Shared secret used to join agents, but not servers"},
    {"agent-token-file", 0, FLAG_STR, AT(agent_token_file), NULL, NULL, "File that holds the agent token"},
    {"disable-agent", 0, FLAG_BOOL, AT(disable_agent), NULL, NULL, "Serve the API only; run no pods on this machine"},
    {"hub", 0, FLAG_STR, AT(hub), NULL, NULL, "Hub to join, as https://hub.example.com", check_url},
    {"hub-token", 0, FLAG_STR, AT(hub_token), NULL, NULL, "Registration token of this cluster at the hub"},
    {"hub-token-file", 0, FLAG_STR, AT(hub_token_file), NULL, NULL, "File that holds the hub token"},
    {"hub-heartbeat", 0, FLAG_INT, AT(hub_heartbeat), NULL, "10", "Seconds for which the uplink to the hub may be silent: 10 finds a lost hub soon, 30 costs under 500 bytes a minute, 150 under 100", NULL, 5, 300},
    {"cluster-init", 0, FLAG_REFUSED, 0, NULL, NULL, "this version runs one server on embedded SQLite"},
    {"datastore-endpoint", 0, FLAG_REFUSED, 0, NULL, NULL, "this version runs one server on embedded SQLite"},
    {"secrets-encryption", 0, FLAG_BOOL, AT(secrets_encryption), NULL, NULL, "Seal Secrets at rest (AES-GCM)"},
    {"scheduler-name", 0, FLAG_STRS, AT(scheduler_name), NULL, NULL, "Further spec.schedulerName that the scheduler serves beside default-scheduler", check_node_name},
    {"disable", 0, FLAG_STRS, AT(disable), NULL, NULL, "Packaged component, or manifest by its name, that is not deployed, and removed where it was", check_node_name},
    {"default-local-storage-path", 0, FLAG_STR, AT(local_storage_path), NULL, NULL, "Folder for volumes of the class local-path, on every node (default: <data-dir>/storage)", check_absolute},
    {"kube-apiserver-arg", 0, FLAG_STRS, AT(apiserver_arg), NULL, NULL, "A flag of kube-apiserver, of those that docs/flags.md names", check_apiserver_arg},
    {"kube-controller-manager-arg", 0, FLAG_REFUSED, 0, NULL, NULL, "there is no kube-controller-manager inside"},
    {"kube-scheduler-arg", 0, FLAG_REFUSED, 0, NULL, NULL, "there is no kube-scheduler inside"},
    FLAG_END,
};

static const struct flag node_flags[] = {
    {"node-name", 0, FLAG_STR, AT(node_name), NULL, NULL, "Name of this node (default: the host's name)", check_node_name},
    {"node-ip", 'i', FLAG_STR, AT(node_ip), NULL, NULL, "Address that this node tells the cluster", check_ip},
    {"autonomous", 0, FLAG_BOOL, AT(autonomous), NULL, NULL, "This node keeps its pods while it is out of reach: none is evicted or made elsewhere (label node.sampan.io/autonomous=true)"},
    {"node-label", 0, FLAG_STRS, AT(node_label), NULL, NULL, "Label that this node registers with", check_label},
    {"node-taint", 0, FLAG_STRS, AT(node_taint), NULL, NULL, "Taint that this node registers with", check_taint},
    {"flannel-backend", 0, FLAG_STR, AT(flannel_backend), NULL, "vxlan", "How pods reach other nodes: vxlan, host-gw or none", check_backend},
    {"disable-network-policy", 0, FLAG_BOOL, AT(disable_network_policy), NULL, NULL, "Do not enforce NetworkPolicies"},
    {"resolv-conf", 0, FLAG_STR, AT(resolv_conf), NULL, NULL, "resolv.conf with the upstream name servers (default: /etc/resolv.conf)"},
    {"cgroup-root", 0, FLAG_STR, AT(cgroup_root), NULL, "sampan", "Folder for pods' cgroups"},
    {"kubelet-root-dir", 0, FLAG_STR, AT(kubelet_dir), NULL, "/var/lib/kubelet", "Folder where node plugins (CSI) expect the kubelet", check_absolute},
    {"with-node-id", 0, FLAG_REFUSED, 0, NULL, NULL, "give each node a --node-name of its own"},
    {"kubelet-arg", 0, FLAG_STRS, AT(kubelet_arg), NULL, NULL, "Setting of this node under the kubelet's name for it, as max-pods=50; what is not known is refused"},
    {"kube-proxy-arg", 0, FLAG_REFUSED, 0, NULL, NULL, "there is no kube-proxy inside"},
    {"docker", 0, FLAG_REFUSED, 0, NULL, NULL, "containers run under crun and conmon"},
    {"disable-default-registry-endpoint", 0, FLAG_BOOL, AT(disable_default_registry_endpoint), NULL, NULL, "Ask no registry itself that has a mirror in registries.yaml"},
    {"private-registry", 0, FLAG_STR, AT(private_registry), NULL, "/etc/sampan/registries.yaml", "Registry configuration file"},
    FLAG_END,
};

static const struct flag agent_flags[] = {
    {"server", 's', FLAG_STR, AT(server), "SAMPAN_URL", NULL, "Server to join, as https://server:6443", check_url},
    {"token", 't', FLAG_STR, AT(token), NULL, NULL, "Token to join with"},
    {"token-file", 0, FLAG_STR, AT(token_file), NULL, NULL, "File that holds the token"},
    FLAG_END,
};

static const struct flag connect_flags[] = {
    {"hub", 0, FLAG_STR, AT(hub), NULL, NULL, "Hub to join, as https://hub.example.com", check_url},
    {"token", 't', FLAG_STR, AT(hub_token), "SAMPAN_HUB_TOKEN", NULL, "Registration token of this cluster at the hub"},
    {"token-file", 0, FLAG_STR, AT(hub_token_file), "SAMPAN_HUB_TOKEN_FILE", NULL, "File that holds the hub token"},
    {"kubeconfig", 0, FLAG_STR, AT(kubeconfig), "KUBECONFIG", NULL, "Kubeconfig of the cluster to join (default: the service account of the pod that this runs in)"},
    {"hub-heartbeat", 0, FLAG_INT, AT(hub_heartbeat), NULL, "10", "Seconds for which the uplink to the hub may be silent: 10 finds a lost hub soon, 30 costs under 500 bytes a minute, 150 under 100", NULL, 5, 300},
    FLAG_END,
};

/* The rows whose defaults differ from one command to another. */
#define DATA_DIR(dflt_) {"data-dir", 'd', FLAG_STR, AT(data_dir), NULL, dflt_, "Folder to hold state"}
#define LISTEN_PORT(dflt_) {"https-listen-port", 0, FLAG_INT, AT(https_listen_port), NULL, dflt_, "HTTPS listen port", NULL, 1, 65535}
static const struct flag server_home[] = {DATA_DIR("/var/lib/sampan"), LISTEN_PORT("6443"), FLAG_END};
static const struct flag agent_home[] = {DATA_DIR("/var/lib/sampan"), FLAG_END};
static const struct flag hub_home[] = {DATA_DIR("/var/lib/sampan-hub"), LISTEN_PORT("443"), FLAG_END};
static const struct flag connect_home[] = {DATA_DIR("/var/lib/sampan-connect"), FLAG_END};

static const struct flag *const server_tables[] = {server_home, common_flags, server_flags, range_flags, cluster_flags, node_flags, NULL};
static const struct flag *const agent_tables[] = {agent_home, common_flags, agent_flags, agent_range_flags, node_flags, NULL};
static const struct flag *const hub_tables[] = {hub_home, common_flags, server_flags, NULL};
static const struct flag *const connect_tables[] = {connect_home, common_flags, connect_flags, NULL};

const struct run_command {
    const char *name;
    enum role role;
    const struct flag *const *tables;
    const char *config, *kubeconfig; /* default paths */
} run_commands[] = {
    {"server", ROLE_SERVER, server_tables, "/etc/sampan/config.yaml", "/etc/sampan/sampan.yaml"},
    {"agent", ROLE_AGENT, agent_tables, "/etc/sampan/config.yaml", NULL},
    {"hub", ROLE_HUB, hub_tables, "/etc/sampan/hub.yaml", "/etc/sampan/hub-admin.yaml"},
    {"connect", ROLE_CONNECT, connect_tables, "/etc/sampan/connect.yaml", NULL},
};

static void put_default(char **at, const char *value)
{
    if (!*at && value)
        *at = xstrdup(value);
}

/* --x-file beside --x: the file's first line is the secret, so that it need not stand in argv. */
static int secret_from_file(char **secret, const char *file, const char *flag, struct err **e)
{
    _cleanup_(buf_clear) struct buf text = BUF_INIT;
    if (!file)
        return 0;
    if (*secret)
        return err_set(e, ERR_USAGE, "--%s and --%s-file exclude each other", flag, flag);
    if (file_read(file, 4096, &text, e) < 0)
        return err_wrap(e, "--%s-file", flag);
    struct str line = str_trim(buf_str(&text));
    if (str_empty(line))
        return err_set(e, ERR_USAGE, "--%s-file: %s is empty", flag, file);
    *secret = str_dup(line);
    return 0;
}

static int check_between(struct options *o, struct err **e)
{
    if (secret_from_file(&o->token, o->token_file, "token", e) < 0 || secret_from_file(&o->agent_token, o->agent_token_file, "agent-token", e) < 0 ||
        secret_from_file(&o->hub_token, o->hub_token_file, "hub-token", e) < 0)
        return -(int)(e && *e ? (*e)->code : ERR_USAGE);
    if (kubelet_args(o, e) < 0)
        return -ERR_USAGE;
    if (o->role == ROLE_AGENT && !o->server)
        return err_set(e, ERR_USAGE, "--server is required");
    if (o->role == ROLE_AGENT && !o->token)
        return err_set(e, ERR_USAGE, "--token is required");
    if (o->role == ROLE_CONNECT && !o->hub)
        return err_set(e, ERR_USAGE, "--hub is required");
    if (o->hub_token && !o->hub)
        return err_set(e, ERR_USAGE, "--hub-token is set, but --hub is not");
    if (o->data_dir[0] != '/')
        return err_set(e, ERR_USAGE, "invalid value \"%s\" for --data-dir: must be an absolute path", o->data_dir);
    return 0;
}

/* The tenth address of service-cidr, as K3s and kubeadm take it; NULL when the range is no IPv4 one or too small. */
static char *tenth(const char *cidr)
{
    struct str ip, prefix;
    uint64_t len;
    struct in_addr a;
    char text[INET_ADDRSTRLEN];
    if (!cidr || !str_cut(str_of(cidr), '/', &ip, &prefix) || !str_to_u64(prefix, &len) || len > 28 || ip.n >= sizeof text)
        return NULL;
    snprintf(text, sizeof text, "%.*s", STR_ARG(ip));
    if (inet_pton(AF_INET, text, &a) != 1)
        return NULL;
    a.s_addr = htonl((ntohl(a.s_addr) & (len ? ~UINT32_C(0) << (32 - len) : 0)) + 10);
    return inet_ntop(AF_INET, &a, text, sizeof text) ? xstrdup(text) : NULL;
}

static void fill_between(struct options *o, const struct run_command *rc)
{
    char host[256] = "";
    put_default(&o->write_kubeconfig, rc->kubeconfig);
    if (o->autonomous) {
        o->node_label.v = xrealloc(o->node_label.v, (o->node_label.n + 1) * sizeof *o->node_label.v);
        o->node_label.v[o->node_label.n++] = xstrdup("node.sampan.io/autonomous=true");
    }
    /* outside a pod and with none named, the cluster is the one of this machine's own server */
    if (o->role == ROLE_CONNECT && !o->kubeconfig && !file_exists("/var/run/secrets/kubernetes.io/serviceaccount/token") && file_exists("/etc/sampan/sampan.yaml"))
        o->kubeconfig = xstrdup("/etc/sampan/sampan.yaml");
    if (!o->local_storage_path)
        o->local_storage_path = xasprintf("%s/storage", o->data_dir);
    if (!o->cluster_dns)
        o->cluster_dns = tenth(o->service_cidr);
    if (!o->run_dir)
        o->run_dir = strcmp(o->data_dir, "/var/lib/sampan") == 0 ? xstrdup("/run/sampan") : xasprintf("%s/run", o->data_dir);
    if (!o->node_name && gethostname(host, sizeof host - 1) == 0) {
        for (char *c = host; *c; c++)
            if (*c >= 'A' && *c <= 'Z')
                *c = (char)(*c + 32);
        o->node_name = xstrdup(host);
    }
}

static int wants_help(int argc, char **argv)
{
    for (int i = 1; i < argc; i++)
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)
            return 1;
    return 0;
}

int run_command(int argc, char **argv)
{
    const struct run_command *rc = NULL;
    for (size_t i = 0; i < ARRAY_LEN(run_commands); i++)
        if (strcmp(run_commands[i].name, argv[0]) == 0)
            rc = &run_commands[i];
    if (wants_help(argc, argv)) {
        printf("usage: sampan %s [flags]\n\nflags:\n", rc->name);
        flags_help(rc->tables);
        return 0;
    }
    struct options o = {.role = rc->role};
    struct err *e = NULL;
    int r = flags_parse(rc->tables, argc, argv, &o, offsetof(struct options, config), rc->config, NULL, &e);
    if (r == 0)
        r = check_between(&o, &e);
    if (r < 0) {
        options_clear(&o);
        return cli_fail(e);
    }
    fill_between(&o, rc);
    r = supervisor_run(&o);
    options_clear(&o);
    return r;
}
