/* Probes, as the kubelet runs them (pkg/kubelet/prober of Kubernetes): HTTP, TCP and gRPC from here to the pod's address (action.h), exec through node. Liveness and readiness wait until
 * the startup probe has succeeded. A failed liveness or startup probe asks node to restart the container.
 *
 *   IDLE ──timer──> RUNNING ──result──> IDLE        any ──container ended or new──> IDLE from the beginning
 */
#include <stdlib.h>
#include <unistd.h>

#include "gate/action.h"

enum probe_kind { PROBE_STARTUP, PROBE_LIVENESS, PROBE_READINESS, PROBE_KINDS };
static const char *const kind_keys[PROBE_KINDS] = {"startupProbe", "livenessProbe", "readinessProbe"};
static const char *const kind_names[PROBE_KINDS] = {"Startup", "Liveness", "Readiness"};

struct probe {
    struct probes *all;
    struct list node;
    char *container, *run;      /* run: id of the container that the counts are of */
    enum probe_kind kind;
    const struct json *spec;    /* in all->pool */
    const struct json *con;     /* its container's spec */
    int64_t initial, period, timeout;
    int success, failure, good, bad;
    bool result, known;
    struct timer timer, limit;
    bool running, held;         /* held: it has asked for a restart; nothing more is asked of this run */
    struct action *action;
    uint64_t exec_id;
    struct said { struct probe *probe; struct stream *s; } outs[2]; /* what the command says, on either */
    struct buf said;
    struct timer drain;
    bool ended;                 /* with code; what it says may still come */
    int64_t code;
};

struct probes {
    struct gpod *gp;
    struct pool *pool;
    struct bytes *object;       /* the spec that the probes were made of */
    struct list list;
};

static void on_due(struct timer *t);

static const struct node_container_state *state_of(const struct gpod *gp, const char *container)
{
    for (size_t i = 0; gp->state && i < gp->state->ncontainers; i++)
        if (str_eqz(gp->state->containers[i].name, container))
            return &gp->state->containers[i];
    return NULL;
}

static struct probe *find(const struct gpod *gp, struct str container, enum probe_kind kind)
{
    struct probe *x;
    if (gp->probes)
        list_for(&gp->probes->list, x, node)
            if (x->kind == kind && str_eqz(container, x->container))
                return x;
    return NULL;
}

bool probes_ready(const struct gpod *gp, struct str container)
{
    const struct probe *x = find(gp, container, PROBE_READINESS);
    return !x || x->result;
}

bool probes_started(const struct gpod *gp, struct str container)
{
    const struct probe *x = find(gp, container, PROBE_STARTUP);
    return !x || x->result;
}

/* ---- results ---- */

static void stop_running(struct probe *x)
{
    timer_del(&x->limit);
    timer_del(&x->drain);
    x->ended = false;
    action_cancel(TAKE(x->action));
    if (x->exec_id)
        gate_forget(x->all->gp->gate, x->exec_id);
    x->exec_id = 0;
    for (size_t i = 0; i < ARRAY_LEN(x->outs); i++)
        if (x->outs[i].s)
            stream_abort(TAKE(x->outs[i].s));
    buf_clear(&x->said);
    x->running = false;
}

static void restart_container(struct probe *x, const char *why)
{
    struct gpod *gp = x->all->gp;
    struct node_restart m = {.uid = gp->uid, .container = str_of(x->container), .reason = STR("Unhealthy"), .message = str_of(why)};
    m.grace_s = json_get_int(x->spec, "terminationGracePeriodSeconds", json_get_int(json_get(gpod_tree(gp), STR("spec")), "terminationGracePeriodSeconds", 30));
    event_pod(gp, str_of(x->container), false, "Killing", "Container %s failed %s probe, will be restarted", x->container, x->kind == PROBE_LIVENESS ? "liveness" : "startup");
    if (gp->gate->node)
        wire_send(gp->gate->node, NODE_RESTART, 0, &node_restart_type, &m, NULL, 0);
    x->bad = 0;
    x->held = true;
}

static void settle(struct probe *x, bool good, const char *why)
{
    struct gpod *gp = x->all->gp;
    bool before = x->result;
    _cleanup_(freep) char *reason = xstrdup(why); /* it may lie in what stop_running clears */
    stop_running(x);
    timer_in(gp->gate->loop, &x->timer, x->period, on_due);
    if (good) {
        x->bad = 0;
        if (++x->good >= x->success)
            x->result = true;
    } else {
        x->good = 0;
        event_pod(gp, str_of(x->container), true, "Unhealthy", "%s probe failed: %s", kind_names[x->kind], reason);
        if (++x->bad >= x->failure) {
            x->result = false;
            if (x->kind != PROBE_READINESS)
                restart_container(x, reason);
        }
    }
    if (x->result != before || !x->known)
        gpod_report(gp);
    x->known = true;
    if (x->kind == PROBE_STARTUP && x->result && !before)
        probes_update(gp); /* liveness and readiness may begin */
}

static void on_limit(struct timer *t)
{
    struct probe *x = container_of(t, struct probe, limit);
    settle(x, false, x->kind == PROBE_READINESS || !x->exec_id ? "context deadline exceeded" : "command timed out");
}

/* ---- HTTP, TCP, gRPC ---- */

static void on_action(void *arg, const struct action_result *r)
{
    struct probe *x = arg;
    char why[128];
    x->action = NULL;
    if (r->redirected)
        event_pod(x->all->gp, str_of(x->container), true, "ProbeWarning", "%s probe warning: Probe terminated redirects, Response body: %.*s", kind_names[x->kind], STR_ARG(str_sub(r->body, 0, 256)));
    snprintf(why, sizeof why, "HTTP probe failed with statuscode: %d", r->status);
    settle(x, r->good, r->error ? r->error : why);
}

static void start_action(struct probe *x)
{
    struct action_spec s = {.gp = x->all->gp, .con = x->con, .handler = x->spec, .timeout = x->timeout, .agent = "kube-probe/1.36"};
    x->action = action_start(&s, on_action, x);
}

/* ---- exec ---- */

#define SAID_MAX 1024
#define DRAIN_NS (200 * NS_PER_MS)

static bool talking(const struct probe *x)
{
    return x->outs[0].s || x->outs[1].s;
}

static void on_verdict(struct probe *x)
{
    char why[64];
    snprintf(why, sizeof why, "command exited with code %" PRId64, x->code);
    buf_putc(&x->said, 0);
    settle(x, x->code == 0, x->said.n > 1 ? x->said.p : why);
}

static void on_said(void *arg, const char *p, size_t n)
{
    struct probe *x = ((struct said *)arg)->probe;
    if (x->said.n < SAID_MAX)
        buf_add(&x->said, p, MIN(n, SAID_MAX - x->said.n));
}

/* The command's end and the end of what it says come in either order; a child of its that keeps the pipe open is not waited for. */
static void on_said_all(void *arg, const struct err *why)
{
    struct said *o = arg;
    (void)why;
    o->s = NULL;
    if (o->probe->ended && !talking(o->probe))
        on_verdict(o->probe);
}

static void on_drained(struct timer *t)
{
    on_verdict(container_of(t, struct probe, drain));
}

static void listen_to(struct probe *x, struct wire_msg *m)
{
    static const struct stream_events events = {on_said, NULL, NULL, on_said_all};
    for (size_t i = 0; i < MIN(m->nfds, ARRAY_LEN(x->outs)); i++) {
        struct said *o = &x->outs[i];
        o->probe = x;
        if (!o->s && (o->s = stream_fd_new(x->all->gp->gate->loop, m->fds[i], NULL))) {
            m->fds[i] = -1;
            stream_use(o->s, &events, o);
        }
    }
}

static void on_exec(void *arg, struct wire_msg *m)
{
    struct probe *x = arg;
    _cleanup_(pool_freep) struct pool *p = pool_new();
    struct node_exec_done done = {0};
    struct node_reply reply = {0};
    uint64_t id = x->exec_id;
    x->exec_id = 0;
    if (!m) {
        settle(x, x->result, "node is away"); /* says nothing about the container */
        return;
    }
    if (m->type == NODE_EXEC_DONE) {
        if (wire_decode(&node_exec_done_type, m->body, p, &done, NULL) < 0)
            done.code = -1;
        x->code = done.code;
        x->ended = true;
        if (done.message.n && !x->said.n)
            buf_str_add(&x->said, str_sub(done.message, 0, SAID_MAX));
        if (talking(x))
            timer_in(x->all->gp->gate->loop, &x->drain, DRAIN_NS, on_drained);
        else
            on_verdict(x);
        return;
    }
    if (wire_decode(&node_reply_type, m->body, p, &reply, NULL) < 0 || reply.code) {
        settle(x, false, reply.message.n ? pool_strz(p, reply.message) : "exec failed");
        return;
    }
    x->exec_id = id; /* it runs; its end comes under the same id */
    listen_to(x, m);
    gate_keep(x->all->gp->gate, id, on_exec, x);
}

static void start_exec(struct probe *x, const struct json *action)
{
    struct gpod *gp = x->all->gp;
    const struct json *command = json_get(action, STR("command"));
    struct str *argv = xcalloc(json_count(command) + 1, sizeof *argv);
    struct node_exec m = {.uid = gp->uid, .container = str_of(x->container), .argv = argv, .out = true, .err = true, .timeout_ms = x->timeout / NS_PER_MS};
    json_for(command, word)
        argv[m.nargv++] = json_as_str(word);
    uint64_t id = gate_ask(gp->gate, NODE_EXEC, &node_exec_type, &m, on_exec, x);
    if (id)
        x->exec_id = id;
    free(argv);
}

/* ---- turns ---- */

static void on_due(struct timer *t)
{
    struct probe *x = container_of(t, struct probe, timer);
    struct gpod *gp = x->all->gp;
    const struct node_container_state *s = state_of(gp, x->container);
    const struct json *action;
    if (!s || s->state != CS_RUNNING || x->held || !gp->gate->node || (gp->deleting && x->kind != PROBE_READINESS))
        return;
    if (x->kind == PROBE_STARTUP ? x->result : !probes_started(gp, str_of(x->container)))
        return; /* done for this run; or not yet: probes_update starts it */
    x->running = true;
    timer_in(gp->gate->loop, &x->limit, x->timeout, on_limit);
    if ((action = json_get(x->spec, STR("exec"))))
        start_exec(x, action);
    else
        start_action(x);
}

static void probe_free(struct probe *x)
{
    stop_running(x);
    timer_del(&x->timer);
    list_remove(&x->node);
    free(x->container);
    free(x->run);
    free(x);
}

void probes_free(struct probes *ps)
{
    struct probe *x;
    if (!ps)
        return;
    list_for(&ps->list, x, node)
        probe_free(x);
    bytes_unref(ps->object);
    pool_free(ps->pool);
    free(ps);
}

static void make_probe(struct probes *ps, const struct json *con, enum probe_kind kind)
{
    const struct json *spec = json_get(con, str_of(kind_keys[kind]));
    if (!spec)
        return;
    struct probe *x = xcalloc(1, sizeof *x);
    *x = (struct probe){.all = ps, .container = str_dup(json_get_str(con, "name")), .kind = kind, .spec = spec, .con = con};
    x->initial = json_get_int(spec, "initialDelaySeconds", 0) * NS_PER_S;
    x->period = MAX(json_get_int(spec, "periodSeconds", 10), 1) * NS_PER_S;
    x->timeout = MAX(json_get_int(spec, "timeoutSeconds", 1), 1) * NS_PER_S;
    x->success = (int)MAX(json_get_int(spec, "successThreshold", 1), 1);
    x->failure = (int)MAX(json_get_int(spec, "failureThreshold", 3), 1);
    x->result = kind == PROBE_LIVENESS;
    list_push(&ps->list, &x->node);
}

static struct probes *make_probes(struct gpod *gp)
{
    static const char *const lists[] = {"initContainers", "containers"};
    struct probes *ps = xcalloc(1, sizeof *ps);
    struct json *pod;
    ps->gp = gp;
    ps->pool = pool_new();
    ps->object = bytes_ref(gp->object);
    list_init(&ps->list);
    if (json_parse(ps->pool, bytes_str(ps->object), NULL, &pod, NULL) < 0)
        return ps;
    for (size_t i = 0; i < ARRAY_LEN(lists); i++)
        json_for(json_path(pod, "spec", lists[i], NULL), con)
            for (int kind = 0; kind < PROBE_KINDS; kind++)
                make_probe(ps, con, (enum probe_kind)kind);
    return ps;
}

/* What waits for a sidecar waits for its startup probe as well: node is told, again after it came back and has forgotten. */
static void tell_started(struct gpod *gp)
{
    for (size_t i = 0; gp->gate->node && i < gp->state->ncontainers; i++) {
        const struct node_container_state *s = &gp->state->containers[i];
        struct node_started m = {gp->uid, s->name, s->id};
        if (s->awaits_startup && probes_started(gp, s->name))
            wire_send(gp->gate->node, NODE_STARTED, 0, &node_started_type, &m, NULL, 0);
    }
}

/* A container's new run begins its probes from the beginning; one that ended has them stopped. */
void probes_update(struct gpod *gp)
{
    struct probe *x;
    if (!gp->object || !gp->state)
        return;
    if (!gp->probes)
        gp->probes = make_probes(gp); /* of the first spec seen: probes are immutable in a pod */
    list_for(&gp->probes->list, x, node) {
        const struct node_container_state *s = state_of(gp, x->container);
        bool running = s && s->state == CS_RUNNING;
        if (!running || !x->run || !str_eqz(s->id, x->run)) {
            stop_running(x);
            timer_del(&x->timer);
            free(TAKE(x->run));
            x->good = x->bad = 0;
            x->known = x->held = false;
            x->result = x->kind == PROBE_LIVENESS;
        }
        if (!running)
            continue;
        if (!x->run) {
            int64_t age = clock_now(gp->gate->clock) - s->started, left = x->initial - MAX(age, 0);
            x->run = str_dup(s->id);
            timer_in(gp->gate->loop, &x->timer, MAX(left, 0), on_due);
        } else if (!x->running && !x->held && !x->timer.loop && !(x->kind == PROBE_STARTUP && x->result)) {
            timer_in(gp->gate->loop, &x->timer, 0, on_due);
        }
    }
    tell_started(gp);
}
