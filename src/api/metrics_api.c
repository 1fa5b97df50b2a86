#include "api/impl.h"
#include "kinds/pod.h"

/* metrics.k8s.io/v1beta1: what kubectl top and autoscalers ask for. Nothing is collected in advance: each request asks the gates of the nodes
 * that it is about (/stats/usage), all at once, and waits for five seconds at most; a node that does not answer is left out, as metrics-server leaves
 * it out. The request's loop and a node's loop may be two threads: a part belongs to its node's loop from the post that starts it to the
 * post that brings it back. */

#define LIMIT_NS (5 * NS_PER_S)
#define ANSWER_MAX ((size_t)8 << 20)

struct gather;
struct part {
    struct gather *all;
    struct str node;          /* in all->pool */
    struct loop *loop;
    struct post post;
    struct http_call *call;
    struct timer limit;
    struct buf body;
    int status;
};
struct gather {
    _Atomic int refs;
    struct api *api;
    struct pool *pool;
    struct call *c;           /* of the front's loop; NULL: the client has gone */
    struct loop *front;
    struct part *parts;
    size_t n, left;
};

static void unref(struct gather *g)
{
    if (--g->refs > 0)
        return;
    for (size_t i = 0; i < g->n; i++)
        buf_clear(&g->parts[i].body);
    pool_free(g->pool);
    free(g);
}

/* ---- asking ---- */

static void on_back(struct post *p)
{
    struct part *x = container_of(p, struct part, post);
    struct gather *g = x->all;
    if (--g->left == 0 && g->c)
        call_resume(g->c);
    unref(g);
}

static void bring_back(struct part *x)
{
    timer_del(&x->limit);
    loop_post(x->all->front, &x->post, on_back);
}

static void on_head(void *arg, const struct http_response *r)
{
    ((struct part *)arg)->status = r->status;
}

static void on_data(void *arg, const char *p, size_t n)
{
    struct part *x = arg;
    if (x->body.n + n <= ANSWER_MAX)
        buf_add(&x->body, p, n);
    else
        x->status = 502;
}

static void on_end(void *arg, const struct err *e)
{
    struct part *x = arg;
    x->call = NULL;
    if (e)
        x->status = 502;
    bring_back(x);
}

static void on_limit(struct timer *t)
{
    struct part *x = container_of(t, struct part, limit);
    http_call_cancel(TAKE(x->call));
    x->status = 504;
    bring_back(x);
}

static void start(struct post *p)
{
    static const struct http_call_events events = {on_head, on_data, NULL, on_end};
    struct part *x = container_of(p, struct part, post);
    struct http_request rq = {.method = STR("GET"), .path = STR("/stats/usage"), .timeout_ms = -1};
    struct loop *loop = NULL;
    struct http_client *client = api_node_client(x->all->api, x->node, &loop);
    if (!client || loop != x->loop) { /* it went, or came back elsewhere, between the threads */
        bring_back(x);
        return;
    }
    timer_in(loop, &x->limit, LIMIT_NS, on_limit);
    x->call = http_call(client, &rq, &events, x);
}

static void on_gone(struct call *c)
{
    struct gather *g = c->extra;
    if (g) {
        g->c = NULL;
        c->extra = NULL;
        unref(g);
    }
}

static bool asks(const struct gather *g, struct str node)
{
    for (size_t i = 0; i < g->n; i++)
        if (str_eq(g->parts[i].node, node))
            return true;
    return false;
}

static void add_node(struct gather *g, struct str node)
{
    struct loop *loop = NULL;
    if (str_empty(node) || asks(g, node) || !api_node_client(g->api, node, &loop))
        return;
    g->parts = pool_grow(g->pool, g->parts, g->n * sizeof *g->parts, (g->n + 1) * sizeof *g->parts);
    g->parts[g->n++] = (struct part){.all = g, .node = pool_str(g->pool, node), .loop = loop};
}

static struct gather *gather_new(struct call *c)
{
    struct gather *g = xcalloc(1, sizeof *g);
    g->refs = 1;
    g->api = c->api;
    g->pool = pool_new();
    g->c = c;
    g->front = c->loop;
    c->extra = g;
    c->on_gone = on_gone;
    return g;
}

static int ask(struct gather *g)
{
    g->left = g->n;
    g->refs += (int)g->n;
    for (size_t i = 0; i < g->n; i++)
        loop_post(g->parts[i].loop, &g->parts[i].post, start);
    return CALL_WAIT;
}

/* ---- answering ---- */

static struct json *parsed(struct call *c, struct part *x)
{
    struct json *t = NULL;
    if (x->status != 200 || json_parse(c->pool, pool_str(c->pool, buf_str(&x->body)), NULL, &t, NULL) < 0)
        return NULL;
    return t;
}

static struct json *item(struct call *c, const struct obj *o, const char *kind)
{
    struct pool *p = c->pool;
    struct json *doc = json_obj(p), *meta, *labels;
    char now[TIME_MAX];
    if (kind) {
        json_set_str(p, doc, STR("kind"), str_of(kind));
        json_set_str(p, doc, STR("apiVersion"), STR("metrics.k8s.io/v1beta1"));
    }
    meta = json_put_obj(p, doc, STR("metadata"));
    json_set_str(p, meta, STR("name"), pool_str(p, o->name));
    if (o->ns.n)
        json_set_str(p, meta, STR("namespace"), pool_str(p, o->ns));
    json_set_str(p, meta, STR("creationTimestamp"), pool_str(p, time_format(clock_now(c->api->clock), now)));
    if (o->nlabels) {
        labels = json_put_obj(p, meta, STR("labels"));
        for (uint32_t i = 0; i < o->nlabels; i++)
            json_set_str(p, labels, pool_str(p, o->labels[i].key), pool_str(p, o->labels[i].value));
    }
    return doc;
}

static void put_times(struct pool *p, struct json *doc, const struct json *from)
{
    json_set_str(p, doc, STR("timestamp"), json_get_str(from, "timestamp"));
    json_set_str(p, doc, STR("window"), json_get_str(from, "window"));
}

static struct json *node_item(struct call *c, const struct obj *o, const struct json *from, const char *kind)
{
    struct json *doc = item(c, o, kind);
    put_times(c->pool, doc, from);
    json_set(c->pool, doc, STR("usage"), json_clone(c->pool, json_get(from, STR("usage"))));
    return doc;
}

static struct json *pod_item(struct call *c, const struct obj *o, const struct json *from, const struct json *pod, const char *kind)
{
    struct json *doc = item(c, o, kind);
    put_times(c->pool, doc, from);
    json_set(c->pool, doc, STR("containers"), json_clone(c->pool, json_get(pod, STR("containers"))));
    return doc;
}

/* The nodes' answers, found by a node's name or a pod's uid. */
struct answers { struct map nodes, pods; };
struct pod_answer { const struct json *node, *pod; };

static void index_answers(struct call *c, struct gather *g, struct answers *a)
{
    for (size_t i = 0; i < g->n; i++) {
        struct json *t = parsed(c, &g->parts[i]);
        if (!t)
            continue;
        map_put(&a->nodes, g->parts[i].node, t);
        json_for (json_get(t, STR("pods")), pod) {
            struct pod_answer *x = pool_new_of(c->pool, struct pod_answer);
            *x = (struct pod_answer){t, pod};
            if (json_count(json_get(pod, STR("containers"))))
                map_put(&a->pods, json_get_str(pod, "uid"), x);
        }
    }
}

static void answers_clear(struct answers *a)
{
    map_clear(&a->nodes, NULL);
    map_clear(&a->pods, NULL);
}

static struct json *item_of(struct call *c, const struct answers *a, const struct obj *o, bool pods, bool whole)
{
    const struct pod_answer *x = pods ? map_get(&a->pods, o->uid) : NULL;
    const struct json *node = pods ? NULL : map_get(&a->nodes, o->name);
    if (pods)
        return x ? pod_item(c, o, x->node, x->pod, whole ? "PodMetrics" : NULL) : NULL;
    return node ? node_item(c, o, node, whole ? "NodeMetrics" : NULL) : NULL;
}

static void reply_table(struct call *c, struct json **docs, size_t n)
{
    struct buf b = BUF_INIT;
    table_begin(c, &b, STR_NULL, STR_NULL, -1, true);
    for (size_t i = 0; i < n; i++) {
        if (i)
            buf_putc(&b, ',');
        table_row(c, &b, docs[i], table_include(c));
    }
    buf_puts(&b, "]}\n");
    call_reply_raw(c, 200, "application/json", buf_to_bytes(&b));
}

static void reply_list(struct call *c, struct json **docs, size_t n, bool pods)
{
    struct pool *p = c->pool;
    struct json *list = json_obj(p);
    if (c->accept.shape == SHAPE_TABLE) {
        reply_table(c, docs, n);
        return;
    }
    json_set_str(p, list, STR("kind"), pods ? STR("PodMetricsList") : STR("NodeMetricsList"));
    json_set_str(p, list, STR("apiVersion"), STR("metrics.k8s.io/v1beta1"));
    json_set(p, list, STR("metadata"), json_obj(p));
    struct json *items = json_put_arr(p, list, STR("items"));
    for (size_t i = 0; i < n; i++)
        json_append(items, docs[i]);
    call_reply_tree(c, 200, list);
}

/* ---- the verbs: first run asks, the second, when the answers are here, replies ---- */

static struct store_res *about(struct call *c, bool *pods)
{
    *pods = str_eqz(c->ri.res, "pods");
    return *pods ? c->api->res.pods : c->api->res.nodes;
}

static struct str node_of(const struct obj *o, bool pods)
{
    const struct pod_view *v = o->view;
    if (!pods)
        return o->name;
    return v && o->nview >= sizeof *v ? pod_view_get(v, v->node) : STR_NULL;
}

int metrics_get(struct call *c, struct err **e)
{
    bool pods;
    struct gather *g = c->extra;
    struct store_res *res = about(c, &pods);
    _cleanup_(store_view_unrefp) struct store_view *v = store_view(c->api->store);
    const struct obj *o = view_get(v, res, call_ns(c), c->ri.name);
    if (!o) {
        on_gone(c); /* of answers that came too late */
        return call_not_found(c, c->ri.name, e);
    }
    if (!g) {
        g = gather_new(c);
        add_node(g, node_of(o, pods));
        if (g->n)
            return ask(g);
    }
    struct answers a = {0};
    index_answers(c, g, &a);
    struct json *doc = item_of(c, &a, o, pods, true);
    answers_clear(&a);
    on_gone(c);
    if (!doc)
        return call_not_found(c, c->ri.name, e);
    if (c->accept.shape == SHAPE_TABLE)
        reply_table(c, &doc, 1);
    else
        call_reply_tree(c, 200, doc);
    return 0;
}

int metrics_list(struct call *c, struct err **e)
{
    bool pods;
    struct gather *g = c->extra;
    struct store_res *res = about(c, &pods);
    const struct schema_resource *kind = schema_find(c->schema, STR(""), STR("v1"), pods ? STR("pods") : STR("nodes"));
    _cleanup_(store_view_unrefp) struct store_view *v = store_view(c->api->store);
    struct select sel;
    struct store_iter it;
    const struct obj *o;
    size_t n = 0;
    if (select_parse(c, &sel, e) < 0)
        return -(*e)->code;
    iter_start(&it, v, res, call_ns(c), STR_NULL, STR_NULL);
    if (!g) {
        g = gather_new(c);
        while ((o = iter_next(&it)))
            if (select_match_res(kind, &sel, o))
                add_node(g, node_of(o, pods));
        if (g->n)
            return ask(g);
        iter_start(&it, v, res, call_ns(c), STR_NULL, STR_NULL);
    }
    struct answers a = {0};
    index_answers(c, g, &a);
    struct json **docs = pool_array(c->pool, struct json *, view_count(v, res, call_ns(c)) + 1), *doc;
    while ((o = iter_next(&it)))
        if (select_match_res(kind, &sel, o) && (doc = item_of(c, &a, o, pods, false)))
            docs[n++] = doc;
    answers_clear(&a);
    on_gone(c);
    reply_list(c, docs, n, pods);
    return 0;
}
