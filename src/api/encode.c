#include "api/call.h"
#include "api/convert.h"
#include "schema/structural.h"
#include "yaml/yaml.h"

struct str api_version(struct pool *p, struct str group, struct str version)
{
    return str_empty(group) ? version : pool_printf(p, "%.*s/%.*s", STR_ARG(group), STR_ARG(version));
}

static struct str storage_group(const struct schema_resource *r)
{
    ssize_t slash = str_rchr(r->storage, '/');
    return slash > 0 ? str_sub(r->storage, 0, (size_t)slash) : STR("");
}

struct str storage_api_version(const struct schema_resource *r, struct pool *p)
{
    return api_version(p, storage_group(r), r->storage_version);
}

bool encode_as_stored(const struct call *c)
{
    return c->res == c->stored && !(c->res->type->cr && c->res->type->cr->reread);
}

/* A custom resource takes the form of the version's schema: what was stored under an older one gets its defaults and loses what is unknown now. */
static int convert_custom(struct call *c, const struct schema_resource *from, const struct schema_resource *to, struct json **doc, struct err **e)
{
    if (from == to && !to->type->cr->reread)
        return 0;
    if (conv_by_webhook(from, to) && !str_eq(json_get_str(*doc, "apiVersion"), api_version(c->pool, to->group, to->version)))
        return conv_convert(c, from, to, doc, e);
    json_set_str(c->pool, *doc, STR("apiVersion"), api_version(c->pool, to->group, to->version));
    if (schema_decode(to, to->type, c->pool, *doc, NULL, e) < 0)
        return -(*e)->code;
    schema_default(to->type, c->pool, *doc);
    schema_fill_zero(to->type, c->pool, *doc);
    return 0;
}

static int convert(struct call *c, const struct schema_resource *from, const struct schema_resource *to, struct json **doc, struct err **e)
{
    if (to->type->cr)
        return convert_custom(c, from, to, doc, e);
    if (from == to)
        return 0;
    struct kind_ctx k = {c->pool, from, STR(""), clock_now(api_clock(c->api))};
    const struct kind_hooks *h = from->hooks && from->hooks->convert ? from->hooks : to->hooks;
    struct str target = api_version(c->pool, to->group, to->version);
    if (h && h->convert && h->convert(&k, *doc, target, e) < 0)
        return -(*e)->code;
    json_set_str(c->pool, *doc, STR("apiVersion"), target);
    json_set_str(c->pool, *doc, STR("kind"), to->kind);
    return 0;
}

int encode_between(struct call *c, const struct schema_resource *from, const struct schema_resource *to, struct json **doc, struct err **e)
{
    return convert(c, from, to, doc, e);
}

int encode_convert(struct call *c, struct json **doc, struct err **e)
{
    return convert(c, c->stored, c->res, doc, e);
}

int encode_to_storage(struct call *c, struct json **doc, struct err **e)
{
    return convert(c, c->res, c->stored, doc, e);
}

struct json *encode_partial(struct pool *p, const struct json *doc)
{
    struct json *o = json_obj(p);
    json_set_str(p, o, STR("kind"), STR("PartialObjectMetadata"));
    json_set_str(p, o, STR("apiVersion"), STR("meta.k8s.io/v1"));
    const struct json *meta = json_get(doc, STR("metadata"));
    json_set(p, o, STR("metadata"), meta ? json_clone(p, meta) : json_obj(p));
    return o;
}

void encode_doc(struct call *c, const struct json *doc, struct buf *out)
{
    if (c->accept.media == MEDIA_YAML) {
        yaml_write(out, doc);
        return;
    }
    if (c->accept.media == MEDIA_PROTO && protobuf_write(c, doc, out))
        return;
    if (c->accept.pretty)
        json_write_pretty(out, doc, 2);
    else
        json_write(out, doc);
    buf_putc(out, '\n');
}

void encode_object(struct call *c, const struct obj *o, struct buf *out, struct err **e)
{
    bool scale = c->sub && str_eqz(c->sub->name, "scale");
    if (!scale && c->accept.shape == SHAPE_OBJECT && encode_as_stored(c) && c->accept.media == MEDIA_JSON && !c->accept.pretty) {
        buf_reserve(out, o->json.n + 1);
        buf_str_add(out, o->json);
        buf_putc(out, '\n');
        return;
    }
    struct json *doc;
    if (obj_parse(o, c->pool, &doc, e) < 0 || encode_convert(c, &doc, e) < 0)
        return;
    if (scale) {
        encode_doc(c, scale_of(c, doc), out);
        return;
    }
    if (c->accept.shape == SHAPE_TABLE) {
        table_begin(c, out, json_str_at(doc, "metadata", "resourceVersion", NULL), STR_NULL, -1, true);
        table_row(c, out, doc, table_include(c));
        buf_puts(out, "]}\n");
        return;
    }
    if (c->accept.shape == SHAPE_PARTIAL)
        doc = encode_partial(c->pool, doc);
    encode_doc(c, doc, out);
}
