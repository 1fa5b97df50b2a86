/* One request passed on to another server and its answer passed back, held back where the reader is slow; an upgrade is re-issued and its
 * two streams spliced. Inside the room. Both of gate's proxies are made of it: the hub's requests to a Kubernetes API (connect.c) and
 * requests to a pod's own server (proxy.c). */
#pragma once
#include "http/http.h"

struct relay_to {
    struct http_client *client;
    struct str path; /* with query */
    const struct http_header *headers;
    size_t nheaders; /* as they are to be sent; relay_headers makes them. All of it copied or of rq's pool */
    int head_ms;     /* until the answer's head */
    void (*fail)(
        struct http_req *rq, int status, struct str message); /* answers rq when no answer came: 502 or what the far side said, 503 */
    void (*done)(void *arg);                                  /* once, in a later turn: nothing of it is left; may be NULL */
    void *arg;
};
/* rq is answered in every case. */
void relay(struct http_req *rq, const struct relay_to *to);
/* rq's headers without those that belong to one connection, to rq's own hop, or (authorization, cookie) to somebody else; with room for
 * `more` behind them. */
size_t relay_headers(struct http_req *rq, size_t more, struct http_header **out);
