/* Inside the room: what OpenSSL needs around it. */
#pragma once
#include <openssl/evp.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include "base/err.h"
#include "crypto/cert.h"
#include "crypto/key.h"

/* Fills *e with fmt and OpenSSL's newest reason, empties its queue (which is per thread and would leak into the next report), returns -code. */
int ossl_err(struct err **e, enum err_code code, const char *fmt, ...) _printf_(3, 4);

EVP_PKEY *key_pkey(const struct key *k);                     /* borrowed */
int key_wrap(EVP_PKEY *p, struct key **out, struct err **e); /* takes p over, also on failure */
X509 *cert_x509(const struct cert *c);                       /* borrowed */
int cert_wrap(X509 *x, struct cert **out, struct err **e);   /* takes x over, also on failure */
/* What stands in names, wherever they come from. ERR_PARSE for names that hold a NUL. */
int cert_read_names(X509_NAME *subject, GENERAL_NAMES *sans, struct pool *pool, struct cert_info *info, struct err **e);
int64_t cert_time(const ASN1_TIME *t);                       /* ns, clamped */
/* "CN=x: expired at ..." for one of OpenSSL's X509_V_ codes. */
void cert_explain(int code, X509 *at, int64_t now, struct err **e);
struct x509_store_st *cert_store(const struct certs *cas);   /* X509_STORE_free */
/* The DER of a public key's SubjectPublicKeyInfo, hashed: key_id. */
void key_id_of(EVP_PKEY *p, char out[HASH_HEX + 1]);

DEFINE_CLEANUP(EVP_PKEY *, EVP_PKEY_free)
DEFINE_CLEANUP(EVP_MD_CTX *, EVP_MD_CTX_free)
DEFINE_CLEANUP(EVP_CIPHER_CTX *, EVP_CIPHER_CTX_free)
DEFINE_CLEANUP(X509 *, X509_free)
DEFINE_CLEANUP(X509_NAME *, X509_NAME_free)
DEFINE_CLEANUP(X509_REQ *, X509_REQ_free)
DEFINE_CLEANUP(GENERAL_NAMES *, GENERAL_NAMES_free)
DEFINE_CLEANUP(BIO *, BIO_free_all)
