#include "base/bytes.h"
#include <stdatomic.h>

struct bytes *bytes_alloc(size_t n)
{
    if (n >= SIZE_MAX - sizeof(struct bytes) - 1)
        n = SIZE_MAX / 2; /* cannot be had: xmalloc ends the process */
    struct bytes *b = xmalloc(sizeof *b + n + 1);
    atomic_init(&b->refs, 1);
    b->flags = 0;
    b->n = n;
    b->p[n] = 0;
    return b;
}

struct bytes *bytes_new(const void *p, size_t n)
{
    struct bytes *b = bytes_alloc(n);
    if (n)
        memcpy(b->p, p, n);
    return b;
}

struct bytes *bytes_ref(struct bytes *b)
{
    if (b)
        atomic_fetch_add_explicit(&b->refs, 1, memory_order_relaxed);
    return b;
}

void bytes_unref(struct bytes *b)
{
    if (b && atomic_fetch_sub_explicit(&b->refs, 1, memory_order_acq_rel) == 1)
        free(b);
}
