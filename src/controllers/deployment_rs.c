/* A Deployment's ReplicaSets: finding, making and sizing them, and the annotations that carry revisions. */
#include "controllers/deployment.h"

#define HASH_LABEL STR("pod-template-hash")

static struct json *annotations(struct deployment *d, struct json *tree)
{
    return json_put_obj(d->s->pool, json_put_obj(d->s->pool, tree, STR("metadata")), STR("annotations"));
}

static void read_tree(struct replica_set *r)
{
    const struct json *status = json_get(r->tree, STR("status"));
    r->replicas = json_get_int(json_get(r->tree, STR("spec")), "replicas", 1);
    r->actual = json_get_int(status, "replicas", 0);
    r->ready = json_get_int(status, "readyReplicas", 0);
    r->available = json_get_int(status, "availableReplicas", 0);
    r->terminating = json_get_int(status, "terminatingReplicas", -1);
    r->observed = json_get_int(status, "observedGeneration", 0);
    r->revision = 0;
    str_to_i64(json_as_str(json_get(json_path(r->tree, "metadata", "annotations", NULL), ANN_REVISION)), &r->revision);
}

void replica_set_read(struct deployment *d, struct replica_set *r, const struct obj *o)
{
    r->o = o;
    r->tree = sync_tree(d->s, o);
    read_tree(r);
}

/* Writes r->tree; the object as it stands then is read back. */
static int write_rs(struct deployment *d, struct replica_set *r, struct err **e)
{
    const struct obj *now;
    int rc = sync_update(d->s, R_REPLICASETS, r->o, NULL, r->tree, &now, e);
    if (rc == 0)
        replica_set_read(d, r, now);
    return rc;
}

int deployment_update(struct deployment *d, struct err **e)
{
    const struct obj *now;
    int r = sync_update(d->s, R_DEPLOYMENTS, d->o, NULL, d->tree, &now, e);
    if (r != 0)
        return r;
    d->o = now;
    d->tree = sync_tree(d->s, now);
    d->spec = json_get(d->tree, STR("spec"));
    d->status = json_get(d->tree, STR("status"));
    return 0;
}

static bool put_annotation(struct deployment *d, struct json *tree, struct str key, struct str value)
{
    struct json *a = annotations(d, tree);
    if (str_eq(json_as_str(json_get(a, key)), value))
        return false;
    json_set_str(d->s->pool, a, key, value);
    return true;
}

static bool put_sizes(struct deployment *d, struct json *tree)
{
    bool changed = put_annotation(d, tree, ANN_DESIRED, pool_printf(d->s->pool, "%" PRId64, d->replicas));
    return put_annotation(d, tree, ANN_MAX, pool_printf(d->s->pool, "%" PRId64, d->replicas + d->surge)) || changed;
}

/* The Deployment's annotations go along, but for those that are about one object only. */
static bool copy_annotations(struct deployment *d, struct json *rs_tree)
{
    static const char *const own[] = {"kubectl.kubernetes.io/last-applied-configuration", "deployment.kubernetes.io/revision",
        "deployment.kubernetes.io/revision-history", "deployment.kubernetes.io/desired-replicas", "deployment.kubernetes.io/max-replicas",
        "deprecated.deployment.rollback.to"};
    bool changed = false;
    json_for (json_path(d->tree, "metadata", "annotations", NULL), a) {
        bool skip = false;
        for (size_t i = 0; i < ARRAY_LEN(own); i++)
            skip |= str_eqz(json_key(a), own[i]);
        if (!skip)
            changed |= put_annotation(d, rs_tree, json_key(a), json_as_str(a));
    }
    return changed;
}

/* A ReplicaSet that becomes the present one again (a rollback) takes the next number; its old ones are remembered. */
static bool put_revision(struct deployment *d, struct replica_set *r, int64_t revision)
{
    struct pool *p = d->s->pool;
    if (r->revision >= revision)
        return false;
    if (r->revision > 0) {
        struct str past = json_as_str(json_get(annotations(d, r->tree), ANN_HISTORY));
        struct str grown = past.n ? pool_printf(p, "%.*s,%" PRId64, STR_ARG(past), r->revision) : pool_printf(p, "%" PRId64, r->revision);
        if (grown.n < 2000)
            put_annotation(d, r->tree, ANN_HISTORY, grown);
    }
    return put_annotation(d, r->tree, ANN_REVISION, pool_printf(p, "%" PRId64, revision));
}

int64_t deployment_fresh_size(const struct deployment *d)
{
    int64_t now = d->fresh ? d->fresh->replicas : 0, all = 0;
    if (!d->rolling)
        return d->replicas;
    for (size_t i = 0; i < d->nrs; i++)
        all += d->rs[i].replicas;
    int64_t room = d->replicas + d->surge - all;
    return room <= 0 ? now : now + MIN(room, d->replicas - now);
}

int deployment_scale(struct deployment *d, struct replica_set *r, int64_t size, struct err **e)
{
    int64_t was = r->replicas;
    bool changed = put_sizes(d, r->tree);
    if (was == size && !changed)
        return 1;
    json_set_int(d->s->pool, json_get(r->tree, STR("spec")), STR("replicas"), size);
    int rc = write_rs(d, r, e);
    if (rc == SYNC_WAITS)
        r->replicas = size;
    if (rc >= 0 && was != size)
        ctl_event(d->s->ctl, R_DEPLOYMENTS, d->o, false, "ScalingReplicaSet", "Scaled %s replica set %.*s from %" PRId64 " to %" PRId64,
            size > was ? "up" : "down", STR_ARG(r->o->name), was, size);
    return MIN(rc, 0);
}

/* Adds the hash to labels of: the ReplicaSet, its template, its selector. */
static struct json *make_tree(struct deployment *d, struct str hash, int64_t revision)
{
    struct pool *p = d->s->pool;
    struct json *t = json_obj(p), *meta = json_put_obj(p, t, STR("metadata")), *spec = json_put_obj(p, t, STR("spec"));
    struct json *template = json_set(p, spec, STR("template"), json_clone(p, json_get(d->spec, STR("template"))));
    struct json *selector = json_set(p, spec, STR("selector"), json_clone(p, json_get(d->spec, STR("selector"))));
    struct json *template_labels = json_put_obj(p, json_put_obj(p, template, STR("metadata")), STR("labels"));
    json_set(p, meta, STR("name"), json_str_view(p, pool_printf(p, "%.*s-%.*s", STR_ARG(d->o->name), STR_ARG(hash))));
    json_set_str(p, meta, STR("namespace"), d->o->ns);
    json_set_str(p, template_labels, HASH_LABEL, hash);
    json_set(p, meta, STR("labels"), json_clone(p, template_labels));
    json_set_str(p, json_put_obj(p, selector, STR("matchLabels")), HASH_LABEL, hash);
    json_append(json_put_arr(p, meta, STR("ownerReferences")), owner_ref(p, R_DEPLOYMENTS, d->o, true));
    json_set_int(p, spec, STR("replicas"), deployment_fresh_size(d));
    struct json *min_ready = json_get(d->spec, STR("minReadySeconds"));
    if (min_ready)
        json_set(p, spec, STR("minReadySeconds"), json_clone(p, min_ready));
    copy_annotations(d, t);
    put_sizes(d, t);
    put_annotation(d, t, ANN_REVISION, pool_printf(p, "%" PRId64, revision));
    return t;
}

/* Another object has the name that the hash gives: count the collision, which changes the hash, and try again. */
static int count_collision(struct deployment *d, struct str name, struct err **e)
{
    const struct obj *other = sync_get(d->s, R_REPLICASETS, d->o->ns, name);
    const struct obj_owner *w = other ? obj_controller(other) : NULL;
    if (w && str_eq(w->uid, d->o->uid) &&
        template_equal(json_path(sync_tree(d->s, other), "spec", "template", NULL), json_get(d->spec, STR("template"))))
        return -ERR_CONFLICT; /* ours after all, made a moment ago */
    struct json *status = d->status ? json_clone(d->s->pool, d->status) : json_obj(d->s->pool);
    json_set_int(d->s->pool, status, STR("collisionCount"), json_get_int(status, "collisionCount", 0) + 1);
    int r = sync_status(d->s, R_DEPLOYMENTS, d->o, d->tree, status, e);
    return r < 0 ? r : err_set(e, ERR_CONFLICT, "the name %.*s is taken", STR_ARG(name));
}

static int make_fresh(struct deployment *d, int64_t revision, struct err **e)
{
    struct str hash = template_hash(d->s->pool, json_get(d->spec, STR("template")), json_get_int(d->status, "collisionCount", 0));
    struct json *tree = make_tree(d, hash, revision);
    struct str name = json_str_at(tree, "metadata", "name", NULL);
    int64_t size = json_get_int(json_get(tree, STR("spec")), "replicas", 0);
    const struct obj *made;
    struct err *e2 = NULL;
    int r = sync_create(d->s, R_REPLICASETS, d->o->ns, tree, &made, &e2);
    if (err_is(&e2, ERR_EXISTS))
        return count_collision(d, name, e);
    if (r < 0) {
        ctl_event(d->s->ctl, R_DEPLOYMENTS, d->o, true, "ReplicaSetCreateError", "Failed to create new replica set \"%.*s\": %s",
            STR_ARG(name), err_msg(e2));
        if (deployment_has_deadline(d) && d->status) {
            struct json *status = json_clone(d->s->pool, d->status);
            deployment_set_progress(
                d, status, "False", "ReplicaSetCreateError", "Failed to create new replica set \"%.*s\": %s", STR_ARG(name), err_msg(e2));
            if (sync_status(d->s, R_DEPLOYMENTS, d->o, d->tree, status, NULL) < 0)
                log_debug("deployment=%.*s: status not written", STR_ARG(d->s->key));
        }
        return err_move(e, e2);
    }
    if (r == 0) {
        d->fresh = &d->rs[d->nrs++];
        replica_set_read(d, d->fresh, made);
        if (size > 0)
            ctl_event(d->s->ctl, R_DEPLOYMENTS, d->o, false, "ScalingReplicaSet", "Scaled up replica set %.*s from 0 to %" PRId64,
                STR_ARG(name), size);
    }
    return r;
}

static int set_deployment_revision(struct deployment *d, int64_t revision, struct err **e)
{
    if (!put_annotation(d, d->tree, ANN_REVISION, pool_printf(d->s->pool, "%" PRId64, revision)))
        return 0;
    return deployment_update(d, e);
}

int deployment_find_fresh(struct deployment *d, bool make, struct err **e)
{
    const struct json *template = json_get(d->spec, STR("template"));
    int64_t newest = 0;
    int r = 0;
    d->fresh = NULL;
    for (size_t i = 0; i < d->nrs && !d->fresh; i++)
        if (template_equal(json_path(d->rs[i].tree, "spec", "template", NULL), template))
            d->fresh = &d->rs[i];
    for (size_t i = 0; i < d->nrs; i++)
        if (&d->rs[i] != d->fresh)
            newest = MAX(newest, d->rs[i].revision);
    if (!d->fresh) {
        r = make ? make_fresh(d, newest + 1, e) : 0;
        return r == 0 && d->fresh ? set_deployment_revision(d, newest + 1, e) : r;
    }
    bool changed = put_revision(d, d->fresh, newest + 1);
    int64_t min_ready = json_get_int(d->spec, "minReadySeconds", 0);
    struct json *spec = json_get(d->fresh->tree, STR("spec"));
    changed |= copy_annotations(d, d->fresh->tree);
    if (json_get_int(spec, "minReadySeconds", 0) != min_ready) {
        json_set_int(d->s->pool, spec, STR("minReadySeconds"), min_ready);
        changed = true;
    }
    if (d->o->deleted)
        return 0;
    if (changed && (r = write_rs(d, d->fresh, e)) != 0)
        return r;
    return set_deployment_revision(d, MAX(d->fresh->revision, newest + 1), e);
}
