/* ResourceQuotas: writes down what the namespace uses. Admission counts for itself, from the store; so a moment's delay here lets nobody
 * through. */
#include "controllers/ctl.h"
#include "schema/quantity.h"

#define DELAY NS_PER_S /* a burst of changes is counted once */

/* The stored resource that a key speaks of. */
static struct str resource_of(struct pool *p, struct str key)
{
    struct str name, group = STR("");
    if (str_starts(key, STR("count/"))) {
        name = str_sub(key, 6, key.n);
        str_cut(name, '.', &name, &group);
        return pool_printf(p, "%.*s/%.*s", STR_ARG(group), STR_ARG(name));
    }
    if (str_starts(key, STR("services.")))
        return STR("/services");
    if (str_ends(key, STR("requests.storage")) || str_find(key, STR(".storageclass.storage.k8s.io/")) > 0)
        return STR("/persistentvolumeclaims");
    if (str_starts(key, STR("requests.")) || str_starts(key, STR("limits.")) || str_eqz(key, "cpu") || str_eqz(key, "memory") ||
        str_eqz(key, "ephemeral-storage"))
        return STR("/pods");
    return pool_printf(p, "/%.*s", STR_ARG(key));
}

static int64_t used(struct sync *s, const struct json *quota, struct str key)
{
    struct str resource = resource_of(s->pool, key), group, name;
    struct store_res *res = store_find(s->ctl->store, resource);
    struct store_iter it;
    int64_t total = 0, one;
    if (!res || !str_cut(resource, '/', &group, &name))
        return 0;
    iter_start(&it, s->view, res, s->ns, STR_NULL, STR_NULL);
    for (const struct obj *o; (o = iter_next(&it));) {
        _cleanup_(pool_freep) struct pool *p = pool_new();
        struct json *doc;
        if (obj_parse(o, p, &doc, NULL) == 0 && api_quota_in_scope(quota, doc, obj_is(s->ctl, o, R_PODS)) &&
            api_quota_usage(group, name, doc, key, &one))
            total += one;
    }
    return total;
}

static struct str amount_text(struct pool *p, struct str key, int64_t milli)
{
    struct buf b = BUF_INIT;
    bool bytes = str_find(key, STR("memory")) >= 0 || str_find(key, STR("storage")) >= 0;
    quantity_write(&b, (struct quantity){.digits = milli, .scale = -3, .format = bytes ? Q_BINARY_SI : Q_DECIMAL_SI});
    return buf_to_pool(&b, p);
}

static int sync(struct sync *s, struct err **e)
{
    const struct obj *o = sync_self(s, R_QUOTAS);
    if (!o || o->deleted)
        return 0;
    struct json *tree = sync_tree(s, o), *status = json_obj(s->pool), *hard = json_path(tree, "spec", "hard", NULL), *sums = NULL;
    if (hard) {
        json_set(s->pool, status, STR("hard"), json_clone(s->pool, hard));
        sums = json_put_obj(s->pool, status, STR("used"));
    }
    json_for (hard, h)
        json_set_str(s->pool, sums, json_key(h), amount_text(s->pool, json_key(h), used(s, tree, json_key(h))));
    int r = sync_status(s, R_QUOTAS, o, tree, status, e);
    return err_is(e, ERR_NOT_FOUND) ? 0 : MIN(r, 0);
}

static bool ended(const struct obj *o)
{
    return pod_phase_of(o) == POD_SUCCEEDED || pod_phase_of(o) == POD_FAILED;
}

/* Counts change when objects come and go, pods when they end, services and claims when they are edited. */
static bool counts(struct ctl *c, const struct change *ch)
{
    if (!ch->before || ch->gone)
        return true;
    if (obj_is(c, ch->obj, R_PODS))
        return ended(ch->obj) != ended(ch->before) || ch->obj->generation != ch->before->generation;
    return obj_is(c, ch->obj, R_SERVICES) || obj_is(c, ch->obj, R_PVCS);
}

static void on_any(struct ctl *c, const struct change *ch)
{
    struct store_res *res = ctl_store_res(c, R_QUOTAS);
    struct store_iter it;
    if (!ch->obj->ns.n || ch->obj->soft || ch->obj->res == res || !counts(c, ch))
        return;
    _cleanup_(store_view_unrefp) struct store_view *v = store_view(c->store);
    if (view_count(v, res, ch->obj->ns) == 0)
        return;
    iter_start(&it, v, res, ch->obj->ns, STR_NULL, STR_NULL);
    for (const struct obj *o; (o = iter_next(&it));) {
        struct buf b = BUF_INIT;
        buf_printf(&b, "%.*s/%.*s", STR_ARG(o->ns), STR_ARG(o->name));
        ctl_add_at(c, buf_str(&b), clock_now(c->clock) + DELAY);
        buf_clear(&b);
    }
}

const struct controller quota_controller = {
    .name = "resourcequota",
    .account = "resourcequota-controller",
    .watches = {{R_QUOTAS, ctl_add_change}, {R_ANY, on_any}},
    .sync = sync,
};
