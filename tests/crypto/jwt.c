#include "harness.h"
#include "base/clock.h"
#include "base/file.h"
#include "crypto/crypto.h"
#include "json/json.h"

#define NOW (INT64_C(1800000000) * NS_PER_S)

static struct pool *pool;
static struct key *key;

static void start(void)
{
    pool = pool_new();
    key = key_make(KEY_P256, NULL);
    OK(key);
}

static void stop(void)
{
    pool_free(pool);
    key_free(key);
}

static struct json *claims(void)
{
    struct json *c = json_obj(pool);
    json_set_str(pool, c, STR("iss"), STR("https://kubernetes.default.svc"));
    json_set_str(pool, c, STR("sub"), STR("system:serviceaccount:ns:sa"));
    json_append(json_put_arr(pool, c, STR("aud")), json_str(pool, STR("api")));
    json_set_int(pool, c, STR("exp"), 1800003600);
    json_set_int(pool, c, STR("nbf"), 1800000000);
    json_set_int(pool, c, STR("iat"), 1800000000);
    return c;
}

static struct str sign(const struct key *k)
{
    struct buf b = BUF_INIT;
    struct err *e = NULL;
    FINE(jwt_sign(k, STR_NULL, claims(), &b, &e), e);
    return buf_to_pool(&b, pool);
}

static struct str token_of(const char *header, const char *body, struct str signature)
{
    struct buf b = BUF_INIT;
    buf_base64url(&b, header, strlen(header));
    buf_putc(&b, '.');
    buf_base64url(&b, body, strlen(body));
    buf_putc(&b, '.');
    buf_base64url(&b, signature.p, signature.n);
    return buf_to_pool(&b, pool);
}

TEST(a_token_verifies_and_tells_its_claims)
{
    start();
    struct jwt t;
    struct err *e = NULL;
    FINE(jwt_parse(sign(key), pool, &t, &e), e);
    FINE(jwt_verify(&t, key, &e), e);
    FINE(jwt_check_time(&t, NOW, 0, &e), e);
    EQ_STR(t.alg, STR("ES256"));
    EQ_STR(t.kid, jwt_kid(key, pool));
    EQ_STR(t.iss, STR("https://kubernetes.default.svc"));
    EQ_STR(t.sub, STR("system:serviceaccount:ns:sa"));
    OK(jwt_has_audience(&t, STR("api")) && !jwt_has_audience(&t, STR("ap")));
    stop();
}

TEST(times_are_checked_by_the_callers_clock)
{
    start();
    struct jwt t;
    struct err *e = NULL;
    FINE(jwt_parse(sign(key), pool, &t, &e), e);
    EQ(jwt_check_time(&t, NOW + 3600 * NS_PER_S, 0, &e), -ERR_UNAUTHORIZED);
    EQ_Z(err_msg(e), "token: has expired");
    err_free(TAKE(e));
    EQ(jwt_check_time(&t, NOW + 3600 * NS_PER_S, NS_PER_S, NULL), 0);
    EQ(jwt_check_time(&t, NOW - NS_PER_S, 0, &e), -ERR_UNAUTHORIZED);
    EQ_Z(err_msg(e), "token: is not valid yet");
    err_free(TAKE(e));
    FINE(jwt_parse(token_of("{\"alg\":\"ES256\"}", "{\"iss\":\"x\"}", STR("s")), pool, &t, &e), e);
    EQ(jwt_check_time(&t, NOW, 0, NULL), -ERR_UNAUTHORIZED);
    FINE(jwt_parse(token_of("{\"alg\":\"ES256\"}", "{\"exp\":\"9999999999\"}", STR("s")), pool, &t, &e), e);
    EQ(jwt_check_time(&t, NOW, 0, NULL), -ERR_UNAUTHORIZED);
    FINE(jwt_parse(token_of("{\"alg\":\"ES256\"}", "{\"exp\":1e300}", STR("s")), pool, &t, &e), e);
    EQ(jwt_check_time(&t, NOW, 0, NULL), -ERR_UNAUTHORIZED);
    stop();
}

TEST(every_changed_character_breaks_a_token)
{
    start();
    struct str good = sign(key);
    for (size_t i = 0; i < good.n; i++) {
        char *copy = pool_strz(pool, good);
        struct jwt t;
        copy[i] = copy[i] == 'A' ? 'B' : copy[i] == '.' ? 'A' : 'A';
        if (copy[i] == good.p[i])
            continue;
        OK(jwt_parse(str_make(copy, good.n), pool, &t, NULL) < 0 || jwt_verify(&t, key, NULL) < 0);
    }
    stop();
}

TEST(none_and_hmac_with_the_public_key_are_refused)
{
    start();
    const char *body = "{\"iss\":\"x\",\"exp\":1900000000}";
    struct jwt t;
    struct err *e = NULL;
    _cleanup_(buf_clear) struct buf pem = BUF_INIT, spki = BUF_INIT;
    key_public_pem(key, &pem);
    key_spki(key, &spki);
    static const char *const none[] = {"{\"alg\":\"none\"}", "{\"alg\":\"None\"}", "{\"alg\":\"\"}", "{}", "{\"alg\":null}"};
    for (size_t i = 0; i < ARRAY_LEN(none); i++) {
        OK(jwt_parse(token_of(none[i], body, STR("")), pool, &t, NULL) < 0);
        FINE(jwt_parse(token_of(none[i], body, STR("x")), pool, &t, &e), e);
        EQ(jwt_verify(&t, key, NULL), -ERR_UNAUTHORIZED);
    }
    struct str secrets[] = {buf_str(&pem), buf_str(&spki)};
    for (int i = 0; i < 2; i++) {
        struct str unsigned_token = token_of("{\"alg\":\"HS256\",\"typ\":\"JWT\"}", body, STR("x"));
        unsigned char mac[HASH_LEN];
        hash_hmac(secrets[i], str_sub(unsigned_token, 0, (size_t)str_rchr(unsigned_token, '.')), mac);
        struct str token = token_of("{\"alg\":\"HS256\",\"typ\":\"JWT\"}", body, str_make((char *)mac, sizeof mac));
        FINE(jwt_parse(token, pool, &t, &e), e);
        EQ(jwt_verify(&t, key, &e), -ERR_UNAUTHORIZED);
        EQ_Z(err_msg(e), "token: signed with \"HS256\", the key is for ES256");
        err_free(TAKE(e));
    }
    stop();
}

TEST(things_that_are_no_tokens_are_refused)
{
    start();
    static const char *const bad[] = {"", ".", "..", "a.b", "a.b.c.d", "e30.e30.", "e30.e30.!", "W10.e30.YQ", "e30.bnVsbA.YQ", "e30=.e30.YQ", "e30.e3.YQ",
        "eyJjcml0IjpbImIiXX0.e30.YQ"};
    struct jwt t;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        EQ(jwt_parse(str_of(bad[i]), pool, &t, NULL), -ERR_UNAUTHORIZED);
    char *huge = pool_alloc(pool, JWT_MAX + 2);
    memset(huge, 'a', JWT_MAX + 1);
    EQ(jwt_parse(str_make(huge, JWT_MAX + 1), pool, &t, NULL), -ERR_UNAUTHORIZED);
    stop();
}

TEST(a_key_set_round_trips_and_finds_the_key)
{
    start();
    _cleanup_(key_freep) struct key *ed = key_make(KEY_ED25519, NULL), *stranger = key_make(KEY_P256, NULL);
    const struct key *list[] = {ed, key};
    struct buf b = BUF_INIT;
    struct jwt_keys keys;
    struct jwt t;
    struct err *e = NULL;
    jwt_keys_write(list, 2, &b);
    FINE(jwt_keys_parse(buf_to_pool(&b, pool), pool, &keys, &e), e);
    EQ(keys.n, 2);
    EQ_STR(key_id(keys.at[1].key), key_id(key));
    EQ_STR(key_id(keys.at[0].key), key_id(ed));
    FINE(jwt_parse(sign(key), pool, &t, &e), e);
    FINE(jwt_verify_keys(&t, &keys, &e), e);
    FINE(jwt_parse(sign(ed), pool, &t, &e), e);
    EQ_STR(t.alg, STR("EdDSA"));
    FINE(jwt_verify_keys(&t, &keys, &e), e);
    FINE(jwt_parse(sign(stranger), pool, &t, &e), e);
    EQ(jwt_verify_keys(&t, &keys, NULL), -ERR_UNAUTHORIZED);
    FINE(jwt_keys_parse(STR("{\"keys\":[{\"kty\":\"oct\",\"k\":\"AAAA\"},{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"AAAA\",\"y\":\"AAAA\"},5]}"), pool, &keys, &e), e);
    EQ(keys.n, 0);
    EQ(jwt_keys_parse(STR("{\"keys\":{}}"), pool, &keys, NULL), -ERR_PARSE);
    stop();
}

/* RFC 7515 appendix A.2: a token and an RSA key that are not ours. */
TEST(rs256_verifies_the_example_of_rfc_7515)
{
    start();
    struct str jwks = STR("{\"keys\":[{\"kty\":\"RSA\",\"n\":\"ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-"
        "yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdV"
        "MTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ\",\"e\":\"AQAB\"}]}");
    struct str token = STR("eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ."
        "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAyn"
        "RFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvW"
        "h6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw");
    struct jwt_keys keys;
    struct jwt t;
    struct err *e = NULL;
    FINE(jwt_keys_parse(jwks, pool, &keys, &e), e);
    EQ(keys.n, 1);
    FINE(jwt_parse(token, pool, &t, &e), e);
    FINE(jwt_verify_keys(&t, &keys, &e), e);
    t.signed_part = pool_printf(pool, "%.*sx", STR_ARG(t.signed_part));
    EQ(jwt_verify_keys(&t, &keys, NULL), -ERR_UNAUTHORIZED);
    stop();
}
