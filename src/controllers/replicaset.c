/* ReplicaSets (and, with another selector, ReplicationControllers): after kube-controller-manager's pkg/controller/replicaset. */
#include "controllers/replicas.h"

enum { BURST = 100 }; /* pods made or removed in one turn, so that no watcher on this thread falls off the ring; the rest in the next */

struct replicas {
    struct sync *s;
    enum ctl_resource kind;
    const struct obj *owner;
    struct json *tree, *spec;
    struct selector sel;
    struct obj_array pods; /* claimed, finished ones too */
    const char *failed;    /* reason of the ReplicaFailure condition */
    struct str failure;
};

static int selector_of(struct pool *p, enum ctl_resource kind, const struct json *spec, struct selector *out, struct err **e)
{
    const struct json *sel = json_get(spec, STR("selector"));
    if (kind == R_REPLICASETS)
        return selector_from_json(p, sel, out, e);
    selector_from_map(p, sel, true, out);
    return 0;
}

static struct obj_array active(struct sync *s, struct obj_array pods)
{
    struct obj_array a = {0};
    for (size_t i = 0; i < pods.n; i++)
        if (pod_active(pods.p[i]))
            array_add(s->pool, &a, pods.p[i]);
    return a;
}

/* Pods of the owner's siblings (those of the same Deployment): where they crowd, pods go first. */
static struct obj_array related_pods(struct replicas *r, struct obj_array mine)
{
    const struct obj_owner *w = obj_controller(r->owner);
    struct obj_array all = {0};
    if (!w)
        return mine;
    struct obj_array siblings = sync_owned(r->s, r->kind, w->uid);
    for (size_t i = 0; i < siblings.n; i++) {
        struct obj_array pods = sync_owned(r->s, R_PODS, siblings.p[i]->uid);
        for (size_t k = 0; k < pods.n; k++)
            array_add(r->s->pool, &all, pods.p[k]);
    }
    return all;
}

static int create(struct replicas *r, int64_t missing, struct err **e)
{
    const struct json *template = json_get(r->spec, STR("template"));
    for (int64_t i = 0; i < MIN(missing, (int64_t)BURST); i++) {
        struct json *pod = pod_from_template(r->s, template, r->kind, r->owner, STR_NULL);
        int rc = sync_create_pod(r->s, pod, r->kind, r->owner, NULL, e);
        if (rc < 0) {
            r->failed = "FailedCreate";
            return rc;
        }
    }
    if (missing > BURST)
        ctl_add_raw(r->s->ctl, r->s->key);
    return 0;
}

static int delete (struct replicas *r, struct obj_array pods, int64_t surplus, struct err **e)
{
    if (surplus < (int64_t)pods.n)
        pods_rank(r->s, &pods, related_pods(r, pods));
    for (int64_t i = 0; i < MIN(surplus, (int64_t)BURST); i++) {
        int rc = sync_delete_pod(r->s, pods.p[i], r->kind, r->owner, e);
        if (rc < 0) {
            r->failed = "FailedDelete";
            return rc;
        }
    }
    if (surplus > BURST)
        ctl_add_raw(r->s->ctl, r->s->key);
    return 0;
}

static int manage(struct replicas *r, struct err **e)
{
    struct obj_array pods = active(r->s, r->pods);
    int64_t diff = (int64_t)pods.n - json_get_int(r->spec, "replicas", 1);
    int rc = diff < 0 ? create(r, -diff, e) : diff > 0 ? delete (r, pods, diff, e) : 0;
    if (rc < 0 && e && *e)
        r->failure = pool_str(r->s->pool, str_of(err_msg(*e)));
    return rc;
}

static bool fully_labeled(const struct obj *pod, const struct json *labels)
{
    for (const struct json *l = json_is(labels, JSON_OBJ) ? labels->first : NULL; l; l = l->next)
        if (!str_eq(obj_label(pod, json_key(l)), json_as_str(l)))
            return false;
    return true;
}

static void put_count(struct pool *p, struct json *status, const char *name, int64_t n)
{
    if (n)
        json_set_int(p, status, str_of(name), n);
}

/* Pods on their way out: they count for nothing else, but their room is still taken. */
static int64_t terminating(struct obj_array pods)
{
    int64_t n = 0;
    for (size_t i = 0; i < pods.n; i++) {
        enum pod_phase phase = pod_phase_of(pods.p[i]);
        n += pods.p[i]->deleted && phase != POD_SUCCEEDED && phase != POD_FAILED;
    }
    return n;
}

static struct json *status_of(struct replicas *r, int64_t *again)
{
    struct sync *s = r->s;
    struct json *status = json_obj(s->pool), *old = json_get(r->tree, STR("status"));
    const struct json *labels = json_path(r->spec, "template", "metadata", "labels", NULL);
    int64_t min_ready = json_get_int(r->spec, "minReadySeconds", 0) * NS_PER_S, labeled = 0, ready = 0, available = 0;
    struct obj_array all = sync_owned(s, R_PODS, r->owner->uid), pods = active(s, all);
    size_t n = 0;
    for (size_t i = 0; i < pods.n; i++) {
        if (!obj_matches(pods.p[i], &r->sel))
            continue;
        n++;
        labeled += fully_labeled(pods.p[i], labels);
        ready += pod_ready(pods.p[i]);
        available += pod_available(s, pods.p[i], min_ready, again);
    }
    json_set_int(s->pool, status, STR("replicas"), (int64_t)n);
    put_count(s->pool, status, "fullyLabeledReplicas", labeled);
    put_count(s->pool, status, "readyReplicas", ready);
    put_count(s->pool, status, "availableReplicas", available);
    if (r->kind == R_REPLICASETS)
        json_set_int(s->pool, status, STR("terminatingReplicas"), terminating(all));
    put_count(s->pool, status, "observedGeneration", r->owner->generation);
    struct json *conditions = json_get(old, STR("conditions")) ? json_clone(s->pool, json_get(old, STR("conditions"))) : json_arr(s->pool);
    /* the first failure stands until it is over: each has another message, and a status that changes brings the key back at once */
    if (r->failed && !condition_find(conditions, STR("ReplicaFailure")))
        condition_set(s->pool, conditions, "ReplicaFailure", "True", r->failed, r->failure, s->now, false);
    else if (!r->failed)
        condition_del(conditions, STR("ReplicaFailure"));
    if (json_count(conditions))
        json_set(s->pool, status, STR("conditions"), conditions);
    return status;
}

int replicas_sync(struct sync *s, enum ctl_resource kind, struct err **e)
{
    struct replicas r = {.s = s, .kind = kind, .owner = sync_self(s, kind)};
    struct err *manage_error = NULL;
    int64_t again = INT64_MAX;
    if (!r.owner)
        return 0;
    r.tree = sync_tree(s, r.owner);
    r.spec = json_get(r.tree, STR("spec"));
    int rc = selector_of(s->pool, kind, r.spec, &r.sel, e);
    if (rc == 0)
        rc = sync_claim(s, R_PODS, kind, r.owner, &r.sel, &r.pods, e);
    if (rc < 0)
        return rc;
    int managed = r.owner->deleted ? 0 : manage(&r, &manage_error);
    sync_fresh(s);
    rc = sync_status(s, kind, r.owner, r.tree, status_of(&r, &again), e);
    if (err_is(e, ERR_NOT_FOUND))
        rc = 0;
    if (again != INT64_MAX)
        sync_again_at(s, again);
    if (managed < 0 && rc >= 0)
        return err_move(e, manage_error);
    err_free(manage_error);
    return rc < 0 ? rc : 0;
}

void replicas_on_pod(struct ctl *c, const struct change *ch, enum ctl_resource kind)
{
    ctl_add_owner(c, ch, kind);
    if (ch->gone || obj_controller(ch->obj) || ch->obj->deleted)
        return;
    _cleanup_(store_view_unrefp) struct store_view *v = store_view(c->store);
    _cleanup_(pool_freep) struct pool *p = pool_new();
    struct store_iter it;
    iter_start(&it, v, ctl_store_res(c, kind), ch->obj->ns, STR_NULL, STR_NULL);
    for (const struct obj *o; (o = iter_next(&it));) {
        struct json *tree;
        struct selector sel;
        if (obj_parse(o, p, &tree, NULL) == 0 && selector_of(p, kind, json_get(tree, STR("spec")), &sel, NULL) == 0 &&
            obj_matches(ch->obj, &sel))
            ctl_add(c, o);
    }
}

static void on_pod(struct ctl *c, const struct change *ch)
{
    replicas_on_pod(c, ch, R_REPLICASETS);
}
static int sync(struct sync *s, struct err **e)
{
    return replicas_sync(s, R_REPLICASETS, e);
}

const struct controller replicaset_controller = {
    .name = "replicaset",
    .account = "replicaset-controller",
    .watches = {{R_REPLICASETS, ctl_add_change}, {R_PODS, on_pod}},
    .sync = sync,
};
