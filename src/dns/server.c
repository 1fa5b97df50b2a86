/* The sockets: questions in, answers out. */
#include <arpa/inet.h>
#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/file.h"
#include "dns/impl.h"

#define UDP_BURST 64 /* datagrams taken in one turn */
#define TCP_MAX 200
#define TCP_IDLE_NS (10 * NS_PER_S)
#define TCP_OUT_MAX (256u << 10)
#define CACHE_BYTES (2u << 20)
#define ASKS_MAX 1000 /* waiting for upstream */

struct sock { /* a UDP or listening TCP socket */
    struct list node;
    struct watch watch;
    struct dns *d;
    int fd;
    struct list asks, conns;
};
struct conn {
    struct list node, asks;
    struct watch watch;
    struct timer idle;
    struct sock *sock;
    int fd;
    struct buf in, out;
};
struct ask { /* one question that waits for upstream */
    struct list node;
    struct dns *d;
    struct sock *sock; /* UDP */
    struct conn *conn; /* TCP */
    struct sockaddr_storage from;
    socklen_t nfrom;
    struct dns_query q;
    struct buf packet, key;
    uint8_t alias[DNS_NAME + 1];
    size_t nalias;
    struct pending *pending;
};

/* ---- one question ---- */

static void conn_send(struct conn *c, const uint8_t *p, size_t n);

static void ask_free(struct ask *a)
{
    forward_cancel(a->pending);
    list_remove(&a->node);
    buf_clear(&a->packet);
    buf_clear(&a->key);
    a->d->asks--;
    free(a);
}

static size_t cap_of(const struct dns_query *q, bool tcp)
{
    return tcp ? 65535 : MIN((size_t)q->udp_size, (size_t)DNS_UDP);
}

static void key_of(struct buf *b, const uint8_t *name, size_t n, const struct dns_query *q)
{
    buf_reset(b);
    buf_add(b, name, n);
    buf_putc(b, (char)(q->type >> 8));
    buf_putc(b, (char)q->type);
    buf_putc(b, (char)((q->dnssec_ok ? 1 : 0) | (q->flags & F_CD ? 2 : 0)));
}

static void deliver(struct ask *a, struct str answer)
{
    size_t cap = cap_of(&a->q, a->conn != NULL), n;
    _cleanup_(freep) char *out = xmalloc(cap + 16);
    uint8_t *o = (uint8_t *)out;

    n = answer.p || a->nalias ? reply_from_upstream(&a->q, buf_str(&a->packet), answer, a->nalias ? a->alias : NULL, a->nalias, o, cap)
                              : reply_error(buf_str(&a->packet), &a->q, RC_SERVFAIL, o, cap);
    if (a->conn)
        conn_send(a->conn, o, n);
    else
        (void)!sendto(a->sock->fd, o, n, MSG_NOSIGNAL, (struct sockaddr *)&a->from, a->nfrom);
}

static void upstream_said(void *arg, struct str answer)
{
    struct ask *a = arg;
    struct buf stale = BUF_INIT;
    int64_t now = clock_mono(a->d->o.clock);

    a->pending = NULL;
    if (answer.p) {
        cache_put(a->d->cache, buf_str(&a->key), answer, now);
    } else if (cache_get(a->d->cache, buf_str(&a->key), now, true, &stale)) {
        a->d->stats.stale++;
        answer = buf_str(&stale);
    } else {
        a->d->stats.failed++;
    }
    deliver(a, answer);
    buf_clear(&stale);
    ask_free(a);
}

/* Puts an answer into out (true), or says that upstream is to be asked (*forward) for *name. */
static bool local(
    struct dns *d, struct str packet, struct dns_query *q, bool tcp, struct buf *out, bool *forward, const uint8_t **name, size_t *nname)
{
    struct dns_msg m;
    uint16_t flags;
    int rcode = dns_query_parse(packet, q);
    size_t cap = cap_of(q, tcp);
    uint8_t *o = (uint8_t *)buf_reserve(out, cap + 16);

    *forward = false;
    *name = NULL;
    d->stats.queries++;
    if (rcode < 0) {
        d->stats.malformed++;
        return false;
    }
    if (rcode > 0) {
        d->stats.malformed++;
        if (q->question_end == 0 || rcode == RC_FORMERR)
            q->question_end = 0;
        out->n += reply_error(packet, q, rcode, o, cap);
        return true;
    }
    dns_msg_begin(&m, o, cap, packet, q);
    if (hosts_answer(d, q, &m, &flags)) {
        d->stats.local++;
        out->n += dns_msg_end(&m, q, flags, RC_OK);
        return true;
    }
    if (zone_answer(d, q, &m, &flags, &rcode, name, nname)) {
        if (!*name) {
            d->stats.local++;
            out->n += dns_msg_end(&m, q, flags, rcode);
            return true;
        }
    }
    *forward = true;
    return false;
}

bool dns_answer(struct dns *d, struct str packet, bool tcp, struct buf *out, bool *forward)
{
    struct dns_query q;
    const uint8_t *name;
    size_t nname;
    return local(d, packet, &q, tcp, out, forward, &name, &nname);
}

/* true: out holds the answer. false: none, or it comes later. */
static bool handle(
    struct dns *d, struct sock *s, struct conn *c, struct str packet, const struct sockaddr_storage *from, socklen_t nfrom, struct buf *out)
{
    struct dns_query q;
    struct buf hit = BUF_INIT, key = BUF_INIT;
    const uint8_t *alias;
    size_t nalias = 0;
    struct ask *a;
    struct pending *pending;
    bool forward;

    if (local(d, packet, &q, c != NULL, out, &forward, &alias, &nalias))
        return true;
    if (!forward)
        return false;
    key_of(&key, alias ? alias : q.name, alias ? nalias : q.nname, &q);
    if (cache_get(d->cache, buf_str(&key), clock_mono(d->o.clock), false, &hit)) {
        size_t cap = cap_of(&q, c != NULL);
        d->stats.cached++;
        out->n += reply_from_upstream(&q, packet, buf_str(&hit), alias, nalias, (uint8_t *)buf_reserve(out, cap + 16), cap);
        buf_clear(&hit);
        buf_clear(&key);
        return true;
    }
    if (d->asks >= ASKS_MAX) {
        d->stats.dropped++;
        buf_clear(&key);
        out->n += reply_error(packet, &q, RC_SERVFAIL, (uint8_t *)buf_reserve(out, 1024), 1000);
        return true;
    }
    a = xcalloc(1, sizeof *a);
    a->d = d;
    a->sock = s;
    a->conn = c;
    a->q = q; /* labels are views of the old name: not used any more */
    a->key = key;
    if (from)
        memcpy(&a->from, from, nfrom);
    a->nfrom = nfrom;
    buf_str_add(&a->packet, packet);
    if (alias) {
        memcpy(a->alias, alias, nalias);
        a->nalias = nalias;
    }
    list_push(c ? &c->asks : &s->asks, &a->node);
    d->asks++;
    d->stats.forwarded++;
    pending = forward_ask(stubs_find(d, alias ? alias : q.name, alias ? nalias : q.nname), alias ? a->alias : a->q.name,
        alias ? nalias : a->q.nname, q.type, q.dnssec_ok, q.flags & F_CD, upstream_said, a);
    if (pending) /* otherwise a was answered and is gone */
        a->pending = pending;
    return false;
}

/* ---- UDP ---- */

static void on_udp(struct watch *w, uint32_t events)
{
    struct sock *s = container_of(w, struct sock, watch);
    _cleanup_(buf_clear) struct buf out = BUF_INIT;
    char in[4096];

    for (int i = 0; i < UDP_BURST; i++) {
        struct sockaddr_storage from;
        socklen_t nfrom = sizeof from;
        ssize_t n = recvfrom(s->fd, in, sizeof in, MSG_DONTWAIT, (struct sockaddr *)&from, &nfrom);
        if (n < 0 && (errno == EINTR || errno == ECONNREFUSED))
            continue;
        if (n < 0)
            return;
        buf_reset(&out);
        if (handle(s->d, s, NULL, (struct str){in, (size_t)n}, &from, nfrom, &out))
            (void)!sendto(s->fd, out.p, out.n, MSG_NOSIGNAL | MSG_DONTWAIT, (struct sockaddr *)&from, nfrom);
    }
}

/* ---- TCP ---- */

static void conn_free(struct conn *c)
{
    struct ask *a;
    while ((a = list_first(&c->asks, struct ask, node)))
        ask_free(a);
    watch_del(&c->watch);
    timer_del(&c->idle);
    closep(&c->fd);
    list_remove(&c->node);
    c->sock->d->tcp_count--;
    buf_clear(&c->in);
    buf_clear(&c->out);
    free(c);
}

static void conn_idle(struct timer *t)
{
    conn_free(container_of(t, struct conn, idle));
}

static void conn_send(struct conn *c, const uint8_t *p, size_t n)
{
    uint8_t len[2];
    put16(len, (uint16_t)n);
    buf_add(&c->out, len, 2);
    buf_add(&c->out, p, n);
    if (c->watch.loop)
        watch_mod(&c->watch, EPOLLIN | EPOLLOUT);
}

static bool conn_flush(struct conn *c)
{
    while (c->out.n) {
        ssize_t n = send(c->fd, c->out.p, c->out.n, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0)
            return errno == EAGAIN || errno == EINTR;
        buf_drop(&c->out, (size_t)n);
    }
    watch_mod(&c->watch, EPOLLIN);
    return true;
}

static void conn_questions(struct conn *c)
{
    while (c->in.n >= 2) {
        size_t len = get16((const uint8_t *)c->in.p);
        _cleanup_(buf_clear) struct buf out = BUF_INIT;
        if (c->in.n - 2 < len)
            return;
        if (handle(c->sock->d, c->sock, c, (struct str){c->in.p + 2, len}, NULL, 0, &out))
            conn_send(c, (const uint8_t *)out.p, out.n);
        buf_drop(&c->in, 2 + len);
    }
}

static void on_conn(struct watch *w, uint32_t events)
{
    struct conn *c = container_of(w, struct conn, watch);
    ssize_t n = 1;

    if (events & (EPOLLIN | EPOLLHUP | EPOLLERR)) {
        n = recv(c->fd, buf_reserve(&c->in, 4096), 4096, MSG_DONTWAIT);
        if (n > 0) {
            c->in.n += (size_t)n;
            conn_questions(c);
            timer_in(c->sock->d->o.loop, &c->idle, TCP_IDLE_NS, conn_idle);
        }
    }
    if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR) || !conn_flush(c) || c->out.n > TCP_OUT_MAX)
        conn_free(c);
}

static void on_accept(struct watch *w, uint32_t events)
{
    struct sock *s = container_of(w, struct sock, watch);
    int fd = accept4(s->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    struct conn *c;

    if (fd < 0)
        return;
    if (s->d->tcp_count >= TCP_MAX) {
        close(fd);
        return;
    }
    c = xcalloc(1, sizeof *c);
    c->sock = s;
    c->fd = fd;
    list_init(&c->asks);
    list_push(&s->conns, &c->node);
    s->d->tcp_count++;
    if (watch_add(s->d->o.loop, &c->watch, fd, EPOLLIN, on_conn, NULL) < 0) {
        conn_free(c);
        return;
    }
    timer_in(s->d->o.loop, &c->idle, TCP_IDLE_NS, conn_idle);
}

/* ---- the whole ---- */

static int serve(struct dns *d, int fd, void (*fn)(struct watch *, uint32_t), struct err **e)
{
    struct sock *s = xcalloc(1, sizeof *s);

    s->d = d;
    s->fd = fd;
    list_init(&s->asks);
    list_init(&s->conns);
    list_push(&d->sockets, &s->node);
    return watch_add(d->o.loop, &s->watch, fd, EPOLLIN, fn, e);
}

int dns_serve_udp(struct dns *d, int fd, struct err **e)
{
    return serve(d, fd, on_udp, e);
}
int dns_serve_tcp(struct dns *d, int fd, struct err **e)
{
    return serve(d, fd, on_accept, e);
}

static void ranges(struct dns *d, const struct dns_options *o)
{
    d->ranges = xcalloc(o->nreverse + 1, sizeof *d->ranges);
    for (size_t i = 0; i < o->nreverse; i++) {
        struct str ip, len;
        uint64_t prefix;
        char z[INET_ADDRSTRLEN];
        struct in_addr a;
        if (!str_cut(o->reverse[i], '/', &ip, &len) || !str_to_u64(len, &prefix) || prefix > 32 || ip.n >= sizeof z)
            continue;
        memcpy(z, ip.p, ip.n);
        z[ip.n] = 0;
        if (inet_pton(AF_INET, z, &a) != 1)
            continue;
        d->ranges[d->nranges].prefix = (int)prefix;
        d->ranges[d->nranges++].base = ntohl(a.s_addr) & (prefix ? ~UINT32_C(0) << (32 - prefix) : 0);
    }
}

struct dns *dns_new(const struct dns_options *o, struct err **e)
{
    struct dns *d = xcalloc(1, sizeof *d);
    struct str domain = o->domain;

    if (domain.n && domain.p[domain.n - 1] == '.')
        domain.n--;
    d->o = *o;
    if (!dns_name_of(domain, d->domain, &d->ndomain) || d->ndomain > 128) {
        free(d);
        err_set(e, ERR_INVALID, "cluster domain \"%.*s\" is not a domain name", STR_ARG(o->domain));
        return NULL;
    }
    d->o.domain = str_of(str_dup(domain));
    for (size_t at = 0; d->domain[at]; at += 1u + d->domain[at])
        d->domain_labels++;
    ranges(d, o);
    list_init(&d->sockets);
    d->reverse_stale = true;
    d->rotate = (uint32_t)random_u64();
    d->cache = cache_new(CACHE_BYTES);
    d->forward = forward_new(d);
    return d;
}

void dns_free(struct dns *d)
{
    struct sock *s;

    if (!d)
        return;
    while ((s = list_first(&d->sockets, struct sock, node))) {
        struct conn *c;
        struct ask *a;
        while ((c = list_first(&s->conns, struct conn, node)))
            conn_free(c);
        while ((a = list_first(&s->asks, struct ask, node)))
            ask_free(a);
        watch_del(&s->watch);
        closep(&s->fd);
        list_remove(&s->node);
        free(s);
    }
    stubs_clear(d);
    dns_hosts(d, NULL, 0);
    forward_free(d->forward);
    cache_free(d->cache);
    dns_clear(d);
    free(d->ranges);
    free((char *)(uintptr_t)d->o.domain.p);
    free(d);
}

void dns_upstreams(struct dns *d, const struct str *servers, size_t n)
{
    forward_upstreams(d->forward, servers, n);
}
struct dns_stats dns_stats(const struct dns *d)
{
    return d->stats;
}
