/* Pods spread over zones and nodes: topologySpreadConstraints, and, for pods that have none, kube-scheduler's soft defaults over the pods
 * of the same controller. */
#include <math.h>
#include "scheduler/inner.h"

struct spread {
    struct str key;
    struct selector sel;
    int64_t max_skew, min_domains;
    bool hard, self, honor_affinity, honor_taints;
    struct str owner;  /* default constraints: count pods of this controller instead of the selector's */
    struct map counts; /* topology value to matching pods + 1 */
    int64_t least;     /* fewest in any domain */
};

static void clear_counts(void *m)
{
    map_clear(m, NULL);
}

static int64_t count_of(const struct spread *x, struct str value)
{
    intptr_t n = (intptr_t)map_get(&x->counts, value);
    return n ? n - 1 : 0;
}

static bool eligible(const struct cycle *c, const struct spread *x, const struct node_info *n)
{
    return node_label(n, x->key).p && (!x->honor_affinity || node_affinity_matches(c, n)) &&
           (!x->honor_taints || !taint_untolerated(c->tolerations, n, false));
}

static int64_t matching_on(const struct cycle *c, const struct spread *x, struct node_info *n)
{
    struct pod_info *p;
    int64_t count = 0;
    if (x->owner.p) {
        intptr_t k = (intptr_t)map_get(&n->owners, x->owner);
        return k ? k - 1 : 0;
    }
    list_for (&n->pods, p, on_node)
        count += !p->o->deleted && str_eq(p->o->ns, c->o->ns) && labels_match(p->o, &x->sel);
    return count;
}

static void count_domains(struct cycle *c, struct spread *x)
{
    pool_on_free(c->pool, clear_counts, &x->counts);
    for (size_t i = 0; i < c->cache->nlist; i++) {
        struct node_info *n = c->cache->list[i];
        struct str value = node_label(n, x->key);
        if (!eligible(c, x, n))
            continue;
        intptr_t now = (intptr_t)map_get(&x->counts, value);
        map_put(&x->counts, value, (void *)((now ? now : 1) + (intptr_t)matching_on(c, x, n)));
    }
    x->least = INT64_MAX;
    map_for (&x->counts, it)
        x->least = MIN(x->least, (int64_t)(intptr_t)it->value - 1);
    if ((int64_t)map_count(&x->counts) < x->min_domains || x->least == INT64_MAX)
        x->least = 0;
}

/* Labels of the pod named by matchLabelKeys narrow the selector. */
static void add_label_keys(struct cycle *c, const struct json *keys, struct selector *sel)
{
    json_for ((struct json *)(uintptr_t)keys, k) {
        struct str value = obj_label(c->o, json_as_str(k)), *one;
        if (!value.p)
            continue;
        sel->reqs = pool_grow(c->pool, sel->reqs, sel->n * sizeof *sel->reqs, (sel->n + 1) * sizeof *sel->reqs);
        one = pool_new_of(c->pool, struct str);
        *one = value;
        sel->reqs[sel->n++] = (struct sel_req){.key = json_as_str(k), .op = SEL_IN, .values = one, .nvalues = 1};
    }
}

static int read_constraint(struct cycle *c, const struct json *j, struct spread *x, struct err **e)
{
    x->key = json_get_str(j, "topologyKey");
    x->max_skew = json_get_int(j, "maxSkew", 1);
    x->min_domains = json_get_int(j, "minDomains", 1);
    x->hard = !str_eqz(json_get_str(j, "whenUnsatisfiable"), "ScheduleAnyway");
    x->honor_affinity = !str_eqz(json_get_str(j, "nodeAffinityPolicy"), "Ignore");
    x->honor_taints = str_eqz(json_get_str(j, "nodeTaintsPolicy"), "Honor");
    int r = selector_from_json(c->pool, json_get(j, STR("labelSelector")), &x->sel, e);
    if (r < 0)
        return r;
    add_label_keys(c, json_get(j, STR("matchLabelKeys")), &x->sel);
    x->self = labels_match(c->o, &x->sel);
    return 0;
}

int spread_prepare(struct cycle *c, struct err **e)
{
    const struct json *list = json_get(c->spec, STR("topologySpreadConstraints"));
    const struct obj_owner *w = obj_controller(c->o);
    c->spreads = pool_array(c->pool, struct spread, json_count(list) + 2);
    json_for ((struct json *)(uintptr_t)list, j) {
        int r = read_constraint(c, j, &c->spreads[c->nspreads++], e);
        if (r < 0)
            return r;
    }
    if (!json_count(list) && w) {
        c->spreads[c->nspreads++] = (struct spread){.key = STR("kubernetes.io/hostname"), .owner = w->uid, .max_skew = 3, .min_domains = 1};
        c->spreads[c->nspreads++] =
            (struct spread){.key = STR("topology.kubernetes.io/zone"), .owner = w->uid, .max_skew = 5, .min_domains = 1};
    }
    for (size_t i = 0; i < c->nspreads; i++)
        count_domains(c, &c->spreads[i]);
    return 0;
}

void spread_filter(struct cycle *c, const struct node_info *n, struct reasons *r)
{
    for (size_t i = 0; i < c->nspreads; i++) {
        const struct spread *x = &c->spreads[i];
        struct str value = node_label(n, x->key);
        if (!x->hard)
            continue;
        if (!value.p)
            reason_add(r, STR("node(s) didn't match pod topology spread constraints (missing required label)"), false);
        else if (count_of(x, value) + x->self - x->least > x->max_skew)
            reason_add(r, STR("node(s) didn't match pod topology spread constraints"), true);
        if (r->n)
            return;
    }
}

void spread_score(struct cycle *c, struct node_info **nodes, size_t n, int64_t *out)
{
    for (size_t i = 0; i < c->nspreads; i++) {
        const struct spread *x = &c->spreads[i];
        if (x->hard || !map_count(&x->counts))
            continue;
        double weight = log((double)map_count(&x->counts) + 2);
        for (size_t k = 0; k < n; k++) {
            struct str value = node_label(nodes[k], x->key);
            if (value.p)
                out[k] += (int64_t)round((double)count_of(x, value) * weight + (double)(x->max_skew - 1));
        }
    }
}
