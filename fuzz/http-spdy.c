/* SPDY frames from any peer. */
#include "http-pipe.h"
#include "http/spdy.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void s_data(void *arg, const char *p, size_t n)
{
    struct stream **s = arg;
    if (n == 3)
        stream_close(TAKE(*s));
    else
        stream_write(*s, p, n);
}
static void s_close(void *arg, const struct err *why)
{
    *(struct stream **)arg = NULL;
}
static const struct stream_events s_events = {.on_data = s_data, .on_close = s_close};

static struct stream *streams[16];
static void on_stream(void *arg, struct spdy *c, uint32_t id, const struct http_header *h, size_t n)
{
    struct stream **at = &streams[(id / 2) % 16];
    if (*at || (n && h[0].name.n == 2))
        return;
    *at = spdy_accept(c, id, h, n);
    stream_use(*at, &s_events, at);
}
static void on_close(void *arg, const struct err *why)
{
    *(struct spdy **)arg = NULL;
}
static const struct spdy_events events = {on_stream, on_close};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct loop *l = loop_new(NULL);
    struct stream *peer;
    pipe_new(l, &peer);
    struct spdy *c = spdy_new(peer, true, &events, &c);
    pipe_feed(l, &peer, data, size);
    spdy_close(c);
    for (size_t i = 0; i < 16; i++)
        stream_abort(TAKE(streams[i]));
    while (loop_step(l, 0) > 0)
        ;
    loop_free(l);
    return 0;
}
