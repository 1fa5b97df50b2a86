#include "schema/registry.h"

#include <stdlib.h>

#include "schema/check.h"
#include "schema/packed.h"

/* Everything here is made once and lives as long as the process. */
struct unfold {
    struct schema_type *types;
    struct schema_field *fields;
    struct schema_check *checks;
    struct str *list_pool;
};

static struct str text(uint16_t i)
{
    return i ? str_make(packed_text + packed_offsets[i], packed_offsets[i + 1] - packed_offsets[i]) : STR_NULL;
}

static const struct str *list(const struct unfold *u, uint16_t i, uint8_t *n)
{
    *n = (uint8_t)packed_lists[i].n;
    return packed_lists[i].n ? u->list_pool + packed_lists[i].at : NULL;
}

static void unfold_lists(struct unfold *u)
{
    size_t n = 0;
    for (size_t i = 0; i < packed_counts.lists; i++)
        n = MAX(n, (size_t)packed_lists[i].at + packed_lists[i].n);
    u->list_pool = xcalloc(n + 1, sizeof(struct str));
    for (size_t i = 0; i < n; i++)
        u->list_pool[i] = packed_list_pool[i] ? text(packed_list_pool[i]) : STR("");
}

static void unfold_checks(struct unfold *u)
{
    u->checks = xcalloc(packed_counts.checks + 1, sizeof(*u->checks));
    for (size_t i = 0; i < packed_counts.checks; i++) {
        const struct packed_check *p = &packed_checks[i];
        u->checks[i] = (struct schema_check){.has = p->flags,
            .min = (double)p->min,
            .max = (double)p->max,
            .min_len = p->min,
            .max_len = p->max,
            .min_items = p->min,
            .max_items = p->max,
            .format = text(p->format),
            .pattern = text(p->pattern)};
    }
}

static void unfold_field(const struct unfold *u, const struct packed_field *p, struct schema_field *f)
{
    struct str via = text(p->via);
    *f = (struct schema_field){.name = text(p->name),
        .kind = p->kind,
        .item = p->item,
        .proto = p->proto,
        .flags = p->flags,
        .ref = p->ref ? &u->types[p->ref - 1] : NULL,
        .elem = p->elem ? &u->fields[p->elem - 1] : NULL,
        .proto_via = via.p ? str_dup(via) : NULL,
        .proto_via_num = p->via_proto,
        .merge_key = text(p->merge),
        .dflt = text(p->dflt),
        .enum_name = text(p->enum_name),
        .published = p->published,
        .check = p->check ? &u->checks[p->check] : NULL,
        .doc = text(p->doc)};
    f->map_keys = list(u, p->keys, &f->nmap_keys);
    f->enums = list(u, p->enums, &f->nenums);
}

static int cmp_name(struct str a, struct str b)
{
    if (a.n != b.n)
        return a.n < b.n ? -1 : 1;
    return a.n ? memcmp(a.p, b.p, a.n) : 0;
}

static int cmp_index(const void *a, const void *b, void *fields)
{
    const struct schema_field *f = fields;
    return cmp_name(f[*(const uint16_t *)a].name, f[*(const uint16_t *)b].name);
}

static int cmp_type(const void *a, const void *b)
{
    return cmp_name((*(struct schema_type *const *)a)->name, (*(struct schema_type *const *)b)->name);
}

static void unfold_type(const struct unfold *u, const struct packed_type *p, struct schema_type *t)
{
    struct schema_field *fields = u->fields + p->first;
    uint16_t *by_name = xcalloc(p->n + 1u, sizeof(*by_name));
    for (uint16_t i = 0; i < p->n; i++)
        by_name[i] = i;
    qsort_r(by_name, p->n, sizeof(*by_name), cmp_index, fields);
    *t = (struct schema_type){
        .name = text(p->name), .doc = text(p->doc), .fields = fields, .nfields = p->n, .flags = p->flags, .by_name = by_name};
}

static struct schema_subresource *unfold_subs(const struct unfold *u, const struct packed_resource *p)
{
    struct schema_subresource *subs = xcalloc(p->nsubs + 1u, sizeof(*subs));
    for (uint16_t i = 0; i < p->nsubs; i++) {
        const struct packed_sub *s = &packed_subs[p->first_sub + i];
        subs[i] = (struct schema_subresource){.name = text(s->name),
            .group = text(s->group),
            .version = text(s->version),
            .kind = text(s->kind),
            .type = s->type ? &u->types[s->type - 1] : NULL,
            .verbs = s->verbs};
    }
    return subs;
}

static struct schema_resource *unfold_resource(const struct unfold *u, const struct packed_resource *p)
{
    struct schema_resource *r = xcalloc(1, sizeof(*r));
    *r = (struct schema_resource){.group = text(p->group),
        .version = text(p->version),
        .resource = text(p->resource),
        .singular = text(p->singular),
        .kind = text(p->kind),
        .namespaced = p->flags & PACKED_NAMESPACED,
        .verbs = p->verbs,
        .type = &u->types[p->type - 1],
        .storage = text(p->storage),
        .storage_version = text(p->storage_version),
        .has_status = p->flags & PACKED_STATUS,
        .has_spec_generation = p->flags & PACKED_GENERATION,
        .virtual_only = p->flags & PACKED_VIRTUAL};
    if (!r->group.p)
        r->group = STR("");
    r->short_names = list(u, p->short_names, &r->nshort);
    r->categories = list(u, p->categories, &r->ncategories);
    uint8_t n;
    const struct str *fields = list(u, p->fields, &n);
    for (r->nfield_selectors = 0; r->nfield_selectors < MIN(n, ARRAY_LEN(r->field_selectors)); r->nfield_selectors++)
        r->field_selectors[r->nfield_selectors] = fields[r->nfield_selectors];
    r->subs = unfold_subs(u, p);
    r->nsubs = (uint8_t)p->nsubs;
    struct schema_column *columns = xcalloc(p->ncolumns + 1u, sizeof(*columns));
    for (uint16_t i = 0; i < p->ncolumns; i++) {
        const struct packed_column *c = &packed_columns[p->first_column + i];
        columns[i] = (struct schema_column){.name = text(c->name),
            .type = text(c->type),
            .format = c->format ? text(c->format) : STR(""),
            .path = text(c->path),
            .priority = c->priority};
    }
    r->columns = columns;
    r->ncolumns = (uint8_t)p->ncolumns;
    return r;
}

struct schema *schema_unfold(unsigned flag)
{
    struct unfold u = {0};
    u.types = xcalloc(packed_counts.types + 1, sizeof(*u.types));
    u.fields = xcalloc(packed_counts.fields + 1, sizeof(*u.fields));
    unfold_lists(&u);
    unfold_checks(&u);
    for (size_t i = 0; i < packed_counts.fields; i++)
        unfold_field(&u, &packed_fields[i], &u.fields[i]);
    for (size_t i = 0; i < packed_counts.types; i++)
        unfold_type(&u, &packed_types[i], &u.types[i]);
    struct schema *s = xcalloc(1, sizeof(*s));
    s->refs = 1;
    s->types = u.types;
    s->checks = u.checks;
    s->ntypes = packed_counts.types;
    s->by_name = xcalloc(s->ntypes + 1, sizeof(*s->by_name));
    for (uint32_t i = 0; i < s->ntypes; i++)
        s->by_name[i] = &u.types[i];
    qsort(s->by_name, s->ntypes, sizeof(*s->by_name), cmp_type);
    s->resources = xcalloc(packed_counts.resources + 1, sizeof(*s->resources));
    for (size_t i = 0; i < packed_counts.resources; i++)
        if (packed_resources[i].flags & flag)
            s->resources[s->nresources++] = unfold_resource(&u, &packed_resources[i]);
    return s;
}
