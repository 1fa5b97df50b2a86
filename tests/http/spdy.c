#include "harness.h"
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/loop.h"
#include "crypto/hash.h"
#include "http/spdy.h"
#include "http/spdy_frame.h"

struct half { /* one stream, seen from one side */
    struct stream *s;
    struct buf got;
    bool eof, closed, failed, drained;
};
struct end {
    struct spdy *c;
    int opened, closes;
    bool refuse, failed;
    struct buf headers;
    struct half half[8];
};
struct both {
    struct loop *l;
    struct end a, b;
    int fd;
};

static void h_data(void *arg, const char *p, size_t n)
{
    buf_add(&((struct half *)arg)->got, p, n);
}
static void h_drain(void *arg)
{
    ((struct half *)arg)->drained = true;
}
static void h_eof(void *arg)
{
    ((struct half *)arg)->eof = true;
}
static void h_close(void *arg, const struct err *why)
{
    struct half *h = arg;
    h->closed = true;
    h->failed = why;
    h->s = NULL;
}
static const struct stream_events h_events = {h_data, h_drain, h_eof, h_close};

static void on_stream(void *arg, struct spdy *c, uint32_t id, const struct http_header *h, size_t n)
{
    struct end *e = arg;
    for (size_t i = 0; i < n; i++)
        buf_printf(&e->headers, "%.*s=%.*s;", STR_ARG(h[i].name), STR_ARG(h[i].value));
    if (e->refuse || e->opened == 8)
        return; /* no answer is a refusal */
    struct half *x = &e->half[e->opened++];
    x->s = spdy_accept(c, id, NULL, 0);
    stream_use(x->s, &h_events, x);
}
static void on_close(void *arg, const struct err *why)
{
    struct end *e = arg;
    e->c = NULL;
    e->closes++;
    e->failed = why;
}
static const struct spdy_events events = {on_stream, on_close};

static void step(struct both *p)
{
    for (int idle = 0; idle < 3;)
        idle = loop_step(p->l, 1) > 0 ? 0 : idle + 1;
}

static void open_raw(struct both *p)
{
    int sv[2];
    *p = (struct both){.l = loop_new(NULL)};
    EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, sv), 0);
    p->a.c = spdy_new(stream_fd_new(p->l, sv[0], NULL), true, &events, &p->a);
    p->fd = sv[1];
}

static void open_both(struct both *p)
{
    open_raw(p);
    p->b.c = spdy_new(stream_fd_new(p->l, p->fd, NULL), false, &events, &p->b);
    p->fd = -1;
}

static void close_both(struct both *p)
{
    struct end *ends[] = {&p->a, &p->b};
    spdy_close(p->b.c);
    spdy_close(p->a.c);
    if (p->fd >= 0)
        close(p->fd);
    step(p);
    for (int i = 0; i < 2; i++) {
        for (int k = 0; k < 8; k++)
            buf_clear(&ends[i]->half[k].got);
        buf_clear(&ends[i]->headers);
    }
    loop_free(p->l);
}

static struct half *dial(struct both *p, int at)
{
    struct http_header h[] = {{STR("StreamType"), STR("data")}, {STR("port"), STR("80")}};
    struct half *x = &p->b.half[at];
    x->s = spdy_open(p->b.c, h, 2);
    OK(x->s);
    stream_use(x->s, &h_events, x);
    return x;
}

TEST(spdy_dictionary_is_the_one_of_the_draft)
{
    char hex[HASH_HEX + 1];
    EQ(spdy_dictionary.n, 1423);
    EQ_STR(hash_sha256_hex(spdy_dictionary, hex), STR("51d27341373f923f3cd88e1eb7162aeaa3723d7585ff2399201dc06498407f02"));
}

TEST(spdy_streams_carry_bytes_headers_and_half_closes)
{
    struct both p;
    open_both(&p);
    struct half *x = dial(&p, 0);
    stream_write(x->s, "early", 5);
    step(&p);
    EQ_STR(buf_str(&p.a.headers), STR("streamtype=data;port=80;"));
    struct half *y = &p.a.half[0];
    EQ_STR(buf_str(&y->got), STR("early"));
    stream_write(y->s, "answer", 6);
    stream_shutdown(x->s);
    step(&p);
    EQ_STR(buf_str(&x->got), STR("answer"));
    OK(y->eof && !y->closed);
    stream_write(y->s, " and end", 8);
    stream_close(TAKE(y->s));
    step(&p);
    EQ_STR(buf_str(&x->got), STR("answer and end"));
    OK(x->eof && x->closed && !x->failed);
    EQ(spdy_streams(p.a.c), 0);
    EQ(spdy_streams(p.b.c), 0);
    struct half *z = dial(&p, 1); /* the zlib state goes on */
    step(&p);
    EQ_STR(buf_str(&p.a.headers), STR("streamtype=data;port=80;streamtype=data;port=80;"));
    stream_abort(TAKE(z->s));
    step(&p);
    OK(p.a.half[1].closed && p.a.half[1].failed);
    close_both(&p);
}

TEST(spdy_refusals_and_the_end_of_a_connection_are_told)
{
    struct both p;
    open_both(&p);
    p.a.refuse = true;
    struct half *x = dial(&p, 0);
    step(&p);
    OK(x->closed && x->failed);
    p.a.refuse = false;
    struct half *y = dial(&p, 1);
    step(&p);
    spdy_close(TAKE(p.b.c));
    step(&p);
    OK(y->closed);
    EQ(p.a.closes, 1);
    OK(!p.a.failed && p.a.half[0].closed);
    close_both(&p);
}

TEST(spdy_a_paused_reader_holds_the_writer_back)
{
    struct both p;
    struct buf big = BUF_INIT;
    open_both(&p);
    struct half *x = dial(&p, 0);
    step(&p);
    stream_pause(p.a.half[0].s, true);
    for (int i = 0; big.n < 4u << 20; i++)
        buf_printf(&big, "%d,", i);
    stream_write(x->s, big.p, big.n);
    step(&p);
    OK(stream_queued(x->s) > 2u << 20);
    OK(p.a.half[0].got.n == 0 && !x->drained);
    stream_pause(p.a.half[0].s, false);
    for (int i = 0; i < 100 && p.a.half[0].got.n < big.n; i++)
        step(&p);
    OK(str_eq(buf_str(&p.a.half[0].got), buf_str(&big)));
    OK(x->drained);
    buf_clear(&big);
    close_both(&p);
}

static void put(struct both *p, const char *bytes, size_t n)
{
    EQ(write(p->fd, bytes, n), (ssize_t)n);
    step(p);
}

TEST(spdy_pings_are_answered_and_bytes_may_come_one_by_one)
{
    struct both p;
    struct buf b = BUF_INIT, block = BUF_INIT;
    struct spdy_zip z;
    struct http_header h[] = {{STR("a"), STR("b\0c")}};
    char got[64];
    open_raw(&p);
    OK(spdy_zip_init(&z));
    spdy_pack(&z, h, 1, &block);
    spdy_put_head(&b, SPDY_PING, 0, 4);
    spdy_put32(&b, 7);
    spdy_put_head(&b, SPDY_SYN_STREAM, 0, block.n + 10);
    buf_add(&b, "\0\0\0\1\0\0\0\0\0\0", 10);
    buf_str_add(&b, buf_str(&block));
    buf_add(&b, "\0\0\0\1\0\0\0\2hi\0\0\0\1\1\0\0\1!", 19);
    for (size_t i = 0; i < b.n; i++)
        put(&p, b.p + i, 1);
    EQ(read(p.fd, got, 12), 12);
    EQ_STR(str_make(got, 12), STR("\x80\3\0\6\0\0\0\4\0\0\0\7"));
    EQ_STR(buf_str(&p.a.headers), STR("a=b;a=c;"));
    EQ_STR(buf_str(&p.a.half[0].got), STR("hi!"));
    OK(p.a.half[0].eof);
    spdy_zip_clear(&z);
    buf_clear(&b);
    buf_clear(&block);
    close_both(&p);
}

TEST(spdy_broken_frames_end_the_connection)
{
    static const struct {
        const char *p;
        size_t n;
    } rows[] = {
        {"\x80\2\0\6\0\0\0\4\0\0\0\1", 12},
        {"\x80\3\0\6\0\0\0\1x", 9},
        {"\x80\3\0\1\0\0\0\4\0\0\0\1", 12},
        {"\x80\3\0\1\0\0\0\x0c\0\0\0\1\0\0\0\0\0\0xx", 20},
        {"\x80\3\0\3\0\0\0\1x", 9},
        {"\x80\3\0\1\0\xff\xff\xff", 8},
        {"\x80\3\0\2\0\0\0\0", 8},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct both p;
        open_raw(&p);
        put(&p, rows[i].p, rows[i].n);
        if (p.a.closes != 1 || !p.a.failed)
            test_fail(__FILE__, __LINE__, "row %zu", i);
        close_both(&p);
    }
}

TEST(spdy_a_header_bomb_is_refused)
{
    struct both p;
    struct buf b = BUF_INIT, block = BUF_INIT;
    struct spdy_zip z;
    char *big = calloc(1, 1u << 20);
    struct http_header h[] = {{STR("a"), {big, 1u << 20}}};
    open_raw(&p);
    OK(spdy_zip_init(&z));
    spdy_pack(&z, h, 1, &block);
    OK(block.n < 60000);
    spdy_put_head(&b, SPDY_SYN_STREAM, 0, block.n + 10);
    buf_add(&b, "\0\0\0\1\0\0\0\0\0\0", 10);
    buf_str_add(&b, buf_str(&block));
    put(&p, b.p, b.n);
    EQ(p.a.closes, 1);
    EQ(p.a.opened, 0);
    free(big);
    spdy_zip_clear(&z);
    buf_clear(&b);
    buf_clear(&block);
    close_both(&p);
}
