#include "crypto/jwt.h"
#include "base/clock.h"
#include "crypto/crypto.h"
#include "json/json.h"

#define DEPTH_MAX 16
#define NODES_MAX 2000

static const char *alg_of(const struct key *k)
{
    enum key_kind kind = key_kind(k);
    return kind == KEY_P256 ? "ES256" : kind == KEY_ED25519 ? "EdDSA" : "RS256";
}

struct str jwt_kid(const struct key *k, struct pool *pool)
{
    struct buf raw = BUF_INIT, text = BUF_INIT;
    buf_unhex(&raw, key_id(k));
    buf_base64url(&text, raw.p, raw.n);
    buf_clear(&raw);
    return buf_to_pool(&text, pool);
}

int jwt_sign(const struct key *k, struct str kid, const struct json *claims, struct buf *out, struct err **e)
{
    _cleanup_(pool_freep) struct pool *pool = pool_new();
    _cleanup_(buf_clear) struct buf text = BUF_INIT, token = BUF_INIT;
    unsigned char signature[KEY_SIGNATURE];
    struct json *header = json_obj(pool);
    json_set_str(pool, header, STR("alg"), str_of(alg_of(k)));
    json_set_str(pool, header, STR("kid"), kid.p ? kid : jwt_kid(k, pool));
    json_set_str(pool, header, STR("typ"), STR("JWT"));
    json_write(&text, header);
    buf_base64url(&token, text.p, text.n);
    buf_putc(&token, '.');
    buf_reset(&text);
    json_write(&text, claims);
    buf_base64url(&token, text.p, text.n);
    int r = key_sign(k, buf_str(&token), signature, e);
    if (r < 0)
        return r;
    buf_putc(&token, '.');
    buf_base64url(&token, signature, sizeof signature);
    if (token.n > JWT_MAX)
        return err_set(e, ERR_LIMIT, "token: larger than %u bytes", JWT_MAX);
    buf_str_add(out, buf_str(&token));
    return 0;
}

static int parse_part(struct str part, struct pool *pool, const char *what, struct json **out, struct err **e)
{
    static const struct json_limits limits = {.bytes = JWT_MAX, .depth = DEPTH_MAX, .nodes = NODES_MAX};
    struct buf raw = BUF_INIT;
    if (!buf_unbase64url(&raw, part)) {
        buf_clear(&raw);
        return err_set(e, ERR_UNAUTHORIZED, "token: the %s is not base64url", what);
    }
    struct json *j = NULL;
    int r = json_parse(pool, buf_str(&raw), &limits, &j, NULL);
    buf_clear(&raw);
    if (r < 0 || !json_is(j, JSON_OBJ))
        return err_set(e, ERR_UNAUTHORIZED, "token: the %s is not a JSON object", what);
    *out = j;
    return 0;
}

int jwt_parse(struct str token, struct pool *pool, struct jwt *out, struct err **e)
{
    struct str head, rest, body, tail;
    struct jwt t = {0};
    struct buf raw = BUF_INIT;
    if (token.n > JWT_MAX)
        return err_set(e, ERR_UNAUTHORIZED, "token: larger than %u bytes", JWT_MAX);
    if (!str_cut(token, '.', &head, &rest) || !str_cut(rest, '.', &body, &tail) || !tail.n || str_chr(tail, '.') >= 0)
        return err_set(e, ERR_UNAUTHORIZED, "token: not three parts with dots between");
    int r = parse_part(head, pool, "header", &t.header, e);
    if (r == 0)
        r = parse_part(body, pool, "body", &t.claims, e);
    if (r < 0)
        return r;
    if (!buf_unbase64url(&raw, tail)) {
        buf_clear(&raw);
        return err_set(e, ERR_UNAUTHORIZED, "token: the signature is not base64url");
    }
    t.signature = buf_to_pool(&raw, pool);
    t.signed_part = pool_str(pool, str_make(token.p, head.n + 1 + body.n));
    t.alg = json_get_str(t.header, "alg");
    t.kid = json_get_str(t.header, "kid");
    t.iss = json_get_str(t.claims, "iss");
    t.sub = json_get_str(t.claims, "sub");
    if (json_get(t.header, STR("crit")))
        return err_set(e, ERR_UNAUTHORIZED, "token: its header has extensions that are not understood");
    *out = t;
    return 0;
}

int jwt_verify(const struct jwt *t, const struct key *k, struct err **e)
{
    if (!str_eqz(t->alg, alg_of(k)))
        return err_set(e, ERR_UNAUTHORIZED, "token: signed with \"%.*s\", the key is for %s", (int)MIN(t->alg.n, 32), t->alg.p ? t->alg.p : "", alg_of(k));
    if (!key_verify(k, t->signed_part, t->signature))
        return err_set(e, ERR_UNAUTHORIZED, "token: the signature is wrong");
    return 0;
}

/* RFC 7519 NumericDate: seconds, perhaps with a fraction. 0: absent; 1: there; negative: something else stands there. */
static int date_of(const struct json *claims, const char *name, int64_t *ns)
{
    const struct json *j = json_get(claims, str_of(name));
    double s;
    if (!j)
        return 0;
    if (json_is(j, JSON_INT))
        s = (double)j->i;
    else if (json_is(j, JSON_DOUBLE))
        s = j->d;
    else
        return -1;
    if (!(s >= 0 && s < 9e9))
        return -1;
    *ns = json_is(j, JSON_INT) ? j->i * NS_PER_S : (int64_t)(s * 1e9);
    return 1;
}

int jwt_check_time(const struct jwt *t, int64_t now, int64_t leeway, struct err **e)
{
    int64_t exp = 0, nbf = 0, iat = 0;
    int has_exp = date_of(t->claims, "exp", &exp), has_nbf = date_of(t->claims, "nbf", &nbf), has_iat = date_of(t->claims, "iat", &iat);
    if (has_exp < 0 || has_nbf < 0 || has_iat < 0)
        return err_set(e, ERR_UNAUTHORIZED, "token: exp, nbf or iat is not a time");
    if (!has_exp)
        return err_set(e, ERR_UNAUTHORIZED, "token: has no exp");
    if (now - leeway >= exp)
        return err_set(e, ERR_UNAUTHORIZED, "token: has expired");
    if ((has_nbf && now + leeway < nbf) || (has_iat && now + leeway < iat))
        return err_set(e, ERR_UNAUTHORIZED, "token: is not valid yet");
    return 0;
}

bool jwt_has_audience(const struct jwt *t, struct str audience)
{
    const struct json *aud = json_get(t->claims, STR("aud"));
    if (json_is(aud, JSON_STR))
        return str_eq(json_as_str(aud), audience);
    if (json_is(aud, JSON_ARR))
        json_for(aud, it)
            if (json_is(it, JSON_STR) && str_eq(json_as_str(it), audience))
                return true;
    return false;
}
