/* Taint eviction: pods that do not tolerate a NoExecute taint of their node go, at once or when their toleration runs out. */
#include "controllers/ctl.h"

static bool has_execute(const struct obj *node)
{
    return str_find(node->json, STR("\"NoExecute\"")) >= 0;
}

/* For how long the pod may stay under this taint, in seconds: 0 not at all, -1 for ever. */
static int64_t allowance(const struct json *tolerations, const struct json *taint)
{
    int64_t least = INT64_MAX;
    json_for ((struct json *)(uintptr_t)tolerations, t)
        if (toleration_covers(t, json_get_str(taint, "key"), json_get_str(taint, "value"), json_get_str(taint, "effect"))) {
            const struct json *seconds = json_get(t, STR("tolerationSeconds"));
            least = MIN(least, json_is(seconds, JSON_INT) ? MAX(seconds->i, (int64_t)0) : INT64_MAX - 1);
        }
    return least == INT64_MAX ? 0 : least == INT64_MAX - 1 ? -1 : least;
}

static int evict(struct sync *s, const struct obj *pod, struct err **e)
{
    struct json *tree = sync_tree(s, pod), *status = json_put_obj(s->pool, tree, STR("status"));
    if (condition_set(s->pool, json_put_arr(s->pool, status, STR("conditions")), "DisruptionTarget", "True", "DeletionByTaintManager",
            STR("Taint manager: deleting due to NoExecute taint"), s->now, false)) {
        int r = sync_update(s, R_PODS, pod, "status", tree, NULL, e);
        if (r < 0)
            return err_is(e, ERR_NOT_FOUND) ? 0 : r;
    }
    ctl_event(
        s->ctl, R_PODS, pod, false, "TaintManagerEviction", "Marking for deletion Pod %.*s/%.*s", STR_ARG(pod->ns), STR_ARG(pod->name));
    return MIN(sync_delete(s, pod, NULL, e), 0);
}

static int sync(struct sync *s, struct err **e)
{
    const struct obj *pod = sync_self(s, R_PODS), *node;
    if (!pod || pod->deleted || !(node = sync_get(s, R_NODES, STR(""), pod_node(pod))) || !has_execute(node))
        return 0;
    const struct json *tolerations = json_path(sync_tree(s, pod), "spec", "tolerations", NULL);
    int64_t due = INT64_MAX;
    json_for (json_path(sync_tree(s, node), "spec", "taints", NULL), taint) {
        if (!str_eqz(json_get_str(taint, "effect"), "NoExecute"))
            continue;
        int64_t seconds = allowance(tolerations, taint), since = time_of(json_get_str(taint, "timeAdded"));
        if (seconds >= 0)
            due = MIN(due, (since ? since : s->now) + MIN(seconds, (int64_t)INT32_MAX) * NS_PER_S);
    }
    if (due <= s->now)
        return evict(s, pod, e);
    if (due != INT64_MAX)
        sync_again_at(s, due);
    return 0;
}

struct add {
    struct ctl *c;
};

static bool add_one(void *arg, const struct obj *pod)
{
    ctl_add(((struct add *)arg)->c, pod);
    return true;
}

static void on_node(struct ctl *c, const struct change *ch)
{
    if (ch->gone || !has_execute(ch->obj))
        return;
    _cleanup_(store_view_unrefp) struct store_view *v = store_view(c->store);
    view_index(v, ctl_store_res(c, R_PODS), STR("node"), ch->obj->name, add_one, &(struct add){c});
}

static void on_pod(struct ctl *c, const struct change *ch)
{
    struct str node = pod_node(ch->obj);
    if (ch->gone || !node.n || ch->obj->deleted)
        return;
    _cleanup_(store_view_unrefp) struct store_view *v = store_view(c->store);
    const struct obj *n = view_get(v, ctl_store_res(c, R_NODES), STR(""), node);
    if (n && has_execute(n))
        ctl_add(c, ch->obj);
}

const struct controller taint_controller = {
    .name = "taint-eviction",
    .account = "node-controller",
    .component = "taint-eviction-controller",
    .watches = {{R_NODES, on_node}, {R_PODS, on_pod}},
    .sync = sync,
};
