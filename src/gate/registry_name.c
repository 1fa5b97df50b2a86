#include "gate/registry_name.h"

#include "base/buf.h"
#include "image/image.h"

bool registry_is_hub(struct str host)
{
    return str_eqz(host, "docker.io") || str_eqz(host, "index.docker.io") || str_eqz(host, "registry-1.docker.io");
}

int registry_image_parse(struct pool *p, struct str ref, struct registry_image *out, struct err **e)
{
    struct buf b = BUF_INIT;
    struct registry_image i = {0};
    struct str rest;
    int r = image_ref_normalize(ref, &b, e);
    i.ref = buf_to_pool(&b, p);
    if (r < 0)
        return r;
    if (!str_cut(i.ref, '/', &i.host, &rest))
        return err_set(e, ERR_INVALID, "couldn't parse image name \"%.*s\"", STR_ARG(ref));
    if (!str_cut(rest, '@', &rest, &i.digest))
        i.digest = STR("");
    if (!str_cut(rest, ':', &i.repository, &i.tag)) {
        i.repository = rest;
        i.tag = STR("");
    }
    *out = i;
    return 0;
}

struct str registry_image_tagged(struct pool *p, struct str ref)
{
    return str_chr(ref, '@') >= 0 || str_rchr(ref, ':') > str_rchr(ref, '/') ? ref : pool_printf(p, "%.*s:latest", STR_ARG(ref));
}

static bool host_ok(struct str s)
{
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '.' || c == '_' || c == ':'))
            return false;
    }
    return s.n > 0 && s.n <= 255;
}

/* authority: "host", "host:port", "[::1]:port". */
static int split_authority(struct pool *p, struct str a, struct registry_url *u, struct err **e)
{
    struct str host = a, port = STR_NULL;
    uint64_t n = u->tls ? 443 : 80;
    if (a.n && a.p[0] == '[') {
        ssize_t end = str_chr(a, ']');
        host = str_sub(a, 1, end < 0 ? 0 : (size_t)end);
        struct str tail = end < 0 ? a : str_sub(a, (size_t)end + 1, a.n);
        if (tail.n && tail.p[0] != ':')
            host = STR_NULL;
        port = str_sub(tail, 1, tail.n);
    } else if (str_cut(a, ':', &host, &port) && str_chr(port, ':') >= 0) {
        host = STR_NULL;
    }
    if (!host_ok(host))
        return err_set(e, ERR_INVALID, "\"%.*s\" is no host", STR_ARG(a));
    if (port.n && (!str_to_u64(port, &n) || n == 0 || n > 65535))
        return err_set(e, ERR_INVALID, "\"%.*s\" is no port", STR_ARG(port));
    u->host = pool_str(p, host);
    u->port = (uint16_t)n;
    return 0;
}

int registry_url_parse(struct pool *p, struct str url, struct registry_url *out, struct err **e)
{
    struct registry_url u = {.tls = str_starts(url, STR("https://"))};
    if (!u.tls && !str_starts(url, STR("http://")))
        return err_set(e, ERR_INVALID, "\"%.*s\" is no http:// or https:// URL", STR_ARG(str_sub(url, 0, 200)));
    if (url.n > 16384)
        return err_set(e, ERR_LIMIT, "a URL of %zu bytes", url.n);
    struct str rest = str_sub(url, u.tls ? 8 : 7, url.n);
    size_t end = 0;
    while (end < rest.n && rest.p[end] != '/' && rest.p[end] != '?' && rest.p[end] != '#')
        end++;
    struct str path = str_sub(rest, end, rest.n);
    ssize_t fragment = str_chr(path, '#');
    if (fragment >= 0)
        path = str_sub(path, 0, (size_t)fragment);
    for (size_t i = 0; i < path.n; i++)
        if ((unsigned char)path.p[i] <= ' ' || path.p[i] == 127)
            return err_set(e, ERR_INVALID, "a URL with a control character");
    int r = split_authority(p, str_sub(rest, 0, end), &u, e);
    if (r < 0)
        return r;
    u.path = path.n && path.p[0] == '?' ? pool_printf(p, "/%.*s", STR_ARG(path)) : pool_str(p, path);
    if (!u.path.p)
        u.path = STR("");
    *out = u;
    return 0;
}

int registry_url_join(struct pool *p, const struct registry_url *base, struct str location, struct registry_url *out, struct err **e)
{
    if (str_starts(location, STR("//")))
        return registry_url_parse(p, pool_printf(p, "%s:%.*s", base->tls ? "https" : "http", STR_ARG(location)), out, e);
    if (!location.n || location.p[0] != '/')
        return registry_url_parse(p, location, out, e);
    const char *scheme = base->tls ? "https" : "http";
    bool v6 = str_chr(base->host, ':') >= 0;
    return registry_url_parse(p,
        pool_printf(p, "%s://%s%.*s%s:%u%.*s", scheme, v6 ? "[" : "", STR_ARG(base->host), v6 ? "]" : "", base->port, STR_ARG(location)),
        out, e);
}

bool registry_url_same(const struct registry_url *a, const struct registry_url *b)
{
    return a->tls == b->tls && a->port == b->port && str_eq_nocase(a->host, b->host);
}

struct str registry_url_host(struct pool *p, const struct registry_url *u)
{
    bool v6 = str_chr(u->host, ':') >= 0;
    struct str host = v6 ? pool_printf(p, "[%.*s]", STR_ARG(u->host)) : u->host;
    return u->port == (u->tls ? 443 : 80) ? host : pool_printf(p, "%.*s:%u", STR_ARG(host), u->port);
}

void registry_query_add(struct buf *b, const char *name, struct str value)
{
    if (b->n && b->p[b->n - 1] != '?')
        buf_putc(b, '&');
    buf_printf(b, "%s=", name);
    for (size_t i = 0; i < value.n; i++) {
        char c = value.p[i];
        if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '.' || c == '_' || c == '~')
            buf_putc(b, c);
        else
            buf_printf(b, "%%%02X", (unsigned char)c);
    }
}
