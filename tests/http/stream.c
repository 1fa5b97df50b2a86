#include "harness.h"
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/buf.h"
#include "http/http.h"
#include "http/stream.h"

struct side {
    struct stream *s;
    struct buf got;
    int eofs, closes, drains;
    bool failed, close_on_data, abort_on_eof;
};
static void on_data(void *arg, const char *p, size_t n)
{
    struct side *x = arg;
    buf_add(&x->got, p, n);
    if (x->close_on_data)
        stream_close(TAKE(x->s));
}
static void on_drain(void *arg)
{
    ((struct side *)arg)->drains++;
}
static void on_eof(void *arg)
{
    struct side *x = arg;
    x->eofs++;
    if (x->abort_on_eof)
        stream_abort(TAKE(x->s));
}
static void on_close(void *arg, const struct err *why)
{
    struct side *x = arg;
    x->closes++;
    x->failed = why;
    x->s = NULL;
}
static const struct stream_events events = {on_data, on_drain, on_eof, on_close}, no_eof = {on_data, on_drain, NULL, on_close};

struct two {
    struct loop *l;
    struct side a, b;
};

static void make_pair(struct loop *l, struct stream **a, struct stream **b)
{
    int sv[2];
    EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv), 0);
    *a = stream_fd_new(l, sv[0], NULL);
    *b = stream_fd_new(l, sv[1], NULL);
}

static void two_open(struct two *t)
{
    *t = (struct two){.l = loop_new(NULL)};
    make_pair(t->l, &t->a.s, &t->b.s);
}

static void step(struct loop *l)
{
    for (int idle = 0; idle < 3;)
        idle = loop_step(l, 1) > 0 ? 0 : idle + 1;
}

static void two_close(struct two *t)
{
    stream_abort(t->a.s);
    stream_abort(t->b.s);
    step(t->l);
    buf_clear(&t->a.got);
    buf_clear(&t->b.got);
    loop_free(t->l);
}

TEST(stream_keeps_what_comes_before_anybody_listens)
{
    struct two t;
    two_open(&t);
    stream_write(t.a.s, "one ", 4);
    stream_write(t.a.s, "two", 3);
    stream_close(TAKE(t.a.s));
    step(t.l);
    stream_use(t.b.s, &events, &t.b);
    EQ(t.b.got.n, 0); /* never from within stream_use */
    step(t.l);
    EQ_STR(buf_str(&t.b.got), STR("one two"));
    EQ(t.b.eofs, 1);
    EQ(t.b.closes, 0); /* our half is open still */
    stream_close(TAKE(t.b.s));
    two_close(&t);
}

TEST(stream_half_closes_pass_and_both_make_a_close)
{
    struct two t;
    two_open(&t);
    stream_use(t.a.s, &events, &t.a);
    stream_use(t.b.s, &events, &t.b);
    stream_shutdown(t.a.s);
    step(t.l);
    EQ(t.b.eofs, 1);
    stream_write(t.b.s, "still", 5);
    step(t.l);
    EQ_STR(buf_str(&t.a.got), STR("still"));
    stream_shutdown(t.b.s);
    step(t.l);
    EQ(t.a.eofs, 1);
    EQ(t.a.closes, 1);
    EQ(t.b.closes, 1);
    OK(!t.a.failed && !t.b.failed);
    two_close(&t);
}

TEST(stream_without_interest_in_eof_closes_on_it)
{
    struct two t;
    two_open(&t);
    stream_use(t.b.s, &no_eof, &t.b);
    stream_shutdown(t.a.s);
    step(t.l);
    EQ(t.b.closes, 1);
    two_close(&t);
}

TEST(stream_may_be_closed_in_each_of_its_callbacks)
{
    struct two t;
    two_open(&t);
    t.a.close_on_data = true;
    t.b.abort_on_eof = true;
    stream_use(t.a.s, &events, &t.a);
    stream_use(t.b.s, &events, &t.b);
    stream_write(t.b.s, "x", 1);
    step(t.l);
    OK(!t.a.s && !t.b.s);
    EQ(t.a.closes + t.b.closes, 0); /* the owner closed: nothing is told */
    two_close(&t);
}

TEST(stream_close_lets_the_last_bytes_out_although_input_is_unread)
{
    struct two t;
    two_open(&t);
    struct bytes *big = bytes_alloc(3u << 20);
    memset(big->p, 'x', big->n);
    stream_use(t.b.s, &events, &t.b);
    stream_write(t.b.s, "never read by the other side", 28);
    step(t.l);
    stream_write_bytes(t.a.s, big, 0, big->n);
    stream_close(TAKE(t.a.s));
    for (int i = 0; i < 20; i++)
        step(t.l);
    EQ(t.b.got.n, big->n);
    bytes_unref(big);
    two_close(&t);
}

TEST(stream_pause_holds_back_and_drain_is_told_once)
{
    struct two t;
    two_open(&t);
    struct bytes *big = bytes_alloc(3u << 20);
    memset(big->p, 'x', big->n);
    stream_use(t.a.s, &events, &t.a);
    stream_use(t.b.s, &events, &t.b);
    stream_pause(t.b.s, true);
    stream_write_bytes(t.a.s, big, 0, big->n);
    step(t.l);
    OK(stream_queued(t.a.s) > 1u << 20);
    EQ(t.b.got.n, 0);
    EQ(t.a.drains, 0);
    stream_pause(t.b.s, false);
    for (int i = 0; i < 20; i++)
        step(t.l);
    EQ(t.b.got.n, big->n);
    EQ(t.a.drains, 1);
    EQ(stream_queued(t.a.s), 0);
    bytes_unref(big);
    two_close(&t);
}

TEST(stream_hears_of_a_reset_while_paused)
{
    struct two t;
    two_open(&t);
    stream_use(t.a.s, &events, &t.a);
    stream_pause(t.a.s, true);
    stream_abort(TAKE(t.b.s));
    step(t.l);
    stream_write(t.a.s, "x", 1);
    step(t.l);
    EQ(t.a.closes, 1);
    OK(t.a.failed);
    two_close(&t);
}

static void spliced(void *arg)
{
    *(int *)arg += 1;
}

TEST(splice_carries_bytes_half_closes_and_back_pressure)
{
    struct two t;
    struct stream *m1, *m2;
    int done = 0;
    t = (struct two){.l = loop_new(NULL)};
    make_pair(t.l, &t.a.s, &m1);
    make_pair(t.l, &m2, &t.b.s);
    struct bytes *big = bytes_alloc(5u << 20);
    memset(big->p, 'x', big->n);
    stream_write(t.a.s, "before", 6);
    step(t.l);
    stream_splice(m1, m2, spliced, &done);
    stream_use(t.a.s, &events, &t.a);
    stream_use(t.b.s, &events, &t.b);
    step(t.l);
    EQ_STR(buf_str(&t.b.got), STR("before"));
    stream_pause(t.b.s, true);
    stream_write_bytes(t.a.s, big, 0, big->n);
    step(t.l);
    OK(stream_queued(t.a.s) > 3u << 20); /* the splice keeps little */
    stream_pause(t.b.s, false);
    for (int i = 0; i < 60; i++)
        step(t.l);
    EQ(t.b.got.n, big->n + 6);
    stream_shutdown(t.a.s);
    step(t.l);
    EQ(t.b.eofs, 1);
    stream_write(t.b.s, "back", 4);
    stream_close(TAKE(t.b.s));
    step(t.l);
    EQ_STR(buf_str(&t.a.got), STR("back"));
    EQ(done, 1);
    EQ(t.a.closes, 1);
    bytes_unref(big);
    two_close(&t);
}

TEST(splice_passes_an_abort_on)
{
    struct two t;
    struct stream *m1, *m2;
    int done = 0;
    t = (struct two){.l = loop_new(NULL)};
    make_pair(t.l, &t.a.s, &m1);
    make_pair(t.l, &m2, &t.b.s);
    stream_splice(m1, m2, spliced, &done);
    stream_use(t.b.s, &events, &t.b);
    stream_abort(TAKE(t.a.s));
    step(t.l);
    stream_close(TAKE(t.b.s));
    step(t.l);
    EQ(done, 1);
    OK(t.b.eofs || t.b.closes);
    two_close(&t);
}

/* ---- dialling ---- */
struct dialed {
    struct stream *s;
    char *error;
    bool done;
};
static void on_dialed(void *arg, struct stream *s, const struct err *e)
{
    struct dialed *d = arg;
    d->done = true;
    d->s = s;
    if (e)
        d->error = xstrdup(err_msg(e));
}

static void dial_wait(struct loop *l, const struct endpoint *ep, struct dialed *d)
{
    *d = (struct dialed){0};
    stream_dial(l, ep, on_dialed, d);
    OK(!d->done); /* never from within stream_dial */
    int64_t end = loop_now(l) + 5 * NS_PER_S;
    while (!d->done && loop_now(l) < end)
        loop_step(l, 10);
    OK(d->done);
}

TEST(dial_reaches_names_addresses_and_sockets_or_says_why_not)
{
    struct loop *l = loop_new(NULL);
    struct dialed d;
    struct err *e = NULL;
    struct sockaddr_in at;
    socklen_t n = sizeof at;
    char path[200], addr[210];
    int fd = http_bind("127.0.0.1:0", 8, &e);
    OK(fd >= 0);
    EQ(getsockname(fd, (struct sockaddr *)&at, &n), 0);
    struct endpoint ep = {.host = "localhost", .port = ntohs(at.sin_port)};
    dial_wait(l, &ep, &d);
    OK(d.s);
    OK(str_starts(stream_peer(d.s), STR("127.0.0.1:")));
    stream_abort(d.s);
    close(fd);
    dial_wait(l, &ep, &d);
    OK(!d.s && strstr(d.error, "Connection refused"));
    free(d.error);
    snprintf(path, sizeof path, "%s/none", test_tmpdir());
    ep = (struct endpoint){.unix_path = path};
    dial_wait(l, &ep, &d);
    OK(strstr(d.error, "No such file") && strstr(d.error, path));
    free(d.error);
    snprintf(addr, sizeof addr, "unix:%s", path);
    fd = http_bind(addr, 8, &e);
    OK(fd >= 0);
    dial_wait(l, &ep, &d);
    OK(d.s);
    EQ_STR(stream_peer(d.s), STR("unix"));
    stream_abort(d.s);
    close(fd);
    fd = http_bind(addr, 8, &e); /* the socket file of a process that is gone is in nobody's way */
    OK(fd >= 0);
    close(fd);
    ep = (struct endpoint){.host = "127.0.0.1", .port = 1, .proxy = "nonsense"};
    dial_wait(l, &ep, &d);
    OK(strstr(d.error, "not host:port"));
    free(d.error);
    step(l);
    loop_free(l);
}

TEST(dial_has_a_time_limit_and_can_be_cancelled)
{
    struct loop *l = loop_new(NULL);
    struct dialed d;
    struct err *e = NULL;
    struct sockaddr_in at;
    socklen_t n = sizeof at;
    char proxy[40];
    int fd = http_bind("127.0.0.1:0", 8, &e); /* takes connections, answers nothing */
    OK(fd >= 0);
    EQ(getsockname(fd, (struct sockaddr *)&at, &n), 0);
    snprintf(proxy, sizeof proxy, "127.0.0.1:%u", ntohs(at.sin_port));
    struct endpoint ep = {.host = "example.invalid", .port = 443, .proxy = proxy, .timeout_ms = 80};
    dial_wait(l, &ep, &d);
    OK(strstr(d.error, "no connection within 80 ms"));
    free(d.error);
    d = (struct dialed){0};
    struct dial *k = stream_dial(l, &ep, on_dialed, &d);
    loop_step(l, 5);
    dial_cancel(k);
    ep = (struct endpoint){.host = "no.such.name.invalid", .port = 1};
    k = stream_dial(l, &ep, on_dialed, &d); /* the resolver's thread outlives it */
    dial_cancel(k);
    step(l);
    OK(!d.done);
    close(fd);
    loop_free(l);
}
