#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/file.h"
#include "crypto/hash.h"
#include "image/impl.h"

#define RECORD_MAX (4u << 20)

static void closedirp(DIR **d)
{
    if (*d)
        closedir(*d);
}

const char *image_layers_dir(const struct image_store *s) { return s->layers; }
const char *image_store_dir(const struct image_store *s) { return s->dir; }

int image_store_open(const char *dir, const char *user, struct image_store **out, struct err **e)
{
    _cleanup_(image_store_freep) struct image_store *s = xcalloc(1, sizeof *s);
    s->dir = xstrdup(dir);
    s->user = xstrdup(user);
    s->layers = xasprintf("%s/layers", dir);
    s->images = xasprintf("%s/images", dir);
    s->names = xasprintf("%s/names", dir);
    s->tmp = xasprintf("%s/tmp", dir);
    const char *const all[] = {s->layers, s->images, s->names, s->tmp};
    for (size_t i = 0; i < ARRAY_LEN(all); i++) {
        int r = dir_make(all[i], 0700, e);
        if (r < 0)
            return r;
    }
    int r = image_store_reload(s, e);
    if (r < 0)
        return r;
    *out = TAKE(s);
    return 0;
}

static void forget(struct image_store *s)
{
    map_clear(&s->by_id, NULL);
    map_clear(&s->by_name, NULL);
    pool_free(TAKE(s->pool));
}

void image_store_free(struct image_store *s)
{
    if (!s)
        return;
    forget(s);
    free(s->dir);
    free(s->user);
    free(s->layers);
    free(s->images);
    free(s->names);
    free(s->tmp);
    free(s);
}

void store_layer_name(struct str digest, struct buf *out)
{
    buf_str_add(out, str_sub(digest, 7, 7 + IMAGE_LAYER_NAME));
}

bool store_has_layer(struct image_store *s, struct str digest)
{
    _cleanup_(buf_clear) struct buf path = BUF_INIT;
    buf_printf(&path, "%s/", s->layers);
    store_layer_name(digest, &path);
    return file_exists(path.p);
}

/* A record whose layers are not all there, or that cannot be read, is no image: it will be imported again. */
static struct image *load_image(struct image_store *s, const char *file)
{
    _cleanup_(freep) char *path = xasprintf("%s/%s", s->images, file);
    _cleanup_(buf_clear) struct buf text = BUF_INIT;
    if (file_read(path, RECORD_MAX, &text, NULL) < 0)
        return NULL;
    struct image *i = pool_new_of(s->pool, struct image);
    if (wire_decode(&image_type, pool_str(s->pool, buf_str(&text)), s->pool, i, NULL) < 0 || !image_digest_valid(i->id) ||
        !str_eqz(str_sub(i->id, 7, i->id.n), file))
        return NULL;
    for (size_t k = 0; k < i->nlayers; k++)
        if (!image_digest_valid(i->layers[k].digest) || !store_has_layer(s, i->layers[k].digest))
            return NULL;
    return i;
}

/* A name's file: "name\nid\n" and "pinned\n". */
static void load_name(struct image_store *s, const char *file)
{
    _cleanup_(freep) char *path = xasprintf("%s/%s", s->names, file);
    _cleanup_(buf_clear) struct buf text = BUF_INIT;
    struct str name, id, pin = STR_NULL, rest;
    if (file_read(path, 8192, &text, NULL) < 0)
        return;
    rest = pool_str(s->pool, buf_str(&text));
    if (!str_split(&rest, '\n', &name) || !str_split(&rest, '\n', &id))
        return;
    str_split(&rest, '\n', &pin);
    struct image *i = map_get(&s->by_id, id);
    if (!i)
        return;
    if (!(i->nnames & (i->nnames + 1)) || !i->names) /* grows at 0, 1, 3, 7... */
        i->names = pool_grow(s->pool, i->names, i->nnames * sizeof *i->names, (2 * i->nnames + 2) * sizeof *i->names);
    if (!str_starts(name, STR("sha256:")))
        i->names[i->nnames++] = name;
    i->pinned |= str_eq(pin, STR("pinned"));
    map_put(&s->by_name, name, i);
}

int image_store_reload(struct image_store *s, struct err **e)
{
    forget(s);
    s->pool = pool_new();
    _cleanup_(closedirp) DIR *images = opendir(s->images);
    _cleanup_(closedirp) DIR *names = opendir(s->names);
    if (!images || !names)
        return err_errno(e, errno, "image store %s", s->dir);
    for (struct dirent *x; (x = readdir(images));) {
        struct image *i = strlen(x->d_name) == 64 ? load_image(s, x->d_name) : NULL;
        if (i)
            map_put(&s->by_id, i->id, i);
    }
    for (struct dirent *x; (x = readdir(names));)
        if (strlen(x->d_name) == 64)
            load_name(s, x->d_name);
    return 0;
}

const struct image *image_find(const struct image_store *s, struct str ref)
{
    const struct image *i = map_get(&s->by_id, ref);
    if (i)
        return i;
    _cleanup_(buf_clear) struct buf b = BUF_INIT;
    if (ref.n == 64) {
        buf_printf(&b, "sha256:%.*s", STR_ARG(ref));
        i = map_get(&s->by_id, buf_str(&b));
        buf_reset(&b);
    }
    if (!i && image_ref_normalize(ref, &b, NULL) == 0)
        i = map_get(&s->by_name, buf_str(&b));
    if (i)
        return i;
    map_for(&s->by_id, it) {
        const struct image *one = it->value;
        for (size_t k = 0; k < one->ndigests; k++)
            if (str_eq(one->digests[k], ref) || str_eq(one->digests[k], buf_str(&b)))
                return one;
    }
    return NULL;
}

void image_each(const struct image_store *s, void (*fn)(void *arg, const struct image *i), void *arg)
{
    map_for(&s->by_id, it)
        fn(arg, it->value);
}

void image_lower(const struct image *i, struct buf *out)
{
    for (size_t k = i->nlayers; k-- > 0;) {
        store_layer_name(i->layers[k].digest, out);
        if (k)
            buf_putc(out, ':');
    }
}

int images_lock(struct image_store *s, struct err **e)
{
    _cleanup_(freep) char *path = xasprintf("%s/lock", s->dir);
    _cleanup_(closep) int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return err_errno(e, errno, "%s", path);
    while (flock(fd, LOCK_EX) < 0)
        if (errno != EINTR)
            return err_errno(e, errno, "lock %s", path);
    int r = fd;
    fd = -1;
    return r;
}

int store_put_image(struct image_store *s, const struct image *i, struct err **e)
{
    _cleanup_(buf_clear) struct buf b = BUF_INIT;
    _cleanup_(freep) char *path = xasprintf("%s/%.*s", s->images, STR_ARG(str_sub(i->id, 7, i->id.n)));
    wire_encode(&image_type, i, &b);
    return file_replace(path, buf_str(&b), 0600, e);
}

static char *name_path(struct image_store *s, struct str name)
{
    char hex[HASH_HEX + 1];
    hash_sha256_hex(name, hex);
    return xasprintf("%s/%s", s->names, hex);
}

int store_put_name(struct image_store *s, struct str name, struct str id, bool pinned, struct err **e)
{
    _cleanup_(freep) char *path = name_path(s, name);
    _cleanup_(buf_clear) struct buf b = BUF_INIT;
    buf_printf(&b, "%.*s\n%.*s\n%s", STR_ARG(name), STR_ARG(id), pinned ? "pinned\n" : "");
    return file_replace(path, buf_str(&b), 0600, e);
}

static int64_t sweep_layers(struct image_store *s, struct err **e)
{
    struct map used = {0};
    map_for(&s->by_id, it) {
        const struct image *i = it->value;
        for (size_t k = 0; k < i->nlayers; k++)
            map_put(&used, str_sub(i->layers[k].digest, 7, 7 + IMAGE_LAYER_NAME), it);
    }
    _cleanup_(closedirp) DIR *d = opendir(s->layers);
    int r = 0;
    for (struct dirent *x; d && r == 0 && (x = readdir(d));) {
        if (x->d_name[0] == '.' || map_get(&used, str_of(x->d_name)))
            continue;
        _cleanup_(freep) char *from = xasprintf("%s/%s", s->layers, x->d_name), *to = xasprintf("%s/%s", s->tmp, x->d_name);
        if (rename(from, to) < 0)
            r = err_errno(e, errno, "remove layer %s", x->d_name);
    }
    map_clear(&used, NULL);
    return r;
}

static int empty_tmp(struct image_store *s, struct err **e)
{
    int r = dir_remove(s->tmp, e);
    return r < 0 ? r : dir_make(s->tmp, 0700, e);
}

static int64_t free_bytes(const char *dir)
{
    struct stat st;
    return stat(dir, &st) == 0 ? (int64_t)st.st_size : 0;
}

int64_t image_sweep(struct image_store *s, struct err **e)
{
    _cleanup_(closep) int lock = images_lock(s, e);
    if (lock < 0)
        return lock;
    int64_t r = image_store_reload(s, e), before = free_bytes(s->tmp);
    if (r == 0)
        r = sweep_layers(s, e);
    if (r == 0)
        r = empty_tmp(s, e);
    return r < 0 ? r : MAX(before - free_bytes(s->tmp), 0);
}

static int drop_name(struct image_store *s, struct str name, struct err **e)
{
    _cleanup_(freep) char *path = name_path(s, name);
    return unlink(path) < 0 && errno != ENOENT ? err_errno(e, errno, "remove the name %.*s", STR_ARG(name)) : 0;
}

static int remove_locked(struct image_store *s, struct str ref, struct err **e)
{
    const struct image *i = image_find(s, ref);
    if (!i)
        return err_set(e, ERR_NOT_FOUND, "image \"%.*s\" is not here", STR_ARG(ref));
    if (i->pinned)
        return err_set(e, ERR_CONFLICT, "image \"%.*s\" is pinned: it comes from the air-gap folder", STR_ARG(ref));
    _cleanup_(buf_clear) struct buf name = BUF_INIT;
    bool by_id = str_eq(ref, i->id) || ref.n == 64 || image_ref_normalize(ref, &name, NULL) < 0;
    int r = 0;
    if (!by_id && i->nnames > 1)
        return drop_name(s, buf_str(&name), e);
    _cleanup_(freep) char *path = xasprintf("%s/%.*s", s->images, STR_ARG(str_sub(i->id, 7, i->id.n)));
    if (unlink(path) < 0 && errno != ENOENT)
        return err_errno(e, errno, "remove image");
    for (size_t k = 0; r == 0 && k < i->nnames; k++)
        r = drop_name(s, i->names[k], e);
    return r;
}

int image_remove(struct image_store *s, struct str ref, struct err **e)
{
    _cleanup_(closep) int lock = images_lock(s, e);
    if (lock < 0)
        return lock;
    int r = image_store_reload(s, e);
    if (r == 0)
        r = remove_locked(s, ref, e);
    if (r == 0)
        r = image_store_reload(s, e);
    if (r == 0)
        r = (int)sweep_layers(s, e);
    return r == 0 ? empty_tmp(s, e) : r;
}
