/* Endpoints that somebody writes by hand, for a Service without a selector, are mirrored as EndpointSlices: all who serve Services read
 * only these. */
#include "controllers/ctl.h"

#define LABEL_SERVICE "kubernetes.io/service-name"
#define LABEL_MANAGED "endpointslice.kubernetes.io/managed-by"
#define MANAGER "endpointslicemirroring-controller.k8s.io"
#define SKIP "endpointslice.kubernetes.io/skip-mirror"
enum { ADDRESSES_MAX = 1000 };

static bool is_ipv6(struct str ip)
{
    return str_chr(ip, ':') >= 0;
}

static struct json *endpoint(struct pool *p, const struct json *address, bool ready)
{
    static const char *const same[] = {"hostname", "nodeName", "targetRef"};
    struct json *ep = json_obj(p), *c;
    json_append(json_put_arr(p, ep, STR("addresses")), json_str(p, json_get_str(address, "ip")));
    c = json_put_obj(p, ep, STR("conditions"));
    json_set_bool(p, c, STR("ready"), ready);
    for (size_t i = 0; i < ARRAY_LEN(same); i++)
        if (json_get(address, str_of(same[i])))
            json_set(p, ep, str_of(same[i]), json_clone(p, json_get(address, str_of(same[i]))));
    return ep;
}

static void add_endpoints(struct pool *p, struct json *list, const struct json *addresses, bool ipv6, bool ready)
{
    json_for ((struct json *)(uintptr_t)addresses, a)
        if (is_ipv6(json_get_str(a, "ip")) == ipv6 && json_count(list) < ADDRESSES_MAX)
            json_append(list, endpoint(p, a, ready));
}

static struct json *ports(struct pool *p, const struct json *subset)
{
    struct json *list = json_arr(p);
    json_for (json_get(subset, STR("ports")), port) {
        struct json *c = json_append(list, json_clone(p, port));
        if (!json_get(c, STR("name")))
            json_set_str(p, c, STR("name"), STR(""));
    }
    return list;
}

/* One slice for each subset and address family that has addresses. */
static struct json *slice(struct sync *s, const struct obj *o, const struct json *subset, bool ipv6)
{
    struct pool *p = s->pool;
    struct json *list = json_arr(p), *tree, *meta, *labels;
    add_endpoints(p, list, json_get(subset, STR("addresses")), ipv6, true);
    add_endpoints(p, list, json_get(subset, STR("notReadyAddresses")), ipv6, false);
    if (!json_count(list))
        return NULL;
    tree = json_obj(p);
    meta = json_put_obj(p, tree, STR("metadata"));
    json_set(p, meta, STR("generateName"), json_str_view(p, pool_printf(p, "%.*s-", STR_ARG(o->name))));
    json_set_str(p, meta, STR("namespace"), o->ns);
    labels = json_put_obj(p, meta, STR("labels"));
    for (uint32_t i = 0; i < o->nlabels; i++)
        json_set_str(p, labels, o->labels[i].key, o->labels[i].value);
    json_set_str(p, labels, STR(LABEL_SERVICE), o->name);
    json_set_str(p, labels, STR(LABEL_MANAGED), STR(MANAGER));
    json_append(json_put_arr(p, meta, STR("ownerReferences")), owner_ref(p, R_ENDPOINTS, o, true));
    json_set_str(p, tree, STR("addressType"), ipv6 ? STR("IPv6") : STR("IPv4"));
    json_set(p, tree, STR("endpoints"), list);
    json_set(p, tree, STR("ports"), ports(p, subset));
    return tree;
}

static bool same_slice(struct sync *s, const struct obj *have, const struct json *want)
{
    const struct json *tree = sync_tree(s, have);
    return json_equal(json_get(tree, STR("endpoints")), json_get(want, STR("endpoints"))) &&
           json_equal(json_get(tree, STR("ports")), json_get(want, STR("ports"))) &&
           json_equal(json_get(tree, STR("addressType")), json_get(want, STR("addressType"))) &&
           json_equal(json_path(tree, "metadata", "labels", NULL), json_path(want, "metadata", "labels", NULL));
}

static struct obj_array mirrored(struct sync *s)
{
    struct obj_array all = sync_list(s, R_SLICES, s->ns), mine = {0};
    for (size_t i = 0; i < all.n; i++)
        if (str_eqz(obj_label(all.p[i], STR(LABEL_MANAGED)), MANAGER) && str_eq(obj_label(all.p[i], STR(LABEL_SERVICE)), s->name))
            array_add(s->pool, &mine, all.p[i]);
    return mine;
}

/* Mirrored are Endpoints of a Service that has no selector, unless they say no. */
static bool wanted(struct sync *s, const struct obj *o)
{
    const struct obj *svc = sync_get(s, R_SERVICES, s->ns, s->name);
    return o && !o->deleted && svc && !str_eqz(obj_label(o, STR(SKIP)), "true") &&
           json_count(json_path(sync_tree(s, svc), "spec", "selector", NULL)) == 0 &&
           str_find(o->json, STR("\"control-plane.alpha.kubernetes.io/leader\"")) < 0; /* a lock of old, no addresses */
}

static int sync(struct sync *s, struct err **e)
{
    const struct obj *o = sync_self(s, R_ENDPOINTS);
    struct obj_array have = mirrored(s);
    bool *kept = pool_array(s->pool, bool, have.n + 1);
    int r = 0;
    json_for (wanted(s, o) ? json_get(sync_tree(s, o), STR("subsets")) : NULL, subset)
        for (int ipv6 = 0; ipv6 < 2 && r >= 0; ipv6++) {
            struct json *want = slice(s, o, subset, ipv6);
            bool found = !want;
            for (size_t i = 0; i < have.n && !found; i++)
                if (!kept[i] && same_slice(s, have.p[i], want))
                    kept[i] = found = true;
            if (!found)
                r = sync_create(s, R_SLICES, s->ns, want, NULL, e);
        }
    for (size_t i = 0; i < have.n && r >= 0; i++)
        if (!kept[i])
            r = sync_delete(s, have.p[i], NULL, e);
    return MIN(r, 0);
}

static void on_slice(struct ctl *c, const struct change *ch)
{
    if (str_eqz(obj_label(ch->obj, STR(LABEL_MANAGED)), MANAGER))
        ctl_add_key(c, ch->obj->ns, obj_label(ch->obj, STR(LABEL_SERVICE)));
}

const struct controller mirroring_controller = {
    .name = "endpointslice-mirroring",
    .account = "endpointslicemirroring-controller",
    .watches = {{R_ENDPOINTS, ctl_add_change}, {R_SERVICES, ctl_add_change}, {R_SLICES, on_slice}},
    .sync = sync,
};
