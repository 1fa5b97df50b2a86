/* Watchers: a cursor in a ring (or in all of them), perhaps with a piece of history from disk before it. */
#include "store/inner.h"

#define OPEN_TRIES 5

static int64_t floor_of(const struct store *s, const struct store_res *r)
{
    if (r)
        return r->ring.floor;
    int64_t floor = 0;
    for (size_t i = 0; i < s->nres; i++)
        floor = MAX(floor, s->res[i]->ring.floor);
    return floor;
}

static struct event *next_in_rings(const struct store *s, const struct store_res *r, int64_t after)
{
    if (r)
        return ring_after(&r->ring, after);
    struct event *best = NULL;
    for (size_t i = 0; i < s->nres; i++) {
        struct event *x = ring_after(&s->res[i]->ring, after);
        if (x && (!best || x->ev.rev < best->ev.rev))
            best = x;
    }
    return best;
}

static int64_t limit_of(const struct store_watch *w)
{
    return w->durable ? w->s->clear : w->s->head;
}

static void tell(struct store_watch *w)
{
    if (!w->armed)
        return;
    w->armed = false;
    hub_ready_watch(w->hub, w);
}

static void tell_list(struct list *l, bool durable, bool both)
{
    struct store_watch *w;
    list_for (l, w, node)
        if (both || w->durable == durable)
            tell(w);
}

void watch_tell(struct store *s, const struct store_res *r)
{
    tell_list(&s->watches, false, !r);
    if (r)
        tell_list((struct list *)(uintptr_t)&r->watches, false, false);
    for (size_t i = 0; !r && i < s->nres; i++)
        tell_list(&s->res[i]->watches, false, true);
}

void watch_tell_durable(struct store *s, int64_t from)
{
    tell_list(&s->watches, true, false);
    for (size_t i = 0; i < s->nres; i++)
        if (s->res[i]->ring.last > from)
            tell_list(&s->res[i]->watches, true, false);
}

static int expired(const struct store *s, int64_t after, struct err **e)
{
    return err_set(e, ERR_EXPIRED, "too old resource version: %" PRId64 " (%" PRId64 ")", after, (int64_t)s->head);
}

static void drop_back(struct store_watch *w)
{
    while (w->back_at < w->nback)
        event_unref(w->back[w->back_at++]);
    free(w->back);
    w->back = NULL;
    w->nback = w->back_at = 0;
}

/* Under mu: enters w where it finds everything from w->cursor on. */
static void enter(struct store *s, struct store_watch *w, struct loop *l)
{
    w->epoch = s->epoch;
    w->hub = hub_for(s, l);
    list_init(&w->ready);
    list_push(w->res ? (struct list *)(uintptr_t)&w->res->watches : &s->watches, &w->node);
    struct event *x = next_in_rings(s, w->res, w->cursor);
    w->armed = true;
    if (w->nback || (x && x->ev.rev <= limit_of(w)))
        tell(w);
}

static int find_place(struct store *s, struct store_watch *w, struct loop *l, struct err **e)
{
    int64_t from = w->cursor;
    for (int i = 0; i < OPEN_TRIES; i++) {
        int lost;
        store_lock(&s->mu);
        int64_t floor = floor_of(s, w->res);
        bool gone = store_find_gap(s, from, &lost), in = !gone && w->cursor >= floor;
        if (!in && (!s->disk || floor > s->durable)) /* soft changes may have left the ring before they were on disk */
            gone = true;
        if (in)
            enter(s, w, l);
        store_unlock(&s->mu);
        if (in)
            return 0;
        if (gone)
            break;
        drop_back(w);
        int rc = backend_history(s->disk, s, w->res, from, floor, &w->back, &w->nback, e);
        if (rc < 0)
            return rc;
        w->cursor = floor;
    }
    return expired(s, from, e);
}

static void watch_free(struct store_watch *w)
{
    drop_back(w);
    free(w);
}

int store_watch_open(struct store *s, const struct store_res *r, int64_t after, unsigned flags, struct loop *l, void (*notify)(void *arg),
    void *arg, struct store_watch **out, struct err **e)
{
    struct store_watch *w = xcalloc(1, sizeof *w);
    w->s = s;
    w->res = r;
    w->notify = notify;
    w->arg = arg;
    w->cursor = after;
    w->durable = flags & STORE_WATCH_DURABLE;
    int rc = find_place(s, w, l, e);
    if (rc < 0) {
        watch_free(w);
        return rc;
    }
    *out = w;
    return 0;
}

static struct store_event *resync(struct store_watch *w)
{
    w->epoch = w->s->epoch;
    w->cursor = w->s->head;
    drop_back(w);
    return &event_new(STORE_RESYNC, NULL, w->cursor, NULL, NULL)->ev;
}

struct store_event *store_watch_next(struct store_watch *w, struct err **e)
{
    struct store *s = w->s;
    struct store_event *ev = NULL;
    store_lock(&s->mu);
    int64_t limit = limit_of(w);
    if (w->epoch != s->epoch) {
        ev = resync(w);
    } else if (w->back_at < w->nback) {
        ev = &w->back[w->back_at++]->ev; /* its reference goes along; the cursor stands behind all of history already */
    } else if (w->cursor < floor_of(s, w->res)) {
        expired(s, w->cursor, e);
    } else {
        struct event *x = next_in_rings(s, w->res, w->cursor);
        if (x && x->ev.rev <= limit) {
            w->cursor = x->ev.rev;
            ev = store_event_ref(&x->ev);
        } else {
            w->cursor = MAX(w->cursor, limit);
            w->armed = true;
        }
    }
    store_unlock(&s->mu);
    return ev;
}

int64_t store_watch_rev(const struct store_watch *w)
{
    struct store *s = w->s;
    store_lock(&s->mu);
    int64_t rev = w->cursor, limit = limit_of(w);
    if (w->back_at < w->nback) {
        rev = w->back[w->back_at]->ev.rev - 1;
    } else {
        struct event *x = next_in_rings(s, w->res, w->cursor);
        rev = x && x->ev.rev <= limit ? w->cursor : MAX(rev, limit);
    }
    store_unlock(&s->mu);
    return rev;
}

void store_watch_close(struct store_watch *w)
{
    if (!w)
        return;
    store_lock(&w->s->mu);
    store_lock(&w->hub->mu);
    list_remove(&w->node);
    list_remove(&w->ready);
    store_unlock(&w->hub->mu);
    store_unlock(&w->s->mu);
    watch_free(w);
}
