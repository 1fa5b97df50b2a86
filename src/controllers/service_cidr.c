/* ServiceCIDRs and IPAddresses (pkg/controller/servicecidrs; KEP-1880). A range is kept as long as addresses of Services lie in it and in
 * no other; every ClusterIP has an IPAddress that names its Service. The api itself gives out the addresses (api/addresses.c), so that an
 * IPAddress here follows its Service.
 */
#include <arpa/inet.h>
#include "controllers/ctl.h"

#define FINALIZER "networking.k8s.io/service-cidr-finalizer"

/* ---- ranges ---- */

static bool contains(struct str cidr, struct str ip)
{
    struct str base, bits;
    char text[64];
    unsigned char net[16], one[16];
    uint64_t n;
    int family = str_chr(ip, ':') >= 0 ? AF_INET6 : AF_INET;
    if (!str_cut(cidr, '/', &base, &bits) || !str_to_u64(bits, &n) || n > (family == AF_INET ? 32 : 128))
        return false;
    snprintf(text, sizeof text, "%.*s", STR_ARG(base));
    if (inet_pton(family, text, net) != 1)
        return false;
    snprintf(text, sizeof text, "%.*s", STR_ARG(ip));
    if (inet_pton(family, text, one) != 1)
        return false;
    for (uint64_t i = 0; i < n; i++)
        if ((net[i / 8] ^ one[i / 8]) & (0x80 >> (i % 8)))
            return false;
    return true;
}

static bool covers(const struct json *range, struct str ip)
{
    json_for (json_path(range, "spec", "cidrs", NULL), c)
        if (contains(json_as_str(c), ip))
            return true;
    return false;
}

static bool still_needed(struct sync *s, const struct obj *o, const struct json *tree)
{
    struct obj_array ranges = sync_list(s, R_CIDRS, STR("")), addresses = sync_list(s, R_ADDRESSES, STR(""));
    for (size_t i = 0; i < addresses.n; i++) {
        struct str ip = addresses.p[i]->name;
        bool elsewhere = false;
        if (!covers(tree, ip))
            continue;
        for (size_t k = 0; k < ranges.n && !elsewhere; k++)
            elsewhere = ranges.p[k] != o && !ranges.p[k]->deleted && covers(sync_tree(s, ranges.p[k]), ip);
        if (!elsewhere)
            return true;
    }
    return false;
}

static struct json *finalizer_of(const struct json *tree)
{
    json_for (json_path(tree, "metadata", "finalizers", NULL), f)
        if (str_eqz(json_as_str(f), FINALIZER))
            return f;
    return NULL;
}

static int set_ready(struct sync *s, const struct obj *o, bool ready, const char *reason, struct str message, struct err **e)
{
    struct json *tree = sync_tree(s, o), *old = json_get(tree, STR("status")), *status = old ? json_clone(s->pool, old) : json_obj(s->pool);
    condition_set(
        s->pool, json_put_arr(s->pool, status, STR("conditions")), "Ready", ready ? "True" : "False", reason, message, s->now, false);
    int r = sync_status(s, R_CIDRS, o, tree, status, e);
    return err_is(e, ERR_NOT_FOUND) ? 0 : MIN(r, 0);
}

static int sync_range(struct sync *s, struct err **e)
{
    const struct obj *o = sync_self(s, R_CIDRS);
    if (!o)
        return 0;
    struct json *tree = sync_tree(s, o), *f = finalizer_of(tree);
    if (o->deleted && f) {
        if (still_needed(s, o, tree))
            return set_ready(s, o, false, "Terminating",
                STR("There are still IPAddresses referencing the ServiceCIDR, please remove them or create a new ServiceCIDR"), e);
        json_remove(json_path(tree, "metadata", "finalizers", NULL), f);
        int r = sync_update(s, R_CIDRS, o, NULL, tree, NULL, e);
        return err_is(e, ERR_NOT_FOUND) ? 0 : MIN(r, 0);
    }
    if (o->deleted)
        return 0;
    if (!f) {
        json_append(json_put_arr(s->pool, json_get(tree, STR("metadata")), STR("finalizers")), json_str(s->pool, STR(FINALIZER)));
        int r = sync_update(s, R_CIDRS, o, NULL, tree, &o, e);
        if (r != 0)
            return err_is(e, ERR_NOT_FOUND) ? 0 : MIN(r, 0);
    }
    return set_ready(s, o, true, "", STR("Kubernetes Service CIDR is ready"), e);
}

static void add_all(struct ctl *c)
{
    _cleanup_(store_view_unrefp) struct store_view *v = store_view(c->store);
    struct store_iter it;
    iter_start(&it, v, ctl_store_res(c, R_CIDRS), STR(""), STR_NULL, STR_NULL);
    for (const struct obj *o; (o = iter_next(&it));)
        ctl_add(c, o);
}

static void on_range(struct ctl *c, const struct change *ch)
{
    if (ch->gone || !ch->before)
        add_all(c); /* another range may hold what this one held */
    else
        ctl_add(c, ch->obj);
}

static void on_address(struct ctl *c, const struct change *ch)
{
    if (ch->gone)
        add_all(c);
}

const struct controller service_cidr_controller = {
    .name = "service-cidrs",
    .account = "service-cidrs-controller",
    .watches = {{R_CIDRS, on_range}, {R_ADDRESSES, on_address}},
    .sync = sync_range,
};

/* ---- addresses ---- */

static bool parent_is(const struct json *address, struct str ns, struct str name)
{
    const struct json *ref = json_path(address, "spec", "parentRef", NULL);
    return str_eqz(json_get_str(ref, "resource"), "services") && str_eq(json_get_str(ref, "namespace"), ns) &&
           str_eq(json_get_str(ref, "name"), name);
}

static bool has_ip(const struct json *service, struct str ip)
{
    json_for (json_path(service, "spec", "clusterIPs", NULL), x)
        if (str_eq(json_as_str(x), ip))
            return true;
    return false;
}

static int make_address(struct sync *s, struct str ip, struct err **e)
{
    struct pool *p = s->pool;
    struct json *body = json_obj(p), *meta = json_put_obj(p, body, STR("metadata")), *labels = json_put_obj(p, meta, STR("labels")),
                *ref = json_put_obj(p, json_put_obj(p, body, STR("spec")), STR("parentRef"));
    json_set_str(p, meta, STR("name"), ip);
    json_set_str(p, labels, STR("ipaddress.kubernetes.io/ip-family"), str_chr(ip, ':') >= 0 ? STR("IPv6") : STR("IPv4"));
    json_set_str(p, labels, STR("ipaddress.kubernetes.io/managed-by"), STR("ipallocator.k8s.io"));
    json_set_str(p, ref, STR("group"), STR(""));
    json_set_str(p, ref, STR("resource"), STR("services"));
    json_set_str(p, ref, STR("namespace"), s->ns);
    json_set_str(p, ref, STR("name"), s->name);
    int r = sync_create(s, R_ADDRESSES, STR(""), body, NULL, e);
    return err_is(e, ERR_EXISTS) ? 0 : MIN(r, 0);
}

static int sync_service(struct sync *s, struct err **e)
{
    const struct obj *o = sync_self(s, R_SERVICES);
    const struct json *service = o ? sync_tree(s, o) : NULL;
    struct obj_array all = sync_list(s, R_ADDRESSES, STR(""));
    int r = 0;
    for (size_t i = 0; i < all.n && r >= 0; i++)
        if (parent_is(sync_tree(s, all.p[i]), s->ns, s->name) && !has_ip(service, all.p[i]->name))
            r = sync_delete(s, all.p[i], NULL, e);
    json_for (json_path(service, "spec", "clusterIPs", NULL), ip)
        if (r >= 0 && !str_eqz(json_as_str(ip), "None") && json_as_str(ip).n && !sync_get(s, R_ADDRESSES, STR(""), json_as_str(ip)))
            r = make_address(s, json_as_str(ip), e);
    return MIN(r, 0);
}

/* Somebody took an address away, or gave one to a Service that never had it. */
static void on_service_address(struct ctl *c, const struct change *ch)
{
    _cleanup_(pool_freep) struct pool *p = pool_new();
    struct json *tree;
    if (obj_parse(ch->obj, p, &tree, NULL) == 0 && str_eqz(json_str_at(tree, "spec", "parentRef", "resource", NULL), "services"))
        ctl_add_key(c, json_str_at(tree, "spec", "parentRef", "namespace", NULL), json_str_at(tree, "spec", "parentRef", "name", NULL));
}

static void on_service(struct ctl *c, const struct change *ch)
{
    ctl_add(c, ch->obj);
}

const struct controller ip_address_controller = {
    .name = "ip-address",
    .account = "service-cidrs-controller",
    .watches = {{R_SERVICES, on_service}, {R_ADDRESSES, on_service_address}},
    .sync = sync_service,
    .master = true, /* in Kubernetes the API server writes these itself */
};
