/* Inside the room: the node, its pods, their containers. One loop, one thread; whatever blocks runs in helper processes (runtime/helper.h).
 *
 * pod_step is level-triggered: it looks at what should be and what is, starts what comes next and returns; every completion calls it again.
 * States and their allowed moves are tables (state.c), asserted at each move.
 *
 * A pod                                          A container
 *
 *   NEW ──► SETUP ──► READY ──► FINISHED           IDLE ──► CREATING ──► STARTING ──► RUNNING ──► STOPPING
 *    ▲        │         │           │                ▲          │            │           │           │
 *    │        ▼         ▼           │                │          ▼            ▼           ▼           ▼
 *    ├───── WAITING   RESETTING     │                ├────────────────── REMOVING ◄──────────────────┘
 *    │   (try again)  (sandbox died)│                │                       │
 *    └──────────────────┘           │                └───────────────────────┴──► DONE (will not run again)
 *             any ──► STOPPING ──► CLEANING ──► GONE
 *
 * On disk, below <data-dir>/node (root only):
 *   config                     the last NODE_CONFIG
 *   pods/<uid>/spec            the last NODE_POD, as it came
 *   pods/<uid>/state           journal: written before every step that makes something that would have to be cleaned (journal.c)
 *   pods/<uid>/etc/            hosts, hostname, resolv.conf
 *   pods/<uid>/volumes/<name>/
 *   pods/<uid>/logs/<container>/<n>.log
 *   pods/<uid>/c/<id>/         a container's bundle: config.json, upper, work, conmon's files
 *   store/                     images (image/image.h)
 * and below <run-dir>/node what dies with the machine: crun/, exits/, pods/<uid>/ (the sandbox's private place for mounts).
 */
#pragma once
#include "base/map.h"
#include "base/wire.h"
#include "image/image.h"
#include "net/net.h"
#include "node/node.h"
#include "node/proto.h"
#include "runtime/container.h"
#include "runtime/helper.h"
#include "volume/volume.h"

#define UID_MAX 64
#define TEXT_MAX 4096

enum pod_state { PS_NEW, PS_SETUP, PS_WAITING, PS_READY, PS_RESETTING, PS_FINISHED, PS_STOPPING, PS_CLEANING, PS_GONE, PS_COUNT };
enum con_state { CON_IDLE, CON_CREATING, CON_STARTING, CON_RUNNING, CON_STOPPING, CON_REMOVING, CON_DONE, CON_COUNT };

struct node {
    pid_t pid;                  /* our own: its children find the machine's mounts by it */
    struct loop *loop;
    struct clock *clock;
    const struct node_options *opt;
    char *dir, *run, *pods_dir, *run_pods_dir, *air_gap, *boot_id;
    struct runtime rt;
    char *conmon, *crun, *state_dir, *exit_dir;
    struct cgroups *cgroups;
    struct image_store *images;
    struct net *net;
    struct wire *gate, *broker;
    struct pool *config_pool;
    struct node_config config;
    bool configured;
    struct map pods;            /* uid → struct pod */
    struct map streams;         /* request id as text → struct stream */
    struct list removals;       /* of provisioned volumes, under way */
    struct list jobs;           /* image jobs that wait: one at a time */
    struct image_job *job;
    struct timer stats_timer, log_timer;
    struct defer qos;           /* shares of the QoS classes are to be counted anew */
    struct watch plugins_watch; /* the registration folder */
    struct watch images_watch;  /* another process changed the store */
    struct helper *scanning;    /* counts what pods use on disk */
    int64_t last_eviction;
    unsigned ticks;
    int disk_used_percent;
    struct node_pressure pressure;
    int64_t low_at[3];          /* when memory, disk, pids were last seen low; 0: never */
    bool collecting;            /* images, from IMAGE_GC_HIGH down to IMAGE_GC_LOW */
};

struct run_result {             /* how a run of a container ended */
    char *id, *reason, *message;
    int64_t started, finished, exit_code;
};
struct container {
    struct pod *pod;
    char *name;
    uint64_t kind;              /* enum node_container_kind */
    const struct node_container *spec; /* into pod->spec; NULL when the newest spec no longer has it */
    enum con_state state;
    char *id, *bundle, *image_id;
    uint64_t spec_hash, restarts;
    pid_t pid;
    uint64_t pid_start;
    struct process conmon;
    struct watch conmon_watch;
    int64_t started, backoff, next_at, last_update;
    bool started_ok, ran, ended, killed_by_us, want_restart, oom;
    struct con_limits { int64_t cpu_request, cpu_limit, memory_request, memory_limit; bool known; } applied; /* what this run has */
    bool startup_ok;            /* gate said NODE_STARTED of this run */
    bool hook_asked;            /* gate performs a hook of this run */
    struct run_result now, last;
    char *waiting_reason, *waiting_message;
    struct container_create *creating;
    struct tool *starting;
    struct helper *removing;
    struct exec *hook;
    struct timer backoff_timer, stop_timer, hook_timer;
    int64_t stop_until;
    int64_t fs_used;            /* writable layer and logs, as last counted */
    bool pre_stop_done;
};

struct pod {
    struct node *node;
    char *uid, *dir, *run, *cgroup, *sandbox_cgroup, *ip;
    struct pool *pool;          /* of spec */
    struct node_pod spec;
    enum pod_state state;
    struct sandbox *sandbox;
    struct process pause;       /* as journalled */
    struct container **c; size_t nc;
    bool kept;                  /* gate wants it, and cannot say yet in which form */
    bool stop, synced, deadline_passed, evicted, logged_wait;
    int64_t grace_ns, stop_until, started, setup_delay;
    char *reason, *message, *handler;
    struct helper *helper;
    struct timer retry, deadline;
    struct defer step, report;
    bool failed_final;          /* an init container failed for good */
    uint64_t applied;           /* generation of the spec whose limits are in force */
    char *resize_error;
    struct timer resize_retry;
    bool restart_all;           /* a restart rule asked for it: all stop, then all begin anew, init containers first */
};

/* state.c */
const char *pod_state_name(enum pod_state s);
const char *con_state_name(enum con_state s);
void pod_move(struct pod *p, enum pod_state to);
void con_move(struct container *c, enum con_state to);

/* pod.c */
struct pod *pod_new(struct node *n, struct str uid);
void pod_free(struct pod *p);
int pod_take_spec(struct pod *p, struct str body, struct err **e) _must_check_; /* an encoded struct node_pod; checks names and numbers */
int pod_receive(struct node *n, struct str body, struct err **e) _must_check_;
/* A running pod's volume of files gets new contents; pod_take_volume keeps them in its spec too, so that a sandbox made again has them. */
int pod_refresh_volume(struct pod *p, const struct node_volume *v, struct err **e) _must_check_;
int pod_take_volume(struct pod *p, const struct node_volume *v, struct err **e) _must_check_;
void pod_stop(struct pod *p, int64_t grace_s, struct str reason);
void node_qos_changed(struct node *n);
void pod_kick(struct pod *p);    /* pod_step at the end of this turn */
void pod_gone(struct pod *p);
struct container *pod_container(struct pod *p, struct str name);
struct pod *node_pod_by_uid(struct node *n, struct str uid);
bool pod_uid_ok(struct str uid);
void pod_fail(
    struct pod *p, const char *reason, const char *message); /* evicted and the like: stopped for good, kept until gate lets it go */

/* resize.c */
void pod_resize(struct pod *p);  /* limits of running containers follow the spec; tried again when the kernel refuses */
struct con_limits con_limits_of(const struct node_container *c);

/* setup.c: the sandbox */
void pod_setup(struct pod *p);
/* The OCI runtime of the pod's RuntimeClass; NULL with *e filled when this machine has none of that name. */
const char *pod_handler(struct pod *p, struct err **e);
void pod_sandbox_died(void *pod);
struct str pod_hostname(const struct pod *p, struct buf *out);
int pod_limit(struct pod *p, struct err **e) _must_check_;      /* the pod's own cgroup, by the sum of its containers */
int pod_write_etc(struct pod *p, struct err **e) _must_check_;
void pod_volume(const struct pod *p, const struct node_volume *v, struct volume *out, struct pool *pool);
void pod_volume_dirs(const struct pod *p, struct pool *pool, struct volume_dirs *out);

/* con.c */
struct container *con_new(struct pod *p, struct str name, uint64_t kind);
void con_free(struct container *c);
void con_start(struct container *c);                /* IDLE → CREATING */
void con_stop(struct container *c, int64_t grace_ns, const char *why);
int con_watch(struct container *c, struct err **e) _must_check_; /* conmon's end */
void con_resume_backoff(struct container *c);       /* goes on waiting for the next start, after a restart of ours */
void con_ended(struct container *c);                /* reads the exit file, takes stock, removes */
void con_remove(struct container *c);
void con_result(struct container *c, int64_t code, const char *reason, const char *message, int64_t finished);
void con_wait(struct container *c, const char *reason, const char *message);
char *con_cgroup(const struct container *c);
char *con_log_dir(const struct container *c);
char *con_log_path(const struct container *c, uint64_t n);
bool con_should_restart(const struct container *c);
int64_t con_grace(const struct container *c);

/* fill.c: runs in the child that makes the container */
int con_fill(void *con, struct pool *p, int root_fd, struct oci_spec *spec, struct err **e) _must_check_;
int con_oom_score(const struct pod *p, const struct node_container *c);
int64_t node_memory(void);
struct str node_host_ip(struct node *n, struct pool *p);

/* hooks.c */
void con_post_start(struct container *c);           /* sets started_ok, at once or later */
bool con_pre_stop(struct container *c, int64_t timeout_ns); /* false: there is none */
void con_hooks_cancel(struct container *c);
void hooks_done(struct node *n, struct wire_msg *m);        /* NODE_HOOK_DONE */
void hooks_ask_again(struct node *n);               /* a new gate: what the old one was to do */

/* journal.c */
int journal_replace(const char *path, struct str text, struct err **e) _must_check_; /* whole or not at all against kill -9; not synced */
void pod_save(struct pod *p);
int pod_load(struct pod *p, bool *same_boot, struct err **e) _must_check_;

/* adopt.c */
void adopt_all(struct node *n);
/* clean.c */
void pod_clean(struct pod *p);
void pod_reset(struct pod *p);
void clean_orphans(struct node *n);

/* status.c */
void pod_report(struct pod *p);                     /* coalesced */
void pod_report_now(struct pod *p);
void pod_event(struct pod *p, struct str container, bool warning, const char *reason, const char *fmt, ...) _printf_(5, 6);
void node_reply(struct node *n, uint64_t id, const struct err *e, const int *fds, size_t nfds);

/* stream.c */
void stream_exec(struct node *n, struct wire_msg *m);
void stream_resize(struct node *n, struct wire_msg *m);
void stream_attach(struct node *n, struct wire_msg *m);
void stream_log(struct node *n, struct wire_msg *m);
void stream_connect(struct node *n, struct wire_msg *m);
void stream_listen(struct node *n, struct wire_msg *m);
void stream_drop_all(struct node *n);               /* gate is gone */

/* images.c */
void images_send(struct node *n);
void images_import_folder(struct node *n);
void images_layout(struct node *n, struct wire_msg *m);
void images_remove(struct node *n, struct wire_msg *m);
int images_watch(struct node *n, struct err **e) _must_check_;
void images_jobs_free(struct node *n);
void images_collect(struct node *n);                /* removes unused ones, oldest first, until the disk is below IMAGE_GC_LOW */

/* storage.c: volumes of the class local-path */
int storage_provide(struct pod *p, struct err **e) _must_check_; /* makes what the pod needs and is not there */
void storage_remove(struct node *n, struct wire_msg *m);
void storage_free(struct node *n);

/* plugins.c: the kubelet's folders, for CSI plugins */
int plugins_start(struct node *n, struct err **e) _must_check_;
void plugins_stop(struct node *n);
void plugins_send(struct node *n);
void plugins_connect(struct node *n, struct wire_msg *m);
void plugins_dir(struct node *n, struct wire_msg *m);
bool plugins_target_ok(const struct node *n, struct str uid, struct str path); /* where a plugin publishes a volume of that pod */

/* evict.c */
void evict_start(struct node *n);
void pressure_send(struct node *n);

/* stats.c, host.c, logs.c, services.c */
void stats_send(struct node *n, uint64_t id);
void host_hello(struct node *n);
void host_addresses(struct node *n);
void logs_start(struct node *n);
void services_take(struct node *n, struct wire_msg *m);
void peers_take(struct node *n, struct wire_msg *m);
void paths_send(struct node *n);
void policies_take(struct node *n, struct wire_msg *m);
/* main.c */
void node_link(struct node *n, int fd);
void node_message(void *node, struct wire_msg *m);  /* messages.c */
int node_configure(struct node *n, struct str body, struct err **e) _must_check_;
int64_t node_now(const struct node *n);             /* site clock, ns */
void set_text(char **to, const char *text);         /* frees the old, copies the new; NULL clears */
