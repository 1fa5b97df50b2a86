/* What the files of this room share. Nobody else includes it. */
#pragma once
#include <netinet/in.h>
#include "base/map.h"
#include "base/pool.h"
#include "dns/dns.h"
#include "dns/wire.h"

#define DNS_TTL 5 /* seconds, as CoreDNS answers for Services */

struct dns_addr {
    uint8_t family /* 4, 6 */;
    uint8_t ip[16];
};
struct zone_endpoint {
    struct dns_addr addr;
    struct str host; /* its label: hostname, or the address with dashes */
    struct dns_port *ports;
    size_t nports;
};
struct zone_entry {             /* one Service */
    struct pool *pool;          /* all below */
    uint8_t name[DNS_NAME + 1]; /* <svc>.<ns>.svc.<domain> in wire form */
    size_t nname;
    struct str ns;
    struct dns_addr *ips;
    size_t nips;
    uint8_t *external;
    size_t nexternal;
    struct dns_port *ports;
    size_t nports;
    struct zone_endpoint *endpoints;
    size_t nendpoints;
};
struct reverse {
    const struct zone_entry *entry;
    const struct zone_endpoint *endpoint; /* NULL: a ClusterIP */
};
struct range {
    uint32_t base;
    int prefix;
};

struct forward; /* forward.c */
struct cache;   /* cache.c */
struct dns {
    struct dns_options o;
    uint8_t domain[DNS_NAME + 1];
    size_t ndomain, domain_labels;
    struct range *ranges;
    size_t nranges;
    struct map services;   /* "<svc>.<ns>", lower case → struct zone_entry */
    struct map namespaces; /* ns → how many Services, as uintptr_t */
    struct map reverse;    /* address bytes → struct reverse; built at the first question after a change */
    bool reverse_stale;
    uint32_t rotate;
    struct list sockets;    /* server.c */
    size_t tcp_count, asks; /* connections; questions that wait for upstream */
    struct map hosts;       /* name in wire form, small letters → struct host; hosts.c */
    struct stub *stubs;     /* hosts.c */
    size_t nstubs;
    struct forward *forward;
    struct cache *cache;
    struct dns_stats stats;
};

/* zone.c: an answer from the table. false: not ours, to be forwarded. *follow is set (wire form, in the entry) when it is a CNAME out of
 * the zone that should be followed. */
bool zone_answer(
    struct dns *d, const struct dns_query *q, struct dns_msg *m, uint16_t *flags, int *rcode, const uint8_t **follow, size_t *nfollow);
void zone_entry_free(void *entry);

/* cache.c: messages as they came from upstream, without OPT, keyed by name and type. */
struct cache *cache_new(size_t max_bytes);
void cache_free(struct cache *c);
/* The message in a buffer with TTLs lowered by its age, or false. stale: take an expired one too (TTLs 30). */
bool cache_get(struct cache *c, struct str key, int64_t now, bool stale, struct buf *out);
void cache_put(struct cache *c, struct str key, struct str message, int64_t now);

/* forward.c */
struct forward *forward_new(struct dns *d);
void forward_free(struct forward *f); /* who waits is told that there is no answer */
void forward_upstreams(struct forward *f, const struct str *servers, size_t n);
struct pending;
/* Asks upstream for q (name: what to ask, q's own or a CNAME's target). done gets the raw answer (its id is meaningless) or absent. NULL
 * when answered at once. */
struct pending *forward_ask(struct forward *f, const uint8_t *name, size_t nname, uint16_t type, bool dnssec_ok, bool checking_disabled,
    void (*done)(void *arg, struct str answer), void *arg);
void forward_cancel(struct pending *p);

/* hosts.c */
bool hosts_answer(struct dns *d, const struct dns_query *q, struct dns_msg *m, uint16_t *flags); /* false: no entry */
struct forward *stubs_find(struct dns *d, const uint8_t *name, size_t n);
void stubs_clear(struct dns *d);

/* reply.c: puts an upstream answer into the form this asker gets. */
size_t reply_from_upstream(
    const struct dns_query *q, struct str packet, struct str answer, const uint8_t *alias, size_t nalias, uint8_t *out, size_t cap);
size_t reply_error(struct str packet, const struct dns_query *q, int rcode, uint8_t *out, size_t cap);
