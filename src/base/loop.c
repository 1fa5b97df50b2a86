#include "base/loop.h"
#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include "base/clock.h"

#define BATCH 64

struct loop {
    int epoll, wake_fd, timer_fd;
    int64_t now, armed; /* what timer_fd is set to; INT64_MAX: not set */
    struct timer **heap;
    size_t ntimers, cap;
    struct list defers;
    struct watch wake, tick, signals;
    void (*on_signal)(void *arg, int signo);
    void *signal_arg;
    struct epoll_event batch[BATCH]; /* the turn's events: watch_del blanks those of the watch that goes */
    int nbatch, at;
    pthread_mutex_t lock; /* guards the posts */
    struct post *first_post, **last_post;
    atomic_bool stopped;
    atomic_int code;
};

static int64_t boot_time(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_BOOTTIME, &ts);
    return (int64_t)ts.tv_sec * NS_PER_S + ts.tv_nsec;
}

/* Watches */

int watch_add(struct loop *l, struct watch *w, int fd, uint32_t events, void (*fn)(struct watch *, uint32_t), struct err **e)
{
    struct epoll_event ev = {.events = events, .data.ptr = w};
    if (epoll_ctl(l->epoll, EPOLL_CTL_ADD, fd, &ev) < 0)
        return err_errno(e, errno, "watch file descriptor %d", fd);
    *w = (struct watch){fd, events, fn, l};
    return 0;
}

void watch_mod(struct watch *w, uint32_t events)
{
    if (!w->loop || w->events == events)
        return;
    struct epoll_event ev = {.events = events, .data.ptr = w};
    if (epoll_ctl(w->loop->epoll, EPOLL_CTL_MOD, w->fd, &ev) == 0)
        w->events = events;
}

void watch_del(struct watch *w)
{
    struct loop *l = w->loop;
    if (!l)
        return;
    epoll_ctl(l->epoll, EPOLL_CTL_DEL, w->fd, NULL);
    for (int i = l->at; i < l->nbatch; i++)
        if (l->batch[i].data.ptr == w)
            l->batch[i].data.ptr = NULL;
    w->loop = NULL;
}

/* Timers: a binary heap by due time; each timer knows its place, so that removal needs no search. */

static void heap_put(struct loop *l, size_t i, struct timer *t)
{
    l->heap[i] = t;
    t->heap_at = i;
}

static void heap_up(struct loop *l, size_t i, struct timer *t)
{
    for (; i && l->heap[(i - 1) / 2]->due > t->due; i = (i - 1) / 2)
        heap_put(l, i, l->heap[(i - 1) / 2]);
    heap_put(l, i, t);
}

static void heap_down(struct loop *l, size_t i, struct timer *t)
{
    for (;;) {
        size_t child = 2 * i + 1;
        if (child >= l->ntimers)
            break;
        if (child + 1 < l->ntimers && l->heap[child + 1]->due < l->heap[child]->due)
            child++;
        if (l->heap[child]->due >= t->due)
            break;
        heap_put(l, i, l->heap[child]);
        i = child;
    }
    heap_put(l, i, t);
}

void timer_del(struct timer *t)
{
    struct loop *l = t->loop;
    if (!l)
        return;
    size_t i = t->heap_at;
    struct timer *moved = l->heap[--l->ntimers];
    if (moved != t) {
        if (i && l->heap[(i - 1) / 2]->due > moved->due)
            heap_up(l, i, moved);
        else
            heap_down(l, i, moved);
    }
    t->loop = NULL;
}

void timer_set(struct loop *l, struct timer *t, int64_t due, void (*fn)(struct timer *))
{
    timer_del(t);
    if (l->ntimers == l->cap) {
        l->cap = l->cap ? l->cap * 2 : 16;
        l->heap = xrealloc(l->heap, l->cap * sizeof *l->heap);
    }
    t->fn = fn;
    t->due = due;
    t->loop = l;
    heap_up(l, l->ntimers++, t);
}

/* A timerfd rather than epoll's own time-out: it counts boot time, so that a machine that slept wakes on time. It is set anew only when the
 * earliest timer comes before what is set; a wake-up for a timer that was removed since costs one empty turn. */
static void arm(struct loop *l)
{
    int64_t due = l->ntimers ? MAX(l->heap[0]->due, 1) : INT64_MAX;
    if (due >= l->armed)
        return;
    struct itimerspec at = {.it_value = {due / NS_PER_S, due % NS_PER_S}};
    if (timerfd_settime(l->timer_fd, TFD_TIMER_ABSTIME, &at, NULL) == 0)
        l->armed = due;
}

static void on_tick(struct watch *w, uint32_t events)
{
    uint64_t n;
    if (read(w->fd, &n, sizeof n) == sizeof n)
        w->loop->armed = INT64_MAX;
}

static int run_timers(struct loop *l)
{
    int ran = 0;
    /* as many as stood there at the start: a timer that sets itself to now takes its turn after the watches */
    for (size_t n = l->ntimers; n && l->ntimers && l->heap[0]->due <= l->now; n--, ran++) {
        struct timer *t = l->heap[0];
        timer_del(t);
        t->fn(t);
    }
    return ran;
}

/* Posts */

static void wake(struct loop *l)
{
    uint64_t one = 1;
    while (write(l->wake_fd, &one, sizeof one) < 0 && errno == EINTR)
        ;
}

void loop_post(struct loop *l, struct post *p, void (*fn)(struct post *))
{
    p->fn = fn;
    p->next = NULL;
    pthread_mutex_lock(&l->lock);
    bool was_empty = !l->first_post;
    *l->last_post = p;
    l->last_post = &p->next;
    /* inside the lock: once it is released, the loop may run the post, stop and be freed */
    if (was_empty)
        wake(l);
    pthread_mutex_unlock(&l->lock);
}

static void on_wake(struct watch *w, uint32_t events)
{
    struct loop *l = w->loop;
    uint64_t n;
    while (read(l->wake_fd, &n, sizeof n) < 0 && errno == EINTR)
        ;
    pthread_mutex_lock(&l->lock);
    struct post *p = l->first_post;
    l->first_post = NULL;
    l->last_post = &l->first_post;
    pthread_mutex_unlock(&l->lock);
    while (p) {
        struct post *next = p->next; /* fn may free or post p again */
        p->fn(p);
        p = next;
    }
}

/* Deferred work */

void loop_defer(struct loop *l, struct defer *d, void (*fn)(struct defer *))
{
    d->fn = fn;
    if (d->on)
        return;
    d->on = true;
    list_push(&l->defers, &d->node);
}

void defer_del(struct loop *l, struct defer *d)
{
    if (d->on)
        list_remove(&d->node);
    d->on = false;
}

static int run_defers(struct loop *l)
{
    struct list now = LIST_INIT(now);
    int ran = 0;
    if (list_empty(&l->defers))
        return 0;
    /* what is deferred from here on runs at the end of the next turn */
    now = l->defers;
    now.prev->next = now.next->prev = &now;
    list_init(&l->defers);
    while (!list_empty(&now)) {
        struct defer *d = list_first(&now, struct defer, node);
        list_remove(&d->node);
        d->on = false;
        d->fn(d);
        ran++;
    }
    return ran;
}

/* The loop */

struct loop *loop_new(struct err **e)
{
    struct loop *l = xcalloc(1, sizeof *l);
    pthread_mutex_init(&l->lock, NULL);
    l->last_post = &l->first_post;
    l->armed = INT64_MAX;
    list_init(&l->defers);
    l->epoll = epoll_create1(EPOLL_CLOEXEC);
    l->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    l->timer_fd = timerfd_create(CLOCK_BOOTTIME, TFD_CLOEXEC | TFD_NONBLOCK);
    l->now = boot_time();
    if (l->epoll < 0 || l->wake_fd < 0 || l->timer_fd < 0) {
        err_errno(e, errno, "event loop");
        loop_free(l);
        return NULL;
    }
    if (watch_add(l, &l->wake, l->wake_fd, EPOLLIN, on_wake, e) < 0 || watch_add(l, &l->tick, l->timer_fd, EPOLLIN, on_tick, e) < 0) {
        loop_free(l);
        return NULL;
    }
    return l;
}

void loop_free(struct loop *l)
{
    if (!l)
        return;
    /* what was deferred is mostly memory on its way out, and may defer once more */
    for (int i = 0; i < 8 && !list_empty(&l->defers); i++)
        run_defers(l);
    if (l->signals.loop)
        closep(&l->signals.fd);
    closep(&l->epoll);
    closep(&l->wake_fd);
    closep(&l->timer_fd);
    pthread_mutex_destroy(&l->lock);
    free(l->heap);
    free(l);
}

int64_t loop_now(const struct loop *l)
{
    return l->now;
}

int loop_step(struct loop *l, int timeout_ms)
{
    if (!list_empty(&l->defers) || (l->ntimers && l->heap[0]->due <= l->now))
        timeout_ms = 0;
    arm(l);
    int n = epoll_wait(l->epoll, l->batch, BATCH, timeout_ms), handled = 0;
    l->now = boot_time();
    l->nbatch = MAX(n, 0);
    for (l->at = 0; l->at < l->nbatch;) {
        struct epoll_event *ev = &l->batch[l->at++];
        struct watch *w = ev->data.ptr;
        if (!w)
            continue;
        w->fn(w, ev->events);
        handled++;
    }
    l->nbatch = l->at = 0;
    handled += run_timers(l);
    return handled + run_defers(l);
}

/* glibc keeps what was freed, for ever: after a burst of work a process would stay as large as it ever was (800 MiB after a thousand watchers that
 * caught up). So, when a loop that had work comes to rest, or has not rested for a minute, free pages go back to the system. A loop that rests
 * is woken once more for it and then no more. */
#define TRIM_TURNS 256
#define REST_MS 2000
#define NO_REST_NS (60 * NS_PER_S)

static void trim(void)
{
#ifdef __GLIBC__
    malloc_trim(0);
#endif
}

int loop_run(struct loop *l)
{
    unsigned turns = 0;
    int64_t trimmed = l->now;
    while (!atomic_load(&l->stopped)) {
        bool worked = turns > TRIM_TURNS;
        int handled = loop_step(l, worked ? REST_MS : -1);
        turns += handled > 0;
        if (worked && (!handled || l->now - trimmed > NO_REST_NS)) {
            trim();
            trimmed = l->now;
            turns = 0;
        }
    }
    atomic_store(&l->stopped, false);
    return atomic_load(&l->code);
}

void loop_settle(struct loop *l)
{
    for (int i = 0; i < 16 && run_defers(l); i++)
        ;
}

void loop_stop(struct loop *l, int code)
{
    atomic_store(&l->code, code);
    atomic_store(&l->stopped, true);
    wake(l);
}

/* Children */

static void on_child(struct watch *w, uint32_t events)
{
    struct child *c = container_of(w, struct child, watch);
    int status;
    pid_t r = waitpid(c->pid, &status, WNOHANG);
    if (r == 0 || (r < 0 && errno == EINTR))
        return;
    if (r < 0)
        status = 0xff00; /* somebody else reaped it: all that is known is that it is gone */
    child_unwatch(c);
    c->fn(c, status);
}

int child_watch(struct loop *l, struct child *c, pid_t pid, void (*fn)(struct child *, int), struct err **e)
{
    int fd = (int)syscall(SYS_pidfd_open, pid, 0);
    if (fd < 0)
        return err_errno(e, errno, "pidfd_open %d", (int)pid);
    c->pid = pid;
    c->fn = fn;
    int r = watch_add(l, &c->watch, fd, EPOLLIN, on_child, e);
    if (r < 0)
        close(fd);
    return r;
}

void child_unwatch(struct child *c)
{
    if (!c->watch.loop)
        return;
    watch_del(&c->watch);
    closep(&c->watch.fd);
}

/* Signals */

static void on_signals(struct watch *w, uint32_t events)
{
    struct loop *l = w->loop;
    struct signalfd_siginfo si;
    while (read(w->fd, &si, sizeof si) == sizeof si)
        l->on_signal(l->signal_arg, (int)si.ssi_signo);
}

int loop_signals(struct loop *l, const int *signals, size_t n, void (*fn)(void *, int), void *arg, struct err **e)
{
    sigset_t set;
    sigemptyset(&set);
    for (size_t i = 0; i < n; i++)
        sigaddset(&set, signals[i]);
    int r = pthread_sigmask(SIG_BLOCK, &set, NULL);
    if (r)
        return err_errno(e, r, "block signals");
    int fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (fd < 0)
        return err_errno(e, errno, "signalfd");
    l->on_signal = fn;
    l->signal_arg = arg;
    r = watch_add(l, &l->signals, fd, EPOLLIN, on_signals, e);
    if (r < 0)
        close(fd);
    return r;
}
