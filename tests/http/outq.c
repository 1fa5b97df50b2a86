#include "harness.h"
#include <stdlib.h>
#include "http/outq.h"

TEST(outq_keeps_order_across_copies_and_references)
{
    struct outq q = {0};
    struct bytes *big = bytes_alloc(2000);
    char got[8000];
    memset(big->p, 'B', big->n);
    outq_copy(&q, "ab", 2);
    outq_copy(&q, "cd", 2);
    outq_bytes(&q, big, 500, 1000);
    outq_bytes(&q, big, 0, 3); /* small: joins the next copies */
    outq_copy(&q, "ef", 2);
    EQ(q.n, 1009);
    EQ(q.nseg, 3);
    bytes_unref(big); /* the queue holds its own */
    outq_drop(&q, 3);
    EQ(outq_take(&q, got, 2), 2);
    EQ_STR(str_make(got, 2), STR("dB"));
    EQ(outq_take(&q, got, sizeof got), 1004);
    EQ_STR(str_make(got + 999, 5), STR("BBBef"));
    EQ(q.n, 0);
    OK(!q.seg);
}

TEST(outq_grows_and_shrinks_over_many_pieces)
{
    struct outq q = {0};
    struct bytes *b = bytes_alloc(600);
    size_t in = 0, out = 0;
    char got[5000];
    memset(got, 0, sizeof got);
    for (int i = 0; i < 300; i++) {
        if (i % 3)
            outq_bytes(&q, b, 0, 600), in += 600;
        else
            outq_copy(&q, got, 4500), in += 4500;
        if (i % 2)
            out += outq_take(&q, got, 700);
        EQ(q.n, in - out);
    }
    struct iovec v[16];
    EQ(outq_iov(&q, v, 16), 16);
    outq_clear(&q);
    EQ(q.n, 0);
    bytes_unref(b);
}
