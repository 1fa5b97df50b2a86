#include "harness.h"
#include "json/json.h"

TEST(pretty_output_is_indented)
{
    _cleanup_(pool_freep) struct pool *p = pool_new();
    struct json *j;
    struct err *e = NULL;
    struct buf b = BUF_INIT;
    FINE(json_parse(p, STR("{\"a\":[1,{\"b\":{}}],\"c\":[]}"), NULL, &j, &e), e);
    json_write_pretty(&b, j, 2);
    EQ_STR(buf_str(&b), STR("{\n  \"a\": [\n    1,\n    {\n      \"b\": {}\n    }\n  ],\n  \"c\": []\n}"));
    buf_clear(&b);
}

TEST(bytes_that_are_no_utf8_are_written_as_the_replacement_character)
{
    struct buf b = BUF_INIT;
    json_write_str(&b, STR("a\xff\xe2\x82z"));
    EQ_STR(buf_str(&b), STR("\"a\\ufffd\\ufffd\\ufffdz\""));
    buf_clear(&b);
}

TEST(a_full_buffer_fails_without_harm)
{
    _cleanup_(pool_freep) struct pool *p = pool_new();
    struct json *a = json_arr(p);
    for (int i = 0; i < 100; i++)
        json_append(a, json_str(p, STR("some text\n")));
    for (size_t limit = 1; limit < 200; limit++) {
        struct buf b = {.limit = limit};
        json_write(&b, a);
        OK(buf_failed(&b));
        OK(b.n <= limit);
        buf_clear(&b);
    }
}

TEST(null_is_written_for_nothing)
{
    struct buf b = BUF_INIT;
    json_write(&b, NULL);
    EQ_STR(buf_str(&b), STR("null"));
    buf_clear(&b);
}
