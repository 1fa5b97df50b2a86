/* Pods that this node refuses, as a kubelet's admission handlers do (pkg/kubelet/sysctl of Kubernetes): the pod is Failed at once, with a reason, and its controller makes another. */
#include <stdlib.h>

#include "gate/impl.h"

/* What touches nothing outside the pod's own namespaces. */
static const char *const safe_sysctls[] = {
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ping_group_range",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.tcp_wmem",
};

static bool allowed(const struct gate *g, struct str name)
{
    for (size_t i = 0; i < ARRAY_LEN(safe_sysctls); i++)
        if (str_eqz(name, safe_sysctls[i]))
            return true;
    for (size_t i = 0; i < g->o->nunsafe_sysctls; i++) {
        struct str x = str_of(g->o->unsafe_sysctls[i]);
        if (str_ends(x, STR("*")) ? str_starts(name, str_sub(x, 0, x.n - 1)) : str_eq(name, x))
            return true;
    }
    return false;
}

static void refuse(struct gpod *gp, const char *reason, char *why)
{
    gp->refused = xstrdup(reason);
    gp->refused_why = xasprintf("Pod was rejected: %s", why);
    event_pod(gp, STR_NULL, true, reason, "%s", why);
    free(why);
    gpod_report(gp);
}

bool pod_refused(struct gpod *gp)
{
    if (gp->refused || gp->sent || gp->state)
        return gp->refused != NULL;
    json_for(json_path(gpod_tree(gp), "spec", "securityContext", "sysctls", NULL), s) {
        _cleanup_(freep) char *name = str_dup(json_get_str(s, "name"));
        for (char *c = name; *c; c++) /* both separators mean the same (sysctl.d(5)) */
            if (*c == '/')
                *c = '.';
        if (!allowed(gp->gate, str_of(name))) {
            refuse(gp, "SysctlForbidden", xasprintf("forbidden sysctl: \"%s\" not allowlisted", name));
            return true;
        }
    }
    return false;
}
