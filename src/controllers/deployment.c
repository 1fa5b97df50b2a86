/* Deployments: rolling from one ReplicaSet to the next. After kube-controller-manager's pkg/controller/deployment. */
#include "controllers/deployment.h"
#include <stdlib.h>

static bool is_old(const struct deployment *d, const struct replica_set *r)
{
    return r != d->fresh;
}

static int64_t total(const struct deployment *d)
{
    int64_t n = 0;
    for (size_t i = 0; i < d->nrs; i++)
        n += d->rs[i].replicas;
    return n;
}

/* ---- scaling in proportion, while paused or in the middle of a rollout ---- */

static int64_t annotation_int(const struct replica_set *r, struct str name, int64_t absent)
{
    int64_t v = absent;
    str_to_i64(json_as_str(json_get(json_path(r->tree, "metadata", "annotations", NULL), name)), &v);
    return v;
}

/* How much of `add` this one gets, `added` having gone to others. */
static int64_t proportion(const struct deployment *d, const struct replica_set *r, int64_t add, int64_t added)
{
    if (r->replicas == 0 || add == 0 || add == added)
        return 0;
    int64_t share = -r->replicas;
    if (d->replicas) {
        int64_t max = d->replicas + d->surge, was = annotation_int(r, ANN_MAX, json_get_int(d->status, "replicas", 0));
        double ideal = was > 0 ? (double)r->replicas * (double)max / (double)was : (double)r->replicas;
        share = (int64_t)(ideal + 0.5) - r->replicas;
    }
    int64_t left = add - added;
    return add > 0 ? MIN(share, left) : MAX(share, left);
}

struct sized {
    struct replica_set *r;
    size_t age;
    bool up;
    int64_t size;
};

static int by_size(const void *pa, const void *pb) /* larger first; on a tie the newer when growing, the older when shrinking */
{
    const struct sized *a = pa, *b = pb;
    if (a->r->replicas != b->r->replicas)
        return a->r->replicas > b->r->replicas ? -1 : 1;
    return (a->age < b->age) == a->up ? 1 : -1;
}

static int scale_in_proportion(struct deployment *d, struct err **e)
{
    struct sized *list = pool_array(d->s->pool, struct sized, d->nrs + 1);
    int64_t allowed = d->replicas > 0 ? d->replicas + d->surge : 0, add = allowed - total(d), added = 0;
    size_t n = 0;
    for (size_t i = 0; i < d->nrs; i++)
        if (d->rs[i].replicas > 0)
            list[n++] = (struct sized){&d->rs[i], i, add > 0, 0};
    qsort(list, n, sizeof *list, by_size);
    for (size_t i = 0; i < n; i++) {
        int64_t share = proportion(d, list[i].r, add, added);
        list[i].size = list[i].r->replicas + share;
        added += share;
    }
    for (size_t i = 0; i < n; i++) {
        if (i == 0 && add != added)
            list[i].size = MAX(list[i].size + add - added, (int64_t)0);
        int r = deployment_scale(d, list[i].r, list[i].size, e);
        if (r < 0)
            return r;
    }
    return 0;
}

/* The only one with pods, or when none has any, the newest there is; NULL when several have. */
static struct replica_set *active_or_latest(struct deployment *d)
{
    struct replica_set *found = NULL;
    for (size_t i = 0; i < d->nrs; i++)
        if (d->rs[i].replicas > 0) {
            if (found)
                return NULL;
            found = &d->rs[i];
        }
    return found ? found : d->fresh ? d->fresh : d->nrs ? &d->rs[d->nrs - 1] : NULL;
}

static int scale_all(struct deployment *d, struct err **e)
{
    struct replica_set *one = active_or_latest(d), *f = d->fresh;
    int r = 0;
    if (one) {
        r = one->replicas == d->replicas ? 0 : deployment_scale(d, one, d->replicas, e);
        return MIN(r, 0);
    }
    if (f && f->replicas == d->replicas && f->available == d->replicas && annotation_int(f, ANN_DESIRED, -1) == d->replicas) {
        for (size_t i = 0; i < d->nrs && r >= 0; i++)
            if (is_old(d, &d->rs[i]) && d->rs[i].replicas > 0)
                r = deployment_scale(d, &d->rs[i], 0, e);
        return MIN(r, 0);
    }
    return d->rolling ? scale_in_proportion(d, e) : 0;
}

static bool size_changed(const struct deployment *d)
{
    for (size_t i = 0; i < d->nrs; i++)
        if (d->rs[i].replicas > 0 && annotation_int(&d->rs[i], ANN_DESIRED, d->replicas) != d->replicas)
            return true;
    return false;
}

/* ---- strategies ---- */

/* 0: scaled something, 1: nothing to do. */
static int reconcile_fresh(struct deployment *d, struct err **e)
{
    if (d->fresh->replicas == d->replicas)
        return 1;
    return deployment_scale(d, d->fresh, d->fresh->replicas > d->replicas ? d->replicas : deployment_fresh_size(d), e);
}

/* Takes up to `most` replicas from old ReplicaSets, oldest first; only as many of each as are not available when unhealthy. Returns how
 * many. */
static int64_t shrink_old(struct deployment *d, int64_t most, bool unhealthy, struct err **e)
{
    int64_t taken = 0;
    for (size_t i = 0; i < d->nrs && taken < most; i++) {
        struct replica_set *r = &d->rs[i];
        int64_t spare = unhealthy ? r->replicas - r->available : r->replicas, n = MIN(spare, most - taken);
        if (!is_old(d, r) || n <= 0)
            continue;
        int rc = deployment_scale(d, r, r->replicas - n, e);
        if (rc < 0)
            return rc;
        taken += n;
    }
    return taken;
}

static int reconcile_old(struct deployment *d, struct err **e)
{
    int64_t old = 0, available = 0, least = d->replicas - d->unavailable;
    for (size_t i = 0; i < d->nrs; i++)
        old += is_old(d, &d->rs[i]) ? d->rs[i].replicas : 0;
    int64_t most = total(d) - least - (d->fresh->replicas - d->fresh->available);
    if (old == 0 || most <= 0)
        return 0;
    int64_t r = shrink_old(d, most, true, e);
    if (r < 0)
        return (int)r;
    for (size_t i = 0; i < d->nrs; i++)
        available += d->rs[i].available;
    r = available > least ? shrink_old(d, available - least, false, e) : 0;
    return r < 0 ? (int)r : 0;
}

static int by_revision(const void *a, const void *b)
{
    const struct replica_set *x = *(struct replica_set *const *)a, *y = *(struct replica_set *const *)b;
    return x->revision < y->revision ? -1 : x->revision > y->revision;
}

static int remove_history(struct deployment *d, struct err **e)
{
    int64_t limit = json_get_int(d->spec, "revisionHistoryLimit", INT32_MAX);
    struct replica_set **old = pool_array(d->s->pool, struct replica_set *, d->nrs + 1);
    size_t n = 0;
    for (size_t i = 0; i < d->nrs; i++)
        if (is_old(d, &d->rs[i]) && !d->rs[i].o->deleted)
            old[n++] = &d->rs[i];
    qsort(old, n, sizeof *old, by_revision);
    for (size_t i = 0; i + (size_t)limit < n; i++) {
        if (old[i]->actual || old[i]->replicas || old[i]->o->generation > old[i]->observed)
            continue;
        int r = sync_delete(d->s, old[i]->o, NULL, e);
        if (r < 0)
            return r;
    }
    return 0;
}

static int roll(struct deployment *d, struct err **e)
{
    int r = deployment_find_fresh(d, true, e);
    if (r != 0)
        return r;
    r = reconcile_fresh(d, e);
    if (r == 1)
        r = reconcile_old(d, e);
    if (r < 0)
        return r;
    if (deployment_complete(d) && (r = remove_history(d, e)) < 0)
        return r;
    return deployment_write_status(d, e);
}

/* Pods of old ReplicaSets that have not ended. */
static bool old_pods_run(struct deployment *d)
{
    for (size_t i = 0; i < d->nrs; i++) {
        if (!is_old(d, &d->rs[i]))
            continue;
        struct obj_array pods = sync_owned(d->s, R_PODS, d->rs[i].o->uid);
        for (size_t k = 0; k < pods.n; k++) {
            enum pod_phase phase = pod_phase_of(pods.p[k]);
            if (phase != POD_FAILED && phase != POD_SUCCEEDED)
                return true;
        }
    }
    return false;
}

static int recreate(struct deployment *d, struct err **e)
{
    bool scaled = false;
    int r = deployment_find_fresh(d, false, e);
    for (size_t i = 0; i < d->nrs && r >= 0; i++)
        if (is_old(d, &d->rs[i]) && d->rs[i].replicas > 0) {
            r = deployment_scale(d, &d->rs[i], 0, e);
            scaled = true;
        }
    if (r < 0)
        return r;
    if (!scaled && !old_pods_run(d)) {
        if (!d->fresh && (r = deployment_find_fresh(d, true, e)) != 0)
            return r;
        if ((r = reconcile_fresh(d, e)) < 0)
            return r;
    }
    if (deployment_complete(d) && (r = remove_history(d, e)) < 0)
        return r;
    return deployment_write_status(d, e);
}

static int scale_and_clean(struct deployment *d, struct err **e)
{
    int r = deployment_find_fresh(d, false, e);
    if (r == 0)
        r = scale_all(d, e);
    if (r == 0 && d->paused)
        r = remove_history(d, e);
    return r < 0 ? r : deployment_write_status(d, e);
}

/* ---- reading ---- */

/* At least one pod may be missing or more, or a rollout would never move. */
static void read_bounds(struct deployment *d)
{
    const struct json *rolling = json_path(d->spec, "strategy", "rollingUpdate", NULL);
    d->rolling = !str_eqz(json_get_str(json_get(d->spec, STR("strategy")), "type"), "Recreate");
    d->surge = d->unavailable = 0;
    if (!d->rolling)
        return;
    int_or_percent(json_get(rolling, STR("maxSurge")), d->replicas, true, &d->surge);
    int_or_percent(json_get(rolling, STR("maxUnavailable")), d->replicas, false, &d->unavailable);
    if (d->surge == 0 && d->unavailable == 0)
        d->unavailable = 1;
    d->unavailable = MIN(d->unavailable, d->replicas);
}

static int by_age(const void *a, const void *b)
{
    const struct obj *x = ((const struct replica_set *)a)->o, *y = ((const struct replica_set *)b)->o;
    return x->created != y->created ? (x->created < y->created ? -1 : 1) : str_cmp(x->name, y->name);
}

static int read_deployment(struct deployment *d, struct err **e)
{
    struct obj_array list;
    d->tree = sync_tree(d->s, d->o);
    d->spec = json_get(d->tree, STR("spec"));
    d->status = json_get(d->tree, STR("status"));
    d->replicas = json_get_int(d->spec, "replicas", 1);
    d->paused = json_get_bool(d->spec, "paused", false);
    read_bounds(d);
    int r = selector_from_json(d->s->pool, json_get(d->spec, STR("selector")), &d->sel, e);
    if (r == 0)
        r = sync_claim(d->s, R_REPLICASETS, R_DEPLOYMENTS, d->o, &d->sel, &list, e);
    if (r < 0)
        return r;
    d->rs = pool_array(d->s->pool, struct replica_set, list.n + 1); /* room for one that is made */
    for (size_t i = 0; i < list.n; i++)
        replica_set_read(d, &d->rs[d->nrs++], list.p[i]);
    qsort(d->rs, d->nrs, sizeof *d->rs, by_age);
    return 0;
}

static int sync(struct sync *s, struct err **e)
{
    struct deployment d = {.s = s, .o = sync_self(s, R_DEPLOYMENTS)};
    if (!d.o)
        return 0;
    int r = read_deployment(&d, e);
    if (r < 0)
        return r;
    if (d.sel.n == 0) {
        ctl_event(
            s->ctl, R_DEPLOYMENTS, d.o, true, "SelectingAll", "This deployment is selecting all pods. A non-empty selector is required.");
        return 0;
    }
    if (d.o->deleted) {
        r = deployment_find_fresh(&d, false, e);
        return r < 0 ? r : deployment_write_status(&d, e);
    }
    r = deployment_check_paused(&d, e);
    if (r < 0)
        return r;
    if (d.paused || size_changed(&d))
        r = scale_and_clean(&d, e);
    else
        r = d.rolling ? roll(&d, e) : recreate(&d, e);
    return MIN(r, 0);
}

/* ---- what wakes it ---- */

static void on_replica_set(struct ctl *c, const struct change *ch)
{
    ctl_add_owner(c, ch, R_DEPLOYMENTS);
    if (ch->gone || obj_controller(ch->obj) || ch->obj->deleted)
        return;
    _cleanup_(store_view_unrefp) struct store_view *v = store_view(c->store);
    _cleanup_(pool_freep) struct pool *p = pool_new();
    struct store_iter it;
    iter_start(&it, v, ctl_store_res(c, R_DEPLOYMENTS), ch->obj->ns, STR_NULL, STR_NULL);
    for (const struct obj *o; (o = iter_next(&it));) {
        struct json *tree;
        struct selector sel;
        if (obj_parse(o, p, &tree, NULL) == 0 && selector_from_json(p, json_path(tree, "spec", "selector", NULL), &sel, NULL) == 0 &&
            obj_matches(ch->obj, &sel))
            ctl_add(c, o);
    }
}

/* The last pod of an old ReplicaSet has gone: a Recreate rollout waits for that. */
static void on_pod(struct ctl *c, const struct change *ch)
{
    const struct obj_owner *w = obj_controller(ch->obj);
    enum pod_phase phase = pod_phase_of(ch->obj);
    if (!w || !str_eqz(w->kind, "ReplicaSet") || !(ch->gone || phase == POD_FAILED || phase == POD_SUCCEEDED))
        return;
    _cleanup_(store_view_unrefp) struct store_view *v = store_view(c->store);
    const struct obj *rs = view_get(v, ctl_store_res(c, R_REPLICASETS), ch->obj->ns, w->name);
    if (rs)
        ctl_add_owner(c, &(struct change){.obj = rs}, R_DEPLOYMENTS);
}

const struct controller deployment_controller = {
    .name = "deployment",
    .account = "deployment-controller",
    .watches = {{R_DEPLOYMENTS, ctl_add_change}, {R_REPLICASETS, on_replica_set}, {R_PODS, on_pod}},
    .sync = sync,
};
