#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/quota.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "base/file.h"
#include "volume/volume.h"

#define UUID 36
#define PROJECTS_FROM 0x40000000u /* ids of ours: where administrators (and container engines, which count from 1) have none */
#define PROJECTS 0x3fffffffu
#define PROJECT_TRIES 64
#ifndef SYS_quotactl_fd
#define SYS_quotactl_fd 443
#endif
#ifndef PRJQUOTA
#define PRJQUOTA 2
#endif

/* ---- names ---- */

static bool is_uuid(struct str s)
{
    for (size_t i = 0; i < s.n; i++)
        if (i == 8 || i == 13 || i == 18 || i == 23 ? s.p[i] != '-' : !memchr("0123456789abcdef", s.p[i], 16))
            return false;
    return s.n == UUID;
}

bool volume_provisioned_path_ok(struct str path)
{
    ssize_t slash = str_rchr(path, '/');
    struct str rest = path, piece, name = slash < 0 ? STR_NULL : str_sub(path, (size_t)slash + 1, path.n);
    if (slash <= 0 || path.n > 4095 || memchr(path.p, 0, path.n) || !str_starts(path, STR("/")) || name.n > 255)
        return false;
    while (str_split(&rest, '/', &piece))
        if (str_eq(piece, STR("..")) || str_eq(piece, STR(".")))
            return false;
    return str_starts(name, STR("pvc-")) && name.n > 4 + UUID + 1 && is_uuid(str_sub(name, 4, 4 + UUID)) && name.p[4 + UUID] == '_';
}

/* ---- project quotas (xfs; ext4 with the project feature; both mounted with prjquota) ---- */

static int quota(int fd, uint32_t cmd, uint32_t id, struct if_dqblk *q)
{
    return (int)syscall(SYS_quotactl_fd, fd, cmd << 8 | PRJQUOTA, id, q);
}

static uint32_t hash_of(struct str s)
{
    uint64_t h = 1469598103934665603u;
    for (size_t i = 0; i < s.n; i++)
        h = (h ^ (unsigned char)s.p[i]) * 1099511628211u;
    return (uint32_t)(h ^ h >> 32);
}

/* An id that nobody uses: the same for the same name, unless two names meet. */
static uint32_t free_project(int fd, struct str name)
{
    uint32_t at = hash_of(name) % PROJECTS;
    for (uint32_t i = 0; i < PROJECT_TRIES; i++) {
        struct if_dqblk q = {0};
        uint32_t id = PROJECTS_FROM + (at + i) % PROJECTS;
        if (quota(fd, Q_GETQUOTA, id, &q) < 0)
            return errno == ENOENT || errno == ESRCH ? id : 0;
        if (!q.dqb_bhardlimit && !q.dqb_curspace)
            return id;
    }
    return 0;
}

/* Whether the file system now holds the folder to size bytes. */
static bool limit(int fd, struct str name, int64_t size)
{
    struct fsxattr x;
    struct if_dqblk q = {.dqb_bhardlimit = (uint64_t)(size + 1023) / 1024, .dqb_valid = QIF_BLIMITS};
    q.dqb_bsoftlimit = q.dqb_bhardlimit;
    if (ioctl(fd, FS_IOC_FSGETXATTR, &x) < 0)
        return false;
    uint32_t id = x.fsx_projid >= PROJECTS_FROM ? x.fsx_projid : free_project(fd, name);
    if (!id || quota(fd, Q_SETQUOTA, id, &q) < 0)
        return false;
    if (x.fsx_projid == id && (x.fsx_xflags & FS_XFLAG_PROJINHERIT))
        return true;
    x.fsx_projid = id;
    x.fsx_xflags |= FS_XFLAG_PROJINHERIT;
    if (ioctl(fd, FS_IOC_FSSETXATTR, &x) == 0)
        return true;
    q.dqb_bhardlimit = q.dqb_bsoftlimit = 0;
    (void)quota(fd, Q_SETQUOTA, id, &q);
    return false;
}

static void unlimit(int fd)
{
    struct fsxattr x;
    struct if_dqblk none = {.dqb_valid = QIF_BLIMITS};
    if (ioctl(fd, FS_IOC_FSGETXATTR, &x) == 0 && x.fsx_projid >= PROJECTS_FROM)
        (void)quota(fd, Q_SETQUOTA, x.fsx_projid, &none);
}

/* ---- making and removing ---- */

/* The base folder is made like K3s', to be passed through and not listed; what is there already stays as it is. */
static int open_base(const char *path, bool make, struct str *name, struct err **e)
{
    const char *slash = strrchr(path, '/');
    _cleanup_(freep) char *base = xmemdup0(path, (size_t)(slash - path));
    *name = str_of(slash + 1);
    int r = make && !file_exists(base) ? dir_make(base, 0701, e) : 0;
    int fd = r < 0 ? -1 : open(base, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return r < 0 ? r : fd < 0 ? err_errno(e, errno, "%s", base) : fd;
}

int volume_provision(struct str path, int64_t size, bool *fresh, bool *limited, struct err **e)
{
    struct str name;
    _cleanup_(freep) char *z = str_dup(path);
    if (!volume_provisioned_path_ok(path))
        return err_set(e, ERR_INVALID, "path \"%s\" is not one of a provisioned volume", z);
    int base = open_base(z, true, &name, e);
    if (base < 0)
        return base;
    _cleanup_(closep) _unused_ int close_base = base;
    *fresh = mkdirat(base, name.p, 0700) == 0;
    if (!*fresh && errno != EEXIST)
        return err_errno(e, errno, "make %s", z);
    _cleanup_(closep) int fd = openat(base, name.p, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return err_errno(e, errno, "%s", z);
    *limited = size > 0 && limit(fd, name, size);
    /* for whoever the pod runs as; last, so that a folder that a power cut left half made is finished the next time */
    struct stat st;
    if (fstat(fd, &st) < 0 || ((st.st_mode & 0777) == 0700 && st.st_uid == 0 && fchmod(fd, 0777) < 0))
        return err_errno(e, errno, "%s", z);
    return 0;
}

int volume_unprovision(struct str path, struct err **e)
{
    struct str name;
    _cleanup_(freep) char *z = str_dup(path);
    if (!volume_provisioned_path_ok(path))
        return err_set(e, ERR_INVALID, "path \"%s\" is not one of a provisioned volume", z);
    int base = open_base(z, false, &name, NULL);
    if (base < 0)
        return file_exists(z) ? err_set(e, ERR_IO, "%s cannot be opened", z) : 0;
    _cleanup_(closep) _unused_ int close_base = base;
    _cleanup_(closep) int fd = openat(base, name.p, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT)
        return 0;
    if (fd < 0)
        return err_errno(e, errno, "%s", z);
    unlimit(fd);
    return dir_remove(z, e);
}
