#include "base/file.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#define DEPTH_MAX 512 /* each level holds one file descriptor */

static void closedirp(DIR **d)
{
    if (*d)
        closedir(*d);
}

/* A mount inside belongs to somebody (a pod's volume): removing through it would destroy what is not ours. */
static bool is_mount(int fd)
{
    struct statx sx;
    return statx(fd, "", AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW, STATX_TYPE, &sx) == 0 && sx.stx_attributes_mask & STATX_ATTR_MOUNT_ROOT &&
        sx.stx_attributes & STATX_ATTR_MOUNT_ROOT;
}

/* Empties the folder behind fd, which it takes over. */
static int empty(int fd, const char *name, int depth, struct err **e)
{
    if (depth > DEPTH_MAX || is_mount(fd)) {
        close(fd);
        return err_set(e, ERR_IO, depth > DEPTH_MAX ? "%s: nested too deeply" : "%s: is a mount point", name);
    }
    _cleanup_(closedirp) DIR *d = fdopendir(fd);
    if (!d) {
        close(fd);
        return err_errno(e, errno, "open folder %s", name);
    }
    for (struct dirent *x; (errno = 0, x = readdir(d));) {
        if (str_eqz(STR("."), x->d_name) || str_eqz(STR(".."), x->d_name))
            continue;
        if (unlinkat(fd, x->d_name, 0) == 0 || errno == ENOENT)
            continue;
        if (errno != EISDIR && errno != EPERM)
            return err_errno(e, errno, "remove %s", x->d_name);
        int sub = openat(fd, x->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (sub < 0)
            return err_errno(e, errno, "open folder %s", x->d_name);
        int r = empty(sub, x->d_name, depth + 1, e);
        if (r < 0)
            return r;
        if (unlinkat(fd, x->d_name, AT_REMOVEDIR) < 0 && errno != ENOENT)
            return err_errno(e, errno, "remove folder %s", x->d_name);
    }
    return errno ? err_errno(e, errno, "read folder %s", name) : 0;
}

int dir_remove(const char *path, struct err **e)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT ? 0 : err_errno(e, errno, "remove %s", path);
    int r = empty(fd, path, 0, e);
    if (r < 0)
        return err_wrap(e, "remove %s", path), r;
    return rmdir(path) < 0 && errno != ENOENT ? err_errno(e, errno, "remove %s", path) : 0;
}
