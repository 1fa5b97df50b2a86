#include "tools.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <sys/mount.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/file.h"
#include "base/log.h"
#include "harness.h"
#include "image/image.h"
#include "runtime/cgroup.h"

static void sh(const char *fmt, ...) _printf_(1, 2);
static void sh(const char *fmt, ...)
{
    struct buf cmd = BUF_INIT, out = BUF_INIT;
    struct err *e = NULL;
    va_list ap;
    va_start(ap, fmt);
    buf_vprintf(&cmd, fmt, ap);
    va_end(ap);
    const char *const argv[] = {"sh", "-ec", cmd.p, NULL};
    int code = spawn_wait(argv, &out, 65536, 60000, &e);
    if (code != 0)
        test_fail(__FILE__, __LINE__, "%s: %d %s", cmd.p, code, out.p ? out.p : err_msg(e));
    buf_clear(&cmd);
    buf_clear(&out);
}

static char *have(const char *program)
{
    const char *const argv[] = {"sh", "-c", "command -v \"$0\"", program, NULL};
    struct buf out = BUF_INIT;
    if (spawn_wait(argv, &out, 256, 5000, NULL) != 0)
        test_skip("needs root, crun, conmon and busybox");
    return buf_take(&out);
}

static char archive_dir[] = "/tmp/sampan-node-image-XXXXXX";
static pid_t archive_maker;

/* Imported once for the whole program; its store is copied for each test by hard links of nothing: the archive is imported by node's
 * air-gap folder. */
static const char *archive(void)
{
    static char path[sizeof archive_dir + 8];
    if (!*path) {
        char *dir = archive_dir;
        if (!mkdtemp(dir))
            test_fail(__FILE__, __LINE__, "mkdtemp");
        archive_maker = getpid();
        sh("cd %s && mkdir -p r/bin r/etc r/tmp r/root && chmod 1777 r/tmp && cp $(command -v busybox) r/bin/busybox && "
           "for a in sh sleep echo cat ls id stat env kill true false mkdir touch dd wc head tail nc hostname ps mount grep sync od tr; do "
           "ln -s busybox r/bin/$a; done && "
           "echo 'root:x:0:0:root:/root:/bin/sh' > r/etc/passwd && echo 'app:x:1000:1001:app:/tmp:/bin/sh' >> r/etc/passwd && echo "
           "'app:x:1001:' > r/etc/group && "
           "echo 'more:x:55:app' >> r/etc/group && %s/tests/image/mkimage.sh a.tar busybox:test r && rm -rf r",
            dir, SAMPAN_SOURCE);
        snprintf(path, sizeof path, "%s/a.tar", dir);
    }
    return path;
}

/* Only the process that made it: what it forked ends too, and other programs have archives of their own. */
static void drop_archive(void) __attribute__((destructor));
static void drop_archive(void)
{
    if (archive_maker == getpid())
        (void)!dir_remove(archive_dir, NULL);
}

static void keep_state(struct rig *r, struct wire_msg *m)
{
    struct node_pod_state *s = pool_new_of(r->pool, struct node_pod_state);
    struct err *e = NULL;
    FINE(wire_decode(&node_pod_state_type, pool_str(r->pool, m->body), r->pool, s, &e), e);
    map_put(&r->states, s->uid, s);
}

static struct rig_reply *slot(struct rig *r, uint64_t id)
{
    for (size_t i = 0; i < ARRAY_LEN(r->replies); i++)
        if (r->replies[i].id == id)
            return &r->replies[i];
    return NULL;
}

static void on_msg(void *arg, struct wire_msg *m)
{
    struct rig *r = arg;
    struct err *e = NULL;
    struct str body = pool_str(r->pool, m->body);
    struct rig_reply *s = m->id ? slot(r, m->id) : NULL;
    if (m->type == NODE_POD_STATE) {
        keep_state(r, m);
    } else if (m->type == NODE_POD_GONE) {
        struct node_uid u;
        FINE(wire_decode(&node_uid_type, body, r->pool, &u, &e), e);
        map_put(&r->gone, u.uid, r);
    } else if (m->type == NODE_EVENT) {
        struct node_event ev;
        FINE(wire_decode(&node_event_type, body, r->pool, &ev, &e), e);
        buf_printf(&r->events, "%.*s %.*s %.*s\n", STR_ARG(ev.reason), STR_ARG(ev.container), STR_ARG(ev.message));
    } else if (m->type == NODE_HOOK) {
        FINE(wire_decode(&node_hook_ask_type, body, r->pool, &r->hook, &e), e);
        r->hooks++;
    } else if (m->type == NODE_IMAGES) {
        FINE(wire_decode(&node_images_type, body, r->pool, &r->images, &e), e);
    } else if (m->type == NODE_HELLO) {
        r->hello = true;
    } else if (m->type == NODE_STATS_DATA) {
        FINE(wire_decode(&node_stats_type, body, r->pool, &r->stats, &e), e);
        r->have_stats = true;
    } else if (m->type == NODE_EXEC_DONE && s) {
        FINE(wire_decode(&node_exec_done_type, body, r->pool, &s->done, &e), e);
        s->ended = true;
    } else if ((m->type == NODE_REPLY || m->type == NODE_EXEC_STARTED) && s && !s->got) {
        FINE(wire_decode(&node_reply_type, body, r->pool, &s->reply, &e), e);
        s->type = m->type;
        s->got = true;
        for (s->nfds = 0; s->nfds < m->nfds; s->nfds++) {
            s->fds[s->nfds] = m->fds[s->nfds];
            m->fds[s->nfds] = -1;
        }
    }
}

static void on_close(void *arg, const struct err *e)
{
    struct rig *r = arg;
    wire_free(TAKE(r->wire));
}

void rig_turn(struct rig *r, int ms)
{
    loop_step(r->loop, ms);
}

bool rig_wait(struct rig *r, int seconds, bool (*cond)(struct rig *r, const void *arg), const void *arg)
{
    int64_t until = clock_mono(NULL) + seconds * NS_PER_S;
    while (!cond(r, arg)) {
        if (clock_mono(NULL) > until)
            return false;
        rig_turn(r, 50);
    }
    return true;
}

static bool has_image(struct rig *r, const void *arg) { return r->hello && r->images.nimages > 0; }

static void fake_boot_id(struct rig *r)
{
    _cleanup_(freep) char *path = xasprintf("%s/boot_id", r->dir);
    if (file_replace(path, str_of(r->boot_id), 0644, NULL) < 0 || unshare(CLONE_NEWNS) < 0 ||
        mount(NULL, "/", NULL, MS_PRIVATE | MS_REC, NULL) < 0 || mount(path, "/proc/sys/kernel/random/boot_id", NULL, MS_BIND, NULL) < 0)
        _exit(98);
}

void rig_sh(struct rig *r, const char *fmt, ...)
{
    struct buf b = BUF_INIT;
    va_list ap;
    va_start(ap, fmt);
    buf_vprintf(&b, fmt, ap);
    va_end(ap);
    sh("cd %s; %s", r->dir, b.p);
    buf_clear(&b);
}

void rig_reboot(struct rig *r, const char *boot_id)
{
    struct cgroups *c = NULL;
    struct err *e = NULL;
    rig_kill_node(r);
    FINE(cgroups_open(r->cgroup_root, &c, &e), e);
    FINE(cgroup_kill(c, r->cgroup_root, 5000, &e), e);
    FINE(cgroup_remove(c, r->cgroup_root, &e), e);
    cgroups_free(c);
    rig_sh(r, "rm -rf run");
    map_clear(&r->states, NULL);
    r->boot_id = boot_id;
    rig_start_node(r);
}

void rig_start_node(struct rig *r)
{
    int sv[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv) < 0)
        test_fail(__FILE__, __LINE__, "socketpair");
    fflush(stdout);
    r->pid = fork();
    if (r->pid == 0) {
        if (setns(r->netns, CLONE_NEWNET) < 0)
            _exit(99);
        if (r->boot_id)
            fake_boot_id(r);
        close(sv[0]);
        close(r->netns);
        log_init("node", getenv("SAMPAN_LOG") ? LOG_DEBUG : LOG_ERROR);
        char data[256], run[256];
        snprintf(data, sizeof data, "%s/data", r->dir);
        snprintf(run, sizeof run, "%s/run", r->dir);
        struct node_options o = {.data_dir = data, .run_dir = run, .gate_fd = sv[1], .broker_fd = -1, .image_user = "nobody"};
        int code = node_main(&o);
        _exit(code);
    }
    close(sv[1]);
    static const struct wire_ops ops = {on_msg, on_close};
    struct err *e = NULL;
    r->hello = false;
    r->wire = wire_new(r->loop, sv[0], &ops, r, &e);
    OK(r->wire);
    struct node_config c = {.node_name = STR("n1"),
        .pod_cidr = STR("10.77.0.0/24"),
        .cluster_cidr = STR("10.77.0.0/16"),
        .service_cidr = STR("10.78.0.0/16"),
        .dns_ip = STR("10.78.0.10"),
        .cluster_domain = STR("cluster.local"),
        .backend = STR("none"),
        .cgroup_root = str_of(r->cgroup_root),
        .max_pods = 110};
    struct rig_reply *reply = rig_ask(r, NODE_CONFIG, &node_config_type, &c);
    if (reply->reply.code)
        test_fail(__FILE__, __LINE__, "config: %.*s", STR_ARG(reply->reply.message));
    if (!rig_wait(r, 60, has_image, NULL))
        test_fail(__FILE__, __LINE__, "node does not come up or does not import the image");
}

static int own_netns(void)
{
    int fd = -1, pipe_fds[2];
    if (pipe(pipe_fds) < 0)
        return -1;
    pid_t pid = fork();
    if (pid == 0) {
        char c;
        close(pipe_fds[1]);
        if (unshare(CLONE_NEWNET) < 0)
            _exit(1);
        kill(getpid(), SIGSTOP);
        (void)!read(pipe_fds[0], &c, 1);
        _exit(0);
    }
    int status;
    waitpid(pid, &status, WUNTRACED);
    if (WIFSTOPPED(status)) {
        char path[64];
        snprintf(path, sizeof path, "/proc/%d/ns/net", (int)pid);
        fd = open(path, O_RDONLY | O_CLOEXEC);
        kill(pid, SIGKILL);
        waitpid(pid, &status, 0);
    }
    close(pipe_fds[0]);
    close(pipe_fds[1]);
    return fd;
}

/* A test that failed left its rig behind: nothing of it may stay on the machine. */
static struct rig *current;

static void sweep_current(void) __attribute__((destructor));
static void sweep_current(void)
{
    struct rig *r = current;
    struct cgroups *c = NULL;
    if (!r)
        return;
    current = NULL;
    if (r->pid > 0) {
        kill(r->pid, SIGKILL);
        waitpid(r->pid, NULL, 0);
    }
    if (cgroups_open(r->cgroup_root, &c, NULL) == 0) {
        (void)!cgroup_kill(c, r->cgroup_root, 5000, NULL);
        (void)!cgroup_remove(c, r->cgroup_root, NULL);
    }
    cgroups_free(c);
}

struct rig *rig_new(void)
{
    sweep_current();
    if (geteuid() != 0)
        test_skip("needs root");
    free(have("conmon"));
    free(have("crun"));
    free(have("busybox"));
    struct rig *r = xcalloc(1, sizeof *r);
    struct err *e = NULL;
    r->netns = own_netns();
    if (r->netns < 0)
        test_skip("needs network namespaces");
    r->loop = loop_new(&e);
    r->pool = pool_new();
    r->dir = xstrdup(test_tmpdir());
    r->cgroup_root = xasprintf("sp-node-test-%d", (int)getpid());
    current = r;
    r->next_id = 100;
    sh("mkdir -p %s/data/images && cp %s %s/data/images/busybox.tar", r->dir, archive(), r->dir);
    rig_start_node(r);
    rig_synced(r);
    return r;
}

uint64_t rig_send(struct rig *r, uint16_t type, const struct wire_type *t, const void *msg)
{
    uint64_t id = r->next_id++;
    struct rig_reply *s = &r->replies[id % ARRAY_LEN(r->replies)];
    for (size_t i = 0; i < s->nfds; i++)
        closep(&s->fds[i]);
    *s = (struct rig_reply){.id = id};
    OK(r->wire);
    wire_send(r->wire, type, id, t, msg, NULL, 0);
    return id;
}

static bool answered(struct rig *r, const void *arg)
{
    return ((const struct rig_reply *)arg)->got;
}

struct rig_reply *rig_ask(struct rig *r, uint16_t type, const struct wire_type *t, const void *msg)
{
    struct rig_reply *s = slot(r, rig_send(r, type, t, msg));
    if (!rig_wait(r, 30, answered, s))
        test_fail(__FILE__, __LINE__, "no answer to request type %u", type);
    return s;
}

void rig_synced(struct rig *r)
{
    struct node_empty none = {0};
    EQ(rig_ask(r, NODE_SYNCED, &node_empty_type, &none)->reply.code, 0);
}

static void reap_node(struct rig *r, int signo)
{
    int status;
    if (r->pid <= 0)
        return;
    kill(r->pid, signo);
    waitpid(r->pid, &status, 0);
    if (signo == SIGTERM && !(WIFEXITED(status) && WEXITSTATUS(status) == 0))
        test_fail(__FILE__, __LINE__, "node ended with status %x", status);
    r->pid = 0;
    wire_free(TAKE(r->wire));
}

void rig_kill_node(struct rig *r) { reap_node(r, SIGKILL); }
void rig_term_node(struct rig *r) { reap_node(r, SIGTERM); }

struct node_container rig_container(struct rig *r, const char *name, uint64_t kind, const char *script)
{
    struct str *argv = pool_array(r->pool, struct str, 3);
    argv[0] = STR("/bin/sh");
    argv[1] = STR("-c");
    argv[2] = pool_str(r->pool, str_of(script));
    return (struct node_container){.name = pool_str(r->pool, str_of(name)),
        .kind = kind,
        .image = r->images.images[0].id,
        .image_ref = STR("busybox:test"),
        .command = argv,
        .ncommand = 3,
        .security = {.uid = -1, .gid = -1},
        .termination_path = STR("/dev/termination-log"),
        .termination_policy = STR("File"),
        .spec_hash = 1};
}

struct node_pod rig_pod(struct rig *r, const char *uid, const char *script)
{
    struct node_container *c = pool_new_of(r->pool, struct node_container);
    *c = rig_container(r, "main", CON_MAIN, script);
    return (struct node_pod){.uid = str_of(uid),
        .ns = STR("default"),
        .name = str_of(uid),
        .restart_policy = STR("Always"),
        .grace_s = 1,
        .qos = STR("BestEffort"),
        .host_users = true,
        .fs_group = -1,
        .containers = c,
        .ncontainers = 1,
        .resolv_conf = STR("nameserver 10.78.0.10\n")};
}

void rig_run(struct rig *r, const struct node_pod *p)
{
    struct rig_reply *s = rig_ask(r, NODE_POD, &node_pod_type, p);
    if (s->reply.code)
        test_fail(__FILE__, __LINE__, "pod: %.*s", STR_ARG(s->reply.message));
}

void rig_stop(struct rig *r, const char *uid, int grace)
{
    struct node_pod_stop s = {str_of(uid), grace, STR_NULL};
    EQ(rig_ask(r, NODE_POD_STOP, &node_pod_stop_type, &s)->reply.code, 0);
}

const struct node_container_state *rig_state(struct rig *r, const char *uid, const char *container)
{
    const struct node_pod_state *s = map_get(&r->states, str_of(uid));
    for (size_t i = 0; s && i < s->ncontainers; i++)
        if (str_eqz(s->containers[i].name, container))
            return &s->containers[i];
    return NULL;
}

struct want { const char *uid, *container, *reason; uint64_t state; };

static bool in_state(struct rig *r, const void *arg)
{
    const struct want *w = arg;
    const struct node_container_state *s = rig_state(r, w->uid, w->container);
    return s && s->state == w->state && (!w->reason || str_eqz(s->reason, w->reason));
}

void rig_wait_state(struct rig *r, const char *uid, const char *container, uint64_t state, const char *reason)
{
    struct want w = {uid, container, reason, state};
    if (rig_wait(r, 30, in_state, &w))
        return;
    const struct node_container_state *s = rig_state(r, uid, container);
    buf_putc(&r->events, 0);
    for (char *p = r->events.p; p && *p; p++)
        if (*p == '\n')
            *p = ';';
    test_fail(__FILE__, __LINE__, "%s/%s is in state %d (%.*s: %.*s), not %d (%s); events: %s", uid, container, s ? (int)s->state : -1,
        STR_ARG(s ? s->reason : STR_NULL), STR_ARG(s ? s->message : STR_NULL), (int)state, reason ? reason : "any", r->events.p);
}

static bool is_gone(struct rig *r, const void *arg) { return map_get(&r->gone, str_of(arg)) != NULL; }

void rig_wait_gone(struct rig *r, const char *uid)
{
    if (!rig_wait(r, 30, is_gone, uid))
        test_fail(__FILE__, __LINE__, "%s is not gone", uid);
}

char *rig_log(struct rig *r, const char *uid, const char *container, bool previous)
{
    struct node_log q = {str_of(uid), str_of(container), previous};
    struct rig_reply *s = rig_ask(r, NODE_LOG, &node_log_type, &q);
    struct buf raw = BUF_INIT, out = BUF_INIT;
    for (size_t i = 0; i < s->nfds; i++) {
        ssize_t n;
        char chunk[4096];
        while ((n = read(s->fds[i], chunk, sizeof chunk)) > 0)
            buf_add(&raw, chunk, (size_t)n);
    }
    struct str rest = buf_str(&raw), line, a, b;
    while (str_split(&rest, '\n', &line))
        if (str_cut(line, ' ', &a, &b) && str_cut(b, ' ', &a, &b) && str_cut(b, ' ', &a, &b))
            buf_printf(&out, "%.*s\n", STR_ARG(b));
    buf_clear(&raw);
    return buf_take(&out);
}

struct log_want { const char *uid, *container, *text; };

static bool logged(struct rig *r, const void *arg)
{
    const struct log_want *w = arg;
    _cleanup_(freep) char *log = rig_log(r, w->uid, w->container, false);
    return strstr(log, w->text) != NULL;
}

void rig_wait_log(struct rig *r, const char *uid, const char *container, const char *text)
{
    struct log_want w = {uid, container, text};
    if (rig_wait(r, 20, logged, &w))
        return;
    _cleanup_(freep) char *log = rig_log(r, uid, container, false);
    test_fail(__FILE__, __LINE__, "\"%s\" is not in the log of %s/%s: %s", text, uid, container, log);
}

bool rig_event(struct rig *r, const char *text)
{
    return r->events.p && str_find(buf_str(&r->events), str_of(text)) >= 0;
}

char *rig_read_fd(struct rig *r, int fd)
{
    struct buf b = BUF_INIT;
    char chunk[4096];
    int64_t until = clock_mono(NULL) + 20 * NS_PER_S;
    fd_nonblock(fd);
    for (;;) {
        ssize_t n = read(fd, chunk, sizeof chunk);
        if (n > 0)
            buf_add(&b, chunk, (size_t)n);
        else if (n == 0 || (errno != EAGAIN && errno != EINTR) || clock_mono(NULL) > until)
            return buf_take(&b);
        else
            rig_turn(r, 10);
    }
}

static bool exec_ended(struct rig *r, const void *arg) { return ((const struct rig_reply *)arg)->ended; }

int rig_exec(struct rig *r, const char *uid, const char *container, const char *script, char **output)
{
    struct str argv[] = {STR("/bin/sh"), STR("-c"), str_of(script)};
    struct node_exec x = {str_of(uid), str_of(container), argv, 3, false, false, true, true, 0};
    struct rig_reply *s = rig_ask(r, NODE_EXEC, &node_exec_type, &x);
    if (s->reply.code)
        test_fail(__FILE__, __LINE__, "exec: %.*s", STR_ARG(s->reply.message));
    EQ(s->nfds, 2);
    struct buf b = BUF_INIT;
    for (size_t i = 0; i < s->nfds; i++) {
        _cleanup_(freep) char *text = rig_read_fd(r, s->fds[i]);
        buf_puts(&b, text);
    }
    if (!rig_wait(r, 20, exec_ended, s))
        test_fail(__FILE__, __LINE__, "exec does not end");
    if (output)
        *output = buf_take(&b);
    else
        buf_clear(&b);
    return (int)s->done.code;
}

static bool all_gone(struct rig *r, const void *arg)
{
    map_for(&r->states, it)
        if (!map_get(&r->gone, map_key(it)))
            return false;
    return true;
}

static void nothing_left(struct rig *r)
{
    struct cgroups *c = NULL;
    struct err *e = NULL;
    FINE(cgroups_open(r->cgroup_root, &c, &e), e);
    bool empty = cgroup_empty(c, r->cgroup_root);
    if (!empty)
        (void)!cgroup_kill(c, r->cgroup_root, 5000, NULL);
    (void)!cgroup_remove(c, r->cgroup_root, NULL);
    cgroups_free(c);
    OK(empty);
    /* no mount of ours in this namespace, no folder of a pod, no state of a container */
    sh("! grep -q %s /proc/self/mountinfo", r->dir);
    sh("for d in data/node/pods run/node/pods run/node/crun run/node/exits; do test -z \"$(ls -A %s/$d)\" || { ls -R %s/$d; exit 1; }; "
       "done",
        r->dir, r->dir);
}

void rig_end(struct rig *r)
{
    if (r->pid > 0) {
        map_for(&r->states, it)
            if (!map_get(&r->gone, map_key(it))) {
                struct node_pod_stop s = {map_key(it), 0, STR_NULL};
                rig_send(r, NODE_POD_STOP, &node_pod_stop_type, &s);
            }
        if (!rig_wait(r, 40, all_gone, NULL))
            test_fail(__FILE__, __LINE__, "pods do not go away");
        rig_term_node(r);
    }
    nothing_left(r);
    current = NULL;
    map_clear(&r->states, NULL);
    map_clear(&r->gone, NULL);
    for (size_t i = 0; i < ARRAY_LEN(r->replies); i++)
        for (size_t k = 0; k < r->replies[i].nfds; k++)
            closep(&r->replies[i].fds[k]);
    buf_clear(&r->events);
    pool_free(r->pool);
    loop_free(r->loop);
    close(r->netns);
    free(r->dir);
    free(r->cgroup_root);
    free(r);
}
