#include "harness.h"
#include "kinds/kinds.h"

static struct kind_ctx ctx(struct pool *p, const char *group, const char *version, const char *resource)
{
    static bool attached;
    static struct schema *s;
    if (!attached)
        kinds_attach();
    attached = true;
    if (!s)
        s = schema_builtin();
    return (struct kind_ctx){p, schema_find(s, str_of(group), str_of(version), str_of(resource)), STR(""), 0};
}

static struct json *parse(struct pool *p, const char *text)
{
    struct err *e = NULL;
    struct json *j;
    FINE(json_parse(p, str_of(text), NULL, &j, &e), e);
    return j;
}

TEST(an_autoscaler_goes_from_v2_to_v1_and_back_without_a_loss)
{
    struct pool *p = pool_new();
    struct kind_ctx c = ctx(p, "autoscaling", "v2", "horizontalpodautoscalers");
    struct err *e = NULL;
    struct json *j = parse(p,
        "{\"apiVersion\":\"autoscaling/"
        "v2\",\"kind\":\"HorizontalPodAutoscaler\",\"metadata\":{\"name\":\"h\"},\"spec\":{\"maxReplicas\":3,\"metrics\":["
        "{\"type\":\"Resource\",\"resource\":{\"name\":\"memory\",\"target\":{\"type\":\"AverageValue\",\"averageValue\":\"1Gi\"}}},"
        "{\"type\":\"Resource\",\"resource\":{\"name\":\"cpu\",\"target\":{\"type\":\"Utilization\",\"averageUtilization\":50}}}],"
        "\"behavior\":{\"scaleDown\":{\"selectPolicy\":\"Min\"}}},\"status\":{\"conditions\":[{\"type\":\"AbleToScale\",\"status\":"
        "\"True\"}]}}");
    struct json *spec = json_clone(p, json_get(j, STR("spec")));
    FINE(c.res->hooks->convert(&c, j, STR("autoscaling/v1"), &e), e);
    EQ(json_get_int(json_get(j, STR("spec")), "targetCPUUtilizationPercentage", 0), 50);
    OK(!json_path(j, "spec", "metrics", NULL));
    OK(!json_path(j, "spec", "behavior", NULL));
    OK(json_path(j, "metadata", "annotations", "autoscaling.alpha.kubernetes.io/metrics", NULL) != NULL);
    EQ_STR(json_get_str(j, "apiVersion"), STR("autoscaling/v1"));
    FINE(c.res->hooks->convert(&c, j, STR("autoscaling/v2"), &e), e);
    OK(json_equal(json_get(j, STR("spec")), spec));
    EQ_STR(json_get_str(json_at(json_path(j, "status", "conditions", NULL), 0), "type"), STR("AbleToScale"));
    OK(!json_path(j, "metadata", "annotations", NULL));
    pool_free(p);
}

TEST(the_two_event_apis_rename_the_same_facts)
{
    struct pool *p = pool_new();
    struct kind_ctx c = ctx(p, "", "v1", "events");
    struct err *e = NULL;
    const char *text = "{\"apiVersion\":\"v1\",\"kind\":\"Event\",\"metadata\":{\"name\":\"e\"},\"involvedObject\":{\"kind\":\"Pod\","
                       "\"name\":\"p\"},\"reason\":\"R\",\"message\":"
                       "\"m\",\"count\":2,\"source\":{\"component\":\"kubelet\"},\"reportingComponent\":\"x\"}";
    struct json *j = parse(p, text);
    FINE(c.res->hooks->convert(&c, j, STR("events.k8s.io/v1"), &e), e);
    EQ_STR(json_get_str(j, "note"), STR("m"));
    EQ_STR(json_str_at(j, "regarding", "name", NULL), STR("p"));
    EQ(json_get_int(j, "deprecatedCount", 0), 2);
    EQ_STR(json_get_str(j, "reportingController"), STR("x"));
    OK(!json_get(j, STR("message")) && !json_get(j, STR("involvedObject")));
    FINE(c.res->hooks->convert(&c, j, STR("v1"), &e), e);
    OK(json_equal(j, parse(p, text)));
    pool_free(p);
}

static void cells_are(const char *group, const char *resource, const char *doc, const char *want)
{
    struct pool *p = pool_new();
    struct kind_ctx c = ctx(p, group, "v1", resource);
    struct json *row = json_arr(p);
    kind_cells(&c, parse(p, doc), row);
    EQ_STR(json_to_pool(p, row), str_of(want));
    pool_free(p);
}

TEST(other_kinds_show_what_kubectl_users_know)
{
    cells_are("", "services",
        "{\"metadata\":{\"name\":\"s\"},\"spec\":{\"type\":\"NodePort\",\"clusterIPs\":[\"10.0.0.1\"],\"selector\":{\"b\":\"2\",\"a\":"
        "\"1\"},\"ports\":[{\"port\":80,\"nodePort\":"
        "30080,\"protocol\":\"TCP\"},{\"port\":53,\"protocol\":\"UDP\"}]}}",
        "[\"s\",\"NodePort\",\"10.0.0.1\",\"<none>\",\"80:30080/TCP,53/UDP\",\"<unknown>\",\"a=1,b=2\"]");
    cells_are("", "nodes",
        "{\"metadata\":{\"name\":\"n\",\"labels\":{\"node-role.kubernetes.io/control-plane\":\"\",\"node-role.kubernetes.io/"
        "edge\":\"\"}},\"spec\":{\"unschedulable\":true},"
        "\"status\":{\"conditions\":[{\"type\":\"Ready\",\"status\":\"True\"}],\"addresses\":[{\"type\":\"InternalIP\",\"address\":\"1.2.3."
        "4\"}],\"nodeInfo\":{\"kubeletVersion\":"
        "\"v1\",\"kernelVersion\":\"6.1\",\"architecture\":\"arm64\"}}}",
        "[\"n\",\"Ready,SchedulingDisabled\",\"control-plane,edge\",\"<unknown>\",\"v1\",\"1.2.3.4\",\"<none>\",\"<unknown>\",\"6.1 "
        "(arm64)\",\"<unknown>\"]");
    cells_are("apps", "deployments",
        "{\"metadata\":{\"name\":\"d\"},\"spec\":{\"replicas\":3,\"selector\":{\"matchLabels\":{\"a\":\"b\"}},\"template\":{\"spec\":{"
        "\"containers\":[{\"name\":\"x\",\"image\":\"i\"},"
        "{\"name\":\"y\",\"image\":\"j\"}]}}},\"status\":{\"readyReplicas\":1,\"updatedReplicas\":2}}",
        "[\"d\",\"1/3\",2,0,\"<unknown>\",\"x,y\",\"i,j\",\"a=b\"]");
    cells_are("batch", "jobs",
        "{\"metadata\":{\"name\":\"j\"},\"spec\":{\"completions\":2,\"template\":{\"spec\":{\"containers\":[{\"name\":\"x\",\"image\":"
        "\"i\"}]}}},\"status\":{\"succeeded\":1,"
        "\"startTime\":\"2024-01-01T00:00:00Z\",\"completionTime\":\"2024-01-01T00:05:30Z\",\"conditions\":[{\"type\":\"Complete\","
        "\"status\":\"True\"}]}}",
        "[\"j\",\"Complete\",\"1/2\",\"5m30s\",\"<unknown>\",\"x\",\"i\",\"<none>\"]");
}
