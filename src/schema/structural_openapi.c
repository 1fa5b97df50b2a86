#include "schema/openapi.h"
#include "schema/structural.h"

/* What the OpenAPI documents say of custom resources: their own schema, with apiVersion, kind and metadata added. In version 2 with what
 * its readers (kubectl's older validation) cannot take left out, as apiextensions does it. */

#define META "io.k8s.apimachinery.pkg.apis.meta.v1."

static void node(struct openapi *o, const struct json *s, bool meta, bool root);

static void type_meta(struct openapi *o, bool root)
{
    const struct schema_type *m = cr_meta();
    openapi_key(o->b, STR("apiVersion"));
    buf_puts(
        o->b, "{\"type\":\"string\",\"description\":\"APIVersion defines the versioned schema of this representation of an object.\"}");
    openapi_key(o->b, STR("kind"));
    buf_puts(
        o->b, "{\"type\":\"string\",\"description\":\"Kind is a string value representing the REST resource this object represents.\"}");
    openapi_key(o->b, STR("metadata"));
    buf_puts(o->b, "{\"description\":\"Standard object's metadata.\"");
    (void)root;
    if (o->v2) {
        openapi_ref(o, m->name);
    } else {
        openapi_raw(o->b, "allOf", "[{");
        openapi_ref(o, m->name);
        buf_puts(o->b, "}]");
    }
    buf_putc(o->b, '}');
    openapi_want(o, m);
}

static void properties(struct openapi *o, const struct json *s, bool meta, bool root)
{
    const struct json *props = json_get(s, STR("properties"));
    if (!props && !meta)
        return;
    openapi_raw(o->b, "properties", "{");
    if (meta)
        type_meta(o, root);
    json_for (props, x) {
        if (meta && (str_eqz(json_key(x), "apiVersion") || str_eqz(json_key(x), "kind") || str_eqz(json_key(x), "metadata")))
            continue;
        openapi_key(o->b, json_key(x));
        node(o, x, json_get_bool(x, "x-kubernetes-embedded-resource", false), false);
    }
    buf_putc(o->b, '}');
}

static void required(struct openapi *o, const struct json *s)
{
    const struct json *props = json_get(s, STR("properties"));
    bool open = false;
    json_for (json_get(s, STR("required")), x) {
        if (o->v2 && json_get_bool(json_get(props, json_as_str(x)), "nullable", false))
            continue;
        if (!open)
            openapi_raw(o->b, "required", "[");
        open = true;
        openapi_comma(o->b);
        json_write(o->b, x);
    }
    if (open)
        buf_putc(o->b, ']');
}

static void list(struct openapi *o, const struct json *l, const char *key)
{
    openapi_raw(o->b, key, "[");
    json_for (l, x) {
        openapi_comma(o->b);
        node(o, x, false, false);
    }
    buf_putc(o->b, ']');
}

static void member(struct openapi *o, const struct json *x, bool untyped, bool bare)
{
    struct str key = json_key(x);
    bool junctor = str_eqz(key, "allOf") || str_eqz(key, "anyOf") || str_eqz(key, "oneOf");
    if (str_eqz(key, "properties") || str_eqz(key, "required") || (o->v2 && (junctor || str_eqz(key, "not") || str_eqz(key, "nullable"))))
        return;
    if ((untyped && str_eqz(key, "type")) || (bare && str_eqz(key, "items")))
        return;
    if (junctor) {
        list(o, x, pool_strz(o->scratch, key));
        return;
    }
    openapi_key(o->b, key);
    if (x->type == JSON_OBJ && (str_eqz(key, "items") || str_eqz(key, "additionalProperties") || str_eqz(key, "not")))
        node(o, x, json_get_bool(x, "x-kubernetes-embedded-resource", false), false);
    else
        json_write(o->b, x);
}

static void node(struct openapi *o, const struct json *s, bool meta, bool root)
{
    struct str type = json_get_str(s, "type");
    bool nullable = o->v2 && json_get_bool(s, "nullable", false),
         preserve = o->v2 && json_get_bool(s, "x-kubernetes-preserve-unknown-fields", false), bare = nullable || preserve;
    bool untyped =
        nullable || (o->v2 && str_eqz(type, "array") && (bare || !json_get(s, STR("items")))) || (preserve && str_eqz(type, "object"));
    buf_putc(o->b, '{');
    json_for (s, x)
        member(o, x, untyped && !root, bare);
    if (!bare || meta)
        properties(o, bare ? NULL : s, meta, root);
    required(o, s);
    if (!root)
        buf_putc(o->b, '}');
}

struct str cr_list_name(struct pool *p, const struct schema_resource *r)
{
    return pool_printf(p, "%.*sList", STR_ARG(r->type->name));
}

void cr_openapi(struct openapi *o, const struct schema_resource *r)
{
    const struct cr_type *t = r->type->cr;
    _cleanup_(pool_freep) struct pool *p = pool_new();
    const struct json *s = t->pack->source(t->pack->arg, t->version, p);
    const struct schema_type *list_meta = schema_find_type(o->s, STR(META "ListMeta"));
    struct pool *outer = o->scratch;
    o->scratch = p;
    openapi_key(o->b, r->type->name);
    if (!s || (o->v2 && json_get_bool(s, "x-kubernetes-preserve-unknown-fields", false)))
        buf_puts(o->b, "{\"type\":\"object\"");
    else
        node(o, s, true, true);
    openapi_raw(o->b, "x-kubernetes-group-version-kind", "[");
    openapi_gvk(o->b, r->group, r->version, r->kind);
    buf_putc(o->b, ']');
    if (r->nfield_selectors && !o->v2) {
        openapi_raw(o->b, "x-kubernetes-selectable-fields", "[");
        for (uint8_t i = 0; i < r->nfield_selectors; i++) {
            openapi_comma(o->b);
            buf_putc(o->b, '{');
            openapi_text(o->b, "fieldPath", r->field_selectors[i]);
            buf_putc(o->b, '}');
        }
        buf_putc(o->b, ']');
    }
    buf_putc(o->b, '}');
    openapi_key(o->b, cr_list_name(p, r));
    buf_puts(o->b,
        "{\"type\":\"object\",\"required\":[\"items\"],\"properties\":{\"apiVersion\":{\"type\":\"string\"},\"kind\":{\"type\":\"string\"},"
        "\"items\":{\"description\":\"the objects\",\"type\":\"array\",\"items\":{");
    openapi_ref(o, r->type->name);
    buf_puts(o->b, "}},\"metadata\":{");
    if (list_meta) {
        openapi_ref(o, list_meta->name);
        openapi_want(o, list_meta);
    }
    buf_puts(o->b, "}},\"x-kubernetes-group-version-kind\":[");
    openapi_gvk(o->b, r->group, r->version, r->list_kind);
    buf_puts(o->b, "]}");
    o->scratch = outer;
}
