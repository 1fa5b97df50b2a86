#include "crypto/tls.h"
#include <arpa/inet.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <pthread.h>
#include <stdatomic.h>
#include <time.h>
#include "base/file.h"
#include "crypto/crypto.h"
#include "crypto/ossl.h"

/* What the callbacks of running handshakes need: shared by every SSL_CTX of one struct tls_ctx, and living as long as the last of them, since a
 * connection keeps its SSL_CTX beyond a reload and beyond tls_ctx_free. */
struct shared {
    _Atomic uint32_t refs;
    const struct clock *clock;
    bool server, insecure, client_certs, system_cas;
    struct certs cas;
    char pin[HASH_HEX + 1];
    struct buf alpn; /* as on the wire: length, name */
};

struct tls_ctx {
    pthread_mutex_t lock; /* guards ctx */
    SSL_CTX *ctx;
    struct shared *shared;
    char *cert_path, *key_path;
};

static int slot = -1, why_slot = -1; /* of SSL_CTX: its struct shared; of SSL: why the peer's certificate was refused, as text */
static pthread_once_t slot_once = PTHREAD_ONCE_INIT;

static void shared_unref(struct shared *s)
{
    if (!s || atomic_fetch_sub(&s->refs, 1) != 1)
        return;
    certs_clear(&s->cas);
    buf_clear(&s->alpn);
    free(s);
}

static void on_ctx_free(void *parent, void *p, CRYPTO_EX_DATA *ad, int idx, long argl, void *argp)
{
    shared_unref(p);
}

static void on_ssl_free(void *parent, void *p, CRYPTO_EX_DATA *ad, int idx, long argl, void *argp)
{
    free(p);
}

static void make_slot(void)
{
    why_slot = SSL_get_ex_new_index(0, NULL, NULL, NULL, on_ssl_free);
    slot = SSL_CTX_get_ex_new_index(0, NULL, NULL, NULL, on_ctx_free);
}

static int64_t now_of(const struct shared *s)
{
    return s->clock ? clock_now(s->clock) : (int64_t)time(NULL) * NS_PER_S;
}

/* Verification */

static bool fits_pin(const struct shared *s, X509 *x)
{
    char id[HASH_HEX + 1];
    EVP_PKEY *p = x ? X509_get0_pubkey(x) : NULL;
    if (!p)
        return false;
    key_id_of(p, id);
    return strcmp(id, s->pin) == 0;
}

/* With a pin: the pinned CA of the peer's own chain becomes the only anchor. 1: verified (the leaf is pinned); 0: go on; -1: refused. */
static int apply_pin(const struct shared *s, X509_STORE_CTX *c, STACK_OF(X509) *anchors)
{
    STACK_OF(X509) *shown = X509_STORE_CTX_get0_untrusted(c);
    if (fits_pin(s, X509_STORE_CTX_get0_cert(c)))
        return 1;
    for (int i = 0; i < sk_X509_num(shown); i++)
        if (fits_pin(s, sk_X509_value(shown, i)))
            sk_X509_push(anchors, sk_X509_value(shown, i));
    if (sk_X509_num(anchors) == 0) {
        X509_STORE_CTX_set_error(c, X509_V_ERR_CERT_UNTRUSTED);
        X509_STORE_CTX_set_current_cert(c, X509_STORE_CTX_get0_cert(c));
        return -1;
    }
    X509_STORE_CTX_set0_trusted_stack(c, anchors);
    return 0;
}

/* Said here, where the certificate is still at hand: a refused one is not kept by the connection. */
static void keep_reason(const struct shared *s, X509_STORE_CTX *c)
{
    SSL *ssl = X509_STORE_CTX_get_ex_data(c, SSL_get_ex_data_X509_STORE_CTX_idx());
    X509 *at = X509_STORE_CTX_get_current_cert(c);
    _cleanup_(err_freep) struct err *e = NULL;
    cert_explain(X509_STORE_CTX_get_error(c), at ? at : X509_STORE_CTX_get0_cert(c), now_of(s), &e);
    if (ssl) {
        free(SSL_get_ex_data(ssl, why_slot));
        SSL_set_ex_data(ssl, why_slot, xstrdup(err_msg(e)));
    }
}

static int verify(X509_STORE_CTX *c, void *arg)
{
    const struct shared *s = arg;
    if (s->server || s->insecure) {
        X509_STORE_CTX_set_error(c, X509_V_OK); /* a server's app judges with cert_verify */
        return 1;
    }
    X509_STORE_CTX_set_time(c, 0, (time_t)(now_of(s) / NS_PER_S));
    X509_VERIFY_PARAM_set_flags(X509_STORE_CTX_get0_param(c), X509_V_FLAG_PARTIAL_CHAIN);
    STACK_OF(X509) *anchors = sk_X509_new_null();
    int pinned = s->pin[0] ? apply_pin(s, c, anchors) : 0;
    if (pinned > 0)
        X509_STORE_CTX_set_error(c, X509_V_OK);
    int ok = pinned ? pinned > 0 : X509_verify_cert(c) == 1;
    if (!ok)
        keep_reason(s, c);
    sk_X509_free(anchors);
    return ok;
}

static int select_alpn(SSL *ssl, const unsigned char **out, unsigned char *n, const unsigned char *in, unsigned inlen, void *arg)
{
    const struct shared *s = arg;
    unsigned char *chosen;
    if (SSL_select_next_proto(&chosen, n, (const unsigned char *)s->alpn.p, (unsigned)s->alpn.n, in, inlen) != OPENSSL_NPN_NEGOTIATED)
        return SSL_TLSEXT_ERR_NOACK;
    *out = chosen;
    return SSL_TLSEXT_ERR_OK;
}

/* Making a context */

static int load_chain(SSL_CTX *ctx, struct str pem, struct err **e)
{
    _cleanup_(certs_clear) struct certs list = {0};
    int r = certs_parse(pem, &list, e);
    if (r < 0)
        return r;
    bool ok = SSL_CTX_use_certificate(ctx, cert_x509(list.at[0])) == 1;
    for (size_t i = 1; ok && i < list.n; i++)
        ok = SSL_CTX_add1_chain_cert(ctx, cert_x509(list.at[i])) == 1;
    return ok ? 0 : ossl_err(e, ERR_PARSE, "certificate");
}

static int load_identity(SSL_CTX *ctx, struct str cert, struct str key_pem, struct err **e)
{
    _cleanup_(key_freep) struct key *key = NULL;
    int r = load_chain(ctx, cert, e);
    if (r == 0)
        r = key_parse(key_pem, &key, e);
    if (r < 0)
        return r;
    if (!key_is_private(key))
        return err_set(e, ERR_PARSE, "the key has no private half");
    if (SSL_CTX_use_PrivateKey(ctx, key_pkey(key)) != 1 || SSL_CTX_check_private_key(ctx) != 1) {
        ERR_clear_error();
        return err_set(e, ERR_PARSE, "certificate and key do not belong together");
    }
    return 0;
}

static bool set_limits(SSL_CTX *ctx)
{
    SSL_CTX_set_options(ctx, SSL_OP_NO_TICKET | SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_CIPHER_SERVER_PREFERENCE |
        SSL_OP_PRIORITIZE_CHACHA | SSL_OP_IGNORE_UNEXPECTED_EOF);
    SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_num_tickets(ctx, 0);
    /* AES-128 first, as Go's servers have it: nobody breaks it either, and it takes a quarter less time. A client without AES in its processor asks for ChaCha first and gets it. */
    return SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION) == 1 &&
           SSL_CTX_set_ciphersuites(ctx, "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256") == 1 &&
           SSL_CTX_set_cipher_list(ctx, "ECDHE+AES128+AESGCM:ECDHE+AESGCM:ECDHE+CHACHA20") == 1;
}

static bool set_trust(SSL_CTX *ctx, const struct shared *s)
{
    if (s->server) {
        STACK_OF(X509_NAME) *names = s->cas.n ? sk_X509_NAME_new_null() : NULL;
        for (size_t i = 0; names && i < s->cas.n; i++)
            sk_X509_NAME_push(names, X509_NAME_dup(X509_get_subject_name(cert_x509(s->cas.at[i]))));
        SSL_CTX_set_client_CA_list(ctx, names);
        SSL_CTX_set_verify(ctx, s->client_certs ? SSL_VERIFY_PEER : SSL_VERIFY_NONE, NULL);
        return true;
    }
    SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
    if (s->system_cas)
        return SSL_CTX_set_default_verify_paths(ctx) == 1;
    X509_STORE *store = cert_store(&s->cas);
    SSL_CTX_set_cert_store(ctx, store);
    return store != NULL;
}

static int make_ctx(struct shared *s, struct str cert, struct str key, SSL_CTX **out, struct err **e)
{
    SSL_CTX *ctx = SSL_CTX_new(s->server ? TLS_server_method() : TLS_client_method());
    if (!ctx)
        return ossl_err(e, ERR_INTERNAL, "TLS");
    atomic_fetch_add(&s->refs, 1);
    if (SSL_CTX_set_ex_data(ctx, slot, s) != 1)
        shared_unref(s);
    SSL_CTX_set_cert_verify_callback(ctx, verify, s);
    if (s->server)
        SSL_CTX_set_alpn_select_cb(ctx, s->alpn.n ? select_alpn : NULL, s);
    bool ok = set_limits(ctx) && set_trust(ctx, s) &&
        (s->server || !s->alpn.n || SSL_CTX_set_alpn_protos(ctx, (const unsigned char *)s->alpn.p, (unsigned)s->alpn.n) == 0);
    int r = ok ? 0 : ossl_err(e, ERR_INTERNAL, "TLS");
    if (r == 0 && (cert.n || s->server)) {
        r = load_identity(ctx, cert, key, e);
        if (r < 0)
            err_wrap(e, "TLS");
    }
    if (r == 0)
        *out = ctx;
    else
        SSL_CTX_free(ctx);
    return r;
}

static struct shared *shared_of(const struct tls_config *config)
{
    struct shared *s = xcalloc(1, sizeof *s);
    atomic_init(&s->refs, 1);
    s->clock = config->clock;
    s->server = config->server;
    s->insecure = config->insecure;
    s->client_certs = config->client_certs;
    s->system_cas = !config->server && !config->cas && !config->pin.n;
    for (size_t i = 0; config->cas && i < config->cas->n; i++)
        certs_add(&s->cas, cert_ref(config->cas->at[i]));
    for (size_t i = 0; i < config->pin.n && i < HASH_HEX; i++)
        s->pin[i] = (char)(config->pin.p[i] >= 'A' && config->pin.p[i] <= 'F' ? config->pin.p[i] + 32 : config->pin.p[i]);
    for (const char *const *p = config->alpn; p && *p; p++) {
        buf_putc(&s->alpn, (char)strlen(*p));
        buf_puts(&s->alpn, *p);
    }
    return s;
}

/* Exchanges the running context for one with this identity, or with what stands in the files. */
static int renew(struct tls_ctx *t, struct str cert, struct str key, struct err **e)
{
    _cleanup_(buf_clear) struct buf c = BUF_INIT;
    _cleanup_(crypto_wipe_buf) struct buf k = BUF_INIT;
    SSL_CTX *ctx = NULL;
    if (!cert.n && !key.n && t->cert_path) {
        int r = file_read(t->cert_path, CERT_PEM_MAX, &c, e);
        if (r == 0)
            r = file_read(t->key_path, CERT_PEM_MAX, &k, e);
        if (r < 0)
            return r;
        cert = buf_str(&c);
        key = buf_str(&k);
    }
    int r = make_ctx(t->shared, cert, key, &ctx, e);
    if (r < 0)
        return r;
    pthread_mutex_lock(&t->lock);
    SSL_CTX *old = t->ctx;
    t->ctx = ctx;
    pthread_mutex_unlock(&t->lock);
    SSL_CTX_free(old);
    return 0;
}

struct tls_ctx *tls_ctx_new(const struct tls_config *config, struct err **e)
{
    pthread_once(&slot_once, make_slot);
    if (config->pin.n && config->pin.n != HASH_HEX) {
        err_set(e, ERR_INVALID, "TLS: a pin has %d hexadecimal digits", HASH_HEX);
        return NULL;
    }
    if (!config->cert_path != !config->key_path) {
        err_set(e, ERR_INVALID, "TLS: a certificate needs its key, and a key its certificate");
        return NULL;
    }
    struct tls_ctx *t = xcalloc(1, sizeof *t);
    pthread_mutex_init(&t->lock, NULL);
    t->shared = shared_of(config);
    t->cert_path = config->cert_path ? xstrdup(config->cert_path) : NULL;
    t->key_path = config->key_path ? xstrdup(config->key_path) : NULL;
    if (renew(t, config->cert_pem, config->key_pem, e) == 0)
        return t;
    tls_ctx_free(t);
    return NULL;
}

void tls_ctx_free(struct tls_ctx *t)
{
    if (!t)
        return;
    SSL_CTX_free(t->ctx);
    shared_unref(t->shared);
    pthread_mutex_destroy(&t->lock);
    free(t->cert_path);
    free(t->key_path);
    free(t);
}

int tls_ctx_reload(struct tls_ctx *t, struct str cert_pem, struct str key_pem, struct err **e)
{
    return renew(t, cert_pem, key_pem, e);
}

SSL_CTX *tls_ctx_ssl(struct tls_ctx *t)
{
    pthread_mutex_lock(&t->lock);
    SSL_CTX *ctx = t->ctx;
    SSL_CTX_up_ref(ctx);
    pthread_mutex_unlock(&t->lock);
    return ctx;
}

/* Connections */

static bool set_host(SSL *ssl, struct str host)
{
    unsigned char raw[16];
    char z[256];
    if (host.n >= sizeof z || str_chr(host, 0) >= 0)
        return false;
    memcpy(z, host.p, host.n);
    z[host.n] = 0;
    X509_VERIFY_PARAM *p = SSL_get0_param(ssl);
    X509_VERIFY_PARAM_set_hostflags(p, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS | X509_CHECK_FLAG_NEVER_CHECK_SUBJECT);
    if (inet_pton(AF_INET, z, raw) == 1 || inet_pton(AF_INET6, z, raw) == 1)
        return X509_VERIFY_PARAM_set1_ip_asc(p, z) == 1;
    return SSL_set_tlsext_host_name(ssl, z) == 1 && X509_VERIFY_PARAM_set1_host(p, z, host.n) == 1;
}

SSL *tls_session(struct tls_ctx *t, struct str host)
{
    SSL_CTX *ctx = tls_ctx_ssl(t);
    SSL *ssl = SSL_new(ctx);
    SSL_CTX_free(ctx);
    if (!ssl)
        return NULL;
    if (t->shared->server) {
        SSL_set_accept_state(ssl);
    } else {
        SSL_set_connect_state(ssl);
        if (host.n && !set_host(ssl, host)) {
            SSL_free(ssl);
            ssl = NULL;
        }
    }
    ERR_clear_error();
    return ssl;
}

int tls_peer(SSL *ssl, struct certs *chain, struct err **e)
{
    STACK_OF(X509) *shown = SSL_get_peer_cert_chain(ssl);
    X509 *leaf = SSL_get0_peer_certificate(ssl);
    bool server = SSL_is_server(ssl);
    /* a server's view of the chain lacks the leaf, a client's holds it */
    for (int i = server ? -1 : 0; leaf && i < MIN(sk_X509_num(shown), 16); i++) {
        X509 *x = i < 0 ? leaf : sk_X509_value(shown, i);
        struct cert *c = NULL;
        X509_up_ref(x);
        int r = cert_wrap(x, &c, e);
        if (r < 0)
            return r;
        certs_add(chain, c);
    }
    return 0;
}

struct str tls_alpn(SSL *ssl)
{
    const unsigned char *p;
    unsigned n;
    SSL_get0_alpn_selected(ssl, &p, &n);
    return n ? str_make((const char *)p, n) : STR_NULL;
}

bool tls_exporter(SSL *ssl, unsigned char out[32])
{
    static const char label[] = "EXPORTER-Channel-Binding";
    bool ok = SSL_export_keying_material(ssl, out, 32, label, sizeof label - 1, (const unsigned char *)"", 0, 1) == 1;
    ERR_clear_error();
    return ok;
}

int tls_error(SSL *ssl, int ret, struct err **e, const char *what)
{
    int code = SSL_get_error(ssl, ret);
    const char *why = SSL_get_ex_data(ssl, why_slot);
    if (why) {
        ERR_clear_error();
        return err_set(e, ERR_UNAUTHORIZED, "%s: %s", what, why);
    }
    if (code == SSL_ERROR_ZERO_RETURN || (code == SSL_ERROR_SYSCALL && !ERR_peek_error())) {
        ERR_clear_error();
        return err_set(e, ERR_IO, "%s: the peer closed the connection", what);
    }
    return ossl_err(e, ERR_IO, "%s", what);
}
