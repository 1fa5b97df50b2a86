#include "schema/typed.h"

#include <stdlib.h>

#include "base/map.h"
#include "schema/structural.h"

enum shape { LEAF, STRUCT, MAP, KEYED, SET };
/* How to look at a value: f is its field or the element description of a list or map; in_item: the value is f's item, not f's own. */
struct view {
    const struct schema_type *type;
    const struct schema_field *f;
    enum shape shape;
    const struct cr_node *cr; /* a custom resource's value: its node stands for type and field */
    bool deduced;             /* nothing is known of it: objects are granular, lists are atomic */
};

static struct view of_type(const struct schema_type *t)
{
    return (struct view){.type = t, .shape = STRUCT, .cr = t->cr ? cr_root(t) : NULL};
}

static const struct view deduced = {.shape = MAP, .deduced = true};

static struct view of_cr(const struct cr_node *n)
{
    struct view v = {.cr = n, .shape = LEAF};
    if (!n || (n->flags & CR_PRESERVE && !n->nprops && !n->items))
        return deduced;
    if (n->kind == CR_OBJECT && !(n->flags & CR_MAP_ATOMIC))
        v.shape = n->nprops || n->flags & (CR_PRESERVE | CR_EMBEDDED) ? STRUCT : MAP;
    else if (n->kind == CR_ARRAY && n->flags & CR_LIST_MAP && n->items)
        v.shape = KEYED;
    else if (n->kind == CR_ARRAY && n->flags & CR_LIST_SET)
        v.shape = SET;
    return v;
}

static struct view cr_member_view(const struct view *v, struct str name)
{
    const struct cr_node *n = cr_member(v->cr, name);
    if (str_eqz(name, "metadata") && v->cr->flags & CR_EMBEDDED)
        return of_type(cr_meta());
    if (n)
        return of_cr(n);
    return v->cr->additional ? of_cr(v->cr->additional) : deduced;
}

static struct view of_field(const struct schema_field *f)
{
    struct view v = {.type = f->ref, .f = f, .shape = LEAF};
    if (f->flags & SCH_LIST_ATOMIC)
        return v;
    if (f->kind == SCH_OBJECT && f->ref && !(f->ref->flags & SCH_LIST_ATOMIC))
        v.shape = STRUCT;
    else if (f->kind == SCH_MAP)
        v.shape = MAP;
    else if (f->kind == SCH_ARRAY && f->flags & SCH_LIST_MAP && f->nmap_keys)
        v.shape = KEYED;
    else if (f->kind == SCH_ARRAY && f->flags & SCH_LIST_SET)
        v.shape = SET;
    return v;
}

static struct view of_item(const struct schema_field *f)
{
    if (f->elem)
        return of_field(f->elem);
    if (f->item == SCH_OBJECT && f->ref && !(f->ref->flags & SCH_LIST_ATOMIC))
        return of_type(f->ref);
    return (struct view){.type = f->ref, .shape = LEAF};
}

static const struct view leaf = {.shape = LEAF};

/* An element of the list that v is, or a value of the map. */
static struct view item_view(const struct view *v)
{
    if (v->deduced)
        return deduced;
    if (v->cr)
        return of_cr(v->shape == MAP ? v->cr->additional : v->cr->items);
    return of_item(v->f);
}

/* The member of a struct: a view of it. Members that the type does not know are leaves. */
static struct view member(const struct view *v, struct str name)
{
    if (v->shape == MAP)
        return item_view(v);
    if (v->cr && v->shape == STRUCT)
        return cr_member_view(v, name);
    const struct schema_field *f = v->shape == STRUCT ? schema_field(v->type, name) : NULL;
    return f ? of_field(f) : leaf;
}

static bool fits(const struct view *v, const struct json *j)
{
    if (!j || j->type == JSON_NULL)
        return true;
    if (v->shape == STRUCT || v->shape == MAP)
        return j->type == JSON_OBJ;
    return (v->shape != KEYED && v->shape != SET) || j->type == JSON_ARR;
}

static struct str field_element(struct pool *p, struct str name)
{
    char *text = pool_alloc(p, name.n + 2);
    memcpy(text, "f:", 2);
    if (name.n)
        memcpy(text + 2, name.p, name.n);
    return str_make(text, name.n + 2);
}

/* The element that names a list's item; absent when a key is missing. Keys with a default may be left out. */
static struct str item_element(struct pool *p, const struct view *view, const struct json *x)
{
    struct buf b = BUF_INIT;
    const struct schema_field *f = view->f;
    const struct cr_node *cr = view->cr;
    if (view->shape == SET) {
        buf_puts(&b, "v:");
        json_write(&b, x);
        return buf_to_pool(&b, p);
    }
    struct str sorted[8];
    const struct str *keys = cr ? cr->keys : f->map_keys;
    uint8_t n = MIN(cr ? cr->nkeys : f->nmap_keys, (uint8_t)ARRAY_LEN(sorted));
    for (uint8_t i = 0; i < n; i++) { /* insertion sort of a handful of names */
        uint8_t k = i;
        for (; k && str_cmp(sorted[k - 1], keys[i]) > 0; k--)
            sorted[k] = sorted[k - 1];
        sorted[k] = keys[i];
    }
    buf_puts(&b, "k:{");
    for (uint8_t i = 0; i < n; i++) {
        const struct json *v = json_get(x, sorted[i]);
        const struct schema_field *kf = cr ? NULL : schema_field(f->ref, sorted[i]);
        const struct cr_node *kn = cr && cr->items ? cr_member(cr->items, sorted[i]) : NULL;
        if (i)
            buf_putc(&b, ',');
        json_write_str(&b, sorted[i]);
        buf_putc(&b, ':');
        if (v && v->type != JSON_NULL) {
            json_write(&b, v);
        } else if (kf && kf->dflt.p) {
            buf_str_add(&b, kf->dflt);
        } else if (kn && kn->dflt) {
            json_write(&b, kn->dflt);
        } else if (n > 1 && kf && kf->kind == SCH_STRING) { /* part of a key that may be left out is empty */
            buf_puts(&b, "\"\"");
        } else {
            buf_clear(&b);
            return STR_NULL;
        }
    }
    buf_putc(&b, '}');
    return buf_to_pool(&b, p);
}

/* --- what a document sets
 * ------------------------------------------------------------------------------------------------------------------------- */

struct walk {
    struct pool *p;
    bool stored;
    struct err **e;
    int rc;
};

static void fields(struct walk *w, struct view v, const struct json *j, struct fieldset *out, bool *is_leaf)
{
    *is_leaf = v.shape == LEAF || !fits(&v, j) || j->type == JSON_NULL;
    if (*is_leaf)
        return;
    json_for (j, x) {
        bool list = j->type == JSON_ARR, x_leaf;
        struct str name = list ? item_element(w->p, &v, x) : field_element(w->p, json_key(x));
        if (w->stored && (!name.p || (list && fieldset_find(out, name))))
            continue;
        if (!name.p) {
            w->rc = err_set(w->rc ? NULL : w->e, ERR_BAD_REQUEST,
                "associative list with keys has an element that omits key field \"%.*s\" (and doesn't have default value)",
                STR_ARG(v.cr ? v.cr->keys[0] : v.f->map_keys[0]));
            return;
        }
        if (list && fieldset_find(out, name)) {
            w->rc = err_set(w->rc ? NULL : w->e, ERR_BAD_REQUEST, "duplicate entries for key [%.*s] in %.*s", (int)(name.n - 2), name.p + 2,
                STR_ARG(v.f ? v.f->name : STR("the list")));
            return;
        }
        struct fieldset *child = pool_new_of(w->p, struct fieldset);
        fields(w, list ? item_view(&v) : member(&v, json_key(x)), x, child, &x_leaf);
        bool emptyish = x->type == JSON_NULL || (x->type == JSON_OBJ && x->n == 0);
        bool is_member = x_leaf || list || emptyish || v.shape == MAP;
        if (!is_member && !child->n)
            continue;
        struct fieldset_item *i = fieldset_item(w->p, out, name);
        i->member = is_member;
        i->child = child->n ? child : NULL;
    }
}

struct fieldset *typed_stored_fields(const struct schema_type *t, struct pool *p, const struct json *doc)
{
    struct walk w = {.p = p, .stored = true};
    struct fieldset *s = pool_new_of(p, struct fieldset);
    bool is_leaf;
    fields(&w, of_type(t), doc, s, &is_leaf);
    return s;
}

int typed_fields(const struct schema_type *t, struct pool *p, const struct json *doc, struct fieldset **out, struct err **e)
{
    struct walk w = {.p = p, .e = e};
    struct fieldset *s = pool_new_of(p, struct fieldset);
    bool is_leaf;
    fields(&w, of_type(t), doc, s, &is_leaf);
    if (w.rc == 0)
        *out = s;
    return w.rc;
}

/* --- how two documents differ
 * --------------------------------------------------------------------------------------------------------------------- */

struct three {
    struct fieldset *added, *modified, *removed;
};

static void mark(struct pool *p, struct fieldset *s, struct str name, bool is_member, struct fieldset *child)
{
    if (!is_member && !(child && child->n))
        return;
    struct fieldset_item *i = fieldset_item(p, s, name);
    i->member |= is_member;
    if (child && child->n)
        i->child = child;
}

static struct three three_new(struct pool *p)
{
    return (struct three){pool_new_of(p, struct fieldset), pool_new_of(p, struct fieldset), pool_new_of(p, struct fieldset)};
}

static void compare_children(struct pool *p, struct view v, const struct json *a, const struct json *b, struct three *out);

/* a or b may be NULL: absent. */
static void compare_one(struct pool *p, struct view v, struct str name, const struct json *a, const struct json *b, struct three *out)
{
    bool descend = v.shape != LEAF && fits(&v, a) && fits(&v, b) && (json_count(a) || json_count(b));
    if (!descend) {
        if (!a)
            mark(p, out->added, name, true, NULL);
        else if (!b)
            mark(p, out->removed, name, true, NULL);
        else if (!json_equal(a, b))
            mark(p, out->modified, name, true, NULL);
        return;
    }
    struct three child = three_new(p);
    compare_children(p, v, a, b, &child);
    mark(p, out->added, name, !a, child.added);
    mark(p, out->modified, name, false, child.modified);
    mark(p, out->removed, name, !b, child.removed);
}

static struct map *index_items(struct pool *p, const struct view *v, const struct json *list, struct map *m)
{
    json_for (list, x) {
        struct str name = item_element(p, v, x);
        if (name.p)
            map_put(m, name, x);
    }
    return m;
}

static void compare_lists(struct pool *p, struct view v, const struct json *a, const struct json *b, struct three *out)
{
    struct map left = {0}, right = {0};
    index_items(p, &v, a, &left);
    index_items(p, &v, b, &right);
    struct view item = item_view(&v);
    map_for (&left, it)
        compare_one(p, item, pool_str(p, map_key(it)), it->value, map_get(&right, map_key(it)), out);
    map_for (&right, it)
        if (!map_get(&left, map_key(it)))
            compare_one(p, item, pool_str(p, map_key(it)), NULL, it->value, out);
    map_clear(&left, NULL);
    map_clear(&right, NULL);
}

static void compare_children(struct pool *p, struct view v, const struct json *a, const struct json *b, struct three *out)
{
    if (v.shape == KEYED || v.shape == SET) {
        compare_lists(p, v, a, b, out);
        return;
    }
    struct map right = {0};
    json_for (b, y)
        map_put(&right, json_key(y), y);
    json_for (a, x) {
        const struct json *y = map_del(&right, json_key(x));
        compare_one(p, member(&v, json_key(x)), field_element(p, json_key(x)), x, y, out);
    }
    map_for (&right, it) {
        const struct json *y = it->value;
        compare_one(p, member(&v, json_key(y)), field_element(p, json_key(y)), NULL, y, out);
    }
    map_clear(&right, NULL);
}

void typed_compare(const struct schema_type *t, struct pool *p, const struct json *old, const struct json *doc, struct typed_diff *out)
{
    struct three r = three_new(p);
    compare_children(p, of_type(t), old, doc, &r);
    *out = (struct typed_diff){r.added, r.modified, r.removed};
}

/* --- merging
 * -------------------------------------------------------------------------------------------------------------------------------------- */

static void append(struct json *parent, const struct json *like, struct json *v)
{
    v->keyp = like->keyp;
    v->keyn = like->keyn;
    v->next = NULL;
    if (parent->last)
        parent->last->next = v;
    else
        parent->first = v;
    parent->last = v;
    parent->n++;
}

static struct json *merge(struct pool *p, struct view v, const struct json *a, const struct json *b);

struct weave {
    struct pool *p;
    struct view v;
    struct map left, right, done;
};

/* The live item that the next shared element of the config, from y on, matches; NULL: none is left. */
static const struct json *next_shared(struct weave *w, const struct json *y)
{
    for (; y; y = y->next) {
        struct str name = item_element(w->p, &w->v, y);
        const struct json *match = name.p && !map_get(&w->done, name) ? map_get(&w->left, name) : NULL;
        if (match)
            return match;
    }
    return NULL;
}

/* Live items that the config does not name, up to `stop`. */
static const struct json *live_items(struct weave *w, const struct json *x, const struct json *stop, struct json *out)
{
    for (; x && x != stop; x = x->next) {
        struct str name = item_element(w->p, &w->v, x);
        if (!name.p || !map_get(&w->right, name))
            append(out, x, json_clone(w->p, x));
    }
    return x;
}

/* The config's order for what it names; live items stay before the shared one that they stood before. */
static struct json *merge_lists(struct pool *p, struct view v, const struct json *a, const struct json *b)
{
    struct json *out = json_arr(p);
    struct weave w = {.p = p, .v = v};
    const struct json *x = a ? a->first : NULL, *stop = NULL;
    bool stale = true;
    index_items(p, &v, a, &w.left);
    index_items(p, &v, b, &w.right);
    json_for (b, y) {
        struct str name = item_element(p, &v, y);
        if (stale)
            stop = next_shared(&w, y);
        stale = false;
        x = live_items(&w, x, stop, out);
        if (name.p && map_put(&w.done, name, (void *)1))
            continue; /* twice in the config: the first one counts */
        const struct json *match = name.p ? map_get(&w.left, name) : NULL;
        append(out, y, merge(p, item_view(&v), match, y));
        stale = match != NULL;
        if (x && x == match)
            x = x->next;
    }
    (void)live_items(&w, x, NULL, out);
    map_clear(&w.left, NULL);
    map_clear(&w.right, NULL);
    map_clear(&w.done, NULL);
    return out;
}

static struct json *merge(struct pool *p, struct view v, const struct json *a, const struct json *b)
{
    if (!b)
        return json_clone(p, a);
    if (v.shape == LEAF || !a || !fits(&v, a) || !fits(&v, b) || a->type == JSON_NULL)
        return json_clone(p, b);
    if (b->type == JSON_NULL)
        return json_clone(p, a);
    if (v.shape == KEYED || v.shape == SET)
        return merge_lists(p, v, a, b);
    struct json *out = json_obj(p);
    struct map right = {0};
    json_for (b, y)
        map_put(&right, json_key(y), y);
    json_for (a, x)
        append(out, x, merge(p, member(&v, json_key(x)), x, map_del(&right, json_key(x))));
    json_for (b, y)
        if (map_get(&right, json_key(y)))
            append(out, y, json_clone(p, y));
    map_clear(&right, NULL);
    return out;
}

struct json *typed_merge(const struct schema_type *t, struct pool *p, const struct json *live, const struct json *config)
{
    return merge(p, of_type(t), live ? live : json_obj(p), config);
}

/* --- taking out
 * ----------------------------------------------------------------------------------------------------------------------------------- */

static void remove_from(struct pool *p, struct view v, struct json *doc, const struct fieldset *what)
{
    if (v.shape == LEAF || !fits(&v, doc) || doc->type == JSON_NULL)
        return;
    bool list = doc->type == JSON_ARR;
    json_for (doc, x) {
        struct str name = list ? item_element(p, &v, x) : field_element(p, json_key(x));
        const struct fieldset_item *i = name.p ? fieldset_find(what, name) : NULL;
        if (!i)
            continue;
        if (i->member) {
            json_remove(doc, x);
            continue;
        }
        bool had = json_count(x) > 0;
        remove_from(p, list ? item_view(&v) : member(&v, json_key(x)), x, i->child);
        if (had && json_count(x) == 0 && !list) /* null, not absent: whoever set an empty struct still has it */
            json_replace(x, json_null(p));
    }
}

void typed_remove(const struct schema_type *t, struct pool *p, struct json *doc, const struct fieldset *what)
{
    remove_from(p, of_type(t), doc, what);
}

static struct fieldset *named(struct pool *p, struct view v, const struct fieldset *s)
{
    struct fieldset *out = pool_new_of(p, struct fieldset);
    for (uint32_t i = 0; s && i < s->n; i++) {
        const struct fieldset_item *it = &s->items[i];
        bool is_field = it->name.n > 2 && it->name.p[0] == 'f';
        struct str name = str_sub(it->name, 2, it->name.n);
        struct fieldset_item *r = fieldset_item(p, out, it->name);
        struct view below = is_field ? member(&v, name) : (v.f || v.cr) && v.shape != LEAF ? item_view(&v) : leaf;
        r->member = it->member || (is_field && v.shape == STRUCT && it->child && it->child->n && (v.cr ? cr_member(v.cr, name) != NULL : schema_field(v.type, name) != NULL));
        if (it->child && it->child->n) {
            struct fieldset *child = named(p, below, it->child);
            out->items[out->n - 1].child = child; /* sorted input: r is the last */
        }
    }
    return out;
}

struct fieldset *typed_named(const struct schema_type *t, struct pool *p, const struct fieldset *s)
{
    return named(p, of_type(t), s);
}
