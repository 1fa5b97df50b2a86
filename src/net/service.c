/* Services in the kernel: for each port of a Service one "piece" = a few chains and maps of its own, and the elements in the shared maps
 * that lead there.
 *
 * Most Services need no chain: a ClusterIP with up to NET_FLAT endpoints, no affinity, no policy. They are elements of maps of data alone,
 * which table.c's own rules read, so that a change among 10,000 of them costs what it changes:
 *
 *     svc1:   address . protocol . port → endpoint
 *     svc<n>: address . protocol . port . (a random number below n) → endpoint
 *
 * All others:
 *
 *     services: address . protocol . port ─┐                    ┌→ s<id>  all endpoints   (numgen → b<id> → DNAT)
 *     nodeports: protocol . port ──→ e<id> ┴ marks, by policy ──┴→ l<id>  this node's only (numgen → m<id> → DNAT)
 *     external addresses with source ranges → f<id> → e<id>
 *     ClientIP affinity: for each endpoint a set y<id>-<i> of the sources that got it, with time-out, and a chain x<id>-<i> that renews it;
 * b<id> leads to those chains
 *
 * A piece never changes: a change makes a new one and takes the old one away, in the same batch, so that we send what one piece costs,
 * whatever else stands there. A packet's way is a few hash lookups, whatever the number of Services. The kernel, however, walks all maps of
 * verdicts, for loops and misplaced statements, at each commit that adds a rule or a verdict: with 10,000 Services of this kind 12 to 80
 * ms.
 */
#include <arpa/inet.h>
#include <errno.h>
#include "base/file.h"
#include "net/impl.h"

#define MAX_BACKENDS 16384
#define MAX_STICKY 256 /* endpoints of a port with affinity: each costs a rule on the way */
#define MAX_PORTS 250
#define MAX_ADDRESSES 64
#define MAX_RANGES 128

enum kernel_map { M_SERVICES, M_NODEPORTS, M_NOENDPOINTS, M_NOENDPORTS, M_COUNT, M_FLAT = M_COUNT /* svc<n>, n: the piece's */ };
static const struct {
    const char *name;
    bool verdicts;
    size_t nkey;
} maps[M_COUNT] = {{"services", true, 12}, {"nodeports", true, 8}, {"noendpoints", false, 12}, {"noendports", false, 8}};

struct elem {
    uint8_t map, chain;
    uint8_t key[12];
};
struct piece {
    struct piece *next;
    char *sig;
    char id[24];
    bool all, local, ext, filter, many_all, many_local;
    uint32_t flat;    /* endpoints, when it is elements alone; 0: it has chains */
    uint8_t (*to)[8]; /* flat: the endpoints */
    uint32_t sticky;  /* endpoints with chains and sets of their own; 0: no affinity */
    struct elem *elems;
    size_t nelems;
};
struct net_svc {
    struct piece *pieces;
};

static void piece_free(struct piece *p)
{
    free(p->sig);
    free(p->elems);
    free(p->to);
    free(p);
}

static void svc_free(void *v)
{
    struct net_svc *s = v;
    for (struct piece *p = s->pieces, *nx; p; p = nx) {
        nx = p->next;
        piece_free(p);
    }
    free(s);
}

void net_services_clear(struct net *n)
{
    map_clear(&n->owners, NULL);
    map_clear(&n->services, svc_free);
    n->services_known = false;
}

static const char *name_of(const struct piece *p, char kind, char out[32])
{
    snprintf(out, 32, "%c%s", kind, p->id);
    return out;
}

static const char *sub_name(const struct piece *p, char kind, uint32_t i, char out[40])
{
    snprintf(out, 40, "%c%s-%x", kind, p->id, i);
    return out;
}

/* ---- what a port wants, as text: equal text, equal rules ---- */

struct choice {
    const struct net_backend **v;
    size_t n;
};

/* Ready endpoints; where there are none, those that end but still serve (KEP-1669). */
static void choose(const struct net_service_port *p, bool local_only, struct choice *out)
{
    uint32_t ip;
    for (int pass = 0; pass < 2 && out->n == 0; pass++)
        for (size_t i = 0; i < p->nbackends && out->n < MAX_BACKENDS; i++) {
            const struct net_backend *b = &p->backends[i];
            if (b->serving_only == (pass == 1) && (!local_only || b->local) && b->port && net_ip_parse(b->ip, &ip))
                out->v[out->n++] = b;
        }
}

static char *signature(const struct net_service *s, const struct net_service_port *p, const struct choice *all, const struct choice *local)
{
    struct buf b = BUF_INIT;
    const struct {
        const struct str *v;
        size_t n;
    } lists[] = {{s->cluster_ips, s->ncluster_ips}, {s->external_ips, s->nexternal_ips}, {s->source_ranges, s->nsource_ranges}};

    buf_printf(&b, "%.*s %u %u %d%d %u", STR_ARG(p->protocol), p->port, p->node_port, s->local_external, s->local_internal, s->affinity_s);
    for (size_t i = 0; i < ARRAY_LEN(lists); i++) {
        buf_puts(&b, " |");
        for (size_t j = 0; j < lists[i].n; j++)
            buf_printf(&b, " %.*s", STR_ARG(lists[i].v[j]));
    }
    for (size_t i = 0; i < all->n; i++)
        buf_printf(&b, " %.*s:%u", STR_ARG(all->v[i]->ip), all->v[i]->port);
    buf_puts(&b, " local");
    for (size_t i = 0; i < local->n; i++)
        buf_printf(&b, " %.*s:%u", STR_ARG(local->v[i]->ip), local->v[i]->port);
    return buf_take(&b);
}

/* ---- rules of one piece ---- */

static void to_of(const struct net_backend *b, uint8_t to[8])
{
    uint32_t ip = 0;
    uint16_t port = htons(b->port);

    net_ip_parse(b->ip, &ip);
    memset(to, 0, 8);
    memcpy(to, &ip, 4);
    memcpy(to + 4, &port, 2);
}

static void backends_map(struct nft *b, const char *map, const struct choice *c)
{
    struct nft_set s = {
        .name = map, .key_type = NFT_T_MARK, .key_len = 4, .map = true, .data_type = NFT_CAT2(NFT_T_IP4, NFT_T_PORT), .data_len = 8};

    nft_set_add(b, &s);
    for (uint32_t i = 0; i < c->n; i++) {
        uint8_t to[8];
        to_of(c->v[i], to);
        nft_elem(b, true, map, &i, 4, to, 8, NULL);
    }
}

static void x_fixed(struct nft *b, const struct net_backend *to)
{
    uint8_t v[8];
    to_of(to, v);
    nft_x_imm(b, R0 + 1, v, 4);
    nft_x_imm(b, R0 + 2, v + 4, 2);
    nft_x_dnat(b, R0 + 1, R0 + 2);
}

static void balance(struct nft *b, const char *chain, const char *map, const struct choice *c)
{
    if (c->n > 1)
        backends_map(b, map, c);
    nft_rule(b, chain);
    if (c->n == 0) {
        nft_x_verdict(b, NF_DROP, NULL);
    } else if (c->n == 1) {
        x_fixed(b, c->v[0]);
    } else {
        nft_x_numgen(b, R0 + 1, (uint32_t)c->n);
        nft_x_lookup(b, map, R0 + 1, R0 + 1, false);
        nft_x_dnat(b, R0 + 1, R0 + 2);
    }
    nft_rule_end(b);
}

static void sticky_endpoint(struct nft *b, const char *chain, const char *set, const struct net_backend *to, uint32_t seconds)
{
    struct nft_set s = {.name = set, .key_type = NFT_T_IP4, .key_len = 4, .dynamic = true, .timeout_ms = (uint64_t)seconds * 1000};

    nft_set_add(b, &s);
    nft_chain(b, chain, NULL);
    nft_rule(b, chain);
    nft_x_is_ip4(b);
    net_x_saddr(b, R0);
    nft_x_dynset(b, set, NFT_DYNSET_OP_UPDATE, R0, -1, 0);
    x_fixed(b, to);
    nft_rule_end(b);
}

static void sticky(struct nft *b, const struct piece *p, const char *chain, const char *map, const struct choice *c, uint32_t seconds)
{
    struct nft_set verdicts = {.name = map, .key_type = NFT_T_MARK, .key_len = 4, .map = true, .verdicts = true};
    char x[40], y[40];

    nft_set_add(b, &verdicts);
    for (uint32_t i = 0; i < p->sticky; i++) {
        sticky_endpoint(b, sub_name(p, 'x', i, x), sub_name(p, 'y', i, y), c->v[i], seconds);
        nft_elem(b, true, map, &i, 4, NULL, 0, x);
        nft_rule(b, chain);
        nft_x_is_ip4(b);
        net_x_saddr(b, R0);
        nft_x_lookup(b, y, R0, -1, false);
        nft_x_verdict(b, NFT_GOTO, x);
        nft_rule_end(b);
    }
    nft_rule(b, chain);
    nft_x_numgen(b, R0, p->sticky);
    nft_x_lookup(b, map, R0, NFT_REG_VERDICT, false);
    nft_rule_end(b);
}

static void goto_rule(struct nft *b, const char *from, const char *to)
{
    nft_rule(b, from);
    nft_x_verdict(b, NFT_GOTO, to);
    nft_rule_end(b);
}

static void ext_chain(struct net *n, struct nft *b, const struct piece *p, bool local)
{
    char e[32], s[32], l[32];
    uint32_t keep = ~(uint32_t)NET_MARK_MASQ, set = NET_MARK_MASQ;

    nft_chain(b, name_of(p, 'e', e), NULL);
    if (local) {
        if (n->cluster.prefix >= 0) { /* from inside the cluster the policy does not count */
            nft_rule(b, e);
            nft_x_is_ip4(b);
            net_x_saddr(b, R0);
            net_x_in(b, R0, &n->cluster, true);
            nft_x_verdict(b, NFT_GOTO, name_of(p, 's', s));
            nft_rule_end(b);
        }
        goto_rule(b, e, name_of(p, 'l', l));
        return;
    }
    nft_rule(b, e);
    nft_x_meta(b, NFT_META_MARK, R0);
    nft_x_mask(b, R0, &keep, &set, 4);
    nft_x_meta_set(b, NFT_META_MARK, R0);
    nft_x_verdict(b, NFT_GOTO, name_of(p, 's', s));
    nft_rule_end(b);
}

static void filter_chain(struct nft *b, const struct piece *p, const struct net_service *s)
{
    char f[32], e[32];

    nft_chain(b, name_of(p, 'f', f), NULL);
    for (size_t i = 0; i < s->nsource_ranges && i < MAX_RANGES; i++) {
        struct net_cidr c;
        if (!net_cidr_parse(str_trim(s->source_ranges[i]), &c))
            continue;
        nft_rule(b, f);
        nft_x_is_ip4(b);
        net_x_saddr(b, R0);
        net_x_in(b, R0, &c, true);
        nft_x_verdict(b, NFT_GOTO, name_of(p, 'e', e));
        nft_rule_end(b);
    }
    nft_rule(b, f);
    nft_x_verdict(b, NF_DROP, NULL);
    nft_rule_end(b);
}

/* ---- elements ---- */

static bool of_ports(uint8_t map)
{
    return map == M_NODEPORTS || map == M_NOENDPORTS;
}

static bool elem_claim(struct net *n, struct piece *p, uint8_t map, const uint8_t key[12], uint8_t chain)
{
    uint8_t owner[13] = {of_ports(map)}; /* a Service with and one without endpoints meet on the same key */
    struct str k = {(const char *)owner, 13};

    memcpy(owner + 1, key, 12);
    if (map_get(&n->owners, k))
        return false;
    map_put(&n->owners, k, p);
    p->elems = xrealloc(p->elems, (p->nelems + 1) * sizeof *p->elems);
    p->elems[p->nelems] = (struct elem){.map = map, .chain = chain};
    memcpy(p->elems[p->nelems++].key, key, 12);
    return true;
}

static bool claim_address(struct net *n, struct piece *p, const struct net_service_port *sp, struct str ip, bool empty, uint8_t chain)
{
    uint8_t key[12] = {0};
    uint16_t port = htons(sp->port);
    uint32_t a;

    if (!net_ip_parse(ip, &a) || a == n->dns_ip) /* names are answered here, whoever says that he does it too */
        return true;
    memcpy(key, &a, 4);
    key[4] = net_proto(sp->protocol);
    memcpy(key + 8, &port, 2);
    return elem_claim(n, p, empty ? M_NOENDPOINTS : p->flat ? M_FLAT : M_SERVICES, key, chain);
}

static bool claim_node_port(struct net *n, struct piece *p, const struct net_service_port *sp, bool empty)
{
    uint8_t key[12] = {net_proto(sp->protocol)};
    uint16_t port = htons(sp->node_port);

    memcpy(key + 4, &port, 2);
    return elem_claim(n, p, empty ? M_NOENDPORTS : M_NODEPORTS, key, 'e');
}

static void flat_send(struct nft *b, const struct piece *p, const uint8_t dest[12], bool add)
{
    char name[16];

    snprintf(name, sizeof name, "svc%u", p->flat);
    for (uint32_t i = 0; i < p->flat; i++) {
        uint8_t key[16];
        memcpy(key, dest, 12);
        memcpy(key + 12, &i, 4);
        nft_elem(b, add, name, key, p->flat == 1 ? 12 : 16, add ? p->to[i] : NULL, 8, NULL);
    }
}

static void elems_send(struct nft *b, const struct piece *p, bool add)
{
    char chain[32];
    for (size_t i = 0; i < p->nelems; i++) {
        const struct elem *el = &p->elems[i];
        if (el->map == M_FLAT) {
            flat_send(b, p, el->key, add);
            continue;
        }
        const char *to = maps[el->map].verdicts ? name_of(p, (char)el->chain, chain) : NULL;
        nft_elem(b, add, maps[el->map].name, el->key, maps[el->map].nkey, NULL, 0, to);
    }
}

/* ---- pieces ---- */

static bool claim_all(
    struct net *n, struct piece *p, const struct net_service *s, const struct net_service_port *sp, bool none_all, bool none_local)
{
    bool ok = true, none_int = s->local_internal ? none_local : none_all;
    uint8_t ext = p->filter ? 'f' : 'e';

    for (size_t i = 0; i < s->ncluster_ips && i < MAX_ADDRESSES; i++)
        ok &= claim_address(n, p, sp, s->cluster_ips[i], none_all && none_int, s->local_internal ? 'l' : 's');
    for (size_t i = 0; i < s->nexternal_ips && i < MAX_ADDRESSES; i++)
        ok &= claim_address(n, p, sp, s->external_ips[i], none_all, ext);
    if (sp->node_port)
        ok &= claim_node_port(n, p, sp, none_all);
    return ok;
}

static bool flat_fits(const struct net_service *s, const struct net_service_port *sp, const struct choice *all)
{
    return all->n && all->n <= NET_FLAT && s->ncluster_ips && !s->nexternal_ips && !sp->node_port && !s->affinity_s && !s->local_internal;
}

static bool flat_add(
    struct net *n, struct nft *b, struct piece *p, const struct net_service *s, const struct net_service_port *sp, const struct choice *all)
{
    bool ok = true;

    p->flat = (uint32_t)all->n;
    p->to = xcalloc(all->n, sizeof *p->to);
    for (size_t i = 0; i < all->n; i++)
        to_of(all->v[i], p->to[i]);
    for (size_t i = 0; i < s->ncluster_ips && i < MAX_ADDRESSES; i++)
        ok &= claim_address(n, p, sp, s->cluster_ips[i], false, 0);
    elems_send(b, p, true);
    return ok;
}

/* false: another Service holds one of its addresses and ports; the rest was made. */
static bool piece_add(struct net *n, struct nft *b, struct piece *p, const struct net_service *s, const struct net_service_port *sp,
    const struct choice *all, const struct choice *local)
{
    char c[32], m[32];
    bool external = s->nexternal_ips || sp->node_port, ok;

    if (flat_fits(s, sp, all))
        return flat_add(n, b, p, s, sp, all);
    snprintf(p->id, sizeof p->id, "%s-%x", n->epoch, n->next_id++);
    p->filter = s->nsource_ranges && s->nexternal_ips;
    p->all = all->n > 0;
    p->ext = external && p->all;
    p->filter &= p->ext;
    p->local = p->all && (s->local_internal || (external && s->local_external));
    p->sticky = all->n > 1 && s->affinity_s ? (uint32_t)MIN(all->n, (size_t)MAX_STICKY) : 0;
    p->many_all = all->n > 1;
    p->many_local = p->local && local->n > 1;
    if (p->all)
        nft_chain(b, name_of(p, 's', c), NULL);
    if (p->sticky)
        sticky(b, p, c, name_of(p, 'b', m), all, s->affinity_s);
    else if (p->all)
        balance(b, c, name_of(p, 'b', m), all);
    if (p->local) { /* affinity only where the whole set is used: what it remembers may be on another node */
        nft_chain(b, name_of(p, 'l', c), NULL);
        balance(b, c, name_of(p, 'm', m), local);
    }
    if (p->ext)
        ext_chain(n, b, p, s->local_external);
    if (p->filter)
        filter_chain(b, p, s);
    ok = claim_all(n, p, s, sp, all->n == 0, local->n == 0);
    elems_send(b, p, true);
    return ok;
}

static void piece_remove(struct net *n, struct nft *b, struct piece *p)
{
    const struct {
        char kind;
        bool is;
    } chains[] = {{'f', p->filter}, {'e', p->ext}, {'s', p->all}, {'l', p->local}};
    const struct {
        char kind;
        bool is;
    } sets[] = {{'b', p->many_all}, {'m', p->many_local}};
    char name[40];

    elems_send(b, p, false);
    for (size_t i = 0; i < p->nelems; i++) {
        uint8_t owner[13] = {of_ports(p->elems[i].map)};
        memcpy(owner + 1, p->elems[i].key, 12);
        map_del(&n->owners, str_make((const char *)owner, 13));
    }
    for (size_t i = 0; i < ARRAY_LEN(chains); i++)
        if (chains[i].is)
            nft_chain_flush(b, name_of(p, chains[i].kind, name));
    for (size_t i = 0; i < ARRAY_LEN(sets); i++)
        if (sets[i].is)
            nft_set_del(b, name_of(p, sets[i].kind, name));
    for (size_t i = 0; i < ARRAY_LEN(chains); i++)
        if (chains[i].is)
            nft_chain_del(b, name_of(p, chains[i].kind, name));
    for (uint32_t i = 0; i < p->sticky; i++) {
        nft_chain_flush(b, sub_name(p, 'x', i, name));
        nft_chain_del(b, name);
        nft_set_del(b, sub_name(p, 'y', i, name));
    }
    piece_free(p);
}

/* ---- a Service ---- */

struct update { /* what one call does: removals first, then additions, so that addresses and ports can move between Services */
    struct net *n;
    struct nft *b;
    struct err **first;
    const struct net_backend **all_v, **local_v;
    struct map gone; /* UDP endpoints of pieces that went and of none that came */
};

/* The endpoints in a UDP piece's signature: into the set, or out of it. */
static void note_flows(struct update *u, const char *sig, bool gone)
{
    struct str rest = str_of(sig), word;
    const char *list = strrchr(sig, '|');

    if (!str_starts(rest, STR("UDP ")) || !list)
        return;
    rest = str_of(list + 1);
    while (str_split(&rest, ' ', &word)) {
        struct str ip, port;
        uint32_t a;
        uint64_t v;
        char key[NET_FLOW_KEY];
        if (!str_cut(word, ':', &ip, &port) || !net_ip_parse(ip, &a) || !str_to_u64(port, &v))
            continue;
        if (gone)
            map_put(&u->gone, net_flow_key(a, htons((uint16_t)v), key), u);
        else
            map_del(&u->gone, net_flow_key(a, htons((uint16_t)v), key));
    }
}

static void plan(struct update *u, const struct net_service *s, const struct net_service_port *p, struct choice *all, struct choice *local)
{
    *all = (struct choice){u->all_v, 0};
    *local = (struct choice){u->local_v, 0};
    choose(p, false, all);
    if (s->local_internal || s->local_external)
        choose(p, true, local);
}

static int check(const struct net_service *s, struct err **e)
{
    if (!s->ns.n || !s->name.n || s->ns.n > 253 || s->name.n > 253 || memchr(s->ns.p, '/', s->ns.n))
        return err_set(e, ERR_INVALID, "a Service without a proper namespace and name");
    if (s->nports > MAX_PORTS || s->ncluster_ips > MAX_ADDRESSES || s->nexternal_ips > MAX_ADDRESSES || s->nsource_ranges > MAX_RANGES)
        return err_set(e, ERR_LIMIT, "Service %.*s/%.*s: too many ports, addresses or ranges", STR_ARG(s->ns), STR_ARG(s->name));
    for (size_t i = 0; i < s->nports; i++)
        if (!net_proto(s->ports[i].protocol) || !s->ports[i].port)
            return err_set(
                e, ERR_INVALID, "Service %.*s/%.*s: ports[%zu]: protocol or port is not valid", STR_ARG(s->ns), STR_ARG(s->name), i);
    return 0;
}

static struct str svc_key(struct buf *b, const struct net_service *s)
{
    buf_reset(b);
    buf_str_add(b, s->ns);
    buf_putc(b, '/');
    buf_str_add(b, s->name);
    return buf_str(b);
}

static void svc_drop(struct update *u, struct net_svc *v)
{
    for (struct piece *p = v->pieces, *nx; p; p = nx) {
        nx = p->next;
        note_flows(u, p->sig, true);
        piece_remove(u->n, u->b, p);
    }
    v->pieces = NULL;
}

/* First pass: pieces that no port wants any more go. */
static void svc_prune(struct update *u, struct net_svc *v, const struct net_service *s)
{
    for (struct piece **at = &v->pieces, *p; (p = *at);) {
        bool wanted = false;
        for (size_t i = 0; i < s->nports && !wanted; i++) {
            struct choice all, local;
            plan(u, s, &s->ports[i], &all, &local);
            _cleanup_(freep) char *sig = signature(s, &s->ports[i], &all, &local);
            wanted = strcmp(sig, p->sig) == 0;
        }
        if (wanted) {
            at = &p->next;
        } else {
            *at = p->next;
            note_flows(u, p->sig, true);
            piece_remove(u->n, u->b, p);
        }
    }
}

static void svc_add(struct update *u, struct net_svc *v, const struct net_service *s)
{
    for (size_t i = 0; i < s->nports; i++) {
        struct choice all, local;
        struct piece *p;
        plan(u, s, &s->ports[i], &all, &local);
        _cleanup_(freep) char *sig = signature(s, &s->ports[i], &all, &local);
        for (p = v->pieces; p && strcmp(p->sig, sig) != 0; p = p->next) {
        }
        if (p)
            continue;
        p = xcalloc(1, sizeof *p);
        p->sig = TAKE(sig);
        note_flows(u, p->sig, false);
        p->next = v->pieces;
        v->pieces = p;
        if (!piece_add(u->n, u->b, p, s, &s->ports[i], &all, &local)) {
            p->sig[0] = 0; /* tried again at the next call that names it */
            err_set(*u->first ? NULL : u->first, ERR_EXISTS,
                "Service %.*s/%.*s: port %u: an address or node port of it is held by another Service", STR_ARG(s->ns), STR_ARG(s->name),
                s->ports[i].port);
        }
    }
}

/* ---- what another run of this process left ---- */

static void leftover(void *arg, struct str name)
{
    struct net_leftovers *o = arg;
    if (name.n < 11 || !strchr(o->kinds, name.p[0]) || name.p[9] != '-' || memcmp(name.p + 1, o->epoch, 8) == 0)
        return;
    o->v = xrealloc(o->v, (o->k + 1) * sizeof *o->v);
    o->v[o->k++] = str_dup(name);
}

int net_leftovers_read(struct net *n, struct net_leftovers *o, bool sets, struct err **e)
{
    return nft_list(n->nft, sets, leftover, o, e);
}

void net_leftovers_clear(struct net_leftovers *o)
{
    for (size_t i = 0; i < o->k; i++)
        free(o->v[i]);
    free(o->v);
}

static int clear_kernel(struct net *n, struct nft *b, struct err **e)
{
    struct net_leftovers chains = {.epoch = n->epoch, .kinds = "feslx"}, sets = {.epoch = n->epoch, .kinds = "bmy"};
    int r = net_leftovers_read(n, &chains, false, e);

    if (r == 0)
        r = net_leftovers_read(n, &sets, true, e);
    for (size_t i = 0; i < M_COUNT; i++)
        nft_set_flush(b, maps[i].name);
    for (uint32_t i = 1; i <= NET_FLAT; i++) {
        char name[16];
        snprintf(name, sizeof name, "svc%u", i);
        nft_set_flush(b, name);
    }
    for (size_t i = 0; i < chains.k; i++)
        nft_chain_flush(b, chains.v[i]);
    for (size_t i = 0; i < sets.k; i++) /* before the chains: maps of verdicts hold them */
        nft_set_del(b, sets.v[i]);
    for (size_t i = 0; i < chains.k; i++)
        nft_chain_del(b, chains.v[i]);
    net_leftovers_clear(&chains);
    net_leftovers_clear(&sets);
    return r;
}

static void first_pass(struct update *u, bool whole, const struct net_service *s, size_t count)
{
    _cleanup_(buf_clear) struct buf key = BUF_INIT;
    struct map named = {0};

    for (size_t i = 0; i < count; i++) {
        struct str k = svc_key(&key, &s[i]);
        struct net_svc *v = map_get(&u->n->services, k);
        map_put(&named, k, u);
        if (v && s[i].remove) {
            svc_drop(u, v);
            svc_free(map_del(&u->n->services, k));
        } else if (v && check(&s[i], NULL) == 0) {
            svc_prune(u, v, &s[i]);
        }
    }
    if (whole)
        map_for (&u->n->services, it)
            if (!map_get(&named, map_key(it))) {
                struct net_svc *v = it->value;
                svc_drop(u, v);
                map_del(&u->n->services, map_key(it));
                svc_free(v);
            }
    map_clear(&named, NULL);
}

int net_services(struct net *n, bool whole, const struct net_service *s, size_t count, struct err **e)
{
    _cleanup_(buf_clear) struct buf key = BUF_INIT;
    _cleanup_(freep) void *mem = xcalloc(2 * MAX_BACKENDS, sizeof(void *));
    struct err *first = NULL;
    struct nft b;
    struct update u = {n, &b, &first, mem, (const struct net_backend **)mem + MAX_BACKENDS, {0}};
    int r = 0;

    if (!n->table_ready)
        return err_set(e, ERR_UNAVAILABLE, "the pod network is not configured yet");
    if (!n->services_known && !whole)
        return err_set(e, ERR_CONFLICT, "the whole list of Services is needed first");
    nft_begin(&b);
    if (!n->services_known) {
        net_services_clear(n);
        snprintf(n->epoch, sizeof n->epoch, "%08x", (unsigned)random_u64());
        r = clear_kernel(n, &b, &first);
    }
    first_pass(&u, whole, s, count);
    for (size_t i = 0; i < count; i++) {
        struct str k = svc_key(&key, &s[i]);
        struct net_svc *v = map_get(&n->services, k);
        if (s[i].remove || check(&s[i], first ? NULL : &first) < 0)
            continue;
        if (!v)
            map_put(&n->services, k, v = xcalloc(1, sizeof *v));
        svc_add(&u, v, &s[i]);
    }
    if (r == 0) {
        struct err *why = NULL;
        r = nft_commit(&b, n->nft, &why);
        if (r < 0) {
            err_free(first);
            first = why;
        }
    } else {
        nft_clear(&b);
    }
    n->services_known = r == 0;
    if (r == 0)
        net_flows_forget(n, &u.gone);
    map_clear(&u.gone, NULL);
    if (r < 0) {
        net_services_clear(n);
        err_wrap(&first, "Services");
    }
    return first ? err_move(e, first) : 0;
}
