/* SHA-256 and what is built on it: HMAC (RFC 2104), HKDF (RFC 5869). Comparing is str_eq_secret (base/str.h). */
#pragma once
#include "base/err.h"

#define HASH_LEN 32
#define HASH_HEX (2 * HASH_LEN)

void hash_sha256(struct str in, unsigned char out[HASH_LEN]);
struct str hash_sha256_hex(struct str in, char out[HASH_HEX + 1]); /* lower case; the view is of out */

/* For what does not stand in memory at once (image layers). */
struct hash;
struct hash *hash_new(void);
void hash_free(struct hash *h);
DEFINE_CLEANUP(struct hash *, hash_free)
void hash_add(struct hash *h, struct str in);
void hash_end(struct hash *h, unsigned char out[HASH_LEN]); /* h starts anew */

void hash_hmac(struct str key, struct str in, unsigned char out[HASH_LEN]);
/* n bytes, at most 255 * 32, from a secret of high entropy (never a password). salt may be absent. */
void hash_hkdf(struct str secret, struct str salt, struct str info, void *out, size_t n);
