#include "base/clock.h"
#include "node/impl.h"

void set_text(char **to, const char *text)
{
    char *copy = text ? xstrdup(text) : NULL;
    free(*to);
    *to = copy;
}

int64_t node_now(const struct node *n)
{
    return clock_now(n->clock);
}

void node_reply(struct node *n, uint64_t id, const struct err *e, const int *fds, size_t nfds)
{
    struct node_reply r = {e ? e->code : 0, e ? str_of(err_msg(e)) : STR("")};
    if (n->gate && id)
        wire_send(n->gate, NODE_REPLY, id, &node_reply_type, &r, fds, nfds);
}

static void last_out(const struct run_result *r, struct node_container_state *o)
{
    if (!r->reason)
        return;
    o->had_last = true;
    o->last_exit_code = r->exit_code;
    o->last_started = r->started;
    o->last_finished = r->finished;
    o->last_reason = str_of(r->reason);
    o->last_message = str_of(r->message);
    o->last_id = str_of(r->id);
}

static void ended_out(const struct run_result *r, struct node_container_state *o)
{
    o->state = CS_TERMINATED;
    o->reason = str_of(r->reason);
    o->message = str_of(r->message);
    o->exit_code = r->exit_code;
    o->started = r->started;
    o->finished = r->finished;
    o->id = str_of(r->id);
}

/* As the kubelet words it: a pod that has init containers is initializing, whichever of its containers waits. */
static const char *waiting_reason(const struct container *c)
{
    const struct pod *p = c->pod;
    bool init = false;
    for (size_t i = 0; i < p->nc; i++)
        init |= p->c[i]->kind == CON_INIT || p->c[i]->kind == CON_SIDECAR;
    if (c->spec && str_empty(c->spec->image) && !str_empty(c->spec->waiting_reason) && p->state == PS_READY)
        return NULL;
    return init ? "PodInitializing" : "ContainerCreating";
}

static void state_out(const struct container *c, struct node_container_state *o)
{
    *o = (struct node_container_state){
        .name = str_of(c->name), .id = str_of(c->id), .image_id = str_of(c->image_id), .restarts = c->restarts};
    if (c->spec)
        o->image = c->spec->image_ref;
    last_out(&c->last, o);
    if (c->state == CON_RUNNING || c->state == CON_STOPPING) {
        o->state = CS_RUNNING;
        o->started = c->started;
        o->started_ok = c->started_ok;
        o->awaits_startup = c->spec && c->spec->startup_probe && !c->startup_ok;
    } else if (c->waiting_reason) { /* back-off, errors of creation: with the run before it */
        o->state = CS_WAITING;
        o->reason = str_of(c->waiting_reason);
        o->message = str_of(c->waiting_message);
        if (c->now.reason)
            last_out(&c->now, o);
    } else if (c->now.reason) {
        ended_out(&c->now, o);
    } else {
        const char *why = waiting_reason(c);
        o->state = CS_WAITING;
        o->reason = why ? str_of(why) : c->spec->waiting_reason;
        o->message = why ? STR("") : c->spec->waiting_message;
    }
}

void pod_report_now(struct pod *p)
{
    struct node *n = p->node;
    if (!n->gate)
        return;
    _cleanup_(pool_freep) struct pool *pool = pool_new();
    struct node_container_state *list = pool_array(pool, struct node_container_state, p->nc + 1);
    for (size_t i = 0; i < p->nc; i++)
        state_out(p->c[i], &list[i]);
    struct node_pod_state s = {.uid = str_of(p->uid),
        .ns = p->spec.ns,
        .name = p->spec.name,
        .ip = str_of(p->ip),
        .sandbox_ready = p->sandbox && p->state == PS_READY,
        .stopping = p->stop,
        .deadline_passed = p->deadline_passed,
        .evicted = p->evicted,
        .reason = str_of(p->reason),
        .message = str_of(p->message),
        .started = p->started,
        .containers = list,
        .ncontainers = p->nc,
        .applied = p->applied,
        .resize_error = str_of(p->resize_error)};
    wire_send(n->gate, NODE_POD_STATE, 0, &node_pod_state_type, &s, NULL, 0);
}

static void on_report(struct defer *d)
{
    pod_report_now(container_of(d, struct pod, report));
}

void pod_report(struct pod *p)
{
    loop_defer(p->node->loop, &p->report, on_report);
}

void pod_event(struct pod *p, struct str container, bool warning, const char *reason, const char *fmt, ...)
{
    if (!p->node->gate)
        return;
    _cleanup_(buf_clear) struct buf b = BUF_INIT;
    va_list ap;
    va_start(ap, fmt);
    buf_vprintf(&b, fmt, ap);
    va_end(ap);
    struct node_event ev = {
        str_of(p->uid), p->spec.ns, p->spec.name, container, warning, str_of(reason), str_sub(buf_str(&b), 0, MIN(b.n, 1024))};
    wire_send(p->node->gate, NODE_EVENT, 0, &node_event_type, &ev, NULL, 0);
}
