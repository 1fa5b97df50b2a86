#include "runtime/oci.h"

/* Kubernetes' DefaultProcMount; the container's own view of the machine stops here. */
static const char *const masked[] = {"/proc/asound", "/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list",
    "/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/sys/firmware", "/sys/devices/virtual/powercap"};
static const char *const read_only[] = {"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"};

static const struct oci_mount default_mounts[] = {
    {"/proc", "proc", "proc", "nosuid,noexec,nodev"},
    {"/dev", "tmpfs", "tmpfs", "nosuid,strictatime,mode=755,size=65536k"},
    {"/dev/pts", "devpts", "devpts", "nosuid,noexec,newinstance,ptmxmode=0666,mode=0620,gid=5"},
    {"/dev/mqueue", "mqueue", "mqueue", "nosuid,noexec,nodev"},
    {"/sys", "sysfs", "sysfs", "nosuid,noexec,nodev,ro"},
    {"/sys/fs/cgroup", "cgroup", "cgroup", "nosuid,noexec,nodev,relatime,ro"},
};

static void strings(struct pool *p, struct json *obj, const char *key, const char *const *list, size_t n)
{
    struct json *a = json_put_arr(p, obj, str_of(key));
    for (size_t i = 0; i < n; i++)
        json_append(a, json_str_view(p, str_of(list[i])));
}

static void add_mount(struct pool *p, struct json *mounts, const struct oci_mount *m, bool privileged)
{
    struct json *o = json_append(mounts, json_obj(p)), *options = json_arr(p);
    json_set_str(p, o, STR("destination"), str_of(m->destination));
    json_set_str(p, o, STR("type"), str_of(m->type ? m->type : "bind"));
    json_set_str(p, o, STR("source"), str_of(m->source));
    if (!m->type)
        json_append(options, json_str(p, STR("rbind")));
    struct str rest = str_of(m->options), one;
    while (str_split(&rest, ',', &one)) {
        /* a privileged container may write to /sys and its control groups */
        bool kernel_fs = m->type && (str_eqz(STR("sysfs"), m->type) || str_eqz(STR("cgroup"), m->type));
        json_append(options, json_str(p, privileged && kernel_fs && str_eq(one, STR("ro")) ? STR("rw") : one));
    }
    json_set(p, o, STR("options"), options);
}

static void add_namespace(struct pool *p, struct json *list, const char *type, const char *path)
{
    if (!path)
        return;
    struct json *o = json_append(list, json_obj(p));
    json_set_str(p, o, STR("type"), str_of(type));
    if (*path)
        json_set_str(p, o, STR("path"), str_of(path));
}

static void add_device_rule(struct pool *p, struct json *rules, const struct oci_device *d)
{
    struct json *o = json_append(rules, json_obj(p));
    json_set_bool(p, o, STR("allow"), true);
    json_set_str(p, o, STR("type"), d->type == 'b' ? STR("b") : STR("c"));
    json_set_int(p, o, STR("major"), d->major);
    json_set_int(p, o, STR("minor"), d->minor);
    json_set_str(p, o, STR("access"), STR("rwm"));
}

static void resources(struct pool *p, const struct oci_spec *s, struct json *lin)
{
    struct json *res = json_put_obj(p, lin, STR("resources")), *rules = json_put_arr(p, res, STR("devices"));
    json_set_bool(p, json_append(rules, json_obj(p)), STR("allow"), s->privileged);
    json_set_str(p, json_at(rules, 0), STR("access"), STR("rwm"));
    struct json *devices = json_put_arr(p, lin, STR("devices"));
    for (size_t i = 0; i < s->ndevices; i++) {
        const struct oci_device *d = &s->devices[i];
        struct json *o = json_append(devices, json_obj(p));
        json_set_str(p, o, STR("path"), str_of(d->path));
        json_set_str(p, o, STR("type"), d->type == 'b' ? STR("b") : STR("c"));
        json_set_int(p, o, STR("major"), d->major);
        json_set_int(p, o, STR("minor"), d->minor);
        json_set_int(p, o, STR("fileMode"), d->mode);
        json_set_int(p, o, STR("uid"), d->uid);
        json_set_int(p, o, STR("gid"), d->gid);
        add_device_rule(p, rules, d);
    }
    struct json *cpu = json_put_obj(p, res, STR("cpu"));
    json_set_int(p, cpu, STR("shares"), cgroup_cpu_shares(s->limits.cpu_request_milli));
    if (s->limits.cpu_limit_milli > 0) {
        json_set_int(p, cpu, STR("quota"), MAX(s->limits.cpu_limit_milli * 100, 1000));
        json_set_int(p, cpu, STR("period"), 100000);
    }
    if (s->limits.memory > 0)
        json_set_int(p, json_put_obj(p, res, STR("memory")), STR("limit"), s->limits.memory);
    if (s->limits.pids > 0)
        json_set_int(p, json_put_obj(p, res, STR("pids")), STR("limit"), s->limits.pids);
}

static int seccomp(struct pool *p, const struct oci_spec *s, struct json *lin, struct err **e)
{
    struct json *profile = NULL;
    if (s->privileged || s->seccomp == OCI_SECCOMP_NONE)
        return 0;
    if (s->seccomp == OCI_SECCOMP_DEFAULT) {
        profile = seccomp_default(p, s->caps);
    } else {
        int r = json_parse(p, s->seccomp_profile, NULL, &profile, e);
        if (r < 0)
            return err_wrap(e, "seccomp profile"), r;
        if (!json_is(profile, JSON_OBJ))
            return err_set(e, ERR_PARSE, "seccomp profile: not an object");
    }
    json_set(p, lin, STR("seccomp"), profile);
    return 0;
}

static void process(struct pool *p, const struct oci_spec *s, struct json *root)
{
    struct json *o = json_put_obj(p, root, STR("process")), *user = json_put_obj(p, o, STR("user"));
    json_set_bool(p, o, STR("terminal"), s->tty);
    json_set_int(p, user, STR("uid"), s->uid);
    json_set_int(p, user, STR("gid"), s->gid);
    struct json *groups = json_put_arr(p, user, STR("additionalGids"));
    for (size_t i = 0; i < s->ngroups; i++)
        json_append(groups, json_int(p, s->groups[i]));
    struct json *args = json_put_arr(p, o, STR("args")), *env = json_put_arr(p, o, STR("env"));
    for (size_t i = 0; i < s->nargs; i++)
        json_append(args, json_str(p, s->args[i]));
    for (size_t i = 0; i < s->nenv; i++)
        json_append(env, json_str(p, s->env[i]));
    json_set_str(p, o, STR("cwd"), s->cwd);
    json_set_bool(p, o, STR("noNewPrivileges"), s->no_new_privs);
    json_set_int(p, o, STR("oomScoreAdj"), s->oom_score_adj);
    if (!str_empty(s->apparmor))
        json_set_str(p, o, STR("apparmorProfile"), s->apparmor);
    static const char *const sets[] = {"bounding", "effective", "permitted"};
    struct json *caps = json_put_obj(p, o, STR("capabilities"));
    for (size_t k = 0; k < ARRAY_LEN(sets); k++) {
        struct json *list = json_put_arr(p, caps, str_of(sets[k]));
        for (int i = 0; i < CAPS_MAX; i++)
            if (caps_has(s->caps, i))
                json_append(list, json_str(p, pool_printf(p, "CAP_%s", caps_names[i])));
    }
}

int oci_config(struct pool *p, const struct oci_spec *s, struct buf *out, struct err **e)
{
    struct json *root = json_obj(p), *o, *lin;
    json_set_str(p, root, STR("ociVersion"), STR("1.0.2"));
    process(p, s, root);
    o = json_put_obj(p, root, STR("root"));
    json_set_str(p, o, STR("path"), str_of(s->root));
    json_set_bool(p, o, STR("readonly"), s->read_only);
    struct json *mounts = json_put_arr(p, root, STR("mounts"));
    for (size_t i = 0; i < ARRAY_LEN(default_mounts); i++)
        add_mount(p, mounts, &default_mounts[i], s->privileged);
    for (size_t i = 0; i < s->nmounts; i++)
        add_mount(p, mounts, &s->mounts[i], s->privileged);
    lin = json_put_obj(p, root, STR("linux"));
    struct json *ns = json_put_arr(p, lin, STR("namespaces"));
    add_namespace(p, ns, "pid", s->pid_ns);
    add_namespace(p, ns, "network", s->net_ns);
    add_namespace(p, ns, "ipc", s->ipc_ns);
    add_namespace(p, ns, "uts", s->uts_ns);
    add_namespace(p, ns, "mount", "");
    add_namespace(p, ns, "cgroup", s->cgroup_ns ? "" : NULL);
    json_set_str(p, lin, STR("cgroupsPath"), str_of(s->cgroup));
    static const char *const propagation[] = {"rprivate", "rslave", "rshared"};
    json_set_str(p, lin, STR("rootfsPropagation"), str_of(propagation[s->propagation]));
    if (!s->privileged && !s->proc_unmasked) {
        strings(p, lin, "maskedPaths", masked, ARRAY_LEN(masked));
        strings(p, lin, "readonlyPaths", read_only, ARRAY_LEN(read_only));
    }
    resources(p, s, lin);
    int r = seccomp(p, s, lin, e);
    if (r < 0)
        return r;
    json_write(out, root);
    return 0;
}
