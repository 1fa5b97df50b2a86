/* Roots: the whole content at one revision, and reading from it. Resources stand on shelves of eight, so that a new root copies a few
 * pointers and not one per resource. */
#include "store/inner.h"

void store_lock(pthread_mutex_t *m)
{
    if (pthread_mutex_lock(m))
        abort();
}

void store_unlock(pthread_mutex_t *m)
{
    if (pthread_mutex_unlock(m))
        abort();
}

static struct shelf *shelf_new(const struct shelf *from)
{
    struct shelf *h = xcalloc(1, sizeof *h);
    atomic_init(&h->refs, 1);
    for (int i = 0; from && i < SHELF; i++) {
        h->r[i] = from->r[i];
        node_ref(h->r[i].objs);
        node_ref(h->r[i].keys);
    }
    return h;
}

static void shelf_unref(struct shelf *h)
{
    if (!h || atomic_fetch_sub_explicit(&h->refs, 1, memory_order_acq_rel) != 1)
        return;
    for (int i = 0; i < SHELF; i++) {
        node_unref(&obj_tree, h->r[i].objs);
        node_unref(&entry_tree, h->r[i].keys);
    }
    free(h);
}

struct store_view *view_new(uint32_t nshelves)
{
    struct store_view *v = xcalloc(1, sizeof *v + nshelves * sizeof v->shelf[0]);
    atomic_init(&v->refs, 1);
    v->nshelves = nshelves;
    return v;
}

struct store_view *store_view_ref(struct store_view *v)
{
    if (v)
        atomic_fetch_add_explicit(&v->refs, 1, memory_order_relaxed);
    return v;
}

void store_view_unref(struct store_view *v)
{
    if (!v || atomic_fetch_sub_explicit(&v->refs, 1, memory_order_acq_rel) != 1)
        return;
    for (uint32_t i = 0; i < v->nshelves; i++)
        shelf_unref(v->shelf[i]);
    node_unref(&entry_tree, v->owners);
    free(v);
}

struct store_view *view_own(struct store_view *v, uint32_t nshelves)
{
    if (v->nshelves >= nshelves && atomic_load_explicit(&v->refs, memory_order_acquire) == 1)
        return v;
    struct store_view *c = view_new(MAX(nshelves, v->nshelves));
    c->rev = v->rev;
    c->epoch = v->epoch;
    c->owners = node_ref(v->owners);
    for (uint32_t i = 0; i < v->nshelves; i++)
        if ((c->shelf[i] = v->shelf[i]))
            atomic_fetch_add_explicit(&v->shelf[i]->refs, 1, memory_order_relaxed);
    store_view_unref(v);
    return c;
}

struct res_root *view_root(struct store_view *v, uint32_t at)
{
    struct shelf **h = &v->shelf[at / SHELF];
    if (!*h) {
        *h = shelf_new(NULL);
    } else if (atomic_load_explicit(&(*h)->refs, memory_order_acquire) != 1) {
        struct shelf *c = shelf_new(*h);
        shelf_unref(*h);
        *h = c;
    }
    return &(*h)->r[at % SHELF];
}

const struct res_root *view_peek(const struct store_view *v, uint32_t at)
{
    return at / SHELF < v->nshelves && v->shelf[at / SHELF] ? &v->shelf[at / SHELF]->r[at % SHELF] : NULL;
}

static bool has_entry(const struct thing *t, uint32_t from, uint32_t to, const struct entry *x)
{
    struct tkey k;
    entry_tree.key(x, &k);
    for (uint32_t i = from; i < to; i++)
        if (entry_tree.cmp(&k, &t->entries[i]) == 0)
            return true;
    return false;
}

/* Takes the entries [0, n) of `old`, or its owners, out of a tree, but for those that t is about to replace. */
static void drop_entries(struct node **root, const struct thing *old, bool owners, const struct thing *t)
{
    uint32_t from = owners ? old->nentries : 0, to = owners ? old->nentries + old->o.nowners : old->nentries;
    for (uint32_t i = from; i < to; i++) {
        const struct entry *x = &old->entries[i];
        if (t && has_entry(t, owners ? t->nentries : 0, owners ? t->nentries + t->o.nowners : t->nentries, x))
            continue;
        struct tkey k;
        entry_tree.key(x, &k);
        *root = tree_del(&entry_tree, *root, &k);
    }
}

void root_put(struct store_view *v, struct store_res *r, struct thing *t, const struct thing *before, bool soft)
{
    struct res_root *x = view_root(v, r->at);
    if (before) {
        drop_entries(&x->keys, before, false, t);
        drop_entries(&v->owners, before, true, t);
        x->bytes -= before->cost;
    }
    for (uint32_t i = 0; i < t->nentries; i++)
        x->keys = tree_put(&entry_tree, x->keys, &t->entries[i]);
    for (uint32_t i = 0; i < t->o.nowners; i++)
        v->owners = tree_put(&entry_tree, v->owners, &t->entries[t->nentries + i]);
    x->objs = tree_put(&obj_tree, x->objs, &t->o);
    x->bytes += t->cost;
    x->any = MAX(x->any, t->o.rev);
    if (!soft)
        x->hard = MAX(x->hard, t->o.rev);
    v->rev = MAX(v->rev, t->o.rev);
}

void root_del(struct store_view *v, struct store_res *r, const struct thing *t, int64_t rev, bool soft)
{
    struct res_root *x = view_root(v, r->at);
    struct tkey k;
    drop_entries(&x->keys, t, false, NULL);
    drop_entries(&v->owners, t, true, NULL);
    x->bytes -= t->cost;
    obj_tree.key(&t->o, &k);
    x->objs = tree_del(&obj_tree, x->objs, &k);
    x->any = rev;
    if (!soft)
        x->hard = rev;
    v->rev = rev;
}

/* ---- reading ---- */

struct store_view *store_root(struct store *s)
{
    store_lock(&s->pub);
    struct store_view *v = store_view_ref(s->root);
    store_unlock(&s->pub);
    return v;
}

struct store_view *store_view(struct store *s)
{
    return store_root(s);
}

int64_t view_rev(const struct store_view *v)
{
    return v->rev;
}

int64_t view_res_rev(const struct store_view *v, const struct store_res *r)
{
    const struct res_root *x = view_peek(v, r->at);
    return x ? x->hard : 0;
}

int64_t view_res_any(const struct store_view *v, const struct store_res *r)
{
    const struct res_root *x = view_peek(v, r->at);
    return x ? x->any : 0;
}

const struct obj *view_get(const struct store_view *v, const struct store_res *r, struct str ns, struct str name)
{
    const struct res_root *x = view_peek(v, r->at);
    struct tkey k = {.ns = ns, .name = name, .depth = 2};
    return x ? tree_get(&obj_tree, x->objs, &k) : NULL;
}

static size_t span(const struct tree_type *t, const struct node *root, struct tkey k)
{
    k.edge = 1;
    size_t to = tree_rank(t, root, &k);
    k.edge = -1;
    return to - tree_rank(t, root, &k);
}

size_t view_count(const struct store_view *v, const struct store_res *r, struct str ns)
{
    const struct res_root *x = view_peek(v, r->at);
    if (!x)
        return 0;
    return ns.n ? span(&obj_tree, x->objs, (struct tkey){.ns = ns, .depth = 1}) : tree_count(x->objs);
}

size_t view_count_after(const struct store_view *v, const struct store_res *r, struct str ns, struct str after_ns, struct str after_name)
{
    const struct res_root *x = view_peek(v, r->at);
    if (!x)
        return 0;
    struct tkey end = {.ns = ns, .depth = 1, .edge = 1}, from = {.ns = after_ns, .name = after_name, .depth = 2, .edge = 1};
    size_t to = ns.n ? tree_rank(&obj_tree, x->objs, &end) : tree_count(x->objs), at = tree_rank(&obj_tree, x->objs, &from);
    return to > at ? to - at : 0;
}

void iter_start(
    struct store_iter *it, const struct store_view *v, const struct store_res *r, struct str ns, struct str after_ns, struct str after_name)
{
    const struct res_root *x = view_peek(v, r->at);
    it->v = v;
    it->r = r;
    it->ns = ns;
    it->at_ns = it->at_name = STR_NULL;
    struct tkey k = {.ns = ns, .depth = ns.n ? 1 : 0, .edge = -1};
    if (after_name.p)
        k = (struct tkey){.ns = after_ns, .name = after_name, .depth = 2, .edge = 1};
    if (after_name.p && ns.n && str_cmp(after_ns, ns) < 0) /* a place before the namespace: from its start */
        k = (struct tkey){.ns = ns, .depth = 1, .edge = -1};
    tree_seek(&obj_tree, x ? x->objs : NULL, &k, it->stack, it->at, &it->depth);
}

const struct obj *iter_next(struct store_iter *it)
{
    const struct obj *o = tree_next(it->stack, it->at, &it->depth);
    if (!o || (it->ns.n && !str_eq(o->ns, it->ns))) {
        it->depth = 0;
        return NULL;
    }
    it->at_ns = o->ns;
    it->at_name = o->name;
    return o;
}

static const struct node *index_tree(const struct store_view *v, const struct store_res *r, struct str index)
{
    if (str_eqz(index, "owner"))
        return v->owners;
    const struct res_root *x = r ? view_peek(v, r->at) : NULL;
    return x ? x->keys : NULL;
}

static struct tkey index_key(const struct store_res *r, struct str index, struct str key)
{
    return (struct tkey){.index = index, .key = key, .res = r, .depth = r ? 3 : 2, .edge = -1};
}

void view_index(const struct store_view *v, const struct store_res *r, struct str index, struct str key,
    bool (*fn)(void *arg, const struct obj *o), void *arg)
{
    struct tree_iter it;
    struct tkey k = index_key(r, index, key);
    tree_seek(&entry_tree, index_tree(v, r, index), &k, it.stack, it.at, &it.depth);
    for (const struct entry *x; (x = tree_next(it.stack, it.at, &it.depth));) {
        k.edge = 0; /* with fewer parts: equal as long as they match */
        if (entry_tree.cmp(&k, x) != 0 || !fn(arg, &x->t->o))
            return;
    }
}

size_t view_index_count(const struct store_view *v, const struct store_res *r, struct str index, struct str key)
{
    return span(&entry_tree, index_tree(v, r, index), index_key(r, index, key));
}
