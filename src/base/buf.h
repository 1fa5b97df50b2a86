/* struct buf: the one string builder. Zero-initialised is empty and valid (BUF_INIT). Owns its memory; always keeps a NUL
 * behind the contents once anything was added. Growth doubles; a failed growth ends the process (see xmalloc), except
 * when a limit is set: then the buffer turns "failed", further additions do nothing, and buf_failed() says so.
 */
#pragma once
#include <stdarg.h>
#include "base/str.h"

struct pool;
struct bytes;

struct buf {
    char *p;
    size_t n, cap;
    size_t limit; /* 0: none */
    bool failed;
};
#define BUF_INIT ((struct buf){0})

void buf_clear(struct buf *b); /* frees; b is BUF_INIT again but keeps its limit */
static inline void buf_reset(struct buf *b) { b->n = 0; b->failed = false; if (b->p) b->p[0] = 0; }
static inline bool buf_failed(const struct buf *b) { return b->failed; }
static inline struct str buf_str(const struct buf *b) { return (struct str){b->p ? b->p : "", b->n}; }

char *buf_reserve(struct buf *b, size_t n);  /* room for n more bytes (and the NUL); where to write them; NULL if failed */
void buf_add(struct buf *b, const void *p, size_t n);
void buf_str_add(struct buf *b, struct str s);
void buf_puts(struct buf *b, const char *z);
void buf_putc(struct buf *b, char c);
void buf_u64(struct buf *b, uint64_t v);
void buf_i64(struct buf *b, int64_t v);
void buf_printf(struct buf *b, const char *fmt, ...) _printf_(2, 3);
void buf_vprintf(struct buf *b, const char *fmt, va_list ap) _printf_(2, 0);
void buf_hex(struct buf *b, const void *p, size_t n);        /* lower case */
void buf_base64(struct buf *b, const void *p, size_t n);     /* RFC 4648 section 4, padded */
void buf_base64url(struct buf *b, const void *p, size_t n);  /* section 5, no padding (JOSE) */
void buf_drop(struct buf *b, size_t n);                      /* removes the first n bytes */
char *buf_take(struct buf *b);                               /* malloc'ed, NUL-terminated; b is empty again. Never NULL */
struct str buf_to_pool(struct buf *b, struct pool *pool);    /* copies into pool (NUL behind), clears b */
struct bytes *buf_to_bytes(struct buf *b);                   /* moves into a refcounted immutable, clears b */

/* Decoders append to b. false: not valid, b as before. */
bool buf_unhex(struct buf *b, struct str s);
bool buf_unbase64(struct buf *b, struct str s);    /* strict alphabet; padding required as Go's StdEncoding */
bool buf_unbase64url(struct buf *b, struct str s); /* no padding */
