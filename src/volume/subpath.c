#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "base/file.h"
#include "volume/volume.h"

#ifndef OPEN_TREE_CLONE
#define OPEN_TREE_CLONE 1
#endif
#ifndef MOVE_MOUNT_F_EMPTY_PATH
#define MOVE_MOUNT_F_EMPTY_PATH 0x00000004
#endif

static int open_beneath(int base, const char *path)
{
    struct open_how how = {.flags = O_PATH | O_CLOEXEC, .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS};
    return (int)syscall(SYS_openat2, base, path, &how, sizeof how);
}

/* Makes the missing folders of path, one after the other, each below the one that was opened before. */
static int make_beneath(int base, struct str path, struct err **e)
{
    struct str rest = path, piece;
    _cleanup_(closep) int at = dup(base);
    _cleanup_(buf_clear) struct buf so_far = BUF_INIT;
    while (str_split(&rest, '/', &piece)) {
        if (str_empty(piece))
            continue;
        if (so_far.n)
            buf_putc(&so_far, '/');
        buf_str_add(&so_far, piece);
        _cleanup_(freep) char *name = str_dup(piece);
        int next = open_beneath(base, so_far.p);
        if (next < 0 && errno == ENOENT && mkdirat(at, name, 0750) == 0)
            next = open_beneath(base, so_far.p);
        if (next < 0)
            return err_errno(e, errno, "subPath \"%s\"", so_far.p);
        close(at);
        at = next;
    }
    return 0;
}

int volume_open_beneath(const char *base, struct str path, struct err **e)
{
    _cleanup_(freep) char *z = str_dup(path);
    _cleanup_(closep) int at = open(base, O_PATH | O_DIRECTORY | O_CLOEXEC);
    struct open_how how = {.flags = O_PATH | O_CLOEXEC, .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS};
    int fd = at < 0 ? -1 : (int)syscall(SYS_openat2, at, z, &how, sizeof how);
    return fd < 0 ? err_errno(e, errno, "%s/%s", base, z) : fd;
}

int volume_make_beneath(const char *base, struct str path, struct err **e)
{
    _cleanup_(closep) int at = open(base, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (at < 0)
        return err_errno(e, errno, "%s", base);
    return make_beneath(at, path, e);
}

int volume_drop_beneath(const char *base, struct str path, struct err **e)
{
    struct str rest = path;
    for (int level = 0;; level++) { /* the folder itself, and those around it in which nothing else stands */
        ssize_t slash = str_rchr(rest, '/');
        if (slash <= 0)
            return 0;
        _cleanup_(freep) char *name = str_dup(str_sub(rest, (size_t)slash + 1, rest.n));
        rest = str_sub(rest, 0, (size_t)slash);
        _cleanup_(closep) int at = volume_open_beneath(base, rest, NULL);
        bool done = at < 0 || unlinkat(at, name, AT_REMOVEDIR) == 0 || errno == ENOENT ||
                    (errno == ENOTDIR && level == 0 && unlinkat(at, name, 0) == 0) || level > 0;
        if (!done)
            return err_errno(e, errno, "remove %s/%.*s", base, STR_ARG(path));
    }
    return 0;
}

static int make_target(const char *target, bool folder, struct err **e)
{
    _cleanup_(freep) char *parent = xstrdup(target);
    *strrchr(parent, '/') = 0;
    int r = dir_make(folder ? target : parent, 0755, e);
    if (r < 0 || folder)
        return r;
    _cleanup_(closep) int fd = open(target, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    return fd < 0 ? err_errno(e, errno, "%s", target) : 0;
}

int volume_bind_subpath(const char *source, struct str sub_path, bool read_only, const char *target, struct err **e)
{
    struct str rest = sub_path, piece;
    if (str_starts(sub_path, STR("/")) || sub_path.n > 4095 || (sub_path.n && memchr(sub_path.p, 0, sub_path.n)))
        return err_set(e, ERR_INVALID, "subPath \"%.*s\" must be relative", STR_ARG(sub_path));
    while (str_split(&rest, '/', &piece))
        if (str_eq(piece, STR("..")))
            return err_set(e, ERR_INVALID, "subPath \"%.*s\" must not contain \"..\"", STR_ARG(sub_path));
    _cleanup_(closep) int base = open(source, O_PATH | O_CLOEXEC);
    if (base < 0)
        return err_errno(e, errno, "%s", source);
    _cleanup_(freep) char *z = str_dup(sub_path);
    _cleanup_(closep) int fd = open_beneath(base, z);
    if (fd < 0 && errno == ENOENT && !read_only) {
        int r = make_beneath(base, sub_path, e);
        if (r < 0)
            return r;
        fd = open_beneath(base, z);
    }
    struct stat st;
    if (fd < 0 || fstat(fd, &st) < 0)
        return errno == EXDEV ? err_set(e, ERR_FORBIDDEN, "subPath \"%s\" leads out of its volume", z)
                              : err_errno(e, errno, "subPath \"%s\"", z);
    int r = make_target(target, S_ISDIR(st.st_mode), e);
    if (r < 0)
        return r;
    _cleanup_(closep) int tree = (int)syscall(SYS_open_tree, fd, "", OPEN_TREE_CLONE | O_CLOEXEC | AT_EMPTY_PATH | AT_RECURSIVE);
    if (tree < 0 || syscall(SYS_move_mount, tree, "", AT_FDCWD, target, MOVE_MOUNT_F_EMPTY_PATH) < 0)
        return err_errno(e, errno, "bind subPath \"%s\"", z);
    return 0;
}

/* Whether the mount that fd lies on passes mounts on ("shared:" in mountinfo). */
static bool is_shared(int fd)
{
    struct statx sx;
    _cleanup_(buf_clear) struct buf text = BUF_INIT;
    if (statx(fd, "", AT_EMPTY_PATH, STATX_MNT_ID, &sx) < 0 || file_read("/proc/self/mountinfo", 16 << 20, &text, NULL) < 0)
        return false;
    struct str rest = buf_str(&text), line, id;
    while (str_split(&rest, '\n', &line)) {
        uint64_t n;
        struct str left = line;
        if (str_split(&left, ' ', &id) && str_to_u64(id, &n) && n == sx.stx_mnt_id)
            return str_find(left, STR(" shared:")) >= 0;
    }
    return false;
}

static int clone_of(const char *source, struct err **e)
{
    _cleanup_(closep) int fd = open(source, O_PATH | O_CLOEXEC);
    if (fd < 0)
        return err_errno(e, errno, "%s", source);
    if (!is_shared(fd))
        return err_set(e, ERR_INVALID, "path \"%s\" is not on a shared mount", source);
    int tree = (int)syscall(SYS_open_tree, fd, "", OPEN_TREE_CLONE | O_CLOEXEC | AT_EMPTY_PATH | AT_RECURSIVE);
    return tree < 0 ? err_errno(e, errno, "clone %s", source) : tree;
}

int volume_bind_shared(const char *machine, const char *source, const char *target, struct err **e)
{
    struct stat st;
    _cleanup_(closep) int own = open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC), there = open(machine, O_RDONLY | O_CLOEXEC);
    if (own < 0 || there < 0 || stat(source, &st) < 0)
        return err_errno(e, errno, "%s", source);
    int r = make_target(target, S_ISDIR(st.st_mode), e);
    if (r < 0)
        return r;
    if (setns(there, CLONE_NEWNS) < 0)
        return err_errno(e, errno, "enter the machine's mount namespace");
    _cleanup_(closep) int tree = clone_of(source, e);
    if (setns(own, CLONE_NEWNS) < 0)
        return err_errno(e, errno, "return to the pod's mount namespace");
    if (tree < 0)
        return tree;
    if (syscall(SYS_move_mount, tree, "", AT_FDCWD, target, MOVE_MOUNT_F_EMPTY_PATH) < 0)
        return err_errno(e, errno, "bind %s", source);
    return 0;
}

void volume_drop_subpaths(const char *dir)
{
    DIR *d = opendir(dir);
    for (struct dirent *x; d && (x = readdir(d));) {
        if (x->d_name[0] == '.')
            continue;
        _cleanup_(freep) char *path = xasprintf("%s/%s", dir, x->d_name);
        umount2(path, MNT_DETACH | UMOUNT_NOFOLLOW);
        if (unlink(path) < 0)
            rmdir(path);
    }
    if (d)
        closedir(d);
    rmdir(dir);
}
