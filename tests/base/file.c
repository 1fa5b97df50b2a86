#include <sys/stat.h>
#include <unistd.h>
#include "harness.h"
#include "base/buf.h"
#include "base/file.h"

TEST(replacing_leaves_the_new_contents_its_mode_and_no_temporary)
{
    _cleanup_(freep) char *path = xasprintf("%s/f", test_tmpdir());
    struct err *e = NULL;
    FINE(file_replace(path, STR("one"), 0644, &e), e);
    FINE(file_replace(path, STR("two"), 0600, &e), e);
    _cleanup_(buf_clear) struct buf b = BUF_INIT;
    FINE(file_read(path, 3, &b, &e), e);
    EQ_STR(buf_str(&b), STR("two"));
    struct stat st;
    EQ(stat(path, &st), 0);
    EQ(st.st_mode & 07777, 0600);
    EQ(unlink(path), 0);
    EQ(rmdir(test_tmpdir()), 0);
    EQ(mkdir(test_tmpdir(), 0700), 0);
}

TEST(reading_has_a_limit_and_leaves_the_buffer_as_it_was)
{
    _cleanup_(freep) char *path = xasprintf("%s/f", test_tmpdir()), *none = xasprintf("%s/none", test_tmpdir());
    struct err *e = NULL;
    FINE(file_replace(path, STR("0123456789"), 0600, &e), e);
    _cleanup_(buf_clear) struct buf b = BUF_INIT;
    buf_puts(&b, "kept");
    EQ(file_read(path, 9, &b, &e), -ERR_LIMIT);
    OK(str_find(str_of(err_msg(e)), str_of(path)) >= 0);
    err_free(TAKE(e));
    EQ(file_read(none, 9, &b, NULL), -ERR_NOT_FOUND);
    EQ_STR(buf_str(&b), STR("kept"));
    FINE(file_read("/proc/self/status", 65536, &b, &e), e);
    OK(b.n > 100);
    b.n = 0;
    EQ(file_read("/proc/self/status", 100, &b, NULL), -ERR_LIMIT);
}

TEST(folders_are_made_with_parents_and_removed_with_contents)
{
    _cleanup_(freep) char *deep = xasprintf("%s/a/b/c", test_tmpdir()), *top = xasprintf("%s/a", test_tmpdir());
    _cleanup_(freep) char *link_at = xasprintf("%s/a/b/link", test_tmpdir()), *outside = xasprintf("%s/outside", test_tmpdir());
    struct err *e = NULL;
    FINE(dir_make(deep, 0755, &e), e);
    FINE(dir_make(deep, 0755, &e), e);
    FINE(file_replace(outside, STR("x"), 0600, &e), e);
    EQ(symlink(test_tmpdir(), link_at), 0);
    FINE(dir_remove(top, &e), e);
    OK(!file_exists(top) && file_exists(outside));
    FINE(dir_remove(top, &e), e);
    EQ(dir_make(outside, 0755, NULL), -ERR_IO);
}

TEST(uuids_and_suffixes_have_their_form)
{
    char u[UUID_LEN + 1], v[UUID_LEN + 1], s[6];
    random_uuid(u);
    random_uuid(v);
    EQ(strlen(u), 36);
    OK(u[14] == '4' && strchr("89ab", u[19]) && u[8] == '-' && u[23] == '-' && strcmp(u, v) != 0);
    random_suffix(s, 5);
    EQ(strlen(s), 5);
    EQ(strspn(s, "bcdfghjklmnpqrstvwxz2456789"), 5);
}

TEST(a_replacement_that_fails_at_any_step_leaves_the_old_or_the_new_and_nothing_else)
{
    _cleanup_(freep) char *path = xasprintf("%s/d/f", test_tmpdir()), *folder = xasprintf("%s/d", test_tmpdir());
    struct err *e = NULL;
    int failures = 0;
    FINE(dir_make(folder, 0700, &e), e);
    FAULT_LOOP
    {
        _cleanup_(buf_clear) struct buf b = BUF_INIT;
        fault_end(); /* not yet */
        FINE(file_replace(path, STR("old"), 0600, &e), e);
        fault_at(fault_n_);
        int r = file_replace(path, STR("new"), 0600, NULL);
        bool failed = fault_end();
        FINE(file_read(path, 16, &b, &e), e);
        if (failed) {
            failures++;
            OK(r < 0 && (str_eqz(buf_str(&b), "old") || str_eqz(buf_str(&b), "new")));
        } else {
            EQ(r, 0);
            EQ_STR(buf_str(&b), STR("new"));
        }
        EQ(unlink(path), 0);
        EQ(rmdir(folder), 0); /* no temporary stayed */
        FINE(dir_make(folder, 0700, &e), e);
    }
    EQ(failures, 5); /* open, write, fsync, rename, fsync of the folder */
}
