/* Objects: made once from a tree or from stored bytes, in one allocation; see struct thing. */
#include "store/store.h"
#include <stdatomic.h>
#include "store/inner.h"

#define LABELS_MAX 10000
#define OWNERS_MAX 1000
#define NAME_LEN_MAX 1024

struct obj *obj_ref(const struct obj *o)
{
    struct obj *w = (struct obj *)(uintptr_t)o;
    if (w)
        atomic_fetch_add_explicit(&w->refs, 1, memory_order_relaxed);
    return w;
}

void obj_unref(const struct obj *o)
{
    struct obj *w = (struct obj *)(uintptr_t)o;
    if (w && atomic_fetch_sub_explicit(&w->refs, 1, memory_order_acq_rel) == 1)
        free(thing_of(w));
}

int obj_parse(const struct obj *o, struct pool *p, struct json **tree, struct err **e)
{
    struct json_limits limits = {.bytes = OBJ_MAX + 64, .view = true};
    int rc = json_parse(p, o->json, &limits, tree, e);
    return WRAP(rc, e, "stored object %s \"%.*s\"", o->res->name, STR_ARG(o->name));
}

static void unref_void(void *o)
{
    obj_unref(o);
}

void pool_hold_obj(struct pool *p, const struct obj *o)
{
    if (o)
        pool_on_free(p, unref_void, (void *)(uintptr_t)o);
}

struct str obj_label(const struct obj *o, struct str key)
{
    uint32_t lo = 0, hi = o->nlabels;
    while (lo < hi) {
        uint32_t mid = (lo + hi) / 2;
        int c = str_cmp(key, o->labels[mid].key);
        if (c == 0)
            return o->labels[mid].value;
        if (c < 0)
            hi = mid;
        else
            lo = mid + 1;
    }
    return STR_NULL;
}

const struct obj_owner *obj_controller(const struct obj *o)
{
    for (uint32_t i = 0; i < o->nowners; i++)
        if (o->owners[i].controller)
            return &o->owners[i];
    return NULL;
}

/* ---- order ---- */

static int cmp_parts(const struct tkey *k, const struct tkey *i, int from)
{
    int c = 0;
    int depth = k->depth + from;
    if (from <= 0 && depth >= 1 && (c = str_cmp(k->index, i->index)))
        return c;
    if (from <= 1 && depth >= 2 && (c = str_cmp(k->key, i->key)))
        return c;
    if (from <= 2 && depth >= 3 && k->res != i->res)
        return k->res->at < i->res->at ? -1 : 1;
    if (depth >= 4 && (c = str_cmp(k->ns, i->ns)))
        return c;
    if (depth >= 5 && (c = str_cmp(k->name, i->name)))
        return c;
    return k->edge;
}

static void obj_key_of(const void *item, struct tkey *k)
{
    const struct obj *o = item;
    *k = (struct tkey){.ns = o->ns, .name = o->name, .depth = 2};
}

static int obj_cmp(const struct tkey *k, const void *item)
{
    const struct obj *o = item;
    struct tkey i = {.ns = o->ns, .name = o->name};
    return cmp_parts(k, &i, 3);
}

static void obj_ref_item(const void *item)
{
    obj_ref(item);
}

static void obj_unref_item(const void *item)
{
    obj_unref(item);
}

static void entry_key_of(const void *item, struct tkey *k)
{
    const struct entry *x = item;
    const struct obj *o = &x->t->o;
    *k = (struct tkey){.res = o->res, .ns = o->ns, .name = o->name, .depth = 5};
    if (x->what == ENTRY_KEY) {
        k->index = o->keys[x->at].index;
        k->key = o->keys[x->at].key;
    } else if (x->what == ENTRY_OWNER) {
        k->index = STR("owner");
        k->key = o->owners[x->at].uid;
    } else {
        k->key = (struct str){x->t->age, sizeof x->t->age};
    }
}

static int entry_cmp(const struct tkey *k, const void *item)
{
    struct tkey i;
    entry_key_of(item, &i);
    return cmp_parts(k, &i, 0);
}

static void entry_ref(const void *item)
{
    obj_ref(&((const struct entry *)item)->t->o);
}

static void entry_unref(const void *item)
{
    obj_unref(&((const struct entry *)item)->t->o);
}

const struct tree_type obj_tree = {obj_cmp, obj_key_of, obj_ref_item, obj_unref_item};
const struct tree_type entry_tree = {entry_cmp, entry_key_of, entry_ref, entry_unref};

/* ---- making ---- */

struct parts { /* what an object is made of; pointers anywhere */
    struct obj h;
    size_t rv_at, rv_n;
};

static struct str place(char **at, struct str s)
{
    if (!s.p)
        return STR_NULL;
    char *p = *at;
    if (s.n)
        memcpy(p, s.p, s.n);
    p[s.n] = 0;
    *at += s.n + 1;
    return (struct str){p, s.n};
}

static size_t parts_text(const struct obj *h)
{
    size_t n = h->ns.n + h->name.n + h->uid.n + 3;
    for (uint32_t i = 0; i < h->nlabels; i++)
        n += h->labels[i].key.n + h->labels[i].value.n + 2;
    for (uint32_t i = 0; i < h->nowners; i++)
        n += h->owners[i].uid.n + h->owners[i].kind.n + h->owners[i].name.n + h->owners[i].api_version.n + 4;
    for (uint32_t i = 0; i < h->nkeys; i++)
        n += h->keys[i].index.n + h->keys[i].key.n + 2;
    return n;
}

#define ROUND(n) (((n) + 15) & ~(size_t)15)

static struct thing *build(const struct parts *x)
{
    const struct obj *h = &x->h;
    uint32_t nentries = h->nkeys + (h->res->aged ? 1 : 0), all = nentries + h->nowners;
    size_t labels = ROUND(sizeof(struct thing)), owners = labels + h->nlabels * sizeof *h->labels;
    size_t keys = owners + h->nowners * sizeof *h->owners, entries = keys + h->nkeys * sizeof *h->keys;
    size_t view = ROUND(entries + all * sizeof(struct entry)), text = view + h->nview;
    size_t size = text + parts_text(h) + h->json.n + 3; /* the revision may turn out one or two digits longer */
    char *block = xmalloc(size), *at = block + text;
    struct thing *t = (struct thing *)(void *)block;
    memset(t, 0, sizeof *t);
    t->o = *h;
    atomic_init(&t->o.refs, 1);
    t->cost = size;
    struct obj_label *l = (struct obj_label *)(void *)(block + labels);
    for (uint32_t i = 0; i < h->nlabels; i++)
        l[i] = (struct obj_label){place(&at, h->labels[i].key), place(&at, h->labels[i].value)};
    struct obj_owner *w = (struct obj_owner *)(void *)(block + owners);
    for (uint32_t i = 0; i < h->nowners; i++) {
        const struct obj_owner *f = &h->owners[i];
        w[i] = (struct obj_owner){
            place(&at, f->uid), place(&at, f->kind), place(&at, f->name), place(&at, f->api_version), f->controller, f->block};
    }
    struct obj_key *k = (struct obj_key *)(void *)(block + keys);
    struct entry *en = (struct entry *)(void *)(block + entries);
    for (uint32_t i = 0; i < h->nkeys; i++) {
        k[i] = (struct obj_key){place(&at, h->keys[i].index), place(&at, h->keys[i].key)};
        en[i] = (struct entry){t, ENTRY_KEY, i};
    }
    if (h->res->aged)
        en[h->nkeys] = (struct entry){t, ENTRY_AGE, 0};
    for (uint32_t i = 0; i < h->nowners; i++)
        en[nentries + i] = (struct entry){t, ENTRY_OWNER, i};
    if (h->nview)
        memcpy(block + view, h->view, h->nview);
    t->o.labels = l;
    t->o.owners = w;
    t->o.keys = k;
    t->o.view = h->nview ? block + view : NULL;
    t->o.ns = place(&at, h->ns.p ? h->ns : STR(""));
    t->o.name = place(&at, h->name);
    t->o.uid = place(&at, h->uid.p ? h->uid : STR(""));
    t->o.json = place(&at, h->json);
    t->entries = en;
    t->nentries = nentries;
    t->rv_at = (uint32_t)x->rv_at;
    t->rv_n = (uint32_t)x->rv_n;
    return t;
}

static size_t digits_of(int64_t v, char out[24])
{
    char tmp[24];
    size_t n = 0;
    do
        tmp[n++] = (char)('0' + v % 10);
    while (v /= 10);
    for (size_t i = 0; i < n; i++)
        out[i] = tmp[n - 1 - i];
    return n;
}

static void set_age(struct thing *t, int64_t rev)
{
    for (int i = 0; i < 8; i++)
        t->age[i] = (char)((uint64_t)rev >> (56 - 8 * i));
}

void thing_stamp(struct thing *t, int64_t rev)
{
    char d[24];
    size_t n = digits_of(rev, d);
    char *json = (char *)(uintptr_t)t->o.json.p;
    if (n != t->rv_n) { /* the guess was off by a digit: shift the tail (build left room for two) */
        memmove(json + t->rv_at + n, json + t->rv_at + t->rv_n, t->o.json.n - t->rv_at - t->rv_n + 1);
        t->o.json.n += n - t->rv_n;
        t->rv_n = (uint32_t)n;
    }
    memcpy(json + t->rv_at, d, n);
    t->o.rev = rev;
    set_age(t, rev);
}

bool thing_same(const struct thing *a, const struct thing *b)
{
    struct str x = a->o.json, y = b->o.json;
    size_t xt = a->rv_at + a->rv_n, yt = b->rv_at + b->rv_n;
    return a->rv_at == b->rv_at && x.n - xt == y.n - yt && memcmp(x.p, y.p, a->rv_at) == 0 && memcmp(x.p + xt, y.p + yt, x.n - xt) == 0;
}

struct thing *thing_at(const struct obj *o, int64_t rev)
{
    const struct thing *old = thing_of(o);
    char d[24];
    size_t n = digits_of(rev, d);
    struct buf json = BUF_INIT;
    buf_add(&json, o->json.p, old->rv_at);
    buf_add(&json, d, n);
    buf_add(&json, o->json.p + old->rv_at + old->rv_n, o->json.n - old->rv_at - old->rv_n);
    struct parts x = {.h = *o, .rv_at = old->rv_at, .rv_n = n};
    x.h.json = buf_str(&json);
    x.h.rev = rev;
    struct thing *t = build(&x);
    t->id = old->id;
    set_age(t, rev);
    buf_clear(&json);
    return t;
}

static int by_label(const void *a, const void *b)
{
    return str_cmp(((const struct obj_label *)a)->key, ((const struct obj_label *)b)->key);
}

static int read_labels(struct pool *p, const struct json *meta, struct obj *h, struct err **e)
{
    const struct json *labels = json_get(meta, STR("labels"));
    if (!json_is(labels, JSON_OBJ) || !labels->n)
        return 0;
    if (labels->n > LABELS_MAX)
        return err_set(e, ERR_LIMIT, "metadata.labels: more than %d", LABELS_MAX);
    struct obj_label *l = pool_array(p, struct obj_label, labels->n);
    uint32_t n = 0;
    json_for (labels, it) {
        if (!json_is(it, JSON_STR))
            return err_set(e, ERR_INVALID, "metadata.labels[%.*s]: must be a string", (int)MIN(it->keyn, 100u), it->keyp);
        l[n++] = (struct obj_label){json_key(it), json_as_str(it)};
    }
    qsort(l, n, sizeof *l, by_label);
    h->labels = l;
    h->nlabels = n;
    return 0;
}

static int read_owners(struct pool *p, const struct json *meta, struct obj *h, struct err **e)
{
    const struct json *owners = json_get(meta, STR("ownerReferences"));
    if (!json_is(owners, JSON_ARR) || !owners->n)
        return 0;
    if (owners->n > OWNERS_MAX)
        return err_set(e, ERR_LIMIT, "metadata.ownerReferences: more than %d", OWNERS_MAX);
    struct obj_owner *w = pool_array(p, struct obj_owner, owners->n);
    uint32_t n = 0;
    json_for (owners, it)
        w[n++] = (struct obj_owner){json_get_str(it, "uid"), json_get_str(it, "kind"), json_get_str(it, "name"),
            json_get_str(it, "apiVersion"), json_get_bool(it, "controller", false), json_get_bool(it, "blockOwnerDeletion", false)};
    h->owners = w;
    h->nowners = n;
    return 0;
}

static int read_header(struct store_res *r, struct pool *p, const struct json *tree, struct obj *h, struct err **e)
{
    const struct json *meta = json_get(tree, STR("metadata"));
    if (!json_is(meta, JSON_OBJ))
        return err_set(e, ERR_INVALID, "metadata: an object needs it");
    *h =
        (struct obj){.res = r, .ns = json_get_str(meta, "namespace"), .name = json_get_str(meta, "name"), .uid = json_get_str(meta, "uid")};
    if (!h->name.n || h->name.n > NAME_LEN_MAX)
        return err_set(e, ERR_INVALID, "metadata.name: must have 1 to %d bytes", NAME_LEN_MAX);
    if (r->namespaced != (h->ns.n > 0))
        return err_set(
            e, ERR_INVALID, "metadata.namespace: %s", r->namespaced ? "must be set" : "must not be set on a cluster-scoped object");
    if (h->ns.n > NAME_LEN_MAX)
        return err_set(e, ERR_INVALID, "metadata.namespace: more than %d bytes", NAME_LEN_MAX);
    h->generation = json_get_int(meta, "generation", 0);
    (void)!time_parse(json_get_str(meta, "creationTimestamp"), &h->created);
    struct str deleted = json_get_str(meta, "deletionTimestamp");
    if (deleted.n && !time_parse(deleted, &h->deleted))
        return err_set(e, ERR_INVALID, "metadata.deletionTimestamp: not a time");
    h->finalizers = json_count(json_get(meta, STR("finalizers"))) > 0;
    int rc = read_labels(p, meta, h, e);
    if (rc < 0 || (rc = read_owners(p, meta, h, e)) < 0)
        return rc;
    struct obj_desc d = {0};
    if (r->describe)
        r->describe(r->describe_arg, p, tree, &d);
    h->view = d.view;
    h->nview = (uint32_t)d.nview;
    h->keys = d.keys;
    h->nkeys = (uint32_t)d.nkeys;
    return 0;
}

/* Writes metadata with room for the digits; resourceVersion always stands behind uid (or at the end without one), so that equal contents
 * give equal bytes. */
static void write_meta(struct buf *b, const struct json *meta, size_t rv_n, size_t *rv_at)
{
    bool first = true, done = false;
    const struct json *uid = json_get(meta, STR("uid"));
    buf_putc(b, '{');
    for (const struct json *it = meta->first;; it = it->next) {
        if (it && !str_eqz(json_key(it), "resourceVersion")) {
            if (!first)
                buf_putc(b, ',');
            first = false;
            json_write_str(b, json_key(it));
            buf_putc(b, ':');
            json_write(b, it);
        }
        if (!done && (it == uid || !it)) {
            buf_puts(b, first ? "\"resourceVersion\":\"" : ",\"resourceVersion\":\"");
            first = false;
            *rv_at = b->n;
            for (size_t i = 0; i < rv_n; i++)
                buf_putc(b, '0');
            buf_putc(b, '"');
            done = true;
        }
        if (!it)
            break;
    }
    buf_putc(b, '}');
}

int thing_draft(struct store_res *r, struct pool *p, const struct json *tree, int64_t guess_rev, struct thing **out, struct err **e)
{
    struct parts x = {0};
    int rc = read_header(r, p, tree, &x.h, e);
    if (rc < 0)
        return rc;
    char d[24];
    x.rv_n = digits_of(guess_rev, d);
    struct buf b = BUF_INIT;
    buf_putc(&b, '{');
    json_for (tree, it) {
        if (it != tree->first)
            buf_putc(&b, ',');
        json_write_str(&b, json_key(it));
        buf_putc(&b, ':');
        if (str_eqz(json_key(it), "metadata"))
            write_meta(&b, it, x.rv_n, &x.rv_at);
        else
            json_write(&b, it);
    }
    buf_putc(&b, '}');
    if (b.n > OBJ_MAX) {
        buf_clear(&b);
        return err_set(e, ERR_TOO_LARGE, "the object has %zu bytes, more than the limit of %u", b.n, OBJ_MAX);
    }
    x.h.json = buf_str(&b);
    *out = build(&x);
    buf_clear(&b);
    return 0;
}

int thing_load(struct store_res *r, struct pool *p, struct str json, int64_t rev, struct thing **out, struct err **e)
{
    struct json_limits limits = {.bytes = OBJ_MAX + 64, .view = true};
    struct json *tree;
    struct parts x = {0};
    int rc = json_parse(p, json, &limits, &tree, e);
    if (rc < 0 || (rc = read_header(r, p, tree, &x.h, e)) < 0)
        return rc;
    struct str rv = json_str_at(tree, "metadata", "resourceVersion", NULL);
    char d[24];
    if (!rev && (!str_to_i64(rv, &rev) || rev <= 0))
        return err_set(e, ERR_INTERNAL, "metadata.resourceVersion: not a revision");
    size_t n = digits_of(rev, d);
    if (!str_eq(rv, (struct str){d, n}) || rv.p < json.p || rv.p >= json.p + json.n)
        return err_set(e, ERR_INTERNAL, "metadata.resourceVersion is not that of its row");
    x.h.json = json;
    x.h.rev = rev;
    x.rv_at = (size_t)(rv.p - json.p);
    x.rv_n = n;
    *out = build(&x);
    set_age(*out, rev);
    return 0;
}
