/* Pods that nobody else will remove: on a node that is no more, being deleted before any node took them, finished long ago and too many. */
#include <stdlib.h>
#include "controllers/ctl.h"

enum { FINISHED_MAX = 12500 };     /* kube-controller-manager's --terminated-pod-gc-threshold */
#define QUARANTINE (40 * NS_PER_S) /* a node may come back under its name at once */
#define KEY_FINISHED STR("finished")

static bool finished(const struct obj *o)
{
    enum pod_phase p = pod_phase_of(o);
    return p == POD_SUCCEEDED || p == POD_FAILED;
}

static int by_age(const void *a, const void *b)
{
    const struct obj *x = *(const struct obj *const *)a, *y = *(const struct obj *const *)b;
    return x->created != y->created ? (x->created < y->created ? -1 : 1) : str_cmp(x->name, y->name);
}

static int sync_finished(struct sync *s, struct err **e)
{
    struct obj_array all = sync_list(s, R_PODS, STR("")), old = {0};
    for (size_t i = 0; i < all.n; i++)
        if (finished(all.p[i]) && !all.p[i]->deleted)
            array_add(s->pool, &old, all.p[i]);
    if (old.n <= FINISHED_MAX)
        return 0;
    qsort(old.p, old.n, sizeof *old.p, by_age);
    for (size_t i = 0; i < MIN(old.n - FINISHED_MAX, (size_t)500); i++) {
        int r = sync_delete_now(s, old.p[i], e);
        if (r < 0)
            return r;
    }
    if (old.n - FINISHED_MAX > 500)
        ctl_add_raw(s->ctl, s->key);
    return 0;
}

/* A pod that had not finished is marked Failed first, so that its Job counts it. */
static int remove_pod(struct sync *s, const struct obj *pod, struct err **e)
{
    if (!finished(pod)) {
        struct json *patch = json_obj(s->pool), *status = json_put_obj(s->pool, patch, STR("status"));
        json_set_str(s->pool, status, STR("phase"), STR("Failed"));
        condition_set(s->pool, json_put_arr(s->pool, status, STR("conditions")), "DisruptionTarget", "True", "DeletionByPodGC",
            STR("PodGC: node no longer exists"), s->now, false);
        int r = sync_patch_strategic(s, R_PODS, pod, "status", patch, e);
        if (r < 0)
            return err_is(e, ERR_NOT_FOUND) ? 0 : r;
    }
    return MIN(sync_delete_now(s, pod, e), 0);
}

static int sync(struct sync *s, struct err **e)
{
    if (str_eq(s->key, KEY_FINISHED))
        return sync_finished(s, e);
    const struct obj *pod = sync_self(s, R_PODS);
    struct str node = pod ? pod_node(pod) : STR("");
    if (!pod)
        return 0;
    if (!node.n)
        return pod->deleted ? MIN(sync_delete_now(s, pod, e), 0) : 0;
    return sync_get(s, R_NODES, STR(""), node) ? 0 : remove_pod(s, pod, e);
}

static void add_later(struct ctl *c, const struct obj *pod)
{
    struct buf b = BUF_INIT;
    buf_printf(&b, "%.*s/%.*s", STR_ARG(pod->ns), STR_ARG(pod->name));
    ctl_add_at(c, buf_str(&b), clock_now(c->clock) + QUARANTINE);
    buf_clear(&b);
}

static bool add_one(void *arg, const struct obj *pod)
{
    add_later(arg, pod);
    return true;
}

static void on_node(struct ctl *c, const struct change *ch)
{
    if (!ch->gone)
        return;
    _cleanup_(store_view_unrefp) struct store_view *v = store_view(c->store);
    view_index(v, ctl_store_res(c, R_PODS), STR("node"), ch->obj->name, add_one, c);
}

static void on_pod(struct ctl *c, const struct change *ch)
{
    struct str node = pod_node(ch->obj);
    if (ch->gone)
        return;
    _cleanup_(store_view_unrefp) struct store_view *v = store_view(c->store);
    if (!node.n && ch->obj->deleted)
        ctl_add(c, ch->obj);
    else if (node.n && !view_get(v, ctl_store_res(c, R_NODES), STR(""), node))
        add_later(c, ch->obj);
    if (finished(ch->obj) && view_count(v, ctl_store_res(c, R_PODS), STR("")) > FINISHED_MAX)
        ctl_add_raw(c, KEY_FINISHED);
}

const struct controller podgc_controller = {
    .name = "podgc",
    .account = "pod-garbage-collector",
    .watches = {{R_NODES, on_node}, {R_PODS, on_pod}},
    .sync = sync,
};
