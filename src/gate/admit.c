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

/* ---- host ports ---- a pod that names its node itself was asked by no scheduler */

static bool anywhere(struct str ip)
{
    return !ip.n || str_eqz(ip, "0.0.0.0") || str_eqz(ip, "::");
}

static bool same_port(const struct json *a, const struct json *b)
{
    struct str x = json_get_str(a, "hostIP"), y = json_get_str(b, "hostIP"), p = json_get_str(a, "protocol"), q = json_get_str(b, "protocol");
    return json_get_int(a, "hostPort", 0) && json_get_int(a, "hostPort", 0) == json_get_int(b, "hostPort", 0) && str_eq(p.n ? p : STR("TCP"), q.n ? q : STR("TCP")) &&
           (anywhere(x) || anywhere(y) || str_eq(x, y));
}

static bool ports_collide(const struct json *a, const struct json *b)
{
    json_for(json_path(a, "spec", "containers", NULL), c)
        json_for(json_get(c, STR("ports")), x)
            json_for(json_path(b, "spec", "containers", NULL), d)
                json_for(json_get(d, STR("ports")), y)
                    if (same_port(x, y))
                        return true;
    return false;
}

/* Only one that never ran here can come too late: after a restart of this process all look new. */
static bool ports_taken(struct gpod *gp)
{
    const struct json *pod = gpod_tree(gp);
    if (json_str_at(pod, "status", "startTime", NULL).n || str_find(bytes_str(gp->object), STR("\"hostPort\"")) < 0)
        return false;
    map_for(&gp->gate->pods, it) {
        struct gpod *q = it->value;
        if (q == gp || !q->object || q->gone || q->refused || (!q->sent && !q->state) || str_find(bytes_str(q->object), STR("\"hostPort\"")) < 0)
            continue;
        struct str phase = json_str_at(gpod_tree(q), "status", "phase", NULL);
        if (!str_eqz(phase, "Succeeded") && !str_eqz(phase, "Failed") && ports_collide(pod, gpod_tree(q)))
            return true;
    }
    return false;
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
    if (gp->object && ports_taken(gp)) {
        refuse(gp, "NodePorts", xstrdup("Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports"));
        return true;
    }
    return false;
}
