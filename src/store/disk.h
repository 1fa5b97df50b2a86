/* Inside the SQLite back end (disk*.c). The layout of the database:
 *
 *   meta(k, v)      uid, epoch, reserved (revisions up to here may have been given out), rev (at a clean end), gaps ("lo-hi lo-hi": lost revisions)
 *   kind(id, name)  numbers of resources
 *   objects(id, res, rev, at, key, json)           one row per object; id is the revision of its creation; key is ns/name, for people and seals
 *   log(rev, res, id, op, at, key, before)         what stood before each change; op 0 create, 1 update, 2 delete, 3: nothing is known up to here
 *
 * A json or before that does not begin with { is sealed. at is site time in seconds. In the folder: store.db with its -wal and -shm, lock (flock, holds
 * the pid), reserve (spare space given up when the disk is full).
 */
#pragma once
#include <pthread.h>
#include <sqlite3.h>
#include "store/inner.h"

#define DISK_APP 0x53414d50
#define DISK_VERSION 1
#define LOG_BYTES (8 << 20)
#define MARK_ROWS 256
#define WAL_PAGES 1000      /* beyond: the checkpoint thread works */
#define WAL_PAGES_MAX 4000  /* beyond: the committer does what it left */
#define RESERVE_BYTES (4 << 20)
#define RESTORE_JUMP 1000000 /* revisions skipped by a restore: those given out after the backup are never given out again */

enum { OP_CREATE, OP_UPDATE, OP_DELETE, OP_SKIP };
struct mark { int64_t rev, at, bytes, rows; }; /* a run of log rows that is trimmed as a whole; rev: its last */

enum { Q_BEGIN, Q_COMMIT, Q_ROLLBACK, Q_PUT, Q_DEL, Q_LOG, Q_META, Q_TRIM, Q_FREE, Q_PAGES, Q_VACUUM, QUERIES };

struct backend {
    char *folder, *file;
    int lock_fd, reserve_fd;
    sqlite3 *db;                    /* the committer's */
    sqlite3_stmt *q[QUERIES];
    int (*seal)(void *arg, const struct store_res *r, struct str key, struct str plain, struct buf *out, struct err **e);
    int (*unseal)(void *arg, const struct store_res *r, struct str key, struct str sealed, struct buf *out, struct err **e);
    void *seal_arg;
    struct buf key, sealed;         /* the committer's scratch */
    int64_t history_ns;
    struct mark *marks;             /* of the log, oldest first */
    size_t nmarks, cmarks, ntrim;   /* ntrim: trimmed by the transaction under way */
    int64_t log_bytes;
    bool old, lean, dirty, loaded;  /* there before; no room: no change log; something was written; the start is over */
    unsigned commits;
    struct { int64_t disk, id; } *orphans; /* rows of resources that nobody knows yet */
    size_t norphans, corphans;
    int (*fault)(void *arg, int64_t n);
    void *fault_arg;
    int64_t fault_n;

    pthread_t thread;               /* checkpoints (disk_wal.c) */
    pthread_mutex_t mu;
    pthread_cond_t cond;
    bool threaded, stop, wanted;
    _Atomic int wal_pages;
};

int disk_fail(sqlite3 *db, int rc, const char *what, struct err **e);         /* SQLite's error as ours */
int disk_connect(const char *file, int flags, sqlite3 **out, struct err **e) _must_check_;
int disk_exec(sqlite3 *db, const char *sql, struct err **e) _must_check_;
int disk_prepare(sqlite3 *db, const char *sql, sqlite3_stmt **out, struct err **e) _must_check_;
int disk_number(sqlite3 *db, const char *sql, int64_t *out, struct err **e) _must_check_; /* first column of the first row; untouched when there is none or NULL */
int disk_ours(sqlite3 *db, const char *file, struct err **e) _must_check_;    /* of this program, of a version it knows */
int disk_check(sqlite3 *db, const char *file, struct err **e) _must_check_;   /* undamaged: reads every page */
int disk_way_back(const struct backend *b, int rc, struct err **e);           /* adds to an error how to go back to a backup; answers rc */
void disk_closep(sqlite3 **db);
void disk_finalizep(sqlite3_stmt **q);
struct str disk_column(sqlite3_stmt *q, int i);
/* The plain bytes of a column: itself, or unsealed into out. */
int disk_plain(struct backend *b, const struct store_res *r, struct str key, struct str stored, struct buf *out, struct str *plain, struct err **e) _must_check_;

int disk_make_private(const char *file, struct err **e) _must_check_; /* an empty file of mode 0600, unless there is one */
int disk_lock(const char *folder, int *fd, struct err **e) _must_check_;
int disk_wal_start(struct backend *b, struct err **e) _must_check_;
void disk_wal_stop(struct backend *b);
void disk_wal_tend(struct backend *b);  /* after a commit */
void disk_wal_empty(struct backend *b); /* moves everything into the database and gives the log's space back, if nobody reads */
/* The change log's books (disk_log.c): trimming happens inside a transaction, and is noted when that has succeeded. */
int disk_log_marks(struct backend *b, struct err **e) _must_check_;
void disk_log_note(struct backend *b, int64_t rev, int64_t at, size_t bytes);
int disk_log_skip(struct backend *b, int64_t rev, int64_t at, struct err **e) _must_check_; /* instead of a batch's rows: all history up to rev goes */
int disk_log_trim(struct backend *b, int64_t now_s, struct err **e) _must_check_;
void disk_log_trimmed(struct backend *b);
int disk_sealed(struct backend *b, const struct store_res *r, struct str key, struct str plain, struct str *stored, struct err **e) _must_check_; /* lives in b */
int disk_finish(struct backend *b, int rc, struct err **e) _must_check_;                  /* commits, or rolls back and answers rc */
int disk_step(struct backend *b, int which, struct err **e) _must_check_; /* runs a prepared query with what is bound, and resets it */
