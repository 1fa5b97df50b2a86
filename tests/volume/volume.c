#include "volume/volume.h"
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/file.h"
#include "harness.h"

TEST(host_paths_are_checked_by_type_and_made_when_asked)
{
    _cleanup_(err_freep) struct err *e = NULL;
    _cleanup_(freep) char *dir = xasprintf("%s/new/deep", test_tmpdir()), *file = xasprintf("%s/file", test_tmpdir());
    FINE(volume_check_host_path(str_of(dir), STR("DirectoryOrCreate"), &e), e);
    FINE(volume_check_host_path(str_of(dir), STR("Directory"), &e), e);
    EQ(volume_check_host_path(str_of(dir), STR("File"), &e), -ERR_INVALID);
    err_free(TAKE(e));
    FINE(volume_check_host_path(str_of(file), STR("FileOrCreate"), &e), e);
    FINE(volume_check_host_path(STR("/dev/null"), STR("CharDevice"), &e), e);
    EQ(volume_check_host_path(str_of(file), STR("Socket"), &e), -ERR_INVALID);
    err_free(TAKE(e));
    EQ(volume_check_host_path(str_of(file), STR("Nonsense"), &e), -ERR_INVALID);
}

TEST(a_volume_with_a_name_or_path_that_is_a_trick_is_refused)
{
    static const struct volume bad[] = {{.name = {"../x", 4}, .kind = VOLUME_EMPTY_DIR}, {.name = {"", 0}, .kind = VOLUME_EMPTY_DIR},
        {.name = {"..", 2}, .kind = VOLUME_EMPTY_DIR}, {.name = {"h", 1}, .kind = VOLUME_HOST_PATH, .path = {"etc", 3}},
        {.name = {"h", 1}, .kind = VOLUME_HOST_PATH, .path = {"/a/../etc", 9}}};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        _cleanup_(err_freep) struct err *e = NULL;
        EQ(volume_check(&bad[i], &e), -ERR_INVALID);
    }
}

/* Runs in a mount namespace of its own; the exit code tells which step failed. */
static int in_namespace(int (*fn)(const char *dir), const char *dir)
{
    pid_t pid = fork();
    if (pid == 0) {
        if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_PRIVATE | MS_REC, NULL) < 0)
            _exit(100);
        _exit(fn(dir));
    }
    int status = 0;
    waitpid(pid, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 101;
}

static int bind_steps(const char *dir)
{
    _cleanup_(freep) char *source = xasprintf("%s/v", dir), *inside = xasprintf("%s/v/data", dir), *link = xasprintf("%s/v/evil", dir);
    _cleanup_(freep) char *target = xasprintf("%s/t/0", dir), *target2 = xasprintf("%s/t/1", dir), *target3 = xasprintf("%s/t/2", dir),
                          *t = xasprintf("%s/t", dir);
    if (dir_make(inside, 0755, NULL) < 0 || symlink("/etc", link) < 0)
        return 1;
    if (volume_bind_subpath(source, STR("data"), false, target, NULL) < 0)
        return 2;
    if (volume_bind_subpath(source, STR("evil"), false, target2, NULL) == 0 ||
        volume_bind_subpath(source, STR("evil/ssl"), false, target2, NULL) == 0)
        return 3;
    if (volume_bind_subpath(source, STR("../x"), false, target2, NULL) == 0 ||
        volume_bind_subpath(source, STR("/etc"), false, target2, NULL) == 0)
        return 4;
    if (volume_bind_subpath(source, STR("made/here"), false, target3, NULL) < 0)
        return 5;
    if (volume_bind_subpath(source, STR("not/made"), true, target2, NULL) == 0)
        return 6;
    _cleanup_(freep) char *seen = xasprintf("%s/v/made/here/x", dir), *write = xasprintf("%s/x", target3);
    int fd = open(write, O_CREAT | O_WRONLY, 0600);
    if (fd < 0 || !file_exists(seen))
        return 7;
    volume_drop_subpaths(t);
    return file_exists(t) || !file_exists(seen) ? 8 : 0;
}

TEST(a_sub_path_never_leaves_its_volume)
{
    if (geteuid() != 0)
        test_skip("needs root");
    EQ(in_namespace(bind_steps, test_tmpdir()), 0);
}

static int memory_steps(const char *dir)
{
    _cleanup_(freep) char *data = xasprintf("%s/data", dir), *run = xasprintf("%s/run", dir), *file = xasprintf("%s/run/vol/m/f", dir),
                          *secret = xasprintf("%s/run/mem/s/k", dir);
    struct volume_dirs d = {data, run};
    struct volume_file f[] = {{STR("k"), STR("v"), 0400, -1}};
    struct volume m = {.name = STR("m"), .kind = VOLUME_EMPTY_DIR, .in_memory = true, .size_limit = 65536},
                  s = {.name = STR("s"), .kind = VOLUME_FILES, .in_memory = true, .files = f, .nfiles = 1};
    if (volume_setup(&d, &m, -1, NULL) < 0 || volume_setup(&d, &s, -1, NULL) < 0 || volume_setup(&d, &s, -1, NULL) < 0)
        return 1;
    int fd = open(file, O_CREAT | O_WRONLY, 0600);
    char block[4096] = "";
    int n = 0;
    while (n < 100 && write(fd, block, sizeof block) == (ssize_t)sizeof block)
        n++;
    if (n > 16)
        return 2; /* the limit holds */
    return file_exists(secret) ? 0 : 3;
}

TEST(volumes_in_memory_are_bounded_and_leave_nothing_on_disk)
{
    if (geteuid() != 0)
        test_skip("needs root");
    EQ(in_namespace(memory_steps, test_tmpdir()), 0);
    _cleanup_(freep) char *secret = xasprintf("%s/run/mem/s", test_tmpdir()), *file = xasprintf("%s/run/vol/m/f", test_tmpdir());
    OK(!file_exists(secret));
    OK(!file_exists(file));
}
