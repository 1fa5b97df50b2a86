/* A pod's sandbox: the namespaces that its containers share (network, IPC, UTS, mounts, and PIDs when asked), held by a pause process of
 * our own.
 *
 * The mount namespace is the idea that keeps the machine clean: root file systems, in-memory volumes and subPath binds of a pod are mounted
 * in it, below one private folder, and nowhere else. When the last process of the pod is gone the kernel drops them all; there is nothing
 * to unmount after kill -9 or a crash. conmon and the OCI runtime run in this namespace too (runtime/container.h); the node reaches what is
 * in it through /proc/<pause>/root.
 *
 * A start has two steps, with the journal between them: sandbox_start makes the process, in its cgroup, waiting; the caller writes down
 * sandbox's pid and start time; sandbox_go lets it work. If the caller dies in between, the child sees its pipe close and ends.
 */
#pragma once
#include "base/loop.h"
#include "runtime/cgroup.h"

struct sandbox;
struct sandbox_sysctl { const char *name, *value; }; /* name with dots, checked by sandbox_sysctl_allowed */
struct sandbox_spec {
    const char *dir;              /* the pod's folder below <run-dir>: becomes the private place for mounts */
    const char *hostname;         /* NULL: the host's UTS namespace */
    bool host_network, host_ipc, share_pids;
    const struct sandbox_sysctl *sysctls; size_t nsysctls;
    const char *cgroup;           /* pod's sandbox cgroup; must exist */
    /* Runs in the child inside its namespaces, before the pause program: mounts and fills volumes. */
    int (*prepare)(void *arg, struct err **e);
    void *arg;
};
struct process { pid_t pid; uint64_t start; /* field 22 of /proc/<pid>/stat: tells a recycled pid */ };

/* done: e is NULL when the pause program runs. The sandbox stays the caller's either way. */
int sandbox_start(struct loop *l, struct cgroups *c, const struct sandbox_spec *spec, struct sandbox **out, struct err **e) _must_check_;
int sandbox_go(struct sandbox *s, void (*done)(void *owner, const struct err *e), void *owner, struct err **e) _must_check_;
/* After a restart of this process: takes over a pause process that is still there; NULL when it is gone or somebody else has its pid. */
struct sandbox *sandbox_adopt(struct loop *l, struct process p);
struct process sandbox_process(const struct sandbox *s);
int sandbox_mount_ns(const struct sandbox *s); /* a descriptor of its mount namespace: holds it; the sandbox's own; -1 when it is gone */
int sandbox_net_ns(const struct sandbox *s);   /* the same of the network namespace */
/* Called once when the pause process ends by itself. */
void sandbox_on_death(struct sandbox *s, void (*fn)(void *owner), void *owner);
/* Forgets it; the process lives on. To end it, kill its cgroup. */
void sandbox_free(struct sandbox *s);
DEFINE_CLEANUP(struct sandbox *, sandbox_free)

bool sandbox_sysctl_allowed(struct str name); /* namespaced ones only: net.*, kernel.shm*, kernel.msg*, kernel.sem, fs.mqueue.* */
uint64_t process_start_time(pid_t pid);       /* 0: no such process */
/* A pidfd for exactly this process; -1 with errno ESRCH when it is gone. */
int process_open(struct process p);

extern const unsigned char pause_program[];   /* the pause program (runtime/pause/pause.c) */
extern const size_t pause_program_size;
