#include "fixture.h"

#define WEB(replicas, image, more)                                                                                                         \
    "{\"apiVersion\":\"apps/"                                                                                                              \
    "v1\",\"kind\":\"Deployment\",\"metadata\":{\"name\":\"web\",\"namespace\":\"default\"},\"spec\":{\"replicas\":" replicas "," more     \
    "\"selector\":{\"matchLabels\":{\"app\":\"web\"}},\"template\":{\"metadata\":{\"labels\":{\"app\":\"web\"}},\"spec\":{\"containers\":" \
    "[{\"name\":\"c\",\"image\":\"" image "\"}]}}}}"
#define SET "serviceaccount,deployment,replicaset"

static void set_image(struct world *w, const char *image)
{
    struct str body =
        pool_printf(w->pool, "{\"spec\":{\"template\":{\"spec\":{\"containers\":[{\"name\":\"c\",\"image\":\"%s\"}]}}}}", image);
    world_do(w, API_PATCH_STRATEGIC, "apps/deployments", "default", "web", "", body.p, 200);
    world_run(w);
}

static int64_t status(struct world *w, const char *field)
{
    return world_int(w, "apps/deployments", "default", "web", pool_printf(w->pool, "/status/%s", field).p);
}

static struct str reason_of(struct world *w, const char *type)
{
    json_for (json_path(world_tree(w, "apps/deployments", "default", "web"), "status", "conditions", NULL), c)
        if (str_eqz(json_get_str(c, "type"), type))
            return json_get_str(c, "reason");
    return STR("");
}

TEST(a_deployment_makes_a_replica_set_and_its_pods)
{
    struct world w;
    world_open(&w, SET);
    world_create(&w, "apps/deployments", "default", WEB("3", "a:1", ""));
    world_run(&w);
    EQ(world_count(&w, "apps/replicasets", "default"), 1);
    EQ(world_count(&w, "/pods", "default"), 3);
    EQ_STR(world_str(&w, "apps/deployments", "default", "web", "/metadata/annotations/deployment.kubernetes.io~1revision"), STR("1"));
    EQ(status(&w, "unavailableReplicas"), 3);
    EQ_STR(reason_of(&w, "Available"), STR("MinimumReplicasUnavailable"));
    world_all_ready(&w, "default");
    EQ(status(&w, "availableReplicas"), 3);
    EQ(status(&w, "observedGeneration"), 1);
    EQ_STR(reason_of(&w, "Available"), STR("MinimumReplicasAvailable"));
    EQ_STR(reason_of(&w, "Progressing"), STR("NewReplicaSetAvailable"));
    const struct obj *pod = world_nth(&w, "/pods", "default", 0);
    OK(obj_label(pod, STR("pod-template-hash")).n > 0);
    EQ_STR(obj_controller(pod)->kind, STR("ReplicaSet"));
    OK(world_event(&w, "default", "ScalingReplicaSet"));
    OK(world_event(&w, "default", "SuccessfulCreate"));
    world_close(&w);
}

TEST(a_rollout_keeps_within_surge_and_unavailable_and_can_be_undone)
{
    struct world w;
    world_open(&w, SET);
    world_create(&w, "apps/deployments", "default",
        WEB("4", "a:1", "\"strategy\":{\"type\":\"RollingUpdate\",\"rollingUpdate\":{\"maxSurge\":1,\"maxUnavailable\":1}},"));
    world_run(&w);
    world_all_ready(&w, "default");
    set_image(&w, "a:2");
    size_t live = 0;
    for (size_t i = 0; i < world_count(&w, "/pods", "default"); i++)
        live += !world_nth(&w, "/pods", "default", i)->deleted;
    EQ(live, 5); /* 3 old ones and 2 new ones: one more than wanted, one less than wanted available */
    world_all_ready(&w, "default");
    EQ(world_count(&w, "/pods", "default"), 4);
    EQ(status(&w, "updatedReplicas"), 4);
    EQ(world_count(&w, "apps/replicasets", "default"), 2);
    EQ_STR(world_str(&w, "apps/deployments", "default", "web", "/metadata/annotations/deployment.kubernetes.io~1revision"), STR("2"));
    set_image(&w, "a:1");
    world_all_ready(&w, "default");
    EQ(world_count(&w, "apps/replicasets", "default"), 2);
    EQ_STR(world_str(&w, "apps/deployments", "default", "web", "/metadata/annotations/deployment.kubernetes.io~1revision"), STR("3"));
    EQ(status(&w, "updatedReplicas"), 4);
    world_close(&w);
}

TEST(recreate_waits_until_the_old_pods_are_gone)
{
    struct world w;
    world_open(&w, SET);
    world_create(&w, "apps/deployments", "default", WEB("2", "a:1", "\"strategy\":{\"type\":\"Recreate\"},"));
    world_run(&w);
    for (size_t i = 0; i < 2; i++) { /* on a node, so that they take their time to go */
        struct str name = world_nth(&w, "/pods", "default", i)->name;
        world_do(&w, API_CREATE, "/pods", "default", pool_strz(w.pool, name), "binding",
            pool_printf(w.pool,
                "{\"apiVersion\":\"v1\",\"kind\":\"Binding\",\"metadata\":{\"name\":\"%.*s\"},\"target\":{\"kind\":\"Node\",\"name\":"
                "\"n1\"}}",
                STR_ARG(name))
                .p,
            201);
    }
    world_all_ready(&w, "default");
    set_image(&w, "a:2");
    EQ(world_count(&w, "/pods", "default"), 2);
    OK(world_nth(&w, "/pods", "default", 0)->deleted);
    EQ(status(&w, "terminatingReplicas"), 2);
    world_remove_deleted(&w, "default");
    world_run(&w);
    EQ(world_count(&w, "/pods", "default"), 2);
    OK(!world_nth(&w, "/pods", "default", 0)->deleted);
    world_close(&w);
}

TEST(a_stuck_rollout_is_told_when_its_deadline_passes)
{
    struct world w;
    world_open(&w, SET);
    world_create(&w, "apps/deployments", "default", WEB("1", "a:1", "\"progressDeadlineSeconds\":60,"));
    world_run(&w);
    world_pass(&w, 30);
    EQ_STR(reason_of(&w, "Progressing"), STR("ReplicaSetUpdated"));
    world_pass(&w, 40);
    EQ_STR(reason_of(&w, "Progressing"), STR("ProgressDeadlineExceeded"));
    world_all_ready(&w, "default");
    EQ_STR(reason_of(&w, "Progressing"), STR("NewReplicaSetAvailable"));
    world_close(&w);
}

TEST(a_paused_deployment_scales_but_does_not_roll)
{
    struct world w;
    world_open(&w, SET);
    world_create(&w, "apps/deployments", "default", WEB("2", "a:1", ""));
    world_run(&w);
    world_all_ready(&w, "default");
    world_do(&w, API_PATCH_MERGE, "apps/deployments", "default", "web", "", "{\"spec\":{\"paused\":true}}", 200);
    world_run(&w);
    EQ_STR(reason_of(&w, "Progressing"), STR("DeploymentPaused"));
    set_image(&w, "a:2");
    EQ(world_count(&w, "apps/replicasets", "default"), 1);
    world_do(&w, API_PATCH_MERGE, "apps/deployments", "default", "web", "", "{\"spec\":{\"replicas\":5}}", 200);
    world_run(&w);
    EQ(world_count(&w, "/pods", "default"), 5);
    world_do(&w, API_PATCH_MERGE, "apps/deployments", "default", "web", "", "{\"spec\":{\"paused\":false}}", 200);
    world_run(&w);
    EQ(world_count(&w, "apps/replicasets", "default"), 2);
    world_close(&w);
}

TEST(old_replica_sets_beyond_the_history_limit_go)
{
    struct world w;
    world_open(&w, SET);
    world_create(&w, "apps/deployments", "default", WEB("1", "a:1", "\"revisionHistoryLimit\":1,"));
    world_run(&w);
    for (int i = 2; i < 6; i++) {
        world_all_ready(&w, "default");
        set_image(&w, pool_printf(w.pool, "a:%d", i).p);
    }
    world_all_ready(&w, "default");
    EQ(world_count(&w, "apps/replicasets", "default"), 2);
    world_close(&w);
}

TEST(pods_that_match_and_have_no_controller_are_adopted_and_others_let_go)
{
    struct world w;
    world_open(&w, SET);
    world_create(&w, "/pods", "default",
        "{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":{\"name\":\"stray\",\"labels\":{\"app\":\"rs\"}},\"spec\":{\"containers\":[{"
        "\"name\":\"c\",\"image\":\"a\"}]}}");
    world_create(&w, "apps/replicasets", "default",
        "{\"apiVersion\":\"apps/"
        "v1\",\"kind\":\"ReplicaSet\",\"metadata\":{\"name\":\"rs\"},\"spec\":{\"replicas\":2,\"selector\":{\"matchLabels\":{\"app\":"
        "\"rs\"}},"
        "\"template\":{\"metadata\":{\"labels\":{\"app\":\"rs\"}},\"spec\":{\"containers\":[{\"name\":\"c\",\"image\":\"a\"}]}}}}");
    world_run(&w);
    EQ(world_count(&w, "/pods", "default"), 2);
    EQ_STR(obj_controller(world_get(&w, "/pods", "default", "stray"))->name, STR("rs"));
    world_do(&w, API_PATCH_MERGE, "/pods", "default", "stray", "", "{\"metadata\":{\"labels\":{\"app\":\"other\"}}}", 200);
    world_run(&w);
    OK(!obj_controller(world_get(&w, "/pods", "default", "stray")));
    EQ(world_count(&w, "/pods", "default"), 3);
    EQ(world_int(&w, "apps/replicasets", "default", "rs", "/status/replicas"), 2);
    world_close(&w);
}

TEST(a_replica_set_that_may_not_make_pods_says_so)
{
    struct world w;
    world_open(&w, SET);
    world_create(&w, "/resourcequotas", "default",
        "{\"apiVersion\":\"v1\",\"kind\":\"ResourceQuota\",\"metadata\":{\"name\":\"q\"},\"spec\":{\"hard\":{\"pods\":\"0\"}}}");
    world_do(&w, API_PATCH_MERGE, "/resourcequotas", "default", "q", "status",
        "{\"status\":{\"hard\":{\"pods\":\"0\"},\"used\":{\"pods\":\"0\"}}}", 200);
    world_create(&w, "apps/deployments", "default", WEB("1", "a:1", ""));
    world_run(&w);
    EQ(world_count(&w, "/pods", "default"), 0);
    EQ_STR(reason_of(&w, "ReplicaFailure"), STR("FailedCreate"));
    OK(world_event(&w, "default", "FailedCreate"));
    world_close(&w);
}
