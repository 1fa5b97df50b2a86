/* The inside of the client: client.c (calls and who carries them), h1_client.c and h2_client.c (connections).
 *
 * A call waits in client->waiting until a connection takes it: an HTTP/2 one with room, an idle HTTP/1.1 one, or one that is dialled for it (an upgrade on
 * HTTP/1.1 gets one of its own). From then on call->ops is the transport's. A transport reports through call_head, call_data, call_end, call_upgraded;
 * after call_end, call_upgraded and ops->cancel it must not touch the call.
 */
#pragma once
#include "base/buf.h"
#include "base/list.h"
#include "http/http.h"
#include "http/outq.h"

struct cconn;
struct call_ops {
    void (*send)(struct http_call *k); /* call->body grew or body_end was set */
    size_t (*queued)(const struct http_call *k);
    void (*pause)(struct http_call *k);
    void (*cancel)(struct http_call *k);
};
struct http_call {
    struct http_client *client;
    struct list node;          /* in client->waiting or client->running */
    struct pool *pool;
    struct str method, path, protocol;
    struct http_header *headers;
    size_t nheaders;
    struct http_call_events ev;
    void *arg;
    void (*upgraded)(void *arg, struct stream *s, const struct http_response *r, const struct err *e);
    const struct call_ops *ops; /* NULL: waiting */
    void *conn;                 /* the transport's */
    struct outq body;
    struct buf refusal;         /* an upgrade's: the beginning of what came instead */
    int refused;                /* its status */
    struct timer timer;
    struct defer fail;          /* a failure that is told in a later turn */
    struct err *why;
    int64_t length;             /* of the body; -1: streamed */
    bool body_end, paused, head_seen, retried, streamed, high;
};

struct cconn_ops {
    bool (*take)(struct cconn *c, struct http_call *k); /* false: no room */
    void (*cut)(struct cconn *c);
};
struct cconn {
    const struct cconn_ops *ops;
    struct list node;
    struct http_client *client;
    bool h2, reserved; /* reserved: for the upgrade that it was dialled for */
};

struct http_client {
    struct loop *loop;
    struct endpoint ep;
    bool fixed;             /* http_client_over: one connection, no dialling */
    bool freeing;
    char *authority;
    struct http_limits lim;
    struct list waiting, running, conns, dials;
    size_t nconns, ndials;
    struct defer dispatch;
    void (*on_close)(void *arg, const struct err *why);
    void *arg;
};

void client_dispatch(struct http_client *c);              /* in a later turn */
void cconn_add(struct http_client *c, struct cconn *k, const struct cconn_ops *ops, bool h2);
void cconn_gone(struct cconn *k, const struct err *why);  /* unlinks it */

void call_taken(struct http_call *k, const struct call_ops *ops, void *conn);
void call_requeue(struct http_call *k);                   /* the connection was stale: once more on another one */
bool call_replayable(const struct http_call *k);
void call_head(struct http_call *k, const struct http_response *r);
void call_data(struct http_call *k, const char *p, size_t n);
void call_drain(struct http_call *k);
void call_fail_later(struct http_call *k, struct err *e); /* takes e; told in a later turn */
void call_end(struct http_call *k, const struct err *e);
void call_upgraded(struct http_call *k, struct stream *s, const struct http_response *r);

struct cconn *h1_client(struct http_client *c, struct stream *s, struct http_call *reserved);
struct cconn *h2_client(struct http_client *c, struct stream *s, struct err **e);
void h2_client_ping(struct cconn *c, void (*pong)(void *arg, int64_t rtt_ns), void *arg);
