#include "kinds/rows.h"
#include "schema/ferr.h"
#include "schema/selector.h"

static void dflt(struct kind_ctx *c, struct json *doc)
{
    struct json *spec = json_put_obj(c->pool, doc, STR("spec")), *names = json_put_obj(c->pool, spec, STR("names"));
    struct str kind = json_get_str(names, "kind");
    if (!json_get_str(names, "singular").n && kind.n) {
        char *z = pool_strz(c->pool, kind);
        for (size_t i = 0; i < kind.n; i++)
            if (z[i] >= 'A' && z[i] <= 'Z')
                z[i] = (char)(z[i] + 32);
        json_set_str(c->pool, names, STR("singular"), str_make(z, kind.n));
    }
    if (!json_get_str(names, "listKind").n && kind.n)
        json_set_str(c->pool, names, STR("listKind"), pool_printf(c->pool, "%.*sList", STR_ARG(kind)));
}

static void stored_versions(struct kind_ctx *c, struct json *doc)
{
    struct json *list = json_put_arr(c->pool, json_put_obj(c->pool, doc, STR("status")), STR("storedVersions"));
    json_for (json_path(doc, "spec", "versions", NULL), v) {
        if (!json_get_bool(v, "storage", false))
            continue;
        bool has = false;
        json_for (list, s)
            has |= str_eq(json_as_str(s), json_get_str(v, "name"));
        if (!has)
            json_append(list, json_str(c->pool, json_get_str(v, "name")));
    }
}

static void prepare(struct kind_ctx *c, struct json *doc, const struct json *old)
{
    (void)old;
    if (!str_eqz(c->sub, "status"))
        stored_versions(c, doc);
}

static void versions(const struct json *spec, const struct fpath *at, struct err **e)
{
    struct fpath list = FPATH(at, "versions");
    size_t i = 0, storage = 0;
    json_for (json_get(spec, STR("versions")), v) {
        struct fpath here = fpath_at(&list, i++), name = FPATH(&here, "name"), schema = FPATH(&here, "schema"),
                     open = FPATH(&schema, "openAPIV3Schema");
        const char *why = name_dns1035_label(json_get_str(v, "name"));
        if (why)
            ferr_invalid_str(e, &name, json_get_str(v, "name"), why);
        storage += json_get_bool(v, "storage", false);
        if (!json_path(v, "schema", "openAPIV3Schema", NULL))
            ferr_required(e, &open, "schemas are required");
    }
    if (i && storage != 1)
        ferr_invalid(e, &list, json_get(spec, STR("versions")), "must have exactly one version marked as storage version");
}

static void validate(struct kind_ctx *c, const struct json *doc, const struct json *old, struct err **e)
{
    static const struct {
        const char *member;
        bool names;
    } fixed[] = {{"group", false}, {"scope", false}, {"kind", true}, {"plural", true}};
    struct fpath at = FPATH(NULL, "spec"), names_at = FPATH(&at, "names"), meta = FPATH(NULL, "metadata"), name_at = FPATH(&meta, "name"),
                 group_at = FPATH(&at, "group"), plural_at = FPATH(&names_at, "plural");
    const struct json *spec = json_get(doc, STR("spec")), *names = json_get(spec, STR("names")), *was = json_get(old, STR("spec"));
    struct str name = json_str_at(doc, "metadata", "name", NULL), group = json_get_str(spec, "group"),
               plural = json_get_str(names, "plural");
    if (str_eqz(c->sub, "status"))
        return;
    struct str want = pool_printf(c->pool, "%.*s.%.*s", STR_ARG(plural), STR_ARG(group));
    const char *why;
    if (plural.n && group.n && !str_eq(name, want))
        ferr_invalid_str(e, &name_at, name, "must be spec.names.plural+\".\"+spec.group");
    if (group.n && (why = name_dns1123_subdomain(group)))
        ferr_invalid_str(e, &group_at, group, why);
    else if (group.n && str_chr(group, '.') < 0)
        ferr_invalid_str(e, &group_at, group, "should be a domain with at least one dot");
    if (plural.n && (why = name_dns1035_label(plural)))
        ferr_invalid_str(e, &plural_at, plural, why);
    versions(spec, &at, e);
    for (size_t i = 0; was && i < ARRAY_LEN(fixed); i++) {
        struct str key = str_of(fixed[i].member);
        struct fpath here = fpath_name(fixed[i].names ? &names_at : &at, key);
        const struct json *a = json_get(fixed[i].names ? names : spec, key),
                          *b = json_get(fixed[i].names ? json_get(was, STR("names")) : was, key);
        if (a && b && !json_equal(a, b))
            ferr_invalid(e, &here, a, "field is immutable");
    }
}

const struct kind_hooks kind_crd = {
    KIND("apiextensions.k8s.io", "CustomResourceDefinition"), .dflt = dflt, .prepare = prepare, .validate = validate};
