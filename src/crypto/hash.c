#include "crypto/hash.h"
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include "base/buf.h"
#include "crypto/crypto.h"

/* None of these fail but for lack of memory (or an OpenSSL without SHA-256): as xmalloc, the process ends. */
static void need(bool ok)
{
    if (!ok) {
        fputs("sampan: SHA-256 is not available\n", stderr);
        abort();
    }
}

void hash_sha256(struct str in, unsigned char out[HASH_LEN])
{
    need(EVP_Digest(in.p ? in.p : "", in.n, out, NULL, EVP_sha256(), NULL) == 1);
}

static void to_hex(const unsigned char *p, size_t n, char *out)
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < n; i++) {
        out[2 * i] = digits[p[i] >> 4];
        out[2 * i + 1] = digits[p[i] & 15];
    }
    out[2 * n] = 0;
}

struct str hash_sha256_hex(struct str in, char out[HASH_HEX + 1])
{
    unsigned char raw[HASH_LEN];
    hash_sha256(in, raw);
    to_hex(raw, sizeof raw, out);
    return str_make(out, HASH_HEX);
}

struct hash {
    EVP_MD_CTX *md;
};

struct hash *hash_new(void)
{
    struct hash *h = xcalloc(1, sizeof *h);
    h->md = EVP_MD_CTX_new();
    need(h->md && EVP_DigestInit_ex(h->md, EVP_sha256(), NULL) == 1);
    return h;
}

void hash_free(struct hash *h)
{
    if (!h)
        return;
    EVP_MD_CTX_free(h->md);
    free(h);
}

void hash_add(struct hash *h, struct str in)
{
    need(EVP_DigestUpdate(h->md, in.p ? in.p : "", in.n) == 1);
}

void hash_end(struct hash *h, unsigned char out[HASH_LEN])
{
    need(EVP_DigestFinal_ex(h->md, out, NULL) == 1 && EVP_DigestInit_ex(h->md, EVP_sha256(), NULL) == 1);
}

void hash_hmac(struct str key, struct str in, unsigned char out[HASH_LEN])
{
    unsigned n = HASH_LEN;
    need(HMAC(EVP_sha256(), key.p ? key.p : "", (int)key.n, (const unsigned char *)(in.p ? in.p : ""), in.n, out, &n) != NULL);
}

void hash_hkdf(struct str secret, struct str salt, struct str info, void *out, size_t n)
{
    static const char zeros[HASH_LEN];
    unsigned char prk[HASH_LEN], t[HASH_LEN];
    char *to = out;
    need(n <= 255 * HASH_LEN);
    hash_hmac(salt.n ? salt : str_make(zeros, sizeof zeros), secret, prk);
    _cleanup_(buf_clear) struct buf block = BUF_INIT;
    for (unsigned char i = 1; n; i++) {
        block.n = 0;
        buf_add(&block, t, i > 1 ? sizeof t : 0);
        buf_str_add(&block, info);
        buf_putc(&block, (char)i);
        hash_hmac(str_make((const char *)prk, sizeof prk), buf_str(&block), t);
        size_t take = MIN(n, sizeof t);
        memcpy(to, t, take);
        to += take;
        n -= take;
    }
    crypto_wipe(block.p, block.cap);
    crypto_wipe(prk, sizeof prk);
    crypto_wipe(t, sizeof t);
}
