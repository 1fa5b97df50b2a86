/* Power cuts and failing disks, through the shim under SQLite. */
#include <pthread.h>
#include <sqlite3.h>
#include "kit.h"
#include "shim.h"

#define OBJECTS 50

struct load {
    struct store *s;
    _Atomic bool stop;
    _Atomic int acknowledged[OBJECTS];
}; /* the newest value of each object that was acknowledged */

static void *writer(void *arg)
{
    struct load *x = arg;
    char name[16], *value = xcalloc(1, 2001);
    for (int v = 1; !x->stop; v++) {
        snprintf(name, sizeof name, "o%d", v % OBJECTS);
        memset(value, 'x', 2000);
        snprintf(value + 1990, 11, "%010d", v);
        int64_t rev = 0;
        if (kit_try(x->s, "/configmaps", "a", name, value, 0, &rev) == 0 && kit_wait(x->s, rev) == 0)
            x->acknowledged[v % OBJECTS] = v;
    }
    free(value);
    return NULL;
}

static int value_of(struct store *s, int i)
{
    char name[16];
    snprintf(name, sizeof name, "o%d", i);
    struct store_view *v = store_view(s);
    const struct obj *o = view_get(v, store_find(s, STR("/configmaps")), STR("a"), str_of(name));
    int64_t n = 0;
    ssize_t end = o ? str_find(o->json, STR("\"}}")) : -1;
    bool ok = !o || (end > 10 && str_to_i64(str_sub(o->json, (size_t)end - 10, (size_t)end), &n));
    store_view_unref(v);
    OK(ok);
    return (int)n;
}

/* keep: how many of the unsynced sectors survive, in 256ths. */
static void photograph(unsigned keep)
{
    char dir[256], photo[256];
    snprintf(dir, sizeof dir, "%s/db", test_tmpdir());
    snprintf(photo, sizeof photo, "%s/photo", test_tmpdir());
    struct load x = {.s = kit_open(dir, NULL)};
    pthread_t t;
    unsigned seed = 7 + keep;
    pthread_create(&t, NULL, writer, &x);
    for (int shot = 0; shot < 25; shot++) {
        int then[OBJECTS];
        usleep((useconds_t)(rand_r(&seed) % 20000));
        for (int i = 0; i < OBJECTS; i++)
            then[i] = x.acknowledged[i];
        shim_photo(dir, photo, keep, &seed);
        struct store *s = kit_open(photo, NULL);
        for (int i = 0; i < OBJECTS; i++)
            OK(value_of(s, i) >= then[i]);
        store_close(s);
    }
    x.stop = true;
    pthread_join(t, NULL);
    int total = 0;
    for (int i = 0; i < OBJECTS; i++)
        total += x.acknowledged[i] > 0;
    store_close(x.s);
    EQ(total, OBJECTS);
}

TEST(a_power_cut_takes_nothing_that_was_acknowledged)
{
    shim_on();
    photograph(0);
    shim_off();
}

TEST(a_power_cut_that_tears_writes_takes_nothing_that_was_acknowledged)
{
    shim_on();
    photograph(128);
    shim_off();
}

/* Twelve writes one after the other, of which some fail; what holds is what the door said. */
static int run_once(const char *dir, int fail_at, int rc)
{
    struct store *s = kit_open(dir, NULL);
    int last[3] = {0}, tried[3] = {0};
    committer_times(s, SOFT_NS, NS_PER_MS);
    shim_fail(fail_at, rc);
    for (int v = 1; v <= 12; v++) {
        char name[16], value[16];
        int64_t rev = 0;
        snprintf(name, sizeof name, "o%d", v % 3);
        snprintf(value, sizeof value, "%010d", v);
        if (v == 8)
            shim_fail(0, 0);
        int r = kit_try(s, "/configmaps", "a", name, value, 0, &rev);
        for (int i = 0; v >= 8 && r < 0 && i < 500; i++, usleep(2000)) /* healed: it takes writes again by itself */
            r = kit_try(s, "/configmaps", "a", name, value, 0, &rev);
        OK(v < 8 || r == 0);
        tried[v % 3] = v;
        if (r == 0 && kit_wait(s, rev) == 0)
            last[v % 3] = v;
        EQ(value_of(s, v % 3), last[v % 3]); /* after a failure: what was there before */
    }
    int n = shim_count();
    store_close(s);
    s = kit_open(dir, NULL);
    for (int i = 0; i < 3; i++) {
        EQ(value_of(s, i), last[i]);
        EQ(last[i], tried[i]); /* the newest of each came after the healing */
    }
    store_close(s);
    return n;
}

TEST(any_write_or_sync_may_fail_and_the_door_still_tells_the_truth)
{
    static const int codes[] = {SQLITE_IOERR_WRITE, SQLITE_IOERR_FSYNC, SQLITE_FULL};
    shim_on();
    for (size_t k = 0; k < ARRAY_LEN(codes); k++)
        for (int n = 1; n <= 60; n++) {
            char dir[256];
            snprintf(dir, sizeof dir, "%s/f%zu-%d", test_tmpdir(), k, n);
            run_once(dir, n, codes[k]);
        }
    shim_off();
}
