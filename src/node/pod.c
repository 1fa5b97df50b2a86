#include <sys/stat.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "node/impl.h"

static void pod_step(struct pod *p);

bool pod_uid_ok(struct str uid)
{
    if (str_empty(uid) || uid.n > UID_MAX)
        return false;
    for (size_t i = 0; i < uid.n; i++)
        if (!memchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_", uid.p[i], 64))
            return false;
    return true;
}

/* Names of containers become folders and cgroups; a label is what Kubernetes allows. */
static bool label_ok(struct str s)
{
    if (str_empty(s) || s.n > 63)
        return false;
    for (size_t i = 0; i < s.n; i++)
        if (!memchr("abcdefghijklmnopqrstuvwxyz0123456789-", s.p[i], 37))
            return false;
    return s.p[0] != '-';
}

struct pod *node_pod_by_uid(struct node *n, struct str uid) { return map_get(&n->pods, uid); }

struct pod *pod_new(struct node *n, struct str uid)
{
    struct pod *p = xcalloc(1, sizeof *p);
    p->node = n;
    p->uid = str_dup(uid);
    p->dir = xasprintf("%s/%s", n->pods_dir, p->uid);
    p->run = xasprintf("%s/%s", n->run_pods_dir, p->uid);
    p->pool = pool_new();
    p->started = node_now(n);
    p->grace_ns = -1;
    map_put(&n->pods, uid, p);
    return p;
}

void pod_free(struct pod *p)
{
    if (!p)
        return;
    helper_cancel(p->helper);
    for (size_t i = 0; i < p->nc; i++)
        con_free(p->c[i]);
    free(p->c);
    timer_del(&p->retry);
    timer_del(&p->deadline);
    timer_del(&p->resize_retry);
    defer_del(p->node->loop, &p->step);
    defer_del(p->node->loop, &p->report);
    sandbox_free(p->sandbox);
    pool_free(p->pool);
    free(p->uid);
    free(p->dir);
    free(p->run);
    free(p->cgroup);
    free(p->sandbox_cgroup);
    free(p->ip);
    free(p->reason);
    free(p->message);
    free(p->handler);
    free(p->resize_error);
    free(p);
}

struct container *pod_container(struct pod *p, struct str name)
{
    for (size_t i = 0; i < p->nc; i++)
        if (str_eqz(name, p->c[i]->name))
            return p->c[i];
    return NULL;
}

static int check_spec(const struct node_pod *s, struct err **e)
{
    if (!pod_uid_ok(s->uid))
        return err_set(e, ERR_INVALID, "pod uid \"%.*s\" is not valid", STR_ARG(s->uid));
    if (str_empty(s->name) || s->ncontainers == 0)
        return err_set(e, ERR_INVALID, "pod %.*s: has no name or no containers", STR_ARG(s->uid));
    for (size_t i = 0; i < s->ncontainers; i++) {
        const struct node_container *c = &s->containers[i];
        if (!label_ok(c->name))
            return err_set(e, ERR_INVALID, "containers[%zu].name \"%.*s\" is not valid", i, STR_ARG(c->name));
        for (size_t k = 0; k < i; k++)
            if (str_eq(c->name, s->containers[k].name))
                return err_set(e, ERR_INVALID, "containers[%zu].name \"%.*s\" comes twice", i, STR_ARG(c->name));
    }
    for (size_t i = 0; i < s->nvolumes; i++) {
        struct volume v = {.name = s->volumes[i].name, .kind = (enum volume_kind)s->volumes[i].kind, .path = s->volumes[i].path};
        int r = volume_check(&v, e);
        if (r < 0)
            return r;
    }
    return 0;
}

static void bind_containers(struct pod *p)
{
    for (size_t i = 0; i < p->nc; i++)
        p->c[i]->spec = NULL;
    for (size_t i = 0; i < p->spec.ncontainers; i++) {
        const struct node_container *s = &p->spec.containers[i];
        struct container *c = pod_container(p, s->name);
        if (!c)
            c = con_new(p, s->name, s->kind);
        c->spec = s;
        c->kind = s->kind;
    }
}

int pod_take_spec(struct pod *p, struct str body, struct err **e)
{
    struct pool *pool = pool_new();
    struct node_pod spec;
    int r = wire_decode(&node_pod_type, pool_str(pool, body), pool, &spec, e);
    if (r == 0)
        r = check_spec(&spec, e);
    if (r < 0) {
        pool_free(pool);
        return r;
    }
    pool_free(p->pool);
    p->pool = pool;
    p->spec = spec;
    bind_containers(p);
    return 0;
}

static void on_qos(struct defer *d)
{
    struct node *n = container_of(d, struct node, qos);
    int64_t milli[2] = {0, 0};
    map_for(&n->pods, it) {
        const struct pod *p = it->value;
        bool guaranteed = str_eq(p->spec.qos, STR("Guaranteed"));
        for (size_t i = 0; p->state != PS_FINISHED && i < p->spec.ncontainers; i++)
            milli[!guaranteed] += p->spec.containers[i].kind == CON_INIT ? 0 : p->spec.containers[i].cpu_request_milli;
    }
    if (n->cgroups)
        cgroup_qos_shares(n->cgroups, milli[0], milli[1]);
}

void node_qos_changed(struct node *n)
{
    loop_defer(n->loop, &n->qos, on_qos);
}

/* Volumes of files of a running pod follow the spec; nothing is written for those that are as they should be. */
static void refresh_volumes(struct pod *p)
{
    for (size_t i = 0; p->state == PS_READY && i < p->spec.nvolumes; i++) {
        _cleanup_(err_freep) struct err *e = NULL;
        if (p->spec.volumes[i].kind == VOL_FILES && pod_refresh_volume(p, &p->spec.volumes[i], &e) < 0)
            pod_event(p, STR_NULL, true, "FailedMount", "%s", err_msg(e));
    }
}

int pod_refresh_volume(struct pod *p, const struct node_volume *nv, struct err **e)
{
    _cleanup_(pool_freep) struct pool *pool = pool_new();
    struct volume v;
    struct volume_dirs dirs;
    if (!p->sandbox || p->state != PS_READY)
        return err_set(e, ERR_NOT_FOUND, "pod %s is not running on this node", p->uid);
    pod_volume(p, nv, &v, pool);
    pod_volume_dirs(p, pool, &dirs);
    const char *root = pool_printf(pool, "/proc/%d/root", (int)sandbox_process(p->sandbox).pid).p;
    return volume_update(root, &dirs, &v, p->spec.fs_group, e);
}

int pod_take_volume(struct pod *p, const struct node_volume *v, struct err **e)
{
    _cleanup_(pool_freep) struct pool *pool = pool_new();
    _cleanup_(buf_clear) struct buf body = BUF_INIT;
    _cleanup_(freep) char *path = xasprintf("%s/spec", p->dir);
    struct node_pod spec = p->spec;
    bool found = false;
    spec.volumes = pool_array(pool, struct node_volume, spec.nvolumes + 1);
    for (size_t i = 0; i < spec.nvolumes; i++) {
        bool same = str_eq(p->spec.volumes[i].name, v->name) && p->spec.volumes[i].kind == VOL_FILES &&
                    p->spec.volumes[i].in_memory == v->in_memory;
        spec.volumes[i] = same ? *v : p->spec.volumes[i];
        found |= same;
    }
    if (!found)
        return err_set(e, ERR_NOT_FOUND, "pod %s has no volume of files \"%.*s\"", p->uid, STR_ARG(v->name));
    wire_encode(&node_pod_type, &spec, &body);
    int r = pod_refresh_volume(p, v, e);
    if (r == 0)
        r = pod_take_spec(p, buf_str(&body), e);
    return r < 0 ? r : journal_replace(path, buf_str(&body), e);
}

int pod_receive(struct node *n, struct str body, struct err **e)
{
    _cleanup_(pool_freep) struct pool *pool = pool_new();
    struct node_pod spec;
    int r = wire_decode(&node_pod_type, body, pool, &spec, e);
    if (r == 0)
        r = check_spec(&spec, e);
    for (size_t i = 0; r == 0 && i < spec.nvolumes; i++)
        if (spec.volumes[i].kind == VOL_CSI && !plugins_target_ok(n, spec.uid, spec.volumes[i].path))
            r = err_set(e, ERR_FORBIDDEN, "volume %.*s: \"%.*s\" is not where a plugin publishes it", STR_ARG(spec.volumes[i].name),
                STR_ARG(spec.volumes[i].path));
    if (r < 0)
        return r;
    struct pod *p = node_pod_by_uid(n, spec.uid);
    bool fresh = !p;
    if (fresh && map_count(&n->pods) >= (n->config.max_pods ? n->config.max_pods : 250) * 2)
        return err_set(e, ERR_LIMIT, "too many pods on this node");
    if (fresh)
        p = pod_new(n, spec.uid);
    p->synced = true;
    if (p->stop)
        return 0; /* on its way out: a deletion is not taken back */
    r = pod_take_spec(p, body, e);
    if (r == 0)
        r = dir_make(p->dir, 0700, e);
    _cleanup_(freep) char *path = xasprintf("%s/spec", p->dir);
    if (r == 0)
        r = journal_replace(path, body, e);
    if (r < 0 && fresh) {
        map_del(&n->pods, spec.uid);
        pod_free(p);
        return r;
    }
    if (fresh) {
        p->applied = p->spec.generation;
        pod_save(p);
    } else {
        pod_resize(p);
        refresh_volumes(p);
    }
    node_qos_changed(n);
    pod_kick(p);
    pod_report(p);
    return r;
}

void pod_stop(struct pod *p, int64_t grace_s, struct str reason)
{
    int64_t grace = MIN(MAX(grace_s, 0), INT64_C(1000000)) * NS_PER_S, until = clock_mono(NULL) + grace;
    if (!p->stop || until < p->stop_until) {
        p->stop_until = until;
        p->grace_ns = grace;
    }
    p->stop = true;
    if (!str_empty(reason) && !p->reason)
        p->reason = str_dup(reason);
    pod_save(p);
    pod_kick(p);
    pod_report(p);
}

void pod_fail(struct pod *p, const char *reason, const char *message)
{
    set_text(&p->reason, reason);
    set_text(&p->message, message);
    p->failed_final = true;
    pod_save(p);
    pod_report(p);
    pod_kick(p);
}

static void on_step(struct defer *d)
{
    pod_step(container_of(d, struct pod, step));
}

void pod_kick(struct pod *p)
{
    loop_defer(p->node->loop, &p->step, on_step);
}

static bool resting(const struct container *c)
{
    return c->state == CON_IDLE || c->state == CON_DONE;
}

static bool live(const struct container *c)
{
    return c->state == CON_RUNNING || c->state == CON_STOPPING;
}

/* Main containers first; sidecars, last started first, when no main one runs any more. Returns whether all rest. */
static bool stop_containers(struct pod *p, int64_t until, const char *why)
{
    bool all = true, mains = true;
    int64_t left = MAX(until - clock_mono(NULL), 0);
    for (size_t i = 0; i < p->nc; i++) {
        struct container *c = p->c[i];
        all &= resting(c);
        if (c->kind == CON_SIDECAR)
            continue;
        mains &= resting(c);
        if (live(c))
            con_stop(c, left, why);
    }
    for (size_t i = p->nc; mains && i-- > 0;) {
        struct container *c = p->c[i];
        if (c->kind != CON_SIDECAR || resting(c))
            continue;
        if (live(c))
            con_stop(c, left, why);
        break;
    }
    return all;
}

static void check_deadline(struct pod *p);

static void on_deadline(struct timer *t)
{
    check_deadline(container_of(t, struct pod, deadline));
}

static void check_deadline(struct pod *p)
{
    if (p->spec.active_deadline_s <= 0 || p->deadline_passed || p->stop || p->state == PS_FINISHED)
        return;
    int64_t left = p->started + p->spec.active_deadline_s * NS_PER_S - node_now(p->node);
    if (left > 0) {
        timer_set(p->node->loop, &p->deadline, clock_mono(NULL) + left, on_deadline);
        return;
    }
    p->deadline_passed = true;
    pod_event(p, STR_NULL, false, "DeadlineExceeded", "Pod was active on the node longer than the specified deadline");
    pod_fail(p, "DeadlineExceeded", "Pod was active on the node longer than the specified deadline");
}

/* A container that may run now and does not. */
static void want_running(struct container *c)
{
    if (c->state != CON_IDLE || !c->spec || str_empty(c->spec->image))
        return;
    int64_t now = clock_mono(NULL);
    if (c->next_at > now)
        return; /* its back-off timer will kick */
    con_start(c);
}

static bool succeeded(const struct container *c)
{
    return c->state == CON_DONE && c->now.reason && c->now.exit_code == 0;
}

/* Init containers one by one, sidecars among them in their places. Returns true when main containers may run. */
static bool step_init(struct pod *p)
{
    bool mains_ran = false;
    for (size_t i = 0; i < p->nc; i++)
        mains_ran |= p->c[i]->kind == CON_MAIN && p->c[i]->ran;
    for (size_t i = 0; i < p->nc; i++) {
        struct container *c = p->c[i];
        if (c->kind == CON_INIT) {
            if (succeeded(c) || mains_ran)
                continue;
            if (c->state == CON_DONE) { /* failed, and is not to be run again */
                p->failed_final = true;
                return false;
            }
            want_running(c);
            return false;
        }
        if (c->kind == CON_SIDECAR) {
            want_running(c);
            bool begun = c->state == CON_RUNNING && c->started_ok && (c->startup_ok || !c->spec || !c->spec->startup_probe);
            if (!begun && !mains_ran)
                return false;
        }
    }
    return true;
}

/* All main containers ended for good: what remains is stopped, the sandbox goes, the pod stays on show until gate lets it go. */
static bool mains_done(const struct pod *p)
{
    bool any = false;
    for (size_t i = 0; i < p->nc; i++) {
        if (p->c[i]->kind != CON_MAIN || !p->c[i]->spec)
            continue;
        if (p->c[i]->state != CON_DONE)
            return false;
        any = true;
    }
    return any;
}

static void restart_changed(struct container *c)
{
    if (c->state == CON_RUNNING && c->spec && c->spec->spec_hash != c->spec_hash && !str_empty(c->spec->image)) {
        c->want_restart = true;
        con_stop(c, con_grace(c), "Container definition changed, will be restarted");
    }
}

static void finish(struct pod *p)
{
    if (!stop_containers(p, clock_mono(NULL) + p->spec.grace_s * NS_PER_S, "Stopping container"))
        return;
    for (size_t i = 0; i < p->nc; i++)
        if (p->c[i]->state == CON_IDLE)
            con_move(p->c[i], CON_DONE);
    pod_reset(p); /* takes the sandbox away; ends in FINISHED since nothing may run any more */
}

/* RestartAllContainers: false while containers of the old round are still about. */
static bool step_restart_all(struct pod *p)
{
    bool resting_all = true;
    for (size_t i = 0; i < p->nc; i++) {
        struct container *c = p->c[i];
        if (c->kind == CON_EPHEMERAL)
            continue;
        if (live(c))
            con_stop(c, con_grace(c), "Restarting all containers of the pod, stopping container");
        resting_all &= resting(c);
    }
    for (size_t i = 0; resting_all && i < p->nc; i++) {
        struct container *c = p->c[i];
        if (c->kind == CON_EPHEMERAL || !c->spec)
            continue;
        c->ran = false;
        if (c->state == CON_DONE)
            con_move(c, CON_IDLE);
    }
    if (resting_all) {
        p->restart_all = false;
        pod_save(p);
    }
    return resting_all;
}

static void step_ready(struct pod *p)
{
    check_deadline(p);
    if (p->restart_all && !p->failed_final && !step_restart_all(p))
        return;
    if (p->failed_final || mains_done(p)) {
        finish(p);
        return;
    }
    bool go = step_init(p);
    for (size_t i = 0; i < p->nc; i++) {
        struct container *c = p->c[i];
        restart_changed(c);
        if (go && (c->kind == CON_MAIN || c->kind == CON_EPHEMERAL))
            want_running(c);
    }
    if (p->failed_final)
        finish(p);
}

/* A pod that failed before it had a sandbox: nothing runs, so that nothing has to be taken down. */
static bool failed_early(struct pod *p)
{
    check_deadline(p);
    if (!p->failed_final)
        return false;
    for (size_t i = 0; i < p->nc; i++)
        if (p->c[i]->state == CON_IDLE)
            con_move(p->c[i], CON_DONE);
    timer_del(&p->retry);
    pod_move(p, PS_FINISHED);
    pod_save(p);
    pod_report(p);
    return true;
}

static void pod_step(struct pod *p)
{
    if (p->helper || p->state == PS_CLEANING || p->state == PS_GONE)
        return;
    if (p->stop && p->state != PS_STOPPING) {
        if (p->state == PS_SETUP && p->sandbox)
            (void)cgroup_signal(p->node->cgroups, p->cgroup, 9);
        pod_move(p, PS_STOPPING);
    }
    switch (p->state) {
    case PS_NEW:
        if (!failed_early(p) && p->node->configured)
            pod_setup(p);
        break;
    case PS_WAITING:
        (void)failed_early(p);
        break;
    case PS_READY:
        step_ready(p);
        break;
    case PS_STOPPING:
        if (!p->stop_until)
            p->stop_until = clock_mono(NULL) + MAX(p->grace_ns, 0);
        if (stop_containers(p, p->stop_until, "Stopping container"))
            pod_clean(p);
        break;
    default:
        break;
    }
}

void pod_gone(struct pod *p)
{
    struct node *n = p->node;
    struct node_uid u = {str_of(p->uid)};
    pod_report_now(p);
    if (n->net)
        net_release(n->net, u.uid);
    if (n->gate)
        wire_send(n->gate, NODE_POD_GONE, 0, &node_uid_type, &u, NULL, 0);
    pod_move(p, PS_GONE);
    map_del(&n->pods, u.uid);
    node_qos_changed(n);
    pod_free(p);
}
