#include "base/pool.h"
#include "base/buf.h"
#include "base/bytes.h"

/* Chunks grow from 2 KiB to 64 KiB; a block larger than a quarter of the next chunk gets one of its own, so that little is wasted.
 * Under ASan what is not handed out is poisoned: a write past a block's end is found although malloc sees only chunks. */
#ifdef __has_feature
#if __has_feature(address_sanitizer) && !defined(__SANITIZE_ADDRESS__)
#define __SANITIZE_ADDRESS__ 1
#endif
#endif
#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#define POISON(p, n) ASAN_POISON_MEMORY_REGION(p, n)
#define UNPOISON(p, n) ASAN_UNPOISON_MEMORY_REGION(p, n)
#define GAP 16 /* a poisoned strip behind each block */
#else
#define POISON(p, n) ((void)0)
#define UNPOISON(p, n) ((void)0)
#define GAP 0
#endif

#define FIRST_CHUNK 2048
#define LAST_CHUNK 65536
#define ALIGN 16

struct chunk {
    struct chunk *next;
    size_t size, used; /* of data */
    _Alignas(ALIGN) char data[];
};

struct on_free {
    struct on_free *next;
    void (*fn)(void *);
    void *arg;
};

struct pool {
    struct chunk *now, *first; /* the one being filled, at the head of the list; the one that pool_reset keeps */
    struct on_free *ends; /* newest first */
    char *newest;        /* the last block handed out: pool_grow may stretch it */
    size_t total, next_size;
};

static inline size_t align(size_t n)
{
    return (n + ALIGN - 1) & ~(size_t)(ALIGN - 1);
}

static struct chunk *chunk_new(struct pool *p, size_t size)
{
    struct chunk *c = xmalloc(sizeof *c + size);
    c->size = size;
    c->used = 0;
    POISON(c->data, size);
    p->total += sizeof *c + size;
    return c;
}

static void chunk_free(struct chunk *c)
{
    UNPOISON(c->data, c->size);
    free(c);
}

struct pool *pool_new(void)
{
    struct pool *p = xcalloc(1, sizeof *p);
    p->total = sizeof *p;
    p->next_size = FIRST_CHUNK - sizeof(struct chunk);
    return p;
}

static void run_ends(struct pool *p)
{
    while (p->ends) {
        struct on_free *f = p->ends;
        p->ends = f->next;
        f->fn(f->arg);
    }
}

void pool_free(struct pool *p)
{
    if (!p)
        return;
    run_ends(p);
    for (struct chunk *c = p->now, *next; c; c = next) {
        next = c->next;
        chunk_free(c);
    }
    free(p);
}

void pool_reset(struct pool *p)
{
    run_ends(p);
    for (struct chunk *c = p->now, *next; c; c = next) {
        next = c->next;
        if (c != p->first) {
            p->total -= sizeof *c + c->size;
            chunk_free(c);
        }
    }
    p->now = p->first;
    if (p->now) {
        p->now->next = NULL;
        p->now->used = 0;
        POISON(p->now->data, p->now->size);
    }
    p->newest = NULL;
    p->next_size = 2 * FIRST_CHUNK - sizeof(struct chunk);
}

static void *from_chunk(struct pool *p, struct chunk *c, size_t n, size_t room)
{
    char *at = c->data + c->used;
    c->used += room;
    UNPOISON(at, n);
    p->newest = at;
    return at;
}

void *pool_alloc(struct pool *p, size_t n)
{
    if (unlikely(n > SIZE_MAX / 2))
        n = SIZE_MAX / 2; /* cannot be had: xmalloc ends the process */
    size_t room = align((n ? n : 1) + GAP);
    struct chunk *c = p->now;
    if (likely(c && c->size - c->used >= room))
        return from_chunk(p, c, n, room);
    if (c && room > p->next_size / 4) {
        struct chunk *own = chunk_new(p, room); /* behind the current one, which goes on being filled */
        own->next = c->next;
        c->next = own;
        return from_chunk(p, own, n, room);
    }
    c = chunk_new(p, MAX(p->next_size, room));
    c->next = p->now;
    p->now = c;
    if (!p->first)
        p->first = c;
    if (p->next_size < LAST_CHUNK / 2)
        p->next_size = p->next_size * 2 + sizeof(struct chunk);
    return from_chunk(p, c, n, room);
}

void *pool_zalloc(struct pool *p, size_t n)
{
    void *x = pool_alloc(p, n);
    return memset(x, 0, n);
}

void *pool_grow(struct pool *p, void *old, size_t old_n, size_t new_n)
{
    if (old && new_n <= old_n)
        return old;
    struct chunk *c = p->now;
    if (old && old == p->newest && c && (char *)old >= c->data && (char *)old < c->data + c->used && new_n < SIZE_MAX / 2) {
        size_t at = (size_t)((char *)old - c->data), room = align(new_n + GAP);
        if (c->size - at >= room) {
            c->used = MAX(c->used, at + room);
            UNPOISON(old, new_n);
            return old;
        }
    }
    void *x = pool_alloc(p, new_n);
    if (old && old_n)
        memcpy(x, old, old_n);
    return x;
}

struct str pool_str(struct pool *p, struct str s)
{
    if (!s.p)
        return STR_NULL;
    char *x = pool_alloc(p, s.n + 1);
    memcpy(x, s.p, s.n);
    x[s.n] = 0;
    return (struct str){x, s.n};
}

char *pool_strz(struct pool *p, struct str s)
{
    char *x = pool_alloc(p, s.n + 1);
    if (s.n)
        memcpy(x, s.p, s.n);
    x[s.n] = 0;
    return x;
}

struct str pool_printf(struct pool *p, const char *fmt, ...)
{
    struct buf b = BUF_INIT;
    va_list ap;
    va_start(ap, fmt);
    buf_vprintf(&b, fmt, ap);
    va_end(ap);
    return buf_to_pool(&b, p);
}

void pool_on_free(struct pool *p, void (*fn)(void *), void *arg)
{
    struct on_free *f = pool_alloc(p, sizeof *f);
    *f = (struct on_free){p->ends, fn, arg};
    p->ends = f;
}

static void unref(void *b)
{
    bytes_unref(b);
}

void pool_hold(struct pool *p, struct bytes *b)
{
    if (b)
        pool_on_free(p, unref, b);
}

size_t pool_size(const struct pool *p)
{
    return p->total;
}
