/* The scheduler's picture of the cluster. Inside the room. One thread. */
#pragma once
#include "base/list.h"
#include "base/map.h"
#include "kinds/pod.h"
#include "schema/selector.h"
#include "scheduler/scheduler.h"

struct amount {
    struct str name;
    int64_t n;
}; /* an extended resource, in its own units */
struct resources {
    int64_t cpu_milli, memory, storage;
    struct amount *more;
    size_t nmore;
};
struct pod_info {        /* a pod that stands on a node, or was just put there */
    const struct obj *o; /* a reference */
    struct node_info *node;
    struct list on_node, with_terms; /* with_terms: pods that say something about other pods */
    struct resources req;
    int32_t priority;
    bool assumed;                /* bound by us, not yet seen bound */
    struct pool *pool;           /* of req.more and affinity; NULL when neither */
    const struct json *affinity; /* spec.affinity when it has pod terms */
};
struct image {
    struct str name;
    int64_t size;
};
struct node_info {
    struct str name;
    const struct obj *o; /* NULL: pods stand there, but the node is not known */
    struct pool *pool;   /* of what follows */
    struct json *tree;
    const struct json *taints; /* array, or NULL */
    bool unschedulable;
    struct resources can;
    int64_t can_pods;
    struct image *images;
    size_t nimages;
    struct resources used;             /* sums over pods */
    int64_t scored_cpu, scored_memory; /* as used, with a floor for pods that ask for nothing */
    size_t npods;
    struct list pods;
    struct map owners; /* uid of a pod's controller to how many of its pods are here + 1 */
};
struct cache {
    struct map nodes; /* name to struct node_info */
    struct map pods;  /* uid to struct pod_info */
    struct list with_terms;
    struct node_info **list;
    size_t nlist, cap;      /* nodes that are known, in no order */
    struct map image_nodes; /* image to the number of nodes that have it + 1 */
};

void cache_init(struct cache *c);
void cache_clear(struct cache *c);
void cache_put_node(struct cache *c, const struct obj *o);
void cache_drop_node(struct cache *c, struct str name);
/* The pod stands on that node from now on (as its projection says, or `node` when it is set: assumed). Replaces what was known under its
 * uid. */
void cache_put_pod(struct cache *c, const struct obj *o, struct str node);
void cache_drop_pod(struct cache *c, struct str uid);
/* For a thought experiment: the pod leaves its node's sums and list, and comes back. */
void cache_lift(struct pod_info *p);
void cache_put_back(struct pod_info *p);
struct pod_info *cache_pod(const struct cache *c, struct str uid);
struct str node_label(const struct node_info *n, struct str key); /* absent when unset */
static inline const struct pod_view *pod_view_of(const struct obj *o)
{
    return o->view && o->nview >= sizeof(struct pod_view) ? o->view : NULL;
}
bool pod_finished(const struct obj *o);

/* What a pod asks for, extended resources too (in p). */
void resources_of(struct pool *p, const struct obj *o, const struct json *tree, struct resources *out);
int64_t resources_more(const struct resources *r, struct str name);
