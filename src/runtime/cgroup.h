/* Control groups: the tree of pods, on cgroup v2 and on v1 (pure or hybrid), as the kubelet lays it out:
 *
 *     <root>/{guaranteed,burstable,besteffort}/pod<uid>/sandbox         our pause process and conmons
 *     <root>/{guaranteed,burstable,besteffort}/pod<uid>/<container id>  made by the OCI runtime
 *
 * A path here is relative to every hierarchy's mount point and starts with the root, e.g. "sampan/burstable/pod1234/sandbox". The tree is
 * also the last word on what belongs to a pod: whatever process stands below pod<uid> is the pod's, so that killing the tree leaks nothing
 * whatever was journalled.
 *
 * All functions touch only folders below <root>. They block (cgroupfs); cgroup_kill and cgroup_remove can wait for a while: call them from
 * a helper process.
 */
#pragma once
#include "base/buf.h"
#include "base/err.h"

struct cgroups;
struct cgroup_limits {          /* 0: none */
    int64_t cpu_request_milli, cpu_limit_milli, memory, pids;
};
struct cgroup_usage {
    int64_t cpu_ns, memory, working_set, rss, pids;
}; /* working_set: memory without inactive file pages, as the kubelet counts it */

/* root: names of [a-zA-Z0-9._-] joined by '/', no leading slash. Finds the hierarchies in /proc/self/mountinfo and makes <root> and the
 * three QoS folders. */
int cgroups_open(const char *root, struct cgroups **out, struct err **e) _must_check_;
void cgroups_free(struct cgroups *c);
DEFINE_CLEANUP(struct cgroups *, cgroups_free)
bool cgroups_v2(const struct cgroups *c);
bool cgroups_hybrid(const struct cgroups *c); /* v1 with cgroup2 at /sys/fs/cgroup/unified: crun wants it hidden (isolate.h) */
const char *cgroups_root(const struct cgroups *c);

void cgroup_pod_path(
    const struct cgroups *c, struct str qos, struct str uid, struct buf *out); /* qos as in Kubernetes: Guaranteed, Burstable, BestEffort */
/* What guaranteed and burstable pods together ask for: the folders' shares, as the kubelet sets them, so that each class gets its part when
 * all want the CPU. */
void cgroup_qos_shares(struct cgroups *c, int64_t guaranteed_milli, int64_t burstable_milli);
int cgroup_make(struct cgroups *c, const char *path, struct err **e) _must_check_; /* with parents, in all hierarchies; existing is fine */
int cgroup_limit(struct cgroups *c, const char *path, const struct cgroup_limits *l, struct err **e) _must_check_;
int cgroup_join(struct cgroups *c, const char *path, pid_t pid /* 0: the caller */, struct err **e) _must_check_;
/* SIGKILL to everything below path until nothing is left or timeout_ms passed. */
int cgroup_kill(struct cgroups *c, const char *path, int timeout_ms, struct err **e) _must_check_;
int cgroup_signal(struct cgroups *c, const char *path, int signo); /* once, to every process below; returns how many */
int cgroup_remove(
    struct cgroups *c, const char *path, struct err **e) _must_check_; /* with everything below, in all hierarchies; absent is fine */
bool cgroup_empty(struct cgroups *c, const char *path);
int64_t cgroup_oom_kills(struct cgroups *c, const char *path);                                  /* 0 when it cannot be told */
bool cgroup_usage(struct cgroups *c, const char *path, struct cgroup_usage *out);               /* false: no such group */
/* fn for each pod folder that exists in any hierarchy: its path and the uid. */
void cgroup_each_pod(struct cgroups *c, void (*fn)(void *arg, const char *path, struct str uid), void *arg);
int64_t cgroup_cpu_shares(int64_t milli); /* kubelet's MilliCPUToShares: at least 2 */
int64_t cgroup_cpu_weight(int64_t shares); /* v2: 1..10000 */
