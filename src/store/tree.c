#include "store/tree.h"
#include <stdatomic.h>

struct node {
    _Atomic uint32_t refs;
    uint16_t n;
    uint16_t level;             /* 0: leaf */
    uint32_t count;             /* items below */
    const void *item[TREE_FAN]; /* of an inner node: each kid's first */
    struct node *kid[];         /* TREE_FAN of them in an inner node, none in a leaf */
};

static struct node *node_new(unsigned level)
{
    struct node *n = xmalloc(sizeof *n + (level ? TREE_FAN * sizeof n->kid[0] : 0));
    atomic_init(&n->refs, 1);
    n->n = 0;
    n->level = (uint16_t)level;
    n->count = 0;
    return n;
}

struct node *node_ref(struct node *n)
{
    if (n)
        atomic_fetch_add_explicit(&n->refs, 1, memory_order_relaxed);
    return n;
}

void node_unref(const struct tree_type *t, struct node *n)
{
    if (!n || atomic_fetch_sub_explicit(&n->refs, 1, memory_order_acq_rel) != 1)
        return;
    for (unsigned i = 0; i < n->n; i++)
        if (n->level)
            node_unref(t, n->kid[i]);
        else
            t->unref(n->item[i]);
    free(n);
}

/* The node itself when nobody else can reach it, else a copy that takes its place. */
static struct node *own(const struct tree_type *t, struct node *n)
{
    if (atomic_load_explicit(&n->refs, memory_order_acquire) == 1)
        return n;
    struct node *c = node_new(n->level);
    c->n = n->n;
    c->count = n->count;
    memcpy(c->item, n->item, n->n * sizeof n->item[0]);
    if (n->level)
        memcpy(c->kid, n->kid, n->n * sizeof n->kid[0]);
    for (unsigned i = 0; i < n->n; i++)
        if (n->level)
            node_ref(n->kid[i]);
        else
            t->ref(n->item[i]);
    node_unref(t, n);
    return c;
}

/* The number of entries of n that sort before k, or (with through) not behind it. */
static unsigned lower(const struct tree_type *t, const struct node *n, const struct tkey *k, bool through)
{
    unsigned lo = 0, hi = n->n;
    while (lo < hi) {
        unsigned mid = (lo + hi) / 2;
        int c = t->cmp(k, n->item[mid]);
        if (c > 0 || (through && c == 0))
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

/* The kid that k belongs into: the last whose first item is not behind k. */
static unsigned kid_for(const struct tree_type *t, const struct node *n, const struct tkey *k)
{
    unsigned i = lower(t, n, k, true);
    return i ? i - 1 : 0;
}

static void insert_at(struct node *n, unsigned at, const void *item, struct node *kid)
{
    memmove(n->item + at + 1, n->item + at, (n->n - at) * sizeof n->item[0]);
    n->item[at] = item;
    if (n->level) {
        memmove(n->kid + at + 1, n->kid + at, (n->n - at) * sizeof n->kid[0]);
        n->kid[at] = kid;
    }
    n->n++;
}

static void remove_at(struct node *n, unsigned at)
{
    memmove(n->item + at, n->item + at + 1, (n->n - at - 1) * sizeof n->item[0]);
    if (n->level)
        memmove(n->kid + at, n->kid + at + 1, (n->n - at - 1) * sizeof n->kid[0]);
    n->n--;
}

static void recount(struct node *n)
{
    uint32_t c = n->n;
    if (n->level) {
        c = 0;
        for (unsigned i = 0; i < n->n; i++)
            c += n->kid[i]->count;
    }
    n->count = c;
}

/* Moves the upper part of a full node into a new one. Items that arrive in order fill nodes well when the cut is far to the right. */
static struct node *split(struct node *n, unsigned at)
{
    struct node *r = node_new(n->level);
    unsigned keep = at >= TREE_FAN - 1 ? TREE_FAN - 2 : TREE_FAN / 2;
    r->n = (uint16_t)(n->n - keep);
    memcpy(r->item, n->item + keep, r->n * sizeof r->item[0]);
    if (n->level)
        memcpy(r->kid, n->kid + keep, r->n * sizeof r->kid[0]);
    n->n = (uint16_t)keep;
    recount(r);
    recount(n);
    return r;
}

static struct node *put(const struct tree_type *t, struct node *n, const struct tkey *k, const void *item, struct node **right)
{
    n = own(t, n);
    unsigned at;
    if (!n->level) {
        at = lower(t, n, k, false);
        if (at < n->n && t->cmp(k, n->item[at]) == 0) {
            const void *old = n->item[at];
            n->item[at] = item;
            t->unref(old);
            return n;
        }
        insert_at(n, at, item, NULL);
        n->count++;
    } else {
        at = kid_for(t, n, k);
        struct node *r = NULL;
        uint32_t before = n->kid[at]->count;
        n->kid[at] = put(t, n->kid[at], k, item, &r);
        n->item[at] = n->kid[at]->item[0];
        n->count += n->kid[at]->count - before + (r ? r->count : 0);
        if (r)
            insert_at(n, ++at, r->item[0], r);
    }
    if (n->n == TREE_FAN)
        *right = split(n, at);
    return n;
}

struct node *tree_put(const struct tree_type *t, struct node *root, const void *item)
{
    struct tkey k;
    t->key(item, &k);
    t->ref(item);
    struct node *right = NULL;
    root = put(t, root ? root : node_new(0), &k, item, &right);
    if (!right)
        return root;
    struct node *top = node_new(root->level + 1u);
    insert_at(top, 0, root->item[0], root);
    insert_at(top, 1, right->item[0], right);
    recount(top);
    return top;
}

/* Joins kids at and at+1 of n when both fit into one with room to spare. */
static void join(const struct tree_type *t, struct node *n, unsigned at)
{
    struct node *a = n->kid[at], *b = n->kid[at + 1];
    if (a->n + b->n > TREE_FAN * 3 / 4)
        return;
    a = n->kid[at] = own(t, a);
    b = own(t, b);
    memcpy(a->item + a->n, b->item, b->n * sizeof b->item[0]);
    if (a->level)
        memcpy(a->kid + a->n, b->kid, b->n * sizeof b->kid[0]);
    a->n = (uint16_t)(a->n + b->n);
    a->count += b->count;
    free(b); /* its references moved */
    remove_at(n, at + 1);
}

static struct node *del(const struct tree_type *t, struct node *n, const struct tkey *k)
{
    n = own(t, n);
    n->count--;
    if (!n->level) {
        unsigned at = lower(t, n, k, false);
        const void *old = n->item[at];
        remove_at(n, at);
        t->unref(old);
        return n;
    }
    unsigned at = kid_for(t, n, k);
    struct node *kid = n->kid[at] = del(t, n->kid[at], k);
    if (!kid->n) {
        node_unref(t, kid);
        remove_at(n, at);
        return n;
    }
    n->item[at] = kid->item[0];
    if (kid->n < TREE_FAN / 3 && n->n > 1)
        join(t, n, at ? at - 1 : at);
    return n;
}

struct node *tree_del(const struct tree_type *t, struct node *root, const struct tkey *k)
{
    if (!tree_get(t, root, k))
        return root;
    root = del(t, root, k);
    while (root->level && root->n == 1) {
        struct node *kid = node_ref(root->kid[0]);
        node_unref(t, root);
        root = kid;
    }
    if (root->n)
        return root;
    node_unref(t, root);
    return NULL;
}

const void *tree_get(const struct tree_type *t, const struct node *n, const struct tkey *k)
{
    if (!n)
        return NULL;
    while (n->level)
        n = n->kid[kid_for(t, n, k)];
    unsigned at = lower(t, n, k, false);
    return at < n->n && t->cmp(k, n->item[at]) == 0 ? n->item[at] : NULL;
}

size_t tree_count(const struct node *root)
{
    return root ? root->count : 0;
}

size_t tree_rank(const struct tree_type *t, const struct node *n, const struct tkey *k)
{
    size_t rank = 0;
    if (!n)
        return 0;
    while (n->level) {
        unsigned at = kid_for(t, n, k);
        for (unsigned i = 0; i < at; i++)
            rank += n->kid[i]->count;
        n = n->kid[at];
    }
    return rank + lower(t, n, k, false);
}

void tree_seek(const struct tree_type *t, const struct node *n, const struct tkey *k, const void **stack, uint16_t *at, int *depth)
{
    *depth = 0;
    while (n) {
        unsigned i = 0;
        if (k)
            i = n->level ? kid_for(t, n, k) : lower(t, n, k, false);
        stack[*depth] = n;
        at[(*depth)++] = (uint16_t)i;
        n = n->level ? n->kid[i] : NULL;
    }
}

const void *tree_next(const void **stack, uint16_t *at, int *depth)
{
    while (*depth) {
        const struct node *n = stack[*depth - 1];
        uint16_t *i = &at[*depth - 1];
        if (*i >= n->n) {
            if (--*depth)
                at[*depth - 1]++;
            continue;
        }
        if (!n->level)
            return n->item[(*i)++];
        stack[*depth] = n->kid[*i];
        at[(*depth)++] = 0;
    }
    return NULL;
}
