/* Preemption: when a pod fits nowhere, lesser pods on one node make room for it (kube-scheduler's DefaultPreemption).
 *
 * On each node that removing pods could help: all lesser pods are lifted off the picture; if the pod then fits, as many of them as possible
 * are put back, those first whose budget would be violated and then the more important ones. The node that costs least is chosen; its
 * victims are deleted, the pod is nominated for it (status.nominatedNodeName), and comes back when they are gone. Until then its place
 * counts as taken for lesser pods.
 */
#include <stdlib.h>
#include "scheduler/inner.h"

struct victim {
    struct pod_info *p;
    bool violates, stays;
};
struct plan {
    struct node_info *n;
    struct victim *pods;
    size_t npods; /* lesser pods; those that stay and those that go */
    size_t gone;
    int64_t violations, sum;
    int32_t highest;
    int64_t newest; /* creation of the newest of the highest */
};
struct budget {
    struct str ns;
    struct selector sel;
    int64_t left;
};

/* ---- budgets ---- */

static size_t read_budgets(struct cycle *c, struct budget **out)
{
    struct store_iter it;
    size_t n = 0;
    *out = NULL;
    if (!c->s->pdbs || !view_count(c->view, c->s->pdbs, STR("")))
        return 0;
    *out = pool_array(c->pool, struct budget, view_count(c->view, c->s->pdbs, STR("")));
    iter_start(&it, c->view, c->s->pdbs, STR(""), STR_NULL, STR_NULL);
    for (const struct obj *o; (o = iter_next(&it));) {
        struct json *tree;
        struct budget *b = &(*out)[n];
        if (obj_parse(o, c->pool, &tree, NULL) < 0 ||
            selector_from_json(c->pool, json_path(tree, "spec", "selector", NULL), &b->sel, NULL) < 0)
            continue;
        b->ns = o->ns;
        b->left = json_get_int(json_get(tree, STR("status")), "disruptionsAllowed", 0);
        n++;
    }
    return n;
}

static void mark_violations(struct cycle *c, struct plan *plan, const struct budget *budgets, size_t n)
{
    struct budget *left = pool_array(c->pool, struct budget, n + 1);
    if (n)
        memcpy(left, budgets, n * sizeof *left);
    for (size_t i = 0; i < plan->npods; i++)
        for (size_t k = 0; k < n; k++)
            if (str_eq(left[k].ns, plan->pods[i].p->o->ns) && labels_match(plan->pods[i].p->o, &left[k].sel))
                plan->pods[i].violates |= --left[k].left < 0;
}

/* ---- one node ---- */

static int by_importance(const void *a, const void *b) /* the most important first */
{
    const struct pod_info *x = ((const struct victim *)a)->p, *y = ((const struct victim *)b)->p;
    if (x->priority != y->priority)
        return x->priority > y->priority ? -1 : 1;
    return x->o->created != y->o->created ? (x->o->created < y->o->created ? -1 : 1) : str_cmp(x->o->uid, y->o->uid);
}

static bool fits(struct cycle *c, struct node_info *n)
{
    struct reasons r;
    return filter_node(c, n, &r);
}

static void put_back_those(struct cycle *c, struct plan *plan, bool violating)
{
    for (size_t i = 0; i < plan->npods; i++) {
        struct victim *v = &plan->pods[i];
        if (v->violates != violating)
            continue;
        cache_put_back(v->p);
        v->stays = fits(c, plan->n);
        if (!v->stays)
            cache_lift(v->p);
    }
}

static void sum_up(struct plan *plan)
{
    plan->highest = INT32_MIN;
    for (size_t i = 0; i < plan->npods; i++) {
        const struct victim *v = &plan->pods[i];
        if (v->stays)
            continue;
        plan->gone++;
        plan->violations += v->violates;
        plan->sum += (int64_t)v->p->priority + INT32_MAX + 1;
        if (v->p->priority > plan->highest) {
            plan->highest = v->p->priority;
            plan->newest = v->p->o->created;
        } else if (v->p->priority == plan->highest) {
            plan->newest = MAX(plan->newest, v->p->o->created);
        }
    }
}

static bool plan_node(struct cycle *c, struct node_info *n, const struct budget *budgets, size_t nbudgets, struct plan *plan)
{
    struct pod_info *p;
    bool ok;
    *plan = (struct plan){.n = n, .pods = pool_array(c->pool, struct victim, n->npods + 1)};
    list_for (&n->pods, p, on_node)
        if (p->priority < c->pv->priority && !p->o->deleted)
            plan->pods[plan->npods++].p = p;
    if (!plan->npods)
        return false;
    qsort(plan->pods, plan->npods, sizeof *plan->pods, by_importance);
    for (size_t i = 0; i < plan->npods; i++)
        cache_lift(plan->pods[i].p);
    ok = fits(c, n);
    if (ok) {
        mark_violations(c, plan, budgets, nbudgets);
        put_back_those(c, plan, true);
        put_back_those(c, plan, false);
        sum_up(plan);
    }
    for (size_t i = 0; i < plan->npods; i++)
        if (!plan->pods[i].stays)
            cache_put_back(plan->pods[i].p);
    return ok && plan->gone;
}

/* The cheaper of two, in Kubernetes' order of costs. */
static bool cheaper(const struct plan *a, const struct plan *b)
{
    if (a->violations != b->violations)
        return a->violations < b->violations;
    if (a->highest != b->highest)
        return a->highest < b->highest;
    if (a->sum != b->sum)
        return a->sum < b->sum;
    if (a->gone != b->gone)
        return a->gone < b->gone;
    if (a->newest != b->newest)
        return a->newest > b->newest;
    return str_cmp(a->n->name, b->n->name) < 0;
}

/* ---- the whole ---- */

static bool waits_for_victims(struct cycle *c, struct str nominated)
{
    struct node_info *n = nominated.n ? map_get(&c->cache->nodes, nominated) : NULL;
    struct pod_info *p;
    if (!n)
        return false;
    list_for (&n->pods, p, on_node)
        if (p->o->deleted && p->priority < c->pv->priority)
            return true;
    return false;
}

struct str preempt(struct cycle *c, struct pending *p, const bool *helpful, struct str *why)
{
    struct budget *budgets;
    struct plan best = {0}, plan;
    size_t nbudgets = read_budgets(c, &budgets), tried = 0, all = c->cache->nlist;
    *why = STR_NULL;
    if (str_eqz(json_get_str(c->spec, "preemptionPolicy"), "Never")) {
        *why = STR("not eligible due to preemptionPolicy=Never.");
        return STR_NULL;
    }
    if (waits_for_victims(c, p->nominated)) {
        *why = STR("not eligible due to a terminating pod on the nominated node.");
        return p->nominated;
    }
    for (size_t i = 0; i < all; i++) {
        if (!helpful[i])
            continue;
        tried++;
        if (plan_node(c, c->cache->list[i], budgets, nbudgets, &plan) && (!best.n || cheaper(&plan, &best)))
            best = plan;
    }
    if (!best.n) {
        struct str a = pool_printf(c->pool, "%zu No preemption victims found for incoming pod", tried);
        struct str b = pool_printf(c->pool, "%zu Preemption is not helpful for scheduling", all - tried);
        bool both = tried && all > tried;
        struct str first = !tried ? b : both && str_cmp(b, a) < 0 ? b : a, second = str_eq(first, a) ? b : a;
        *why = pool_printf(
            c->pool, "0/%zu nodes are available: %.*s%s%.*s.", all, STR_ARG(first), both ? ", " : "", both ? (int)second.n : 0, second.p);
        return STR_NULL;
    }
    for (size_t i = 0; i < best.npods; i++)
        if (!best.pods[i].stays)
            evict_victim(c->s, best.pods[i].p->o, c->o, best.n->name);
    return best.n->name;
}
