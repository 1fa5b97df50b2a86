#include "gate/kube.h"

#include <stdlib.h>

#include "base/file.h"
#include "gate/trust.h"
#include "yaml/yaml.h"

#define SA_DIR "/var/run/secrets/kubernetes.io/serviceaccount/"
#define FILE_MAX_BYTES (1u << 20)
#define CONNECTIONS 256 /* HTTP/1.1: each watch holds one */

struct kube {
    struct pool *pool;
    struct endpoint ep;
    struct certs cas;
    struct tls_ctx *tls;
    struct http_client *client;
    struct str token;
    const char *token_path, *where;
};

static const char *const alpn[] = {"http/1.1", NULL}; /* upgrades need it, and servers know no extended CONNECT */

static struct json *named(const struct json *list, struct str name)
{
    json_for (list, it)
        if (str_eq(json_get_str(it, "name"), name))
            return it;
    return NULL;
}

/* A field, either inline in base64 ("x-data") or as a path ("x", relative to the kubeconfig). Absent when neither is there. */
static int material(struct kube *k, const struct json *o, const char *field, const char *kubeconfig, struct str *out, struct err **e)
{
    struct str data = json_get_str(o, pool_strz(k->pool, pool_printf(k->pool, "%s-data", field))), path = json_get_str(o, field),
               dir = str_of(kubeconfig);
    _cleanup_(buf_clear) struct buf b = BUF_INIT;
    ssize_t slash = str_rchr(dir, '/');

    if (data.n) {
        if (!buf_unbase64(&b, data))
            return err_set(e, ERR_USAGE, "%s: %s-data is not base64", kubeconfig, field);
    } else if (path.n) {
        dir = path.p[0] == '/' || slash < 0 ? STR("") : str_sub(dir, 0, (size_t)slash + 1);
        if (file_read(pool_strz(k->pool, pool_printf(k->pool, "%.*s%.*s", STR_ARG(dir), STR_ARG(path))), FILE_MAX_BYTES, &b, e) < 0)
            return err_wrap(e, "%s: %s", kubeconfig, field);
    } else {
        return 0;
    }
    *out = buf_to_pool(&b, k->pool);
    return 0;
}

static int set_url(struct kube *k, struct str url, struct err **e)
{
    struct str host, path;
    if (url_split(k->pool, url, &host, &k->ep.port, &path, e) < 0)
        return -(*e)->code;
    if (path.n)
        return err_set(e, ERR_USAGE, "\"%.*s\": a server URL with a path is not supported", STR_ARG(url));
    k->ep.host = host.p;
    k->where = pool_strz(k->pool, url);
    return 0;
}

static int user_of(struct kube *k, const struct json *user, const char *path, struct tls_config *c, struct err **e)
{
    static const char *const refused[] = {"exec", "auth-provider", "username"};
    for (size_t i = 0; i < ARRAY_LEN(refused); i++)
        if (json_get(user, str_of(refused[i])))
            return err_set(
                e, ERR_USAGE, "%s: users[].user.%s is not supported here; use a client certificate or a token", path, refused[i]);
    if (material(k, user, "client-certificate", path, &c->cert_pem, e) < 0 || material(k, user, "client-key", path, &c->key_pem, e) < 0)
        return -(*e)->code;
    k->token = pool_str(k->pool, json_get_str(user, "token"));
    if (json_get_str(user, "tokenFile").n)
        k->token_path = pool_strz(k->pool, json_get_str(user, "tokenFile"));
    return 0;
}

static int from_kubeconfig(struct kube *k, const char *path, struct tls_config *c, struct err **e)
{
    _cleanup_(buf_clear) struct buf b = BUF_INIT;
    struct str ca = STR_NULL;
    struct json *doc;

    if (file_read(path, FILE_MAX_BYTES, &b, e) < 0)
        return err_wrap(e, "--kubeconfig");
    if (yaml_parse_one(k->pool, buf_to_pool(&b, k->pool), NULL, &doc, e) < 0)
        return err_wrap(e, "%s", path);
    struct json *context = json_get(named(json_get(doc, STR("contexts")), json_get_str(doc, "current-context")), STR("context"));
    struct json *cluster = json_get(named(json_get(doc, STR("clusters")), json_get_str(context, "cluster")), STR("cluster"));
    struct json *user = json_get(named(json_get(doc, STR("users")), json_get_str(context, "user")), STR("user"));
    if (!context || !cluster || !user)
        return err_set(e, ERR_USAGE, "%s: current-context \"%.*s\" does not lead to a cluster and a user", path,
            STR_ARG(json_get_str(doc, "current-context")));
    if (set_url(k, json_get_str(cluster, "server"), e) < 0 || user_of(k, user, path, c, e) < 0 ||
        material(k, cluster, "certificate-authority", path, &ca, e) < 0)
        return -(*e)->code;
    c->insecure = json_get_bool(cluster, "insecure-skip-tls-verify", false);
    if (json_get_str(cluster, "tls-server-name").n)
        k->ep.sni = pool_strz(k->pool, json_get_str(cluster, "tls-server-name"));
    return ca.n ? certs_parse(ca, &k->cas, e) : 0;
}

static int from_pod(struct kube *k, const char *host, struct err **e)
{
    const char *port = getenv("KUBERNETES_SERVICE_PORT");
    k->token_path = SA_DIR "token";
    if (set_url(k, pool_printf(k->pool, strchr(host, ':') ? "https://[%s]:%s" : "https://%s:%s", host, port ? port : "443"), e) < 0)
        return -(*e)->code;
    return certs_load(SA_DIR "ca.crt", &k->cas, e);
}

static int configure(struct kube *k, struct clock *clock, const char *kubeconfig, const char *api_socket, struct err **e)
{
    struct tls_config c = {.clock = clock, .alpn = alpn};
    const char *host = getenv("KUBERNETES_SERVICE_HOST");
    int r;

    if (!kubeconfig && api_socket) {
        k->ep.unix_path = pool_strz(k->pool, str_of(api_socket));
        k->where = k->ep.unix_path;
        return 0;
    }
    if (kubeconfig)
        r = from_kubeconfig(k, kubeconfig, &c, e);
    else if (host && host[0])
        r = from_pod(k, host, e);
    else
        return err_set(e, ERR_USAGE, "no cluster to connect: give --kubeconfig, or run in a pod with a ServiceAccount");
    if (r < 0)
        return r;
    if (k->cas.n)
        c.cas = &k->cas;
    k->tls = tls_ctx_new(&c, e);
    k->ep.tls = k->tls;
    return k->tls ? 0 : err_wrap(e, "TLS to %s", k->where);
}

struct kube *kube_open(struct loop *l, struct clock *clock, const char *kubeconfig, const char *api_socket, struct err **e)
{
    _cleanup_(kube_closep) struct kube *k = xcalloc(1, sizeof *k);
    struct http_limits limits = {.connections = CONNECTIONS};

    k->pool = pool_new();
    if (configure(k, clock, kubeconfig, api_socket, e) < 0)
        return NULL;
    k->client = http_client_new(l, &k->ep, &limits);
    return TAKE(k);
}

void kube_close(struct kube *k)
{
    if (!k)
        return;
    http_client_free(k->client);
    tls_ctx_free(k->tls);
    certs_clear(&k->cas);
    pool_free(k->pool);
    free(k);
}

struct http_client *kube_client(struct kube *k)
{
    return k->client;
}
const char *kube_where(const struct kube *k)
{
    return k->where;
}

struct str kube_authorization(struct kube *k, struct pool *pool)
{
    _cleanup_(buf_clear) struct buf b = BUF_INIT;
    struct str token = k->token;

    if (k->token_path && file_read(k->token_path, 64 << 10, &b, NULL) == 0)
        token = str_trim(buf_str(&b));
    return token.n ? pool_printf(pool, "Bearer %.*s", STR_ARG(token)) : STR_NULL;
}
