/* What an operator adds to the cluster's names: host entries, and servers of their own for some domains. */
#include <arpa/inet.h>
#include <stdlib.h>
#include "dns/impl.h"

#define HOST_TTL 60
#define HOSTS_MAX 16384
#define STUBS_MAX 64

struct host {
    struct dns_addr *v;
    size_t n;
};

static size_t lower(const uint8_t *name, size_t n, uint8_t out[DNS_NAME + 1])
{
    for (size_t i = 0; i < n; i++)
        out[i] = name[i] >= 'A' && name[i] <= 'Z' ? (uint8_t)(name[i] + 32) : name[i]; /* lengths of labels are below 'A' */
    return n;
}

static void host_free(void *arg)
{
    struct host *h = arg;
    free(h->v);
    free(h);
}

static void host_add(struct dns *d, const struct dns_host *h)
{
    uint8_t raw[DNS_NAME + 1], name[DNS_NAME + 1];
    size_t n;
    struct str key = {(const char *)name, 0};

    if (!dns_name_of(h->name, raw, &n))
        return;
    key.n = lower(raw, n, name);
    struct host *x = map_get(&d->hosts, key);
    if (!x && map_count(&d->hosts) >= HOSTS_MAX)
        return;
    if (!x)
        map_put(&d->hosts, key, x = xcalloc(1, sizeof *x));
    for (size_t i = 0; i < h->nips && x->n < 64; i++) {
        struct dns_addr a = {0};
        char z[INET6_ADDRSTRLEN];
        if (h->ips[i].n >= sizeof z)
            continue;
        memcpy(z, h->ips[i].p, h->ips[i].n);
        z[h->ips[i].n] = 0;
        a.family = inet_pton(AF_INET, z, a.ip) == 1 ? 4 : inet_pton(AF_INET6, z, a.ip) == 1 ? 6 : 0;
        if (!a.family)
            continue;
        x->v = xrealloc(x->v, (x->n + 1) * sizeof a);
        x->v[x->n++] = a;
    }
}

void dns_hosts(struct dns *d, const struct dns_host *v, size_t n)
{
    map_clear(&d->hosts, host_free);
    for (size_t i = 0; i < n; i++)
        host_add(d, &v[i]);
}

bool hosts_answer(struct dns *d, const struct dns_query *q, struct dns_msg *m, uint16_t *flags)
{
    uint8_t name[DNS_NAME + 1];
    struct str key = {(const char *)name, 0};
    const struct host *h;
    size_t start = d->rotate++;

    if (!map_count(&d->hosts) || (q->type != T_A && q->type != T_AAAA))
        return false;
    key.n = lower(q->name, q->nname, name);
    h = map_get(&d->hosts, key);
    if (!h)
        return false;
    for (size_t i = 0; i < h->n; i++) {
        const struct dns_addr *a = &h->v[(start + i) % h->n];
        if (a->family != (q->type == T_A ? 4 : 6))
            continue;
        dns_rr_begin(m, q->name, q->nname, q->type, HOST_TTL);
        dns_put(m, a->ip, a->family == 4 ? 4 : 16);
        if (!dns_rr_end(m, S_ANSWER))
            break;
    }
    *flags = (uint16_t)(F_AA | F_RA | (m->full ? F_TC : 0));
    return true;
}

/* ---- domains with servers of their own ---- */

struct stub {
    uint8_t name[DNS_NAME + 1];
    size_t n;
    struct forward *forward;
};

void stubs_clear(struct dns *d)
{
    struct stub *old = d->stubs;
    size_t n = d->nstubs;

    d->stubs = NULL;
    d->nstubs = 0;
    for (size_t i = 0; i < n; i++)
        forward_free(old[i].forward);
    free(old);
}

void dns_stubs(struct dns *d, const struct dns_stub *v, size_t n)
{
    stubs_clear(d);
    d->stubs = xcalloc(n + 1, sizeof *d->stubs);
    for (size_t i = 0; i < n && d->nstubs < STUBS_MAX; i++) {
        struct stub *s = &d->stubs[d->nstubs];
        uint8_t raw[DNS_NAME + 1];
        if (!dns_name_of(v[i].domain, raw, &s->n))
            continue;
        lower(raw, s->n, s->name);
        s->forward = forward_new(d);
        forward_upstreams(s->forward, v[i].servers, v[i].nservers);
        d->nstubs++;
    }
}

/* The servers for a name: those of the longest domain that it lies in. */
struct forward *stubs_find(struct dns *d, const uint8_t *name, size_t n)
{
    uint8_t low[DNS_NAME + 1];
    struct forward *best = d->forward;
    size_t longest = 0;

    if (!d->nstubs)
        return best;
    lower(name, n, low);
    for (size_t i = 0; i < d->nstubs; i++) {
        const struct stub *s = &d->stubs[i];
        for (size_t at = 0; at < n && low[at]; at += 1u + low[at])
            if (n - at == s->n && s->n > longest && memcmp(low + at, s->name, s->n) == 0) {
                longest = s->n;
                best = s->forward;
            }
    }
    return best;
}
