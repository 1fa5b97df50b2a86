/* What the API server does per second through TLS and HTTP/2 on loopback: CREATE with durable acknowledgement, GET of one ConfigMap, LIST of 1,000 (as it is and gzipped), create to watch
 * event, idle watchers. Validation, defaulting and managedFields are on, as always. bench/api.py runs it beside etcd, together with what only a whole server shows.
 *
 *   bench-api [-n objects] [-d folder] [what...]                          the server runs on threads of this process; its store in the folder, or in memory: for a profiler
 *   bench-api -a 127.0.0.1:6443 -t TLS-DIR -p PID [what...]  a running server; TLS-DIR: its server/tls
 *
 * what: create get list gzip watch watchers; none: all, in that order. The client shows the administrator's certificate. */
#include <arpa/inet.h>
#include <getopt.h>
#include <pthread.h>
#include "api/api.h"
#include "load.h"

static size_t objects = 5000; /* -n */
#define WATCHERS 1000

struct server {
    struct loop *loop, *control;
    struct http_server *http;
    struct api *api;
    struct store *store;
    pthread_t io, ctl;
    uint16_t port;
};

static void *run(void *arg)
{
    loop_run(arg);
    return NULL;
}

static _Atomic int64_t ready_at;
static void on_ready(void *arg)
{
    ready_at = clock_mono(arg);
}

static void start(struct server *s, const char *dir, const char *tls, struct clock *clock)
{
    struct err *e = NULL;
    char *db = dir ? xasprintf("%s/db", dir) : NULL;
    struct schema *schema = schema_builtin();
    if ((db && dir_make(db, 0700, &e) < 0) || api_store_open(db, schema, clock, &s->store, &e) < 0)
        die("store", e);
    struct api_config c = {.store = s->store,
        .schema = schema,
        .clock = clock,
        .tls_dir = tls,
        .service_cidr = STR("10.43.0.0/16"),
        .cluster_cidr = STR("10.42.0.0/16"),
        .advertise = STR("127.0.0.1"),
        .port = 6443};
    if (api_new(&c, &s->api, &e) < 0)
        die("api", e);
    s->loop = loop_new(&e);
    s->control = loop_new(&e);
    s->http = http_server_new(s->loop, NULL, api_handle, s->api);
    int fd = http_bind("127.0.0.1:0", 128, &e);
    struct sockaddr_in in;
    socklen_t len = sizeof in;
    if (fd < 0 || getsockname(fd, (struct sockaddr *)(void *)&in, &len) < 0 || http_listen(s->http, fd, api_server_tls(s->api), &e) < 0)
        die("listen", e);
    s->port = ntohs(in.sin_port);
    api_on_ready(s->api, on_ready, clock);
    if (api_start(s->api, s->control, &e) < 0)
        die("start", e);
    pthread_create(&s->io, NULL, run, s->loop);
    pthread_create(&s->ctl, NULL, run, s->control);
    free(db);
}

static struct tls_ctx *client_tls(struct clock *clock, const char *dir)
{
    static const char *const alpn[] = {"h2", NULL};
    static struct certs cas;
    struct err *e = NULL;
    struct buf pem = BUF_INIT;
    char *ca = xasprintf("%s/server-ca.crt", dir), *crt = xasprintf("%s/client-admin.crt", dir), *key = xasprintf("%s/client-admin.key", dir);
    if (file_read(ca, 1 << 20, &pem, &e) < 0 || certs_parse(buf_str(&pem), &cas, &e) < 0)
        die("ca", e);
    struct tls_config t = {.clock = clock, .cas = &cas, .alpn = alpn, .cert_path = crt, .key_path = key};
    struct tls_ctx *c = tls_ctx_new(&t, &e);
    if (!c)
        die("tls", e);
    return c;
}

#define MAPS "/api/v1/namespaces/default/configmaps"

static size_t create_body(struct load *l, char *out, size_t n)
{
    static int64_t run_id;
    size_t i = l->serial++;
    if (!run_id)
        run_id = clock_now(l->clock) / NS_PER_S;
    return (size_t)snprintf(out, n, "{\"metadata\":{\"name\":\"c%06zu-%llx\",\"labels\":{\"app\":\"bench\"}},\"data\":{\"key\":\"%0256zu\"}}", i,
        (unsigned long long)run_id, i);
}

static const struct http_header json[] = {{STR("content-type"), STR("application/json")}, {STR("accept"), STR("application/json")}};
static const struct http_header gzip[] = {{STR("accept-encoding"), STR("gzip")}, {STR("accept"), STR("application/json")}};

static void ask(struct load *l, const char *method, const char *path, const struct http_header *h, bool body)
{
    l->method = method;
    l->path = path;
    l->headers = h;
    l->nheaders = 2;
    l->body = body ? create_body : NULL;
}

/* ---- what it measures ---- */

static void do_create(struct load *l)
{
    ask(l, "POST", MAPS, json, true);
    measure(l, "CREATE ConfigMap, 16 connections", objects, CONNECTIONS);
}

static char *some_name; /* of an object that exists */
static void name_data(void *arg, const char *p, size_t n)
{
    buf_add(arg, p, n);
}
static bool over;
static void name_end(void *arg, const struct err *e)
{
    if (e)
        die("list", e);
    over = true;
}

static struct json *get_json(struct load *l, struct pool *p, const char *path)
{
    static const struct http_call_events ev = {NULL, name_data, NULL, name_end};
    struct buf b = BUF_INIT;
    struct json *doc = NULL;
    struct http_request r = {.method = STR("GET"), .path = str_of(path), .headers = json, .nheaders = 2};
    over = false;
    http_call(l->lanes[0].client, &r, &ev, &b);
    while (!over)
        loop_step(l->loop, 100);
    if (json_parse(p, buf_to_pool(&b, p), NULL, &doc, NULL) < 0) {
        fprintf(stderr, "bench: %s is no JSON\n", path);
        exit(1);
    }
    return doc;
}

static void find_name(struct load *l)
{
    struct pool *p = pool_new();
    if (some_name)
        return;
    struct json *items = json_get(get_json(l, p, MAPS "?limit=1&labelSelector=app%3Dbench"), STR("items"));
    if (!json_count(items)) {
        fprintf(stderr, "bench: no ConfigMap with app=bench: run `create` first\n");
        exit(1);
    }
    some_name = xasprintf(MAPS "/%.*s", STR_ARG(json_str_at(items->first, "metadata", "name", NULL)));
    pool_free(p);
}

static void do_get(struct load *l)
{
    find_name(l);
    ask(l, "GET", some_name, json, false);
    measure(l, "GET ConfigMap, 1 connection", 20000, 1);
    printf("%-44s %9zu bytes\n", "  a reply's body", l->bytes / 20000);
    measure(l, "GET ConfigMap, 16 connections", 100000, CONNECTIONS);
}

static void do_list(struct load *l)
{
    ask(l, "GET", MAPS "?limit=1000", json, false);
    measure(l, "LIST 1,000, 16 connections", 2000, CONNECTIONS);
    printf("%-44s %9zu bytes\n", "  a reply's body", l->bytes / 2000);
}

static void do_gzip(struct load *l)
{
    ask(l, "GET", MAPS "?limit=1000", gzip, false);
    measure(l, "LIST 1,000 gzipped, 16 connections", 2000, CONNECTIONS);
    printf("%-44s %9zu bytes\n", "  a reply's body", l->bytes / 2000);
}

/* ---- watches ---- */

struct watcher {
    struct load *load;
    int64_t *at;      /* when the first event came; shared */
    size_t *events;   /* frames seen, shared */
    bool heard;
};

static void watch_data(void *arg, const char *p, size_t n)
{
    struct watcher *w = arg;
    for (size_t i = 0; i < n; i++)
        *w->events += p[i] == '\n';
    *w->at = clock_mono(w->load->clock);
    w->heard = true;
}
static void watch_end(void *arg, const struct err *e)
{
    if (e)
        die("watch", e);
}
static char *watch_path; /* from now on */
static void watch_from_now(struct load *l)
{
    struct pool *p = pool_new();
    struct str rv = json_str_at(get_json(l, p, MAPS "?limit=1"), "metadata", "resourceVersion", NULL);
    free(watch_path);
    watch_path = xasprintf(MAPS "?watch=1&resourceVersion=%.*s&labelSelector=app%%3Dwatched", STR_ARG(rv));
    pool_free(p);
}

static struct http_call *watch_open(struct load *l, struct http_client *c, struct watcher *w)
{
    static const struct http_call_events ev = {NULL, watch_data, NULL, watch_end};
    struct http_request r = {.method = STR("GET"), .path = str_of(watch_path),
        .headers = json, .nheaders = 2, .timeout_ms = -1};
    (void)l;
    return http_call(c, &r, &ev, w);
}

static size_t watched_body(struct load *l, char *out, size_t n)
{
    return (size_t)snprintf(out, n, "{\"metadata\":{\"generateName\":\"w-\",\"labels\":{\"app\":\"watched\"}},\"data\":{\"key\":\"%0256zu\"}}", l->serial++);
}

static void settle(struct load *l, int ms)
{
    int64_t until = clock_mono(l->clock) + ms * NS_PER_MS;
    while (clock_mono(l->clock) < until)
        loop_step(l->loop, 10);
}

static void do_watch(struct load *l)
{
    enum { N = 1000 };
    size_t events = 0;
    int64_t at = 0, *took = xcalloc(N, sizeof *took);
    struct watcher w = {.load = l, .at = &at, .events = &events};
    watch_from_now(l);
    struct http_call *k = watch_open(l, l->lanes[1].client, &w);
    settle(l, 300);
    ask(l, "POST", MAPS, json, false);
    l->body = watched_body;
    l->samples = xcalloc(N, sizeof *l->samples);
    l->done = 0;
    for (size_t i = 0; i < N; i++) {
        size_t before = events;
        int64_t from = clock_mono(l->clock);
        l->left = 1;
        load_next(&l->lanes[0]);
        while (l->under || events == before)
            loop_step(l->loop, 100);
        took[i] = at - from;
    }
    load_latency("create sent to watch event, one at a time", took, N);
    free(took);
    free(TAKE(l->samples));
    http_call_cancel(k);
}

static void do_watchers(struct load *l)
{
    size_t events = 0, heard = 0;
    int64_t at = 0;
    struct watcher *w = xcalloc(WATCHERS, sizeof *w);
    struct http_call **k = xcalloc(WATCHERS, sizeof *k);
    watch_from_now(l);
    long before = server_pss(l);
    for (size_t i = 0; i < WATCHERS; i++) {
        w[i] = (struct watcher){.load = l, .at = &at, .events = &events};
        k[i] = watch_open(l, l->lanes[i % CONNECTIONS].client, &w[i]);
    }
    settle(l, 1000);
    int64_t cpu = server_cpu(l);
    settle(l, 5000);
    cpu = server_cpu(l) - cpu;
    printf("%-44s %9.1f KiB each, %.2f %% of a processor\n", "1,000 idle watchers, 16 connections", (double)(server_pss(l) - before) / WATCHERS,
        (double)cpu / 5e9 * 100);
    ask(l, "POST", MAPS, json, false);
    l->body = watched_body;
    l->samples = xcalloc(1, sizeof *l->samples);
    l->done = 0;
    l->left = 1;
    events = 0;
    int64_t from = clock_mono(l->clock);
    load_next(&l->lanes[0]);
    while (l->under || heard < WATCHERS) {
        loop_step(l->loop, 100);
        for (heard = 0; heard < WATCHERS && w[heard].heard;)
            heard++;
    }
    printf("%-44s %9.3f ms\n", "  until all 1,000 have one event", (double)(at - from) / 1e6);
    for (size_t i = 0; i < WATCHERS; i++)
        http_call_cancel(k[i]);
    settle(l, 200);
    free(TAKE(l->samples));
    free(k);
    free(w);
}

static const struct {
    const char *name;
    void (*fn)(struct load *l);
} rows[] = {{"create", do_create}, {"get", do_get}, {"list", do_list}, {"gzip", do_gzip}, {"watch", do_watch}, {"watchers", do_watchers}};

static void usage(void)
{
    fprintf(stderr, "usage: bench-api [-n objects] [-d folder | -a host:port -t tls-dir -p pid] [create|get|list|gzip|watch|watchers ...]\n");
    exit(2);
}

int main(int argc, char **argv)
{
    struct server s = {0};
    struct clock *clock = clock_new(NULL);
    struct load l = {.clock = clock};
    const char *dir = NULL, *address = NULL, *tls = NULL;
    char host[64] = "127.0.0.1";
    int o;
    while ((o = getopt(argc, argv, "d:a:t:p:n:")) > 0) {
        uint64_t pid = 0;
        if (o == 'd')
            dir = optarg;
        else if (o == 'a')
            address = optarg;
        else if (o == 't')
            tls = optarg;
        else if (o == 'p' && str_to_u64(str_of(optarg), &pid))
            l.pid = (pid_t)pid;
        else if (o == 'n' && str_to_u64(str_of(optarg), &pid) && pid)
            objects = pid;
        else
            usage();
    }
    if (address && (!tls || sscanf(address, "%63[^:]:%hu", host, &s.port) != 2))
        usage();
    if (!address) {
        int64_t from = clock_mono(clock);
        char *made = xasprintf("%s/tls", dir ? dir : "/tmp/bench-api");
        kinds_attach();
        start(&s, dir, made, clock);
        while (!ready_at)
            usleep(100);
        printf("%-44s %9.1f ms\n", "start to ready, in this process", (double)(ready_at - from) / 1e6);
        tls = made;
    }
    struct endpoint ep = {.host = host, .port = s.port, .tls = client_tls(clock, tls)};
    load_open(&l, &ep);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        bool wanted = optind >= argc;
        for (int k = optind; k < argc; k++)
            wanted |= strcmp(argv[k], rows[i].name) == 0;
        if (wanted)
            rows[i].fn(&l);
    }
    return 0;
}
