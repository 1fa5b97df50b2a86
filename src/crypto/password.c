#include "crypto/password.h"
#include <argon2.h>
#include "base/file.h"
#include "crypto/crypto.h"

#define SALT 16
#define HASH 32
#define MEMORY_MAX_KIB (256u << 10)
#define PASSES_MAX 16
#define PHC_MAX 512

int password_hash(struct str password, const struct password_cost *cost, struct buf *phc, struct err **e)
{
    static const struct password_cost usual = {19u << 10, 2};
    unsigned char salt[SALT];
    char encoded[PHC_MAX];
    const struct password_cost *c = cost ? cost : &usual;
    if (!password.n || password.n > PASSWORD_MAX)
        return err_set(e, ERR_INVALID, "password: must have 1 to %d bytes", PASSWORD_MAX);
    if (c->memory_kib > MEMORY_MAX_KIB || c->passes > PASSES_MAX)
        return err_set(e, ERR_INVALID, "password: the cost is above %u KiB or %d passes", MEMORY_MAX_KIB, PASSES_MAX);
    random_bytes(salt, sizeof salt);
    int r = argon2id_hash_encoded(c->passes, c->memory_kib, 1, password.p, password.n, salt, sizeof salt, HASH, encoded, sizeof encoded);
    if (r != ARGON2_OK)
        return err_set(e, r == ARGON2_MEMORY_ALLOCATION_ERROR ? ERR_UNAVAILABLE : ERR_INVALID, "password: %s", argon2_error_message(r));
    buf_puts(phc, encoded);
    return 0;
}

/* "m=65536,t=2,p=1" within the bounds that this machine bears. */
static bool bearable(struct str params)
{
    struct str rest = params, one, name, value;
    int seen = 0;
    while (str_split(&rest, ',', &one)) {
        uint64_t v;
        if (!str_cut(one, '=', &name, &value) || !str_to_u64(value, &v))
            return false;
        bool fits = str_eqz(name, "m") ? v <= MEMORY_MAX_KIB : str_eqz(name, "t") ? v <= PASSES_MAX : str_eqz(name, "p") && v <= 4;
        if (!fits)
            return false;
        seen++;
    }
    return seen == 3;
}

bool password_verify(struct str phc, struct str password)
{
    char encoded[PHC_MAX];
    struct str prefix = STR("$argon2id$v=19$"), params, rest;
    if (phc.n >= sizeof encoded || !password.n || password.n > PASSWORD_MAX || str_chr(phc, 0) >= 0 || !str_starts(phc, prefix) ||
        !str_cut(str_sub(phc, prefix.n, phc.n), '$', &params, &rest) || !bearable(params))
        return false;
    memcpy(encoded, phc.p, phc.n);
    encoded[phc.n] = 0;
    return argon2id_verify(encoded, password.p, password.n) == ARGON2_OK;
}
