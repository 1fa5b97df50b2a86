#include "api/api_keys.h"
#include "api/impl.h"
#include "api/tokens.h"

/* Bearer tokens: ServiceAccount tokens (bound and legacy), bootstrap tokens, and the static join tokens. */

struct str token_issuer(struct api *a, struct pool *p)
{
    return pool_printf(p, "https://kubernetes.default.svc.%.*s", STR_ARG(a->cfg.cluster_domain));
}

static int refuse(struct err **e, const char *why)
{
    return err_set(e, ERR_UNAUTHORIZED, "%s", why);
}

/* The object is there under the same uid, and is not long on its way out. */
static bool stands(struct api *a, struct store_res *r, struct str ns, struct str name, struct str uid)
{
    if (!r)
        return false;
    _cleanup_(store_view_unrefp) struct store_view *v = store_view(a->store);
    const struct obj *o = view_get(v, r, ns, name);
    return o && (str_empty(uid) || str_eq(o->uid, uid)) && (!o->deleted || clock_now(a->clock) < o->deleted + 60 * NS_PER_S);
}

/* A verified token is remembered by hash, so that a busy client costs no signature check per request. What it is bound to is looked at each
 * time. */
#define TOKENS_KNOWN 1024
static struct {
    pthread_mutex_t lock;
    struct {
        unsigned char hash[HASH_LEN];
        const struct key *by;
    } at[TOKENS_KNOWN];
} known = {.lock = PTHREAD_MUTEX_INITIALIZER};

static int verify_signature(struct api *a, struct str token, const struct jwt *t, struct err **e)
{
    unsigned char hash[HASH_LEN];
    const struct key *key = api_keys_service(a->keys);
    hash_sha256(token, hash);
    size_t i = ((size_t)hash[0] | (size_t)hash[1] << 8) % TOKENS_KNOWN;
    pthread_mutex_lock(&known.lock);
    bool seen = known.at[i].by == key && memcmp(known.at[i].hash, hash, HASH_LEN) == 0;
    pthread_mutex_unlock(&known.lock);
    if (seen)
        return 0;
    if (jwt_verify(t, key, e) < 0)
        return -(*e)->code;
    pthread_mutex_lock(&known.lock);
    memcpy(known.at[i].hash, hash, HASH_LEN);
    known.at[i].by = key;
    pthread_mutex_unlock(&known.lock);
    return 0;
}

static struct api_user *sa_user(struct pool *p, struct str ns, struct str name, struct str uid)
{
    struct str groups[2] = {GROUP_SERVICEACCOUNTS, pool_printf(p, "system:serviceaccounts:%.*s", STR_ARG(ns))};
    return user_new(p, pool_printf(p, "system:serviceaccount:%.*s:%.*s", STR_ARG(ns), STR_ARG(name)), uid, groups, 2, true);
}

static void extra_from(struct pool *p, struct api_user *u, const char *key, struct str value)
{
    if (!str_empty(value))
        user_extra(p, u, pool_printf(p, "authentication.kubernetes.io/%s", key), &value, 1);
}

static int legacy(struct api *a, struct pool *p, struct str token, const struct jwt *t, struct api_user **out, struct err **e)
{
    struct str ns = json_get_str(t->claims, "kubernetes.io/serviceaccount/namespace"),
               secret = json_get_str(t->claims, "kubernetes.io/serviceaccount/secret.name");
    struct str name = json_get_str(t->claims, "kubernetes.io/serviceaccount/service-account.name"),
               uid = json_get_str(t->claims, "kubernetes.io/serviceaccount/service-account.uid");
    if (str_empty(ns) || str_empty(secret) || str_empty(name) || str_empty(uid))
        return refuse(e, "a legacy token without namespace, secret or service account");
    if (!stands(a, a->res.serviceaccounts, ns, name, uid))
        return refuse(e, "the service account of the token is gone");
    _cleanup_(store_view_unrefp) struct store_view *v = store_view(a->store);
    const struct obj *o = view_get(v, a->res.secrets, ns, secret);
    struct json *doc;
    struct buf plain = BUF_INIT;
    if (!o || o->deleted || obj_parse(o, p, &doc, NULL) < 0 || !buf_unbase64(&plain, json_str_at(doc, "data", "token", NULL)))
        return buf_clear(&plain), refuse(e, "the token's secret is gone");
    bool same = str_eq_secret(buf_str(&plain), token);
    crypto_wipe_buf(&plain);
    if (!same)
        return refuse(e, "the token is not the one in its secret");
    *out = sa_user(p, pool_str(p, ns), pool_str(p, name), pool_str(p, uid));
    return 0;
}

static int bound(struct api *a, struct pool *p, const struct jwt *t, const struct json *k, struct api_user **out, struct err **e)
{
    struct str ns = json_get_str(k, "namespace"), name = json_str_at(k, "serviceaccount", "name", NULL),
               uid = json_str_at(k, "serviceaccount", "uid", NULL);
    const struct json *pod = json_get(k, STR("pod")), *node = json_get(k, STR("node")), *secret = json_get(k, STR("secret"));
    if (str_empty(ns) || str_empty(name) || str_empty(uid) || !stands(a, a->res.serviceaccounts, ns, name, uid))
        return refuse(e, "the service account of the token is gone");
    if (pod && !stands(a, a->res.pods, ns, json_get_str(pod, "name"), json_get_str(pod, "uid")))
        return refuse(e, "the pod of the token is gone");
    if (secret && !stands(a, a->res.secrets, ns, json_get_str(secret, "name"), json_get_str(secret, "uid")))
        return refuse(e, "the secret of the token is gone");
    if (node && !pod && !stands(a, a->res.nodes, STR_NULL, json_get_str(node, "name"), json_get_str(node, "uid")))
        return refuse(e, "the node of the token is gone");
    struct api_user *u = sa_user(p, ns, name, uid);
    struct str jti = json_get_str(t->claims, "jti");
    if (!str_empty(jti))
        extra_from(p, u, "credential-id", pool_printf(p, "JTI=%.*s", STR_ARG(jti)));
    extra_from(p, u, "node-name", json_get_str(node, "name"));
    extra_from(p, u, "node-uid", json_get_str(node, "uid"));
    extra_from(p, u, "pod-name", json_get_str(pod, "name"));
    extra_from(p, u, "pod-uid", json_get_str(pod, "uid"));
    *out = u;
    return 0;
}

static int service_account(
    struct api *a, struct pool *p, struct str token, const struct str *auds, size_t nauds, struct api_user **out, struct err **e)
{
    struct jwt t;
    struct str issuer = token_issuer(a, p);
    if (!a->keys || jwt_parse(token, p, &t, e) < 0)
        return a->keys ? -(*e)->code : refuse(e, "no keys");
    bool old = str_eqz(t.iss, "kubernetes/serviceaccount");
    if (!old && !str_eq(t.iss, issuer))
        return refuse(e, "the token has another issuer");
    if (verify_signature(a, token, &t, e) < 0)
        return -(*e)->code;
    if (old)
        return legacy(a, p, token, &t, out, e);
    if (jwt_check_time(&t, clock_now(a->clock), 10 * NS_PER_S, e) < 0)
        return -(*e)->code;
    bool ours = nauds == 0 && jwt_has_audience(&t, issuer);
    for (size_t i = 0; i < nauds; i++)
        ours |= jwt_has_audience(&t, auds[i]);
    if (!ours)
        return refuse(e, "the token is for other audiences");
    return bound(a, p, &t, json_get(t.claims, STR("kubernetes.io")), out, e);
}

/* ---- bootstrap tokens: <6>.<16>, a Secret of type bootstrap.kubernetes.io/token in kube-system ---- */

static struct str secret_value(struct pool *p, const struct json *doc, const char *key)
{
    struct buf b = BUF_INIT;
    if (!buf_unbase64(&b, json_str_at(doc, "data", key, NULL)))
        return buf_clear(&b), STR_NULL;
    return buf_to_pool(&b, p);
}

static bool bootstrap_shaped(struct str token)
{
    if (token.n != 23 || token.p[6] != '.')
        return false;
    for (size_t i = 0; i < token.n; i++)
        if (i != 6 && !((token.p[i] >= 'a' && token.p[i] <= 'z') || (token.p[i] >= '0' && token.p[i] <= '9')))
            return false;
    return true;
}

static int bootstrap(struct api *a, struct pool *p, struct str token, struct api_user **out, struct err **e)
{
    struct str id = str_sub(token, 0, 6), secret = str_sub(token, 7, 23);
    _cleanup_(store_view_unrefp) struct store_view *v = store_view(a->store);
    const struct obj *o =
        a->res.secrets ? view_get(v, a->res.secrets, STR("kube-system"), pool_printf(p, "bootstrap-token-%.*s", STR_ARG(id))) : NULL;
    struct json *doc;
    int64_t end;
    if (!o || o->deleted)
        return refuse(e, "unknown bootstrap token");
    pool_hold_obj(p, obj_ref(o));
    if (obj_parse(o, p, &doc, e) < 0)
        return -(*e)->code;
    struct str until = secret_value(p, doc, "expiration");
    bool good = str_eqz(json_get_str(doc, "type"), "bootstrap.kubernetes.io/token") &&
                str_eq_secret(secret_value(p, doc, "token-secret"), secret) && str_eq(secret_value(p, doc, "token-id"), id) &&
                str_eqz(secret_value(p, doc, "usage-bootstrap-authentication"), "true") &&
                (str_empty(until) || (time_parse(until, &end) && end > clock_now(a->clock)));
    if (!good)
        return refuse(e, "bootstrap token is wrong, expired or not for authentication");
    struct str groups[17], rest = secret_value(p, doc, "auth-extra-groups"), piece;
    size_t n = 0;
    groups[n++] = STR("system:bootstrappers");
    while (n < ARRAY_LEN(groups) && str_split(&rest, ',', &piece))
        if (str_starts(piece, STR("system:bootstrappers:")))
            groups[n++] = str_trim(piece);
    *out = user_new(p, pool_printf(p, "system:bootstrap:%.*s", STR_ARG(id)), STR_NULL, groups, n, true);
    return 0;
}

/* ---- join tokens: K10<hash of the CA>::<user>:<password>, or the password alone ---- */

bool token_is_join(struct api *a, struct str token, struct str static_token)
{
    struct str head, tail, user, pass = token;
    if (str_empty(static_token))
        return false;
    if (str_starts(token, STR("K10"))) {
        ssize_t at = str_find(token, STR("::"));
        if (at < 0)
            return false;
        head = str_sub(token, 3, (size_t)at);
        tail = str_sub(token, (size_t)at + 2, token.n);
        if (a->keys && !str_eq(head, api_keys_ca_hash(a->keys)))
            return false;
        if (!str_cut(tail, ':', &user, &pass))
            return false;
    }
    unsigned char x[HASH_LEN], y[HASH_LEN];
    struct str want = static_token;
    if (str_starts(want, STR("K10"))) { /* configured in the long form: its password counts */
        ssize_t at = str_find(want, STR("::"));
        if (at >= 0 && str_cut(str_sub(want, (size_t)at + 2, want.n), ':', &user, &tail))
            want = tail;
    }
    hash_sha256(pass, x);
    hash_sha256(want, y);
    return str_eq_secret((struct str){(char *)x, HASH_LEN}, (struct str){(char *)y, HASH_LEN});
}

bool token_joins_nodes(struct api *a, struct str token)
{
    _cleanup_(pool_freep) struct pool *p = pool_new();
    struct api_user *u = NULL;
    ssize_t at = str_find(token, STR("::"));
    if (str_starts(token, STR("K10")) && at >= 0) {
        if (a->keys && !str_eq(str_sub(token, 3, (size_t)at), api_keys_ca_hash(a->keys)))
            return false;
        token = str_sub(token, (size_t)at + 2, token.n);
    }
    if (!bootstrap_shaped(token) || bootstrap(a, p, token, &u, NULL) < 0)
        return false;
    for (size_t i = 0; i < u->ngroups; i++)
        if (str_eqz(u->groups[i], TOKEN_NODE_GROUP))
            return true;
    return false;
}

int token_authenticate(
    struct api *a, struct pool *p, struct str token, const struct str *audiences, size_t naudiences, struct api_user **out, struct err **e)
{
    if (str_empty(token) || token.n > JWT_MAX)
        return refuse(e, "no usable token");
    if (token_is_join(a, token, a->cfg.static_token_server)) {
        struct str g = STR("sampan:server");
        *out = user_new(p, STR("sampan:server"), STR_NULL, &g, 1, true);
        return 0;
    }
    if (token_is_join(a, token, a->cfg.static_token_agent)) {
        struct str g = STR("sampan:agent");
        *out = user_new(p, STR("sampan:agent"), STR_NULL, &g, 1, true);
        return 0;
    }
    if (bootstrap_shaped(token))
        return bootstrap(a, p, token, out, e);
    return service_account(a, p, token, audiences, naudiences, out, e);
}
