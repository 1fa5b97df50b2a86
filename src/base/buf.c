#include "base/buf.h"
#include "base/bytes.h"
#include "base/pool.h"

void buf_clear(struct buf *b)
{
    free(b->p);
    *b = (struct buf){.limit = b->limit};
}

char *buf_reserve(struct buf *b, size_t n)
{
    if (b->failed)
        return NULL;
    size_t need;
    if (__builtin_add_overflow(b->n, n, &need) || need >= SIZE_MAX / 2 || (b->limit && need > b->limit)) {
        if (b->limit) {
            b->failed = true;
            return NULL;
        }
        fputs("sampan: buffer too large\n", stderr);
        abort();
    }
    if (need + 1 > b->cap || !b->p) {
        size_t cap = MAX(b->cap * 2, (size_t)64);
        if (cap < need + 1)
            cap = need + 1;
        if (b->limit) {
            char *p = realloc(b->p, cap);
            if (!p) {
                b->failed = true;
                return NULL;
            }
            b->p = p;
        } else {
            b->p = xrealloc(b->p, cap);
        }
        b->cap = cap;
        b->p[b->n] = 0;
    }
    return b->p + b->n;
}

void buf_add(struct buf *b, const void *p, size_t n)
{
    char *to = buf_reserve(b, n);
    if (!to)
        return;
    if (n)
        memcpy(to, p, n);
    to[n] = 0;
    b->n += n;
}

void buf_str_add(struct buf *b, struct str s)
{
    buf_add(b, s.p, s.n);
}

void buf_puts(struct buf *b, const char *z)
{
    buf_add(b, z, strlen(z));
}

void buf_putc(struct buf *b, char c)
{
    if (b->n + 1 < b->cap && !b->failed && (!b->limit || b->n < b->limit)) {
        b->p[b->n++] = c;
        b->p[b->n] = 0;
    } else {
        buf_add(b, &c, 1);
    }
}

void buf_u64(struct buf *b, uint64_t v)
{
    char tmp[20];
    size_t i = sizeof tmp;
    do
        tmp[--i] = (char)('0' + v % 10);
    while (v /= 10);
    buf_add(b, tmp + i, sizeof tmp - i);
}

void buf_i64(struct buf *b, int64_t v)
{
    if (v < 0)
        buf_putc(b, '-');
    buf_u64(b, v < 0 ? 0 - (uint64_t)v : (uint64_t)v);
}

void buf_vprintf(struct buf *b, const char *fmt, va_list ap)
{
    va_list again;
    char small[256];
    va_copy(again, ap);
    int n = vsnprintf(small, sizeof small, fmt, ap);
    if (n > 0 && (size_t)n < sizeof small) {
        buf_add(b, small, (size_t)n);
    } else if (n > 0) {
        char *to = buf_reserve(b, (size_t)n);
        if (to) {
            vsnprintf(to, (size_t)n + 1, fmt, again);
            b->n += (size_t)n;
        }
    }
    va_end(again);
}

void buf_printf(struct buf *b, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    buf_vprintf(b, fmt, ap);
    va_end(ap);
}

void buf_drop(struct buf *b, size_t n)
{
    if (n > b->n)
        n = b->n;
    if (!n)
        return;
    b->n -= n;
    memmove(b->p, b->p + n, b->n);
    b->p[b->n] = 0;
}

char *buf_take(struct buf *b)
{
    char *p = b->p ? b->p : xmemdup0("", 0);
    *b = (struct buf){.limit = b->limit};
    return p;
}

struct str buf_to_pool(struct buf *b, struct pool *pool)
{
    struct str s = pool_str(pool, buf_str(b)); /* an empty buffer is present and empty */
    buf_clear(b);
    return s;
}

struct bytes *buf_to_bytes(struct buf *b)
{
    struct bytes *x = bytes_new(b->p, b->n);
    buf_clear(b);
    return x;
}
