/* Questions to upstream servers. */
#include <errno.h>
#include <sys/socket.h>
#include <arpa/inet.h>
#include <unistd.h>
#include "base/file.h"
#include "dns/impl.h"

#define MAX_PENDING 1000
#define MAX_UPSTREAMS 8
#define TRIES 4
#define TRY_NS (1500 * NS_PER_MS)
#define DOWN_NS NS_PER_S

struct upstream {
    struct sockaddr_storage addr;
    socklen_t n;
};
struct forward {
    struct dns *d;
    struct upstream up[MAX_UPSTREAMS];
    size_t nup, first; /* first: the one that answered last */
    struct list pending;
    size_t npending;
    bool down; /* nobody answered the last question */
    int64_t next_trial;
};
struct pending {
    struct list node;
    struct forward *f;
    struct watch watch;
    struct timer timer;
    int fd, tries;
    bool tcp;
    uint16_t id;
    uint8_t query[2 + 12 + DNS_NAME + 1 + 4 + 11]; /* two bytes of length before it, for TCP */
    size_t nquery, sent;
    struct buf in;
    void (*done)(void *arg, struct str answer);
    void *arg;
};

struct forward *forward_new(struct dns *d)
{
    struct forward *f = xcalloc(1, sizeof *f);
    f->d = d;
    list_init(&f->pending);
    return f;
}

static void free_pending(struct pending *p)
{
    watch_del(&p->watch);
    timer_del(&p->timer);
    closep(&p->fd);
    list_remove(&p->node);
    p->f->npending--;
    buf_clear(&p->in);
    free(p);
}

void forward_cancel(struct pending *p)
{
    if (p)
        free_pending(p);
}

static bool upstream_parse(struct str s, struct upstream *u)
{
    struct sockaddr_in *a4 = (struct sockaddr_in *)&u->addr;
    struct sockaddr_in6 *a6 = (struct sockaddr_in6 *)&u->addr;
    struct str host = s, port = STR("53"), tail;
    uint64_t v;
    char z[INET6_ADDRSTRLEN];

    memset(u, 0, sizeof *u);
    if (s.n && s.p[0] == '[') {
        if (!str_cut(str_sub(s, 1, s.n), ']', &host, &tail))
            return false;
        if (tail.n)
            port = str_sub(tail, 1, tail.n);
    } else if (str_chr(s, ':') >= 0 && str_chr(s, ':') == str_rchr(s, ':')) {
        str_cut(s, ':', &host, &port);
    }
    if (host.n >= sizeof z || !str_to_u64(port, &v) || !v || v > 65535)
        return false;
    memcpy(z, host.p, host.n);
    z[host.n] = 0;
    if (inet_pton(AF_INET, z, &a4->sin_addr) == 1) {
        a4->sin_family = AF_INET;
        a4->sin_port = htons((uint16_t)v);
        u->n = sizeof *a4;
        return true;
    }
    if (inet_pton(AF_INET6, z, &a6->sin6_addr) != 1)
        return false;
    a6->sin6_family = AF_INET6;
    a6->sin6_port = htons((uint16_t)v);
    u->n = sizeof *a6;
    return true;
}

void forward_upstreams(struct forward *f, const struct str *servers, size_t n)
{
    f->nup = f->first = 0;
    f->down = false;
    for (size_t i = 0; i < n && f->nup < MAX_UPSTREAMS; i++)
        f->nup += upstream_parse(str_trim(servers[i]), &f->up[f->nup]);
}

static void finish(struct pending *p, struct str answer)
{
    void (*done)(void *, struct str) = p->done;
    void *arg = p->arg;
    struct buf keep = p->in;

    if (!answer.p) {
        p->f->down = true;
        p->f->next_trial = loop_now(p->f->d->o.loop) + DOWN_NS;
    }
    p->in = BUF_INIT; /* answer is a view of it */
    free_pending(p);
    done(arg, answer);
    buf_clear(&keep);
}

void forward_free(struct forward *f)
{
    struct pending *p;
    if (!f)
        return;
    while ((p = list_first(&f->pending, struct pending, node)))
        finish(p, STR_NULL);
    free(f);
}

static void try_next(struct pending *p);

/* Is this the answer to what we asked? */
static bool fits(const struct pending *p, struct str m)
{
    const uint8_t *a = (const uint8_t *)m.p, *q = p->query + 2;
    size_t at = 12;
    struct str query = {(const char *)q, p->nquery};

    if (m.n < 12 || get16(a) != p->id || !(get16(a + 2) & F_QR) || get16(a + 4) != 1)
        return false;
    if (!dns_skip_name(query, &at) || at + 4 > m.n)
        return false;
    at += 4;
    for (size_t i = 12; i < at; i++) {
        uint8_t x = a[i], y = q[i];
        x = x >= 'A' && x <= 'Z' ? (uint8_t)(x + 32) : x;
        if (x != y && !(i >= at - 4 && a[i] == q[i]))
            return false;
    }
    return true;
}

/* Leaves the OPT record (and what would follow it) out. */
static struct str without_opt(struct buf *b)
{
    uint8_t *p = (uint8_t *)b->p;
    size_t at = 12, before = (size_t)get16(p + 6) + get16(p + 8), more = get16(p + 10);
    struct dns_rr rr;

    if (!dns_skip_name(buf_str(b), &at))
        return STR_NULL;
    at += 4;
    for (size_t i = 0; i < before + more; i++) {
        if (!dns_rr_read(buf_str(b), &at, &rr))
            return STR_NULL;
        if (i >= before && rr.type == T_OPT) {
            put16(p + 10, (uint16_t)(i - before));
            b->n = rr.start;
            return buf_str(b);
        }
    }
    b->n = at;
    return buf_str(b);
}

static void start_tcp(struct pending *p);

static void take(struct pending *p, const char *m, size_t n)
{
    struct str answer = {m, n};
    int rcode;

    if (!fits(p, answer))
        return; /* somebody guesses: the true one may still come */
    if (!p->tcp && (get16((const uint8_t *)m + 2) & F_TC)) {
        start_tcp(p);
        return;
    }
    rcode = get16((const uint8_t *)m + 2) & 15;
    if ((rcode == RC_SERVFAIL || rcode == RC_REFUSED) && p->tries < (int)p->f->nup) {
        try_next(p); /* another server may know */
        return;
    }
    if (!p->tcp) {
        buf_reset(&p->in);
        buf_add(&p->in, m, n);
    } else {
        buf_drop(&p->in, 2);
        p->in.n = n;
    }
    p->f->down = false;
    answer = without_opt(&p->in);
    finish(p, answer.p ? answer : STR_NULL);
}

static void on_udp(struct watch *w, uint32_t events)
{
    struct pending *p = container_of(w, struct pending, watch);
    char in[4096];
    ssize_t n = recv(w->fd, in, sizeof in, 0);

    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n < 0)
        try_next(p); /* port unreachable */
    else
        take(p, in, (size_t)n);
}

static void on_tcp(struct watch *w, uint32_t events)
{
    struct pending *p = container_of(w, struct pending, watch);
    size_t total = p->nquery + 2;
    ssize_t n;

    if (p->sent < total) {
        n = send(w->fd, p->query + p->sent, total - p->sent, MSG_NOSIGNAL);
        if (n < 0 && errno != EAGAIN && errno != EINTR) {
            try_next(p);
            return;
        }
        if (n > 0 && (p->sent += (size_t)n) == total)
            watch_mod(w, EPOLLIN);
        return;
    }
    n = recv(w->fd, buf_reserve(&p->in, 16384), 16384, 0);
    if (n <= 0) {
        if (n == 0 || (errno != EAGAIN && errno != EINTR))
            try_next(p);
        return;
    }
    p->in.n += (size_t)n;
    if (p->in.n >= 2 && p->in.n - 2 >= get16((const uint8_t *)p->in.p)) {
        struct pending *mine = p;
        size_t len = get16((const uint8_t *)p->in.p);
        if (fits(p, (struct str){p->in.p + 2, len}))
            take(mine, p->in.p + 2, len);
        else
            try_next(mine);
    }
}

static bool open_socket(struct pending *p)
{
    struct upstream *u = &p->f->up[(p->f->first + (size_t)(p->tries - 1)) % p->f->nup];

    watch_del(&p->watch);
    closep(&p->fd);
    p->fd = socket(u->addr.ss_family, (p->tcp ? SOCK_STREAM : SOCK_DGRAM) | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (p->fd < 0 || (connect(p->fd, (struct sockaddr *)&u->addr, u->n) < 0 && errno != EINPROGRESS))
        return false;
    return watch_add(p->f->d->o.loop, &p->watch, p->fd, p->tcp ? EPOLLOUT : EPOLLIN, p->tcp ? on_tcp : on_udp, NULL) == 0;
}

static void on_time(struct timer *t)
{
    try_next(container_of(t, struct pending, timer));
}

static void start_tcp(struct pending *p)
{
    p->tcp = true;
    p->sent = 0;
    buf_reset(&p->in);
    if (open_socket(p))
        timer_in(p->f->d->o.loop, &p->timer, 2 * TRY_NS, on_time);
    else
        try_next(p);
}

static void try_next(struct pending *p)
{
    p->tcp = false;
    while (++p->tries <= TRIES) {
        random_bytes(&p->id, sizeof p->id);
        put16(p->query + 2, p->id);
        if (open_socket(p) && send(p->fd, p->query + 2, p->nquery, MSG_NOSIGNAL) == (ssize_t)p->nquery) {
            timer_in(p->f->d->o.loop, &p->timer, TRY_NS, on_time);
            return;
        }
    }
    p->f->first = (p->f->first + 1) % p->f->nup;
    finish(p, STR_NULL);
}

static void start(struct timer *t)
{
    try_next(container_of(t, struct pending, timer));
}

struct pending *forward_ask(struct forward *f, const uint8_t *name, size_t nname, uint16_t type, bool dnssec_ok, bool checking_disabled,
    void (*done)(void *arg, struct str answer), void *arg)
{
    int64_t now = loop_now(f->d->o.loop);
    struct pending *p;
    uint8_t *q;

    if (f->nup == 0 || f->npending >= MAX_PENDING || (f->down && now < f->next_trial)) {
        done(arg, STR_NULL);
        return NULL;
    }
    f->next_trial = now + DOWN_NS;
    p = xcalloc(1, sizeof *p);
    p->f = f;
    p->fd = -1;
    p->done = done;
    p->arg = arg;
    list_push(&f->pending, &p->node);
    f->npending++;
    q = p->query + 2;
    put16(q + 2, (uint16_t)(F_RD | (checking_disabled ? F_CD : 0)));
    put16(q + 4, 1);
    put16(q + 10, 1);
    memcpy(q + 12, name, nname);
    put16(q + 12 + nname, type);
    put16(q + 14 + nname, 1);
    memcpy(q + 16 + nname, (const uint8_t[11]){0, 0, T_OPT, DNS_UDP >> 8, DNS_UDP & 0xff, 0, 0, dnssec_ok ? 0x80 : 0}, 11);
    p->nquery = 16 + nname + 11;
    put16(p->query, (uint16_t)p->nquery);
    timer_set(f->d->o.loop, &p->timer, now, start); /* from the loop, so that done never comes before the caller has p */
    return p;
}
