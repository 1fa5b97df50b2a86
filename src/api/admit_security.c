#include "api/admit.h"

/* PodSecurity (pod-security-admission): the namespace's labels name a level to enforce, to audit and to warn about; "baseline" forbids what
 * lets a pod reach the host, "restricted" wants pods hardened. One row per control of the Pod Security Standards. */

struct checked {
    struct call *c;
    const struct json *spec, *meta;
    struct buf *why;
};
typedef void control_fn(struct checked *k);

static void say(struct checked *k, const char *control, const char *detail)
{
    if (k->why->n < 2048)
        buf_printf(k->why, "%s%s (%s)", k->why->n ? ", " : "", control, detail);
}

/* fn for every container of every kind; true when one of them matches. */
static const struct json *find(const struct json *spec, bool (*fn)(const struct json *container, const struct json *spec))
{
    static const char *const lists[] = {"initContainers", "containers", "ephemeralContainers"};
    for (size_t i = 0; i < ARRAY_LEN(lists); i++)
        json_for (json_get(spec, str_of(lists[i])), it)
            if (fn(it, spec))
                return it;
    return NULL;
}

static void say_container(struct checked *k, const char *control, const struct json *container, const char *must)
{
    struct str s = pool_printf(k->c->pool, "container \"%.*s\" must %s", STR_ARG(json_get_str(container, "name")), must);
    say(k, control, s.p);
}

/* ---- baseline ---- */

static void host_namespaces(struct checked *k)
{
    static const char *const keys[] = {"hostNetwork", "hostPID", "hostIPC"};
    for (size_t i = 0; i < ARRAY_LEN(keys); i++)
        if (json_get_bool(k->spec, keys[i], false)) {
            say(k, "host namespaces", pool_printf(k->c->pool, "%s=true", keys[i]).p);
            return;
        }
}

static bool is_privileged(const struct json *c, const struct json *spec)
{
    (void)spec;
    return json_as_bool(json_path(c, "securityContext", "privileged", NULL), false);
}
static void privileged(struct checked *k)
{
    const struct json *c = find(k->spec, is_privileged);
    if (c)
        say_container(k, "privileged", c, "not set securityContext.privileged=true");
}

static bool extra_caps(const struct json *c, const struct json *spec)
{
    static const char *const fine[] = {"AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD", "NET_BIND_SERVICE",
        "SETFCAP", "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT"};
    (void)spec;
    json_for (json_path(c, "securityContext", "capabilities", "add", NULL), it) {
        bool ok = false;
        for (size_t i = 0; i < ARRAY_LEN(fine); i++)
            ok |= str_eqz(json_as_str(it), fine[i]);
        if (!ok)
            return true;
    }
    return false;
}
static void capabilities(struct checked *k)
{
    const struct json *c = find(k->spec, extra_caps);
    if (c)
        say_container(k, "non-default capabilities", c, "not add capabilities beyond the default set in securityContext.capabilities.add");
}

static void host_path(struct checked *k)
{
    json_for (json_get(k->spec, STR("volumes")), it)
        if (json_get(it, STR("hostPath"))) {
            say(k, "hostPath volumes", pool_printf(k->c->pool, "volume \"%.*s\"", STR_ARG(json_get_str(it, "name"))).p);
            return;
        }
}

static bool uses_host_port(const struct json *c, const struct json *spec)
{
    (void)spec;
    json_for (json_get(c, STR("ports")), it)
        if (json_get_int(it, "hostPort", 0))
            return true;
    return false;
}
static void host_ports(struct checked *k)
{
    const struct json *c = find(k->spec, uses_host_port);
    if (c)
        say(k, "hostPort", pool_printf(k->c->pool, "container \"%.*s\" uses a hostPort", STR_ARG(json_get_str(c, "name"))).p);
}

static bool odd_proc_mount(const struct json *c, const struct json *spec)
{
    struct str v = json_str_at(c, "securityContext", "procMount", NULL);
    (void)spec;
    return !str_empty(v) && !str_eqz(v, "Default");
}
static void proc_mount(struct checked *k)
{
    const struct json *c = find(k->spec, odd_proc_mount);
    if (c)
        say_container(k, "procMount", c, "not set securityContext.procMount to anything but Default");
}

static bool unconfined(const struct json *c, const struct json *spec)
{
    (void)spec;
    return str_eqz(json_str_at(c, "securityContext", "seccompProfile", "type", NULL), "Unconfined");
}
static void seccomp_baseline(struct checked *k)
{
    const struct json *c = find(k->spec, unconfined);
    if (c || str_eqz(json_str_at(k->spec, "securityContext", "seccompProfile", "type", NULL), "Unconfined"))
        say(k, "seccompProfile", "must not be Unconfined");
}

static void sysctls(struct checked *k)
{
    static const char *const fine[] = {"kernel.shm_rmid_forced", "net.ipv4.ip_local_port_range", "net.ipv4.ip_unprivileged_port_start",
        "net.ipv4.tcp_syncookies", "net.ipv4.ping_group_range", "net.ipv4.ip_local_reserved_ports", "net.ipv4.tcp_keepalive_time",
        "net.ipv4.tcp_fin_timeout", "net.ipv4.tcp_keepalive_intvl", "net.ipv4.tcp_keepalive_probes", "net.ipv4.tcp_rmem",
        "net.ipv4.tcp_wmem"};
    json_for (json_path(k->spec, "securityContext", "sysctls", NULL), it) {
        bool ok = false;
        for (size_t i = 0; i < ARRAY_LEN(fine); i++)
            ok |= str_eqz(json_get_str(it, "name"), fine[i]);
        if (!ok) {
            say(k, "forbidden sysctls", pool_printf(k->c->pool, "%.*s", STR_ARG(json_get_str(it, "name"))).p);
            return;
        }
    }
}

static bool odd_selinux(const struct json *o)
{
    static const char *const fine[] = {"", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"};
    const struct json *s = json_path(o, "securityContext", "seLinuxOptions", NULL);
    bool ok = false;
    for (size_t i = 0; i < ARRAY_LEN(fine); i++)
        ok |= str_eqz(json_get_str(s, "type"), fine[i]);
    return s && (!ok || !str_empty(json_get_str(s, "user")) || !str_empty(json_get_str(s, "role")));
}
static bool odd_selinux_container(const struct json *c, const struct json *spec)
{
    (void)spec;
    return odd_selinux(c);
}
static void selinux(struct checked *k)
{
    if (odd_selinux(k->spec) || find(k->spec, odd_selinux_container))
        say(k, "seLinuxOptions", "must not set user, role or a custom type");
}

static bool host_process_container(const struct json *c, const struct json *spec)
{
    (void)spec;
    return json_as_bool(json_path(c, "securityContext", "windowsOptions", "hostProcess", NULL), false);
}
static void host_process(struct checked *k)
{
    if (json_as_bool(json_path(k->spec, "securityContext", "windowsOptions", "hostProcess", NULL), false) ||
        find(k->spec, host_process_container))
        say(k, "hostProcess", "must not set securityContext.windowsOptions.hostProcess=true");
}

/* ---- restricted ---- */

static bool may_escalate(const struct json *c, const struct json *spec)
{
    (void)spec;
    return json_as_bool(json_path(c, "securityContext", "allowPrivilegeEscalation", NULL), true);
}
static void escalation(struct checked *k)
{
    const struct json *c = find(k->spec, may_escalate);
    if (c)
        say_container(k, "allowPrivilegeEscalation != false", c, "set securityContext.allowPrivilegeEscalation=false");
}

static bool keeps_caps(const struct json *c, const struct json *spec)
{
    bool all = false;
    (void)spec;
    json_for (json_path(c, "securityContext", "capabilities", "drop", NULL), it)
        all |= str_eqz(json_as_str(it), "ALL");
    json_for (json_path(c, "securityContext", "capabilities", "add", NULL), it)
        if (!str_eqz(json_as_str(it), "NET_BIND_SERVICE"))
            return true;
    return !all;
}
static void drop_all(struct checked *k)
{
    const struct json *c = find(k->spec, keeps_caps);
    if (c)
        say_container(k, "unrestricted capabilities", c, "set securityContext.capabilities.drop=[\"ALL\"]");
}

static bool may_be_root(const struct json *c, const struct json *spec)
{
    const struct json *own = json_path(c, "securityContext", "runAsNonRoot", NULL);
    return !json_as_bool(own ? own : json_path(spec, "securityContext", "runAsNonRoot", NULL), false);
}
static bool is_root(const struct json *c, const struct json *spec)
{
    (void)spec;
    return json_as_int(json_path(c, "securityContext", "runAsUser", NULL), 1) == 0;
}
static void non_root(struct checked *k)
{
    const struct json *c = find(k->spec, may_be_root);
    if (c)
        say(k, "runAsNonRoot != true",
            pool_printf(
                k->c->pool, "pod or container \"%.*s\" must set securityContext.runAsNonRoot=true", STR_ARG(json_get_str(c, "name")))
                .p);
    if (json_as_int(json_path(k->spec, "securityContext", "runAsUser", NULL), 1) == 0 || find(k->spec, is_root))
        say(k, "runAsUser=0", "pod or containers must not set runAsUser=0");
}

static bool no_seccomp(const struct json *c, const struct json *spec)
{
    struct str own = json_str_at(c, "securityContext", "seccompProfile", "type", NULL);
    if (str_empty(own))
        own = json_str_at(spec, "securityContext", "seccompProfile", "type", NULL);
    return !str_eqz(own, "RuntimeDefault") && !str_eqz(own, "Localhost");
}
static void seccomp_restricted(struct checked *k)
{
    const struct json *c = find(k->spec, no_seccomp);
    if (c)
        say(k, "seccompProfile",
            pool_printf(k->c->pool,
                "pod or container \"%.*s\" must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\"",
                STR_ARG(json_get_str(c, "name")))
                .p);
}

static void volume_types(struct checked *k)
{
    static const char *const fine[] = {
        "name", "configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "image", "persistentVolumeClaim", "projected", "secret"};
    json_for (json_get(k->spec, STR("volumes")), v)
        json_for (v, m) {
            bool ok = false;
            for (size_t i = 0; i < ARRAY_LEN(fine); i++)
                ok |= str_eqz(json_key(m), fine[i]);
            if (!ok) {
                say(k, "restricted volume types",
                    pool_printf(k->c->pool, "volume \"%.*s\" uses restricted volume type \"%.*s\"", STR_ARG(json_get_str(v, "name")),
                        STR_ARG(json_key(m)))
                        .p);
                return;
            }
        }
}

static const struct {
    control_fn *fn;
    bool restricted;
} controls[] = {
    {host_namespaces, false},
    {privileged, false},
    {capabilities, false},
    {host_path, false},
    {host_ports, false},
    {proc_mount, false},
    {seccomp_baseline, false},
    {sysctls, false},
    {selinux, false},
    {host_process, false},
    {escalation, true},
    {drop_all, true},
    {non_root, true},
    {seccomp_restricted, true},
    {volume_types, true},
};

static void evaluate(struct call *c, struct str level, struct buf *why)
{
    struct checked k = {c, json_get(c->w.doc, STR("spec")), json_get(c->w.doc, STR("metadata")), why};
    bool restricted = str_eqz(level, "restricted");
    if (!restricted && !str_eqz(level, "baseline"))
        return; /* privileged, or a level that validation let through and nobody knows */
    for (size_t i = 0; i < ARRAY_LEN(controls); i++)
        if (restricted || !controls[i].restricted)
            controls[i].fn(&k);
}

int admit_security(struct call *c, struct err **e)
{
    if (!str_empty(c->ri.sub) && !str_eqz(c->ri.sub, "ephemeralcontainers"))
        return 0;
    if (c->w.op == WRITE_UPDATE && str_empty(c->ri.sub)) {
        const struct json *a = json_get(c->w.doc, STR("spec")), *b = json_get(c->w.old, STR("spec"));
        if (a && b && json_equal(a, b))
            return 0;
    }
    _cleanup_(store_view_unrefp) struct store_view *v = store_view(c->api->store);
    const struct obj *ns = c->api->res.namespaces ? view_get(v, c->api->res.namespaces, STR_NULL, c->ri.ns) : NULL;
    if (!ns)
        return 0;
    struct str enforce = obj_label(ns, STR("pod-security.kubernetes.io/enforce")),
               warn = obj_label(ns, STR("pod-security.kubernetes.io/warn"));
    struct str version = obj_label(ns, STR("pod-security.kubernetes.io/enforce-version"));
    _cleanup_(buf_clear) struct buf why = BUF_INIT;
    evaluate(c, enforce, &why);
    if (why.n)
        return admit_forbid(c, e, "violates PodSecurity \"%.*s:%.*s\": %.*s", STR_ARG(enforce),
            STR_ARG(str_empty(version) ? STR("latest") : version), STR_ARG(buf_str(&why)));
    evaluate(c, warn, &why);
    if (why.n)
        call_warn(c, "would violate PodSecurity \"%.*s:latest\": %.*s", STR_ARG(warn), STR_ARG(buf_str(&why)));
    return 0;
}
