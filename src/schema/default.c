#include <stdlib.h>

#include "schema/structural.h"

/* Defaults and Go's zero values: both fill what is absent, walking a type beside a document. */

static struct json *parse_default(struct pool *p, struct str text)
{
    struct json *v;
    return json_parse(p, text, NULL, &v, NULL) == 0 ? v : NULL;
}

static void default_items(const struct schema_field *f, struct pool *p, struct json *v)
{
    const struct schema_field *item = f->elem ? f->elem : f;
    if (f->elem && (item->kind == SCH_ARRAY || item->kind == SCH_MAP)) {
        json_for (v, x)
            default_items(item, p, x);
    } else if (item->ref) {
        json_for (v, x)
            if (x->type == JSON_OBJ)
                schema_default(item->ref, p, x);
    }
}

static bool absent(const struct schema_field *f, const struct json *v)
{
    return !v || (v->type == JSON_NULL && !(f->flags & SCH_NULLABLE)) ||
           (v->type == JSON_STR && v->n == 0 && !(f->flags & SCH_POINTER) && f->kind == SCH_STRING) ||
           (v->type == JSON_INT && v->i == 0 && !(f->flags & SCH_POINTER) && (f->kind == SCH_INT32 || f->kind == SCH_INT64));
}

void schema_default(const struct schema_type *t, struct pool *p, struct json *doc)
{
    if (t->cr) {
        cr_default(cr_root(t), p, doc);
        return;
    }
    for (uint16_t i = 0; i < t->nfields; i++) {
        const struct schema_field *f = &t->fields[i];
        if (!f->dflt.p && !f->ref && !f->elem)
            continue;
        struct json *v = json_get(doc, f->name);
        if (f->dflt.p && absent(f, v)) {
            struct json *d = parse_default(p, f->dflt);
            v = d ? json_set(p, doc, f->name, d) : NULL;
        }
        if (f->kind == SCH_OBJECT && f->ref) {
            if (json_is(v, JSON_OBJ)) {
                schema_default(f->ref, p, v);
            } else if (!v && !(f->flags & SCH_POINTER)) { /* a struct by value is always there */
                struct json *made = json_obj(p);
                schema_default(f->ref, p, made);
                if (made->n)
                    json_set(p, doc, f->name, made);
            }
        } else if (json_is(v, JSON_ARR) || json_is(v, JSON_OBJ)) {
            default_items(f, p, v);
        }
    }
}

/* The zero value that Go writes for an absent field; NULL: none. */
static struct json *zero_value(const struct schema_field *f, struct pool *p)
{
    bool always = !(f->flags & SCH_OMITEMPTY);
    if (f->flags & SCH_POINTER)
        return always ? json_null(p) : NULL;
    switch (f->kind) {
    case SCH_OBJECT:
        return f->ref ? json_obj(p) : NULL;
    case SCH_TIME:
    case SCH_MICRO_TIME:
        return json_null(p);
    case SCH_DURATION:
        return json_str_view(p, STR("0s"));
    case SCH_QUANTITY:
        return json_str_view(p, STR("0"));
    case SCH_INT_OR_STRING:
        return json_int(p, 0);
    case SCH_ANY:
        return always || f->flags & SCH_EMBEDDED ? json_null(p) : NULL;
    case SCH_ARRAY:
    case SCH_MAP:
    case SCH_BYTES:
        return always ? json_null(p) : NULL;
    case SCH_STRING:
        return always ? json_str_view(p, STR("")) : NULL;
    case SCH_BOOL:
        return always ? json_bool(p, false) : NULL;
    case SCH_INT32:
    case SCH_INT64:
    case SCH_DOUBLE:
        return always ? json_int(p, 0) : NULL;
    default:
        return NULL;
    }
}

static int cmp_member(const void *a, const void *b)
{
    return str_cmp(json_key(*(struct json *const *)a), json_key(*(struct json *const *)b));
}

static void relink(struct json *parent, struct json **all, size_t n)
{
    parent->first = n ? all[0] : NULL;
    parent->last = n ? all[n - 1] : NULL;
    parent->n = (uint32_t)n;
    for (size_t i = 0; i < n; i++)
        all[i]->next = i + 1 < n ? all[i + 1] : NULL;
}

/* Go writes maps by key. */
static void sort_map(struct pool *p, struct json *map)
{
    bool sorted = true;
    for (struct json *m = map->first; m && m->next && sorted; m = m->next)
        sorted = str_cmp(json_key(m), json_key(m->next)) <= 0;
    if (sorted)
        return;
    struct json **all = pool_array(p, struct json *, map->n);
    size_t n = 0;
    json_for (map, m)
        all[n++] = m;
    qsort(all, n, sizeof(struct json *), cmp_member);
    relink(map, all, n);
}

static void zero_items(const struct schema_field *f, struct pool *p, struct json *v)
{
    const struct schema_field *item = f->elem ? f->elem : f;
    if (f->kind == SCH_MAP && v->type == JSON_OBJ)
        sort_map(p, v);
    if (f->elem && (item->kind == SCH_ARRAY || item->kind == SCH_MAP)) {
        json_for (v, x)
            if (x->type == JSON_ARR || x->type == JSON_OBJ)
                zero_items(item, p, x);
    } else if (item->ref) {
        json_for (v, x)
            if (x->type == JSON_OBJ)
                schema_fill_zero(item->ref, p, x);
    }
}

void schema_fill_zero(const struct schema_type *t, struct pool *p, struct json *doc)
{
    if (t->cr) {
        cr_sort(t, p, doc);
        return;
    }
    struct json **all = pool_array(p, struct json *, (size_t)t->nfields + doc->n + 1), *extra = NULL, **tail = &extra;
    json_for (doc, m) {
        const struct schema_field *f = schema_field(t, json_key(m));
        if (f && !all[f - t->fields]) {
            all[f - t->fields] = m;
        } else { /* kept unknown fields stay behind the known ones */
            *tail = m;
            tail = &m->next;
        }
    }
    *tail = NULL;
    size_t n = 0;
    for (uint16_t i = 0; i < t->nfields; i++) {
        const struct schema_field *f = &t->fields[i];
        struct json *v = all[i];
        if (!v && (v = zero_value(f, p))) {
            v->keyp = f->name.p;
            v->keyn = (uint32_t)f->name.n;
        }
        if (!v)
            continue;
        all[n++] = v;
        if (f->kind == SCH_OBJECT && f->ref && v->type == JSON_OBJ)
            schema_fill_zero(f->ref, p, v);
        else if ((f->kind == SCH_ARRAY || f->kind == SCH_MAP) && (v->type == JSON_ARR || v->type == JSON_OBJ))
            zero_items(f, p, v);
    }
    for (struct json *m = extra; m; m = m->next)
        all[n++] = m;
    relink(doc, all, n);
}
