/* A WebSocket: messages over a stream.
 *
 * Closing: ws_close sends a close frame and waits at most CLOSE_NS for the peer's; a peer's close frame is answered and the stream closed
 * behind it. */
#include "http/ws_impl.h"
#include <stdlib.h>
#include "base/file.h"

#define CLOSE_NS (5 * NS_PER_S)
#define PONG_QUEUE (64u << 10) /* a peer that pings and does not read gets no more pongs */

struct ws_pinged {
    struct list node;
    void (*pong)(void *arg);
    void *arg;
};

static void on_reap(struct defer *d)
{
    struct ws *w = container_of(d, struct ws, reap);
    defer_del(w->loop, &w->again);
    buf_clear(&w->msg);
    buf_clear(&w->control);
    buf_clear(&w->held);
    for (struct ws_pinged *p; (p = list_first(&w->pings, struct ws_pinged, node));) {
        list_remove(&p->node);
        free(p);
    }
    free(w);
}

struct ws *ws_new(struct stream *s, bool client, size_t max_message)
{
    struct ws *w = xcalloc(1, sizeof *w);
    w->s = s;
    w->loop = stream_loop(s);
    w->client = client;
    w->max = max_message ? max_message : 1u << 20;
    w->in = (struct ws_parser){.masked = !client, .max = w->max};
    w->mask_at = sizeof w->mask;
    list_init(&w->pings);
    return w;
}

void ws_end(struct ws *w, int code, struct str reason)
{
    if (w->dead)
        return;
    w->dead = true;
    timer_del(&w->limit);
    if (w->s)
        stream_close(TAKE(w->s));
    loop_defer(w->loop, &w->reap, on_reap);
    const struct ws_events *ev = w->ev;
    w->ev = NULL;
    if (ev && !w->forgotten && ev->on_close)
        ev->on_close(w->arg, code, reason);
}

/* ---- sending ---- */
static const uint8_t *next_mask(struct ws *w)
{
    if (w->mask_at + 4u > sizeof w->mask) {
        random_bytes(w->mask, sizeof w->mask);
        w->mask_at = 0;
    }
    const uint8_t *k = w->mask + w->mask_at;
    w->mask_at += 4;
    return k;
}

static void send_frame(struct ws *w, uint8_t op, const void *p, size_t n)
{
    if (w->dead || !w->s || w->close_sent)
        return;
    struct buf b = BUF_INIT;
    const uint8_t *key = w->client ? next_mask(w) : NULL;
    buf_reserve(&b, 14 + (key || n < 1024 ? n : 0));
    ws_head(&b, op, true, n, key);
    if (!key && n >= 1024) {
        stream_write(w->s, b.p, b.n);
        stream_write(w->s, p, n);
    } else {
        size_t at = b.n;
        buf_add(&b, p, n);
        if (key)
            ws_unmask(b.p + at, n, key, 0);
        stream_write(w->s, b.p, b.n);
    }
    buf_clear(&b);
}

void ws_send(struct ws *w, enum ws_op op, const void *p, size_t n)
{
    send_frame(w, (uint8_t)op, p, n);
}

void ws_ping(struct ws *w, void (*pong)(void *arg), void *arg)
{
    struct ws_pinged *p = xcalloc(1, sizeof *p);
    p->pong = pong;
    p->arg = arg;
    list_push(&w->pings, &p->node);
    send_frame(w, WS_PING, NULL, 0);
}

void ws_send_close(struct ws *w, int code, struct str reason)
{
    char p[125];
    size_t n = 0;
    if (w->close_sent)
        return;
    if (ws_close_code_ok(code)) {
        p[0] = (char)(code >> 8);
        p[1] = (char)code;
        n = MIN(reason.n, sizeof p - 2);
        while (n && !str_utf8_valid(str_make(reason.p, n)))
            n--;
        if (n)
            memcpy(p + 2, reason.p, n);
        n += 2;
    }
    send_frame(w, WS_CLOSE, p, n);
    w->close_sent = true;
}

/* ---- receiving ---- */
static void violated(struct ws *w, int code, const char *why)
{
    ws_send_close(w, code, str_of(why));
    ws_end(w, code, str_of(why));
}

static void got_close(struct ws *w)
{
    struct str c = buf_str(&w->control);
    int code = c.n >= 2 ? (uint8_t)c.p[0] << 8 | (uint8_t)c.p[1] : 1005;
    struct str reason = str_sub(c, 2, c.n);
    if (c.n == 1 || (c.n >= 2 && !ws_close_code_ok(code)) || !str_utf8_valid(reason)) {
        violated(w, 1002, "malformed close frame");
        return;
    }
    ws_send_close(w, code == 1005 ? 1000 : code, STR(""));
    ws_end(w, code, reason);
}

static void got_control(struct ws *w, uint8_t op)
{
    if (op == WS_CLOSE) {
        got_close(w);
    } else if (op == WS_PING) {
        if (stream_queued(w->s) < PONG_QUEUE)
            send_frame(w, WS_PONG, w->control.p, w->control.n);
    } else {
        struct ws_pinged *p = list_first(&w->pings, struct ws_pinged, node);
        if (p) {
            list_remove(&p->node);
            if (p->pong && !w->forgotten)
                p->pong(p->arg);
            free(p);
        }
    }
}

static void control_piece(struct ws *w, const struct ws_piece *x)
{
    if (x->first)
        buf_reset(&w->control);
    size_t at = w->control.n;
    buf_add(&w->control, x->data.p, x->data.n);
    if (w->in.masked && x->data.n)
        ws_unmask(w->control.p + at, x->data.n, x->key, x->at);
    if (x->last)
        got_control(w, x->op);
}

static void data_piece(struct ws *w, const struct ws_piece *x)
{
    if (x->first && x->op != WS_CONT) {
        w->msg_op = x->op;
        buf_reset(&w->msg);
    }
    if (x->data.n > w->max - w->msg.n) {
        violated(w, 1009, "message too large");
        return;
    }
    size_t at = w->msg.n;
    buf_add(&w->msg, x->data.p, x->data.n);
    if (w->in.masked && x->data.n)
        ws_unmask(w->msg.p + at, x->data.n, x->key, x->at);
    if (!x->last || !x->fin)
        return;
    if (w->msg_op == WS_TEXT && !str_utf8_valid(buf_str(&w->msg))) {
        violated(w, 1007, "text that is not UTF-8");
        return;
    }
    if (w->ev && !w->forgotten && !w->close_sent) {
        struct buf m = w->msg; /* the callee may end everything */
        w->msg = BUF_INIT;
        w->ev->on_message(w->arg, (enum ws_op)w->msg_op, m.p ? m.p : "", m.n);
        if (m.cap <= 64u << 10 && !w->msg.p && !w->dead) {
            w->msg = m;
            buf_reset(&w->msg);
        } else {
            buf_clear(&m);
        }
    }
}

static struct str feed(struct ws *w, struct str in)
{
    struct ws_piece x;
    w->feeding = true;
    while (!w->dead && (!w->paused || w->forgotten)) {
        int r = ws_next(&w->in, &in, &x);
        if (r == 0)
            break;
        if (r != 1)
            violated(w, r, r == 1009 ? "frame too large" : "malformed frame");
        else if (x.op & 8)
            control_piece(w, &x);
        else
            data_piece(w, &x);
    }
    w->feeding = false;
    if (!w->dead && !w->in.in_message && !w->in.in_payload && !in.n)
        buf_clear(&w->msg); /* an idle connection holds nothing */
    return in;
}

static void on_again(struct defer *d)
{
    struct ws *w = container_of(d, struct ws, again);
    if (w->dead || w->paused)
        return;
    struct buf b = w->held;
    w->held = BUF_INIT;
    struct str rest = feed(w, buf_str(&b));
    if (!w->dead)
        buf_str_add(&w->held, rest);
    buf_clear(&b);
}

static void on_data(void *arg, const char *p, size_t n)
{
    struct ws *w = arg;
    if (w->held.n) {
        buf_add(&w->held, p, n);
        return;
    }
    struct str rest = feed(w, str_make(p, n));
    if (!w->dead)
        buf_str_add(&w->held, rest);
}

static void on_drain(void *arg)
{
    struct ws *w = arg;
    if (w->ev && !w->forgotten && w->ev->on_drain)
        w->ev->on_drain(w->arg);
}

static void on_close(void *arg, const struct err *why)
{
    struct ws *w = arg;
    w->s = NULL;
    ws_end(w, 1006, why ? str_of(err_msg(why)) : STR("the connection ended without a close frame"));
}

static const struct stream_events ws_stream_events = {on_data, on_drain, NULL, on_close};

void ws_use(struct ws *w, const struct ws_events *ev, void *arg)
{
    w->ev = ev;
    w->arg = arg;
    if (w->s)
        stream_use(w->s, &ws_stream_events, w);
}

struct stream *ws_below(const struct ws *w)
{
    return w->s;
}
size_t ws_queued(const struct ws *w)
{
    return w->s ? stream_queued(w->s) : 0;
}

void ws_pause(struct ws *w, bool paused)
{
    if (w->paused == paused || w->dead)
        return;
    w->paused = paused;
    stream_pause(w->s, paused);
    if (!paused && w->held.n)
        loop_defer(w->loop, &w->again, on_again);
}

static void on_limit(struct timer *t)
{
    ws_end(container_of(t, struct ws, limit), 1006, STR_NULL);
}

void ws_close(struct ws *w, int code, struct str reason)
{
    if (!w || w->forgotten || w->dead)
        return;
    w->forgotten = true;
    ws_send_close(w, code, reason);
    timer_in(w->loop, &w->limit, CLOSE_NS, on_limit);
    if (!w->ev) { /* nobody listened yet: now we do, for the peer's close */
        static const struct ws_events none;
        ws_use(w, &none, NULL);
    }
    ws_pause(w, false);
}
