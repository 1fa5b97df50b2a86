#include "api/admit.h"

/* NamespaceLifecycle: nothing is made where there is no namespace, or one on its way out; the namespaces the cluster stands on stay. */

static bool immortal(struct str ns)
{
    return str_eqz(ns, "default") || str_eqz(ns, "kube-system") || str_eqz(ns, "kube-public");
}

int admit_lifecycle(struct call *c, struct err **e)
{
    if (c->w.op == WRITE_DELETE) {
        if (str_empty(c->ri.group) && str_eqz(c->ri.res, "namespaces") && immortal(c->ri.name))
            return admit_forbid(c, e, "this namespace may not be deleted");
        return 0;
    }
    if (!c->res->namespaced || !c->api->res.namespaces)
        return 0;
    _cleanup_(store_view_unrefp) struct store_view *v = store_view(c->api->store);
    const struct obj *ns = view_get(v, c->api->res.namespaces, STR_NULL, c->ri.ns);
    if (!ns) {
        call_depend(c, view_res_rev(v, c->api->res.namespaces));
        c->err_other = true;
        c->err_name = c->ri.ns;
        c->err_kind = STR("namespaces");
        return err_set(e, ERR_NOT_FOUND, "namespaces \"%.*s\" not found", STR_ARG(c->ri.ns));
    }
    if (!ns->deleted)
        return 0;
    call_depend(c, ns->rev);
    int r = admit_forbid(c, e, "unable to create new content in namespace %.*s because it is being terminated", STR_ARG(c->ri.ns));
    (void)err_cause(e, "NamespaceTerminating", STR("metadata.namespace"), "namespace %.*s is being terminated", STR_ARG(c->ri.ns));
    (*e)->code = ERR_FORBIDDEN;
    return r;
}
