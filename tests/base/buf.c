#include "harness.h"
#include "base/buf.h"
#include "base/bytes.h"

TEST(a_buffer_keeps_a_nul_behind_its_contents)
{
    _cleanup_(buf_clear) struct buf b = BUF_INIT;
    for (int i = 0; i < 1000; i++) {
        buf_putc(&b, 'x');
        EQ(b.p[b.n], 0);
    }
    buf_drop(&b, 990);
    EQ_STR(buf_str(&b), STR("xxxxxxxxxx"));
    EQ(b.p[10], 0);
    _cleanup_(freep) char *z = buf_take(&b);
    EQ_Z(z, "xxxxxxxxxx");
    EQ(b.n, 0);
}

TEST(numbers_print_at_their_edges)
{
    _cleanup_(buf_clear) struct buf b = BUF_INIT;
    buf_i64(&b, INT64_MIN);
    buf_putc(&b, ' ');
    buf_u64(&b, UINT64_MAX);
    buf_printf(&b, " %0300d", 1);
    OK(str_starts(buf_str(&b), STR("-9223372036854775808 18446744073709551615 000")));
    EQ(b.n, 20 + 1 + 20 + 1 + 300);
}

TEST(a_limited_buffer_fails_instead_of_growing)
{
    _cleanup_(buf_clear) struct buf b = {.limit = 4};
    buf_puts(&b, "abcd");
    OK(!buf_failed(&b));
    buf_putc(&b, 'e');
    OK(buf_failed(&b));
    EQ_STR(buf_str(&b), STR("abcd"));
    buf_reset(&b);
    buf_puts(&b, "xy");
    EQ_STR(buf_str(&b), STR("xy"));
}

TEST(base64_round_trips_every_length)
{
    char data[67];
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (char)(i * 37);
    for (size_t n = 0; n <= sizeof data; n++) {
        _cleanup_(buf_clear) struct buf a = BUF_INIT, b = BUF_INIT, c = BUF_INIT, d = BUF_INIT, h = BUF_INIT, u = BUF_INIT;
        buf_base64(&a, data, n);
        OK(buf_unbase64(&b, buf_str(&a)));
        EQ_STR(buf_str(&b), str_make(data, n));
        buf_base64url(&c, data, n);
        OK(buf_unbase64url(&d, buf_str(&c)));
        EQ_STR(buf_str(&d), str_make(data, n));
        buf_hex(&h, data, n);
        OK(buf_unhex(&u, buf_str(&h)));
        EQ_STR(buf_str(&u), str_make(data, n));
    }
}

TEST(base64_refuses_what_the_alphabet_does_not_hold)
{
    _cleanup_(buf_clear) struct buf b = BUF_INIT;
    buf_puts(&b, "kept");
    static const char *const bad[] = {"a", "ab", "abc", "ab=c", "=", "ab==cd==", "a*bc", "abc=="};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        OK(!buf_unbase64(&b, str_of(bad[i])));
    OK(!buf_unbase64url(&b, STR("YQ==")) && !buf_unbase64url(&b, STR("YR")) && !buf_unbase64url(&b, STR("a+bc")) && !buf_unhex(&b, STR("abz0")));
    EQ_STR(buf_str(&b), STR("kept"));
    OK(buf_unbase64(&b, STR("Zm9v\r\nYg==")));
    EQ_STR(buf_str(&b), STR("keptfoob"));
}

TEST(bytes_outlive_their_buffer)
{
    struct buf b = BUF_INIT;
    buf_puts(&b, "hello");
    _cleanup_(bytes_unrefp) struct bytes *x = buf_to_bytes(&b);
    _cleanup_(bytes_unrefp) struct bytes *y = bytes_ref(x);
    EQ_STR(bytes_str(y), STR("hello"));
    EQ(x->p[5], 0);
    OK(!bytes_ref(NULL));
}
