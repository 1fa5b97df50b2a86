/* attach: a session's channels joined to conmon's attach socket, which node hands over.
 *
 * The socket keeps packets apart: each of conmon's begins with a byte that names the stream (2 stdout, 3 stderr), what we send is the
 * container's stdin as it is, in packets that conmon's buffer holds whole. Its end is the container's. Window sizes go through node, which
 * knows conmon's control fifo by the id of the attach until it is told that nobody looks any more. */
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/file.h"
#include "gate/serve.h"
#include "gate/session.h"

#define PACKET (8u << 10) /* conmon reads and writes this much at once */
#define INPUT_HIGH (128u << 10)
enum { CONMON_OUT = 2, CONMON_ERR = 3 };

struct attach {
    struct gate *gate;
    struct session *session;
    struct pool *pool;
    struct node_attach ask;
    struct session_want want;
    uint64_t waiting, id; /* of the request; of the attach that node keeps */
    struct watch socket;
    struct buf in;
    bool in_over, held;
};

static void attach_free(struct attach *x)
{
    struct node_resize nobody = {.exec_id = x->id};
    if (x->waiting)
        gate_forget(x->gate, x->waiting);
    if (x->id && x->gate->node)
        wire_send(x->gate->node, NODE_EXEC_RESIZE, 0, &node_resize_type, &nobody, NULL, 0);
    watch_del(&x->socket);
    closep(&x->socket.fd);
    buf_clear(&x->in);
    pool_free(x->pool);
    free(x);
}

static void end_with(struct attach *x, struct str status)
{
    session_end(TAKE(x->session), status);
    attach_free(x);
}

/* ---- conmon's side ---- */

static void update(struct attach *x)
{
    watch_mod(&x->socket, (x->held ? 0 : EPOLLIN) | (x->in.n ? EPOLLOUT : 0));
}

/* stdin, as far as conmon takes it. */
static void flush(struct attach *x)
{
    while (x->in.n) {
        ssize_t n = send(x->socket.fd, x->in.p, MIN(x->in.n, PACKET), MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno != EAGAIN)
            x->in.n = 0; /* nobody takes it any more; the end is read below */
        if (n < 0)
            break;
        buf_drop(&x->in, (size_t)n);
    }
    if (!x->in.n && x->in_over)
        (void)shutdown(x->socket.fd, SHUT_WR);
    if (x->in.n < INPUT_HIGH / 2)
        session_hold_input(x->session, false);
}

static void on_socket(struct watch *w, uint32_t events)
{
    struct attach *x = container_of(w, struct attach, socket);
    char packet[PACKET + 1];
    if (events & EPOLLOUT)
        flush(x);
    if (x->held &&
        events & (EPOLLHUP | EPOLLERR)) { /* cannot be masked; what is left is read all the same, and no more than conmon's few packets */
        x->held = false;
    }
    while (!x->held && events & (EPOLLIN | EPOLLHUP | EPOLLERR)) {
        ssize_t n = recv(w->fd, packet, sizeof packet, MSG_DONTWAIT);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            break;
        if (n <= 0) {
            end_with(x, session_success(x->pool));
            return;
        }
        enum session_channel c = packet[0] == CONMON_ERR ? CHANNEL_ERR : CHANNEL_OUT;
        if (n > 1 && (c == CHANNEL_ERR ? x->want.err : x->want.out))
            session_output(x->session, c, packet + 1, (size_t)n - 1);
        x->held = session_full(x->session) && !(events & EPOLLHUP);
    }
    update(x);
}

static void on_attached(void *arg, struct wire_msg *m)
{
    struct attach *x = arg;
    struct node_reply r = {.code = ERR_UNAVAILABLE, .message = STR("the node process is away")};
    _cleanup_(err_freep) struct err *e = NULL;
    uint64_t id = x->waiting;
    x->waiting = 0;
    if (m && wire_decode(&node_reply_type, m->body, x->pool, &r, NULL) < 0)
        r = (struct node_reply){ERR_PARSE, STR("node's answer cannot be read")};
    if (!r.code && m && m->nfds < 1)
        r = (struct node_reply){ERR_INTERNAL, STR("no socket came")};
    if (r.code) {
        end_with(x, session_failure(x->pool, pool_printf(x->pool, "error attaching to container: %.*s", STR_ARG(r.message))));
        return;
    }
    x->id = id;
    x->socket.fd = m->fds[0];
    m->fds[0] = -1;
    fd_nonblock(x->socket.fd);
    if (watch_add(x->gate->loop, &x->socket, x->socket.fd, EPOLLIN, on_socket, &e) < 0) {
        end_with(x, session_failure(x->pool, str_of(err_msg(e))));
        return;
    }
    session_hold_input(x->session, false);
}

/* ---- the client's side ---- */

static void on_ready(void *arg)
{
    struct attach *x = arg;
    uint64_t id = gate_ask(x->gate, NODE_ATTACH, &node_attach_type, &x->ask, on_attached, x);
    if (id)
        x->waiting = id;
}

static void on_input(void *arg, const char *p, size_t n)
{
    struct attach *x = arg;
    if (x->socket.fd < 0)
        return;
    if (n)
        buf_add(&x->in, p, n);
    else
        x->in_over = true;
    flush(x);
    if (x->in.n > INPUT_HIGH)
        session_hold_input(x->session, true);
    update(x);
}

static void on_resize(void *arg, unsigned width, unsigned height)
{
    struct attach *x = arg;
    struct node_resize m = {x->id, width, height};
    if (x->id && x->gate->node)
        wire_send(x->gate->node, NODE_EXEC_RESIZE, 0, &node_resize_type, &m, NULL, 0);
}

static void on_drain(void *arg)
{
    struct attach *x = arg;
    if (!x->held)
        return;
    x->held = false;
    update(x);
}

static void on_gone(void *arg)
{
    struct attach *x = arg;
    x->session = NULL;
    attach_free(x);
}

void serve_attach(struct gate *g, struct http_req *rq, const struct target *t)
{
    static const struct session_events events = {on_ready, on_input, on_resize, on_drain, on_gone};
    const struct node_container_state *state = serve_state(t->pod, t->container);
    struct session_want want;
    if (!session_wants(rq, &want))
        return;
    if (!state || state->state != CS_RUNNING) {
        serve_fail(rq, 404, "container not found (\"%.*s\")", STR_ARG(t->container));
        return;
    }
    struct attach *x = xcalloc(1, sizeof *x);
    *x = (struct attach){.gate = g, .pool = pool_new(), .want = want, .socket.fd = -1};
    x->ask = (struct node_attach){pool_str(x->pool, t->pod->uid), pool_str(x->pool, t->container)};
    x->session = session_accept(rq, &want, &events, x);
    if (!x->session)
        attach_free(x);
}
