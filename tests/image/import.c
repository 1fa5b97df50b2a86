#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>
#include "base/file.h"
#include "harness.h"
#include "image/image.h"
#include "tools.h"

TEST(a_docker_archive_becomes_an_image_that_can_be_found_by_name_and_id)
{
    const char *dir = image_test_dir();
    image_test_sh(
        "cd %s && mkdir -p r/bin r/etc && echo hi > r/etc/motd && ln -s etc/motd r/link && ln r/etc/motd r/hard && chmod 4755 r/bin && "
        "%s/tests/image/mkimage.sh a.tar hello:v1 r "
        "'{\"Entrypoint\":[\"/bin/x\"],\"Cmd\":[\"y\"],\"Env\":[\"A=b\"],\"User\":\"7:8\",\"WorkingDir\":\"/w\"}'",
        dir, SAMPAN_SOURCE);
    _cleanup_(image_store_freep) struct image_store *s = image_test_store(dir);
    _cleanup_(buf_clear) struct buf out = BUF_INIT;
    image_test_import(s, "a.tar", &out);
    EQ_STR(buf_str(&out), STR("docker.io/library/hello:v1\n"));
    const struct image *i = image_find(s, STR("hello:v1"));
    OK(i);
    OK(image_find(s, i->id) == i);
    OK(!image_find(s, STR("hello:v2")));
    EQ(i->nlayers, 1);
    EQ_STR(i->config.entrypoint[0], STR("/bin/x"));
    EQ_STR(i->config.user, STR("7:8"));
    EQ_STR(i->config.working_dir, STR("/w"));
    struct stat st, other;
    _cleanup_(freep) char *motd = image_test_path(s, i, "etc/motd"), *hard = image_test_path(s, i, "hard"),
                          *bin = image_test_path(s, i, "bin");
    EQ(stat(motd, &st), 0);
    EQ(stat(hard, &other), 0);
    EQ(st.st_ino, other.st_ino);
    EQ(stat(bin, &st), 0);
    EQ(st.st_mode & 07777, 04755);
}

TEST(gzip_and_zstd_archives_and_oci_archives_are_read_too)
{
    const char *dir = image_test_dir();
    image_test_sh("cd %s && mkdir -p r && echo hi > r/file && %s/tests/image/mkimage.sh a.tar hello:v1 r && gzip -k a.tar && zstd -q a.tar "
                  "-o a.tar.zst && "
                  "skopeo --insecure-policy copy -q docker-archive:a.tar oci-archive:o.tar:docker.io/library/oci:v1",
        dir, SAMPAN_SOURCE);
    static const char *const files[] = {"a.tar.gz", "a.tar.zst", "o.tar"};
    _cleanup_(image_store_freep) struct image_store *s = image_test_store(dir);
    for (size_t i = 0; i < ARRAY_LEN(files); i++) {
        _cleanup_(buf_clear) struct buf out = BUF_INIT;
        image_test_import(s, files[i], &out);
    }
    OK(image_find(s, STR("hello:v1")));
    const struct image *o = image_find(s, STR("oci:v1"));
    OK(o);
    EQ(o->ndigests, 1);
    _cleanup_(freep) char *file = image_test_path(s, o, "file");
    OK(file_exists(file));
}

TEST(a_layout_that_gate_filled_is_imported_by_its_digest)
{
    const char *dir = image_test_dir();
    image_test_sh("cd %s && mkdir -p r && echo hi > r/file && %s/tests/image/mkimage.sh a.tar hello:v1 r && "
                  "skopeo --insecure-policy copy -q docker-archive:a.tar oci:layout:v1 && chmod -R a+rX layout && "
                  "sed 's/.*\"digest\":\"\\(sha256:[0-9a-f]*\\)\".*/\\1/' layout/index.json > digest", dir, SAMPAN_SOURCE);
    _cleanup_(image_store_freep) struct image_store *s = image_test_store(dir);
    _cleanup_(freep) char *path = xasprintf("%s/layout", dir), *digest_path = xasprintf("%s/digest", dir);
    _cleanup_(buf_clear) struct buf digest = BUF_INIT, out = BUF_INIT;
    _cleanup_(err_freep) struct err *e = NULL;
    FINE(file_read(digest_path, 200, &digest, &e), e);
    _cleanup_(closep) int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    struct image_import_options o = {.layout = true, .name = STR("registry.example/team/app:1"), .digest = str_trim(buf_str(&digest))};
    FINE(image_import(s, fd, &o, &out, &e), e);
    const struct image *i = image_find(s, STR("registry.example/team/app:1"));
    OK(i);
    EQ(i->ndigests, 1);
    OK(image_find(s, i->digests[0]) == i);
    o.digest = STR("sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef");
    OK(image_import(s, fd, &o, &out, &e) < 0);
}

TEST(whiteouts_become_overlayfs_ones)
{
    const char *dir = image_test_dir();
    image_test_sh("cd %s && mkdir -p r/d/e && touch r/.wh.gone r/d/.wh..wh..opq r/d/e/f && %s/tests/image/mkimage.sh a.tar w:1 r", dir,
        SAMPAN_SOURCE);
    _cleanup_(image_store_freep) struct image_store *s = image_test_store(dir);
    image_test_import(s, "a.tar", NULL);
    const struct image *i = image_find(s, STR("w:1"));
    _cleanup_(freep) char *gone = image_test_path(s, i, "gone"), *d = image_test_path(s, i, "d"), *mark = image_test_path(s, i, ".wh.gone");
    struct stat st;
    EQ(stat(gone, &st), 0);
    OK(S_ISCHR(st.st_mode) && st.st_rdev == makedev(0, 0));
    char value[8] = "";
    EQ(getxattr(d, "trusted.overlay.opaque", value, sizeof value), 1);
    EQ(value[0], 'y');
    OK(!file_exists(mark));
}

TEST(file_capabilities_and_owners_survive)
{
    const char *dir = image_test_dir();
    image_test_sh("cd %s && mkdir r && cp /bin/true r/ping && chown 5:6 r/ping && setcap cap_net_raw+ep r/ping && "
                  "tar --format=pax --xattrs --xattrs-include='*' -C r -cf l.tar . && %s/tests/image/mkimage.sh a.tar c:1 l.tar",
        dir, SAMPAN_SOURCE);
    _cleanup_(image_store_freep) struct image_store *s = image_test_store(dir);
    image_test_import(s, "a.tar", NULL);
    _cleanup_(freep) char *ping = image_test_path(s, image_find(s, STR("c:1")), "ping");
    struct stat st;
    char value[64];
    EQ(stat(ping, &st), 0);
    EQ(st.st_uid, 5);
    EQ(st.st_gid, 6);
    OK(getxattr(ping, "security.capability", value, sizeof value) > 0);
}

TEST(removing_the_last_name_removes_the_image_and_its_layers)
{
    const char *dir = image_test_dir();
    image_test_sh(
        "cd %s && mkdir -p r && echo 1 > r/f && %s/tests/image/mkimage.sh a.tar one:1 r && %s/tests/image/mkimage.sh b.tar two:1 r", dir,
        SAMPAN_SOURCE, SAMPAN_SOURCE);
    _cleanup_(image_store_freep) struct image_store *s = image_test_store(dir);
    _cleanup_(err_freep) struct err *e = NULL;
    image_test_import(s, "a.tar", NULL);
    image_test_import(s, "b.tar", NULL);
    OK(image_find(s, STR("one:1")) == image_find(s, STR("two:1")));
    _cleanup_(freep) char *layer = image_test_path(s, image_find(s, STR("one:1")), "f");
    FINE(image_remove(s, STR("one:1"), &e), e);
    OK(!image_find(s, STR("one:1")));
    OK(file_exists(layer));
    FINE(image_remove(s, STR("two:1"), &e), e);
    OK(!file_exists(layer));
    EQ(image_remove(s, STR("two:1"), &e), -ERR_NOT_FOUND);
}

TEST(an_air_gap_folder_is_imported_once_and_pinned)
{
    const char *dir = image_test_dir();
    image_test_sh("cd %s && mkdir -p r gap && echo 1 > r/f && %s/tests/image/mkimage.sh gap/a.tar one:1 r && echo no > gap/bad.tar && echo "
                  "x > gap/readme.txt",
        dir, SAMPAN_SOURCE);
    _cleanup_(image_store_freep) struct image_store *s = image_test_store(dir);
    _cleanup_(freep) char *gap = xasprintf("%s/gap", dir);
    _cleanup_(buf_clear) struct buf out = BUF_INIT, again = BUF_INIT;
    _cleanup_(err_freep) struct err *e = NULL;
    FINE(image_import_folder(s, gap, &out, &e), e);
    OK(str_find(buf_str(&out), STR("a.tar: imported docker.io/library/one:1")) >= 0);
    OK(str_find(buf_str(&out), STR("bad.tar: error: ")) >= 0);
    OK(image_find(s, STR("one:1"))->pinned);
    EQ(image_remove(s, STR("one:1"), &e), -ERR_CONFLICT);
    FINE(image_import_folder(s, gap, &again, NULL), e);
    OK(str_find(buf_str(&again), STR("a.tar")) < 0);
}

static void store_is_whole(const char *dir)
{
    _cleanup_(image_store_freep) struct image_store *s = image_test_store(dir);
    const struct image *i = image_find(s, STR("big:1"));
    if (i) {
        _cleanup_(freep) char *last = image_test_path(s, i, "d199/f"), *first = image_test_path(s, i, "d0/f");
        OK(file_exists(first) && file_exists(last));
    }
}

TEST(an_import_that_is_killed_at_any_moment_leaves_a_whole_image_or_none)
{
    const char *dir = image_test_dir();
    image_test_sh("cd %s && i=0; while [ $i -lt 200 ]; do mkdir -p r/d$i; head -c 20000 /dev/urandom > r/d$i/f; i=$((i+1)); done; "
                  "%s/tests/image/mkimage.sh a.tar big:1 r",
        dir, SAMPAN_SOURCE);
    for (int ms = 1; ms < 200; ms += 13) {
        pid_t pid = fork();
        if (pid == 0) {
            struct image_store *s = image_test_store(dir);
            image_test_try(s, "a.tar", NULL);
            _exit(0);
        }
        usleep((useconds_t)ms * 1000);
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
        store_is_whole(dir);
    }
    _cleanup_(image_store_freep) struct image_store *s = image_test_store(dir);
    image_test_import(s, "a.tar", NULL);
    OK(image_find(s, STR("big:1")));
    image_test_sh("test $(ls %s/store/layers | wc -l) = 1 && test -z \"$(ls -A %s/store/tmp)\"", dir, dir);
}

TEST(a_full_disk_is_told_as_such_and_leaves_nothing)
{
    const char *dir = image_test_dir();
    image_test_sh(
        "cd %s && mkdir r store && head -c 3000000 /dev/urandom > r/f && %s/tests/image/mkimage.sh a.tar big:1 r", dir, SAMPAN_SOURCE);
    pid_t pid = fork();
    if (pid == 0) {
        _cleanup_(freep) char *store = xasprintf("%s/store", dir);
        if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_PRIVATE | MS_REC, NULL) < 0 ||
            mount("x", store, "tmpfs", 0, "size=2m") < 0)
            _exit(100);
        struct image_store *s = image_test_store(dir);
        int r = image_test_try(s, "a.tar", NULL); /* the code alone is enough for a caller without a struct err */
        if (r != -ERR_STORAGE_FULL)
            _exit(1);
        if (image_find(s, STR("big:1")) || image_store_reload(s, NULL) < 0)
            _exit(2);
        _cleanup_(freep) char *check = xasprintf("test -z \"$(ls -A %s/layers %s/tmp | grep -v :)\"", store, store);
        _exit(system(check) == 0 ? 0 : 3);
    }
    int status = 0;
    waitpid(pid, &status, 0);
    EQ(WEXITSTATUS(status), 0);
}
