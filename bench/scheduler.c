/* Pods scheduled per second: the real store (in memory), api and scheduler, 200 nodes, pods of one ReplicaSet-like owner.
 * Usage: bench-scheduler [pods]; prints the time to create and to bind them, and the process's memory. */
#include "scheduler/scheduler.h"
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include "base/file.h"
#include "kinds/kinds.h"

struct request {
    struct api_call call;
    bool done;
};

static void on_done(struct api_call *c)
{
    container_of(c, struct request, call)->done = true;
}
static void on_ready(void *arg)
{
    *(bool *)arg = true;
}

static void request(struct api *a, struct loop *l, enum api_verb verb, const char *resource, const char *ns, const char *name,
    const char *sub, const char *body)
{
    struct request r = {
        .call = {
            .verb = verb, .ns = str_of(ns), .name = str_of(name), .sub = str_of(sub), .resource = str_of(resource), .pool = pool_new()}};
    r.call.group = STR("");
    if (json_parse(r.call.pool, str_of(body), NULL, &r.call.body, NULL) < 0)
        exit(2);
    api_do(a, l, &r.call, on_done);
    while (!r.done)
        loop_step(l, 1);
    if (r.call.err) {
        fprintf(stderr, "%s %s: %s\n", resource, name, err_msg(r.call.err));
        exit(1);
    }
    api_call_clear(&r.call);
    pool_free(r.call.pool);
}

int main(int argc, char **argv)
{
    int pods = argc > 1 ? (int)strtol(argv[1], NULL, 10) : 10000, nodes = 200;
    char tls[] = "/tmp/sampan-bench-XXXXXX", body[1024], name[32];
    struct clock *clock = clock_new(NULL);
    struct err *e = NULL;
    struct store *store;
    struct api *a;
    struct scheduler *s;
    bool ready = false;
    struct schema *schema = schema_builtin();
    kinds_attach();
    struct loop *l = loop_new(&e);
    if (!l || !mkdtemp(tls) || api_store_open(NULL, schema, clock, &store, &e) < 0)
        return 1;
    struct api_config c = {.store = store,
        .schema = schema,
        .clock = clock,
        .version_git = STR("v1.36.2"),
        .tls_dir = tls,
        .service_cidr = STR("10.43.0.0/16"),
        .cluster_cidr = STR("10.42.0.0/16"),
        .cluster_domain = STR("cluster.local"),
        .dns_ip = STR("10.43.0.10"),
        .advertise = STR("127.0.0.1"),
        .port = 6443,
        .static_token_server = STR("s"),
        .static_token_agent = STR("a")};
    if (api_new(&c, &a, &e) < 0 || (api_on_ready(a, on_ready, &ready), api_start(a, l, &e)) < 0) {
        fprintf(stderr, "%s\n", err_msg(e));
        return 1;
    }
    while (!ready)
        loop_step(l, 5);
    request(a, l, API_CREATE, "serviceaccounts", "default", "default", "",
        "{\"apiVersion\":\"v1\",\"kind\":\"ServiceAccount\",\"metadata\":{\"name\":\"default\"}}");
    for (int i = 0; i < nodes; i++) {
        snprintf(name, sizeof name, "node-%03d", i);
        snprintf(body, sizeof body,
            "{\"apiVersion\":\"v1\",\"kind\":\"Node\",\"metadata\":{\"name\":\"%s\",\"labels\":{\"kubernetes.io/"
            "hostname\":\"%s\",\"topology.kubernetes.io/zone\":\"z%d\"}}}",
            name, name, i % 3);
        request(a, l, API_CREATE, "nodes", "", name, "", body);
        request(a, l, API_PATCH_MERGE, "nodes", "", name, "status",
            "{\"status\":{\"allocatable\":{\"cpu\":\"64\",\"memory\":\"256Gi\",\"pods\":\"250\"}}}");
        request(a, l, API_PATCH_MERGE, "nodes", "", name, "", "{\"spec\":{\"taints\":null}}");
    }
    struct rusage before, after;
    getrusage(RUSAGE_SELF, &before);
    int64_t t0 = clock_mono(NULL);
    for (int i = 0; i < pods; i++) {
        snprintf(name, sizeof name, "pod-%05d", i);
        snprintf(body, sizeof body,
            "{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":{\"name\":\"%s\",\"labels\":{\"app\":\"web\"},\"ownerReferences\":[{"
            "\"apiVersion\":\"apps/v1\",\"kind\":\"ReplicaSet\",\"name\":\"rs\","
            "\"uid\":\"11111111-0000-4000-8000-00000000%04d\",\"controller\":true}]},\"spec\":{\"containers\":[{\"name\":\"c\",\"image\":"
            "\"registry.example.com/web:1\",\"resources\":{\"requests\":{\"cpu\":\"100m\",\"memory\":\"64Mi\"}}}]}}",
            name, i / 100);
        request(a, l, API_CREATE, "pods", "default", name, "", body);
    }
    int64_t t1 = clock_mono(NULL);
    struct scheduler_config sc = {.api = a, .loop = l, .clock = clock};
    if (scheduler_start(&sc, &s, &e) < 0)
        return 1;
    while (scheduler_waiting(s))
        loop_step(l, 1);
    int64_t t2 = clock_mono(NULL);
    getrusage(RUSAGE_SELF, &after);
    printf("%d pods on %d nodes: created %.0f/s, scheduled %.0f/s; %.1f MiB more\n", pods, nodes, pods / ((double)(t1 - t0) / 1e9),
        pods / ((double)(t2 - t1) / 1e9), (double)(after.ru_maxrss - before.ru_maxrss) / 1024);
    scheduler_stop(s);
    api_free(a);
    store_close(store);
    loop_free(l);
    clock_free(clock);
    return dir_remove(tls, NULL) < 0;
}
