/* portForward: connections of the client's, each two SPDY streams with one request id (data, and error for a text when it fails), joined to
 * sockets inside the pod's network.
 *
 *   kubectl ── WebSocket, subprotocol SPDY/3.1+portforward.k8s.io ──► SPDY inside its binary messages (KEP-4006)
 *   older   ── Upgrade: SPDY/3.1, X-Stream-Protocol-Version: portforward.k8s.io ──► the same without the WebSocket */
#include <stdlib.h>

#include "gate/serve.h"
#include "http/spdy.h"

#define PROTOCOL "portforward.k8s.io"
#define MESSAGE_MAX (1u << 20)
#define HALF_NS (30 * NS_PER_S) /* for the second stream of a connection */
#define PAIRS_MAX 500

struct forward {
    struct gate *gate;
    struct spdy *spdy;
    struct str uid, name; /* of the pod; owned */
    struct list pairs;
    size_t npairs;
};

struct pair {                /* one connection; outlives the forward while its splice ends */
    struct forward *forward; /* NULL: gone */
    struct gate *gate;
    struct list node;
    char *request;
    uint64_t port, waiting;
    struct stream *data, *error; /* data is NULL once spliced */
    bool spliced;
    struct timer limit;
};

static void pair_free(struct pair *p)
{
    if (p->forward) {
        list_remove(&p->node);
        p->forward->npairs--;
    }
    if (p->waiting)
        gate_forget(p->gate, p->waiting);
    timer_del(&p->limit);
    if (p->data)
        stream_abort(p->data);
    if (p->error)
        stream_close(p->error);
    free(p->request);
    free(p);
}

static void on_spliced(void *arg)
{
    pair_free(arg);
}

static void fail(struct pair *p, struct str why)
{
    _cleanup_(buf_clear) struct buf b = BUF_INIT;
    buf_printf(&b, "error forwarding port %" PRIu64 " to pod %.*s, uid : %.*s", p->port, STR_ARG(p->forward->name), STR_ARG(why));
    stream_write(p->error, b.p, b.n);
    stream_close(TAKE(p->error));
    if (p->data)
        stream_close(TAKE(p->data));
    pair_free(p);
}

/* ---- to the pod ---- */

static void on_connected(void *arg, struct wire_msg *m)
{
    struct pair *p = arg;
    _cleanup_(pool_freep) struct pool *pool = pool_new();
    _cleanup_(err_freep) struct err *e = NULL;
    struct node_reply r = {.code = ERR_UNAVAILABLE, .message = STR("the node process is away")};
    p->waiting = 0;
    if (m && wire_decode(&node_reply_type, m->body, pool, &r, NULL) < 0)
        r = (struct node_reply){ERR_PARSE, STR("node's answer cannot be read")};
    if (!r.code && m->nfds < 1)
        r = (struct node_reply){ERR_INTERNAL, STR("no socket came")};
    if (r.code) {
        fail(p, r.message);
        return;
    }
    struct stream *s = stream_fd_new(p->gate->loop, m->fds[0], &e);
    if (!s) {
        fail(p, str_of(err_msg(e)));
        return;
    }
    m->fds[0] = -1;
    p->spliced = true;
    struct stream *data = TAKE(p->data);
    stream_splice(data, s, on_spliced, p);
    stream_pause(data, false);
}

static void dial(struct pair *p)
{
    struct node_connect ask = {p->forward->uid, p->port};
    timer_del(&p->limit);
    uint64_t id = gate_ask(p->gate, NODE_CONNECT, &node_connect_type, &ask, on_connected, p);
    if (id)
        p->waiting = id;
}

/* ---- the client's streams ---- */

static void no_data(void *arg, const char *p, size_t n) {}
static void no_eof(void *arg) {} /* a client has nothing to say on the error stream and half-closes it at once */

static void error_closed(void *arg, const struct err *why)
{
    ((struct pair *)arg)->error = NULL;
}

static void data_closed(void *arg, const struct err *why) /* before it was spliced */
{
    struct pair *p = arg;
    p->data = NULL;
    pair_free(p);
}

static void half_late(struct timer *t)
{
    pair_free(container_of(t, struct pair, limit));
}

static struct pair *pair_of(struct forward *f, struct str request, uint64_t port)
{
    struct pair *p;
    list_for (&f->pairs, p, node)
        if (!p->spliced && str_eqz(request, p->request))
            return p->port == port ? p : NULL;
    if (f->npairs >= PAIRS_MAX)
        return NULL;
    p = xcalloc(1, sizeof *p);
    *p = (struct pair){.forward = f, .gate = f->gate, .request = str_dup(request), .port = port};
    list_push(&f->pairs, &p->node);
    f->npairs++;
    timer_in(f->gate->loop, &p->limit, HALF_NS, half_late);
    return p;
}

static void on_stream(void *arg, struct spdy *spdy, uint32_t id, const struct http_header *h, size_t n)
{
    static const struct stream_events data_events = {no_data, NULL, no_eof, data_closed},
                                      error_events = {no_data, NULL, no_eof, error_closed};
    struct forward *f = arg;
    struct str type = STR_NULL, port_text = STR_NULL, request = STR_NULL;
    uint64_t port = 0;
    for (size_t i = 0; i < n; i++) {
        if (str_eqz(h[i].name, "streamtype"))
            type = h[i].value;
        else if (str_eqz(h[i].name, "port"))
            port_text = h[i].value;
        else if (str_eqz(h[i].name, "requestid"))
            request = h[i].value;
    }
    bool data = str_eqz(type, "data"),
         good = (data || str_eqz(type, "error")) && request.n && request.n < 64 && str_to_u64(port_text, &port) && port > 0 && port < 65536;
    struct pair *p = good ? pair_of(f, request, port) : NULL;
    struct stream **at = !p ? NULL : data ? &p->data : &p->error;
    if (!p || *at) {
        spdy_refuse(spdy, id);
        return;
    }
    *at = spdy_accept(spdy, id, NULL, 0);
    if (!*at)
        return;
    if (data)
        stream_pause(*at, true); /* until there is somebody to read it */
    stream_use(*at, data ? &data_events : &error_events, p);
    if (p->data && p->error)
        dial(p);
}

static void on_close(void *arg, const struct err *why)
{
    struct forward *f = arg;
    struct pair *p;
    list_for (&f->pairs, p, node) {
        if (p->spliced) { /* ends by itself */
            list_remove(&p->node);
            p->forward = NULL;
        } else {
            pair_free(p);
        }
    }
    free((char *)(uintptr_t)f->uid.p);
    free((char *)(uintptr_t)f->name.p);
    free(f);
}

/* ---- the upgrade ---- */

static struct stream *accept_any(struct http_req *rq)
{
    static const char *const protocols[] = {"SPDY/3.1+" PROTOCOL, NULL};
    struct http_header h = {STR("x-stream-protocol-version"), STR(PROTOCOL)};
    if (str_eq_nocase(rq->protocol, STR("websocket"))) {
        if (!http_header(rq, STR("sec-websocket-protocol")).n) {
            serve_fail(rq, 400, "the subprotocol SPDY/3.1+" PROTOCOL " is needed");
            return NULL;
        }
        struct ws *w = ws_accept(rq, protocols, MESSAGE_MAX, NULL);
        return w ? ws_stream(w) : NULL;
    }
    if (!str_eq_nocase(rq->protocol, STR("SPDY/3.1"))) {
        serve_fail(rq, 400, "Upgrade request required");
        return NULL;
    }
    if (!str_eqz(http_header(rq, STR("x-stream-protocol-version")), PROTOCOL)) {
        serve_fail(rq, 403, "unable to upgrade: unable to negotiate protocol: the server speaks " PROTOCOL);
        return NULL;
    }
    return http_upgrade(rq, &h, 1);
}

void serve_forward(struct gate *g, struct http_req *rq, const struct target *t)
{
    static const struct spdy_events events = {on_stream, on_close};
    struct str uid = t->pod->uid, name = t->pod->name;
    if (!t->pod->state || !t->pod->state->sandbox_ready) {
        serve_fail(rq, 400, "unable to forward port because pod is not running. Current status=Pending");
        return;
    }
    struct stream *below = accept_any(rq);
    if (!below)
        return;
    struct forward *f = xcalloc(1, sizeof *f);
    *f = (struct forward){.gate = g, .uid = {str_dup(uid), uid.n}, .name = {str_dup(name), name.n}};
    list_init(&f->pairs);
    f->spdy = spdy_new(below, true, &events, f);
}
