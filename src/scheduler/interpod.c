/* Pods that want to be near other pods, or far from them; and those that stand already and want the same of newcomers. */
#include <stdlib.h>
#include "scheduler/inner.h"

/* Values of one topology key, each with a number. */
struct topology {
    struct str key;
    struct map values; /* value to number + OFFSET, so that none is NULL */
};
#define OFFSET (INTPTR_MAX / 2)

struct term {
    struct selector sel, ns_sel;
    bool has_ns_sel, anti, required;
    const struct json *namespaces;
    struct str own_ns;
    int64_t weight;
    struct topology where; /* domains with matching pods, and how many */
    bool any, matches_self;
};

struct relations {
    struct topology *forbidden;
    size_t nforbidden; /* by standing pods' anti-affinity */
    struct topology *liked;
    size_t nliked; /* by their preferences */
};

/* ---- numbers by topology value ---- */

static void clear_values(void *m)
{
    map_clear(m, NULL);
}

static void add_value(struct topology *t, struct str value, int64_t by)
{
    intptr_t now = (intptr_t)map_get(&t->values, value);
    map_put(&t->values, value, (void *)((now ? now : OFFSET) + (intptr_t)by));
}

static int64_t value_of(const struct topology *t, const struct node_info *n)
{
    struct str v = node_label(n, t->key);
    intptr_t now = v.p ? (intptr_t)map_get(&t->values, v) : 0;
    return now ? now - OFFSET : 0;
}

static struct topology *topology_for(struct pool *p, struct topology **list, size_t *n, struct str key)
{
    for (size_t i = 0; i < *n; i++)
        if (str_eq((*list)[i].key, key))
            return &(*list)[i];
    if (*n == 16)
        return NULL; /* nobody uses so many kinds of domains */
    if (!*list)
        *list = pool_array(p, struct topology, 16);
    struct topology *t = &(*list)[(*n)++];
    t->key = key;
    pool_on_free(p, clear_values, &t->values);
    return t;
}

/* ---- terms ---- */

static int read_term(struct cycle *c, struct pool *p, const struct json *j, struct str own_ns, struct term *t, struct err **e)
{
    const struct json *ns_sel = json_get(j, STR("namespaceSelector"));
    t->where.key = json_get_str(j, "topologyKey");
    t->namespaces = json_get(j, STR("namespaces"));
    t->own_ns = own_ns;
    t->has_ns_sel = ns_sel != NULL;
    int r = ns_sel ? selector_from_json(p, ns_sel, &t->ns_sel, e) : 0;
    return r < 0 ? r : selector_from_json(p, json_get(j, STR("labelSelector")), &t->sel, e);
}

static bool namespace_matches(struct cycle *c, const struct term *t, struct str ns)
{
    if (!json_count(t->namespaces) && !t->has_ns_sel)
        return str_eq(ns, t->own_ns);
    json_for ((struct json *)(uintptr_t)t->namespaces, one)
        if (str_eq(json_as_str(one), ns))
            return true;
    if (!t->has_ns_sel)
        return false;
    if (t->ns_sel.n == 0 && !t->ns_sel.nothing)
        return true;
    const struct obj *o = c->s->namespaces ? view_get(c->view, c->s->namespaces, STR(""), ns) : NULL;
    return o && labels_match(o, &t->ns_sel);
}

static bool term_matches(struct cycle *c, const struct term *t, const struct obj *pod)
{
    return labels_match(pod, &t->sel) && namespace_matches(c, t, pod->ns);
}

static size_t count_terms(const struct json *affinity)
{
    static const char *const kinds[] = {"podAffinity", "podAntiAffinity"};
    size_t n = 0;
    for (size_t i = 0; i < 2; i++) {
        const struct json *k = json_get(affinity, str_of(kinds[i]));
        n += json_count(json_get(k, STR("requiredDuringSchedulingIgnoredDuringExecution"))) +
             json_count(json_get(k, STR("preferredDuringSchedulingIgnoredDuringExecution")));
    }
    return n;
}

static int read_terms(
    struct cycle *c, struct pool *p, const struct json *affinity, struct str own_ns, struct term **out, size_t *n, struct err **e)
{
    *out = pool_array(p, struct term, count_terms(affinity) + 1);
    *n = 0;
    for (int anti = 0; anti < 2; anti++) {
        const struct json *k = json_get(affinity, anti ? STR("podAntiAffinity") : STR("podAffinity"));
        json_for (json_get(k, STR("requiredDuringSchedulingIgnoredDuringExecution")), j) {
            struct term *t = &(*out)[(*n)++];
            t->anti = anti;
            t->required = true;
            int r = read_term(c, p, j, own_ns, t, e);
            if (r < 0)
                return r;
        }
        json_for (json_get(k, STR("preferredDuringSchedulingIgnoredDuringExecution")), j) {
            struct term *t = &(*out)[(*n)++];
            t->anti = anti;
            t->weight = json_get_int(j, "weight", 0) * (anti ? -1 : 1);
            int r = read_term(c, p, json_get(j, STR("podAffinityTerm")), own_ns, t, e);
            if (r < 0)
                return r;
        }
    }
    return 0;
}

static void count_matching(struct cycle *c, struct term *t)
{
    pool_on_free(c->pool, clear_values, &t->where.values);
    t->matches_self = term_matches(c, t, c->o);
    map_for (&c->cache->pods, it) {
        const struct pod_info *p = it->value;
        struct str value = node_label(p->node, t->where.key);
        if (!value.p || !term_matches(c, t, p->o))
            continue;
        add_value(&t->where, value, 1);
        t->any = true;
    }
}

/* What standing pods say about the newcomer. Required affinity counts as a weak liking (hardPodAffinityWeight is 1). */
static int hear_others(struct cycle *c, struct relations *rel, struct err **e)
{
    struct pod_info *p;
    list_for (&c->cache->with_terms, p, with_terms) {
        struct term *terms;
        size_t n;
        int r = read_terms(c, c->pool, p->affinity, p->o->ns, &terms, &n, e);
        if (r < 0)
            return r;
        for (size_t i = 0; i < n; i++) {
            struct str value = node_label(p->node, terms[i].where.key);
            if (!value.p || !term_matches(c, &terms[i], c->o))
                continue;
            bool forbids = terms[i].required && terms[i].anti;
            struct topology *t = forbids ? topology_for(c->pool, &rel->forbidden, &rel->nforbidden, terms[i].where.key)
                                         : topology_for(c->pool, &rel->liked, &rel->nliked, terms[i].where.key);
            if (t)
                add_value(t, value, terms[i].required ? 1 : terms[i].weight);
        }
    }
    return 0;
}

/* The terms of the pod itself stand in c->terms; the relations behind them, as one term more that no loop over nterms sees. */
static struct relations *relations_of(const struct cycle *c)
{
    return (struct relations *)(void *)&c->terms[c->nterms];
}

int interpod_prepare(struct cycle *c, struct err **e)
{
    struct term *terms;
    int r = read_terms(c, c->pool, c->affinity, c->o->ns, &terms, &c->nterms, e);
    if (r < 0)
        return r;
    c->terms = pool_zalloc(c->pool, c->nterms * sizeof *terms + sizeof(struct relations));
    memcpy(c->terms, terms, c->nterms * sizeof *terms);
    for (size_t i = 0; i < c->nterms; i++)
        count_matching(c, &c->terms[i]);
    return list_empty(&c->cache->with_terms) ? 0 : hear_others(c, relations_of(c), e);
}

/* The first of a group that wants to stand together may stand anywhere. */
static bool first_of_group(const struct cycle *c)
{
    for (size_t i = 0; i < c->nterms; i++)
        if (c->terms[i].required && !c->terms[i].anti && (c->terms[i].any || !c->terms[i].matches_self))
            return false;
    return true;
}

void interpod_filter(struct cycle *c, const struct node_info *n, struct reasons *r)
{
    const struct relations *rel = relations_of(c);
    for (size_t i = 0; i < c->nterms; i++) {
        const struct term *t = &c->terms[i];
        if (!t->required || t->anti)
            continue;
        if (!node_label(n, t->where.key).p || (value_of(&t->where, n) <= 0 && !first_of_group(c))) {
            reason_add(r, STR("node(s) didn't match pod affinity rules"), false);
            return;
        }
    }
    for (size_t i = 0; i < c->nterms; i++)
        if (c->terms[i].required && c->terms[i].anti && value_of(&c->terms[i].where, n) > 0) {
            reason_add(r, STR("node(s) didn't match pod anti-affinity rules"), true);
            return;
        }
    for (size_t i = 0; i < rel->nforbidden; i++)
        if (value_of(&rel->forbidden[i], n) > 0) {
            reason_add(r, STR("node(s) didn't satisfy existing pods anti-affinity rules"), true);
            return;
        }
}

void interpod_score(struct cycle *c, struct node_info **nodes, size_t n, int64_t *out)
{
    const struct relations *rel = relations_of(c);
    for (size_t k = 0; k < n; k++) {
        for (size_t i = 0; i < c->nterms; i++)
            if (!c->terms[i].required)
                out[k] += c->terms[i].weight * value_of(&c->terms[i].where, nodes[k]);
        for (size_t i = 0; i < rel->nliked; i++)
            out[k] += value_of(&rel->liked[i], nodes[k]);
    }
}
