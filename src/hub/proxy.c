/* /k8s/clusters/<id>/...: kubectl's requests to a cluster behind its uplink.
 *
 * The user needs the right to the resource clusters/proxy of that cluster, with the verb of the request's method (get, create, update, patch, delete). Below, the request runs as
 * hub:<user> with groups hub:<group>: what these may do there is the site's decision (its own RBAC), never the hub's. */
#include "hub/impl.h"

#define GROUPS_MAX 64

static struct str verb_of(struct str method)
{
    static const struct { struct str method, verb; } rows[] = {
        {{"GET", 3}, {"get", 3}}, {{"HEAD", 4}, {"get", 3}}, {{"POST", 4}, {"create", 6}}, {{"PUT", 3}, {"update", 6}}, {{"PATCH", 5}, {"patch", 5}},
        {{"DELETE", 6}, {"delete", 6}}, {{"CONNECT", 7}, {"get", 3}},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (str_eq(rows[i].method, method))
            return rows[i].verb;
    return STR("get");
}

/* A user or group of the hub as the site sees it. */
static struct str renamed(struct pool *p, struct str name)
{
    return pool_printf(p, HUB_PREFIX "%.*s", STR_ARG(name));
}

static size_t identity_headers(struct pool *p, const struct api_user *u, struct http_header *h)
{
    size_t n = 0;
    h[n++] = (struct http_header){STR("impersonate-user"), renamed(p, u->name)};
    for (size_t i = 0; i < u->ngroups && n < GROUPS_MAX; i++)
        h[n++] = (struct http_header){STR("impersonate-group"), renamed(p, u->groups[i])};
    return n;
}

/* Called here, and again on the uplink's own loop, where the client cannot go meanwhile. */
static struct http_client *find_client(void *hub, struct str cluster, struct loop **loop)
{
    return links_client(hub, cluster, loop);
}

static bool cluster_known(struct hub *h, struct str id)
{
    _cleanup_(store_view_unrefp) struct store_view *v = store_view(api_store(h->api));
    return view_get(v, store_find(api_store(h->api), STR(HUB_GROUP "/clusters")), STR_NULL, id) != NULL;
}

static void not_connected(struct http_req *rq, void *arg, struct str id)
{
    struct hub *h = arg;
    struct presence p = {0};
    _cleanup_(err_freep) struct err *e = NULL;
    if (!cluster_known(h, id))
        (void)err_set(&e, ERR_NOT_FOUND, "clusters." HUB_GROUP " \"%.*s\" not found", STR_ARG(id));
    else if (links_presence(h, id, &p) && p.why[0])
        (void)err_set(&e, ERR_UNAVAILABLE, "cluster \"%.*s\" is not connected: %s", STR_ARG(id), p.why);
    else
        (void)err_set(&e, ERR_UNAVAILABLE, "cluster \"%.*s\" is not connected", STR_ARG(id));
    hub_refuse(rq, e);
}

void proxy_route(struct http_req *rq, const struct api_user *user, void *arg)
{
    struct hub *h = arg;
    _cleanup_(err_freep) struct err *e = NULL;
    struct str rest = str_sub(rq->path, sizeof "/k8s/clusters/" - 1, rq->path.n), id = rest, below = STR_NULL;
    struct http_header *headers = pool_array(rq->pool, struct http_header, GROUPS_MAX); /* they outlive this call when the request waits */
    ssize_t slash = str_chr(rest, '/');
    if (slash >= 0) {
        id = str_sub(rest, 0, (size_t)slash);
        below = str_sub(rest, (size_t)slash, rest.n);
    }
    struct api_attrs at = {.verb = verb_of(rq->method), .group = STR(HUB_GROUP), .version = STR(HUB_VERSION), .resource = STR("clusters"), .subresource = STR("proxy"), .name = id};
    if (api_authorize(h->api, user, &at, &e) < 0) {
        hub_refuse(rq, e);
        return;
    }
    struct str target = pool_printf(rq->pool, "%.*s%s%.*s", STR_ARG(below.n ? below : STR("/")), rq->query.n ? "?" : "", STR_ARG(rq->query));
    size_t n = identity_headers(rq->pool, user, headers);
    struct presence p = {0};
    bool seen = links_presence(h, id, &p);
    int64_t now = loop_now(stream_loop(rq->conn));
    if (!str_eqz(rq->method, "GET") && str_starts(below, STR("/api/v1/namespaces"))) /* it may have joined a project, or left one */
        site_roles_touch_from(h, id);
    int64_t until = seen || cluster_known(h, id) ? api_proxy_until(seen ? p.mono : 0, h->started, now) : 0;
    api_proxy_await(rq, find_client, not_connected, h, id, target, headers, n, until);
}
