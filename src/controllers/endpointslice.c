/* EndpointSlices: the addresses behind each Service, in slices of at most a hundred that change as little as can be. */
#include <stdlib.h>
#include "controllers/backends.h"

enum { SLICE_MAX = 100 };
#define LABEL_SERVICE "kubernetes.io/service-name"
#define LABEL_MANAGED "endpointslice.kubernetes.io/managed-by"
#define MANAGER "endpointslice-controller.k8s.io"
#define LABEL_HEADLESS "service.kubernetes.io/headless"

/* An endpoint as it should be, and whether a slice has taken it. */
struct wanted {
    const struct backend *b;
    struct json *endpoint, *ports;
    struct str group; /* ports, written out: endpoints of one slice have the same */
    bool placed;
};
struct slices {
    struct sync *s;
    struct service svc;
    bool ipv6;
    struct wanted *want;
    size_t nwant, first; /* first: those before it are placed */
    struct map by_uid;
    struct obj_array have; /* of this family */
    size_t kept;
};

static struct json *endpoint_json(struct pool *p, const struct backend *b)
{
    struct json *ep = json_obj(p), *c;
    json_append(json_put_arr(p, ep, STR("addresses")), json_str(p, b->ip));
    c = json_put_obj(p, ep, STR("conditions"));
    json_set_bool(p, c, STR("ready"), b->ready);
    json_set_bool(p, c, STR("serving"), b->serving);
    json_set_bool(p, c, STR("terminating"), b->terminating);
    if (b->hostname.n)
        json_set_str(p, ep, STR("hostname"), b->hostname);
    struct json *ref = json_put_obj(p, ep, STR("targetRef"));
    json_set_str(p, ref, STR("kind"), STR("Pod"));
    json_set_str(p, ref, STR("namespace"), b->pod->ns);
    json_set_str(p, ref, STR("name"), b->pod->name);
    json_set_str(p, ref, STR("uid"), b->pod->uid);
    if (b->node.n)
        json_set_str(p, ep, STR("nodeName"), b->node);
    if (b->zone.n)
        json_set_str(p, ep, STR("zone"), b->zone);
    return ep;
}

static void hint(struct pool *p, struct json *endpoint, const char *list, struct str name)
{
    struct json *h = json_put_obj(p, endpoint, STR("hints"));
    json_set_str(p, json_append(json_put_arr(p, h, str_of(list)), json_obj(p)), STR("name"), name);
}

/* What spec.trafficDistribution asks for (KEP-4444, KEP-3015): an endpoint is for clients of its own zone, and of its own node. */
static void distribute(struct pool *p, const struct json *spec, const struct backend *b, struct json *endpoint)
{
    struct str wish = json_get_str(spec, "trafficDistribution");
    bool node = str_eqz(wish, "PreferSameNode"), zone = node || str_eqz(wish, "PreferSameZone") || str_eqz(wish, "PreferClose");
    if (!b->ready)
        return;
    if (zone && b->zone.n)
        hint(p, endpoint, "forZones", b->zone);
    if (node && b->node.n)
        hint(p, endpoint, "forNodes", b->node);
}

static struct json *ports_json(struct pool *p, const struct backend *b)
{
    struct json *list = json_arr(p);
    for (size_t i = 0; i < b->nports; i++) {
        struct json *port = json_append(list, json_obj(p));
        json_set_str(p, port, STR("name"), b->ports[i].name.p ? b->ports[i].name : STR(""));
        json_set_str(p, port, STR("protocol"), b->ports[i].protocol);
        json_set_int(p, port, STR("port"), b->ports[i].port);
        if (b->ports[i].app_protocol.n)
            json_set_str(p, port, STR("appProtocol"), b->ports[i].app_protocol);
    }
    return list;
}

static struct str group_of(struct pool *p, const struct json *ports)
{
    struct buf b = BUF_INIT;
    json_sorted(&b, ports);
    return buf_to_pool(&b, p);
}

static bool same_ports(const struct backend *a, const struct backend *b)
{
    if (a->nports != b->nports)
        return false;
    for (size_t i = 0; i < a->nports; i++)
        if (a->ports[i].port != b->ports[i].port || !str_eq(a->ports[i].name, b->ports[i].name) ||
            !str_eq(a->ports[i].protocol, b->ports[i].protocol))
            return false;
    return true;
}

/* Pods of one Service nearly always have the same ports: these are written out once. */
static void want_all(struct slices *x)
{
    size_t n;
    struct pool *p = x->s->pool;
    struct backend *list = service_backends(x->s, &x->svc, x->ipv6, &n);
    bool any_ports = json_count(json_get(x->svc.spec, STR("ports"))) > 0;
    x->want = pool_array(p, struct wanted, n + 1);
    for (size_t i = 0; i < n; i++) {
        struct wanted *w = &x->want[x->nwant], *before = x->nwant ? w - 1 : NULL;
        if (!list[i].nports && any_ports)
            continue;
        *w = (struct wanted){.b = &list[i], .endpoint = endpoint_json(p, &list[i])};
        distribute(p, x->svc.spec, &list[i], w->endpoint);
        bool same = before && same_ports(before->b, &list[i]);
        w->ports = same ? before->ports : ports_json(p, &list[i]);
        w->group = same ? before->group : group_of(p, w->ports);
        map_put(&x->by_uid, list[i].pod->uid, w);
        x->nwant++;
    }
}

static struct json *labels_json(struct slices *x)
{
    struct pool *p = x->s->pool;
    struct json *labels = json_obj(p);
    for (uint32_t i = 0; i < x->svc.o->nlabels; i++)
        if (!str_eqz(x->svc.o->labels[i].key, LABEL_HEADLESS))
            json_set_str(p, labels, x->svc.o->labels[i].key, x->svc.o->labels[i].value);
    json_set_str(p, labels, STR(LABEL_SERVICE), x->svc.o->name);
    json_set_str(p, labels, STR(LABEL_MANAGED), STR(MANAGER));
    if (x->svc.headless)
        json_set_str(p, labels, STR(LABEL_HEADLESS), STR(""));
    return labels;
}

static struct wanted *wanted_by_uid(struct slices *x, struct str uid, struct str group)
{
    struct wanted *w = map_get(&x->by_uid, uid);
    return w && !w->placed && str_eq(w->group, group) ? w : NULL;
}

/* The slice with what still belongs in it; *full: no more fit. Its endpoints keep their places. */
static struct json *keep(struct slices *x, const struct obj *slice, struct str *group, bool *changed)
{
    struct pool *p = x->s->pool;
    struct json *tree = sync_tree(x->s, slice), *list = json_arr(p), *old = json_get(tree, STR("endpoints")),
                *ports = json_get(tree, STR("ports"));
    struct json *labels = labels_json(x), *meta = json_get(tree, STR("metadata"));
    *group = group_of(p, json_is(ports, JSON_ARR) ? ports : json_arr(p));
    *changed = !json_equal(labels, json_get(meta, STR("labels")));
    if (*changed)
        json_set(p, meta, STR("labels"), labels);
    json_for (old, ep) {
        struct wanted *w = wanted_by_uid(x, json_get_str(json_get(ep, STR("targetRef")), "uid"), *group);
        if (w) {
            w->placed = true;
            *changed |= !json_equal(w->endpoint, ep);
            json_append(list, w->endpoint);
        } else {
            *changed = true;
        }
    }
    json_set(p, tree, STR("endpoints"), list);
    return tree;
}

static bool fill_up(struct slices *x, struct json *tree, struct str group)
{
    struct json *list = json_get(tree, STR("endpoints"));
    bool any = false;
    while (x->first < x->nwant && x->want[x->first].placed)
        x->first++;
    for (size_t i = x->first; i < x->nwant && json_count(list) < SLICE_MAX; i++)
        if (!x->want[i].placed && str_eq(x->want[i].group, group)) {
            x->want[i].placed = any = true;
            json_append(list, x->want[i].endpoint);
        }
    return any;
}

static int make_slice(struct slices *x, struct json *ports, struct str group, struct err **e)
{
    struct pool *p = x->s->pool;
    struct json *tree = json_obj(p), *meta = json_put_obj(p, tree, STR("metadata"));
    json_set(p, meta, STR("generateName"), json_str_view(p, pool_printf(p, "%.*s-", STR_ARG(x->svc.o->name))));
    json_set_str(p, meta, STR("namespace"), x->svc.o->ns);
    json_set(p, meta, STR("labels"), labels_json(x));
    json_append(json_put_arr(p, meta, STR("ownerReferences")), owner_ref(p, R_SERVICES, x->svc.o, true));
    json_set_str(p, tree, STR("addressType"), x->ipv6 ? STR("IPv6") : STR("IPv4"));
    json_set(p, tree, STR("endpoints"), json_arr(p));
    json_set(p, tree, STR("ports"), json_clone(p, ports));
    fill_up(x, tree, group);
    return MIN(sync_create(x->s, R_SLICES, x->svc.o->ns, tree, NULL, e), 0);
}

/* First what the slices keep, then new endpoints into those with room, then new slices for the rest. */
static int reconcile(struct slices *x, struct err **e)
{
    size_t n = x->have.n;
    struct json **trees = pool_array(x->s->pool, struct json *, n + 1);
    struct str *groups = pool_array(x->s->pool, struct str, n + 1);
    bool *changed = pool_array(x->s->pool, bool, n + 1);
    int r = 0;
    for (size_t i = 0; i < n; i++)
        trees[i] = keep(x, x->have.p[i], &groups[i], &changed[i]);
    for (size_t i = 0; i < n; i++)
        changed[i] |= fill_up(x, trees[i], groups[i]);
    for (size_t i = 0; i < n && r >= 0; i++) {
        bool empty = json_count(json_get(trees[i], STR("endpoints"))) == 0;
        if (empty && (x->nwant || x->kept || i + 1 < n)) {
            r = sync_delete(x->s, x->have.p[i], NULL, e);
            continue;
        }
        x->kept++;
        if (changed[i])
            r = sync_update(x->s, R_SLICES, x->have.p[i], NULL, trees[i], NULL, e);
        if (err_is(e, ERR_NOT_FOUND))
            r = 0;
    }
    for (size_t i = 0; i < x->nwant && r >= 0; i++)
        if (!x->want[i].placed) {
            r = make_slice(x, x->want[i].ports, x->want[i].group, e);
            x->kept++;
        }
    if (r >= 0 && !x->kept) /* a Service without pods has one slice all the same, so that others see that it was handled */
        r = make_slice(x, json_arr(x->s->pool), STR("[]"), e);
    return MIN(r, 0);
}

static struct obj_array slices_of(struct sync *s, const struct obj *svc)
{
    struct obj_array all = sync_owned(s, R_SLICES, svc->uid), mine = {0};
    for (size_t i = 0; i < all.n; i++)
        if (str_eqz(obj_label(all.p[i], STR(LABEL_MANAGED)), MANAGER) && !all.p[i]->deleted)
            array_add(s->pool, &mine, all.p[i]);
    return mine;
}

static int sync_family(struct sync *s, const struct service *svc, struct obj_array all, bool ipv6, bool wanted, struct err **e)
{
    struct slices x = {.s = s, .svc = *svc, .ipv6 = ipv6};
    for (size_t i = 0; i < all.n; i++)
        if (str_eqz(json_get_str(sync_tree(s, all.p[i]), "addressType"), ipv6 ? "IPv6" : "IPv4"))
            array_add(s->pool, &x.have, all.p[i]);
    if (wanted) {
        want_all(&x);
        int r = reconcile(&x, e);
        map_clear(&x.by_uid, NULL);
        return r;
    }
    for (size_t i = 0; i < x.have.n; i++) {
        int r = sync_delete(s, x.have.p[i], NULL, e);
        if (r < 0)
            return r;
    }
    return 0;
}

static int sync(struct sync *s, struct err **e)
{
    struct service svc;
    bool v4 = false, v6 = false;
    if (!service_read(s, sync_self(s, R_SERVICES), &svc, e))
        return 0;
    json_for (json_get(svc.spec, STR("ipFamilies")), f) {
        v4 |= str_eqz(json_as_str(f), "IPv4");
        v6 |= str_eqz(json_as_str(f), "IPv6");
    }
    struct obj_array all = slices_of(s, svc.o);
    int r = sync_family(s, &svc, all, false, v4 || !v6, e);
    return r < 0 ? r : sync_family(s, &svc, all, true, v6, e);
}

/* Somebody changed or removed a slice of ours. */
static void on_slice(struct ctl *c, const struct change *ch)
{
    if (str_eqz(obj_label(ch->obj, STR(LABEL_MANAGED)), MANAGER))
        ctl_add_owner(c, ch, R_SERVICES);
}

const struct controller endpointslice_controller = {
    .name = "endpointslice",
    .account = "endpointslice-controller",
    .watches = {{R_SERVICES, services_on_service}, {R_PODS, services_on_pod}, {R_SLICES, on_slice}},
    .sync = sync,
    .start = services_start,
    .stop = services_stop,
};
