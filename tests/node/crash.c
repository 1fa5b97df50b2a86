#include "harness.h"
#include "tools.h"
#include <signal.h>
#include <unistd.h>

/* kill -9 of node at some moment; what was asked for is there after a restart, and what is not wanted leaves nothing (rig_end checks). */

TEST(containers_run_on_when_node_is_killed_and_are_taken_over)
{
    struct rig *r = rig_new();
    struct node_pod p = rig_pod(r, "p1", "i=0; while :; do echo $i; i=$((i+1)); sleep 0.1; done");
    rig_run(r, &p);
    rig_wait_log(r, "p1", "main", "1\n");
    struct str id = rig_state(r, "p1", "main")->id;
    struct str ip = ((struct node_pod_state *)map_get(&r->states, STR("p1")))->ip;
    rig_kill_node(r);
    map_clear(&r->states, NULL);
    usleep(300000);
    rig_start_node(r);
    rig_run(r, &p);
    rig_synced(r);
    rig_wait_state(r, "p1", "main", CS_RUNNING, NULL);
    EQ_STR(rig_state(r, "p1", "main")->id, id);
    EQ(rig_state(r, "p1", "main")->restarts, 0);
    EQ_STR(((struct node_pod_state *)map_get(&r->states, STR("p1")))->ip, ip);
    _cleanup_(freep) char *out = NULL;
    EQ(rig_exec(r, "p1", "main", "echo in", &out), 0);
    EQ_Z(out, "in\n");
    rig_end(r);
}

TEST(an_exit_while_node_was_away_is_not_lost)
{
    struct rig *r = rig_new();
    struct node_pod p = rig_pod(r, "p1", "sleep 1; exit 9");
    p.restart_policy = STR("Never");
    rig_run(r, &p);
    rig_wait_state(r, "p1", "main", CS_RUNNING, NULL);
    rig_kill_node(r);
    map_clear(&r->states, NULL);
    usleep(1500000);
    rig_start_node(r);
    rig_run(r, &p);
    rig_synced(r);
    rig_wait_state(r, "p1", "main", CS_TERMINATED, "Error");
    EQ(rig_state(r, "p1", "main")->exit_code, 9);
    rig_end(r);
}

TEST(pods_that_nobody_wants_after_a_restart_are_cleaned)
{
    struct rig *r = rig_new();
    struct node_pod p = rig_pod(r, "p1", "sleep 1000"), q = rig_pod(r, "p2", "sleep 1000");
    rig_run(r, &p);
    rig_run(r, &q);
    rig_wait_state(r, "p1", "main", CS_RUNNING, NULL);
    rig_wait_state(r, "p2", "main", CS_RUNNING, NULL);
    rig_kill_node(r);
    rig_start_node(r);
    rig_run(r, &q);
    rig_synced(r);
    rig_wait_gone(r, "p1");
    rig_wait_state(r, "p2", "main", CS_RUNNING, NULL);
    rig_end(r);
}

TEST(a_kill_at_any_moment_leaks_nothing)
{
    /* from "just received" to "long running", then again while it is being stopped */
    for (int ms = 0; ms < 160; ms += 16) {
        struct rig *r = rig_new();
        struct node_pod p = rig_pod(r, "p1", "sleep 1000");
        struct node_file f = {STR("k"), STR("v"), 0644, -1};
        struct node_volume v = {.name = STR("v"), .kind = VOL_FILES, .in_memory = true, .files = &f, .nfiles = 1};
        p.volumes = &v;
        p.nvolumes = 1;
        rig_run(r, &p);
        int64_t until = clock_mono(NULL) + ms * NS_PER_MS;
        while (clock_mono(NULL) < until)
            rig_turn(r, 2);
        rig_kill_node(r);
        rig_start_node(r);
        rig_run(r, &p);
        rig_synced(r);
        rig_wait_state(r, "p1", "main", CS_RUNNING, NULL);
        rig_stop(r, "p1", 0);
        until = clock_mono(NULL) + ms / 2 * NS_PER_MS;
        while (clock_mono(NULL) < until)
            rig_turn(r, 2);
        rig_kill_node(r);
        rig_start_node(r);
        rig_synced(r);
        if (map_get(&r->states, STR("p1")) && !map_get(&r->gone, STR("p1")))
            rig_stop(r, "p1", 0);
        rig_end(r);
    }
}

TEST(a_sandbox_that_dies_is_made_again)
{
    struct rig *r = rig_new();
    struct node_pod p = rig_pod(r, "p1", "sleep 1000");
    rig_run(r, &p);
    rig_wait_state(r, "p1", "main", CS_RUNNING, NULL);
    _cleanup_(freep) char *cmd = xasprintf("for p in $(cat /sys/fs/cgroup/pids/%s/besteffort/podp1/sandbox/cgroup.procs "
                                           "/sys/fs/cgroup/%s/besteffort/podp1/sandbox/cgroup.procs 2>/dev/null); do "
                                           "grep -q sampan-pause /proc/$p/cmdline && kill -9 $p; done; true",
        r->cgroup_root, r->cgroup_root);
    EQ(system(cmd), 0);
    int64_t until = clock_mono(NULL) + 20 * NS_PER_S;
    while (clock_mono(NULL) < until && (!rig_event(r, "SandboxChanged") || rig_state(r, "p1", "main")->restarts == 0 ||
                                           rig_state(r, "p1", "main")->state != CS_RUNNING))
        rig_turn(r, 50);
    OK(rig_event(r, "SandboxChanged"));
    EQ(rig_state(r, "p1", "main")->state, CS_RUNNING);
    rig_end(r);
}

TEST(the_monitor_that_is_killed_takes_its_container_with_it_and_it_starts_anew)
{
    struct rig *r = rig_new();
    struct node_pod p = rig_pod(r, "p1", "sleep 1000");
    rig_run(r, &p);
    rig_wait_state(r, "p1", "main", CS_RUNNING, NULL);
    _cleanup_(freep) char *cmd = xasprintf("kill -9 $(cat %s/data/node/pods/p1/c/*/conmon.pid)", r->dir);
    EQ(system(cmd), 0);
    int64_t until = clock_mono(NULL) + 20 * NS_PER_S;
    while (clock_mono(NULL) < until && (rig_state(r, "p1", "main")->restarts == 0 || rig_state(r, "p1", "main")->state != CS_RUNNING))
        rig_turn(r, 50);
    EQ(rig_state(r, "p1", "main")->state, CS_RUNNING);
    EQ(rig_state(r, "p1", "main")->restarts, 1);
    EQ_STR(rig_state(r, "p1", "main")->last_reason, STR("ContainerStatusUnknown"));
    rig_end(r);
}

TEST(node_restarts_containers_from_its_own_disk_without_gate)
{
    struct rig *r = rig_new();
    struct node_pod p = rig_pod(r, "p1", "sleep 1000");
    rig_run(r, &p);
    rig_wait_state(r, "p1", "main", CS_RUNNING, NULL);
    rig_term_node(r);
    rig_start_node(r); /* no NODE_POD, no NODE_SYNCED */
    rig_wait_state(r, "p1", "main", CS_RUNNING, NULL);
    _cleanup_(freep) char *cmd = xasprintf("kill -9 $(cat %s/data/node/pods/p1/c/*/pid)", r->dir);
    EQ(system(cmd), 0);
    int64_t until = clock_mono(NULL) + 20 * NS_PER_S;
    while (clock_mono(NULL) < until && (rig_state(r, "p1", "main")->restarts == 0 || rig_state(r, "p1", "main")->state != CS_RUNNING))
        rig_turn(r, 50);
    EQ(rig_state(r, "p1", "main")->restarts, 1);
    rig_end(r);
}

TEST(after_a_reboot_every_pod_starts_from_disk_without_gate_and_keeps_its_address)
{
    struct rig *r = rig_new();
    struct node_pod p = rig_pod(r, "p1", "cat /v/kept; echo x > /v/kept; sleep 1000"), done = rig_pod(r, "done", "exit 0"),
                    failed = rig_pod(r, "failed", "sleep 1000");
    struct node_volume v = {.name = STR("v"), .kind = VOL_EMPTY_DIR};
    struct node_mount m = {.volume = STR("v"), .path = STR("/v")};
    p.volumes = &v;
    p.nvolumes = 1;
    p.containers[0].mounts = &m;
    p.containers[0].nmounts = 1;
    done.restart_policy = failed.restart_policy = STR("Never");
    rig_run(r, &p);
    rig_run(r, &done);
    rig_run(r, &failed);
    rig_wait_state(r, "p1", "main", CS_RUNNING, NULL);
    rig_wait_state(r, "failed", "main", CS_RUNNING, NULL);
    rig_wait_state(r, "done", "main", CS_TERMINATED, "Completed");
    _cleanup_(freep) char *ip = str_dup(((struct node_pod_state *)map_get(&r->states, STR("p1")))->ip);
    rig_reboot(r, "11111111-2222-3333-4444-555555555555\n");
    rig_wait_state(r, "p1", "main", CS_RUNNING, NULL);
    rig_wait_state(r, "done", "main", CS_TERMINATED, "Completed");
    rig_wait_state(r, "failed", "main", CS_TERMINATED, "Unknown");
    const struct node_container_state *s = rig_state(r, "p1", "main");
    EQ(s->restarts, 1);
    EQ(s->last_exit_code, 255);
    EQ_STR(((struct node_pod_state *)map_get(&r->states, STR("p1")))->ip, str_of(ip));
    rig_wait_log(r, "p1", "main", "x");
    rig_end(r);
}

TEST(state_on_disk_that_is_damaged_heals)
{
    static const char *const damage[] = {"echo nonsense > data/node/pods/p1/state", ": > data/node/pods/p1/spec",
        "rm data/node/pods/p1/state", "rm -rf run/node/crun/*", "rm -rf data/node/pods/p1/c",
        "echo x > data/node/pods/p1/c/nonsense; mkdir -p data/node/pods/stranger run/node/crun/deadbeef; echo 1 > run/node/exits/deadbeef"};
    for (size_t i = 0; i < ARRAY_LEN(damage); i++) {
        struct rig *r = rig_new();
        struct node_pod p = rig_pod(r, "p1", "sleep 1000");
        rig_run(r, &p);
        rig_wait_state(r, "p1", "main", CS_RUNNING, NULL);
        rig_kill_node(r);
        rig_sh(r, "%s", damage[i]);
        map_clear(&r->states, NULL);
        rig_start_node(r);
        rig_run(r, &p);
        rig_synced(r);
        rig_wait_state(r, "p1", "main", CS_RUNNING, NULL);
        rig_end(r);
    }
}
