#include "harness.h"
#include "tools.h"

TEST(memory_beyond_the_limit_is_oom_killed)
{
    struct rig *r = rig_new();
    struct node_pod p = rig_pod(r, "p1", "x=$(head -c 60000000 /dev/zero | tr '\\0' x); echo ${#x}");
    p.restart_policy = STR("Never");
    p.qos = STR("Burstable");
    p.containers[0].memory_limit = 30 << 20;
    rig_run(r, &p);
    rig_wait_state(r, "p1", "main", CS_TERMINATED, "OOMKilled");
    EQ(rig_state(r, "p1", "main")->exit_code, 137);
    rig_end(r);
}

TEST(a_fork_bomb_stays_within_its_pids)
{
    struct rig *r = rig_new();
    struct node_pod p = rig_pod(r, "p1", "i=0; while [ $i -lt 100 ]; do sleep 100 & i=$((i+1)); done; echo all");
    p.restart_policy = STR("Never");
    p.containers[0].pids_limit = 20;
    rig_run(r, &p);
    rig_wait_state(r, "p1", "main", CS_TERMINATED, "Error");
    _cleanup_(freep) char *log = rig_log(r, "p1", "main", false);
    OK(!strstr(log, "all"));
    rig_end(r);
}

TEST(a_container_has_few_rights_by_default)
{
    struct rig *r = rig_new();
    struct node_pod p = rig_pod(r, "p1", "sleep 1000");
    rig_run(r, &p);
    rig_wait_state(r, "p1", "main", CS_RUNNING, NULL);
    _cleanup_(freep) char *caps = NULL, *seccomp = NULL, *kcore = NULL;
    EQ(rig_exec(r, "p1", "main", "grep CapEff /proc/self/status", &caps), 0);
    OK(strstr(caps, "00000000a80425fb"));
    EQ(rig_exec(r, "p1", "main", "grep Seccomp: /proc/self/status", &seccomp), 0);
    OK(strstr(seccomp, "2"));
    OK(rig_exec(r, "p1", "main", "mount -t tmpfs x /tmp", NULL) != 0);
    OK(rig_exec(r, "p1", "main", "echo 1 > /proc/sys/kernel/panic", NULL) != 0);
    EQ(rig_exec(r, "p1", "main", "head -c 10 /proc/kcore 2>/dev/null | wc -c", &kcore), 0);
    EQ_STR(str_trim(str_of(kcore)), STR("0"));
    rig_end(r);
}

TEST(users_and_groups_come_from_the_pod_and_from_the_image)
{
    struct rig *r = rig_new();
    struct node_pod p = rig_pod(r, "p1", "id -u; id -g; id -G; pwd; env; sleep 1000");
    struct str groups[] = {STR("77")};
    p.containers[0].security.uid = 1000;
    p.containers[0].working_dir = STR("/made/here");
    p.fs_group = 99;
    p.supplemental_groups = groups;
    p.nsupplemental = 1;
    struct node_env env[] = {
        {STR("A"), STR("x"), ENV_LITERAL}, {STR("B"), STR("$(A)-$(NO)-$$(A)"), ENV_LITERAL}, {STR("IP"), STR(""), ENV_POD_IP}};
    p.containers[0].env = env;
    p.containers[0].nenv = 3;
    rig_run(r, &p);
    rig_wait_state(r, "p1", "main", CS_RUNNING, NULL);
    rig_wait_log(r, "p1", "main", "B=x-$(NO)-$(A)\n");
    _cleanup_(freep) char *log = rig_log(r, "p1", "main", false);
    OK(strstr(log, "1000\n1001\n1001 55 77 99\n/made/here\n"));
    OK(strstr(log, "IP=10.77.0."));
    OK(strstr(log, "HOME=/tmp\n"));
    rig_end(r);
}

TEST(run_as_non_root_refuses_root)
{
    struct rig *r = rig_new();
    struct node_pod p = rig_pod(r, "p1", "sleep 1000");
    p.containers[0].security.run_as_non_root = true;
    rig_run(r, &p);
    rig_wait_state(r, "p1", "main", CS_WAITING, "CreateContainerConfigError");
    OK(rig_event(r, "container has runAsNonRoot and image will run as root"));
    rig_end(r);
}

TEST(sysctls_of_the_pods_own_namespaces_only)
{
    struct rig *r = rig_new();
    struct node_pod good = rig_pod(r, "good", "cat /proc/sys/net/ipv4/ip_local_port_range; sleep 1000"),
                    bad = rig_pod(r, "bad", "sleep 1000");
    struct node_sysctl ok = {STR("net.ipv4.ip_local_port_range"), STR("2000 3000")}, no = {STR("kernel.panic"), STR("1")};
    good.sysctls = &ok;
    good.nsysctls = 1;
    bad.sysctls = &no;
    bad.nsysctls = 1;
    rig_run(r, &good);
    rig_run(r, &bad);
    rig_wait_log(r, "good", "main", "2000");
    EQ(rig_state(r, "bad", "main")->state, CS_WAITING);
    OK(rig_event(r, "FailedCreatePodSandBox"));
    rig_end(r);
}

TEST(stats_tell_what_a_container_uses)
{
    struct rig *r = rig_new();
    struct node_pod p = rig_pod(r, "p1", "sleep 1000");
    rig_run(r, &p);
    rig_wait_state(r, "p1", "main", CS_RUNNING, NULL);
    struct node_empty none = {0};
    rig_send(r, NODE_STATS, &node_empty_type, &none);
    int64_t until = clock_mono(NULL) + 10 * NS_PER_S;
    while (!r->have_stats && clock_mono(NULL) < until)
        rig_turn(r, 50);
    EQ(r->stats.npods, 1);
    EQ(r->stats.pods[0].ncontainers, 1);
    OK(r->stats.pods[0].containers[0].memory > 0);
    OK(r->stats.pods[0].containers[0].cpu_ns > 0);
    OK(r->stats.memory_available > 0 && r->stats.fs_capacity > 0);
    rig_end(r);
}

TEST(specs_that_cannot_be_are_refused)
{
    struct rig *r = rig_new();
    struct node_pod a = rig_pod(r, "../../etc", "x"), b = rig_pod(r, "b", "x"), c = rig_pod(r, "c", "x");
    b.containers[0].name = STR("../x");
    struct node_volume v = {.name = STR("v"), .kind = VOL_HOST_PATH, .path = STR("/a/../../etc")};
    c.volumes = &v;
    c.nvolumes = 1;
    EQ(rig_ask(r, NODE_POD, &node_pod_type, &a)->reply.code, ERR_INVALID);
    EQ(rig_ask(r, NODE_POD, &node_pod_type, &b)->reply.code, ERR_INVALID);
    EQ(rig_ask(r, NODE_POD, &node_pod_type, &c)->reply.code, ERR_INVALID);
    rig_end(r);
}

static bool file_says(struct rig *r, const char *v1, const char *v2, const char *id, const char *want)
{
    _cleanup_(freep) char *cmd =
        xasprintf("cat /sys/fs/cgroup/%s/%s/burstable/podp1/%s/%s /sys/fs/cgroup/%s/burstable/podp1/%s/%s 2>/dev/null | grep -q '%s'",
            v1[0] == 'c' ? "cpu" : "memory", r->cgroup_root, id, v1, r->cgroup_root, id, v2, want);
    return system(cmd) == 0;
}

TEST(a_running_container_is_resized_in_place)
{
    struct rig *r = rig_new();
    struct node_pod p = rig_pod(r, "p1", "sleep 1000");
    p.qos = STR("Burstable");
    p.containers[0].memory_limit = 32 << 20;
    p.containers[0].cpu_limit_milli = 500;
    rig_run(r, &p);
    rig_wait_state(r, "p1", "main", CS_RUNNING, NULL);
    _cleanup_(freep) char *id = str_dup(rig_state(r, "p1", "main")->id);
    OK(file_says(r, "cpu.cfs_quota_us", "cpu.max", id, "^50000"));
    OK(file_says(r, "memory.limit_in_bytes", "memory.max", id, "^33554432"));
    p.containers[0].memory_limit = 64 << 20;
    p.containers[0].cpu_limit_milli = 250;
    rig_run(r, &p);
    OK(file_says(r, "cpu.cfs_quota_us", "cpu.max", id, "^25000"));
    OK(file_says(r, "memory.limit_in_bytes", "memory.max", id, "^67108864"));
    EQ(rig_state(r, "p1", "main")->restarts, 0);
    p.containers[0].cpu_request_milli = 250;
    rig_run(r, &p);
    rig_turn(r, 50);
    _cleanup_(freep) char *shares = xasprintf(
        "cat /sys/fs/cgroup/cpu/%s/burstable/cpu.shares /sys/fs/cgroup/%s/burstable/cpu.weight 2>/dev/null | grep -qE '^(256|10)$'",
        r->cgroup_root, r->cgroup_root);
    EQ(system(shares), 0);
    rig_end(r);
}

TEST(namespaces_are_shared_with_the_host_only_when_asked)
{
    struct rig *r = rig_new();
    struct node_pod own = rig_pod(r, "own", "sleep 1000"), host = rig_pod(r, "host", "sleep 1000"),
                    shared = rig_pod(r, "shared", "sleep 1000");
    struct node_container c[2] = {rig_container(r, "a", CON_MAIN, "sleep 12345"), rig_container(r, "b", CON_MAIN, "sleep 1000")};
    host.host_network = host.host_pid = host.host_ipc = true;
    host.containers[0].security.privileged = true;
    shared.share_pids = true;
    shared.containers = c;
    shared.ncontainers = 2;
    rig_run(r, &own);
    rig_run(r, &host);
    rig_run(r, &shared);
    rig_wait_state(r, "own", "main", CS_RUNNING, NULL);
    rig_wait_state(r, "host", "main", CS_RUNNING, NULL);
    rig_wait_state(r, "shared", "b", CS_RUNNING, NULL);
    rig_wait_state(r, "shared", "a", CS_RUNNING, NULL);
    _cleanup_(freep) char *few = NULL, *many = NULL, *caps = NULL;
    EQ(rig_exec(r, "own", "main", "test $(ls -d /proc/[0-9]* | wc -l) -lt 6 && test ! -e /dev/vda", &few), 0);
    EQ(rig_exec(r, "host", "main", "test $(ls -d /proc/[0-9]* | wc -l) -gt 6", &many), 0);
    EQ(rig_exec(r, "host", "main", "mount -t tmpfs x /tmp", &caps), 0);
    EQ(rig_exec(r, "shared", "b", "grep -q 12345 /proc/[0-9]*/cmdline", NULL), 0);
    EQ(rig_exec(r, "shared", "b", "test \"$(head -c 12 /proc/1/cmdline)\" = sampan-pause", NULL), 0);
    rig_end(r);
}

TEST(what_runs_in_a_besteffort_pod_goes_first_when_memory_ends)
{
    struct rig *r = rig_new();
    struct node_pod p = rig_pod(r, "p1", "sleep 1000");
    rig_run(r, &p);
    rig_wait_state(r, "p1", "main", CS_RUNNING, NULL);
    _cleanup_(freep) char *own = NULL, *of_exec = NULL;
    EQ(rig_exec(r, "p1", "main", "cat /proc/1/oom_score_adj", &own), 0);
    EQ_Z(own, "1000\n");
    EQ(rig_exec(r, "p1", "main",
           "cat /proc/self/oom_score_adj; grep Seccomp: /proc/self/status; grep CapBnd /proc/self/status; grep NoNew /proc/self/status",
           &of_exec),
        0);
    OK(str_starts(str_of(of_exec), STR("1000\n")));
    OK(strstr(of_exec, "Seccomp:\t2"));
    OK(strstr(of_exec, "00000000a80425fb"));
    rig_end(r);
}
