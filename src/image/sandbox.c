#include "image/sandbox.h"
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pwd.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/file.h"

#if defined __x86_64__
#define ARCH AUDIT_ARCH_X86_64
#elif defined __aarch64__
#define ARCH AUDIT_ARCH_AARCH64
#else
#define ARCH AUDIT_ARCH_ARM
#endif

/* What computing over memory and given descriptors needs. */
static const int allowed[] = {
    SYS_read,
    SYS_write,
    SYS_readv,
    SYS_writev,
    SYS_pread64,
    SYS_pwrite64,
    SYS_lseek,
    SYS_fstat,
    SYS_close,
    SYS_mmap,
    SYS_munmap,
    SYS_mremap,
    SYS_mprotect,
    SYS_madvise,
    SYS_brk,
    SYS_futex,
    SYS_exit,
    SYS_exit_group,
    SYS_rt_sigaction,
    SYS_rt_sigprocmask,
    SYS_rt_sigreturn,
    SYS_clock_gettime,
    SYS_getrandom,
    SYS_sched_yield,
    SYS_getpid,
    SYS_gettid,
    SYS_sigaltstack,
    SYS_nanosleep,
    SYS_restart_syscall,
    SYS_newfstatat,
    SYS_ftruncate,
#ifdef SYS_gettimeofday
    SYS_gettimeofday,
#endif
};

static int only_compute(void)
{
    struct sock_filter f[6 + ARRAY_LEN(allowed) + 2];
    size_t n = 0, count = ARRAY_LEN(allowed);
    f[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch));
    f[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ARCH, 1, 0);
    f[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS);
    f[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
    for (size_t i = 0; i < count; i++)
        f[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)allowed[i], (uint8_t)(count - i), 0);
    f[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM);
    f[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    struct sock_fprog prog = {(unsigned short)n, f};
    return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog, 0, 0);
}

static int give_up_rights(uid_t uid, gid_t gid, struct err **e)
{
    struct rlimit none = {0, 0}, cpu = {1800, 1800};
    setrlimit(RLIMIT_CORE, &none);
    setrlimit(RLIMIT_CPU, &cpu);
    if (geteuid() == 0 && (setgroups(0, NULL) < 0 || setresgid(gid, gid, gid) < 0 || setresuid(uid, uid, uid) < 0))
        return err_errno(e, errno, "become the unprivileged user");
    /* only now: a change of user takes it away again */
    if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0)
        return err_errno(e, errno, "parser");
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0 || only_compute() < 0)
        return err_errno(e, errno, "give up rights");
    return 0;
}

/* The answer ends with a trailer: u32 0xffffffff, i32 code, message. */
static void tell_end(int out, int code, const char *message)
{
    uint32_t mark = UINT32_MAX, n = (uint32_t)strlen(message);
    int32_t c = code;
    (void)!fd_write_all(out, &mark, sizeof mark, NULL);
    (void)!fd_write_all(out, &c, sizeof c, NULL);
    (void)!fd_write_all(out, &n, sizeof n, NULL);
    (void)!fd_write_all(out, message, n, NULL);
}

static _noreturn_ void child_main(const struct parser_spec *s, uid_t uid, gid_t gid, int out)
{
    struct err *e = NULL;
    int in = fcntl(s->in, F_DUPFD_CLOEXEC, 10), extra = s->extra >= 0 ? fcntl(s->extra, F_DUPFD_CLOEXEC, 10) : -1,
        to = fcntl(out, F_DUPFD_CLOEXEC, 10);
    dup2(in, 0);
    if (extra >= 0)
        dup2(extra, 3);
    dup2(to, 4);
    if (extra < 0)
        close(3);
    syscall(SYS_close_range, 5, ~0U, 0);
    signal(SIGPIPE, SIG_IGN);
    int r = give_up_rights(uid, gid, &e);
    if (r == 0)
        r = s->run(s->arg, 0, extra >= 0 ? 3 : -1, 4, &e);
    tell_end(4, r, r < 0 ? err_msg(e) : "");
    _exit(r < 0 ? 1 : 0);
}

int parser_start(const struct parser_spec *s, struct parser *out, struct err **e)
{
    errno = 0;
    struct passwd *pw = getpwnam(s->user);
    if (!pw || (pw->pw_uid == 0 && geteuid() == 0))
        return err_set(e, ERR_UNAVAILABLE, "the user \"%s\", who would parse images, %s", s->user, pw ? "is root" : "does not exist");
    int p[2];
    if (pipe2(p, O_CLOEXEC) < 0)
        return err_errno(e, errno, "parser: pipe");
    pid_t pid = fork();
    if (pid == 0)
        child_main(s, pw->pw_uid, pw->pw_gid, p[1]);
    int saved = errno;
    close(p[1]);
    if (pid < 0) {
        close(p[0]);
        return err_errno(e, saved, "parser: fork");
    }
    fcntl(p[0], F_SETPIPE_SZ, 1 << 20);
    *out = (struct parser){pid, p[0]};
    return 0;
}

int parser_end(struct parser *p, bool failed, struct err **e)
{
    int status;
    if (failed)
        kill(p->pid, SIGKILL);
    closep(&p->out);
    while (waitpid(p->pid, &status, 0) < 0)
        if (errno != EINTR)
            return err_errno(e, errno, "parser");
    if (!failed && WIFSIGNALED(status))
        return err_set(e, ERR_PARSE, "its parser was killed by signal %d", WTERMSIG(status));
    return 0;
}
