/* The scheduler's inside: pending pods, a cycle, filters and scores. */
#pragma once
#include "base/list.h"
#include "scheduler/cache.h"

/* ---- pending pods (pending.c) ---- */
enum pending_state { PENDING_READY, PENDING_BACKOFF, PENDING_SLEEPING, PENDING_BINDING };
struct pending {
    const struct obj *o; /* a reference */
    struct str uid;      /* in o */
    int32_t priority;
    int64_t since; /* when it first came */
    int64_t until; /* BACKOFF: not before */
    unsigned attempts;
    enum pending_state state;
    bool moved; /* something changed while it was tried: do not sleep */
    unsigned wakes; /* what it sleeps for: enum wake, of the filters that refused it */
    size_t heap_at;
    struct str nominated; /* status.nominatedNodeName: room was made for it there; malloc'ed */
    struct list with_nomination;
};
struct pending_heap {
    struct pending **at;
    size_t n, cap;
};
struct pending_queue {
    struct map all; /* uid to struct pending */
    struct pending_heap ready, backoff;
    size_t nbinding, nsleeping;
    struct list nominated; /* pods with a nomination */
};
void pending_init(struct pending_queue *q);
void pending_nominate(struct pending_queue *q, struct pending *p, struct str node); /* empty: no longer */
void pending_put(struct pending_queue *q, const struct obj *o, int64_t now);        /* new or changed: to be tried */
void pending_drop(struct pending_queue *q, struct str uid);
struct pending *pending_pop(struct pending_queue *q);                        /* stays known; the caller sets its state; NULL: none ready */
void pending_sleep(struct pending_queue *q, struct pending *p, int64_t now); /* it fits nowhere: until pending_move */
void pending_retry(struct pending_queue *q, struct pending *p, int64_t now); /* after its back-off */
/* That changed: those who sleep for it may try after their back-off. */
enum wake {
    WAKE_NODE = 1,      /* a node came or changed */
    WAKE_POD_GONE = 2,  /* a pod left its node */
    WAKE_POD_HERE = 4,  /* one came to a node, or its labels changed */
    WAKE_VOLUME = 8,    /* claims, volumes, classes, limits */
    WAKE_NAMESPACE = 16 /* a namespace's labels */
};
void pending_move(struct pending_queue *q, int64_t now, unsigned what);
int64_t pending_due(const struct pending_queue *q);      /* the end of the earliest back-off; INT64_MAX: none */
void pending_wake(struct pending_queue *q, int64_t now); /* back-offs that are over */
void pending_clear(struct pending_queue *q);

/* ---- one cycle ---- */
struct term;   /* interpod.c */
struct spread; /* spread.c */
struct cycle {
    struct scheduler *s;
    struct cache *cache;
    struct pool *pool;
    struct store_view *view;
    const struct obj *o;
    struct json *tree, *spec;
    const struct json *tolerations, *node_selector, *affinity;
    struct resources req;
    const struct pod_view *pv;
    struct term *terms;
    size_t nterms;
    struct spread *spreads;
    size_t nspreads;
    const struct json *volumes; /* volumes.c */
    void *volume_state;
    struct str why; /* set by a prefilter that refuses the pod on all nodes */
    const struct json *only; /* the values of matchFields metadata.name, when only these nodes can be meant (DaemonSets) */
    unsigned wakes; /* what could help, of all filters that refused */
};
#define REASONS_MAX 16
struct reasons {
    struct str text[REASONS_MAX];
    bool preemptible[REASONS_MAX];
    size_t n;
};
void reason_add(struct reasons *r, struct str text, bool preemptible);

/* A row of filter.c: adds a reason when the node cannot take the pod. */
struct filter {
    const char *name;
    void (*fn)(struct cycle *c, const struct node_info *n, struct reasons *r);
    unsigned wakes; /* enum wake: what may change its mind */
};
bool filter_node(struct cycle *c, const struct node_info *n, struct reasons *r);
/* A row of score.c. Raw scores of all candidates, then spread over 0..100; reverse: the lowest is best. */
enum normalize { NORM_NONE, NORM_UP, NORM_DOWN };
struct score {
    const char *name;
    int weight;
    enum normalize norm;
    void (*fn)(struct cycle *c, struct node_info **nodes, size_t n, int64_t *out);
};
struct node_info *score_best(struct cycle *c, struct node_info **nodes, size_t n);

/* match.c */
bool node_selector_term(const struct json *term, const struct node_info *n);
bool node_affinity_matches(const struct cycle *c, const struct node_info *n); /* nodeSelector and required node affinity */
const struct json *taint_untolerated(
    const struct json *tolerations, const struct node_info *n, bool prefer); /* the first; NULL: none. prefer: PreferNoSchedule only */
bool labels_match(const struct obj *o, const struct selector *sel);

/* interpod.c */
int interpod_prepare(struct cycle *c, struct err **e) _must_check_;
void interpod_filter(struct cycle *c, const struct node_info *n, struct reasons *r);
void interpod_score(struct cycle *c, struct node_info **nodes, size_t n, int64_t *out);
/* spread.c */
int spread_prepare(struct cycle *c, struct err **e) _must_check_;
void spread_filter(struct cycle *c, const struct node_info *n, struct reasons *r);
void spread_score(struct cycle *c, struct node_info **nodes, size_t n, int64_t *out);
/* volumes.c: false: refused everywhere, c->why says it */
bool volumes_prepare(struct cycle *c);
void volumes_restrict(struct cycle *c, const struct node_info *n, struct reasons *r);
void volumes_limit(struct cycle *c, const struct node_info *n, struct reasons *r);
void volumes_filter(struct cycle *c, const struct node_info *n, struct reasons *r);
void volumes_zone(struct cycle *c, const struct node_info *n, struct reasons *r);
/* A claim that still has to be told its node (NULL: none); *promised: there are claims to wait for. */
const struct obj *volumes_next_unbound(const struct cycle *c, bool *promised);

struct scheduler {
    struct scheduler_config cfg;
    struct store *store;
    struct store_res *pods, *nodes, *namespaces, *pvcs, *pvs, *classes, *pdbs, *csinodes;
    struct cache cache;
    struct pending_queue queue;
    struct store_watch *watch;
    struct defer defer;
    struct timer timer;
    struct str *names;
    size_t nnames;
    size_t flying; /* writes on their way; scheduler_stop leaves the freeing to the last of them */
    bool stopping;
};
void scheduler_free(struct scheduler *s);

/* preempt.c: makes room on one of the nodes whose place in helpful[] says that it could help. The node nominated, or absent; *why goes
 * behind "preemption: ". */
struct str preempt(struct cycle *c, struct pending *p, const bool *helpful, struct str *why);
/* bind.c */
void evict_victim(struct scheduler *s, const struct obj *victim, const struct obj *by, struct str node);
void bind_pod(struct scheduler *s, struct pending *p, const struct node_info *n);
void promise_claim(struct scheduler *s, const struct obj *claim, struct str node);
void report_unschedulable(struct scheduler *s, const struct obj *o, struct str message, struct str nominated);
