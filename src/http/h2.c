#include "http/h2.h"
#include <stdlib.h>

#define CONN_WINDOW (1 << 20)
#define PACED_FIRST (64 << 10)
#define PACED_LEAST (16 << 10)
#define PACE_EVERY (250 * NS_PER_MS)
#define SERVER_STREAM_WINDOW (64 << 10)
#define CLIENT_STREAM_WINDOW (256 << 10)

static void on_work(struct defer *d);

void h2_schedule(struct h2 *h)
{
    if (!h->dead)
        loop_defer(h->loop, &h->work, on_work);
}

/* ---- streams ---- */
struct h2s *h2s_new(struct h2 *h, int32_t id, const struct h2_role *role, void *user)
{
    struct h2s *s = xcalloc(1, sizeof *s);
    s->h2 = h;
    s->id = id;
    s->role = role;
    s->user = user;
    s->active = loop_now(h->loop);
    list_push(&h->streams, &s->node);
    h->nstreams++;
    return s;
}

static void h2s_free(struct h2s *s)
{
    list_remove(&s->node);
    s->h2->nstreams--;
    pool_free(s->pool);
    outq_clear(&s->out);
    buf_clear(&s->held);
    free(s);
}

static void h2s_close(struct h2s *s, const struct err *why)
{
    s->gone = true;
    const struct h2_role *role = s->role;
    s->role = NULL;
    if (role)
        role->closed(s, why);
    h2s_free(s);
}

static void resume(struct h2s *s)
{
    if (s->out_open && !s->gone)
        nghttp2_session_resume_data(s->h2->ng, s->id);
    if (s->out.n >= H2_OUT_HIGH)
        s->high = true;
    h2_schedule(s->h2);
}

void h2s_write(struct h2s *s, struct bytes *b, size_t from, size_t n)
{
    if (s->gone || s->out_end)
        return;
    outq_bytes(&s->out, b, from, n);
    resume(s);
}

void h2s_copy(struct h2s *s, const void *p, size_t n)
{
    if (s->gone || s->out_end)
        return;
    outq_copy(&s->out, p, n);
    resume(s);
}

void h2s_end(struct h2s *s)
{
    if (s->gone || s->out_end)
        return;
    s->out_end = true;
    resume(s);
}

void h2s_reset(struct h2s *s, uint32_t code)
{
    if (s->gone)
        return;
    nghttp2_submit_rst_stream(s->h2->ng, NGHTTP2_FLAG_NONE, s->id, code);
    h2_schedule(s->h2);
}

void h2s_consumed(struct h2s *s, size_t n)
{
    if (s->gone || s->h2->dead)
        return;
    nghttp2_session_consume_stream(s->h2->ng, s->id, n);
    h2_schedule(s->h2);
}

void h2s_pause(struct h2s *s, bool paused)
{
    s->paused = paused;
    if (!paused && (s->held.n || s->in_end)) {
        s->due = true;
        h2_schedule(s->h2);
    }
}

/* ---- sending ---- */
static ssize_t on_read(nghttp2_session *ng, int32_t id, uint8_t *p, size_t max, uint32_t *flags, nghttp2_data_source *src, void *arg)
{
    struct h2s *s = src->ptr;
    if (((struct h2 *)arg)->dead)
        return NGHTTP2_ERR_CALLBACK_FAILURE;
    size_t n = MIN(max, s->out.n);
    if (!n && !s->out_end)
        return NGHTTP2_ERR_DEFERRED;
    *flags |= NGHTTP2_DATA_FLAG_NO_COPY;
    if (s->out_end && n == s->out.n)
        *flags |= NGHTTP2_DATA_FLAG_EOF;
    return (ssize_t)n;
}

static ssize_t on_send(nghttp2_session *ng, const uint8_t *p, size_t n, int flags, void *arg)
{
    struct h2 *h = arg;
    if (h->dead)
        return NGHTTP2_ERR_CALLBACK_FAILURE;
    if (stream_queued(h->below) >= H2_OUT_HIGH)
        return NGHTTP2_ERR_WOULDBLOCK;
    stream_write(h->below, p, n);
    return (ssize_t)n;
}

static int on_send_data(nghttp2_session *ng, nghttp2_frame *f, const uint8_t *head, size_t n, nghttp2_data_source *src, void *arg)
{
    struct h2 *h = arg;
    struct h2s *s = src->ptr;
    if (h->dead)
        return NGHTTP2_ERR_CALLBACK_FAILURE;
    if (stream_queued(h->below) >= H2_OUT_HIGH)
        return NGHTTP2_ERR_WOULDBLOCK;
    stream_write(h->below, head, 9);
    outq_to_stream(&s->out, h->below, n);
    s->active = loop_now(h->loop);
    if (s->high && s->out.n < H2_OUT_HIGH) {
        s->high = false;
        s->due = true;
    }
    return 0;
}

/* A server that has answered does not want the rest of the question (RFC 9113 8.1). */
static int on_frame_send(nghttp2_session *ng, const nghttp2_frame *f, void *arg)
{
    struct h2 *h = arg;
    if (h->dead || !h->server || !(f->hd.flags & NGHTTP2_FLAG_END_STREAM) || (f->hd.type != NGHTTP2_DATA && f->hd.type != NGHTTP2_HEADERS))
        return 0;
    struct h2s *s = nghttp2_session_get_stream_user_data(ng, f->hd.stream_id);
    if (s && !s->in_end && !s->user)
        nghttp2_submit_rst_stream(ng, NGHTTP2_FLAG_NONE, f->hd.stream_id, NGHTTP2_NO_ERROR);
    return 0;
}

/* ---- receiving ---- */
static bool is_final_head(const struct h2 *h, const struct h2s *s)
{
    return h->server || s->status >= 200;
}

static int on_begin_headers(nghttp2_session *ng, const nghttp2_frame *f, void *arg)
{
    struct h2 *h = arg;
    if (h->dead)
        return NGHTTP2_ERR_CALLBACK_FAILURE;
    struct h2s *s = nghttp2_session_get_stream_user_data(ng, f->hd.stream_id);
    if (h->server && f->headers.cat == NGHTTP2_HCAT_REQUEST) {
        s = h2s_new(h, f->hd.stream_id, NULL, NULL);
        h->owner->open(s);
        nghttp2_session_set_stream_user_data(ng, s->id, s);
    }
    if (s && !s->head_done) {
        s->status = 0;
        s->nheaders = s->head_bytes = 0;
        if (!s->pool)
            s->pool = pool_new();
    }
    return 0;
}

static void pseudo(struct h2s *s, struct str name, struct str value)
{
    uint64_t status;
    if (str_eq(name, STR(":method")))
        s->method = value;
    else if (str_eq(name, STR(":path")))
        s->path = value;
    else if (str_eq(name, STR(":authority")))
        s->authority = value;
    else if (str_eq(name, STR(":protocol")))
        s->protocol = value;
    else if (str_eq(name, STR(":status")) && str_to_u64(value, &status))
        s->status = (int)status;
}

/* HTTP/2 may send cookies in crumbs (RFC 9113 8.2.3); readers look at one header. */
static bool joined_cookie(struct h2s *s, struct str name, struct str value)
{
    if (!str_eq(name, STR("cookie")))
        return false;
    for (size_t i = 0; i < s->nheaders; i++) {
        struct http_header *x = &s->headers[i];
        if (str_eq(x->name, name)) {
            x->value = pool_printf(s->pool, "%.*s; %.*s", STR_ARG(x->value), STR_ARG(value));
            return true;
        }
    }
    return false;
}

static int on_header(
    nghttp2_session *ng, const nghttp2_frame *f, const uint8_t *np, size_t nn, const uint8_t *vp, size_t vn, uint8_t flags, void *arg)
{
    struct h2 *h = arg;
    if (h->dead)
        return NGHTTP2_ERR_CALLBACK_FAILURE;
    struct h2s *s = nghttp2_session_get_stream_user_data(ng, f->hd.stream_id);
    if (!s || s->head_done || s->too_large)
        return 0;
    s->head_bytes += nn + vn + 32;
    if (s->head_bytes > h->max_head || s->nheaders >= h->max_headers) {
        s->too_large = true;
        return 0;
    }
    struct str name = pool_str(s->pool, str_make((const char *)np, nn)), value = pool_str(s->pool, str_make((const char *)vp, vn));
    if (nn && np[0] == ':') {
        pseudo(s, name, value);
        return 0;
    }
    if (joined_cookie(s, name, value))
        return 0;
    if (s->nheaders == s->cap) {
        size_t cap = s->cap ? s->cap * 2 : 16;
        s->headers = pool_grow(s->pool, s->headers, s->cap * sizeof *s->headers, cap * sizeof *s->headers);
        s->cap = cap;
    }
    s->headers[s->nheaders++] = (struct http_header){name, value};
    return 0;
}

static void told_end(struct h2s *s)
{
    if (s->in_end_told || s->paused || s->held.n)
        return;
    s->in_end_told = true;
    if (s->role)
        s->role->end(s);
}

static int on_frame(nghttp2_session *ng, const nghttp2_frame *f, void *arg)
{
    struct h2 *h = arg;
    if (h->dead)
        return NGHTTP2_ERR_CALLBACK_FAILURE;
    if (f->hd.type == NGHTTP2_SETTINGS && !(f->hd.flags & NGHTTP2_FLAG_ACK) && !h->got_settings) {
        h->got_settings = true;
        if (h->owner->settings)
            h->owner->settings(h->arg);
        return 0;
    }
    if (f->hd.type == NGHTTP2_PING && f->hd.flags & NGHTTP2_FLAG_ACK && h->owner->pong)
        h->owner->pong(h->arg);
    struct h2s *s = f->hd.stream_id ? nghttp2_session_get_stream_user_data(ng, f->hd.stream_id) : NULL;
    if (!s || (f->hd.type != NGHTTP2_HEADERS && f->hd.type != NGHTTP2_DATA))
        return 0;
    bool end = f->hd.flags & NGHTTP2_FLAG_END_STREAM;
    s->in_end |= end;
    if (f->hd.type == NGHTTP2_HEADERS && !s->head_done && is_final_head(h, s)) {
        s->head_done = true;
        if (s->role)
            s->role->head(s, end);
        if (h->dead || !(s = nghttp2_session_get_stream_user_data(ng, f->hd.stream_id)))
            return 0;
    }
    if (end)
        told_end(s);
    return 0;
}

/* Inside a tunnel one window is the credit of all that flows: it follows half a second of the rate at which data arrives, so that a queue on the way, in a kernel, a proxy or a modem, never
 * holds more than that, and what is asked meanwhile is answered about as soon. As long as the window is the bound, the rate is window / round trip: it doubles while a round trip takes
 * less than half a second and shrinks when it takes longer. */
static void pace(struct h2 *h, size_t n)
{
    int64_t now = loop_now(h->loop), over = now - h->pace_since;
    h->pace_bytes += n;
    if (over < PACE_EVERY)
        return;
    bool steady = over < 4 * PACE_EVERY; /* after a silence the rate says nothing */
    uint64_t half = (uint64_t)h->pace_bytes * (NS_PER_S / 2) / (uint64_t)over;
    int32_t want = (int32_t)MIN(MAX(half, (uint64_t)PACED_LEAST), (uint64_t)CONN_WINDOW);
    if (steady && want > h->window)
        want = MIN(want, h->window * 2);
    bool busy = h->pace_bytes * 2 > (size_t)h->window; /* a trickle is no measure of the link */
    h->pace_since = now;
    h->pace_bytes = 0;
    if (!steady || !busy || want == h->window)
        return;
    h->window = want;
    nghttp2_session_set_local_window_size(h->ng, NGHTTP2_FLAG_NONE, 0, want);
}

static int on_data_chunk(nghttp2_session *ng, uint8_t flags, int32_t id, const uint8_t *p, size_t n, void *arg)
{
    struct h2 *h = arg;
    if (h->dead)
        return NGHTTP2_ERR_CALLBACK_FAILURE;
    nghttp2_session_consume_connection(ng, n);
    if (h->window)
        pace(h, n);
    h2_schedule(h);
    struct h2s *s = nghttp2_session_get_stream_user_data(ng, id);
    if (!s)
        return 0;
    s->active = loop_now(h->loop);
    if (s->paused || s->held.n) {
        buf_add(&s->held, p, n);
        return 0;
    }
    bool own = s->role && s->role->own_window;
    if (s->role)
        s->role->data(s, (const char *)p, n);
    if (!own && !h->dead)
        nghttp2_session_consume_stream(ng, id, n);
    return 0;
}

static int on_stream_close(nghttp2_session *ng, int32_t id, uint32_t code, void *arg)
{
    struct h2 *h = arg;
    if (h->dead)
        return NGHTTP2_ERR_CALLBACK_FAILURE;
    struct h2s *s = nghttp2_session_get_stream_user_data(ng, id);
    if (!s)
        return 0;
    nghttp2_session_set_stream_user_data(ng, id, NULL);
    _cleanup_(err_freep) struct err *e = NULL;
    if (code != NGHTTP2_NO_ERROR)
        err_set(&e, ERR_IO, "HTTP/2 stream reset: %s", nghttp2_http2_strerror(code));
    else if (!s->head_done)
        err_set(&e, ERR_IO, "HTTP/2 stream ended without a head");
    if (!e && s->held.n && s->role) { /* a paused reader still gets what came in full */
        struct buf b = s->held;
        s->held = BUF_INIT;
        s->paused = false;
        s->role->data(s, b.p, b.n);
        buf_clear(&b);
    }
    if (!e && s->in_end && s->role) {
        s->paused = false;
        told_end(s);
    }
    if (h->dead)
        return 0;
    h2s_close(s, e);
    if (!h->nstreams && h->owner->idle)
        h->owner->idle(h->arg);
    return 0;
}

/* ---- the deferred pass ---- */
static void pump_stream(struct h2s *s)
{
    struct h2 *h = s->h2;
    int32_t id = s->id;
    if (s->held.n && !s->paused) {
        struct buf b = s->held;
        s->held = BUF_INIT;
        bool own = s->role && s->role->own_window;
        if (s->role)
            s->role->data(s, b.p, b.n);
        if (!h->dead && !own)
            nghttp2_session_consume_stream(h->ng, id, b.n);
        buf_clear(&b);
        if (h->dead || !(s = nghttp2_session_get_stream_user_data(h->ng, id)))
            return;
    }
    if (s->in_end)
        told_end(s);
    if (h->dead || !(s = nghttp2_session_get_stream_user_data(h->ng, id)))
        return;
    if (!s->high && s->role && s->role->drain)
        s->role->drain(s);
}

static void pump_due(struct h2 *h)
{
    for (bool again = true; again && !h->dead;) {
        struct h2s *s;
        again = false;
        list_for (&h->streams, s, node) {
            if (!s->due)
                continue;
            s->due = false;
            pump_stream(s);
            again = true; /* anything may have changed */
            break;
        }
    }
}

static void fail(struct h2 *h, int code)
{
    _cleanup_(err_freep) struct err *e = NULL;
    err_set(&e, ERR_IO, "HTTP/2: %s", nghttp2_strerror(code));
    h2_kill(h, e);
}

static void on_work(struct defer *d)
{
    struct h2 *h = container_of(d, struct h2, work);
    if (h->dead)
        return;
    pump_due(h);
    if (h->dead)
        return;
    int r = nghttp2_session_send(h->ng);
    if (h->dead)
        return;
    if (r < 0) {
        fail(h, r);
        return;
    }
    struct h2s *s;
    list_for (&h->streams, s, node)
        if (s->due) {
            h2_schedule(h);
            break;
        }
    if (h->closing && !h->nstreams)
        nghttp2_session_terminate_session(h->ng, NGHTTP2_NO_ERROR), h->closing = false, h2_schedule(h);
    else if (!nghttp2_session_want_read(h->ng) && !nghttp2_session_want_write(h->ng))
        h2_kill(h, NULL);
}

/* ---- the session ---- */
void h2_feed(struct h2 *h, const char *p, size_t n)
{
    if (h->dead)
        return;
    ssize_t r = nghttp2_session_mem_recv(h->ng, (const uint8_t *)p, n);
    if (h->dead)
        return;
    if (r < 0)
        fail(h, (int)r);
    else
        h2_schedule(h);
}

static void below_data(void *arg, const char *p, size_t n)
{
    h2_feed(arg, p, n);
}
static void below_drain(void *arg)
{
    h2_schedule(arg);
}

static void below_eof(void *arg)
{
    _cleanup_(err_freep) struct err *e = NULL;
    err_set(&e, ERR_IO, "HTTP/2: the peer closed the connection");
    h2_kill(arg, e);
}

static void below_close(void *arg, const struct err *why)
{
    struct h2 *h = arg;
    h->below = NULL;
    if (why)
        h2_kill(h, why);
    else
        below_eof(h);
}

static const struct stream_events below_events = {below_data, below_drain, below_eof, below_close};

static void on_reap(struct defer *d)
{
    struct h2 *h = container_of(d, struct h2, reap);
    nghttp2_session_del(h->ng);
    err_free(h->why);
    free(h);
}

void h2_kill(struct h2 *h, const struct err *why)
{
    if (h->dead)
        return;
    h->dead = true;
    defer_del(h->loop, &h->work);
    _cleanup_(err_freep) struct err *gone = NULL;
    if (!why)
        err_set(&gone, ERR_IO, "HTTP/2: the connection ended");
    for (struct h2s *s; (s = list_first(&h->streams, struct h2s, node));)
        h2s_close(s, why ? why : gone);
    if (h->below)
        stream_close(TAKE(h->below));
    h->owner->dead(h->arg, why);
    loop_defer(h->loop, &h->reap, on_reap);
}

void h2_goaway(struct h2 *h)
{
    if (h->dead)
        return;
    h->closing = true;
    nghttp2_submit_goaway(h->ng, NGHTTP2_FLAG_NONE, nghttp2_session_get_last_proc_stream_id(h->ng), NGHTTP2_NO_ERROR, NULL, 0);
    h2_schedule(h);
}

static int make_session(struct h2 *h)
{
    nghttp2_session_callbacks *cb;
    nghttp2_option *opt;
    if (nghttp2_session_callbacks_new(&cb) < 0)
        return NGHTTP2_ERR_NOMEM;
    if (nghttp2_option_new(&opt) < 0) {
        nghttp2_session_callbacks_del(cb);
        return NGHTTP2_ERR_NOMEM;
    }
    nghttp2_session_callbacks_set_send_callback(cb, on_send);
    nghttp2_session_callbacks_set_send_data_callback(cb, on_send_data);
    nghttp2_session_callbacks_set_on_frame_send_callback(cb, on_frame_send);
    nghttp2_session_callbacks_set_on_frame_recv_callback(cb, on_frame);
    nghttp2_session_callbacks_set_on_begin_headers_callback(cb, on_begin_headers);
    nghttp2_session_callbacks_set_on_header_callback(cb, on_header);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cb, on_data_chunk);
    nghttp2_session_callbacks_set_on_stream_close_callback(cb, on_stream_close);
    nghttp2_option_set_no_auto_window_update(opt, 1);
    nghttp2_option_set_no_closed_streams(opt, 1);
    nghttp2_option_set_stream_reset_rate_limit(opt, 500, 33); /* "rapid reset" */
    nghttp2_option_set_max_outbound_ack(opt, 100);
    int r = h->server ? nghttp2_session_server_new2(&h->ng, cb, h, opt) : nghttp2_session_client_new2(&h->ng, cb, h, opt);
    nghttp2_session_callbacks_del(cb);
    nghttp2_option_del(opt);
    return r;
}

struct h2 *h2_new(struct stream *below, bool server, const struct http_limits *lim, const struct h2_owner *owner, void *arg, struct err **e)
{
    struct h2 *h = xcalloc(1, sizeof *h);
    h->below = below;
    h->loop = stream_loop(below);
    h->server = server;
    h->owner = owner;
    h->arg = arg;
    h->max_head = lim->head;
    h->max_headers = lim->headers;
    list_init(&h->streams);
    int r = make_session(h);
    if (r < 0) {
        err_set(e, ERR_INTERNAL, "HTTP/2: %s", nghttp2_strerror(r));
        free(h);
        return NULL;
    }
    nghttp2_settings_entry set[] = {
        {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, (uint32_t)lim->streams},
        {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, server ? SERVER_STREAM_WINDOW : CLIENT_STREAM_WINDOW},
        {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, (uint32_t)lim->head},
        {server ? NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL : NGHTTP2_SETTINGS_ENABLE_PUSH, server},
    };
    nghttp2_submit_settings(h->ng, NGHTTP2_FLAG_NONE, set, ARRAY_LEN(set));
    h->window = stream_fd(below) < 0 ? PACED_FIRST : 0;
    nghttp2_session_set_local_window_size(h->ng, NGHTTP2_FLAG_NONE, 0, h->window ? h->window : CONN_WINDOW);
    stream_use(below, &below_events, h);
    h2_schedule(h);
    return h;
}

static nghttp2_data_provider provider(struct h2s *s)
{
    return (nghttp2_data_provider){.source.ptr = s, .read_callback = on_read};
}

struct h2s *h2_request(struct h2 *h, const nghttp2_nv *nv, size_t n, bool body, const struct h2_role *role, void *user)
{
    if (h->dead || h->closing || !nghttp2_session_check_request_allowed(h->ng))
        return NULL;
    struct h2s *s = h2s_new(h, 0, role, user);
    nghttp2_data_provider p = provider(s);
    int32_t id = nghttp2_submit_request(h->ng, NULL, nv, n, body ? &p : NULL, s);
    if (id < 0) {
        h2s_free(s);
        return NULL;
    }
    s->id = id;
    s->out_open = body;
    h2_schedule(h);
    return s;
}

void h2s_respond(struct h2s *s, const nghttp2_nv *nv, size_t n, bool body)
{
    if (s->gone)
        return;
    nghttp2_data_provider p = provider(s);
    s->out_open = body;
    s->out_end |= !body;
    if (nghttp2_submit_response(s->h2->ng, s->id, nv, n, body ? &p : NULL) < 0)
        h2s_reset(s, NGHTTP2_INTERNAL_ERROR);
    h2_schedule(s->h2);
}
