/* A stream over a connected socket (or another descriptor that polls). Writes are collected and leave in one writev at the end of the turn.
 *
 * Closing: queued bytes first, then a half-close, then what the peer still sends is read and thrown away until it closes too; without that
 * the kernel answers unread input with RST, and the peer loses the end of our reply. All of it within CLOSE_NS.
 */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/file.h"
#include "http/outq.h"
#include "http/stream_impl.h"

#define READ_SIZE (64u << 10)
#define IOVS 64
#define CLOSE_NS (5 * NS_PER_S)

struct fd_stream {
    struct stream s;
    int fd;
    struct watch w;
    struct outq out;
    struct defer flush;
    struct timer limit;
    bool blocked, shut_wanted, shut, closing, not_socket;
};

static __thread char read_buffer[READ_SIZE]; /* its contents are used up before the next read */

static struct fd_stream *fd_of(struct stream *s)
{
    return container_of(s, struct fd_stream, s);
}

static void finish(struct fd_stream *f, struct err *why)
{
    if (f->fd < 0) {
        err_free(why);
        return;
    }
    watch_del(&f->w);
    timer_del(&f->limit);
    defer_del(f->s.loop, &f->flush);
    close(f->fd);
    f->fd = -1;
    outq_clear(&f->out);
    stream_in_close(&f->s, why);
}

static void fail(struct fd_stream *f, int errnum, const char *what)
{
    struct err *e = NULL;
    err_errno(&e, errnum, "%s", what);
    finish(f, e);
}

static void on_ready(struct watch *w, uint32_t events);

static void update(struct fd_stream *f)
{
    if (f->fd < 0)
        return;
    uint32_t ev = 0;
    if (!f->s.eof && (stream_wants(&f->s) || (f->closing && f->shut)))
        ev |= EPOLLIN;
    if (f->blocked)
        ev |= EPOLLOUT;
    if (!ev) { /* a hang-up cannot be masked: it would wake us for nothing */
        watch_del(&f->w);
        return;
    }
    if (f->w.loop)
        watch_mod(&f->w, ev);
    else if (watch_add(f->s.loop, &f->w, f->fd, ev, on_ready, NULL) < 0)
        fail(f, ENOMEM, "watch");
}

/* One of the two directions ended: is it over? */
static void maybe_over(struct fd_stream *f)
{
    if (f->fd >= 0 && f->s.eof && f->shut)
        finish(f, NULL);
}

static void sent_all(struct fd_stream *f)
{
    if ((f->shut_wanted || f->closing) && !f->shut) {
        f->shut = true;
        if (f->not_socket || (shutdown(f->fd, SHUT_WR) < 0 && errno == ENOTSOCK)) { /* a pipe has one direction only, which is over now */
            finish(f, NULL);
            return;
        }
        maybe_over(f);
    }
}

static ssize_t write_some(struct fd_stream *f)
{
    struct iovec v[IOVS];
    struct msghdr m = {.msg_iov = v, .msg_iovlen = outq_iov(&f->out, v, IOVS)};
    if (!f->not_socket) {
        ssize_t n = sendmsg(f->fd, &m, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n >= 0 || errno != ENOTSOCK)
            return n;
        f->not_socket = true;
    }
    return writev(f->fd, v, (int)m.msg_iovlen);
}

static void flush(struct fd_stream *f)
{
    f->blocked = false;
    while (f->fd >= 0 && f->out.n) {
        ssize_t n = write_some(f);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
            f->blocked = true;
            break;
        }
        if (n < 0) {
            fail(f, errno, "write");
            return;
        }
        outq_drop(&f->out, (size_t)n);
    }
    if (!f->out.n)
        sent_all(f);
    update(f);
    if (f->fd >= 0)
        stream_in_drain(&f->s);
}

static void on_flush(struct defer *d)
{
    flush(container_of(d, struct fd_stream, flush));
}

static void schedule(struct fd_stream *f)
{
    if (f->fd >= 0 && !f->blocked)
        loop_defer(f->s.loop, &f->flush, on_flush);
}

static void read_some(struct fd_stream *f)
{
    ssize_t n = read(f->fd, read_buffer, READ_SIZE);
    if (n > 0) {
        if (!f->closing)
            stream_in(&f->s, read_buffer, (size_t)n);
        return;
    }
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n < 0) {
        fail(f, errno, "read");
        return;
    }
    stream_in_eof(&f->s);
    maybe_over(f);
    update(f);
}

static void on_ready(struct watch *w, uint32_t events)
{
    struct fd_stream *f = container_of(w, struct fd_stream, w);
    if (events & EPOLLOUT && f->blocked)
        flush(f);
    if (f->fd < 0)
        return;
    bool reading = !f->s.eof && (stream_wants(&f->s) || f->closing);
    if (reading && events & (EPOLLIN | EPOLLHUP | EPOLLERR)) {
        read_some(f);
    } else if (events & EPOLLERR) {
        int errnum = 0;
        socklen_t len = sizeof errnum;
        (void)getsockopt(f->fd, SOL_SOCKET, SO_ERROR, &errnum, &len);
        fail(f, errnum ? errnum : EPIPE, "connection");
    }
}

static void on_limit(struct timer *t)
{
    finish(container_of(t, struct fd_stream, limit), NULL);
}

static void fd_write(struct stream *s, struct bytes *b, size_t from, size_t n)
{
    struct fd_stream *f = fd_of(s);
    if (f->shut_wanted || f->closing)
        return;
    outq_bytes(&f->out, b, from, n);
    schedule(f);
}

static void fd_copy(struct stream *s, const void *p, size_t n)
{
    struct fd_stream *f = fd_of(s);
    if (f->shut_wanted || f->closing)
        return;
    outq_copy(&f->out, p, n);
    schedule(f);
}

static void fd_shutdown(struct stream *s)
{
    struct fd_stream *f = fd_of(s);
    f->shut_wanted = true;
    schedule(f);
}

static void fd_pause(struct stream *s, bool paused)
{
    update(fd_of(s));
}

static void fd_close(struct stream *s, bool abort)
{
    struct fd_stream *f = fd_of(s);
    if (abort) {
        finish(f, NULL);
        return;
    }
    f->closing = true;
    timer_in(s->loop, &f->limit, CLOSE_NS, on_limit);
    if (f->shut)
        maybe_over(f);
    schedule(f);
    update(f);
}

static size_t fd_queued(const struct stream *s)
{
    return container_of(s, const struct fd_stream, s)->out.n;
}
static int fd_fd(const struct stream *s)
{
    return container_of(s, const struct fd_stream, s)->fd;
}

static void fd_free(struct stream *s)
{
    struct fd_stream *f = fd_of(s);
    stream_fini(s);
    free(f);
}

static const struct stream_impl fd_impl = {
    .write = fd_write,
    .copy = fd_copy,
    .shutdown = fd_shutdown,
    .pause = fd_pause,
    .close = fd_close,
    .queued = fd_queued,
    .free = fd_free,
    .fd = fd_fd,
};

static void socket_options(int fd)
{
    int one = 1, idle = 60, every = 15, times = 4, unsent = 128 << 10; /* what waits, waits where it can still be overtaken */
    if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one) < 0)
        return; /* not TCP */
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &unsent, sizeof unsent);
    (void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof one);
    (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof idle);
    (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &every, sizeof every);
    (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &times, sizeof times);
}

struct stream *stream_fd_new(struct loop *l, int fd, struct err **e)
{
    if (fd_nonblock(fd) < 0) {
        err_errno(e, errno, "make descriptor %d non-blocking", fd);
        return NULL;
    }
    socket_options(fd);
    struct fd_stream *f = xcalloc(1, sizeof *f);
    stream_init(&f->s, l, &fd_impl);
    f->fd = fd;
    return &f->s;
}
