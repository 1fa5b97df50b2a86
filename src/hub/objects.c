/* The hub's own objects, read from its store and written through its request path. */
#include <stdlib.h>

#include "base/log.h"
#include "hub/impl.h"

struct store_res *hub_res(struct hub *h, const char *resource)
{
    char name[128];
    int n = snprintf(name, sizeof name, HUB_GROUP "/%s", resource);
    return store_find(api_store(h->api), str_make(name, (size_t)n));
}

static struct json *tree(const struct obj *o, struct pool *p)
{
    struct json *doc;
    pool_hold_obj(p, obj_ref(o));
    return obj_parse(o, p, &doc, NULL) < 0 ? NULL : doc;
}

struct json *hub_get(struct hub *h, struct pool *p, const char *resource, struct str ns, struct str name)
{
    _cleanup_(store_view_unrefp) struct store_view *v = store_view(api_store(h->api));
    struct store_res *r = hub_res(h, resource);
    const struct obj *o = r && name.n ? view_get(v, r, ns, name) : NULL;
    return o ? tree(o, p) : NULL;
}

void hub_each(struct hub *h, struct pool *p, const char *resource, struct str ns, bool (*fn)(void *arg, struct json *doc), void *arg)
{
    _cleanup_(store_view_unrefp) struct store_view *v = store_view(api_store(h->api));
    struct store_res *r = hub_res(h, resource);
    struct store_iter it;
    if (!r)
        return;
    iter_start(&it, v, r, ns, STR_NULL, STR_NULL);
    for (const struct obj *o; (o = iter_next(&it));) {
        struct json *doc = tree(o, p);
        if (doc && !fn(arg, doc))
            return;
    }
}

struct str hub_setting(struct hub *h, struct pool *p, const char *name)
{
    struct json *doc = hub_get(h, p, "settings", STR_NULL, str_of(name));
    struct str v = json_get_str(doc, "value");
    return v.n ? v : json_get_str(doc, "default");
}

int64_t hub_setting_int(struct hub *h, const char *name, int64_t absent)
{
    _cleanup_(pool_freep) struct pool *p = pool_new();
    int64_t n;
    return str_to_i64(hub_setting(h, p, name), &n) ? n : absent;
}

struct str hub_url(struct hub *h, struct pool *p)
{
    struct str v = hub_setting(h, p, "server-url");
    while (v.n && v.p[v.n - 1] == '/')
        v.n--;
    return v.n ? v : str_of(h->url);
}

struct str hub_ca_pem(struct hub *h, struct pool *p)
{
    struct str v = hub_setting(h, p, "cacerts");
    return v.n ? v : api_ca_pem(h->api);
}

/* ---- writes ---- */

struct written {
    struct api_call call;
    struct hub *hub;
    void (*failed)(struct hub *h);
};

static void on_written(struct api_call *c)
{
    struct written *w = container_of(c, struct written, call);
    struct pool *p = c->pool;
    if (c->err && c->err->code != ERR_EXISTS && c->err->code != ERR_NOT_FOUND && c->err->code != ERR_CONFLICT)
        log_warn("%.*s=%.*s%s%.*s: %s", STR_ARG(c->resource), STR_ARG(c->ns), c->ns.n ? "/" : "", STR_ARG(c->name), err_msg(c->err));
    if (c->err && w->failed)
        w->failed(w->hub);
    api_call_clear(c);
    pool_free(p);
}

void hub_write(struct hub *h, struct loop *l, enum api_verb verb, struct str group, struct str version, struct str resource, struct str sub, struct str ns, struct str name,
    const struct json *body, void (*failed)(struct hub *h))
{
    struct pool *p = pool_new();
    struct written *w = pool_new_of(p, struct written);
    w->hub = h;
    w->failed = failed;
    w->call = (struct api_call){.verb = verb, .group = pool_str(p, group), .version = pool_str(p, version), .resource = pool_str(p, resource), .sub = pool_str(p, sub),
        .ns = pool_str(p, ns), .name = verb == API_CREATE ? STR_NULL : pool_str(p, name), .body = body ? json_clone(p, body) : NULL, .pool = p};
    api_do(h->api, l, &w->call, on_written);
}
