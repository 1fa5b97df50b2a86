#include <arpa/inet.h>
#include <openssl/err.h>
#include "base/clock.h"
#include "crypto/ossl.h"

#define DEPTH_MAX 8
#define AUTH_LEVEL 2 /* 112 bits: neither SHA-1 nor RSA below 2048 */

static struct str subject_of(X509 *x, char *out, size_t n)
{
    out[0] = 0;
    if (x)
        X509_NAME_oneline(X509_get_subject_name(x), out, (int)n);
    return str_of(out);
}

void cert_explain(int code, X509 *at, int64_t now, struct err **e)
{
    char name[256], end[TIME_MAX], at_now[TIME_MAX];
    struct str who = subject_of(at, name, sizeof name);
    time_format(now, at_now);
    switch (at ? code : X509_V_ERR_UNSPECIFIED) {
    case X509_V_ERR_CERT_HAS_EXPIRED:
        time_format(cert_time(X509_get0_notAfter(at)), end);
        err_set(e, ERR_UNAUTHORIZED, "certificate %.*s: expired at %s (it is %s)", STR_ARG(who), end, at_now);
        return;
    case X509_V_ERR_CERT_NOT_YET_VALID:
        time_format(cert_time(X509_get0_notBefore(at)), end);
        err_set(e, ERR_UNAUTHORIZED, "certificate %.*s: not valid before %s (it is %s)", STR_ARG(who), end, at_now);
        return;
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
    case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
    case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
    case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
    case X509_V_ERR_CERT_UNTRUSTED:
        err_set(e, ERR_UNAUTHORIZED, "certificate %.*s: signed by unknown authority", STR_ARG(who));
        return;
    case X509_V_ERR_INVALID_PURPOSE:
        err_set(e, ERR_UNAUTHORIZED, "certificate %.*s: not made for this use", STR_ARG(who));
        return;
    case X509_V_ERR_HOSTNAME_MISMATCH:
    case X509_V_ERR_IP_ADDRESS_MISMATCH:
        err_set(e, ERR_UNAUTHORIZED, "certificate %.*s: not valid for the name that was dialled", STR_ARG(who));
        return;
    }
    err_set(e, ERR_UNAUTHORIZED, "certificate %.*s: %s", STR_ARG(who), X509_verify_cert_error_string(code));
}

X509_STORE *cert_store(const struct certs *cas)
{
    X509_STORE *s = X509_STORE_new();
    for (size_t i = 0; s && cas && i < cas->n; i++)
        X509_STORE_add_cert(s, cert_x509(cas->at[i])); /* one that is there already is fine */
    ERR_clear_error();
    return s;
}

static void purpose(X509_STORE_CTX *c, unsigned usage)
{
    if (usage == CERT_CLIENT)
        X509_STORE_CTX_set_purpose(c, X509_PURPOSE_SSL_CLIENT);
    else if (usage == CERT_SERVER)
        X509_STORE_CTX_set_purpose(c, X509_PURPOSE_SSL_SERVER);
}

int cert_verify(const struct certs *cas, const struct certs *chain, unsigned usage, int64_t now, struct err **e)
{
    if (!chain->n)
        return err_set(e, ERR_UNAUTHORIZED, "certificate: there is none");
    X509_STORE *store = cert_store(cas);
    X509_STORE_CTX *c = X509_STORE_CTX_new();
    STACK_OF(X509) *between = sk_X509_new_null();
    int r = -ERR_INTERNAL;
    for (size_t i = 1; between && i < chain->n; i++)
        sk_X509_push(between, cert_x509(chain->at[i]));
    if (!store || !c || !between || X509_STORE_CTX_init(c, store, cert_x509(chain->at[0]), between) != 1) {
        ossl_err(e, ERR_INTERNAL, "certificate: cannot verify");
    } else {
        X509_VERIFY_PARAM *p = X509_STORE_CTX_get0_param(c);
        X509_VERIFY_PARAM_set_depth(p, DEPTH_MAX);
        X509_VERIFY_PARAM_set_auth_level(p, AUTH_LEVEL);
        X509_VERIFY_PARAM_set_flags(p, X509_V_FLAG_PARTIAL_CHAIN); /* an intermediate that is trusted is an anchor, as in Go */
        X509_VERIFY_PARAM_set_time(p, (time_t)(now / NS_PER_S));
        purpose(c, usage);
        if (X509_verify_cert(c) == 1) {
            r = 0;
        } else {
            cert_explain(X509_STORE_CTX_get_error(c), X509_STORE_CTX_get_current_cert(c), now, e);
            r = -ERR_UNAUTHORIZED;
        }
    }
    sk_X509_free(between);
    X509_STORE_CTX_free(c);
    X509_STORE_free(store);
    ERR_clear_error();
    return r;
}

bool cert_fits_host(const struct cert *c, struct str host)
{
    unsigned char raw[16];
    char z[256];
    if (!host.n || host.n >= sizeof z || str_chr(host, 0) >= 0)
        return false;
    memcpy(z, host.p, host.n);
    z[host.n] = 0;
    if (inet_pton(AF_INET, z, raw) == 1)
        return X509_check_ip(cert_x509(c), raw, 4, 0) == 1;
    if (inet_pton(AF_INET6, z, raw) == 1)
        return X509_check_ip(cert_x509(c), raw, 16, 0) == 1;
    return X509_check_host(cert_x509(c), z, host.n, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS | X509_CHECK_FLAG_NEVER_CHECK_SUBJECT, NULL) == 1;
}
