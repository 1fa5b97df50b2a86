#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "cel/regex.h"
#include "schema/structural.h"

/* Values against structural schemas, in the words of kube-openapi's validators as apiextensions passes them on. On an update what did not
 * change is not judged again (KEP-4008, ratcheting): a schema may become stricter without locking up the objects that stand. */

struct ctx {
    struct pool *p;
    struct err **e;
    int depth;
};

static const char *const kind_names[] = {"", "object", "array", "string", "integer", "number", "boolean"};

static const char *type_of(const struct json *v)
{
    switch (v->type) {
    case JSON_NULL:
        return "null";
    case JSON_BOOL:
        return "boolean";
    case JSON_INT:
        return "integer";
    case JSON_DOUBLE:
        return "number";
    case JSON_STR:
        return "string";
    case JSON_ARR:
        return "array";
    default:
        return "object";
    }
}

static struct str path_text(struct ctx *c, const struct fpath *at)
{
    struct buf b = BUF_INIT;
    for (const struct fpath *p = at; p; p = p->up) { /* keys of maps are written as members there */
        struct buf one = BUF_INIT;
        if (p->index >= 0)
            buf_printf(&one, "[%" PRId64 "]", p->index);
        else
            buf_printf(&one, "%s%.*s", p->up ? "." : "", STR_ARG(p->name));
        buf_str_add(&one, buf_str(&b));
        buf_clear(&b);
        b = one;
    }
    return buf_to_pool(&b, c->p);
}

/* "spec.x in body <what>" */
static void wrong(struct ctx *c, const struct fpath *at, const struct json *v, const char *fmt, ...) _printf_(4, 5);
static void wrong(struct ctx *c, const struct fpath *at, const struct json *v, const char *fmt, ...)
{
    struct buf b = BUF_INIT;
    va_list ap;
    buf_printf(&b, "%.*s in body ", STR_ARG(path_text(c, at)));
    va_start(ap, fmt);
    buf_vprintf(&b, fmt, ap);
    va_end(ap);
    ferr_invalid(c->e, at, v, b.p);
    buf_clear(&b);
}

static bool whole(const struct json *v)
{
    return v->type == JSON_INT || (v->type == JSON_DOUBLE && isfinite(v->d) && v->d == floor(v->d));
}

static bool type_fits(const struct cr_node *n, const struct json *v)
{
    if (n->flags & CR_INT_OR_STRING)
        return v->type == JSON_STR || whole(v);
    switch (n->kind) {
    case CR_OBJECT:
        return v->type == JSON_OBJ;
    case CR_ARRAY:
        return v->type == JSON_ARR;
    case CR_STRING:
        return v->type == JSON_STR;
    case CR_INTEGER:
        return whole(v);
    case CR_NUMBER:
        return v->type == JSON_INT || v->type == JSON_DOUBLE;
    case CR_BOOLEAN:
        return v->type == JSON_BOOL;
    default:
        return true;
    }
}

static bool check_type(struct ctx *c, const struct cr_node *n, const struct json *v, const struct fpath *at)
{
    if (v->type == JSON_NULL && (n->flags & CR_NULLABLE || (n->kind == CR_ANY && !(n->flags & CR_INT_OR_STRING))))
        return true;
    if (v->type != JSON_NULL && type_fits(n, v))
        return true;
    const char *want = n->flags & CR_INT_OR_STRING ? "integer,string" : kind_names[n->kind], *have = type_of(v);
    struct buf b = BUF_INIT;
    buf_printf(&b, "%.*s in body must be of type %s: \"%s\"", STR_ARG(path_text(c, at)), want, have);
    ferr_type_invalid(c->e, at, str_of(have), b.p);
    buf_clear(&b);
    return false;
}

/* ---- scalars ---- */

static size_t runes(struct str s)
{
    size_t n = 0;
    for (size_t i = 0; i < s.n; i++)
        n += ((unsigned char)s.p[i] & 0xc0) != 0x80;
    return n;
}

static void check_string(struct ctx *c, const struct cr_checks *k, const struct json *v, const struct fpath *at)
{
    int64_t n = (int64_t)runes(json_as_str(v));
    const char *format;
    if (k->has & CR_MAX_LEN && n > k->max_len)
        ferr_too_long(c->e, at, (int)k->max_len);
    if (k->has & CR_MIN_LEN && n < k->min_len)
        wrong(c, at, v, "should be at least %" PRId64 " chars long", k->min_len);
    if (k->regex && !regex_match(k->regex, json_as_str(v)))
        wrong(c, at, v, "should match '%.*s'", STR_ARG(k->pattern));
    if (k->format.n && (format = cr_format_wrong(k->format, json_as_str(v)))) {
        struct buf b = BUF_INIT;
        go_quote(&b, json_as_str(v));
        wrong(c, at, v, "must be of type %s: %s", str_eqz(k->format, "date-time") ? "date-time" : format, b.p);
        buf_clear(&b);
    }
}

static void check_number(struct ctx *c, const struct cr_node *n, const struct json *v, const struct fpath *at)
{
    const struct cr_checks *k = n->checks;
    double d = v->type == JSON_INT ? (double)v->i : v->d;
    if (k->has & CR_MULTIPLE && fabs(d / k->multiple - round(d / k->multiple)) > 1e-9)
        wrong(c, at, v, "should be a multiple of %.17g", k->multiple);
    if (k->has & CR_MAX && n->flags & CR_EXCLUSIVE_MAX && d >= k->max)
        wrong(c, at, v, "should be less than %.15g", k->max);
    else if (k->has & CR_MAX && d > k->max)
        wrong(c, at, v, "should be less than or equal to %.15g", k->max);
    if (k->has & CR_MIN && n->flags & CR_EXCLUSIVE_MIN && d <= k->min)
        wrong(c, at, v, "should be greater than %.15g", k->min);
    else if (k->has & CR_MIN && d < k->min)
        wrong(c, at, v, "should be greater than or equal to %.15g", k->min);
    if (str_eqz(k->format, "int32") && (d < INT32_MIN || d > INT32_MAX))
        wrong(c, at, v, "must be of type int32: \"int64\"");
}

static bool same(const struct json *a, const struct json *b)
{
    double x = a->type == JSON_INT ? (double)a->i : a->d, y = b->type == JSON_INT ? (double)b->i : b->d;
    if ((a->type == JSON_INT || a->type == JSON_DOUBLE) && (b->type == JSON_INT || b->type == JSON_DOUBLE) && a->type != b->type)
        return x == y;
    return json_equal(a, b);
}

static void check_enum(struct ctx *c, const struct cr_checks *k, const struct json *v, const struct fpath *at)
{
    struct str names[64];
    size_t n = 0;
    json_for (k->enums, x)
        if (same(x, v))
            return;
    json_for (k->enums, x)
        if (n < ARRAY_LEN(names))
            names[n++] = x->type == JSON_STR ? json_as_str(x) : json_to_pool(c->p, x);
    ferr_not_supported_json(c->e, at, v, names, n);
}

/* ---- lists and maps ---- */

static void duplicate_keys(struct ctx *c, const struct cr_node *n, const struct json *list, const struct fpath *at)
{
    struct json *keys = json_arr(c->p);
    size_t i = 0;
    json_for (list, x) {
        struct fpath here = fpath_at(at, i++);
        if (n->flags & CR_LIST_MAP && x->type != JSON_OBJ && x->type != JSON_NULL) {
            ferr_invalid(c->e, &here, x, "must be an object for an array of list-type map");
            return;
        }
        struct json *key = json_obj(c->p);
        if (n->flags & CR_LIST_SET)
            json_set(c->p, key, STR("v"), json_clone(c->p, x));
        for (uint8_t k = 0; k < n->nkeys && n->flags & CR_LIST_MAP; k++) {
            const struct json *m = json_get(x, n->keys[k]);
            if (m)
                json_set(c->p, key, n->keys[k], json_clone(c->p, m));
        }
        json_append(keys, key);
    }
    i = 0;
    json_for (keys, k) {
        struct fpath here = fpath_at(at, i++);
        size_t before = 0;
        json_for (keys, o) {
            if (o == k)
                break;
            before += json_equal(o, k);
        }
        if (before == 1) /* the first one that is there again */
            ferr_duplicate(c->e, &here, n->flags & CR_LIST_SET ? k->first : k);
    }
}

/* Lists of thousands: the comparison of every pair is left to a sorted walk over texts. */
static int cmp_text(const void *a, const void *b)
{
    return str_cmp(*(const struct str *)a, *(const struct str *)b);
}

static bool all_distinct(struct ctx *c, const struct cr_node *n, const struct json *list)
{
    struct str *texts = pool_array(c->p, struct str, list->n + 1);
    size_t count = 0;
    json_for (list, x) {
        struct buf b = BUF_INIT;
        for (uint8_t k = 0; k < n->nkeys && n->flags & CR_LIST_MAP; k++) {
            const struct json *m = json_get(x, n->keys[k]);
            if (m)
                json_write(&b, m);
            buf_putc(&b, 0);
        }
        if (!(n->flags & CR_LIST_MAP))
            json_write(&b, x);
        texts[count++] = buf_to_pool(&b, c->p);
    }
    qsort(texts, count, sizeof *texts, cmp_text);
    for (size_t i = 1; i < count; i++)
        if (str_eq(texts[i - 1], texts[i]))
            return false;
    return true;
}

static void value(struct ctx *c, const struct cr_node *n, const struct json *v, const struct json *old, const struct fpath *at);

/* The element of the old list that x was: by its keys. */
static const struct json *was(const struct cr_node *n, const struct json *old, const struct json *x)
{
    if (!(n->flags & CR_LIST_MAP) || !json_is(old, JSON_ARR) || x->type != JSON_OBJ)
        return NULL;
    json_for (old, o) {
        bool equal = o->type == JSON_OBJ;
        for (uint8_t k = 0; k < n->nkeys && equal; k++) {
            const struct json *a = json_get(x, n->keys[k]), *b = json_get(o, n->keys[k]);
            equal = (!a && !b) || (a && b && json_equal(a, b));
        }
        if (equal)
            return o;
    }
    return NULL;
}

static void array(struct ctx *c, const struct cr_node *n, const struct json *v, const struct json *old, const struct fpath *at)
{
    const struct cr_checks *k = n->checks;
    size_t i = 0;
    if (n->items)
        json_for (v, x) {
            struct fpath here = fpath_at(at, i++);
            value(c, n->items, x, was(n, old, x), &here);
        }
    if (k && k->has & CR_MIN_ITEMS && (int64_t)v->n < k->min_items)
        wrong(c, at, v, "should have at least %" PRId64 " items", k->min_items);
    if (k && k->has & CR_MAX_ITEMS && (int64_t)v->n > k->max_items)
        ferr_too_many(c->e, at, v->n, (int)k->max_items);
    if (n->flags & (CR_LIST_MAP | CR_LIST_SET) && v->n > 1 && !all_distinct(c, n, v))
        duplicate_keys(c, n, v, at);
    else if (n->flags & CR_UNIQUE && v->n > 1 && !all_distinct(c, n, v))
        wrong(c, at, v, "shouldn't contain duplicates");
}

static void embedded(struct ctx *c, const struct json *v, const struct fpath *at)
{
    static const char *const names[] = {"apiVersion", "kind"};
    for (size_t i = 0; i < ARRAY_LEN(names) && at; i++) {
        struct fpath here = fpath_name(at, str_of(names[i]));
        const struct json *x = json_get(v, str_of(names[i]));
        if (!x || (x->type == JSON_STR && x->n == 0))
            ferr_required(c->e, &here, "must not be empty");
        else if (x->type != JSON_STR)
            ferr_invalid(c->e, &here, x, "must be a string");
    }
}

static void object(struct ctx *c, const struct cr_node *n, const struct json *v, const struct json *old, const struct fpath *at)
{
    const struct cr_checks *k = n->checks;
    if (k && k->has & CR_MIN_PROPS && (int64_t)v->n < k->min_props)
        wrong(c, at, v, "should have at least %" PRId64 " properties", k->min_props);
    if (k && k->has & CR_MAX_PROPS && (int64_t)v->n > k->max_props)
        ferr_too_many(c->e, at, v->n, (int)k->max_props);
    for (uint16_t i = 0; k && i < k->nrequired; i++) {
        struct fpath here = fpath_name(at, k->required[i]);
        if (!json_get(v, k->required[i]))
            ferr_required(c->e, &here, "");
    }
    if (n->flags & CR_EMBEDDED)
        embedded(c, v, at);
    json_for (v, x) {
        struct str key = json_key(x);
        const struct cr_node *child = cr_member(n, key);
        struct fpath here = fpath_name(at, key);
        if (n->flags & CR_EMBEDDED && str_eqz(key, "metadata") && !at)
            child = NULL;
        else if (!child)
            child = n->additional;
        if (child)
            value(c, child, x, json_get(old, key), &here);
    }
}

/* ---- allOf, anyOf, oneOf, not ---- */

static struct err *judge(struct ctx *c, const struct cr_node *n, const struct json *v, const struct fpath *at)
{
    struct err *found = NULL;
    struct ctx inner = {c->p, &found, c->depth + 1};
    value(&inner, n, v, NULL, at);
    return found;
}

static void take(struct ctx *c, struct err *found)
{
    for (size_t i = 0; found && i < found->ncauses; i++)
        err_cause(c->e, found->causes[i].reason, str_of(found->causes[i].field), "%s", found->causes[i].message);
    err_free(found);
}

static void composite(struct ctx *c, const struct fpath *at, const char *fmt, const char *more)
{
    struct buf b = BUF_INIT;
    buf_printf(&b, "\"%.*s\" %s%s", STR_ARG(path_text(c, at)), fmt, more);
    ferr_invalid_str(c->e, NULL, STR(""), b.p);
    buf_clear(&b);
}

static void one_or_any(struct ctx *c, const struct cr_list *list, bool one, const struct json *v, const struct fpath *at)
{
    struct err *best = NULL;
    size_t valid = 0;
    for (uint16_t i = 0; i < list->n; i++) {
        struct err *found = judge(c, list->items[i], v, at);
        valid += !found;
        if (!found && !one)
            break;
        if (found && (!best || found->ncauses < best->ncauses)) {
            err_free(best);
            best = TAKE(found);
        }
        err_free(found);
    }
    if (one && valid != 1) {
        char more[64];
        snprintf(more, sizeof more, "Found %zu valid alternatives", valid);
        composite(c, at, "must validate one and only one schema (oneOf). ", valid ? more : "Found none valid");
    } else if (!valid) {
        composite(c, at, "must validate at least one schema (anyOf)", "");
    }
    if (!valid)
        take(c, TAKE(best));
    err_free(best);
}

static void junctors(struct ctx *c, const struct cr_checks *k, const struct json *v, const struct fpath *at)
{
    size_t valid = 0;
    if (c->depth > 16)
        return;
    if (k->any_of.n)
        one_or_any(c, &k->any_of, false, v, at);
    if (k->one_of.n)
        one_or_any(c, &k->one_of, true, v, at);
    for (uint16_t i = 0; i < k->all_of.n; i++) {
        struct err *found = judge(c, k->all_of.items[i], v, at);
        valid += !found;
        take(c, found);
    }
    if (valid != k->all_of.n)
        composite(c, at, "must validate all the schemas (allOf)", valid ? "" : ". None validated");
    if (k->not_) {
        struct err *found = judge(c, k->not_, v, at);
        if (!found)
            composite(c, at, "must not validate the schema (not)", "");
        err_free(found);
    }
}

enum { CAUSES_MAX = 1000 };

static void value(struct ctx *c, const struct cr_node *n, const struct json *v, const struct json *old, const struct fpath *at)
{
    if ((*c->e && (*c->e)->ncauses > CAUSES_MAX) || (old && json_equal(v, old)))
        return;
    if (!check_type(c, n, v, at) || v->type == JSON_NULL)
        return;
    const struct cr_checks *k = n->checks;
    if (k)
        junctors(c, k, v, at);
    if (k && v->type == JSON_STR)
        check_string(c, k, v, at);
    if (k && (v->type == JSON_INT || v->type == JSON_DOUBLE))
        check_number(c, n, v, at);
    if (v->type == JSON_ARR)
        array(c, n, v, old, at);
    if (k && k->enums)
        check_enum(c, k, v, at);
    if (v->type == JSON_OBJ)
        object(c, n, v, old, at);
}

void cr_validate_node(const struct cr_node *n, struct pool *p, const struct json *v, const struct fpath *at, struct err **e)
{
    struct ctx c = {.p = p, .e = e};
    value(&c, n, v, NULL, at);
}

void cr_validate(const struct schema_type *t, struct pool *p, const struct json *doc, const struct json *old, struct err **e)
{
    const struct cr_node *n = cr_root(t);
    struct ctx c = {.p = p, .e = e};
    value(&c, n, doc, old, NULL);
    if (n->flags & CR_RULES_BELOW && !*e)
        cr_rules(n, p, doc, old, e);
}
