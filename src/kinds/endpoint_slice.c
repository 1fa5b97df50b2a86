#include <arpa/inet.h>

#include "kinds/cell.h"
#include "kinds/rows.h"
#include "schema/ferr.h"
#include "schema/selector.h"

struct list {
    struct buf b;
    size_t n;
};

static void add(struct list *l, struct str s)
{
    if (l->n++ < 3)
        buf_printf(&l->b, "%s%.*s", l->n > 1 ? "," : "", STR_ARG(s));
}

static void add_cell(struct kind_ctx *c, struct json *row, struct list *l)
{
    if (l->n > 3)
        buf_printf(&l->b, " + %zu more...", l->n - 3);
    struct str s = buf_to_pool(&l->b, c->pool);
    cell_add_or(c, row, s, "<unset>");
}

static void cells(struct kind_ctx *c, const struct json *doc, struct json *row)
{
    struct list ports = {0}, addresses = {0};
    json_for (json_get(doc, STR("ports")), p) {
        const struct json *n = json_get(p, STR("port")), *name = json_get(p, STR("name"));
        if (json_is(n, JSON_INT))
            add(&ports, pool_printf(c->pool, "%" PRId64, n->i));
        else
            add(&ports, name ? json_as_str(name) : STR("*"));
    }
    json_for (json_get(doc, STR("endpoints")), e)
        json_for (json_get(e, STR("addresses")), a)
            add(&addresses, json_as_str(a));
    cell_add_str(c, row, json_str_at(doc, "metadata", "name", NULL));
    cell_add_str(c, row, json_get_str(doc, "addressType"));
    add_cell(c, row, &ports);
    add_cell(c, row, &addresses);
    cell_add_age(c, row, json_str_at(doc, "metadata", "creationTimestamp", NULL));
}

static bool is_ip(struct pool *p, int family, struct str s)
{
    unsigned char raw[16];
    return inet_pton(family, pool_strz(p, s), raw) == 1;
}

static void validate(struct kind_ctx *c, const struct json *doc, const struct json *old, struct err **e)
{
    static const struct str types[] = {{"FQDN", 4}, {"IPv4", 4}, {"IPv6", 4}};
    struct fpath type_at = FPATH(NULL, "addressType"), eps = FPATH(NULL, "endpoints"), ports_at = FPATH(NULL, "ports");
    struct str type = json_get_str(doc, "addressType");
    bool v4 = str_eqz(type, "IPv4"), v6 = str_eqz(type, "IPv6");
    (void)old;
    if (type.n && !v4 && !v6 && !str_eqz(type, "FQDN"))
        ferr_not_supported(e, &type_at, type, types, ARRAY_LEN(types));
    if (json_count(json_get(doc, STR("endpoints"))) > 1000)
        ferr_too_many(e, &eps, json_count(json_get(doc, STR("endpoints"))), 1000);
    size_t i = 0;
    json_for (json_get(doc, STR("endpoints")), ep) {
        struct fpath here = fpath_at(&eps, i++), addrs = FPATH(&here, "addresses");
        const struct json *list = json_get(ep, STR("addresses"));
        size_t k = 0;
        if (!json_count(list))
            ferr_required(e, &addrs, "must contain at least 1 address");
        json_for (list, a) {
            struct fpath at = fpath_at(&addrs, k++);
            const char *why = v4 && !is_ip(c->pool, AF_INET, json_as_str(a))    ? "must be a valid IPv4 address"
                              : v6 && !is_ip(c->pool, AF_INET6, json_as_str(a)) ? "must be a valid IPv6 address"
                              : !v4 && !v6                                      ? name_dns1123_subdomain(json_as_str(a))
                                                                                : NULL;
            if (why)
                ferr_invalid(e, &at, a, why);
        }
    }
    i = 0;
    json_for (json_get(doc, STR("ports")), p) {
        struct fpath here = fpath_at(&ports_at, i++), name = FPATH(&here, "name");
        struct str n = json_get_str(p, "name");
        const char *why = n.n ? name_dns1123_label(n) : NULL;
        if (why)
            ferr_invalid_str(e, &name, n, why);
    }
}

/* "service": the slice's Service, as "ns/name". */
static void index_keys(struct pool *p, const struct json *doc, struct obj_index *out)
{
    struct str service = json_get_str(json_path(doc, "metadata", "labels", NULL), "kubernetes.io/service-name"),
               ns = json_str_at(doc, "metadata", "namespace", NULL);
    (void)p;
    if (service.n)
        obj_index_add(out, "service", pool_printf(out->pool, "%.*s/%.*s", STR_ARG(ns), STR_ARG(service)));
}

const struct kind_hooks kind_endpoint_slice = {
    KIND("discovery.k8s.io", "EndpointSlice"), .validate = validate, .cells = cells, .index = index_keys};
