/* Tokens: what a user shows after logging in. `token-xxxxx:secret` as a bearer token; the hub keeps the secret's hash alone. A token ends with its time, with its user, and when
 * it is deleted; one with a clusterName opens /k8s/clusters/<that cluster> and nothing else. */
#include <stdlib.h>

#include "base/file.h"
#include "base/log.h"
#include "crypto/crypto.h"
#include "hub/impl.h"

#define NAME_LEN 5
#define SECRET_LEN 54
#define USERS_GROUP STR("system:cattle:authenticated")
#define GROUPS_MAX 32

/* ---- who shows it ---- */

static int refuse(struct err **e, const char *why)
{
    return err_set(e, ERR_UNAUTHORIZED, "%s", why);
}

static bool in_scope(const struct json *token, struct pool *p, struct str path)
{
    struct str cluster = json_get_str(token, "clusterName");
    if (!cluster.n)
        return true;
    struct str base = pool_printf(p, "/k8s/clusters/%.*s", STR_ARG(cluster));
    return str_eq(path, base) || (str_starts(path, base) && path.n > base.n && path.p[base.n] == '/');
}

static bool ended(const struct json *token, int64_t now)
{
    int64_t end;
    struct str at = json_get_str(token, "expiresAt");
    return json_get_bool(token, "expired", false) || (at.n && (!time_parse(at, &end) || end <= now));
}

int token_user(void *arg, struct pool *p, struct str token, struct str path, struct api_user **out, struct err **e)
{
    struct hub *h = arg;
    struct str name, secret, groups[GROUPS_MAX];
    char hex[HASH_HEX + 1];
    size_t n = 0;
    if (token.n > 256 || (!str_starts(token, STR("token-")) && !str_starts(token, STR("kubeconfig-"))) || !str_cut(token, ':', &name, &secret))
        return 0;
    struct json *t = hub_get(h, p, "tokens", STR_NULL, name);
    struct str want = json_get_str(t, "token"), given = pool_printf(p, "$sha256$%.*s", STR_ARG(hash_sha256_hex(secret, hex)));
    if (!t || !want.n || !str_eq_secret(want, given))
        return refuse(e, "unknown token");
    if (!json_get_bool(t, "enabled", true) || ended(t, clock_now(api_clock(h->api))))
        return refuse(e, "the token has expired");
    if (!in_scope(t, p, path))
        return refuse(e, "the token is good for one cluster only");
    struct str id = json_get_str(t, "userId");
    struct json *user = hub_get(h, p, "users", STR_NULL, id);
    if (!user || !json_get_bool(user, "enabled", true) || json_str_at(user, "metadata", "deletionTimestamp", NULL).n)
        return refuse(e, "the token's user is gone or disabled");
    groups[n++] = USERS_GROUP;
    json_for (json_get(t, STR("groupPrincipals")), g) {
        struct str group = json_str_at(g, "metadata", "name", NULL);
        if (n < GROUPS_MAX && group.n && !str_starts(group, STR("system:")))
            groups[n++] = group;
    }
    *out = api_user_new(p, id, json_str_at(user, "metadata", "uid", NULL), groups, n);
    return 1;
}

/* ---- making one ---- */

int64_t token_ttl_ms(struct hub *h, const char *setting, int64_t wanted_ms)
{
    int64_t most = hub_setting_int(h, "auth-token-max-ttl-minutes", 0) * 60000, ttl = wanted_ms > 0 ? wanted_ms : hub_setting_int(h, setting, 960) * 60000;
    return most > 0 && (ttl <= 0 || ttl > most) ? most : ttl;
}

static void on_durable(struct store_wait *w, int result)
{
    struct mint *m = container_of(w, struct mint, wait);
    _cleanup_(err_freep) struct err *e = NULL;
    if (result < 0)
        (void)err_set(&e, ERR_UNAVAILABLE, "the hub could not keep the token");
    m->done(m, e);
}

static void on_made(struct api_call *c)
{
    struct mint *m = container_of(c, struct mint, call);
    if (c->err) {
        _cleanup_(err_freep) struct err *e = TAKE(c->err);
        m->done(m, e);
        return;
    }
    int64_t rev = c->obj->rev;
    api_call_clear(c);
    if (store_wait(api_store(m->hub->api), rev, &m->wait, m->loop, on_durable))
        on_durable(&m->wait, 0);
}

void token_mint(struct mint *m)
{
    struct pool *p = m->pool;
    struct json *doc = json_obj(p), *meta = json_put_obj(p, doc, STR("metadata")), *labels = json_put_obj(p, meta, STR("labels"));
    char suffix[NAME_LEN + 1], secret[SECRET_LEN + 1], text[TIME_MAX];
    random_suffix(suffix, NAME_LEN);
    random_suffix(secret, SECRET_LEN);
    m->name = str_eqz(m->kind, "kubeconfig") ? pool_printf(p, "kubeconfig-%.*s-%s", STR_ARG(m->user), suffix) : pool_printf(p, "token-%s", suffix);
    m->secret = pool_str(p, str_of(secret));
    crypto_wipe(secret, sizeof secret);
    json_set_str(p, meta, STR("name"), m->name);
    json_set_str(p, labels, STR("authn.management.cattle.io/token-userId"), m->user);
    if (m->kind.n)
        json_set_str(p, labels, STR("authn.management.cattle.io/kind"), m->kind);
    json_set_str(p, json_put_obj(p, meta, STR("annotations")), STR("authn.management.cattle.io/token-hashed"), STR("true"));
    json_set_str(p, doc, STR("token"), m->secret);
    json_set_str(p, doc, STR("userId"), m->user);
    json_set_str(p, doc, STR("authProvider"), STR("local"));
    json_set_int(p, doc, STR("ttl"), m->ttl_ms);
    if (m->ttl_ms > 0) {
        m->expires = clock_now(api_clock(m->hub->api)) + m->ttl_ms * NS_PER_MS;
        json_set_str(p, doc, STR("expiresAt"), pool_str(p, time_format(m->expires, text)));
    }
    json_set_str(p, doc, STR("description"), str_sub(m->description, 0, 512));
    if (m->cluster.n)
        json_set_str(p, doc, STR("clusterName"), m->cluster);
    m->call = (struct api_call){.verb = API_CREATE, .group = STR(HUB_GROUP), .version = STR(HUB_VERSION), .resource = STR("tokens"), .body = doc, .pool = p};
    api_do(m->hub->api, m->loop, &m->call, on_made);
}

/* ---- a user's own tokens: GET and POST /v1/sampan/tokens, DELETE /v1/sampan/tokens/<name> ---- */

struct asking {
    struct mint mint;
    struct http_req *rq; /* NULL: gone */
};

static void on_gone(struct http_req *rq)
{
    ((struct asking *)rq->user)->rq = NULL;
}

static void on_minted(struct mint *m, const struct err *e)
{
    struct asking *a = container_of(m, struct asking, mint);
    struct http_req *rq = TAKE(a->rq);
    struct pool *p = m->pool;
    if (rq) {
        rq->on_close = NULL;
        rq->user = NULL;
    }
    if (rq && e) {
        hub_refuse(rq, e);
    } else if (rq) {
        struct json *doc = json_obj(rq->pool);
        char text[TIME_MAX];
        json_set_str(rq->pool, doc, STR("name"), m->name);
        json_set_str(rq->pool, doc, STR("token"), pool_printf(rq->pool, "%.*s:%.*s", STR_ARG(m->name), STR_ARG(m->secret)));
        json_set_str(rq->pool, doc, STR("userId"), m->user);
        json_set_int(rq->pool, doc, STR("ttl"), m->ttl_ms);
        if (m->expires)
            json_set_str(rq->pool, doc, STR("expiresAt"), time_format(m->expires, text));
        hub_reply(rq, 201, doc);
    }
    pool_free(p);
}

static void make(struct http_req *rq, struct str body)
{
    struct asking *a = rq->user;
    struct mint *m = &a->mint;
    struct json *doc;
    rq->on_close = NULL; /* a refusal answers it, and then it is gone */
    if (!hub_body(rq, body.n ? body : STR("{}"), &doc)) {
        pool_free(m->pool);
        return;
    }
    m->description = pool_str(m->pool, json_get_str(doc, "description"));
    m->cluster = pool_str(m->pool, json_get_str(doc, "clusterName"));
    m->ttl_ms = token_ttl_ms(m->hub, "auth-token-default-ttl-minutes", json_get_int(doc, "ttl", 0));
    rq->on_close = on_gone;
    token_mint(m);
}

static void never_read(struct http_req *rq)
{
    pool_free(((struct asking *)rq->user)->mint.pool);
}

struct listing {
    struct pool *p;
    struct json *out;
    struct str user;
};

static bool list_one(void *arg, struct json *doc)
{
    static const char *const shown[] = {"description", "expiresAt", "ttl", "clusterName", "enabled"};
    struct listing *l = arg;
    if (!str_eq(json_get_str(doc, "userId"), l->user))
        return true;
    struct json *row = json_append(l->out, json_obj(l->p));
    json_set_str(l->p, row, STR("name"), json_str_at(doc, "metadata", "name", NULL));
    json_set_str(l->p, row, STR("created"), json_str_at(doc, "metadata", "creationTimestamp", NULL));
    for (size_t i = 0; i < ARRAY_LEN(shown); i++)
        if (json_get(doc, str_of(shown[i])))
            json_set(l->p, row, str_of(shown[i]), json_clone(l->p, json_get(doc, str_of(shown[i]))));
    return true;
}

static void remove_own(struct hub *h, struct http_req *rq, struct str user, struct str name)
{
    _cleanup_(err_freep) struct err *e = NULL;
    struct json *doc = hub_get(h, rq->pool, "tokens", STR_NULL, name);
    if (!doc || !str_eq(json_get_str(doc, "userId"), user)) {
        (void)err_set(&e, ERR_NOT_FOUND, "tokens." HUB_GROUP " \"%.*s\" not found", STR_ARG(name));
        hub_refuse(rq, e);
        return;
    }
    hub_write(h, stream_loop(rq->conn), API_DELETE, STR(HUB_GROUP), STR(HUB_VERSION), STR("tokens"), STR_NULL, STR_NULL, name, NULL, NULL);
    http_reply_str(rq, 200, "application/json", STR("{}"));
}

void tokens_route(struct http_req *rq, const struct api_user *user, void *arg)
{
    struct hub *h = arg;
    struct str base = STR("/v1/sampan/tokens"), name = str_sub(rq->path, base.n + 1, rq->path.n);
    _cleanup_(err_freep) struct err *e = NULL;
    if (!hub_get(h, rq->pool, "users", STR_NULL, user->name)) {
        (void)err_set(&e, ERR_FORBIDDEN, "\"%.*s\" is no user of this hub; tokens belong to users", STR_ARG(user->name));
        hub_refuse(rq, e);
    } else if (str_eqz(rq->method, "DELETE") && name.n) {
        remove_own(h, rq, user->name, name);
    } else if (str_eqz(rq->method, "GET")) {
        struct listing l = {rq->pool, json_arr(rq->pool), user->name};
        hub_each(h, rq->pool, "tokens", STR_NULL, list_one, &l);
        hub_reply(rq, 200, l.out);
    } else if (str_eqz(rq->method, "POST") && !name.n) {
        struct pool *p = pool_new();
        struct asking *a = pool_new_of(p, struct asking);
        a->rq = rq;
        a->mint = (struct mint){.hub = h, .loop = stream_loop(rq->conn), .user = pool_str(p, user->name), .done = on_minted, .pool = p};
        rq->user = a;
        rq->on_close = never_read;
        http_body(rq, 64 << 10, make);
    } else {
        (void)err_set(&e, ERR_METHOD, "the server does not allow this method on the requested resource");
        hub_refuse(rq, e);
    }
}

void logout_route(struct http_req *rq, const struct api_user *user, void *arg)
{
    struct str scheme, token, name, secret;
    _cleanup_(err_freep) struct err *e = NULL;
    if (!str_eqz(rq->method, "POST") || !str_cut(http_header(rq, STR("authorization")), ' ', &scheme, &token) || !str_cut(str_trim(token), ':', &name, &secret)) {
        (void)err_set(&e, ERR_BAD_REQUEST, "POST with the token that is to end");
        hub_refuse(rq, e);
        return;
    }
    remove_own(arg, rq, user->name, name);
}
