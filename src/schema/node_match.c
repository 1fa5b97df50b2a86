/* Node selectors, taints and tolerations (k8s.io/component-helpers/scheduling/corev1). */
#include "schema/selector.h"

static bool has_value(const struct json *values, struct str s)
{
    json_for ((struct json *)(uintptr_t)values, v)
        if (str_eq(json_as_str(v), s))
            return true;
    return false;
}

static bool requirement(const struct json *r, struct str value)
{
    struct str op = json_get_str(r, "operator");
    const struct json *values = json_get(r, STR("values"));
    int64_t a, b;
    if (str_eqz(op, "In"))
        return value.p && has_value(values, value);
    if (str_eqz(op, "NotIn"))
        return !value.p || !has_value(values, value);
    if (str_eqz(op, "Exists"))
        return value.p != NULL;
    if (str_eqz(op, "DoesNotExist"))
        return value.p == NULL;
    if (!value.p || !str_to_i64(value, &a) || !str_to_i64(json_as_str(json_at(values, 0)), &b))
        return false;
    return str_eqz(op, "Gt") ? a > b : str_eqz(op, "Lt") && a < b;
}

bool node_term_matches(const struct json *term, const struct node_traits *n)
{
    const struct json *expressions = json_get(term, STR("matchExpressions")), *fields = json_get(term, STR("matchFields"));
    if (!json_count(expressions) && !json_count(fields))
        return false;
    json_for ((struct json *)(uintptr_t)expressions, r)
        if (!requirement(r, n->label(n->node, json_get_str(r, "key"))))
            return false;
    json_for ((struct json *)(uintptr_t)fields, r)
        if (!requirement(r, str_eqz(json_get_str(r, "key"), "metadata.name") ? n->name : STR_NULL))
            return false;
    return true;
}

bool node_selector_matches(const struct json *selector, const struct node_traits *n)
{
    if (!selector)
        return true;
    json_for (json_get(selector, STR("nodeSelectorTerms")), term)
        if (node_term_matches(term, n))
            return true;
    return false;
}

bool node_wanted(const struct json *pod_spec, const struct node_traits *n)
{
    json_for (json_get(pod_spec, STR("nodeSelector")), want) {
        struct str has = n->label(n->node, json_key(want));
        if (!has.p || !str_eq(has, json_as_str(want)))
            return false;
    }
    return node_selector_matches(
        json_path(pod_spec, "affinity", "nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution", NULL), n);
}

bool toleration_covers(const struct json *t, struct str key, struct str value, struct str effect)
{
    struct str te = json_get_str(t, "effect"), tk = json_get_str(t, "key"), op = json_get_str(t, "operator");
    if (te.n && !str_eq(te, effect))
        return false;
    if (tk.n && !str_eq(tk, key))
        return false;
    if (str_eqz(op, "Exists"))
        return true;
    return tk.n && str_eq(json_get_str(t, "value"), value);
}

bool taint_tolerated(const struct json *tolerations, const struct json *taint)
{
    struct str key = json_get_str(taint, "key"), value = json_get_str(taint, "value"), effect = json_get_str(taint, "effect");
    json_for ((struct json *)(uintptr_t)tolerations, t)
        if (toleration_covers(t, key, value, effect))
            return true;
    return false;
}
