/* Pod addresses and host ports on disk, one line each: `uid ip [proto/host_ip:host_port>container_port]...`. */
#include <arpa/inet.h>
#include <errno.h>
#include "base/file.h"
#include "net/impl.h"

#define FILE_LIMIT (4u << 20)

void net_rec_free(void *rec)
{
    struct net_rec *r = rec;
    if (r)
        free(r->ports);
    free(r);
}

static bool port_parse(struct str s, struct net_hostport *p)
{
    struct str proto, rest, ip, ports, host, con;
    uint64_t np, h, c;

    if (!str_cut(s, '/', &proto, &rest) || !str_cut(rest, ':', &ip, &ports) || !str_cut(ports, '>', &host, &con))
        return false;
    if (!str_to_u64(proto, &np) || !net_ip_parse(ip, &p->host_ip) || !str_to_u64(host, &h) || !str_to_u64(con, &c))
        return false;
    if (np > 255 || !h || h > 65535 || !c || c > 65535)
        return false;
    p->proto = (uint8_t)np;
    p->host_port = (uint16_t)h;
    p->container_port = (uint16_t)c;
    return true;
}

static void line_load(struct net *n, struct str line)
{
    struct str rest = line, uid, ip, port;
    uint32_t a;
    struct net_rec *r;

    if (!str_split(&rest, ' ', &uid) || !uid.n || !str_split(&rest, ' ', &ip) || !net_ip_parse(ip, &a) || map_get(&n->recs, uid))
        return;
    r = xcalloc(1, sizeof *r);
    r->ip = ntohl(a);
    while (str_split(&rest, ' ', &port)) {
        struct net_hostport p;
        if (r->nports >= NET_MAX_PORTS || !port_parse(port, &p))
            continue;
        r->ports = xrealloc(r->ports, (r->nports + 1) * sizeof p);
        r->ports[r->nports++] = p;
    }
    map_put(&n->recs, uid, r);
}

int net_alloc_load(struct net *n, struct err **e)
{
    _cleanup_(freep) char *path = xasprintf("%s/addresses", n->state_dir);
    struct buf b = BUF_INIT;
    struct err *why = NULL;
    int r = file_read(path, FILE_LIMIT, &b, &why);

    if (r == -ERR_NOT_FOUND) {
        err_free(why);
        r = 0;
    } else if (r < 0) {
        r = err_move(e, why);
    } else {
        struct str rest = buf_str(&b), line;
        while (str_split(&rest, '\n', &line))
            line_load(n, line);
    }
    buf_clear(&b);
    return r;
}

int net_alloc_save(struct net *n, struct err **e)
{
    _cleanup_(freep) char *path = xasprintf("%s/addresses", n->state_dir);
    struct buf b = BUF_INIT;
    char t[16];
    int r;

    map_for (&n->recs, it) {
        const struct net_rec *rec = it->value;
        buf_str_add(&b, map_key(it));
        buf_printf(&b, " %s", net_ip_text(htonl(rec->ip), t));
        for (size_t i = 0; i < rec->nports; i++) {
            const struct net_hostport *p = &rec->ports[i];
            buf_printf(&b, " %u/%s:%u>%u", p->proto, net_ip_text(p->host_ip, t), p->host_port, p->container_port);
        }
        buf_putc(&b, '\n');
    }
    r = file_replace(path, buf_str(&b), 0600, e);
    buf_clear(&b);
    return r;
}

/* The range's first address is the network's (and the overlay link's), the second the gateway's, the last the broadcast's. */
static bool usable(const struct net *n, uint32_t ip)
{
    uint32_t last = n->pod.base | ~net_mask(n->pod.prefix);
    return net_cidr_has(&n->pod, ip) && ip > n->pod.base + 1 && ip < last;
}

static int cmp_ip(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

static uint32_t find_free(const struct net *n, uint32_t wanted)
{
    size_t k = 0, count = map_count(&n->recs);
    uint32_t last = n->pod.base | ~net_mask(n->pod.prefix), ip = n->last_ip;
    _cleanup_(freep) void *mem = xmalloc((count + 1) * sizeof(uint32_t));
    uint32_t *used = mem;

    map_for (&n->recs, it)
        used[k++] = ((struct net_rec *)it->value)->ip;
    qsort(used, k, sizeof *used, cmp_ip);
    if (wanted && usable(n, wanted) && !bsearch(&wanted, used, k, sizeof *used, cmp_ip))
        return wanted;
    /* Among count + 4 addresses in a row one is free, or the range is full. */
    for (size_t tries = 0; tries < count + 4 + 3; tries++) {
        ip = ip + 1 < n->pod.base + 2 || ip + 1 >= last ? n->pod.base + 2 : ip + 1;
        if (usable(n, ip) && !bsearch(&ip, used, k, sizeof *used, cmp_ip))
            return ip;
    }
    return 0;
}

int net_alloc_get(struct net *n, struct str uid, struct str wanted, struct net_rec **out, struct err **e)
{
    struct net_rec *r = map_get(&n->recs, uid);
    uint32_t w = 0, ip;

    if (!uid.n || uid.n > 64 || memchr(uid.p, ' ', uid.n) || memchr(uid.p, '\n', uid.n))
        return err_set(e, ERR_INVALID, "pod uid \"%.*s\": must be 1 to 64 characters without white space", STR_ARG(uid));
    if (n->pod.prefix < 0)
        return err_set(e, ERR_UNAVAILABLE, "this node has no pod address range (podCIDR) yet");
    if (r && usable(n, r->ip)) {
        *out = r;
        return 0;
    }
    if (wanted.n && net_ip_parse(wanted, &w))
        w = ntohl(w);
    ip = find_free(n, w);
    if (!ip)
        return err_set(e, ERR_LIMIT, "no free address: all of this node's pod address range is in use");
    if (!r) {
        r = xcalloc(1, sizeof *r);
        map_put(&n->recs, uid, r);
    }
    r->ip = n->last_ip = ip;
    *out = r;
    return 0;
}
