#include "api/impl.h"

void authz_attrs(const struct request_info *ri, struct api_attrs *at)
{
    *at = (struct api_attrs){0};
    if (!ri->resource) {
        at->verb = ri->http_verb;
        at->path = ri->path;
        return;
    }
    at->verb = str_of(verb_name(ri->verb));
    at->group = ri->group;
    at->version = ri->version;
    at->resource = ri->res;
    at->subresource = ri->sub;
    at->ns = ri->ns;
    at->name = ri->name;
}

enum decision authz_decide(struct api *a, const struct api_user *u, const struct api_attrs *at, struct buf *why)
{
    if (user_in(u, GROUP_MASTERS))
        return DECISION_ALLOW;
    if (user_in(u, GROUP_NODES)) {
        enum decision d = node_authorize(a, u, at, why);
        if (d != DECISION_NONE)
            return d;
    }
    return rbac_allows(a, u, at, why) ? DECISION_ALLOW : DECISION_NONE;
}

static int forbidden(const struct api_user *u, const struct api_attrs *at, struct str why, struct err **e)
{
    _cleanup_(buf_clear) struct buf b = BUF_INIT;
    if (str_empty(at->resource)) {
        buf_printf(&b, "forbidden: User \"%.*s\" cannot %.*s path \"%.*s\"", STR_ARG(u->name), STR_ARG(at->verb), STR_ARG(at->path));
    } else {
        buf_str_add(&b, at->resource);
        if (!str_empty(at->group))
            buf_printf(&b, ".%.*s", STR_ARG(at->group));
        if (!str_empty(at->name))
            buf_printf(&b, " \"%.*s\"", STR_ARG(at->name));
        buf_printf(&b, " is forbidden: User \"%.*s\" cannot %.*s resource \"%.*s%s%.*s\" in API group \"%.*s\"", STR_ARG(u->name),
            STR_ARG(at->verb), STR_ARG(at->resource), str_empty(at->subresource) ? "" : "/", STR_ARG(at->subresource), STR_ARG(at->group));
        if (str_empty(at->ns))
            buf_puts(&b, " at the cluster scope");
        else
            buf_printf(&b, " in the namespace \"%.*s\"", STR_ARG(at->ns));
    }
    if (!str_empty(why))
        buf_printf(&b, ": %.*s", STR_ARG(why));
    return err_set(e, ERR_FORBIDDEN, "%.*s", STR_ARG(buf_str(&b)));
}

int api_authorize(struct api *a, const struct api_user *u, const struct api_attrs *at, struct err **e)
{
    _cleanup_(buf_clear) struct buf why = BUF_INIT;
    if (authz_decide(a, u, at, NULL) == DECISION_ALLOW)
        return 0;
    (void)authz_decide(a, u, at, &why);
    return forbidden(u, at, buf_str(&why), e);
}

int authorize(struct call *c, struct err **e)
{
    struct api_attrs at;
    authz_attrs(&c->ri, &at);
    return api_authorize(c->api, c->user, &at, e);
}
