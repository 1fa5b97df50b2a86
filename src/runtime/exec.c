#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/file.h"
#include "runtime/container.h"
#include "runtime/helper.h"
#include "runtime/isolate.h"

struct exec {
    struct runtime *rt;
    struct child child;
    struct timer limit;
    struct watch console;   /* listening; the OCI runtime sends the terminal's master over it */
    char *console_path, *pid_path;
    int said;               /* what the runtime itself says goes to a file in memory when the caller did not ask for stderr */
    int pty; /* the process' end of the terminal, for resizing; -1. Not the master: its holder alone decides when the line is hung up */
    unsigned width, height; /* asked for before the terminal came */
    bool late;
    const struct exec_ops *ops;
    void *owner;
};

static void forget(struct exec *x)
{
    child_unwatch(&x->child);
    timer_del(&x->limit);
    watch_del(&x->console);
    closep(&x->console.fd);
    if (x->console_path)
        unlink(x->console_path);
    if (x->pid_path)
        unlink(x->pid_path);
    free(x->console_path);
    free(x->pid_path);
    closep(&x->pty);
    closep(&x->said);
    free(x);
}

static void kill_inside(struct exec *x)
{
    _cleanup_(buf_clear) struct buf b = BUF_INIT;
    int64_t pid;
    if (file_read(x->pid_path, 64, &b, NULL) == 0 && str_to_i64(str_trim(buf_str(&b)), &pid) && pid > 1)
        kill((pid_t)pid, SIGKILL);
    kill(x->child.pid, SIGKILL);
}

static void on_limit(struct timer *t)
{
    struct exec *x = container_of(t, struct exec, limit);
    x->late = true;
    kill_inside(x);
}

static void on_child(struct child *c, int status)
{
    struct exec *x = container_of(c, struct exec, child);
    int code = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
    char message[1024] = "";
    ssize_t n = x->said >= 0 ? pread(x->said, message, sizeof message - 1, 0) : 0;
    message[n > 0 ? n : 0] = 0;
    if (x->late) {
        code = 124;
        snprintf(message, sizeof message, "command timed out");
    }
    x->ops->done(x->owner, code, message);
    forget(x);
}

static void on_console(struct watch *w, uint32_t events)
{
    struct exec *x = container_of(w, struct exec, console);
    _cleanup_(closep) int peer = accept4(w->fd, NULL, NULL, SOCK_CLOEXEC);
    if (peer < 0)
        return;
    /* the runtime connects and sends at once; it is a child of ours and gets two seconds */
    setsockopt(peer, SOL_SOCKET, SO_RCVTIMEO, &(struct timeval){2, 0}, sizeof(struct timeval));
    union { char b[CMSG_SPACE(sizeof(int))]; struct cmsghdr align; } control;
    char byte[256];
    struct iovec io = {byte, sizeof byte};
    struct msghdr m = {.msg_iov = &io, .msg_iovlen = 1, .msg_control = control.b, .msg_controllen = sizeof control.b};
    if (recvmsg(peer, &m, MSG_CMSG_CLOEXEC) < 0)
        return;
    struct cmsghdr *c = CMSG_FIRSTHDR(&m);
    if (!c || c->cmsg_type != SCM_RIGHTS || c->cmsg_len != CMSG_LEN(sizeof(int)) || x->pty >= 0)
        return;
    int fd;
    memcpy(&fd, CMSG_DATA(c), sizeof fd);
    x->pty = ioctl(fd, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (x->width)
        (void)!exec_resize(x, x->width, x->height, NULL);
    int fds[1] = {fd};
    x->ops->ready(x->owner, fds, 1);
}

int exec_resize(struct exec *x, unsigned width, unsigned height, struct err **e)
{
    x->width = MIN(width, 65535u);
    x->height = MIN(height, 65535u);
    struct winsize size = {.ws_col = (unsigned short)x->width, .ws_row = (unsigned short)x->height};
    if (x->pty >= 0 && ioctl(x->pty, TIOCSWINSZ, &size) < 0)
        return err_errno(e, errno, "resize terminal");
    return 0;
}

static int listen_console(struct exec *x, const char *name, struct err **e)
{
    x->console_path = xasprintf("%s/%s", x->rt->run_dir, name);
    _cleanup_(closep) int dir = open(x->rt->run_dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
    _cleanup_(closep) int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    snprintf(a.sun_path, sizeof a.sun_path, "/proc/self/fd/%d/%s", dir, name);
    if (dir < 0 || fd < 0 || bind(fd, (struct sockaddr *)&a, sizeof a) < 0 || listen(fd, 1) < 0)
        return err_errno(e, errno, "console socket");
    int r = watch_add(x->rt->loop, &x->console, fd, EPOLLIN, on_console, e);
    if (r == 0)
        fd = -1;
    return r;
}

static _noreturn_ void child_main(const struct exec *x, const struct exec_spec *s, const char *console, int *std)
{
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    for (int i = 0; i < 3; i++)
        dup2(std[i] >= 0 ? std[i] : null, i);
    int keep[] = {s->mount_ns};
    helper_close_fds(keep, s->mount_ns >= 0 ? 1 : 0);
    struct err *e = NULL;
    char score[16];
    int adj = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
    snprintf(score, sizeof score, "%d", s->oom_score_adj);
    if (adj >= 0)
        (void)!write(adj, score, strlen(score)); /* without CAP_SYS_RESOURCE it only rises: as good as can be */
    int r = s->mount_ns >= 0 ? setns(s->mount_ns, CLONE_NEWNS) : unshare(CLONE_NEWNS);
    if (r < 0)
        err_errno(&e, errno, "enter the pod's mounts");
    else if (s->mount_ns < 0)
        r = isolate_cgroups(&e);
    if (r == 0 && chdir(x->rt->run_dir) < 0)
        r = err_errno(&e, errno, "%s", x->rt->run_dir);
    if (r == 0) {
        const char **argv = xcalloc(s->nargv + 16, sizeof *argv);
        size_t n = 0;
        argv[n++] = s->handler;
        argv[n++] = "--root";
        argv[n++] = x->rt->state_dir;
        argv[n++] = "exec";
        argv[n++] = "--pid-file";
        argv[n++] = x->pid_path;
        if (s->tty) {
            argv[n++] = "--tty";
            argv[n++] = "--console-socket";
            argv[n++] = console;
        }
        argv[n++] = s->id;
        for (size_t i = 0; i < s->nargv; i++)
            argv[n++] = str_dup(s->argv[i]);
        argv[n] = NULL;
        signal(SIGPIPE, SIG_DFL);
        execve(s->handler, (char *const *)(uintptr_t)argv, isolate_env);
        err_errno(&e, errno, "run %s", s->handler);
    }
    (void)!fd_write_all(2, err_msg(e), strlen(err_msg(e)), NULL);
    _exit(126);
}

/* Pipes: ours[i] is the caller's end, theirs[i] the process'. */
static int make_pipes(const struct exec_spec *s, int ours[3], int theirs[3], struct err **e)
{
    bool want[3] = {s->in, s->out, s->err};
    for (int i = 0; i < 3; i++) {
        int p[2];
        if (!want[i])
            continue;
        if (pipe2(p, O_CLOEXEC) < 0)
            return err_errno(e, errno, "exec: pipe");
        ours[i] = p[i == 0 ? 1 : 0];
        theirs[i] = p[i == 0 ? 0 : 1];
    }
    return 0;
}

static void close_all(int *fds, size_t n)
{
    for (size_t i = 0; i < n; i++)
        closep(&fds[i]);
}

struct exec *exec_start(struct runtime *rt, const struct exec_spec *spec, const struct exec_ops *ops, void *owner, struct err **e)
{
    struct exec *x = xcalloc(1, sizeof *x);
    *x = (struct exec){.rt = rt, .console.fd = -1, .pty = -1, .said = -1, .ops = ops, .owner = owner};
    char name[24], hex[17];
    snprintf(hex, sizeof hex, "%016" PRIx64, random_u64());
    snprintf(name, sizeof name, "c%s", hex);
    x->pid_path = xasprintf("%s/p%s", rt->run_dir, hex);
    int ours[3] = {-1, -1, -1}, theirs[3] = {-1, -1, -1}, r = spec->tty ? listen_console(x, name, e) : make_pipes(spec, ours, theirs, e);
    if (r == 0 && (theirs[2] < 0)) {
        x->said = (int)syscall(SYS_memfd_create, "exec", 1u /* MFD_CLOEXEC */);
        theirs[2] = x->said < 0 ? -1 : fcntl(x->said, F_DUPFD_CLOEXEC, 3);
    }
    pid_t pid = r < 0 ? -1 : fork();
    if (pid == 0)
        child_main(x, spec, name, theirs);
    if (r == 0 && pid < 0)
        r = err_errno(e, errno, "exec: fork");
    close_all(theirs, 3);
    if (r == 0 && (r = child_watch(rt->loop, &x->child, pid, on_child, e)) < 0) {
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
    }
    if (r < 0) {
        close_all(ours, 3);
        forget(x);
        return NULL;
    }
    if (spec->timeout_ms > 0)
        timer_set(rt->loop, &x->limit, clock_mono(NULL) + spec->timeout_ms * NS_PER_MS, on_limit);
    if (!spec->tty)
        ops->ready(owner, ours, 3);
    return x;
}

void exec_cancel(struct exec *x)
{
    if (!x)
        return;
    kill_inside(x);
    child_unwatch(&x->child);
    while (waitpid(x->child.pid, NULL, 0) < 0 && errno == EINTR)
        ;
    forget(x);
}
