/* struct map: hash map from str to a pointer, chained, grows by itself; keys are copied. Hash is str_hash (keyed), so that hostile
 * keys cannot make it slow. Iteration order is not defined. Not thread-safe. Zero-initialised is empty and valid.
 */
#pragma once
#include "base/str.h"

struct map_entry {
    struct map_entry *next;
    uint64_t hash;
    void *value;
    size_t nkey;
    char key[];
};
struct map {
    struct map_entry **slots;
    size_t nslots, n;
};

void map_clear(struct map *m, void (*free_value)(void *)); /* free_value may be NULL */
void *map_get(const struct map *m, struct str key);        /* NULL when absent */
/* Returns the value that stood there before, or NULL. value must not be NULL. */
void *map_put(struct map *m, struct str key, void *value);
void *map_del(struct map *m, struct str key);              /* the removed value, or NULL */
static inline size_t map_count(const struct map *m) { return m->n; }
static inline struct str map_key(const struct map_entry *e) { return (struct str){e->key, e->nkey}; }
/* it = NULL starts; returns NULL at the end. The current entry may be deleted only after fetching the next one. */
struct map_entry *map_next(const struct map *m, struct map_entry *it);
#define map_for(m, it) for (struct map_entry *it = map_next((m), NULL), *it##_nx = it ? map_next((m), it) : NULL; it; \
                            it = it##_nx, it##_nx = it ? map_next((m), it) : NULL)
