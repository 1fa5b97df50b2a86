#include "kit.h"

static void describe_pod(void *arg, struct pool *p, const struct json *tree, struct obj_desc *out)
{
    struct str node = json_str_at(tree, "spec", "nodeName", NULL);
    struct kit_pod *v = pool_new_of(p, struct kit_pod);
    v->node_len = (uint32_t)MIN(node.n, sizeof v->node);
    if (node.n)
        memcpy(v->node, node.p, v->node_len);
    out->view = v;
    out->nview = sizeof *v;
    if (!node.n)
        return;
    struct obj_key *k = pool_array(p, struct obj_key, 1);
    k[0] = (struct obj_key){STR("node"), node};
    out->keys = k;
    out->nkeys = 1;
}

const struct store_kind kit_kinds[KINDS] = {
    {.name = {"/configmaps", 11}, .namespaced = true},
    {.name = {"/pods", 5}, .namespaced = true, .describe = describe_pod},
    {.name = {"/nodes", 6}},
    {.name = {"/events", 7}, .namespaced = true, .budget_bytes = 64 << 10, .ttl_ns = 3600 * NS_PER_S},
};

struct store *kit_open(const char *path, struct clock *c)
{
    struct store_config cfg = {.path = path, .kinds = kit_kinds, .nkinds = KINDS, .clock = c};
    struct store *s = NULL;
    struct err *e = NULL;
    FINE(store_open(&cfg, &s, &e), e);
    return s;
}

struct json *kit_obj(struct pool *p, const char *ns, const char *name, const char *uid, const char *value)
{
    struct json *o = json_obj(p), *meta = json_put_obj(p, o, STR("metadata"));
    json_set_str(p, meta, STR("name"), str_of(name));
    if (ns && *ns)
        json_set_str(p, meta, STR("namespace"), str_of(ns));
    if (uid)
        json_set_str(p, meta, STR("uid"), str_of(uid));
    json_set_str(p, json_put_obj(p, o, STR("data")), STR("v"), str_of(value));
    return o;
}

int kit_try(struct store *s, const char *res, const char *ns, const char *name, const char *value, unsigned flags, int64_t *rev)
{
    struct store_res *r = store_find(s, str_of(res));
    struct pool *p = pool_new();
    const struct obj *o = NULL;
    struct store_view *v = store_view(s);
    bool there = view_get(v, r, str_of(ns), str_of(name));
    store_view_unref(v);
    char uid[64];
    snprintf(uid, sizeof uid, "uid-%s-%s", ns, name);
    struct json *tree = kit_obj(p, ns, name, uid, value);
    int rc = there ? store_update(s, r, p, tree, 0, flags, &o, NULL) : store_create(s, r, p, tree, flags, &o, NULL);
    if (rc == 0 && rev)
        *rev = o->rev;
    if (rc == 0)
        obj_unref(o);
    pool_free(p);
    return rc;
}

int64_t kit_put(struct store *s, const char *res, const char *ns, const char *name, const char *value)
{
    int64_t rev = 0;
    EQ(kit_try(s, res, ns, name, value, 0, &rev), 0);
    return rev;
}

int kit_delete(struct store *s, const char *res, const char *ns, const char *name)
{
    return store_delete(s, store_find(s, str_of(res)), str_of(ns), str_of(name), STR_NULL, 0, 0, NULL, NULL);
}

bool kit_has(struct store *s, const char *res, const char *ns, const char *name, const char *value)
{
    struct store_view *v = store_view(s);
    struct pool *p = pool_new();
    const struct obj *o = view_get(v, store_find(s, str_of(res)), str_of(ns), str_of(name));
    struct json *tree = NULL;
    bool has = o && obj_parse(o, p, &tree, NULL) == 0 && (!value || str_eqz(json_str_at(tree, "data", "v", NULL), value));
    pool_free(p);
    store_view_unref(v);
    return has;
}

struct wait {
    struct store_wait w;
    bool done;
    int result;
};

static void waited(struct store_wait *w, int result)
{
    struct wait *x = container_of(w, struct wait, w);
    x->done = true;
    x->result = result;
}

int kit_wait(struct store *s, int64_t rev)
{
    struct loop *l = loop_new(NULL);
    struct wait x = {0};
    if (!store_wait(s, rev, &x.w, l, waited))
        while (!x.done)
            loop_step(l, 100);
    loop_free(l);
    return x.result;
}

size_t kit_count(struct store *s, const char *res)
{
    struct store_view *v = store_view(s);
    size_t n = view_count(v, store_find(s, str_of(res)), STR_NULL);
    store_view_unref(v);
    return n;
}
