/* exec: a session's channels joined to the descriptors of a process that node has started.
 *
 *     client ──session──► stdin ──► process ──► stdout, stderr ──session──► client
 *
 * The Status follows when the process has ended AND its output has been read to the end; a child that it left behind and that keeps the
 * output open is not waited for longer than LINGER_NS of silence. A client that goes away closes the process' stdin and output; the process
 * is left to end by itself, as the kubelet does it. */
#include <stdlib.h>

#include "gate/serve.h"
#include "gate/session.h"

#define INPUT_HIGH (128u << 10)
#define LINGER_NS (2 * NS_PER_S)

struct end {
    struct exec *x;
    enum session_channel c;
};
struct exec {
    struct gate *gate;
    struct session *session;
    struct pool *pool;
    struct node_exec ask;
    uint64_t id;                   /* node's; 0: none under way */
    struct stream *in, *out, *err; /* a terminal: out is both ways */
    struct end ends[3];
    bool tty, done, held;
    int64_t code;
    struct str message;
    struct timer linger;
};

static void exec_free(struct exec *x)
{
    if (x->id)
        gate_forget(x->gate, x->id);
    timer_del(&x->linger);
    if (x->in)
        stream_close(x->in);
    if (x->out)
        stream_abort(x->out);
    if (x->err)
        stream_abort(x->err);
    pool_free(x->pool);
    free(x);
}

static void end_with(struct exec *x, struct str status)
{
    session_end(TAKE(x->session), status);
    exec_free(x);
}

static void check_end(struct exec *x);

static void on_linger(struct timer *t)
{
    struct exec *x = container_of(t, struct exec, linger);
    if (x->held) { /* the client is slow: what was read already still goes out */
        timer_in(x->gate->loop, t, LINGER_NS, on_linger);
        return;
    }
    stream_abort(TAKE(x->out));
    stream_abort(TAKE(x->err));
    check_end(x);
}

static void check_end(struct exec *x)
{
    if (!x->done)
        return;
    if (x->out || x->err) {
        timer_in(x->gate->loop, &x->linger, LINGER_NS, on_linger);
        return;
    }
    if (x->code < 0)
        end_with(x, session_failure(x->pool, pool_printf(x->pool, "error executing command in container: %.*s", STR_ARG(x->message))));
    else
        end_with(x, session_exit_code(x->pool, x->code));
}

/* ---- the process' side ---- */

static void out_data(void *arg, const char *p, size_t n)
{
    struct end *end = arg;
    struct exec *x = end->x;
    session_output(x->session, end->c, p, n);
    if (x->done)
        timer_in(x->gate->loop, &x->linger, LINGER_NS, on_linger);
    if (!session_full(x->session) || x->held)
        return;
    x->held = true;
    if (x->out)
        stream_pause(x->out, true);
    if (x->err)
        stream_pause(x->err, true);
}

static void in_drain(void *arg)
{
    struct end *end = arg;
    session_hold_input(end->x->session, false);
}

static void out_closed(void *arg, const struct err *why) /* a terminal's hang-up is EIO: an end like any other */
{
    struct end *end = arg;
    struct exec *x = end->x;
    if (end->c == CHANNEL_OUT)
        x->out = NULL;
    else
        x->err = NULL;
    if (x->tty)
        session_hold_input(x->session, false);
    check_end(x);
}

static void in_data(void *arg, const char *p, size_t n) {}

static void in_closed(void *arg, const struct err *why)
{
    struct end *end = arg;
    end->x->in = NULL;
    session_hold_input(end->x->session, false); /* nobody reads it: what comes is dropped */
}

static struct stream *take(struct exec *x, struct wire_msg *m, size_t *at, enum session_channel c)
{
    static const struct stream_events in_events = {in_data, in_drain, NULL, in_closed}, out_events = {out_data, in_drain, NULL, out_closed};
    if (*at >= m->nfds)
        return NULL;
    int fd = m->fds[*at];
    struct stream *s = stream_fd_new(x->gate->loop, fd, NULL);
    if (!s)
        return NULL;
    m->fds[(*at)++] = -1;
    x->ends[c] = (struct end){x, c};
    stream_use(s, c == CHANNEL_IN ? &in_events : &out_events, &x->ends[c]);
    return s;
}

static void on_exec_done(void *arg, struct wire_msg *m)
{
    struct exec *x = arg;
    struct node_exec_done done = {.code = -1, .message = STR("the node process went away")};
    x->id = 0;
    if (m && wire_decode(&node_exec_done_type, m->body, x->pool, &done, NULL) < 0)
        done.code = -1;
    x->done = true;
    x->code = done.code;
    x->message = pool_str(x->pool, done.message);
    if (done.code > 0 && x->session && done.message.n && !x->ask.err &&
        !x->tty) /* what the runtime said of a command that it could not start */
        session_output(x->session, x->ask.out ? CHANNEL_OUT : CHANNEL_ERR, x->message.p, x->message.n);
    check_end(x);
}

static void on_exec(void *arg, struct wire_msg *m)
{
    struct exec *x = arg;
    struct node_reply r = {.code = ERR_UNAVAILABLE, .message = STR("the node process is away")};
    uint64_t id = x->id;
    size_t at = 0;
    x->id = 0;
    if (m && wire_decode(&node_reply_type, m->body, x->pool, &r, NULL) < 0)
        r = (struct node_reply){ERR_PARSE, STR("node's answer cannot be read")};
    if (r.code) {
        end_with(x, session_failure(x->pool, pool_printf(x->pool, "error executing command in container: %.*s", STR_ARG(r.message))));
        return;
    }
    if (x->tty) {
        x->out = take(x, m, &at, CHANNEL_OUT);
    } else {
        x->in = x->ask.in ? take(x, m, &at, CHANNEL_IN) : NULL;
        x->out = x->ask.out ? take(x, m, &at, CHANNEL_OUT) : NULL;
        x->err = x->ask.err ? take(x, m, &at, CHANNEL_ERR) : NULL;
    }
    x->id = id;
    gate_keep(x->gate, id, on_exec_done, x);
    session_hold_input(x->session, false);
}

/* ---- the client's side ---- */

static void on_ready(void *arg)
{
    struct exec *x = arg;
    uint64_t id = gate_ask(x->gate, NODE_EXEC, &node_exec_type, &x->ask, on_exec, x);
    if (id)
        x->id = id;
}

static void on_input(void *arg, const char *p, size_t n)
{
    struct exec *x = arg;
    struct stream *to = x->tty ? x->out : x->in;
    if (!to)
        return;
    if (n) {
        stream_write(to, p, n);
        if (stream_queued(to) > INPUT_HIGH)
            session_hold_input(x->session, true);
    } else if (!x->tty) {
        stream_shutdown(to);
    }
}

static void on_resize(void *arg, unsigned width, unsigned height)
{
    struct exec *x = arg;
    struct node_resize m = {x->id, width, height};
    if (x->id && x->gate->node)
        wire_send(x->gate->node, NODE_EXEC_RESIZE, 0, &node_resize_type, &m, NULL, 0);
}

static void on_drain(void *arg)
{
    struct exec *x = arg;
    if (!x->held)
        return;
    x->held = false;
    if (x->out)
        stream_pause(x->out, false);
    if (x->err)
        stream_pause(x->err, false);
}

static void on_gone(void *arg)
{
    struct exec *x = arg;
    x->session = NULL;
    exec_free(x);
}

static size_t count_argv(struct http_req *rq, struct pool *p, struct str *out)
{
    struct str rest = rq->query, name, value;
    size_t n = 0;
    while (http_query_each(rq, &rest, &name, &value)) {
        if (!str_eqz(name, "command"))
            continue;
        if (out)
            out[n] = pool_str(p, value);
        n++;
    }
    return n;
}

void serve_exec(struct gate *g, struct http_req *rq, const struct target *t)
{
    static const struct session_events events = {on_ready, on_input, on_resize, on_drain, on_gone};
    const struct node_container_state *state = serve_state(t->pod, t->container);
    struct session_want want;
    size_t n = count_argv(rq, NULL, NULL);
    if (!session_wants(rq, &want))
        return;
    if (n == 0 || n > 4096) {
        serve_fail(rq, 400, n ? "the command has too many words" : "you must specify at least one command for the container");
        return;
    }
    if (!state || state->state != CS_RUNNING) {
        serve_fail(rq, 404, "container not found (\"%.*s\")", STR_ARG(t->container));
        return;
    }
    struct exec *x = xcalloc(1, sizeof *x);
    *x = (struct exec){.gate = g, .pool = pool_new(), .tty = want.tty};
    x->ask = (struct node_exec){.uid = pool_str(x->pool, t->pod->uid),
        .container = pool_str(x->pool, t->container),
        .tty = want.tty,
        .in = want.in,
        .out = want.out,
        .err = want.err};
    x->ask.argv = pool_array(x->pool, struct str, n);
    x->ask.nargv = count_argv(rq, x->pool, x->ask.argv);
    x->session = session_accept(rq, &want, &events, x);
    if (!x->session)
        exec_free(x);
}
