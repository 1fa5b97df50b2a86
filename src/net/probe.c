/* Is there really a way to each peer, and how large a packet passes it?
 *
 * Every two seconds, more seldom where there are many peers, an ICMP echo goes to the peer's gateway address by the way that pods' packets
 * take (overlay or route), so that the answer shows that both nodes know each other and nothing between them drops. Every other one fills
 * the link's MTU with "don't fragment": when the small ones come back and the large ones do not, the peer's route gets the next smaller MTU
 * of a list, and hosts and pods learn it from the kernel (RFC 1191). After LOST echoes without an answer the way counts as cut.
 *
 * Only what was sent counts, never time alone: a node that is stopped or slow does not accuse its peers.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/icmp.h>
#include <netinet/ip.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/file.h"
#include "net/impl.h"

#define PERIOD (2 * INT64_C(1000000000))
#define PER_PEER (20 * INT64_C(1000000)) /* added for each peer */
#define FIRST (INT64_C(500) * 1000000)
#define LOST 5  /* small echoes in a row without an answer */
#define LARGE 3 /* large ones, while small ones are answered */

static const uint32_t sizes[] = {8950, 1450, 1430, 1400, 1370, 1330, 1280, 1200, 1000, 576};

struct echo {
    struct icmphdr h;
    uint32_t nonce, gateway;
    uint32_t large;
};

static uint16_t checksum(const void *data, size_t n)
{
    const uint8_t *p = data;
    uint32_t sum = 0;

    for (size_t i = 0; i + 1 < n; i += 2)
        sum += (uint32_t)p[i] << 8 | p[i + 1];
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    return htons((uint16_t)~sum);
}

static uint32_t gateway_of(const struct net_peer_rec *r)
{
    return htonl(r->range.base + 1);
}

static void send_echo(struct net *n, struct net_peer_rec *r, bool large)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr.s_addr = gateway_of(r)};
    size_t mtu = r->mtu ? r->mtu : (size_t)n->mtu, len = large ? (mtu - sizeof(struct iphdr)) & ~(size_t)1 : sizeof(struct echo);
    _cleanup_(freep) struct echo *e = xcalloc(1, MAX(len, sizeof *e));

    e->h.type = ICMP_ECHO;
    e->h.un.echo.id = htons(n->probe_id);
    e->nonce = n->probe_nonce;
    e->gateway = to.sin_addr.s_addr;
    e->large = large;
    e->h.checksum = checksum(e, MAX(len, sizeof *e));
    if (sendto(n->probe_fd, e, MAX(len, sizeof *e), MSG_DONTWAIT, (struct sockaddr *)&to, sizeof to) < 0 &&
        (errno == ENOBUFS || errno == EAGAIN))
        return; /* it does not count */
    if (large)
        r->large_sent++;
    else
        r->sent++;
}

static void tell(struct net *n)
{
    if (n->o.on_paths)
        n->o.on_paths(n->o.arg);
}

static void answered(struct net *n, const struct echo *e)
{
    map_for (&n->peers, it) {
        struct net_peer_rec *r = it->value;
        bool was = r->reached;
        if (gateway_of(r) != e->gateway)
            continue;
        if (e->large) {
            r->large_sent = 0;
            r->narrowing = false;
        }
        r->sent = 0;
        r->reached = r->probed = true;
        if (!was)
            tell(n);
        return;
    }
}

static void on_echo(struct watch *w, uint32_t events)
{
    struct net *n = container_of(w, struct net, probe_watch);
    char in[256]; /* the rest of a large one is cut off */

    for (;;) {
        ssize_t k = recv(w->fd, in, sizeof in, MSG_DONTWAIT);
        if (k < 0 && errno == EINTR)
            continue;
        if (k < 0)
            return;
        const struct iphdr *ip = (const void *)in;
        size_t head = (size_t)k >= sizeof *ip ? ip->ihl * 4u : 0;
        struct echo e;
        if (head < sizeof *ip || (size_t)k < head + sizeof e)
            continue;
        memcpy(&e, in + head, sizeof e);
        if (e.h.type == ICMP_ECHOREPLY && e.nonce == n->probe_nonce && ip->saddr == e.gateway)
            answered(n, &e);
    }
}

static void smaller(struct net *n, struct net_peer_rec *r)
{
    uint32_t now = r->mtu ? r->mtu : (uint32_t)n->mtu;

    r->large_sent = 0;
    r->narrowing = true;
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++)
        if (sizes[i] < now) {
            r->mtu = sizes[i];
            net_peer_route(n, r);
            return;
        }
}

static void probe_all(struct timer *t)
{
    struct net *n = container_of(t, struct net, probe_timer);
    bool large = n->probe_turn++ % 2;

    timer_in(n->loop, t, n->probe_turn < 8 ? FIRST : PERIOD + PER_PEER * (int64_t)map_count(&n->peers), probe_all);
    if (n->backend == BACKEND_NONE)
        return;
    on_echo(&n->probe_watch, EPOLLIN); /* what came while we were away, before anybody is accused */
    map_for (&n->peers, it) {
        struct net_peer_rec *r = it->value;
        if (r->sent >= LOST && (r->reached || !r->probed)) {
            r->reached = false;
            r->probed = true;
            tell(n);
        }
        if (large && r->reached && r->large_sent >= (r->narrowing ? 1 : LARGE) && r->sent <= 1)
            smaller(n, r);
        send_echo(n, r, false);
        if (large && r->reached)
            send_echo(n, r, true);
    }
}

int net_probe_start(struct net *n, struct err **e)
{
    struct icmp_filter only = {~(1u << ICMP_ECHOREPLY)};
    int want = IP_PMTUDISC_PROBE; /* sets DF, whatever the kernel believes of the path */

    if (n->probe_fd >= 0 || !n->o.on_paths)
        return 0;
    n->probe_fd = socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, IPPROTO_ICMP);
    if (n->probe_fd < 0)
        return err_errno(e, errno, "socket for probes of other nodes");
    setsockopt(n->probe_fd, SOL_RAW, ICMP_FILTER, &only, sizeof only);
    setsockopt(n->probe_fd, IPPROTO_IP, IP_MTU_DISCOVER, &want, sizeof want);
    n->probe_nonce = (uint32_t)random_u64();
    n->probe_id = (uint16_t)n->probe_nonce;
    int r = watch_add(n->loop, &n->probe_watch, n->probe_fd, EPOLLIN, on_echo, e);
    if (r == 0)
        timer_in(n->loop, &n->probe_timer, FIRST, probe_all);
    return r;
}

void net_paths(struct net *n, void (*fn)(void *arg, struct str peer, bool reached, uint32_t mtu), void *arg)
{
    map_for (&n->peers, it) {
        const struct net_peer_rec *r = it->value;
        if (r->probed)
            fn(arg, map_key(it), r->reached, r->mtu ? r->mtu : (uint32_t)n->mtu);
    }
}
