/* Controllers that are stopped between any two steps, and started anew, end where they would have without it, and break no promise on the
 * way. */
#include "fixture.h"

static void restart(struct world *w, const char *only)
{
    struct err *e = NULL;
    struct controllers_config cc = {.api = w->api, .loop = w->loop, .clock = w->clock, .only = only};
    controllers_stop(w->cs);
    FINE(controllers_start(&cc, &w->cs, &e), e);
}

static void steps(struct world *w, int n)
{
    for (int i = 0; i < n; i++)
        loop_step(w->loop, 0);
}

struct count {
    size_t live, ready, fresh;
};

static struct count count(struct world *w, const char *image)
{
    struct count c = {0};
    for (size_t i = 0; i < world_count(w, "/pods", "default"); i++) {
        const struct obj *o = world_nth(w, "/pods", "default", i);
        const struct pod_view *v = o->view;
        if (o->deleted)
            continue;
        c.live++;
        c.ready += (v->flags & POD_READY) != 0;
        c.fresh += str_find(o->json, str_of(image)) >= 0;
    }
    return c;
}

/* What the ReplicaSets ask for together. maxSurge bounds this (as in Kubernetes, where a pod that is surplus already may live until its ReplicaSet's turn comes, while the
 * Deployment has gone on). */
static int64_t asked(struct world *w)
{
    int64_t sum = 0;
    for (size_t i = 0; i < world_count(w, "apps/replicasets", "default"); i++) {
        _cleanup_(pool_freep) struct pool *p = pool_new();
        struct json *tree = NULL;
        struct err *e = NULL;
        FINE(json_parse(p, world_nth(w, "apps/replicasets", "default", i)->json, NULL, &tree, &e), e);
        sum += json_get_int(json_get(tree, STR("spec")), "replicas", 0);
    }
    return sum;
}

/* One pod that is not ready becomes so. */
static bool one_ready(struct world *w)
{
    for (size_t i = 0; i < world_count(w, "/pods", "default"); i++) {
        const struct obj *o = world_nth(w, "/pods", "default", i);
        const struct pod_view *v = o->view;
        if (o->deleted || (v->flags & POD_READY))
            continue;
        world_pod_status(w, o, "Running", true);
        return true;
    }
    return false;
}

TEST(a_rollout_survives_its_controllers_being_stopped_at_any_step)
{
    static const char set[] = "serviceaccount,deployment,replicaset,garbage";
    for (int stride = 1; stride < 12; stride += 2) {
        struct world w;
        world_open(&w, set);
        world_create(&w, "apps/deployments", "default",
            "{\"apiVersion\":\"apps/"
            "v1\",\"kind\":\"Deployment\",\"metadata\":{\"name\":\"web\"},\"spec\":{\"replicas\":6,\"strategy\":{\"rollingUpdate\":{"
            "\"maxSurge\":2,\"maxUnavailable\":1}},"
            "\"selector\":{\"matchLabels\":{\"app\":\"web\"}},\"template\":{\"metadata\":{\"labels\":{\"app\":\"web\"}},\"spec\":{"
            "\"containers\":[{\"name\":\"c\",\"image\":\"img:1\"}]}}}}");
        world_run(&w);
        world_all_ready(&w, "default");
        world_do(&w, API_PATCH_STRATEGIC, "apps/deployments", "default", "web", "",
            "{\"spec\":{\"template\":{\"spec\":{\"containers\":[{\"name\":\"c\",\"image\":\"img:2\"}]}}}}", 200);
        for (int turn = 0; turn < 400; turn++) {
            steps(&w, stride);
            restart(&w, set);
            if (turn % 3 == 0) /* somebody else writes too: conflicts */
                world_do(&w, API_PATCH_MERGE, "apps/deployments", "default", "web", "",
                    pool_printf(w.pool, "{\"metadata\":{\"annotations\":{\"turn\":\"%d\"}}}", turn).p, 200);
            steps(&w, stride);
            struct count c = count(&w, "img:2");
            OK(asked(&w) <= 8);
            OK(c.ready >= 5);
            if (turn % 2 && !one_ready(&w) && c.fresh == 6 && c.live == 6)
                break;
        }
        world_run(&w);
        world_all_ready(&w, "default");
        struct count c = count(&w, "img:2");
        EQ(c.live, 6);
        EQ(c.fresh, 6);
        EQ(world_count(&w, "apps/replicasets", "default"), 2);
        EQ(world_int(&w, "apps/deployments", "default", "web", "/status/updatedReplicas"), 6);
        world_close(&w);
    }
}

TEST(a_job_counts_each_pod_once_although_its_controller_is_stopped_at_any_step)
{
    static const char set[] = "serviceaccount,job";
    for (int stride = 1; stride < 8; stride++) {
        struct world w;
        world_open(&w, set);
        world_create(&w, "batch/jobs", "default",
            "{\"apiVersion\":\"batch/"
            "v1\",\"kind\":\"Job\",\"metadata\":{\"name\":\"j\"},\"spec\":{\"completions\":8,\"parallelism\":3,\"backoffLimit\":100,"
            "\"template\":{\"spec\":{\"restartPolicy\":\"Never\",\"containers\":[{\"name\":\"c\",\"image\":\"a\"}]}}}}");
        int won = 0, lost = 0;
        for (int turn = 0; turn < 400; turn++) {
            steps(&w, stride);
            restart(&w, set);
            steps(&w, stride);
            clock_fake_add(w.clock, 700 * NS_PER_S); /* back-offs are over */
            controllers_tick(w.cs);
            for (size_t i = 0; i < world_count(&w, "/pods", "default"); i++) {
                const struct obj *o = world_nth(&w, "/pods", "default", i);
                if (((const struct pod_view *)o->view)->phase != POD_PENDING)
                    continue;
                bool fail = turn % 4 == 1;
                world_pod_status(&w, o, fail ? "Failed" : "Succeeded", false);
                won += !fail;
                lost += fail;
                break;
            }
        }
        world_run(&w);
        EQ(won, 8);
        EQ(world_int(&w, "batch/jobs", "default", "j", "/status/succeeded"), won);
        EQ(MAX(world_int(&w, "batch/jobs", "default", "j", "/status/failed"), (int64_t)0), lost);
        EQ(world_count(&w, "/pods", "default"), (size_t)(won + lost));
        for (size_t i = 0; i < (size_t)(won + lost); i++)
            OK(!world_nth(&w, "/pods", "default", i)->finalizers);
        world_close(&w);
    }
}
