/* CustomResourceDefinitions at work: from a stored CRD to a resource that is served (apiextensions-apiserver's controllers and handler).
 *
 *      CRD stands ──→ names accepted? ──→ pack of rows ──→ registry published ──→ status Established ──→ (spec changes: a new pack)
 *          │               └─→ NamesAccepted False: nothing is served
 *          └─→ deletionTimestamp ──→ no more creations ──→ instances deleted ──→ finalizer removed ──→ gone: rows and watches too
 *
 * All of it runs on the control loop, woken by the store's watch; requests see the published registry (struct call holds a reference).
 * Before Established is written the registry is published, so that whoever sees the condition can use the resource.
 */
#pragma once
#include "api/api.h"

struct crds;
struct call;
int crds_start(struct api *a, struct err **e) _must_check_; /* what stands is served when this returns */
void crds_free(struct crds *c);
void crds_publish(struct api *a); /* the registry once more: documents that were made from it are made anew. Control loop */
void crd_on_delete(struct call *c, struct json *doc); /* a deletion begins: the finalizer and the condition */

/* A watch on a custom resource ends when the resource goes. */
struct crd_watch;
struct crd_watch *crd_watch_add(struct api *a, struct str storage, struct loop *l, void (*gone)(void *arg), void *arg);
void crd_watch_drop(struct api *a, struct crd_watch *w); /* on its loop; gone does not come any more */

/* What a row of a CRD knows beyond the schema (schema_resource.extension). */
struct crd_row {
    const struct obj *crd;
    bool ending;                   /* being deleted: nothing new is taken */
    bool webhook;                  /* versions are converted by a webhook */
    const struct json *conversion; /* spec.conversion */
};
static inline const struct crd_row *crd_row(const struct schema_resource *r)
{
    return r->type->cr ? r->extension : NULL;
}

/* crd_pack.c: the rows of one CRD, or NULL when it has none to serve. o is referenced. */
struct schema_pack *crd_pack_new(const struct obj *o, const struct json *doc);
