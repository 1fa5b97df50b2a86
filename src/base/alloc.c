#define SAMPAN_ALLOW_UNSAFE
#include "base/base.h"
#include <stdarg.h>
#include <unistd.h>
#include "base/fault.h"

bool (*fault_hook)(const char *what);

/* No printf here: it may want memory itself. */
static _noreturn_ void out_of_memory(void)
{
    static const char line[] = "sampan: out of memory\n";
    if (write(STDERR_FILENO, line, sizeof line - 1) < 0)
        abort();
    abort();
}

void *xmalloc(size_t n)
{
    void *p = malloc(n ? n : 1);
    if (unlikely(!p))
        out_of_memory();
    return p;
}

void *xcalloc(size_t n, size_t size)
{
    void *p = calloc(n ? n : 1, size ? size : 1);
    if (unlikely(!p))
        out_of_memory();
    return p;
}

void *xrealloc(void *old, size_t n)
{
    void *p = realloc(old, n ? n : 1);
    if (unlikely(!p))
        out_of_memory();
    return p;
}

char *xmemdup0(const void *from, size_t n)
{
    if (unlikely(n == SIZE_MAX))
        out_of_memory();
    char *p = xmalloc(n + 1);
    if (n)
        memcpy(p, from, n);
    p[n] = 0;
    return p;
}

char *xstrdup(const char *s)
{
    return xmemdup0(s, strlen(s));
}

char *xasprintf(const char *fmt, ...)
{
    va_list ap;
    char *s;
    va_start(ap, fmt);
    int n = vasprintf(&s, fmt, ap);
    va_end(ap);
    if (unlikely(n < 0))
        out_of_memory();
    return s;
}

void *xmalloc_try(size_t n)
{
    return fault("malloc") ? NULL : malloc(n ? n : 1);
}

void freep(void *p)
{
    free(*(void **)p);
}

void closep(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}
