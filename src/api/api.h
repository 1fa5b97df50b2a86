/* A Kubernetes API server's request path, for the cluster and for the hub alike.
 *
 * One declared state machine per request (call.h): route → authenticate → authorize → (body) → decode → admit → verb → store → door →
 * reply. It can suspend at any step (a body, a webhook, a quota, the door) and resumes on the loop that it began on. Requests from the
 * network (http) and from inside (controllers, scheduler, the manifests folder: api_do) take the same path; the inside ones begin after
 * authentication, as users of their own.
 *
 * Threads: network requests run on the I/O loop of their connection; api_do on its caller's loop. Everything shared is the store (published
 * roots), the schema registry (published), and small caches with their own locks (RBAC, tokens).
 */
#pragma once
#include "base/clock.h"
#include "http/http.h"
#include "kinds/kinds.h"
#include "store/store.h"
#include "uplink/uplink.h"

struct api;
struct ca; /* crypto/cert.h */

struct api_user { /* who asks; lives in a pool */
    struct str name, uid;
    const struct str *groups;
    size_t ngroups;
    struct {
        struct str key;
        const struct str *values;
        size_t nvalues;
    } * extra;
    size_t nextra;
};

struct api_config {
    struct store *store;
    struct schema *schema; /* schema_builtin() or schema_hub() */
    struct clock *clock;
    struct str version_git; /* "v1.36.2+sampan1" */
    const struct str *tls_sans;
    size_t ntls_sans;    /* more names and addresses for the server's certificate */
    const char *tls_dir; /* CA, keys, service account keys: made when missing (api_keys.h) */
    struct str service_cidr, cluster_cidr, cluster_domain, dns_ip;
    struct str advertise; /* host for the kubernetes Service and kubeconfigs */
    uint16_t port;
    struct str static_token_server, static_token_agent; /* join tokens (hash compared) */
    unsigned max_reading, max_changing;                 /* requests under way at once; 0: 400 and 200, as kube-apiserver */
    struct str audit_policy;                            /* text of an audit.k8s.io/v1 Policy ... */
    const char *audit_log;                              /* ... and the log's path; NULL: none is kept (api/audit.h) */
    unsigned audit_max_mb, audit_backups, audit_days;
    bool hub;                                           /* the hub's set of controllers, routes and bootstrap objects */
};
int api_new(const struct api_config *c, struct api **out,
    struct err **e) _must_check_; /* bootstrap objects are written through the path at api_start */
int api_start(struct api *a, struct loop *control, struct err **e) _must_check_; /* readyz turns ok when bootstrap objects are durable */
void api_free(struct api *a);
/* The store with every kind of the registry declared (projections and indexes from kinds). path NULL: memory only. Before api_new. */
int api_store_open(const char *path, struct schema *schema, struct clock *clock, struct store **out, struct err **e) _must_check_;
/* The same with Secrets sealed at rest (store/seal.h); seal outlives the store. NULL: plain. */
struct store_seal;
int api_store_open_sealed(const char *path, struct schema *schema, struct clock *clock, struct store_seal *seal, struct store **out, struct err **e) _must_check_;
/* fn on the control loop, once, when bootstrap objects are durable and /readyz answers ok. Set before api_start. */
void api_on_ready(struct api *a, void (*fn)(void *arg), void *arg);
struct tls_ctx *api_server_tls(struct api *a); /* for http_listen; certificates in it are renewed while running */
int api_admin_kubeconfig(struct api *a, struct buf *out,
    struct err **e) _must_check_;      /* client certificate of system:masters, server https://127.0.0.1:<port> */
struct str api_ca_hash(struct api *a); /* hex sha256 of the CA's DER, for tokens K10<hash>:: */
struct str api_ca_pem(struct api *a);
const struct ca *api_client_ca(struct api *a); /* signs client certificates: for the controllers that sign requests; NULL: none */
struct api_keys *api_get_keys(struct api *a);  /* for the CSR signer: api/api_keys.h; NULL without tls_dir */
/* The handler of an http_server (one per I/O loop, all share the api). `local`: arrived over the local unix socket; the peer's uid decides
 * (root: system:masters). */
void api_handle(struct http_req *rq, void *api);
struct store *api_store(struct api *a);
struct clock *api_clock(struct api *a);
struct schema *api_schema_ref(struct api *a); /* the registry of now; schema_unref */
const struct schema_resource *api_resource(
    struct api *a, struct str group, struct str version, struct str resource);   /* of the current registry */
struct store_res *api_store_res(struct api *a, const struct schema_resource *r); /* NULL: virtual */

/* More routes (the hub's /v3/import, /k8s/clusters/, console; uplinks). prefix ends in '/' or is whole. authenticate: false: fn sees an
 * anonymous user. Before api_start. */
typedef void api_route_fn(struct http_req *rq, const struct api_user *user, void *arg);
void api_route(struct api *a, struct str prefix, bool authenticate, api_route_fn *fn, void *arg);
/* Authorisation for those routes and proxies: 0 or -ERR_FORBIDDEN in RBAC's words. */
struct api_attrs {
    struct str verb, group, version, resource, subresource, ns, name, path;
};
int api_authorize(struct api *a, const struct api_user *u, const struct api_attrs *at, struct err **e) _must_check_;

/* Another kind of bearer token (the hub's users): 1: *out is its user, made in p; 0: it is not of that kind; negative: it is, and lets nobody in. path is the
 * request's, for tokens that are good for a part of the API only; absent in a TokenReview. Any thread, never waits. Before api_start. */
typedef int api_token_fn(void *arg, struct pool *p, struct str token, struct str path, struct api_user **out, struct err **e);
void api_set_tokens(struct api *a, api_token_fn *fn, void *arg);
struct api_user *api_user_new(struct pool *p, struct str name, struct str uid, const struct str *groups, size_t ngroups); /* in system:authenticated too */
/* More to check when objects of a group are written: after the tables' admission, before validation. op: 'C', 'U' or 'D'. doc may be changed; NULL for 'D'. */
struct api_write {
    const struct api_user *user;
    struct str group, resource, sub, ns, name;
    char op;
    const struct json *old;
    struct json *doc;
    struct pool *pool;
    bool internal; /* written by this process itself, or by a member of system:masters */
};
typedef int api_admit_fn(void *arg, const struct api_write *w, struct err **e);
void api_set_admission(struct api *a, struct str group, api_admit_fn *fn, void *arg);
/* Does u hold all of these RBAC rules (a JSON array) in ns (empty: everywhere)? missing: those that it does not, in RBAC's words. */
bool api_covers(struct api *a, const struct api_user *u, struct str ns, const struct json *rules, struct buf *missing);

/* ---- from inside ---- */
enum api_verb {
    API_GET,
    API_LIST,
    API_CREATE,
    API_UPDATE,
    API_PATCH_MERGE,
    API_PATCH_STRATEGIC,
    API_PATCH_JSON,
    API_APPLY,
    API_DELETE,
    API_DELETE_COLLECTION
};
struct api_call { /* embedded by the caller; everything below is the caller's until done */
    enum api_verb verb;
    struct str group, version, resource, sub; /* version may be empty: the storage version */
    struct str ns, name;
    struct json *body;           /* in pool; for DELETE: DeleteOptions or NULL */
    struct pool *pool;           /* the call's; the result tree lives here too */
    const struct api_user *user; /* NULL: system:apiserver */
    struct str field_manager;    /* empty: from the user name */
    int64_t expect_rev;          /* UPDATE: also from body's metadata.resourceVersion; 0: unconditional where the kind allows */
    struct str expect_uid;       /* DELETE precondition */
    bool soft, force, dry_run;
    /* result */
    int code;              /* 200, 201 or the error's */
    struct err *err;       /* owned by the call: err_free it */
    const struct obj *obj; /* what stands now, a reference (obj_unref); NULL on error and for LIST */
    struct json *result;   /* only for virtual kinds (reviews, token requests) */
    /* private */
    void *state_;
    struct post post_;
};
/* Starts the call on loop l. done comes exactly once, possibly before api_do returns (when nothing had to wait); it is told when the write
 * is APPLIED, not yet durable: inside, nobody waits (idea 2). What leaves the process must wait itself: store_wait(obj->rev). */
void api_do(struct api *a, struct loop *l, struct api_call *c, void (*done)(struct api_call *c));
void api_call_clear(struct api_call *c); /* frees err and obj */

/* Records an Event (soft write, series and counts merged as client-go's recorder does). involved may be gone already. */
void api_event(struct api *a, struct loop *l, const struct obj *involved, struct str kind, struct str api_version, bool warning,
    const char *reason, struct str component, const char *fmt, ...) _printf_(9, 10);

/* What one object uses of one key of a ResourceQuota, in thousandths; false: the key does not speak of this resource. Is the object of
 * those that the quota is about? */
bool api_quota_usage(struct str group, struct str resource, const struct json *doc, struct str key, int64_t *milli);
bool api_quota_in_scope(const struct json *quota, const struct json *doc, bool pod);

/* ---- nodes behind their uplinks ---- */
/* A request for a node's gate: the client end of its uplink, or NULL when it is not connected. Use on the loop `*loop` only. */
struct http_client *api_node_client(struct api *a, struct str node, struct loop **loop);
bool api_node_connected(struct api *a, struct str node);
/* For api_proxy_await: until when to wait for a node whose uplink has just gone; 0: not at all. */
int64_t api_node_awaited(struct api *a, struct str node, int64_t now);
/* Proxies rq (with upgrades) to a client that lives on the same or another loop: path as given. Used for logs, exec, attach, port-forward,
 * proxy, and by the hub. headers are added; Authorization and Impersonate-* of rq are not passed on. */
void api_proxy(struct http_req *rq, struct http_client *to, struct loop *to_loop, struct str path_and_query,
    const struct http_header *extra, size_t nextra);
/* The same, for a client that may go at any time on its own loop: find is called here for the loop, and again on that loop for the client.
 * false: find knew none; rq was not touched. */
typedef struct http_client *api_client_fn(void *arg, struct str key, struct loop **loop);
bool api_proxy_find(struct http_req *rq, api_client_fn *find, void *arg, struct str key, struct str path_and_query,
    const struct http_header *extra, size_t nextra) _must_check_;
/* The same for a connection that has just gone and is likely to be back at once (its far side restarts, a new one replaces it): looked for again until `until` (loop_now's clock), then
 * missing answers the request. until 0: missing at once. path, key and headers live as long as rq. */
typedef void api_missing_fn(struct http_req *rq, void *arg, struct str key);
void api_proxy_await(struct http_req *rq, api_client_fn *find, api_missing_fn *missing, void *arg, struct str key, struct str path_and_query,
    const struct http_header *extra, size_t nextra, int64_t until);
/* How long that is: lost is when the connection went (loop_now's clock; 0: it has never been there), started when this process began. */
int64_t api_proxy_until(int64_t lost, int64_t started, int64_t now);
