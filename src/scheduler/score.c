/* Which of the nodes that can take a pod should: kube-scheduler's default scores and weights. */
#include "scheduler/inner.h"

#define BEST 100

static int64_t asked(int64_t request, int64_t floor)
{
    return request ? request : floor;
}

/* Room left over on average of CPU and memory. */
static void least_allocated(struct cycle *c, struct node_info **nodes, size_t n, int64_t *out)
{
    int64_t cpu = asked(c->req.cpu_milli, 100), memory = asked(c->req.memory, INT64_C(200) << 20);
    for (size_t i = 0; i < n; i++) {
        const struct node_info *x = nodes[i];
        int64_t sum = 0, kinds = 0;
        if (x->can.cpu_milli > 0) {
            sum += MAX(x->can.cpu_milli - x->scored_cpu - cpu, (int64_t)0) * BEST / x->can.cpu_milli;
            kinds++;
        }
        if (x->can.memory > 0) {
            sum += (int64_t)((double)MAX(x->can.memory - x->scored_memory - memory, (int64_t)0) * BEST / (double)x->can.memory);
            kinds++;
        }
        out[i] = kinds ? sum / kinds : 0;
    }
}

/* CPU and memory used in like measure. */
static void balanced(struct cycle *c, struct node_info **nodes, size_t n, int64_t *out)
{
    for (size_t i = 0; i < n; i++) {
        const struct node_info *x = nodes[i];
        if (x->can.cpu_milli <= 0 || x->can.memory <= 0)
            continue;
        double cpu = MIN((double)(x->used.cpu_milli + c->req.cpu_milli) / (double)x->can.cpu_milli, 1.0);
        double memory = MIN((double)(x->used.memory + c->req.memory) / (double)x->can.memory, 1.0);
        double apart = (cpu > memory ? cpu - memory : memory - cpu) / 2;
        out[i] = (int64_t)((1 - apart) * BEST);
    }
}

static void taints(struct cycle *c, struct node_info **nodes, size_t n, int64_t *out)
{
    for (size_t i = 0; i < n; i++)
        json_for ((struct json *)(uintptr_t)nodes[i]->taints, taint) {
            bool tolerated = !str_eqz(json_get_str(taint, "effect"), "PreferNoSchedule");
            json_for ((struct json *)(uintptr_t)c->tolerations, t)
                tolerated |= toleration_covers(t, json_get_str(taint, "key"), json_get_str(taint, "value"), STR("PreferNoSchedule"));
            out[i] += !tolerated;
        }
}

static void affinity(struct cycle *c, struct node_info **nodes, size_t n, int64_t *out)
{
    const struct json *preferred = json_path(c->affinity, "nodeAffinity", "preferredDuringSchedulingIgnoredDuringExecution", NULL);
    json_for ((struct json *)(uintptr_t)preferred, p)
        for (size_t i = 0; i < n; i++)
            if (node_selector_term(json_get(p, STR("preference")), nodes[i]))
                out[i] += json_get_int(p, "weight", 0);
}

static int64_t image_size(const struct node_info *n, struct str image)
{
    for (size_t i = 0; i < n->nimages; i++)
        if (str_eq(n->images[i].name, image))
            return n->images[i].size;
    return 0;
}

/* As nodes report it: with a tag. */
static struct str full_name(struct pool *p, struct str image)
{
    ssize_t slash = str_rchr(image, '/'), colon = str_rchr(image, ':');
    return colon > slash || str_chr(image, '@') >= 0 ? image : pool_printf(p, "%.*s:latest", STR_ARG(image));
}

/* Bytes that need not be pulled, counted less the fewer nodes have them, so that not all pods gather on one. */
static void images(struct cycle *c, struct node_info **nodes, size_t n, int64_t *out)
{
    const struct json *containers = json_get(c->spec, STR("containers"));
    int64_t least = INT64_C(23) << 20, most = (INT64_C(1000) << 20) * (int64_t)MAX(json_count(containers), (size_t)1);
    json_for ((struct json *)(uintptr_t)containers, k) {
        struct str name = full_name(c->pool, json_get_str(k, "image"));
        intptr_t have = (intptr_t)map_get(&c->cache->image_nodes, name);
        for (size_t i = 0; have && i < n; i++)
            out[i] += (int64_t)((double)image_size(nodes[i], name) * (double)(have - 1) / (double)MAX(c->cache->nlist, (size_t)1));
    }
    for (size_t i = 0; i < n; i++)
        out[i] = (MIN(MAX(out[i], least), most) - least) * BEST / (most - least);
}

static const struct score scores[] = {
    {"TaintToleration", 3, NORM_DOWN, taints},
    {"NodeAffinity", 2, NORM_UP, affinity},
    {"PodTopologySpread", 2, NORM_DOWN, spread_score},
    {"InterPodAffinity", 2, NORM_UP, interpod_score},
    {"NodeResourcesFit", 1, NORM_NONE, least_allocated},
    {"NodeResourcesBalancedAllocation", 1, NORM_NONE, balanced},
    {"ImageLocality", 1, NORM_NONE, images},
};

/* Over 0..BEST. What is the same for all decides nothing. */
static void normalize(int64_t *v, size_t n, enum normalize how)
{
    int64_t low = INT64_MAX, high = INT64_MIN;
    for (size_t i = 0; i < n; i++) {
        low = MIN(low, v[i]);
        high = MAX(high, v[i]);
    }
    for (size_t i = 0; i < n && how != NORM_NONE; i++) {
        if (high == low)
            v[i] = 0;
        else
            v[i] = how == NORM_UP ? (v[i] - low) * BEST / (high - low) : (high - v[i]) * BEST / (high - low);
    }
}

struct node_info *score_best(struct cycle *c, struct node_info **nodes, size_t n)
{
    int64_t *total = pool_array(c->pool, int64_t, n), *one = pool_array(c->pool, int64_t, n);
    size_t best = 0;
    if (n == 1)
        return nodes[0];
    for (size_t i = 0; i < ARRAY_LEN(scores); i++) {
        memset(one, 0, n * sizeof *one);
        scores[i].fn(c, nodes, n, one);
        normalize(one, n, scores[i].norm);
        for (size_t k = 0; k < n; k++)
            total[k] += one[k] * scores[i].weight;
    }
    for (size_t k = 1; k < n; k++) {
        int64_t d = total[k] - total[best];
        if (d == 0) /* the emptier of two equals, then by name: the same pods give the same placement */
            d = nodes[k]->npods != nodes[best]->npods ? (nodes[k]->npods < nodes[best]->npods ? 1 : -1)
                                                      : str_cmp(nodes[best]->name, nodes[k]->name);
        if (d > 0)
            best = k;
    }
    return nodes[best];
}
