/* ClusterRoles with an aggregationRule hold the rules of all that their selectors match. */
#include "controllers/ctl.h"

static bool has_rule(const struct json *rules, const struct json *rule)
{
    json_for ((struct json *)(uintptr_t)rules, r)
        if (json_equal(r, rule))
            return true;
    return false;
}

static int add_rules(struct sync *s, const struct obj *self, const struct json *selector, struct json *rules, struct err **e)
{
    struct selector sel;
    struct obj_array all = sync_list(s, R_CLUSTERROLES, STR(""));
    int r = selector_from_json(s->pool, selector, &sel, e);
    if (r < 0)
        return r;
    for (size_t i = 0; i < all.n; i++) {
        if (all.p[i] == self || !obj_matches(all.p[i], &sel))
            continue;
        json_for (json_get(sync_tree(s, all.p[i]), STR("rules")), rule)
            if (!has_rule(rules, rule))
                json_append(rules, json_clone(s->pool, rule));
    }
    return 0;
}

static int sync(struct sync *s, struct err **e)
{
    const struct obj *role = sync_self(s, R_CLUSTERROLES);
    struct json *tree = role && !role->deleted ? sync_tree(s, role) : NULL, *rules = json_arr(s->pool), *old = json_get(tree, STR("rules"));
    const struct json *selectors = json_path(tree, "aggregationRule", "clusterRoleSelectors", NULL);
    if (!selectors)
        return 0;
    json_for ((struct json *)(uintptr_t)selectors, sel) {
        int r = add_rules(s, role, sel, rules, e);
        if (r < 0)
            return r;
    }
    if (json_count(rules) == json_count(old)) { /* the same rules in another order are the same */
        bool same = true;
        json_for (rules, rule)
            same &= has_rule(old, rule);
        if (same)
            return 0;
    }
    json_set(s->pool, tree, STR("rules"), rules);
    int r = sync_update(s, R_CLUSTERROLES, role, NULL, tree, NULL, e);
    return err_is(e, ERR_NOT_FOUND) ? 0 : MIN(r, 0);
}

/* Any role may be part of any aggregate; there are few of these. */
static void on_role(struct ctl *c, const struct change *ch)
{
    _cleanup_(store_view_unrefp) struct store_view *v = store_view(c->store);
    struct store_iter it;
    if (!ch->gone && str_find(ch->obj->json, STR("\"aggregationRule\"")) >= 0)
        ctl_add(c, ch->obj);
    if (!ch->obj->nlabels && !(ch->before && ch->before->nlabels))
        return;
    iter_start(&it, v, ctl_store_res(c, R_CLUSTERROLES), STR(""), STR_NULL, STR_NULL);
    for (const struct obj *o; (o = iter_next(&it));)
        if (str_find(o->json, STR("\"aggregationRule\"")) >= 0)
            ctl_add(c, o);
}

const struct controller aggregation_controller = {
    .name = "clusterrole-aggregation",
    .account = "clusterrole-aggregation-controller",
    .watches = {{R_CLUSTERROLES, on_role}},
    .sync = sync,
};
