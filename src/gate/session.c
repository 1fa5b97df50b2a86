#include "gate/session.h"

#include <stdlib.h>

#include "base/clock.h"
#include "gate/serve.h"
#include "http/spdy.h"
#include "json/json.h"

#define FULL (128u << 10)
#define MESSAGE_MAX (1u << 20)
#define RESIZE_MAX 1024
#define STREAMS_NS (30 * NS_PER_S)
#define WS_V5_CLOSE 255

struct side {
    struct session *s;
    enum session_channel c;
};
struct session {
    struct loop *loop;
    struct session_want want;
    const struct session_events *ev;
    void *arg;
    struct ws *ws;
    bool v5, base64;    /* base64: channels are digits and data is text, for browsers' scripts */
    bool bare;          /* before v4: no Status at the end, an error's words instead */
    struct spdy *spdy;
    struct stream *at[CHANNELS];
    struct side side[CHANNELS];
    struct buf sizes;   /* SPDY: a size that has come in part */
    struct timer limit; /* SPDY: for the streams to come */
    struct defer ready;
    bool told_ready, input_over;
};

static void session_free(struct session *s)
{
    timer_del(&s->limit);
    defer_del(s->loop, &s->ready);
    buf_clear(&s->sizes);
    free(s);
}

static void gone(struct session *s)
{
    const struct session_events *ev = s->ev;
    void *arg = s->arg;
    session_free(s);
    ev->on_gone(arg);
}

static void on_ready(struct defer *d)
{
    struct session *s = container_of(d, struct session, ready);
    s->told_ready = true;
    s->ev->on_ready(s->arg);
}

static void input_over(struct session *s)
{
    if (s->input_over || !s->want.in)
        return;
    s->input_over = true;
    s->ev->on_input(s->arg, NULL, 0);
}

/* {"Width":80,"Height":24}; anything else is left alone. */
static void resize(struct session *s, struct str text)
{
    _cleanup_(pool_freep) struct pool *p = pool_new();
    struct json_limits limits = {.bytes = RESIZE_MAX, .depth = 4, .nodes = 16};
    struct json *j;
    if (json_parse(p, text, &limits, &j, NULL) < 0)
        return;
    int64_t w = json_get_int(j, "Width", 0), h = json_get_int(j, "Height", 0);
    if (w > 0 && h > 0 && w < 65536 && h < 65536)
        s->ev->on_resize(s->arg, (unsigned)w, (unsigned)h);
}

/* ---- WebSocket ---- */

static void ws_message(void *arg, enum ws_op op, const char *p, size_t n)
{
    struct session *s = arg;
    unsigned char channel = n ? (unsigned char)p[0] : WS_V5_CLOSE;
    _cleanup_(buf_clear) struct buf plain = BUF_INIT;
    if (n < 2)
        return;
    if (s->base64) {
        buf_putc(&plain, (char)(channel - '0'));
        if (channel < '0' || channel > '9' || !buf_unbase64(&plain, str_make(p + 1, n - 1)) || plain.n < 2)
            return;
        channel = (unsigned char)plain.p[0];
        p = plain.p;
        n = plain.n;
    }
    if (channel == CHANNEL_IN && s->want.in && !s->input_over)
        s->ev->on_input(s->arg, p + 1, n - 1);
    else if (channel == CHANNEL_RESIZE && s->want.tty)
        resize(s, str_make(p + 1, n - 1));
    else if (channel == WS_V5_CLOSE && s->v5 && p[1] == CHANNEL_IN)
        input_over(s);
}

static void ws_drain(void *arg)
{
    struct session *s = arg;
    s->ev->on_drain(s->arg);
}

static void ws_closed(void *arg, int code, struct str reason)
{
    struct session *s = arg;
    s->ws = NULL;
    gone(s);
}

static bool accept_ws(struct session *s, struct http_req *rq)
{
    static const char *const protocols[] = {"v5.channel.k8s.io", "v4.channel.k8s.io", "v4.base64.channel.k8s.io", "channel.k8s.io", "base64.channel.k8s.io", NULL};
    static const struct ws_events events = {ws_message, ws_drain, ws_closed};
    const char *chosen = NULL;
    s->ws = ws_accept(rq, protocols, MESSAGE_MAX, &chosen);
    if (!s->ws)
        return false;
    s->v5 = chosen && chosen[1] == '5';
    s->base64 = chosen && strstr(chosen, "base64");
    s->bare = !chosen || chosen[0] != 'v';
    ws_pause(s->ws, true);
    ws_use(s->ws, &events, s);
    session_output(s,
        s->want.out   ? CHANNEL_OUT
        : s->want.err ? CHANNEL_ERR
                      : CHANNEL_ERROR,
        "", 0); /* kubelets say hello so: clients wait for it */
    loop_defer(s->loop, &s->ready, on_ready);
    return true;
}

/* ---- SPDY ---- */

static void spdy_data(void *arg, const char *p, size_t n)
{
    struct side *side = arg;
    struct session *s = side->s;
    struct str head, tail;
    if (side->c == CHANNEL_IN && !s->input_over)
        s->ev->on_input(s->arg, p, n);
    if (side->c != CHANNEL_RESIZE)
        return;
    buf_add(&s->sizes, p, n);
    if (buf_failed(&s->sizes))
        buf_reset(&s->sizes);
    while (str_cut(buf_str(&s->sizes), '\n', &head, &tail)) {
        resize(s, head);
        buf_drop(&s->sizes, head.n + 1);
    }
}

static void spdy_drained(void *arg)
{
    struct session *s = ((struct side *)arg)->s;
    s->ev->on_drain(s->arg);
}

static void spdy_eof(void *arg)
{
    struct side *side = arg;
    if (side->c == CHANNEL_IN)
        input_over(side->s);
}

static void spdy_stream_closed(void *arg, const struct err *why)
{
    struct side *side = arg;
    side->s->at[side->c] = NULL;
    if (side->c == CHANNEL_IN)
        input_over(side->s);
}

static const char *const names[CHANNELS] = {"stdin", "stdout", "stderr", "error", "resize"};

static bool wanted(const struct session *s, enum session_channel c)
{
    const bool want[CHANNELS] = {s->want.in, s->want.out, s->want.err, true, s->want.tty};
    return want[c] && !s->at[c];
}

static void on_stream(void *arg, struct spdy *spdy, uint32_t id, const struct http_header *h, size_t n)
{
    static const struct stream_events events = {spdy_data, spdy_drained, spdy_eof, spdy_stream_closed};
    struct session *s = arg;
    struct str type = STR_NULL;
    bool more = false;
    for (size_t i = 0; i < n; i++)
        if (str_eqz(h[i].name, "streamtype"))
            type = h[i].value;
    for (int c = 0; c < CHANNELS; c++) {
        if (!str_eqz(type, names[c]) || !wanted(s, c))
            continue;
        s->at[c] = spdy_accept(spdy, id, NULL, 0);
        if (!s->at[c])
            continue;
        if (c == CHANNEL_IN)
            stream_pause(s->at[c], true);
        stream_use(s->at[c], &events, &s->side[c]);
    }
    for (int c = 0; c < CHANNELS; c++)
        more |= wanted(s, c);
    if (more || s->told_ready)
        return;
    timer_del(&s->limit);
    loop_defer(s->loop, &s->ready, on_ready);
}

static void spdy_closed(void *arg, const struct err *why)
{
    struct session *s = arg;
    s->spdy = NULL;
    gone(s);
}

static void streams_late(struct timer *t)
{
    struct session *s = container_of(t, struct session, limit);
    spdy_close(TAKE(s->spdy));
    gone(s);
}

static bool accept_spdy(struct session *s, struct http_req *rq)
{
    static const struct spdy_events events = {on_stream, spdy_closed};
    struct http_header h[] = {{STR("x-stream-protocol-version"), STR("v4.channel.k8s.io")}};
    bool v4 = false;
    struct str piece;
    for (size_t i = 0; i < rq->nheaders; i++) {
        struct str list = rq->headers[i].value;
        while (str_eqz(rq->headers[i].name, "x-stream-protocol-version") && str_split(&list, ',', &piece))
            v4 |= str_eqz(str_trim(piece), "v4.channel.k8s.io");
    }
    if (!v4) {
        http_reply_str(rq, 403, "text/plain; charset=utf-8",
            STR("unable to upgrade: unable to negotiate protocol: the server speaks v4.channel.k8s.io\n"));
        return false;
    }
    struct stream *below = http_upgrade(rq, h, 1);
    if (!below)
        return false;
    s->spdy = spdy_new(below, true, &events, s);
    timer_in(s->loop, &s->limit, STREAMS_NS, streams_late);
    return true;
}

/* ---- both ---- */

bool session_wants(struct http_req *rq, struct session_want *out)
{
    out->tty = serve_flag(rq, "tty");
    out->in = serve_flag(rq, "stdin") || serve_flag(rq, "input");
    out->out = serve_flag(rq, "stdout") || serve_flag(rq, "output");
    out->err = !out->tty && (serve_flag(rq, "stderr") || serve_flag(rq, "error"));
    if (out->in || out->out || out->err)
        return true;
    http_reply_str(rq, 400, "text/plain; charset=utf-8", STR("you must specify at least 1 of stdin, stdout, stderr\n"));
    return false;
}

struct session *session_accept(struct http_req *rq, const struct session_want *want, const struct session_events *ev, void *arg)
{
    struct session *s = xcalloc(1, sizeof *s);
    *s = (struct session){.loop = stream_loop(rq->conn), .want = *want, .ev = ev, .arg = arg, .sizes.limit = RESIZE_MAX};
    for (int c = 0; c < CHANNELS; c++)
        s->side[c] = (struct side){s, c};
    bool spdy = str_eq_nocase(rq->protocol, STR("SPDY/3.1")), ok;
    if (!spdy && !str_eq_nocase(rq->protocol, STR("websocket"))) {
        http_reply_str(rq, 400, "text/plain; charset=utf-8", STR("Upgrade request required\n"));
        ok = false;
    } else {
        ok = spdy ? accept_spdy(s, rq) : accept_ws(s, rq);
    }
    if (!ok) {
        session_free(s);
        return NULL;
    }
    return s;
}

void session_output(struct session *s, enum session_channel c, const char *p, size_t n)
{
    if (s->ws) {
        _cleanup_(buf_clear) struct buf b = BUF_INIT;
        buf_putc(&b, (char)(s->base64 ? '0' + c : c));
        if (s->base64)
            buf_base64(&b, p, n);
        else
            buf_add(&b, p, n);
        ws_send(s->ws, s->base64 ? WS_TEXT : WS_BINARY, b.p, b.n);
    } else if (s->at[c]) {
        stream_write(s->at[c], p, n);
    }
}

bool session_full(const struct session *s)
{
    if (s->ws)
        return ws_queued(s->ws) >= FULL;
    for (int c = CHANNEL_OUT; c <= CHANNEL_ERR; c++)
        if (s->at[c] && stream_queued(s->at[c]) >= FULL)
            return true;
    return false;
}

void session_hold_input(struct session *s, bool hold)
{
    if (s->ws)
        ws_pause(s->ws, hold);
    else if (s->at[CHANNEL_IN])
        stream_pause(s->at[CHANNEL_IN], hold);
}

void session_end(struct session *s, struct str status)
{
    if (!s)
        return;
    _cleanup_(pool_freep) struct pool *p = pool_new();
    struct json *tree;
    if (s->bare && s->ws) {
        if (json_parse(p, status, NULL, &tree, NULL) == 0)
            status = json_get_str(tree, "message");
        if (status.n)
            session_output(s, CHANNEL_ERROR, status.p, status.n);
    } else {
        session_output(s, CHANNEL_ERROR, status.p, status.n);
    }
    if (s->ws)
        ws_close(TAKE(s->ws), 1000, STR(""));
    for (int c = 0; c < CHANNELS; c++)
        if (s->at[c])
            stream_close(TAKE(s->at[c]));
    if (s->spdy)
        spdy_close(TAKE(s->spdy));
    session_free(s);
}

/* ---- the Status ---- */

struct str session_success(struct pool *p)
{
    return STR("{\"metadata\":{},\"status\":\"Success\"}");
}

static struct str failure(struct pool *p, struct str message, const char *reason, const char *cause, struct str detail, int code)
{
    struct json *s = json_obj(p), *c = json_obj(p);
    json_put_obj(p, s, STR("metadata"));
    json_set_str(p, s, STR("status"), STR("Failure"));
    json_set_str(p, s, STR("message"), message);
    json_set_str(p, s, STR("reason"), str_of(reason));
    json_append(json_put_arr(p, json_put_obj(p, s, STR("details")), STR("causes")), c);
    if (cause)
        json_set_str(p, c, STR("reason"), str_of(cause));
    json_set_str(p, c, STR("message"), detail);
    if (code)
        json_set_int(p, s, STR("code"), code);
    return json_to_pool(p, s);
}

struct str session_exit_code(struct pool *p, int64_t code)
{
    struct str text = pool_printf(p, "%" PRId64, code);
    if (code == 0)
        return session_success(p);
    return failure(p, pool_printf(p, "command terminated with non-zero exit code: exit status %" PRId64, code), "NonZeroExitCode",
        "ExitCode", text, 0);
}

struct str session_failure(struct pool *p, struct str message)
{
    return failure(p, pool_printf(p, "Internal error occurred: %.*s", STR_ARG(message)), "InternalError", NULL, message, 500);
}
