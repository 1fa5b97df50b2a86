/* In-place resize: the limits of what runs follow the spec. The pod's own cgroup has to have room while containers grow and may shrink only after they have. A resource whose
 * resizePolicy says RestartContainer is changed by a restart, which makes the container with the new limits. */
#include "base/clock.h"
#include "node/impl.h"

#define RETRY_NS (5 * NS_PER_S)

struct con_limits con_limits_of(const struct node_container *c)
{
    return (struct con_limits){c->cpu_request_milli, c->cpu_limit_milli, c->memory_request, c->memory_limit, true};
}

static bool same_cpu(const struct con_limits *a, const struct con_limits *b)
{
    return a->cpu_request == b->cpu_request && a->cpu_limit == b->cpu_limit;
}

static bool same_memory(const struct con_limits *a, const struct con_limits *b)
{
    return a->memory_request == b->memory_request && a->memory_limit == b->memory_limit;
}

static void on_retry(struct timer *t)
{
    pod_resize(container_of(t, struct pod, resize_retry));
}

/* 1: a restart is under way that brings them. */
static int apply(struct container *c, struct err **e)
{
    struct con_limits want = con_limits_of(c->spec);
    struct node *n = c->pod->node;
    if (c->applied.known && same_cpu(&want, &c->applied) && same_memory(&want, &c->applied))
        return 0;
    if (c->applied.known && ((c->spec->resize_restarts_cpu && !same_cpu(&want, &c->applied)) || (c->spec->resize_restarts_memory && !same_memory(&want, &c->applied)))) {
        c->want_restart = true;
        con_stop(c, con_grace(c), "Container resize requires restart, will be restarted");
        return 1;
    }
    _cleanup_(freep) char *cgroup = con_cgroup(c);
    struct cgroup_usage u;
    if (want.memory_limit && c->applied.memory_limit > want.memory_limit && cgroup_usage(n->cgroups, cgroup, &u) && u.memory > want.memory_limit && u.working_set > want.memory_limit)
        return err_set(e, ERR_CONFLICT, "attempting to set container %s memory limit (%" PRId64 ") below current usage (%" PRId64 ")", c->name, want.memory_limit, u.working_set);
    struct cgroup_limits l = {want.cpu_request, want.cpu_limit, want.memory_limit, c->spec->pids_limit};
    int r = cgroup_limit(n->cgroups, cgroup, &l, e);
    if (r == 0)
        c->applied = want;
    return r;
}

void pod_resize(struct pod *p)
{
    _cleanup_(err_freep) struct err *e = NULL;
    struct err *one = NULL;
    timer_del(&p->resize_retry);
    if (p->stop || !p->node->cgroups)
        return;
    (void)!(p->state == PS_READY ? pod_limit(p, NULL) : 0); /* room for what grows; what shrinks may not be possible yet */
    bool waits = false;
    for (size_t i = 0; i < p->nc; i++) {
        struct container *c = p->c[i];
        int r = c->state == CON_RUNNING && c->spec ? apply(c, &one) : 0;
        waits |= r > 0 || c->want_restart;
        if (r < 0 && !e)
            e = TAKE(one);
        err_free(TAKE(one));
    }
    if (!e && p->state == PS_READY)
        (void)!pod_limit(p, &e);
    if (!e) {
        set_text(&p->resize_error, NULL);
        if (!waits) /* else con.c calls again when the new run has begun */
            p->applied = p->spec.generation;
        return;
    }
    if (!p->resize_error || !str_eqz(str_of(p->resize_error), err_msg(e)))
        pod_event(p, STR_NULL, true, "ResizeError", "%s", err_msg(e));
    set_text(&p->resize_error, err_msg(e));
    timer_set(p->node->loop, &p->resize_retry, clock_mono(NULL) + RETRY_NS, on_retry);
    pod_report(p);
}
