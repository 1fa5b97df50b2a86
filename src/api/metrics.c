#include "api/impl.h"

/* /metrics in Prometheus' text format, with Kubernetes' names where it has some. */

#define SERIES_MAX 4096 /* verbs x resources x codes stay far below; a bound all the same */
static const double bounds[] = {0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1, 1.25, 1.5, 2, 3, 4, 5, 6, 8, 10, 15, 20, 30, 45, 60};
#define NBOUNDS ARRAY_LEN(bounds)

struct latency {
    uint64_t buckets[NBOUNDS + 1], count;
    double sum;
};
struct check {
    bool ok;
    uint64_t count[2]; /* failed, passed */
};
struct metrics {
    pthread_mutex_t lock;
    struct map requests;  /* labels → uint64_t */
    struct map latencies; /* labels → struct latency */
    struct map checks;    /* labels → struct check */
};

struct metrics *metrics_new(void)
{
    struct metrics *m = xcalloc(1, sizeof *m);
    pthread_mutex_init(&m->lock, NULL);
    return m;
}

void metrics_free(struct metrics *m)
{
    if (!m)
        return;
    map_clear(&m->requests, free);
    map_clear(&m->latencies, free);
    map_clear(&m->checks, free);
    pthread_mutex_destroy(&m->lock);
    free(m);
}

static void *series(struct map *m, const char *key, size_t size)
{
    void *v = map_get(m, str_of(key));
    if (!v && map_count(m) < SERIES_MAX) {
        v = xcalloc(1, size);
        (void)map_put(m, str_of(key), v);
    }
    return v;
}

void metrics_count(struct api *a, const struct call *c, int code)
{
    char key[512];
    struct metrics *m = a->metrics;
    const struct request_info *ri = &c->ri;
    bool known = c->res != NULL; /* names of unknown resources are a stranger's: they make no series */
    struct str sub = known ? ri->sub : STR(""), res = known ? ri->res : STR(""), group = known ? ri->group : STR(""),
               version = known ? ri->version : STR("");
    const char *verb = ri->resource ? verb_name(ri->verb) : "get";
    double s = (double)(clock_mono(a->clock) - c->started) / 1e9;
    pthread_mutex_lock(&m->lock);
    snprintf(key, sizeof key,
        "code=\"%d\",component=\"apiserver\",dry_run=\"%s\",group=\"%.*s\",resource=\"%.*s\",subresource=\"%.*s\",verb=\"%s\",version=\"%.*"
        "s\"",
        code, c->dry_run ? "All" : "", STR_ARG(group), STR_ARG(res), STR_ARG(sub), verb, STR_ARG(version));
    uint64_t *n = series(&m->requests, key, sizeof *n);
    if (n)
        ++*n;
    snprintf(key, sizeof key, "component=\"apiserver\",group=\"%.*s\",resource=\"%.*s\",subresource=\"%.*s\",verb=\"%s\",version=\"%.*s\"",
        STR_ARG(group), STR_ARG(res), STR_ARG(sub), verb, STR_ARG(version));
    struct latency *l = series(&m->latencies, key, sizeof *l);
    if (l) {
        size_t i = 0;
        while (i < NBOUNDS && s > bounds[i])
            i++;
        l->buckets[i]++;
        l->count++;
        l->sum += s;
    }
    pthread_mutex_unlock(&m->lock);
}

void metrics_check(struct api *a, struct str type, const char *name, bool ok)
{
    char key[160];
    struct metrics *m = a->metrics;
    pthread_mutex_lock(&m->lock);
    snprintf(key, sizeof key, "name=\"%s\",type=\"%.*s\"", name, STR_ARG(type));
    struct check *k = series(&m->checks, key, sizeof *k);
    if (k) {
        k->ok = ok;
        k->count[ok]++;
    }
    pthread_mutex_unlock(&m->lock);
}

/* /metrics/slis: how the health checks went (KEP-3466). */
int route_slis(struct call *c, struct err **e)
{
    static const char *const status[] = {"error", "success"};
    struct metrics *m = c->api->metrics;
    struct buf b = BUF_INIT;
    (void)e;
    pthread_mutex_lock(&m->lock);
    buf_puts(&b, "# HELP kubernetes_healthcheck [STABLE] How a health check went last.\n# TYPE kubernetes_healthcheck gauge\n");
    map_for (&m->checks, it)
        buf_printf(&b, "kubernetes_healthcheck{%.*s} %d\n", STR_ARG(map_key(it)), ((struct check *)it->value)->ok);
    buf_puts(&b, "# HELP kubernetes_healthchecks_total [STABLE] How often a health check went so.\n# TYPE kubernetes_healthchecks_total counter\n");
    map_for (&m->checks, it)
        for (size_t i = 0; i < ARRAY_LEN(status); i++)
            if (((struct check *)it->value)->count[i])
                buf_printf(&b, "kubernetes_healthchecks_total{%.*s,status=\"%s\"} %" PRIu64 "\n", STR_ARG(map_key(it)), status[i],
                    ((struct check *)it->value)->count[i]);
    pthread_mutex_unlock(&m->lock);
    call_reply_raw(c, 200, "text/plain; version=0.0.4; charset=utf-8", buf_to_bytes(&b));
    return 0;
}

static void write_requests(struct metrics *m, struct buf *b)
{
    buf_puts(b, "# HELP apiserver_request_total Counter of apiserver requests.\n# TYPE apiserver_request_total counter\n");
    map_for (&m->requests, it)
        buf_printf(b, "apiserver_request_total{%.*s} %" PRIu64 "\n", STR_ARG(map_key(it)), *(uint64_t *)it->value);
    buf_puts(
        b, "# HELP apiserver_request_duration_seconds Response latency in seconds.\n# TYPE apiserver_request_duration_seconds histogram\n");
    map_for (&m->latencies, it) {
        const struct latency *l = it->value;
        uint64_t sum = 0;
        for (size_t i = 0; i < NBOUNDS; i++)
            buf_printf(b, "apiserver_request_duration_seconds_bucket{%.*s,le=\"%g\"} %" PRIu64 "\n", STR_ARG(map_key(it)), bounds[i],
                sum += l->buckets[i]);
        buf_printf(b, "apiserver_request_duration_seconds_bucket{%.*s,le=\"+Inf\"} %" PRIu64 "\n", STR_ARG(map_key(it)), l->count);
        buf_printf(b, "apiserver_request_duration_seconds_sum{%.*s} %g\n", STR_ARG(map_key(it)), l->sum);
        buf_printf(b, "apiserver_request_duration_seconds_count{%.*s} %" PRIu64 "\n", STR_ARG(map_key(it)), l->count);
    }
}

int route_metrics(struct call *c, struct err **e)
{
    struct buf b = BUF_INIT;
    (void)e;
    pthread_mutex_lock(&c->api->metrics->lock);
    write_requests(c->api->metrics, &b);
    pthread_mutex_unlock(&c->api->metrics->lock);
    inflight_metrics(c->api, &b);
    store_metrics(c->api->store, &b);
    call_reply_raw(c, 200, "text/plain; version=0.0.4; charset=utf-8", buf_to_bytes(&b));
    return 0;
}
