#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include "base/file.h"
#include "base/map.h"
#include "volume/volume.h"

bool volume_file_path_ok(struct str path)
{
    struct str rest = path, piece;
    int depth = 0;
    if (str_empty(path) || path.n > 4000 || memchr(path.p, 0, path.n) || str_starts(path, STR("/")) || str_starts(path, STR("..")))
        return false;
    while (str_split(&rest, '/', &piece))
        if (str_empty(piece) || piece.n > 255 || str_eq(piece, STR("..")) || str_eq(piece, STR(".")) || ++depth > 32)
            return false;
    return true;
}

static void closedirp(DIR **d)
{
    if (*d)
        closedir(*d);
}

static uint32_t mode_of(const struct volume_file *f, int64_t gid)
{
    return (f->mode & 0777) | (gid >= 0 ? 0440 : 0);
}

/* Whether the file behind ..data is as f says. */
static bool same_file(int data, const struct volume_file *f, int64_t gid)
{
    _cleanup_(freep) char *path = str_dup(f->path);
    _cleanup_(closep) int fd = openat(data, path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || (size_t)st.st_size != f->data.n || (st.st_mode & 0777) != mode_of(f, gid) ||
        (f->uid >= 0 && st.st_uid != (uid_t)f->uid))
        return false;
    _cleanup_(freep) char *have = xmalloc_try(f->data.n + 1);
    return have && read(fd, have, f->data.n + 1) == (ssize_t)f->data.n && (f->data.n == 0 || memcmp(have, f->data.p, f->data.n) == 0);
}

static size_t count_files(int dir, int depth)
{
    size_t n = 0;
    _cleanup_(closedirp) DIR *d = fdopendir(dir);
    for (struct dirent *x; d && depth < 40 && (x = readdir(d));) {
        if (x->d_type == DT_DIR && x->d_name[0] != '.') {
            int sub = openat(dirfd(d), x->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
            n += sub >= 0 ? count_files(sub, depth + 1) : 0;
        } else if (!str_eqz(STR("."), x->d_name) && !str_eqz(STR(".."), x->d_name)) {
            n++;
        }
    }
    return n;
}

static bool unchanged(int dir, const struct volume_file *files, size_t n, int64_t gid)
{
    _cleanup_(closep) int data = openat(dir, "..data", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (data < 0)
        return false;
    for (size_t i = 0; i < n; i++)
        if (!same_file(data, &files[i], gid))
            return false;
    int again = openat(dir, "..data", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return again >= 0 && count_files(again, 0) == n;
}

static int make_parents(int at, struct str path, int64_t gid, struct err **e)
{
    for (size_t i = 1; i < path.n; i++) {
        if (path.p[i] != '/')
            continue;
        _cleanup_(freep) char *part = xmemdup0(path.p, i);
        if (mkdirat(at, part, 0755) < 0 && errno != EEXIST)
            return err_errno(e, errno, "make folder %s", part);
        if (gid >= 0 && fchownat(at, part, (uid_t)-1, (gid_t)gid, AT_SYMLINK_NOFOLLOW) < 0)
            return err_errno(e, errno, "folder %s", part);
    }
    return 0;
}

static int write_one(int at, const struct volume_file *f, int64_t gid, struct err **e)
{
    int r = make_parents(at, f->path, gid, e);
    if (r < 0)
        return r;
    _cleanup_(freep) char *path = str_dup(f->path);
    _cleanup_(closep) int fd = openat(at, path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return err_errno(e, errno, "make %s", path);
    r = fd_write_all(fd, f->data.p, f->data.n, e);
    if (r < 0)
        return err_wrap(e, "write %s", path), r;
    if ((f->uid >= 0 || gid >= 0) && fchown(fd, f->uid >= 0 ? (uid_t)f->uid : (uid_t)-1, gid >= 0 ? (gid_t)gid : (gid_t)-1) < 0)
        return err_errno(e, errno, "owner of %s", path);
    return fchmod(fd, mode_of(f, gid)) < 0 ? err_errno(e, errno, "mode of %s", path) : 0;
}

static struct str first_part(struct str path)
{
    ssize_t slash = str_chr(path, '/');
    return slash < 0 ? path : str_sub(path, 0, (size_t)slash);
}

/* Every visible name is a link through ..data; names that went are taken away. */
static int turn_links(int dir, const struct volume_file *files, size_t n, struct err **e)
{
    struct map wanted = {0};
    int r = 0, copy = dup(dir);
    for (size_t i = 0; r == 0 && i < n; i++) {
        _cleanup_(freep) char *name = str_dup(first_part(files[i].path)), *target = xasprintf("..data/%s", name);
        map_put(&wanted, str_of(name), &wanted);
        if (symlinkat(target, dir, name) < 0 && errno != EEXIST)
            r = err_errno(e, errno, "link %s", name);
    }
    _cleanup_(closedirp) DIR *d = copy < 0 ? NULL : fdopendir(copy);
    if (d)
        rewinddir(d);
    for (struct dirent *x; r == 0 && d && (x = readdir(d));)
        if (x->d_type == DT_LNK && strncmp(x->d_name, "..", 2) != 0 && !map_get(&wanted, str_of(x->d_name)) &&
            unlinkat(dir, x->d_name, 0) < 0)
            r = err_errno(e, errno, "remove %s", x->d_name);
    map_clear(&wanted, NULL);
    return r;
}

/* Folders of earlier contents: all but the one that ..data means now. */
static void drop_old(const char *dir, const char *now)
{
    _cleanup_(closedirp) DIR *d = opendir(dir);
    for (struct dirent *x; d && (x = readdir(d));) {
        if (x->d_type != DT_DIR || strncmp(x->d_name, "..2", 3) != 0 || strcmp(x->d_name, now) == 0)
            continue;
        _cleanup_(freep) char *path = xasprintf("%s/%s", dir, x->d_name);
        (void)!dir_remove(path, NULL);
    }
}

static void fresh_name(char *out, size_t n)
{
    struct timespec ts;
    struct tm tm;
    char suffix[11];
    clock_gettime(CLOCK_REALTIME, &ts);
    gmtime_r(&ts.tv_sec, &tm);
    random_suffix(suffix, 10);
    snprintf(out, n, "..2%03d_%02d_%02d_%02d_%02d_%02d.%s", (tm.tm_year + 1900) % 1000, tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min,
        tm.tm_sec, suffix);
}

int volume_write_files(const char *dir, const struct volume_file *files, size_t n, int64_t gid, struct err **e)
{
    char name[64];
    int r = 0;
    _cleanup_(closep) int at = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (at < 0)
        return err_errno(e, errno, "%s", dir);
    for (size_t i = 0; i < n; i++)
        if (!volume_file_path_ok(files[i].path))
            return err_set(e, ERR_INVALID, "file path \"%.*s\" is not valid", STR_ARG(files[i].path));
    if (unchanged(at, files, n, gid))
        return turn_links(at, files, n, e);
    fresh_name(name, sizeof name);
    if (mkdirat(at, name, 0755) < 0)
        return err_errno(e, errno, "%s/%s", dir, name);
    _cleanup_(closep) int fresh = openat(at, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fresh < 0)
        return err_errno(e, errno, "%s/%s", dir, name);
    if (gid >= 0 && (fchown(at, (uid_t)-1, (gid_t)gid) < 0 || fchmod(at, 02775) < 0 || fchown(fresh, (uid_t)-1, (gid_t)gid) < 0))
        return err_errno(e, errno, "%s", dir);
    for (size_t i = 0; r == 0 && i < n; i++)
        r = write_one(fresh, &files[i], gid, e);
    unlinkat(at, "..data_tmp", 0);
    if (r == 0 && (symlinkat(name, at, "..data_tmp") < 0 || renameat(at, "..data_tmp", at, "..data") < 0))
        r = err_errno(e, errno, "%s/..data", dir);
    if (r == 0)
        r = turn_links(at, files, n, e);
    if (r == 0)
        drop_old(dir, name);
    return r;
}
