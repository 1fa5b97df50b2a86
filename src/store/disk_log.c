/* The change log on disk: how much of it is kept, and reading it back as events. */
#include "base/bytes.h"
#include "store/disk.h"

/* ---- books ---- */

void disk_log_note(struct backend *b, int64_t rev, int64_t at, size_t bytes)
{
    struct mark *m = b->nmarks ? &b->marks[b->nmarks - 1] : NULL;
    if (!m || b->ntrim == b->nmarks || m->rows >= MARK_ROWS || at - m->at > 10 || m->bytes > LOG_BYTES / 16) {
        if (b->nmarks == b->cmarks) {
            b->cmarks = b->cmarks ? b->cmarks * 2 : 16;
            b->marks = xrealloc(b->marks, b->cmarks * sizeof *b->marks);
        }
        m = &b->marks[b->nmarks++];
        *m = (struct mark){.at = at};
    }
    m->rev = rev;
    m->bytes += (int64_t)bytes;
    m->rows++;
    b->log_bytes += (int64_t)bytes;
}

int disk_log_marks(struct backend *b, struct err **e)
{
    _cleanup_(disk_finalizep) sqlite3_stmt *q = NULL;
    int rc = disk_prepare(b->db, "SELECT rev, at, length(key) + coalesce(length(before), 0) FROM log ORDER BY rev", &q, e);
    if (rc < 0)
        return rc;
    while ((rc = sqlite3_step(q)) == SQLITE_ROW)
        disk_log_note(b, sqlite3_column_int64(q, 0), sqlite3_column_int64(q, 1), 40 + (size_t)sqlite3_column_int64(q, 2));
    return rc == SQLITE_DONE ? 0 : disk_fail(b->db, rc, "database", e);
}

int disk_log_skip(struct backend *b, int64_t rev, int64_t at, struct err **e)
{
    sqlite3_bind_int64(b->q[Q_TRIM], 1, rev);
    int rc = disk_step(b, Q_TRIM, e);
    b->ntrim = b->nmarks;
    disk_log_note(b, rev, at, 40);
    sqlite3_stmt *q = b->q[Q_LOG];
    sqlite3_bind_int64(q, 1, rev);
    for (int i = 2; i <= 4; i++)
        sqlite3_bind_int64(q, i, i == 4 ? OP_SKIP : 0);
    sqlite3_bind_int64(q, 5, at);
    sqlite3_bind_text(q, 6, "", 0, SQLITE_STATIC);
    return rc < 0 ? rc : disk_step(b, Q_LOG, e);
}

/* The newest run always stays, so that the log tells how far it reaches. */
int disk_log_trim(struct backend *b, int64_t now_s, struct err **e)
{
    int64_t bytes = b->log_bytes;
    size_t n = 0;
    if (b->ntrim) /* disk_log_skip did it */
        return 0;
    while (n + 1 < b->nmarks && (bytes > LOG_BYTES || b->marks[n + 1].at < now_s - b->history_ns / NS_PER_S))
        bytes -= b->marks[n++].bytes;
    b->ntrim = n;
    if (!n)
        return 0;
    sqlite3_bind_int64(b->q[Q_TRIM], 1, b->marks[n - 1].rev);
    return disk_step(b, Q_TRIM, e);
}

void disk_log_trimmed(struct backend *b)
{
    for (size_t i = 0; i < b->ntrim; i++)
        b->log_bytes -= b->marks[i].bytes;
    b->nmarks -= b->ntrim;
    memmove(b->marks, b->marks + b->ntrim, b->nmarks * sizeof *b->marks);
    b->ntrim = 0;
}

/* ---- history ---- */

struct reading {
    struct backend *b;
    struct store *s;
    const struct store_res *only;
    int64_t upto;
    sqlite3 *db;
    sqlite3_stmt *row; /* an object's present state */
    struct map states; /* id → what stood before the change after this one; from newest to oldest */
    struct event **ev; /* newest first */
    size_t n, cap;
};

static void bytes_free(void *b)
{
    bytes_unref(b);
}

static struct store_res *res_of(struct store *s, int64_t disk)
{
    struct store_res *r = NULL;
    store_lock(&s->mu);
    for (size_t i = 0; i < s->nres && !r; i++)
        if (s->res[i]->disk == disk)
            r = s->res[i];
    store_unlock(&s->mu);
    return r;
}

static int load(struct reading *x, struct store_res *r, struct str key, struct str stored, struct thing **out, struct err **e)
{
    _cleanup_(pool_freep) struct pool *p = pool_new();
    struct buf tmp = BUF_INIT;
    struct str plain;
    int rc = disk_plain(x->b, r, key, stored, &tmp, &plain, e);
    if (rc == 0)
        rc = thing_load(r, p, plain, 0, out, e);
    buf_clear(&tmp);
    return WRAP(rc, e, "change log, %s %.*s", r->name, STR_ARG(key));
}

/* What stood after the change that q is at: what stood before the next one, or the row. */
static int state_after(struct reading *x, struct store_res *r, int64_t id, struct str key, struct thing **out, struct err **e)
{
    struct bytes *next = map_get(&x->states, str_make((const char *)&id, sizeof id));
    if (next)
        return load(x, r, key, bytes_str(next), out, e);
    sqlite3_bind_int64(x->row, 1, id);
    int rc = sqlite3_step(x->row);
    if (rc == SQLITE_ROW)
        rc = load(x, r, key, disk_column(x->row, 0), out, e);
    else
        rc = rc == SQLITE_DONE ? err_set(e, ERR_IO, "change log: %s %.*s has no row", r->name, STR_ARG(key))
                               : disk_fail(x->db, rc, "change log", e);
    sqlite3_reset(x->row);
    return rc;
}

static void keep(struct reading *x, struct event *ev)
{
    if (x->n == x->cap) {
        x->cap = x->cap ? x->cap * 2 : 64;
        x->ev = xrealloc(x->ev, x->cap * sizeof(struct event *));
    }
    x->ev[x->n++] = ev;
}

static int read_row(struct reading *x, sqlite3_stmt *q, struct err **e)
{
    int64_t rev = sqlite3_column_int64(q, 0), id = sqlite3_column_int64(q, 2);
    int op = sqlite3_column_int(q, 3), rc = 0;
    struct str key = disk_column(q, 4), before = disk_column(q, 5);
    struct store_res *r = res_of(x->s, sqlite3_column_int64(q, 1));
    if (r && (!x->only || x->only == r) && rev <= x->upto) {
        _cleanup_(thing_unrefp) struct thing *was = NULL, *is = NULL;
        if (op != OP_CREATE)
            rc = load(x, r, key, before, &was, e);
        if (rc == 0 && op == OP_DELETE)
            is = thing_at(&was->o, rev);
        else if (rc == 0)
            rc = state_after(x, r, id, key, &is, e);
        if (rc < 0)
            return rc;
        keep(x, event_new(op == OP_DELETE ? STORE_DELETE : STORE_PUT, r, rev, &is->o, was ? &was->o : NULL));
    }
    if (op != OP_CREATE)
        bytes_unref(map_put(&x->states, str_make((const char *)&id, sizeof id), bytes_new(before.p, before.n)));
    return 0;
}

static int read_log(struct reading *x, int64_t after, struct err **e)
{
    _cleanup_(disk_finalizep) sqlite3_stmt *q = NULL;
    int64_t first = INT64_MAX;
    int rc = disk_exec(x->db, "BEGIN", e); /* one snapshot for all of it */
    if (rc == 0)
        rc = disk_number(x->db, "SELECT coalesce(max(CASE op WHEN 3 THEN rev + 1 END), min(rev)) FROM log", &first, e);
    if (rc == 0 && after < first - 1)
        return err_set(e, ERR_EXPIRED, "too old resource version: %" PRId64 " (%" PRId64 ")", after, (int64_t)x->s->head);
    if (rc == 0)
        rc = disk_prepare(x->db, "SELECT rev, res, id, op, key, before FROM log WHERE rev > ? ORDER BY rev DESC", &q, e);
    if (rc == 0)
        rc = disk_prepare(x->db, "SELECT json FROM objects WHERE id = ?", &x->row, e);
    if (rc < 0)
        return rc;
    sqlite3_bind_int64(q, 1, after);
    while ((rc = sqlite3_step(q)) == SQLITE_ROW)
        if ((rc = read_row(x, q, e)) < 0)
            return rc;
    return rc == SQLITE_DONE ? 0 : disk_fail(x->db, rc, "change log", e);
}

int backend_history(struct backend *b, struct store *s, const struct store_res *r, int64_t after, int64_t upto, struct event ***out,
    size_t *n, struct err **e)
{
    struct reading x = {.b = b, .s = s, .only = r, .upto = upto};
    int rc = disk_connect(b->file, SQLITE_OPEN_READONLY, &x.db, e);
    if (rc == 0)
        rc = read_log(&x, after, e);
    sqlite3_finalize(x.row);
    sqlite3_close_v2(x.db);
    map_clear(&x.states, bytes_free);
    if (rc < 0) {
        while (x.n)
            event_unref(x.ev[--x.n]);
        free(x.ev);
        return rc;
    }
    for (size_t i = 0; i < x.n / 2; i++) {
        struct event *t = x.ev[i];
        x.ev[i] = x.ev[x.n - 1 - i];
        x.ev[x.n - 1 - i] = t;
    }
    *out = x.ev;
    *n = x.n;
    return 0;
}
