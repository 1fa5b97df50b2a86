#include "uplink/proof.h"

static const struct wire_field hello_fields[] = {
    WIRE_U64(struct up_hello, version_min),
    WIRE_U64(struct up_hello, version_max),
    WIRE_STR(struct up_hello, public_key, KEY_PUBLIC),
    WIRE_STR(struct up_hello, nonce, PROOF_NONCE),
    WIRE_STR(struct up_hello, view, 64),
    WIRE_STR(struct up_hello, name, 253),
    WIRE_STR(struct up_hello, info, 16384),
    WIRE_STR(struct up_hello, store_uid, 63),
    WIRE_I64(struct up_hello, epoch),
    WIRE_I64(struct up_hello, rev),
    WIRE_BOOL(struct up_hello, bound),
    WIRE_U64(struct up_hello, idle_ms),
    WIRE_END,
};
const struct wire_type up_hello_type = {"hello", sizeof(struct up_hello), hello_fields};

static const struct wire_field answer_fields[] = {
    WIRE_U64(struct up_answer, version),
    WIRE_STR(struct up_answer, public_key, KEY_PUBLIC),
    WIRE_STR(struct up_answer, nonce, PROOF_NONCE),
    WIRE_STR(struct up_answer, store_uid, 63),
    WIRE_I64(struct up_answer, epoch),
    WIRE_I64(struct up_answer, now),
    WIRE_STR(struct up_answer, signature, KEY_SIGNATURE),
    WIRE_END,
};
const struct wire_type up_answer_type = {"answer", sizeof(struct up_answer), answer_fields};

static const struct wire_field proof_fields[] = {
    WIRE_STR(struct up_proof, signature, KEY_SIGNATURE),
    WIRE_STR(struct up_proof, token, 4096),
    WIRE_END,
};
const struct wire_type up_proof_type = {"proof", sizeof(struct up_proof), proof_fields};

static const struct wire_field welcome_fields[] = {
    WIRE_ENUM(struct up_welcome, code, ERR_CODES),
    WIRE_STR(struct up_welcome, message, 1024),
    WIRE_STR(struct up_welcome, name, 253),
    WIRE_END,
};
const struct wire_type up_welcome_type = {"welcome", sizeof(struct up_welcome), welcome_fields};

static void add_counted(struct buf *b, struct str s)
{
    uint32_t n = (uint32_t)s.n;
    unsigned char le[4] = {n & 0xff, n >> 8 & 0xff, n >> 16 & 0xff, n >> 24};
    buf_add(b, le, sizeof le);
    buf_str_add(b, s);
}

void proof_transcript(struct str hello, const struct up_answer *answer, struct str exporter, unsigned char out[32])
{
    _cleanup_(buf_clear) struct buf all = BUF_INIT, unsigned_answer = BUF_INIT;
    struct up_answer plain = *answer;
    plain.signature = STR_NULL;
    wire_encode(&up_answer_type, &plain, &unsigned_answer);
    buf_puts(&all, "sampan uplink 1");
    add_counted(&all, hello);
    add_counted(&all, buf_str(&unsigned_answer));
    buf_str_add(&all, exporter);
    hash_sha256(buf_str(&all), out);
}

static void upper_message(const unsigned char transcript[32], struct buf *out)
{
    buf_puts(out, "upper");
    buf_add(out, transcript, 32);
}

static void lower_message(const unsigned char transcript[32], struct str token, struct buf *out)
{
    unsigned char hash[HASH_LEN];
    hash_sha256(token, hash);
    buf_puts(out, "lower");
    buf_add(out, transcript, 32);
    buf_add(out, hash, sizeof hash);
}

int proof_sign_upper(const struct key *k, const unsigned char transcript[32], unsigned char sig[KEY_SIGNATURE], struct err **e)
{
    _cleanup_(buf_clear) struct buf m = BUF_INIT;
    upper_message(transcript, &m);
    return key_sign(k, buf_str(&m), sig, e);
}

int proof_sign_lower(
    const struct key *k, const unsigned char transcript[32], struct str token, unsigned char sig[KEY_SIGNATURE], struct err **e)
{
    _cleanup_(buf_clear) struct buf m = BUF_INIT;
    lower_message(transcript, token, &m);
    return key_sign(k, buf_str(&m), sig, e);
}

bool proof_check_upper(const struct key *k, const unsigned char transcript[32], struct str sig)
{
    _cleanup_(buf_clear) struct buf m = BUF_INIT;
    upper_message(transcript, &m);
    return key_verify(k, buf_str(&m), sig);
}

bool proof_check_lower(const struct key *k, const unsigned char transcript[32], struct str token, struct str sig)
{
    _cleanup_(buf_clear) struct buf m = BUF_INIT;
    lower_message(transcript, token, &m);
    return key_verify(k, buf_str(&m), sig);
}
