#include "schema/schema.h"

#include <pthread.h>
#include <stdlib.h>

#include "schema/packed.h"
#include "schema/registry.h"
#include "schema/structural.h"

/* Each process serves one of them as a rule, so each is unfolded when first asked for. */
static struct schema *builtin, *hub;
static pthread_once_t builtin_once = PTHREAD_ONCE_INIT, hub_once = PTHREAD_ONCE_INIT;
static struct attached {
    struct str group, kind;
    const struct kind_hooks *hooks;
} attached[128];
static size_t nattached;

static void attach(struct schema *s, const struct attached *a)
{
    for (size_t i = 0; s && i < s->nresources; i++)
        if (str_eq(s->resources[i]->kind, a->kind) && str_eq(s->resources[i]->group, a->group))
            s->resources[i]->hooks = a->hooks;
}

static struct schema *make(unsigned flag)
{
    struct schema *s = schema_unfold(flag);
    for (size_t i = 0; i < nattached; i++)
        attach(s, &attached[i]);
    return s;
}

static void make_builtin(void)
{
    builtin = make(PACKED_CLUSTER);
}
static void make_hub(void)
{
    hub = make(PACKED_HUB);
}

struct schema *schema_builtin(void)
{
    pthread_once(&builtin_once, make_builtin);
    return schema_ref(builtin);
}

struct schema *schema_hub(void)
{
    pthread_once(&hub_once, make_hub);
    return schema_ref(hub);
}

struct schema *schema_ref(struct schema *s)
{
    if (s)
        s->refs++;
    return s;
}

/* The built-in registries keep one reference of their own, so this never reaches zero for them. */
void schema_unref(struct schema *s)
{
    if (!s || --s->refs != 0)
        return;
    for (size_t i = 0; i < s->npacks; i++)
        schema_pack_unref(s->packs[i]);
    free(s->packs);
    if (!s->base)
        free(s->by_name);
    schema_unref(s->base);
    free(s->resources);
    free(s);
}

static int cmp_resource(const struct schema_resource *r, struct str group, struct str version, struct str resource)
{
    int c = str_cmp(r->group, group);
    if (c == 0)
        c = str_cmp(r->version, version);
    return c ? c : str_cmp(r->resource, resource);
}

const struct schema_resource *schema_find(const struct schema *s, struct str group, struct str version, struct str resource)
{
    for (size_t lo = 0, hi = s->nresources; lo < hi;) {
        size_t mid = (lo + hi) / 2;
        int c = cmp_resource(s->resources[mid], group, version, resource);
        if (c == 0)
            return s->resources[mid];
        if (c < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return NULL;
}

const struct schema_resource *schema_find_kind(const struct schema *s, struct str group, struct str version, struct str kind)
{
    for (size_t i = 0; i < s->nresources; i++) {
        const struct schema_resource *r = s->resources[i];
        if (str_eq(r->kind, kind) && str_eq(r->group, group) && str_eq(r->version, version))
            return r;
    }
    return NULL;
}

static int cmp_name(struct str a, struct str b)
{
    if (a.n != b.n)
        return a.n < b.n ? -1 : 1;
    return a.n ? memcmp(a.p, b.p, a.n) : 0;
}

const struct schema_type *schema_find_type(const struct schema *s, struct str name)
{
    for (size_t lo = 0, hi = s->ntypes; lo < hi;) {
        size_t mid = (lo + hi) / 2;
        int c = cmp_name(s->by_name[mid]->name, name);
        if (c == 0)
            return s->by_name[mid];
        if (c < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return NULL;
}

const struct schema_resource *schema_at(const struct schema *s, size_t i)
{
    return i < s->nresources ? s->resources[i] : NULL;
}

const struct schema_subresource *schema_sub(const struct schema_resource *r, struct str name)
{
    for (size_t i = 0; i < r->nsubs; i++)
        if (str_eq(r->subs[i].name, name))
            return &r->subs[i];
    return NULL;
}

const struct schema_field *schema_field(const struct schema_type *t, struct str name)
{
    if (!t)
        return NULL;
    for (size_t lo = 0, hi = t->nfields; lo < hi;) {
        size_t mid = (lo + hi) / 2;
        const struct schema_field *f = &t->fields[t->by_name[mid]];
        int c = cmp_name(f->name, name);
        if (c == 0)
            return f;
        if (c < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return NULL;
}

void schema_attach(struct str group, struct str kind, const struct kind_hooks *hooks)
{
    struct attached a = {group, kind, hooks};
    if (nattached == ARRAY_LEN(attached))
        abort(); /* more rows of hooks than this table has: a mistake of the programmer */
    attached[nattached++] = a;
    attach(builtin, &a);
    attach(hub, &a);
}

bool schema_gvk(const struct json *doc, struct str *group, struct str *version, struct str *kind)
{
    struct str api = json_get_str(doc, "apiVersion"), k = json_get_str(doc, "kind");
    if (str_empty(api) || str_empty(k))
        return false;
    if (!str_cut(api, '/', group, version)) {
        *group = STR("");
        *version = api;
    }
    *kind = k;
    return true;
}
