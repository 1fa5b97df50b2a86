/* Counting a Job's pods exactly once, whenever we are killed (KEP-2307).
 *
 * A pod bears a finalizer until it is counted. A pod that ended is first written into status.uncountedTerminatedPods, then loses its
 * finalizer, and only then moves from that list into the counter: at each point the status together with the finalizers says which pods
 * were counted.
 */
#include "controllers/job.h"

bool job_pod_tracked(const struct obj *pod)
{
    return pod->finalizers && str_find(pod->json, STR("\"" JOB_FINALIZER "\"")) >= 0;
}

int64_t job_pod_index(const struct obj *pod)
{
    int64_t i = -1;
    str_to_i64(obj_label(pod, STR(JOB_INDEX)), &i);
    return i;
}

int sync_untrack(struct sync *s, const struct obj *pod, struct err **e)
{
    struct json *patch = json_obj(s->pool), *meta = json_put_obj(s->pool, patch, STR("metadata"));
    json_append(json_put_arr(s->pool, meta, STR("$deleteFromPrimitiveList/finalizers")), json_str(s->pool, STR(JOB_FINALIZER)));
    int r = sync_patch_strategic(s, R_PODS, pod, NULL, patch, e);
    return err_is(e, ERR_NOT_FOUND) ? 0 : MIN(r, 0);
}

static struct json *uid_find(struct json *list, struct str uid)
{
    json_for (list, u)
        if (str_eq(json_as_str(u), uid))
            return u;
    return NULL;
}

static const struct obj *tracked_by_uid(const struct job *j, struct str uid)
{
    for (size_t i = 0; i < j->pods.n; i++)
        if (str_eq(j->pods.p[i]->uid, uid) && job_pod_tracked(j->pods.p[i]))
            return j->pods.p[i];
    return NULL;
}

/* Those that lost their finalizer pass into the counter. */
static void settle(struct job *j, struct json *list, const char *counter)
{
    int64_t n = json_get_int(j->status, counter, 0);
    json_for (list, u)
        if (!tracked_by_uid(j, json_as_str(u))) {
            json_remove(list, u);
            n++;
        }
    if (n)
        json_set_int(j->s->pool, j->status, str_of(counter), n);
}

static bool is_failed(const struct obj *pod)
{
    /* a pod that is deleted before any node had it will never say that it ended */
    return pod_phase_of(pod) == POD_FAILED || (pod->deleted && pod_phase_of(pod) != POD_SUCCEEDED && !pod_node(pod).n);
}

static int64_t ended_at(const struct json *tree)
{
    int64_t last = 0;
    json_for (json_path(tree, "status", "containerStatuses", NULL), c) {
        int64_t t = time_of(json_str_at(c, "state", "terminated", "finishedAt", NULL));
        last = MAX(last, t);
    }
    return last;
}

/* When the newest failure was, counted already or not: the next attempt waits from there. */
static void note_failure(struct job *j, const struct obj *pod)
{
    int64_t at = ended_at(sync_tree(j->s, pod));
    j->last_failure = MAX(j->last_failure, at ? at : pod->created);
}

static void count_failed(struct job *j, const struct obj *pod, struct json *uids)
{
    struct json *tree = sync_tree(j->s, pod);
    bool ignore = false, fail_index = false;
    job_apply_policy(j, pod, tree, &ignore, &fail_index);
    int64_t index = job_pod_index(pod), failures = 0;
    str_to_i64(json_as_str(json_path(tree, "metadata", "annotations", "batch.kubernetes.io/job-index-failure-count", NULL)), &failures);
    if (j->per_index >= 0 && index >= 0 && (fail_index || failures >= j->per_index))
        index_set_add(&j->lost, index);
    if (!ignore && !uid_find(uids, pod->uid))
        json_append(uids, json_str(j->s->pool, pod->uid));
}

static void count_succeeded(struct job *j, const struct obj *pod, struct json *uids)
{
    int64_t index = job_pod_index(pod);
    if (j->indexed && !index_set_add(&j->done, index))
        return; /* that index has succeeded before: the pod counts for nothing */
    if (!uid_find(uids, pod->uid))
        json_append(uids, json_str(j->s->pool, pod->uid));
}

static void count_live(struct job *j, const struct obj *pod)
{
    if (pod->deleted) {
        j->terminating++;
        return;
    }
    array_add(j->s->pool, &j->active, pod);
    j->ready += pod_ready(pod);
}

int job_count(struct job *j, struct err **e)
{
    struct pool *p = j->s->pool;
    struct json *uncounted = json_put_obj(p, j->status, STR("uncountedTerminatedPods"));
    struct json *won = json_put_arr(p, uncounted, STR("succeeded")), *lost = json_put_arr(p, uncounted, STR("failed"));
    settle(j, won, "succeeded");
    settle(j, lost, "failed");
    index_set_read(&j->done, json_get_str(j->status, "completedIndexes"));
    index_set_read(&j->lost, json_get_str(j->status, "failedIndexes"));
    for (size_t i = 0; i < j->pods.n; i++) {
        const struct obj *pod = j->pods.p[i];
        if (pod_phase_of(pod) == POD_SUCCEEDED) {
            if (job_pod_tracked(pod))
                count_succeeded(j, pod, won);
        } else if (is_failed(pod)) {
            note_failure(j, pod);
            if (job_pod_tracked(pod))
                count_failed(j, pod, lost);
        } else {
            count_live(j, pod);
        }
    }
    j->succeeded = j->indexed ? j->done.n : json_get_int(j->status, "succeeded", 0) + (int64_t)json_count(won);
    j->failed = json_get_int(j->status, "failed", 0) + (int64_t)json_count(lost);
    if (j->indexed) {
        json_set_str(p, j->status, STR("completedIndexes"), index_set_text(&j->done, p));
        if (j->done.n == 0)
            json_del(j->status, STR("completedIndexes"));
        if (j->per_index >= 0)
            json_set_str(p, j->status, STR("failedIndexes"), index_set_text(&j->lost, p));
    }
    return 0;
}

int job_release(struct job *j, struct err **e)
{
    for (size_t i = 0; i < j->pods.n; i++) {
        const struct obj *pod = j->pods.p[i];
        if (!job_pod_tracked(pod) || !(pod_phase_of(pod) == POD_SUCCEEDED || is_failed(pod)))
            continue;
        int r = sync_untrack(j->s, pod, e);
        if (r < 0)
            return r;
    }
    return 0;
}

/* ---- index sets ---- */

enum { INDEXES_MAX = 100000 };

void index_set_init(struct index_set *x, struct pool *p, int64_t size)
{
    x->size = MIN(MAX(size, (int64_t)0), (int64_t)INDEXES_MAX);
    x->bits = pool_array(p, uint64_t, x->size / 64 + 1);
    x->n = 0;
}

bool index_set_has(const struct index_set *x, int64_t i)
{
    return i >= 0 && i < x->size && (x->bits[i / 64] >> (i % 64) & 1);
}

bool index_set_add(struct index_set *x, int64_t i)
{
    if (i < 0 || i >= x->size || index_set_has(x, i))
        return false;
    x->bits[i / 64] |= UINT64_C(1) << (i % 64);
    x->n++;
    return true;
}

void index_set_read(struct index_set *x, struct str text)
{
    struct str rest = text, piece, a, b;
    while (text.n && str_split(&rest, ',', &piece)) {
        int64_t from, to;
        if (!str_cut(piece, '-', &a, &b))
            a = b = piece;
        if (!str_to_i64(a, &from) || !str_to_i64(b, &to))
            continue;
        for (int64_t i = MAX(from, (int64_t)0); i <= to && i < x->size; i++)
            index_set_add(x, i);
    }
}

struct str index_set_text(const struct index_set *x, struct pool *p)
{
    struct buf b = BUF_INIT;
    for (int64_t i = 0; i < x->size; i++) {
        int64_t from = i;
        if (!index_set_has(x, i))
            continue;
        while (index_set_has(x, i + 1))
            i++;
        buf_printf(&b, "%s%" PRId64, b.n ? "," : "", from);
        if (i > from)
            buf_printf(&b, "%c%" PRId64, i > from + 1 ? '-' : ',', i);
    }
    return buf_to_pool(&b, p);
}
