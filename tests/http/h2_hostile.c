/* HTTP/2 against peers that make their frames by hand. */
#include "harness.h"
#include <stdlib.h>
#include <nghttp2/nghttp2.h>
#include <unistd.h>
#include "base/clock.h"
#include "rig.h"

static void frame(struct buf *b, uint8_t type, uint8_t flags, uint32_t id, struct str body)
{
    char h[9] = {(char)(body.n >> 16), (char)(body.n >> 8), (char)body.n, (char)type, (char)flags, (char)(id >> 24), (char)(id >> 16),
        (char)(id >> 8), (char)id};
    buf_add(b, h, 9);
    buf_str_add(b, body);
}

static void literal(struct buf *b, const char *name, const char *value)
{
    size_t n = strlen(value);
    buf_putc(b, 0);
    buf_putc(b, (char)strlen(name));
    buf_puts(b, name);
    if (n < 127) {
        buf_putc(b, (char)n);
    } else { /* RFC 7541 5.1 */
        buf_putc(b, 127);
        for (n -= 127; n >= 128; n >>= 7)
            buf_putc(b, (char)(n | 128));
        buf_putc(b, (char)n);
    }
    buf_puts(b, value);
}

static struct buf head(const char *method, const char *path)
{
    struct buf b = BUF_INIT;
    literal(&b, ":method", method);
    literal(&b, ":scheme", "https");
    literal(&b, ":authority", "x");
    literal(&b, ":path", path);
    return b;
}

enum { END_STREAM = 1, END_HEADERS = 4 };
enum { DATA, HEADERS, PRIORITY, RST, SETTINGS, PUSH, PING, GOAWAY, WINDOW, CONTINUATION };

static void request(struct buf *b, uint32_t id, const char *method, const char *path, bool end)
{
    struct buf h = head(method, path);
    frame(b, HEADERS, (uint8_t)(END_HEADERS | (end ? END_STREAM : 0)), id, buf_str(&h));
    buf_clear(&h);
}

static void start(struct buf *b)
{
    buf_puts(b, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    frame(b, SETTINGS, 0, 0, STR_NULL);
}

static void put(struct rig *r, struct buf *b)
{
    rig_put(r, buf_str(b));
    buf_reset(b);
    rig_step(r);
}

/* Counts frames of a type in what the server sent; *last gets the last one's body. */
static int count(struct rig *r, uint8_t type, uint32_t id, struct str *last)
{
    struct str s = buf_str(&r->got);
    int n = 0;
    while (s.n >= 9) {
        const uint8_t *p = (const uint8_t *)s.p;
        size_t len = (size_t)p[0] << 16 | (size_t)p[1] << 8 | p[2];
        uint32_t at = (uint32_t)p[5] << 24 | (uint32_t)p[6] << 16 | (uint32_t)p[7] << 8 | p[8];
        if (p[3] == type && (at == id || id == UINT32_MAX)) {
            n++;
            if (last)
                *last = str_sub(s, 9, 9 + len);
        }
        s = str_sub(s, 9 + len, s.n);
    }
    return n;
}

/* :status of the answer on a stream; 0: none. HPACK has a memory: all heads are read in order. */
static int status_of(struct rig *r, uint32_t id)
{
    struct str s = buf_str(&r->got);
    nghttp2_hd_inflater *hd;
    int status = 0;
    EQ(nghttp2_hd_inflate_new(&hd), 0);
    while (s.n >= 9) {
        const uint8_t *p = (const uint8_t *)s.p;
        size_t len = (size_t)p[0] << 16 | (size_t)p[1] << 8 | p[2];
        bool ours = p[3] == HEADERS && p[8] == id;
        for (size_t at = 0; p[3] == HEADERS && at < len;) {
            nghttp2_nv nv;
            int flags = 0;
            ssize_t n = nghttp2_hd_inflate_hd2(hd, &nv, &flags, p + 9 + at, len - at, 1);
            OK(n >= 0);
            at += (size_t)n;
            if (ours && flags & NGHTTP2_HD_INFLATE_EMIT && nv.namelen == 7 && memcmp(nv.name, ":status", 7) == 0)
                status = (int)strtol((char *)nv.value, NULL, 10);
        }
        nghttp2_hd_inflate_end_headers(hd);
        s = str_sub(s, 9 + len, s.n);
    }
    nghttp2_hd_inflate_del(hd);
    return status;
}

static bool is_closed(struct rig *r)
{
    return r->closed;
}

TEST(h2_a_flood_of_resets_ends_the_connection)
{
    struct rig r;
    struct buf b = BUF_INIT;
    rig_open(&r, NULL, rig_handler);
    start(&b);
    for (uint32_t i = 0; i < 3000; i++) {
        request(&b, 2 * i + 1, "GET", "/hold", true);
        frame(&b, RST, 0, 2 * i + 1, STR("\0\0\0\x08"));
    }
    put(&r, &b);
    rig_wait(&r, is_closed, 2000);
    OK(r.closed);
    OK(r.closes < 1500);
    OK(!r.held);
    buf_clear(&b);
    rig_close(&r);
}

TEST(h2_floods_of_pings_and_settings_end_the_connection)
{
    static const struct {
        uint8_t type;
        struct str body;
    } rows[] = {{PING, {"12345678", 8}}, {SETTINGS, {NULL, 0}}};
    for (size_t k = 0; k < ARRAY_LEN(rows); k++) {
        struct rig r;
        struct buf b = BUF_INIT;
        rig_open(&r, NULL, rig_handler);
        start(&b);
        for (int i = 0; i < 50000; i++)
            frame(&b, rows[k].type, 0, 0, rows[k].body);
        ssize_t n = write(r.fd, b.p, b.n); /* and never reads */
        OK(n > 0);
        for (int i = 0; i < 200; i++)
            loop_step(r.loop, 0);
        EQ(r.conn_closes, 1);
        buf_clear(&b);
        rig_close(&r);
    }
}

TEST(h2_endless_continuations_end_the_connection)
{
    struct rig r;
    struct buf b = BUF_INIT, h = head("GET", "/hello");
    rig_open(&r, NULL, rig_handler);
    start(&b);
    frame(&b, HEADERS, END_STREAM, 1, buf_str(&h));
    for (int i = 0; i < 1000; i++)
        frame(&b, CONTINUATION, 0, 1, STR(""));
    put(&r, &b);
    rig_wait(&r, is_closed, 2000);
    OK(r.closed);
    EQ(r.closes, 0);
    buf_clear(&h);
    buf_clear(&b);
    rig_close(&r);
}

TEST(h2_limits_heads_and_bodies)
{
    struct rig r;
    struct http_limits lim = {.head = 4000, .headers = 20, .body = 100};
    struct buf b = BUF_INIT, h = head("GET", "/hello");
    struct str last;
    rig_open(&r, &lim, rig_handler);
    for (int i = 0; i < 30; i++)
        literal(&h, "x-a", "b");
    start(&b);
    frame(&b, HEADERS, END_HEADERS | END_STREAM, 1, buf_str(&h));
    put(&r, &b);
    EQ(status_of(&r, 1), 431);
    buf_clear(&h);
    h = head("GET", "/hello");
    char big[5000];
    memset(big, 'a', sizeof big - 1);
    big[sizeof big - 1] = 0;
    literal(&h, "x-big", big);
    frame(&b, HEADERS, END_HEADERS | END_STREAM, 3, buf_str(&h));
    put(&r, &b);
    EQ(status_of(&r, 3), 431);
    request(&b, 5, "POST", "/echo", false);
    frame(&b, DATA, 0, 5, str_make(big, 101));
    put(&r, &b);
    EQ(status_of(&r, 5), 413);
    EQ(count(&r, RST, 5, NULL), 1); /* no more of it, please */
    request(&b, 7, "POST", "/echo", false);
    frame(&b, DATA, END_STREAM, 7, str_make(big, 100));
    put(&r, &b);
    EQ(count(&r, DATA, 7, &last), 1);
    EQ(last.n, 100);
    OK(!r.closed);
    buf_clear(&h);
    buf_clear(&b);
    rig_close(&r);
}

TEST(h2_slow_bodies_and_idle_connections_are_cut)
{
    struct rig r;
    struct http_limits lim = {.body_ms = 60, .idle_ms = 150, .head_ms = 100};
    struct buf b = BUF_INIT;
    rig_open(&r, &lim, rig_handler);
    start(&b);
    request(&b, 1, "POST", "/echo", false);
    put(&r, &b);
    rig_wait(&r, is_closed, 1000);
    OK(r.closed);
    EQ(status_of(&r, 1), 408);
    rig_connect(&r);
    start(&b);
    put(&r, &b);
    rig_wait(&r, is_closed, 1000);
    OK(r.closed);
    OK(count(&r, GOAWAY, 0, NULL) >= 1);
    buf_clear(&b);
    rig_close(&r);
}

TEST(h2_frames_out_of_place_are_errors)
{
    static const struct {
        uint8_t type, flags;
        uint32_t id;
        struct str body;
    } rows[] = {
        {DATA, 0, 0, {"x", 1}},
        {HEADERS, 5, 0, {"\x82", 1}},
        {DATA, 0, 9, {"x", 1}},
        {RST, 0, 1, {"x", 1}},
        {PING, 0, 0, {"x", 1}},
        {WINDOW, 0, 0, {"\0\0\0\0", 4}},
        {PUSH, 4, 1, {"\0\0\0\2\x82", 5}},
        {HEADERS, 5, 2, {"\x82\x84\x87\x41\x01x", 6}},
        {HEADERS, 5, 1, {"\xff\xff\xff\xff\xff", 5}},
        {SETTINGS, 0, 0, {"\0\4\xff\xff\xff\xff", 6}},
        {WINDOW, 0, 0, {"\x7f\xff\xff\xff", 4}},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct rig r;
        struct buf b = BUF_INIT;
        rig_open(&r, NULL, rig_handler);
        start(&b);
        frame(&b, rows[i].type, rows[i].flags, rows[i].id, rows[i].body);
        put(&r, &b);
        rig_wait(&r, is_closed, 1000);
        if (!r.closed || !count(&r, GOAWAY, 0, NULL))
            test_fail(__FILE__, __LINE__, "row %zu: closed %d", i, r.closed);
        EQ(r.closes, 0);
        buf_clear(&b);
        rig_close(&r);
    }
}

TEST(h2_malformed_requests_are_reset_and_others_go_on)
{
    static const struct {
        const char *method, *path, *name, *value;
    } rows[] = {
        {"GET", "/hello", "connection", "close"},
        {"GET", "/hello", "transfer-encoding", "chunked"},
        {"GET", "/hello", "Upper", "x"},
        {"POST", "/echo", "content-length", "5"},
        {"GET", "/hello", ":path", "/again"},
        {"GET", "/hello", "te", "gzip"},
    };
    struct rig r;
    struct buf b = BUF_INIT;
    struct str last;
    rig_open(&r, NULL, rig_handler);
    start(&b);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        uint32_t id = (uint32_t)(2 * i + 1);
        struct buf h = head(rows[i].method, rows[i].path);
        literal(&h, rows[i].name, rows[i].value);
        frame(&b, HEADERS, END_HEADERS | END_STREAM, id, buf_str(&h));
        put(&r, &b);
        if (count(&r, RST, id, NULL) != 1 || count(&r, HEADERS, id, NULL))
            test_fail(__FILE__, __LINE__, "row %zu was not reset", i);
        buf_clear(&h);
    }
    request(&b, 101, "GET", "hello", true);
    request(&b, 103, "CONNECT", "/x", true);
    request(&b, 105, "GET", "/hello", true);
    put(&r, &b);
    OK(count(&r, RST, 101, NULL) == 1 || status_of(&r, 101) == 400);
    EQ(count(&r, DATA, 105, &last), 1);
    EQ_STR(last, STR("hello"));
    buf_clear(&b);
    rig_close(&r);
}

static struct buf seen;
static void cookies(struct http_req *rq, void *arg)
{
    buf_str_add(&seen, http_header(rq, STR("cookie")));
    http_reply_str(rq, 200, NULL, STR(""));
}

TEST(h2_cookie_crumbs_are_one_header)
{
    struct rig r;
    struct buf b = BUF_INIT, h = head("GET", "/");
    rig_open(&r, NULL, cookies);
    literal(&h, "cookie", "a=1");
    literal(&h, "cookie", "b=2");
    start(&b);
    frame(&b, HEADERS, END_HEADERS | END_STREAM, 1, buf_str(&h));
    put(&r, &b);
    EQ_STR(buf_str(&seen), STR("a=1; b=2"));
    buf_clear(&seen);
    buf_clear(&h);
    buf_clear(&b);
    rig_close(&r);
}

TEST(h2_a_peer_that_opens_no_window_holds_only_its_own_reply)
{
    struct rig r;
    struct buf b = BUF_INIT;
    struct str last;
    rig_open(&r, NULL, rig_handler);
    buf_puts(&b, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    frame(&b, SETTINGS, 0, 0, STR("\0\4\0\0\0\0")); /* initial window 0 */
    request(&b, 1, "GET", "/big", true);
    request(&b, 3, "GET", "/hello", true);
    frame(&b, WINDOW, 0, 3, STR("\0\0\0\x40"));
    put(&r, &b);
    EQ(count(&r, DATA, 1, NULL), 0);
    EQ(count(&r, DATA, 3, &last), 1);
    EQ_STR(last, STR("hello"));
    EQ(r.closes, 2); /* both handlers are done; the reply waits in the connection */
    buf_clear(&b);
    rig_close(&r);
}
