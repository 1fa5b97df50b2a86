#include <arpa/inet.h>

#include "kinds/cell.h"
#include "kinds/rows.h"

/* The name is the address, in its one canonical form. */
static const char *name(struct str s)
{
    char z[64], back[INET6_ADDRSTRLEN];
    unsigned char raw[16];
    if (s.n >= sizeof(z))
        return "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
    memcpy(z, s.p ? s.p : "", s.n);
    z[s.n] = 0;
    int family = inet_pton(AF_INET, z, raw) == 1 ? AF_INET : AF_INET6;
    if (family == AF_INET6 && inet_pton(AF_INET6, z, raw) != 1)
        return "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
    return inet_ntop(family, raw, back, sizeof(back)) && str_eqz(s, back) ? NULL : "must be a canonical format IP address";
}

static void cells(struct kind_ctx *c, const struct json *doc, struct json *row)
{
    const struct json *ref = json_path(doc, "spec", "parentRef", NULL);
    struct str group = json_get_str(ref, "group"), ns = json_get_str(ref, "namespace");
    cell_add_str(c, row, json_str_at(doc, "metadata", "name", NULL));
    if (ref)
        cell_add_str(c, row,
            pool_printf(c->pool, "%.*s%s%.*s%s%.*s/%.*s", STR_ARG(json_get_str(ref, "resource")), group.n ? "." : "", STR_ARG(group),
                ns.n ? "/" : "", STR_ARG(ns), STR_ARG(json_get_str(ref, "name"))));
    else
        cell_add_z(c, row, "<none>");
}

const struct kind_hooks kind_ip_address = {KIND("networking.k8s.io", "IPAddress"), .cells = cells, .name = name};
