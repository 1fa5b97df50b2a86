#include "kinds/jsonpath.h"
#include "kinds/rows.h"
#include "schema/ferr.h"
#include "schema/selector.h"
#include "schema/structural.h"

/* CustomResourceDefinitions: what apiextensions' validation asks of them. What they do when they stand is api/crd*.c. */

enum { SELECTABLE_MAX = 8 };

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

/* ---- a version ---- */

static void defaults(struct kind_ctx *c, const struct json *s, const struct fpath *at, int depth, struct err **e)
{
    const struct json *d = json_get(s, STR("default")), *items = json_get(s, STR("items")),
                      *more = json_get(s, STR("additionalProperties"));
    struct fpath here = FPATH(at, "default"), props_at = FPATH(at, "properties"), items_at = FPATH(at, "items"),
                 more_at = FPATH(at, "additionalProperties");
    if (depth > 64)
        return;
    if (d && d->type != JSON_NULL) {
        struct cr_node *n = cr_compile(c->pool, s);
        struct json *copy = json_clone(c->pool, d);
        cr_default(n, c->pool, copy);
        cr_validate_node(n, c->pool, copy, &here, e);
    }
    json_for (json_get(s, STR("properties")), x) {
        struct fpath one = fpath_key(&props_at, json_key(x));
        defaults(c, x, &one, depth + 1, e);
    }
    if (json_is(items, JSON_OBJ))
        defaults(c, items, &items_at, depth + 1, e);
    if (json_is(more, JSON_OBJ))
        defaults(c, more, &more_at, depth + 1, e);
}

static void schema_of(struct kind_ctx *c, const struct json *v, const struct json *was, const struct fpath *at, struct err **e)
{
    struct fpath schema = FPATH(at, "schema"), open = FPATH(&schema, "openAPIV3Schema");
    const struct json *s = json_path(v, "schema", "openAPIV3Schema", NULL), *old = NULL;
    json_for (was, o)
        if (str_eq(json_get_str(o, "name"), json_get_str(v, "name")))
            old = json_path(o, "schema", "openAPIV3Schema", NULL);
    if (!s) {
        ferr_required(e, &open, "schemas are required");
        return;
    }
    if (old && json_equal(s, old)) /* judged when it came */
        return;
    struct err *found = NULL;
    cr_violations(s, &open, &found);
    if (!found)
        defaults(c, s, &open, 0, &found);
    if (!found)
        cr_check_rules(c->pool, s, &open, &found);
    for (size_t i = 0; found && i < found->ncauses; i++)
        err_cause(e, found->causes[i].reason, str_of(found->causes[i].field), "%s", found->causes[i].message);
    err_free(found);
}

static void path_field(struct str path, const struct fpath *at, const char *name, bool required, const char *prefix, struct err **e)
{
    struct fpath here = fpath_name(at, str_of(name));
    if (!path.n) {
        if (required)
            ferr_required(e, &here, "");
        return;
    }
    if (!jsonpath_simple(path))
        ferr_invalid_str(e, &here, path, "only simple json paths with object fields are allowed");
    else if (!str_starts(path, str_of(prefix)))
        ferr_invalid_str(
            e, &here, path, strcmp(prefix, ".spec.") == 0 ? "should be a json path under .spec" : "should be a json path under .status");
}

static void subresources(const struct json *v, const struct fpath *at, struct err **e)
{
    struct fpath sub = FPATH(at, "subresources"), scale = FPATH(&sub, "scale");
    const struct json *s = json_path(v, "subresources", "scale", NULL);
    struct str label = json_get_str(s, "labelSelectorPath");
    if (!json_is(s, JSON_OBJ))
        return;
    path_field(json_get_str(s, "specReplicasPath"), &scale, "specReplicasPath", true, ".spec.", e);
    path_field(json_get_str(s, "statusReplicasPath"), &scale, "statusReplicasPath", true, ".status.", e);
    struct fpath label_at = FPATH(&scale, "labelSelectorPath");
    if (label.n && (!jsonpath_simple(label) || !(str_starts(label, STR(".spec.")) || str_starts(label, STR(".status.")))))
        ferr_invalid_str(e, &label_at, label, "should be a json path under either .spec or .status");
}

static void columns(const struct json *v, const struct fpath *at, struct err **e)
{
    static const struct str types[] = {STR("boolean"), STR("date"), STR("integer"), STR("number"), STR("string")},
                            formats[] = {STR("byte"), STR("date"), STR("date-time"), STR("double"), STR("float"), STR("int32"),
                                STR("int64"), STR("password")};
    struct fpath list = FPATH(at, "additionalPrinterColumns");
    size_t i = 0;
    json_for (json_get(v, STR("additionalPrinterColumns")), x) {
        struct fpath here = fpath_at(&list, i++), type_at = FPATH(&here, "type"), format_at = FPATH(&here, "format"),
                     path_at = FPATH(&here, "jsonPath");
        struct str type = json_get_str(x, "type"), format = json_get_str(x, "format"), path = json_get_str(x, "jsonPath");
        bool known = false, form = !format.n;
        for (size_t k = 0; k < ARRAY_LEN(types); k++)
            known |= str_eq(types[k], type);
        for (size_t k = 0; k < ARRAY_LEN(formats); k++)
            form |= str_eq(formats[k], format);
        if (type.n && !known)
            ferr_invalid_str(e, &type_at, type, "must be one of boolean,date,integer,number,string");
        if (!form)
            ferr_invalid_str(e, &format_at, format, "must be one of byte,date,date-time,double,float,int32,int64,password");
        if (path.n && !jsonpath_valid(path))
            ferr_invalid_str(e, &path_at, path, "is an invalid jsonpath");
    }
}

/* The described value at a simple path. */
static const struct json *described_at(const struct json *s, struct str path)
{
    struct str name;
    path = str_sub(path, 1, path.n);
    while (s && str_split(&path, '.', &name))
        s = json_get(json_get(s, STR("properties")), name);
    return s;
}

static void selectable(const struct json *v, const struct fpath *at, struct err **e)
{
    struct fpath list = FPATH(at, "selectableFields");
    const struct json *all = json_get(v, STR("selectableFields")), *schema = json_path(v, "schema", "openAPIV3Schema", NULL);
    size_t i = 0;
    if (json_count(all) > SELECTABLE_MAX)
        ferr_too_many(e, &list, json_count(all), SELECTABLE_MAX);
    json_for (all, x) {
        struct fpath one = fpath_at(&list, i), here = FPATH(&one, "jsonPath");
        struct str path = json_get_str(x, "jsonPath");
        const struct json *s = jsonpath_simple(path) ? described_at(schema, path) : NULL;
        struct str type = json_get_str(s, "type");
        size_t k = 0;
        if (path.n && (!jsonpath_simple(path) || path.p[0] != '.'))
            ferr_invalid_str(e, &here, path, "is an invalid path: must be a simple JSON path of field names");
        else if (str_starts(path, STR(".metadata.")) || str_eqz(path, ".metadata"))
            ferr_invalid_str(e, &here, path, "must not point to fields in metadata");
        else if (path.n && !s)
            ferr_invalid_str(e, &here, path, "is an invalid path: does not refer to a valid field");
        else if (path.n && !str_eqz(type, "string") && !str_eqz(type, "integer") && !str_eqz(type, "boolean"))
            ferr_invalid_str(e, &here, path,
                "must point to a field of type string, boolean or integer. Enum string fields and strings with formats are allowed.");
        json_for (all, o) {
            if (k++ >= i)
                break;
            if (str_eq(json_get_str(o, "jsonPath"), path)) {
                ferr_duplicate_str(e, &here, path);
                break;
            }
        }
        i++;
    }
}

static void deprecation(const struct json *v, const struct fpath *at, struct err **e)
{
    struct fpath here = FPATH(at, "deprecationWarning");
    const struct json *w = json_get(v, STR("deprecationWarning"));
    if (!json_is(w, JSON_STR))
        return;
    if (!json_get_bool(v, "deprecated", false))
        ferr_invalid(e, &here, w, "can only be set for deprecated versions");
    else if (w->n > 256)
        ferr_invalid(e, &here, w, "must be <= 256 characters long");
    else if (w->n == 0)
        ferr_invalid(e, &here, w, "must not be an empty string");
}

static void versions(struct kind_ctx *c, const struct json *spec, const struct json *was, const struct fpath *at, struct err **e)
{
    struct fpath list = FPATH(at, "versions");
    const struct json *all = json_get(spec, STR("versions"));
    size_t i = 0, storage = 0;
    bool twice = false;
    json_for (all, v) {
        struct fpath here = fpath_at(&list, i++), name = FPATH(&here, "name");
        const char *why = name_dns1035_label(json_get_str(v, "name"));
        if (why)
            ferr_invalid_str(e, &name, json_get_str(v, "name"), why);
        storage += json_get_bool(v, "storage", false);
        json_for (all, o)
            twice |= o != v && str_eq(json_get_str(o, "name"), json_get_str(v, "name"));
        deprecation(v, &here, e);
        schema_of(c, v, json_get(was, STR("versions")), &here, e);
        subresources(v, &here, e);
        columns(v, &here, e);
        selectable(v, &here, e);
    }
    if (twice)
        ferr_invalid(e, &list, all, "must contain unique version names");
    if (i && storage != 1)
        ferr_invalid(e, &list, all, "must have exactly one version marked as storage version");
}

/* ---- the rest ---- */

static void names(const struct json *n, const struct fpath *at, struct err **e)
{
    static const char *const labels[] = {"plural", "singular", "kind", "listKind"};
    for (size_t i = 0; i < ARRAY_LEN(labels); i++) {
        struct str v = json_get_str(n, labels[i]);
        struct fpath here = fpath_name(at, str_of(labels[i]));
        char lower[64];
        size_t k = 0;
        for (; k < v.n && k < sizeof lower; k++) /* a kind is a label but for its capitals */
            lower[k] = (char)(i >= 2 && v.p[k] >= 'A' && v.p[k] <= 'Z' ? v.p[k] + 32 : v.p[k]);
        const char *why = v.n ? name_dns1035_label(v.n <= sizeof lower ? str_make(lower, k) : v) : NULL;
        if (why)
            ferr_invalid_str(e, &here, v, i >= 2 ? "may have mixed case, but should otherwise match: a DNS-1035 label" : why);
    }
    static const char *const lists[] = {"shortNames", "categories"};
    for (size_t l = 0; l < ARRAY_LEN(lists); l++) {
        struct fpath list = fpath_name(at, str_of(lists[l]));
        size_t i = 0;
        json_for (json_get(n, str_of(lists[l])), x) {
            struct fpath here = fpath_at(&list, i++);
            const char *why = name_dns1035_label(json_as_str(x));
            if (why)
                ferr_invalid_str(e, &here, json_as_str(x), why);
        }
    }
    struct fpath list_at = FPATH(at, "listKind");
    if (json_get_str(n, "kind").n && str_eq(json_get_str(n, "kind"), json_get_str(n, "listKind")))
        ferr_invalid_str(e, &list_at, json_get_str(n, "listKind"), "kind and listKind may not be the same");
}

static void conversion(const struct json *spec, const struct fpath *at, struct err **e)
{
    const struct json *c = json_get(spec, STR("conversion")), *hook = json_get(c, STR("webhook")),
                      *cc = json_get(hook, STR("clientConfig")), *list = json_get(hook, STR("conversionReviewVersions"));
    struct fpath here = FPATH(at, "conversion"), hook_at = FPATH(&here, "webhookClientConfig"),
                 versions_at = FPATH(&here, "conversionReviewVersions");
    bool known = false;
    if (!str_eqz(json_get_str(c, "strategy"), "Webhook")) {
        if (cc)
            ferr_forbidden(e, &hook_at, "should not be set when strategy is not set to Webhook");
        if (json_count(list))
            ferr_forbidden(e, &versions_at, "should not be set when strategy is not set to Webhook");
        return;
    }
    if (!cc)
        ferr_required(e, &hook_at, "required when strategy is set to Webhook");
    else if (json_is(json_get(cc, STR("url")), JSON_STR) == json_is(json_get(cc, STR("service")), JSON_OBJ))
        ferr_required(e, &hook_at, "exactly one of url or service is required");
    json_for (list, v)
        known |= str_eqz(json_as_str(v), "v1") || str_eqz(json_as_str(v), "v1beta1");
    if (!json_count(list))
        ferr_required(e, &versions_at, "");
    else if (!known)
        ferr_invalid(e, &versions_at, list, "must include at least one of v1, v1beta1");
    struct fpath keep = FPATH(at, "preserveUnknownFields");
    if (json_get_bool(spec, "preserveUnknownFields", false))
        ferr_invalid(e, &keep, json_get(spec, STR("preserveUnknownFields")), "must be false in order to use conversion webhooks");
}

/* KEP-1111: groups of the community want a reviewer's word. */
static void approval(const struct json *doc, const struct json *old, struct err **e)
{
    static const char note[] = "api-approved.kubernetes.io";
    struct str group = json_str_at(doc, "spec", "group", NULL);
    const struct json *a = json_get(json_path(doc, "metadata", "annotations", NULL), STR("api-approved.kubernetes.io"));
    struct fpath meta = FPATH(NULL, "metadata"), ann = FPATH(&meta, "annotations"), here = fpath_key(&ann, str_of(note));
    bool community = str_eqz(group, "k8s.io") || str_ends(group, STR(".k8s.io")) || str_eqz(group, "kubernetes.io") ||
                     str_ends(group, STR(".kubernetes.io"));
    struct str v = json_as_str(a);
    if (!community || (old && !json_get(json_path(old, "metadata", "annotations", NULL), str_of(note))))
        return;
    if (!v.n)
        ferr_required(e, &here,
            "protected groups must have approval annotation \"api-approved.kubernetes.io\", see "
            "https://github.com/kubernetes/enhancements/pull/1111");
    else if (!str_starts(v, STR("unapproved")) && !str_starts(v, STR("https://")) && !str_starts(v, STR("http://")))
        ferr_invalid_str(e, &here, v,
            "protected groups must have approval annotation \"api-approved.kubernetes.io\" with either a URL or a reason starting with "
            "\"unapproved\", see https://github.com/kubernetes/enhancements/pull/1111");
}

static void immutable(const struct json *spec, const struct json *was, bool established, const struct fpath *at, struct err **e)
{
    static const struct {
        const char *member;
        bool names, once;
    } fixed[] = {{"group", false, false}, {"scope", false, true}, {"kind", true, true}, {"plural", true, false}};
    struct fpath names_at = FPATH(at, "names");
    for (size_t i = 0; was && i < ARRAY_LEN(fixed); i++) {
        struct str key = str_of(fixed[i].member);
        struct fpath here = fpath_name(fixed[i].names ? &names_at : at, key);
        const struct json *a = json_get(fixed[i].names ? json_get(spec, STR("names")) : spec, key),
                          *b = json_get(fixed[i].names ? json_get(was, STR("names")) : was, key);
        if (a && b && (!fixed[i].once || established) && !json_equal(a, b))
            ferr_invalid(e, &here, a, "field is immutable");
    }
}

static void stored(const struct json *doc, struct err **e)
{
    struct fpath status = FPATH(NULL, "status"), at = FPATH(&status, "storedVersions");
    const struct json *list = json_path(doc, "status", "storedVersions", NULL);
    size_t i = 0;
    json_for (list, s) {
        struct fpath here = fpath_at(&at, i++);
        bool there = false;
        json_for (json_path(doc, "spec", "versions", NULL), v)
            there |= str_eq(json_get_str(v, "name"), json_as_str(s));
        if (there)
            continue;
        struct buf b = BUF_INIT;
        buf_printf(&b,
            "missing from spec.versions; %.*s was previously a storage version, and must remain in spec.versions until a storage migration "
            "ensures no data "
            "remains persisted in %.*s and removes %.*s from status.storedVersions",
            STR_ARG(json_as_str(s)), STR_ARG(json_as_str(s)), STR_ARG(json_as_str(s)));
        ferr_invalid_str(e, &here, json_as_str(s), b.p);
        buf_clear(&b);
    }
}

static bool is_established(const struct json *doc)
{
    json_for (json_path(doc, "status", "conditions", NULL), x)
        if (str_eqz(json_get_str(x, "type"), "Established"))
            return str_eqz(json_get_str(x, "status"), "True");
    return false;
}

static void validate(struct kind_ctx *c, const struct json *doc, const struct json *old, struct err **e)
{
    struct fpath at = FPATH(NULL, "spec"), names_at = FPATH(&at, "names"), meta = FPATH(NULL, "metadata"), name_at = FPATH(&meta, "name"),
                 group_at = FPATH(&at, "group"), keep_at = FPATH(&at, "preserveUnknownFields");
    const struct json *spec = json_get(doc, STR("spec")), *n = json_get(spec, STR("names")), *was = json_get(old, STR("spec"));
    struct str name = json_str_at(doc, "metadata", "name", NULL), group = json_get_str(spec, "group"), plural = json_get_str(n, "plural");
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
    names(n, &names_at, e);
    if (json_get_bool(spec, "preserveUnknownFields", false) && !json_get_bool(was, "preserveUnknownFields", false))
        ferr_invalid(e, &keep_at, json_get(spec, STR("preserveUnknownFields")),
            "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead");
    versions(c, spec, was, &at, e);
    conversion(spec, &at, e);
    approval(doc, old, e);
    immutable(spec, was, is_established(old), &at, e);
    if (old)
        stored(doc, e);
}

const struct kind_hooks kind_crd = {
    KIND("apiextensions.k8s.io", "CustomResourceDefinition"), .dflt = dflt, .prepare = prepare, .validate = validate};
