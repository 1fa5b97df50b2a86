#include "harness.h"
#include "tools.h"

TEST(a_pod_starts_tells_its_address_and_goes_without_a_trace)
{
    struct rig *r = rig_new();
    struct node_pod p = rig_pod(r, "p1", "echo hello; sleep 1000");
    rig_run(r, &p);
    rig_wait_state(r, "p1", "main", CS_RUNNING, NULL);
    const struct node_pod_state *s = map_get(&r->states, STR("p1"));
    OK(str_starts(s->ip, STR("10.77.0.")));
    OK(s->sandbox_ready);
    rig_wait_log(r, "p1", "main", "hello");
    OK(rig_event(r, "Created main"));
    OK(rig_event(r, "Started main"));
    rig_stop(r, "p1", 1);
    rig_wait_gone(r, "p1");
    OK(rig_event(r, "Killing main"));
    rig_end(r);
}

TEST(a_pod_that_ends_well_is_completed_and_one_that_fails_is_an_error)
{
    struct rig *r = rig_new();
    struct node_pod a = rig_pod(r, "good", "exit 0"), b = rig_pod(r, "bad", "echo why > /dev/termination-log; exit 3");
    a.restart_policy = b.restart_policy = STR("Never");
    rig_run(r, &a);
    rig_run(r, &b);
    rig_wait_state(r, "good", "main", CS_TERMINATED, "Completed");
    rig_wait_state(r, "bad", "main", CS_TERMINATED, "Error");
    EQ(rig_state(r, "bad", "main")->exit_code, 3);
    EQ_STR(rig_state(r, "bad", "main")->message, STR("why\n"));
    rig_end(r);
}

TEST(init_containers_run_in_order_before_the_main_one)
{
    struct rig *r = rig_new();
    struct node_pod p = rig_pod(r, "p1", "cat /v/order; sleep 1000");
    struct node_volume v = {.name = STR("v"), .kind = VOL_EMPTY_DIR};
    struct node_mount m = {.volume = STR("v"), .path = STR("/v")};
    struct node_container c[4] = {rig_container(r, "one", CON_INIT, "sleep 0.3; echo one >> /v/order"),
        rig_container(r, "side", CON_SIDECAR, "echo side >> /v/order; sleep 1000"),
        rig_container(r, "two", CON_INIT, "echo two >> /v/order"), rig_container(r, "main", CON_MAIN, "cat /v/order; sleep 1000")};
    for (int i = 0; i < 4; i++) {
        c[i].mounts = &m;
        c[i].nmounts = 1;
    }
    p.containers = c;
    p.ncontainers = 4;
    p.volumes = &v;
    p.nvolumes = 1;
    rig_run(r, &p);
    rig_wait_state(r, "p1", "main", CS_WAITING, "PodInitializing");
    rig_wait_state(r, "p1", "main", CS_RUNNING, NULL);
    rig_wait_state(r, "p1", "one", CS_TERMINATED, "Completed");
    rig_wait_state(r, "p1", "side", CS_RUNNING, NULL);
    rig_wait_log(r, "p1", "main", "one\nside\ntwo\n");
    rig_end(r);
}

TEST(a_sidecar_ends_when_the_main_container_has_ended)
{
    struct rig *r = rig_new();
    struct node_pod p = rig_pod(r, "p1", "");
    struct node_container c[2] = {rig_container(r, "side", CON_SIDECAR, "trap 'exit 0' TERM; while :; do sleep 0.1; done"),
        rig_container(r, "main", CON_MAIN, "exit 0")};
    p.containers = c;
    p.ncontainers = 2;
    p.restart_policy = STR("Never");
    rig_run(r, &p);
    rig_wait_state(r, "p1", "main", CS_TERMINATED, "Completed");
    rig_wait_state(r, "p1", "side", CS_TERMINATED, NULL);
    rig_end(r);
}

TEST(a_failed_init_container_with_policy_never_fails_the_pod)
{
    struct rig *r = rig_new();
    struct node_pod p = rig_pod(r, "p1", "");
    struct node_container c[2] = {rig_container(r, "init", CON_INIT, "exit 4"), rig_container(r, "main", CON_MAIN, "sleep 1000")};
    p.containers = c;
    p.ncontainers = 2;
    p.restart_policy = STR("Never");
    rig_run(r, &p);
    rig_wait_state(r, "p1", "init", CS_TERMINATED, "Error");
    rig_wait_state(r, "p1", "main", CS_WAITING, "PodInitializing");
    OK(!rig_event(r, "Started main"));
    rig_end(r);
}

TEST(hooks_run_after_start_and_before_stop)
{
    struct rig *r = rig_new();
    struct node_pod p = rig_pod(r, "p1", "trap 'echo term; exit 0' TERM; while :; do sleep 0.1; done");
    struct str post[] = {STR("/bin/sh"), STR("-c"), STR("echo post > /proc/1/fd/1")},
               pre[] = {STR("/bin/sh"), STR("-c"), STR("echo pre > /proc/1/fd/1; sleep 0.2")};
    p.containers[0].post_start = (struct node_hook){post, 3, 0, true};
    p.containers[0].pre_stop = (struct node_hook){pre, 3, 0, true};
    rig_run(r, &p);
    rig_wait_state(r, "p1", "main", CS_RUNNING, NULL);
    rig_wait_log(r, "p1", "main", "post");
    rig_stop(r, "p1", 20);
    rig_wait_state(r, "p1", "main", CS_TERMINATED, NULL);
    rig_wait_log(r, "p1", "main", "post\npre\nterm\n");
    rig_wait_gone(r, "p1");
    rig_end(r);
}

TEST(a_container_that_ignores_term_is_killed_when_its_grace_is_over)
{
    struct rig *r = rig_new();
    struct node_pod p = rig_pod(r, "p1", "trap '' TERM; while :; do sleep 0.1; done");
    rig_run(r, &p);
    rig_wait_state(r, "p1", "main", CS_RUNNING, NULL);
    int64_t before = clock_mono(NULL);
    rig_stop(r, "p1", 1);
    rig_wait_gone(r, "p1");
    int64_t took = clock_mono(NULL) - before;
    OK(took >= NS_PER_S * 9 / 10 && took < 8 * NS_PER_S);
    rig_end(r);
}

TEST(the_deadline_of_a_pod_ends_it)
{
    struct rig *r = rig_new();
    struct node_pod p = rig_pod(r, "p1", "sleep 1000");
    p.active_deadline_s = 2;
    rig_run(r, &p);
    rig_wait_state(r, "p1", "main", CS_RUNNING, NULL);
    rig_wait_state(r, "p1", "main", CS_TERMINATED, NULL);
    const struct node_pod_state *s = map_get(&r->states, STR("p1"));
    OK(s->deadline_passed);
    EQ_STR(s->reason, STR("DeadlineExceeded"));
    rig_end(r);
}

TEST(two_containers_share_network_and_host_name)
{
    struct rig *r = rig_new();
    struct node_pod p = rig_pod(r, "p1", "");
    struct node_container c[2] = {rig_container(r, "a", CON_MAIN, "echo served | nc -l -p 80; sleep 1000"),
        rig_container(r, "b", CON_MAIN, "sleep 0.5; hostname; nc 127.0.0.1 80; sleep 1000")};
    p.containers = c;
    p.ncontainers = 2;
    p.hostname = STR("web-0");
    rig_run(r, &p);
    rig_wait_state(r, "p1", "b", CS_RUNNING, NULL);
    rig_wait_log(r, "p1", "b", "web-0\nserved\n");
    rig_end(r);
}

TEST(an_ephemeral_container_joins_a_running_pod_and_is_not_restarted)
{
    struct rig *r = rig_new();
    struct node_pod p = rig_pod(r, "p1", "sleep 1000");
    rig_run(r, &p);
    rig_wait_state(r, "p1", "main", CS_RUNNING, NULL);
    struct node_container c[2] = {p.containers[0], rig_container(r, "debugger", CON_EPHEMERAL, "hostname; exit 3")};
    p.containers = c;
    p.ncontainers = 2;
    rig_run(r, &p);
    rig_wait_state(r, "p1", "debugger", CS_TERMINATED, "Error");
    rig_wait_log(r, "p1", "debugger", "p1");
    EQ(rig_state(r, "p1", "debugger")->restarts, 0);
    EQ(rig_state(r, "p1", "main")->state, CS_RUNNING);
    rig_end(r);
}

TEST(the_deadline_also_ends_a_pod_that_never_got_ready)
{
    struct rig *r = rig_new();
    struct node_pod p = rig_pod(r, "p1", "sleep 1000");
    struct node_volume v = {.name = STR("h"), .kind = VOL_HOST_PATH, .path = STR("/etc"), .path_type = STR("File")};
    p.volumes = &v;
    p.nvolumes = 1;
    p.active_deadline_s = 2;
    rig_run(r, &p);
    int64_t until = clock_mono(NULL) + 15 * NS_PER_S;
    const struct node_pod_state *s = NULL;
    while (clock_mono(NULL) < until && !(s && s->deadline_passed)) {
        rig_turn(r, 50);
        s = map_get(&r->states, STR("p1"));
    }
    OK(s && s->deadline_passed);
    EQ_STR(s->reason, STR("DeadlineExceeded"));
    rig_end(r);
}
