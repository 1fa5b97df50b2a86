#include <openssl/evp.h>
#include "api/impl.h"

/* api_proxy: a request carried to another server and its answer back, upgrades included. Front (the request's loop) and back (the client's loop) may be two threads: they talk by
 * messages only, each into the other's mailbox. What was sent and not yet written on at the far end is bounded: a side that has WINDOW bytes out pauses its source. */

#define WINDOW ((size_t)256 << 10)
#define REFUSAL_MAX 2048

enum kind { MSG_START, MSG_DATA, MSG_END, MSG_ABORT, MSG_ACK, MSG_HEAD, MSG_STREAM, MSG_ERROR };
struct msg {
    struct msg *next;
    enum kind kind;
    struct bytes *bytes;
    size_t n;                         /* ACK */
    int status;                       /* HEAD, ERROR */
    struct pool *pool;                /* HEAD: of headers */
    struct http_header *headers;
    size_t nheaders;
};

struct relay;
struct side {
    struct relay *relay;
    struct loop *loop;
    pthread_mutex_t lock;
    struct msg *first, **last;
    bool posted, dead;
    struct post post;
    void (*fn)(struct relay *r, struct msg *m);
    size_t out, owed;                 /* bytes sent and not acknowledged; received and not acknowledged by us */
    bool paused;
};

struct relay {
    _Atomic int refs;
    struct pool *pool;                /* of the request to be made; read by the back only after START */
    struct side front, back;
    struct http_req *rq;
    struct stream *front_stream, *back_stream;
    struct http_client *client;
    api_client_fn *find;              /* looked for again on its own loop: between the threads it may have gone */
    void *find_arg;
    struct str find_key;
    struct http_call *call;
    struct http_request request;
    struct str protocol;
    bool upgrade, started, ended, back_ended;
    bool of_log;                      /* containerLogs: the node's plain words of refusal become a Status, as the API server does it */
    int refused;                      /* with this status; the words: */
    struct buf refusal;
};

static void relay_unref(struct relay *r)
{
    if (--r->refs > 0)
        return;
    struct side *sides[] = {&r->front, &r->back};
    for (size_t i = 0; i < 2; i++) {
        for (struct msg *m = sides[i]->first, *next; m; m = next) {
            next = m->next;
            bytes_unref(m->bytes);
            pool_free(m->pool);
            free(m);
        }
        pthread_mutex_destroy(&sides[i]->lock);
    }
    buf_clear(&r->refusal);
    pool_free(r->pool);
    free(r);
}

/* ---- mailboxes ---- */

static void deliver(struct post *p)
{
    struct side *s = container_of(p, struct side, post);
    struct relay *r = s->relay;
    for (;;) {
        pthread_mutex_lock(&s->lock);
        struct msg *m = s->first;
        if (!m) {
            s->posted = false;
            pthread_mutex_unlock(&s->lock);
            break;
        }
        s->first = m->next;
        if (!s->first)
            s->last = &s->first;
        pthread_mutex_unlock(&s->lock);
        if (!s->dead)
            s->fn(r, m);
        bytes_unref(m->bytes);
        pool_free(m->pool);
        free(m);
    }
    relay_unref(r); /* what the post held */
}

static void send(struct side *to, struct msg *m)
{
    pthread_mutex_lock(&to->lock);
    *to->last = m;
    to->last = &m->next;
    bool post = !to->posted;
    to->posted = true;
    if (post)
        to->relay->refs++;
    pthread_mutex_unlock(&to->lock);
    if (post)
        loop_post(to->loop, &to->post, deliver);
}

static struct msg *msg(enum kind k)
{
    struct msg *m = xcalloc(1, sizeof *m);
    m->kind = k;
    return m;
}

static void send_data(struct side *from, struct side *to, const char *p, size_t n)
{
    struct msg *m = msg(MSG_DATA);
    m->bytes = bytes_new(p, n);
    from->out += n;
    send(to, m);
}

/* What arrived here has been written on: tell the other side, so that it may send more. */
static void acknowledge(struct side *here, struct side *there, size_t queued)
{
    if (here->owed == 0 || queued > WINDOW)
        return;
    struct msg *m = msg(MSG_ACK);
    m->n = here->owed;
    here->owed = 0;
    send(there, m);
}

/* ---- the back: the client's loop ---- */

static void back_gone(struct relay *r)
{
    if (r->back.dead)
        return;
    r->back.dead = true;
    relay_unref(r);
}

static void back_fail(struct relay *r, int status, const char *why)
{
    struct msg *m = msg(MSG_ERROR);
    m->status = status;
    m->bytes = bytes_new(why, strlen(why));
    send(&r->front, m);
    back_gone(r);
}

static void back_head(struct relay *r, enum kind k, const struct http_response *resp)
{
    struct msg *m = msg(k);
    m->status = resp->status;
    m->pool = pool_new();
    m->headers = pool_array(m->pool, struct http_header, resp->nheaders);
    for (size_t i = 0; i < resp->nheaders; i++)
        m->headers[m->nheaders++] = (struct http_header){pool_str(m->pool, resp->headers[i].name), pool_str(m->pool, resp->headers[i].value)};
    send(&r->front, m);
}

static void back_on_head(void *arg, const struct http_response *resp) { back_head(arg, MSG_HEAD, resp); }

static void back_on_data(void *arg, const char *p, size_t n)
{
    struct relay *r = arg;
    send_data(&r->back, &r->front, p, n);
    if (r->back.out > WINDOW && !r->back.paused) {
        r->back.paused = true;
        if (r->back_stream)
            stream_pause(r->back_stream, true);
        else if (r->call)
            http_call_pause(r->call, true);
    }
}

static void back_on_end(void *arg, const struct err *e)
{
    struct relay *r = arg;
    r->call = NULL;
    if (e) {
        back_fail(r, err_http(e->code), err_msg(e));
        return;
    }
    send(&r->front, msg(MSG_END));
    back_gone(r);
}

static void back_stream_close(void *arg, const struct err *why)
{
    struct relay *r = arg;
    (void)why;
    r->back_stream = NULL;
    send(&r->front, msg(MSG_ABORT));
    back_gone(r);
}

static void back_stream_eof(void *arg)
{
    struct relay *r = arg;
    r->back_ended = true;
    send(&r->front, msg(MSG_END));
}

static void back_stream_drain(void *arg)
{
    struct relay *r = arg;
    acknowledge(&r->back, &r->front, 0);
}

static void back_upgraded(void *arg, struct stream *s, const struct http_response *resp, const struct err *e)
{
    static const struct stream_events ev = {back_on_data, back_stream_drain, back_stream_eof, back_stream_close};
    struct relay *r = arg;
    r->call = NULL;
    if (!s) {
        back_fail(r, e ? err_http(e->code) : 502, e ? err_msg(e) : "the upgrade was refused");
        return;
    }
    r->back_stream = s;
    back_head(r, MSG_STREAM, resp);
    stream_use(s, &ev, r);
}

static void back_resume(struct relay *r)
{
    if (!r->back.paused || r->back.out > WINDOW / 2)
        return;
    r->back.paused = false;
    if (r->back_stream)
        stream_pause(r->back_stream, false);
    else if (r->call)
        http_call_pause(r->call, false);
}

static void back_abort(struct relay *r)
{
    if (r->call)
        http_call_cancel(TAKE(r->call));
    if (r->back_stream)
        stream_close(TAKE(r->back_stream)); /* what the front sent before it closed still goes out */
    back_gone(r);
}

static void back_start(struct relay *r)
{
    static const struct http_call_events ev = {back_on_head, back_on_data, NULL, back_on_end};
    struct loop *loop = r->back.loop;
    if (r->find)
        r->client = r->find(r->find_arg, r->find_key, &loop);
    if (!r->client || loop != r->back.loop) {
        back_fail(r, 503, "the connection has gone; try again");
        return;
    }
    if (r->upgrade)
        r->call = http_call_upgrade(r->client, &r->request, r->protocol, back_upgraded, r);
    else
        r->call = http_call(r->client, &r->request, &ev, r);
}

static void back_message(struct relay *r, struct msg *m)
{
    switch (m->kind) {
    case MSG_START:
        back_start(r);
        break;
    case MSG_DATA:
        if (!r->back_stream)
            break;
        r->back.owed += m->bytes->n;
        stream_write_bytes(r->back_stream, m->bytes, 0, m->bytes->n);
        acknowledge(&r->back, &r->front, stream_queued(r->back_stream));
        break;
    case MSG_END:
        if (r->back_stream)
            stream_shutdown(r->back_stream);
        break;
    case MSG_ABORT:
        back_abort(r);
        break;
    case MSG_ACK:
        r->back.out -= MIN(r->back.out, m->n);
        back_resume(r);
        break;
    default:
        break;
    }
}

/* ---- the front: the request's loop ---- */

static void front_gone(struct relay *r)
{
    if (r->front.dead)
        return;
    r->front.dead = true;
    relay_unref(r);
}

static void front_closed(struct http_req *rq)
{
    struct relay *r = rq->user;
    r->rq = NULL;
    send(&r->back, msg(MSG_ABORT));
    front_gone(r);
}

static void front_error(struct relay *r, int status, struct str why)
{
    struct http_req *rq = TAKE(r->rq);
    if (r->front_stream)
        stream_close(TAKE(r->front_stream));
    if (!rq)
        return;
    rq->user = NULL;
    rq->on_close = NULL;
    if (r->started) {
        http_abort(rq);
        return;
    }
    _cleanup_(err_freep) struct err *e = NULL;
    (void)err_set(&e, status == 504 ? ERR_TIMEOUT : ERR_UNAVAILABLE, "%.*s", STR_ARG(why));
    struct str body = status_json(rq->pool, e);
    http_reply_str(rq, err_http(e->code), "application/json", body);
}

static bool hop_header(struct str n)
{
    static const char *const names[] = {"connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade", "content-length"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (str_eqz(n, names[i]))
            return true;
    return false;
}

static void front_drain(struct http_req *rq)
{
    struct relay *r = rq->user;
    acknowledge(&r->front, &r->back, 0);
}

static void front_head(struct relay *r, struct msg *m)
{
    size_t n = 0;
    if (r->of_log && m->status >= 400) {
        r->refused = m->status;
        r->refusal.limit = REFUSAL_MAX;
        return;
    }
    for (size_t i = 0; i < m->nheaders; i++)
        if (!hop_header(m->headers[i].name))
            m->headers[n++] = m->headers[i];
    r->started = true;
    r->rq->on_drain = front_drain;
    http_start(r->rq, m->status, m->headers, n);
}

static void front_on_data(void *arg, const char *p, size_t n)
{
    struct relay *r = arg;
    send_data(&r->front, &r->back, p, n);
    if (r->front.out > WINDOW && !r->front.paused && r->front_stream) {
        r->front.paused = true;
        stream_pause(r->front_stream, true);
    }
}

static void front_stream_drain(void *arg)
{
    struct relay *r = arg;
    acknowledge(&r->front, &r->back, 0);
}

static void front_stream_eof(void *arg)
{
    struct relay *r = arg;
    send(&r->back, msg(MSG_END));
}

static void front_stream_close(void *arg, const struct err *why)
{
    struct relay *r = arg;
    (void)why;
    r->front_stream = NULL;
    send(&r->back, msg(MSG_ABORT));
    front_gone(r);
}

/* The far side may speak HTTP/2, where a WebSocket has no key: the answer to an HTTP/1.1 client's is made here (RFC 6455 section 4.2.2). */
static struct str ws_accept_key(struct relay *r, struct pool *p)
{
    struct str key = http_header(r->rq, STR("sec-websocket-key"));
    unsigned char sum[EVP_MAX_MD_SIZE];
    unsigned n = 0;
    if (str_empty(key) || key.n > 64)
        return STR_NULL;
    struct str text = pool_printf(p, "%.*s258EAFA5-E914-47DA-95CA-C5AB0DC85B11", STR_ARG(key));
    struct buf b = BUF_INIT;
    if (EVP_Digest(text.p, text.n, sum, &n, EVP_sha1(), NULL) != 1)
        return STR_NULL;
    buf_base64(&b, sum, n);
    return buf_to_pool(&b, p);
}

static void front_upgrade(struct relay *r, struct msg *m)
{
    static const struct stream_events ev = {front_on_data, front_stream_drain, front_stream_eof, front_stream_close};
    struct http_header *h = pool_array(m->pool, struct http_header, m->nheaders + 1);
    size_t n = 0;
    bool accepted = false;
    for (size_t i = 0; i < m->nheaders; i++) {
        if (hop_header(m->headers[i].name))
            continue;
        accepted |= str_eqz(m->headers[i].name, "sec-websocket-accept");
        h[n++] = m->headers[i];
    }
    if (!accepted && r->rq->version == 1 && str_eq_nocase(r->protocol, STR("websocket"))) {
        struct str key = ws_accept_key(r, m->pool);
        if (key.p)
            h[n++] = (struct http_header){STR("sec-websocket-accept"), key};
    }
    struct http_req *rq = TAKE(r->rq);
    rq->user = NULL;
    rq->on_close = NULL;
    r->started = true;
    r->front_stream = http_upgrade(rq, h, n);
    if (!r->front_stream) {
        send(&r->back, msg(MSG_ABORT));
        front_gone(r);
        return;
    }
    stream_use(r->front_stream, &ev, r);
}

static void front_refused(struct relay *r, struct http_req *rq)
{
    _cleanup_(err_freep) struct err *e = NULL;
    enum err_code code = r->refused == 400 ? ERR_BAD_REQUEST : r->refused == 404 ? ERR_NOT_FOUND : r->refused == 503 ? ERR_UNAVAILABLE : ERR_INTERNAL;
    (void)err_set(&e, code, "%s%.*s", code == ERR_INTERNAL ? "Internal error occurred: " : "", STR_ARG(str_trim(buf_str(&r->refusal))));
    struct str body = status_json(rq->pool, e);
    http_reply_str(rq, err_http(e->code), "application/json", body);
}

static void front_end(struct relay *r)
{
    if (r->front_stream) {
        stream_shutdown(r->front_stream);
        return;
    }
    struct http_req *rq = TAKE(r->rq);
    if (!rq)
        return;
    rq->user = NULL;
    rq->on_close = NULL;
    rq->on_drain = NULL;
    if (r->refused)
        front_refused(r, rq);
    else
        http_end(rq);
    front_gone(r);
}

static void front_message(struct relay *r, struct msg *m)
{
    switch (m->kind) {
    case MSG_HEAD:
        front_head(r, m);
        break;
    case MSG_STREAM:
        front_upgrade(r, m);
        break;
    case MSG_DATA:
        r->front.owed += m->bytes->n;
        if (r->front_stream) {
            stream_write_bytes(r->front_stream, m->bytes, 0, m->bytes->n);
            acknowledge(&r->front, &r->back, stream_queued(r->front_stream));
        } else if (r->refused) {
            buf_add(&r->refusal, m->bytes->p, m->bytes->n);
            acknowledge(&r->front, &r->back, 0);
        } else if (r->rq) {
            http_send(r->rq, m->bytes, 0, m->bytes->n);
            acknowledge(&r->front, &r->back, http_queued(r->rq));
        }
        break;
    case MSG_ACK:
        r->front.out -= MIN(r->front.out, m->n);
        if (r->front.paused && r->front.out <= WINDOW / 2 && r->front_stream) {
            r->front.paused = false;
            stream_pause(r->front_stream, false);
        }
        break;
    case MSG_END:
        front_end(r);
        break;
    case MSG_ABORT:
        if (r->front_stream)
            stream_close(TAKE(r->front_stream));
        front_gone(r);
        break;
    case MSG_ERROR:
        front_error(r, m->status, bytes_str(m->bytes));
        front_gone(r);
        break;
    default:
        break;
    }
}

/* ---- the beginning ---- */

static bool passed_on(struct str n, bool upgrade)
{
    if (str_eqz(n, "authorization") || str_starts(n, STR("x-remote-")) || str_starts(n, STR("impersonate-")) || str_eqz(n, "host") || str_eqz(n, "cookie"))
        return false;
    if (!upgrade && str_starts(n, STR("sec-websocket-")))
        return false;
    return !hop_header(n);
}

/* A browser's token in the subprotocols is no business of the far side's. */
static struct str without_token(struct pool *p, struct str v)
{
    struct buf b = BUF_INIT;
    struct str piece;
    while (str_split(&v, ',', &piece)) {
        piece = str_trim(piece);
        if (!str_starts(piece, STR("base64url.bearer.authorization.k8s.io.")))
            buf_printf(&b, "%s%.*s", b.n ? ", " : "", STR_ARG(piece));
    }
    return buf_to_pool(&b, p);
}

static void make_request(struct relay *r, struct http_req *rq, struct str path, const struct http_header *extra, size_t nextra)
{
    struct pool *p = r->pool;
    struct http_header *h = pool_array(p, struct http_header, rq->nheaders + nextra);
    size_t n = 0;
    for (size_t i = 0; i < rq->nheaders; i++) {
        if (!passed_on(rq->headers[i].name, r->upgrade))
            continue;
        struct str v = rq->headers[i].value;
        v = str_eqz(rq->headers[i].name, "sec-websocket-protocol") ? without_token(p, v) : pool_str(p, v);
        h[n++] = (struct http_header){pool_str(p, rq->headers[i].name), v};
    }
    for (size_t i = 0; i < nextra; i++)
        h[n++] = (struct http_header){pool_str(p, extra[i].name), pool_str(p, extra[i].value)};
    r->request = (struct http_request){.method = pool_str(p, rq->method), .path = pool_str(p, path), .headers = h, .nheaders = n, .timeout_ms = 30000};
}

static void side_init(struct side *s, struct relay *r, struct loop *l, void (*fn)(struct relay *, struct msg *))
{
    s->relay = r;
    s->loop = l;
    s->fn = fn;
    s->last = &s->first;
    pthread_mutex_init(&s->lock, NULL);
}

static void body_read(struct http_req *rq, struct str body)
{
    struct relay *r = rq->user;
    r->request.body = pool_str(r->pool, body);
    send(&r->back, msg(MSG_START));
}

static struct relay *relay_new(struct http_req *rq, struct loop *to_loop, struct str path_and_query, const struct http_header *extra, size_t nextra)
{
    struct relay *r = xcalloc(1, sizeof *r);
    r->refs = 2;
    r->pool = pool_new();
    r->rq = rq;
    r->upgrade = !str_empty(rq->protocol);
    r->of_log = str_starts(path_and_query, STR("/containerLogs/"));
    r->protocol = pool_str(r->pool, rq->protocol);
    side_init(&r->front, r, stream_loop(rq->conn), front_message);
    side_init(&r->back, r, to_loop, back_message);
    make_request(r, rq, path_and_query, extra, nextra);
    rq->user = r;
    rq->on_close = front_closed;
    rq->on_drain = NULL;
    return r;
}

static void relay_begin(struct relay *r)
{
    if (r->upgrade)
        send(&r->back, msg(MSG_START));
    else
        http_body(r->rq, 0, body_read);
}

void api_proxy(struct http_req *rq, struct http_client *to, struct loop *to_loop, struct str path_and_query, const struct http_header *extra, size_t nextra)
{
    struct relay *r = relay_new(rq, to_loop, path_and_query, extra, nextra);
    r->client = to;
    relay_begin(r);
}

bool api_proxy_find(struct http_req *rq, api_client_fn *find, void *arg, struct str key, struct str path_and_query, const struct http_header *extra, size_t nextra)
{
    struct loop *loop = NULL;
    if (!find(arg, key, &loop))
        return false;
    struct relay *r = relay_new(rq, loop, path_and_query, extra, nextra);
    r->find = find;
    r->find_arg = arg;
    r->find_key = pool_str(r->pool, key);
    relay_begin(r);
    return true;
}

/* ---- a connection that is about to come back ---- */

#define AWAIT_EVERY (50 * NS_PER_MS)
#define AWAIT_MOST (5 * NS_PER_S)
#define AWAIT_RECENT (10 * NS_PER_S) /* gone for longer: it will not be back just now */

struct waiting {
    struct timer timer;
    struct http_req *rq;
    api_client_fn *find;
    api_missing_fn *missing;
    void *arg;
    struct str key, path;
    const struct http_header *extra;
    size_t nextra;
    int64_t until;
};

int64_t api_proxy_until(int64_t lost, int64_t started, int64_t now)
{
    int64_t from = MAX(lost, started);
    return now - from < AWAIT_RECENT ? MIN(now + AWAIT_MOST, from + AWAIT_RECENT) : 0;
}

static void waiting_closed(struct http_req *rq)
{
    struct waiting *w = rq->user;
    timer_del(&w->timer);
    free(w);
}

static void waiting_look(struct timer *t)
{
    struct waiting *w = container_of(t, struct waiting, timer);
    struct http_req *rq = w->rq;
    struct loop *l = stream_loop(rq->conn), *there;
    if (!w->find(w->arg, w->key, &there) && loop_now(l) < w->until) {
        timer_in(l, &w->timer, AWAIT_EVERY, waiting_look);
        return;
    }
    struct waiting x = *w;
    rq->user = NULL;
    rq->on_close = NULL;
    free(w);
    if (!api_proxy_find(rq, x.find, x.arg, x.key, x.path, x.extra, x.nextra))
        x.missing(rq, x.arg, x.key);
}

void api_proxy_await(struct http_req *rq, api_client_fn *find, api_missing_fn *missing, void *arg, struct str key, struct str path_and_query, const struct http_header *extra, size_t nextra,
    int64_t until)
{
    if (api_proxy_find(rq, find, arg, key, path_and_query, extra, nextra))
        return;
    if (!until) {
        missing(rq, arg, key);
        return;
    }
    struct waiting *w = xcalloc(1, sizeof *w);
    *w = (struct waiting){.rq = rq, .find = find, .missing = missing, .arg = arg, .key = key, .path = path_and_query, .extra = extra, .nextra = nextra, .until = until};
    rq->user = w;
    rq->on_close = waiting_closed;
    timer_in(stream_loop(rq->conn), &w->timer, AWAIT_EVERY, waiting_look);
}
