/* One HTTP engine, both sides: HTTP/1.1 and HTTP/2 (nghttp2), chosen by ALPN, prior knowledge or upgrade; over any struct stream.
 *
 * Server: a struct http_server is a handler plus limits; connections are given to it (http_listen, or http_serve for a stream that came another way, as
 * through the uplink). The handler is called when a request's head is complete, on the loop of its connection, and answers now or later, on that
 * same loop. A request owns a pool; everything that it shows lives in it.
 * Life of a request: handler → (http_body)* → http_reply, or http_start, http_send*, http_end, or http_upgrade. It ends when the last byte is queued or
 * the peer goes: then on_close (if set) is called exactly once and the pointer is dead. http_reply and http_end may free it: do not touch it afterwards.
 *
 * Limits (struct http_limits, 0: default): head 64 KiB, 100 headers, body 3 MiB + 64 KiB, 15 s for a head, 60 s between body reads, 300 s idle,
 * 250 streams a connection, 10,000 connections. A peer past a limit gets 431, 413, 408 or GOAWAY and is cut.
 */
#pragma once
#include "base/pool.h"
#include "http/stream.h"

struct http_header { struct str name, value; }; /* name in lower case on receipt */
struct http_limits { size_t head, headers, body, connections, streams; int head_ms, body_ms, idle_ms; };

struct http_req {
    struct pool *pool;
    struct str method, path /* raw, as sent, without query */, query /* raw, without ? */, authority;
    struct str protocol;             /* extended CONNECT's :protocol, or HTTP/1.1's Upgrade; absent otherwise */
    const struct http_header *headers;
    size_t nheaders;
    int version;                     /* 1 or 2 */
    struct stream *conn;             /* for peer certificates and address; NULL once closed */
    int64_t started;                 /* loop_now */
    void *user;                      /* the handler's */
    void (*on_close)(struct http_req *rq);  /* the handler's; the peer went or the reply is out. See above */
    void (*on_drain)(struct http_req *rq);
};
struct http_server;
typedef void http_handler(struct http_req *rq, void *arg);
struct http_server *http_server_new(struct loop *l, const struct http_limits *limits, http_handler *fn, void *arg);
void http_server_free(struct http_server *s);          /* cuts all */
void http_server_drain(struct http_server *s, int ms, void (*done)(void *arg), void *arg); /* graceful: GOAWAY, Connection: close */
/* Listens on a bound and listening socket (taken over). tls NULL: plain. Several listeners may feed one server. */
int http_listen(struct http_server *s, int fd, struct tls_ctx *tls, struct err **e) _must_check_;
/* HTTP/2 by prior knowledge or HTTP/1.1 on a stream, found by the first bytes. on_close when the connection has ended; may be NULL. */
void http_serve(struct http_server *s, struct stream *stream, void (*on_close)(void *arg), void *arg);
/* "host:port", "[::]:port", ":port" or "unix:/path" → listening fd; ERR_IO names the address ("bind 0.0.0.0:6443: Address already in use"). */
int http_bind(const char *address, int backlog, struct err **e) _must_check_;

struct str http_header(const struct http_req *rq, struct str name); /* first value, or absent */
/* Query parameter, percent-decoded into the pool; absent when not given; "" when given empty. Malformed escapes give the raw text. */
struct str http_query(const struct http_req *rq, struct str name);
bool http_query_each(const struct http_req *rq, struct str *rest, struct str *name, struct str *value); /* start with *rest = rq->query */
/* Percent-decodes a path segment; false on malformed escapes or NUL. */
bool http_unescape(struct pool *p, struct str s, struct str *out);

/* Asks for the whole body (at most limit bytes, 0: the server's); done is called at once when there is none. On error the request was answered already
 * (413, 408) or the peer is gone, and done is not called. */
void http_body(struct http_req *rq, size_t limit, void (*done)(struct http_req *rq, struct str body));
/* Or takes it as it comes: on_data with n 0 is the end. */
void http_body_stream(struct http_req *rq, void (*on_data)(struct http_req *rq, const char *p, size_t n));
void http_body_pause(struct http_req *rq, bool paused); /* of http_body_stream: the peer is held back */

/* Whole reply; content-length is set here, content-type is the caller's. body is referenced; NULL: none. Replies over 128 KiB are gzipped when the
 * client accepts it. HEAD sends no body. */
void http_reply(struct http_req *rq, int status, const struct http_header *h, size_t nh, struct bytes *body);
void http_reply_str(struct http_req *rq, int status, const char *content_type, struct str body); /* copies */
/* The same with a body in pieces, each referenced. A piece that goes out in many replies is compressed once: packed is what http_pack made of it (NULL: done here,
 * if it is wanted). */
struct http_part { struct bytes *b, *packed; uint32_t crc; };
void http_reply_parts(struct http_req *rq, int status, const struct http_header *h, size_t nh, const struct http_part *parts, size_t n);
/* Deflate blocks (RFC 1951) that end on a byte and lean on nothing before them, so that packed pieces one behind the other are one gzip member; and the crc of what
 * was packed. NULL: not worth it, or no memory. Any thread. */
struct bytes *http_pack(struct str s, uint32_t *crc);
void http_start(struct http_req *rq, int status, const struct http_header *h, size_t nh); /* chunked or HTTP/2 data */
void http_send(struct http_req *rq, struct bytes *b, size_t from, size_t n);              /* references b */
void http_send_str(struct http_req *rq, struct str s);                                   /* copies */
void http_end(struct http_req *rq);
void http_abort(struct http_req *rq);                       /* RST_STREAM or a cut connection */
size_t http_queued(const struct http_req *rq);
/* 101 Switching Protocols, or 200 to an extended CONNECT. The request is over; the stream is the caller's. */
struct stream *http_upgrade(struct http_req *rq, const struct http_header *h, size_t nh);

/* ---- client ---- */
struct http_client; /* one endpoint; keeps connections, HTTP/2 where ALPN offers it, else up to `connections` HTTP/1.1 ones */
struct http_client *http_client_new(struct loop *l, const struct endpoint *ep /* copied */, const struct http_limits *limits);
/* HTTP/2 client on a stream that is there already (the uplink). on_close once when it ends. */
struct http_client *http_client_over(struct stream *s, const struct http_limits *limits, void (*on_close)(void *arg, const struct err *why), void *arg);
void http_client_free(struct http_client *c); /* calls under way fail */
void http_client_ping(struct http_client *c, void (*pong)(void *arg, int64_t rtt_ns), void *arg); /* HTTP/2 only; no pong when the peer is gone */

struct http_call;
struct http_response { int status; const struct http_header *headers; size_t nheaders; }; /* valid during on_head */
struct http_call_events {
    void (*on_head)(void *arg, const struct http_response *r); /* may be NULL */
    void (*on_data)(void *arg, const char *p, size_t n);
    void (*on_drain)(void *arg);                               /* request body; may be NULL */
    /* e NULL: complete. The call is gone afterwards. */
    void (*on_end)(void *arg, const struct err *e);
};
struct http_request {
    struct str method, path /* with query */;
    const struct http_header *headers; size_t nheaders;
    struct str body;             /* copied; content-length set */
    bool stream_body;            /* the body follows with http_call_send ... http_call_finish */
    int timeout_ms;              /* until the head has come; 0: 30 s; -1: none */
};
struct http_call *http_call(struct http_client *c, const struct http_request *r, const struct http_call_events *ev, void *arg);
void http_call_send(struct http_call *k, const void *p, size_t n);
void http_call_finish(struct http_call *k);
size_t http_call_queued(const struct http_call *k);
void http_call_pause(struct http_call *k, bool paused);
void http_call_cancel(struct http_call *k); /* no more callbacks */
/* Upgrade: extended CONNECT on HTTP/2, Upgrade on HTTP/1.1 (on a connection of its own). protocol: "websocket", "SPDY/3.1", "sampan-control".
 * done once: with a stream (and the response head), or with an error whose message carries status and body's beginning. */
struct http_call *http_call_upgrade(struct http_client *c, const struct http_request *r, struct str protocol,
    void (*done)(void *arg, struct stream *s, const struct http_response *r, const struct err *e), void *arg);

/* ---- WebSocket, RFC 6455 ---- */
enum ws_op { WS_TEXT = 1, WS_BINARY = 2 };
struct ws;
struct ws_events {
    void (*on_message)(void *arg, enum ws_op op, const char *p, size_t n);
    void (*on_drain)(void *arg);
    void (*on_close)(void *arg, int code, struct str reason); /* once; 1006: no close frame came */
};
/* Checks Sec-WebSocket-*, picks the first of `protocols` (NULL-ended, may be NULL) that the client offers, answers 101 or, on failure, 400 and NULL. */
struct ws *ws_accept(struct http_req *rq, const char *const *protocols, size_t max_message, const char **chosen);
void ws_use(struct ws *w, const struct ws_events *ev, void *arg);
void ws_dial(struct http_client *c, const struct http_request *r, const char *const *protocols, size_t max_message,
    void (*done)(void *arg, struct ws *w, const char *chosen, const struct err *e), void *arg);
void ws_send(struct ws *w, enum ws_op op, const void *p, size_t n);
void ws_ping(struct ws *w, void (*pong)(void *arg), void *arg);
/* The connection below, for its exporter and peer (stream_exporter, stream_peer); NULL once closed. Not to be read or written. */
struct stream *ws_below(const struct ws *w);
size_t ws_queued(const struct ws *w);
void ws_pause(struct ws *w, bool paused);
void ws_close(struct ws *w, int code, struct str reason); /* sends close, waits at most 5 s; no on_close */
struct stream *ws_stream(struct ws *w);                   /* binary messages as a byte stream; takes w over */
