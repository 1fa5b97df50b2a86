#include "schema/openapi.h"

#define META "io.k8s.apimachinery.pkg.apis.meta.v1."

struct operation {
    const struct schema_resource *r;
    const struct schema_subresource *sub; /* NULL: the resource itself */
    bool namespaced, named, all;          /* all: over all namespaces */
};

enum { Q_PRETTY = 1, Q_WRITE = 2, Q_FORCE = 4, Q_LIST = 8, Q_DELETE = 16 };
static const struct {
    const char *name, *type;
    unsigned in;
} queries[] = {{"pretty", "string", Q_PRETTY}, {"dryRun", "string", Q_WRITE | Q_DELETE}, {"fieldManager", "string", Q_WRITE},
    {"fieldValidation", "string", Q_WRITE}, {"force", "boolean", Q_FORCE}, {"allowWatchBookmarks", "boolean", Q_LIST},
    {"continue", "string", Q_LIST}, {"fieldSelector", "string", Q_LIST}, {"labelSelector", "string", Q_LIST}, {"limit", "integer", Q_LIST},
    {"resourceVersion", "string", Q_LIST}, {"resourceVersionMatch", "string", Q_LIST}, {"sendInitialEvents", "boolean", Q_LIST},
    {"timeoutSeconds", "integer", Q_LIST}, {"watch", "boolean", Q_LIST}, {"gracePeriodSeconds", "integer", Q_DELETE},
    {"orphanDependents", "boolean", Q_DELETE}, {"propagationPolicy", "string", Q_DELETE}};

static void parameter(struct openapi *o, const char *name, const char *in, const char *type)
{
    openapi_comma(o->b);
    if (o->v2)
        buf_printf(o->b, "{\"name\":\"%s\",\"in\":\"%s\",\"type\":\"%s\",\"uniqueItems\":true%s}", name, in, type,
            strcmp(in, "path") == 0 ? ",\"required\":true" : "");
    else
        buf_printf(o->b, "{\"name\":\"%s\",\"in\":\"%s\",\"schema\":{\"type\":\"%s\",\"uniqueItems\":true}%s}", name, in, type,
            strcmp(in, "path") == 0 ? ",\"required\":true" : "");
}

static void body_schema(struct openapi *o, struct str type)
{
    buf_puts(o->b, "{");
    openapi_ref(o, type);
    buf_putc(o->b, '}');
}

/* "content":{"a":{"schema":...},...} of OpenAPI 3. */
static void content(struct openapi *o, const char *const *media, size_t n, struct str type)
{
    openapi_raw(o->b, "content", "{");
    for (size_t i = 0; i < n; i++) {
        openapi_key(o->b, str_of(media[i]));
        buf_puts(o->b, "{\"schema\":");
        body_schema(o, type);
        buf_putc(o->b, '}');
    }
    buf_putc(o->b, '}');
}

static const char *const answers[] = {"application/json", "application/yaml", "application/vnd.kubernetes.protobuf"};
static const char *const watches[] = {"application/json", "application/json;stream=watch", "application/yaml", "application/vnd.kubernetes.protobuf",
    "application/vnd.kubernetes.protobuf;stream=watch"};
static const char *const bodies[] = {"application/json", "application/yaml", "application/vnd.kubernetes.protobuf"};
static const char *const patches[] = {"application/apply-patch+yaml", "application/json-patch+json", "application/merge-patch+json",
    "application/strategic-merge-patch+json"};

/* The last ones of each list are not for custom resources: no protobuf, no strategic merge. */
static size_t media_count(const struct openapi *o, const struct schema_resource *r, const char *const *list, size_t n)
{
    (void)o;
    return !r->type->cr ? n : list == watches ? n - 2 : n - 1;
}

struct verb {
    const char *method, *action, *id;
    uint32_t bit;
    unsigned queries;
    bool body, named, list;
};
static const struct verb verbs[] = {{"get", "get", "read", V_GET, Q_PRETTY, false, true, false},
    {"put", "put", "replace", V_UPDATE, Q_PRETTY | Q_WRITE, true, true, false},
    {"patch", "patch", "patch", V_PATCH, Q_PRETTY | Q_WRITE | Q_FORCE, true, true, false},
    {"delete", "delete", "delete", V_DELETE, Q_PRETTY | Q_DELETE, false, true, false},
    {"get", "list", "list", V_LIST, Q_PRETTY | Q_LIST, false, false, true},
    {"post", "post", "create", V_CREATE, Q_PRETTY | Q_WRITE, true, false, false},
    {"delete", "deletecollection", "deletecollection", V_DELETECOLLECTION, Q_PRETTY | Q_LIST | Q_DELETE, false, false, false},
    {"post", "post", "create", V_CREATE, Q_PRETTY | Q_WRITE, true, true, false}}; /* the last one: creating through a subresource */

static void strings(struct openapi *o, const char *key, const char *const *items, size_t n)
{
    openapi_raw(o->b, key, "[");
    for (size_t i = 0; i < n; i++) {
        openapi_comma(o->b);
        json_write_str(o->b, str_of(items[i]));
    }
    buf_putc(o->b, ']');
}

static void answer(struct openapi *o, const struct schema_resource *r, const struct verb *v, struct str type)
{
    openapi_raw(o->b, "responses", "{\"200\":{\"description\":\"OK\"");
    if (o->v2) {
        openapi_key(o->b, STR("schema"));
        body_schema(o, type);
    } else {
        content(o, v->list ? watches : answers, media_count(o, r, v->list ? watches : answers, v->list ? ARRAY_LEN(watches) : ARRAY_LEN(answers)), type);
    }
    buf_puts(o->b, "},\"401\":{\"description\":\"Unauthorized\"}}");
}

static void operation(struct openapi *o, const struct operation *op, const struct verb *v)
{
    const struct schema_type *body = op->sub ? op->sub->type : op->r->type, *list = openapi_list_type(o, op->r);
    struct str kind = op->sub ? op->sub->kind : op->r->kind, type = body->name;
    bool patch = v->bit == V_PATCH, deletes = v->bit == V_DELETE || v->bit == V_DELETECOLLECTION;
    if (v->list && op->r->type->cr)
        type = cr_list_name(o->scratch, op->r);
    else if (v->list && list)
        type = list->name;
    else if (deletes)
        type = STR(META "Status");
    size_t consumed = media_count(o, op->r, patch ? patches : bodies, patch ? ARRAY_LEN(patches) : ARRAY_LEN(bodies));
    struct str request = patch ? STR(META "Patch") : body->name;
    openapi_key(o->b, str_of(v->method));
    buf_printf(o->b, "{\"operationId\":\"%s%.*s%.*s%s%.*s%.*s%s\"", v->id, STR_ARG(op->r->group), STR_ARG(op->r->version),
        op->namespaced ? "Namespaced" : "", STR_ARG(op->r->kind), STR_ARG(op->sub ? op->sub->name : STR("")),
        op->all ? "ForAllNamespaces" : "");
    openapi_raw(o->b, "parameters", "[");
    if (o->v2 && v->body) {
        buf_puts(o->b, "{\"name\":\"body\",\"in\":\"body\",\"required\":true,\"schema\":");
        body_schema(o, request);
        buf_putc(o->b, '}');
    }
    for (size_t i = 0; i < ARRAY_LEN(queries); i++)
        if (queries[i].in & v->queries)
            parameter(o, queries[i].name, "query", queries[i].type);
    buf_putc(o->b, ']');
    if (o->v2) {
        strings(o, "consumes", patch ? patches : bodies, consumed);
        strings(o, "produces", v->list ? watches : answers, media_count(o, op->r, v->list ? watches : answers, v->list ? ARRAY_LEN(watches) : ARRAY_LEN(answers)));
        openapi_raw(o->b, "schemes", "[\"https\"]");
    } else if (v->body) {
        openapi_raw(o->b, "requestBody", "{");
        content(o, patch ? patches : bodies, consumed, request);
        buf_puts(o->b, ",\"required\":true}");
    }
    answer(o, op->r, v, type);
    openapi_text(o->b, "x-kubernetes-action", str_of(v->action));
    openapi_key(o->b, STR("x-kubernetes-group-version-kind"));
    if (op->sub)
        openapi_gvk(o->b, op->sub->group, op->sub->version, kind);
    else
        openapi_gvk(o->b, op->r->group, op->r->version, kind);
    buf_putc(o->b, '}');
}

static void path(struct openapi *o, const struct operation *op)
{
    const struct schema_resource *r = op->r;
    uint32_t allowed = op->sub ? op->sub->verbs : r->verbs;
    struct buf p = BUF_INIT;
    if (r->group.n)
        buf_printf(&p, "/apis/%.*s/%.*s/", STR_ARG(r->group), STR_ARG(r->version));
    else
        buf_printf(&p, "/api/%.*s/", STR_ARG(r->version));
    buf_printf(&p, "%s%.*s%s%s%.*s", op->namespaced ? "namespaces/{namespace}/" : "", STR_ARG(r->resource), op->named ? "/{name}" : "",
        op->sub ? "/" : "", STR_ARG(op->sub ? op->sub->name : STR("")));
    openapi_key(o->b, buf_str(&p));
    buf_clear(&p);
    buf_putc(o->b, '{');
    for (size_t i = 0; i < ARRAY_LEN(verbs); i++) {
        bool through_sub = i == ARRAY_LEN(verbs) - 1;
        if (!(allowed & verbs[i].bit) || verbs[i].named != op->named || (through_sub && !op->sub) || (op->all && !verbs[i].list))
            continue;
        operation(o, op, &verbs[i]);
    }
    openapi_raw(o->b, "parameters", "[");
    if (op->named)
        parameter(o, "name", "path", "string");
    if (op->namespaced)
        parameter(o, "namespace", "path", "string");
    buf_puts(o->b, "]}");
}

void openapi_paths(struct openapi *o, const struct schema_resource *r)
{
    struct operation op = {.r = r, .namespaced = r->namespaced};
    const struct schema_type *list = openapi_list_type(o, r);
    if (r->unserved)
        return;
    openapi_want(o, r->type);
    if (list)
        openapi_want(o, list);
    path(o, &op);
    if (r->namespaced && r->verbs & V_LIST) {
        struct operation all = {.r = r, .all = true};
        path(o, &all);
    }
    if (r->verbs & (V_GET | V_UPDATE | V_PATCH | V_DELETE)) {
        op.named = true;
        path(o, &op);
    }
    for (uint8_t i = 0; i < r->nsubs; i++) {
        if (!r->subs[i].type)
            continue;
        struct operation sub = {.r = r, .sub = &r->subs[i], .namespaced = r->namespaced, .named = true};
        openapi_want(o, r->subs[i].type);
        path(o, &sub);
    }
}
