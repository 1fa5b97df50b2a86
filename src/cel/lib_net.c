#include <arpa/inet.h>

#include "cel/inner.h"

/* IP addresses and networks (Kubernetes' ip and cidr libraries). */

#define ARGS struct cel_run *r, struct cel_value *v, size_t n
#define WANT(cond, name)                                                                                                                   \
    if (!(cond))                                                                                                                           \
    return cel_no_overload(r, name, v, n)
#define T(i, t) (v[i].type == (t))

struct net {
    uint8_t a[16];
    uint8_t family /* 4, 6 */, bits;
};

static bool ip_read(struct str s, struct net *out)
{
    char text[64];
    if (!s.n || s.n >= sizeof text)
        return false;
    memcpy(text, s.p, s.n);
    text[s.n] = 0;
    *out = (struct net){.family = str_chr(s, ':') >= 0 ? 6 : 4};
    out->bits = out->family == 6 ? 128 : 32;
    if (inet_pton(out->family == 6 ? AF_INET6 : AF_INET, text, out->a) != 1)
        return false;
    static const uint8_t mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
    return out->family == 4 || memcmp(out->a, mapped, 12) != 0; /* IPv4-mapped ones are refused */
}

static bool cidr_read(struct str s, struct net *out)
{
    struct str host, bits;
    uint64_t k;
    if (!str_cut(s, '/', &host, &bits) || !ip_read(host, out) || !str_to_u64(bits, &k) || k > out->bits || (bits.n > 1 && bits.p[0] == '0'))
        return false;
    out->bits = (uint8_t)k;
    return true;
}

static struct cel_value net_value(struct cel_run *r, uint8_t type, const struct net *x)
{
    struct net *copy = pool_new_of(r->pool, struct net);
    *copy = *x;
    return (struct cel_value){.type = type, .p = copy};
}

static struct net masked(const struct net *x)
{
    struct net out = *x;
    for (int i = x->bits; i < (x->family == 6 ? 128 : 32); i++)
        out.a[i / 8] &= (uint8_t) ~(0x80 >> i % 8);
    return out;
}

static bool within(const struct net *net, const struct net *x)
{
    struct net a = masked(net), b = *x;
    if (net->family != x->family || x->bits < net->bits)
        return false;
    b.bits = net->bits;
    b = masked(&b);
    return memcmp(a.a, b.a, 16) == 0;
}

bool cel_net_equal(struct cel_value a, struct cel_value b)
{
    const struct net *x = a.p, *y = b.p;
    return x->family == y->family && x->bits == y->bits && memcmp(x->a, y->a, 16) == 0;
}

static struct str ip_text(struct cel_run *r, const struct net *x)
{
    char text[64] = "";
    inet_ntop(x->family == 6 ? AF_INET6 : AF_INET, x->a, text, sizeof text);
    return pool_str(r->pool, str_of(text));
}

struct cel_value cel_net_text(struct cel_run *r, struct cel_value v)
{
    const struct net *x = v.p;
    struct str s = ip_text(r, x);
    return cel_str(v.type == CEL_IP ? s : pool_printf(r->pool, "%.*s/%u", STR_ARG(s), x->bits));
}

static struct cel_value f_ip(ARGS)
{
    struct net x;
    if (T(0, CEL_CIDR)) {
        x = *(const struct net *)v[0].p;
        x.bits = x.family == 6 ? 128 : 32;
        return net_value(r, CEL_IP, &x);
    }
    WANT(T(0, CEL_STRING), "ip");
    if (!ip_read(v[0].s, &x))
        return cel_error(r, "IP Address \"%.*s\" parse error during conversion from string: ParseAddr(\"%.*s\"): unable to parse IP",
            STR_ARG(v[0].s), STR_ARG(v[0].s));
    return net_value(r, CEL_IP, &x);
}
static struct cel_value f_is_ip(ARGS)
{
    struct net x;
    WANT(T(0, CEL_STRING), "isIP");
    return cel_bool(ip_read(v[0].s, &x));
}
static struct cel_value f_is_canonical(ARGS)
{
    struct net x;
    WANT(T(0, CEL_STRING), "ip.isCanonical");
    if (!ip_read(v[0].s, &x))
        return cel_error(r, "IP Address \"%.*s\" parse error during conversion from string", STR_ARG(v[0].s));
    return cel_bool(str_eq(ip_text(r, &x), v[0].s));
}
static struct cel_value f_family(ARGS)
{
    WANT(T(0, CEL_IP), "family");
    return cel_int(((const struct net *)v[0].p)->family);
}
static struct cel_value in_range(ARGS, const char *v4, const char *v6)
{
    struct net x;
    WANT(T(0, CEL_IP), "isLoopback");
    const struct net *a = v[0].p;
    const char *range = a->family == 4 ? v4 : v6;
    return cel_bool(range && cidr_read(str_of(range), &x) && within(&x, a));
}
static struct cel_value f_unspecified(ARGS)
{
    return in_range(r, v, n, "0.0.0.0/32", "::/128");
}
static struct cel_value f_loopback(ARGS)
{
    return in_range(r, v, n, "127.0.0.0/8", "::1/128");
}
static struct cel_value f_link_multicast(ARGS)
{
    return in_range(r, v, n, "224.0.0.0/24", "ff02::/16");
}
static struct cel_value f_link_unicast(ARGS)
{
    return in_range(r, v, n, "169.254.0.0/16", "fe80::/10");
}
static struct cel_value f_global(ARGS)
{
    WANT(T(0, CEL_IP), "isGlobalUnicast");
    bool not = f_unspecified(r, v, n).b || f_loopback(r, v, n).b || f_link_unicast(r, v, n).b ||
               in_range(r, v, n, "224.0.0.0/4", "ff00::/8").b || in_range(r, v, n, "255.255.255.255/32", NULL).b;
    return cel_bool(!not );
}
static struct cel_value f_cidr(ARGS)
{
    struct net x;
    WANT(T(0, CEL_STRING), "cidr");
    if (!cidr_read(v[0].s, &x))
        return cel_error(r, "network address parse error during conversion from string: netip.ParsePrefix(\"%.*s\")", STR_ARG(v[0].s));
    return net_value(r, CEL_CIDR, &x);
}
static struct cel_value f_is_cidr(ARGS)
{
    struct net x;
    WANT(T(0, CEL_STRING), "isCIDR");
    return cel_bool(cidr_read(v[0].s, &x));
}
static struct cel_value f_contains_ip(ARGS)
{
    struct net x;
    WANT(T(0, CEL_CIDR) && (T(1, CEL_IP) || T(1, CEL_STRING)), "containsIP");
    if (T(1, CEL_STRING) && !ip_read(v[1].s, &x))
        return cel_error(r, "IP Address \"%.*s\" parse error during conversion from string", STR_ARG(v[1].s));
    return cel_bool(within(v[0].p, T(1, CEL_IP) ? v[1].p : &x));
}
static struct cel_value f_contains_cidr(ARGS)
{
    struct net x;
    WANT(T(0, CEL_CIDR) && (T(1, CEL_CIDR) || T(1, CEL_STRING)), "containsCIDR");
    if (T(1, CEL_STRING) && !cidr_read(v[1].s, &x))
        return cel_error(r, "network address parse error during conversion from string");
    return cel_bool(within(v[0].p, T(1, CEL_CIDR) ? v[1].p : &x));
}
static struct cel_value f_masked(ARGS)
{
    WANT(T(0, CEL_CIDR), "masked");
    struct net x = masked(v[0].p);
    return net_value(r, CEL_CIDR, &x);
}
static struct cel_value f_prefix(ARGS)
{
    WANT(T(0, CEL_CIDR), "prefixLength");
    return cel_int(((const struct net *)v[0].p)->bits);
}

const struct cel_fn cel_net[] = {
    {"ip", 1, 1, true, true, f_ip},
    {"isIP", 1, 1, false, true, f_is_ip},
    {"ip.isCanonical", 1, 1, false, true, f_is_canonical},
    {"family", 1, 1, true, false, f_family},
    {"isUnspecified", 1, 1, true, false, f_unspecified},
    {"isLoopback", 1, 1, true, false, f_loopback},
    {"isLinkLocalMulticast", 1, 1, true, false, f_link_multicast},
    {"isLinkLocalUnicast", 1, 1, true, false, f_link_unicast},
    {"isGlobalUnicast", 1, 1, true, false, f_global},
    {"cidr", 1, 1, false, true, f_cidr},
    {"isCIDR", 1, 1, false, true, f_is_cidr},
    {"containsIP", 2, 2, true, false, f_contains_ip},
    {"containsCIDR", 2, 2, true, false, f_contains_cidr},
    {"masked", 1, 1, true, false, f_masked},
    {"prefixLength", 1, 1, true, false, f_prefix},
    {NULL, 0, 0, false, false, NULL},
};
