#include "scheduler/scheduler.h"
#include <stdlib.h>
#include "base/log.h"
#include "scheduler/inner.h"

enum { CYCLES = 32 /* pods tried in one turn */, SLEEP_MAX_S = 600 };

/* ---- a cycle ---- */

struct tally {
    struct str text;
    size_t n;
};

static int by_text(const void *a, const void *b)
{
    return str_cmp(*(const struct str *)a, *(const struct str *)b);
}

/* "0/3 nodes are available: 1 Insufficient cpu, 2 node(s) were unschedulable." */
static struct str explain(struct cycle *c, const struct tally *t, size_t n)
{
    struct buf b = BUF_INIT;
    struct str *lines = pool_array(c->pool, struct str, n + 1);
    for (size_t i = 0; i < n; i++)
        lines[i] = pool_printf(c->pool, "%zu %.*s", t[i].n, STR_ARG(t[i].text));
    qsort(lines, n, sizeof *lines, by_text);
    buf_printf(&b, "0/%zu nodes are available:", c->cache->nlist);
    if (c->why.n)
        buf_printf(&b, " %.*s.", STR_ARG(c->why));
    for (size_t i = 0; i < n; i++)
        buf_printf(&b, "%s%.*s%s", i ? ", " : " ", STR_ARG(lines[i]), i + 1 == n ? "." : "");
    return buf_to_pool(&b, c->pool);
}

static void count_reasons(struct cycle *c, struct tally **t, size_t *n, const struct reasons *r)
{
    for (size_t i = 0; i < r->n; i++) {
        size_t k = 0;
        while (k < *n && !str_eq((*t)[k].text, r->text[i]))
            k++;
        if (k == *n) {
            *t = pool_grow(c->pool, *t, *n * sizeof **t, (*n + 1) * sizeof **t);
            (*t)[(*n)++] = (struct tally){r->text[i], 0};
        }
        (*t)[k].n++;
    }
}

static void fits_nowhere(struct scheduler *s, struct pending *p, struct str message, struct str nominated, unsigned wakes)
{
    p->wakes = wakes;
    pending_sleep(&s->queue, p, clock_now(s->cfg.clock));
    pending_nominate(&s->queue, p, nominated);
    report_unschedulable(s, p->o, message, nominated);
}

/* When every term of the required affinity names nodes, no other node has to be looked at. One term with one list is what DaemonSets write.
 */
static const struct json *only_nodes(const struct cycle *c)
{
    const struct json *terms =
        json_path(c->affinity, "nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution", "nodeSelectorTerms", NULL);
    if (json_count(terms) != 1)
        return NULL;
    json_for (json_get(json_at(terms, 0), STR("matchFields")), f)
        if (str_eqz(json_get_str(f, "key"), "metadata.name") && str_eqz(json_get_str(f, "operator"), "In"))
            return json_get(f, STR("values"));
    return NULL;
}

static bool meant(const struct cycle *c, const struct node_info *n)
{
    if (!c->only)
        return true;
    json_for ((struct json *)(uintptr_t)c->only, v)
        if (str_eq(json_as_str(v), n->name))
            return true;
    return false;
}

static int prepare(struct cycle *c, struct err **e)
{
    c->spec = json_get(c->tree, STR("spec"));
    c->tolerations = json_get(c->spec, STR("tolerations"));
    c->node_selector = json_get(c->spec, STR("nodeSelector"));
    c->affinity = json_get(c->spec, STR("affinity"));
    c->pv = pod_view_of(c->o);
    resources_of(c->pool, c->o, c->tree, &c->req);
    c->only = only_nodes(c);
    int r = spread_prepare(c, e);
    return r < 0 ? r : interpod_prepare(c, e);
}

/* The chosen node, or NULL, why not, and where the removal of other pods might help. */
static struct node_info *choose(struct cycle *c, struct str *why, bool *helpful)
{
    struct node_info **fit = pool_array(c->pool, struct node_info *, c->cache->nlist + 1);
    struct tally *tally = NULL;
    size_t n = 0, ntally = 0;
    if (json_count(json_get(c->spec, STR("resourceClaims")))) /* a pod without its device is worse than one that waits */
        c->why = STR("pod has resource claims, which this scheduler cannot allocate");
    else if (volumes_prepare(c))
        for (size_t i = 0; i < c->cache->nlist; i++) {
            struct reasons r = {.n = 0};
            if (!meant(c, c->cache->list[i])) {
                reason_add(&r, STR("node(s) didn't satisfy plugin(s) [NodeAffinity]"), false);
                c->wakes |= WAKE_NODE;
            } else if (filter_node(c, c->cache->list[i], &r)) {
                fit[n++] = c->cache->list[i];
                continue;
            }
            count_reasons(c, &tally, &ntally, &r);
            helpful[i] = true;
            for (size_t k = 0; k < r.n; k++)
                helpful[i] &= r.preemptible[k];
        }
    if (n)
        return score_best(c, fit, n);
    *why = explain(c, tally, ntally);
    return NULL;
}

static void place(struct scheduler *s, struct pending *p, struct cycle *c)
{
    struct str why, more;
    bool promised, *helpful = pool_array(c->pool, bool, c->cache->nlist + 1);
    struct node_info *n = choose(c, &why, helpful);
    if (!n) {
        struct str nominated = c->why.n ? STR_NULL : preempt(c, p, helpful, &more);
        if (!c->why.n && more.n)
            why = pool_printf(c->pool, "%.*s preemption: %.*s", STR_ARG(why), STR_ARG(more));
        fits_nowhere(s, p, why, pool_str(c->pool, nominated), c->why.n ? WAKE_VOLUME : c->wakes);
        return;
    }
    const struct obj *claim = volumes_next_unbound(c, &promised);
    if (!promised) {
        bind_pod(s, p, n);
        return;
    }
    p->wakes = WAKE_VOLUME | WAKE_NODE;
    pending_sleep(&s->queue, p, clock_now(s->cfg.clock)); /* until the claim is bound */
    if (claim)
        promise_claim(s, claim, n->name);
}

static void try_one(struct scheduler *s, struct pending *p)
{
    _cleanup_(store_view_unrefp) struct store_view *view = store_view(s->store);
    _cleanup_(pool_freep) struct pool *pool = pool_new();
    _cleanup_(err_freep) struct err *e = NULL;
    struct cycle c = {.s = s, .cache = &s->cache, .pool = pool, .view = view, .o = p->o};
    pool_hold_obj(pool, obj_ref(p->o));
    if (s->cache.nlist == 0) {
        fits_nowhere(s, p, STR("no nodes available to schedule pods"), STR_NULL, WAKE_NODE);
    } else if (obj_parse(p->o, pool, &c.tree, &e) < 0 || prepare(&c, &e) < 0) {
        fits_nowhere(s, p, pool_printf(pool, "%s", err_msg(e)), STR_NULL, ~0u);
    } else {
        place(s, p, &c);
    }
}

/* ---- turns ---- */

static void on_defer(struct defer *d);
static void on_timer(struct timer *t)
{
    scheduler_tick(container_of(t, struct scheduler, timer));
}

static void arm(struct scheduler *s)
{
    int64_t due = pending_due(&s->queue);
    if (due == INT64_MAX)
        timer_del(&s->timer);
    else
        timer_in(s->cfg.loop, &s->timer, MIN(MAX(due - clock_now(s->cfg.clock), NS_PER_MS), SLEEP_MAX_S * NS_PER_S), on_timer);
}

static void go_on(struct scheduler *s)
{
    if (s->queue.ready.n)
        loop_defer(s->cfg.loop, &s->defer, on_defer);
    arm(s);
}

static void on_defer(struct defer *d)
{
    struct scheduler *s = container_of(d, struct scheduler, defer);
    struct pending *p;
    for (int i = 0; i < CYCLES && (p = pending_pop(&s->queue)); i++)
        try_one(s, p);
    go_on(s);
}

void scheduler_tick(struct scheduler *s)
{
    pending_wake(&s->queue, clock_now(s->cfg.clock));
    go_on(s);
}

size_t scheduler_waiting(const struct scheduler *s)
{
    return map_count(&s->queue.all);
}
size_t scheduler_ready(const struct scheduler *s)
{
    return s->queue.ready.n + s->queue.nbinding;
}

/* ---- changes ---- */

static bool ours(const struct scheduler *s, const struct obj *o)
{
    const struct pod_view *v = pod_view_of(o);
    for (size_t i = 0; v && i < s->nnames; i++)
        if (str_eq(pod_view_get(v, v->scheduler), s->names[i]))
            return true;
    return false;
}

static bool same_labels(const struct obj *a, const struct obj *b)
{
    if (a->nlabels != b->nlabels)
        return false;
    for (uint32_t i = 0; i < a->nlabels; i++)
        if (!str_eq(a->labels[i].key, b->labels[i].key) || !str_eq(a->labels[i].value, b->labels[i].value))
            return false;
    return true;
}

/* Only its status changed, which is what we write ourselves: no reason to try again. */
static bool same_wish(const struct obj *a, const struct obj *b)
{
    const struct pod_view *x = pod_view_of(a), *y = pod_view_of(b);
    return x && y && a->generation == b->generation && (x->flags & POD_GATED) == (y->flags & POD_GATED) && x->cpu_milli == y->cpu_milli &&
           x->memory == y->memory && same_labels(a, b);
}

/* A nomination that stands in the object, from before we were started or by another hand. */
static struct str nomination_of(const struct obj *o)
{
    struct str mark = STR("\"nominatedNodeName\":\"");
    ssize_t at = str_find(o->json, mark), end;
    if (at < 0)
        return STR_NULL;
    struct str rest = str_sub(o->json, (size_t)at + mark.n, o->json.n);
    end = str_chr(rest, '"');
    return end > 0 ? str_sub(rest, 0, (size_t)end) : STR_NULL;
}

static void on_unassigned(struct scheduler *s, const struct obj *o, const struct obj *before)
{
    const struct pod_view *v = pod_view_of(o);
    struct pending *p = map_get(&s->queue.all, o->uid);
    if (!ours(s, o) || !v || (v->flags & POD_GATED) || o->deleted) {
        pending_drop(&s->queue, o->uid);
    } else if (p && before && same_wish(o, before)) {
        const struct obj *old = p->o;
        p->o = obj_ref(o); /* uid stays the same text; keep it in the newer object */
        p->uid = p->o->uid;
        obj_unref(old);
    } else {
        pending_put(&s->queue, o, clock_now(s->cfg.clock));
        if (!p)
            pending_nominate(&s->queue, map_get(&s->queue.all, o->uid), nomination_of(o));
    }
}

static void on_pod(struct scheduler *s, const struct obj *o, const struct obj *before, bool gone)
{
    const struct pod_view *v = pod_view_of(o);
    bool known = cache_pod(&s->cache, o->uid) != NULL;
    if (gone || pod_finished(o)) {
        pending_drop(&s->queue, o->uid);
        if (known) {
            cache_drop_pod(&s->cache, o->uid);
            pending_move(&s->queue, clock_now(s->cfg.clock), WAKE_POD_GONE);
        }
    } else if (v && pod_view_get(v, v->node).n) {
        pending_drop(&s->queue, o->uid);
        bool news = !known || !before || !same_labels(o, before) || !same_wish(o, before);
        cache_put_pod(&s->cache, o, STR_NULL);
        if (news)
            pending_move(
                &s->queue, clock_now(s->cfg.clock), WAKE_POD_HERE | (known ? WAKE_POD_GONE : 0)); /* it may have been resized, too */
    } else {
        on_unassigned(s, o, before);
    }
}

static bool same_node(const struct node_info *n, const struct obj *o)
{
    struct json *tree;
    _cleanup_(pool_freep) struct pool *p = pool_new();
    return n && n->o && same_labels(n->o, o) && obj_parse(o, p, &tree, NULL) == 0 &&
           json_equal(json_get(tree, STR("spec")), json_get(n->tree, STR("spec"))) &&
           json_equal(json_path(tree, "status", "allocatable", NULL), json_path(n->tree, "status", "allocatable", NULL));
}

static void on_node(struct scheduler *s, const struct obj *o, bool gone)
{
    bool same = !gone && same_node(map_get(&s->cache.nodes, o->name), o);
    if (gone)
        cache_drop_node(&s->cache, o->name);
    else
        cache_put_node(&s->cache, o);
    if (!same)
        pending_move(&s->queue, clock_now(s->cfg.clock), WAKE_NODE | (gone ? WAKE_POD_GONE : 0));
}

static void on_change(struct scheduler *s, const struct obj *o, const struct obj *before, bool gone)
{
    if (o->res == s->pods)
        on_pod(s, o, before, gone);
    else if (o->res == s->nodes)
        on_node(s, o, gone);
    else if (o->res == s->pvcs || o->res == s->pvs || o->res == s->classes || o->res == s->csinodes)
        pending_move(&s->queue, clock_now(s->cfg.clock), WAKE_VOLUME);
    else if (o->res == s->namespaces && before && !same_labels(o, before))
        pending_move(&s->queue, clock_now(s->cfg.clock), WAKE_NAMESPACE);
}

static void on_notify(void *arg);

static void look_at(struct scheduler *s, struct store_view *v, struct store_res *r)
{
    struct store_iter it;
    iter_start(&it, v, r, STR(""), STR_NULL, STR_NULL);
    for (const struct obj *o; (o = iter_next(&it));)
        on_change(s, o, NULL, false);
}

static int look_anew(struct scheduler *s, struct err **e)
{
    _cleanup_(store_view_unrefp) struct store_view *v = store_view(s->store);
    store_watch_close(TAKE(s->watch));
    int r = store_watch_open(s->store, NULL, view_rev(v), 0, s->cfg.loop, on_notify, s, &s->watch, e);
    if (r < 0)
        return r;
    cache_clear(&s->cache);
    pending_clear(&s->queue);
    look_at(s, v, s->nodes);
    look_at(s, v, s->pods);
    go_on(s);
    return 0;
}

static void on_notify(void *arg)
{
    struct scheduler *s = arg;
    for (;;) { /* a burst is taken in whole: cycles on half of it would place pods badly */
        struct err *e = NULL;
        struct store_event *ev = store_watch_next(s->watch, &e);
        if (e || (ev && ev->type == STORE_RESYNC)) {
            err_free(TAKE(e));
            store_event_unref(ev);
            if (look_anew(s, &e) < 0)
                log_error("scheduler: cannot watch the store: %s", err_msg(e));
            err_free(e);
            return;
        }
        if (!ev)
            break;
        on_change(s, ev->obj, ev->before, ev->type == STORE_DELETE);
        store_event_unref(ev);
    }
    go_on(s);
}

/* ---- life ---- */

int scheduler_start(const struct scheduler_config *cfg, struct scheduler **out, struct err **e)
{
    static const struct str usual = {"default-scheduler", 17};
    struct scheduler *s = xcalloc(1, sizeof *s);
    const struct str *names = cfg->nnames ? cfg->names : &usual;
    s->cfg = *cfg;
    s->store = api_store(cfg->api);
    s->nnames = cfg->nnames ? cfg->nnames : 1;
    s->names = xcalloc(s->nnames, sizeof *s->names);
    for (size_t i = 0; i < s->nnames; i++)
        s->names[i] = str_of(str_dup(names[i]));
    s->pods = store_find(s->store, STR("/pods"));
    s->nodes = store_find(s->store, STR("/nodes"));
    s->namespaces = store_find(s->store, STR("/namespaces"));
    s->pvcs = store_find(s->store, STR("/persistentvolumeclaims"));
    s->pvs = store_find(s->store, STR("/persistentvolumes"));
    s->classes = store_find(s->store, STR("storage.k8s.io/storageclasses"));
    s->csinodes = store_find(s->store, STR("storage.k8s.io/csinodes"));
    s->pdbs = store_find(s->store, STR("policy/poddisruptionbudgets"));
    cache_init(&s->cache);
    pending_init(&s->queue);
    int r = s->pods && s->nodes ? look_anew(s, e) : err_set(e, ERR_INTERNAL, "the registry has no pods or nodes");
    if (r < 0) {
        scheduler_stop(s);
        return err_wrap(e, "scheduler");
    }
    *out = s;
    return 0;
}

void scheduler_free(struct scheduler *s)
{
    for (size_t i = 0; i < s->nnames; i++)
        free((char *)(uintptr_t)s->names[i].p);
    free(s->names);
    free(s);
}

void scheduler_stop(struct scheduler *s)
{
    if (!s)
        return;
    store_watch_close(s->watch);
    defer_del(s->cfg.loop, &s->defer);
    timer_del(&s->timer);
    cache_clear(&s->cache);
    pending_clear(&s->queue);
    s->stopping = true;
    if (!s->flying)
        scheduler_free(s);
}
