#include "fixture.h"

TEST(discovery_names_every_group_and_resource)
{
    struct fixture *f = fixture_new();
    EQ_STR(at(want(f, 200, "GET", "/api", NULL), "versions.0"), STR("v1"));
    struct json *o = want(f, 200, "GET", "/apis", NULL);
    EQ_STR(at(o, "kind"), STR("APIGroupList"));
    bool apps = false;
    json_for (json_get(o, STR("groups")), g)
        apps |= str_eqz(json_get_str(g, "name"), "apps");
    OK(apps);
    o = want(f, 200, "GET", "/apis/apps/v1", NULL);
    bool scale = false;
    json_for (json_get(o, STR("resources")), r)
        scale |= str_eqz(json_get_str(r, "name"), "deployments/scale") && str_eqz(json_get_str(r, "group"), "autoscaling");
    OK(scale);
    json_for (json_get(want(f, 200, "GET", "/api/v1", NULL), STR("resources")), r) {
        if (str_eqz(json_get_str(r, "name"), "pods"))
            EQ_STR(json_get_str(r, "storageVersionHash"), STR("xPOwRZ+Yhw8="));
        if (str_eqz(json_get_str(r, "name"), "pods/status") || str_eqz(json_get_str(r, "name"), "bindings"))
            OK(!json_get(r, STR("storageVersionHash")));
    }
    want(f, 404, "GET", "/apis/none/v1", NULL);
    fixture_free(f);
}

TEST(aggregated_discovery_has_an_etag_that_saves_the_second_fetch)
{
    struct fixture *f = fixture_new();
    f->accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json";
    struct answer a = ask(f, "GET", "/apis", NULL);
    EQ(a.status, 200);
    EQ_STR(at(a.json, "kind"), STR("APIGroupDiscoveryList"));
    EQ_STR(answer_header(&a, "content-type"), STR("application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"));
    OK(answer_header(&a, "etag").n > 10);
    f->accept = NULL;
    fixture_free(f);
}

TEST(health_version_and_openapi_answer)
{
    struct fixture *f = fixture_new();
    struct answer a = ask(f, "GET", "/readyz", NULL);
    EQ(a.status, 200);
    EQ_STR(a.body, STR("ok"));
    a = ask(f, "GET", "/readyz?verbose", NULL);
    OK(str_find(a.body, STR("[+]ping ok")) >= 0);
    a = ask(f, "GET", "/livez/ping", NULL);
    EQ(a.status, 200);
    EQ_STR(at(want(f, 200, "GET", "/version", NULL), "minor"), STR("36"));
    struct json *o = want(f, 200, "GET", "/openapi/v3", NULL);
    OK(str_starts(json_get_str(json_get(json_get(o, STR("paths")), STR("apis/apps/v1")), "serverRelativeURL"),
        STR("/openapi/v3/apis/apps/v1?hash=")));
    want(f, 200, "GET", "/openapi/v3/apis/apps/v1", NULL);
    a = ask(f, "GET", "/metrics", NULL);
    OK(str_find(a.body, STR("apiserver_request_total{")) >= 0);
    fixture_free(f);
}
