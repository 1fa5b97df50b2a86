#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "node/impl.h"

#define BACKOFF_FIRST (10 * NS_PER_S)
#define BACKOFF_MAX (300 * NS_PER_S)
#define BACKOFF_RESET (600 * NS_PER_S)
#define GRACE_LEAST (2 * NS_PER_S) /* the kubelet's minimum behind a preStop hook that took all */
#define LOG_TAIL 2048

struct container *con_new(struct pod *p, struct str name, uint64_t kind)
{
    struct container *c = xcalloc(1, sizeof *c);
    c->pod = p;
    c->name = str_dup(name);
    c->kind = kind;
    c->conmon_watch.fd = -1;
    p->c = xrealloc(p->c, (p->nc + 1) * sizeof *p->c);
    p->c[p->nc++] = c;
    return c;
}

static void clear_run(struct run_result *r)
{
    free(r->id);
    free(r->reason);
    free(r->message);
    *r = (struct run_result){0};
}

void con_free(struct container *c)
{
    con_hooks_cancel(c);
    container_create_cancel(c->creating);
    tool_cancel(c->starting);
    helper_cancel(c->removing);
    watch_del(&c->conmon_watch);
    closep(&c->conmon_watch.fd);
    timer_del(&c->backoff_timer);
    timer_del(&c->stop_timer);
    clear_run(&c->now);
    clear_run(&c->last);
    free(c->name);
    free(c->id);
    free(c->bundle);
    free(c->image_id);
    free(c->waiting_reason);
    free(c->waiting_message);
    free(c);
}

char *con_cgroup(const struct container *c) { return xasprintf("%s/%s", c->pod->cgroup, c->id); }
char *con_log_dir(const struct container *c) { return xasprintf("%s/logs/%s", c->pod->dir, c->name); }
char *con_log_path(const struct container *c, uint64_t n) { return xasprintf("%s/logs/%s/%" PRIu64 ".log", c->pod->dir, c->name, n); }

int64_t con_grace(const struct container *c)
{
    return (c->pod->grace_ns >= 0 ? c->pod->grace_ns : c->pod->spec.grace_s * NS_PER_S);
}

void con_wait(struct container *c, const char *reason, const char *message)
{
    set_text(&c->waiting_reason, reason);
    set_text(&c->waiting_message, message);
}

/* restartPolicyRules: the first rule that the exit code matches; NULL: none, the policies decide. They count only beside a restartPolicy of the container's own. */
static const struct node_restart_rule *rule_of(const struct container *c)
{
    for (size_t i = 0; c->spec && !str_empty(c->spec->restart_policy) && i < c->spec->nrules; i++) {
        const struct node_restart_rule *r = &c->spec->rules[i];
        bool in = false;
        int64_t code;
        for (size_t k = 0; k < r->ncodes; k++)
            in |= str_to_i64(r->codes[k], &code) && code == c->now.exit_code;
        if (in != r->negate)
            return r;
    }
    return NULL;
}

bool con_should_restart(const struct container *c)
{
    const struct pod *p = c->pod;
    struct str policy = c->spec && !str_empty(c->spec->restart_policy) ? c->spec->restart_policy : p->spec.restart_policy;
    if (!c->spec || p->stop || p->failed_final || c->kind == CON_EPHEMERAL)
        return !c->now.reason && c->spec && !p->stop && !p->failed_final;
    if (!c->now.reason || c->kind == CON_SIDECAR || c->want_restart)
        return true;
    bool failed = c->now.exit_code != 0;
    if (c->ran && rule_of(c))
        return true;
    if (c->kind == CON_INIT)
        return failed && !str_eq(policy, STR("Never"));
    return str_eq(policy, STR("Always")) || str_empty(policy) || (str_eq(policy, STR("OnFailure")) && failed);
}

void con_result(struct container *c, int64_t code, const char *reason, const char *message, int64_t finished)
{
    clear_run(&c->now);
    c->now.exit_code = code;
    c->now.reason = xstrdup(reason ? reason : code == 0 ? "Completed" : c->oom ? "OOMKilled" : "Error");
    c->now.message = message && *message ? xstrdup(message) : NULL;
    c->now.started = c->started;
    c->now.finished = finished;
    c->now.id = c->id ? xstrdup(c->id) : NULL;
    c->ended = true;
}

/* client-go's flowcontrol.Backoff as the kubelet uses it: none before the first restart, then 10 s doubling to 5 min, forgotten after 10
 * min without one. */
static void back_off(struct container *c)
{
    int64_t now = clock_mono(NULL);
    if (c->last_update && now - c->last_update > BACKOFF_RESET)
        c->backoff = 0;
    c->next_at = now + c->backoff;
}

static void on_backoff(struct timer *t)
{
    struct container *c = container_of(t, struct container, backoff_timer);
    pod_kick(c->pod);
}

void con_resume_backoff(struct container *c)
{
    if (c->next_at > clock_mono(NULL))
        timer_set(c->pod->node->loop, &c->backoff_timer, c->next_at, on_backoff);
}

/* What is told while it waits for its next start. */
static void announce_wait(struct container *c)
{
    struct pod *p = c->pod;
    if (c->next_at <= clock_mono(NULL))
        return;
    timer_set(p->node->loop, &c->backoff_timer, c->next_at, on_backoff);
    if (!c->now.reason) /* it never ran: what is wrong with it is told already */
        return;
    _cleanup_(freep) char *text = xasprintf("back-off %" PRId64 "s restarting failed container=%s pod=%.*s_%.*s(%s)",
        (c->next_at - clock_mono(NULL) + NS_PER_S / 2) / NS_PER_S, c->name, STR_ARG(p->spec.name), STR_ARG(p->spec.ns), p->uid);
    con_wait(c, "CrashLoopBackOff", text);
    pod_event(p, str_of(c->name), true, "BackOff", "Back-off restarting failed container %s in pod %.*s_%.*s(%s)", c->name,
        STR_ARG(p->spec.name), STR_ARG(p->spec.ns), p->uid);
}

/* ---- removal behind a run ---- */

static int remove_one(void *arg, struct buf *out, struct err **e)
{
    struct container *c = arg;
    struct pod *p = c->pod;
    _cleanup_(freep) char *root = xasprintf("%s/root/%s", p->run, c->id), *cgroup = con_cgroup(c),
                          *sub = xasprintf("%s/sub/%s", p->run, c->id);
    int ns = sandbox_mount_ns(p->sandbox);
    int r = container_remove(&p->node->rt, p->handler ? p->handler : p->node->crun, ns, c->id, c->bundle, root, cgroup, e);
    if (ns >= 0)
        volume_drop_subpaths(sub);
    return r;
}

static void on_removed(void *owner, const struct err *e, struct str out)
{
    struct container *c = owner;
    c->removing = NULL;
    if (e)
        log_warn("pod=%.*s/%.*s container=%s remove: %s", STR_ARG(c->pod->spec.ns), STR_ARG(c->pod->spec.name), c->name, err_msg(e));
    bool again = con_should_restart(c);
    c->want_restart = false;
    con_move(c, again ? CON_IDLE : CON_DONE);
    if (again && (c->now.reason || c->waiting_reason)) {
        back_off(c);
        announce_wait(c);
    } else if (!again) {
        con_wait(c, NULL, NULL);
    }
    pod_save(c->pod);
    pod_report(c->pod);
    pod_kick(c->pod);
}

void con_remove(struct container *c)
{
    _cleanup_(err_freep) struct err *e = NULL;
    con_hooks_cancel(c);
    timer_del(&c->stop_timer);
    watch_del(&c->conmon_watch);
    closep(&c->conmon_watch.fd);
    con_move(c, CON_REMOVING);
    pod_save(c->pod);
    pod_report(c->pod);
    c->removing = helper_start(c->pod->node->loop, remove_one, c, NULL, 0, 60000, on_removed, c, &e);
    if (!c->removing)
        on_removed(c, e, STR_NULL);
}

/* ---- the end of a run ---- */

/* terminationMessagePath's contents, or the log's end when the policy says so and it failed. */
static char *termination_message(struct container *c, int64_t code)
{
    _cleanup_(freep) char *path = xasprintf("%s/termination-log", c->bundle), *log = con_log_path(c, c->restarts);
    _cleanup_(buf_clear) struct buf b = BUF_INIT;
    if (file_read(path, 4096, &b, NULL) == -ERR_LIMIT)
        b.n = MIN(b.n, 4096);
    if (b.n || code == 0 || !c->spec || !str_eq(c->spec->termination_policy, STR("FallbackToLogsOnError")))
        return b.n ? str_dup(buf_str(&b)) : NULL;
    _cleanup_(closep) int fd = open(log, O_RDONLY | O_CLOEXEC);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) < 0)
        return NULL;
    char tail[LOG_TAIL * 2 + 1];
    ssize_t n = pread(fd, tail, sizeof tail - 1, MAX(st.st_size - (off_t)(sizeof tail - 1), 0));
    struct str rest = str_make(tail, n > 0 ? (size_t)n : 0), line, head, body;
    while (str_split(&rest, '\n', &line)) /* "time stream tag text"; the tag is P where no line ended */
        if (str_cut(line, ' ', &head, &body) && str_cut(body, ' ', &head, &body) && str_cut(body, ' ', &head, &body))
            buf_printf(&b, "%.*s%s", STR_ARG(body), str_starts(head, STR("P")) ? "" : "\n");
    return b.n ? str_dup(str_sub(buf_str(&b), b.n > LOG_TAIL ? b.n - LOG_TAIL : 0, b.n)) : NULL;
}

void con_ended(struct container *c)
{
    struct node *n = c->pod->node;
    int code = 137;
    int64_t finished = node_now(n);
    bool known = container_exit_file(&n->rt, c->id, &code, &finished);
    _cleanup_(freep) char *cgroup = con_cgroup(c), *oom = xasprintf("%s/oom", c->bundle), *message = termination_message(c, code);
    c->oom = code != 0 && (file_exists(oom) || cgroup_oom_kills(n->cgroups, cgroup) > 0);
    con_result(c, code, known ? NULL : "ContainerStatusUnknown", known ? message : "The container's monitor died; its exit code is lost",
        finished);
    c->ran = true;
    const struct node_restart_rule *rule = c->killed_by_us || c->pod->stop ? NULL : rule_of(c);
    if (rule && rule->all && !c->pod->restart_all) {
        c->pod->restart_all = true;
        pod_event(c->pod, str_of(c->name), false, "RestartAllContainers", "Container %s exited with code %d, all containers of the pod will be restarted", c->name, code);
    }
    con_remove(c);
}

static void on_conmon_end(struct watch *w, uint32_t events)
{
    con_ended(container_of(w, struct container, conmon_watch));
}

int con_watch(struct container *c, struct err **e)
{
    int fd = process_open(c->conmon);
    if (fd < 0)
        return err_errno(e, errno, "conmon of container %s", c->name);
    int r = watch_add(c->pod->node->loop, &c->conmon_watch, fd, EPOLLIN, on_conmon_end, e);
    if (r < 0)
        close(fd);
    return r;
}

/* ---- the start of a run ---- */

static void failed_to_start(struct container *c, const char *waiting, const char *reason, const char *message)
{
    struct pod *p = c->pod;
    pod_event(p, str_of(c->name), true, "Failed", "Error: %s", message);
    c->started = 0;
    con_result(c, 128, reason, message, node_now(p->node));
    con_wait(c, waiting, message);
    con_remove(c);
}

/* The pod itself is wrong (a user that is not in the image, a subPath that leads out): there was no run, so that no restart policy applies;
 * it is tried again, since what it refers to may change. */
static void not_startable(struct container *c, const char *message)
{
    pod_event(c->pod, str_of(c->name), true, "Failed", "Error: %s", message);
    c->backoff = c->backoff ? MIN(c->backoff * 2, BACKOFF_MAX) : BACKOFF_FIRST;
    c->last_update = clock_mono(NULL);
    con_wait(c, "CreateContainerConfigError", message);
    con_remove(c);
}

static void on_started(void *owner, int code, struct str output)
{
    struct container *c = owner;
    struct pod *p = c->pod;
    c->starting = NULL;
    if (code != 0) {
        _cleanup_(freep) char *text = str_dup(str_empty(output) ? STR("the OCI runtime could not start it") : output);
        failed_to_start(c, "RunContainerError", "StartError", text);
        return;
    }
    c->started = node_now(p->node);
    c->ended = false;
    con_move(c, CON_RUNNING);
    con_wait(c, NULL, NULL);
    pod_save(p);
    pod_event(p, str_of(c->name), false, "Started", "Container started");
    _cleanup_(err_freep) struct err *e = NULL;
    if (con_watch(c, &e) < 0) { /* it ended already */
        con_ended(c);
        return;
    }
    con_post_start(c);
    if (p->applied != p->spec.generation)
        pod_resize(p);
    pod_report(p);
    pod_kick(p);
}

static void on_created(void *owner, const struct err *failed, const struct container_made *m)
{
    struct container *c = owner;
    struct pod *p = c->pod;
    _cleanup_(err_freep) struct err *e = NULL;
    c->creating = NULL;
    if (failed) {
        if (strncmp(err_msg(failed), "config: ", 8) == 0)
            not_startable(c, err_msg(failed) + 8);
        else
            failed_to_start(c, "RunContainerError", "StartError", err_msg(failed));
        return;
    }
    c->pid = m->pid;
    c->pid_start = process_start_time(m->pid);
    c->conmon = m->conmon;
    con_move(c, CON_STARTING);
    pod_save(p);
    pod_event(p, str_of(c->name), false, "Created", "Container created");
    c->starting = container_start(&p->node->rt, pod_handler(p, NULL), sandbox_mount_ns(p->sandbox), c->id, on_started, c, &e);
    if (!c->starting)
        failed_to_start(c, "RunContainerError", "StartError", err_msg(e));
}

static int make_bundle(struct container *c, struct err **e)
{
    char hex[33];
    unsigned char raw[16];
    random_bytes(raw, sizeof raw);
    for (size_t i = 0; i < sizeof raw; i++)
        snprintf(hex + 2 * i, 3, "%02x", raw[i]);
    set_text(&c->id, hex);
    free(c->bundle);
    c->bundle = xasprintf("%s/c/%s", c->pod->dir, c->id);
    _cleanup_(freep) char *logs = con_log_dir(c), *message = xasprintf("%s/termination-log", c->bundle);
    pod_save(c->pod); /* before anything of it exists */
    int r = dir_make(c->bundle, 0700, e);
    if (r == 0)
        r = dir_make(logs, 0755, e);
    _cleanup_(closep) int fd = r < 0 ? -1 : open(message, O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
    if (r == 0 && (fd < 0 || fchmod(fd, 0666) < 0))
        r = err_errno(e, errno, "%s", message);
    if (r == 0 && c->restarts >= 2) { /* this run and the one before keep their logs */
        _cleanup_(freep) char *old = con_log_path(c, c->restarts - 2);
        unlink(old);
    }
    return r;
}

static int create(struct container *c, struct err **e)
{
    struct pod *p = c->pod;
    struct node *n = p->node;
    const struct image *image = image_find(n->images, c->spec->image);
    if (!image)
        return err_set(e, ERR_NOT_FOUND, "image %.*s is not on this node any more", STR_ARG(c->spec->image));
    const char *handler = pod_handler(p, e);
    int r = handler ? make_bundle(c, e) : -ERR_INVALID;
    if (r < 0)
        return r;
    _cleanup_(buf_clear) struct buf lower = BUF_INIT;
    image_lower(image, &lower);
    free(c->image_id);
    c->image_id = str_dup(image->id);
    _cleanup_(freep) char *log = con_log_path(c, c->restarts), *root = xasprintf("%s/root/%s", p->run, c->id);
    struct container_spec s = {.id = c->id,
        .bundle = c->bundle,
        .handler = handler,
        .log_path = log,
        .cgroup = p->sandbox_cgroup,
        .layers_dir = image_layers_dir(n->images),
        .lower = lower.n ? lower.p : ".",
        .root = root,
        .mount_ns = sandbox_mount_ns(p->sandbox),
        .tty = c->spec->tty,
        .stdin_open = c->spec->stdin_open,
        .stdin_once = c->spec->stdin_once,
        .fill = con_fill,
        .arg = c};
    c->creating = container_create(&n->rt, &s, on_created, c, e);
    return c->creating ? 0 : -ERR_IO;
}

void con_start(struct container *c)
{
    _cleanup_(err_freep) struct err *e = NULL;
    if (c->now.reason) { /* a restart */
        clear_run(&c->last);
        c->last = c->now;
        c->now = (struct run_result){0};
        c->restarts++;
        c->backoff = c->backoff ? MIN(c->backoff * 2, BACKOFF_MAX) : BACKOFF_FIRST;
        c->last_update = clock_mono(NULL);
    }
    timer_del(&c->backoff_timer);
    con_wait(c, NULL, NULL);
    c->started_ok = c->startup_ok = c->oom = c->killed_by_us = c->ended = c->pre_stop_done = false;
    c->spec_hash = c->spec->spec_hash;
    c->applied = con_limits_of(c->spec);
    c->conmon = (struct process){0, 0};
    c->pid = 0;
    con_move(c, CON_CREATING);
    if (create(c, &e) < 0)
        failed_to_start(c, "CreateContainerError", "StartError", err_msg(e));
}

/* ---- stop ---- */

static int stop_signal(const struct container *c)
{
    static const struct { const char *name; int number;
    } signals[] = {{"TERM", SIGTERM}, {"KILL", SIGKILL}, {"INT", SIGINT}, {"QUIT", SIGQUIT}, {"HUP", SIGHUP}, {"USR1", SIGUSR1},
        {"USR2", SIGUSR2}, {"WINCH", SIGWINCH}, {"ABRT", SIGABRT}, {"ALRM", SIGALRM}, {"CONT", SIGCONT}, {"STOP", SIGSTOP}, {"IO", SIGIO},
        {"PWR", SIGPWR}};
    const struct image *i = c->image_id ? image_find(c->pod->node->images, str_of(c->image_id)) : NULL;
    struct str name = c->spec && !str_empty(c->spec->stop_signal) ? c->spec->stop_signal : i ? i->config.stop_signal : STR_NULL;
    uint64_t number;
    if (str_to_u64(name, &number) && number > 0 && number < 65)
        return (int)number;
    if (str_starts(name, STR("SIGRTMIN+")) && str_to_u64(str_sub(name, 9, name.n), &number) && number < 31)
        return SIGRTMIN + (int)number;
    if (str_starts(name, STR("SIG")))
        name = str_sub(name, 3, name.n);
    for (size_t k = 0; k < ARRAY_LEN(signals); k++)
        if (str_eqz(name, signals[k].name))
            return signals[k].number;
    return SIGTERM;
}

static void kill_now(struct container *c)
{
    _cleanup_(freep) char *cgroup = con_cgroup(c);
    cgroup_signal(c->pod->node->cgroups, cgroup, SIGKILL);
}

static void on_stop_late(struct timer *t)
{
    struct container *c = container_of(t, struct container, stop_timer);
    kill_now(c);
    timer_set(c->pod->node->loop, t, clock_mono(NULL) + NS_PER_S, on_stop_late); /* until it is gone */
}

static void send_stop(struct container *c)
{
    int64_t now = clock_mono(NULL);
    _cleanup_(closep) int fd = process_open((struct process){c->pid, c->pid_start});
    c->pre_stop_done = true;
    if (c->stop_until <= now || fd < 0 || syscall(SYS_pidfd_send_signal, fd, stop_signal(c), NULL, 0) < 0)
        kill_now(c);
    timer_set(c->pod->node->loop, &c->stop_timer, MAX(c->stop_until, now + NS_PER_MS), on_stop_late);
}

static void on_pre_stop_done(struct timer *t)
{
    struct container *c = container_of(t, struct container, hook_timer);
    c->stop_until = MAX(c->stop_until, clock_mono(NULL) + GRACE_LEAST);
    send_stop(c);
}

void con_stop(struct container *c, int64_t grace_ns, const char *why)
{
    int64_t until = clock_mono(NULL) + MAX(grace_ns, 0);
    if (c->state == CON_STOPPING) { /* a shorter grace */
        if (until + GRACE_LEAST < c->stop_until) {
            c->stop_until = until;
            if (c->pre_stop_done)
                timer_set(c->pod->node->loop, &c->stop_timer, until, on_stop_late);
        }
        return;
    }
    if (c->state != CON_RUNNING)
        return;
    con_move(c, CON_STOPPING);
    c->stop_until = until;
    c->killed_by_us = true;
    pod_save(c->pod);
    pod_event(c->pod, str_of(c->name), false, "Killing", "%s %s", why, str_eqz(STR("Stopping container"), why) ? c->name : "");
    con_hooks_cancel(c);
    c->hook_timer.fn = on_pre_stop_done;
    if (grace_ns <= 0 || !con_pre_stop(c, grace_ns))
        send_stop(c);
    pod_report(c->pod);
}
