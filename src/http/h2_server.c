/* HTTP/2, server side: requests of a connection. */
#include <stdlib.h>
#include "http/h2.h"
#include "http/server.h"

struct h2c {
    struct sconn c; /* first */
    struct h2 *h2;
    struct defer reap;
};

static struct h2s *stream_of(const struct req *r)
{
    return r->owner;
}
static struct h2c *conn_of(const struct h2s *s)
{
    return s->h2->arg;
}
static const struct h2_role req_role;

/* ---- replies ---- */
static void r_head(struct req *r, int status, const struct http_header *h, size_t nh, int64_t length, bool none)
{
    struct h2s *s = stream_of(r);
    char text[8], len[24];
    nghttp2_nv *nv = pool_alloc(r->rq.pool, sizeof *nv * (nh + 3));
    snprintf(text, sizeof text, "%03u", (unsigned)status % 1000);
    nv[0] = h2_nv(STR(":status"), str_of(text));
    size_t n = 1 + h2_headers(r->rq.pool, nv + 1, h, nh);
    nv[n++] = h2_nv(STR("date"), server_date(r->server));
    if (length >= 0) {
        snprintf(len, sizeof len, "%lld", (long long)length);
        nv[n++] = h2_nv(STR("content-length"), str_of(len));
    }
    h2s_respond(s, nv, n, !none);
}

static void r_data(struct req *r, struct bytes *b, size_t from, size_t n)
{
    h2s_write(stream_of(r), b, from, n);
}
static void r_copy(struct req *r, struct str s)
{
    h2s_copy(stream_of(r), s.p, s.n);
}

static void r_finish(struct req *r)
{
    struct h2s *s = stream_of(r);
    s->role = NULL;
    s->user = NULL;
    h2s_end(s);
    h2s_pause(s, false); /* what still comes is thrown away */
}

static void r_abort(struct req *r)
{
    struct h2s *s = stream_of(r);
    s->role = NULL;
    s->user = NULL;
    h2s_reset(s, NGHTTP2_INTERNAL_ERROR);
}

static size_t r_queued(const struct req *r)
{
    return stream_of(r)->out.n;
}
static void r_want(struct req *r)
{
    h2s_pause(stream_of(r), !r->body_wanted || r->body_paused);
}

static struct stream *r_upgrade(struct req *r, const struct http_header *h, size_t nh)
{
    struct h2s *s = stream_of(r);
    nghttp2_nv *nv = pool_alloc(r->rq.pool, sizeof *nv * (nh + 1));
    nv[0] = h2_nv(STR(":status"), STR("200"));
    size_t n = 1 + h2_headers(r->rq.pool, nv + 1, h, nh);
    h2s_respond(s, nv, n, true);
    return h2s_tunnel(s);
}

static const struct req_ops h2_ops = {r_head, r_data, r_copy, r_finish, r_abort, r_queued, r_want, r_upgrade};

/* ---- requests ---- */
static void refuse(struct h2s *s, const char *status)
{
    nghttp2_nv nv = h2_nv(STR(":status"), str_of(status));
    s->role = NULL;
    s->user = NULL;
    h2s_respond(s, &nv, 1, false);
}

static int64_t announced(const struct http_req *rq, bool end)
{
    uint64_t n;
    if (end)
        return 0;
    for (size_t i = 0; i < rq->nheaders; i++)
        if (str_eq(rq->headers[i].name, STR("content-length")) && str_to_u64(rq->headers[i].value, &n) && n <= INT64_MAX)
            return (int64_t)n;
    return -1;
}

static void q_head(struct h2s *s, bool end)
{
    struct h2c *c = conn_of(s);
    bool connect = str_eq(s->method, STR("CONNECT"));
    if (s->too_large || (connect && !s->protocol.p)) {
        refuse(s, s->too_large ? "431" : "501");
        return;
    }
    struct req *r = req_new(c->c.server, c->c.stream, 2, &h2_ops, s);
    pool_on_free(r->rq.pool, (void (*)(void *))pool_free, TAKE(s->pool)); /* the head's memory lives as long as the request */
    r->rq.method = s->method;
    r->rq.authority = s->authority;
    r->rq.protocol = s->protocol;
    r->rq.headers = s->headers;
    r->rq.nheaders = s->nheaders;
    s->headers = NULL;
    if (!s->authority.n)
        r->rq.authority = http_header(&r->rq, STR("host"));
    if (!req_target(r, s->path)) {
        req_gone(r);
        refuse(s, "400");
        return;
    }
    r->length = announced(&r->rq, end);
    r->body_ended = end;
    s->user = r;
    s->paused = !end;
    s->in_end_told = end;
    req_run(r);
}

static void q_data(struct h2s *s, const char *p, size_t n)
{
    if (s->user)
        req_body(s->user, p, n);
}

static void q_end(struct h2s *s)
{
    if (s->user)
        req_body_end(s->user);
}

static void q_drain(struct h2s *s)
{
    if (s->user)
        req_drained(s->user);
}

static void q_closed(struct h2s *s, const struct err *why)
{
    if (s->user)
        req_gone(TAKE(s->user));
}

static const struct h2_role req_role = {q_head, q_data, q_end, q_drain, q_closed, false};

/* ---- the connection ---- */
static void on_open(struct h2s *s)
{
    struct h2c *c = conn_of(s);
    s->role = &req_role;
    if (s->h2->nstreams == 1)
        sconn_deadline(&c->c, c->c.server->lim.body_ms * NS_PER_MS);
}

static void on_idle(void *arg)
{
    struct h2c *c = arg;
    sconn_deadline(&c->c, c->c.server->lim.idle_ms * NS_PER_MS);
}

static void on_reap(struct defer *d)
{
    free(container_of(d, struct h2c, reap));
}

static void on_dead(void *arg, const struct err *why)
{
    struct h2c *c = arg;
    struct loop *l = c->c.server->loop;
    sconn_end(&c->c);
    loop_defer(l, &c->reap, on_reap);
}

static const struct h2_owner owner = {.open = on_open, .idle = on_idle, .dead = on_dead};

static void c_drain(struct sconn *sc)
{
    h2_goaway(container_of(sc, struct h2c, c)->h2);
}
static void c_cut(struct sconn *sc)
{
    h2_kill(container_of(sc, struct h2c, c)->h2, NULL);
}

/* Streams on which nothing moved: a body that does not come, a reply that nobody fetches. */
static void sweep(struct h2c *c)
{
    struct http_server *sv = c->c.server;
    int64_t old = loop_now(sv->loop) - sv->lim.body_ms * NS_PER_MS;
    for (bool again = true; again && !c->h2->dead;) {
        struct h2s *s;
        again = false;
        list_for (&c->h2->streams, s, node) {
            struct req *r = s->role == &req_role ? s->user : NULL;
            bool stuck = r ? r->body_wanted && !r->body_paused && !s->in_end : !s->role;
            if (!stuck || s->active > old)
                continue;
            s->active = loop_now(sv->loop);
            if (r)
                req_timeout(r);
            else
                h2s_reset(s, NGHTTP2_CANCEL);
            again = true;
            break;
        }
    }
}

static void c_expired(struct sconn *sc)
{
    struct h2c *c = container_of(sc, struct h2c, c);
    if (!c->h2->nstreams) {
        h2_goaway(c->h2);
        return;
    }
    sweep(c);
    if (!c->h2->dead)
        sconn_deadline(sc, sc->server->lim.body_ms * NS_PER_MS / 2);
}

static const struct sconn_ops h2_sconn_ops = {c_drain, c_cut, c_expired};

void h2_serve(struct http_server *s, struct stream *stream, void (*on_closed)(void *arg), void *arg, const char *data, size_t n)
{
    struct h2c *c = xcalloc(1, sizeof *c);
    struct err *e = NULL;
    c->h2 = h2_new(stream, true, &s->lim, &owner, c, &e);
    if (!c->h2) {
        err_free(e);
        free(c);
        stream_abort(stream);
        if (on_closed)
            on_closed(arg);
        return;
    }
    sconn_init(&c->c, &h2_sconn_ops, s, stream, on_closed, arg);
    sconn_deadline(&c->c, s->lim.head_ms * NS_PER_MS);
    if (s->draining)
        h2_goaway(c->h2);
    h2_feed(c->h2, data, n);
}
