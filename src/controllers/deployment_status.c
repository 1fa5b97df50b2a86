/* What a Deployment tells of itself: counts, and whether it is available and gets on. */
#include <stdio.h>
#include "controllers/deployment.h"

#define NO_DEADLINE INT32_MAX

bool deployment_has_deadline(const struct deployment *d)
{
    return json_get_int(d->spec, "progressDeadlineSeconds", NO_DEADLINE) != NO_DEADLINE;
}

/* Replaces the Progressing condition; the transition time stays while its status does. */
void deployment_set_progress(struct deployment *d, struct json *status, const char *value, const char *reason, const char *fmt, ...)
{
    struct buf message = BUF_INIT;
    va_list ap;
    va_start(ap, fmt);
    buf_vprintf(&message, fmt, ap);
    va_end(ap);
    condition_set(
        d->s->pool, json_put_arr(d->s->pool, status, STR("conditions")), "Progressing", value, reason, buf_str(&message), d->s->now, true);
    buf_clear(&message);
}

static const struct json *progress_of(const struct json *status)
{
    return condition_find(json_get(status, STR("conditions")), STR("Progressing"));
}

int deployment_check_paused(struct deployment *d, struct err **e)
{
    const struct json *c = progress_of(d->status);
    struct str reason = json_get_str(c, "reason");
    bool was = str_eqz(reason, "DeploymentPaused");
    if (!deployment_has_deadline(d) || str_eqz(reason, "ProgressDeadlineExceeded") || was == d->paused)
        return 0;
    struct json *status = d->status ? json_clone(d->s->pool, d->status) : json_obj(d->s->pool);
    if (d->paused)
        deployment_set_progress(d, status, "Unknown", "DeploymentPaused", "Deployment is paused");
    else
        deployment_set_progress(d, status, "Unknown", "DeploymentResumed", "Deployment is resumed");
    json_set(d->s->pool, d->tree, STR("status"), status);
    const struct obj *now;
    int r = sync_update(d->s, R_DEPLOYMENTS, d->o, "status", d->tree, &now, e);
    if (r != 0)
        return MIN(r, 0);
    d->o = now;
    d->tree = sync_tree(d->s, now);
    d->spec = json_get(d->tree, STR("spec"));
    d->status = json_get(d->tree, STR("status"));
    return 0;
}

static void put(struct deployment *d, struct json *status, const char *name, int64_t n)
{
    if (n)
        json_set_int(d->s->pool, status, str_of(name), n);
}

struct counts {
    int64_t replicas, updated, ready, available, unavailable, terminating;
};

static struct counts count(const struct deployment *d)
{
    struct counts c = {0};
    int64_t wanted = 0;
    for (size_t i = 0; i < d->nrs; i++) {
        wanted += d->rs[i].replicas;
        c.replicas += d->rs[i].actual;
        c.ready += d->rs[i].ready;
        c.available += d->rs[i].available;
        c.terminating = c.terminating < 0 || d->rs[i].terminating < 0 ? -1 : c.terminating + d->rs[i].terminating;
    }
    c.updated = d->fresh ? d->fresh->actual : 0;
    c.unavailable = MAX(wanted - c.available, (int64_t)0);
    return c;
}

static bool complete(const struct deployment *d, const struct counts *c)
{
    return c->updated == d->replicas && c->replicas == d->replicas && c->available == d->replicas;
}

bool deployment_complete(const struct deployment *d)
{
    struct counts c = count(d);
    return complete(d, &c) && json_get_int(d->status, "observedGeneration", 0) >= d->o->generation;
}

static bool moved(const struct deployment *d, const struct counts *c)
{
    const struct json *old = d->status;
    int64_t updated = json_get_int(old, "updatedReplicas", 0), others = json_get_int(old, "replicas", 0) - updated;
    return c->updated > updated || c->replicas - c->updated < others || c->ready > json_get_int(old, "readyReplicas", 0) ||
           c->available > json_get_int(old, "availableReplicas", 0);
}

static int64_t deadline_of(const struct deployment *d, const struct json *progress)
{
    return time_of(json_get_str(progress, "lastUpdateTime")) + json_get_int(d->spec, "progressDeadlineSeconds", 0) * NS_PER_S;
}

static bool waits_for_deadline(const struct json *progress)
{
    struct str reason = json_get_str(progress, "reason");
    return progress && !str_eqz(reason, "NewReplicaSetAvailable") && !str_eqz(reason, "ProgressDeadlineExceeded") &&
           !str_eqz(reason, "DeploymentPaused");
}

static void set_progress(struct deployment *d, struct json *status, const struct counts *c)
{
    const struct json *now = progress_of(status);
    bool done = str_eqz(json_get_str(now, "reason"), "NewReplicaSetAvailable") && c->replicas == c->updated;
    struct str name = d->fresh ? d->fresh->o->name : d->o->name;
    const char *kind = d->fresh ? "ReplicaSet" : "Deployment";
    if (!deployment_has_deadline(d) || done)
        return;
    if (!now && d->fresh)
        deployment_set_progress(d, status, "True", "NewReplicaSetCreated", "Created new replica set \"%.*s\"", STR_ARG(name));
    if (complete(d, c)) {
        deployment_set_progress(
            d, status, "True", "NewReplicaSetAvailable", "%s \"%.*s\" has successfully progressed.", kind, STR_ARG(name));
    } else if (moved(d, c)) {
        struct json *conditions = json_put_arr(d->s->pool, status, STR("conditions"));
        deployment_set_progress(d, status, "True", "ReplicaSetUpdated", "%s \"%.*s\" is progressing.", kind, STR_ARG(name));
        json_set(d->s->pool, condition_find(conditions, STR("Progressing")), STR("lastUpdateTime"), time_json(d->s->pool, d->s->now));
    } else if (waits_for_deadline(now) && deadline_of(d, now) <= d->s->now) {
        deployment_set_progress(
            d, status, "False", "ProgressDeadlineExceeded", "%s \"%.*s\" has timed out progressing.", kind, STR_ARG(name));
    }
}

/* What keeps a ReplicaSet from making pods is the Deployment's trouble too: the present one's first. */
static const struct json *failure_of(const struct deployment *d)
{
    const struct json *c = d->fresh ? condition_find(json_path(d->fresh->tree, "status", "conditions", NULL), STR("ReplicaFailure")) : NULL;
    for (size_t i = d->nrs; i > 0 && !c; i--)
        c = condition_find(json_path(d->rs[i - 1].tree, "status", "conditions", NULL), STR("ReplicaFailure"));
    return c;
}

static void set_conditions(struct deployment *d, struct json *status, const struct counts *c)
{
    struct pool *p = d->s->pool;
    struct json *conditions = json_put_arr(p, status, STR("conditions"));
    if (c->available >= d->replicas - d->unavailable)
        condition_set(
            p, conditions, "Available", "True", "MinimumReplicasAvailable", STR("Deployment has minimum availability."), d->s->now, true);
    else
        condition_set(p, conditions, "Available", "False", "MinimumReplicasUnavailable",
            STR("Deployment does not have minimum availability."), d->s->now, true);
    if (!d->paused)
        set_progress(d, status, c);
    if (!deployment_has_deadline(d))
        condition_del(conditions, STR("Progressing"));
    const struct json *failure = failure_of(d);
    if (failure)
        condition_set(p, conditions, "ReplicaFailure", "True", pool_strz(p, json_get_str(failure, "reason")),
            json_get_str(failure, "message"), d->s->now, true);
    else
        condition_del(conditions, STR("ReplicaFailure"));
}

int deployment_write_status(struct deployment *d, struct err **e)
{
    struct pool *p = d->s->pool;
    struct json *status = json_obj(p);
    struct counts c = count(d);
    const struct json *collisions = json_get(d->status, STR("collisionCount")), *conditions = json_get(d->status, STR("conditions"));
    put(d, status, "observedGeneration", d->o->generation);
    put(d, status, "replicas", c.replicas);
    put(d, status, "updatedReplicas", c.updated);
    put(d, status, "readyReplicas", c.ready);
    put(d, status, "availableReplicas", c.available);
    put(d, status, "unavailableReplicas", c.unavailable);
    if (c.terminating >= 0)
        json_set_int(p, status, STR("terminatingReplicas"), c.terminating);
    if (conditions)
        json_set(p, status, STR("conditions"), json_clone(p, conditions));
    set_conditions(d, status, &c);
    if (collisions)
        json_set(p, status, STR("collisionCount"), json_clone(p, collisions));
    const struct json *progress = progress_of(status);
    if (deployment_has_deadline(d) && !d->paused && waits_for_deadline(progress))
        sync_again_at(d->s, MAX(deadline_of(d, progress), d->s->now + NS_PER_S));
    int r = sync_status(d->s, R_DEPLOYMENTS, d->o, d->tree, status, e);
    if (err_is(e, ERR_NOT_FOUND))
        return 0;
    return MIN(r, 0);
}
