/* Events: a change as watchers see it, shared by all of them, with its finished encodings. */
#include "base/bytes.h"
#include "store/inner.h"

struct store_encoding { /* a list that only grows at its head */
    struct store_encoding *next;
    uint64_t what;
    struct bytes *bytes;
};

struct event *event_new(enum store_event_type type, struct store_res *r, int64_t rev, const struct obj *obj, const struct obj *before)
{
    struct event *x = xcalloc(1, sizeof *x);
    atomic_init(&x->ev.refs, 1);
    atomic_init(&x->ev.encodings, NULL);
    x->ev.type = type;
    x->ev.rev = rev;
    x->ev.obj = obj ? obj_ref(obj) : NULL;
    x->ev.before = before ? obj_ref(before) : NULL;
    x->res = r;
    x->cost = sizeof *x + (obj ? thing_of(obj)->cost : 0) + (before ? thing_of(before)->cost : 0);
    return x;
}

struct store_event *store_event_ref(struct store_event *ev)
{
    if (ev)
        atomic_fetch_add_explicit(&ev->refs, 1, memory_order_relaxed);
    return ev;
}

void store_event_unref(struct store_event *ev)
{
    if (!ev || atomic_fetch_sub_explicit(&ev->refs, 1, memory_order_acq_rel) != 1)
        return;
    for (struct store_encoding *c = atomic_load_explicit(&ev->encodings, memory_order_relaxed), *next; c; c = next) {
        next = c->next;
        bytes_unref(c->bytes);
        free(c);
    }
    obj_unref(ev->obj);
    obj_unref(ev->before);
    free(event_of(ev));
}

static struct bytes *find(struct store_encoding *c, const struct store_encoding *end, uint64_t what)
{
    for (; c && c != end; c = c->next)
        if (c->what == what)
            return c->bytes;
    return NULL;
}

struct bytes *store_event_encoding(
    struct store_event *ev, uint64_t what, struct bytes *(*make)(void *arg, struct store_event *ev), void *arg)
{
    struct store_encoding *seen = atomic_load_explicit(&ev->encodings, memory_order_acquire);
    struct bytes *b = find(seen, NULL, what);
    if (b || !(b = make(arg, ev)))
        return b;
    struct store_encoding *c = xmalloc(sizeof *c);
    *c = (struct store_encoding){seen, what, b};
    while (!atomic_compare_exchange_weak_explicit(&ev->encodings, &c->next, c, memory_order_acq_rel, memory_order_acquire)) {
        struct bytes *other = find(c->next, seen, what);
        seen = c->next;
        if (other) { /* somebody was faster */
            bytes_unref(b);
            free(c);
            return other;
        }
    }
    return b;
}
