#include "base/map.h"

static struct map_entry **find(const struct map *m, struct str key, uint64_t hash)
{
    struct map_entry **at = &m->slots[hash & (m->nslots - 1)];
    while (*at && !((*at)->hash == hash && str_eq(map_key(*at), key)))
        at = &(*at)->next;
    return at;
}

void map_clear(struct map *m, void (*free_value)(void *))
{
    for (size_t i = 0; i < m->nslots; i++)
        for (struct map_entry *e = m->slots[i], *next; e; e = next) {
            next = e->next;
            if (free_value)
                free_value(e->value);
            free(e);
        }
    free(m->slots);
    *m = (struct map){0};
}

void *map_get(const struct map *m, struct str key)
{
    if (!m->n)
        return NULL;
    struct map_entry *e = *find(m, key, str_hash(key));
    return e ? e->value : NULL;
}

static void grow(struct map *m)
{
    size_t nslots = m->nslots ? m->nslots * 2 : 8;
    struct map_entry **slots = xcalloc(nslots, sizeof *slots);
    for (size_t i = 0; i < m->nslots; i++)
        for (struct map_entry *e = m->slots[i], *next; e; e = next) {
            next = e->next;
            e->next = slots[e->hash & (nslots - 1)];
            slots[e->hash & (nslots - 1)] = e;
        }
    free(m->slots);
    m->slots = slots;
    m->nslots = nslots;
}

void *map_put(struct map *m, struct str key, void *value)
{
    uint64_t hash = str_hash(key);
    if (m->n >= m->nslots)
        grow(m);
    struct map_entry **at = find(m, key, hash), *e = *at;
    if (e) {
        void *old = e->value;
        e->value = value;
        return old;
    }
    e = xmalloc(sizeof *e + key.n + 1);
    *e = (struct map_entry){.hash = hash, .value = value, .nkey = key.n};
    if (key.n)
        memcpy(e->key, key.p, key.n);
    e->key[key.n] = 0;
    *at = e;
    m->n++;
    return NULL;
}

void *map_del(struct map *m, struct str key)
{
    if (!m->n)
        return NULL;
    struct map_entry **at = find(m, key, str_hash(key)), *e = *at;
    if (!e)
        return NULL;
    void *value = e->value;
    *at = e->next;
    free(e);
    m->n--;
    return value;
}

struct map_entry *map_next(const struct map *m, struct map_entry *it)
{
    if (it && it->next)
        return it->next;
    for (size_t i = it ? (it->hash & (m->nslots - 1)) + 1 : 0; i < m->nslots; i++)
        if (m->slots[i])
            return m->slots[i];
    return NULL;
}
