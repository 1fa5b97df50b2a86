/* Many threads at once: writers, readers, watchers and waiters; meant for ThreadSanitizer as much as for its own checks. */
#include <pthread.h>
#include "kit.h"

#define WRITERS 3
#define EACH 400

struct team {
    struct store *s;
    _Atomic bool stop;
    _Atomic int written, seen, waited;
};
struct member {
    struct team *t;
    int number;
    pthread_t thread;
};

static void ack(struct store_wait *w, int result)
{
    w->rev = -w->rev; /* answered, one way or the other */
}

static void *writer(void *arg)
{
    struct member *m = arg;
    struct loop *l = loop_new(NULL);
    for (int i = 0; i < EACH; i++) {
        char name[16], v[16];
        snprintf(name, sizeof name, "w%d-%d", m->number, i % 20);
        snprintf(v, sizeof v, "%d", i);
        int64_t rev = 0;
        if (kit_try(m->t->s, "/configmaps", "a", name, v, i % 10 == 3 ? STORE_SOFT : 0, &rev) < 0)
            continue;
        m->t->written++;
        struct store_wait w = {0};
        if (i % 5 == 0 && !store_wait(m->t->s, rev, &w, l, ack)) {
            while (w.rev > 0)
                loop_step(l, 50);
        }
        m->t->waited++;
        if (i % 50 == 49)
            kit_delete(m->t->s, "/configmaps", "a", name);
    }
    loop_free(l);
    return NULL;
}

static void *reader(void *arg)
{
    struct member *m = arg;
    struct store_res *r = store_find(m->t->s, STR("/configmaps"));
    while (!m->t->stop) {
        struct store_view *v = store_view(m->t->s);
        struct store_iter it;
        size_t n = 0;
        iter_start(&it, v, r, STR_NULL, STR_NULL, STR_NULL);
        for (const struct obj *o, *last = NULL; (o = iter_next(&it)); last = o, n++)
            if (o->rev > view_rev(v) || (last && str_cmp(last->name, o->name) >= 0))
                abort();
        if (n != view_count(v, r, STR_NULL))
            abort();
        store_view_unref(v);
    }
    return NULL;
}

static void nothing(void *arg) {}

static void *watcher(void *arg)
{
    struct member *m = arg;
    struct loop *l = loop_new(NULL);
    struct store_watch *w = NULL;
    int64_t last = 0;
    if (store_watch_open(m->t->s, m->number ? NULL : store_find(m->t->s, STR("/configmaps")), 0, m->number ? STORE_WATCH_DURABLE : 0, l,
            nothing, NULL, &w, NULL) < 0)
        abort();
    for (bool over = false; !over;) {
        over = m->t->stop; /* after it one more look */
        loop_step(l, 5);
        for (struct store_event *ev; (ev = store_watch_next(w, NULL)); store_event_unref(ev)) {
            if (ev->rev <= last)
                abort();
            last = ev->rev;
            m->t->seen++;
        }
    }
    store_watch_close(w);
    while (loop_step(l, 0) > 0) {
    }
    loop_free(l);
    return NULL;
}

static int flaky(void *arg, int64_t n)
{
    return n % 7 == 6 ? -ERR_IO : 0;
}

static void play(struct store *s, struct team *t)
{
    struct member w[WRITERS], r[2], x[2];
    *t = (struct team){.s = s};
    for (int i = 0; i < 2; i++) {
        x[i] = (struct member){t, i, 0};
        r[i] = (struct member){t, i, 0};
        pthread_create(&x[i].thread, NULL, watcher, &x[i]);
        pthread_create(&r[i].thread, NULL, reader, &r[i]);
    }
    for (int i = 0; i < WRITERS; i++) {
        w[i] = (struct member){t, i, 0};
        pthread_create(&w[i].thread, NULL, writer, &w[i]);
    }
    for (int i = 0; i < WRITERS; i++)
        pthread_join(w[i].thread, NULL);
    kit_wait(s, s->head);
    t->stop = true;
    for (int i = 0; i < 2; i++) {
        pthread_join(r[i].thread, NULL);
        pthread_join(x[i].thread, NULL);
    }
}

TEST(threads_share_a_store_in_memory)
{
    struct store *s = kit_open(NULL, NULL);
    struct team t;
    play(s, &t);
    EQ(t.written, WRITERS * EACH);
    EQ(t.seen, 2 * (WRITERS * EACH + WRITERS * (EACH / 50)));
    store_close(s);
}

TEST(threads_share_a_store_on_disk)
{
    struct store *s = kit_open(test_tmpdir(), NULL);
    struct team t;
    play(s, &t);
    EQ(t.written, WRITERS * EACH);
    EQ(t.seen, 2 * (WRITERS * EACH + WRITERS * (EACH / 50)));
    size_t n = kit_count(s, "/configmaps");
    store_close(s);
    s = kit_open(test_tmpdir(), NULL);
    EQ(kit_count(s, "/configmaps"), n);
    store_close(s);
}

TEST(threads_survive_a_disk_that_fails_now_and_then)
{
    struct store *s = kit_open(test_tmpdir(), NULL);
    struct team t;
    committer_times(s, SOFT_NS, 2 * NS_PER_MS);
    backend_fault(s->disk, flaky, NULL);
    play(s, &t);
    OK(t.written > 0);
    OK(store_epoch(s) > 1);
    store_close(s);
}
