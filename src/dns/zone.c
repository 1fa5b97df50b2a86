/* The zone: Services in a map, answers from it. Source: kubernetes/dns docs/specification.md, version 1.1. */
#include <arpa/inet.h>
#include "dns/impl.h"

#define MAX_ENDPOINTS 5000
#define MAX_PORTS 500
#define CNAMES_MAX 8

/* ---- the table ---- */

static bool addr_of(struct str s, struct dns_addr *a)
{
    char z[INET6_ADDRSTRLEN];

    if (s.n == 0 || s.n >= sizeof z)
        return false;
    memcpy(z, s.p, s.n);
    z[s.n] = 0;
    memset(a, 0, sizeof *a);
    a->family = memchr(z, ':', s.n) ? 6 : 4;
    return inet_pton(a->family == 4 ? AF_INET : AF_INET6, z, a->ip) == 1;
}

static struct str lower(struct pool *p, struct str s)
{
    char *z = pool_strz(p, s);
    for (size_t i = 0; i < s.n; i++)
        if (z[i] >= 'A' && z[i] <= 'Z')
            z[i] = (char)(z[i] + 32);
    return (struct str){z, s.n};
}

static struct str host_label(struct pool *p, const struct dns_endpoint *e)
{
    char *z;
    if (e->hostname.n && e->hostname.n <= 63)
        return lower(p, e->hostname);
    z = pool_strz(p, lower(p, e->ip));
    for (size_t i = 0; i < e->ip.n; i++)
        if (z[i] == '.' || z[i] == ':')
            z[i] = '-';
    return (struct str){z, e->ip.n};
}

static struct dns_port *ports_copy(struct pool *p, const struct dns_port *v, size_t n)
{
    struct dns_port *out = pool_array(p, struct dns_port, n + 1);
    for (size_t i = 0; i < n; i++)
        out[i] = (struct dns_port){lower(p, v[i].name), lower(p, v[i].protocol), v[i].port};
    return out;
}

void zone_entry_free(void *v)
{
    if (v)
        pool_free(((struct zone_entry *)v)->pool);
}

static struct str key_of(struct buf *b, struct str ns, struct str name)
{
    buf_reset(b);
    buf_str_add(b, name);
    buf_putc(b, '.');
    buf_str_add(b, ns);
    for (size_t i = 0; i < b->n; i++)
        if (b->p[i] >= 'A' && b->p[i] <= 'Z')
            b->p[i] = (char)(b->p[i] + 32);
    return buf_str(b);
}

static void count_ns(struct dns *d, struct str ns, int by)
{
    uintptr_t n = (uintptr_t)map_get(&d->namespaces, ns) + (uintptr_t)(intptr_t)by;
    if (n)
        map_put(&d->namespaces, ns, (void *)n);
    else
        map_del(&d->namespaces, ns);
}

static void endpoints_copy(struct zone_entry *z, const struct dns_service *s)
{
    size_t n = MIN(s->nendpoints, (size_t)MAX_ENDPOINTS);
    z->endpoints = pool_array(z->pool, struct zone_endpoint, n + 1);
    for (size_t i = 0; i < n; i++) {
        struct zone_endpoint *e = &z->endpoints[z->nendpoints];
        if (!addr_of(s->endpoints[i].ip, &e->addr))
            continue;
        e->host = host_label(z->pool, &s->endpoints[i]);
        e->nports = MIN(s->endpoints[i].nports, (size_t)MAX_PORTS);
        e->ports = ports_copy(z->pool, s->endpoints[i].ports, e->nports);
        z->nendpoints++;
    }
}

void dns_service_put(struct dns *d, const struct dns_service *s)
{
    _cleanup_(buf_clear) struct buf key = BUF_INIT;
    struct pool *p = pool_new();
    struct zone_entry *z = pool_new_of(p, struct zone_entry), *old;
    struct str full = pool_printf(p, "%.*s.%.*s.svc.%.*s", STR_ARG(s->name), STR_ARG(s->ns), STR_ARG(d->o.domain));
    struct str k = key_of(&key, s->ns, s->name);

    z->pool = p;
    z->ns = lower(p, s->ns);
    if (!s->name.n || !s->ns.n || !dns_name_of(full, z->name, &z->nname)) {
        pool_free(p); /* no such name can be asked for */
        return;
    }
    if (s->external_name.n) {
        uint8_t t[DNS_NAME + 1];
        size_t n;
        if (dns_name_of(s->external_name, t, &n)) {
            z->external = pool_alloc(p, n);
            memcpy(z->external, t, n);
            z->nexternal = n;
        }
    }
    z->ips = pool_array(p, struct dns_addr, s->ncluster_ips + 1);
    for (size_t i = 0; i < s->ncluster_ips; i++)
        z->nips += addr_of(s->cluster_ips[i], &z->ips[z->nips]);
    z->nports = MIN(s->nports, (size_t)MAX_PORTS);
    z->ports = ports_copy(p, s->ports, z->nports);
    endpoints_copy(z, s);
    old = map_put(&d->services, k, z);
    if (!old)
        count_ns(d, z->ns, 1);
    zone_entry_free(old);
    d->reverse_stale = true;
}

void dns_service_del(struct dns *d, struct str ns, struct str name)
{
    _cleanup_(buf_clear) struct buf key = BUF_INIT;
    struct zone_entry *z = map_del(&d->services, key_of(&key, ns, name));

    if (!z)
        return;
    count_ns(d, z->ns, -1);
    zone_entry_free(z);
    d->reverse_stale = true;
}

void dns_clear(struct dns *d)
{
    map_clear(&d->services, zone_entry_free);
    map_clear(&d->namespaces, NULL);
    map_clear(&d->reverse, free);
    d->reverse_stale = true;
}

size_t dns_count(const struct dns *d)
{
    return map_count(&d->services);
}

/* ---- records ---- */

struct ask { /* one answer under way */
    struct dns *d;
    const struct dns_query *q;
    struct dns_msg *m;
};

static void put_addr(struct ask *a, const uint8_t *owner, size_t n, const struct dns_addr *ip, int section)
{
    dns_rr_begin(a->m, owner, n, ip->family == 4 ? T_A : T_AAAA, DNS_TTL);
    dns_put(a->m, ip->ip, ip->family == 4 ? 4 : 16);
    dns_rr_end(a->m, section);
}

static bool asks_for(const struct ask *a, const struct dns_addr *ip)
{
    return a->q->type == (ip->family == 4 ? T_A : T_AAAA) || a->q->type == T_ANY;
}

static void put_soa(struct ask *a, int section)
{
    static const uint32_t times[5] = {1, 7200, 1800, 86400, DNS_TTL};
    uint8_t name[DNS_NAME + 20];
    size_t n = a->d->ndomain;

    dns_rr_begin(a->m, a->d->domain, n, T_SOA, DNS_TTL);
    memcpy(name, "\2ns\3dns", 7);
    memcpy(name + 7, a->d->domain, n);
    dns_put_name(a->m, name, n + 7, true);
    memcpy(name, "\12hostmaster", 11);
    memcpy(name + 11, a->d->domain, n);
    dns_put_name(a->m, name, n + 11, true);
    for (size_t i = 0; i < 5; i++) {
        uint8_t t[4];
        put32(t, times[i]);
        dns_put(a->m, t, 4);
    }
    dns_rr_end(a->m, section);
}

static size_t start_of(struct ask *a, size_t n)
{
    return n ? a->d->rotate++ % n : 0;
}

/* <host>.<svc>.<ns>.svc.<domain> */
static size_t host_name(const struct zone_entry *z, const struct zone_endpoint *e, uint8_t out[DNS_NAME + 1])
{
    if (e->host.n == 0 || e->host.n > 63 || e->host.n + 1 + z->nname > DNS_NAME)
        return 0;
    out[0] = (uint8_t)e->host.n;
    memcpy(out + 1, e->host.p, e->host.n);
    memcpy(out + 1 + e->host.n, z->name, z->nname);
    return 1 + e->host.n + z->nname;
}

static void service_addresses(struct ask *a, const struct zone_entry *z)
{
    size_t n = z->nips ? z->nips : z->nendpoints, from = start_of(a, n);
    for (size_t i = 0; i < n; i++) {
        const struct dns_addr *ip = z->nips ? &z->ips[(from + i) % n] : &z->endpoints[(from + i) % n].addr;
        if (asks_for(a, ip))
            put_addr(a, a->q->name, a->q->nname, ip, S_ANSWER);
    }
}

static bool endpoint_addresses(struct ask *a, const struct zone_entry *z, struct str host)
{
    bool found = false;
    for (size_t i = 0; !z->nips && i < z->nendpoints; i++)
        if (str_eq(z->endpoints[i].host, host)) {
            found = true;
            if (asks_for(a, &z->endpoints[i].addr))
                put_addr(a, a->q->name, a->q->nname, &z->endpoints[i].addr, S_ANSWER);
        }
    return found;
}

static bool port_is(const struct dns_port *p, struct str name, struct str proto)
{
    return name.n > 1 && proto.n > 1 && name.p[0] == '_' && proto.p[0] == '_' && str_eq(p->name, str_sub(name, 1, name.n)) &&
           str_eq(p->protocol, str_sub(proto, 1, proto.n));
}

static void put_srv(struct ask *a, const uint8_t *target, size_t n, uint16_t port, size_t share)
{
    dns_rr_begin(a->m, a->q->name, a->q->nname, T_SRV, DNS_TTL);
    dns_put_u16(a->m, 0);
    dns_put_u16(a->m, (uint16_t)(share ? MAX((size_t)1, 100 / share) : 100));
    dns_put_u16(a->m, port);
    dns_put_name(a->m, target, n, false); /* RFC 2782: not compressed */
    dns_rr_end(a->m, S_ANSWER);
}

static bool service_srv(struct ask *a, const struct zone_entry *z, struct str port, struct str proto)
{
    bool found = false, wanted = a->q->type == T_SRV || a->q->type == T_ANY;
    uint8_t name[DNS_NAME + 1];

    for (size_t i = 0; z->nips && i < z->nports; i++)
        if (port_is(&z->ports[i], port, proto)) {
            found = true;
            if (wanted)
                put_srv(a, z->name, z->nname, z->ports[i].port, 1);
        }
    for (size_t i = 0; !z->nips && i < z->nendpoints; i++)
        for (size_t j = 0; j < z->endpoints[i].nports; j++) {
            size_t n;
            if (!port_is(&z->endpoints[i].ports[j], port, proto) || !(n = host_name(z, &z->endpoints[i], name)))
                continue;
            found = true;
            if (wanted)
                put_srv(a, name, n, z->endpoints[i].ports[j].port, z->nendpoints);
        }
    if (!found || !wanted)
        return found;
    for (size_t i = 0; i < z->nips; i++)
        put_addr(a, z->name, z->nname, &z->ips[i], S_ADDITIONAL);
    for (size_t i = 0; !z->nips && i < z->nendpoints && !a->m->full; i++) {
        size_t n = host_name(z, &z->endpoints[i], name);
        if (n)
            put_addr(a, name, n, &z->endpoints[i].addr, S_ADDITIONAL);
    }
    return true;
}

/* a-b-c-d → a.b.c.d; for IPv6 a--b → a::b */
static bool dashed(struct str s, struct dns_addr *out)
{
    char z[INET6_ADDRSTRLEN];
    size_t dashes = 0;
    bool hex = false;

    if (s.n == 0 || s.n >= sizeof z)
        return false;
    for (size_t i = 0; i < s.n; i++) {
        dashes += s.p[i] == '-';
        hex |= s.p[i] >= 'a' && s.p[i] <= 'f';
    }
    hex |= dashes != 3 || str_find(s, STR("--")) >= 0;
    for (size_t i = 0; i < s.n; i++)
        z[i] = s.p[i] == '-' ? (hex ? ':' : '.') : s.p[i];
    return addr_of((struct str){z, s.n}, out);
}

/* ---- names under the domain ---- */

static struct zone_entry *find(struct dns *d, struct str name, struct str ns)
{
    char key[2 * 64 + 2];
    int n = snprintf(key, sizeof key, "%.*s.%.*s", STR_ARG(name), STR_ARG(ns));
    return n > 0 && (size_t)n < sizeof key ? map_get(&d->services, (struct str){key, (size_t)n}) : NULL;
}

/* l: labels before "svc", k of them; the last is the namespace, the one before it the Service. */
static bool svc_names(struct ask *a, const struct str *l, size_t k, const uint8_t **follow, size_t *nfollow)
{
    const struct zone_entry *z;

    if (k == 0)
        return true;
    if (k == 1)
        return map_get(&a->d->namespaces, l[0]) != NULL;
    z = k <= 4 ? find(a->d, l[k - 2], l[k - 1]) : NULL;
    if (!z)
        return false;
    if (k == 2) {
        if (z->nexternal) {
            dns_rr_begin(a->m, a->q->name, a->q->nname, T_CNAME, DNS_TTL);
            dns_put_name(a->m, z->external, z->nexternal, true);
            dns_rr_end(a->m, S_ANSWER);
            if (a->q->type != T_CNAME) {
                *follow = z->external;
                *nfollow = z->nexternal;
            }
            return true;
        }
        service_addresses(a, z);
        if (a->q->type == T_SRV) /* every named port, as CoreDNS answers it */
            for (size_t i = 0; z->nips && i < z->nports; i++)
                put_srv(a, z->name, z->nname, z->ports[i].port, z->nports);
        return true;
    }
    if (k == 3)
        return endpoint_addresses(a, z, l[0]) || (l[0].p[0] == '_' && z->nports);
    return service_srv(a, z, l[0], l[1]);
}

static bool domain_names(struct ask *a, const uint8_t **follow, size_t *nfollow)
{
    const struct str *l = a->q->labels;
    size_t k = a->q->nlabels - a->d->domain_labels;

    if (k == 0) {
        if (a->q->type == T_SOA || a->q->type == T_ANY)
            put_soa(a, S_ANSWER);
        return true;
    }
    if (str_eqz(l[k - 1], "svc"))
        return svc_names(a, l, k - 1, follow, nfollow);
    if (str_eqz(l[k - 1], "pod")) {
        struct dns_addr ip;
        if (k <= 2)
            return k == 1 || map_get(&a->d->namespaces, l[0]);
        if (k != 3 || !dashed(l[0], &ip))
            return false;
        if (asks_for(a, &ip))
            put_addr(a, a->q->name, a->q->nname, &ip, S_ANSWER);
        return true;
    }
    if (k == 1 && str_eqz(l[0], "dns-version")) {
        if (a->q->type == T_TXT || a->q->type == T_ANY) {
            dns_rr_begin(a->m, a->q->name, a->q->nname, T_TXT, DNS_TTL);
            dns_put(a->m,
                "\5"
                "1.1.0",
                6);
            dns_rr_end(a->m, S_ANSWER);
        }
        return true;
    }
    return false;
}

/* ---- addresses to names ---- */

static void reverse_put(struct dns *d, const struct zone_entry *z, const struct zone_endpoint *e, const struct dns_addr *ip)
{
    struct reverse *r = xmalloc(sizeof *r), *old;
    *r = (struct reverse){z, e};
    old = map_put(&d->reverse, (struct str){(const char *)ip->ip, ip->family == 4 ? 4 : 16}, r);
    free(old);
}

static void reverse_build(struct dns *d)
{
    map_clear(&d->reverse, free);
    map_for (&d->services, it) {
        const struct zone_entry *z = it->value;
        for (size_t i = 0; i < z->nips; i++)
            reverse_put(d, z, NULL, &z->ips[i]);
        for (size_t i = 0; !z->nips && i < z->nendpoints; i++)
            reverse_put(d, z, &z->endpoints[i], &z->endpoints[i].addr);
    }
    d->reverse_stale = false;
}

static bool reverse_name(const struct dns_query *q, struct dns_addr *ip)
{
    const struct str *l = q->labels;

    memset(ip, 0, sizeof *ip);
    if (q->nlabels == 6 && str_eqz(l[4], "in-addr") && str_eqz(l[5], "arpa")) {
        ip->family = 4;
        for (size_t i = 0; i < 4; i++) {
            uint64_t v;
            if (!str_to_u64(l[i], &v) || v > 255)
                return false;
            ip->ip[3 - i] = (uint8_t)v;
        }
        return true;
    }
    if (q->nlabels != 34 || !str_eqz(l[32], "ip6") || !str_eqz(l[33], "arpa"))
        return false;
    ip->family = 6;
    for (size_t i = 0; i < 32; i++) {
        char c = l[i].p[0];
        int v = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
        if (l[i].n != 1 || v < 0)
            return false;
        ip->ip[15 - i / 2] |= (uint8_t)(i % 2 ? v << 4 : v);
    }
    return true;
}

static bool in_ranges(const struct dns *d, const struct dns_addr *ip)
{
    uint32_t v = get32(ip->ip);
    for (size_t i = 0; ip->family == 4 && i < d->nranges; i++)
        if ((v & (d->ranges[i].prefix ? ~UINT32_C(0) << (32 - d->ranges[i].prefix) : 0)) == d->ranges[i].base)
            return true;
    return false;
}

/* false: not ours */
static bool reverse_answer(struct ask *a, const struct dns_addr *ip, bool *exists)
{
    struct reverse *r;
    uint8_t name[DNS_NAME + 1];
    size_t n;

    if (a->d->reverse_stale)
        reverse_build(a->d);
    r = map_get(&a->d->reverse, (struct str){(const char *)ip->ip, ip->family == 4 ? 4 : 16});
    *exists = r != NULL;
    if (!r)
        return in_ranges(a->d, ip);
    n = r->endpoint ? host_name(r->entry, r->endpoint, name) : r->entry->nname;
    if (!r->endpoint)
        memcpy(name, r->entry->name, n);
    if (n && (a->q->type == T_PTR || a->q->type == T_ANY)) {
        dns_rr_begin(a->m, a->q->name, a->q->nname, T_PTR, DNS_TTL);
        dns_put_name(a->m, name, n, true);
        dns_rr_end(a->m, S_ANSWER);
    }
    return true;
}

static bool in_zone(const struct dns *d, const struct dns_query *q)
{
    size_t at = q->nname - MIN(q->nname, d->ndomain);
    if (q->nname < d->ndomain || q->nlabels < d->domain_labels || memcmp(q->name + at, d->domain, d->ndomain) != 0)
        return false;
    return q->nlabels == d->domain_labels ||
           (const uint8_t *)q->labels[q->nlabels - d->domain_labels].p - 1 == q->name + at; /* not in the middle of a label */
}

/* The same question for another name. */
static void ask_instead(struct dns_query *q, const uint8_t *name, size_t n)
{
    memcpy(q->name, name, n);
    q->nname = n;
    q->nlabels = 0;
    for (size_t at = 0; at < n && q->name[at]; at += 1u + q->name[at])
        q->labels[q->nlabels++] = (struct str){(const char *)q->name + at + 1, q->name[at]};
}

/* A CNAME's target that is a name of the zone too is answered along with it; one outside is left in *follow. */
static void follow_inside(struct dns *d, const struct dns_query *q, struct dns_msg *m, const uint8_t **follow, size_t *nfollow)
{
    struct dns_query next = *q;
    for (int i = 0; *follow && i < CNAMES_MAX; i++) {
        struct ask a = {d, &next, m};
        ask_instead(&next, *follow, *nfollow);
        if (!in_zone(d, &next))
            return;
        *follow = NULL;
        (void)domain_names(&a, follow, nfollow);
    }
    *follow = NULL;
}

bool zone_answer(
    struct dns *d, const struct dns_query *q, struct dns_msg *m, uint16_t *flags, int *rcode, const uint8_t **follow, size_t *nfollow)
{
    struct ask a = {d, q, m};
    struct dns_addr ip;
    bool exists, ours = false;

    *follow = NULL;
    if (q->class != 1)
        return false;
    if (in_zone(d, q)) {
        exists = domain_names(&a, follow, nfollow);
        follow_inside(d, q, m, follow, nfollow);
        ours = true;
    } else if (reverse_name(q, &ip)) {
        ours = reverse_answer(&a, &ip, &exists);
    }
    if (!ours)
        return false;
    *flags = F_AA | F_RA | (m->full ? F_TC : 0);
    *rcode = exists ? RC_OK : RC_NXDOMAIN;
    if (m->counts[S_ANSWER] == 0 && !m->full)
        put_soa(&a, S_AUTHORITY);
    return true;
}
