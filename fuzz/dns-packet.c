/* Any packet: an answer that is itself a well-formed message, or none. */
#include <stdlib.h>
#include "dns/dns.h"
#include "dns/wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct dns *zone(void)
{
    static struct dns *d;
    static const struct str ip = STR("10.43.0.5"), range = STR("10.43.0.0/16");
    static const struct dns_port http = {STR("http"), STR("TCP"), 80};
    static const struct dns_endpoint ep = {.ip = STR("10.42.0.7"), .hostname = STR("h"), .ports = &http, .nports = 1};

    if (d)
        return d;
    struct dns_options o = {.loop = loop_new(NULL), .clock = clock_fake(0), .domain = STR("c.l"), .reverse = &range, .nreverse = 1};
    d = dns_new(&o, NULL);
    dns_service_put(
        d, &(struct dns_service){.ns = STR("d"), .name = STR("w"), .cluster_ips = &ip, .ncluster_ips = 1, .ports = &http, .nports = 1});
    dns_service_put(d, &(struct dns_service){.ns = STR("d"), .name = STR("h"), .endpoints = &ep, .nendpoints = 1});
    return d;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str packet = {(const char *)data, size};
    for (int tcp = 0; tcp < 2; tcp++) {
        struct buf out = BUF_INIT;
        bool forward = false;
        if (dns_answer(zone(), packet, tcp, &out, &forward)) {
            const uint8_t *p = (const uint8_t *)out.p;
            size_t at = 12, n;
            struct dns_rr rr;
            if (out.n < 12 || (!tcp && out.n > DNS_UDP) || !(get16(p + 2) & F_QR))
                abort();
            if (get16(p + 4) && (!dns_skip_name(buf_str(&out), &at) || (at += 4) > out.n))
                abort();
            n = (size_t)get16(p + 6) + get16(p + 8) + get16(p + 10);
            for (size_t i = 0; i < n; i++)
                if (!dns_rr_read(buf_str(&out), &at, &rr))
                    abort();
            if (at != out.n)
                abort();
        }
        buf_clear(&out);
    }
    return 0;
}
