#include "api/impl.h"
#include "schema/structural.h"
#include "yaml/yaml.h"

/* JSON patch, merge patch and strategic merge patch. The patch is applied to the object in the version that was asked for. */

static int read_patch(struct call *c, struct json **patch, struct err **e)
{
    if (c->in) {
        *patch = c->in->body;
        return *patch ? 0 : err_set(e, ERR_BAD_REQUEST, "the call has no body");
    }
    return decode_text(c, patch, NULL, e);
}

int patch_apply(struct call *c, struct json **doc, const struct json *patch, struct err **e)
{
    const struct schema_type *t = c->sub && c->sub->type ? c->sub->type : c->res->type;
    switch (c->content) {
    case MEDIA_JSON_PATCH:
        if (!json_is(patch, JSON_ARR))
            return err_set(e, ERR_BAD_REQUEST, "error decoding patch: a JSON patch is an array of operations");
        return json_patch(c->pool, doc, patch, e) < 0 ? -(*e)->code : 0;
    case MEDIA_STRATEGIC:
        if (t->cr)
            return err_set(e, ERR_MEDIA_TYPE,
                "the body of the request was in an unknown format - accepted media types include: application/json-patch+json, application/merge-patch+json, "
                "application/apply-patch+yaml");
        if (!json_is(patch, JSON_OBJ))
            return err_set(e, ERR_BAD_REQUEST, "error decoding patch: a strategic merge patch is an object");
        return schema_strategic_merge(t, c->pool, *doc, patch, e) < 0 ? -(*e)->code : 0;
    default:
        if (!json_is(patch, JSON_OBJ))
            return err_set(e, ERR_BAD_REQUEST, "error decoding patch: a merge patch is an object");
        json_merge_patch(c->pool, doc, patch);
        return 0;
    }
}

static int check_identity(struct call *c, const struct json *doc, struct err **e)
{
    struct str name = json_str_at(doc, "metadata", "name", NULL), ns = json_str_at(doc, "metadata", "namespace", NULL);
    if (!str_eq(name, c->ri.name))
        return err_set(e, ERR_BAD_REQUEST, "the name of the object (%.*s) does not match the name on the URL (%.*s)", STR_ARG(name),
            STR_ARG(c->ri.name));
    if (c->res->namespaced && !str_eq(ns, c->ri.ns))
        return err_set(e, ERR_BAD_REQUEST, "the namespace of the object (%.*s) does not match the namespace on the request (%.*s)",
            STR_ARG(ns), STR_ARG(c->ri.ns));
    return 0;
}

int verb_patch(struct call *c, struct err **e)
{
    struct json *patch = NULL, *doc = NULL;
    if (c->content == MEDIA_APPLY)
        return verb_apply(c, e);
    if (c->rq && call_query(c, "force").p) {
        (void)err_set(e, ERR_INVALID, "PatchOptions.meta.k8s.io \"\" is invalid: force: Forbidden: may not be specified for non-apply patch");
        return err_cause(e, "FieldValueForbidden", STR("force"), "Forbidden: may not be specified for non-apply patch"), -ERR_INVALID;
    }
    if (!c->extra && read_patch(c, &patch, e) < 0)
        return -(*e)->code;
    if (patch)
        c->extra = patch;
    patch = json_clone(c->pool, c->extra); /* what is applied becomes part of the document */
    if (write_read_old(c, e) < 0 || obj_parse(c->w.old_obj, c->pool, &doc, e) < 0 || encode_convert(c, &doc, e) < 0)
        return -(*e)->code;
    if (patch_apply(c, &doc, patch, e) < 0 || decode_document(c, doc, NULL, e) < 0 || check_identity(c, doc, e) < 0)
        return -(*e)->code;
    if (write_expect(c, doc, e) < 0)
        return -(*e)->code;
    /* without a resourceVersion in the patch the document carries the one that was read: such a conflict is tried again */
    bool pinned = (c->in && c->in->expect_rev) || !str_empty(json_str_at(patch, "metadata", "resourceVersion", NULL));
    c->w.retry = !pinned;
    if (encode_to_storage(c, &doc, e) < 0)
        return -(*e)->code;
    c->w.doc = doc;
    c->w.op = WRITE_UPDATE;
    return 0;
}
