#include "net/addr.h"
#include <arpa/inet.h>

bool net_ip_parse(struct str s, uint32_t *ip)
{
    char z[16];
    struct in_addr a;

    if (s.n == 0 || s.n >= sizeof z)
        return false;
    memcpy(z, s.p, s.n);
    z[s.n] = 0;
    if (strlen(z) != s.n || inet_pton(AF_INET, z, &a) != 1)
        return false;
    *ip = a.s_addr;
    return true;
}

bool net_cidr_parse(struct str s, struct net_cidr *out)
{
    struct str head, tail;
    uint32_t ip;
    uint64_t prefix;

    if (!str_cut(s, '/', &head, &tail) || !net_ip_parse(head, &ip) || !str_to_u64(tail, &prefix) || prefix > 32)
        return false;
    out->prefix = (int)prefix;
    out->base = ntohl(ip) & net_mask(out->prefix);
    return true;
}

const char *net_ip_text(uint32_t ip, char out[16])
{
    return inet_ntop(AF_INET, &ip, out, 16);
}

bool net_mac_parse(struct str s, uint8_t mac[6])
{
    uint8_t m[6];

    if (s.n != 17)
        return false;
    for (size_t i = 0; i < 6; i++) {
        int v = 0;
        for (size_t j = 0; j < 2; j++) {
            char c = s.p[i * 3 + j];
            int d = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
            if (d < 0)
                return false;
            v = v * 16 + d;
        }
        if (i < 5 && s.p[i * 3 + 2] != ':')
            return false;
        m[i] = (uint8_t)v;
    }
    memcpy(mac, m, 6);
    return true;
}

void net_mac_of(uint32_t ip, uint8_t mac[6])
{
    mac[0] = 0x0a;
    mac[1] = 0x58;
    memcpy(mac + 2, &ip, 4);
}
