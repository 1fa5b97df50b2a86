#include "kinds/rows.h"
#include "schema/ferr.h"
#include "schema/selector.h"

#define SIZE_MAX_BYTES (1024 * 1024)

static void keys(const struct json *map, const struct json *other, const struct fpath *at, struct err **e)
{
    json_for (map, m) {
        struct fpath here = fpath_key(at, json_key(m));
        const char *why = name_config_key(json_key(m));
        if (why)
            ferr_invalid_str(e, &here, json_key(m), why);
        if (json_get(other, json_key(m)))
            ferr_invalid_str(e, &here, json_key(m), "duplicate of key present in binaryData");
    }
}

static bool same(const struct json *a, const struct json *b)
{
    return json_count(a) == 0 && json_count(b) == 0 ? true : a && b && json_equal(a, b);
}

static void validate(struct kind_ctx *c, const struct json *doc, const struct json *old, struct err **e)
{
    struct fpath data = FPATH(NULL, "data"), binary = FPATH(NULL, "binaryData"), imm = FPATH(NULL, "immutable"), none = FPATH(NULL, "");
    const struct json *d = json_get(doc, STR("data")), *b = json_get(doc, STR("binaryData"));
    size_t total = 0;
    (void)c;
    keys(d, b, &data, e);
    keys(b, NULL, &binary, e);
    json_for (d, m)
        total += m->n;
    json_for (b, m)
        total += m->n / 4 * 3;
    if (total > SIZE_MAX_BYTES)
        ferr_too_long(e, &none, SIZE_MAX_BYTES);
    if (!json_get_bool(old, "immutable", false))
        return;
    if (!json_get_bool(doc, "immutable", false))
        ferr_forbidden(e, &imm, "field is immutable when `immutable` is set");
    if (!same(d, json_get(old, STR("data"))))
        ferr_forbidden(e, &data, "field is immutable when `immutable` is set");
    if (!same(b, json_get(old, STR("binaryData"))))
        ferr_forbidden(e, &binary, "field is immutable when `immutable` is set");
}

const struct kind_hooks kind_config_map = {KIND("", "ConfigMap"), .validate = validate};
