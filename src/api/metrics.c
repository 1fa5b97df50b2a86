#include "api/impl.h"

/* /metrics in Prometheus' text format, with Kubernetes' names where it has some. */

#define SERIES_MAX 4096 /* verbs x resources x codes stay far below; a bound all the same */
static const double bounds[] = {0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1, 1.25, 1.5, 2, 3, 4, 5, 6, 8, 10, 15, 20, 30, 45, 60};
#define NBOUNDS ARRAY_LEN(bounds)

struct latency { uint64_t buckets[NBOUNDS + 1], count; double sum; };
struct metrics {
    pthread_mutex_t lock;
    struct map requests;  /* labels → uint64_t */
    struct map latencies; /* labels → struct latency */
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
    struct str sub = known ? ri->sub : STR(""), res = known ? ri->res : STR(""), group = known ? ri->group : STR(""), version = known ? ri->version : STR("");
    const char *verb = ri->resource ? verb_name(ri->verb) : "get";
    double s = (double)(clock_mono(a->clock) - c->started) / 1e9;
    pthread_mutex_lock(&m->lock);
    snprintf(key, sizeof key, "code=\"%d\",component=\"apiserver\",dry_run=\"%s\",group=\"%.*s\",resource=\"%.*s\",subresource=\"%.*s\",verb=\"%s\",version=\"%.*s\"", code,
             c->dry_run ? "All" : "", STR_ARG(group), STR_ARG(res), STR_ARG(sub), verb, STR_ARG(version));
    uint64_t *n = series(&m->requests, key, sizeof *n);
    if (n)
        ++*n;
    snprintf(key, sizeof key, "component=\"apiserver\",group=\"%.*s\",resource=\"%.*s\",subresource=\"%.*s\",verb=\"%s\",version=\"%.*s\"", STR_ARG(group), STR_ARG(res),
             STR_ARG(sub), verb, STR_ARG(version));
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

static void write_requests(struct metrics *m, struct buf *b)
{
    buf_puts(b, "# HELP apiserver_request_total Counter of apiserver requests.\n# TYPE apiserver_request_total counter\n");
    map_for (&m->requests, it)
        buf_printf(b, "apiserver_request_total{%.*s} %" PRIu64 "\n", STR_ARG(map_key(it)), *(uint64_t *)it->value);
    buf_puts(b, "# HELP apiserver_request_duration_seconds Response latency in seconds.\n# TYPE apiserver_request_duration_seconds histogram\n");
    map_for (&m->latencies, it) {
        const struct latency *l = it->value;
        uint64_t sum = 0;
        for (size_t i = 0; i < NBOUNDS; i++)
            buf_printf(b, "apiserver_request_duration_seconds_bucket{%.*s,le=\"%g\"} %" PRIu64 "\n", STR_ARG(map_key(it)), bounds[i], sum += l->buckets[i]);
        buf_printf(b, "apiserver_request_duration_seconds_bucket{%.*s,le=\"+Inf\"} %" PRIu64 "\n", STR_ARG(map_key(it)), l->count);
        buf_printf(b, "apiserver_request_duration_seconds_sum{%.*s} %g\n", STR_ARG(map_key(it)), l->sum);
        buf_printf(b, "apiserver_request_duration_seconds_count{%.*s} %" PRIu64 "\n", STR_ARG(map_key(it)), l->count);
    }
}

static void write_figures(struct api *a, struct buf *b)
{
    struct store_stats s;
    store_stats(a->store, &s);
    const struct { const char *name, *type, *help; double value; } rows[] = {
        {"apiserver_storage_size_bytes", "gauge", "Size of the database file.", (double)s.db_bytes},
        {"sampan_store_wal_bytes", "gauge", "Size of the write-ahead log.", (double)s.wal_bytes},
        {"sampan_store_revision", "counter", "Newest revision.", (double)s.rev},
        {"sampan_store_durable_revision", "counter", "Newest revision on disk.", (double)s.durable},
        {"sampan_store_objects", "gauge", "Objects of all kinds.", (double)s.objects},
        {"sampan_store_object_bytes", "gauge", "Bytes of all objects.", (double)s.object_bytes},
        {"sampan_store_commits_total", "counter", "Transactions committed.", (double)s.commits},
        {"sampan_store_commit_seconds_total", "counter", "Time spent in commits.", (double)s.commit_ns_total / 1e9},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        buf_printf(b, "# HELP %s %s\n# TYPE %s %s\n%s %.17g\n", rows[i].name, rows[i].help, rows[i].name, rows[i].type, rows[i].name, rows[i].value);
    buf_puts(b, "# HELP apiserver_resource_objects Number of stored objects.\n# TYPE apiserver_resource_objects gauge\n");
    _cleanup_(store_view_unrefp) struct store_view *v = store_view(a->store);
    _cleanup_(schema_unrefp) struct schema *sch = api_schema_ref(a);
    const struct schema_resource *r;
    for (size_t i = 0; (r = schema_at(sch, i)); i++) {
        const struct store_res *res = r->virtual_only ? NULL : store_find(a->store, r->storage);
        if (res && str_eq(r->version, r->storage_version))
            buf_printf(b, "apiserver_resource_objects{group=\"%.*s\",resource=\"%.*s\"} %zu\n", STR_ARG(r->group), STR_ARG(r->resource), view_count(v, res, STR_NULL));
    }
}

int route_metrics(struct call *c, struct err **e)
{
    struct buf b = BUF_INIT;
    (void)e;
    pthread_mutex_lock(&c->api->metrics->lock);
    write_requests(c->api->metrics, &b);
    pthread_mutex_unlock(&c->api->metrics->lock);
    write_figures(c->api, &b);
    call_reply_raw(c, 200, "text/plain; version=0.0.4; charset=utf-8", buf_to_bytes(&b));
    return 0;
}
