/* Admission in process: a table of rows (admit.c), one file per subject. Each row looks at a write and changes its document or refuses it.
 * Inside the room. Rows run in the table's order, on the decoded and defaulted document in the storage version, before it is prepared and
 * validated. */
#pragma once
#include "api/impl.h"

typedef int admit_fn(struct call *c, struct err **e);
admit_fn admit_lifecycle, admit_service_account, admit_priority, admit_tolerations, admit_pod_runtime_class, admit_limits, admit_security,
    admit_node, admit_node_restriction, admit_storage_class, admit_in_use, admit_ingress_class, admit_claim_resize, admit_csr, admit_legacy_token;
int quota_begin(struct call *c, struct err **e) _must_check_; /* holds the quota's lock until quota_end */
void quota_end(struct call *c);

/* 403: `pods "x" is forbidden: ...`. */
int admit_forbid(struct call *c, struct err **e, const char *fmt, ...) _printf_(3, 4);
/* An object of another kind, parsed into the call's pool; NULL when it is not there. The answer then depends on it. */
struct json *admit_lookup(struct call *c, struct store_res *r, struct str ns, struct str name);
/* All objects of r in ns: fn returns false to stop. */
void admit_each(
    struct call *c, struct store_res *r, struct str ns, bool (*fn)(void *arg, const struct obj *o, struct json *doc), void *arg);
/* json_set of a whole JSON text, for fixed pieces. */
struct json *admit_text(struct call *c, const char *text);
