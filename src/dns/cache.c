/* Upstream's answers for as long as their TTLs say, bounded in bytes; what was used least recently goes first. */
#include "dns/impl.h"

#define TTL_MAX 3600
#define TTL_NEGATIVE 900
#define TTL_STALE 30
#define STALE_NS (24 * 3600 * NS_PER_S) /* RFC 8767 speaks of one to three days */

struct item {
    struct list lru;
    struct str key; /* behind the message */
    int64_t at, until;
    size_t n;
    char p[];
};
struct cache {
    struct map map;
    struct list lru;
    size_t bytes, max;
};

struct cache *cache_new(size_t max_bytes)
{
    struct cache *c = xcalloc(1, sizeof *c);
    list_init(&c->lru);
    c->max = max_bytes;
    return c;
}

static void drop(struct cache *c, struct item *i)
{
    list_remove(&i->lru);
    map_del(&c->map, i->key);
    c->bytes -= sizeof *i + i->n + i->key.n;
    free(i);
}

void cache_free(struct cache *c)
{
    struct item *i;
    if (!c)
        return;
    while ((i = list_first(&c->lru, struct item, lru)))
        drop(c, i);
    map_clear(&c->map, NULL);
    free(c);
}

/* How long it may be kept; -1: not at all. */
static int64_t lifetime(struct str msg)
{
    const uint8_t *p = (const uint8_t *)msg.p;
    int rcode = get16(p + 2) & 15;
    size_t at = 12, answers = get16(p + 6), authority = get16(p + 8);
    int64_t ttl = TTL_MAX;
    struct dns_rr rr;

    if ((get16(p + 2) & F_TC) || (rcode != RC_OK && rcode != RC_NXDOMAIN))
        return -1;
    if (!dns_skip_name(msg, &at) || (at += 4) > msg.n)
        return -1;
    for (size_t i = 0; i < answers + authority; i++) {
        if (!dns_rr_read(msg, &at, &rr))
            return -1;
        if (i < answers || rr.type == T_SOA)
            ttl = MIN(ttl, (int64_t)rr.ttl);
        if (i >= answers && rr.type == T_SOA && rr.nrdata >= 4) /* RFC 2308: the smaller of the TTL and the field minimum */
            ttl = MIN(ttl, (int64_t)get32(p + rr.end - 4));
    }
    if (answers == 0)
        return authority ? MIN(ttl, (int64_t)TTL_NEGATIVE) : -1;
    return ttl;
}

void cache_put(struct cache *c, struct str key, struct str msg, int64_t now)
{
    int64_t ttl = lifetime(msg);
    struct item *i, *old = map_get(&c->map, key);

    if (ttl <= 0 || msg.n > 16384)
        return;
    if (old)
        drop(c, old);
    i = xmalloc(sizeof *i + msg.n + key.n);
    memcpy(i->p, msg.p, msg.n);
    memcpy(i->p + msg.n, key.p, key.n);
    i->n = msg.n;
    i->key = (struct str){i->p + msg.n, key.n};
    i->at = now;
    i->until = now + ttl * NS_PER_S;
    map_put(&c->map, i->key, i);
    list_push(&c->lru, &i->lru);
    c->bytes += sizeof *i + i->n + key.n;
    while (c->bytes > c->max)
        drop(c, list_first(&c->lru, struct item, lru));
}

static void age(struct buf *b, uint32_t by, bool stale)
{
    struct str msg = buf_str(b);
    uint8_t *p = (uint8_t *)b->p;
    size_t at = 12, n = (size_t)get16(p + 6) + get16(p + 8) + get16(p + 10);
    struct dns_rr rr;

    if (!dns_skip_name(msg, &at))
        return;
    at += 4;
    for (size_t i = 0; i < n && dns_rr_read(msg, &at, &rr); i++)
        put32(p + rr.ttl_at, stale ? TTL_STALE : rr.ttl > by ? rr.ttl - by : 0);
}

bool cache_get(struct cache *c, struct str key, int64_t now, bool stale, struct buf *out)
{
    struct item *i = map_get(&c->map, key);

    if (!i || now > i->until + STALE_NS || (now >= i->until && !stale))
        return false;
    list_remove(&i->lru);
    list_push(&c->lru, &i->lru);
    buf_add(out, i->p, i->n);
    age(out, (uint32_t)((now - i->at) / NS_PER_S), now >= i->until);
    return true;
}
