#include "rig.h"
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/clock.h"
#include "harness.h"

bool has(struct str s, const char *part)
{
    return str_find(s, str_of(part)) >= 0;
}

static void conn_closed(void *arg)
{
    ((struct rig *)arg)->conn_closes++;
}

static int serve_pair(struct rig *r)
{
    int sv[2];
    struct err *e = NULL;
    EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, sv), 0);
    struct stream *s = stream_fd_new(r->loop, sv[0], &e);
    OK(s);
    http_serve(r->server, s, conn_closed, r);
    return sv[1];
}

void rig_connect(struct rig *r)
{
    if (r->fd >= 0)
        close(r->fd);
    r->closed = false;
    buf_reset(&r->got);
    r->fd = serve_pair(r);
}

static void rig_init(struct rig *r, const struct http_limits *limits, http_handler *fn)
{
    struct err *e = NULL;
    *r = (struct rig){.fd = -1};
    r->loop = loop_new(&e);
    OK(r->loop);
    r->server = http_server_new(r->loop, limits, fn, r);
}

void rig_open(struct rig *r, const struct http_limits *limits, http_handler *fn)
{
    rig_init(r, limits, fn);
    rig_connect(r);
}

void rig_open_stream(struct rig *r, http_handler *fn, struct stream **out)
{
    rig_init(r, NULL, fn);
    *out = stream_fd_new(r->loop, serve_pair(r), NULL);
}

void rig_close(struct rig *r)
{
    http_server_free(r->server);
    if (r->upgraded)
        stream_abort(r->upgraded);
    if (r->fd >= 0)
        close(r->fd);
    while (loop_step(r->loop, 0) > 0)
        ;
    loop_free(r->loop);
    buf_clear(&r->got);
    buf_clear(&r->body);
}

static bool read_peer(struct rig *r)
{
    if (r->fd < 0 || r->closed)
        return false;
    char p[65536];
    ssize_t n = read(r->fd, p, sizeof p);
    if (n > 0)
        buf_add(&r->got, p, (size_t)n);
    if (n == 0)
        r->closed = true;
    return n >= 0;
}

void rig_put(struct rig *r, struct str s)
{
    while (s.n) {
        ssize_t n = send(r->fd, s.p, s.n, MSG_NOSIGNAL);
        if (n < 0 && errno != EAGAIN)
            return;
        if (n > 0)
            s = str_sub(s, (size_t)n, s.n);
        loop_step(r->loop, 0);
        read_peer(r);
    }
}

void rig_step(struct rig *r)
{
    for (int quiet = 0; quiet < 4;) {
        bool moved = loop_step(r->loop, quiet > 1 ? 1 : 0) > 0;
        moved |= read_peer(r);
        quiet = moved ? 0 : quiet + 1;
    }
}

void rig_wait(struct rig *r, bool (*until)(struct rig *r), int ms)
{
    int64_t end = loop_now(r->loop) + ms * NS_PER_MS;
    while (!until(r) && loop_now(r->loop) < end) {
        loop_step(r->loop, 5);
        read_peer(r);
    }
}

bool rig_run(struct loop *l, bool *flag, int ms)
{
    int64_t end = loop_now(l) + ms * NS_PER_MS;
    while (!*flag && loop_now(l) < end)
        loop_step(l, 5);
    return *flag;
}

struct str rig_talk(struct rig *r, const char *request)
{
    rig_put(r, str_of(request));
    rig_step(r);
    return buf_str(&r->got);
}

/* ---- a handler ---- */
static void on_close(struct http_req *rq)
{
    struct rig *r = rq->user;
    r->closes++;
    if (r->held == rq)
        r->held = NULL;
}

static void echo(struct http_req *rq, struct str body)
{
    http_reply_str(rq, 200, "text/plain", body);
}

static void echo_stream(struct http_req *rq, const char *p, size_t n)
{
    if (n)
        http_send_str(rq, str_make(p, n));
    else
        http_end(rq);
}

static void reply_big(struct http_req *rq)
{
    struct buf b = BUF_INIT;
    struct http_header h = {STR("content-type"), STR("application/json")};
    for (int i = 0; b.n < (1u << 20); i++)
        buf_printf(&b, "{\"item\":%d},", i);
    struct bytes *y = buf_to_bytes(&b);
    http_reply(rq, 200, &h, 1, y);
    bytes_unref(y);
}

void rig_handler(struct http_req *rq, void *arg)
{
    struct rig *r = arg;
    rq->user = r;
    rq->on_close = on_close;
    if (str_eq(rq->path, STR("/hello"))) {
        http_reply_str(rq, 200, "text/plain", STR("hello"));
    } else if (str_eq(rq->path, STR("/echo"))) {
        http_body(rq, 0, echo);
    } else if (str_eq(rq->path, STR("/small"))) {
        http_body(rq, 10, echo);
    } else if (str_eq(rq->path, STR("/pass"))) {
        http_start(rq, 200, NULL, 0);
        http_body_stream(rq, echo_stream);
    } else if (str_eq(rq->path, STR("/stream"))) {
        http_start(rq, 200, NULL, 0);
        http_send_str(rq, STR("one,"));
        http_send_str(rq, STR("two,"));
        http_send_str(rq, STR("three"));
        http_end(rq);
    } else if (str_eq(rq->path, STR("/hold"))) {
        r->held = rq;
    } else if (str_eq(rq->path, STR("/big"))) {
        reply_big(rq);
    } else if (str_eq(rq->path, STR("/inject"))) {
        struct http_header h[] = {{STR("x-a"), STR("v\r\nset-cookie: evil=1")}, {STR("x b\r\n"), STR("no")}};
        http_reply(rq, 200, h, 2, NULL);
    } else if (str_eq(rq->path, STR("/up"))) {
        r->upgraded = http_upgrade(rq, NULL, 0);
    } else {
        struct str q = http_query(rq, STR("q"));
        http_reply_str(rq, 404, "text/plain", q.p ? q : STR("absent"));
    }
}
