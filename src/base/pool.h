/* struct pool: memory that is freed as a whole, as a request's or a parsed document's (after H2O's memory pools).
 * Not thread-safe: a pool belongs to one thread at a time and may be handed over whole.
 * pool_alloc never returns NULL (see xmalloc); memory is aligned to 16 and not zeroed, pool_zalloc zeroes.
 */
#pragma once
#include <stdarg.h>
#include "base/str.h"

struct pool;
struct bytes;

struct pool *pool_new(void);
void pool_free(struct pool *p);
DEFINE_CLEANUP(struct pool *, pool_free)
void pool_reset(struct pool *p); /* frees all but the first chunk; the pool can be used again */

void *pool_alloc(struct pool *p, size_t n) _malloc_;
void *pool_zalloc(struct pool *p, size_t n) _malloc_;
#define pool_new_of(pool, type) ((type *)pool_zalloc((pool), sizeof(type)))
#define pool_array(pool, type, n) ((type *)pool_zalloc((pool), sizeof(type) * (size_t)(n)))
/* Grows the newest or any block; contents are copied. old may be NULL. */
void *pool_grow(struct pool *p, void *old, size_t old_n, size_t new_n) __attribute__((__returns_nonnull__));
struct str pool_str(struct pool *p, struct str s);          /* copy, NUL behind; absent stays absent */
char *pool_strz(struct pool *p, struct str s) _malloc_;     /* the same as char * ("" for absent) */
struct str pool_printf(struct pool *p, const char *fmt, ...) _printf_(2, 3);
/* The pool takes over one reference and drops it when it is freed or reset. */
void pool_hold(struct pool *p, struct bytes *b);
/* fn(arg) when the pool is freed or reset, newest first. */
void pool_on_free(struct pool *p, void (*fn)(void *), void *arg);
size_t pool_size(const struct pool *p); /* bytes taken from the allocator */
