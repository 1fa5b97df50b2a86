#include "volume/volume.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>
#include "base/file.h"

static bool name_ok(struct str n)
{
    if (str_empty(n) || n.n > 253 || n.p[0] == '.')
        return false;
    for (size_t i = 0; i < n.n; i++)
        if (!memchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-", n.p[i], 65))
            return false;
    return true;
}

static bool host_path_ok(struct str p)
{
    struct str rest = p, piece;
    if (!str_starts(p, STR("/")) || p.n > 4095 || memchr(p.p, 0, p.n))
        return false;
    while (str_split(&rest, '/', &piece))
        if (str_eq(piece, STR("..")))
            return false;
    return true;
}

int volume_check(const struct volume *v, struct err **e)
{
    if (!name_ok(v->name))
        return err_set(e, ERR_INVALID, "volume name \"%.*s\" is not valid", STR_ARG(v->name));
    if (v->kind >= VOLUME_KINDS)
        return err_set(e, ERR_NOT_IMPLEMENTED, "volume %.*s: its kind is not supported on this node", STR_ARG(v->name));
    if (v->kind == VOLUME_PROVISIONED && !volume_provisioned_path_ok(v->path))
        return err_set(e, ERR_INVALID, "volume %.*s: path \"%.*s\" is not one of a provisioned volume", STR_ARG(v->name), STR_ARG(v->path));
    if ((v->kind == VOLUME_HOST_PATH || v->kind == VOLUME_LOCAL || v->kind == VOLUME_CSI) && !host_path_ok(v->path))
        return err_set(e, ERR_INVALID, "volume %.*s: path \"%.*s\" must be absolute, without \"..\"", STR_ARG(v->name), STR_ARG(v->path));
    for (size_t i = 0; v->kind == VOLUME_FILES && i < v->nfiles; i++)
        if (!volume_file_path_ok(v->files[i].path))
            return err_set(e, ERR_INVALID, "volume %.*s: file path \"%.*s\" is not valid", STR_ARG(v->name), STR_ARG(v->files[i].path));
    return 0;
}

void volume_source(const struct volume_dirs *d, const struct volume *v, struct buf *out)
{
    bool own_mount = (v->kind == VOLUME_EMPTY_DIR && v->in_memory) || v->kind == VOLUME_IMAGE;
    if (v->kind == VOLUME_HOST_PATH || v->kind == VOLUME_LOCAL || v->kind == VOLUME_PROVISIONED || v->kind == VOLUME_CSI)
        buf_str_add(out, v->path);
    else if (own_mount)
        buf_printf(out, "%s/vol/%.*s", d->run, STR_ARG(v->name));
    else if (v->kind == VOLUME_FILES && v->in_memory)
        buf_printf(out, "%s/mem/%.*s", d->run, STR_ARG(v->name));
    else
        buf_printf(out, "%s/%.*s", d->data, STR_ARG(v->name));
}

static bool is_tmpfs(const char *path)
{
    struct statfs f;
    return statfs(path, &f) == 0 && f.f_type == TMPFS_MAGIC;
}

/* Whether something is mounted exactly here. */
static bool is_mounted(const char *path)
{
    struct statx sx;
    return statx(AT_FDCWD, path, AT_SYMLINK_NOFOLLOW, STATX_TYPE, &sx) == 0 && (sx.stx_attributes & STATX_ATTR_MOUNT_ROOT);
}

static int mount_tmpfs(const char *path, int64_t size, const char *mode, struct err **e)
{
    if (is_mounted(path) && is_tmpfs(path))
        return 0;
    _cleanup_(freep) char *options = size > 0 ? xasprintf("mode=%s,size=%" PRId64, mode, size) : xasprintf("mode=%s", mode);
    return mount("tmpfs", path, "tmpfs", MS_NOSUID | MS_NODEV, options) < 0 ? err_errno(e, errno, "mount tmpfs on %s", path) : 0;
}

/* What the kubelet's fsGroup does to a folder that it hands out empty. */
static int open_to(const char *path, int64_t gid, struct err **e)
{
    if ((gid >= 0 && lchown(path, (uid_t)-1, (gid_t)gid) < 0) || chmod(path, gid >= 0 ? 02777 : 0777) < 0)
        return err_errno(e, errno, "%s", path);
    return 0;
}

static int mount_image(const struct volume *v, const char *path, struct err **e)
{
    if (is_mounted(path))
        return 0;
    _cleanup_(freep) char *empty = xasprintf("%s.empty", path); /* overlayfs wants two lower folders at the least */
    int r = dir_make(empty, 0755, e);
    if (r < 0)
        return r;
    if (!v->lower || chdir(v->layers_dir) < 0)
        return err_set(e, ERR_NOT_FOUND, "its image is not here");
    _cleanup_(freep) char *options = xasprintf("lowerdir=%s:%s", v->lower, empty);
    r = mount("overlay", path, "overlay", MS_RDONLY, options) < 0 ? err_errno(e, errno, "mount image") : 0;
    return chdir("/") < 0 && r == 0 ? err_errno(e, errno, "/") : r;
}

/* A local volume is a folder, or a device for volumeDevices. */
static int setup_local(const char *path, const struct volume *v, int64_t fs_group, struct err **e)
{
    struct stat st;
    if (stat(path, &st) < 0)
        return err_errno(e, errno, "%s", path);
    if (S_ISBLK(st.st_mode))
        return 0;
    if (!S_ISDIR(st.st_mode))
        return err_set(e, ERR_INVALID, "%s is neither a folder nor a block device", path);
    return fs_group >= 0 ? volume_give(path, fs_group, v->on_mismatch, e) : 0;
}

static int mount_huge(const struct volume *v, const char *path, struct err **e)
{
    struct str size = str_sub(v->path_type, MIN(v->path_type.n, strlen("HugePages-")), v->path_type.n);
    if (is_mounted(path))
        return 0;
    /* 2Mi, 1Gi: the kernel's own units are M and G */
    _cleanup_(freep) char *page = str_ends(size, STR("i")) ? str_dup(str_sub(size, 0, size.n - 1)) : str_dup(size);
    for (const char *c = page; *c; c++)
        if (!strchr("0123456789KMG", *c))
            return err_set(e, ERR_INVALID, "medium \"%.*s\" is not known", STR_ARG(v->path_type));
    _cleanup_(freep) char *pages = *page ? xasprintf("pagesize=%s,mode=777", page) : xstrdup("mode=777");
    _cleanup_(freep) char *options = v->size_limit > 0 ? xasprintf("%s,size=%" PRId64, pages, v->size_limit) : xstrdup(pages);
    return mount("hugetlbfs", path, "hugetlbfs", MS_NOSUID | MS_NODEV, options) < 0 ? err_errno(e, errno, "mount hugetlbfs (%s)", options) : 0;
}

static int setup(const struct volume_dirs *d, const struct volume *v, int64_t fs_group, struct err **e)
{
    _cleanup_(buf_clear) struct buf path = BUF_INIT;
    int r;
    volume_source(d, v, &path);
    switch (v->kind) {
    case VOLUME_HOST_PATH:
        return volume_check_host_path(v->path, v->path_type, e);
    case VOLUME_LOCAL:
        return setup_local(path.p, v, fs_group, e);
    case VOLUME_CSI: /* its plugin has published it */
        return setup_local(path.p, v, v->give ? fs_group : -1, e);
    case VOLUME_PROVISIONED: /* volume_provision has made it */
        return volume_check_host_path(v->path, STR("Directory"), e);
    case VOLUME_FILES:
        if (v->in_memory) {
            _cleanup_(freep) char *mem = xasprintf("%s/mem", d->run);
            if ((r = dir_make(mem, 0755, e)) < 0 || (r = mount_tmpfs(mem, 0, "755", e)) < 0)
                return r;
        }
        r = dir_make(path.p, 0755, e);
        return r < 0 ? r : volume_write_files(path.p, v->files, v->nfiles, fs_group, e);
    case VOLUME_IMAGE:
        r = dir_make(path.p, 0755, e);
        return r < 0 ? r : mount_image(v, path.p, e);
    default: {
        bool fresh = !file_exists(path.p);
        r = dir_make(path.p, 0755, e);
        if (r == 0 && v->path_type.n)
            r = mount_huge(v, path.p, e);
        else if (r == 0 && v->in_memory)
            r = mount_tmpfs(path.p, v->size_limit, "777", e);
        return r < 0 || !(fresh || v->in_memory) ? r : open_to(path.p, fs_group, e);
    }
    }
}

int volume_setup(const struct volume_dirs *d, const struct volume *v, int64_t fs_group, struct err **e)
{
    int r = volume_check(v, e);
    if (r < 0)
        return r;
    r = setup(d, v, fs_group, e);
    if (r < 0)
        err_wrap(e, "volume \"%.*s\"", STR_ARG(v->name));
    return r;
}

int volume_update(const char *root, const struct volume_dirs *d, const struct volume *v, int64_t fs_group, struct err **e)
{
    _cleanup_(buf_clear) struct buf path = BUF_INIT;
    int r = v->kind == VOLUME_FILES ? volume_check(v, e) : err_set(e, ERR_INVALID, "only volumes of files are updated");
    if (r < 0)
        return r;
    buf_puts(&path, v->in_memory ? root : "");
    volume_source(d, v, &path);
    if (!file_exists(path.p))
        return err_set(e, ERR_NOT_FOUND, "volume \"%.*s\" is not mounted", STR_ARG(v->name));
    r = volume_write_files(path.p, v->files, v->nfiles, fs_group, e);
    if (r < 0)
        err_wrap(e, "volume \"%.*s\"", STR_ARG(v->name));
    return r;
}
