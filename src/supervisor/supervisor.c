#include "supervisor/supervisor.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "http/http.h"
#include "node/proto.h"
#include "supervisor/broker.h"
#include "supervisor/layout.h"
#include "supervisor/procs.h"

#define BACKOFF_MIN (100 * NS_PER_MS)
#define BACKOFF_MAX (10 * NS_PER_S)
#define LIFE_GOOD (60 * NS_PER_S)
#define STOP_TIMEOUT (20 * NS_PER_S)

enum proc { PROC_API, PROC_NODE, PROC_GATE, PROCS };
static const char *const proc_names[PROCS] = {"api", "node", "gate"};

/*      ┌────────── back-off over ─────────┐
 *      v                                  │
 *   RUNNING ── ended ──> WAITING ─────────┘      any ── stop ──> STOPPED
 */
enum proc_state { PROC_OFF, PROC_RUNNING, PROC_WAITING, PROC_STOPPED };

struct sup;
struct process {
    struct sup *sup;
    enum proc which;
    enum proc_state state;
    bool wanted;
    pid_t pid;
    struct child child;
    struct timer restart;
    struct wire *broker;
    int64_t started, backoff;
};

struct sup {
    const struct options *o;
    struct loop *loop;
    struct process procs[PROCS];
    struct layout layout;
    int https_fd, local_fd;
    bool stopping, ready;
    struct timer stop_limit;
    int code;
};

static void start_process(struct process *p);
static void stop_all(struct sup *s, int code);

/* ---- what children say ---- */

static void tell_systemd(const char *state)
{
    const char *path = getenv("NOTIFY_SOCKET");
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    if (!path || strlen(path) >= sizeof a.sun_path)
        return;
    memcpy(a.sun_path, path, strlen(path));
    if (a.sun_path[0] == '@')
        a.sun_path[0] = 0;
    _cleanup_(closep) int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && sendto(fd, state, strlen(state), MSG_NOSIGNAL, (struct sockaddr *)&a, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(path))) < 0)
        log_warn("systemd could not be told: %s", strerror(errno));
}

static void on_ready(struct sup *s, struct str body)
{
    _cleanup_(pool_freep) struct pool *pool = pool_new();
    _cleanup_(err_freep) struct err *e = NULL;
    struct broker_ready m = {0};
    if (wire_decode(&broker_ready_type, body, pool, &m, &e) < 0 || layout_write_access(&s->layout, s->o, &m, &e) < 0) {
        log_error("%s", err_msg(e));
        return;
    }
    if (!str_empty(m.admin_password)) {
        printf("hub: administrator \"admin\", password \"%.*s\" (shown once; change it after the first login)\n", STR_ARG(m.admin_password));
        fflush(stdout);
    }
    if (!s->ready)
        log_info("API is ready on port %" PRId64, s->o->https_listen_port);
    s->ready = true;
    tell_systemd("READY=1");
}

/* api may not read every file that an administrator puts into the manifests folder; it is handed the open file. */
static void on_open(struct process *p, struct str body)
{
    _cleanup_(pool_freep) struct pool *pool = pool_new();
    _cleanup_(err_freep) struct err *e = NULL;
    struct broker_file m = {0};
    _cleanup_(closep) int fd = wire_decode(&broker_file_type, body, pool, &m, &e) < 0 ? -1 : layout_open_manifest(&p->sup->layout, m.path, &e);
    if (e)
        log_warn("manifests: %s", err_msg(e));
    wire_send(p->broker, BROKER_OPENED, 0, &broker_file_type, &m, &fd, fd >= 0);
}

static void on_broker_msg(void *arg, struct wire_msg *m)
{
    struct process *p = arg;
    if (m->type == BROKER_READY && p->which == PROC_API)
        on_ready(p->sup, m->body);
    else if (m->type == BROKER_OPEN && p->which == PROC_API)
        on_open(p, m->body);
    else
        log_warn("%s sent an unknown message %u", proc_names[p->which], m->type);
}

static void on_broker_close(void *arg, const struct err *e)
{
    struct process *p = arg;
    (void)e; /* the child's end is told by its pidfd */
    wire_free(TAKE(p->broker));
}

static const struct wire_ops broker_ops = {on_broker_msg, on_broker_close};

/* ---- processes ---- */

/* In the child: nothing of the supervisor's is kept but what the process is given. */
static _noreturn_ void child_main(struct process *p, int broker_fd, int link_fd)
{
    struct sup *s = p->sup;
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    prctl(PR_SET_NAME, proc_names[p->which], 0, 0, 0);
    struct proc_fds fds = {.broker = broker_fd, .link = link_fd, .https = p->which == PROC_API ? s->https_fd : -1, .local = p->which == PROC_API ? s->local_fd : -1};
    procs_keep_only(&fds);
    log_init(proc_names[p->which], LOG_INFO);
    procs_log_level(s->o);
    int code = p->which == PROC_API ? proc_api(s->o, &s->layout, &fds) : p->which == PROC_GATE ? proc_gate(s->o, &s->layout, &fds) : proc_node(s->o, &s->layout, &fds);
    exit(code);
}

static void on_restart_due(struct timer *t)
{
    start_process(container_of(t, struct process, restart));
}

static void on_child_end(struct child *c, int status)
{
    struct process *p = container_of(c, struct process, child);
    struct sup *s = p->sup;
    int64_t life = loop_now(s->loop) - p->started;
    wire_free(TAKE(p->broker));
    p->pid = 0;
    if (s->stopping) {
        p->state = PROC_STOPPED;
        stop_all(s, s->code);
        return;
    }
    bool fatal = WIFEXITED(status) && WEXITSTATUS(status) == PROC_EXIT_FATAL; /* it said why */
    if (fatal && (p->which != PROC_API || !s->procs[PROC_NODE].wanted)) {
        p->state = PROC_STOPPED;
        stop_all(s, 1);
        return;
    }
    log_error("process %s ended (%s %d), starting it again", proc_names[p->which], WIFSIGNALED(status) ? "signal" : "code", WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
    if (fatal) /* a damaged store must not take the pods of this machine with it: they go on, and the store is tried now and then */
        p->backoff = BACKOFF_MAX;
    p->backoff = life > LIFE_GOOD || p->backoff == 0 ? BACKOFF_MIN : MIN(p->backoff * 2, BACKOFF_MAX);
    p->state = PROC_WAITING;
    timer_in(s->loop, &p->restart, p->backoff, on_restart_due);
}

/* A fresh socket between gate and node: one end for the process being started, the other handed to its peer when that runs. */
static int make_link(struct process *p)
{
    struct process *peer = &p->sup->procs[p->which == PROC_GATE ? PROC_NODE : PROC_GATE];
    int pair[2];
    if (p->which == PROC_API || !peer->wanted)
        return -1;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0) {
        log_error("socketpair: %s", strerror(errno));
        return -1;
    }
    if (peer->broker) {
        struct node_empty none = {0};
        wire_send(peer->broker, NODE_LINK, 0, &node_empty_type, &none, &pair[1], 1);
    }
    close(pair[1]); /* a peer that does not run yet is handed a new pair when it starts */
    return pair[0];
}

static void start_failed(struct process *p, const char *what)
{
    log_error("process %s: %s: %s", proc_names[p->which], what, strerror(errno));
    p->state = PROC_WAITING;
    p->backoff = BACKOFF_MAX;
    timer_in(p->sup->loop, &p->restart, p->backoff, on_restart_due);
}

static void start_process(struct process *p)
{
    struct sup *s = p->sup;
    _cleanup_(err_freep) struct err *e = NULL;
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0) {
        start_failed(p, "socketpair");
        return;
    }
    _cleanup_(closep) int link = make_link(p);
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0)
        child_main(p, pair[1], link);
    close(pair[1]);
    if (pid < 0) {
        close(pair[0]);
        start_failed(p, "fork");
        return;
    }
    p->pid = pid;
    p->state = PROC_RUNNING;
    p->started = loop_now(s->loop);
    p->broker = wire_new(s->loop, pair[0], &broker_ops, p, &e);
    if (!p->broker || child_watch(s->loop, &p->child, pid, on_child_end, &e) < 0) {
        log_error("process %s: %s", proc_names[p->which], err_msg(e));
        stop_all(s, 1);
        return;
    }
    log_debug("process %s has pid %d", proc_names[p->which], (int)pid);
}

/* ---- the end ---- */

static void on_stop_limit(struct timer *t)
{
    struct sup *s = container_of(t, struct sup, stop_limit);
    for (int i = 0; i < PROCS; i++)
        if (s->procs[i].state == PROC_RUNNING) {
            log_warn("process %s does not end, killing it", proc_names[i]);
            kill(s->procs[i].pid, SIGKILL);
        }
}

/* Ends what runs, gate first so that it can still hand in its reports, then api, then node; called again as each has ended. */
static void stop_all(struct sup *s, int code)
{
    static const enum proc order[] = {PROC_GATE, PROC_API, PROC_NODE};
    if (!s->stopping) {
        s->stopping = true;
        s->code = code;
        tell_systemd("STOPPING=1");
        timer_in(s->loop, &s->stop_limit, STOP_TIMEOUT, on_stop_limit);
    }
    for (size_t i = 0; i < ARRAY_LEN(order); i++) {
        struct process *p = &s->procs[order[i]];
        timer_del(&p->restart);
        if (p->state == PROC_RUNNING) {
            kill(p->pid, SIGTERM);
            return;
        }
    }
    loop_stop(s->loop, s->code);
}

static void on_signal(void *arg, int signo)
{
    (void)signo;
    if (!((struct sup *)arg)->stopping)
        stop_all(arg, 0);
}

static int open_sockets(struct sup *s, struct err **e)
{
    s->https_fd = s->local_fd = -1;
    if (s->o->role != ROLE_SERVER && s->o->role != ROLE_HUB)
        return 0;
    bool v6 = strchr(s->o->bind_address, ':') != NULL;
    _cleanup_(freep) char *at = xasprintf(v6 ? "[%s]:%" PRId64 : "%s:%" PRId64, s->o->bind_address, s->o->https_listen_port);
    s->https_fd = http_bind(at, 1024, e);
    if (s->https_fd < 0)
        return s->https_fd;
    _cleanup_(freep) char *local = xasprintf("unix:%s", s->layout.api_socket);
    if (unlink(s->layout.api_socket) < 0 && errno != ENOENT)
        return err_errno(e, errno, "remove %s", s->layout.api_socket);
    s->local_fd = http_bind(local, 128, e);
    if (s->local_fd < 0)
        return s->local_fd;
    return layout_own_socket(&s->layout, e);
}

static bool in_path(const char *program)
{
    struct str rest = str_of(getenv("PATH")), folder;
    while (str_split(&rest, ':', &folder)) {
        _cleanup_(freep) char *path = xasprintf("%.*s/%s", STR_ARG(folder), program);
        if (access(path, X_OK) == 0)
            return true;
    }
    return false;
}

static int prepare(struct sup *s, struct err **e)
{
    static const char *const needed[] = {"crun", "conmon"};
    for (size_t i = 0; s->procs[PROC_NODE].wanted && i < ARRAY_LEN(needed); i++)
        if (!in_path(needed[i]))
            return err_set(e, ERR_NOT_FOUND, "%s is not installed: apt-get install %s (or --disable-agent to run no pods here)", needed[i], needed[i]);
    int r = layout_make(&s->layout, s->o, e);
    return r < 0 ? r : open_sockets(s, e);
}

static int fail(struct err *e)
{
    fprintf(stderr, "sampan: %s\n", err_msg(e));
    return 1;
}

static void want(struct sup *s)
{
    enum role r = s->o->role;
    bool node = (r == ROLE_SERVER && !s->o->disable_agent) || r == ROLE_AGENT;
    s->procs[PROC_API].wanted = r == ROLE_SERVER || r == ROLE_HUB;
    s->procs[PROC_NODE].wanted = node;
    s->procs[PROC_GATE].wanted = node || r == ROLE_CONNECT || (r == ROLE_SERVER && s->o->hub);
    for (int i = 0; i < PROCS; i++) {
        s->procs[i].sup = s;
        s->procs[i].which = (enum proc)i;
    }
}

int supervisor_run(const struct options *o)
{
    static const int signals[] = {SIGTERM, SIGINT, SIGHUP};
    struct sup s = {.o = o};
    _cleanup_(err_freep) struct err *e = NULL;
    if (geteuid() != 0)
        return err_set(&e, ERR_FORBIDDEN, "must be run as root"), fail(e);
    log_init("supervisor", LOG_INFO);
    procs_log_level(o);
    want(&s);
    signal(SIGPIPE, SIG_IGN);
    s.loop = loop_new(&e);
    if (!s.loop || prepare(&s, &e) < 0 || loop_signals(s.loop, signals, 2, on_signal, &s, &e) < 0) {
        layout_clear(&s.layout);
        loop_free(s.loop);
        return fail(e);
    }
    for (int i = 0; i < PROCS; i++)
        if (s.procs[i].wanted)
            start_process(&s.procs[i]);
    int code = loop_run(s.loop);
    for (int i = 0; i < PROCS; i++) {
        timer_del(&s.procs[i].restart);
        wire_free(s.procs[i].broker);
    }
    timer_del(&s.stop_limit);
    loop_free(s.loop);
    if (s.https_fd >= 0)
        close(s.https_fd);
    if (s.local_fd >= 0)
        close(s.local_fd);
    layout_clear(&s.layout);
    return code;
}
