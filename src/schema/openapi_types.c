#include "schema/check.h"
#include "schema/openapi.h"

/* Types that have no table: what a reader should know of them. */
enum { X_QUANTITY, X_INT_OR_STRING, X_TIME, X_MICRO_TIME, X_DURATION, X_FIELDS, X_RAW, X_JSON, X_PATCH, X_COUNT };
static const struct {
    const char *name, *v3, *v2;
} extra[X_COUNT] = {
    [X_QUANTITY] = {"io.k8s.apimachinery.pkg.api.resource.Quantity",
        "\"description\":\"A number with an optional SI or binary suffix.\",\"oneOf\":[{\"type\":\"string\"},"
        "{\"type\":\"number\"}]",
        "\"description\":\"A number with an optional SI or binary suffix.\",\"type\":\"string\""},
    [X_INT_OR_STRING] = {"io.k8s.apimachinery.pkg.util.intstr.IntOrString",
        "\"description\":\"A number or a string.\",\"format\":\"int-or-string\",\"oneOf\":[{\"type\":"
        "\"integer\"},{\"type\":\"string\"}]",
        "\"description\":\"A number or a string.\",\"type\":\"string\",\"format\":\"int-or-string\""},
    [X_TIME] = {"io.k8s.apimachinery.pkg.apis.meta.v1.Time",
        "\"description\":\"A point in time, RFC 3339, in whole seconds.\",\"type\":\"string\",\"format\":\"date-time\"", NULL},
    [X_MICRO_TIME] = {"io.k8s.apimachinery.pkg.apis.meta.v1.MicroTime",
        "\"description\":\"A point in time, RFC 3339, in microseconds.\",\"type\":\"string\",\"format\":"
        "\"date-time\"",
        NULL},
    [X_DURATION] = {"io.k8s.apimachinery.pkg.apis.meta.v1.Duration",
        "\"description\":\"A length of time such as 1m30s.\",\"type\":\"string\"", NULL},
    [X_FIELDS] = {"io.k8s.apimachinery.pkg.apis.meta.v1.FieldsV1", "\"description\":\"A set of fields.\",\"type\":\"object\"", NULL},
    [X_RAW] = {"io.k8s.apimachinery.pkg.runtime.RawExtension", "\"description\":\"An object of any kind.\",\"type\":\"object\"", NULL},
    [X_JSON] = {"io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSON", "\"description\":\"Any JSON value.\"", NULL},
    [X_PATCH] = {"io.k8s.apimachinery.pkg.apis.meta.v1.Patch", "\"description\":\"The body of a patch request.\",\"type\":\"object\"",
        NULL},
};

void openapi_key(struct buf *b, struct str key)
{
    openapi_comma(b);
    json_write_str(b, key);
    buf_putc(b, ':');
}

void openapi_text(struct buf *b, const char *key, struct str v)
{
    openapi_key(b, str_of(key));
    json_write_str(b, v);
}

void openapi_raw(struct buf *b, const char *key, const char *json)
{
    openapi_key(b, str_of(key));
    buf_puts(b, json);
}

void openapi_want(struct openapi *o, const struct schema_type *t)
{
    if (t->cr) /* cr_openapi writes it */
        return;
    size_t i = (size_t)(t - o->s->types);
    if (t < o->s->types || i >= o->s->ntypes || o->wanted[i])
        return;
    o->wanted[i] = 1;
    o->todo[o->ntodo++] = (uint32_t)i;
}

void openapi_ref(struct openapi *o, struct str name)
{
    for (size_t i = 0; i < X_COUNT; i++)
        if (str_eqz(name, extra[i].name))
            o->extra |= 1u << i;
    openapi_key(o->b, STR("$ref"));
    buf_printf(o->b, "\"#/%s/%.*s\"", o->v2 ? "definitions" : "components/schemas", STR_ARG(name));
}

/* In OpenAPI 3.0 nothing may stand beside a $ref, so that one with a description goes into allOf. */
static void reference(struct openapi *o, struct str name, bool alone)
{
    if (o->v2 || alone) {
        openapi_ref(o, name);
        return;
    }
    openapi_raw(o->b, "allOf", "[{");
    openapi_ref(o, name);
    buf_puts(o->b, "}]");
}

static void list_of(struct buf *b, const char *key, const struct str *items, size_t n)
{
    openapi_raw(b, key, "[");
    for (size_t i = 0; i < n; i++) {
        openapi_comma(b);
        json_write_str(b, items[i]);
    }
    buf_putc(b, ']');
}

static void value(struct openapi *o, const struct schema_field *f, uint8_t kind, bool alone);

static void inner(struct openapi *o, const struct schema_field *f, const char *key)
{
    openapi_raw(o->b, key, "{");
    if (f->elem)
        value(o, f->elem, f->elem->kind, true);
    else
        value(o, f, f->item, true);
    buf_putc(o->b, '}');
}

static void scalar(struct buf *b, const char *type, const char *format)
{
    openapi_text(b, "type", str_of(type));
    if (format)
        openapi_text(b, "format", str_of(format));
}

static void value(struct openapi *o, const struct schema_field *f, uint8_t kind, bool alone)
{
    static const uint8_t by_kind[SCH_KINDS] = {[SCH_QUANTITY] = X_QUANTITY + 1,
        [SCH_INT_OR_STRING] = X_INT_OR_STRING + 1,
        [SCH_TIME] = X_TIME + 1,
        [SCH_MICRO_TIME] = X_MICRO_TIME + 1,
        [SCH_DURATION] = X_DURATION + 1,
        [SCH_FIELDS] = X_FIELDS + 1};
    static const struct {
        const char *type, *format;
    } scalars[SCH_KINDS] = {[SCH_STRING] = {"string", NULL},
        [SCH_INT32] = {"integer", "int32"},
        [SCH_INT64] = {"integer", "int64"},
        [SCH_BOOL] = {"boolean", NULL},
        [SCH_DOUBLE] = {"number", "double"},
        [SCH_BYTES] = {"string", "byte"}};
    if (scalars[kind].type) {
        scalar(o->b, scalars[kind].type, scalars[kind].format);
        if (kind == SCH_STRING && f->nenums && f->published)
            list_of(o->b, "enum", f->enums, f->nenums);
    } else if (by_kind[kind]) {
        reference(o, str_of(extra[by_kind[kind] - 1].name), alone);
    } else if (kind == SCH_OBJECT && f->ref) {
        openapi_want(o, f->ref);
        reference(o, f->ref->name, alone);
    } else if (kind == SCH_ANY) {
        reference(o, str_of(extra[f->flags & SCH_EMBEDDED ? X_RAW : X_JSON].name), alone);
    } else if (kind == SCH_ARRAY) {
        scalar(o->b, "array", NULL);
        inner(o, f, "items");
    } else {
        scalar(o->b, "object", NULL);
        if (kind == SCH_MAP)
            inner(o, f, "additionalProperties");
    }
}

static void extensions(struct buf *b, const struct schema_field *f)
{
    if (f->kind == SCH_ARRAY && f->flags & (SCH_LIST_MAP | SCH_LIST_SET | SCH_LIST_ATOMIC)) {
        if (f->flags & SCH_LIST_MAP)
            list_of(b, "x-kubernetes-list-map-keys", f->map_keys, f->nmap_keys);
        openapi_text(b, "x-kubernetes-list-type",
            f->flags & SCH_LIST_MAP   ? STR("map")
            : f->flags & SCH_LIST_SET ? STR("set")
                                      : STR("atomic"));
    } else if (f->flags & SCH_LIST_ATOMIC) {
        openapi_text(b, "x-kubernetes-map-type", STR("atomic"));
    }
    if (f->merge_key.n)
        openapi_text(b, "x-kubernetes-patch-merge-key", f->merge_key);
    if (f->flags & (SCH_PATCH_MERGE | SCH_PATCH_RETAIN_KEYS | SCH_PATCH_REPLACE)) {
        bool merge = f->flags & SCH_PATCH_MERGE, retain = f->flags & SCH_PATCH_RETAIN_KEYS;
        openapi_text(b, "x-kubernetes-patch-strategy",
            merge && retain ? STR("merge,retainKeys")
            : merge         ? STR("merge")
            : retain        ? STR("retainKeys")
                            : STR("replace"));
    }
}

static void property(struct openapi *o, const struct schema_field *f)
{
    openapi_key(o->b, f->name);
    buf_putc(o->b, '{');
    bool more = f->doc.n || f->dflt.p || f->merge_key.n ||
                f->flags & (SCH_LIST_ATOMIC | SCH_PATCH_MERGE | SCH_PATCH_RETAIN_KEYS | SCH_PATCH_REPLACE);
    if (f->doc.n)
        openapi_text(o->b, "description", f->doc);
    value(o, f, f->kind, !more);
    if (f->dflt.p) {
        openapi_key(o->b, STR("default"));
        buf_str_add(o->b, f->dflt);
    }
    extensions(o->b, f);
    buf_putc(o->b, '}');
}

/* The kinds that have this type as their body. */
static void kinds_of(struct openapi *o, const struct schema_type *t)
{
    bool open = false;
    for (uint32_t i = 0; i < o->s->nresources; i++) {
        const struct schema_resource *r = o->s->resources[i];
        bool list = openapi_list_type(o, r) == t;
        if (r->type != t && !list)
            continue;
        if (!open)
            openapi_raw(o->b, "x-kubernetes-group-version-kind", "[");
        open = true;
        openapi_comma(o->b);
        struct buf kind = BUF_INIT;
        buf_printf(&kind, "%.*s%s", STR_ARG(r->kind), list ? "List" : "");
        openapi_gvk(o->b, r->group, r->version, buf_str(&kind));
        buf_clear(&kind);
    }
    if (open)
        buf_putc(o->b, ']');
}

void openapi_gvk(struct buf *b, struct str group, struct str version, struct str kind)
{
    buf_putc(b, '{');
    openapi_text(b, "group", group.p ? group : STR(""));
    openapi_text(b, "kind", kind);
    openapi_text(b, "version", version);
    buf_putc(b, '}');
}

static void type(struct openapi *o, const struct schema_type *t)
{
    struct buf *b = o->b;
    openapi_key(b, t->name);
    buf_putc(b, '{');
    if (t->doc.n)
        openapi_text(b, "description", t->doc);
    openapi_text(b, "type", STR("object"));
    bool open = false;
    for (uint16_t i = 0; i < t->nfields; i++) {
        if (!(t->fields[i].flags & (SCH_REQUIRED | SCH_LISTED)))
            continue;
        if (!open)
            openapi_raw(b, "required", "[");
        open = true;
        openapi_comma(b);
        json_write_str(b, t->fields[i].name);
    }
    if (open)
        buf_putc(b, ']');
    if (t->nfields) {
        openapi_raw(b, "properties", "{");
        for (uint16_t i = 0; i < t->nfields; i++)
            property(o, &t->fields[i]);
        buf_putc(b, '}');
    }
    kinds_of(o, t);
    if (t->flags & SCH_LIST_ATOMIC)
        openapi_text(b, "x-kubernetes-map-type", STR("atomic"));
    buf_putc(b, '}');
}

void openapi_schemas(struct openapi *o)
{
    while (o->ntodo) {
        const struct schema_type *t = &o->s->types[o->todo[--o->ntodo]];
        type(o, t);
    }
    for (size_t i = 0; i < X_COUNT; i++) {
        if (!(o->extra & 1u << i))
            continue;
        openapi_key(o->b, str_of(extra[i].name));
        buf_printf(o->b, "{%s}", o->v2 && extra[i].v2 ? extra[i].v2 : extra[i].v3);
    }
}

const struct schema_type *openapi_list_type(const struct openapi *o, const struct schema_resource *r)
{
    char name[256];
    size_t n = r->type->name.n;
    if (n + 4 >= sizeof(name) || !(r->verbs & V_LIST))
        return NULL;
    memcpy(name, r->type->name.p, n);
    memcpy(name + n, "List", 4);
    return schema_find_type(o->s, str_make(name, n + 4));
}
