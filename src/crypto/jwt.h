/* JSON Web Tokens (RFC 7515, 7517, 7519), compact form only. We sign ES256 (and EdDSA), and verify ES256, RS256 and EdDSA.
 *
 * The algorithm comes from the key, never from the token: a token whose "alg" is not the one of the key it is checked with is refused, and
 * "none" and the HMAC family do not exist here. A token is at most JWT_MAX bytes; "crit" headers are refused.
 */
#pragma once
#include "base/buf.h"
#include "base/err.h"
#include "base/pool.h"
#include "crypto/key.h"

struct json;

#define JWT_MAX (16u << 10)

struct jwt { /* parsed; everything lives in the pool it was parsed into */
    struct json *header, *claims;
    struct str alg, kid;        /* kid is absent when the header has none */
    struct str iss, sub;
    struct str signed_part;     /* what the signature covers */
    struct str signature;
};

/* kid: absent for the key's own (jwt_kid). header gets alg, kid and typ "JWT". */
int jwt_sign(const struct key *k, struct str kid, const struct json *claims, struct buf *out, struct err **e) _must_check_;
/* Base64url of the key's id, as Kubernetes names its ServiceAccount signing keys. */
struct str jwt_kid(const struct key *k, struct pool *pool);

/* Takes a token apart without believing it: to find iss and kid. ERR_UNAUTHORIZED for everything that is not a token. */
int jwt_parse(struct str token, struct pool *pool, struct jwt *out, struct err **e) _must_check_;
int jwt_verify(const struct jwt *t, const struct key *k, struct err **e) _must_check_; /* the signature only */
/* exp (which must be there), nbf and iat against `now`, with leeway in ns either way. */
int jwt_check_time(const struct jwt *t, int64_t now, int64_t leeway, struct err **e) _must_check_;
bool jwt_has_audience(const struct jwt *t, struct str audience); /* "aud" as string or array */

/* Keys by kid. */
struct jwt_keys {
    struct jwt_named_key {
        struct str kid; /* in the pool */
        struct key *key;
    } *at;
    size_t n;
};
/* A JWKS document; keys of kinds and uses we do not know are skipped. At most 64 keys. The keys are freed with pool. */
int jwt_keys_parse(struct str jwks, struct pool *pool, struct jwt_keys *out, struct err **e) _must_check_;
/* The key for t: by kid, or the one that verifies when the token has none. Verifies. */
int jwt_verify_keys(const struct jwt *t, const struct jwt_keys *keys, struct err **e) _must_check_;
/* {"keys":[...]} with kid, use "sig" and alg, for /openid/v1/jwks. */
void jwt_keys_write(const struct key *const *keys, size_t n, struct buf *out);
