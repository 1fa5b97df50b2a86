#include "uplink/mirror.h"

#include <stdlib.h>

#include "base/buf.h"
#include "base/list.h"
#include "base/map.h"
#include "uplink/db.h"

static const char schema[] =
    "CREATE TABLE IF NOT EXISTS entries(key BLOB PRIMARY KEY, uid BLOB NOT NULL, rev INTEGER NOT NULL, bytes BLOB NOT NULL) WITHOUT ROWID;"
    "CREATE TABLE IF NOT EXISTS cut(one INTEGER PRIMARY KEY CHECK(one = 1), store_uid BLOB NOT NULL, epoch INTEGER NOT NULL, rev INTEGER "
    "NOT NULL, frozen INTEGER NOT NULL);";

struct change { /* staged: bytes NULL is a tombstone */
    struct list node;
    struct str key, uid;
    int64_t rev;
    struct bytes *bytes;
};

struct mirror {
    struct map items; /* key → struct mirror_item */
    struct list staged;
    struct mirror_cut cut;
    bool frozen;
    struct seal *seal;
    struct mirror_listener listener;
    sqlite3 *db;
    sqlite3_stmt *put, *del, *set_cut;
};

static struct mirror_item *item_new(struct str key, struct str uid, int64_t rev, struct bytes *bytes)
{
    struct mirror_item *it = xcalloc(1, sizeof *it);
    it->key = str_make(str_dup(key), key.n);
    it->uid = str_make(str_dup(uid), uid.n);
    it->rev = rev;
    it->bytes = bytes;
    return it;
}

static void item_free(void *p)
{
    struct mirror_item *it = p;
    if (!it)
        return;
    free((char *)it->key.p);
    free((char *)it->uid.p);
    bytes_unref(it->bytes);
    free(it);
}

static void change_free(struct change *c)
{
    list_remove(&c->node);
    free((char *)c->key.p);
    free((char *)c->uid.p);
    bytes_unref(c->bytes);
    free(c);
}

/* ---- loading ---- */

static struct str column(sqlite3_stmt *st, int at)
{
    const void *p = sqlite3_column_blob(st, at);
    return str_make(p ? p : "", (size_t)sqlite3_column_bytes(st, at));
}

/* A value that does not open (another key, another place) is left out: the upper side sends it again. */
static void load_row(struct mirror *m, sqlite3_stmt *st)
{
    struct str key = column(st, 0), sealed = column(st, 3);
    _cleanup_(buf_clear) struct buf plain = BUF_INIT;
    if (m->seal) {
        if (seal_open(m->seal, sealed, key, &plain, NULL) < 0) {
            m->cut.rev = 0;
            return;
        }
    } else {
        buf_str_add(&plain, sealed);
    }
    struct mirror_item *it = item_new(key, column(st, 1), sqlite3_column_int64(st, 2), buf_to_bytes(&plain));
    item_free(map_put(&m->items, key, it));
}

static int load_cut(struct mirror *m, struct err **e)
{
    sqlite3_stmt *st;
    if (db_prepare(m->db, "SELECT store_uid, epoch, rev, frozen FROM cut", &st, e) < 0)
        return -ERR_IO;
    if (sqlite3_step(st) == SQLITE_ROW) {
        struct str uid = column(st, 0);
        memcpy(m->cut.store_uid, uid.p, MIN(uid.n, sizeof m->cut.store_uid - 1));
        m->cut.epoch = sqlite3_column_int64(st, 1);
        m->cut.rev = sqlite3_column_int64(st, 2);
        m->frozen = sqlite3_column_int(st, 3) != 0;
    }
    sqlite3_finalize(st);
    return 0;
}

static int load(struct mirror *m, struct err **e)
{
    sqlite3_stmt *st;
    int r = load_cut(m, e);
    if (r < 0 || (r = db_prepare(m->db, "SELECT key, uid, rev, bytes FROM entries", &st, e)) < 0)
        return r;
    while ((r = sqlite3_step(st)) == SQLITE_ROW)
        load_row(m, st);
    sqlite3_finalize(st);
    return r == SQLITE_DONE ? 0 : db_fail(m->db, "mirror", e);
}

static int prepare(struct mirror *m, struct err **e)
{
    int r = db_prepare(
        m->db, "INSERT INTO entries VALUES(?1, ?2, ?3, ?4) ON CONFLICT(key) DO UPDATE SET uid = ?2, rev = ?3, bytes = ?4", &m->put, e);
    if (r == 0)
        r = db_prepare(m->db, "DELETE FROM entries WHERE key = ?1", &m->del, e);
    if (r == 0)
        r = db_prepare(m->db,
            "INSERT INTO cut VALUES(1, ?1, ?2, ?3, ?4) ON CONFLICT(one) DO UPDATE SET store_uid = ?1, epoch = ?2, rev = ?3, frozen = ?4",
            &m->set_cut, e);
    return r;
}

int mirror_open(const char *path, struct seal *seal, struct mirror **out, struct err **e)
{
    _cleanup_(mirror_closep) struct mirror *m = xcalloc(1, sizeof *m);
    bool fresh;
    list_init(&m->staged);
    m->seal = seal;
    int r = db_open(path, schema, true, &m->db, &fresh, e);
    if (r == 0)
        r = prepare(m, e);
    if (r == 0)
        r = load(m, e);
    if (r < 0)
        return err_wrap(e, "mirror");
    *out = TAKE(m);
    return 0;
}

void mirror_close(struct mirror *m)
{
    if (!m)
        return;
    mirror_stage_drop(m);
    sqlite3_finalize(m->put);
    sqlite3_finalize(m->del);
    sqlite3_finalize(m->set_cut);
    sqlite3_close(m->db);
    map_clear(&m->items, item_free);
    free(m);
}

/* ---- reading ---- */

void mirror_listen(struct mirror *m, const struct mirror_listener *l)
{
    m->listener = *l;
}

const struct mirror_item *mirror_get(const struct mirror *m, struct str key)
{
    return map_get(&m->items, key);
}

void mirror_each(const struct mirror *m, struct str prefix, bool (*fn)(void *arg, const struct mirror_item *it), void *arg)
{
    map_for (&m->items, e)
        if (str_starts(map_key(e), prefix) && !fn(arg, e->value))
            return;
}

size_t mirror_count(const struct mirror *m)
{
    return map_count(&m->items);
}

struct mirror_cut mirror_cut(const struct mirror *m)
{
    return m->cut;
}

bool mirror_frozen(const struct mirror *m)
{
    return m->frozen;
}

/* What the new upper store does not name goes only now: the next inventory tells it apart, which is asked of a mirror that has something (rev above 0). */
void mirror_thaw(struct mirror *m)
{
    m->frozen = false;
    m->cut.rev = MIN(m->cut.rev, 1);
}

/* ---- changing ---- */

static void stage(struct mirror *m, struct str key, struct str uid, int64_t rev, struct bytes *bytes)
{
    struct change *c = xcalloc(1, sizeof *c);
    c->key = str_make(str_dup(key), key.n);
    c->uid = str_make(str_dup(uid), uid.n);
    c->rev = rev;
    c->bytes = bytes;
    list_push(&m->staged, &c->node);
}

void mirror_stage_put(struct mirror *m, struct str key, struct str uid, int64_t rev, struct str bytes)
{
    stage(m, key, uid, rev, bytes_new(bytes.p, bytes.n));
}

void mirror_stage_delete(struct mirror *m, struct str key, struct str uid, int64_t rev)
{
    stage(m, key, uid, rev, NULL);
}

void mirror_stage_drop(struct mirror *m)
{
    struct change *c;
    list_for (&m->staged, c, node)
        change_free(c);
}

/* A tombstone names the uid that it means; one for an object that was made anew since does nothing. */
static bool applies(const struct mirror *m, const struct change *c)
{
    const struct mirror_item *there = mirror_get(m, c->key);
    if (c->bytes)
        return true;
    return !m->frozen && there && str_eq(there->uid, c->uid);
}

static int write_change(struct mirror *m, const struct change *c, struct err **e)
{
    if (!c->bytes) {
        db_bind_str(m->del, 1, c->key.p, c->key.n);
        return db_run(m->del, e);
    }
    _cleanup_(buf_clear) struct buf sealed = BUF_INIT;
    struct str value = bytes_str(c->bytes);
    if (m->seal) {
        if (seal_close(m->seal, value, c->key, &sealed, e) < 0)
            return -ERR_INTERNAL;
        value = buf_str(&sealed);
    }
    db_bind_str(m->put, 1, c->key.p, c->key.n);
    db_bind_str(m->put, 2, c->uid.p, c->uid.n);
    sqlite3_bind_int64(m->put, 3, c->rev);
    db_bind_str(m->put, 4, value.p, value.n);
    return db_run(m->put, e);
}

static int write_cut(struct mirror *m, struct str store_uid, int64_t epoch, int64_t rev, struct err **e)
{
    db_bind_str(m->set_cut, 1, store_uid.p, store_uid.n);
    sqlite3_bind_int64(m->set_cut, 2, epoch);
    sqlite3_bind_int64(m->set_cut, 3, rev);
    sqlite3_bind_int(m->set_cut, 4, m->frozen);
    return db_run(m->set_cut, e);
}

static int write_all(struct mirror *m, struct str store_uid, int64_t epoch, int64_t rev, struct err **e)
{
    struct change *c;
    int r = db_exec(m->db, "BEGIN IMMEDIATE", e);
    if (r < 0)
        return r;
    list_for (&m->staged, c, node)
        if (r == 0 && applies(m, c))
            r = write_change(m, c, e);
    if (r == 0)
        r = write_cut(m, store_uid, epoch, rev, e);
    if (r == 0)
        r = db_exec(m->db, "COMMIT", e);
    if (r < 0)
        (void)!db_exec(m->db, "ROLLBACK", NULL);
    return r;
}

static void apply_one(struct mirror *m, struct change *c)
{
    struct mirror_item *before, *after = NULL;
    if (c->bytes) {
        after = item_new(c->key, c->uid, c->rev, TAKE(c->bytes));
        before = map_put(&m->items, c->key, after);
    } else {
        before = map_del(&m->items, c->key);
    }
    if (m->listener.on_change && (before || after))
        m->listener.on_change(m->listener.arg, c->key, before, after);
    item_free(before);
}

int mirror_commit(struct mirror *m, struct str store_uid, int64_t epoch, int64_t rev, struct err **e)
{
    struct change *c;
    struct str known = str_of(m->cut.store_uid);
    if (store_uid.n >= sizeof m->cut.store_uid)
        return err_set(e, ERR_LIMIT, "mirror: the store's uid is too long");
    if (!str_empty(known)) {
        if (!str_eq(known, store_uid) || epoch < m->cut.epoch)
            m->frozen = true;
        else if (epoch > m->cut.epoch)
            m->frozen = false;
    }
    int r = write_all(m, store_uid, epoch, rev, e);
    if (r < 0) {
        mirror_stage_drop(m);
        return err_wrap(e, "mirror");
    }
    memcpy(m->cut.store_uid, store_uid.p, store_uid.n);
    m->cut.store_uid[store_uid.n] = 0;
    m->cut.epoch = epoch;
    m->cut.rev = rev;
    list_for (&m->staged, c, node) {
        if (applies(m, c))
            apply_one(m, c);
        change_free(c);
    }
    if (m->listener.on_cut)
        m->listener.on_cut(m->listener.arg);
    return 0;
}
