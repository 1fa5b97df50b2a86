/* The SQLite back end: opening, and writing batches. See disk.h for the layout. */
#include "store/disk.h"
#include <errno.h>
#include <unistd.h>
#include "base/file.h"

int disk_fail(sqlite3 *db, int rc, const char *what, struct err **e)
{
    int sys = db ? sqlite3_system_errno(db) : 0, kind = rc & 0xff;
    if (kind == SQLITE_FULL || (kind == SQLITE_IOERR && (sys == ENOSPC || sys == EDQUOT || sys == EFBIG)))
        return err_set(e, ERR_STORAGE_FULL, "%s: no space left for the database", what);
    if (kind == SQLITE_CORRUPT || kind == SQLITE_NOTADB)
        return err_set(e, ERR_IO, "%s: the database is damaged (%s)", what, sqlite3_errstr(rc));
    return err_set(e, ERR_IO, "%s: %s", what, db ? sqlite3_errmsg(db) : sqlite3_errstr(rc));
}

void disk_closep(sqlite3 **db)
{
    sqlite3_close_v2(*db);
}

void disk_finalizep(sqlite3_stmt **q)
{
    sqlite3_finalize(*q);
}

int disk_connect(const char *file, int flags, sqlite3 **out, struct err **e)
{
    _cleanup_(disk_closep) sqlite3 *db = NULL;
    int rc = sqlite3_open_v2(file, &db, flags | SQLITE_OPEN_NOMUTEX, NULL);
    if (rc)
        return disk_fail(db, rc, file, e);
    sqlite3_extended_result_codes(db, 1);
    sqlite3_busy_timeout(db, 5000);
    *out = TAKE(db);
    return 0;
}

int disk_exec(sqlite3 *db, const char *sql, struct err **e)
{
    int rc = sqlite3_exec(db, sql, NULL, NULL, NULL);
    return rc ? disk_fail(db, rc, "database", e) : 0;
}

int disk_prepare(sqlite3 *db, const char *sql, sqlite3_stmt **out, struct err **e)
{
    int rc = sqlite3_prepare_v3(db, sql, -1, SQLITE_PREPARE_PERSISTENT, out, NULL);
    return rc ? disk_fail(db, rc, "database", e) : 0;
}

int disk_number(sqlite3 *db, const char *sql, int64_t *out, struct err **e)
{
    _cleanup_(disk_finalizep) sqlite3_stmt *q = NULL;
    int rc = disk_prepare(db, sql, &q, e);
    if (rc < 0)
        return rc;
    rc = sqlite3_step(q);
    if (rc != SQLITE_ROW)
        return rc == SQLITE_DONE ? 0 : disk_fail(db, rc, "database", e);
    if (sqlite3_column_type(q, 0) != SQLITE_NULL)
        *out = sqlite3_column_int64(q, 0);
    return 0;
}

struct str disk_column(sqlite3_stmt *q, int i)
{
    const void *p = sqlite3_column_blob(q, i);
    return (struct str){p ? p : "", (size_t)sqlite3_column_bytes(q, i)};
}

int disk_plain(
    struct backend *b, const struct store_res *r, struct str key, struct str stored, struct buf *out, struct str *plain, struct err **e)
{
    *plain = stored;
    if (!stored.n || stored.p[0] == '{')
        return 0;
    if (!b->unseal)
        return err_set(e, ERR_INTERNAL, "%s %.*s is sealed and there is no key", r->name, STR_ARG(key));
    buf_reset(out);
    int rc = b->unseal(b->seal_arg, r, key, stored, out, e);
    *plain = buf_str(out);
    return WRAP(rc, e, "%s %.*s", r->name, STR_ARG(key));
}

int disk_ours(sqlite3 *db, const char *file, struct err **e)
{
    int64_t app = 0, version = 0;
    int rc = disk_number(db, "PRAGMA application_id", &app, e);
    if (rc == 0)
        rc = disk_number(db, "PRAGMA user_version", &version, e);
    if (rc < 0)
        return WRAP(rc, e, "%s", file);
    if (app != DISK_APP)
        return err_set(e, ERR_IO, "%s is not a database of this program", file);
    if (version != DISK_VERSION)
        return err_set(e, ERR_IO, "%s has version %" PRId64 ", this program knows %d", file, version, DISK_VERSION);
    return 0;
}

int disk_check(sqlite3 *db, const char *file, struct err **e)
{
    _cleanup_(disk_finalizep) sqlite3_stmt *q = NULL;
    int rc = disk_prepare(db, "PRAGMA quick_check(1)", &q, e);
    if (rc < 0)
        return WRAP(rc, e, "%s", file);
    rc = sqlite3_step(q);
    if (rc == SQLITE_ROW && str_eqz(disk_column(q, 0), "ok"))
        return 0;
    return err_set(e, ERR_IO, "%s is damaged (%s)", file, rc == SQLITE_ROW ? (const char *)sqlite3_column_text(q, 0) : sqlite3_errmsg(db));
}

int disk_way_back(const struct backend *b, int rc, struct err **e)
{
    return WRAP(rc, e, "store (to go back to a backup: move %s away and run `sampan restore`)", b->folder);
}

/* ---- opening ---- */

static const char schema[] = "BEGIN IMMEDIATE;"
                             "CREATE TABLE meta(k TEXT PRIMARY KEY, v) WITHOUT ROWID;"
                             "CREATE TABLE kind(id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);"
                             "CREATE TABLE objects(id INTEGER PRIMARY KEY, res INTEGER NOT NULL, rev INTEGER NOT NULL, at INTEGER NOT "
                             "NULL, key TEXT NOT NULL, json BLOB NOT NULL);"
                             "CREATE TABLE log(rev INTEGER PRIMARY KEY, res INTEGER NOT NULL, id INTEGER NOT NULL, op INTEGER NOT NULL, at "
                             "INTEGER NOT NULL, key TEXT NOT NULL, before BLOB);"
                             "INSERT INTO meta VALUES('epoch', 1), ('reserved', 0), ('rev', 0);";

static int make_schema(struct backend *b, struct err **e)
{
    char uid[UUID_LEN + 1], sql[256];
    random_uuid(uid);
    snprintf(sql, sizeof sql, "INSERT INTO meta VALUES('uid', '%s'); PRAGMA application_id = %d; PRAGMA user_version = %d; COMMIT", uid,
        DISK_APP, DISK_VERSION);
    int rc = disk_exec(
        b->db, "PRAGMA page_size = 4096; PRAGMA auto_vacuum = INCREMENTAL; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL", e);
    if (rc == 0)
        rc = disk_exec(b->db, schema, e);
    return rc == 0 ? disk_exec(b->db, sql, e) : rc;
}

static const char *const queries[QUERIES] = {
    [Q_BEGIN] = "BEGIN IMMEDIATE",
    [Q_COMMIT] = "COMMIT",
    [Q_ROLLBACK] = "ROLLBACK",
    [Q_PUT] = "INSERT OR REPLACE INTO objects(id, res, rev, at, key, json) VALUES(?, ?, ?, ?, ?, ?)",
    [Q_DEL] = "DELETE FROM objects WHERE id = ?",
    [Q_LOG] = "INSERT INTO log(rev, res, id, op, at, key, before) VALUES(?, ?, ?, ?, ?, ?, ?)",
    [Q_META] = "INSERT OR REPLACE INTO meta VALUES(?, ?)",
    [Q_TRIM] = "DELETE FROM log WHERE rev <= ?",
    [Q_FREE] = "PRAGMA freelist_count",
    [Q_PAGES] = "PRAGMA page_count",
    [Q_VACUUM] = "PRAGMA incremental_vacuum(64)",
};

static int read_head(struct backend *b, struct backend_head *h, struct err **e)
{
    _cleanup_(disk_finalizep) sqlite3_stmt *q = NULL;
    int64_t log = 0, objects = 0;
    int rc = disk_prepare(b->db, "SELECT k, v FROM meta", &q, e);
    if (rc < 0)
        return rc;
    while ((rc = sqlite3_step(q)) == SQLITE_ROW) {
        struct str k = disk_column(q, 0), v = disk_column(q, 1);
        if (str_eqz(k, "uid"))
            snprintf(h->uid, sizeof h->uid, "%.*s", STR_ARG(v));
        else if (str_eqz(k, "epoch"))
            h->epoch = sqlite3_column_int64(q, 1);
        else if (str_eqz(k, "reserved"))
            h->reserved = sqlite3_column_int64(q, 1);
        else if (str_eqz(k, "rev"))
            h->rev = sqlite3_column_int64(q, 1);
        else if (str_eqz(k, "gaps"))
            snprintf(h->gaps, sizeof h->gaps, "%.*s", STR_ARG(v));
    }
    if (rc != SQLITE_DONE)
        return disk_fail(b->db, rc, "database", e);
    if (strlen(h->uid) != UUID_LEN || h->epoch < 1 || h->rev < 0 || h->reserved < 0)
        return err_set(e, ERR_IO, "%s is damaged (meta)", b->file);
    if ((rc = disk_number(b->db, "SELECT max(rev) FROM log", &log, e)) < 0 ||
        (rc = disk_number(b->db, "SELECT max(rev) FROM objects", &objects, e)) < 0)
        return rc;
    h->rev = MAX(h->rev, MAX(log, objects));
    h->reserved = MAX(h->reserved, h->rev);
    return 0;
}

static int on_wal(void *arg, sqlite3 *db, const char *name, int pages)
{
    struct backend *b = arg;
    b->wal_pages = pages;
    return SQLITE_OK;
}

static int open_file(struct backend *b, struct backend_head *head, struct err **e)
{
    int64_t tables = 0;
    int rc = disk_make_private(b->file, e);
    if (rc == 0)
        rc = disk_connect(b->file, SQLITE_OPEN_READWRITE, &b->db, e);
    if (rc < 0)
        return rc;
    if ((rc = disk_number(b->db, "SELECT count(*) FROM sqlite_master", &tables, e)) < 0)
        return rc;
    if ((rc = tables ? disk_ours(b->db, b->file, e) : make_schema(b, e)) < 0)
        return rc;
    b->old = tables > 0;
    rc = disk_exec(b->db,
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 0; PRAGMA secure_delete = OFF; PRAGMA "
        "cache_size = -1024; PRAGMA temp_store = MEMORY",
        e);
    if (rc < 0)
        return rc;
    sqlite3_wal_hook(b->db, on_wal, b);
    for (int i = 0; i < QUERIES; i++)
        if ((rc = disk_prepare(b->db, queries[i], &b->q[i], e)) < 0)
            return rc;
    return read_head(b, head, e);
}

int backend_open(const struct store_config *c, struct backend **out, struct backend_head *head, struct err **e)
{
    struct backend *b = xcalloc(1, sizeof *b);
    b->folder = xstrdup(c->path);
    b->file = xasprintf("%s/store.db", c->path);
    b->lock_fd = b->reserve_fd = -1;
    b->seal = c->seal;
    b->unseal = c->unseal;
    b->seal_arg = c->seal_arg;
    b->history_ns = c->history_ns ? c->history_ns : HISTORY_NS;
    pthread_mutex_init(&b->mu, NULL);
    pthread_cond_init(&b->cond, NULL);
    int rc = dir_make(c->path, 0700, e);
    if (rc == 0)
        rc = disk_lock(c->path, &b->lock_fd, e);
    if (rc == 0 && (rc = open_file(b, head, e)) == 0)
        rc = disk_log_marks(b, e);
    if (rc == -ERR_IO && b->db)
        disk_way_back(b, rc, e);
    if (rc == 0)
        (void)!backend_reserve(b, NULL); /* a disk that is full already: tried again when it matters */
    if (rc == 0)
        rc = disk_wal_start(b, e);
    if (rc < 0) {
        backend_close(b, 0);
        return rc;
    }
    *out = b;
    return 0;
}

void backend_fault(struct backend *b, int (*fn)(void *arg, int64_t n), void *arg)
{
    b->fault_arg = arg;
    b->fault_n = 0;
    b->fault = fn;
}

/* ---- writing ---- */

int disk_step(struct backend *b, int which, struct err **e)
{
    int rc = sqlite3_step(b->q[which]);
    if (rc == SQLITE_ROW)
        rc = SQLITE_DONE;
    int bad = rc == SQLITE_DONE ? 0 : disk_fail(b->db, rc, "database", e);
    sqlite3_reset(b->q[which]);
    sqlite3_clear_bindings(b->q[which]);
    return bad;
}

static int64_t number(struct backend *b, int which)
{
    int64_t v = sqlite3_step(b->q[which]) == SQLITE_ROW ? sqlite3_column_int64(b->q[which], 0) : 0;
    sqlite3_reset(b->q[which]);
    return v;
}

static int meta_set(struct backend *b, const char *k, int64_t v, struct err **e)
{
    sqlite3_bind_text(b->q[Q_META], 1, k, -1, SQLITE_STATIC);
    sqlite3_bind_int64(b->q[Q_META], 2, v);
    return disk_step(b, Q_META, e);
}

static int meta_head(struct backend *b, int64_t epoch, int64_t reserved, const char *gaps, struct err **e)
{
    int rc = epoch ? meta_set(b, "epoch", epoch, e) : 0;
    if (rc == 0 && reserved)
        rc = meta_set(b, "reserved", reserved, e);
    if (rc == 0 && gaps && (epoch || reserved)) {
        sqlite3_bind_text(b->q[Q_META], 1, "gaps", -1, SQLITE_STATIC);
        sqlite3_bind_text(b->q[Q_META], 2, gaps, -1, SQLITE_STATIC);
        rc = disk_step(b, Q_META, e);
    }
    return rc;
}

static void bind(sqlite3_stmt *q, int at, struct str s)
{
    sqlite3_bind_blob64(q, at, s.p, s.n, SQLITE_STATIC);
}

int disk_sealed(struct backend *b, const struct store_res *r, struct str key, struct str plain, struct str *stored, struct err **e)
{
    *stored = plain;
    if (!b->seal)
        return 0;
    buf_reset(&b->sealed);
    int rc = b->seal(b->seal_arg, r, key, plain, &b->sealed, e);
    if (b->sealed.n)
        *stored = buf_str(&b->sealed);
    return WRAP(rc, e, "%s %.*s", r->name, STR_ARG(key));
}

static int put_row(struct backend *b, const struct thing *t, struct err **e)
{
    sqlite3_stmt *q = b->q[Q_PUT];
    sqlite3_bind_int64(q, 1, t->id);
    sqlite3_bind_int64(q, 2, t->o.res->disk);
    sqlite3_bind_int64(q, 3, t->o.rev);
    sqlite3_bind_int64(q, 4, t->written / NS_PER_S);
    sqlite3_bind_text(q, 5, b->key.p, (int)b->key.n, SQLITE_STATIC);
    struct str stored;
    int rc = disk_sealed(b, t->o.res, buf_str(&b->key), t->o.json, &stored, e);
    if (rc < 0)
        return rc;
    bind(q, 6, stored);
    return disk_step(b, Q_PUT, e);
}

static int log_row(struct backend *b, const struct event *x, const struct obj *before, struct err **e)
{
    const struct thing *t = thing_of(x->ev.obj);
    int64_t at = t->written / NS_PER_S;
    sqlite3_stmt *q = b->q[Q_LOG];
    sqlite3_bind_int64(q, 1, x->ev.rev);
    sqlite3_bind_int64(q, 2, t->o.res->disk);
    sqlite3_bind_int64(q, 3, t->id);
    sqlite3_bind_int(q, 4, x->ev.type == STORE_DELETE ? OP_DELETE : before ? OP_UPDATE : OP_CREATE);
    sqlite3_bind_int64(q, 5, at);
    sqlite3_bind_text(q, 6, b->key.p, (int)b->key.n, SQLITE_STATIC);
    struct str stored = STR_NULL;
    int rc = before ? disk_sealed(b, t->o.res, buf_str(&b->key), before->json, &stored, e) : 0;
    if (rc < 0)
        return rc;
    if (before)
        bind(q, 7, stored);
    disk_log_note(b, x->ev.rev, at, b->key.n + 40 + (before ? before->json.n : 0));
    return disk_step(b, Q_LOG, e);
}

/* For each event the number of the next of the same object in the batch, or -1: only the last is written as a row. */
static int32_t *link_batch(const struct backend_batch *x)
{
    size_t mask = 15;
    while (mask < x->n * 2)
        mask = mask * 2 + 1;
    int32_t *next = xmalloc(x->n * sizeof *next), *slot = xmalloc((mask + 1) * sizeof *slot);
    memset(slot, 0xff, (mask + 1) * sizeof *slot);
    for (size_t i = x->n; i-- > 0;) {
        int64_t id = thing_of(x->ev[i]->ev.obj)->id;
        size_t h = (size_t)((uint64_t)id * 0x9e3779b97f4a7c15u >> 20) & mask;
        while (slot[h] >= 0 && thing_of(x->ev[slot[h]]->ev.obj)->id != id)
            h = (h + 1) & mask;
        next[i] = slot[h];
        slot[h] = (int32_t)i;
    }
    free(slot);
    return next;
}

static int write_rows(struct backend *b, const struct backend_batch *x, struct err **e)
{
    _cleanup_(freep) int32_t *next = link_batch(x);
    const struct obj **before = xmalloc(x->n * sizeof *before);
    int rc = 0;
    for (size_t i = 0; i < x->n; i++)
        before[i] = x->ev[i]->ev.before;
    for (size_t i = 0; rc == 0 && i < x->n; i++) {
        const struct event *ev = x->ev[i];
        const struct thing *t = thing_of(ev->ev.obj);
        buf_reset(&b->key);
        buf_str_add(&b->key, t->o.ns);
        buf_putc(&b->key, '/');
        buf_str_add(&b->key, t->o.name);
        if (next[i] < 0 && ev->ev.type == STORE_DELETE) {
            sqlite3_bind_int64(b->q[Q_DEL], 1, t->id);
            rc = disk_step(b, Q_DEL, e);
        } else if (next[i] < 0) {
            rc = put_row(b, t, e);
        }
        /* A soft update that is followed by another update in the same batch leaves no trace: the next one tells from where it came. */
        if (ev->soft && before[i] && next[i] >= 0 && ev->ev.type == STORE_PUT && x->ev[next[i]]->ev.type == STORE_PUT)
            before[next[i]] = before[i];
        else if (rc == 0 && !b->lean)
            rc = log_row(b, ev, before[i], e);
    }
    if (rc == 0 && b->lean)
        rc = disk_log_skip(b, x->ev[x->n - 1]->ev.rev, x->now / NS_PER_S, e);
    free(before);
    return rc;
}

int disk_finish(struct backend *b, int rc, struct err **e)
{
    if (rc == 0 && b->fault && (rc = b->fault(b->fault_arg, ++b->fault_n)) < 0)
        err_set(e, (enum err_code) - rc, "commit %" PRId64 " made to fail", b->fault_n);
    if (rc == 0)
        rc = disk_step(b, Q_COMMIT, e);
    if (rc == 0)
        b->dirty = true;
    else if (!sqlite3_get_autocommit(b->db))
        (void)!disk_step(b, Q_ROLLBACK, NULL);
    return rc;
}

/* Gives pages back to the file system when a quarter of the file is free, a few at a time. */
static void shrink(struct backend *b)
{
    int64_t spare = number(b, Q_FREE);
    if (spare > 256 && spare > number(b, Q_PAGES) / 4) {
        while (sqlite3_step(b->q[Q_VACUUM]) == SQLITE_ROW) {
        }
        sqlite3_reset(b->q[Q_VACUUM]);
    }
}

static int try_append(struct backend *b, const struct backend_batch *x, struct err **e)
{
    size_t nmarks = b->nmarks;
    struct mark last = nmarks ? b->marks[nmarks - 1] : (struct mark){0};
    int64_t log_bytes = b->log_bytes;
    b->ntrim = 0;
    int rc = disk_step(b, Q_BEGIN, e);
    if (rc == 0)
        rc = write_rows(b, x, e);
    if (rc == 0)
        rc = meta_head(b, x->epoch, x->reserved, x->gaps, e);
    if (rc == 0)
        rc = disk_log_trim(b, x->now / NS_PER_S, e);
    if (rc == 0 && ++b->commits % 16 == 0)
        shrink(b);
    rc = disk_finish(b, rc, e);
    if (rc == 0) {
        disk_log_trimmed(b);
        return 0;
    }
    b->nmarks = nmarks; /* the rows just noted are not there */
    if (nmarks)
        b->marks[nmarks - 1] = last;
    b->log_bytes = log_bytes;
    b->ntrim = 0;
    return rc;
}

static bool only_deletes(const struct backend_batch *x)
{
    for (size_t i = 0; i < x->n; i++)
        if (x->ev[i]->ev.type != STORE_DELETE)
            return false;
    return true;
}

int backend_append(struct backend *b, const struct backend_batch *x, struct err **e)
{
    _cleanup_(err_freep) struct err *first = NULL;
    int rc = try_append(b, x, &first);
    for (int again = 0; rc == -ERR_STORAGE_FULL && again < 2; again++) {
        if (again == 1 && !only_deletes(x))
            break;
        if (again == 1) /* what makes room must not fail for want of it */
            backend_release(b);
        disk_wal_empty(b); /* perhaps the write-ahead log only needs to be emptied */
        err_free(TAKE(first));
        rc = try_append(b, x, &first);
    }
    if (rc < 0)
        return err_move(e, TAKE(first));
    disk_wal_tend(b);
    return 0;
}

int backend_probe(struct backend *b, int64_t epoch, int64_t reserved, const char *gaps, struct err **e)
{
    int rc = disk_step(b, Q_BEGIN, e);
    if (rc == 0)
        rc = meta_head(b, epoch, reserved, gaps, e);
    return disk_finish(b, rc, e);
}

void backend_close(struct backend *b, int64_t head)
{
    if (!b)
        return;
    disk_wal_stop(b);
    if (head && b->dirty && disk_step(b, Q_BEGIN, NULL) == 0) {
        int rc = meta_set(b, "rev", head, NULL);
        if (rc == 0)
            rc = meta_set(b, "reserved", head, NULL);
        (void)!disk_finish(b, rc, NULL);
    }
    for (int i = 0; i < QUERIES; i++)
        sqlite3_finalize(b->q[i]);
    sqlite3_close_v2(b->db);
    closep(&b->reserve_fd);
    closep(&b->lock_fd);
    buf_clear(&b->key);
    buf_clear(&b->sealed);
    free(b->marks);
    free(b->orphans);
    free(b->folder);
    free(b->file);
    pthread_mutex_destroy(&b->mu);
    pthread_cond_destroy(&b->cond);
    free(b);
}
