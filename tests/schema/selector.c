#include "schema/selector.h"

#include "harness.h"

static struct pool *pool;

static bool matches(const char *sel, const char *labels)
{
    struct err *e = NULL;
    struct selector s;
    struct json *j;
    FINE(selector_parse(pool, str_of(sel), &s, &e), e);
    FINE(json_parse(pool, str_of(labels), NULL, &j, &e), e);
    return selector_match_json(&s, j);
}

static void fails(const char *sel, const char *message)
{
    struct err *e = NULL;
    struct selector s;
    OK(selector_parse(pool, str_of(sel), &s, &e) < 0);
    OK(str_starts(str_of(e->message), str_of(message)));
    err_free(e);
}

TEST(selectors_match_as_in_kubernetes)
{
    pool = pool_new();
    OK(matches("", "{}"));
    OK(matches("a=b", "{\"a\":\"b\"}"));
    OK(!matches("a=b", "{\"a\":\"c\"}"));
    OK(matches("a!=b", "{}"));
    OK(matches("a in (b, c),!d", "{\"a\":\"c\"}"));
    OK(!matches("a in (b,c),!d", "{\"a\":\"c\",\"d\":\"\"}"));
    OK(matches("a notin (b)", "{}"));
    OK(matches("a", "{\"a\":\"\"}"));
    OK(matches("a=", "{\"a\":\"\"}"));
    OK(matches("n>1,n<10", "{\"n\":\"5\"}"));
    OK(!matches("n>1", "{\"n\":\"x\"}"));
    OK(matches("in=in", "{\"in\":\"in\"}"));
    OK(matches("example.com/a==b", "{\"example.com/a\":\"b\"}"));
    pool_free(pool);
}

TEST(malformed_selectors_are_refused_with_kubernetes_words)
{
    pool = pool_new();
    fails("a=b,,", "found ',', expected: identifier after ','");
    fails("=b", "found '=', expected: !, identifier, or 'end of string'");
    fails("a in b", "unable to parse requirement: found 'b' expected: '('");
    fails("a b", "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt");
    fails("a=b c", "found 'c', expected: ',' or 'end of string'");
    fails("n>x", "unable to parse requirement: values[0]: Invalid value: \"x\": for 'Gt'");
    fails("-=b", "unable to parse requirement: <nil>: Invalid value: \"-\": name part must consist");
    pool_free(pool);
}

TEST(a_label_selector_object_gives_the_same_requirements)
{
    struct err *e = NULL;
    struct selector s;
    struct json *j;
    pool = pool_new();
    FINE(json_parse(pool,
             STR("{\"matchLabels\":{\"b\":\"1\"},\"matchExpressions\":[{\"key\":\"a\",\"operator\":\"In\",\"values\":[\"x\",\"y\"]},"
                 "{\"key\":\"c\",\"operator\":\"DoesNotExist\"}]}"),
             NULL, &j, &e),
        e);
    FINE(selector_from_json(pool, j, &s, &e), e);
    EQ_STR(selector_text(pool, &s), STR("a in (x,y),b=1,!c"));
    FINE(selector_from_json(pool, NULL, &s, &e), e);
    OK(s.nothing);
    pool_free(pool);
}

TEST(field_selectors_cut_at_the_first_operator)
{
    struct err *e = NULL;
    struct selector s;
    pool = pool_new();
    FINE(field_selector_parse(pool, STR("metadata.name=x,spec.nodeName!=y,a==b\\,c"), &s, &e), e);
    EQ(s.n, 3);
    EQ_STR(s.reqs[1].key, STR("spec.nodeName"));
    EQ(s.reqs[1].op, SEL_NOT_IN);
    EQ_STR(s.reqs[2].values[0], STR("b,c"));
    OK(field_selector_parse(pool, STR("nonsense"), &s, &e) < 0);
    EQ_Z(e->message, "invalid selector: 'nonsense'; can't understand 'nonsense'");
    err_free(e);
    pool_free(pool);
}

TEST(names_follow_their_grammars)
{
    OK(!name_dns1123_label(STR("a-1")));
    OK(name_dns1123_label(STR("A")));
    EQ_Z(name_dns1123_label(STR("a.b")), "must not contain dots");
    OK(!name_dns1123_subdomain(STR("a.b-c.d")));
    OK(name_dns1123_subdomain(STR("a..b")));
    OK(name_dns1123_subdomain(STR("")));
    OK(name_dns1035_label(STR("1a")));
    OK(!name_qualified(STR("example.com/My_Name.x")));
    OK(name_qualified(STR("/x")));
    OK(name_qualified(STR("a/b/c")));
    OK(!name_label_value(STR("")));
    OK(name_label_value(STR("-")));
    OK(name_path_segment(STR("..")));
    OK(!name_port(STR("http-1")));
    OK(name_port(STR("123")));
}
