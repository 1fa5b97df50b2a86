/* One request on its way: the declared state machine that every request takes, from the network or from inside. Inside the room.
 *
 *      ROUTE ──→ AUTHENTICATE ──→ AUTHORIZE ──→ BODY ──→ DECODE ──→ VERB ──→ ADMIT ──→ STORE ──→ DOOR ──→ REPLY ──→ DONE
 *        │             │              ↑ │         ↑        │ │        │ │ ↑        │  │           ↑                  ↑
 *        │             │      inside ─┘ │       (waits)    │ │        │ │ └────────┼──┘ conflict  │                  │
 *        └─────────────┴────────────────┴──────────────────┘ │        │ └──────────┴── error ─────┘(waits)           │
 *                                       error or no write ───┘        └─→ STREAM (watch, proxy, foreign routes) ─────┘
 *
 * A step returns the next state, or CALL_WAIT after arranging that call_resume is called on the call's loop. The table of allowed moves
 * stands in call.c and is asserted at each move. Everything that a call needs lives in its pool: the request's, or the inside caller's.
 *
 * A reply of any kind depends on a revision (c->depends) and passes the door before it leaves; an inside call ends at the door without
 * waiting.
 */
#pragma once
#include "api/api.h"
#include "schema/selector.h"

enum call_state {
    CALL_ROUTE,
    CALL_AUTHENTICATE,
    CALL_AUTHORIZE,
    CALL_BODY,
    CALL_DECODE,
    CALL_VERB,
    CALL_ADMIT,
    CALL_STORE,
    CALL_DOOR,
    CALL_REPLY,
    CALL_STREAM,
    CALL_DONE,
    CALL_STATES,
    CALL_WAIT = 100
};

enum verb { VERB_NONE, VERB_GET, VERB_LIST, VERB_WATCH, VERB_CREATE, VERB_UPDATE, VERB_PATCH, VERB_DELETE, VERB_DELETECOLLECTION };
const char *verb_name(enum verb v); /* RBAC's word: "get"... */

/* What the path says (k8s.io/apiserver request.RequestInfo). */
struct request_info {
    bool resource; /* false: a path such as /version */
    enum verb verb;
    struct str path; /* unescaped as sent */
    struct str group, version, res, sub, rest /* behind the subresource: services/x/proxy/<rest> */, ns, name;
    struct str http_verb; /* lower case, for paths */
};

enum media {
    MEDIA_JSON,
    MEDIA_YAML,
    MEDIA_PROTO,
    MEDIA_MERGE_PATCH,
    MEDIA_STRATEGIC,
    MEDIA_JSON_PATCH,
    MEDIA_APPLY,
    MEDIA_APPLY_CBOR,
    MEDIA_NONE
};
enum shape { SHAPE_OBJECT, SHAPE_TABLE, SHAPE_PARTIAL /* PartialObjectMetadata or ...List */ };
struct accept {
    enum media media;
    enum shape shape;
    bool pretty;
    bool plain; /* an object as it is would be taken as well */
};
enum include_object { INCLUDE_METADATA, INCLUDE_OBJECT, INCLUDE_NONE };

struct call;
struct hook_run;
struct conversions;
typedef int call_fn(struct call *c, struct err **e); /* 0: go on; negative: the error is in *e; CALL_WAIT: suspended */

/* A row of the table of handlers (handlers.c): what a verb on a resource or subresource does. */
struct handler {
    const char *group, *res, *sub; /* NULL: any */
    enum verb verb;                /* VERB_NONE: any */
    bool body;                     /* wants a body */
    bool document;                 /* ... which DECODE turns into c->doc by the schema */
    call_fn *fn;                   /* prepares a reply, or a write in c->w */
};

/* A write that VERB has prepared. ADMIT and STORE carry it out; on a conflict that the client did not ask for, VERB is run again. */
struct write {
    enum { WRITE_NONE, WRITE_CREATE, WRITE_UPDATE, WRITE_DELETE } op;
    const struct obj *old_obj; /* what stood; held by the pool */
    struct json *old, *doc;    /* storage version */
    int64_t expect_rev;        /* 0: any */
    bool retry;                /* a conflict is nobody's wish: read again and do it again */
    unsigned tries;
    bool generate;     /* the name is made from generateName: another one when it is taken */
    bool delete_after; /* the last finalizer went: the update is a deletion */
    bool internal;     /* made by a handler here (binding, deletion marks): no admission, no validation of the kind */
};

struct call {
    struct api *api;
    struct loop *loop;
    struct pool *pool;
    struct http_req *rq; /* NULL: from inside */
    struct api_call *in; /* NULL: from the network */
    void (*in_done)(struct api_call *c);
    void (*sink)(struct call *c, int code,
        struct str body); /* the answer goes here, not to rq (node_call.c); the user and the body are there from the start */
    enum call_state state;
    bool resumed, closed;
    void (*on_gone)(struct call *c); /* the peer went while the call waited or streamed */
    int64_t started;                 /* clock_mono, for metrics */

    struct request_info ri;
    struct schema *schema;                      /* a reference */
    const struct schema_resource *res, *stored; /* as asked for, and its storage version */
    const struct schema_subresource *sub;
    struct store_res *sres;
    const struct handler *handler;
    const struct api_user *user, *caller; /* caller: who it was before impersonation; NULL: the same */
    struct audit_entry *audit;            /* audit.h; NULL: not written */
    const struct route *route; /* a path that is no resource */

    struct accept accept;
    enum media content; /* of the body */
    struct str body;
    struct json *doc; /* decoded body in the requested version */
    bool dry_run;
    uint8_t validation; /* fieldValidation: 0 Warn, 1 Strict, 2 Ignore */
    struct str manager; /* fieldManager */
    bool force;

    struct write w;
    unsigned store_flags;
    struct taken *taken; /* addresses.c: what this write took */
    bool quota;          /* holds the quota's lock */
    uint8_t inflight;    /* counted among the requests under way: inflight.c */
    void *extra;         /* the handler's own: a watch, a scale */
    uint8_t admit_phase, hook_phase; /* how far ADMIT is; hooks.h */
    struct hook_run *hook_run;       /* webhooks that are being asked */
    size_t hook_object;
    struct conversions *conversions; /* convert.h */
    struct pool *whole;              /* the call's own pool while another one stands in its place (watch frames, items of lists); NULL: pool is it */
    bool aggregated;                 /* another server's: aggregate.h */
    bool converted, doored;          /* DOOR: the answer's version is made; the wait is over */
    struct json *denied; /* the Status with which a webhook refused, and its code */
    int denied_code;

    /* the answer */
    int code;
    struct err *err;                          /* owned */
    struct str err_name, err_group, err_kind; /* details of another object than the request's */
    bool err_other;
    struct str expired_continue; /* beside a 410 of a list: a token to go on with from the present */
    const struct obj *obj;       /* the answer is this object (a reference) ... */
    struct json *tree;           /* ... or this document, written as it is ... */
    struct http_part raw[3];     /* ... or these bytes (owned), piece behind piece, of this type */
    size_t nraw;
    const char *raw_type;
    bool success;                  /* ... or a Status Success about the object */
    bool status_only;              /* a write that is answered with Success, not with what it wrote */
    struct http_header headers[8]; /* more of them: Warning, ETag, Location */
    size_t nheaders;
    struct str *warnings;
    size_t nwarnings;
    int64_t depends; /* revision that the answer depends on */
    struct store_wait wait;
};

void call_begin(struct call *c);              /* at ROUTE; api, pool, loop, rq are set */
void call_resume(struct call *c);             /* goes on after a wait; on the call's loop */
int call_fail(struct call *c, struct err *e); /* takes e; the state to go to */
void call_warn(struct call *c, const char *fmt, ...) _printf_(2, 3);
void call_header(struct call *c, const char *name, struct str value);
void call_depend(struct call *c, int64_t rev);                      /* the answer waits for rev at least */
void call_reply_obj(struct call *c, int code, const struct obj *o); /* takes the reference */
void call_reply_tree(struct call *c, int code, struct json *tree);
void call_reply_raw(struct call *c, int code, const char *type, struct bytes *b); /* takes b */
void call_reply_parts(struct call *c, int code, const char *type, const struct http_part *parts, size_t n); /* at most 3; takes their references */
/* Streams: the call's reply is somebody else's (watch, proxy); it ends with call_stream_end, after which c is gone. */
void call_stream_end(struct call *c);
/* The request goes to somebody else (a proxy, a foreign route), who answers it; the handler returns CALL_WAIT. c must not be touched once
 * rq was answered. */
struct http_req *call_hand_over(struct call *c);
struct str call_query(struct call *c, const char *name); /* absent for inside calls */
bool call_query_bool(struct call *c, const char *name);
struct str call_remote(const struct call *c);

struct str call_ns(const struct call *c); /* the store's namespace: empty for cluster-scoped kinds, /namespaces/x included */
int check_not_older(struct call *c, int64_t have, struct err **e) _must_check_; /* resourceVersion as "not older than": 504 with a retry */

/* Errors in Kubernetes' words about the request's resource. */
int call_not_found(struct call *c, struct str name, struct err **e); /* deployments.apps "x" not found */
int call_conflict(struct call *c, const char *why, struct err **e);  /* Operation cannot be fulfilled on ... "x": why */
struct str call_list_kind(struct call *c);                           /* "DeploymentList" */
struct str call_qualified(struct call *c);                           /* "deployments.apps", "pods" */
#define OBJECT_MODIFIED "the object has been modified; please apply your changes to the latest version and try again"

/* route.c */
void route_parse(struct pool *p, const struct http_req *rq, struct request_info *ri);
int route_resource(struct call *c, struct err **e) _must_check_; /* ri → res, sub, handler; 404, 405 */
struct route {
    const char *path; /* whole, or a prefix when it ends in / */
    bool open;        /* no authorization: health */
    int (*fn)(struct call *c, struct err **e);
    api_route_fn *foreign; /* of api_route */
    void *arg;
    bool authenticate;
};
const struct route *route_path(struct api *a, struct str path);

/* handlers.c */
const struct handler *handler_find(const struct request_info *ri, const struct schema_resource *res);

/* media.c */
int media_accept(struct call *c, struct err **e) _must_check_;  /* 406 */
int media_content(struct call *c, struct err **e) _must_check_; /* 415 */
const char *media_name(enum media m);

/* status.c */
struct json *status_tree(struct call *c);                    /* of c->err, or Success */
struct str status_json(struct pool *p, const struct err *e); /* without details, for where no call is */

/* encode.c: objects into bytes of the wanted shape. */
void encode_object(struct call *c, const struct obj *o, struct buf *out, struct err **e); /* as c->accept says */
int encode_convert(struct call *c, struct json **doc, struct err **e) _must_check_;       /* storage version → requested */
int encode_to_storage(struct call *c, struct json **doc, struct err **e) _must_check_;    /* requested → storage version */
/* From one version to another, both of c's resource. */
int encode_between(struct call *c, const struct schema_resource *from, const struct schema_resource *to, struct json **doc, struct err **e) _must_check_;
bool encode_as_stored(const struct call *c);                                              /* the requested version is the stored one */
struct json *encode_partial(struct pool *p, const struct json *doc);                      /* metadata only */
void encode_doc(struct call *c, const struct json *doc, struct buf *out);                 /* JSON or YAML, pretty */
struct str storage_api_version(const struct schema_resource *r, struct pool *p);
struct str api_version(struct pool *p, struct str group, struct str version); /* "apps/v1", "v1" */

struct json *scale_of(struct call *c, const struct json *doc); /* scale.c: autoscaling/v1 Scale of an object */
int patch_apply(struct call *c, struct json **doc, const struct json *patch, struct err **e) _must_check_; /* patch.c */

/* protobuf.c */
int protobuf_read(struct call *c, struct json **out, struct err **e) _must_check_;
bool protobuf_write(struct call *c, const struct json *doc, struct buf *out);
bool protobuf_list_item(struct call *c, const struct json *doc, struct buf *raw);
void protobuf_list(struct call *c, struct str version, struct str kind, struct str rv, struct str cont, int64_t remaining, struct str items,
    struct buf *out);
void protobuf_frame(struct str type, struct str object, struct buf *out);

void apply_manage(struct call *c); /* apply.c: managedFields of an ordinary write */

/* table.c */
enum include_object table_include(struct call *c);
void table_begin(struct call *c, struct buf *out, struct str rv, struct str cont, int64_t remaining, bool columns);
void table_row(struct call *c, struct buf *out, struct json *doc, enum include_object inc);

/* select.c: label and field selectors of list, watch and deletecollection. */
struct select {
    struct selector labels, fields;
    bool parse /* fields beyond name and namespace */;
    struct str name, ns; /* pinned by a field selector */
};
int select_parse(struct call *c, struct select *s, struct err **e) _must_check_;
bool select_match(struct call *c, const struct select *s, const struct obj *o);
bool select_match_res(const struct schema_resource *stored, const struct select *s, const struct obj *o);

/* decode.c */
int decode_body(struct call *c, struct err **e) _must_check_;    /* c->body → c->doc, checked by the schema */
int decode_options(struct call *c, struct err **e) _must_check_; /* dryRun, fieldValidation, fieldManager, force */
int decode_document(struct call *c, struct json *doc, struct json_dup *dups, struct err **e) _must_check_;
int decode_text(
    struct call *c, struct json **out, struct json_dup **dups, struct err **e) _must_check_; /* JSON or YAML as c->content says */

/* write.c: the way of every write. */
int write_admit(struct call *c, struct err **e) _must_check_; /* CALL_WAIT: webhooks are asked; call again when the call is resumed */
int write_store(struct call *c, struct err **e) _must_check_;    /* CALL_VERB (as a positive number) when it is to be tried again */
int write_read_old(struct call *c, struct err **e) _must_check_; /* w.old_obj, w.old (404) */
int delete_store(struct call *c, struct err **e) _must_check_;   /* delete.c: STORE of a deletion */
void write_head(struct json *doc);                               /* kind, apiVersion, metadata stand first */
int write_expect(
    struct call *c, const struct json *doc, struct err **e) _must_check_; /* resourceVersion and uid of doc against what stands */
bool write_finished(const struct json *doc);                              /* being deleted, and nothing holds it any more */

/* verbs */
call_fn verb_get, verb_list, verb_watch, verb_create, verb_update, verb_patch, verb_apply, verb_delete, verb_delete_collection;
call_fn sub_scale_get, sub_scale_update, sub_scale_patch, sub_binding, sub_eviction, sub_token, sub_finalize, sub_bindings;
call_fn review_access, review_self_access, review_local_access, review_self_rules, review_token, review_self;
call_fn component_get, component_list;
call_fn metrics_get, metrics_list; /* metrics_api.c */
call_fn node_log, node_upgrade, node_proxy, pod_proxy, service_proxy;
/* How an object goes: called by verb_delete, deletecollection and eviction. */
struct delete_options {
    int64_t grace;
    bool grace_set, orphan, foreground, policy_set;
    struct str uid, rv;
};
int delete_options_parse(struct call *c, const struct json *body, struct delete_options *o, struct err **e) _must_check_;
