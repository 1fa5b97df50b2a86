/* What decodes as a Pod decodes again and settles (62.5Ki is written 64000, which is written 64k: as in Kubernetes), after defaults and
 * zero values too; validation and cells never fall over. */
#include <stdlib.h>
#include "schema/schema.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    _cleanup_(pool_freep) struct pool *p = pool_new();
    _cleanup_(err_freep) struct err *invalid = NULL;
    static struct schema *s;
    struct json *a, *b;
    struct schema_notes notes;
    if (!s)
        s = schema_builtin();
    const struct schema_resource *r = schema_find(s, STR(""), STR("v1"), STR("pods"));
    if (json_parse(p, (struct str){(const char *)data, size}, NULL, &a, NULL) < 0 || schema_decode(r, r->type, p, a, &notes, NULL) < 0)
        return 0;
    b = json_clone(p, a);
    if (schema_decode(r, r->type, p, b, &notes, NULL) < 0 || notes.n)
        abort();
    a = json_clone(p, b);
    if (schema_decode(r, r->type, p, b, &notes, NULL) < 0 || !json_equal(a, b))
        abort();
    schema_default(r->type, p, a);
    schema_fill_zero(r->type, p, a);
    b = json_clone(p, a);
    schema_default(r->type, p, b);
    schema_fill_zero(r->type, p, b);
    if (!json_equal(a, b))
        abort();
    (void)schema_validate(r->type, p, a, b, &invalid);
    return 0;
}
