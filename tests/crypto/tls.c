#include "harness.h"
#include "base/file.h"
#include "crypto/crypto.h"
#include "crypto/tls.h"

#define NOW (INT64_C(1800000000) * NS_PER_S)

/* Both ends in memory: what one writes the other reads. */
struct pair {
    SSL *c, *s;
};

static struct ca *ca;
static struct key *key;
static struct clock *clk;
static struct buf cert, key_text;

static void begin(void)
{
    struct err *e = NULL;
    const struct str dns = STR("localhost"), ip = STR("127.0.0.1");
    struct cert_spec spec = {.cn = STR("server"), .dns = &dns, .ndns = 1, .ips = &ip, .nips = 1, .usages = CERT_SIGNATURE | CERT_SERVER, .now = NOW,
        .lifetime = 30 * 86400 * NS_PER_S};
    FINE(ca_make(STR("tls-ca"), NOW, &ca, &e), e);
    key = key_make(KEY_P256, &e);
    FINE(ca_issue(ca, key, &spec, &cert, &e), e);
    key_pem(key, &key_text);
    clk = clock_fake(NOW);
}

static void finish(void)
{
    ca_free(ca);
    key_free(key);
    clock_free(clk);
    buf_clear(&cert);
    crypto_wipe_buf(&key_text);
}

static struct tls_ctx *server(bool client_certs)
{
    static const char *const alpn[] = {"h2", "http/1.1", NULL};
    struct err *e = NULL;
    struct tls_config c = {.server = true, .clock = clk, .cert_pem = buf_str(&cert), .key_pem = buf_str(&key_text), .client_certs = client_certs, .alpn = alpn};
    struct tls_ctx *t = tls_ctx_new(&c, &e);
    if (!t)
        test_fail(__FILE__, __LINE__, "%s", err_msg(e));
    return t;
}

static struct tls_ctx *client(struct tls_config c)
{
    struct err *e = NULL;
    c.clock = clk;
    struct tls_ctx *t = tls_ctx_new(&c, &e);
    if (!t)
        test_fail(__FILE__, __LINE__, "%s", err_msg(e));
    return t;
}

static void unpair(struct pair *p)
{
    SSL_free(p->c);
    SSL_free(p->s);
    *p = (struct pair){0};
}

/* 0, or the client's error with why. */
static int shake(struct tls_ctx *sc, struct tls_ctx *cc, struct str host, struct pair *p, char *why)
{
    BIO *a, *b;
    *p = (struct pair){tls_session(cc, host), tls_session(sc, STR_NULL)};
    OK(p->c && p->s);
    EQ(BIO_new_bio_pair(&a, 0, &b, 0), 1);
    SSL_set_bio(p->c, a, a);
    SSL_set_bio(p->s, b, b);
    why[0] = 0;
    for (int i = 0; i < 20; i++) {
        int r = SSL_do_handshake(p->c), code = SSL_get_error(p->c, r);
        struct err *e = NULL;
        if (r != 1 && code != SSL_ERROR_WANT_READ && code != SSL_ERROR_WANT_WRITE) {
            r = tls_error(p->c, r, &e, "handshake");
            snprintf(why, 300, "%s", err_msg(e));
            err_free(e);
            return r;
        }
        int q = SSL_do_handshake(p->s), qcode = SSL_get_error(p->s, q);
        if (q != 1 && qcode != SSL_ERROR_WANT_READ && qcode != SSL_ERROR_WANT_WRITE) {
            q = tls_error(p->s, q, &e, "server handshake");
            snprintf(why, 300, "%s", err_msg(e));
            err_free(e);
            return q;
        }
        if (r == 1 && q == 1)
            return 0;
    }
    return -1;
}

static struct certs pool_of(struct ca *x)
{
    static struct cert *anchor;
    anchor = ca_cert(x);
    return (struct certs){&anchor, 1};
}

TEST(a_trusted_server_is_spoken_to_over_h2)
{
    begin();
    static const char *const alpn[] = {"h2", NULL};
    struct certs cas = pool_of(ca);
    struct tls_ctx *s = server(false), *c = client((struct tls_config){.cas = &cas, .alpn = alpn});
    struct pair p;
    char why[300];
    int r = shake(s, c, STR("localhost"), &p, why);
    if (r)
        test_fail(__FILE__, __LINE__, "%s", why);
    EQ_STR(tls_alpn(p.c), STR("h2"));
    EQ_STR(tls_alpn(p.s), STR("h2"));
    unsigned char x[32], y[32];
    OK(tls_exporter(p.c, x) && tls_exporter(p.s, y) && memcmp(x, y, 32) == 0);
    EQ(SSL_write(p.c, "ping", 4), 4);
    char got[8];
    EQ(SSL_read(p.s, got, 8), 4);
    struct certs none = {0};
    EQ(tls_peer(p.s, &none, NULL), 0);
    EQ(none.n, 0);
    unpair(&p);
    EQ(shake(s, c, STR("127.0.0.1"), &p, why), 0);
    unpair(&p);
    tls_ctx_free(s), tls_ctx_free(c);
    finish();
}

TEST(a_wrong_name_a_strange_authority_and_a_bent_clock_are_refused)
{
    begin();
    struct ca *other = NULL;
    struct err *e = NULL;
    FINE(ca_make(STR("tls-ca"), NOW, &other, &e), e);
    struct certs cas = pool_of(ca);
    struct tls_ctx *s = server(false), *c = client((struct tls_config){.cas = &cas});
    struct certs strange = pool_of(other);
    struct tls_ctx *d = client((struct tls_config){.cas = &strange}), *loose = client((struct tls_config){.insecure = true}), *sys = client((struct tls_config){0});
    struct pair p;
    char why[300];
    EQ(shake(s, c, STR("example.org"), &p, why), -ERR_UNAUTHORIZED);
    OK(strstr(why, "not valid for the name"));
    unpair(&p);
    EQ(shake(s, c, STR("127.0.0.2"), &p, why), -ERR_UNAUTHORIZED);
    unpair(&p);
    EQ(shake(s, d, STR("localhost"), &p, why), -ERR_UNAUTHORIZED);
    unpair(&p);
    EQ(shake(s, sys, STR("localhost"), &p, why), -ERR_UNAUTHORIZED);
    OK(strstr(why, "unknown authority"));
    unpair(&p);
    EQ(shake(s, loose, STR("example.org"), &p, why), 0);
    unpair(&p);
    clock_fake_add(clk, 31 * 86400 * NS_PER_S);
    EQ(shake(s, c, STR("localhost"), &p, why), -ERR_UNAUTHORIZED);
    OK(strstr(why, "expired at"));
    unpair(&p);
    tls_ctx_free(s), tls_ctx_free(c), tls_ctx_free(d), tls_ctx_free(loose), tls_ctx_free(sys);
    ca_free(other);
    finish();
}

TEST(a_pin_on_leaf_or_authority_replaces_the_pool)
{
    begin();
    struct buf chain = BUF_INIT, leaf = BUF_INIT;
    buf_str_add(&leaf, buf_str(&cert));
    buf_str_add(&chain, buf_str(&cert));
    buf_str_add(&chain, ca_pem(ca));
    buf_clear(&cert);
    cert = chain;
    struct tls_ctx *s = server(false);
    struct tls_ctx *by_leaf = client((struct tls_config){.pin = key_id(key)}), *by_ca = client((struct tls_config){.pin = key_id(ca_key(ca))});
    char wrong_id[HASH_HEX];
    memset(wrong_id, 'a', sizeof wrong_id);
    struct tls_ctx *wrong = client((struct tls_config){.pin = str_make(wrong_id, HASH_HEX)});
    struct pair p;
    char why[300];
    EQ(shake(s, by_leaf, STR("any.name"), &p, why), 0);
    unpair(&p);
    EQ(shake(s, by_ca, STR("localhost"), &p, why), 0);
    unpair(&p);
    EQ(shake(s, by_ca, STR("any.name"), &p, why), -ERR_UNAUTHORIZED);
    unpair(&p);
    EQ(shake(s, wrong, STR("localhost"), &p, why), -ERR_UNAUTHORIZED);
    OK(strstr(why, "unknown authority"));
    unpair(&p);
    tls_ctx_free(s), tls_ctx_free(by_leaf), tls_ctx_free(by_ca), tls_ctx_free(wrong);
    buf_clear(&leaf);
    finish();
}

TEST(a_chain_that_only_shows_the_pinned_authority_is_refused)
{
    begin();
    struct ca *other = NULL;
    struct err *e = NULL;
    FINE(ca_make(STR("tls-ca"), NOW, &other, &e), e);
    buf_str_add(&cert, ca_pem(other)); /* the pinned CA stands in the chain but signed nothing in it */
    struct tls_ctx *s = server(false), *c = client((struct tls_config){.pin = key_id(ca_key(other))});
    struct pair p;
    char why[300];
    EQ(shake(s, c, STR("localhost"), &p, why), -ERR_UNAUTHORIZED);
    unpair(&p);
    tls_ctx_free(s), tls_ctx_free(c);
    ca_free(other);
    finish();
}

TEST(a_client_certificate_reaches_the_app_whoever_signed_it)
{
    begin();
    struct err *e = NULL;
    struct ca *other = NULL;
    FINE(ca_make(STR("stranger"), NOW, &other, &e), e);
    struct buf mine = BUF_INIT;
    struct cert_spec spec = {.cn = STR("bob"), .usages = CERT_SIGNATURE | CERT_CLIENT, .now = NOW};
    FINE(ca_issue(other, key, &spec, &mine, &e), e);
    struct certs cas = pool_of(ca);
    struct tls_ctx *s = server(true);
    struct tls_ctx *c = client((struct tls_config){.cas = &cas, .cert_pem = buf_str(&mine), .key_pem = buf_str(&key_text)});
    struct pair p;
    char why[300];
    EQ(shake(s, c, STR("localhost"), &p, why), 0);
    struct certs got = {0};
    FINE(tls_peer(p.s, &got, &e), e);
    EQ(got.n, 1);
    EQ_STR(cert_info(got.at[0])->cn, STR("bob"));
    EQ(cert_verify(&cas, &got, CERT_CLIENT, NOW, NULL), -ERR_UNAUTHORIZED);
    struct certs strange = pool_of(other);
    EQ(cert_verify(&strange, &got, CERT_CLIENT, NOW, NULL), 0);
    certs_clear(&got);
    unpair(&p);
    tls_ctx_free(s), tls_ctx_free(c);
    ca_free(other);
    buf_clear(&mine);
    finish();
}

TEST(reloading_changes_new_connections_and_keeps_old_ones)
{
    begin();
    _cleanup_(freep) char *c_path = xasprintf("%s/c", test_tmpdir()), *k_path = xasprintf("%s/k", test_tmpdir());
    struct err *e = NULL;
    FINE(file_replace(c_path, buf_str(&cert), 0644, &e), e);
    FINE(file_replace(k_path, buf_str(&key_text), 0600, &e), e);
    struct tls_config conf = {.server = true, .clock = clk, .cert_path = c_path, .key_path = k_path};
    struct tls_ctx *s = tls_ctx_new(&conf, &e);
    OK(s);
    struct certs cas = pool_of(ca);
    struct tls_ctx *c = client((struct tls_config){.cas = &cas});
    struct pair old, new;
    char why[300];
    EQ(shake(s, c, STR("localhost"), &old, why), 0);
    EQ(tls_ctx_reload(s, STR("rubbish"), STR("rubbish"), &e), -ERR_PARSE);
    err_free(TAKE(e));
    struct buf renewed = BUF_INIT;
    const struct str dns = STR("renewed");
    struct cert_spec spec = {.cn = STR("server"), .dns = &dns, .ndns = 1, .usages = CERT_SIGNATURE | CERT_SERVER, .now = NOW};
    FINE(ca_issue(ca, key, &spec, &renewed, &e), e);
    FINE(file_replace(c_path, buf_str(&renewed), 0644, &e), e);
    FINE(tls_ctx_reload(s, STR_NULL, STR_NULL, &e), e);
    EQ(shake(s, c, STR("renewed"), &new, why), 0);
    tls_ctx_free(s);
    EQ(SSL_write(old.s, "x", 1), 1);
    char got[8];
    EQ(SSL_read(old.c, got, 8), 1);
    unpair(&old), unpair(&new);
    tls_ctx_free(c);
    buf_clear(&renewed);
    finish();
}

TEST(a_certificate_without_its_key_is_refused_with_the_reason)
{
    begin();
    struct err *e = NULL;
    struct key *k = key_make(KEY_P256, NULL);
    struct buf other = BUF_INIT;
    key_pem(k, &other);
    struct tls_config c = {.server = true, .clock = clk, .cert_pem = buf_str(&cert), .key_pem = buf_str(&other)};
    OK(!tls_ctx_new(&c, &e));
    EQ_Z(err_msg(e), "TLS: certificate and key do not belong together");
    err_free(TAKE(e));
    c.key_pem = STR_NULL;
    OK(!tls_ctx_new(&c, &e));
    err_free(TAKE(e));
    c = (struct tls_config){.pin = STR("abc")};
    OK(!tls_ctx_new(&c, &e));
    err_free(e);
    key_free(k);
    crypto_wipe_buf(&other);
    finish();
}

TEST(tls_1_1_is_not_spoken)
{
    begin();
    struct tls_ctx *s = server(false), *c = client((struct tls_config){.insecure = true});
    SSL_CTX *x = tls_ctx_ssl(c);
    SSL_CTX_set_min_proto_version(x, TLS1_VERSION);
    SSL_CTX_set_max_proto_version(x, TLS1_1_VERSION);
    SSL_CTX_set_security_level(x, 0);
    SSL_CTX_set_cipher_list(x, "ALL:@SECLEVEL=0");
    SSL_CTX_free(x);
    struct pair p;
    char why[300];
    OK(shake(s, c, STR_NULL, &p, why) < 0);
    unpair(&p);
    tls_ctx_free(s), tls_ctx_free(c);
    finish();
}
