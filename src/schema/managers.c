#include "schema/managers.h"

#include <stdlib.h>

enum { MAX_UPDATERS = 10 };

static bool is_apply(const struct manager *m)
{
    return str_eqz(m->operation, "Apply");
}

struct manager *managers_add(struct pool *p, struct managers *m, struct manager one)
{
    if (m->n == m->cap) {
        size_t grown = m->cap ? m->cap * 2 : 8;
        m->items = pool_grow(p, m->items, m->cap * sizeof(*m->items), grown * sizeof(*m->items));
        m->cap = grown;
    }
    m->items[m->n] = one;
    return &m->items[m->n++];
}

int managers_parse(struct pool *p, const struct json *list, struct managers *out, struct err **e)
{
    struct managers m = {0};
    json_for (list, x) {
        struct manager one = {json_get_str(x, "manager"), json_get_str(x, "operation"), json_get_str(x, "apiVersion"),
            json_get_str(x, "subresource"), json_get_str(x, "time"), NULL};
        if (x->type != JSON_OBJ || (!str_eqz(one.operation, "Apply") && !str_eqz(one.operation, "Update")) ||
            !str_eqz(json_get_str(x, "fieldsType"), "FieldsV1") || !one.api_version.n)
            return err_set(e, ERR_BAD_REQUEST, "metadata.managedFields has a malformed entry");
        int rc = fieldset_parse(p, json_get(x, STR("fieldsV1")), &one.set, e);
        if (rc < 0)
            return rc;
        struct manager *same = managers_find(&m, &one);
        if (same)
            same->set = fieldset_union(p, same->set, one.set);
        else
            managers_add(p, &m, one);
    }
    *out = m;
    return 0;
}

struct manager *managers_find(struct managers *m, const struct manager *like)
{
    for (size_t i = 0; i < m->n; i++) {
        struct manager *x = &m->items[i];
        if (str_eq(x->name, like->name) && str_eq(x->operation, like->operation) && str_eq(x->sub, like->sub) &&
            (is_apply(x) || str_eq(x->api_version, like->api_version)))
            return x;
    }
    return NULL;
}

void managers_drop_empty(struct managers *m)
{
    size_t n = 0;
    for (size_t i = 0; i < m->n; i++)
        if (!fieldset_empty(m->items[i].set))
            m->items[n++] = m->items[i];
    m->n = n;
}

static int cmp(const void *a, const void *b)
{
    const struct manager *x = a, *y = b;
    int c = str_cmp(x->operation, y->operation);
    if (c == 0)
        c = str_cmp(x->time, y->time); /* one form, UTC: text order is time order */
    if (c == 0)
        c = str_cmp(x->name, y->name);
    if (c == 0)
        c = str_cmp(x->api_version, y->api_version);
    return c ? c : str_cmp(x->sub, y->sub);
}

struct json *managers_json(struct pool *p, struct managers *m)
{
    struct json *list = json_arr(p);
    if (m->n)
        qsort(m->items, m->n, sizeof(*m->items), cmp);
    for (size_t i = 0; i < m->n; i++) {
        const struct manager *x = &m->items[i];
        struct json *o = json_append(list, json_obj(p));
        if (x->name.n)
            json_set_str(p, o, STR("manager"), x->name);
        json_set_str(p, o, STR("operation"), x->operation);
        json_set_str(p, o, STR("apiVersion"), x->api_version);
        if (x->time.n)
            json_set_str(p, o, STR("time"), x->time);
        json_set_str(p, o, STR("fieldsType"), STR("FieldsV1"));
        json_set(p, o, STR("fieldsV1"), fieldset_json(p, x->set));
        if (x->sub.n)
            json_set_str(p, o, STR("subresource"), x->sub);
    }
    return list;
}

void managers_cap(struct pool *p, struct managers *m)
{
    size_t updaters = 0;
    for (size_t i = 0; i < m->n; i++)
        updaters += !is_apply(&m->items[i]);
    if (updaters <= MAX_UPDATERS)
        return;
    qsort(m->items, m->n, sizeof(*m->items), cmp); /* Apply first, then Update by age */
    size_t first = 0;
    while (first < m->n && is_apply(&m->items[first]))
        first++;
    size_t surplus = updaters - MAX_UPDATERS + 1;
    struct manager bucket = {
        STR("ancient-changes"), STR("Update"), m->items[first].api_version, STR(""), m->items[first + surplus - 1].time, NULL};
    for (size_t i = first; i < first + surplus; i++)
        bucket.set = fieldset_union(p, bucket.set, m->items[i].set);
    memmove(m->items + first, m->items + first + surplus, (m->n - first - surplus) * sizeof(*m->items));
    m->n -= surplus;
    managers_add(p, m, bucket);
}
