/* Passwords: Argon2id (RFC 9106), written as a PHC string ($argon2id$v=19$m=...,t=...,p=1$salt$hash). Both calls take a quarter of a second
 * and the memory that the cost says: one at a time, and never on an event loop's thread that others wait for.
 */
#pragma once
#include "base/buf.h"
#include "base/err.h"

#define PASSWORD_MAX 1024
struct password_cost {
    uint32_t memory_kib, passes;
};
/* cost NULL: 19 MiB, 2 passes (OWASP's smallest), which a 256 MB board can bear. ERR_INVALID for an empty or too long password. */
int password_hash(struct str password, const struct password_cost *cost, struct buf *phc, struct err **e) _must_check_;
/* A stored string with a cost beyond 256 MiB or 16 passes is refused, so that a planted one cannot eat the machine. */
bool password_verify(struct str phc, struct str password);
