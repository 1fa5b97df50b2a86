#include "fixture.h"
#include "schema/schema.h"
#include "kinds/kinds.h"

#define START (INT64_C(1800000000) * NS_PER_S)

static void on_ready(void *arg)
{
    *(bool *)arg = true;
}

void world_open(struct world *w, const char *only)
{
    struct err *e = NULL;
    bool ready = false;
    *w = (struct world){.pool = pool_new(), .clock = clock_fake(START)};
    char *tls = xasprintf("%s/tls", test_tmpdir());
    struct schema *schema = schema_builtin();
    static bool attached; /* once in a process */
    if (!attached)
        kinds_attach();
    attached = true;
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
    if (!only || *only) {
        struct controllers_config cc = {.api = w->api, .loop = w->loop, .clock = w->clock, .local_storage = "/base", .only = only};
        FINE(controllers_start(&cc, &w->cs, &e), e);
    }
    world_run(w);
}

void world_close(struct world *w)
{
    controllers_stop(w->cs);
    for (int i = 0; i < 10; i++)
        loop_step(w->loop, 0);
    api_free(w->api);
    store_close(w->store);
    loop_free(w->loop);
    clock_free(w->clock);
    pool_free(w->pool);
}

void world_run(struct world *w)
{
    for (int quiet = 0, i = 0; quiet < 4 && i < 100000; i++) {
        int n = loop_step(w->loop, quiet ? 8 : 0); /* first retries come after a few milliseconds */
        bool busy = n > 0 || (w->cs && controllers_busy(w->cs));
        quiet = busy ? 0 : quiet + 1;
    }
}

void world_pass(struct world *w, int64_t seconds)
{
    clock_fake_add(w->clock, seconds * NS_PER_S);
    if (w->cs)
        controllers_tick(w->cs);
    world_run(w);
}

struct request {
    struct api_call call;
    bool done;
};

static void on_done(struct api_call *c)
{
    container_of(c, struct request, call)->done = true;
}

int world_do(struct world *w, enum api_verb verb, const char *resource, const char *ns, const char *name, const char *sub, const char *body,
    int code)
{
    struct request r = {.call = {.verb = verb, .ns = str_of(ns), .name = str_of(name), .sub = str_of(sub), .pool = w->pool}};
    struct err *e = NULL;
    str_cut(str_of(resource), '/', &r.call.group, &r.call.resource);
    if (body)
        FINE(json_parse(w->pool, str_of(body), NULL, &r.call.body, &e), e);
    if (!*name && body)
        r.call.name = json_str_at(r.call.body, "metadata", "name", NULL);
    api_do(w->api, w->loop, &r.call, on_done);
    for (int i = 0; i < 1000 && !r.done; i++)
        loop_step(w->loop, 5);
    OK(r.done);
    int got = r.call.code;
    if (code && got != code)
        test_fail(
            __FILE__, __LINE__, "verb %d on %s %s/%s gave %d: %s", verb, resource, ns, name, got, r.call.err ? err_msg(r.call.err) : "");
    api_call_clear(&r.call);
    return got;
}

static void unref_view(void *v)
{
    store_view_unref(v);
}

static struct store_view *view(struct world *w)
{
    struct store_view *v = store_view(w->store);
    pool_on_free(w->pool, unref_view, v);
    return v;
}

const struct obj *world_get(struct world *w, const char *resource, const char *ns, const char *name)
{
    return view_get(view(w), store_find(w->store, str_of(resource)), str_of(ns), str_of(name));
}

struct json *world_tree(struct world *w, const char *resource, const char *ns, const char *name)
{
    const struct obj *o = world_get(w, resource, ns, name);
    struct json *tree = NULL;
    struct err *e = NULL;
    if (o)
        FINE(obj_parse(o, w->pool, &tree, &e), e);
    return tree;
}

size_t world_count(struct world *w, const char *resource, const char *ns)
{
    return view_count(view(w), store_find(w->store, str_of(resource)), str_of(ns));
}

const struct obj *world_nth(struct world *w, const char *resource, const char *ns, size_t n)
{
    struct store_iter it;
    const struct obj *o;
    iter_start(&it, view(w), store_find(w->store, str_of(resource)), str_of(ns), STR_NULL, STR_NULL);
    do
        o = iter_next(&it);
    while (o && n-- > 0);
    return o;
}

struct str world_text(struct world *w, const struct json *j)
{
    return j ? json_to_pool(w->pool, j) : STR("");
}

static struct json *at(struct world *w, const char *resource, const char *ns, const char *name, const char *pointer)
{
    struct json *out = NULL;
    struct err *e = NULL;
    FINE(json_pointer(world_tree(w, resource, ns, name), str_of(pointer), &out, &e), e);
    return out;
}

int64_t world_int(struct world *w, const char *resource, const char *ns, const char *name, const char *pointer)
{
    return json_as_int(at(w, resource, ns, name, pointer), -1);
}

struct str world_str(struct world *w, const char *resource, const char *ns, const char *name, const char *pointer)
{
    return json_as_str(at(w, resource, ns, name, pointer));
}

bool world_event(struct world *w, const char *ns, const char *reason)
{
    for (size_t i = 0; i < world_count(w, "/events", ns); i++) {
        struct json *tree;
        if (obj_parse(world_nth(w, "/events", ns, i), w->pool, &tree, NULL) == 0 && str_eqz(json_get_str(tree, "reason"), reason))
            return true;
    }
    return false;
}

void world_pod_status(struct world *w, const struct obj *pod, const char *phase, bool ready)
{
    char now[TIME_MAX];
    struct str t = time_format(clock_now(w->clock), now);
    struct str body = pool_printf(w->pool,
        "{\"status\":{\"phase\":\"%s\",\"podIP\":\"10.42.0.%u\",\"podIPs\":[{\"ip\":\"10.42.0.%u\"}],\"conditions\":[{\"type\":\"Ready\","
        "\"status\":\"%s\",\"lastTransitionTime\":\"%.*s\"}]}}",
        phase, (unsigned)(pod->rev % 250) + 1, (unsigned)(pod->rev % 250) + 1, ready ? "True" : "False", STR_ARG(t));
    world_do(w, API_PATCH_MERGE, "/pods", pool_strz(w->pool, pod->ns), pool_strz(w->pool, pod->name), "status", body.p, 200);
}

void world_all_ready(struct world *w, const char *ns)
{
    for (int turn = 0; turn < 20; turn++) {
        bool any = false;
        for (size_t i = 0; i < world_count(w, "/pods", ns); i++) {
            const struct obj *o = world_nth(w, "/pods", ns, i);
            const struct pod_view *v = o->view;
            if (o->deleted || (v->flags & POD_READY))
                continue;
            world_pod_status(w, o, "Running", true);
            any = true;
        }
        world_remove_deleted(w, ns);
        world_run(w);
        if (!any)
            return;
    }
}

void world_remove_deleted(struct world *w, const char *ns)
{
    for (size_t i = 0; i < world_count(w, "/pods", ns);) {
        const struct obj *o = world_nth(w, "/pods", ns, i);
        if (o->deleted && !o->finalizers)
            world_do(w, API_DELETE, "/pods", ns, pool_strz(w->pool, o->name), "",
                "{\"kind\":\"DeleteOptions\",\"apiVersion\":\"v1\",\"gracePeriodSeconds\":0}", 200);
        else
            i++;
    }
}

void world_node(struct world *w, const char *name, bool ready)
{
    char now[TIME_MAX];
    struct str t = time_format(clock_now(w->clock), now);
    world_create(w, "/nodes", "",
        pool_printf(w->pool,
            "{\"apiVersion\":\"v1\",\"kind\":\"Node\",\"metadata\":{\"name\":\"%s\",\"labels\":{\"kubernetes.io/hostname\":\"%s\"}}}", name,
            name)
            .p);
    struct str body = pool_printf(w->pool,
        "{\"status\":{\"allocatable\":{\"cpu\":\"4\",\"memory\":\"8Gi\",\"pods\":\"110\"},\"capacity\":{\"cpu\":\"4\",\"memory\":\"8Gi\","
        "\"pods\":\"110\"},"
        "\"conditions\":[{\"type\":\"Ready\",\"status\":\"%s\",\"reason\":\"KubeletReady\",\"lastTransitionTime\":\"%.*s\"}]}}",
        ready ? "True" : "False", STR_ARG(t));
    world_do(w, API_PATCH_MERGE, "/nodes", "", name, "status", body.p, 200);
}
