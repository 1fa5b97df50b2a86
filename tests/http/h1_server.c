#include "harness.h"
#include <unistd.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <zlib.h>
#include "base/clock.h"
#include "http/server.h"
#include "rig.h"

#define GET(path, more) "GET " path " HTTP/1.1\r\nHost: x\r\n" more "\r\n"

static struct str once(struct rig *r, const char *request)
{
    rig_connect(r);
    return rig_talk(r, request);
}

TEST(http1_answers_a_request_and_keeps_the_connection)
{
    struct rig r;
    rig_open(&r, NULL, rig_handler);
    struct str out = rig_talk(&r, GET("/hello", ""));
    OK(str_starts(out, STR("HTTP/1.1 200 OK\r\n")));
    OK(str_ends(out, STR("\r\n\r\nhello")));
    HAS(out, "content-length: 5\r\n");
    OK(!r.closed);
    buf_reset(&r.got);
    HAS(rig_talk(&r, GET("/none?a=1&q=x%20y+z", "")), "\r\n\r\nx y z");
    EQ(r.closes, 2);
    rig_close(&r);
}

TEST(http1_pipelined_requests_are_answered_in_order)
{
    struct rig r;
    rig_open(&r, NULL, rig_handler);
    struct str out = rig_talk(&r, GET("/hello", "") "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbody" GET("/stream", ""));
    ssize_t a = str_find(out, STR("hello")), b = str_find(out, STR("body")),
            c = str_find(out, STR("4\r\none,\r\n4\r\ntwo,\r\n5\r\nthree\r\n0\r\n\r\n"));
    OK(a > 0 && b > a && c > b);
    rig_close(&r);
}

TEST(http1_requests_may_come_byte_by_byte)
{
    struct rig r;
    rig_open(&r, NULL, rig_handler);
    const char *q =
        "\r\nPOST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3;ext=1\r\nabc\r\n2\r\nde\r\n0\r\nTrailer: 1\r\n\r\n" GET(
            "/hello", "");
    for (; *q; q++)
        rig_put(&r, str_make(q, 1));
    rig_step(&r);
    HAS(buf_str(&r.got), "\r\n\r\nabcdeHTTP/1.1 200");
    OK(str_ends(buf_str(&r.got), STR("hello")));
    rig_close(&r);
}

TEST(http1_refuses_what_could_smuggle_a_request)
{
    static const struct {
        const char *request, *status;
    } rows[] = {
        {"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "400"},
        {"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", "400"},
        {"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc", "400"},
        {"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 3, 3\r\n\r\nabc", "400"},
        {"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: +3\r\n\r\nabc", "400"},
        {"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", "400"},
        {"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 0x3\r\n\r\nabc", "400"},
        {"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999\r\n\r\n", "400"},
        {"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length:\r\n\r\n", "400"},
        {"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", "501"},
        {"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: xchunked\r\n\r\n", "501"},
        {"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", "400"},
        {"POST /echo HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", "400"},
        {"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding : chunked\r\n\r\n", "400"},
        {"GET /hello HTTP/1.1\r\nHost: x\r\n folded: 1\r\n\r\n", "400"},
        {"GET /hello HTTP/1.1\r\nHost: x\nX: y\r\n\r\n", "400"},
        {"GET /hello HTTP/1.1\r\nHost: x\r\nX: a\rb\r\n\r\n", "400"},
        {"GET /hello HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", "400"},
        {"GET /hello HTTP/1.1\r\n\r\n", "400"},
        {"GET  /hello HTTP/1.1\r\nHost: x\r\n\r\n", "400"},
        {"GET /he llo HTTP/1.1\r\nHost: x\r\n\r\n", "400"},
        {"GET /hello\tHTTP/1.1\r\nHost: x\r\n\r\n", "400"},
        {"GET hello HTTP/1.1\r\nHost: x\r\n\r\n", "400"},
        {"G(T /hello HTTP/1.1\r\nHost: x\r\n\r\n", "400"},
        {"GET /hello HTTP/2.0\r\nHost: x\r\n\r\n", "505"},
        {"GET /hello HTTP/1.1x\r\nHost: x\r\n\r\n", "505"},
        {"CONNECT a:443 HTTP/1.1\r\nHost: x\r\n\r\n", "501"},
        {"GET /hello HTTP/1.1\r\nHost: x\r\nExpect: more\r\n\r\n", "417"},
    };
    struct rig r;
    rig_open(&r, NULL, rig_handler);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct str out = once(&r, rows[i].request);
        if (out.n < 12 || memcmp(out.p + 9, rows[i].status, 3) != 0 || !r.closed)
            test_fail(__FILE__, __LINE__, "row %zu (%s): closed %d, answer %.*s", i, rows[i].request, r.closed, STR_ARG(out));
    }
    EQ(r.closes, 0);
    rig_close(&r);
}

TEST(http1_refuses_malformed_chunks)
{
    static const char *const bodies[] = {"g\r\n", "\r\n", "-1\r\n", "5\nabcde\r\n0\r\n\r\n", "3\r\nabcX\r\n", "3\r\nabc\rX",
        "fffffffffffffffff\r\n", "1;a\nb\r\n", "0\r\na\nb\r\n", "0\r\n\rX"};
    struct rig r;
    rig_open(&r, NULL, rig_handler);
    for (size_t i = 0; i < ARRAY_LEN(bodies); i++) {
        struct buf b = BUF_INIT;
        buf_printf(&b, "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n%s", bodies[i]);
        struct str out = once(&r, b.p);
        if (!str_starts(out, STR("HTTP/1.1 400")) || !r.closed)
            test_fail(__FILE__, __LINE__, "row %zu: %.*s", i, STR_ARG(out));
        buf_clear(&b);
    }
    rig_close(&r);
}

TEST(http1_limits_heads_headers_and_bodies)
{
    struct rig r;
    struct http_limits lim = {.head = 2000, .headers = 10, .body = 1000};
    struct buf b = BUF_INIT;
    rig_open(&r, &lim, rig_handler);
    buf_puts(&b, "GET /hello HTTP/1.1\r\nHost: x\r\n");
    for (int i = 0; i < 12; i++)
        buf_printf(&b, "h%d: v\r\n", i);
    buf_puts(&b, "\r\n");
    HAS(once(&r, b.p), "HTTP/1.1 431");
    buf_reset(&b);
    buf_puts(&b, "GET /hello HTTP/1.1\r\nHost: x\r\nlong: ");
    for (int i = 0; i < 3000; i++)
        buf_putc(&b, 'a');
    HAS(once(&r, b.p), "HTTP/1.1 431");
    HAS(once(&r, "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 1001\r\n\r\n"), "HTTP/1.1 413");
    HAS(once(&r, "POST /small HTTP/1.1\r\nHost: x\r\nContent-Length: 11\r\n\r\n"), "HTTP/1.1 413");
    HAS(once(&r, "POST /small HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nabcdef\r\n6\r\nabcdef\r\n"), "HTTP/1.1 413");
    OK(r.closed);
    HAS(once(&r, "POST /small HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n0123456789"), "0123456789");
    buf_clear(&b);
    rig_close(&r);
}

static bool is_closed(struct rig *r)
{
    return r->closed;
}

TEST(http1_cuts_slow_heads_slow_bodies_and_idle_connections)
{
    struct rig r;
    struct http_limits lim = {.head_ms = 60, .body_ms = 60, .idle_ms = 60};
    rig_open(&r, &lim, rig_handler);
    rig_put(&r, STR("GET /hello HT"));
    rig_wait(&r, is_closed, 2000);
    OK(r.closed);
    HAS(buf_str(&r.got), "HTTP/1.1 408");
    rig_connect(&r);
    rig_put(&r, STR("POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc"));
    rig_wait(&r, is_closed, 2000);
    OK(r.closed);
    HAS(buf_str(&r.got), "HTTP/1.1 408");
    rig_connect(&r);
    HAS(rig_talk(&r, GET("/hello", "")), "200 OK");
    rig_wait(&r, is_closed, 2000);
    OK(r.closed);
    rig_connect(&r);
    rig_put(&r, STR(GET("/hold", ""))); /* a handler may take its time */
    usleep(150000);
    rig_step(&r);
    OK(!r.closed && r.held);
    rig_close(&r);
    EQ(r.closes, 3);
}

TEST(http1_reply_headers_cannot_be_split)
{
    struct rig r;
    rig_open(&r, NULL, rig_handler);
    struct str out = rig_talk(&r, GET("/inject", ""));
    HAS(out, "x-a: v  set-cookie: evil=1\r\n");
    OK(!has(out, "x b"));
    rig_close(&r);
}

TEST(http1_head_and_close_and_http10)
{
    struct rig r;
    rig_open(&r, NULL, rig_handler);
    struct str out = rig_talk(&r, "HEAD /hello HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    HAS(out, "content-length: 5\r\n");
    HAS(out, "connection: close\r\n");
    OK(str_ends(out, STR("\r\n\r\n")) && r.closed);
    out = once(&r, "GET /stream HTTP/1.0\r\n\r\n");
    OK(str_ends(out, STR("\r\n\r\none,two,three")) && r.closed);
    out = once(&r, "GET /hello HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    HAS(out, "connection: keep-alive\r\n");
    OK(!r.closed);
    out = once(&r, "GET http://other/hello HTTP/1.1\r\nHost: x\r\n\r\n");
    OK(str_ends(out, STR("hello")));
    rig_close(&r);
}

TEST(http1_asks_for_the_body_only_when_the_handler_wants_it)
{
    struct rig r;
    rig_open(&r, NULL, rig_handler);
    struct str out = rig_talk(&r, "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n");
    EQ_STR(out, STR("HTTP/1.1 100 Continue\r\n\r\n"));
    HAS(rig_talk(&r, "ab"), "\r\n\r\nab");
    out = once(&r, "POST /hello HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n");
    OK(str_starts(out, STR("HTTP/1.1 200")) && r.closed); /* refused unread: the connection cannot go on */
    out = once(&r, "POST /hello HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nab" GET("/stream", ""));
    HAS(out, "three"); /* a small unread body is skipped */
    rig_close(&r);
}

TEST(http1_gzips_large_replies_for_those_who_take_it)
{
    struct rig r;
    rig_open(&r, NULL, rig_handler);
    struct str out = rig_talk(&r, GET("/big", "Accept-Encoding: br, gzip\r\n"));
    HAS(out, "content-encoding: gzip\r\n");
    OK(out.n < 400000);
    ssize_t at = str_find(out, STR("\r\n\r\n"));
    z_stream z = {.next_in = (Bytef *)(uintptr_t)(out.p + at + 4), .avail_in = (uInt)(out.n - (size_t)at - 4)};
    char *plain = malloc(2u << 20);
    EQ(inflateInit2(&z, 31), Z_OK);
    z.next_out = (Bytef *)plain;
    z.avail_out = 2u << 20;
    EQ(inflate(&z, Z_FINISH), Z_STREAM_END);
    OK(z.total_out >= 1u << 20 && memcmp(plain, "{\"item\":0},", 11) == 0);
    inflateEnd(&z);
    free(plain);
    out = once(&r, GET("/big", "Accept-Encoding: gzip;q=0\r\n"));
    OK(out.n > 1u << 20 && !has(str_sub(out, 0, 500), "gzip"));
    rig_close(&r);
}

static struct str squeezed(struct bytes *const *piece, const bool *before, size_t n, char *plain, size_t room)
{
    struct http_part in[8] = {{0}}, out[10];
    for (size_t i = 0; i < n; i++) {
        in[i].b = piece[i];
        if (before[i])
            in[i].packed = http_pack(bytes_str(piece[i]), &in[i].crc);
    }
    OK(gzip_parts(in, n, out));
    struct buf z = BUF_INIT;
    for (size_t i = 0; i < n + 2; i++) {
        if (out[i].b)
            buf_add(&z, out[i].b->p, out[i].b->n);
        bytes_unref(out[i].b);
    }
    for (size_t i = 0; i < n; i++)
        bytes_unref(in[i].packed);
    z_stream s = {.next_in = (Bytef *)z.p, .avail_in = (uInt)z.n, .next_out = (Bytef *)plain, .avail_out = (uInt)room};
    EQ(inflateInit2(&s, 31), Z_OK); /* 31: gzip, with its checksum */
    EQ(inflate(&s, Z_FINISH), Z_STREAM_END);
    EQ(s.avail_in, 0);
    inflateEnd(&s);
    buf_clear(&z);
    return str_make(plain, s.total_out);
}

TEST(pieces_packed_at_different_times_are_one_gzip_member)
{
    struct buf many = BUF_INIT;
    for (int i = 0; i < 30000; i++)
        buf_printf(&many, "{\"item\":%d},", i);
    struct bytes *mid = bytes_new(many.p, many.n), *piece[] = {bytes_new("head[", 5), mid, bytes_new("", 0), mid, bytes_new("]", 1)};
    static char plain[2u << 20];
    for (unsigned mask = 0; mask < 32; mask++) {
        bool before[5];
        for (int i = 0; i < 5; i++)
            before[i] = mask >> i & 1;
        struct str got = squeezed(piece, before, 5, plain, sizeof plain);
        EQ(got.n, 6 + 2 * many.n);
        OK(memcmp(got.p, "head[{\"item\":0}", 15) == 0 && memcmp(got.p + 5 + many.n, many.p, many.n) == 0 && got.p[got.n - 1] == ']');
    }
    for (int i = 0; i < 5; i++)
        if (i != 3)
            bytes_unref(piece[i]);
    buf_clear(&many);
}

TEST(http1_tells_the_handler_once_when_the_peer_goes)
{
    struct rig r;
    rig_open(&r, NULL, rig_handler);
    rig_talk(&r, GET("/hold", ""));
    OK(r.held);
    http_start(r.held, 200, NULL, 0);
    http_send_str(r.held, STR("x"));
    rig_step(&r);
    shutdown(r.fd, SHUT_RDWR);
    rig_step(&r);
    EQ(r.closes, 1);
    OK(!r.held);
    EQ(r.conn_closes, 1);
    rig_connect(&r);
    rig_talk(&r, GET("/hold", ""));
    http_server_free(r.server); /* with a request in hand */
    r.server = NULL;
    EQ(r.closes, 2);
    rig_close(&r);
}

TEST(http1_answers_are_not_lost_when_the_peer_half_closes_behind_its_request)
{
    struct rig r;
    rig_open(&r, NULL, rig_handler);
    static const char both[] = GET("/hello", "") GET("/big", "");
    EQ(send(r.fd, both, sizeof both - 1, 0), (ssize_t)sizeof both - 1);
    shutdown(r.fd, SHUT_WR);
    for (int i = 0; i < 50; i++)
        rig_step(&r);
    HAS(buf_str(&r.got), "hello");
    OK(r.closed && r.got.n > 1u << 20);
    rig_close(&r);
}

static int up_data_calls;
static void up_data(void *arg, const char *p, size_t n)
{
    up_data_calls++;
    stream_write(*(struct stream **)arg, p, n);
}
static void up_close(void *arg, const struct err *why)
{
    *(struct stream **)arg = NULL;
}
static const struct stream_events up_events = {.on_data = up_data, .on_close = up_close};

TEST(http1_upgrades_and_hands_over_what_came_behind_the_head)
{
    struct rig r;
    rig_open(&r, NULL, rig_handler);
    struct str out = rig_talk(&r, GET("/up", "Connection: keep-alive, Upgrade\r\nUpgrade: echo/1\r\n") "early");
    OK(str_starts(out, STR("HTTP/1.1 101 Switching Protocols\r\n")));
    HAS(out, "upgrade: echo/1\r\n");
    OK(r.upgraded);
    EQ(r.closes, 1);
    stream_use(r.upgraded, &up_events, &r.upgraded);
    rig_step(&r);
    OK(str_ends(buf_str(&r.got), STR("\r\n\r\nearly")));
    OK(str_ends(rig_talk(&r, "more"), STR("earlymore")));
    shutdown(r.fd, SHUT_WR);
    rig_step(&r);
    OK(!r.upgraded && r.closed);
    rig_close(&r);
}

TEST(http1_streams_a_body_back_while_it_comes)
{
    struct rig r;
    rig_open(&r, NULL, rig_handler);
    struct str out = rig_talk(&r, "POST /pass HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n");
    OK(str_ends(out, STR("\r\n\r\n3\r\nabc\r\n")));
    out = rig_talk(&r, "2\r\nde\r\n0\r\n\r\n");
    OK(str_ends(out, STR("3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")) && r.closed);
    rig_close(&r);
}

static void drained(void *arg)
{
    *(bool *)arg = true;
}

TEST(http1_drains_gracefully)
{
    struct rig r;
    bool done = false;
    rig_open(&r, NULL, rig_handler);
    rig_talk(&r, GET("/hold", ""));
    http_server_drain(r.server, 5000, drained, &done);
    rig_step(&r);
    OK(!done && !r.closed);
    http_reply_str(r.held, 200, "text/plain", STR("last"));
    rig_step(&r);
    HAS(buf_str(&r.got), "connection: close");
    OK(done && r.closed);
    rig_close(&r);
}

TEST(http1_listens_on_tcp_and_unix_and_names_a_taken_address)
{
    struct rig r;
    struct err *e = NULL;
    char path[200], addr[220];
    rig_open(&r, NULL, rig_handler);
    snprintf(path, sizeof path, "%s/s", test_tmpdir());
    snprintf(addr, sizeof addr, "unix:%s", path);
    int fd = http_bind(addr, 16, &e);
    OK(fd >= 0);
    FINE(http_listen(r.server, fd, NULL, &e), e);
    OK(http_bind(addr, 16, &e) < 0);
    HAS(str_of(err_msg(e)), "Address already in use");
    HAS(str_of(err_msg(e)), addr);
    err_free(TAKE(e));
    EQ(http_bind("localhost:99999", 1, &e), -ERR_USAGE);
    err_free(TAKE(e));
    fd = http_bind("127.0.0.1:0", 16, &e);
    OK(fd >= 0);
    close(fd);
    rig_close(&r);
}
