#include "http/outq.h"
#include <stdlib.h>
#include "http/stream.h"

#define CHUNK 4000 /* of coalesced copies */
#define SMALL 512  /* bytes below this are cheaper copied than referenced */

void outq_clear(struct outq *q)
{
    for (size_t i = 0; i < q->nseg; i++)
        bytes_unref(q->seg[q->head + i].b);
    free(q->seg);
    *q = (struct outq){0};
}

static struct outseg *push(struct outq *q)
{
    if (q->head + q->nseg == q->cap) {
        if (q->head > q->cap / 2) {
            memmove(q->seg, q->seg + q->head, q->nseg * sizeof *q->seg);
            q->head = 0;
        } else {
            q->cap = q->cap ? q->cap * 2 : 4;
            q->seg = xrealloc(q->seg, q->cap * sizeof *q->seg);
        }
    }
    return &q->seg[q->head + q->nseg++];
}

void outq_copy(struct outq *q, const void *p, size_t n)
{
    const char *c = p;
    if (!n)
        return;
    q->n += n;
    if (q->room) {
        struct outseg *last = &q->seg[q->head + q->nseg - 1];
        size_t k = MIN(n, q->room);
        memcpy(last->b->p + last->from + last->n, c, k);
        last->n += k;
        q->room -= k;
        c += k;
        n -= k;
    }
    if (!n)
        return;
    size_t cap = MAX(n, (size_t)CHUNK);
    struct bytes *b = bytes_alloc(cap);
    memcpy(b->p, c, n);
    *push(q) = (struct outseg){b, 0, n};
    q->room = cap - n;
}

void outq_bytes(struct outq *q, struct bytes *b, size_t from, size_t n)
{
    if (!n)
        return;
    if (n <= SMALL) {
        outq_copy(q, b->p + from, n);
        return;
    }
    q->room = 0;
    q->n += n;
    *push(q) = (struct outseg){bytes_ref(b), from, n};
}

size_t outq_iov(const struct outq *q, struct iovec *v, size_t max)
{
    size_t k = MIN(max, q->nseg);
    for (size_t i = 0; i < k; i++) {
        const struct outseg *s = &q->seg[q->head + i];
        v[i] = (struct iovec){s->b->p + s->from, s->n};
    }
    return k;
}

void outq_drop(struct outq *q, size_t n)
{
    n = MIN(n, q->n);
    q->n -= n;
    while (n) {
        struct outseg *s = &q->seg[q->head];
        if (n < s->n) {
            s->from += n;
            s->n -= n;
            return;
        }
        n -= s->n;
        bytes_unref(s->b);
        q->head++;
        q->nseg--;
    }
    if (!q->nseg)
        outq_clear(q); /* an idle connection holds nothing */
}

struct str outq_peek(const struct outq *q)
{
    if (!q->nseg)
        return STR_NULL;
    const struct outseg *s = &q->seg[q->head];
    return str_make(s->b->p + s->from, s->n);
}

size_t outq_take(struct outq *q, void *out, size_t max)
{
    size_t done = 0;
    while (done < max && q->nseg) {
        struct str s = outq_peek(q);
        size_t k = MIN(s.n, max - done);
        memcpy((char *)out + done, s.p, k);
        outq_drop(q, k);
        done += k;
    }
    return done;
}

void outq_to_stream(struct outq *q, struct stream *s, size_t n)
{
    while (n && q->nseg) {
        struct outseg *g = &q->seg[q->head];
        size_t k = MIN(g->n, n);
        stream_write_bytes(s, g->b, g->from, k);
        outq_drop(q, k);
        n -= k;
    }
}
