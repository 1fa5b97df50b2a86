/* DaemonSets: one pod on every node that may have it. After kube-controller-manager's pkg/controller/daemon.
 *
 * A pod is bound to its node by a required node affinity on metadata.name; the scheduler does the rest.
 */
#include <stdlib.h>
#include "controllers/history.h"

#define HASH_LABEL STR("controller-revision-hash")
#define GENERATION_LABEL STR("pod-template-generation")

struct place { /* a node, and the pods of this DaemonSet that are on it or meant for it */
    const struct obj *node;
    bool should_run, may_stay;
    struct obj_array pods;
};
struct daemonset {
    struct sync *s;
    const struct obj *o;
    struct json *tree, *spec, *template;
    struct selector sel;
    struct history h;
    struct place *places;
    size_t nplaces;
    struct obj_array stray; /* on nodes that are no more */
    int64_t unavailable, surge, min_ready, again;
    bool rolling;
};

/* ---- where ---- */

static void tolerate(struct pool *p, struct json *list, const char *key, const char *effect)
{
    struct json *t = json_append(list, json_obj(p));
    json_set_str(p, t, STR("key"), str_of(key));
    json_set_str(p, t, STR("operator"), STR("Exists"));
    json_set_str(p, t, STR("effect"), str_of(effect));
}

/* What every daemon puts up with. */
static struct json *template_with_tolerations(struct sync *s, const struct json *template)
{
    static const struct {
        const char *key, *effect;
    } rows[] = {
        {"node.kubernetes.io/not-ready", "NoExecute"},
        {"node.kubernetes.io/unreachable", "NoExecute"},
        {"node.kubernetes.io/disk-pressure", "NoSchedule"},
        {"node.kubernetes.io/memory-pressure", "NoSchedule"},
        {"node.kubernetes.io/pid-pressure", "NoSchedule"},
        {"node.kubernetes.io/unschedulable", "NoSchedule"},
        {"node.kubernetes.io/network-unavailable", "NoSchedule"},
    };
    struct json *t = json_clone(s->pool, template), *spec = json_put_obj(s->pool, t, STR("spec")),
                *list = json_put_arr(s->pool, spec, STR("tolerations"));
    size_t n = ARRAY_LEN(rows) - !json_get_bool(spec, "hostNetwork", false);
    for (size_t i = 0; i < n; i++)
        tolerate(s->pool, list, rows[i].key, rows[i].effect);
    return t;
}

/* The node that a pod not yet bound is meant for. */
static struct str target_of(struct sync *s, const struct obj *pod)
{
    const struct json *terms = json_path(
        sync_tree(s, pod), "spec", "affinity", "nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution", "nodeSelectorTerms", NULL);
    json_for ((struct json *)(uintptr_t)terms, term)
        json_for (json_get(term, STR("matchFields")), f)
            if (str_eqz(json_get_str(f, "key"), "metadata.name"))
                return json_as_str(json_at(json_get(f, STR("values")), 0));
    return STR("");
}

static int by_name(const void *a, const void *b)
{
    return str_cmp(((const struct place *)a)->node->name, ((const struct place *)b)->node->name);
}

static int find_places(struct daemonset *d, struct err **e)
{
    struct obj_array nodes = sync_list(d->s, R_NODES, STR("")), pods;
    const struct json *spec = json_get(d->template, STR("spec")), *tolerations = json_get(spec, STR("tolerations"));
    int r = sync_claim(d->s, R_PODS, R_DAEMONSETS, d->o, &d->sel, &pods, e);
    if (r < 0)
        return r;
    d->places = pool_array(d->s->pool, struct place, nodes.n + 1);
    for (size_t i = 0; i < nodes.n; i++) {
        struct json *node = sync_tree(d->s, nodes.p[i]);
        bool selected = node_selected(nodes.p[i], spec), stay = selected && taints_tolerated(node, tolerations, "NoExecute");
        d->places[d->nplaces++] =
            (struct place){.node = nodes.p[i], .may_stay = stay, .should_run = stay && taints_tolerated(node, tolerations, "NoSchedule")};
    }
    qsort(d->places, d->nplaces, sizeof *d->places, by_name);
    for (size_t i = 0; i < pods.n; i++) {
        struct str name = pod_node(pods.p[i]);
        struct obj key = {.name = name.n ? name : target_of(d->s, pods.p[i])};
        struct place *at = bsearch(&(struct place){.node = &key}, d->places, d->nplaces, sizeof *d->places, by_name);
        array_add(d->s->pool, at ? &at->pods : &d->stray, pods.p[i]);
    }
    return 0;
}

/* ---- pods ---- */

static bool is_new(const struct daemonset *d, const struct obj *pod)
{
    return d->h.update && str_eq(obj_label(pod, HASH_LABEL), d->h.update->hash);
}

static int create_on(struct daemonset *d, const struct place *at, struct err **e)
{
    struct pool *p = d->s->pool;
    struct json *pod = pod_from_template(d->s, d->template, R_DAEMONSETS, d->o, STR_NULL), *spec = json_put_obj(p, pod, STR("spec"));
    struct json *labels = json_put_obj(p, json_get(pod, STR("metadata")), STR("labels"));
    json_set_str(p, labels, HASH_LABEL, d->h.update ? d->h.update->hash : STR(""));
    json_set(p, labels, GENERATION_LABEL, json_str_view(p, pool_printf(p, "%" PRId64, d->o->generation)));
    struct json *required = json_obj(p), *term = json_append(json_put_arr(p, required, STR("nodeSelectorTerms")), json_obj(p));
    struct json *field = json_append(json_put_arr(p, term, STR("matchFields")), json_obj(p));
    json_set_str(p, field, STR("key"), STR("metadata.name"));
    json_set_str(p, field, STR("operator"), STR("In"));
    json_append(json_put_arr(p, field, STR("values")), json_str(p, at->node->name));
    struct json *affinity = json_put_obj(p, json_put_obj(p, spec, STR("affinity")), STR("nodeAffinity"));
    json_set(p, affinity, STR("requiredDuringSchedulingIgnoredDuringExecution"), required);
    return MIN(sync_create_pod(d->s, pod, R_DAEMONSETS, d->o, NULL, e), 0);
}

static int remove_pod(struct daemonset *d, const struct obj *pod, struct err **e)
{
    return pod->deleted ? 0 : MIN(sync_delete_pod(d->s, pod, R_DAEMONSETS, d->o, e), 0);
}

static bool available(struct daemonset *d, const struct obj *pod)
{
    return !pod->deleted && pod_available(d->s, pod, d->min_ready, &d->again);
}

/* Pods that ended are removed, and made anew in a later turn, with a pause: a daemon that dies at once must not spin. */
static int remove_ended(struct daemonset *d, struct place *at, size_t *running, struct err **e)
{
    *running = 0;
    for (size_t i = 0; i < at->pods.n; i++) {
        const struct obj *pod = at->pods.p[i];
        enum pod_phase phase = pod_phase_of(pod);
        if (pod->deleted) {
            (*running)++; /* its node is not free yet */
        } else if (phase == POD_FAILED || phase == POD_SUCCEEDED) {
            int64_t due = pod->created + 10 * NS_PER_S;
            (*running)++;
            if (due > d->s->now) {
                d->again = MIN(d->again, due);
                continue;
            }
            ctl_event(d->s->ctl, R_DAEMONSETS, d->o, phase == POD_FAILED, phase == POD_FAILED ? "FailedDaemonPod" : "SucceededDaemonPod",
                phase == POD_FAILED ? "Found failed daemon pod %.*s/%.*s on node %.*s, will try to kill it"
                                    : "Found succeeded daemon pod %.*s/%.*s on node %.*s, will try to delete it",
                STR_ARG(pod->ns), STR_ARG(pod->name), STR_ARG(at->node->name));
            int r = remove_pod(d, pod, e);
            if (r < 0)
                return r;
        } else {
            (*running)++;
        }
    }
    return 0;
}

static int by_age(const void *a, const void *b)
{
    const struct obj *x = *(const struct obj *const *)a, *y = *(const struct obj *const *)b;
    bool nx = pod_node(x).n > 0, ny = pod_node(y).n > 0;
    if (nx != ny)
        return nx ? -1 : 1;
    return x->created != y->created ? (x->created < y->created ? -1 : 1) : str_cmp(x->name, y->name);
}

/* More than one: the oldest stays; during a surge the old one and the new one do, until the new one is available. */
static int remove_surplus(struct daemonset *d, struct place *at, struct err **e)
{
    bool seen[2] = {false, false};
    struct obj_array live = {0};
    for (size_t i = 0; i < at->pods.n; i++)
        if (pod_active(at->pods.p[i]))
            array_add(d->s->pool, &live, at->pods.p[i]);
    if (live.n < 2)
        return 0;
    qsort(live.p, live.n, sizeof *live.p, by_age);
    for (size_t i = 0; i < live.n; i++) {
        int kind = d->rolling && d->surge ? is_new(d, live.p[i]) : 0;
        if (!seen[kind]) {
            seen[kind] = true;
            continue;
        }
        int r = remove_pod(d, live.p[i], e);
        if (r < 0)
            return r;
    }
    return 0;
}

static int manage(struct daemonset *d, struct err **e)
{
    int r = 0;
    for (size_t i = 0; i < d->stray.n && r == 0; i++)
        r = pod_node(d->stray.p[i]).n ? 0 : remove_pod(d, d->stray.p[i], e); /* bound ones are the pod collector's */
    for (size_t i = 0; i < d->nplaces && r == 0; i++) {
        struct place *at = &d->places[i];
        size_t running;
        if (!at->may_stay) {
            for (size_t k = 0; k < at->pods.n && r == 0; k++)
                r = remove_pod(d, at->pods.p[k], e);
            continue;
        }
        r = remove_ended(d, at, &running, e);
        if (r == 0 && at->should_run && !running && !at->pods.n)
            r = create_on(d, at, e);
        else if (r == 0)
            r = remove_surplus(d, at, e);
    }
    return r;
}

/* ---- rolling ---- */

struct old_new {
    const struct obj *old, *new;
};

static struct old_new pair_of(const struct daemonset *d, const struct place *at)
{
    struct old_new p = {0};
    for (size_t i = 0; i < at->pods.n; i++) {
        const struct obj *pod = at->pods.p[i];
        if (!pod_active(pod))
            continue;
        if (is_new(d, pod))
            p.new = pod;
        else
            p.old = pod;
    }
    return p;
}

/* Old pods go before their successors come, at most `unavailable` nodes being without one. */
static int roll_in_place(struct daemonset *d, struct err **e)
{
    int64_t missing = 0;
    int r = 0;
    for (size_t i = 0; i < d->nplaces; i++) {
        struct old_new p = pair_of(d, &d->places[i]);
        missing += d->places[i].should_run && !(p.new &&available(d, p.new)) && !(p.old && available(d, p.old));
    }
    for (int pass = 0; pass < 2; pass++) /* first those that do no good anyway */
        for (size_t i = 0; i < d->nplaces && r == 0; i++) {
            struct old_new p = pair_of(d, &d->places[i]);
            if (!d->places[i].may_stay || !p.old || p.new || available(d, p.old) != (pass == 1))
                continue;
            if (pass == 1 && missing++ >= d->unavailable)
                return 0;
            r = remove_pod(d, p.old, e);
        }
    return r;
}

/* Successors come first, on at most `surge` nodes at a time. */
static int roll_with_surge(struct daemonset *d, struct err **e)
{
    int64_t busy = 0;
    int r = 0;
    for (size_t i = 0; i < d->nplaces && r == 0; i++) {
        struct old_new p = pair_of(d, &d->places[i]);
        if (!p.old || !p.new)
            continue;
        if (available(d, p.new))
            r = remove_pod(d, p.old, e);
        else
            busy++;
    }
    for (size_t i = 0; i < d->nplaces && r == 0 && busy < d->surge; i++) {
        struct old_new p = pair_of(d, &d->places[i]);
        if (!d->places[i].should_run || !p.old || p.new)
            continue;
        if (!available(d, p.old))
            r = remove_pod(d, p.old, e);
        else
            r = create_on(d, &d->places[i], e);
        busy++;
    }
    return r;
}

/* ---- status ---- */

static struct json *status_of(struct daemonset *d)
{
    int64_t desired = 0, current = 0, misplaced = 0, ready = 0, avail = 0, updated = 0;
    struct pool *p = d->s->pool;
    struct json *status = json_obj(p), *conditions = json_path(d->tree, "status", "conditions", NULL);
    for (size_t i = 0; i < d->nplaces; i++) {
        const struct place *at = &d->places[i];
        const struct obj *best = NULL;
        for (size_t k = 0; k < at->pods.n; k++)
            if (!best || (pod_ready(at->pods.p[k]) && !pod_ready(best)))
                best = at->pods.p[k];
        desired += at->should_run;
        misplaced += !at->should_run && best;
        if (!at->should_run || !best)
            continue;
        current++;
        ready += pod_ready(best);
        avail += available(d, best);
        updated += is_new(d, best);
    }
    json_set_int(p, status, STR("currentNumberScheduled"), current);
    json_set_int(p, status, STR("numberMisscheduled"), misplaced);
    json_set_int(p, status, STR("desiredNumberScheduled"), desired);
    json_set_int(p, status, STR("numberReady"), ready);
    json_set_int(p, status, STR("observedGeneration"), d->o->generation);
    if (updated)
        json_set_int(p, status, STR("updatedNumberScheduled"), updated);
    if (avail)
        json_set_int(p, status, STR("numberAvailable"), avail);
    if (desired - avail > 0)
        json_set_int(p, status, STR("numberUnavailable"), desired - avail);
    if (d->h.collisions)
        json_set_int(p, status, STR("collisionCount"), d->h.collisions);
    if (conditions)
        json_set(p, status, STR("conditions"), json_clone(p, conditions));
    return status;
}

static int read_all(struct daemonset *d, struct err **e)
{
    d->tree = sync_tree(d->s, d->o);
    d->spec = json_get(d->tree, STR("spec"));
    d->min_ready = json_get_int(d->spec, "minReadySeconds", 0) * NS_PER_S;
    d->template = template_with_tolerations(d->s, json_get(d->spec, STR("template")));
    int r = selector_from_json(d->s->pool, json_get(d->spec, STR("selector")), &d->sel, e);
    if (r == 0)
        r = history_sync(d->s, R_DAEMONSETS, d->o, d->tree, &d->sel, false, &d->h, e);
    if (r != 0)
        return r;
    r = find_places(d, e);
    int64_t desired = 0;
    for (size_t i = 0; i < d->nplaces; i++)
        desired += d->places[i].should_run;
    const struct json *strategy = json_get(d->spec, STR("updateStrategy")), *rolling = json_get(strategy, STR("rollingUpdate"));
    d->rolling = !str_eqz(json_get_str(strategy, "type"), "OnDelete");
    int_or_percent(json_get(rolling, STR("maxUnavailable")), desired, true, &d->unavailable);
    int_or_percent(json_get(rolling, STR("maxSurge")), desired, true, &d->surge);
    if (!d->unavailable && !d->surge)
        d->unavailable = 1;
    return r;
}

static int trim(struct daemonset *d, struct err **e)
{
    struct str *live = NULL;
    size_t n = 0;
    for (size_t i = 0; i < d->nplaces; i++)
        for (size_t k = 0; k < d->places[i].pods.n; k++) {
            live = pool_grow(d->s->pool, live, n * sizeof *live, (n + 1) * sizeof *live);
            live[n++] = obj_label(d->places[i].pods.p[k], HASH_LABEL);
        }
    return history_trim(d->s, &d->h, json_get_int(d->spec, "revisionHistoryLimit", 10), live, n, e);
}

static int sync(struct sync *s, struct err **e)
{
    struct daemonset d = {.s = s, .o = sync_self(s, R_DAEMONSETS), .again = INT64_MAX};
    struct err *trouble = NULL;
    if (!d.o)
        return 0;
    int r = read_all(&d, e);
    if (r != 0)
        return MIN(r, 0);
    int done = d.o->deleted ? 0 : manage(&d, &trouble);
    if (done == 0 && !d.o->deleted && d.rolling)
        done = d.surge ? roll_with_surge(&d, &trouble) : roll_in_place(&d, &trouble);
    if (done == 0 && !d.o->deleted)
        done = trim(&d, &trouble);
    /* our own writes are in the store by now */
    sync_fresh(s);
    d.nplaces = 0;
    d.stray = (struct obj_array){0};
    if ((r = find_places(&d, e)) == 0)
        r = sync_status(s, R_DAEMONSETS, d.o, d.tree, status_of(&d), e);
    if (err_is(e, ERR_NOT_FOUND))
        r = 0;
    if (d.again != INT64_MAX)
        sync_again_at(s, d.again);
    if (done < 0 && r >= 0)
        return err_move(e, trouble);
    err_free(trouble);
    return MIN(r, 0);
}

static void add_all(struct ctl *c)
{
    _cleanup_(store_view_unrefp) struct store_view *v = store_view(c->store);
    struct store_iter it;
    iter_start(&it, v, ctl_store_res(c, R_DAEMONSETS), STR(""), STR_NULL, STR_NULL);
    for (const struct obj *o; (o = iter_next(&it));)
        ctl_add(c, o);
}

/* Heartbeats change a node's status only: they move no daemon. */
static bool node_same(const struct obj *a, const struct obj *b)
{
    _cleanup_(pool_freep) struct pool *p = pool_new();
    struct json *x, *y;
    if (obj_parse(a, p, &x, NULL) < 0 || obj_parse(b, p, &y, NULL) < 0)
        return false;
    return json_equal(json_path(x, "spec", "taints", NULL), json_path(y, "spec", "taints", NULL)) &&
           json_equal(json_path(x, "metadata", "labels", NULL), json_path(y, "metadata", "labels", NULL));
}

static void on_node(struct ctl *c, const struct change *ch)
{
    if (ch->gone || !ch->before || !node_same(ch->obj, ch->before))
        add_all(c);
}

static void on_pod(struct ctl *c, const struct change *ch)
{
    ctl_add_owner(c, ch, R_DAEMONSETS);
}

const struct controller daemonset_controller = {
    .name = "daemonset",
    .account = "daemon-set-controller",
    .component = "daemonset-controller",
    .watches = {{R_DAEMONSETS, ctl_add_change}, {R_PODS, on_pod}, {R_NODES, on_node}},
    .sync = sync,
};
