#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>
#include "base/file.h"
#include "harness.h"
#include "image/image.h"
#include "tools.h"

TEST(an_exported_image_is_the_same_when_it_is_imported_again)
{
    const char *dir = image_test_dir();
    image_test_sh("cd %s && mkdir -p r/d/e r/tmp && echo hello > r/file && ln r/file r/hard && ln -s ../file r/d/link && touch r/.wh.gone "
                  "r/d/e/.wh..wh..opq && "
                  "cp /bin/true r/ping && chown 5:6 r/ping && chmod 4755 r/ping && chmod 1777 r/tmp && setcap cap_net_raw+ep r/ping && "
                  "mkfifo r/fifo && "
                  "tar --format=pax --xattrs --xattrs-include='*' -C r -cf l.tar . && "
                  "%s/tests/image/mkimage.sh a.tar from:1 l.tar "
                  "'{\"Entrypoint\":[\"/ping\"],\"Env\":[\"A=b\"],\"User\":\"5\",\"WorkingDir\":\"/d\"}'",
        dir, SAMPAN_SOURCE);
    _cleanup_(image_store_freep) struct image_store *s = image_test_store(dir);
    image_test_import(s, "a.tar", NULL);
    _cleanup_(freep) char *out = xasprintf("%s/b.tar", dir), *other = xasprintf("%s/other", dir);
    _cleanup_(closep) int fd = open(out, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    _cleanup_(err_freep) struct err *e = NULL;
    struct str ref = STR("from:1"), absent = STR("nowhere:1");
    FINE(image_export(s, &ref, 1, fd, &e), e);
    FINE(dir_make(other, 0755, &e), e);
    _cleanup_(image_store_freep) struct image_store *t = image_test_store(other);
    EQ(lseek(fd, 0, SEEK_SET), 0);
    FINE(image_import(t, fd, &(struct image_import_options){0}, NULL, &e), e);
    const struct image *i = image_find(t, STR("docker.io/library/from:1"));
    OK(i);
    EQ_STR(i->config.entrypoint[0], STR("/ping"));
    EQ_STR(i->config.env[0], STR("A=b"));
    EQ_STR(i->config.user, STR("5"));
    EQ_STR(i->config.working_dir, STR("/d"));
    struct stat file, hard, st;
    char value[64], target[64] = "";
    _cleanup_(freep) char *pf = image_test_path(t, i, "file"), *ph = image_test_path(t, i, "hard"), *pp = image_test_path(t, i, "ping"),
                          *pg = image_test_path(t, i, "gone"), *pe = image_test_path(t, i, "d/e"), *pl = image_test_path(t, i, "d/link"),
                          *pt = image_test_path(t, i, "tmp"), *pq = image_test_path(t, i, "fifo");
    EQ(stat(pf, &file), 0);
    EQ(stat(ph, &hard), 0);
    EQ(file.st_ino, hard.st_ino);
    EQ(stat(pp, &st), 0);
    EQ(st.st_uid, 5);
    EQ(st.st_gid, 6);
    EQ(st.st_mode & 07777, 04755);
    OK(getxattr(pp, "security.capability", value, sizeof value) > 0);
    EQ(stat(pg, &st), 0);
    OK(S_ISCHR(st.st_mode) && st.st_rdev == makedev(0, 0));
    EQ(getxattr(pe, "trusted.overlay.opaque", value, sizeof value), 1);
    OK(readlink(pl, target, sizeof target - 1) > 0);
    EQ_Z(target, "../file");
    EQ(stat(pt, &st), 0);
    EQ(st.st_mode & 07777, 01777);
    EQ(stat(pq, &st), 0);
    OK(S_ISFIFO(st.st_mode));
    EQ(image_export(s, &absent, 1, fd, &e), -ERR_NOT_FOUND);
}
