#include <sys/stat.h>
#include "harness.h"
#include "base/file.h"
#include "crypto/crypto.h"

static const char *path_in(const char *name)
{
    static char p[300];
    snprintf(p, sizeof p, "%s/%s", test_tmpdir(), name);
    return p;
}

TEST(a_signature_holds_for_its_message_and_key_only)
{
    for (int kind = KEY_P256; kind <= KEY_ED25519; kind++) {
        struct err *e = NULL;
        _cleanup_(key_freep) struct key *k = key_make((enum key_kind)kind, &e), *other = key_make((enum key_kind)kind, &e), *pub = NULL;
        OK(k && other);
        for (int i = 0; i < 50; i++) { /* r and s are short now and then */
            unsigned char sig[KEY_SIGNATURE];
            FINE(key_sign(k, STR("message"), sig, &e), e);
            struct str s = str_make((char *)sig, sizeof sig);
            OK(key_verify(k, STR("message"), s));
            OK(!key_verify(k, STR("messagf"), s) && !key_verify(other, STR("message"), s) && !key_verify(k, STR("message"), str_sub(s, 0, 63)));
            sig[i] ^= 1;
            OK(!key_verify(k, STR("message"), s));
        }
        _cleanup_(buf_clear) struct buf spki = BUF_INIT;
        key_spki(k, &spki);
        FINE(key_parse_spki(buf_str(&spki), &pub, &e), e);
        OK(!key_is_private(pub) && key_is_private(k));
        EQ_STR(key_id(pub), key_id(k));
        char id[HASH_HEX + 1];
        EQ_STR(hash_sha256_hex(buf_str(&spki), id), key_id(k));
        unsigned char sig[KEY_SIGNATURE];
        EQ(key_sign(pub, STR("m"), sig, NULL), -ERR_INTERNAL);
        buf_putc(&spki, 0);
        struct key *none = NULL;
        EQ(key_parse_spki(buf_str(&spki), &none, NULL), -ERR_PARSE);
    }
}

TEST(keys_are_saved_for_their_owner_alone_and_load_again)
{
    struct err *e = NULL;
    _cleanup_(key_freep) struct key *a = NULL, *b = NULL;
    FINE(key_load_or_make(path_in("k"), KEY_ED25519, &a, &e), e);
    struct stat st;
    EQ(stat(path_in("k"), &st), 0);
    EQ(st.st_mode & 07777, 0600);
    FINE(key_load_or_make(path_in("k"), KEY_ED25519, &b, &e), e);
    EQ_STR(key_id(a), key_id(b));
    FINE(file_replace(path_in("k"), STR("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"), 0600, &e), e);
    struct key *c = NULL;
    EQ(key_load_or_make(path_in("k"), KEY_ED25519, &c, &e), -ERR_PARSE);
    OK(str_find(str_of(err_msg(e)), STR("not a private or public key in PEM")) > 0);
    err_free(e);
}

TEST(ed25519_follows_rfc_8032_test_3)
{
    _cleanup_(buf_clear) struct buf pub = BUF_INIT, sig = BUF_INIT;
    _cleanup_(key_freep) struct key *k = NULL;
    struct err *e = NULL;
    OK(buf_unhex(&pub, STR("fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025")));
    OK(buf_unhex(&sig, STR("6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac"
                           "18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a")));
    FINE(key_from_public_bytes(buf_str(&pub), &k, &e), e);
    OK(key_verify(k, STR("\xaf\x82"), buf_str(&sig)));
    OK(!key_verify(k, STR("\xaf\x83"), buf_str(&sig)));
    unsigned char back[KEY_PUBLIC];
    FINE(key_public_bytes(k, back, &e), e);
    EQ_STR(str_make((char *)back, sizeof back), buf_str(&pub));
}

TEST(other_curves_small_rsa_and_encrypted_keys_are_refused_by_name)
{
    static const struct {
        const char *make, *says;
    } cases[] = {
        {"openssl ecparam -name secp384r1 -genkey -noout -out k", "curve"},
        {"openssl genrsa -out k 1024", "RSA of 1024 bits"},
        {"openssl genpkey -algorithm X25519 -out k", "neither"},
        {"openssl genpkey -algorithm ED25519 -aes256 -pass pass:x -out k", "encrypted"},
        {"echo nothing > k", "no PEM block"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        _cleanup_(freep) char *cmd = xasprintf("cd %s && %s", test_tmpdir(), cases[i].make);
        _cleanup_(buf_clear) struct buf out = BUF_INIT;
        const char *const argv[] = {"sh", "-c", cmd, NULL};
        EQ(spawn_wait(argv, &out, 4096, 60000, NULL), 0);
        struct key *k = NULL;
        _cleanup_(err_freep) struct err *e = NULL;
        EQ(key_load(path_in("k"), &k, &e), -ERR_PARSE);
        OK(strstr(err_msg(e), cases[i].says));
    }
}
