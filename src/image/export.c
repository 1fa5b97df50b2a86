/* An archive of images that docker, podman, containerd and `sampan image import` read ("docker save"'s form): manifest.json, configs,
 * layers. The store keeps layers unpacked, so they are packed anew: the same files, owners, capabilities and whiteouts, but other bytes,
 * and with these other digests and another image id than the registry's. */
#include <archive.h>
#include <archive_entry.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>
#include "base/file.h"
#include "crypto/hash.h"
#include "image/impl.h"
#include "json/json.h"

#define DEPTH_MAX 1024
#define CHUNK (256u << 10)

/* ---- one layer as a tar, into a file without a name, with its digest ---- */

struct packing {
    struct archive *a;
    struct hash *hash;
    int fd;
    struct map links; /* "dev:ino" → the first path that has it */
    struct err **e;
};

static la_ssize_t on_write(struct archive *a, void *arg, const void *p, size_t n)
{
    struct packing *k = arg;
    (void)a;
    hash_add(k->hash, str_make(p, n));
    return fd_write_all(k->fd, p, n, k->e) < 0 ? -1 : (la_ssize_t)n;
}

static void closedirp(DIR **d)
{
    if (*d)
        closedir(*d);
}

static int said(struct packing *k, const char *path)
{
    if (k->e && *k->e)
        return -(int)(*k->e)->code;
    return err_set(k->e, ERR_IO, "%s: %s", path, archive_error_string(k->a));
}

static void copy_xattrs(int at, const char *name, struct archive_entry *x)
{
    char names[8192], value[65536];
    _cleanup_(freep) char *path = xasprintf("/proc/self/fd/%d/%s", at, name);
    ssize_t n = llistxattr(path, names, sizeof names);
    for (char *one = names; n > 0 && one < names + n; one += strlen(one) + 1) {
        ssize_t len =
            strncmp(one, "user.", 5) == 0 || strcmp(one, "security.capability") == 0 ? lgetxattr(path, one, value, sizeof value) : -1;
        if (len >= 0)
            archive_entry_xattr_add_entry(x, one, value, (size_t)len);
    }
}

static int put_file(struct packing *k, int at, const char *name, const char *path)
{
    _cleanup_(freep) char *chunk = xmalloc(CHUNK);
    _cleanup_(closep) int fd = openat(at, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : 0;
    while (fd >= 0 && (n = read(fd, chunk, CHUNK)) > 0)
        if (archive_write_data(k->a, chunk, (size_t)n) < 0)
            return said(k, path);
    return n < 0 ? err_errno(k->e, errno, "%s", path) : 0;
}

/* overlayfs' whiteouts become OCI's: an empty file with a name that says what is gone. */
static int put_marker(struct packing *k, const char *dir, const char *name)
{
    struct archive_entry *x = archive_entry_new();
    _cleanup_(freep) char *path = *dir ? xasprintf("%s/.wh.%s", dir, name) : xasprintf(".wh.%s", name);
    archive_entry_set_pathname(x, path);
    archive_entry_set_filetype(x, AE_IFREG);
    archive_entry_set_perm(x, 0644);
    archive_entry_set_size(x, 0);
    int r = archive_write_header(k->a, x) < ARCHIVE_WARN ? said(k, path) : 0;
    archive_entry_free(x);
    return r;
}

static const char *seen_before(struct packing *k, const struct stat *st, const char *path)
{
    char key[48];
    if (S_ISDIR(st->st_mode) || st->st_nlink < 2)
        return NULL;
    int n = snprintf(key, sizeof key, "%llu:%llu", (unsigned long long)st->st_dev, (unsigned long long)st->st_ino);
    const char *first = map_get(&k->links, str_make(key, (size_t)n));
    if (!first)
        map_put(&k->links, str_make(key, (size_t)n), xstrdup(path));
    return first;
}

static int put_entry(struct packing *k, int at, const char *name, const char *path, const struct stat *st)
{
    struct archive_entry *x = archive_entry_new();
    const char *first = seen_before(k, st, path);
    char target[4097];
    ssize_t n = S_ISLNK(st->st_mode) ? readlinkat(at, name, target, sizeof target - 1) : 0;
    archive_entry_copy_stat(x, st);
    archive_entry_set_pathname(x, path);
    if (first) {
        archive_entry_set_hardlink(x, first);
        archive_entry_set_size(x, 0);
    } else if (n > 0) {
        target[n] = 0;
        archive_entry_set_symlink(x, target);
    }
    if (!first)
        copy_xattrs(at, name, x);
    int r = n < 0 ? err_errno(k->e, errno, "%s", path) : archive_write_header(k->a, x) < ARCHIVE_WARN ? said(k, path) : 0;
    archive_entry_free(x);
    return r == 0 && !first && S_ISREG(st->st_mode) ? put_file(k, at, name, path) : r;
}

static int put_folder(struct packing *k, int dir, const char *above, int depth);

static int put_one(struct packing *k, int at, const char *dir, const char *name, int depth)
{
    struct stat st;
    char value[4];
    if (fstatat(at, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return err_errno(k->e, errno, "%s", name);
    if (S_ISCHR(st.st_mode) && st.st_rdev == makedev(0, 0))
        return put_marker(k, dir, name);
    if (S_ISSOCK(st.st_mode))
        return 0;
    _cleanup_(freep) char *path = *dir ? xasprintf("%s/%s", dir, name) : xstrdup(name);
    int r = put_entry(k, at, name, path, &st);
    if (r < 0 || !S_ISDIR(st.st_mode))
        return r;
    int sub = openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (sub < 0)
        return err_errno(k->e, errno, "%s", path);
    if (fgetxattr(sub, "trusted.overlay.opaque", value, sizeof value) == 1 && value[0] == 'y')
        r = put_marker(k, path, ".wh..opq");
    if (r < 0) {
        close(sub);
        return r;
    }
    return put_folder(k, sub, path, depth + 1);
}

static int put_folder(struct packing *k, int dir, const char *above, int depth)
{
    _cleanup_(closedirp) DIR *d = fdopendir(dir);
    int r = !d                  ? err_errno(k->e, errno, "%s", above)
            : depth > DEPTH_MAX ? err_set(k->e, ERR_LIMIT, "folders nested more than %d deep", DEPTH_MAX)
                                : 0;
    for (struct dirent *x; r == 0 && (x = readdir(d));)
        if (!str_eqz(STR("."), x->d_name) && !str_eqz(STR(".."), x->d_name))
            r = put_one(k, dirfd(d), above, x->d_name, depth);
    return r;
}

static int pack_layer(struct image_store *s, struct str digest, int to, char hex[HASH_HEX + 1], struct err **e)
{
    _cleanup_(buf_clear) struct buf path = BUF_INIT, text = BUF_INIT;
    _cleanup_(hash_freep) struct hash *hash = hash_new();
    unsigned char sum[HASH_LEN];
    buf_printf(&path, "%s/", s->layers);
    store_layer_name(digest, &path);
    int dir = open(path.p, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir < 0)
        return err_errno(e, errno, "layer %s", path.p);
    struct packing k = {.a = archive_write_new(), .hash = hash, .fd = to, .e = e};
    archive_write_set_format_pax_restricted(k.a);
    archive_write_set_bytes_in_last_block(k.a, 1);
    archive_write_open(k.a, &k, NULL, on_write, NULL);
    int r = put_folder(&k, dir, "", 0);
    if (r == 0 && archive_write_close(k.a) != ARCHIVE_OK)
        r = said(&k, path.p);
    archive_write_free(k.a);
    map_clear(&k.links, free);
    hash_end(hash, sum);
    buf_hex(&text, sum, sizeof sum);
    memcpy(hex, text.p, HASH_HEX);
    hex[HASH_HEX] = 0;
    return r;
}

/* ---- the archive around them ---- */

struct export
{
    struct image_store *s;
    struct pool *p;
    struct archive *a;
    struct json *manifest;
    struct map layers; /* digest in the store → diff id, of those that are in the archive */
};

static int put_bytes(struct export *x, const char *name, int fd, struct str text, int64_t size, struct err **e)
{
    struct archive_entry *entry = archive_entry_new();
    _cleanup_(freep) char *chunk = fd >= 0 ? xmalloc(CHUNK) : NULL;
    archive_entry_set_pathname(entry, name);
    archive_entry_set_filetype(entry, AE_IFREG);
    archive_entry_set_perm(entry, 0644);
    archive_entry_set_size(entry, size);
    bool ok = archive_write_header(x->a, entry) >= ARCHIVE_WARN;
    archive_entry_free(entry);
    if (ok && fd < 0)
        ok = archive_write_data(x->a, text.p, text.n) == (la_ssize_t)text.n;
    for (ssize_t n; ok && fd >= 0 && (n = read(fd, chunk, CHUNK)) != 0;)
        ok = n > 0 && archive_write_data(x->a, chunk, (size_t)n) == n;
    return ok ? 0 : err_set(e, ERR_IO, "write %s: %s", name, archive_error_string(x->a) ? archive_error_string(x->a) : "it failed");
}

static int put_layer(struct export *x, struct str digest, struct str *diff_id, struct err **e)
{
    char hex[HASH_HEX + 1];
    struct str *known = map_get(&x->layers, digest);
    if (known) {
        *diff_id = *known;
        return 0;
    }
    _cleanup_(closep) int fd = open(x->s->dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    struct stat st;
    if (fd < 0)
        return err_errno(e, errno, "%s", x->s->dir);
    int r = pack_layer(x->s, digest, fd, hex, e);
    if (r < 0)
        return r;
    if (fstat(fd, &st) < 0 || lseek(fd, 0, SEEK_SET) < 0)
        return err_errno(e, errno, "layer");
    *diff_id = pool_printf(x->p, "sha256:%s", hex);
    struct str *kept = pool_new_of(x->p, struct str);
    *kept = *diff_id;
    map_put(&x->layers, digest, kept);
    return put_bytes(x, pool_printf(x->p, "%s/layer.tar", hex).p, fd, STR_NULL, st.st_size, e);
}

static void put_strings(struct pool *p, struct json *o, const char *key, const struct str *list, size_t n)
{
    struct json *arr = n ? json_put_arr(p, o, str_of(key)) : NULL;
    for (size_t i = 0; i < n; i++)
        json_append(arr, json_str_view(p, list[i]));
}

static struct str config_text(struct pool *p, const struct image *i, const struct str *diff_ids)
{
    const struct image_config *c = &i->config;
    struct json *doc = json_obj(p), *config = json_put_obj(p, doc, STR("config")), *rootfs = json_put_obj(p, doc, STR("rootfs"));
    const struct {
        const char *key;
        struct str value;
    } texts[] = {{"WorkingDir", c->working_dir}, {"User", c->user}, {"StopSignal", c->stop_signal}};
    json_set_str(p, doc, STR("os"), c->os.n ? c->os : STR("linux"));
    json_set_str(p, doc, STR("architecture"), c->arch);
    put_strings(p, config, "Entrypoint", c->entrypoint, c->nentrypoint);
    put_strings(p, config, "Cmd", c->cmd, c->ncmd);
    put_strings(p, config, "Env", c->env, c->nenv);
    for (size_t k = 0; k < ARRAY_LEN(texts); k++)
        if (texts[k].value.n)
            json_set_str(p, config, str_of(texts[k].key), texts[k].value);
    json_set_str(p, rootfs, STR("type"), STR("layers"));
    put_strings(p, rootfs, "diff_ids", diff_ids, i->nlayers);
    return json_to_pool(p, doc);
}

static int put_image(struct export *x, const struct image *i, struct str name, struct err **e)
{
    struct str *diff_ids = pool_array(x->p, struct str, i->nlayers + 1), *files = pool_array(x->p, struct str, i->nlayers + 1);
    char hex[HASH_HEX + 1];
    for (size_t k = 0; k < i->nlayers; k++) {
        int r = put_layer(x, i->layers[k].digest, &diff_ids[k], e);
        if (r < 0)
            return r;
        files[k] = pool_printf(x->p, "%.*s/layer.tar", STR_ARG(str_sub(diff_ids[k], 7, diff_ids[k].n)));
    }
    struct str config = config_text(x->p, i, diff_ids);
    struct str file = pool_printf(x->p, "%.*s.json", STR_ARG(hash_sha256_hex(config, hex)));
    struct json *m = json_append(x->manifest, json_obj(x->p));
    json_set_str(x->p, m, STR("Config"), file);
    put_strings(x->p, m, "RepoTags", name.n ? &name : i->names, name.n ? 1 : i->nnames);
    put_strings(x->p, m, "Layers", files, i->nlayers);
    return put_bytes(x, file.p, -1, config, (int64_t)config.n, e);
}

static int put_all(struct export *x, const struct str *refs, size_t n, struct err **e)
{
    for (size_t k = 0; k < n; k++) {
        const struct image *i = image_find(x->s, refs[k]);
        _cleanup_(buf_clear) struct buf name = BUF_INIT;
        if (!i)
            return err_set(e, ERR_NOT_FOUND, "image \"%.*s\" is not here", STR_ARG(refs[k]));
        bool by_name =
            image_ref_normalize(refs[k], &name, NULL) == 0 && map_get(&x->s->by_name, buf_str(&name)) && str_chr(buf_str(&name), '@') < 0;
        int r = put_image(x, i, by_name ? pool_str(x->p, buf_str(&name)) : STR_NULL, e);
        if (r < 0)
            return err_wrap(e, "%.*s", STR_ARG(refs[k])), r;
    }
    struct str text = json_to_pool(x->p, x->manifest);
    return put_bytes(x, "manifest.json", -1, text, (int64_t)text.n, e);
}

int image_export(struct image_store *s, const struct str *refs, size_t n, int to, struct err **e)
{
    _cleanup_(closep) int lock = images_lock(s, e);
    if (lock < 0)
        return lock;
    int r = image_store_reload(s, e);
    if (r < 0)
        return r;
    _cleanup_(pool_freep) struct pool *p = pool_new();
    struct export x = {.s = s, .p = p, .a = archive_write_new(), .manifest = json_arr(p)};
    archive_write_set_format_pax_restricted(x.a);
    archive_write_set_bytes_in_last_block(x.a, 1);
    if (archive_write_open_fd(x.a, to) != ARCHIVE_OK)
        r = err_set(e, ERR_IO, "archive: %s", archive_error_string(x.a));
    if (r == 0)
        r = put_all(&x, refs, n, e);
    if (r == 0 && archive_write_close(x.a) != ARCHIVE_OK)
        r = err_set(e, ERR_IO, "archive: %s", archive_error_string(x.a));
    archive_write_free(x.a);
    map_clear(&x.layers, NULL);
    return r;
}
