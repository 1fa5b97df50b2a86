/* What parses, written as YAML and parsed again, is equal. */
#include <stdlib.h>
#include "yaml/yaml.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    _cleanup_(pool_freep) struct pool *p = pool_new();
    struct yaml_limits l = {.nodes = 20000, .depth = 60}, again = {.bytes = SIZE_MAX, .depth = 64, .nodes = 100000};
    struct json **docs, *back;
    size_t n;
    if (yaml_parse(p, str_make((const char *)data, size), &l, &docs, &n, NULL) < 0)
        return 0;
    for (size_t i = 0; i < n; i++) {
        struct buf b = BUF_INIT;
        struct json *doc, *plain;
        /* floats of JSON documents such as 1.0 are integers to YAML: compare what YAML itself reads */
        yaml_write(&b, docs[i]);
        struct str text = buf_to_pool(&b, p);
        if (docs[i]->type == JSON_NULL)
            continue;
        if (yaml_parse_one(p, text, &again, &doc, NULL) < 0)
            abort();
        yaml_write(&b, doc);
        if (yaml_parse_one(p, buf_to_pool(&b, p), &again, &back, NULL) < 0 || !json_equal(doc, back))
            abort();
        if (json_parse(p, json_to_pool(p, doc), &(struct json_limits){.bytes = SIZE_MAX}, &plain, NULL) < 0)
            abort();
    }
    return 0;
}
