#include "harness.h"
#include "json/json.h"
#include <stdlib.h>

/* Parses and writes; "error: ..." when it does not parse. */
static struct str round_trip(struct pool *p, struct str text, const struct json_limits *l)
{
    struct json *j;
    _cleanup_(err_freep) struct err *e = NULL;
    if (json_parse(p, text, l, &j, &e) < 0)
        return pool_printf(p, "error: %s", err_msg(e));
    return json_to_pool(p, j);
}

TEST(valid_documents_read_back_as_written)
{
    static const struct {
        const char *in, *out;
    } rows[] = {
        {"null", "null"},
        {" true ", "true"},
        {"false", "false"},
        {"\"\"", "\"\""},
        {"[]", "[]"},
        {"{ }", "{}"},
        {"[1, 2,\t3\r\n]", "[1,2,3]"},
        {"{\"a\" : {\"b\":[{}, null]}}", "{\"a\":{\"b\":[{},null]}}"},
        {"\"\\u00e9\\u20ac\\ud83d\\ude00\"", "\"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\""},
        {"\"\\ud800x\"", "\"\xef\xbf\xbdx\""},
        {"\"\\udc00\\ud800\\u0041\"", "\"\xef\xbf\xbd\xef\xbf\xbd"
                                      "A\""},
        {"\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u0001\"", "\"\\\"\\\\/\\b\\f\\n\\r\\t\\u0001\""},
        {"\"<>&\xe2\x80\xa8\xe2\x80\xa9\"", "\"<>&\\u2028\\u2029\""},
        {"\"a long string that passes one vector of sixteen bytes, and an escape: \\n end\"",
            "\"a long string that passes one vector of sixteen bytes, and an escape: \\n end\""},
        {"{\"k\\u0065y\":1}", "{\"key\":1}"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        for (int view = 0; view < 2; view++) {
            _cleanup_(pool_freep) struct pool *p = pool_new();
            struct json_limits l = {.view = view};
            EQ_STR(round_trip(p, str_of(rows[i].in), &l), str_of(rows[i].out));
        }
}

TEST(malformed_documents_are_refused_with_line_and_column)
{
    static const struct {
        const char *in, *error;
    } rows[] = {
        {"", "unexpected end of JSON input at line 1, column 1"},
        {"{\n \"a\": x}", "invalid character 'x' looking for beginning of value at line 2, column 7"},
        {"[1,]", "invalid character ']' looking for beginning of value at line 1, column 4"},
        {"{\"a\":1,}", "invalid character '}' looking for beginning of object key string at line 1, column 8"},
        {"{\"a\" 1}", "invalid character '1' after object key at line 1, column 6"},
        {"[1 2]", "invalid character '2' after array element at line 1, column 4"},
        {"{\"a\":1 \"b\"}", "invalid character '\"' after object key:value pair at line 1, column 8"},
        {"1 2", "invalid character '2' after top-level value at line 1, column 3"},
        {"nul", "unexpected end of JSON input at line 1, column 4"},
        {"nulL", "invalid character 'L' in literal at line 1, column 4"},
        {"[\"\\n\\n\\n\", \"\\x\"]", "invalid escape in string literal at line 1, column 13"},
        {"\"\\u12g4\"", "invalid escape in string literal at line 1, column 2"},
        {"\"a\x01\"", "control character in string literal at line 1, column 3"},
        {"\"\xff\"", "invalid UTF-8 in string literal at line 1, column 2"},
        {"\"\xed\xa0\x80\"", "invalid UTF-8 in string literal at line 1, column 2"},
        {"\"\xc0\x80\"", "invalid UTF-8 in string literal at line 1, column 2"},
        {"\"\xf4\x90\x80\x80\"", "invalid UTF-8 in string literal at line 1, column 2"},
        {"\"abc", "unexpected end of JSON input at line 1, column 5"},
        {"\"abc\\", "invalid escape in string literal at line 1, column 5"},
        {"01", "invalid number literal at line 1, column 1"},
        {"-", "invalid number literal at line 1, column 1"},
        {"1.", "invalid number literal at line 1, column 1"},
        {"1e", "invalid number literal at line 1, column 1"},
        {"+1", "invalid character '+' looking for beginning of value at line 1, column 1"},
        {"1e999", "number out of range at line 1, column 1"},
        {"\xef\xbb\xbf{}", "invalid character '\\xef' looking for beginning of value at line 1, column 1"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        for (int view = 0; view < 2; view++) {
            _cleanup_(pool_freep) struct pool *p = pool_new();
            struct json_limits l = {.view = view};
            EQ_STR(round_trip(p, str_of(rows[i].in), &l), pool_printf(p, "error: %s", rows[i].error));
        }
}

TEST(numbers_are_exact)
{
    static const struct {
        const char *in, *out;
        enum json_type type;
    } rows[] = {
        {"0", "0", JSON_INT},
        {"-1", "-1", JSON_INT},
        {"9223372036854775807", "9223372036854775807", JSON_INT},
        {"-9223372036854775808", "-9223372036854775808", JSON_INT},
        {"9223372036854775808", "9223372036854776000", JSON_DOUBLE},
        {"1.0", "1.0", JSON_DOUBLE},
        {"0.1", "0.1", JSON_DOUBLE},
        {"1e2", "100.0", JSON_DOUBLE},
        {"1E-7", "1e-7", JSON_DOUBLE},
        {"1e21", "1e+21", JSON_DOUBLE},
        {"123456789012345678901234567890", "1.2345678901234568e+29", JSON_DOUBLE},
        {"5e-324", "5e-324", JSON_DOUBLE},
        {"1.7976931348623157e308", "1.7976931348623157e+308", JSON_DOUBLE},
        {"-0.0", "-0.0", JSON_DOUBLE},
        {"0.000001", "0.000001", JSON_DOUBLE},
        {"2.2250738585072011e-308", "2.225073858507201e-308", JSON_DOUBLE},
        {"12.5", "12.5", JSON_DOUBLE},
        {"-9223372036854775808.0", "-9223372036854776000", JSON_DOUBLE},
        {"9223372036854774784.0", "9223372036854775000.0", JSON_DOUBLE},
        {"1e-400", "0.0", JSON_DOUBLE},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        _cleanup_(pool_freep) struct pool *p = pool_new();
        struct json *j;
        struct err *e = NULL;
        FINE(json_parse(p, str_of(rows[i].in), NULL, &j, &e), e);
        EQ(j->type, rows[i].type);
        EQ_STR(json_to_pool(p, j), str_of(rows[i].out));
    }
}

TEST(random_doubles_read_back_the_same)
{
    uint64_t x = 88172645463325252u;
    for (int i = 0; i < 20000; i++) {
        x ^= x << 13, x ^= x >> 7, x ^= x << 17;
        double d;
        memcpy(&d, &x, sizeof d);
        if (!__builtin_isfinite(d))
            continue;
        _cleanup_(pool_freep) struct pool *p = pool_new();
        struct json *j;
        struct err *e = NULL;
        FINE(json_parse(p, json_to_pool(p, json_double(p, d)), NULL, &j, &e), e);
        EQ(j->type, JSON_DOUBLE);
        OK(memcmp(&j->d, &d, sizeof d) == 0);
    }
}

TEST(strict_numbers_refuse_what_a_double_would_round)
{
    _cleanup_(pool_freep) struct pool *p = pool_new();
    struct json_limits strict = {.strict_numbers = true};
    EQ_STR(round_trip(p, STR("9223372036854775808"), &strict), STR("9223372036854776000"));
    EQ_STR(round_trip(p, STR("9223372036854775809"), &strict), STR("error: number out of range at line 1, column 1"));
}

TEST(the_last_of_two_equal_keys_wins_and_is_reported)
{
    _cleanup_(pool_freep) struct pool *p = pool_new();
    struct json *j;
    struct json_dup *dups;
    struct err *e = NULL;
    FINE(json_parse_dups(p, STR("{\"x\":0,\"s\":{\"c\":[{}, {\"a\":1,\"b\":2,\"a\":3}]},\"x\":1}"), NULL, &j, &dups, &e), e);
    EQ_STR(json_to_pool(p, j), STR("{\"s\":{\"c\":[{},{\"b\":2,\"a\":3}]},\"x\":1}"));
    EQ_STR(dups->path, STR("s.c[1].a"));
    EQ_STR(dups->next->path, STR("x"));
    OK(!dups->next->next);
}

TEST(duplicates_in_a_large_object_are_found_in_linear_time)
{
    _cleanup_(pool_freep) struct pool *p = pool_new();
    struct buf b = BUF_INIT;
    struct json *j;
    struct err *e = NULL;
    buf_putc(&b, '{');
    for (int i = 0; i < 150000; i++)
        buf_printf(&b, "%s\"k%d\":%d", i ? "," : "", i % 100000, i);
    buf_putc(&b, '}');
    FINE(json_parse(p, buf_str(&b), NULL, &j, &e), e);
    EQ(json_count(j), 100000);
    EQ(json_get_int(j, "k7", 0), 100007);
    EQ(json_get_int(j, "k99999", 0), 99999);
    buf_clear(&b);
}

TEST(limits_hold)
{
    _cleanup_(pool_freep) struct pool *p = pool_new();
    struct buf b = BUF_INIT;
    struct json_limits l = {.depth = 3}, few = {.nodes = 3}, small = {.bytes = 4};
    EQ_STR(round_trip(p, STR("[[[1]]]"), &l), STR("[[[1]]]"));
    EQ_STR(round_trip(p, STR("[[[[1]]]]"), &l), STR("error: exceeded max depth at line 1, column 4"));
    EQ_STR(round_trip(p, STR("[1,2]"), &few), STR("[1,2]"));
    EQ_STR(round_trip(p, STR("[1,2,3]"), &few), STR("error: too many values at line 1, column 6"));
    EQ_STR(round_trip(p, STR("12345"), &small), STR("error: JSON document of 5 bytes is larger than the limit of 4"));
    for (int i = 0; i < 1000000; i++)
        buf_putc(&b, '[');
    EQ_STR(round_trip(p, buf_str(&b), NULL), STR("error: exceeded max depth at line 1, column 129"));
    l.depth = SIZE_MAX; /* no caller can lift the hard bound */
    EQ_STR(round_trip(p, buf_str(&b), &l), STR("error: exceeded max depth at line 1, column 513"));
    buf_clear(&b);
}
