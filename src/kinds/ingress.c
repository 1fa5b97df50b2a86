#include "kinds/cell.h"
#include "kinds/rows.h"
#include "schema/ferr.h"
#include "schema/selector.h"

static void paths(const struct json *rule, const struct fpath *at, struct err **e)
{
    static const struct str types[] = {{"Exact", 5}, {"ImplementationSpecific", 22}, {"Prefix", 6}};
    struct fpath http = FPATH(at, "http"), list_at = FPATH(&http, "paths");
    size_t i = 0;
    json_for (json_path(rule, "http", "paths", NULL), p) {
        struct fpath here = fpath_at(&list_at, i++), path = FPATH(&here, "path"), type_at = FPATH(&here, "pathType"),
                     back = FPATH(&here, "backend");
        struct str type = json_get_str(p, "pathType"), s = json_get_str(p, "path");
        bool known = false;
        for (size_t k = 0; k < ARRAY_LEN(types); k++)
            known |= str_eq(type, types[k]);
        if (!type.n)
            ; /* required: the table says so */
        else if (!known)
            ferr_not_supported(e, &type_at, type, types, ARRAY_LEN(types));
        else if (!str_eqz(type, "ImplementationSpecific") && (!s.n || s.p[0] != '/'))
            ferr_invalid_str(e, &path, s, "must be an absolute path");
        const struct json *b = json_get(p, STR("backend"));
        bool service = json_get(b, STR("service")), resource = json_get(b, STR("resource"));
        if (service && resource)
            ferr_invalid_str(e, &back, STR(""), "cannot set both resource and service backends");
        else if (!service && !resource)
            ferr_required(e, &back, "resource or service backend is required");
    }
}

static void validate(struct kind_ctx *c, const struct json *doc, const struct json *old, struct err **e)
{
    struct fpath at = FPATH(NULL, "spec"), rules = FPATH(&at, "rules");
    const struct json *spec = json_get(doc, STR("spec"));
    (void)old;
    if (str_eqz(c->sub, "status"))
        return;
    if (!json_count(json_get(spec, STR("rules"))) && !json_get(spec, STR("defaultBackend")))
        ferr_invalid(e, &at, spec, "either `defaultBackend` or `rules` must be specified");
    size_t i = 0;
    json_for (json_get(spec, STR("rules")), r) {
        struct fpath here = fpath_at(&rules, i++), host_at = FPATH(&here, "host");
        struct str host = json_get_str(r, "host"), plain = str_starts(host, STR("*.")) ? str_sub(host, 2, host.n) : host;
        const char *why = host.n ? name_dns1123_subdomain(plain) : NULL;
        if (why)
            ferr_invalid_str(e, &host_at, host, why);
        paths(r, &here, e);
    }
}

static struct str hosts(struct kind_ctx *c, const struct json *rules)
{
    struct buf b = BUF_INIT;
    size_t n = 0;
    json_for (rules, r) {
        struct str h = json_get_str(r, "host");
        if (n == 3) {
            buf_printf(&b, " + %zu more...", json_count(rules) - 3);
            break;
        }
        if (h.n)
            buf_printf(&b, "%s%.*s", n++ ? "," : "", STR_ARG(h));
    }
    return buf_to_pool(&b, c->pool);
}

static void cells(struct kind_ctx *c, const struct json *doc, struct json *row)
{
    const struct json *spec = json_get(doc, STR("spec"));
    struct buf b = BUF_INIT;
    json_for (json_path(doc, "status", "loadBalancer", "ingress", NULL), in) {
        struct str ip = json_get_str(in, "ip");
        buf_printf(&b, "%s%.*s", b.n ? "," : "", STR_ARG(ip.n ? ip : json_get_str(in, "hostname")));
    }
    cell_add_str(c, row, json_str_at(doc, "metadata", "name", NULL));
    cell_add_or(c, row, json_get_str(spec, "ingressClassName"), "<none>");
    cell_add_or(c, row, hosts(c, json_get(spec, STR("rules"))), "*");
    cell_add_str(c, row, buf_to_pool(&b, c->pool));
    cell_add_z(c, row, json_count(json_get(spec, STR("tls"))) ? "80, 443" : "80");
    cell_add_age(c, row, json_str_at(doc, "metadata", "creationTimestamp", NULL));
}

const struct kind_hooks kind_ingress = {KIND("networking.k8s.io", "Ingress"), .validate = validate, .cells = cells};
