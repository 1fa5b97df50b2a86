/* Lists that are asked for again while nothing of their resource changed: the items' bytes are gathered once, and compressed once. What stands around them
 * (resourceVersion and the like) is made for each reply.
 *
 * A list is remembered at its second asking, since most are asked for once; the first leaves only its name here. Entries go when their resource changes (seen when they
 * are asked for), when they were not asked for in half a minute, and when the whole is over LIST_CACHE_BYTES, the longest unused first. An idle server holds none.
 * Any thread.
 */
#pragma once
#include "base/bytes.h"

#define LIST_CACHE_BYTES ((size_t)8 << 20)

struct list_items { /* immutable once made, but for packed, which appears once */
    _Atomic uint32_t refs;
    struct bytes *json;           /* of the items, comma-separated */
    struct bytes *packed;         /* the same as http_pack makes it; NULL: not yet */
    uint32_t crc;
    int64_t n, left;              /* how many, and how many come after them (-1: unknown) */
    bool more;
    char *last_ns, *last_name;    /* where the next page begins */
};
void list_items_unref(struct list_items *i);

struct list_cache;
struct list_cache *list_cache_new(void);
void list_cache_free(struct list_cache *c);
/* key names the list, `state` what its resource was at: the newest revision of any of its objects' changes. A reference, or NULL; then *wanted says whether it pays to
 * hand it in once it is made. now: monotonic, ns. */
struct list_items *list_cache_find(struct list_cache *c, struct str key, int64_t state, int64_t now, bool *wanted);
/* Takes json; the strings are copied. Gives a reference. */
struct list_items *list_cache_add(struct list_cache *c, struct str key, int64_t state, const struct list_items *made);
/* A reference to the items compressed, made now if nobody did before; NULL: not worth it. */
struct bytes *list_cache_pack(struct list_cache *c, struct list_items *i, uint32_t *crc);
void list_cache_expire(struct list_cache *c, int64_t now);
