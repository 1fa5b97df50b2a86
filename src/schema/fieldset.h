/* Sets of field paths (structured-merge-diff's fieldpath.Set): what a manager owns. A trie in a pool; children are sorted by their
 * element's text, which is the form of FieldsV1: f:name, k:{"key":"value"}, v:value, i:index. Elements of one path name a member of the set
 * when "member" is set. Operations return new sets that share nodes with their operands; sets are never changed once built, except through
 * fieldset_insert by their maker.
 */
#pragma once
#include "base/pool.h"
#include "json/json.h"

struct fieldset {
    struct fieldset_item *items;
    uint32_t n, cap;
};
struct fieldset_item {
    struct str name;
    bool member;
    struct fieldset *child;
};

/* From and to FieldsV1. ERR_BAD_REQUEST on what is not one; at most 64 levels. */
int fieldset_parse(struct pool *p, const struct json *v1, struct fieldset **out, struct err **e) _must_check_;
struct json *fieldset_json(struct pool *p, const struct fieldset *s);

struct fieldset_item *fieldset_item(struct pool *p, struct fieldset *s, struct str name); /* found or made */
const struct fieldset_item *fieldset_find(const struct fieldset *s, struct str name);
struct fieldset *fieldset_under(struct pool *p, struct fieldset_item *i); /* its child, made when absent */
struct fieldset *fieldset_copy(struct pool *p, const struct fieldset *s);    /* its own items; what is below them is shared */
bool fieldset_empty(const struct fieldset *s);
bool fieldset_equal(const struct fieldset *a, const struct fieldset *b);
struct fieldset *fieldset_union(struct pool *p, const struct fieldset *a, const struct fieldset *b);
struct fieldset *fieldset_intersect(struct pool *p, const struct fieldset *a, const struct fieldset *b);
struct fieldset *fieldset_difference(struct pool *p, const struct fieldset *a, const struct fieldset *b);
/* a without the paths of b and everything below them. */
struct fieldset *fieldset_prune(struct pool *p, const struct fieldset *a, const struct fieldset *b);
/* Calls fn for every member with its path as people read it: .spec.containers[name="x"].image */
void fieldset_each(const struct fieldset *s, void (*fn)(void *arg, struct str path), void *arg);
