#include "harness.h"
#include "json/json.h"

static struct json *parse(struct pool *p, const char *text)
{
    struct json *j = NULL;
    struct err *e = NULL;
    FINE(json_parse(p, str_of(text), NULL, &j, &e), e);
    return j;
}

TEST(setting_replaces_in_place_and_appends_otherwise)
{
    _cleanup_(pool_freep) struct pool *p = pool_new();
    struct json *j = parse(p, "{\"a\":1,\"b\":2}");
    struct json *b = json_get(j, STR("b"));
    json_set_str(p, j, STR("a"), STR("x"));
    json_set_bool(p, j, STR("c"), true);
    json_set_int(p, json_put_obj(p, j, STR("d")), STR("e"), 5);
    json_append(json_put_arr(p, j, STR("f")), json_null(p));
    EQ_STR(json_to_pool(p, j), STR("{\"a\":\"x\",\"b\":2,\"c\":true,\"d\":{\"e\":5},\"f\":[null]}"));
    OK(b == json_get(j, STR("b")));
    json_set_int(p, j, STR("f"), 1); /* the last one */
    json_set_int(p, j, STR("g"), 2);
    EQ_STR(json_to_pool(p, j), STR("{\"a\":\"x\",\"b\":2,\"c\":true,\"d\":{\"e\":5},\"f\":1,\"g\":2}"));
    EQ(json_count(j), 6);
}

TEST(removing_keeps_order_count_and_tail)
{
    _cleanup_(pool_freep) struct pool *p = pool_new();
    struct json *j = parse(p, "{\"a\":1,\"b\":2,\"c\":[1,2,3]}"), *c = json_get(j, STR("c"));
    OK(json_remove(c, json_at(c, 2)));
    json_append(c, json_int(p, 9));
    json_insert(c, 0, json_int(p, 0));
    json_insert(c, 100, json_int(p, 10));
    EQ_STR(json_to_pool(p, c), STR("[0,1,2,9,10]"));
    OK(json_del(j, STR("c")));
    OK(!json_del(j, STR("c")));
    json_set_int(p, j, STR("z"), 1);
    EQ_STR(json_to_pool(p, j), STR("{\"a\":1,\"b\":2,\"z\":1}"));
    json_for (j, m)
        if (m->type == JSON_INT)
            json_remove(j, m);
    EQ_STR(json_to_pool(p, j), STR("{}"));
}

TEST(reading_accepts_absence_and_wrong_types)
{
    _cleanup_(pool_freep) struct pool *p = pool_new();
    struct json *j = parse(p, "{\"metadata\":{\"name\":\"n\",\"generation\":3,\"x\":true},\"s\":\"t\"}");
    EQ_STR(json_str_at(j, "metadata", "name", NULL), STR("n"));
    OK(!json_path(j, "metadata", "name", "deeper", NULL));
    OK(!json_path(j, "nothing", "name", NULL));
    EQ(json_get_int(json_get(j, STR("metadata")), "generation", -1), 3);
    EQ(json_get_int(NULL, "generation", -1), -1);
    EQ(json_get_int(json_get(j, STR("s")), "generation", -1), -1);
    OK(json_get_bool(json_get(j, STR("metadata")), "x", false));
    OK(!json_get_str(j, "metadata").p);
    OK(!json_at(j, 0));
    json_for ((struct json *)NULL, m)
        OK(!m);
}

TEST(equality_ignores_the_order_of_members)
{
    _cleanup_(pool_freep) struct pool *p = pool_new();
    OK(json_equal(parse(p, "{\"a\":[1,{}],\"b\":null}"), parse(p, "{\"b\":null,\"a\":[1,{}]}")));
    OK(!json_equal(parse(p, "{\"a\":1}"), parse(p, "{\"a\":1.0}")));
    OK(!json_equal(parse(p, "[1,2]"), parse(p, "[2,1]")));
    OK(!json_equal(parse(p, "{\"a\":1,\"b\":2}"), parse(p, "{\"a\":1,\"c\":2}")));
    OK(!json_equal(parse(p, "{}"), NULL));
    struct json *a = json_obj(p), *b = json_obj(p);
    for (int i = 0; i < 2000; i++) {
        json_set_int(p, a, pool_printf(p, "k%d", i), i);
        json_set_int(p, b, pool_printf(p, "k%d", 1999 - i), 1999 - i);
    }
    OK(json_equal(a, b));
}

TEST(a_clone_shares_nothing)
{
    _cleanup_(pool_freep) struct pool *p = pool_new();
    struct pool *q = pool_new();
    struct json *c = json_clone(p, parse(q, "{\"a\":[\"long enough to be seen\",{\"b\":1.5}]}"));
    pool_free(q);
    EQ_STR(json_to_pool(p, c), STR("{\"a\":[\"long enough to be seen\",{\"b\":1.5}]}"));
}

TEST(replace_keeps_key_and_place)
{
    _cleanup_(pool_freep) struct pool *p = pool_new();
    struct json *j = parse(p, "{\"a\":1,\"b\":2}");
    json_replace(json_get(j, STR("a")), parse(p, "[true]"));
    EQ_STR(json_to_pool(p, j), STR("{\"a\":[true],\"b\":2}"));
}
