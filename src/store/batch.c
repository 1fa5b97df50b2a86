/* What waits for the committer; see struct batch. */
#include "store/inner.h"

void batch_clear(struct batch *b)
{
    for (size_t i = 0; i < b->n; i++)
        event_unref(b->ev[i]);
    free(b->ev);
    *b = (struct batch){.first_hard = INT64_MAX};
}

void batch_pack(struct batch *b)
{
    size_t n = 0;
    for (size_t i = 0; i < b->n; i++)
        if (b->ev[i]) {
            thing_of(b->ev[i]->ev.obj)->slot = n;
            b->ev[n++] = b->ev[i];
        }
    b->n = n;
    b->gone = 0;
}

/* The entry that x, a soft update, can take the place of: a soft update of the same object, the last of it in the batch. */
static struct event **to_merge(struct batch *b, const struct event *x)
{
    const struct thing *old = x->ev.before ? thing_of(x->ev.before) : NULL;
    if (!x->soft || !old || x->ev.type != STORE_PUT || old->slot >= b->n)
        return NULL;
    struct event **at = &b->ev[old->slot];
    return *at && (*at)->ev.obj == &old->o && (*at)->soft && (*at)->ev.before && (*at)->ev.type == STORE_PUT ? at : NULL;
}

static void append(struct batch *b, struct event *x)
{
    if (b->n == b->cap && b->gone > b->n / 2)
        batch_pack(b);
    if (b->n == b->cap) {
        b->cap = b->cap ? b->cap * 2 : 64;
        b->ev = xrealloc(b->ev, b->cap * sizeof(struct event *));
    }
    thing_of(x->ev.obj)->slot = b->n;
    b->ev[b->n++] = x;
    b->bytes += x->cost;
}

void batch_add(struct store *s, struct event *x)
{
    struct batch *b = &s->batch;
    size_t bytes = b->bytes;
    struct event **old = to_merge(b, x);
    if (old) { /* from what was before both to what is now */
        struct event *both = event_new(STORE_PUT, x->res, x->ev.rev, x->ev.obj, (*old)->ev.before);
        both->soft = true;
        b->bytes -= (*old)->cost;
        event_unref(*old);
        *old = NULL;
        b->gone++;
        append(b, both);
    } else {
        append(b, event_ref(x));
        b->hard |= !x->soft;
        if (!x->soft)
            b->first_hard = MIN(b->first_hard, x->ev.rev);
        b->aging |= x->soft && (x->ev.type == STORE_DELETE || !x->ev.before);
    }
    s->pending_bytes += b->bytes - bytes;
    committer_kick(s);
}
