#include "kinds/claim.h"
#include "schema/quantity.h"
#include "schema/selector.h"

static int compare(const struct json *a, const struct json *b)
{
    struct quantity x, y;
    if (quantity_parse(json_as_str(a), &x, NULL) < 0)
        return -1;
    return quantity_parse(json_as_str(b), &y, NULL) < 0 ? 1 : quantity_cmp(x, y);
}

int volume_size_cmp(const struct json *a, const struct json *b)
{
    return compare(json_path(a, "spec", "capacity", "storage", NULL), json_path(b, "spec", "capacity", "storage", NULL));
}

static bool has(const struct json *list, struct str s)
{
    json_for ((struct json *)(uintptr_t)list, x)
        if (str_eq(json_as_str(x), s))
            return true;
    return false;
}

bool claim_has_mode(const struct json *claim, const char *mode)
{
    return has(json_path(claim, "spec", "accessModes", NULL), str_of(mode));
}

static bool block_mode(const struct json *spec)
{
    return str_eqz(json_get_str(spec, "volumeMode"), "Block");
}

bool volume_fits_claim(struct pool *p, const struct json *volume, const struct json *claim)
{
    const struct json *offers = json_get(volume, STR("spec")), *asks = json_get(claim, STR("spec")),
                      *selector = json_get(asks, STR("selector"));
    struct selector sel;
    if (!str_eq(json_get_str(offers, "storageClassName"), json_get_str(asks, "storageClassName")) ||
        block_mode(offers) != block_mode(asks) ||
        !str_eq(json_get_str(offers, "volumeAttributesClassName"), json_get_str(asks, "volumeAttributesClassName")))
        return false;
    json_for (json_get(asks, STR("accessModes")), mode)
        if (!has(json_get(offers, STR("accessModes")), json_as_str(mode)))
            return false;
    if (selector &&
        (selector_from_json(p, selector, &sel, NULL) < 0 || !selector_match_json(&sel, json_path(volume, "metadata", "labels", NULL))))
        return false;
    return compare(json_path(offers, "capacity", "storage", NULL), json_path(asks, "resources", "requests", "storage", NULL)) >= 0;
}

bool volume_is_for(const struct json *volume, struct str ns, struct str name, struct str uid)
{
    const struct json *ref = json_path(volume, "spec", "claimRef", NULL);
    struct str its = json_get_str(ref, "uid");
    return ref && str_eq(json_get_str(ref, "name"), name) && str_eq(json_get_str(ref, "namespace"), ns) && (!its.n || str_eq(its, uid));
}
