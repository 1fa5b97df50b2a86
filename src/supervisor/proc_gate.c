/* The gate process of a server, of an agent, and of `sampan connect`. */
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "gate/gate.h"
#include "supervisor/lockdown.h"
#include "supervisor/procs.h"

static int lock(void *arg, struct err **e)
{
    return lockdown_apply(arg, e);
}

/* A kubeconfig is root's alone as a rule: gate gets a copy that it may read. Files that it names must be readable to the user themselves. */
static char *lend_kubeconfig(const struct options *o, const struct layout *l, struct err **e)
{
    _cleanup_(buf_clear) struct buf text = BUF_INIT;
    _cleanup_(freep) char *copy = xasprintf("%s/kubeconfig", l->gate);
    if (file_read(o->kubeconfig, 1 << 20, &text, e) < 0 || file_replace(copy, buf_str(&text), 0600, e) < 0) {
        err_wrap(e, "--kubeconfig");
        return NULL;
    }
    if (chown(copy, l->uid, l->gid) < 0) {
        err_errno(e, errno, "--kubeconfig: %s", copy);
        return NULL;
    }
    return TAKE(copy);
}

/* Of a file that is replaced by renaming, the folder has to be readable. NULL: none was named. */
static char *folder_of(const char *path)
{
    struct str p = str_of(path);
    ssize_t slash = str_rchr(p, '/');
    return slash > 0 ? str_dup(str_sub(p, 0, (size_t)slash)) : NULL;
}

int proc_gate(const struct options *o, const struct layout *l, const struct proc_fds *f)
{
    _cleanup_(err_freep) struct err *e = NULL;
    struct str hash = STR_NULL, password = STR_NULL;
    _cleanup_(freep) char *resolv = folder_of(o->resolv_conf), *static_pods = o->static_pods ? xstrdup(o->static_pods) : xasprintf("%s/pod-manifests", l->agent);
    /* /etc/resolv.conf is a link to one of the last three on many machines. */
    const char *writable[] = {l->gate, l->run, NULL}, *readable[] = {o->kubeconfig ? o->kubeconfig : "/etc", resolv ? resolv : "/etc", "/run/secrets",
        "/var/run/secrets", "/run/systemd/resolve", "/run/resolvconf", "/run/NetworkManager", static_pods, o->private_registry, NULL};
    struct lockdown ld = {.user = o->user, .writable = writable, .readable = readable};
    if (o->role == ROLE_AGENT && token_parse(str_of(o->token), &hash, &password, &e) < 0) {
        log_error("%s", err_msg(e));
        return PROC_EXIT_FATAL;
    }
    _cleanup_(freep) char *kubeconfig = NULL;
    if (o->kubeconfig && !(kubeconfig = lend_kubeconfig(o, l, &e))) {
        log_error("%s", err_msg(e));
        return PROC_EXIT_FATAL;
    }
    struct gate_options g = {
        .state_dir = l->gate,
        .node_fd = f->link,
        .broker_fd = f->broker,
        .api_socket = o->role == ROLE_SERVER ? l->api_socket : NULL,
        .server = o->server,
        .token = password,
        .ca_hash = hash,
        .node_name = o->node_name,
        .node_ip = o->node_ip,
        .backend = o->flannel_backend,
        .no_network_policy = o->disable_network_policy,
        .cgroup_root = o->cgroup_root,
        .registries = o->private_registry,
        .resolv_conf = o->resolv_conf,
        .cluster_domain = o->cluster_domain,
        .cluster_dns = o->cluster_dns,
        .service_cidr = o->service_cidr,
        .cluster_cidr = o->cluster_cidr,
        .labels = (const char *const *)o->node_label.v,
        .nlabels = o->node_label.n,
        .taints = (const char *const *)o->node_taint.v,
        .ntaints = o->node_taint.n,
        .kubelet_dir = o->kubelet_dir,
        .settings = &o->settings,
        .static_pods = static_pods,
        .unsafe_sysctls = (const char *const *)o->unsafe_sysctls.v,
        .nunsafe_sysctls = o->unsafe_sysctls.n,
        .mirrors_only = o->disable_default_registry_endpoint,
        .hub = o->hub,
        .hub_token = str_of(o->hub_token),
        .hub_heartbeat_s = o->hub_heartbeat,
        .kubeconfig = kubeconfig,
    };
    return gate_main(&g, lock, &ld);
}
