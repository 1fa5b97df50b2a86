/* Autoscaling on figures that the test makes up; everything else is real. */
#include "fixture.h"

#define SET "serviceaccount,deployment,replicaset,horizontal-pod-autoscaler"
#define KIND "autoscaling/horizontalpodautoscalers"

struct figures {
    struct world *w;
    int64_t cpu_milli; /* each ready pod uses this much; -1: nobody serves figures */
    int asked;
    bool later; /* the answer comes after the call */
    struct api_call *held;
    void (*held_done)(struct api_call *c);
};

static void answer(struct figures *f, struct api_call *c, void (*done)(struct api_call *c))
{
    char now[TIME_MAX];
    struct str t = time_format(clock_now(f->w->clock), now);
    if (f->cpu_milli < 0) {
        (void)err_set(&c->err, ERR_NOT_FOUND, "the server could not find the requested resource (get pods.metrics.k8s.io)");
    } else {
        struct json *items;
        c->result = json_obj(c->pool);
        items = json_put_arr(c->pool, c->result, STR("items"));
        for (size_t i = 0; i < world_count(f->w, "/pods", "default"); i++) {
            const struct obj *o = world_nth(f->w, "/pods", "default", i);
            const struct pod_view *v = o->view;
            struct json *one = NULL;
            struct err *e = NULL;
            if (!(v->flags & POD_READY))
                continue;
            FINE(json_parse(c->pool,
                     pool_printf(c->pool,
                         "{\"metadata\":{\"name\":\"%.*s\"},\"timestamp\":\"%.*s\",\"window\":\"30s\",\"containers\":[{\"name\":\"c\","
                         "\"usage\":{\"cpu\":\"%" PRId64 "m\",\"memory\":\"64Mi\"}}]}",
                         STR_ARG(o->name), STR_ARG(t), f->cpu_milli),
                     NULL, &one, &e),
                e);
            json_append(items, one);
        }
    }
    done(c);
}

static void on_question(void *arg, struct api_call *c, void (*done)(struct api_call *c))
{
    struct figures *f = arg;
    f->asked++;
    EQ_STR(c->group, STR("metrics.k8s.io"));
    if (f->later) {
        f->held = c;
        f->held_done = done;
        return;
    }
    answer(f, c, done);
}

/* Pods as a node reports them: started long ago, so that their figures count. */
static void settle(struct world *w)
{
    world_run(w);
    world_all_ready(w, "default");
    for (size_t i = 0; i < world_count(w, "/pods", "default"); i++)
        world_do(w, API_PATCH_MERGE, "/pods", "default", pool_strz(w->pool, world_nth(w, "/pods", "default", i)->name), "status",
            "{\"status\":{\"startTime\":\"2020-01-01T00:00:00Z\"}}", 200);
    world_run(w);
}

static void open_hpa(struct world *w, struct figures *f, const char *spec)
{
    struct err *e = NULL;
    world_open(w, "");
    *f = (struct figures){.w = w, .cpu_milli = 100};
    struct controllers_config c = {
        .api = w->api, .loop = w->loop, .clock = w->clock, .only = SET, .metrics = on_question, .metrics_arg = f};
    FINE(controllers_start(&c, &w->cs, &e), e);
    world_create(w, "apps/deployments", "default",
        "{\"apiVersion\":\"apps/"
        "v1\",\"kind\":\"Deployment\",\"metadata\":{\"name\":\"web\"},\"spec\":{\"replicas\":2,\"selector\":{\"matchLabels\":{\"app\":"
        "\"web\"}},"
        "\"template\":{\"metadata\":{\"labels\":{\"app\":\"web\"}},\"spec\":{\"containers\":[{\"name\":\"c\",\"image\":\"a\",\"resources\":"
        "{\"requests\":{\"cpu\":"
        "\"200m\"}}}]}}}}");
    settle(w);
    world_create(w, KIND, "default",
        pool_printf(w->pool,
            "{\"apiVersion\":\"autoscaling/"
            "v2\",\"kind\":\"HorizontalPodAutoscaler\",\"metadata\":{\"name\":\"web\"},\"spec\":{\"scaleTargetRef\":{\"apiVersion\":"
            "\"apps/v1\",\"kind\":\"Deployment\",\"name\":\"web\"},\"minReplicas\":1,\"maxReplicas\":10%s}}",
            spec)
            .p);
    world_run(w);
}

static int64_t replicas(struct world *w)
{
    return world_int(w, "apps/deployments", "default", "web", "/spec/replicas");
}

static struct str condition(struct world *w, const char *type, const char *member)
{
    struct json *list = json_path(world_tree(w, KIND, "default", "web"), "status", "conditions", NULL);
    json_for (list, c)
        if (str_eqz(json_get_str(c, "type"), type))
            return json_get_str(c, member);
    return STR("");
}

#define CPU50                                                                                                                              \
    ",\"metrics\":[{\"type\":\"Resource\",\"resource\":{\"name\":\"cpu\",\"target\":{\"type\":\"Utilization\",\"averageUtilization\":50}}" \
    "}]"

TEST(an_autoscaler_goes_up_with_load_and_down_when_it_was_low_for_five_minutes)
{
    struct world w;
    struct figures f;
    open_hpa(&w, &f, CPU50);
    EQ(replicas(&w), 2); /* 100m of 200m: as asked for */
    EQ(world_int(&w, KIND, "default", "web", "/status/currentMetrics/0/resource/current/averageUtilization"), 50);
    EQ_STR(world_str(&w, KIND, "default", "web", "/status/currentMetrics/0/resource/current/averageValue"), STR("100m"));
    EQ_STR(condition(&w, "ScalingActive", "reason"), STR("ValidMetricFound"));
    EQ_STR(condition(&w, "AbleToScale", "reason"), STR("ReadyForNewScale"));
    EQ_STR(condition(&w, "ScalingLimited", "reason"), STR("DesiredWithinRange"));
    f.cpu_milli = 105; /* within the tolerance */
    world_pass(&w, 15);
    EQ(replicas(&w), 2);
    f.cpu_milli = 190; /* 95 %: 1.9 times two pods */
    world_pass(&w, 15);
    EQ(replicas(&w), 4);
    OK(world_event(&w, "default", "SuccessfulRescale"));
    EQ_STR(condition(&w, "AbleToScale", "reason"), STR("SucceededRescale"));
    settle(&w);
    f.cpu_milli = 20;
    world_pass(&w, 15);
    EQ(replicas(&w), 4); /* it was told 4 a moment ago */
    EQ_STR(condition(&w, "AbleToScale", "reason"), STR("ScaleDownStabilized"));
    world_pass(&w, 150);
    EQ(replicas(&w), 4);
    for (int i = 0; i < 12; i++)
        world_pass(&w, 15);
    EQ(replicas(&w), 1);
    int asked = f.asked;
    world_run(&w);
    EQ(f.asked, asked); /* nothing is asked between two periods */
    world_close(&w);
}

TEST(going_up_is_bounded_by_twice_what_stands_and_by_the_maximum)
{
    struct world w;
    struct figures f;
    open_hpa(&w, &f, CPU50);
    f.cpu_milli = 1000;
    world_pass(&w, 15);
    EQ(replicas(&w), 4);
    EQ_STR(condition(&w, "ScalingLimited", "reason"), STR("ScaleUpLimit"));
    settle(&w);
    world_pass(&w, 15);
    EQ(replicas(&w), 8);
    settle(&w);
    world_pass(&w, 15);
    EQ(replicas(&w), 10);
    EQ_STR(condition(&w, "ScalingLimited", "reason"), STR("TooManyReplicas"));
    EQ_STR(condition(&w, "ScalingLimited", "status"), STR("True"));
    world_close(&w);
}

TEST(behaviour_bounds_the_rate_and_the_window)
{
    struct world w;
    struct figures f;
    open_hpa(&w, &f,
        CPU50 ",\"behavior\":{\"scaleUp\":{\"policies\":[{\"type\":\"Pods\",\"value\":1,\"periodSeconds\":60}]},\"scaleDown\":{"
              "\"stabilizationWindowSeconds\":30,"
              "\"selectPolicy\":\"Disabled\"}}");
    f.cpu_milli = 1000;
    world_pass(&w, 15);
    EQ(replicas(&w), 3);
    EQ_STR(condition(&w, "ScalingLimited", "reason"), STR("ScaleUpLimit"));
    settle(&w);
    world_pass(&w, 15);
    EQ(replicas(&w), 3); /* one per minute */
    world_pass(&w, 60);
    EQ(replicas(&w), 4);
    settle(&w);
    f.cpu_milli = 1;
    world_pass(&w, 15);
    world_pass(&w, 60);
    world_pass(&w, 60);
    EQ(replicas(&w), 4); /* never down */
    world_close(&w);
}

TEST(tolerance_is_taken_from_the_behaviour)
{
    struct world w;
    struct figures f;
    open_hpa(&w, &f, CPU50 ",\"behavior\":{\"scaleUp\":{\"tolerance\":\"0.5\"}}");
    f.cpu_milli = 140;
    world_pass(&w, 15);
    EQ(replicas(&w), 2);
    f.cpu_milli = 160;
    world_pass(&w, 15);
    EQ(replicas(&w), 4);
    world_close(&w);
}

TEST(figures_that_cannot_be_had_are_told_and_change_nothing)
{
    struct world w;
    struct figures f;
    open_hpa(&w, &f, CPU50);
    f.cpu_milli = -1;
    world_pass(&w, 15);
    EQ(replicas(&w), 2);
    EQ_STR(condition(&w, "ScalingActive", "status"), STR("False"));
    EQ_STR(condition(&w, "ScalingActive", "reason"), STR("FailedGetResourceMetric"));
    EQ_STR(condition(&w, "ScalingActive", "message"),
        STR("the HPA was unable to compute the replica count: failed to get cpu utilization: unable to get metrics for resource cpu: "
            "unable to fetch metrics from resource "
            "metrics API: the server could not find the requested resource (get pods.metrics.k8s.io)"));
    OK(world_event(&w, "default", "FailedGetResourceMetric"));
    OK(world_event(&w, "default", "FailedComputeMetricsReplicas"));
    world_do(&w, API_DELETE, "apps/deployments", "default", "web", "", NULL, 200);
    world_pass(&w, 15);
    EQ_STR(condition(&w, "AbleToScale", "reason"), STR("FailedGetScale"));
    world_close(&w);
}

TEST(bounds_hold_without_figures_and_zero_replicas_switch_it_off)
{
    struct world w;
    struct figures f;
    open_hpa(&w, &f, CPU50);
    f.cpu_milli = -1;
    world_do(&w, API_PATCH_MERGE, KIND, "default", "web", "", "{\"spec\":{\"minReplicas\":3}}", 200);
    world_run(&w);
    EQ(replicas(&w), 3);
    world_do(&w, API_PATCH_MERGE, KIND, "default", "web", "", "{\"spec\":{\"minReplicas\":1,\"maxReplicas\":2}}", 200);
    world_run(&w);
    EQ(replicas(&w), 2);
    world_do(&w, API_PATCH_MERGE, "apps/deployments", "default", "web", "", "{\"spec\":{\"replicas\":0}}", 200);
    world_pass(&w, 15);
    EQ(replicas(&w), 0);
    EQ_STR(condition(&w, "ScalingActive", "reason"), STR("ScalingDisabled"));
    world_close(&w);
}

TEST(an_answer_may_come_late_or_after_the_autoscaler_has_gone)
{
    struct world w;
    struct figures f;
    open_hpa(&w, &f, CPU50);
    f.later = true;
    f.cpu_milli = 190;
    world_pass(&w, 15);
    OK(f.held);
    EQ(replicas(&w), 2);
    answer(&f, f.held, f.held_done);
    world_run(&w);
    EQ(replicas(&w), 4);
    settle(&w);
    f.held = NULL;
    world_pass(&w, 15);
    OK(f.held);
    world_do(&w, API_DELETE, KIND, "default", "web", "", NULL, 200);
    world_run(&w);
    answer(&f, f.held, f.held_done);
    world_run(&w);
    EQ(replicas(&w), 4);
    world_close(&w);
}

TEST(two_autoscalers_of_the_same_pods_stand_still)
{
    struct world w;
    struct figures f;
    open_hpa(&w, &f, CPU50);
    world_create(&w, KIND, "default",
        "{\"apiVersion\":\"autoscaling/"
        "v2\",\"kind\":\"HorizontalPodAutoscaler\",\"metadata\":{\"name\":\"two\"},\"spec\":{\"scaleTargetRef\":{\"apiVersion\":\"apps/"
        "v1\",\"kind\":\"Deployment\",\"name\":\"web\"},\"maxReplicas\":10" CPU50 "}}");
    world_run(&w);
    world_pass(&w, 15);
    world_run(&w);
    world_pass(&w, 15);
    f.cpu_milli = 190;
    world_pass(&w, 15);
    EQ(replicas(&w), 2);
    EQ_STR(condition(&w, "ScalingActive", "reason"), STR("AmbiguousSelector"));
    world_close(&w);
}
