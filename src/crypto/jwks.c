#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/param_build.h>
#include "crypto/jwt.h"
#include "crypto/ossl.h"
#include "json/json.h"

/* JSON Web Key Sets (RFC 7517, 7518 section 6, 8037). */

#define KEYS_MAX 64
#define JWKS_MAX (256u << 10)

/* SubjectPublicKeyInfo of a P-256 key up to the point: the key is these bytes, 04, x, y. */
static const unsigned char p256_prefix[] = {0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48,
    0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00};

static bool member(const struct json *jwk, const char *name, struct buf *out)
{
    struct str s = json_get_str(jwk, name);
    return s.n && buf_unbase64url(out, s);
}

static struct key *read_ec(const struct json *jwk)
{
    _cleanup_(buf_clear) struct buf der = BUF_INIT;
    struct key *k = NULL;
    if (!str_eqz(json_get_str(jwk, "crv"), "P-256"))
        return NULL;
    buf_add(&der, p256_prefix, sizeof p256_prefix);
    buf_putc(&der, 4);
    size_t at = der.n;
    if (!member(jwk, "x", &der) || der.n != at + 32 || !member(jwk, "y", &der) || der.n != at + 64)
        return NULL;
    return key_parse_spki(buf_str(&der), &k, NULL) == 0 ? k : NULL;
}

static struct key *read_okp(const struct json *jwk)
{
    _cleanup_(buf_clear) struct buf raw = BUF_INIT;
    struct key *k = NULL;
    if (!str_eqz(json_get_str(jwk, "crv"), "Ed25519") || !member(jwk, "x", &raw))
        return NULL;
    return key_from_public_bytes(buf_str(&raw), &k, NULL) == 0 ? k : NULL;
}

static struct key *read_rsa(const struct json *jwk)
{
    _cleanup_(buf_clear) struct buf n = BUF_INIT, x = BUF_INIT;
    struct key *k = NULL;
    EVP_PKEY *p = NULL;
    if (!member(jwk, "n", &n) || !member(jwk, "e", &x) || n.n > 1024 || x.n > 8)
        return NULL;
    BIGNUM *bn = BN_bin2bn((unsigned char *)n.p, (int)n.n, NULL), *be = BN_bin2bn((unsigned char *)x.p, (int)x.n, NULL);
    OSSL_PARAM_BLD *bld = OSSL_PARAM_BLD_new();
    OSSL_PARAM *params = NULL;
    EVP_PKEY_CTX *c = EVP_PKEY_CTX_new_from_name(NULL, "RSA", NULL);
    if (bn && be && bld && c && OSSL_PARAM_BLD_push_BN(bld, OSSL_PKEY_PARAM_RSA_N, bn) == 1 &&
        OSSL_PARAM_BLD_push_BN(bld, OSSL_PKEY_PARAM_RSA_E, be) == 1 && (params = OSSL_PARAM_BLD_to_param(bld)) &&
        EVP_PKEY_fromdata_init(c) == 1 && EVP_PKEY_fromdata(c, &p, EVP_PKEY_PUBLIC_KEY, params) != 1)
        p = NULL;
    EVP_PKEY_CTX_free(c);
    OSSL_PARAM_free(params);
    OSSL_PARAM_BLD_free(bld);
    BN_free(bn);
    BN_free(be);
    return p && key_wrap(p, &k, NULL) == 0 ? k : NULL;
}

static struct key *read_jwk(const struct json *jwk)
{
    static const struct {
        const char *kty;
        struct key *(*read)(const struct json *);
    } kinds[] = {{"EC", read_ec}, {"RSA", read_rsa}, {"OKP", read_okp}};
    struct str kty = json_get_str(jwk, "kty"), use = json_get_str(jwk, "use");
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
        if (str_eqz(kty, kinds[i].kty) && (!use.n || str_eqz(use, "sig")))
            return kinds[i].read(jwk);
    return NULL;
}

static void drop(void *k)
{
    key_free(k);
}

int jwt_keys_parse(struct str text, struct pool *pool, struct jwt_keys *out, struct err **e)
{
    static const struct json_limits limits = {.bytes = JWKS_MAX, .depth = 16, .nodes = 10000};
    struct json *doc = NULL;
    int r = json_parse(pool, text, &limits, &doc, e);
    if (r < 0)
        return err_wrap(e, "key set"), r;
    const struct json *list = json_get(doc, STR("keys"));
    if (!json_is(list, JSON_ARR))
        return err_set(e, ERR_PARSE, "key set: \"keys\" is not an array");
    struct jwt_keys keys = {.at = pool_array(pool, struct jwt_named_key, KEYS_MAX)};
    json_for(list, it)
    {
        struct key *k = read_jwk(it);
        if (k && keys.n == KEYS_MAX) {
            key_free(k);
            return err_set(e, ERR_LIMIT, "key set: more than %d keys", KEYS_MAX);
        }
        if (k) {
            pool_on_free(pool, drop, k);
            keys.at[keys.n++] = (struct jwt_named_key){json_get_str(it, "kid"), k};
        }
    }
    ERR_clear_error();
    *out = keys;
    return 0;
}

int jwt_verify_keys(const struct jwt *t, const struct jwt_keys *keys, struct err **e)
{
    for (size_t i = 0; i < keys->n; i++) {
        if (t->kid.p ? str_eq(t->kid, keys->at[i].kid) && jwt_verify(t, keys->at[i].key, NULL) == 0 : jwt_verify(t, keys->at[i].key, NULL) == 0)
            return 0;
    }
    return err_set(e, ERR_UNAUTHORIZED, "token: no key of its issuer fits the signature");
}

static void set_bytes(struct pool *pool, struct json *obj, const char *name, const void *p, size_t n)
{
    struct buf b = BUF_INIT;
    buf_base64url(&b, p, n);
    json_set_str(pool, obj, str_of(name), buf_str(&b));
    buf_clear(&b);
}

static void set_number(struct pool *pool, struct json *obj, const char *name, EVP_PKEY *p, const char *param)
{
    unsigned char raw[1024];
    BIGNUM *n = NULL;
    if (EVP_PKEY_get_bn_param(p, param, &n) == 1 && BN_num_bytes(n) <= (int)sizeof raw)
        set_bytes(pool, obj, name, raw, (size_t)BN_bn2bin(n, raw));
    BN_free(n);
}

static struct json *write_jwk(struct pool *pool, const struct key *k)
{
    struct json *j = json_obj(pool);
    struct buf spki = BUF_INIT;
    key_spki(k, &spki);
    json_set_str(pool, j, STR("use"), STR("sig"));
    json_set_str(pool, j, STR("kid"), jwt_kid(k, pool));
    switch (key_kind(k)) {
    case KEY_P256:
        json_set_str(pool, j, STR("kty"), STR("EC"));
        json_set_str(pool, j, STR("alg"), STR("ES256"));
        json_set_str(pool, j, STR("crv"), STR("P-256"));
        if (spki.n == sizeof p256_prefix + 65) {
            set_bytes(pool, j, "x", spki.p + spki.n - 64, 32);
            set_bytes(pool, j, "y", spki.p + spki.n - 32, 32);
        }
        break;
    case KEY_ED25519:
        json_set_str(pool, j, STR("kty"), STR("OKP"));
        json_set_str(pool, j, STR("alg"), STR("EdDSA"));
        json_set_str(pool, j, STR("crv"), STR("Ed25519"));
        set_bytes(pool, j, "x", spki.p + spki.n - 32, 32);
        break;
    case KEY_RSA:
        json_set_str(pool, j, STR("kty"), STR("RSA"));
        json_set_str(pool, j, STR("alg"), STR("RS256"));
        set_number(pool, j, "n", key_pkey(k), OSSL_PKEY_PARAM_RSA_N);
        set_number(pool, j, "e", key_pkey(k), OSSL_PKEY_PARAM_RSA_E);
        break;
    }
    buf_clear(&spki);
    return j;
}

void jwt_keys_write(const struct key *const *keys, size_t n, struct buf *out)
{
    _cleanup_(pool_freep) struct pool *pool = pool_new();
    struct json *doc = json_obj(pool), *list = json_put_arr(pool, doc, STR("keys"));
    for (size_t i = 0; i < n; i++)
        json_append(list, write_jwk(pool, keys[i]));
    json_write(out, doc);
}
