/* Names for pods: the Kubernetes DNS specification 1.1 from a table in memory, everything else forwarded upstream with a cache. A library
 * on sockets that are given.
 *
 * Zone (under the cluster domain, say cluster.local):
 *   <svc>.<ns>.svc                        A/AAAA: the ClusterIPs; headless: every ready endpoint; ExternalName: CNAME, followed upstream
 *   <host>.<svc>.<ns>.svc                 A/AAAA of one endpoint of a headless Service, by its hostname or its address with dashes
 *   _<port>._<proto>.<svc>.<ns>.svc       SRV (and the targets' addresses)
 *   <a-b-c-d>.<ns>.pod                    A: the address in the name
 *   dns-version                           TXT "1.1.0"
 *   addresses of Services and endpoints   PTR under in-addr.arpa and ip6.arpa
 * Names that are not there get NXDOMAIN, types that are not there NODATA, both with the zone's SOA (RFC 2308).
 *
 * Upstream: each question from a fresh socket with a random port and id (RFC 5452), the next server after 1.5 s, TCP when truncated.
 * Answers are cached by their TTLs, negative ones by their SOA; when no server answers, expired ones are served (RFC 8767) and further
 * questions fail at once, with one trial a second.
 *
 * One loop's thread. Hostile packets: anything that is not one well-formed question is answered FORMERR or NOTIMP, or dropped when it is no
 * question at all; limits are in server.c and forward.c.
 */
#pragma once
#include "base/buf.h"
#include "base/clock.h"
#include "base/loop.h"

struct dns;
struct dns_options {
    struct loop *loop;
    struct clock *clock;
    struct str domain; /* "cluster.local"; copied */
    const struct str *reverse;
    size_t nreverse; /* ranges ("10.42.0.0/16") whose unknown addresses are NXDOMAIN here and are not asked for upstream */
};
struct dns *dns_new(const struct dns_options *o, struct err **e);
void dns_free(struct dns *d);
DEFINE_CLEANUP(struct dns *, dns_free)

/* Sockets, non-blocking, bound (TCP: listening); taken over. Several of each may be added. */
int dns_serve_udp(struct dns *d, int fd, struct err **e) _must_check_;
int dns_serve_tcp(struct dns *d, int fd, struct err **e) _must_check_;
/* Servers to forward to, "address" or "address:port"; the whole list. What is not valid is left out. None: foreign names get SERVFAIL at
 * once. */
void dns_upstreams(struct dns *d, const struct str *servers, size_t n);

/* Domains with servers of their own (the longest that fits counts), and names with addresses (A and AAAA are answered here, other types as
 * if there were no entry). Each call replaces all of an earlier one; copied. What is not valid is left out. */
struct dns_stub {
    struct str domain;
    const struct str *servers;
    size_t nservers;
};
void dns_stubs(struct dns *d, const struct dns_stub *v, size_t n);
struct dns_host {
    struct str name;
    const struct str *ips;
    size_t nips;
};
void dns_hosts(struct dns *d, const struct dns_host *v, size_t n);

struct dns_port {
    struct str name, protocol; /* TCP UDP SCTP */
    uint16_t port;
};
struct dns_endpoint {
    struct str ip, hostname; /* hostname may be empty */
    const struct dns_port *ports;
    size_t nports;
};
struct dns_service {
    struct str ns, name;
    const struct str *cluster_ips;
    size_t ncluster_ips; /* none and no external_name: headless */
    struct str external_name;
    const struct dns_port *ports;
    size_t nports;
    const struct dns_endpoint *endpoints;
    size_t nendpoints; /* ready ones (or all, when the Service publishes those not ready): headless only */
};
void dns_service_put(struct dns *d, const struct dns_service *s); /* copied; replaces the one of that name */
void dns_service_del(struct dns *d, struct str ns, struct str name);
void dns_clear(struct dns *d); /* all Services */
size_t dns_count(const struct dns *d);

struct dns_stats {
    uint64_t queries, local, cached, forwarded, stale, failed, malformed, dropped;
};
struct dns_stats dns_stats(const struct dns *d);

/* One packet without sockets (tests, fuzzing): the answer is appended to out. false: none (dropped, or it would have to be forwarded and
 * *forward is set). */
bool dns_answer(struct dns *d, struct str packet, bool tcp, struct buf *out, bool *forward);
