#include "harness.h"
#include "base/base.h"

TEST(splitting_gives_empty_pieces_between_and_behind_separators)
{
    struct str rest = STR("a,,b,"), piece;
    const char *want[] = {"a", "", "b", ""};
    int n = 0;
    while (str_split(&rest, ',', &piece)) {
        OK(n < 4);
        EQ_STR(piece, str_of(want[n++]));
    }
    EQ(n, 4);
    rest = STR("");
    OK(!str_split(&rest, ',', &piece));
    rest = STR_NULL;
    OK(!str_split(&rest, ',', &piece));
}

TEST(cutting_without_a_separator_writes_nothing)
{
    struct str head = STR("h"), tail = STR("t");
    OK(!str_cut(STR("abc"), '=', &head, &tail));
    EQ_STR(head, STR("h"));
    OK(str_cut(STR("a=b=c"), '=', &head, &tail));
    EQ_STR(head, STR("a"));
    EQ_STR(tail, STR("b=c"));
}

TEST(numbers_are_whole_strings_without_overflow)
{
    uint64_t u = 7;
    int64_t i = 7;
    double d = 7;
    OK(str_to_u64(STR("18446744073709551615"), &u) && u == UINT64_MAX);
    u = 7;
    OK(!str_to_u64(STR("18446744073709551616"), &u) && !str_to_u64(STR("-1"), &u) && !str_to_u64(STR(" 1"), &u) && !str_to_u64(STR(""), &u));
    EQ(u, 7);
    OK(str_to_i64(STR("-9223372036854775808"), &i) && i == INT64_MIN);
    OK(str_to_i64(STR("9223372036854775807"), &i) && i == INT64_MAX);
    OK(!str_to_i64(STR("9223372036854775808"), &i) && !str_to_i64(STR("-"), &i) && !str_to_i64(STR("1x"), &i));
    OK(str_to_double(STR("-1.5e3"), &d) && d == -1500);
    OK(!str_to_double(STR("inf"), &d) && !str_to_double(STR("0x10"), &d) && !str_to_double(STR("1e999"), &d) && !str_to_double(STR("1.5 "), &d));
}

TEST(searching_trimming_and_cutting_views)
{
    EQ(str_find(STR("hello"), STR("ll")), 2);
    EQ(str_find(STR("hello"), STR("lo!")), -1);
    EQ(str_chr(STR("a/b/c"), '/'), 1);
    EQ(str_rchr(STR("a/b/c"), '/'), 3);
    EQ_STR(str_trim(STR(" \t x y\r\n")), STR("x y"));
    EQ_STR(str_sub(STR("abcdef"), 2, 99), STR("cdef"));
    EQ_STR(str_sub(STR("abc"), 9, 99), STR(""));
    OK(str_starts(STR("abc"), STR("ab")) && !str_starts(STR("a"), STR("ab")) && str_ends(STR("abc"), STR("bc")));
    OK(str_eq_nocase(STR("Content-TYPE"), STR("content-type")) && !str_eq_nocase(STR("a"), STR("b")));
    OK(str_cmp(STR("a"), STR("ab")) < 0 && str_cmp(STR("b"), STR("ab")) > 0 && str_cmp(STR("\xff"), STR("a")) > 0);
}

TEST(utf8_refuses_overlong_forms_surrogates_and_cut_sequences)
{
    OK(str_utf8_valid(STR("h\xc3\xa9 \xe2\x82\xac \xf0\x9f\x9a\xa2")));
    OK(!str_utf8_valid(STR("\xc0\xaf")) && !str_utf8_valid(STR("\xe0\x80\xaf")) && !str_utf8_valid(STR("\xed\xa0\x80")));
    OK(!str_utf8_valid(STR("\xf4\x90\x80\x80")) && !str_utf8_valid(STR("\xe2\x82")) && !str_utf8_valid(STR("\x80")));
}

TEST(secrets_compare_by_value)
{
    OK(str_eq_secret(STR("abc"), STR("abc")) && !str_eq_secret(STR("abc"), STR("abd")) && !str_eq_secret(STR("abc"), STR("ab")));
}
