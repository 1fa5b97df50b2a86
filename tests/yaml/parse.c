#include "harness.h"
#include "yaml/yaml.h"

static struct str all(struct pool *p, struct str text, const struct yaml_limits *l)
{
    struct json **docs;
    size_t n;
    struct buf b = BUF_INIT;
    _cleanup_(err_freep) struct err *e = NULL;
    if (yaml_parse(p, text, l, &docs, &n, &e) < 0)
        return pool_printf(p, "error: %s", err_msg(e));
    for (size_t i = 0; i < n; i++) {
        buf_puts(&b, i ? " | " : "");
        json_write(&b, docs[i]);
    }
    return buf_to_pool(&b, p);
}

struct row {
    const char *in, *out;
};

static void check(const struct row *rows, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        _cleanup_(pool_freep) struct pool *p = pool_new();
        EQ_STR(all(p, str_of(rows[i].in), NULL), str_of(rows[i].out));
    }
}

TEST(plain_scalars_resolve_as_in_kubernetes)
{
    static const struct row rows[] = {
        {"[y, Yes, on, true, n, No, OFF, False]", "[true,true,true,true,false,false,false,false]"},
        {"[yep, tRue, nope]", "[\"yep\",\"tRue\",\"nope\"]"},
        {"[~, null, Null, '', '~']", "[null,null,null,\"\",\"~\"]"},
        {"[0, -1, +7, 010, 0o17, 0x1f, 0b101, 1_000]", "[0,-1,7,8,15,31,5,1000]"},
        {"[08, 1.0, 1e3, 1.5, .5, -2.5e-3]", "[8,1,1000,1.5,0.5,-0.0025]"},
        {"[9223372036854775807, -9223372036854775808, 9223372036854775808]",
            "[9223372036854775807,-9223372036854775808,9223372036854776000]"},
        {"[1.2.3, 10.0.0.1, 1e, 0x, 1:30, 2001-12-14, 100m, 1Gi, -, +]",
            "[\"1.2.3\",\"10.0.0.1\",\"1e\",\"0x\",\"1:30\",\"2001-12-14\",\"100m\",\"1Gi\",\"-\",\"+\"]"},
        {"[\"1\", '2', !!str 3, !!int \"4\", !!float 5, !!bool yes, !mine 6]", "[\"1\",\"2\",\"3\",4,5,true,\"6\"]"},
        {"!!binary aGVsbG8=", "\"hello\""},
        {"[.inf]", "error: yaml: line 1: infinity and NaN have no JSON form"},
        {"!!int x", "error: yaml: line 1: value does not fit its tag"},
    };
    check(rows, ARRAY_LEN(rows));
}

TEST(streams_and_blocks)
{
    static const struct row rows[] = {
        {"a: 1\n---\n---\n# nothing\n---\nb: 2\n...\n", "{\"a\":1} | {\"b\":2}"},
        {"", ""},
        {"# only\n", ""},
        {"a:\n- b\n- c: |\n    x\n     y\n  d: >-\n    folded\n    text\n", "{\"a\":[\"b\",{\"c\":\"x\\n y\\n\",\"d\":\"folded text\"}]}"},
        {"{a: 1, b: [x]}", "{\"a\":1,\"b\":[\"x\"]}"},
        {"{\"a\": 1e2}", "{\"a\":100.0}"},
        {"1: a\ntrue: b\n2.5: c\n", "{\"1\":\"a\",\"true\":\"b\",\"2.5\":\"c\"}"},
    };
    check(rows, ARRAY_LEN(rows));
}

TEST(anchors_aliases_and_merge_keys)
{
    static const struct row rows[] = {
        {"a: &x [1, 2]\nb: *x\n", "{\"a\":[1,2],\"b\":[1,2]}"},
        {"base: &b {x: 1, w: 2}\nc:\n  w: 3\n  <<: *b\n  z: 4\n", "{\"base\":{\"x\":1,\"w\":2},\"c\":{\"w\":3,\"x\":1,\"z\":4}}"},
        {"c:\n  <<: &b {x: 1}\n  z: 4\nd: *b\n", "{\"c\":{\"x\":1,\"z\":4},\"d\":{\"x\":1}}"},
        {"base: &b {x: 1}\nc:\n  <<: *b\n  x: 2\n", "{\"base\":{\"x\":1},\"c\":{\"x\":2}}"},
        {"p: &p {x: 1}\nq: &q {x: 2, w: 2}\nc:\n  <<: [*p, *q]\n", "{\"p\":{\"x\":1},\"q\":{\"x\":2,\"w\":2},\"c\":{\"x\":1,\"w\":2}}"},
        {"'<<': 1\n", "{\"<<\":1}"},
        {"a: *nope\n", "error: yaml: line 1: unknown anchor referenced"},
        {"a: &a [*a]\n", "error: yaml: line 1: anchor value contains itself"},
        {"a: &a 1\n---\nb: *a\n", "error: yaml: line 3: unknown anchor referenced"},
        {"<<: 3\n", "error: yaml: line 1: map merge requires map or sequence of maps as the value"},
    };
    check(rows, ARRAY_LEN(rows));
}

TEST(errors_name_the_line)
{
    static const struct row rows[] = {
        {"a: 1\nb: 2\na: 3\n", "error: yaml: line 3: key \"a\" already set in map"},
        {"a: b: c\n", "error: yaml: line 1: mapping values are not allowed in this context"},
        {"a:\n\t- b\n", "error: yaml: line 2: found character that cannot start any token"},
        {"{\"a\": x y z", "error: invalid character 'x' looking for beginning of value at line 1, column 7"},
        {"? [a]\n: b\n", "error: yaml: line 1: a mapping key must be a string, number or bool"},
    };
    check(rows, ARRAY_LEN(rows));
}

TEST(a_billion_laughs_are_stopped)
{
    _cleanup_(pool_freep) struct pool *p = pool_new();
    _cleanup_(err_freep) struct err *e = NULL;
    struct buf b = BUF_INIT;
    struct json **docs;
    size_t n;
    buf_puts(&b, "a0: &a0 [lol]\n");
    for (int i = 1; i < 12; i++)
        buf_printf(
            &b, "a%d: &a%d [*a%d,*a%d,*a%d,*a%d,*a%d,*a%d,*a%d,*a%d]\n", i, i, i - 1, i - 1, i - 1, i - 1, i - 1, i - 1, i - 1, i - 1);
    EQ(yaml_parse(p, buf_str(&b), NULL, &docs, &n, &e), -ERR_LIMIT);
    buf_reset(&b);
    buf_puts(&b, "a: &a ");
    for (int i = 0; i < 1000000; i++)
        buf_putc(&b, 'x');
    buf_puts(&b, "\nb: [*a,*a,*a,*a,*a]\n");
    err_free(TAKE(e));
    EQ(yaml_parse(p, buf_str(&b), NULL, &docs, &n, &e), -ERR_LIMIT);
    buf_clear(&b);
}

TEST(limits_hold)
{
    _cleanup_(pool_freep) struct pool *p = pool_new();
    struct yaml_limits l = {.depth = 2, .nodes = 4, .documents = 2, .bytes = 30};
    EQ_STR(all(p, STR("[[1]]"), &l), STR("[[1]]"));
    EQ_STR(all(p, STR("[[[]]]"), &l), STR("error: yaml: line 1: exceeded max depth"));
    EQ_STR(all(p, STR("[1,2,3,4]"), &l), STR("error: yaml: line 1: too many values"));
    EQ_STR(all(p, STR("a\n---\nb\n---\nc\n"), &l), STR("error: yaml: line 4: too many documents"));
    EQ_STR(all(p, STR("a                                  "), &l), STR("error: YAML stream of 35 bytes is larger than the limit of 30"));
    struct buf b = BUF_INIT;
    for (int i = 0; i < 100000; i++)
        buf_puts(&b, "- ");
    EQ_STR(all(p, buf_str(&b), NULL), STR("error: yaml: line 1: exceeded max depth"));
    buf_clear(&b);
}

TEST(one_document_means_one)
{
    _cleanup_(pool_freep) struct pool *p = pool_new();
    _cleanup_(err_freep) struct err *e = NULL;
    struct json *j;
    FINE(yaml_parse_one(p, STR("---\na: 1\n---\n"), NULL, &j, &e), e);
    EQ(json_get_int(j, "a", 0), 1);
    EQ(yaml_parse_one(p, STR("a: 1\n---\nb: 1\n"), NULL, &j, &e), -ERR_PARSE);
}
