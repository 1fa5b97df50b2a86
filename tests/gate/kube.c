/* Where a cluster's API is and as whom to ask; and what a hub may ask for. */
#include "gate/kube.h"
#include <stdlib.h>
#include "base/file.h"
#include "crypto/key.h"
#include "gate/connect.h"
#include "harness.h"

static const char *open_error(const char *text, const char *socket_path)
{
    static char out[512];
    struct err *e = NULL;
    struct loop *l = loop_new(&e);
    struct clock *c = clock_fake(0);
    char path[600];
    snprintf(path, sizeof path, "%s/config", test_tmpdir());
    if (text)
        FINE(file_replace(path, str_of(text), 0600, &e), e);
    struct kube *k = kube_open(l, c, text ? path : NULL, socket_path, &e);
    snprintf(out, sizeof out, "%s", k ? kube_where(k) : err_msg(e));
    kube_close(k);
    err_free(e);
    clock_free(c);
    loop_free(l);
    return out;
}

#define CONFIG(cluster_, user_)                                                                                                            \
    "apiVersion: v1\nkind: Config\ncurrent-context: c\ncontexts: [{name: c, context: {cluster: k, user: u}}]\nclusters: [{name: k, "       \
    "cluster: {" cluster_ "}}]\nusers: [{name: u, user: {" user_ "}}]\n"

TEST(a_kubeconfig_says_where_and_as_whom_or_what_is_wrong_with_it)
{
    static const struct {
        const char *text, *part;
    } rows[] = {
        {CONFIG("server: 'https://10.0.0.1:6443', insecure-skip-tls-verify: true", "token: abc"), "https://10.0.0.1:6443"},
        {CONFIG("server: 'http://10.0.0.1'", "token: abc"), "must be an https:// URL"},
        {CONFIG("server: 'https://10.0.0.1/k8s/x'", "token: abc"), "with a path is not supported"},
        {CONFIG("server: 'https://10.0.0.1'", "exec: {command: aws}"), "users[].user.exec is not supported"},
        {CONFIG("server: 'https://10.0.0.1'", "username: a, password: b"), "users[].user.username is not supported"},
        {CONFIG("server: 'https://10.0.0.1', certificate-authority-data: '!'", "token: abc"), "certificate-authority-data is not base64"},
        {CONFIG("server: 'https://10.0.0.1', certificate-authority: nowhere.pem", "token: abc"), "certificate-authority"},
        {CONFIG("server: 'https://10.0.0.1'", "client-certificate-data: YWJj, client-key-data: YWJj"), "TLS to https://10.0.0.1"},
        {"current-context: nothing\n", "does not lead to a cluster and a user"},
        {"{", "config"},
        {"- a\n", "does not lead"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const char *got = open_error(rows[i].text, NULL);
        if (!strstr(got, rows[i].part))
            test_fail(__FILE__, __LINE__, "row %zu: \"%s\" without \"%s\"", i, got, rows[i].part);
    }
}

TEST(without_a_kubeconfig_it_is_the_local_socket_or_the_pods_own_account)
{
    unsetenv("KUBERNETES_SERVICE_HOST");
    OK(strstr(open_error(NULL, "/run/x.sock"), "/run/x.sock"));
    OK(strstr(open_error(NULL, NULL), "give --kubeconfig"));
}

TEST(a_token_file_is_read_anew_for_each_request)
{
    struct err *e = NULL;
    struct loop *l = loop_new(&e);
    struct clock *c = clock_fake(0);
    struct pool *p = pool_new();
    char path[600], text[2000], token[600];
    snprintf(path, sizeof path, "%s/config", test_tmpdir());
    snprintf(token, sizeof token, "%s/token", test_tmpdir());
    snprintf(text, sizeof text, CONFIG("server: 'https://10.0.0.1', insecure-skip-tls-verify: true", "tokenFile: '%s'"), token);
    FINE(file_replace(path, str_of(text), 0600, &e), e);
    struct kube *k = kube_open(l, c, path, NULL, &e);
    OK(k != NULL);
    OK(!kube_authorization(k, p).p);
    FINE(file_replace(token, STR("one\n"), 0600, &e), e);
    EQ_STR(kube_authorization(k, p), STR("Bearer one"));
    FINE(file_replace(token, STR("two"), 0600, &e), e);
    EQ_STR(kube_authorization(k, p), STR("Bearer two"));
    kube_close(k);
    pool_free(p);
    clock_free(c);
    loop_free(l);
}

TEST(a_hub_speaks_only_for_its_own_users_and_groups)
{
#define H(n_, v_)                                                                                                                          \
    {                                                                                                                                      \
        STR(n_), STR(v_)                                                                                                                   \
    }
    static const struct {
        struct http_header h[3];
        size_t n;
        bool fine;
    } rows[] = {
        {{H("impersonate-user", "hub:admin")}, 1, true},
        {{H("impersonate-user", "hub:admin"), H("impersonate-group", "hub:system:masters")}, 2, true},
        {{H("accept", "*/*")}, 1, false},
        {{H("impersonate-group", "hub:ops")}, 1, false},
        {{H("impersonate-user", "system:admin")}, 1, false},
        {{H("impersonate-user", "hub:")}, 1, false},
        {{H("impersonate-user", "")}, 1, false},
        {{H("impersonate-user", "Hub:admin")}, 1, false},
        {{H("impersonate-user", "hub:admin"), H("impersonate-group", "system:masters")}, 2, false},
        {{H("impersonate-user", "hub:admin"), H("impersonate-user", "system:admin")}, 2, false},
        {{H("impersonate-user", "hub:admin"), H("impersonate-uid", "hub:1")}, 2, false},
        {{H("impersonate-user", "hub:admin"), H("impersonate-extra-scopes", "hub:x")}, 2, false},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct http_req rq = {.headers = rows[i].h, .nheaders = rows[i].n};
        struct str why = STR_NULL;
        if (connect_permitted(&rq, &why) != rows[i].fine)
            test_fail(__FILE__, __LINE__, "row %zu", i);
        OK(rows[i].fine || why.n);
    }
}
