#include <stdlib.h>

#include "schema/structural.h"

/* Custom resources on their way in: what their schema does not know is removed and noted, nulls that it does not allow go, defaults come.
 * (apiextensions' pruning and defaulting packages say in which order.) */

static bool is_meta(struct str name)
{
    return str_eqz(name, "apiVersion") || str_eqz(name, "kind") || str_eqz(name, "metadata");
}

/* Nulls that are neither allowed nor replaced by a default are dropped. */
static void drop_nulls(const struct cr_node *n, struct json *v)
{
    json_for (v, x) {
        const struct cr_node *child = NULL;
        if (n && v->type == JSON_OBJ && !(child = cr_member(n, json_key(x))))
            child = n->additional;
        else if (n && v->type == JSON_ARR)
            child = n->items;
        if (v->type == JSON_OBJ && x->type == JSON_NULL && child && !(child->flags & CR_NULLABLE) && !child->dflt)
            json_remove(v, x);
        else if (x->type == JSON_OBJ || x->type == JSON_ARR)
            drop_nulls(child, x);
    }
}

struct prune {
    const struct schema_resource *r;
    struct pool *p;
    struct schema_notes *notes;
    struct err **e;
    int rc;
};

static void embedded(struct prune *w, struct json *v, const struct fpath *at)
{
    struct json *m = json_get(v, STR("metadata"));
    struct fpath here = FPATH(at, "metadata");
    if (!m)
        return;
    if (m->type == JSON_NULL) {
        json_remove(v, m);
        return;
    }
    if (w->rc == 0)
        w->rc = schema_decode_part(w->r, cr_meta(), w->p, m, &here, w->notes, w->e);
}

/* n NULL: nothing is known here. */
static void prune(struct prune *w, const struct cr_node *n, struct json *v, const struct fpath *at)
{
    bool keep = n && n->flags & CR_PRESERVE;
    size_t i = 0;
    if (v->type == JSON_ARR) {
        json_for (v, x) {
            struct fpath here = fpath_at(at, i++);
            if ((x->type == JSON_OBJ || x->type == JSON_ARR) && !(keep && !n->items))
                prune(w, n ? n->items : NULL, x, &here);
        }
        return;
    }
    if (n && n->flags & CR_EMBEDDED)
        embedded(w, v, at);
    json_for (v, x) {
        struct str key = json_key(x);
        const struct cr_node *child = cr_member(n, key);
        struct fpath here = fpath_name(at, key);
        if (n && n->flags & CR_EMBEDDED && is_meta(key))
            continue;
        if (child || (n && n->flags & CR_ADDITIONAL)) {
            if (x->type == JSON_OBJ || x->type == JSON_ARR)
                prune(w, child ? child : n->additional, x, &here);
        } else if (!keep) {
            schema_note(w->p, w->notes, &here);
            json_remove(v, x);
        }
    }
}

int cr_decode(const struct schema_resource *r, const struct schema_type *t, struct pool *p, struct json *doc, struct schema_notes *notes,
    struct err **e)
{
    const struct cr_node *n = cr_root(t);
    struct prune w = {.r = r, .p = p, .notes = notes, .e = e};
    drop_nulls(n, doc);
    prune(&w, n, doc, NULL);
    return w.rc;
}

static void replace_null(const struct cr_node *n, struct pool *p, struct json *v)
{
    if (v->type == JSON_NULL && n && n->dflt && !(n->flags & CR_NULLABLE))
        json_replace(v, json_clone(p, n->dflt));
}

void cr_default(const struct cr_node *n, struct pool *p, struct json *v)
{
    if (!n)
        return;
    if (v->type == JSON_ARR) {
        json_for (v, x) {
            replace_null(n->items, p, x);
            cr_default(n->items, p, x);
        }
        return;
    }
    if (v->type != JSON_OBJ)
        return;
    for (uint16_t i = 0; i < n->nprops; i++) {
        const struct cr_node *c = n->props[i].node;
        struct json *have = c->dflt ? json_get(v, n->props[i].name) : NULL;
        if (c->dflt && (!have || (have->type == JSON_NULL && !(c->flags & CR_NULLABLE))))
            json_set(p, v, n->props[i].name, json_clone(p, c->dflt));
    }
    json_for (v, x) {
        const struct cr_node *c = cr_member(n, json_key(x));
        if (!c && n->flags & CR_ADDITIONAL) {
            c = n->additional;
            replace_null(c, p, x);
        }
        cr_default(c, p, x);
    }
}

/* ---- order ---- */

static int cmp_member(const void *a, const void *b)
{
    return str_cmp(json_key(*(struct json *const *)a), json_key(*(struct json *const *)b));
}

static void sort_members(struct pool *p, struct json *v)
{
    json_for (v, x)
        if (x->type == JSON_OBJ || x->type == JSON_ARR)
            sort_members(p, x);
    if (v->type != JSON_OBJ || v->n < 2)
        return;
    bool sorted = true;
    for (struct json *m = v->first; m->next && sorted; m = m->next)
        sorted = str_cmp(json_key(m), json_key(m->next)) <= 0;
    if (sorted)
        return;
    struct json **all = pool_array(p, struct json *, v->n);
    size_t n = 0;
    json_for (v, x)
        all[n++] = x;
    qsort(all, n, sizeof *all, cmp_member);
    for (size_t i = 0; i < n; i++)
        all[i]->next = i + 1 < n ? all[i + 1] : NULL;
    v->first = all[0];
    v->last = all[n - 1];
}

void cr_sort(const struct schema_type *t, struct pool *p, struct json *doc)
{
    (void)t;
    json_for (doc, x)
        if (!str_eqz(json_key(x), "metadata") && (x->type == JSON_OBJ || x->type == JSON_ARR))
            sort_members(p, x);
    struct json *m = json_get(doc, STR("metadata"));
    if (json_is(m, JSON_OBJ))
        schema_fill_zero(cr_meta(), p, m);
}
