#include "api/crd.h"
#include "kinds/jsonpath.h"
#include "schema/structural.h"

/* One CRD as rows of the registry. */

static const struct json *source(void *arg, struct str version, struct pool *p)
{
    struct json *doc;
    if (obj_parse(arg, p, &doc, NULL) < 0) /* the pack keeps the object: views into it stay good as long as its nodes */
        return NULL;
    json_for (json_path(doc, "spec", "versions", NULL), v)
        if (str_eq(json_get_str(v, "name"), version))
            return json_path(v, "schema", "openAPIV3Schema", NULL);
    return NULL;
}

static void drop(void *arg)
{
    obj_unref(arg);
}

static const struct str *texts(struct pool *p, const struct json *list, size_t max, uint8_t *n)
{
    struct str *out = pool_array(p, struct str, max);
    *n = 0;
    json_for (list, x)
        if (*n < max)
            out[(*n)++] = pool_str(p, json_as_str(x));
    return out;
}

/* "com.example.stable.v1.CronTab" */
static struct str type_name(struct pool *p, struct str group, struct str version, struct str kind)
{
    struct buf b = BUF_INIT;
    struct str left = group;
    while (left.n) {
        ssize_t dot = str_rchr(left, '.');
        buf_str_add(&b, str_sub(left, (size_t)(dot + 1), left.n));
        buf_putc(&b, '.');
        left = dot < 0 ? STR("") : str_sub(left, 0, (size_t)dot);
    }
    buf_printf(&b, "%.*s.%.*s", STR_ARG(version), STR_ARG(kind));
    return buf_to_pool(&b, p);
}

static void columns(struct pool *p, struct schema_resource *r, const struct json *list)
{
    size_t n = MIN(json_count(list), 250u);
    struct schema_column *c = pool_array(p, struct schema_column, n + 2);
    c[0] = (struct schema_column){.name = STR("Name"),
        .type = STR("string"),
        .format = STR("name"),
        .path = STR(".metadata.name"),
        .doc = STR("Name must be unique within a namespace. Is required when creating resources, although some resources may allow a "
                   "client to request the "
                   "generation of an appropriate name automatically. Name is primarily intended for creation idempotence and configuration "
                   "definition. "
                   "Cannot be updated. More info: https://kubernetes.io/docs/concepts/overview/working-with-objects/names#names")};
    r->ncolumns = 1;
    if (!n)
        c[r->ncolumns++] = (struct schema_column){.name = STR("Age"),
            .type = STR("date"),
            .format = STR(""),
            .path = STR(".metadata.creationTimestamp"),
            .doc = STR("CreationTimestamp is a timestamp representing the server time when this object was created.")};
    json_for (list, x) {
        if (r->ncolumns > n)
            break;
        c[r->ncolumns++] = (struct schema_column){.name = pool_str(p, json_get_str(x, "name")),
            .type = pool_str(p, json_get_str(x, "type")),
            .format = pool_str(p, json_get_str(x, "format")),
            .path = pool_str(p, json_get_str(x, "jsonPath")),
            .doc = pool_str(p, json_get_str(x, "description")),
            .priority = (uint8_t)json_get_int(x, "priority", 0)};
    }
    r->columns = c;
}

static void subresources(struct pool *p, struct schema_resource *r, const struct json *subs)
{
    struct schema_subresource *s = pool_array(p, struct schema_subresource, 2);
    const struct json *scale = json_get(subs, STR("scale"));
    if (json_is(scale, JSON_OBJ)) {
        _cleanup_(schema_unrefp) struct schema *base = schema_builtin();
        s[r->nsubs++] = (struct schema_subresource){.name = STR("scale"),
            .group = STR("autoscaling"),
            .version = STR("v1"),
            .kind = STR("Scale"),
            .type = schema_find_type(base, STR("io.k8s.api.autoscaling.v1.Scale")),
            .verbs = V_GET | V_UPDATE | V_PATCH};
        r->scale_spec = pool_str(p, json_get_str(scale, "specReplicasPath"));
        r->scale_status = pool_str(p, json_get_str(scale, "statusReplicasPath"));
        r->scale_selector = pool_str(p, json_get_str(scale, "labelSelectorPath"));
    }
    if (json_is(json_get(subs, STR("status")), JSON_OBJ)) {
        s[r->nsubs++] = (struct schema_subresource){.name = STR("status"),
            .group = r->group,
            .version = r->version,
            .kind = r->kind,
            .type = r->type,
            .verbs = V_GET | V_UPDATE | V_PATCH};
        r->has_status = true;
    }
    r->subs = s;
}

static void selectors(struct pool *p, struct schema_resource *r, const struct json *list)
{
    json_for (list, x) {
        struct str path = json_get_str(x, "jsonPath");
        if (r->nfield_selectors < ARRAY_LEN(r->field_selectors) && path.n > 1)
            r->field_selectors[r->nfield_selectors++] = pool_str(p, str_sub(path, 1, path.n));
    }
}

static void warning(struct pool *p, struct schema_resource *r, const struct json *v)
{
    r->deprecated = json_get_bool(v, "deprecated", false);
    struct str text = json_get_str(v, "deprecationWarning");
    if (!r->deprecated)
        return;
    r->deprecation = text.p ? pool_str(p, text)
                            : pool_printf(p, "%.*s/%.*s %.*s is deprecated", STR_ARG(r->group), STR_ARG(r->version), STR_ARG(r->kind));
}

struct schema_pack *crd_pack_new(const struct obj *o, const struct json *doc)
{
    const struct json *spec = json_get(doc, STR("spec")), *names = json_path(doc, "status", "acceptedNames", NULL),
                      *all = json_get(spec, STR("versions"));
    size_t n = 0;
    json_for (all, v)
        n += json_get_bool(v, "served", false) || json_get_bool(v, "storage", false);
    if (!n || !json_get_str(names, "plural").n)
        return NULL;
    struct schema_pack *pack = schema_pack_new(n, source, drop, obj_ref(o));
    struct pool *p = pack->pool;
    struct crd_row *row = pool_new_of(p, struct crd_row);
    const struct json *conversion = json_get(spec, STR("conversion"));
    *row = (struct crd_row){.crd = o, .ending = o->deleted != 0, .webhook = str_eqz(json_get_str(conversion, "strategy"), "Webhook")};
    row->conversion = conversion ? json_clone(p, conversion) : NULL;
    struct str storage_version = STR_NULL;
    json_for (all, v)
        if (json_get_bool(v, "storage", false))
            storage_version = pool_str(p, json_get_str(v, "name"));
    size_t i = 0;
    json_for (all, v) {
        bool served = json_get_bool(v, "served", false);
        if (!served && !json_get_bool(v, "storage", false))
            continue;
        struct schema_resource *r = &pack->rows[i];
        struct cr_type *t = pack->types[i++];
        r->group = pool_str(p, json_get_str(spec, "group"));
        r->version = pool_str(p, json_get_str(v, "name"));
        r->resource = pool_str(p, json_get_str(names, "plural"));
        r->singular = pool_str(p, json_get_str(names, "singular"));
        r->kind = pool_str(p, json_get_str(names, "kind"));
        r->list_kind = pool_str(p, json_get_str(names, "listKind"));
        r->namespaced = str_eqz(json_get_str(spec, "scope"), "Namespaced");
        r->verbs = V_GET | V_LIST | V_WATCH | V_CREATE | V_UPDATE | V_PATCH | V_DELETE | V_DELETECOLLECTION;
        r->short_names = texts(p, json_get(names, STR("shortNames")), 32, &r->nshort);
        r->categories = texts(p, json_get(names, STR("categories")), 32, &r->ncategories);
        r->storage = pool_printf(p, "%.*s/%.*s", STR_ARG(r->group), STR_ARG(r->resource));
        r->storage_version = storage_version;
        r->has_spec_generation = true;
        r->unserved = !served;
        r->extension = row;
        r->stamp = o->rev;
        t->type.name = type_name(p, r->group, r->version, r->kind);
        t->version = r->version;
        t->reread = o->generation > 1;
        subresources(p, r, json_get(v, STR("subresources")));
        columns(p, r, json_get(v, STR("additionalPrinterColumns")));
        selectors(p, r, json_get(v, STR("selectableFields")));
        warning(p, r, v);
    }
    return pack;
}
