/* What parses, written and parsed again, is equal, with strings copied or viewed. */
#include <stdlib.h>
#include "json/json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    _cleanup_(pool_freep) struct pool *p = pool_new();
    struct json_limits view = {.view = true, .nodes = 100000};
    struct json *a, *b, *c;
    struct json_dup *dups;
    struct str text = {(const char *)data, size};
    _cleanup_(err_freep) struct err *e = NULL;
    int ra = json_parse(p, text, &view, &a, &e), rc = json_parse_dups(p, text, NULL, &c, &dups, NULL);
    if (ra < 0) {
        if (ra != -ERR_LIMIT && rc == 0)
            abort();
        return 0;
    }
    if (rc < 0 || !json_equal(a, c))
        abort();
    if (json_parse(p, json_to_pool(p, a), &(struct json_limits){.bytes = SIZE_MAX, .depth = 512}, &b, NULL) < 0 || !json_equal(a, b))
        abort();
    return 0;
}
