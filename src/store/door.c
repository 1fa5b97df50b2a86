/* The door: who waits for a revision is let out when it is on disk, or told that it is lost. */
#include "store/inner.h"

int64_t store_find_gap(struct store *s, int64_t rev, int *result)
{
    for (size_t i = s->ngaps; i-- > 0;)
        if (rev > s->gaps[i].lo && rev <= s->gaps[i].hi) {
            *result = s->gaps[i].result;
            return s->gaps[i].hi;
        }
    return 0;
}

void store_add_gap(struct store *s, int64_t lo, int64_t hi, int result)
{
    if (hi <= lo)
        return;
    if (s->ngaps == GAPS_MAX) { /* the two oldest become one: what lies between them is long past and only means "expired" */
        s->gaps[1].lo = s->gaps[0].lo;
        memmove(s->gaps, s->gaps + 1, --s->ngaps * sizeof s->gaps[0]);
    }
    s->gaps[s->ngaps++] = (struct gap){lo, hi, result};
}

bool store_wait(struct store *s, int64_t rev, struct store_wait *w, struct loop *l, void (*fn)(struct store_wait *, int))
{
    int lost = 0;
    store_lock(&s->mu);
    bool gone = store_find_gap(s, rev, &lost) && lost;
    bool open = !gone && rev <= s->clear;
    if (!open) {
        w->fn = fn;
        w->loop = l;
        w->rev = rev;
        w->result = lost;
        w->on = true;
        list_init(&w->node);
        struct hub *h = hub_for(s, l);
        if (gone)
            hub_ready_wait(h, w);
        else
            list_push(&s->waits, &w->node);
    }
    store_unlock(&s->mu);
    return open;
}

void store_wait_cancel(struct store *s, struct store_wait *w)
{
    if (!w->on)
        return;
    store_lock(&s->mu);
    struct hub *h = hub_for(s, w->loop);
    store_lock(&h->mu);
    list_remove(&w->node);
    w->on = false;
    store_unlock(&h->mu);
    store_unlock(&s->mu);
}

int64_t store_durable(struct store *s)
{
    return s->durable;
}

static void let_out(struct store *s, int64_t from, int64_t upto, int result)
{
    struct store_wait *w;
    list_for (&s->waits, w, node)
        if (w->rev > from && w->rev <= upto) {
            w->result = result;
            hub_ready_wait(hub_for(s, w->loop), w);
        }
}

void door_open(struct store *s)
{
    let_out(s, INT64_MIN, s->clear, 0);
}

void door_fail(struct store *s, int64_t above, int result)
{
    let_out(s, above, INT64_MAX, result);
}
