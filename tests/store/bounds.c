/* What is on disk is bounded by what lives, not by what was ever written. */
#include <sys/stat.h>
#include "kit.h"
#include "store/disk.h"

static off_t size_of(const char *name)
{
    char path[300];
    struct stat st;
    snprintf(path, sizeof path, "%s/%s", test_tmpdir(), name);
    return stat(path, &st) == 0 ? st.st_size : 0;
}

#define LIVE 40
#define VALUE 8000

/* 48 MB are written over 320 KB that live: neither the log beside the database nor the database follows, while writers never stop, and
 * nothing of it is left behind when all that lived is deleted. */
TEST(a_database_is_as_large_as_what_lives_in_it)
{
    struct store_config cfg = {.path = test_tmpdir(), .kinds = kit_kinds, .nkinds = KINDS, .history_ns = 1 /* the change log is bounded by bytes alone */};
    struct store *s = NULL;
    struct err *e = NULL;
    static char value[VALUE];
    off_t wal = 0, db = 0;
    FINE(store_open(&cfg, &s, &e), e);
    for (int round = 0; round < 150; round++) {
        int64_t rev = 0;
        for (int i = 0; i < LIVE; i++) {
            char name[16];
            snprintf(name, sizeof name, "c%02d", i);
            memset(value, 'a' + (round + i) % 26, sizeof value - 1);
            rev = kit_put(s, "/configmaps", "a", name, value);
        }
        EQ(kit_wait(s, rev), 0);
        wal = MAX(wal, size_of("store.db-wal"));
        db = MAX(db, size_of("store.db"));
    }
    printf("# at most %ld KiB of log, %ld KiB of database\n", (long)wal / 1024, (long)db / 1024);
    OK(wal < (off_t)(WAL_PAGES_MAX + 1000) * 4200); /* the last batch before a checkpoint comes on top */
    OK(db < 2 * LOG_BYTES + 10 * LIVE * VALUE);
    int64_t rev = 0;
    for (int i = 0; i < LIVE; i++) {
        char name[16];
        snprintf(name, sizeof name, "c%02d", i);
        rev = kit_delete(s, "/configmaps", "a", name) < 0 ? 0 : store_durable(s) + 1;
    }
    OK(rev > 0);
    for (int i = 0; i < 300; i++) /* pages go back a few with every commit */
        EQ(kit_wait(s, kit_put(s, "/configmaps", "a", "small", i % 2 ? "x" : "y")), 0);
    store_close(s);
    printf("# %ld KiB in the end\n", (long)size_of("store.db") / 1024);
    OK(size_of("store.db") <= db); /* what lived is small beside the log of changes: it may be seen in no page more or less */
    OK(size_of("store.db") < LOG_BYTES + (4 << 20));
    EQ(size_of("store.db-wal"), 0);
}
