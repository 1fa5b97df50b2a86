#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include "harness.h"
#include "base/buf.h"
#include "base/file.h"

TEST(a_child_gets_its_output_collected_and_its_code_told)
{
    _cleanup_(buf_clear) struct buf b = BUF_INIT;
    struct err *e = NULL;
    const char *const argv[] = {"sh", "-c", "echo out; echo err >&2; exit 3", NULL};
    EQ(spawn_wait(argv, &b, 4096, 10000, &e), 3);
    EQ_STR(buf_str(&b), STR("out\nerr\n"));
    const char *const killed[] = {"sh", "-c", "kill -TERM $$", NULL};
    EQ(spawn_wait(killed, NULL, 0, 10000, &e), 128 + SIGTERM);
}

TEST(output_beyond_the_limit_is_dropped_and_the_child_goes_on)
{
    _cleanup_(buf_clear) struct buf b = BUF_INIT;
    const char *const argv[] = {"sh", "-c", "head -c 1000000 /dev/zero; exit 5", NULL};
    EQ(spawn_wait(argv, &b, 100, 10000, NULL), 5);
    EQ(b.n, 100);
}

TEST(a_child_that_takes_too_long_is_killed_with_its_group)
{
    struct err *e = NULL;
    const char *const argv[] = {"sh", "-c", "sleep 100 & sleep 100", NULL};
    EQ(spawn_wait(argv, NULL, 0, 200, &e), -ERR_TIMEOUT);
    EQ_Z(err_msg(e), "sh: not done after 200 ms");
    err_free(e);
}

TEST(what_a_child_leaves_running_does_not_hold_us)
{
    const char *const argv[] = {"sh", "-c", "sleep 3 & exit 0", NULL};
    EQ(spawn_wait(argv, NULL, 0, 2000, NULL), 0);
}

TEST(a_missing_program_is_an_error_of_spawn_itself)
{
    struct err *e = NULL;
    const char *const argv[] = {"/nonexistent/program", NULL};
    struct spawn s = {.argv = argv};
    EQ(spawn(&s, &e), -ERR_IO);
    EQ_Z(err_msg(e), "run /nonexistent/program: No such file or directory");
    err_free(e);
    EQ(waitpid(-1, NULL, WNOHANG), -1);
}

TEST(a_child_sees_only_the_descriptors_meant_for_it)
{
    _cleanup_(freep) char *path = xasprintf("%s/out", test_tmpdir());
    int leak = open("/dev/null", O_RDONLY), out = open(path, O_CREAT | O_RDWR, 0600), a = open("/dev/zero", O_RDONLY);
    int keep[] = {out, a};
    OK(leak > 2 && out > 2 && a > 2);
    const char *const argv[] = {"sh", "-c", "for i in /proc/self/fd/*; do echo ${i##*/} $(readlink $i); done 2>/dev/null; trap", NULL};
    struct spawn s = {.argv = argv, .out = out, .err = SPAWN_NULL, .keep = keep, .nkeep = 2};
    sigset_t some;
    sigemptyset(&some);
    sigaddset(&some, SIGUSR1);
    sigprocmask(SIG_BLOCK, &some, NULL);
    struct err *e = NULL;
    pid_t pid = spawn(&s, &e);
    FINE(pid, e);
    int status;
    EQ(waitpid(pid, &status, 0), pid);
    EQ(status, 0);
    sigprocmask(SIG_UNBLOCK, &some, NULL);
    close(leak);
    close(a);
    _cleanup_(buf_clear) struct buf b = BUF_INIT;
    FINE(file_read(path, 65536, &b, &e), e);
    close(out);
    OK(str_find(buf_str(&b), STR("4 /dev/zero")) >= 0);
    OK(str_find(buf_str(&b), STR("0 /dev/null")) >= 0);
    OK(str_find(buf_str(&b), STR("2 /dev/null")) >= 0);
    OK(str_find(buf_str(&b), STR("\n5 /")) < 0);
}

static void set_env(void *arg)
{
    umask((mode_t)(intptr_t)arg);
}

TEST(before_exec_runs_in_the_child_only)
{
    _cleanup_(freep) char *path = xasprintf("%s/out", test_tmpdir());
    int out = open(path, O_CREAT | O_RDWR | O_CLOEXEC, 0600);
    const char *const argv[] = {"sh", "-c", "umask; pwd; echo $MARK", NULL}, *const envp[] = {"PATH=/usr/bin:/bin", "MARK=seen", NULL};
    struct spawn s = {.argv = argv, .envp = envp, .out = out, .cwd = "/", .before_exec = set_env, .arg = (void *)(intptr_t)0123, .new_session = true};
    mode_t before = umask(022);
    struct err *e = NULL;
    pid_t pid = spawn(&s, &e);
    FINE(pid, e);
    EQ(waitpid(pid, NULL, 0), pid);
    EQ(umask(before), 022);
    _cleanup_(buf_clear) struct buf b = BUF_INIT;
    FINE(file_read(path, 4096, &b, &e), e);
    close(out);
    EQ_STR(buf_str(&b), STR("0123\n/\nseen\n"));
}
