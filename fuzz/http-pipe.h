/* For the fuzz targets of this room: a stream whose peer is the fuzzer. What is written to it is thrown away. */
#pragma once
#include <stdlib.h>
#include "http/stream_impl.h"

struct pipe_stream { struct stream s; struct stream **self; };

static void pipe_write(struct stream *s, struct bytes *b, size_t from, size_t n) {}
static void pipe_copy(struct stream *s, const void *p, size_t n) {}
static void pipe_shutdown(struct stream *s) {}
static void pipe_pause(struct stream *s, bool paused) {}
static void pipe_close(struct stream *s, bool abort)
{
    struct pipe_stream *p = (struct pipe_stream *)(void *)s;
    *p->self = NULL;
    stream_in_close(s, NULL);
}
static size_t pipe_queued(const struct stream *s) { return 0; }
static void pipe_free(struct stream *s)
{
    stream_fini(s);
    free(s);
}
static const struct stream_impl pipe_impl = {
    .write = pipe_write, .copy = pipe_copy, .shutdown = pipe_shutdown, .pause = pipe_pause, .close = pipe_close, .queued = pipe_queued, .free = pipe_free,
};

/* *self becomes NULL when the other side closes. */
static struct stream *pipe_new(struct loop *l, struct stream **self)
{
    struct pipe_stream *p = xcalloc(1, sizeof *p);
    stream_init(&p->s, l, &pipe_impl);
    p->self = self;
    *self = &p->s;
    return &p->s;
}

/* Feeds data in pieces whose sizes the first byte decides, then the end. */
static void pipe_feed(struct loop *l, struct stream **s, const uint8_t *data, size_t size)
{
    size_t step = size ? data[0] % 64u : 0;
    for (size_t at = 1; at < size && *s;) {
        size_t n = step ? step : size - at;
        if (n > size - at)
            n = size - at;
        stream_in(*s, (const char *)data + at, n);
        at += n;
        loop_step(l, 0);
    }
    if (*s)
        stream_in_eof(*s);
    if (*s)
        stream_in_close(*s, NULL);
    while (loop_step(l, 0) > 0)
        ;
}
