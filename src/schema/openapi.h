/* Parts that both OpenAPI documents share. Inside the room only. */
#pragma once
#include "base/buf.h"
#include "base/pool.h"
#include "schema/registry.h"

struct openapi {
    const struct schema *s;
    struct buf *b;
    bool v2;
    uint8_t *wanted; /* by index of s->types */
    uint32_t *todo;
    size_t ntodo;
    unsigned extra; /* which of the types without a table (Time, Quantity...) were named */
    struct pool *scratch;
};
/* ",": before every member but the first of an object. */
static inline void openapi_comma(struct buf *b)
{
    if (b->n && b->p[b->n - 1] != '{' && b->p[b->n - 1] != '[')
        buf_putc(b, ',');
}
void openapi_key(struct buf *b, struct str key);                 /* ,"key": */
void openapi_text(struct buf *b, const char *key, struct str v); /* ,"key":"v" */
void openapi_raw(struct buf *b, const char *key, const char *json);
void openapi_want(struct openapi *o, const struct schema_type *t);
void openapi_ref(struct openapi *o, struct str name); /* {"$ref":"..."} without the braces */
void openapi_schemas(struct openapi *o);              /* all that is wanted, and what these name: "name":{...},... */
void openapi_gvk(struct buf *b, struct str group, struct str version, struct str kind);
/* A custom resource's schema and its list's; names of both. */
void cr_openapi(struct openapi *o, const struct schema_resource *r);
struct str cr_list_name(struct pool *p, const struct schema_resource *r);
/* The paths of one resource. */
void openapi_paths(struct openapi *o, const struct schema_resource *r);
const struct schema_type *openapi_list_type(const struct openapi *o, const struct schema_resource *r); /* NULL: it has none */
