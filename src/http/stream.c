#include "http/stream_impl.h"
#include <stdlib.h>

static void turn(struct defer *d);

void stream_init(struct stream *s, struct loop *l, const struct stream_impl *impl)
{
    *s = (struct stream){.impl = impl, .loop = l};
}

void stream_fini(struct stream *s)
{
    defer_del(s->loop, &s->later);
    buf_clear(&s->early);
    err_free(TAKE(s->why));
    free(TAKE(s->peer));
}

static void later(struct stream *s)
{
    loop_defer(s->loop, &s->later, turn);
}

/* Tells the listener that it is over; after this nobody owns the stream but the core. */
static void tell_close(struct stream *s)
{
    const struct stream_events *ev = s->ev;
    s->ev = NULL;
    s->forgotten = true;
    if (ev && ev->on_close)
        ev->on_close(s->arg, s->why);
    if (s->finished)
        later(s);
    else
        s->impl->close(s, false);
}

static void hand_data(struct stream *s, const char *p, size_t n)
{
    s->ev->on_data(s->arg, p, n);
    if (s->impl->consumed && !s->finished)
        s->impl->consumed(s, n);
}

/* Moves on what waits: data, then the end of input, then the close. */
static void pump(struct stream *s)
{
    while (s->early.n && stream_wants(s)) {
        struct buf b = s->early;
        s->early = BUF_INIT;
        hand_data(s, b.p, b.n);
        buf_clear(&b);
    }
    if (!s->ev || s->forgotten)
        return;
    bool stuck = s->early.n || s->paused;
    if (s->finished && (s->why || !stuck)) {
        tell_close(s);
        return;
    }
    if (s->eof && !s->eof_told && !stuck) {
        s->eof_told = true;
        if (s->ev->on_eof)
            s->ev->on_eof(s->arg);
        else
            tell_close(s);
    }
}

static void turn(struct defer *d)
{
    struct stream *s = container_of(d, struct stream, later);
    if (s->forgotten && s->finished)
        s->impl->free(s);
    else
        pump(s);
}

void stream_in(struct stream *s, const char *p, size_t n)
{
    if (!n || s->finished)
        return;
    if (s->forgotten) {
        if (s->impl->consumed)
            s->impl->consumed(s, n);
    } else if (stream_wants(s) && !s->early.n) {
        hand_data(s, p, n);
    } else {
        buf_add(&s->early, p, n);
    }
}

void stream_unread(struct stream *s, const char *p, size_t n)
{
    struct buf b = BUF_INIT;
    buf_add(&b, p, n);
    buf_str_add(&b, buf_str(&s->early));
    buf_clear(&s->early);
    s->early = b;
}

void stream_in_eof(struct stream *s)
{
    if (s->eof)
        return;
    s->eof = true;
    pump(s);
}

void stream_in_close(struct stream *s, struct err *why)
{
    if (s->finished) {
        err_free(why);
        return;
    }
    s->finished = true;
    s->why = why;
    if (s->forgotten)
        later(s);
    else
        pump(s);
}

void stream_in_drain(struct stream *s)
{
    if (!s->high || s->forgotten || !s->ev)
        return;
    if (s->impl->queued(s) >= STREAM_LOW_WATER)
        return;
    s->high = false;
    if (s->ev->on_drain)
        s->ev->on_drain(s->arg);
}

void stream_use(struct stream *s, const struct stream_events *ev, void *arg)
{
    s->ev = ev;
    s->arg = arg;
    if (!s->finished)
        s->impl->pause(s, !stream_wants(s));
    if (s->early.n || s->eof || s->finished)
        later(s);
}

static void mark(struct stream *s)
{
    if (!s->high && s->impl->queued(s) >= STREAM_LOW_WATER)
        s->high = true;
}

void stream_write(struct stream *s, const void *p, size_t n)
{
    if (!n || s->finished)
        return;
    s->impl->copy(s, p, n);
    mark(s);
}

void stream_write_bytes(struct stream *s, struct bytes *b, size_t from, size_t n)
{
    if (!n || s->finished)
        return;
    s->impl->write(s, b, from, n);
    mark(s);
}

void stream_shutdown(struct stream *s)
{
    if (!s->finished)
        s->impl->shutdown(s);
}

size_t stream_queued(const struct stream *s)
{
    return s->finished ? 0 : s->impl->queued(s);
}

void stream_pause(struct stream *s, bool paused)
{
    if (s->paused == paused || s->forgotten)
        return;
    s->paused = paused;
    if (!s->finished)
        s->impl->pause(s, !stream_wants(s));
    if (!paused && (s->early.n || s->eof || s->finished))
        later(s);
}

static void forget(struct stream *s, bool abort)
{
    if (!s || s->forgotten)
        return;
    s->forgotten = true;
    s->ev = NULL;
    buf_clear(&s->early);
    if (s->finished)
        later(s);
    else
        s->impl->close(s, abort);
}

void stream_close(struct stream *s)
{
    forget(s, false);
}
void stream_abort(struct stream *s)
{
    forget(s, true);
}
struct loop *stream_loop(const struct stream *s)
{
    return s->loop;
}

int stream_fd(const struct stream *s)
{
    for (; s; s = s->impl->below ? s->impl->below(s) : NULL)
        if (s->impl->fd)
            return s->impl->fd(s);
    return -1;
}
