/* What no table can say about a kind: hooks, one file per kind (kinds/<kind>.c), one row of hooks each, all rows in kinds.c. Nothing about a kind stands anywhere
 * else. Hooks work on the decoded tree, in the request's pool, on any thread, without side effects.
 *
 * Order on a write: decode (schema) → kind_default → admission (api) → prepare → validate → store. `old` is NULL on create.
 * `sub` is the subresource that the write came through ("" for the main resource).
 */
#pragma once
#include "schema/schema.h"

struct obj_index;
struct field_moves;
struct kind_ctx { struct pool *pool; const struct schema_resource *res; struct str sub; int64_t now; /* site clock, ns */ };
struct kind_hooks {
    struct str group, kind;
    void (*dflt)(struct kind_ctx *c, struct json *doc);                                              /* beyond the tables' defaults */
    void (*prepare)(struct kind_ctx *c, struct json *doc, const struct json *old);                   /* status reset on create, keep status on main PUT: done by tables; this is the rest */
    void (*validate)(struct kind_ctx *c, const struct json *doc, const struct json *old, struct err **e); /* adds causes (err_cause) */
    int (*convert)(struct kind_ctx *c, struct json *doc, struct str to_version, struct err **e);     /* between versions, in place */
    void (*cells)(struct kind_ctx *c, const struct json *doc, struct json *cells_arr);               /* one cell per column of schema_resource */
    void (*project)(struct pool *p, const struct json *doc, struct str *view);                       /* packed projection: a struct of kinds/<kind>.h */
    void (*index)(struct pool *p, const struct json *doc, struct obj_index *out);                    /* secondary index keys, see below */
    bool (*field)(const struct json *doc, struct str path, struct str *value);                       /* a field selector that is no path of the stored document; false: path is none of these */
    const char *(*name)(struct str s);                                                               /* grammar of metadata.name; NULL: name_dns1123_subdomain */
    const struct field_moves *moves;                                                                 /* schema/apply.h: how managed fields follow convert */
    bool keeps_status;                                                                               /* status given at creation stays (nodes) */
    bool status_edits_meta;                                                                          /* a status write may change labels and annotations (pods, nodes) */
};
/* Index keys of an object beyond owner uids (which the store makes itself): "node" → pods' node name, "ref" → "ConfigMap/ns/name" and "Secret/ns/name" that a pod names,
 * "service" → EndpointSlices' Service, "sa" ... A kind's own list stands in its file. */
struct obj_index { struct { const char *index; struct str key; } *items; size_t n; struct pool *pool; };
void obj_index_add(struct obj_index *ix, const char *index, struct str key);

void kinds_attach(void);  /* links hooks into the built-in tables; once, before any other thread */
void kind_default(struct kind_ctx *c, struct json *doc);                                   /* schema_default + hook, then schema_fill_zero */
int kind_prepare(struct kind_ctx *c, struct json *doc, const struct json *old, struct err **e); /* table rules (status, generation, what old metadata decides) + hook, then schema_fill_zero */
int kind_validate(struct kind_ctx *c, const struct json *doc, const struct json *old, struct err **e); /* metadata, schema_validate, hook; ERR_INVALID with causes,
                                                                                     message `Deployment.apps "x" is invalid: spec.replicas: ...` */
void kind_cells(struct kind_ctx *c, const struct json *doc, struct json *cells_arr);
/* Object's value for a field selector ("spec.nodeName", "status.phase"): "" when unset; false: this kind has no such field selector. */
bool kind_field(const struct schema_resource *r, const struct json *doc, struct str path, struct str *value);
