/* A rig for node: node_main in a child process and a network namespace of its own, with real conmon and crun, real cgroups below a root of
 * the test's own, an image made from busybox-static; this side plays gate over the socket. rig_end stops everything and checks that nothing
 * is left. */
#pragma once
#include "base/clock.h"
#include "base/map.h"
#include "base/wire.h"
#include "node/node.h"
#include "node/proto.h"

struct rig_reply {
    uint64_t id;
    uint16_t type;
    struct node_reply reply;
    struct node_exec_done done;
    int fds[WIRE_FDS];
    size_t nfds;
    bool got, ended;
};
struct rig {
    struct loop *loop;
    struct wire *wire;
    struct pool *pool;
    pid_t pid;
    int netns;
    char *dir, *cgroup_root;
    const char *boot_id;    /* what the next node shall see as the machine's; NULL: the real one */
    struct map states;      /* uid → struct node_pod_state *, the newest */
    struct map gone;
    struct buf events;      /* "reason container message\n" */
    struct node_images images;
    bool hello;
    uint64_t next_id;
    struct rig_reply replies[64];
    struct node_stats stats;
    bool have_stats;
    struct node_hook_ask hook; /* the last that node wants performed */
    int hooks;
};

struct rig *rig_new(void);              /* skips the test when this machine cannot run it */
void rig_end(struct rig *r);            /* stops all pods, ends node, checks for leftovers */
void rig_start_node(struct rig *r);     /* and connects: config, nothing else */
void rig_kill_node(struct rig *r);      /* SIGKILL */
void rig_term_node(struct rig *r);
void rig_reboot(struct rig *r, const char *boot_id); /* everything dies, <run-dir> is empty, node is started anew */
void rig_sh(struct rig *r, const char *fmt, ...) _printf_(2, 3); /* in the rig's folder */
uint64_t rig_send(struct rig *r, uint16_t type, const struct wire_type *t, const void *msg);
struct rig_reply *rig_ask(
    struct rig *r, uint16_t type, const struct wire_type *t, const void *msg); /* waits for the reply, which must come; the id is new */
void rig_synced(struct rig *r);
bool rig_wait(struct rig *r, int seconds, bool (*cond)(struct rig *r, const void *arg), const void *arg);
void rig_turn(struct rig *r, int ms);

/* One container "main" of the busybox image that runs `sh -c script`. */
struct node_pod rig_pod(struct rig *r, const char *uid, const char *script);
struct node_container rig_container(struct rig *r, const char *name, uint64_t kind, const char *script);
void rig_run(struct rig *r, const struct node_pod *p);
void rig_stop(struct rig *r, const char *uid, int grace);
const struct node_container_state *rig_state(struct rig *r, const char *uid, const char *container); /* NULL when not known */
void rig_wait_state(struct rig *r, const char *uid, const char *container, uint64_t state, const char *reason /* or NULL */);
void rig_wait_gone(struct rig *r, const char *uid);
void rig_wait_log(struct rig *r, const char *uid, const char *container, const char *text);
char *rig_log(
    struct rig *r, const char *uid, const char *container, bool previous); /* text without CRI's prefixes; "" when there is none */
bool rig_event(struct rig *r, const char *text);
char *rig_read_fd(struct rig *r, int fd);       /* to its end, turning the loop */
/* exec with stdout and stderr together; the exit code. */
int rig_exec(struct rig *r, const char *uid, const char *container, const char *script, char **output);
