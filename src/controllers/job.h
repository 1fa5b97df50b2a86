/* A Job in hand. Inside the room; job*.c only. */
#pragma once
#include "controllers/ctl.h"

#define JOB_FINALIZER "batch.kubernetes.io/job-tracking"
#define JOB_INDEX "batch.kubernetes.io/job-completion-index"

/* Indexes of an Indexed Job as text, "0-3,7": sets of up to 100,000. */
struct index_set {
    uint64_t *bits;
    int64_t size, n;
};
void index_set_init(struct index_set *x, struct pool *p, int64_t size);
void index_set_read(struct index_set *x, struct str text);
bool index_set_has(const struct index_set *x, int64_t i);
bool index_set_add(struct index_set *x, int64_t i); /* false: was in it, or is out of range */
struct str index_set_text(const struct index_set *x, struct pool *p);

struct job {
    struct sync *s;
    const struct obj *o;
    struct json *tree, *spec, *status; /* status: the new one, being built from the old */
    struct selector sel;
    struct obj_array pods, active;
    bool indexed, suspended, has_completions;
    int64_t parallelism, completions, backoff_limit, per_index; /* per_index: -1 without backoffLimitPerIndex */
    int64_t succeeded, failed, terminating, ready, last_failure;
    struct index_set done, lost; /* indexes that succeeded, and that failed for good */
    const char *fail_reason;     /* the Job has failed: why */
    struct str fail_message;
};
/* job_count.c: reads pods into counts; writes uncounted ones down, then lets them go (see there). */
int job_count(struct job *j, struct err **e) _must_check_;
int job_release(struct job *j, struct err **e) _must_check_; /* after the status was written */
bool job_pod_tracked(const struct obj *pod);
int64_t job_pod_index(const struct obj *pod); /* -1: none */
int sync_untrack(struct sync *s, const struct obj *pod, struct err **e) _must_check_;
/* job_policy.c */
void job_apply_policy(struct job *j, const struct obj *pod, const struct json *tree, bool *ignore, bool *fail_index);
/* job_pod.c */
int job_create(struct job *j, int64_t want, struct err **e) _must_check_;
