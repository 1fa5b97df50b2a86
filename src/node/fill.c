/* From a container of the protocol to an OCI specification. Runs in the child that makes the container, inside the pod's mount namespace,
 * with the root mounted: what the image says about users is read from there. Errors that start with "config: " are the pod's own fault
 * (CreateContainerConfigError). */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>
#include "base/file.h"
#include "node/impl.h"
#include "runtime/users.h"

#define MOUNTS_MAX 600
#define DEVICES_MAX 2048
#define PROFILE_MAX (1u << 20)

struct fill {
    struct container *c;
    struct pod *p;
    const struct node_container *nc;
    const struct image *image;
    struct pool *pool;
    struct oci_spec *out;
    struct oci_mount *mounts;
    struct oci_device *devices;
};

int64_t node_memory(void)
{
    return (int64_t)sysconf(_SC_PHYS_PAGES) * sysconf(_SC_PAGESIZE);
}

/* k8s.io/kubernetes/pkg/kubelet/qos/policy.go: who goes first when memory runs out. */
int con_oom_score(const struct pod *p, const struct node_container *c)
{
    if (str_eq(p->spec.qos, STR("Guaranteed")))
        return -997;
    if (!str_eq(p->spec.qos, STR("Burstable")))
        return 1000;
    int64_t memory = MAX(node_memory(), 1), score = 1000 - 1000 * MIN(c->memory_request, memory) / memory;
    return (int)MIN(MAX(score, 3), 999);
}

/* Without CAP_SYS_RESOURCE the score can only rise. */
static int possible_score(int want)
{
    _cleanup_(buf_clear) struct buf b = BUF_INIT;
    int64_t own = 0;
    if (file_read("/proc/self/oom_score_adj", 32, &b, NULL) == 0 && str_to_i64(str_trim(buf_str(&b)), &own) &&
        !caps_has(caps_bounding(), 24))
        return MAX(want, (int)own);
    return want;
}

static void add_mount(struct fill *f, const char *to, const char *from, const char *options)
{
    if (f->out->nmounts < MOUNTS_MAX)
        f->mounts[f->out->nmounts++] = (struct oci_mount){to, NULL, from, options};
}

static bool mounted_by_user(const struct fill *f, const char *path)
{
    for (size_t i = 0; i < f->nc->nmounts; i++)
        if (str_eqz(f->nc->mounts[i].path, path))
            return true;
    return false;
}

static const struct node_volume *volume_of(const struct pod *p, struct str name)
{
    for (size_t i = 0; i < p->spec.nvolumes; i++)
        if (str_eq(p->spec.volumes[i].name, name))
            return &p->spec.volumes[i];
    return NULL;
}

static int depth_of(struct str path)
{
    int n = 0;
    for (size_t i = 0; i + 1 < path.n; i++)
        n += path.p[i] == '/' && path.p[i + 1] != '/';
    return n;
}

static bool destination_ok(struct str path)
{
    struct str rest = path, piece;
    if (str_empty(path) || path.n > 4095 || memchr(path.p, 0, path.n) || str_chr(path, ':') >= 0)
        return false;
    while (str_split(&rest, '/', &piece))
        if (str_eq(piece, STR("..")))
            return false;
    return depth_of(path) > 0 || !str_eq(path, STR("/"));
}

static int add_volume(struct fill *f, size_t at, struct err **e)
{
    const struct node_mount *m = &f->nc->mounts[at];
    const struct node_volume *nv = volume_of(f->p, m->volume);
    if (!nv || !destination_ok(m->path))
        return err_set(e, ERR_INVALID, "config: mount of volume \"%.*s\" at \"%.*s\" is not valid", STR_ARG(m->volume), STR_ARG(m->path));
    struct volume v;
    struct volume_dirs dirs;
    struct buf source = BUF_INIT;
    pod_volume(f->p, nv, &v, f->pool);
    pod_volume_dirs(f->p, f->pool, &dirs);
    volume_source(&dirs, &v, &source);
    const char *from = buf_to_pool(&source, f->pool).p;
    bool read_only = m->read_only || nv->kind == VOL_FILES || nv->kind == VOL_IMAGE;
    if (!str_empty(m->sub_path)) {
        const char *target = pool_printf(f->pool, "%s/sub/%s/%zu", f->p->run, f->c->id, at).p;
        int r = volume_bind_subpath(from, m->sub_path, read_only, target, e);
        if (r < 0)
            return err_wrap(
                       e, "config: failed to prepare subPath for volumeMount \"%.*s\" of container \"%s\"", STR_ARG(m->volume), f->c->name),
                   r;
        from = target;
    }
    static const char *const propagation[] = {"rprivate", "rslave", "rshared"};
    if (m->propagation == 2 && !f->nc->security.privileged)
        return err_set(e, ERR_FORBIDDEN, "config: Bidirectional mount propagation is available only to privileged containers");
    if (m->propagation == 2 && str_empty(m->sub_path) && nv->kind == VOL_HOST_PATH) {
        const char *target = pool_printf(f->pool, "%s/sub/%s/%zu", f->p->run, f->c->id, at).p;
        const char *machine = pool_printf(f->pool, "/proc/%d/ns/mnt", (int)f->p->node->pid).p;
        int r = volume_bind_shared(machine, from, target, e);
        if (r < 0)
            return err_wrap(e, "config: volume \"%.*s\"", STR_ARG(m->volume)), r;
        from = target;
    }
    if (m->propagation > f->out->propagation)
        f->out->propagation = m->propagation == 2 ? OCI_SHARED : OCI_SLAVE;
    const char *to = str_starts(m->path, STR("/")) ? pool_strz(f->pool, m->path) : pool_printf(f->pool, "/%.*s", STR_ARG(m->path)).p;
    const char *access = !read_only ? "rw" : m->recursive ? "rro" : "ro";
    add_mount(f, to, from, pool_printf(f->pool, "%s,%s", propagation[MIN(m->propagation, 2)], access).p);
    return 0;
}

static int add_mounts(struct fill *f, struct err **e)
{
    struct pod *p = f->p;
    static const char *const etc[] = {"hosts", "hostname", "resolv.conf"};
    const char *options = f->nc->security.read_only_root ? "rprivate,ro" : "rprivate,rw";
    for (size_t i = 0; i < ARRAY_LEN(etc); i++) {
        const char *to = pool_printf(f->pool, "/etc/%s", etc[i]).p;
        if (!mounted_by_user(f, to))
            add_mount(f, to, pool_printf(f->pool, "%s/etc/%s", p->dir, etc[i]).p, options);
    }
    if (!mounted_by_user(f, "/dev/shm"))
        add_mount(f, "/dev/shm", p->spec.host_ipc ? "/dev/shm" : pool_printf(f->pool, "%s/shm", p->run).p, "rprivate,rw");
    struct str message = f->nc->termination_path;
    if (destination_ok(message) && str_starts(message, STR("/")))
        add_mount(f, pool_strz(f->pool, message), pool_printf(f->pool, "%s/termination-log", f->c->bundle).p, "rprivate,rw");
    /* parents before what stands in them */
    for (int depth = 0, most = 0; depth <= most; depth++)
        for (size_t i = 0; i < f->nc->nmounts; i++) {
            int own = depth_of(f->nc->mounts[i].path);
            most = MAX(most, MIN(own, 64));
            int r = MIN(own, 64) == depth ? add_volume(f, i, e) : 0;
            if (r < 0)
                return r;
        }
    f->out->mounts = f->mounts;
    return 0;
}

static void add_device(struct fill *f, const char *path, const struct stat *st)
{
    if (f->out->ndevices < DEVICES_MAX)
        f->devices[f->out->ndevices++] = (struct oci_device){
            path, S_ISBLK(st->st_mode) ? 'b' : 'c', major(st->st_rdev), minor(st->st_rdev), st->st_mode & 0777, st->st_uid, st->st_gid};
}

/* A privileged container sees the host's devices, but for what its own /dev has. */
static void all_devices(struct fill *f, const char *dir, int depth)
{
    static const char *const skip[] = {"pts", "shm", "fd", "mqueue", ".", "..", "console", "ptmx", "null", "zero", "full", "tty", "random",
        "urandom", "stdin", "stdout", "stderr"};
    DIR *d = opendir(dir);
    for (struct dirent *x; d && (x = readdir(d));) {
        bool skipped = false;
        for (size_t i = 0; i < ARRAY_LEN(skip); i++)
            skipped |= strcmp(x->d_name, skip[i]) == 0;
        const char *path = pool_printf(f->pool, "%s/%s", dir, x->d_name).p;
        struct stat st;
        if (skipped || lstat(path, &st) < 0)
            continue;
        if (S_ISDIR(st.st_mode) && depth < 4)
            all_devices(f, path, depth + 1);
        else if (S_ISCHR(st.st_mode) || S_ISBLK(st.st_mode))
            add_device(f, path, &st);
    }
    if (d)
        closedir(d);
}

static int add_devices(struct fill *f, struct err **e)
{
    f->devices = pool_array(f->pool, struct oci_device, DEVICES_MAX);
    if (f->nc->security.privileged)
        all_devices(f, "/dev", 0);
    for (size_t i = 0; i < f->nc->ndevices; i++) {
        const struct node_volume *v = volume_of(f->p, f->nc->devices[i].volume);
        struct stat st;
        if (!v || stat(pool_strz(f->pool, v->path), &st) < 0 || !(S_ISBLK(st.st_mode) || S_ISCHR(st.st_mode)) ||
            !destination_ok(f->nc->devices[i].path))
            return err_set(e, ERR_INVALID, "config: volume \"%.*s\" is no device", STR_ARG(f->nc->devices[i].volume));
        add_device(f, pool_strz(f->pool, f->nc->devices[i].path), &st);
    }
    f->out->devices = f->devices;
    return 0;
}

static struct str env_value(const struct fill *f, const struct node_env *v, const struct str *env, size_t nenv)
{
    switch (v->kind) {
    case ENV_POD_IP:
    case ENV_POD_IPS:
        return f->p->spec.host_network ? node_host_ip(f->p->node, f->pool) : str_of(f->p->ip ? f->p->ip : "");
    case ENV_HOST_IP:
        return node_host_ip(f->p->node, f->pool);
    default:
        return oci_expand(f->pool, v->value, env, nenv);
    }
}

/* What the pod declares, expanded in order, over what the image declares. */
static int environment(struct fill *f, struct str home, struct err **e)
{
    size_t cap = f->image->config.nenv + f->nc->nenv + 8, n = 0, declared = 0;
    struct str *env = pool_array(f->pool, struct str, cap), *own = pool_array(f->pool, struct str, cap), k, v;
    _cleanup_(buf_clear) struct buf hostname = BUF_INIT;
    for (size_t i = 0; i < f->nc->nenv; i++) {
        struct str name = f->nc->env[i].name;
        if (str_empty(name) || str_chr(name, '=') >= 0 || memchr(name.p, 0, name.n))
            return err_set(e, ERR_INVALID, "config: env[%zu].name \"%.*s\" is not valid", i, STR_ARG(name));
        declared = oci_env_set(f->pool, own, declared, name, env_value(f, &f->nc->env[i], own, declared));
    }
    n = oci_env_set(f->pool, env, n, STR("PATH"), STR("/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"));
    n = oci_env_set(f->pool, env, n, STR("HOSTNAME"), pod_hostname(f->p, &hostname));
    if (f->nc->tty)
        n = oci_env_set(f->pool, env, n, STR("TERM"), STR("xterm"));
    n = oci_env_set(f->pool, env, n, STR("HOME"), home);
    for (size_t i = 0; i < f->image->config.nenv; i++)
        if (str_cut(f->image->config.env[i], '=', &k, &v))
            n = oci_env_set(f->pool, env, n, k, v);
    for (size_t i = 0; i < declared; i++)
        if (str_cut(own[i], '=', &k, &v))
            n = oci_env_set(f->pool, env, n, k, v);
    f->out->env = env;
    f->out->nenv = n;
    const struct image_config *ic = &f->image->config;
    const struct node_container *c = f->nc;
    size_t nc = c->ncommand ? c->ncommand : ic->nentrypoint, na = c->nargs ? c->nargs : c->ncommand ? 0 : ic->ncmd;
    const struct str *command = c->ncommand ? c->command : ic->entrypoint, *args = c->nargs ? c->args : ic->cmd;
    struct str *argv = pool_array(f->pool, struct str, nc + na + 1);
    for (size_t i = 0; i < nc; i++)
        argv[i] = c->ncommand ? oci_expand(f->pool, command[i], own, declared) : command[i];
    for (size_t i = 0; i < na; i++)
        argv[nc + i] = c->nargs ? oci_expand(f->pool, args[i], own, declared) : args[i];
    if (nc + na == 0)
        return err_set(e, ERR_INVALID, "config: no command specified");
    f->out->args = argv;
    f->out->nargs = nc + na;
    return 0;
}

static int identity(struct fill *f, int root_fd, struct str *home, struct err **e)
{
    const struct node_security *s = &f->nc->security;
    struct users_result u;
    int r = users_resolve(f->pool, root_fd, f->image->config.user, s->uid, s->gid, &u, e);
    if (r < 0)
        return err_wrap(e, "config"), r;
    if (s->run_as_non_root && u.uid == 0)
        return err_set(e, ERR_FORBIDDEN, "config: container has runAsNonRoot and image will run as root");
    const struct pod *p = f->p;
    uint32_t *groups = pool_array(f->pool, uint32_t, u.ngroups + p->spec.nsupplemental + 2);
    size_t n = 0;
    for (size_t i = 0; i < u.ngroups && !p->spec.strict_groups; i++)
        groups[n++] = u.groups[i];
    for (size_t i = 0; i < p->spec.nsupplemental; i++) {
        uint64_t gid;
        if (!str_to_u64(p->spec.supplemental_groups[i], &gid) || gid > INT32_MAX)
            return err_set(e, ERR_INVALID, "config: supplementalGroups[%zu] is not a number", i);
        groups[n++] = (uint32_t)gid;
    }
    if (p->spec.fs_group >= 0)
        groups[n++] = (uint32_t)p->spec.fs_group;
    f->out->uid = u.uid;
    f->out->gid = u.gid;
    f->out->groups = groups;
    f->out->ngroups = n;
    *home = u.home;
    return 0;
}

static int capabilities(struct fill *f, struct err **e)
{
    const struct node_security *s = &f->nc->security;
    uint64_t set = s->privileged ? CAPS_ALL : caps_default(), mask;
    /* "ALL" first, then single names, whatever their order: a drop of ALL keeps what is added by name */
    for (int pass = 0; pass < 2; pass++) {
        for (size_t i = 0; i < s->nadd; i++) {
            int r = caps_parse(s->add_caps[i], &mask, e);
            if (r < 0)
                return err_wrap(e, "config"), r;
            if ((mask == CAPS_ALL) == (pass == 0))
                set |= mask;
        }
        for (size_t i = 0; i < s->ndrop; i++) {
            int r = caps_parse(s->drop_caps[i], &mask, e);
            if (r < 0)
                return err_wrap(e, "config"), r;
            if ((mask == CAPS_ALL) == (pass == 0))
                set &= ~mask;
        }
    }
    f->out->caps = set & caps_bounding();
    return 0;
}

static int profile(struct fill *f, struct err **e)
{
    const struct node_security *s = &f->nc->security;
    struct str name = s->seccomp;
    if (str_eq(name, STR("unconfined"))) {
        f->out->seccomp = OCI_SECCOMP_NONE;
    } else if (str_starts(name, STR("localhost/"))) {
        _cleanup_(freep) char *folder = xasprintf("%s/seccomp", f->p->node->opt->data_dir);
        _cleanup_(closep) int dir = open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
        int fd = dir < 0 ? -ENOENT : users_open_in_root(dir, pool_strz(f->pool, str_sub(name, 10, name.n)), O_RDONLY | O_NONBLOCK);
        if (fd < 0)
            return err_set(e, ERR_NOT_FOUND, "config: seccomp profile \"%.*s\" is not in %s", STR_ARG(name), folder);
        char *text = pool_alloc(f->pool, PROFILE_MAX);
        ssize_t n = read(fd, text, PROFILE_MAX);
        close(fd);
        if (n <= 0)
            return err_set(e, ERR_PARSE, "config: seccomp profile \"%.*s\" cannot be read", STR_ARG(name));
        f->out->seccomp = OCI_SECCOMP_FILE;
        f->out->seccomp_profile = str_make(text, (size_t)n);
    } else if (!str_empty(name) && !str_eq(name, STR("runtime/default"))) {
        return err_set(e, ERR_INVALID, "config: seccomp profile \"%.*s\" is not known", STR_ARG(name));
    }
    if (str_starts(s->apparmor, STR("localhost/")))
        f->out->apparmor = str_sub(s->apparmor, 10, s->apparmor.n);
    return 0;
}

/* An ephemeral container that is to see another's processes joins its process namespace. */
static int target_pids(struct fill *f, struct err **e)
{
    const struct container *t = str_empty(f->nc->target) ? NULL : pod_container(f->p, f->nc->target);
    if (str_empty(f->nc->target) || f->p->spec.host_pid || f->p->spec.share_pids)
        return 0;
    if (!t || t->state != CON_RUNNING || t->pid <= 1 || process_start_time(t->pid) != t->pid_start)
        return err_set(e, ERR_UNAVAILABLE, "config: target container \"%.*s\" is not running", STR_ARG(f->nc->target));
    f->out->pid_ns = pool_printf(f->pool, "/proc/%d/ns/pid", (int)t->pid).p;
    return 0;
}

static void namespaces(struct fill *f)
{
    const struct pod *p = f->p;
    pid_t pause = sandbox_process(p->sandbox).pid;
    const char *base = pool_printf(f->pool, "/proc/%d/ns", (int)pause).p;
    f->out->net_ns = p->spec.host_network ? NULL : pool_printf(f->pool, "%s/net", base).p;
    f->out->uts_ns = p->spec.host_network ? NULL : pool_printf(f->pool, "%s/uts", base).p;
    f->out->ipc_ns = p->spec.host_ipc ? NULL : pool_printf(f->pool, "%s/ipc", base).p;
    f->out->pid_ns = p->spec.host_pid ? NULL : p->spec.share_pids ? pool_printf(f->pool, "%s/pid", base).p : "";
    f->out->cgroup_ns = cgroups_v2(p->node->cgroups);
}

/* The working folder is made when the image has none of that name, inside the image whatever its links say. */
static void make_cwd(int root_fd, struct str cwd, uint32_t uid, uint32_t gid)
{
    for (size_t i = 1; i <= cwd.n; i++) {
        if (i < cwd.n && cwd.p[i] != '/')
            continue;
        _cleanup_(freep) char *part = xmemdup0(cwd.p, i);
        char *slash = strrchr(part, '/');
        int fd = users_open_in_root(root_fd, part, O_PATH);
        if (fd >= 0) {
            close(fd);
            continue;
        }
        _cleanup_(freep) char *parent = xmemdup0(part, (size_t)(slash - part) + 1);
        _cleanup_(closep) int at = users_open_in_root(root_fd, parent, O_PATH | O_DIRECTORY);
        if (at < 0 || mkdirat(at, slash + 1, 0755) < 0 || fchownat(at, slash + 1, uid, gid, AT_SYMLINK_NOFOLLOW) < 0)
            return; /* the OCI runtime will say that it cannot go there */
    }
}

int con_fill(void *con, struct pool *pool, int root_fd, struct oci_spec *out, struct err **e)
{
    struct container *c = con;
    struct fill f = {c, c->pod, c->spec, image_find(c->pod->node->images, c->spec->image), pool, out,
        pool_array(pool, struct oci_mount, MOUNTS_MAX), NULL};
    struct str home = STR("/");
    if (!f.image)
        return err_set(e, ERR_NOT_FOUND, "config: its image is gone");
    int r = identity(&f, root_fd, &home, e);
    if (r == 0)
        r = environment(&f, home, e);
    if (r == 0)
        r = capabilities(&f, e);
    if (r == 0)
        r = profile(&f, e);
    if (r == 0)
        r = add_mounts(&f, e);
    if (r == 0)
        r = add_devices(&f, e);
    if (r < 0)
        return r;
    const struct node_security *s = &c->spec->security;
    out->tty = c->spec->tty;
    out->read_only = s->read_only_root;
    out->no_new_privs = s->no_new_privs;
    out->privileged = s->privileged;
    out->proc_unmasked = s->proc_unmasked;
    out->cwd = !str_empty(c->spec->working_dir)          ? c->spec->working_dir
               : !str_empty(f.image->config.working_dir) ? f.image->config.working_dir
                                                         : STR("/");
    if (!str_starts(out->cwd, STR("/")))
        return err_set(e, ERR_INVALID, "config: workingDir \"%.*s\" must be absolute", STR_ARG(out->cwd));
    make_cwd(root_fd, out->cwd, out->uid, out->gid);
    namespaces(&f);
    if ((r = target_pids(&f, e)) < 0)
        return r;
    out->cgroup = pool_printf(pool, "/%s/%s", c->pod->cgroup, c->id).p;
    out->limits = (struct cgroup_limits){c->spec->cpu_request_milli, c->spec->cpu_limit_milli, c->spec->memory_limit, c->spec->pids_limit};
    out->oom_score_adj = possible_score(con_oom_score(c->pod, c->spec));
    return 0;
}
