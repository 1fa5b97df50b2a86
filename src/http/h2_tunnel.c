/* An HTTP/2 stream as a struct stream: the far side of extended CONNECT. */
#include <stdlib.h>
#include "http/h2.h"
#include "http/stream_impl.h"

#define TUNNEL_WINDOW (256 << 10)

struct h2_tunnel {
    struct stream s;
    struct h2s *h2s; /* NULL: gone */
    bool shut;
    struct timer limit;
};

static struct h2_tunnel *tunnel_of(const struct stream *s)
{
    return (struct h2_tunnel *)(uintptr_t)s;
}

static void end(struct h2_tunnel *t, struct err *why)
{
    timer_del(&t->limit);
    if (t->h2s) {
        t->h2s->user = NULL;
        t->h2s->role = NULL;
        t->h2s = NULL;
    }
    stream_in_close(&t->s, why);
}

static void tunnel_data(struct h2s *s, const char *p, size_t n)
{
    struct h2_tunnel *t = s->user;
    stream_in(&t->s, p, n);
}

static void maybe_over(struct h2_tunnel *t)
{
    if (t->h2s && t->s.eof && t->shut)
        end(t, NULL);
}

static void tunnel_end(struct h2s *s)
{
    struct h2_tunnel *t = s->user;
    stream_in_eof(&t->s);
    maybe_over(t);
}

static void tunnel_drain(struct h2s *s)
{
    struct h2_tunnel *t = s->user;
    stream_in_drain(&t->s);
}

static void tunnel_closed(struct h2s *s, const struct err *why)
{
    struct h2_tunnel *t = s->user;
    struct err *e = NULL;
    if (why && !t->s.eof)
        err_set(&e, why->code, "%s", err_msg(why));
    t->h2s = NULL;
    end(t, e);
}

static void tunnel_head(struct h2s *s, bool is_end) {}

static const struct h2_role tunnel_role = {tunnel_head, tunnel_data, tunnel_end, tunnel_drain, tunnel_closed, true};

/* ---- struct stream ---- */
static void t_write(struct stream *s, struct bytes *b, size_t from, size_t n)
{
    if (tunnel_of(s)->h2s)
        h2s_write(tunnel_of(s)->h2s, b, from, n);
}

static void t_copy(struct stream *s, const void *p, size_t n)
{
    if (tunnel_of(s)->h2s)
        h2s_copy(tunnel_of(s)->h2s, p, n);
}

static void t_shutdown(struct stream *s)
{
    struct h2_tunnel *t = tunnel_of(s);
    t->shut = true;
    if (t->h2s)
        h2s_end(t->h2s);
    maybe_over(t);
}

static void t_pause(struct stream *s, bool paused) {} /* the window closes by itself: only what was used up is given back */

static void on_limit(struct timer *x)
{
    struct h2_tunnel *t = container_of(x, struct h2_tunnel, limit);
    if (t->h2s)
        h2s_reset(t->h2s, NGHTTP2_CANCEL);
    end(t, NULL);
}

static void t_close(struct stream *s, bool abort)
{
    struct h2_tunnel *t = tunnel_of(s);
    if (!t->h2s || abort) {
        if (t->h2s)
            h2s_reset(t->h2s, NGHTTP2_CANCEL);
        end(t, NULL);
        return;
    }
    t_shutdown(s); /* the rest flows out; then the peer has a moment to close its half */
    if (t->h2s)
        timer_in(s->loop, &t->limit, 5 * NS_PER_S, on_limit);
}

static size_t t_queued(const struct stream *s)
{
    return tunnel_of(s)->h2s ? tunnel_of(s)->h2s->out.n : 0;
}

static void t_free(struct stream *s)
{
    stream_fini(s);
    free(tunnel_of(s));
}

static void t_consumed(struct stream *s, size_t n)
{
    if (tunnel_of(s)->h2s)
        h2s_consumed(tunnel_of(s)->h2s, n);
}

static struct stream *t_below(const struct stream *s)
{
    return tunnel_of(s)->h2s ? tunnel_of(s)->h2s->h2->below : NULL;
}

static const struct stream_impl tunnel_impl = {
    .write = t_write,
    .copy = t_copy,
    .shutdown = t_shutdown,
    .pause = t_pause,
    .close = t_close,
    .queued = t_queued,
    .free = t_free,
    .consumed = t_consumed,
    .below = t_below,
};

struct stream *h2s_tunnel(struct h2s *s)
{
    struct h2_tunnel *t = xcalloc(1, sizeof *t);
    stream_init(&t->s, s->h2->loop, &tunnel_impl);
    t->h2s = s;
    s->role = &tunnel_role;
    s->user = t;
    if (!s->paused && s->held.n == 0 && s->in_end && !s->in_end_told)
        s->due = true;
    h2s_pause(s, false);
    nghttp2_session_set_local_window_size(s->h2->ng, NGHTTP2_FLAG_NONE, s->id, TUNNEL_WINDOW);
    h2_schedule(s->h2);
    return &t->s;
}
