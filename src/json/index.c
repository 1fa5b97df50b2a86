#include "json/index.h"
#include <stdlib.h>

/* Open addressing, at most half full; nothing is ever taken out. */

void index_clear(struct index *x)
{
    free(x->slots);
    *x = INDEX_NONE;
}

void index_build(struct index *x, const struct json *obj, size_t extra)
{
    size_t want = (json_count(obj) + extra) * 2 + 1, size = 64;
    while (size < want)
        size *= 2;
    x->slots = xcalloc(size, sizeof *x->slots);
    x->mask = size - 1;
    json_for (obj, m)
        index_put(x, m);
}

static size_t slot_of(const struct index *x, struct str key)
{
    size_t i = (size_t)str_hash(key) & x->mask;
    while (x->slots[i] && !index_key_is(x->slots[i], key))
        i = (i + 1) & x->mask;
    return i;
}

struct json *index_get(const struct index *x, struct str key)
{
    return x->slots[slot_of(x, key)];
}

struct json *index_put(struct index *x, struct json *member)
{
    size_t i = slot_of(x, json_key(member));
    struct json *old = x->slots[i];
    x->slots[i] = member;
    return old;
}

struct json *index_or_walk(const struct index *x, const struct json *obj, struct str key)
{
    return x->slots ? index_get(x, key) : json_get(obj, key);
}
