#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/file.h"
#include "harness.h"
#include "volume/volume.h"

static struct stat of(const char *dir, const char *name)
{
    _cleanup_(freep) char *path = xasprintf("%s/%s", dir, name);
    struct stat st;
    EQ(lstat(path, &st), 0);
    return st;
}

static void make(const char *dir, const char *name, mode_t mode)
{
    _cleanup_(freep) char *path = xasprintf("%s/%s", dir, name);
    _cleanup_(closep) int fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    OK(fd >= 0 && fchmod(fd, mode) == 0);
}

TEST(a_group_gets_all_of_a_volume_and_nothing_outside_it)
{
    if (geteuid() != 0)
        test_skip("needs root");
    _cleanup_(err_freep) struct err *e = NULL;
    _cleanup_(freep) char *dir = xasprintf("%s/v", test_tmpdir()), *sub = xasprintf("%s/v/sub", test_tmpdir()),
                          *link = xasprintf("%s/v/link", test_tmpdir());
    FINE(dir_make(sub, 0700, &e), e);
    make(test_tmpdir(), "outside", 0600);
    make(dir, "sub/f", 0640);
    make(dir, "x", 0700);
    EQ(symlink("../outside", link), 0);
    FINE(volume_give(dir, 4321, false, &e), e);
    EQ(of(dir, "sub/f").st_gid, 4321);
    EQ(of(dir, "sub/f").st_mode & 07777, 0660);
    EQ(of(dir, "x").st_mode & 07777, 0760);
    EQ(of(dir, "sub").st_mode & 07777, 02770);
    EQ(of(test_tmpdir(), "v").st_gid, 4321);
    EQ(of(test_tmpdir(), "outside").st_gid, getegid());
    EQ(of(test_tmpdir(), "outside").st_mode & 07777, 0600);
    /* on mismatch: what is in it is not looked at while its top folder is right */
    make(dir, "late", 0600);
    FINE(volume_give(dir, 4321, true, &e), e);
    EQ(of(dir, "late").st_mode & 07777, 0600);
    FINE(volume_give(dir, 99, true, &e), e);
    EQ(of(dir, "late").st_gid, 99);
}

TEST(folders_below_a_base_are_made_and_dropped_and_no_link_is_followed)
{
    _cleanup_(err_freep) struct err *e = NULL, *e2 = NULL;
    const char *dir = test_tmpdir();
    _cleanup_(freep) char *deep = xasprintf("%s/pods/u/volumes/x/mount", dir), *pods = xasprintf("%s/pods", dir), *u = xasprintf("%s/pods/u", dir),
                          *evil = xasprintf("%s/evil", dir), *file = xasprintf("%s/pods/u/volumes/x/mount/f", dir);
    FINE(volume_make_beneath(dir, STR("pods/u/volumes/x/mount"), &e), e);
    OK(file_exists(deep));
    FINE(file_replace(file, STR("data"), 0600, &e), e);
    OK(volume_drop_beneath(dir, STR("pods/u/volumes/x/mount"), &e2) < 0); /* something is in it: it stays */
    OK(file_exists(file));
    EQ(unlink(file), 0);
    FINE(volume_drop_beneath(dir, STR("pods/u/volumes/x/mount"), &e), e);
    OK(!file_exists(u));
    OK(file_exists(pods));
    FINE(volume_drop_beneath(dir, STR("pods/u/volumes/x/mount"), &e), e); /* again: nothing to do */
    EQ(symlink("/tmp", evil), 0);
    err_free(TAKE(e2));
    OK(volume_open_beneath(dir, STR("evil"), &e2) < 0);
    err_free(TAKE(e2));
    OK(volume_make_beneath(dir, STR("evil/sampan-made"), &e2) < 0);
    OK(!file_exists("/tmp/sampan-made"));
}
