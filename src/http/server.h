/* The inside of the server side: what server.c (connections), request.c (the handler's view), h1_server.c and h2_server.c share.
 *
 *     listener / http_serve ─▶ struct sconn (h1c or h2c) ─▶ struct req ─▶ handler
 *
 * A transport makes a req, fills its public part and calls req_run; afterwards it feeds req_body* and hears of replies through struct req_ops.
 * Whoever ends it first, ends it for both: req_gone (peer) or ops->finish / ops->abort (handler); after either the req is freed.
 */
#pragma once
#include "base/buf.h"
#include "base/list.h"
#include "http/http.h"

struct sconn;
struct sconn_ops {
    void (*drain)(struct sconn *c);   /* finish what is under way, take nothing new */
    void (*cut)(struct sconn *c);     /* now; requests are told */
    void (*expired)(struct sconn *c); /* its deadline passed */
};
struct sconn { /* one connection */
    const struct sconn_ops *ops;
    struct list node;
    struct http_server *server;
    struct stream *stream;
    void (*on_close)(void *arg);
    void *arg;
    struct timer timer;
    int64_t deadline; /* 0: none. The timer is moved lazily: most deadlines are pushed on before they come */
};

struct http_server {
    struct loop *loop;
    struct http_limits lim;
    http_handler *fn;
    void *arg;
    struct list conns, listeners;
    size_t nconns;
    bool draining;
    void (*drained)(void *arg);
    void *drained_arg;
    struct timer drain_timer;
    struct defer drain_check;
    struct buf scratch; /* for heads of replies */
    char date[32];
    int64_t date_at;
};

void sconn_init(struct sconn *c, const struct sconn_ops *ops, struct http_server *s, struct stream *stream, void (*on_close)(void *arg), void *arg);
void sconn_end(struct sconn *c);                       /* leaves the server's list; on_close is told. The stream is the caller's to close */
void sconn_deadline(struct sconn *c, int64_t ns);      /* from now; 0: none */
struct str server_date(struct http_server *s);         /* IMF-fixdate */

/* What a connection turns into. Both take the stream over; data is what was read from it already. */
void h1_serve(struct http_server *s, struct stream *stream, void (*on_close)(void *arg), void *arg);
void h2_serve(struct http_server *s, struct stream *stream, void (*on_close)(void *arg), void *arg, const char *data, size_t n);

struct req;
struct req_ops {
    /* The head of a reply. length: of the body that follows, -1: not known. none: no body follows whatever length says (HEAD, 204). */
    void (*head)(struct req *r, int status, const struct http_header *h, size_t nh, int64_t length, bool none);
    void (*data)(struct req *r, struct bytes *b, size_t from, size_t n);
    void (*copy)(struct req *r, struct str s);
    void (*finish)(struct req *r);  /* the reply is complete; the req is freed when this returns */
    void (*abort)(struct req *r);   /* likewise, cut */
    size_t (*queued)(const struct req *r);
    void (*want)(struct req *r);    /* body_wanted or body_paused changed */
    struct stream *(*upgrade)(struct req *r, const struct http_header *h, size_t nh); /* the req is freed when this returns */
};
struct req {
    struct http_req rq; /* first */
    struct http_server *server;
    const struct req_ops *ops;
    void *owner;        /* the transport's connection or stream */
    bool started, is_head, running, over, body_wanted, body_paused, body_ended;
    int64_t length;     /* announced, or -1 */
    size_t limit;
    struct buf body;
    void (*done)(struct http_req *rq, struct str body);
    void (*on_data)(struct http_req *rq, const char *p, size_t n);
};
struct req *req_new(struct http_server *s, struct stream *conn, int version, const struct req_ops *ops, void *owner);
void req_run(struct req *r);                             /* the handler; the req may be freed afterwards */
void req_body(struct req *r, const char *p, size_t n);   /* may free it */
void req_body_end(struct req *r);                        /* may free it */
void req_timeout(struct req *r);                         /* the body does not come: 408 */
void req_gone(struct req *r);                            /* the peer went; frees it */
void req_drained(struct req *r);                         /* the queue got shorter */
bool req_target(struct req *r, struct str target);       /* path and query from a request target */
static inline struct req *req_of(const struct http_req *rq) { return (struct req *)(uintptr_t)rq; }

/* gzip.c: the pieces as one gzip member: n + 2 pieces into out, with a reference each, or false: not worth it, or no memory. */
bool gzip_parts(const struct http_part *parts, size_t n, struct http_part *out);
size_t parts_length(const struct http_part *parts, size_t n);
