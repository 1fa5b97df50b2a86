#include "harness.h"
#include "base/bytes.h"
#include "base/pool.h"

static int order[4], norder;
static void note(void *arg)
{
    order[norder++] = *(int *)arg;
}

TEST(blocks_are_aligned_and_keep_their_contents)
{
    _cleanup_(pool_freep) struct pool *p = pool_new();
    char *at[500];
    for (size_t i = 0; i < ARRAY_LEN(at); i++) {
        size_t n = i * 7 % 3000 + 1;
        at[i] = pool_alloc(p, n);
        EQ((uintptr_t)at[i] % 16, 0);
        memset(at[i], (int)i, n);
    }
    for (size_t i = 0; i < ARRAY_LEN(at); i++) {
        EQ((unsigned char)at[i][0], i & 255);
        EQ((unsigned char)at[i][i * 7 % 3000], i & 255);
    }
}

TEST(a_large_block_does_not_waste_the_current_chunk)
{
    _cleanup_(pool_freep) struct pool *p = pool_new();
    pool_alloc(p, 10);
    size_t before = pool_size(p);
    pool_alloc(p, 100000);
    size_t with_large = pool_size(p);
    OK(with_large - before < 101000);
    for (int i = 0; i < 20; i++)
        pool_alloc(p, 10);
    EQ(pool_size(p), with_large);
}

TEST(growing_keeps_contents_in_place_or_moved)
{
    _cleanup_(pool_freep) struct pool *p = pool_new();
    char *x = NULL;
    size_t n = 0;
    for (int i = 0; i < 5000; i++) {
        x = pool_grow(p, x, n, n + 1);
        x[n++] = (char)i;
        if (i % 100 == 0)
            pool_alloc(p, 1);
    }
    for (int i = 0; i < 5000; i++)
        EQ(x[i], (char)i);
}

TEST(ends_run_newest_first_and_references_are_dropped)
{
    struct pool *p = pool_new();
    int one = 1, two = 2;
    struct bytes *b = bytes_new("x", 1);
    pool_on_free(p, note, &one);
    pool_on_free(p, note, &two);
    pool_hold(p, bytes_ref(b));
    norder = 0;
    pool_reset(p);
    EQ(norder, 2);
    EQ(order[0], 2);
    EQ(order[1], 1);
    EQ(b->refs, 1);
    EQ_STR(pool_printf(p, "%s-%d", "again", 5), STR("again-5"));
    OK(!pool_str(p, STR_NULL).p);
    OK(pool_str(p, STR("")).p != NULL);
    pool_free(p);
    bytes_unref(b);
}
