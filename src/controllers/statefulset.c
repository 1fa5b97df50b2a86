/* StatefulSets: pods with names and volumes of their own, one after the other. After kube-controller-manager's pkg/controller/statefulset.
 */
#include "controllers/statefulset.h"
#include <stdlib.h>

enum { BURST = 500 /* pods made in one turn */, REPLICAS_MAX = 1000000 };

/* web-12 of web: 12; -1 when the name is not of that form. */
static int64_t ordinal_of(const struct obj *set, const struct obj *pod)
{
    int64_t n;
    struct str rest = str_sub(pod->name, set->name.n, pod->name.n);
    if (!str_starts(pod->name, set->name) || rest.n < 2 || rest.p[0] != '-' || rest.p[1] == '+' || rest.p[1] == '-')
        return -1;
    return str_to_i64(str_sub(rest, 1, rest.n), &n) && n <= INT32_MAX ? n : -1;
}

static bool healthy(struct statefulset *d, const struct obj *pod)
{
    return pod && !pod->deleted && pod_phase_of(pod) == POD_RUNNING && pod_ready(pod);
}

static bool available(struct statefulset *d, const struct obj *pod)
{
    return healthy(d, pod) && pod_available(d->s, pod, d->min_ready, &d->again);
}

static bool finished(const struct obj *pod)
{
    enum pod_phase phase = pod_phase_of(pod);
    return phase == POD_FAILED || phase == POD_SUCCEEDED;
}

static struct str revision_of(const struct obj *pod)
{
    return obj_label(pod, STR("controller-revision-hash"));
}

/* Which revision a pod of this ordinal is made from: those below the partition stay at the current one. */
static struct revision *revision_for(struct statefulset *d, int64_t ordinal)
{
    struct revision *current = history_named(&d->h, d->current);
    int64_t updated_from = d->rolling ? d->partition : 0, started = json_get_int(json_get(d->tree, STR("status")), "currentReplicas", 0);
    if (!current)
        return d->h.update;
    if (d->rolling ? ordinal < updated_from : ordinal < d->start + started)
        return current;
    return d->h.update;
}

/* ---- making ---- */

static int create(struct statefulset *d, int64_t ordinal, struct err **e)
{
    struct sync *s = d->s;
    struct str name = pool_printf(s->pool, "%.*s-%" PRId64, STR_ARG(d->o->name), ordinal);
    struct json *pod = statefulset_pod(d, ordinal, name, revision_for(d, ordinal));
    struct err *e2 = NULL;
    int r = statefulset_claims(d, ordinal, NULL, &e2);
    if (r >= 0)
        r = sync_create(s, R_PODS, d->o->ns, pod, NULL, &e2);
    if (err_is(&e2, ERR_EXISTS))
        return 0; /* a pod of that name that is not ours: its going brings us back */
    if (r < 0)
        ctl_event(s->ctl, R_STATEFULSETS, d->o, true, "FailedCreate", "create Pod %.*s in StatefulSet %.*s failed error: %s", STR_ARG(name),
            STR_ARG(d->o->name), err_msg(e2));
    else
        ctl_event(s->ctl, R_STATEFULSETS, d->o, false, "SuccessfulCreate", "create Pod %.*s in StatefulSet %.*s successful", STR_ARG(name),
            STR_ARG(d->o->name));
    return r < 0 ? err_move(e, e2) : 0;
}

static int remove_pod(struct statefulset *d, const struct obj *pod, struct err **e)
{
    struct err *e2 = NULL;
    int r = pod->deleted ? 0 : sync_delete(d->s, pod, NULL, &e2);
    if (r < 0)
        ctl_event(d->s->ctl, R_STATEFULSETS, d->o, true, "FailedDelete", "delete Pod %.*s in StatefulSet %.*s failed error: %s",
            STR_ARG(pod->name), STR_ARG(d->o->name), err_msg(e2));
    else if (!pod->deleted)
        ctl_event(d->s->ctl, R_STATEFULSETS, d->o, false, "SuccessfulDelete", "delete Pod %.*s in StatefulSet %.*s successful",
            STR_ARG(pod->name), STR_ARG(d->o->name));
    return r < 0 ? err_move(e, e2) : 0;
}

/* ---- the three phases: those that should be, those that should not, those of an old revision ---- */

/* 1: wait, this turn is over. */
static int ensure_one(struct statefulset *d, int64_t i, struct err **e)
{
    const struct obj *pod = d->pods[i];
    int r;
    if (!pod) {
        if (d->made++ >= BURST) {
            ctl_add_raw(d->s->ctl, d->s->key);
            return 1;
        }
        r = create(d, d->start + i, e);
        return r < 0 ? r : d->ordered;
    }
    if (finished(pod) && !pod->deleted) {
        ctl_event(d->s->ctl, R_STATEFULSETS, d->o, true, "RecreatingFailedPod", "StatefulSet %.*s/%.*s is recreating failed Pod %.*s",
            STR_ARG(d->o->ns), STR_ARG(d->o->name), STR_ARG(pod->name));
        r = remove_pod(d, pod, e);
        return r < 0 ? r : d->ordered;
    }
    if (!d->ordered)
        return 0;
    return pod->deleted || !available(d, pod);
}

static int shrink(struct statefulset *d, struct err **e)
{
    for (size_t k = d->condemned.n; k > 0; k--) {
        const struct obj *pod = d->condemned.p[k - 1];
        if (pod->deleted && d->ordered)
            return 1;
        if (pod->deleted)
            continue;
        if (d->ordered && !healthy(d, pod) && d->first_unhealthy && d->first_unhealthy != pod)
            return 1;
        int r = statefulset_claims(d, ordinal_of(d->o, pod), pod, e);
        if (r >= 0)
            r = remove_pod(d, pod, e);
        if (r < 0)
            return r;
        if (d->ordered)
            return 1;
    }
    return 0;
}

static int update(struct statefulset *d, struct err **e)
{
    int64_t down = 0;
    for (int64_t i = 0; i < d->replicas; i++)
        down += !available(d, d->pods[i]);
    for (int64_t i = d->replicas - 1; i >= 0 && d->start + i >= d->partition; i--) {
        const struct obj *pod = d->pods[i];
        if (!pod || pod->deleted)
            return 0;
        if (!str_eq(revision_of(pod), d->h.update->o->name)) {
            if (available(d, pod) && down >= d->max_unavailable)
                return 0;
            down += available(d, pod);
            int r = remove_pod(d, pod, e);
            if (r < 0)
                return r;
            if (d->max_unavailable <= 1)
                return 0;
        } else if (!available(d, pod) && d->max_unavailable <= 1) {
            return 0;
        }
    }
    return 0;
}

static int manage(struct statefulset *d, struct err **e)
{
    for (int64_t i = 0; i < d->replicas; i++) {
        int r = ensure_one(d, i, e);
        if (r != 0)
            return MIN(r, 0);
    }
    int r = shrink(d, e);
    if (r != 0)
        return MIN(r, 0);
    return d->rolling ? update(d, e) : 0;
}

/* ---- reading ---- */

static int by_ordinal(const void *a, const void *b)
{
    const struct obj *x = *(const struct obj *const *)a, *y = *(const struct obj *const *)b;
    return x->name.n != y->name.n ? (x->name.n < y->name.n ? -1 : 1) : str_cmp(x->name, y->name);
}

static int find_pods(struct statefulset *d, struct err **e)
{
    struct obj_array all;
    int r = sync_claim(d->s, R_PODS, R_STATEFULSETS, d->o, &d->sel, &all, e);
    if (r < 0)
        return r;
    d->pods = pool_array(d->s->pool, const struct obj *, d->replicas + 1);
    d->condemned = (struct obj_array){0};
    d->first_unhealthy = NULL;
    for (size_t i = 0; i < all.n; i++) {
        int64_t n = ordinal_of(d->o, all.p[i]);
        if (n >= d->start && n < d->start + d->replicas)
            d->pods[n - d->start] = all.p[i];
        else if (n >= 0)
            array_add(d->s->pool, &d->condemned, all.p[i]);
    }
    if (d->condemned.n)
        qsort(d->condemned.p, d->condemned.n, sizeof *d->condemned.p, by_ordinal);
    for (int64_t i = 0; i < d->replicas && !d->first_unhealthy; i++)
        if (d->pods[i] && !healthy(d, d->pods[i]))
            d->first_unhealthy = d->pods[i];
    for (size_t i = 0; i < d->condemned.n && !d->first_unhealthy; i++)
        if (!healthy(d, d->condemned.p[i]))
            d->first_unhealthy = d->condemned.p[i];
    return 0;
}

static int read_all(struct statefulset *d, struct err **e)
{
    d->tree = sync_tree(d->s, d->o);
    d->spec = json_get(d->tree, STR("spec"));
    const struct json *strategy = json_get(d->spec, STR("updateStrategy")), *rolling = json_get(strategy, STR("rollingUpdate"));
    d->replicas = MIN(MAX(json_get_int(d->spec, "replicas", 1), (int64_t)0), (int64_t)REPLICAS_MAX);
    d->start = json_get_int(json_get(d->spec, STR("ordinals")), "start", 0);
    d->ordered = !str_eqz(json_get_str(d->spec, "podManagementPolicy"), "Parallel");
    d->rolling = !str_eqz(json_get_str(strategy, "type"), "OnDelete");
    d->partition = json_get_int(rolling, "partition", 0);
    d->max_unavailable = 1;
    int_or_percent(json_get(rolling, STR("maxUnavailable")), d->replicas, true, &d->max_unavailable);
    d->max_unavailable = MAX(d->max_unavailable, (int64_t)1);
    d->min_ready = json_get_int(d->spec, "minReadySeconds", 0) * NS_PER_S;
    int r = selector_from_json(d->s->pool, json_get(d->spec, STR("selector")), &d->sel, e);
    if (r == 0)
        r = history_sync(d->s, R_STATEFULSETS, d->o, d->tree, &d->sel, true, &d->h, e);
    if (r != 0)
        return r;
    d->current = json_str_at(d->tree, "status", "currentRevision", NULL);
    if (!history_named(&d->h, d->current))
        d->current = d->h.update ? d->h.update->o->name : STR("");
    return find_pods(d, e);
}

/* ---- status ---- */

static void put(struct statefulset *d, struct json *status, const char *name, int64_t n)
{
    if (n)
        json_set_int(d->s->pool, status, str_of(name), n);
}

static struct json *status_of(struct statefulset *d)
{
    int64_t n = 0, ready = 0, avail = 0, current = 0, updated = 0;
    struct pool *p = d->s->pool;
    struct json *status = json_obj(p), *conditions = json_path(d->tree, "status", "conditions", NULL);
    struct str newest = d->h.update ? d->h.update->o->name : STR("");
    for (int64_t i = 0; i < d->replicas + (int64_t)d->condemned.n; i++) {
        const struct obj *pod = i < d->replicas ? d->pods[i] : d->condemned.p[i - d->replicas];
        if (!pod || finished(pod))
            continue;
        n++;
        ready += healthy(d, pod);
        avail += available(d, pod);
        current += !pod->deleted && str_eq(revision_of(pod), d->current);
        updated += !pod->deleted && str_eq(revision_of(pod), newest);
    }
    if (d->rolling && updated == n && ready == n && n == d->replicas) { /* the rollout is over */
        d->current = newest;
        current = updated;
    }
    put(d, status, "observedGeneration", d->o->generation);
    json_set_int(p, status, STR("replicas"), n);
    put(d, status, "readyReplicas", ready);
    put(d, status, "currentReplicas", current);
    put(d, status, "updatedReplicas", updated);
    json_set_str(p, status, STR("currentRevision"), d->current);
    json_set_str(p, status, STR("updateRevision"), newest);
    json_set_int(p, status, STR("collisionCount"), d->h.collisions);
    if (conditions)
        json_set(p, status, STR("conditions"), json_clone(p, conditions));
    json_set_int(p, status, STR("availableReplicas"), avail);
    return status;
}

static int trim(struct statefulset *d, struct err **e)
{
    struct str *live = pool_array(d->s->pool, struct str, d->replicas + (int64_t)d->condemned.n + 1);
    size_t n = 0;
    live[n++] = d->current;
    for (int64_t i = 0; i < d->replicas; i++)
        if (d->pods[i])
            live[n++] = revision_of(d->pods[i]);
    for (size_t i = 0; i < d->condemned.n; i++)
        live[n++] = revision_of(d->condemned.p[i]);
    return history_trim(d->s, &d->h, json_get_int(d->spec, "revisionHistoryLimit", 10), live, n, e);
}

static int sync(struct sync *s, struct err **e)
{
    struct statefulset d = {.s = s, .o = sync_self(s, R_STATEFULSETS), .again = INT64_MAX};
    struct err *trouble = NULL;
    if (!d.o)
        return 0;
    int r = read_all(&d, e);
    if (r != 0)
        return MIN(r, 0);
    int done = d.o->deleted ? 0 : statefulset_claim_owners(&d, &trouble);
    if (done == 0 && !d.o->deleted)
        done = manage(&d, &trouble);
    if (done == 0 && !d.o->deleted)
        done = trim(&d, &trouble);
    sync_fresh(s);
    if ((r = find_pods(&d, e)) == 0)
        r = sync_status(s, R_STATEFULSETS, d.o, d.tree, status_of(&d), e);
    if (err_is(e, ERR_NOT_FOUND))
        r = 0;
    if (d.again != INT64_MAX)
        sync_again_at(s, d.again);
    if (done < 0 && r >= 0)
        return err_move(e, trouble);
    err_free(trouble);
    return MIN(r, 0);
}

static void on_pod(struct ctl *c, const struct change *ch)
{
    ctl_add_owner(c, ch, R_STATEFULSETS);
}

const struct controller statefulset_controller = {
    .name = "statefulset",
    .account = "statefulset-controller",
    .watches = {{R_STATEFULSETS, ctl_add_change}, {R_PODS, on_pod}},
    .sync = sync,
};
