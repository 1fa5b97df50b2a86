/* The specification's table, asked in packets. */
#include "ask.h"

static struct dns *zone_new(struct loop **l, struct clock **c)
{
    struct err *e = NULL;
    static const struct str reverse[] = {STR("10.43.0.0/16"), STR("10.42.0.0/16")};
    struct dns_options o = {.domain = STR("cluster.local"), .reverse = reverse, .nreverse = 2};
    *l = o.loop = loop_new(&e);
    *c = o.clock = clock_fake(0);
    struct dns *d = dns_new(&o, &e);
    OK(d != NULL);

    struct str ip = STR("10.43.0.5"), both[] = {STR("10.43.0.6"), STR("fd00::6")};
    struct dns_port http = {STR("http"), STR("TCP"), 80}, db = {STR("pg"), STR("TCP"), 5432};
    dns_service_put(d, &(struct dns_service){
                           .ns = STR("default"), .name = STR("web"), .cluster_ips = &ip, .ncluster_ips = 1, .ports = &http, .nports = 1});
    dns_service_put(d, &(struct dns_service){.ns = STR("default"), .name = STR("dual"), .cluster_ips = both, .ncluster_ips = 2});
    struct dns_endpoint eps[] = {
        {.ip = STR("10.42.0.7"), .hostname = STR("db-0"), .ports = &db, .nports = 1}, {.ip = STR("10.42.1.8"), .ports = &db, .nports = 1}};
    dns_service_put(d, &(struct dns_service){.ns = STR("prod"), .name = STR("db"), .endpoints = eps, .nendpoints = 2});
    dns_service_put(d, &(struct dns_service){.ns = STR("prod"), .name = STR("ext"), .external_name = STR("example.org")});
    dns_service_put(
        d, &(struct dns_service){.ns = STR("prod"), .name = STR("inner"), .external_name = STR("web.default.svc.cluster.local")});
    dns_service_put(
        d, &(struct dns_service){.ns = STR("prod"), .name = STR("round"), .external_name = STR("round.prod.svc.cluster.local")});
    return d;
}

static const char *ask_in(struct dns *d, const char *name, uint16_t type, int edns)
{
    static struct buf out;
    uint8_t p[600];
    bool forward;
    size_t n = ask_packet(p, 7, name, type, edns);
    buf_clear(&out);
    if (!dns_answer(d, (struct str){(const char *)p, n}, false, &out, &forward))
        return forward ? "forward" : "dropped";
    EQ(get16((const uint8_t *)out.p), 7);
    const char *t = answer_text(buf_str(&out));
    buf_clear(&out);
    return t;
}

TEST(every_record_of_the_specification_is_answered)
{
    struct loop *l;
    struct clock *c;
    struct dns *d = zone_new(&l, &c);
    static const struct {
        const char *name;
        uint16_t type;
        const char *want;
    } rows[] = {
        {"web.default.svc.cluster.local", T_A, "NOERROR aa A=10.43.0.5"},
        {"WEB.Default.SVC.cluster.LOCAL", T_A, "NOERROR aa A=10.43.0.5"},
        {"web.default.svc.cluster.local", T_AAAA, "NOERROR aa | SOA"},
        {"dual.default.svc.cluster.local", T_AAAA, "NOERROR aa AAAA=fd00::6"},
        {"_http._tcp.web.default.svc.cluster.local", T_SRV, "NOERROR aa SRV=80:web.default.svc.cluster.local. | A=10.43.0.5"},
        {"_http._udp.web.default.svc.cluster.local", T_SRV, "NXDOMAIN aa | SOA"},
        {"_https._tcp.web.default.svc.cluster.local", T_SRV, "NXDOMAIN aa | SOA"},
        {"_tcp.web.default.svc.cluster.local", T_A, "NOERROR aa | SOA"},
        {"db-0.db.prod.svc.cluster.local", T_A, "NOERROR aa A=10.42.0.7"},
        {"10-42-1-8.db.prod.svc.cluster.local", T_A, "NOERROR aa A=10.42.1.8"},
        {"db-1.db.prod.svc.cluster.local", T_A, "NXDOMAIN aa | SOA"},
        {"ext.prod.svc.cluster.local", T_CNAME, "NOERROR aa CNAME=example.org."},
        {"ext.prod.svc.cluster.local", T_A, "forward"},
        {"inner.prod.svc.cluster.local", T_A, "NOERROR aa CNAME=web.default.svc.cluster.local. A=10.43.0.5"},
        {"inner.prod.svc.cluster.local", T_CNAME, "NOERROR aa CNAME=web.default.svc.cluster.local."},
        {"round.prod.svc.cluster.local", T_CNAME, "NOERROR aa CNAME=round.prod.svc.cluster.local."},
        {"nothing.default.svc.cluster.local", T_A, "NXDOMAIN aa | SOA"},
        {"default.svc.cluster.local", T_A, "NOERROR aa | SOA"},
        {"nowhere.svc.cluster.local", T_A, "NXDOMAIN aa | SOA"},
        {"svc.cluster.local", T_A, "NOERROR aa | SOA"},
        {"cluster.local", T_SOA, "NOERROR aa SOA"},
        {"other.cluster.local", T_A, "NXDOMAIN aa | SOA"},
        {"dns-version.cluster.local", T_TXT, "NOERROR aa TXT=1.1.0"},
        {"10-42-0-9.default.pod.cluster.local", T_A, "NOERROR aa A=10.42.0.9"},
        {"fd00--9.default.pod.cluster.local", T_AAAA, "NOERROR aa AAAA=fd00::9"},
        {"ten.default.pod.cluster.local", T_A, "NXDOMAIN aa | SOA"},
        {"5.0.43.10.in-addr.arpa", T_PTR, "NOERROR aa PTR=web.default.svc.cluster.local."},
        {"7.0.42.10.in-addr.arpa", T_PTR, "NOERROR aa PTR=db-0.db.prod.svc.cluster.local."},
        {"99.0.43.10.in-addr.arpa", T_PTR, "NXDOMAIN aa | SOA"},
        {"1.1.1.1.in-addr.arpa", T_PTR, "forward"},
        {"example.org", T_A, "forward"},
        {"xcluster.local", T_A, "forward"},
        {"local", T_A, "forward"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const char *got = ask_in(d, rows[i].name, rows[i].type, 0);
        if (strcmp(got, rows[i].want) != 0)
            test_fail(__FILE__, __LINE__, "%s type %u: \"%s\", not \"%s\"", rows[i].name, rows[i].type, got, rows[i].want);
    }
    OK(strstr(ask_in(d, "round.prod.svc.cluster.local", T_A, 0), "NOERROR aa")); /* a circle ends */
    const char *both = ask_in(d, "db.prod.svc.cluster.local", T_A, 0);
    OK(strstr(both, "10.42.0.7") && strstr(both, "10.42.1.8"));
    both = ask_in(d, "_pg._tcp.db.prod.svc.cluster.local", T_SRV, 1232);
    OK(strstr(both, "SRV=5432:db-0.db.prod.svc.cluster.local.") && strstr(both, "SRV=5432:10-42-1-8.db.prod.svc.cluster.local.") &&
        strstr(both, "A=10.42.1.8"));
    EQ_Z(ask_in(d, "web.default.svc.cluster.local", T_A, 1232), "NOERROR aa A=10.43.0.5 | OPT");
    dns_service_del(d, STR("default"), STR("web"));
    EQ_Z(ask_in(d, "web.default.svc.cluster.local", T_A, 0), "NXDOMAIN aa | SOA");
    EQ_Z(ask_in(d, "5.0.43.10.in-addr.arpa", T_PTR, 0), "NXDOMAIN aa | SOA");
    dns_free(d);
    clock_free(c);
    loop_free(l);
}

TEST(what_does_not_fit_is_cut_at_a_record_and_says_so)
{
    struct loop *l;
    struct clock *c;
    struct dns *d = zone_new(&l, &c);
    struct dns_endpoint eps[200];
    char ip[200][24];
    for (int i = 0; i < 200; i++) {
        snprintf(ip[i], 24, "10.42.2.%d", i + 1);
        eps[i] = (struct dns_endpoint){.ip = str_of(ip[i])};
    }
    dns_service_put(d, &(struct dns_service){.ns = STR("prod"), .name = STR("many"), .endpoints = eps, .nendpoints = 200});
    const char *t = ask_in(d, "many.prod.svc.cluster.local", T_A, 0);
    OK(strncmp(t, "NOERROR aa tc A=", 16) == 0);
    uint8_t p[300];
    bool forward;
    struct buf out = BUF_INIT;
    size_t n = ask_packet(p, 1, "many.prod.svc.cluster.local", T_A, 0);
    OK(dns_answer(d, (struct str){(char *)p, n}, true, &out, &forward));
    EQ(get16((uint8_t *)out.p + 6), 200);
    EQ(out.n, 12 + 29 + 4 + 200 * 16);
    buf_clear(&out);
    dns_free(d);
    clock_free(c);
    loop_free(l);
}

TEST(packets_that_are_no_question_are_refused_or_dropped)
{
    struct loop *l;
    struct clock *c;
    struct dns *d = zone_new(&l, &c);
    uint8_t p[600];
    struct buf out = BUF_INIT;
    bool forward;
    size_t n = ask_packet(p, 9, "web.default.svc.cluster.local", T_A, 1232);

    for (size_t k = 0; k < 12; k++)
        OK(!dns_answer(d, (struct str){(char *)p, k}, false, &out, &forward) && !forward);
    for (size_t k = 12; k < n; k++) {
        buf_clear(&out);
        OK(dns_answer(d, (struct str){(char *)p, k}, false, &out, &forward));
        EQ(out.p[3] & 15, RC_FORMERR);
    }
    buf_clear(&out);
    p[2] |= 0x80;
    OK(!dns_answer(d, (struct str){(char *)p, n}, false, &out, &forward) && !forward);
    p[2] = 0x28; /* an update */
    OK(dns_answer(d, (struct str){(char *)p, n}, false, &out, &forward));
    EQ(out.p[3] & 15, RC_NOTIMP);
    buf_clear(&out);
    p[2] = 1;
    p[12] = 0xc0; /* a pointer in the question */
    OK(dns_answer(d, (struct str){(char *)p, n}, false, &out, &forward));
    EQ(out.p[3] & 15, RC_FORMERR);
    buf_clear(&out);
    dns_free(d);
    clock_free(c);
    loop_free(l);
}
