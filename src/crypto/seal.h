/* Bytes at rest: AES-256-GCM with associated data, under a ring of keys. Secrets in the store and in a node's mirror.
 *
 * A sealed run is: "SPS" 0x01, id of the key (8 bytes), salt (16), nonce (12), cipher text, tag (16). Each run has a key of its own,
 * HMAC(key, salt), so that the random nonce is safe for any number of runs. Associated data (say, the object's key in the store) is not kept:
 * a run that was moved to another place does not open there. The newest key seals, every key of the ring opens: keys rotate by adding.
 *
 * The ring's file has one line per key, "id key" in hexadecimal, oldest first, mode 0600.
 */
#pragma once
#include "base/buf.h"
#include "base/err.h"

#define SEAL_OVERHEAD 56
#define SEAL_KEY 32

struct seal;
struct seal *seal_new(void); /* an empty ring */
void seal_free(struct seal *s);
DEFINE_CLEANUP(struct seal *, seal_free)
/* Before the ring is shared between threads. key NULL makes one. */
void seal_add(struct seal *s, const unsigned char key[SEAL_KEY]);
int seal_load_or_make(const char *path, struct seal **out, struct err **e) _must_check_;
int seal_save(const struct seal *s, const char *path, struct err **e) _must_check_;
size_t seal_keys(const struct seal *s);

bool seal_is_sealed(struct str bytes);                          /* has the form */
bool seal_is_current(const struct seal *s, struct str bytes);   /* under the newest key: false asks for sealing anew */
int seal_close(const struct seal *s, struct str plain, struct str ad, struct buf *out, struct err **e) _must_check_;
/* ERR_INTERNAL: no such key, or changed, or another place. out keeps what it held. */
int seal_open(const struct seal *s, struct str sealed, struct str ad, struct buf *out, struct err **e) _must_check_;
