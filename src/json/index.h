/* A hash table over the members of one object, for the places where looking each of many keys up in turn would be quadratic. Inside the
 * room. */
#pragma once
#include "json/json.h"

#define INDEX_WORTH 16 /* below this many members a walk is faster */

struct index {
    struct json **slots;
    size_t mask;
};
#define INDEX_NONE ((struct index){NULL, 0})

void index_clear(struct index *x);
void index_build(struct index *x, const struct json *obj, size_t extra); /* room for extra more */
struct json *index_get(const struct index *x, struct str key);
/* The member that stood there under the same key, or NULL. */
struct json *index_put(struct index *x, struct json *member);
/* Looks in the index when there is one, otherwise walks obj. */
struct json *index_or_walk(const struct index *x, const struct json *obj, struct str key);

static inline bool index_key_is(const struct json *j, struct str key)
{
    return j->keyn == key.n && (key.n == 0 || memcmp(j->keyp, key.p, key.n) == 0);
}
