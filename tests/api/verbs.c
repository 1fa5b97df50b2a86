#include "fixture.h"

#define CM "/api/v1/namespaces/default/configmaps"

TEST(an_object_is_created_read_changed_and_deleted)
{
    struct fixture *f = fixture_new();
    struct json *o = want(f, 201, "POST", CM, "{\"metadata\":{\"name\":\"a\"},\"data\":{\"k\":\"v\"}}");
    EQ_STR(at(o, "kind"), STR("ConfigMap"));
    EQ_STR(at(o, "metadata.namespace"), STR("default"));
    OK(at(o, "metadata.uid").n == 36);
    struct str rv = at(o, "metadata.resourceVersion");
    o = want(f, 200, "GET", CM "/a", NULL);
    EQ_STR(at(o, "data.k"), STR("v"));
    EQ_STR(at(o, "metadata.resourceVersion"), rv);
    o = want(f, 200, "PUT", CM "/a", "{\"metadata\":{\"name\":\"a\"},\"data\":{\"k\":\"w\"}}");
    EQ_STR(at(o, "data.k"), STR("w"));
    o = want(f, 409, "PUT", CM "/a", pool_printf(f->pool, "{\"metadata\":{\"name\":\"a\",\"resourceVersion\":\"%.*s\"}}", STR_ARG(rv)).p);
    EQ_STR(at(o, "reason"), STR("Conflict"));
    EQ_STR(at(o, "message"), STR("Operation cannot be fulfilled on configmaps \"a\": the object has been modified; please apply your "
                                 "changes to the latest version and try again"));
    o = want(f, 200, "DELETE", CM "/a", NULL);
    EQ_STR(at(o, "status"), STR("Success"));
    EQ_STR(at(o, "details.kind"), STR("configmaps"));
    o = want(f, 404, "GET", CM "/a", NULL);
    EQ_STR(at(o, "message"), STR("configmaps \"a\" not found"));
    EQ_STR(at(o, "details.name"), STR("a"));
    EQ_STR(at(o, "code"), STR("404"));
    fixture_free(f);
}

TEST(a_name_that_is_taken_is_told_in_kubernetes_words)
{
    struct fixture *f = fixture_new();
    const char *body = "{\"metadata\":{\"name\":\"d\"},\"spec\":{\"selector\":{\"matchLabels\":{\"a\":\"b\"}},\"template\":{\"metadata\":{"
                       "\"labels\":{\"a\":\"b\"}},\"spec\":{\"containers\":["
                       "{\"name\":\"c\",\"image\":\"i\"}]}}}}";
    want(f, 201, "POST", "/apis/apps/v1/namespaces/default/deployments", body);
    struct json *o = want(f, 409, "POST", "/apis/apps/v1/namespaces/default/deployments", body);
    EQ_STR(at(o, "message"), STR("deployments.apps \"d\" already exists"));
    EQ_STR(at(o, "reason"), STR("AlreadyExists"));
    EQ_STR(at(o, "details.group"), STR("apps"));
    fixture_free(f);
}

TEST(a_generated_name_is_fresh)
{
    struct fixture *f = fixture_new();
    struct json *a = want(f, 201, "POST", CM, "{\"metadata\":{\"generateName\":\"x-\"}}"),
                *b = want(f, 201, "POST", CM, "{\"metadata\":{\"generateName\":\"x-\"}}");
    OK(str_starts(at(a, "metadata.name"), STR("x-")) && at(a, "metadata.name").n == 7);
    OK(!str_eq(at(a, "metadata.name"), at(b, "metadata.name")));
    fixture_free(f);
}

TEST(a_dry_run_changes_nothing)
{
    struct fixture *f = fixture_new();
    struct json *o = want(f, 201, "POST", CM "?dryRun=All", "{\"metadata\":{\"name\":\"a\"}}");
    EQ_STR(at(o, "metadata.name"), STR("a"));
    want(f, 404, "GET", CM "/a", NULL);
    want(f, 422, "POST", CM "?dryRun=Some", "{\"metadata\":{\"name\":\"a\"}}");
    fixture_free(f);
}

TEST(unknown_fields_warn_or_fail_as_asked)
{
    struct fixture *f = fixture_new();
    const char *body = "{\"metadata\":{\"name\":\"a\"},\"dota\":{}}";
    struct answer a = ask(f, "POST", CM "?dryRun=All", body);
    EQ(a.status, 201);
    EQ_STR(answer_header(&a, "warning"), STR("299 - \"unknown field \\\"dota\\\"\""));
    a = ask(f, "POST", CM "?dryRun=All&fieldValidation=Ignore", body);
    OK(!answer_header(&a, "warning").p);
    struct json *o = want(f, 400, "POST", CM "?fieldValidation=Strict", body);
    OK(str_find(at(o, "message"), STR("strict decoding error: unknown field \"dota\"")) >= 0);
    fixture_free(f);
}

TEST(patches_of_all_kinds_are_applied)
{
    struct fixture *f = fixture_new();
    want(f, 201, "POST", CM, "{\"metadata\":{\"name\":\"a\"},\"data\":{\"k\":\"v\",\"l\":\"w\"}}");
    f->content_type = "application/merge-patch+json";
    struct json *o = want(f, 200, "PATCH", CM "/a", "{\"data\":{\"k\":null,\"m\":\"x\"}}");
    OK(!json_path(o, "data", "k", NULL));
    EQ_STR(at(o, "data.m"), STR("x"));
    f->content_type = "application/strategic-merge-patch+json";
    o = want(f, 200, "PATCH", CM "/a", "{\"metadata\":{\"labels\":{\"q\":\"r\"}}}");
    EQ_STR(at(o, "metadata.labels.q"), STR("r"));
    f->content_type = "application/json-patch+json";
    o = want(f, 200, "PATCH", CM "/a", "[{\"op\":\"replace\",\"path\":\"/data/m\",\"value\":\"y\"}]");
    EQ_STR(at(o, "data.m"), STR("y"));
    want(f, 422, "PATCH", CM "/a", "[{\"op\":\"test\",\"path\":\"/data/m\",\"value\":\"z\"}]");
    want(f, 400, "PATCH", CM "/a", "{\"op\":\"test\"}");
    f->content_type = "application/apply-patch+yaml";
    o = want(f, 200, "PATCH", CM "/a?fieldManager=me&force=true", "apiVersion: v1\nkind: ConfigMap\ndata: {m: z}\n");
    EQ_STR(at(o, "data.m"), STR("z"));
    want(f, 201, "PATCH", CM "/b?fieldManager=me", "apiVersion: v1\nkind: ConfigMap\ndata: {m: z}\n");
    want(f, 409, "PATCH", CM "/b?fieldManager=other", "apiVersion: v1\nkind: ConfigMap\ndata: {m: q}\n");
    want(f, 422, "PATCH", CM "/b", "apiVersion: v1\nkind: ConfigMap\n");
    o = want(f, 400, "PATCH", CM "/b?fieldManager=me&fieldValidation=Strict", "{\"apiVersion\":\"v1\",\"kind\":\"ConfigMap\",\"dota\":{},\"data\":{\"m\":\"1\",\"m\":\"2\"}}");
    OK(str_find(at(o, "message"), STR("strict decoding error: unknown field \"dota\", duplicate field \"data.m\"")) >= 0);
    f->content_type = "text/plain";
    want(f, 415, "PATCH", CM "/a", "x");
    fixture_free(f);
}

TEST(malformed_requests_get_a_status_that_names_what_is_wrong)
{
    static const struct {
        int status;
        const char *method, *path, *body, *says;
    } rows[] = {
        {400, "POST", CM, "{", "JSON"},
        {400, "POST", CM, "[]", "not an object"},
        {400, "POST", CM, "", "empty"},
        {400, "POST", CM, "{\"kind\":\"Pod\"}", "cannot be handled as a ConfigMap"},
        {400, "POST", CM, "{\"apiVersion\":\"v2\"}", "does not match the expected API version"},
        {400, "POST", CM, "{\"metadata\":{\"name\":\"a\",\"namespace\":\"b\"}}", "namespace"},
        {400, "POST", CM, "{\"data\":{\"a\":1}}", "cannot unmarshal"},
        {422, "POST", CM, "{\"metadata\":{\"name\":\"A_B\"}}", "metadata.name"},
        {422, "POST", CM, "{}", "name"},
        {404, "GET", "/api/v1/namespaces/default/nothings", NULL, "could not find the requested resource"},
        {404, "GET", "/apis/none/v1/things", NULL, "could not find the requested resource"},
        {404, "GET", "/nowhere", NULL, "could not find"},
        {405, "POST", "/api/v1/pods", "{}", "does not allow this method"},
        {405, "PUT", CM, "{}", "does not allow this method"},
        {404, "POST", "/api/v1/namespaces/none/configmaps", "{\"metadata\":{\"name\":\"a\"}}", "namespaces \"none\" not found"},
        {400, "GET", CM "?labelSelector=a+in+(", NULL, "parse"},
        {400, "GET", CM "?fieldSelector=spec.x%3D1", NULL, "field label not supported"},
        {400, "GET", CM "?limit=x", NULL, "limit"},
        {400, "GET", CM "?continue=%21%21", NULL, "continue"},
        {400, "GET", CM "?resourceVersion=x", NULL, "resourceVersion"},
        {504, "GET", CM "?resourceVersion=999999999", NULL, "Too large resource version"},
        {422, "GET", CM "?watch=1&sendInitialEvents=true", NULL, "resourceVersionMatch"},
    };
    struct fixture *f = fixture_new();
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct json *o = want(f, rows[i].status, rows[i].method, rows[i].path, rows[i].body);
        EQ_STR(at(o, "kind"), STR("Status"));
        if (str_find(at(o, "message"), str_of(rows[i].says)) < 0)
            test_fail(__FILE__, __LINE__, "%s %s %s says \"%.*s\", not \"%s\"", rows[i].method, rows[i].path,
                rows[i].body ? rows[i].body : "", STR_ARG(at(o, "message")), rows[i].says);
    }
    f->accept = "image/png";
    want(f, 406, "GET", CM, NULL);
    fixture_free(f);
}

TEST(the_status_subresource_and_the_object_keep_out_of_each_others_way)
{
    struct fixture *f = fixture_new();
    struct json *o = want(f, 201, "POST", "/apis/apps/v1/namespaces/default/deployments",
        "{\"metadata\":{\"name\":\"d\"},\"spec\":{\"selector\":{\"matchLabels\":{\"a\":\"b\"}},\"template\":{\"metadata\":{\"labels\":{"
        "\"a\":\"b\"}},\"spec\":{\"containers\":["
        "{\"name\":\"c\",\"image\":\"i\"}]}}},\"status\":{\"replicas\":7}}");
    EQ_STR(at(o, "status.replicas"), STR(""));
    EQ_STR(at(o, "metadata.generation"), STR("1"));
    f->content_type = "application/merge-patch+json";
    o = want(f, 200, "PATCH", "/apis/apps/v1/namespaces/default/deployments/d/status",
        "{\"spec\":{\"replicas\":9},\"status\":{\"replicas\":3}}");
    EQ_STR(at(o, "status.replicas"), STR("3"));
    EQ_STR(at(o, "spec.replicas"), STR("1"));
    EQ_STR(at(o, "metadata.generation"), STR("1"));
    o = want(f, 200, "PATCH", "/apis/apps/v1/namespaces/default/deployments/d", "{\"spec\":{\"replicas\":2},\"status\":{\"replicas\":8}}");
    EQ_STR(at(o, "status.replicas"), STR("3"));
    EQ_STR(at(o, "metadata.generation"), STR("2"));
    o = want(f, 200, "PATCH", "/apis/apps/v1/namespaces/default/deployments/d/scale", "{\"spec\":{\"replicas\":5}}");
    EQ_STR(at(o, "kind"), STR("Scale"));
    EQ_STR(at(o, "spec.replicas"), STR("5"));
    EQ_STR(at(o, "status.selector"), STR("a=b"));
    EQ_STR(at(want(f, 200, "GET", "/apis/apps/v1/namespaces/default/deployments/d", NULL), "spec.replicas"), STR("5"));
    fixture_free(f);
}

TEST(finalizers_hold_an_object_until_they_are_gone)
{
    struct fixture *f = fixture_new();
    want(f, 201, "POST", CM, "{\"metadata\":{\"name\":\"a\",\"finalizers\":[\"x.io/y\"]}}");
    struct json *o = want(f, 200, "DELETE", CM "/a", NULL);
    OK(at(o, "metadata.deletionTimestamp").n > 0);
    want(f, 200, "GET", CM "/a", NULL);
    f->content_type = "application/merge-patch+json";
    want(f, 200, "PATCH", CM "/a", "{\"metadata\":{\"finalizers\":null}}");
    want(f, 404, "GET", CM "/a", NULL);
    f->content_type = NULL;
    o = want(f, 201, "POST", CM, "{\"metadata\":{\"name\":\"b\"}}");
    want(f, 409, "DELETE", CM "/b", "{\"preconditions\":{\"uid\":\"0\"}}");
    o = want(f, 200, "DELETE", CM "/b", "{\"propagationPolicy\":\"Orphan\"}");
    EQ_STR(at(o, "metadata.finalizers.0"), STR("orphan"));
    fixture_free(f);
}

TEST(a_pod_gets_its_grace_and_goes_when_the_node_says_so)
{
    struct fixture *f = fixture_new();
    const char *pods = "/api/v1/namespaces/default/pods";
    want(f, 201, "POST", "/api/v1/namespaces/default/serviceaccounts", "{\"metadata\":{\"name\":\"default\"}}");
    want(f, 201, "POST", pods, "{\"metadata\":{\"name\":\"p\"},\"spec\":{\"containers\":[{\"name\":\"c\",\"image\":\"i\"}]}}");
    struct json *o = want(f, 201, "POST", "/api/v1/namespaces/default/pods/p/binding",
        "{\"metadata\":{\"name\":\"p\"},\"target\":{\"kind\":\"Node\",\"name\":\"n\"}}");
    EQ_STR(at(o, "status"), STR("Success"));
    want(f, 400, "POST", "/api/v1/namespaces/default/pods/p/binding", "{\"metadata\":{\"name\":\"q\"},\"target\":{\"kind\":\"Node\",\"name\":\"m\"}}");
    want(f, 409, "POST", "/api/v1/namespaces/default/pods/p/binding",
        "{\"metadata\":{\"name\":\"p\"},\"target\":{\"kind\":\"Node\",\"name\":\"m\"}}");
    EQ_STR(at(want(f, 200, "GET", "/api/v1/namespaces/default/pods/p", NULL), "spec.nodeName"), STR("n"));
    o = want(f, 200, "DELETE", "/api/v1/namespaces/default/pods/p", NULL);
    EQ_STR(at(o, "metadata.deletionGracePeriodSeconds"), STR("30"));
    o = want(f, 200, "DELETE", "/api/v1/namespaces/default/pods/p", "{\"gracePeriodSeconds\":5}");
    EQ_STR(at(o, "metadata.deletionGracePeriodSeconds"), STR("5"));
    want(f, 200, "DELETE", "/api/v1/namespaces/default/pods/p", "{\"gracePeriodSeconds\":0}");
    want(f, 404, "GET", "/api/v1/namespaces/default/pods/p", NULL);
    fixture_free(f);
}

#define HPA(version) "/apis/autoscaling/" version "/namespaces/default/horizontalpodautoscalers"

/* FieldsV1 of a manager, as text; absent when it owns nothing. */
static struct str owned(struct fixture *f, struct json *o, const char *manager, const char *version)
{
    json_for (json_path(o, "metadata", "managedFields", NULL), m)
        if (str_eqz(json_get_str(m, "manager"), manager) && str_eqz(json_get_str(m, "apiVersion"), version))
            return json_to_pool(f->pool, json_get(m, STR("fieldsV1")));
    return STR_NULL;
}

TEST(fields_are_owned_in_the_words_of_the_version_that_wrote_them_and_conflict_across_versions)
{
    struct fixture *f = fixture_new();
    want(f, 201, "POST", HPA("v1") "?fieldManager=old",
        "{\"metadata\":{\"name\":\"h\"},\"spec\":{\"maxReplicas\":3,\"targetCPUUtilizationPercentage\":50,\"scaleTargetRef\":{\"apiVersion\":\"apps/v1\","
        "\"kind\":\"Deployment\",\"name\":\"d\"}}}");
    struct json *o = want(f, 200, "GET", HPA("v2") "/h", NULL);
    EQ_STR(at(o, "spec.metrics.0.resource.target.averageUtilization"), STR("50"));
    OK(str_find(owned(f, o, "old", "autoscaling/v1"), STR("f:targetCPUUtilizationPercentage")) > 0);
    OK(str_find(owned(f, o, "old", "autoscaling/v1"), STR("f:metrics")) < 0);
    f->content_type = "application/apply-patch+yaml";
    const char *mine = "{\"apiVersion\":\"autoscaling/v2\",\"kind\":\"HorizontalPodAutoscaler\",\"spec\":{\"metrics\":[{\"type\":\"Resource\",\"resource\":"
                       "{\"name\":\"cpu\",\"target\":{\"type\":\"Utilization\",\"averageUtilization\":70}}}]}}";
    o = want(f, 409, "PATCH", HPA("v2") "/h?fieldManager=new", mine);
    EQ_STR(at(o, "details.causes.0.field"), STR(".spec.metrics"));
    OK(str_find(at(o, "message"), STR("conflict with \"old\" using autoscaling/v1: .spec.metrics")) > 0);
    o = want(f, 200, "PATCH", HPA("v2") "/h?fieldManager=new&force=true", mine);
    OK(str_find(owned(f, o, "new", "autoscaling/v2"), STR("f:metrics")) > 0);
    OK(str_find(owned(f, o, "old", "autoscaling/v1"), STR("f:maxReplicas")) > 0);
    OK(str_find(owned(f, o, "old", "autoscaling/v1"), STR("f:targetCPUUtilizationPercentage")) < 0);
    o = want(f, 409, "PATCH", HPA("v1") "/h?fieldManager=third",
        "{\"apiVersion\":\"autoscaling/v1\",\"kind\":\"HorizontalPodAutoscaler\",\"spec\":{\"targetCPUUtilizationPercentage\":20}}");
    EQ_STR(at(o, "details.causes.0.field"), STR(".spec.targetCPUUtilizationPercentage"));
    f->content_type = NULL;
    fixture_free(f);
}

TEST(an_events_fields_are_owned_in_the_words_of_its_api)
{
    struct fixture *f = fixture_new();
    want(f, 201, "POST", "/apis/events.k8s.io/v1/namespaces/default/events?fieldManager=r",
        "{\"metadata\":{\"name\":\"e\"},\"eventTime\":\"2026-01-01T00:00:00.000000Z\",\"reportingController\":\"c\",\"reportingInstance\":\"i\","
        "\"action\":\"a\",\"reason\":\"r\",\"type\":\"Normal\",\"note\":\"n\",\"regarding\":{\"kind\":\"Pod\",\"name\":\"p\",\"namespace\":\"default\"}}");
    struct json *o = want(f, 200, "GET", "/api/v1/namespaces/default/events/e", NULL);
    EQ_STR(at(o, "message"), STR("n"));
    struct str fields = owned(f, o, "r", "events.k8s.io/v1");
    OK(str_find(fields, STR("f:note")) > 0 && str_find(fields, STR("f:regarding")) > 0 && str_find(fields, STR("f:message")) < 0);
    f->content_type = "application/merge-patch+json";
    o = want(f, 200, "PATCH", "/api/v1/namespaces/default/events/e?fieldManager=s", "{\"message\":\"m\"}");
    f->content_type = NULL;
    OK(str_find(owned(f, o, "r", "events.k8s.io/v1"), STR("f:note")) < 0);
    EQ_STR(owned(f, o, "s", "v1"), STR("{\"f:message\":{}}"));
    fixture_free(f);
}

TEST(jobs_and_replication_controllers_leave_their_pods_unless_told_otherwise)
{
    struct fixture *f = fixture_new();
    const char *rcs = "/api/v1/namespaces/default/replicationcontrollers", *one = "/api/v1/namespaces/default/replicationcontrollers/r";
    const char *body = "{\"metadata\":{\"name\":\"r\"},\"spec\":{\"replicas\":0,\"selector\":{\"a\":\"b\"},\"template\":{\"metadata\":{\"labels\":{\"a\":"
                       "\"b\"}},\"spec\":{\"containers\":[{\"name\":\"c\",\"image\":\"i\"}]}}}}";
    want(f, 201, "POST", rcs, body);
    want(f, 200, "DELETE", one, "{\"propagationPolicy\":\"Background\"}");
    want(f, 404, "GET", one, NULL);
    want(f, 201, "POST", rcs, body);
    want(f, 200, "DELETE", one, NULL);
    EQ_STR(at(want(f, 200, "GET", one, NULL), "metadata.finalizers.0"), STR("orphan"));
    fixture_free(f);
}
