#include "runtime/cgroup.h"
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>
#include "harness.h"
#include "runtime/sandbox.h"

static struct cgroups *own_tree(void)
{
    static char root[64];
    struct cgroups *c = NULL;
    struct err *e = NULL;
    if (geteuid() != 0)
        test_skip("needs root");
    snprintf(root, sizeof root, "sp-node-cg-%d", (int)getpid());
    if (cgroups_open(root, &c, &e) < 0)
        test_skip("needs cgroups");
    return c;
}

static void drop_tree(struct cgroups *c)
{
    struct err *e = NULL;
    FINE(cgroup_remove(c, cgroups_root(c), &e), e);
    cgroups_free(c);
}

TEST(roots_that_are_tricks_are_refused)
{
    static const char *const bad[] = {"", "/x", "a/../b", "..", "a//b", "process_api", "a b", ".hidden"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct cgroups *c = NULL;
        _cleanup_(err_freep) struct err *e = NULL;
        EQ(cgroups_open(bad[i], &c, &e), -ERR_INVALID);
    }
}

TEST(a_pods_processes_are_found_counted_and_killed)
{
    struct cgroups *c = own_tree();
    _cleanup_(err_freep) struct err *e = NULL;
    _cleanup_(buf_clear) struct buf pod = BUF_INIT;
    cgroup_pod_path(c, STR("Burstable"), STR("u1"), &pod);
    _cleanup_(freep) char *leaf = xasprintf("%s/sandbox", pod.p);
    FINE(cgroup_make(c, leaf, &e), e);
    FINE(cgroup_make(c, leaf, &e), e);
    FINE(cgroup_limit(c, pod.p, &(struct cgroup_limits){100, 200, 64 << 20, 50}, &e), e);
    OK(cgroup_empty(c, pod.p));
    pid_t pid = fork();
    if (pid == 0) {
        signal(SIGTERM, SIG_IGN);
        for (;;)
            pause();
    }
    FINE(cgroup_join(c, leaf, pid, &e), e);
    OK(!cgroup_empty(c, pod.p));
    struct cgroup_usage u;
    OK(cgroup_usage(c, pod.p, &u));
    OK(u.pids == 1);
    OK(cgroup_remove(c, pod.p, &e) < 0);
    err_free(TAKE(e));
    OK(process_start_time(pid) > 0);
    int fd = process_open((struct process){pid, process_start_time(pid)});
    OK(fd >= 0);
    close(fd);
    OK(process_open((struct process){pid, process_start_time(pid) + 1}) < 0);
    signal(SIGCHLD, SIG_IGN); /* reaped by the kernel at once, so that the group empties */
    FINE(cgroup_kill(c, pod.p, 5000, &e), e);
    signal(SIGCHLD, SIG_DFL);
    FINE(cgroup_remove(c, pod.p, &e), e);
    drop_tree(c);
}

static void count(void *arg, const char *path, struct str uid) { *(int *)arg += str_eq(uid, STR("a")) || str_eq(uid, STR("b")) ? 1 : 100; }

TEST(every_pod_of_the_tree_is_listed_once)
{
    struct cgroups *c = own_tree();
    struct err *e = NULL;
    int n = 0;
    static const char *const qos[] = {"Guaranteed", "BestEffort"}, *const uid[] = {"a", "b"};
    for (int i = 0; i < 2; i++) {
        _cleanup_(buf_clear) struct buf path = BUF_INIT;
        cgroup_pod_path(c, str_of(qos[i]), str_of(uid[i]), &path);
        FINE(cgroup_make(c, path.p, &e), e);
    }
    cgroup_each_pod(c, count, &n);
    EQ(n, 2);
    drop_tree(c);
}

TEST(only_sysctls_of_the_pods_namespaces_are_allowed)
{
    OK(sandbox_sysctl_allowed(STR("net.core.somaxconn")));
    OK(sandbox_sysctl_allowed(STR("kernel.shm_rmid_forced")));
    OK(sandbox_sysctl_allowed(STR("net/ipv4/tcp_syncookies")) == false);
    OK(!sandbox_sysctl_allowed(STR("kernel.panic")));
    OK(!sandbox_sysctl_allowed(STR("vm.swappiness")));
    OK(!sandbox_sysctl_allowed(STR("net.../../kernel/panic")));
}

/* cgroup2 alone at /sys/fs/cgroup, as on a machine without v1, in a mount namespace of its own; the number of the step that failed. */
static int on_v2(void)
{
    struct cgroups *c = NULL;
    struct cgroup_usage u;
    _cleanup_(buf_clear) struct buf pod = BUF_INIT;
    char root[64];
    snprintf(root, sizeof root, "sp-node-v2-%d", (int)getpid());
    if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_PRIVATE | MS_REC, NULL) < 0 || umount2("/sys/fs/cgroup", MNT_DETACH) < 0 ||
        mount("none", "/sys/fs/cgroup", "cgroup2", 0, NULL) < 0)
        return 100;
    if (cgroups_open(root, &c, NULL) < 0 || !cgroups_v2(c) || cgroups_hybrid(c))
        return 1;
    cgroup_pod_path(c, STR("Guaranteed"), STR("u1"), &pod);
    _cleanup_(freep) char *leaf = xasprintf("%s/sandbox", pod.p);
    if (cgroup_make(c, leaf, NULL) < 0 || cgroup_make(c, leaf, NULL) < 0)
        return 2;
    pid_t pid = fork();
    if (pid == 0)
        for (;;)
            pause();
    if (cgroup_join(c, leaf, pid, NULL) < 0 || cgroup_empty(c, pod.p))
        return 3;
    (void)cgroup_usage(c, pod.p, &u);
    signal(SIGCHLD, SIG_IGN);
    if (cgroup_kill(c, pod.p, 5000, NULL) < 0 || kill(pid, 0) == 0)
        return 4;
    return cgroup_remove(c, root, NULL) < 0 ? 5 : 0;
}

TEST(on_cgroup_v2_too)
{
    if (geteuid() != 0)
        test_skip("needs root");
    pid_t pid = fork();
    if (pid == 0)
        _exit(on_v2());
    int status = 0;
    waitpid(pid, &status, 0);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 100)
        test_skip("this machine cannot mount cgroup2");
    EQ(status, 0);
}
