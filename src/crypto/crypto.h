/* Keys, certificates, tokens and sealed bytes, on OpenSSL 3.0. One header per word: hash, key, cert, jwt, seal, password (all read here) and
 * tls (apart, since it shows OpenSSL's types).
 *
 * What holds for all of them:
 *   - Objects are immutable once made and may be used by several threads at once; key and cert count their references atomically.
 *   - Time is the caller's (the site clock), never the machine's: every check of validity takes `now` in ns since 1970.
 *   - Secret bytes are wiped before their memory is given back, and no error message holds any.
 *   - Everything that is parsed is a peer's: sizes are bounded before OpenSSL sees a byte.
 */
#pragma once
#include "crypto/cert.h"
#include "crypto/hash.h"
#include "crypto/jwt.h"
#include "crypto/key.h"
#include "crypto/password.h"
#include "crypto/seal.h"

void crypto_wipe(void *p, size_t n);            /* not optimised away */
void crypto_wipe_buf(struct buf *b);            /* wipes, then buf_clear; for _cleanup_ on buffers that hold secrets */
