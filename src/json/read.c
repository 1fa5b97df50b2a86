#include "json/json.h"
#include <stdarg.h>
#include "json/index.h"

struct json *json_get(const struct json *obj, struct str key)
{
    if (json_is(obj, JSON_OBJ))
        for (struct json *m = obj->first; m; m = m->next)
            if (index_key_is(m, key))
                return m;
    return NULL;
}

struct json *json_at(const struct json *arr, size_t i)
{
    if (!json_is(arr, JSON_ARR) || i >= arr->n)
        return NULL;
    struct json *m = arr->first;
    while (i-- > 0)
        m = m->next;
    return m;
}

static const struct json *walk(const struct json *j, va_list ap)
{
    for (const char *key; j && (key = va_arg(ap, const char *));)
        j = json_get(j, str_of(key));
    return j;
}

struct json *json_path(const struct json *j, ...)
{
    va_list ap;
    va_start(ap, j);
    j = walk(j, ap);
    va_end(ap);
    return (struct json *)(uintptr_t)j;
}

struct str json_str_at(const struct json *j, ...)
{
    va_list ap;
    va_start(ap, j);
    j = walk(j, ap);
    va_end(ap);
    return json_as_str(j);
}

struct str json_get_str(const struct json *obj, const char *key)
{
    return json_as_str(json_get(obj, str_of(key)));
}
int64_t json_get_int(const struct json *obj, const char *key, int64_t absent)
{
    return json_as_int(json_get(obj, str_of(key)), absent);
}
bool json_get_bool(const struct json *obj, const char *key, bool absent)
{
    return json_as_bool(json_get(obj, str_of(key)), absent);
}

/* Members usually stand in the same order on both sides: the cursor into b follows along, and only a miss is looked up. */
static bool equal_objects(const struct json *a, const struct json *b)
{
    struct index x = INDEX_NONE;
    const struct json *cursor = b->first;
    bool same = true;
    for (const struct json *m = a->first; m && same; m = m->next) {
        const struct json *o = cursor;
        if (!o || !index_key_is(o, json_key(m))) {
            if (!x.slots && b->n > INDEX_WORTH)
                index_build(&x, b, 0);
            o = index_or_walk(&x, b, json_key(m));
        }
        same = o && json_equal(m, o);
        cursor = o ? o->next : NULL;
    }
    index_clear(&x);
    return same;
}

bool json_equal(const struct json *a, const struct json *b)
{
    if (!a || !b || a->type != b->type)
        return a == b;
    switch (a->type) {
    case JSON_BOOL:
        return a->b == b->b;
    case JSON_INT:
        return a->i == b->i;
    case JSON_DOUBLE:
        return a->d == b->d;
    case JSON_STR:
        return str_eq(json_as_str(a), json_as_str(b));
    case JSON_OBJ:
        return a->n == b->n && equal_objects(a, b);
    case JSON_ARR:
        if (a->n != b->n)
            return false;
        for (const struct json *m = a->first, *o = b->first; m; m = m->next, o = o->next)
            if (!json_equal(m, o))
                return false;
        return true;
    default:
        return true;
    }
}

const char *json_type_name(enum json_type t)
{
    static const char *const names[] = {"null", "bool", "number", "number", "string", "array", "object"};
    return (size_t)t < ARRAY_LEN(names) ? names[t] : "unknown";
}
