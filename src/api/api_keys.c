#include "api/api_keys.h"
#include "base/file.h"
#include <unistd.h>
#include "crypto/tls.h"

#define LIFETIME CERT_YEAR

struct api_keys {
    struct pool *pool;
    struct api_keys_config cfg;
    struct ca *server_ca, *client_ca, *front_ca;
    struct buf front_cert, front_key;
    struct key *service, *serving_key, *identity;
    struct tls_ctx *tls;
    struct str serving_path, serving_key_path, admin_path, admin_key_path;
};

void api_keys_free(struct api_keys *k)
{
    if (!k)
        return;
    tls_ctx_free(k->tls);
    ca_free(k->server_ca);
    ca_free(k->client_ca);
    ca_free(k->front_ca);
    buf_clear(&k->front_cert);
    crypto_wipe_buf(&k->front_key);
    key_free(k->service);
    key_free(k->serving_key);
    key_free(k->identity);
    pool_free(k->pool);
    free(k);
}

static const char *at(struct api_keys *k, const char *name)
{
    return pool_printf(k->pool, "%s/%s", k->cfg.dir, name).p;
}

struct tls_ctx *api_keys_tls(struct api_keys *k)
{
    return k->tls;
}
struct str api_keys_server_ca(struct api_keys *k)
{
    return ca_pem(k->server_ca);
}
struct str api_keys_client_ca(struct api_keys *k)
{
    return ca_pem(k->client_ca);
}
const struct ca *api_keys_client_signer(struct api_keys *k)
{
    return k->client_ca;
}
const struct ca *api_keys_server_signer(struct api_keys *k)
{
    return k->server_ca;
}
struct key *api_keys_identity(struct api_keys *k)
{
    return k->identity;
}
const struct key *api_keys_service(struct api_keys *k)
{
    return k->service;
}
struct str api_keys_ca_hash(struct api_keys *k)
{
    return cert_info(ca_cert(k->server_ca))->fingerprint;
}

#define NAMES_MAX 64

/* All that the server may be called. */
static size_t serving_names(struct api_keys *k, struct str *out)
{
    size_t n = 0;
    struct str d = k->cfg.cluster_domain;
    out[n++] = STR("kubernetes");
    out[n++] = STR("kubernetes.default");
    out[n++] = STR("kubernetes.default.svc");
    out[n++] = pool_printf(k->pool, "kubernetes.default.svc.%.*s", STR_ARG(d));
    out[n++] = STR("localhost");
    out[n++] = STR("127.0.0.1");
    out[n++] = STR("::1");
    if (!str_empty(k->cfg.service_ip))
        out[n++] = k->cfg.service_ip;
    if (!str_empty(k->cfg.advertise))
        out[n++] = k->cfg.advertise;
    char host[256] = "";
    if (gethostname(host, sizeof host - 1) == 0 && host[0])
        out[n++] = pool_str(k->pool, str_of(host));
    for (size_t i = 0; i < k->cfg.nsans && n < NAMES_MAX; i++)
        out[n++] = k->cfg.sans[i];
    return n;
}

/* Good while every name is in it, the CA signed it and more than a third of its life is left. */
static bool still_good(struct api_keys *k, const char *path, const struct ca *ca, unsigned usage, const struct str *names, size_t n)
{
    struct certs chain = {0}, cas = {0};
    int64_t now = clock_now(k->cfg.clock);
    bool ok = certs_load(path, &chain, NULL) >= 0 && chain.n > 0;
    certs_add(&cas, cert_ref(ca_cert(ca)));
    ok = ok && cert_verify(&cas, &chain, usage, now, NULL) >= 0;
    if (ok) {
        const struct cert_info *i = cert_info(chain.at[0]);
        ok = i->not_after - now > LIFETIME / 3 || i->not_after >= cert_info(ca_cert(ca))->not_after;
    }
    for (size_t i = 0; ok && i < n; i++)
        ok = cert_fits_host(chain.at[0], names[i]);
    certs_clear(&chain);
    certs_clear(&cas);
    return ok;
}

static int issue_serving(struct api_keys *k, const struct str *names, size_t n, struct err **e)
{
    struct cert_spec spec = {.cn = STR("kube-apiserver"),
        .dns = names,
        .ndns = n,
        .usages = CERT_SIGNATURE | CERT_KEY_ENCIPHER | CERT_SERVER,
        .now = clock_now(k->cfg.clock),
        .lifetime = LIFETIME};
    _cleanup_(buf_clear) struct buf pem = BUF_INIT;
    if (ca_issue(k->server_ca, k->serving_key, &spec, &pem, e) < 0)
        return err_wrap(e, "serving certificate");
    buf_str_add(&pem, ca_pem(k->server_ca));
    return file_replace(k->serving_path.p, buf_str(&pem), 0644, e);
}

static int ready_serving(struct api_keys *k, bool *renewed, struct err **e)
{
    struct str names[NAMES_MAX];
    size_t n = serving_names(k, names);
    if (still_good(k, k->serving_path.p, k->server_ca, CERT_SERVER, names, n))
        return 0;
    *renewed = true;
    return issue_serving(k, names, n, e);
}

static int ready_admin(struct api_keys *k, bool *renewed, struct err **e)
{
    static const struct str masters[] = {STR("system:masters")};
    if (file_exists(k->admin_key_path.p) && still_good(k, k->admin_path.p, k->client_ca, CERT_CLIENT, NULL, 0))
        return 0;
    _cleanup_(buf_clear) struct buf cert = BUF_INIT;
    _cleanup_(crypto_wipe_buf) struct buf key = BUF_INIT;
    if (api_keys_client(k, STR("system:admin"), masters, 1, LIFETIME, &cert, &key, e) < 0)
        return err_wrap(e, "admin certificate");
    *renewed = true;
    if (file_replace(k->admin_key_path.p, buf_str(&key), 0600, e) < 0)
        return -(*e)->code;
    return file_replace(k->admin_path.p, buf_str(&cert), 0644, e);
}

int api_keys_client(struct api_keys *k, struct str cn, const struct str *orgs, size_t norgs, int64_t lifetime, struct buf *cert,
    struct buf *key, struct err **e)
{
    struct cert_spec spec = {.cn = cn,
        .orgs = orgs,
        .norgs = norgs,
        .usages = CERT_SIGNATURE | CERT_KEY_ENCIPHER | CERT_CLIENT,
        .now = clock_now(k->cfg.clock),
        .lifetime = lifetime};
    _cleanup_(key_freep) struct key *mine = key_make(KEY_P256, e);
    if (!mine)
        return -(*e)->code;
    if (ca_issue(k->client_ca, mine, &spec, cert, e) < 0)
        return -(*e)->code;
    key_pem(mine, key);
    return 0;
}

/* Made at each start: nobody else needs it. */
static int front_client(struct api_keys *k, struct err **e)
{
    struct cert_spec spec = {
        .cn = STR("system:auth-proxy"), .usages = CERT_SIGNATURE | CERT_KEY_ENCIPHER | CERT_CLIENT, .now = clock_now(k->cfg.clock), .lifetime = 10 * LIFETIME};
    _cleanup_(key_freep) struct key *mine = key_make(KEY_P256, e);
    if (!mine || ca_issue(k->front_ca, mine, &spec, &k->front_cert, e) < 0)
        return -(*e)->code;
    key_pem(mine, &k->front_key);
    return 0;
}

struct str api_keys_front_ca(struct api_keys *k)
{
    return ca_pem(k->front_ca);
}

void api_keys_front_client(struct api_keys *k, struct str *cert, struct str *key)
{
    *cert = buf_str(&k->front_cert);
    *key = buf_str(&k->front_key);
}

static int load(struct api_keys *k, struct err **e)
{
    int64_t now = clock_now(k->cfg.clock);
    if (dir_make(k->cfg.dir, 0700, e) < 0)
        return -(*e)->code;
    if (ca_load_or_make(at(k, "server-ca.crt"), at(k, "server-ca.key"), STR("sampan-server-ca"), now, &k->server_ca, e) < 0)
        return -(*e)->code;
    if (ca_load_or_make(at(k, "client-ca.crt"), at(k, "client-ca.key"), STR("sampan-client-ca"), now, &k->client_ca, e) < 0)
        return -(*e)->code;
    if (ca_load_or_make(at(k, "request-header-ca.crt"), at(k, "request-header-ca.key"), STR("sampan-request-header-ca"), now, &k->front_ca, e) < 0 || front_client(k, e) < 0)
        return -(*e)->code;
    if (key_load_or_make(at(k, "service.key"), KEY_P256, &k->service, e) < 0)
        return -(*e)->code;
    if (key_load_or_make(at(k, "uplink.key"), KEY_ED25519, &k->identity, e) < 0)
        return -(*e)->code;
    if (key_load_or_make(k->serving_key_path.p, KEY_P256, &k->serving_key, e) < 0)
        return -(*e)->code;
    return 0;
}

static int open_tls(struct api_keys *k, struct err **e)
{
    static const char *const alpn[] = {"h2", "http/1.1", NULL};
    struct certs cas = {0};
    certs_add(&cas, cert_ref(ca_cert(k->client_ca)));
    struct tls_config t = {.server = true,
        .clock = k->cfg.clock,
        .cert_path = k->serving_path.p,
        .key_path = k->serving_key_path.p,
        .cas = &cas,
        .client_certs = true,
        .alpn = alpn};
    k->tls = tls_ctx_new(&t, e);
    certs_clear(&cas);
    return k->tls ? 0 : -(*e)->code;
}

int api_keys_open(const struct api_keys_config *c, struct api_keys **out, struct err **e)
{
    _cleanup_(api_keys_freep) struct api_keys *k = xcalloc(1, sizeof *k);
    bool renewed = false;
    k->pool = pool_new();
    k->cfg = *c;
    k->cfg.dir = pool_strz(k->pool, str_of(c->dir));
    k->cfg.cluster_domain = str_empty(c->cluster_domain) ? STR("cluster.local") : pool_str(k->pool, c->cluster_domain);
    k->cfg.service_ip = pool_str(k->pool, c->service_ip);
    k->cfg.advertise = pool_str(k->pool, c->advertise);
    struct str *sans = pool_array(k->pool, struct str, c->nsans);
    for (size_t i = 0; i < c->nsans; i++)
        sans[i] = pool_str(k->pool, c->sans[i]);
    k->cfg.sans = sans;
    k->serving_path = str_of(at(k, "serving-kube-apiserver.crt"));
    k->serving_key_path = str_of(at(k, "serving-kube-apiserver.key"));
    k->admin_path = str_of(at(k, "client-admin.crt"));
    k->admin_key_path = str_of(at(k, "client-admin.key"));
    if (load(k, e) < 0 || ready_serving(k, &renewed, e) < 0 || ready_admin(k, &renewed, e) < 0 || open_tls(k, e) < 0)
        return err_wrap(e, "keys in %s", c->dir);
    *out = TAKE(k);
    return 0;
}

int api_keys_renew(struct api_keys *k, struct err **e)
{
    bool serving = false, admin = false;
    if (ready_serving(k, &serving, e) < 0 || ready_admin(k, &admin, e) < 0)
        return -(*e)->code;
    if (serving && tls_ctx_reload(k->tls, STR_NULL, STR_NULL, e) < 0)
        return -(*e)->code;
    return serving || admin;
}

static void base64_line(struct buf *out, const char *name, struct str v)
{
    buf_printf(out, "    %s: ", name);
    buf_base64(out, v.p, v.n);
    buf_putc(out, '\n');
}

int api_keys_kubeconfig(struct api_keys *k, struct str host, uint16_t port, struct buf *out, struct err **e)
{
    _cleanup_(buf_clear) struct buf cert = BUF_INIT;
    _cleanup_(crypto_wipe_buf) struct buf key = BUF_INIT;
    if (file_read(k->admin_path.p, 1 << 20, &cert, e) < 0 || file_read(k->admin_key_path.p, 1 << 20, &key, e) < 0)
        return -(*e)->code;
    bool v6 = str_chr(host, ':') >= 0;
    buf_puts(out, "apiVersion: v1\nclusters:\n- cluster:\n");
    base64_line(out, "certificate-authority-data", ca_pem(k->server_ca));
    buf_printf(out, "    server: https://%s%.*s%s:%u\n", v6 ? "[" : "", STR_ARG(host), v6 ? "]" : "", port);
    buf_puts(out, "  name: default\ncontexts:\n- context:\n    cluster: default\n    user: default\n  name: default\ncurrent-context: "
                  "default\nkind: Config\n"
                  "preferences: {}\nusers:\n- name: default\n  user:\n");
    base64_line(out, "client-certificate-data", buf_str(&cert));
    base64_line(out, "client-key-data", buf_str(&key));
    return 0;
}
