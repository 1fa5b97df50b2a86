/* A persistent ordered map as a path-copying B+ tree. Inside the room.
 *
 * Items are pointers and stand in leaves; an inner node keeps, for each kid, the kid's count and its first item, so no separator outlives
 * what it was taken from. Nodes are reference-counted; a node with one reference is reachable by one root only and is changed in place, any
 * other is copied first. So a root that somebody holds never changes, and a run of writes that nobody looks at copies nothing.
 *
 * Who changes a tree must be the only one who can reach its root at that moment (the store: under its publish lock). Holding and walking a
 * root needs no lock. A root of NULL is the empty map.
 */
#pragma once
#include "base/str.h"

#define TREE_FAN 24
#define TREE_DEPTH 48 /* more than any tree has: a node keeps at least two kids or is the only one of its parent */

struct store_res;
struct node;

/* A place in the order: the first `depth` parts are compared, in this order; then edge decides: -1 before all items with these parts, +1
 * behind them, 0 equal. Trees of objects use ns and name only. */
struct tkey {
    struct str index, key;
    const struct store_res *res;
    struct str ns, name;
    int depth, edge;
};
struct tree_type {
    int (*cmp)(const struct tkey *k, const void *item); /* as strcmp: k against item */
    void (*key)(const void *item, struct tkey *k);
    void (*ref)(const void *item);
    void (*unref)(const void *item);
};

struct node *node_ref(struct node *n);
void node_unref(const struct tree_type *t, struct node *n);

/* Both consume the reference to root and return a new one. put takes a reference to item; an equal one is replaced. */
struct node *tree_put(const struct tree_type *t, struct node *root, const void *item);
struct node *tree_del(const struct tree_type *t, struct node *root, const struct tkey *k);
const void *tree_get(const struct tree_type *t, const struct node *root, const struct tkey *k); /* borrowed */
size_t tree_count(const struct node *root);
size_t tree_rank(const struct tree_type *t, const struct node *root, const struct tkey *k); /* items before k */

struct tree_iter {
    const void *stack[TREE_DEPTH];
    uint16_t at[TREE_DEPTH];
    int depth;
};
void tree_seek(const struct tree_type *t, const struct node *root, const struct tkey *k, const void **stack, uint16_t *at, int *depth); /* k NULL: first */
const void *tree_next(const void **stack, uint16_t *at, int *depth);                                                                    /* NULL: end */
