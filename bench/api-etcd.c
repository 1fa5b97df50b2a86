/* etcd under the load of bench-api, as the peer that Kubernetes' own API server stands on: Put, Range of one key, Range of 1,000, put to watch event, by gRPC over TLS on as many connections.
 * It does less: no authentication of the client, no validation, no JSON. Values are as large as the objects that the API server stores.
 *
 *   bench-api-etcd -a 127.0.0.1:2379 -p PID -s VALUE-SIZE */
#include <getopt.h>
#include "load.h"

static size_t value_size = 720;
static size_t objects = 5000;

static const struct http_header grpc[] = {{STR("content-type"), STR("application/grpc")}, {STR("te"), STR("trailers")}};

/* ---- protobuf, as much as this needs ---- */

static size_t put_varint(char *p, uint64_t v)
{
    size_t n = 0;
    for (; v > 127; v >>= 7)
        p[n++] = (char)(v | 128);
    p[n++] = (char)v;
    return n;
}

static size_t put_bytes(char *p, unsigned field, const char *s, size_t len)
{
    size_t n = put_varint(p, field << 3 | 2);
    n += put_varint(p + n, len);
    memcpy(p + n, s, len);
    return n + len;
}

/* The five bytes before every gRPC message. */
static size_t framed(char *out, size_t len)
{
    out[0] = 0;
    for (int i = 0; i < 4; i++)
        out[1 + i] = (char)(len >> (24 - 8 * i));
    return len + 5;
}

static size_t key_of(char *key, size_t n, size_t i)
{
    return (size_t)snprintf(key, n, "/registry/configmaps/default/c%06zu", i);
}

static size_t put_body(struct load *l, char *out, size_t n)
{
    static char value[3000];
    char key[64];
    size_t k = key_of(key, sizeof key, l->serial++), at = 5;
    memset(value, 'x', sizeof value);
    at += put_bytes(out + at, 1, key, k);
    at += put_bytes(out + at, 2, value, MIN(value_size, sizeof value));
    return framed(out, at - 5);
}

static size_t get_body(struct load *l, char *out, size_t n)
{
    char key[64];
    size_t k = key_of(key, sizeof key, 7);
    return framed(out, put_bytes(out + 5, 1, key, k));
}

static size_t list_body(struct load *l, char *out, size_t n)
{
    size_t at = 5;
    at += put_bytes(out + at, 1, STR("/registry/configmaps/").p, 21);
    at += put_bytes(out + at, 2, STR("/registry/configmaps0").p, 21);
    at += put_varint(out + at, 3 << 3);
    at += put_varint(out + at, 1000);
    return framed(out, at - 5);
}

/* ---- put to watch event ---- */

struct heard {
    struct load *load;
    int64_t at;
    size_t messages;
};
static void watch_data(void *arg, const char *p, size_t n)
{
    struct heard *h = arg;
    h->messages++; /* one small message a frame: they come one at a time */
    h->at = clock_mono(h->load->clock);
}
static void watch_end(void *arg, const struct err *e)
{
    if (e)
        die("watch", e);
}

static void do_watch(struct load *l)
{
    enum { N = 1000 };
    static const struct http_call_events ev = {NULL, watch_data, NULL, watch_end};
    struct heard h = {.load = l};
    int64_t *took = xcalloc(N, sizeof *took);
    char body[256], inner[128];
    size_t k = put_bytes(inner, 1, "/registry/", 10), n;
    k += put_bytes(inner + k, 2, "/registry0", 10);
    n = framed(body, put_bytes(body + 5, 1, inner, k));
    struct http_request r = {
        .method = STR("POST"), .path = STR("/etcdserverpb.Watch/Watch"), .headers = grpc, .nheaders = 2, .stream_body = true, .timeout_ms = -1};
    struct http_call *w = http_call(l->lanes[1].client, &r, &ev, &h);
    http_call_send(w, body, n);
    while (!h.messages)
        loop_step(l->loop, 100);
    l->samples = xcalloc(N, sizeof *l->samples);
    l->done = 0;
    l->path = "/etcdserverpb.KV/Put";
    l->body = put_body;
    for (size_t i = 0; i < N; i++) {
        size_t before = h.messages;
        int64_t from = clock_mono(l->clock);
        l->left = 1;
        load_next(&l->lanes[0]);
        while (l->under || h.messages == before)
            loop_step(l->loop, 100);
        took[i] = h.at - from;
    }
    load_latency("put sent to watch event, one at a time", took, N);
    free(took);
    free(TAKE(l->samples));
    http_call_cancel(w);
}

int main(int argc, char **argv)
{
    static const char *const alpn[] = {"h2", NULL};
    struct clock *clock = clock_new(NULL);
    struct load l = {.clock = clock, .method = "POST", .headers = grpc, .nheaders = 2};
    struct err *e = NULL;
    char host[64] = "127.0.0.1";
    uint16_t port = 2379;
    int o;
    while ((o = getopt(argc, argv, "a:p:s:n:")) > 0) {
        uint64_t n = 0;
        if (o == 'a' ? sscanf(optarg, "%63[^:]:%hu", host, &port) != 2 : !str_to_u64(str_of(optarg), &n)) {
            fprintf(stderr, "usage: bench-api-etcd -a host:port -p pid -s value-size -n objects\n");
            return 2;
        }
        if (o == 'p')
            l.pid = (pid_t)n;
        else if (o == 's')
            value_size = n;
        else if (o == 'n')
            objects = n;
    }
    struct tls_config t = {.clock = clock, .insecure = true, .alpn = alpn};
    struct endpoint ep = {.host = host, .port = port, .tls = tls_ctx_new(&t, &e)};
    if (!ep.tls)
        die("tls", e);
    load_open(&l, &ep);
    l.path = "/etcdserverpb.KV/Put";
    l.body = put_body;
    measure(&l, "Put, 16 connections", objects, CONNECTIONS);
    l.path = "/etcdserverpb.KV/Range";
    l.body = get_body;
    measure(&l, "Range of one key, 1 connection", 10000, 1);
    measure(&l, "Range of one key, 16 connections", 40000, CONNECTIONS);
    l.body = list_body;
    measure(&l, "Range of 1,000, 16 connections", 1000, CONNECTIONS);
    printf("%-44s %9zu bytes\n", "  a reply's body", l.bytes / 1000);
    do_watch(&l);
    return 0;
}
