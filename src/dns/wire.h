/* DNS messages (RFC 1035, EDNS: RFC 6891). Inside the room. Names are kept in wire form: length-prefixed labels, ended by a zero byte, at
 * most 255 bytes. */
#pragma once
#include "base/str.h"

enum { T_A = 1, T_NS = 2, T_CNAME = 5, T_SOA = 6, T_PTR = 12, T_TXT = 16, T_AAAA = 28, T_SRV = 33, T_OPT = 41, T_ANY = 255 };
enum { RC_OK, RC_FORMERR, RC_SERVFAIL, RC_NXDOMAIN, RC_NOTIMP, RC_REFUSED, RC_BADVERS = 16 };
enum { F_QR = 0x8000, F_AA = 0x0400, F_TC = 0x0200, F_RD = 0x0100, F_RA = 0x0080, F_AD = 0x0020, F_CD = 0x0010 };
#define DNS_NAME 255
#define DNS_LABELS 128
#define DNS_UDP 1232 /* what we send at most in one datagram (dnsflagday.net) */

struct dns_query {
    uint16_t id, flags, type, class;
    uint8_t name[DNS_NAME + 1]; /* lower case */
    size_t nname;
    struct str labels[DNS_LABELS]; /* views of name */
    size_t nlabels;
    size_t question_end; /* offset behind the question in the packet */
    bool edns, dnssec_ok;
    uint16_t udp_size; /* what the asker takes; 512 without EDNS */
};
/* 0, or the rcode to answer with (id, flags are set; question_end 0 when there is no whole question), or -1: to be dropped. */
int dns_query_parse(struct str packet, struct dns_query *q);

static inline uint16_t get16(const uint8_t *p)
{
    return (uint16_t)(p[0] << 8 | p[1]);
}
static inline uint32_t get32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}
static inline void put16(uint8_t *p, uint16_t v)
{
    p[0] = (uint8_t)(v >> 8);
    p[1] = (uint8_t)v;
}
static inline void put32(uint8_t *p, uint32_t v)
{
    put16(p, (uint16_t)(v >> 16));
    put16(p + 2, (uint16_t)v);
}

/* Skips a name at *at (compressed or not), bounds checked. */
bool dns_skip_name(struct str packet, size_t *at);
struct dns_rr {
    uint16_t type, class;
    uint32_t ttl;
    size_t start, ttl_at, rdata, nrdata, end;
};
bool dns_rr_read(struct str packet, size_t *at, struct dns_rr *rr);
/* Text with dots to wire form; false when a label is empty or longer than 63, or all longer than 255. */
bool dns_name_of(struct str text, uint8_t out[DNS_NAME + 1], size_t *n);

/* A message under construction. */
struct dns_msg {
    uint8_t *p;
    size_t n, cap;
    bool full; /* a record did not fit; the message is whole up to the one before */
    uint16_t counts[4];
    struct {
        uint16_t at;
        uint16_t n;
        const uint8_t *name;
    } seen[96];
    size_t nseen;
    uint8_t names[6144];
    size_t nnames;
    size_t rr_at, rdata_at, seen_at, names_at; /* the record under construction: where it begins, what to take back */
};
enum { S_QUESTION, S_ANSWER, S_AUTHORITY, S_ADDITIONAL };
void dns_msg_begin(struct dns_msg *m, uint8_t *p, size_t cap, struct str packet, const struct dns_query *q); /* header and question */
void dns_rr_begin(struct dns_msg *m, const uint8_t *owner, size_t nowner, uint16_t type, uint32_t ttl);
void dns_put(struct dns_msg *m, const void *p, size_t n);
void dns_put_u16(struct dns_msg *m, uint16_t v);
void dns_put_name(struct dns_msg *m, const uint8_t *name, size_t n, bool compress);
bool dns_rr_end(struct dns_msg *m, int section); /* false: did not fit, taken back */
/* Flags and counts; the OPT record when the asker spoke EDNS. Returns the length. reserve for OPT is kept by dns_msg_begin. */
size_t dns_msg_end(struct dns_msg *m, const struct dns_query *q, uint16_t flags, int rcode);
