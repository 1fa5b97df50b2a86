#include "kinds/cell.h"
#include "kinds/rows.h"

/* Validating and mutating admission policies and their bindings. */
static void policy_cells(struct kind_ctx *c, const struct json *doc, struct json *row, const char *list)
{
    const struct json *param = json_path(doc, "spec", "paramKind", NULL);
    cell_add_str(c, row, json_str_at(doc, "metadata", "name", NULL));
    cell_add_int(c, row, (int64_t)json_count(json_path(doc, "spec", list, NULL)));
    cell_add_str(c, row,
        json_is(param, JSON_OBJ)
            ? pool_printf(c->pool, "%.*s/%.*s", STR_ARG(json_get_str(param, "apiVersion")), STR_ARG(json_get_str(param, "kind")))
            : STR("<unset>"));
    cell_add_age(c, row, json_str_at(doc, "metadata", "creationTimestamp", NULL));
}

static void validating(struct kind_ctx *c, const struct json *doc, struct json *row)
{
    policy_cells(c, doc, row, "validations");
}
static void mutating(struct kind_ctx *c, const struct json *doc, struct json *row)
{
    policy_cells(c, doc, row, "mutations");
}

static void binding(struct kind_ctx *c, const struct json *doc, struct json *row)
{
    const struct json *ref = json_path(doc, "spec", "paramRef", NULL);
    struct str name = json_get_str(ref, "name"), ns = json_get_str(ref, "namespace"), param = STR("<unset>");
    if (name.n)
        param = pool_printf(c->pool, "%.*s/%.*s", STR_ARG(ns.n ? ns : STR("*")), STR_ARG(name));
    else if (json_get(ref, STR("selector")))
        param = cell_selector(c->pool, json_get(ref, STR("selector")));
    cell_add_str(c, row, json_str_at(doc, "metadata", "name", NULL));
    cell_add_str(c, row, json_str_at(doc, "spec", "policyName", NULL));
    cell_add_str(c, row, param);
    cell_add_age(c, row, json_str_at(doc, "metadata", "creationTimestamp", NULL));
}

#define GROUP "admissionregistration.k8s.io"
const struct kind_hooks kind_validating_policy = {KIND(GROUP, "ValidatingAdmissionPolicy"), .cells = validating};
const struct kind_hooks kind_validating_binding = {KIND(GROUP, "ValidatingAdmissionPolicyBinding"), .cells = binding};
const struct kind_hooks kind_mutating_policy = {KIND(GROUP, "MutatingAdmissionPolicy"), .cells = mutating};
const struct kind_hooks kind_mutating_binding = {KIND(GROUP, "MutatingAdmissionPolicyBinding"), .cells = binding};
