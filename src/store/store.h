/* The store: one copy of every object, as bytes; revisions; watches; and the door.
 *
 * Concepts
 *   object    struct obj: immutable, reference-counted: header (name, uid, revision, labels, owners), compact JSON bytes that already carry
 *             metadata.resourceVersion, and the packed projection ("view") that its kind declares. Made once, at write time, from the tree.
 *   resource  struct store_res: a class of objects ("apps/deployments", "/pods") with its own map, indexes, watch ring and counters. All versions of a
 *             kind share one.
 *   root      the whole content at one revision: a persistent (path-copying) ordered map per resource, ordered by (namespace, name), with the secondary
 *             indexes beside it. Roots are published; readers take a reference and no lock, and keep it as long as they like (pages, consistent lists).
 *   revision  one counter for the whole store, reserved on disk in blocks, never used twice, also across crashes. Every change has its own.
 *   epoch     rises when the store goes back to its last durable root (failed commit, lost leadership, restore). Waiting doors fail, watchers get a resync.
 *   door      nothing leaves the process before the revision it depends on is on disk: store_wait.
 *   soft      writes that ride along and cause no flush of their own: renewTime-only updates of node Leases never, new or expired Events within a minute.
 *             They may leave the process as soon as no hard change stands before them; a crash may take them back, and then their revisions are
 *             a gap: watches that name one get ERR_EXPIRED.
 *
 * Threads: reads (store_view_*) from any thread without locks that wait; writes from any thread (one at a time inside, microseconds, never disk). One committer thread of the
 * store's own groups what was applied into one transaction. Callbacks come through the loop that the caller names.
 *
 * Durability: an acknowledged write (store_wait told 0) survives kill -9 and power cuts. A commit that fails (ENOSPC, EIO) undoes everything
 * not yet durable, under a new epoch, and answers ERR_STORAGE_FULL or ERR_IO to those who wait; the store goes on and takes writes again as soon as a probe write
 * succeeds; deletes and shrinking updates use a reserve kept for them.
 */
#pragma once
#include "base/bytes.h"
#include "base/clock.h"
#include "base/loop.h"
#include "json/json.h"

struct store;
struct store_res;

struct obj_label { struct str key, value; };
struct obj_owner { struct str uid, kind, name, api_version; bool controller, block; };
struct obj_key { struct str index, key; };      /* one entry of a secondary index */
struct obj {
    _Atomic uint32_t refs;
    const struct store_res *res;
    struct str ns, name, uid;                   /* ns empty: cluster-scoped */
    int64_t rev;                                /* metadata.resourceVersion */
    int64_t generation, created, deleted;       /* created, deleted: ns since 1970, 0 when not being deleted */
    bool soft;                                  /* written by a soft write */
    bool finalizers;                            /* has any */
    const struct obj_label *labels; uint32_t nlabels;   /* sorted by key */
    const struct obj_owner *owners; uint32_t nowners;
    const struct obj_key *keys; uint32_t nkeys;         /* declared index keys */
    struct str json;                            /* compact, with resourceVersion in place */
    const void *view; uint32_t nview;           /* the kind's projection */
};
struct obj *obj_ref(const struct obj *o);
void obj_unref(const struct obj *o);
static inline _unused_ void obj_unrefp(const struct obj **o) { obj_unref(*o); }
int obj_parse(const struct obj *o, struct pool *p, struct json **tree, struct err **e) _must_check_; /* views into o: keep o (pool_hold_obj) */
void pool_hold_obj(struct pool *p, const struct obj *o);         /* the pool takes over one reference */
struct str obj_label(const struct obj *o, struct str key);       /* absent when not set */
const struct obj_owner *obj_controller(const struct obj *o);     /* the controlling owner, or NULL */

/* What a kind declares for its objects. describe is called once per write with the final tree, and at load; it fills view and keys from p. */
struct obj_desc { const void *view; size_t nview; const struct obj_key *keys; size_t nkeys; };
struct store_kind {
    struct str name;                            /* "apps/deployments" */
    bool namespaced;
    void (*describe)(void *arg, struct pool *p, const struct json *tree, struct obj_desc *out); /* may be NULL */
    void *arg;
    size_t ring_bytes;                          /* 0: default 2 MiB of watch history */
    size_t budget_bytes;                        /* all objects together; beyond it the oldest go (Events); 0: none */
    int64_t ttl_ns;                             /* objects older than this are removed (Events: 1 h); 0: never */
};

struct store_config {
    const char *path;             /* folder of the database; NULL: memory only, always "durable" (tests, hollow nodes) */
    const struct store_kind *kinds; size_t nkinds;
    struct clock *clock;
    /* At rest; may be NULL. seal that adds nothing to out leaves the bytes as they are; a sealed run never begins with {. key is ns/name. See store/seal.h. */
    int (*seal)(void *arg, const struct store_res *r, struct str key, struct str plain, struct buf *out, struct err **e);
    int (*unseal)(void *arg, const struct store_res *r, struct str key, struct str sealed, struct buf *out, struct err **e);
    void *seal_arg;
    int64_t history_ns;           /* change log on disk kept at least this long (0: 5 min) and bounded in bytes, so that watches resume across a restart */
};
/* Loads everything. Errors: a second process on the folder (ERR_EXISTS "in use by pid N"), a damaged database (names the way to restore), no space. */
int store_open(const struct store_config *c, struct store **out, struct err **e) _must_check_;
void store_close(struct store *s);  /* flushes what is applied; waits for the committer */
DEFINE_CLEANUP(struct store *, store_close)
struct store_res *store_find(struct store *s, struct str name);                  /* NULL: unknown */
int store_add_kind(struct store *s, const struct store_kind *k, struct store_res **out, struct err **e) _must_check_; /* at run time (CRDs); loads rows that are on disk */
void store_res_scope(struct store_res *r, bool namespaced); /* a kind that came back with another scope; r is empty */
struct str store_res_name(const struct store_res *r);
int64_t store_epoch(struct store *s);
struct str store_uid(struct store *s);                                          /* random, made with the database; changes on restore */

/* ---- reading ---- */
struct store_view;                                             /* a root held; cheap; any thread */
struct store_view *store_view(struct store *s);
struct store_view *store_view_ref(struct store_view *v);
void store_view_unref(struct store_view *v);
DEFINE_CLEANUP(struct store_view *, store_view_unref)
int64_t view_rev(const struct store_view *v);                  /* newest revision in it */
int64_t view_res_rev(const struct store_view *v, const struct store_res *r); /* newest hard write of that resource: what a LIST depends on */
int64_t view_res_any(const struct store_view *v, const struct store_res *r); /* newest change of that resource, soft ones too: says whether two views hold the same of it */
const struct obj *view_get(const struct store_view *v, const struct store_res *r, struct str ns, struct str name); /* borrowed: lives as long as v */
size_t view_count(const struct store_view *v, const struct store_res *r, struct str ns);                /* ns empty: all */
/* Objects that a walk with these arguments has before it: remainingItemCount. */
size_t view_count_after(const struct store_view *v, const struct store_res *r, struct str ns, struct str after_ns, struct str after_name);
/* Walks (namespace, name) order. ns empty: all namespaces. Start after (after_ns, after_name) when after_name is set. */
struct store_iter { const struct store_view *v; const struct store_res *r; struct str ns; struct str at_ns, at_name; const void *stack[48]; uint16_t at[48]; int depth; };
void iter_start(struct store_iter *it, const struct store_view *v, const struct store_res *r, struct str ns, struct str after_ns, struct str after_name);
const struct obj *iter_next(struct store_iter *it);            /* borrowed; NULL at the end */
/* Secondary index. index "owner" (key: owner's uid) is the store's own and spans all resources when r is NULL. fn returns false to stop. */
void view_index(const struct store_view *v, const struct store_res *r, struct str index, struct str key, bool (*fn)(void *arg, const struct obj *o), void *arg);
size_t view_index_count(const struct store_view *v, const struct store_res *r, struct str index, struct str key);

/* ---- writing ---- The tree is serialised inside (its metadata.resourceVersion is replaced); uid, creationTimestamp etc. are the caller's business.
 * On success *out (if asked for) is a new reference to what now stands; its rev is what a reply must wait for. */
enum { STORE_SOFT = 1, STORE_RESERVE = 2 /* may use the full-disk reserve: deletes and shrinking updates */ };
int store_create(struct store *s, struct store_res *r, struct pool *p, struct json *tree, unsigned flags, const struct obj **out, struct err **e) _must_check_; /* ERR_EXISTS */
/* expect_rev: ERR_CONFLICT unless the object still has it (0: any). ERR_NOT_FOUND. Writing bytes equal to what stands changes nothing and gives the old object. */
int store_update(struct store *s, struct store_res *r, struct pool *p, struct json *tree, int64_t expect_rev, unsigned flags, const struct obj **out, struct err **e) _must_check_;
/* Removes; *out is the last state with the deletion's revision put into resourceVersion, as a watch DELETED event shows it. uid empty: any. */
int store_delete(struct store *s, struct store_res *r, struct str ns, struct str name, struct str uid, int64_t expect_rev, unsigned flags, const struct obj **out, struct err **e) _must_check_;

/* ---- the door ---- */
struct store_wait {                        /* embedded by whoever waits */
    void (*fn)(struct store_wait *w, int result /* 0 durable, else -ERR_STORAGE_FULL, -ERR_IO, -ERR_UNAVAILABLE */);
    struct loop *loop;
    int64_t rev;
    struct list node;                      /* the store's from here on */
    struct post post;
    int result;
    bool on;
};
/* true: rev is durable already, fn will not be called. Otherwise fn comes on loop l, exactly once. */
bool store_wait(struct store *s, int64_t rev, struct store_wait *w, struct loop *l, void (*fn)(struct store_wait *, int));
void store_wait_cancel(struct store *s, struct store_wait *w); /* on its own loop's thread; afterwards fn does not come */
int64_t store_durable(struct store *s);    /* newest durable revision */

/* ---- watching ---- */
enum store_event_type { STORE_PUT, STORE_DELETE, STORE_RESYNC /* new epoch: start over from a view */ };
struct store_event {                       /* immutable, refcounted, shared by all watchers */
    _Atomic uint32_t refs;
    enum store_event_type type;
    int64_t rev;
    const struct obj *obj;                 /* PUT: new state; DELETE: last state, with the deletion's revision */
    const struct obj *before;              /* state before; NULL on creation */
    _Atomic(struct store_encoding *) encodings; /* made once, shared: store_event_encoding */
};
/* A finished encoding of an event (a watch frame) under a number that the caller chose for (version, media type, kind of frame). make is called at most a few times
 * (a race may make it twice); the result lives with the event. */
struct bytes *store_event_encoding(struct store_event *ev, uint64_t what, struct bytes *(*make)(void *arg, struct store_event *ev), void *arg);
struct store_event *store_event_ref(struct store_event *ev);
void store_event_unref(struct store_event *ev);

struct store_watch;
enum { STORE_WATCH_DURABLE = 1 /* for what leaves the process: events come when they are on disk; else at once, for controllers */ };
/* Events of r after revision `after`. notify is called on loop l (coalesced) when there is something to fetch. ERR_EXPIRED when `after` fell off the ring and
 * the change log on disk; ERR_BAD_REQUEST-free otherwise: a future revision waits. r NULL: all resources, in order of revision. */
int store_watch_open(struct store *s, const struct store_res *r, int64_t after, unsigned flags, struct loop *l, void (*notify)(void *arg), void *arg, struct store_watch **out, struct err **e) _must_check_;
/* The next event (a reference for the caller), or NULL: nothing now. *e is set to ERR_EXPIRED when this watcher was too slow and fell off. */
struct store_event *store_watch_next(struct store_watch *w, struct err **e);
int64_t store_watch_rev(const struct store_watch *w); /* everything up to here was delivered (for bookmarks); grows although no event matched */
void store_watch_close(struct store_watch *w);         /* on its loop's thread, and before store_close */
DEFINE_CLEANUP(struct store_watch *, store_watch_close)

/* ---- care ---- */
int store_backup(struct store *s, const char *path, struct err **e) _must_check_;   /* online, consistent; blocks its caller, not the store */
/* The same from another process, beside a running server (SQLite's online backup through its own connection). ERR_NOT_FOUND: no store in folder. */
int store_backup_folder(const char *folder, const char *path, struct err **e) _must_check_;
int store_restore(const char *backup, const char *folder, struct err **e) _must_check_; /* into an unused folder; new store uid and epoch */
struct store_stats { int64_t rev, durable, epoch, commits, commit_ns_total, objects, object_bytes, wal_bytes, db_bytes; bool full; };
void store_stats(struct store *s, struct store_stats *out);
void store_metrics(struct store *s, struct buf *out);                               /* the same and more, in Prometheus' text format */
