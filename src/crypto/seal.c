#include "crypto/seal.h"
#include <openssl/err.h>
#include "base/file.h"
#include "crypto/crypto.h"
#include "crypto/ossl.h"

#define MAGIC "SPS\x01"
#define ID 8
#define SALT 16
#define NONCE 12
#define TAG 16
#define HEAD (4 + ID + SALT + NONCE)
#define KEYS_MAX 64
_Static_assert(HEAD + TAG == SEAL_OVERHEAD, "the header promises the overhead");

struct seal {
    size_t n;
    struct {
        unsigned char id[ID], key[SEAL_KEY];
    } at[KEYS_MAX]; /* oldest first */
};

struct seal *seal_new(void)
{
    return xcalloc(1, sizeof(struct seal));
}

void seal_free(struct seal *s)
{
    crypto_wipe(s, s ? sizeof *s : 0);
    free(s);
}

static void add(struct seal *s, const void *id, const void *key)
{
    if (s->n == KEYS_MAX) { /* the oldest goes: what it sealed should have been sealed anew 63 rotations ago */
        memmove(s->at, s->at + 1, sizeof s->at - sizeof s->at[0]);
        s->n--;
    }
    memcpy(s->at[s->n].id, id, ID);
    memcpy(s->at[s->n].key, key, SEAL_KEY);
    s->n++;
}

void seal_add(struct seal *s, const unsigned char key[SEAL_KEY])
{
    unsigned char fresh[SEAL_KEY], id[HASH_LEN];
    if (!key)
        random_bytes(fresh, sizeof fresh);
    /* the id says nothing about the key: it comes through a one-way function */
    hash_hkdf(str_make((const char *)(key ? key : fresh), SEAL_KEY), STR_NULL, STR("sampan seal id"), id, ID);
    add(s, id, key ? key : fresh);
    crypto_wipe(fresh, sizeof fresh);
}

size_t seal_keys(const struct seal *s)
{
    return s->n;
}

static int parse_ring(struct str text, struct seal *s, struct err **e)
{
    struct str rest = text, line;
    int number = 0;
    while (str_split(&rest, '\n', &line)) {
        struct str id, key;
        number++;
        if (!str_trim(line).n)
            continue;
        _cleanup_(crypto_wipe_buf) struct buf raw = BUF_INIT;
        if (!str_cut(str_trim(line), ' ', &id, &key) || !buf_unhex(&raw, id) || raw.n != ID || !buf_unhex(&raw, key) || raw.n != ID + SEAL_KEY)
            return err_set(e, ERR_PARSE, "line %d: not an id and a key in hexadecimal", number);
        if (s->n == KEYS_MAX)
            return err_set(e, ERR_LIMIT, "more than %d keys", KEYS_MAX);
        add(s, raw.p, raw.p + ID);
    }
    return s->n ? 0 : err_set(e, ERR_PARSE, "holds no key");
}

int seal_save(const struct seal *s, const char *path, struct err **e)
{
    _cleanup_(crypto_wipe_buf) struct buf b = BUF_INIT;
    buf_reserve(&b, KEYS_MAX * (2 * (ID + SEAL_KEY) + 2)); /* at once: a buffer that grows leaves copies behind */
    for (size_t i = 0; i < s->n; i++) {
        buf_hex(&b, s->at[i].id, ID);
        buf_putc(&b, ' ');
        buf_hex(&b, s->at[i].key, SEAL_KEY);
        buf_putc(&b, '\n');
    }
    return file_replace(path, buf_str(&b), 0600, e);
}

int seal_load_or_make(const char *path, struct seal **out, struct err **e)
{
    _cleanup_(seal_freep) struct seal *s = seal_new();
    _cleanup_(crypto_wipe_buf) struct buf b = BUF_INIT;
    struct err *mine = NULL;
    int r = file_read(path, 64u << 10, &b, &mine);
    if (r == -ERR_NOT_FOUND) {
        err_free(mine);
        seal_add(s, NULL);
        r = seal_save(s, path, e);
    } else if (r < 0) {
        return err_move(e, mine);
    } else {
        r = parse_ring(buf_str(&b), s, e);
        if (r < 0)
            err_wrap(e, "%s", path);
    }
    if (r == 0)
        *out = TAKE(s);
    return r;
}

bool seal_is_sealed(struct str b)
{
    return b.n >= SEAL_OVERHEAD && memcmp(b.p, MAGIC, 4) == 0;
}

bool seal_is_current(const struct seal *s, struct str b)
{
    return seal_is_sealed(b) && s->n && memcmp(b.p + 4, s->at[s->n - 1].id, ID) == 0;
}

static void key_for(const unsigned char *key, const char *salt, unsigned char out[HASH_LEN])
{
    hash_hmac(str_make((const char *)key, SEAL_KEY), str_make(salt, SALT), out);
}

int seal_close(const struct seal *s, struct str plain, struct str ad, struct buf *out, struct err **e)
{
    if (!s->n || plain.n > (size_t)INT32_MAX / 2 || ad.n > (size_t)INT32_MAX / 2)
        return err_set(e, ERR_INTERNAL, "seal: %s", s->n ? "too large" : "no key");
    size_t before = out->n;
    char *p = buf_reserve(out, plain.n + SEAL_OVERHEAD);
    if (!p)
        return err_set(e, ERR_LIMIT, "seal: no room");
    memcpy(p, MAGIC, 4);
    memcpy(p + 4, s->at[s->n - 1].id, ID);
    random_bytes(p + 4 + ID, SALT + NONCE);
    unsigned char key[HASH_LEN], *to = (unsigned char *)p + HEAD;
    int n = 0, last = 0;
    key_for(s->at[s->n - 1].key, p + 4 + ID, key);
    _cleanup_(EVP_CIPHER_CTX_freep) EVP_CIPHER_CTX *c = EVP_CIPHER_CTX_new();
    bool ok = c && EVP_EncryptInit_ex(c, EVP_aes_256_gcm(), NULL, key, (unsigned char *)p + 4 + ID + SALT) == 1 &&
        (!ad.n || EVP_EncryptUpdate(c, NULL, &n, (const unsigned char *)ad.p, (int)ad.n) == 1) &&
        (!plain.n || EVP_EncryptUpdate(c, to, &n, (const unsigned char *)plain.p, (int)plain.n) == 1) &&
        EVP_EncryptFinal_ex(c, to + plain.n, &last) == 1 && EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_GCM_GET_TAG, TAG, to + plain.n) == 1;
    crypto_wipe(key, sizeof key);
    if (!ok)
        return ossl_err(e, ERR_INTERNAL, "seal: cannot encrypt");
    out->n = before + plain.n + SEAL_OVERHEAD;
    out->p[out->n] = 0;
    return 0;
}

int seal_open(const struct seal *s, struct str sealed, struct str ad, struct buf *out, struct err **e)
{
    if (!seal_is_sealed(sealed) || sealed.n > (size_t)INT32_MAX / 2)
        return err_set(e, ERR_INTERNAL, "seal: these bytes are not sealed");
    const unsigned char *master = NULL;
    for (size_t i = 0; i < s->n; i++)
        if (memcmp(s->at[i].id, sealed.p + 4, ID) == 0)
            master = s->at[i].key;
    if (!master)
        return err_set(e, ERR_INTERNAL, "seal: sealed under a key that is not in the ring");
    size_t len = sealed.n - SEAL_OVERHEAD, before = out->n;
    const unsigned char *from = (const unsigned char *)sealed.p + HEAD;
    unsigned char key[HASH_LEN], tag[TAG], *to = (unsigned char *)buf_reserve(out, len + 1);
    if (!to)
        return err_set(e, ERR_LIMIT, "seal: no room");
    int n = 0, last = 0;
    memcpy(tag, from + len, TAG);
    key_for(master, sealed.p + 4 + ID, key);
    _cleanup_(EVP_CIPHER_CTX_freep) EVP_CIPHER_CTX *c = EVP_CIPHER_CTX_new();
    bool ok = c && EVP_DecryptInit_ex(c, EVP_aes_256_gcm(), NULL, key, (const unsigned char *)sealed.p + 4 + ID + SALT) == 1 &&
        (!ad.n || EVP_DecryptUpdate(c, NULL, &n, (const unsigned char *)ad.p, (int)ad.n) == 1) &&
        (!len || EVP_DecryptUpdate(c, to, &n, from, (int)len) == 1) && EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_GCM_SET_TAG, TAG, tag) == 1 &&
        EVP_DecryptFinal_ex(c, to + len, &last) == 1;
    crypto_wipe(key, sizeof key);
    if (!ok) {
        crypto_wipe(to, len); /* what was decrypted before the tag proved wrong is nobody's */
        out->p[before] = 0;
        ERR_clear_error();
        return err_set(e, ERR_INTERNAL, "seal: changed, or moved from another place");
    }
    out->n = before + len;
    out->p[out->n] = 0;
    return 0;
}
