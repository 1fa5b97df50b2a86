#include "crypto/key.h"
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <stdatomic.h>
#include "base/file.h"
#include "crypto/crypto.h"
#include "crypto/ossl.h"

#define PEM_MAX (64u << 10)
#define RSA_MIN 2048
#define RSA_MAX 8192 /* verification grows with the size, and a peer chooses it */

struct key {
    _Atomic uint32_t refs;
    EVP_PKEY *pkey;
    enum key_kind kind;
    bool private;
    char id[HASH_HEX + 1];
};

EVP_PKEY *key_pkey(const struct key *k)
{
    return k->pkey;
}

static int der_of(EVP_PKEY *p, unsigned char **der)
{
    *der = NULL;
    int n = i2d_PUBKEY(p, der);
    if (n <= 0) {
        fputs("sampan: a public key cannot be encoded\n", stderr);
        abort();
    }
    return n;
}

void key_id_of(EVP_PKEY *p, char out[HASH_HEX + 1])
{
    unsigned char *der;
    int n = der_of(p, &der);
    hash_sha256_hex(str_make((const char *)der, (size_t)n), out);
    OPENSSL_free(der);
}

/* A public key has no private parameters; asking for them is the only way that OpenSSL 3 offers to tell. */
static bool has_private(EVP_PKEY *p)
{
    if (EVP_PKEY_get_base_id(p) == EVP_PKEY_ED25519) {
        unsigned char raw[32];
        size_t n = sizeof raw;
        bool yes = EVP_PKEY_get_raw_private_key(p, raw, &n) == 1;
        crypto_wipe(raw, sizeof raw);
        ERR_clear_error();
        return yes;
    }
    BIGNUM *d = NULL;
    bool yes = EVP_PKEY_get_bn_param(p, EVP_PKEY_get_base_id(p) == EVP_PKEY_RSA ? "d" : "priv", &d) == 1;
    BN_clear_free(d);
    ERR_clear_error();
    return yes;
}

int key_wrap(EVP_PKEY *p, struct key **out, struct err **e)
{
    _cleanup_(EVP_PKEY_freep) EVP_PKEY *pkey = p;
    int id = EVP_PKEY_get_base_id(pkey), bits = EVP_PKEY_get_bits(pkey);
    char group[32] = "";
    enum key_kind kind;
    if (id == EVP_PKEY_EC) {
        if (EVP_PKEY_get_group_name(pkey, group, sizeof group, NULL) != 1 || !str_eqz(STR("prime256v1"), group))
            return err_set(e, ERR_PARSE, "key: the curve is not P-256");
        kind = KEY_P256;
    } else if (id == EVP_PKEY_ED25519) {
        kind = KEY_ED25519;
    } else if (id == EVP_PKEY_RSA) {
        if (bits < RSA_MIN || bits > RSA_MAX)
            return err_set(e, ERR_PARSE, "key: RSA of %d bits; %d to %d are taken", bits, RSA_MIN, RSA_MAX);
        kind = KEY_RSA;
    } else {
        return err_set(e, ERR_PARSE, "key: neither P-256, Ed25519 nor RSA");
    }
    struct key *k = xcalloc(1, sizeof *k);
    atomic_init(&k->refs, 1);
    k->kind = kind;
    k->private = has_private(pkey);
    k->pkey = TAKE(pkey);
    key_id_of(k->pkey, k->id);
    *out = k;
    return 0;
}

struct key *key_make(enum key_kind kind, struct err **e)
{
    struct key *k = NULL;
    if (kind != KEY_P256 && kind != KEY_ED25519) {
        err_set(e, ERR_INTERNAL, "key: only P-256 and Ed25519 are made here");
        return NULL;
    }
    EVP_PKEY *p = kind == KEY_P256 ? EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-256") : EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
    if (!p) {
        ossl_err(e, ERR_INTERNAL, "key: cannot make one");
        return NULL;
    }
    return key_wrap(p, &k, e) < 0 ? NULL : k;
}

struct key *key_ref(struct key *k)
{
    if (k)
        atomic_fetch_add_explicit(&k->refs, 1, memory_order_relaxed);
    return k;
}

void key_free(struct key *k)
{
    if (!k || atomic_fetch_sub_explicit(&k->refs, 1, memory_order_acq_rel) != 1)
        return;
    EVP_PKEY_free(k->pkey);
    free(k);
}

/* An encrypted key asks for its password here; without this, OpenSSL would ask on the terminal. */
static int no_password(char *to, int size, int writing, void *arg)
{
    return -1;
}

int key_parse(struct str pem, struct key **out, struct err **e)
{
    if (pem.n > PEM_MAX)
        return err_set(e, ERR_LIMIT, "key: larger than %u bytes", PEM_MAX);
    _cleanup_(BIO_free_allp) BIO *b = BIO_new_mem_buf(pem.p ? pem.p : "", (int)pem.n);
    EVP_PKEY *p = b ? PEM_read_bio_PrivateKey(b, NULL, no_password, NULL) : NULL;
    if (!p && b) {
        BIO_reset(b);
        p = PEM_read_bio_PUBKEY(b, NULL, no_password, NULL);
    }
    if (!p) {
        bool encrypted = str_find(pem, STR("ENCRYPTED")) >= 0, none = str_find(pem, STR("-----BEGIN ")) < 0;
        ERR_clear_error();
        return err_set(e, ERR_PARSE, "key: %s", encrypted ? "is encrypted" : none ? "no PEM block" : "not a private or public key in PEM");
    }
    return key_wrap(p, out, e);
}

int key_parse_spki(struct str der, struct key **out, struct err **e)
{
    const unsigned char *at = (const unsigned char *)der.p;
    if (der.n > PEM_MAX)
        return err_set(e, ERR_LIMIT, "key: larger than %u bytes", PEM_MAX);
    EVP_PKEY *p = der.n ? d2i_PUBKEY(NULL, &at, (long)der.n) : NULL;
    if (!p)
        return ossl_err(e, ERR_PARSE, "key: not a SubjectPublicKeyInfo");
    if (at != (const unsigned char *)der.p + der.n) {
        EVP_PKEY_free(p);
        return err_set(e, ERR_PARSE, "key: bytes behind its end");
    }
    return key_wrap(p, out, e);
}

int key_load(const char *path, struct key **out, struct err **e)
{
    _cleanup_(crypto_wipe_buf) struct buf b = BUF_INIT;
    int r = file_read(path, PEM_MAX, &b, e);
    if (r < 0)
        return r;
    r = key_parse(buf_str(&b), out, e);
    return r < 0 ? (err_wrap(e, "%s", path), r) : 0;
}

int key_save(const struct key *k, const char *path, struct err **e)
{
    if (!k->private)
        return err_set(e, ERR_INTERNAL, "%s: the key to save has no private half", path);
    _cleanup_(crypto_wipe_buf) struct buf b = BUF_INIT;
    key_pem(k, &b);
    return file_replace(path, buf_str(&b), 0600, e);
}

int key_load_or_make(const char *path, enum key_kind kind, struct key **out, struct err **e)
{
    struct err *mine = NULL;
    int r = key_load(path, out, &mine);
    if (r != -ERR_NOT_FOUND)
        return r < 0 ? err_move(e, mine) : 0;
    err_free(mine);
    _cleanup_(key_freep) struct key *k = key_make(kind, e);
    if (!k)
        return -ERR_INTERNAL;
    r = key_save(k, path, e);
    if (r < 0)
        return r;
    *out = TAKE(k);
    return 0;
}

static void add_bio(BIO *b, bool ok, struct buf *out)
{
    char *p = NULL;
    long n = ok ? BIO_get_mem_data(b, &p) : 0;
    if (n <= 0) {
        fputs("sampan: a key cannot be written\n", stderr);
        abort();
    }
    buf_add(out, p, (size_t)n);
    crypto_wipe(p, (size_t)n);
}

void key_pem(const struct key *k, struct buf *out)
{
    _cleanup_(BIO_free_allp) BIO *b = BIO_new(BIO_s_mem());
    add_bio(b, b && PEM_write_bio_PKCS8PrivateKey(b, k->pkey, NULL, NULL, 0, NULL, NULL) == 1, out);
}

void key_public_pem(const struct key *k, struct buf *out)
{
    _cleanup_(BIO_free_allp) BIO *b = BIO_new(BIO_s_mem());
    add_bio(b, b && PEM_write_bio_PUBKEY(b, k->pkey) == 1, out);
}

void key_spki(const struct key *k, struct buf *out)
{
    unsigned char *der;
    int n = der_of(k->pkey, &der);
    buf_add(out, der, (size_t)n);
    OPENSSL_free(der);
}

struct str key_id(const struct key *k)
{
    return str_make(k->id, HASH_HEX);
}

enum key_kind key_kind(const struct key *k)
{
    return k->kind;
}

bool key_is_private(const struct key *k)
{
    return k->private;
}

int key_public_bytes(const struct key *k, unsigned char out[KEY_PUBLIC], struct err **e)
{
    size_t n = KEY_PUBLIC;
    if (k->kind != KEY_ED25519 || EVP_PKEY_get_raw_public_key(k->pkey, out, &n) != 1)
        return err_set(e, ERR_INTERNAL, "key: not Ed25519");
    return 0;
}

int key_from_public_bytes(struct str raw, struct key **out, struct err **e)
{
    EVP_PKEY *p = raw.n == KEY_PUBLIC ? EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, (const unsigned char *)raw.p, raw.n) : NULL;
    if (!p)
        return ossl_err(e, ERR_PARSE, "key: not the %d bytes of an Ed25519 public key", KEY_PUBLIC);
    return key_wrap(p, out, e);
}
