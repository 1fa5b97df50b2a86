#include "api/call.h"
#include "api/crd.h"
#include "kinds/pod.h"
#include "schema/selector.h"

static bool field_known(const struct schema_resource *r, struct str path)
{
    if (str_eqz(path, "metadata.name") || (r->namespaced && str_eqz(path, "metadata.namespace")) || str_eqz(path, "metadata.namespace"))
        return true;
    for (size_t i = 0; i < r->nfield_selectors; i++)
        if (str_eq(r->field_selectors[i], path))
            return true;
    return false;
}

int select_parse(struct call *c, struct select *s, struct err **e)
{
    *s = (struct select){0};
    struct str labels = call_query(c, "labelSelector"), fields = call_query(c, "fieldSelector");
    if (!str_empty(labels) && selector_parse(c->pool, labels, &s->labels, e) < 0)
        return -(*e)->code;
    if (!str_empty(fields) && field_selector_parse(c->pool, fields, &s->fields, e) < 0)
        return -(*e)->code;
    for (size_t i = 0; i < s->fields.n; i++) {
        const struct sel_req *q = &s->fields.reqs[i];
        if (!field_known(c->res, q->key))
            return err_set(e, ERR_BAD_REQUEST, "field label not supported: %.*s", STR_ARG(q->key));
        bool exact = q->op == SEL_IN && q->nvalues == 1 && !str_empty(q->values[0]);
        if (str_eqz(q->key, "metadata.name")) {
            if (exact)
                s->name = q->values[0];
        } else if (str_eqz(q->key, "metadata.namespace")) {
            if (exact)
                s->ns = q->values[0];
        } else {
            s->parse = true;
        }
    }
    return 0;
}

static bool req_match(const struct sel_req *q, struct str value)
{
    bool in = false;
    for (size_t i = 0; i < q->nvalues; i++)
        in |= str_eq(q->values[i], value);
    return q->op == SEL_NOT_IN ? !in : in;
}

/* What a pod's projection tells without a parse. */
static bool field_of_view(const struct schema_resource *stored, const struct obj *o, struct str path, struct str *value)
{
    static const struct str phases[] = {STR("Pending"), STR("Running"), STR("Succeeded"), STR("Failed"), STR("Unknown")};
    const struct pod_view *v = o->view;
    if (!v || o->nview < sizeof *v || !str_eqz(stored->storage, "/pods"))
        return false;
    if (str_eqz(path, "spec.nodeName"))
        *value = pod_view_get(v, v->node);
    else if (str_eqz(path, "status.phase") && v->phase < ARRAY_LEN(phases))
        *value = phases[v->phase];
    else
        return false;
    return true;
}

static bool fields_match(const struct schema_resource *stored, const struct select *s, const struct obj *o)
{
    struct pool *pool = NULL;
    struct json *doc = NULL;
    bool ok = true;
    for (size_t i = 0; ok && i < s->fields.n; i++) {
        const struct sel_req *q = &s->fields.reqs[i];
        struct str value = STR("");
        if (str_eqz(q->key, "metadata.name")) {
            value = o->name;
        } else if (str_eqz(q->key, "metadata.namespace")) {
            value = o->ns;
        } else if (!field_of_view(stored, o, q->key, &value)) {
            if (!pool)
                ok = obj_parse(o, pool = pool_new(), &doc, NULL) >= 0;
            (void)kind_field(stored, doc, q->key, &value);
        }
        ok = ok && req_match(q, value);
    }
    pool_free(pool);
    return ok;
}

bool select_match_res(const struct schema_resource *stored, const struct select *s, const struct obj *o)
{
    if (s->labels.n || s->labels.nothing) {
        struct label few[32], *labels = few;
        _cleanup_(freep) void *many = NULL;
        if (o->nlabels > ARRAY_LEN(few))
            labels = many = xcalloc(o->nlabels, sizeof *labels);
        for (uint32_t i = 0; i < o->nlabels; i++)
            labels[i] = (struct label){o->labels[i].key, o->labels[i].value};
        if (!selector_match(&s->labels, labels, o->nlabels))
            return false;
    }
    return s->fields.n == 0 || fields_match(stored, s, o);
}

/* Fields of a custom resource are those of the version that was asked for. */
static bool custom_match(struct call *c, const struct select *s, const struct obj *o)
{
    struct select labels = *s;
    struct json *doc;
    bool ok = true;
    labels.fields.n = 0;
    if (!select_match_res(c->stored, &labels, o))
        return false;
    _cleanup_(pool_freep) struct pool *p = pool_new();
    struct pool *keep = c->pool, *whole = c->whole;
    c->whole = whole ? whole : keep;
    c->pool = p;
    ok = obj_parse(o, p, &doc, NULL) >= 0 && encode_convert(c, &doc, NULL) >= 0;
    for (size_t i = 0; ok && i < s->fields.n; i++) {
        struct str value = STR("");
        (void)kind_field(c->res, doc, s->fields.reqs[i].key, &value);
        ok = req_match(&s->fields.reqs[i], value);
    }
    c->pool = keep;
    c->whole = whole;
    return ok;
}

bool select_match(struct call *c, const struct select *s, const struct obj *o)
{
    return s->fields.n && c->res != c->stored && crd_row(c->res) ? custom_match(c, s, o) : select_match_res(c->stored, s, o);
}
