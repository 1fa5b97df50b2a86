/* Pods that want a node.
 *
 *      put ──→ READY ──pop──→ BINDING ──bound──→ (dropped)
 *                ↑               │ fits nowhere
 *        wake    │               ↓
 *             BACKOFF ←──move── SLEEPING
 *
 * Back-off: 1 s, doubling, at most 10 s, as kube-scheduler's.
 */
#include <stdlib.h>
#include "scheduler/inner.h"

#define BACKOFF_FIRST NS_PER_S
#define BACKOFF_MOST (10 * NS_PER_S)

/* READY: the highest priority, then the one that waits longest. BACKOFF: the one whose time comes first. */
static bool before(const struct pending *a, const struct pending *b)
{
    if (a->state == PENDING_BACKOFF)
        return a->until < b->until;
    return a->priority != b->priority ? a->priority > b->priority : a->since < b->since;
}

static void place(struct pending_heap *h, size_t i, struct pending *p)
{
    h->at[i] = p;
    p->heap_at = i;
}

static void up(struct pending_heap *h, size_t i, struct pending *p)
{
    for (; i > 0 && before(p, h->at[(i - 1) / 2]); i = (i - 1) / 2)
        place(h, i, h->at[(i - 1) / 2]);
    place(h, i, p);
}

static void down(struct pending_heap *h, size_t i, struct pending *p)
{
    for (;;) {
        size_t child = 2 * i + 1;
        if (child >= h->n)
            break;
        if (child + 1 < h->n && before(h->at[child + 1], h->at[child]))
            child++;
        if (!before(h->at[child], p))
            break;
        place(h, i, h->at[child]);
        i = child;
    }
    place(h, i, p);
}

static void heap_add(struct pending_heap *h, struct pending *p)
{
    if (h->n == h->cap) {
        h->cap = h->cap ? h->cap * 2 : 64;
        h->at = xrealloc(h->at, h->cap * sizeof *h->at);
    }
    h->n++;
    up(h, h->n - 1, p);
}

static void heap_del(struct pending_heap *h, struct pending *p)
{
    size_t i = p->heap_at;
    struct pending *last = h->at[--h->n];
    if (last == p)
        return;
    down(h, i, last);
    up(h, last->heap_at, last);
}

static struct pending_heap *heap_of(struct pending_queue *q, enum pending_state s)
{
    return s == PENDING_READY ? &q->ready : s == PENDING_BACKOFF ? &q->backoff : NULL;
}

static void set_state(struct pending_queue *q, struct pending *p, enum pending_state to)
{
    if (heap_of(q, p->state))
        heap_del(heap_of(q, p->state), p);
    q->nbinding -= p->state == PENDING_BINDING;
    q->nsleeping -= p->state == PENDING_SLEEPING;
    p->state = to;
    if (heap_of(q, to))
        heap_add(heap_of(q, to), p);
    q->nbinding += to == PENDING_BINDING;
    q->nsleeping += to == PENDING_SLEEPING;
}

void pending_init(struct pending_queue *q)
{
    *q = (struct pending_queue){0};
    list_init(&q->nominated);
}

void pending_nominate(struct pending_queue *q, struct pending *p, struct str node)
{
    char *name = node.n ? str_dup(node) : NULL;
    list_remove(&p->with_nomination);
    free((char *)(uintptr_t)p->nominated.p);
    p->nominated = str_of(name);
    if (name)
        list_push(&q->nominated, &p->with_nomination);
}

void pending_put(struct pending_queue *q, const struct obj *o, int64_t now)
{
    const struct pod_view *v = pod_view_of(o);
    struct pending *p = map_get(&q->all, o->uid);
    if (!p) {
        p = xcalloc(1, sizeof *p);
        *p = (struct pending){.since = now, .state = PENDING_SLEEPING, .wakes = ~0u};
        list_init(&p->with_nomination);
        q->nsleeping++;
        map_put(&q->all, o->uid, p);
    }
    const struct obj *old = p->o;
    p->o = obj_ref(o);
    p->uid = p->o->uid;
    if (p->state == PENDING_READY)
        set_state(q, p, PENDING_SLEEPING); /* the priority may change */
    p->priority = v ? v->priority : 0;
    obj_unref(old);
    p->moved = true;
    if (p->state == PENDING_SLEEPING)
        set_state(q, p, p->until > now ? PENDING_BACKOFF : PENDING_READY);
}

static void pending_free(void *arg)
{
    struct pending *p = arg;
    list_remove(&p->with_nomination);
    free((char *)(uintptr_t)p->nominated.p);
    obj_unref(p->o);
    free(p);
}

void pending_drop(struct pending_queue *q, struct str uid)
{
    struct pending *p = map_del(&q->all, uid);
    if (!p)
        return;
    set_state(q, p, PENDING_SLEEPING);
    q->nsleeping--;
    pending_free(p);
}

struct pending *pending_pop(struct pending_queue *q)
{
    struct pending *p = q->ready.n ? q->ready.at[0] : NULL;
    if (!p)
        return NULL;
    p->moved = false;
    p->attempts++;
    set_state(q, p, PENDING_BINDING);
    return p;
}

static void back_off(struct pending *p, int64_t now)
{
    int64_t wait = BACKOFF_FIRST;
    for (unsigned i = 1; i < p->attempts && wait < BACKOFF_MOST; i++)
        wait *= 2;
    p->until = now + MIN(wait, BACKOFF_MOST);
}

void pending_retry(struct pending_queue *q, struct pending *p, int64_t now)
{
    back_off(p, now);
    set_state(q, p, PENDING_BACKOFF);
}

void pending_sleep(struct pending_queue *q, struct pending *p, int64_t now)
{
    back_off(p, now);
    set_state(q, p, p->moved ? PENDING_BACKOFF : PENDING_SLEEPING);
}

void pending_move(struct pending_queue *q, int64_t now, unsigned what)
{
    if (!q->nsleeping && !q->nbinding)
        return; /* as in a burst, where thousands wait for their turn */
    map_for (&q->all, it) {
        struct pending *p = it->value;
        if (p->state == PENDING_SLEEPING && !(p->wakes & what))
            continue;
        p->moved = true;
        if (p->state == PENDING_SLEEPING)
            set_state(q, p, p->until > now ? PENDING_BACKOFF : PENDING_READY);
    }
}

int64_t pending_due(const struct pending_queue *q)
{
    return q->backoff.n ? q->backoff.at[0]->until : INT64_MAX;
}

void pending_wake(struct pending_queue *q, int64_t now)
{
    while (pending_due(q) <= now)
        set_state(q, q->backoff.at[0], PENDING_READY);
}

void pending_clear(struct pending_queue *q)
{
    map_clear(&q->all, pending_free);
    free(q->ready.at);
    free(q->backoff.at);
    pending_init(q);
}
