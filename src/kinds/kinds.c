#include "kinds/kinds.h"

#include <stdio.h>
#include <stdlib.h>

#include "kinds/cell.h"
#include "kinds/custom.h"
#include "kinds/meta.h"
#include "kinds/rows.h"
#include "schema/ferr.h"

void kinds_attach(void)
{
#define KIND_ADDRESS(name) &kind_##name,
    static const struct kind_hooks *const rows[] = {KIND_ROWS(KIND_ADDRESS)};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        schema_attach(rows[i]->group, rows[i]->kind, rows[i]);
}

void obj_index_add(struct obj_index *ix, const char *index, struct str key)
{
    for (size_t i = 0; i < ix->n && i < 64; i++)
        if (strcmp(ix->items[i].index, index) == 0 && str_eq(ix->items[i].key, key))
            return;
    if ((ix->n & (ix->n - 1)) == 0) /* full at each power of two */
        ix->items = pool_grow(ix->pool, ix->items, ix->n * sizeof(*ix->items), (ix->n ? ix->n * 2 : 1) * sizeof(*ix->items));
    ix->items[ix->n].index = index;
    ix->items[ix->n++].key = pool_str(ix->pool, key);
}

void kind_default(struct kind_ctx *c, struct json *doc)
{
    schema_default(c->res->type, c->pool, doc);
    if (c->res->hooks && c->res->hooks->dflt)
        c->res->hooks->dflt(c, doc);
    schema_fill_zero(c->res->type, c->pool, doc);
}

/* Takes the member from old, or drops it when old has none. */
static void keep_member(struct pool *p, struct json *doc, const struct json *old, struct str name)
{
    const struct json *was = json_get(old, name);
    if (was)
        json_set(p, doc, name, json_clone(p, was));
    else
        json_del(doc, name);
}

/* Does anything but metadata and status differ? status: it counts too (custom resources without a status subresource). */
static bool spec_differs(const struct json *a, const struct json *b, bool status)
{
    json_for (a, m) {
        const struct json *o = json_get(b, json_key(m));
        bool beside = str_eqz(json_key(m), "metadata") || (!status && str_eqz(json_key(m), "status"));
        if (!beside && !(o && json_equal(m, o)))
            return true;
    }
    json_for (b, m)
        if (!str_eqz(json_key(m), "metadata") && (status || !str_eqz(json_key(m), "status")) && !json_get(a, json_key(m)))
            return true;
    return false;
}

static void status_write(struct kind_ctx *c, struct json *doc, const struct json *old)
{
    json_for (old, m)
        if (!str_eqz(json_key(m), "metadata") && !str_eqz(json_key(m), "status"))
            json_set(c->pool, doc, json_key(m), json_clone(c->pool, m));
    json_for (doc, m)
        if (!str_eqz(json_key(m), "metadata") && !str_eqz(json_key(m), "status") && !json_get(old, json_key(m)))
            json_remove(doc, m);
    if (c->res->hooks && c->res->hooks->status_edits_meta)
        return;
    struct json *meta = json_put_obj(c->pool, doc, STR("metadata"));
    const struct json *was = json_get(old, STR("metadata"));
    static const char *const members[] = {"labels", "ownerReferences", "finalizers"};
    for (size_t i = 0; i < ARRAY_LEN(members); i++)
        keep_member(c->pool, meta, was, str_of(members[i]));
}

static void generation(struct kind_ctx *c, struct json *doc, const struct json *old)
{
    struct json *meta = json_put_obj(c->pool, doc, STR("metadata"));
    int64_t was = json_get_int(json_get(old, STR("metadata")), "generation", 0), now = was;
    if (c->res->has_spec_generation)
        now = !old ? 1 : was + (c->sub.n == 0 || !str_eqz(c->sub, "status") ? spec_differs(doc, old, c->res->type->cr && !c->res->has_status) : 0);
    if (now)
        json_set_int(c->pool, meta, STR("generation"), now);
    else
        json_del(meta, STR("generation"));
}

int kind_prepare(struct kind_ctx *c, struct json *doc, const struct json *old, struct err **e)
{
    const struct kind_hooks *h = c->res->hooks;
    if (old)
        meta_keep(c, doc, old);
    if (c->res->has_status) {
        if (old && (str_eqz(c->sub, "status") || str_eqz(c->sub, "approval"))) /* an approval is a condition of the status */
            status_write(c, doc, old);
        else if (old)
            keep_member(c->pool, doc, old, STR("status"));
        else if (!h || !h->keeps_status)
            json_del(doc, STR("status"));
    }
    if (!old) {
        schema_default(c->res->type, c->pool, doc); /* a status that begins with a phase */
        if (json_get(doc, STR("metadata")))
            json_del(json_get(doc, STR("metadata")), STR("selfLink"));
    }
    if (h && h->prepare)
        h->prepare(c, doc, old);
    schema_fill_zero(c->res->type, c->pool, doc);
    generation(c, doc, old);
    schema_fill_zero(c->res->type, c->pool, doc);
    (void)e;
    return 0;
}

int kind_validate(struct kind_ctx *c, const struct json *doc, const struct json *old, struct err **e)
{
    struct err *found = NULL;
    if (!c->res->virtual_only)
        meta_validate(c, doc, old, &found);
    (void)schema_validate(c->res->type, c->pool, doc, old, &found);
    if (c->res->hooks && c->res->hooks->validate)
        c->res->hooks->validate(c, doc, old, &found);
    if (!found)
        return 0;
    struct buf b = BUF_INIT;
    struct str name = json_str_at(doc, "metadata", "name", NULL);
    buf_str_add(&b, c->res->kind);
    if (c->res->group.n)
        buf_printf(&b, ".%.*s", STR_ARG(c->res->group));
    buf_printf(&b, " \"%.*s\" is invalid: ", STR_ARG(name));
    struct buf causes = BUF_INIT;
    ferr_join(&causes, found);
    buf_str_add(&b, buf_str(&causes));
    buf_clear(&causes);
    free(found->message);
    found->message = buf_take(&b);
    return err_move(e, found);
}

void kind_cells(struct kind_ctx *c, const struct json *doc, struct json *cells_arr)
{
    if (c->res->type->cr)
        custom_cells(c, doc, cells_arr);
    else if (c->res->hooks && c->res->hooks->cells)
        c->res->hooks->cells(c, doc, cells_arr);
    else
        cells_by_path(c, doc, cells_arr);
}

/* The text of a value as a field selector compares it; an absent one is its type's zero value. */
static struct str field_text(const struct json *v, uint8_t kind)
{
    static _Thread_local char numbers[8][24]; /* the caller compares at once; eight calls are enough for one selector term */
    static _Thread_local unsigned turn;
    if (json_is(v, JSON_STR))
        return json_as_str(v);
    if (kind == SCH_BOOL)
        return json_as_bool(v, false) ? STR("true") : STR("false");
    if (kind == SCH_INT32 || kind == SCH_INT64) {
        char *at = numbers[turn++ % ARRAY_LEN(numbers)];
        int n = snprintf(at, sizeof(numbers[0]), "%" PRId64, json_as_int(v, 0));
        return str_make(at, (size_t)n);
    }
    return json_is(v, JSON_ARR) ? json_get_str(json_at(v, 0), "ip") : STR("");
}

bool kind_field(const struct schema_resource *r, const struct json *doc, struct str path, struct str *value)
{
    static const struct {
        const char *label, *path;
    } alias[] = {{"status.successful", "status.succeeded"}};
    if (r->hooks && r->hooks->field && r->hooks->field(doc, path, value))
        return true;
    bool known = str_eqz(path, "metadata.name") || (r->namespaced && str_eqz(path, "metadata.namespace"));
    for (uint8_t i = 0; i < r->nfield_selectors && !known; i++)
        known = str_eq(r->field_selectors[i], path);
    if (!known)
        return false;
    if (r->type->cr) {
        *value = custom_field(doc, path);
        return true;
    }
    for (size_t i = 0; i < ARRAY_LEN(alias); i++)
        if (str_eqz(path, alias[i].label))
            path = str_of(alias[i].path);
    const struct json *v = doc;
    const struct schema_type *t = r->type;
    const struct schema_field *f = NULL;
    struct str rest = path, name;
    while (str_split(&rest, '.', &name)) {
        v = json_get(v, name);
        f = schema_field(t, name);
        t = f ? f->ref : NULL;
    }
    *value = field_text(v, f ? f->kind : SCH_STRING);
    if (!value->p)
        *value = STR("");
    return true;
}
