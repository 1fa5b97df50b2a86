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

static bool before(const struct pending *a, const struct pending *b)
{
    return a->priority != b->priority ? a->priority > b->priority : a->since < b->since;
}

static void place(struct pending_queue *q, size_t i, struct pending *p)
{
    q->heap[i] = p;
    p->heap_at = i;
}

static void up(struct pending_queue *q, size_t i, struct pending *p)
{
    for (; i > 0 && before(p, q->heap[(i - 1) / 2]); i = (i - 1) / 2)
        place(q, i, q->heap[(i - 1) / 2]);
    place(q, i, p);
}

static void down(struct pending_queue *q, size_t i, struct pending *p)
{
    for (;;) {
        size_t child = 2 * i + 1;
        if (child >= q->nheap)
            break;
        if (child + 1 < q->nheap && before(q->heap[child + 1], q->heap[child]))
            child++;
        if (!before(q->heap[child], p))
            break;
        place(q, i, q->heap[child]);
        i = child;
    }
    place(q, i, p);
}

static void heap_add(struct pending_queue *q, struct pending *p)
{
    if (q->nheap == q->cap) {
        q->cap = q->cap ? q->cap * 2 : 64;
        q->heap = xrealloc(q->heap, q->cap * sizeof *q->heap);
    }
    q->nheap++;
    up(q, q->nheap - 1, p);
}

static void heap_del(struct pending_queue *q, struct pending *p)
{
    size_t i = p->heap_at;
    struct pending *last = q->heap[--q->nheap];
    if (last == p)
        return;
    down(q, i, last);
    up(q, last->heap_at, last);
}

static void set_state(struct pending_queue *q, struct pending *p, enum pending_state to)
{
    if (p->state == PENDING_READY)
        heap_del(q, p);
    if (p->state == PENDING_BINDING)
        q->nbinding--;
    p->state = to;
    if (to == PENDING_READY)
        heap_add(q, p);
    if (to == PENDING_BINDING)
        q->nbinding++;
}

void pending_put(struct pending_queue *q, const struct obj *o, int64_t now)
{
    const struct pod_view *v = pod_view_of(o);
    struct pending *p = map_get(&q->all, o->uid);
    if (!p) {
        p = xcalloc(1, sizeof *p);
        *p = (struct pending){.since = now, .state = PENDING_SLEEPING};
        map_put(&q->all, o->uid, p);
    }
    const struct obj *old = p->o;
    p->o = obj_ref(o);
    p->uid = p->o->uid;
    if (p->state == PENDING_READY)
        heap_del(q, p), p->state = PENDING_SLEEPING; /* the priority may change */
    p->priority = v ? v->priority : 0;
    obj_unref(old);
    p->moved = true;
    if (p->state == PENDING_SLEEPING)
        set_state(q, p, p->until > now ? PENDING_BACKOFF : PENDING_READY);
}

static void pending_free(void *arg)
{
    struct pending *p = arg;
    obj_unref(p->o);
    free(p);
}

void pending_drop(struct pending_queue *q, struct str uid)
{
    struct pending *p = map_del(&q->all, uid);
    if (!p)
        return;
    set_state(q, p, PENDING_SLEEPING);
    pending_free(p);
}

struct pending *pending_pop(struct pending_queue *q)
{
    struct pending *p = q->nheap ? q->heap[0] : NULL;
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

static bool looks_at_pods(const struct obj *o)
{
    return str_find(o->json, STR("\"podAffinity\"")) >= 0 || str_find(o->json, STR("\"podAntiAffinity\"")) >= 0 ||
        str_find(o->json, STR("\"topologySpreadConstraints\"")) >= 0;
}

void pending_move(struct pending_queue *q, int64_t now, bool near)
{
    map_for (&q->all, it) {
        struct pending *p = it->value;
        if (near && (p->state != PENDING_SLEEPING || !looks_at_pods(p->o)))
            continue;
        p->moved = true;
        if (p->state == PENDING_SLEEPING)
            set_state(q, p, p->until > now ? PENDING_BACKOFF : PENDING_READY);
    }
}

int64_t pending_due(const struct pending_queue *q)
{
    int64_t due = INT64_MAX;
    map_for (&q->all, it) {
        const struct pending *p = it->value;
        if (p->state == PENDING_BACKOFF)
            due = MIN(due, p->until);
    }
    return due;
}

void pending_wake(struct pending_queue *q, int64_t now)
{
    map_for (&q->all, it) {
        struct pending *p = it->value;
        if (p->state == PENDING_BACKOFF && p->until <= now)
            set_state(q, p, PENDING_READY);
    }
}

void pending_clear(struct pending_queue *q)
{
    map_clear(&q->all, pending_free);
    free(q->heap);
    *q = (struct pending_queue){0};
}
