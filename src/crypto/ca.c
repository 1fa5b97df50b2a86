#include <openssl/err.h>
#include <openssl/pem.h>
#include <stdatomic.h>
#include "base/clock.h"
#include "base/file.h"
#include "crypto/crypto.h"
#include "crypto/issue.h"

#define CA_YEARS 10

struct ca {
    _Atomic uint32_t refs;
    struct cert *cert;
    struct key *key;
    struct buf pem;
};

struct ca *ca_ref(struct ca *ca)
{
    if (ca)
        atomic_fetch_add_explicit(&ca->refs, 1, memory_order_relaxed);
    return ca;
}

void ca_free(struct ca *ca)
{
    if (!ca || atomic_fetch_sub_explicit(&ca->refs, 1, memory_order_acq_rel) != 1)
        return;
    cert_free(ca->cert);
    key_free(ca->key);
    buf_clear(&ca->pem);
    free(ca);
}

/* Takes both over. */
static struct ca *ca_of(struct cert *cert, struct key *key)
{
    struct ca *ca = xcalloc(1, sizeof *ca);
    atomic_init(&ca->refs, 1);
    ca->cert = cert;
    ca->key = key;
    cert_pem(cert, &ca->pem);
    return ca;
}

int ca_make(struct str cn, int64_t now, struct ca **out, struct err **e)
{
    struct cert_spec spec = {.cn = cn};
    _cleanup_(X509_NAME_freep) X509_NAME *subject = NULL;
    int r = issue_subject(&spec, &subject, e);
    if (r < 0)
        return r;
    _cleanup_(key_freep) struct key *key = key_make(KEY_P256, e);
    if (!key)
        return -ERR_INTERNAL;
    struct issue i = {.subject_key = key_pkey(key), .subject = subject, .usages = CERT_SIGN | CERT_CRL_SIGN | CERT_SIGNATURE, .is_ca = true,
        .not_before = now - CERT_YEAR, .not_after = now + CA_YEARS * CERT_YEAR, .issuer_key = key_pkey(key)};
    X509 *x = NULL;
    struct cert *cert = NULL;
    r = issue_cert(&i, &x, e);
    if (r == 0)
        r = cert_wrap(x, &cert, e);
    if (r == 0)
        *out = ca_of(cert, TAKE(key));
    return r;
}

int ca_parse(struct str cert_text, struct str key_text, struct ca **out, struct err **e)
{
    _cleanup_(certs_clear) struct certs list = {0};
    _cleanup_(key_freep) struct key *key = NULL;
    int r = certs_parse(cert_text, &list, e);
    if (r == 0)
        r = key_parse(key_text, &key, e);
    if (r < 0)
        return err_wrap(e, "CA"), r;
    if (!key_is_private(key))
        return err_set(e, ERR_PARSE, "CA: the key has no private half");
    if (!cert_info(list.at[0])->is_ca)
        return err_set(e, ERR_PARSE, "CA: the certificate is not that of a CA");
    if (!str_eq(cert_info(list.at[0])->key_id, key_id(key)))
        return err_set(e, ERR_PARSE, "CA: certificate and key do not belong together");
    *out = ca_of(cert_ref(list.at[0]), TAKE(key));
    return 0;
}

int ca_load(const char *cert_path, const char *key_path, struct ca **out, struct err **e)
{
    _cleanup_(buf_clear) struct buf cert = BUF_INIT;
    _cleanup_(crypto_wipe_buf) struct buf key = BUF_INIT;
    int r = file_read(cert_path, CERT_PEM_MAX, &cert, e);
    if (r == 0)
        r = file_read(key_path, CERT_PEM_MAX, &key, e);
    if (r < 0)
        return r;
    r = ca_parse(buf_str(&cert), buf_str(&key), out, e);
    return r < 0 ? (err_wrap(e, "%s", cert_path), r) : 0;
}

int ca_save(const struct ca *ca, const char *cert_path, const char *key_path, struct err **e)
{
    int r = key_save(ca->key, key_path, e);
    return r < 0 ? r : file_replace(cert_path, buf_str(&ca->pem), 0644, e);
}

int ca_load_or_make(const char *cert_path, const char *key_path, struct str cn, int64_t now, struct ca **out, struct err **e)
{
    if (file_exists(cert_path))
        return ca_load(cert_path, key_path, out, e);
    /* A key without its certificate is what a power cut between the two leaves: nothing was issued by it yet, so a new pair may replace it. */
    _cleanup_(ca_freep) struct ca *ca = NULL;
    int r = ca_make(cn, now, &ca, e);
    if (r == 0)
        r = ca_save(ca, cert_path, key_path, e);
    if (r == 0)
        *out = TAKE(ca);
    return r;
}

struct cert *ca_cert(const struct ca *ca)
{
    return ca->cert;
}

struct key *ca_key(const struct ca *ca)
{
    return ca->key;
}

struct str ca_pem(const struct ca *ca)
{
    return buf_str(&ca->pem);
}

/* Issues what i's first half says, by ca, with spec's usages and times. */
static int finish(const struct ca *ca, struct issue *i, const struct cert_spec *spec, struct buf *pem, struct err **e)
{
    const struct cert_info *mine = cert_info(ca->cert);
    int64_t lifetime = spec->lifetime ? spec->lifetime : CERT_YEAR;
    if (lifetime < 0)
        return err_set(e, ERR_INVALID, "certificate: negative lifetime");
    i->usages = spec->usages & ~(unsigned)(CERT_SIGN | CERT_CRL_SIGN);
    i->not_before = MAX(spec->now - (spec->recent ? 300 * NS_PER_S : CERT_YEAR), mine->not_before);
    i->not_after = MIN(spec->now + lifetime, mine->not_after);
    if (i->not_after <= spec->now)
        return err_set(e, ERR_INVALID, "certificate: the CA itself has expired");
    i->issuer = cert_x509(ca->cert);
    i->issuer_key = key_pkey(ca->key);
    X509 *x = NULL;
    _cleanup_(cert_freep) struct cert *c = NULL;
    int r = issue_cert(i, &x, e);
    if (r == 0)
        r = cert_wrap(x, &c, e);
    if (r == 0)
        cert_pem(c, pem);
    return r;
}

int ca_issue(const struct ca *ca, const struct key *subject, const struct cert_spec *spec, struct buf *pem, struct err **e)
{
    _cleanup_(X509_NAME_freep) X509_NAME *name = NULL;
    _cleanup_(GENERAL_NAMES_freep) GENERAL_NAMES *sans = NULL;
    int r = issue_subject(spec, &name, e);
    if (r == 0)
        r = issue_sans(spec, &sans, e);
    if (r < 0)
        return r;
    struct issue i = {.subject_key = key_pkey(subject), .subject = name, .sans = sans};
    return finish(ca, &i, spec, pem, e);
}

/* Requests */

#define CSR_MAX (64u << 10)
#define STRENGTH_MIN 112 /* bits: RSA from 2048 on */

struct csr {
    X509_REQ *req;
    GENERAL_NAMES *sans;
    struct pool *pool;
    struct cert_info info;
};

void csr_free(struct csr *r)
{
    if (!r)
        return;
    X509_REQ_free(r->req);
    GENERAL_NAMES_free(r->sans);
    pool_free(r->pool);
    free(r);
}

const struct cert_info *csr_info(const struct csr *r)
{
    return &r->info;
}

static bool add_requested_sans(X509_REQ *req, GENERAL_NAMES *sans)
{
    if (!sans)
        return true;
    STACK_OF(X509_EXTENSION) *list = NULL;
    bool ok = X509V3_add1_i2d(&list, NID_subject_alt_name, sans, 0, 0) == 1 && X509_REQ_add_extensions(req, list) == 1;
    sk_X509_EXTENSION_pop_free(list, X509_EXTENSION_free);
    return ok;
}

int csr_make(const struct key *k, const struct cert_spec *spec, struct buf *pem, struct err **e)
{
    _cleanup_(X509_NAME_freep) X509_NAME *name = NULL;
    _cleanup_(GENERAL_NAMES_freep) GENERAL_NAMES *sans = NULL;
    int r = issue_subject(spec, &name, e);
    if (r == 0)
        r = issue_sans(spec, &sans, e);
    if (r < 0)
        return r;
    _cleanup_(X509_REQ_freep) X509_REQ *req = X509_REQ_new();
    _cleanup_(BIO_free_allp) BIO *b = BIO_new(BIO_s_mem());
    char *p = NULL;
    bool ok = req && b && X509_REQ_set_version(req, 0) == 1 && X509_REQ_set_subject_name(req, name) == 1 &&
        X509_REQ_set_pubkey(req, key_pkey(k)) == 1 && add_requested_sans(req, sans) &&
        X509_REQ_sign(req, key_pkey(k), key_kind(k) == KEY_ED25519 ? NULL : EVP_sha256()) > 0 && PEM_write_bio_X509_REQ(b, req) == 1;
    if (!ok)
        return ossl_err(e, ERR_INTERNAL, "certificate request: cannot be made");
    long n = BIO_get_mem_data(b, &p);
    buf_add(pem, p, (size_t)MAX(n, 0));
    return 0;
}

static int read_request(struct csr *r, struct err **e)
{
    EVP_PKEY *key = X509_REQ_get0_pubkey(r->req);
    if (!key)
        return ossl_err(e, ERR_PARSE, "certificate request: its key cannot be read");
    if (EVP_PKEY_get_security_bits(key) < STRENGTH_MIN || EVP_PKEY_get_bits(key) > 8192)
        return err_set(e, ERR_PARSE, "certificate request: its key is too weak or too large");
    if (X509_REQ_verify(r->req, key) != 1)
        return ossl_err(e, ERR_PARSE, "certificate request: its signature is wrong");
    STACK_OF(X509_EXTENSION) *list = X509_REQ_get_extensions(r->req);
    r->sans = X509V3_get_d2i(list, NID_subject_alt_name, NULL, NULL);
    sk_X509_EXTENSION_pop_free(list, X509_EXTENSION_free);
    char *id = pool_alloc(r->pool, HASH_HEX + 1);
    key_id_of(key, id);
    r->info.key_id = str_make(id, HASH_HEX);
    ERR_clear_error();
    return cert_read_names(X509_REQ_get_subject_name(r->req), r->sans, r->pool, &r->info, e);
}

int csr_parse(struct str pem, struct csr **out, struct err **e)
{
    if (pem.n > CSR_MAX)
        return err_set(e, ERR_LIMIT, "certificate request: larger than %u bytes", CSR_MAX);
    _cleanup_(BIO_free_allp) BIO *b = BIO_new_mem_buf(pem.p ? pem.p : "", (int)pem.n);
    _cleanup_(csr_freep) struct csr *r = xcalloc(1, sizeof *r);
    r->pool = pool_new();
    r->req = b ? PEM_read_bio_X509_REQ(b, NULL, NULL, NULL) : NULL;
    if (!r->req)
        return ossl_err(e, ERR_PARSE, "certificate request: no PEM block that holds one");
    int n = read_request(r, e);
    if (n == 0)
        *out = TAKE(r);
    return n;
}

/* Of the names asked for, those whose form we understand. */
static GENERAL_NAMES *known_names(const GENERAL_NAMES *asked)
{
    GENERAL_NAMES *list = sk_GENERAL_NAME_new_null();
    for (int i = 0; list && i < sk_GENERAL_NAME_num(asked); i++) {
        GENERAL_NAME *g = sk_GENERAL_NAME_value(asked, i), *copy;
        if (g->type != GEN_DNS && g->type != GEN_IPADD && g->type != GEN_EMAIL && g->type != GEN_URI)
            continue;
        copy = GENERAL_NAME_dup(g);
        if (!copy || sk_GENERAL_NAME_push(list, copy) <= 0)
            GENERAL_NAME_free(copy);
    }
    if (list && sk_GENERAL_NAME_num(list) == 0) {
        GENERAL_NAMES_free(list);
        list = NULL;
    }
    return list;
}

int ca_sign_csr(const struct ca *ca, const struct csr *r, const struct cert_spec *spec, struct buf *pem, struct err **e)
{
    _cleanup_(GENERAL_NAMES_freep) GENERAL_NAMES *sans = known_names(r->sans);
    struct issue i = {.subject_key = X509_REQ_get0_pubkey(r->req), .subject = X509_REQ_get_subject_name(r->req), .sans = sans};
    return finish(ca, &i, spec, pem, e);
}
