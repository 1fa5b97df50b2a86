/* HTTP/1.1, server side: one connection.
 *
 *     HEAD ──head complete──▶ BODY ──body complete──▶ WAIT ──reply out──▶ HEAD (keep-alive) or closed
 *
 * One request at a time; what is pipelined behind it waits in c->in, and the stream is paused when that grows. A body is read only when the
 * handler asks (so that it can refuse first); what nobody asked for is skipped when it is small, else the connection is closed after the
 * reply. */
#include <stdlib.h>
#include "http/h1_parse.h"
#include "http/server.h"
#include "http/stream_impl.h"

#define SKIP_MAX (256u << 10) /* of an unread body, before closing is cheaper */
#define HOLD_MAX (64u << 10)  /* of input that waits for the current request */

enum h1_state { H1_HEAD, H1_BODY, H1_WAIT };

struct h1c {
    struct sconn c; /* first */
    enum h1_state state;
    struct buf in;
    struct str cur; /* while feeding: what is left of the input */
    size_t searched;
    struct req *req;
    struct h1_body body;
    struct defer go, reap;
    bool fresh, feeding, keep, http10, chunked, expect, eof, gone, head_timed;
};

static const struct stream_events h1_events;
static void go_on(struct h1c *c);

static void on_reap(struct defer *d)
{
    struct h1c *c = container_of(d, struct h1c, reap);
    buf_clear(&c->in);
    free(c);
}

/* The connection leaves; its stream was closed or given away by the caller, its request told. */
static void leave(struct h1c *c)
{
    if (c->gone)
        return;
    c->gone = true;
    struct loop *l = c->c.server->loop;
    defer_del(l, &c->go);
    sconn_end(&c->c);
    c->c.stream = NULL;
    c->c.server = NULL;
    loop_defer(l, &c->reap, on_reap);
}

static void shut(struct h1c *c, bool abort)
{
    if (c->gone)
        return;
    struct req *r = TAKE(c->req);
    struct stream *s = TAKE(c->c.stream);
    leave(c);
    (abort ? stream_abort : stream_close)(s);
    req_gone(r);
}

static void put_status(struct buf *b, int status)
{
    buf_printf(b, "HTTP/1.1 %d %s\r\n", status, h1_status_text(status));
}

/* An answer to what is no request; the connection ends with it. */
static void refuse(struct h1c *c, int status, const char *why)
{
    struct buf *b = &c->c.server->scratch;
    const char *text = h1_status_text(status);
    buf_reset(b);
    put_status(b, status);
    buf_printf(b, "content-type: text/plain; charset=utf-8\r\nconnection: close\r\ncontent-length: %zu\r\n\r\n%d %s: %s\n",
        strlen(text) + strlen(why) + 7, status, text, why);
    stream_write(c->c.stream, b->p, b->n);
    shut(c, false);
}

/* ---- replies ---- */
static struct h1c *owner(const struct req *r)
{
    return r->owner;
}

static bool worth_skipping(const struct h1c *c)
{
    if (c->body.done)
        return true;
    if (c->req && c->req->body_wanted) /* the handler reads it while it answers */
        return true;
    return !c->expect && c->body.kind == H1_LENGTH && c->body.left <= SKIP_MAX;
}

static bool reserved_name(struct str n)
{
    return str_eq_nocase(n, STR("content-length")) || str_eq_nocase(n, STR("transfer-encoding")) || str_eq_nocase(n, STR("connection"));
}

static void h1_head(struct req *r, int status, const struct http_header *h, size_t nh, int64_t length, bool none)
{
    struct h1c *c = owner(r);
    struct http_server *s = c->c.server;
    struct buf *b = &s->scratch;
    c->chunked = length < 0 && !none && !c->http10;
    if (s->draining || !worth_skipping(c) || (length < 0 && !none && c->http10) || c->eof)
        c->keep = false;
    buf_reset(b);
    put_status(b, status);
    for (size_t i = 0; i < nh; i++)
        if (!reserved_name(h[i].name))
            h1_put_header(b, h[i].name, h[i].value);
    buf_puts(b, "date: ");
    buf_str_add(b, server_date(s));
    buf_puts(b, "\r\n");
    if (length >= 0) {
        buf_puts(b, "content-length: ");
        buf_i64(b, length);
        buf_puts(b, "\r\n");
    } else if (c->chunked) {
        buf_puts(b, "transfer-encoding: chunked\r\n");
    }
    if (!c->keep)
        buf_puts(b, "connection: close\r\n");
    else if (c->http10)
        buf_puts(b, "connection: keep-alive\r\n");
    buf_puts(b, "\r\n");
    stream_write(c->c.stream, b->p, b->n);
}

static void chunk_size(struct h1c *c, size_t n)
{
    char line[24];
    int k = snprintf(line, sizeof line, "%zx\r\n", n);
    stream_write(c->c.stream, line, (size_t)k);
}

static void h1_data(struct req *r, struct bytes *b, size_t from, size_t n)
{
    struct h1c *c = owner(r);
    if (c->chunked)
        chunk_size(c, n);
    stream_write_bytes(c->c.stream, b, from, n);
    if (c->chunked)
        stream_write(c->c.stream, "\r\n", 2);
}

static void h1_copy(struct req *r, struct str s)
{
    struct h1c *c = owner(r);
    if (c->chunked)
        chunk_size(c, s.n);
    stream_write(c->c.stream, s.p, s.n);
    if (c->chunked)
        stream_write(c->c.stream, "\r\n", 2);
}

static void on_go(struct defer *d)
{
    go_on(container_of(d, struct h1c, go));
}

static void continue_later(struct h1c *c)
{
    if (!c->feeding && !c->gone)
        loop_defer(c->c.server->loop, &c->go, on_go);
}

static void h1_finish(struct req *r)
{
    struct h1c *c = owner(r);
    if (c->chunked)
        stream_write(c->c.stream, "0\r\n\r\n", 5);
    c->chunked = false;
    c->req = NULL;
    if (!worth_skipping(c))
        c->keep = false;
    else if (!c->body.done)
        sconn_deadline(&c->c, c->c.server->lim.body_ms * NS_PER_MS);
    continue_later(c);
}

static void h1_abort(struct req *r)
{
    struct h1c *c = owner(r);
    c->req = NULL;
    shut(c, true);
}

static size_t h1_queued(const struct req *r)
{
    return stream_queued(owner(r)->c.stream);
}

static void h1_want(struct req *r)
{
    struct h1c *c = owner(r);
    if (c->expect && r->body_wanted) {
        c->expect = false;
        stream_write(c->c.stream, "HTTP/1.1 100 Continue\r\n\r\n", 25);
    }
    if (c->state == H1_BODY && !c->body.done)
        sconn_deadline(&c->c, c->c.server->lim.body_ms * NS_PER_MS);
    continue_later(c);
}

static struct stream *h1_upgrade(struct req *r, const struct http_header *h, size_t nh)
{
    struct h1c *c = owner(r);
    struct buf *b = &c->c.server->scratch;
    buf_reset(b);
    put_status(b, 101);
    for (size_t i = 0; i < nh; i++)
        if (!reserved_name(h[i].name) && !str_eq_nocase(h[i].name, STR("upgrade")))
            h1_put_header(b, h[i].name, h[i].value);
    buf_puts(b, "connection: Upgrade\r\n");
    h1_put_header(b, STR("upgrade"), r->rq.protocol);
    buf_puts(b, "\r\n");
    struct stream *s = TAKE(c->c.stream);
    stream_write(s, b->p, b->n);
    struct str rest = c->feeding ? c->cur : buf_str(&c->in);
    stream_unread(s, rest.p, rest.n);
    stream_use(s, NULL, NULL);
    stream_pause(s, false);
    c->req = NULL;
    leave(c);
    return s;
}

static const struct req_ops h1_ops = {h1_head, h1_data, h1_copy, h1_finish, h1_abort, h1_queued, h1_want, h1_upgrade};

/* ---- requests ---- */
static void start(struct h1c *c, struct req *r, const struct h1_head *h)
{
    r->rq.method = h->method;
    r->rq.headers = h->headers;
    r->rq.nheaders = h->nheaders;
    r->rq.protocol = h->upgrade && h->minor == 1 ? h->protocol : STR_NULL;
    r->length = h->chunked ? -1 : MAX(h->length, 0);
    if (r->rq.authority.n == 0)
        r->rq.authority = h->host;
    c->req = r;
    c->http10 = h->minor == 0;
    c->keep = c->http10 ? h->keep_alive && !h->close : !h->close;
    c->chunked = false;
    c->expect = h->expect_continue && r->length != 0;
    h1_body_init(&c->body, h->chunked ? H1_CHUNKED : h->length > 0 ? H1_LENGTH : H1_NONE, (uint64_t)MAX(h->length, 0));
    r->body_ended = c->body.done;
    c->state = c->body.done ? H1_WAIT : H1_BODY;
    sconn_deadline(&c->c, 0);
    req_run(r);
}

static bool take_head(struct h1c *c)
{
    struct http_server *s = c->c.server;
    while (c->cur.n >= 2 && c->cur.p[0] == '\r' && c->cur.p[1] == '\n') { /* RFC 9112 2.2 */
        c->cur = str_sub(c->cur, 2, c->cur.n);
        c->searched = 0;
    }
    size_t n = h1_head_end(c->cur, c->searched);
    if ((n ? n : c->cur.n) > s->lim.head) {
        refuse(c, 431, "the head is too large");
        return false;
    }
    if (!n) {
        c->searched = c->cur.n > 3 ? c->cur.n - 3 : 0;
        if (!c->cur.n)
            sconn_deadline(&c->c, (c->fresh ? s->lim.head_ms : s->lim.idle_ms) * NS_PER_MS);
        else if (!c->head_timed)
            sconn_deadline(&c->c, s->lim.head_ms * NS_PER_MS);
        c->head_timed = c->cur.n > 0;
        return false;
    }
    c->searched = 0;
    c->head_timed = false;
    c->fresh = false;
    struct req *r = req_new(s, c->c.stream, 1, &h1_ops, c);
    char *head = pool_alloc(r->rq.pool, n);
    memcpy(head, c->cur.p, n);
    c->cur = str_sub(c->cur, n, c->cur.n);
    struct h1_head h;
    const char *why = "malformed request target";
    int status = h1_parse_request(head, n, r->rq.pool, s->lim.headers, &h, &why);
    if (!status) {
        r->rq.method = h.method;
        if (str_eq(h.method, STR("CONNECT")))
            status = 501, why = "this is no forward proxy";
        else if (!req_target(r, h.target))
            status = 400;
    }
    if (status) {
        req_gone(r);
        refuse(c, status, why);
        return false;
    }
    start(c, r, &h);
    return !c->gone;
}

/* Moves body bytes to the request, or past it. False: nothing more can be done now. */
static bool take_body(struct h1c *c)
{
    struct str data;
    if (c->req && (!c->req->body_wanted || c->req->body_paused))
        return false;
    if (!c->req && !c->keep) {
        shut(c, false);
        return false;
    }
    int r = h1_body_next(&c->body, &c->cur, &data);
    if (r < 0) {
        if (c->req && !c->req->started) {
            req_gone(TAKE(c->req));
            refuse(c, 400, "malformed chunked body");
        } else {
            shut(c, true);
        }
        return false;
    }
    if (r > 0) {
        sconn_deadline(&c->c, c->c.server->lim.body_ms * NS_PER_MS);
        if (c->req)
            req_body(c->req, data.p, data.n);
        return !c->gone;
    }
    if (!c->body.done)
        return false;
    c->state = H1_WAIT;
    sconn_deadline(&c->c, 0);
    if (c->req)
        req_body_end(c->req);
    return !c->gone;
}

/* The request before is answered: another one may come. */
static bool next_request(struct h1c *c)
{
    if (c->req)
        return false;
    if (!c->keep || c->c.server->draining) {
        shut(c, false);
        return false;
    }
    c->state = H1_HEAD;
    return true;
}

static void feed(struct h1c *c)
{
    bool more = true;
    c->feeding = true;
    while (more && !c->gone)
        more = c->state == H1_HEAD ? take_head(c) : c->state == H1_BODY ? take_body(c) : next_request(c);
    c->feeding = false;
}

static void settle(struct h1c *c)
{
    if (c->gone)
        return;
    stream_pause(c->c.stream, c->state != H1_HEAD && c->in.n >= HOLD_MAX);
    if (c->eof && !c->req)
        shut(c, false);
}

/* Works on what is kept. */
static void go_on(struct h1c *c)
{
    if (c->gone)
        return;
    c->cur = buf_str(&c->in);
    feed(c);
    if (c->gone)
        return;
    if (c->cur.n)
        buf_drop(&c->in, c->in.n - c->cur.n);
    else
        buf_clear(&c->in);
    settle(c);
}

/* The first bytes tell HTTP/2 from HTTP/1. True: the connection was handed over. */
static bool became_h2(struct h1c *c, struct str in)
{
    static const struct str preface = {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 24};
    bool h2 = str_eq(stream_alpn(c->c.stream), STR("h2"));
    if (!h2 && memcmp(in.p, preface.p, MIN(in.n, preface.n)) != 0)
        return false;
    if (!h2 && in.n < 4)
        return false; /* too early to say; a head of three bytes is not complete either */
    struct http_server *s = c->c.server;
    struct stream *st = TAKE(c->c.stream);
    void (*on_close)(void *) = c->c.on_close;
    c->c.on_close = NULL;
    leave(c);
    h2_serve(s, st, on_close, c->c.arg, in.p, in.n);
    return true;
}

static void on_data(void *arg, const char *p, size_t n)
{
    struct h1c *c = arg;
    if (c->in.n) {
        buf_add(&c->in, p, n);
        if (!c->fresh || !became_h2(c, buf_str(&c->in)))
            go_on(c);
        return;
    }
    if (c->fresh && became_h2(c, str_make(p, n)))
        return;
    c->cur = str_make(p, n);
    feed(c);
    if (c->gone)
        return;
    buf_add(&c->in, c->cur.p, c->cur.n);
    settle(c);
}

static void on_drain(void *arg)
{
    struct h1c *c = arg;
    if (c->req)
        req_drained(c->req);
}

/* The peer sends no more. TCP does not tell a half-close from a client that went away, and no client in use half-closes: whoever waits for
 * an answer is taken for gone, so that a watch or a held call ends (as Go's server cancels the request's context). */
static void on_eof(void *arg)
{
    struct h1c *c = arg;
    c->eof = true;
    c->keep = false;
    if (c->req)
        shut(c, false);
    else
        settle(c);
}

static void on_close(void *arg, const struct err *why)
{
    struct h1c *c = arg;
    struct req *r = TAKE(c->req);
    c->c.stream = NULL;
    leave(c);
    req_gone(r);
}

static const struct stream_events h1_events = {on_data, on_drain, on_eof, on_close};

static void h1_drain(struct sconn *sc)
{
    struct h1c *c = container_of(sc, struct h1c, c);
    if (c->state == H1_HEAD && !c->in.n)
        shut(c, false);
}

static void h1_cut(struct sconn *sc)
{
    shut(container_of(sc, struct h1c, c), true);
}

static void h1_expired(struct sconn *sc)
{
    struct h1c *c = container_of(sc, struct h1c, c);
    c->keep = false;
    if (c->state == H1_HEAD && c->in.n)
        refuse(c, 408, "the head did not come in time");
    else if (c->state == H1_BODY && c->req)
        req_timeout(c->req);
    else
        shut(c, c->state == H1_BODY);
}

static const struct sconn_ops h1_sconn_ops = {h1_drain, h1_cut, h1_expired};

void h1_serve(struct http_server *s, struct stream *stream, void (*on_closed)(void *arg), void *arg)
{
    struct h1c *c = xcalloc(1, sizeof *c);
    sconn_init(&c->c, &h1_sconn_ops, s, stream, on_closed, arg);
    c->fresh = true;
    sconn_deadline(&c->c, s->lim.head_ms * NS_PER_MS);
    stream_use(stream, &h1_events, c);
}
