#include <stdlib.h>

#include "cel/inner.h"

/* Kubernetes' lists library and the lists extension. */

#define ARGS struct cel_run *r, struct cel_value *v, size_t n
#define WANT(cond, name)                                                                                                                   \
    if (!(cond))                                                                                                                           \
    return cel_no_overload(r, name, v, n)
#define LIST(i) (v[i].type == CEL_LIST)

static struct cel_value f_is_sorted(ARGS)
{
    size_t k;
    bool ok;
    WANT(LIST(0), "isSorted");
    const struct cel_value *x = cel_items(r, v[0], &k);
    for (size_t i = 1; i < k; i++) {
        if (!cel_spend(r, 1))
            return cel_over(r);
        if (cel_compare(x[i - 1], x[i], &ok) > 0)
            return cel_bool(false);
        WANT(ok, "isSorted");
    }
    return cel_bool(true);
}

static struct cel_value f_sum(ARGS)
{
    size_t k;
    WANT(LIST(0), "sum");
    const struct cel_value *x = cel_items(r, v[0], &k);
    struct cel_value s = k ? x[0] : cel_int(0);
    for (size_t i = 1; i < k; i++) {
        WANT(x[i].type == s.type && cel_spend(r, 1), "sum");
        bool over = false;
        if (s.type == CEL_INT || s.type == CEL_DURATION)
            over = __builtin_add_overflow(s.i, x[i].i, &s.i);
        else if (s.type == CEL_UINT)
            over = __builtin_add_overflow(s.u, x[i].u, &s.u);
        else if (s.type == CEL_DOUBLE)
            s.d += x[i].d;
        else
            return cel_no_overload(r, "sum", v, n);
        if (over)
            return cel_error(r, "integer overflow");
    }
    return s;
}

static struct cel_value extreme(ARGS, int sign)
{
    size_t k;
    bool ok;
    WANT(LIST(0), "min");
    const struct cel_value *x = cel_items(r, v[0], &k);
    if (!k)
        return cel_error(r, "%s called on empty list", sign < 0 ? "min" : "max");
    size_t best = 0;
    for (size_t i = 1; i < k; i++) {
        int c = cel_compare(x[i], x[best], &ok);
        WANT(ok && cel_spend(r, 1), "min");
        if (c * sign > 0)
            best = i;
    }
    return x[best];
}
static struct cel_value f_min(ARGS)
{
    return extreme(r, v, n, -1);
}
static struct cel_value f_max(ARGS)
{
    return extreme(r, v, n, 1);
}

static struct cel_value f_slice(ARGS)
{
    size_t k;
    WANT(LIST(0) && v[1].type == CEL_INT && v[2].type == CEL_INT, "slice");
    const struct cel_value *x = cel_items(r, v[0], &k);
    if (v[1].i < 0 || v[2].i < v[1].i || v[2].i > (int64_t)k)
        return cel_error(r, "cannot slice(%" PRId64 ", %" PRId64 "), list is length %zu", v[1].i, v[2].i, k);
    return cel_list(x + v[1].i, (size_t)(v[2].i - v[1].i));
}

static bool flatten(struct cel_run *r, struct cel_value list, int64_t depth, struct cel_value **out, size_t *n, size_t *cap)
{
    size_t k;
    const struct cel_value *x = cel_items(r, list, &k);
    for (size_t i = 0; i < k; i++) {
        if (!cel_spend(r, 1))
            return false;
        if (x[i].type == CEL_LIST && depth > 0) {
            if (!flatten(r, x[i], depth - 1, out, n, cap))
                return false;
            continue;
        }
        if (*n == *cap) {
            size_t grown = *cap ? *cap * 2 : 16;
            *out = pool_grow(r->pool, *out, *cap * sizeof **out, grown * sizeof **out);
            *cap = grown;
        }
        (*out)[(*n)++] = x[i];
    }
    return true;
}

static struct cel_value f_flatten(ARGS)
{
    struct cel_value *out = NULL;
    size_t count = 0, cap = 0;
    WANT(LIST(0) && (n < 2 || v[1].type == CEL_INT), "flatten");
    int64_t depth = n > 1 ? v[1].i : 1;
    if (depth < 0)
        return cel_error(r, "level must be non-negative");
    return flatten(r, v[0], MIN(depth, 64), &out, &count, &cap) ? cel_list(out, count) : cel_over(r);
}

static struct cel_value f_distinct(ARGS)
{
    size_t k, count = 0;
    WANT(LIST(0), "distinct");
    const struct cel_value *x = cel_items(r, v[0], &k);
    struct cel_value *out = pool_array(r->pool, struct cel_value, k + 1);
    for (size_t i = 0; i < k; i++) {
        bool had = false;
        for (size_t m = 0; m < count && !had; m++)
            had = cel_equal(r, out[m], x[i]);
        if (r->cost > r->budget)
            return cel_over(r);
        if (!had)
            out[count++] = x[i];
    }
    return cel_list(out, count);
}

static struct cel_value end_of(ARGS, bool last)
{
    size_t k;
    WANT(LIST(0), "first");
    const struct cel_value *x = cel_items(r, v[0], &k);
    return cel_opt(r, k ? &x[last ? k - 1 : 0] : NULL);
}
static struct cel_value f_first(ARGS)
{
    return end_of(r, v, n, false);
}
static struct cel_value f_last(ARGS)
{
    return end_of(r, v, n, true);
}

static int cmp(const void *a, const void *b)
{
    bool ok;
    return cel_compare(*(const struct cel_value *)a, *(const struct cel_value *)b, &ok);
}

static struct cel_value f_sort(ARGS)
{
    size_t k;
    bool ok;
    WANT(LIST(0), "sort");
    const struct cel_value *x = cel_items(r, v[0], &k);
    struct cel_value *out = pool_array(r->pool, struct cel_value, k + 1);
    for (size_t i = 0; i < k; i++) {
        (void)cel_compare(x[0], x[i], &ok);
        WANT(ok, "sort");
        out[i] = x[i];
    }
    if (!cel_spend(r, k * 10))
        return cel_over(r);
    qsort(out, k, sizeof *out, cmp);
    return cel_list(out, k);
}

static struct cel_value f_range(ARGS)
{
    WANT(v[0].type == CEL_INT, "lists.range");
    if (v[0].i < 0 || v[0].i > 1000000 || !cel_spend(r, (uint64_t)v[0].i))
        return cel_over(r);
    struct cel_value *out = pool_array(r->pool, struct cel_value, (size_t)v[0].i + 1);
    for (int64_t i = 0; i < v[0].i; i++)
        out[i] = cel_int(i);
    return cel_list(out, (size_t)v[0].i);
}

const struct cel_fn cel_lists[] = {
    {"isSorted", 1, 1, true, false, f_is_sorted},
    {"sum", 1, 1, true, false, f_sum},
    {"min", 1, 1, true, false, f_min},
    {"max", 1, 1, true, false, f_max},
    {"slice", 3, 3, true, false, f_slice},
    {"flatten", 1, 2, true, false, f_flatten},
    {"distinct", 1, 1, true, false, f_distinct},
    {"first", 1, 1, true, false, f_first},
    {"last", 1, 1, true, false, f_last},
    {"sort", 1, 1, true, false, f_sort},
    {"lists.range", 1, 1, false, true, f_range},
    {NULL, 0, 0, false, false, NULL},
};
