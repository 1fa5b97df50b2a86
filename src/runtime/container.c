#include "runtime/container.h"
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/file.h"
#include "runtime/helper.h"
#include "runtime/isolate.h"

#define SYNC_MAX (256u << 10)
#define CREATE_MAX_NS (120 * NS_PER_S) /* a file system that does not answer must not hold a pod forever */

struct container_create {
    struct runtime *rt;
    char *bundle;
    struct child child;    /* conmon's first process, which ends when it has made the one that stays */
    struct watch sync;
    struct buf said;
    struct timer limit;
    bool ended, closed, late;
    int status;
    void (*done)(void *owner, const struct err *e, const struct container_made *m);
    void *owner;
};

char *runtime_find(const char *name)
{
    if (strchr(name, '/'))
        return access(name, X_OK) == 0 ? xstrdup(name) : NULL;
    const char *env = getenv("PATH");
    struct str rest = str_of(env ? env : "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"), dir;
    while (str_split(&rest, ':', &dir)) {
        char *path = xasprintf("%.*s/%s", STR_ARG(dir), name);
        if (access(path, X_OK) == 0)
            return path;
        free(path);
    }
    return NULL;
}

static int mount_root(const struct container_spec *s, struct err **e)
{
    _cleanup_(freep) char *upper = xasprintf("%s/upper", s->bundle), *work = xasprintf("%s/work", s->bundle);
    if ((mkdir(upper, 0755) < 0 && errno != EEXIST) || (mkdir(work, 0700) < 0 && errno != EEXIST))
        return err_errno(e, errno, "container %s: upper folder", s->id);
    int r = dir_make(s->root, 0755, e);
    if (r < 0)
        return r;
    if (chdir(s->layers_dir) < 0)
        return err_errno(e, errno, "%s", s->layers_dir);
    _cleanup_(freep) char *options = xasprintf("lowerdir=%s,upperdir=%s,workdir=%s", s->lower, upper, work);
    if (strlen(options) >= 4096)
        return err_set(e, ERR_LIMIT, "image has too many layers to be mounted");
    /* volatile: a container's own changes need no sync; they do not outlive a power cut anyway, since the container is made anew */
    _cleanup_(freep) char *fast = xasprintf("%s,volatile", options);
    if (mount("overlay", s->root, "overlay", 0, strlen(fast) < 4096 ? fast : options) < 0 &&
        mount("overlay", s->root, "overlay", 0, options) < 0)
        return err_errno(e, errno, "mount overlay of container %s", s->id);
    return chdir("/") < 0 ? err_errno(e, errno, "/") : 0;
}

static int write_config(const struct container_spec *s, struct err **e)
{
    _cleanup_(pool_freep) struct pool *p = pool_new();
    _cleanup_(closep) int root = open(s->root, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (root < 0)
        return err_errno(e, errno, "%s", s->root);
    struct oci_spec spec = {.root = s->root};
    int r = s->fill(s->arg, p, root, &spec, e);
    _cleanup_(buf_clear) struct buf text = BUF_INIT;
    if (r == 0)
        r = oci_config(p, &spec, &text, e);
    if (r < 0)
        return r;
    _cleanup_(freep) char *path = xasprintf("%s/config.json", s->bundle);
    _cleanup_(closep) int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return err_errno(e, errno, "%s", path);
    return fd_write_all(fd, text.p, text.n, e);
}

static void exec_conmon(const struct runtime *rt, const struct container_spec *s, int sync)
{
    _cleanup_(freep) char *pidfile = xasprintf("%s/pid", s->bundle), *conmon_pid = xasprintf("%s/conmon.pid", s->bundle);
    _cleanup_(freep) char *log = xasprintf("k8s-file:%s", s->log_path), *said = xasprintf("%s/conmon.log", s->bundle);
    const char *argv[48];
    size_t n = 0;
#define ARG(x) argv[n++] = (x)
    ARG(rt->conmon); ARG("--api-version"); ARG("1");
    ARG("-c"); ARG(s->id); ARG("-u"); ARG(s->id); ARG("-n"); ARG(s->id);
    ARG("-r"); ARG(s->handler); ARG("--runtime-arg"); ARG("--root"); ARG("--runtime-arg"); ARG(rt->state_dir);
    ARG("-b"); ARG(s->bundle); ARG("-p"); ARG(pidfile); ARG("-P"); ARG(conmon_pid); ARG("-l"); ARG(log);
    ARG("--exit-dir"); ARG(rt->exit_dir); ARG("-0"); ARG(s->bundle);
    ARG("--full-attach"); ARG("--no-new-keyring"); ARG("--no-sync-log"); ARG("--log-level"); ARG("warning");
    if (s->tty)
        ARG("-t");
    if (s->stdin_open)
        ARG("-i");
    if (s->stdin_open && !s->stdin_once)
        ARG("--leave-stdin-open");
    ARG(NULL);
#undef ARG
    int null = open("/dev/null", O_RDWR | O_CLOEXEC), out = open(said, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    dup2(null, 0);
    dup2(out < 0 ? null : out, 1);
    dup2(out < 0 ? null : out, 2);
    char pipe_env[32];
    snprintf(pipe_env, sizeof pipe_env, "_OCI_SYNCPIPE=%d", sync);
    char *const env[] = {isolate_env[0], pipe_env, NULL};
    fd_cloexec(sync, false);
    signal(SIGPIPE, SIG_DFL);
    execve(s->handler ? rt->conmon : "", (char *const *)(uintptr_t)argv, env);
}

static _noreturn_ void child_main(const struct runtime *rt, const struct container_spec *s, int sync)
{
    struct err *e = NULL;
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    int r = cgroup_join(rt->cgroups, s->cgroup, 0, &e), keep[] = {sync, s->mount_ns};
    helper_close_fds(keep, 2);
    if (r == 0 && setns(s->mount_ns, CLONE_NEWNS) < 0)
        r = err_errno(&e, errno, "enter the pod's mounts");
    if (r == 0)
        r = mount_root(s, &e);
    if (r == 0)
        r = write_config(s, &e);
    if (r == 0) {
        exec_conmon(rt, s, sync);
        err_errno(&e, errno, "run %s", rt->conmon);
    }
    /* in conmon's own words, so that the parent reads one language */
    struct buf b = BUF_INIT;
    buf_puts(&b, "{\"pid\": -1, \"message\": ");
    json_write_str(&b, str_of(err_msg(e)));
    buf_puts(&b, "}\n");
    (void)!fd_write_all(sync, b.p, b.n, NULL);
    _exit(1);
}

static void forget(struct container_create *c)
{
    child_unwatch(&c->child);
    timer_del(&c->limit);
    watch_del(&c->sync);
    closep(&c->sync.fd);
    buf_clear(&c->said);
    free(c->bundle);
    free(c);
}

static bool conmon_process(const char *bundle, struct process *out)
{
    _cleanup_(freep) char *path = xasprintf("%s/conmon.pid", bundle);
    _cleanup_(buf_clear) struct buf b = BUF_INIT;
    int64_t pid;
    if (file_read(path, 64, &b, NULL) < 0 || !str_to_i64(str_trim(buf_str(&b)), &pid) || pid <= 1)
        return false;
    *out = (struct process){(pid_t)pid, process_start_time((pid_t)pid)};
    return true;
}

static int outcome(struct container_create *c, struct container_made *m, struct err **e)
{
    _cleanup_(pool_freep) struct pool *p = pool_new();
    struct str line = buf_str(&c->said), rest = line;
    struct json *o = NULL;
    str_split(&rest, '\n', &line);
    if (str_empty(line) || json_parse(p, line, NULL, &o, NULL) < 0)
        return err_set(e, ERR_INTERNAL, "conmon ended without a word (status %d)", c->status);
    m->pid = (pid_t)json_get_int(o, "data", json_get_int(o, "pid", -1)); /* by conmon's API version */
    struct str message = str_trim(json_get_str(o, "message"));
    _cleanup_(freep) char *path = xasprintf("%s/conmon.log", c->bundle);
    _cleanup_(buf_clear) struct buf said = BUF_INIT;
    if (m->pid <= 0 && str_empty(message) && file_read(path, 4096, &said, NULL) == 0)
        message = str_trim(buf_str(&said));
    if (m->pid <= 0)
        return err_set(e, ERR_INTERNAL, "%.*s", STR_ARG(str_empty(message) ? STR("the OCI runtime failed without a word") : message));
    if (!conmon_process(c->bundle, &m->conmon))
        return err_set(e, ERR_INTERNAL, "conmon left no pid file");
    return 0;
}

static void finish(struct container_create *c)
{
    if (!c->ended || !c->closed)
        return;
    _cleanup_(err_freep) struct err *e = NULL;
    struct container_made m = {0};
    if (c->late)
        err_set(&e, ERR_TIMEOUT, "container was not made in time");
    else
        (void)!outcome(c, &m, &e);
    c->done(c->owner, e, &m);
    forget(c);
}

static void on_sync(struct watch *w, uint32_t events)
{
    struct container_create *c = container_of(w, struct container_create, sync);
    char chunk[4096];
    ssize_t n = read(w->fd, chunk, sizeof chunk);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n > 0 && c->said.n < SYNC_MAX)
        buf_add(&c->said, chunk, (size_t)n);
    /* conmon keeps its end open for as long as it lives: a whole line is all there is to wait for */
    if (n <= 0 || str_chr(buf_str(&c->said), '\n') >= 0) {
        watch_del(w);
        c->closed = true;
        finish(c);
    }
}

/* Whatever conmon and the OCI runtime still do ends with the container's cgroup, which the owner of a failed container removes. */
static void on_limit(struct timer *t)
{
    struct container_create *c = container_of(t, struct container_create, limit);
    c->late = c->closed = true;
    watch_del(&c->sync);
    if (!c->ended)
        kill(c->child.pid, SIGKILL);
    finish(c);
}

static void on_child(struct child *ch, int status)
{
    struct container_create *c = container_of(ch, struct container_create, child);
    c->ended = true;
    c->status = status;
    finish(c);
}

struct container_create *container_create(struct runtime *rt, const struct container_spec *spec,
    void (*done)(void *owner, const struct err *e, const struct container_made *m), void *owner, struct err **e)
{
    int p[2];
    if (pipe2(p, O_CLOEXEC) < 0) {
        err_errno(e, errno, "container: pipe");
        return NULL;
    }
    pid_t pid = fork();
    if (pid == 0)
        child_main(rt, spec, p[1]);
    int saved = errno;
    close(p[1]);
    if (pid < 0) {
        close(p[0]);
        err_errno(e, saved, "container: fork");
        return NULL;
    }
    struct container_create *c = xcalloc(1, sizeof *c);
    *c = (struct container_create){.rt = rt, .bundle = xstrdup(spec->bundle), .done = done, .owner = owner, .sync.fd = p[0]};
    fd_nonblock(p[0]);
    if (watch_add(rt->loop, &c->sync, p[0], EPOLLIN, on_sync, e) < 0 || child_watch(rt->loop, &c->child, pid, on_child, e) < 0) {
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
        forget(c);
        return NULL;
    }
    timer_set(rt->loop, &c->limit, clock_mono(NULL) + CREATE_MAX_NS, on_limit);
    return c;
}

void container_create_cancel(struct container_create *c)
{
    if (!c)
        return;
    if (!c->ended) {
        kill(c->child.pid, SIGKILL);
        child_unwatch(&c->child);
        while (waitpid(c->child.pid, NULL, 0) < 0 && errno == EINTR)
            ;
    }
    forget(c);
}

int container_remove(const struct runtime *rt, const char *handler, int mount_ns, const char *id, const char *bundle, const char *root,
    const char *cgroup, struct err **e)
{
    if (mount_ns >= 0 ? setns(mount_ns, CLONE_NEWNS) < 0 : unshare(CLONE_NEWNS) < 0)
        return err_errno(e, errno, "remove container %s: enter mounts", id);
    int r = mount_ns < 0 ? isolate_cgroups(e) : 0;
    if (r < 0)
        return r;
    if (cgroup && (r = cgroup_kill(rt->cgroups, cgroup, 10000, e)) < 0)
        return r;
    _cleanup_(freep) char *state = xasprintf("%s/%s", rt->state_dir, id);
    _cleanup_(buf_clear) struct buf said = BUF_INIT;
    if (file_exists(state)) {
        const char *const argv[] = {handler, "--root", rt->state_dir, "delete", "--force", id, NULL};
        r = spawn_wait(argv, &said, 4096, 30000, e);
        if (r < 0)
            return r;
        if (r > 0 && (r = dir_remove(state, e)) < 0) /* a state folder that the runtime cannot read any more */
            return err_wrap(e, "delete container %s: %.*s", id, STR_ARG(str_trim(buf_str(&said)))), r;
    }
    if (cgroup && (r = cgroup_remove(rt->cgroups, cgroup, e)) < 0)
        return r;
    if (root && file_exists(root)) {
        umount2(root, MNT_DETACH | UMOUNT_NOFOLLOW); /* EINVAL: never mounted, or gone with its namespace */
        if (rmdir(root) < 0 && errno != ENOENT && (r = dir_remove(root, e)) < 0)
            return r;
    }
    container_exit_file_remove(rt, id);
    return bundle ? dir_remove(bundle, e) : 0;
}
