#include <sys/stat.h>
#include "harness.h"
#include "base/clock.h"
#include "base/file.h"
#include "crypto/crypto.h"

#define NOW (INT64_C(1800000000) * NS_PER_S)
#define DAY (86400 * NS_PER_S)

static struct ca *make_ca(const char *cn)
{
    struct ca *ca = NULL;
    struct err *e = NULL;
    FINE(ca_make(str_of(cn), NOW, &ca, &e), e);
    return ca;
}

static void issue(const struct ca *ca, const struct cert_spec *spec, struct certs *out, struct key **key_out)
{
    struct err *e = NULL;
    _cleanup_(buf_clear) struct buf pem = BUF_INIT;
    struct key *k = key_make(KEY_P256, &e);
    OK(k);
    FINE(ca_issue(ca, k, spec, &pem, &e), e);
    FINE(certs_parse(buf_str(&pem), out, &e), e);
    EQ_STR(cert_info(out->at[0])->key_id, key_id(k));
    if (key_out)
        *key_out = k;
    else
        key_free(k);
}

static int check(const struct ca *ca, const struct certs *chain, unsigned usage, int64_t now, char *why)
{
    struct cert *anchor = ca_cert(ca);
    struct certs pool = {&anchor, 1};
    struct err *e = NULL;
    int r = cert_verify(&pool, chain, usage, now, &e);
    snprintf(why, 300, "%s", e ? err_msg(e) : "");
    err_free(e);
    return r;
}

static const struct str orgs[] = {{"system:masters", 14}, {"others", 6}};
static const struct cert_spec client = {.cn = {"alice", 5}, .orgs = orgs, .norgs = 2, .usages = CERT_SIGNATURE | CERT_CLIENT, .now = NOW, .lifetime = 30 * DAY};

TEST(a_client_certificate_carries_user_and_groups)
{
    _cleanup_(ca_freep) struct ca *ca = make_ca("test-ca");
    _cleanup_(certs_clear) struct certs chain = {0};
    char why[300];
    issue(ca, &client, &chain, NULL);
    const struct cert_info *i = cert_info(chain.at[0]);
    EQ_STR(i->cn, STR("alice"));
    EQ(i->norgs, 2);
    EQ_STR(i->orgs[0], STR("system:masters"));
    EQ_STR(i->orgs[1], STR("others"));
    OK(!i->is_ca && i->usages == (CERT_SIGNATURE | CERT_CLIENT));
    EQ(i->not_before, NOW - CERT_YEAR);
    EQ(i->not_after, NOW + 30 * DAY);
    EQ_STR(i->issuer, STR("CN=test-ca"));
    EQ_STR(i->subject, STR("CN=alice,O=others,O=system:masters"));
    EQ(check(ca, &chain, CERT_CLIENT, NOW, why), 0);
    EQ(check(ca, &chain, 0, NOW, why), 0);
}

TEST(the_callers_clock_decides_about_validity)
{
    _cleanup_(ca_freep) struct ca *ca = make_ca("test-ca");
    _cleanup_(certs_clear) struct certs chain = {0};
    char why[300];
    issue(ca, &client, &chain, NULL);
    EQ(check(ca, &chain, CERT_CLIENT, NOW + 29 * DAY, why), 0);
    EQ(check(ca, &chain, CERT_CLIENT, NOW - 360 * DAY, why), 0);
    EQ(check(ca, &chain, CERT_CLIENT, NOW + 31 * DAY, why), -ERR_UNAUTHORIZED);
    OK(strstr(why, "alice") && strstr(why, "expired at 2027-02-14"));
    EQ(check(ca, &chain, CERT_CLIENT, NOW - 366 * DAY, why), -ERR_UNAUTHORIZED);
    OK(strstr(why, "not valid before 2026-01-15"));
}

TEST(another_authority_and_another_use_are_refused)
{
    _cleanup_(ca_freep) struct ca *ca = make_ca("test-ca"), *same_name = make_ca("test-ca"), *other = make_ca("other-ca");
    _cleanup_(certs_clear) struct certs chain = {0}, self = {0};
    char why[300];
    issue(ca, &client, &chain, NULL);
    EQ(check(other, &chain, CERT_CLIENT, NOW, why), -ERR_UNAUTHORIZED);
    OK(strstr(why, "unknown authority"));
    EQ(check(same_name, &chain, CERT_CLIENT, NOW, why), -ERR_UNAUTHORIZED);
    EQ(check(ca, &chain, CERT_SERVER, NOW, why), -ERR_UNAUTHORIZED);
    OK(strstr(why, "not made for this use"));
    EQ(check(ca, &self, CERT_CLIENT, NOW, why), -ERR_UNAUTHORIZED);
    certs_add(&self, cert_ref(ca_cert(other)));
    EQ(check(ca, &self, 0, NOW, why), -ERR_UNAUTHORIZED);
}

TEST(a_leaf_cannot_act_as_an_authority)
{
    _cleanup_(ca_freep) struct ca *ca = make_ca("test-ca");
    _cleanup_(certs_clear) struct certs leaf = {0};
    _cleanup_(key_freep) struct key *k = NULL;
    issue(ca, &client, &leaf, &k);
    _cleanup_(crypto_wipe_buf) struct buf cert = BUF_INIT, key = BUF_INIT;
    cert_pem(leaf.at[0], &cert);
    key_pem(k, &key);
    struct ca *fake = NULL;
    struct err *e = NULL;
    EQ(ca_parse(buf_str(&cert), buf_str(&key), &fake, &e), -ERR_PARSE);
    OK(strstr(err_msg(e), "not that of a CA"));
    err_free(TAKE(e));
    EQ(ca_parse(ca_pem(ca), buf_str(&key), &fake, &e), -ERR_PARSE);
    OK(strstr(err_msg(e), "do not belong together"));
    err_free(e);
}

TEST(a_server_certificate_fits_its_names_and_addresses)
{
    _cleanup_(ca_freep) struct ca *ca = make_ca("test-ca");
    _cleanup_(certs_clear) struct certs chain = {0};
    const struct str dns[] = {STR("kubernetes.default.svc"), STR("*.example.org"), STR("10.43.0.1")}, ips[] = {STR("127.0.0.1"), STR("::1")};
    struct cert_spec spec = {.cn = STR("server"), .dns = dns, .ndns = 3, .ips = ips, .nips = 2, .usages = CERT_SIGNATURE | CERT_SERVER, .now = NOW};
    char why[300];
    issue(ca, &spec, &chain, NULL);
    const struct cert *c = chain.at[0];
    EQ(cert_info(c)->ndns, 2);
    EQ(cert_info(c)->nips, 3);
    EQ_STR(cert_info(c)->ips[0], STR("10.43.0.1"));
    EQ_STR(cert_info(c)->ips[2], STR("::1"));
    OK(cert_fits_host(c, STR("Kubernetes.default.svc")) && cert_fits_host(c, STR("a.example.org")) && cert_fits_host(c, STR("10.43.0.1")) &&
        cert_fits_host(c, STR("::1")));
    OK(!cert_fits_host(c, STR("a.b.example.org")) && !cert_fits_host(c, STR("server")) && !cert_fits_host(c, STR("10.43.0.2")) &&
        !cert_fits_host(c, STR("")) && !cert_fits_host(c, STR("kubernetes.default.svc\0.evil.org")));
    EQ(check(ca, &chain, CERT_SERVER, NOW, why), 0);
    EQ(cert_info(c)->not_after, NOW + CERT_YEAR);
}

TEST(names_that_are_no_names_are_refused)
{
    _cleanup_(ca_freep) struct ca *ca = make_ca("test-ca");
    _cleanup_(key_freep) struct key *k = key_make(KEY_P256, NULL);
    static const struct str bad[] = {{"a b", 3}, {"", 0}, {"x\0y", 3}, {"a*b.c", 5}, {"http://x", 8}};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct cert_spec spec = {.dns = &bad[i], .ndns = 1, .now = NOW};
        _cleanup_(buf_clear) struct buf pem = BUF_INIT;
        EQ(ca_issue(ca, k, &spec, &pem, NULL), -ERR_INVALID);
    }
    struct cert_spec ip = {.ips = (struct str[]){STR("256.1.1.1")}, .nips = 1, .now = NOW}, cn = {.cn = STR("a\0b"), .now = NOW},
        text = {.cn = STR("\xff\xfe"), .now = NOW};
    _cleanup_(buf_clear) struct buf pem = BUF_INIT;
    EQ(ca_issue(ca, k, &ip, &pem, NULL), -ERR_INVALID);
    EQ(ca_issue(ca, k, &cn, &pem, NULL), -ERR_INVALID);
    EQ(ca_issue(ca, k, &text, &pem, NULL), -ERR_INVALID);
    EQ(pem.n, 0);
}

TEST(a_long_node_name_is_a_name)
{
    _cleanup_(ca_freep) struct ca *ca = make_ca("test-ca");
    _cleanup_(certs_clear) struct certs chain = {0};
    char long_name[260];
    memset(long_name, 'n', sizeof long_name);
    struct cert_spec spec = client;
    spec.cn = str_make(long_name, 250);
    char why[300];
    issue(ca, &spec, &chain, NULL);
    EQ_STR(cert_info(chain.at[0])->cn, spec.cn);
    EQ(check(ca, &chain, CERT_CLIENT, NOW, why), 0);
}

TEST(lifetimes_end_with_the_authority_and_an_expired_one_issues_nothing)
{
    _cleanup_(ca_freep) struct ca *ca = make_ca("test-ca");
    _cleanup_(certs_clear) struct certs chain = {0};
    struct cert_spec spec = client;
    spec.lifetime = 50 * CERT_YEAR;
    issue(ca, &spec, &chain, NULL);
    EQ(cert_info(chain.at[0])->not_after, cert_info(ca_cert(ca))->not_after);
    EQ(cert_info(ca_cert(ca))->not_after, NOW + 10 * CERT_YEAR);
    _cleanup_(key_freep) struct key *k = key_make(KEY_P256, NULL);
    _cleanup_(buf_clear) struct buf pem = BUF_INIT;
    spec.now = NOW + 11 * CERT_YEAR;
    EQ(ca_issue(ca, k, &spec, &pem, NULL), -ERR_INVALID);
}

TEST(a_request_keeps_its_subject_and_gets_the_usages_given)
{
    _cleanup_(ca_freep) struct ca *ca = make_ca("test-ca");
    _cleanup_(key_freep) struct key *k = key_make(KEY_P256, NULL);
    _cleanup_(buf_clear) struct buf req = BUF_INIT, pem = BUF_INIT;
    _cleanup_(csr_freep) struct csr *r = NULL;
    _cleanup_(certs_clear) struct certs chain = {0};
    struct err *e = NULL;
    struct cert_spec want = {.cn = STR("system:node:n1"), .orgs = &(struct str){"system:nodes", 12}, .norgs = 1,
        .dns = &(struct str){"n1", 2}, .ndns = 1, .ips = &(struct str){"10.0.0.7", 8}, .nips = 1};
    FINE(csr_make(k, &want, &req, &e), e);
    FINE(csr_parse(buf_str(&req), &r, &e), e);
    EQ_STR(csr_info(r)->cn, want.cn);
    EQ_STR(csr_info(r)->orgs[0], STR("system:nodes"));
    EQ_STR(csr_info(r)->dns[0], STR("n1"));
    EQ_STR(csr_info(r)->key_id, key_id(k));
    struct cert_spec grant = {.usages = cert_usage_of(STR("digital signature")) | cert_usage_of(STR("client auth")) | CERT_SIGN, .now = NOW, .lifetime = DAY};
    FINE(ca_sign_csr(ca, r, &grant, &pem, &e), e);
    FINE(certs_parse(buf_str(&pem), &chain, &e), e);
    const struct cert_info *i = cert_info(chain.at[0]);
    EQ_STR(i->cn, want.cn);
    EQ_STR(i->ips[0], STR("10.0.0.7"));
    EQ(i->not_after, NOW + DAY);
    OK(!i->is_ca && i->usages == (CERT_SIGNATURE | CERT_CLIENT));
    /* one bit of the signature */
    char *at = strstr(req.p, "-----END") - 8;
    *at = *at == 'A' ? 'B' : 'A';
    struct csr *none = NULL;
    EQ(csr_parse(buf_str(&req), &none, &e), -ERR_PARSE);
    err_free(e);
    EQ(cert_usage_of(STR("ipsec user")), 0);
}

TEST(a_request_for_an_authority_gets_a_leaf)
{
    _cleanup_(freep) char *cmd = xasprintf("cd %s && openssl req -new -newkey rsa:2048 -nodes -keyout k -subj /O=g/CN=evil -addext basicConstraints=critical,CA:TRUE "
        "-addext subjectAltName=DNS:a.b,email:x@y.z,otherName:1.2.3.4\\;UTF8:hidden -out r 2>/dev/null", test_tmpdir());
    const char *const argv[] = {"sh", "-c", cmd, NULL};
    EQ(spawn_wait(argv, NULL, 0, 60000, NULL), 0);
    _cleanup_(freep) char *path = xasprintf("%s/r", test_tmpdir());
    _cleanup_(buf_clear) struct buf req = BUF_INIT, pem = BUF_INIT;
    _cleanup_(ca_freep) struct ca *ca = make_ca("test-ca");
    _cleanup_(csr_freep) struct csr *r = NULL;
    _cleanup_(certs_clear) struct certs chain = {0};
    struct err *e = NULL;
    FINE(file_read(path, 65536, &req, &e), e);
    FINE(csr_parse(buf_str(&req), &r, &e), e);
    struct cert_spec grant = {.usages = CERT_CLIENT, .now = NOW};
    FINE(ca_sign_csr(ca, r, &grant, &pem, &e), e);
    FINE(certs_parse(buf_str(&pem), &chain, &e), e);
    OK(!cert_info(chain.at[0])->is_ca);
    EQ_STR(cert_info(chain.at[0])->emails[0], STR("x@y.z"));
}

TEST(an_authority_is_saved_and_found_again)
{
    _cleanup_(freep) char *c = xasprintf("%s/ca.crt", test_tmpdir()), *k = xasprintf("%s/ca.key", test_tmpdir());
    _cleanup_(ca_freep) struct ca *a = NULL, *b = NULL;
    struct err *e = NULL;
    FINE(ca_load_or_make(c, k, STR("x"), NOW, &a, &e), e);
    FINE(ca_load_or_make(c, k, STR("y"), NOW, &b, &e), e);
    EQ_STR(ca_pem(a), ca_pem(b));
    EQ_STR(cert_info(ca_cert(b))->cn, STR("x"));
    struct stat st;
    EQ(stat(k, &st), 0);
    EQ(st.st_mode & 07777, 0600);
    EQ(stat(c, &st), 0);
    EQ(st.st_mode & 07777, 0644);
}

TEST(openssl_itself_accepts_what_we_issue)
{
    _cleanup_(ca_freep) struct ca *ca = make_ca("test-ca");
    _cleanup_(certs_clear) struct certs chain = {0};
    const struct str dns = STR("localhost");
    struct cert_spec spec = {.cn = STR("s"), .dns = &dns, .ndns = 1, .usages = CERT_SIGNATURE | CERT_SERVER, .now = NOW};
    issue(ca, &spec, &chain, NULL);
    _cleanup_(freep) char *c = xasprintf("%s/ca", test_tmpdir()), *l = xasprintf("%s/leaf", test_tmpdir());
    _cleanup_(buf_clear) struct buf pem = BUF_INIT, out = BUF_INIT;
    struct err *e = NULL;
    cert_pem(chain.at[0], &pem);
    FINE(file_replace(c, ca_pem(ca), 0644, &e), e);
    FINE(file_replace(l, buf_str(&pem), 0644, &e), e);
    const char *const argv[] = {"openssl", "verify", "-x509_strict", "-attime", "1800000000", "-purpose", "sslserver", "-verify_hostname", "localhost",
        "-CAfile", c, l, NULL};
    int r = spawn_wait(argv, &out, 4096, 60000, &e);
    if (r)
        test_fail(__FILE__, __LINE__, "openssl: %.*s", STR_ARG(buf_str(&out)));
}

TEST(damaged_and_missing_certificates_are_told_apart)
{
    _cleanup_(ca_freep) struct ca *ca = make_ca("test-ca");
    _cleanup_(certs_clear) struct certs l = {0};
    _cleanup_(buf_clear) struct buf two = BUF_INIT, der = BUF_INIT;
    struct err *e = NULL;
    EQ(certs_parse(STR("nothing here"), &l, &e), -ERR_PARSE);
    OK(strstr(err_msg(e), "there is none"));
    err_free(TAKE(e));
    buf_str_add(&two, ca_pem(ca));
    buf_puts(&two, "-----BEGIN CERTIFICATE-----\nMIIB!!!\n-----END CERTIFICATE-----\n");
    EQ(certs_parse(buf_str(&two), &l, &e), -ERR_PARSE);
    OK(strstr(err_msg(e), "damaged"));
    err_free(TAKE(e));
    EQ(l.n, 0);
    cert_der(ca_cert(ca), &der);
    FINE(certs_parse(buf_str(&der), &l, &e), e);
    EQ_STR(cert_info(l.at[0])->fingerprint, cert_info(ca_cert(ca))->fingerprint);
    buf_putc(&der, 0);
    EQ(certs_parse(buf_str(&der), &l, NULL), -ERR_PARSE);
    EQ(l.n, 1);
}
