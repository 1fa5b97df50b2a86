#include "http/client.h"
#include <stdlib.h>

#define DEFAULT_CONNECTIONS 8
#define HEAD_MS 30000
#define REFUSAL_MAX 512

struct dialing {
    struct list node;
    struct http_client *client;
    struct dial *dial;
    struct http_call *call; /* an upgrade that wants this connection for itself; NULL when it was cancelled or for any */
    bool own;
};

static void on_dispatch(struct defer *d);

/* ---- making ---- */
static char *dup_or_null(const char *s)
{
    return s ? xstrdup(s) : NULL;
}

static struct http_client *client_new(struct loop *l, const struct http_limits *limits)
{
    struct http_client *c = xcalloc(1, sizeof *c);
    c->loop = l;
    if (limits)
        c->lim = *limits;
    struct http_limits *m = &c->lim;
    m->head = m->head ? m->head : 64u << 10;
    m->headers = m->headers ? m->headers : 100;
    m->connections = m->connections ? m->connections : DEFAULT_CONNECTIONS;
    m->streams = m->streams ? m->streams : 250;
    m->head_ms = m->head_ms ? m->head_ms : HEAD_MS;
    m->idle_ms = m->idle_ms ? m->idle_ms : 90000;
    list_init(&c->waiting);
    list_init(&c->running);
    list_init(&c->conns);
    list_init(&c->dials);
    return c;
}

struct http_client *http_client_new(struct loop *l, const struct endpoint *ep, const struct http_limits *limits)
{
    struct http_client *c = client_new(l, limits);
    c->ep = *ep;
    c->ep.unix_path = dup_or_null(ep->unix_path);
    c->ep.host = dup_or_null(ep->host);
    c->ep.sni = dup_or_null(ep->sni);
    c->ep.proxy = dup_or_null(ep->proxy);
    bool v6 = ep->host && strchr(ep->host, ':');
    if (!ep->host)
        c->authority = xstrdup("localhost");
    else if (ep->port == (ep->tls ? 443 : 80))
        c->authority = xasprintf("%s%s%s", v6 ? "[" : "", ep->host, v6 ? "]" : "");
    else
        c->authority = xasprintf("%s%s%s:%u", v6 ? "[" : "", ep->host, v6 ? "]" : "", ep->port);
    return c;
}

struct http_client *http_client_over(
    struct stream *s, const struct http_limits *limits, void (*on_close)(void *arg, const struct err *why), void *arg)
{
    struct http_client *c = client_new(stream_loop(s), limits);
    struct err *e = NULL;
    c->fixed = true;
    c->authority = xstrdup("tunnel");
    c->on_close = on_close;
    c->arg = arg;
    if (!h2_client(c, s, &e)) { /* only for want of memory; calls will say so */
        err_free(e);
        stream_abort(s);
    }
    return c;
}

/* ---- calls ---- */
static void call_free(struct http_call *k)
{
    list_remove(&k->node);
    timer_del(&k->timer);
    defer_del(k->client->loop, &k->fail);
    struct dialing *d;
    list_for (&k->client->dials, d, node)
        if (d->call == k)
            d->call = NULL;
    outq_clear(&k->body);
    buf_clear(&k->refusal);
    err_free(k->why);
    pool_free(k->pool);
}

static void code_of_status(struct err **e, int status, struct str body)
{
    enum err_code code = ERR_INTERNAL;
    for (int i = ERR_BAD_REQUEST; i < ERR_CODES; i++)
        if (err_http((enum err_code)i) == status) {
            code = (enum err_code)i;
            break;
        }
    err_set(e, code, "the peer answered %d: %.*s", status, STR_ARG(str_trim(body)));
}

void call_end(struct http_call *k, const struct err *e)
{
    struct http_call_events ev = k->ev;
    void (*upgraded)(void *, struct stream *, const struct http_response *, const struct err *) = k->upgraded;
    void *arg = k->arg;
    struct err *refused = NULL;
    if (k->refused && upgraded) {
        code_of_status(&refused, k->refused, buf_str(&k->refusal));
        e = refused;
    }
    call_free(k);
    if (upgraded)
        upgraded(arg, NULL, NULL, e);
    else if (ev.on_end)
        ev.on_end(arg, e);
    err_free(refused);
}

static void on_fail(struct defer *d)
{
    struct http_call *k = container_of(d, struct http_call, fail);
    struct err *e = TAKE(k->why);
    call_end(k, e);
    err_free(e);
}

void call_fail_later(struct http_call *k, struct err *e)
{
    list_remove(&k->node);
    list_push(&k->client->running, &k->node);
    err_free(k->why);
    k->why = e;
    loop_defer(k->client->loop, &k->fail, on_fail);
}

static void on_timeout(struct timer *t)
{
    struct http_call *k = container_of(t, struct http_call, timer);
    _cleanup_(err_freep) struct err *e = NULL;
    err_set(&e, ERR_TIMEOUT, "%.*s %.*s: no answer in time", STR_ARG(k->method), STR_ARG(k->path));
    if (k->ops)
        k->ops->cancel(k);
    call_end(k, e);
}

void call_taken(struct http_call *k, const struct call_ops *ops, void *conn)
{
    list_remove(&k->node);
    list_push(&k->client->running, &k->node);
    k->ops = ops;
    k->conn = conn;
}

bool call_replayable(const struct http_call *k)
{
    return !k->retried && !k->streamed && !k->head_seen && (str_eq(k->method, STR("GET")) || str_eq(k->method, STR("HEAD")));
}

void call_requeue(struct http_call *k)
{
    list_remove(&k->node);
    list_push_front(&k->client->waiting, &k->node);
    k->ops = NULL;
    k->conn = NULL;
    k->retried = true;
    client_dispatch(k->client);
}

void call_head(struct http_call *k, const struct http_response *r)
{
    timer_del(&k->timer);
    k->head_seen = true;
    if (k->upgraded)
        k->refused = r->status;
    else if (k->ev.on_head)
        k->ev.on_head(k->arg, r);
}

void call_data(struct http_call *k, const char *p, size_t n)
{
    if (k->upgraded)
        buf_add(&k->refusal, p, MIN(n, REFUSAL_MAX - k->refusal.n));
    else if (k->ev.on_data)
        k->ev.on_data(k->arg, p, n);
}

void call_drain(struct http_call *k)
{
    if (!k->high || http_call_queued(k) >= 64u << 10)
        return;
    k->high = false;
    if (k->ev.on_drain)
        k->ev.on_drain(k->arg);
}

void call_upgraded(struct http_call *k, struct stream *s, const struct http_response *r)
{
    void (*upgraded)(void *, struct stream *, const struct http_response *, const struct err *) = k->upgraded;
    void *arg = k->arg;
    struct pool *keep = TAKE(k->pool); /* the head that r shows may live there */
    struct http_client *c = k->client;
    list_remove(&k->node);
    timer_del(&k->timer);
    defer_del(c->loop, &k->fail);
    outq_clear(&k->body);
    buf_clear(&k->refusal);
    upgraded(arg, s, r, NULL);
    pool_free(keep);
}

static struct http_call *call_new(struct http_client *c, const struct http_request *r, void *arg)
{
    struct pool *p = pool_new();
    struct http_call *k = pool_zalloc(p, sizeof *k);
    k->pool = p;
    k->client = c;
    k->arg = arg;
    k->method = pool_str(p, r->method.n ? r->method : STR("GET"));
    k->path = pool_str(p, r->path.n ? r->path : STR("/"));
    k->headers = pool_array(p, struct http_header, r->nheaders + 1);
    k->nheaders = r->nheaders;
    for (size_t i = 0; i < r->nheaders; i++)
        k->headers[i] = (struct http_header){pool_str(p, r->headers[i].name), pool_str(p, r->headers[i].value)};
    k->streamed = r->stream_body;
    k->length = r->stream_body ? -1 : (int64_t)r->body.n;
    k->body_end = !r->stream_body;
    outq_copy(&k->body, r->body.p, r->body.n);
    list_push(&c->waiting, &k->node);
    if (r->timeout_ms >= 0)
        timer_in(c->loop, &k->timer, (r->timeout_ms ? r->timeout_ms : c->lim.head_ms) * NS_PER_MS, on_timeout);
    client_dispatch(c);
    return k;
}

struct http_call *http_call(struct http_client *c, const struct http_request *r, const struct http_call_events *ev, void *arg)
{
    struct http_call *k = call_new(c, r, arg);
    if (ev)
        k->ev = *ev;
    return k;
}

struct http_call *http_call_upgrade(struct http_client *c, const struct http_request *r, struct str protocol,
    void (*done)(void *arg, struct stream *s, const struct http_response *r, const struct err *e), void *arg)
{
    struct http_call *k = call_new(c, r, arg);
    k->protocol = pool_str(k->pool, protocol);
    k->upgraded = done;
    return k;
}

void http_call_send(struct http_call *k, const void *p, size_t n)
{
    if (k->body_end || !n)
        return;
    outq_copy(&k->body, p, n);
    if (k->ops)
        k->ops->send(k);
    if (http_call_queued(k) >= 64u << 10)
        k->high = true;
}

void http_call_finish(struct http_call *k)
{
    if (k->body_end)
        return;
    k->body_end = true;
    if (k->ops)
        k->ops->send(k);
}

size_t http_call_queued(const struct http_call *k)
{
    return k->body.n + (k->ops ? k->ops->queued(k) : 0);
}

void http_call_pause(struct http_call *k, bool paused)
{
    if (k->paused == paused)
        return;
    k->paused = paused;
    if (k->ops)
        k->ops->pause(k);
}

void http_call_cancel(struct http_call *k)
{
    if (!k)
        return;
    if (k->ops && !k->why)
        k->ops->cancel(k);
    call_free(k);
}

/* ---- who carries what ---- */
void client_dispatch(struct http_client *c)
{
    if (!c->freeing)
        loop_defer(c->loop, &c->dispatch, on_dispatch);
}

void cconn_add(struct http_client *c, struct cconn *k, const struct cconn_ops *ops, bool h2)
{
    k->ops = ops;
    k->client = c;
    k->h2 = h2;
    list_push(&c->conns, &k->node);
    c->nconns++;
    client_dispatch(c);
}

void cconn_gone(struct cconn *k, const struct err *why)
{
    struct http_client *c = k->client;
    list_remove(&k->node);
    c->nconns--;
    client_dispatch(c);
    if (c->fixed && c->on_close && !c->freeing) {
        void (*fn)(void *, const struct err *) = c->on_close;
        c->on_close = NULL;
        fn(c->arg, why);
    }
}

static void fail_waiting(struct http_client *c, const struct err *why)
{
    for (struct http_call *k; (k = list_first(&c->waiting, struct http_call, node));) {
        struct err *e = NULL;
        err_set(&e, why->code, "%s", err_msg(why));
        call_fail_later(k, e);
    }
}

static void dialed(void *arg, struct stream *s, const struct err *e)
{
    struct dialing *d = arg;
    struct http_client *c = d->client;
    struct http_call *own = d->call;
    bool for_one = d->own;
    list_remove(&d->node);
    c->ndials--;
    free(d);
    if (!s) {
        struct err *copy = NULL;
        if (for_one && own) {
            err_set(&copy, e->code, "%s", err_msg(e));
            call_fail_later(own, copy);
        } else if (!for_one && !c->ndials) {
            fail_waiting(c, e);
        }
        return;
    }
    struct err *bad = NULL;
    if (for_one && !own) { /* cancelled meanwhile */
        stream_abort(s);
    } else if (str_eq(stream_alpn(s), STR("h2"))) {
        if (own) { /* it will go as extended CONNECT */
            list_remove(&own->node);
            list_push_front(&c->waiting, &own->node);
        }
        if (!h2_client(c, s, &bad)) {
            stream_abort(s);
            fail_waiting(c, bad);
        }
        err_free(bad);
    } else {
        h1_client(c, s, own);
    }
}

static void dial(struct http_client *c, struct http_call *own)
{
    struct dialing *d = xcalloc(1, sizeof *d);
    d->client = c;
    d->call = own;
    d->own = own != NULL;
    list_push(&c->dials, &d->node);
    c->ndials++;
    if (own) { /* it waits for this dial only */
        list_remove(&own->node);
        list_push(&c->running, &own->node);
    }
    d->dial = stream_dial(c->loop, &c->ep, dialed, d);
}

static bool place(struct http_client *c, struct http_call *k)
{
    struct cconn *x;
    list_for (&c->conns, x, node)
        if (!x->reserved && (x->h2 || !k->upgraded) && x->ops->take(x, k))
            return true;
    return false;
}

static bool has_h2(const struct http_client *c)
{
    struct cconn *x;
    list_for (&((struct http_client *)(uintptr_t)c)->conns, x, node)
        if (x->h2)
            return true;
    return false;
}

static void on_dispatch(struct defer *d)
{
    struct http_client *c = container_of(d, struct http_client, dispatch);
    struct http_call *k;
    size_t general = 0, stuck = 0;
    struct dialing *x;
    list_for (&c->dials, x, node)
        general += !x->own;
    list_for (&c->waiting, k, node) {
        if (place(c, k))
            continue;
        if (c->fixed && !c->nconns) {
            struct err *e = NULL;
            err_set(&e, ERR_UNAVAILABLE, "the connection is gone");
            call_fail_later(k, e);
        } else if (!c->fixed && k->upgraded && !has_h2(c)) {
            dial(c, k);
        } else if (!c->fixed && ++stuck > general && (has_h2(c) ? c->nconns + c->ndials < 2 : c->nconns + c->ndials < c->lim.connections)) {
            dial(c, NULL);
            general++;
        }
    }
}

void http_client_free(struct http_client *c)
{
    if (!c)
        return;
    c->freeing = true;
    _cleanup_(err_freep) struct err *e = NULL;
    err_set(&e, ERR_UNAVAILABLE, "the client was closed");
    for (struct dialing *d; (d = list_first(&c->dials, struct dialing, node));) {
        list_remove(&d->node);
        dial_cancel(d->dial);
        free(d);
    }
    for (struct cconn *x; (x = list_first(&c->conns, struct cconn, node));)
        x->ops->cut(x);
    for (struct http_call *k; (k = list_first(&c->waiting, struct http_call, node));)
        call_end(k, e);
    for (struct http_call *k; (k = list_first(&c->running, struct http_call, node));)
        call_end(k, e);
    defer_del(c->loop, &c->dispatch);
    free((char *)(uintptr_t)c->ep.unix_path);
    free((char *)(uintptr_t)c->ep.host);
    free((char *)(uintptr_t)c->ep.sni);
    free((char *)(uintptr_t)c->ep.proxy);
    free(c->authority);
    free(c);
}

void http_client_ping(struct http_client *c, void (*pong)(void *arg, int64_t rtt_ns), void *arg)
{
    struct cconn *x;
    list_for (&c->conns, x, node)
        if (x->h2) {
            h2_client_ping(x, pong, arg);
            return;
        }
}
