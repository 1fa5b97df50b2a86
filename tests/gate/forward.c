/* Port-forward as kubectl does it, and exec of older clients: SPDY, inside a WebSocket and plain. */
#include "above.h"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>
#include "harness.h"
#include "http/spdy.h"

/* A TCP server on loopback that turns bytes to upper case and says "bye" at the end of input. */
struct upper {
    struct watch listen;
    struct loop *loop;
    struct stream *s;
    int port;
};

static void up_data(void *arg, const char *p, size_t n)
{
    struct upper *u = arg;
    for (size_t i = 0; i < n; i++) {
        char c = p[i] >= 'a' && p[i] <= 'z' ? (char)(p[i] - 32) : p[i];
        stream_write(u->s, &c, 1);
    }
}
static void up_eof(void *arg)
{
    struct upper *u = arg;
    stream_write(u->s, "bye", 3);
    stream_close(TAKE(u->s));
}
static void up_close(void *arg, const struct err *why)
{
    ((struct upper *)arg)->s = NULL;
}

static void on_accept(struct watch *w, uint32_t events)
{
    static const struct stream_events ev = {up_data, NULL, up_eof, up_close};
    struct upper *u = container_of(w, struct upper, listen);
    struct err *e = NULL;
    u->s = stream_fd_new(u->loop, accept4(w->fd, NULL, NULL, SOCK_CLOEXEC), &e);
    OK(u->s);
    stream_use(u->s, &ev, u);
}

static void upper_open(struct upper *u, struct loop *l)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof at;
    struct err *e = NULL;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    *u = (struct upper){.loop = l};
    EQ(bind(fd, (struct sockaddr *)&at, sizeof at), 0);
    EQ(listen(fd, 5), 0);
    EQ(getsockname(fd, (struct sockaddr *)&at, &n), 0);
    u->port = ntohs(at.sin_port);
    FINE(watch_add(l, &u->listen, fd, EPOLLIN, on_accept, &e), e);
}

static void upper_close(struct upper *u)
{
    watch_del(&u->listen);
    close(u->listen.fd);
    if (u->s)
        stream_abort(u->s);
}

/* ---- the client ---- */

struct spoken {
    struct spdy *c;
    bool opened, gone;
    char *refused;
};
struct part {
    struct stream *s;
    struct buf got;
    bool over;
};

static void part_data(void *arg, const char *p, size_t n)
{
    buf_add(&((struct part *)arg)->got, p, n);
}
static void part_eof(void *arg)
{
    ((struct part *)arg)->over = true;
}
static void part_close(void *arg, const struct err *why)
{
    struct part *x = arg;
    x->s = NULL;
    x->over = true;
}

static void no_stream(void *arg, struct spdy *c, uint32_t id, const struct http_header *h, size_t n)
{
    spdy_refuse(c, id);
}
static void on_gone(void *arg, const struct err *why)
{
    struct spoken *k = arg;
    k->c = NULL;
    k->gone = true;
}
static const struct spdy_events client_events = {no_stream, on_gone};

static void on_ws(void *arg, struct ws *w, const char *chosen, const struct err *e)
{
    struct spoken *k = arg;
    k->opened = true;
    if (w)
        k->c = spdy_new(ws_stream(w), false, &client_events, k);
    else
        k->refused = xstrdup(err_msg(e));
}

static void on_plain(void *arg, struct stream *s, const struct http_response *r, const struct err *e)
{
    struct spoken *k = arg;
    k->opened = true;
    if (s)
        k->c = spdy_new(s, false, &client_events, k);
    else
        k->refused = xstrdup(err_msg(e));
}

static void tunnel(struct above *a, struct spoken *k, const char *path)
{
    static const char *const protocols[] = {"SPDY/3.1+portforward.k8s.io", NULL};
    struct http_request rq = {.method = STR("GET"), .path = str_of(path), .timeout_ms = 5000};
    *k = (struct spoken){0};
    ws_dial(a->client, &rq, protocols, 1 << 20, on_ws, k);
    OK(above_until(a, &k->opened, 5000));
}

static void plain(struct above *a, struct spoken *k, const char *path, const char *protocol)
{
    struct http_header h = {STR("x-stream-protocol-version"), str_of(protocol)};
    struct http_request rq = {.method = STR("POST"), .path = str_of(path), .headers = &h, .nheaders = 1, .timeout_ms = 5000};
    *k = (struct spoken){0};
    http_call_upgrade(a->client, &rq, STR("SPDY/3.1"), on_plain, k);
    OK(above_until(a, &k->opened, 5000));
}

static void open_part(struct spoken *k, struct part *x, const char *type, const char *port, const char *request)
{
    static const struct stream_events ev = {part_data, NULL, part_eof, part_close};
    struct http_header h[] = {{STR("streamtype"), str_of(type)}, {STR("port"), str_of(port)}, {STR("requestid"), str_of(request)}};
    *x = (struct part){.s = spdy_open(k->c, h, *port ? 3 : 1)};
    OK(x->s);
    stream_use(x->s, &ev, x);
}

static void part_clear(struct part *x)
{
    if (x->s)
        stream_close(x->s);
    buf_clear(&x->got);
}

static void forward_once(struct above *a, struct spoken *k, struct upper *u, const char *request)
{
    struct part error, data;
    char port[8];
    snprintf(port, sizeof port, "%d", u->port);
    open_part(k, &error, "error", port, request);
    stream_shutdown(error.s);
    open_part(k, &data, "data", port, request);
    stream_write(data.s, "hello", 5);
    above_wait(a, 100);
    EQ_STR(buf_str(&data.got), STR("HELLO"));
    OK(!data.over);
    stream_shutdown(data.s);
    OK(above_until(a, &data.over, 2000));
    EQ_STR(buf_str(&data.got), STR("HELLObye"));
    OK(above_until(a, &error.over, 2000));
    EQ(error.got.n, 0);
    part_clear(&error);
    part_clear(&data);
}

static void pod_runs(struct above *a)
{
    above_open(a);
    a->state.sandbox_ready = true;
}

TEST(ports_are_forwarded_through_spdy_inside_a_websocket)
{
    struct above a;
    struct upper u;
    struct spoken k;
    pod_runs(&a);
    upper_open(&u, a.gate.loop);
    tunnel(&a, &k, "/portForward/default/web");
    OK(k.c);
    forward_once(&a, &k, &u, "0");
    forward_once(&a, &k, &u, "1"); /* another connection on the same session */
    EQ(a.connects, 2);
    spdy_close(k.c);
    upper_close(&u);
    above_close(&a);
}

TEST(ports_are_forwarded_for_clients_that_know_spdy_only)
{
    struct above a;
    struct upper u;
    struct spoken k;
    pod_runs(&a);
    upper_open(&u, a.gate.loop);
    plain(&a, &k, "/portForward/default/web", "portforward.k8s.io");
    OK(k.c);
    forward_once(&a, &k, &u, "7");
    spdy_close(k.c);
    upper_close(&u);
    above_close(&a);
}

TEST(a_port_where_nobody_listens_is_told_on_the_error_stream)
{
    struct above a;
    struct upper u;
    struct spoken k;
    struct part error, data;
    char port[8];
    pod_runs(&a);
    upper_open(&u, a.gate.loop);
    snprintf(port, sizeof port, "%d", u.port);
    upper_close(&u);
    tunnel(&a, &k, "/portForward/default/web");
    open_part(&k, &data, "data", port, "0");
    open_part(&k, &error, "error", port, "0");
    OK(above_until(&a, &error.over, 2000));
    OK(str_find(buf_str(&error.got), STR("to pod web, uid : dial tcp4 127.0.0.1: connect: connection refused")) > 0);
    OK(above_until(&a, &data.over, 2000));
    part_clear(&error);
    part_clear(&data);
    open_part(&k, &data, "data", "0", "1"); /* no such port */
    OK(above_until(&a, &data.over, 2000));
    part_clear(&data);
    open_part(&k, &data, "data", "80", "2"); /* a half that the client leaves alone */
    above_wait(&a, 20);
    spdy_close(k.c);
    part_clear(&data);
    above_close(&a);
}

TEST(forwarding_ends_with_the_client)
{
    struct above a;
    struct upper u;
    struct spoken k;
    struct part error, data;
    char port[8];
    pod_runs(&a);
    upper_open(&u, a.gate.loop);
    snprintf(port, sizeof port, "%d", u.port);
    tunnel(&a, &k, "/portForward/default/web");
    open_part(&k, &error, "error", port, "0");
    open_part(&k, &data, "data", port, "0");
    stream_write(data.s, "x", 1);
    above_wait(&a, 100);
    OK(u.s);
    spdy_close(k.c);
    above_wait(&a, 200);
    OK(!u.s);
    part_clear(&error);
    part_clear(&data);
    upper_close(&u);
    above_close(&a);
}

TEST(a_pod_that_does_not_run_forwards_nothing)
{
    struct above a;
    struct spoken k;
    above_open(&a);
    tunnel(&a, &k, "/portForward/default/web");
    OK(k.refused && strstr(k.refused, "pod is not running"));
    free(k.refused);
    above_close(&a);
}

TEST(exec_speaks_spdy_with_older_clients)
{
    struct above a;
    struct spoken k;
    struct part error, in, out, resize;
    above_open(&a);
    plain(&a, &k, "/exec/default/web/app?command=sh&command=-c&command=cat;+exit+4&stdin=true&stdout=true", "v4.channel.k8s.io");
    OK(k.c);
    open_part(&k, &error, "error", "", "");
    open_part(&k, &in, "stdin", "", "");
    open_part(&k, &resize, "resize", "", ""); /* without a terminal there is none: refused */
    open_part(&k, &out, "stdout", "", "");
    stream_write(in.s, "words", 5);
    stream_shutdown(in.s);
    OK(above_until(&a, &error.over, 5000));
    EQ_STR(buf_str(&out.got), STR("words"));
    OK(str_find(buf_str(&error.got), STR("\"message\":\"4\"")) > 0);
    part_clear(&error);
    part_clear(&in);
    part_clear(&out);
    part_clear(&resize);
    if (k.c)
        spdy_close(k.c);
    above_close(&a);
}

TEST(a_session_whose_streams_do_not_come_starts_nothing)
{
    struct above a;
    struct spoken k;
    struct part error;
    above_open(&a);
    plain(&a, &k, "/exec/default/web/app?command=true&stdout=true", "v4.channel.k8s.io");
    open_part(&k, &error, "error", "", "");
    above_wait(&a, 100);
    OK(list_empty(&a.procs));
    spdy_close(k.c);
    part_clear(&error);
    above_close(&a);
}

TEST(statistics_are_told_as_kubelets_tell_them)
{
    struct above a;
    struct answer x;
    struct node_container_stats con = {.name = STR("app"), .cpu_ns = 1500000000, .memory_working_set = 4096, .memory = 8192, .rss = 1024};
    struct node_pod_stats pods[] = {
        {.uid = STR("u1"), .containers = &con, .ncontainers = 1, .cpu_ns = 2500000000, .memory_working_set = 5000, .rx_bytes = 7},
        {.uid = STR("unknown")}};
    struct node_stats s = {.at = 1767323045 * NS_PER_S, .cpu_ns = 3000000000, .memory_working_set = 6000, .pods = pods, .npods = 2};
    above_open(&a);
    a.stats = &s;
    struct str text = above_fetch(&a, &x, "/metrics/resource");
    OK(str_find(text,
           STR("\ncontainer_cpu_usage_seconds_total{container=\"app\",namespace=\"default\",pod=\"web\"} 1.500000 1767323045000\n")) > 0);
    OK(str_find(text, STR("\npod_memory_working_set_bytes{namespace=\"default\",pod=\"web\"} 5000 1767323045000\n")) > 0);
    OK(str_find(text, STR("\nnode_cpu_usage_seconds_total 3.000000 1767323045000\n")) > 0);
    answer_clear(&x);
    text = above_fetch(&a, &x, "/stats/summary");
    OK(str_find(text, STR("\"podRef\":{\"name\":\"web\",\"namespace\":\"default\",\"uid\":\"u1\"}")) > 0);
    OK(str_find(text, STR("\"workingSetBytes\":4096")) > 0);
    answer_clear(&x);
    above_close(&a);
}
