/* Server-side apply and the upkeep of metadata.managedFields (KEP-555; apiserver's managedfields, structured-merge-diff v6).
 *
 * A manager is a name, an operation (Apply or Update), an apiVersion (Update only) and a subresource; it owns a set of fields. The caller runs these between
 * decoding and admission's last step:
 *
 *   apply   live + config → schema_apply → decode, default, admit, validate → store
 *   write   live + new object after admission → schema_manage → store (create: live is NULL)
 *
 * Both write the new metadata.managedFields into the document and keep the time of a manager whose fields did not change, so that a write without effect stays
 * one. Fields that the server decides (uid, generation, status on the main resource...) belong to nobody.
 */
#pragma once
#include "schema/schema.h"

/* A kind that is served in two versions of different form: where a field of one stands in the other. Names of a path are joined by '|'. A
 * manager's fields are kept in the words of the version it wrote in; they are compared in the words of the version of the request. */
struct field_moves {
    struct str left, right;              /* apiVersions */
    const char *const (*pairs)[2];       /* left's path, right's path */
    size_t n;
};

struct apply_ctx {
    struct pool *pool;
    const struct schema_resource *res;   /* of the request: group and version name the apiVersion that managers are noted with */
    const struct schema_type *type;      /* of the document; the resource's own when NULL */
    struct str sub;                      /* subresource, "" for none */
    struct str manager;                  /* fieldManager; for ordinary writes the user agent's first word when none was given (manager_from_agent) */
    int64_t now;                         /* ns; noted in whole seconds */
    bool force;
    const struct field_moves *moves;     /* NULL: all versions of the kind have one form */
};
/* Merges config into live (NULL: the object does not exist yet). *out is a new document; live and config stay as they are. ERR_CONFLICT with causes
 * (FieldManagerConflict, `conflict with "x" using apps/v1`, field .spec.replicas) when another manager owns what config changes and force is not set;
 * ERR_BAD_REQUEST when config carries managedFields or a keyed list is wrong. */
int schema_apply(struct apply_ctx *c, const struct json *live, const struct json *config, struct json **out, struct err **e) _must_check_;
/* Notes what an ordinary create, update or patch changed: rewrites doc's managedFields. A doc that brings managedFields of its own replaces the live ones
 * ([{}] and [] reset them); malformed ones are ignored, as Kubernetes does. */
void schema_manage(struct apply_ctx *c, const struct json *live, struct json *doc);
/* A new document: live with what config sets, by the type's lists and maps, as apply merges them; nobody's ownership is noted. */
struct json *schema_merge(const struct schema_type *t, struct pool *p, const struct json *live, const struct json *config);
/* "kubectl/v1.36 (linux) x" → "kubectl"; at most 128 bytes. */
struct str manager_from_agent(struct str user_agent);
