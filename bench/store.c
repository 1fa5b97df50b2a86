/* How fast the store is by itself: durable creates at a concurrency, updates, reads, walks, watch latency, loading. Figures on standard
 * output.
 *
 *     bench-store [folder [objects]]      folder: a fresh one under the temporary folder unless given; objects: 10000
 */
#include <stdio.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>
#include "base/file.h"
#include "base/loop.h"
#include "store/store.h"

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static const struct store_kind kinds[] = {{.name = {"/configmaps", 11}, .namespaced = true}};
static char value[600];

static struct store *start(const char *folder)
{
    struct store_config c = {.path = folder, .kinds = kinds, .nkinds = 1};
    struct store *s = NULL;
    struct err *e = NULL;
    if (store_open(&c, &s, &e) < 0) {
        fprintf(stderr, "bench-store: %s\n", err_msg(e));
        exit(1);
    }
    return s;
}

struct job {
    struct store_wait w;
    struct bench *b;
    double began;
};
struct bench {
    struct store *s;
    struct store_res *r;
    struct loop *l;
    struct pool *p;
    int next, done, total, concurrency, round;
    double *took;
};

static void ended(struct store_wait *w, int result);

static void begin(struct bench *b, struct job *j)
{
    while (b->next < b->total) {
        const struct obj *o = NULL;
        int i = b->next++;
        pool_reset(b->p);
        struct json *tree = json_obj(b->p), *meta = json_put_obj(b->p, tree, STR("metadata"));
        json_set_str(b->p, tree, STR("apiVersion"), STR("v1"));
        json_set_str(b->p, tree, STR("kind"), STR("ConfigMap"));
        json_set_str(b->p, meta, STR("name"), pool_printf(b->p, "config-%06d", i));
        json_set_str(b->p, meta, STR("namespace"), STR("default"));
        json_set_str(b->p, meta, STR("uid"), STR("2b1c7f0e-6f7f-4b55-9d0a-1f2a3b4c5d6e"));
        json_set_str(b->p, json_put_obj(b->p, tree, STR("data")), STR("text"), pool_printf(b->p, "%d %s", b->round, value));
        j->began = now();
        int rc = b->round ? store_update(b->s, b->r, b->p, tree, 0, 0, &o, NULL) : store_create(b->s, b->r, b->p, tree, 0, &o, NULL);
        if (rc < 0)
            abort();
        int64_t rev = o->rev;
        obj_unref(o);
        if (!store_wait(b->s, rev, &j->w, b->l, ended))
            return;
        b->took[b->done++] = now() - j->began;
    }
}

static void ended(struct store_wait *w, int result)
{
    struct job *j = container_of(w, struct job, w);
    if (result)
        abort();
    j->b->took[j->b->done++] = now() - j->began;
    begin(j->b, j);
}

static int by_time(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static void writes(struct bench *b, int concurrency, const char *what)
{
    struct job *jobs = xcalloc((size_t)concurrency, sizeof *jobs);
    struct store_stats before, after;
    store_stats(b->s, &before);
    b->next = b->done = 0;
    double t = now();
    for (int i = 0; i < concurrency; i++) {
        jobs[i].b = b;
        begin(b, &jobs[i]);
    }
    while (b->done < b->total)
        loop_step(b->l, 1000);
    t = now() - t;
    store_stats(b->s, &after);
    qsort(b->took, (size_t)b->total, sizeof *b->took, by_time);
    printf("%-8s at %3d: %8.0f/s  p50 %6.3f ms  p99 %6.3f ms  %.1f changes per commit\n", what, concurrency, b->total / t,
        b->took[b->total / 2] * 1e3, b->took[b->total * 99 / 100] * 1e3, (double)b->total / (double)(after.commits - before.commits));
    free(jobs);
}

static void reads(struct bench *b)
{
    double t = now();
    size_t bytes = 0;
    for (int i = 0; i < 1000000; i++) {
        char name[32];
        int n = snprintf(name, sizeof name, "config-%06d", (int)((unsigned)i * 7919u % (unsigned)b->total));
        struct store_view *v = store_view(b->s);
        const struct obj *o = view_get(v, b->r, STR("default"), str_make(name, (size_t)n));
        bytes += o ? o->json.n : 0;
        store_view_unref(v);
    }
    t = now() - t;
    printf("get          : %8.0f/s  (%zu bytes each)\n", 1000000 / t, bytes / 1000000);
    t = now();
    size_t seen = 0;
    for (int i = 0; i < 2000; i++) {
        struct store_view *v = store_view(b->s);
        struct store_iter it;
        iter_start(&it, v, b->r, STR("default"), STR_NULL, STR_NULL);
        for (int k = 0; k < 1000 && iter_next(&it); k++)
            seen++;
        store_view_unref(v);
    }
    t = now() - t;
    printf("walk of 1000 : %8.0f/s  (%.0f objects/s)\n", 2000 / t, (double)seen / t);
}

static long rss_kib(void)
{
    long pages = 0, all;
    FILE *f = fopen("/proc/self/statm", "re");
    if (!f || fscanf(f, "%ld %ld", &all, &pages) != 2)
        pages = 0;
    if (f)
        fclose(f);
    return pages * (sysconf(_SC_PAGESIZE) / 1024);
}

int main(int argc, char **argv)
{
    char tmp[] = "/tmp/sampan-bench-XXXXXX";
    const char *folder = argc > 1 ? argv[1] : mkdtemp(tmp);
    memset(value, 'x', sizeof value - 1);
    struct bench b = {.total = argc > 2 ? (int)strtol(argv[2], NULL, 10) : 10000, .p = pool_new(), .l = loop_new(NULL)};
    if (!folder || b.total < 100 || b.total > 1000000)
        return 2;
    b.took = xcalloc((size_t)b.total, sizeof *b.took);
    b.s = start(folder);
    b.r = store_find(b.s, STR("/configmaps"));
    writes(&b, 16, "create");
    static const int levels[] = {1, 16, 128};
    for (size_t i = 0; i < ARRAY_LEN(levels); i++) {
        b.round++;
        writes(&b, levels[i], "update");
    }
    reads(&b);
    struct store_stats st;
    store_stats(b.s, &st);
    printf("on disk      : %.1f MiB database, %.1f MiB write-ahead log; %.1f MiB of objects\n", (double)st.db_bytes / 1048576,
        (double)st.wal_bytes / 1048576, (double)st.object_bytes / 1048576);
    store_close(b.s);
    double t = now();
    b.s = start(folder);
    t = now() - t;
    printf("open         : %8.1f ms with %d objects, %ld KiB resident after it\n", t * 1e3, b.total, rss_kib());
    store_close(b.s);
    loop_free(b.l);
    pool_free(b.p);
    free(b.took);
    return argc > 1 ? 0 : dir_remove(folder, NULL) < 0;
}
