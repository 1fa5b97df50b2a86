/* IPv4 addresses and ranges from text, strictly. Byte order: network for `ip`, host for arithmetic on `base`. */
#pragma once
#include "base/str.h"

struct net_cidr {
    uint32_t base; /* host order, host bits cleared */
    int prefix;    /* -1: none */
};
bool net_ip_parse(struct str s, uint32_t *ip /* network order */);
bool net_cidr_parse(struct str s, struct net_cidr *out);
static inline uint32_t net_mask(int prefix)
{
    return prefix ? ~UINT32_C(0) << (32 - prefix) : 0;
}
static inline bool net_cidr_has(const struct net_cidr *c, uint32_t host_order)
{
    return c->prefix >= 0 && (host_order & net_mask(c->prefix)) == c->base;
}
const char *net_ip_text(uint32_t ip /* network order */, char out[16]);
bool net_mac_parse(struct str s, uint8_t mac[6]);
void net_mac_of(uint32_t ip, uint8_t mac[6]); /* 0a:58 and the address: the same pod has the same MAC, nothing to exchange */
