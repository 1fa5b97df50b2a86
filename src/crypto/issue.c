#include "crypto/issue.h"
#include <arpa/inet.h>
#include <openssl/asn1.h>
#include "base/clock.h"
#include "base/file.h"

#define NAME_MAX_BYTES 1024
#define NAMES_MAX 1000

static int add_rdn(X509_NAME *n, int nid, struct str s, const char *what, struct err **e)
{
    if (s.n > NAME_MAX_BYTES || !s.n || str_chr(s, 0) >= 0 || !str_utf8_valid(s))
        return err_set(e, ERR_INVALID, "certificate: %s must be UTF-8 text of 1 to %d bytes", what, NAME_MAX_BYTES);
    /* given as UTF8String rather than by table: X.520's 64 characters are too short for the names of nodes (Go does the same) */
    if (X509_NAME_add_entry_by_NID(n, nid, V_ASN1_UTF8STRING, (const unsigned char *)s.p, (int)s.n, -1, 0) != 1)
        return ossl_err(e, ERR_INTERNAL, "certificate: %s", what);
    return 0;
}

int issue_subject(const struct cert_spec *spec, X509_NAME **out, struct err **e)
{
    _cleanup_(X509_NAME_freep) X509_NAME *n = X509_NAME_new();
    if (!n)
        return ossl_err(e, ERR_INTERNAL, "certificate: subject");
    if (spec->norgs > NAMES_MAX)
        return err_set(e, ERR_INVALID, "certificate: more than %d organizations", NAMES_MAX);
    for (size_t i = 0; i < spec->norgs; i++)
        if (add_rdn(n, NID_organizationName, spec->orgs[i], "O", e) < 0)
            return -ERR_INVALID;
    if (spec->cn.n && add_rdn(n, NID_commonName, spec->cn, "CN", e) < 0)
        return -ERR_INVALID;
    *out = TAKE(n);
    return 0;
}

static bool dns_like(struct str s)
{
    if (!s.n || s.n > 253)
        return false;
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        bool word = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_' || c == '.';
        if (!word && !(c == '*' && i == 0 && s.n > 2 && s.p[1] == '.'))
            return false;
    }
    return true;
}

static int add_san(GENERAL_NAMES *names, struct str s, bool must_be_ip, struct err **e)
{
    unsigned char raw[16];
    char z[64] = "";
    if (s.n < sizeof z)
        memcpy(z, s.p ? s.p : "", s.n);
    int n = inet_pton(AF_INET, z, raw) == 1 ? 4 : inet_pton(AF_INET6, z, raw) == 1 ? 16 : 0;
    if (!n && (must_be_ip || !dns_like(s)))
        return err_set(e, ERR_INVALID, "certificate: \"%.*s\" is no %s", (int)MIN(s.n, 300), s.p ? s.p : "", must_be_ip ? "IP address" : "DNS name");
    GENERAL_NAME *g = GENERAL_NAME_new();
    ASN1_STRING *v = n ? ASN1_OCTET_STRING_new() : ASN1_IA5STRING_new();
    if (!g || !v || ASN1_STRING_set(v, n ? (const void *)raw : s.p, n ? n : (int)s.n) != 1) {
        GENERAL_NAME_free(g);
        ASN1_STRING_free(v);
        return ossl_err(e, ERR_INTERNAL, "certificate: names");
    }
    GENERAL_NAME_set0_value(g, n ? GEN_IPADD : GEN_DNS, v);
    if (sk_GENERAL_NAME_push(names, g) <= 0) {
        GENERAL_NAME_free(g);
        return ossl_err(e, ERR_INTERNAL, "certificate: names");
    }
    return 0;
}

int issue_sans(const struct cert_spec *spec, GENERAL_NAMES **out, struct err **e)
{
    *out = NULL;
    if (!spec->ndns && !spec->nips)
        return 0;
    if (spec->ndns + spec->nips > NAMES_MAX)
        return err_set(e, ERR_INVALID, "certificate: more than %d names", NAMES_MAX);
    _cleanup_(GENERAL_NAMES_freep) GENERAL_NAMES *names = sk_GENERAL_NAME_new_null();
    if (!names)
        return ossl_err(e, ERR_INTERNAL, "certificate: names");
    int r = 0;
    for (size_t i = 0; r == 0 && i < spec->ndns; i++)
        r = add_san(names, spec->dns[i], false, e);
    for (size_t i = 0; r == 0 && i < spec->nips; i++)
        r = add_san(names, spec->ips[i], true, e);
    if (r == 0)
        *out = TAKE(names);
    return r;
}

static bool add_key_usage(X509 *x, unsigned usages)
{
    unsigned any = usages & 0x1ff;
    if (!any)
        return true;
    ASN1_BIT_STRING *bits = ASN1_BIT_STRING_new();
    bool ok = bits != NULL;
    for (int i = 0; ok && i < 9; i++) /* our bits stand in X.509's order */
        if (any & 1u << i)
            ok = ASN1_BIT_STRING_set_bit(bits, i, 1) == 1;
    ok = ok && X509_add1_ext_i2d(x, NID_key_usage, bits, 1, 0) == 1;
    ASN1_BIT_STRING_free(bits);
    return ok;
}

static bool add_extended_usage(X509 *x, unsigned usages)
{
    static const struct {
        unsigned ours;
        int nid;
    } table[] = {{CERT_ANY, NID_anyExtendedKeyUsage}, {CERT_SERVER, NID_server_auth}, {CERT_CLIENT, NID_client_auth}, {CERT_CODE, NID_code_sign},
        {CERT_EMAIL, NID_email_protect}, {CERT_TIMESTAMP, NID_time_stamp}, {CERT_OCSP, NID_OCSP_sign}};
    EXTENDED_KEY_USAGE *list = sk_ASN1_OBJECT_new_null();
    bool ok = list != NULL;
    for (size_t i = 0; ok && i < ARRAY_LEN(table); i++)
        if (usages & table[i].ours)
            ok = sk_ASN1_OBJECT_push(list, OBJ_nid2obj(table[i].nid)) > 0;
    if (ok && sk_ASN1_OBJECT_num(list) > 0)
        ok = X509_add1_ext_i2d(x, NID_ext_key_usage, list, 0, 0) == 1;
    sk_ASN1_OBJECT_free(list); /* the objects are OpenSSL's own */
    return ok;
}

static bool add_constraints(X509 *x, bool is_ca)
{
    BASIC_CONSTRAINTS *b = BASIC_CONSTRAINTS_new();
    if (b)
        b->ca = is_ca ? 0xff : 0;
    bool ok = b && X509_add1_ext_i2d(x, NID_basic_constraints, b, 1, 0) == 1;
    BASIC_CONSTRAINTS_free(b);
    return ok;
}

/* RFC 7093 method 1: the left 160 bits of the SHA-256 of the key. */
static bool add_key_ids(X509 *x, X509 *issuer)
{
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned n = 0;
    ASN1_OCTET_STRING *id = ASN1_OCTET_STRING_new();
    bool ok = id && X509_pubkey_digest(x, EVP_sha256(), digest, &n) == 1 && ASN1_OCTET_STRING_set(id, digest, 20) == 1 &&
        X509_add1_ext_i2d(x, NID_subject_key_identifier, id, 0, 0) == 1;
    const ASN1_OCTET_STRING *theirs = issuer ? X509_get0_subject_key_id(issuer) : NULL;
    AUTHORITY_KEYID *a = theirs ? AUTHORITY_KEYID_new() : NULL;
    if (a) {
        a->keyid = ASN1_OCTET_STRING_dup(theirs);
        ok = ok && X509_add1_ext_i2d(x, NID_authority_key_identifier, a, 0, 0) == 1;
    }
    AUTHORITY_KEYID_free(a);
    ASN1_OCTET_STRING_free(id);
    return ok;
}

static bool set_serial(X509 *x)
{
    unsigned char raw[16];
    random_bytes(raw, sizeof raw);
    raw[0] = (unsigned char)((raw[0] & 0x7f) | 0x40); /* positive, and of one length */
    BIGNUM *n = BN_bin2bn(raw, sizeof raw, NULL);
    bool ok = n && BN_to_ASN1_INTEGER(n, X509_get_serialNumber(x)) != NULL;
    BN_free(n);
    return ok;
}

int issue_cert(const struct issue *i, X509 **out, struct err **e)
{
    _cleanup_(X509_freep) X509 *x = X509_new();
    bool plain_md = EVP_PKEY_get_base_id(i->issuer_key) != EVP_PKEY_ED25519;
    bool critical_san = i->sans && X509_NAME_entry_count(i->subject) == 0; /* RFC 5280 4.2.1.6 */
    bool ok = x && X509_set_version(x, 2) == 1 && set_serial(x) && X509_set_subject_name(x, i->subject) == 1 &&
        X509_set_issuer_name(x, i->issuer ? X509_get_subject_name(i->issuer) : i->subject) == 1 &&
        ASN1_TIME_set(X509_getm_notBefore(x), (time_t)(i->not_before / NS_PER_S)) &&
        ASN1_TIME_set(X509_getm_notAfter(x), (time_t)(i->not_after / NS_PER_S)) && X509_set_pubkey(x, i->subject_key) == 1;
    ok = ok && add_constraints(x, i->is_ca) && add_key_usage(x, i->usages) && add_extended_usage(x, i->usages) && add_key_ids(x, i->issuer);
    if (ok && i->sans)
        ok = X509_add1_ext_i2d(x, NID_subject_alt_name, i->sans, critical_san, 0) == 1;
    if (!ok || X509_sign(x, i->issuer_key, plain_md ? EVP_sha256() : NULL) <= 0)
        return ossl_err(e, ERR_INTERNAL, "certificate: cannot be made");
    *out = TAKE(x);
    return 0;
}
