/* What one api holds. Inside the room. Every part below keeps its own lock, or is set before api_start and only read afterwards. */
#pragma once
#include <pthread.h>
#include "api/call.h"
#include "api/crd.h"
#include "base/map.h"

struct rbac;      /* rbac.c: compiled roles and bindings */
struct pages;     /* pages.c: roots that list pages stand on */
struct list_cache; /* list_cache.h */
struct addresses; /* addresses.c: ClusterIPs and node ports given out */
struct api_keys;  /* keys.h */
struct nodes;     /* nodes.c */
struct metrics;   /* metrics.c */
struct discovery; /* discovery.c: documents made once per registry */
struct bootstrap; /* bootstrap.c */
struct quota;     /* quota.c */
struct recorder;  /* event.c */
struct crds;      /* crd.h */
struct hooks;
struct remote;
struct aggregates; /* aggregate.h */

#define API_ROUTES 32

struct inflight { /* inflight.c: [0] reading, [1] changing */
    _Atomic unsigned now[2];
    _Atomic uint64_t refused[2];
};

struct api {
    struct pool *pool;     /* of what lives as long as the api */
    struct api_config cfg; /* strings in pool */
    struct store *store;
    struct clock *clock;
    pthread_mutex_t schema_lock;
    struct schema *schema;
    struct loop *control; /* from api_start */
    _Atomic bool ready, stopping;
    struct route extra[API_ROUTES];
    size_t nextra;

    struct rbac *rbac;
    struct pages *pages;
    struct list_cache *lists;
    struct addresses *addresses;
    struct api_keys *keys;
    struct nodes *nodes;
    struct metrics *metrics;
    struct discovery *discovery;
    struct bootstrap *bootstrap;
    struct quota *quota;
    struct aggregates *aggregates; /* from api_start */
    struct hooks *hooks;   /* hooks.h */
    struct remote *remote; /* remote.h */
    struct crds *crds;     /* from api_start */
    struct recorder *recorder; /* event.c: from the first Event on */
    api_token_fn *tokens; /* of api_set_tokens */
    void *tokens_arg;
    api_admit_fn *admission; /* of api_set_admission */
    void *admission_arg;
    struct str admission_group;
    void (*on_ready)(void *arg);
    void *on_ready_arg;
    unsigned turns; /* of housekeeping */
    struct {
        struct store_res *pods, *nodes, *namespaces, *secrets, *configmaps, *services, *serviceaccounts, *events, *slices, *roles,
            *role_bindings, *cluster_roles, *cluster_role_bindings, *quotas, *limits, *priorities, *storage_classes, *ingress_classes,
            *runtime_classes, *network_policies, *pvs, *pvcs, *pdbs, *leases, *csrs;
    } res; /* NULL where the registry has none (the hub) */
    struct audit *audit; /* NULL: none is kept */
    struct timer housekeeping;
    struct inflight inflight;
    struct api_user system; /* system:apiserver, in system:masters */
};

/* authn.c */
int authenticate(struct call *c, struct err **e) _must_check_;
extern const struct str GROUP_AUTHENTICATED, GROUP_UNAUTHENTICATED, GROUP_MASTERS, GROUP_NODES, GROUP_SERVICEACCOUNTS;
struct api_user *user_new(struct pool *p, struct str name, struct str uid, const struct str *groups, size_t ngroups, bool authenticated);
bool user_in(const struct api_user *u, struct str group);
void user_extra(struct pool *p, struct api_user *u, struct str key, const struct str *values, size_t n);
struct json *user_json(struct pool *p, const struct api_user *u);
struct api_user *user_from_json(struct pool *p, const struct json *spec, struct str name_key);
struct api_user *user_copy(struct pool *p, const struct api_user *u);
/* tokens.c: a bearer token to a user; *audiences of a ServiceAccount's token. -ERR_UNAUTHORIZED. */
int token_authenticate(struct api *a, struct pool *p, struct str token, const struct str *audiences, size_t naudiences,
    struct api_user **out, struct err **e) _must_check_;
int token_secret_fill(struct api *a, struct pool *p, struct json *secret, struct err **e) _must_check_; /* legacy token Secrets */

/* inflight.c: 429 when too many requests are under way; what was entered is left once, at the reply or when the peer goes. */
int inflight_enter(struct call *c, struct err **e) _must_check_;
void inflight_leave(struct call *c);
void inflight_metrics(struct api *a, struct buf *b);

/* authz.c */
int authorize(struct call *c, struct err **e) _must_check_;
enum decision { DECISION_NONE, DECISION_ALLOW, DECISION_DENY };
enum decision authz_decide(struct api *a, const struct api_user *u, const struct api_attrs *at, struct buf *why);
void authz_attrs(const struct request_info *ri, struct api_attrs *at);
/* rbac.c */
struct rbac *rbac_new(void);
void rbac_free(struct rbac *r);
bool rbac_allows(struct api *a, const struct api_user *u, const struct api_attrs *at, struct buf *why);
struct rbac_rule {
    const struct str *verbs, *groups, *resources, *names, *urls;
    uint16_t nverbs, ngroups, nresources, nnames, nurls;
};
/* All rules that hold for u in ns (and cluster-wide): fn for each. */
void rbac_rules(struct api *a, const struct api_user *u, struct str ns, void (*fn)(void *arg, const struct rbac_rule *r), void *arg);
int rbac_check_write(struct call *c, struct err **e) _must_check_; /* escalate and bind, at admission */
struct rbac_rule *rbac_rules_parse(struct pool *p, const struct json *rules, size_t *n);
bool rbac_covers(
    struct api *a, const struct api_user *u, struct str ns, const struct rbac_rule *want, size_t n, struct pool *p, struct buf *missing);
/* node_authz.c */
enum decision node_authorize(struct api *a, const struct api_user *u, const struct api_attrs *at, struct buf *why);
struct str node_of_user(const struct api_user *u); /* absent: not a node */

int admit_foreign(struct call *c, struct err **e) _must_check_; /* extend.c: what api_set_admission asked for */
/* admit.c */
int admit(struct call *c, struct err **e) _must_check_;       /* changes c->w.doc, or refuses */
int admit_after(struct call *c, struct err **e) _must_check_; /* quota, addresses: when the document is valid */
void admit_undo(struct call *c);                              /* the store refused: gives back */
void admit_done(struct call *c);                              /* the store took it */

/* pages.c */
struct pages *pages_new(struct api *a);
void pages_free(struct pages *p);
void pages_keep(struct pages *p, struct store_view *v, bool first); /* five minutes from the newest first page on */
struct store_view *pages_find(struct pages *p, int64_t rev); /* a reference, or NULL */
void pages_expire(struct pages *p);

/* discovery.c, openapi.c, health.c, metrics.c */
struct discovery *discovery_new(void);
void discovery_free(struct discovery *d);
/* A cached document with its ETag; make is called when it is not there yet. */
int document_reply(struct call *c, struct str name, const char *type,
    int (*make)(struct call *c, struct buf *out, void *arg, struct err **e), void *arg, struct err **e) _must_check_;
int route_discovery(struct call *c, struct err **e);
int route_openapi_v2(struct call *c, struct err **e);
int route_openapi_v3(struct call *c, struct err **e);
int route_health(struct call *c, struct err **e);
int route_version(struct call *c, struct err **e);
int route_cluster(struct call *c, struct err **e); /* health.c: /sampan/v1/cluster, over uplinks too */
int route_metrics(struct call *c, struct err **e);
int route_jwks(struct call *c, struct err **e);
int route_openid(struct call *c, struct err **e);
int route_ca(struct call *c, struct err **e);
struct metrics *metrics_new(void);
void metrics_free(struct metrics *m);
int route_slis(struct call *c, struct err **e);
void metrics_check(struct api *a, struct str type, const char *name, bool ok); /* one look at one health check */
void metrics_count(struct api *a, const struct call *c, int code);

/* addresses.c */
struct addresses *addresses_new(struct api *a, struct err **e);
void addresses_free(struct addresses *x);
int addresses_node(struct call *c, struct json *spec, struct err **e) _must_check_; /* a new node its pod CIDR */
int addresses_service(struct call *c, struct err **e) _must_check_;                 /* gives and checks addresses and ports of c->w.doc */
void addresses_undo(struct call *c);
void addresses_done(struct call *c);
struct str addresses_first(struct api *a, struct pool *p);     /* of the service network: the kubernetes Service's */
void addresses_release(struct api *a, const struct obj *last); /* a Service or Node has gone */
int addresses_rebuild(struct api *a, struct err **e) _must_check_;

/* bootstrap.c */
int bootstrap_start(struct api *a, struct err **e) _must_check_;
int bootstrap_service(struct api *a, struct err **e) _must_check_; /* the kubernetes Service and its slice are there */
void bootstrap_free(struct bootstrap *b);

/* nodes.c */
struct nodes *nodes_new(struct api *a);
void nodes_free(struct nodes *n);
void nodes_forget(struct api *a, struct loop *l, const struct obj *last); /* a Node has gone: its key too */
/* quota.c, event.c */
struct quota *quota_new(void);
void quota_free(struct quota *q);
void recorder_free(struct recorder *ev);
