#include <errno.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/file.h"
#include "node/impl.h"

#define RETRY_FIRST (1 * NS_PER_S)
#define RETRY_MAX (60 * NS_PER_S)
#define SETUP_MAX (120 * NS_PER_S)
#define POD_OVERHEAD (16 << 20) /* of memory above the sum of limits: pause, conmons, the OCI runtime while it starts */

struct str pod_hostname(const struct pod *p, struct buf *out)
{
    struct str h = str_empty(p->spec.hostname) ? p->spec.name : p->spec.hostname;
    if (p->spec.fqdn_hostname && !str_empty(p->spec.subdomain))
        buf_printf(out, "%.*s.%.*s.%.*s.svc.%.*s", STR_ARG(h), STR_ARG(p->spec.subdomain), STR_ARG(p->spec.ns),
            STR_ARG(p->node->config.cluster_domain));
    else
        buf_str_add(out, str_sub(h, 0, MIN(h.n, 63)));
    return buf_str(out);
}

static int write_file(struct pod *p, const char *name, struct str text, struct err **e)
{
    _cleanup_(freep) char *path = xasprintf("%s/etc/%s", p->dir, name);
    int r = journal_replace(path, text, e);
    if (r == 0 && chmod(path, 0644) < 0)
        r = err_errno(e, errno, "%s", path);
    return r;
}

static void hosts_text(struct pod *p, struct str hostname, struct buf *b)
{
    if (p->spec.host_network) {
        buf_puts(b, "# Kubernetes-managed hosts file (host network).\n");
        (void)!file_read("/etc/hosts", 1 << 20, b, NULL);
    } else {
        buf_puts(b,
            "# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::0\tip6-localnet\n"
            "fe00::0\tip6-mcastprefix\nfe00::1\tip6-allnodes\nfe00::2\tip6-allrouters\n");
        if (p->ip && !str_empty(p->spec.subdomain))
            buf_printf(b, "%s\t%.*s.%.*s.%.*s.svc.%.*s\t%.*s\n", p->ip, STR_ARG(hostname), STR_ARG(p->spec.subdomain), STR_ARG(p->spec.ns),
                       STR_ARG(p->node->config.cluster_domain), STR_ARG(hostname));
        else if (p->ip)
            buf_printf(b, "%s\t%.*s\n", p->ip, STR_ARG(hostname));
    }
    if (p->spec.nhosts)
        buf_puts(b, "\n# Entries added by HostAliases.\n");
    for (size_t i = 0; i < p->spec.nhosts; i++)
        buf_printf(b, "%.*s\n", STR_ARG(p->spec.hosts[i]));
}

int pod_write_etc(struct pod *p, struct err **e)
{
    _cleanup_(freep) char *dir = xasprintf("%s/etc", p->dir);
    _cleanup_(buf_clear) struct buf name = BUF_INIT, text = BUF_INIT;
    int r = dir_make(dir, 0755, e);
    struct str hostname = pod_hostname(p, &name);
    if (r == 0) {
        hosts_text(p, hostname, &text);
        r = write_file(p, "hosts", buf_str(&text), e);
    }
    buf_putc(&name, '\n');
    if (r == 0)
        r = write_file(p, "hostname", buf_str(&name), e);
    return r < 0 ? r : write_file(p, "resolv.conf", p->spec.resolv_conf, e);
}

void pod_volume_dirs(const struct pod *p, struct pool *pool, struct volume_dirs *out)
{
    out->data = pool_printf(pool, "%s/volumes", p->dir).p;
    out->run = p->run;
}

void pod_volume(const struct pod *p, const struct node_volume *v, struct volume *out, struct pool *pool)
{
    struct volume_file *files = pool_array(pool, struct volume_file, v->nfiles + 1);
    for (size_t i = 0; i < v->nfiles; i++)
        files[i] = (struct volume_file){v->files[i].path, v->files[i].data, (uint32_t)v->files[i].mode, v->files[i].uid};
    *out = (struct volume){v->name, (enum volume_kind)v->kind, v->path, v->path_type, v->in_memory, v->give, p->spec.fs_group_on_mismatch,
        v->size_limit, files, v->nfiles, image_layers_dir(p->node->images), NULL};
    const struct image *i = v->kind == VOL_IMAGE ? image_find(p->node->images, v->image) : NULL;
    if (i) {
        struct buf b = BUF_INIT;
        image_lower(i, &b);
        out->lower = buf_to_pool(&b, pool).p;
    }
}

/* In the sandbox's child: the pod's own /dev/shm and its volumes. */
static int prepare(void *arg, struct err **e)
{
    struct pod *p = arg;
    _cleanup_(pool_freep) struct pool *pool = pool_new();
    struct volume_dirs dirs;
    pod_volume_dirs(p, pool, &dirs);
    const char *shm = pool_printf(pool, "%s/shm", p->run).p;
    int r = dir_make(shm, 0755, e);
    if (r == 0 && !p->spec.host_ipc && mount("shm", shm, "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=1777,size=65536k") < 0)
        r = err_errno(e, errno, "mount /dev/shm");
    for (size_t i = 0; r == 0 && i < p->spec.nvolumes; i++) {
        struct volume v;
        pod_volume(p, &p->spec.volumes[i], &v, pool);
        r = volume_setup(&dirs, &v, p->spec.fs_group, e);
    }
    return r;
}

static void abandon(struct pod *p, const char *what, const struct err *e);

static void on_retry(struct timer *t)
{
    struct pod *p = container_of(t, struct pod, retry);
    if (p->state == PS_SETUP) { /* a volume that does not answer */
        _cleanup_(err_freep) struct err *e = NULL;
        err_set(&e, ERR_TIMEOUT, "volumes and namespaces were not ready in time");
        abandon(p, "Failed to create pod sandbox", e);
    } else if (p->state == PS_WAITING) {
        pod_move(p, PS_NEW);
        pod_kick(p);
    }
}

static void put_off(struct pod *p, const char *what, const struct err *e)
{
    const char *reason = strncmp(err_msg(e), "volume", 6) == 0 ? "FailedMount"
                         : e->code == ERR_UNAVAILABLE          ? "NetworkNotReady"
                                                               : "FailedCreatePodSandBox";
    if (!p->logged_wait || p->setup_delay >= 8 * NS_PER_S)
        pod_event(p, STR_NULL, true, reason, "%s: %s", what, err_msg(e));
    p->logged_wait = true;
    p->setup_delay = p->setup_delay ? MIN(p->setup_delay * 2, RETRY_MAX) : RETRY_FIRST;
    pod_move(p, PS_WAITING);
    pod_save(p);
    timer_set(p->node->loop, &p->retry, clock_mono(NULL) + p->setup_delay, on_retry);
    pod_kick(p); /* a stop may be waiting */
}

/* The failed half of a sandbox is killed before the next try. */
static void abandon(struct pod *p, const char *what, const struct err *e)
{
    sandbox_free(TAKE(p->sandbox));
    (void)!cgroup_kill(p->node->cgroups, p->sandbox_cgroup, 1000, NULL);
    put_off(p, what, e);
}

static int attach(struct pod *p, struct err **e)
{
    if (p->spec.host_network || !p->node->net)
        return p->spec.host_network ? 0 : err_set(e, ERR_UNAVAILABLE, "network is not configured");
    struct net_port ports[256];
    size_t n = 0;
    for (size_t i = 0; i < p->spec.ncontainers; i++)
        for (size_t k = 0; k < p->spec.containers[i].nports; k++) {
            const struct node_port *q = &p->spec.containers[i].ports[k];
            if (q->host_port && q->host_port <= 65535 && q->container_port <= 65535 && n < ARRAY_LEN(ports))
                ports[n++] = (struct net_port){(uint16_t)q->container_port, (uint16_t)q->host_port, q->protocol, q->host_ip};
        }
    if (p->spec.policed && !net_policed(p->node->net, str_of(p->uid)))
        return err_set(e, ERR_UNAVAILABLE, "the pod's network policies are not known yet");
    char ip[NET_ADDR_TEXT];
    struct net_pod np = {str_of(p->uid), p->ip ? str_of(p->ip) : p->spec.ip, sandbox_net_ns(p->sandbox), ports, n};
    int r = net_attach(p->node->net, &np, ip, e);
    if (r == 0)
        set_text(&p->ip, ip);
    return r;
}

static void on_sandbox(void *owner, const struct err *failed)
{
    struct pod *p = owner;
    if (p->state != PS_SETUP)
        return; /* stopped meanwhile: cleaning deals with it */
    _cleanup_(err_freep) struct err *e = NULL;
    if (failed) {
        abandon(p, "Failed to create pod sandbox", failed);
        return;
    }
    int r = attach(p, &e);
    if (r == 0)
        r = pod_write_etc(p, &e);
    if (r < 0) {
        abandon(p, "Failed to create pod sandbox: network", e);
        return;
    }
    timer_del(&p->retry);
    p->setup_delay = 0;
    p->logged_wait = false;
    sandbox_on_death(p->sandbox, pod_sandbox_died, p);
    pod_move(p, PS_READY);
    pod_save(p);
    pod_report(p);
    pod_kick(p);
}

static int make_groups(struct pod *p, struct err **e)
{
    struct cgroups *g = p->node->cgroups;
    if (!p->cgroup) {
        struct buf b = BUF_INIT;
        cgroup_pod_path(g, p->spec.qos, str_of(p->uid), &b);
        p->cgroup = buf_take(&b);
        p->sandbox_cgroup = xasprintf("%s/sandbox", p->cgroup);
    }
    int r = cgroup_make(g, p->sandbox_cgroup, e);
    return r < 0 ? r : pod_limit(p, e);
}

int pod_limit(struct pod *p, struct err **e)
{
    struct cgroup_limits l = {0};
    bool all_cpu = true, all_memory = true;
    for (size_t i = 0; i < p->spec.ncontainers; i++) {
        const struct node_container *c = &p->spec.containers[i];
        if (c->kind != CON_MAIN && c->kind != CON_SIDECAR)
            continue;
        l.cpu_request_milli += c->cpu_request_milli;
        l.cpu_limit_milli += c->cpu_limit_milli;
        l.memory += c->memory_limit;
        all_cpu &= c->cpu_limit_milli > 0;
        all_memory &= c->memory_limit > 0;
    }
    for (size_t i = 0; i < p->spec.ncontainers; i++) { /* an init container may be larger than all that follow */
        const struct node_container *c = &p->spec.containers[i];
        all_memory &= c->kind != CON_INIT || c->memory_limit > 0;
        all_cpu &= c->kind != CON_INIT || c->cpu_limit_milli > 0;
        if (c->kind == CON_INIT) {
            l.memory = MAX(l.memory, c->memory_limit);
            l.cpu_limit_milli = MAX(l.cpu_limit_milli, c->cpu_limit_milli);
        }
    }
    l.cpu_limit_milli = all_cpu ? l.cpu_limit_milli : 0;
    l.memory = all_memory ? l.memory + POD_OVERHEAD : 0;
    l.pids = p->node->config.settings.pod_pids;
    return cgroup_limit(p->node->cgroups, p->cgroup, &l, e);
}

static int start_sandbox(struct pod *p, struct err **e)
{
    _cleanup_(pool_freep) struct pool *pool = pool_new();
    _cleanup_(buf_clear) struct buf hostname = BUF_INIT;
    const char *const dirs[] = {p->dir, p->run, pool_printf(pool, "%s/volumes", p->dir).p, pool_printf(pool, "%s/logs", p->dir).p,
        pool_printf(pool, "%s/c", p->dir).p};
    int r = make_groups(p, e);
    for (size_t i = 0; r == 0 && i < ARRAY_LEN(dirs); i++)
        r = dir_make(dirs[i], 0700, e);
    if (r == 0)
        r = storage_provide(p, e);
    if (r < 0)
        return r;
    struct sandbox_sysctl *sysctls = pool_array(pool, struct sandbox_sysctl, p->spec.nsysctls + 1);
    for (size_t i = 0; i < p->spec.nsysctls; i++)
        sysctls[i] = (struct sandbox_sysctl){pool_strz(pool, p->spec.sysctls[i].name), pool_strz(pool, p->spec.sysctls[i].value)};
    pod_hostname(p, &hostname);
    struct sandbox_spec s = {.dir = p->run,
        .hostname = p->spec.host_network ? NULL : hostname.p,
        .host_network = p->spec.host_network,
        .host_ipc = p->spec.host_ipc,
        .share_pids = p->spec.share_pids && !p->spec.host_pid,
        .sysctls = sysctls,
        .nsysctls = p->spec.nsysctls,
        .cgroup = p->sandbox_cgroup,
        .prepare = prepare,
        .arg = p};
    r = sandbox_start(p->node->loop, p->node->cgroups, &s, &p->sandbox, e);
    if (r < 0)
        return r;
    pod_save(p);
    timer_set(p->node->loop, &p->retry, clock_mono(NULL) + SETUP_MAX, on_retry);
    return sandbox_go(p->sandbox, on_sandbox, p, e);
}

const char *pod_handler(struct pod *p, struct err **e)
{
    struct str name = p->spec.runtime_handler;
    if (str_empty(name))
        return p->node->crun;
    if (!p->handler) {
        _cleanup_(freep) char *z = str_dup(name);
        for (size_t i = 0; i < name.n; i++)
            if (!memchr("abcdefghijklmnopqrstuvwxyz0123456789-", name.p[i], 37))
                z[0] = '/'; /* no path, and nothing that is one */
        p->handler = z[0] == '/' ? NULL : runtime_find(z);
    }
    if (!p->handler)
        err_set(e, ERR_INVALID, "no runtime for \"%.*s\" is configured", STR_ARG(name));
    return p->handler;
}

/* What this node cannot do is said, not done halfway. */
static int check_possible(struct pod *p, struct err **e)
{
    if (!p->spec.host_users) /* crun 1.8 predates id-mapped root file systems */
        return err_set(e, ERR_NOT_IMPLEMENTED, "hostUsers: false: user namespaces are not supported by this node's OCI runtime");
    /* after a reboot nothing is mounted where a plugin had published it, and the folder may be there all the same: only gate knows */
    for (size_t i = 0; i < p->spec.nvolumes && !p->synced; i++)
        if (p->spec.volumes[i].kind == VOL_CSI)
            return err_set(e, ERR_UNAVAILABLE, "volume \"%.*s\": its plugin has not published it yet", STR_ARG(p->spec.volumes[i].name));
    return pod_handler(p, e) ? 0 : -ERR_INVALID;
}

void pod_setup(struct pod *p)
{
    _cleanup_(err_freep) struct err *e = NULL;
    pod_move(p, PS_SETUP);
    if (check_possible(p, &e) < 0)
        put_off(p, "Failed to create pod sandbox", e);
    else if (start_sandbox(p, &e) < 0)
        abandon(p, "Failed to create pod sandbox", e);
}

void pod_sandbox_died(void *owner)
{
    struct pod *p = owner;
    if (p->state != PS_READY)
        return;
    pod_event(p, STR_NULL, false, "SandboxChanged", "Pod sandbox changed, it will be killed and re-created.");
    pod_reset(p);
}
