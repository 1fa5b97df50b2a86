#include "fixture.h"

#define SVC "/api/v1/namespaces/default/services"
#define PODS "/api/v1/namespaces/default/pods"

TEST(services_get_addresses_and_ports_that_nobody_else_has)
{
    struct fixture *f = fixture_new();
    struct json *a =
        want(f, 201, "POST", SVC, "{\"metadata\":{\"name\":\"a\"},\"spec\":{\"type\":\"NodePort\",\"ports\":[{\"port\":80}]}}");
    OK(str_starts(at(a, "spec.clusterIP"), STR("10.43.")));
    EQ_STR(at(a, "spec.clusterIPs.0"), at(a, "spec.clusterIP"));
    EQ_STR(at(a, "spec.ipFamilyPolicy"), STR("SingleStack"));
    uint64_t port = 0;
    OK(str_to_u64(at(a, "spec.ports.0.nodePort"), &port) && port >= 30000 && port <= 32767);
    struct str body = pool_printf(f->pool, "{\"metadata\":{\"name\":\"b\"},\"spec\":{\"clusterIP\":\"%.*s\",\"ports\":[{\"port\":80}]}}",
        STR_ARG(at(a, "spec.clusterIP")));
    struct json *o = want(f, 422, "POST", SVC, body.p);
    OK(str_find(at(o, "message"), STR("provided IP is already allocated")) >= 0);
    struct str taken = pool_printf(f->pool,
        "{\"metadata\":{\"name\":\"b\"},\"spec\":{\"type\":\"NodePort\",\"ports\":[{\"port\":80,\"nodePort\":%" PRIu64 "}]}}", port);
    want(f, 422, "POST", SVC, taken.p);
    want(f, 200, "DELETE", SVC "/a", NULL);
    want(f, 201, "POST", SVC, taken.p); /* given back */
    want(f, 422, "POST", SVC, "{\"metadata\":{\"name\":\"c\"},\"spec\":{\"clusterIP\":\"192.168.0.1\",\"ports\":[{\"port\":80}]}}");
    o = want(f, 201, "POST", SVC, "{\"metadata\":{\"name\":\"h\"},\"spec\":{\"clusterIP\":\"None\",\"ports\":[{\"port\":80}]}}");
    EQ_STR(at(o, "spec.clusterIP"), STR("None"));
    o = want(f, 201, "POST", SVC "?dryRun=All",
        "{\"metadata\":{\"name\":\"fixed\"},\"spec\":{\"clusterIP\":\"10.43.0.77\",\"ports\":[{\"port\":80}]}}");
    want(f, 201, "POST", SVC,
        "{\"metadata\":{\"name\":\"fixed\"},\"spec\":{\"clusterIP\":\"10.43.0.77\",\"ports\":[{\"port\":80}]}}"); /* the dry run took
                                                                                                                     nothing */
    fixture_free(f);
}

TEST(an_update_keeps_the_address_and_cannot_change_it)
{
    struct fixture *f = fixture_new();
    struct json *a = want(f, 201, "POST", SVC, "{\"metadata\":{\"name\":\"a\"},\"spec\":{\"ports\":[{\"port\":80}]}}");
    struct json *b = want(f, 200, "PUT", SVC "/a", "{\"metadata\":{\"name\":\"a\"},\"spec\":{\"ports\":[{\"port\":81}]}}");
    EQ_STR(at(a, "spec.clusterIP"), at(b, "spec.clusterIP"));
    want(f, 422, "PUT", SVC "/a", "{\"metadata\":{\"name\":\"a\"},\"spec\":{\"clusterIP\":\"10.43.7.7\",\"ports\":[{\"port\":81}]}}");
    fixture_free(f);
}

TEST(the_kubernetes_service_and_its_slice_are_there)
{
    struct fixture *f = fixture_new();
    EQ_STR(at(want(f, 200, "GET", SVC "/kubernetes", NULL), "spec.clusterIP"), STR("10.43.0.1"));
    EQ_STR(
        at(want(f, 200, "GET", "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/kubernetes", NULL), "endpoints.0.addresses.0"),
        STR("192.0.2.1"));
    fixture_free(f);
}

TEST(a_pod_is_given_its_service_accounts_token)
{
    struct fixture *f = fixture_new();
    struct json *o =
        want(f, 403, "POST", PODS, "{\"metadata\":{\"name\":\"p\"},\"spec\":{\"containers\":[{\"name\":\"c\",\"image\":\"i\"}]}}");
    EQ_STR(at(o, "message"),
        STR("pods \"p\" is forbidden: error looking up service account default/default: serviceaccount \"default\" not found"));
    want(f, 201, "POST", "/api/v1/namespaces/default/serviceaccounts",
        "{\"metadata\":{\"name\":\"default\"},\"imagePullSecrets\":[{\"name\":\"reg\"}]}");
    o = want(f, 201, "POST", PODS, "{\"metadata\":{\"name\":\"p\"},\"spec\":{\"containers\":[{\"name\":\"c\",\"image\":\"i\"}]}}");
    EQ_STR(at(o, "spec.serviceAccountName"), STR("default"));
    OK(str_starts(at(o, "spec.volumes.0.name"), STR("kube-api-access-")));
    EQ_STR(at(o, "spec.containers.0.volumeMounts.0.mountPath"), STR("/var/run/secrets/kubernetes.io/serviceaccount"));
    EQ_STR(at(o, "spec.imagePullSecrets.0.name"), STR("reg"));
    EQ_STR(at(o, "spec.priority"), STR("0"));
    EQ_STR(at(o, "spec.tolerations.0.key"), STR("node.kubernetes.io/not-ready"));
    o = want(f, 201, "POST", PODS,
        "{\"metadata\":{\"name\":\"q\"},\"spec\":{\"automountServiceAccountToken\":false,\"priorityClassName\":\"system-node-critical\","
        "\"containers\":[{\"name\":\"c\",\"image\":\"i\"}]}}");
    EQ(json_count(json_path(o, "spec", "volumes", NULL)), 0);
    EQ_STR(at(o, "spec.priority"), STR("2000001000"));
    want(f, 403, "POST", PODS,
        "{\"metadata\":{\"name\":\"r\"},\"spec\":{\"priorityClassName\":\"none\",\"containers\":[{\"name\":\"c\",\"image\":\"i\"}]}}");
    fixture_free(f);
}

TEST(a_quota_counts_claims_by_class_and_pods_that_look_into_other_namespaces)
{
    struct fixture *f = fixture_new();
    const char *quotas = "/api/v1/namespaces/default/resourcequotas", *claims = "/api/v1/namespaces/default/persistentvolumeclaims";
    want(f, 201, "POST", "/api/v1/namespaces/default/serviceaccounts", "{\"metadata\":{\"name\":\"default\"}}");
    want(f, 201, "POST", quotas,
        "{\"metadata\":{\"name\":\"q\"},\"spec\":{\"hard\":{\"gold.storageclass.storage.k8s.io/requests.storage\":\"3Gi\","
        "\"gold.storageclass.storage.k8s.io/persistentvolumeclaims\":\"1\"}}}");
    struct str gold = pool_printf(f->pool, "{\"metadata\":{\"generateName\":\"c-\"},\"spec\":{\"storageClassName\":\"gold\",\"accessModes\":"
                                           "[\"ReadWriteOnce\"],\"resources\":{\"requests\":{\"storage\":\"2Gi\"}}}}");
    struct str tin = pool_printf(f->pool, "{\"metadata\":{\"generateName\":\"c-\"},\"spec\":{\"storageClassName\":\"tin\",\"accessModes\":"
                                          "[\"ReadWriteOnce\"],\"resources\":{\"requests\":{\"storage\":\"2Gi\"}}}}");
    want(f, 201, "POST", claims, gold.p);
    struct json *o = want(f, 403, "POST", claims, gold.p);
    OK(str_find(at(o, "message"), STR("gold.storageclass.storage.k8s.io/persistentvolumeclaims=1")) > 0);
    want(f, 201, "POST", claims, tin.p);
    want(f, 201, "POST", quotas,
        "{\"metadata\":{\"name\":\"abroad\"},\"spec\":{\"hard\":{\"pods\":\"0\"},\"scopeSelector\":{\"matchExpressions\":[{\"scopeName\":"
        "\"CrossNamespacePodAffinity\",\"operator\":\"Exists\"}]}}}");
    const char *pod = "{\"metadata\":{\"name\":\"p\"},\"spec\":{\"containers\":[{\"name\":\"c\",\"image\":\"i\"}],\"affinity\":{\"podAntiAffinity\":"
                      "{\"requiredDuringSchedulingIgnoredDuringExecution\":[{\"topologyKey\":\"z\",\"namespaces\":[\"other\"]}]}}}}";
    want(f, 403, "POST", PODS, pod);
    want(f, 201, "POST", PODS,
        "{\"metadata\":{\"name\":\"p\"},\"spec\":{\"containers\":[{\"name\":\"c\",\"image\":\"i\"}],\"affinity\":{\"podAntiAffinity\":"
        "{\"requiredDuringSchedulingIgnoredDuringExecution\":[{\"topologyKey\":\"z\"}]}}}}");
    fixture_free(f);
}

TEST(a_quota_counts_what_is_there_and_what_comes)
{
    struct fixture *f = fixture_new();
    want(f, 201, "POST", "/api/v1/namespaces/default/resourcequotas",
        "{\"metadata\":{\"name\":\"q\"},\"spec\":{\"hard\":{\"configmaps\":\"2\",\"requests.cpu\":\"1\"}}}");
    want(f, 201, "POST", "/api/v1/namespaces/default/configmaps", "{\"metadata\":{\"name\":\"a\"}}");
    want(f, 201, "POST", "/api/v1/namespaces/default/configmaps", "{\"metadata\":{\"name\":\"b\"}}");
    struct json *o = want(f, 403, "POST", "/api/v1/namespaces/default/configmaps", "{\"metadata\":{\"name\":\"c\"}}");
    EQ_STR(at(o, "message"),
        STR("configmaps \"c\" is forbidden: exceeded quota: q, requested: configmaps=1, used: configmaps=2, limited: configmaps=2"));
    want(f, 201, "POST", "/api/v1/namespaces/default/serviceaccounts", "{\"metadata\":{\"name\":\"default\"}}");
    want(f, 403, "POST", PODS, "{\"metadata\":{\"name\":\"p\"},\"spec\":{\"containers\":[{\"name\":\"c\",\"image\":\"i\"}]}}");
    want(f, 201, "POST", PODS,
        "{\"metadata\":{\"name\":\"p\"},\"spec\":{\"containers\":[{\"name\":\"c\",\"image\":\"i\",\"resources\":{\"requests\":{\"cpu\":"
        "\"600m\"}}}]}}");
    want(f, 403, "POST", PODS,
        "{\"metadata\":{\"name\":\"q\"},\"spec\":{\"containers\":[{\"name\":\"c\",\"image\":\"i\",\"resources\":{\"requests\":{\"cpu\":"
        "\"600m\"}}}]}}");
    fixture_free(f);
}

TEST(pod_security_enforces_the_namespaces_level)
{
    struct fixture *f = fixture_new();
    want(f, 201, "POST", "/api/v1/namespaces",
        "{\"metadata\":{\"name\":\"safe\",\"labels\":{\"pod-security.kubernetes.io/enforce\":\"baseline\",\"pod-security.kubernetes.io/"
        "warn\":\"restricted\"}}}");
    want(f, 201, "POST", "/api/v1/namespaces/safe/serviceaccounts", "{\"metadata\":{\"name\":\"default\"}}");
    struct json *o = want(f, 403, "POST", "/api/v1/namespaces/safe/pods",
        "{\"metadata\":{\"name\":\"p\"},\"spec\":{\"hostNetwork\":true,\"containers\":[{\"name\":\"c\",\"image\":\"i\",\"securityContext\":"
        "{\"privileged\":true}}]}}");
    OK(str_find(at(o, "message"),
           STR("violates PodSecurity \"baseline:latest\": host namespaces (hostNetwork=true), privileged (container \"c\"")) >= 0);
    struct answer a = ask(f, "POST", "/api/v1/namespaces/safe/pods",
        "{\"metadata\":{\"name\":\"q\"},\"spec\":{\"containers\":[{\"name\":\"c\",\"image\":\"i\"}]}}");
    EQ(a.status, 201);
    OK(str_find(answer_header(&a, "warning"), STR("would violate PodSecurity")) >= 0);
    fixture_free(f);
}

TEST(a_namespace_goes_when_its_finalizer_is_taken_off)
{
    struct fixture *f = fixture_new();
    want(f, 201, "POST", "/api/v1/namespaces", "{\"metadata\":{\"name\":\"x\"}}");
    struct json *o = want(f, 200, "DELETE", "/api/v1/namespaces/x", NULL);
    EQ_STR(at(o, "status.phase"), STR("Terminating"));
    o = want(f, 403, "POST", "/api/v1/namespaces/x/configmaps", "{\"metadata\":{\"name\":\"a\"}}");
    OK(str_find(at(o, "message"), STR("because it is being terminated")) >= 0);
    want(f, 200, "PUT", "/api/v1/namespaces/x/finalize", "{\"metadata\":{\"name\":\"x\"},\"spec\":{\"finalizers\":[]}}");
    want(f, 404, "GET", "/api/v1/namespaces/x", NULL);
    want(f, 403, "DELETE", "/api/v1/namespaces/default", NULL);
    fixture_free(f);
}

TEST(an_eviction_asks_the_disruption_budget)
{
    struct fixture *f = fixture_new();
    want(f, 201, "POST", "/api/v1/namespaces/default/serviceaccounts", "{\"metadata\":{\"name\":\"default\"}}");
    want(f, 201, "POST", PODS,
        "{\"metadata\":{\"name\":\"p\",\"labels\":{\"a\":\"b\"}},\"spec\":{\"nodeName\":\"n\",\"containers\":[{\"name\":\"c\",\"image\":"
        "\"i\"}]}}");
    f->content_type = "application/merge-patch+json";
    want(f, 200, "PATCH", PODS "/p/status",
        "{\"status\":{\"phase\":\"Running\",\"conditions\":[{\"type\":\"Ready\",\"status\":\"True\"}]}}");
    f->content_type = NULL;
    want(f, 201, "POST", "/apis/policy/v1/namespaces/default/poddisruptionbudgets",
        "{\"metadata\":{\"name\":\"b\"},\"spec\":{\"minAvailable\":1,\"selector\":{\"matchLabels\":{\"a\":\"b\"}}}}");
    f->content_type = "application/merge-patch+json";
    want(f, 200, "PATCH", "/apis/policy/v1/namespaces/default/poddisruptionbudgets/b/status",
        "{\"status\":{\"observedGeneration\":1,\"currentHealthy\":1,\"desiredHealthy\":1,\"disruptionsAllowed\":0,\"expectedPods\":1}}");
    f->content_type = NULL;
    const char *body = "{\"apiVersion\":\"policy/v1\",\"kind\":\"Eviction\",\"metadata\":{\"name\":\"p\"}}";
    struct json *o = want(f, 429, "POST", PODS "/p/eviction", body);
    EQ_STR(at(o, "details.causes.0.reason"), STR("DisruptionBudget"));
    f->content_type = "application/merge-patch+json";
    want(f, 200, "PATCH", "/apis/policy/v1/namespaces/default/poddisruptionbudgets/b/status", "{\"status\":{\"disruptionsAllowed\":1}}");
    f->content_type = NULL;
    want(f, 201, "POST", PODS "/p/eviction", body);
    OK(at(want(f, 200, "GET", PODS "/p", NULL), "metadata.deletionTimestamp").n > 0);
    EQ_STR(
        at(want(f, 200, "GET", "/apis/policy/v1/namespaces/default/poddisruptionbudgets/b", NULL), "status.disruptionsAllowed"), STR("0"));
    fixture_free(f);
}

TEST(a_nodes_late_report_leaves_the_conditions_of_others_alone)
{
    struct fixture *f = fixture_new();
    want(f, 201, "POST", "/api/v1/nodes", "{\"metadata\":{\"name\":\"n\"}}");
    want(f, 201, "POST", "/api/v1/namespaces/default/serviceaccounts", "{\"metadata\":{\"name\":\"default\"}}");
    want(f, 201, "POST", PODS, "{\"metadata\":{\"name\":\"p\"},\"spec\":{\"nodeName\":\"n\",\"containers\":[{\"name\":\"c\",\"image\":\"i\"}]}}");
    f->content_type = "application/strategic-merge-patch+json";
    want(f, 200, "PATCH", PODS "/p/status", "{\"status\":{\"conditions\":[{\"type\":\"example.com/gate\",\"status\":\"True\"}]}}");
    f->user = "system:node:n";
    f->content_type = "application/merge-patch+json";
    struct json *o = want(f, 200, "PATCH", PODS "/p/status",
        "{\"status\":{\"phase\":\"Running\",\"conditions\":[{\"type\":\"Ready\",\"status\":\"True\"},{\"type\":\"example.com/gate\",\"status\":\"False\"}]}}");
    f->user = NULL;
    f->content_type = NULL;
    EQ(json_count(json_path(o, "status", "conditions", NULL)), 2);
    EQ_STR(at(o, "status.conditions.0.type"), STR("Ready"));
    EQ_STR(at(o, "status.conditions.1.type"), STR("example.com/gate"));
    EQ_STR(at(o, "status.conditions.1.status"), STR("True"));
    fixture_free(f);
}
