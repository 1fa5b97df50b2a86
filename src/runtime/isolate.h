/* What a pod's mount namespace needs before anything is mounted in it. To be called in a child that has its own mount namespace. */
#pragma once
#include "base/err.h"

/* crun refuses a machine where cgroup2 stands beside v1 ("hybrid"). In this namespace alone /sys/fs/cgroup becomes private and an empty
 * tmpfs covers unified; propagation of everything else stays as it is. Nothing happens on a machine that is not hybrid. */
int isolate_cgroups(struct err **e) _must_check_;
/* Makes dir a mount point of its own that is private, so that mounts below it are seen in this namespace only and vanish with its last
 * process. The mount that dir stands on becomes a slave here: what the machine mounts later still arrives. */
int isolate_dir(const char *dir, struct err **e) _must_check_;
/* The whole environment of crun, conmon and what they start. Nothing of ours is passed on: NOTIFY_SOCKET (from systemd) makes `crun start` wait for
 * a READY that no container sends, and /proc/PID/environ of a monitor must not show a join token. */
extern char *const isolate_env[];
