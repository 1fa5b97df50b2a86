#include "harness.h"
#include "base/clock.h"
#include "base/queue.h"

static struct loop *l;
static struct queue *q;
static char seen[4096];
static enum queue_result answer;
static int rounds;

static enum queue_result record(void *arg, struct str key)
{
    size_t n = strlen(seen);
    snprintf(seen + n, sizeof seen - n, "%.*s ", STR_ARG(key));
    rounds++;
    return answer;
}

static void start(queue_fn *fn, int workers)
{
    struct err *e = NULL;
    l = loop_new(&e);
    OK(l);
    q = queue_new(l, "unit", workers, fn, NULL);
    seen[0] = 0;
    answer = QUEUE_DONE;
    rounds = 0;
}

static void stop(void)
{
    queue_free(q);
    loop_free(l);
}

static void run_ms(int ms)
{
    for (int64_t until = clock_mono(NULL) + ms * NS_PER_MS; clock_mono(NULL) < until;)
        loop_step(l, 1);
}

TEST(a_key_added_twice_while_it_waits_is_one_entry)
{
    start(record, 1);
    queue_add(q, STR("a"));
    queue_add(q, STR("b"));
    queue_add(q, STR("a"));
    EQ(queue_len(q), 2);
    run_ms(10);
    EQ_Z(seen, "a b ");
    EQ(queue_len(q), 0);
    stop();
}

static enum queue_result add_again(void *arg, struct str key)
{
    record(arg, key);
    if (rounds == 1) {
        queue_add(q, key);
        queue_add(q, key);
        EQ(rounds, 1); /* not run from inside */
    }
    return QUEUE_DONE;
}

TEST(a_key_added_while_in_hand_runs_once_more)
{
    start(add_again, 1);
    queue_add(q, STR("a"));
    run_ms(10);
    EQ_Z(seen, "a a ");
    stop();
}

TEST(a_failed_key_comes_back_ever_later)
{
    start(record, 1);
    answer = QUEUE_RETRY;
    queue_add(q, STR("a"));
    run_ms(30); /* after 0, 5, 15 ms; the next at 35 */
    OK(rounds >= 2 && rounds <= 4);
    int before = rounds;
    answer = QUEUE_DONE;
    run_ms(100);
    EQ(rounds, before + 1);
    EQ(queue_len(q), 0);
    stop();
}

TEST(adding_a_backed_off_key_runs_it_at_once_and_only_once)
{
    start(record, 1);
    answer = QUEUE_RETRY;
    for (int i = 0; i < 6; i++) {
        queue_add(q, STR("a"));
        loop_step(l, 10);
        loop_step(l, 10);
    }
    int before = rounds;
    answer = QUEUE_DONE;
    queue_add(q, STR("a"));
    run_ms(20);
    EQ(rounds, before + 1);
    stop();
}

TEST(the_earlier_of_two_delays_wins)
{
    start(record, 1);
    queue_add_in(q, STR("a"), 10 * NS_PER_S);
    queue_add_in(q, STR("a"), 5 * NS_PER_MS);
    queue_add_in(q, STR("a"), 10 * NS_PER_S);
    EQ(queue_len(q), 0);
    run_ms(30);
    EQ_Z(seen, "a ");
    stop();
}

TEST(pending_keys_hold_their_worker_until_finished)
{
    start(record, 2);
    answer = QUEUE_PENDING;
    queue_add(q, STR("a"));
    queue_add(q, STR("b"));
    queue_add(q, STR("c"));
    run_ms(10);
    EQ_Z(seen, "a b ");
    EQ(queue_len(q), 3);
    queue_add(q, STR("a"));
    queue_finish(q, STR("nobody"), QUEUE_DONE);
    queue_finish(q, STR("a"), QUEUE_DONE);
    answer = QUEUE_DONE;
    run_ms(10);
    EQ_Z(seen, "a b c a ");
    queue_finish(q, STR("b"), QUEUE_DONE);
    EQ(queue_len(q), 0);
    stop();
}

static enum queue_result finish_inside(void *arg, struct str key)
{
    rounds++;
    queue_finish(q, STR("a"), QUEUE_DONE);
    return QUEUE_PENDING;
}

TEST(a_pending_key_may_be_finished_before_the_function_returns)
{
    start(finish_inside, 1);
    queue_add(q, STR("a"));
    run_ms(5);
    EQ(rounds, 1);
    EQ(queue_len(q), 0);
    stop();
}

static enum queue_result free_inside(void *arg, struct str key)
{
    rounds++;
    queue_free(TAKE(q));
    return QUEUE_DONE;
}

TEST(a_queue_may_be_freed_by_its_own_function)
{
    start(free_inside, 1);
    queue_add(q, STR("a"));
    queue_add(q, STR("b"));
    queue_add_in(q, STR("c"), NS_PER_MS);
    run_ms(5);
    EQ(rounds, 1);
    stop();
}

TEST(a_long_queue_gives_the_loop_its_turn)
{
    start(record, 1);
    char key[16];
    for (int i = 0; i < 1000; i++)
        queue_add(q, str_make(key, (size_t)snprintf(key, sizeof key, "%d", i)));
    loop_step(l, 10);
    loop_step(l, 10);
    OK(rounds > 0 && rounds < 1000);
    while (queue_len(q))
        loop_step(l, 10);
    EQ(rounds, 1000);
    stop();
}
