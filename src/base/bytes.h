/* struct bytes: immutable, reference-counted (atomically), one allocation. What is stored, queued to sockets, shared between
 * threads and held by pools. A NUL stands behind the last byte and is not counted.
 */
#pragma once
#include "base/str.h"

struct bytes {
    _Atomic uint32_t refs;
    uint32_t flags; /* owner's use */
    size_t n;
    char p[];
};

struct bytes *bytes_new(const void *p, size_t n) _malloc_;     /* a copy, one reference */
struct bytes *bytes_alloc(size_t n) _malloc_;                  /* to be filled by the maker before it is shared */
struct bytes *bytes_ref(struct bytes *b);                      /* NULL gives NULL */
void bytes_unref(struct bytes *b);
DEFINE_CLEANUP(struct bytes *, bytes_unref)
static inline struct str bytes_str(const struct bytes *b) { return b ? (struct str){b->p, b->n} : STR_NULL; }
