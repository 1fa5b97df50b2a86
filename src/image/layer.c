#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <unistd.h>
#include "crypto/hash.h"
#include "image/impl.h"

struct source {
    struct inflate *z;
    struct hash *hash;
    struct err *err;
    int64_t total;
};

static la_ssize_t more(struct archive *a, void *arg, const void **data)
{
    struct source *s = arg;
    ssize_t n = inflate_read(s->z, data, &s->err);
    if (n > 0) {
        s->total += n;
        hash_add(s->hash, str_make(*data, (size_t)n));
    }
    if (s->total > LAYER_BYTES * 2)
        n = err_set(&s->err, ERR_LIMIT, "layer is larger than %" PRId64 " bytes", (int64_t)LAYER_BYTES);
    if (n < 0)
        archive_set_error(a, EIO, "%s", err_msg(s->err));
    return n < 0 ? ARCHIVE_FATAL : n;
}

/* "./a//b/" → "a/b" into out (of the same size or more). false: a path that cannot be inside: "..", or too long. Empty: the root itself. */
static bool clean(const char *name, char *out, size_t cap, struct str *clean_out)
{
    struct str rest = str_of(name), piece;
    size_t n = 0;
    while (str_split(&rest, '/', &piece)) {
        if (str_empty(piece) || str_eq(piece, STR(".")))
            continue;
        if (str_eq(piece, STR("..")) || piece.n > 255 || n + piece.n + 2 > cap)
            return false;
        if (n)
            out[n++] = '/';
        memcpy(out + n, piece.p, piece.n);
        n += piece.n;
    }
    out[n] = 0;
    *clean_out = str_make(out, n);
    return true;
}

static size_t xattrs(struct archive_entry *x, struct layer_xattr *out, size_t max)
{
    size_t n = 0;
    const char *name;
    const void *value;
    size_t len;
    archive_entry_xattr_reset(x);
    while (n < max && archive_entry_xattr_next(x, &name, &value, &len) == ARCHIVE_OK)
        if (name && len <= 65536 && (strncmp(name, "user.", 5) == 0 || strcmp(name, "security.capability") == 0))
            out[n++] = (struct layer_xattr){str_of(name), str_make(value, len)};
    return n;
}

/* The kind from the tar entry and, for OCI's whiteouts, from the name (image-spec layer.md "Whiteouts"). OP_NONE: to be left out. */
static enum layer_op_kind kind_of(struct archive_entry *x, struct layer_op *op)
{
    ssize_t slash = str_rchr(op->path, '/');
    struct str base = str_sub(op->path, (size_t)(slash + 1), op->path.n);
    if (str_eq(base, STR(".wh..wh..opq"))) {
        op->path = str_sub(op->path, 0, slash < 0 ? 0 : (size_t)slash);
        return OP_OPAQUE;
    }
    if (str_starts(base, STR(".wh..wh.")))
        return OP_NONE;
    if (str_starts(base, STR(".wh."))) {
        if (base.n == 4)
            return OP_NONE;
        memmove((char *)(uintptr_t)base.p, base.p + 4, base.n - 4); /* the buffer is the caller's own */
        op->path.n -= 4;
        return OP_WHITEOUT;
    }
    if (archive_entry_hardlink(x))
        return OP_HARDLINK;
    switch (archive_entry_filetype(x)) {
    case AE_IFREG: return OP_FILE;
    case AE_IFDIR: return OP_DIR;
    case AE_IFLNK: return OP_SYMLINK;
    case AE_IFCHR: return OP_CHAR;
    case AE_IFBLK: return OP_BLOCK;
    case AE_IFIFO: return OP_FIFO;
    default: return OP_NONE;
    }
}

static int file_data(
    struct archive *a, int (*emit)(void *arg, const struct layer_op *op, struct err **e), void *arg, int64_t size, struct err **e)
{
    static char chunk[64 << 10];
    int64_t got = 0;
    for (;;) {
        la_ssize_t n = archive_read_data(a, chunk, sizeof chunk);
        if (n < 0)
            return err_set(e, ERR_PARSE, "layer: %s", archive_error_string(a));
        if (n == 0)
            return 0;
        got += n;
        if (got > size)
            return err_set(e, ERR_PARSE, "layer: a file is longer than it says");
        struct layer_op op = {.kind = OP_DATA, .data = str_make(chunk, (size_t)n)};
        int r = emit(arg, &op, e);
        if (r < 0)
            return r;
    }
}

static int entry(struct archive *a, struct archive_entry *x, int (*emit)(void *arg, const struct layer_op *op, struct err **e), void *arg,
    struct err **e)
{
    char path[4097], link[4097];
    struct layer_xattr list[64];
    const char *name = archive_entry_pathname(x), *target;
    if (!name)
        name = archive_entry_pathname_utf8(x);
    struct layer_op op = {
        .mode = archive_entry_perm(x), .uid = (uint64_t)archive_entry_uid(x), .gid = (uint64_t)archive_entry_gid(x), .xattrs = list};
    if (!name || !clean(name, path, sizeof path, &op.path))
        return err_set(e, ERR_PARSE, "layer: \"%s\" is not a path inside the image", name ? name : "(not readable)");
    if (archive_entry_mtime_is_set(x))
        op.mtime = (int64_t)archive_entry_mtime(x) * INT64_C(1000000000) + archive_entry_mtime_nsec(x);
    op.kind = kind_of(x, &op);
    if (op.kind == OP_NONE || (str_empty(op.path) && op.kind != OP_DIR && op.kind != OP_OPAQUE))
        return 0;
    if (op.kind == OP_HARDLINK) {
        target = archive_entry_hardlink(x);
        if (!clean(target, link, sizeof link, &op.link) || str_empty(op.link))
            return err_set(e, ERR_PARSE, "layer: link \"%s\" leads out of the image", target);
    } else if (op.kind == OP_SYMLINK) {
        target = archive_entry_symlink(x);
        op.link = str_of(target ? target : archive_entry_symlink_utf8(x));
        if (str_empty(op.link) || op.link.n > 4095)
            return err_set(e, ERR_PARSE, "layer: \"%.*s\" has no valid link target", STR_ARG(op.path));
    }
    op.major = (uint64_t)archive_entry_rdevmajor(x);
    op.minor = (uint64_t)archive_entry_rdevminor(x);
    op.nxattrs = xattrs(x, list, ARRAY_LEN(list));
    int r = emit(arg, &op, e);
    if (r == 0 && op.kind == OP_FILE)
        r = file_data(a, emit, arg, archive_entry_size(x), e);
    return r;
}

int layer_parse(int fd, int (*emit)(void *arg, const struct layer_op *op, struct err **e), void *arg, struct err **e)
{
    struct source s = {.z = inflate_new(fd), .hash = hash_new()};
    struct archive *a = archive_read_new();
    struct archive_entry *x;
    archive_read_support_format_tar(a);
    archive_read_support_format_empty(a);
    archive_read_support_filter_none(a);
    archive_read_set_options(a, "hdrcharset=BINARY");
    int r = 0, got = archive_read_open(a, &s, NULL, more, NULL);
    int64_t entries = 0;
    if (got != ARCHIVE_OK)
        r = err_set(e, ERR_PARSE, "layer: %s", archive_error_string(a));
    while (r == 0 && (got = archive_read_next_header(a, &x)) != ARCHIVE_EOF) {
        if (got < ARCHIVE_WARN)
            r = err_set(e, s.err ? s.err->code : ERR_PARSE, "layer: %s", archive_error_string(a) ? archive_error_string(a) : "damaged");
        else if (++entries > LAYER_ENTRIES)
            r = err_set(e, ERR_LIMIT, "layer: more than %d entries", LAYER_ENTRIES);
        else
            r = entry(a, x, emit, arg, e);
    }
    const void *rest;
    for (la_ssize_t n = 1; r == 0 && n > 0;) /* padding behind the end counts for the diff id */
        if ((n = more(a, &s, &rest)) < 0)
            r = err_set(e, ERR_PARSE, "layer: %s", err_msg(s.err));
    if (r == 0) {
        unsigned char sum[HASH_LEN];
        _cleanup_(buf_clear) struct buf id = BUF_INIT;
        hash_end(s.hash, sum);
        buf_puts(&id, "sha256:");
        buf_hex(&id, sum, sizeof sum);
        struct layer_op end = {.kind = OP_END, .data = buf_str(&id)};
        r = emit(arg, &end, e);
    }
    archive_read_free(a);
    inflate_free(s.z);
    hash_free(s.hash);
    err_free(s.err);
    return r;
}
