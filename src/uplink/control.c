#include "uplink/control.h"

#include <stdlib.h>
#include <sys/socket.h>

#include "http/http.h"

static const struct wire_field object_fields[] = {
    WIRE_STR(struct c_object, key, 1024),
    WIRE_STR(struct c_object, uid, 64),
    WIRE_STR(struct c_object, bytes, 4u << 20),
    WIRE_I64(struct c_object, rev),
    WIRE_END,
};
const struct wire_type c_object_type = {"object", sizeof(struct c_object), object_fields};

static const struct wire_field cut_fields[] = {
    WIRE_STR(struct c_cut, store_uid, 63),
    WIRE_I64(struct c_cut, epoch),
    WIRE_I64(struct c_cut, rev),
    WIRE_END,
};
const struct wire_type c_cut_type = {"cut", sizeof(struct c_cut), cut_fields};

static const struct wire_field item_fields[] = {
    WIRE_STR(struct c_item, key, 1024),
    WIRE_STR(struct c_item, uid, 64),
    WIRE_I64(struct c_item, rev),
    WIRE_END,
};
static const struct wire_type item_type = {"item", sizeof(struct c_item), item_fields};
static const struct wire_field inventory_fields[] = {
    WIRE_LIST(struct c_inventory, items, nitems, &item_type, 4096),
    WIRE_BOOL(struct c_inventory, last),
    WIRE_END,
};
const struct wire_type c_inventory_type = {"inventory", sizeof(struct c_inventory), inventory_fields};

static const struct wire_field request_fields[] = {
    WIRE_U64(struct c_request, id),
    WIRE_STR(struct c_request, method, 16),
    WIRE_STR(struct c_request, path, 4096),
    WIRE_STR(struct c_request, content_type, 128),
    WIRE_STR(struct c_request, body, 4u << 20),
    WIRE_END,
};
const struct wire_type c_request_type = {"request", sizeof(struct c_request), request_fields};

static const struct wire_field reply_fields[] = {
    WIRE_U64(struct c_reply, id),
    {WIRE_K_U64, "status", offsetof(struct c_reply, status), 0, NULL, 999},
    WIRE_STR(struct c_reply, body, 4u << 20),
    WIRE_END,
};
const struct wire_type c_reply_type = {"reply", sizeof(struct c_reply), reply_fields};

struct control {
    struct stream *stream;
    struct control_ops ops;
    void *arg;
    struct buf in;
    struct timer timer;
    int64_t idle, active, heard;
    bool probing, gone, delivering, freed;
};

static void gone(struct control *c, enum err_code code, const char *why)
{
    _cleanup_(err_freep) struct err *e = NULL;
    if (c->gone)
        return;
    c->gone = true;
    timer_del(&c->timer);
    if (c->stream)
        stream_abort(TAKE(c->stream));
    (void)err_set(&e, code, "%s", why);
    c->ops.on_gone(c->arg, e);
}

/* ---- liveness ---- */

static void on_timer(struct timer *t);

static void rest(struct control *c)
{
    timer_set(stream_loop(c->stream), &c->timer, c->heard + c->idle, on_timer);
}

static void on_timer(struct timer *t)
{
    struct control *c = container_of(t, struct control, timer);
    int64_t now = loop_now(stream_loop(c->stream));
    if (c->probing && now - c->heard >= c->active)
        gone(c, ERR_TIMEOUT, "the peer is silent");
    else if (now - c->heard >= c->idle)
        control_probe(c);
    else
        rest(c);
}

void control_probe(struct control *c)
{
    if (c->gone || c->probing)
        return;
    struct loop *l = stream_loop(c->stream);
    c->probing = true;
    c->heard = MIN(c->heard, loop_now(l) - 1);
    control_send(c, C_PING, NULL, NULL);
    timer_set(l, &c->timer, loop_now(l) + c->active, on_timer);
}

static void heard(struct control *c)
{
    struct loop *l = stream_loop(c->stream);
    c->heard = loop_now(l);
    if (c->probing) {
        c->probing = false;
        rest(c);
    }
}

/* ---- frames ---- */

static uint32_t get32(const char *p)
{
    const unsigned char *u = (const unsigned char *)p;
    return (uint32_t)u[0] | (uint32_t)u[1] << 8 | (uint32_t)u[2] << 16 | (uint32_t)u[3] << 24;
}

void control_send(struct control *c, enum control_type type, const struct wire_type *t, const void *msg)
{
    _cleanup_(buf_clear) struct buf b = BUF_INIT;
    if (c->gone)
        return;
    buf_add(&b, "\0\0\0\0", 4);
    buf_putc(&b, (char)type);
    if (t)
        wire_encode(t, msg, &b);
    uint32_t n = (uint32_t)(b.n - 4);
    for (int i = 0; i < 4; i++)
        b.p[i] = (char)(n >> (8 * i));
    stream_write(c->stream, b.p, b.n);
}

static void deliver(struct control *c, struct str frame)
{
    enum control_type type = (enum control_type)(unsigned char)frame.p[0];
    if (type == C_PING)
        control_send(c, C_PONG, NULL, NULL);
    else if (type != C_PONG && type < CONTROL_TYPES)
        c->ops.on_frame(c->arg, type, str_sub(frame, 1, frame.n));
    /* a type that a newer peer knows and we do not is passed over */
}

static void on_data(void *arg, const char *p, size_t n)
{
    struct control *c = arg;
    size_t at = 0;
    heard(c);
    buf_add(&c->in, p, n);
    c->delivering = true;
    while (!c->gone && c->in.n - at >= 4) {
        uint32_t len = get32(c->in.p + at);
        if (len < 1 || len > CONTROL_MAX) {
            gone(c, ERR_BAD_REQUEST, "the peer broke the framing");
            break;
        }
        if (c->in.n - at - 4 < len)
            break;
        deliver(c, str_make(c->in.p + at + 4, len));
        at += 4 + len;
    }
    c->delivering = false;
    if (c->freed) {
        buf_clear(&c->in);
        free(c);
        return;
    }
    buf_drop(&c->in, at);
    if (c->in.n == 0)
        buf_clear(&c->in); /* an idle link keeps no buffer */
}

static void on_drain(void *arg)
{
    struct control *c = arg;
    if (c->ops.on_drain)
        c->ops.on_drain(c->arg);
}

static void on_close(void *arg, const struct err *why)
{
    struct control *c = arg;
    c->stream = NULL;
    timer_del(&c->timer);
    if (c->gone)
        return;
    c->gone = true;
    c->ops.on_gone(c->arg, why);
}

struct control *control_new(struct stream *s, int64_t idle_ns, int64_t active_ns, const struct control_ops *ops, void *arg)
{
    static const struct stream_events events = {on_data, on_drain, NULL, on_close};
    struct control *c = xcalloc(1, sizeof *c);
    c->stream = s;
    c->ops = *ops;
    c->arg = arg;
    c->idle = idle_ns;
    c->active = active_ns;
    c->heard = loop_now(stream_loop(s));
    rest(c);
    stream_use(s, &events, c);
    return c;
}

void control_free(struct control *c)
{
    if (!c)
        return;
    c->gone = true;
    timer_del(&c->timer);
    if (c->stream)
        stream_abort(TAKE(c->stream));
    if (c->delivering) {
        c->freed = true;
        return;
    }
    buf_clear(&c->in);
    free(c);
}

size_t control_queued(const struct control *c)
{
    return c->stream ? stream_queued(c->stream) : 0;
}

int64_t control_heard(const struct control *c)
{
    return c->heard;
}

void control_no_keepalive(const struct ws *w)
{
    struct stream *below = ws_below(w);
    int off = 0, fd = below ? stream_fd(below) : -1;
    if (fd >= 0)
        (void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &off, sizeof off);
}
