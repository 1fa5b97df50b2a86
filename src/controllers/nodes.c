/* Would a node take a pod with this spec, taints and selectors considered? For those who place pods by themselves (DaemonSets). */
#include "controllers/ctl.h"

bool toleration_covers(const struct json *t, const struct json *taint)
{
    struct str effect = json_get_str(t, "effect"), key = json_get_str(t, "key"), op = json_get_str(t, "operator");
    if (effect.n && !str_eq(effect, json_get_str(taint, "effect")))
        return false;
    if (key.n && !str_eq(key, json_get_str(taint, "key")))
        return false;
    if (str_eqz(op, "Exists"))
        return true;
    return key.n && str_eq(json_get_str(t, "value"), json_get_str(taint, "value"));
}

bool taints_tolerated(const struct json *node, const struct json *tolerations, const char *effect)
{
    json_for (json_path(node, "spec", "taints", NULL), taint) {
        bool ok = !str_eqz(json_get_str(taint, "effect"), effect);
        json_for ((struct json *)(uintptr_t)tolerations, t)
            ok |= toleration_covers(t, taint);
        if (!ok)
            return false;
    }
    return true;
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

static bool term_matches(const struct json *term, const struct obj *node)
{
    const struct json *expressions = json_get(term, STR("matchExpressions")), *fields = json_get(term, STR("matchFields"));
    if (!json_count(expressions) && !json_count(fields))
        return false;
    json_for ((struct json *)(uintptr_t)expressions, r)
        if (!requirement(r, obj_label(node, json_get_str(r, "key"))))
            return false;
    json_for ((struct json *)(uintptr_t)fields, r)
        if (!requirement(r, str_eqz(json_get_str(r, "key"), "metadata.name") ? node->name : STR_NULL))
            return false;
    return true;
}

bool node_selected(const struct obj *node, const struct json *pod_spec)
{
    json_for (json_get(pod_spec, STR("nodeSelector")), want)
        if (!obj_label(node, json_key(want)).p || !str_eq(obj_label(node, json_key(want)), json_as_str(want)))
            return false;
    const struct json *required = json_path(pod_spec, "affinity", "nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution", NULL);
    if (!required)
        return true;
    json_for (json_get(required, STR("nodeSelectorTerms")), term)
        if (term_matches(term, node))
            return true;
    return false;
}
