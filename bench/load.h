/* A load generator: some connections with one request under way on each, for bench-api and bench-api-etcd. One thread; it says what it cost itself, since it shares the machine
 * with what it measures. Figures come from one run; on a busy machine compare processor time, which a neighbour disturbs least. */
#pragma once
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/file.h"
#include "base/loop.h"
#include "crypto/tls.h"
#include "http/http.h"

#define CONNECTIONS 16

struct load;
struct lane {
    struct load *load;
    struct http_client *client;
    int64_t began;
    int status;
};
struct load {
    struct loop *loop;
    struct clock *clock;
    struct lane lanes[CONNECTIONS];
    struct endpoint ep;
    pid_t pid;                                      /* the server's process; 0: this one */
    size_t left, under, done, bytes, serial;
    const char *method, *path;
    const struct http_header *headers;
    size_t nheaders;
    size_t (*body)(struct load *l, char *out, size_t n); /* of the next request; NULL: none */
    int64_t *samples;
};

static inline void die(const char *what, const struct err *e)
{
    fprintf(stderr, "bench: %s: %s\n", what, err_msg(e));
    exit(1);
}

static inline int64_t cpu_clock(clockid_t which)
{
    struct timespec t;
    return clock_gettime(which, &t) == 0 ? t.tv_sec * NS_PER_S + t.tv_nsec : 0;
}

/* Processor time of the server: another process, or every other thread of this one. */
static inline int64_t server_cpu(const struct load *l)
{
    clockid_t id;
    if (l->pid)
        return clock_getcpuclockid(l->pid, &id) == 0 ? cpu_clock(id) : 0;
    return cpu_clock(CLOCK_PROCESS_CPUTIME_ID) - cpu_clock(CLOCK_THREAD_CPUTIME_ID);
}

/* Proportional set size in KiB; 0: unknown. */
static inline long server_pss(const struct load *l)
{
    char path[64], line[256];
    long pss = 0;
    snprintf(path, sizeof path, "/proc/%d/smaps_rollup", (int)(l->pid ? l->pid : getpid()));
    FILE *f = fopen(path, "re");
    while (f && fgets(line, sizeof line, f))
        if (strncmp(line, "Pss:", 4) == 0)
            pss = strtol(line + 4, NULL, 10);
    if (f)
        fclose(f);
    return pss;
}

static inline void load_next(struct lane *k);

static inline void load_data(void *arg, const char *p, size_t n)
{
    (void)p;
    ((struct lane *)arg)->load->bytes += n;
}

static inline void load_head(void *arg, const struct http_response *r)
{
    ((struct lane *)arg)->status = r->status;
    if (r->status >= 300) {
        fprintf(stderr, "bench: status %d\n", r->status);
        exit(1);
    }
}

static inline void load_end(void *arg, const struct err *e)
{
    struct lane *k = arg;
    if (e)
        die("request", e);
    k->load->samples[k->load->done++] = clock_mono(k->load->clock) - k->began;
    k->load->under--;
    load_next(k);
}

static inline void load_next(struct lane *k)
{
    static const struct http_call_events ev = {load_head, load_data, NULL, load_end};
    struct load *l = k->load;
    char body[4096];
    if (!l->left)
        return;
    l->left--;
    l->under++;
    size_t n = l->body ? l->body(l, body, sizeof body) : 0;
    struct http_request r = {.method = str_of(l->method), .path = str_of(l->path), .headers = l->headers, .nheaders = l->nheaders, .body = {body, n}};
    k->began = clock_mono(l->clock);
    http_call(k->client, &r, &ev, k);
}

static inline int load_cmp(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return x < y ? -1 : x > y;
}

static inline void load_latency(const char *what, int64_t *samples, size_t n)
{
    qsort(samples, n, sizeof *samples, load_cmp);
    printf("%-44s %27s p50 %7.3f ms  p99 %7.3f ms\n", what, "", (double)samples[n / 2] / 1e6, (double)samples[n * 99 / 100] / 1e6);
    fflush(stdout);
}

static inline void measure(struct load *l, const char *what, size_t n, size_t lanes)
{
    l->left = n;
    l->done = l->bytes = 0;
    l->samples = xcalloc(n, sizeof *l->samples);
    int64_t server = server_cpu(l), mine = cpu_clock(CLOCK_THREAD_CPUTIME_ID), from = clock_mono(l->clock);
    for (size_t i = 0; i < lanes; i++)
        load_next(&l->lanes[i]);
    while (l->under)
        loop_step(l->loop, 100);
    double s = (double)(clock_mono(l->clock) - from) / 1e9;
    server = server_cpu(l) - server, mine = cpu_clock(CLOCK_THREAD_CPUTIME_ID) - mine;
    qsort(l->samples, n, sizeof *l->samples, load_cmp);
    printf("%-44s %9.0f/s  %7.1f MB/s  p50 %7.3f ms  p99 %7.3f ms  processor: server %6.1f us, load %6.1f us\n", what, (double)n / s, (double)l->bytes / s / 1e6,
        (double)l->samples[n / 2] / 1e6, (double)l->samples[n * 99 / 100] / 1e6, (double)server / 1e3 / (double)n, (double)mine / 1e3 / (double)n);
    fflush(stdout);
    free(TAKE(l->samples));
}

static inline void load_open(struct load *l, const struct endpoint *ep)
{
    struct err *e = NULL;
    l->loop = loop_new(&e);
    if (!l->loop)
        die("loop", e);
    l->ep = *ep;
    for (size_t i = 0; i < CONNECTIONS; i++)
        l->lanes[i] = (struct lane){.load = l, .client = http_client_new(l->loop, ep, NULL)};
}
