#include "harness.h"
#include <stdlib.h>
#include "base/clock.h"
#include "http/ws_frame.h"
#include "rig.h"

#define HANDSHAKE                                                                                                                          \
    "GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: "         \
    "dGhlIHNhbXBsZSBub25jZQ==\r\n"

struct end { /* one side of a WebSocket */
    struct ws *ws;
    struct buf got;
    int messages, closes, code, pongs;
    char reason[130];
    const char *chosen;
    bool done, close_in_message, echo;
    char *error;
};
static struct end server;

static void on_message(void *arg, enum ws_op op, const char *p, size_t n)
{
    struct end *x = arg;
    x->messages++;
    buf_add(&x->got, p, n);
    if (x->echo)
        ws_send(x->ws, op, p, n);
    if (x->close_in_message)
        ws_close(TAKE(x->ws), 4000, STR("enough"));
}
static void on_close(void *arg, int code, struct str reason)
{
    struct end *x = arg;
    x->closes++;
    x->code = code;
    x->ws = NULL;
    snprintf(x->reason, sizeof x->reason, "%.*s", STR_ARG(reason));
}
static const struct ws_events events = {on_message, NULL, on_close};

static void end_clear(struct end *x)
{
    ws_close(x->ws, 1000, STR(""));
    buf_clear(&x->got);
    free(x->error);
    *x = (struct end){0};
}

static const char *const spoken[] = {"v5.channel.k8s.io", "v4.channel.k8s.io", NULL};

static void handler(struct http_req *rq, void *arg)
{
    server.ws = ws_accept(rq, spoken, 1000, &server.chosen);
    if (server.ws)
        ws_use(server.ws, &events, &server);
}

static void frame(struct buf *b, uint8_t first, uint64_t n, const void *p, bool mask)
{
    static const uint8_t key[4] = {1, 2, 3, 4};
    size_t at = b->n;
    ws_head(b, first & 15, true, n, mask ? key : NULL);
    b->p[at] = (char)first;
    size_t body = b->n;
    if (p)
        buf_add(b, p, n);
    if (mask && p)
        ws_unmask(b->p + body, n, key, 0);
}

static void put(struct rig *r, uint8_t first, const char *text)
{
    struct buf b = BUF_INIT;
    frame(&b, first, strlen(text), text, true);
    rig_put(r, buf_str(&b));
    buf_clear(&b);
    rig_step(r);
}

static void open_raw(struct rig *r)
{
    rig_connect(r);
    HAS(rig_talk(r, HANDSHAKE "\r\n"), "101 Switching");
    OK(server.ws);
    buf_reset(&r->got);
}

TEST(ws_handshake_is_that_of_rfc6455)
{
    struct rig r;
    rig_open(&r, NULL, handler);
    struct str out =
        rig_talk(&r, HANDSHAKE "Sec-WebSocket-Protocol: x, v4.channel.k8s.io\r\nSec-WebSocket-Protocol: v5.channel.k8s.io\r\n\r\n");
    HAS(out, "sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n");
    HAS(out, "sec-websocket-protocol: v5.channel.k8s.io\r\n");
    EQ_Z(server.chosen, "v5.channel.k8s.io");
    end_clear(&server);
    rig_connect(&r);
    HAS(rig_talk(&r, HANDSHAKE "Sec-WebSocket-Protocol: other\r\n\r\n"), "400 Bad Request");
    OK(!server.ws);
    rig_connect(&r);
    HAS(rig_talk(&r, "GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: "
                     "13\r\nSec-WebSocket-Key: c2hvcnQ=\r\n\r\n"),
        "not 16 bytes");
    rig_connect(&r);
    HAS(rig_talk(&r, "GET /ws HTTP/1.1\r\nHost: x\r\n\r\n"), "not a WebSocket upgrade");
    end_clear(&server);
    rig_close(&r);
}

TEST(ws_messages_fragments_and_pings_pass)
{
    struct rig r;
    rig_open(&r, NULL, handler);
    open_raw(&r);
    server.echo = true;
    put(&r, 0x81, "whole");
    EQ_STR(buf_str(&r.got), STR("\x81\x05whole"));
    buf_reset(&r.got);
    put(&r, 0x01, "fra");
    put(&r, 0x89, "ping");
    put(&r, 0x00, "");
    put(&r, 0x80, "gment");
    EQ_STR(buf_str(&r.got), STR("\x8a\x04ping\x81\x08"
                                "fragment"));
    EQ(server.messages, 2);
    buf_reset(&r.got);
    put(&r, 0x88,
        "\x03\xe9"
        "bye");
    EQ_STR(buf_str(&r.got), STR("\x88\x02\x03\xe9"));
    OK(r.closed);
    EQ(server.code, 1001);
    EQ_Z(server.reason, "bye");
    EQ(server.closes, 1);
    end_clear(&server);
    rig_close(&r);
}

TEST(ws_broken_rules_end_the_connection)
{
    static const struct {
        const char *bytes;
        size_t n;
        int code;
        const char *what;
    } rows[] = {
        {"\x81\x01x", 3, 1002, "a client that does not mask"},
        {"\xc1\x80", 2, 1002, "a reserved bit"},
        {"\x83\x80", 2, 1002, "an unknown opcode"},
        {"\x8b\x80", 2, 1002, "an unknown control opcode"},
        {"\x09\x80", 2, 1002, "a fragmented ping"},
        {"\x89\xfe", 2, 1002, "a long ping"},
        {"\x80\x80", 2, 1002, "a continuation of nothing"},
        {"\x01\x80\0\0\0\0\x81\x80", 8, 1002, "a message inside a message"},
        {"\x82\xfe\x00\x05\0\0\0\0", 8, 1002, "a length that could be shorter"},
        {"\x82\xff\0\0\0\0\0\0\x01\0\0\0\0\0", 14, 1002, "a 64 bit length that could be shorter"},
        {"\x82\xff\x80\0\0\0\0\0\0\0\0\0\0\0", 14, 1002, "a negative length"},
        {"\x82\xfe\x03\xe9\0\0\0\0", 8, 1009, "a frame over the limit"},
        {"\x81\x82\0\0\0\0\xff\xff", 8, 1007, "text that is not UTF-8"},
        {"\x88\x81\0\0\0\0x", 7, 1002, "a close code of one byte"},
        {"\x88\x82\0\0\0\0\x03\xed", 8, 1002, "a close code that must not be sent"},
        {"\x88\x83\0\0\0\0\x03\xe8\xff", 9, 1002, "a close reason that is not UTF-8"},
    };
    struct rig r;
    rig_open(&r, NULL, handler);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        open_raw(&r);
        rig_put(&r, str_make(rows[i].bytes, rows[i].n));
        rig_step(&r);
        if (!r.closed || server.closes != 1 || server.code != rows[i].code || r.got.n < 4 || (uint8_t)r.got.p[0] != 0x88)
            test_fail(__FILE__, __LINE__, "%s: closed %d, %d close with %d", rows[i].what, r.closed, server.closes, server.code);
        end_clear(&server);
    }
    rig_close(&r);
}

TEST(ws_fragments_are_limited_in_size_and_number)
{
    struct rig r;
    char part[400];
    rig_open(&r, NULL, handler);
    memset(part, 'a', sizeof part - 1);
    part[sizeof part - 1] = 0;
    open_raw(&r);
    put(&r, 0x01, part);
    put(&r, 0x00, part);
    EQ(server.closes, 0);
    put(&r, 0x00, part);
    EQ(server.code, 1009);
    end_clear(&server);
    open_raw(&r);
    struct buf b = BUF_INIT;
    frame(&b, 0x01, 0, "", true);
    for (int i = 0; i < 20000; i++)
        frame(&b, 0x00, 0, "", true);
    rig_put(&r, buf_str(&b));
    rig_step(&r);
    EQ(server.code, 1009);
    buf_clear(&b);
    end_clear(&server);
    rig_close(&r);
}

TEST(ws_may_be_closed_in_its_own_message)
{
    struct rig r;
    rig_open(&r, NULL, handler);
    open_raw(&r);
    server.close_in_message = true;
    struct buf b = BUF_INIT;
    frame(&b, 0x81, 3, "one", true);
    frame(&b, 0x81, 3, "two", true);
    frame(&b, 0x88, 2, "\x0f\xa0", true);
    rig_put(&r, buf_str(&b));
    rig_step(&r);
    EQ(server.messages, 1);
    EQ(server.closes, 0);
    EQ_STR(buf_str(&r.got), STR("\x88\x08\x0f\xa0"
                                "enough"));
    OK(r.closed);
    buf_clear(&b);
    end_clear(&server);
    rig_close(&r);
}

TEST(ws_a_vanished_peer_is_1006)
{
    struct rig r;
    rig_open(&r, NULL, handler);
    open_raw(&r);
    rig_connect(&r);
    rig_step(&r);
    EQ(server.code, 1006);
    EQ(server.closes, 1);
    end_clear(&server);
    rig_close(&r);
}

/* ---- both sides ---- */
static void dialed(void *arg, struct ws *w, const char *chosen, const struct err *e)
{
    struct end *x = arg;
    x->done = true;
    x->ws = w;
    x->chosen = chosen;
    if (e)
        x->error = xstrdup(err_msg(e));
    if (w)
        ws_use(w, &events, x);
}

static void on_pong(void *arg)
{
    ((struct end *)arg)->pongs++;
}

static void converse(struct http_client *c, struct rig *r)
{
    struct end me = {0};
    struct http_request q = {.path = STR("/ws")};
    server.echo = true;
    ws_dial(c, &q, spoken, 1000, dialed, &me);
    OK(rig_run(r->loop, &me.done, 3000));
    if (me.error)
        test_fail(__FILE__, __LINE__, "%s", me.error);
    EQ_Z(me.chosen, "v5.channel.k8s.io");
    ws_send(me.ws, WS_TEXT, "h\xc3\xa9", 3);
    ws_send(me.ws, WS_BINARY, "\0\1", 2);
    ws_send(me.ws, WS_BINARY, "", 0);
    ws_ping(me.ws, on_pong, &me);
    rig_step(r);
    EQ_STR(buf_str(&me.got), STR("h\xc3\xa9\0\1"));
    EQ(me.messages, 3);
    EQ(me.pongs, 1);
    ws_pause(me.ws, true);
    ws_send(me.ws, WS_TEXT, "late", 4);
    rig_step(r);
    EQ(me.messages, 3);
    ws_pause(me.ws, false);
    rig_step(r);
    EQ(me.messages, 4);
    ws_close(TAKE(me.ws), 1000, STR("done"));
    rig_step(r);
    EQ(server.code, 1000);
    EQ_Z(server.reason, "done");
    end_clear(&server);
    end_clear(&me);
}

TEST(ws_both_sides_talk_over_http1)
{
    struct rig r;
    struct err *e = NULL;
    char addr[300];
    rig_open(&r, NULL, handler);
    snprintf(addr, sizeof addr, "unix:%s/s", test_tmpdir());
    int fd = http_bind(addr, 16, &e);
    OK(fd >= 0);
    FINE(http_listen(r.server, fd, NULL, &e), e);
    struct endpoint ep = {.unix_path = addr + 5};
    struct http_client *c = http_client_new(r.loop, &ep, NULL);
    converse(c, &r);
    http_client_free(c);
    rig_close(&r);
}

TEST(ws_both_sides_talk_over_http2)
{
    struct rig r;
    struct stream *s;
    rig_open_stream(&r, handler, &s);
    struct http_client *c = http_client_over(s, NULL, NULL, NULL);
    converse(c, &r);
    http_client_free(c);
    rig_close(&r);
}

/* ---- a tunnel: HTTP/2 inside a WebSocket, the other way round, which is what an uplink is ---- */
static struct http_client *upper;
static void tunnel_handler(struct http_req *rq, void *arg)
{
    struct ws *w = ws_accept(rq, NULL, 0, NULL);
    upper = http_client_over(ws_stream(w), NULL, NULL, NULL);
}

static void tunnel_dialed(void *arg, struct ws *w, const char *chosen, const struct err *e)
{
    OK(w);
    http_serve(arg, ws_stream(w), NULL, NULL);
}

struct asked {
    struct buf body;
    int status;
    bool done;
};
static void a_head(void *arg, const struct http_response *p)
{
    ((struct asked *)arg)->status = p->status;
}
static void a_data(void *arg, const char *p, size_t n)
{
    buf_add(&((struct asked *)arg)->body, p, n);
}
static void a_end(void *arg, const struct err *e)
{
    ((struct asked *)arg)->done = true;
    if (e)
        ((struct asked *)arg)->status = -1;
}
static const struct http_call_events a_events = {a_head, a_data, NULL, a_end};

TEST(ws_carries_http2_in_a_tunnel)
{
    struct rig r, lower;
    struct err *e = NULL;
    char addr[300];
    rig_open(&r, NULL, tunnel_handler);
    lower = r;
    lower.server = http_server_new(r.loop, NULL, rig_handler, &lower);
    snprintf(addr, sizeof addr, "unix:%s/s", test_tmpdir());
    int fd = http_bind(addr, 16, &e);
    OK(fd >= 0);
    FINE(http_listen(r.server, fd, NULL, &e), e);
    struct endpoint ep = {.unix_path = addr + 5};
    struct http_client *c = http_client_new(r.loop, &ep, NULL);
    struct http_request q = {.path = STR("/tunnel")};
    ws_dial(c, &q, NULL, 0, tunnel_dialed, lower.server);
    rig_step(&r);
    OK(upper);
    struct asked a = {0};
    q = (struct http_request){.path = STR("/big")};
    http_call(upper, &q, &a_events, &a);
    OK(rig_run(r.loop, &a.done, 5000));
    EQ(a.status, 200);
    OK(a.body.n > 1u << 20);
    a.done = false;
    buf_reset(&a.body);
    q = (struct http_request){.method = STR("POST"), .path = STR("/echo"), .body = STR("down and up")};
    http_call(upper, &q, &a_events, &a);
    OK(rig_run(r.loop, &a.done, 5000));
    EQ_STR(buf_str(&a.body), STR("down and up"));
    buf_clear(&a.body);
    http_client_free(TAKE(upper));
    rig_step(&r);
    http_server_free(lower.server);
    http_client_free(c);
    rig_close(&r);
}
