/* Calls from the api process to servers that extend it: admission and conversion webhooks, aggregated API servers. Over HTTPS, to a URL or
 * to a Service, whose endpoints are dialled directly: this process stands in the host's network, from which pod addresses are reached as a
 * node reaches them.
 *
 * Connections are kept per loop and target, since a call runs on the loop of its request; the table of them has a lock, the connections
 * have none.
 */
#pragma once
#include "api/api.h"

struct remote; /* what an api keeps of them */
struct remote *remote_new(struct api *a);
void remote_free(struct remote *r); /* when no loop runs any more */

struct remote_target {
    struct str host, path; /* host: an address or a name to dial; path with query */
    uint16_t port;
    struct str name; /* that the certificate must show; SNI */
    struct str ca;   /* PEM; empty: the system's */
    bool insecure;
    struct str text; /* as errors name it: https://svc.ns.svc:443/path */
};
/* clientConfig of a webhook or a CRD's conversion: {url, service{namespace,name,path,port}, caBundle}. ERR_UNAVAILABLE: no endpoint is
 * there. */
int remote_target(struct api *a, struct pool *p, const struct json *config, struct remote_target *out, struct err **e) _must_check_;
/* A ready endpoint of a Service's port (a number). */
int remote_service(
    struct api *a, struct pool *p, struct str ns, struct str name, int64_t port, struct remote_target *out, struct err **e) _must_check_;
/* The client for a target, on loop l only; stays good until the end of this turn unless it is held. NULL and an error: a bad CA. cert and
 * key (PEM): shown to the server. */
struct remote_client;
struct remote_client *remote_client(
    struct api *a, struct loop *l, const struct remote_target *t, struct str cert, struct str key, struct err **e);
struct http_client *remote_http(struct remote_client *c);
void remote_hold(struct remote_client *c);
void remote_release(struct api *a, struct remote_client *c, bool broken); /* broken: not used for anybody else */

struct remote_call { /* embedded by the caller, zeroed; everything is the caller's until done */
    struct api *api;
    struct loop *loop;
    struct remote_target target;
    struct str body; /* JSON; stays the caller's until done */
    int64_t timeout_ns;
    void (*done)(struct remote_call *c); /* once, in a later turn */
    void *arg;
    /* result */
    int status;       /* HTTP's; 0: err says why */
    struct buf reply; /* the caller clears it */
    struct err *err;  /* the caller frees it */
    /* private */
    struct remote_client *client_;
    struct http_call *call_;
    struct timer timer_;
    struct defer defer_;
    bool again_, head_, busy_;
};
void remote_post(struct remote_call *c);
void remote_cancel(struct remote_call *c); /* done does not come; frees what it holds */
