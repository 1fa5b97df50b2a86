#include "api/impl.h"
#include "kinds/jsonpath.h"

/* The scale subresource: autoscaling/v1 Scale as a view of an object's spec.replicas. */

static struct json *scale_custom(struct call *c, const struct json *doc, struct json *s)
{
    struct pool *p = c->pool;
    json_set_int(p, json_put_obj(p, s, STR("spec")), STR("replicas"), json_as_int(jsonpath_first(doc, c->res->scale_spec), 0));
    struct json *status = json_put_obj(p, s, STR("status"));
    json_set_int(p, status, STR("replicas"), json_as_int(jsonpath_first(doc, c->res->scale_status), 0));
    struct str sel = c->res->scale_selector.n ? json_as_str(jsonpath_first(doc, c->res->scale_selector)) : STR_NULL;
    if (sel.n)
        json_set_str(p, status, STR("selector"), sel);
    return s;
}

struct json *scale_of(struct call *c, const struct json *doc)
{
    struct pool *p = c->pool;
    const struct json *meta = json_get(doc, STR("metadata"));
    static const char *const kept[] = {"name", "namespace", "uid", "resourceVersion", "creationTimestamp"};
    struct json *s = json_obj(p), *m;
    json_set_str(p, s, STR("kind"), STR("Scale"));
    json_set_str(p, s, STR("apiVersion"), STR("autoscaling/v1"));
    m = json_put_obj(p, s, STR("metadata"));
    for (size_t i = 0; i < ARRAY_LEN(kept); i++)
        if (!str_empty(json_get_str(meta, kept[i])))
            json_set_str(p, m, str_of(kept[i]), json_get_str(meta, kept[i]));
    if (c->res->type->cr)
        return scale_custom(c, doc, s);
    json_set_int(p, json_put_obj(p, s, STR("spec")), STR("replicas"), json_as_int(json_path(doc, "spec", "replicas", NULL), 1));
    struct json *status = json_put_obj(p, s, STR("status"));
    json_set_int(p, status, STR("replicas"), json_as_int(json_path(doc, "status", "replicas", NULL), 0));
    const struct json *sel = json_path(doc, "spec", "selector", NULL);
    struct selector q = {0};
    if (json_get(sel, STR("matchLabels")) || json_get(sel, STR("matchExpressions"))) {
        if (selector_from_json(p, sel, &q, NULL) < 0)
            return s;
    } else {
        selector_from_map(p, sel, true, &q);
    }
    json_set_str(p, status, STR("selector"), selector_text(p, &q));
    return s;
}

int sub_scale_get(struct call *c, struct err **e)
{
    if (write_read_old(c, e) < 0)
        return -(*e)->code;
    struct json *doc = c->w.old;
    if (encode_convert(c, &doc, e) < 0)
        return -(*e)->code;
    call_reply_tree(c, 200, scale_of(c, doc));
    if (!c->w.old_obj->soft)
        call_depend(c, c->w.old_obj->rev);
    return 0;
}

/* Takes spec.replicas of a Scale over into the object. */
static int scale_write(struct call *c, const struct json *scale, struct err **e)
{
    int64_t n = json_as_int(json_path(scale, "spec", "replicas", NULL), 0);
    if (n < 0 || n > INT32_MAX) {
        (void)err_set(e, ERR_INVALID,
            "Scale.autoscaling \"%.*s\" is invalid: spec.replicas: Invalid value: %" PRId64 ": must be greater than or equal to 0",
            STR_ARG(c->ri.name), n);
        return err_cause(e, "FieldValueInvalid", STR("spec.replicas"), "Invalid value: %" PRId64 ": must be greater than or equal to 0", n),
               -ERR_INVALID;
    }
    if (write_expect(c, scale, e) < 0)
        return -(*e)->code;
    if (obj_parse(c->w.old_obj, c->pool, &c->w.doc, e) < 0)
        return -(*e)->code;
    if (!c->res->type->cr)
        json_set_int(c->pool, json_put_obj(c->pool, c->w.doc, STR("spec")), STR("replicas"), n);
    else if (encode_convert(c, &c->w.doc, e) < 0)
        return -(*e)->code;
    else if (!jsonpath_set(c->pool, c->w.doc, c->res->scale_spec, json_int(c->pool, n)))
        return err_set(e, ERR_INTERNAL, "the path %.*s cannot be set", STR_ARG(c->res->scale_spec));
    if (c->res->type->cr && encode_to_storage(c, &c->w.doc, e) < 0)
        return -(*e)->code;
    c->w.op = WRITE_UPDATE;
    return 0;
}

int sub_scale_update(struct call *c, struct err **e)
{
    if (write_read_old(c, e) < 0)
        return -(*e)->code;
    return scale_write(c, c->doc, e);
}

int sub_scale_patch(struct call *c, struct err **e)
{
    struct json *patch = c->extra;
    if (!patch && c->in)
        patch = c->in->body;
    if (!patch && decode_text(c, &patch, NULL, e) < 0)
        return -(*e)->code;
    c->extra = patch;
    if (c->content == MEDIA_APPLY)
        return err_set(e, ERR_MEDIA_TYPE, "a scale takes JSON, merge and strategic merge patches");
    if (write_read_old(c, e) < 0)
        return -(*e)->code;
    struct json *doc = scale_of(c, c->w.old);
    if (patch_apply(c, &doc, json_clone(c->pool, patch), e) < 0 || decode_document(c, doc, NULL, e) < 0)
        return -(*e)->code;
    int r = scale_write(c, doc, e);
    c->w.retry = !(c->in && c->in->expect_rev) && str_empty(json_str_at(patch, "metadata", "resourceVersion", NULL));
    return r;
}
