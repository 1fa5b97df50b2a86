#include "crypto/cert.h"
#include <arpa/inet.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <stdatomic.h>
#include <time.h>
#include "base/clock.h"
#include "base/file.h"
#include "crypto/ossl.h"

struct cert {
    _Atomic uint32_t refs;
    X509 *x;
    struct pool *pool;
    struct cert_info info;
};

static const struct {
    const char *name;
    unsigned usage;
} usages[] = {
    {"signing", CERT_SIGNATURE}, {"digital signature", CERT_SIGNATURE}, {"content commitment", CERT_COMMITMENT},
    {"key encipherment", CERT_KEY_ENCIPHER}, {"data encipherment", CERT_DATA_ENCIPHER}, {"key agreement", CERT_KEY_AGREE},
    {"cert sign", CERT_SIGN}, {"crl sign", CERT_CRL_SIGN}, {"encipher only", CERT_ENCIPHER_ONLY}, {"decipher only", CERT_DECIPHER_ONLY},
    {"any", CERT_ANY}, {"server auth", CERT_SERVER}, {"client auth", CERT_CLIENT}, {"code signing", CERT_CODE},
    {"email protection", CERT_EMAIL}, {"s/mime", CERT_EMAIL}, {"timestamping", CERT_TIMESTAMP}, {"ocsp signing", CERT_OCSP},
};

unsigned cert_usage_of(struct str name)
{
    for (size_t i = 0; i < ARRAY_LEN(usages); i++)
        if (str_eqz(name, usages[i].name))
            return usages[i].usage;
    return 0;
}

X509 *cert_x509(const struct cert *c)
{
    return c->x;
}

int64_t cert_time(const ASN1_TIME *t)
{
    struct tm tm;
    int64_t ns;
    if (!t || ASN1_TIME_to_tm(t, &tm) != 1)
        return 0;
    time_t s = timegm(&tm);
    return __builtin_mul_overflow((int64_t)s, NS_PER_S, &ns) ? (s < 0 ? INT64_MIN : INT64_MAX) : ns;
}

static int text_of(const ASN1_STRING *s, struct pool *pool, struct str *out, struct err **e)
{
    unsigned char *utf8 = NULL;
    int n = ASN1_STRING_to_UTF8(&utf8, s);
    if (n < 0 || memchr(utf8, 0, (size_t)n)) {
        OPENSSL_free(utf8);
        return ossl_err(e, ERR_PARSE, "certificate: a name holds bytes that are no text");
    }
    *out = pool_str(pool, str_make((const char *)utf8, (size_t)n));
    OPENSSL_free(utf8);
    return 0;
}

static int read_subject(X509_NAME *name, struct pool *pool, struct cert_info *info, struct err **e)
{
    int n = X509_NAME_entry_count(name);
    struct str *orgs = pool_array(pool, struct str, MAX(n, 1));
    for (int i = 0; i < n; i++) {
        X509_NAME_ENTRY *x = X509_NAME_get_entry(name, i);
        int nid = OBJ_obj2nid(X509_NAME_ENTRY_get_object(x));
        /* of several CNs the last counts, as in Go's pkix.Name */
        struct str *to = nid == NID_commonName ? &info->cn : nid == NID_organizationName ? &orgs[info->norgs++] : NULL;
        if (to && text_of(X509_NAME_ENTRY_get_data(x), pool, to, e) < 0)
            return -ERR_PARSE;
    }
    info->orgs = orgs;
    return 0;
}

static int read_address(const ASN1_STRING *s, struct pool *pool, struct str *out, struct err **e)
{
    char text[INET6_ADDRSTRLEN];
    int n = ASN1_STRING_length(s);
    if ((n != 4 && n != 16) || !inet_ntop(n == 4 ? AF_INET : AF_INET6, ASN1_STRING_get0_data(s), text, sizeof text))
        return err_set(e, ERR_PARSE, "certificate: an address of %d bytes", n);
    *out = pool_str(pool, str_of(text));
    return 0;
}

static int read_sans(GENERAL_NAMES *sans, struct pool *pool, struct cert_info *info, struct err **e)
{
    int n = sk_GENERAL_NAME_num(sans), type;
    struct str *all[4];
    size_t count[4] = {0};
    for (int i = 0; i < 4; i++)
        all[i] = pool_array(pool, struct str, MAX(n, 1));
    for (int i = 0; i < n; i++) {
        ASN1_STRING *s = GENERAL_NAME_get0_value(sk_GENERAL_NAME_value(sans, i), &type);
        int to = type == GEN_DNS ? 0 : type == GEN_IPADD ? 1 : type == GEN_EMAIL ? 2 : type == GEN_URI ? 3 : -1;
        if (to < 0)
            continue;
        struct str *at = &all[to][count[to]++];
        int r = to == 1 ? read_address(s, pool, at, e) : text_of(s, pool, at, e);
        if (r < 0)
            return r;
    }
    info->dns = all[0], info->ndns = count[0];
    info->ips = all[1], info->nips = count[1];
    info->emails = all[2], info->nemails = count[2];
    info->uris = all[3], info->nuris = count[3];
    return 0;
}

static struct str name_line(X509_NAME *name, struct pool *pool)
{
    _cleanup_(BIO_free_allp) BIO *b = BIO_new(BIO_s_mem());
    char *p = NULL;
    if (!b || X509_NAME_print_ex(b, name, 0, XN_FLAG_RFC2253) < 0)
        return STR("");
    long n = BIO_get_mem_data(b, &p);
    return pool_str(pool, str_make(n > 0 ? p : "", (size_t)MAX(n, 0)));
}

int cert_read_names(X509_NAME *subject, GENERAL_NAMES *sans, struct pool *pool, struct cert_info *info, struct err **e)
{
    int r = read_subject(subject, pool, info, e);
    if (r == 0)
        r = read_sans(sans, pool, info, e);
    info->subject = name_line(subject, pool);
    return r;
}

static unsigned read_usages(X509 *x)
{
    static const struct {
        uint32_t theirs;
        unsigned ours;
    } ku[] = {{KU_DIGITAL_SIGNATURE, CERT_SIGNATURE}, {KU_NON_REPUDIATION, CERT_COMMITMENT}, {KU_KEY_ENCIPHERMENT, CERT_KEY_ENCIPHER},
        {KU_DATA_ENCIPHERMENT, CERT_DATA_ENCIPHER}, {KU_KEY_AGREEMENT, CERT_KEY_AGREE}, {KU_KEY_CERT_SIGN, CERT_SIGN},
        {KU_CRL_SIGN, CERT_CRL_SIGN}, {KU_ENCIPHER_ONLY, CERT_ENCIPHER_ONLY}, {KU_DECIPHER_ONLY, CERT_DECIPHER_ONLY}},
      xku[] = {{XKU_SSL_SERVER, CERT_SERVER}, {XKU_SSL_CLIENT, CERT_CLIENT}, {XKU_SMIME, CERT_EMAIL}, {XKU_CODE_SIGN, CERT_CODE},
        {XKU_OCSP_SIGN, CERT_OCSP}, {XKU_TIMESTAMP, CERT_TIMESTAMP}, {XKU_ANYEKU, CERT_ANY}};
    uint32_t k = X509_get_key_usage(x), xk = X509_get_extended_key_usage(x);
    unsigned out = 0;
    for (size_t i = 0; k != UINT32_MAX && i < ARRAY_LEN(ku); i++)
        out |= k & ku[i].theirs ? ku[i].ours : 0;
    for (size_t i = 0; xk != UINT32_MAX && i < ARRAY_LEN(xku); i++)
        out |= xk & xku[i].theirs ? xku[i].ours : 0;
    return out;
}

static struct str serial_of(X509 *x, struct pool *pool)
{
    BIGNUM *n = ASN1_INTEGER_to_BN(X509_get0_serialNumber(x), NULL);
    char *hex = n ? BN_bn2hex(n) : NULL;
    struct str s = pool_str(pool, str_of(hex ? hex : ""));
    OPENSSL_free(hex);
    BN_free(n);
    return s;
}

static int read_info(struct cert *c, struct err **e)
{
    struct cert_info *info = &c->info;
    _cleanup_(GENERAL_NAMES_freep) GENERAL_NAMES *sans = X509_get_ext_d2i(c->x, NID_subject_alt_name, NULL, NULL);
    int r = cert_read_names(X509_get_subject_name(c->x), sans, c->pool, info, e);
    if (r < 0)
        return r;
    info->issuer = name_line(X509_get_issuer_name(c->x), c->pool);
    info->not_before = cert_time(X509_get0_notBefore(c->x));
    info->not_after = cert_time(X509_get0_notAfter(c->x));
    info->is_ca = X509_get_extension_flags(c->x) & EXFLAG_CA;
    info->usages = read_usages(c->x);
    info->serial = serial_of(c->x, c->pool);
    char *id = pool_alloc(c->pool, HASH_HEX + 1), *print = pool_alloc(c->pool, HASH_HEX + 1);
    EVP_PKEY *pkey = X509_get0_pubkey(c->x);
    if (!pkey)
        return ossl_err(e, ERR_PARSE, "certificate %.*s: its key cannot be read", STR_ARG(info->subject));
    key_id_of(pkey, id);
    info->key_id = str_make(id, HASH_HEX);
    _cleanup_(buf_clear) struct buf der = BUF_INIT;
    cert_der(c, &der);
    info->fingerprint = hash_sha256_hex(buf_str(&der), print);
    ERR_clear_error();
    return 0;
}

int cert_wrap(X509 *x, struct cert **out, struct err **e)
{
    _cleanup_(cert_freep) struct cert *c = xcalloc(1, sizeof *c);
    atomic_init(&c->refs, 1);
    c->x = x;
    c->pool = pool_new();
    int r = read_info(c, e);
    if (r == 0)
        *out = TAKE(c);
    return r;
}

struct cert *cert_ref(struct cert *c)
{
    if (c)
        atomic_fetch_add_explicit(&c->refs, 1, memory_order_relaxed);
    return c;
}

void cert_free(struct cert *c)
{
    if (!c || atomic_fetch_sub_explicit(&c->refs, 1, memory_order_acq_rel) != 1)
        return;
    X509_free(c->x);
    pool_free(c->pool);
    free(c);
}

const struct cert_info *cert_info(const struct cert *c)
{
    return &c->info;
}

struct key *cert_key(const struct cert *c)
{
    struct key *k = NULL;
    EVP_PKEY *p = X509_get_pubkey(c->x);
    return p && key_wrap(p, &k, NULL) == 0 ? k : NULL;
}

void cert_der(const struct cert *c, struct buf *out)
{
    unsigned char *der = NULL;
    int n = i2d_X509(c->x, &der);
    buf_add(out, der, (size_t)MAX(n, 0));
    OPENSSL_free(der);
}

void cert_pem(const struct cert *c, struct buf *out)
{
    _cleanup_(BIO_free_allp) BIO *b = BIO_new(BIO_s_mem());
    char *p = NULL;
    long n = b && PEM_write_bio_X509(b, c->x) == 1 ? BIO_get_mem_data(b, &p) : 0;
    buf_add(out, p, (size_t)MAX(n, 0));
}

void certs_add(struct certs *l, struct cert *c)
{
    l->at = xrealloc(l->at, (l->n + 1) * sizeof(struct cert *));
    l->at[l->n++] = c;
}

static void cut_back(struct certs *l, size_t n)
{
    while (l->n > n)
        cert_free(l->at[--l->n]);
}

void certs_clear(struct certs *l)
{
    cut_back(l, 0);
    free(l->at);
    *l = (struct certs){0};
}

static int parse_der(struct str der, struct certs *l, struct err **e)
{
    const unsigned char *at = (const unsigned char *)der.p;
    struct cert *c = NULL;
    X509 *x = d2i_X509(NULL, &at, (long)der.n);
    if (!x)
        return ossl_err(e, ERR_PARSE, "certificate: neither PEM nor DER");
    if (at != (const unsigned char *)der.p + der.n) {
        X509_free(x);
        return err_set(e, ERR_PARSE, "certificate: bytes behind its end");
    }
    int r = cert_wrap(x, &c, e);
    if (r == 0)
        certs_add(l, c);
    return r;
}

int certs_parse(struct str text, struct certs *l, struct err **e)
{
    size_t before = l->n;
    if (text.n > CERT_PEM_MAX)
        return err_set(e, ERR_LIMIT, "certificates: larger than %u bytes", CERT_PEM_MAX);
    if (text.n && text.p[0] == 0x30)
        return parse_der(text, l, e);
    _cleanup_(BIO_free_allp) BIO *b = BIO_new_mem_buf(text.p ? text.p : "", (int)text.n);
    for (X509 *x; b && (x = PEM_read_bio_X509(b, NULL, NULL, NULL));) {
        struct cert *c = NULL;
        int r = l->n - before >= CERTS_MAX ? (X509_free(x), err_set(e, ERR_LIMIT, "certificates: more than %d", CERTS_MAX)) : cert_wrap(x, &c, e);
        if (r < 0) {
            cut_back(l, before);
            return r;
        }
        certs_add(l, c);
    }
    /* the only good reason to stop is that no further block begins */
    if (!b || ERR_GET_REASON(ERR_peek_last_error()) != PEM_R_NO_START_LINE) {
        cut_back(l, before);
        return ossl_err(e, ERR_PARSE, "certificates: a PEM block is damaged");
    }
    ERR_clear_error();
    return l->n > before ? 0 : err_set(e, ERR_PARSE, "certificates: there is none");
}

int certs_load(const char *path, struct certs *l, struct err **e)
{
    _cleanup_(buf_clear) struct buf b = BUF_INIT;
    int r = file_read(path, CERT_PEM_MAX, &b, e);
    if (r < 0)
        return r;
    r = certs_parse(buf_str(&b), l, e);
    return r < 0 ? (err_wrap(e, "%s", path), r) : 0;
}
