#include "schema/apply.h"

#include "base/clock.h"
#include "harness.h"

#define T0 (INT64_C(1767225600) * NS_PER_S) /* 2026-01-01T00:00:00Z */

static struct pool *pool;
static struct schema *schema;

static struct apply_ctx ctx(const char *manager)
{
    return (struct apply_ctx){.pool = pool,
        .res = schema_find(schema, STR("apps"), STR("v1"), STR("deployments")),
        .manager = str_of(manager),
        .now = T0,
        .sub = STR("")};
}

static struct json *parse(const char *text)
{
    struct err *e = NULL;
    struct json *j;
    FINE(json_parse(pool, str_of(text), NULL, &j, &e), e);
    return j;
}

static void begin(void)
{
    pool = pool_new();
    schema = schema_builtin();
}

static void end(void)
{
    pool_free(pool);
    schema_unref(schema);
}

static struct json *apply(const char *manager, const struct json *live, const char *config, bool force)
{
    struct err *e = NULL;
    struct json *out;
    struct apply_ctx c = ctx(manager);
    c.force = force;
    FINE(schema_apply(&c, live, parse(config), &out, &e), e);
    return out;
}

#define DEP(meta, spec) "{\"apiVersion\":\"apps/v1\",\"kind\":\"Deployment\",\"metadata\":{\"name\":\"d\"" meta "},\"spec\":{" spec "}}"

static struct str fields(const struct json *doc, size_t i)
{
    return json_to_pool(pool, json_get(json_at(json_path(doc, "metadata", "managedFields", NULL), i), STR("fieldsV1")));
}

TEST(applying_creates_and_notes_what_was_set)
{
    begin();
    struct json *d = apply("m", NULL,
        DEP(",\"labels\":{\"a\":\"1\"}", "\"replicas\":3,\"template\":{\"spec\":{\"containers\":[{\"name\":\"c\",\"image\":\"i\",\"ports\":"
                                         "[{\"containerPort\":80}]}]}}"),
        false);
    EQ(json_get_int(json_get(d, STR("spec")), "replicas", 0), 3);
    const struct json *entry = json_at(json_path(d, "metadata", "managedFields", NULL), 0);
    EQ_STR(json_get_str(entry, "manager"), STR("m"));
    EQ_STR(json_get_str(entry, "operation"), STR("Apply"));
    EQ_STR(json_get_str(entry, "apiVersion"), STR("apps/v1"));
    EQ_STR(json_get_str(entry, "time"), STR("2026-01-01T00:00:00Z"));
    EQ_STR(fields(d, 0), STR("{\"f:metadata\":{\"f:labels\":{\"f:a\":{}}},\"f:spec\":{\"f:replicas\":{},\"f:template\":{\"f:spec\":{\"f:"
                             "containers\":{\"k:{\\\"name\\\":\\\"c\\\"}\":{\".\":{},"
                             "\"f:image\":{},\"f:name\":{},\"f:ports\":{\"k:{\\\"containerPort\\\":80,\\\"protocol\\\":\\\"TCP\\\"}\":{\"."
                             "\":{},\"f:containerPort\":{}}}}}}}}}"));
    end();
}

TEST(a_conflict_names_the_manager_and_the_field_and_force_takes_it)
{
    begin();
    struct json *d = apply("one", NULL, DEP("", "\"replicas\":3"), false), *out;
    struct err *e = NULL;
    struct apply_ctx c = ctx("two");
    EQ(schema_apply(&c, d, parse(DEP("", "\"replicas\":4")), &out, &e), -ERR_CONFLICT);
    EQ_Z(e->message, "Apply failed with 1 conflict: conflict with \"one\": .spec.replicas");
    EQ(e->ncauses, 1);
    EQ_Z(e->causes[0].reason, "FieldManagerConflict");
    EQ_Z(e->causes[0].field, ".spec.replicas");
    EQ_Z(e->causes[0].message, "conflict with \"one\"");
    err_free(e);
    d = apply("two", d, DEP("", "\"replicas\":4"), true);
    EQ(json_get_int(json_get(d, STR("spec")), "replicas", 0), 4);
    EQ(json_count(json_path(d, "metadata", "managedFields", NULL)), 1);
    EQ_STR(json_get_str(json_at(json_path(d, "metadata", "managedFields", NULL), 0), "manager"), STR("two"));
    end();
}

TEST(equal_values_are_shared_and_survive_until_the_last_owner_drops_them)
{
    begin();
    struct json *d = apply("one", NULL, DEP(",\"labels\":{\"a\":\"1\",\"b\":\"2\"}", "\"replicas\":3"), false);
    d = apply("two", d, DEP(",\"labels\":{\"a\":\"1\"}", ""), false);
    EQ(json_count(json_path(d, "metadata", "managedFields", NULL)), 2);
    d = apply("one", d, DEP("", "\"replicas\":3"), false);
    EQ_STR(json_to_pool(pool, json_path(d, "metadata", "labels", NULL)), STR("{\"a\":\"1\"}"));
    d = apply("two", d, DEP("", ""), false);
    OK(!json_path(d, "metadata", "labels", NULL));
    EQ(json_get_int(json_get(d, STR("spec")), "replicas", 0), 3);
    end();
}

TEST(keyed_list_items_come_and_go_with_their_owner)
{
    begin();
    struct json *d = apply("one", NULL,
        DEP("", "\"template\":{\"spec\":{\"containers\":[{\"name\":\"a\",\"image\":\"1\"},{\"name\":\"b\",\"image\":\"2\"}]}}"), false);
    d = apply("two", d, DEP("", "\"template\":{\"spec\":{\"containers\":[{\"name\":\"c\",\"image\":\"3\"}]}}"), false);
    EQ(json_count(json_path(d, "spec", "template", "spec", "containers", NULL)), 3);
    d = apply("one", d, DEP("", "\"template\":{\"spec\":{\"containers\":[{\"name\":\"b\",\"image\":\"2\"}]}}"), false);
    const struct json *list = json_path(d, "spec", "template", "spec", "containers", NULL);
    EQ(json_count(list), 2);
    EQ_STR(json_get_str(json_at(list, 0), "name"), STR("b"));
    EQ_STR(json_get_str(json_at(list, 1), "name"), STR("c"));
    end();
}

TEST(an_ordinary_write_takes_the_fields_it_changed)
{
    begin();
    struct apply_ctx c = ctx("kubectl-create");
    struct json *d = parse(
        DEP(",\"labels\":{\"a\":\"1\"}", "\"replicas\":1,\"template\":{\"spec\":{\"containers\":[{\"name\":\"c\",\"image\":\"i\"}]}}"));
    schema_manage(&c, NULL, d);
    EQ_STR(fields(d, 0), STR("{\"f:metadata\":{\"f:labels\":{\".\":{},\"f:a\":{}}},\"f:spec\":{\"f:replicas\":{},\"f:template\":{\"f:"
                             "spec\":{\"f:containers\":{\"k:{\\\"name\\\":\\\"c\\\"}\":{\".\":{},"
                             "\"f:image\":{},\"f:name\":{},\"f:resources\":{}}}}}}}"));
    struct json *next = json_clone(pool, d);
    c.now += 5 * NS_PER_S;
    schema_manage(&c, d, next);
    OK(json_equal(json_path(d, "metadata", "managedFields", NULL), json_path(next, "metadata", "managedFields", NULL)));
    json_set_int(pool, json_get(next, STR("spec")), STR("replicas"), 2);
    c.manager = STR("scaler");
    schema_manage(&c, d, next);
    EQ(json_count(json_path(next, "metadata", "managedFields", NULL)), 2);
    EQ_STR(fields(next, 1), STR("{\"f:spec\":{\"f:replicas\":{}}}"));
    struct err *e = NULL;
    struct json *out;
    struct apply_ctx a = ctx("x");
    EQ(schema_apply(&a, next, parse(DEP("", "\"replicas\":9")), &out, &e), -ERR_CONFLICT);
    EQ_Z(e->message, "Apply failed with 1 conflict: conflict with \"scaler\" using apps/v1: .spec.replicas");
    err_free(e);
    end();
}

TEST(status_belongs_to_those_who_write_it_through_its_subresource)
{
    begin();
    struct apply_ctx c = ctx("ctl");
    struct json *d = parse(DEP("", "\"replicas\":1")), *next;
    schema_manage(&c, NULL, d);
    next = json_clone(pool, d);
    json_set_int(pool, json_put_obj(pool, next, STR("status")), STR("replicas"), 1);
    c.sub = STR("status");
    schema_manage(&c, d, next);
    EQ(json_count(json_path(next, "metadata", "managedFields", NULL)), 2);
    const struct json *entry = json_at(json_path(next, "metadata", "managedFields", NULL), 1);
    EQ_STR(json_get_str(entry, "subresource"), STR("status"));
    EQ_STR(json_to_pool(pool, json_get(entry, STR("fieldsV1"))), STR("{\"f:status\":{\"f:replicas\":{}}}"));
    end();
}

TEST(kubectl_takes_over_what_it_applied_from_the_client)
{
    begin();
    struct apply_ctx c = ctx("kubectl-client-side-apply");
    struct json *d = parse(DEP(",\"annotations\":{\"kubectl.kubernetes.io/last-applied-configuration\":\"{\\\"apiVersion\\\":\\\"apps/"
                               "v1\\\",\\\"kind\\\":\\\"Deployment\\\","
                               "\\\"spec\\\":{\\\"replicas\\\":1}}\"}",
        "\"replicas\":1"));
    schema_manage(&c, NULL, d);
    d = apply("kubectl", d, DEP("", "\"replicas\":2"), false);
    EQ(json_get_int(json_get(d, STR("spec")), "replicas", 0), 2);
    end();
}

TEST(an_object_that_nobody_tracked_is_before_first_applys)
{
    begin();
    struct json *d = apply("m", parse(DEP("", "\"replicas\":1,\"paused\":true")), DEP("", "\"replicas\":1"), false);
    EQ(json_count(json_path(d, "metadata", "managedFields", NULL)), 2);
    EQ_STR(json_get_str(json_at(json_path(d, "metadata", "managedFields", NULL), 1), "manager"), STR("before-first-apply"));
    end();
}

TEST(a_keyed_list_without_its_key_is_refused)
{
    begin();
    struct err *e = NULL;
    struct json *out;
    struct apply_ctx c = ctx("m");
    EQ(schema_apply(&c, NULL, parse(DEP("", "\"template\":{\"spec\":{\"containers\":[{\"image\":\"1\"}]}}")), &out, &e), -ERR_BAD_REQUEST);
    OK(strstr(e->message, "omits key field \"name\""));
    err_free(e);
    end();
}

TEST(an_agents_first_word_is_its_manager)
{
    EQ_STR(manager_from_agent(STR("kubectl/v1.36.0 (linux/amd64) x")), STR("kubectl"));
    EQ_STR(manager_from_agent(STR("")), STR("unknown"));
}

TEST(environment_variables_that_stand_twice_do_not_stop_an_apply)
{
    begin();
    struct json *d = parse(DEP("", "\"template\":{\"spec\":{\"containers\":[{\"name\":\"c\",\"env\":[{\"name\":\"A\",\"value\":\"1\"},{"
                                   "\"name\":\"A\",\"value\":\"2\"}]}]}}"));
    d = apply("m", d, DEP("", "\"replicas\":1"), false);
    d = apply("m", d, DEP("", "\"replicas\":2"), false);
    EQ(json_get_int(json_get(d, STR("spec")), "replicas", 0), 2);
    EQ(json_count(json_get(json_at(json_path(d, "spec", "template", "spec", "containers", NULL), 0), STR("env"))), 2);
    end();
}
