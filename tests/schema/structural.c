#include "schema/structural.h"

#include "harness.h"
#include "schema/apply.h"

static const char schema_text[] =
    "{\"type\":\"object\",\"properties\":{\"spec\":{\"type\":\"object\",\"required\":[\"name\"],\"properties\":{"
    "\"name\":{\"type\":\"string\",\"minLength\":2,\"maxLength\":4,\"pattern\":\"^[a-z]+$\"},"
    "\"size\":{\"type\":\"integer\",\"default\":3,\"minimum\":1,\"maximum\":9},"
    "\"kind\":{\"type\":\"string\",\"enum\":[\"a\",\"b\"]},"
    "\"port\":{\"x-kubernetes-int-or-string\":true},"
    "\"when\":{\"type\":\"string\",\"format\":\"date-time\"},"
    "\"empty\":{\"type\":\"string\",\"nullable\":true},"
    "\"any\":{\"type\":\"object\",\"x-kubernetes-preserve-unknown-fields\":true},"
    "\"tags\":{\"type\":\"object\",\"additionalProperties\":{\"type\":\"string\"}},"
    "\"list\":{\"type\":\"array\",\"x-kubernetes-list-type\":\"map\",\"x-kubernetes-list-map-keys\":[\"k\"],\"items\":{\"type\":\"object\","
    "\"required\":[\"k\"],"
    "\"properties\":{\"k\":{\"type\":\"string\"},\"v\":{\"type\":\"integer\",\"default\":1}}}},"
    "\"one\":{\"type\":\"object\",\"properties\":{\"x\":{\"type\":\"string\"},\"y\":{\"type\":\"string\"}},\"oneOf\":[{\"required\":[\"x\"]"
    "},{\"required\":[\"y\"]}]}},"
    "\"x-kubernetes-validations\":[{\"rule\":\"self.size < 8 || self.name == 'big'\",\"message\":\"only big may be big\"},"
    "{\"rule\":\"self.size >= oldSelf.size\",\"message\":\"never smaller\"}]}}}";

static const struct json *source(void *arg, struct str version, struct pool *p)
{
    struct json *j = NULL;
    (void)arg, (void)version;
    return json_parse(p, STR(schema_text), NULL, &j, NULL) < 0 ? NULL : j;
}

static struct schema_pack *pack(void)
{
    struct schema_pack *k = schema_pack_new(1, source, NULL, NULL);
    struct schema_resource *r = &k->rows[0];
    r->group = STR("x.io"), r->version = STR("v1"), r->resource = STR("things"), r->kind = STR("Thing"), r->storage = STR("x.io/things"),
    r->storage_version = STR("v1");
    k->types[0]->type.name = STR("io.x.v1.Thing");
    k->types[0]->version = STR("v1");
    return k;
}

static struct json *parse(struct pool *p, const char *text)
{
    struct json *j = NULL;
    struct err *e = NULL;
    FINE(json_parse(p, str_of(text), NULL, &j, &e), e);
    return j;
}

static void becomes(const char *text, const char *want, const char *notes_want)
{
    struct pool *p = pool_new();
    struct schema_pack *k = pack();
    struct json *doc = parse(p, text);
    struct schema_notes notes;
    struct err *e = NULL;
    struct buf said = BUF_INIT;
    FINE(schema_decode(&k->rows[0], k->rows[0].type, p, doc, &notes, &e), e);
    schema_default(k->rows[0].type, p, doc);
    EQ_STR(json_to_pool(p, doc), str_of(want));
    for (size_t i = 0; i < notes.n; i++)
        buf_printf(&said, "%s%.*s", i ? "; " : "", STR_ARG(notes.items[i]));
    EQ_STR(buf_str(&said), str_of(notes_want));
    buf_clear(&said);
    schema_pack_unref(k);
    pool_free(p);
}

static void judged(const char *text, const char *old, const char *want)
{
    struct pool *p = pool_new();
    struct schema_pack *k = pack();
    struct err *e = NULL;
    struct buf b = BUF_INIT;
    (void)schema_validate(k->rows[0].type, p, parse(p, text), old ? parse(p, old) : NULL, &e);
    ferr_join(&b, e);
    EQ_STR(buf_str(&b), str_of(want));
    buf_clear(&b);
    err_free(e);
    schema_pack_unref(k);
    pool_free(p);
}

TEST(what_a_structural_schema_does_not_know_is_removed_and_noted)
{
    becomes("{\"spec\":{\"name\":\"ab\",\"size\":1,\"no\":1,\"any\":{\"z\":{\"y\":1}},\"tags\":{\"t\":\"1\"}}}",
        "{\"spec\":{\"name\":\"ab\",\"size\":1,\"any\":{\"z\":{\"y\":1}},\"tags\":{\"t\":\"1\"}}}", "unknown field \"spec.no\"");
    becomes("{\"top\":1,\"spec\":{\"size\":2,\"list\":[{\"k\":\"a\",\"w\":1}]}}",
        "{\"spec\":{\"size\":2,\"list\":[{\"k\":\"a\",\"v\":1}]}}", "unknown field \"top\"; unknown field \"spec.list[0].w\"");
}

TEST(defaults_fill_what_is_absent_and_nulls_that_may_not_be)
{
    becomes("{\"spec\":{}}", "{\"spec\":{\"size\":3}}", "");
    becomes("{\"spec\":{\"size\":null,\"name\":null,\"empty\":null}}", "{\"spec\":{\"size\":3,\"empty\":null}}", "");
    becomes("{}", "{}", "");
}

TEST(values_are_judged_in_kubernetes_words)
{
    judged("{\"spec\":{\"name\":\"ab\",\"size\":3}}", NULL, "");
    judged("{\"spec\":{\"size\":3}}", NULL, "spec.name: Required value");
    judged("{\"spec\":{\"name\":\"a\",\"size\":10}}", NULL,
        "[spec.name: Invalid value: \"a\": spec.name in body should be at least 2 chars long, spec.size: Invalid value: 10: spec.size in "
        "body should be less than or equal to 9]");
    judged("{\"spec\":{\"name\":\"abcde\",\"size\":3}}", NULL, "spec.name: Too long: may not be more than 4 bytes");
    judged("{\"spec\":{\"name\":\"AB\",\"size\":3}}", NULL, "spec.name: Invalid value: \"AB\": spec.name in body should match '^[a-z]+$'");
    judged("{\"spec\":{\"name\":3}}", NULL, "spec.name: Invalid value: \"integer\": spec.name in body must be of type string: \"integer\"");
    judged("{\"spec\":{\"name\":\"ab\",\"kind\":\"c\",\"port\":true}}", NULL,
        "[spec.kind: Unsupported value: \"c\": supported values: \"a\", \"b\", spec.port: Invalid value: \"boolean\": spec.port in body "
        "must be of type integer,string: \"boolean\"]");
    judged("{\"spec\":{\"name\":\"ab\",\"list\":[{\"k\":\"x\"},{\"k\":\"x\"}]}}", NULL, "spec.list[1]: Duplicate value: {\"k\":\"x\"}");
    judged("{\"spec\":{\"name\":\"ab\",\"when\":\"yesterday\"}}", NULL,
        "spec.when: Invalid value: \"yesterday\": spec.when in body must be of type date-time: \"yesterday\"");
    judged("{\"spec\":{\"name\":\"ab\",\"size\":3,\"one\":{\"x\":\"1\",\"y\":\"2\"}}}", NULL,
        "<nil>: Invalid value: \"\": \"spec.one\" must validate one and only one schema (oneOf). Found 2 valid alternatives");
}

TEST(what_stood_before_a_schema_became_stricter_may_stay)
{
    judged("{\"spec\":{\"name\":\"TOO LONG\",\"size\":4}}", "{\"spec\":{\"name\":\"TOO LONG\",\"size\":3}}", "");
    judged("{\"spec\":{\"name\":\"STILL TOO LONG\",\"size\":3}}", "{\"spec\":{\"name\":\"TOO LONG\",\"size\":3}}",
        "[spec.name: Too long: may not be more than 4 bytes, spec.name: Invalid value: \"STILL TOO LONG\": spec.name in body should match "
        "'^[a-z]+$']");
}

TEST(rules_are_evaluated_where_self_and_old_self_are_there)
{
    judged("{\"spec\":{\"name\":\"ab\",\"size\":8}}", NULL, "spec: Invalid value: \"object\": only big may be big");
    judged("{\"spec\":{\"name\":\"big\",\"size\":8}}", NULL, "");
    judged("{\"spec\":{\"name\":\"ab\",\"size\":2}}", "{\"spec\":{\"name\":\"ab\",\"size\":3}}",
        "spec: Invalid value: \"object\": never smaller");
}

TEST(keyed_lists_of_custom_resources_merge_by_key)
{
    struct pool *p = pool_new();
    struct schema_pack *k = pack();
    struct json *live = parse(p, "{\"spec\":{\"list\":[{\"k\":\"a\",\"v\":1},{\"k\":\"b\",\"v\":2}],\"any\":{\"x\":{\"p\":1}}}}"),
                *config = parse(p, "{\"spec\":{\"list\":[{\"k\":\"b\",\"v\":5}],\"any\":{\"x\":{\"q\":2}}}}");
    EQ_STR(json_to_pool(p, schema_merge(k->rows[0].type, p, live, config)),
        STR("{\"spec\":{\"list\":[{\"k\":\"a\",\"v\":1},{\"k\":\"b\",\"v\":5}],\"any\":{\"x\":{\"p\":1,\"q\":2}}}}"));
    schema_pack_unref(k);
    pool_free(p);
}

TEST(what_is_no_structural_schema_is_told_with_its_path)
{
    struct pool *p = pool_new();
    struct err *e = NULL;
    struct buf b = BUF_INIT;
    struct fpath at = FPATH(NULL, "schema");
    cr_violations(
        parse(p, "{\"type\":\"object\",\"properties\":{\"a\":{},\"b\":{\"type\":\"array\"},\"c\":{\"type\":\"object\",\"$ref\":\"#/x\"}}}"),
        &at, &e);
    ferr_join(&b, e);
    EQ_STR(buf_str(&b), STR("[schema.properties[a].type: Required value: must not be empty for specified object fields, "
                            "schema.properties[b].items: Required value: must be "
                            "specified, schema.properties[c].$ref: Forbidden: $ref is not supported]"));
    buf_clear(&b);
    err_free(e);
    pool_free(p);
}
