#include "api/aggregate.h"
#include "api/impl.h"

/* OpenAPI documents, made by the schema, kept with their hash (discovery.c). /openapi/v3 is an index of group versions with the hash in
 * each URL, so that clients fetch a document once. */

struct gv3 {
    struct str group, version;
};

static int make_v3(struct call *c, struct buf *out, void *arg, struct err **e)
{
    const struct gv3 *g = arg;
    return schema_openapi_v3(c->schema, g->group, g->version, out, e) < 0 ? -(*e)->code : 0;
}

static int make_v2(struct call *c, struct buf *out, void *arg, struct err **e)
{
    (void)arg;
    return schema_openapi_v2(c->schema, out, e) < 0 ? -(*e)->code : 0;
}

/* kubectl and libraries from before v3 ask for gnostic's protobuf and read nothing else. */
static int make_v2_proto(struct call *c, struct buf *out, void *arg, struct err **e)
{
    (void)arg;
    return schema_openapi_v2_proto(c->schema, out, e) < 0 ? -(*e)->code : 0;
}

int route_openapi_v2(struct call *c, struct err **e)
{
    if (str_find(http_header(c->rq, STR("accept")), STR("com.github.proto-openapi.spec.v2")) >= 0)
        return document_reply(
            c, STR("openapi:v2:proto"), "application/com.github.proto-openapi.spec.v2.v1.0+protobuf", make_v2_proto, NULL, e);
    return document_reply(c, STR("openapi:v2"), "application/json", make_v2, NULL, e);
}

/* "api/v1", "apis/apps/v1". */
static struct str path_of(struct pool *p, struct str group, struct str version)
{
    return str_empty(group) ? pool_printf(p, "api/%.*s", STR_ARG(version))
                            : pool_printf(p, "apis/%.*s/%.*s", STR_ARG(group), STR_ARG(version));
}

/* What a group version's document changes with: the CRDs that are in it. From the registry's row i on. */
static uint64_t stamp_of(struct call *c, struct str path, size_t i)
{
    const struct schema_resource *first = schema_at(c->schema, i), *r;
    struct buf b = BUF_INIT;
    buf_printf(&b, "%.*s/%.*s", STR_ARG(c->api->cfg.version_git), STR_ARG(path));
    for (; (r = schema_at(c->schema, i)) && str_eq(r->group, first->group) && str_eq(r->version, first->version); i++)
        if (r->stamp)
            buf_printf(&b, "/%.*s:%" PRId64, STR_ARG(r->resource), r->stamp);
    uint64_t h = str_hash(buf_str(&b));
    buf_clear(&b);
    return h;
}

/* The far side's own document, fetched through this server. */
static void index_aggregated(void *arg, struct str group, struct str version, const struct json *resources)
{
    struct buf *out = arg, list = BUF_INIT;
    json_write(&list, resources);
    buf_printf(out, ",\"apis/%.*s/%.*s\":{\"serverRelativeURL\":\"/openapi/v3/apis/%.*s/%.*s?hash=%016" PRIx64 "\"}", STR_ARG(group), STR_ARG(version), STR_ARG(group),
        STR_ARG(version), str_hash(buf_str(&list)));
    buf_clear(&list);
}

/* Hashing every document for the index would make all of them: the index names the registry's generation instead until a document was made.
 */
static int make_index(struct call *c, struct buf *out, void *arg, struct err **e)
{
    const struct schema_resource *r;
    struct str last_group = STR_NULL, last_version = STR_NULL;
    size_t n = 0;
    (void)arg, (void)e;
    buf_puts(out, "{\"paths\":{");
    for (size_t i = 0; (r = schema_at(c->schema, i)); i++) {
        if (n && str_eq(r->group, last_group) && str_eq(r->version, last_version))
            continue;
        if (r->unserved)
            continue;
        last_group = r->group, last_version = r->version;
        struct str path = path_of(c->pool, r->group, r->version);
        buf_printf(out, "%s\"%.*s\":{\"serverRelativeURL\":\"/openapi/v3/%.*s?hash=%016" PRIx64 "\"}", n++ ? "," : "", STR_ARG(path),
            STR_ARG(path), stamp_of(c, path, i));
    }
    aggregate_each(c->api, index_aggregated, out);
    buf_puts(out, "}}\n");
    return 0;
}

int route_openapi_v3(struct call *c, struct err **e)
{
    struct str path = c->ri.path, prefix = STR("/openapi/v3/");
    if (!str_starts(path, prefix) || path.n == prefix.n)
        return document_reply(c, STR("openapi:v3"), "application/json", make_index, NULL, e);
    struct str rest = str_sub(path, prefix.n, path.n);
    struct gv3 g = {STR(""), STR_NULL};
    if (str_starts(rest, STR("api/")))
        g.version = str_sub(rest, 4, rest.n);
    else if (!str_starts(rest, STR("apis/")) || !str_cut(str_sub(rest, 5, rest.n), '/', &g.group, &g.version))
        return err_set(e, ERR_NOT_FOUND, "the server could not find the requested resource");
    return document_reply(c, pool_printf(c->pool, "openapi:%.*s", STR_ARG(rest)), "application/json", make_v3, &g, e);
}
