/* Answers in the form that this asker gets: its id, its question, its EDNS, its size. */
#include "dns/impl.h"

size_t reply_error(struct str packet, const struct dns_query *q, int rcode, uint8_t *out, size_t cap)
{
    struct dns_msg m;
    dns_msg_begin(&m, out, cap, packet, q);
    return dns_msg_end(&m, q, F_RA, rcode);
}

static size_t truncated(struct str packet, const struct dns_query *q, int rcode, uint8_t *out, size_t cap)
{
    struct dns_msg m;
    dns_msg_begin(&m, out, cap, packet, q);
    return dns_msg_end(&m, q, F_RA | F_TC, rcode);
}

/* An uncompressed copy of the name at `at`; 0: malformed. Pointers must lead backwards, so this ends. */
static size_t expand(struct str m, size_t at, uint8_t out[DNS_NAME + 1])
{
    const uint8_t *p = (const uint8_t *)m.p;
    size_t k = 0, limit = at + 1;

    for (;;) {
        if (at >= m.n)
            return 0;
        if ((p[at] & 0xc0) == 0xc0) {
            size_t to = at + 1 < m.n ? (size_t)(p[at] & 0x3f) << 8 | p[at + 1] : m.n;
            if (to + 1 >= limit)
                return 0;
            limit = to + 1;
            at = to;
            continue;
        }
        if (p[at] > 63 || k + 1 + p[at] > DNS_NAME || at + 1 + p[at] > m.n)
            return 0;
        memcpy(out + k, p + at, 1u + p[at]);
        k += 1u + p[at];
        if (p[at] == 0)
            return k;
        at += 1u + p[at];
    }
}

/* The CNAME of ours, then the addresses that upstream gave for its target. */
static size_t aliased(
    const struct dns_query *q, struct str packet, struct str answer, const uint8_t *alias, size_t nalias, uint8_t *out, size_t cap)
{
    const uint8_t *p = (const uint8_t *)answer.p;
    size_t at = 12, n = answer.p ? get16(p + 6) : 0;
    struct dns_msg m;
    struct dns_rr rr;

    dns_msg_begin(&m, out, cap, packet, q);
    dns_rr_begin(&m, q->name, q->nname, T_CNAME, DNS_TTL);
    dns_put_name(&m, alias, nalias, true);
    dns_rr_end(&m, S_ANSWER);
    if (answer.p && dns_skip_name(answer, &at))
        at += 4;
    else
        n = 0;
    for (size_t i = 0; i < n && dns_rr_read(answer, &at, &rr); i++) {
        uint8_t owner[DNS_NAME + 1], target[DNS_NAME + 1];
        size_t no = expand(answer, rr.start, owner), nt = rr.type == T_CNAME ? expand(answer, rr.rdata, target) : 0;
        if (!no || rr.class != 1 || (rr.type == T_CNAME ? !nt : rr.type != q->type))
            continue;
        if (rr.type != T_CNAME && rr.type != T_A && rr.type != T_AAAA && rr.type != T_TXT)
            continue;
        dns_rr_begin(&m, owner, no, rr.type, rr.ttl);
        if (nt)
            dns_put_name(&m, target, nt, true);
        else
            dns_put(&m, p + rr.rdata, rr.nrdata);
        dns_rr_end(&m, S_ANSWER);
    }
    return dns_msg_end(&m, q, F_AA | F_RA | (m.full ? F_TC : 0), RC_OK);
}

size_t reply_from_upstream(
    const struct dns_query *q, struct str packet, struct str answer, const uint8_t *alias, size_t nalias, uint8_t *out, size_t cap)
{
    const uint8_t *p = (const uint8_t *)answer.p;
    struct dns_msg m;

    if (alias)
        return aliased(q, packet, answer, alias, nalias, out, cap);
    if (answer.n < q->question_end || get16(p + 4) != 1)
        return reply_error(packet, q, RC_SERVFAIL, out, cap);
    if (answer.n + 11 > cap)
        return truncated(packet, q, get16(p + 2) & 15, out, cap);
    dns_msg_begin(&m, out, cap, packet, q);
    memcpy(out + q->question_end, p + q->question_end, answer.n - q->question_end);
    m.n = answer.n;
    m.counts[S_ANSWER] = get16(p + 6);
    m.counts[S_AUTHORITY] = get16(p + 8);
    m.counts[S_ADDITIONAL] = get16(p + 10);
    return dns_msg_end(&m, q, (uint16_t)(F_RA | (get16(p + 2) & F_AD)), get16(p + 2) & 15);
}
