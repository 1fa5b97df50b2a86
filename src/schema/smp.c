#include <stdlib.h>

#include "base/map.h"
#include "schema/schema.h"

/* Strategic merge patch (apimachinery/pkg/util/strategicpatch). Directives are members whose names begin with "$". */
static const struct str patch_key = {"$patch", 6}, retain_key = {"$retainKeys", 11};
#define DELETE_LIST STR("$deleteFromPrimitiveList/")
#define ORDER_LIST STR("$setElementOrder/")

/* Members are looked up one by one: this keeps a hostile patch from being slow. */
enum { MAX_MEMBERS = 10000 };
struct merge {
    struct pool *pool;
    struct err **e;
};

static int merge_object(struct merge *m, const struct schema_type *t, struct json *doc, const struct json *patch);

static bool is_directive(struct str key)
{
    return str_eq(key, patch_key) || str_eq(key, retain_key) || str_starts(key, DELETE_LIST) || str_starts(key, ORDER_LIST);
}

/* Keys of the source are distinct, so nothing needs to be looked up. */
static void append_member(struct json *obj, const struct json *like, struct json *v)
{
    v->keyp = like->keyp;
    v->keyn = like->keyn;
    v->next = NULL;
    if (obj->last)
        obj->last->next = v;
    else
        obj->first = v;
    obj->last = v;
    obj->n++;
}

/* A copy without directives; NULL when the value is nothing but a directive to delete. */
static struct json *plain(struct merge *m, const struct json *v)
{
    if (v->type == JSON_OBJ) {
        struct json *out = json_obj(m->pool);
        if (str_eqz(json_get_str(v, "$patch"), "delete"))
            return NULL;
        json_for (v, x) {
            struct json *c = is_directive(json_key(x)) || x->type == JSON_NULL ? NULL : plain(m, x);
            if (c)
                append_member(out, x, c);
        }
        return out;
    }
    if (v->type == JSON_ARR) {
        struct json *out = json_arr(m->pool);
        json_for (v, x) {
            struct json *c = json_is(x, JSON_OBJ) && json_get(x, patch_key) ? NULL : plain(m, x);
            if (c)
                json_append(out, c);
        }
        return out;
    }
    return json_clone(m->pool, v);
}

/* What tells list elements apart, as text: the merge key's value, or the primitive itself. */
static struct str identity(struct merge *m, const struct json *x, struct str merge_key)
{
    const struct json *v = merge_key.n ? json_get(x, merge_key) : x;
    return v ? json_to_pool(m->pool, v) : STR_NULL;
}

static int no_merge_key(struct merge *m, const struct json *x, struct str merge_key)
{
    struct str text = json_to_pool(m->pool, x);
    return err_set(
        m->e, ERR_BAD_REQUEST, "map: %.*s does not contain declared merge key: %.*s", (int)MIN(text.n, 200u), text.p, STR_ARG(merge_key));
}

struct place {
    struct json *node;
    size_t at;
}; /* at: order within its part */
static int cmp_place(const void *a, const void *b)
{
    size_t x = ((const struct place *)a)->at, y = ((const struct place *)b)->at;
    return x < y ? -1 : x > y;
}

static void index_list(struct merge *m, struct map *out, const struct json *list, struct str merge_key)
{
    size_t i = 1;
    json_for (list, x) {
        struct str id = identity(m, x, merge_key);
        if (id.p && !map_get(out, id))
            map_put(out, id, (void *)i);
        i++;
    }
}

static size_t place_of(const struct map *index, struct str id)
{
    return id.p ? (size_t)map_get(index, id) : 0;
}

/* Elements that the patch names come in the patch's order, the others in the server's; the two are woven by the server's order. */
static void order_list(
    struct merge *m, struct json *list, const struct json *patch_order, const struct json *server_order, struct str merge_key)
{
    struct map by_patch = {0}, by_server = {0};
    index_list(m, &by_patch, patch_order, merge_key);
    index_list(m, &by_server, server_order, merge_key);
    struct place *named = pool_array(m->pool, struct place, list->n + 1u), *others = pool_array(m->pool, struct place, list->n + 1u);
    size_t nnamed = 0, nothers = 0;
    json_for (list, x) {
        struct str id = identity(m, x, merge_key);
        size_t at = place_of(&by_patch, id);
        if (at)
            named[nnamed++] = (struct place){x, at};
        else
            others[nothers++] = (struct place){x, place_of(&by_server, id)};
    }
    qsort(named, nnamed, sizeof(*named), cmp_place);
    qsort(others, nothers, sizeof(*others), cmp_place);
    struct json *first = NULL, **tail = &first, *last = NULL;
    for (size_t i = 0, k = 0; i < nothers || k < nnamed;) {
        bool take_other = k == nnamed;
        if (i < nothers && k < nnamed) {
            size_t server = place_of(&by_server, identity(m, named[k].node, merge_key));
            take_other = others[i].at && server && others[i].at < server;
        }
        last = take_other ? others[i++].node : named[k++].node;
        *tail = last;
        tail = &last->next;
    }
    *tail = NULL;
    list->first = first;
    list->last = last;
    map_clear(&by_patch, NULL);
    map_clear(&by_server, NULL);
}

/* Takes elements with {"$patch": "delete"} out of the list; *replace: the patch's other elements are the new list. */
static int special_elements(struct merge *m, struct json *list, const struct json *patch, struct str merge_key, bool *replace)
{
    struct map gone = {0};
    int rc = 0;
    json_for (patch, x) {
        const struct json *d = json_get(x, patch_key);
        struct str word = json_as_str(d);
        if (!json_is(x, JSON_OBJ)) {
            rc = err_set(m->e, ERR_BAD_REQUEST, "expected a map, but received a %s", json_type_name(x->type));
        } else if (!d) {
            continue;
        } else if (str_eqz(word, "replace")) {
            *replace = true;
        } else if (str_eqz(word, "delete")) {
            struct str id = identity(m, x, merge_key);
            if (!id.p)
                rc = no_merge_key(m, x, merge_key);
            else
                map_put(&gone, id, (void *)1);
        } else if (str_eqz(word, "merge")) {
            rc = err_set(m->e, ERR_BAD_REQUEST, "merging lists cannot yet be specified in the patch");
        } else {
            rc = err_set(m->e, ERR_BAD_REQUEST, "unknown patch type: %.*s in map", STR_ARG(word));
        }
        if (rc < 0)
            break;
    }
    if (map_count(&gone))
        json_for (list, x) {
            struct str id = identity(m, x, merge_key);
            if (id.p && map_get(&gone, id))
                json_remove(list, x);
        }
    map_clear(&gone, NULL);
    return rc;
}

static int merge_maps(struct merge *m, const struct schema_field *f, struct json *list, const struct json *patch)
{
    struct str key = f->merge_key;
    struct map by_id = {0};
    bool replace = false;
    int rc = special_elements(m, list, patch, key, &replace);
    if (rc < 0)
        return rc;
    if (replace) {
        json_replace(list, plain(m, patch));
        return 0;
    }
    json_for (list, x) {
        struct str id = identity(m, x, key);
        if (id.p)
            map_put(&by_id, id, x);
    }
    json_for (patch, x) {
        if (json_get(x, patch_key))
            continue;
        struct str id = identity(m, x, key);
        if (!id.p) {
            rc = no_merge_key(m, x, key);
            break;
        }
        struct json *have = map_get(&by_id, id);
        if (have && f->ref) {
            rc = merge_object(m, f->ref, have, x);
            if (rc < 0)
                break;
        } else if (have) {
            json_replace(have, plain(m, x));
        } else {
            map_put(&by_id, id, json_append(list, plain(m, x)));
        }
    }
    map_clear(&by_id, NULL);
    return rc;
}

static void merge_primitives(struct merge *m, struct json *list, const struct json *patch)
{
    struct map seen = {0};
    json_for (list, x) {
        struct str id = identity(m, x, STR_NULL);
        if (map_get(&seen, id))
            json_remove(list, x);
        else
            map_put(&seen, id, x);
    }
    json_for (patch, x) {
        struct str id = identity(m, x, STR_NULL);
        if (!map_get(&seen, id))
            map_put(&seen, id, json_append(list, json_clone(m->pool, x)));
    }
    map_clear(&seen, NULL);
}

static int merge_list(struct merge *m, const struct schema_field *f, struct json *doc, const struct json *patch, const struct json *order)
{
    struct json *list = json_get(doc, f->name);
    if (!json_is(list, JSON_ARR))
        list = json_set(m->pool, doc, f->name, json_arr(m->pool));
    struct json *before = json_clone(m->pool, list);
    int rc = 0;
    if (patch && f->merge_key.n)
        rc = merge_maps(m, f, list, patch);
    else if (patch)
        merge_primitives(m, list, patch);
    if (rc < 0)
        return rc;
    if (order || patch)
        order_list(m, list, order ? order : patch, before, f->merge_key);
    return 0;
}

/* Every element of the patch must stand in $setElementOrder. */
static int check_order(struct merge *m, const struct json *patch, const struct json *order, struct str merge_key)
{
    if (!json_is(order, JSON_ARR))
        return err_set(m->e, ERR_BAD_REQUEST, "invalid patch format of setElementOrder list");
    struct map named = {0};
    int rc = 0;
    index_list(m, &named, order, merge_key);
    json_for (patch, x) {
        struct str id = identity(m, x, merge_key);
        if (!json_get(x, patch_key) && (!id.p || !map_get(&named, id)))
            rc = err_set(rc ? NULL : m->e, ERR_BAD_REQUEST, "The order in patch list doesn't match $setElementOrder list");
    }
    map_clear(&named, NULL);
    return rc;
}

static int retain_keys(struct merge *m, struct json *doc, const struct json *patch)
{
    const struct json *keep = json_get(patch, retain_key);
    struct map names = {0};
    int rc = 0;
    if (!keep)
        return 0;
    json_for (keep, k)
        if (k->type == JSON_STR)
            map_put(&names, json_as_str(k), (void *)1);
    json_for (patch, x)
        if (!is_directive(json_key(x)) && x->type != JSON_NULL && !map_get(&names, json_key(x)))
            rc = -ERR_BAD_REQUEST;
    if (keep->type != JSON_ARR || rc < 0)
        rc = err_set(m->e, ERR_BAD_REQUEST, "invalid patch format of retainKeys");
    else
        json_for (doc, x)
            if (!map_get(&names, json_key(x)))
                json_remove(doc, x);
    map_clear(&names, NULL);
    return rc;
}

static int delete_primitives(struct merge *m, struct json *doc, struct str name, const struct json *values)
{
    struct map gone = {0};
    if (values->type != JSON_ARR)
        return err_set(m->e, ERR_BAD_REQUEST, "invalid patch format of primitive list");
    json_for (values, x)
        map_put(&gone, json_to_pool(m->pool, x), (void *)1);
    struct json *list = json_get(doc, name);
    if (json_is(list, JSON_ARR))
        json_for (list, x)
            if (map_get(&gone, json_to_pool(m->pool, x)))
                json_remove(list, x);
    map_clear(&gone, NULL);
    return 0;
}

static int merge_member(struct merge *m, const struct schema_type *t, struct json *doc, const struct json *x, const struct json *patch)
{
    struct json *have = json_get(doc, json_key(x));
    const struct schema_field *f = schema_field(t, json_key(x));
    if (x->type == JSON_NULL) {
        json_del(doc, json_key(x));
        return 0;
    }
    if (x->type == JSON_OBJ && json_is(have, JSON_OBJ) && !(f && f->flags & SCH_PATCH_REPLACE))
        return merge_object(m, f && f->kind == SCH_OBJECT ? f->ref : NULL, have, x);
    if (x->type == JSON_ARR && f && f->kind == SCH_ARRAY && f->flags & SCH_PATCH_MERGE) {
        struct str order_key = pool_printf(m->pool, "$setElementOrder/%.*s", STR_ARG(json_key(x)));
        const struct json *order = json_get(patch, order_key);
        int rc = order ? check_order(m, x, order, f->merge_key) : 0;
        return rc < 0 ? rc : merge_list(m, f, doc, x, order);
    }
    struct json *v = plain(m, x);
    if (v)
        json_set(m->pool, doc, json_key(x), v);
    else
        json_del(doc, json_key(x));
    return 0;
}

static int directive(struct merge *m, const struct schema_type *t, struct json *doc, const struct json *x, const struct json *patch)
{
    struct str key = json_key(x), rest;
    if (str_starts(key, DELETE_LIST)) {
        rest = str_sub(key, DELETE_LIST.n, key.n);
        return delete_primitives(m, doc, rest, x);
    }
    if (!str_starts(key, ORDER_LIST))
        return 0;
    rest = str_sub(key, ORDER_LIST.n, key.n);
    const struct schema_field *f = schema_field(t, rest);
    if (!f || f->kind != SCH_ARRAY || json_get(patch, rest) || !json_is(json_get(doc, rest), JSON_ARR))
        return 0; /* done with the list itself, or there is nothing to order */
    int rc = check_order(m, NULL, x, f->merge_key);
    return rc < 0 ? rc : merge_list(m, f, doc, NULL, x);
}

/* t may be NULL: a map, or something whose type is not known; lists are then replaced. */
static int merge_object(struct merge *m, const struct schema_type *t, struct json *doc, const struct json *patch)
{
    const struct json *how = json_get(patch, patch_key);
    if (how) {
        struct str word = json_as_str(how);
        if (str_eqz(word, "replace")) {
            struct json *v = plain(m, patch);
            json_replace(doc, v ? v : json_obj(m->pool));
            return 0;
        }
        if (str_eqz(word, "delete")) {
            json_replace(doc, json_obj(m->pool));
            return 0;
        }
        return err_set(m->e, ERR_BAD_REQUEST, "unknown patch type: %.*s in map", STR_ARG(word));
    }
    if (patch->n > MAX_MEMBERS)
        return err_set(m->e, ERR_LIMIT, "a patch may change at most %d members of one object", MAX_MEMBERS);
    int rc = retain_keys(m, doc, patch);
    if (rc < 0)
        return rc;
    json_for (patch, x) {
        rc = is_directive(json_key(x)) ? directive(m, t, doc, x, patch) : merge_member(m, t, doc, x, patch);
        if (rc < 0)
            return rc;
    }
    return 0;
}

int schema_strategic_merge(const struct schema_type *t, struct pool *p, struct json *doc, const struct json *patch, struct err **e)
{
    struct merge m = {p, e};
    if (!json_is(patch, JSON_OBJ))
        return err_set(
            e, ERR_BAD_REQUEST, "a strategic merge patch must be an object, not %s", patch ? json_type_name(patch->type) : "nothing");
    return merge_object(&m, t, doc, patch);
}
