/* Load balancers: which nodes' addresses a Service gets, and what a taken port does. */
#include "fixture.h"

#define SVC(name, more, port)                                                                                                              \
    "{\"apiVersion\":\"v1\",\"kind\":\"Service\",\"metadata\":{\"name\":\"" name "\"" more                                                 \
    "},\"spec\":{\"type\":\"LoadBalancer\",\"ports\":[{\"port\":" port "}]}}"

static void node_address(struct world *w, const char *name, const char *ip, const char *labels)
{
    _cleanup_(freep) char *status = xasprintf("{\"status\":{\"addresses\":[{\"type\":\"InternalIP\",\"address\":\"%s\"}]}}", ip);
    _cleanup_(freep) char *meta = xasprintf("{\"metadata\":{\"labels\":%s}}", labels);
    world_node(w, name, true);
    world_do(w, API_PATCH_MERGE, "/nodes", "", name, "status", status, 200);
    world_do(w, API_PATCH_MERGE, "/nodes", "", name, "", meta, 200);
}

static const char *given(struct world *w, const char *name)
{
    static char out[256];
    struct json *tree = world_tree(w, "/services", "default", name);
    size_t n = 0;
    out[0] = 0;
    json_for (json_path(tree, "status", "loadBalancer", "ingress", NULL), x)
        n += (size_t)snprintf(out + n, sizeof out - n, "%s%.*s", n ? " " : "", STR_ARG(json_get_str(x, "ip")));
    return out;
}

TEST(a_load_balancer_gets_the_addresses_of_ready_nodes_and_follows_them)
{
    struct world w;
    world_open(&w, "service-lb");
    node_address(&w, "a", "192.0.2.1", "{}");
    node_address(&w, "b", "192.0.2.2", "{}");
    world_create(&w, "/services", "default", SVC("web", "", "80"));
    world_run(&w);
    EQ_Z(given(&w, "web"), "192.0.2.1 192.0.2.2");
    world_do(&w, API_PATCH_MERGE, "/nodes", "", "b", "status",
        "{\"status\":{\"addresses\":[{\"type\":\"InternalIP\",\"address\":\"192.0.2.9\"}]}}", 200);
    world_run(&w);
    EQ_Z(given(&w, "web"), "192.0.2.1 192.0.2.9");
    world_do(
        &w, API_PATCH_MERGE, "/nodes", "", "a", "status", "{\"status\":{\"conditions\":[{\"type\":\"Ready\",\"status\":\"False\"}]}}", 200);
    world_run(&w);
    EQ_Z(given(&w, "web"), "192.0.2.9");
    world_do(&w, API_PATCH_MERGE, "/services", "default", "web", "", "{\"spec\":{\"type\":\"ClusterIP\"}}", 200);
    world_run(&w);
    EQ_Z(given(&w, "web"), "");
    world_close(&w);
}

TEST(labels_choose_the_nodes_and_pools_of_a_load_balancer)
{
    struct world w;
    world_open(&w, "service-lb");
    node_address(&w, "a", "192.0.2.1", "{\"svccontroller.k3s.cattle.io/enablelb\":\"true\"}");
    node_address(&w, "b", "192.0.2.2", "{\"svccontroller.k3s.cattle.io/enablelb\":\"true\",\"svccontroller.k3s.cattle.io/lbpool\":\"p\"}");
    node_address(&w, "c", "192.0.2.3", "{}");
    world_create(&w, "/services", "default", SVC("any", "", "80"));
    world_create(&w, "/services", "default", SVC("pool", ",\"labels\":{\"svccontroller.k3s.cattle.io/lbpool\":\"p\"}", "81"));
    world_run(&w);
    EQ_Z(given(&w, "any"), "192.0.2.1 192.0.2.2");
    EQ_Z(given(&w, "pool"), "192.0.2.2");
    world_close(&w);
}

TEST(a_port_that_an_older_service_has_is_not_given_twice_and_an_event_says_so)
{
    struct world w;
    world_open(&w, "service-lb");
    node_address(&w, "a", "192.0.2.1", "{}");
    world_create(&w, "/services", "default", SVC("first", "", "80"));
    world_run(&w);
    world_create(&w, "/services", "default", SVC("second", "", "80"));
    world_create(&w, "/services", "default",
        "{\"apiVersion\":\"v1\",\"kind\":\"Service\",\"metadata\":{\"name\":\"other\"},\"spec\":{\"type\":\"LoadBalancer\","
        "\"loadBalancerClass\":\"example.com/x\",\"ports\":[{\"port\":80}]}}");
    world_run(&w);
    EQ_Z(given(&w, "first"), "192.0.2.1");
    EQ_Z(given(&w, "second"), "");
    EQ_Z(given(&w, "other"), "");
    OK(world_event(&w, "default", "SyncLoadBalancerFailed"));
    world_do(&w, API_DELETE, "/services", "default", "first", "", "{}", 200);
    world_run(&w);
    EQ_Z(given(&w, "second"), "192.0.2.1");
    world_close(&w);
}
