#include "crypto/crypto.h"
#include <openssl/crypto.h>

void crypto_wipe(void *p, size_t n)
{
    if (p)
        OPENSSL_cleanse(p, n);
}

void crypto_wipe_buf(struct buf *b)
{
    crypto_wipe(b->p, b->cap);
    buf_clear(b);
}
