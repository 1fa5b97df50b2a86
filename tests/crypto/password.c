#include "harness.h"
#include "crypto/crypto.h"

TEST(a_password_verifies_against_its_hash_only)
{
    static const struct password_cost cheap = {64, 1};
    _cleanup_(buf_clear) struct buf a = BUF_INIT, b = BUF_INIT;
    struct err *e = NULL;
    FINE(password_hash(STR("correct horse"), &cheap, &a, &e), e);
    FINE(password_hash(STR("correct horse"), &cheap, &b, &e), e);
    OK(str_starts(buf_str(&a), STR("$argon2id$v=19$m=64,t=1,p=1$")));
    OK(!str_eq(buf_str(&a), buf_str(&b)));
    OK(password_verify(buf_str(&a), STR("correct horse")) && password_verify(buf_str(&b), STR("correct horse")));
    OK(!password_verify(buf_str(&a), STR("correct horsf")) && !password_verify(buf_str(&a), STR("")));
    a.p[a.n - 1] = a.p[a.n - 1] == 'A' ? 'B' : 'A';
    OK(!password_verify(buf_str(&a), STR("correct horse")));
}

TEST(the_usual_cost_works_and_bad_input_is_refused)
{
    _cleanup_(buf_clear) struct buf a = BUF_INIT;
    struct err *e = NULL;
    char big[PASSWORD_MAX + 1];
    memset(big, 'x', sizeof big);
    FINE(password_hash(STR("pw"), NULL, &a, &e), e);
    OK(password_verify(buf_str(&a), STR("pw")));
    EQ(password_hash(STR(""), NULL, &a, NULL), -ERR_INVALID);
    EQ(password_hash(str_make(big, sizeof big), NULL, &a, NULL), -ERR_INVALID);
    static const char *const bad[] = {"", "$argon2id$v=19$m=1048576,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAA", "$argon2id$v=19$m=64,t=1000000,p=1$AAAAAAAAAAA$AAAA",
        "$argon2i$v=19$m=64,t=1,p=1$AAAAAAAAAAA$AAAA", "$argon2id$v=19$m=64,t=1$x$y", "plain", "$argon2id$v=19$m=64,t=1,p=1"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        OK(!password_verify(str_of(bad[i]), STR("pw")));
}
