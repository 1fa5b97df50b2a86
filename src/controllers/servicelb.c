/* Load balancers as K3s' servicelb gives them: a Service of type LoadBalancer gets the addresses of the nodes, and every node leads that
 * port at its own addresses to the endpoints (src/net/service.c). Here is decided which nodes, and that is all there is: no pods.
 *
 * Served are Services without a loadBalancerClass, or with io.cattle.svccontroller. Of the nodes those that are Ready, not marked with
 * node.kubernetes.io/exclude-from-external-load-balancers, labelled svccontroller.k3s.cattle.io/enablelb=true if any node bears that label,
 * of the Service's svccontroller.k3s.cattle.io/lbpool if it names one, and with externalTrafficPolicy Local those with a ready endpoint. A
 * node on which a port is taken (an older Service of this kind, a pod's host port, the API or our own ports) is left out, and an Event says
 * so. If nodes have an ExternalIP these are told, else their InternalIP. (K3s: pkg/cloudprovider/servicelb.go, by its documentation.)
 */
#include "controllers/ctl.h"
#include "controllers/inner.h"

#define CLASS "io.cattle.svccontroller"
#define LABEL_ENABLE "svccontroller.k3s.cattle.io/enablelb"
#define LABEL_POOL "svccontroller.k3s.cattle.io/lbpool"
#define LABEL_EXCLUDE "node.kubernetes.io/exclude-from-external-load-balancers"
#define LABEL_SERVICE "kubernetes.io/service-name"
#define ADDRESSES_MAX 64 /* as many as a node's rules take */

static bool switched_off(const struct ctl *c)
{
    const struct controllers_manifests *m = &c->all->cfg.manifests;
    for (size_t i = 0; i < m->ndisabled; i++)
        if (str_eqz(m->disabled[i], "servicelb"))
            return true;
    return false;
}

static bool ours(const struct json *tree)
{
    const struct json *spec = json_get(tree, STR("spec"));
    struct str class = json_get_str(spec, "loadBalancerClass");
    return str_eqz(json_get_str(spec, "type"), "LoadBalancer") && (!class.n || str_eqz(class, CLASS)) &&
           !json_str_at(tree, "metadata", "deletionTimestamp", NULL).n;
}

/* ---- nodes ---- */

struct lb_node {
    const struct obj *o;
    struct json *tree;
    struct str internal, external, pool;
};
struct lb {
    struct sync *s;
    const struct obj *o;
    struct json *tree, *spec;
    struct str pool;
    struct lb_node *nodes;
    size_t n;
};

static bool node_ready(const struct json *tree)
{
    const struct json *c = condition_find(json_path(tree, "status", "conditions", NULL), STR("Ready"));
    return str_eqz(json_get_str(c, "status"), "True");
}

static bool node_read(struct sync *s, const struct obj *o, struct lb_node *out)
{
    *out = (struct lb_node){.o = o, .tree = sync_tree(s, o), .pool = obj_label(o, STR(LABEL_POOL))};
    json_for (json_path(out->tree, "status", "addresses", NULL), a) {
        struct str type = json_get_str(a, "type"), ip = json_get_str(a, "address");
        if (str_chr(ip, ':') >= 0)
            continue;
        if (str_eqz(type, "InternalIP") && !out->internal.n)
            out->internal = ip;
        if (str_eqz(type, "ExternalIP") && !out->external.n)
            out->external = ip;
    }
    return (out->internal.n || out->external.n) && !o->deleted && node_ready(out->tree) && !obj_label(o, STR(LABEL_EXCLUDE)).p;
}

static void nodes_read(struct lb *b)
{
    struct obj_array all = sync_list(b->s, R_NODES, STR_NULL);
    bool chosen = false;

    for (size_t i = 0; i < all.n; i++)
        chosen |= obj_label(all.p[i], STR(LABEL_ENABLE)).p != NULL;
    b->nodes = pool_array(b->s->pool, struct lb_node, all.n + 1);
    for (size_t i = 0; i < all.n; i++) {
        struct lb_node x;
        if (chosen && !str_eqz(obj_label(all.p[i], STR(LABEL_ENABLE)), "true"))
            continue;
        if (node_read(b->s, all.p[i], &x) && (!b->pool.n || str_eq(b->pool, x.pool)))
            b->nodes[b->n++] = x;
    }
}

static bool has_endpoint(struct lb *b, const struct lb_node *node)
{
    struct str key = pool_printf(b->s->pool, "%.*s/%.*s", STR_ARG(b->o->ns), STR_ARG(b->o->name));
    struct obj_array slices = sync_indexed(b->s, R_SLICES, STR("service"), key);
    for (size_t i = 0; i < slices.n; i++)
        json_for (json_get(sync_tree(b->s, slices.p[i]), STR("endpoints")), ep)
            if (str_eq(json_get_str(ep, "nodeName"), node->o->name) && json_get_bool(json_get(ep, STR("conditions")), "ready", true))
                return true;
    return false;
}

/* ---- who has a port already ---- */

static bool port_of(const struct json *spec, int64_t port, struct str proto)
{
    json_for (json_get(spec, STR("ports")), p) {
        struct str q = json_get_str(p, "protocol");
        if (json_get_int(p, "port", 0) == port && str_eq(q.n ? q : STR("TCP"), proto))
            return true;
    }
    return false;
}

static bool older(const struct obj *a, const struct obj *b)
{
    if (a->created != b->created)
        return a->created < b->created;
    int r = str_cmp(a->ns, b->ns);
    return r ? r < 0 : str_cmp(a->name, b->name) < 0;
}

static struct str by_service(struct lb *b, const struct lb_node *node, int64_t port, struct str proto)
{
    struct obj_array all = sync_list(b->s, R_SERVICES, STR_NULL);
    for (size_t i = 0; i < all.n; i++) {
        if (all.p[i] == b->o || !older(all.p[i], b->o))
            continue;
        const struct json *tree = sync_tree(b->s, all.p[i]);
        struct str pool = obj_label(all.p[i], STR(LABEL_POOL));
        if (ours(tree) && (!pool.n || str_eq(pool, node->pool)) && port_of(json_get(tree, STR("spec")), port, proto))
            return pool_printf(b->s->pool, "Service %.*s/%.*s", STR_ARG(all.p[i]->ns), STR_ARG(all.p[i]->name));
    }
    return STR_NULL;
}

static struct str by_pod(struct lb *b, const struct lb_node *node, int64_t port, struct str proto)
{
    static const char *const names[] = {"TCP", "UDP", "SCTP"};
    struct obj_array all = sync_indexed(b->s, R_PODS, STR("node"), node->o->name);
    for (size_t i = 0; i < all.n; i++) {
        const struct pod_view *v = pod_view_of(all.p[i]);
        const struct pod_view_port *ports = v ? (const void *)((const char *)v + v->ports_at) : NULL;
        for (uint32_t k = 0; v && pod_active(all.p[i]) && k < v->nports; k++)
            if (ports[k].host_port == port && ports[k].proto < ARRAY_LEN(names) && str_eqz(proto, names[ports[k].proto]))
                return pool_printf(b->s->pool, "pod %.*s/%.*s", STR_ARG(all.p[i]->ns), STR_ARG(all.p[i]->name));
    }
    return STR_NULL;
}

static struct str by_node(struct lb *b, const struct lb_node *node, int64_t port, struct str proto)
{
    const struct obj *api = sync_get(b->s, R_SLICES, STR("default"), STR("kubernetes"));
    struct json *tree = api ? sync_tree(b->s, api) : NULL;
    if (str_eqz(proto, "TCP") ? port == 10250 : str_eqz(proto, "UDP") && port == 8472)
        return STR("the node itself");
    if (!str_eqz(proto, "TCP") || json_get_int(json_at(json_get(tree, STR("ports")), 0), "port", 0) != port)
        return STR_NULL;
    json_for (json_get(tree, STR("endpoints")), ep)
        if (str_eq(json_as_str(json_at(json_get(ep, STR("addresses")), 0)), node->internal))
            return STR("the API");
    return STR_NULL;
}

/* false: some port is taken there; an Event says by whom. */
static bool free_there(struct lb *b, const struct lb_node *node)
{
    json_for (json_get(b->spec, STR("ports")), p) {
        int64_t port = json_get_int(p, "port", 0);
        struct str proto = json_get_str(p, "protocol"), who;
        if (!proto.n)
            proto = STR("TCP");
        who = by_node(b, node, port, proto);
        if (!who.n)
            who = by_service(b, node, port, proto);
        if (!who.n)
            who = by_pod(b, node, port, proto);
        if (!who.n)
            continue;
        ctl_event(b->s->ctl, R_SERVICES, b->o, true, "SyncLoadBalancerFailed", "port %" PRId64 "/%.*s is in use on node %.*s by %.*s", port,
            STR_ARG(proto), STR_ARG(node->o->name), STR_ARG(who));
        return false;
    }
    return true;
}

/* ---- status ---- */

static struct json *ingress(struct lb *b)
{
    struct json *list = json_arr(b->s->pool);
    bool local = str_eqz(json_get_str(b->spec, "externalTrafficPolicy"), "Local"), external = false;
    size_t n = 0;

    for (size_t i = 0; i < b->n; i++)
        if ((!local || has_endpoint(b, &b->nodes[i])) && free_there(b, &b->nodes[i])) {
            b->nodes[n++] = b->nodes[i];
            external |= b->nodes[n - 1].external.n > 0;
        }
    for (size_t i = 0; i < n && json_count(list) < ADDRESSES_MAX; i++) {
        struct str ip = external ? b->nodes[i].external : b->nodes[i].internal;
        if (!ip.n)
            continue;
        struct json *x = json_append(list, json_obj(b->s->pool));
        json_set_str(b->s->pool, x, STR("ip"), ip);
        json_set_str(b->s->pool, x, STR("ipMode"), STR("VIP"));
    }
    return list;
}

static void addresses_text(const struct json *list, struct buf *out)
{
    json_for ((struct json *)(uintptr_t)list, x)
        buf_printf(out, "%s%.*s", out->n ? " " : "", STR_ARG(json_get_str(x, "ip")));
    buf_putc(out, 0);
}

static int sync(struct sync *s, struct err **e)
{
    struct lb b = {.s = s, .o = sync_self(s, R_SERVICES)};
    _cleanup_(buf_clear) struct buf was = BUF_INIT, now = BUF_INIT;

    if (!b.o || b.o->deleted || switched_off(s->ctl))
        return 0;
    b.tree = sync_tree(s, b.o);
    b.spec = json_get(b.tree, STR("spec"));
    b.pool = obj_label(b.o, STR(LABEL_POOL));
    const struct json *old = json_path(b.tree, "status", "loadBalancer", "ingress", NULL);
    struct json *list = json_arr(s->pool);
    if (ours(b.tree)) {
        nodes_read(&b);
        list = ingress(&b);
    } else if (str_eqz(json_get_str(b.spec, "type"), "LoadBalancer")) {
        return 0; /* another's class */
    }
    if (json_count(old) == json_count(list) && (!json_count(list) || json_equal(old, list)))
        return 0;
    addresses_text(old, &was);
    addresses_text(list, &now);
    struct json *status = json_clone(s->pool, json_get(b.tree, STR("status"))), *lb;
    if (!status)
        status = json_obj(s->pool);
    lb = json_obj(s->pool);
    if (json_count(list))
        json_set(s->pool, lb, STR("ingress"), list);
    json_set(s->pool, status, STR("loadBalancer"), lb);
    int r = sync_status(s, R_SERVICES, b.o, b.tree, status, e);
    if (r == 0)
        ctl_event(s->ctl, R_SERVICES, b.o, false, "UpdatedLoadBalancer", "Updated LoadBalancer with new IPs: [%s] -> [%s]", was.p, now.p);
    return err_is(e, ERR_NOT_FOUND) ? 0 : MIN(r, 0);
}

/* ---- what is looked at when ---- */

static bool is_balanced(const struct obj *o)
{
    return str_find(o->json, STR("\"LoadBalancer\"")) >= 0;
}

static void again_all(struct ctl *c)
{
    _cleanup_(store_view_unrefp) struct store_view *v = store_view(c->store);
    struct store_iter it;
    iter_start(&it, v, ctl_store_res(c, R_SERVICES), STR_NULL, STR_NULL, STR_NULL);
    for (const struct obj *o; (o = iter_next(&it));)
        if (is_balanced(o))
            ctl_add(c, o);
}

static void on_service(struct ctl *c, const struct change *ch)
{
    bool was = ch->before && is_balanced(ch->before), now = is_balanced(ch->obj);
    if (!was && !now)
        return;
    ctl_add(c, ch->obj);
    if (ch->gone || (ch->before && ch->before->generation != ch->obj->generation) || (was && !now))
        again_all(c); /* its ports may be another's now */
}

/* The parts of a Node that count: labels, addresses, readiness. */
static bool node_differs(const struct obj *a, const struct obj *b)
{
    _cleanup_(pool_freep) struct pool *p = pool_new();
    struct json *x, *y;
    if (obj_parse(a, p, &x, NULL) < 0 || obj_parse(b, p, &y, NULL) < 0)
        return true;
    const struct json *const pairs[][2] = {{json_path(x, "metadata", "labels", NULL), json_path(y, "metadata", "labels", NULL)},
        {json_path(x, "status", "addresses", NULL), json_path(y, "status", "addresses", NULL)}};
    for (size_t i = 0; i < ARRAY_LEN(pairs); i++)
        if (!json_equal(pairs[i][0], pairs[i][1]))
            return true;
    return node_ready(x) != node_ready(y) || (a->deleted != 0) != (b->deleted != 0);
}

static void on_node(struct ctl *c, const struct change *ch)
{
    if (!ch->before || ch->gone || node_differs(ch->before, ch->obj))
        again_all(c);
}

static void on_slice(struct ctl *c, const struct change *ch)
{
    struct str service = obj_label(ch->obj, STR(LABEL_SERVICE));
    _cleanup_(store_view_unrefp) struct store_view *v = store_view(c->store);
    const struct obj *o = service.n ? view_get(v, ctl_store_res(c, R_SERVICES), ch->obj->ns, service) : NULL;
    if (o && is_balanced(o))
        ctl_add(c, o);
}

static void on_pod(struct ctl *c, const struct change *ch)
{
    const struct pod_view *v = pod_view_of(ch->obj);
    if (v && v->nports &&
        (ch->gone || !ch->before || pod_active(ch->before) != pod_active(ch->obj) || !str_eq(pod_node(ch->before), pod_node(ch->obj))))
        again_all(c);
}

const struct controller servicelb_controller = {
    .name = "service-lb",
    .account = "service-controller",
    .component = "service-lb-controller",
    .watches = {{R_SERVICES, on_service}, {R_NODES, on_node}, {R_SLICES, on_slice}, {R_PODS, on_pod}},
    .sync = sync,
};
