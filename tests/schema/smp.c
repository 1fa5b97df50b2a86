#include "harness.h"
#include "schema/schema.h"

static struct json *parse(struct pool *p, const char *text)
{
    struct err *e = NULL;
    struct json *j;
    FINE(json_parse(p, str_of(text), NULL, &j, &e), e);
    return j;
}

/* Patches a PodSpec. */
static void patched(const char *doc, const char *patch, const char *want)
{
    struct schema *s = schema_builtin();
    struct pool *p = pool_new();
    struct err *e = NULL;
    const struct schema_type *t = schema_find_type(s, STR("io.k8s.api.core.v1.PodSpec"));
    struct json *j = parse(p, doc);
    FINE(schema_strategic_merge(t, p, j, parse(p, patch), &e), e);
    EQ_STR(json_to_pool(p, j), str_of(want));
    pool_free(p);
    schema_unref(s);
}

TEST(lists_merge_by_their_key)
{
    patched("{\"containers\":[{\"name\":\"a\",\"image\":\"1\"},{\"name\":\"b\",\"image\":\"2\"}]}",
        "{\"containers\":[{\"name\":\"b\",\"image\":\"3\"}]}",
        "{\"containers\":[{\"name\":\"a\",\"image\":\"1\"},{\"name\":\"b\",\"image\":\"3\"}]}");
    patched("{\"containers\":[{\"name\":\"a\"}]}", "{\"containers\":[{\"name\":\"b\"}]}",
        "{\"containers\":[{\"name\":\"b\"},{\"name\":\"a\"}]}");
    patched("{\"containers\":[{\"name\":\"a\"},{\"name\":\"b\"}]}", "{\"containers\":[{\"name\":\"a\",\"$patch\":\"delete\"}]}",
        "{\"containers\":[{\"name\":\"b\"}]}");
    patched("{\"containers\":[{\"name\":\"a\"}]}", "{\"containers\":[{\"$patch\":\"replace\"},{\"name\":\"b\"}]}",
        "{\"containers\":[{\"name\":\"b\"}]}");
}

TEST(set_element_order_decides_the_order)
{
    patched("{\"containers\":[{\"name\":\"a\"},{\"name\":\"b\"}]}",
        "{\"$setElementOrder/containers\":[{\"name\":\"b\"},{\"name\":\"c\"},{\"name\":\"a\"}],\"containers\":[{\"name\":\"c\"}]}",
        "{\"containers\":[{\"name\":\"b\"},{\"name\":\"c\"},{\"name\":\"a\"}]}");
    patched("{\"containers\":[{\"name\":\"a\"},{\"name\":\"b\"}]}", "{\"$setElementOrder/containers\":[{\"name\":\"b\"},{\"name\":\"a\"}]}",
        "{\"containers\":[{\"name\":\"b\"},{\"name\":\"a\"}]}");
}

TEST(atomic_lists_are_replaced_and_nulls_delete)
{
    patched("{\"tolerations\":[{\"key\":\"a\"}],\"hostname\":\"x\"}",
        "{\"tolerations\":[{\"key\":\"b\"}],\"hostname\":null,\"nodeSelector\":{\"k\":\"v\",\"gone\":null}}",
        "{\"tolerations\":[{\"key\":\"b\"}],\"nodeSelector\":{\"k\":\"v\"}}");
    patched("{\"nodeSelector\":{\"a\":\"1\",\"b\":\"2\"}}", "{\"nodeSelector\":{\"$patch\":\"replace\",\"c\":\"3\"}}",
        "{\"nodeSelector\":{\"c\":\"3\"}}");
}

TEST(retain_keys_clears_the_other_members)
{
    patched("{\"volumes\":[{\"name\":\"v\",\"emptyDir\":{}}]}",
        "{\"volumes\":[{\"$retainKeys\":[\"name\",\"configMap\"],\"name\":\"v\",\"configMap\":{\"name\":\"c\"}}]}",
        "{\"volumes\":[{\"name\":\"v\",\"configMap\":{\"name\":\"c\"}}]}");
}

TEST(a_malformed_patch_is_refused)
{
    static const char *const rows[][2] = {
        {"{\"containers\":[{\"image\":\"x\"}]}", "map: {\"image\":\"x\"} does not contain declared merge key: name"},
        {"{\"$patch\":\"explode\"}", "unknown patch type: explode in map"},
        {"{\"$retainKeys\":[\"a\"],\"hostname\":\"x\"}", "invalid patch format of retainKeys"},
        {"[]", "a strategic merge patch must be an object, not array"},
        {"{\"containers\":[1]}", "expected a map, but received a number"},
    };
    struct schema *s = schema_builtin();
    const struct schema_type *t = schema_find_type(s, STR("io.k8s.api.core.v1.PodSpec"));
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct pool *p = pool_new();
        struct err *e = NULL;
        OK(schema_strategic_merge(t, p, parse(p, "{\"containers\":[]}"), parse(p, rows[i][0]), &e) < 0);
        EQ_Z(e->message, rows[i][1]);
        err_free(e);
        pool_free(p);
    }
    schema_unref(s);
}

TEST(finalizers_merge_as_a_set_and_lose_members_by_directive)
{
    struct schema *s = schema_builtin();
    struct pool *p = pool_new();
    struct err *e = NULL;
    const struct schema_type *t = schema_find_type(s, STR("io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"));
    struct json *j = parse(p, "{\"finalizers\":[\"a/a\",\"b/b\"]}");
    FINE(schema_strategic_merge(
             t, p, j, parse(p, "{\"finalizers\":[\"c/c\",\"a/a\"],\"$deleteFromPrimitiveList/finalizers\":[\"b/b\"]}"), &e),
        e);
    EQ_STR(json_to_pool(p, j), STR("{\"finalizers\":[\"c/c\",\"a/a\"]}"));
    pool_free(p);
    schema_unref(s);
}
