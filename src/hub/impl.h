/* Inside the room. */
#pragma once
#include <pthread.h>

#include "base/map.h"
#include "base/queue.h"
#include "hub/hub.h"
#include "uplink/uplink.h"

#define HUB_GROUP "management.cattle.io"
#define HUB_VERSION "v3"

/* A cluster's uplink. Belongs to its loop; others find client and loop under the hub's lock and hand work over. */
struct link {
    struct hub *hub;
    struct uplink_peer *peer;
    struct loop *loop;
    pthread_t thread;           /* that runs it */
    char *cluster;
    char *version;              /* of its Kubernetes, from its /version; NULL: not known yet */
    struct http_call *asking;
    struct buf answer;
    bool connected;
    struct binding *binding;    /* under way; links.c */
};

/* What is known of a cluster's connection, for its status. */
struct presence { bool known, connected; int64_t seen /* when the link that has gone was last heard */, since, mono /* the same by loop_now's clock */; char why[160], version[64]; };

struct logins; /* login.c */
struct views;  /* view.c */
struct hub {
    struct api *api;
    struct logins *logins;
    struct views *views;
    struct queue *roles;        /* roles.c */
    struct store_watch *role_watches[8];
    size_t nrole_watches;
    struct queue *sites;        /* site_roles.c */
    struct map site_states;     /* cluster id → struct site; control loop */
    struct list site_calls;     /* under way; with the lock */
    char *first_password;       /* of the admin made at this start; until it was told */
    struct store_wait first_wait;
    void (*on_first)(void *arg, struct str password);
    void *on_first_arg;
    struct key *key;
    char *store_uid, *url;
    pthread_mutex_t lock;       /* links, presence */
    struct map links;           /* cluster id → struct link, connected ones */
    struct map presence;        /* cluster id → struct presence; stays when the link goes */
    int64_t started;            /* loop_now's clock */
    struct loop *control;
    struct queue *queue;        /* clusters to look at: clusters.c */
    struct store_watch *clusters, *tokens;
};

/* objects.c: the hub's own objects, from its store. Trees are in p and hold what they point to. resource: "users", "tokens"... of HUB_GROUP */
struct json *hub_get(struct hub *h, struct pool *p, const char *resource, struct str ns, struct str name);
void hub_each(struct hub *h, struct pool *p, const char *resource, struct str ns, bool (*fn)(void *arg, struct json *doc), void *arg);
struct store_res *hub_res(struct hub *h, const char *resource);
struct str hub_setting(struct hub *h, struct pool *p, const char *name);   /* its value, else its default */
int64_t hub_setting_int(struct hub *h, const char *name, int64_t absent);
struct str hub_url(struct hub *h, struct pool *p);                         /* setting server-url, else what the flags say */
struct str hub_ca_pem(struct hub *h, struct pool *p);                      /* setting cacerts, else the hub's own CA */
/* A write that nobody waits for: what goes wrong is logged, and told to `failed` (may be NULL). body is copied. On loop l. */
void hub_write(struct hub *h, struct loop *l, enum api_verb verb, struct str group, struct str version, struct str resource, struct str sub, struct str ns, struct str name,
    const struct json *body, void (*failed)(struct hub *h));
/* replies.c: plain answers of the hub's own routes */
void hub_refuse(struct http_req *rq, const struct err *e);
void hub_reply(struct http_req *rq, int status, const struct json *doc);
bool hub_body(struct http_req *rq, struct str body, struct json **out);     /* false: refused already */
/* builtin.c: roles and settings that every hub has, and the first admin. On the control loop, at start */
int builtin_start(struct hub *h, struct err **e) _must_check_;
/* login.c: local users. One thread computes all password hashes */
int login_open(struct hub *h, struct err **e) _must_check_;
void login_close(struct hub *h);
void login_route(struct http_req *rq, const struct api_user *user, void *arg);
void password_route(struct http_req *rq, const struct api_user *user, void *arg);
/* tokens.c: what logs a user in */
int token_user(void *arg, struct pool *p, struct str token, struct str path, struct api_user **out, struct err **e);
struct mint { /* embedded by the caller, who fills the first part */
    struct hub *hub;
    struct loop *loop;
    struct str user, kind /* "session", "kubeconfig", "" */, description, cluster; /* in pool */
    int64_t ttl_ms;
    void (*done)(struct mint *m, const struct err *e); /* durable, or why not. On loop */
    struct pool *pool;
    struct str name, secret;  /* the bearer token is name:secret */
    int64_t expires;          /* 0: never */
    struct api_call call;
    struct store_wait wait;
};
void token_mint(struct mint *m);
int64_t token_ttl_ms(struct hub *h, const char *setting, int64_t wanted_ms); /* bounded by auth-token-max-ttl-minutes; 0 wanted: the setting */
void tokens_route(struct http_req *rq, const struct api_user *user, void *arg);
void logout_route(struct http_req *rq, const struct api_user *user, void *arg);
/* kubeconfig.c */
void kubeconfig_route(struct http_req *rq, const struct api_user *user, void *arg);
/* admission.c */
int hub_admit(void *arg, const struct api_write *w, struct err **e);
/* templates.c: what a RoleTemplate amounts to, with all that it inherits: rules (array in p) and the names of external ClusterRoles (array of strings). false: it is not there */
bool template_flatten(struct hub *h, struct pool *p, struct str name, struct json *rules, struct json *externals);
bool template_includes(struct hub *h, struct pool *p, struct str name, struct str wanted); /* itself, or by inheritance */
/* roles.c: RBAC on the hub itself */
int roles_start(struct hub *h, struct err **e) _must_check_;
void roles_stop(struct hub *h);
void roles_touch(struct hub *h);
/* site.c: a call to a cluster's API as the hub itself. Control loop; done exactly once, unless the hub ends first. */
struct site_call {
    struct list node;
    struct hub *hub;
    struct str cluster, method, path, body /* absent: none */, accept;
    void (*done)(struct site_call *c);
    int status;       /* 0: no answer */
    struct buf reply; /* the caller clears it */
    struct loop *loop;
    struct post post;
};
void site_call(struct site_call *c);
/* site_roles.c: RBAC and quotas at the sites */
void site_roles_start(struct hub *h);
void site_roles_stop(struct hub *h);
void site_roles_free(struct hub *h);
void site_roles_touch(struct hub *h, struct str cluster);      /* control loop */
void site_roles_touch_all(struct hub *h);
void site_roles_touch_from(struct hub *h, struct str cluster); /* any thread */
/* view.c: what the clusters say of themselves, in a database of its own (view.db), so that it is there while they are away */
int view_open(struct hub *h, const char *dir, struct err **e) _must_check_;
void view_close(struct hub *h);
int view_call(struct hub *h, struct str cluster, struct str body, bool *nodes_changed); /* HTTP status. Any thread */
void view_forget(struct hub *h, struct str cluster);
struct view_summary {
    bool known; /* false: nothing was ever heard */
    int64_t nodes, nodes_ready, pods, pods_running, warnings;
    struct json *capacity, *allocatable, *requested; /* cpu, memory, pods: quantities as text; in the pool */
};
void view_summary(struct hub *h, struct pool *p, struct str cluster, struct view_summary *out);
void view_route(struct http_req *rq, const struct api_user *user, void *arg);
/* import.c */
void import_route(struct http_req *rq, const struct api_user *user, void *arg);
/* links.c */
void links_route(struct http_req *rq, const struct api_user *user, void *arg);
struct http_client *links_client(struct hub *h, struct str cluster, struct loop **loop); /* NULL: not connected */
bool links_presence(struct hub *h, struct str cluster, struct presence *out);
void links_close(struct hub *h, struct str cluster, const char *why);                    /* any thread */
/* clusters.c */
int clusters_start(struct hub *h, struct err **e) _must_check_;
void clusters_stop(struct hub *h);
void clusters_touch(struct hub *h, struct str cluster);  /* any thread: its presence changed */
/* The Cluster that a token or key belongs to, looked up in the store as it stands: its name in pool, absent when there is none. */
struct str clusters_by_token(struct hub *h, struct pool *p, struct str token);
struct str clusters_join_token(struct hub *h, struct pool *p, struct str token); /* K10<hash of the CA that clusters are to trust>::<token> */
struct str clusters_by_key(struct hub *h, struct pool *p, struct str key_id);
/* proxy.c */
void proxy_route(struct http_req *rq, const struct api_user *user, void *arg);
