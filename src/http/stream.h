/* struct stream: a two-way flow of bytes on one loop: a TCP, TLS or unix connection, an upgraded HTTP exchange, an HTTP/2 stream opened by extended
 * CONNECT, or a WebSocket used as a tunnel. Everything above (HTTP/1, HTTP/2, WebSocket, SPDY, uplink, proxy splice) speaks to this and does not care
 * what is below; so HTTP/2 runs inside a WebSocket inside TLS, which is what the uplink is.
 *
 * Callbacks may close or free any stream, the own one included. After on_close nothing more is called. stream_close flushes queued bytes first
 * (for at most 5 s), stream_abort does not. Both free the stream later, in the loop; the owner forgets the pointer at once (no on_close then).
 * Backpressure: what is written is queued without bound by stream itself; writers watch stream_queued() and wait for on_drain (below 64 KiB again).
 * A reader that cannot keep up calls stream_pause.
 */
#pragma once
#include "base/bytes.h"
#include "base/clock.h"
#include "base/loop.h"

struct stream;
struct tls_ctx;
struct stream_events {
    void (*on_data)(void *arg, const char *p, size_t n);   /* all of it is consumed by the callee */
    void (*on_drain)(void *arg);                           /* may be NULL */
    void (*on_eof)(void *arg);                             /* the peer will send no more; NULL: treated as close */
    void (*on_close)(void *arg, const struct err *why);    /* why NULL: clean. The stream is gone afterwards */
};
void stream_use(struct stream *s, const struct stream_events *ev, void *arg); /* data that came before is delivered now (in a later turn) */
void stream_write(struct stream *s, const void *p, size_t n);                 /* copies */
void stream_write_bytes(struct stream *s, struct bytes *b, size_t from, size_t n); /* references */
void stream_shutdown(struct stream *s);    /* half-close: no more writes from here */
size_t stream_queued(const struct stream *s);
void stream_pause(struct stream *s, bool paused);
void stream_close(struct stream *s);
void stream_abort(struct stream *s);
struct loop *stream_loop(const struct stream *s);
int stream_fd(const struct stream *s);     /* the socket at the bottom, or -1 */
struct str stream_peer(const struct stream *s); /* "10.0.0.1:1234", "unix", "tunnel" */

/* What a new kind of stream implements (fd, TLS, an HTTP/2 stream, a WebSocket tunnel): http/stream_impl.h. */

/* Connections. TCP_NODELAY is always set. */
struct stream *stream_fd_new(struct loop *l, int fd /* connected socket, taken over */, struct err **e);
struct stream *stream_tls_server(struct loop *l, int fd, struct tls_ctx *ctx, struct err **e); /* handshake happens inside; 10 s limit */
struct stream *stream_tls_client(struct stream *below /* taken over */, struct tls_ctx *ctx, const char *sni, struct err **e);
struct endpoint { /* where to dial */
    const char *unix_path;     /* or host and port */
    const char *host;
    uint16_t port;
    struct tls_ctx *tls;       /* NULL: plain */
    const char *sni;           /* NULL: host */
    const char *proxy;         /* "host:port" of an HTTP CONNECT proxy, or NULL */
    int timeout_ms;            /* 0: 10 s; covers name, connect, proxy and TLS */
};
/* Calls done once with a stream or an error; cancel with dial_cancel before that. Names are resolved in a helper thread. */
struct dial;
struct dial *stream_dial(struct loop *l, const struct endpoint *ep, void (*done)(void *arg, struct stream *s, const struct err *e), void *arg);
void dial_cancel(struct dial *d);
/* Peer's certificate chain after a TLS handshake, DER, leaf first; 0 when none. Views live as long as the stream. */
size_t stream_peer_certs(const struct stream *s, struct str *certs, size_t max);
bool stream_peer_hash(const struct stream *s, unsigned char *hash); /* SHA-256 (32 bytes) of the first of them, made once per connection; false: there is none */
struct str stream_alpn(const struct stream *s);
/* RFC 5705 exporter of the TLS session, for channel binding. false: not TLS. */
bool stream_exporter(const struct stream *s, const char *label, uint8_t *out, size_t n);

/* Joins two streams: bytes of each go to the other, with backpressure and half-close; both end together. Takes both over. done may be NULL. */
void stream_splice(struct stream *a, struct stream *b, void (*done)(void *arg), void *arg);
