/* Node selectors, taints and tolerations (k8s.io/component-helpers). */
#include "scheduler/inner.h"

bool toleration_matches(const struct json *t, struct str key, struct str value, struct str effect)
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

const struct json *taint_untolerated(const struct json *tolerations, const struct node_info *n, bool prefer)
{
    json_for ((struct json *)(uintptr_t)n->taints, taint) {
        struct str effect = json_get_str(taint, "effect");
        bool tolerated = false;
        if (str_eqz(effect, "PreferNoSchedule") != prefer)
            continue;
        json_for ((struct json *)(uintptr_t)tolerations, t)
            tolerated |= toleration_matches(t, json_get_str(taint, "key"), json_get_str(taint, "value"), effect);
        if (!tolerated)
            return taint;
    }
    return NULL;
}

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

bool node_selector_term(const struct json *term, const struct node_info *n)
{
    const struct json *expressions = json_get(term, STR("matchExpressions")), *fields = json_get(term, STR("matchFields"));
    if (!json_count(expressions) && !json_count(fields))
        return false; /* an empty term matches nothing */
    json_for ((struct json *)(uintptr_t)expressions, r)
        if (!requirement(r, node_label(n, json_get_str(r, "key"))))
            return false;
    json_for ((struct json *)(uintptr_t)fields, r)
        if (!requirement(r, str_eqz(json_get_str(r, "key"), "metadata.name") ? n->name : STR_NULL))
            return false;
    return true;
}

bool node_affinity_matches(const struct cycle *c, const struct node_info *n)
{
    json_for ((struct json *)(uintptr_t)c->node_selector, want)
        if (!node_label(n, json_key(want)).p || !str_eq(node_label(n, json_key(want)), json_as_str(want)))
            return false;
    const struct json *required = json_path(c->affinity, "nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution", NULL);
    if (!required)
        return true;
    json_for (json_get(required, STR("nodeSelectorTerms")), term)
        if (node_selector_term(term, n))
            return true;
    return false;
}

bool labels_match(const struct obj *o, const struct selector *sel)
{
    return selector_match(sel, (const struct label *)(const void *)o->labels, o->nlabels);
}
