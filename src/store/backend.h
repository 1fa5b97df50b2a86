/* Where batches go: load, append, history, and care. The store calls append, probe and reserve from its committer's thread only; load
 * happens before that thread runs; history and backup may come from any thread and use a connection of their own.
 *
 * The SQLite back end (disk*.c): WAL, synchronous=FULL, one row per object under the revision of its creation, and a change log that keeps
 * what stood *before* each change. The state after a change is then the "before" of the next change of that object, or its row: so a watch is
 * resumed from disk with both states, and a creation writes its bytes once, an update twice.
 */
#pragma once
#include "base/buf.h"
#include "base/err.h"
#include "store/store.h"

struct backend;
struct event;
struct thing;

struct backend_load { /* callbacks of load, in order of rows */
    void *arg;
    int (*object)(void *arg, struct store_res *r, int64_t id, int64_t rev, int64_t written, struct str json, struct err **e);
};
#define GAPS_TEXT 2048
struct backend_head { int64_t rev, reserved, epoch; char uid[40]; char gaps[GAPS_TEXT]; /* "lo-hi lo-hi" */ };

/* Opens or makes the database in folder, takes its lock, checks it. */
int backend_open(const struct store_config *c, struct backend **out, struct backend_head *head, struct err **e) _must_check_;
void backend_close(struct backend *b, int64_t head); /* head: the newest revision, known to be on disk; 0: leave things as after a crash */
int backend_kind(struct backend *b, struct str name, int64_t *disk, struct err **e) _must_check_; /* the number of a resource */
/* Streams all rows of the resources for which find answers; remembers the rest for backend_load_kind. backend_kind may be called many times before:
 * all that until here is one transaction. */
int backend_load(struct backend *b, struct store_res *(*find)(void *arg, int64_t disk), const struct backend_load *l, struct err **e) _must_check_;
int backend_load_kind(struct backend *b, struct store_res *r, const struct backend_load *l, struct err **e) _must_check_;

struct backend_batch {
    struct event **ev;
    size_t n;
    int64_t epoch, reserved; /* to be written when not 0 */
    const char *gaps;        /* written with either */
    int64_t now;             /* site clock */
};
int backend_append(struct backend *b, const struct backend_batch *batch, struct err **e) _must_check_;
int backend_probe(struct backend *b, int64_t epoch, int64_t reserved, const char *gaps, struct err **e) _must_check_; /* a small write after a failure */
/* The spare space that a full disk leaves for deletes: make it (again), or give it up. */
int backend_reserve(struct backend *b, struct err **e) _must_check_;
void backend_release(struct backend *b);
/* Events of r (NULL: all) in (after, upto], oldest first, each a reference. ERR_EXPIRED when the log does not reach back that far. */
int backend_history(struct backend *b, struct store *s, const struct store_res *r, int64_t after, int64_t upto, struct event ***out, size_t *n, struct err **e) _must_check_;
/* Writes rows and log entries of res anew whose bytes are not `fresh`, a slice at a time; nothing but their sealing changes. Under write_mu, with the
 * committer idle. Zero-initialised but for the first line. */
struct backend_reseal {
    struct store_res *res; bool (*fresh)(void *arg, struct str stored); void *arg; size_t limit;
    int64_t at; bool in_log, done; size_t changed;
};
int backend_reseal(struct backend *b, struct backend_reseal *w, struct err **e) _must_check_;
int backend_backup(struct backend *b, const char *path, struct err **e) _must_check_;
void backend_sizes(struct backend *b, int64_t *db, int64_t *wal);

/* Tests: fn is called before commit n (from 1) of an append or probe and may sleep, or answer an error code to make it fail. */
void backend_fault(struct backend *b, int (*fn)(void *arg, int64_t n), void *arg);
