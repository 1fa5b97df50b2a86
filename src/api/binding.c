#include "api/impl.h"

/* pods/binding: the scheduler's word where a pod runs. */

static void set_condition(struct call *c, struct json *doc)
{
    struct json *conds = json_put_arr(c->pool, json_put_obj(c->pool, doc, STR("status")), STR("conditions")), *row = NULL;
    char now[TIME_MAX];
    json_for (conds, it)
        if (str_eqz(json_get_str(it, "type"), "PodScheduled"))
            row = it;
    if (!row) {
        row = json_append(conds, json_obj(c->pool));
        json_set_str(c->pool, row, STR("type"), STR("PodScheduled"));
    }
    json_set_str(c->pool, row, STR("status"), STR("True"));
    json_set(c->pool, row, STR("lastProbeTime"), json_null(c->pool));
    json_set_str(c->pool, row, STR("lastTransitionTime"), time_format(clock_now(c->api->clock), now));
    json_del(row, STR("reason"));
    json_del(row, STR("message"));
}

static int conflict(struct call *c, const char *why, struct err **e)
{
    return err_set(e, ERR_CONFLICT, "Operation cannot be fulfilled on pods/binding \"%.*s\": %s", STR_ARG(c->ri.name), why);
}

static void merge_map(struct call *c, struct json *meta, const char *key, const struct json *from)
{
    json_for (from, it)
        if (it->type == JSON_STR)
            json_set_str(c->pool, json_put_obj(c->pool, meta, str_of(key)), json_key(it), json_as_str(it));
}

int sub_binding(struct call *c, struct err **e)
{
    const struct json *target = json_get(c->doc, STR("target")), *meta = json_get(c->doc, STR("metadata"));
    struct str node = json_get_str(target, "name"), kind = json_get_str(target, "kind"), uid = json_get_str(meta, "uid");
    if (str_empty(node))
        return err_set(e, ERR_INVALID, "Binding \"%.*s\" is invalid: target.name: Required value", STR_ARG(c->ri.name));
    if (!str_empty(kind) && !str_eqz(kind, "Node"))
        return err_set(e, ERR_INVALID, "Binding \"%.*s\" is invalid: target.kind: Unsupported value: \"%.*s\": supported values: \"Node\"",
            STR_ARG(c->ri.name), STR_ARG(kind));
    if (write_read_old(c, e) < 0 || obj_parse(c->w.old_obj, c->pool, &c->w.doc, e) < 0)
        return -(*e)->code;
    if (!str_empty(uid) && !str_eq(uid, c->w.old_obj->uid))
        return conflict(c, "Precondition failed: UID in precondition and in the pod differ", e);
    struct json *spec = json_put_obj(c->pool, c->w.doc, STR("spec"));
    struct str had = json_get_str(spec, "nodeName");
    if (c->w.old_obj->deleted)
        return conflict(c, pool_printf(c->pool, "pod %.*s is being deleted, cannot be assigned to a host", STR_ARG(c->ri.name)).p, e);
    if (!str_empty(had))
        return conflict(c, pool_printf(c->pool, "pod %.*s is already assigned to node \"%.*s\"", STR_ARG(c->ri.name), STR_ARG(had)).p, e);
    if (json_count(json_get(spec, STR("schedulingGates"))))
        return conflict(c, pool_printf(c->pool, "pod %.*s has non-empty .spec.schedulingGates", STR_ARG(c->ri.name)).p, e);
    json_set_str(c->pool, spec, STR("nodeName"), node);
    struct json *pm = json_put_obj(c->pool, c->w.doc, STR("metadata"));
    merge_map(c, pm, "annotations", json_get(meta, STR("annotations")));
    merge_map(c, pm, "labels", json_get(meta, STR("labels")));
    set_condition(c, c->w.doc);
    c->w.op = WRITE_UPDATE;
    c->w.internal = true;
    c->w.retry = true;
    c->w.expect_rev = c->w.old_obj->rev;
    c->status_only = true;
    c->code = 201;
    return 0;
}

/* POST .../bindings: the old way, the pod's name stands in the body. */
int sub_bindings(struct call *c, struct err **e)
{
    const struct schema_resource *pods = schema_find(c->schema, STR(""), STR("v1"), STR("pods"));
    struct str name = json_str_at(c->doc, "metadata", "name", NULL);
    if (!pods || !c->api->res.pods || str_empty(name))
        return err_set(e, ERR_BAD_REQUEST, "name must be provided");
    c->res = c->stored = pods;
    c->ri.res = STR("pods");
    c->ri.name = name;
    c->sres = c->api->res.pods;
    return sub_binding(c, e);
}

/* namespaces/finalize: only spec.finalizers is taken; the last one gone, a namespace that is being deleted goes. */
int sub_finalize(struct call *c, struct err **e)
{
    if (write_read_old(c, e) < 0 || write_expect(c, c->doc, e) < 0 || obj_parse(c->w.old_obj, c->pool, &c->w.doc, e) < 0)
        return -(*e)->code;
    const struct json *f = json_path(c->doc, "spec", "finalizers", NULL);
    struct json *spec = json_put_obj(c->pool, c->w.doc, STR("spec"));
    if (json_count(f))
        json_set(c->pool, spec, STR("finalizers"), json_clone(c->pool, f));
    else
        json_del(spec, STR("finalizers"));
    c->w.op = WRITE_UPDATE;
    c->w.internal = true;
    return 0;
}
