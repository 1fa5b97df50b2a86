/* PodDisruptionBudgets: how many pods may be evicted now. After kube-controller-manager's pkg/controller/disruption. */
#include "controllers/ctl.h"

#define EVICTION_GRACE (120 * NS_PER_S) /* an eviction that was granted but did not delete its pod counts for so long */

/* How many pods the controllers behind these pods want in all. */
struct scales {
    struct str *uids;
    size_t n;
    int64_t total;
};

static int64_t replicas_of(struct sync *s, enum ctl_resource kind, struct str ns, const struct obj_owner *w, struct str *uid)
{
    const struct obj *o = sync_get(s, kind, ns, w->name), *above;
    if (!o || !str_eq(o->uid, w->uid))
        return -1;
    const struct obj_owner *up = obj_controller(o);
    if (kind == R_REPLICASETS && up && str_eqz(up->kind, "Deployment") && (above = sync_get(s, R_DEPLOYMENTS, ns, up->name)) &&
        str_eq(above->uid, up->uid))
        o = above;
    *uid = o->uid;
    return json_get_int(json_get(sync_tree(s, o), STR("spec")), "replicas", 1);
}

static void add_scale(struct sync *s, struct scales *all, const struct obj *pod)
{
    static const enum ctl_resource kinds[] = {R_REPLICASETS, R_RCS, R_STATEFULSETS};
    const struct obj_owner *w = obj_controller(pod);
    for (size_t i = 0; w && i < ARRAY_LEN(kinds); i++) {
        struct str uid;
        if (!str_eqz(w->kind, ctl_resources[kinds[i]].kind))
            continue;
        int64_t n = replicas_of(s, kinds[i], pod->ns, w, &uid);
        for (size_t k = 0; k < all->n; k++)
            if (str_eq(all->uids[k], uid))
                return;
        if (n < 0)
            return;
        all->uids = pool_grow(s->pool, all->uids, all->n * sizeof *all->uids, (all->n + 1) * sizeof *all->uids);
        all->uids[all->n++] = uid;
        all->total += n;
    }
}

static void wanted(struct sync *s, const struct json *spec, struct obj_array pods, int64_t *expected, int64_t *healthy)
{
    const struct json *most = json_get(spec, STR("maxUnavailable")), *least = json_get(spec, STR("minAvailable"));
    struct scales all = {0};
    int64_t n = 0;
    *expected = (int64_t)pods.n;
    *healthy = 0;
    if (most || json_is(least, JSON_STR)) {
        for (size_t i = 0; i < pods.n; i++)
            add_scale(s, &all, pods.p[i]);
        *expected = all.total;
    }
    if (most && int_or_percent(most, *expected, true, &n))
        *healthy = MAX(*expected - n, (int64_t)0);
    else if (least && int_or_percent(least, *expected, true, &n))
        *healthy = n;
}

/* Evictions that were granted and are not seen yet; old ones are forgotten. */
static struct json *still_disrupted(struct sync *s, const struct json *old)
{
    struct json *kept = json_obj(s->pool);
    json_for ((struct json *)(uintptr_t)old, d) {
        const struct obj *pod = sync_get(s, R_PODS, s->ns, json_key(d));
        int64_t until = time_of(json_as_str(d)) + EVICTION_GRACE;
        if (!pod || pod->deleted || until <= s->now)
            continue;
        json_set(s->pool, kept, json_key(d), json_clone(s->pool, d));
        sync_again_at(s, until);
    }
    return kept;
}

static struct json *status_of(struct sync *s, const struct obj *pdb, const struct json *tree, struct obj_array pods)
{
    struct pool *p = s->pool;
    struct json *status = json_obj(p), *old = json_get(tree, STR("status")),
                *disrupted = still_disrupted(s, json_get(old, STR("disruptedPods")));
    struct json *conditions = json_get(old, STR("conditions")) ? json_clone(p, json_get(old, STR("conditions"))) : json_arr(p);
    int64_t expected, desired, current = 0;
    wanted(s, json_get(tree, STR("spec")), pods, &expected, &desired);
    for (size_t i = 0; i < pods.n; i++)
        current += pod_ready(pods.p[i]) && !pods.p[i]->deleted && !json_get(disrupted, pods.p[i]->name);
    int64_t allowed = expected > 0 ? MAX(current - desired, (int64_t)0) : 0;
    json_set_int(p, status, STR("observedGeneration"), pdb->generation);
    if (json_count(disrupted))
        json_set(p, status, STR("disruptedPods"), disrupted);
    json_set_int(p, status, STR("disruptionsAllowed"), allowed);
    json_set_int(p, status, STR("currentHealthy"), current);
    json_set_int(p, status, STR("desiredHealthy"), desired);
    json_set_int(p, status, STR("expectedPods"), expected);
    condition_set(p, conditions, "DisruptionAllowed", allowed ? "True" : "False", allowed ? "SufficientPods" : "InsufficientPods", STR(""),
        s->now, false);
    struct json *c = condition_find(conditions, STR("DisruptionAllowed"));
    json_set_int(p, c, STR("observedGeneration"), pdb->generation);
    if (!json_get(c, STR("message")))
        json_set_str(p, c, STR("message"), STR(""));
    json_set(p, status, STR("conditions"), conditions);
    return status;
}

static int sync(struct sync *s, struct err **e)
{
    const struct obj *pdb = sync_self(s, R_PDBS);
    struct obj_array all, pods = {0};
    struct selector sel;
    if (!pdb || pdb->deleted)
        return 0;
    struct json *tree = sync_tree(s, pdb);
    int r = selector_from_json(s->pool, json_path(tree, "spec", "selector", NULL), &sel, e);
    if (r < 0)
        return r;
    all = sync_list(s, R_PODS, s->ns);
    for (size_t i = 0; i < all.n; i++)
        if (obj_matches(all.p[i], &sel))
            array_add(s->pool, &pods, all.p[i]);
    if (!pods.n)
        ctl_event(s->ctl, R_PDBS, pdb, false, "NoPods", "No matching pods found");
    r = sync_status(s, R_PDBS, pdb, tree, status_of(s, pdb, tree, pods), e);
    return err_is(e, ERR_NOT_FOUND) ? 0 : MIN(r, 0);
}

/* Budgets of the namespace that speak of these labels. */
static void on_pod(struct ctl *c, const struct change *ch)
{
    struct store_res *res = ctl_store_res(c, R_PDBS);
    _cleanup_(store_view_unrefp) struct store_view *v = store_view(c->store);
    _cleanup_(pool_freep) struct pool *p = NULL;
    struct store_iter it;
    if (!res || view_count(v, res, ch->obj->ns) == 0)
        return;
    p = pool_new();
    iter_start(&it, v, res, ch->obj->ns, STR_NULL, STR_NULL);
    for (const struct obj *o; (o = iter_next(&it));) {
        struct json *tree;
        struct selector sel;
        if (obj_parse(o, p, &tree, NULL) < 0 || selector_from_json(p, json_path(tree, "spec", "selector", NULL), &sel, NULL) < 0)
            continue;
        if (obj_matches(ch->obj, &sel) || (ch->before && obj_matches(ch->before, &sel)))
            ctl_add(c, o);
    }
}

/* A controller that was scaled changes what is expected. */
static void on_scale(struct ctl *c, const struct change *ch)
{
    _cleanup_(store_view_unrefp) struct store_view *v = store_view(c->store);
    struct store_iter it;
    struct store_res *res = ctl_store_res(c, R_PDBS);
    if (!res || (ch->before && !ch->gone && ch->before->generation == ch->obj->generation) || view_count(v, res, ch->obj->ns) == 0)
        return;
    iter_start(&it, v, res, ch->obj->ns, STR_NULL, STR_NULL);
    for (const struct obj *o; (o = iter_next(&it));)
        ctl_add(c, o);
}

const struct controller disruption_controller = {
    .name = "disruption",
    .account = "disruption-controller",
    .component = "controllermanager",
    .watches = {{R_PDBS, ctl_add_change}, {R_PODS, on_pod}, {R_DEPLOYMENTS, on_scale}, {R_REPLICASETS, on_scale},
        {R_STATEFULSETS, on_scale}, {R_RCS, on_scale}},
    .sync = sync,
};
