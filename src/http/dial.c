/* Dialling: name → address → socket → CONNECT proxy → TLS, under one time limit.
 *
 *     resolve ──▶ connect (each address in turn) ──▶ [proxy] ──▶ [tls] ──▶ done
 *
 * getaddrinfo blocks, so it runs in a thread of its own that shares nothing with the loop but a small counted object and an eventfd. */
#include <errno.h>
#include <netdb.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include "base/buf.h"
#include "http/addr.h"
#include "http/h1_parse.h"
#include "http/tls_stream.h"

#define DEFAULT_MS 10000
#define TRY_NS (3 * NS_PER_S) /* per address, while there is another one */
#define PROXY_HEAD (16u << 10)

struct lookup {
    atomic_int refs;
    int fd; /* eventfd: the answer is there */
    char *host, port[8];
    int rc;
    struct addrinfo *list;
};

struct dial {
    struct loop *loop;
    struct endpoint ep; /* strings are ours */
    char *target;       /* for messages */
    struct lookup *lookup;
    struct watch lookup_watch, connect_watch;
    struct addrinfo *next;
    int fd;
    struct timer limit, one;
    struct stream *stream;
    struct buf head; /* the proxy's answer */
    struct err *last;
    struct defer fail;
    void (*done)(void *arg, struct stream *s, const struct err *e);
    void *arg;
};

static void lookup_unref(struct lookup *k)
{
    if (!k || atomic_fetch_sub(&k->refs, 1) != 1)
        return;
    if (k->list)
        freeaddrinfo(k->list);
    close(k->fd);
    free(k->host);
    free(k);
}

static void *lookup_thread(void *arg)
{
    struct lookup *k = arg;
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_ADDRCONFIG};
    k->rc = getaddrinfo(k->host, k->port, &hints, &k->list);
    uint64_t one = 1;
    (void)!write(k->fd, &one, sizeof one);
    lookup_unref(k);
    return NULL;
}

static void dial_free(struct dial *d)
{
    watch_del(&d->lookup_watch);
    watch_del(&d->connect_watch);
    timer_del(&d->limit);
    timer_del(&d->one);
    defer_del(d->loop, &d->fail);
    lookup_unref(d->lookup);
    if (d->fd >= 0)
        close(d->fd);
    stream_abort(d->stream);
    err_free(d->last);
    buf_clear(&d->head);
    free((char *)(uintptr_t)d->ep.unix_path);
    free((char *)(uintptr_t)d->ep.host);
    free((char *)(uintptr_t)d->ep.sni);
    free((char *)(uintptr_t)d->ep.proxy);
    free(d->target);
    free(d);
}

static void dial_fail(struct dial *d, struct err *e)
{
    err_wrap(&e, "dial %s", d->target);
    d->done(d->arg, NULL, e);
    err_free(e);
    dial_free(d);
}

static void dial_ok(struct dial *d)
{
    struct stream *s = TAKE(d->stream);
    void (*done)(void *, struct stream *, const struct err *) = d->done;
    void *arg = d->arg;
    dial_free(d);
    done(arg, s, NULL);
}

static void on_fail(struct defer *x)
{
    struct dial *d = container_of(x, struct dial, fail);
    dial_fail(d, TAKE(d->last));
}

static void fail_later(struct dial *d, struct err *e)
{
    err_free(d->last);
    d->last = e;
    loop_defer(d->loop, &d->fail, on_fail);
}

static void on_limit(struct timer *t)
{
    struct dial *d = container_of(t, struct dial, limit);
    struct err *e = NULL;
    err_set(&e, ERR_TIMEOUT, "no connection within %d ms", d->ep.timeout_ms);
    dial_fail(d, e);
}

/* ---- TLS ---- */
static void tls_ready(void *arg, const struct err *e)
{
    struct dial *d = arg;
    if (!e) {
        dial_ok(d);
        return;
    }
    struct err *copy = NULL;
    err_set(&copy, e->code, "%s", err_msg(e));
    d->stream = NULL; /* it is gone */
    dial_fail(d, copy);
}

static void start_tls(struct dial *d)
{
    if (!d->ep.tls) {
        dial_ok(d);
        return;
    }
    struct err *e = NULL;
    const char *sni = d->ep.sni ? d->ep.sni : d->ep.host;
    struct stream *below = TAKE(d->stream);
    d->stream = tls_stream_new(below, d->ep.tls, false, sni, tls_ready, d, &e);
    if (!d->stream)
        dial_fail(d, e);
}

/* ---- HTTP CONNECT proxy ---- */
static void proxy_data(void *arg, const char *p, size_t n)
{
    struct dial *d = arg;
    struct err *e = NULL;
    buf_add(&d->head, p, n);
    size_t end = h1_head_end(buf_str(&d->head), 0);
    if (!end && d->head.n < PROXY_HEAD)
        return;
    struct str status = str_sub(buf_str(&d->head), 9, 12);
    if (!end || end != d->head.n)
        err_set(&e, ERR_BAD_REQUEST, "proxy %s: its answer is no HTTP head", d->ep.proxy);
    else if (!str_starts(buf_str(&d->head), STR("HTTP/1.")) || status.n != 3 || status.p[0] != '2')
        err_set(&e, ERR_UNAVAILABLE, "proxy %s answered %.*s", d->ep.proxy, STR_ARG(status));
    if (e) {
        stream_abort(TAKE(d->stream));
        fail_later(d, e);
        return;
    }
    stream_use(d->stream, NULL, NULL);
    start_tls(d);
}

static void proxy_close(void *arg, const struct err *why)
{
    struct dial *d = arg;
    struct err *e = NULL;
    err_set(&e, ERR_IO, "proxy %s closed the connection", d->ep.proxy);
    d->stream = NULL;
    fail_later(d, e);
}

static const struct stream_events proxy_events = {.on_data = proxy_data, .on_close = proxy_close};

static void connected(struct dial *d)
{
    struct err *e = NULL;
    int fd = d->fd;
    d->fd = -1;
    d->stream = stream_fd_new(d->loop, fd, &e);
    if (!d->stream) {
        close(fd);
        fail_later(d, e);
    } else if (d->ep.proxy) {
        _cleanup_(buf_clear) struct buf b = BUF_INIT;
        bool v6 = strchr(d->ep.host, ':') != NULL;
        buf_printf(&b, "CONNECT %s%s%s:%u HTTP/1.1\r\nhost: %s%s%s:%u\r\n\r\n", v6 ? "[" : "", d->ep.host, v6 ? "]" : "", d->ep.port,
            v6 ? "[" : "", d->ep.host, v6 ? "]" : "", d->ep.port);
        stream_write(d->stream, b.p, b.n);
        stream_use(d->stream, &proxy_events, d);
    } else {
        start_tls(d);
    }
}

/* ---- connect ---- */
static void try_next(struct dial *d, int errnum);

static void on_connect(struct watch *w, uint32_t events)
{
    struct dial *d = container_of(w, struct dial, connect_watch);
    int errnum = 0;
    socklen_t len = sizeof errnum;
    if (getsockopt(d->fd, SOL_SOCKET, SO_ERROR, &errnum, &len) < 0)
        errnum = errno;
    watch_del(w);
    timer_del(&d->one);
    if (errnum)
        try_next(d, errnum);
    else
        connected(d);
}

static void on_one(struct timer *t)
{
    struct dial *d = container_of(t, struct dial, one);
    watch_del(&d->connect_watch);
    try_next(d, ETIMEDOUT);
}

/* 0: under way (an answer that is there at once is told in the next turn, so that done is never called from within stream_dial), or -errno.
 */
static int try_address(struct dial *d, const struct sockaddr *sa, socklen_t n)
{
    d->fd = socket(sa->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (d->fd < 0)
        return -errno;
    if (connect(d->fd, sa, n) < 0 && errno != EINPROGRESS)
        return -errno;
    return watch_add(d->loop, &d->connect_watch, d->fd, EPOLLOUT, on_connect, NULL) < 0 ? -ENOMEM : 0;
}

static void try_next(struct dial *d, int errnum)
{
    for (;;) {
        if (d->fd >= 0)
            close(d->fd);
        d->fd = -1;
        struct addrinfo *a = d->next;
        if (!a) {
            struct err *e = NULL;
            err_errno(&e, errnum, "connect");
            fail_later(d, e);
            return;
        }
        d->next = a->ai_next;
        int r = try_address(d, a->ai_addr, a->ai_addrlen);
        if (r == 0) {
            if (d->next)
                timer_in(d->loop, &d->one, TRY_NS, on_one);
            return;
        }
        errnum = -r;
    }
}

static void on_lookup(struct watch *w, uint32_t events)
{
    struct dial *d = container_of(w, struct dial, lookup_watch);
    struct lookup *k = d->lookup;
    uint64_t n;
    watch_del(w);
    (void)!read(k->fd, &n, sizeof n); /* and with that, what the thread wrote before it wrote this */
    if (k->rc != 0) {
        struct err *e = NULL;
        err_set(&e, ERR_IO, "resolve %s: %s", k->host, gai_strerror(k->rc));
        fail_later(d, e);
        return;
    }
    d->next = k->list;
    try_next(d, EHOSTUNREACH);
}

static int resolve(struct dial *d, const char *host, const char *port, struct err **e)
{
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICHOST};
    struct lookup *k = xcalloc(1, sizeof *k);
    d->lookup = k;
    k->refs = 1;
    k->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    k->host = xstrdup(host);
    snprintf(k->port, sizeof k->port, "%s", port);
    if (k->fd < 0)
        return err_errno(e, errno, "eventfd");
    if (getaddrinfo(host, port, &hints, &k->list) == 0) {
        d->next = k->list;
        try_next(d, EHOSTUNREACH);
        return 0;
    }
    int r = watch_add(d->loop, &d->lookup_watch, k->fd, EPOLLIN, on_lookup, e);
    if (r < 0)
        return r;
    pthread_t t;
    pthread_attr_t attr;
    pthread_attr_init(&attr);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&attr, 256u << 10);
    k->refs = 2;
    r = pthread_create(&t, &attr, lookup_thread, k);
    pthread_attr_destroy(&attr);
    if (r != 0) {
        k->refs = 1;
        return err_errno(e, r, "start a resolver thread");
    }
    return 0;
}

static int dial_unix(struct dial *d, struct err **e)
{
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    size_t n = strlen(d->ep.unix_path);
    if (n >= sizeof un.sun_path)
        return err_set(e, ERR_USAGE, "the path is longer than %zu bytes", sizeof un.sun_path - 1);
    memcpy(un.sun_path, d->ep.unix_path, n);
    int r = try_address(d, (struct sockaddr *)&un, sizeof un);
    if (r < 0)
        return err_errno(e, -r, "connect");
    return 0;
}

static int start(struct dial *d, struct err **e)
{
    if (d->ep.unix_path)
        return dial_unix(d, e);
    if (!d->ep.host || !d->ep.port)
        return err_set(e, ERR_USAGE, "the endpoint has no host or port");
    if (!d->ep.proxy) {
        char port[8];
        snprintf(port, sizeof port, "%u", d->ep.port);
        return resolve(d, d->ep.host, port, e);
    }
    struct str p = str_of(d->ep.proxy);
    ssize_t colon = str_rchr(p, ':');
    uint64_t port;
    if (colon <= 0 || !str_to_u64(str_sub(p, (size_t)colon + 1, p.n), &port) || port == 0 || port > 65535)
        return err_set(e, ERR_USAGE, "proxy %s: not host:port", d->ep.proxy);
    struct str host = str_sub(p, 0, (size_t)colon);
    if (host.n > 2 && host.p[0] == '[')
        host = str_sub(host, 1, host.n - 1);
    _cleanup_(freep) char *h = str_dup(host);
    return resolve(d, h, d->ep.proxy + colon + 1, e);
}

static char *dup_or_null(const char *s)
{
    return s ? xstrdup(s) : NULL;
}

struct dial *stream_dial(
    struct loop *l, const struct endpoint *ep, void (*done)(void *arg, struct stream *s, const struct err *e), void *arg)
{
    struct dial *d = xcalloc(1, sizeof *d);
    d->loop = l;
    d->fd = -1;
    d->ep = *ep;
    d->ep.unix_path = dup_or_null(ep->unix_path);
    d->ep.host = dup_or_null(ep->host);
    d->ep.sni = dup_or_null(ep->sni);
    d->ep.proxy = dup_or_null(ep->proxy);
    d->ep.timeout_ms = ep->timeout_ms > 0 ? ep->timeout_ms : DEFAULT_MS;
    d->target = ep->unix_path ? xasprintf("unix:%s", ep->unix_path) : xasprintf("%s:%u", ep->host ? ep->host : "?", ep->port);
    d->done = done;
    d->arg = arg;
    timer_in(l, &d->limit, d->ep.timeout_ms * NS_PER_MS, on_limit);
    struct err *e = NULL;
    if (start(d, &e) < 0)
        fail_later(d, e);
    return d;
}

void dial_cancel(struct dial *d)
{
    if (d)
        dial_free(d);
}
