#include "harness.h"
#include <fcntl.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/buf.h"
#include "base/file.h"
#include "uplink/mirror.h"

static char path[200];

static struct mirror *open_at(struct seal *seal)
{
    struct err *e = NULL;
    struct mirror *m = NULL;
    snprintf(path, sizeof path, "%s/mirror", test_tmpdir());
    FINE(mirror_open(path, seal, &m, &e), e);
    return m;
}

static void put(struct mirror *m, const char *key, int64_t rev, const char *bytes)
{
    mirror_stage_put(m, str_of(key), STR("u1"), rev, str_of(bytes));
}

static void commit(struct mirror *m, int64_t rev)
{
    struct err *e = NULL;
    FINE(mirror_commit(m, STR("store"), 1, rev, &e), e);
}

struct heard {
    struct buf text;
    int cuts;
};
static void on_change(void *arg, struct str key, const struct mirror_item *before, const struct mirror_item *after)
{
    struct heard *h = arg;
    struct str a = before ? bytes_str(before->bytes) : STR("-"), b = after ? bytes_str(after->bytes) : STR("-");
    buf_printf(&h->text, "%.*s:%.*s>%.*s;", STR_ARG(key), STR_ARG(a), STR_ARG(b));
}
static void on_cut(void *arg)
{
    ((struct heard *)arg)->cuts++;
}

static bool count_item(void *arg, const struct mirror_item *it)
{
    return ++*(int *)arg < 2;
}

TEST(a_mirror_survives_its_process)
{
    struct mirror *m = open_at(NULL);
    struct heard h = {0};
    struct mirror_listener l = {on_change, on_cut, &h};
    mirror_listen(m, &l);
    put(m, "/pods/a/x", 4, "X1");
    put(m, "/pods/a/y", 5, "Y1");
    commit(m, 5);
    put(m, "/pods/a/x", 6, "X2");
    mirror_stage_delete(m, STR("/pods/a/y"), STR("u1"), 7);
    mirror_stage_delete(m, STR("/pods/a/z"), STR("u1"), 7);
    commit(m, 7);
    EQ_STR(buf_str(&h.text), STR("/pods/a/x:->X1;/pods/a/y:->Y1;/pods/a/x:X1>X2;/pods/a/y:Y1>-;"));
    EQ(h.cuts, 2);
    put(m, "/pods/a/never", 8, "N"); /* no commit */
    mirror_close(m);
    m = open_at(NULL);
    EQ(mirror_count(m), 1);
    EQ_STR(bytes_str(mirror_get(m, STR("/pods/a/x"))->bytes), STR("X2"));
    EQ(mirror_get(m, STR("/pods/a/x"))->rev, 6);
    EQ(mirror_cut(m).rev, 7);
    EQ_Z(mirror_cut(m).store_uid, "store");
    put(m, "/pods/a/1", 8, "1");
    put(m, "/pods/a/2", 8, "2");
    put(m, "/nodes//n", 8, "n");
    commit(m, 8);
    int n = 0;
    mirror_each(m, STR("/pods/"), count_item, &n);
    EQ(n, 2); /* it was told to end */
    mirror_close(m);
    buf_clear(&h.text);
}

TEST(a_sealed_mirror_shows_nothing_on_disk_and_opens_with_its_key_only)
{
    struct seal *key = seal_new(), *other = seal_new();
    struct buf raw = BUF_INIT;
    struct err *e = NULL;
    seal_add(key, NULL);
    seal_add(other, NULL);
    struct mirror *m = open_at(key);
    put(m, "/secrets/a/s", 4, "pa55word-in-the-clear");
    commit(m, 4);
    mirror_close(m);
    char wal[220];
    snprintf(wal, sizeof wal, "%s-wal", path);
    FINE(file_read(path, 10u << 20, &raw, &e), e);
    if (file_exists(wal))
        FINE(file_read(wal, 10u << 20, &raw, &e), e);
    OK(str_find(buf_str(&raw), STR("pa55word")) < 0);
    m = open_at(key);
    EQ_STR(bytes_str(mirror_get(m, STR("/secrets/a/s"))->bytes), STR("pa55word-in-the-clear"));
    mirror_close(m);
    m = open_at(other); /* lost key: fetched again from the start */
    EQ(mirror_count(m), 0);
    EQ(mirror_cut(m).rev, 0);
    mirror_close(m);
    seal_free(key);
    seal_free(other);
    buf_clear(&raw);
}

TEST(a_damaged_mirror_is_set_aside_and_started_anew)
{
    struct mirror *m = open_at(NULL);
    struct err *e = NULL;
    put(m, "/pods/a/x", 4, "X");
    commit(m, 4);
    mirror_close(m);
    FINE(file_replace(path,
             STR("this is no database at all, but it is long enough to be taken for one; this is no database at all, but long"), 0600, &e),
        e);
    m = open_at(NULL);
    EQ(mirror_count(m), 0);
    EQ(mirror_cut(m).rev, 0);
    put(m, "/pods/a/x", 4, "X");
    commit(m, 4);
    mirror_close(m);
    char aside[220];
    snprintf(aside, sizeof aside, "%s.damaged", path);
    OK(file_exists(aside));
}

/* A process that is killed between any two commits leaves the last one. */
TEST(a_killed_process_leaves_the_last_cut)
{
    struct mirror *m = open_at(NULL);
    mirror_close(m);
    for (int round = 0; round < 5; round++) {
        int told[2];
        EQ(pipe(told), 0);
        pid_t pid = fork();
        if (pid == 0) {
            m = open_at(NULL);
            for (int64_t rev = mirror_cut(m).rev + 1;; rev++) {
                char body[40];
                snprintf(body, sizeof body, "%lld", (long long)rev);
                put(m, "/a", rev, body);
                put(m, "/b", rev, body);
                if (mirror_commit(m, STR("store"), 1, rev, NULL) < 0 || write(told[1], &rev, sizeof rev) != sizeof rev)
                    _exit(1);
            }
        }
        close(told[1]);
        int64_t last = 0, rev;
        for (int i = 0; i < 20 + round * 7 && read(told[0], &rev, sizeof rev) == sizeof rev; i++)
            last = rev;
        kill(pid, SIGKILL);
        while (read(told[0], &rev, sizeof rev) == sizeof rev)
            last = rev;
        waitpid(pid, NULL, 0);
        close(told[0]);
        m = open_at(NULL);
        int64_t cut = mirror_cut(m).rev;
        OK(last > 0 && cut >= last && cut <= last + 1);
        EQ(mirror_get(m, STR("/a"))->rev, cut);
        EQ(mirror_get(m, STR("/b"))->rev, cut);
        mirror_close(m);
    }
}

TEST(a_full_disk_keeps_what_was_acknowledged)
{
    struct rlimit old, small = {64u << 10, RLIM_INFINITY};
    struct err *e = NULL;
    struct mirror *m = open_at(NULL);
    put(m, "/a", 1, "small");
    commit(m, 1);
    char *big = calloc(1, 1u << 20);
    memset(big, 'x', (1u << 20) - 1);
    signal(SIGXFSZ, SIG_IGN);
    EQ(getrlimit(RLIMIT_FSIZE, &old), 0);
    small.rlim_max = old.rlim_max;
    EQ(setrlimit(RLIMIT_FSIZE, &small), 0);
    put(m, "/big", 2, big);
    int r = mirror_commit(m, STR("store"), 1, 2, &e);
    EQ(setrlimit(RLIMIT_FSIZE, &old), 0);
    OK(r < 0);
    err_free(e);
    EQ(mirror_cut(m).rev, 1);
    EQ(mirror_count(m), 1);
    put(m, "/b", 2, "later");
    commit(m, 2);
    mirror_close(m);
    m = open_at(NULL);
    EQ(mirror_count(m), 2);
    EQ(mirror_cut(m).rev, 2);
    mirror_close(m);
    free(big);
}
