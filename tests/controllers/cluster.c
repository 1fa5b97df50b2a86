#include "fixture.h"

TEST(every_namespace_gets_its_account_and_the_root_certificate)
{
    struct world w;
    world_open(&w, "serviceaccount,root-ca");
    OK(world_get(&w, "/serviceaccounts", "default", "default"));
    world_create(&w, "/namespaces", "", "{\"apiVersion\":\"v1\",\"kind\":\"Namespace\",\"metadata\":{\"name\":\"n\"}}");
    world_run(&w);
    OK(world_get(&w, "/serviceaccounts", "n", "default"));
    OK(str_starts(world_str(&w, "/configmaps", "n", "kube-root-ca.crt", "/data/ca.crt"), STR("-----BEGIN CERTIFICATE-----")));
    world_do(&w, API_PATCH_MERGE, "/configmaps", "n", "kube-root-ca.crt", "", "{\"data\":{\"ca.crt\":\"x\"}}", 200);
    world_do(&w, API_DELETE, "/serviceaccounts", "n", "default", "", NULL, 200);
    world_run(&w);
    OK(world_get(&w, "/serviceaccounts", "n", "default"));
    OK(str_starts(world_str(&w, "/configmaps", "n", "kube-root-ca.crt", "/data/ca.crt"), STR("-----BEGIN CERTIFICATE-----")));
    world_close(&w);
}

TEST(a_deleted_namespace_goes_when_all_in_it_has_gone)
{
    struct world w;
    world_open(&w, "namespace,serviceaccount,root-ca");
    world_create(&w, "/namespaces", "", "{\"apiVersion\":\"v1\",\"kind\":\"Namespace\",\"metadata\":{\"name\":\"n\"}}");
    world_run(&w);
    world_create(&w, "/configmaps", "n",
        "{\"apiVersion\":\"v1\",\"kind\":\"ConfigMap\",\"metadata\":{\"name\":\"held\",\"finalizers\":[\"example.com/hold\"]}}");
    world_create(&w, "/configmaps", "n", "{\"apiVersion\":\"v1\",\"kind\":\"ConfigMap\",\"metadata\":{\"name\":\"plain\"}}");
    world_do(&w, API_DELETE, "/namespaces", "", "n", "", NULL, 0);
    world_run(&w);
    EQ_STR(world_str(&w, "/namespaces", "", "n", "/status/phase"), STR("Terminating"));
    OK(!world_get(&w, "/configmaps", "n", "plain"));
    OK(!world_get(&w, "/serviceaccounts", "n", "default"));
    struct str text = world_text(&w, json_path(world_tree(&w, "/namespaces", "", "n"), "status", "conditions", NULL));
    OK(str_find(text, STR("Some content in the namespace has finalizers remaining: example.com/hold in 1 resource instances")) >= 0);
    world_do(&w, API_PATCH_MERGE, "/configmaps", "n", "held", "", "{\"metadata\":{\"finalizers\":null}}", 200);
    world_run(&w);
    OK(!world_get(&w, "/namespaces", "", "n"));
    world_close(&w);
}

TEST(a_deleted_namespace_keeps_everything_while_a_pod_is_there)
{
    struct world w;
    world_open(&w, "namespace");
    world_create(&w, "/namespaces", "", "{\"apiVersion\":\"v1\",\"kind\":\"Namespace\",\"metadata\":{\"name\":\"n\"}}");
    world_create(&w, "/serviceaccounts", "n", "{\"apiVersion\":\"v1\",\"kind\":\"ServiceAccount\",\"metadata\":{\"name\":\"default\"}}");
    world_create(&w, "/configmaps", "n", "{\"apiVersion\":\"v1\",\"kind\":\"ConfigMap\",\"metadata\":{\"name\":\"plain\"}}");
    world_create(&w, "/pods", "n",
        "{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":{\"name\":\"p\",\"finalizers\":[\"example.com/hold\"]},"
        "\"spec\":{\"containers\":[{\"name\":\"c\",\"image\":\"x\"}]}}");
    world_do(&w, API_DELETE, "/namespaces", "", "n", "", NULL, 0);
    world_run(&w);
    OK(world_get(&w, "/pods", "n", "p")->deleted);
    OK(world_get(&w, "/configmaps", "n", "plain"));
    world_do(&w, API_PATCH_MERGE, "/pods", "n", "p", "", "{\"metadata\":{\"finalizers\":null}}", 200);
    world_run(&w);
    OK(!world_get(&w, "/namespaces", "", "n"));
    world_close(&w);
}

static const struct obj *config_map(struct world *w, const char *name, const struct obj *owner, const char *kind, bool block)
{
    struct str refs = STR("");
    if (owner)
        refs = pool_printf(w->pool,
            ",\"ownerReferences\":[{\"apiVersion\":\"v1\",\"kind\":\"%s\",\"name\":\"%.*s\",\"uid\":\"%.*s\",\"blockOwnerDeletion\":%s}]",
            kind, STR_ARG(owner->name), STR_ARG(owner->uid), block ? "true" : "false");
    world_create(w, "/configmaps", "default",
        pool_printf(w->pool, "{\"apiVersion\":\"v1\",\"kind\":\"ConfigMap\",\"metadata\":{\"name\":\"%s\"%.*s}}", name, STR_ARG(refs)).p);
    return world_get(w, "/configmaps", "default", name);
}

static void remove_with(struct world *w, const char *name, const char *policy)
{
    struct str body = pool_printf(w->pool, "{\"kind\":\"DeleteOptions\",\"apiVersion\":\"v1\",\"propagationPolicy\":\"%s\"}", policy);
    world_do(w, API_DELETE, "/configmaps", "default", name, "", body.p, 0);
    world_run(w);
}

TEST(dependents_follow_their_owner_in_the_background)
{
    struct world w;
    world_open(&w, "garbage");
    const struct obj *a = config_map(&w, "a", NULL, "", false), *b = config_map(&w, "b", a, "ConfigMap", false);
    config_map(&w, "c", b, "ConfigMap", false);
    remove_with(&w, "a", "Background");
    OK(!world_get(&w, "/configmaps", "default", "a"));
    OK(!world_get(&w, "/configmaps", "default", "b"));
    OK(!world_get(&w, "/configmaps", "default", "c"));
    world_close(&w);
}

TEST(in_the_foreground_the_owner_goes_last)
{
    struct world w;
    world_open(&w, "garbage");
    const struct obj *a = config_map(&w, "a", NULL, "", false);
    config_map(&w, "b", a, "ConfigMap", true);
    world_do(&w, API_PATCH_MERGE, "/configmaps", "default", "b", "", "{\"metadata\":{\"finalizers\":[\"example.com/hold\"]}}", 200);
    remove_with(&w, "a", "Foreground");
    OK(world_get(&w, "/configmaps", "default", "a")->deleted);
    OK(world_get(&w, "/configmaps", "default", "b")->deleted);
    world_do(&w, API_PATCH_MERGE, "/configmaps", "default", "b", "", "{\"metadata\":{\"finalizers\":null}}", 200);
    world_run(&w);
    OK(!world_get(&w, "/configmaps", "default", "b"));
    OK(!world_get(&w, "/configmaps", "default", "a"));
    world_close(&w);
}

TEST(a_circle_of_owners_goes_in_the_foreground_too)
{
    struct world w;
    world_open(&w, "garbage");
    const struct obj *a = config_map(&w, "a", NULL, "", false), *b = config_map(&w, "b", a, "ConfigMap", true),
                     *c = config_map(&w, "c", b, "ConfigMap", true);
    world_do(&w, API_PATCH_MERGE, "/configmaps", "default", "a", "",
        pool_printf(w.pool,
            "{\"metadata\":{\"ownerReferences\":[{\"apiVersion\":\"v1\",\"kind\":\"ConfigMap\",\"name\":\"c\",\"uid\":\"%.*s\","
            "\"blockOwnerDeletion\":true}]}}",
            STR_ARG(c->uid))
            .p,
        200);
    world_run(&w);
    OK(world_get(&w, "/configmaps", "default", "a"));
    remove_with(&w, "a", "Foreground");
    OK(!world_get(&w, "/configmaps", "default", "a"));
    OK(!world_get(&w, "/configmaps", "default", "b"));
    OK(!world_get(&w, "/configmaps", "default", "c"));
    world_close(&w);
}

TEST(orphans_stay_and_know_no_owner)
{
    struct world w;
    world_open(&w, "garbage");
    const struct obj *a = config_map(&w, "a", NULL, "", false);
    config_map(&w, "b", a, "ConfigMap", true);
    remove_with(&w, "a", "Orphan");
    OK(!world_get(&w, "/configmaps", "default", "a"));
    EQ(world_get(&w, "/configmaps", "default", "b")->nowners, 0);
    world_close(&w);
}

TEST(an_object_born_with_a_dead_owner_goes_and_one_of_an_unknown_kind_stays)
{
    struct world w;
    world_open(&w, "garbage");
    struct obj dead = {.name = STR("ghost"), .uid = STR("11111111-0000-4000-8000-000000000000")};
    config_map(&w, "b", &dead, "ConfigMap", false);
    config_map(&w, "c", &dead, "Unheard", false);
    world_run(&w);
    OK(!world_get(&w, "/configmaps", "default", "b"));
    OK(world_get(&w, "/configmaps", "default", "c"));
    world_close(&w);
}

static bool tainted(struct world *w, const char *node, const char *key, const char *effect)
{
    json_for (json_path(world_tree(w, "/nodes", "", node), "spec", "taints", NULL), t)
        if (str_eqz(json_get_str(t, "key"), key) && str_eqz(json_get_str(t, "effect"), effect))
            return true;
    return false;
}

static void beat(struct world *w, const char *node)
{
    char now[TIME_MAX];
    struct str t = time_format_micro(clock_now(w->clock), now);
    world_do(w, API_PATCH_MERGE, "coordination.k8s.io/leases", "kube-node-lease", node, "",
        pool_printf(w->pool, "{\"spec\":{\"renewTime\":\"%.*s\"}}", STR_ARG(t)).p, 200);
    world_run(w);
}

static void lease(struct world *w, const char *node)
{
    world_create(w, "coordination.k8s.io/leases", "kube-node-lease",
        pool_printf(w->pool,
            "{\"apiVersion\":\"coordination.k8s.io/"
            "v1\",\"kind\":\"Lease\",\"metadata\":{\"name\":\"%s\"},\"spec\":{\"holderIdentity\":\"%s\"}}",
            node, node)
            .p);
}

TEST(a_silent_node_turns_unknown_and_its_pods_go_when_their_toleration_ends)
{
    struct world w;
    world_open(&w, "serviceaccount,node,taint-eviction");
    world_node(&w, "n1", true);
    world_node(&w, "n2", true);
    lease(&w, "n1");
    lease(&w, "n2");
    world_run(&w);
    OK(!tainted(&w, "n1", "node.kubernetes.io/not-ready", "NoSchedule"));
    world_create(&w, "/pods", "default",
        "{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":{\"name\":\"p\"},\"spec\":{\"nodeName\":\"n1\",\"containers\":[{\"name\":"
        "\"c\",\"image\":\"a\"}],"
        "\"tolerations\":[{\"key\":\"node.kubernetes.io/"
        "unreachable\",\"operator\":\"Exists\",\"effect\":\"NoExecute\",\"tolerationSeconds\":100}]}}");
    world_pod_status(&w, world_get(&w, "/pods", "default", "p"), "Running", true);
    for (int i = 0; i < 7; i++) {
        world_pass(&w, 10);
        beat(&w, "n2");
    }
    EQ_STR(world_str(&w, "/nodes", "", "n1", "/status/conditions/0/status"), STR("Unknown"));
    EQ_STR(world_str(&w, "/nodes", "", "n2", "/status/conditions/0/status"), STR("True"));
    OK(tainted(&w, "n1", "node.kubernetes.io/unreachable", "NoExecute"));
    OK(tainted(&w, "n1", "node.kubernetes.io/unreachable", "NoSchedule"));
    OK(!((const struct pod_view *)world_get(&w, "/pods", "default", "p")->view == NULL));
    OK(!(((const struct pod_view *)world_get(&w, "/pods", "default", "p")->view)->flags & POD_READY));
    OK(!world_get(&w, "/pods", "default", "p")->deleted);
    world_pass(&w, 40);
    beat(&w, "n2");
    OK(!world_get(&w, "/pods", "default", "p")->deleted);
    world_pass(&w, 45);
    OK(world_get(&w, "/pods", "default", "p")->deleted);
    OK(world_event(&w, "default", "TaintManagerEviction"));
    world_close(&w);
}

TEST(an_autonomous_node_keeps_its_pods_while_it_is_out_of_reach)
{
    struct world w;
    world_open(&w, "serviceaccount,node,taint-eviction");
    world_node(&w, "n1", true);
    world_node(&w, "n2", true);
    lease(&w, "n1");
    lease(&w, "n2");
    world_do(&w, API_PATCH_MERGE, "/nodes", "", "n1", "", "{\"metadata\":{\"labels\":{\"node.sampan.io/autonomous\":\"true\"}}}", 200);
    world_create(&w, "/pods", "default",
        "{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":{\"name\":\"p\"},\"spec\":{\"nodeName\":\"n1\",\"containers\":[{\"name\":"
        "\"c\",\"image\":\"a\"}]}}");
    world_run(&w);
    for (int i = 0; i < 40; i++) {
        world_pass(&w, 10);
        beat(&w, "n2");
    }
    OK(tainted(&w, "n1", "node.kubernetes.io/unreachable", "NoSchedule"));
    OK(!tainted(&w, "n1", "node.kubernetes.io/unreachable", "NoExecute"));
    OK(!world_get(&w, "/pods", "default", "p")->deleted);
    beat(&w, "n1"); /* its link is back: so is its word */
    world_do(&w, API_PATCH_MERGE, "/nodes", "", "n1", "status",
        "{\"status\":{\"conditions\":[{\"type\":\"Ready\",\"status\":\"True\",\"reason\":\"KubeletReady\"}]}}", 200);
    world_run(&w);
    OK(!tainted(&w, "n1", "node.kubernetes.io/unreachable", "NoSchedule"));
    world_close(&w);
}

TEST(when_no_node_is_left_nobody_is_driven_away)
{
    struct world w;
    world_open(&w, "serviceaccount,node,taint-eviction");
    world_node(&w, "n1", true);
    lease(&w, "n1");
    world_run(&w);
    world_pass(&w, 60);
    OK(tainted(&w, "n1", "node.kubernetes.io/unreachable", "NoSchedule"));
    OK(!tainted(&w, "n1", "node.kubernetes.io/unreachable", "NoExecute"));
    world_close(&w);
}

TEST(pods_of_a_node_that_was_removed_are_collected)
{
    struct world w;
    world_open(&w, "serviceaccount,podgc");
    world_node(&w, "n1", true);
    world_create(&w, "/pods", "default",
        "{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":{\"name\":\"p\"},\"spec\":{\"nodeName\":\"n1\",\"containers\":[{\"name\":"
        "\"c\",\"image\":\"a\"}]}}");
    world_do(&w, API_DELETE, "/nodes", "", "n1", "", NULL, 200);
    world_run(&w);
    OK(world_get(&w, "/pods", "default", "p"));
    world_pass(&w, 41);
    OK(!world_get(&w, "/pods", "default", "p"));
    world_close(&w);
}

TEST(endpoint_slices_follow_pods)
{
    struct world w;
    world_open(&w, "serviceaccount,endpointslice,endpoints");
    world_create(&w, "/services", "default",
        "{\"apiVersion\":\"v1\",\"kind\":\"Service\",\"metadata\":{\"name\":\"s\"},\"spec\":{\"selector\":{\"app\":\"s\"},\"ports\":[{"
        "\"name\":\"http\",\"port\":80,\"targetPort\":\"web\"}]}}");
    world_run(&w);
    EQ(world_count(&w, "discovery.k8s.io/endpointslices", "default"), 2); /* ours, and that of the kubernetes Service */
    for (int i = 0; i < 2; i++) {
        struct str body = pool_printf(w.pool,
            "{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":{\"name\":\"p%d\",\"labels\":{\"app\":\"s\"}},\"spec\":{\"containers\":[{"
            "\"name\":\"c\",\"image\":\"a\",\"ports\":[{\"name\":\"web\",\"containerPort\":8080}]}]}}",
            i);
        world_create(&w, "/pods", "default", body.p);
        world_pod_status(&w, world_get(&w, "/pods", "default", pool_printf(w.pool, "p%d", i).p), "Running", i == 0);
    }
    world_run(&w);
    const struct obj *slice = NULL;
    for (size_t i = 0; i < 2; i++)
        if (obj_controller(world_nth(&w, "discovery.k8s.io/endpointslices", "default", i)))
            slice = world_nth(&w, "discovery.k8s.io/endpointslices", "default", i);
    const char *name = pool_strz(w.pool, slice->name);
    EQ(world_int(&w, "discovery.k8s.io/endpointslices", "default", name, "/ports/0/port"), 8080);
    struct json *list = json_get(world_tree(&w, "discovery.k8s.io/endpointslices", "default", name), STR("endpoints"));
    EQ(json_count(list), 2);
    int ready = 0;
    json_for (list, ep)
        ready += json_get_bool(json_get(ep, STR("conditions")), "ready", false);
    EQ(ready, 1);
    EQ(json_count(json_path(world_tree(&w, "/endpoints", "default", "s"), "subsets", NULL)), 1);
    EQ_STR(world_str(&w, "/endpoints", "default", "s", "/subsets/0/addresses/0/targetRef/name"), STR("p0"));
    EQ_STR(world_str(&w, "/endpoints", "default", "s", "/subsets/0/notReadyAddresses/0/targetRef/name"), STR("p1"));
    world_do(
        &w, API_DELETE, "/pods", "default", "p0", "", "{\"kind\":\"DeleteOptions\",\"apiVersion\":\"v1\",\"gracePeriodSeconds\":0}", 200);
    world_do(
        &w, API_DELETE, "/pods", "default", "p1", "", "{\"kind\":\"DeleteOptions\",\"apiVersion\":\"v1\",\"gracePeriodSeconds\":0}", 200);
    world_run(&w);
    EQ(world_count(&w, "discovery.k8s.io/endpointslices", "default"), 2);
    EQ(json_count(json_path(world_tree(&w, "/endpoints", "default", "s"), "subsets", NULL)), 0);
    world_close(&w);
}

TEST(endpoints_written_by_hand_are_mirrored)
{
    struct world w;
    world_open(&w, "endpointslice-mirroring,endpointslice,endpoints,garbage");
    world_create(&w, "/services", "default",
        "{\"apiVersion\":\"v1\",\"kind\":\"Service\",\"metadata\":{\"name\":\"ext\"},\"spec\":{\"ports\":[{\"port\":80}]}}");
    world_create(&w, "/endpoints", "default",
        "{\"apiVersion\":\"v1\",\"kind\":\"Endpoints\",\"metadata\":{\"name\":\"ext\"},\"subsets\":[{\"addresses\":[{\"ip\":\"192.0.2.1\"}]"
        ",\"notReadyAddresses\":[{\"ip\":\"192.0.2.2\"}],\"ports\":[{\"port\":8080}]}]}");
    world_run(&w);
    EQ(world_count(&w, "discovery.k8s.io/endpointslices", "default"), 2);
    const struct obj *slice = NULL;
    for (size_t i = 0; i < 2; i++)
        if (str_eqz(obj_label(world_nth(&w, "discovery.k8s.io/endpointslices", "default", i), STR("kubernetes.io/service-name")), "ext"))
            slice = world_nth(&w, "discovery.k8s.io/endpointslices", "default", i);
    const char *name = pool_strz(w.pool, slice->name);
    EQ_STR(world_str(&w, "discovery.k8s.io/endpointslices", "default", name, "/endpoints/0/addresses/0"), STR("192.0.2.1"));
    EQ(world_int(&w, "discovery.k8s.io/endpointslices", "default", name, "/ports/0/port"), 8080);
    world_do(&w, API_DELETE, "/endpoints", "default", "ext", "", NULL, 200);
    world_run(&w);
    EQ(world_count(&w, "discovery.k8s.io/endpointslices", "default"), 1);
    world_close(&w);
}
