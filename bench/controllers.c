/* The time of a rolling update and of deleting a namespace: the real store (in memory), api and controllers; pods are ready as soon as they
 * stand. Usage: bench-controllers [pods]. */
#include "controllers/controllers.h"
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include "base/file.h"
#include "kinds/kinds.h"
#include "kinds/pod.h"

static struct store *store;
static struct api *a;
static struct loop *l;
static struct controllers *cs;

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

static void request(
    enum api_verb verb, const char *group, const char *resource, struct str ns, struct str name, const char *sub, const char *body)
{
    struct request r = {.call = {.verb = verb,
                            .ns = ns,
                            .name = name,
                            .sub = str_of(sub),
                            .group = str_of(group),
                            .resource = str_of(resource),
                            .pool = pool_new()}};
    if (body && json_parse(r.call.pool, str_of(body), NULL, &r.call.body, NULL) < 0)
        exit(2);
    api_do(a, l, &r.call, on_done);
    while (!r.done)
        loop_step(l, 1);
    if (r.call.err && r.call.err->code != ERR_NOT_FOUND && r.call.err->code != ERR_CONFLICT) {
        fprintf(stderr, "%s %.*s: %s\n", resource, STR_ARG(name), err_msg(r.call.err));
        exit(1);
    }
    api_call_clear(&r.call);
    pool_free(r.call.pool);
}

/* Plays the nodes: pods that are not ready become so. */
static size_t make_ready(struct str ns)
{
    struct store_view *v = store_view(store);
    struct store_iter it;
    size_t n = 0;
    iter_start(&it, v, store_find(store, STR("/pods")), ns, STR_NULL, STR_NULL);
    for (const struct obj *o; (o = iter_next(&it));) {
        const struct pod_view *p = o->view;
        if (o->deleted || (p->flags & POD_READY))
            continue;
        request(API_PATCH_MERGE, "", "pods", o->ns, o->name, "status",
            "{\"status\":{\"phase\":\"Running\",\"podIP\":\"10.42.0.9\",\"podIPs\":[{\"ip\":\"10.42.0.9\"}],\"conditions\":[{\"type\":"
            "\"Ready\",\"status\":\"True\",\"lastTransitionTime\":\"2026-01-01T00:00:00Z\"}]}}");
        n++;
    }
    store_view_unref(v);
    return n;
}

static void run(void)
{
    for (int quiet = 0; quiet < 3;)
        quiet = loop_step(l, 0) > 0 || controllers_busy(cs) ? 0 : quiet + 1;
}

static void settle(struct str ns)
{
    do
        run();
    while (make_ready(ns));
    run();
}

static bool stands(struct str ns)
{
    struct store_view *v = store_view(store);
    bool is = view_get(v, store_find(store, STR("/namespaces")), STR(""), ns) != NULL;
    store_view_unref(v);
    return is;
}

static double seconds(int64_t from)
{
    return (double)(clock_mono(NULL) - from) / 1e9;
}

int main(int argc, char **argv)
{
    int pods = argc > 1 ? (int)strtol(argv[1], NULL, 10) : 1000;
    char tls[] = "/tmp/sampan-bench-XXXXXX", body[1024];
    struct clock *clock = clock_new(NULL);
    struct err *e = NULL;
    struct str ns = STR("bench");
    bool ready = false;
    struct schema *schema = schema_builtin();
    kinds_attach();
    l = loop_new(&e);
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
    struct controllers_config cc = {.api = a, .loop = l, .clock = clock};
    if (controllers_start(&cc, &cs, &e) < 0)
        return 1;
    request(
        API_CREATE, "", "namespaces", STR(""), ns, "", "{\"apiVersion\":\"v1\",\"kind\":\"Namespace\",\"metadata\":{\"name\":\"bench\"}}");
    run();
    request(API_CREATE, "", "services", ns, STR("web"), "",
        "{\"apiVersion\":\"v1\",\"kind\":\"Service\",\"metadata\":{\"name\":\"web\"},\"spec\":{\"selector\":{\"app\":\"web\"},\"ports\":[{"
        "\"port\":80}]}}");
    int64_t t = clock_mono(NULL);
    snprintf(body, sizeof body,
        "{\"apiVersion\":\"apps/"
        "v1\",\"kind\":\"Deployment\",\"metadata\":{\"name\":\"web\"},\"spec\":{\"replicas\":%d,\"selector\":{\"matchLabels\":{\"app\":"
        "\"web\"}},"
        "\"template\":{\"metadata\":{\"labels\":{\"app\":\"web\"}},\"spec\":{\"containers\":[{\"name\":\"c\",\"image\":\"a:1\"}]}}}}",
        pods);
    request(API_CREATE, "apps", "deployments", ns, STR("web"), "", body);
    settle(ns);
    printf("scale to %d ready pods: %.2f s\n", pods, seconds(t));
    t = clock_mono(NULL);
    request(API_PATCH_STRATEGIC, "apps", "deployments", ns, STR("web"), "",
        "{\"spec\":{\"template\":{\"spec\":{\"containers\":[{\"name\":\"c\",\"image\":\"a:2\"}]}}}}");
    settle(ns);
    printf("rolling update of %d pods: %.2f s\n", pods, seconds(t));
    for (int i = 0; i < 5000; i++) {
        char text[16];
        struct str name = str_make(text, (size_t)snprintf(text, sizeof text, "c%d", i));
        snprintf(
            body, sizeof body, "{\"apiVersion\":\"v1\",\"kind\":\"ConfigMap\",\"metadata\":{\"name\":\"c%d\"},\"data\":{\"k\":\"v\"}}", i);
        request(API_CREATE, "", "configmaps", ns, name, "", body);
    }
    t = clock_mono(NULL);
    request(API_DELETE, "", "namespaces", STR(""), ns, "", NULL);
    while (stands(ns))
        run();
    printf("deletion of a namespace with %d objects: %.2f s\n", 5000 + pods, seconds(t));
    controllers_stop(cs);
    api_free(a);
    store_close(store);
    loop_free(l);
    clock_free(clock);
    return dir_remove(tls, NULL) < 0;
}
