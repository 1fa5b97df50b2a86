/* Probes, as the kubelet runs them (pkg/kubelet/prober of Kubernetes): HTTP and TCP from here to the pod's address, exec through node. Liveness and readiness wait until
 * the startup probe has succeeded. A failed liveness or startup probe asks node to restart the container.
 *
 *   IDLE ──timer──> RUNNING ──result──> IDLE        any ──container ended or new──> IDLE from the beginning
 */
#include <stdlib.h>

#include "crypto/tls.h"
#include "gate/impl.h"

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
    bool running;
    struct http_client *client;
    struct tls_ctx *tls;
    struct http_call *call;
    struct dial *dial;
    uint64_t exec_id;
    int status;
    struct buf body;
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
    if (x->call)
        http_call_cancel(TAKE(x->call));
    if (x->dial)
        dial_cancel(TAKE(x->dial));
    if (x->exec_id)
        gate_forget(x->all->gp->gate, x->exec_id);
    x->exec_id = 0;
    http_client_free(TAKE(x->client));
    buf_clear(&x->body);
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
}

static void settle(struct probe *x, bool good, const char *why)
{
    struct gpod *gp = x->all->gp;
    bool before = x->result;
    stop_running(x);
    timer_in(gp->gate->loop, &x->timer, x->period, on_due);
    if (good) {
        x->bad = 0;
        if (++x->good >= x->success)
            x->result = true;
    } else {
        x->good = 0;
        event_pod(gp, str_of(x->container), true, "Unhealthy", "%s probe failed: %s", kind_names[x->kind], why);
        if (++x->bad >= x->failure) {
            x->result = false;
            if (x->kind != PROBE_READINESS)
                restart_container(x, why);
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

/* ---- HTTP ---- */

static void on_head(void *arg, const struct http_response *r)
{
    ((struct probe *)arg)->status = r->status;
}

static void on_data(void *arg, const char *p, size_t n)
{
    struct probe *x = arg;
    if (x->body.n < 256)
        buf_add(&x->body, p, MIN(n, 256 - x->body.n));
}

static void on_end(void *arg, const struct err *e)
{
    struct probe *x = arg;
    char why[128];
    x->call = NULL;
    if (e) {
        settle(x, false, err_msg(e));
        return;
    }
    snprintf(why, sizeof why, "HTTP probe failed with statuscode: %d", x->status);
    settle(x, x->status >= 200 && x->status < 400, why);
}

static bool port_of(const struct probe *x, const struct json *port, uint16_t *out)
{
    struct str name = json_as_str(port);
    uint64_t n = (uint64_t)json_as_int(port, 0);
    if (name.n && !str_to_u64(name, &n))
        json_for(json_get(x->con, STR("ports")), p)
            if (str_eq(json_get_str(p, "name"), name))
                n = (uint64_t)json_get_int(p, "containerPort", 0);
    *out = (uint16_t)n;
    return n > 0 && n < 65536;
}

static struct str target_host(struct probe *x, const struct json *action)
{
    struct gpod *gp = x->all->gp;
    struct str host = json_get_str(action, "host");
    if (host.n)
        return host;
    return json_get_bool(json_get(gpod_tree(gp), STR("spec")), "hostNetwork", false) ? str_of(gp->gate->host_ip) : gpod_ip(gp);
}

static void start_http(struct probe *x, const struct json *action)
{
    static const struct http_call_events events = {on_head, on_data, NULL, on_end};
    struct gpod *gp = x->all->gp;
    _cleanup_(pool_freep) struct pool *p = pool_new();
    _cleanup_(err_freep) struct err *e = NULL;
    struct http_header headers[34];
    size_t n = 0;
    struct endpoint ep = {.host = pool_strz(p, target_host(x, action)), .timeout_ms = (int)(x->timeout / NS_PER_MS)};
    if (!ep.host[0] || !port_of(x, json_get(action, STR("port")), &ep.port)) {
        settle(x, false, "the port is unknown");
        return;
    }
    if (str_eqz(json_get_str(action, "scheme"), "HTTPS")) {
        struct tls_config c = {.clock = gp->gate->clock, .insecure = true}; /* as the kubelet: probes check no certificate */
        if (!x->tls && !(x->tls = tls_ctx_new(&c, &e))) {
            settle(x, false, err_msg(e));
            return;
        }
        ep.tls = x->tls;
    }
    headers[n++] = (struct http_header){STR("user-agent"), STR("kube-probe/1.36")};
    headers[n++] = (struct http_header){STR("accept"), STR("*/*")};
    json_for(json_get(action, STR("httpHeaders")), h)
        if (n < ARRAY_LEN(headers))
            headers[n++] = (struct http_header){json_get_str(h, "name"), json_get_str(h, "value")};
    struct str path = json_get_str(action, "path");
    struct http_request rq = {.method = STR("GET"), .path = !path.n ? STR("/") : path.p[0] == '/' ? path : pool_printf(p, "/%.*s", STR_ARG(path)), .headers = headers, .nheaders = n};
    x->client = http_client_new(gp->gate->loop, &ep, NULL);
    x->call = http_call(x->client, &rq, &events, x);
}

/* ---- TCP ---- */

static void on_dialled(void *arg, struct stream *s, const struct err *e)
{
    struct probe *x = arg;
    x->dial = NULL;
    if (s)
        stream_abort(s);
    settle(x, s != NULL, s ? "" : err_msg(e));
}

static void start_tcp(struct probe *x, const struct json *action)
{
    _cleanup_(pool_freep) struct pool *p = pool_new();
    struct endpoint ep = {.host = pool_strz(p, target_host(x, action)), .timeout_ms = (int)(x->timeout / NS_PER_MS)};
    if (!ep.host[0] || !port_of(x, json_get(action, STR("port")), &ep.port)) {
        settle(x, false, "the port is unknown");
        return;
    }
    x->dial = stream_dial(x->all->gp->gate->loop, &ep, on_dialled, x);
}

/* ---- exec ---- */

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
        char why[64];
        if (wire_decode(&node_exec_done_type, m->body, p, &done, NULL) < 0)
            done.code = -1;
        snprintf(why, sizeof why, "command exited with code %" PRId64, done.code);
        settle(x, done.code == 0, why);
        return;
    }
    if (wire_decode(&node_reply_type, m->body, p, &reply, NULL) < 0 || reply.code) {
        settle(x, false, reply.message.n ? pool_strz(p, reply.message) : "exec failed");
        return;
    }
    x->exec_id = id; /* it runs; its end comes under the same id */
    gate_keep(x->all->gp->gate, id, on_exec, x);
}

static void start_exec(struct probe *x, const struct json *action)
{
    struct gpod *gp = x->all->gp;
    const struct json *command = json_get(action, STR("command"));
    struct str *argv = xcalloc(json_count(command) + 1, sizeof *argv);
    struct node_exec m = {.uid = gp->uid, .container = str_of(x->container), .argv = argv, .timeout_ms = x->timeout / NS_PER_MS};
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
    if (!s || s->state != CS_RUNNING || !gp->gate->node || (gp->deleting && x->kind != PROBE_READINESS))
        return;
    if (x->kind == PROBE_STARTUP ? x->result : !probes_started(gp, str_of(x->container)))
        return; /* done for this run; or not yet: probes_update starts it */
    x->running = true;
    x->status = 0;
    timer_in(gp->gate->loop, &x->limit, x->timeout, on_limit);
    if ((action = json_get(x->spec, STR("httpGet"))))
        start_http(x, action);
    else if ((action = json_get(x->spec, STR("tcpSocket"))))
        start_tcp(x, action);
    else if ((action = json_get(x->spec, STR("exec"))))
        start_exec(x, action);
    else
        settle(x, false, "gRPC probes are not supported in this version");
}

static void probe_free(struct probe *x)
{
    stop_running(x);
    timer_del(&x->timer);
    tls_ctx_free(x->tls);
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
            x->known = false;
            x->result = x->kind == PROBE_LIVENESS;
        }
        if (!running)
            continue;
        if (!x->run) {
            int64_t age = clock_now(gp->gate->clock) - s->started, left = x->initial - MAX(age, 0);
            x->run = str_dup(s->id);
            timer_in(gp->gate->loop, &x->timer, MAX(left, 0), on_due);
        } else if (!x->running && !x->timer.loop && !(x->kind == PROBE_STARTUP && x->result)) {
            timer_in(gp->gate->loop, &x->timer, 0, on_due);
        }
    }
}
