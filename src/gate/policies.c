/* NetworkPolicies of the mirror → NODE_POLICIES.
 *
 * Only policies that select a pod of this node are sent, their peers resolved to addresses: our own pods as node told them, all others from
 * the mirror ("peers/pods/...", "/namespaces/..."), so that everything holds without a link. The DNS address counts as a pod of kube-system
 * with the label k8s-app=kube-dns, ports dns and dns-tcp, since that is what people's policies allow names by.
 *
 * Everything is composed anew when something of it changed; what was sent last is kept as bytes, and only what differs goes to node. It
 * goes before NODE_POD, and a pod that a policy selects says so there (policed), so that it has no network before its rules stand. */
#include <stdlib.h>

#include "gate/impl.h"
#include "schema/selector.h"

#define POLICIES STR("networking.k8s.io/networkpolicies/")
#define NAMESPACES STR("/namespaces/")
#define PEERS STR("peers/pods/")
#define RETRY_NS (2 * NS_PER_S)
#define PORTS_MAX 512 /* named ports of a pod that count */

struct peer_port {
    struct str name, protocol;
    uint16_t port;
};
struct peer { /* a pod somewhere in the cluster */
    struct pool *pool;
    struct str ns, ip;
    struct json *labels;
    struct peer_port *ports;
    size_t nports;
};
struct policies {
    struct gate *gate;
    struct map peers;           /* mirror key → struct peer */
    struct map sent, sent_pods; /* id → bytes; uid → bytes */
    bool whole, dirty;
    struct timer retry;
};

/* ---- peers ---- */

static void peer_free(void *arg)
{
    struct peer *x = arg;
    if (x)
        pool_free(x->pool);
}

static void peer_ports(struct peer *x, struct pool *p, const struct json *pod)
{
    const struct json *containers = json_path(pod, "spec", "containers", NULL);
    size_t cap = 0;
    json_for (containers, c)
        cap += json_count(json_get(c, STR("ports")));
    x->ports = pool_array(p, struct peer_port, MIN(cap, (size_t)PORTS_MAX) + 1);
    json_for (containers, c)
        json_for (json_get(c, STR("ports")), port) {
            struct str proto = json_get_str(port, "protocol"), name = json_get_str(port, "name");
            int64_t number = json_get_int(port, "containerPort", 0);
            if (name.n && number > 0 && number <= 65535 && x->nports < PORTS_MAX)
                x->ports[x->nports++] = (struct peer_port){name, proto.n ? proto : STR("TCP"), (uint16_t)number};
        }
}

/* pod's strings stay where they are. */
static void peer_fill(struct peer *x, struct pool *p, struct json *pod, struct str ip)
{
    x->ns = json_str_at(pod, "metadata", "namespace", NULL);
    x->ip = ip;
    x->labels = json_path(pod, "metadata", "labels", NULL);
    peer_ports(x, p, pod);
}

static void peer_changed(struct policies *s, struct str key)
{
    const struct mirror_item *it = mirror_get(s->gate->mirror, key);
    struct pool *p;
    struct json *pod;

    peer_free(map_del(&s->peers, key));
    if (!it)
        return;
    p = pool_new();
    if (json_parse(p, bytes_str(it->bytes), NULL, &pod, NULL) < 0) {
        pool_free(p);
        return;
    }
    struct peer *x = pool_array(p, struct peer, 1);
    x->pool = p;
    peer_fill(x, p, pod, json_str_at(pod, "status", "podIP", NULL));
    map_put(&s->peers, key, x);
}

void policies_mirror_change(struct gate *g, struct str key)
{
    struct policies *s = g->policies;
    if (!s || g->o->no_network_policy)
        return;
    if (str_starts(key, PEERS))
        peer_changed(s, key);
    else if (!str_starts(key, POLICIES) && !str_starts(key, NAMESPACES) && !str_starts(key, STR("/pods/")))
        return;
    s->dirty = true;
}

void policies_pod_changed(struct gate *g)
{
    if (g->policies && map_count(&g->policies->sent))
        g->policies->dirty = true;
}

/* ---- composing ---- */

struct compose {
    struct policies *s;
    struct pool *pool;
    struct peer *all; /* every pod with an address, and the names service */
    size_t nall, cap;
    struct node_policy *policies;
    size_t npolicies;
    struct node_policed *pods;
    size_t npods;
};

static void add_peer(struct compose *c, const struct peer *x)
{
    if (c->nall == c->cap) {
        c->all = pool_grow(c->pool, c->all, c->cap * sizeof *c->all, (c->cap * 2 + 64) * sizeof *c->all);
        c->cap = c->cap * 2 + 64;
    }
    c->all[c->nall++] = *x;
}

static bool host_network(const struct json *pod)
{
    return json_get_bool(json_get(pod, STR("spec")), "hostNetwork", false);
}

static void gather(struct compose *c)
{
    struct gate *g = c->s->gate;
    static const struct peer_port dns_ports[] = {{{"dns", 3}, {"UDP", 3}, 53}, {{"dns-tcp", 7}, {"TCP", 3}, 53}};
    struct peer dns = {.ns = STR("kube-system"), .ip = str_of(g->o->cluster_dns), .labels = json_obj(c->pool), .nports = 2};

    map_for (&c->s->peers, it)
        if (((struct peer *)it->value)->ip.n)
            add_peer(c, it->value);
    map_for (&g->pods, it) {
        struct gpod *p = it->value;
        struct json *tree = gpod_tree(p);
        struct peer x = {0};
        struct str ip = gpod_ip(p).n ? gpod_ip(p) : json_str_at(tree, "status", "podIP", NULL);
        if (!tree || host_network(tree) || !ip.n)
            continue;
        peer_fill(&x, c->pool, tree, pool_str(c->pool, ip));
        add_peer(c, &x);
    }
    dns.ports = pool_array(c->pool, struct peer_port, 2);
    memcpy(dns.ports, dns_ports, sizeof dns_ports);
    json_set_str(c->pool, dns.labels, STR("k8s-app"), STR("kube-dns"));
    if (dns.ip.n)
        add_peer(c, &dns);
}

/* A selector that cannot be read selects nothing. */
static struct selector selector_of(struct compose *c, const struct json *sel)
{
    struct selector out = {.nothing = true};
    if (sel && selector_from_json(c->pool, sel, &out, NULL) < 0)
        out = (struct selector){.nothing = true};
    return out;
}

struct match {           /* one entry of from or to that names pods */
    bool all_namespaces; /* with ns_selector */
    struct selector ns, pods;
    struct str own; /* without: this namespace */
};

static bool ns_matches(struct compose *c, const struct match *m, struct str ns, struct map *seen)
{
    if (!m->all_namespaces)
        return str_eq(ns, m->own);
    void *known = map_get(seen, ns);
    if (!known) {
        struct json *o = mirror_tree(c->s->gate, c->pool, "/namespaces", STR(""), ns);
        struct json *labels = json_path(o, "metadata", "labels", NULL), *empty = json_obj(c->pool);
        known = selector_match_json(&m->ns, labels ? labels : empty) && o ? (void *)m : (void *)seen;
        map_put(seen, ns, known);
    }
    return known == (void *)m;
}

static void block(struct compose *c, struct node_policy_rule *r, const struct json *b)
{
    struct node_policy_block *out = &r->blocks[r->nblocks++];
    const struct json *list = json_get(b, STR("except"));
    *out = (struct node_policy_block){.cidr = json_get_str(b, "cidr"), .excepts = pool_array(c->pool, struct str, json_count(list) + 1)};
    if (str_chr(out->cidr, ':') >= 0) { /* IPv6: there is none here */
        r->nblocks--;
        return;
    }
    json_for (list, x)
        if (str_chr(json_as_str(x), ':') < 0)
            out->excepts[out->nexcepts++] = json_as_str(x);
}

/* Which of c->all the rule's peers name: a flag each. */
static bool *chosen(struct compose *c, struct node_policy_rule *r, const struct json *peers, struct str own)
{
    bool *on = pool_array(c->pool, bool, c->nall + 1);

    r->any_peer = !json_count(peers);
    r->blocks = pool_array(c->pool, struct node_policy_block, json_count(peers) + 1);
    for (size_t i = 0; r->any_peer && i < c->nall; i++)
        on[i] = true;
    json_for (peers, x) {
        const struct json *b = json_get(x, STR("ipBlock")), *nsel = json_get(x, STR("namespaceSelector")),
                          *psel = json_get(x, STR("podSelector"));
        struct match m = {.all_namespaces = nsel != NULL, .own = own};
        struct map seen = {0};
        if (b) {
            block(c, r, b);
            continue;
        }
        m.ns = selector_of(c, nsel);
        m.pods = psel ? selector_of(c, psel) : (struct selector){0};
        for (size_t i = 0; i < c->nall; i++)
            if (!on[i] && selector_match_json(&m.pods, c->all[i].labels ? c->all[i].labels : json_obj(c->pool)) &&
                ns_matches(c, &m, c->all[i].ns, &seen))
                on[i] = true;
        map_clear(&seen, NULL);
    }
    return on;
}

static void name_ports(struct compose *c, struct node_policy_rule *r, struct str name, struct str protocol, const bool *on)
{
    size_t k = 0;
    for (size_t i = 0; i < c->nall; i++)
        k += on[i] ? c->all[i].nports : 0;
    r->named = pool_grow(c->pool, r->named, r->nnamed * sizeof *r->named, (r->nnamed + k + 1) * sizeof *r->named);
    for (size_t i = 0; i < c->nall; i++)
        for (size_t j = 0; on[i] && j < c->all[i].nports; j++) {
            const struct peer_port *q = &c->all[i].ports[j];
            if (str_eq(q->name, name) && str_eq(q->protocol, protocol))
                r->named[r->nnamed++] = (struct node_policy_named){c->all[i].ip, q->protocol, q->port};
        }
}

/* on: the destinations that a name of a port may mean. */
static void rule_ports(struct compose *c, struct node_policy_rule *r, const struct json *ports, const bool *on)
{
    r->any_port = !json_count(ports);
    r->ports = pool_array(c->pool, struct node_policy_port, json_count(ports) + 1);
    json_for (ports, p) {
        const struct json *port = json_get(p, STR("port"));
        struct str proto = json_get_str(p, "protocol");
        int64_t from = json_as_int(port, 0), to = json_get_int(p, "endPort", 0);
        if (!proto.n)
            proto = STR("TCP");
        if (json_is(port, JSON_STR))
            name_ports(c, r, json_as_str(port), proto, on);
        else if (from >= 0 && from <= 65535 && to >= 0 && to <= 65535)
            r->ports[r->nports++] = (struct node_policy_port){proto, (uint64_t)from, (uint64_t)to};
    }
}

static void rule(struct compose *c, struct node_policy *out, const struct json *x, bool egress, struct str ns, const bool *selected)
{
    struct node_policy_rule *r = &out->rules[out->nrules++];
    *r = (struct node_policy_rule){.egress = egress};
    const bool *on = chosen(c, r, json_get(x, egress ? STR("to") : STR("from")), ns);
    rule_ports(c, r, json_get(x, STR("ports")), egress ? on : selected);
    if (r->any_peer)
        return;
    r->addresses = pool_array(c->pool, struct str, c->nall + 1);
    for (size_t i = 0; i < c->nall; i++)
        if (on[i])
            r->addresses[r->naddresses++] = c->all[i].ip;
}

static int by_text(const void *a, const void *b)
{
    return str_cmp(*(const struct str *)a, *(const struct str *)b);
}

static int by_named(const void *a, const void *b)
{
    const struct node_policy_named *x = a, *y = b;
    int r = str_cmp(x->ip, y->ip);
    return r ? r : x->port != y->port ? (x->port < y->port ? -1 : 1) : str_cmp(x->protocol, y->protocol);
}

/* Maps have no order, and equal policies must be equal bytes. */
static void order(struct node_policy *v)
{
    for (size_t i = 0; i < v->nrules; i++) {
        if (v->rules[i].naddresses)
            qsort(v->rules[i].addresses, v->rules[i].naddresses, sizeof(struct str), by_text);
        if (v->rules[i].nnamed)
            qsort(v->rules[i].named, v->rules[i].nnamed, sizeof(struct node_policy_named), by_named);
    }
}

static bool has_type(const struct json *spec, const char *type)
{
    const struct json *types = json_get(spec, STR("policyTypes"));
    if (!json_count(types))
        return str_eqz(str_of(type), "Ingress") || json_count(json_get(spec, STR("egress")));
    json_for (types, t)
        if (str_eqz(json_as_str(t), type))
            return true;
    return false;
}

static struct node_policed *policed_of(struct compose *c, struct str uid)
{
    for (size_t i = 0; i < c->npods; i++)
        if (str_eq(c->pods[i].uid, uid))
            return &c->pods[i];
    struct node_policed *x = &c->pods[c->npods++];
    *x = (struct node_policed){.uid = uid};
    return x;
}

static void name_policy(struct pool *p, struct str **list, size_t *n, struct str id)
{
    *list = pool_grow(p, *list, *n * sizeof **list, (*n + 1) * sizeof **list);
    (*list)[(*n)++] = id;
}

static void policy(struct compose *c, const struct json *o)
{
    struct gate *g = c->s->gate;
    const struct json *spec = json_get(o, STR("spec")), *in = json_get(spec, STR("ingress")), *out = json_get(spec, STR("egress"));
    struct str ns = json_str_at(o, "metadata", "namespace", NULL),
               id = pool_printf(c->pool, "%.*s/%.*s", STR_ARG(ns), STR_ARG(json_str_at(o, "metadata", "name", NULL)));
    struct selector sel = selector_of(c, json_get(spec, STR("podSelector")));
    bool *selected = pool_array(c->pool, bool, c->nall + 1), any = false, ingress = has_type(spec, "Ingress"),
         egress = has_type(spec, "Egress");
    struct json *empty = json_obj(c->pool);

    if (!json_get(spec, STR("podSelector")))
        sel = (struct selector){0};
    map_for (&g->pods, it) {
        struct gpod *p = it->value;
        struct json *tree = gpod_tree(p), *labels = json_path(tree, "metadata", "labels", NULL);
        if (!tree || host_network(tree) || !str_eq(p->ns, ns) || !selector_match_json(&sel, labels ? labels : empty))
            continue;
        struct node_policed *x = policed_of(c, p->uid);
        any = true;
        if (ingress)
            name_policy(c->pool, &x->ingress, &x->ningress, id);
        if (egress)
            name_policy(c->pool, &x->egress, &x->negress, id);
    }
    if (!any)
        return;
    for (size_t i = 0; i < c->nall; i++)
        selected[i] = str_eq(c->all[i].ns, ns) && selector_match_json(&sel, c->all[i].labels ? c->all[i].labels : empty);
    struct node_policy *v = &c->policies[c->npolicies++];
    *v = (struct node_policy){.id = id, .rules = pool_array(c->pool, struct node_policy_rule, json_count(in) + json_count(out) + 1)};
    if (ingress)
        json_for (in, x)
            rule(c, v, x, false, ns, selected);
    if (egress)
        json_for (out, x)
            rule(c, v, x, true, ns, selected);
    order(v);
}

struct policy_list {
    struct compose *c;
    struct json **v;
    size_t n, cap;
};

static bool read_policy(void *arg, const struct mirror_item *it)
{
    struct policy_list *l = arg;
    struct json *o;
    if (json_parse(l->c->pool, bytes_str(it->bytes), &(struct json_limits){.view = true}, &o, NULL) < 0)
        return true;
    if (l->n == l->cap) {
        l->v = pool_grow(l->c->pool, l->v, l->cap * sizeof *l->v, (l->cap * 2 + 16) * sizeof *l->v);
        l->cap = l->cap * 2 + 16;
    }
    l->v[l->n++] = o;
    return true;
}

/* ---- to node ---- */

static void on_policies(void *arg, struct wire_msg *m);

static bool differs(struct map *sent, struct str key, const struct wire_type *t, const void *msg)
{
    _cleanup_(buf_clear) struct buf b = BUF_INIT;
    struct bytes *was = map_get(sent, key);
    wire_encode(t, msg, &b);
    if (was && str_eq(bytes_str(was), buf_str(&b)))
        return false;
    bytes_unref(map_put(sent, key, buf_to_bytes(&b)));
    return true;
}

static void unref(void *b)
{
    bytes_unref(b);
}

static void tell_pods(struct gate *g, struct str uid)
{
    struct gpod *p = pods_find(g, uid);
    if (p)
        p->dirty = true; /* whether it is policed may have changed */
}

static void send(struct compose *c)
{
    struct policies *s = c->s;
    struct map ids = {0}, uids = {0};
    struct node_policies m = {.whole = s->whole};

    m.policies = pool_array(c->pool, struct node_policy, c->npolicies + map_count(&s->sent) + 1);
    m.pods = pool_array(c->pool, struct node_policed, c->npods + map_count(&s->sent_pods) + 1);
    for (size_t i = 0; i < c->npolicies; i++) {
        struct node_policies one = {.policies = &c->policies[i], .npolicies = 1};
        map_put(&ids, c->policies[i].id, s);
        if (differs(&s->sent, c->policies[i].id, &node_policies_type, &one))
            m.policies[m.npolicies++] = c->policies[i];
    }
    for (size_t i = 0; i < c->npods; i++) {
        map_put(&uids, c->pods[i].uid, s);
        if (!map_get(&s->sent_pods, c->pods[i].uid))
            tell_pods(s->gate, c->pods[i].uid);
        struct node_policies one = {.pods = &c->pods[i], .npods = 1};
        if (differs(&s->sent_pods, c->pods[i].uid, &node_policies_type, &one))
            m.pods[m.npods++] = c->pods[i];
    }
    map_for (&s->sent, it)
        if (!map_get(&ids, map_key(it))) {
            struct str id = pool_str(c->pool, map_key(it));
            m.policies[m.npolicies++] = (struct node_policy){.id = id, .remove = true};
            bytes_unref(map_del(&s->sent, id));
        }
    map_for (&s->sent_pods, it)
        if (!map_get(&uids, map_key(it))) {
            struct str uid = pool_str(c->pool, map_key(it));
            m.pods[m.npods++] = (struct node_policed){.uid = uid, .remove = true};
            bytes_unref(map_del(&s->sent_pods, uid));
            tell_pods(s->gate, uid);
        }
    map_clear(&ids, NULL);
    map_clear(&uids, NULL);
    if (m.whole || m.npolicies || m.npods)
        gate_ask(s->gate, NODE_POLICIES, &node_policies_type, &m, on_policies, s);
    s->whole = false;
}

void policies_work(struct gate *g)
{
    struct policies *s = g->policies;
    struct compose c = {.s = s};
    struct policy_list l = {.c = &c};

    if (!s || !s->dirty || !g->node || !g->hello.cpus)
        return;
    s->dirty = false;
    c.pool = pool_new();
    if (s->whole) {
        map_clear(&s->sent, unref);
        map_clear(&s->sent_pods, unref);
    }
    if (!g->o->no_network_policy)
        mirror_each(g->mirror, POLICIES, read_policy, &l);
    if (l.n)
        gather(&c);
    c.policies = pool_array(c.pool, struct node_policy, l.n + 1);
    c.pods = pool_array(c.pool, struct node_policed, map_count(&g->pods) + 1);
    for (size_t i = 0; i < l.n; i++)
        policy(&c, l.v[i]);
    send(&c);
    pool_free(c.pool);
}

bool policies_select(struct gate *g, struct str uid)
{
    return g->policies && map_get(&g->policies->sent_pods, uid);
}

static void again(struct timer *t)
{
    struct policies *s = container_of(t, struct policies, retry);
    s->dirty = true;
    gate_turn(s->gate);
}

static void on_policies(void *arg, struct wire_msg *m)
{
    struct policies *s = arg;
    _cleanup_(pool_freep) struct pool *p = pool_new();
    struct node_reply r = {.code = ERR_UNAVAILABLE};

    if (!m)
        return;
    if (wire_decode(&node_reply_type, m->body, p, &r, NULL) < 0)
        r.code = ERR_PARSE;
    if (r.code == 0)
        return;
    if (r.code == ERR_INVALID || r.code == ERR_LIMIT) {
        log_warn("network policies: %.*s", STR_ARG(r.message)); /* the others stand */
        return;
    }
    s->whole = true;
    if (!s->retry.loop)
        timer_in(s->gate->loop, &s->retry, RETRY_NS, again);
}

/* ---- life ---- */

void policies_node_restarted(struct gate *g)
{
    if (g->policies)
        g->policies->whole = g->policies->dirty = true;
}

void policies_open(struct gate *g)
{
    g->policies = xcalloc(1, sizeof *g->policies);
    g->policies->gate = g;
    g->policies->whole = g->policies->dirty = true;
}

void policies_close(struct gate *g)
{
    struct policies *s = g->policies;
    if (!s)
        return;
    timer_del(&s->retry);
    map_clear(&s->peers, peer_free);
    map_clear(&s->sent, unref);
    map_clear(&s->sent_pods, unref);
    free(TAKE(g->policies));
}
