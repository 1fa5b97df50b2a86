/* Finished Jobs are removed spec.ttlSecondsAfterFinished later, with their pods. */
#include "controllers/ctl.h"

static int64_t finished_at(const struct json *tree)
{
    json_for (json_path(tree, "status", "conditions", NULL), c) {
        struct str type = json_get_str(c, "type");
        if (str_eqz(json_get_str(c, "status"), "True") && (str_eqz(type, "Complete") || str_eqz(type, "Failed")))
            return time_of(json_get_str(c, "lastTransitionTime"));
    }
    return 0;
}

static int sync(struct sync *s, struct err **e)
{
    const struct obj *job = sync_self(s, R_JOBS);
    struct json *tree = job && !job->deleted ? sync_tree(s, job) : NULL;
    int64_t ttl = json_get_int(json_get(tree, STR("spec")), "ttlSecondsAfterFinished", -1), at = finished_at(tree);
    if (ttl < 0 || !at)
        return 0;
    if (at + ttl * NS_PER_S > s->now) {
        sync_again_at(s, at + ttl * NS_PER_S);
        return 0;
    }
    return MIN(sync_delete(s, job, "Foreground", e), 0);
}

const struct controller ttl_after_finished_controller = {
    .name = "ttl-after-finished",
    .account = "ttl-after-finished-controller",
    .watches = {{R_JOBS, ctl_add_change}},
    .sync = sync,
};
