/* The committer: group commit, soft changes, failures. */
#include <sched.h>
#include <sys/mount.h>
#include "kit.h"

static int fail_next; /* an error code for the next commits */
static _Atomic int commits;

static int fault(void *arg, int64_t n)
{
    commits++;
    return fail_next;
}

static struct store *open_faulty(struct clock *c)
{
    struct store *s = kit_open(test_tmpdir(), c);
    fail_next = 0;
    commits = 0;
    backend_fault(s->disk, fault, NULL);
    return s;
}

TEST(what_was_acknowledged_is_there_after_a_restart)
{
    struct store *s = kit_open(test_tmpdir(), NULL);
    kit_put(s, "/configmaps", "a", "x", "1");
    kit_put(s, "/configmaps", "a", "y", "1");
    kit_put(s, "/nodes", "", "n", "1");
    EQ(kit_delete(s, "/configmaps", "a", "y"), 0);
    int64_t rev = kit_put(s, "/configmaps", "a", "x", "2");
    EQ(kit_wait(s, rev), 0);
    char uid[64];
    snprintf(uid, sizeof uid, "%.*s", STR_ARG(store_uid(s)));
    store_close(s);
    s = kit_open(test_tmpdir(), NULL);
    EQ_STR(store_uid(s), str_of(uid));
    EQ(store_epoch(s), 1);
    OK(kit_has(s, "/configmaps", "a", "x", "2"));
    OK(!kit_has(s, "/configmaps", "a", "y", NULL));
    OK(kit_has(s, "/nodes", "", "n", "1"));
    OK(kit_put(s, "/configmaps", "a", "x", "3") == rev + 1); /* a clean end wastes no revision */
    store_close(s);
}

TEST(opening_and_closing_without_a_write_writes_nothing)
{
    struct store *s = kit_open(test_tmpdir(), NULL);
    kit_put(s, "/configmaps", "a", "x", "1");
    store_close(s);
    s = open_faulty(NULL);
    EQ(kit_wait(s, s->head), 0);
    store_close(s);
    EQ(commits, 0);
}

static void await_commits(int n)
{
    for (int i = 0; i < 200 && commits < n; i++)
        usleep(10000);
    EQ(commits, n);
}

TEST(soft_writes_cause_no_commit_until_a_hard_one_takes_them_along)
{
    struct store *s = open_faulty(NULL);
    int64_t soft = 0;
    EQ(kit_wait(s, kit_put(s, "/nodes", "", "n", "0")), 0);
    EQ(commits, 1);
    for (int i = 0; i < 1000; i++) {
        char v[16];
        snprintf(v, sizeof v, "%d", i);
        EQ(kit_try(s, "/nodes", "", "n", v, STORE_SOFT, &soft), 0);
        EQ(kit_wait(s, soft), 0); /* nothing hard stands before it: it may leave */
    }
    usleep(50000);
    EQ(commits, 1);
    OK(store_durable(s) < soft);
    OK(s->batch.cap <= 128); /* however often an object is renewed, one entry of it waits */
    EQ(kit_wait(s, kit_put(s, "/configmaps", "a", "x", "2")), 0);
    EQ(commits, 2);
    OK(store_durable(s) > soft);
    store_close(s);
    s = kit_open(test_tmpdir(), NULL);
    OK(kit_has(s, "/nodes", "", "n", "999"));
    store_close(s);
}

TEST(soft_creations_grow_old_and_renewals_never)
{
    struct store *s = open_faulty(NULL);
    EQ(kit_wait(s, kit_put(s, "/nodes", "", "n", "0")), 0);
    committer_times(s, 20 * NS_PER_MS, NS_PER_S);
    EQ(kit_try(s, "/nodes", "", "n", "1", STORE_SOFT, NULL), 0);
    usleep(100000);
    EQ(commits, 1);
    EQ(kit_try(s, "/events", "a", "e", "1", STORE_SOFT, NULL), 0);
    await_commits(2);
    EQ(kit_try(s, "/nodes", "", "n", "last", STORE_SOFT, NULL), 0);
    store_close(s); /* a clean end leaves nothing behind, and says that it was one */
    EQ(commits, 4);
    s = kit_open(test_tmpdir(), NULL);
    OK(kit_has(s, "/nodes", "", "n", "last"));
    OK(kit_has(s, "/events", "a", "e", NULL));
    store_close(s);
}

TEST(renewals_pass_while_the_disk_is_not_well)
{
    struct store *s = open_faulty(NULL);
    EQ(kit_wait(s, kit_put(s, "/nodes", "", "n", "0")), 0);
    fail_next = -ERR_STORAGE_FULL;
    EQ(kit_wait(s, kit_put(s, "/configmaps", "a", "x", "1")), -ERR_STORAGE_FULL);
    EQ(kit_try(s, "/configmaps", "a", "x", "1", 0, NULL), -ERR_STORAGE_FULL);
    EQ(kit_try(s, "/events", "a", "e", "1", STORE_SOFT, NULL), -ERR_STORAGE_FULL);
    EQ(kit_try(s, "/nodes", "", "n", "1", STORE_SOFT, NULL), 0);
    OK(kit_has(s, "/nodes", "", "n", "1"));
    fail_next = 0;
    store_close(s);
}

TEST(a_soft_write_behind_a_hard_one_waits_for_it)
{
    struct store *s = open_faulty(NULL);
    EQ(kit_wait(s, kit_put(s, "/configmaps", "a", "x", "1")), 0);
    fail_next = -ERR_IO;
    int64_t soft = 0, hard = kit_put(s, "/configmaps", "a", "x", "2");
    int rc = kit_try(s, "/nodes", "", "n", "1", STORE_SOFT, &soft);
    EQ(kit_wait(s, hard), -ERR_IO);
    if (rc == 0) /* else the failure was faster */
        EQ(kit_wait(s, soft), -ERR_IO);
    fail_next = 0;
    store_close(s);
}

TEST(a_failed_commit_undoes_what_is_not_on_disk_under_a_new_epoch)
{
    struct store *s = open_faulty(NULL);
    struct loop *l = loop_new(NULL);
    struct store_watch *w = NULL;
    int64_t good = kit_put(s, "/configmaps", "a", "x", "1");
    EQ(kit_wait(s, good), 0);
    EQ(store_watch_open(s, store_find(s, STR("/configmaps")), good, 0, l, (void (*)(void *))free, NULL, &w, NULL), 0);
    fail_next = -ERR_IO;
    int64_t bad = kit_put(s, "/configmaps", "a", "x", "2");
    EQ(kit_wait(s, bad), -ERR_IO);
    EQ(store_epoch(s), 2);
    OK(kit_has(s, "/configmaps", "a", "x", "1"));
    EQ(kit_wait(s, bad), -ERR_IO); /* also whoever asks late */
    EQ(kit_wait(s, good), 0);
    EQ(kit_try(s, "/configmaps", "a", "y", "1", 0, NULL), -ERR_IO); /* refused while the disk is not well */
    struct store_event *ev = store_watch_next(w, NULL);
    EQ(ev->type, STORE_RESYNC);
    store_event_unref(ev);
    OK(!store_watch_next(w, NULL));
    struct store_watch *w2 = NULL;
    EQ(store_watch_open(s, store_find(s, STR("/configmaps")), bad, 0, l, (void (*)(void *))free, NULL, &w2, NULL), -ERR_EXPIRED);
    fail_next = 0;
    committer_times(s, SOFT_NS, 10 * NS_PER_MS);
    int rc = -1;
    int64_t again = 0;
    for (int i = 0; i < 300 && rc < 0; i++, usleep(10000))
        rc = kit_try(s, "/configmaps", "a", "x", "3", 0, &again);
    EQ(rc, 0);
    OK(again > bad); /* lost revisions are not used again */
    EQ(kit_wait(s, again), 0);
    ev = store_watch_next(w, NULL);
    EQ(ev->rev, again);
    store_event_unref(ev);
    store_watch_close(w);
    store_close(s);
    while (loop_step(l, 0) > 0) {
    }
    loop_free(l);
    s = kit_open(test_tmpdir(), NULL);
    EQ(store_epoch(s), 2);
    OK(kit_has(s, "/configmaps", "a", "x", "3"));
    store_close(s);
}

TEST(waiting_can_be_called_off)
{
    struct store *s = open_faulty(NULL);
    struct loop *l = loop_new(NULL);
    struct store_wait w = {0};
    int64_t rev = kit_put(s, "/configmaps", "a", "x", "1");
    if (!store_wait(s, rev, &w, l, (void (*)(struct store_wait *, int))abort))
        store_wait_cancel(s, &w);
    EQ(kit_wait(s, rev), 0);
    loop_step(l, 10);
    store_close(s);
    while (loop_step(l, 0) > 0) {
    }
    loop_free(l);
}

TEST(a_full_disk_refuses_writes_lets_deletes_pass_and_recovers)
{
    char *dir = xasprintf("%s/small", test_tmpdir());
    struct err *e = NULL;
    FINE(dir_make(dir, 0700, &e), e);
    /* in a mount namespace of this process: the machine sees nothing of it */
    if (unshare(CLONE_NEWNS) < 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
        mount("sampan-test", dir, "tmpfs", 0, "size=12m") < 0) {
        free(dir);
        test_skip("needs the right to mount a tmpfs");
    }
    struct store *s = kit_open(dir, NULL);
    committer_times(s, SOFT_NS, 50 * NS_PER_MS);
    char name[16], *value = xmalloc(40001);
    memset(value, 'x', 40000);
    value[40000] = 0;
    int n = 0, rc = 0;
    int64_t rev = 0, lost = 0;
    for (; n < 400 && rc == 0; n++) {
        snprintf(name, sizeof name, "c%03d", n);
        lost = rev;
        if ((rc = kit_try(s, "/configmaps", "a", name, value, 0, &rev)) == 0)
            rc = kit_wait(s, rev);
    }
    EQ(rc, -ERR_STORAGE_FULL);
    OK(n > 20 && lost > 0);
    struct store_stats st;
    store_stats(s, &st);
    OK(st.full);
    EQ(kit_try(s, "/configmaps", "a", "more", value, 0, NULL), -ERR_STORAGE_FULL);
    size_t have = kit_count(s, "/configmaps");
    EQ(have, n - 1); /* all that were acknowledged, and not the one that was not */
    for (int i = 0; i < n - 1; i++) {
        snprintf(name, sizeof name, "c%03d", i);
        EQ(kit_delete(s, "/configmaps", "a", name), 0);
    }
    EQ(kit_wait(s, s->head), 0);
    rc = -1;
    for (int i = 0; i < 100 && rc < 0; i++, usleep(20000))
        rc = kit_try(s, "/configmaps", "a", "again", value, 0, &rev);
    EQ(rc, 0);
    EQ(kit_wait(s, rev), 0);
    store_stats(s, &st);
    OK(!st.full);
    store_close(s);
    s = kit_open(dir, NULL);
    EQ(kit_count(s, "/configmaps"), 1);
    store_close(s);
    EQ(umount(dir), 0);
    free(value);
    free(dir);
}
