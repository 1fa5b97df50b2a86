/* TLS under everything, and the way through a CONNECT proxy. */
#include "harness.h"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>
#include "crypto/cert.h"
#include "crypto/tls.h"
#include "http/h1_parse.h"
#include "rig.h"

struct pki {
    struct clock *clock;
    struct ca *ca, *other;
    struct certs cas, others;
    struct tls_ctx *server;
    struct buf client_cert, client_key;
};

static void issue(struct pki *p, struct str cn, unsigned usage, struct buf *cert, struct buf *key)
{
    struct err *e = NULL;
    struct key *k = key_make(KEY_P256, &e);
    struct str dns[] = {STR("localhost")}, ips[] = {STR("127.0.0.1")};
    struct cert_spec spec = {.cn = cn, .dns = dns, .ndns = 1, .ips = ips, .nips = 1, .usages = usage, .now = clock_now(p->clock)};
    FINE(ca_issue(p->ca, k, &spec, cert, &e), e);
    key_pem(k, key);
    key_free(k);
}

static void pki_open(struct pki *p, bool client_certs)
{
    static const char *const alpn[] = {"h2", "http/1.1", NULL};
    struct err *e = NULL;
    *p = (struct pki){.clock = clock_fake(INT64_C(1790000000) * NS_PER_S)};
    FINE(ca_make(STR("ca"), clock_now(p->clock), &p->ca, &e), e);
    FINE(ca_make(STR("other"), clock_now(p->clock), &p->other, &e), e);
    certs_add(&p->cas, cert_ref(ca_cert(p->ca)));
    certs_add(&p->others, cert_ref(ca_cert(p->other)));
    _cleanup_(buf_clear) struct buf cert = BUF_INIT, key = BUF_INIT;
    issue(p, STR("server"), CERT_SERVER, &cert, &key);
    issue(p, STR("someone"), CERT_CLIENT, &p->client_cert, &p->client_key);
    struct tls_config c = {.server = true,
        .clock = p->clock,
        .cert_pem = buf_str(&cert),
        .key_pem = buf_str(&key),
        .client_certs = client_certs,
        .alpn = alpn};
    p->server = tls_ctx_new(&c, &e);
    if (!p->server)
        test_fail(__FILE__, __LINE__, "%s", err_msg(e));
}

static void pki_close(struct pki *p)
{
    tls_ctx_free(p->server);
    certs_clear(&p->cas);
    certs_clear(&p->others);
    ca_free(p->ca);
    ca_free(p->other);
    buf_clear(&p->client_cert);
    buf_clear(&p->client_key);
    clock_free(p->clock);
}

static uint16_t port_of(int fd)
{
    struct sockaddr_in a;
    socklen_t n = sizeof a;
    EQ(getsockname(fd, (struct sockaddr *)&a, &n), 0);
    return ntohs(a.sin_port);
}

static uint16_t listen_tls(struct rig *r, struct pki *p)
{
    struct err *e = NULL;
    int fd = http_bind("127.0.0.1:0", 64, &e);
    OK(fd >= 0);
    uint16_t port = port_of(fd);
    FINE(http_listen(r->server, fd, p->server, &e), e);
    return port;
}

struct got {
    struct buf body;
    int status, version;
    bool done;
    char *error;
};
static void g_head(void *arg, const struct http_response *r)
{
    ((struct got *)arg)->status = r->status;
}
static void g_data(void *arg, const char *p, size_t n)
{
    buf_add(&((struct got *)arg)->body, p, n);
}
static void g_end(void *arg, const struct err *e)
{
    struct got *g = arg;
    g->done = true;
    if (e)
        g->error = xstrdup(err_msg(e));
}
static const struct http_call_events g_events = {g_head, g_data, NULL, g_end};

static void got_clear(struct got *g)
{
    buf_clear(&g->body);
    free(g->error);
    *g = (struct got){0};
}

/* Says who the peer is: version, number of certificates, exporter. */
static uint8_t server_exporter[32];
static void who(struct http_req *rq, void *arg)
{
    if (str_eq(rq->path, STR("/big"))) {
        rig_handler(rq, arg);
        return;
    }
    struct str certs[4];
    struct buf b = BUF_INIT;
    OK(stream_exporter(rq->conn, "EXPORTER-test", server_exporter, 32));
    buf_printf(
        &b, "HTTP/%d, %zu certificates, peer %.*s", rq->version, stream_peer_certs(rq->conn, certs, 4), STR_ARG(stream_peer(rq->conn)));
    http_reply_str(rq, 200, "text/plain", buf_str(&b));
    buf_clear(&b);
}

static void ask(struct rig *r, const struct endpoint *ep, const char *path, struct got *g)
{
    struct http_client *c = http_client_new(r->loop, ep, NULL);
    struct http_request q = {.path = str_of(path)};
    http_call(c, &q, &g_events, g);
    OK(rig_run(r->loop, &g->done, 5000));
    http_client_free(c);
}

static struct tls_ctx *client_ctx(struct pki *p, const struct certs *cas, const char *const *alpn, bool cert)
{
    struct err *e = NULL;
    struct tls_config c = {.clock = p->clock, .cas = cas, .alpn = alpn};
    if (cert) {
        c.cert_pem = buf_str(&p->client_cert);
        c.key_pem = buf_str(&p->client_key);
    }
    struct tls_ctx *t = tls_ctx_new(&c, &e);
    if (!t)
        test_fail(__FILE__, __LINE__, "%s", err_msg(e));
    return t;
}

TEST(tls_carries_both_versions_by_alpn)
{
    static const char *const h2[] = {"h2", "http/1.1", NULL}, *const h1[] = {"http/1.1", NULL};
    struct rig r;
    struct pki p;
    struct got g = {0};
    pki_open(&p, true);
    rig_open(&r, NULL, who);
    struct endpoint ep = {.host = "127.0.0.1", .port = listen_tls(&r, &p)};
    struct tls_ctx *two = client_ctx(&p, &p.cas, h2, true), *one = client_ctx(&p, &p.cas, h1, false),
                   *none = client_ctx(&p, &p.cas, NULL, false);
    ep.tls = two;
    ask(&r, &ep, "/", &g);
    EQ_Z(g.error ? g.error : "", "");
    HAS(buf_str(&g.body), "HTTP/2, 2 certificates, peer 127.0.0.1:" /* the client adds the CA */);
    got_clear(&g);
    ep.tls = one;
    ask(&r, &ep, "/", &g);
    HAS(buf_str(&g.body), "HTTP/1, 0 certificates");
    got_clear(&g);
    ep.tls = none;
    ask(&r, &ep, "/big", &g);
    OK(!g.error && g.body.n > 1u << 20);
    got_clear(&g);
    tls_ctx_free(two);
    tls_ctx_free(one);
    tls_ctx_free(none);
    rig_close(&r);
    pki_close(&p);
}

TEST(tls_refuses_a_wrong_authority_and_a_wrong_name)
{
    struct rig r;
    struct pki p;
    struct got g = {0};
    pki_open(&p, false);
    rig_open(&r, NULL, who);
    struct endpoint ep = {.host = "127.0.0.1", .port = listen_tls(&r, &p)};
    struct tls_ctx *bad = client_ctx(&p, &p.others, NULL, false), *good = client_ctx(&p, &p.cas, NULL, false);
    ep.tls = bad;
    ask(&r, &ep, "/", &g);
    OK(g.error);
    HAS(str_of(g.error), "dial 127.0.0.1:");
    HAS(str_of(g.error), "certificate");
    got_clear(&g);
    ep.tls = good;
    ep.sni = "elsewhere.example";
    ask(&r, &ep, "/", &g);
    OK(g.error);
    got_clear(&g);
    ep.sni = "localhost";
    ask(&r, &ep, "/", &g);
    EQ(g.status, 200);
    got_clear(&g);
    tls_ctx_free(bad);
    tls_ctx_free(good);
    rig_close(&r);
    pki_close(&p);
}

static void dialed(void *arg, struct stream *s, const struct err *e)
{
    if (!s)
        test_fail(__FILE__, __LINE__, "%s", err_msg(e));
    *(struct stream **)arg = s;
}
static void c_data(void *arg, const char *p, size_t n)
{
    buf_add(arg, p, n);
}
static void c_close(void *arg, const struct err *why) {}
static const struct stream_events c_events = {.on_data = c_data, .on_close = c_close};

TEST(tls_both_ends_export_the_same_secret)
{
    struct rig r;
    struct pki p;
    struct stream *s = NULL;
    struct buf got = BUF_INIT;
    uint8_t mine[32];
    pki_open(&p, false);
    rig_open(&r, NULL, who);
    struct tls_ctx *t = client_ctx(&p, &p.cas, NULL, false);
    struct endpoint ep = {.host = "127.0.0.1", .port = listen_tls(&r, &p), .tls = t};
    stream_dial(r.loop, &ep, dialed, &s);
    for (int i = 0; i < 1000 && !s; i++)
        loop_step(r.loop, 5);
    OK(s);
    stream_use(s, &c_events, &got);
    struct str q = STR("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    stream_write(s, q.p, q.n);
    for (int i = 0; i < 1000 && !got.n; i++)
        loop_step(r.loop, 5);
    OK(stream_exporter(s, "EXPORTER-test", mine, 32));
    OK(memcmp(mine, server_exporter, 32) == 0);
    struct str certs[4];
    EQ(stream_peer_certs(s, certs, 4), 1);
    OK(certs[0].n > 100 && (uint8_t)certs[0].p[0] == 0x30);
    stream_close(s);
    buf_clear(&got);
    tls_ctx_free(t);
    rig_close(&r);
    pki_close(&p);
}

TEST(tls_survives_what_is_no_handshake)
{
    struct rig r;
    struct pki p;
    pki_open(&p, false);
    rig_open(&r, NULL, who);
    uint16_t port = listen_tls(&r, &p);
    for (int i = 0; i < 3; i++) {
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr = {htonl(INADDR_LOOPBACK)}};
        (void)connect(fd, (struct sockaddr *)&a, sizeof a);
        rig_step(&r);
        static const char *const junk[] = {"GET / HTTP/1.1\r\n\r\n", "\x16\x03\x01\xff\xff", ""};
        (void)send(fd, junk[i], strlen(junk[i]), MSG_NOSIGNAL);
        rig_step(&r);
        close(fd);
        rig_step(&r);
    }
    rig_close(&r);
    pki_close(&p);
}

/* ---- a CONNECT proxy, made of this room's own parts ---- */
struct proxy {
    struct loop *loop;
    struct watch w;
    int fd, connects;
    const char *answer;
    struct stream *in;
    struct buf head;
    uint16_t to;
};

static void p_dialed(void *arg, struct stream *s, const struct err *e)
{
    struct proxy *x = arg;
    OK(s);
    stream_write(x->in, x->answer, strlen(x->answer));
    stream_splice(TAKE(x->in), s, NULL, NULL);
}

static void p_data(void *arg, const char *p, size_t n)
{
    struct proxy *x = arg;
    buf_add(&x->head, p, n);
    if (!h1_head_end(buf_str(&x->head), 0))
        return;
    x->connects++;
    stream_use(x->in, NULL, NULL);
    if (strstr(x->answer, "403")) {
        stream_write(x->in, x->answer, strlen(x->answer));
        stream_close(TAKE(x->in));
        return;
    }
    struct endpoint ep = {.host = "127.0.0.1", .port = x->to};
    stream_dial(x->loop, &ep, p_dialed, x);
}
static void p_close(void *arg, const struct err *why)
{
    ((struct proxy *)arg)->in = NULL;
}
static const struct stream_events p_events = {.on_data = p_data, .on_close = p_close};

static void p_accept(struct watch *w, uint32_t events)
{
    struct proxy *x = container_of(w, struct proxy, w);
    int fd = accept4(w->fd, NULL, NULL, SOCK_CLOEXEC);
    if (fd < 0)
        return;
    x->in = stream_fd_new(x->loop, fd, NULL);
    buf_reset(&x->head);
    stream_use(x->in, &p_events, x);
}

TEST(tls_goes_through_a_connect_proxy)
{
    struct rig r;
    struct pki p;
    struct got g = {0};
    struct err *e = NULL;
    char at[40];
    pki_open(&p, false);
    rig_open(&r, NULL, who);
    struct proxy x = {.loop = r.loop, .answer = "HTTP/1.1 200 Connection established\r\n\r\n", .to = listen_tls(&r, &p)};
    x.fd = http_bind("127.0.0.1:0", 8, &e);
    OK(x.fd >= 0);
    FINE(watch_add(r.loop, &x.w, x.fd, EPOLLIN, p_accept, &e), e);
    snprintf(at, sizeof at, "127.0.0.1:%u", port_of(x.fd));
    struct tls_ctx *t = client_ctx(&p, &p.cas, NULL, false);
    struct endpoint ep = {.host = "localhost", .port = x.to, .tls = t, .proxy = at};
    ask(&r, &ep, "/big", &g);
    EQ_Z(g.error ? g.error : "", "");
    OK(g.body.n > 1u << 20);
    EQ(x.connects, 1);
    HAS(buf_str(&x.head), "CONNECT localhost:");
    got_clear(&g);
    rig_step(&r);
    x.answer = "HTTP/1.1 403 Forbidden\r\n\r\n";
    ask(&r, &ep, "/", &g);
    HAS(str_of(g.error), "answered 403");
    got_clear(&g);
    rig_step(&r);
    watch_del(&x.w);
    close(x.fd);
    stream_abort(x.in);
    buf_clear(&x.head);
    tls_ctx_free(t);
    rig_close(&r);
    pki_close(&p);
}
