/* Opening and closing, resources, figures. */
#include "base/file.h"
#include "store/inner.h"

int64_t store_epoch(struct store *s)
{
    return s->epoch;
}

struct str store_uid(struct store *s)
{
    return str_of(s->uid);
}

void store_res_scope(struct store_res *r, bool namespaced)
{
    store_lock(&r->s->write_mu);
    r->namespaced = namespaced;
    store_unlock(&r->s->write_mu);
}

struct str store_res_name(const struct store_res *r)
{
    return str_of(r->name);
}

struct store_res *store_find(struct store *s, struct str name)
{
    store_lock(&s->mu);
    struct store_res *r = map_get(&s->by_name, name);
    store_unlock(&s->mu);
    return r;
}

static void res_free(struct store_res *r)
{
    ring_clear(&r->ring);
    free(r->name);
    free(r);
}

static struct store_res *res_new(struct store *s, const struct store_kind *k, int64_t disk)
{
    struct store_res *r = xcalloc(1, sizeof *r);
    r->s = s;
    r->name = str_dup(k->name);
    r->namespaced = k->namespaced;
    r->describe = k->describe;
    r->describe_arg = k->arg;
    r->budget = k->budget_bytes;
    r->ttl = k->ttl_ns;
    r->aged = k->budget_bytes || k->ttl_ns;
    r->disk = disk;
    r->ring.max_bytes = k->ring_bytes ? k->ring_bytes : RING_BYTES;
    list_init(&r->watches);
    return r;
}

/* Under write_mu, or before anybody else knows the store. */
static void res_enter(struct store *s, struct store_res *r)
{
    store_lock(&s->mu);
    r->at = (uint32_t)s->nres;
    s->res = xrealloc(s->res, (s->nres + 1) * sizeof(struct store_res *));
    s->res[s->nres++] = r;
    map_put(&s->by_name, str_of(r->name), r);
    store_unlock(&s->mu);
    store_lock(&s->pub);
    s->root = view_own(s->root, r->at / SHELF + 1);
    store_unlock(&s->pub);
}

static int take_object(void *arg, struct store_res *r, int64_t id, int64_t rev, int64_t written, struct str json, struct err **e)
{
    struct store *s = arg;
    _cleanup_(pool_freep) struct pool *p = pool_new();
    _cleanup_(thing_unrefp) struct thing *t = NULL;
    int rc = thing_load(r, p, json, rev, &t, e);
    if (rc < 0)
        return rc;
    t->id = id;
    t->written = written;
    store_lock(&s->pub);
    s->root = view_own(s->root, r->at / SHELF + 1);
    root_put(s->root, r, t, NULL, false);
    store_unlock(&s->pub);
    if (s->safe) { /* a kind that comes later: what is on disk belongs into the root to fall back to as well */
        s->safe = view_own(s->safe, r->at / SHELF + 1);
        root_put(s->safe, r, t, NULL, false);
    }
    return 0;
}

static struct store_res *by_disk(void *arg, int64_t disk)
{
    struct store *s = arg;
    for (size_t i = 0; i < s->nres; i++)
        if (s->res[i]->disk == disk)
            return s->res[i];
    return NULL;
}

int store_add_kind(struct store *s, const struct store_kind *k, struct store_res **out, struct err **e)
{
    if (!k->name.n || k->name.n > 512)
        return err_set(e, ERR_INVALID, "resource: a name of 1 to 512 bytes");
    store_lock(&s->write_mu);
    committer_idle(s);
    struct store_res *r = map_get(&s->by_name, k->name); /* written under both locks */
    if (r) {
        store_unlock(&s->write_mu);
        return err_set(e, ERR_EXISTS, "resource %s is already there", r->name);
    }
    int64_t disk = 0;
    int rc = s->disk ? backend_kind(s->disk, k->name, &disk, e) : 0;
    if (rc == 0) {
        r = res_new(s, k, disk);
        r->ring.floor = r->ring.last = s->head;
        res_enter(s, r);
        struct backend_load l = {s, take_object};
        rc = s->disk ? backend_load_kind(s->disk, r, &l, e) : 0;
    }
    store_unlock(&s->write_mu);
    if (rc == 0 && out)
        *out = r;
    return rc;
}

/* Newest gaps are last, and the first to be kept when there is not room for all. */
void store_gaps_text(struct store *s, char *out, size_t n)
{
    size_t at = 0;
    store_lock(&s->mu);
    size_t from = s->ngaps > n / 48 ? s->ngaps - n / 48 : 0; /* a gap takes at most 41 bytes */
    out[0] = 0;
    for (size_t i = from; i < s->ngaps; i++)
        at += (size_t)snprintf(out + at, n - at, "%s%" PRId64 "-%" PRId64, at ? " " : "", s->gaps[i].lo, s->gaps[i].hi);
    store_unlock(&s->mu);
}

static void read_gaps(struct store *s, struct str text)
{
    struct str piece, lo, hi;
    struct gap g = {0};
    while (str_split(&text, ' ', &piece))
        if (str_cut(piece, '-', &lo, &hi) && str_to_i64(lo, &g.lo) && str_to_i64(hi, &g.hi))
            store_add_gap(s, g.lo, g.hi, 0);
}

static int open_disk(struct store *s, const struct store_config *c, struct err **e)
{
    struct backend_head head = {0};
    int rc = backend_open(c, &s->disk, &head, e);
    if (rc < 0)
        return rc;
    memcpy(s->uid, head.uid, sizeof s->uid);
    s->epoch = head.epoch;
    s->reserved = head.reserved;
    read_gaps(s, str_of(head.gaps));
    int64_t now = head.rev;
    if (head.reserved > head.rev) { /* it did not end cleanly: what lies between may have been told to somebody */
        store_add_gap(s, head.rev, head.reserved, 0);
        now = head.reserved + 1;
    }
    s->head = s->durable = s->clear = now;
    for (size_t i = 0; i < c->nkinds; i++) {
        int64_t disk;
        if ((rc = backend_kind(s->disk, c->kinds[i].name, &disk, e)) < 0)
            return rc;
        struct store_res *r = res_new(s, &c->kinds[i], disk);
        r->ring.floor = r->ring.last = now;
        res_enter(s, r);
    }
    struct backend_load l = {s, take_object};
    if ((rc = backend_load(s->disk, by_disk, &l, e)) < 0)
        return rc;
    s->root->rev = now;
    s->root->epoch = s->epoch;
    s->safe = store_view_ref(s->root);
    return committer_start(s, e);
}

int store_open(const struct store_config *c, struct store **out, struct err **e)
{
    _cleanup_(store_closep) struct store *s = xcalloc(1, sizeof *s);
    pthread_mutex_init(&s->write_mu, NULL);
    pthread_mutex_init(&s->mu, NULL);
    pthread_mutex_init(&s->pub, NULL);
    list_init(&s->hubs);
    list_init(&s->waits);
    list_init(&s->watches);
    s->first_hard = s->batch.first_hard = INT64_MAX;
    s->epoch = 1;
    s->root = view_new(0);
    s->root->epoch = 1;
    s->clock = c->clock ? c->clock : (s->own_clock = clock_new(NULL));
    if (c->path) {
        int rc = open_disk(s, c, e);
        if (rc < 0)
            return rc;
    } else {
        random_uuid(s->uid);
        for (size_t i = 0; i < c->nkinds; i++)
            res_enter(s, res_new(s, &c->kinds[i], 0));
    }
    *out = TAKE(s);
    return 0;
}

void store_close(struct store *s)
{
    if (!s)
        return;
    committer_stop(s);
    backend_close(s->disk, s->failed ? 0 : (int64_t)s->durable);
    struct hub *h;
    list_for (&s->hubs, h, node)
        hub_close(h);
    store_view_unref(s->root);
    store_view_unref(s->safe);
    for (size_t i = 0; i < s->nres; i++)
        res_free(s->res[i]);
    free(s->res);
    map_clear(&s->by_name, NULL);
    clock_free(s->own_clock);
    pthread_mutex_destroy(&s->write_mu);
    pthread_mutex_destroy(&s->mu);
    pthread_mutex_destroy(&s->pub);
    free(s);
}

int store_backup(struct store *s, const char *path, struct err **e)
{
    if (!s->disk)
        return err_set(e, ERR_NOT_IMPLEMENTED, "a store without a folder cannot be backed up");
    int rc = committer_flush(s, e);
    return rc < 0 ? rc : backend_backup(s->disk, path, e);
}

void store_stats(struct store *s, struct store_stats *out)
{
    *out = (struct store_stats){.commits = s->commits, .commit_ns_total = s->commit_ns};
    store_lock(&s->write_mu);
    out->full = s->failed == -ERR_STORAGE_FULL;
    store_unlock(&s->write_mu);
    store_lock(&s->mu);
    out->rev = s->head;
    out->durable = s->durable;
    out->epoch = s->epoch;
    size_t nres = s->nres;
    store_unlock(&s->mu);
    _cleanup_(store_view_unrefp) struct store_view *v = store_root(s);
    for (size_t i = 0; i < nres; i++) {
        const struct res_root *x = view_peek(v, (uint32_t)i);
        out->objects += x ? (int64_t)tree_count(x->objs) : 0;
        out->object_bytes += x ? (int64_t)x->bytes : 0;
    }
    if (s->disk)
        backend_sizes(s->disk, &out->db_bytes, &out->wal_bytes);
}
