#include "gate/relay.h"

#include <stdlib.h>

#include "base/file.h"

#define WAITING_MAX ((size_t)256 << 10)
#define HEADERS_MAX 120

struct relay {
    struct relay_to to;
    struct loop *loop;
    struct http_req *rq; /* NULL: nobody waits any more */
    struct http_call *call;
    bool started;
    struct defer over;
};

/* ---- headers ---- */

static bool hop(struct str n)
{
    static const char *const names[] = {"connection", "keep-alive", "proxy-connection", "transfer-encoding", "te", "trailer", "upgrade",
        "host", "content-length", "http2-settings", "sec-websocket-key", "sec-websocket-accept", "authorization", "cookie", "expect"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (str_eqz(n, names[i]))
            return true;
    return false;
}

size_t relay_headers(struct http_req *rq, size_t more, struct http_header **out)
{
    struct http_header *h = pool_array(rq->pool, struct http_header, rq->nheaders + more);
    size_t n = 0;
    for (size_t i = 0; i < rq->nheaders && n < HEADERS_MAX; i++)
        if (!hop(rq->headers[i].name) && rq->headers[i].name.n && rq->headers[i].name.p[0] != ':')
            h[n++] = rq->headers[i];
    *out = h;
    return n;
}

static size_t answer_headers(struct pool *p, const struct http_response *r, struct http_header **out)
{
    struct http_header *h = pool_array(p, struct http_header, r->nheaders + 1);
    size_t n = 0;
    for (size_t i = 0; i < r->nheaders; i++)
        if (!hop(r->headers[i].name))
            h[n++] = (struct http_header){pool_str(p, r->headers[i].name), pool_str(p, r->headers[i].value)};
    *out = h;
    return n;
}

/* ---- its end ---- */

static void on_over(struct defer *d)
{
    struct relay *x = container_of(d, struct relay, over);
    void (*done)(void *arg) = x->to.done;
    void *arg = x->to.arg;
    free(x);
    if (done)
        done(arg);
}

static void over(void *arg)
{
    struct relay *x = arg;
    loop_defer(x->loop, &x->over, on_over);
}

static struct http_req *let_go(struct relay *x) /* the request, for its last words */
{
    struct http_req *rq = TAKE(x->rq);
    if (rq) {
        rq->user = NULL;
        rq->on_close = NULL;
        rq->on_drain = NULL;
    }
    return rq;
}

static void on_rq_close(struct http_req *rq)
{
    struct relay *x = rq->user;
    let_go(x);
    if (x->call)
        http_call_cancel(TAKE(x->call));
    over(x);
}

/* ---- plain requests ---- */

static void on_rq_drain(struct http_req *rq)
{
    struct relay *x = rq->user;
    if (x->call)
        http_call_pause(x->call, false);
}

static void on_head(void *arg, const struct http_response *r)
{
    struct relay *x = arg;
    struct http_header *h;
    size_t n = answer_headers(x->rq->pool, r, &h);
    x->started = true;
    http_start(x->rq, r->status, h, n);
}

static void on_data(void *arg, const char *p, size_t n)
{
    struct relay *x = arg;
    http_send_str(x->rq, str_make(p, n));
    if (x->rq && http_queued(x->rq) > WAITING_MAX && x->call)
        http_call_pause(x->call, true);
}

static void on_end(void *arg, const struct err *e)
{
    struct relay *x = arg;
    struct http_req *rq = let_go(x);
    x->call = NULL;
    if (rq && !e)
        http_end(rq);
    else if (rq && x->started)
        http_abort(rq);
    else if (rq)
        x->to.fail(rq, 503, str_of(err_msg(e)));
    over(x);
}

static struct http_request request(struct relay *x, struct str body)
{
    return (struct http_request){.method = x->rq->method,
        .path = x->to.path,
        .headers = x->to.headers,
        .nheaders = x->to.nheaders,
        .body = body,
        .timeout_ms = x->to.head_ms};
}

static void with_body(struct http_req *rq, struct str body)
{
    static const struct http_call_events events = {on_head, on_data, NULL, on_end};
    struct relay *x = rq->user;
    struct http_request r = request(x, body);
    rq->on_drain = on_rq_drain;
    x->call = http_call(x->to.client, &r, &events, x);
}

/* ---- upgrades ---- */

static void on_upgraded(void *arg, struct stream *s, const struct http_response *r, const struct err *e)
{
    struct relay *x = arg;
    struct http_req *rq = let_go(x);
    struct http_header *h;
    x->call = NULL;
    if (!s && rq)
        x->to.fail(rq, r && r->status >= 400 ? r->status : 502, str_of(err_msg(e)));
    if (!s || !rq) {
        if (s)
            stream_abort(s);
        over(x);
        return;
    }
    size_t n = answer_headers(rq->pool, r, &h);
    struct stream *front = http_upgrade(rq, h, n);
    if (front) {
        stream_splice(front, s, over, x);
        return;
    }
    stream_abort(s);
    over(x);
}

static void upgrade(struct relay *x)
{
    struct http_req *rq = x->rq;
    struct http_request r = request(x, STR_NULL);
    struct http_header *h = pool_array(rq->pool, struct http_header, r.nheaders + 1);
    if (r.nheaders)
        memcpy(h, r.headers, r.nheaders * sizeof *h);
    if (str_eq_nocase(
            rq->protocol, STR("websocket"))) { /* its answer proves nothing to us and is not passed on; the stream below is what matters */
        struct buf key = BUF_INIT;
        uint8_t raw[16];
        random_bytes(raw, sizeof raw);
        buf_base64(&key, raw, sizeof raw);
        h[r.nheaders++] = (struct http_header){STR("sec-websocket-key"), buf_to_pool(&key, rq->pool)};
    }
    r.headers = h;
    if (str_eqz(r.method, "CONNECT"))
        r.method = STR("GET");
    x->call = http_call_upgrade(x->to.client, &r, rq->protocol, on_upgraded, x);
}

void relay(struct http_req *rq, const struct relay_to *to)
{
    struct relay *x = xcalloc(1, sizeof *x);
    *x = (struct relay){.to = *to, .rq = rq, .loop = stream_loop(rq->conn)};
    rq->user = x;
    rq->on_close = on_rq_close;
    if (rq->protocol.n)
        upgrade(x);
    else
        http_body(rq, 0, with_body);
}
