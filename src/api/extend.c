/* Where a room above joins in: its own bearer tokens, its own checks of writes. */
#include "api/impl.h"

void api_set_tokens(struct api *a, api_token_fn *fn, void *arg)
{
    a->tokens = fn;
    a->tokens_arg = arg;
}

void api_set_admission(struct api *a, struct str group, api_admit_fn *fn, void *arg)
{
    a->admission = fn;
    a->admission_arg = arg;
    a->admission_group = pool_str(a->pool, group);
}

struct api_user *api_user_new(struct pool *p, struct str name, struct str uid, const struct str *groups, size_t ngroups)
{
    return user_new(p, name, uid, groups, ngroups, true);
}

bool api_covers(struct api *a, const struct api_user *u, struct str ns, const struct json *rules, struct buf *missing)
{
    _cleanup_(pool_freep) struct pool *p = pool_new();
    size_t n;
    struct rbac_rule *want = rbac_rules_parse(p, rules, &n);
    return user_in(u, GROUP_MASTERS) || rbac_covers(a, u, ns, want, n, p, missing);
}

int admit_foreign(struct call *c, struct err **e)
{
    struct api *a = c->api;
    if (!a->admission || !str_eq(a->admission_group, c->ri.group))
        return 0;
    struct api_write w = {
        .user = c->user,
        .group = c->ri.group,
        .resource = c->ri.res,
        .sub = c->ri.sub,
        .ns = c->ri.ns,
        .name = c->ri.name,
        .op = c->w.op == WRITE_CREATE ? 'C' : c->w.op == WRITE_UPDATE ? 'U' : 'D',
        .old = c->w.old,
        .doc = c->w.op == WRITE_DELETE ? NULL : c->w.doc,
        .pool = c->pool,
        .internal = user_in(c->user, GROUP_MASTERS),
    };
    return a->admission(a->admission_arg, &w, e);
}
