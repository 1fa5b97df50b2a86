#include "api/impl.h"

/* pods/eviction: a deletion that asks the pod's disruption budget first. The budget is charged before the pod is marked, as in Kubernetes.
 */

static bool unguarded(const struct json *pod)
{
    struct str phase = json_str_at(pod, "status", "phase", NULL);
    return str_eqz(phase, "Pending") || str_eqz(phase, "Succeeded") || str_eqz(phase, "Failed") ||
           json_path(pod, "metadata", "deletionTimestamp", NULL);
}

static bool ready(const struct json *pod)
{
    json_for (json_path(pod, "status", "conditions", NULL), it)
        if (str_eqz(json_get_str(it, "type"), "Ready"))
            return str_eqz(json_get_str(it, "status"), "True");
    return false;
}

static const struct obj *find_budget(struct call *c, const struct store_view *v, const struct json *pod, struct json **doc, size_t *n)
{
    struct store_iter it;
    const struct obj *found = NULL;
    *n = 0;
    iter_start(&it, v, c->api->res.pdbs, c->ri.ns, STR_NULL, STR_NULL);
    for (const struct obj *o; (o = iter_next(&it));) {
        struct json *d;
        struct selector s;
        if (obj_parse(o, c->pool, &d, NULL) < 0 || selector_from_json(c->pool, json_path(d, "spec", "selector", NULL), &s, NULL) < 0)
            continue;
        if (!selector_match_json(&s, json_path(pod, "metadata", "labels", NULL)))
            continue;
        found = o;
        *doc = d;
        ++*n;
    }
    return found;
}

static int refuse(struct err **e, struct str budget, const char *why, int retry)
{
    (void)err_set(e, ERR_TOO_MANY, "Cannot evict pod as it would violate the pod's disruption budget.");
    (void)err_cause(e, "DisruptionBudget", STR_NULL, "The disruption budget %.*s %s", STR_ARG(budget), why);
    (*e)->retry_after_s = retry;
    return -ERR_TOO_MANY;
}

/* Takes one disruption off the budget. */
static int charge(struct call *c, const struct obj *o, struct json *d, struct err **e)
{
    struct json *status = json_put_obj(c->pool, d, STR("status"));
    char now[TIME_MAX];
    int64_t left = json_get_int(status, "disruptionsAllowed", 0);
    if (json_get_int(status, "observedGeneration", 0) < o->generation)
        return refuse(e, o->name, "is still being processed by the server.", 10);
    if (json_count(json_get(status, STR("disruptedPods"))) > 2000)
        return err_set(e, ERR_FORBIDDEN, "DisruptedPods map too big - too many evictions not confirmed by PDB controller");
    if (left <= 0) {
        struct str why = pool_printf(c->pool, "needs %" PRId64 " healthy pods and has %" PRId64 " currently",
            json_get_int(status, "desiredHealthy", 0), json_get_int(status, "currentHealthy", 0));
        return refuse(e, o->name, why.p, 0);
    }
    if (c->dry_run)
        return 0;
    json_set_int(c->pool, status, STR("disruptionsAllowed"), left - 1);
    json_set_str(c->pool, json_put_obj(c->pool, status, STR("disruptedPods")), c->ri.name, time_format(clock_now(c->api->clock), now));
    return store_update(c->api->store, c->api->res.pdbs, c->pool, d, o->rev, 0, NULL, e);
}

static int ask_budget(struct call *c, struct err **e)
{
    for (unsigned tries = 0;; tries++) {
        _cleanup_(store_view_unrefp) struct store_view *v = store_view(c->api->store);
        struct json *d = NULL;
        size_t n;
        const struct obj *o = c->api->res.pdbs ? find_budget(c, v, c->w.old, &d, &n) : (n = 0, NULL);
        if (!o)
            return 0;
        if (n > 1)
            return err_set(
                e, ERR_INTERNAL, "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.");
        struct str policy = json_str_at(d, "spec", "unhealthyPodEvictionPolicy", NULL);
        if (!ready(c->w.old)) { /* an unhealthy pod is no loss to the budget */
            int64_t have = json_as_int(json_path(d, "status", "currentHealthy", NULL), 0),
                    want = json_as_int(json_path(d, "status", "desiredHealthy", NULL), 0);
            if (str_eqz(policy, "AlwaysAllow") || (have >= want && want > 0))
                return 0;
        }
        int r = charge(c, o, d, e);
        if (r != -ERR_CONFLICT || tries >= 8)
            return r;
        err_free(TAKE(*e));
    }
}

/* Says in the pod why it goes, for Jobs and whoever else counts failures (KEP-3329). */
static int mark(struct call *c, struct err **e)
{
    for (unsigned tries = 0;; tries++) {
        struct json *doc, *list, *it = NULL;
        char now[TIME_MAX];
        if (obj_parse(c->w.old_obj, c->pool, &doc, e) < 0)
            return -(*e)->code;
        list = json_put_arr(c->pool, json_put_obj(c->pool, doc, STR("status")), STR("conditions"));
        json_for (list, old)
            if (str_eqz(json_get_str(old, "type"), "DisruptionTarget"))
                it = old;
        if (it && str_eqz(json_get_str(it, "status"), "True"))
            return 0;
        if (!it)
            it = json_append(list, json_obj(c->pool));
        json_set_str(c->pool, it, STR("type"), STR("DisruptionTarget"));
        json_set_str(c->pool, it, STR("status"), STR("True"));
        json_set_str(c->pool, it, STR("lastTransitionTime"), time_format(clock_now(c->api->clock), now));
        json_set_str(c->pool, it, STR("reason"), STR("EvictionByEvictionAPI"));
        json_set_str(c->pool, it, STR("message"), STR("Eviction API: evicting"));
        int r = store_update(c->api->store, c->api->res.pods, c->pool, doc, c->w.old_obj->rev, 0, NULL, e);
        if (r == -ERR_CONFLICT && tries < 8)
            err_free(TAKE(*e));
        else if (r < 0)
            return r;
        if (write_read_old(c, e) < 0)
            return -(*e)->code;
        if (r == 0)
            return 0;
    }
}

int sub_eviction(struct call *c, struct err **e)
{
    struct delete_options *opt = c->extra;
    bool first = !opt;
    if (first) {
        opt = pool_new_of(c->pool, struct delete_options);
        if (delete_options_parse(c, json_get(c->doc, STR("deleteOptions")), opt, e) < 0)
            return -(*e)->code;
        c->extra = opt;
    }
    if (write_read_old(c, e) < 0)
        return -(*e)->code;
    if (!str_empty(opt->uid) && !str_eq(opt->uid, c->w.old_obj->uid))
        return call_conflict(
            c, "the UID in the precondition does not match the UID in record. The object might have been deleted and then recreated", e);
    if (first && !unguarded(c->w.old) && ask_budget(c, e) < 0)
        return -(*e)->code;
    if (first && !c->dry_run && !json_path(c->w.old, "metadata", "deletionTimestamp", NULL) && mark(c, e) < 0)
        return -(*e)->code;
    c->w.op = WRITE_DELETE;
    c->status_only = true;
    return 0;
}
