#include <arpa/inet.h>
#include "api/impl.h"
#include "base/file.h"

/* What the cluster gives out of its ranges: ClusterIPs, node ports, and each node's piece of the pod network. In memory, filled from the
 * store at start and again by housekeeping; taken before the write, given back when the store refuses. */

#define PORT_FIRST 30000
#define PORTS 2768
#define NODE_BITS 24         /* one /24 per node */
#define RANGE_MAX (1u << 20) /* addresses or pieces that a bitmap covers */

struct range {
    uint32_t base, n;
    uint8_t *bits;
};
struct addresses {
    struct api *api;
    pthread_mutex_t lock;
    struct range ips, nodes; /* nodes: base is in units of pieces */
    uint8_t ports[PORTS / 8 + 1];
    uint8_t *suspects; /* of the three bitmaps one behind the other: taken, yet of no object at the last look */
};

/* What one write took, and what it gives back when it stands. */
#define TAKEN_MAX 256
struct taken {
    uint32_t ips[4], nodes[1];
    uint16_t ports[TAKEN_MAX], drop_ports[TAKEN_MAX];
    uint32_t drop_ip;
    size_t nips, nports, ndrop, nnodes;
};

static bool bit(const uint8_t *b, uint32_t i)
{
    return b[i / 8] >> (i % 8) & 1;
}
static void bit_set(uint8_t *b, uint32_t i, bool on)
{
    b[i / 8] = (uint8_t)(on ? b[i / 8] | 1u << (i % 8) : b[i / 8] & ~(1u << (i % 8)));
}

static bool ip_of(struct str s, uint32_t *out)
{
    char z[INET_ADDRSTRLEN];
    struct in_addr a;
    if (s.n == 0 || s.n >= sizeof z)
        return false;
    memcpy(z, s.p, s.n);
    z[s.n] = 0;
    if (inet_pton(AF_INET, z, &a) != 1)
        return false;
    *out = ntohl(a.s_addr);
    return true;
}

static struct str ip_text(struct pool *p, uint32_t ip)
{
    return pool_printf(p, "%u.%u.%u.%u", ip >> 24, ip >> 16 & 255, ip >> 8 & 255, ip & 255);
}

/* The first IPv4 range of a list "10.43.0.0/16,2001:db8::/112". */
static bool cidr_of(struct str list, uint32_t *base, unsigned *len)
{
    struct str piece, ip, n;
    uint64_t bits;
    while (str_split(&list, ',', &piece))
        if (str_cut(str_trim(piece), '/', &ip, &n) && ip_of(ip, base) && str_to_u64(n, &bits) && bits >= 8 && bits <= 30) {
            *len = (unsigned)bits;
            *base &= ~0u << (32 - bits);
            return true;
        }
    return false;
}

struct addresses *addresses_new(struct api *a, struct err **e)
{
    struct addresses *x = xcalloc(1, sizeof *x);
    uint32_t base;
    unsigned len;
    x->api = a;
    pthread_mutex_init(&x->lock, NULL);
    if (str_empty(a->cfg.service_cidr))
        return x;
    if (!cidr_of(a->cfg.service_cidr, &base, &len)) {
        (void)err_set(e, ERR_USAGE, "service-cidr: \"%.*s\" holds no IPv4 network such as 10.43.0.0/16", STR_ARG(a->cfg.service_cidr));
        addresses_free(x);
        return NULL;
    }
    x->ips = (struct range){base, MIN(1u << (32 - len), RANGE_MAX), NULL};
    x->ips.bits = xcalloc(x->ips.n / 8 + 1, 1);
    if (cidr_of(a->cfg.cluster_cidr, &base, &len) && len <= NODE_BITS) {
        x->nodes = (struct range){base >> (32 - NODE_BITS), MIN(1u << (NODE_BITS - len), RANGE_MAX), NULL};
        x->nodes.bits = xcalloc(x->nodes.n / 8 + 1, 1);
    }
    return x;
}

void addresses_free(struct addresses *x)
{
    if (!x)
        return;
    free(x->ips.bits);
    free(x->nodes.bits);
    free(x->suspects);
    pthread_mutex_destroy(&x->lock);
    free(x);
}

/* The first address of the service network: the kubernetes Service's own. */
struct str addresses_first(struct api *a, struct pool *p)
{
    uint32_t base;
    unsigned len;
    return cidr_of(a->cfg.service_cidr, &base, &len) ? ip_text(p, base + 1) : STR_NULL;
}

/* ---- filling ---- */

static void mark_service(struct addresses *x, const struct json *doc, bool on)
{
    const struct json *spec = json_get(doc, STR("spec"));
    uint32_t ip;
    json_for (json_get(spec, STR("clusterIPs")), it)
        if (ip_of(json_as_str(it), &ip) && ip >= x->ips.base && ip - x->ips.base < x->ips.n)
            bit_set(x->ips.bits, ip - x->ips.base, on);
    json_for (json_get(spec, STR("ports")), it) {
        int64_t port = json_get_int(it, "nodePort", 0) - PORT_FIRST;
        if (port >= 0 && port < PORTS)
            bit_set(x->ports, (uint32_t)port, on);
    }
    int64_t health = json_get_int(spec, "healthCheckNodePort", 0) - PORT_FIRST;
    if (health >= 0 && health < PORTS)
        bit_set(x->ports, (uint32_t)health, on);
}

static void mark_node(struct addresses *x, const struct json *doc)
{
    struct str ip, n;
    uint32_t base;
    if (x->nodes.bits && str_cut(json_str_at(doc, "spec", "podCIDR", NULL), '/', &ip, &n) && ip_of(ip, &base)) {
        base >>= 32 - NODE_BITS;
        if (base >= x->nodes.base && base - x->nodes.base < x->nodes.n)
            bit_set(x->nodes.bits, base - x->nodes.base, true);
    }
}

static void each(struct store_view *v, struct store_res *r, struct addresses *x, bool node)
{
    struct store_iter it;
    iter_start(&it, v, r, STR_NULL, STR_NULL, STR_NULL);
    for (const struct obj *o; (o = iter_next(&it));) {
        _cleanup_(pool_freep) struct pool *p = pool_new();
        struct json *doc;
        if (obj_parse(o, p, &doc, NULL) < 0)
            continue;
        if (node)
            mark_node(x, doc);
        else
            mark_service(x, doc, true);
    }
}

/* What stands in the store is taken. What is taken and stands nowhere may belong to a write that is on its way: only when it was so at the
 * last look too, it is given back. */
static void merge(uint8_t *bits, uint8_t *fresh, uint8_t *suspects, size_t n, bool first)
{
    for (size_t i = 0; i < n; i++) {
        uint8_t stray = first ? 0 : (uint8_t)(bits[i] & ~fresh[i]);
        fresh[i] |= (uint8_t)(stray & ~suspects[i]);
        suspects[i] = stray;
    }
    memcpy(bits, fresh, n);
}

int addresses_rebuild(struct api *a, struct err **e)
{
    struct addresses *x = a->addresses;
    (void)e;
    if (!x->ips.bits || !a->res.services || !a->res.nodes)
        return 0;
    size_t nips = x->ips.n / 8 + 1, nnodes = x->nodes.bits ? x->nodes.n / 8 + 1 : 0;
    struct addresses fresh = {.ips = x->ips, .nodes = x->nodes};
    fresh.ips.bits = xcalloc(nips, 1);
    fresh.nodes.bits = nnodes ? xcalloc(nnodes, 1) : NULL;
    pthread_mutex_lock(&x->lock);
    bool first = !x->suspects;
    if (first)
        x->suspects = xcalloc(nips + nnodes + sizeof x->ports, 1);
    _cleanup_(store_view_unrefp) struct store_view *v = store_view(a->store);
    bit_set(fresh.ips.bits, 0, true);
    bit_set(fresh.ips.bits, x->ips.n - 1, true);
    each(v, a->res.services, &fresh, false);
    each(v, a->res.nodes, &fresh, true);
    merge(x->ips.bits, fresh.ips.bits, x->suspects, nips, first);
    merge(x->ports, fresh.ports, x->suspects + nips, sizeof x->ports, first);
    if (nnodes)
        merge(x->nodes.bits, fresh.nodes.bits, x->suspects + nips + sizeof x->ports, nnodes, first);
    pthread_mutex_unlock(&x->lock);
    free(fresh.ips.bits);
    free(fresh.nodes.bits);
    return 0;
}

/* ---- taking ---- */

static struct taken *taken_of(struct call *c)
{
    if (!c->taken)
        c->taken = pool_new_of(c->pool, struct taken);
    return c->taken;
}

/* A free bit, from `low` on first (what lies below is for addresses that people choose), beginning at a random one. -1: full. */
static int64_t find_free(const uint8_t *bits, uint32_t n, uint32_t low)
{
    uint32_t span = n - low, start = (uint32_t)(random_u64() % span);
    for (uint32_t i = 0; i < span; i++)
        if (!bit(bits, low + (start + i) % span))
            return low + (start + i) % span;
    for (uint32_t i = 0; i < low; i++)
        if (!bit(bits, i))
            return i;
    return -1;
}

static int invalid(struct call *c, struct err **e, const char *field, const char *why)
{
    struct str name = json_str_at(c->w.doc, "metadata", "name", NULL);
    (void)err_set(e, ERR_INVALID, "Service \"%.*s\" is invalid: %s: %s", STR_ARG(name), field, why);
    return err_cause(e, "FieldValueInvalid", str_of(field), "%s", why), -ERR_INVALID;
}

static int take_ip(struct call *c, struct str want, struct str *got, struct err **e)
{
    struct addresses *x = c->api->addresses;
    struct taken *t = taken_of(c);
    uint32_t ip, at;
    if (str_empty(want)) {
        uint32_t low = MIN(MAX(16u, x->ips.n / 16), 256u);
        int64_t f = find_free(x->ips.bits, x->ips.n, low < x->ips.n ? low : 1);
        if (f < 0)
            return err_set(e, ERR_INTERNAL, "failed to allocate a serviceIP: range is full");
        at = (uint32_t)f;
    } else {
        if (!ip_of(want, &ip))
            return invalid(c, e, "spec.clusterIPs[0]",
                pool_printf(
                    c->pool, "Invalid value: \"%.*s\": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)", STR_ARG(want))
                    .p);
        if (ip < x->ips.base || ip - x->ips.base >= x->ips.n)
            return invalid(c, e, "spec.clusterIPs",
                pool_printf(c->pool,
                    "Invalid value: [\"%.*s\"]: failed to allocate IP %.*s: the provided IP is not in the valid range. The range of valid "
                    "IPs is %.*s",
                    STR_ARG(want), STR_ARG(want), STR_ARG(c->api->cfg.service_cidr))
                    .p);
        at = ip - x->ips.base;
        if (bit(x->ips.bits, at))
            return invalid(c, e, "spec.clusterIPs",
                pool_printf(c->pool, "Invalid value: [\"%.*s\"]: failed to allocate IP %.*s: provided IP is already allocated",
                    STR_ARG(want), STR_ARG(want))
                    .p);
    }
    bit_set(x->ips.bits, at, true);
    t->ips[t->nips++] = at;
    *got = ip_text(c->pool, x->ips.base + at);
    return 0;
}

static bool taken_now(const struct taken *t, uint32_t at)
{
    for (size_t i = 0; i < t->nports; i++)
        if (t->ports[i] == at)
            return true;
    return false;
}

static int take_port(struct call *c, int64_t want, const char *field, int64_t *got, struct err **e)
{
    struct addresses *x = c->api->addresses;
    struct taken *t = taken_of(c);
    int64_t at = want - PORT_FIRST;
    if (t->nports >= TAKEN_MAX)
        return invalid(c, e, "spec.ports", "Invalid value: too many node ports in one Service");
    if (want == 0 && (at = find_free(x->ports, PORTS, 86)) < 0)
        return err_set(e, ERR_INTERNAL, "failed to allocate a nodePort: range is full");
    if (at < 0 || at >= PORTS)
        return invalid(c, e, field,
            pool_printf(c->pool,
                "Invalid value: %" PRId64 ": provided port is not in the valid range. The range of valid ports is 30000-32767", want)
                .p);
    if (want && bit(x->ports, (uint32_t)at)) {
        if (!taken_now(t, (uint32_t)at)) /* TCP and UDP of one Service may share */
            return invalid(c, e, field, pool_printf(c->pool, "Invalid value: %" PRId64 ": provided port is already allocated", want).p);
        *got = want;
        return 0;
    }
    bit_set(x->ports, (uint32_t)at, true);
    t->ports[t->nports++] = (uint16_t)at;
    *got = at + PORT_FIRST;
    return 0;
}

/* ---- services ---- */

static bool has_port(const struct json *spec, int64_t node_port)
{
    json_for (json_get(spec, STR("ports")), it)
        if (json_get_int(it, "nodePort", 0) == node_port)
            return true;
    return json_get_int(spec, "healthCheckNodePort", 0) == node_port;
}

static const struct json *same_port(const struct json *spec, const struct json *port)
{
    json_for (json_get(spec, STR("ports")), it)
        if (json_get_int(it, "port", 0) == json_get_int(port, "port", 0) &&
            str_eq(json_get_str(it, "protocol"), json_get_str(port, "protocol")))
            return it;
    return NULL;
}

static void add_families(struct call *c, struct json *spec, bool both)
{
    struct json *list = json_arr(c->pool);
    json_append(list, json_str(c->pool, STR("IPv4")));
    if (both)
        json_append(list, json_str(c->pool, STR("IPv6")));
    json_set(c->pool, spec, STR("ipFamilies"), list);
}

/* One family is served. A headless Service without selector may have endpoints of any, and is marked so. */
static int set_family(struct call *c, struct json *spec, struct str ip, struct err **e)
{
    struct pool *p = c->pool;
    bool any = str_eqz(ip, "None") && json_count(json_get(spec, STR("selector"))) == 0;
    struct str policy = json_get_str(spec, "ipFamilyPolicy"), family = json_as_str(json_at(json_get(spec, STR("ipFamilies")), 0));
    if (!any && str_eqz(policy, "RequireDualStack"))
        return invalid(
            c, e, "spec.ipFamilyPolicy", "Invalid value: \"RequireDualStack\": this cluster is not configured for dual-stack services");
    if (!any && str_eqz(family, "IPv6"))
        return invalid(c, e, "spec.ipFamilies[0]", "Invalid value: \"IPv6\": not configured on this cluster");
    struct json *ips = json_arr(p);
    json_set_str(p, spec, STR("clusterIP"), ip);
    json_append(ips, json_str(p, ip));
    json_set(p, spec, STR("clusterIPs"), ips);
    if (str_empty(policy))
        json_set_str(p, spec, STR("ipFamilyPolicy"), any ? STR("RequireDualStack") : STR("SingleStack"));
    if (str_empty(family))
        add_families(c, spec, any);
    return 0;
}

static int service_ip(struct call *c, struct json *spec, const struct json *old, struct err **e)
{
    struct str ip = json_get_str(spec, "clusterIP"), first = json_as_str(json_at(json_get(spec, STR("clusterIPs")), 0)),
               had = json_get_str(old, "clusterIP");
    if (str_empty(ip))
        ip = first;
    else if (!str_empty(first) && !str_eq(first, ip))
        return invalid(c, e, "spec.clusterIPs", "Invalid value: first value must match clusterIP");
    if (str_eqz(json_get_str(spec, "type"), "ExternalName")) {
        static const char *const gone[] = {"clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"};
        for (size_t i = 0; i < ARRAY_LEN(gone); i++)
            json_del(spec, str_of(gone[i]));
        uint32_t was;
        if (ip_of(had, &was))
            taken_of(c)->drop_ip = was;
        return 0;
    }
    if (str_empty(ip))
        ip = had;
    bool same = str_eq(ip, had) && !str_empty(had);
    if (!same && !str_empty(had) && !str_eqz(had, "None") && !str_eqz(json_get_str(old, "type"), "ExternalName"))
        return invalid(
            c, e, "spec.clusterIPs[0]", pool_printf(c->pool, "Invalid value: [\"%.*s\"]: may not change once set", STR_ARG(ip)).p);
    if (!same && !str_eqz(ip, "None") && take_ip(c, ip, &ip, e) < 0)
        return -(*e)->code;
    return set_family(c, spec, ip, e);
}

static int service_ports(struct call *c, struct json *spec, const struct json *old, struct err **e)
{
    struct str type = json_get_str(spec, "type");
    bool lb = str_eqz(type, "LoadBalancer"),
         wants = str_eqz(type, "NodePort") || (lb && json_get_bool(spec, "allocateLoadBalancerNodePorts", true));
    size_t i = 0;
    json_for (json_get(spec, STR("ports")), it) {
        char field[48];
        snprintf(field, sizeof field, "spec.ports[%zu].nodePort", i++);
        int64_t want = json_get_int(it, "nodePort", 0), had = json_get_int(same_port(old, it), "nodePort", 0), got;
        if (!wants && !(lb && want)) {
            json_del(it, STR("nodePort"));
            continue;
        }
        if (want == 0)
            want = had;
        if (want && old && has_port(old, want))
            got = want;
        else if (take_port(c, want, field, &got, e) < 0)
            return -(*e)->code;
        json_set_int(c->pool, it, STR("nodePort"), got);
    }
    bool local = lb && str_eqz(json_get_str(spec, "externalTrafficPolicy"), "Local");
    int64_t health = json_get_int(spec, "healthCheckNodePort", 0), had = json_get_int(old, "healthCheckNodePort", 0);
    if (!local) {
        json_del(spec, STR("healthCheckNodePort"));
        return 0;
    }
    if (health == 0)
        health = had;
    if ((health == 0 || health != had) && take_port(c, health, "spec.healthCheckNodePort", &health, e) < 0)
        return -(*e)->code;
    json_set_int(c->pool, spec, STR("healthCheckNodePort"), health);
    return 0;
}

static void collect_dropped(struct call *c, const struct json *spec, const struct json *old)
{
    struct taken *t = taken_of(c);
    json_for (json_get(old, STR("ports")), it) {
        int64_t p = json_get_int(it, "nodePort", 0);
        if (p >= PORT_FIRST && p < PORT_FIRST + PORTS && !has_port(spec, p) && t->ndrop < TAKEN_MAX)
            t->drop_ports[t->ndrop++] = (uint16_t)(p - PORT_FIRST);
    }
}

int addresses_service(struct call *c, struct err **e)
{
    struct addresses *x = c->api->addresses;
    struct json *spec = json_put_obj(c->pool, c->w.doc, STR("spec"));
    const struct json *old = json_get(c->w.old, STR("spec"));
    if (!x || !x->ips.bits || c->w.op == WRITE_DELETE)
        return 0;
    if (c->taken)
        *c->taken = (struct taken){0};
    pthread_mutex_lock(&x->lock);
    int r = service_ip(c, spec, old, e);
    if (r >= 0)
        r = service_ports(c, spec, old, e);
    if (r >= 0 && old)
        collect_dropped(c, spec, old);
    pthread_mutex_unlock(&x->lock);
    if (r < 0)
        addresses_undo(c);
    return r;
}

int addresses_node(struct call *c, struct json *spec, struct err **e)
{
    struct addresses *x = c->api->addresses;
    if (!x || !x->nodes.bits)
        return 0;
    struct taken *t = taken_of(c);
    int64_t at = -1;
    pthread_mutex_lock(&x->lock);
    for (uint32_t i = 0; i < x->nodes.n && at < 0; i++)
        if (!bit(x->nodes.bits, i))
            at = i;
    if (at >= 0) {
        bit_set(x->nodes.bits, (uint32_t)at, true);
        t->nodes[0] = (uint32_t)at;
        t->nnodes = 1;
    }
    pthread_mutex_unlock(&x->lock);
    if (at < 0)
        return err_set(e, ERR_FORBIDDEN, "no piece of the pod network %.*s is left for another node", STR_ARG(c->api->cfg.cluster_cidr));
    struct str cidr =
        pool_printf(c->pool, "%.*s/%d", STR_ARG(ip_text(c->pool, (x->nodes.base + (uint32_t)at) << (32 - NODE_BITS))), NODE_BITS);
    json_set_str(c->pool, spec, STR("podCIDR"), cidr);
    struct json *list = json_arr(c->pool);
    json_append(list, json_str(c->pool, cidr));
    json_set(c->pool, spec, STR("podCIDRs"), list);
    return 0;
}

void addresses_undo(struct call *c)
{
    struct addresses *x = c->api->addresses;
    struct taken *t = c->taken;
    if (!t)
        return;
    pthread_mutex_lock(&x->lock);
    for (size_t i = 0; i < t->nips; i++)
        bit_set(x->ips.bits, t->ips[i], false);
    for (size_t i = 0; i < t->nports; i++)
        bit_set(x->ports, t->ports[i], false);
    for (size_t i = 0; i < t->nnodes; i++)
        bit_set(x->nodes.bits, t->nodes[i], false);
    pthread_mutex_unlock(&x->lock);
    *t = (struct taken){0};
}

void addresses_done(struct call *c)
{
    struct addresses *x = c->api->addresses;
    struct taken *t = c->taken;
    if (!t)
        return;
    pthread_mutex_lock(&x->lock);
    for (size_t i = 0; i < t->ndrop; i++)
        bit_set(x->ports, t->drop_ports[i], false);
    if (t->drop_ip >= x->ips.base && t->drop_ip - x->ips.base < x->ips.n && t->drop_ip)
        bit_set(x->ips.bits, t->drop_ip - x->ips.base, false);
    pthread_mutex_unlock(&x->lock);
    *t = (struct taken){0};
}

void addresses_release(struct api *a, const struct obj *last)
{
    struct addresses *x = a->addresses;
    struct json *doc;
    bool service = last->res == a->res.services, node = last->res == a->res.nodes;
    if (!x || !x->ips.bits || (!service && !node))
        return;
    _cleanup_(pool_freep) struct pool *p = pool_new();
    if (obj_parse(last, p, &doc, NULL) < 0)
        return;
    pthread_mutex_lock(&x->lock);
    if (service) {
        mark_service(x, doc, false);
    } else if (x->nodes.bits) {
        struct str ip, n;
        uint32_t base;
        if (str_cut(json_str_at(doc, "spec", "podCIDR", NULL), '/', &ip, &n) && ip_of(ip, &base) &&
            (base >>= 32 - NODE_BITS) >= x->nodes.base && base - x->nodes.base < x->nodes.n)
            bit_set(x->nodes.bits, base - x->nodes.base, false);
    }
    pthread_mutex_unlock(&x->lock);
}
