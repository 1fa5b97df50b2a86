#include "api/impl.h"

struct str call_ns(const struct call *c)
{
    return c->res->namespaced ? c->ri.ns : STR_NULL;
}

/* Is N, a resourceVersion that the client wants at least, already here? Inside one process it is, or it never was given out. */
int check_not_older(struct call *c, int64_t have, struct err **e)
{
    struct str text = call_query(c, "resourceVersion");
    uint64_t want;
    if (str_empty(text))
        return 0;
    if (!str_to_u64(text, &want))
        return err_set(e, ERR_BAD_REQUEST, "resourceVersion: Invalid value: \"%.*s\": must be an unsigned integer", STR_ARG(text));
    if ((int64_t)want <= have)
        return 0;
    (void)err_set(e, ERR_TIMEOUT, "Timeout: Too large resource version: %" PRIu64 ", current: %" PRId64, want, have);
    (void)err_cause(e, "ResourceVersionTooLarge", STR_NULL, "Too large resource version");
    (*e)->code = ERR_TIMEOUT;
    (*e)->retry_after_s = 1;
    return -ERR_TIMEOUT;
}

int verb_get(struct call *c, struct err **e)
{
    _cleanup_(store_view_unrefp) struct store_view *v = store_view(c->api->store);
    if (check_not_older(c, view_rev(v), e) < 0)
        return -(*e)->code;
    const struct obj *o = view_get(v, c->sres, call_ns(c), c->ri.name);
    if (!o) {
        call_depend(c, view_res_rev(v, c->sres)); /* that it is not there may rest on a deletion */
        return call_not_found(c, c->ri.name, e);
    }
    call_reply_obj(c, 200, obj_ref(o));
    return 0;
}
