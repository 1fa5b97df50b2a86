#include "api/admit.h"
#include "api/api_keys.h"

/* Secrets of type kubernetes.io/service-account-token: the token that never ends, made when the Secret is. (Kubernetes lets a controller
 * fill them a moment later.) */

static void put(struct call *c, struct json *data, const char *key, struct str plain)
{
    struct buf b = BUF_INIT;
    buf_base64(&b, plain.p, plain.n);
    json_set_str(c->pool, data, str_of(key), buf_str(&b));
    crypto_wipe_buf(&b);
}

int admit_legacy_token(struct call *c, struct err **e)
{
    struct json *doc = c->w.doc, *meta = json_put_obj(c->pool, doc, STR("metadata"));
    if (!str_eqz(json_get_str(doc, "type"), "kubernetes.io/service-account-token") || !c->api->keys || !str_empty(c->ri.sub))
        return 0;
    struct str name = json_as_str(json_get(json_get(meta, STR("annotations")), STR("kubernetes.io/service-account.name")));
    const struct json *sa = str_empty(name) ? NULL : admit_lookup(c, c->api->res.serviceaccounts, c->ri.ns, name);
    if (!sa || !str_empty(json_str_at(doc, "data", "token", NULL)))
        return 0;
    struct str uid = json_str_at(sa, "metadata", "uid", NULL);
    struct json *t = json_obj(c->pool);
    json_set_str(c->pool, t, STR("iss"), STR("kubernetes/serviceaccount"));
    json_set_str(c->pool, t, STR("kubernetes.io/serviceaccount/namespace"), c->ri.ns);
    json_set_str(c->pool, t, STR("kubernetes.io/serviceaccount/secret.name"), json_get_str(meta, "name"));
    json_set_str(c->pool, t, STR("kubernetes.io/serviceaccount/service-account.name"), name);
    json_set_str(c->pool, t, STR("kubernetes.io/serviceaccount/service-account.uid"), uid);
    json_set_str(c->pool, t, STR("sub"), pool_printf(c->pool, "system:serviceaccount:%.*s:%.*s", STR_ARG(c->ri.ns), STR_ARG(name)));
    struct buf token = BUF_INIT;
    if (jwt_sign(api_keys_service(c->api->keys), STR_NULL, t, &token, e) < 0)
        return -(*e)->code;
    struct json *data = json_put_obj(c->pool, doc, STR("data"));
    put(c, data, "token", buf_str(&token));
    put(c, data, "ca.crt", api_keys_server_ca(c->api->keys));
    put(c, data, "namespace", c->ri.ns);
    json_set_str(c->pool, json_put_obj(c->pool, meta, STR("annotations")), STR("kubernetes.io/service-account.uid"), uid);
    crypto_wipe_buf(&token);
    return 0;
}
