/* The ConfigMap coredns-custom: every string that comes out is a piece of what went in, and counts stay within bounds. */
#include <stdlib.h>
#include "gate/corefile.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void inside(struct str s, const uint8_t *data, size_t size)
{
    if (s.n && ((const uint8_t *)s.p < data || (const uint8_t *)s.p + s.n > data + size))
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    for (int override = 0; override < 2; override++) {
        _cleanup_(pool_freep) struct pool *p = pool_new();
        _cleanup_(err_freep) struct err *e = NULL;
        struct corefile c = {0};
        if (corefile_parse(p, str_make((const char *)data, size), override, &c, &e) < 0 && !e)
            abort();
        for (size_t i = 0; i < c.nhosts; i++)
            inside(c.hosts[i].name, data, size);
        for (size_t i = 0; i < c.nstubs; i++)
            for (size_t k = 0; k < c.stubs[i].nservers; k++)
                inside(c.stubs[i].servers[k], data, size);
        if (c.nstubs > 64)
            abort();
    }
    return 0;
}
