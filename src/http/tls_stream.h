/* TLS over any stream, inside the room; users call stream_tls_server, stream_tls_client or stream_dial. */
#pragma once
#include "http/stream.h"

/* ready is called once, when the handshake is over (e NULL), or when it failed: then the stream is gone. May be NULL. */
struct stream *tls_stream_new(struct stream *below, struct tls_ctx *ctx, bool server, const char *sni,
    void (*ready)(void *arg, const struct err *e), void *arg, struct err **e);
