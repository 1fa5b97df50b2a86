#include <stdlib.h>

#include <arpa/inet.h>

#include "base/map.h"
#include "kinds/cell.h"
#include "kinds/podspec.h"
#include "kinds/rows.h"
#include "schema/selector.h"

static bool type_is(const struct json *spec, const char *type)
{
    return str_eqz(json_get_str(spec, "type"), type);
}

static void dflt_affinity(struct pool *p, struct json *spec)
{
    if (str_eqz(json_get_str(spec, "sessionAffinity"), "ClientIP")) {
        struct json *client = json_put_obj(p, json_put_obj(p, spec, STR("sessionAffinityConfig")), STR("clientIP"));
        if (!json_get(client, STR("timeoutSeconds")))
            json_set_int(p, client, STR("timeoutSeconds"), 10800);
    } else {
        json_del(spec, STR("sessionAffinityConfig"));
    }
}

static void dflt(struct kind_ctx *c, struct json *doc)
{
    struct json *spec = json_put_obj(c->pool, doc, STR("spec"));
    dflt_affinity(c->pool, spec);
    json_for (json_get(spec, STR("ports")), p) {
        const struct json *target = json_get(p, STR("targetPort"));
        bool unset = !target || (json_is(target, JSON_INT) && target->i == 0) || (json_is(target, JSON_STR) && !target->n);
        if (unset && p->type == JSON_OBJ)
            json_set_int(c->pool, p, STR("targetPort"), json_get_int(p, "port", 0));
    }
    bool external = type_is(spec, "NodePort") || type_is(spec, "LoadBalancer") ||
                    (type_is(spec, "ClusterIP") && json_count(json_get(spec, STR("externalIPs"))));
    if (external && !json_get_str(spec, "externalTrafficPolicy").n)
        json_set_str(c->pool, spec, STR("externalTrafficPolicy"), STR("Cluster"));
    if (!json_get(spec, STR("internalTrafficPolicy")) && !type_is(spec, "ExternalName"))
        json_set_str(c->pool, spec, STR("internalTrafficPolicy"), STR("Cluster"));
    if (type_is(spec, "LoadBalancer") && !json_get(spec, STR("allocateLoadBalancerNodePorts")))
        json_set_bool(c->pool, spec, STR("allocateLoadBalancerNodePorts"), true);
    /* clusterIPs follows clusterIP: the first of the list and the single one are the same thing */
    struct str ip = json_get_str(spec, "clusterIP");
    struct json *ips = json_get(spec, STR("clusterIPs"));
    if (ip.n && !json_count(ips))
        json_append(json_put_arr(c->pool, spec, STR("clusterIPs")), json_str(c->pool, ip));
    else if (!ip.n && json_count(ips))
        json_set_str(c->pool, spec, STR("clusterIP"), json_as_str(json_at(ips, 0)));
}

static bool has_node_ports(const struct json *spec)
{
    return type_is(spec, "NodePort") || (type_is(spec, "LoadBalancer") && json_get_bool(spec, "allocateLoadBalancerNodePorts", true));
}

static bool reaches_in(const struct json *spec)
{
    return type_is(spec, "NodePort") || type_is(spec, "LoadBalancer");
}

static bool unchanged(const struct json *spec, const struct json *was, const char *key)
{
    const struct json *x = json_get(spec, str_of(key)), *y = json_get(was, str_of(key));
    return x == y || (x && y && json_equal(x, y));
}

static bool same_node_ports(const struct json *spec, const struct json *was)
{
    json_for (json_get(spec, STR("ports")), p) {
        int64_t port = json_get_int(p, "nodePort", 0);
        bool found = !port;
        json_for (json_get(was, STR("ports")), o)
            found |= json_get_int(o, "nodePort", 0) == port;
        if (!found)
            return false;
    }
    return true;
}

/* A change of type takes along what only the old type could have, unless the update set it to something of its own (which is then judged).
 * Who changes a type seldom names these fields. (pkg/registry/core/service/strategy.go, dropTypeDependentFields) */
static void drop_dependent(struct json *spec, const struct json *was)
{
    static const char *const addresses[] = {"clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"};
    bool same = unchanged(spec, was, "clusterIP") && unchanged(spec, was, "clusterIPs");
    for (size_t i = 0; i < ARRAY_LEN(addresses) && same && type_is(spec, "ExternalName") && !type_is(was, "ExternalName"); i++)
        json_del(spec, str_of(addresses[i]));
    if (has_node_ports(was) && !has_node_ports(spec) && same_node_ports(spec, was))
        json_for (json_get(spec, STR("ports")), p)
            json_del(p, STR("nodePort"));
    if (type_is(was, "LoadBalancer") && !type_is(spec, "LoadBalancer")) {
        if (unchanged(spec, was, "allocateLoadBalancerNodePorts"))
            json_del(spec, STR("allocateLoadBalancerNodePorts"));
        if (unchanged(spec, was, "loadBalancerClass"))
            json_del(spec, STR("loadBalancerClass"));
    }
    if (unchanged(spec, was, "healthCheckNodePort") && type_is(was, "LoadBalancer") &&
        (!type_is(spec, "LoadBalancer") || !str_eqz(json_get_str(spec, "externalTrafficPolicy"), "Local")))
        json_del(spec, STR("healthCheckNodePort"));
    if (reaches_in(was) && !reaches_in(spec) && !json_count(json_get(spec, STR("externalIPs"))) &&
        unchanged(spec, was, "externalTrafficPolicy"))
        json_del(spec, STR("externalTrafficPolicy"));
    if (type_is(spec, "ExternalName") && !type_is(was, "ExternalName") && unchanged(spec, was, "internalTrafficPolicy"))
        json_del(spec, STR("internalTrafficPolicy"));
}

/* What was allocated stays when an update leaves it out. */
static void prepare(struct kind_ctx *c, struct json *doc, const struct json *old)
{
    static const char *const sticky[] = {"clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"};
    struct json *spec = json_get(doc, STR("spec"));
    const struct json *was = json_get(old, STR("spec"));
    if (old && !str_eqz(c->sub, "status"))
        drop_dependent(spec, was);
    if (!old || type_is(spec, "ExternalName") || type_is(was, "ExternalName"))
        return;
    for (size_t i = 0; i < ARRAY_LEN(sticky); i++) {
        const struct json *v = json_get(was, str_of(sticky[i])), *now = json_get(spec, str_of(sticky[i]));
        bool empty = !now || now->type == JSON_NULL || (json_is(now, JSON_STR) && !now->n) || (json_is(now, JSON_ARR) && !now->n);
        if (empty && v && v->type != JSON_NULL)
            json_set(c->pool, spec, str_of(sticky[i]), json_clone(c->pool, v));
    }
    if (!type_is(spec, "NodePort") && !type_is(spec, "LoadBalancer"))
        return;
    json_for (json_get(spec, STR("ports")), p)
        json_for (json_get(was, STR("ports")), o)
            if (!json_get_int(p, "nodePort", 0) && json_get_int(o, "nodePort", 0) &&
                json_get_int(p, "port", 0) == json_get_int(o, "port", 0) &&
                str_eq(json_get_str(p, "protocol"), json_get_str(o, "protocol")))
                json_set_int(c->pool, p, STR("nodePort"), json_get_int(o, "nodePort", 0));
}

static void validate_port(const struct json *p, const struct fpath *at, bool need_name, const struct json *spec, struct err **e)
{
    struct fpath name_at = FPATH(at, "name"), port_at = FPATH(at, "port"), target_at = FPATH(at, "targetPort"),
                 node_at = FPATH(at, "nodePort");
    struct str name = json_get_str(p, "name");
    int64_t port = json_get_int(p, "port", 0), node = json_get_int(p, "nodePort", 0);
    const struct json *target = json_get(p, STR("targetPort"));
    const char *why = name.n ? name_dns1123_label(name) : NULL;
    if (need_name && !name.n)
        ferr_required(e, &name_at, "");
    else if (why)
        ferr_invalid_str(e, &name_at, name, why);
    if (port < 1 || port > 65535)
        ferr_invalid_int(e, &port_at, port, "must be between 1 and 65535, inclusive");
    if (json_is(target, JSON_INT) && (target->i < 1 || target->i > 65535))
        ferr_invalid(e, &target_at, target, "must be between 1 and 65535, inclusive");
    else if (json_is(target, JSON_STR) && (why = name_port(json_as_str(target))))
        ferr_invalid(e, &target_at, target, why);
    if (node && type_is(spec, "ClusterIP"))
        ferr_forbidden(e, &node_at, "may not be used when `type` is 'ClusterIP'");
    else if (node < 0 || node > 65535)
        ferr_invalid_int(e, &node_at, node, "must be between 1 and 65535, inclusive");
}

static void validate_ports(struct kind_ctx *c, const struct json *spec, const struct fpath *at, struct err **e)
{
    struct fpath ports_at = FPATH(at, "ports");
    const struct json *ports = json_get(spec, STR("ports"));
    struct map names = {0}, pairs = {0};
    size_t i = 0;
    bool headless = str_eqz(json_get_str(spec, "clusterIP"), "None");
    if (!json_count(ports) && !headless && !type_is(spec, "ExternalName"))
        ferr_required(e, &ports_at, "");
    json_for (ports, p) {
        struct fpath here = fpath_at(&ports_at, i++), name_at = FPATH(&here, "name");
        struct str name = json_get_str(p, "name"), proto = json_get_str(p, "protocol");
        validate_port(p, &here, json_count(ports) > 1, spec, e);
        if (name.n && map_put(&names, name, (void *)1))
            ferr_duplicate_str(e, &name_at, name);
        struct str pair = pool_printf(c->pool, "%.*s/%" PRId64, STR_ARG(proto), json_get_int(p, "port", 0));
        if (map_put(&pairs, pair, (void *)1)) {
            struct json *brief = json_obj(c->pool);
            json_set_int(c->pool, brief, STR("port"), json_get_int(p, "port", 0));
            json_set_str(c->pool, brief, STR("protocol"), proto);
            ferr_duplicate(e, &here, brief);
        }
    }
    map_clear(&names, NULL);
    map_clear(&pairs, NULL);
}

static bool is_ip(struct pool *p, struct str s)
{
    unsigned char raw[16];
    const char *z = pool_strz(p, s);
    return inet_pton(AF_INET, z, raw) == 1 || inet_pton(AF_INET6, z, raw) == 1;
}

static void validate_ips(struct kind_ctx *c, const struct json *spec, const struct json *was, const struct fpath *at, struct err **e)
{
    struct fpath ips_at = FPATH(at, "clusterIPs"), first = fpath_at(&ips_at, 0), one = FPATH(at, "clusterIP");
    struct str ip = json_get_str(spec, "clusterIP"), had = json_get_str(was, "clusterIP");
    const struct json *ips = json_get(spec, STR("clusterIPs"));
    if (type_is(spec, "ExternalName")) {
        if (ip.n)
            ferr_forbidden(e, &ips_at, "may not be set for ExternalName services");
        return;
    }
    if (ip.n && !str_eqz(ip, "None") && !is_ip(c->pool, ip))
        ferr_invalid_str(e, &first, ip, "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)");
    if (ip.n && json_count(ips) && !str_eq(json_as_str(json_at(ips, 0)), ip))
        ferr_invalid(e, &ips_at, ips, "first value must match `clusterIP`");
    if (str_eqz(ip, "None") && (type_is(spec, "NodePort") || type_is(spec, "LoadBalancer")))
        ferr_invalid_str(e, &one, ip,
            type_is(spec, "NodePort") ? "may not be set to 'None' for NodePort services"
                                      : "may not be set to 'None' for LoadBalancer services");
    if (had.n && !type_is(was, "ExternalName") && !str_eq(had, ip))
        ferr_invalid(e, &ips_at, ips, "may not change once set");
}

static void validate(struct kind_ctx *c, const struct json *doc, const struct json *old, struct err **e)
{
    struct fpath at = FPATH(NULL, "spec"), sel = FPATH(&at, "selector"), ext = FPATH(&at, "externalName"), eips = FPATH(&at, "externalIPs"),
                 aff = FPATH(&at, "sessionAffinity");
    const struct json *spec = json_get(doc, STR("spec")), *was = json_get(old, STR("spec"));
    if (str_eqz(c->sub, "status"))
        return;
    validate_ports(c, spec, &at, e);
    validate_ips(c, spec, was, &at, e);
    labels_validate(json_get(spec, STR("selector")), &sel, e);
    if (type_is(spec, "ExternalName")) {
        struct str name = json_get_str(spec, "externalName");
        if (name.n && name.p[name.n - 1] == '.')
            name.n--;
        const char *why = name.n ? name_dns1123_subdomain(name) : NULL;
        if (!name.n)
            ferr_required(e, &ext, "");
        else if (why)
            ferr_invalid_str(e, &ext, name, why);
    }
    struct str affinity = json_get_str(spec, "sessionAffinity");
    if (type_is(spec, "ExternalName") && str_eqz(affinity, "ClientIP"))
        ferr_invalid_str(e, &aff, affinity, "must be None for ExternalName services");
    size_t i = 0;
    json_for (json_get(spec, STR("externalIPs")), ip) {
        struct fpath here = fpath_at(&eips, i++);
        if (!is_ip(c->pool, json_as_str(ip)))
            ferr_invalid(e, &here, ip, "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)");
    }
}

static struct str external_ip(struct kind_ctx *c, const struct json *doc, const struct json *spec)
{
    struct str ips = cell_join(c->pool, json_get(spec, STR("externalIPs")), ",");
    if (type_is(spec, "ExternalName"))
        return json_get_str(spec, "externalName");
    if (!type_is(spec, "LoadBalancer"))
        return ips.n ? ips : STR("<none>");
    struct buf b = BUF_INIT;
    json_for (json_path(doc, "status", "loadBalancer", "ingress", NULL), in) {
        struct str a = json_get_str(in, "ip");
        buf_puts(&b, b.n ? "," : "");
        buf_str_add(&b, a.n ? a : json_get_str(in, "hostname"));
    }
    if (ips.n)
        buf_printf(&b, "%s%.*s", b.n ? "," : "", STR_ARG(ips));
    return b.n ? buf_to_pool(&b, c->pool) : STR("<pending>");
}

static void cells(struct kind_ctx *c, const struct json *doc, struct json *row)
{
    const struct json *spec = json_get(doc, STR("spec"));
    struct buf b = BUF_INIT;
    json_for (json_get(spec, STR("ports")), p) {
        int64_t node = json_get_int(p, "nodePort", 0);
        buf_printf(&b, "%s%" PRId64, b.n ? "," : "", json_get_int(p, "port", 0));
        if (node > 0)
            buf_printf(&b, ":%" PRId64, node);
        buf_printf(&b, "/%.*s", STR_ARG(json_get_str(p, "protocol")));
    }
    cell_add_str(c, row, json_str_at(doc, "metadata", "name", NULL));
    cell_add_str(c, row, json_get_str(spec, "type"));
    cell_add_or(c, row, json_as_str(json_at(json_get(spec, STR("clusterIPs")), 0)), "<none>");
    cell_add_str(c, row, external_ip(c, doc, spec));
    cell_add_or(c, row, buf_to_pool(&b, c->pool), "<none>");
    cell_add_age(c, row, json_str_at(doc, "metadata", "creationTimestamp", NULL));
    cell_add_str(c, row, cell_labels(c->pool, json_get(spec, STR("selector"))));
}

const struct kind_hooks kind_service = {
    KIND("", "Service"), .dflt = dflt, .prepare = prepare, .validate = validate, .cells = cells, .name = name_dns1035_label};
