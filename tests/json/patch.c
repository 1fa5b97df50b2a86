#include "harness.h"
#include "json/json.h"

static struct json *parse(struct pool *p, const char *text)
{
    struct json *j = NULL;
    struct err *e = NULL;
    FINE(json_parse(p, str_of(text), NULL, &j, &e), e);
    return j;
}

struct row {
    const char *doc, *patch, *result;
};

TEST(merge_patches_follow_rfc_7386)
{
    static const struct row rows[] = {
        /* its appendix A */
        {"{\"a\":\"b\"}", "{\"a\":\"c\"}", "{\"a\":\"c\"}"},
        {"{\"a\":\"b\"}", "{\"b\":\"c\"}", "{\"a\":\"b\",\"b\":\"c\"}"},
        {"{\"a\":\"b\"}", "{\"a\":null}", "{}"},
        {"{\"a\":\"b\",\"b\":\"c\"}", "{\"a\":null}", "{\"b\":\"c\"}"},
        {"{\"a\":[\"b\"]}", "{\"a\":\"c\"}", "{\"a\":\"c\"}"},
        {"{\"a\":\"c\"}", "{\"a\":[\"b\"]}", "{\"a\":[\"b\"]}"},
        {"{\"a\":{\"b\":\"c\"}}", "{\"a\":{\"b\":\"d\",\"c\":null}}", "{\"a\":{\"b\":\"d\"}}"},
        {"{\"a\":[{\"b\":\"c\"}]}", "{\"a\":[1]}", "{\"a\":[1]}"},
        {"[\"a\",\"b\"]", "[\"c\",\"d\"]", "[\"c\",\"d\"]"},
        {"{\"a\":\"b\"}", "[\"c\"]", "[\"c\"]"},
        {"{\"a\":\"foo\"}", "null", "null"},
        {"{\"a\":\"foo\"}", "\"bar\"", "\"bar\""},
        {"{\"e\":null}", "{\"a\":1}", "{\"e\":null,\"a\":1}"},
        {"[1,2]", "{\"a\":\"b\",\"c\":null}", "{\"a\":\"b\"}"},
        {"{}", "{\"a\":{\"bb\":{\"ccc\":null}}}", "{\"a\":{\"bb\":{}}}"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        _cleanup_(pool_freep) struct pool *p = pool_new();
        struct json *t = parse(p, rows[i].doc);
        json_merge_patch(p, &t, parse(p, rows[i].patch));
        EQ_STR(json_to_pool(p, t), str_of(rows[i].result));
    }
}

TEST(a_large_merge_patch_takes_linear_time)
{
    _cleanup_(pool_freep) struct pool *p = pool_new();
    struct buf doc = BUF_INIT, patch = BUF_INIT;
    for (int i = 0; i < 100000; i++) {
        buf_printf(&doc, "%c\"k%d\":1", i ? ',' : '{', i);
        buf_printf(&patch, "%c\"k%d\":%s", i ? ',' : '{', 99999 - i, i % 2 ? "null" : "2");
    }
    buf_putc(&doc, '}');
    buf_putc(&patch, '}');
    struct json *t = parse(p, buf_str(&doc).p);
    json_merge_patch(p, &t, parse(p, buf_str(&patch).p));
    EQ(json_count(t), 50000);
    EQ(json_get_int(t, "k1", 0), 2);
    OK(!json_get(t, STR("k0")));
    buf_clear(&doc);
    buf_clear(&patch);
}

TEST(json_patches_follow_rfc_6902)
{
    static const struct row rows[] = {
        /* its appendix A and the corners between */
        {"{\"foo\":\"bar\"}", "[{\"op\":\"add\",\"path\":\"/baz\",\"value\":\"qux\"}]", "{\"foo\":\"bar\",\"baz\":\"qux\"}"},
        {"{\"foo\":[\"bar\",\"baz\"]}", "[{\"op\":\"add\",\"path\":\"/foo/1\",\"value\":\"qux\"}]", "{\"foo\":[\"bar\",\"qux\",\"baz\"]}"},
        {"{\"foo\":[1]}", "[{\"op\":\"add\",\"path\":\"/foo/-\",\"value\":[2]}]", "{\"foo\":[1,[2]]}"},
        {"{\"baz\":1,\"foo\":2}", "[{\"op\":\"remove\",\"path\":\"/baz\"}]", "{\"foo\":2}"},
        {"{\"foo\":[1,2,3]}", "[{\"op\":\"remove\",\"path\":\"/foo/1\"}]", "{\"foo\":[1,3]}"},
        {"{\"baz\":1,\"foo\":2}", "[{\"op\":\"replace\",\"path\":\"/baz\",\"value\":{\"x\":1}}]", "{\"baz\":{\"x\":1},\"foo\":2}"},
        {"{\"a\":{\"b\":1,\"c\":2},\"q\":{}}", "[{\"op\":\"move\",\"from\":\"/a/b\",\"path\":\"/q/t\"}]",
            "{\"a\":{\"c\":2},\"q\":{\"t\":1}}"},
        {"[\"all\",\"grass\",\"cows\",\"eat\"]", "[{\"op\":\"move\",\"from\":\"/1\",\"path\":\"/3\"}]",
            "[\"all\",\"cows\",\"eat\",\"grass\"]"},
        {"{\"a\":{\"b\":[1]}}", "[{\"op\":\"copy\",\"from\":\"/a/b\",\"path\":\"/c\"},{\"op\":\"add\",\"path\":\"/c/0\",\"value\":0}]",
            "{\"a\":{\"b\":[1]},\"c\":[0,1]}"},
        {"{\"a/b\":{\"m~n\":1}}",
            "[{\"op\":\"test\",\"path\":\"/a~1b/m~0n\",\"value\":1},{\"op\":\"replace\",\"path\":\"/a~1b/m~0n\",\"value\":2}]",
            "{\"a/b\":{\"m~n\":2}}"},
        {"{\"a\":1}", "[{\"op\":\"add\",\"path\":\"\",\"value\":[7]}]", "[7]"},
        {"{\"a\":1}", "[{\"op\":\"replace\",\"path\":\"\",\"value\":8}]", "8"},
        {"{\"a\":1}", "[{\"op\":\"test\",\"path\":\"/b\",\"value\":null}]", "{\"a\":1}"},
        {"{\"\":1}", "[{\"op\":\"remove\",\"path\":\"/\"}]", "{}"},
        {"{\"a\":1}", "[]", "{\"a\":1}"},
        {"{\"a\":1}", "[{\"op\":\"add\",\"path\":\"/a\",\"value\":null}]", "{\"a\":null}"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        _cleanup_(pool_freep) struct pool *p = pool_new();
        struct json *t = parse(p, rows[i].doc);
        struct err *e = NULL;
        FINE(json_patch(p, &t, parse(p, rows[i].patch), &e), e);
        EQ_STR(json_to_pool(p, t), str_of(rows[i].result));
    }
}

TEST(a_patch_that_fails_changes_nothing)
{
    static const struct {
        const char *patch;
        int code;
    } rows[] = {
        {"{}", ERR_BAD_REQUEST},
        {"[1]", ERR_BAD_REQUEST},
        {"[{\"op\":\"frob\",\"path\":\"/a\"}]", ERR_BAD_REQUEST},
        {"[{\"op\":\"remove\"}]", ERR_BAD_REQUEST},
        {"[{\"op\":\"add\",\"path\":\"/b\"}]", ERR_BAD_REQUEST},
        {"[{\"op\":\"copy\",\"path\":\"/b\"}]", ERR_BAD_REQUEST},
        {"[{\"op\":\"remove\",\"path\":\"a\"}]", ERR_BAD_REQUEST},
        {"[{\"op\":\"remove\",\"path\":\"/a~2\"}]", ERR_BAD_REQUEST},
        {"[{\"op\":\"remove\",\"path\":\"/z\"}]", ERR_INVALID},
        {"[{\"op\":\"replace\",\"path\":\"/z\",\"value\":1}]", ERR_INVALID},
        {"[{\"op\":\"add\",\"path\":\"/z/y\",\"value\":1}]", ERR_INVALID},
        {"[{\"op\":\"add\",\"path\":\"/l/3\",\"value\":1}]", ERR_INVALID},
        {"[{\"op\":\"add\",\"path\":\"/l/01\",\"value\":1}]", ERR_INVALID},
        {"[{\"op\":\"remove\",\"path\":\"/l/-\"}]", ERR_INVALID},
        {"[{\"op\":\"remove\",\"path\":\"/l/0\"},{\"op\":\"test\",\"path\":\"/a\",\"value\":2}]", ERR_INVALID},
        {"[{\"op\":\"move\",\"from\":\"/o\",\"path\":\"/o/p/q\"}]", ERR_INVALID},
        {"[{\"op\":\"move\",\"from\":\"\",\"path\":\"/o\"}]", ERR_INVALID},
        {"[{\"op\":\"copy\",\"from\":\"/zz\",\"path\":\"/o\"}]", ERR_INVALID},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        _cleanup_(pool_freep) struct pool *p = pool_new();
        struct json *t = parse(p, "{\"a\":1,\"l\":[1,2],\"o\":{\"p\":{}}}"), *before = t;
        _cleanup_(err_freep) struct err *e = NULL;
        if (json_patch(p, &t, parse(p, rows[i].patch), &e) != -rows[i].code)
            test_fail(__FILE__, __LINE__, "%s gives %d %s", rows[i].patch, e ? (int)e->code : 0, e ? e->message : "");
        OK(t == before);
        EQ_STR(json_to_pool(p, t), STR("{\"a\":1,\"l\":[1,2],\"o\":{\"p\":{}}}"));
    }
}

TEST(copies_that_double_the_document_are_stopped)
{
    _cleanup_(pool_freep) struct pool *p = pool_new();
    _cleanup_(err_freep) struct err *e = NULL;
    struct buf b = BUF_INIT;
    for (int i = 0; i < 100; i++)
        buf_printf(&b, "%c{\"op\":\"copy\",\"from\":\"/a\",\"path\":\"/a/-\"}", i ? ',' : '[');
    buf_putc(&b, ']');
    struct json *t = parse(p, "{\"a\":[1]}");
    EQ(json_patch(p, &t, parse(p, buf_str(&b).p), &e), -ERR_LIMIT);
    buf_clear(&b);
}

TEST(pointers_find_what_they_name)
{
    _cleanup_(pool_freep) struct pool *p = pool_new();
    _cleanup_(err_freep) struct err *e = NULL;
    struct json *j = parse(p, "{\"a\":[{\"b~/\":1}]}"), *out;
    FINE(json_pointer(j, STR("/a/0/b~0~1"), &out, &e), e);
    EQ(json_as_int(out, 0), 1);
    FINE(json_pointer(j, STR(""), &out, &e), e);
    OK(out == j);
    FINE(json_pointer(j, STR("/a/1"), &out, &e), e);
    OK(!out);
    EQ(json_pointer(j, STR("a"), &out, &e), -ERR_BAD_REQUEST);
}
