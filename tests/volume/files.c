#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/file.h"
#include "harness.h"
#include "volume/volume.h"

static struct str content(const char *dir, const char *name)
{
    static struct buf b;
    _cleanup_(freep) char *path = xasprintf("%s/%s", dir, name);
    buf_reset(&b);
    return file_read(path, 4096, &b, NULL) < 0 ? STR_NULL : buf_str(&b);
}

static struct str data_link(const char *dir)
{
    static char target[256];
    _cleanup_(freep) char *path = xasprintf("%s/..data", dir);
    ssize_t n = readlink(path, target, sizeof target);
    return str_make(target, n < 0 ? 0 : (size_t)n);
}

TEST(files_are_links_through_data_and_turn_all_at_once)
{
    const char *dir = test_tmpdir();
    _cleanup_(err_freep) struct err *e = NULL;
    struct volume_file one[] = {{STR("a"), STR("1"), 0644, -1}, {STR("d/b"), STR("2"), 0600, -1}};
    FINE(volume_write_files(dir, one, 2, -1, &e), e);
    EQ_STR(content(dir, "a"), STR("1"));
    EQ_STR(content(dir, "d/b"), STR("2"));
    char before[256];
    snprintf(before, sizeof before, "%.*s", STR_ARG(data_link(dir)));
    FINE(volume_write_files(dir, one, 2, -1, &e), e);
    EQ_STR(data_link(dir), str_of(before));
    struct volume_file two[] = {{STR("a"), STR("new"), 0644, -1}, {STR("c"), STR("3"), 0644, -1}};
    FINE(volume_write_files(dir, two, 2, -1, &e), e);
    OK(!str_eqz(data_link(dir), before));
    EQ_STR(content(dir, "a"), STR("new"));
    EQ_STR(content(dir, "c"), STR("3"));
    OK(content(dir, "d/b").p == NULL);
    _cleanup_(freep) char *old = xasprintf("%s/%s", dir, before);
    OK(!file_exists(old));
}

TEST(removing_a_file_alone_is_a_change)
{
    const char *dir = test_tmpdir();
    _cleanup_(err_freep) struct err *e = NULL;
    struct volume_file f[] = {{STR("a"), STR("1"), 0644, -1}, {STR("b"), STR("2"), 0644, -1}};
    FINE(volume_write_files(dir, f, 2, -1, &e), e);
    FINE(volume_write_files(dir, f, 1, -1, &e), e);
    EQ_STR(content(dir, "a"), STR("1"));
    OK(content(dir, "b").p == NULL);
}

TEST(modes_owners_and_the_group_are_set)
{
    if (geteuid() != 0)
        test_skip("needs root");
    const char *dir = test_tmpdir();
    _cleanup_(err_freep) struct err *e = NULL;
    struct volume_file f[] = {{STR("a"), STR("1"), 0400, -1}, {STR("t"), STR("2"), 0600, 7}};
    FINE(volume_write_files(dir, f, 2, 99, &e), e);
    struct stat st;
    _cleanup_(freep) char *a = xasprintf("%s/a", dir), *t = xasprintf("%s/t", dir);
    EQ(stat(a, &st), 0);
    EQ(st.st_mode & 0777, 0440);
    EQ(st.st_gid, 99);
    EQ(stat(t, &st), 0);
    EQ(st.st_mode & 0777, 0640); /* the group reads what is one user's too */
    EQ(st.st_uid, 7);
}

TEST(paths_that_lead_out_are_refused)
{
    static const char *const bad[] = {"", "/a", "../a", "a/../b", "..data", "a//b", "a/./b"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        OK(!volume_file_path_ok(str_of(bad[i])));
    OK(volume_file_path_ok(STR("a/b.c/..x")));
}
