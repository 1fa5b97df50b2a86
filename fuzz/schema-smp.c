/* The input is a document and a patch, one line each: a strategic merge of any of them keeps the tree whole, and so does applying it on the
 * server. */
#include <stdlib.h>
#include "schema/apply.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    _cleanup_(pool_freep) struct pool *p = pool_new();
    static struct schema *s;
    struct json *doc, *patch, *again, *out;
    struct str text = {(const char *)data, size}, a, b;
    if (!s)
        s = schema_builtin();
    const struct schema_resource *r = schema_find(s, STR(""), STR("v1"), STR("pods"));
    if (!str_cut(text, '\n', &a, &b) || json_parse(p, a, NULL, &doc, NULL) < 0 || json_parse(p, b, NULL, &patch, NULL) < 0)
        return 0;
    if (schema_decode(r, r->type, p, doc, NULL, NULL) < 0)
        return 0;
    schema_fill_zero(r->type, p, doc);
    struct json *live = json_clone(p, doc);
    if (schema_strategic_merge(r->type, p, doc, patch, NULL) == 0) {
        if (json_parse(p, json_to_pool(p, doc), &(struct json_limits){.depth = 512}, &again, NULL) < 0)
            abort();
        if (!json_equal(doc, again))
            abort();
    }
    if (schema_decode(r, r->type, p, patch, NULL, NULL) < 0)
        return 0;
    _cleanup_(err_freep) struct err *invalid = NULL;
    if (schema_validate(r->type, p, live, NULL, &invalid) < 0)
        return 0; /* nothing like that is ever stored */
    struct apply_ctx c = {.pool = p, .res = r, .sub = STR(""), .manager = STR("m"), .force = true};
    if (schema_apply(&c, live, patch, &out, NULL) == 0) {
        struct json *twice;
        /* applying the same again changes nothing */
        if (schema_apply(&c, out, patch, &twice, NULL) == 0 && !json_equal(out, twice))
            abort();
        schema_manage(&c, live, doc);
    }
    return 0;
}
