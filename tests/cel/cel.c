#include "cel/cel.h"

#include "base/clock.h"
#include "harness.h"

static const char document[] = "{\"a\":1,\"list\":[1,2,3],\"name\":\"web\",\"labels\":{\"app\":\"x\"},\"pods\":[{\"n\":\"a\",\"r\":2},{"
                               "\"n\":\"b\",\"r\":5}],\"f\":1.5,\"on\":true,\"none\":null}";

/* What the expression gives, as JSON, or "error: ...". */
static struct str result(struct pool *p, const char *text, uint64_t budget)
{
    struct err *e = NULL;
    struct cel *c = NULL;
    struct json *doc;
    struct cel_value v;
    if (json_parse(p, STR(document), NULL, &doc, &e) < 0)
        test_fail(__FILE__, __LINE__, "%s", err_msg(e));
    struct cel_var vars[] = {{.name = STR("self"), .value = cel_of_json(doc, NULL, NULL)}};
    struct cel_run r = {.pool = p, .vars = vars, .nvars = 1, .budget = budget};
    struct str out;
    if (cel_parse(str_of(text), &c, &e) < 0 || cel_eval(c, &r, &v, &e) < 0) {
        out = pool_printf(p, "error: %s", err_msg(e));
    } else {
        struct json *j = cel_to_json(&r, v, &e);
        out = j ? json_to_pool(p, j) : pool_printf(p, "error: %s", err_msg(e));
    }
    cel_free(c);
    err_free(e);
    return out;
}

static void gives(const char *text, const char *want)
{
    struct pool *p = pool_new();
    struct str out = result(p, text, 0);
    if (!str_eqz(out, want))
        test_fail(__FILE__, __LINE__, "%s gives\n#   %.*s\n# not\n#   %s", text, STR_ARG(out), want);
    pool_free(p);
}

TEST(operators_bind_and_compute_as_the_specification_says)
{
    gives("1 + 2 * 3 - 4 / 2", "5");
    gives("-7 % 3", "-1");
    gives("2u + 3u", "5");
    gives("1.5 * 2.0", "3.0");
    gives("'a' + \"b\"", "\"ab\"");
    gives("[1] + [2, 3]", "[1,2,3]");
    gives("1 < 2 && 2.0 >= 2 && 1u == 1", "true");
    gives("true ? 'x' : 'y'", "\"x\"");
    gives("!(1 in [2, 3])", "true");
    gives("'app' in {'app': 1}", "true");
    gives("9223372036854775807 + 1", "error: integer overflow");
    gives("1 / 0", "error: division by zero");
    gives("-9223372036854775808", "-9223372036854775808");
    gives("0x1F", "31");
    gives("r'\\d' + '''a'b'''", "\"\\\\da'b\"");
    gives("'\\u00e4\\x41\\n'", "\"\xc3\xa4"
                               "A\\n\"");
}

TEST(an_error_on_one_side_of_a_logical_operator_is_absorbed_by_the_other)
{
    gives("self.missing == 1 || true", "true");
    gives("self.missing == 1 && false", "false");
    gives("self.missing == 1 || false", "error: no such key: missing");
    gives("[1, 0].exists(x, 1 / x == 1)", "true");
}

TEST(members_indexes_and_has_look_into_documents)
{
    gives("self.pods[1].n", "\"b\"");
    gives("self['name'].size()", "3");
    gives("has(self.a) && !has(self.b) && has(self.labels.app)", "true");
    gives("self.list[3]", "error: index out of bounds: 3");
    gives("self.?b.orValue(7)", "7");
    gives("self.?labels.?app.orValue('-')", "\"x\"");
    gives("self.labels[?'no'].hasValue()", "false");
    gives("[1, ?optional.none(), ?optional.of(2)]", "[1,2]");
    gives("optional.of(3).optMap(x, x * 2).value()", "6");
}

TEST(macros_walk_lists_and_maps)
{
    gives("self.list.all(x, x > 0)", "true");
    gives("self.list.exists_one(x, x == 2)", "true");
    gives("self.pods.filter(p, p.r > 2).map(p, p.n)", "[\"b\"]");
    gives("self.list.map(x, x > 1, x * 10)", "[20,30]");
    gives("self.labels.all(k, k == 'app')", "true");
    gives("self.list.all(i, v, v == i + 1)", "true");
    gives("self.labels.transformMap(k, v, k + v)", "{\"app\":\"appx\"}");
    gives("cel.bind(n, self.a + 1, n * n)", "4");
    gives("[[1, 2], [3]].map(x, x.map(y, y + x.size()))", "[[3,4],[4]]");
}

TEST(text_functions_count_characters_not_bytes)
{
    gives("'gr\xc3\xbc\xc3\x9f'.size()", "4");
    gives("'gr\xc3\xbc\xc3\x9f'.substring(2, 3)", "\"\xc3\xbc\"");
    gives("'a,b,c'.split(',').join('-')", "\"a-b-c\"");
    gives("'Hello'.lowerAscii().replace('l', 'L', 1)", "\"heLlo\"");
    gives("'abcabc'.lastIndexOf('b')", "4");
    gives("' x '.trim().upperAscii()", "\"X\"");
    gives("'a1b22'.findAll('[0-9]+')", "[\"1\",\"22\"]");
    gives("'abc'.matches('^a.c$')", "true");
    gives("'%s is %d%% of %.2f'.format(['x', 3, 1.5])", "\"x is 3% of 1.50\"");
    gives("'abc'.charAt(1) + 'abc'.reverse()", "\"bcba\"");
}

TEST(the_lists_and_sets_of_kubernetes_are_there)
{
    gives("self.list.sum() + self.list.max() - self.list.min()", "8");
    gives("self.list.isSorted()", "true");
    gives("[3, 1, 2].sort()", "[1,2,3]");
    gives("[1, 1, 2].distinct()", "[1,2]");
    gives("[[1], [2, [3]]].flatten()", "[1,2,[3]]");
    gives("sets.contains([1, 2], [2])", "true");
    gives("self.list.indexOf(2)", "1");
}

TEST(quantities_urls_addresses_versions_and_formats_are_values)
{
    gives("quantity('1Gi').isGreaterThan(quantity('1G'))", "true");
    gives("quantity('500m').add(quantity('1500m')).asInteger()", "2");
    gives("isQuantity('12x')", "false");
    gives("quantity('0.5').compareTo(quantity('500m'))", "0");
    gives("url('https://a.b:80/c?d=e&d=f').getPort()", "\"80\"");
    gives("url('https://a.b:80/c?d=e&d=f').getQuery()['d']", "[\"e\",\"f\"]");
    gives("isURL('no url')", "false");
    gives("ip('10.0.0.1').family() == 4 && cidr('10.0.0.0/8').containsIP('10.1.2.3')", "true");
    gives("isIP('1.2.3') || isCIDR('10.0.0.0/33')", "false");
    gives("string(cidr('10.1.2.3/8').masked())", "\"10.0.0.0/8\"");
    gives("semver('1.2.3-rc.1').isLessThan(semver('1.2.3'))", "true");
    gives("format.dns1123Label().validate('a_b').hasValue()", "true");
    gives("!format.named('uuid').value().validate('123e4567-e89b-12d3-a456-426614174000').hasValue()", "true");
}

TEST(times_are_computed_with)
{
    gives("timestamp('2020-01-01T00:00:00Z') + duration('36h') > timestamp('2020-01-02T00:00:00Z')", "true");
    gives("timestamp('2020-03-01T10:20:30Z').getMonth()", "2");
    gives("timestamp('2020-03-01T23:20:30Z').getDate('+02:00')", "2");
    gives("duration('90s').getMinutes()", "1");
    gives("string(duration('1.5s'))", "\"1.5s\"");
    gives("duration('1h') - duration('30m')", "\"1800s\"");
}

TEST(conversions_and_types)
{
    gives("int('42') + int(2.9) + int(true ? 1u : 2u)", "45");
    gives("string(1.5) + string(true) + string(b'x')", "\"1.5truex\"");
    gives("type(1) == int && type('') == string", "true");
    gives("int('x')", "error: strconv.ParseInt: parsing \"x\": invalid syntax");
    gives("1 + 'a'", "error: no such overload");
}

TEST(mistakes_are_told_with_their_place)
{
    gives("self.a +", "error: ERROR: <input>:1:9: Syntax error: mismatched input '<EOF>' expecting {'[', '{', '(', '.', '-', '!', 'true', "
                      "'false', 'null', NUM_FLOAT, NUM_INT, "
                      "NUM_UINT, STRING, BYTES, IDENTIFIER}\n | self.a +\n | ........^");
    gives("nope(1)", "error: ERROR: <input>:1:1: undeclared reference to 'nope' (in container '')\n | nope(1)\n | ^");
}

TEST(an_expression_that_costs_too_much_is_ended)
{
    struct pool *p = pool_new();
    EQ_STR(
        result(p, "[1,2,3,4,5,6,7,8,9].all(a, [1,2,3,4,5,6,7,8,9].all(b, [1,2,3,4,5,6,7,8,9].all(c, [1,2,3,4,5,6,7,8,9].all(d, a > 0))))",
            1000),
        STR("error: operation cancelled: actual cost limit exceeded"));
    pool_free(p);
}

struct shape {
    const char *name;
    const struct shape *below;
};
static const struct shape leaf[] = {{"x", NULL}, {NULL, NULL}};
static const struct shape root[] = {{"spec", leaf}, {NULL, NULL}};

static const void *shape_member(const void *node, struct str name, bool *missing)
{
    for (const struct shape *s = node; s->name; s++)
        if (str_eqz(name, s->name))
            return s->below;
    *missing = true;
    return NULL;
}
static const void *shape_item(const void *node)
{
    (void)node;
    return NULL;
}
static enum cel_shape shape_of(const void *node)
{
    (void)node;
    return CEL_SHAPE_ANY;
}

TEST(members_that_a_shape_does_not_have_are_found_before_it_runs)
{
    static const struct cel_typer typer = {shape_member, shape_item, shape_of, NULL};
    struct cel_decl vars[] = {{STR("self"), root}};
    struct cel *c;
    struct err *e = NULL;
    FINE(cel_parse(STR("self.spec.x > 1"), &c, &e), e);
    FINE(cel_check(c, vars, 1, &typer, &e), e);
    cel_free(c);
    FINE(cel_parse(STR("self.spec.z > 1"), &c, &e), e);
    OK(cel_check(c, vars, 1, &typer, &e) < 0);
    OK(strstr(err_msg(e), "undefined field 'z'") != NULL);
    err_free(e);
    e = NULL;
    cel_free(c);
    FINE(cel_parse(STR("other"), &c, &e), e);
    OK(cel_check(c, vars, 1, &typer, &e) < 0);
    OK(strstr(err_msg(e), "undeclared reference to 'other'") != NULL);
    err_free(e);
    cel_free(c);
}
