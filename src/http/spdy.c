#include "http/spdy.h"
#include <stdlib.h>
#include "base/list.h"
#include "http/spdy_frame.h"
#include "http/stream_impl.h"

#define CONTROL_MAX (64u << 10)
#define STREAMS_MAX 2000
#define KEEP_MAX (256u << 10) /* unread bytes of one stream, before everything waits */
#define CHUNK (16u << 10)

struct spdy_stream {
    struct stream s;
    struct list node;
    struct spdy *c; /* NULL: gone */
    uint32_t id;
    bool fin_sent, fin_got, closing;
};

struct spdy {
    struct stream *below;
    struct loop *loop;
    const struct spdy_events *ev;
    void *arg;
    bool server, dead, held, goodbye, in_data;
    struct list streams;
    size_t nstreams;
    uint32_t next_id, last_id;
    uint32_t pending; /* a stream that on_stream has to answer; 0: none */
    bool pending_fin;
    struct buf in; /* an incomplete frame head or control frame */
    uint32_t data_id, data_left;
    bool data_fin;
    struct spdy_zip zip;
    struct defer reap;
};

static const struct stream_impl spdy_impl;

static struct spdy_stream *find(struct spdy *c, uint32_t id)
{
    struct spdy_stream *s;
    list_for (&c->streams, s, node)
        if (s->id == id)
            return s;
    return NULL;
}

/* ---- ends ---- */
static void on_reap(struct defer *d)
{
    struct spdy *c = container_of(d, struct spdy, reap);
    spdy_zip_clear(&c->zip);
    buf_clear(&c->in);
    free(c);
}

static void release(struct spdy *c);

static void leave(struct spdy_stream *s, struct err *why)
{
    struct spdy *c = TAKE(s->c);
    if (!c) {
        err_free(why);
        return;
    }
    list_remove(&s->node);
    c->nstreams--;
    stream_in_close(&s->s, why);
    release(c);
}

static void die(struct spdy *c, const struct err *why, bool tell)
{
    if (c->dead)
        return;
    c->dead = true;
    for (struct spdy_stream *s; (s = list_first(&c->streams, struct spdy_stream, node));) {
        struct err *e = NULL;
        if (why && !s->s.eof)
            err_set(&e, why->code, "%s", err_msg(why));
        leave(s, e);
    }
    if (c->below)
        stream_close(TAKE(c->below));
    loop_defer(c->loop, &c->reap, on_reap);
    if (tell && c->ev->on_close)
        c->ev->on_close(c->arg, why);
}

static void violated(struct spdy *c, const char *what)
{
    _cleanup_(err_freep) struct err *e = NULL;
    err_set(&e, ERR_BAD_REQUEST, "SPDY: %s", what);
    struct buf b = BUF_INIT;
    spdy_put_head(&b, SPDY_GOAWAY, 0, 8);
    spdy_put32(&b, c->last_id);
    spdy_put32(&b, 1);
    stream_write(c->below, b.p, b.n);
    buf_clear(&b);
    die(c, e, true);
}

static void send_reset(struct spdy *c, uint32_t id, uint32_t code)
{
    struct buf b = BUF_INIT;
    spdy_put_head(&b, SPDY_RST_STREAM, 0, 8);
    spdy_put32(&b, id);
    spdy_put32(&b, code);
    stream_write(c->below, b.p, b.n);
    buf_clear(&b);
}

/* ---- back-pressure ---- */
static bool too_full(struct spdy *c)
{
    struct spdy_stream *s;
    list_for (&c->streams, s, node)
        if (s->s.early.n > KEEP_MAX)
            return true;
    return false;
}

static void release(struct spdy *c)
{
    if (!c->held || c->dead || too_full(c))
        return;
    c->held = false;
    stream_pause(c->below, false);
}

/* ---- struct stream ---- */
static struct spdy_stream *stream_of(const struct stream *s)
{
    return (struct spdy_stream *)(uintptr_t)s;
}

static void send_data(struct spdy_stream *s, const char *p, size_t n, bool fin)
{
    struct buf b = BUF_INIT;
    do {
        size_t k = MIN(n, (size_t)CHUNK);
        spdy_put32(&b, s->id);
        spdy_put32(&b, (uint32_t)k | (fin && k == n ? (uint32_t)SPDY_FIN << 24 : 0));
        buf_add(&b, p, k);
        p += k;
        n -= k;
    } while (n);
    stream_write(s->c->below, b.p, b.n);
    buf_clear(&b);
}

static void s_copy(struct stream *x, const void *p, size_t n)
{
    struct spdy_stream *s = stream_of(x);
    if (s->c && !s->fin_sent)
        send_data(s, p, n, false);
}

static void s_write(struct stream *x, struct bytes *b, size_t from, size_t n)
{
    s_copy(x, b->p + from, n);
}

static void maybe_over(struct spdy_stream *s)
{
    if (s->c && s->fin_sent && s->fin_got)
        leave(s, NULL);
}

static void s_shutdown(struct stream *x)
{
    struct spdy_stream *s = stream_of(x);
    if (!s->c || s->fin_sent)
        return;
    s->fin_sent = true;
    send_data(s, NULL, 0, true);
    maybe_over(s);
}

/* What still comes on a stream that was closed from here is thrown away until its FIN. */
static void s_close(struct stream *x, bool abort)
{
    struct spdy_stream *s = stream_of(x);
    if (!s->c) {
        stream_in_close(x, NULL);
        return;
    }
    if (abort) {
        send_reset(s->c, s->id, SPDY_CANCEL);
        leave(s, NULL);
        return;
    }
    s->closing = true;
    struct spdy *c = s->c;
    s_shutdown(x);
    release(c);
}

static void s_pause(struct stream *x, bool paused) {}
static size_t s_queued(const struct stream *x)
{
    return stream_of(x)->c ? stream_queued(stream_of(x)->c->below) : 0;
}

static void s_consumed(struct stream *x, size_t n)
{
    if (stream_of(x)->c)
        release(stream_of(x)->c);
}

static void s_free(struct stream *x)
{
    stream_fini(x);
    free(stream_of(x));
}

static const struct stream_impl spdy_impl = {
    .write = s_write,
    .copy = s_copy,
    .shutdown = s_shutdown,
    .pause = s_pause,
    .close = s_close,
    .queued = s_queued,
    .free = s_free,
    .consumed = s_consumed,
};

static struct spdy_stream *stream_make(struct spdy *c, uint32_t id)
{
    struct spdy_stream *s = xcalloc(1, sizeof *s);
    stream_init(&s->s, c->loop, &spdy_impl);
    s->c = c;
    s->id = id;
    list_push(&c->streams, &s->node);
    c->nstreams++;
    return s;
}

/* ---- frames ---- */
static void got_eof(struct spdy_stream *s)
{
    s->fin_got = true;
    stream_in_eof(&s->s);
    maybe_over(s);
}

static bool unpack(struct spdy *c, struct str block, struct pool *p, struct http_header **h, size_t *n)
{
    if (spdy_unpack(&c->zip, block, p, h, n))
        return true;
    violated(c, "malformed header block");
    return false;
}

static void got_syn(struct spdy *c, unsigned flags, struct str body)
{
    struct http_header *h;
    size_t n;
    if (body.n < 10) {
        violated(c, "short SYN_STREAM");
        return;
    }
    uint32_t id = spdy_get32(body.p) & 0x7fffffff;
    _cleanup_(pool_freep) struct pool *p = pool_new();
    if (!unpack(c, str_sub(body, 10, body.n), p, &h, &n))
        return;
    if (id <= c->last_id || (id & 1) != c->server) {
        violated(c, "a stream number out of order");
        return;
    }
    c->last_id = id;
    if (c->goodbye || c->nstreams >= STREAMS_MAX) {
        send_reset(c, id, SPDY_REFUSED_STREAM);
        return;
    }
    c->pending = id;
    c->pending_fin = flags & SPDY_FIN;
    c->ev->on_stream(c->arg, c, id, h, n);
    if (!c->dead && c->pending == id)
        spdy_refuse(c, id);
}

static void got_reply(struct spdy *c, unsigned type, unsigned flags, struct str body)
{
    struct http_header *h;
    size_t n;
    if (body.n < 4) {
        violated(c, "short SYN_REPLY or HEADERS");
        return;
    }
    _cleanup_(pool_freep) struct pool *p = pool_new();
    struct spdy_stream *s = find(c, spdy_get32(body.p) & 0x7fffffff);
    if (unpack(c, str_sub(body, 4, body.n), p, &h, &n) && s && flags & SPDY_FIN)
        got_eof(s);
}

static void got_reset(struct spdy *c, struct str body)
{
    struct spdy_stream *s = body.n == 8 ? find(c, spdy_get32(body.p) & 0x7fffffff) : NULL;
    struct err *e = NULL;
    if (body.n != 8) {
        violated(c, "RST_STREAM of a wrong length");
    } else if (s) {
        uint32_t code = spdy_get32(body.p + 4);
        if (!s->fin_got || code != SPDY_CANCEL) /* a cancel behind the end is how spdystream tidies up */
            err_set(&e, ERR_IO, "SPDY: the peer reset the stream (%u)", code);
        leave(s, e);
    }
}

static void got_ping(struct spdy *c, struct str body)
{
    if (body.n != 4) {
        violated(c, "PING of a wrong length");
        return;
    }
    if ((spdy_get32(body.p) & 1) != c->server || stream_queued(c->below) > STREAM_LOW_WATER)
        return; /* an answer to one of ours, or a peer that pings and does not read */
    struct buf b = BUF_INIT;
    spdy_put_head(&b, SPDY_PING, 0, 4);
    buf_str_add(&b, body);
    stream_write(c->below, b.p, b.n);
    buf_clear(&b);
}

static void got_control(struct spdy *c, const char *head, struct str body)
{
    unsigned version = spdy_get32(head) >> 16 & 0x7fff, type = spdy_get32(head) & 0xffff, flags = (uint8_t)head[4];
    if (version != 3)
        violated(c, "another version than 3");
    else if (type == SPDY_SYN_STREAM)
        got_syn(c, flags, body);
    else if (type == SPDY_SYN_REPLY || type == SPDY_HEADERS)
        got_reply(c, type, flags, body);
    else if (type == SPDY_RST_STREAM)
        got_reset(c, body);
    else if (type == SPDY_PING)
        got_ping(c, body);
    else if (type == SPDY_GOAWAY)
        c->goodbye = true;
}

static void got_data(struct spdy *c, const char *p, size_t n)
{
    struct spdy_stream *s = find(c, c->data_id);
    if (!s || s->fin_got)
        return;
    stream_in(&s->s, p, n);
    if (!c->dead && s->c && s->s.early.n > KEEP_MAX) {
        c->held = true;
        stream_pause(c->below, true);
    }
}

static void data_over(struct spdy *c)
{
    c->in_data = false;
    struct spdy_stream *s = c->data_fin ? find(c, c->data_id) : NULL;
    if (s && !s->fin_got)
        got_eof(s);
}

/* One step on the input. False: nothing more can be done with it. */
static bool step(struct spdy *c, struct str *in)
{
    if (c->in_data && c->data_left) {
        size_t n = MIN(in->n, (size_t)c->data_left);
        const char *p = in->p;
        if (!n)
            return false;
        *in = str_make(in->p + n, in->n - n);
        c->data_left -= (uint32_t)n;
        got_data(c, p, n);
        return true;
    }
    if (c->in_data) {
        data_over(c);
        return true;
    }
    size_t need = 8;
    if (c->in.n >= 8)
        need = 8 + (spdy_get32(c->in.p + 4) & 0xffffff);
    size_t n = MIN(need - c->in.n, in->n);
    buf_add(&c->in, in->p, n);
    *in = str_make(in->p + n, in->n - n);
    if (c->in.n < 8)
        return false;
    uint32_t first = spdy_get32(c->in.p), len = spdy_get32(c->in.p + 4) & 0xffffff;
    if (!(first & 0x80000000u)) {
        c->in_data = true;
        c->data_id = first & 0x7fffffff;
        c->data_left = len;
        c->data_fin = c->in.p[4] & SPDY_FIN;
        buf_clear(&c->in);
        return true;
    }
    if (len > CONTROL_MAX) {
        violated(c, "a control frame of more than 64 KiB");
        return false;
    }
    if (c->in.n < 8 + len)
        return in->n > 0;
    struct buf frame = c->in;
    c->in = BUF_INIT;
    got_control(c, frame.p, str_sub(buf_str(&frame), 8, frame.n));
    buf_clear(&frame);
    return true;
}

static void below_data(void *arg, const char *p, size_t n)
{
    struct spdy *c = arg;
    struct str in = str_make(p, n);
    while (!c->dead && step(c, &in))
        ;
}

static void below_drain(void *arg)
{
    struct spdy *c = arg;
    for (bool again = true; again && !c->dead;) {
        struct spdy_stream *s;
        again = false;
        list_for (&c->streams, s, node)
            if (s->s.high && stream_queued(c->below) < STREAM_LOW_WATER) {
                stream_in_drain(&s->s);
                again = !s->s.high; /* the list may have changed */
                break;
            }
    }
}

static void below_gone(struct spdy *c, const struct err *why)
{
    _cleanup_(err_freep) struct err *e = NULL;
    if (!why && c->nstreams && !c->goodbye) {
        err_set(&e, ERR_IO, "SPDY: the peer closed the connection");
        why = e;
    }
    die(c, why, true);
}

static void below_eof(void *arg)
{
    below_gone(arg, NULL);
}

static void below_close(void *arg, const struct err *why)
{
    struct spdy *c = arg;
    c->below = NULL;
    below_gone(c, why);
}

static const struct stream_events below_events = {below_data, below_drain, below_eof, below_close};

/* ---- the owner's side ---- */
struct spdy *spdy_new(struct stream *below, bool server, const struct spdy_events *ev, void *arg)
{
    struct spdy *c = xcalloc(1, sizeof *c);
    c->below = below;
    c->loop = stream_loop(below);
    c->server = server;
    c->ev = ev;
    c->arg = arg;
    c->next_id = server ? 2 : 1;
    list_init(&c->streams);
    (void)spdy_zip_init(&c->zip); /* without memory for it, the first block fails */
    stream_use(below, &below_events, c);
    return c;
}

struct stream *spdy_accept(struct spdy *c, uint32_t id, const struct http_header *h, size_t n)
{
    if (c->dead || c->pending != id)
        return NULL;
    c->pending = 0;
    struct buf block = BUF_INIT, b = BUF_INIT;
    spdy_pack(&c->zip, h, n, &block);
    spdy_put_head(&b, SPDY_SYN_REPLY, 0, block.n + 4);
    spdy_put32(&b, id);
    buf_str_add(&b, buf_str(&block));
    stream_write(c->below, b.p, b.n);
    buf_clear(&block);
    buf_clear(&b);
    struct spdy_stream *s = stream_make(c, id);
    if (c->pending_fin)
        got_eof(s);
    return &s->s;
}

void spdy_refuse(struct spdy *c, uint32_t id)
{
    if (c->dead || c->pending != id)
        return;
    c->pending = 0;
    send_reset(c, id, SPDY_REFUSED_STREAM);
}

struct stream *spdy_open(struct spdy *c, const struct http_header *h, size_t n)
{
    if (c->dead || c->goodbye || !c->zip.ready)
        return NULL;
    struct buf block = BUF_INIT, b = BUF_INIT;
    struct spdy_stream *s = stream_make(c, c->next_id);
    c->next_id += 2;
    spdy_pack(&c->zip, h, n, &block);
    spdy_put_head(&b, SPDY_SYN_STREAM, 0, block.n + 10);
    spdy_put32(&b, s->id);
    spdy_put32(&b, 0);
    buf_add(&b, "\0\0", 2);
    buf_str_add(&b, buf_str(&block));
    stream_write(c->below, b.p, b.n);
    buf_clear(&block);
    buf_clear(&b);
    return &s->s;
}

size_t spdy_streams(const struct spdy *c)
{
    return c->nstreams;
}

void spdy_close(struct spdy *c)
{
    if (!c || c->dead)
        return;
    struct buf b = BUF_INIT;
    spdy_put_head(&b, SPDY_GOAWAY, 0, 8);
    spdy_put32(&b, c->last_id);
    spdy_put32(&b, 0);
    stream_write(c->below, b.p, b.n);
    buf_clear(&b);
    die(c, NULL, false);
}
