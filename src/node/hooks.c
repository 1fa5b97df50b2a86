#include <unistd.h>
#include "base/clock.h"
#include "base/log.h"
#include "node/impl.h"

/* A hook's output goes nowhere: it is not asked for. */
static void no_fds(void *owner, int *fds, size_t nfds) { }

/* ---- hooks that gate performs ---- */

static void ask_gate(struct container *c)
{
    struct node *n = c->pod->node;
    bool post = c->state == CON_RUNNING;
    int64_t left = post ? 0 : MAX((c->stop_until - clock_mono(NULL)) / NS_PER_MS, 1);
    struct node_hook_ask m = {str_of(c->pod->uid), str_of(c->name), str_of(c->id), post, left};
    c->hook_asked = true;
    if (n->gate) /* else node_link asks when there is one again */
        wire_send(n->gate, NODE_HOOK, 0, &node_hook_ask_type, &m, NULL, 0);
}

void hooks_ask_again(struct node *n)
{
    map_for(&n->pods, it) {
        struct pod *p = it->value;
        for (size_t i = 0; i < p->nc; i++)
            if (p->c[i]->hook_asked)
                ask_gate(p->c[i]);
    }
}

void con_hooks_cancel(struct container *c)
{
    c->hook_asked = false;
    exec_cancel(TAKE(c->hook));
    timer_del(&c->hook_timer);
}

static struct exec *run(struct container *c, const struct node_hook *h, const struct exec_ops *ops, int64_t timeout_ns, struct err **e)
{
    struct exec_spec s = {.handler = pod_handler(c->pod, NULL),
        .id = c->id,
        .mount_ns = sandbox_mount_ns(c->pod->sandbox),
        .argv = h->argv,
        .nargv = h->nargv,
        .oom_score_adj = con_oom_score(c->pod, c->spec),
        .timeout_ms = (int)MIN(timeout_ns / NS_PER_MS, INT64_C(2000000000))};
    return exec_start(&c->pod->node->rt, &s, ops, c, e);
}

static void started_ok(struct container *c)
{
    c->started_ok = true;
    pod_save(c->pod);
    pod_report(c->pod);
    pod_kick(c->pod);
}

static void on_post_done(void *owner, int code, const char *message)
{
    struct container *c = owner;
    c->hook = NULL;
    if (c->state != CON_RUNNING)
        return;
    if (code == 0) {
        started_ok(c);
        return;
    }
    if (code > 0)
        pod_event(c->pod, str_of(c->name), true, "FailedPostStartHook", "PostStartHook failed: exit code %d: %s", code, message);
    else
        pod_event(c->pod, str_of(c->name), true, "FailedPostStartHook", "PostStartHook failed: %s", message);
    con_stop(c, con_grace(c), "FailedPostStartHook: Stopping container");
}

static void on_post_slept(struct timer *t)
{
    struct container *c = container_of(t, struct container, hook_timer);
    if (c->state == CON_RUNNING)
        started_ok(c);
}

void con_post_start(struct container *c)
{
    static const struct exec_ops ops = {no_fds, on_post_done};
    const struct node_hook *h = c->spec ? &c->spec->post_start : NULL;
    if (h && h->set && h->by_gate) {
        ask_gate(c);
        return;
    }
    if (!h || !h->set || (h->nargv == 0 && h->sleep_s <= 0)) {
        started_ok(c);
        return;
    }
    if (h->nargv == 0) {
        timer_set(c->pod->node->loop, &c->hook_timer, clock_mono(NULL) + MIN(h->sleep_s, 86400) * NS_PER_S, on_post_slept);
        return;
    }
    struct err *e = NULL;
    c->hook = run(c, h, &ops, 0, &e);
    if (!c->hook)
        on_post_done(c, -1, err_msg(e));
    err_free(e);
}

static void on_pre_done(void *owner, int code, const char *message)
{
    struct container *c = owner;
    c->hook = NULL;
    if (code > 0)
        pod_event(c->pod, str_of(c->name), true, "FailedPreStopHook", "PreStopHook failed: exit code %d: %s", code, message);
    else if (code < 0)
        pod_event(c->pod, str_of(c->name), true, "FailedPreStopHook", "PreStopHook failed: %s", message);
    if (c->state == CON_STOPPING && !c->pre_stop_done)
        timer_set(c->pod->node->loop, &c->hook_timer, clock_mono(NULL), c->hook_timer.fn);
}

bool con_pre_stop(struct container *c, int64_t timeout_ns)
{
    static const struct exec_ops ops = {no_fds, on_pre_done};
    if (!c->spec || !c->spec->pre_stop.set)
        return false;
    const struct node_hook *h = &c->spec->pre_stop;
    if (h->by_gate) {
        timer_set(c->pod->node->loop, &c->hook_timer, clock_mono(NULL) + timeout_ns, c->hook_timer.fn); /* should gate never answer */
        ask_gate(c);
        return true;
    }
    if (h->nargv == 0) {
        if (h->sleep_s <= 0)
            return false;
        timer_set(c->pod->node->loop, &c->hook_timer, clock_mono(NULL) + MIN(h->sleep_s * NS_PER_S, timeout_ns), c->hook_timer.fn);
        return true;
    }
    _cleanup_(err_freep) struct err *e = NULL;
    c->hook = run(c, h, &ops, timeout_ns, &e);
    if (!c->hook)
        pod_event(c->pod, str_of(c->name), true, "FailedPreStopHook", "PreStopHook failed: %s", err_msg(e));
    return c->hook != NULL;
}

void hooks_done(struct node *n, struct wire_msg *m)
{
    _cleanup_(pool_freep) struct pool *pool = pool_new();
    _cleanup_(err_freep) struct err *e = NULL;
    struct node_hook_done x;
    if (wire_decode(&node_hook_done_type, m->body, pool, &x, &e) < 0) {
        log_error("from gate: %s", err_msg(e));
        return;
    }
    struct pod *p = node_pod_by_uid(n, x.uid);
    struct container *c = p ? pod_container(p, x.container) : NULL;
    if (!c || !c->hook_asked || !str_eqz(x.run, c->id) || x.post_start != (c->state == CON_RUNNING))
        return; /* of a run that is over */
    c->hook_asked = false;
    if (x.post_start)
        on_post_done(c, x.failed ? -1 : 0, pool_strz(pool, x.message));
    else
        on_pre_done(c, x.failed ? -1 : 0, pool_strz(pool, x.message));
}
