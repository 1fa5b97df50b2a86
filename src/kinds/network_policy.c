#include "kinds/podspec.h"
#include "kinds/rows.h"

/* A policy that names no types is about ingress, and about egress when it has such rules. */
static void dflt(struct kind_ctx *c, struct json *doc)
{
    struct json *spec = json_get(doc, STR("spec"));
    if (!spec || json_count(json_get(spec, STR("policyTypes"))))
        return;
    struct json *types = json_put_arr(c->pool, spec, STR("policyTypes"));
    json_append(types, json_str(c->pool, STR("Ingress")));
    if (json_count(json_get(spec, STR("egress"))))
        json_append(types, json_str(c->pool, STR("Egress")));
}

static void peers(const struct json *rules, const struct fpath *at, const char *member, struct err **e)
{
    size_t i = 0;
    json_for (rules, r) {
        struct fpath here = fpath_at(at, i++), list = fpath_name(&here, str_of(member));
        size_t k = 0;
        json_for (json_get(r, str_of(member)), p) {
            struct fpath peer = fpath_at(&list, k++), pods = FPATH(&peer, "podSelector"), nss = FPATH(&peer, "namespaceSelector");
            const struct json *block = json_get(p, STR("ipBlock"));
            if (json_count(p) == 0)
                ferr_required(e, &peer, "must specify a peer");
            else if (block && json_count(p) > 1)
                ferr_forbidden(e, &peer, "may not specify both ipBlock and another peer");
            selector_validate(json_get(p, STR("podSelector")), &pods, e);
            selector_validate(json_get(p, STR("namespaceSelector")), &nss, e);
        }
    }
}

static void validate(struct kind_ctx *c, const struct json *doc, const struct json *old, struct err **e)
{
    struct fpath at = FPATH(NULL, "spec"), sel = FPATH(&at, "podSelector"), in = FPATH(&at, "ingress"), out = FPATH(&at, "egress");
    const struct json *spec = json_get(doc, STR("spec"));
    (void)c;
    (void)old;
    selector_validate(json_get(spec, STR("podSelector")), &sel, e);
    peers(json_get(spec, STR("ingress")), &in, "from", e);
    peers(json_get(spec, STR("egress")), &out, "to", e);
}

const struct kind_hooks kind_network_policy = {KIND("networking.k8s.io", "NetworkPolicy"), .dflt = dflt, .validate = validate};
