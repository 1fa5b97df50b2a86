#include "kinds/admission_rules.h"
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

/* ---- validation ---- */

static const char *const vars[] = {"object", "oldObject", "request", "params", "namespaceObject", "authorizer", "variables", NULL};

static void match(const struct json *m, bool need, const struct fpath *at, struct err **e)
{
    struct fpath rules_at = FPATH(at, "resourceRules"), excluded_at = FPATH(at, "excludeResourceRules");
    if (need && !json_is(m, JSON_OBJ)) {
        ferr_required(e, at, "");
        return;
    }
    if (need && !json_count(json_get(m, STR("resourceRules"))))
        ferr_required(e, &rules_at, "");
    admission_rules(json_get(m, STR("resourceRules")), &rules_at, e);
    admission_rules(json_get(m, STR("excludeResourceRules")), &excluded_at, e);
}

static void param_kind(const struct json *k, const struct fpath *at, struct err **e)
{
    struct fpath version_at = FPATH(at, "apiVersion"), kind_at = FPATH(at, "kind");
    if (!json_is(k, JSON_OBJ))
        return;
    if (!json_get_str(k, "apiVersion").n)
        ferr_required(e, &version_at, "");
    if (!json_get_str(k, "kind").n)
        ferr_required(e, &kind_at, "");
}

static void variables(const struct json *list, const struct json *old, const struct fpath *at, struct err **e)
{
    size_t i = 0;
    json_for (list, v) {
        struct fpath here = fpath_at(at, i++), name_at = FPATH(&here, "name"), expr_at = FPATH(&here, "expression");
        if (!json_get_str(v, "name").n)
            ferr_required(e, &name_at, "variable name is required");
        admission_expression(json_get_str(v, "expression"), old, vars, &expr_at, e);
    }
}

static void validate_common(const struct json *spec, const struct json *old, const struct fpath *at, struct err **e)
{
    struct fpath match_at = FPATH(at, "matchConstraints"), kind_at = FPATH(at, "paramKind"), conditions_at = FPATH(at, "matchConditions"),
                 vars_at = FPATH(at, "variables");
    match(json_get(spec, STR("matchConstraints")), true, &match_at, e);
    param_kind(json_get(spec, STR("paramKind")), &kind_at, e);
    admission_conditions(json_get(spec, STR("matchConditions")), old, vars, &conditions_at, e);
    variables(json_get(spec, STR("variables")), old, &vars_at, e);
}

static void validate_validating(struct kind_ctx *c, const struct json *doc, const struct json *was, struct err **e)
{
    static const struct str reasons[] = {STR("Forbidden"), STR("Invalid"), STR("RequestEntityTooLarge"), STR("Unauthorized")};
    const struct json *spec = json_get(doc, STR("spec")), *old = json_get(was, STR("spec")),
                      *notes = json_get(spec, STR("auditAnnotations"));
    struct fpath at = FPATH(NULL, "spec"), list = FPATH(&at, "validations"), notes_at = FPATH(&at, "auditAnnotations");
    size_t i = 0;
    (void)c;
    validate_common(spec, old, &at, e);
    if (!json_count(json_get(spec, STR("validations"))) && !json_count(notes))
        ferr_required(e, &list, "validations or auditAnnotations must be non-empty");
    json_for (json_get(spec, STR("validations")), v) {
        struct fpath here = fpath_at(&list, i++), expr_at = FPATH(&here, "expression"), msg_at = FPATH(&here, "messageExpression"),
                     reason_at = FPATH(&here, "reason");
        struct str reason = json_get_str(v, "reason"), text = json_get_str(v, "messageExpression");
        bool known = !reason.n;
        for (size_t k = 0; k < ARRAY_LEN(reasons); k++)
            known |= str_eq(reasons[k], reason);
        admission_expression(json_get_str(v, "expression"), old, vars, &expr_at, e);
        if (text.n)
            admission_expression(text, old, vars, &msg_at, e);
        if (!known)
            ferr_not_supported(e, &reason_at, reason, reasons, ARRAY_LEN(reasons));
    }
    i = 0;
    json_for (notes, n) {
        struct fpath here = fpath_at(&notes_at, i++), expr_at = FPATH(&here, "valueExpression");
        admission_expression(json_get_str(n, "valueExpression"), old, vars, &expr_at, e);
    }
}

static void validate_mutating(struct kind_ctx *c, const struct json *doc, const struct json *was, struct err **e)
{
    const struct json *spec = json_get(doc, STR("spec")), *old = json_get(was, STR("spec"));
    struct fpath at = FPATH(NULL, "spec"), list = FPATH(&at, "mutations"), again_at = FPATH(&at, "reinvocationPolicy");
    size_t i = 0;
    (void)c;
    validate_common(spec, old, &at, e);
    if (!json_count(json_get(spec, STR("mutations"))))
        ferr_required(e, &list, "mutations must contain at least one item");
    if (!json_get_str(spec, "reinvocationPolicy").n)
        ferr_required(e, &again_at, "");
    json_for (json_get(spec, STR("mutations")), m) {
        bool patch = str_eqz(json_get_str(m, "patchType"), "JSONPatch");
        const char *member = patch ? "jsonPatch" : "applyConfiguration";
        struct fpath here = fpath_at(&list, i++), body_at = fpath_name(&here, str_of(member)), expr_at = FPATH(&body_at, "expression");
        if (!json_get(m, str_of(member)))
            ferr_required(e, &body_at,
                patch ? "must be specified when patchType is JSONPatch" : "must be specified when patchType is ApplyConfiguration");
        else
            admission_expression(json_str_at(m, member, "expression", NULL), old, vars, &expr_at, e);
    }
}

static void validate_binding(struct kind_ctx *c, const struct json *doc, const struct json *was, struct err **e)
{
    const struct json *spec = json_get(doc, STR("spec")), *ref = json_get(spec, STR("paramRef"));
    struct fpath at = FPATH(NULL, "spec"), policy_at = FPATH(&at, "policyName"), match_at = FPATH(&at, "matchResources"),
                 ref_at = FPATH(&at, "paramRef"), missing_at = FPATH(&ref_at, "parameterNotFoundAction"), name_at = FPATH(&ref_at, "name"),
                 actions_at = FPATH(&at, "validationActions");
    bool deny = false, warn = false;
    (void)was;
    if (!json_get_str(spec, "policyName").n && str_eqz(c->res->kind, "MutatingAdmissionPolicyBinding"))
        ferr_required(e, &policy_at, "");
    match(json_get(spec, STR("matchResources")), false, &match_at, e);
    if (json_is(ref, JSON_OBJ)) {
        bool name = json_get_str(ref, "name").n > 0, sel = json_is(json_get(ref, STR("selector")), JSON_OBJ);
        if (name == sel && name)
            ferr_forbidden(e, &name_at, "name and selector are mutually exclusive");
        else if (name == sel)
            ferr_required(e, &ref_at, "one of name or selector must be specified");
        if (!json_get_str(ref, "parameterNotFoundAction").n)
            ferr_required(e, &missing_at, "");
    }
    json_for (json_get(spec, STR("validationActions")), a) {
        deny |= str_eqz(json_as_str(a), "Deny");
        warn |= str_eqz(json_as_str(a), "Warn");
    }
    if (deny && warn)
        ferr_invalid(e, &actions_at, json_get(spec, STR("validationActions")),
            "must not contain both Deny and Warn (repeating the same validation failure information in the API response and headers serves "
            "no purpose)");
}

#define GROUP "admissionregistration.k8s.io"
const struct kind_hooks kind_validating_policy = {
    KIND(GROUP, "ValidatingAdmissionPolicy"), .cells = validating, .validate = validate_validating};
const struct kind_hooks kind_validating_binding = {
    KIND(GROUP, "ValidatingAdmissionPolicyBinding"), .cells = binding, .validate = validate_binding};
const struct kind_hooks kind_mutating_policy = {KIND(GROUP, "MutatingAdmissionPolicy"), .cells = mutating, .validate = validate_mutating};
const struct kind_hooks kind_mutating_binding = {
    KIND(GROUP, "MutatingAdmissionPolicyBinding"), .cells = binding, .validate = validate_binding};
