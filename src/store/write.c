/* Writing: everything that can be done before is done before the lock; under it a revision is stamped into the finished bytes, the root is
 * changed, the event goes into the ring and the change into the batch. */
#include "store/inner.h"

/* "deployments.apps", as the API names a resource in its messages; the store's own name is "apps/deployments" or "/pods". */
static struct str qualified(const struct store_res *r, char *out, size_t n)
{
    struct str group, plural, name = str_of(r->name);
    if (!str_cut(name, '/', &group, &plural))
        return name;
    if (!group.n)
        return plural;
    int len = snprintf(out, n, "%.*s.%.*s", STR_ARG(plural), STR_ARG(group));
    return (struct str){out, MIN((size_t)MAX(len, 0), n - 1)};
}

static int not_found(const struct store_res *r, struct str name, struct err **e)
{
    char q[256];
    return err_set(e, ERR_NOT_FOUND, "%.*s \"%.*s\" not found", STR_ARG(qualified(r, q, sizeof q)), STR_ARG(name));
}

static int conflict(const struct store_res *r, struct str name, const char *why, struct err **e)
{
    char q[256];
    return err_set(
        e, ERR_CONFLICT, "Operation cannot be fulfilled on %.*s \"%.*s\": %s", STR_ARG(qualified(r, q, sizeof q)), STR_ARG(name), why);
}
#define MODIFIED "the object has been modified; please apply your changes to the latest version and try again"

/* Under write_mu. A soft write is hard when its revision is not reserved on disk yet: it could be given out again after a crash. */
static bool is_soft(const struct store *s, int64_t rev, unsigned flags)
{
    return (flags & STORE_SOFT) && (!s->disk || rev <= s->reserved);
}

#define RENEWAL (1u << 16) /* an update: if it is soft it needs no disk, and a node must not look dead because a disk is full */

/* Takes write_mu, or refuses. */
static int begin(struct store *s, unsigned flags, struct err **e)
{
    store_lock(&s->write_mu);
    bool passes = (s->reserve_only && (flags & STORE_RESERVE)) || ((flags & RENEWAL) && is_soft(s, s->head + 1, flags));
    int code = passes ? 0 : s->failed;
    bool busy = s->pending_bytes > PENDING_MAX;
    if (!code && !busy)
        return 0;
    store_unlock(&s->write_mu);
    if (code == -ERR_STORAGE_FULL)
        return err_set(e, ERR_STORAGE_FULL, "no space left for the database; deleting objects is possible");
    if (code)
        return err_set(e, (enum err_code) - code, "the database cannot be written at the moment");
    int rc = err_set(e, ERR_TOO_MANY, "too many writes wait for the disk");
    if (e)
        (*e)->retry_after_s = 1;
    return rc;
}

void store_apply(struct store *s, struct store_res *r, struct event *x, struct thing *now, struct thing *before)
{
    int64_t rev = x->ev.rev;
    bool memory = !s->disk;
    x->at = clock_mono(s->clock);
    store_lock(&s->pub);
    s->root = view_own(s->root, r->at / SHELF + 1);
    if (now)
        root_put(s->root, r, now, before, x->soft);
    else
        root_del(s->root, r, before, rev, x->soft);
    store_unlock(&s->pub);
    if (!memory)
        batch_add(s, x);

    store_lock(&s->mu);
    int64_t clear = s->clear;
    s->head = rev;
    if (memory)
        s->durable = rev;
    else if (!x->soft && s->first_hard == INT64_MAX)
        s->first_hard = rev;
    ring_add(&r->ring, x);
    watch_tell(s, r);
    s->clear = s->first_hard == INT64_MAX ? rev : s->first_hard - 1;
    ring_trim(&r->ring, s->clear, x->at - RING_NS);
    if (s->clear > clear) {
        watch_tell_durable(s, clear);
        door_open(s);
    }
    store_unlock(&s->mu);
}

static struct thing *stand(struct store *s, const struct store_res *r, struct str ns, struct str name)
{ /* under write_mu nobody else changes the root, so it may be read without a reference; held because readers copy it */
    const struct obj *o = view_get(s->root, r, ns, name);
    return o ? thing_of(o) : NULL;
}

static void remove_now(struct store *s, struct store_res *r, struct thing *old, unsigned flags, const struct obj **out)
{
    int64_t rev = s->head + 1;
    struct thing *last = thing_at(&old->o, rev);
    last->o.soft = is_soft(s, rev, flags);
    last->written = clock_now(s->clock);
    struct event *x = event_new(STORE_DELETE, r, rev, &last->o, &old->o);
    x->soft = last->o.soft;
    if (out)
        *out = obj_ref(&last->o);
    store_apply(s, r, x, NULL, old); /* the event keeps old alive */
    obj_unref(&last->o);
}

/* The oldest object of a resource that has an index by age. */
static struct thing *oldest(struct store *s, const struct store_res *r)
{
    const struct res_root *x = view_peek(s->root, r->at);
    struct tree_iter it;
    tree_seek(&entry_tree, x ? x->keys : NULL, NULL, it.stack, it.at, &it.depth);
    const struct entry *en = tree_next(it.stack, it.at, &it.depth);
    return en && en->what == ENTRY_AGE ? (struct thing *)(uintptr_t)en->t : NULL;
}

static bool too_old(struct store *s, const struct store_res *r, const struct thing *t)
{
    const struct res_root *x = view_peek(s->root, r->at);
    return t && ((r->budget && x->bytes > r->budget) || (r->ttl && t->written < clock_now(s->clock) - r->ttl));
}

/* Under write_mu: takes away what is over the budget or too old, a bounded number at a time. true: there is more. */
static bool expire(struct store *s, struct store_res *r)
{
    for (int i = 0; r->aged && i < 64; i++) {
        struct thing *t = oldest(s, r);
        if (!too_old(s, r, t))
            return false;
        remove_now(s, r, t, STORE_SOFT, NULL);
    }
    return r->aged && too_old(s, r, oldest(s, r));
}

void store_sweep(struct store *s)
{
    int64_t now = clock_mono(s->clock);
    store_lock(&s->mu);
    size_t nres = s->nres;
    for (size_t i = 0; i < nres; i++)
        ring_trim(&s->res[i]->ring, s->clear, now - RING_NS);
    store_unlock(&s->mu);
    for (size_t i = 0; i < nres; i++)
        for (bool more = true; more;) {
            if (begin(s, STORE_RESERVE, NULL) < 0)
                return;
            store_lock(&s->mu);
            struct store_res *r = s->res[i];
            store_unlock(&s->mu);
            more = expire(s, r);
            store_unlock(&s->write_mu);
        }
}

/* Without a committer (memory only) the writers look after ages. */
static void end(struct store *s, struct store_res *r)
{
    expire(s, r);
    int64_t now = clock_mono(s->clock);
    bool sweep = !s->disk && now >= s->next_sweep;
    if (sweep)
        s->next_sweep = now + SOFT_NS;
    store_unlock(&s->write_mu);
    if (sweep)
        store_sweep(s);
}

static void put_now(struct store *s, struct store_res *r, struct thing *t, struct thing *old, unsigned flags)
{
    int64_t rev = s->head + 1;
    thing_stamp(t, rev);
    t->id = old ? old->id : rev;
    t->written = clock_now(s->clock);
    t->o.soft = is_soft(s, rev, flags);
    struct event *x = event_new(STORE_PUT, r, rev, &t->o, old ? &old->o : NULL);
    x->soft = t->o.soft;
    store_apply(s, r, x, t, old);
}

/* What the caller sees: the revision in its tree, and a reference to what stands. */
static void give(struct pool *p, struct json *tree, const struct thing *t, const struct obj **out)
{
    json_set_str(p, json_get(tree, STR("metadata")), STR("resourceVersion"), str_make(t->o.json.p + t->rv_at, t->rv_n));
    if (out)
        *out = obj_ref(&t->o);
}

int store_create(
    struct store *s, struct store_res *r, struct pool *p, struct json *tree, unsigned flags, const struct obj **out, struct err **e)
{
    _cleanup_(thing_unrefp) struct thing *t = NULL;
    int rc = thing_draft(r, p, tree, s->head + 1, &t, e);
    if (rc < 0 || (rc = begin(s, flags, e)) < 0)
        return rc;
    if (stand(s, r, t->o.ns, t->o.name)) {
        store_unlock(&s->write_mu);
        char q[256];
        return err_set(e, ERR_EXISTS, "%.*s \"%.*s\" already exists", STR_ARG(qualified(r, q, sizeof q)), STR_ARG(t->o.name));
    }
    put_now(s, r, t, NULL, flags);
    end(s, r);
    give(p, tree, t, out);
    return 0;
}

int store_update(struct store *s, struct store_res *r, struct pool *p, struct json *tree, int64_t expect_rev, unsigned flags,
    const struct obj **out, struct err **e)
{
    _cleanup_(thing_unrefp) struct thing *t = NULL;
    int rc = thing_draft(r, p, tree, s->head + 1, &t, e);
    if (rc < 0 || (rc = begin(s, flags | RENEWAL, e)) < 0)
        return rc;
    struct thing *old = stand(s, r, t->o.ns, t->o.name);
    if (!old || (expect_rev && old->o.rev != expect_rev)) {
        store_unlock(&s->write_mu);
        return old ? conflict(r, t->o.name, MODIFIED, e) : not_found(r, t->o.name, e);
    }
    if (thing_same(t, old)) {
        obj_unref(&t->o);
        t = thing_ref(old);
        store_unlock(&s->write_mu);
    } else {
        put_now(s, r, t, old, flags);
        end(s, r);
    }
    give(p, tree, t, out);
    return 0;
}

int store_delete(struct store *s, struct store_res *r, struct str ns, struct str name, struct str uid, int64_t expect_rev, unsigned flags,
    const struct obj **out, struct err **e)
{
    int rc = begin(s, flags | STORE_RESERVE, e);
    if (rc < 0)
        return rc;
    struct thing *old = stand(s, r, ns, name);
    if (!old)
        rc = not_found(r, name, e);
    else if (uid.n && !str_eq(uid, old->o.uid))
        rc = conflict(r, name, "the UID in the precondition is not that of the object", e);
    else if (expect_rev && expect_rev != old->o.rev)
        rc = conflict(r, name, MODIFIED, e);
    else
        remove_now(s, r, old, flags, out);
    store_unlock(&s->write_mu);
    return rc;
}
