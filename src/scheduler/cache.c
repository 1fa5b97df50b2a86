#include "scheduler/cache.h"
#include <stdlib.h>
#include "schema/quantity.h"

/* What a pod that asks for nothing is taken to need when nodes are ranked (kube-scheduler's DefaultMilliCPURequest and
 * DefaultMemoryRequest). */
#define FLOOR_CPU 100
#define FLOOR_MEMORY (INT64_C(200) << 20)

bool pod_finished(const struct obj *o)
{
    const struct pod_view *v = pod_view_of(o);
    return v && (v->phase == POD_SUCCEEDED || v->phase == POD_FAILED);
}

struct str node_label(const struct node_info *n, struct str key)
{
    return n->o ? obj_label(n->o, key) : STR_NULL;
}

/* ---- resources ---- */

static bool is_extended(struct str name)
{
    return str_chr(name, '/') >= 0 || str_starts(name, STR("hugepages-"));
}

static void add_amount(struct pool *p, struct resources *r, struct str name, int64_t n, bool largest)
{
    for (size_t i = 0; i < r->nmore; i++)
        if (str_eq(r->more[i].name, name)) {
            r->more[i].n = largest ? MAX(r->more[i].n, n) : r->more[i].n + n;
            return;
        }
    r->more = pool_grow(p, r->more, r->nmore * sizeof *r->more, (r->nmore + 1) * sizeof *r->more);
    r->more[r->nmore++] = (struct amount){pool_str(p, name), n};
}

static int64_t whole(const struct json *j)
{
    struct quantity q;
    if (json_is(j, JSON_INT))
        return j->i;
    return quantity_parse(json_as_str(j), &q, NULL) == 0 ? quantity_value(q) : 0;
}

static int64_t milli(const struct json *j)
{
    struct quantity q;
    if (json_is(j, JSON_INT))
        return j->i * 1000;
    return quantity_parse(json_as_str(j), &q, NULL) == 0 ? quantity_milli(q) : 0;
}

static void add_extended(struct pool *p, struct resources *out, const struct json *containers, bool largest)
{
    json_for ((struct json *)(uintptr_t)containers, c)
        json_for (json_path(c, "resources", "requests", NULL), r)
            if (is_extended(json_key(r)))
                add_amount(p, out, json_key(r), whole(r), largest);
}

void resources_of(struct pool *p, const struct obj *o, const struct json *tree, struct resources *out)
{
    const struct pod_view *v = pod_view_of(o);
    *out = (struct resources){0};
    if (v)
        *out = (struct resources){.cpu_milli = v->cpu_milli, .memory = v->memory, .storage = v->storage};
    if (!tree)
        return;
    add_extended(p, out, json_path(tree, "spec", "containers", NULL), false);
    add_extended(p, out, json_path(tree, "spec", "initContainers", NULL), true);
}

int64_t resources_more(const struct resources *r, struct str name)
{
    for (size_t i = 0; i < r->nmore; i++)
        if (str_eq(r->more[i].name, name))
            return r->more[i].n;
    return 0;
}

/* ---- nodes ---- */

void cache_init(struct cache *c)
{
    *c = (struct cache){0};
    list_init(&c->with_terms);
}

static struct node_info *node_of(struct cache *c, struct str name)
{
    struct node_info *n = map_get(&c->nodes, name);
    if (n)
        return n;
    n = xcalloc(1, sizeof *n);
    n->name = str_of(str_dup(name));
    list_init(&n->pods);
    map_put(&c->nodes, name, n);
    return n;
}

static void count_images(struct cache *c, struct node_info *n, intptr_t by)
{
    for (size_t i = 0; i < n->nimages; i++) {
        intptr_t count = (intptr_t)map_get(&c->image_nodes, n->images[i].name);
        count = (count ? count : 1) + by;
        if (count > 1)
            map_put(&c->image_nodes, n->images[i].name, (void *)count);
        else
            map_del(&c->image_nodes, n->images[i].name);
    }
}

static void forget_object(struct cache *c, struct node_info *n)
{
    if (!n->o)
        return;
    count_images(c, n, -1);
    for (size_t i = 0; i < c->nlist; i++)
        if (c->list[i] == n)
            c->list[i] = c->list[--c->nlist];
    obj_unref(n->o);
    pool_free(n->pool);
    n->o = NULL;
    n->pool = NULL;
    n->tree = NULL;
    n->taints = NULL;
    n->images = NULL;
    n->nimages = 0;
    n->can = (struct resources){0};
    n->can_pods = 0;
}

static void free_if_empty(struct cache *c, struct node_info *n)
{
    if (n->o || !list_empty(&n->pods))
        return;
    map_del(&c->nodes, n->name);
    map_clear(&n->owners, NULL);
    free(n->used.more);
    free((char *)(uintptr_t)n->name.p);
    free(n);
}

static void read_images(struct node_info *n, const struct json *list)
{
    size_t cap = 0;
    json_for ((struct json *)(uintptr_t)list, image)
        cap += json_count(json_get(image, STR("names")));
    n->images = pool_array(n->pool, struct image, cap + 1);
    json_for ((struct json *)(uintptr_t)list, image)
        json_for (json_get(image, STR("names")), name)
            n->images[n->nimages++] = (struct image){json_as_str(name), json_get_int(image, "sizeBytes", 0)};
}

void cache_put_node(struct cache *c, const struct obj *o)
{
    struct node_info *n = node_of(c, o->name);
    forget_object(c, n);
    n->o = obj_ref(o);
    n->pool = pool_new();
    if (obj_parse(o, n->pool, &n->tree, NULL) < 0)
        n->tree = json_obj(n->pool);
    const struct json *spec = json_get(n->tree, STR("spec")), *status = json_get(n->tree, STR("status")),
                      *can = json_get(status, STR("allocatable"));
    n->unschedulable = json_get_bool(spec, "unschedulable", false);
    n->taints = json_get(spec, STR("taints"));
    json_for ((struct json *)(uintptr_t)can, r) {
        if (str_eqz(json_key(r), "cpu"))
            n->can.cpu_milli = milli(r);
        else if (str_eqz(json_key(r), "memory"))
            n->can.memory = whole(r);
        else if (str_eqz(json_key(r), "ephemeral-storage"))
            n->can.storage = whole(r);
        else if (str_eqz(json_key(r), "pods"))
            n->can_pods = whole(r);
        else
            add_amount(n->pool, &n->can, json_key(r), whole(r), false);
    }
    read_images(n, json_get(status, STR("images")));
    count_images(c, n, 1);
    if (c->nlist == c->cap) {
        c->cap = c->cap ? c->cap * 2 : 16;
        c->list = xrealloc(c->list, c->cap * sizeof *c->list);
    }
    c->list[c->nlist++] = n;
}

void cache_drop_node(struct cache *c, struct str name)
{
    struct node_info *n = map_get(&c->nodes, name);
    if (!n)
        return;
    forget_object(c, n);
    free_if_empty(c, n);
}

/* ---- pods ---- */

/* The node's sums of extended resources live outside any pool: pods come and go. */
static void account_more(struct resources *sum, const struct resources *r, int by)
{
    for (size_t i = 0; i < r->nmore; i++) {
        size_t k = 0;
        while (k < sum->nmore && !str_eq(sum->more[k].name, r->more[i].name))
            k++;
        if (k == sum->nmore) {
            sum->more = xrealloc(sum->more, (k + 1) * sizeof *sum->more);
            sum->more[sum->nmore++] = (struct amount){r->more[i].name, 0};
        }
        sum->more[k].n += by * r->more[i].n;
        if (sum->more[k].n == 0)
            sum->more[k] = sum->more[--sum->nmore];
        else
            sum->more[k].name = r->more[i].name;
    }
}

/* Names in the sums are views into pods' pools: after one has left they must point into one that stays. */
static void rename_more(struct node_info *n)
{
    struct pod_info *p;
    for (size_t k = 0; k < n->used.nmore; k++)
        list_for (&n->pods, p, on_node)
            for (size_t i = 0; i < p->req.nmore; i++)
                if (str_eq(p->req.more[i].name, n->used.more[k].name))
                    n->used.more[k].name = p->req.more[i].name;
}

static void account_owner(struct node_info *n, const struct obj *o, intptr_t by)
{
    const struct obj_owner *w = obj_controller(o);
    if (!w)
        return;
    intptr_t count = (intptr_t)map_get(&n->owners, w->uid);
    count = (count ? count : 1) + by;
    if (count > 1)
        map_put(&n->owners, w->uid, (void *)count);
    else
        map_del(&n->owners, w->uid);
}

static void account(struct node_info *n, const struct pod_info *p, int by)
{
    n->used.cpu_milli += by * p->req.cpu_milli;
    n->used.memory += by * p->req.memory;
    n->used.storage += by * p->req.storage;
    n->scored_cpu += by * (p->req.cpu_milli ? p->req.cpu_milli : FLOOR_CPU);
    n->scored_memory += by * (p->req.memory ? p->req.memory : FLOOR_MEMORY);
    n->npods += (size_t)by;
    account_more(&n->used, &p->req, by);
    account_owner(n, p->o, by);
}

void cache_lift(struct pod_info *p)
{
    account(p->node, p, -1);
    list_remove(&p->on_node);
}

void cache_put_back(struct pod_info *p)
{
    account(p->node, p, 1);
    list_push(&p->node->pods, &p->on_node);
}

struct pod_info *cache_pod(const struct cache *c, struct str uid)
{
    return map_get(&c->pods, uid);
}

void cache_drop_pod(struct cache *c, struct str uid)
{
    struct pod_info *p = map_del(&c->pods, uid);
    if (!p)
        return;
    account(p->node, p, -1);
    list_remove(&p->on_node);
    list_remove(&p->with_terms);
    rename_more(p->node);
    free_if_empty(c, p->node);
    obj_unref(p->o);
    pool_free(p->pool);
    free(p);
}

/* Only pods that mention extended resources or other pods are worth a parse. */
static void read_details(struct cache *c, struct pod_info *p)
{
    static const char *const words[] = {"\"podAffinity\"", "\"podAntiAffinity\"", "hugepages-"};
    bool worth = false;
    struct json *tree;
    for (size_t i = 0; i < ARRAY_LEN(words); i++)
        worth |= str_find(p->o->json, str_of(words[i])) >= 0;
    for (struct str rest = p->o->json; !worth;) { /* "requests":{... "vendor/name": */
        ssize_t at = str_find(rest, STR("\"requests\":{")), end;
        if (at < 0)
            break;
        rest = str_sub(rest, (size_t)at, rest.n);
        end = str_chr(rest, '}');
        worth = end > 0 && str_chr(str_sub(rest, 0, (size_t)end), '/') >= 0;
        rest = str_sub(rest, 1, rest.n);
    }
    if (!worth) {
        resources_of(NULL, p->o, NULL, &p->req);
        return;
    }
    p->pool = pool_new();
    if (obj_parse(p->o, p->pool, &tree, NULL) < 0)
        tree = NULL;
    resources_of(p->pool, p->o, tree, &p->req);
    const struct json *affinity = json_path(tree, "spec", "affinity", NULL);
    if (json_get(affinity, STR("podAffinity")) || json_get(affinity, STR("podAntiAffinity"))) {
        p->affinity = affinity;
        list_push(&c->with_terms, &p->with_terms);
    }
}

void cache_put_pod(struct cache *c, const struct obj *o, struct str node)
{
    const struct pod_view *v = pod_view_of(o);
    struct pod_info *p = xcalloc(1, sizeof *p);
    p->assumed = node.n > 0;
    if (!node.n && v)
        node = pod_view_get(v, v->node);
    p->o = obj_ref(o);
    p->priority = v ? v->priority : 0;
    list_init(&p->with_terms);
    p->node = node_of(c, node);
    list_push(&p->node->pods, &p->on_node); /* before the old one leaves, so that the node stays */
    cache_drop_pod(c, o->uid);
    read_details(c, p);
    account(p->node, p, 1);
    map_put(&c->pods, o->uid, p);
}

void cache_clear(struct cache *c)
{
    for (struct map_entry *it; (it = map_next(&c->pods, NULL));)
        cache_drop_pod(c, ((struct pod_info *)it->value)->o->uid);
    while (c->nlist)
        cache_drop_node(c, c->list[0]->name);
    map_clear(&c->nodes, NULL);
    map_clear(&c->pods, NULL);
    map_clear(&c->image_nodes, NULL);
    free(c->list);
    cache_init(c);
}
