/* The root side's only contact with a layer: one checked operation at a time, made below the layer's own folder with openat2, so that no
 * path and no link that a layer made before can lead anywhere else. */
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>
#include "base/file.h"
#include "image/impl.h"

#define DEPTH_MAX 255
#define SPARE_BYTES (64 << 20) /* left free on the disk */

struct folder_time { char *path; int64_t mtime; };
struct apply {
    int root, file;             /* the file that OP_DATA goes to, or -1 */
    int64_t bytes, entries, since_check;
    int64_t file_mtime;
    char capability[24];        /* of that file: set behind its contents, since writing takes it away */
    size_t ncapability;
    struct folder_time *folders; size_t nfolders, cap;
};

struct apply *apply_new(int dir_fd)
{
    struct apply *a = xcalloc(1, sizeof *a);
    a->root = dir_fd;
    a->file = -1;
    return a;
}

void apply_free(struct apply *a)
{
    if (!a)
        return;
    closep(&a->file);
    for (size_t i = 0; i < a->nfolders; i++)
        free(a->folders[i].path);
    free(a->folders);
    free(a);
}

int64_t apply_bytes(const struct apply *a) { return a->bytes; }

static bool path_ok(struct str path)
{
    struct str rest = path, piece;
    int depth = 0;
    if (path.n > 4095 || (path.n && memchr(path.p, 0, path.n)))
        return false;
    while (str_split(&rest, '/', &piece))
        if (str_empty(piece) || piece.n > 255 || str_eq(piece, STR(".")) || str_eq(piece, STR("..")) || ++depth > DEPTH_MAX)
            return false;
    return true;
}

static int open_dir(int root, const char *path)
{
    struct open_how how = {.flags = O_PATH | O_DIRECTORY | O_CLOEXEC, .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV};
    return (int)syscall(SYS_openat2, root, *path ? path : ".", &how, sizeof how);
}

/* The folder that path stands in, made (0755, root) where the layer left it out. */
static int open_parent(struct apply *a, struct str path, char base[256], struct err **e)
{
    ssize_t slash = str_rchr(path, '/');
    struct str name = str_sub(path, (size_t)(slash + 1), path.n), dir = slash < 0 ? STR("") : str_sub(path, 0, (size_t)slash);
    memcpy(base, name.p, name.n);
    base[name.n] = 0;
    _cleanup_(freep) char *z = str_dup(dir);
    int fd = open_dir(a->root, z);
    if (fd >= 0 || errno != ENOENT)
        return fd < 0 ? err_errno(e, errno, "layer: %s", z) : fd;
    char above_name[256];
    _cleanup_(closep) int above = open_parent(a, dir, above_name, e);
    if (above < 0)
        return above;
    if (mkdirat(above, above_name, 0755) < 0 && errno != EEXIST)
        return err_errno(e, errno, "layer: make %s", z);
    fd = open_dir(a->root, z);
    return fd < 0 ? err_errno(e, errno, "layer: %s", z) : fd;
}

static int remove_existing(int parent, const char *base, struct err **e)
{
    if (unlinkat(parent, base, 0) == 0 || errno == ENOENT)
        return 0;
    if (errno != EISDIR)
        return err_errno(e, errno, "layer: replace %s", base);
    _cleanup_(freep) char *path = xasprintf("/proc/self/fd/%d/%s", parent, base);
    return dir_remove(path, e);
}

static int make_folder(struct apply *a, int parent, const char *base, const struct layer_op *op, struct err **e)
{
    struct stat st;
    if (mkdirat(parent, base, 0700) < 0) {
        if (errno != EEXIST)
            return err_errno(e, errno, "layer: make %s", base);
        if (fstatat(parent, base, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISDIR(st.st_mode)) {
            int r = remove_existing(parent, base, e);
            if (r < 0)
                return r;
            if (mkdirat(parent, base, 0700) < 0)
                return err_errno(e, errno, "layer: make %s", base);
        }
    }
    if (a->nfolders == a->cap) {
        a->cap = MAX(a->cap * 2, 64);
        a->folders = xrealloc(a->folders, a->cap * sizeof *a->folders);
    }
    a->folders[a->nfolders++] = (struct folder_time){str_dup(op->path), op->mtime};
    return 0;
}

static int make_hardlink(struct apply *a, int parent, const char *base, const struct layer_op *op, struct err **e)
{
    char name[256];
    if (!path_ok(op->link) || str_empty(op->link))
        return err_set(e, ERR_PARSE, "layer: link \"%.*s\" leads out of the image", STR_ARG(op->link));
    _cleanup_(closep) int from = open_parent(a, op->link, name, e);
    if (from < 0)
        return from;
    return linkat(from, name, parent, base, 0) < 0 ? err_errno(e, errno, "layer: link %s", base) : 0;
}

static mode_t node_type(uint64_t kind)
{
    return kind == OP_CHAR ? S_IFCHR : kind == OP_BLOCK ? S_IFBLK : S_IFIFO;
}

static int set_attributes(struct apply *a, int parent, const char *base, const struct layer_op *op, struct err **e)
{
    if (fchownat(parent, base, (uid_t)op->uid, (gid_t)op->gid, AT_SYMLINK_NOFOLLOW) < 0)
        return err_errno(e, errno, "layer: owner of %s", base);
    if (op->kind != OP_SYMLINK && fchmodat(parent, base, (mode_t)(op->mode & 07777), 0) < 0) /* of what was just made, no link */
        return err_errno(e, errno, "layer: mode of %s", base);
    _cleanup_(freep) char *path = xasprintf("/proc/self/fd/%d/%s", parent, base);
    for (size_t i = 0; i < op->nxattrs; i++) {
        const struct layer_xattr *x = &op->xattrs[i];
        _cleanup_(freep) char *name = str_dup(x->name);
        bool capability = str_eq(x->name, STR("security.capability"));
        if (!(capability && x->value.n <= 24) && !(str_starts(x->name, STR("user.")) && !memchr(x->name.p, 0, x->name.n)))
            return err_set(e, ERR_PARSE, "layer: attribute \"%.*s\" is not allowed", STR_ARG(x->name));
        if (capability && op->kind == OP_FILE) {
            memcpy(a->capability, x->value.p, x->value.n);
            a->ncapability = x->value.n;
            continue;
        }
        if (lsetxattr(path, name, x->value.p ? x->value.p : "", x->value.n, 0) < 0 && errno != ENOTSUP && errno != EPERM)
            return err_errno(e, errno, "layer: attribute %s of %s", name, base);
    }
    struct timespec t[2] = {{.tv_nsec = UTIME_OMIT}, {op->mtime / 1000000000, op->mtime % 1000000000}};
    if (op->mtime > 0 && op->kind != OP_FILE)
        utimensat(parent, base, t, AT_SYMLINK_NOFOLLOW);
    return 0;
}

static int make_one(struct apply *a, int parent, const char *base, const struct layer_op *op, struct err **e)
{
    _cleanup_(freep) char *target = NULL;
    int r = op->kind == OP_DIR ? 0 : op->kind == OP_WHITEOUT ? 0 : remove_existing(parent, base, e);
    if (r < 0)
        return r;
    switch (op->kind) {
    case OP_DIR:
        return make_folder(a, parent, base, op, e);
    case OP_FILE:
        a->file = openat(parent, base, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
        a->file_mtime = op->mtime;
        return a->file < 0 ? err_errno(e, errno, "layer: make %s", base) : 0;
    case OP_SYMLINK:
        target = str_dup(op->link);
        if (str_empty(op->link) || op->link.n > 4095 || strlen(target) != op->link.n)
            return err_set(e, ERR_PARSE, "layer: link target of %s is not valid", base);
        return symlinkat(target, parent, base) < 0 ? err_errno(e, errno, "layer: make %s", base) : 0;
    case OP_HARDLINK:
        return make_hardlink(a, parent, base, op, e);
    case OP_WHITEOUT: /* overlayfs' own form; what this layer itself put there stays (whiteouts mean lower layers) */
        return mknodat(parent, base, S_IFCHR, makedev(0, 0)) < 0 && errno != EEXIST ? err_errno(e, errno, "layer: whiteout %s", base) : 0;
    default:
        if (op->kind == OP_CHAR && op->major == 0 && op->minor == 0)
            return 0; /* would hide a lower file */
        return mknodat(parent, base, node_type(op->kind) | 0600, makedev((unsigned)op->major, (unsigned)op->minor)) < 0
                   ? err_errno(e, errno, "layer: make %s", base)
                   : 0;
    }
}

static int end_file(struct apply *a, struct err **e)
{
    struct timespec t[2] = {{.tv_nsec = UTIME_OMIT}, {a->file_mtime / 1000000000, a->file_mtime % 1000000000}};
    if (a->file >= 0 && a->file_mtime > 0)
        futimens(a->file, t);
    int r = 0;
    if (a->file >= 0 && a->ncapability && fsetxattr(a->file, "security.capability", a->capability, a->ncapability, 0) < 0 &&
        errno != ENOTSUP && errno != EPERM)
        r = err_errno(e, errno, "layer: file capability");
    a->ncapability = 0;
    closep(&a->file);
    return r;
}

static int add_data(struct apply *a, struct str data, struct err **e)
{
    if (a->file < 0)
        return err_set(e, ERR_PARSE, "layer: contents without a file");
    a->bytes += (int64_t)data.n;
    a->since_check += (int64_t)data.n;
    if (a->bytes > LAYER_BYTES)
        return err_set(e, ERR_LIMIT, "layer is larger than %" PRId64 " bytes", (int64_t)LAYER_BYTES);
    struct statvfs v;
    if (a->since_check > (16 << 20)) {
        a->since_check = 0;
        if (fstatvfs(a->root, &v) == 0 && (uint64_t)v.f_bavail * v.f_frsize < SPARE_BYTES)
            return err_set(e, ERR_STORAGE_FULL, "no space left on the disk for images");
    }
    return fd_write_all(a->file, data.p, data.n, e);
}

static int make_opaque(struct apply *a, struct str path, struct err **e)
{
    _cleanup_(freep) char *z = str_dup(path);
    if (!*z)
        return 0; /* the root hides nothing that it could name */
    char base[256];
    _cleanup_(closep) int parent = open_parent(a, path, base, e);
    if (parent < 0)
        return parent;
    if (mkdirat(parent, base, 0755) < 0 && errno != EEXIST)
        return err_errno(e, errno, "layer: make %s", z);
    _cleanup_(freep) char *proc = xasprintf("/proc/self/fd/%d/%s", parent, base);
    return lsetxattr(proc, "trusted.overlay.opaque", "y", 1, 0) < 0 ? err_errno(e, errno, "layer: opaque %s", z) : 0;
}

int apply_op(struct apply *a, const struct layer_op *op, struct err **e)
{
    if (op->kind == OP_DATA)
        return add_data(a, op->data, e);
    int r = end_file(a, e);
    if (r < 0)
        return r;
    if (!path_ok(op->path) || op->kind == OP_NONE || op->kind >= OP_END || op->uid > UINT32_MAX - 1 || op->gid > UINT32_MAX - 1)
        return err_set(e, ERR_PARSE, "layer: operation on \"%.*s\" is not valid", STR_ARG(op->path));
    if (++a->entries > LAYER_ENTRIES)
        return err_set(e, ERR_LIMIT, "layer: more than %d entries", LAYER_ENTRIES);
    if (op->kind == OP_OPAQUE)
        return make_opaque(a, op->path, e);
    if (str_empty(op->path)) /* the root folder itself */
        return fchownat(a->root, "", (uid_t)op->uid, (gid_t)op->gid, AT_EMPTY_PATH) < 0 || fchmod(a->root, (mode_t)(op->mode & 07777)) < 0
                   ? err_errno(e, errno, "layer: root folder") : 0;
    char base[256];
    _cleanup_(closep) int parent = open_parent(a, op->path, base, e);
    if (parent < 0)
        return parent;
    r = make_one(a, parent, base, op, e);
    bool bare = op->kind == OP_WHITEOUT || op->kind == OP_HARDLINK || (op->kind == OP_CHAR && op->major == 0 && op->minor == 0);
    return r < 0 || bare ? r : set_attributes(a, parent, base, op, e);
}

int apply_end(struct apply *a, struct err **e)
{
    int r = end_file(a, e);
    for (size_t i = a->nfolders; i-- > 0;) {
        struct timespec t[2] = {{.tv_nsec = UTIME_OMIT}, {a->folders[i].mtime / 1000000000, a->folders[i].mtime % 1000000000}};
        _cleanup_(closep) int fd = open_dir(a->root, a->folders[i].path);
        _cleanup_(freep) char *proc = xasprintf("/proc/self/fd/%d", fd);
        if (fd >= 0 && a->folders[i].mtime > 0)
            utimensat(AT_FDCWD, proc, t, 0);
    }
    return r;
}
