#include "base/file.h"
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/fault.h"

int file_read(const char *path, size_t limit, struct buf *out, struct err **e)
{
    _cleanup_(closep) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (fd < 0) {
        int saved = errno;
        if (saved == ENOENT || saved == ENOTDIR)
            return err_set(e, ERR_NOT_FOUND, "%s: no such file", path);
        return err_errno(e, saved, "open %s", path);
    }
    struct stat st;
    size_t before = out->n, step = 4096;
    if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size > 0) {
        if ((uint64_t)st.st_size > limit)
            return err_set(e, ERR_LIMIT, "%s: larger than %zu bytes", path, limit);
        step = (size_t)st.st_size + 1; /* the file and its end in two reads */
    }
    for (;;) {
        char *to = buf_reserve(out, step);
        ssize_t n = to ? read(fd, to, step) : -1;
        if (n < 0 && to && errno == EINTR)
            continue;
        int saved = to ? errno : ENOMEM;
        if (n > 0)
            out->n += (size_t)n;
        if (n < 0 || out->n - before > limit) {
            out->n = before;
            if (out->p)
                out->p[before] = 0;
            return n < 0 ? err_errno(e, saved, "read %s", path) : err_set(e, ERR_LIMIT, "%s: larger than %zu bytes", path, limit);
        }
        out->p[out->n] = 0;
        if (n == 0)
            return 0;
        step = 4096;
    }
}

int fd_write_all(int fd, const void *p, size_t n, struct err **e)
{
    const char *at = p;
    while (n) {
        ssize_t r = fault("write") ? -1 : write(fd, at, n);
        if (r < 0 && errno == EINTR)
            continue;
        if (r < 0)
            return err_errno(e, errno, "write");
        at += r;
        n -= (size_t)r;
    }
    return 0;
}

static int sync_parent(const char *path, struct err **e)
{
    ssize_t slash = str_rchr(str_of(path), '/');
    _cleanup_(freep) char *parent = slash < 0 ? xstrdup(".") : xmemdup0(path, slash ? (size_t)slash : 1);
    _cleanup_(closep) int fd = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    /* EINVAL: a file system that cannot sync a folder keeps names by itself */
    if (fault("fsync") || fd < 0 || (fsync(fd) < 0 && errno != EINVAL))
        return err_errno(e, errno, "sync %s", parent);
    return 0;
}

int file_replace(const char *path, struct str contents, mode_t mode, struct err **e)
{
    char suffix[9];
    random_suffix(suffix, 8);
    _cleanup_(freep) char *temporary = xasprintf("%s.%s.tmp", path, suffix);
    _cleanup_(closep) int fd = fault("open") ? -1 : open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return err_errno(e, errno, "create %s", temporary);
    int r = fd_write_all(fd, contents.p, contents.n, e);
    if (r < 0)
        err_wrap(e, "%s", path);
    else if (fault("fsync") || fchmod(fd, mode) < 0 || fsync(fd) < 0)
        r = err_errno(e, errno, "%s", path);
    else if (fault("rename") || rename(temporary, path) < 0)
        r = err_errno(e, errno, "rename to %s", path);
    if (r < 0) {
        unlink(temporary);
        return r;
    }
    return sync_parent(path, e);
}

bool file_exists(const char *path)
{
    return access(path, F_OK) == 0;
}

int dir_make(const char *path, mode_t mode, struct err **e)
{
    _cleanup_(freep) char *p = xstrdup(path);
    for (char *at = p + (*p == '/'); at && *at;) {
        at = strchr(at, '/');
        if (at)
            *at = 0;
        if (mkdir(p, mode) < 0 && errno != EEXIST)
            return err_errno(e, errno, "make folder %s", p);
        if (at)
            *at++ = '/';
    }
    struct stat st;
    if (stat(path, &st) < 0)
        return err_errno(e, errno, "make folder %s", path);
    return S_ISDIR(st.st_mode) ? 0 : err_errno(e, ENOTDIR, "make folder %s", path);
}

int fd_nonblock(int fd)
{
    int f = fcntl(fd, F_GETFL);
    return f < 0 ? f : fcntl(fd, F_SETFL, f | O_NONBLOCK);
}

int fd_cloexec(int fd, bool on)
{
    int f = fcntl(fd, F_GETFD);
    return f < 0 ? f : fcntl(fd, F_SETFD, on ? f | FD_CLOEXEC : f & ~FD_CLOEXEC);
}
