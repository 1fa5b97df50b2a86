#include "json/index.h"
#include <stdlib.h>

/* Open addressing, at most half full. A deleted slot keeps this mark so that probes go on past it. */
static struct json gone;

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

static size_t slot_of(const struct index *x, struct str key, bool *found)
{
    size_t i = (size_t)str_hash(key) & x->mask, free_slot = SIZE_MAX;
    for (; x->slots[i]; i = (i + 1) & x->mask) {
        if (x->slots[i] == &gone) {
            if (free_slot == SIZE_MAX)
                free_slot = i;
        } else if (index_key_is(x->slots[i], key)) {
            *found = true;
            return i;
        }
    }
    *found = false;
    return free_slot == SIZE_MAX ? i : free_slot;
}

struct json *index_get(const struct index *x, struct str key)
{
    bool found;
    size_t i = slot_of(x, key, &found);
    return found ? x->slots[i] : NULL;
}

struct json *index_put(struct index *x, struct json *member)
{
    bool found;
    size_t i = slot_of(x, json_key(member), &found);
    struct json *old = found ? x->slots[i] : NULL;
    x->slots[i] = member;
    return old;
}

void index_del(struct index *x, struct str key)
{
    bool found;
    size_t i = slot_of(x, key, &found);
    if (found)
        x->slots[i] = &gone;
}

struct json *index_or_walk(const struct index *x, const struct json *obj, struct str key)
{
    return x->slots ? index_get(x, key) : json_get(obj, key);
}
