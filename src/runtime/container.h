/* One container: conmon watches over it, an OCI runtime (crun, runc or another) makes it. Both run in the sandbox's mount namespace
 * (runtime/sandbox.h).
 *
 *     create   fork → join the pod's cgroup → enter the pod's mounts → mount the root → write config.json → become conmon → conmon runs
 * "crun create" start    crun start end      conmon writes <exit_dir>/<id> and ends; its pidfd tells us remove   crun delete, unmount,
 * delete the bundle
 *
 * conmon belongs to nobody: it survives us, keeps the container's output going to its log file (CRI format) and the exit code in the exit
 * file, so that a restarted node process loses nothing. Everything that a container owns on disk stands in its bundle folder.
 */
#pragma once
#include "base/pool.h"
#include "runtime/oci.h"
#include "runtime/sandbox.h"

struct runtime {                    /* lives as long as everything made with it; strings are the owner's */
    struct loop *loop;
    struct cgroups *cgroups;
    const char *conmon;             /* path of the program */
    const char *state_dir;          /* the OCI runtime's --root; below <run-dir> */
    const char *exit_dir;           /* conmon's exit files */
    const char *run_dir;            /* console sockets */
};
/* Finds a program in PATH; NULL when it is not there. The caller frees. */
char *runtime_find(const char *name);

struct container_spec {
    const char *id;                 /* hex */
    const char *bundle;             /* existing folder */
    const char *handler;            /* path of the OCI runtime */
    const char *log_path;
    const char *cgroup;             /* the pod's sandbox cgroup, for conmon */
    const char *layers_dir;         /* overlay: lower folders are named relative to it */
    const char *lower;              /* "a:b:c", topmost first */
    const char *root;               /* where the overlay is mounted, inside the sandbox's private folder */
    int mount_ns;
    bool tty, stdin_open, stdin_once;
    /* In the child, when the root is mounted (root_fd): completes the specification. Strings from pool. */
    int (*fill)(void *arg, struct pool *p, int root_fd, struct oci_spec *spec, struct err **e);
    void *arg;
};
struct container_made { pid_t pid; struct process conmon; };
struct container_create;
/* done, once: e NULL and what was made, or why not. The handle is gone then. */
struct container_create *container_create(struct runtime *r, const struct container_spec *spec,
    void (*done)(void *owner, const struct err *e, const struct container_made *m), void *owner, struct err **e);
void container_create_cancel(struct container_create *c); /* done is not called; kills what was started (the cgroup gets the rest) */

/* A tool of the OCI runtime in the pod's mount namespace (mount_ns -1: a fresh one with cgroups isolated). Output is stdout and stderr, up
 * to 64 KiB. */
struct tool;
struct tool *tool_start(struct loop *l, int mount_ns, const char *const *argv, int timeout_ms,
    void (*done)(void *owner, int code, struct str output), void *owner, struct err **e);
void tool_cancel(struct tool *t);
struct tool *container_start(struct runtime *r, const char *handler, int mount_ns, const char *id,
    void (*done)(void *owner, int code, struct str output), void *owner, struct err **e);

/* Blocking, for a helper process: "delete --force", kill what is left in cgroup, unmount root, delete the bundle. Absent parts are fine. */
int container_remove(const struct runtime *r, const char *handler, int mount_ns, const char *id, const char *bundle, const char *root,
    const char *cgroup, struct err **e) _must_check_;

/* conmon's exit file: false when there is none. finished: ns since 1970. */
bool container_exit_file(const struct runtime *r, const char *id, int *code, int64_t *finished);
void container_exit_file_remove(const struct runtime *r, const char *id);
int container_attach(const char *bundle, struct err **e);       /* a socket connected to conmon's attach socket, or -code */
int container_control(const char *bundle, struct err **e);      /* conmon's control fifo, opened for writing, or -code */
int container_reopen_log(const char *bundle, struct err **e) _must_check_;
int container_tty_size(const char *bundle, unsigned width, unsigned height, struct err **e) _must_check_;

/* A process in a running container: "crun exec". */
struct exec_spec {
    const char *handler, *id;
    int mount_ns;
    const struct str *argv; size_t nargv;
    bool tty, in, out, err;
    int oom_score_adj;              /* the container's: the OCI runtime would leave ours */
    int timeout_ms;                 /* 0: none; the process is killed then and the code is 124 with a message */
};
struct exec;
/* ready: fds are [stdin, stdout, stderr], -1 for those not asked for, or [pty]; the receiver owns them. e: could not be started (done
 * follows all the same). done, once: the exit code (128 + signal), or -1 and a message. The handle is gone then. */
struct exec_ops {
    void (*ready)(void *owner, int *fds, size_t nfds);
    void (*done)(void *owner, int code, const char *message);
};
struct exec *exec_start(struct runtime *r, const struct exec_spec *spec, const struct exec_ops *ops, void *owner, struct err **e);
int exec_resize(struct exec *x, unsigned width, unsigned height, struct err **e) _must_check_;
void exec_cancel(struct exec *x);   /* kills it; done is not called */
