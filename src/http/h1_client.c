/* HTTP/1.1, client side: one connection, one call at a time. */
#include <stdlib.h>
#include "http/client.h"
#include "http/h1_parse.h"
#include "http/stream_impl.h"

struct h1cc {
    struct cconn c; /* first */
    struct stream *stream;
    struct http_call *call;
    struct buf in;
    size_t searched;
    struct h1_body body;
    struct timer idle;
    struct defer go, reap;
    bool used, in_body, chunked, close, sent_end, eof, gone, feeding;
};

static const struct call_ops h1_call_ops;
static void on_go(struct defer *d);

static void on_reap(struct defer *d)
{
    struct h1cc *c = container_of(d, struct h1cc, reap);
    buf_clear(&c->in);
    free(c);
}

/* The connection ends. Its call, if there is one, is told why, or tried again elsewhere when the peer had only closed an idle connection.
 */
static void leave(struct h1cc *c, const struct err *why, bool retry)
{
    if (c->gone)
        return;
    c->gone = true;
    struct loop *l = c->c.client->loop;
    timer_del(&c->idle);
    defer_del(l, &c->go);
    if (c->stream)
        stream_close(TAKE(c->stream));
    struct http_call *k = TAKE(c->call);
    loop_defer(l, &c->reap, on_reap);
    if (k && retry && call_replayable(k)) {
        call_requeue(k);
        k = NULL;
    }
    cconn_gone(&c->c, why);
    if (k)
        call_end(k, why);
}

static void fail(struct h1cc *c, const char *text, bool retry)
{
    _cleanup_(err_freep) struct err *e = NULL;
    err_set(&e, ERR_IO, "HTTP/1.1: %s", text);
    leave(c, e, retry);
}

/* ---- sending ---- */
static void send_body(struct h1cc *c)
{
    struct http_call *k = c->call;
    if (c->chunked && k->body.n) {
        char line[24];
        int n = snprintf(line, sizeof line, "%zx\r\n", k->body.n);
        stream_write(c->stream, line, (size_t)n);
    }
    bool some = k->body.n > 0;
    outq_to_stream(&k->body, c->stream, k->body.n);
    if (c->chunked && some)
        stream_write(c->stream, "\r\n", 2);
    if (k->body_end && !c->sent_end) {
        c->sent_end = true;
        if (c->chunked)
            stream_write(c->stream, "0\r\n\r\n", 5);
    }
}

static bool has_header(const struct http_call *k, struct str name)
{
    for (size_t i = 0; i < k->nheaders; i++)
        if (str_eq_nocase(k->headers[i].name, name))
            return true;
    return false;
}

static void send_head(struct h1cc *c)
{
    struct http_call *k = c->call;
    _cleanup_(buf_clear) struct buf b = BUF_INIT;
    buf_str_add(&b, k->method);
    buf_putc(&b, ' ');
    for (size_t i = 0; i < k->path.n; i++) /* no byte of a path may end the line */
        if ((uint8_t)k->path.p[i] <= 0x20 || k->path.p[i] == 0x7f)
            buf_printf(&b, "%%%02X", (uint8_t)k->path.p[i]);
        else
            buf_putc(&b, k->path.p[i]);
    buf_puts(&b, " HTTP/1.1\r\n");
    if (!has_header(k, STR("host")))
        h1_put_header(&b, STR("host"), str_of(c->c.client->authority));
    for (size_t i = 0; i < k->nheaders; i++)
        if (!str_eq_nocase(k->headers[i].name, STR("content-length")) && !str_eq_nocase(k->headers[i].name, STR("transfer-encoding")))
            h1_put_header(&b, k->headers[i].name, k->headers[i].value);
    if (k->upgraded) {
        buf_puts(&b, "connection: Upgrade\r\n");
        h1_put_header(&b, STR("upgrade"), k->protocol);
    }
    bool carries = k->length > 0 || !(str_eq(k->method, STR("GET")) || str_eq(k->method, STR("HEAD")));
    if (c->chunked)
        buf_puts(&b, "transfer-encoding: chunked\r\n");
    else if (carries && !k->upgraded)
        buf_printf(&b, "content-length: %lld\r\n", (long long)k->length);
    buf_puts(&b, "\r\n");
    stream_write(c->stream, b.p, b.n);
}

static void run(struct h1cc *c, struct http_call *k)
{
    c->call = k;
    c->chunked = k->length < 0 && !k->upgraded;
    c->sent_end = c->in_body = c->close = false;
    timer_del(&c->idle);
    call_taken(k, &h1_call_ops, c);
    send_head(c);
    send_body(c);
    stream_pause(c->stream, false);
}

static bool h1_take(struct cconn *x, struct http_call *k)
{
    struct h1cc *c = container_of(x, struct h1cc, c);
    if (c->call || c->eof || c->gone || c->in.n)
        return false;
    run(c, k);
    return true;
}

/* ---- receiving ---- */
static void on_idle(struct timer *t)
{
    leave(container_of(t, struct h1cc, idle), NULL, false);
}

static void complete(struct h1cc *c)
{
    struct http_call *k = TAKE(c->call);
    bool keep = !c->close && c->sent_end && !c->eof && !c->in.n;
    c->used = true;
    c->c.reserved = false;
    c->in_body = false;
    if (!keep) {
        leave(c, NULL, false);
    } else {
        timer_in(c->c.client->loop, &c->idle, c->c.client->lim.idle_ms * NS_PER_MS, on_idle);
        client_dispatch(c->c.client);
    }
    call_end(k, NULL);
}

static void upgrade(struct h1cc *c, const struct http_response *r)
{
    struct http_call *k = TAKE(c->call);
    struct stream *s = TAKE(c->stream);
    stream_unread(s, c->in.p, c->in.n);
    buf_clear(&c->in);
    stream_use(s, NULL, NULL);
    stream_pause(s, false);
    leave(c, NULL, false);
    call_upgraded(k, s, r);
}

static void plan_body(struct h1cc *c, const struct h1_head *h)
{
    bool none = str_eq(c->call->method, STR("HEAD")) || h->status == 204 || h->status == 304;
    enum h1_body_kind kind = none ? H1_NONE : h->chunked ? H1_CHUNKED : h->length >= 0 ? H1_LENGTH : H1_UNTIL_CLOSE;
    h1_body_init(&c->body, kind, (uint64_t)MAX(h->length, 0));
    c->close = h->close || (h->minor == 0 && !h->keep_alive) || kind == H1_UNTIL_CLOSE;
}

/* False: no whole head yet, or the connection is gone. */
static bool take_head(struct h1cc *c)
{
    size_t max = c->c.client->lim.head, n = h1_head_end(buf_str(&c->in), c->searched);
    if ((n ? n : c->in.n) > max) {
        fail(c, "the head of the answer is too large", false);
        return false;
    }
    if (!n) {
        c->searched = c->in.n > 3 ? c->in.n - 3 : 0;
        return false;
    }
    c->searched = 0;
    struct http_call *k = c->call;
    struct pool *p = pool_new();
    char *head = pool_alloc(p, n);
    memcpy(head, c->in.p, n);
    buf_drop(&c->in, n);
    struct h1_head h;
    const char *why = NULL;
    if (h1_parse_response(head, n, p, c->c.client->lim.headers, &h, &why) != 0) {
        pool_free(p);
        fail(c, why, false);
        return false;
    }
    struct http_response r = {h.status, h.headers, h.nheaders};
    if (h.status == 101 && k->upgraded) {
        upgrade(c, &r);
    } else if (h.status == 101) {
        fail(c, "101 to a request that asked for no upgrade", false);
    } else if (h.status >= 200) {
        plan_body(c, &h);
        c->in_body = true;
        call_head(k, &r);
    }
    pool_free(p);
    return !c->gone;
}

static bool take_body(struct h1cc *c)
{
    struct str in = buf_str(&c->in), data;
    if (c->call->paused)
        return false;
    int r = h1_body_next(&c->body, &in, &data);
    if (r < 0) {
        fail(c, "malformed chunked body", false);
        return false;
    }
    if (r > 0) {
        struct buf b = c->in; /* callbacks may end the connection: keep what data points to */
        c->in = BUF_INIT;
        buf_str_add(&c->in, in);
        call_data(c->call, data.p, data.n);
        buf_clear(&b);
        return !c->gone && c->call;
    }
    buf_drop(&c->in, c->in.n - in.n);
    if (c->body.done)
        complete(c);
    return false;
}

static void work(struct h1cc *c)
{
    if (c->feeding || c->gone)
        return;
    c->feeding = true;
    bool more = true;
    while (more && !c->gone && c->call)
        more = c->in_body ? take_body(c) : c->in.n ? take_head(c) : false;
    c->feeding = false;
    if (c->gone)
        return;
    if (!c->call && c->in.n) {
        fail(c, "bytes that nobody asked for", false);
        return;
    }
    if (!c->in.n)
        buf_clear(&c->in);
    stream_pause(c->stream, c->call && c->call->paused);
    if (!c->eof)
        return;
    if (c->call && c->in_body && c->body.kind == H1_UNTIL_CLOSE && !c->call->paused)
        complete(c);
    else if (c->call && !c->call->paused)
        fail(c, "the peer closed the connection", c->used);
    else if (!c->call)
        leave(c, NULL, false);
}

static void on_go(struct defer *d)
{
    work(container_of(d, struct h1cc, go));
}

static void on_data(void *arg, const char *p, size_t n)
{
    struct h1cc *c = arg;
    struct str in = str_make(p, n), data;
    /* the common case goes straight through: data of a body, nothing kept */
    while (c->call && c->in_body && !c->in.n && !c->call->paused && !c->gone && h1_body_next(&c->body, &in, &data) > 0) {
        c->feeding = true;
        call_data(c->call, data.p, data.n);
        c->feeding = false;
    }
    if (c->gone)
        return;
    buf_add(&c->in, in.p, in.n);
    work(c);
}

static void on_drain(void *arg)
{
    struct h1cc *c = arg;
    if (c->call)
        call_drain(c->call);
}

static void on_eof(void *arg)
{
    struct h1cc *c = arg;
    c->eof = true;
    work(c);
}

static void on_close(void *arg, const struct err *why)
{
    struct h1cc *c = arg;
    c->stream = NULL;
    if (why)
        leave(c, why, c->used);
    else
        fail(c, "the peer closed the connection", c->used);
}

static const struct stream_events h1_events = {on_data, on_drain, on_eof, on_close};

/* ---- the call's view ---- */
static struct h1cc *conn_of(const struct http_call *k)
{
    return k->conn;
}
static void k_send(struct http_call *k)
{
    send_body(conn_of(k));
}
static size_t k_queued(const struct http_call *k)
{
    return stream_queued(conn_of(k)->stream);
}

static void k_pause(struct http_call *k)
{
    struct h1cc *c = conn_of(k);
    loop_defer(c->c.client->loop, &c->go, on_go);
}

static void k_cancel(struct http_call *k)
{
    struct h1cc *c = conn_of(k);
    c->call = NULL;
    if (c->stream)
        stream_abort(TAKE(c->stream));
    leave(c, NULL, false);
}

static const struct call_ops h1_call_ops = {k_send, k_queued, k_pause, k_cancel};

static void h1_cut(struct cconn *x)
{
    struct h1cc *c = container_of(x, struct h1cc, c);
    if (c->stream)
        stream_abort(TAKE(c->stream));
    fail(c, "the client was closed", false);
}

static const struct cconn_ops h1_cconn_ops = {h1_take, h1_cut};

struct cconn *h1_client(struct http_client *cl, struct stream *s, struct http_call *reserved)
{
    struct h1cc *c = xcalloc(1, sizeof *c);
    c->stream = s;
    cconn_add(cl, &c->c, &h1_cconn_ops, false);
    c->c.reserved = reserved != NULL;
    stream_use(s, &h1_events, c);
    if (reserved)
        run(c, reserved);
    else
        timer_in(cl->loop, &c->idle, cl->lim.idle_ms * NS_PER_MS, on_idle);
    return &c->c;
}
