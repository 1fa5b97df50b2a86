/* Forwarding over real sockets on loopback: an upstream of our own that answers, cuts, stays silent. */
#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>
#include "ask.h"

struct world {
    struct loop *l;
    struct clock *c;
    struct dns *d;
    int up_udp, up_tcp, client, up_conn;
    uint16_t port; /* of the server under test */
    struct watch w_udp, w_tcp, w_conn;
    int asked, asked_tcp;
    bool silent, truncate;
    struct sockaddr_in at;
};

static int bound(int type, struct sockaddr_in *a)
{
    socklen_t n = sizeof *a;
    int fd = socket(AF_INET, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    OK(bind(fd, (struct sockaddr *)a, sizeof *a) == 0);
    getsockname(fd, (struct sockaddr *)a, &n);
    if (type == SOCK_STREAM)
        OK(listen(fd, 8) == 0);
    return fd;
}

/* The question back with one A record 192.0.2.1, TTL 60; names that begin with "no" get NXDOMAIN with a SOA of 30 s. */
static size_t upstream_answer(uint8_t *m, size_t n, bool tc)
{
    static const uint8_t soa[] = {
        0xc0, 0x0c, 0, T_SOA, 0, 1, 0, 0, 0, 30, 0, 22, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 30};
    static const uint8_t a[] = {0xc0, 0x0c, 0, T_A, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 1};
    bool no = memcmp(m + 13, "no", 2) == 0;
    n -= 11; /* the OPT we sent */
    put16(m + 2, (uint16_t)(F_QR | F_RD | F_RA | (tc ? F_TC : 0) | (no ? RC_NXDOMAIN : 0)));
    put16(m + 6, no || tc ? 0 : 1);
    put16(m + 8, no && !tc ? 1 : 0);
    put16(m + 10, 1);
    if (!tc) {
        memcpy(m + n, no ? soa : a, no ? sizeof soa : sizeof a);
        n += no ? sizeof soa : sizeof a;
    }
    memcpy(m + n, (uint8_t[11]){0, 0, 41, 4, 0xd0}, 11);
    return n + 11;
}

static void up_udp(struct watch *w, uint32_t ev)
{
    struct world *x = container_of(w, struct world, w_udp);
    uint8_t m[2048];
    struct sockaddr_in from;
    socklen_t nf = sizeof from;
    ssize_t n = recvfrom(w->fd, m, 1024, 0, (struct sockaddr *)&from, &nf);
    x->asked++;
    if (n > 0 && !x->silent) {
        size_t k = upstream_answer(m, (size_t)n, x->truncate);
        (void)!sendto(w->fd, m, k, 0, (struct sockaddr *)&from, nf);
    }
}

static void up_conn(struct watch *w, uint32_t ev)
{
    struct world *x = container_of(w, struct world, w_conn);
    uint8_t m[2048];
    ssize_t n = recv(w->fd, m, 1024, 0);
    if (n > 2) {
        size_t k = upstream_answer(m + 2, (size_t)n - 2, false);
        put16(m, (uint16_t)k);
        (void)!write(w->fd, m, 1); /* in two pieces */
        (void)!write(w->fd, m + 1, k + 1);
        x->asked_tcp++;
    } else {
        watch_del(w);
    }
}

static void up_tcp(struct watch *w, uint32_t ev)
{
    struct world *x = container_of(w, struct world, w_tcp);
    x->up_conn = accept4(w->fd, NULL, NULL, SOCK_NONBLOCK);
    OK(watch_add(x->l, &x->w_conn, x->up_conn, EPOLLIN, up_conn, NULL) == 0);
}

static void world_new(struct world *x)
{
    struct err *e = NULL;
    struct sockaddr_in up = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)}, t;
    char text[32];
    struct str s;

    *x = (struct world){.up_conn = -1};
    x->l = loop_new(&e);
    x->c = clock_fake(NS_PER_S * 1000);
    x->d = dns_new(&(struct dns_options){.loop = x->l, .clock = x->c, .domain = STR("cluster.local")}, &e);
    x->up_udp = bound(SOCK_DGRAM, &up);
    x->up_tcp = bound(SOCK_STREAM, &up);
    OK(watch_add(x->l, &x->w_udp, x->up_udp, EPOLLIN, up_udp, &e) == 0);
    OK(watch_add(x->l, &x->w_tcp, x->up_tcp, EPOLLIN, up_tcp, &e) == 0);
    snprintf(text, sizeof text, "127.0.0.1:%u", ntohs(up.sin_port));
    s = str_of(text);
    dns_upstreams(x->d, &s, 1);
    x->at = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    FINE(dns_serve_udp(x->d, bound(SOCK_DGRAM, &x->at), &e), e);
    FINE(dns_serve_tcp(x->d, bound(SOCK_STREAM, &x->at), &e), e);
    t = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    x->client = bound(SOCK_DGRAM, &t);
}

static void world_free(struct world *x)
{
    dns_free(x->d);
    watch_del(&x->w_udp);
    watch_del(&x->w_tcp);
    watch_del(&x->w_conn);
    close(x->up_udp);
    close(x->up_tcp);
    close(x->client);
    if (x->up_conn >= 0)
        close(x->up_conn);
    clock_free(x->c);
    loop_free(x->l);
}

static const char *ask_udp(struct world *x, const char *name, int edns)
{
    static uint8_t in[4096];
    uint8_t p[600];
    size_t k = ask_packet(p, 77, name, T_A, edns);
    OK(sendto(x->client, p, k, 0, (struct sockaddr *)&x->at, sizeof x->at) == (ssize_t)k);
    for (int i = 0; i < 1000; i++) {
        loop_step(x->l, 10);
        ssize_t n = recv(x->client, in, sizeof in, MSG_DONTWAIT);
        if (n > 0) {
            EQ(get16(in), 77);
            return answer_text((struct str){(char *)in, (size_t)n});
        }
    }
    return "nothing";
}

TEST(foreign_names_are_forwarded_and_kept_as_long_as_they_live)
{
    struct world x;
    world_new(&x);
    EQ_Z(ask_udp(&x, "a.example", 0), "NOERROR A=192.0.2.1");
    EQ_Z(ask_udp(&x, "A.Example", 1232), "NOERROR A=192.0.2.1 | OPT");
    EQ(x.asked, 1);
    clock_fake_add(x.c, 61 * NS_PER_S);
    EQ_Z(ask_udp(&x, "a.example", 0), "NOERROR A=192.0.2.1");
    EQ(x.asked, 2);
    EQ_Z(ask_udp(&x, "no.example", 0), "NXDOMAIN | SOA");
    EQ_Z(ask_udp(&x, "no.example", 0), "NXDOMAIN | SOA");
    EQ(x.asked, 3);
    EQ(dns_stats(x.d).cached, 2);
    world_free(&x);
}

TEST(a_truncated_answer_is_asked_for_again_over_tcp)
{
    struct world x;
    world_new(&x);
    x.truncate = true;
    EQ_Z(ask_udp(&x, "long.example", 0), "NOERROR A=192.0.2.1");
    EQ(x.asked_tcp, 1);
    world_free(&x);
}

TEST(an_external_name_is_followed)
{
    struct world x;
    world_new(&x);
    dns_service_put(x.d, &(struct dns_service){.ns = STR("prod"), .name = STR("ext"), .external_name = STR("far.example")});
    EQ_Z(ask_udp(&x, "ext.prod.svc.cluster.local", 0), "NOERROR aa CNAME=far.example. A=192.0.2.1");
    EQ_Z(ask_udp(&x, "ext.prod.svc.cluster.local", 0), "NOERROR aa CNAME=far.example. A=192.0.2.1");
    EQ(x.asked, 1);
    world_free(&x);
}

TEST(without_upstream_old_answers_are_served_and_new_questions_fail_at_once)
{
    struct world x;
    world_new(&x);
    EQ_Z(ask_udp(&x, "a.example", 0), "NOERROR A=192.0.2.1");
    close(x.up_udp); /* port unreachable */
    watch_del(&x.w_udp);
    x.up_udp = dup(x.client);
    clock_fake_add(x.c, 3600 * NS_PER_S);
    EQ_Z(ask_udp(&x, "a.example", 0), "NOERROR A=192.0.2.1");
    EQ(dns_stats(x.d).stale, 1);
    EQ_Z(ask_udp(&x, "b.example", 0), "SERVFAIL");
    dns_upstreams(x.d, NULL, 0);
    EQ_Z(ask_udp(&x, "c.example", 0), "SERVFAIL");
    world_free(&x);
}

TEST(questions_over_tcp_are_answered_in_pieces_and_in_rows)
{
    struct world x;
    uint8_t p[1400], in[4096];
    size_t n = 0, got = 0;
    struct str ip = STR("10.43.0.5");
    world_new(&x);
    dns_service_put(x.d, &(struct dns_service){.ns = STR("default"), .name = STR("web"), .cluster_ips = &ip, .ncluster_ips = 1});
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    OK(connect(fd, (struct sockaddr *)&x.at, sizeof x.at) == 0);
    for (int i = 0; i < 2; i++) {
        size_t k = ask_packet(p + n + 2, 77, i ? "a.example" : "web.default.svc.cluster.local", T_A, 0);
        put16(p + n, (uint16_t)k);
        n += k + 2;
    }
    OK(write(fd, p, 5) == 5);
    loop_step(x.l, 10);
    loop_step(x.l, 10);
    OK(write(fd, p + 5, n - 5) == (ssize_t)(n - 5));
    for (int i = 0; i < 200 && !(got > 2 && got > 2u + get16(in) + 2); i++) {
        loop_step(x.l, 10);
        ssize_t r = recv(fd, in + got, sizeof in - got, MSG_DONTWAIT);
        got += r > 0 ? (size_t)r : 0;
    }
    size_t first = get16(in);
    EQ_Z(answer_text((struct str){(char *)in + 2, first}), "NOERROR aa A=10.43.0.5");
    for (int i = 0; i < 200 && got < 4 + first + get16(in + 2 + first); i++) {
        loop_step(x.l, 10);
        ssize_t r = recv(fd, in + got, sizeof in - got, MSG_DONTWAIT);
        got += r > 0 ? (size_t)r : 0;
    }
    EQ_Z(answer_text((struct str){(char *)in + 4 + first, get16(in + 2 + first)}), "NOERROR A=192.0.2.1");
    close(fd);
    loop_step(x.l, 10);
    world_free(&x);
}

TEST(host_entries_stand_above_upstream_and_a_domain_may_have_servers_of_its_own)
{
    struct world x;
    struct str ips[] = {STR("10.9.9.9"), STR("fd00::9"), STR("nonsense")}, bad = STR("127.0.0.1:1"), good;
    char text[32];
    world_new(&x);
    struct sockaddr_in up;
    socklen_t n = sizeof up;
    getsockname(x.up_udp, (struct sockaddr *)&up, &n);
    snprintf(text, sizeof text, "127.0.0.1:%u", ntohs(up.sin_port));
    good = str_of(text);
    dns_hosts(x.d, &(struct dns_host){STR("Printer.Local"), ips, 3}, 1);
    EQ_Z(ask_udp(&x, "printer.local", 0), "NOERROR aa A=10.9.9.9");
    EQ_Z(ask_udp(&x, "other.local", 0), "NOERROR A=192.0.2.1");
    struct dns_stub stubs[] = {{STR("corp.example"), &bad, 1}, {STR("lab.corp.example"), &good, 1}};
    dns_stubs(x.d, stubs, 2);
    EQ_Z(ask_udp(&x, "a.corp.example", 0), "SERVFAIL");
    EQ_Z(ask_udp(&x, "a.Lab.corp.example", 0), "NOERROR A=192.0.2.1");
    EQ_Z(ask_udp(&x, "xcorp.example", 0), "NOERROR A=192.0.2.1");
    dns_stubs(x.d, NULL, 0);
    dns_hosts(x.d, NULL, 0);
    EQ_Z(ask_udp(&x, "b.corp.example", 0), "NOERROR A=192.0.2.1");
    EQ_Z(ask_udp(&x, "printer.local", 0), "NOERROR A=192.0.2.1");
    world_free(&x);
}
