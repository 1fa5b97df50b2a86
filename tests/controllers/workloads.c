#include "fixture.h"

static struct str pod_label(struct world *w, const char *pod, const char *key)
{
    const struct obj *o = world_get(w, "/pods", "default", pod);
    return o ? obj_label(o, str_of(key)) : STR_NULL;
}

#define STS(replicas, image, more)                                                                                                         \
    "{\"apiVersion\":\"apps/"                                                                                                              \
    "v1\",\"kind\":\"StatefulSet\",\"metadata\":{\"name\":\"db\"},\"spec\":{\"serviceName\":\"db\",\"replicas\":" replicas "," more        \
    "\"selector\":{\"matchLabels\":{\"app\":\"db\"}},\"template\":{\"metadata\":{\"labels\":{\"app\":\"db\"}},\"spec\":{\"containers\":[{" \
    "\"name\":\"c\",\"image\":\"" image "\"}]}},"                                                                                          \
    "\"volumeClaimTemplates\":[{\"metadata\":{\"name\":\"data\"},\"spec\":{\"accessModes\":[\"ReadWriteOnce\"],\"resources\":{"            \
    "\"requests\":{\"storage\":\"1Gi\"}}}}]}}"
#define STS_SET "serviceaccount,statefulset"

TEST(a_stateful_set_starts_its_pods_one_after_the_other)
{
    struct world w;
    world_open(&w, STS_SET);
    world_create(&w, "apps/statefulsets", "default", STS("3", "a:1", ""));
    world_run(&w);
    EQ(world_count(&w, "/pods", "default"), 1);
    OK(world_get(&w, "/persistentvolumeclaims", "default", "data-db-0"));
    EQ_STR(pod_label(&w, "db-0", "apps.kubernetes.io/pod-index"), STR("0"));
    EQ_STR(world_str(&w, "/pods", "default", "db-0", "/spec/hostname"), STR("db-0"));
    EQ_STR(world_str(&w, "/pods", "default", "db-0", "/spec/volumes/0/persistentVolumeClaim/claimName"), STR("data-db-0"));
    world_pod_status(&w, world_get(&w, "/pods", "default", "db-0"), "Running", true);
    world_run(&w);
    EQ(world_count(&w, "/pods", "default"), 2);
    world_all_ready(&w, "default");
    EQ(world_count(&w, "/pods", "default"), 3);
    EQ(world_int(&w, "apps/statefulsets", "default", "db", "/status/readyReplicas"), 3);
    EQ_STR(world_str(&w, "apps/statefulsets", "default", "db", "/status/currentRevision"),
        world_str(&w, "apps/statefulsets", "default", "db", "/status/updateRevision"));
    world_do(&w, API_PATCH_MERGE, "apps/statefulsets", "default", "db", "", "{\"spec\":{\"replicas\":1}}", 200);
    world_all_ready(&w, "default");
    EQ(world_count(&w, "/pods", "default"), 1);
    OK(world_get(&w, "/pods", "default", "db-0"));
    EQ(world_count(&w, "/persistentvolumeclaims", "default"), 3); /* retained */
    world_close(&w);
}

static void set_image(struct world *w, const char *resource, const char *name, const char *image)
{
    struct str body =
        pool_printf(w->pool, "{\"spec\":{\"template\":{\"spec\":{\"containers\":[{\"name\":\"c\",\"image\":\"%s\"}]}}}}", image);
    world_do(w, API_PATCH_STRATEGIC, resource, "default", name, "", body.p, 200);
    world_run(w);
}

TEST(a_stateful_set_rolls_from_the_last_ordinal_down_to_its_partition)
{
    struct world w;
    world_open(&w, STS_SET);
    world_create(&w, "apps/statefulsets", "default",
        STS("3", "a:1", "\"updateStrategy\":{\"type\":\"RollingUpdate\",\"rollingUpdate\":{\"partition\":1}},"));
    world_run(&w);
    world_all_ready(&w, "default");
    set_image(&w, "apps/statefulsets", "db", "a:2");
    EQ(world_int(&w, "apps/statefulsets", "default", "db", "/status/updatedReplicas"), 1);
    EQ_STR(world_str(&w, "/pods", "default", "db-2", "/spec/containers/0/image"), STR("a:2")); /* it had no node: replaced at once */
    EQ_STR(world_str(&w, "/pods", "default", "db-1", "/spec/containers/0/image"), STR("a:1"));
    world_all_ready(&w, "default");
    EQ_STR(world_str(&w, "/pods", "default", "db-1", "/spec/containers/0/image"), STR("a:2"));
    EQ_STR(world_str(&w, "/pods", "default", "db-0", "/spec/containers/0/image"), STR("a:1"));
    EQ(world_count(&w, "apps/controllerrevisions", "default"), 2);
    world_do(&w, API_PATCH_MERGE, "apps/statefulsets", "default", "db", "",
        "{\"spec\":{\"updateStrategy\":{\"rollingUpdate\":{\"partition\":0}}}}", 200);
    world_run(&w);
    world_all_ready(&w, "default");
    EQ_STR(world_str(&w, "/pods", "default", "db-0", "/spec/containers/0/image"), STR("a:2"));
    EQ_STR(world_str(&w, "apps/statefulsets", "default", "db", "/status/currentRevision"),
        world_str(&w, "apps/statefulsets", "default", "db", "/status/updateRevision"));
    world_close(&w);
}

#define DS(image, more)                                                                                                                    \
    "{\"apiVersion\":\"apps/v1\",\"kind\":\"DaemonSet\",\"metadata\":{\"name\":\"d\"},\"spec\":{" more                                     \
    "\"selector\":{\"matchLabels\":{\"app\":\"d\"}},"                                                                                      \
    "\"template\":{\"metadata\":{\"labels\":{\"app\":\"d\"}},\"spec\":{\"containers\":[{\"name\":\"c\",\"image\":\"" image "\"}]}}}}"

TEST(a_daemon_set_puts_one_pod_on_each_node_that_may_have_it)
{
    struct world w;
    world_open(&w, "serviceaccount,daemonset,node");
    world_node(&w, "n1", true);
    world_node(&w, "n2", true);
    world_create(&w, "apps/daemonsets", "default", DS("a:1", ""));
    world_run(&w);
    EQ(world_count(&w, "/pods", "default"), 2);
    EQ(world_int(&w, "apps/daemonsets", "default", "d", "/status/desiredNumberScheduled"), 2);
    struct str revision = world_nth(&w, "apps/controllerrevisions", "default", 0)->json;
    OK(str_find(revision, STR("\"data\":{\"spec\":{\"template\":{\"$patch\":\"replace\",\"metadata\":{\"labels\":{\"app\":\"d\"}},\"spec\":{\"containers\":[{\"image\":\"a:1\","
                                    "\"imagePullPolicy\":\"IfNotPresent\",\"name\":\"c\",\"resources\":{},")) >= 0); /* as Go writes it: clients compare bytes */
    struct str text = world_nth(&w, "/pods", "default", 0)->json;
    OK(str_find(text, STR("\"matchFields\":[{\"key\":\"metadata.name\",\"operator\":\"In\",\"values\":[\"n")) >= 0);
    world_node(&w, "n3", true);
    world_run(&w);
    EQ(world_count(&w, "/pods", "default"), 3);
    world_all_ready(&w, "default");
    EQ(world_int(&w, "apps/daemonsets", "default", "d", "/status/numberAvailable"), 3);
    world_do(&w, API_PATCH_JSON, "/nodes", "", "n3", "",
        "[{\"op\":\"add\",\"path\":\"/spec/taints\",\"value\":[{\"key\":\"k\",\"effect\":\"NoExecute\"}]}]", 200);
    world_run(&w);
    world_remove_deleted(&w, "default");
    world_run(&w);
    EQ(world_count(&w, "/pods", "default"), 2);
    world_close(&w);
}

TEST(a_daemon_set_rolls_one_node_at_a_time_and_can_surge)
{
    struct world w;
    world_open(&w, "serviceaccount,daemonset,node");
    world_node(&w, "n1", true);
    world_node(&w, "n2", true);
    world_create(&w, "apps/daemonsets", "default", DS("a:1", ""));
    world_run(&w);
    world_all_ready(&w, "default");
    set_image(&w, "apps/daemonsets", "d", "a:2");
    EQ(world_int(&w, "apps/daemonsets", "default", "d", "/status/updatedNumberScheduled"), 1);
    EQ(world_int(&w, "apps/daemonsets", "default", "d", "/status/numberAvailable"), 1);
    world_all_ready(&w, "default");
    EQ(world_int(&w, "apps/daemonsets", "default", "d", "/status/updatedNumberScheduled"), 2);
    world_do(&w, API_PATCH_MERGE, "apps/daemonsets", "default", "d", "",
        "{\"spec\":{\"updateStrategy\":{\"rollingUpdate\":{\"maxSurge\":1,\"maxUnavailable\":0}}}}", 200);
    set_image(&w, "apps/daemonsets", "d", "a:3");
    EQ(world_count(&w, "/pods", "default"), 3);
    EQ(world_int(&w, "apps/daemonsets", "default", "d", "/status/numberAvailable"), 2);
    world_all_ready(&w, "default");
    EQ(world_count(&w, "/pods", "default"), 2);
    EQ(world_int(&w, "apps/daemonsets", "default", "d", "/status/updatedNumberScheduled"), 2);
    world_close(&w);
}

#define JOB(more)                                                                                                                          \
    "{\"apiVersion\":\"batch/v1\",\"kind\":\"Job\",\"metadata\":{\"name\":\"j\"},\"spec\":{" more                                          \
    "\"template\":{\"spec\":{\"restartPolicy\":\"Never\",\"containers\":[{\"name\":\"c\",\"image\":\"a\"}]}}}}"
#define JOB_SET "serviceaccount,job"

static struct str condition(struct world *w, const char *type)
{
    json_for (json_path(world_tree(w, "batch/jobs", "default", "j"), "status", "conditions", NULL), c)
        if (str_eqz(json_get_str(c, "type"), type) && str_eqz(json_get_str(c, "status"), "True"))
            return json_get_str(c, "reason");
    return STR("");
}

static const struct obj *running(struct world *w, size_t n)
{
    for (size_t i = 0; i < world_count(w, "/pods", "default"); i++) {
        const struct obj *o = world_nth(w, "/pods", "default", i);
        const struct pod_view *v = o->view;
        if (v->phase != POD_SUCCEEDED && v->phase != POD_FAILED && !o->deleted && n-- == 0)
            return o;
    }
    return NULL;
}

static void end(struct world *w, const char *phase)
{
    const struct obj *o = running(w, 0);
    OK(o);
    world_pod_status(w, o, phase, false);
    world_run(w);
}

TEST(a_job_runs_its_pods_to_completion)
{
    struct world w;
    world_open(&w, JOB_SET);
    world_create(&w, "batch/jobs", "default", JOB("\"completions\":3,\"parallelism\":2,"));
    world_run(&w);
    EQ(world_count(&w, "/pods", "default"), 2);
    EQ(world_int(&w, "batch/jobs", "default", "j", "/status/active"), 2);
    OK(str_find(world_nth(&w, "/pods", "default", 0)->json, STR("batch.kubernetes.io/job-tracking")) >= 0);
    end(&w, "Succeeded");
    EQ(world_int(&w, "batch/jobs", "default", "j", "/status/succeeded"), 1);
    EQ(world_count(&w, "/pods", "default"), 3);
    end(&w, "Succeeded");
    end(&w, "Succeeded");
    EQ(world_int(&w, "batch/jobs", "default", "j", "/status/succeeded"), 3);
    EQ_STR(condition(&w, "Complete"), STR("CompletionsReached"));
    OK(world_str(&w, "batch/jobs", "default", "j", "/status/completionTime").n > 0);
    for (size_t i = 0; i < 3; i++)
        OK(!world_nth(&w, "/pods", "default", i)->finalizers);
    OK(world_event(&w, "default", "Completed"));
    world_close(&w);
}

TEST(a_job_that_fails_too_often_gives_up)
{
    struct world w;
    world_open(&w, JOB_SET);
    world_create(&w, "batch/jobs", "default", JOB("\"backoffLimit\":1,"));
    world_run(&w);
    end(&w, "Failed");
    OK(!running(&w, 0)); /* waits before the next attempt */
    world_pass(&w, 11);
    end(&w, "Failed");
    EQ_STR(condition(&w, "Failed"), STR("BackoffLimitExceeded"));
    EQ(world_int(&w, "batch/jobs", "default", "j", "/status/failed"), 2);
    world_close(&w);
}

TEST(an_indexed_job_runs_each_index_once)
{
    struct world w;
    world_open(&w, JOB_SET);
    world_create(&w, "batch/jobs", "default", JOB("\"completionMode\":\"Indexed\",\"completions\":4,\"parallelism\":4,"));
    world_run(&w);
    EQ(world_count(&w, "/pods", "default"), 4);
    OK(str_find(world_nth(&w, "/pods", "default", 0)->json, STR("JOB_COMPLETION_INDEX")) >= 0);
    for (int i = 0; i < 3; i++)
        end(&w, "Succeeded");
    EQ_STR(world_str(&w, "batch/jobs", "default", "j", "/status/completedIndexes"), STR("0-2"));
    end(&w, "Failed");
    world_pass(&w, 11);
    end(&w, "Succeeded");
    EQ_STR(world_str(&w, "batch/jobs", "default", "j", "/status/completedIndexes"), STR("0-3"));
    EQ_STR(condition(&w, "Complete"), STR("CompletionsReached"));
    world_close(&w);
}

TEST(a_job_can_be_suspended_and_has_a_deadline)
{
    struct world w;
    world_open(&w, JOB_SET);
    world_create(&w, "batch/jobs", "default", JOB("\"suspend\":true,\"activeDeadlineSeconds\":100,"));
    world_run(&w);
    EQ(world_count(&w, "/pods", "default"), 0);
    EQ_STR(condition(&w, "Suspended"), STR("JobSuspended"));
    world_pass(&w, 200);
    world_do(&w, API_PATCH_MERGE, "batch/jobs", "default", "j", "", "{\"spec\":{\"suspend\":false}}", 200);
    world_run(&w);
    EQ(world_count(&w, "/pods", "default"), 1);
    world_pass(&w, 101);
    EQ_STR(condition(&w, "Failed"), STR("DeadlineExceeded"));
    world_close(&w);
}
