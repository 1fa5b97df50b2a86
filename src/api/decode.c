#include "api/call.h"
#include "proto/proto.h"
#include "schema/apply.h"
#include "yaml/yaml.h"

static int invalid_option(struct err **e, const char *field, struct str value, const char *allowed)
{
    (void)err_set(e, ERR_INVALID, "%s: Unsupported value: \"%.*s\": supported values: %s", field, STR_ARG(value), allowed);
    (void)err_cause(
        e, "FieldValueNotSupported", str_of(field), "Unsupported value: \"%.*s\": supported values: %s", STR_ARG(value), allowed);
    return -ERR_INVALID;
}

int decode_options(struct call *c, struct err **e)
{
    struct str dry = call_query(c, "dryRun"), fv = call_query(c, "fieldValidation"), manager = call_query(c, "fieldManager");
    if (dry.p && !str_empty(dry) && !str_eqz(dry, "All"))
        return invalid_option(e, "dryRun", dry, "\"All\"");
    c->dry_run = str_eqz(dry, "All");
    if (str_empty(fv) || str_eqz(fv, "Warn"))
        c->validation = 0;
    else if (str_eqz(fv, "Strict"))
        c->validation = 1;
    else if (str_eqz(fv, "Ignore"))
        c->validation = 2;
    else
        return invalid_option(e, "fieldValidation", fv, "\"Ignore\", \"Strict\", \"Warn\"");
    struct str timeout = call_query(c, "timeout");
    int64_t ns;
    if (!str_empty(timeout) && c->ri.verb != VERB_WATCH && !(c->sub && !c->sub->type) &&
        (!proto_duration_parse(timeout, &ns) || ns < 0))
        return err_set(e, ERR_BAD_REQUEST, "invalid timeout specified in the request URL: \"%.*s\"", STR_ARG(timeout));
    if (manager.n > 128)
        return err_set(e, ERR_INVALID, "fieldManager: Too long: may not be more than 128 bytes");
    c->force = call_query_bool(c, "force");
    if (c->ri.resource && !(c->sink && str_empty(manager)))
        c->manager = str_empty(manager) ? manager_from_agent(http_header(c->rq, STR("user-agent"))) : manager;
    return 0;
}

int decode_text(struct call *c, struct json **out, struct json_dup **dups, struct err **e)
{
    static const struct json_limits limits = {.bytes = 3u << 20, .view = true};
    if (str_empty(str_trim(c->body)))
        return err_set(e, ERR_BAD_REQUEST, "the request body is empty");
    if (c->content == MEDIA_PROTO)
        return protobuf_read(c, out, e);
    bool json = c->content == MEDIA_APPLY && str_starts(str_trim(c->body), STR("{"));
    if (json &&
        json_parse_dups(c->pool, c->body, &limits, out, dups, NULL) >= 0) /* JSON is YAML too, and this way its duplicates are warnings */
        return 0;
    if (c->content == MEDIA_YAML || c->content == MEDIA_APPLY)
        return yaml_parse_one(c->pool, c->body, NULL, out, e) < 0 ? -(*e)->code : 0;
    return json_parse_dups(c->pool, c->body, &limits, out, dups, e) < 0 ? -(*e)->code : 0;
}

/* The document's apiVersion and kind are the path's, or left out. */
static int check_kind(struct call *c, struct json *doc, struct err **e)
{
    struct str group = c->sub ? c->sub->group : c->res->group, version = c->sub ? c->sub->version : c->res->version;
    struct str kind = c->sub ? c->sub->kind : c->res->kind, want = api_version(c->pool, group, version);
    struct str have = json_get_str(doc, "apiVersion"), have_kind = json_get_str(doc, "kind");
    if (!str_empty(have) && !str_eq(have, want))
        return err_set(e, ERR_BAD_REQUEST, "the API version in the data (%.*s) does not match the expected API version (%.*s)",
            STR_ARG(have), STR_ARG(want));
    if (!str_empty(have_kind) && !str_eq(have_kind, kind))
        return err_set(e, ERR_BAD_REQUEST, "%.*s in version \"%.*s\" cannot be handled as a %.*s", STR_ARG(have_kind), STR_ARG(version),
            STR_ARG(kind));
    if (str_empty(have))
        json_set_str(c->pool, doc, STR("apiVersion"), want);
    if (str_empty(have_kind))
        json_set_str(c->pool, doc, STR("kind"), kind);
    return 0;
}

static int report_notes(struct call *c, const struct schema_notes *notes, const struct json_dup *dups, struct err **e)
{
    if (c->validation == 2)
        return 0;
    _cleanup_(buf_clear) struct buf b = BUF_INIT;
    size_t n = 0;
    for (size_t i = 0; i < notes->n; i++, n++) {
        if (c->validation == 0)
            call_warn(c, "%.*s", STR_ARG(notes->items[i]));
        else if (n < 100)
            buf_printf(&b, "%s%.*s", n ? ", " : "", STR_ARG(notes->items[i]));
    }
    for (const struct json_dup *d = dups; d; d = d->next, n++) {
        if (c->validation == 0)
            call_warn(c, "duplicate field \"%.*s\"", STR_ARG(d->path));
        else if (n < 100)
            buf_printf(&b, "%sduplicate field \"%.*s\"", n ? ", " : "", STR_ARG(d->path));
    }
    if (c->validation != 1 || n == 0)
        return 0;
    struct str kind = c->sub ? c->sub->kind : c->res->kind, version = c->sub ? c->sub->version : c->res->version;
    return err_set(e, ERR_BAD_REQUEST, "%.*s in version \"%.*s\" cannot be handled as a %.*s: strict decoding error: %.*s", STR_ARG(kind),
        STR_ARG(version), STR_ARG(kind), STR_ARG(buf_str(&b)));
}

int decode_document(struct call *c, struct json *doc, struct json_dup *dups, struct err **e)
{
    struct schema_notes notes = {0};
    const struct schema_type *t = c->sub && c->sub->type ? c->sub->type : c->res->type;
    if (!json_is(doc, JSON_OBJ))
        return err_set(e, ERR_BAD_REQUEST, "the request body is a %s, not an object", doc ? json_type_name(doc->type) : "null");
    if (check_kind(c, doc, e) < 0)
        return -(*e)->code;
    if (schema_decode(c->res, t, c->pool, doc, &notes, e) < 0)
        return -(*e)->code;
    return report_notes(c, &notes, dups, e);
}

/* Name and namespace of the document are the path's, or left out. */
static int check_place(struct call *c, struct err **e)
{
    struct json *meta = json_put_obj(c->pool, c->doc, STR("metadata"));
    struct str name = json_get_str(meta, "name"), ns = json_get_str(meta, "namespace");
    bool named = !str_empty(c->ri.name) && c->ri.verb != VERB_CREATE;
    if (c->res->namespaced) {
        if (str_empty(ns) && !c->sub)
            json_set_str(c->pool, meta, STR("namespace"), c->ri.ns);
        else if (!str_empty(ns) && !str_eq(ns, c->ri.ns))
            return err_set(e, ERR_BAD_REQUEST, "the namespace of the provided object does not match the namespace sent on the request");
    } else if (!str_empty(ns) && !c->res->virtual_only) {
        return err_set(e, ERR_BAD_REQUEST, "namespace may not be set on a cluster-scoped object");
    }
    if (named && str_empty(name))
        return err_set(e, ERR_BAD_REQUEST, "name must be provided");
    if (named && !str_eq(name, c->ri.name))
        return err_set(e, ERR_BAD_REQUEST, "the name of the object (%.*s) does not match the name on the URL (%.*s)", STR_ARG(name),
            STR_ARG(c->ri.name));
    if (c->sub && c->rq && c->ri.verb == VERB_CREATE && !str_empty(name) && !str_eq(name, c->ri.name))
        return err_set(e, ERR_BAD_REQUEST, "name in URL does not match name in %.*s object", STR_ARG(c->sub->kind));
    return 0;
}

int decode_body(struct call *c, struct err **e)
{
    struct json_dup *dups = NULL;
    if (c->in) {
        c->doc = c->in->body;
        if (!c->doc)
            return err_set(e, ERR_BAD_REQUEST, "the call has no body");
    } else if (decode_text(c, &c->doc, &dups, e) < 0) {
        return -(*e)->code;
    }
    if (decode_document(c, c->doc, dups, e) < 0)
        return -(*e)->code;
    return check_place(c, e);
}
