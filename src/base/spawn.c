#include "base/file.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#ifndef CLOSE_RANGE_CLOEXEC
#define CLOSE_RANGE_CLOEXEC (1U << 2)
#endif
#define KEEP_MAX 64

/* The child, from fork to exec: async-signal-safe calls only. Its errno reaches the parent over `report`, which closes at exec. */
struct child_plan {
    const struct spawn *s;
    char *const *argv, *const *envp;
    int report, null;
};

static void close_rest(int from)
{
    if (syscall(SYS_close_range, from, ~0U, CLOSE_RANGE_CLOEXEC) == 0)
        return;
    for (int fd = from, max = (int)sysconf(_SC_OPEN_MAX); fd < max; fd++)
        fcntl(fd, F_SETFD, FD_CLOEXEC);
}

/* A dead number or a number of the range that is about to be filled cannot stay where it is. */
static int lift(int fd, int above)
{
    return fcntl(fd, F_DUPFD_CLOEXEC, above);
}

static int child_fds(struct child_plan *p)
{
    const struct spawn *s = p->s;
    int above = 3 + (int)s->nkeep + 1, from[3 + KEEP_MAX], total = 3 + (int)s->nkeep;
    p->report = lift(p->report, above);
    if (p->report < 0)
        return -1;
    for (int i = 0; i < total; i++) {
        int fd = i == 0 ? s->in : i == 1 ? s->out : i == 2 ? s->err : s->keep[i - 3];
        if (i < 3 && (fd == SPAWN_NULL || (i == 0 && fd == 0)))
            fd = p->null;
        else if (i < 3 && fd == 0)
            fd = i;
        from[i] = lift(fd, above);
        if (from[i] < 0 && !(i < 3 && fd == i && errno == EBADF))
            return -1;
    }
    for (int i = 0; i < total; i++)
        if (from[i] >= 0 && dup2(from[i], i) < 0)
            return -1;
    close_rest(3 + (int)s->nkeep);
    return 0;
}

static void reset_signals(void)
{
    struct sigaction dfl = {.sa_handler = SIG_DFL};
    sigset_t none;
    for (int i = 1; i < 65; i++)
        sigaction(i, &dfl, NULL);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

static _noreturn_ void child_main(struct child_plan *p)
{
    const struct spawn *s = p->s;
    if (child_fds(p) == 0 && !(s->new_session && setsid() < 0) && !(s->cwd && chdir(s->cwd) < 0)) {
        reset_signals();
        if (s->before_exec)
            s->before_exec(s->arg);
        execvpe(p->argv[0], p->argv, p->envp);
    }
    int saved = errno;
    while (write(p->report, &saved, sizeof saved) < 0 && errno == EINTR)
        ;
    _exit(127);
}

pid_t spawn(const struct spawn *s, struct err **e)
{
    if (s->nkeep > KEEP_MAX)
        return err_set(e, ERR_INTERNAL, "spawn %s: too many file descriptors", s->argv[0]);
    int report[2];
    if (pipe2(report, O_CLOEXEC) < 0)
        return err_errno(e, errno, "spawn %s", s->argv[0]);
    _cleanup_(closep) int in = report[0], out = report[1], null = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (null < 0)
        return err_errno(e, errno, "spawn %s: /dev/null", s->argv[0]);
    struct child_plan plan = {s, (char *const *)(uintptr_t)s->argv, s->envp ? (char *const *)(uintptr_t)s->envp : environ, out, null};
    sigset_t all, before;
    sigfillset(&all);
    /* No handler of ours may run in the child. vfork spares a large process the copy of its page tables, but shares memory: what
     * before_exec does (changing the user, say) may rely on being alone, so that it gets a real fork. */
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pid_t pid = s->before_exec ? fork() : vfork();
    if (pid == 0)
        child_main(&plan);
    int saved = errno, failed = 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (pid < 0)
        return err_errno(e, saved, "spawn %s", s->argv[0]);
    closep(&out);
    ssize_t n;
    while ((n = read(in, &failed, sizeof failed)) < 0 && errno == EINTR)
        ;
    if (n == 0)
        return pid;
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        ;
    return err_errno(e, n > 0 ? failed : EIO, "run %s", s->argv[0]);
}

static int64_t mono_ms(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_BOOTTIME, &ts);
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* Moves what the child says into output until it ended (and a short while after: what it left running may hold the pipe) or time is up.
 * Returns false when time is up. */
static bool collect(int pidfd, int fd, struct buf *output, size_t limit, int64_t until)
{
    size_t got = 0;
    bool ended = false, open = true;
    while (!ended || open) {
        struct pollfd p[2] = {{ended ? -1 : pidfd, POLLIN, 0}, {open ? fd : -1, POLLIN, 0}};
        int64_t left = MAX(until - mono_ms(), 0);
        int r = poll(p, 2, (int)MIN(left, ended ? 50 : 1000000));
        if (r < 0 && errno == EINTR)
            continue;
        if (r <= 0) {
            if (ended)
                break;
            if (mono_ms() >= until)
                return false;
            continue;
        }
        ended = ended || p[0].revents;
        if (p[1].revents) {
            char chunk[4096];
            ssize_t n = read(fd, chunk, sizeof chunk);
            open = n > 0 || (n < 0 && (errno == EINTR || errno == EAGAIN));
            if (n > 0 && output && got < limit)
                buf_add(output, chunk, MIN((size_t)n, limit - got));
            got += n > 0 ? (size_t)n : 0;
        }
    }
    return true;
}

int spawn_wait(const char *const *argv, struct buf *output, size_t limit, int timeout_ms, struct err **e)
{
    int p[2];
    if (pipe2(p, O_CLOEXEC) < 0)
        return err_errno(e, errno, "run %s", argv[0]);
    _cleanup_(closep) int in = p[0], out = p[1];
    /* a pipe end may have got a number that struct spawn reads as "none" */
    _cleanup_(closep) int far = fcntl(out, F_DUPFD_CLOEXEC, 3);
    if (far < 0)
        return err_errno(e, errno, "run %s", argv[0]);
    struct spawn s = {.argv = argv, .out = far, .err = far, .new_session = true};
    pid_t pid = spawn(&s, e);
    if (pid < 0)
        return pid;
    closep(&out);
    closep(&far);
    fd_nonblock(in);
    int status = 0;
    _cleanup_(closep) int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
    bool in_time = pidfd >= 0 && collect(pidfd, in, output, limit, mono_ms() + timeout_ms);
    int saved = errno;
    if (!in_time)
        kill(-pid, SIGKILL);
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    if (pidfd < 0)
        return err_errno(e, saved, "pidfd_open");
    if (!in_time)
        return err_set(e, ERR_TIMEOUT, "%s: not done after %d ms", argv[0], timeout_ms);
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}
