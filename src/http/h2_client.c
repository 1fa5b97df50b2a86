/* HTTP/2, client side: one connection, many calls. */
#include <stdlib.h>
#include "http/client.h"
#include "http/h2.h"

struct ping {
    struct list node;
    int64_t sent;
    void (*pong)(void *arg, int64_t rtt_ns);
    void *arg;
};
struct h2cc {
    struct cconn c; /* first */
    struct h2 *h2;
    struct list pings;
    struct timer idle;
    struct defer reap;
    bool gone;
};

/* ---- the stream's view ---- */
static void k_head(struct h2s *s, bool end)
{
    struct http_call *k = s->user;
    struct http_response r = {s->status, s->headers, s->nheaders};
    if (k->upgraded && s->status >= 200 && s->status < 300 && !end) {
        timer_del(&k->timer);
        call_upgraded(k, h2s_tunnel(s), &r);
        return;
    }
    call_head(k, &r);
    if (s->role && s->user)
        h2s_pause(s, k->paused);
}

static void k_data(struct h2s *s, const char *p, size_t n)
{
    call_data(s->user, p, n);
}
static void k_drain(struct h2s *s)
{
    call_drain(s->user);
}

static void k_end(struct h2s *s)
{
    struct http_call *k = TAKE(s->user);
    s->role = NULL;
    if (!s->out_end) /* the answer came before the question was asked in full */
        h2s_reset(s, NGHTTP2_NO_ERROR);
    call_end(k, NULL);
}

static void k_closed(struct h2s *s, const struct err *why)
{
    struct http_call *k = TAKE(s->user);
    call_end(k, why);
}

static const struct h2_role call_role = {k_head, k_data, k_end, k_drain, k_closed, false};

/* ---- the call's view ---- */
static void call_send(struct http_call *k)
{
    struct h2s *s = k->conn;
    for (struct outseg *g; k->body.n; outq_drop(&k->body, g->n)) {
        g = &k->body.seg[k->body.head];
        h2s_write(s, g->b, g->from, g->n);
    }
    if (k->body_end && !k->upgraded)
        h2s_end(s);
}

static size_t call_queued(const struct http_call *k)
{
    return ((struct h2s *)k->conn)->out.n;
}
static void call_pause(struct http_call *k)
{
    h2s_pause(k->conn, k->paused);
}

static void call_cancel(struct http_call *k)
{
    struct h2s *s = k->conn;
    s->user = NULL;
    s->role = NULL;
    h2s_reset(s, NGHTTP2_CANCEL);
}

static const struct call_ops h2_call_ops = {call_send, call_queued, call_pause, call_cancel};

static struct str host_of(const struct http_call *k)
{
    for (size_t i = 0; i < k->nheaders; i++)
        if (str_eq_nocase(k->headers[i].name, STR("host")))
            return k->headers[i].value;
    return str_of(k->client->authority);
}

static bool h2_take(struct cconn *x, struct http_call *k)
{
    struct h2cc *c = container_of(x, struct h2cc, c);
    struct h2 *h = c->h2;
    if (c->gone || (k->upgraded && !h->got_settings)) /* RFC 8441 3: not before the server said that it can */
        return false;
    if (k->upgraded && !nghttp2_session_get_remote_settings(h->ng, NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL)) {
        struct err *e = NULL;
        err_set(&e, ERR_NOT_IMPLEMENTED, "the peer's HTTP/2 has no extended CONNECT");
        call_fail_later(k, e);
        return true;
    }
    nghttp2_nv *nv = pool_alloc(k->pool, sizeof *nv * (k->nheaders + 6));
    char len[24];
    size_t n = 0;
    nv[n++] = h2_nv(STR(":method"), k->upgraded ? STR("CONNECT") : k->method);
    nv[n++] = h2_nv(STR(":scheme"), c->c.client->ep.tls || c->c.client->fixed ? STR("https") : STR("http"));
    nv[n++] = h2_nv(STR(":authority"), host_of(k));
    nv[n++] = h2_nv(STR(":path"), k->path);
    if (k->upgraded)
        nv[n++] = h2_nv(STR(":protocol"), k->protocol);
    n += h2_headers(k->pool, nv + n, k->headers, k->nheaders);
    if (k->length > 0 && !k->upgraded) {
        snprintf(len, sizeof len, "%lld", (long long)k->length);
        nv[n++] = h2_nv(STR("content-length"), str_of(len));
    }
    bool body = k->upgraded || k->length != 0;
    struct h2s *s = h2_request(h, nv, n, body, &call_role, k);
    if (!s)
        return false;
    s->out_end = !body;
    timer_del(&c->idle);
    call_taken(k, &h2_call_ops, s);
    s->paused = k->paused;
    if (body)
        call_send(k);
    return true;
}

/* ---- the connection ---- */
static void on_idle_timer(struct timer *t)
{
    struct h2cc *c = container_of(t, struct h2cc, idle);
    if (!c->h2->nstreams)
        h2_goaway(c->h2);
}

static void on_idle(void *arg)
{
    struct h2cc *c = arg;
    if (!c->c.client->fixed)
        timer_in(c->c.client->loop, &c->idle, c->c.client->lim.idle_ms * NS_PER_MS, on_idle_timer);
    client_dispatch(c->c.client);
}

static void on_settings(void *arg)
{
    client_dispatch(((struct h2cc *)arg)->c.client);
}

static void on_pong(void *arg)
{
    struct h2cc *c = arg;
    struct ping *p = list_first(&c->pings, struct ping, node);
    if (!p)
        return;
    list_remove(&p->node);
    if (p->pong)
        p->pong(p->arg, loop_now(c->c.client->loop) - p->sent);
    free(p);
}

static void on_reap(struct defer *d)
{
    free(container_of(d, struct h2cc, reap));
}

static void on_dead(void *arg, const struct err *why)
{
    struct h2cc *c = arg;
    struct loop *l = c->c.client->loop;
    c->gone = true;
    timer_del(&c->idle);
    for (struct ping *p; (p = list_first(&c->pings, struct ping, node));) {
        list_remove(&p->node);
        free(p);
    }
    loop_defer(l, &c->reap, on_reap);
    cconn_gone(&c->c, why);
}

static const struct h2_owner owner = {.idle = on_idle, .settings = on_settings, .pong = on_pong, .dead = on_dead};

static void h2_cut(struct cconn *x)
{
    struct h2cc *c = container_of(x, struct h2cc, c);
    h2_kill(c->h2, NULL);
}

static const struct cconn_ops h2_cconn_ops = {h2_take, h2_cut};

struct cconn *h2_client(struct http_client *cl, struct stream *s, struct err **e)
{
    struct h2cc *c = xcalloc(1, sizeof *c);
    list_init(&c->pings);
    c->h2 = h2_new(s, false, &cl->lim, &owner, c, e);
    if (!c->h2) {
        free(c);
        return NULL;
    }
    cconn_add(cl, &c->c, &h2_cconn_ops, true);
    return &c->c;
}

void h2_client_ping(struct cconn *x, void (*pong)(void *arg, int64_t rtt_ns), void *arg)
{
    struct h2cc *c = container_of(x, struct h2cc, c);
    struct ping *p = xcalloc(1, sizeof *p);
    p->sent = loop_now(x->client->loop);
    p->pong = pong;
    p->arg = arg;
    list_push(&c->pings, &p->node);
    nghttp2_submit_ping(c->h2->ng, NGHTTP2_FLAG_NONE, NULL);
    h2_schedule(c->h2);
}
