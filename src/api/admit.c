#include "api/admit.h"

enum { C = 1, U = 2, D = 4 };
static const struct {
    const char *group, *res;
    unsigned ops;
    admit_fn *fn;
} rows[] = {
    {NULL, NULL, C | D, admit_lifecycle},
    {"", "pods", C | U | D, admit_node_restriction},
    {"", "nodes", C | U | D, admit_node_restriction},
    {"coordination.k8s.io", "leases", C | U | D, admit_node_restriction},
    {"", "nodes", C, admit_node},
    {"", "pods", C, admit_service_account},
    {"", "pods", C | U, admit_priority},
    {"", "pods", C, admit_pod_runtime_class},
    {"", "pods", C | U, admit_tolerations},
    {"", "pods", C | U, admit_limits},
    {"", "persistentvolumeclaims", C, admit_limits},
    {"", "pods", C | U, admit_security},
    {"", "persistentvolumeclaims", C, admit_storage_class},
    {"", "persistentvolumeclaims", C, admit_in_use},
    {"", "persistentvolumeclaims", U, admit_claim_resize},
    {"", "persistentvolumes", C, admit_in_use},
    {"networking.k8s.io", "ingresses", C, admit_ingress_class},
    {"certificates.k8s.io", "certificatesigningrequests", C | U, admit_csr},
    {"", "secrets", C | U, admit_legacy_token},
    {"rbac.authorization.k8s.io", NULL, C | U, rbac_check_write},
};

int admit(struct call *c, struct err **e)
{
    unsigned op = c->w.op == WRITE_CREATE ? C : c->w.op == WRITE_UPDATE ? U : D;
    if (c->w.internal)
        return 0;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        if (!(rows[i].ops & op))
            continue;
        if ((rows[i].group && !str_eqz(c->ri.group, rows[i].group)) || (rows[i].res && !str_eqz(c->ri.res, rows[i].res)))
            continue;
        if (rows[i].fn(c, e) < 0)
            return -(*e)->code;
    }
    return admit_foreign(c, e);
}

int admit_after(struct call *c, struct err **e)
{
    if (str_empty(c->ri.group) && str_eqz(c->ri.res, "services") && str_empty(c->ri.sub)) {
        if (addresses_service(c, e) < 0)
            return -(*e)->code;
        schema_fill_zero(c->stored->type, c->pool, c->w.doc); /* its members in their order again: the same contents are the same bytes, so that writing them changes nothing */
    }
    if (quota_begin(c, e) < 0) {
        addresses_undo(c);
        return -(*e)->code;
    }
    return 0;
}

void admit_undo(struct call *c)
{
    quota_end(c);
    addresses_undo(c);
}

void admit_done(struct call *c)
{
    quota_end(c);
    addresses_done(c);
}

int admit_forbid(struct call *c, struct err **e, const char *fmt, ...)
{
    va_list ap;
    _cleanup_(buf_clear) struct buf b = BUF_INIT;
    struct str q = call_qualified(c), name = c->ri.name;
    if (str_empty(name) && c->w.doc)
        name = json_str_at(c->w.doc, "metadata", "name", NULL);
    buf_str_add(&b, q);
    if (!str_empty(name))
        buf_printf(&b, " \"%.*s\"", STR_ARG(name));
    buf_puts(&b, " is forbidden: ");
    va_start(ap, fmt);
    buf_vprintf(&b, fmt, ap);
    va_end(ap);
    return err_set(e, ERR_FORBIDDEN, "%.*s", STR_ARG(buf_str(&b)));
}

struct json *admit_lookup(struct call *c, struct store_res *r, struct str ns, struct str name)
{
    struct json *doc;
    if (!r)
        return NULL;
    _cleanup_(store_view_unrefp) struct store_view *v = store_view(c->api->store);
    const struct obj *o = view_get(v, r, ns, name);
    if (!o)
        return NULL;
    pool_hold_obj(c->pool, obj_ref(o));
    return obj_parse(o, c->pool, &doc, NULL) < 0 ? NULL : doc;
}

void admit_each(struct call *c, struct store_res *r, struct str ns, bool (*fn)(void *arg, const struct obj *o, struct json *doc), void *arg)
{
    struct store_iter it;
    if (!r)
        return;
    _cleanup_(store_view_unrefp) struct store_view *v = store_view(c->api->store);
    iter_start(&it, v, r, ns, STR_NULL, STR_NULL);
    for (const struct obj *o; (o = iter_next(&it));) {
        struct json *doc;
        pool_hold_obj(c->pool, obj_ref(o));
        if (obj_parse(o, c->pool, &doc, NULL) >= 0 && !fn(arg, o, doc))
            return;
    }
}

struct json *admit_text(struct call *c, const char *text)
{
    struct json *j = NULL;
    return json_parse(c->pool, str_of(text), NULL, &j, NULL) < 0 ? json_null(c->pool) : j;
}
