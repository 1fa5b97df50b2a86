#include "fixture.h"

#define CM "/api/v1/namespaces/default/configmaps"

static void make(struct fixture *f, int n)
{
    for (int i = 0; i < n; i++) {
        struct str body = pool_printf(f->pool, "{\"metadata\":{\"name\":\"c%02d\",\"labels\":{\"odd\":\"%s\"}}}", i, i % 2 ? "yes" : "no");
        want(f, 201, "POST", CM, body.p);
    }
}

TEST(pages_stay_on_their_root)
{
    struct fixture *f = fixture_new();
    make(f, 10);
    struct json *one = want(f, 200, "GET", CM "?limit=4", NULL);
    EQ(json_count(json_get(one, STR("items"))), 4);
    EQ_STR(at(one, "metadata.remainingItemCount"), STR("6"));
    want(f, 200, "DELETE", CM "/c05", NULL);
    want(f, 201, "POST", CM, "{\"metadata\":{\"name\":\"c045\"}}");
    struct str path = pool_printf(f->pool, CM "?limit=4&continue=%.*s", STR_ARG(at(one, "metadata.continue")));
    struct json *two = want(f, 200, "GET", path.p, NULL);
    EQ_STR(at(two, "items.0.metadata.name"), STR("c04"));
    EQ_STR(at(two, "items.1.metadata.name"), STR("c05"));
    EQ_STR(at(two, "metadata.remainingItemCount"), STR("2"));
    EQ_STR(at(two, "metadata.resourceVersion"), at(one, "metadata.resourceVersion"));
    path = pool_printf(f->pool, CM "?limit=4&continue=%.*s", STR_ARG(at(two, "metadata.continue")));
    struct json *three = want(f, 200, "GET", path.p, NULL);
    EQ(json_count(json_get(three, STR("items"))), 2);
    EQ_STR(at(three, "metadata.continue"), STR(""));
    fixture_free(f);
}

static struct str raw_list(struct fixture *f, const char *path)
{
    struct answer a = ask(f, "GET", path, NULL);
    EQ(a.status, 200);
    return a.body;
}

TEST(a_list_asked_for_again_is_the_same_and_a_change_of_its_resource_shows_at_once)
{
    struct fixture *f = fixture_new();
    make(f, 6);
    struct str first = raw_list(f, CM "?limit=4"), rv = at(want(f, 200, "GET", CM "?limit=4", NULL), "metadata.resourceVersion");
    for (int i = 0; i < 4; i++)
        EQ_STR(raw_list(f, CM "?limit=4"), first);
    /* another resource's write moves the list's revision, not its items */
    want(f, 201, "POST", "/api/v1/namespaces/default/serviceaccounts", "{\"metadata\":{\"name\":\"other\"}}");
    struct json *again = want(f, 200, "GET", CM "?limit=4", NULL);
    OK(!str_eq(at(again, "metadata.resourceVersion"), rv));
    EQ(json_count(json_get(again, STR("items"))), 4);
    EQ_STR(at(again, "metadata.remainingItemCount"), STR("2"));
    struct json *rest = want(f, 200, "GET", pool_printf(f->pool, CM "?limit=4&continue=%.*s", STR_ARG(at(again, "metadata.continue"))).p, NULL);
    EQ_STR(at(rest, "items.0.metadata.name"), STR("c04"));
    /* and its own show, whatever they are */
    want(f, 200, "DELETE", CM "/c01", NULL);
    EQ_STR(at(want(f, 200, "GET", CM "?limit=4", NULL), "items.1.metadata.name"), STR("c02"));
    want(f, 201, "POST", CM, "{\"metadata\":{\"name\":\"c01\"},\"data\":{\"k\":\"v\"}}");
    for (int i = 0; i < 3; i++)
        EQ_STR(at(want(f, 200, "GET", CM "?limit=4", NULL), "items.1.data.k"), STR("v"));
    /* namespaces and selectors are lists of their own */
    EQ(json_count(json_get(want(f, 200, "GET", CM "?labelSelector=odd%3Dyes", NULL), STR("items"))), 2);
    EQ(json_count(json_get(want(f, 200, "GET", "/api/v1/namespaces/kube-system/configmaps?limit=4", NULL), STR("items"))),
        json_count(json_get(want(f, 200, "GET", "/api/v1/namespaces/kube-system/configmaps?limit=4", NULL), STR("items"))));
    EQ(json_count(json_get(want(f, 200, "GET", CM "?labelSelector=odd%3Dyes", NULL), STR("items"))), 2);
    fixture_free(f);
}

TEST(a_token_of_a_forgotten_root_is_told_to_have_expired)
{
    struct fixture *f = fixture_new();
    make(f, 3);
    struct buf b = BUF_INIT;
    struct str text = STR("{\"v\":\"meta.k8s.io/v1\",\"rv\":1,\"start\":\"default/c00\\u0000\"}");
    buf_base64url(&b, text.p, text.n);
    struct json *o = want(f, 410, "GET", pool_printf(f->pool, CM "?limit=1&continue=%s", b.p).p, NULL);
    buf_clear(&b);
    EQ_STR(at(o, "reason"), STR("Expired"));
    OK(at(o, "metadata.continue").n > 0);
    o = want(f, 200, "GET", pool_printf(f->pool, CM "?limit=10&continue=%.*s", STR_ARG(at(o, "metadata.continue"))).p, NULL);
    EQ_STR(at(o, "items.0.metadata.name"), STR("c01"));
    fixture_free(f);
}

TEST(a_token_whose_root_is_kept_no_more_expires_though_nothing_changed)
{
    struct fixture *f = fixture_new();
    make(f, 3);
    struct str rv = at(want(f, 200, "GET", CM, NULL), "metadata.resourceVersion");
    struct buf b = BUF_INIT;
    struct str text = pool_printf(f->pool, "{\"v\":\"meta.k8s.io/v1\",\"rv\":%.*s,\"start\":\"default/c00\\u0000\"}", STR_ARG(rv));
    buf_base64url(&b, text.p, text.n);
    struct json *o = want(f, 410, "GET", pool_printf(f->pool, CM "?limit=1&continue=%s", b.p).p, NULL);
    buf_clear(&b);
    o = want(f, 200, "GET", pool_printf(f->pool, CM "?limit=1&continue=%.*s", STR_ARG(at(o, "metadata.continue"))).p, NULL);
    EQ_STR(at(o, "items.0.metadata.name"), STR("c01"));
    EQ_STR(at(o, "metadata.remainingItemCount"), STR("1"));
    fixture_free(f);
}

TEST(selectors_choose)
{
    struct fixture *f = fixture_new();
    make(f, 6);
    EQ(json_count(json_get(want(f, 200, "GET", CM "?labelSelector=odd%3Dyes", NULL), STR("items"))), 3);
    EQ(json_count(json_get(want(f, 200, "GET", CM "?labelSelector=odd+in+(yes,no),!x", NULL), STR("items"))), 6);
    EQ(json_count(json_get(want(f, 200, "GET", CM "?fieldSelector=metadata.name%3Dc03", NULL), STR("items"))), 1);
    EQ(json_count(json_get(want(f, 200, "GET", CM "?fieldSelector=metadata.name%21%3Dc03", NULL), STR("items"))), 5);
    EQ(json_count(json_get(want(f, 200, "GET", "/api/v1/configmaps?fieldSelector=metadata.namespace%3Ddefault", NULL), STR("items"))), 6);
    want(f, 200, "DELETE", CM "?labelSelector=odd%3Dyes", NULL);
    EQ(json_count(json_get(want(f, 200, "GET", CM, NULL), STR("items"))), 3);
    fixture_free(f);
}

TEST(exact_and_not_older_lists_follow_the_rules)
{
    struct fixture *f = fixture_new();
    make(f, 2);
    struct json *l = want(f, 200, "GET", CM, NULL);
    struct str rv = at(l, "metadata.resourceVersion");
    want(f, 200, "GET", pool_printf(f->pool, CM "?resourceVersion=%.*s&resourceVersionMatch=Exact", STR_ARG(rv)).p, NULL);
    want(f, 200, "GET", CM "?resourceVersion=0", NULL);
    want(f, 200, "GET", pool_printf(f->pool, CM "?resourceVersion=%.*s&resourceVersionMatch=NotOlderThan", STR_ARG(rv)).p, NULL);
    want(f, 200, "DELETE", CM "/c00", NULL);
    want(f, 410, "GET", pool_printf(f->pool, CM "?resourceVersion=%.*s&resourceVersionMatch=Exact", STR_ARG(rv)).p, NULL);
    want(f, 422, "GET", CM "?resourceVersionMatch=Exact", NULL);
    want(f, 422, "GET", CM "?resourceVersion=1&resourceVersionMatch=Sometimes", NULL);
    fixture_free(f);
}

TEST(tables_partial_metadata_and_yaml_are_served)
{
    struct fixture *f = fixture_new();
    make(f, 2);
    f->accept = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";
    struct json *t = want(f, 200, "GET", CM, NULL);
    EQ_STR(at(t, "kind"), STR("Table"));
    EQ_STR(at(t, "columnDefinitions.0.name"), STR("Name"));
    EQ_STR(at(t, "rows.1.cells.0"), STR("c01"));
    EQ_STR(at(t, "rows.1.object.kind"), STR("PartialObjectMetadata"));
    t = want(f, 200, "GET", CM "/c00", NULL);
    EQ_STR(at(t, "rows.0.cells.0"), STR("c00"));
    f->accept = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io";
    t = want(f, 200, "GET", CM, NULL);
    EQ_STR(at(t, "kind"), STR("PartialObjectMetadataList"));
    EQ_STR(at(t, "items.0.kind"), STR("PartialObjectMetadata"));
    f->accept = "application/yaml";
    struct answer a = ask(f, "GET", CM "/c00", NULL);
    EQ_STR(answer_header(&a, "content-type"), STR("application/yaml"));
    OK(str_find(a.body, STR("kind: ConfigMap\n")) >= 0);
    f->accept = "application/vnd.kubernetes.protobuf";
    a = ask(f, "GET", CM, NULL);
    EQ_STR(answer_header(&a, "content-type"), STR("application/vnd.kubernetes.protobuf"));
    OK(a.body.n > 4 && memcmp(a.body.p, "k8s", 4) == 0);
    fixture_free(f);
}

TEST(pods_are_chosen_by_node_and_phase)
{
    struct fixture *f = fixture_new();
    const char *pods = "/api/v1/namespaces/default/pods";
    want(f, 201, "POST", "/api/v1/namespaces/default/serviceaccounts", "{\"metadata\":{\"name\":\"default\"}}");
    want(f, 201, "POST", pods, "{\"metadata\":{\"name\":\"a\"},\"spec\":{\"nodeName\":\"n\",\"containers\":[{\"name\":\"c\",\"image\":\"i\"}]}}");
    want(f, 201, "POST", pods, "{\"metadata\":{\"name\":\"b\"},\"spec\":{\"containers\":[{\"name\":\"c\",\"image\":\"i\"}]}}");
    struct json *l = want(f, 200, "GET", "/api/v1/pods?fieldSelector=spec.nodeName%3Dn", NULL);
    EQ(json_count(json_get(l, STR("items"))), 1);
    EQ_STR(at(l, "items.0.metadata.name"), STR("a"));
    EQ(json_count(json_get(want(f, 200, "GET", "/api/v1/pods?fieldSelector=spec.nodeName%3D,status.phase%3DPending", NULL), STR("items"))), 1);
    EQ(json_count(json_get(want(f, 200, "GET", "/api/v1/pods?fieldSelector=status.phase%21%3DRunning,spec.restartPolicy%3DAlways", NULL), STR("items"))), 2);
    fixture_free(f);
}

TEST(events_are_chosen_in_the_words_of_either_api)
{
    struct fixture *f = fixture_new();
    want(f, 201, "POST", "/apis/events.k8s.io/v1/namespaces/default/events",
        "{\"metadata\":{\"name\":\"e\"},\"eventTime\":\"2026-01-01T00:00:00.000000Z\",\"reportingController\":\"c\",\"reportingInstance\":\"i\","
        "\"action\":\"a\",\"reason\":\"r\",\"type\":\"Normal\",\"regarding\":{\"kind\":\"Pod\",\"name\":\"p\",\"namespace\":\"default\"}}");
    static const char *const paths[] = {"/api/v1/events?fieldSelector=source%3Dc", "/api/v1/events?fieldSelector=reportingComponent%3Dc",
        "/api/v1/events?fieldSelector=involvedObject.kind%3DPod,involvedObject.name%3Dp", "/apis/events.k8s.io/v1/events?fieldSelector=regarding.kind%3DPod",
        "/apis/events.k8s.io/v1/events?fieldSelector=reportingController%3Dc,regarding.name%3Dp"};
    for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
        EQ(json_count(json_get(want(f, 200, "GET", paths[i], NULL), STR("items"))), 1);
        struct str other = pool_printf(f->pool, "%sx", paths[i]);
        EQ(json_count(json_get(want(f, 200, "GET", other.p, NULL), STR("items"))), 0);
    }
    fixture_free(f);
}
