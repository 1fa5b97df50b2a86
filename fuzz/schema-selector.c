/* A selector's canonical text reads back as the same selector. */
#include <stdlib.h>
#include "schema/selector.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    _cleanup_(pool_freep) struct pool *p = pool_new();
    struct str text = {(const char *)data, size};
    struct selector a, b;
    struct label labels[] = {{STR("a"), STR("b")}, {STR("n"), STR("5")}};
    int fields = field_selector_parse(p, text, &b, NULL);
    if (selector_parse(p, text, &a, NULL) < 0)
        return 0;
    if (fields == 0 && b.n > 1000)
        abort(); /* the limit of requirements */
    struct str one = selector_text(p, &a);
    if (selector_parse(p, one, &b, NULL) < 0 || !str_eq(one, selector_text(p, &b)))
        abort();
    if (selector_match(&a, labels, 2) != selector_match(&b, labels, 2))
        abort();
    return 0;
}
