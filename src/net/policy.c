/* NetworkPolicies in the kernel.
 *
 *     policy-egress:  np-from  (source)       ─→ o<pod> ─ jump to r<policy> of each ─→ accept, or at the end: reject
 *     policy-ingress: np-to    (destination)  ─→ q<pod> ─ jump to p<policy> of each ─→ accept, or at the end: reject
 *
 * Each policy has a chain per direction, shared by all pods that it selects, with one kernel rule per (kind of peer, port): peers that are
 * pods are a hash set u<policy>-<rule>, ranges of addresses an interval set v..., named ports a set w... of (address, protocol, port). A
 * pod of a peer that comes or goes is one element of such a set; anything else that changes makes the policy's chains anew, in the same
 * batch, so that no packet sees half of it.
 */
#include <arpa/inet.h>
#include <stdlib.h>
#include "base/file.h"
#include "net/impl.h"

#define KEY_MAX 12
#define ID_MAX 600

/* Sorted keys of one length without duplicates: what stands in a kernel set. */
struct keys {
    uint8_t *v;
    size_t n, size;
};
struct rule_sets {
    struct keys pods, named;
};
struct pol {
    uint32_t id;
    char *sig; /* everything but the elements of pods and named */
    struct rule_sets *rules;
    size_t nrules;
    bool *has_pods, *has_blocks, *has_named;
    bool keep, gone;
};
struct polpod {
    uint32_t id, ip; /* ip: the elements in np-from and np-to, network order; 0: none */
    char *sig;
    bool in, out, keep;
};

static void keys_clear(struct keys *k)
{
    free(k->v);
    *k = (struct keys){.size = k->size};
}

static void pol_free(void *arg)
{
    struct pol *p = arg;
    if (!p)
        return;
    for (size_t i = 0; i < p->nrules; i++) {
        keys_clear(&p->rules[i].pods);
        keys_clear(&p->rules[i].named);
    }
    free(p->rules);
    free(p->has_pods);
    free(p->has_blocks);
    free(p->has_named);
    free(p->sig);
    free(p);
}

static void polpod_free(void *arg)
{
    struct polpod *p = arg;
    free(p->sig);
    free(p);
}

void net_policies_clear(struct net *n)
{
    map_clear(&n->policies, pol_free);
    map_clear(&n->policed, polpod_free);
    n->policies_known = false;
}

bool net_policed(const struct net *n, struct str uid)
{
    return n->policies_known && map_get(&n->policed, uid);
}

/* ---- names ---- */

struct name {
    char z[48];
};

static const char *chain_name(struct net *n, char kind, uint32_t id, struct name *out)
{
    snprintf(out->z, sizeof out->z, "%c%s-%x", kind, n->policy_epoch, id);
    return out->z;
}

static const char *set_name(struct net *n, char kind, uint32_t id, size_t rule, struct name *out)
{
    snprintf(out->z, sizeof out->z, "%c%s-%x-%zx", kind, n->policy_epoch, id, rule);
    return out->z;
}

/* ---- keys ---- */

static int by_bytes(const void *a, const void *b, void *size)
{
    return memcmp(a, b, *(const size_t *)size);
}

static void keys_sort(struct keys *k)
{
    size_t out = 0;

    if (k->n)
        qsort_r(k->v, k->n, k->size, by_bytes, &k->size);
    for (size_t i = 0; i < k->n; i++)
        if (out == 0 || memcmp(k->v + i * k->size, k->v + (out - 1) * k->size, k->size) != 0)
            memmove(k->v + out++ * k->size, k->v + i * k->size, k->size);
    k->n = out;
}

static void keys_pods(const struct net_policy_rule *r, struct keys *out)
{
    *out = (struct keys){.size = 4, .v = xcalloc(r->naddresses + 1, 4)};
    for (size_t i = 0; i < r->naddresses; i++)
        if (net_ip_parse(r->addresses[i], (uint32_t *)(void *)(out->v + 4 * out->n)))
            out->n++;
    keys_sort(out);
}

static void keys_named(const struct net_policy_rule *r, struct keys *out)
{
    *out = (struct keys){.size = KEY_MAX, .v = xcalloc(r->nnamed + 1, KEY_MAX)};
    for (size_t i = 0; i < r->nnamed; i++) {
        uint8_t *k = out->v + KEY_MAX * out->n;
        uint32_t ip;
        uint16_t port = htons(r->named[i].port);
        if (!net_ip_parse(r->named[i].ip, &ip) || !net_proto(r->named[i].protocol))
            continue;
        memcpy(k, &ip, 4);
        k[4] = net_proto(r->named[i].protocol);
        memcpy(k + 8, &port, 2);
        out->n++;
    }
    keys_sort(out);
}

/* From what stands in the kernel set to what should. */
static void keys_send(struct nft *b, const char *set, const struct keys *was, const struct keys *now)
{
    size_t i = 0, j = 0;

    while (i < was->n || j < now->n) {
        int c = i == was->n ? 1 : j == now->n ? -1 : memcmp(was->v + i * now->size, now->v + j * now->size, now->size);
        if (c < 0)
            nft_elem(b, false, set, was->v + i++ * now->size, now->size, NULL, 0, NULL);
        else if (c > 0)
            nft_elem(b, true, set, now->v + j++ * now->size, now->size, NULL, 0, NULL);
        else
            i++, j++;
    }
}

/* ---- ranges of addresses ---- */

struct range {
    uint32_t from, to;
};
struct ranges {
    struct range *v;
    size_t n;
};

static void range_add(struct ranges *r, uint32_t from, uint32_t to)
{
    r->v = xrealloc(r->v, (r->n + 1) * sizeof *r->v);
    r->v[r->n++] = (struct range){from, to};
}

static int by_from(const void *a, const void *b)
{
    const struct range *x = a, *y = b;
    return x->from < y->from ? -1 : x->from > y->from;
}

/* A sorted list without overlaps. */
static void ranges_join(struct ranges *r)
{
    size_t k = 0;

    if (r->n)
        qsort(r->v, r->n, sizeof *r->v, by_from);
    for (size_t i = 0; i < r->n; i++) {
        if (k && (r->v[k - 1].to == UINT32_MAX || r->v[i].from <= r->v[k - 1].to + 1))
            r->v[k - 1].to = MAX(r->v[k - 1].to, r->v[i].to);
        else
            r->v[k++] = r->v[i];
    }
    r->n = k;
}

static void cidr_range(const struct net_cidr *c, struct range *out)
{
    out->from = c->base;
    out->to = c->base | ~net_mask(c->prefix);
}

static bool block_ranges(const struct net_policy_block *k, struct ranges *out)
{
    struct net_cidr c;
    struct range whole, x;
    struct ranges holes = {0};
    bool ok = net_cidr_parse(k->cidr, &c);
    uint64_t at;

    if (!ok)
        return false;
    cidr_range(&c, &whole);
    for (size_t i = 0; i < k->nexcepts; i++) {
        if (!net_cidr_parse(k->excepts[i], &c)) {
            free(holes.v);
            return false;
        }
        cidr_range(&c, &x);
        range_add(&holes, x.from, x.to);
    }
    ranges_join(&holes);
    at = whole.from;
    for (size_t i = 0; i < holes.n && at <= whole.to; i++) {
        if (holes.v[i].from > at)
            range_add(out, (uint32_t)at, MIN(holes.v[i].from - 1, whole.to));
        at = MAX(at, (uint64_t)holes.v[i].to + 1);
    }
    if (at <= whole.to)
        range_add(out, (uint32_t)at, whole.to);
    free(holes.v);
    return true;
}

static void blocks_set(struct nft *b, const char *name, const struct net_policy_rule *r)
{
    struct nft_set s = {.name = name, .key_type = NFT_T_IP4, .key_len = 4, .interval = true};
    struct ranges all = {0};

    nft_set_add(b, &s);
    for (size_t i = 0; i < r->nblocks; i++)
        block_ranges(&r->blocks[i], &all);
    ranges_join(&all);
    for (size_t i = 0; i < all.n; i++) {
        uint32_t from = htonl(all.v[i].from), end = htonl(all.v[i].to + 1);
        nft_elem(b, true, name, &from, 4, NULL, 0, NULL);
        if (all.v[i].to != UINT32_MAX)
            nft_elem_end(b, name, &end, 4);
    }
    free(all.v);
}

/* ---- rules of a policy ---- */

enum peer_kind { PEER_ANY, PEER_PODS, PEER_BLOCKS };

struct emit {
    struct net *n;
    struct nft *b;
    const struct pol *p;
    const struct net_policy_rule *r;
    size_t at; /* the rule's number */
    const char *chain;
};

static void x_peer(const struct emit *x, enum peer_kind kind)
{
    struct name set;

    nft_x_is_ip4(x->b);
    if (kind == PEER_ANY)
        return;
    if (x->r->egress)
        net_x_daddr(x->b, R0);
    else
        net_x_saddr(x->b, R0);
    nft_x_lookup(x->b, set_name(x->n, kind == PEER_PODS ? 'u' : 'v', x->p->id, x->at, &set), R0, -1, false);
}

static void x_accept(const struct emit *x)
{
    nft_x_verdict(x->b, NF_ACCEPT, NULL);
    nft_rule_end(x->b);
}

static void emit_port(const struct emit *x, enum peer_kind kind, const struct net_policy_port *port)
{
    uint8_t proto = net_proto(port->protocol);
    uint16_t from = htons(port->from), to = htons(port->to);

    nft_rule(x->b, x->chain);
    x_peer(x, kind);
    nft_x_meta(x->b, NFT_META_L4PROTO, R0);
    nft_x_cmp(x->b, R0, NFT_CMP_EQ, &proto, 1);
    if (port->from) {
        nft_x_payload(x->b, NFT_AT_TH, 2, 2, R0);
        nft_x_cmp(x->b, R0, port->to > port->from ? NFT_CMP_GTE : NFT_CMP_EQ, &from, 2);
        if (port->to > port->from)
            nft_x_cmp(x->b, R0, NFT_CMP_LTE, &to, 2);
    }
    x_accept(x);
}

static void emit_named(const struct emit *x, enum peer_kind kind)
{
    struct name set;

    nft_rule(x->b, x->chain);
    x_peer(x, x->r->egress ? PEER_ANY : kind); /* going out, the set holds the peers' ports and nothing else */
    net_x_daddr(x->b, R0);
    nft_x_meta(x->b, NFT_META_L4PROTO, R0 + 1);
    nft_x_payload(x->b, NFT_AT_TH, 2, 2, R0 + 2);
    nft_x_lookup(x->b, set_name(x->n, 'w', x->p->id, x->at, &set), R0, -1, false);
    x_accept(x);
}

static void emit_peer(const struct emit *x, enum peer_kind kind)
{
    if (x->r->any_port) {
        nft_rule(x->b, x->chain);
        x_peer(x, kind);
        x_accept(x);
        return;
    }
    for (size_t i = 0; i < x->r->nports; i++)
        emit_port(x, kind, &x->r->ports[i]);
    if (x->p->has_named[x->at] && !x->r->egress)
        emit_named(x, kind);
}

static void emit_rule(struct net *n, struct nft *b, const struct pol *p, const struct net_policy_rule *r, size_t at)
{
    static const struct keys none = {.size = 4}, none_named = {.size = KEY_MAX};
    struct name chain, set;
    struct emit x = {n, b, p, r, at, chain_name(n, r->egress ? 'r' : 'p', p->id, &chain)};

    if (p->has_pods[at]) {
        struct nft_set s = {.name = set_name(n, 'u', p->id, at, &set), .key_type = NFT_T_IP4, .key_len = 4};
        nft_set_add(b, &s);
        keys_send(b, set.z, &none, &p->rules[at].pods);
    }
    if (p->has_blocks[at])
        blocks_set(b, set_name(n, 'v', p->id, at, &set), r);
    if (p->has_named[at]) {
        struct nft_set s = {
            .name = set_name(n, 'w', p->id, at, &set), .key_type = NFT_CAT3(NFT_T_IP4, NFT_T_PROTO, NFT_T_PORT), .key_len = KEY_MAX};
        nft_set_add(b, &s);
        keys_send(b, set.z, &none_named, &p->rules[at].named);
    }
    if (r->any_peer) {
        emit_peer(&x, PEER_ANY);
    } else {
        if (p->has_pods[at])
            emit_peer(&x, PEER_PODS);
        if (p->has_blocks[at])
            emit_peer(&x, PEER_BLOCKS);
    }
    if (p->has_named[at] && r->egress)
        emit_named(&x, PEER_ANY);
}

static char *signature(const struct net_policy *v)
{
    struct buf b = BUF_INIT;

    for (size_t i = 0; i < v->nrules; i++) {
        const struct net_policy_rule *r = &v->rules[i];
        buf_printf(&b, "%d%d%d%d%d ", r->egress, r->any_peer, r->any_port, !r->any_peer && r->naddresses, r->nnamed > 0);
        for (size_t k = 0; k < r->nblocks; k++) {
            buf_printf(&b, "%.*s", STR_ARG(r->blocks[k].cidr));
            for (size_t j = 0; j < r->blocks[k].nexcepts; j++)
                buf_printf(&b, "-%.*s", STR_ARG(r->blocks[k].excepts[j]));
            buf_putc(&b, ' ');
        }
        for (size_t k = 0; k < r->nports; k++)
            buf_printf(&b, "%.*s:%u-%u ", STR_ARG(r->ports[k].protocol), r->ports[k].from, r->ports[k].to);
        buf_putc(&b, '\n');
    }
    buf_putc(&b, 0);
    return buf_take(&b);
}

static int check(const struct net_policy *v, struct err **e)
{
    size_t rules = 0;

    for (size_t i = 0; i < v->nrules; i++) {
        const struct net_policy_rule *r = &v->rules[i];
        for (size_t k = 0; k < r->nports; k++)
            if (!net_proto(r->ports[k].protocol))
                return err_set(e, ERR_INVALID, "NetworkPolicy %.*s: rule %zu: ports[%zu]: protocol is not valid", STR_ARG(v->id), i, k);
        for (size_t k = 0; k < r->nblocks; k++) {
            struct ranges drop = {0};
            bool ok = block_ranges(&r->blocks[k], &drop);
            free(drop.v);
            if (!ok)
                return err_set(e, ERR_INVALID, "NetworkPolicy %.*s: rule %zu: ipBlock %zu is not an IPv4 range", STR_ARG(v->id), i, k);
        }
        rules += 2 * (r->nports + 2);
    }
    if (rules > NET_POLICY_RULES)
        return err_set(e, ERR_LIMIT, "NetworkPolicy %.*s: too many rules and ports for one policy", STR_ARG(v->id));
    return 0;
}

/* Its chains emptied and its sets away. */
static void pol_erase(struct net *n, struct nft *b, const struct pol *p)
{
    struct name z;

    nft_chain_flush(b, chain_name(n, 'p', p->id, &z));
    nft_chain_flush(b, chain_name(n, 'r', p->id, &z));
    for (size_t i = 0; i < p->nrules; i++) {
        if (p->has_pods[i])
            nft_set_del(b, set_name(n, 'u', p->id, i, &z));
        if (p->has_blocks[i])
            nft_set_del(b, set_name(n, 'v', p->id, i, &z));
        if (p->has_named[i])
            nft_set_del(b, set_name(n, 'w', p->id, i, &z));
    }
}

static struct pol *pol_make(const struct net_policy *v, uint32_t id)
{
    struct pol *p = xcalloc(1, sizeof *p);

    p->id = id;
    p->sig = signature(v);
    p->nrules = v->nrules;
    p->rules = xcalloc(v->nrules + 1, sizeof *p->rules);
    p->has_pods = xcalloc(v->nrules + 1, sizeof(bool));
    p->has_blocks = xcalloc(v->nrules + 1, sizeof(bool));
    p->has_named = xcalloc(v->nrules + 1, sizeof(bool));
    for (size_t i = 0; i < v->nrules; i++) {
        const struct net_policy_rule *r = &v->rules[i];
        keys_pods(r, &p->rules[i].pods);
        keys_named(r, &p->rules[i].named);
        p->has_pods[i] = !r->any_peer && r->naddresses;
        p->has_blocks[i] = !r->any_peer && r->nblocks;
        p->has_named[i] = r->nnamed > 0;
    }
    return p;
}

static void pol_update(struct net *n, struct nft *b, struct pol *old, struct pol *now)
{
    struct name z;

    for (size_t i = 0; i < now->nrules; i++) {
        if (now->has_pods[i])
            keys_send(b, set_name(n, 'u', now->id, i, &z), &old->rules[i].pods, &now->rules[i].pods);
        if (now->has_named[i])
            keys_send(b, set_name(n, 'w', now->id, i, &z), &old->rules[i].named, &now->rules[i].named);
    }
}

static void pol_put(struct net *n, struct nft *b, const struct net_policy *given, struct err **first)
{
    struct net_policy none = {.id = given->id};
    const struct net_policy *v = check(given, *first ? NULL : first) < 0 ? &none : given;
    struct pol *old = map_get(&n->policies, v->id), *now = pol_make(v, n->next_id++);
    struct name z;

    if (old && strcmp(old->sig, now->sig) == 0) {
        now->id = old->id;
        pol_update(n, b, old, now);
    } else {
        if (old) { /* pods' chains jump to these names: they stay, their contents change. Sets get other names */
            pol_erase(n, b, old);
            now->id = old->id;
        }
        nft_chain(b, chain_name(n, 'p', now->id, &z), NULL);
        nft_chain(b, chain_name(n, 'r', now->id, &z), NULL);
        for (size_t i = 0; i < v->nrules; i++)
            emit_rule(n, b, now, &v->rules[i], i);
    }
    now->keep = true;
    map_put(&n->policies, v->id, now);
    pol_free(old);
}

static void pol_remove(struct net *n, struct nft *b, struct str id)
{
    struct pol *p = map_del(&n->policies, id);
    struct name z;

    if (!p)
        return;
    pol_erase(n, b, p);
    nft_chain_del(b, chain_name(n, 'p', p->id, &z));
    nft_chain_del(b, chain_name(n, 'r', p->id, &z));
    pol_free(p);
}

/* ---- pods ---- */

static uint32_t address_of(const struct net *n, struct str uid)
{
    const struct net_rec *r = map_get(&n->recs, uid);
    return r ? htonl(r->ip) : 0;
}

static void pod_elems(struct net *n, struct nft *b, const struct polpod *p, uint32_t ip, bool add)
{
    struct name z;

    if (p->out)
        nft_elem(b, add, "np-from", &ip, 4, NULL, 0, chain_name(n, 'o', p->id, &z));
    if (p->in)
        nft_elem(b, add, "np-to", &ip, 4, NULL, 0, chain_name(n, 'q', p->id, &z));
}

static void pod_erase(struct net *n, struct nft *b, struct polpod *p)
{
    struct name z;

    if (p->ip)
        pod_elems(n, b, p, p->ip, false);
    p->ip = 0;
    for (int i = 0; i < 2; i++)
        if (i ? p->out : p->in) {
            nft_chain_flush(b, chain_name(n, i ? 'o' : 'q', p->id, &z));
            nft_chain_del(b, z.z);
        }
}

static void pod_chain(struct net *n, struct nft *b, const struct polpod *p, bool out, const struct str *ids, size_t nids)
{
    struct name z, to;

    nft_chain(b, chain_name(n, out ? 'o' : 'q', p->id, &z), NULL);
    for (size_t i = 0; i < nids; i++) {
        const struct pol *v = map_get(&n->policies, ids[i]);
        if (!v)
            continue;
        nft_rule(b, z.z);
        nft_x_verdict(b, NFT_JUMP, chain_name(n, out ? 'r' : 'p', v->id, &to));
        nft_rule_end(b);
    }
    nft_rule(b, z.z);
    nft_x_reject(b);
    nft_rule_end(b);
}

static char *pod_signature(struct net *n, const struct net_policed *v)
{
    struct buf b = BUF_INIT;

    for (int out = 0; out < 2; out++) {
        const struct str *ids = out ? v->egress : v->ingress;
        for (size_t i = 0; i < (out ? v->negress : v->ningress); i++) {
            const struct pol *p = map_get(&n->policies, ids[i]);
            buf_printf(&b, "%c%x ", out ? 'r' : 'p', p ? p->id : 0);
        }
        buf_putc(&b, '|');
    }
    buf_putc(&b, 0);
    return buf_take(&b);
}

static void pod_put(struct net *n, struct nft *b, const struct net_policed *v)
{
    struct polpod *old = map_get(&n->policed, v->uid), *p;
    char *sig = pod_signature(n, v);

    if (old && strcmp(old->sig, sig) == 0) {
        old->keep = true;
        free(sig);
        return;
    }
    p = xcalloc(1, sizeof *p);
    *p = (struct polpod){.id = n->next_id++, .sig = sig, .in = v->ningress > 0, .out = v->negress > 0, .keep = true};
    if (old)
        pod_erase(n, b, old);
    if (p->in)
        pod_chain(n, b, p, false, v->ingress, v->ningress);
    if (p->out)
        pod_chain(n, b, p, true, v->egress, v->negress);
    p->ip = address_of(n, v->uid);
    if (p->ip)
        pod_elems(n, b, p, p->ip, true);
    map_put(&n->policed, v->uid, p);
    if (old)
        polpod_free(old);
}

static void pod_remove(struct net *n, struct nft *b, struct str uid)
{
    struct polpod *p = map_get(&n->policed, uid);

    if (!p)
        return;
    pod_erase(n, b, p);
    map_del(&n->policed, uid);
    polpod_free(p);
}

int net_policy_pod(struct net *n, struct str uid, struct err **e)
{
    struct polpod *p = map_get(&n->policed, uid);
    uint32_t ip = address_of(n, uid);
    struct nft b;
    int r;

    if (!p || p->ip == ip)
        return 0;
    nft_begin(&b);
    if (p->ip)
        pod_elems(n, &b, p, p->ip, false);
    if (ip)
        pod_elems(n, &b, p, ip, true);
    r = nft_commit(&b, n->nft, e);
    if (r == 0) /* else nothing was done, and the caller comes again */
        p->ip = ip;
    return r < 0 ? err_wrap(e, "network policies") : 0;
}

/* ---- all of it ---- */

static int clear_kernel(struct net *n, struct nft *b, struct err **e)
{
    struct net_leftovers chains = {.epoch = n->policy_epoch, .kinds = "prqo"}, sets = {.epoch = n->policy_epoch, .kinds = "uvw"};
    int r = net_leftovers_read(n, &chains, false, e);

    if (r == 0)
        r = net_leftovers_read(n, &sets, true, e);
    nft_set_flush(b, "np-from");
    nft_set_flush(b, "np-to");
    for (size_t i = 0; i < chains.k; i++)
        nft_chain_flush(b, chains.v[i]);
    for (size_t i = 0; i < sets.k; i++)
        nft_set_del(b, sets.v[i]);
    for (size_t i = 0; i < chains.k; i++)
        nft_chain_del(b, chains.v[i]);
    net_leftovers_clear(&chains);
    net_leftovers_clear(&sets);
    return r;
}

static void sweep(struct net *n, struct nft *b, bool pods)
{
    map_for (pods ? &n->policed : &n->policies, it) {
        _cleanup_(freep) char *key = str_dup(map_key(it));
        bool *keep = pods ? &((struct polpod *)it->value)->keep : &((struct pol *)it->value)->keep;
        if (*keep)
            *keep = false;
        else if (pods)
            pod_remove(n, b, str_of(key));
        else
            pol_remove(n, b, str_of(key));
    }
}

static void apply(struct net *n, struct nft *b, bool whole, const struct net_policy *v, size_t count, const struct net_policed *pods,
    size_t npods, struct err **first)
{
    for (size_t i = 0; i < count; i++) /* new policies, then pods, then what nobody names any more */
        if (!v[i].id.n || v[i].id.n > ID_MAX)
            err_set(*first ? NULL : first, ERR_INVALID, "a NetworkPolicy without a proper name");
        else if (!v[i].remove)
            pol_put(n, b, &v[i], first);
    for (size_t i = 0; i < npods; i++)
        if (pods[i].remove)
            pod_remove(n, b, pods[i].uid);
        else if (pods[i].uid.n)
            pod_put(n, b, &pods[i]);
    if (whole)
        sweep(n, b, true);
    for (size_t i = 0; i < count; i++)
        if (v[i].remove)
            pol_remove(n, b, v[i].id);
    if (whole)
        sweep(n, b, false);
    map_for (&n->policed, it)
        ((struct polpod *)it->value)->keep = false;
    map_for (&n->policies, it)
        ((struct pol *)it->value)->keep = false;
}

int net_policies(
    struct net *n, bool whole, const struct net_policy *v, size_t count, const struct net_policed *pods, size_t npods, struct err **e)
{
    struct err *first = NULL;
    struct nft b;
    int r = 0;

    if (!n->table_ready)
        return err_set(e, ERR_UNAVAILABLE, "the pod network is not configured yet");
    if (!n->policies_known && !whole)
        return err_set(e, ERR_CONFLICT, "the whole list of NetworkPolicies is needed first");
    nft_begin(&b);
    if (!n->policies_known) {
        net_policies_clear(n);
        snprintf(n->policy_epoch, sizeof n->policy_epoch, "%08x", (unsigned)random_u64());
        r = clear_kernel(n, &b, &first);
    }
    apply(n, &b, whole, v, count, pods, npods, &first);
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
    n->policies_known = r == 0;
    if (r < 0) {
        net_policies_clear(n);
        err_wrap(&first, "network policies");
    }
    return first ? err_move(e, first) : 0;
}
