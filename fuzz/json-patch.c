/* Two documents, one a line: the second patches the first, as RFC 6902 and as RFC 7386. A patch that fails leaves its target alone. */
#include <stdlib.h>
#include "json/json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    _cleanup_(pool_freep) struct pool *p = pool_new();
    struct str first, second;
    struct json *doc, *patch, *target;
    if (!str_cut(str_make((const char *)data, size), '\n', &first, &second))
        return 0;
    if (json_parse(p, first, NULL, &doc, NULL) < 0 || json_parse(p, second, NULL, &patch, NULL) < 0)
        return 0;
    struct json *before = json_clone(p, doc);
    target = doc;
    if (json_patch(p, &target, patch, NULL) < 0 && target != doc)
        abort();
    if (!json_equal(doc, before))
        abort();
    json_merge_patch(p, &doc, patch);
    struct json *once = json_clone(p, doc);
    json_merge_patch(p, &doc, patch); /* applying it twice changes nothing more */
    if (!json_equal(doc, once))
        abort();
    return 0;
}
