/* A Job's pods. */
#include "controllers/job.h"

enum { BURST = 500 };

static void add_env(struct pool *p, struct json *containers)
{
    json_for (containers, c) {
        struct json *env = json_put_arr(p, c, STR("env"));
        bool has = false;
        json_for (env, v)
            has |= str_eqz(json_get_str(v, "name"), "JOB_COMPLETION_INDEX");
        if (has)
            continue;
        struct json *v = json_append(env, json_obj(p));
        json_set_str(p, v, STR("name"), STR("JOB_COMPLETION_INDEX"));
        struct json *ref = json_put_obj(p, json_put_obj(p, v, STR("valueFrom")), STR("fieldRef"));
        json_set_str(p, ref, STR("fieldPath"), STR("metadata.labels['" JOB_INDEX "']"));
    }
}

static void make_indexed(struct job *j, struct json *pod, int64_t index, int64_t failures)
{
    struct pool *p = j->s->pool;
    struct json *meta = json_get(pod, STR("metadata")), *spec = json_put_obj(p, pod, STR("spec")),
                *notes = json_put_obj(p, meta, STR("annotations"));
    struct str text = pool_printf(p, "%" PRId64, index);
    json_set(p, meta, STR("generateName"), json_str_view(p, pool_printf(p, "%.*s-%.*s-", STR_ARG(j->o->name), STR_ARG(text))));
    json_set_str(p, notes, STR(JOB_INDEX), text);
    if (j->per_index >= 0)
        json_set(p, notes, STR("batch.kubernetes.io/job-index-failure-count"), json_str_view(p, pool_printf(p, "%" PRId64, failures)));
    json_set_str(p, json_put_obj(p, meta, STR("labels")), STR(JOB_INDEX), text);
    if (!json_get(spec, STR("hostname")))
        json_set(p, spec, STR("hostname"), json_str_view(p, pool_printf(p, "%.*s-%.*s", STR_ARG(j->o->name), STR_ARG(text))));
    add_env(p, json_get(spec, STR("containers")));
    add_env(p, json_get(spec, STR("initContainers")));
}

/* Failures of one index so far: its newest failed pod carries the number. */
static int64_t failures_of(struct job *j, int64_t index)
{
    int64_t most = 0;
    for (size_t i = 0; i < j->pods.n; i++) {
        int64_t n = 0;
        if (job_pod_index(j->pods.p[i]) != index || pod_phase_of(j->pods.p[i]) != POD_FAILED)
            continue;
        str_to_i64(json_as_str(json_path(
                       sync_tree(j->s, j->pods.p[i]), "metadata", "annotations", "batch.kubernetes.io/job-index-failure-count", NULL)),
            &n);
        most = MAX(most, n + 1);
    }
    return most;
}

/* The lowest index that is neither done, nor lost, nor at work; -1: none. */
static int64_t next_index(struct job *j, struct index_set *busy)
{
    for (int64_t i = 0; i < j->completions; i++)
        if (!index_set_has(&j->done, i) && !index_set_has(&j->lost, i) && index_set_add(busy, i))
            return i;
    return -1;
}

int job_create(struct job *j, int64_t want, struct err **e)
{
    struct pool *p = j->s->pool;
    struct index_set busy;
    index_set_init(&busy, p, j->indexed ? j->completions : 0);
    for (size_t i = 0; i < j->active.n; i++)
        index_set_add(&busy, job_pod_index(j->active.p[i]));
    for (int64_t i = 0; i < MIN(want, (int64_t)BURST); i++) {
        struct json *pod = pod_from_template(j->s, json_get(j->spec, STR("template")), R_JOBS, j->o, STR_NULL);
        int64_t index = j->indexed ? next_index(j, &busy) : 0;
        if (index < 0)
            return 0;
        if (j->indexed)
            make_indexed(j, pod, index, j->per_index >= 0 ? failures_of(j, index) : 0);
        json_append(json_put_arr(p, json_get(pod, STR("metadata")), STR("finalizers")), json_str(p, STR(JOB_FINALIZER)));
        int r = sync_create_pod(j->s, pod, R_JOBS, j->o, NULL, e);
        if (r < 0)
            return r;
    }
    if (want > BURST)
        ctl_add_raw(j->s->ctl, j->s->key);
    return 0;
}
