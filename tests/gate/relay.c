/* gate's proxies: a front over HTTP/2, a back over HTTP/1.1 on a real socket. */
#include "gate/relay.h"
#include <arpa/inet.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>
#include "above.h"
#include "base/base.h"
#include "harness.h"

struct back {
    struct http_server *server;
    struct http_client *client;
    struct buf seen; /* "METHOD path headers... body" of each request */
    struct stream *upgraded;
    int done;
    size_t big;
};

static void up_data(void *arg, const char *p, size_t n)
{
    struct back *b = arg;
    stream_write(b->upgraded, p, n);
}
static void up_close(void *arg, const struct err *why)
{
    ((struct back *)arg)->upgraded = NULL;
}

static void with_body(struct http_req *rq, struct str body)
{
    struct back *b = rq->user;
    struct http_header h[] = {{STR("x-from"), STR("back")}, {STR("connection"), STR("close")}};
    buf_printf(&b->seen, "%.*s %.*s?%.*s", STR_ARG(rq->method), STR_ARG(rq->path), STR_ARG(rq->query));
    for (size_t i = 0; i < rq->nheaders; i++)
        if (!str_eqz(rq->headers[i].name, "host"))
            buf_printf(&b->seen, " %.*s", STR_ARG(rq->headers[i].name));
    buf_printf(&b->seen, " [%.*s];", STR_ARG(body));
    if (str_eqz(rq->path, "/big")) {
        static char lump[1 << 16];
        http_start(rq, 200, h, 1);
        for (b->big = 0; b->big < (8u << 20); b->big += sizeof lump)
            http_send_str(rq, str_make(lump, sizeof lump));
        http_end(rq);
        return;
    }
    struct bytes *y = bytes_new("fine", 4);
    http_reply(rq, str_eqz(rq->path, "/gone") ? 404 : 200, h, 2, y);
    bytes_unref(y);
}

static void back_handler(struct http_req *rq, void *arg)
{
    static const struct stream_events events = {up_data, NULL, NULL, up_close};
    struct back *b = arg;
    if (rq->protocol.n && str_eqz(rq->path, "/up")) {
        buf_printf(&b->seen, "upgrade %.*s %.*s;", STR_ARG(rq->method), STR_ARG(rq->protocol));
        b->upgraded = http_upgrade(rq, NULL, 0);
        stream_use(b->upgraded, &events, b);
        return;
    }
    if (str_eqz(rq->path, "/cut")) {
        http_abort(rq);
        return;
    }
    rq->user = b;
    http_body(rq, 0, with_body);
}

static void failed(struct http_req *rq, int status, struct str message)
{
    http_reply_str(rq, status, "text/plain", message);
}
static void done(void *arg)
{
    ((struct back *)arg)->done++;
}

static void front_handler(struct http_req *rq, void *arg)
{
    struct back *b = arg;
    struct http_header *h;
    struct relay_to to = {.client = b->client, .head_ms = 5000, .fail = failed, .done = done, .arg = b};
    to.nheaders = relay_headers(rq, 0, &h);
    to.headers = h;
    to.path = pool_printf(rq->pool, "%.*s?%.*s", STR_ARG(rq->path), STR_ARG(rq->query));
    relay(rq, &to);
}

/* Puts the front in the place of serve_request. */
static void open_both(struct above *a, struct back *b)
{
    struct err *e = NULL;
    int up[2];
    _cleanup_(freep) char *path = xasprintf("%s/back.sock", test_tmpdir()), *address = xasprintf("unix:%s", path);
    struct endpoint ep = {.unix_path = path};
    above_open(a);
    *b = (struct back){0};
    http_client_free(a->client);
    http_server_free(a->server);
    b->server = http_server_new(a->gate.loop, NULL, back_handler, b);
    FINE(http_listen(b->server, http_bind(address, 16, &e), NULL, &e), e);
    b->client = http_client_new(a->gate.loop, &ep, NULL);
    EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, up), 0);
    a->server = http_server_new(a->gate.loop, NULL, front_handler, b);
    http_serve(a->server, stream_fd_new(a->gate.loop, up[0], &e), NULL, NULL);
    a->client = http_client_over(stream_fd_new(a->gate.loop, up[1], &e), NULL, NULL, NULL);
}

static void close_both(struct above *a, struct back *b)
{
    http_client_free(TAKE(a->client));
    above_wait(a, 30);
    http_client_free(b->client);
    http_server_free(b->server);
    if (b->upgraded)
        stream_abort(b->upgraded);
    buf_clear(&b->seen);
    above_close(a);
}

static void on_head(void *arg, const struct http_response *r)
{
    ((struct answer *)arg)->status = r->status;
}
static void on_data(void *arg, const char *p, size_t n)
{
    buf_add(&((struct answer *)arg)->body, p, n);
}
static void on_end(void *arg, const struct err *e)
{
    struct answer *x = arg;
    x->ended = true;
    x->failed = e != NULL;
    x->call = NULL;
}
static const struct http_call_events events = {on_head, on_data, NULL, on_end};

static struct str ask(struct above *a, struct answer *x, struct http_request *rq)
{
    *x = (struct answer){.above = a};
    x->call = http_call(a->client, rq, &events, x);
    OK(above_until(a, &x->ended, 5000));
    return buf_str(&x->body);
}

TEST(a_request_is_passed_on_with_its_body_and_without_what_is_the_hops)
{
    struct above a;
    struct back b;
    struct answer x;
    struct http_header h[] = {{STR("x-own"), STR("1")}, {STR("authorization"), STR("Bearer secret")}, {STR("cookie"), STR("a=b")}};
    struct http_request rq = {.method = STR("POST"), .path = STR("/a%20b?q=1"), .headers = h, .nheaders = 3, .body = STR("words")};
    open_both(&a, &b);
    EQ_STR(ask(&a, &x, &rq), STR("fine"));
    EQ(x.status, 200);
    EQ_STR(buf_str(&b.seen), STR("POST /a%20b?q=1 x-own content-length [words];"));
    above_wait(&a, 20);
    EQ(b.done, 1);
    answer_clear(&x);
    rq = (struct http_request){.method = STR("GET"), .path = STR("/gone")};
    EQ_STR(ask(&a, &x, &rq), STR("fine"));
    EQ(x.status, 404);
    answer_clear(&x);
    rq.path = STR("/cut");
    ask(&a, &x, &rq);
    EQ(x.status, 503);
    answer_clear(&x);
    above_wait(&a, 20);
    EQ(b.done, 3);
    close_both(&a, &b);
}

static void hold(void *arg, const char *p, size_t n)
{
    struct answer *x = arg;
    buf_add(&x->body, p, n);
    http_call_pause(x->call, true);
}

TEST(a_slow_reader_of_a_relayed_answer_may_leave_in_the_middle)
{
    static const struct http_call_events slow = {NULL, hold, NULL, NULL};
    struct above a;
    struct back b;
    struct answer x = {0};
    struct http_request rq = {.method = STR("GET"), .path = STR("/big")};
    open_both(&a, &b);
    x.call = http_call(a.client, &rq, &slow, &x);
    above_wait(&a, 200);
    OK(x.body.n > 0 && x.body.n < (2u << 20));
    EQ(b.done, 0);
    answer_clear(&x);
    above_wait(&a, 100);
    EQ(b.done, 1);
    EQ(ask(&a, &x, &rq).n, 8u << 20);
    answer_clear(&x);
    close_both(&a, &b);
}

struct end {
    struct stream *s;
    struct buf got;
    bool told, closed;
};
static void end_data(void *arg, const char *p, size_t n)
{
    buf_add(&((struct end *)arg)->got, p, n);
}
static void end_close(void *arg, const struct err *why)
{
    struct end *x = arg;
    x->s = NULL;
    x->closed = true;
}
static void on_upgraded(void *arg, struct stream *s, const struct http_response *r, const struct err *e)
{
    static const struct stream_events ev = {end_data, NULL, NULL, end_close};
    struct end *x = arg;
    x->told = true;
    x->s = s;
    if (s)
        stream_use(s, &ev, x);
}

TEST(an_upgrade_is_reissued_and_spliced_and_a_refused_one_is_told)
{
    struct above a;
    struct back b;
    struct end x = {0};
    struct http_request rq = {.method = STR("GET"), .path = STR("/up")};
    open_both(&a, &b);
    http_call_upgrade(a.client, &rq, STR("SPDY/3.1"), on_upgraded, &x);
    OK(above_until(&a, &x.told, 5000));
    OK(x.s);
    EQ_STR(buf_str(&b.seen), STR("upgrade GET SPDY/3.1;"));
    stream_write(x.s, "echo", 4);
    above_wait(&a, 50);
    EQ_STR(buf_str(&x.got), STR("echo"));
    EQ(b.done, 0);
    stream_close(TAKE(x.s));
    above_wait(&a, 50);
    OK(!b.upgraded);
    EQ(b.done, 1);
    x.told = false;
    rq.path = STR("/gone");
    http_call_upgrade(a.client, &rq, STR("SPDY/3.1"), on_upgraded, &x);
    OK(above_until(&a, &x.told, 5000));
    OK(!x.s);
    above_wait(&a, 20);
    EQ(b.done, 2);
    buf_clear(&x.got);
    close_both(&a, &b);
}

TEST(a_proxy_into_the_pod_network_does_not_reach_this_machine_itself)
{
    static const char *const bad[] = {"/proxy/http/127.0.0.1/80/", "/proxy/http/127.9.9.9/80/x", "/proxy/http/169.254.169.254/80/latest",
        "/proxy/http/0.0.0.0/80/", "/proxy/http/::1/80/", "/proxy/http/%3A%3Affff%3A127.0.0.1/80/", "/proxy/http/fe80::1/80/",
        "/proxy/http/localhost/80/", "/proxy/ftp/10.0.0.1/80/", "/proxy/http/10.0.0.1/0/", "/proxy/http/10.0.0.1/65536/",
        "/proxy/http/224.0.0.1/80/"};
    struct above a;
    struct answer x;
    above_open(&a);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        EQ_STR(above_fetch(&a, &x, bad[i]), STR("address not allowed"));
        EQ(x.status, 400);
        answer_clear(&x);
    }
    above_close(&a);
}

TEST(a_server_in_the_pod_network_answers_through_the_proxy)
{
    struct above a;
    struct back b = {0};
    struct answer x;
    struct ifaddrs *all = NULL;
    char ip[INET_ADDRSTRLEN] = "";
    struct err *e = NULL;
    EQ(getifaddrs(&all), 0);
    for (struct ifaddrs *i = all; i; i = i->ifa_next)
        if (!*ip && i->ifa_addr && i->ifa_addr->sa_family == AF_INET && !(i->ifa_flags & IFF_LOOPBACK))
            inet_ntop(AF_INET, &((struct sockaddr_in *)(void *)i->ifa_addr)->sin_addr, ip, sizeof ip);
    freeifaddrs(all);
    if (!*ip)
        test_skip("this machine has only loopback");
    above_open(&a);
    _cleanup_(freep) char *address = xasprintf("%s:0", ip);
    int fd = http_bind(address, 16, &e);
    OK(fd >= 0);
    struct sockaddr_in at;
    socklen_t n = sizeof at;
    EQ(getsockname(fd, (struct sockaddr *)&at, &n), 0);
    b.server = http_server_new(a.gate.loop, NULL, back_handler, &b);
    FINE(http_listen(b.server, fd, NULL, &e), e);
    _cleanup_(freep) char *path = xasprintf("/proxy/http/%s/%d/some/where?x=y", ip, ntohs(at.sin_port));
    EQ_STR(above_fetch(&a, &x, path), STR("fine"));
    EQ_STR(buf_str(&b.seen), STR("GET /some/where?x=y [];"));
    answer_clear(&x);
    above_wait(&a, 20);
    http_server_free(b.server);
    buf_clear(&b.seen);
    above_close(&a);
}
