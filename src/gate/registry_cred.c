#include "gate/registry_cred.h"

#include <fnmatch.h>

/* "[scheme://]host[:port][/path]"; a path of /v1 or /v2 is the API's, not the repository's. */
static void split_key(struct str key, struct str *host, struct str *port, struct str *path)
{
    ssize_t scheme = str_find(key, STR("://"));
    if (scheme >= 0)
        key = str_sub(key, (size_t)scheme + 3, key.n);
    if (!str_cut(key, '/', host, path)) {
        *host = key;
        *path = STR("");
    }
    while (path->n && path->p[path->n - 1] == '/')
        path->n--;
    if (str_eqz(*path, "v1") || str_eqz(*path, "v2"))
        *path = STR("");
    else if (str_starts(*path, STR("v1/")) || str_starts(*path, STR("v2/")))
        *path = str_sub(*path, 3, path->n);
    ssize_t colon = str_rchr(*host, ':');
    *port = STR("");
    if (colon > str_rchr(*host, ']')) {
        *port = str_sub(*host, (size_t)colon + 1, host->n);
        *host = str_sub(*host, 0, (size_t)colon);
    }
}

/* Label by label, so that *.example.com is one level. */
static bool labels_fit(struct pool *p, struct str glob, struct str host)
{
    struct str a, b;
    for (;;) {
        bool more_a = str_split(&glob, '.', &a), more_b = str_split(&host, '.', &b);
        if (more_a != more_b)
            return false;
        if (!more_a)
            return true;
        if (fnmatch(pool_strz(p, a), pool_strz(p, b), FNM_CASEFOLD) != 0)
            return false;
    }
}

bool registry_key_fits(struct pool *p, struct str key, const struct registry_image *image)
{
    struct str host, port, path, want, want_port, none;
    if (key.n > 1024)
        return false;
    split_key(key, &host, &port, &path);
    split_key(image->host, &want, &want_port, &none);
    if (registry_is_hub(image->host) ? !registry_is_hub(host) && !labels_fit(p, host, STR("index.docker.io")) : !labels_fit(p, host, want))
        return false;
    return str_eq(port, want_port) && str_starts(image->repository, path);
}

bool registry_auth_decode(struct pool *p, struct str base64, struct registry_cred *out)
{
    struct buf b = BUF_INIT;
    struct str user, password;
    bool ok = buf_unbase64(&b, base64);
    struct str text = buf_to_pool(&b, p);
    while (text.n && text.p[text.n - 1] == 0) /* some tools pad with NULs */
        text.n--;
    if (!ok || !str_cut(text, ':', &user, &password))
        return false;
    *out = (struct registry_cred){.username = user, .password = password};
    return true;
}

static bool read_entry(struct pool *p, const struct json *o, struct registry_cred *c)
{
    struct str auth = json_get_str(o, "auth");
    *c = (struct registry_cred){json_get_str(o, "username"), json_get_str(o, "password"), json_get_str(o, "identitytoken")};
    return (auth.n && registry_auth_decode(p, auth, c)) || c->username.n || c->identity.n;
}

int registry_creds_add(struct pool *p, struct str text, const struct registry_image *image, struct registry_creds *out, struct err **e)
{
    struct json *o;
    int r = json_parse(p, text, &(struct json_limits){.bytes = 1u << 20, .depth = 16, .nodes = 20000}, &o, e);
    if (r < 0) {
        err_wrap(e, "registry credentials");
        return r;
    }
    const struct json *auths = json_get(o, STR("auths"));
    size_t from = out->n, length[REGISTRY_CREDS_MAX] = {0};
    json_for (auths ? auths : o, it) {
        struct registry_cred c;
        if (out->n == REGISTRY_CREDS_MAX || !json_is(it, JSON_OBJ) || !registry_key_fits(p, json_key(it), image) || !read_entry(p, it, &c))
            continue;
        size_t at = out->n++;
        for (; at > from && length[at - 1] < it->keyn; at--) { /* the longest key first: the most specific */
            out->at[at] = out->at[at - 1];
            length[at] = length[at - 1];
        }
        out->at[at] = c;
        length[at] = it->keyn;
    }
    return 0;
}
