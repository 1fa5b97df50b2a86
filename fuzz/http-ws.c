/* WebSocket frames, as a server and as a client, as messages and as a tunnel. */
#include "http-pipe.h"
#include "http/ws_impl.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void on_message(void *arg, enum ws_op op, const char *p, size_t n)
{
    struct ws **w = arg;
    if (op == WS_TEXT && !str_utf8_valid(str_make(p, n)))
        abort();
    if (n > 1000)
        abort();
    ws_send(*w, op, p, n);
    if (n == 5)
        ws_pause(*w, true), ws_pause(*w, false);
    if (n == 7)
        ws_close(TAKE(*w), 1000, STR("seven"));
}
static void on_close(void *arg, int code, struct str reason)
{
    *(struct ws **)arg = NULL;
}
static const struct ws_events events = {on_message, NULL, on_close};

static void t_data(void *arg, const char *p, size_t n) {}
static void t_close(void *arg, const struct err *why)
{
    *(struct stream **)arg = NULL;
}
static const struct stream_events t_events = {.on_data = t_data, .on_close = t_close};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct loop *l = loop_new(NULL);
    struct stream *peer, *tunnel = NULL;
    pipe_new(l, &peer);
    struct ws *w = ws_new(peer, size && data[0] & 64, 1000);
    if (size && data[0] & 128) {
        tunnel = ws_stream(TAKE(w));
        stream_use(tunnel, &t_events, &tunnel);
    } else {
        ws_use(w, &events, &w);
    }
    pipe_feed(l, &peer, data, size);
    stream_abort(tunnel);
    ws_close(w, 1000, STR(""));
    while (loop_step(l, 0) > 0)
        ;
    loop_free(l);
    return 0;
}
