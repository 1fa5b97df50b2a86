#include "controllers/backends.h"
#include <stdlib.h>

/* ---- who selects a pod ---- */

struct known {
    struct pool *pool;
    struct selector sel;
    char *name;
};
struct services {
    struct map by_ns; /* namespace to a struct map of name to struct known */
};

static void known_free(void *p)
{
    struct known *k = p;
    pool_free(k->pool);
    free(k->name);
    free(k);
}

static void ns_free(void *p)
{
    map_clear(p, known_free);
    free(p);
}

int services_start(struct ctl *c, struct err **e)
{
    c->state = xcalloc(1, sizeof(struct services));
    return 0;
}

void services_stop(struct ctl *c)
{
    struct services *all = c->state;
    if (all)
        map_clear(&all->by_ns, ns_free);
    free(all);
}

static struct known *known_new(const struct obj *o)
{
    struct known *k = xcalloc(1, sizeof *k);
    struct json *tree, *sel;
    k->pool = pool_new();
    k->name = str_dup(o->name);
    pool_hold_obj(k->pool, obj_ref(o)); /* the selector's strings are views into it */
    sel = obj_parse(o, k->pool, &tree, NULL) == 0 ? json_path(tree, "spec", "selector", NULL) : NULL;
    selector_from_map(k->pool, sel, true, &k->sel);
    return k;
}

void services_on_service(struct ctl *c, const struct change *ch)
{
    struct services *all = c->state;
    struct map *ns = map_get(&all->by_ns, ch->obj->ns);
    struct known *old = NULL;
    if (!ns && !ch->gone)
        map_put(&all->by_ns, ch->obj->ns, ns = xcalloc(1, sizeof *ns));
    if (ns)
        old = ch->gone ? map_del(ns, ch->obj->name) : map_put(ns, ch->obj->name, known_new(ch->obj));
    if (old)
        known_free(old);
    ctl_add(c, ch->obj);
}

static bool same_labels(const struct obj *a, const struct obj *b)
{
    if (a->nlabels != b->nlabels)
        return false;
    for (uint32_t i = 0; i < a->nlabels; i++)
        if (!str_eq(a->labels[i].key, b->labels[i].key) || !str_eq(a->labels[i].value, b->labels[i].value))
            return false;
    return true;
}

static bool same_backend(const struct obj *a, const struct obj *b)
{
    const struct pod_view *x = pod_view_of(a), *y = pod_view_of(b);
    return x && y && x->phase == y->phase && x->flags == y->flags && !a->deleted == !b->deleted &&
           str_eq(pod_view_get(x, x->ip), pod_view_get(y, y->ip)) && str_eq(pod_view_get(x, x->node), pod_view_get(y, y->node)) &&
           same_labels(a, b);
}

void services_on_pod(struct ctl *c, const struct change *ch)
{
    struct services *all = c->state;
    struct map *ns = map_get(&all->by_ns, ch->obj->ns);
    if (!ns || (ch->before && !ch->gone && same_backend(ch->obj, ch->before)))
        return;
    map_for (ns, it) {
        const struct known *k = it->value;
        if (obj_matches(ch->obj, &k->sel) || (ch->before && obj_matches(ch->before, &k->sel)))
            ctl_add_key(c, ch->obj->ns, str_of(k->name));
    }
}

/* ---- a Service and its pods ---- */

bool service_read(struct sync *s, const struct obj *o, struct service *out, struct err **e)
{
    *out = (struct service){.o = o};
    if (!o || o->deleted)
        return false;
    out->tree = sync_tree(s, o);
    out->spec = json_get(out->tree, STR("spec"));
    if (str_eqz(json_get_str(out->spec, "type"), "ExternalName") || json_count(json_get(out->spec, STR("selector"))) == 0)
        return false;
    selector_from_map(s->pool, json_get(out->spec, STR("selector")), true, &out->sel);
    out->headless = str_eqz(json_get_str(out->spec, "clusterIP"), "None");
    out->publish_all = json_get_bool(out->spec, "publishNotReadyAddresses", false);
    return true;
}

static const char *const protocols[] = {"TCP", "UDP", "SCTP"};

/* A port of the pod by name and protocol; 0: none. */
static int64_t named_port(const struct pod_view *v, struct str name, struct str protocol)
{
    const struct pod_view_port *ports = (const struct pod_view_port *)(const void *)((const char *)v + v->ports_at);
    for (uint32_t i = 0; i < v->nports; i++)
        if (str_eq(pod_view_get(v, ports[i].name), name) && str_eqz(protocol, protocols[ports[i].proto % 3]))
            return ports[i].container_port;
    return 0;
}

static void find_ports(struct sync *s, const struct service *svc, struct backend *b)
{
    const struct json *list = json_get(svc->spec, STR("ports"));
    b->ports = pool_array(s->pool, struct backend_port, MIN(json_count(list), (size_t)BACKENDS_PORTS) + 1);
    json_for ((struct json *)(uintptr_t)list, p) {
        struct json *target = json_get(p, STR("targetPort"));
        struct backend_port out = {
            .name = json_get_str(p, "name"), .protocol = json_get_str(p, "protocol"), .app_protocol = json_get_str(p, "appProtocol")};
        if (json_is(target, JSON_STR))
            out.port = named_port(pod_view_of(b->pod), json_as_str(target), out.protocol);
        else
            out.port = json_as_int(target, 0) ? json_as_int(target, 0) : json_get_int(p, "port", 0);
        if (out.port > 0 && b->nports < BACKENDS_PORTS)
            b->ports[b->nports++] = out;
    }
}

static bool is_ipv6(struct str ip)
{
    return str_chr(ip, ':') >= 0;
}

/* Its address in the family; only a pod with several has to be parsed. */
static struct str address_of(struct sync *s, const struct obj *pod, bool ipv6)
{
    const struct pod_view *v = pod_view_of(pod);
    struct str ip = v ? pod_view_get(v, v->ip) : STR("");
    if (!ip.n || is_ipv6(ip) == ipv6)
        return ip;
    json_for (json_path(sync_tree(s, pod), "status", "podIPs", NULL), item)
        if (is_ipv6(json_get_str(item, "ip")) == ipv6)
            return json_get_str(item, "ip");
    return STR("");
}

static struct str zone_of(struct sync *s, struct str node)
{
    const struct obj *o = node.n ? sync_get(s, R_NODES, STR(""), node) : NULL;
    return o ? obj_label(o, STR("topology.kubernetes.io/zone")) : STR_NULL;
}

struct backend *service_backends(struct sync *s, const struct service *svc, bool ipv6, size_t *n)
{
    struct obj_array pods = sync_list(s, R_PODS, svc->o->ns);
    struct backend *list = pool_array(s->pool, struct backend, pods.n + 1);
    *n = 0;
    for (size_t i = 0; i < pods.n; i++) {
        const struct obj *o = pods.p[i];
        enum pod_phase phase = pod_phase_of(o);
        struct backend *b = &list[*n];
        if (!obj_matches(o, &svc->sel) || phase == POD_FAILED || phase == POD_SUCCEEDED)
            continue;
        *b = (struct backend){.pod = o, .ip = address_of(s, o, ipv6), .node = pod_node(o)};
        if (!b->ip.n)
            continue;
        b->zone = zone_of(s, b->node);
        b->terminating = o->deleted != 0;
        b->serving = pod_ready(o);
        b->ready = svc->publish_all || (b->serving && !b->terminating);
        if (svc->headless && str_find(o->json, STR("\"subdomain\"")) >= 0) {
            const struct json *spec = json_get(sync_tree(s, o), STR("spec"));
            if (str_eq(json_get_str(spec, "subdomain"), svc->o->name))
                b->hostname = json_get_str(spec, "hostname");
        }
        find_ports(s, svc, b);
        (*n)++;
    }
    return list;
}
