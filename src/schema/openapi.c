#include "schema/openapi.h"

#include <stdlib.h>

static void begin(struct openapi *o)
{
    const struct schema_type *status = schema_find_type(o->s, STR("io.k8s.apimachinery.pkg.apis.meta.v1.Status")),
                             *options = schema_find_type(o->s, STR("io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions"));
    o->wanted = xcalloc(o->s->ntypes + 1, 1);
    o->todo = xcalloc(o->s->ntypes + 1, sizeof(*o->todo));
    o->scratch = pool_new();
    if (status)
        openapi_want(o, status);
    if (options)
        openapi_want(o, options);
}

static void end(struct openapi *o)
{
    free(o->wanted);
    free(o->todo);
    pool_free(o->scratch);
}

int schema_openapi_v3(const struct schema *s, struct str group, struct str version, struct buf *out, struct err **e)
{
    struct openapi o = {.s = s, .b = out};
    bool any = false;
    for (uint32_t i = 0; i < s->nresources; i++)
        any |= str_eq(s->resources[i]->group, group) && str_eq(s->resources[i]->version, version) && !s->resources[i]->unserved;
    if (!any)
        return err_set(e, ERR_NOT_FOUND, "no resources in %.*s/%.*s", STR_ARG(group), STR_ARG(version));
    begin(&o);
    buf_puts(out, "{\"openapi\":\"3.0.0\",\"info\":{\"title\":\"Kubernetes\",\"version\":\"v1.36.0\"},\"paths\":{");
    for (uint32_t i = 0; i < s->nresources; i++)
        if (str_eq(s->resources[i]->group, group) && str_eq(s->resources[i]->version, version))
            openapi_paths(&o, s->resources[i]);
    buf_puts(out, "},\"components\":{\"schemas\":{");
    for (uint32_t i = 0; i < s->nresources; i++)
        if (s->resources[i]->type->cr && !s->resources[i]->unserved && str_eq(s->resources[i]->group, group) && str_eq(s->resources[i]->version, version))
            cr_openapi(&o, s->resources[i]);
    openapi_schemas(&o);
    buf_puts(out, "}}}");
    end(&o);
    return buf_failed(out) ? err_set(e, ERR_LIMIT, "the OpenAPI document passes its size limit") : 0;
}

int schema_openapi_v2(const struct schema *s, struct buf *out, struct err **e)
{
    struct openapi o = {.s = s, .b = out, .v2 = true};
    begin(&o);
    buf_puts(out, "{\"swagger\":\"2.0\",\"info\":{\"title\":\"Kubernetes\",\"version\":\"v1.36.0\"},\"paths\":{");
    for (uint32_t i = 0; i < s->nresources; i++)
        openapi_paths(&o, s->resources[i]);
    buf_puts(out, "},\"definitions\":{");
    for (uint32_t i = 0; i < s->nresources; i++)
        if (s->resources[i]->type->cr && !s->resources[i]->unserved)
            cr_openapi(&o, s->resources[i]);
    openapi_schemas(&o);
    buf_puts(out, "}}");
    end(&o);
    return buf_failed(out) ? err_set(e, ERR_LIMIT, "the OpenAPI document passes its size limit") : 0;
}
