#include "kinds/jsonpath.h"

#include "harness.h"

static const char text[] = "{\"a\":{\"b\":[1,2,{\"c\":\"x\"}],\"d.e\":7},\"conditions\":[{\"type\":\"Ready\",\"status\":\"True\",\"n\":1},{"
                           "\"type\":\"Live\",\"status\":\"False\",\"n\":5}]}";

static void finds(const char *path, const char *want)
{
    struct pool *p = pool_new();
    struct json *doc;
    const struct json *out[16];
    struct buf b = BUF_INIT;
    OK(json_parse(p, STR(text), NULL, &doc, NULL) == 0);
    size_t n = jsonpath_find(doc, str_of(path), out, ARRAY_LEN(out));
    for (size_t i = 0; i < n; i++) {
        buf_puts(&b, i ? " " : "");
        json_write(&b, out[i]);
    }
    EQ_STR(buf_str(&b), str_of(want));
    buf_clear(&b);
    pool_free(p);
}

TEST(paths_name_members_elements_and_what_filters_let_through)
{
    finds(".a.b[2].c", "\"x\"");
    finds(".a.b[0]", "1");
    finds(".a.b[-1].c", "\"x\"");
    finds(".a.b[0:2]", "1 2");
    finds(".a['d.e']", "7");
    finds(".a.d\\.e", "7");
    finds(".conditions[?(@.type==\"Ready\")].status", "\"True\"");
    finds(".conditions[?(@.n>3)].type", "\"Live\"");
    finds(".conditions[*].status", "\"True\" \"False\"");
    finds("..status", "\"True\" \"False\"");
    finds(".a.nothing", "");
    finds(".a[", "");
    finds("a", "");
}

TEST(simple_paths_can_be_set)
{
    struct pool *p = pool_new();
    struct json *doc = json_obj(p);
    OK(jsonpath_set(p, doc, STR(".spec.replicas"), json_int(p, 3)));
    OK(!jsonpath_set(p, doc, STR(".spec.list[0]"), json_int(p, 3)));
    OK(!jsonpath_set(p, doc, STR(".spec.replicas.more"), json_int(p, 3)));
    EQ_STR(json_to_pool(p, doc), STR("{\"spec\":{\"replicas\":3}}"));
    OK(jsonpath_simple(STR(".a['b.c']")) && !jsonpath_simple(STR(".a[0]")) && jsonpath_valid(STR(".a[0]")) && !jsonpath_valid(STR("a")));
    pool_free(p);
}
