#include "harness.h"
#include "base/buf.h"
#include "crypto/hash.h"

static struct str hex(const void *p, size_t n)
{
    static struct buf b;
    buf_reset(&b);
    buf_hex(&b, p, n);
    return buf_str(&b);
}

TEST(sha256_gives_the_digests_of_fips_180)
{
    char out[HASH_HEX + 1];
    EQ_STR(hash_sha256_hex(STR(""), out), STR("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"));
    EQ_STR(hash_sha256_hex(STR("abc"), out), STR("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"));
}

TEST(pieces_hash_as_the_whole)
{
    _cleanup_(hash_freep) struct hash *h = hash_new();
    unsigned char a[HASH_LEN], b[HASH_LEN];
    for (int round = 0; round < 2; round++) {
        hash_add(h, STR("a"));
        hash_add(h, STR_NULL);
        hash_add(h, STR("bc"));
        hash_end(h, a);
        hash_sha256(STR("abc"), b);
        OK(memcmp(a, b, sizeof a) == 0);
    }
}

TEST(hmac_gives_rfc_4231_test_2)
{
    unsigned char out[HASH_LEN];
    hash_hmac(STR("Jefe"), STR("what do ya want for nothing?"), out);
    EQ_STR(hex(out, sizeof out), STR("5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"));
}

TEST(hkdf_gives_rfc_5869_tests_1_and_3)
{
    struct buf ikm = BUF_INIT, salt = BUF_INIT, info = BUF_INIT;
    unsigned char okm[42];
    OK(buf_unhex(&ikm, STR("0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b")));
    OK(buf_unhex(&salt, STR("000102030405060708090a0b0c")));
    OK(buf_unhex(&info, STR("f0f1f2f3f4f5f6f7f8f9")));
    hash_hkdf(buf_str(&ikm), buf_str(&salt), buf_str(&info), okm, sizeof okm);
    EQ_STR(hex(okm, sizeof okm), STR("3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865"));
    hash_hkdf(buf_str(&ikm), STR_NULL, STR_NULL, okm, sizeof okm);
    EQ_STR(hex(okm, sizeof okm), STR("8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8"));
    buf_clear(&ikm), buf_clear(&salt), buf_clear(&info);
}
