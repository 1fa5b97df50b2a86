/* SPDY/3.1 over any stream: what kubectl's exec, attach and port-forward fall back to ("Upgrade: SPDY/3.1"), and what port-forward carries inside a WebSocket
 * ("SPDY/3.1+portforward.k8s.io", through ws_stream). Each SPDY stream is a struct stream.
 *
 * As the one peer that exists (moby/spdystream) does, both ends go without SPDY's flow-control windows: the connection below is the window. A stream whose
 * reader is paused with much kept holds the whole connection back. Streams are opened by either side; a half-close is FIN, an abort RST_STREAM.
 * Limits: 64 KiB a header block (inflated), 100 headers, 2,000 streams at once. A peer that breaks the framing is cut off.
 */
#pragma once
#include "http/http.h"

struct spdy;
struct spdy_events {
    /* The peer opens a stream: answer with spdy_accept or spdy_refuse before returning (else it is refused). h (names in lower case) is valid during the
     * call. */
    void (*on_stream)(void *arg, struct spdy *c, uint32_t id, const struct http_header *h, size_t n);
    /* Once, after its streams were closed; c is gone. why NULL: the peer said goodbye, or all was closed in order. Not after spdy_close. */
    void (*on_close)(void *arg, const struct err *why);
};
struct spdy *spdy_new(struct stream *below /* taken over */, bool server, const struct spdy_events *ev, void *arg);
struct stream *spdy_accept(struct spdy *c, uint32_t id, const struct http_header *h, size_t n);
void spdy_refuse(struct spdy *c, uint32_t id);
/* Opens one from here; NULL when the connection is ending. What is written goes before the peer's answer; a refusal is on_close with an error. */
struct stream *spdy_open(struct spdy *c, const struct http_header *h, size_t n);
size_t spdy_streams(const struct spdy *c);
/* Says goodbye, lets what is queued go, and closes. Its streams end; their owners hear it. */
void spdy_close(struct spdy *c);
