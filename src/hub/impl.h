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
    char *cluster;
    char *version;              /* of its Kubernetes, from its /version; NULL: not known yet */
    struct http_call *asking;
    struct buf answer;
    bool connected;
    struct binding *binding;    /* under way; links.c */
};

/* What is known of a cluster's connection, for its status. */
struct presence { bool known, connected; int64_t since, mono /* the same by loop_now's clock */; char why[160], version[64]; };

struct hub {
    struct api *api;
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
struct str clusters_by_key(struct hub *h, struct pool *p, struct str key_id);
/* proxy.c */
void proxy_route(struct http_req *rq, const struct api_user *user, void *arg);
