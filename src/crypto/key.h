/* Key pairs: ECDSA on P-256 (certificates, tokens), Ed25519 (identities on an uplink), and RSA public keys of other issuers.
 * A struct key holds a private key, or only a public one (key_is_private). Immutable, reference-counted, usable from every thread.
 *
 * The id of a key is the SHA-256 of its SubjectPublicKeyInfo in DER: the same for the private and the public half, for a certificate
 * that carries it, and for a pin (tls.h).
 */
#pragma once
#include "base/buf.h"
#include "base/err.h"
#include "crypto/hash.h"

enum key_kind { KEY_P256, KEY_ED25519, KEY_RSA };
struct key;

struct key *key_make(enum key_kind kind, struct err **e); /* P256 or ED25519 */
struct key *key_ref(struct key *k);
void key_free(struct key *k); /* drops one reference */
DEFINE_CLEANUP(struct key *, key_free)

/* PEM: "PRIVATE KEY" (PKCS #8), "EC PRIVATE KEY" or "PUBLIC KEY", at most 64 KiB, unencrypted. ERR_PARSE says what is wrong. */
int key_parse(struct str pem, struct key **out, struct err **e) _must_check_;
int key_parse_spki(struct str der, struct key **out, struct err **e) _must_check_;
int key_load(const char *path, struct key **out, struct err **e) _must_check_;
int key_save(const struct key *k, const char *path, struct err **e) _must_check_; /* private, PKCS #8, mode 0600, replaced atomically */
/* The key at path; made and saved when there is none. */
int key_load_or_make(const char *path, enum key_kind kind, struct key **out, struct err **e) _must_check_;

void key_pem(const struct key *k, struct buf *out);         /* PKCS #8: a secret (crypto_wipe_buf) */
void key_public_pem(const struct key *k, struct buf *out);
void key_spki(const struct key *k, struct buf *out);        /* DER */
struct str key_id(const struct key *k);                     /* HASH_HEX lower-case digits; lives as long as k */
enum key_kind key_kind(const struct key *k);
bool key_is_private(const struct key *k);

/* Ed25519: the 64 bytes of RFC 8032 over the message. P-256: r and s, 32 bytes each, over its SHA-256 (JOSE's ES256). */
#define KEY_SIGNATURE 64
int key_sign(const struct key *k, struct str message, unsigned char out[KEY_SIGNATURE], struct err **e) _must_check_;
/* RSA: PKCS #1 v1.5 with SHA-256 (RS256), 2048 bits or more. */
bool key_verify(const struct key *k, struct str message, struct str signature);

/* Ed25519 only: the raw 32 bytes, as they stand in an uplink's hello and in registration records. */
#define KEY_PUBLIC 32
int key_public_bytes(const struct key *k, unsigned char out[KEY_PUBLIC], struct err **e) _must_check_;
int key_from_public_bytes(struct str raw, struct key **out, struct err **e) _must_check_;
