#include "harness.h"
#include "tools.h"

TEST(a_container_that_crashes_is_restarted_at_once_and_then_backs_off)
{
    struct rig *r = rig_new();
    struct node_pod p = rig_pod(r, "p1", "echo run; exit 1");
    rig_run(r, &p);
    rig_wait_state(r, "p1", "main", CS_WAITING, "CrashLoopBackOff");
    const struct node_container_state *s = rig_state(r, "p1", "main");
    EQ(s->restarts, 1);
    OK(s->had_last);
    EQ(s->last_exit_code, 1);
    EQ_STR(s->last_reason, STR("Error"));
    OK(str_starts(s->message, STR("back-off 10s restarting failed container=main")));
    OK(rig_event(r, "BackOff main"));
    _cleanup_(freep) char *before = rig_log(r, "p1", "main", true);
    EQ_Z(before, "run\n");
    rig_end(r);
}

TEST(on_failure_restarts_only_what_failed)
{
    struct rig *r = rig_new();
    struct node_pod a = rig_pod(r, "ok", "exit 0"), b = rig_pod(r, "twice", "test -e /v/second && exit 0; touch /v/second; exit 1");
    struct node_volume v = {.name = STR("v"), .kind = VOL_EMPTY_DIR};
    struct node_mount m = {.volume = STR("v"), .path = STR("/v")};
    a.restart_policy = b.restart_policy = STR("OnFailure");
    b.volumes = &v;
    b.nvolumes = 1;
    b.containers[0].mounts = &m;
    b.containers[0].nmounts = 1;
    rig_run(r, &a);
    rig_run(r, &b);
    rig_wait_state(r, "ok", "main", CS_TERMINATED, "Completed");
    rig_wait_state(r, "twice", "main", CS_TERMINATED, "Completed");
    EQ(rig_state(r, "ok", "main")->restarts, 0);
    EQ(rig_state(r, "twice", "main")->restarts, 1);
    rig_end(r);
}

TEST(a_failed_probe_restarts_the_container)
{
    struct rig *r = rig_new();
    struct node_pod p = rig_pod(r, "p1", "sleep 1000");
    rig_run(r, &p);
    rig_wait_state(r, "p1", "main", CS_RUNNING, NULL);
    struct str first = rig_state(r, "p1", "main")->id;
    struct node_restart x = {STR("p1"), STR("main"), STR("liveness probe"), STR("no answer"), 0};
    EQ(rig_ask(r, NODE_RESTART, &node_restart_type, &x)->reply.code, 0);
    int64_t until = clock_mono(NULL) + 20 * NS_PER_S;
    while (clock_mono(NULL) < until && (rig_state(r, "p1", "main")->restarts == 0 || rig_state(r, "p1", "main")->state != CS_RUNNING))
        rig_turn(r, 50);
    const struct node_container_state *s = rig_state(r, "p1", "main");
    EQ(s->restarts, 1);
    EQ(s->last_exit_code, 137);
    OK(!str_eq(s->id, first));
    rig_end(r);
}

TEST(a_program_that_is_not_there_is_told_as_such)
{
    struct rig *r = rig_new();
    struct node_pod p = rig_pod(r, "p1", "");
    struct str argv[] = {STR("/no/such/program")};
    p.containers[0].command = argv;
    p.containers[0].ncommand = 1;
    p.restart_policy = STR("Never");
    rig_run(r, &p);
    rig_wait_state(r, "p1", "main", CS_TERMINATED, "StartError");
    EQ(rig_state(r, "p1", "main")->exit_code, 128);
    OK(str_find(rig_state(r, "p1", "main")->message, STR("/no/such/program")) >= 0);
    rig_end(r);
}

TEST(an_image_that_is_not_here_waits_for_gate_and_then_starts)
{
    struct rig *r = rig_new();
    struct node_pod p = rig_pod(r, "p1", "sleep 1000");
    struct str image = p.containers[0].image;
    p.containers[0].image = STR("");
    p.containers[0].waiting_reason = STR("ErrImagePull");
    p.containers[0].waiting_message = STR("no route");
    rig_run(r, &p);
    rig_wait_state(r, "p1", "main", CS_WAITING, "ErrImagePull");
    p.containers[0].image = image;
    rig_run(r, &p);
    rig_wait_state(r, "p1", "main", CS_RUNNING, NULL);
    p.containers[0].spec_hash = 2;
    rig_run(r, &p);
    int64_t until = clock_mono(NULL) + 20 * NS_PER_S;
    while (clock_mono(NULL) < until && (rig_state(r, "p1", "main")->restarts == 0 || rig_state(r, "p1", "main")->state != CS_RUNNING))
        rig_turn(r, 50);
    EQ(rig_state(r, "p1", "main")->restarts, 1);
    rig_end(r);
}

TEST(a_back_off_outlives_a_restart_of_node)
{
    struct rig *r = rig_new();
    struct node_pod p = rig_pod(r, "p1", "exit 1");
    rig_run(r, &p);
    rig_wait_state(r, "p1", "main", CS_WAITING, "CrashLoopBackOff");
    rig_term_node(r);
    map_clear(&r->states, NULL);
    rig_start_node(r);
    rig_wait_state(r, "p1", "main", CS_WAITING, "CrashLoopBackOff");
    for (int i = 0; i < 20; i++)
        rig_turn(r, 50);
    EQ(rig_state(r, "p1", "main")->restarts, 1);
    rig_end(r);
}
