#include "api/aggregate.h"
#include "api/impl.h"
#include "crypto/hash.h"

/* Discovery from the registry: /api, /apis, /api/v1, /apis/<group>/<version>, and the aggregated documents (apidiscovery.k8s.io/v2).
 * Documents are made once per registry and kind. */

struct document {
    struct bytes *bytes;
    char etag[HASH_HEX + 3];
};
struct discovery {
    pthread_mutex_t lock;
    struct schema *of; /* a reference, so that no other one stands at its address */
    struct map documents; /* by name, struct document */
};

static void document_free(void *p)
{
    struct document *d = p;
    bytes_unref(d->bytes);
    free(d);
}

struct discovery *discovery_new(void)
{
    struct discovery *d = xcalloc(1, sizeof *d);
    pthread_mutex_init(&d->lock, NULL);
    return d;
}

void discovery_free(struct discovery *d)
{
    if (!d)
        return;
    map_clear(&d->documents, document_free);
    schema_unref(d->of);
    pthread_mutex_destroy(&d->lock);
    free(d);
}

/* The cached document `name`, made by make when it is not there or of an older registry. The ETag goes out as a header; a match is answered
 * with 304. */
int document_reply(struct call *c, struct str name, const char *type,
    int (*make)(struct call *c, struct buf *out, void *arg, struct err **e), void *arg, struct err **e)
{
    struct discovery *d = c->api->discovery;
    struct bytes *b = NULL;
    struct str etag = STR_NULL;
    int r = 0;
    pthread_mutex_lock(&d->lock);
    if (d->of != c->schema) {
        map_clear(&d->documents, document_free);
        schema_unref(d->of);
        d->of = schema_ref(c->schema);
    }
    struct document *doc = map_get(&d->documents, name);
    if (!doc) {
        struct buf out = BUF_INIT;
        r = make(c, &out, arg, e);
        if (r >= 0) {
            char hex[HASH_HEX + 1];
            doc = xcalloc(1, sizeof *doc);
            hash_sha256_hex(buf_str(&out), hex);
            for (char *q = hex; *q; q++)
                *q = (char)(*q >= 'a' ? *q - 32 : *q);
            snprintf(doc->etag, sizeof doc->etag, "\"%s\"", hex);
            doc->bytes = buf_to_bytes(&out);
            (void)map_put(&d->documents, name, doc);
        }
        buf_clear(&out);
    }
    if (doc) {
        b = bytes_ref(doc->bytes);
        etag = pool_str(c->pool, str_of(doc->etag));
    }
    pthread_mutex_unlock(&d->lock);
    if (r < 0)
        return r;
    call_header(c, "etag", etag);
    call_header(c, "vary", STR("Accept"));
    if (str_find(http_header(c->rq, STR("if-none-match")), etag) >= 0 && b) {
        bytes_unref(b);
        call_reply_raw(c, 304, type, bytes_new("", 0));
        return 0;
    }
    call_reply_raw(c, 200, type, b);
    return 0;
}

static const struct {
    uint32_t bit;
    const char *name;
} verbs[] = {{V_CREATE, "create"}, {V_DELETE, "delete"}, {V_DELETECOLLECTION, "deletecollection"}, {V_GET, "get"}, {V_LIST, "list"},
    {V_PATCH, "patch"}, {V_UPDATE, "update"}, {V_WATCH, "watch"}};

static void put_verbs(struct pool *p, struct json *o, uint32_t v)
{
    struct json *a = json_put_arr(p, o, STR("verbs"));
    for (size_t i = 0; i < ARRAY_LEN(verbs); i++)
        if (v & verbs[i].bit)
            json_append(a, json_str_view(p, str_of(verbs[i].name)));
}

/* The rows that clients may use, in the registry's order. */
static const struct schema_resource *row_at(const struct call *c, size_t *i)
{
    const struct schema_resource *r;
    while ((r = schema_at(c->schema, *i)) && r->unserved)
        ++*i;
    return r;
}

/* v2 > v1 > v1beta2 > v1beta1 > v1alpha1 > others by name (apimachinery's version.CompareKubeAwareVersionStrings). */
static int64_t version_rank(struct str v)
{
    uint64_t major = 0, minor = 0;
    size_t i = 1, from = 1;
    if (v.n < 2 || v.p[0] != 'v')
        return -1;
    while (i < v.n && v.p[i] >= '0' && v.p[i] <= '9')
        i++;
    if (!str_to_u64(str_sub(v, from, i), &major) || major > 1000000)
        return -1;
    struct str rest = str_sub(v, i, v.n);
    if (!rest.n)
        return (int64_t)((3ull << 50) + (major << 25));
    bool beta = str_starts(rest, STR("beta"));
    if ((!beta && !str_starts(rest, STR("alpha"))) || !str_to_u64(str_sub(rest, beta ? 4 : 5, rest.n), &minor) || minor > 1000000)
        return -1;
    return (int64_t)(((beta ? 2ull : 1ull) << 50) + (major << 25) + minor);
}

static bool version_before(struct str a, struct str b)
{
    int64_t x = version_rank(a), y = version_rank(b);
    return x != y ? x > y : str_cmp(a, b) < 0;
}

/* Puts v, whose member `version` says which it is, at its place among the group's versions: the preferred one first. */
static void version_insert(struct json *versions, struct json *v)
{
    size_t at = 0;
    json_for (versions, o) {
        if (version_before(json_get_str(v, "version"), json_get_str(o, "version")))
            break;
        at++;
    }
    json_insert(versions, at, v);
}

static void put_strings(struct pool *p, struct json *o, const char *key, const struct str *l, size_t n)
{
    if (!n)
        return;
    struct json *a = json_put_arr(p, o, str_of(key));
    for (size_t i = 0; i < n; i++)
        json_append(a, json_str_view(p, l[i]));
}

/* ---- legacy ---- */

/* Tells clients whether what is stored changed its form: of the stored group, version and kind (apiserver's discovery.StorageVersionHash). */
static void storage_hash(struct pool *p, struct json *o, const struct schema_resource *r)
{
    unsigned char hash[HASH_LEN];
    struct buf b = BUF_INIT;
    ssize_t slash = str_rchr(r->storage, '/');
    if (r->virtual_only || slash < 0)
        return;
    hash_sha256(pool_printf(p, "%.*s/%.*s/%.*s", (int)slash, r->storage.p, STR_ARG(r->storage_version), STR_ARG(r->kind)), hash);
    buf_base64(&b, hash, 8);
    json_set_str(p, o, STR("storageVersionHash"), buf_to_pool(&b, p));
    buf_clear(&b);
}

static void resource_row(struct pool *p, struct json *list, const struct schema_resource *r)
{
    struct json *o = json_append(list, json_obj(p));
    json_set_str(p, o, STR("name"), r->resource);
    json_set_str(p, o, STR("singularName"), r->singular.p ? r->singular : STR(""));
    json_set_bool(p, o, STR("namespaced"), r->namespaced);
    json_set_str(p, o, STR("kind"), r->kind);
    put_verbs(p, o, r->verbs);
    put_strings(p, o, "shortNames", r->short_names, r->nshort);
    put_strings(p, o, "categories", r->categories, r->ncategories);
    storage_hash(p, o, r);
    for (uint8_t i = 0; i < r->nsubs; i++) {
        const struct schema_subresource *s = &r->subs[i];
        o = json_append(list, json_obj(p));
        json_set_str(p, o, STR("name"), pool_printf(p, "%.*s/%.*s", STR_ARG(r->resource), STR_ARG(s->name)));
        json_set_str(p, o, STR("singularName"), STR(""));
        json_set_bool(p, o, STR("namespaced"), r->namespaced);
        if (!str_eq(s->group, r->group) || !str_eq(s->version, r->version)) {
            if (!str_empty(s->group))
                json_set_str(p, o, STR("group"), s->group);
            json_set_str(p, o, STR("version"), s->version);
        }
        json_set_str(p, o, STR("kind"), s->kind);
        put_verbs(p, o, s->verbs);
    }
}

struct gv {
    struct str group, version;
};
static int make_resources(struct call *c, struct buf *out, void *arg, struct err **e)
{
    const struct gv *gv = arg;
    struct pool *p = c->pool;
    struct json *o = json_obj(p);
    const struct schema_resource *r;
    json_set_str(p, o, STR("kind"), STR("APIResourceList"));
    if (!str_empty(gv->group))
        json_set_str(p, o, STR("apiVersion"), STR("v1"));
    json_set_str(p, o, STR("groupVersion"), api_version(p, gv->group, gv->version));
    struct json *list = json_put_arr(p, o, STR("resources"));
    for (size_t i = 0; (r = row_at(c, &i)); i++)
        if (str_eq(r->group, gv->group) && str_eq(r->version, gv->version))
            resource_row(p, list, r);
    if (json_count(list) == 0)
        return err_set(e, ERR_NOT_FOUND, "the server could not find the requested resource");
    json_write(out, o);
    buf_putc(out, '\n');
    return 0;
}

static void group_row(struct call *c, struct json *o, struct str group)
{
    struct pool *p = c->pool;
    const struct schema_resource *r;
    struct str last = STR_NULL;
    json_set_str(p, o, STR("name"), group);
    struct json *versions = json_put_arr(p, o, STR("versions"));
    for (size_t i = 0; (r = row_at(c, &i)); i++) {
        if (!str_eq(r->group, group) || str_eq(r->version, last))
            continue;
        last = r->version;
        struct json *v = json_obj(p);
        json_set_str(p, v, STR("groupVersion"), api_version(p, group, last));
        json_set_str(p, v, STR("version"), last);
        version_insert(versions, v);
    }
    json_set(p, o, STR("preferredVersion"), json_clone(p, json_at(versions, 0)));
}

struct more { /* what aggregated servers add to a document */
    struct call *c;
    struct json *list;
    struct str only; /* a group; absent: all */
};

static struct json *group_in(const struct json *list, struct str group, bool aggregated)
{
    json_for (list, g)
        if (str_eq(aggregated ? json_str_at(g, "metadata", "name", NULL) : json_get_str(g, "name"), group))
            return g;
    return NULL;
}

static void more_group(void *arg, struct str group, struct str version, const struct json *resources)
{
    struct more *m = arg;
    struct pool *p = m->c->pool;
    struct json *g = group_in(m->list, group, false), *v = json_obj(p);
    (void)resources;
    if (m->only.p && !str_eq(m->only, group))
        return;
    if (!g) {
        g = json_append(m->list, json_obj(p));
        json_set_str(p, g, STR("name"), group);
        json_put_arr(p, g, STR("versions"));
    }
    json_set_str(p, v, STR("groupVersion"), api_version(p, group, version));
    json_set_str(p, v, STR("version"), version);
    struct json *versions = json_get(g, STR("versions"));
    version_insert(versions, v);
    json_set(p, g, STR("preferredVersion"), json_clone(p, json_at(versions, 0)));
}

static void more_resource(struct pool *p, struct json *list, const struct json *x, struct str group, struct str version)
{
    struct str name = json_get_str(x, "name"), sub = STR_NULL, g = json_get_str(x, "group"), v = json_get_str(x, "version");
    struct json *o = NULL, *kind;
    bool below = str_cut(name, '/', &name, &sub);
    json_for (list, r)
        if (str_eq(json_get_str(r, "resource"), name))
            o = r;
    if (!o) {
        o = json_append(list, json_obj(p));
        json_set_str(p, o, STR("resource"), name);
        json_set_str(p, o, STR("scope"), json_get_bool(x, "namespaced", false) ? STR("Namespaced") : STR("Cluster"));
        json_set_str(p, o, STR("singularResource"), json_get_str(x, "singularName"));
        json_put_arr(p, o, STR("verbs"));
    }
    if (below) {
        o = json_append(json_put_arr(p, o, STR("subresources")), json_obj(p));
        json_set_str(p, o, STR("subresource"), sub);
    }
    kind = json_put_obj(p, o, STR("responseKind"));
    json_set_str(p, kind, STR("group"), g.n ? g : group);
    json_set_str(p, kind, STR("version"), v.n ? v : version);
    json_set_str(p, kind, STR("kind"), json_get_str(x, "kind"));
    static const char *const lists[] = {"verbs", "shortNames", "categories"};
    for (size_t i = 0; i < ARRAY_LEN(lists); i++)
        if (json_count(json_get(x, str_of(lists[i]))))
            json_set(p, o, str_of(lists[i]), json_clone(p, json_get(x, str_of(lists[i]))));
}

static void more_aggregated(void *arg, struct str group, struct str version, const struct json *resources)
{
    struct more *m = arg;
    struct pool *p = m->c->pool;
    struct json *g = group_in(m->list, group, true), *v = json_obj(p);
    if (!g) {
        g = json_append(m->list, json_obj(p));
        struct json *meta = json_put_obj(p, g, STR("metadata"));
        json_set_str(p, meta, STR("name"), group);
        json_set(p, meta, STR("creationTimestamp"), json_null(p));
        json_put_arr(p, g, STR("versions"));
    }
    json_set_str(p, v, STR("version"), version);
    struct json *list = json_put_arr(p, v, STR("resources"));
    json_set_str(p, v, STR("freshness"), STR("Current"));
    json_for (json_get(resources, STR("resources")), x)
        more_resource(p, list, x, group, version);
    version_insert(json_get(g, STR("versions")), v);
}

static int make_groups(struct call *c, struct buf *out, void *arg, struct err **e)
{
    struct pool *p = c->pool;
    struct json *o = json_obj(p);
    const struct schema_resource *r;
    struct str last = STR("");
    (void)arg, (void)e;
    json_set_str(p, o, STR("kind"), STR("APIGroupList"));
    json_set_str(p, o, STR("apiVersion"), STR("v1"));
    struct json *groups = json_put_arr(p, o, STR("groups"));
    for (size_t i = 0; (r = row_at(c, &i)); i++) {
        if (str_eq(r->group, last))
            continue;
        last = r->group;
        group_row(c, json_append(groups, json_obj(p)), last);
    }
    struct more m = {.c = c, .list = groups};
    aggregate_each(c->api, more_group, &m);
    json_write(out, o);
    buf_putc(out, '\n');
    return 0;
}

static int make_group(struct call *c, struct buf *out, void *arg, struct err **e)
{
    struct pool *p = c->pool;
    const struct gv *gv = arg;
    struct json *o = json_obj(p);
    json_set_str(p, o, STR("kind"), STR("APIGroup"));
    json_set_str(p, o, STR("apiVersion"), STR("v1"));
    group_row(c, o, gv->group);
    struct json *alone = json_arr(p);
    struct more m = {.c = c, .list = alone, .only = gv->group};
    json_append(alone, o);
    aggregate_each(c->api, more_group, &m);
    if (json_count(json_get(o, STR("versions"))) == 0)
        return err_set(e, ERR_NOT_FOUND, "the server could not find the requested resource");
    json_write(out, o);
    buf_putc(out, '\n');
    return 0;
}

static int make_versions(struct call *c, struct buf *out, void *arg, struct err **e)
{
    (void)arg, (void)e;
    buf_printf(out,
        "{\"kind\":\"APIVersions\",\"versions\":[\"v1\"],\"serverAddressByClientCIDRs\":[{\"clientCIDR\":\"0.0.0.0/"
        "0\",\"serverAddress\":\"%.*s:%u\"}]}\n",
        STR_ARG(c->api->cfg.advertise), c->api->cfg.port);
    return 0;
}

/* ---- aggregated ---- */

static void put_kind(struct pool *p, struct json *o, struct str group, struct str version, struct str kind)
{
    struct json *k = json_put_obj(p, o, STR("responseKind"));
    json_set_str(p, k, STR("group"), group.p ? group : STR(""));
    json_set_str(p, k, STR("version"), version.p ? version : STR(""));
    json_set_str(p, k, STR("kind"), kind);
}

static void aggregated_row(struct pool *p, struct json *list, const struct schema_resource *r)
{
    struct json *o = json_append(list, json_obj(p));
    json_set_str(p, o, STR("resource"), r->resource);
    put_kind(p, o, r->group, r->version, r->kind);
    json_set_str(p, o, STR("scope"), r->namespaced ? STR("Namespaced") : STR("Cluster"));
    json_set_str(p, o, STR("singularResource"), r->singular.p ? r->singular : STR(""));
    put_verbs(p, o, r->verbs);
    put_strings(p, o, "shortNames", r->short_names, r->nshort);
    put_strings(p, o, "categories", r->categories, r->ncategories);
    for (uint8_t i = 0; i < r->nsubs; i++) {
        struct json *s = json_append(json_put_arr(p, o, STR("subresources")), json_obj(p));
        json_set_str(p, s, STR("subresource"), r->subs[i].name);
        put_kind(p, s, r->subs[i].group, r->subs[i].version, r->subs[i].kind);
        put_verbs(p, s, r->subs[i].verbs);
    }
}

static void aggregated_group(struct call *c, struct json *items, struct str group)
{
    struct pool *p = c->pool;
    const struct schema_resource *r;
    struct str last = STR_NULL;
    struct json *o = json_append(items, json_obj(p)), *m = json_put_obj(p, o, STR("metadata")), *list = NULL;
    if (!str_empty(group))
        json_set_str(p, m, STR("name"), group);
    json_set(p, m, STR("creationTimestamp"), json_null(p));
    struct json *versions = json_put_arr(p, o, STR("versions"));
    for (size_t i = 0; (r = row_at(c, &i)); i++) {
        if (!str_eq(r->group, group))
            continue;
        if (!str_eq(r->version, last)) {
            last = r->version;
            struct json *v = json_obj(p);
            json_set_str(p, v, STR("version"), last);
            list = json_put_arr(p, v, STR("resources"));
            json_set_str(p, v, STR("freshness"), STR("Current"));
            version_insert(versions, v);
        }
        aggregated_row(p, list, r);
    }
}

static int make_aggregated(struct call *c, struct buf *out, void *arg, struct err **e)
{
    const bool core = arg != NULL;
    struct pool *p = c->pool;
    struct json *o = json_obj(p);
    const struct schema_resource *r;
    struct str last = STR("");
    (void)e;
    json_set_str(p, o, STR("kind"), STR("APIGroupDiscoveryList"));
    json_set_str(p, o, STR("apiVersion"), STR("apidiscovery.k8s.io/v2"));
    json_set(p, o, STR("metadata"), json_obj(p));
    struct json *items = json_put_arr(p, o, STR("items"));
    if (core)
        aggregated_group(c, items, STR(""));
    for (size_t i = 0; !core && (r = row_at(c, &i)); i++) {
        if (str_eq(r->group, last))
            continue;
        last = r->group;
        aggregated_group(c, items, last);
    }
    struct more m = {.c = c, .list = items};
    if (!core)
        aggregate_each(c->api, more_aggregated, &m);
    json_write(out, o);
    buf_putc(out, '\n');
    return 0;
}

/* Does the Accept header ask for the aggregated document before the plain one? */
static bool wants_aggregated(struct call *c)
{
    struct str rest = http_header(c->rq, STR("accept")), piece;
    while (str_split(&rest, ',', &piece)) {
        bool v2 = str_find(piece, STR("as=APIGroupDiscoveryList")) >= 0 && str_find(piece, STR("v=v2")) >= 0 &&
                  str_find(piece, STR("v=v2beta1")) < 0;
        if (v2 && str_find(piece, STR("application/json")) >= 0)
            return true;
        if (str_eqz(str_trim(piece), "application/json"))
            return false;
    }
    return false;
}

#define AGGREGATED "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"

int route_discovery(struct call *c, struct err **e)
{
    struct str path = c->ri.path, rest, group, version;
    while (path.n > 1 && path.p[path.n - 1] == '/')
        path.n--;
    bool aggregated = wants_aggregated(c);
    if (str_eqz(path, "/api"))
        return aggregated ? document_reply(c, STR("agg:api"), AGGREGATED, make_aggregated, c, e)
                          : document_reply(c, path, "application/json", make_versions, NULL, e);
    if (str_eqz(path, "/apis"))
        return aggregated ? document_reply(c, STR("agg:apis"), AGGREGATED, make_aggregated, NULL, e)
                          : document_reply(c, path, "application/json", make_groups, NULL, e);
    if (str_starts(path, STR("/api/"))) {
        struct gv gv = {STR(""), str_sub(path, 5, path.n)};
        return document_reply(c, path, "application/json", make_resources, &gv, e);
    }
    rest = str_sub(path, 6, path.n);
    if (!str_cut(rest, '/', &group, &version)) {
        struct gv gv = {rest, STR_NULL};
        return document_reply(c, path, "application/json", make_group, &gv, e);
    }
    struct gv gv = {group, version};
    return document_reply(c, path, "application/json", make_resources, &gv, e);
}
