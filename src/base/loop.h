/* The event loop: raw epoll, one per thread. Watches, timers, posts and child watches are embedded by their owner (intrusive) and must
 * outlive their registration; every callback may remove or free its own and any other watch.
 *
 * Threads: everything is to be called from the loop's own thread, except loop_post and loop_stop.
 * Timers run on CLOCK_BOOTTIME nanoseconds (clock_mono), from a heap; an idle loop sleeps without waking.
 */
#pragma once
#include <sys/epoll.h>
#include "base/err.h"
#include "base/list.h"

struct loop;

struct loop *loop_new(struct err **e);
void loop_free(struct loop *l);
DEFINE_CLEANUP(struct loop *, loop_free)
int loop_run(struct loop *l);        /* until loop_stop; returns the code given to it */
void loop_settle(struct loop *l); /* runs what is deferred and nothing else: things that end free themselves so. Before loop_free, while what they look at still stands */
void loop_stop(struct loop *l, int code);
int loop_step(struct loop *l, int timeout_ms); /* one turn, for tests: number of events handled */
int64_t loop_now(const struct loop *l); /* CLOCK_BOOTTIME ns at the start of this turn */

struct watch { /* readiness of a file descriptor; level-triggered */
    int fd;
    uint32_t events; /* EPOLLIN | EPOLLOUT...; EPOLLERR and EPOLLHUP are always told */
    void (*fn)(struct watch *w, uint32_t events);
    struct loop *loop; /* NULL when not registered */
};
int watch_add(struct loop *l, struct watch *w, int fd, uint32_t events, void (*fn)(struct watch *, uint32_t), struct err **e) _must_check_;
void watch_mod(struct watch *w, uint32_t events); /* nothing happens when unchanged */
void watch_del(struct watch *w);                  /* does not close fd; harmless when not registered */

struct timer {
    void (*fn)(struct timer *t);
    int64_t due;
    struct loop *loop; /* NULL when not set */
    size_t heap_at;
};
void timer_set(struct loop *l, struct timer *t, int64_t due_mono_ns, void (*fn)(struct timer *)); /* re-sets when set */
static inline void timer_in(struct loop *l, struct timer *t, int64_t ns, void (*fn)(struct timer *)) { timer_set(l, t, loop_now(l) + ns, fn); }
void timer_del(struct timer *t);

struct post { /* work handed to another thread's loop; run once, in order of posting */
    void (*fn)(struct post *p);
    struct post *next; /* the loop's */
};
void loop_post(struct loop *l, struct post *p, void (*fn)(struct post *)); /* thread-safe; p must not be pending already */

/* Runs fn at the end of the current turn (deferred free, coalesced flush), or in loop_free when there is no further turn. Set at most once until it
 * ran; who is freed before takes it back with defer_del. */
struct defer {
    void (*fn)(struct defer *d);
    struct list node;
    bool on;
};
void loop_defer(struct loop *l, struct defer *d, void (*fn)(struct defer *));
void defer_del(struct loop *l, struct defer *d);

struct child { /* a process; through a pidfd, so that pids cannot be mistaken */
    struct watch watch;
    pid_t pid;
    void (*fn)(struct child *c, int status); /* wait status; the child is reaped and unregistered already */
};
int child_watch(struct loop *l, struct child *c, pid_t pid, void (*fn)(struct child *, int), struct err **e) _must_check_;
void child_unwatch(struct child *c);

/* Signals by signalfd: the mask is blocked in the calling thread. fn gets the number. At most one call per loop. */
int loop_signals(struct loop *l, const int *signals, size_t n, void (*fn)(void *arg, int signo), void *arg, struct err **e) _must_check_;
