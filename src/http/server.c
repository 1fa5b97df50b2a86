#include "http/server.h"
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define ACCEPTS 64                       /* connections taken in one turn of a listener */
#define NO_FILES_PAUSE (100 * NS_PER_MS) /* after EMFILE and the like */

struct listener {
    struct list node;
    struct http_server *server;
    struct watch watch;
    struct timer rest;
    struct tls_ctx *tls;
    int fd;
};

static size_t or_default(size_t v, size_t d)
{
    return v ? v : d;
}

struct http_server *http_server_new(struct loop *l, const struct http_limits *limits, http_handler *fn, void *arg)
{
    struct http_server *s = xcalloc(1, sizeof *s);
    s->loop = l;
    s->fn = fn;
    s->arg = arg;
    if (limits)
        s->lim = *limits;
    struct http_limits *m = &s->lim;
    m->head = or_default(m->head, 64u << 10);
    m->headers = or_default(m->headers, 100);
    m->body = or_default(m->body, (3u << 20) + (64u << 10));
    m->connections = or_default(m->connections, 10000);
    m->streams = or_default(m->streams, 250);
    m->head_ms = m->head_ms ? m->head_ms : 15000;
    m->body_ms = m->body_ms ? m->body_ms : 60000;
    m->idle_ms = m->idle_ms ? m->idle_ms : 300000;
    list_init(&s->conns);
    list_init(&s->listeners);
    return s;
}

static void listener_free(struct listener *k)
{
    watch_del(&k->watch);
    timer_del(&k->rest);
    list_remove(&k->node);
    close(k->fd);
    free(k);
}

static void stop_listening(struct http_server *s)
{
    for (struct listener *k; (k = list_first(&s->listeners, struct listener, node));)
        listener_free(k);
}

static void cut_all(struct http_server *s)
{
    for (struct sconn *c; (c = list_first(&s->conns, struct sconn, node));)
        c->ops->cut(c);
}

void http_server_free(struct http_server *s)
{
    if (!s)
        return;
    stop_listening(s);
    cut_all(s);
    timer_del(&s->drain_timer);
    defer_del(s->loop, &s->drain_check);
    buf_clear(&s->scratch);
    free(s);
}

/* ---- drain ---- */
static void on_drain_check(struct defer *d)
{
    struct http_server *s = container_of(d, struct http_server, drain_check);
    if (s->nconns || !s->drained)
        return;
    void (*done)(void *) = s->drained;
    s->drained = NULL;
    timer_del(&s->drain_timer);
    done(s->drained_arg);
}

static void on_drain_timer(struct timer *t)
{
    cut_all(container_of(t, struct http_server, drain_timer));
}

void http_server_drain(struct http_server *s, int ms, void (*done)(void *arg), void *arg)
{
    s->draining = true;
    s->drained = done;
    s->drained_arg = arg;
    stop_listening(s);
    timer_in(s->loop, &s->drain_timer, ms * NS_PER_MS, on_drain_timer);
    struct sconn *c;
    list_for (&s->conns, c, node)
        c->ops->drain(c);
    loop_defer(s->loop, &s->drain_check, on_drain_check);
}

/* ---- connections ---- */
static void on_deadline(struct timer *t)
{
    struct sconn *c = container_of(t, struct sconn, timer);
    if (!c->deadline)
        return;
    if (c->deadline > loop_now(c->server->loop))
        timer_set(c->server->loop, t, c->deadline, on_deadline);
    else
        c->ops->expired(c);
}

void sconn_deadline(struct sconn *c, int64_t ns)
{
    c->deadline = ns ? loop_now(c->server->loop) + ns : 0;
    if (ns && (!c->timer.loop || c->timer.due > c->deadline))
        timer_set(c->server->loop, &c->timer, c->deadline, on_deadline);
}

void sconn_init(
    struct sconn *c, const struct sconn_ops *ops, struct http_server *s, struct stream *stream, void (*on_close)(void *arg), void *arg)
{
    *c = (struct sconn){.ops = ops, .server = s, .stream = stream, .on_close = on_close, .arg = arg};
    list_push(&s->conns, &c->node);
    s->nconns++;
}

void sconn_end(struct sconn *c)
{
    struct http_server *s = c->server;
    timer_del(&c->timer);
    list_remove(&c->node);
    s->nconns--;
    if (s->drained)
        loop_defer(s->loop, &s->drain_check, on_drain_check);
    if (c->on_close)
        c->on_close(c->arg);
}

void http_serve(struct http_server *s, struct stream *stream, void (*on_close)(void *arg), void *arg)
{
    h1_serve(s, stream, on_close, arg);
}

static void take(struct listener *k, int fd)
{
    struct http_server *s = k->server;
    struct stream *st = NULL;
    if (s->nconns < s->lim.connections)
        st = k->tls ? stream_tls_server(s->loop, fd, k->tls, NULL) : stream_fd_new(s->loop, fd, NULL);
    if (st)
        h1_serve(s, st, NULL, NULL);
    else
        close(fd);
}

static void on_accept(struct watch *w, uint32_t events);

static void on_rested(struct timer *t)
{
    struct listener *k = container_of(t, struct listener, rest);
    if (watch_add(k->server->loop, &k->watch, k->fd, EPOLLIN, on_accept, NULL) < 0)
        timer_in(k->server->loop, t, NO_FILES_PAUSE, on_rested);
}

static void on_accept(struct watch *w, uint32_t events)
{
    struct listener *k = container_of(w, struct listener, watch);
    for (int i = 0; i < ACCEPTS; i++) {
        int fd = accept4(k->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            take(k, fd);
        } else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
            watch_del(w); /* the peer waits in the backlog; a busy loop would help nobody */
            timer_in(k->server->loop, &k->rest, NO_FILES_PAUSE, on_rested);
            return;
        } else if (errno != ECONNABORTED && errno != EINTR) {
            return;
        }
    }
}

int http_listen(struct http_server *s, int fd, struct tls_ctx *tls, struct err **e)
{
    struct listener *k = xcalloc(1, sizeof *k);
    k->server = s;
    k->fd = fd;
    k->tls = tls;
    list_push(&s->listeners, &k->node);
    int r = watch_add(s->loop, &k->watch, fd, EPOLLIN, on_accept, e);
    if (r < 0) {
        list_remove(&k->node);
        free(k);
    }
    return r;
}

struct str server_date(struct http_server *s)
{
    int64_t now = loop_now(s->loop) / NS_PER_S;
    if (!s->date[0] || now != s->date_at) {
        time_t t = time(NULL);
        struct tm tm;
        gmtime_r(&t, &tm);
        strftime(s->date, sizeof s->date, "%a, %d %b %Y %H:%M:%S GMT", &tm);
        s->date_at = now;
    }
    return str_of(s->date);
}
