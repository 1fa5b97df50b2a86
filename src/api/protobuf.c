#include "api/call.h"
#include "schema/wire.h"

/* Bodies and answers as application/vnd.kubernetes.protobuf. JSON is what is stored; this is made on the way. */

static const char meta_v1[] = "io.k8s.apimachinery.pkg.apis.meta.v1.";

static const struct schema_type *meta_type(struct call *c, const char *name)
{
    return schema_find_type(c->schema, pool_printf(c->pool, "%s%s", meta_v1, name));
}

/* The body's bytes into a tree with apiVersion and kind in front. */
int protobuf_read(struct call *c, struct json **out, struct err **e)
{
    struct proto_envelope v;
    const struct schema_type *t = c->sub && c->sub->type ? c->sub->type : c->res->type;
    if (!proto_is_envelope(c->body))
        return err_set(e, ERR_BAD_REQUEST, "the body is not Kubernetes protobuf: it does not begin with \"k8s\"");
    if (proto_open(c->body, &v, e) < 0)
        return -(*e)->code;
    if (str_eqz(v.kind, "DeleteOptions"))
        t = meta_type(c, "DeleteOptions");
    if (!t || !schema_has_wire(t))
        return err_set(e, ERR_MEDIA_TYPE, "this kind has no protobuf form");
    struct json *o = json_obj(c->pool);
    json_set_str(c->pool, o, STR("kind"), v.kind);
    json_set_str(c->pool, o, STR("apiVersion"), v.api_version);
    if (proto_decode(&schema_wire, t, c->pool, v.raw, o, e) < 0)
        return -(*e)->code;
    *out = o;
    return 0;
}

static const struct schema_type *type_of(struct call *c, const struct json *doc)
{
    struct str version = json_get_str(doc, "apiVersion"), kind = json_get_str(doc, "kind");
    if (str_eqz(version, "v1") && str_eqz(kind, "Status"))
        return meta_type(c, "Status");
    if (str_eqz(version, "meta.k8s.io/v1"))
        return meta_type(c, kind.p ? pool_strz(c->pool, kind) : "");
    if (c->sub && c->sub->type && str_eq(kind, c->sub->kind))
        return c->sub->type;
    return c->res && str_eq(kind, c->res->kind) ? c->res->type : NULL;
}

/* Appends the enveloped document. false: it has no protobuf form. */
bool protobuf_write(struct call *c, const struct json *doc, struct buf *out)
{
    const struct schema_type *t = type_of(c, doc);
    _cleanup_(buf_clear) struct buf raw = BUF_INIT;
    if (!t || !schema_has_wire(t) || proto_encode(&schema_wire, t, doc, &raw, NULL) < 0)
        return false;
    proto_close(json_get_str(doc, "apiVersion"), json_get_str(doc, "kind"), buf_str(&raw), out);
    return true;
}

bool protobuf_list_item(struct call *c, const struct json *doc, struct buf *raw)
{
    const struct schema_type *t = type_of(c, doc);
    return t && proto_list_item(&schema_wire, t, doc, raw, NULL) >= 0;
}

/* The list around items that protobuf_list_item wrote. */
void protobuf_list(struct call *c, struct str version, struct str kind, struct str rv, struct str cont, int64_t remaining, struct str items,
    struct buf *out)
{
    _cleanup_(buf_clear) struct buf raw = BUF_INIT;
    (void)c;
    proto_list_meta(rv, cont, remaining, &raw);
    buf_str_add(&raw, items);
    proto_close(version, kind, buf_str(&raw), out);
}

void protobuf_frame(struct str type, struct str object, struct buf *out)
{
    proto_watch_event(type, object, out);
}
