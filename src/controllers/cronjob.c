/* CronJobs: Jobs at set times. After kube-controller-manager's pkg/controller/cronjob. All times are the site clock's: a wall clock that is
 * set starts nothing. */
#include <stdlib.h>
#include "controllers/cron.h"
#include "controllers/ctl.h"

struct cronjob {
    struct sync *s;
    const struct obj *o;
    struct json *tree, *spec, *status;
    struct cron cron;
    struct obj_array jobs, active;
    int64_t last, deadline; /* of the last start; seconds, -1: none */
};

static struct str verdict(struct sync *s, const struct obj *job)
{
    json_for (json_path(sync_tree(s, job), "status", "conditions", NULL), c) {
        struct str type = json_get_str(c, "type");
        if (str_eqz(json_get_str(c, "status"), "True") && (str_eqz(type, "Complete") || str_eqz(type, "Failed")))
            return type;
    }
    return STR_NULL;
}

/* ---- jobs that ended ---- */

static struct json *active_find(struct json *list, struct str uid)
{
    json_for (list, ref)
        if (str_eq(json_get_str(ref, "uid"), uid))
            return ref;
    return NULL;
}

static struct json *reference(struct sync *s, const struct obj *job)
{
    struct json *ref = json_obj(s->pool);
    json_set_str(s->pool, ref, STR("kind"), STR("Job"));
    json_set_str(s->pool, ref, STR("namespace"), job->ns);
    json_set_str(s->pool, ref, STR("name"), job->name);
    json_set_str(s->pool, ref, STR("uid"), job->uid);
    json_set_str(s->pool, ref, STR("apiVersion"), STR("batch/v1"));
    json_set(s->pool, ref, STR("resourceVersion"), json_str_view(s->pool, pool_printf(s->pool, "%" PRId64, job->rev)));
    return ref;
}

static void note_success(struct cronjob *c, const struct obj *job)
{
    struct str at = json_str_at(sync_tree(c->s, job), "status", "completionTime", NULL);
    if (time_of(at) > time_of(json_get_str(c->status, "lastSuccessfulTime")))
        json_set_str(c->s->pool, c->status, STR("lastSuccessfulTime"), at);
}

static void look_at_jobs(struct cronjob *c)
{
    struct json *old = json_get(c->status, STR("active")), *list = json_arr(c->s->pool);
    for (size_t i = 0; i < c->jobs.n; i++) {
        const struct obj *job = c->jobs.p[i];
        struct str end = verdict(c->s, job);
        struct json *known = active_find(old, job->uid);
        if (!end.p) {
            array_add(c->s->pool, &c->active, job);
            json_append(list, known ? json_clone(c->s->pool, known) : reference(c->s, job));
        } else {
            if (known)
                ctl_event(c->s->ctl, R_CRONJOBS, c->o, false, "SawCompletedJob", "Saw completed job: %.*s, condition: %.*s",
                    STR_ARG(job->name), STR_ARG(end));
            if (str_eqz(end, "Complete"))
                note_success(c, job);
        }
    }
    json_set(c->s->pool, c->status, STR("active"), list);
}

static int by_age(const void *a, const void *b)
{
    const struct obj *x = *(const struct obj *const *)a, *y = *(const struct obj *const *)b;
    return x->created != y->created ? (x->created < y->created ? -1 : 1) : str_cmp(x->name, y->name);
}

static int trim(struct cronjob *c, const char *end, int64_t keep, struct err **e)
{
    struct obj_array done = {0};
    for (size_t i = 0; i < c->jobs.n; i++)
        if (str_eqz(verdict(c->s, c->jobs.p[i]), end) && !c->jobs.p[i]->deleted)
            array_add(c->s->pool, &done, c->jobs.p[i]);
    if (keep < 0 || (int64_t)done.n <= keep)
        return 0;
    qsort(done.p, done.n, sizeof *done.p, by_age);
    for (size_t i = 0; i < done.n - (size_t)keep; i++) {
        int r = sync_delete(c->s, done.p[i], "Background", e);
        if (r < 0)
            return r;
        ctl_event(c->s->ctl, R_CRONJOBS, c->o, false, "SuccessfulDelete", "Deleted job %.*s", STR_ARG(done.p[i]->name));
    }
    return 0;
}

/* ---- starting ---- */

/* The newest time that has come since the last start, or 0. Looked for in growing steps back from now, however long we were away. */
static int64_t newest_due(const struct cronjob *c)
{
    int64_t from = MAX(c->last ? c->last : c->o->created, c->deadline >= 0 ? c->s->now - c->deadline * NS_PER_S : 0), due = 0;
    if (c->cron.every) {
        from = c->last ? c->last : c->o->created;
        int64_t n = (c->s->now - from) / c->cron.every;
        return n > 0 ? from + n * c->cron.every : 0;
    }
    for (int64_t back = 120 * NS_PER_S;; back *= 4) {
        int64_t start = MAX(c->s->now - back, from);
        for (int64_t t = cron_next(&c->cron, start); t <= c->s->now; t = cron_next(&c->cron, t))
            due = t;
        if (due || start == from)
            return due;
    }
}

static int start_job(struct cronjob *c, int64_t at, struct err **e)
{
    struct pool *p = c->s->pool;
    const struct json *template = json_get(c->spec, STR("jobTemplate")), *from = json_get(template, STR("metadata"));
    struct json *job = json_obj(p), *meta = json_put_obj(p, job, STR("metadata"));
    char text[TIME_MAX];
    const struct obj *made;
    struct str name = pool_printf(p, "%.*s-%" PRId64, STR_ARG(c->o->name), at / NS_PER_S / 60);
    json_set_str(p, meta, STR("name"), name);
    json_set_str(p, meta, STR("namespace"), c->s->ns);
    if (json_get(from, STR("labels")))
        json_set(p, meta, STR("labels"), json_clone(p, json_get(from, STR("labels"))));
    struct json *notes = json_set(
        p, meta, STR("annotations"), json_get(from, STR("annotations")) ? json_clone(p, json_get(from, STR("annotations"))) : json_obj(p));
    json_set_str(p, notes, STR("batch.kubernetes.io/cronjob-scheduled-timestamp"), time_format(at, text));
    json_append(json_put_arr(p, meta, STR("ownerReferences")), owner_ref(p, R_CRONJOBS, c->o, true));
    json_set(p, job, STR("spec"), json_clone(p, json_get(template, STR("spec"))));
    struct err *e2 = NULL;
    int r = sync_create(c->s, R_JOBS, c->s->ns, job, &made, &e2);
    if (r < 0 && e2->code != ERR_EXISTS) {
        ctl_event(c->s->ctl, R_CRONJOBS, c->o, true, "FailedCreate", "Error creating job: %s", err_msg(e2));
        return err_move(e, e2);
    }
    if (r == 0) {
        ctl_event(c->s->ctl, R_CRONJOBS, c->o, false, "SuccessfulCreate", "Created job %.*s", STR_ARG(name));
        json_append(json_put_arr(p, c->status, STR("active")), reference(c->s, made));
    }
    err_free(e2);
    json_set(p, c->status, STR("lastScheduleTime"), time_json(p, at));
    return 0;
}

static int replace_active(struct cronjob *c, struct err **e)
{
    for (size_t i = 0; i < c->active.n; i++) {
        int r = sync_delete(c->s, c->active.p[i], "Background", e);
        if (r < 0)
            return r;
        ctl_event(c->s->ctl, R_CRONJOBS, c->o, false, "SuccessfulDelete", "Deleted job %.*s", STR_ARG(c->active.p[i]->name));
    }
    json_set(c->s->pool, c->status, STR("active"), json_arr(c->s->pool));
    return 0;
}

static int start_due(struct cronjob *c, struct err **e)
{
    int64_t due = newest_due(c), next = cron_next(&c->cron, MAX(c->s->now, due));
    struct str policy = json_get_str(c->spec, "concurrencyPolicy");
    if (c->cron.every) {
        int64_t base = due ? due : c->last ? c->last : c->o->created;
        next = base + c->cron.every;
    }
    if (next != INT64_MAX)
        sync_again_at(c->s, next);
    if (!due || due <= c->last)
        return 0;
    if (c->deadline >= 0 && due + c->deadline * NS_PER_S < c->s->now) {
        char text[TIME_MAX];
        struct str t = time_format(due, text);
        ctl_event(c->s->ctl, R_CRONJOBS, c->o, true, "MissSchedule", "Missed scheduled time to start a job: %.*s", STR_ARG(t));
        return 0;
    }
    if (c->active.n && str_eqz(policy, "Forbid")) {
        ctl_event(c->s->ctl, R_CRONJOBS, c->o, false, "JobAlreadyActive",
            "Not starting job because prior execution is running and concurrency policy is Forbid");
        return 0;
    }
    int r = str_eqz(policy, "Replace") ? replace_active(c, e) : 0;
    return r < 0 ? r : start_job(c, due, e);
}

static int read_all(struct cronjob *c, struct err **e)
{
    struct str zone;
    c->tree = sync_tree(c->s, c->o);
    c->spec = json_get(c->tree, STR("spec"));
    c->status = json_get(c->tree, STR("status")) ? json_clone(c->s->pool, json_get(c->tree, STR("status"))) : json_obj(c->s->pool);
    c->deadline = json_get_int(c->spec, "startingDeadlineSeconds", -1);
    c->last = time_of(json_get_str(c->status, "lastScheduleTime"));
    c->jobs = sync_owned(c->s, R_JOBS, c->o->uid);
    int r = cron_parse(json_get_str(c->spec, "schedule"), &c->cron, e);
    if (r < 0) {
        ctl_event(c->s->ctl, R_CRONJOBS, c->o, true, "UnparseableSchedule", "unparseable schedule: %s", err_msg(*e));
        return r;
    }
    zone = json_get_str(c->spec, "timeZone");
    if (zone.n && !str_eqz(zone, "UTC") && !str_eqz(zone, "Etc/UTC") && !(c->cron.zone = zone_load(c->s->pool, zone, e))) {
        ctl_event(c->s->ctl, R_CRONJOBS, c->o, true, "UnknownTimeZone", "invalid timeZone: \"%.*s\" - %s", STR_ARG(zone), err_msg(*e));
        return -ERR_INVALID;
    }
    return 0;
}

static int write_status(struct cronjob *c, struct err **e)
{
    if (json_count(json_get(c->status, STR("active"))) == 0)
        json_del(c->status, STR("active"));
    int r = sync_status(c->s, R_CRONJOBS, c->o, c->tree, c->status, e);
    return err_is(e, ERR_NOT_FOUND) ? 0 : MIN(r, 0);
}

static int sync(struct sync *s, struct err **e)
{
    struct cronjob c = {.s = s, .o = sync_self(s, R_CRONJOBS)};
    struct err *trouble = NULL;
    if (!c.o)
        return 0;
    int r = read_all(&c, e);
    if (err_is(e, ERR_INVALID))
        return 0; /* said in an event; only an edit can help */
    if (r < 0)
        return r;
    look_at_jobs(&c);
    int done = c.o->deleted ? 0 : trim(&c, "Complete", json_get_int(c.spec, "successfulJobsHistoryLimit", 3), &trouble);
    if (done == 0 && !c.o->deleted)
        done = trim(&c, "Failed", json_get_int(c.spec, "failedJobsHistoryLimit", 1), &trouble);
    if (done == 0 && !c.o->deleted && !json_get_bool(c.spec, "suspend", false))
        done = start_due(&c, &trouble);
    r = write_status(&c, e);
    if (done < 0 && r == 0)
        return err_move(e, trouble);
    err_free(trouble);
    return r;
}

static void on_job(struct ctl *c, const struct change *ch)
{
    ctl_add_owner(c, ch, R_CRONJOBS);
}

const struct controller cronjob_controller = {
    .name = "cronjob",
    .account = "cronjob-controller",
    .watches = {{R_CRONJOBS, ctl_add_change}, {R_JOBS, on_job}},
    .sync = sync,
};
