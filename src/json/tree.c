/* Making trees and changing them. */
#include "json/json.h"
#include "json/index.h"

static struct json *node(struct pool *p, enum json_type type)
{
    struct json *j = pool_new_of(p, struct json);
    j->type = (uint8_t)type;
    return j;
}

struct json *json_null(struct pool *p)
{
    return node(p, JSON_NULL);
}
struct json *json_arr(struct pool *p)
{
    return node(p, JSON_ARR);
}
struct json *json_obj(struct pool *p)
{
    return node(p, JSON_OBJ);
}

struct json *json_bool(struct pool *p, bool v)
{
    struct json *j = node(p, JSON_BOOL);
    j->b = v;
    return j;
}

struct json *json_int(struct pool *p, int64_t v)
{
    struct json *j = node(p, JSON_INT);
    j->i = v;
    return j;
}

struct json *json_double(struct pool *p, double v)
{
    struct json *j = node(p, JSON_DOUBLE);
    j->d = v;
    return j;
}

struct json *json_str_view(struct pool *p, struct str s)
{
    struct json *j = node(p, JSON_STR);
    j->sp = s.p ? s.p : "";
    j->n = (uint32_t)s.n;
    return j;
}

struct json *json_str(struct pool *p, struct str s)
{
    return json_str_view(p, pool_str(p, s));
}

/* Where obj holds the member: the pointer that points to it, and the sibling before it. */
static struct json **place_of(struct json *obj, struct str key, struct json **before)
{
    *before = NULL;
    for (struct json **at = &obj->first; *at; at = &(*at)->next) {
        if (index_key_is(*at, key))
            return at;
        *before = *at;
    }
    return NULL;
}

/* *at leaves the list; before is its elder sibling. */
static void unlink_at(struct json *parent, struct json **at, struct json *before)
{
    struct json *j = *at;
    *at = j->next;
    if (parent->last == j)
        parent->last = before;
    parent->n--;
    j->next = NULL;
}

static void link_last(struct json *parent, struct json *j)
{
    j->next = NULL;
    if (parent->last)
        parent->last->next = j;
    else
        parent->first = j;
    parent->last = j;
    parent->n++;
}

struct json *json_set(struct pool *p, struct json *obj, struct str key, struct json *value)
{
    struct json *before, **at = place_of(obj, key, &before);
    if (at) {
        struct json *old = *at;
        if (old == value)
            return value;
        value->keyp = old->keyp;
        value->keyn = old->keyn;
        value->next = old->next;
        *at = value;
        if (obj->last == old)
            obj->last = value;
        old->next = NULL;
        return value;
    }
    struct str own = pool_str(p, key.p ? key : STR(""));
    value->keyp = own.p;
    value->keyn = (uint32_t)own.n;
    link_last(obj, value);
    return value;
}

struct json *json_set_str(struct pool *p, struct json *obj, struct str key, struct str value)
{
    return json_set(p, obj, key, json_str(p, value));
}

struct json *json_set_int(struct pool *p, struct json *obj, struct str key, int64_t value)
{
    return json_set(p, obj, key, json_int(p, value));
}

struct json *json_set_bool(struct pool *p, struct json *obj, struct str key, bool value)
{
    return json_set(p, obj, key, json_bool(p, value));
}

static struct json *put(struct pool *p, struct json *obj, struct str key, enum json_type type)
{
    struct json *m = json_get(obj, key);
    return json_is(m, type) ? m : json_set(p, obj, key, node(p, type));
}

struct json *json_put_obj(struct pool *p, struct json *obj, struct str key)
{
    return put(p, obj, key, JSON_OBJ);
}
struct json *json_put_arr(struct pool *p, struct json *obj, struct str key)
{
    return put(p, obj, key, JSON_ARR);
}

struct json *json_append(struct json *arr, struct json *value)
{
    value->keyp = NULL;
    value->keyn = 0;
    link_last(arr, value);
    return value;
}

struct json *json_insert(struct json *arr, size_t at, struct json *value)
{
    if (at >= arr->n)
        return json_append(arr, value);
    struct json **place = &arr->first;
    while (at-- > 0)
        place = &(*place)->next;
    value->keyp = NULL;
    value->keyn = 0;
    value->next = *place;
    *place = value;
    arr->n++;
    return value;
}

bool json_del(struct json *obj, struct str key)
{
    struct json *before, **at = json_is(obj, JSON_OBJ) ? place_of(obj, key, &before) : NULL;
    if (at)
        unlink_at(obj, at, before);
    return at != NULL;
}

bool json_remove(struct json *parent, struct json *child)
{
    struct json *before = NULL;
    if (!json_is(parent, JSON_ARR) && !json_is(parent, JSON_OBJ))
        return false;
    for (struct json **at = &parent->first; *at; at = &(*at)->next) {
        if (*at == child) {
            unlink_at(parent, at, before);
            return true;
        }
        before = *at;
    }
    return false;
}

void json_replace(struct json *old, const struct json *with)
{
    struct json keep = *old;
    if (old == with)
        return;
    *old = *with;
    old->next = keep.next;
    old->keyp = keep.keyp;
    old->keyn = keep.keyn;
}

struct json *json_clone(struct pool *p, const struct json *j)
{
    if (!j)
        return NULL;
    struct json *c = pool_alloc(p, sizeof *c);
    *c = *j;
    c->next = NULL;
    if (j->keyp)
        c->keyp = pool_str(p, json_key(j)).p;
    if (j->type == JSON_STR) {
        c->sp = pool_str(p, str_make(j->sp, j->n)).p;
    } else if (j->type == JSON_ARR || j->type == JSON_OBJ) {
        c->first = c->last = NULL;
        c->n = 0;
        for (const struct json *m = j->first; m; m = m->next)
            link_last(c, json_clone(p, m));
    }
    return c;
}
