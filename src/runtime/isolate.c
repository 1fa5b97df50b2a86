#include "runtime/isolate.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include "base/file.h"

static bool is_fs(const char *path, unsigned long magic)
{
    struct statfs f;
    return statfs(path, &f) == 0 && (unsigned long)f.f_type == magic;
}

int isolate_cgroups(struct err **e)
{
    if (!is_fs("/sys/fs/cgroup/unified", CGROUP2_SUPER_MAGIC))
        return 0;
    if (mount(NULL, "/sys/fs/cgroup", NULL, MS_PRIVATE | MS_REC, NULL) < 0)
        return err_errno(e, errno, "make /sys/fs/cgroup private");
    if (umount2("/sys/fs/cgroup/unified", MNT_DETACH) < 0)
        return err_errno(e, errno, "hide /sys/fs/cgroup/unified");
    /* crun still makes its folder there: let it stand in memory that goes away with the namespace */
    if (mount("tmpfs", "/sys/fs/cgroup/unified", "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, "size=256k,mode=755") < 0)
        return err_errno(e, errno, "cover /sys/fs/cgroup/unified");
    return 0;
}

static bool is_mount_root(const char *path)
{
    struct statx sx;
    return statx(AT_FDCWD, path, AT_SYMLINK_NOFOLLOW, STATX_TYPE, &sx) == 0 && (sx.stx_attributes & STATX_ATTR_MOUNT_ROOT);
}

int isolate_dir(const char *dir, struct err **e)
{
    char above[PATH_MAX];
    if (!realpath(dir, above))
        return err_errno(e, errno, "%s", dir);
    while (strlen(above) > 1 && !is_mount_root(above)) {
        char *slash = strrchr(above, '/');
        slash[slash == above ? 1 : 0] = 0;
    }
    if (mount(NULL, above, NULL, MS_SLAVE, NULL) < 0)
        return err_errno(e, errno, "make %s a slave", above);
    if (mount(dir, dir, NULL, MS_BIND, NULL) < 0)
        return err_errno(e, errno, "bind %s", dir);
    if (mount(NULL, dir, NULL, MS_PRIVATE, NULL) < 0)
        return err_errno(e, errno, "make %s private", dir);
    return 0;
}

static char path[] = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
char *const isolate_env[] = {path, NULL};
