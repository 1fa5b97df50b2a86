/* The client's side of an exec or attach: stdin, stdout, stderr, an error channel and window sizes, over one upgraded request. Inside the
 * room.
 *
 *   WebSocket   subprotocols v5.channel.k8s.io and v4.channel.k8s.io (KEP-4006): each message is a channel byte and data; v5 adds 255 +
 *               channel: that channel ends. channel.k8s.io, or none, is the same without a Status at the end. The base64 forms of both are for scripts
 *               in browsers: a digit and base64, as text.
 *   SPDY/3.1    X-Stream-Protocol-Version v4.channel.k8s.io: one SPDY stream a channel, named by its streamtype header; older clients.
 *
 * The last thing sent is a metav1.Status on the error channel, behind all output.
 */
#pragma once
#include "http/http.h"

enum session_channel { CHANNEL_IN, CHANNEL_OUT, CHANNEL_ERR, CHANNEL_ERROR, CHANNEL_RESIZE, CHANNELS };
struct session_want {
    bool in, out, err, tty;
};

struct session;
struct session_events {
    void (*on_ready)(void *arg);                                   /* once, in a later turn: all channels are there */
    void (*on_input)(void *arg, const char *p, size_t n);          /* n 0: stdin has ended; once */
    void (*on_resize)(void *arg, unsigned width, unsigned height); /* neither is 0 */
    void (*on_drain)(void *arg);                                   /* session_full no longer holds */
    void (*on_gone)(void *arg);                                    /* the client went; the session is freed */
};
/* Reads stdin, stdout, stderr and tty of the query (and the kubelet's own input, output, error). false: nothing is asked for; it was
 * answered with 400. */
bool session_wants(struct http_req *rq, struct session_want *out);
/* Answers the upgrade; rq is over. NULL: it was refused. */
struct session *session_accept(struct http_req *rq, const struct session_want *want, const struct session_events *ev, void *arg);
void session_output(struct session *s, enum session_channel c, const char *p, size_t n);
bool session_full(const struct session *s);             /* hold output back until on_drain */
void session_hold_input(struct session *s, bool hold);  /* it begins held: nothing is lost while there is nobody to read it */
void session_end(struct session *s, struct str status); /* sends the Status and closes; s is freed. NULL is fine */

/* The Status that ends a session, in pool. */
struct str session_success(struct pool *p);
struct str session_exit_code(struct pool *p, int64_t code); /* 0 is success */
struct str session_failure(struct pool *p, struct str message);
