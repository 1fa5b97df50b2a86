#include "runtime/helper.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/file.h"

struct helper {
    struct loop *loop;
    struct child child;
    struct watch pipe;
    struct timer limit;
    struct buf result;  /* 4 bytes of code, then message or output */
    bool ended, closed, late;
    helper_done *done;
    void *owner;
};

static int by_number(const void *a, const void *b)
{
    return *(const int *)a - *(const int *)b;
}

void helper_close_fds(const int *keep, size_t nkeep)
{
    int sorted[32], from = 3;
    size_t n = 0;
    for (size_t i = 0; i < nkeep && n < ARRAY_LEN(sorted); i++)
        if (keep[i] > 2)
            sorted[n++] = keep[i];
    qsort(sorted, n, sizeof *sorted, by_number);
    for (size_t i = 0; i < n; i++) {
        if (sorted[i] > from)
            syscall(SYS_close_range, from, sorted[i] - 1, 0);
        from = sorted[i] + 1;
    }
    syscall(SYS_close_range, from, ~0U, 0);
}

static _noreturn_ void child_main(helper_fn *fn, void *arg, int report, const int *keep, size_t nkeep)
{
    sigset_t none;
    sigemptyset(&none);
    signal(SIGPIPE, SIG_IGN);
    sigprocmask(SIG_SETMASK, &none, NULL);
    if (keep) {
        int all[32];
        size_t n = MIN(nkeep, ARRAY_LEN(all) - 1);
        memcpy(all, keep, n * sizeof *keep);
        all[n++] = report;
        helper_close_fds(all, n);
    }
    struct err *e = NULL;
    struct buf out = BUF_INIT, whole = BUF_INIT;
    int32_t code = fn(arg, &out, &e);
    buf_add(&whole, &code, sizeof code);
    buf_str_add(&whole, code < 0 ? str_of(err_msg(e)) : buf_str(&out));
    (void)!fd_write_all(report, whole.p, whole.n, NULL);
    _exit(0);
}

static pid_t start(helper_fn *fn, void *arg, const int *keep, size_t nkeep, int *result, struct err **e)
{
    int p[2];
    if (pipe2(p, O_CLOEXEC) < 0)
        return err_errno(e, errno, "helper: pipe");
    pid_t pid = fork();
    if (pid == 0)
        child_main(fn, arg, p[1], keep, nkeep);
    int saved = errno;
    close(p[1]);
    if (pid < 0) {
        close(p[0]);
        return err_errno(e, saved, "helper: fork");
    }
    *result = p[0];
    return pid;
}

static int unpack(struct buf *result, struct str *out, bool late, struct err **e)
{
    int32_t code;
    if (late)
        return err_set(e, ERR_TIMEOUT, "helper process: not done in time");
    if (result->n < sizeof code)
        return err_set(e, ERR_INTERNAL, "helper process died");
    memcpy(&code, result->p, sizeof code);
    struct str rest = str_make(result->p + sizeof code, result->n - sizeof code);
    if (code < 0)
        return err_set(e, -code > 0 && -code < ERR_CODES ? (enum err_code)-code : ERR_INTERNAL, "%.*s", STR_ARG(rest));
    *out = rest;
    return 0;
}

static void forget(struct helper *h)
{
    child_unwatch(&h->child);
    int fd = h->pipe.fd;
    watch_del(&h->pipe);
    close(fd);
    timer_del(&h->limit);
    buf_clear(&h->result);
    free(h);
}

static void finish(struct helper *h)
{
    if (!h->ended || !h->closed)
        return;
    _cleanup_(err_freep) struct err *e = NULL;
    struct str out = STR_NULL;
    (void)!unpack(&h->result, &out, h->late, &e);
    h->done(h->owner, e, out);
    forget(h);
}

static void on_pipe(struct watch *w, uint32_t events)
{
    struct helper *h = container_of(w, struct helper, pipe);
    char chunk[16384];
    ssize_t n = read(w->fd, chunk, sizeof chunk);
    if (n > 0 && h->result.n + (size_t)n <= HELPER_OUTPUT_MAX) {
        buf_add(&h->result, chunk, (size_t)n);
        return;
    }
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    watch_mod(w, 0);
    watch_del(w);
    h->closed = true;
    finish(h);
}

static void on_end(struct child *c, int status)
{
    struct helper *h = container_of(c, struct helper, child);
    h->ended = true;
    if (WIFSIGNALED(status) && !h->closed && h->result.n == 0) {
        watch_del(&h->pipe);
        h->closed = true;
    }
    finish(h);
}

static void on_limit(struct timer *t)
{
    struct helper *h = container_of(t, struct helper, limit);
    h->late = true;
    kill(h->child.pid, SIGKILL);
}

struct helper *helper_start(
    struct loop *l, helper_fn *fn, void *arg, const int *keep, size_t nkeep, int timeout_ms, helper_done *done, void *owner, struct err **e)
{
    int fd = -1;
    pid_t pid = start(fn, arg, keep, nkeep, &fd, e);
    if (pid < 0)
        return NULL;
    struct helper *h = xcalloc(1, sizeof *h);
    h->loop = l;
    h->done = done;
    h->owner = owner;
    fd_nonblock(fd);
    h->pipe.fd = fd;
    if (watch_add(l, &h->pipe, fd, EPOLLIN, on_pipe, e) < 0 || child_watch(l, &h->child, pid, on_end, e) < 0) {
        kill(pid, SIGKILL);
        while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
            ;
        forget(h);
        return NULL;
    }
    if (timeout_ms)
        timer_set(l, &h->limit, clock_mono(NULL) + timeout_ms * NS_PER_MS, on_limit);
    return h;
}

void helper_cancel(struct helper *h)
{
    if (!h)
        return;
    if (!h->ended) {
        kill(h->child.pid, SIGKILL);
        child_unwatch(&h->child);
        while (waitpid(h->child.pid, NULL, 0) < 0 && errno == EINTR)
            ;
    }
    forget(h);
}

pid_t helper_pid(const struct helper *h)
{
    return h->child.pid;
}

int helper_wait(helper_fn *fn, void *arg, struct buf *out, struct err **e)
{
    _cleanup_(closep) int fd = -1;
    pid_t pid = start(fn, arg, NULL, 0, &fd, e);
    if (pid < 0)
        return pid;
    _cleanup_(buf_clear) struct buf result = BUF_INIT;
    char chunk[16384];
    ssize_t n;
    while ((n = read(fd, chunk, sizeof chunk)) > 0 || (n < 0 && errno == EINTR))
        if (n > 0 && result.n + (size_t)n <= HELPER_OUTPUT_MAX)
            buf_add(&result, chunk, (size_t)n);
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        ;
    struct str text = STR_NULL;
    int r = unpack(&result, &text, false, e);
    if (r == 0 && out)
        buf_str_add(out, text);
    return r;
}
