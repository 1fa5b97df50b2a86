#include "fixture.h"
#include "base/file.h"
#include <sys/stat.h>

static struct api_keys *open_keys(struct clock *c)
{
    static const struct str sans[] = {STR("example.test"), STR("192.0.2.7")};
    struct err *e = NULL;
    struct api_keys *k = NULL;
    struct api_keys_config cfg = {
        .dir = test_tmpdir(), .clock = c, .cluster_domain = STR("cluster.local"), .service_ip = STR("10.43.0.1"), .sans = sans, .nsans = 2};
    FINE(api_keys_open(&cfg, &k, &e), e);
    return k;
}

static void load(const char *name, struct certs *out)
{
    struct err *e = NULL;
    _cleanup_(freep) char *path = xasprintf("%s/%s", test_tmpdir(), name);
    FINE(certs_load(path, out, &e), e);
}

TEST(keys_are_made_once_and_found_again)
{
    struct clock *c = clock_fake(INT64_C(1800000000) * NS_PER_S);
    struct api_keys *k = open_keys(c);
    struct certs one = {0}, two = {0};
    load("serving-kube-apiserver.crt", &one);
    static const char *const names[] = {
        "kubernetes", "kubernetes.default.svc.cluster.local", "localhost", "127.0.0.1", "10.43.0.1", "example.test", "192.0.2.7"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        OK(cert_fits_host(one.at[0], str_of(names[i])));
    OK(!cert_fits_host(one.at[0], STR("elsewhere.test")));
    struct str hash = str_of(str_dup(api_keys_ca_hash(k)));
    api_keys_free(k);
    k = open_keys(c);
    load("serving-kube-apiserver.crt", &two);
    EQ_STR(cert_info(one.at[0])->fingerprint, cert_info(two.at[0])->fingerprint);
    EQ_STR(api_keys_ca_hash(k), hash);
    free((void *)(uintptr_t)hash.p);
    certs_clear(&one);
    certs_clear(&two);
    api_keys_free(k);
    clock_free(c);
}

TEST(certificates_are_renewed_with_a_third_of_their_life_left)
{
    struct clock *c = clock_fake(INT64_C(1800000000) * NS_PER_S);
    struct err *e = NULL;
    struct api_keys *k = open_keys(c);
    struct certs one = {0}, two = {0};
    load("serving-kube-apiserver.crt", &one);
    clock_fake_add(c, INT64_C(86400) * 200 * NS_PER_S);
    EQ(api_keys_renew(k, &e), 0);
    clock_fake_add(c, INT64_C(86400) * 60 * NS_PER_S);
    EQ(api_keys_renew(k, &e), 1);
    load("serving-kube-apiserver.crt", &two);
    OK(!str_eq(cert_info(one.at[0])->fingerprint, cert_info(two.at[0])->fingerprint));
    OK(cert_info(two.at[0])->not_after > cert_info(one.at[0])->not_after);
    certs_clear(&one);
    certs_clear(&two);
    api_keys_free(k);
    clock_free(c);
}

TEST(the_admins_kubeconfig_opens_the_door)
{
    struct fixture *f = fixture_new();
    struct err *e = NULL;
    struct buf b = BUF_INIT;
    FINE(api_admin_kubeconfig(f->api, &b, &e), e);
    OK(str_find(buf_str(&b), STR("server: https://127.0.0.1:6443\n")) >= 0);
    OK(str_find(buf_str(&b), STR("client-key-data: ")) >= 0);
    buf_clear(&b);
    struct stat st;
    EQ(stat(pool_printf(f->pool, "%s/tls/client-admin.key", test_tmpdir()).p, &st), 0);
    EQ(st.st_mode & 0777, 0600);
    fixture_free(f);
}
