/* A WebSocket as a byte stream: what is written in a turn leaves as binary messages, what comes in binary messages is read; a text message
 * breaks it. A half-close is a close frame: the peer's bytes are read until its own comes. What is below stays hidden: the certificates of
 * a tunnel's ends are not those of who speaks through it. */
#include <stdlib.h>
#include "http/outq.h"
#include "http/stream_impl.h"
#include "http/ws_impl.h"

#define FRAME (16u << 10)
#define BELOW_HIGH (128u << 10)

struct ws_tunnel {
    struct stream s;
    struct ws *ws; /* NULL: gone */
    struct outq out;
    struct defer flush;
    bool shut, closing;
};

static struct ws_tunnel *tunnel_of(const struct stream *s)
{
    return (struct ws_tunnel *)(uintptr_t)s;
}

static void finish(struct ws_tunnel *t, struct err *why)
{
    defer_del(t->s.loop, &t->flush);
    outq_clear(&t->out);
    t->ws = NULL;
    stream_in_close(&t->s, why);
}

static void flush(struct ws_tunnel *t)
{
    char p[FRAME];
    while (t->ws && t->out.n && (t->closing || ws_queued(t->ws) < BELOW_HIGH)) {
        size_t n = outq_take(&t->out, p, sizeof p);
        ws_send(t->ws, WS_BINARY, p, n);
    }
    if (!t->ws || t->out.n)
        return;
    if (t->closing) {
        ws_close(TAKE(t->ws), 1000, STR(""));
        finish(t, NULL);
        return;
    }
    if (t->shut)
        ws_send_close(t->ws, 1000, STR(""));
    stream_in_drain(&t->s);
}

static void on_flush(struct defer *d)
{
    flush(container_of(d, struct ws_tunnel, flush));
}

static void on_message(void *arg, enum ws_op op, const char *p, size_t n)
{
    struct ws_tunnel *t = arg;
    if (op == WS_BINARY) {
        stream_in(&t->s, p, n);
        return;
    }
    struct err *e = NULL;
    err_set(&e, ERR_BAD_REQUEST, "WebSocket tunnel: a text message came");
    ws_close(TAKE(t->ws), 1003, STR("binary messages only"));
    finish(t, e);
}

static void on_drain(void *arg)
{
    flush(arg);
}

static void on_close(void *arg, int code, struct str reason)
{
    struct ws_tunnel *t = arg;
    struct err *e = NULL;
    t->ws = NULL;
    if (code == 1000 || code == 1001 || code == 1005) {
        stream_in_eof(&t->s);
        if (t->s.finished)
            return;
    } else {
        err_set(&e, ERR_IO, "WebSocket closed: %d %.*s", code, STR_ARG(reason));
    }
    finish(t, e);
}

static const struct ws_events events = {on_message, on_drain, on_close};

static void t_write(struct stream *s, struct bytes *b, size_t from, size_t n)
{
    struct ws_tunnel *t = tunnel_of(s);
    if (t->shut || t->closing)
        return;
    outq_bytes(&t->out, b, from, n);
    loop_defer(s->loop, &t->flush, on_flush);
}

static void t_copy(struct stream *s, const void *p, size_t n)
{
    struct ws_tunnel *t = tunnel_of(s);
    if (t->shut || t->closing)
        return;
    outq_copy(&t->out, p, n);
    loop_defer(s->loop, &t->flush, on_flush);
}

static void t_shutdown(struct stream *s)
{
    tunnel_of(s)->shut = true;
    loop_defer(s->loop, &tunnel_of(s)->flush, on_flush);
}

static void t_pause(struct stream *s, bool paused)
{
    if (tunnel_of(s)->ws)
        ws_pause(tunnel_of(s)->ws, paused);
}

static void t_close(struct stream *s, bool abort)
{
    struct ws_tunnel *t = tunnel_of(s);
    if (abort && t->ws) {
        struct ws *w = TAKE(t->ws);
        w->forgotten = true;
        if (w->s)
            stream_abort(TAKE(w->s));
        ws_end(w, 1006, STR_NULL);
    }
    if (!t->ws) {
        finish(t, NULL);
        return;
    }
    t->closing = true;
    ws_pause(t->ws, false);
    loop_defer(s->loop, &t->flush, on_flush);
}

static size_t t_queued(const struct stream *s)
{
    const struct ws_tunnel *t = tunnel_of(s);
    return t->out.n + (t->ws ? ws_queued(t->ws) : 0);
}

static void t_free(struct stream *s)
{
    stream_fini(s);
    free(tunnel_of(s));
}

static const struct stream_impl tunnel_impl = {
    .write = t_write,
    .copy = t_copy,
    .shutdown = t_shutdown,
    .pause = t_pause,
    .close = t_close,
    .queued = t_queued,
    .free = t_free,
};

struct stream *ws_stream(struct ws *w)
{
    struct ws_tunnel *t = xcalloc(1, sizeof *t);
    stream_init(&t->s, w->loop, &tunnel_impl);
    t->ws = w;
    ws_use(w, &events, t);
    ws_pause(w, true); /* until somebody listens */
    return &t->s;
}
