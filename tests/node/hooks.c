/* Hooks that gate performs, and restart rules. */
#include "harness.h"
#include "tools.h"

static bool hook_number(struct rig *r, const void *arg)
{
    return r->hooks == *(const int *)arg;
}

static void answer(struct rig *r, bool failed)
{
    struct node_hook_done d = {r->hook.uid, r->hook.container, r->hook.run, r->hook.post_start, failed, failed ? STR("connection refused") : STR("")};
    rig_send(r, NODE_HOOK_DONE, &node_hook_done_type, &d);
}

static bool started_ok(struct rig *r, const void *arg)
{
    return rig_state(r, arg, "main")->started_ok;
}

TEST(hooks_over_http_are_gates_to_perform_and_hold_the_container_until_they_are_done)
{
    struct rig *r = rig_new();
    struct node_pod p = rig_pod(r, "p1", "trap 'echo term; exit 0' TERM; while true; do sleep 0.1; done");
    p.containers[0].post_start = p.containers[0].pre_stop = (struct node_hook){.set = true, .by_gate = true};
    rig_run(r, &p);
    OK(rig_wait(r, 60, hook_number, &(int){1}));
    EQ_STR(r->hook.container, STR("main"));
    OK(r->hook.post_start);
    OK(!rig_state(r, "p1", "main")->started_ok);
    rig_kill_node(r); /* the next one asks again: at least once */
    rig_start_node(r);
    rig_run(r, &p);
    OK(rig_wait(r, 60, hook_number, &(int){2}));
    answer(r, false);
    OK(rig_wait(r, 60, started_ok, "p1"));
    rig_stop(r, "p1", 30);
    OK(rig_wait(r, 60, hook_number, &(int){3}));
    OK(!r->hook.post_start);
    OK(r->hook.timeout_ms > 0 && r->hook.timeout_ms <= 30000);
    char *log = rig_log(r, "p1", "main", false);
    OK(!strstr(log, "term")); /* the signal waits for the hook */
    free(log);
    answer(r, true);
    rig_wait_gone(r, "p1");
    OK(rig_event(r, "FailedPreStopHook main PreStopHook failed: connection refused"));
    rig_end(r);
}

TEST(a_failed_post_start_hook_kills_the_container)
{
    struct rig *r = rig_new();
    struct node_pod p = rig_pod(r, "p1", "sleep 1000");
    p.restart_policy = STR("Never");
    p.containers[0].post_start = (struct node_hook){.set = true, .by_gate = true};
    p.grace_s = 1;
    rig_run(r, &p);
    OK(rig_wait(r, 60, hook_number, &(int){1}));
    answer(r, true);
    rig_wait_state(r, "p1", "main", CS_TERMINATED, NULL);
    OK(rig_event(r, "FailedPostStartHook main PostStartHook failed: connection refused"));
    rig_end(r);
}

static bool restarts(struct rig *r, const void *arg)
{
    const struct node_container_state *s = rig_state(r, "p1", "main");
    return s && s->restarts >= *(const uint64_t *)arg;
}

TEST(a_restart_rule_stands_above_the_policy_for_the_codes_it_names)
{
    struct rig *r = rig_new();
    struct str codes[] = {STR("42"), STR("43")};
    struct node_restart_rule in = {.codes = codes, .ncodes = 2};
    struct node_pod p = rig_pod(r, "p1", "test -e /v/done && exit 3; touch /v/done; exit 42");
    struct node_volume v = {.name = STR("v"), .kind = VOL_EMPTY_DIR};
    struct node_mount m = {.volume = STR("v"), .path = STR("/v")};
    p.restart_policy = STR("Never");
    p.volumes = &v;
    p.nvolumes = 1;
    p.containers[0].mounts = &m;
    p.containers[0].nmounts = 1;
    p.containers[0].restart_policy = STR("Never");
    p.containers[0].rules = &in;
    p.containers[0].nrules = 1;
    rig_run(r, &p);
    OK(rig_wait(r, 60, restarts, &(uint64_t){1}));
    rig_wait_state(r, "p1", "main", CS_TERMINATED, "Error");
    EQ(rig_state(r, "p1", "main")->exit_code, 3);
    EQ(rig_state(r, "p1", "main")->restarts, 1);
    rig_end(r);
}

TEST(a_rule_restarts_all_containers_from_the_first_init_container_on)
{
    struct rig *r = rig_new();
    struct str codes[] = {STR("42")};
    struct node_restart_rule all = {.all = true, .codes = codes, .ncodes = 1};
    struct node_pod p = rig_pod(r, "p1", "");
    struct node_volume v = {.name = STR("v"), .kind = VOL_EMPTY_DIR};
    struct node_mount m = {.volume = STR("v"), .path = STR("/v")};
    struct node_container c[3] = {rig_container(r, "init", CON_INIT, "echo init >> /v/order"),
        rig_container(r, "main", CON_MAIN, "test $(grep -c init /v/order) = 2 && exec sleep 1000; exit 42"),
        rig_container(r, "other", CON_MAIN, "trap 'exit 0' TERM; while true; do sleep 0.1; done")};
    for (int i = 0; i < 3; i++) {
        c[i].mounts = &m;
        c[i].nmounts = 1;
    }
    c[1].restart_policy = STR("Never");
    c[1].rules = &all;
    c[1].nrules = 1;
    p.volumes = &v;
    p.nvolumes = 1;
    p.containers = c;
    p.ncontainers = 3;
    p.restart_policy = STR("Never");
    rig_run(r, &p);
    OK(rig_wait(r, 60, restarts, &(uint64_t){1}));
    rig_wait_state(r, "p1", "main", CS_RUNNING, NULL);
    rig_wait_state(r, "p1", "other", CS_RUNNING, NULL);
    EQ(rig_state(r, "p1", "other")->restarts, 1);
    EQ(rig_state(r, "p1", "init")->restarts, 1);
    rig_end(r);
}
