/* RFC 7386. */
#include "json/json.h"
#include "json/index.h"

/* The type of a member that the patch deletes, until they are swept out together: one walk, however many there are. */
#define GONE 0xff

static struct json *merged(struct pool *p, struct json *target, const struct json *patch);

static void sweep(struct json *obj)
{
    struct json **at = &obj->first;
    obj->last = NULL;
    obj->n = 0;
    for (struct json *m = obj->first; m; m = m->next)
        if (m->type != GONE) {
            *at = obj->last = m;
            at = &m->next;
            obj->n++;
        }
    *at = NULL;
}

/* Returns whether a member was marked GONE. */
static bool merge_member(struct pool *p, struct json *target, struct index *x, const struct json *m)
{
    struct json *old = index_or_walk(x, target, json_key(m));
    if (m->type == JSON_NULL) {
        if (old)
            old->type = GONE;
        return old != NULL;
    }
    struct json *value = merged(p, old, m);
    if (value == old)
        return false;
    if (old) { /* in place, so that an index over the target stays true */
        json_replace(old, value);
        return false;
    }
    struct str key = pool_str(p, json_key(m));
    json_append(target, value);
    value->keyp = key.p;
    value->keyn = (uint32_t)key.n;
    if (x->slots)
        index_put(x, value);
    return false;
}

static struct json *merged(struct pool *p, struct json *target, const struct json *patch)
{
    struct index x = INDEX_NONE;
    bool gone = false;
    if (patch->type != JSON_OBJ) {
        struct json *c = json_clone(p, patch);
        c->keyp = NULL;
        c->keyn = 0;
        return c;
    }
    if (!json_is(target, JSON_OBJ))
        target = json_obj(p);
    if (patch->n > INDEX_WORTH && target->n + patch->n > INDEX_WORTH * 4)
        index_build(&x, target, patch->n);
    for (const struct json *m = patch->first; m; m = m->next)
        gone |= merge_member(p, target, &x, m);
    index_clear(&x);
    if (gone)
        sweep(target);
    return target;
}

void json_merge_patch(struct pool *p, struct json **target, const struct json *patch)
{
    *target = merged(p, *target, patch);
}
