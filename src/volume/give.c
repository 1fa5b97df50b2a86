#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/file.h"
#include "volume/volume.h"

#define DEPTH_MAX 512

static void closedirp(DIR **d)
{
    if (*d)
        closedir(*d);
}

static mode_t wanted(const struct stat *st)
{
    return S_ISDIR(st->st_mode) ? 02770 : 0660;
}

static bool is_given(const struct stat *st, int64_t gid)
{
    return st->st_gid == (gid_t)gid && (S_ISLNK(st->st_mode) || (st->st_mode & wanted(st)) == wanted(st));
}

static int give_one(int at, const char *name, const struct stat *st, int64_t gid, struct err **e)
{
    if (is_given(st, gid))
        return 0;
    if (st->st_gid != (gid_t)gid && fchownat(at, name, (uid_t)-1, (gid_t)gid, AT_SYMLINK_NOFOLLOW) < 0)
        return err_errno(e, errno, "group of %s", name);
    if (S_ISLNK(st->st_mode))
        return 0;
    return fchmodat(at, name, (st->st_mode & 07777) | wanted(st), 0) < 0 ? err_errno(e, errno, "mode of %s", name) : 0;
}

static int give_below(int dir, dev_t dev, int64_t gid, int depth, struct err **e)
{
    _cleanup_(closedirp) DIR *d = fdopendir(dir);
    if (!d || depth > DEPTH_MAX)
        return d ? err_set(e, ERR_LIMIT, "folders nested more than %d deep", DEPTH_MAX) : err_errno(e, errno, "read folder");
    for (struct dirent *x; (x = readdir(d));) {
        struct stat st;
        if (str_eqz(STR("."), x->d_name) || str_eqz(STR(".."), x->d_name) || fstatat(dirfd(d), x->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
            st.st_dev != dev)
            continue;
        int r = give_one(dirfd(d), x->d_name, &st, gid, e);
        int sub = r == 0 && S_ISDIR(st.st_mode) ? openat(dirfd(d), x->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC) : -1;
        if (r == 0 && sub >= 0)
            r = give_below(sub, dev, gid, depth + 1, e);
        if (r < 0)
            return r;
    }
    return 0;
}

int volume_give(const char *path, int64_t gid, bool on_mismatch, struct err **e)
{
    struct stat st;
    _cleanup_(closep) int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int walked = fd < 0 || fstat(fd, &st) < 0 ? -1 : openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (walked < 0)
        return err_errno(e, errno, "%s", path);
    if (on_mismatch && is_given(&st, gid)) {
        close(walked);
        return 0;
    }
    /* the top folder last: a change that was cut short is found unfinished the next time */
    int r = give_below(walked, st.st_dev, gid, 0, e);
    if (r == 0 && (fchown(fd, (uid_t)-1, (gid_t)gid) < 0 || fchmod(fd, (st.st_mode & 07777) | wanted(&st)) < 0))
        r = err_errno(e, errno, "%s", path);
    return r;
}
