/* The inside of a WebSocket that ws.c and ws_stream.c share. */
#pragma once
#include "base/list.h"
#include "http/http.h"
#include "http/ws_frame.h"

struct ws {
    struct stream *s;     /* NULL: gone */
    struct loop *loop;
    const struct ws_events *ev;
    void *arg;
    struct ws_parser in;
    size_t max;
    uint8_t msg_op;
    struct buf msg, control, held;
    struct list pings;
    struct timer limit;
    struct defer again, reap;
    uint8_t mask[64], mask_at; /* unpredictable keys, got from the kernel by the dozen */
    bool client, paused, close_sent, forgotten, dead, feeding;
};
struct ws *ws_new(struct stream *s, bool client, size_t max_message);
void ws_send_close(struct ws *w, int code, struct str reason);
void ws_end(struct ws *w, int code, struct str reason); /* tells on_close, closes the stream, frees later */
