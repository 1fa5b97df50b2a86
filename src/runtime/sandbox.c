#include "runtime/sandbox.h"
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/file.h"
#include "runtime/helper.h"
#include "runtime/isolate.h"

struct sandbox {
    struct loop *loop;
    struct process proc;
    int mount_ns, net_ns, go;
    struct watch report;  /* what the child says: nothing and an end is success */
    struct watch death;   /* pidfd */
    struct buf said;
    bool ours, started;
    void (*done)(void *owner, const struct err *e);
    void *owner;
    void (*on_death)(void *owner);
    void *death_owner;
};

bool sandbox_sysctl_allowed(struct str n)
{
    for (size_t i = 0; i < n.n; i++)
        if (!memchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-/", n.p[i], 66))
            return false;
    if (str_find(n, STR("..")) >= 0 || str_starts(n, STR("/")))
        return false;
    return str_starts(n, STR("net.")) || str_starts(n, STR("kernel.shm")) || str_starts(n, STR("kernel.msg")) ||
           str_eq(n, STR("kernel.sem")) || str_starts(n, STR("fs.mqueue."));
}

uint64_t process_start_time(pid_t pid)
{
    char path[64];
    _cleanup_(buf_clear) struct buf b = BUF_INIT;
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    if (file_read(path, 65536, &b, NULL) < 0)
        return 0;
    ssize_t paren = str_rchr(buf_str(&b), ')'); /* the name may hold anything */
    struct str rest = paren < 0 ? STR_NULL : str_sub(buf_str(&b), (size_t)paren + 2, b.n), field;
    uint64_t v = 0;
    for (int i = 3; str_split(&rest, ' ', &field); i++)
        if (i == 22)
            return str_to_u64(field, &v) ? v : 0;
    return 0;
}

int process_open(struct process p)
{
    if (p.pid <= 1 || p.start == 0) {
        errno = ESRCH;
        return -1;
    }
    int fd = (int)syscall(SYS_pidfd_open, p.pid, 0);
    if (fd >= 0 && process_start_time(p.pid) != p.start) {
        close(fd);
        errno = ESRCH;
        return -1;
    }
    return fd;
}

static int loopback_up(struct err **e)
{
    _cleanup_(closep) int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    struct ifreq r = {.ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING};
    return fd < 0 || ioctl(fd, SIOCSIFFLAGS, &r) < 0 ? err_errno(e, errno, "bring lo up") : 0;
}

static int set_sysctl(const struct sandbox_sysctl *s, struct err **e)
{
    _cleanup_(freep) char *path = xasprintf("/proc/sys/%s", s->name);
    for (char *c = path + strlen("/proc/sys/"); *c; c++)
        *c = *c == '.' ? '/' : *c == '/' ? '.' : *c;
    _cleanup_(closep) int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0 || write(fd, s->value, strlen(s->value)) < 0)
        return err_errno(e, errno, "sysctl %s=%s", s->name, s->value);
    return 0;
}

static int furnish(const struct sandbox_spec *s, struct err **e)
{
    int r = isolate_dir(s->dir, e);
    if (r == 0)
        r = isolate_cgroups(e);
    if (r == 0 && s->hostname && sethostname(s->hostname, strlen(s->hostname)) < 0)
        r = err_errno(e, errno, "set host name %s", s->hostname);
    if (r == 0 && !s->host_network)
        r = loopback_up(e);
    for (size_t i = 0; r == 0 && i < s->nsysctls; i++)
        r = set_sysctl(&s->sysctls[i], e);
    if (r == 0 && s->prepare)
        r = s->prepare(s->arg, e);
    return r;
}

/* Becomes the pause program: nobody's user, no further privileges, nothing open. */
static int become_pause(struct err **e)
{
    int fd = memfd_create("sampan-pause", MFD_CLOEXEC);
    if (fd < 0 || write(fd, pause_program, pause_program_size) != (ssize_t)pause_program_size)
        return err_errno(e, errno, "pause program");
    int null = open("/dev/null", O_RDWR);
    for (int i = 0; null >= 0 && i < 3; i++)
        dup2(null, i);
    if (null > 2)
        close(null);
    signal(SIGCHLD, SIG_IGN);
    signal(SIGPIPE, SIG_DFL);
    if (chdir("/") < 0 || setresgid(65534, 65534, 65534) < 0 || setresuid(65534, 65534, 65534) < 0 ||
        prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return err_errno(e, errno, "pause program: give up rights");
    static const char *const argv[] = {"sampan-pause", NULL}, *const envp[] = {NULL};
    syscall(SYS_execveat, fd, "", argv, envp, AT_EMPTY_PATH);
    return err_errno(e, errno, "run the pause program");
}

static _noreturn_ void child_main(const struct sandbox_spec *s, int go, int report)
{
    struct err *e = NULL;
    char byte;
    sigset_t none;
    int keep[] = {go, report};
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    setsid();
    helper_close_fds(keep, 2);
    if (read(go, &byte, 1) != 1)
        _exit(0); /* our parent died before it could write us down */
    close(go);
    int r = furnish(s, &e);
    if (r == 0)
        r = become_pause(&e);
    int32_t code = r;
    struct buf out = BUF_INIT;
    buf_add(&out, &code, sizeof code);
    buf_puts(&out, err_msg(e));
    (void)!fd_write_all(report, out.p, out.n, NULL);
    _exit(1);
}

static int open_ns(pid_t pid, const char *name)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/ns/%s", (int)pid, name);
    return open(path, O_RDONLY | O_CLOEXEC);
}

static void on_death(struct watch *w, uint32_t events)
{
    struct sandbox *s = container_of(w, struct sandbox, death);
    watch_del(w);
    if (s->ours)
        waitpid(s->proc.pid, NULL, WNOHANG);
    if (s->on_death && s->started)
        s->on_death(s->death_owner);
}

static int watch_death(struct sandbox *s, struct err **e)
{
    int fd = process_open(s->proc);
    if (fd < 0)
        return err_errno(e, errno, "pause process %d", (int)s->proc.pid);
    s->death.fd = fd;
    return watch_add(s->loop, &s->death, fd, EPOLLIN, on_death, e);
}

static void on_report(struct watch *w, uint32_t events)
{
    struct sandbox *s = container_of(w, struct sandbox, report);
    char chunk[4096];
    ssize_t n = read(w->fd, chunk, sizeof chunk);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n > 0 && s->said.n < 65536) {
        buf_add(&s->said, chunk, (size_t)n);
        return;
    }
    watch_del(w);
    closep(&w->fd);
    _cleanup_(err_freep) struct err *e = NULL;
    int32_t code = 0;
    if (s->said.n >= sizeof code) {
        memcpy(&code, s->said.p, sizeof code);
        err_set(&e, -code > 0 && -code < ERR_CODES ? (enum err_code)-code : ERR_INTERNAL, "%s", s->said.p + sizeof code);
    } else if (process_start_time(s->proc.pid) != s->proc.start) {
        err_set(&e, ERR_INTERNAL, "the pause process died while it was being set up");
    }
    s->started = !e;
    s->done(s->owner, e);
}

int sandbox_start(struct loop *l, struct cgroups *c, const struct sandbox_spec *spec, struct sandbox **out, struct err **e)
{
    for (size_t i = 0; i < spec->nsysctls; i++) {
        struct str name = str_of(spec->sysctls[i].name);
        if (!sandbox_sysctl_allowed(name) || (spec->host_network && str_starts(name, STR("net."))) ||
            (spec->host_ipc && !str_starts(name, STR("net."))))
            return err_set(e, ERR_FORBIDDEN, "sysctl \"%.*s\" is not one of this pod's namespaces", STR_ARG(name));
    }
    int go[2], report[2];
    if (pipe2(go, O_CLOEXEC) < 0)
        return err_errno(e, errno, "sandbox: pipe");
    if (pipe2(report, O_CLOEXEC) < 0) {
        closep(&go[0]);
        closep(&go[1]);
        return err_errno(e, errno, "sandbox: pipe");
    }
    unsigned long flags = CLONE_NEWNS | SIGCHLD | (spec->host_network ? 0 : CLONE_NEWNET) | (spec->host_ipc ? 0 : CLONE_NEWIPC) |
                          (spec->hostname ? CLONE_NEWUTS : 0) | (spec->share_pids ? CLONE_NEWPID : 0);
    pid_t pid = (pid_t)syscall(SYS_clone, flags, 0, 0, 0, 0);
    if (pid == 0) {
        close(go[1]);
        close(report[0]);
        child_main(spec, go[0], report[1]);
    }
    int saved = errno;
    close(go[0]);
    close(report[1]);
    _cleanup_(sandbox_freep) struct sandbox *s = xcalloc(1, sizeof *s);
    *s = (struct sandbox){
        .loop = l, .proc = {pid, 0}, .mount_ns = -1, .net_ns = -1, .go = go[1], .report.fd = report[0], .death.fd = -1, .ours = true};
    if (pid < 0)
        return err_errno(e, saved, "sandbox: make namespaces");
    s->proc.start = process_start_time(pid);
    s->mount_ns = open_ns(pid, "mnt");
    s->net_ns = spec->host_network ? -1 : open_ns(pid, "net");
    fd_nonblock(s->report.fd);
    int r = cgroup_join(c, spec->cgroup, pid, e);
    if (r == 0)
        r = watch_death(s, e);
    if (r < 0) {
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
        return r;
    }
    *out = TAKE(s);
    return 0;
}

int sandbox_go(struct sandbox *s, void (*done)(void *owner, const struct err *e), void *owner, struct err **e)
{
    s->done = done;
    s->owner = owner;
    int r = watch_add(s->loop, &s->report, s->report.fd, EPOLLIN, on_report, e);
    if (r == 0 && write(s->go, "g", 1) != 1)
        r = err_errno(e, errno, "sandbox");
    closep(&s->go);
    return r;
}

struct sandbox *sandbox_adopt(struct loop *l, struct process p)
{
    _cleanup_(sandbox_freep) struct sandbox *s = xcalloc(1, sizeof *s);
    *s = (struct sandbox){.loop = l, .proc = p, .mount_ns = -1, .net_ns = -1, .go = -1, .report.fd = -1, .death.fd = -1, .started = true};
    if (watch_death(s, NULL) < 0)
        return NULL;
    s->mount_ns = open_ns(p.pid, "mnt");
    s->net_ns = open_ns(p.pid, "net");
    return s->mount_ns < 0 ? NULL : TAKE(s);
}

struct process sandbox_process(const struct sandbox *s) { return s->proc; }
int sandbox_mount_ns(const struct sandbox *s) { return s ? s->mount_ns : -1; }
int sandbox_net_ns(const struct sandbox *s) { return s ? s->net_ns : -1; }

void sandbox_on_death(struct sandbox *s, void (*fn)(void *owner), void *owner)
{
    s->on_death = fn;
    s->death_owner = owner;
}

void sandbox_free(struct sandbox *s)
{
    if (!s)
        return;
    watch_del(&s->report);
    watch_del(&s->death);
    closep(&s->report.fd);
    closep(&s->death.fd);
    closep(&s->mount_ns);
    closep(&s->net_ns);
    closep(&s->go);
    buf_clear(&s->said);
    free(s);
}
