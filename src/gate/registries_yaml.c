#include "gate/registries_yaml.h"

#include <regex.h>

#include "base/file.h"
#include "yaml/yaml.h"

#define FILE_LIMIT (1u << 20)
#define PEM_LIMIT (256u << 10)

struct rewrite {
    regex_t re;
    bool compiled;
    struct str to;
};
struct mirror {
    struct str host;
    struct registry_endpoint *endpoints;
    size_t nendpoints;
    struct rewrite *rewrites;
    size_t nrewrites;
};
struct registries {
    struct pool *pool;
    struct mirror *mirrors;
    size_t nmirrors;
    struct registry_config *configs;
    size_t nconfigs;
    struct tls_ctx *plain; /* for hosts without a configuration */
    bool mirrors_only;
};

void registries_free(struct registries *r)
{
    if (!r)
        return;
    for (size_t i = 0; i < r->nmirrors; i++)
        for (size_t k = 0; k < r->mirrors[i].nrewrites; k++)
            if (r->mirrors[i].rewrites[k].compiled)
                regfree(&r->mirrors[i].rewrites[k].re);
    for (size_t i = 0; i < r->nconfigs; i++)
        tls_ctx_free(r->configs[i].ctx);
    tls_ctx_free(r->plain);
    pool_free(r->pool);
    free(r);
}

static int known_keys(const struct json *o, const char *where, struct str name, const char *const *keys, struct err **e)
{
    json_for (o, it) {
        size_t i = 0;
        while (keys[i] && !str_eqz(json_key(it), keys[i]))
            i++;
        if (!keys[i])
            return err_set(
                e, ERR_INVALID, "%s%s%.*s: \"%.*s\" is not known", where, name.n ? " " : "", STR_ARG(name), STR_ARG(json_key(it)));
    }
    return 0;
}

/* ---- mirrors ---- */

/* "host:port", "http://host/path": https unless the scheme says otherwise; the API's root is /v2 unless a path is given. */
static int read_endpoint(struct pool *p, struct str text, struct registry_endpoint *out, struct err **e)
{
    struct str url = str_find(text, STR("://")) >= 0 ? text : pool_printf(p, "https://%.*s", STR_ARG(text));
    int r = registry_url_parse(p, url, &out->url, e);
    while (out->url.path.n && out->url.path.p[out->url.path.n - 1] == '/')
        out->url.path.n--;
    if (!out->url.path.n)
        out->url.path = STR("/v2");
    out->mirror = true;
    return r;
}

static int read_rewrites(struct pool *p, const struct json *o, struct mirror *m, struct err **e)
{
    m->rewrites = pool_array(p, struct rewrite, json_count(o) + 1);
    json_for (o, it) {
        struct rewrite *w = &m->rewrites[m->nrewrites];
        char *text = pool_strz(p, json_key(it)), why[128];
        if (!json_is(it, JSON_STR))
            return err_set(e, ERR_INVALID, "mirrors %.*s: rewrite \"%s\" must be a string", STR_ARG(m->host), text);
        int r = regcomp(&w->re, text, REG_EXTENDED);
        if (r != 0) {
            regerror(r, &w->re, why, sizeof why);
            return err_set(e, ERR_INVALID, "mirrors %.*s: rewrite \"%s\": %s", STR_ARG(m->host), text, why);
        }
        w->compiled = true;
        w->to = json_as_str(it);
        m->nrewrites++;
    }
    return 0;
}

static int read_mirror(struct pool *p, const struct json *o, struct mirror *m, struct err **e)
{
    static const char *const keys[] = {"endpoint", "endpoints", "rewrite", NULL};
    m->host = json_key(o);
    if (!json_is(o, JSON_OBJ) && !json_is(o, JSON_NULL))
        return err_set(e, ERR_INVALID, "mirrors %.*s: must be a map", STR_ARG(m->host));
    const struct json *list = json_get(o, STR("endpoint"));
    list = list ? list : json_get(o, STR("endpoints"));
    int r = known_keys(o, "mirrors", m->host, keys, e);
    if (r == 0 && list && !json_is(list, JSON_ARR))
        r = err_set(e, ERR_INVALID, "mirrors %.*s: endpoint must be a list", STR_ARG(m->host));
    if (r == 0 && json_count(list) > REGISTRY_ENDPOINTS_MAX - 1)
        r = err_set(e, ERR_LIMIT, "mirrors %.*s: more than %d endpoints", STR_ARG(m->host), REGISTRY_ENDPOINTS_MAX - 1);
    if (r < 0)
        return r;
    m->endpoints = pool_array(p, struct registry_endpoint, json_count(list) + 1);
    json_for (list, it) {
        r = read_endpoint(p, json_as_str(it), &m->endpoints[m->nendpoints++], e);
        if (r < 0) {
            err_wrap(e, "mirrors %.*s: endpoint", STR_ARG(m->host));
            return r;
        }
    }
    return read_rewrites(p, json_get(o, STR("rewrite")), m, e);
}

/* ---- configs ---- */

static int read_pem(struct pool *p, const struct json *tls, const char *key, struct registry_config *c, struct str *out, struct err **e)
{
    struct str path = json_get_str(tls, key);
    struct buf b = BUF_INIT;
    if (!path.n)
        return 0;
    c->has_tls = true;
    int r = file_read(pool_strz(p, path), PEM_LIMIT, &b, e);
    if (r < 0) {
        buf_clear(&b);
        err_wrap(e, "configs %.*s: %s", STR_ARG(c->host), key);
        return r;
    }
    *out = buf_to_pool(&b, p);
    return 0;
}

static int read_tls(struct pool *p, const struct json *tls, struct registry_config *c, struct err **e)
{
    static const char *const keys[] = {"ca_file", "cert_file", "key_file", "insecure_skip_verify", NULL};
    int r = known_keys(tls, "configs", c->host, keys, e);
    c->insecure = json_get_bool(tls, "insecure_skip_verify", false);
    c->has_tls = c->insecure;
    if (r == 0)
        r = read_pem(p, tls, "ca_file", c, &c->ca_pem, e);
    if (r == 0)
        r = read_pem(p, tls, "cert_file", c, &c->cert_pem, e);
    if (r == 0)
        r = read_pem(p, tls, "key_file", c, &c->key_pem, e);
    if (r == 0 && (c->cert_pem.n != 0) != (c->key_pem.n != 0))
        r = err_set(e, ERR_INVALID, "configs %.*s: cert_file and key_file belong together", STR_ARG(c->host));
    return r;
}

static int read_auth(struct pool *p, const struct json *auth, struct registry_config *c, struct err **e)
{
    static const char *const keys[] = {"username", "password", "auth", "identity_token", NULL};
    struct str coded = json_get_str(auth, "auth");
    int r = known_keys(auth, "configs", c->host, keys, e);
    c->auth = (struct registry_cred){json_get_str(auth, "username"), json_get_str(auth, "password"), json_get_str(auth, "identity_token")};
    if (r == 0 && coded.n && !registry_auth_decode(p, coded, &c->auth))
        r = err_set(e, ERR_INVALID, "configs %.*s: auth is no base64 of user:password", STR_ARG(c->host));
    c->has_auth = c->auth.username.n || c->auth.identity.n;
    return r;
}

static int read_config(struct pool *p, const struct json *o, struct registry_config *c, struct err **e)
{
    static const char *const keys[] = {"auth", "tls", NULL};
    c->host = json_key(o);
    int r = known_keys(o, "configs", c->host, keys, e);
    if (r == 0)
        r = read_auth(p, json_get(o, STR("auth")), c, e);
    return r < 0 ? r : read_tls(p, json_get(o, STR("tls")), c, e);
}

static int read_all(struct registries *r, const struct json *doc, struct err **e)
{
    static const char *const keys[] = {"mirrors", "configs", NULL};
    const struct json *mirrors = json_get(doc, STR("mirrors")), *configs = json_get(doc, STR("configs"));
    if (doc && !json_is(doc, JSON_OBJ) && !json_is(doc, JSON_NULL))
        return err_set(e, ERR_INVALID, "must be a map of mirrors and configs");
    if ((mirrors && json_is(mirrors, JSON_ARR)) || (configs && json_is(configs, JSON_ARR)))
        return err_set(e, ERR_INVALID, "mirrors and configs must be maps");
    int n = known_keys(doc, "top", STR_NULL, keys, e);
    r->mirrors = pool_array(r->pool, struct mirror, json_count(mirrors) + 1);
    r->configs = pool_array(r->pool, struct registry_config, json_count(configs) + 1);
    if (n < 0)
        return n;
    json_for (mirrors, it) {
        if ((n = read_mirror(r->pool, it, &r->mirrors[r->nmirrors++], e)) < 0)
            return n;
    }
    json_for (configs, it) {
        if ((n = read_config(r->pool, it, &r->configs[r->nconfigs++], e)) < 0)
            return n;
    }
    return 0;
}

int registries_parse(struct str text, struct registries **out, struct err **e)
{
    _cleanup_(registries_freep) struct registries *r = xcalloc(1, sizeof *r);
    struct json **docs = NULL;
    size_t n = 0;
    r->pool = pool_new();
    int rc =
        yaml_parse(r->pool, text, &(struct yaml_limits){.bytes = FILE_LIMIT, .depth = 16, .nodes = 50000, .documents = 2}, &docs, &n, e);
    if (rc == 0 && n > 1)
        rc = err_set(e, ERR_INVALID, "more than one document");
    if (rc == 0)
        rc = read_all(r, n ? docs[0] : NULL, e);
    if (rc == 0)
        *out = TAKE(r);
    return rc;
}

int registries_load(const char *path, struct registries **out, struct err **e)
{
    _cleanup_(buf_clear) struct buf b = BUF_INIT;
    int r = path && file_exists(path) ? file_read(path, FILE_LIMIT, &b, e) : 0;
    if (r == 0)
        r = registries_parse(buf_str(&b), out, e);
    if (r < 0)
        err_wrap(e, "%s", path ? path : "registries.yaml");
    return r;
}

void registries_mirrors_only(struct registries *r)
{
    r->mirrors_only = true;
}

/* ---- looking up ---- */

static const struct mirror *find_mirror(const struct registries *r, struct str host)
{
    const struct mirror *any = NULL;
    for (size_t i = 0; i < r->nmirrors; i++) {
        if (str_eq(r->mirrors[i].host, host) || (registry_is_hub(host) && registry_is_hub(r->mirrors[i].host)))
            return &r->mirrors[i];
        if (str_eqz(r->mirrors[i].host, "*"))
            any = &r->mirrors[i];
    }
    return any;
}

/* The first expression that fits, with $1 or ${1} for its groups. */
static struct str rewritten(struct pool *p, const struct mirror *m, struct str repository)
{
    char *text = pool_strz(p, repository);
    for (size_t i = 0; i < m->nrewrites; i++) {
        regmatch_t at[10];
        struct buf b = BUF_INIT;
        struct str to = m->rewrites[i].to;
        if (regexec(&m->rewrites[i].re, text, ARRAY_LEN(at), at, 0) != 0)
            continue;
        buf_add(&b, text, (size_t)at[0].rm_so);
        for (size_t k = 0; k < to.n; k++) {
            bool braces = to.p[k] == '$' && k + 3 < to.n && to.p[k + 1] == '{' && to.p[k + 3] == '}';
            size_t digit = k + (braces ? 2 : 1);
            if (to.p[k] != '$' || digit >= to.n || to.p[digit] < '0' || to.p[digit] > '9') {
                buf_putc(&b, to.p[k]);
                continue;
            }
            const regmatch_t *g = &at[to.p[digit] - '0'];
            if (g->rm_so >= 0)
                buf_add(&b, text + g->rm_so, (size_t)(g->rm_eo - g->rm_so));
            k = digit + (braces ? 1 : 0);
        }
        buf_puts(&b, text + at[0].rm_eo);
        return buf_to_pool(&b, p);
    }
    return repository;
}

/* Plain http only for this machine itself, unless registries.yaml says so. */
static bool is_local(struct str host)
{
    return str_eqz(host, "localhost") || str_starts(host, STR("localhost:")) || str_starts(host, STR("127.")) ||
           str_starts(host, STR("[::1]"));
}

size_t registries_endpoints(
    const struct registries *r, struct pool *p, const struct registry_image *image, struct registry_endpoint out[REGISTRY_ENDPOINTS_MAX])
{
    const struct mirror *m = find_mirror(r, image->host);
    struct str host = registry_is_hub(image->host) ? STR("registry-1.docker.io") : image->host;
    struct registry_endpoint own = {.repository = image->repository};
    size_t n = 0;
    for (size_t i = 0; m && i < m->nendpoints; i++) {
        out[n] = m->endpoints[i];
        out[n++].repository = rewritten(p, m, image->repository);
    }
    if (registry_url_parse(p, pool_printf(p, "%s://%.*s/v2", is_local(host) ? "http" : "https", STR_ARG(host)), &own.url, NULL) < 0)
        return n;
    bool named = false;
    for (size_t i = 0; i < n; i++) { /* the registry itself among its mirrors, as is done to say that it speaks plain http: not once more */
        out[i].mirror = out[i].url.port != own.url.port || !str_eq_nocase(out[i].url.host, own.url.host);
        named = named || (!out[i].mirror && str_eq(out[i].repository, own.repository));
    }
    if (!named && !(m && m->nendpoints && r->mirrors_only))
        out[n++] = own;
    return n;
}

static struct registry_config *find_config(const struct registries *r, struct pool *p, const struct registry_url *u)
{
    struct str host = registry_url_host(p, u), full = pool_printf(p, "%.*s:%u", STR_ARG(u->host), u->port);
    struct registry_config *any = NULL;
    for (size_t i = 0; i < r->nconfigs; i++) {
        struct registry_config *c = &r->configs[i];
        if (str_eq(c->host, host) || str_eq(c->host, full) || (registry_is_hub(host) && registry_is_hub(c->host)))
            return c;
        if (str_eqz(c->host, "*"))
            any = c;
    }
    return any;
}

const struct registry_config *registries_config(const struct registries *r, struct pool *p, const struct registry_url *u)
{
    return find_config(r, p, u);
}

struct tls_ctx *registries_tls(
    struct registries *r, struct pool *p, const struct registry_url *u, const struct clock *clock, struct err **e)
{
    static const char *const alpn[] = {"http/1.1", NULL};
    struct registry_config *c = find_config(r, p, u);
    struct tls_config t = {.clock = clock, .alpn = alpn};
    struct tls_ctx **ctx = c && c->has_tls ? &c->ctx : &r->plain;
    _cleanup_(certs_clear) struct certs cas = {0};
    if (*ctx)
        return *ctx;
    if (c && c->has_tls) {
        t.insecure = c->insecure;
        t.cert_pem = c->cert_pem;
        t.key_pem = c->key_pem;
        if (c->ca_pem.n && certs_parse(c->ca_pem, &cas, e) < 0) {
            err_wrap(e, "ca_file of %.*s", STR_ARG(c->host));
            return NULL;
        }
        if (cas.n)
            t.cas = &cas;
    }
    *ctx = tls_ctx_new(&t, e);
    return *ctx;
}
