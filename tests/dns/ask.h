/* Questions in packets and answers in a line of text, for the tests of this room. */
#pragma once
#include <arpa/inet.h>
#include "dns/dns.h"
#include "dns/wire.h"
#include "harness.h"

static inline _unused_ size_t ask_packet(uint8_t *p, uint16_t id, const char *name, uint16_t type, int edns)
{
    size_t n;
    memset(p, 0, 12);
    put16(p, id);
    put16(p + 2, F_RD);
    put16(p + 4, 1);
    OK(dns_name_of(str_of(name), p + 12, &n));
    put16(p + 12 + n, type);
    put16(p + 14 + n, 1);
    n += 16;
    if (edns) {
        memcpy(p + n, (uint8_t[11]){0, 0, 41, (uint8_t)(edns >> 8), (uint8_t)edns}, 11);
        p[11] = 1;
        n += 11;
    }
    return n;
}

static inline _unused_ size_t name_text(struct str m, size_t at, char *out, size_t k)
{
    const uint8_t *p = (const uint8_t *)m.p;
    size_t jumps = 0;
    while (at < m.n && p[at] && jumps < 20) {
        if ((p[at] & 0xc0) == 0xc0) {
            at = (size_t)(p[at] & 0x3f) << 8 | p[at + 1];
            jumps++;
            continue;
        }
        k += (size_t)snprintf(out + k, 256, "%.*s.", p[at], (const char *)p + at + 1);
        at += 1u + p[at];
    }
    return k;
}

/* "NOERROR aa A=10.43.0.1 SRV=80:web.default. | SOA" */
static inline _unused_ const char *answer_text(struct str m)
{
    static char out[8192];
    static const char *const rc[] = {"NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED"};
    const uint8_t *p = (const uint8_t *)m.p;
    size_t at = 12, k, counts[3] = {get16(p + 6), get16(p + 8), get16(p + 10)};
    struct dns_rr rr;

    k = (size_t)snprintf(out, sizeof out, "%s%s%s", rc[p[3] & 15], get16(p + 2) & F_AA ? " aa" : "", get16(p + 2) & F_TC ? " tc" : "");
    if (get16(p + 4)) {
        OK(dns_skip_name(m, &at));
        at += 4;
    }
    for (int s = 0; s < 3; s++) {
        if (s && counts[s])
            k += (size_t)snprintf(out + k, 8, " |");
        for (size_t i = 0; i < counts[s]; i++) {
            char ip[64] = "";
            OK(dns_rr_read(m, &at, &rr));
            if (rr.type == T_A || rr.type == T_AAAA)
                k += (size_t)snprintf(out + k, 80, " %s=%s", rr.type == T_A ? "A" : "AAAA",
                    inet_ntop(rr.type == T_A ? AF_INET : AF_INET6, p + rr.rdata, ip, sizeof ip));
            else if (rr.type == T_SRV)
                k = name_text(m, rr.rdata + 6, out, k + (size_t)snprintf(out + k, 80, " SRV=%u:", get16(p + rr.rdata + 4)));
            else if (rr.type == T_PTR || rr.type == T_CNAME)
                k = name_text(m, rr.rdata, out, k + (size_t)snprintf(out + k, 80, rr.type == T_PTR ? " PTR=" : " CNAME="));
            else if (rr.type == T_TXT)
                k += (size_t)snprintf(out + k, 80, " TXT=%.*s", p[rr.rdata], (const char *)p + rr.rdata + 1);
            else
                k += (size_t)snprintf(out + k, 80, " %s", rr.type == T_SOA ? "SOA" : rr.type == T_OPT ? "OPT" : "?");
        }
    }
    EQ(at, m.n);
    return out;
}
