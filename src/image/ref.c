#include "image/image.h"

static bool all_of(struct str s, const char *set)
{
    for (size_t i = 0; i < s.n; i++)
        if (!s.p[i] || !strchr(set, s.p[i]))
            return false;
    return true;
}

#define LOWER "abcdefghijklmnopqrstuvwxyz0123456789"
#define ALNUM LOWER "ABCDEFGHIJKLMNOPQRSTUVWXYZ"

bool image_digest_valid(struct str d)
{
    return d.n == 71 && str_starts(d, STR("sha256:")) && all_of(str_sub(d, 7, d.n), "0123456789abcdef");
}

/* A path component: lower-case letters and digits with single separators between (. _ __ or dashes). */
static bool component_ok(struct str c)
{
    if (str_empty(c) || !all_of(c, LOWER "._-"))
        return false;
    return strchr(LOWER, c.p[0]) && strchr(LOWER, c.p[c.n - 1]) && str_find(c, STR("..")) < 0 && str_find(c, STR("___")) < 0;
}

static bool is_host(struct str first)
{
    return str_chr(first, '.') >= 0 || str_chr(first, ':') >= 0 || str_eq(first, STR("localhost"));
}

int image_ref_normalize(struct str ref, struct buf *out, struct err **e)
{
    struct str name = ref, digest = STR_NULL, tag = STR_NULL, host = STR("docker.io"), first, rest, piece;
    if (str_empty(ref) || ref.n > 1024)
        goto bad;
    if (str_cut(ref, '@', &name, &digest) && !image_digest_valid(digest))
        goto bad;
    ssize_t colon = str_rchr(name, ':'), slash = str_rchr(name, '/');
    if (colon >= 0 && colon > slash) {
        tag = str_sub(name, (size_t)colon + 1, name.n);
        name = str_sub(name, 0, (size_t)colon);
        if (str_empty(tag) || tag.n > 128 || !all_of(tag, ALNUM "._-") || tag.p[0] == '.' || tag.p[0] == '-')
            goto bad;
    }
    bool official = true;
    if (str_cut(name, '/', &first, &rest)) {
        if (is_host(first)) {
            host = str_eq(first, STR("index.docker.io")) ? STR("docker.io") : first;
            name = rest;
            official = str_eq(host, STR("docker.io")) && str_chr(rest, '/') < 0;
        } else {
            official = false;
        }
    }
    if (!all_of(host, ALNUM ".:-[]") || !strchr(ALNUM "[", host.p[0]))
        goto bad;
    for (struct str parts = name; str_split(&parts, '/', &piece);)
        if (!component_ok(piece))
            goto bad;
    if (str_empty(name) || host.n + 1 + (official ? strlen("library/") : 0) + name.n > 255) /* distribution's NameTotalLengthMax */
        goto bad;
    buf_printf(out, "%.*s/%s%.*s", STR_ARG(host), official ? "library/" : "", STR_ARG(name));
    if (!str_empty(tag) || str_empty(digest))
        buf_printf(out, ":%.*s", STR_ARG(str_empty(tag) ? STR("latest") : tag));
    if (!str_empty(digest))
        buf_printf(out, "@%.*s", STR_ARG(digest));
    return 0;
bad:
    return err_set(e, ERR_INVALID, "couldn't parse image name \"%.*s\"", STR_ARG(ref));
}
