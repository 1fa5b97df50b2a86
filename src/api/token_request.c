#include "api/api_keys.h"
#include "api/impl.h"
#include "api/tokens.h"
#include "base/file.h"

/* serviceaccounts/token: a token for a ServiceAccount, bound to a pod, Secret or node where that is asked for. */

#define TOKEN_MIN 600
#define TOKEN_DEFAULT 3600
#define POD_TOKEN 3607 /* what the kubelet asks for kube-api-access */
#define TOKEN_MAX (INT64_C(1) << 32)

static int invalid(struct call *c, const char *field, const char *why, struct err **e)
{
    (void)err_set(e, ERR_INVALID, "TokenRequest.authentication.k8s.io \"%.*s\" is invalid: %s: %s", STR_ARG(c->ri.name), field, why);
    return err_cause(e, "FieldValueInvalid", str_of(field), "%s", why), -ERR_INVALID;
}

struct bound {
    struct str kind, name, uid, node, node_uid;
};

static int bind_object(struct call *c, const struct json *ref, struct store_view *v, struct bound *b, struct err **e)
{
    struct str kind = json_get_str(ref, "kind"), name = json_get_str(ref, "name"), uid = json_get_str(ref, "uid");
    struct api *a = c->api;
    bool pod = str_eqz(kind, "Pod"), secret = str_eqz(kind, "Secret"), node = str_eqz(kind, "Node");
    if (!pod && !secret && !node)
        return invalid(c, "spec.boundObjectRef.kind", "Invalid value: cannot bind token to this kind of object", e);
    struct store_res *r = pod ? a->res.pods : secret ? a->res.secrets : a->res.nodes;
    const struct obj *o = r ? view_get(v, r, node ? STR_NULL : c->ri.ns, name) : NULL;
    if (!o)
        return err_set(e, ERR_NOT_FOUND, "%s \"%.*s\" not found", pod ? "pods" : secret ? "secrets" : "nodes", STR_ARG(name));
    if (!str_empty(uid) && !str_eq(uid, o->uid))
        return err_set(e, ERR_CONFLICT,
            "Operation cannot be fulfilled on %s \"%.*s\": the UID in the bound object reference (%.*s) does not match the UID in record. "
            "The object might have been deleted and then recreated",
            pod      ? "Pod"
            : secret ? "Secret"
                     : "Node",
            STR_ARG(name), STR_ARG(uid));
    call_depend(c, o->soft ? 0 : o->rev);
    *b = (struct bound){.kind = kind, .name = pool_str(c->pool, o->name), .uid = pool_str(c->pool, o->uid)};
    if (!pod)
        return 0;
    struct json *doc;
    pool_hold_obj(c->pool, obj_ref(o));
    if (obj_parse(o, c->pool, &doc, e) < 0)
        return -(*e)->code;
    struct str sa = json_str_at(doc, "spec", "serviceAccountName", NULL);
    if (!str_eq(sa, c->ri.name))
        return err_set(e, ERR_BAD_REQUEST,
            "cannot bind token for serviceaccount \"%.*s\" to pod running with different serviceaccount name.", STR_ARG(c->ri.name));
    b->node = json_str_at(doc, "spec", "nodeName", NULL);
    const struct obj *n = str_empty(b->node) || !a->res.nodes ? NULL : view_get(v, a->res.nodes, STR_NULL, b->node);
    if (n)
        b->node_uid = pool_str(c->pool, n->uid);
    return 0;
}

static struct json *named(struct pool *p, struct json *in, const char *key, struct str name, struct str uid)
{
    struct json *o = json_put_obj(p, in, str_of(key));
    json_set_str(p, o, STR("name"), name);
    if (!str_empty(uid))
        json_set_str(p, o, STR("uid"), uid);
    return o;
}

static struct json *claims(
    struct call *c, const struct obj *sa, const struct json *auds, const struct bound *b, int64_t now, int64_t end, int64_t warn)
{
    struct pool *p = c->pool;
    struct json *t = json_obj(p);
    char id[UUID_LEN + 1];
    random_uuid(id);
    json_set(p, t, STR("aud"), json_clone(p, auds));
    json_set_int(p, t, STR("exp"), end);
    json_set_int(p, t, STR("iat"), now);
    json_set_str(p, t, STR("iss"), token_issuer(c->api, p));
    json_set_str(p, t, STR("jti"), str_of(id));
    struct json *k = json_put_obj(p, t, STR("kubernetes.io"));
    json_set_str(p, k, STR("namespace"), sa->ns);
    if (!str_empty(b->node))
        named(p, k, "node", b->node, b->node_uid);
    if (!str_empty(b->kind))
        named(p, k, str_eqz(b->kind, "Pod") ? "pod" : str_eqz(b->kind, "Secret") ? "secret" : "node", b->name, b->uid);
    named(p, k, "serviceaccount", sa->name, sa->uid);
    if (warn)
        json_set_int(p, k, STR("warnafter"), warn);
    json_set_int(p, t, STR("nbf"), now);
    json_set_str(p, t, STR("sub"), pool_printf(p, "system:serviceaccount:%.*s:%.*s", STR_ARG(sa->ns), STR_ARG(sa->name)));
    return t;
}

int sub_token(struct call *c, struct err **e)
{
    struct json *spec = json_put_obj(c->pool, c->doc, STR("spec")), *auds = json_put_arr(c->pool, spec, STR("audiences"));
    int64_t ttl = json_get_int(spec, "expirationSeconds", TOKEN_DEFAULT), now = clock_now(c->api->clock) / NS_PER_S;
    const struct json *ref = json_get(spec, STR("boundObjectRef"));
    struct bound b = {0};
    if (!c->api->keys)
        return err_set(e, ERR_UNAVAILABLE, "this server has no key for ServiceAccount tokens");
    if (ttl < TOKEN_MIN)
        return invalid(c, "spec.expirationSeconds", "Invalid value: may not specify a duration less than 10 minutes", e);
    if (ttl > TOKEN_MAX)
        return invalid(c, "spec.expirationSeconds", "Invalid value: may not specify a duration larger than 2^32 seconds", e);
    _cleanup_(store_view_unrefp) struct store_view *v = store_view(c->api->store);
    const struct obj *sa = view_get(v, c->sres, c->ri.ns, c->ri.name);
    if (!sa)
        return call_not_found(c, c->ri.name, e);
    call_depend(c, sa->soft ? 0 : sa->rev);
    if (json_is(ref, JSON_OBJ) && bind_object(c, ref, v, &b, e) < 0)
        return -(*e)->code;
    struct str node = node_of_user(c->user);
    if (!str_empty(node) && str_eqz(b.kind, "Pod") && !str_eq(b.node, node))
        return err_set(e, ERR_FORBIDDEN,
            "serviceaccounts \"%.*s\" is forbidden: node requested token bound to a pod scheduled on a different node",
            STR_ARG(c->ri.name));
    if (!str_empty(node) && !str_eqz(b.kind, "Pod"))
        return err_set(
            e, ERR_FORBIDDEN, "serviceaccounts \"%.*s\" is forbidden: node requested token not bound to a pod", STR_ARG(c->ri.name));
    if (json_count(auds) == 0)
        json_append(auds, json_str(c->pool, token_issuer(c->api, c->pool)));
    ttl = MIN(ttl, INT64_C(86400) * 366);
    /* The token that every pod gets lives a year although it is renewed hourly: clients that read their file once go on, and a wrong clock
     * does no harm (KEP-1205). It ends with its pod. */
    bool ours = json_count(auds) == 1 && str_eq(json_as_str(json_at(auds, 0)), token_issuer(c->api, c->pool));
    bool extend = ttl == POD_TOKEN && str_eqz(b.kind, "Pod") && ours;
    int64_t end = now + (extend ? INT64_C(86400) * 365 : ttl);
    struct buf token = BUF_INIT;
    if (jwt_sign(api_keys_service(c->api->keys), STR_NULL, claims(c, sa, auds, &b, now, end, extend ? now + ttl : 0), &token, e) < 0) {
        buf_clear(&token);
        return -(*e)->code;
    }
    char t[TIME_MAX];
    json_set_int(c->pool, spec, STR("expirationSeconds"), ttl);
    struct json *status = json_put_obj(c->pool, c->doc, STR("status"));
    json_set_str(c->pool, status, STR("token"), buf_str(&token));
    json_set_str(c->pool, status, STR("expirationTimestamp"), time_format((now + ttl) * NS_PER_S, t));
    crypto_wipe_buf(&token);
    struct json *meta = json_put_obj(c->pool, c->doc, STR("metadata"));
    json_set_str(c->pool, meta, STR("name"), c->ri.name);
    json_set_str(c->pool, meta, STR("namespace"), c->ri.ns);
    json_set_str(c->pool, meta, STR("creationTimestamp"), time_format(now * NS_PER_S, t));
    write_head(c->doc);
    call_reply_tree(c, 201, c->doc);
    return 0;
}

/* ---- what others need to check our tokens (OpenID Connect discovery) ---- */

int route_jwks(struct call *c, struct err **e)
{
    struct buf b = BUF_INIT;
    if (!c->api->keys)
        return err_set(e, ERR_NOT_FOUND, "no keys");
    const struct key *keys[] = {api_keys_service(c->api->keys)};
    jwt_keys_write(keys, 1, &b);
    call_reply_raw(c, 200, "application/jwk-set+json", buf_to_bytes(&b));
    return 0;
}

int route_openid(struct call *c, struct err **e)
{
    (void)e;
    struct pool *p = c->pool;
    struct str iss = token_issuer(c->api, p);
    struct json *o = json_obj(p);
    json_set_str(p, o, STR("issuer"), iss);
    json_set_str(p, o, STR("jwks_uri"), pool_printf(p, "https://%.*s:%u/openid/v1/jwks", STR_ARG(c->api->cfg.advertise), c->api->cfg.port));
    json_append(json_put_arr(p, o, STR("response_types_supported")), json_str(p, STR("id_token")));
    json_append(json_put_arr(p, o, STR("subject_types_supported")), json_str(p, STR("public")));
    json_append(json_put_arr(p, o, STR("id_token_signing_alg_values_supported")), json_str(p, STR("ES256")));
    struct str text = json_to_pool(p, o);
    call_reply_raw(c, 200, "application/json", bytes_new(text.p, text.n));
    return 0;
}

/* The server CA, for clients that hold its hash in a join token (as K3s' /cacerts). */
int route_ca(struct call *c, struct err **e)
{
    if (!c->api->keys)
        return err_set(e, ERR_NOT_FOUND, "no keys");
    struct str pem = api_keys_server_ca(c->api->keys);
    call_reply_raw(c, 200, "text/plain", bytes_new(pem.p, pem.n));
    return 0;
}
