/* HTTP/2 (RFC 9113) on nghttp2, inside the room: what both sides share. A struct h2 is a session over a stream; a struct h2s is one of its streams, with what
 * it has to say (out) and what nobody wanted to hear yet (held). What a stream is for, its role says: a server's request, a client's call, or a
 * tunnel (extended CONNECT, RFC 8441) that h2_tunnel makes into a struct stream.
 *
 * nghttp2 is never sent from within its own callbacks: all output happens in one deferred pass a turn (h2_work). Output stops while more than OUT_HIGH bytes
 * wait below, so that a command overtakes a log inside nghttp2's queue, where they still take turns by stream. Connection windows are opened as data comes
 * (bounded by stream windows), stream windows as data is used up. Inside a tunnel (the uplink) the connection window is the one credit of all traffic: pace() in h2.c.
 */
#pragma once
#include <nghttp2/nghttp2.h>
#include "base/buf.h"
#include "base/list.h"
#include "base/pool.h"
#include "http/http.h"
#include "http/outq.h"

struct h2;
struct h2s;
struct h2_role {
    void (*head)(struct h2s *s, bool end);                   /* the (final) head is complete */
    void (*data)(struct h2s *s, const char *p, size_t n);
    void (*end)(struct h2s *s);                              /* the peer will send no more */
    void (*drain)(struct h2s *s);
    void (*closed)(struct h2s *s, const struct err *why);    /* why NULL: in order. s is freed afterwards */
    bool own_window;                                         /* data is acknowledged by h2s_consumed, not at once */
};
struct h2_owner {
    void (*open)(struct h2s *s);                             /* server: a stream begins; sets role and user */
    void (*idle)(void *arg);                                 /* the last stream went */
    void (*settings)(void *arg);                             /* the peer's settings came */
    void (*pong)(void *arg);
    void (*dead)(void *arg, const struct err *why);          /* after all streams were told; the h2 is gone */
};

struct h2s {
    struct list node;
    struct h2 *h2;
    int32_t id;
    const struct h2_role *role;
    void *user;             /* the role's */
    struct pool *pool;      /* holds the head; may be taken over by the role (set NULL) */
    struct http_header *headers;
    size_t nheaders, cap, head_bytes;
    struct str method, path, authority, protocol;
    int status;
    int64_t active;         /* loop_now of the last progress */
    struct outq out;
    struct buf held;
    bool out_open, out_end, in_end, in_end_told, paused, too_large, head_done, high, due, gone;
};

struct h2 {
    nghttp2_session *ng;
    struct stream *below;
    struct loop *loop;
    const struct h2_owner *owner;
    void *arg;
    size_t max_headers, max_head;
    bool server, dead, got_settings, closing;
    int32_t window;      /* of a session inside a tunnel: all streams' credit, which follows the rate. 0: a connection of its own */
    int64_t pace_since;
    size_t pace_bytes;   /* received since */
    struct list streams;
    size_t nstreams;
    struct defer work, reap;
    struct err *why;
};

#define H2_OUT_HIGH (64u << 10)

/* Takes the stream over and listens to it. */
struct h2 *h2_new(struct stream *below, bool server, const struct http_limits *lim, const struct h2_owner *owner, void *arg, struct err **e);
void h2_feed(struct h2 *h, const char *p, size_t n);
void h2_goaway(struct h2 *h);                       /* takes no new streams; dies when the last one went */
void h2_kill(struct h2 *h, const struct err *why);  /* now */
void h2_schedule(struct h2 *h);

struct h2s *h2s_new(struct h2 *h, int32_t id, const struct h2_role *role, void *user);
/* Client: a stream for a request. pseudo-headers first. NULL: no more streams on this connection. */
struct h2s *h2_request(struct h2 *h, const nghttp2_nv *nv, size_t n, bool body, const struct h2_role *role, void *user);
void h2s_respond(struct h2s *s, const nghttp2_nv *nv, size_t n, bool body);
void h2s_write(struct h2s *s, struct bytes *b, size_t from, size_t n);
void h2s_copy(struct h2s *s, const void *p, size_t n);
void h2s_end(struct h2s *s);
void h2s_reset(struct h2s *s, uint32_t code);       /* role->closed is called later, unless the role was taken off */
void h2s_pause(struct h2s *s, bool paused);
void h2s_consumed(struct h2s *s, size_t n);
struct stream *h2s_tunnel(struct h2s *s);           /* the stream becomes a struct stream's transport */

/* Header lists to send: names in lower case, no line breaks; what HTTP/2 forbids (connection, upgrade...) left out. Memory from pool. */
size_t h2_headers(struct pool *pool, nghttp2_nv *nv, const struct http_header *h, size_t nh);
static inline nghttp2_nv h2_nv(struct str name, struct str value)
{
    return (nghttp2_nv){(uint8_t *)(uintptr_t)name.p, (uint8_t *)(uintptr_t)(value.p ? value.p : ""), name.n, value.n, NGHTTP2_NV_FLAG_NONE};
}
