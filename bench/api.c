/* What the API server does per second, through TLS and HTTP/2 on loopback: GET of one ConfigMap, LIST of 1,000, CREATE with durable
 * acknowledgement, create to watch event, start to ready. The server runs on threads of its own in this process (so the load generator
 * shares the machine, not the loop). `bench-api [folder]`: the store's folder; none: in memory. */
#include <arpa/inet.h>
#include <pthread.h>
#include <unistd.h>
#include "api/api.h"
#include "base/file.h"
#include "crypto/tls.h"

#define CONNECTIONS 16

struct server {
    struct loop *loop, *control;
    struct http_server *http;
    struct api *api;
    pthread_t io, ctl;
    uint16_t port;
};
static struct clock *site;

static void *run(void *arg)
{
    loop_run(arg);
    return NULL;
}

static double seconds(int64_t ns)
{
    return (double)ns / 1e9;
}

static void die(const char *what, const struct err *e)
{
    fprintf(stderr, "bench: %s: %s\n", what, err_msg(e));
    exit(1);
}

static _Atomic int64_t ready_at;
static void on_ready(void *arg)
{
    (void)arg;
    ready_at = clock_mono(site);
}

static void start(struct server *s, const char *dir, struct store **store, struct schema *schema)
{
    struct err *e = NULL;
    char *db = dir ? xasprintf("%s/db", dir) : NULL, *tls = xasprintf("%s/tls", dir ? dir : "/tmp/bench-api");
    if ((db && dir_make(db, 0700, &e) < 0) || api_store_open(db, schema, site, store, &e) < 0)
        die("store", e);
    struct api_config c = {.store = *store,
        .schema = schema,
        .clock = site,
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
    api_on_ready(s->api, on_ready, NULL);
    if (api_start(s->api, s->control, &e) < 0)
        die("start", e);
    pthread_create(&s->io, NULL, run, s->loop);
    pthread_create(&s->ctl, NULL, run, s->control);
    free(db);
    free(tls);
}

/* ---- load ---- */

struct load;
struct lane {
    struct load *load;
    struct http_client *client;
    int64_t began;
};
struct load {
    struct loop *loop;
    struct lane lanes[CONNECTIONS];
    size_t left, under, done, bytes;
    const char *method, *path;
    int (*body)(struct load *l, char *out, size_t n);
    int64_t worst, *samples;
    size_t serial;
};

static void next(struct lane *k);
static void on_data(void *arg, const char *p, size_t n)
{
    (void)p;
    ((struct lane *)arg)->load->bytes += n;
}
static void on_head(void *arg, const struct http_response *r)
{
    (void)arg;
    if (r->status >= 300) {
        fprintf(stderr, "bench: status %d\n", r->status);
        exit(1);
    }
}
static void on_end(void *arg, const struct err *e)
{
    struct lane *k = arg;
    if (e)
        die("request", e);
    int64_t took = clock_mono(site) - k->began;
    k->load->samples[k->load->done++] = took;
    k->load->under--;
    next(k);
}

static struct str token_header;
static void next(struct lane *k)
{
    static const struct http_call_events ev = {on_head, on_data, NULL, on_end};
    struct load *l = k->load;
    char body[512];
    if (!l->left)
        return;
    l->left--;
    l->under++;
    int n = l->body ? l->body(l, body, sizeof body) : 0;
    struct http_header h[] = {{STR("authorization"), token_header}, {STR("content-type"), STR("application/json")}};
    struct http_request r = {.method = str_of(l->method), .path = str_of(l->path), .headers = h, .nheaders = 2, .body = {body, (size_t)n}};
    k->began = clock_mono(site);
    http_call(k->client, &r, &ev, k);
}

static int cmp(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return x < y ? -1 : x > y;
}

static void measure(struct load *l, const char *what, size_t n, size_t lanes)
{
    l->left = n;
    l->done = l->bytes = 0;
    l->samples = xcalloc(n, sizeof *l->samples);
    int64_t from = clock_mono(site);
    for (size_t i = 0; i < lanes; i++)
        next(&l->lanes[i]);
    while (l->under)
        loop_step(l->loop, 100);
    double s = seconds(clock_mono(site) - from);
    qsort(l->samples, l->done, sizeof *l->samples, cmp);
    printf("%-44s %9.0f/s  p50 %7.3f ms  p99 %7.3f ms  %6.1f MB/s\n", what, (double)l->done / s, (double)l->samples[l->done / 2] / 1e6,
        (double)l->samples[l->done * 99 / 100] / 1e6, (double)l->bytes / s / 1e6);
    free(l->samples);
}

static int create_body(struct load *l, char *out, size_t n)
{
    size_t i = l->serial++;
    return snprintf(out, n, "{\"metadata\":{\"name\":\"c%06zu\",\"labels\":{\"app\":\"bench\"}},\"data\":{\"key\":\"%0256zu\"}}", i, i);
}

/* A ServiceAccount's token with cluster-admin: what most clients come with. */
static void done(struct api_call *c)
{
    if (c->err)
        die("setup", c->err);
}
static struct json *text(struct pool *p, const char *t)
{
    struct json *j = NULL;
    if (json_parse(p, str_of(t), NULL, &j, NULL) < 0)
        abort();
    return j;
}
static struct str admin_token(struct server *s, struct pool *p, struct loop *l)
{
    struct api_call a = {.verb = API_CREATE,
        .version = STR("v1"),
        .resource = STR("serviceaccounts"),
        .ns = STR("default"),
        .pool = p,
        .body = text(p, "{\"metadata\":{\"generateName\":\"bench-\"}}")};
    api_do(s->api, l, &a, done);
    struct str name = pool_str(p, a.obj->name);
    struct api_call b = {.verb = API_CREATE,
        .group = STR("rbac.authorization.k8s.io"),
        .version = STR("v1"),
        .resource = STR("clusterrolebindings"),
        .pool = p,
        .body = text(p, pool_printf(p,
                            "{\"metadata\":{\"generateName\":\"bench-\"},\"roleRef\":{\"apiGroup\":\"rbac.authorization.k8s.io\",\"kind\":"
                            "\"ClusterRole\",\"name\":\"cluster-admin\"},"
                            "\"subjects\":[{\"kind\":\"ServiceAccount\",\"name\":\"%.*s\",\"namespace\":\"default\"}]}",
                            STR_ARG(name))
                            .p)};
    api_do(s->api, l, &b, done);
    struct api_call t = {.verb = API_CREATE,
        .version = STR("v1"),
        .resource = STR("serviceaccounts"),
        .sub = STR("token"),
        .ns = STR("default"),
        .name = name,
        .pool = p,
        .body = text(p, "{\"spec\":{}}")};
    api_do(s->api, l, &t, done);
    struct str token = pool_printf(p, "Bearer %.*s", STR_ARG(json_str_at(t.result, "status", "token", NULL)));
    api_call_clear(&a);
    api_call_clear(&b);
    api_call_clear(&t);
    return token;
}

int main(int argc, char **argv)
{
    struct err *e = NULL;
    struct server s = {0};
    struct store *store;
    struct certs cas = {0};
    static const char *const alpn[] = {"h2", "http/1.1", NULL};
    site = clock_new(NULL);
    int64_t from = clock_mono(site);
    kinds_attach();
    struct schema *schema = schema_builtin();
    start(&s, argc > 1 ? argv[1] : NULL, &store, schema);
    while (!ready_at)
        usleep(100);
    printf("start to ready                               %9.1f ms\n", seconds(ready_at - from) * 1e3);
    struct pool *p = pool_new();
    struct load l = {.loop = loop_new(&e)};
    token_header = admin_token(&s, p, l.loop);
    if (certs_parse(api_ca_pem(s.api), &cas, &e) < 0)
        die("ca", e);
    struct tls_config t = {.clock = site, .cas = &cas, .alpn = alpn};
    struct tls_ctx *tls = tls_ctx_new(&t, &e);
    struct endpoint ep = {.host = "127.0.0.1", .port = s.port, .tls = tls};
    for (size_t i = 0; i < CONNECTIONS; i++)
        l.lanes[i] = (struct lane){.load = &l, .client = http_client_new(l.loop, &ep, NULL)};
    l.method = "POST";
    l.path = "/api/v1/namespaces/default/configmaps";
    l.body = create_body;
    measure(&l, "CREATE ConfigMap (256 B), 16 connections", 5000, CONNECTIONS);
    l.method = "GET";
    l.body = NULL;
    l.path = "/api/v1/namespaces/default/configmaps/c000007";
    measure(&l, "GET ConfigMap, 1 connection", 20000, 1);
    measure(&l, "GET ConfigMap, 16 connections", 100000, CONNECTIONS);
    l.path = "/api/v1/namespaces/default/configmaps?limit=1000";
    measure(&l, "LIST 1,000, 16 connections", 1000, CONNECTIONS);
    return 0;
}
