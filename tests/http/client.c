/* Both sides together: every test runs over HTTP/1.1 and over HTTP/2. */
#include "harness.h"
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/clock.h"
#include "rig.h"

struct call {
    struct http_call *k;
    int status, ends, heads;
    bool ended;
    char *error;
    struct buf body;
    struct str alpn;
    bool cancel_on_data;
    struct stream *up;
    struct buf up_got;
    bool up_eof, up_closed;
};

static void on_head(void *arg, const struct http_response *r)
{
    struct call *c = arg;
    c->status = r->status;
    c->heads++;
}
static void on_data(void *arg, const char *p, size_t n)
{
    struct call *c = arg;
    buf_add(&c->body, p, n);
    if (c->cancel_on_data) {
        http_call_cancel(TAKE(c->k));
        c->ended = true;
    }
}
static void on_end(void *arg, const struct err *e)
{
    struct call *c = arg;
    c->ends++;
    c->ended = true;
    c->k = NULL;
    if (e)
        c->error = xstrdup(err_msg(e));
}
static const struct http_call_events events = {on_head, on_data, NULL, on_end};

static void call_clear(struct call *c)
{
    buf_clear(&c->body);
    buf_clear(&c->up_got);
    free(c->error);
    *c = (struct call){0};
}

struct both {
    struct rig r;
    struct http_client *c;
    bool h2, closed;
};

static void over_closed(void *arg, const struct err *why)
{
    ((struct both *)arg)->closed = true;
}

static void both_open(struct both *b, bool h2)
{
    struct err *e = NULL;
    b->h2 = h2;
    b->closed = false;
    if (h2) {
        struct stream *s;
        rig_open_stream(&b->r, rig_handler, &s);
        b->c = http_client_over(s, NULL, over_closed, b);
        return;
    }
    char addr[300];
    rig_open(&b->r, NULL, rig_handler);
    snprintf(addr, sizeof addr, "unix:%s/s", test_tmpdir());
    int fd = http_bind(addr, 16, &e);
    OK(fd >= 0);
    FINE(http_listen(b->r.server, fd, NULL, &e), e);
    struct endpoint ep = {.unix_path = addr + 5};
    b->c = http_client_new(b->r.loop, &ep, NULL);
}

static void both_close(struct both *b)
{
    http_client_free(b->c);
    rig_close(&b->r);
}

static void start(struct both *b, struct call *c, const char *method, const char *path, struct str body)
{
    struct http_request q = {.method = str_of(method), .path = str_of(path), .body = body};
    c->k = http_call(b->c, &q, &events, c);
}

static void finish(struct both *b, struct call *c)
{
    OK(rig_run(b->r.loop, &c->ended, 3000));
}

static void ask(struct both *b, struct call *c, const char *method, const char *path, struct str body)
{
    call_clear(c);
    start(b, c, method, path, body);
    finish(b, c);
}

#define BOTH(name_)                                                                                                                        \
    static void name_##_(bool h2);                                                                                                         \
    TEST(h1_##name_)                                                                                                                       \
    {                                                                                                                                      \
        name_##_(false);                                                                                                                   \
    }                                                                                                                                      \
    TEST(h2_##name_)                                                                                                                       \
    {                                                                                                                                      \
        name_##_(true);                                                                                                                    \
    }                                                                                                                                      \
    static void name_##_(bool h2)

BOTH(calls_get_their_answers)
{
    struct both b;
    struct call c = {0};
    both_open(&b, h2);
    ask(&b, &c, "GET", "/hello", STR_NULL);
    if (c.error)
        test_fail(__FILE__, __LINE__, "%s", c.error);
    EQ(c.status, 200);
    EQ_STR(buf_str(&c.body), STR("hello"));
    ask(&b, &c, "POST", "/echo", STR("a body"));
    EQ_STR(buf_str(&c.body), STR("a body"));
    ask(&b, &c, "POST", "/echo", STR(""));
    EQ(c.status, 200);
    EQ(c.body.n, 0);
    ask(&b, &c, "GET", "/none?q=1%2B1", STR_NULL);
    EQ(c.status, 404);
    EQ_STR(buf_str(&c.body), STR("1+1"));
    ask(&b, &c, "HEAD", "/hello", STR_NULL);
    EQ(c.status, 200);
    EQ(c.body.n, 0);
    ask(&b, &c, "GET", "/stream", STR_NULL);
    EQ_STR(buf_str(&c.body), STR("one,two,three"));
    ask(&b, &c, "GET", "/inject", STR_NULL);
    EQ(c.status, 200);
    EQ(c.ends, 1);
    call_clear(&c);
    both_close(&b);
}

BOTH(large_bodies_pass_both_ways)
{
    struct both b;
    struct call c = {0};
    struct buf big = BUF_INIT;
    both_open(&b, h2);
    for (int i = 0; big.n < 2u << 20; i++)
        buf_printf(&big, "%d ", i);
    ask(&b, &c, "POST", "/echo", buf_str(&big));
    EQ(c.body.n, big.n);
    OK(str_eq(buf_str(&c.body), buf_str(&big)));
    ask(&b, &c, "POST", "/pass", buf_str(&big));
    EQ(c.body.n, big.n);
    ask(&b, &c, "POST", "/small", buf_str(&big));
    EQ(c.status, 413);
    ask(&b, &c, "GET", "/big", STR_NULL);
    OK(c.body.n > 1u << 20);
    call_clear(&c);
    buf_clear(&big);
    both_close(&b);
}

BOTH(many_calls_run_at_once)
{
    struct both b;
    struct call c[40] = {0};
    both_open(&b, h2);
    for (size_t i = 0; i < ARRAY_LEN(c); i++)
        start(&b, &c[i], "POST", "/echo", str_of(i % 2 ? "odd" : "even"));
    for (size_t i = 0; i < ARRAY_LEN(c); i++) {
        finish(&b, &c[i]);
        EQ_Z(buf_str(&c[i].body).p, i % 2 ? "odd" : "even");
        call_clear(&c[i]);
    }
    both_close(&b);
}

BOTH(a_body_may_be_streamed)
{
    struct both b;
    struct call c = {0};
    both_open(&b, h2);
    struct http_request q = {.method = STR("POST"), .path = STR("/pass"), .stream_body = true};
    c.k = http_call(b.c, &q, &events, &c);
    http_call_send(c.k, "early ", 6);
    rig_step(&b.r);
    EQ_STR(buf_str(&c.body), STR("early "));
    http_call_send(c.k, "late", 4);
    rig_step(&b.r);
    EQ_STR(buf_str(&c.body), STR("early late"));
    OK(!c.ended);
    http_call_finish(c.k);
    finish(&b, &c);
    EQ(c.ends, 1);
    OK(!c.error);
    call_clear(&c);
    both_close(&b);
}

BOTH(a_held_request_can_be_cancelled)
{
    struct both b;
    struct call c = {0};
    both_open(&b, h2);
    start(&b, &c, "GET", "/hold", STR_NULL);
    rig_step(&b.r);
    OK(b.r.held);
    http_call_cancel(TAKE(c.k));
    rig_step(&b.r);
    OK(!b.r.held);
    EQ(b.r.closes, 1);
    EQ(c.ends, 0);
    ask(&b, &c, "GET", "/hello", STR_NULL);
    EQ(c.status, 200);
    call_clear(&c);
    both_close(&b);
}

BOTH(a_call_can_be_cancelled_in_its_own_callback)
{
    struct both b;
    struct call c = {0};
    both_open(&b, h2);
    c.cancel_on_data = true;
    start(&b, &c, "GET", "/big", STR_NULL);
    finish(&b, &c);
    EQ(c.ends, 0);
    ask(&b, &c, "GET", "/hello", STR_NULL);
    EQ(c.status, 200);
    call_clear(&c);
    both_close(&b);
}

BOTH(a_handler_can_abort)
{
    struct both b;
    struct call c = {0};
    both_open(&b, h2);
    start(&b, &c, "GET", "/hold", STR_NULL);
    rig_step(&b.r);
    http_start(b.r.held, 200, NULL, 0);
    http_send_str(b.r.held, STR("half"));
    rig_step(&b.r);
    http_abort(b.r.held);
    finish(&b, &c);
    OK(c.error);
    EQ(c.status, 200);
    call_clear(&c);
    both_close(&b);
}

BOTH(a_call_times_out)
{
    struct both b;
    struct call c = {0};
    both_open(&b, h2);
    struct http_request q = {.path = STR("/hold"), .timeout_ms = 50};
    c.k = http_call(b.c, &q, &events, &c);
    finish(&b, &c);
    HAS(str_of(c.error), "no answer in time");
    rig_step(&b.r);
    OK(!b.r.held);
    call_clear(&c);
    both_close(&b);
}

BOTH(a_paused_reader_holds_the_writer_back)
{
    struct both b;
    struct call c = {0};
    both_open(&b, h2);
    start(&b, &c, "GET", "/hold", STR_NULL);
    rig_step(&b.r);
    http_start(b.r.held, 200, NULL, 0);
    http_send_str(b.r.held, STR("x"));
    rig_step(&b.r);
    http_call_pause(c.k, true);
    struct buf chunk = BUF_INIT;
    memset(buf_reserve(&chunk, 1u << 20), 'y', 1u << 20);
    chunk.n = 1u << 20;
    for (int i = 0; i < 4; i++)
        http_send_str(b.r.held, buf_str(&chunk));
    rig_step(&b.r);
    OK(c.body.n < 10);
    OK(http_queued(b.r.held) > 2u << 20);
    http_end(b.r.held);
    rig_step(&b.r);
    OK(!c.ended);
    http_call_pause(c.k, false);
    finish(&b, &c);
    EQ(c.body.n, (4u << 20) + 1);
    OK(!c.error);
    buf_clear(&chunk);
    call_clear(&c);
    both_close(&b);
}

BOTH(freeing_the_client_ends_its_calls)
{
    struct both b;
    struct call c = {0}, d = {0};
    both_open(&b, h2);
    start(&b, &c, "GET", "/hold", STR_NULL);
    rig_step(&b.r);
    start(&b, &d, "GET", "/hold", STR_NULL);
    http_client_free(TAKE(b.c));
    EQ(c.ends, 1);
    EQ(d.ends, 1);
    rig_step(&b.r);
    OK(!b.closed);
    call_clear(&c);
    call_clear(&d);
    both_close(&b);
}

BOTH(freeing_the_server_ends_the_calls)
{
    struct both b;
    struct call c = {0};
    both_open(&b, h2);
    start(&b, &c, "GET", "/hold", STR_NULL);
    rig_step(&b.r);
    http_server_free(TAKE(b.r.server));
    finish(&b, &c);
    OK(c.error);
    rig_step(&b.r);
    EQ(b.closed, h2);
    call_clear(&c);
    both_close(&b);
}

static void up_data(void *arg, const char *p, size_t n)
{
    buf_add(&((struct call *)arg)->up_got, p, n);
}
static void up_eof(void *arg)
{
    ((struct call *)arg)->up_eof = true;
}
static void up_closed(void *arg, const struct err *why)
{
    struct call *c = arg;
    c->up_closed = true;
    c->up = NULL;
}
static const struct stream_events up_events = {.on_data = up_data, .on_eof = up_eof, .on_close = up_closed};

static void upgraded(void *arg, struct stream *s, const struct http_response *r, const struct err *e)
{
    struct call *c = arg;
    c->k = NULL;
    c->ended = true;
    c->up = s;
    if (e)
        c->error = xstrdup(err_msg(e));
    else
        c->status = r->status;
}

static void upgrade(struct both *b, struct call *c, const char *path)
{
    call_clear(c);
    struct http_request q = {.path = str_of(path)};
    c->k = http_call_upgrade(b->c, &q, STR("echo/1"), upgraded, c);
    finish(b, c);
}

BOTH(an_upgrade_is_a_stream_both_ways)
{
    struct both b;
    struct call c = {0}, s = {0};
    both_open(&b, h2);
    upgrade(&b, &c, "/up");
    OK(c.up && b.r.upgraded);
    EQ(c.status, h2 ? 200 : 101);
    s.up = TAKE(b.r.upgraded);
    stream_write(c.up, "ping", 4);
    stream_use(c.up, &up_events, &c);
    rig_step(&b.r);
    stream_use(s.up, &up_events, &s); /* what came before is kept */
    rig_step(&b.r);
    EQ_STR(buf_str(&s.up_got), STR("ping"));
    struct bytes *big = bytes_alloc(3u << 20);
    memset(big->p, 'z', big->n);
    stream_pause(c.up, true);
    stream_write_bytes(s.up, big, 0, big->n);
    rig_step(&b.r);
    OK(stream_queued(s.up) > 1u << 20 && c.up_got.n == 0);
    stream_pause(c.up, false);
    for (int i = 0; i < 100 && c.up_got.n < big->n; i++)
        rig_step(&b.r);
    EQ(c.up_got.n, big->n);
    bytes_unref(big);
    stream_shutdown(c.up);
    rig_step(&b.r);
    OK(s.up_eof && !s.up_closed);
    stream_write(s.up, "end", 3);
    stream_close(TAKE(s.up));
    rig_step(&b.r);
    OK(str_ends(buf_str(&c.up_got), STR("end")));
    OK(c.up_eof && c.up_closed);
    call_clear(&c);
    call_clear(&s);
    both_close(&b);
}

BOTH(a_refused_upgrade_says_why)
{
    struct both b;
    struct call c = {0};
    both_open(&b, h2);
    upgrade(&b, &c, "/none?q=nobody%20here");
    OK(!c.up);
    EQ_Z(c.error, "the peer answered 404: nobody here");
    ask(&b, &c, "GET", "/hello", STR_NULL);
    EQ(c.status, 200);
    call_clear(&c);
    both_close(&b);
}

BOTH(an_aborted_stream_is_seen_on_the_other_side)
{
    struct both b;
    struct call c = {0}, s = {0};
    both_open(&b, h2);
    upgrade(&b, &c, "/up");
    stream_use(c.up, &up_events, &c);
    s.up = TAKE(b.r.upgraded);
    stream_use(s.up, &up_events, &s);
    stream_abort(TAKE(c.up));
    rig_step(&b.r);
    OK(s.up_closed || s.up_eof);
    stream_abort(TAKE(s.up));
    call_clear(&c);
    call_clear(&s);
    both_close(&b);
}

static void pong(void *arg, int64_t rtt)
{
    *(int64_t *)arg = rtt;
}

TEST(h2_pings_measure_the_way)
{
    struct both b;
    int64_t rtt = -1;
    both_open(&b, true);
    http_client_ping(b.c, pong, &rtt);
    rig_step(&b.r);
    OK(rtt >= 0);
    both_close(&b);
}

static void drained(void *arg)
{
    *(bool *)arg = true;
}

TEST(h2_drains_after_its_last_stream)
{
    struct both b;
    struct call c = {0};
    bool done = false;
    both_open(&b, true);
    start(&b, &c, "GET", "/hold", STR_NULL);
    rig_step(&b.r);
    http_server_drain(b.r.server, 5000, drained, &done);
    rig_step(&b.r);
    OK(!done);
    http_reply_str(b.r.held, 200, "text/plain", STR("last"));
    finish(&b, &c);
    EQ_STR(buf_str(&c.body), STR("last"));
    OK(rig_run(b.r.loop, &done, 2000));
    call_clear(&c);
    both_close(&b);
}

TEST(h1_dial_errors_name_the_target)
{
    struct both b;
    struct call c = {0};
    both_open(&b, false);
    http_client_free(b.c);
    struct endpoint ep = {.host = "127.0.0.1", .port = 1};
    b.c = http_client_new(b.r.loop, &ep, NULL);
    ask(&b, &c, "GET", "/", STR_NULL);
    EQ_Z(c.error, "dial 127.0.0.1:1: connect: Connection refused");
    http_client_free(b.c);
    ep.host = "no.such.name.invalid";
    b.c = http_client_new(b.r.loop, &ep, NULL);
    ask(&b, &c, "GET", "/", STR_NULL);
    HAS(str_of(c.error), "resolve no.such.name.invalid: ");
    call_clear(&c);
    both_close(&b);
}
