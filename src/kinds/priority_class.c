#include "kinds/rows.h"
#include "schema/ferr.h"

enum { HIGHEST_USER = 1000000000 };

static void validate(struct kind_ctx *c, const struct json *doc, const struct json *old, struct err **e)
{
    struct fpath value = FPATH(NULL, "value"), meta = FPATH(NULL, "metadata"), name_at = FPATH(&meta, "name"),
                 policy = FPATH(NULL, "preemptionPolicy");
    struct str name = json_str_at(doc, "metadata", "name", NULL);
    int64_t v = json_get_int(doc, "value", 0);
    (void)c;
    if (str_starts(name, STR("system-"))) {
        if (!str_eqz(name, "system-node-critical") && !str_eqz(name, "system-cluster-critical"))
            ferr_forbidden(e, &name_at,
                "priority class names with 'system-' prefix are reserved for system use only. error: not a system priority class");
    } else if (v > HIGHEST_USER) {
        ferr_forbidden(e, &value, "maximum allowed value of a user defined priority is 1000000000");
    }
    if (old && json_get_int(old, "value", 0) != v)
        ferr_forbidden(e, &value, "may not be changed in an update.");
    if (old && !str_eq(json_get_str(old, "preemptionPolicy"), json_get_str(doc, "preemptionPolicy")))
        ferr_invalid_str(e, &policy, json_get_str(doc, "preemptionPolicy"), "field is immutable");
}

const struct kind_hooks kind_priority_class = {KIND("scheduling.k8s.io", "PriorityClass"), .validate = validate};
