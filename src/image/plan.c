#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/file.h"
#include "image/impl.h"
#include "json/json.h"

#define MEMBERS_MAX 100000
#define DOCUMENT_MAX (4u << 20)

struct member { uint64_t at, size; struct str link; };
struct members { struct pool *pool; struct map by_name; int fd; };

static int expand(struct inflate *z, const void *first, ssize_t n, int plain, struct err **e)
{
    int64_t total = 0;
    for (const void *data = first; n > 0; n = inflate_read(z, &data, e)) {
        total += n;
        if (total > ARCHIVE_BYTES)
            return err_set(e, ERR_LIMIT, "archive is larger than %" PRId64 " bytes when decompressed", (int64_t)ARCHIVE_BYTES);
        int r = fd_write_all(plain, data, (size_t)n, e);
        if (r < 0)
            return err_wrap(e, "decompress archive"), r;
    }
    return (int)n;
}

static struct str clean(struct str name)
{
    while (str_starts(name, STR("./")) || str_starts(name, STR("/")))
        name = str_sub(name, name.p[0] == '/' ? 1 : 2, name.n);
    return name;
}

static int scan(struct members *m, struct err **e)
{
    if (lseek(m->fd, 0, SEEK_SET) < 0)
        return err_errno(e, errno, "archive");
    struct archive *a = archive_read_new();
    struct archive_entry *x;
    int r = 0, got;
    archive_read_support_format_tar(a);
    archive_read_support_filter_none(a);
    if (archive_read_open_fd(a, m->fd, 65536) != ARCHIVE_OK)
        r = err_set(e, ERR_PARSE, "not a tar archive: %s", archive_error_string(a));
    while (r == 0 && (got = archive_read_next_header(a, &x)) != ARCHIVE_EOF) {
        const char *name = archive_entry_pathname(x), *link = archive_entry_symlink(x);
        if (got < ARCHIVE_WARN) {
            r = err_set(e, ERR_PARSE, "archive: %s", archive_error_string(a) ? archive_error_string(a) : "damaged");
        } else if (map_count(&m->by_name) >= MEMBERS_MAX) {
            r = err_set(e, ERR_LIMIT, "archive: more than %d members", MEMBERS_MAX);
        } else if (name && (archive_entry_filetype(x) == AE_IFREG || link)) {
            struct member *b = pool_new_of(m->pool, struct member);
            *b = (struct member){(uint64_t)archive_filter_bytes(a, 0), (uint64_t)MAX(archive_entry_size(x), 0),
                link ? pool_str(m->pool, str_of(link)) : STR_NULL};
            map_put(&m->by_name, clean(str_of(name)), b);
        }
    }
    archive_read_free(a);
    return r;
}

static struct member *find(struct members *m, struct str name, int depth)
{
    struct member *b = map_get(&m->by_name, clean(name));
    if (!b || str_empty(b->link) || depth > 4)
        return b && str_empty(b->link) ? b : NULL;
    ssize_t slash = str_rchr(name, '/'); /* docker's older archives link a layer that is there under another image */
    struct str dir = slash >= 0 ? str_sub(name, 0, (size_t)slash) : STR_NULL, link = b->link;
    while (str_starts(link, STR("../"))) {
        link = str_sub(link, 3, link.n);
        slash = str_rchr(dir, '/');
        dir = slash >= 0 ? str_sub(dir, 0, (size_t)slash) : STR_NULL;
    }
    return find(m, str_empty(dir) ? link : pool_printf(m->pool, "%.*s/%.*s", STR_ARG(dir), STR_ARG(link)), depth + 1);
}

static int document(struct members *m, struct str name, struct str *text, struct err **e)
{
    struct member *b = find(m, name, 0);
    if (!b)
        return err_set(e, ERR_PARSE, "archive has no %.*s", STR_ARG(name));
    if (b->size > DOCUMENT_MAX)
        return err_set(e, ERR_LIMIT, "%.*s is larger than %u bytes", STR_ARG(name), DOCUMENT_MAX);
    char *p = pool_alloc(m->pool, b->size + 1);
    if (pread(m->fd, p, b->size, (off_t)b->at) != (ssize_t)b->size)
        return err_set(e, ERR_PARSE, "archive ends in %.*s", STR_ARG(name));
    *text = str_make(p, b->size);
    return 0;
}

static int blob_of(struct members *m, struct str name, struct plan_blob *out, struct err **e)
{
    struct member *b = find(m, name, 0);
    if (!b)
        return err_set(e, ERR_PARSE, "archive has no %.*s", STR_ARG(name));
    *out = (struct plan_blob){STR_NULL, b->at, b->size, true};
    return 0;
}

/* manifest.json of "docker save" and skopeo: [{"Config": name, "RepoTags": [...], "Layers": [names]}] */
static int docker_image(struct members *m, const struct json *o, struct plan_image *out, struct err **e)
{
    const struct json *layers = json_get(o, STR("Layers")), *tags = json_get(o, STR("RepoTags"));
    if (json_count(layers) > LAYERS_MAX)
        return err_set(e, ERR_LIMIT, "image has %zu layers; %d are possible", json_count(layers), LAYERS_MAX);
    int r = blob_of(m, json_get_str(o, "Config"), &out->config, e);
    out->layers = pool_array(m->pool, struct plan_blob, json_count(layers) + 1);
    json_for(layers, it) {
        if (r == 0)
            r = blob_of(m, json_as_str(it), &out->layers[out->nlayers++], e);
    }
    out->names = pool_array(m->pool, struct str, json_count(tags) + 1);
    json_for(tags, it) {
        if (out->nnames < 256)
            out->names[out->nnames++] = json_as_str(it);
    }
    return r;
}

static int docker_images(struct members *m, struct str text, struct plan *out, struct err **e)
{
    struct json *list;
    int r = json_parse(m->pool, text, NULL, &list, e);
    if (r < 0)
        return err_wrap(e, "manifest.json"), r;
    if (!json_is(list, JSON_ARR) || json_count(list) == 0 || json_count(list) > PLAN_IMAGES)
        return err_set(e, ERR_PARSE, "manifest.json: not a list of 1 to %d images", PLAN_IMAGES);
    out->images = pool_array(m->pool, struct plan_image, json_count(list));
    json_for(list, it) {
        if (r == 0)
            r = docker_image(m, it, &out->images[out->nimages++], e);
    }
    return r;
}

static int blob_text(struct members *m, struct str digest, struct str *text, struct err **e)
{
    if (!image_digest_valid(digest))
        return err_set(e, ERR_PARSE, "\"%.*s\" is not a sha256 digest", STR_ARG(digest));
    return document(m, pool_printf(m->pool, "blobs/sha256/%.*s", STR_ARG(str_sub(digest, 7, digest.n))), text, e);
}

static int locate(struct members *m, struct plan_blob *b, struct err **e)
{
    struct str digest = b->digest;
    int r = blob_of(m, pool_printf(m->pool, "blobs/sha256/%.*s", STR_ARG(str_sub(digest, 7, digest.n))), b, e);
    b->digest = digest;
    return r;
}

static struct str oci_name(const struct json *descriptor)
{
    const struct json *notes = json_get(descriptor, STR("annotations"));
    struct str full = json_get_str(notes, "io.containerd.image.name"), ref = json_get_str(notes, "org.opencontainers.image.ref.name");
    if (!str_empty(full))
        return full;
    return str_chr(ref, ':') >= 0 || str_chr(ref, '/') >= 0 ? ref : STR_NULL; /* a mere tag names nothing */
}

static int oci_images(struct members *m, struct str text, struct plan *out, struct err **e)
{
    struct json *index;
    int r = json_parse(m->pool, text, NULL, &index, e);
    if (r < 0)
        return err_wrap(e, "index.json"), r;
    const struct json *list = json_get(index, STR("manifests"));
    if (json_count(list) == 0 || json_count(list) > PLAN_IMAGES)
        return err_set(e, ERR_PARSE, "index.json: names %zu manifests; 1 to %d are possible", json_count(list), PLAN_IMAGES);
    out->images = pool_array(m->pool, struct plan_image, json_count(list));
    json_for(list, it) {
        struct str digest = json_get_str(it, "digest"), top = digest, body;
        bool again = str_find(json_get_str(it, "mediaType"), STR("index")) >= 0 ||
                     str_find(json_get_str(it, "mediaType"), STR("manifest.list")) >= 0;
        for (int depth = 0; r == 0 && again && depth < 3; depth++) {
            r = blob_text(m, digest, &body, e);
            if (r == 0)
                r = plan_pick(m->pool, body, STR_NULL, &digest, &again, e);
        }
        struct plan one = {0};
        if (r == 0)
            r = blob_text(m, digest, &body, e);
        if (r == 0)
            r = plan_layout(m->pool, STR_NULL, body, &one, e);
        if (r < 0)
            return r;
        struct plan_image *i = &out->images[out->nimages++];
        *i = one.images[0];
        i->manifest_digest = top;
        struct str name = oci_name(it);
        i->names = pool_array(m->pool, struct str, 1);
        i->names[0] = name;
        i->nnames = !str_empty(name);
        r = locate(m, &i->config, e);
        for (size_t k = 0; r == 0 && k < i->nlayers; k++)
            r = locate(m, &i->layers[k], e);
        if (r < 0)
            return r;
    }
    return 0;
}

int plan_archive(int fd, int plain, struct pool *p, struct plan *out, struct err **e)
{
    _cleanup_(inflate_freep) struct inflate *z = inflate_new(fd);
    const void *data = NULL;
    ssize_t n = inflate_read(z, &data, e);
    if (n < 0)
        return (int)n;
    struct members m = {.pool = p, .fd = fd};
    if (inflate_compressed(z)) {
        int r = expand(z, data, n, plain, e);
        if (r < 0)
            return r;
        m.fd = plain;
    }
    struct str text;
    int r = scan(&m, e);
    if (r == 0 && find(&m, STR("manifest.json"), 0)) {
        r = document(&m, STR("manifest.json"), &text, e);
        if (r == 0)
            r = docker_images(&m, text, out, e);
    } else if (r == 0 && find(&m, STR("index.json"), 0)) {
        r = document(&m, STR("index.json"), &text, e);
        if (r == 0)
            r = oci_images(&m, text, out, e);
    } else if (r == 0) {
        r = err_set(e, ERR_PARSE, "neither a docker nor an OCI archive: it has no manifest.json and no index.json");
    }
    map_clear(&m.by_name, NULL);
    return r;
}
