/* GET /v1/sampan/kubeconfig[?cluster=<id>]...: a kubeconfig for the one who asks, with a token made for it: the hub itself and every cluster that he may reach, or the clusters named. With
 * one cluster named, the token is good for that cluster alone. Root on the hub's machine gets the admin user's. */
#include <stdlib.h>

#include "hub/impl.h"

#define CLUSTERS_MAX 20000

struct asking {
    struct mint mint;
    struct http_req *rq; /* NULL: gone */
    struct json *clusters; /* [id, display] */
    bool named;
};

static void on_gone(struct http_req *rq)
{
    ((struct asking *)rq->user)->rq = NULL;
}

static void entry(struct buf *b, const char *list, struct str name, struct str body)
{
    (void)list;
    buf_puts(b, "- name: ");
    json_write_str(b, name);
    buf_printf(b, "\n%.*s", STR_ARG(body));
}

static void write_clusters(struct asking *a, struct buf *b, struct pool *p, struct str url, struct str ca)
{
    _cleanup_(buf_clear) struct buf ca64 = BUF_INIT;
    buf_base64(&ca64, ca.p, ca.n);
    buf_puts(b, "clusters:\n");
    if (!a->named)
        entry(b, "clusters", STR("hub"),
            pool_printf(p, "  cluster:\n    server: \"%.*s\"\n    certificate-authority-data: %.*s\n", STR_ARG(url), STR_ARG(buf_str(&ca64))));
    json_for (a->clusters, c)
        entry(b, "clusters", json_as_str(json_at(c, 0)),
            pool_printf(p, "  cluster:\n    server: \"%.*s/k8s/clusters/%.*s\"\n    certificate-authority-data: %.*s\n", STR_ARG(url), STR_ARG(json_as_str(json_at(c, 0))),
                STR_ARG(buf_str(&ca64))));
}

static void write_contexts(struct asking *a, struct buf *b, struct pool *p)
{
    struct str user = a->mint.user, first = STR("hub");
    buf_puts(b, "contexts:\n");
    if (!a->named)
        entry(b, "contexts", STR("hub"), pool_printf(p, "  context: {cluster: hub, user: \"%.*s\"}\n", STR_ARG(user)));
    json_for (a->clusters, c) {
        struct str id = json_as_str(json_at(c, 0));
        if (a->named && str_eqz(first, "hub"))
            first = id;
        entry(b, "contexts", id, pool_printf(p, "  context: {cluster: \"%.*s\", user: \"%.*s\"}\n", STR_ARG(id), STR_ARG(user)));
    }
    buf_printf(b, "current-context: \"%.*s\"\n", STR_ARG(first));
}

static void on_minted(struct mint *m, const struct err *e)
{
    struct asking *a = container_of(m, struct asking, mint);
    struct http_req *rq = TAKE(a->rq);
    struct hub *h = m->hub;
    if (rq) {
        rq->user = NULL;
        rq->on_close = NULL;
    }
    if (rq && e) {
        hub_refuse(rq, e);
    } else if (rq) {
        _cleanup_(buf_clear) struct buf b = BUF_INIT;
        buf_puts(&b, "apiVersion: v1\nkind: Config\n");
        write_clusters(a, &b, m->pool, hub_url(h, m->pool), hub_ca_pem(h, m->pool));
        write_contexts(a, &b, m->pool);
        buf_printf(&b, "users:\n- name: \"%.*s\"\n  user: {token: \"%.*s:%.*s\"}\n", STR_ARG(m->user), STR_ARG(m->name), STR_ARG(m->secret));
        http_reply_str(rq, 200, "application/yaml", buf_str(&b));
    }
    pool_free(m->pool);
}

struct choosing {
    struct asking *a;
    const struct api_user *user;
    const struct http_req *rq;
};

static bool asked_for(const struct http_req *rq, struct str id, bool *named)
{
    struct str rest = rq->query, name, value;
    bool found = false;
    while (http_query_each(rq, &rest, &name, &value))
        if (str_eqz(name, "cluster")) {
            *named = true;
            found |= str_eq(value, id);
        }
    return found || !*named;
}

static bool choose(void *arg, struct json *doc)
{
    struct choosing *c = arg;
    struct pool *p = c->a->mint.pool;
    struct str id = json_str_at(doc, "metadata", "name", NULL);
    struct api_attrs at = {.verb = STR("get"), .group = STR(HUB_GROUP), .version = STR(HUB_VERSION), .resource = STR("clusters"), .subresource = STR("proxy"), .name = id};
    if (!asked_for(c->rq, id, &c->a->named) || api_authorize(c->a->mint.hub->api, c->user, &at, NULL) < 0)
        return true;
    struct json *row = json_append(c->a->clusters, json_arr(p));
    json_append(row, json_str(p, id));
    return json_count(c->a->clusters) < CLUSTERS_MAX;
}

void kubeconfig_route(struct http_req *rq, const struct api_user *user, void *arg)
{
    struct hub *h = arg;
    _cleanup_(err_freep) struct err *e = NULL;
    struct str name = user->name;
    for (size_t i = 0; i < user->ngroups; i++)
        if (str_eqz(user->groups[i], "system:masters"))
            name = STR("admin");
    if (!hub_get(h, rq->pool, "users", STR_NULL, name)) {
        (void)err_set(&e, ERR_FORBIDDEN, "\"%.*s\" is no user of this hub; kubeconfigs belong to users", STR_ARG(name));
        hub_refuse(rq, e);
        return;
    }
    struct pool *p = pool_new();
    struct asking *a = pool_new_of(p, struct asking);
    a->rq = rq;
    a->mint = (struct mint){.hub = h, .loop = stream_loop(rq->conn), .user = pool_str(p, name), .kind = STR("kubeconfig"), .done = on_minted, .pool = p};
    a->clusters = json_arr(p);
    a->mint.ttl_ms = token_ttl_ms(h, "kubeconfig-default-token-ttl-minutes", 0);
    struct choosing c = {a, user, rq};
    hub_each(h, rq->pool, "clusters", STR_NULL, choose, &c);
    if (a->named && !json_count(a->clusters)) {
        (void)err_set(&e, ERR_NOT_FOUND, "no such cluster that you may reach");
        hub_refuse(rq, e);
        pool_free(p);
        return;
    }
    if (a->named && json_count(a->clusters) == 1)
        a->mint.cluster = json_as_str(json_at(json_at(a->clusters, 0), 0));
    rq->user = a;
    rq->on_close = on_gone;
    token_mint(&a->mint);
}
