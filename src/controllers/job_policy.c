/* spec.podFailurePolicy: what a pod's failure means for its Job. */
#include "controllers/job.h"

static bool code_matches(const struct json *rule, const struct json *status)
{
    const struct json *code = json_path(status, "state", "terminated", "exitCode", NULL);
    struct str container = json_get_str(rule, "containerName");
    bool in = false;
    if (!json_is(code, JSON_INT) || code->i == 0 || (container.n && !str_eq(container, json_get_str(status, "name"))))
        return false;
    json_for (json_get(rule, STR("values")), v)
        in |= json_as_int(v, -1) == code->i;
    return str_eqz(json_get_str(rule, "operator"), "In") ? in : !in;
}

static bool exit_codes_match(const struct json *rule, const struct json *tree, struct str *container, int64_t *code)
{
    static const char *const lists[] = {"containerStatuses", "initContainerStatuses"};
    for (size_t i = 0; i < ARRAY_LEN(lists); i++)
        json_for (json_get(json_get(tree, STR("status")), str_of(lists[i])), c)
            if (code_matches(rule, c)) {
                *container = json_get_str(c, "name");
                *code = json_as_int(json_path(c, "state", "terminated", "exitCode", NULL), 0);
                return true;
            }
    return false;
}

static bool conditions_match(const struct json *patterns, const struct json *tree)
{
    json_for ((struct json *)(uintptr_t)patterns, want) {
        const struct json *c = condition_find(json_path(tree, "status", "conditions", NULL), json_get_str(want, "type"));
        struct str status = json_get_str(want, "status");
        if (c && str_eq(json_get_str(c, "status"), status.n ? status : STR("True")))
            return true;
    }
    return false;
}

void job_apply_policy(struct job *j, const struct obj *pod, const struct json *tree, bool *ignore, bool *fail_index)
{
    size_t n = 0;
    json_for (json_path(j->spec, "podFailurePolicy", "rules", NULL), rule) {
        const struct json *codes = json_get(rule, STR("onExitCodes"));
        struct str action = json_get_str(rule, "action"), container = STR("");
        int64_t code = 0;
        size_t index = n++;
        if (codes ? !exit_codes_match(codes, tree, &container, &code) : !conditions_match(json_get(rule, STR("onPodConditions")), tree))
            continue;
        if (str_eqz(action, "FailJob") && !j->fail_reason) {
            j->fail_reason = "PodFailurePolicy";
            j->fail_message =
                codes ? pool_printf(j->s->pool,
                            "Container %.*s for pod %.*s/%.*s failed with exit code %" PRId64 " matching FailJob rule at index %zu",
                            STR_ARG(container), STR_ARG(pod->ns), STR_ARG(pod->name), code, index)
                      : pool_printf(j->s->pool, "Pod %.*s/%.*s has condition matching FailJob rule at index %zu", STR_ARG(pod->ns),
                            STR_ARG(pod->name), index);
        }
        *ignore = str_eqz(action, "Ignore");
        *fail_index = str_eqz(action, "FailIndex");
        return;
    }
}
