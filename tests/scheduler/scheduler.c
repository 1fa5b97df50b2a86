/* The scheduler on a real store and api, with a clock that stands still. */
#include "scheduler/scheduler.h"
#include <stdlib.h>
#include "harness.h"
#include "kinds/kinds.h"
#include "kinds/pod.h"

struct world {
    struct pool *pool;
    struct loop *loop;
    struct clock *clock;
    struct store *store;
    struct api *api;
    struct scheduler *s;
};

static void on_ready(void *arg)
{
    *(bool *)arg = true;
}

static void run(struct world *w)
{
    for (int quiet = 0, i = 0; quiet < 3 && i < 100000; i++)
        quiet = loop_step(w->loop, 0) > 0 || (w->s && scheduler_ready(w->s)) ? 0 : quiet + 1;
}

struct request {
    struct api_call call;
    bool done;
};

static void on_done(struct api_call *c)
{
    container_of(c, struct request, call)->done = true;
}

static void request(
    struct world *w, enum api_verb verb, const char *resource, const char *ns, const char *name, const char *sub, const char *body)
{
    struct request r = {.call = {.verb = verb, .ns = str_of(ns), .name = str_of(name), .sub = str_of(sub), .pool = w->pool}};
    struct err *e = NULL;
    str_cut(str_of(resource), '/', &r.call.group, &r.call.resource);
    if (body)
        FINE(json_parse(w->pool, str_of(body), NULL, &r.call.body, &e), e);
    api_do(w->api, w->loop, &r.call, on_done);
    for (int i = 0; i < 1000 && !r.done; i++)
        loop_step(w->loop, 5);
    if (r.call.err)
        test_fail(__FILE__, __LINE__, "%s %s: %s", resource, name, err_msg(r.call.err));
    api_call_clear(&r.call);
}

static void open_world(struct world *w)
{
    static bool attached;
    struct err *e = NULL;
    bool ready = false;
    *w = (struct world){.pool = pool_new(), .clock = clock_fake(INT64_C(1800000000) * NS_PER_S)};
    if (!attached)
        kinds_attach();
    attached = true;
    char *tls = xasprintf("%s/tls", test_tmpdir());
    struct schema *schema = schema_builtin();
    w->loop = loop_new(&e);
    FINE(api_store_open(NULL, schema, w->clock, &w->store, &e), e);
    struct api_config c = {.store = w->store,
        .schema = schema,
        .clock = w->clock,
        .version_git = STR("v1.36.2+test"),
        .tls_dir = tls,
        .service_cidr = STR("10.43.0.0/16"),
        .cluster_cidr = STR("10.42.0.0/16"),
        .cluster_domain = STR("cluster.local"),
        .dns_ip = STR("10.43.0.10"),
        .advertise = STR("127.0.0.1"),
        .port = 6443,
        .static_token_server = STR("s"),
        .static_token_agent = STR("a")};
    FINE(api_new(&c, &w->api, &e), e);
    api_on_ready(w->api, on_ready, &ready);
    FINE(api_start(w->api, w->loop, &e), e);
    for (int i = 0; i < 2000 && !ready; i++)
        loop_step(w->loop, 5);
    OK(ready);
    free(tls);
    struct scheduler_config sc = {.api = w->api, .loop = w->loop, .clock = w->clock};
    FINE(scheduler_start(&sc, &w->s, &e), e);
    request(w, API_CREATE, "/serviceaccounts", "default", "default", "",
        "{\"apiVersion\":\"v1\",\"kind\":\"ServiceAccount\",\"metadata\":{\"name\":\"default\"}}");
    run(w);
}

static void close_world(struct world *w)
{
    scheduler_stop(w->s);
    for (int i = 0; i < 10; i++)
        loop_step(w->loop, 0);
    api_free(w->api);
    store_close(w->store);
    loop_free(w->loop);
    clock_free(w->clock);
    pool_free(w->pool);
}

static void pass(struct world *w, int64_t seconds)
{
    clock_fake_add(w->clock, seconds * NS_PER_S);
    scheduler_tick(w->s);
    run(w);
}

/* labels and spec: members of the objects, with a comma before each. */
static void node(struct world *w, const char *name, const char *labels, const char *spec)
{
    struct str body = pool_printf(w->pool,
        "{\"apiVersion\":\"v1\",\"kind\":\"Node\",\"metadata\":{\"name\":\"%s\",\"labels\":{\"kubernetes.io/"
        "hostname\":\"%s\"%s}},\"spec\":{\"podCIDR\":\"\"%s}}",
        name, name, labels, spec);
    request(w, API_CREATE, "/nodes", "", name, "", body.p);
    request(w, API_PATCH_MERGE, "/nodes", "", name, "status",
        "{\"status\":{\"allocatable\":{\"cpu\":\"2\",\"memory\":\"4Gi\",\"pods\":\"10\",\"example.com/gpu\":\"1\"}}}");
    /* the node arrives tainted not-ready, as admission does it; its controller would lift that */
    request(w, API_PATCH_MERGE, "/nodes", "", name, "",
        *spec ? pool_printf(w->pool, "{\"spec\":{%s}}", spec + 1).p : "{\"spec\":{\"taints\":null}}");
    run(w);
}

static void pod(struct world *w, const char *name, const char *meta, const char *container, const char *spec)
{
    struct str body = pool_printf(w->pool,
        "{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":{\"name\":\"%s\"%s},\"spec\":{\"containers\":[{\"name\":\"c\",\"image\":"
        "\"a\"%s}]%s}}",
        name, meta, container, spec);
    request(w, API_CREATE, "/pods", "default", name, "", body.p);
    run(w);
}

static void unref_view(void *v)
{
    store_view_unref(v);
}

static struct json *tree(struct world *w, const char *name)
{
    struct store_view *v = store_view(w->store);
    struct json *t = NULL;
    pool_on_free(w->pool, unref_view, v);
    const struct obj *o = view_get(v, store_find(w->store, STR("/pods")), STR("default"), str_of(name));
    OK(o && obj_parse(o, w->pool, &t, NULL) == 0);
    return t;
}

static struct str node_of(struct world *w, const char *name)
{
    struct str n = json_str_at(tree(w, name), "spec", "nodeName", NULL);
    return n.p ? n : STR("");
}

static struct str why(struct world *w, const char *name)
{
    json_for (json_path(tree(w, name), "status", "conditions", NULL), c)
        if (str_eqz(json_get_str(c, "type"), "PodScheduled"))
            return json_get_str(c, "message");
    return STR("");
}

static void remove_pod(struct world *w, const char *name)
{
    request(w, API_DELETE, "/pods", "default", name, "", "{\"kind\":\"DeleteOptions\",\"apiVersion\":\"v1\",\"gracePeriodSeconds\":0}");
    run(w);
}

#define CPU(n) ",\"resources\":{\"requests\":{\"cpu\":\"" n "\"}}"

TEST(a_pod_gets_a_node_with_room)
{
    struct world w;
    open_world(&w);
    pod(&w, "p", "", "", "");
    EQ_STR(why(&w, "p"), STR("no nodes available to schedule pods"));
    node(&w, "n1", "", "");
    pass(&w, 2);
    EQ_STR(node_of(&w, "p"), STR("n1"));
    pod(&w, "big", "", CPU("1500m"), "");
    EQ_STR(node_of(&w, "big"), STR("n1"));
    pod(&w, "more", "", CPU("600m"), "");
    EQ_STR(node_of(&w, "more"), STR(""));
    EQ_STR(why(&w, "more"), STR("0/1 nodes are available: 1 Insufficient cpu. preemption: 0/1 nodes are available: 1 No preemption victims "
                                "found for incoming pod."));
    remove_pod(&w, "big");
    pass(&w, 2);
    EQ_STR(node_of(&w, "more"), STR("n1"));
    EQ(scheduler_waiting(w.s), 0);
    close_world(&w);
}

TEST(many_pods_at_once_do_not_overfill_a_node)
{
    struct world w;
    open_world(&w);
    node(&w, "n1", "", "");
    node(&w, "n2", "", "");
    scheduler_stop(w.s);
    w.s = NULL;
    for (int i = 0; i < 12; i++)
        pod(&w, pool_printf(w.pool, "p%d", i).p, "", CPU("400m"), "");
    struct err *e = NULL;
    struct scheduler_config sc = {.api = w.api, .loop = w.loop, .clock = w.clock};
    FINE(scheduler_start(&sc, &w.s, &e), e);
    run(&w);
    int on[2] = {0}, none = 0;
    for (int i = 0; i < 12; i++) {
        struct str n = node_of(&w, pool_printf(w.pool, "p%d", i).p);
        on[0] += str_eqz(n, "n1");
        on[1] += str_eqz(n, "n2");
        none += !n.n;
    }
    EQ(on[0], 5);
    EQ(on[1], 5);
    EQ(none, 2);
    close_world(&w);
}

TEST(reasons_are_counted_over_the_nodes)
{
    struct world w;
    open_world(&w);
    node(&w, "n1", "", ",\"unschedulable\":true");
    node(&w, "n2", "", ",\"taints\":[{\"key\":\"k\",\"value\":\"v\",\"effect\":\"NoSchedule\"}]");
    node(&w, "n3", "", "");
    pod(&w, "p", "", CPU("3"), "");
    EQ_STR(why(&w, "p"), STR("0/3 nodes are available: 1 Insufficient cpu, 1 node(s) had untolerated taint(s), 1 node(s) were "
                             "unschedulable. preemption: 0/3 nodes are available: 3 Preemption is not helpful for scheduling."));
    pod(&w, "q", "", "", ",\"nodeSelector\":{\"disk\":\"ssd\"},\"tolerations\":[{\"operator\":\"Exists\"}]");
    EQ_STR(why(&w, "q"), STR("0/3 nodes are available: 3 node(s) didn't match Pod's node affinity/selector. preemption: 0/3 nodes are "
                             "available: 3 Preemption is not helpful for scheduling."));
    request(&w, API_PATCH_MERGE, "/nodes", "", "n2", "", "{\"metadata\":{\"labels\":{\"disk\":\"ssd\"}}}");
    run(&w);
    pass(&w, 2);
    EQ_STR(node_of(&w, "q"), STR("n2"));
    pod(&w, "gpu", "", ",\"resources\":{\"limits\":{\"example.com/gpu\":\"1\"}}", "");
    EQ_STR(node_of(&w, "gpu"), STR("n3"));
    pod(&w, "gpu2", "", ",\"resources\":{\"limits\":{\"example.com/gpu\":\"1\"}}", "");
    OK(str_find(why(&w, "gpu2"), STR("1 Insufficient example.com/gpu")) >= 0);
    close_world(&w);
}

TEST(host_ports_do_not_collide)
{
    struct world w;
    open_world(&w);
    node(&w, "n1", "", "");
    pod(&w, "a", "", ",\"ports\":[{\"containerPort\":80,\"hostPort\":80}]", "");
    pod(&w, "b", "", ",\"ports\":[{\"containerPort\":80,\"hostPort\":80,\"protocol\":\"UDP\"}]", "");
    pod(&w, "c", "", ",\"ports\":[{\"containerPort\":81,\"hostPort\":80}]", "");
    EQ_STR(node_of(&w, "a"), STR("n1"));
    EQ_STR(node_of(&w, "b"), STR("n1"));
    EQ_STR(why(&w, "c"), STR("0/1 nodes are available: 1 node(s) didn't have free ports for the requested pod ports. preemption: 0/1 nodes "
                             "are available: 1 No preemption victims found for incoming pod."));
    close_world(&w);
}

#define AFFINITY(kind, label)                                                                                                              \
    ",\"affinity\":{\"" kind "\":{\"requiredDuringSchedulingIgnoredDuringExecution\":[{\"topologyKey\":\"zone\",\"labelSelector\":{"       \
                             "\"matchLabels\":{\"app\":\"" label "\"}}}]}}"
#define APP(label) ",\"labels\":{\"app\":\"" label "\"}"

TEST(pods_stand_together_or_apart_as_they_ask)
{
    struct world w;
    open_world(&w);
    node(&w, "n1", ",\"zone\":\"a\"", "");
    node(&w, "n2", ",\"zone\":\"b\"", "");
    pod(&w, "db", APP("db"), "", ",\"nodeSelector\":{\"zone\":\"b\"}" AFFINITY("podAntiAffinity", "db"));
    EQ_STR(node_of(&w, "db"), STR("n2"));
    pod(&w, "near", APP("web"), "", AFFINITY("podAffinity", "db"));
    EQ_STR(node_of(&w, "near"), STR("n2"));
    pod(&w, "db2", APP("db"), "", "");
    EQ_STR(node_of(&w, "db2"), STR("n1")); /* the one that stands wants no other beside it */
    pod(&w, "db3", APP("db"), "", AFFINITY("podAntiAffinity", "db"));
    EQ_STR(why(&w, "db3"), STR("0/2 nodes are available: 2 node(s) didn't match pod anti-affinity rules. preemption: 0/2 nodes are "
                               "available: 2 No preemption victims found for incoming pod."));
    pod(&w, "alone", APP("x"), "", AFFINITY("podAffinity", "nobody"));
    EQ_STR(why(&w, "alone"), STR("0/2 nodes are available: 2 node(s) didn't match pod affinity rules. preemption: 0/2 nodes are available: "
                                 "2 Preemption is not helpful for scheduling."));
    pod(&w, "first", APP("grp"), "", AFFINITY("podAffinity", "grp"));
    OK(node_of(&w, "first").n > 0); /* the first of its group */
    close_world(&w);
}

TEST(spreading_constraints_hold)
{
    struct world w;
    open_world(&w);
    node(&w, "n1", ",\"zone\":\"a\"", "");
    node(&w, "n2", ",\"zone\":\"a\"", "");
    node(&w, "n3", ",\"zone\":\"b\"", "");
    for (int i = 0; i < 4; i++)
        pod(&w, pool_printf(w.pool, "p%d", i).p, APP("s"), "",
            ",\"topologySpreadConstraints\":[{\"maxSkew\":1,\"topologyKey\":\"zone\",\"whenUnsatisfiable\":\"DoNotSchedule\","
            "\"labelSelector\":{\"matchLabels\":{\"app\":\"s\"}}}]");
    int b = 0;
    for (int i = 0; i < 4; i++)
        b += str_eqz(node_of(&w, pool_printf(w.pool, "p%d", i).p), "n3");
    EQ(b, 2);
    close_world(&w);
}

TEST(the_more_important_pod_goes_first)
{
    struct world w;
    open_world(&w);
    request(&w, API_CREATE, "scheduling.k8s.io/priorityclasses", "", "high", "",
        "{\"apiVersion\":\"scheduling.k8s.io/v1\",\"kind\":\"PriorityClass\",\"metadata\":{\"name\":\"high\"},\"value\":1000}");
    pod(&w, "low", "", CPU("1500m"), "");
    pod(&w, "high", "", CPU("1500m"), ",\"priorityClassName\":\"high\"");
    node(&w, "n1", "", "");
    pass(&w, 3);
    EQ_STR(node_of(&w, "high"), STR("n1"));
    EQ_STR(node_of(&w, "low"), STR(""));
    close_world(&w);
}

TEST(gated_and_foreign_pods_are_left_alone)
{
    struct world w;
    open_world(&w);
    node(&w, "n1", "", "");
    pod(&w, "gated", "", "", ",\"schedulingGates\":[{\"name\":\"example.com/wait\"}]");
    pod(&w, "foreign", "", "", ",\"schedulerName\":\"other\"");
    EQ(scheduler_waiting(w.s), 0);
    request(&w, API_PATCH_JSON, "/pods", "default", "gated", "", "[{\"op\":\"remove\",\"path\":\"/spec/schedulingGates\"}]");
    run(&w);
    EQ_STR(node_of(&w, "gated"), STR("n1"));
    EQ_STR(node_of(&w, "foreign"), STR(""));
    close_world(&w);
}

TEST(a_claim_that_waits_for_its_consumer_is_told_the_node)
{
    struct world w;
    open_world(&w);
    node(&w, "n1", ",\"zone\":\"a\"", "");
    node(&w, "n2", ",\"zone\":\"b\"", "");
    request(&w, API_CREATE, "storage.k8s.io/storageclasses", "", "late", "",
        "{\"apiVersion\":\"storage.k8s.io/"
        "v1\",\"kind\":\"StorageClass\",\"metadata\":{\"name\":\"late\"},\"provisioner\":\"x\",\"volumeBindingMode\":"
        "\"WaitForFirstConsumer\"}");
    pod(&w, "p", "", "",
        ",\"nodeSelector\":{\"zone\":\"b\"},\"volumes\":[{\"name\":\"v\",\"persistentVolumeClaim\":{\"claimName\":\"c\"}}]");
    EQ_STR(why(&w, "p"), STR("0/2 nodes are available: persistentvolumeclaim \"c\" not found."));
    request(&w, API_CREATE, "/persistentvolumeclaims", "default", "c", "",
        "{\"apiVersion\":\"v1\",\"kind\":\"PersistentVolumeClaim\",\"metadata\":{\"name\":\"c\"},\"spec\":{\"accessModes\":["
        "\"ReadWriteOnce\"],\"storageClassName\":\"late\",\"resources\":{\"requests\":{\"storage\":\"1Gi\"}}}}");
    pass(&w, 3);
    struct store_view *v = store_view(w.store);
    pool_on_free(w.pool, unref_view, v);
    const struct obj *claim = view_get(v, store_find(w.store, STR("/persistentvolumeclaims")), STR("default"), STR("c"));
    OK(str_find(claim->json, STR("\"volume.kubernetes.io/selected-node\":\"n2\"")) >= 0);
    EQ_STR(node_of(&w, "p"), STR(""));
    request(&w, API_CREATE, "/persistentvolumes", "", "pv", "",
        "{\"apiVersion\":\"v1\",\"kind\":\"PersistentVolume\",\"metadata\":{\"name\":\"pv\"},\"spec\":{\"capacity\":{\"storage\":\"1Gi\"},"
        "\"accessModes\":[\"ReadWriteOnce\"],\"hostPath\":{\"path\":\"/x\"},"
        "\"nodeAffinity\":{\"required\":{\"nodeSelectorTerms\":[{\"matchExpressions\":[{\"key\":\"zone\",\"operator\":\"In\",\"values\":["
        "\"b\"]}]}]}}}}");
    request(&w, API_PATCH_MERGE, "/persistentvolumeclaims", "default", "c", "", "{\"metadata\":{\"annotations\":{\"pv.kubernetes.io/bind-completed\":\"yes\"}},\"spec\":{\"volumeName\":\"pv\"}}");
    pass(&w, 10);
    EQ_STR(node_of(&w, "p"), STR("n2"));
    close_world(&w);
}

static bool going(struct world *w, const char *name)
{
    return json_str_at(tree(w, name), "metadata", "deletionTimestamp", NULL).n > 0;
}

TEST(a_more_important_pod_takes_the_place_of_as_few_lesser_ones_as_can_be)
{
    struct world w;
    open_world(&w);
    request(&w, API_CREATE, "scheduling.k8s.io/priorityclasses", "", "high", "",
        "{\"apiVersion\":\"scheduling.k8s.io/v1\",\"kind\":\"PriorityClass\",\"metadata\":{\"name\":\"high\"},\"value\":1000}");
    request(&w, API_CREATE, "scheduling.k8s.io/priorityclasses", "", "meek", "",
        "{\"apiVersion\":\"scheduling.k8s.io/"
        "v1\",\"kind\":\"PriorityClass\",\"metadata\":{\"name\":\"meek\"},\"value\":2000,\"preemptionPolicy\":\"Never\"}");
    node(&w, "n1", "", "");
    node(&w, "n2", "", "");
    pod(&w, "a", "", CPU("1500m"), ",\"nodeName\":\"n1\"");
    pass(&w, 10);
    pod(&w, "b", "", CPU("1"), ",\"nodeName\":\"n2\"");
    pass(&w, 10);
    pod(&w, "c", "", CPU("900m"), ",\"nodeName\":\"n2\"");
    pod(&w, "meek", "", CPU("1"), ",\"priorityClassName\":\"meek\"");
    OK(str_find(why(&w, "meek"), STR("not eligible due to preemptionPolicy=Never.")) >= 0);
    pod(&w, "vip", "", CPU("800m"), ",\"priorityClassName\":\"high\"");
    OK(!going(&w, "a") && !going(&w, "b") && going(&w, "c")); /* one must go, and the newest does */
    EQ_STR(json_str_at(tree(&w, "vip"), "status", "nominatedNodeName", NULL), STR("n2"));
    EQ_STR(node_of(&w, "vip"), STR(""));
    pod(&w, "late", "", CPU("500m"), "");
    EQ_STR(node_of(&w, "late"), STR("n1")); /* not into the room that was made */
    remove_pod(&w, "meek");
    remove_pod(&w, "c");
    pass(&w, 3);
    EQ_STR(node_of(&w, "vip"), STR("n2"));
    close_world(&w);
}

TEST(a_budget_turns_preemption_to_another_node)
{
    struct world w;
    open_world(&w);
    request(&w, API_CREATE, "scheduling.k8s.io/priorityclasses", "", "high", "",
        "{\"apiVersion\":\"scheduling.k8s.io/v1\",\"kind\":\"PriorityClass\",\"metadata\":{\"name\":\"high\"},\"value\":1000}");
    node(&w, "n1", "", "");
    node(&w, "n2", "", "");
    pod(&w, "a", APP("kept"), CPU("2"), ",\"nodeName\":\"n1\"");
    pod(&w, "b", APP("free"), CPU("2"), ",\"nodeName\":\"n2\"");
    request(&w, API_CREATE, "policy/poddisruptionbudgets", "default", "b", "",
        "{\"apiVersion\":\"policy/"
        "v1\",\"kind\":\"PodDisruptionBudget\",\"metadata\":{\"name\":\"b\"},\"spec\":{\"minAvailable\":1,\"selector\":{\"matchLabels\":{"
        "\"app\":\"kept\"}}}}");
    pod(&w, "vip", "", CPU("1"), ",\"priorityClassName\":\"high\"");
    OK(!going(&w, "a"));
    OK(going(&w, "b"));
    close_world(&w);
}

/* ---- volumes ---- */

static void claim(struct world *w, const char *name, const char *mode, const char *class)
{
    request(w, API_CREATE, "/persistentvolumeclaims", "default", name, "",
        pool_printf(w->pool,
            "{\"apiVersion\":\"v1\",\"kind\":\"PersistentVolumeClaim\",\"metadata\":{\"name\":\"%s\"},\"spec\":{\"accessModes\":[\"%s\"],\"storageClassName\":\"%s\","
            "\"resources\":{\"requests\":{\"storage\":\"1Gi\"}}}}",
            name, mode, class)
            .p);
}

static void volume(struct world *w, const char *name, const char *labels, const char *mode, const char *source, const char *node)
{
    request(w, API_CREATE, "/persistentvolumes", "", name, "",
        pool_printf(w->pool,
            "{\"apiVersion\":\"v1\",\"kind\":\"PersistentVolume\",\"metadata\":{\"name\":\"%s\",\"labels\":{%s}},\"spec\":{\"capacity\":{\"storage\":\"1Gi\"},"
            "\"accessModes\":[\"%s\"],\"storageClassName\":\"local\",%s%s}}",
            name, labels, mode, source,
            *node ? pool_printf(w->pool,
                        ",\"nodeAffinity\":{\"required\":{\"nodeSelectorTerms\":[{\"matchExpressions\":[{\"key\":\"kubernetes.io/"
                        "hostname\",\"operator\":\"In\",\"values\":[\"%s\"]}]}]}}",
                        node)
                        .p
                  : "")
            .p);
}

static void bind_claim(struct world *w, const char *name, const char *to)
{
    request(w, API_PATCH_MERGE, "/persistentvolumeclaims", "default", name, "",
        pool_printf(w->pool, "{\"metadata\":{\"annotations\":{\"pv.kubernetes.io/bind-completed\":\"yes\"}},\"spec\":{\"volumeName\":\"%s\"}}", to).p);
}

#define USES(name) ",\"volumes\":[{\"name\":\"v\",\"persistentVolumeClaim\":{\"claimName\":\"" name "\"}}]"
#define CSI(handle) "\"csi\":{\"driver\":\"d.example.com\",\"volumeHandle\":\"" handle "\"}"

TEST(a_claim_for_one_pod_only_keeps_a_second_pod_waiting_until_the_first_is_gone)
{
    struct world w;
    open_world(&w);
    node(&w, "n1", "", "");
    node(&w, "n2", "", "");
    claim(&w, "one", "ReadWriteOncePod", "local");
    volume(&w, "pv", "", "ReadWriteOncePod", "\"hostPath\":{\"path\":\"/x\"}", "");
    bind_claim(&w, "one", "pv");
    pod(&w, "first", "", "", USES("one"));
    OK(node_of(&w, "first").n);
    pod(&w, "second", "", "", USES("one"));
    EQ_STR(why(&w, "second"),
        STR("0/2 nodes are available: 2 node(s) unavailable due to PersistentVolumeClaim with ReadWriteOncePod access mode already in-use by another pod. preemption: 0/2 "
            "nodes are available: 1 No preemption victims found for incoming pod, 1 Preemption is not helpful for scheduling."));
    request(&w, API_DELETE, "/pods", "default", "first", "", "{\"kind\":\"DeleteOptions\",\"apiVersion\":\"v1\",\"gracePeriodSeconds\":0}");
    pass(&w, 10);
    OK(node_of(&w, "second").n);
    close_world(&w);
}

TEST(a_node_takes_no_more_volumes_than_its_driver_allows)
{
    struct world w;
    open_world(&w);
    node(&w, "n1", "", "");
    request(&w, API_CREATE, "storage.k8s.io/csinodes", "", "n1", "",
        "{\"apiVersion\":\"storage.k8s.io/v1\",\"kind\":\"CSINode\",\"metadata\":{\"name\":\"n1\"},\"spec\":{\"drivers\":[{\"name\":\"d.example.com\",\"nodeID\":\"n1\","
        "\"allocatable\":{\"count\":1}}]}}");
    claim(&w, "a", "ReadWriteMany", "local");
    claim(&w, "b", "ReadWriteMany", "local");
    volume(&w, "pva", "", "ReadWriteMany", CSI("h1"), "");
    volume(&w, "pvb", "", "ReadWriteMany", CSI("h2"), "");
    bind_claim(&w, "a", "pva");
    bind_claim(&w, "b", "pvb");
    pod(&w, "one", "", "", USES("a"));
    pod(&w, "again", "", "", USES("a")); /* the same volume counts once */
    pod(&w, "two", "", "", USES("b"));
    EQ_STR(node_of(&w, "one"), STR("n1"));
    EQ_STR(node_of(&w, "again"), STR("n1"));
    OK(str_starts(why(&w, "two"), STR("0/1 nodes are available: 1 node(s) exceed max volume count.")));
    close_world(&w);
}

TEST(a_volume_of_a_zone_keeps_its_pod_in_that_zone)
{
    struct world w;
    open_world(&w);
    node(&w, "n1", ",\"topology.kubernetes.io/zone\":\"a\"", "");
    node(&w, "n2", ",\"topology.kubernetes.io/zone\":\"b\"", "");
    node(&w, "n3", ",\"topology.kubernetes.io/zone\":\"c\"", "");
    claim(&w, "z", "ReadWriteMany", "local");
    volume(&w, "pv", "\"topology.kubernetes.io/zone\":\"x__b\"", "ReadWriteMany", CSI("h"), "");
    bind_claim(&w, "z", "pv");
    pod(&w, "p", "", "", USES("z"));
    EQ_STR(node_of(&w, "p"), STR("n2"));
    pod(&w, "q", "", "", USES("z") ",\"nodeSelector\":{\"kubernetes.io/hostname\":\"n1\"}");
    OK(str_starts(why(&w, "q"), STR("0/3 nodes are available: 1 node(s) had no available volume zone, 2 node(s) didn't match Pod's node affinity/selector.")));
    close_world(&w);
}

TEST(a_pod_goes_where_a_volume_of_its_claim_stands_ready)
{
    struct world w;
    open_world(&w);
    node(&w, "n1", "", "");
    node(&w, "n2", "", "");
    request(&w, API_CREATE, "storage.k8s.io/storageclasses", "", "local", "",
        "{\"apiVersion\":\"storage.k8s.io/v1\",\"kind\":\"StorageClass\",\"metadata\":{\"name\":\"local\"},\"provisioner\":\"kubernetes.io/"
        "no-provisioner\",\"volumeBindingMode\":\"WaitForFirstConsumer\"}");
    claim(&w, "c", "ReadWriteOnce", "local");
    pod(&w, "p", "", "", USES("c"));
    OK(str_starts(why(&w, "p"), STR("0/2 nodes are available: 2 node(s) didn't find available persistent volumes to bind.")));
    volume(&w, "pv", "", "ReadWriteOnce", "\"local\":{\"path\":\"/x\"}", "n2");
    pass(&w, 10);
    struct store_view *v = store_view(w.store);
    pool_on_free(w.pool, unref_view, v);
    const struct obj *o = view_get(v, store_find(w.store, STR("/persistentvolumeclaims")), STR("default"), STR("c"));
    OK(str_find(o->json, STR("\"volume.kubernetes.io/selected-node\":\"n2\"")) >= 0);
    close_world(&w);
}

TEST(a_pod_that_names_its_node_is_told_what_is_wrong_there)
{
    struct world w;
    open_world(&w);
    node(&w, "n1", "", "");
    node(&w, "n2", "", "");
    pod(&w, "p", "", ",\"resources\":{\"requests\":{\"cpu\":\"9\"}}",
        ",\"affinity\":{\"nodeAffinity\":{\"requiredDuringSchedulingIgnoredDuringExecution\":{\"nodeSelectorTerms\":[{\"matchFields\":[{\"key\":\"metadata.name\","
        "\"operator\":\"In\",\"values\":[\"n2\"]}]}]}}}");
    EQ_STR(why(&w, "p"),
        STR("0/2 nodes are available: 1 Insufficient cpu, 1 node(s) didn't satisfy plugin(s) [NodeAffinity]. preemption: 0/2 nodes are available: 2 Preemption is not helpful "
            "for scheduling."));
    close_world(&w);
}

TEST(a_pod_with_a_device_claim_waits_rather_than_run_without_its_device)
{
    struct world w;
    open_world(&w);
    node(&w, "n1", "", "");
    pod(&w, "p", "", "", ",\"resourceClaims\":[{\"name\":\"gpu\",\"resourceClaimName\":\"c\"}]");
    EQ_STR(why(&w, "p"), STR("0/1 nodes are available: pod has resource claims, which this scheduler cannot allocate."));
    close_world(&w);
}
