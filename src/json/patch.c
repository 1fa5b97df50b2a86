/* RFC 6902. The operations run on a copy; the copy takes the target's place when all of them succeeded. */
#include "json/json.h"
#include "json/pointer.h"

enum {
    OPS_MAX = 10000,         /* as kube-apiserver's */
    COPY_MAX = 3 << 20,      /* bytes that "copy" may add in all, as kube-apiserver's */
    DEPTH_MAX = 512,         /* as the parser's: later recursion over the result stays bounded */
    WALK_MAX = 50 * 1000000, /* siblings passed while looking for places */
};

struct patch {
    struct pool *pool;
    struct json *doc;
    size_t walked, copied;
    struct err **e;
};

struct place {
    struct str path;
    struct json *parent; /* NULL: the whole document is meant */
    struct str token;    /* below parent */
    struct json *value;  /* what stands there; NULL when nothing does */
    size_t at;           /* index in an array parent; its count for "-" and behind the end */
    size_t depth;        /* tokens in the path */
};

static size_t depth_of(const struct json *j)
{
    size_t deepest = 0;
    json_for (j, c) {
        size_t d = depth_of(c);
        deepest = MAX(deepest, d);
    }
    return deepest + 1;
}

static size_t size_of(const struct json *j)
{
    size_t n = 8 + j->keyn + (j->type == JSON_STR ? j->n : 0);
    json_for (j, c)
        n += size_of(c);
    return n;
}

static int walk_limit(struct patch *pt)
{
    return pt->walked > WALK_MAX ? err_set(pt->e, ERR_LIMIT, "the patch needs too many steps through the document") : 0;
}

/* One step down: sets place->value and place->at from parent and token. An index that is no index is an error, one out of range finds
 * nothing. */
static int step(struct patch *pt, struct place *pl, const char *op)
{
    size_t at = 0;
    pl->value = NULL;
    pt->walked += json_count(pl->parent);
    if (walk_limit(pt) < 0)
        return -ERR_LIMIT;
    if (json_is(pl->parent, JSON_OBJ)) {
        pl->value = json_get(pl->parent, pl->token);
        return 0;
    }
    if (str_eq(pl->token, STR("-"))) {
        pl->at = json_count(pl->parent);
        return 0;
    }
    if (!pointer_index(pl->token, &at))
        return err_set(pt->e, ERR_INVALID, "%s operation does not apply: \"%.*s\" is no array index in path: %.*s", op, STR_ARG(pl->token),
            STR_ARG(pl->path));
    pl->at = at;
    pl->value = json_at(pl->parent, at);
    return 0;
}

static int find(struct patch *pt, struct str path, const char *op, struct place *pl)
{
    struct str rest = path;
    *pl = (struct place){.path = path, .value = pt->doc};
    while (rest.n) {
        if (!json_is(pl->value, JSON_OBJ) && !json_is(pl->value, JSON_ARR))
            return err_set(
                pt->e, ERR_INVALID, "%s operation does not apply: doc is missing path: \"%.*s\": missing value", op, STR_ARG(path));
        pl->parent = pl->value;
        int r = pointer_token(pt->pool, &rest, path, &pl->token, pt->e);
        if (r == 0)
            r = step(pt, pl, op);
        if (r < 0)
            return r;
        pl->depth++;
    }
    return 0;
}

static int missing(struct patch *pt, const struct place *pl, const char *op)
{
    return err_set(pt->e, ERR_INVALID, "%s operation does not apply: doc is missing key: %.*s: missing value", op, STR_ARG(pl->path));
}

/* Puts value (which stands nowhere) at a place that find() found, as "add" does. */
static int add_at(struct patch *pt, struct place *pl, struct json *value, const char *op)
{
    if (pl->depth + depth_of(value) > DEPTH_MAX)
        return err_set(pt->e, ERR_LIMIT, "%s operation at path \"%.*s\" nests deeper than %d", op, STR_ARG(pl->path), DEPTH_MAX);
    if (!pl->parent) {
        pt->doc = value;
    } else if (pl->parent->type == JSON_OBJ) {
        json_set(pt->pool, pl->parent, pl->token, value);
    } else {
        if (pl->at > pl->parent->n)
            return err_set(pt->e, ERR_INVALID, "%s operation does not apply: Unable to access invalid index: %zu: invalid index referenced",
                op, pl->at);
        json_insert(pl->parent, pl->at, value);
    }
    return 0;
}

static int remove_at(struct patch *pt, struct place *pl, const char *op)
{
    if (!pl->parent) {
        pt->doc = json_null(pt->pool);
        return 0;
    }
    if (!pl->value)
        return missing(pt, pl, op);
    json_remove(pl->parent, pl->value);
    return 0;
}

static struct json *fresh(struct pool *pool, const struct json *j)
{
    struct json *c = json_clone(pool, j);
    c->keyp = NULL;
    c->keyn = 0;
    return c;
}

static int op_add(struct patch *pt, struct place *pl, struct place *from, const struct json *value)
{
    return add_at(pt, pl, fresh(pt->pool, value), "add");
}

static int op_remove(struct patch *pt, struct place *pl, struct place *from, const struct json *value)
{
    return remove_at(pt, pl, "remove");
}

static int op_replace(struct patch *pt, struct place *pl, struct place *from, const struct json *value)
{
    if (!pl->value)
        return missing(pt, pl, "replace");
    if (pl->depth + depth_of(value) > DEPTH_MAX)
        return err_set(pt->e, ERR_LIMIT, "replace operation at path \"%.*s\" nests deeper than %d", STR_ARG(pl->path), DEPTH_MAX);
    json_replace(pl->value, fresh(pt->pool, value));
    return 0;
}

static int op_test(struct patch *pt, struct place *pl, struct place *from, const struct json *value)
{
    bool same = pl->value ? json_equal(pl->value, value) : value->type == JSON_NULL;
    pt->walked += pl->value ? size_of(value) : 0;
    if (same)
        return walk_limit(pt);
    return err_set(pt->e, ERR_INVALID, "testing value %.*s failed: test failed", STR_ARG(pl->path));
}

static int op_copy(struct patch *pt, struct place *pl, struct place *from, const struct json *value)
{
    if (!from->value)
        return missing(pt, from, "copy");
    pt->copied += size_of(from->value);
    if (pt->copied > COPY_MAX)
        return err_set(pt->e, ERR_LIMIT,
            "Unable to complete the copy, the accumulated size increase of copy is %zu, exceeding the limit %d", pt->copied, COPY_MAX);
    return add_at(pt, pl, fresh(pt->pool, from->value), "copy");
}

/* The place to move to is looked up after the value has left, as RFC 6902 says. */
static int op_move(struct patch *pt, struct place *pl, struct place *from, const struct json *value)
{
    struct json *v = from->value;
    struct place to;
    if (!v)
        return missing(pt, from, "move");
    if (str_eq(pl->path, from->path))
        return 0;
    if (str_starts(pl->path, from->path) && pl->path.p[from->path.n] == '/')
        return err_set(
            pt->e, ERR_INVALID, "move operation does not apply: \"%.*s\" lies inside \"%.*s\"", STR_ARG(pl->path), STR_ARG(from->path));
    int r = remove_at(pt, from, "move");
    if (r == 0)
        r = find(pt, pl->path, "move", &to);
    return r < 0 ? r : add_at(pt, &to, v, "move");
}

static const struct op {
    const char *name;
    bool wants_value, wants_from;
    int (*fn)(struct patch *pt, struct place *pl, struct place *from, const struct json *value);
} ops[] = {
    {"add", true, false, op_add},
    {"remove", false, false, op_remove},
    {"replace", true, false, op_replace},
    {"move", false, true, op_move},
    {"copy", false, true, op_copy},
    {"test", false, false, op_test},
};

static const struct op *op_named(struct str name)
{
    for (size_t i = 0; i < ARRAY_LEN(ops); i++)
        if (str_eqz(name, ops[i].name))
            return &ops[i];
    return NULL;
}

static int apply(struct patch *pt, const struct json *item)
{
    static const struct json null = {.type = JSON_NULL};
    struct json *path = json_get(item, STR("path")), *from_path = json_get(item, STR("from")), *value = json_get(item, STR("value"));
    struct str name = json_get_str(item, "op");
    const struct op *op = op_named(name);
    struct place pl = {0}, from = {0};
    if (!json_is(item, JSON_OBJ))
        return err_set(pt->e, ERR_BAD_REQUEST, "a JSON patch operation must be an object");
    if (!op)
        return err_set(pt->e, ERR_BAD_REQUEST, "Unexpected kind: %.*s", STR_ARG(name));
    if (!json_is(path, JSON_STR))
        return err_set(pt->e, ERR_BAD_REQUEST, "%s operation: \"path\" must be a string", op->name);
    if (op->wants_from && !json_is(from_path, JSON_STR))
        return err_set(pt->e, ERR_BAD_REQUEST, "%s operation: \"from\" must be a string", op->name);
    if (op->wants_value && !value)
        return err_set(pt->e, ERR_BAD_REQUEST, "%s operation: \"value\" is missing", op->name);
    int r = op->wants_from ? find(pt, json_as_str(from_path), op->name, &from) : 0;
    if (op->fn == op_move)
        pl.path = json_as_str(path); /* see op_move */
    else if (r == 0)
        r = find(pt, json_as_str(path), op->name, &pl);
    return r < 0 ? r : op->fn(pt, &pl, &from, value ? value : &null);
}

int json_patch(struct pool *p, struct json **target, const struct json *patch, struct err **e)
{
    if (!json_is(patch, JSON_ARR))
        return err_set(e, ERR_BAD_REQUEST, "a JSON patch must be an array of operations");
    if (patch->n > OPS_MAX)
        return err_set(e, ERR_TOO_LARGE, "The allowed maximum operations in a JSON patch is %d, got %u", OPS_MAX, patch->n);
    struct patch pt = {.pool = p, .doc = fresh(p, *target), .e = e};
    json_for (patch, item) {
        int r = apply(&pt, item);
        if (r < 0)
            return r;
    }
    *target = pt.doc;
    return 0;
}
