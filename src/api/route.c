#include "api/impl.h"

const char *verb_name(enum verb v)
{
    static const char *const names[] = {"", "get", "list", "watch", "create", "update", "patch", "delete", "deletecollection"};
    return names[v];
}

static enum verb method_verb(struct str m)
{
    static const struct {
        struct str method;
        enum verb verb;
    } rows[] = {
        {STR("GET"), VERB_GET},
        {STR("HEAD"), VERB_GET},
        {STR("POST"), VERB_CREATE},
        {STR("PUT"), VERB_UPDATE},
        {STR("PATCH"), VERB_PATCH},
        {STR("DELETE"), VERB_DELETE},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (str_eq(rows[i].method, m))
            return rows[i].verb;
    return VERB_NONE;
}

/* The value of a boolean query parameter as Kubernetes' conversion takes it: given and neither 0 nor false. */
static bool query_true(const struct http_req *rq, struct str name)
{
    struct str v = http_query(rq, name);
    return v.p && !str_eqz(v, "0") && !str_eqz(v, "false");
}

/* list and watch with metadata.name=x are authorised as for that object (KEP-4601 and before it request info). */
static void pinned_name(struct pool *p, const struct http_req *rq, struct request_info *ri)
{
    struct str text = http_query(rq, STR("fieldSelector"));
    struct selector s;
    if (str_empty(text) || field_selector_parse(p, text, &s, NULL) < 0)
        return;
    for (size_t i = 0; i < s.n; i++)
        if (str_eqz(s.reqs[i].key, "metadata.name") && s.reqs[i].op == SEL_IN && s.reqs[i].nvalues == 1 && !str_empty(s.reqs[i].values[0]))
            ri->name = s.reqs[i].values[0];
}

static void resource_verb(struct pool *p, const struct http_req *rq, struct request_info *ri, bool watch_prefix)
{
    bool tunnel =
        str_eqz(rq->method, "CONNECT") && !str_empty(rq->protocol); /* HTTP/2's way to upgrade (RFC 8441): what HTTP/1.1 sends as GET */
    ri->verb = tunnel ? VERB_GET : method_verb(rq->method);
    if (ri->verb == VERB_GET && (watch_prefix || (str_empty(ri->name) && str_empty(ri->sub)))) {
        ri->verb = watch_prefix || query_true(rq, STR("watch")) ? VERB_WATCH : VERB_LIST;
        if (str_empty(ri->name))
            pinned_name(p, rq, ri);
    } else if (ri->verb == VERB_DELETE && str_empty(ri->name)) {
        ri->verb = VERB_DELETECOLLECTION;
    }
}

/* parts: what stands behind the version. */
static void resource_path(struct request_info *ri, struct str *parts, size_t n, struct str rest)
{
    /* RBAC of a namespace decides about the namespace object too: ns is set for /namespaces/x as well */
    if (str_eqz(parts[0], "namespaces")) {
        if (n > 1) {
            ri->ns = parts[1];
            bool own_sub = n == 3 && (str_eqz(parts[2], "status") || str_eqz(parts[2], "finalize"));
            if (n > 2 && !own_sub)
                parts += 2, n -= 2;
        }
    }
    ri->res = parts[0];
    if (n > 1)
        ri->name = parts[1];
    if (n > 2)
        ri->sub = parts[2];
    ri->rest = rest;
}

#define ROUTE_PARTS 9

void route_parse(struct pool *p, const struct http_req *rq, struct request_info *ri)
{
    *ri = (struct request_info){.http_verb = STR("")};
    char *lower = pool_strz(p, rq->method);
    for (char *q = lower; *q; q++)
        *q = (char)(*q >= 'A' && *q <= 'Z' ? *q + 32 : *q);
    ri->http_verb = (struct str){lower, rq->method.n};
    struct str raw = rq->path, parts[ROUTE_PARTS], rest = STR_NULL;
    size_t n = 0;
    if (!http_unescape(p, raw, &ri->path))
        ri->path = raw;
    while (raw.n && raw.p[0] == '/')
        raw = str_sub(raw, 1, raw.n);
    while (raw.n && raw.p[raw.n - 1] == '/' && n == 0)
        raw.n--;
    struct str left = raw, piece;
    while (n < ROUTE_PARTS && left.n && str_split(&left, '/', &piece)) {
        struct str plain = piece;
        if (!http_unescape(p, piece, &plain))
            return;
        parts[n++] = plain;
    }
    rest = left;
    if (n == 0 || !(str_eqz(parts[0], "api") || str_eqz(parts[0], "apis")))
        return;
    size_t at = str_eqz(parts[0], "api") ? 2 : 3;
    if (n <= at)
        return;
    if (at == 3)
        ri->group = parts[1];
    ri->version = parts[at - 1];
    bool watch_prefix = str_eqz(parts[at], "watch");
    if (watch_prefix && ++at >= n)
        return;
    /* what stands behind the subresource, as sent: a proxy passes it on */
    size_t fixed = at +
                   (str_eqz(parts[at], "namespaces") && n > at + 2 &&
                               !(n == at + 3 && (str_eqz(parts[at + 2], "status") || str_eqz(parts[at + 2], "finalize")))
                           ? 2
                           : 0) +
                   3;
    if (n > fixed || left.n) {
        struct str tail = raw, skip;
        for (size_t i = 0; i < MIN(fixed, n); i++)
            (void)str_split(&tail, '/', &skip);
        rest = tail;
        n = MIN(n, fixed);
    }
    ri->resource = true;
    resource_path(ri, parts + at, n - at, rest);
    resource_verb(p, rq, ri, watch_prefix);
}

static const struct route routes[] = {
    {"/api", false, route_discovery},
    {"/apis", false, route_discovery},
    {"/api/", false, route_discovery},
    {"/apis/", false, route_discovery},
    {"/version", false, route_version},
    {"/version/", false, route_version},
    {"/healthz", true, route_health},
    {"/livez", true, route_health},
    {"/readyz", true, route_health},
    {"/healthz/", true, route_health},
    {"/livez/", true, route_health},
    {"/readyz/", true, route_health},
    {"/metrics", false, route_metrics},
    {"/metrics/slis", false, route_slis},
    {"/openapi/v2", false, route_openapi_v2},
    {"/openapi/v3", false, route_openapi_v3},
    {"/openapi/v3/", false, route_openapi_v3},
    {"/openid/v1/jwks", false, route_jwks},
    {"/.well-known/openid-configuration", false, route_openid},
    {"/cacerts", true, route_ca},
    {"/sampan/v1/cluster", true, route_cluster}, /* it looks at the user itself */
};

static bool route_fits(const struct route *r, struct str path)
{
    struct str want = str_of(r->path);
    return str_eq(want, path) || (want.n > 1 && want.p[want.n - 1] == '/' && str_starts(path, want));
}

/* The longest that fits, the added ones first. */
const struct route *route_path(struct api *a, struct str path)
{
    const struct route *best = NULL;
    for (size_t i = 0; i < a->nextra; i++)
        if (route_fits(&a->extra[i], path) && (!best || strlen(a->extra[i].path) > strlen(best->path)))
            best = &a->extra[i];
    for (size_t i = 0; !best && i < ARRAY_LEN(routes); i++)
        if (route_fits(&routes[i], path))
            return &routes[i];
    return best;
}

static uint32_t verb_bit(enum verb v)
{
    static const uint32_t bits[] = {0, V_GET, V_LIST, V_WATCH, V_CREATE, V_UPDATE, V_PATCH, V_DELETE, V_DELETECOLLECTION};
    return bits[v];
}

/* The row of the stored version of r: of another group for events.k8s.io. */
static const struct schema_resource *stored_row(const struct schema *s, const struct schema_resource *r)
{
    ssize_t slash = str_rchr(r->storage, '/');
    if (slash < 0)
        return r;
    const struct schema_resource *t =
        schema_find(s, str_sub(r->storage, 0, (size_t)slash), r->storage_version, str_sub(r->storage, (size_t)slash + 1, r->storage.n));
    return t ? t : r;
}

static int no_resource(struct err **e)
{
    return err_set(e, ERR_NOT_FOUND, "the server could not find the requested resource");
}

static int no_method(struct err **e)
{
    return err_set(e, ERR_METHOD, "the server does not allow this method on the requested resource");
}

int route_resource(struct call *c, struct err **e)
{
    struct request_info *ri = &c->ri;
    const struct schema_resource *r = schema_find(c->schema, ri->group, ri->version, ri->res);
    if (!r || (r->unserved && c->rq))
        return no_resource(e);
    if (r->deprecated && c->rq)
        call_warn(c, "%.*s", STR_ARG(r->deprecation));
    c->res = r;
    c->stored = stored_row(c->schema, r);
    if (!str_empty(ri->sub) && !(c->sub = schema_sub(r, ri->sub)))
        return no_resource(e);
    bool cluster_path = str_empty(ri->ns) || str_eqz(ri->res, "namespaces");
    if (!r->namespaced && !cluster_path)
        return no_resource(e);
    bool connect = c->sub && !c->sub->type; /* log, exec, proxy: any method the table of handlers knows */
    if (ri->verb == VERB_NONE && !(connect && str_eqz(ri->sub, "proxy"))) /* OPTIONS is what stands behind the proxy's to answer */
        return no_method(e);
    if (r->namespaced && str_empty(ri->ns) && ri->verb != VERB_LIST && ri->verb != VERB_WATCH)
        return str_empty(ri->name) ? no_method(e) : no_resource(e);
    if (!c->sub && ri->verb == VERB_CREATE && c->rq && !str_empty(ri->name))
        return no_method(e);
    if (c->rq && str_empty(ri->name) && (ri->verb == VERB_UPDATE || ri->verb == VERB_PATCH))
        return no_method(e);
    uint32_t allowed = c->sub ? c->sub->verbs : r->verbs;
    if (!connect && !(allowed & verb_bit(ri->verb)))
        return no_method(e);
    c->handler = handler_find(ri, r);
    if (!c->handler)
        return no_method(e);
    if (r->virtual_only && c->accept.shape != SHAPE_OBJECT && ri->verb == VERB_CREATE) { /* a review is no object with metadata */
        if (!c->accept.plain)
            return err_set(e, ERR_NOT_ACCEPTABLE,
                "only the following media types are accepted: application/json, application/yaml, application/vnd.kubernetes.protobuf");
        c->accept.shape = SHAPE_OBJECT;
    }
    if (ri->verb == VERB_CREATE && crd_row(r) && crd_row(r)->ending)
        return err_set(e, ERR_METHOD, "create not allowed while custom resource definition is terminating");
    if (!r->virtual_only)
        c->sres = store_find(c->api->store, r->storage);
    if (!c->sres && !r->virtual_only)
        return err_set(e, ERR_INTERNAL, "no storage for %.*s", STR_ARG(r->storage));
    return 0;
}
