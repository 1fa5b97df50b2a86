/* A cluster of hollow nodes: the real store on disk, the real api, controllers and scheduler on a control thread of their own; the nodes
 * are the only thing that is made up. A hollow node does what gate does for its pods as the API sees it: it patches the status of a pod
 * that was bound to it, as user system:node:<name>, and removes one that was deleted.
 *
 * Usage: bench-scale [pods [nodes]]; 10,000 and 200. Prints wall time and, because the machine that measures is seldom idle, the control
 * thread's own CPU time; memory as PSS (smaps_rollup).
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include "base/file.h"
#include "controllers/controllers.h"
#include "kinds/kinds.h"
#include "kinds/pod.h"
#include "scheduler/scheduler.h"

static struct store *store;
static struct api *a;
static struct loop *mine, *control;
static struct clock *sclock;
static struct controllers *cs;
static struct scheduler *sched;
static pthread_t thread;
static _Atomic size_t flying;
static _Atomic bool started;
static size_t missed; /* how often the hollow nodes fell behind and looked at all pods */

/* ---- control thread ---- */

static void on_ready(void *arg)
{
    *(_Atomic bool *)arg = true;
}

static void *control_main(void *arg)
{
    struct err *e = NULL;
    struct controllers_config cc = {.api = a, .loop = control, .clock = sclock};
    struct scheduler_config sc = {.api = a, .loop = control, .clock = sclock};
    api_on_ready(a, on_ready, &started);
    if (api_start(a, control, &e) < 0 || controllers_start(&cc, &cs, &e) < 0 || scheduler_start(&sc, &sched, &e) < 0) {
        fprintf(stderr, "%s\n", err_msg(e));
        exit(1);
    }
    loop_run(control);
    scheduler_stop(sched);
    controllers_stop(cs);
    return arg;
}

static double control_cpu(void)
{
    clockid_t id;
    struct timespec t = {0};
    if (pthread_getcpuclockid(thread, &id) == 0)
        clock_gettime(id, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static double pss_mib(void)
{
    _cleanup_(buf_clear) struct buf b = BUF_INIT;
    if (file_read("/proc/self/smaps_rollup", 1 << 16, &b, NULL) < 0)
        return 0;
    const char *at = strstr(buf_str(&b).p, "\nPss:");
    return at ? (double)strtol(at + 5, NULL, 10) / 1024 : 0;
}

/* ---- requests ---- */

struct request {
    struct api_call call;
    struct api_user user;
    bool wait, done;
};

static void on_done(struct api_call *c)
{
    struct request *r = container_of(c, struct request, call);
    r->done = true;
    if (c->err && c->err->code != ERR_NOT_FOUND && c->err->code != ERR_CONFLICT)
        fprintf(stderr, "%.*s %.*s: %s\n", STR_ARG(c->resource), STR_ARG(c->name), err_msg(c->err));
    if (r->wait)
        return;
    api_call_clear(c);
    flying--;
    pool_free(c->pool);
}

static const struct str node_groups[] = {{"system:nodes", 12}, {"system:authenticated", 20}};

/* as: a node's name, or absent for system:apiserver. */
static void request(enum api_verb verb, const char *group, const char *resource, struct str ns, struct str name, const char *sub,
    const char *body, struct str as, bool wait)
{
    struct pool *p = pool_new();
    struct request *r = pool_new_of(p, struct request);
    r->call = (struct api_call){.verb = verb,
        .ns = pool_str(p, ns),
        .name = pool_str(p, name),
        .sub = str_of(sub),
        .group = str_of(group),
        .resource = str_of(resource),
        .pool = p};
    r->wait = wait;
    if (as.n) {
        r->user = (struct api_user){.name = pool_printf(p, "system:node:%.*s", STR_ARG(as)), .groups = node_groups, .ngroups = 2};
        r->call.user = &r->user;
    }
    if (body && json_parse(p, str_of(body), NULL, &r->call.body, NULL) < 0)
        exit(2);
    flying += !wait;
    api_do(a, mine, &r->call, on_done);
    while (wait && !r->done)
        loop_step(mine, 1);
    if (wait) {
        api_call_clear(&r->call);
        pool_free(p);
    }
}

/* ---- hollow nodes ---- */

static struct store_watch *watch;
static void on_pods(void *arg);

static void on_pod(const struct store_event *ev)
{
    const struct pod_view *v = ev->obj->view, *old = ev->before ? ev->before->view : NULL;
    struct str node = pod_view_get(v, v->node);
    if (ev->type == STORE_DELETE || !node.n)
        return;
    if (ev->obj->deleted) {
        if (!ev->before || !ev->before->deleted)
            request(API_DELETE, "", "pods", ev->obj->ns, ev->obj->name, "",
                "{\"kind\":\"DeleteOptions\",\"apiVersion\":\"v1\",\"gracePeriodSeconds\":0}", node, false);
        return;
    }
    if (old && pod_view_get(old, old->node).n)
        return;
    request(API_PATCH_STRATEGIC, "", "pods", ev->obj->ns, ev->obj->name, "status",
        "{\"status\":{\"phase\":\"Running\",\"hostIP\":\"192.0.2.1\",\"podIP\":\"10.42.0.9\",\"podIPs\":[{\"ip\":\"10.42.0.9\"}],"
        "\"startTime\":\"2026-01-01T00:00:00Z\",\"conditions\":[{"
        "\"type\":\"Initialized\",\"status\":\"True\"},{\"type\":\"Ready\",\"status\":\"True\",\"lastTransitionTime\":\"2026-01-01T00:00:"
        "00Z\"},{\"type\":\"ContainersReady\",\"status\":"
        "\"True\"}],\"containerStatuses\":[{\"name\":\"c\",\"ready\":true,\"restartCount\":0,\"image\":\"registry.example.com/"
        "web:1\",\"imageID\":\"\",\"started\":true,\"state\":{"
        "\"running\":{\"startedAt\":\"2026-01-01T00:00:00Z\"}}}]}}",
        node, false);
}

/* Fell behind: looks at all pods, as an agent that comes back does. */
static void look_anew(void)
{
    struct store_view *v = store_view(store);
    struct store_iter it;
    struct err *e = NULL;
    store_watch_close(watch);
    if (store_watch_open(store, store_find(store, STR("/pods")), view_rev(v), 0, mine, on_pods, NULL, &watch, &e) < 0)
        exit(1);
    iter_start(&it, v, store_find(store, STR("/pods")), STR(""), STR_NULL, STR_NULL);
    for (const struct obj *o; (o = iter_next(&it));) {
        const struct pod_view *p = o->view;
        struct store_event ev = {.type = STORE_PUT, .obj = o};
        if (!(p->flags & POD_READY) || o->deleted)
            on_pod(&ev);
    }
    missed++;
    store_view_unref(v);
}

static void on_pods(void *arg)
{
    for (;;) {
        struct err *e = NULL;
        struct store_event *ev = store_watch_next(watch, &e);
        bool behind = e || (ev && ev->type == STORE_RESYNC);
        err_free(e);
        if (behind) {
            store_event_unref(ev);
            look_anew();
            return;
        }
        if (!ev)
            return;
        on_pod(ev);
        store_event_unref(ev);
    }
}

static void make_nodes(int nodes)
{
    char name[32], body[512];
    for (int i = 0; i < nodes; i++) {
        struct str n = str_make(name, (size_t)snprintf(name, sizeof name, "node-%03d", i));
        snprintf(body, sizeof body,
            "{\"apiVersion\":\"v1\",\"kind\":\"Node\",\"metadata\":{\"name\":\"%s\",\"labels\":{\"kubernetes.io/"
            "hostname\":\"%s\",\"topology.kubernetes.io/zone\":\"z%d\"}}}",
            name, name, i % 3);
        request(API_CREATE, "", "nodes", STR(""), n, "", body, STR(""), true);
        request(API_PATCH_MERGE, "", "nodes", STR(""), n, "status",
            "{\"status\":{\"allocatable\":{\"cpu\":\"64\",\"memory\":\"256Gi\",\"pods\":\"250\"},\"capacity\":{\"cpu\":\"64\",\"memory\":"
            "\"256Gi\",\"pods\":\"250\"},\"conditions\":[{\"type\":"
            "\"Ready\",\"status\":\"True\",\"reason\":\"KubeletReady\",\"lastTransitionTime\":\"2026-01-01T00:00:00Z\"}]}}",
            STR(""), true);
    }
}

/* ---- measuring ---- */

static double now(void)
{
    return (double)clock_mono(NULL) / 1e9;
}

static void rest(double seconds)
{
    for (double until = now() + seconds; now() < until;)
        loop_step(mine, 50);
}

/* All of the Deployment's pods are of its newest template, ready, and the only ones. */
static bool rolled_out(int i)
{
    _cleanup_(pool_freep) struct pool *p = pool_new();
    struct store_view *v = store_view(store);
    struct json *tree = NULL;
    const struct obj *o = view_get(v, store_find(store, STR("apps/deployments")), STR("scale"), pool_printf(p, "web-%02d", i));
    bool yes = false;
    if (o && obj_parse(o, p, &tree, NULL) == 0) {
        struct json *st = json_get(tree, STR("status"));
        int64_t want = json_as_int(json_path(tree, "spec", "replicas", NULL), 0);
        yes = json_get_int(st, "observedGeneration", 0) == o->generation && json_get_int(st, "readyReplicas", 0) == want &&
              json_get_int(st, "updatedReplicas", 0) == want && json_get_int(st, "replicas", 0) == want;
    }
    store_view_unref(v);
    return yes;
}

static void wait_for(int i)
{
    while (!rolled_out(i) || flying)
        loop_step(mine, 5);
}

static void deployment(int i, int replicas, int image)
{
    char name[32], body[1024];
    struct str n = str_make(name, (size_t)snprintf(name, sizeof name, "web-%02d", i));
    snprintf(body, sizeof body,
        "{\"apiVersion\":\"apps/"
        "v1\",\"kind\":\"Deployment\",\"metadata\":{\"name\":\"%s\"},\"spec\":{\"replicas\":%d,\"selector\":{\"matchLabels\":{\"app\":\"%"
        "s\"}},\"template\":{\"metadata\":{"
        "\"labels\":{\"app\":\"%s\"}},\"spec\":{\"containers\":[{\"name\":\"c\",\"image\":\"registry.example.com/"
        "web:%d\",\"resources\":{\"requests\":{\"cpu\":\"100m\",\"memory\":\"64Mi\"}}}]}}}}",
        name, replicas, name, name, image);
    request(image == 1 ? API_CREATE : API_PATCH_MERGE, "apps", "deployments", STR("scale"), n, "", body, STR(""), true);
}

static void fill(int pods)
{
    double t0 = now(), c0 = control_cpu();
    for (int i = 0; i < pods / 1000; i++) {
        double t = now(), c = control_cpu(), p = pss_mib();
        deployment(i, 1000, 1);
        wait_for(i);
        printf("  %6d pods: the last 1,000 in %.2f s, control thread %.0f us per pod, PSS %.1f MiB (+%.1f)\n", (i + 1) * 1000, now() - t,
            (control_cpu() - c) * 1e3, pss_mib(), pss_mib() - p);
    }
    double cpu = control_cpu() - c0;
    printf("%d pods made, bound and reported ready: %.2f s (%.0f/s); of the control thread %.2f s (%.0f/s)\n", pods, now() - t0,
        pods / (now() - t0), cpu, pods / cpu);
}

static void update(int pods)
{
    double t = now(), c = control_cpu();
    deployment(0, 1000, 2);
    wait_for(0);
    printf("rolling update of 1,000 pods among %d: %.2f s, control thread %.2f s\n", pods, now() - t, control_cpu() - c);
}

static bool stands(struct str ns)
{
    struct store_view *v = store_view(store);
    bool is = view_get(v, store_find(store, STR("/namespaces")), STR(""), ns) != NULL;
    store_view_unref(v);
    return is;
}

static void drop_namespace(void)
{
    char body[256], text[16];
    request(API_CREATE, "", "namespaces", STR(""), STR("crowd"), "",
        "{\"apiVersion\":\"v1\",\"kind\":\"Namespace\",\"metadata\":{\"name\":\"crowd\"}}", STR(""), true);
    for (int i = 0; i < 5000; i++) {
        struct str name = str_make(text, (size_t)snprintf(text, sizeof text, "c%d", i));
        snprintf(
            body, sizeof body, "{\"apiVersion\":\"v1\",\"kind\":\"ConfigMap\",\"metadata\":{\"name\":\"c%d\"},\"data\":{\"k\":\"v\"}}", i);
        request(API_CREATE, "", "configmaps", STR("crowd"), name, "", body, STR(""), true);
    }
    double t = now();
    request(API_DELETE, "", "namespaces", STR(""), STR("crowd"), "", NULL, STR(""), true);
    while (stands(STR("crowd")))
        loop_step(mine, 5);
    printf("deletion of a namespace with 5,000 objects: %.2f s\n", now() - t);
}

static int open_all(const char *folder, struct err **e)
{
    _cleanup_(freep) char *tls = xasprintf("%s/tls", folder), *db = xasprintf("%s/db", folder);
    struct schema *schema = schema_builtin();
    kinds_attach();
    if (dir_make(db, 0700, e) < 0 || api_store_open(db, schema, sclock, &store, e) < 0)
        return -1;
    struct api_config c = {.store = store,
        .schema = schema,
        .clock = sclock,
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
    return api_new(&c, &a, e);
}

int main(int argc, char **argv)
{
    int pods = argc > 1 ? (int)strtol(argv[1], NULL, 10) : 10000, nodes = argc > 2 ? (int)strtol(argv[2], NULL, 10) : 200;
    char folder[] = "/var/tmp/sampan-bench-XXXXXX";
    struct err *e = NULL;
    setvbuf(stdout, NULL, _IOLBF, 0);
    sclock = clock_new(NULL);
    mine = loop_new(&e);
    control = loop_new(&e);
    if (!mine || !control || !mkdtemp(folder) || open_all(folder, &e) < 0 || pthread_create(&thread, NULL, control_main, NULL)) {
        fprintf(stderr, "%s\n", err_msg(e));
        return 1;
    }
    while (!started)
        loop_step(mine, 5);
    struct store_view *v = store_view(store);
    if (store_watch_open(store, store_find(store, STR("/pods")), view_rev(v), 0, mine, on_pods, NULL, &watch, &e) < 0)
        return 1;
    store_view_unref(v);
    make_nodes(nodes);
    request(API_CREATE, "", "namespaces", STR(""), STR("scale"), "",
        "{\"apiVersion\":\"v1\",\"kind\":\"Namespace\",\"metadata\":{\"name\":\"scale\"}}", STR(""), true);
    rest(2);
    double empty = pss_mib();
    printf("%d hollow nodes, no pods: PSS %.1f MiB\n", nodes, empty);
    fill(pods);
    update(pods);
    rest(5);
    printf("at rest with %d pods: PSS %.1f MiB, %.2f MiB per 1,000 pods\n", pods, pss_mib(), (pss_mib() - empty) * 1000 / pods);
    double c = control_cpu();
    rest(10);
    printf("idle for 10 s: control thread %.1f ms\n", (control_cpu() - c) * 1e3);
    drop_namespace();
    printf("the hollow nodes fell behind their watch %zu times\n", missed);
    store_watch_close(watch);
    loop_stop(control, 0);
    pthread_join(thread, NULL);
    api_free(a);
    store_close(store);
    loop_free(mine);
    loop_free(control);
    clock_free(sclock);
    return dir_remove(folder, NULL) < 0;
}
