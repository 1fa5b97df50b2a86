#include <sched.h>
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

/* Imports an image whose only layer is made by a python snippet that adds to `t`, a tarfile; the store must stay empty when it fails. */
static int import_layer(const char *python, struct err **e)
{
    const char *dir = image_test_dir();
    image_test_sh("cd %s && cat > make.py <<'P'\nimport tarfile, io\n"
                  "def add(name, type=tarfile.REGTYPE, data=b'', link='', **kw):\n"
                  "    i = tarfile.TarInfo(name); i.type = type; i.size = len(data); i.linkname = link\n"
                  "    for k, v in kw.items(): setattr(i, k, v)\n"
                  "    t.addfile(i, io.BytesIO(data))\n"
                  "t = tarfile.open('l.tar', 'w', format=tarfile.PAX_FORMAT)\n%s\nt.close()\nP\npython3 make.py && "
                  "%s/tests/image/mkimage.sh a.tar evil:1 l.tar",
        dir, python, SAMPAN_SOURCE);
    _cleanup_(image_store_freep) struct image_store *s = image_test_store(dir);
    int r = image_test_try(s, "a.tar", e);
    if (r < 0) {
        OK(!image_find(s, STR("evil:1")));
        image_test_sh("test -z \"$(ls -A %s/store/layers %s/store/images %s/store/tmp | grep -v :)\"", dir, dir, dir);
    }
    return r;
}

TEST(a_path_with_dots_that_leads_out_is_refused)
{
    _cleanup_(err_freep) struct err *e = NULL;
    EQ(import_layer("add('../../../../tmp/sampan-escaped', data=b'x')", &e), -ERR_PARSE);
    OK(!file_exists("/tmp/sampan-escaped"));
}

TEST(a_link_cannot_carry_a_file_out_of_the_image)
{
    _cleanup_(err_freep) struct err *e = NULL;
    const char *outside = "/tmp/sampan-through-link";
    unlink(outside);
    (void)!import_layer("add('d', tarfile.SYMTYPE, link='/tmp')\nadd('u', tarfile.SYMTYPE, link='../../../../../../../tmp')\n"
                        "add('d/sampan-through-link', data=b'x')\nadd('u/sampan-through-link', data=b'x')", &e);
    OK(!file_exists(outside));
}

TEST(a_hard_link_to_what_is_not_in_the_layer_is_refused)
{
    _cleanup_(err_freep) struct err *e = NULL;
    OK(import_layer("add('s', tarfile.SYMTYPE, link='/etc')\nadd('h', tarfile.LNKTYPE, link='s/shadow')", &e) < 0);
    err_free(TAKE(e));
    EQ(import_layer("add('h', tarfile.LNKTYPE, link='../../../../etc/shadow')", &e), -ERR_PARSE);
}

TEST(a_layer_that_replaces_its_folders_by_links_stays_inside)
{
    _cleanup_(err_freep) struct err *e = NULL;
    FINE(import_layer(
             "add('a', tarfile.DIRTYPE)\nadd('a/b', data=b'1')\nadd('a', tarfile.SYMTYPE, link='/')\nadd('a/sampan-replaced', data=b'2')",
             &e),
        e);
    OK(!file_exists("/sampan-replaced"));
}

TEST(a_damaged_archive_says_so)
{
    const char *dir = image_test_dir();
    image_test_sh("cd %s && mkdir r && head -c 300000 /dev/urandom > r/f && %s/tests/image/mkimage.sh a.tar x:1 r && gzip -k a.tar && head "
                  "-c 200000 a.tar.gz > cut.tar.gz && "
                  "head -c 200000 a.tar > cut.tar && head -c 5000 /dev/urandom > noise.tar && : > empty.tar",
        dir, SAMPAN_SOURCE);
    static const char *const files[] = {"cut.tar.gz", "cut.tar", "noise.tar", "empty.tar"};
    _cleanup_(image_store_freep) struct image_store *s = image_test_store(dir);
    for (size_t i = 0; i < ARRAY_LEN(files); i++) {
        _cleanup_(err_freep) struct err *e = NULL;
        EQ(image_test_try(s, files[i], &e), -ERR_PARSE);
    }
}

TEST(a_layer_that_is_not_what_the_config_says_is_refused)
{
    const char *dir = image_test_dir();
    image_test_sh("cd %s && mkdir r && echo 1 > r/f && %s/tests/image/mkimage.sh a.tar x:1 r && mkdir u && tar -C u -xf a.tar && "
                  "sed -i 's/sha256:[0-9a-f]*/sha256:0000000000000000000000000000000000000000000000000000000000000000/' u/config.json && "
                  "tar -C u -cf bad.tar manifest.json config.json layer.tar", dir, SAMPAN_SOURCE);
    _cleanup_(image_store_freep) struct image_store *s = image_test_store(dir);
    _cleanup_(err_freep) struct err *e = NULL;
    EQ(image_test_try(s, "bad.tar", &e), -ERR_INVALID);
    OK(!image_find(s, STR("x:1")));
}

TEST(json_that_is_none_and_names_that_are_none_are_refused)
{
    const char *dir = image_test_dir();
    image_test_sh(
        "cd %s && echo '[{' > manifest.json && tar -cf a.tar manifest.json && echo '[]' > manifest.json && tar -cf b.tar manifest.json && "
        "echo '[{\"Config\":\"../../etc/passwd\",\"Layers\":[]}]' > manifest.json && tar -cf c.tar manifest.json && "
        "mkdir r && %s/tests/image/mkimage.sh d.tar 'BAD NAME' r",
        dir, SAMPAN_SOURCE);
    _cleanup_(image_store_freep) struct image_store *s = image_test_store(dir);
    static const char *const files[] = {"a.tar", "b.tar", "c.tar", "d.tar"};
    for (size_t i = 0; i < ARRAY_LEN(files); i++) {
        _cleanup_(err_freep) struct err *e = NULL;
        OK(image_test_try(s, files[i], &e) < 0);
    }
}

TEST(a_file_that_says_it_is_larger_than_it_is_is_refused)
{
    _cleanup_(err_freep) struct err *e = NULL, *e2 = NULL;
    OK(import_layer("i = tarfile.TarInfo('huge'); i.size = 1 << 40\nt.fileobj.write(i.tobuf(tarfile.GNU_FORMAT))\nt.fileobj.write(b'x' * 512)", &e) == -ERR_PARSE);
    OK(import_layer("i = tarfile.TarInfo('negative'); b = bytearray(i.tobuf(tarfile.GNU_FORMAT)); b[124:136] = b'\\xff' * 12\n"
                    "b[148:156] = b' ' * 8; b[148:156] = b'%06o\\0 ' % sum(b)\nt.fileobj.write(bytes(b))", &e2) < 0);
}

/* 400 MB of zeros are 400 kB: what counts is the room that is left, and that nothing of it stays. */
TEST(a_bomb_ends_where_the_disk_does_and_leaves_nothing)
{
    const char *dir = image_test_dir();
    image_test_sh("cd %s && mkdir store && truncate -s 400M zeros && tar -cf l.tar zeros && rm zeros && %s/tests/image/mkimage.sh a.tar bomb:1 l.tar && "
                  "gzip -1 a.tar && rm l.tar", dir, SAMPAN_SOURCE);
    pid_t pid = fork();
    if (pid == 0) {
        _cleanup_(freep) char *store = xasprintf("%s/store", dir), *check = xasprintf("test -z \"$(ls -A %s/layers %s/tmp | grep -v :)\"", store, store);
        if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_PRIVATE | MS_REC, NULL) < 0 || mount("x", store, "tmpfs", 0, "size=40m") < 0)
            _exit(100);
        struct image_store *s = image_test_store(dir);
        _exit(image_test_try(s, "a.tar.gz", NULL) != -ERR_STORAGE_FULL ? 1 : image_find(s, STR("bomb:1")) ? 2 : system(check) == 0 ? 0 : 3);
    }
    int status = 0;
    waitpid(pid, &status, 0);
    EQ(WEXITSTATUS(status), 0);
}

TEST(overlayfs_own_attributes_and_devices_that_hide_files_do_not_come_from_a_layer)
{
    _cleanup_(err_freep) struct err *e = NULL;
    FINE(import_layer("add('d', tarfile.DIRTYPE, mode=0o755, pax_headers={'SCHILY.xattr.trusted.overlay.redirect': '/../../../etc',"
                      "'SCHILY.xattr.trusted.overlay.opaque': 'y', 'SCHILY.xattr.user.fine': 'yes'})\n"
                      "add('hide', tarfile.CHRTYPE, devmajor=0, devminor=0)\nadd('null', tarfile.CHRTYPE, mode=0o666, devmajor=1, devminor=3)", &e), e);
    _cleanup_(image_store_freep) struct image_store *s = image_test_store(test_tmpdir());
    const struct image *i = image_find(s, STR("evil:1"));
    _cleanup_(freep) char *d = image_test_path(s, i, "d"), *hide = image_test_path(s, i, "hide"), *null = image_test_path(s, i, "null");
    char value[64];
    struct stat st;
    OK(getxattr(d, "trusted.overlay.redirect", value, sizeof value) < 0);
    OK(getxattr(d, "trusted.overlay.opaque", value, sizeof value) < 0);
    OK(!file_exists(hide));
    EQ(stat(null, &st), 0);
    OK(S_ISCHR(st.st_mode) && st.st_rdev == makedev(1, 3)); /* a container's cgroup says which devices can be opened */
}

TEST(names_and_folders_beyond_measure_are_refused)
{
    _cleanup_(err_freep) struct err *e = NULL, *e2 = NULL, *e3 = NULL;
    EQ(import_layer("add('n' * 300, data=b'x')", &e), -ERR_PARSE);
    EQ(import_layer("add('/'.join(['d'] * 3000), data=b'x')", &e2), -ERR_PARSE);
    OK(import_layer("add('a\\0b', data=b'x')\nadd('l', tarfile.SYMTYPE, link='x' * 5000)", &e3) < 0);
}
