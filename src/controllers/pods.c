/* Pods as the workload controllers see them: their state, read from the projection wherever it says enough; making and removing them. */
#include <stdlib.h>
#include "controllers/ctl.h"

enum pod_phase pod_phase_of(const struct obj *o)
{
    const struct pod_view *v = pod_view_of(o);
    return v ? (enum pod_phase)v->phase : POD_UNKNOWN;
}

bool pod_ready(const struct obj *o)
{
    const struct pod_view *v = pod_view_of(o);
    return v && (v->flags & POD_READY);
}

bool pod_active(const struct obj *o)
{
    enum pod_phase p = pod_phase_of(o);
    return p != POD_SUCCEEDED && p != POD_FAILED && !o->deleted;
}

struct str pod_node(const struct obj *o)
{
    const struct pod_view *v = pod_view_of(o);
    return v ? pod_view_get(v, v->node) : STR("");
}

static int64_t ready_since(const struct json *tree)
{
    return time_of(json_get_str(condition_find(json_path(tree, "status", "conditions", NULL), STR("Ready")), "lastTransitionTime"));
}

bool pod_available(struct sync *s, const struct obj *o, int64_t min_ready_ns, int64_t *again)
{
    if (!pod_ready(o))
        return false;
    if (min_ready_ns <= 0)
        return true;
    int64_t since = ready_since(sync_tree(s, o));
    if (since && since + min_ready_ns <= s->now)
        return true;
    if (since)
        *again = MIN(*again, since + min_ready_ns);
    return false;
}

struct json *pod_from_template(
    struct sync *s, const struct json *template, enum ctl_resource kind, const struct obj *owner, struct str name)
{
    static const char *const kept[] = {"labels", "annotations", "finalizers"};
    struct pool *p = s->pool;
    struct json *pod = json_obj(p), *meta = json_put_obj(p, pod, STR("metadata")), *from = json_get(template, STR("metadata"));
    if (name.p)
        json_set_str(p, meta, STR("name"), name);
    else
        json_set(p, meta, STR("generateName"), json_str_view(p, pool_printf(p, "%.*s-", STR_ARG(owner->name))));
    json_set_str(p, meta, STR("namespace"), owner->ns);
    for (size_t i = 0; i < ARRAY_LEN(kept); i++)
        if (json_count(json_get(from, str_of(kept[i]))))
            json_set(p, meta, str_of(kept[i]), json_clone(p, json_get(from, str_of(kept[i]))));
    json_append(json_put_arr(p, meta, STR("ownerReferences")), owner_ref(p, kind, owner, true));
    struct json *spec = json_get(template, STR("spec"));
    if (spec)
        json_set(p, pod, STR("spec"), json_clone(p, spec));
    return pod;
}

int sync_create_pod(
    struct sync *s, struct json *pod, enum ctl_resource kind, const struct obj *owner, const struct obj **out, struct err **e)
{
    const struct obj *made;
    struct err *e2 = NULL;
    int r = sync_create(s, R_PODS, owner->ns, pod, &made, &e2);
    if (r < 0 && e2->code != ERR_EXISTS)
        ctl_event(s->ctl, kind, owner, true, "FailedCreate", "Error creating: %s", err_msg(e2));
    else if (r == 0)
        ctl_event(s->ctl, kind, owner, false, "SuccessfulCreate", "Created pod: %.*s", STR_ARG(made->name));
    if (out)
        *out = r == 0 ? made : NULL;
    return r < 0 ? err_move(e, e2) : r;
}

int sync_delete_pod(struct sync *s, const struct obj *pod, enum ctl_resource kind, const struct obj *owner, struct err **e)
{
    struct err *e2 = NULL;
    int r = sync_delete(s, pod, NULL, &e2);
    if (r < 0)
        ctl_event(s->ctl, kind, owner, true, "FailedDelete", "Error deleting: %s", err_msg(e2));
    else
        ctl_event(s->ctl, kind, owner, false, "SuccessfulDelete", "Deleted pod: %.*s", STR_ARG(pod->name));
    return r < 0 ? err_move(e, e2) : r;
}

/* ---- which to delete first ---- */

struct ranked {
    const struct obj *o;
    bool assigned, ready;
    int phase; /* pending before unknown before running */
    int64_t cost, together, ready_since, restarts;
};

static int64_t restarts_of(const struct json *tree)
{
    int64_t most = 0;
    json_for (json_path(tree, "status", "containerStatuses", NULL), c)
        most = MAX(most, json_get_int(c, "restartCount", 0));
    return most;
}

#define COST "controller.kubernetes.io/pod-deletion-cost"

/* Only what a projection does not tell is worth a parse. */
static struct ranked ranked_of(struct sync *s, const struct obj *o, const struct map *per_node)
{
    struct str node = pod_node(o);
    struct ranked r = {.o = o, .assigned = node.n > 0, .ready = pod_ready(o)};
    enum pod_phase phase = pod_phase_of(o);
    r.phase = phase == POD_PENDING ? 0 : phase == POD_RUNNING ? 2 : 1;
    r.together = r.assigned ? (int64_t)(intptr_t)map_get(per_node, node) : 0;
    if (r.ready || str_find(o->json, STR("\"restartCount\"")) >= 0 || str_find(o->json, STR(COST)) >= 0) {
        struct json *tree = sync_tree(s, o);
        r.ready_since = ready_since(tree);
        r.restarts = restarts_of(tree);
        str_to_i64(json_get_str(json_path(tree, "metadata", "annotations", NULL), COST), &r.cost);
    }
    return r;
}

/* How many live pods stand on each node. */
static void count_per_node(struct map *m, struct obj_array pods)
{
    for (size_t i = 0; i < pods.n; i++) {
        struct str node = pod_node(pods.p[i]);
        if (node.n && pod_active(pods.p[i]))
            map_put(m, node, (void *)((intptr_t)map_get(m, node) + 1));
    }
}

#define BY(a, b)                                                                                                                           \
    do {                                                                                                                                   \
        if ((a) != (b))                                                                                                                    \
            return (a) < (b) ? -1 : 1;                                                                                                     \
    } while (0)

static int by_rank(const void *pa, const void *pb)
{
    const struct ranked *a = pa, *b = pb;
    BY(a->assigned, b->assigned);
    BY(a->phase, b->phase);
    BY(a->ready, b->ready);
    BY(a->cost, b->cost);
    BY(b->together, a->together);
    if (a->ready && b->ready)
        BY(b->ready_since, a->ready_since);
    BY(b->restarts, a->restarts);
    BY(b->o->created, a->o->created);
    return str_cmp(a->o->name, b->o->name);
}

void pods_rank(struct sync *s, struct obj_array *pods, struct obj_array related)
{
    struct ranked *r = pool_array(s->pool, struct ranked, pods->n + 1);
    struct map per_node = {0};
    count_per_node(&per_node, related);
    for (size_t i = 0; i < pods->n; i++)
        r[i] = ranked_of(s, pods->p[i], &per_node);
    map_clear(&per_node, NULL);
    qsort(r, pods->n, sizeof *r, by_rank);
    for (size_t i = 0; i < pods->n; i++)
        pods->p[i] = r[i].o;
}
