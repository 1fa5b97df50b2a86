#include "supervisor/lockdown.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/landlock.h>
#include <pwd.h>
#include <seccomp.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

/* System calls that api and gate may make. Anything else answers EPERM, so that a library that probes for a feature falls back instead of dying. */
static const char *const allowed[] = {
    /* files */
    "openat", "openat2", "open", "close", "close_range", "read", "write", "pread64", "pwrite64", "readv", "writev", "preadv", "pwritev", "fstat", "stat", "lstat",
    "newfstatat", "statx", "statfs", "fstatfs", "lseek", "fsync", "fdatasync", "sync_file_range", "ftruncate", "fallocate", "rename", "renameat", "renameat2", "unlink",
    "unlinkat", "link", "linkat", "symlinkat", "mkdir", "mkdirat", "rmdir", "fcntl", "flock", "getdents64", "access", "faccessat", "faccessat2", "readlink", "readlinkat",
    "chmod", "fchmod", "fchmodat", "fchown", "fchownat", "umask", "getcwd", "copy_file_range", "sendfile", "splice", "fadvise64", "ioctl", "dup", "dup2", "dup3", "pipe",
    "pipe2", "inotify_init1", "inotify_add_watch", "inotify_rm_watch", "memfd_create",
    /* memory and threads */
    "mmap", "munmap", "mprotect", "mremap", "madvise", "brk", "mincore", "clone", "clone3", "futex", "futex_waitv", "set_robust_list", "rseq", "exit", "exit_group",
    "sched_yield", "sched_getaffinity", "sched_setaffinity", "gettid", "getpid", "getppid", "tgkill", "arch_prctl", "set_tid_address", "membarrier", "get_robust_list",
    /* sockets */
    "socket", "socketpair", "connect", "accept", "accept4", "bind", "listen", "getsockname", "getpeername", "setsockopt", "getsockopt", "sendto", "recvfrom", "sendmsg",
    "recvmsg", "sendmmsg", "recvmmsg", "shutdown",
    /* waiting and time */
    "epoll_create1", "epoll_ctl", "epoll_wait", "epoll_pwait", "epoll_pwait2", "eventfd2", "timerfd_create", "timerfd_settime", "timerfd_gettime", "signalfd4", "poll",
    "ppoll", "select", "pselect6", "clock_gettime", "clock_getres", "clock_nanosleep", "nanosleep", "gettimeofday", "time", "restart_syscall", "wait4", "waitid",
    "pidfd_open", "pidfd_send_signal", "kill",
    /* the process itself */
    "getuid", "geteuid", "getgid", "getegid", "getresuid", "getresgid", "getgroups", "getrandom", "prlimit64", "getrlimit", "uname", "sysinfo", "rt_sigaction",
    "rt_sigprocmask", "rt_sigreturn", "rt_sigtimedwait", "sigaltstack", "prctl", "getrusage", "times", "getpriority", "personality",
};

/* Sanitizers read their own process through ptrace and /proc, and make calls that no program of ours makes. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED true
#else
#define SANITIZED false
#endif

static int set_user(const char *name, struct err **e)
{
    struct passwd *pw = getpwnam(name);
    if (!pw)
        return err_set(e, ERR_NOT_FOUND, "user \"%s\" does not exist (create it with: useradd --system --no-create-home --shell /usr/sbin/nologin %s)", name, name);
    if (setgroups(0, NULL) < 0 || setresgid(pw->pw_gid, pw->pw_gid, pw->pw_gid) < 0 || setresuid(pw->pw_uid, pw->pw_uid, pw->pw_uid) < 0)
        return err_errno(e, errno, "become user \"%s\"", name);
    if (pw->pw_uid != 0 && setuid(0) == 0)
        return err_set(e, ERR_INTERNAL, "user \"%s\" could become root again", name);
    return 0;
}

#define RIGHTS_READ (LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR)
#define RIGHTS_WRITE                                                                                                                      \
    (LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR | LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_REMOVE_DIR |         \
        LANDLOCK_ACCESS_FS_REMOVE_FILE | LANDLOCK_ACCESS_FS_MAKE_DIR | LANDLOCK_ACCESS_FS_MAKE_REG | LANDLOCK_ACCESS_FS_MAKE_SOCK)
#define RIGHTS_FILE (LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_READ_FILE)
#define RIGHTS_ALL                                                                                                                        \
    (RIGHTS_READ | RIGHTS_WRITE | LANDLOCK_ACCESS_FS_MAKE_CHAR | LANDLOCK_ACCESS_FS_MAKE_FIFO | LANDLOCK_ACCESS_FS_MAKE_BLOCK |           \
        LANDLOCK_ACCESS_FS_MAKE_SYM)

int lockdown_landlock_abi(void)
{
    long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
    return abi < 0 ? 0 : (int)abi;
}

/* A folder or file that does not exist is left out: it cannot be reached either way. */
static int allow_path(int rules, const char *path, uint64_t rights, struct err **e)
{
    _cleanup_(closep) int fd = open(path, O_PATH | O_CLOEXEC | O_DIRECTORY);
    if (fd < 0) {
        fd = open(path, O_PATH | O_CLOEXEC);
        rights &= RIGHTS_FILE;
    }
    if (fd < 0)
        return 0;
    struct landlock_path_beneath_attr a = {.allowed_access = rights, .parent_fd = fd};
    if (syscall(SYS_landlock_add_rule, rules, LANDLOCK_RULE_PATH_BENEATH, &a, 0) < 0)
        return err_errno(e, errno, "landlock: %s", path);
    return 0;
}

static int set_landlock(const struct lockdown *l, struct err **e)
{
    static const char *const system_read[] = {"/lib", "/lib64", "/usr", "/etc", "/proc", "/sys/fs/cgroup", "/sys/devices/system/cpu", NULL};
    struct landlock_ruleset_attr attr = {.handled_access_fs = RIGHTS_ALL};
    if (lockdown_landlock_abi() < 1)
        return 0;
    _cleanup_(closep) int rules = (int)syscall(SYS_landlock_create_ruleset, &attr, sizeof attr, 0);
    if (rules < 0)
        return err_errno(e, errno, "landlock");
    int r = 0;
    for (size_t i = 0; system_read[i] && r == 0; i++)
        r = allow_path(rules, system_read[i], RIGHTS_READ, e);
    for (size_t i = 0; l->readable && l->readable[i] && r == 0; i++)
        r = allow_path(rules, l->readable[i], RIGHTS_READ, e);
    for (size_t i = 0; l->writable && l->writable[i] && r == 0; i++)
        r = allow_path(rules, l->writable[i], RIGHTS_WRITE, e);
    if (r == 0)
        r = allow_path(rules, "/dev/null", RIGHTS_FILE, e);
    if (r == 0)
        r = allow_path(rules, "/dev/urandom", RIGHTS_FILE, e);
    if (r == 0 && syscall(SYS_landlock_restrict_self, rules, 0) < 0)
        r = err_errno(e, errno, "landlock");
    return r;
}

static int set_seccomp(struct err **e)
{
    scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_ERRNO(EPERM));
    int r = ctx ? 0 : -ENOMEM;
    for (size_t i = 0; i < ARRAY_LEN(allowed) && r == 0; i++) {
        int nr = seccomp_syscall_resolve_name(allowed[i]);
        if (nr != __NR_SCMP_ERROR && nr >= 0) /* unknown to this library or architecture: nothing to allow */
            r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, nr, 0);
    }
    if (r == 0)
        r = seccomp_load(ctx);
    seccomp_release(ctx);
    return r == 0 ? 0 : err_errno(e, -r, "seccomp");
}

int lockdown_apply(const struct lockdown *l, struct err **e)
{
    struct rlimit no_core = {0, 0};
    if (l->user && set_user(l->user, e) < 0)
        return -(int)(e && *e ? (*e)->code : ERR_INTERNAL);
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return err_errno(e, errno, "no_new_privs");
    if (setrlimit(RLIMIT_CORE, &no_core) < 0)
        return err_errno(e, errno, "core limit");
    if (!SANITIZED && prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
        return err_errno(e, errno, "dumpable");
    int r = set_landlock(l, e);
    return r < 0 || SANITIZED ? r : set_seccomp(e);
}
