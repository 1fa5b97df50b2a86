#include "api/impl.h"
#include "schema/apply.h"

/* Server-side apply, and the upkeep of metadata.managedFields by every other write. */

/* Inside callers name no manager: their user does. system:serviceaccount:kube-system:deployment-controller → deployment-controller. */
static struct str manager_of(const struct call *c)
{
    if (!str_empty(c->manager))
        return c->manager;
    if (!str_empty(node_of_user(c->user)))
        return STR("kubelet");
    ssize_t colon = str_rchr(c->user->name, ':');
    struct str last = str_sub(c->user->name, (size_t)(colon + 1), c->user->name.n);
    return str_empty(last) ? STR("unknown") : str_sub(last, 0, 128);
}

static struct apply_ctx context(struct call *c, const struct schema_resource *r)
{
    struct str sub = str_empty(c->ri.sub) ? STR("") : c->ri.sub;
    return (struct apply_ctx){
        .pool = c->pool, .res = r, .sub = sub, .manager = manager_of(c), .now = clock_now(c->api->clock), .force = c->force,
        .moves = r->hooks ? r->hooks->moves : NULL};
}

/* A write in another version than the stored one, of a kind whose versions differ in form: fields are noted in the words of the request. */
static bool manage_as_asked(struct call *c)
{
    struct apply_ctx x = context(c, c->res);
    struct err *e = NULL;
    if (!x.moves || encode_as_stored(c))
        return false;
    struct json *old = c->w.old ? json_clone(c->pool, c->w.old) : NULL, *doc = json_clone(c->pool, c->w.doc);
    if ((old && encode_convert(c, &old, &e) < 0) || encode_convert(c, &doc, &e) < 0) {
        err_free(e);
        return false;
    }
    schema_manage(&x, old, doc);
    struct json *meta = json_put_obj(c->pool, c->w.doc, STR("metadata"));
    const struct json *fields = json_path(doc, "metadata", "managedFields", NULL);
    if (fields)
        json_set(c->pool, meta, STR("managedFields"), json_clone(c->pool, fields));
    else
        json_del(meta, STR("managedFields"));
    return true;
}

void apply_manage(struct call *c)
{
    struct apply_ctx x = context(c, c->stored);
    if (c->content == MEDIA_APPLY && c->ri.verb == VERB_PATCH)
        return; /* schema_apply wrote them */
    if (!manage_as_asked(c))
        schema_manage(&x, c->w.old, c->w.doc);
}

/* What a custom resource's schema does not know cannot be owned by anybody, whatever fieldValidation says. */
static int typed_strictly(struct call *c, const struct json *config, struct err **e)
{
    struct schema_notes notes = {0};
    struct json *copy = json_clone(c->pool, config);
    if (!json_is(copy, JSON_OBJ) || schema_decode(c->res, c->res->type, c->pool, copy, &notes, NULL) < 0 || !notes.n)
        return 0; /* other mistakes are told by who decodes it for good */
    struct buf b = BUF_INIT;
    for (size_t i = 0; i < notes.n && i < 32; i++) {
        struct str path = str_sub(notes.items[i], sizeof("unknown field \"") - 1, notes.items[i].n - 1);
        buf_printf(&b, "%s.%.*s: field not declared in schema", i ? "\n  " : notes.n > 1 ? "errors:\n  " : "", STR_ARG(path));
    }
    int r = err_set(e, ERR_INTERNAL, "failed to create typed patch object (%.*s/%.*s; %.*s, Kind=%.*s): %.*s", STR_ARG(c->ri.ns), STR_ARG(c->ri.name),
        STR_ARG(api_version(c->pool, c->res->group, c->res->version)), STR_ARG(c->res->kind), STR_ARG(buf_str(&b)));
    buf_clear(&b);
    return r;
}

static int read_config(struct call *c, struct json **config, struct err **e)
{
    struct json_dup *dups = NULL;
    if (c->extra) {
        *config = c->extra;
        return 0;
    }
    *config = c->in ? c->in->body : NULL;
    if (!*config && (c->in || decode_text(c, config, &dups, e) < 0))
        return c->in ? err_set(e, ERR_BAD_REQUEST, "the call has no body") : -(*e)->code;
    if (c->rq && str_empty(call_query(c, "fieldManager"))) {
        (void)err_set(
            e, ERR_INVALID, "PatchOptions.meta.k8s.io \"\" is invalid: fieldManager: Required value: is required for apply patch");
        return err_cause(e, "FieldValueRequired", STR("fieldManager"), "Required value: is required for apply patch"), -ERR_INVALID;
    }
    if (str_empty(json_get_str(*config, "apiVersion")) || str_empty(json_get_str(*config, "kind")))
        return err_set(e, ERR_BAD_REQUEST, "error decoding patch: apiVersion and kind must be set");
    if (c->res->type->cr && typed_strictly(c, *config, e) < 0)
        return -(*e)->code;
    if (decode_document(c, *config, dups, e) < 0)
        return -(*e)->code;
    struct json *meta = json_put_obj(c->pool, *config, STR("metadata"));
    struct str name = json_get_str(meta, "name"), ns = json_get_str(meta, "namespace");
    if (!str_empty(name) && !str_eq(name, c->ri.name))
        return err_set(e, ERR_BAD_REQUEST, "metadata.name: Invalid value: \"%.*s\": does not match the name on the URL (%.*s)",
            STR_ARG(name), STR_ARG(c->ri.name));
    if (!str_empty(ns) && !str_eq(ns, call_ns(c)))
        return err_set(e, ERR_BAD_REQUEST, "the namespace of the provided object does not match the namespace sent on the request");
    json_set_str(c->pool, meta, STR("name"), c->ri.name);
    if (c->res->namespaced)
        json_set_str(c->pool, meta, STR("namespace"), c->ri.ns);
    c->extra = *config;
    return 0;
}

int verb_apply(struct call *c, struct err **e)
{
    struct json *config = NULL, *live = NULL, *doc = NULL;
    struct apply_ctx x = context(c, c->res);
    if (read_config(c, &config, e) < 0)
        return -(*e)->code;
    bool missing = write_read_old(c, e) < 0;
    if (missing && ((*e)->code != ERR_NOT_FOUND || c->sub || !str_empty(json_str_at(config, "metadata", "uid", NULL))))
        return -(*e)->code;
    if (missing)
        err_free(TAKE(*e));
    else if (obj_parse(c->w.old_obj, c->pool, &live, e) < 0 || encode_convert(c, &live, e) < 0)
        return -(*e)->code;
    if (schema_apply(&x, live, config, &doc, e) < 0)
        return -(*e)->code;
    if (decode_document(c, doc, NULL, e) < 0)
        return -(*e)->code;
    if (!missing && write_expect(c, doc, e) < 0)
        return -(*e)->code;
    c->w.retry = str_empty(json_str_at(config, "metadata", "resourceVersion", NULL));
    if (encode_to_storage(c, &doc, e) < 0)
        return -(*e)->code;
    c->w.doc = doc;
    c->w.op = missing ? WRITE_CREATE : WRITE_UPDATE;
    return 0;
}
