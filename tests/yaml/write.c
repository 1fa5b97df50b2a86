#include "harness.h"
#include "yaml/yaml.h"

static struct str written(struct pool *p, const char *json)
{
    struct json *j;
    struct err *e = NULL;
    struct buf b = BUF_INIT;
    FINE(json_parse(p, str_of(json), NULL, &j, &e), e);
    yaml_write(&b, j);
    return buf_to_pool(&b, p);
}

TEST(an_object_is_written_as_kubectl_shows_it)
{
    _cleanup_(pool_freep) struct pool *p = pool_new();
    EQ_STR(written(p, "{\"kind\":\"Pod\",\"apiVersion\":\"v1\",\"metadata\":{\"creationTimestamp\":\"2026-01-01T00:00:00Z\",\"labels\":{},"
                      "\"name\":\"a\"},"
                      "\"spec\":{\"c\":[{\"name\":\"x\",\"args\":[\"-c\",\"a: "
                      "b\",\"true\",\"1\",\"\"],\"n\":1}],\"e\":[],\"s\":\"l1\\nl2\\n\",\"t\":\"no end\\nhere\",\"z\":null}}"),
        STR("apiVersion: v1\nkind: Pod\nmetadata:\n  creationTimestamp: \"2026-01-01T00:00:00Z\"\n  labels: {}\n  name: a\nspec:\n  c:\n"
            "  - args:\n    - -c\n    - 'a: b'\n    - \"true\"\n    - \"1\"\n    - \"\"\n    \"n\": 1\n    name: x\n  e: []\n  s: |\n    "
            "l1\n    l2\n  t: |-\n    no end\n    here\n  z: null\n"));
}

TEST(what_is_written_reads_back)
{
    static const char *const rows[] = {
        "\"\\u0000\\u0007\\u007f\\u0085\\u2028\\ufeff\\ud83d\\ude00 \\t end \"",
        "\"  leading\\nspace\"",
        "\"\\n\\nblank first\"",
        "\"a\\n\\n\\n\"",
        "\"a\\n b \\n\\tc\"",
        "[[1,[2,[]]],[{}],[{\"a\":[{\"b\":{}}]}]]",
        "{\"- a\":1,\"? b\":2,\": c\":3,\"#\":4,\"a#b\":5,\"a #b\":6,\"<<\":7,\"~\":8,\"x:\":9,\"'\":10,\"\":11,\"yes\":12,\"1\":13}",
        "[\"---\",\"...\",\"-\",\"?\",\"- "
        "x\",\"-x\",\"@a\",\"`\",\"%\",\"!a\",\"&a\",\"*a\",\"|\",\">\",\"[\",\"{\",\"a,b\",\"12:30:45\",\"0x1F\",\"1e5\",\".inf\",\"=\"]",
        "{\"a\":\"x\\ny\",\"b\":[\"x\\ny\\n\",\"--- \\n...\\n\"]}",
        "\"top\\nlevel\\n\"",
        "\"--- a\\n... b\\n\"",
        "[1.5,1e-9,1e300,true,false,null,-7]",
        "{\"key with a very long text key with a very long text key with a very long text key with a very long text key with a very long "
        "text\":[{\"a\":1}]}",
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        _cleanup_(pool_freep) struct pool *p = pool_new();
        struct json *a, *b;
        struct err *e = NULL;
        struct str text = written(p, rows[i]);
        FINE(json_parse(p, str_of(rows[i]), NULL, &a, &e), e);
        if (yaml_parse_one(p, text, NULL, &b, &e) < 0 || !json_equal(a, b))
            test_fail(__FILE__, __LINE__, "%s was written as\n%.*s\n%s", rows[i], STR_ARG(text), e ? e->message : "");
    }
}
