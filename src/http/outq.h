/* struct outq: bytes on their way out: references to immutable bytes and coalesced copies of small writes, in order. Zero-initialised is empty. */
#pragma once
#include <sys/uio.h>
#include "base/bytes.h"

struct stream;
struct outseg { struct bytes *b; size_t from, n; };
struct outq {
    struct outseg *seg;
    size_t head, nseg, cap; /* seg[head .. head + nseg) */
    size_t n;               /* bytes in all */
    size_t room;            /* free bytes behind the last segment's, when it is a copy of ours */
};

void outq_clear(struct outq *q);
void outq_copy(struct outq *q, const void *p, size_t n);
void outq_bytes(struct outq *q, struct bytes *b, size_t from, size_t n); /* takes its own reference; small pieces are copied */
size_t outq_iov(const struct outq *q, struct iovec *v, size_t max);
void outq_drop(struct outq *q, size_t n);
size_t outq_take(struct outq *q, void *out, size_t max);                  /* copies out and drops */
struct str outq_peek(const struct outq *q);                               /* the first piece; absent when empty */
void outq_to_stream(struct outq *q, struct stream *s, size_t n);          /* moves the first n bytes */
