#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "node/impl.h"

#define KILL_MS 20000

static void closedirp(DIR **d)
{
    if (*d)
        closedir(*d);
}

static bool dots(const char *name)
{
    return str_eqz(STR("."), name) || str_eqz(STR(".."), name);
}

/* Every container of the pod that left something: the OCI runtime's state and the bundle. In a helper. */
static int remove_containers(struct pod *p, struct err **e)
{
    _cleanup_(freep) char *dir = xasprintf("%s/c", p->dir);
    _cleanup_(closedirp) DIR *d = opendir(dir);
    for (struct dirent *x; d && (x = readdir(d));) {
        if (dots(x->d_name) || x->d_type != DT_DIR)
            continue;
        _cleanup_(freep) char *bundle = xasprintf("%s/%s", dir, x->d_name);
        int r = container_remove(&p->node->rt, p->handler ? p->handler : p->node->crun, -1, x->d_name, bundle, NULL, NULL, e);
        if (r < 0)
            return r;
    }
    return 0;
}

/* Everything that runs is killed, the network is gone with its namespace, mounts with theirs. In a helper. */
static int tear_down(void *arg, struct buf *out, struct err **e)
{
    struct pod *p = arg;
    int r = p->cgroup ? cgroup_kill(p->node->cgroups, p->cgroup, KILL_MS, e) : 0;
    if (r == 0)
        r = remove_containers(p, e);
    if (r == 0 && p->cgroup)
        r = cgroup_remove(p->node->cgroups, p->cgroup, e);
    return r < 0 ? r : dir_remove(p->run, e);
}

static int tear_down_and_delete(void *arg, struct buf *out, struct err **e)
{
    struct pod *p = arg;
    int r = tear_down(arg, out, e);
    if (r < 0)
        return r;
    /* the journal last: until then a restart finds the pod and goes on here */
    static const char *const parts[] = {"c", "volumes", "logs", "etc"};
    for (size_t i = 0; r == 0 && i < ARRAY_LEN(parts); i++) {
        _cleanup_(freep) char *path = xasprintf("%s/%s", p->dir, parts[i]);
        r = dir_remove(path, e);
    }
    return r < 0 ? r : dir_remove(p->dir, e);
}

static void on_retry(struct timer *t)
{
    struct pod *p = container_of(t, struct pod, retry);
    if (p->state == PS_CLEANING)
        pod_clean(p);
}

static void on_cleaned(void *owner, const struct err *e, struct str out)
{
    struct pod *p = owner;
    p->helper = NULL;
    if (!e) {
        pod_gone(p);
        return;
    }
    log_warn("pod=%.*s/%.*s clean-up: %s", STR_ARG(p->spec.ns), STR_ARG(p->spec.name), err_msg(e));
    pod_event(p, STR_NULL, true, "FailedKillPod", "error killing pod: %s", err_msg(e));
    timer_set(p->node->loop, &p->retry, clock_mono(NULL) + 5 * NS_PER_S, on_retry);
}

/* What is under way for the pod's containers ends here; their processes die with the cgroup. */
static void cancel_all(struct pod *p)
{
    for (size_t i = 0; i < p->nc; i++) {
        struct container *c = p->c[i];
        con_hooks_cancel(c);
        container_create_cancel(TAKE(c->creating));
        tool_cancel(TAKE(c->starting));
        helper_cancel(TAKE(c->removing));
        watch_del(&c->conmon_watch);
        closep(&c->conmon_watch.fd);
        timer_del(&c->backoff_timer);
        timer_del(&c->stop_timer);
    }
    helper_cancel(TAKE(p->helper));
    timer_del(&p->retry);
    timer_del(&p->deadline);
    if (p->node->net)
        net_detach(p->node->net, str_of(p->uid));
    sandbox_free(TAKE(p->sandbox));
}

void pod_clean(struct pod *p)
{
    _cleanup_(err_freep) struct err *e = NULL;
    pod_move(p, PS_CLEANING);
    cancel_all(p);
    pod_save(p);
    p->helper = helper_start(p->node->loop, tear_down_and_delete, p, NULL, 0, 120000, on_cleaned, p, &e);
    if (!p->helper)
        on_cleaned(p, e, STR_NULL);
}

static void settle_container(struct container *c)
{
    if (c->state == CON_IDLE || c->state == CON_DONE)
        return;
    int code = 137;
    int64_t finished = node_now(c->pod->node);
    bool known = container_exit_file(&c->pod->node->rt, c->id ? c->id : "-", &code, &finished);
    if (c->state == CON_RUNNING || c->state == CON_STOPPING)
        con_result(c, code, known ? NULL : "ContainerStatusUnknown",
            known ? NULL : "The container could not be located when the pod was terminated", finished);
    if (c->state != CON_REMOVING)
        con_move(c, CON_REMOVING);
    con_move(c, con_should_restart(c) ? CON_IDLE : CON_DONE);
}

static bool over(const struct pod *p)
{
    bool mains = true;
    for (size_t i = 0; i < p->nc; i++)
        mains &= p->c[i]->kind != CON_MAIN || p->c[i]->state == CON_DONE;
    return p->failed_final || (mains && p->nc);
}

static void on_reset(void *owner, const struct err *e, struct str out)
{
    struct pod *p = owner;
    p->helper = NULL;
    if (e)
        log_warn("pod=%.*s/%.*s reset: %s", STR_ARG(p->spec.ns), STR_ARG(p->spec.name), err_msg(e));
    for (size_t i = 0; i < p->nc; i++) {
        settle_container(p->c[i]);
        if (p->failed_final && p->c[i]->state == CON_IDLE)
            con_move(p->c[i], CON_DONE);
    }
    pod_move(p, over(p) ? PS_FINISHED : PS_NEW);
    pod_save(p);
    pod_report(p);
    pod_kick(p);
}

void pod_reset(struct pod *p)
{
    _cleanup_(err_freep) struct err *e = NULL;
    pod_move(p, PS_RESETTING);
    cancel_all(p);
    pod_save(p);
    p->helper = helper_start(p->node->loop, tear_down, p, NULL, 0, 120000, on_reset, p, &e);
    if (!p->helper)
        on_reset(p, e, STR_NULL);
}

/* ---- at start: what nobody knows ---- */

static void orphan_group(void *arg, const char *path, struct str uid)
{
    struct node *n = arg;
    if (node_pod_by_uid(n, uid))
        return;
    log_info("pod uid=%.*s is unknown: killing what is left of it", STR_ARG(uid));
    _cleanup_(err_freep) struct err *e = NULL;
    if (cgroup_kill(n->cgroups, path, KILL_MS, &e) < 0 || cgroup_remove(n->cgroups, path, &e) < 0)
        log_warn("%s", err_msg(e));
}

static bool known_container(struct node *n, const char *id)
{
    map_for(&n->pods, it) {
        const struct pod *p = it->value;
        for (size_t i = 0; i < p->nc; i++)
            if (p->c[i]->id && strcmp(p->c[i]->id, id) == 0 && p->c[i]->state != CON_IDLE && p->c[i]->state != CON_DONE)
                return true;
    }
    return false;
}

static void orphan_states(struct node *n)
{
    _cleanup_(closedirp) DIR *d = opendir(n->state_dir);
    for (struct dirent *x; d && (x = readdir(d));) {
        _cleanup_(err_freep) struct err *e = NULL;
        if (x->d_name[0] != '.' && !known_container(n, x->d_name) &&
            container_remove(&n->rt, n->crun, -1, x->d_name, NULL, NULL, NULL, &e) < 0)
            log_warn("container %s: %s", x->d_name, err_msg(e));
    }
}

static void orphan_dirs(struct node *n, const char *dir, bool by_pod)
{
    _cleanup_(closedirp) DIR *d = opendir(dir);
    for (struct dirent *x; d && (x = readdir(d));) {
        bool known = by_pod ? node_pod_by_uid(n, str_of(x->d_name)) != NULL : known_container(n, x->d_name);
        if (dots(x->d_name) || known)
            continue;
        _cleanup_(freep) char *path = xasprintf("%s/%s", dir, x->d_name);
        if (!by_pod || x->d_type != DT_DIR)
            unlink(path);
        else
            (void)!dir_remove(path, NULL);
    }
}

static void orphan_address(void *arg, struct str uid, const char *ip)
{
    struct node *n = arg;
    if (!node_pod_by_uid(n, uid))
        net_release(n->net, uid);
}

static int sweep(void *arg, struct buf *out, struct err **e)
{
    struct node *n = arg;
    cgroup_each_pod(n->cgroups, orphan_group, n);
    orphan_states(n);
    orphan_dirs(n, n->run_pods_dir, true);
    orphan_dirs(n, n->pods_dir, true);
    orphan_dirs(n, n->exit_dir, false);
    return 0;
}

void clean_orphans(struct node *n)
{
    _cleanup_(err_freep) struct err *e = NULL;
    if (helper_wait(sweep, n, NULL, &e) < 0)
        log_warn("clean-up at start: %s", err_msg(e));
    if (n->net)
        net_each(n->net, orphan_address, n);
}
