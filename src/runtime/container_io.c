#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/file.h"
#include "runtime/container.h"
#include "runtime/helper.h"
#include "runtime/isolate.h"

#define TOOL_OUTPUT (64u << 10)

struct tool {
    struct child child;
    struct watch out;
    struct timer limit;
    struct buf said;
    bool ended, closed, late;
    int status;
    void (*done)(void *owner, int code, struct str output);
    void *owner;
};

static void forget(struct tool *t)
{
    child_unwatch(&t->child);
    watch_del(&t->out);
    closep(&t->out.fd);
    timer_del(&t->limit);
    buf_clear(&t->said);
    free(t);
}

static void finish(struct tool *t)
{
    if (!t->ended || !t->closed)
        return;
    int code = WIFSIGNALED(t->status) ? 128 + WTERMSIG(t->status) : WEXITSTATUS(t->status);
    if (t->late)
        buf_puts(&t->said, "not done in time");
    t->done(t->owner, code, str_trim(buf_str(&t->said)));
    forget(t);
}

static void drain(struct tool *t)
{
    char chunk[4096];
    ssize_t n;
    while ((n = read(t->out.fd, chunk, sizeof chunk)) > 0 || (n < 0 && errno == EINTR))
        if (n > 0 && t->said.n < TOOL_OUTPUT)
            buf_add(&t->said, chunk, (size_t)n);
    if (n < 0 && errno == EAGAIN && !t->ended)
        return;
    watch_del(&t->out);
    t->closed = true;
}

static void on_out(struct watch *w, uint32_t events)
{
    struct tool *t = container_of(w, struct tool, out);
    drain(t);
    finish(t);
}

static void on_child(struct child *c, int status)
{
    struct tool *t = container_of(c, struct tool, child);
    t->ended = true;
    t->status = status;
    if (!t->closed) /* what it left behind may hold the pipe: what is there now is all */
        drain(t);
    finish(t);
}

static void on_limit(struct timer *tm)
{
    struct tool *t = container_of(tm, struct tool, limit);
    t->late = true;
    kill(t->child.pid, SIGKILL);
}

static _noreturn_ void tool_child(int mount_ns, const char *const *argv, int out)
{
    struct err *e = NULL;
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    int keep[] = {out, mount_ns}, null = open("/dev/null", O_RDWR | O_CLOEXEC);
    dup2(null, 0);
    dup2(out, 1);
    dup2(out, 2);
    helper_close_fds(keep, 2);
    int r = mount_ns >= 0 ? setns(mount_ns, CLONE_NEWNS) : unshare(CLONE_NEWNS);
    if (r < 0)
        err_errno(&e, errno, "enter the pod's mounts");
    else
        r = mount_ns < 0 ? isolate_cgroups(&e) : 0;
    if (r == 0) {
        fd_cloexec(out, true);
        if (mount_ns > 2)
            fd_cloexec(mount_ns, true);
        signal(SIGPIPE, SIG_DFL);
        execve(argv[0], (char *const *)(uintptr_t)argv, isolate_env);
        err_errno(&e, errno, "run %s", argv[0]);
    }
    (void)!fd_write_all(2, err_msg(e), strlen(err_msg(e)), NULL);
    _exit(127);
}

struct tool *tool_start(struct loop *l, int mount_ns, const char *const *argv, int timeout_ms,
    void (*done)(void *owner, int code, struct str output), void *owner, struct err **e)
{
    int p[2];
    if (pipe2(p, O_CLOEXEC) < 0) {
        err_errno(e, errno, "run %s: pipe", argv[0]);
        return NULL;
    }
    pid_t pid = fork();
    if (pid == 0)
        tool_child(mount_ns, argv, p[1]);
    int saved = errno;
    close(p[1]);
    struct tool *t = xcalloc(1, sizeof *t);
    *t = (struct tool){.out.fd = p[0], .done = done, .owner = owner};
    fd_nonblock(p[0]);
    if (pid < 0)
        err_errno(e, saved, "run %s: fork", argv[0]);
    if (pid < 0 || watch_add(l, &t->out, p[0], EPOLLIN, on_out, e) < 0 || child_watch(l, &t->child, pid, on_child, e) < 0) {
        if (pid > 0) {
            kill(pid, SIGKILL);
            waitpid(pid, NULL, 0);
        }
        forget(t);
        return NULL;
    }
    if (timeout_ms)
        timer_set(l, &t->limit, clock_mono(NULL) + timeout_ms * NS_PER_MS, on_limit);
    return t;
}

void tool_cancel(struct tool *t)
{
    if (!t)
        return;
    if (!t->ended) {
        kill(t->child.pid, SIGKILL);
        child_unwatch(&t->child);
        while (waitpid(t->child.pid, NULL, 0) < 0 && errno == EINTR)
            ;
    }
    forget(t);
}

struct tool *container_start(struct runtime *r, const char *handler, int mount_ns, const char *id,
    void (*done)(void *owner, int code, struct str output), void *owner, struct err **e)
{
    const char *const argv[] = {handler, "--root", r->state_dir, "start", id, NULL};
    return tool_start(r->loop, mount_ns, argv, 60000, done, owner, e);
}

bool container_exit_file(const struct runtime *r, const char *id, int *code, int64_t *finished)
{
    _cleanup_(freep) char *path = xasprintf("%s/%s", r->exit_dir, id);
    _cleanup_(buf_clear) struct buf b = BUF_INIT;
    int64_t v;
    struct stat st;
    if (file_read(path, 64, &b, NULL) < 0 || !str_to_i64(str_trim(buf_str(&b)), &v) || stat(path, &st) < 0)
        return false;
    *code = (int)v;
    *finished = (int64_t)st.st_mtim.tv_sec * NS_PER_S + st.st_mtim.tv_nsec;
    return true;
}

void container_exit_file_remove(const struct runtime *r, const char *id)
{
    _cleanup_(freep) char *path = xasprintf("%s/%s", r->exit_dir, id);
    unlink(path);
}

int container_attach(const char *bundle, struct err **e)
{
    _cleanup_(closep) int dir = open(bundle, O_PATH | O_DIRECTORY | O_CLOEXEC);
    _cleanup_(closep) int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    snprintf(a.sun_path, sizeof a.sun_path, "/proc/self/fd/%d/attach", dir);
    if (dir < 0 || fd < 0 || connect(fd, (struct sockaddr *)&a, sizeof a) < 0)
        return err_errno(e, errno, "attach");
    int r = fd;
    fd = -1;
    return r;
}

int container_control(const char *bundle, struct err **e)
{
    _cleanup_(freep) char *path = xasprintf("%s/ctl", bundle);
    int fd = open(path, O_WRONLY | O_NONBLOCK | O_CLOEXEC | O_NOFOLLOW);
    return fd < 0 ? err_errno(e, errno, "conmon's control fifo") : fd;
}

static int control(const char *bundle, const char *line, struct err **e)
{
    _cleanup_(closep) int fd = container_control(bundle, e);
    if (fd < 0)
        return fd;
    return fd_write_all(fd, line, strlen(line), e);
}

int container_reopen_log(const char *bundle, struct err **e)
{
    return control(bundle, "2 0 0\n", e);
}

int container_tty_size(const char *bundle, unsigned width, unsigned height, struct err **e)
{
    char line[64];
    snprintf(line, sizeof line, "1 %u %u\n", MIN(height, 65535u), MIN(width, 65535u));
    return control(bundle, line, e);
}
