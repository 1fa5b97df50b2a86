#include "dns/wire.h"

#define HEADER 12
#define OPT_LEN 11

/* ---- reading ---- */

static int question(struct str packet, struct dns_query *q)
{
    const uint8_t *p = (const uint8_t *)packet.p;
    size_t at = HEADER, k = 0;

    for (;;) {
        uint8_t len;
        if (at >= packet.n)
            return RC_FORMERR;
        len = p[at];
        if (len > 63 || at + 1 + len > packet.n || k + 1 + len > DNS_NAME - (len ? 1 : 0) || (len && q->nlabels >= DNS_LABELS))
            return RC_FORMERR; /* a pointer has nothing before it to point at */
        q->name[k++] = len;
        if (len)
            q->labels[q->nlabels++] = (struct str){(const char *)q->name + k, len};
        for (size_t i = 0; i < len; i++) {
            uint8_t c = p[at + 1 + i];
            q->name[k++] = c >= 'A' && c <= 'Z' ? (uint8_t)(c + 32) : c;
        }
        at += 1u + len;
        if (!len)
            break;
    }
    if (at + 4 > packet.n)
        return RC_FORMERR;
    q->nname = k;
    q->type = get16(p + at);
    q->class = get16(p + at + 2);
    q->question_end = at + 4;
    return 0;
}

static int additional(struct str packet, struct dns_query *q, size_t at, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        struct dns_rr rr;
        if (!dns_rr_read(packet, &at, &rr))
            return RC_FORMERR;
        if (rr.type != T_OPT)
            continue;
        if (q->edns || ((const uint8_t *)packet.p)[rr.start] != 0)
            return RC_FORMERR;
        q->edns = true;
        q->udp_size = MAX(rr.class, 512);
        q->dnssec_ok = rr.ttl & 0x8000;
        if ((rr.ttl >> 16 & 0xff) != 0)
            return RC_BADVERS;
    }
    return 0;
}

int dns_query_parse(struct str packet, struct dns_query *q)
{
    const uint8_t *p = (const uint8_t *)packet.p;
    int r;

    memset(q, 0, offsetof(struct dns_query, name));
    q->nname = q->nlabels = q->question_end = 0;
    q->edns = q->dnssec_ok = false;
    q->udp_size = 512;
    if (packet.n < HEADER || (get16(p + 2) & F_QR))
        return -1;
    q->id = get16(p);
    q->flags = get16(p + 2);
    if ((q->flags >> 11 & 15) != 0)
        return RC_NOTIMP;
    if (get16(p + 4) != 1 || get16(p + 6) != 0 || get16(p + 8) != 0 || get16(p + 10) > 8)
        return RC_FORMERR;
    r = question(packet, q);
    return r ? r : additional(packet, q, q->question_end, get16(p + 10));
}

bool dns_skip_name(struct str packet, size_t *at)
{
    const uint8_t *p = (const uint8_t *)packet.p;

    for (;;) {
        if (*at >= packet.n)
            return false;
        if ((p[*at] & 0xc0) == 0xc0) {
            *at += 2;
            return *at <= packet.n;
        }
        if (p[*at] & 0xc0)
            return false;
        if (p[*at] == 0) {
            ++*at;
            return true;
        }
        *at += 1u + p[*at];
    }
}

bool dns_rr_read(struct str packet, size_t *at, struct dns_rr *rr)
{
    const uint8_t *p = (const uint8_t *)packet.p;

    rr->start = *at;
    if (!dns_skip_name(packet, at) || *at + 10 > packet.n)
        return false;
    rr->type = get16(p + *at);
    rr->class = get16(p + *at + 2);
    rr->ttl_at = *at + 4;
    rr->ttl = get32(p + *at + 4);
    rr->nrdata = get16(p + *at + 8);
    rr->rdata = *at + 10;
    *at = rr->end = rr->rdata + rr->nrdata;
    return rr->end <= packet.n;
}

bool dns_name_of(struct str text, uint8_t out[DNS_NAME + 1], size_t *n)
{
    struct str rest = text, label;
    size_t k = 0;

    if (text.n && text.p[text.n - 1] == '.')
        rest.n--;
    while (str_split(&rest, '.', &label)) {
        if (label.n == 0 || label.n > 63 || k + label.n + 2 > DNS_NAME)
            return false;
        out[k++] = (uint8_t)label.n;
        for (size_t i = 0; i < label.n; i++)
            out[k++] = (uint8_t)(label.p[i] >= 'A' && label.p[i] <= 'Z' ? label.p[i] + 32 : label.p[i]);
    }
    out[k++] = 0;
    *n = k;
    return true;
}

/* ---- writing ---- */

static void remember(struct dns_msg *m, const uint8_t *name, size_t n, size_t at)
{
    if (m->nseen >= ARRAY_LEN(m->seen) || m->nnames + n > sizeof m->names || at >= 0x4000)
        return;
    memcpy(m->names + m->nnames, name, n);
    m->seen[m->nseen].name = m->names + m->nnames;
    m->seen[m->nseen].n = (uint16_t)n;
    m->seen[m->nseen++].at = (uint16_t)at;
    m->nnames += n;
}

void dns_msg_begin(struct dns_msg *m, uint8_t *p, size_t cap, struct str packet, const struct dns_query *q)
{
    m->p = p;
    m->cap = cap - OPT_LEN;
    m->full = false;
    m->nseen = m->nnames = 0;
    memset(m->counts, 0, sizeof m->counts);
    memset(p, 0, HEADER);
    m->n = HEADER;
    if (q->question_end) { /* as it was asked, upper and lower case included (the 0x20 trick) */
        memcpy(p + HEADER, packet.p + HEADER, q->question_end - HEADER);
        m->n = q->question_end;
        m->counts[S_QUESTION] = 1;
        for (size_t at = 0; at + 1 < q->nname; at += 1u + q->name[at])
            remember(m, q->name + at, q->nname - at, HEADER + at);
    }
}

void dns_put(struct dns_msg *m, const void *p, size_t n)
{
    if (m->full || m->n + n > m->cap) {
        m->full = true;
        return;
    }
    memcpy(m->p + m->n, p, n);
    m->n += n;
}

void dns_put_u16(struct dns_msg *m, uint16_t v)
{
    uint8_t b[2];
    put16(b, v);
    dns_put(m, b, 2);
}

void dns_put_name(struct dns_msg *m, const uint8_t *name, size_t n, bool compress)
{
    for (size_t at = 0; at < n; at += 1u + name[at]) {
        if (name[at] == 0) {
            dns_put(m, "", 1);
            return;
        }
        for (size_t i = 0; compress && i < m->nseen; i++)
            if (m->seen[i].n == n - at && memcmp(m->seen[i].name, name + at, n - at) == 0) {
                dns_put_u16(m, (uint16_t)(0xc000 | m->seen[i].at));
                return;
            }
        if (!m->full)
            remember(m, name + at, n - at, m->n);
        dns_put(m, name + at, 1u + name[at]);
    }
}

void dns_rr_begin(struct dns_msg *m, const uint8_t *owner, size_t nowner, uint16_t type, uint32_t ttl)
{
    uint8_t t[4];

    m->rr_at = m->n;
    m->seen_at = m->nseen;
    m->names_at = m->nnames;
    dns_put_name(m, owner, nowner, true);
    dns_put_u16(m, type);
    dns_put_u16(m, 1);
    put32(t, ttl);
    dns_put(m, t, 4);
    dns_put_u16(m, 0);
    m->rdata_at = m->n;
}

bool dns_rr_end(struct dns_msg *m, int section)
{
    if (m->full) {
        m->n = m->rr_at;
        m->nseen = m->seen_at;
        m->nnames = m->names_at;
        return false;
    }
    put16(m->p + m->rdata_at - 2, (uint16_t)(m->n - m->rdata_at));
    m->counts[section]++;
    return true;
}

size_t dns_msg_end(struct dns_msg *m, const struct dns_query *q, uint16_t flags, int rcode)
{
    put16(m->p, q->id);
    put16(m->p + 2, (uint16_t)(F_QR | flags | (q->flags & (F_RD | F_CD | 0x7800)) | (rcode & 15)));
    if (q->edns) {
        uint8_t opt[OPT_LEN] = {0, 0, T_OPT};
        put16(opt + 3, DNS_UDP);
        opt[5] = (uint8_t)(rcode >> 4);
        opt[7] = q->dnssec_ok ? 0x80 : 0;
        memcpy(m->p + m->n, opt, OPT_LEN); /* cap was reserved */
        m->n += OPT_LEN;
        m->counts[S_ADDITIONAL]++;
    }
    for (int i = 0; i < 4; i++)
        put16(m->p + 4 + 2 * i, m->counts[i]);
    return m->n;
}
