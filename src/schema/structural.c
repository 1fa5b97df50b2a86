#include "schema/structural.h"

#include <stdlib.h>

#include "cel/regex.h"
#include "schema/registry.h"

enum { DEPTH_MAX = 64 };

/* ---- packs and registries ---- */

struct schema_pack *schema_pack_new(
    size_t nrows, const struct json *(*source)(void *, struct str, struct pool *), void (*drop)(void *), void *arg)
{
    struct pool *p = pool_new();
    struct schema_pack *k = xcalloc(1, sizeof *k);
    k->refs = 1;
    k->pool = p;
    k->rows = pool_array(p, struct schema_resource, nrows);
    k->types = pool_array(p, struct cr_type *, nrows);
    k->nrows = nrows;
    k->source = source;
    k->drop = drop;
    k->arg = arg;
    for (size_t i = 0; i < nrows; i++) {
        struct cr_type *t = k->types[i] = pool_new_of(p, struct cr_type);
        pthread_mutex_init(&t->lock, NULL);
        t->pack = k;
        t->type.cr = t;
        k->rows[i].type = &t->type;
    }
    return k;
}

struct schema_pack *schema_pack_ref(struct schema_pack *p)
{
    if (p)
        p->refs++;
    return p;
}

void schema_pack_unref(struct schema_pack *p)
{
    if (!p || --p->refs != 0)
        return;
    for (size_t i = 0; i < p->nrows; i++) {
        pthread_mutex_destroy(&p->types[i]->lock);
        pool_free(p->types[i]->pool);
    }
    if (p->drop)
        p->drop(p->arg);
    pool_free(p->pool);
    free(p);
}

static int cmp_row(const void *a, const void *b)
{
    const struct schema_resource *x = *(struct schema_resource *const *)a, *y = *(struct schema_resource *const *)b;
    int c = str_cmp(x->group, y->group);
    if (c == 0)
        c = str_cmp(x->version, y->version);
    return c ? c : str_cmp(x->resource, y->resource);
}

struct schema *schema_extend(struct schema *base, struct schema_pack *const *packs, size_t n)
{
    struct schema *s = xcalloc(1, sizeof *s);
    size_t rows = base->nresources;
    for (size_t i = 0; i < n; i++)
        rows += packs[i]->nrows;
    s->refs = 1;
    s->base = schema_ref(base);
    s->types = base->types;
    s->ntypes = base->ntypes;
    s->by_name = base->by_name;
    s->checks = base->checks;
    s->resources = xcalloc(rows + 1, sizeof *s->resources);
    memcpy(s->resources, base->resources, base->nresources * sizeof *s->resources);
    s->nresources = base->nresources;
    s->packs = xcalloc(n + 1, sizeof *s->packs);
    for (size_t i = 0; i < n; i++) {
        s->packs[s->npacks++] = schema_pack_ref(packs[i]);
        for (size_t k = 0; k < packs[i]->nrows; k++) {
            struct schema_resource *r = &packs[i]->rows[k];
            if (r->resource.n && !schema_find(base, r->group, r->version, r->resource))
                s->resources[s->nresources++] = r;
        }
    }
    qsort(s->resources, s->nresources, sizeof *s->resources, cmp_row);
    return s;
}

/* ---- nodes ---- */

static struct str *strings(struct pool *p, const struct json *list, size_t max, size_t *n)
{
    struct str *out = pool_array(p, struct str, MIN(json_count(list), max) + 1);
    *n = 0;
    json_for (list, x)
        if (*n < max && json_is(x, JSON_STR))
            out[(*n)++] = json_as_str(x);
    return out;
}

static bool number(const struct json *schema, const char *key, double *out)
{
    const struct json *v = json_get(schema, str_of(key));
    if (!json_is(v, JSON_INT) && !json_is(v, JSON_DOUBLE))
        return false;
    *out = v->type == JSON_INT ? (double)v->i : v->d;
    return true;
}

static void free_regex(void *r)
{
    regex_free(r);
}

static struct cr_node *node_of(struct pool *p, const struct json *schema, int depth);

static struct cr_list list_of(struct pool *p, const struct json *list, int depth)
{
    const struct cr_node **items = pool_array(p, const struct cr_node *, json_count(list) + 1);
    uint16_t n = 0;
    json_for (list, x)
        if (n < UINT16_MAX)
            items[n++] = node_of(p, x, depth);
    return (struct cr_list){items, n};
}

static void checks_numbers(struct cr_checks *c, const struct json *s)
{
    static const struct {
        const char *key;
        uint32_t has;
        size_t at;
    } ints[] = {{"minLength", CR_MIN_LEN, offsetof(struct cr_checks, min_len)},
        {"maxLength", CR_MAX_LEN, offsetof(struct cr_checks, max_len)}, {"minItems", CR_MIN_ITEMS, offsetof(struct cr_checks, min_items)},
        {"maxItems", CR_MAX_ITEMS, offsetof(struct cr_checks, max_items)},
        {"minProperties", CR_MIN_PROPS, offsetof(struct cr_checks, min_props)},
        {"maxProperties", CR_MAX_PROPS, offsetof(struct cr_checks, max_props)}};
    c->has |= number(s, "minimum", &c->min) ? CR_MIN : 0;
    c->has |= number(s, "maximum", &c->max) ? CR_MAX : 0;
    c->has |= number(s, "multipleOf", &c->multiple) && c->multiple > 0 ? CR_MULTIPLE : 0;
    for (size_t i = 0; i < ARRAY_LEN(ints); i++) {
        const struct json *v = json_get(s, str_of(ints[i].key));
        if (!json_is(v, JSON_INT))
            continue;
        c->has |= ints[i].has;
        memcpy((char *)c + ints[i].at, &v->i, sizeof(int64_t));
    }
}

static const struct cr_checks *checks_of(struct pool *p, const struct json *s, int depth)
{
    static const char *const keys[] = {"minimum", "maximum", "multipleOf", "minLength", "maxLength", "minItems", "maxItems",
        "minProperties", "maxProperties", "format", "pattern", "enum", "required", "allOf", "anyOf", "oneOf", "not"};
    bool any = false;
    for (size_t i = 0; i < ARRAY_LEN(keys) && !any; i++)
        any = json_get(s, str_of(keys[i])) != NULL;
    if (!any)
        return NULL;
    struct cr_checks *c = pool_new_of(p, struct cr_checks);
    size_t n;
    checks_numbers(c, s);
    c->format = json_get_str(s, "format");
    c->pattern = json_get_str(s, "pattern");
    if (c->pattern.n && regex_new(c->pattern, &c->regex, NULL) == 0)
        pool_on_free(p, free_regex, c->regex);
    if (json_count(json_get(s, STR("enum"))))
        c->enums = json_get(s, STR("enum"));
    c->required = strings(p, json_get(s, STR("required")), UINT16_MAX, &n);
    c->nrequired = (uint16_t)n;
    c->all_of = list_of(p, json_get(s, STR("allOf")), depth);
    c->any_of = list_of(p, json_get(s, STR("anyOf")), depth);
    c->one_of = list_of(p, json_get(s, STR("oneOf")), depth);
    if (json_is(json_get(s, STR("not")), JSON_OBJ))
        c->not_ = node_of(p, json_get(s, STR("not")), depth);
    return c;
}

static int cmp_prop(const void *a, const void *b)
{
    return str_cmp(((const struct cr_prop *)a)->name, ((const struct cr_prop *)b)->name);
}

static void props_of(struct pool *p, struct cr_node *n, const struct json *props, int depth)
{
    struct cr_prop *all = pool_array(p, struct cr_prop, json_count(props) + 1);
    json_for (props, x)
        if (n->nprops < UINT16_MAX && json_is(x, JSON_OBJ))
            all[n->nprops++] = (struct cr_prop){json_key(x), node_of(p, x, depth)};
    if (n->nprops)
        qsort(all, n->nprops, sizeof *all, cmp_prop);
    n->props = all;
}

static uint16_t flags_of(const struct json *s)
{
    static const struct {
        const char *key;
        uint16_t flag;
    } rows[] = {{"nullable", CR_NULLABLE}, {"x-kubernetes-preserve-unknown-fields", CR_PRESERVE},
        {"x-kubernetes-embedded-resource", CR_EMBEDDED}, {"x-kubernetes-int-or-string", CR_INT_OR_STRING}, {"uniqueItems", CR_UNIQUE},
        {"exclusiveMinimum", CR_EXCLUSIVE_MIN}, {"exclusiveMaximum", CR_EXCLUSIVE_MAX}};
    uint16_t f = 0;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (json_get_bool(s, rows[i].key, false))
            f |= rows[i].flag;
    struct str list = json_get_str(s, "x-kubernetes-list-type");
    if (str_eqz(list, "map"))
        f |= CR_LIST_MAP;
    else if (str_eqz(list, "set"))
        f |= CR_LIST_SET;
    if (str_eqz(json_get_str(s, "x-kubernetes-map-type"), "atomic"))
        f |= CR_MAP_ATOMIC;
    return f;
}

static uint8_t kind_of(struct str type)
{
    static const char *const names[] = {"", "object", "array", "string", "integer", "number", "boolean"};
    for (uint8_t i = 1; i < ARRAY_LEN(names); i++)
        if (str_eqz(type, names[i]))
            return i;
    return CR_ANY;
}

static struct cr_node *node_of(struct pool *p, const struct json *s, int depth)
{
    struct cr_node *n = pool_new_of(p, struct cr_node);
    size_t keys;
    n->flags = flags_of(s);
    n->kind = kind_of(json_get_str(s, "type"));
    if (depth >= DEPTH_MAX) {
        n->flags |= CR_PRESERVE;
        return n;
    }
    props_of(p, n, json_get(s, STR("properties")), depth + 1);
    const struct json *items = json_get(s, STR("items")), *more = json_get(s, STR("additionalProperties"));
    if (json_is(items, JSON_OBJ))
        n->items = node_of(p, items, depth + 1);
    if (json_is(more, JSON_OBJ) && more->n)
        n->additional = node_of(p, more, depth + 1);
    if (json_is(more, JSON_OBJ) || json_as_bool(more, false))
        n->flags |= CR_ADDITIONAL;
    n->checks = checks_of(p, s, depth + 1);
    n->dflt = json_get(s, STR("default"));
    n->keys = strings(p, json_get(s, STR("x-kubernetes-list-map-keys")), 8, &keys);
    n->nkeys = (uint8_t)keys;
    if (!keys)
        n->flags &= (uint16_t)~CR_LIST_MAP;
    return n;
}

struct cr_node *cr_compile(struct pool *p, const struct json *schema)
{
    return node_of(p, schema, 0);
}

const struct cr_node *cr_member(const struct cr_node *n, struct str name)
{
    for (size_t lo = 0, hi = n ? n->nprops : 0; lo < hi;) {
        size_t mid = (lo + hi) / 2;
        int c = str_cmp(n->props[mid].name, name);
        if (c == 0)
            return n->props[mid].node;
        if (c < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return NULL;
}

const struct cr_node *cr_root(const struct schema_type *type)
{
    struct cr_type *t = type->cr;
    const struct cr_node *n = t->root;
    if (n)
        return n;
    pthread_mutex_lock(&t->lock);
    struct cr_node *made = t->root;
    if (!made) {
        static const struct json none = {.type = JSON_OBJ};
        t->pool = pool_new();
        const struct json *schema = t->pack->source(t->pack->arg, t->version, t->pool);
        made = cr_compile(t->pool, schema ? schema : &none);
        if (!schema)
            made->flags |= CR_PRESERVE;
        made->flags |= CR_EMBEDDED; /* apiVersion, kind and metadata have tables of their own */
        if (schema)
            cr_compile_rules(t->pool, made, schema);
        t->root = made;
    }
    pthread_mutex_unlock(&t->lock);
    return made;
}

static const struct schema_type *meta;
static pthread_once_t meta_once = PTHREAD_ONCE_INIT;
static void find_meta(void)
{
    struct schema *s = schema_builtin();
    meta = schema_find_type(s, STR("io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"));
    schema_unref(s);
}

const struct schema_type *cr_meta(void)
{
    pthread_once(&meta_once, find_meta);
    return meta;
}
