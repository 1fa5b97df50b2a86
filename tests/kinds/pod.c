#include "kinds/pod.h"

#include "base/clock.h"
#include "harness.h"
#include "kinds/kinds.h"

#define NOW (INT64_C(1767225600) * NS_PER_S) /* 2026-01-01T00:00:00Z */

static struct kind_ctx ctx(struct pool *p, const char *group, const char *resource)
{
    static bool attached;
    static struct schema *s;
    if (!attached)
        kinds_attach();
    attached = true;
    if (!s)
        s = schema_builtin();
    return (struct kind_ctx){p, schema_find(s, str_of(group), STR("v1"), str_of(resource)), STR(""), NOW};
}

static struct json *parse(struct pool *p, const char *text)
{
    struct err *e = NULL;
    struct json *j;
    FINE(json_parse(p, str_of(text), NULL, &j, &e), e);
    return j;
}

static void cells_are(const char *pod, const char *want)
{
    struct pool *p = pool_new();
    struct kind_ctx c = ctx(p, "", "pods");
    struct json *row = json_arr(p);
    kind_cells(&c, parse(p, pod), row);
    EQ(row->n, c.res->ncolumns);
    EQ_STR(json_to_pool(p, row), str_of(want));
    pool_free(p);
}

TEST(kubectl_get_pods_shows_what_the_statuses_say)
{
    cells_are("{\"metadata\":{\"name\":\"a\",\"creationTimestamp\":\"2025-12-31T23:55:00Z\"},\"spec\":{\"nodeName\":\"n\",\"containers\":[{"
              "\"name\":\"c\"}]},\"status\":{\"phase\":"
              "\"Running\",\"podIPs\":[{\"ip\":\"10.0.0.1\"}],\"containerStatuses\":[{\"name\":\"c\",\"ready\":true,\"restartCount\":2,"
              "\"state\":{\"running\":{}},"
              "\"lastState\":{\"terminated\":{\"finishedAt\":\"2025-12-31T23:59:00Z\"}}}]}}",
        "[\"a\",\"1/1\",\"Running\",\"2 (60s ago)\",\"5m\",\"10.0.0.1\",\"n\",\"<none>\",\"<none>\"]");
    cells_are("{\"metadata\":{\"name\":\"a\"},\"spec\":{\"containers\":[{\"name\":\"c\"}]},\"status\":{\"phase\":\"Running\","
              "\"containerStatuses\":[{\"name\":\"c\",\"restartCount\":0,"
              "\"state\":{\"waiting\":{\"reason\":\"CrashLoopBackOff\"}}}]}}",
        "[\"a\",\"0/1\",\"CrashLoopBackOff\",\"0\",\"<unknown>\",\"<none>\",\"<none>\",\"<none>\",\"<none>\"]");
    cells_are("{\"metadata\":{\"name\":\"a\"},\"spec\":{\"initContainers\":[{\"name\":\"i\"},{\"name\":\"j\"}],\"containers\":[{\"name\":"
              "\"c\"}]},\"status\":{\"phase\":\"Pending\","
              "\"initContainerStatuses\":[{\"name\":\"i\",\"state\":{\"terminated\":{\"exitCode\":0}}},{\"name\":\"j\",\"state\":{"
              "\"running\":{}}}]}}",
        "[\"a\",\"0/1\",\"Init:1/2\",\"0\",\"<unknown>\",\"<none>\",\"<none>\",\"<none>\",\"<none>\"]");
    cells_are("{\"metadata\":{\"name\":\"a\",\"deletionTimestamp\":\"2026-01-01T00:00:00Z\"},\"spec\":{\"containers\":[{\"name\":\"c\"}]},"
              "\"status\":{\"phase\":\"Running\"}}",
        "[\"a\",\"0/1\",\"Terminating\",\"0\",\"<unknown>\",\"<none>\",\"<none>\",\"<none>\",\"<none>\"]");
    cells_are("{\"metadata\":{\"name\":\"a\"},\"spec\":{\"containers\":[{\"name\":\"c\"}]},\"status\":{\"phase\":\"Succeeded\","
              "\"containerStatuses\":[{\"name\":\"c\",\"state\":"
              "{\"terminated\":{\"exitCode\":0,\"reason\":\"Completed\"}}}]}}",
        "[\"a\",\"0/1\",\"Completed\",\"0\",\"<unknown>\",\"<none>\",\"<none>\",\"<none>\",\"<none>\"]");
}

TEST(a_pod_projection_holds_what_the_scheduler_needs)
{
    struct pool *p = pool_new();
    struct kind_ctx c = ctx(p, "", "pods");
    struct json *pod = parse(p,
        "{\"metadata\":{\"name\":\"a\",\"namespace\":\"d\"},\"spec\":{\"nodeName\":\"n1\",\"schedulerName\":\"s\",\"priority\":7,"
        "\"restartPolicy\":\"Never\","
        "\"initContainers\":[{\"name\":\"i\",\"resources\":{\"requests\":{\"cpu\":\"2\"}}}],"
        "\"containers\":[{\"name\":\"c\",\"ports\":[{\"containerPort\":80,\"hostPort\":8080,\"protocol\":\"UDP\",\"name\":\"web\"}],"
        "\"env\":[{\"name\":\"E\",\"valueFrom\":{\"secretKeyRef\":{\"name\":\"sec\",\"key\":\"k\"}}}],"
        "\"resources\":{\"requests\":{\"cpu\":\"500m\",\"memory\":\"1Gi\"}}}],\"volumes\":[{\"name\":\"v\",\"configMap\":{\"name\":\"cm\"}}"
        "]},"
        "\"status\":{\"phase\":\"Running\",\"podIP\":\"10.1.1.1\",\"conditions\":[{\"type\":\"Ready\",\"status\":\"True\"}]}}");
    struct str block;
    c.res->hooks->project(p, pod, &block);
    const struct pod_view *v = (const void *)block.p;
    EQ(v->size, block.n);
    EQ(v->phase, POD_RUNNING);
    EQ(v->flags, POD_READY);
    EQ(v->qos, 1);
    EQ(v->npolicy, 2);
    EQ(v->cpu_milli, 2000);
    EQ(v->memory, INT64_C(1) << 30);
    EQ(v->priority, 7);
    EQ_STR(pod_view_get(v, v->node), STR("n1"));
    EQ_STR(pod_view_get(v, v->ip), STR("10.1.1.1"));
    EQ(v->nports, 1);
    const struct pod_view_port *port = (const void *)(block.p + v->ports_at);
    EQ(port->host_port, 8080);
    EQ(port->proto, 1);
    EQ_STR(pod_view_get(v, port->name), STR("web"));
    struct obj_index ix = {.pool = p};
    c.res->hooks->index(p, pod, &ix);
    EQ(ix.n, 3);
    EQ_STR(ix.items[0].key, STR("n1"));
    EQ_STR(ix.items[1].key, STR("Secret/d/sec"));
    EQ_STR(ix.items[2].key, STR("ConfigMap/d/cm"));
    pool_free(p);
}

/* Runs the write path: default, prepare, validate. Returns the message, or "" when fine. */
static struct str write_message(struct pool *p, const char *group, const char *resource, const char *doc, const char *old)
{
    struct kind_ctx c = ctx(p, group, resource);
    struct err *e = NULL;
    struct json *j = parse(p, doc), *was = old ? parse(p, old) : NULL;
    if (was) {
        kind_default(&c, was);
        FINE(kind_prepare(&c, was, NULL, &e), e);
    }
    kind_default(&c, j);
    FINE(kind_prepare(&c, j, was, &e), e);
    if (kind_validate(&c, j, was, &e) == 0)
        return STR("");
    struct str message = pool_str(p, str_of(e->message));
    err_free(e);
    return message;
}

#define POD(spec) "{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":{\"name\":\"a\",\"namespace\":\"d\"},\"spec\":" spec "}"

TEST(a_pod_takes_its_defaults)
{
    struct pool *p = pool_new();
    struct kind_ctx c = ctx(p, "", "pods");
    struct json *j = parse(p, POD("{\"containers\":[{\"name\":\"c\",\"image\":\"busybox\",\"resources\":{\"limits\":{\"cpu\":\"1\"}}}]}"));
    struct err *e = NULL;
    kind_default(&c, j);
    FINE(kind_prepare(&c, j, NULL, &e), e);
    FINE(kind_validate(&c, j, NULL, &e), e);
    EQ_STR(json_to_pool(p, j), STR("{\"kind\":\"Pod\",\"apiVersion\":\"v1\",\"metadata\":{\"name\":\"a\",\"namespace\":\"d\","
                                   "\"generation\":1},\"spec\":{\"containers\":[{\"name\":\"c\",\"image\":"
                                   "\"busybox\",\"resources\":{\"limits\":{\"cpu\":\"1\"},\"requests\":{\"cpu\":\"1\"}},"
                                   "\"terminationMessagePath\":\"/dev/termination-log\","
                                   "\"terminationMessagePolicy\":\"File\",\"imagePullPolicy\":\"Always\"}],\"restartPolicy\":\"Always\","
                                   "\"terminationGracePeriodSeconds\":30,"
                                   "\"dnsPolicy\":\"ClusterFirst\",\"securityContext\":{},\"schedulerName\":\"default-scheduler\","
                                   "\"enableServiceLinks\":true},\"status\":{\"phase\":\"Pending\","
                                   "\"qosClass\":\"Burstable\"}}"));
    pool_free(p);
}

TEST(invalid_pods_are_refused_in_kubernetes_words)
{
    struct pool *p = pool_new();
    EQ_STR(write_message(p, "", "pods", POD("{\"containers\":[{\"name\":\"c\",\"image\":\"x\"}]}"), NULL), STR(""));
    EQ_STR(write_message(p, "", "pods", POD("{\"containers\":[{\"name\":\"c\"}]}"), NULL),
        STR("Pod \"a\" is invalid: spec.containers[0].image: Required value"));
    EQ_STR(write_message(p, "", "pods", POD("{\"containers\":[]}"), NULL), STR("Pod \"a\" is invalid: spec.containers: Required value"));
    EQ_STR(write_message(p, "", "pods",
               POD("{\"containers\":[{\"name\":\"c\",\"image\":\"x\",\"volumeMounts\":[{\"name\":\"v\",\"mountPath\":\"/m\"}]}]}"), NULL),
        STR("Pod \"a\" is invalid: spec.containers[0].volumeMounts[0].name: Not found: \"v\""));
    EQ_STR(write_message(p, "", "pods",
               "{\"metadata\":{\"name\":\"A_b\",\"namespace\":\"d\"},\"spec\":{\"containers\":[{\"name\":\"c\",\"image\":\"x\"}]}}", NULL),
        STR("Pod \"A_b\" is invalid: metadata.name: Invalid value: \"A_b\": a lowercase RFC 1123 subdomain must consist of lower case "
            "alphanumeric characters, '-' or '.', "
            "and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is "
            "'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"));
    struct str changed = write_message(p, "", "pods", POD("{\"containers\":[{\"name\":\"c\",\"image\":\"x\",\"command\":[\"a\"]}]}"),
        POD("{\"containers\":[{\"name\":\"c\",\"image\":\"x\"}]}"));
    OK(str_starts(
        changed, STR("Pod \"a\" is invalid: spec: Forbidden: pod updates may not change fields other than `spec.containers[*].image`")));
    EQ_STR(write_message(p, "", "pods", POD("{\"containers\":[{\"name\":\"c\",\"image\":\"y\"}]}"),
               POD("{\"containers\":[{\"name\":\"c\",\"image\":\"x\"}]}")),
        STR(""));
    pool_free(p);
}

#define DEP(labels, extra)                                                                                                                 \
    "{\"apiVersion\":\"apps/v1\",\"kind\":\"Deployment\",\"metadata\":{\"name\":\"x\",\"namespace\":\"d\"},\"spec\":{" extra               \
    "\"selector\":{\"matchLabels\":{\"a\":\"b\"}},\"template\":{\"metadata\":{\"labels\":" labels                                          \
    "},\"spec\":{\"containers\":[{\"name\":\"c\",\"image\":\"i\"}]}}}}"

TEST(workloads_check_their_selector_and_template)
{
    struct pool *p = pool_new();
    EQ_STR(write_message(p, "apps", "deployments", DEP("{\"a\":\"b\"}", ""), NULL), STR(""));
    EQ_STR(write_message(p, "apps", "deployments", DEP("{\"a\":\"c\"}", ""), NULL),
        STR("Deployment.apps \"x\" is invalid: spec.template.metadata.labels: Invalid value: {\"a\":\"c\"}: `selector` does not match "
            "template `labels`"));
    EQ_STR(write_message(p, "apps", "deployments", DEP("{\"a\":\"b\"}", "\"replicas\":-1,"), NULL),
        STR("Deployment.apps \"x\" is invalid: spec.replicas: Invalid value: -1: must be greater than or equal to 0"));
    EQ_STR(write_message(p, "apps", "deployments", "{\"metadata\":{\"name\":\"x\",\"namespace\":\"d\"},\"spec\":{}}", NULL),
        STR("Deployment.apps \"x\" is invalid: [spec.selector: Required value, spec.template.spec.containers: Required value]"));
    pool_free(p);
}

TEST(services_allocate_nothing_twice_and_keep_their_address)
{
    struct pool *p = pool_new();
#define SVC(spec) "{\"metadata\":{\"name\":\"s\",\"namespace\":\"d\"},\"spec\":" spec "}"
    EQ_STR(write_message(p, "", "services", SVC("{\"ports\":[{\"port\":80}]}"), NULL), STR(""));
    EQ_STR(write_message(p, "", "services", SVC("{}"), NULL), STR("Service \"s\" is invalid: spec.ports: Required value"));
    EQ_STR(write_message(p, "", "services", SVC("{\"ports\":[{\"port\":0}]}"), NULL),
        STR("Service \"s\" is invalid: [spec.ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive, "
            "spec.ports[0].targetPort: Invalid value: 0: must be "
            "between 1 and 65535, inclusive]"));
    EQ_STR(write_message(p, "", "services", SVC("{\"clusterIP\":\"10.0.0.2\",\"ports\":[{\"port\":80}]}"),
               SVC("{\"clusterIP\":\"10.0.0.1\",\"ports\":[{\"port\":80}]}")),
        STR("Service \"s\" is invalid: spec.clusterIPs: Invalid value: [\"10.0.0.2\"]: may not change once set"));
    EQ_STR(
        write_message(p, "", "services", SVC("{\"ports\":[{\"port\":81}]}"), SVC("{\"clusterIP\":\"10.0.0.1\",\"ports\":[{\"port\":80}]}")),
        STR(""));
    pool_free(p);
}

TEST(metadata_rules_hold_for_every_kind)
{
    struct pool *p = pool_new();
    EQ_STR(write_message(p, "", "configmaps", "{\"metadata\":{\"namespace\":\"d\"}}", NULL),
        STR("ConfigMap \"\" is invalid: metadata.name: Required value: name or generateName is required"));
    EQ_STR(write_message(p, "", "namespaces", "{\"metadata\":{\"name\":\"a\",\"namespace\":\"d\"}}", NULL),
        STR("Namespace \"a\" is invalid: metadata.namespace: Forbidden: not allowed on this type"));
    EQ_STR(write_message(p, "", "configmaps", "{\"metadata\":{\"name\":\"a\",\"namespace\":\"d\",\"uid\":\"2\"}}",
               "{\"metadata\":{\"name\":\"a\",\"namespace\":\"d\",\"uid\":\"1\"}}"),
        STR("ConfigMap \"a\" is invalid: metadata.uid: Invalid value: \"2\": field is immutable"));
    EQ_STR(write_message(p, "", "configmaps", "{\"metadata\":{\"name\":\"a\",\"namespace\":\"d\"},\"data\":{\"a/b\":\"\"}}", NULL),
        STR("ConfigMap \"a\" is invalid: data[a/b]: Invalid value: \"a/b\": a valid config key must consist of alphanumeric characters, "
            "'-', '_' or '.' (e.g. 'key.name',  or "
            "'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')"));
    EQ_STR(
        write_message(p, "", "configmaps", "{\"immutable\":true,\"metadata\":{\"name\":\"a\",\"namespace\":\"d\"},\"data\":{\"a\":\"1\"}}",
            "{\"immutable\":true,\"metadata\":{\"name\":\"a\",\"namespace\":\"d\"},\"data\":{\"a\":\"2\"}}"),
        STR("ConfigMap \"a\" is invalid: data: Forbidden: field is immutable when `immutable` is set"));
    pool_free(p);
}

TEST(every_kind_makes_one_cell_per_column)
{
    struct pool *p = pool_new();
    struct kind_ctx c = ctx(p, "", "pods");
    struct schema *s = schema_builtin();
    const struct schema_resource *r;
    for (size_t i = 0; (r = schema_at(s, i)); i++) {
        if (!r->ncolumns)
            continue;
        c.res = r;
        struct json *row = json_arr(p), *doc = parse(p, "{\"metadata\":{\"name\":\"n\"}}");
        kind_default(&c, doc);
        kind_cells(&c, doc, row);
        if (row->n != r->ncolumns)
            test_fail(__FILE__, __LINE__, "%.*s has %u cells for %u columns", STR_ARG(r->resource), row->n, r->ncolumns);
    }
    schema_unref(s);
    pool_free(p);
}

TEST(field_selectors_read_the_document)
{
    struct pool *p = pool_new();
    struct kind_ctx c = ctx(p, "", "pods");
    struct json *j = parse(p, "{\"metadata\":{\"name\":\"a\"},\"spec\":{\"nodeName\":\"n\"}}");
    struct str v;
    OK(kind_field(c.res, j, STR("spec.nodeName"), &v));
    EQ_STR(v, STR("n"));
    OK(kind_field(c.res, j, STR("status.phase"), &v));
    EQ_STR(v, STR(""));
    OK(kind_field(c.res, j, STR("spec.hostNetwork"), &v));
    EQ_STR(v, STR("false"));
    OK(!kind_field(c.res, j, STR("spec.foo"), &v));
    pool_free(p);
}

TEST(a_status_write_changes_status_only_and_a_spec_write_raises_the_generation)
{
    struct pool *p = pool_new();
    struct kind_ctx c = ctx(p, "apps", "deployments");
    struct err *e = NULL;
    struct json *old = parse(p, DEP("{\"a\":\"b\"}", "\"replicas\":1,"));
    kind_default(&c, old);
    FINE(kind_prepare(&c, old, NULL, &e), e);
    struct json *next = json_clone(p, old);
    json_set_int(p, json_get(next, STR("spec")), STR("replicas"), 2);
    json_set_int(p, json_put_obj(p, next, STR("status")), STR("replicas"), 9);
    FINE(kind_prepare(&c, next, old, &e), e);
    EQ(json_get_int(json_get(next, STR("metadata")), "generation", 0), 2);
    OK(!json_path(next, "status", "replicas", NULL));
    c.sub = STR("status");
    struct json *st = json_clone(p, old);
    json_set_int(p, json_get(st, STR("spec")), STR("replicas"), 7);
    json_set_int(p, json_put_obj(p, st, STR("status")), STR("replicas"), 9);
    FINE(kind_prepare(&c, st, old, &e), e);
    EQ(json_get_int(json_get(st, STR("spec")), "replicas", 0), 1);
    EQ(json_get_int(json_get(st, STR("status")), "replicas", 0), 9);
    EQ(json_get_int(json_get(st, STR("metadata")), "generation", 0), 1);
    pool_free(p);
}

TEST(kubectl_get_clusters_tells_who_is_connected)
{
    struct pool *p = pool_new();
    struct schema *hub = schema_hub();
    ctx(p, "", "pods");
    struct kind_ctx c = {p, schema_find(hub, STR("management.cattle.io"), STR("v3"), STR("clusters")), STR(""), NOW};
    struct json *row = json_arr(p);
    kind_cells(&c,
        parse(p, "{\"metadata\":{\"name\":\"c-1\",\"creationTimestamp\":\"2025-12-31T00:00:00Z\"},\"spec\":{\"displayName\":\"shop\"},"
                 "\"status\":{\"nodeCount\":2,"
                 "\"version\":{\"gitVersion\":\"v1.36.0\"},\"conditions\":[{\"type\":\"Connected\",\"status\":\"False\",\"lastUpdateTime\":"
                 "\"2025-12-31T23:59:50Z\"}]}}"),
        row);
    EQ_STR(json_to_pool(p, row), STR("[\"c-1\",\"shop\",\"Disconnected\",\"v1.36.0\",2,\"10s\",\"24h\",\"\",\"\"]"));
    EQ(row->n, c.res->ncolumns);
    schema_unref(hub);
    pool_free(p);
}
