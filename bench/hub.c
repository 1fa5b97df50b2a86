/* Simulated clusters for bench/hub.py: real uplinks over TLS, each with a key of its own and a view of 2 nodes, 20 pods and 50 warnings.
 *
 *   bench-hub keys COUNT DIR               makes the keys (DIR/<n>.key) and prints "<n> <key id>" for each
 *   bench-hub run HOST PORT FROM TO DIR    dials with the keys FROM..TO-1 and goes on until its standard input ends; prints "connected N" and "sent N" as they change */
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "base/base.h"
#include "base/file.h"
#include "crypto/crypto.h"
#include "crypto/tls.h"
#include "uplink/uplink.h"

struct cluster {
    struct uplink *up;
    struct key *key;
    char *pin;
    bool connected, sent;
};

static struct loop *loop;
static size_t nconnected, nsent;
static struct cluster *all;
static size_t count;
static struct timer tell_timer;
static struct str view_body;

static void tell(struct timer *t)
{
    static size_t c = SIZE_MAX, s;
    if (nconnected != c || nsent != s)
        printf("connected %zu sent %zu\n", nconnected, nsent), fflush(stdout);
    c = nconnected;
    s = nsent;
    timer_in(loop, t, 100 * NS_PER_MS, tell);
}

static void on_rows(void *arg, int status, struct str body, const struct err *e)
{
    struct cluster *k = arg;
    if (!e && status == 200 && !k->sent) {
        k->sent = true;
        nsent++;
    }
}

static void on_resume(void *arg, int status, struct str body, const struct err *e)
{
    struct cluster *k = arg;
    if (!e && status == 200)
        on_rows(k, 200, STR_NULL, NULL);
    else if (!e)
        (void)uplink_call(k->up, STR("POST"), STR("/view"), STR("application/json"), view_body, on_rows, k);
}

static void on_state(void *arg, bool connected, struct str name, const struct err *why)
{
    struct cluster *k = arg;
    if (connected == k->connected)
        return;
    k->connected = connected;
    nconnected += connected ? 1 : (size_t)-1;
    if (!connected && k->sent) {
        k->sent = false;
        nsent--;
    }
    if (connected)
        (void)uplink_call(k->up, STR("POST"), STR("/view"), STR("application/json"), STR("{\"resume\":\"bench\"}"), on_resume, k);
}

static void handle(struct http_req *rq, void *arg)
{
    http_reply_str(rq, 200, "application/json", STR("{\"gitVersion\":\"v1.36.2+bench\",\"items\":[]}"));
}

static struct str make_view(void)
{
    static struct buf b;
    buf_puts(&b, "{\"session\":\"bench\",\"rows\":[");
    for (int i = 0; i < 2; i++)
        buf_printf(&b, "[\"nodes\",\"\",\"node-%d\",[\"True\",\"v1.36.2\",\"amd64\",\"4\",\"8Gi\",\"110\",\"4\",\"7Gi\",\"false\"]],", i);
    for (int i = 0; i < 20; i++)
        buf_printf(&b, "[\"pods\",\"default\",\"web-6c4f6d7b9f-%05d\",[\"Running\",\"1/1\",\"0\",\"node-%d\",\"100m\",\"64Mi\",\"2026-01-01T00:00:00Z\"]],", i, i % 2);
    for (int i = 0; i < 50; i++)
        buf_printf(&b, "[\"warnings\",\"default\",\"web.18%06d\",[\"BackOff\",\"Pod/web-6c4f6d7b9f-%05d\",\"Back-off restarting failed container c\"]]%s", i, i % 20, i < 49 ? "," : "");
    buf_puts(&b, "],\"gone\":[],\"end\":true}");
    return buf_str(&b);
}

static void on_stdin(struct watch *w, uint32_t events)
{
    char c[64];
    if (read(0, c, sizeof c) <= 0)
        loop_stop(loop, 0);
}

static int number(const char *text)
{
    int64_t n;
    return str_to_i64(str_of(text), &n) && n >= 0 && n <= 1000000 ? (int)n : 0;
}

static int keys(int n, const char *dir)
{
    for (int i = 0; i < n; i++) {
        _cleanup_(freep) char *path = xasprintf("%s/%d.key", dir, i);
        _cleanup_(err_freep) struct err *e = NULL;
        struct key *k = NULL;
        if (key_load_or_make(path, KEY_ED25519, &k, &e) < 0)
            return fprintf(stderr, "%s\n", err_msg(e)), 1;
        printf("%d %.*s\n", i, STR_ARG(key_id(k)));
        key_free(k);
    }
    return 0;
}

static int run(const char *host, int port, int from, int to, const char *dir)
{
    static const char *const alpn[] = {"http/1.1", NULL};
    static struct watch in;
    _cleanup_(err_freep) struct err *e = NULL;
    struct rlimit files = {65536, 65536};
    struct clock *clock = clock_new(NULL);
    struct tls_config tc = {.clock = clock, .alpn = alpn, .insecure = true};
    struct tls_ctx *tls = tls_ctx_new(&tc, &e);
    (void)setrlimit(RLIMIT_NOFILE, &files);
    loop = loop_new(&e);
    if (!tls || !loop || watch_add(loop, &in, 0, EPOLLIN, on_stdin, &e) < 0)
        return fprintf(stderr, "%s\n", err_msg(e)), 1;
    view_body = make_view();
    count = (size_t)(to - from);
    all = xcalloc(count, sizeof *all);
    for (size_t i = 0; i < count; i++) {
        struct cluster *k = &all[i];
        _cleanup_(freep) char *path = xasprintf("%s/%zu.key", dir, (size_t)from + i);
        k->pin = xasprintf("%s/%zu.pin", dir, (size_t)from + i);
        struct uplink_config u = {.loop = loop, .clock = clock, .endpoint = {.host = host, .port = (uint16_t)port, .tls = tls}, .pin_path = k->pin, .view = STR("cluster"),
            .name = STR(""), .token = STR(""), .info = STR("{}"), .handler = handle, .idle_ns = 150 * NS_PER_S, .on_state = on_state, .arg = k};
        if (key_load_or_make(path, KEY_ED25519, &k->key, &e) < 0)
            return fprintf(stderr, "%s\n", err_msg(e)), 1;
        u.key = k->key;
        if (!(k->up = uplink_new(&u, &e)))
            return fprintf(stderr, "%s\n", err_msg(e)), 1;
    }
    timer_in(loop, &tell_timer, 0, tell);
    return loop_run(loop);
}

int main(int argc, char **argv)
{
    if (argc == 4 && strcmp(argv[1], "keys") == 0)
        return keys(number(argv[2]), argv[3]);
    if (argc == 7 && strcmp(argv[1], "run") == 0)
        return run(argv[2], number(argv[3]), number(argv[4]), number(argv[5]), argv[6]);
    fprintf(stderr, "usage: bench-hub keys COUNT DIR | run HOST PORT FROM TO DIR\n");
    return 2;
}
