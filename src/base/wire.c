#include "base/wire.h"
#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/file.h"

#define HEADER 16
#define QUEUE_MAX (64u << 20)
#define CHUNK (64u << 10)
#define READS_PER_TURN 8

struct out { /* frames on their way; the fds ride on the first byte */
    struct list node;
    struct buf data;
    size_t off, nfds;
    int fds[WIRE_FDS];
};

struct wire {
    struct loop *loop;
    struct watch watch;
    struct defer flush;
    const struct wire_ops *ops;
    void *arg;
    struct buf in;
    int in_fds[WIRE_FDS * 2]; /* arrived, and not yet claimed by a frame */
    size_t nin_fds, queued;
    struct list out;
    struct err *broken; /* told to on_close at the next chance */
    bool closed, mute /* the peer reads no more */;
    bool *freed; /* set while a callback runs */
};

static void close_fds(int *fds, size_t n)
{
    for (size_t i = 0; i < n; i++)
        closep(&fds[i]);
}

static void out_free(struct wire *w, struct out *o)
{
    list_remove(&o->node);
    w->queued -= o->data.n - o->off;
    if (!o->off)
        close_fds(o->fds, o->nfds);
    buf_clear(&o->data);
    free(o);
}

static void drop_out(struct wire *w)
{
    struct out *o;
    while ((o = list_first(&w->out, struct out, node)))
        out_free(w, o);
}

static void shut(struct wire *w)
{
    w->closed = true;
    watch_del(&w->watch);
    closep(&w->watch.fd);
    defer_del(w->loop, &w->flush);
    drop_out(w);
    close_fds(w->in_fds, w->nin_fds);
    w->nin_fds = 0;
    buf_clear(&w->in);
}

/* Ends the connection and tells its owner, who may free w. */
static void end(struct wire *w, struct err *why)
{
    if (w->closed) {
        err_free(why);
        return;
    }
    shut(w);
    w->ops->on_close(w->arg, why);
    err_free(why);
}

static ssize_t send_one(struct wire *w, struct out *o)
{
    struct iovec iov = {o->data.p + o->off, o->data.n - o->off};
    union {
        char space[CMSG_SPACE(sizeof o->fds)];
        struct cmsghdr align;
    } control;
    struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};
    if (!o->off && o->nfds) {
        memset(&control, 0, sizeof control);
        m.msg_control = &control;
        m.msg_controllen = CMSG_SPACE(o->nfds * sizeof(int));
        struct cmsghdr *c = CMSG_FIRSTHDR(&m);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(o->nfds * sizeof(int));
        memcpy(CMSG_DATA(c), o->fds, o->nfds * sizeof(int));
    }
    return sendmsg(w->watch.fd, &m, MSG_NOSIGNAL);
}

static void flush(struct wire *w)
{
    struct out *o;
    while (!w->mute && (o = list_first(&w->out, struct out, node))) {
        ssize_t n = send_one(w, o);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
            break;
        if (n < 0) {
            w->mute = true; /* what the peer said before it went is still read */
            drop_out(w);
            break;
        }
        if (!o->off)
            close_fds(o->fds, o->nfds);
        o->off += (size_t)n;
        w->queued -= (size_t)n;
        if (o->off == o->data.n)
            out_free(w, o);
    }
    watch_mod(&w->watch, EPOLLIN | (list_empty(&w->out) ? 0u : (uint32_t)EPOLLOUT));
}

static void on_flush(struct defer *d)
{
    struct wire *w = container_of(d, struct wire, flush);
    if (w->broken)
        end(w, TAKE(w->broken));
    else
        flush(w);
}

static int take_fds(struct wire *w, struct msghdr *m, struct err **e)
{
    bool overflow = m->msg_flags & MSG_CTRUNC;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        for (size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int), i = 0; i < n; i++) {
            int fd;
            memcpy(&fd, CMSG_DATA(c) + i * sizeof fd, sizeof fd);
            if (w->nin_fds < ARRAY_LEN(w->in_fds))
                w->in_fds[w->nin_fds++] = fd;
            else
                overflow = close(fd) == 0 || true;
        }
    }
    return overflow ? err_set(e, ERR_LIMIT, "wire: too many file descriptors") : 0;
}

/* 1: read something; 0: nothing there; negative: the end, *e NULL when it is a clean one. */
static int read_some(struct wire *w, struct err **e)
{
    char *to = buf_reserve(&w->in, CHUNK);
    union {
        char space[CMSG_SPACE(sizeof(int) * WIRE_FDS)];
        struct cmsghdr align;
    } control;
    struct iovec iov = {to, CHUNK};
    struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
    ssize_t n = recvmsg(w->watch.fd, &m, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR))
        return 0;
    if (n < 0)
        return errno == ECONNRESET && !w->in.n ? -ERR_IO : err_errno(e, errno, "wire: receive");
    if (take_fds(w, &m, e) < 0)
        return -ERR_LIMIT;
    if (n == 0)
        return w->in.n ? err_set(e, ERR_IO, "wire: the peer ended inside a frame") : -ERR_IO;
    w->in.n += (size_t)n;
    w->in.p[w->in.n] = 0;
    return 1;
}

static uint64_t get_le(const char *p, int n)
{
    uint64_t v = 0;
    for (int i = 0; i < n; i++)
        v |= (uint64_t)(unsigned char)p[i] << (8 * i);
    return v;
}

static int claim_fds(struct wire *w, struct wire_msg *m, struct err **e)
{
    if (m->nfds > WIRE_FDS || m->nfds > w->nin_fds)
        return err_set(e, ERR_PARSE, "wire: a frame claims file descriptors that did not come");
    memcpy(m->fds, w->in_fds, m->nfds * sizeof(int));
    w->nin_fds -= m->nfds;
    memmove(w->in_fds, w->in_fds + m->nfds, w->nin_fds * sizeof(int));
    return 0;
}

/* Hands over all whole frames. 0; 1: w was freed or closed inside a callback; negative: the peer broke the framing. */
static int deliver(struct wire *w, struct err **e)
{
    size_t off = 0;
    bool freed = false;
    int r = 0;
    while (w->in.n - off >= HEADER) {
        const char *p = w->in.p + off;
        uint64_t n = get_le(p, 4);
        if (n > WIRE_MAX) {
            r = err_set(e, ERR_LIMIT, "wire: a frame of %" PRIu64 " bytes", n);
            break;
        }
        if (w->in.n - off - HEADER < n)
            break;
        struct wire_msg m = {.type = (uint16_t)get_le(p + 4, 2), .nfds = (size_t)get_le(p + 6, 2), .id = get_le(p + 8, 8)};
        m.body = str_make(p + HEADER, (size_t)n);
        r = claim_fds(w, &m, e);
        if (r < 0)
            break;
        off += HEADER + (size_t)n;
        w->freed = &freed;
        w->ops->on_msg(w->arg, &m);
        close_fds(m.fds, m.nfds);
        if (freed)
            return 1;
        w->freed = NULL;
    }
    buf_drop(&w->in, off);
    if (!w->in.n && w->in.cap > 4 * CHUNK)
        buf_clear(&w->in); /* a large frame's memory is not kept */
    return r;
}

static void on_ready(struct watch *watch, uint32_t events)
{
    struct wire *w = container_of(watch, struct wire, watch);
    if (events & EPOLLOUT)
        flush(w);
    for (int i = 0; i < READS_PER_TURN; i++) {
        struct err *e = NULL;
        int r = read_some(w, &e);
        if (r == 0)
            return;
        bool last = r < 0;
        r = last ? r : deliver(w, &e);
        if (r > 0)
            return;
        if (r < 0) {
            end(w, e);
            return;
        }
    }
}

struct wire *wire_new(struct loop *l, int fd, const struct wire_ops *ops, void *arg, struct err **e)
{
    struct wire *w = xcalloc(1, sizeof *w);
    *w = (struct wire){.loop = l, .ops = ops, .arg = arg};
    list_init(&w->out);
    fd_nonblock(fd);
    fd_cloexec(fd, true);
    if (watch_add(l, &w->watch, fd, EPOLLIN, on_ready, e) < 0) {
        close(fd);
        free(w);
        return NULL;
    }
    return w;
}

void wire_free(struct wire *w)
{
    if (!w)
        return;
    if (w->freed)
        *w->freed = true;
    if (!w->closed)
        shut(w);
    err_free(w->broken);
    free(w);
}

static void put_le(char *p, uint64_t v, int n)
{
    for (int i = 0; i < n; i++)
        p[i] = (char)(v >> (8 * i));
}

static struct out *out_for(struct wire *w, size_t nfds)
{
    struct out *o = list_empty(&w->out) ? NULL : list_entry(w->out.prev, struct out, node);
    if (o && !nfds && !o->off && o->data.n < CHUNK)
        return o;
    o = xcalloc(1, sizeof *o);
    list_push(&w->out, &o->node);
    return o;
}

/* Cannot end here: the caller stands in the middle of something. */
static void break_later(struct wire *w, struct err *e)
{
    if (w->broken)
        err_free(e);
    else
        w->broken = e;
    loop_defer(w->loop, &w->flush, on_flush);
}

void wire_send(struct wire *w, uint16_t type, uint64_t id, const struct wire_type *t, const void *msg, const int *fds, size_t nfds)
{
    struct err *e = NULL;
    if (!w || w->closed || w->broken || w->mute)
        return;
    if (nfds > WIRE_FDS) {
        err_set(&e, ERR_INTERNAL, "wire: %zu file descriptors on one frame", nfds);
        break_later(w, e);
        return;
    }
    struct out *o = out_for(w, nfds);
    size_t at = o->data.n;
    char *h = buf_reserve(&o->data, HEADER);
    put_le(h + 4, type, 2);
    put_le(h + 6, nfds, 2);
    put_le(h + 8, id, 8);
    o->data.n += HEADER;
    if (t)
        wire_encode(t, msg, &o->data);
    put_le(o->data.p + at, o->data.n - at - HEADER, 4);
    w->queued += o->data.n - at;
    for (size_t i = 0; i < nfds; i++) {
        o->fds[i] = fcntl(fds[i], F_DUPFD_CLOEXEC, 0);
        o->nfds = i + 1;
        if (o->fds[i] < 0)
            err_errno(&e, errno, "wire: duplicate file descriptor %d", fds[i]);
    }
    if (o->data.n - at - HEADER > WIRE_MAX)
        err_set(&e, ERR_LIMIT, "wire: %s is larger than a frame may be", t ? t->name : "message");
    else if (w->queued > QUEUE_MAX)
        err_set(&e, ERR_LIMIT, "wire: the peer does not read");
    if (e)
        break_later(w, e);
    else
        loop_defer(w->loop, &w->flush, on_flush);
}
