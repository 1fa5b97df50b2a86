#include <openssl/ecdsa.h>
#include <openssl/err.h>
#include "crypto/key.h"
#include "crypto/ossl.h"

/* Signatures. JOSE and our own protocols want r and s side by side; OpenSSL speaks DER. */

static int raw_of_der(const unsigned char *der, size_t n, unsigned char out[KEY_SIGNATURE])
{
    ECDSA_SIG *s = d2i_ECDSA_SIG(NULL, &der, (long)n);
    bool ok = s && BN_bn2binpad(ECDSA_SIG_get0_r(s), out, 32) == 32 && BN_bn2binpad(ECDSA_SIG_get0_s(s), out + 32, 32) == 32;
    ECDSA_SIG_free(s);
    return ok ? 0 : -1;
}

static int der_of_raw(struct str raw, unsigned char **der)
{
    const unsigned char *p = (const unsigned char *)raw.p;
    ECDSA_SIG *s = ECDSA_SIG_new();
    BIGNUM *r = BN_bin2bn(p, 32, NULL), *t = BN_bin2bn(p + 32, 32, NULL);
    int n = -1;
    *der = NULL;
    if (s && r && t && ECDSA_SIG_set0(s, r, t) == 1)
        n = i2d_ECDSA_SIG(s, der);
    else {
        BN_free(r);
        BN_free(t);
    }
    ECDSA_SIG_free(s);
    return n;
}

int key_sign(const struct key *k, struct str message, unsigned char out[KEY_SIGNATURE], struct err **e)
{
    enum key_kind kind = key_kind(k);
    unsigned char der[128], raw[KEY_SIGNATURE];
    size_t n = sizeof der;
    if (!key_is_private(k) || kind == KEY_RSA)
        return err_set(e, ERR_INTERNAL, "key: cannot sign with %s", kind == KEY_RSA ? "RSA" : "a public key");
    _cleanup_(EVP_MD_CTX_freep) EVP_MD_CTX *c = EVP_MD_CTX_new();
    if (!c || EVP_DigestSignInit(c, NULL, kind == KEY_ED25519 ? NULL : EVP_sha256(), NULL, key_pkey(k)) != 1 ||
        EVP_DigestSign(c, der, &n, (const unsigned char *)(message.p ? message.p : ""), message.n) != 1)
        return ossl_err(e, ERR_INTERNAL, "key: signing failed");
    if (kind == KEY_ED25519)
        memcpy(raw, der, sizeof raw);
    else if (raw_of_der(der, n, raw) < 0)
        return ossl_err(e, ERR_INTERNAL, "key: signing failed");
    memcpy(out, raw, sizeof raw);
    return 0;
}

bool key_verify(const struct key *k, struct str message, struct str signature)
{
    enum key_kind kind = key_kind(k);
    unsigned char *der = NULL;
    const unsigned char *sig = (const unsigned char *)signature.p;
    size_t n = signature.n;
    if (kind != KEY_RSA && n != KEY_SIGNATURE)
        return false;
    if (kind == KEY_P256) {
        int len = der_of_raw(signature, &der);
        if (len <= 0)
            return false;
        sig = der;
        n = (size_t)len;
    }
    _cleanup_(EVP_MD_CTX_freep) EVP_MD_CTX *c = EVP_MD_CTX_new();
    bool ok = c && EVP_DigestVerifyInit(c, NULL, kind == KEY_ED25519 ? NULL : EVP_sha256(), NULL, key_pkey(k)) == 1 &&
        EVP_DigestVerify(c, sig, n, (const unsigned char *)(message.p ? message.p : ""), message.n) == 1;
    OPENSSL_free(der);
    ERR_clear_error();
    return ok;
}
