/* What node must know to adopt or clean a pod after kill -9. Written before the step that makes something, by rename, so that there is
 * always one whole state; not synced, since after a power cut none of the processes it speaks of exist. */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>
#include "base/file.h"
#include "base/log.h"
#include "node/impl.h"

#define STATE_MAX (4u << 20)

struct saved_run { struct str id, reason, message; int64_t started, finished, exit_code; };
struct saved_container {
    struct str name, id, image_id, waiting_reason, waiting_message;
    uint64_t kind, state, spec_hash, restarts, pid, pid_start, conmon, conmon_start;
    int64_t started, backoff, next_at, last_update;
    bool started_ok, ran, ended, killed_by_us;
    struct saved_run now, last;
};
struct saved_pod {
    struct str boot_id, ip, reason, message, cgroup;
    uint64_t state, pause, pause_start;
    int64_t started, grace_ns;
    bool stop, deadline_passed, evicted, failed_final;
    struct saved_container *c; size_t nc;
};

static const struct wire_field run_fields[] = {WIRE_STR(struct saved_run, id, 128), WIRE_STR(struct saved_run, reason, 256),
    WIRE_STR(struct saved_run, message, 65536), WIRE_I64(struct saved_run, started), WIRE_I64(struct saved_run, finished),
    WIRE_I64(struct saved_run, exit_code), WIRE_END};
static const struct wire_type run_type = {"run", sizeof(struct saved_run), run_fields};
static const struct wire_field con_fields[] = {WIRE_STR(struct saved_container, name, 253), WIRE_STR(struct saved_container, id, 128),
    WIRE_STR(struct saved_container, image_id, 253), WIRE_STR(struct saved_container, waiting_reason, 253),
    WIRE_STR(struct saved_container, waiting_message, 65536), WIRE_ENUM(struct saved_container, kind, CON_EPHEMERAL + 1),
    WIRE_ENUM(struct saved_container, state, CON_COUNT), WIRE_U64(struct saved_container, spec_hash),
    WIRE_U64(struct saved_container, restarts), WIRE_U64(struct saved_container, pid), WIRE_U64(struct saved_container, pid_start),
    WIRE_U64(struct saved_container, conmon), WIRE_U64(struct saved_container, conmon_start), WIRE_I64(struct saved_container, started),
    WIRE_I64(struct saved_container, backoff), WIRE_I64(struct saved_container, next_at), WIRE_I64(struct saved_container, last_update),
    WIRE_BOOL(struct saved_container, started_ok), WIRE_BOOL(struct saved_container, ran), WIRE_BOOL(struct saved_container, ended),
    WIRE_BOOL(struct saved_container, killed_by_us), WIRE_STRUCT(struct saved_container, now, &run_type),
    WIRE_STRUCT(struct saved_container, last, &run_type), WIRE_END};
static const struct wire_type con_type = {"container", sizeof(struct saved_container), con_fields};
static const struct wire_field pod_fields[] = {WIRE_STR(struct saved_pod, boot_id, 64), WIRE_STR(struct saved_pod, ip, 64),
    WIRE_STR(struct saved_pod, reason, 253), WIRE_STR(struct saved_pod, message, 65536), WIRE_STR(struct saved_pod, cgroup, 1024),
    WIRE_ENUM(struct saved_pod, state, PS_COUNT), WIRE_U64(struct saved_pod, pause), WIRE_U64(struct saved_pod, pause_start),
    WIRE_I64(struct saved_pod, started), WIRE_I64(struct saved_pod, grace_ns), WIRE_BOOL(struct saved_pod, stop),
    WIRE_BOOL(struct saved_pod, deadline_passed), WIRE_BOOL(struct saved_pod, evicted), WIRE_BOOL(struct saved_pod, failed_final),
    WIRE_LIST(struct saved_pod, c, nc, &con_type, 1024), WIRE_END};
static const struct wire_type pod_type = {"pod state", sizeof(struct saved_pod), pod_fields};

int journal_replace(const char *path, struct str text, struct err **e)
{
    _cleanup_(freep) char *tmp = xasprintf("%s.new", path);
    _cleanup_(closep) int fd = open(tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return err_errno(e, errno, "%s", tmp);
    int r = fd_write_all(fd, text.p, text.n, e);
    if (r == 0 && rename(tmp, path) < 0)
        r = err_errno(e, errno, "%s", path);
    if (r < 0)
        unlink(tmp);
    return r;
}

static struct saved_run run_out(const struct run_result *r)
{
    return (struct saved_run){str_of(r->id), str_of(r->reason), str_of(r->message), r->started, r->finished, r->exit_code};
}

static void run_in(struct run_result *r, const struct saved_run *s)
{
    r->id = s->id.n ? str_dup(s->id) : NULL;
    r->reason = s->reason.n ? str_dup(s->reason) : NULL;
    r->message = s->message.n ? str_dup(s->message) : NULL;
    r->started = s->started;
    r->finished = s->finished;
    r->exit_code = s->exit_code;
}

void pod_save(struct pod *p)
{
    struct pool *pool = pool_new();
    struct saved_container *list = pool_array(pool, struct saved_container, p->nc + 1);
    for (size_t i = 0; i < p->nc; i++) {
        const struct container *c = p->c[i];
        list[i] = (struct saved_container){str_of(c->name), str_of(c->id), str_of(c->image_id), str_of(c->waiting_reason),
            str_of(c->waiting_message), c->kind, c->state, c->spec_hash, c->restarts, (uint64_t)c->pid, c->pid_start,
            (uint64_t)c->conmon.pid, c->conmon.start, c->started, c->backoff, c->next_at, c->last_update, c->started_ok, c->ran, c->ended,
            c->killed_by_us, run_out(&c->now), run_out(&c->last)};
    }
    struct process pause = p->sandbox ? sandbox_process(p->sandbox) : (struct process){0, 0};
    struct saved_pod s = {str_of(p->node->boot_id), str_of(p->ip), str_of(p->reason), str_of(p->message), str_of(p->cgroup), p->state,
        (uint64_t)pause.pid, pause.start, p->started, p->grace_ns, p->stop, p->deadline_passed, p->evicted, p->failed_final, list, p->nc};
    struct buf b = BUF_INIT;
    wire_encode(&pod_type, &s, &b);
    _cleanup_(freep) char *path = xasprintf("%s/state", p->dir);
    _cleanup_(err_freep) struct err *e = NULL;
    if (journal_replace(path, buf_str(&b), &e) < 0)
        log_error("pod=%.*s/%.*s journal: %s", STR_ARG(p->spec.ns), STR_ARG(p->spec.name), err_msg(e));
    buf_clear(&b);
    pool_free(pool);
}

static void load_container(struct pod *p, const struct saved_container *s)
{
    struct container *c = con_new(p, s->name, s->kind);
    c->state = (enum con_state)s->state;
    c->id = s->id.n ? str_dup(s->id) : NULL;
    c->bundle = c->id ? xasprintf("%s/c/%s", p->dir, c->id) : NULL;
    c->image_id = s->image_id.n ? str_dup(s->image_id) : NULL;
    c->waiting_reason = s->waiting_reason.n ? str_dup(s->waiting_reason) : NULL;
    c->waiting_message = s->waiting_message.n ? str_dup(s->waiting_message) : NULL;
    c->spec_hash = s->spec_hash;
    c->restarts = s->restarts;
    c->pid = (pid_t)s->pid;
    c->pid_start = s->pid_start;
    c->conmon = (struct process){(pid_t)s->conmon, s->conmon_start};
    c->started = s->started;
    c->backoff = s->backoff;
    c->next_at = s->next_at;
    c->last_update = s->last_update;
    c->started_ok = s->started_ok;
    c->ran = s->ran;
    c->ended = s->ended;
    c->killed_by_us = s->killed_by_us;
    run_in(&c->now, &s->now);
    run_in(&c->last, &s->last);
}

int pod_load(struct pod *p, bool *same_boot, struct err **e)
{
    _cleanup_(freep) char *spec_path = xasprintf("%s/spec", p->dir), *state_path = xasprintf("%s/state", p->dir);
    _cleanup_(buf_clear) struct buf spec = BUF_INIT, state = BUF_INIT;
    _cleanup_(pool_freep) struct pool *pool = pool_new();
    struct saved_pod s = {0};
    int r = file_read(spec_path, WIRE_MAX, &spec, e);
    if (r == 0)
        r = file_read(state_path, STATE_MAX, &state, e);
    if (r == 0)
        r = wire_decode(&pod_type, buf_str(&state), pool, &s, e);
    if (r < 0)
        return r;
    for (size_t i = 0; i < s.nc; i++)
        load_container(p, &s.c[i]);
    r = pod_take_spec(p, buf_str(&spec), e);
    if (r < 0)
        return r;
    *same_boot = str_eqz(s.boot_id, p->node->boot_id);
    p->ip = s.ip.n ? str_dup(s.ip) : NULL;
    p->reason = s.reason.n ? str_dup(s.reason) : NULL;
    p->message = s.message.n ? str_dup(s.message) : NULL;
    p->pause = (struct process){(pid_t)s.pause, s.pause_start};
    p->started = s.started;
    p->grace_ns = s.grace_ns;
    p->stop = s.stop;
    p->deadline_passed = s.deadline_passed;
    p->evicted = s.evicted;
    p->failed_final = s.failed_final;
    p->state = (enum pod_state)s.state;
    return 0;
}
