#include "api/list_cache.h"
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include "api/impl.h"

#define ENTRIES 32
#define KEY_MAX 512
#define UNUSED_NS (30 * NS_PER_S)

struct entry {
    char *key; /* NULL: free */
    size_t keyn;
    int64_t state, used;
    struct list_items *items; /* NULL: asked for once */
};
struct list_cache {
    pthread_mutex_t lock;
    struct entry at[ENTRIES];
    size_t bytes;
};

void list_items_unref(struct list_items *i)
{
    if (!i || atomic_fetch_sub_explicit(&i->refs, 1, memory_order_acq_rel) != 1)
        return;
    bytes_unref(i->json);
    bytes_unref(i->packed);
    free(i->last_ns);
    free(i->last_name);
    free(i);
}

static size_t cost(const struct list_items *i)
{
    return i ? i->json->n + (i->packed ? i->packed->n : 0) : 0;
}

struct list_cache *list_cache_new(void)
{
    struct list_cache *c = xcalloc(1, sizeof *c);
    pthread_mutex_init(&c->lock, NULL);
    return c;
}

/* ---- under the lock ---- */

static void drop_items(struct list_cache *c, struct entry *e)
{
    c->bytes -= cost(e->items);
    list_items_unref(TAKE(e->items));
}

static void drop(struct list_cache *c, struct entry *e)
{
    drop_items(c, e);
    free(TAKE(e->key));
}

static struct entry *find(struct list_cache *c, struct str key)
{
    for (size_t i = 0; i < ENTRIES; i++)
        if (c->at[i].key && c->at[i].keyn == key.n && memcmp(c->at[i].key, key.p, key.n) == 0)
            return &c->at[i];
    return NULL;
}

/* A free place, or the one that was not used for longest. */
static struct entry *place(struct list_cache *c)
{
    struct entry *old = &c->at[0];
    for (size_t i = 0; i < ENTRIES; i++) {
        if (!c->at[i].key)
            return &c->at[i];
        if (c->at[i].used < old->used)
            old = &c->at[i];
    }
    drop(c, old);
    return old;
}

static void shrink(struct list_cache *c, const struct entry *keep)
{
    while (c->bytes > LIST_CACHE_BYTES) {
        struct entry *old = NULL;
        for (size_t i = 0; i < ENTRIES; i++)
            if (c->at[i].items && &c->at[i] != keep && (!old || c->at[i].used < old->used))
                old = &c->at[i];
        if (!old)
            return;
        drop(c, old);
    }
}

/* ---- */

void list_cache_free(struct list_cache *c)
{
    if (!c)
        return;
    for (size_t i = 0; i < ENTRIES; i++)
        drop(c, &c->at[i]);
    pthread_mutex_destroy(&c->lock);
    free(c);
}

struct list_items *list_cache_find(struct list_cache *c, struct str key, int64_t state, int64_t now, bool *wanted)
{
    struct list_items *found = NULL;
    *wanted = false;
    if (key.n > KEY_MAX)
        return NULL;
    pthread_mutex_lock(&c->lock);
    struct entry *e = find(c, key);
    if (!e) {
        e = place(c);
        e->key = memcpy(xmalloc(key.n), key.p, key.n);
        e->keyn = key.n;
        e->state = state;
    } else if (e->state != state) {
        drop_items(c, e);
        e->state = state;
    } else if (e->items) {
        found = e->items;
        atomic_fetch_add_explicit(&found->refs, 1, memory_order_relaxed);
    } else {
        *wanted = true;
    }
    e->used = now;
    pthread_mutex_unlock(&c->lock);
    return found;
}

struct list_items *list_cache_add(struct list_cache *c, struct str key, int64_t state, const struct list_items *made)
{
    struct list_items *i = xmalloc(sizeof *i);
    *i = *made;
    i->last_ns = made->last_ns ? xstrdup(made->last_ns) : NULL;
    i->last_name = made->last_name ? xstrdup(made->last_name) : NULL;
    atomic_init(&i->refs, 1);
    if (i->json->n > LIST_CACHE_BYTES / 2)
        return i;
    pthread_mutex_lock(&c->lock);
    struct entry *e = find(c, key);
    if (e && e->state == state && !e->items) {
        atomic_fetch_add_explicit(&i->refs, 1, memory_order_relaxed);
        e->items = i;
        c->bytes += cost(i);
        shrink(c, e);
    }
    pthread_mutex_unlock(&c->lock);
    return i;
}

struct bytes *list_cache_pack(struct list_cache *c, struct list_items *i, uint32_t *crc)
{
    pthread_mutex_lock(&c->lock);
    struct bytes *b = bytes_ref(i->packed);
    *crc = i->crc;
    pthread_mutex_unlock(&c->lock);
    if (b)
        return b;
    b = http_pack(bytes_str(i->json), crc);
    if (!b)
        return NULL;
    pthread_mutex_lock(&c->lock);
    if (!i->packed) {
        i->packed = bytes_ref(b);
        i->crc = *crc;
        for (size_t k = 0; k < ENTRIES; k++) /* if it is still here, it became dearer */
            if (c->at[k].items == i)
                c->bytes += b->n;
    }
    pthread_mutex_unlock(&c->lock);
    return b;
}

void list_cache_expire(struct list_cache *c, int64_t now)
{
    pthread_mutex_lock(&c->lock);
    for (size_t i = 0; i < ENTRIES; i++)
        if (c->at[i].key && now - c->at[i].used > UNUSED_NS)
            drop(c, &c->at[i]);
    pthread_mutex_unlock(&c->lock);
}
