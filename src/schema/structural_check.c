#include "cel/regex.h"
#include "schema/structural.h"

/* What makes a schema structural, and what Kubernetes forbids in a CRD's schema beside that. One walk; messages are apiextensions'. */

enum level { ROOT, ITEM, FIELD };
struct walk {
    struct err **e;
    int depth;
};

static bool empty_obj(const struct json *v)
{
    return !v || (v->type == JSON_OBJ && v->n == 0);
}

static void pattern(const struct json *s, const struct fpath *at, struct err **e)
{
    struct str text = json_get_str(s, "pattern");
    _cleanup_(regex_freep) struct regex *r = NULL;
    struct err *why = NULL;
    if (!text.n || regex_new(text, &r, &why) == 0)
        return;
    struct fpath here = FPATH(at, "pattern");
    struct buf b = BUF_INIT;
    buf_printf(&b, "must be a valid regular expression, but isn't: %s", err_msg(why));
    ferr_invalid_str(e, &here, text, b.p);
    buf_clear(&b);
    err_free(why);
}

/* anyOf: [{type: integer}, {type: string}] beside x-kubernetes-int-or-string */
static bool int_or_string(const struct json *any)
{
    return json_count(any) == 2 && str_eqz(json_get_str(json_at(any, 0), "type"), "integer") &&
           str_eqz(json_get_str(json_at(any, 1), "type"), "string") && json_count(json_at(any, 0)) == 1 && json_count(json_at(any, 1)) == 1;
}

static void forbid(const struct json *s, const struct fpath *at, const char *key, struct err **e)
{
    const struct json *v = json_get(s, str_of(key));
    struct fpath here = fpath_name(at, str_of(key));
    bool zero = !v || v->type == JSON_NULL || (v->type == JSON_BOOL && !v->b) || (v->type == JSON_STR && v->n == 0);
    if (!zero)
        ferr_forbidden(e, &here,
            str_eqz(str_of(key), "additionalProperties") ? "must be undefined to be structural" : "must be empty to be structural");
}

static void nested(struct walk *w, const struct json *s, const struct json *outer, bool skip_any, const struct fpath *at);

static void junctors(struct walk *w, const struct json *s, const struct json *outer, bool skip_any, const struct fpath *at)
{
    static const char *const keys[] = {"allOf", "anyOf", "oneOf"};
    bool ios = json_get_bool(outer, "x-kubernetes-int-or-string", false);
    for (size_t k = 0; k < ARRAY_LEN(keys); k++) {
        struct fpath list = fpath_name(at, str_of(keys[k]));
        size_t i = 0;
        if (k == 1 && skip_any)
            continue;
        json_for (json_get(s, str_of(keys[k])), x) {
            struct fpath here = fpath_at(&list, i);
            nested(w, x, outer, k == 0 && i == 0 && ios && int_or_string(json_get(x, STR("anyOf"))), &here);
            i++;
        }
    }
    struct fpath not_at = FPATH(at, "not");
    if (json_is(json_get(s, STR("not")), JSON_OBJ))
        nested(w, json_get(s, STR("not")), outer, false, &not_at);
}

/* Below a junctor: only values are judged, and what it names stands outside too. */
static void nested(struct walk *w, const struct json *s, const struct json *outer, bool skip_any, const struct fpath *at)
{
    static const char *const none[] = {"type", "additionalProperties", "title", "description", "default", "nullable",
        "x-kubernetes-preserve-unknown-fields", "x-kubernetes-embedded-resource", "x-kubernetes-int-or-string", "x-kubernetes-list-type",
        "x-kubernetes-map-type"};
    const struct json *props = json_get(outer, STR("properties")), *items = json_get(s, STR("items"));
    if (w->depth > 64)
        return;
    w->depth++;
    pattern(s, at, w->e);
    for (size_t i = 0; i < ARRAY_LEN(none); i++)
        forbid(s, at, none[i], w->e);
    junctors(w, s, outer, skip_any, at);
    struct fpath props_at = FPATH(at, "properties"), items_at = FPATH(at, "items");
    json_for (json_get(s, STR("properties")), x) {
        struct fpath here = fpath_key(&props_at, json_key(x));
        const struct json *same = json_get(props, json_key(x));
        if (!same && !json_is(json_get(outer, STR("additionalProperties")), JSON_OBJ)) {
            struct buf b = BUF_INIT;
            struct fpath up = FPATH(NULL, "properties"), missing = fpath_key(&up, json_key(x));
            (void)missing;
            ferr_required(w->e, &here, "because it is defined in a nested value validation");
            buf_clear(&b);
        }
        nested(w, x, same, false, &here);
    }
    if (json_is(items, JSON_OBJ))
        nested(w, items, json_get(outer, STR("items")), false, &items_at);
    if (json_count(json_get(s, STR("x-kubernetes-validations")))) {
        struct fpath here = FPATH(at, "x-kubernetes-validations");
        ferr_forbidden(w->e, &here, "must be empty to be structural");
    }
    w->depth--;
}

static void type_rules(const struct json *s, enum level l, const struct fpath *at, struct err **e)
{
    static const char *const missing[] = {
        "must not be empty at the root", "must not be empty for specified array items", "must not be empty for specified object fields"};
    static const char *const known[] = {"object", "array", "string", "integer", "number", "boolean"};
    struct str type = json_get_str(s, "type");
    struct fpath here = FPATH(at, "type");
    bool emb = json_get_bool(s, "x-kubernetes-embedded-resource", false), ios = json_get_bool(s, "x-kubernetes-int-or-string", false),
         keep = json_get_bool(s, "x-kubernetes-preserve-unknown-fields", false), fine = false;
    if (emb && !str_eqz(type, "object")) {
        if (type.n)
            ferr_invalid_str(e, &here, type, "must be object if x-kubernetes-embedded-resource is true");
        else
            ferr_required(e, &here, "must be object if x-kubernetes-embedded-resource is true");
    } else if (!type.n && !ios && !keep) {
        ferr_required(e, &here, missing[l]);
    }
    for (size_t i = 0; i < ARRAY_LEN(known); i++)
        fine |= str_eqz(type, known[i]);
    if (type.n && !fine)
        ferr_not_supported(e, &here, type,
            (const struct str[]){STR("array"), STR("boolean"), STR("integer"), STR("number"), STR("object"), STR("string")}, 6);
    if (l == ROOT && type.n && fine && !str_eqz(type, "object"))
        ferr_invalid_str(e, &here, type, "must be object at the root");
    struct fpath keep_at = FPATH(at, "x-kubernetes-preserve-unknown-fields");
    if (ios && keep)
        ferr_invalid(
            e, &keep_at, json_get(s, STR("x-kubernetes-preserve-unknown-fields")), "must be false if x-kubernetes-int-or-string is true");
    struct fpath emb_at = FPATH(at, "x-kubernetes-embedded-resource");
    if (ios && emb)
        ferr_invalid(e, &emb_at, json_get(s, STR("x-kubernetes-embedded-resource")), "must be false if x-kubernetes-int-or-string is true");
    struct fpath props_at = FPATH(at, "properties");
    if (emb && !keep && empty_obj(json_get(s, STR("properties"))))
        ferr_required(
            e, &props_at, "must not be empty if x-kubernetes-embedded-resource is true without x-kubernetes-preserve-unknown-fields");
}

static void list_rules(const struct json *s, const struct fpath *at, struct err **e)
{
    struct str type = json_get_str(s, "type"), list = json_get_str(s, "x-kubernetes-list-type"),
               map = json_get_str(s, "x-kubernetes-map-type");
    const struct json *keys = json_get(s, STR("x-kubernetes-list-map-keys")), *items = json_get(s, STR("items"));
    struct fpath list_at = FPATH(at, "x-kubernetes-list-type"), keys_at = FPATH(at, "x-kubernetes-list-map-keys"),
                 map_at = FPATH(at, "x-kubernetes-map-type"), type_at = FPATH(at, "type");
    static const struct str lists[] = {STR("atomic"), STR("map"), STR("set")}, maps[] = {STR("atomic"), STR("granular")};
    if (list.n && !str_eqz(type, "array")) {
        if (type.n)
            ferr_invalid_str(e, &type_at, type, "must be array if x-kubernetes-list-type is specified");
        else
            ferr_required(e, &type_at, "must be array if x-kubernetes-list-type is specified");
    }
    if (list.n && !str_eqz(list, "atomic") && !str_eqz(list, "map") && !str_eqz(list, "set"))
        ferr_not_supported(e, &list_at, list, lists, 3);
    if (map.n && !str_eqz(map, "atomic") && !str_eqz(map, "granular"))
        ferr_not_supported(e, &map_at, map, maps, 2);
    if (json_count(keys) && !str_eqz(list, "map")) {
        if (list.n)
            ferr_invalid_str(e, &list_at, list, "must be map if x-kubernetes-list-map-keys is non-empty");
        else
            ferr_required(e, &list_at, "must be map if x-kubernetes-list-map-keys is non-empty");
    }
    if (!str_eqz(list, "map"))
        return;
    if (!json_count(keys))
        ferr_required(e, &keys_at, "must not be empty if x-kubernetes-list-type is map");
    size_t i = 0;
    json_for (keys, k) {
        struct fpath here = fpath_at(&keys_at, i++);
        const struct json *prop = json_get(json_get(items, STR("properties")), json_as_str(k));
        bool need = prop && !json_get(prop, STR("default"));
        json_for (json_get(items, STR("required")), r)
            if (str_eq(json_as_str(r), json_as_str(k)))
                need = false;
        if (!prop)
            ferr_invalid_str(e, &here, json_as_str(k), "entries must all be names of item properties");
        if (need) {
            struct fpath items_at = FPATH(at, "items"), ip = FPATH(&items_at, "properties"), one = fpath_key(&ip, json_as_str(k)),
                         d = FPATH(&one, "default");
            ferr_required(e, &d, "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property");
        }
    }
}

static void forbidden(const struct json *s, const struct fpath *at, struct err **e)
{
    static const struct {
        const char *key, *why;
    } rows[] = {{"$ref", "$ref is not supported"}, {"id", "id is not supported"}, {"definitions", "definitions is not supported"},
        {"dependencies", "dependencies is not supported"}, {"patternProperties", "patternProperties is not supported"},
        {"additionalItems", "additionalItems is not supported"}};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const struct json *v = json_get(s, str_of(rows[i].key));
        struct fpath here = fpath_name(at, str_of(rows[i].key));
        if (v && v->type != JSON_NULL && !(v->type == JSON_STR && !v->n) && !(v->type == JSON_OBJ && !v->n))
            ferr_forbidden(e, &here, rows[i].why);
    }
    struct fpath unique = FPATH(at, "uniqueItems"), both = FPATH(at, "additionalProperties");
    if (json_get_bool(s, "uniqueItems", false))
        ferr_forbidden(e, &unique, "uniqueItems cannot be set to true since the runtime complexity becomes quadratic");
    const struct json *more = json_get(s, STR("additionalProperties"));
    if (json_is(more, JSON_BOOL) && !more->b)
        ferr_forbidden(e, &both, "additionalProperties cannot be set to false");
    else if (more && more->type != JSON_NULL && json_count(json_get(s, STR("properties"))))
        ferr_forbidden(e, &both, "additionalProperties and properties are mutual exclusive");
}

static void metadata(const struct json *m, enum level l, bool check, const struct fpath *at, struct err **e)
{
    struct fpath type_at = FPATH(at, "type");
    if (check && !str_eqz(json_get_str(m, "type"), "object"))
        ferr_invalid_str(e, &type_at, json_get_str(m, "type"), "must be object");
    if (l != ROOT)
        return;
    bool fine = true;
    json_for (m, x) {
        struct str k = json_key(x);
        if (str_eqz(k, "properties"))
            json_for (x, p)
                fine &= str_eqz(json_key(p), "name") || str_eqz(json_key(p), "generateName");
        else
            fine &= str_eqz(k, "type") || str_eqz(k, "description") || str_eqz(k, "default");
    }
    if (!fine)
        ferr_forbidden(e, at, "must not specify anything other than name and generateName, but metadata is implicitly specified");
}

static void structural(struct walk *w, const struct json *s, enum level l, const struct fpath *at)
{
    const struct json *items = json_get(s, STR("items")), *more = json_get(s, STR("additionalProperties"));
    struct fpath items_at = FPATH(at, "items"), props_at = FPATH(at, "properties"), more_at = FPATH(at, "additionalProperties");
    bool emb = json_get_bool(s, "x-kubernetes-embedded-resource", false);
    if (w->depth > 64) {
        ferr_forbidden(w->e, at, "the schema nests more than 64 levels deep");
        return;
    }
    w->depth++;
    if (str_eqz(json_get_str(s, "type"), "array") && !json_is(items, JSON_OBJ))
        ferr_required(w->e, &items_at, json_is(items, JSON_ARR) ? "must be a schema object and not an array" : "must be specified");
    if (json_is(items, JSON_OBJ))
        structural(w, items, ITEM, &items_at);
    json_for (json_get(s, STR("properties")), x) {
        struct fpath here = fpath_key(&props_at, json_key(x));
        if ((l == ROOT || emb) && str_eqz(json_key(x), "metadata"))
            metadata(x, l, true, &here, w->e);
        else
            structural(w, x, FIELD, &here);
    }
    if (more && more->type != JSON_NULL && l == ROOT)
        ferr_forbidden(w->e, &more_at, "must not be used at the root");
    if (json_is(more, JSON_OBJ))
        structural(w, more, FIELD, &more_at);
    bool ios = json_get_bool(s, "x-kubernetes-int-or-string", false);
    junctors(w, s, s, ios && int_or_string(json_get(s, STR("anyOf"))), at);
    pattern(s, at, w->e);
    type_rules(s, l, at, w->e);
    list_rules(s, at, w->e);
    forbidden(s, at, w->e);
    w->depth--;
}

void cr_violations(const struct json *schema, const struct fpath *at, struct err **e)
{
    struct walk w = {.e = e};
    structural(&w, schema, ROOT, at);
}
