/* What is cleaned up, what is kept: requests, tokens, ranges, attachments. */
#include "fixture.h"

#define TOKEN(name, expires)                                                                                                               \
    "{\"apiVersion\":\"v1\",\"kind\":\"Secret\",\"metadata\":{\"name\":\"bootstrap-token-" name                                            \
    "\"},\"type\":\"bootstrap.kubernetes.io/token\",\"stringData\":{\"token-id\":\"" name                                                  \
    "\",\"token-secret\":\"0123456789abcdef\",\"expiration\":\"" expires "\"}}"

TEST(a_bootstrap_token_goes_when_its_time_is_over)
{
    struct world w;
    world_open(&w, "token-cleaner");
    world_create(&w, "/secrets", "kube-system", TOKEN("aaaaaa", "2027-01-15T09:00:00Z"));
    world_create(&w, "/secrets", "kube-system", TOKEN("bbbbbb", "2027-01-15T07:00:00Z"));
    world_create(&w, "/secrets", "default",
        "{\"apiVersion\":\"v1\",\"kind\":\"Secret\",\"metadata\":{\"name\":\"bootstrap-token-other\"},\"stringData\":{\"expiration\":"
        "\"2020-01-01T00:00:00Z\"}}");
    world_run(&w);
    OK(world_get(&w, "/secrets", "kube-system", "bootstrap-token-aaaaaa"));
    OK(!world_get(&w, "/secrets", "kube-system", "bootstrap-token-bbbbbb"));
    world_pass(&w, 3000);
    OK(world_get(&w, "/secrets", "kube-system", "bootstrap-token-aaaaaa"));
    world_pass(&w, 700);
    OK(!world_get(&w, "/secrets", "kube-system", "bootstrap-token-aaaaaa"));
    OK(world_get(&w, "/secrets", "default", "bootstrap-token-other"));
    world_close(&w);
}

TEST(a_range_of_service_addresses_stays_while_an_address_needs_it)
{
    struct world w;
    world_open(&w, "service-cidrs,ip-address");
    world_create(&w, "/services", "default",
        "{\"apiVersion\":\"v1\",\"kind\":\"Service\",\"metadata\":{\"name\":\"web\"},\"spec\":{\"clusterIP\":\"10.43.7.7\",\"ports\":[{"
        "\"port\":80}]}}");
    world_create(&w, "networking.k8s.io/servicecidrs", "",
        "{\"apiVersion\":\"networking.k8s.io/"
        "v1\",\"kind\":\"ServiceCIDR\",\"metadata\":{\"name\":\"more\"},\"spec\":{\"cidrs\":[\"10.99.0.0/24\"]}}");
    world_run(&w);
    EQ_STR(world_str(&w, "networking.k8s.io/servicecidrs", "", "kubernetes", "/status/conditions/0/status"), STR("True"));
    EQ_STR(world_str(&w, "networking.k8s.io/ipaddresses", "", "10.43.7.7", "/spec/parentRef/name"), STR("web"));
    world_do(&w, API_DELETE, "networking.k8s.io/servicecidrs", "", "more", "", NULL, 200);
    world_do(&w, API_DELETE, "networking.k8s.io/servicecidrs", "", "kubernetes", "", NULL, 200);
    world_run(&w);
    OK(!world_get(&w, "networking.k8s.io/servicecidrs", "", "more"));
    OK(world_get(&w, "networking.k8s.io/servicecidrs", "", "kubernetes"));
    EQ_STR(world_str(&w, "networking.k8s.io/servicecidrs", "", "kubernetes", "/status/conditions/0/reason"), STR("Terminating"));
    world_do(&w, API_DELETE, "/services", "default", "web", "", NULL, 200);
    world_run(&w);
    OK(!world_get(&w, "networking.k8s.io/ipaddresses", "", "10.43.7.7"));
    world_close(&w);
}

/* ---- attach and detach ---- */

#define SET "serviceaccount,attachdetach"
#define ATTACHMENTS "storage.k8s.io/volumeattachments"

static void open_storage(struct world *w)
{
    world_open(w, SET);
    world_node(w, "n1", true);
    world_node(w, "n2", true);
    world_create(w, "/persistentvolumes", "",
        "{\"apiVersion\":\"v1\",\"kind\":\"PersistentVolume\",\"metadata\":{\"name\":\"pv\"},\"spec\":{\"accessModes\":[\"ReadWriteOnce\"],"
        "\"capacity\":{\"storage\":\"1Gi\"},"
        "\"csi\":{\"driver\":\"d.example.com\",\"volumeHandle\":\"h\"},\"claimRef\":{\"namespace\":\"default\",\"name\":\"c\"}}}");
    world_create(w, "/persistentvolumeclaims", "default",
        "{\"apiVersion\":\"v1\",\"kind\":\"PersistentVolumeClaim\",\"metadata\":{\"name\":\"c\"},\"spec\":{\"accessModes\":["
        "\"ReadWriteOnce\"],\"volumeName\":\"pv\","
        "\"resources\":{\"requests\":{\"storage\":\"1Gi\"}}}}");
}

static void pod_on(struct world *w, const char *name, const char *node)
{
    world_create(w, "/pods", "default",
        pool_printf(w->pool,
            "{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":{\"name\":\"%s\"},\"spec\":{\"nodeName\":\"%s\",\"containers\":[{"
            "\"name\":\"c\",\"image\":\"a\"}],\"volumes\":[{"
            "\"name\":\"d\",\"persistentVolumeClaim\":{\"claimName\":\"c\"}}]}}",
            name, node)
            .p);
    world_run(w);
}

static void remove_pod(struct world *w, const char *name)
{
    world_do(
        w, API_DELETE, "/pods", "default", name, "", "{\"kind\":\"DeleteOptions\",\"apiVersion\":\"v1\",\"gracePeriodSeconds\":0}", 200);
    world_run(w);
}

TEST(a_volume_is_attached_for_its_pod_and_let_go_when_the_pod_is_gone)
{
    struct world w;
    open_storage(&w);
    pod_on(&w, "p", "n1");
    EQ(world_count(&w, ATTACHMENTS, ""), 1);
    const struct obj *a = world_nth(&w, ATTACHMENTS, "", 0);
    EQ_STR(world_str(&w, ATTACHMENTS, "", pool_strz(w.pool, a->name), "/spec/nodeName"), STR("n1"));
    EQ_STR(world_str(&w, ATTACHMENTS, "", pool_strz(w.pool, a->name), "/spec/source/persistentVolumeName"), STR("pv"));
    world_do(&w, API_PATCH_MERGE, ATTACHMENTS, "", pool_strz(w.pool, a->name), "status", "{\"status\":{\"attached\":true}}", 200);
    world_run(&w);
    OK(world_event(&w, "default", "SuccessfulAttachVolume"));
    pod_on(&w, "q", "n2"); /* one node at a time */
    EQ(world_count(&w, ATTACHMENTS, ""), 1);
    OK(world_event(&w, "default", "FailedAttachVolume"));
    remove_pod(&w, "p");
    world_pass(&w, 20);
    EQ(world_count(&w, ATTACHMENTS, ""), 1);
    EQ_STR(world_str(&w, ATTACHMENTS, "", pool_strz(w.pool, world_nth(&w, ATTACHMENTS, "", 0)->name), "/spec/nodeName"), STR("n2"));
    world_close(&w);
}

TEST(nothing_is_detached_from_a_node_that_cannot_be_asked_until_somebody_says_that_it_is_off)
{
    struct world w;
    open_storage(&w);
    pod_on(&w, "p", "n1");
    world_do(&w, API_PATCH_MERGE, "/nodes", "", "n1", "status",
        "{\"status\":{\"conditions\":[{\"type\":\"Ready\",\"status\":\"Unknown\"}]}}", 200);
    remove_pod(&w, "p"); /* by force: the node knows nothing of it */
    world_pass(&w, 3600);
    EQ(world_count(&w, ATTACHMENTS, ""), 1);
    world_do(&w, API_PATCH_MERGE, "/nodes", "", "n1", "",
        "{\"spec\":{\"taints\":[{\"key\":\"node.kubernetes.io/out-of-service\",\"value\":\"x\",\"effect\":\"NoExecute\"}]}}", 200);
    world_pass(&w, 20);
    EQ(world_count(&w, ATTACHMENTS, ""), 0);
    world_close(&w);
}

TEST(a_driver_that_needs_no_attaching_gets_none)
{
    struct world w;
    open_storage(&w);
    world_create(&w, "storage.k8s.io/csidrivers", "",
        "{\"apiVersion\":\"storage.k8s.io/"
        "v1\",\"kind\":\"CSIDriver\",\"metadata\":{\"name\":\"d.example.com\"},\"spec\":{\"attachRequired\":false}}");
    pod_on(&w, "p", "n1");
    EQ(world_count(&w, ATTACHMENTS, ""), 0);
    world_close(&w);
}
