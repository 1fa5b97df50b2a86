/* The proof and TLS: bound to the session where TLS is end to end, and told when a proxy ends it. */
#include "harness.h"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>
#include "crypto/tls.h"
#include "pair.h"

struct pki {
    struct ca *ca;
    struct certs cas;
    struct tls_ctx *server, *client;
};

static void pki_open(struct pki *k, struct clock *clock)
{
    static const char *const alpn[] = {"http/1.1", NULL};
    struct err *e = NULL;
    struct str ips[] = {STR("127.0.0.1")};
    _cleanup_(buf_clear) struct buf cert = BUF_INIT, pem = BUF_INIT;
    *k = (struct pki){0};
    FINE(ca_make(STR("ca"), clock_now(clock), &k->ca, &e), e);
    certs_add(&k->cas, cert_ref(ca_cert(k->ca)));
    struct key *key = key_make(KEY_P256, &e);
    struct cert_spec spec = {.cn = STR("upper"), .ips = ips, .nips = 1, .usages = CERT_SERVER, .now = clock_now(clock)};
    FINE(ca_issue(k->ca, key, &spec, &cert, &e), e);
    buf_str_add(&cert, ca_pem(k->ca)); /* the pinned one has to be shown */
    key_pem(key, &pem);
    key_free(key);
    struct tls_config s = {.server = true, .clock = clock, .cert_pem = buf_str(&cert), .key_pem = buf_str(&pem), .alpn = alpn};
    struct tls_config c = {.clock = clock, .pin = cert_info(ca_cert(k->ca))->key_id}; /* as a join token pins its CA */
    k->server = tls_ctx_new(&s, &e);
    k->client = tls_ctx_new(&c, &e);
    OK(k->server && k->client);
}

static void pki_close(struct pki *k)
{
    tls_ctx_free(k->server);
    tls_ctx_free(k->client);
    certs_clear(&k->cas);
    ca_free(k->ca);
}

static int tcp(uint16_t *port)
{
    struct err *e = NULL;
    struct sockaddr_in a;
    socklen_t n = sizeof a;
    int fd = http_bind("127.0.0.1:0", 8, &e);
    OK(fd >= 0);
    EQ(getsockname(fd, (struct sockaddr *)&a, &n), 0);
    *port = ntohs(a.sin_port);
    return fd;
}

TEST(an_uplink_over_tls_is_bound_to_its_session)
{
    struct pair p;
    struct pki k;
    struct err *e = NULL;
    uint16_t port;
    pair_open(&p);
    pki_open(&k, p.clock);
    FINE(http_listen(p.server, tcp(&port), k.server, &e), e);
    p.config.endpoint = (struct endpoint){.host = "127.0.0.1", .port = port, .tls = k.client};
    pair_start(&p);
    if (!pair_until(&p, pair_connected, 3000))
        test_fail(__FILE__, __LINE__, "%s", p.down_why ? p.down_why : "-");
    pair_close(&p);
    pki_close(&k);
}

/* ---- a proxy that ends TLS ---- */
struct ender {
    struct watch w;
    struct pair *p;
    struct pki *k;
    struct stream *in;
    struct dial *dial;
};

static void e_dialed(void *arg, struct stream *s, const struct err *e)
{
    struct ender *x = arg;
    x->dial = NULL;
    OK(s);
    stream_splice(TAKE(x->in), s, NULL, NULL);
}

static void e_accept(struct watch *w, uint32_t events)
{
    struct ender *x = container_of(w, struct ender, w);
    struct endpoint ep = {.unix_path = x->p->upper_path};
    int fd = accept4(w->fd, NULL, NULL, SOCK_CLOEXEC);
    if (fd < 0 || x->in)
        return;
    x->in = stream_tls_server(x->p->loop, fd, x->k->server, NULL);
    x->dial = stream_dial(x->p->loop, &ep, e_dialed, x);
}

TEST(a_proxy_that_ends_tls_has_to_be_announced)
{
    struct pair p;
    struct pki k;
    struct err *e = NULL;
    uint16_t port;
    pair_open(&p);
    pki_open(&k, p.clock);
    struct ender x = {.p = &p, .k = &k};
    int fd = tcp(&port);
    FINE(watch_add(p.loop, &x.w, fd, EPOLLIN, e_accept, &e), e);
    p.config.endpoint = (struct endpoint){.host = "127.0.0.1", .port = port, .tls = k.client};
    pair_start(&p);
    OK(pair_until(&p, pair_down, 3000));
    OK(strstr(p.down_why, "a proxy?"));
    EQ(p.hellos, 0);
    p.config.through_proxy = true;
    pair_start(&p);
    if (!pair_until(&p, pair_connected, 3000))
        test_fail(__FILE__, __LINE__, "%s", p.down_why);
    uplink_free(TAKE(p.up));
    watch_del(&x.w);
    close(fd);
    dial_cancel(x.dial);
    stream_abort(x.in);
    pair_step(&p, 10);
    pair_close(&p);
    pki_close(&k);
}
