/* Watching: order, resuming, falling off, notification. */
#include "kit.h"

struct seen {
    struct loop *l;
    struct store_watch *w;
    int told;
};

static void told(void *arg)
{
    ((struct seen *)arg)->told++;
}

static int watch(struct store *s, struct seen *x, const char *res, int64_t after, unsigned flags)
{
    x->l = loop_new(NULL);
    x->told = 0;
    return store_watch_open(s, res ? store_find(s, str_of(res)) : NULL, after, flags, x->l, told, x, &x->w, NULL);
}

static void unwatch(struct seen *x)
{
    store_watch_close(x->w);
    while (loop_step(x->l, 0) > 0) {
    }
    loop_free(x->l);
}

/* Reads all that is there: "+name" put new, "~name" changed, "-name" deleted, "!" resync, "X" expired. */
static void read_all(struct seen *x, struct buf *b)
{
    struct err *e = NULL;
    buf_reset(b);
    for (struct store_event *ev; (ev = store_watch_next(x->w, &e)); store_event_unref(ev)) {
        buf_putc(b, ev->type == STORE_RESYNC ? '!' : ev->type == STORE_DELETE ? '-' : ev->before ? '~' : '+');
        if (ev->obj) {
            EQ(ev->obj->rev, ev->rev);
            OK(!ev->before || ev->before->rev < ev->rev);
            buf_str_add(b, ev->obj->name);
        }
        buf_putc(b, ' ');
    }
    if (e) {
        EQ(e->code, ERR_EXPIRED);
        buf_putc(b, 'X');
        err_free(e);
    }
}

#define READS(x, want)                                                                                                                     \
    do {                                                                                                                                   \
        struct buf b_ = BUF_INIT;                                                                                                          \
        read_all((x), &b_);                                                                                                                \
        EQ_STR(buf_str(&b_), str_of(want));                                                                                                \
        buf_clear(&b_);                                                                                                                    \
    } while (0)

TEST(a_watch_tells_every_change_of_its_resource_in_order)
{
    struct store *s = kit_open(NULL, NULL);
    struct seen cm, all;
    EQ(watch(s, &cm, "/configmaps", 0, STORE_WATCH_DURABLE), 0);
    EQ(watch(s, &all, NULL, 0, 0), 0);
    kit_put(s, "/configmaps", "a", "x", "1");
    kit_put(s, "/pods", "a", "p", "1");
    kit_put(s, "/configmaps", "a", "x", "2");
    EQ(kit_delete(s, "/configmaps", "a", "x"), 0);
    EQ(cm.told, 0); /* only through the loop */
    loop_step(cm.l, 1000);
    EQ(cm.told, 1); /* three changes, told once */
    READS(&cm, "+x ~x -x ");
    READS(&all, "+x +p ~x -x ");
    READS(&cm, "");
    kit_put(s, "/pods", "a", "p", "2");
    EQ(loop_step(cm.l, 0), 0); /* not its resource */
    EQ(store_watch_rev(cm.w), 5);
    READS(&all, "~p ");
    unwatch(&cm);
    unwatch(&all);
    store_close(s);
}

TEST(a_watch_starts_behind_the_revision_it_names)
{
    struct store *s = kit_open(NULL, NULL);
    int64_t r1 = kit_put(s, "/configmaps", "a", "x", "1");
    kit_put(s, "/configmaps", "a", "y", "1");
    struct seen x, future;
    EQ(watch(s, &x, "/configmaps", r1, 0), 0);
    loop_step(x.l, 1000);
    EQ(x.told, 1); /* there was something at once */
    READS(&x, "+y ");
    EQ(watch(s, &future, "/configmaps", r1 + 3, 0), 0);
    kit_put(s, "/configmaps", "a", "z1", "1");
    kit_put(s, "/configmaps", "a", "z2", "1");
    kit_put(s, "/configmaps", "a", "z3", "1");
    READS(&future, "+z3 ");
    unwatch(&x);
    unwatch(&future);
    store_close(s);
}

static void fill(struct store *s, int from, int to)
{
    char v[3000];
    memset(v, 'v', sizeof v);
    v[sizeof v - 1] = 0;
    for (int i = from; i < to; i++) {
        snprintf(v, 16, "%d", i);
        v[strlen(v)] = ' ';
        kit_put(s, "/pods", "a", "big", v);
    }
}

TEST(a_slow_watcher_falls_off_and_so_does_a_late_one)
{
    struct store *s = kit_open(NULL, NULL);
    struct seen slow, late;
    EQ(watch(s, &slow, "/pods", 0, 0), 0);
    int64_t first = kit_put(s, "/configmaps", "a", "x", "1");
    fill(s, 0, 2000); /* 12 MB of states through a ring of 2 MiB */
    READS(&slow, "X");
    EQ(watch(s, &late, "/pods", first, 0), -ERR_EXPIRED);
    loop_free(late.l);
    EQ(watch(s, &late, "/configmaps", 0, 0), 0); /* another resource's ring is its own */
    READS(&late, "+x ");
    unwatch(&slow);
    unwatch(&late);
    store_close(s);
}

TEST(old_events_leave_the_ring)
{
    struct clock *c = clock_fake(1700000000 * NS_PER_S);
    struct store *s = kit_open(NULL, c);
    struct seen x;
    kit_put(s, "/configmaps", "a", "x", "1");
    clock_fake_add(c, 3600 * NS_PER_S);
    kit_put(s, "/configmaps", "a", "x", "2");
    EQ(watch(s, &x, "/configmaps", 0, 0), -ERR_EXPIRED);
    loop_free(x.l);
    EQ(watch(s, &x, "/configmaps", 1, 0), 0);
    READS(&x, "~x ");
    unwatch(&x);
    store_close(s);
    clock_free(c);
}

static struct bytes *encode(void *arg, struct store_event *ev)
{
    ++*(int *)arg;
    return bytes_new("frame", 5);
}

TEST(an_encoding_is_made_once_and_lives_with_its_event)
{
    struct store *s = kit_open(NULL, NULL);
    struct seen x;
    int made = 0;
    EQ(watch(s, &x, "/configmaps", 0, 0), 0);
    kit_put(s, "/configmaps", "a", "x", "1");
    struct store_event *ev = store_watch_next(x.w, NULL);
    struct bytes *b = store_event_encoding(ev, 7, encode, &made);
    EQ_STR(bytes_str(b), STR("frame"));
    OK(store_event_encoding(ev, 7, encode, &made) == b);
    EQ(made, 1);
    OK(store_event_encoding(ev, 8, encode, &made) != b);
    EQ(made, 2);
    store_event_unref(ev);
    unwatch(&x);
    store_close(s);
}

/* ---- with a folder ---- */

static int64_t hold_ms;
static int slow_commit(void *arg, int64_t n)
{
    usleep((useconds_t)hold_ms * 1000);
    return 0;
}

TEST(outward_watches_hear_nothing_that_is_not_on_disk_and_inward_ones_do)
{
    struct store *s = kit_open(test_tmpdir(), NULL);
    struct seen in, out;
    EQ(watch(s, &in, "/configmaps", 0, 0), 0);
    EQ(watch(s, &out, "/configmaps", 0, STORE_WATCH_DURABLE), 0);
    hold_ms = 300;
    backend_fault(s->disk, slow_commit, NULL);
    int64_t rev = kit_put(s, "/configmaps", "a", "x", "1");
    READS(&in, "+x ");
    READS(&out, "");
    OK(store_durable(s) < rev);
    EQ(kit_wait(s, rev), 0);
    OK(store_durable(s) >= rev);
    loop_step(out.l, 1000);
    EQ(out.told, 1);
    READS(&out, "+x ");
    unwatch(&in);
    unwatch(&out);
    store_close(s);
}

TEST(a_watch_goes_on_across_a_restart_with_both_states_of_each_change)
{
    struct seen x;
    struct store *s = kit_open(test_tmpdir(), NULL);
    int64_t r1 = kit_put(s, "/configmaps", "a", "x", "1");
    kit_put(s, "/configmaps", "a", "x", "2");
    kit_put(s, "/pods", "a", "p", "1");
    kit_put(s, "/configmaps", "a", "x", "3");
    kit_put(s, "/configmaps", "a", "y", "1");
    EQ(kit_delete(s, "/configmaps", "a", "y"), 0);
    kit_put(s, "/configmaps", "a", "y", "2");
    store_close(s);
    s = kit_open(test_tmpdir(), NULL);
    EQ(watch(s, &x, "/configmaps", r1, STORE_WATCH_DURABLE), 0);
    kit_put(s, "/configmaps", "a", "z", "1");
    kit_wait(s, s->head);
    EQ(store_watch_rev(x.w), r1);
    struct store_event *ev = store_watch_next(x.w, NULL);
    OK(str_find(ev->obj->json, STR("\"v\":\"2\"")) > 0);
    OK(str_find(ev->before->json, STR("\"v\":\"1\"")) > 0);
    store_event_unref(ev);
    ev = store_watch_next(x.w, NULL);
    OK(str_find(ev->obj->json, STR("\"v\":\"3\"")) > 0);
    OK(str_find(ev->before->json, STR("\"v\":\"2\"")) > 0);
    store_event_unref(ev);
    READS(&x, "+y -y +y +z ");
    unwatch(&x);
    EQ(watch(s, &x, NULL, r1, 0), 0);
    READS(&x, "~x +p ~x +y -y +y +z ");
    unwatch(&x);
    store_close(s);
}

TEST(the_log_on_disk_is_bounded_by_age)
{
    struct clock *c = clock_fake(1700000000 * NS_PER_S);
    struct seen x;
    struct store *s = kit_open(test_tmpdir(), c);
    for (int i = 0; i < 40; i++) {
        char v[16];
        snprintf(v, sizeof v, "%d", i);
        kit_put(s, "/configmaps", "a", "x", v);
        clock_fake_add(c, 30 * NS_PER_S);
    }
    int64_t head = s->head;
    store_close(s);
    s = kit_open(test_tmpdir(), c);
    EQ(watch(s, &x, "/configmaps", 1, 0), -ERR_EXPIRED);
    loop_free(x.l);
    EQ(watch(s, &x, "/configmaps", head - 5, 0), 0);
    READS(&x, "~x ~x ~x ~x ~x ");
    unwatch(&x);
    store_close(s);
    clock_free(c);
}
