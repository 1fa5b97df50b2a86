/* Every namespace has a ServiceAccount named default. */
#include "controllers/ctl.h"

static int sync(struct sync *s, struct err **e)
{
    const struct obj *ns = sync_get(s, R_NAMESPACES, STR(""), s->name);
    if (!ns || ns->deleted || sync_get(s, R_SERVICEACCOUNTS, s->name, STR("default")))
        return 0;
    struct json *sa = json_obj(s->pool), *meta = json_put_obj(s->pool, sa, STR("metadata"));
    json_set_str(s->pool, meta, STR("name"), STR("default"));
    json_set_str(s->pool, meta, STR("namespace"), s->name);
    int r = sync_create(s, R_SERVICEACCOUNTS, s->name, sa, NULL, e);
    return err_is(e, ERR_EXISTS) ? 0 : MIN(r, 0);
}

static void on_account(struct ctl *c, const struct change *ch)
{
    if (ch->gone && str_eqz(ch->obj->name, "default"))
        ctl_add_key(c, STR(""), ch->obj->ns);
}

const struct controller serviceaccount_controller = {
    .name = "serviceaccount",
    .account = "service-account-controller",
    .watches = {{R_NAMESPACES, ctl_add_change}, {R_SERVICEACCOUNTS, on_account}},
    .sync = sync,
};
