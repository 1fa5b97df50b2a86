/* The handler's side of a request: body in, reply out, whatever the transport. */
#include <stdlib.h>
#include "http/h1_parse.h"
#include "http/server.h"

#define GZIP_FROM (128u << 10)
#define FIRST_RESERVE (64u << 10) /* of an announced body: its bytes have yet to come */

struct req *req_new(struct http_server *s, struct stream *conn, int version, const struct req_ops *ops, void *owner)
{
    struct pool *p = pool_new();
    struct req *r = pool_zalloc(p, sizeof *r);
    r->rq.pool = p;
    r->rq.conn = conn;
    r->rq.version = version;
    r->rq.started = loop_now(s->loop);
    r->server = s;
    r->ops = ops;
    r->owner = owner;
    r->length = -1;
    return r;
}

/* The one end of a request. */
static void req_over(struct req *r)
{
    r->over = true;
    r->rq.conn = NULL;
    if (r->rq.on_close)
        r->rq.on_close(&r->rq);
    buf_clear(&r->body);
    pool_free(r->rq.pool);
}

void req_gone(struct req *r)
{
    if (r && !r->over)
        req_over(r);
}

void req_run(struct req *r)
{
    r->is_head = str_eq(r->rq.method, STR("HEAD"));
    r->server->fn(&r->rq, r->server->arg);
}

bool req_target(struct req *r, struct str t)
{
    if (str_starts(t, STR("http://")) || str_starts(t, STR("https://"))) {
        struct str after = str_sub(t, t.p[4] == 's' ? 8 : 7, t.n);
        ssize_t slash = str_chr(after, '/');
        r->rq.authority = str_sub(after, 0, slash < 0 ? after.n : (size_t)slash);
        t = slash < 0 ? STR("/") : str_sub(after, (size_t)slash, after.n);
    }
    if (!t.n || (t.p[0] != '/' && !(str_eq(t, STR("*")) && str_eq(r->rq.method, STR("OPTIONS")))))
        return false;
    if (!str_cut(t, '?', &r->rq.path, &r->rq.query))
        r->rq.path = t;
    return true;
}

static void refuse(struct req *r, int status, const char *text)
{
    r->body_wanted = false;
    r->done = NULL;
    r->on_data = NULL;
    http_reply_str(&r->rq, status, "text/plain; charset=utf-8", str_of(text));
}

void req_timeout(struct req *r)
{
    if (r->started)
        http_abort(&r->rq);
    else
        refuse(r, 408, "408 Request Timeout: the body did not come\n");
}

void req_body(struct req *r, const char *p, size_t n)
{
    if (r->on_data) {
        r->on_data(&r->rq, p, n);
        return;
    }
    if (!r->done)
        return;
    if (n > r->limit - r->body.n) {
        refuse(r, 413, "413 Payload Too Large\n");
        return;
    }
    buf_add(&r->body, p, n);
}

void req_body_end(struct req *r)
{
    r->body_ended = true;
    if (r->on_data) {
        r->on_data(&r->rq, NULL, 0);
        return;
    }
    void (*done)(struct http_req *, struct str) = r->done;
    r->done = NULL;
    if (!done)
        return;
    struct str body = buf_str(&r->body);
    if (body.n) /* the memory goes into the pool's keeping as it is */
        pool_on_free(r->rq.pool, free, buf_take(&r->body));
    done(&r->rq, body);
}

void http_body(struct http_req *rq, size_t limit, void (*done)(struct http_req *rq, struct str body))
{
    struct req *r = req_of(rq);
    r->limit = limit ? limit : r->server->lim.body;
    r->done = done;
    if (r->length > 0 && (uint64_t)r->length > r->limit) {
        refuse(r, 413, "413 Payload Too Large\n");
        return;
    }
    if (r->length == 0 || r->body_ended) {
        req_body_end(r);
        return;
    }
    if (r->length > 0)
        buf_reserve(&r->body, MIN((size_t)r->length, (size_t)FIRST_RESERVE));
    r->body_wanted = true;
    r->ops->want(r);
}

void http_body_stream(struct http_req *rq, void (*on_data)(struct http_req *rq, const char *p, size_t n))
{
    struct req *r = req_of(rq);
    r->on_data = on_data;
    if (r->length == 0 || r->body_ended) {
        req_body_end(r);
        return;
    }
    r->body_wanted = true;
    r->ops->want(r);
}

void http_body_pause(struct http_req *rq, bool paused)
{
    struct req *r = req_of(rq);
    if (r->body_paused == paused)
        return;
    r->body_paused = paused;
    r->ops->want(r);
}

/* ---- replies ---- */
static struct str given(const struct http_header *h, size_t nh, struct str name)
{
    for (size_t i = 0; i < nh; i++)
        if (str_eq_nocase(h[i].name, name))
            return h[i].value;
    return STR_NULL;
}

static bool accepts_gzip(const struct http_req *rq)
{
    struct str v = http_header(rq, STR("accept-encoding")), piece;
    while (str_split(&v, ',', &piece)) {
        struct str name = str_trim(piece), q = STR_NULL;
        (void)str_cut(piece, ';', &name, &q);
        if (str_eq_nocase(str_trim(name), STR("gzip")))
            return !str_eq(str_trim(q), STR("q=0"));
    }
    return false;
}

/* The compressed body, n + 2 pieces, and the headers that go with it, or NULL. */
static struct http_part *compress(struct http_req *rq, const struct http_header **h, size_t *nh, const struct http_part *parts, size_t n)
{
    if (parts_length(parts, n) < GZIP_FROM || given(*h, *nh, STR("content-encoding")).p || !accepts_gzip(rq))
        return NULL;
    struct http_part *z = pool_array(rq->pool, struct http_part, n + 2);
    if (!gzip_parts(parts, n, z))
        return NULL;
    struct http_header *more = pool_alloc(rq->pool, sizeof *more * (*nh + 2));
    if (*nh)
        memcpy(more, *h, sizeof *more * *nh);
    more[*nh] = (struct http_header){STR("content-encoding"), STR("gzip")};
    more[*nh + 1] = (struct http_header){STR("vary"), STR("accept-encoding")};
    *h = more;
    *nh += 2;
    return z;
}

static void finish(struct req *r)
{
    r->ops->finish(r);
    req_over(r);
}

static bool bodyless(int status)
{
    return status == 204 || status == 304 || status < 200;
}

void http_reply_parts(struct http_req *rq, int status, const struct http_header *h, size_t nh, const struct http_part *parts, size_t n)
{
    struct req *r = req_of(rq);
    if (r->started)
        return;
    r->started = true;
    struct http_part *z = compress(rq, &h, &nh, parts, n);
    const struct http_part *send = z ? z : parts;
    size_t k = z ? n + 2 : n, length = parts_length(send, k);
    bool none = r->is_head || bodyless(status) || length == 0;
    r->ops->head(r, status, h, nh, bodyless(status) ? -1 : (int64_t)length, none);
    for (size_t i = 0; i < k && !none; i++)
        if (send[i].b && send[i].b->n)
            r->ops->data(r, send[i].b, 0, send[i].b->n);
    for (size_t i = 0; z && i < k; i++)
        bytes_unref(z[i].b);
    finish(r);
}

void http_reply(struct http_req *rq, int status, const struct http_header *h, size_t nh, struct bytes *body)
{
    struct http_part whole = {.b = body};
    http_reply_parts(rq, status, h, nh, &whole, 1);
}

void http_reply_str(struct http_req *rq, int status, const char *content_type, struct str body)
{
    struct http_header h = {STR("content-type"), str_of(content_type)};
    _cleanup_(bytes_unrefp) struct bytes *b = bytes_new(body.p ? body.p : "", body.n);
    http_reply(rq, status, &h, content_type ? 1 : 0, b);
}

void http_start(struct http_req *rq, int status, const struct http_header *h, size_t nh)
{
    struct req *r = req_of(rq);
    if (r->started)
        return;
    r->started = true;
    r->ops->head(r, status, h, nh, -1, r->is_head || bodyless(status));
}

void http_send(struct http_req *rq, struct bytes *b, size_t from, size_t n)
{
    struct req *r = req_of(rq);
    if (r->started && !r->is_head && n)
        r->ops->data(r, b, from, n);
}

void http_send_str(struct http_req *rq, struct str s)
{
    struct req *r = req_of(rq);
    if (r->started && !r->is_head && s.n)
        r->ops->copy(r, s);
}

void http_end(struct http_req *rq)
{
    struct req *r = req_of(rq);
    if (r->started)
        finish(r);
}

void http_abort(struct http_req *rq)
{
    struct req *r = req_of(rq);
    r->ops->abort(r);
    req_over(r);
}

size_t http_queued(const struct http_req *rq)
{
    struct req *r = req_of(rq);
    return r->ops->queued(r);
}

void req_drained(struct req *r)
{
    if (r->rq.on_drain)
        r->rq.on_drain(&r->rq);
}

struct stream *http_upgrade(struct http_req *rq, const struct http_header *h, size_t nh)
{
    struct req *r = req_of(rq);
    if (r->started)
        return NULL;
    r->started = true;
    struct stream *s = r->ops->upgrade(r, h, nh);
    req_over(r);
    return s;
}
