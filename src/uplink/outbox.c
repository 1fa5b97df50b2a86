#include "uplink/outbox.h"

#include <stdlib.h>

#include "base/log.h"
#include "base/wire.h"
#include "uplink/db.h"

#define LAZY_NS (60 * NS_PER_S)
#define AGAIN_MIN (NS_PER_S) /* after an answer that asks to try again */
#define AGAIN_MAX (60 * NS_PER_S)
#define ENTRY_MAX (3u << 20)

static const char schema[] = "CREATE TABLE IF NOT EXISTS entries(seq INTEGER PRIMARY KEY, key BLOB NOT NULL, flags INTEGER NOT NULL, at "
                             "INTEGER NOT NULL, entry BLOB NOT NULL);";

static const struct wire_field entry_fields[] = {
    WIRE_STR(struct outbox_entry, method, 16),
    WIRE_STR(struct outbox_entry, path, 4096),
    WIRE_STR(struct outbox_entry, content_type, 128),
    WIRE_STR(struct outbox_entry, body, ENTRY_MAX),
    WIRE_END,
};
static const struct wire_type entry_type = {"outbox entry", sizeof(struct outbox_entry), entry_fields};

struct held {
    struct list node;      /* in order of seq */
    struct outbox_entry e; /* strings in one malloc'ed block */
    unsigned flags;
    int64_t at;
    bool under_way, on_disk, dirty;
};

struct outbox {
    struct loop *loop;
    struct clock *clock;
    struct seal *seal;
    struct list entries;
    size_t n, bytes;
    uint64_t next_seq, dropped;
    struct timer lazy, again;
    int64_t again_ns;
    bool waiting; /* the upper side cannot take reports now: nothing leaves until `again` */
    struct defer flush;
    sqlite3 *db;
    sqlite3_stmt *put, *del;
    void (*on_ready)(void *arg);
    void *ready_arg;
    void (*on_refused)(void *arg, const struct outbox_entry *entry, int status, struct str message);
    void *refused_arg;
};

static size_t size_of(const struct held *h)
{
    return h->e.key.n + h->e.method.n + h->e.path.n + h->e.content_type.n + h->e.body.n + sizeof *h;
}

static struct str take_copy(char **at, struct str s)
{
    struct str out = {*at, s.n};
    if (s.n)
        memcpy(*at, s.p, s.n);
    *at += s.n;
    return out;
}

static struct held *held_new(const struct outbox_entry *e, unsigned flags)
{
    struct held *h = xcalloc(1, sizeof *h + e->key.n + e->method.n + e->path.n + e->content_type.n + e->body.n);
    char *at = (char *)(h + 1);
    h->e.key = take_copy(&at, e->key);
    h->e.method = take_copy(&at, e->method);
    h->e.path = take_copy(&at, e->path);
    h->e.content_type = take_copy(&at, e->content_type);
    h->e.body = take_copy(&at, e->body);
    h->flags = flags;
    return h;
}

static void drop(struct outbox *o, struct held *h)
{
    if (h->on_disk) {
        _cleanup_(err_freep) struct err *e = NULL;
        sqlite3_bind_int64(o->del, 1, (sqlite3_int64)h->e.seq);
        if (db_run(o->del, &e) < 0)
            log_warn("outbox: %s", err_msg(e));
    }
    o->bytes -= size_of(h);
    o->n--;
    list_remove(&h->node);
    free(h);
}

/* ---- disk ---- */

static int write_one(struct outbox *o, struct held *h, struct err **e)
{
    _cleanup_(buf_clear) struct buf plain = BUF_INIT, sealed = BUF_INIT;
    wire_encode(&entry_type, &h->e, &plain);
    struct str value = buf_str(&plain);
    if (o->seal) {
        if (seal_close(o->seal, value, h->e.key, &sealed, e) < 0)
            return -ERR_INTERNAL;
        value = buf_str(&sealed);
    }
    sqlite3_bind_int64(o->put, 1, (sqlite3_int64)h->e.seq);
    db_bind_str(o->put, 2, h->e.key.p, h->e.key.n);
    sqlite3_bind_int64(o->put, 3, (sqlite3_int64)h->flags);
    sqlite3_bind_int64(o->put, 4, h->at);
    db_bind_str(o->put, 5, value.p, value.n);
    return db_run(o->put, e);
}

static int write_dirty(struct outbox *o, struct err **e)
{
    struct held *h;
    int r = db_exec(o->db, "BEGIN IMMEDIATE", e);
    if (r < 0)
        return r;
    list_for (&o->entries, h, node)
        if (r == 0 && h->dirty)
            r = write_one(o, h, e);
    if (r == 0)
        r = db_exec(o->db, "COMMIT", e);
    if (r < 0) {
        (void)!db_exec(o->db, "ROLLBACK", NULL);
        return r;
    }
    list_for (&o->entries, h, node)
        if (h->dirty) {
            h->dirty = false;
            h->on_disk = true;
        }
    return 0;
}

/* A disk that is full does not stop reports: they stay in memory and are written when there is room. */
static void flush(struct outbox *o)
{
    _cleanup_(err_freep) struct err *e = NULL;
    bool dirty = false;
    struct held *h;
    list_for (&o->entries, h, node)
        dirty = dirty || h->dirty;
    timer_del(&o->lazy);
    if (dirty && write_dirty(o, &e) < 0)
        log_warn("outbox: reports are kept in memory only: %s", err_msg(e));
}

static void on_flush(struct defer *d)
{
    flush(container_of(d, struct outbox, flush));
}

static void on_lazy(struct timer *t)
{
    flush(container_of(t, struct outbox, lazy));
}

static int load_row(struct outbox *o, sqlite3_stmt *st, struct err **e)
{
    _cleanup_(pool_freep) struct pool *p = pool_new();
    _cleanup_(buf_clear) struct buf plain = BUF_INIT;
    struct str key = str_make(sqlite3_column_blob(st, 1), (size_t)sqlite3_column_bytes(st, 1));
    struct str value = str_make(sqlite3_column_blob(st, 4), (size_t)sqlite3_column_bytes(st, 4));
    struct outbox_entry entry = {0};
    if (o->seal) {
        if (seal_open(o->seal, value, key, &plain, e) < 0)
            return -ERR_INTERNAL;
        value = buf_str(&plain);
    }
    if (wire_decode(&entry_type, value, p, &entry, e) < 0)
        return -ERR_PARSE;
    entry.key = key;
    struct held *h = held_new(&entry, (unsigned)sqlite3_column_int64(st, 2));
    h->e.seq = (uint64_t)sqlite3_column_int64(st, 0);
    h->at = sqlite3_column_int64(st, 3);
    h->on_disk = true;
    list_push(&o->entries, &h->node);
    o->n++;
    o->bytes += size_of(h);
    o->next_seq = MAX(o->next_seq, h->e.seq + 1);
    return 0;
}

static int load(struct outbox *o, struct err **e)
{
    sqlite3_stmt *st;
    int r = db_prepare(o->db, "SELECT seq, key, flags, at, entry FROM entries ORDER BY seq", &st, e);
    if (r < 0)
        return r;
    while ((r = sqlite3_step(st)) == SQLITE_ROW)
        if (load_row(o, st, NULL) < 0)
            o->dropped++;
    sqlite3_finalize(st);
    return r == SQLITE_DONE ? 0 : db_fail(o->db, "outbox", e);
}

int outbox_open(const char *path, struct loop *l, struct clock *clock, struct seal *seal, struct outbox **out, struct err **e)
{
    _cleanup_(outbox_closep) struct outbox *o = xcalloc(1, sizeof *o);
    bool fresh;
    list_init(&o->entries);
    o->loop = l;
    o->clock = clock;
    o->seal = seal;
    o->next_seq = 1;
    int r = db_open(path, schema, true, &o->db, &fresh, e);
    if (r == 0)
        r = db_prepare(o->db, "INSERT OR REPLACE INTO entries VALUES(?1, ?2, ?3, ?4, ?5)", &o->put, e);
    if (r == 0)
        r = db_prepare(o->db, "DELETE FROM entries WHERE seq = ?1", &o->del, e);
    if (r == 0)
        r = load(o, e);
    if (r < 0)
        return err_wrap(e, "outbox");
    *out = TAKE(o);
    return 0;
}

void outbox_close(struct outbox *o)
{
    struct held *h;
    if (!o)
        return;
    if (o->put)
        flush(o);
    defer_del(o->loop, &o->flush);
    timer_del(&o->again);
    list_for (&o->entries, h, node) {
        list_remove(&h->node);
        free(h);
    }
    sqlite3_finalize(o->put);
    sqlite3_finalize(o->del);
    sqlite3_close(o->db);
    free(o);
}

/* ---- putting ---- */

/* The newest that waits under this key. After a link was lost an older one may wait before it: that leaves first, and what replaces the newest still leaves last. */
static struct held *find_waiting(struct outbox *o, struct str key)
{
    struct held *h, *newest = NULL;
    list_for (&o->entries, h, node)
        if (!h->under_way && str_eq(h->e.key, key) && !(h->flags & OUTBOX_APPEND))
            newest = h;
    return newest;
}

/* Over the quota or past its age: appended ones go first, then the oldest; never one that is under way. */
static void keep_quota(struct outbox *o)
{
    struct held *h;
    int64_t oldest = clock_now(o->clock) - OUTBOX_AGE;
    for (int round = 0; round < 2; round++)
        list_for (&o->entries, h, node) {
            bool aged = h->at < oldest && (h->flags & OUTBOX_APPEND);
            if ((aged || o->bytes > OUTBOX_BYTES) && !h->under_way && (round == 1 || (h->flags & OUTBOX_APPEND))) {
                o->dropped++;
                drop(o, h);
            }
        }
}

void outbox_put(struct outbox *o, const struct outbox_entry *entry, unsigned flags)
{
    struct held *old = flags & OUTBOX_APPEND ? NULL : find_waiting(o, entry->key), *h = held_new(entry, flags);
    struct list *before = &o->entries;
    h->at = clock_now(o->clock);
    h->dirty = !(flags & OUTBOX_VOLATILE);
    if (old) { /* the newer report takes the place of the older one */
        h->e.seq = old->e.seq;
        h->on_disk = old->on_disk;
        before = old->node.next;
        old->on_disk = false;
        drop(o, old);
    } else {
        h->e.seq = o->next_seq++;
    }
    list_insert(before, &h->node);
    o->n++;
    o->bytes += size_of(h);
    keep_quota(o);
    if (h->dirty && flags & OUTBOX_LAZY) {
        if (!o->lazy.loop)
            timer_in(o->loop, &o->lazy, LAZY_NS, on_lazy);
    } else if (h->dirty && !o->flush.on) {
        loop_defer(o->loop, &o->flush, on_flush);
    }
    if (o->on_ready)
        o->on_ready(o->ready_arg);
}

void outbox_forget(struct outbox *o, struct str key)
{
    struct held *h = find_waiting(o, key);
    if (h)
        drop(o, h);
}

size_t outbox_count(const struct outbox *o)
{
    return o->n;
}

uint64_t outbox_dropped(const struct outbox *o)
{
    return o->dropped;
}

void outbox_on_refused(struct outbox *o, void (*fn)(void *arg, const struct outbox_entry *entry, int status, struct str message), void *arg)
{
    o->on_refused = fn;
    o->refused_arg = arg;
}

/* ---- sending ---- */

void outbox_on_ready(struct outbox *o, void (*fn)(void *arg), void *arg)
{
    o->on_ready = fn;
    o->ready_arg = arg;
}

const struct outbox_entry *outbox_next(struct outbox *o)
{
    struct held *h;
    if (o->waiting)
        return NULL;
    list_for (&o->entries, h, node)
        if (!h->under_way) {
            h->under_way = true;
            return &h->e;
        }
    return NULL;
}

static void on_again(struct timer *t)
{
    struct outbox *o = container_of(t, struct outbox, again);
    o->waiting = false;
    if (o->on_ready)
        o->on_ready(o->ready_arg);
}

/* Everything waits, not only this entry: what came later must not overtake it. */
static void back_off(struct outbox *o)
{
    if (o->waiting)
        return;
    o->waiting = true;
    o->again_ns = o->again_ns ? MIN(o->again_ns * 2, AGAIN_MAX) : AGAIN_MIN;
    timer_in(o->loop, &o->again, o->again_ns, on_again);
}

void outbox_done(struct outbox *o, uint64_t seq, int status, struct str message)
{
    struct held *h, *found = NULL;
    list_for (&o->entries, h, node)
        if (h->e.seq == seq && h->under_way)
            found = h;
    if (!found)
        return;
    if (status >= 500 || status == 429) {
        found->under_way = false; /* the upper side could not do it now: again, later */
        back_off(o);
        return;
    }
    o->again_ns = 0;
    if (status >= 300 && o->on_refused)
        o->on_refused(o->refused_arg, &found->e, status, message);
    drop(o, found);
}

void outbox_rewind(struct outbox *o)
{
    struct held *h;
    list_for (&o->entries, h, node)
        h->under_way = false;
    o->waiting = false; /* a new link is a new chance, and dialling has a back-off of its own */
    timer_del(&o->again);
}
