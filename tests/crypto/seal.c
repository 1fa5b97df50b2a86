#include <sys/stat.h>
#include "harness.h"
#include "base/file.h"
#include "crypto/crypto.h"

TEST(what_was_sealed_opens_at_its_place_only)
{
    _cleanup_(seal_freep) struct seal *s = seal_new();
    _cleanup_(buf_clear) struct buf a = BUF_INIT, b = BUF_INIT, plain = BUF_INIT;
    struct err *e = NULL;
    seal_add(s, NULL);
    FINE(seal_close(s, STR("secret"), STR("/secrets/ns/a"), &a, &e), e);
    FINE(seal_close(s, STR("secret"), STR("/secrets/ns/a"), &b, &e), e);
    EQ(a.n, 6 + SEAL_OVERHEAD);
    OK(!str_eq(buf_str(&a), buf_str(&b)) && str_find(buf_str(&a), STR("secret")) < 0);
    buf_puts(&plain, "kept:");
    FINE(seal_open(s, buf_str(&a), STR("/secrets/ns/a"), &plain, &e), e);
    EQ_STR(buf_str(&plain), STR("kept:secret"));
    EQ(seal_open(s, buf_str(&a), STR("/secrets/ns/b"), &plain, &e), -ERR_INTERNAL);
    EQ_STR(buf_str(&plain), STR("kept:secret"));
    err_free(TAKE(e));
    for (size_t i = 0; i < a.n; i++) {
        a.p[i] = (char)(a.p[i] ^ 1);
        OK(seal_open(s, buf_str(&a), STR("/secrets/ns/a"), &plain, NULL) < 0);
        a.p[i] = (char)(a.p[i] ^ 1);
        OK(seal_open(s, str_sub(buf_str(&a), 0, i), STR("/secrets/ns/a"), &plain, NULL) < 0);
    }
    EQ_STR(buf_str(&plain), STR("kept:secret"));
}

TEST(an_empty_run_and_absent_data_seal_too)
{
    _cleanup_(seal_freep) struct seal *s = seal_new();
    _cleanup_(buf_clear) struct buf a = BUF_INIT, plain = BUF_INIT;
    struct err *e = NULL;
    EQ(seal_close(s, STR("x"), STR_NULL, &a, NULL), -ERR_INTERNAL);
    seal_add(s, NULL);
    FINE(seal_close(s, STR_NULL, STR_NULL, &a, &e), e);
    FINE(seal_open(s, buf_str(&a), STR_NULL, &plain, &e), e);
    EQ(plain.n, 0);
}

TEST(keys_rotate_by_adding_and_survive_on_disk)
{
    _cleanup_(freep) char *path = xasprintf("%s/ring", test_tmpdir());
    _cleanup_(seal_freep) struct seal *s = NULL, *again = NULL, *other = seal_new();
    _cleanup_(buf_clear) struct buf old = BUF_INIT, new = BUF_INIT, plain = BUF_INIT;
    struct err *e = NULL;
    FINE(seal_load_or_make(path, &s, &e), e);
    struct stat st;
    EQ(stat(path, &st), 0);
    EQ(st.st_mode & 07777, 0600);
    FINE(seal_close(s, STR("old"), STR("k"), &old, &e), e);
    OK(seal_is_current(s, buf_str(&old)));
    seal_add(s, NULL);
    OK(!seal_is_current(s, buf_str(&old)) && seal_is_sealed(buf_str(&old)));
    FINE(seal_close(s, STR("new"), STR("k"), &new, &e), e);
    FINE(seal_save(s, path, &e), e);
    FINE(seal_load_or_make(path, &again, &e), e);
    EQ(seal_keys(again), 2);
    FINE(seal_open(again, buf_str(&old), STR("k"), &plain, &e), e);
    FINE(seal_open(again, buf_str(&new), STR("k"), &plain, &e), e);
    EQ_STR(buf_str(&plain), STR("oldnew"));
    OK(seal_is_current(again, buf_str(&new)));
    seal_add(other, NULL);
    EQ(seal_open(other, buf_str(&new), STR("k"), &plain, &e), -ERR_INTERNAL);
    OK(strstr(err_msg(e), "not in the ring"));
    err_free(TAKE(e));
    FINE(file_replace(path, STR("0011 2233\n"), 0600, &e), e);
    struct seal *none = NULL;
    EQ(seal_load_or_make(path, &none, &e), -ERR_PARSE);
    OK(strstr(err_msg(e), "line 1"));
    err_free(e);
}
