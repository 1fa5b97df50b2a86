/* The ground: what every file of Sampan may lean on.
 *
 * Three ownerships exist in this program, and no fourth (docs/tour.md, "Memory"):
 *   1. stack + cleanup attribute   _cleanup_(x) on a local, TAKE(x) to hand it over;
 *   2. a pool                      struct pool, freed as a whole (base/pool.h);
 *   3. refcounted immutable bytes  struct bytes (base/bytes.h), which a pool may hold.
 *
 * Functions that can fail return 0 or a negative error code and fill a struct err ** (base/err.h); outputs stay
 * untouched on failure. free/clear/unref functions accept NULL and half-built objects.
 */
#pragma once

#include <inttypes.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>

#define _cleanup_(fn) __attribute__((__cleanup__(fn)))
#define _must_check_ __attribute__((__warn_unused_result__))
#define _printf_(a, b) __attribute__((__format__(__printf__, a, b)))
#define _noreturn_ __attribute__((__noreturn__))
#define _unused_ __attribute__((__unused__))
#define _pure_ __attribute__((__pure__))
#define _malloc_ __attribute__((__malloc__, __returns_nonnull__))

#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))
#define MIN(a, b) ((a) < (b) ? (a) : (b))
#define MAX(a, b) ((a) > (b) ? (a) : (b))
#define container_of(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))
#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

/* Hands a local over to somebody else: yields the pointer and leaves NULL behind, so that its cleanup does nothing. */
#define TAKE(p)                          \
    ({                                   \
        __typeof__(p) take_tmp_ = (p);   \
        (p) = NULL;                      \
        take_tmp_;                       \
    })

/* Defines name##p(type **), the form that _cleanup_ wants, from a function that frees one object. */
#define DEFINE_CLEANUP(type, fn)                       \
    static inline _unused_ void fn##p(type *p)         \
    {                                                  \
        fn(*p);                                        \
    }

/* Allocation. A small allocation that fails ends the process with one line (the supervisor restarts it; nothing
 * acknowledged is lost, see store). Sizes that a peer decides go through xmalloc_try and can fail. */
void *xmalloc(size_t n) _malloc_;
void *xcalloc(size_t n, size_t size) _malloc_;
void *xrealloc(void *p, size_t n);
char *xstrdup(const char *s) _malloc_;
char *xmemdup0(const void *p, size_t n) _malloc_;   /* n bytes and a NUL behind them */
char *xasprintf(const char *fmt, ...) _printf_(1, 2) _malloc_;
void *xmalloc_try(size_t n);                        /* NULL when there is no memory */
void freep(void *p);                                /* for _cleanup_(freep) on a char * or other malloc'ed pointer */
void closep(int *fd);                               /* for _cleanup_(closep) on a file descriptor; -1 is nothing */

/* These do not compile anywhere in src/ (house rule 11). The headers that declare them are read above, before the poison. */
#ifndef SAMPAN_ALLOW_UNSAFE
#pragma GCC poison strcpy strcat sprintf vsprintf strtok atoi atol gets
#endif
