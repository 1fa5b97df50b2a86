#include "schema/fieldset.h"

enum { MAX_DEPTH = 64 };

static bool search(const struct fieldset *s, struct str name, uint32_t *at)
{
    uint32_t lo = 0, hi = s->n;
    while (lo < hi) {
        uint32_t mid = (lo + hi) / 2;
        int c = str_cmp(s->items[mid].name, name);
        if (c == 0) {
            *at = mid;
            return true;
        }
        if (c < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    *at = lo;
    return false;
}

const struct fieldset_item *fieldset_find(const struct fieldset *s, struct str name)
{
    uint32_t at;
    return s && search(s, name, &at) ? &s->items[at] : NULL;
}

static void make_room(struct pool *p, struct fieldset *s)
{
    if (s->n < s->cap)
        return;
    uint32_t grown = s->cap ? s->cap * 2 : 4;
    s->items = pool_grow(p, s->items, s->cap * sizeof(*s->items), grown * sizeof(*s->items));
    s->cap = grown;
}

static void push(struct pool *p, struct fieldset *s, struct fieldset_item item)
{
    make_room(p, s);
    s->items[s->n++] = item;
}

struct fieldset_item *fieldset_item(struct pool *p, struct fieldset *s, struct str name)
{
    uint32_t at;
    if (s->n && str_cmp(s->items[s->n - 1].name, name) < 0)
        at = s->n; /* in order already, as a rule */
    else if (search(s, name, &at))
        return &s->items[at];
    make_room(p, s);
    memmove(s->items + at + 1, s->items + at, (s->n - at) * sizeof(*s->items));
    s->items[at] = (struct fieldset_item){.name = name};
    s->n++;
    return &s->items[at];
}

struct fieldset *fieldset_under(struct pool *p, struct fieldset_item *i)
{
    if (!i->child)
        i->child = pool_new_of(p, struct fieldset);
    return i->child;
}

struct fieldset *fieldset_copy(struct pool *p, const struct fieldset *s)
{
    struct fieldset *c = pool_new_of(p, struct fieldset);
    for (uint32_t i = 0; i < s->n; i++)
        push(p, c, s->items[i]);
    return c;
}

bool fieldset_empty(const struct fieldset *s)
{
    for (uint32_t i = 0; s && i < s->n; i++)
        if (s->items[i].member || !fieldset_empty(s->items[i].child))
            return false;
    return true;
}

static int parse(struct pool *p, const struct json *v, struct fieldset *out, unsigned depth, struct err **e)
{
    if (depth > MAX_DEPTH)
        return err_set(e, ERR_LIMIT, "fieldsV1 is deeper than %d levels", MAX_DEPTH);
    json_for (v, m) {
        struct str k = json_key(m);
        if (str_eqz(k, "."))
            continue;
        if (m->type != JSON_OBJ || k.n < 2 || k.p[1] != ':' || !memchr("fkvi", k.p[0], 4))
            return err_set(e, ERR_BAD_REQUEST, "fieldsV1: \"%.*s\" is not a path element", STR_ARG(k));
        struct fieldset_item *i = fieldset_item(p, out, pool_str(p, k));
        bool dot = json_get(m, STR(".")) != NULL;
        i->member = dot || m->n == 0;
        if (m->n == (dot ? 1u : 0u))
            continue;
        struct fieldset *child = pool_new_of(p, struct fieldset); /* inserting below may not move i: it goes into another set */
        int rc = parse(p, m, child, depth + 1, e);
        if (rc < 0)
            return rc;
        i->child = child;
    }
    return 0;
}

int fieldset_parse(struct pool *p, const struct json *v1, struct fieldset **out, struct err **e)
{
    struct fieldset *s = pool_new_of(p, struct fieldset);
    if (v1 && v1->type != JSON_OBJ)
        return err_set(e, ERR_BAD_REQUEST, "fieldsV1 must be an object");
    int rc = parse(p, v1, s, 0, e);
    if (rc == 0)
        *out = s;
    return rc;
}

static void append(struct json *obj, struct str key, struct json *v)
{
    v->keyp = key.p;
    v->keyn = (uint32_t)key.n;
    v->next = NULL;
    if (obj->last)
        obj->last->next = v;
    else
        obj->first = v;
    obj->last = v;
    obj->n++;
}

struct json *fieldset_json(struct pool *p, const struct fieldset *s)
{
    struct json *out = json_obj(p);
    for (uint32_t i = 0; s && i < s->n; i++) {
        const struct fieldset_item *it = &s->items[i];
        bool below = !fieldset_empty(it->child);
        if (!it->member && !below)
            continue;
        struct json *v = below ? fieldset_json(p, it->child) : json_obj(p);
        if (below && it->member) { /* "." sorts before all elements */
            struct json *dot = json_obj(p);
            dot->keyp = ".";
            dot->keyn = 1;
            dot->next = v->first;
            v->first = dot;
            v->n++;
        }
        append(out, it->name, v);
    }
    return out;
}

bool fieldset_equal(const struct fieldset *a, const struct fieldset *b)
{
    uint32_t i = 0, k = 0, an = a ? a->n : 0, bn = b ? b->n : 0;
    while (i < an || k < bn) {
        if (i < an && !a->items[i].member && fieldset_empty(a->items[i].child)) {
            i++;
        } else if (k < bn && !b->items[k].member && fieldset_empty(b->items[k].child)) {
            k++;
        } else {
            if (i == an || k == bn)
                return false;
            const struct fieldset_item *x = &a->items[i++], *y = &b->items[k++];
            if (x->member != y->member || !str_eq(x->name, y->name) || !fieldset_equal(x->child, y->child))
                return false;
        }
    }
    return true;
}

enum op { UNION, INTERSECT, DIFFERENCE, PRUNE };

static struct fieldset *combine(struct pool *p, const struct fieldset *a, const struct fieldset *b, enum op op);

static void both(struct pool *p, struct fieldset *out, const struct fieldset_item *x, const struct fieldset_item *y, enum op op)
{
    struct fieldset_item r = {.name = x->name};
    if (op == PRUNE) {
        if (y->member)
            return;
        r.member = x->member;
    } else {
        r.member = op == UNION ? x->member || y->member : op == INTERSECT ? x->member && y->member : x->member && !y->member;
    }
    r.child = combine(p, x->child, y->child, op);
    if (r.member || !fieldset_empty(r.child))
        push(p, out, r);
}

static struct fieldset *combine(struct pool *p, const struct fieldset *a, const struct fieldset *b, enum op op)
{
    if (!a || !b) {
        if (op == INTERSECT)
            return NULL;
        return (struct fieldset *)(a ? a : op == UNION ? b : NULL);
    }
    struct fieldset *out = pool_new_of(p, struct fieldset);
    for (uint32_t i = 0, k = 0; i < a->n || k < b->n;) {
        int c = i == a->n ? 1 : k == b->n ? -1 : str_cmp(a->items[i].name, b->items[k].name);
        if (c == 0)
            both(p, out, &a->items[i++], &b->items[k++], op);
        else if (c < 0 && op != INTERSECT)
            push(p, out, a->items[i++]);
        else if (c < 0)
            i++;
        else if (op == UNION)
            push(p, out, b->items[k++]);
        else
            k++;
    }
    return out;
}

static struct fieldset *never_null(struct pool *p, struct fieldset *s)
{
    return s ? s : pool_new_of(p, struct fieldset);
}
struct fieldset *fieldset_union(struct pool *p, const struct fieldset *a, const struct fieldset *b)
{
    return never_null(p, combine(p, a, b, UNION));
}
struct fieldset *fieldset_intersect(struct pool *p, const struct fieldset *a, const struct fieldset *b)
{
    return never_null(p, combine(p, a, b, INTERSECT));
}
struct fieldset *fieldset_difference(struct pool *p, const struct fieldset *a, const struct fieldset *b)
{
    return never_null(p, combine(p, a, b, DIFFERENCE));
}
struct fieldset *fieldset_prune(struct pool *p, const struct fieldset *a, const struct fieldset *b)
{
    return never_null(p, combine(p, a, b, PRUNE));
}

/* k:{"name":"x"} is shown as [name="x"], v:"x" as [="x"]. */
static void show(struct buf *b, struct str name)
{
    struct str rest = str_sub(name, 2, name.n);
    struct pool *p;
    struct json *keys;
    switch (name.p[0]) {
    case 'f':
        buf_printf(b, ".%.*s", STR_ARG(rest));
        return;
    case 'v':
        buf_printf(b, "[=%.*s]", STR_ARG(rest));
        return;
    case 'k':
        p = pool_new();
        buf_putc(b, '[');
        if (json_parse(p, rest, NULL, &keys, NULL) == 0) {
            bool first = true;
            json_for (keys, k) {
                buf_printf(b, "%s%.*s=", first ? "" : ",", STR_ARG(json_key(k)));
                first = false;
                json_write(b, k);
            }
        }
        buf_putc(b, ']');
        pool_free(p);
        return;
    default:
        buf_printf(b, "[%.*s]", STR_ARG(rest));
    }
}

static void each(const struct fieldset *s, struct buf *path, void (*fn)(void *, struct str), void *arg)
{
    for (uint32_t i = 0; s && i < s->n; i++) {
        size_t was = path->n;
        show(path, s->items[i].name);
        if (s->items[i].member)
            fn(arg, buf_str(path));
        each(s->items[i].child, path, fn, arg);
        path->n = was;
    }
}

void fieldset_each(const struct fieldset *s, void (*fn)(void *arg, struct str path), void *arg)
{
    struct buf path = BUF_INIT;
    each(s, &path, fn, arg);
    buf_clear(&path);
}
