/* Admission's expressions: what they see of a request, and who may ask the authorizer. Inside the room. */
#pragma once
#include "api/hooks.h"
#include "cel/cel.h"

#define HOOK_VARS 24
struct hook_env { /* variables for one request in one version; in the call's pool */
    struct hook_request *rq;
    struct cel_var vars[HOOK_VARS + 64];
    size_t n;
    struct json *object; /* as the expressions see it */
    const struct schema_resource *row;
    uint64_t cost;
};
/* object, oldObject, request, namespaceObject, authorizer, authorizer.requestResource. */
int hook_env(struct hook_request *rq, const struct schema_resource *row, struct hook_env **out, struct err **e) _must_check_;
void hook_env_json(struct hook_env *env, const char *name, const struct json *j);
int hook_eval(struct hook_env *env, const struct cel *c, struct cel_value *out, struct cel_run *r, struct err **e) _must_check_;
bool hook_conditions_env(const struct hook_condition *list, size_t n, struct hook_env *env, bool *failed, struct err **e);
