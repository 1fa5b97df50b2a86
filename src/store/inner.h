/* What the files of the store share; nobody else includes this (tests of this room may).
 *
 * Locks, in the order in which they may be taken:
 *   write_mu  one writer at a time: revisions, the batch that waits for the committer, the books of a resource
 *   mu        what leads outward: rings, watchers, waiters, head, clear, gaps, the list of resources
 *   pub       the published root: held while it is changed in place or a reference is taken; nanoseconds to a few microseconds
 *   hub->mu   what is ready for one loop
 * The committer holds none of them while it writes.
 *
 * Revisions: head is the newest given out; durable the newest on disk; clear the newest for which everything hard up to it is on disk
 * (soft changes behind durable are clear as soon as no hard one stands before them). The door and outward watches go by clear. A gap is a
 * range of revisions that were given out and then lost: rolled back by a failed commit, or soft and not on disk when the process died.
 */
#pragma once
#include <pthread.h>
#include <stdatomic.h>
#include "base/list.h"
#include "base/map.h"
#include "base/file.h"
#include "store/backend.h"
#include "store/store.h"
#include "store/tree.h"

#define OBJ_MAX (4u << 20)          /* bytes of one object */
#define PENDING_MAX (64u << 20)     /* bytes applied and not yet on disk; beyond it writers are told to wait */
#define RING_BYTES (2u << 20)
#define RING_NS (10 * 60 * NS_PER_S)
#define HISTORY_NS (5 * 60 * NS_PER_S)
#define SOFT_NS (60 * NS_PER_S)     /* the longest that soft changes wait for a hard one */
#define REV_BLOCK 10000             /* revisions reserved on disk ahead of use */
#define GAPS_MAX 64

/* Wraps an error, if there is one, and answers with the code even when nobody wants the error itself (e NULL). */
#define WRAP(rc, e, ...) ((rc) < 0 ? (err_wrap((e), __VA_ARGS__), (rc)) : 0)

/* ---- objects (obj.c) ---- */
struct thing;
enum { ENTRY_KEY, ENTRY_OWNER, ENTRY_AGE };
struct entry { const struct thing *t; uint32_t what, at; }; /* an item of an index tree; its index and key stand in the object */
struct thing { /* what an obj really is: one allocation */
    struct obj o;
    int64_t id;             /* its row in the database: the revision of its creation */
    int64_t written;        /* site time of the write, ns: what a time to live counts from */
    size_t cost;            /* bytes of the allocation */
    size_t slot;            /* where its change stands in the batch, if it does; under write_mu */
    uint32_t rv_at, rv_n;   /* the digits of resourceVersion in o.json */
    struct entry *entries;  /* keys, then the age if the resource keeps one; then owners */
    uint32_t nentries;      /* without owners */
    char age[8];            /* revision, big-endian */
};
static inline struct thing *thing_of(const struct obj *o) { return container_of((struct obj *)(uintptr_t)o, struct thing, o); }

/* Makes an object of a tree, everything but its revision. ERR_INVALID names what is wrong. One reference. */
int thing_draft(struct store_res *r, struct pool *p, const struct json *tree, int64_t guess_rev, struct thing **out, struct err **e) _must_check_;
/* The same from stored bytes; rev 0: whichever they carry. */
int thing_load(struct store_res *r, struct pool *p, struct str json, int64_t rev, struct thing **out, struct err **e) _must_check_;
struct thing *thing_at(const struct obj *o, int64_t rev);   /* a copy under another revision */
void thing_stamp(struct thing *t, int64_t rev);             /* before anybody else sees it */
bool thing_same(const struct thing *a, const struct thing *b); /* equal but for the revision */
extern const struct tree_type obj_tree, entry_tree;
static inline struct thing *thing_ref(struct thing *t) { obj_ref(&t->o); return t; }
static inline void thing_unrefp(struct thing **t) { if (*t) obj_unref(&(*t)->o); }

/* ---- events and rings (event.c, ring.c) ---- */
struct event { /* what a store_event really is */
    struct store_event ev;
    struct store_res *res;
    int64_t at;  /* clock_mono */
    size_t cost;
    bool soft;
};
static inline struct event *event_of(const struct store_event *ev) { return container_of((struct store_event *)(uintptr_t)ev, struct event, ev); }
struct event *event_new(enum store_event_type type, struct store_res *r, int64_t rev, const struct obj *obj, const struct obj *before); /* takes references */
static inline struct event *event_ref(struct event *x) { store_event_ref(&x->ev); return x; }
static inline void event_unref(struct event *x) { if (x) store_event_unref(&x->ev); }

struct ring { /* newest events of one resource, in order; under mu */
    struct event **slot; /* circular, cap a power of two */
    size_t head, n, cap;
    size_t bytes, max_bytes;
    int64_t floor;       /* events up to here are not in it */
    int64_t last;        /* the newest event's revision, also when it has gone */
};
void ring_add(struct ring *g, struct event *x);                     /* takes the reference */
void ring_trim(struct ring *g, int64_t upto, int64_t oldest_at);    /* to its bytes and age; keeps what is newer than upto */
void ring_cut(struct ring *g, int64_t above);                       /* forgets newer events: rollback */
struct event *ring_after(const struct ring *g, int64_t rev);        /* the first newer than rev, borrowed, or NULL */
void ring_clear(struct ring *g);

/* ---- resources and roots (view.c) ---- */
struct store_res {
    struct store *s;
    char *name;
    bool namespaced, aged; /* aged: has a budget or a time to live, so an index by age */
    void (*describe)(void *arg, struct pool *p, const struct json *tree, struct obj_desc *out);
    void *describe_arg;
    size_t budget;
    int64_t ttl;
    uint32_t at;           /* its place in every root */
    int64_t disk;          /* its number in the database */
    struct ring ring;      /* under mu */
    struct list watches;   /* under mu */
};

#define SHELF 8
struct res_root { struct node *objs, *keys; int64_t hard, any; size_t bytes; };
struct shelf { _Atomic uint32_t refs; struct res_root r[SHELF]; };
struct store_view {
    _Atomic uint32_t refs;
    uint32_t nshelves;
    int64_t rev, epoch;
    struct node *owners;
    struct shelf *shelf[];
};
struct store_view *view_new(uint32_t nshelves);
struct store_view *view_own(struct store_view *v, uint32_t nshelves); /* for changing; consumes v; at least nshelves */
struct res_root *view_root(struct store_view *v, uint32_t at);        /* for changing, of an owned view */
const struct res_root *view_peek(const struct store_view *v, uint32_t at); /* NULL: nothing there yet */
void root_put(struct store_view *v, struct store_res *r, struct thing *t, const struct thing *before, bool soft); /* of an owned view */
void root_del(struct store_view *v, struct store_res *r, const struct thing *t, int64_t rev, bool soft);

/* ---- outward (hub.c, door.c, watch.c) ---- */
struct hub { /* one per loop that is told of something */
    pthread_mutex_t mu;
    struct loop *loop;
    struct list node;           /* store.hubs */
    struct post post;
    bool posted, closed;        /* closed: the store is gone, the post frees it */
    struct list waits, watches; /* ready: store_wait.node, store_watch.ready */
};
struct hub *hub_for(struct store *s, struct loop *l);  /* under mu */
void hub_ready_wait(struct hub *h, struct store_wait *w);
void hub_ready_watch(struct hub *h, struct store_watch *w);
void hub_close(struct hub *h);

struct store_watch {
    struct store *s;
    const struct store_res *res; /* NULL: all */
    struct hub *hub;
    struct list node;  /* res->watches or store.watches; under mu */
    struct list ready; /* hub->watches */
    void (*notify)(void *arg);
    void *arg;
    int64_t cursor, epoch;
    bool durable, armed;
    struct event **back; /* history from disk, before the ring */
    size_t nback, back_at;
};
void watch_tell(struct store *s, const struct store_res *r);  /* under mu: something may be there for inside watchers of r; NULL: for everybody */
void watch_tell_durable(struct store *s, int64_t from);       /* under mu: clear rose from `from` */
void door_open(struct store *s);                              /* under mu: clear rose */
void door_fail(struct store *s, int64_t above, int result);   /* under mu: what is newer than above is lost */

/* ---- the store ---- */
struct gap { int64_t lo, hi; int result; }; /* (lo, hi] were lost; result -ERR_... for those who still wait */

/* Applied, not yet handed to the back end; under write_mu. Hard changes want a commit at once, soft creations and deletions (Events) within a minute,
 * soft updates (renewals) never: they wait for company, one entry per object however often it is renewed, so an idle cluster writes nothing. */
struct batch {
    struct event **ev;   /* in order of revision; NULL: an update that a later one took over */
    size_t n, cap, gone; /* gone: how many are NULL */
    size_t bytes;
    bool hard, aging;
    int64_t first_hard;  /* revision; INT64_MAX: none */
    int64_t since;       /* monotonic time of the first that ages */
};
struct store {
    struct clock *clock, *own_clock;
    struct backend *disk; /* NULL: memory only */
    char uid[UUID_LEN + 1];
    pthread_mutex_t write_mu, mu, pub;

    struct store_view *root;     /* pub */
    struct store_view *safe;     /* write_mu: the last durable root */

    /* write_mu */
    struct batch batch;
    size_t pending_bytes;        /* of the batch and of what the back end has in hand */
    int64_t reserved;            /* revisions up to here are reserved on disk */
    int failed;                  /* 0, or -ERR_...: writes are refused */
    bool reserve_only;           /* the spare space is released: deletes may pass */
    int64_t next_sweep;
    bool sweeping;

    /* mu */
    _Atomic int64_t head, durable, clear, epoch;
    int64_t first_hard;          /* the oldest hard revision not on disk; INT64_MAX: none */
    struct gap gaps[GAPS_MAX];
    size_t ngaps;
    struct list hubs, waits, watches;
    struct store_res **res;
    size_t nres;
    struct map by_name;

    struct committer *committer;
    _Atomic int64_t commits, commit_ns;
};
void store_lock(pthread_mutex_t *m);
void store_unlock(pthread_mutex_t *m);
struct store_view *store_root(struct store *s);            /* a reference to the published root */
void store_gaps_text(struct store *s, char *out, size_t n);      /* takes mu */
int64_t store_find_gap(struct store *s, int64_t rev, int *result); /* under mu: 0, or the upper end of the gap that rev is in */
void store_add_gap(struct store *s, int64_t lo, int64_t hi, int result); /* under mu */
void store_sweep(struct store *s);                         /* ages: rings, budgets, times to live. Takes write_mu itself */
void store_apply(struct store *s, struct store_res *r, struct event *x, struct thing *now, struct thing *before); /* under write_mu; takes the event */

/* ---- the committer (commit.c) ---- */
int committer_start(struct store *s, struct err **e) _must_check_;
void committer_stop(struct store *s);       /* after a last flush */
void committer_kick(struct store *s);       /* under write_mu: the batch grew */
void batch_add(struct store *s, struct event *x); /* under write_mu; takes a reference of its own (batch.c) */
void batch_pack(struct batch *b);
void batch_clear(struct batch *b);
void committer_idle(struct store *s);       /* under write_mu, which is released meanwhile: until nothing is in the back end's hands */
int committer_flush(struct store *s, struct err **e) _must_check_; /* what is applied now is on disk, soft changes too; blocks */
void committer_times(struct store *s, int64_t soft_ns, int64_t probe_ns); /* tests bend them */
