/* The newest events of one resource, bounded in bytes and age. The bytes count both states of each event, although most states stand in two
 * events, so encodings that watchers leave behind are paid for, too. */
#include "store/inner.h"

#define KEEP 4 /* however large they are, so that a watcher of large objects does not fall off at each change */

static struct event **at(const struct ring *g, size_t i)
{
    return &g->slot[(g->head + i) & (g->cap - 1)];
}

void ring_add(struct ring *g, struct event *x)
{
    if (g->n == g->cap) {
        size_t cap = g->cap ? g->cap * 2 : 16;
        struct event **slot = xmalloc(cap * sizeof *slot);
        for (size_t i = 0; i < g->n; i++)
            slot[i] = *at(g, i);
        free(g->slot);
        g->slot = slot;
        g->cap = cap;
        g->head = 0;
    }
    g->n++;
    *at(g, g->n - 1) = x;
    g->bytes += x->cost;
    g->last = x->ev.rev;
}

void ring_trim(struct ring *g, int64_t upto, int64_t oldest_at)
{
    while (g->n) {
        struct event *x = *at(g, 0);
        if (x->ev.rev > upto || ((g->bytes <= g->max_bytes || g->n <= KEEP) && x->at >= oldest_at))
            break;
        g->floor = x->ev.rev;
        g->bytes -= x->cost;
        g->head = (g->head + 1) & (g->cap - 1);
        g->n--;
        event_unref(x);
    }
    if (!g->n && g->cap > 16) { /* give a burst's slots back */
        free(g->slot);
        g->slot = NULL;
        g->cap = g->head = 0;
    }
}

void ring_cut(struct ring *g, int64_t above)
{
    while (g->n && (*at(g, g->n - 1))->ev.rev > above) {
        struct event *x = *at(g, g->n - 1);
        g->bytes -= x->cost;
        g->n--;
        event_unref(x);
    }
    if (g->last > above)
        g->last = g->n ? (*at(g, g->n - 1))->ev.rev : g->floor;
}

struct event *ring_after(const struct ring *g, int64_t rev)
{
    if (!g->n || g->last <= rev)
        return NULL;
    size_t lo = 0, hi = g->n;
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        if ((*at(g, mid))->ev.rev <= rev)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo < g->n ? *at(g, lo) : NULL;
}

void ring_clear(struct ring *g)
{
    for (size_t i = 0; i < g->n; i++)
        event_unref(*at(g, i));
    free(g->slot);
    *g = (struct ring){0};
}
