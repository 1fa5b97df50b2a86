/* CPU and memory in use, per container: what metrics.k8s.io is made of (api/metrics_api.c). A rate needs two looks. Nobody looks when nobody asks: a request looks now and takes the
 * difference to an earlier request's look; when there is none within a minute and a half, it looks twice, a second apart. */
#include <stdlib.h>

#include "gate/serve.h"

#define LEAST (1 * NS_PER_S)
#define FRESH (10 * NS_PER_S) /* a look that becomes the one to compare with */
#define STALE (90 * NS_PER_S)

struct sample { struct pool *pool; struct node_stats s; };
struct usage { struct sample old, recent; };

struct ask {
    struct gate *gate;
    struct http_req *rq;
    uint64_t id;
    struct timer wait;
    unsigned looks;
};

static void sample_clear(struct sample *x)
{
    pool_free(x->pool);
    *x = (struct sample){0};
}

void usage_free(struct usage *u)
{
    if (!u)
        return;
    sample_clear(&u->old);
    sample_clear(&u->recent);
    free(u);
}

/* ---- the answer ---- */

static const struct node_pod_stats *pod_in(const struct node_stats *s, struct str uid)
{
    for (size_t i = 0; i < s->npods; i++)
        if (str_eq(s->pods[i].uid, uid))
            return &s->pods[i];
    return NULL;
}

static const struct node_container_stats *container_in(const struct node_pod_stats *p, struct str name)
{
    for (size_t i = 0; p && i < p->ncontainers; i++)
        if (str_eq(p->containers[i].name, name))
            return &p->containers[i];
    return NULL;
}

static void put_usage(struct pool *p, struct json *o, int64_t nanocores, int64_t memory)
{
    struct json *u = json_put_obj(p, o, STR("usage"));
    json_set_str(p, u, STR("cpu"), pool_printf(p, "%" PRId64 "n", MAX(nanocores, 0)));
    json_set_str(p, u, STR("memory"), pool_printf(p, "%" PRId64 "Ki", memory / 1024));
}

static int64_t rate(int64_t used_ns, int64_t over_ns)
{
    return over_ns > 0 ? (int64_t)((double)used_ns / (double)over_ns * 1e9) : 0;
}

static void put_container(struct pool *p, struct json *list, const struct node_stats *from, const struct node_stats *to, struct gpod *gp, const struct node_container_stats *c)
{
    const struct node_container_stats *before = container_in(pod_in(from, gp->uid), c->name);
    const struct node_container_state *s = serve_state(gp, c->name);
    int64_t used = c->cpu_ns, over = s && s->started ? to->at - s->started : 0;
    if (before && before->cpu_ns <= c->cpu_ns && over >= to->at - from->at) { /* the same run */
        used -= before->cpu_ns;
        over = to->at - from->at;
    }
    if (over < LEAST / 10)
        return; /* too young to say */
    struct json *o = json_append(list, json_obj(p));
    json_set_str(p, o, STR("name"), c->name);
    put_usage(p, o, rate(used, over), c->memory_working_set);
}

static void put_pods(struct gate *g, struct pool *p, struct json *o, const struct node_stats *from, const struct node_stats *to)
{
    struct json *pods = json_put_arr(p, o, STR("pods"));
    for (size_t i = 0; i < to->npods; i++) {
        struct gpod *gp = pods_find(g, to->pods[i].uid);
        if (!gp || !to->pods[i].ncontainers)
            continue;
        struct json *pod = json_append(pods, json_obj(p)), *list = json_put_arr(p, pod, STR("containers"));
        json_set_str(p, pod, STR("namespace"), gp->ns);
        json_set_str(p, pod, STR("name"), gp->name);
        json_set_str(p, pod, STR("uid"), gp->uid);
        for (size_t k = 0; k < to->pods[i].ncontainers; k++)
            put_container(p, list, from, to, gp, &to->pods[i].containers[k]);
    }
}

static void answer(struct gate *g, struct http_req *rq, const struct node_stats *from, const struct node_stats *to)
{
    struct pool *p = rq->pool;
    struct json *o = json_obj(p);
    char text[TIME_MAX];
    int64_t window = to->at - from->at;
    json_set_str(p, o, STR("timestamp"), time_format(to->at, text));
    json_set_str(p, o, STR("window"), pool_printf(p, "%" PRId64 ".%03" PRId64 "s", window / NS_PER_S, window % NS_PER_S / NS_PER_MS));
    put_usage(p, o, rate(to->cpu_ns - from->cpu_ns, window), to->memory_working_set);
    put_pods(g, p, o, from, to);
    _cleanup_(buf_clear) struct buf b = BUF_INIT;
    json_write(&b, o);
    http_reply_str(rq, 200, "application/json", buf_str(&b));
}

/* ---- looking ---- */

static void ask_free(struct ask *a)
{
    if (a->id)
        gate_forget(a->gate, a->id);
    timer_del(&a->wait);
    free(a);
}

static void on_close(struct http_req *rq)
{
    ask_free(rq->user);
}

static struct http_req *end(struct ask *a)
{
    struct http_req *rq = a->rq;
    rq->on_close = NULL;
    rq->user = NULL;
    a->id = 0;
    ask_free(a);
    return rq;
}

static void look(struct ask *a);

static void on_wait(struct timer *t)
{
    look(container_of(t, struct ask, wait));
}

/* The newest look that is old enough to be compared with; NULL: none. */
static const struct node_stats *base_of(const struct usage *u, int64_t now)
{
    const struct sample *both[] = {&u->recent, &u->old};
    for (size_t i = 0; i < ARRAY_LEN(both); i++) {
        int64_t age = now - both[i]->s.at;
        bool last = i + 1 == ARRAY_LEN(both) || !both[i + 1]->pool || now - both[i + 1]->s.at > STALE;
        if (both[i]->pool && age <= STALE && (age >= FRESH || (last && age >= LEAST)))
            return &both[i]->s;
    }
    return NULL;
}

static void keep(struct usage *u, struct sample *x)
{
    if (u->recent.pool && x->s.at - u->recent.s.at < FRESH && u->old.pool && x->s.at - u->old.s.at <= STALE) {
        sample_clear(x); /* what stands serves the next request as well */
        return;
    }
    sample_clear(&u->old);
    u->old = u->recent;
    u->recent = *x;
    *x = (struct sample){0};
}

static void on_stats(void *arg, struct wire_msg *m)
{
    struct ask *a = arg;
    struct gate *g = a->gate;
    struct sample x = {.pool = pool_new()};
    a->id = 0;
    if (!m || m->type != NODE_STATS_DATA || wire_decode(&node_stats_type, pool_str(x.pool, m->body), x.pool, &x.s, NULL) < 0) {
        pool_free(x.pool);
        serve_fail(end(a), 503, "the node process gives no statistics now");
        return;
    }
    if (!g->usage)
        g->usage = xcalloc(1, sizeof *g->usage);
    const struct node_stats *base = base_of(g->usage, x.s.at);
    if (base)
        answer(g, end(a), base, &x.s);
    else if (a->looks > 3)
        serve_fail(end(a), 503, "the clock does not move");
    else
        timer_in(g->loop, &a->wait, LEAST + LEAST / 20, on_wait);
    keep(g->usage, &x);
}

static void look(struct ask *a)
{
    struct node_empty none = {0};
    a->looks++;
    uint64_t id = gate_ask(a->gate, NODE_STATS, &node_empty_type, &none, on_stats, a);
    if (id)
        a->id = id;
}

void serve_usage(struct gate *g, struct http_req *rq)
{
    struct ask *a = xcalloc(1, sizeof *a);
    *a = (struct ask){.gate = g, .rq = rq};
    rq->user = a;
    rq->on_close = on_close;
    look(a);
}
