/* Jobs: pods that run to their end. After kube-controller-manager's pkg/controller/job. */
#include "controllers/job.h"

#define BACKOFF_FIRST (10 * NS_PER_S)
#define BACKOFF_MOST (600 * NS_PER_S)

static struct json *conditions(struct job *j)
{
    return json_put_arr(j->s->pool, j->status, STR("conditions"));
}

static bool condition_true(struct job *j, const char *type)
{
    return str_eqz(json_get_str(condition_find(json_get(j->status, STR("conditions")), str_of(type)), "status"), "True");
}

/* As condition_set, with the probe time that Job conditions carry. */
static bool set_condition(struct job *j, const char *type, const char *status, const char *reason, struct str message)
{
    if (!condition_set(j->s->pool, conditions(j), type, status, reason, message, j->s->now, false))
        return false;
    json_set(j->s->pool, condition_find(conditions(j), str_of(type)), STR("lastProbeTime"), time_json(j->s->pool, j->s->now));
    return true;
}

static bool finished(struct job *j)
{
    return condition_true(j, "Complete") || condition_true(j, "Failed");
}

/* ---- what is decided ---- */

static int64_t restarts(struct job *j)
{
    int64_t n = 0;
    for (size_t i = 0; i < j->active.n; i++) {
        json_for (json_path(sync_tree(j->s, j->active.p[i]), "status", "containerStatuses", NULL), c)
            n += json_get_int(c, "restartCount", 0);
        json_for (json_path(sync_tree(j->s, j->active.p[i]), "status", "initContainerStatuses", NULL), c)
            n += json_get_int(c, "restartCount", 0);
    }
    return n;
}

static void decide_failure(struct job *j)
{
    int64_t deadline = json_get_int(j->spec, "activeDeadlineSeconds", 0), start = time_of(json_get_str(j->status, "startTime"));
    const struct json *most_lost = json_get(j->spec, STR("maxFailedIndexes"));
    if (j->fail_reason)
        return;
    if (j->failed > j->backoff_limit ||
        (str_eqz(json_str_at(j->spec, "template", "spec", "restartPolicy", NULL), "OnFailure") && j->backoff_limit < INT32_MAX &&
            (j->backoff_limit ? restarts(j) >= j->backoff_limit : restarts(j) > 0))) {
        j->fail_reason = "BackoffLimitExceeded";
        j->fail_message = STR("Job has reached the specified backoff limit");
    } else if (deadline && start && !j->suspended && start + deadline * NS_PER_S <= j->s->now) {
        j->fail_reason = "DeadlineExceeded";
        j->fail_message = STR("Job was active longer than specified deadline");
    } else if (j->per_index >= 0 && json_is(most_lost, JSON_INT) && j->lost.n > most_lost->i) {
        j->fail_reason = "MaxFailedIndexesExceeded";
        j->fail_message = STR("Job has exceeded the specified maximal number of failed indexes");
    } else if (j->per_index >= 0 && j->lost.n && j->lost.n + j->done.n >= j->completions) {
        j->fail_reason = "FailedIndexes";
        j->fail_message = STR("Job has failed indexes");
    }
}

/* The rule of spec.successPolicy that is fulfilled; -1: none. */
static int success_rule(struct job *j)
{
    int at = 0;
    json_for (json_path(j->spec, "successPolicy", "rules", NULL), rule) {
        struct index_set wanted;
        const struct json *text = json_get(rule, STR("succeededIndexes")), *count = json_get(rule, STR("succeededCount"));
        int64_t met = 0, size = j->completions;
        index_set_init(&wanted, j->s->pool, j->completions);
        if (json_is(text, JSON_STR)) {
            index_set_read(&wanted, json_as_str(text));
            size = wanted.n;
        }
        for (int64_t i = 0; i < j->done.size; i++)
            met += index_set_has(&j->done, i) && (!json_is(text, JSON_STR) || index_set_has(&wanted, i));
        if (met && size && met >= json_as_int(count, size))
            return at;
        at++;
    }
    return -1;
}

static bool decide_success(struct job *j)
{
    if (j->has_completions)
        return j->succeeded >= j->completions;
    return j->succeeded > 0 && j->active.n == 0;
}

/* ---- what is done ---- */

static int delete_active(struct job *j, struct err **e)
{
    for (size_t i = 0; i < j->active.n; i++) {
        int r = sync_delete_pod(j->s, j->active.p[i], R_JOBS, j->o, e);
        if (r < 0)
            return r;
    }
    j->terminating += (int64_t)j->active.n;
    j->active.n = 0;
    return 0;
}

static int64_t backoff_until(struct job *j)
{
    int64_t wait = BACKOFF_FIRST;
    if (!j->last_failure)
        return 0;
    for (int64_t i = 1; i < j->failed && wait < BACKOFF_MOST; i++)
        wait *= 2;
    return j->last_failure + MIN(wait, BACKOFF_MOST);
}

static int manage(struct job *j, struct err **e)
{
    int64_t want, have = (int64_t)j->active.n;
    if (str_eqz(json_get_str(j->spec, "podReplacementPolicy"), "Failed"))
        have += j->terminating;
    if (j->has_completions)
        want = MIN(j->completions - j->succeeded - (j->per_index >= 0 ? j->lost.n : 0), j->parallelism);
    else
        want = j->succeeded ? MIN((int64_t)j->active.n, j->parallelism) : j->parallelism;
    want = MAX(want, (int64_t)0);
    if ((int64_t)j->active.n > want) {
        pods_rank(j->s, &j->active, (struct obj_array){0});
        struct obj_array surplus = {j->active.p, j->active.n - (size_t)want, 0};
        for (size_t i = 0; i < surplus.n; i++) {
            int r = sync_delete_pod(j->s, surplus.p[i], R_JOBS, j->o, e);
            if (r < 0)
                return r;
        }
        return 0;
    }
    int64_t due = backoff_until(j);
    if (have < want && due > j->s->now) {
        sync_again_at(j->s, due);
        return 0;
    }
    return have < want ? job_create(j, want - have, e) : 0;
}

static int suspend(struct job *j, struct err **e)
{
    int r = delete_active(j, e);
    if (r < 0)
        return r;
    if (set_condition(j, "Suspended", "True", "JobSuspended", STR("Job suspended")))
        ctl_event(j->s->ctl, R_JOBS, j->o, false, "Suspended", "Job suspended");
    json_del(j->status, STR("startTime"));
    return 0;
}

static void resume(struct job *j)
{
    if (condition_true(j, "Suspended")) {
        set_condition(j, "Suspended", "False", "JobResumed", STR("Job resumed"));
        ctl_event(j->s->ctl, R_JOBS, j->o, false, "Resumed", "Job resumed");
        json_set(j->s->pool, j->status, STR("startTime"), time_json(j->s->pool, j->s->now));
    }
    if (!json_get(j->status, STR("startTime")))
        json_set(j->s->pool, j->status, STR("startTime"), time_json(j->s->pool, j->s->now));
    int64_t deadline = json_get_int(j->spec, "activeDeadlineSeconds", 0), start = time_of(json_get_str(j->status, "startTime"));
    if (deadline && start + deadline * NS_PER_S > j->s->now)
        sync_again_at(j->s, start + deadline * NS_PER_S);
}

/* The verdict stands at once; Complete and Failed follow when no pod runs any longer and all are counted. */
static int conclude(struct job *j, bool failed, struct err **e)
{
    const char *first = failed ? "FailureTarget" : "SuccessCriteriaMet", *last = failed ? "Failed" : "Complete";
    int rule = failed || !j->indexed ? -1 : success_rule(j); /* comes before the count, also when all have succeeded */
    const char *reason = failed ? j->fail_reason : rule >= 0 ? "SuccessPolicy" : "CompletionsReached";
    struct str message = failed      ? j->fail_message
                         : rule >= 0 ? pool_printf(j->s->pool, "Matched rules at index %d", rule)
                                     : STR("Reached expected number of succeeded pods");
    const struct json *told = condition_find(json_get(j->status, STR("conditions")), str_of(first)),
                      *uncounted = json_get(j->status, STR("uncountedTerminatedPods"));
    int r = delete_active(j, e);
    if (r < 0)
        return r;
    if (told) {
        reason = pool_strz(j->s->pool, json_get_str(told, "reason"));
        message = json_get_str(told, "message");
    } else {
        set_condition(j, first, "True", reason, message);
    }
    if (j->terminating || json_count(json_get(uncounted, STR("succeeded"))) || json_count(json_get(uncounted, STR("failed"))))
        return 0;
    set_condition(j, last, "True", reason, message);
    if (failed) {
        ctl_event(j->s->ctl, R_JOBS, j->o, true, reason, "%.*s", STR_ARG(message));
    } else {
        json_set(j->s->pool, j->status, STR("completionTime"), time_json(j->s->pool, j->s->now));
        ctl_event(j->s->ctl, R_JOBS, j->o, false, "Completed", "Job completed");
    }
    return 0;
}

static int act(struct job *j, struct err **e)
{
    if (j->o->deleted || finished(j))
        return delete_active(j, e);
    decide_failure(j);
    if (condition_true(j, "SuccessCriteriaMet"))
        return conclude(j, false, e);
    if (condition_true(j, "FailureTarget") || j->fail_reason)
        return conclude(j, true, e);
    if (decide_success(j) || (j->indexed && success_rule(j) >= 0))
        return conclude(j, false, e);
    if (j->suspended)
        return suspend(j, e);
    resume(j);
    return manage(j, e);
}

/* ---- reading and writing ---- */

static int read_job(struct job *j, struct err **e)
{
    const struct json *completions;
    j->tree = sync_tree(j->s, j->o);
    j->spec = json_get(j->tree, STR("spec"));
    j->status = json_get(j->tree, STR("status")) ? json_clone(j->s->pool, json_get(j->tree, STR("status"))) : json_obj(j->s->pool);
    completions = json_get(j->spec, STR("completions"));
    j->has_completions = json_is(completions, JSON_INT);
    j->completions = json_as_int(completions, 0);
    j->parallelism = json_get_int(j->spec, "parallelism", 1);
    j->backoff_limit = json_get_int(j->spec, "backoffLimit", 6);
    j->per_index = json_get_int(j->spec, "backoffLimitPerIndex", -1);
    j->suspended = json_get_bool(j->spec, "suspend", false);
    j->indexed = str_eqz(json_get_str(j->spec, "completionMode"), "Indexed");
    index_set_init(&j->done, j->s->pool, j->indexed ? j->completions : 0);
    index_set_init(&j->lost, j->s->pool, j->indexed ? j->completions : 0);
    int r = selector_from_json(j->s->pool, json_get(j->spec, STR("selector")), &j->sel, e);
    return r < 0 ? r : sync_claim(j->s, R_PODS, R_JOBS, j->o, &j->sel, &j->pods, e);
}

static void put(struct job *j, const char *name, int64_t n)
{
    if (n)
        json_set_int(j->s->pool, j->status, str_of(name), n);
    else
        json_del(j->status, str_of(name));
}

static int write_status(struct job *j, struct err **e)
{
    struct json *uncounted = json_get(j->status, STR("uncountedTerminatedPods"));
    if (!json_count(json_get(uncounted, STR("succeeded"))))
        json_del(uncounted, STR("succeeded"));
    if (!json_count(json_get(uncounted, STR("failed"))))
        json_del(uncounted, STR("failed"));
    if (!json_count(json_get(j->status, STR("conditions"))))
        json_del(j->status, STR("conditions"));
    put(j, "active", (int64_t)j->active.n);
    json_set_int(j->s->pool, j->status, STR("ready"), j->ready);
    json_set_int(j->s->pool, j->status, STR("terminating"), j->terminating);
    int r = sync_status(j->s, R_JOBS, j->o, j->tree, j->status, e);
    return err_is(e, ERR_NOT_FOUND) ? 0 : MIN(r, 0);
}

/* The Job is gone: its pods need not be counted any longer. */
static int release_orphans(struct sync *s, struct err **e)
{
    struct obj_array pods = sync_list(s, R_PODS, s->ns);
    for (size_t i = 0; i < pods.n; i++) {
        const struct obj_owner *w = obj_controller(pods.p[i]);
        if (!job_pod_tracked(pods.p[i]) || !w || !str_eqz(w->kind, "Job") || !str_eq(w->name, s->name))
            continue;
        int r = sync_untrack(s, pods.p[i], e);
        if (r < 0)
            return r;
    }
    return 0;
}

/* The active pods as they are after our own writes. */
static void recount(struct job *j)
{
    struct obj_array pods;
    sync_fresh(j->s);
    pods = sync_owned(j->s, R_PODS, j->o->uid);
    j->active = (struct obj_array){0};
    j->ready = j->terminating = 0;
    for (size_t i = 0; i < pods.n; i++) {
        enum pod_phase phase = pod_phase_of(pods.p[i]);
        if (phase == POD_SUCCEEDED || phase == POD_FAILED)
            continue;
        j->terminating += pods.p[i]->deleted != 0;
        j->ready += !pods.p[i]->deleted && pod_ready(pods.p[i]);
        if (!pods.p[i]->deleted)
            array_add(j->s->pool, &j->active, pods.p[i]);
    }
}

static int sync(struct sync *s, struct err **e)
{
    struct job j = {.s = s, .o = sync_self(s, R_JOBS)};
    struct err *trouble = NULL;
    if (!j.o)
        return release_orphans(s, e);
    int r = read_job(&j, e);
    if (r < 0)
        return r;
    struct str manager = json_get_str(j.spec, "managedBy");
    if (manager.n && !str_eqz(manager, "kubernetes.io/job-controller"))
        return 0;
    r = job_count(&j, e);
    if (r < 0)
        return r;
    int done = act(&j, &trouble);
    recount(&j);
    r = write_status(&j, e);
    if (r == 0)
        r = job_release(&j, e);
    if (done < 0 && r == 0)
        return err_move(e, trouble);
    err_free(trouble);
    return r;
}

static void on_pod(struct ctl *c, const struct change *ch)
{
    ctl_add_owner(c, ch, R_JOBS);
}

const struct controller job_controller = {
    .name = "job",
    .account = "job-controller",
    .watches = {{R_JOBS, ctl_add_change}, {R_PODS, on_pod}},
    .sync = sync,
};
