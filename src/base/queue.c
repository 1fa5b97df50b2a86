#include "base/queue.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/map.h"

/* A key's life:
 *
 *     (absent) --add--> WAITING --taken--> IN HAND --DONE--> (absent, or WAITING when it was added meanwhile)
 *         \--add_in--> (delayed only) --time--> WAITING         \--RETRY--> (delayed only, failures + 1)
 */
#define SLICE_KEYS 32
#define SLICE_NS (2 * NS_PER_MS)
#define RETRY_FIRST (5 * NS_PER_MS)
#define RETRY_MAX (1000 * NS_PER_S)

struct entry {
    struct queue *q;
    struct list node; /* in q->waiting */
    struct timer timer; /* the delay, when set */
    bool waiting, in_hand, again /* added while in hand */, retry_timer;
    unsigned failures;
    size_t nkey;
    char key[];
};

struct queue {
    struct loop *loop;
    char *name;
    int workers, busy;
    queue_fn *fn;
    void *arg;
    struct map entries;
    struct list waiting;
    size_t nwaiting;
    struct timer turn;
    bool *freed; /* set while fn runs: queue_free inside it is noticed */
};

static struct str key_of(const struct entry *x)
{
    return str_make(x->key, x->nkey);
}

static void entry_free(void *p)
{
    struct entry *x = p;
    timer_del(&x->timer);
    free(x);
}

static void drop_if_idle(struct entry *x)
{
    if (x->waiting || x->in_hand || x->timer.loop || x->failures)
        return;
    map_del(&x->q->entries, key_of(x));
    entry_free(x);
}

static struct entry *entry_of(struct queue *q, struct str key)
{
    struct entry *x = map_get(&q->entries, key);
    if (x)
        return x;
    x = xcalloc(1, sizeof *x + key.n + 1);
    x->q = q;
    x->nkey = key.n;
    if (key.n)
        memcpy(x->key, key.p, key.n);
    list_init(&x->node);
    map_put(&q->entries, key, x);
    return x;
}

static void on_turn(struct timer *t);

static void kick(struct queue *q)
{
    if (!q->turn.loop && q->nwaiting && q->busy < q->workers)
        timer_in(q->loop, &q->turn, 0, on_turn);
}

static void enqueue(struct entry *x)
{
    if (x->in_hand) {
        x->again = true;
        return;
    }
    if (x->waiting)
        return;
    x->waiting = true;
    list_push(&x->q->waiting, &x->node);
    x->q->nwaiting++;
    kick(x->q);
}

static void on_delay(struct timer *t)
{
    struct entry *x = container_of(t, struct entry, timer);
    x->retry_timer = false;
    enqueue(x);
}

static void delay(struct entry *x, int64_t ns, bool retry)
{
    int64_t due = loop_now(x->q->loop) + MAX(ns, 0);
    if (x->timer.loop && x->timer.due <= due)
        return;
    x->retry_timer = retry;
    timer_set(x->q->loop, &x->timer, due, on_delay);
}

static void ended(struct entry *x, enum queue_result r)
{
    if (r == QUEUE_PENDING)
        return; /* x may be gone: queue_finish may have been called before fn returned */
    struct queue *q = x->q;
    x->in_hand = false;
    q->busy--;
    if (r == QUEUE_RETRY) {
        int64_t ns = x->failures < 18 ? MIN(RETRY_FIRST << x->failures, RETRY_MAX) : RETRY_MAX;
        x->failures++;
        /* a tenth of jitter: many keys that failed together do not come back together */
        if (!x->again)
            delay(x, ns + (int64_t)(random_u64() % (uint64_t)(ns / 10 + 1)), true);
    } else {
        x->failures = 0;
    }
    if (x->again) {
        x->again = false;
        enqueue(x);
    }
    drop_if_idle(x);
    kick(q);
}

static void on_turn(struct timer *t)
{
    struct queue *q = container_of(t, struct queue, turn);
    int64_t until = clock_mono(NULL) + SLICE_NS;
    bool freed = false;
    for (int i = 0; i < SLICE_KEYS && q->busy < q->workers; i++) {
        struct entry *x = list_first(&q->waiting, struct entry, node);
        if (!x || (i && clock_mono(NULL) >= until))
            break;
        list_remove(&x->node);
        q->nwaiting--;
        x->waiting = false;
        x->in_hand = true;
        q->busy++;
        q->freed = &freed;
        enum queue_result r = q->fn(q->arg, key_of(x));
        if (freed)
            return;
        q->freed = NULL;
        ended(x, r);
    }
    kick(q);
}

struct queue *queue_new(struct loop *l, const char *name, int workers, queue_fn *fn, void *arg)
{
    struct queue *q = xcalloc(1, sizeof *q);
    *q = (struct queue){.loop = l, .name = xstrdup(name), .workers = MAX(workers, 1), .fn = fn, .arg = arg};
    list_init(&q->waiting);
    return q;
}

void queue_free(struct queue *q)
{
    if (!q)
        return;
    if (q->freed)
        *q->freed = true;
    timer_del(&q->turn);
    map_clear(&q->entries, entry_free);
    free(q->name);
    free(q);
}

void queue_add(struct queue *q, struct str key)
{
    struct entry *x = entry_of(q, key);
    if (x->retry_timer) {
        timer_del(&x->timer); /* what it waited for is overtaken */
        x->retry_timer = false;
    }
    enqueue(x);
}

void queue_add_in(struct queue *q, struct str key, int64_t ns)
{
    if (ns <= 0)
        queue_add(q, key);
    else
        delay(entry_of(q, key), ns, false);
}

void queue_finish(struct queue *q, struct str key, enum queue_result r)
{
    struct entry *x = map_get(&q->entries, key);
    if (x && x->in_hand)
        ended(x, r);
}

size_t queue_len(const struct queue *q)
{
    return q->nwaiting + (size_t)q->busy;
}
