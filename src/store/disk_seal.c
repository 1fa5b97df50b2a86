/* Changing the seal of what is on disk. */
#include "store/disk.h"

/* Gives the row that q stands at its new bytes. */
static int rewrite(struct backend *b, struct backend_reseal *w, sqlite3_stmt *q, sqlite3_stmt *set, struct buf *tmp, struct err **e)
{
    struct str key = disk_column(q, 1), old = disk_column(q, 2), plain, stored;
    if (!old.n || w->fresh(w->arg, old))
        return 0;
    int rc = disk_plain(b, w->res, key, old, tmp, &plain, e);
    if (rc == 0)
        rc = disk_sealed(b, w->res, key, plain, &stored, e);
    if (rc < 0)
        return rc;
    sqlite3_bind_blob64(set, 1, stored.p, stored.n, SQLITE_STATIC);
    sqlite3_bind_int64(set, 2, w->at);
    rc = sqlite3_step(set);
    sqlite3_reset(set);
    if (rc != SQLITE_DONE)
        return disk_fail(b->db, rc, "database", e);
    w->changed++;
    return 0;
}

static int slice(struct backend *b, struct backend_reseal *w, struct err **e)
{
    _cleanup_(disk_finalizep) sqlite3_stmt *q = NULL, *set = NULL;
    int rc = disk_prepare(b->db,
        w->in_log ? "SELECT rev, key, before FROM log WHERE rev > ? AND res = ? AND op < 3 ORDER BY rev"
                  : "SELECT id, key, json FROM objects WHERE id > ? AND res = ? ORDER BY id",
        &q, e);
    if (rc == 0)
        rc = disk_prepare(
            b->db, w->in_log ? "UPDATE log SET before = ? WHERE rev = ?" : "UPDATE objects SET json = ? WHERE id = ?", &set, e);
    if (rc < 0)
        return rc;
    struct buf tmp = BUF_INIT;
    sqlite3_bind_int64(q, 1, w->at);
    sqlite3_bind_int64(q, 2, w->res->disk);
    int got = SQLITE_ROW;
    for (size_t n = 0; rc == 0 && n < w->limit && (got = sqlite3_step(q)) == SQLITE_ROW; n++) {
        w->at = sqlite3_column_int64(q, 0);
        rc = rewrite(b, w, q, set, &tmp, e);
    }
    buf_clear(&tmp);
    if (rc < 0)
        return rc;
    if (got == SQLITE_DONE) {
        w->done = w->in_log;
        w->in_log = true;
        w->at = 0;
    }
    return got == SQLITE_DONE || got == SQLITE_ROW ? 0 : disk_fail(b->db, got, "database", e);
}

int backend_reseal(struct backend *b, struct backend_reseal *w, struct err **e)
{
    struct backend_reseal was = *w;
    (void)!disk_exec(b->db, "PRAGMA secure_delete = ON", NULL); /* what was plain, or under a key that is given up, is overwritten */
    int rc = disk_step(b, Q_BEGIN, e);
    if (rc == 0)
        rc = disk_finish(b, slice(b, w, e), e);
    (void)!disk_exec(b->db, "PRAGMA secure_delete = OFF", NULL);
    if (rc < 0)
        *w = was;
    else if (w->done && w->changed)
        disk_wal_empty(b);
    else
        disk_wal_tend(b);
    return rc;
}
