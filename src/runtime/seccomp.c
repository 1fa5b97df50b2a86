#include "runtime/oci.h"
#include <linux/capability.h>

/* The default profile (RuntimeDefault): what moby and containerd allow, as facts of interoperability: images rely on exactly this set.
 * Everything else is refused with EPERM, except clone3 (ENOSYS, so that libc falls back to clone, whose flags can be looked at). Names that
 * libseccomp or the machine does not know are skipped by the OCI runtime. */
static const char *const allowed[] = {
    "_llseek", "_newselect", "accept", "accept4", "access", "adjtimex", "alarm", "bind", "brk", "cachestat", "capget", "capset", "chdir",
    "chmod", "chown", "chown32", "clock_adjtime", "clock_adjtime64", "clock_getres", "clock_getres_time64", "clock_gettime",
    "clock_gettime64", "clock_nanosleep", "clock_nanosleep_time64", "close", "close_range", "connect", "copy_file_range", "creat", "dup",
    "dup2", "dup3", "epoll_create", "epoll_create1", "epoll_ctl", "epoll_ctl_old", "epoll_pwait", "epoll_pwait2", "epoll_wait",
    "epoll_wait_old", "eventfd", "eventfd2", "execve", "execveat", "exit", "exit_group", "faccessat", "faccessat2", "fadvise64",
    "fadvise64_64", "fallocate", "fanotify_mark", "fchdir", "fchmod", "fchmodat", "fchmodat2", "fchown", "fchown32", "fchownat", "fcntl",
    "fcntl64", "fdatasync", "fgetxattr", "flistxattr", "flock", "fork", "fremovexattr", "fsetxattr", "fstat", "fstat64", "fstatat64",
    "fstatfs", "fstatfs64", "fsync", "ftruncate", "ftruncate64", "futex", "futex_requeue", "futex_time64", "futex_wait", "futex_waitv",
    "futex_wake", "futimesat", "get_robust_list", "get_thread_area", "getcpu", "getcwd", "getdents", "getdents64", "getegid", "getegid32",
    "geteuid", "geteuid32", "getgid", "getgid32", "getgroups", "getgroups32", "getitimer", "getpeername", "getpgid", "getpgrp", "getpid",
    "getppid", "getpriority", "getrandom", "getresgid", "getresgid32", "getresuid", "getresuid32", "getrlimit", "getrusage", "getsid",
    "getsockname", "getsockopt", "gettid", "gettimeofday", "getuid", "getuid32", "getxattr", "getxattrat", "inotify_add_watch",
    "inotify_init", "inotify_init1", "inotify_rm_watch", "io_cancel", "io_destroy", "io_getevents", "io_setup", "io_submit", "ioctl",
    "ioprio_get", "ioprio_set", "ipc", "kill", "landlock_add_rule", "landlock_create_ruleset", "landlock_restrict_self", "lchown",
    "lchown32", "lgetxattr", "link", "linkat", "listen", "listmount", "listxattr", "listxattrat", "llistxattr", "lremovexattr", "lseek",
    "lsetxattr", "lsm_get_self_attr", "lsm_list_modules", "lsm_set_self_attr", "lstat", "lstat64", "madvise", "map_shadow_stack",
    "membarrier", "memfd_create", "memfd_secret", "mincore", "mkdir", "mkdirat", "mknod", "mknodat", "mlock", "mlock2", "mlockall",
    "mmap", "mmap2", "mprotect", "mq_getsetattr", "mq_notify", "mq_open", "mq_timedreceive", "mq_timedreceive_time64", "mq_timedsend",
    "mq_timedsend_time64", "mq_unlink", "mremap", "mseal", "msgctl", "msgget", "msgrcv", "msgsnd", "msync", "munlock", "munlockall",
    "munmap", "name_to_handle_at", "nanosleep", "newfstatat", "open", "openat", "openat2", "pause", "pidfd_open", "pidfd_send_signal",
    "pipe", "pipe2", "pkey_alloc", "pkey_free", "pkey_mprotect", "poll", "ppoll", "ppoll_time64", "prctl", "pread64", "preadv", "preadv2",
    "prlimit64", "process_mrelease", "process_vm_readv", "process_vm_writev", "pselect6", "pselect6_time64", "ptrace", "pwrite64",
    "pwritev", "pwritev2", "read", "readahead", "readdir", "readlink", "readlinkat", "readv", "recv", "recvfrom", "recvmmsg",
    "recvmmsg_time64", "recvmsg", "remap_file_pages", "removexattr", "removexattrat", "rename", "renameat", "renameat2",
    "restart_syscall", "rmdir", "rseq", "rt_sigaction", "rt_sigpending", "rt_sigprocmask", "rt_sigqueueinfo", "rt_sigreturn",
    "rt_sigsuspend", "rt_sigtimedwait", "rt_sigtimedwait_time64", "rt_tgsigqueueinfo", "sched_get_priority_max", "sched_get_priority_min",
    "sched_getaffinity", "sched_getattr", "sched_getparam", "sched_getscheduler", "sched_rr_get_interval", "sched_rr_get_interval_time64",
    "sched_setaffinity", "sched_setattr", "sched_setparam", "sched_setscheduler", "sched_yield", "seccomp", "select", "semctl", "semget",
    "semop", "semtimedop", "semtimedop_time64", "send", "sendfile", "sendfile64", "sendmmsg", "sendmsg", "sendto", "set_robust_list",
    "set_thread_area", "set_tid_address", "setfsgid", "setfsgid32", "setfsuid", "setfsuid32", "setgid", "setgid32", "setgroups",
    "setgroups32", "setitimer", "setpgid", "setpriority", "setregid", "setregid32", "setresgid", "setresgid32", "setresuid",
    "setresuid32", "setreuid", "setreuid32", "setrlimit", "setsid", "setsockopt", "setuid", "setuid32", "setxattr", "setxattrat", "shmat",
    "shmctl", "shmdt", "shmget", "shutdown", "sigaction", "sigaltstack", "signal", "signalfd", "signalfd4", "sigpending", "sigprocmask",
    "sigreturn", "sigsuspend", "socketcall", "socketpair", "splice", "stat", "stat64", "statfs", "statfs64", "statmount", "statx",
    "symlink", "symlinkat", "sync", "sync_file_range", "syncfs", "syscall", "sysinfo", "tee", "tgkill", "time", "timer_create",
    "timer_delete", "timer_getoverrun", "timer_gettime", "timer_gettime64", "timer_settime", "timer_settime64", "timerfd",
    "timerfd_create", "timerfd_gettime", "timerfd_gettime64", "timerfd_settime", "timerfd_settime64", "times", "tkill", "truncate",
    "truncate64", "ugetrlimit", "umask", "uname", "unlink", "unlinkat", "utime", "utimensat", "utimensat_time64", "utimes", "vfork",
    "wait4", "waitid", "waitpid", "write", "writev"
};

struct gated { int cap; const char *names[24]; };
static const struct gated by_capability[] = {
    {CAP_DAC_READ_SEARCH, {"open_by_handle_at"}},
    {CAP_SYS_ADMIN, {"bpf", "clone", "clone3", "fanotify_init", "fsconfig", "fsmount", "fsopen", "fspick", "lookup_dcookie", "mount",
                        "mount_setattr", "move_mount", "open_tree", "perf_event_open", "quotactl", "quotactl_fd", "setdomainname",
                        "sethostname", "setns", "syslog", "umount", "umount2", "unshare"}},
    {CAP_SYS_BOOT, {"reboot"}},
    {CAP_SYS_CHROOT, {"chroot"}},
    {CAP_SYS_MODULE, {"delete_module", "init_module", "finit_module"}},
    {CAP_SYS_PACCT, {"acct"}},
    {CAP_SYS_PTRACE, {"kcmp", "pidfd_getfd", "process_madvise"}},
    {CAP_SYS_RAWIO, {"iopl", "ioperm"}},
    {CAP_SYS_TIME, {"settimeofday", "stime", "clock_settime", "clock_settime64"}},
    {CAP_SYS_TTY_CONFIG, {"vhangup"}},
    {CAP_SYS_NICE, {"get_mempolicy", "mbind", "set_mempolicy", "set_mempolicy_home_node"}},
    {CAP_SYSLOG, {"syslog"}},
    {CAP_BPF, {"bpf"}},
    {CAP_PERFMON, {"perf_event_open"}},
};

struct by_arg { const char *name; unsigned index; uint64_t value, value_two; const char *op; };
static const struct by_arg by_argument[] = {
    {"personality", 0, 0x0, 0, "SCMP_CMP_EQ"}, {"personality", 0, 0x8, 0, "SCMP_CMP_EQ"}, {"personality", 0, 0x20000, 0, "SCMP_CMP_EQ"},
    {"personality", 0, 0x20008, 0, "SCMP_CMP_EQ"}, {"personality", 0, 0xffffffff, 0, "SCMP_CMP_EQ"},
    {"socket", 0, 40 /* AF_VSOCK */, 0, "SCMP_CMP_NE"},
};
/* Namespaces that clone may not make without CAP_SYS_ADMIN: NEWNS CGROUP UTS IPC USER PID NET. */
static const struct by_arg clone_plain = {"clone", 0, 0x7E020000, 0, "SCMP_CMP_MASKED_EQ"};

static struct json *rule(struct pool *p, struct json *rules, const char *action)
{
    struct json *r = json_append(rules, json_obj(p));
    json_put_arr(p, r, STR("names"));
    json_set_str(p, r, STR("action"), str_of(action));
    return r;
}

static void name_to(struct pool *p, struct json *r, const char *name)
{
    json_append(json_get(r, STR("names")), json_str_view(p, str_of(name)));
}

static void rule_by_arg(struct pool *p, struct json *rules, const struct by_arg *b)
{
    struct json *r = rule(p, rules, "SCMP_ACT_ALLOW");
    name_to(p, r, b->name);
    struct json *a = json_append(json_put_arr(p, r, STR("args")), json_obj(p));
    json_set_int(p, a, STR("index"), b->index);
    json_set_int(p, a, STR("value"), (int64_t)b->value);
    json_set_int(p, a, STR("valueTwo"), (int64_t)b->value_two);
    json_set_str(p, a, STR("op"), str_of(b->op));
}

struct json *seccomp_default(struct pool *p, uint64_t caps)
{
    struct json *s = json_obj(p), *arches = json_put_arr(p, s, STR("architectures")), *rules = json_put_arr(p, s, STR("syscalls"));
    json_set_str(p, s, STR("defaultAction"), STR("SCMP_ACT_ERRNO"));
    json_set_int(p, s, STR("defaultErrnoRet"), 1);
#if defined __x86_64__
    static const char *const names[] = {"SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"};
    static const char *const own[] = {"arch_prctl", "modify_ldt"};
#elif defined __aarch64__
    static const char *const names[] = {"SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"};
    static const char *const own[] = {"arm_fadvise64_64", "arm_sync_file_range", "sync_file_range2", "breakpoint", "cacheflush", "set_tls"};
#else
    static const char *const names[] = {"SCMP_ARCH_ARM"};
    static const char *const own[] = {"arm_fadvise64_64", "arm_sync_file_range", "sync_file_range2", "breakpoint", "cacheflush", "set_tls"};
#endif
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        json_append(arches, json_str_view(p, str_of(names[i])));
    struct json *r = rule(p, rules, "SCMP_ACT_ALLOW");
    for (size_t i = 0; i < ARRAY_LEN(allowed); i++)
        name_to(p, r, allowed[i]);
    for (size_t i = 0; i < ARRAY_LEN(own); i++)
        name_to(p, r, own[i]);
    for (size_t i = 0; i < ARRAY_LEN(by_capability); i++)
        for (size_t k = 0; caps_has(caps, by_capability[i].cap) && k < ARRAY_LEN(by_capability[i].names) && by_capability[i].names[k]; k++)
            name_to(p, r, by_capability[i].names[k]);
    for (size_t i = 0; i < ARRAY_LEN(by_argument); i++)
        rule_by_arg(p, rules, &by_argument[i]);
    if (!caps_has(caps, CAP_SYS_ADMIN)) {
        rule_by_arg(p, rules, &clone_plain);
        r = rule(p, rules, "SCMP_ACT_ERRNO");
        name_to(p, r, "clone3");
        json_set_int(p, r, STR("errnoRet"), 38);
    }
    return s;
}
