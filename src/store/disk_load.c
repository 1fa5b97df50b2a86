/* Reading everything at the start, and the numbers of resources. */
#include "store/disk.h"

int backend_kind(struct backend *b, struct str name, int64_t *disk, struct err **e)
{
    _cleanup_(disk_finalizep) sqlite3_stmt *q = NULL, *add = NULL;
    int rc = disk_prepare(b->db, "SELECT id FROM kind WHERE name = ?", &q, e);
    if (rc < 0)
        return rc;
    sqlite3_bind_text(q, 1, name.p, (int)name.n, SQLITE_STATIC);
    rc = sqlite3_step(q);
    if (rc == SQLITE_ROW) {
        *disk = sqlite3_column_int64(q, 0);
        return 0;
    }
    if (rc != SQLITE_DONE)
        return disk_fail(b->db, rc, "database", e);
    sqlite3_reset(q);
    if (!b->loaded && sqlite3_get_autocommit(b->db) && (rc = disk_step(b, Q_BEGIN, e)) < 0)
        return rc;
    if ((rc = disk_prepare(b->db, "INSERT INTO kind(name) VALUES(?)", &add, e)) < 0)
        return rc;
    sqlite3_bind_text(add, 1, name.p, (int)name.n, SQLITE_STATIC);
    rc = sqlite3_step(add);
    if (rc != SQLITE_DONE)
        return disk_fail(b->db, rc, "database", e);
    *disk = sqlite3_last_insert_rowid(b->db);
    return 0;
}

static int row(struct backend *b, sqlite3_stmt *q, struct store_res *r, struct buf *tmp, const struct backend_load *l, struct err **e)
{
    struct str key = disk_column(q, 4), plain;
    int rc = disk_plain(b, r, key, disk_column(q, 5), tmp, &plain, e);
    if (rc == 0)
        rc = l->object(l->arg, r, sqlite3_column_int64(q, 0), sqlite3_column_int64(q, 2), sqlite3_column_int64(q, 3) * NS_PER_S, plain, e);
    return WRAP(rc, e, "%s: %s %.*s", b->file, r->name, STR_ARG(key));
}

static void orphan(struct backend *b, int64_t disk, int64_t id)
{
    if (b->norphans == b->corphans) {
        b->corphans = b->corphans ? b->corphans * 2 : 64;
        b->orphans = xrealloc(b->orphans, b->corphans * sizeof *b->orphans);
    }
    b->orphans[b->norphans].disk = disk;
    b->orphans[b->norphans++].id = id;
}

#define ROWS "SELECT id, res, rev, at, key, json FROM objects"

/* Checking every page takes as long as loading, so it happens beside it. */
struct checking {
    const char *file;
    int rc;
    struct err *e;
};

static void *check(void *arg)
{
    struct checking *c = arg;
    _cleanup_(disk_closep) sqlite3 *db = NULL;
    c->rc = disk_connect(c->file, SQLITE_OPEN_READONLY, &db, &c->e);
    if (c->rc == 0)
        c->rc = disk_check(db, c->file, &c->e);
    return NULL;
}

static int stream(struct backend *b, struct store_res *(*find)(void *arg, int64_t disk), const struct backend_load *l, struct err **e)
{
    _cleanup_(disk_finalizep) sqlite3_stmt *q = NULL;
    int more = SQLITE_DONE, rc = disk_prepare(b->db, ROWS, &q, e);
    struct buf tmp = BUF_INIT;
    while (rc == 0 && (more = sqlite3_step(q)) == SQLITE_ROW) {
        int64_t disk = sqlite3_column_int64(q, 1);
        struct store_res *r = find(l->arg, disk);
        if (r)
            rc = row(b, q, r, &tmp, l, e);
        else
            orphan(b, disk, sqlite3_column_int64(q, 0));
    }
    buf_clear(&tmp);
    return rc < 0 ? rc : more == SQLITE_DONE ? 0 : disk_fail(b->db, more, b->file, e);
}

int backend_load(struct backend *b, struct store_res *(*find)(void *arg, int64_t disk), const struct backend_load *l, struct err **e)
{
    struct checking c = {.file = b->file};
    pthread_t thread;
    bool beside = b->old && pthread_create(&thread, NULL, check, &c) == 0;
    if (b->old && !beside)
        check(&c);
    int rc = stream(b, find, l, e);
    if (beside)
        pthread_join(thread, NULL);
    if (c.rc < 0 && rc < 0 && e) { /* damage explains what the loader met */
        err_free(*e);
        *e = NULL;
    }
    if (c.rc < 0)
        return disk_way_back(b, err_move(e, c.e), e);
    if (rc == 0 && !sqlite3_get_autocommit(b->db)) /* new kinds */
        rc = disk_step(b, Q_COMMIT, e);
    b->loaded = true;
    return rc;
}

int backend_load_kind(struct backend *b, struct store_res *r, const struct backend_load *l, struct err **e)
{
    _cleanup_(disk_finalizep) sqlite3_stmt *q = NULL;
    int rc = disk_prepare(b->db, ROWS " WHERE id = ?", &q, e);
    struct buf tmp = BUF_INIT;
    size_t left = 0;
    for (size_t i = 0; i < b->norphans; i++) {
        if (b->orphans[i].disk != r->disk || rc < 0) {
            b->orphans[left++] = b->orphans[i];
            continue;
        }
        sqlite3_bind_int64(q, 1, b->orphans[i].id);
        int got = sqlite3_step(q);
        rc = got == SQLITE_ROW ? row(b, q, r, &tmp, l, e) : disk_fail(b->db, got, b->file, e);
        sqlite3_reset(q);
    }
    b->norphans = left;
    buf_clear(&tmp);
    return rc;
}
