/* Reading: walks, pages, counts, indexes, and that a root that is held never changes. */
#include "kit.h"

TEST(an_object_gets_a_revision_in_its_bytes_and_its_tree)
{
    struct store *s = kit_open(NULL, NULL);
    struct pool *p = pool_new();
    struct json *t = kit_obj(p, "a", "x", "u1", "1");
    const struct obj *o = NULL;
    struct err *e = NULL;
    FINE(store_create(s, store_find(s, STR("/configmaps")), p, t, 0, &o, &e), e);
    EQ(o->rev, 1);
    EQ_STR(o->json,
        STR("{\"metadata\":{\"name\":\"x\",\"namespace\":\"a\",\"uid\":\"u1\",\"resourceVersion\":\"1\"},\"data\":{\"v\":\"1\"}}"));
    EQ_STR(json_str_at(t, "metadata", "resourceVersion", NULL), STR("1"));
    obj_unref(o);
    for (int i = 2; i < 120; i++) { /* over two powers of ten */
        char v[16], want[48];
        snprintf(v, sizeof v, "%d", i);
        EQ(kit_put(s, "/configmaps", "a", "x", v), i);
        struct store_view *view = store_view(s);
        o = view_get(view, store_find(s, STR("/configmaps")), STR("a"), STR("x"));
        snprintf(want, sizeof want, "\"resourceVersion\":\"%d\"}", i);
        OK(str_find(o->json, str_of(want)) > 0);
        store_view_unref(view);
    }
    pool_free(p);
    store_close(s);
}

TEST(equal_bytes_change_nothing)
{
    struct store *s = kit_open(NULL, NULL);
    int64_t rev = kit_put(s, "/configmaps", "a", "x", "1");
    EQ(kit_put(s, "/configmaps", "a", "x", "1"), rev);
    EQ(kit_put(s, "/configmaps", "a", "x", "2"), rev + 1);
    store_close(s);
}

TEST(writes_are_refused_with_the_right_code)
{
    struct store *s = kit_open(NULL, NULL);
    struct store_res *r = store_find(s, STR("/configmaps")), *nodes = store_find(s, STR("/nodes"));
    struct pool *p = pool_new();
    int64_t rev = kit_put(s, "/configmaps", "a", "x", "1");
    EQ(store_create(s, r, p, kit_obj(p, "a", "x", NULL, "1"), 0, NULL, NULL), -ERR_EXISTS);
    EQ(store_update(s, r, p, kit_obj(p, "a", "y", NULL, "1"), 0, 0, NULL, NULL), -ERR_NOT_FOUND);
    EQ(store_update(s, r, p, kit_obj(p, "a", "x", NULL, "2"), rev + 5, 0, NULL, NULL), -ERR_CONFLICT);
    EQ(store_create(s, r, p, kit_obj(p, "", "y", NULL, "1"), 0, NULL, NULL), -ERR_INVALID);
    EQ(store_create(s, nodes, p, kit_obj(p, "a", "y", NULL, "1"), 0, NULL, NULL), -ERR_INVALID);
    EQ(store_create(s, r, p, json_obj(p), 0, NULL, NULL), -ERR_INVALID);
    EQ(store_delete(s, r, STR("a"), STR("x"), STR("other"), 0, 0, NULL, NULL), -ERR_CONFLICT);
    EQ(store_delete(s, r, STR("a"), STR("x"), STR_NULL, rev + 1, 0, NULL, NULL), -ERR_CONFLICT);
    const struct obj *o = NULL;
    EQ(store_delete(s, r, STR("a"), STR("x"), STR("uid-a-x"), rev, 0, &o, NULL), 0);
    EQ(o->rev, rev + 1);
    OK(str_find(o->json, STR("\"resourceVersion\":\"2\"")) > 0);
    obj_unref(o);
    EQ(store_delete(s, r, STR("a"), STR("x"), STR_NULL, 0, 0, NULL, NULL), -ERR_NOT_FOUND);
    pool_free(p);
    store_close(s);
}

#define MODEL 600
static int model_cmp(const void *a, const void *b)
{
    return (int)(*(const int *)a - *(const int *)b);
}

static void name_of(int i, char ns[16], char name[16])
{
    snprintf(ns, 16, "n%d", i / 100);
    snprintf(name, 16, "o%02d", i % 100);
}

/* Compares a view with the model: every object and no other, in order; counts; a page from each place. */
static void compare(struct store *s, struct store_view *v, const bool *model)
{
    struct store_res *r = store_find(s, STR("/configmaps"));
    int want[MODEL], n = 0, at = 0;
    for (int i = 0; i < MODEL; i++)
        if (model[i])
            want[n++] = i;
    qsort(want, (size_t)n, sizeof *want, model_cmp);
    struct store_iter it;
    iter_start(&it, v, r, STR_NULL, STR_NULL, STR_NULL);
    for (const struct obj *o; (o = iter_next(&it)); at++) {
        char ns[16], name[16];
        OK(at < n);
        name_of(want[at], ns, name);
        EQ_STR(o->ns, str_of(ns));
        EQ_STR(o->name, str_of(name));
    }
    EQ(at, n);
    EQ(view_count(v, r, STR_NULL), n);
    for (int k = 0; k < 6; k++) {
        char ns[16], name[16];
        name_of(k * 100, ns, name);
        size_t c = 0, behind = 0;
        for (int i = k * 100; i < k * 100 + 100; i++)
            c += model[i];
        EQ(view_count(v, r, str_of(ns)), c);
        name_of(k * 100 + 50, ns, name);
        for (int i = k * 100 + 51; i < k * 100 + 100; i++)
            behind += model[i];
        iter_start(&it, v, r, str_of(ns), str_of(ns), str_of(name));
        c = 0;
        for (const struct obj *o; (o = iter_next(&it)); c++)
            OK(str_cmp(o->name, str_of(name)) > 0);
        EQ(c, behind);
        EQ(view_count_after(v, r, str_of(ns), str_of(ns), str_of(name)), behind);
    }
}

TEST(the_map_agrees_with_a_model_and_old_roots_stay_as_they_were)
{
    struct store *s = kit_open(NULL, NULL);
    bool model[MODEL] = {false}, then[8][MODEL];
    struct store_view *held[8] = {NULL};
    unsigned seed = 1;
    for (int step = 0; step < 20000; step++) {
        int i = (int)(rand_r(&seed) % MODEL);
        char ns[16], name[16], value[16];
        name_of(i, ns, name);
        snprintf(value, sizeof value, "%d", step);
        bool shrink = step / 2500 % 2 && rand_r(&seed) % 3;
        if (rand_r(&seed) % 2 && !shrink) {
            kit_put(s, "/configmaps", ns, name, value);
            model[i] = true;
        } else {
            EQ(kit_delete(s, "/configmaps", ns, name), model[i] ? 0 : -ERR_NOT_FOUND);
            model[i] = false;
        }
        if (step % 97 == 0) {
            int h = step / 97 % 8;
            if (held[h])
                compare(s, held[h], then[h]);
            store_view_unref(held[h]);
            held[h] = store_view(s);
            memcpy(then[h], model, sizeof model);
        }
    }
    struct store_view *v = store_view(s);
    compare(s, v, model);
    store_view_unref(v);
    for (int h = 0; h < 8; h++) {
        compare(s, held[h], then[h]);
        store_view_unref(held[h]);
    }
    store_close(s);
}

static bool collect(void *arg, const struct obj *o)
{
    struct buf *b = arg;
    buf_str_add(b, o->name);
    buf_putc(b, ' ');
    return true;
}

static void put_pod(struct store *s, const char *name, const char *node, const char *owner, const char *label)
{
    struct store_res *r = store_find(s, STR("/pods"));
    struct pool *p = pool_new();
    struct json *o = kit_obj(p, "a", name, name, "");
    struct json *meta = json_get(o, STR("metadata"));
    if (node)
        json_set_str(p, json_put_obj(p, o, STR("spec")), STR("nodeName"), str_of(node));
    if (owner) {
        struct json *w = json_append(json_put_arr(p, meta, STR("ownerReferences")), json_obj(p));
        json_set_str(p, w, STR("uid"), str_of(owner));
        json_set_bool(p, w, STR("controller"), true);
        json_append(json_get(meta, STR("ownerReferences")), json_clone(p, w)); /* twice the same: hostile, but possible */
    }
    if (label) {
        json_set_str(p, json_put_obj(p, meta, STR("labels")), STR("zz"), str_of(label));
        json_set_str(p, json_put_obj(p, meta, STR("labels")), STR("app"), STR("web"));
    }
    struct store_view *v = store_view(s);
    bool there = view_get(v, r, STR("a"), str_of(name));
    store_view_unref(v);
    EQ(there ? store_update(s, r, p, o, 0, 0, NULL, NULL) : store_create(s, r, p, o, 0, NULL, NULL), 0);
    pool_free(p);
}

static void index_is(struct store *s, const char *res, const char *index, const char *key, const char *want, size_t n)
{
    struct store_view *v = store_view(s);
    struct store_res *r = res ? store_find(s, str_of(res)) : NULL;
    struct buf b = BUF_INIT;
    view_index(v, r, str_of(index), str_of(key), collect, &b);
    EQ_STR(buf_str(&b), str_of(want));
    EQ(view_index_count(v, r, str_of(index), str_of(key)), n);
    buf_clear(&b);
    store_view_unref(v);
}

TEST(indexes_follow_their_objects)
{
    struct store *s = kit_open(NULL, NULL);
    put_pod(s, "p1", "n1", "o1", "x");
    put_pod(s, "p2", "n1", "o1", NULL);
    put_pod(s, "p3", "n2", NULL, NULL);
    put_pod(s, "p4", NULL, "o1", NULL);
    index_is(s, "/pods", "node", "n1", "p1 p2 ", 2);
    index_is(s, "/pods", "node", "n2", "p3 ", 1);
    index_is(s, "/pods", "owner", "o1", "p1 p2 p4 ", 3);
    index_is(s, NULL, "owner", "o1", "p1 p2 p4 ", 3);
    index_is(s, "/configmaps", "owner", "o1", "", 0);
    put_pod(s, "p4", "n1", NULL, NULL);
    put_pod(s, "p1", "n2", "o2", NULL);
    index_is(s, "/pods", "node", "n1", "p2 p4 ", 2);
    index_is(s, "/pods", "node", "n2", "p1 p3 ", 2);
    index_is(s, NULL, "owner", "o1", "p2 ", 1);
    index_is(s, NULL, "owner", "o2", "p1 ", 1);
    EQ(kit_delete(s, "/pods", "a", "p2"), 0);
    index_is(s, "/pods", "node", "n1", "p4 ", 1);
    index_is(s, NULL, "owner", "o1", "", 0);
    store_close(s);
}

TEST(the_header_carries_labels_owners_and_the_view)
{
    struct store *s = kit_open(NULL, NULL);
    put_pod(s, "p1", "n1", "o1", "x");
    struct store_view *v = store_view(s);
    const struct obj *o = view_get(v, store_find(s, STR("/pods")), STR("a"), STR("p1"));
    EQ(o->nlabels, 2);
    EQ_STR(obj_label(o, STR("app")), STR("web"));
    EQ_STR(obj_label(o, STR("zz")), STR("x"));
    OK(!obj_label(o, STR("b")).p);
    EQ_STR(obj_controller(o)->uid, STR("o1"));
    const struct kit_pod *pod = o->view;
    EQ(o->nview, sizeof *pod);
    EQ_STR(str_make(pod->node, pod->node_len), STR("n1"));
    store_view_unref(v);
    store_close(s);
}

TEST(events_live_under_a_budget_and_for_an_hour)
{
    struct clock *c = clock_fake(1700000000 * NS_PER_S);
    struct store *s = kit_open(NULL, c);
    char name[16], value[1001];
    memset(value, 'x', 1000);
    value[1000] = 0;
    for (int i = 0; i < 200; i++) {
        snprintf(name, sizeof name, "e%03d", i);
        kit_put(s, "/events", "a", name, value);
    }
    size_t n = kit_count(s, "/events");
    OK(n > 20 && n < 60);
    OK(kit_has(s, "/events", "a", "e199", NULL));
    OK(!kit_has(s, "/events", "a", "e100", NULL));
    clock_fake_add(c, 3599 * NS_PER_S);
    kit_put(s, "/events", "a", "late", "");
    EQ(kit_count(s, "/events"), n + 1);
    clock_fake_add(c, 100 * NS_PER_S);
    kit_put(s, "/configmaps", "a", "x", "1"); /* any write lets the store look after ages */
    EQ(kit_count(s, "/events"), 1);
    store_close(s);
    clock_free(c);
}
