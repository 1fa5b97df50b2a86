/* Nodes behind their uplinks. Inside the room: nodes.c holds the links, node_view.c what a node's mirror holds. */
#pragma once
#include "api/impl.h"

struct node_view;
struct node_link {
    struct api *api;
    struct loop *loop;
    struct uplink_peer *peer; /* NULL: gone */
    struct str name;
    struct pool *pool;     /* name, user */
    struct api_user *user; /* system:node:<name> */
    struct node_view *view;
    struct list calls; /* of this link that are still on their way */
    struct node_binding *binding;
    bool connected;
};
/* The mirror's sender of one link: begins at on_resume; everything on the link's loop. */
struct node_view *node_view_new(struct node_link *l);
void node_view_free(struct node_view *v);
void node_view_resume(struct node_view *v, int64_t rev);
void node_view_inventory(struct node_view *v, const struct mirror_item *items, size_t n);

/* node_call.c: a request that came over the link, through the request path as the node's user. done gives status and body. */
typedef void node_done_fn(struct node_link *l, uint64_t id, int status, struct str body);
void node_call(
    struct node_link *l, uint64_t id, struct str method, struct str path, struct str content_type, struct str body, node_done_fn *done);
void node_calls_drop(struct node_link *l);
