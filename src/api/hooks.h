/* Admission from outside the process: webhooks (MutatingWebhookConfiguration, ValidatingWebhookConfiguration) and policies in CEL
 * (Mutating- and ValidatingAdmissionPolicy). What is asked of whom, and when:
 *
 *      in-process admission ──→ mutating policies ──→ mutating webhooks (one after the other) ──→ prepare, validate ──→ validating policies
 *                             ──→ validating webhooks (all at once) ──→ quota ──→ store
 *
 * A call waits in its state (ADMIT, or VERB for connections and special subresources) while webhooks are asked; no thread does.
 * Configurations are compiled when the revision of their resources changed, and shared between threads.
 *
 * Sources: k8s.io/apiserver's plugin/webhook and plugin/policy; admission/v1.
 */
#pragma once
#include "api/remote.h"
#include "api/impl.h"

struct hooks;
/* What configures them; NULL: this registry has none (the hub). */
enum hook_source {
    HOOK_MUTATING,
    HOOK_VALIDATING,
    HOOK_VALIDATING_POLICIES,
    HOOK_VALIDATING_BINDINGS,
    HOOK_MUTATING_POLICIES,
    HOOK_MUTATING_BINDINGS,
    HOOK_SOURCES
};
struct store_res *hooks_source(struct api *a, enum hook_source i);
struct hooks *hooks_new(void);
void hooks_free(struct hooks *h);

enum hook_op { HOOK_CREATE = 1, HOOK_UPDATE = 2, HOOK_DELETE = 4, HOOK_CONNECT = 8 };
struct hook_rule {
    unsigned ops;
    const struct str *groups, *versions, *resources, *names;
    uint16_t ngroups, nversions, nresources, nnames;
    struct str scope;
};
struct hook_match { /* what rules and selectors say of a request */
    struct hook_rule *rules, *excluded;
    size_t nrules, nexcluded;
    struct selector ns, object;
    bool exact;
};
struct hook_condition {
    struct str name, text;
    struct cel *program; /* NULL: did not compile */
};
struct hook { /* one webhook */
    struct str config, name;
    const struct json *client; /* clientConfig */
    struct hook_match match;
    struct hook_condition *conditions;
    size_t nconditions;
    bool mutating, ignore /* failurePolicy */, side_effects, reinvoke;
    int timeout_s;
    bool v1; /* admissionReviewVersions has v1 */
};

/* One request as hooks see it. */
struct hook_request {
    struct call *c;
    enum hook_op op;
    const struct schema_resource *res; /* as asked for */
    struct str sub, ns, name;
    struct json *object, *old; /* storage version, or the subresource's own document; NULL: none */
    bool own;                  /* object is the subresource's document (Eviction, PodAttachOptions): of no version but its own */
    struct str kind_group, kind_version, kind; /* of object, as asked for */
    const struct json *namespace_;             /* parsed when first asked for */
    bool namespace_read;
};
/* The row of the version in which rq matches, or NULL. */
const struct schema_resource *hook_matches(const struct hook_match *m, struct hook_request *rq);
int hook_match_parse(struct pool *p, const struct json *rules, const struct json *excluded, const struct json *ns,
    const struct json *object, struct str policy, struct hook_match *out, struct err **e) _must_check_;
size_t hook_conditions_compile(struct pool *p, const struct json *list, struct hook_condition **out); /* hook_cel.c */
const struct hook *hooks_list(struct call *c, bool mutating, size_t *n); /* of now; they live as long as the call */
const struct json *hook_namespace(struct hook_request *rq);
/* Object and old object in the version of row; clones. NULL: none. */
int hook_document(
    struct hook_request *rq, const struct schema_resource *row, const struct json *doc, struct json **out, struct err **e) _must_check_;
struct json *hook_review_request(
    struct hook_request *rq, const struct schema_resource *row, struct json *object, struct json *old, struct str uid);
/* The document of a mutated request back into the write: decoded, defaulted, in the storage version. */
int hook_take(struct hook_request *rq, const struct schema_resource *row, struct json *doc, struct err **e) _must_check_;

/* The ways into it. 0: go on; CALL_WAIT: call_resume comes, then call again; negative: refused. */
int hooks_mutate(struct call *c, struct err **e) _must_check_;
int hooks_validate(struct call *c, struct err **e) _must_check_;
int hooks_connect(struct call *c, struct err **e) _must_check_; /* before a handler that writes or connects by itself */
/* A collection's objects, one after the other, before any of them is deleted. */
int hooks_delete_each(struct call *c, const struct obj *const *all, size_t n, struct err **e) _must_check_;

/* policy.c */
struct policies;
void policies_unref(void *p);
struct policies **hooks_policies(struct hooks *h); /* takes the lock; hooks_policies_done gives it back */
void hooks_policies_done(struct hooks *h);
int policies_mutate(struct hook_request *rq, struct err **e) _must_check_;
int policies_validate(struct hook_request *rq, struct err **e) _must_check_;
/* hook_cel.c: are all conditions true? *failed: one could not be evaluated (the error says why). */
bool hook_conditions(
    const struct hook_condition *list, size_t n, struct hook_request *rq, const struct schema_resource *row, bool *failed, struct err **e);
