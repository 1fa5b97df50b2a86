/* The folder: locking, damage, kinds that come later, seals, backup and restore. */
#include <fcntl.h>
#include "base/file.h"
#include "kit.h"

TEST(a_second_process_is_refused_and_told_who_has_the_folder)
{
    struct store *s = kit_open(test_tmpdir(), NULL), *t = NULL;
    struct store_config cfg = {.path = test_tmpdir(), .kinds = kit_kinds, .nkinds = KINDS};
    struct err *e = NULL;
    EQ(store_open(&cfg, &t, &e), -ERR_EXISTS);
    char want[64];
    snprintf(want, sizeof want, "in use by pid %d", (int)getpid());
    OK(str_ends(str_of(err_msg(e)), str_of(want)));
    err_free(e);
    store_close(s);
    t = kit_open(test_tmpdir(), NULL);
    store_close(t);
}

static void damage(const char *file, off_t at)
{
    char junk[512];
    memset(junk, 0x5a, sizeof junk);
    int fd = open(file, O_WRONLY | O_CLOEXEC);
    OK(fd >= 0 && pwrite(fd, junk, sizeof junk, at) == sizeof junk);
    close(fd);
}

TEST(a_damaged_database_stops_the_start_and_names_the_way_back)
{
    char file[256];
    snprintf(file, sizeof file, "%s/store.db", test_tmpdir());
    for (int i = 0; i < 2; i++) {
        struct store *s = kit_open(test_tmpdir(), NULL);
        char name[16], value[2000];
        memset(value, 'v', sizeof value);
        value[sizeof value - 1] = 0;
        for (int k = 0; k < 50; k++) {
            snprintf(name, sizeof name, "c%02d", k);
            kit_put(s, "/configmaps", "a", name, value);
        }
        store_close(s);
        damage(file, i ? 4096 * 12 : 0); /* a page in the middle; the header */
        struct store_config cfg = {.path = test_tmpdir(), .kinds = kit_kinds, .nkinds = KINDS};
        struct err *e = NULL;
        EQ(store_open(&cfg, &s, &e), -ERR_IO);
        OK(str_find(str_of(err_msg(e)), STR("sampan restore")) > 0);
        err_free(e);
        unlink(file);
    }
}

TEST(rows_of_a_kind_that_comes_later_wait_for_it)
{
    struct store *s = kit_open(test_tmpdir(), NULL);
    struct store_kind k = {.name = STR("example.org/boats"), .namespaced = true};
    struct store_res *r = NULL;
    struct err *e = NULL;
    FINE(store_add_kind(s, &k, &r, &e), e);
    EQ(store_add_kind(s, &k, &r, NULL), -ERR_EXISTS);
    kit_put(s, "example.org/boats", "a", "junk", "1");
    kit_put(s, "/configmaps", "a", "x", "1");
    store_close(s);
    s = kit_open(test_tmpdir(), NULL);
    OK(!store_find(s, STR("example.org/boats")));
    kit_put(s, "/configmaps", "a", "x", "2");
    FINE(store_add_kind(s, &k, &r, &e), e);
    OK(kit_has(s, "example.org/boats", "a", "junk", "1"));
    kit_put(s, "example.org/boats", "a", "junk", "2");
    store_close(s);
}

/* A seal that anyone could break, to see that it is used: every byte turned, behind a mark. */
static int turn(void *arg, const struct store_res *r, struct str key, struct str plain, struct buf *out, struct err **e)
{
    if (!str_eqz(store_res_name(r), "/configmaps"))
        return 0;
    buf_puts(out, "S:");
    buf_str_add(out, key);
    for (size_t i = 0; i < plain.n; i++)
        buf_putc(out, (char)~plain.p[i]);
    return 0;
}

static int turn_back(void *arg, const struct store_res *r, struct str key, struct str sealed, struct buf *out, struct err **e)
{
    struct str mark = str_sub(sealed, 2, 2 + key.n);
    if (!str_eq(mark, key))
        return err_set(e, ERR_INTERNAL, "not sealed for this place");
    for (size_t i = 2 + key.n; i < sealed.n; i++)
        buf_putc(out, (char)~sealed.p[i]);
    return 0;
}

TEST(sealed_resources_are_sealed_on_disk_rows_and_log)
{
    struct store_config cfg = {.path = test_tmpdir(), .kinds = kit_kinds, .nkinds = KINDS, .seal = turn, .unseal = turn_back};
    struct store *s = NULL;
    struct err *e = NULL;
    FINE(store_open(&cfg, &s, &e), e);
    kit_put(s, "/configmaps", "a", "x", "geheim-1");
    int64_t rev = kit_put(s, "/configmaps", "a", "x", "geheim-2");
    kit_put(s, "/pods", "a", "p", "offen");
    store_close(s);
    char file[256];
    snprintf(file, sizeof file, "%s/store.db", test_tmpdir());
    struct buf b = BUF_INIT;
    FINE(file_read(file, 64 << 20, &b, &e), e);
    OK(str_find(buf_str(&b), STR("geheim")) < 0);
    OK(str_find(buf_str(&b), STR("offen")) > 0);
    buf_clear(&b);
    FINE(store_open(&cfg, &s, &e), e);
    OK(kit_has(s, "/configmaps", "a", "x", "geheim-2"));
    struct store_watch *w = NULL;
    struct loop *l = loop_new(NULL);
    FINE(store_watch_open(s, store_find(s, STR("/configmaps")), rev - 1, 0, l, (void (*)(void *))free, NULL, &w, &e), e);
    struct store_event *ev = store_watch_next(w, NULL);
    OK(str_find(ev->before->json, STR("geheim-1")) > 0);
    store_event_unref(ev);
    store_watch_close(w);
    store_close(s);
    while (loop_step(l, 0) > 0) {
    }
    loop_free(l);
    cfg.seal = NULL;
    cfg.unseal = NULL;
    EQ(store_open(&cfg, &s, &e), -ERR_INTERNAL);
    err_free(e);
}

TEST(backup_works_online_and_restore_makes_a_new_epoch)
{
    char file[256], folder[256];
    snprintf(file, sizeof file, "%s/backup.db", test_tmpdir());
    snprintf(folder, sizeof folder, "%s/new", test_tmpdir());
    char *old = xasprintf("%s/old", test_tmpdir());
    struct store *s = kit_open(old, NULL);
    struct err *e = NULL;
    kit_put(s, "/configmaps", "a", "x", "1");
    EQ(kit_try(s, "/nodes", "", "soft", "1", STORE_SOFT, NULL), 0);
    FINE(store_backup(s, file, &e), e);
    EQ(store_backup(s, file, NULL), -ERR_EXISTS);
    int64_t rev = kit_put(s, "/configmaps", "a", "x", "2");
    EQ(kit_wait(s, rev), 0);
    char uid[64];
    snprintf(uid, sizeof uid, "%.*s", STR_ARG(store_uid(s)));
    FINE(store_restore(file, folder, &e), e);
    EQ(store_restore(file, folder, NULL), -ERR_EXISTS);
    EQ(store_restore(file, old, NULL), -ERR_EXISTS);
    EQ(store_restore("/nowhere/backup.db", folder, NULL), -ERR_NOT_FOUND);
    store_close(s);
    s = kit_open(folder, NULL);
    OK(kit_has(s, "/configmaps", "a", "x", "1"));
    OK(kit_has(s, "/nodes", "", "soft", "1"));
    EQ(store_epoch(s), 2);
    OK(!str_eqz(store_uid(s), uid));
    OK(kit_put(s, "/configmaps", "a", "x", "3") > rev); /* what came after the backup is not given out again */
    struct loop *l = loop_new(NULL);
    struct store_watch *w = NULL;
    EQ(store_watch_open(s, store_find(s, STR("/configmaps")), rev, 0, l, (void (*)(void *))free, NULL, &w, NULL), -ERR_EXPIRED);
    loop_free(l);
    store_close(s);
    free(old);
}

TEST(a_folder_is_backed_up_beside_its_server_and_without_one)
{
    char file[256], again[256];
    snprintf(file, sizeof file, "%s/one.db", test_tmpdir());
    snprintf(again, sizeof again, "%s/two.db", test_tmpdir());
    char *dir = xasprintf("%s/db", test_tmpdir()), *back = xasprintf("%s/back", test_tmpdir());
    struct err *e = NULL;
    EQ(store_backup_folder(dir, file, NULL), -ERR_NOT_FOUND);
    struct store *s = kit_open(dir, NULL);
    EQ(kit_wait(s, kit_put(s, "/configmaps", "a", "x", "1")), 0);
    FINE(store_backup_folder(dir, file, &e), e);
    EQ(kit_wait(s, kit_put(s, "/configmaps", "a", "x", "2")), 0);
    store_close(s);
    FINE(store_backup_folder(dir, again, &e), e);
    FINE(store_restore(file, back, &e), e);
    s = kit_open(back, NULL);
    OK(kit_has(s, "/configmaps", "a", "x", "1"));
    store_close(s);
    s = kit_open(dir, NULL); /* undisturbed */
    OK(kit_has(s, "/configmaps", "a", "x", "2"));
    store_close(s);
    free(back);
    free(dir);
}
