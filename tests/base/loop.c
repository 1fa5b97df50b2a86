#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>
#include "harness.h"
#include "base/clock.h"
#include "base/loop.h"

static struct loop *make(void)
{
    struct err *e = NULL;
    struct loop *l = loop_new(&e);
    OK(l);
    return l;
}

/* Timers */

struct mark {
    struct timer t;
    int id;
};
static int fired[64], nfired;
static void on_mark(struct timer *t)
{
    fired[nfired++] = container_of(t, struct mark, t)->id;
}

TEST(timers_fire_in_order_of_their_due_time)
{
    _cleanup_(loop_freep) struct loop *l = make();
    struct mark m[40] = {0};
    nfired = 0;
    for (int i = 0; i < 40; i++) {
        m[i].id = i * 7 % 40;
        timer_in(l, &m[i].t, m[i].id * NS_PER_MS / 4, on_mark);
    }
    for (int i = 0; i < 40; i += 2)
        timer_del(&m[i].t);
    while (nfired < 20)
        loop_step(l, 1000);
    for (int i = 1; i < 20; i++)
        OK(fired[i] > fired[i - 1]);
    EQ(loop_step(l, 20), 0);
}

static struct mark self;
static int self_runs;
static struct loop *self_loop;
static void on_self_again(struct timer *t)
{
    self_runs++;
    timer_in(self_loop, t, 0, on_self_again);
}

TEST(a_timer_that_sets_itself_to_now_does_not_starve_the_rest)
{
    _cleanup_(loop_freep) struct loop *l = self_loop = make();
    self_runs = 0;
    timer_in(l, &self.t, 0, on_self_again);
    for (int i = 0; i < 10; i++)
        loop_step(l, 1000);
    EQ(self_runs, 10);
    timer_del(&self.t);
}

TEST(a_timer_set_again_moves)
{
    _cleanup_(loop_freep) struct loop *l = make();
    struct mark m = {.id = 1};
    nfired = 0;
    timer_in(l, &m.t, 3600 * NS_PER_S, on_mark);
    timer_in(l, &m.t, 2 * NS_PER_MS, on_mark);
    int64_t start = clock_mono(NULL);
    while (!nfired)
        loop_step(l, 5000);
    OK(clock_mono(NULL) - start < NS_PER_S);
    OK(!m.t.loop);
}

/* Watches */

static struct watch *pair[2];
static int calls;
static void on_killer(struct watch *w, uint32_t events)
{
    calls++;
    for (int i = 0; i < 2; i++) {
        watch_del(pair[i]);
        free(pair[i]); /* a call of the other would be a use after free */
    }
}

TEST(a_watch_removed_by_another_in_the_same_turn_is_not_called)
{
    _cleanup_(loop_freep) struct loop *l = make();
    int a[2], b[2];
    EQ(pipe(a) | pipe(b), 0);
    EQ(write(a[1], "x", 1) + write(b[1], "x", 1), 2);
    pair[0] = xcalloc(1, sizeof *pair[0]);
    pair[1] = xcalloc(1, sizeof *pair[1]);
    OK(watch_add(l, pair[0], a[0], EPOLLIN, on_killer, NULL) == 0 && watch_add(l, pair[1], b[0], EPOLLIN, on_killer, NULL) == 0);
    calls = 0;
    EQ(loop_step(l, 1000), 1);
    EQ(calls, 1);
    EQ(loop_step(l, 0), 0);
    close(a[0]), close(a[1]), close(b[0]), close(b[1]);
}

TEST(watching_a_bad_descriptor_is_an_error)
{
    _cleanup_(loop_freep) struct loop *l = make();
    struct watch w = {0};
    EQ(watch_add(l, &w, 9999, EPOLLIN, on_killer, NULL), -ERR_IO);
    watch_del(&w);
}

/* Posts */

#define THREADS 4
#define POSTS 5000
struct job {
    struct post p;
    int thread, seq;
};
static int next_seq[THREADS], total_posts;
static struct loop *post_loop;
static void on_job(struct post *p)
{
    struct job *j = container_of(p, struct job, p);
    if (next_seq[j->thread] != j->seq)
        loop_stop(post_loop, 1);
    next_seq[j->thread]++;
    free(j);
    if (++total_posts == THREADS * POSTS)
        loop_stop(post_loop, 0);
}
static void *poster(void *arg)
{
    for (int i = 0; i < POSTS; i++) {
        struct job *j = xcalloc(1, sizeof *j);
        j->thread = (int)(intptr_t)arg;
        j->seq = i;
        loop_post(post_loop, &j->p, on_job);
    }
    return NULL;
}

TEST(posts_of_several_threads_arrive_once_and_in_order)
{
    _cleanup_(loop_freep) struct loop *l = post_loop = make();
    pthread_t t[THREADS];
    memset(next_seq, 0, sizeof next_seq);
    total_posts = 0;
    for (intptr_t i = 0; i < THREADS; i++)
        EQ(pthread_create(&t[i], NULL, poster, (void *)i), 0);
    int code = loop_run(l);
    for (int i = 0; i < THREADS; i++)
        pthread_join(t[i], NULL);
    EQ(code, 0);
    EQ(total_posts, THREADS * POSTS);
}

static void *stopper(void *arg)
{
    usleep(20000);
    loop_stop(arg, 7);
    return NULL;
}

TEST(another_thread_can_stop_a_sleeping_loop)
{
    _cleanup_(loop_freep) struct loop *l = make();
    pthread_t t;
    EQ(pthread_create(&t, NULL, stopper, l), 0);
    EQ(loop_run(l), 7);
    pthread_join(t, NULL);
}

/* Defers, children, signals */

static int deferred;
static struct loop *defer_loop;
static struct defer d1, d2;
static void on_defer(struct defer *d)
{
    deferred++;
    if (d == &d1) {
        defer_del(defer_loop, &d2);
        if (deferred < 3)
            loop_defer(defer_loop, &d1, on_defer);
    }
}

TEST(deferred_work_runs_once_and_can_be_taken_back)
{
    _cleanup_(loop_freep) struct loop *l = defer_loop = make();
    deferred = 0;
    loop_defer(l, &d1, on_defer);
    loop_defer(l, &d1, on_defer);
    loop_defer(l, &d2, on_defer);
    EQ(loop_step(l, 1000), 1);
    EQ(deferred, 1);
    EQ(loop_step(l, 1000), 1);
    EQ(loop_step(l, 1000), 1);
    EQ(deferred, 3);
    EQ(loop_step(l, 0), 0);
}

static int child_status;
static void on_child(struct child *c, int status)
{
    child_status = status;
}

TEST(a_child_is_reaped_with_its_status)
{
    _cleanup_(loop_freep) struct loop *l = make();
    struct child c = {0};
    child_status = -1;
    pid_t pid = fork();
    if (pid == 0)
        _exit(9);
    OK(child_watch(l, &c, pid, on_child, NULL) == 0);
    while (child_status < 0)
        loop_step(l, 5000);
    OK(WIFEXITED(child_status) && WEXITSTATUS(child_status) == 9);
    OK(!c.watch.loop);
    child_unwatch(&c);
    EQ(waitpid(pid, NULL, WNOHANG), -1);
}

static int got_signal;
static void on_signal(void *arg, int signo)
{
    got_signal = signo;
    loop_stop(arg, 0);
}

TEST(a_signal_arrives_as_an_event)
{
    _cleanup_(loop_freep) struct loop *l = make();
    int want[] = {SIGUSR1, SIGUSR2};
    OK(loop_signals(l, want, 2, on_signal, l, NULL) == 0);
    kill(getpid(), SIGUSR2);
    loop_run(l);
    EQ(got_signal, SIGUSR2);
}
