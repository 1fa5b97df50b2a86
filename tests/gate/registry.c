/* Names, challenges, credentials, manifests and registries.yaml: everything about registries that needs no registry. */
#include "base/buf.h"
#include "base/file.h"
#include "gate/registries_yaml.h"
#include "gate/registry_challenge.h"
#include "gate/registry_manifest.h"
#include "harness.h"

#define D1 "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define D2 "sha256:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
#define D3 "sha256:cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc"
#if defined(__x86_64__)
#define HERE "amd64"
#elif defined(__aarch64__)
#define HERE "arm64"
#else
#define HERE "arm"
#endif

static struct registry_image image(struct pool *p, const char *ref)
{
    struct registry_image i;
    struct err *e = NULL;
    FINE(registry_image_parse(p, str_of(ref), &i, &e), e);
    return i;
}

TEST(references_are_taken_apart_in_their_long_form)
{
    static const struct {
        const char *ref, *host, *repository, *tag, *digest;
    } rows[] = {
        {"nginx", "docker.io", "library/nginx", "latest", ""},
        {"me/app:v1", "docker.io", "me/app", "v1", ""},
        {"reg.example.com:5000/a/b", "reg.example.com:5000", "a/b", "latest", ""},
        {"localhost/x@" D1, "localhost", "x", "", D1},
        {"quay.io/x/y:1.2@" D1, "quay.io", "x/y", "1.2", D1},
    };
    struct pool *p = pool_new();
    for (size_t k = 0; k < ARRAY_LEN(rows); k++) {
        struct registry_image i = image(p, rows[k].ref);
        EQ_Z(pool_strz(p, i.host), rows[k].host);
        EQ_Z(pool_strz(p, i.repository), rows[k].repository);
        EQ_Z(pool_strz(p, i.tag), rows[k].tag);
        EQ_Z(pool_strz(p, i.digest), rows[k].digest);
    }
    struct registry_image i;
    EQ(registry_image_parse(p, STR("Bad Name"), &i, NULL), -ERR_INVALID);
    EQ(registry_image_parse(p, STR("x@sha256:short"), &i, NULL), -ERR_INVALID);
    EQ_STR(registry_image_tagged(p, STR("busybox")), STR("busybox:latest"));
    EQ_STR(registry_image_tagged(p, STR("reg:5000/busybox")), STR("reg:5000/busybox:latest"));
    EQ_STR(registry_image_tagged(p, STR("busybox:1")), STR("busybox:1"));
    pool_free(p);
}

TEST(urls_are_http_or_https_without_users_and_with_real_ports)
{
    static const char *const bad[] = {
        "ftp://x/", "https://", "https://user:pw@host/", "https://h:0/", "https://h:70000/", "https://h/a b", "https://[::1/", "x", ""};
    struct pool *p = pool_new();
    struct registry_url u, v;
    struct err *e = NULL;
    FINE(registry_url_parse(p, STR("https://Reg.example.com/v2/x?y=1#z"), &u, &e), e);
    OK(u.tls);
    EQ(u.port, 443);
    EQ_STR(u.path, STR("/v2/x?y=1"));
    FINE(registry_url_join(p, &u, STR("/other?a"), &v, &e), e);
    EQ_STR(v.path, STR("/other?a"));
    OK(registry_url_same(&u, &v));
    FINE(registry_url_join(p, &u, STR("//cdn.example.com/b"), &v, &e), e);
    OK(v.tls && !registry_url_same(&u, &v));
    FINE(registry_url_join(p, &u, STR("http://reg.example.com:443/b"), &v, &e), e);
    OK(!registry_url_same(&u, &v));
    FINE(registry_url_parse(p, STR("http://[::1]:5000"), &u, &e), e);
    EQ_STR(u.host, STR("::1"));
    EQ(u.port, 5000);
    EQ_STR(registry_url_host(p, &u), STR("[::1]:5000"));
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        if (registry_url_parse(p, str_of(bad[i]), &u, NULL) >= 0)
            test_fail(__FILE__, __LINE__, "\"%s\" was taken", bad[i]);
    OK(registry_url_join(p, &u, STR("relative"), &v, NULL) < 0);
    pool_free(p);
}

TEST(challenges_are_read_as_registries_send_them)
{
    struct pool *p = pool_new();
    struct registry_challenge c[4];
    size_t n = registry_challenges(
        p, STR("Bearer realm=\"https://auth.docker.io/token\",service=\"registry.docker.io\",scope=\"repository:library/x:pull\""), c, 4);
    EQ(n, 1);
    EQ_STR(c[0].realm, STR("https://auth.docker.io/token"));
    EQ_STR(c[0].service, STR("registry.docker.io"));
    EQ_STR(c[0].scope, STR("repository:library/x:pull"));
    n = registry_challenges(p, STR("Basic realm=\"a \\\"b\\\", c\", BEARER Realm = x , service=y"), c, 4);
    EQ(n, 2);
    EQ_STR(c[0].realm, STR("a \"b\", c"));
    EQ_STR(c[1].realm, STR("x"));
    OK(registry_challenge_pick(c, n) == &c[1]);
    n = registry_challenges(p, STR("Negotiate YWJjZA==, Basic realm=\"r\""), c, 4);
    EQ(n, 2);
    OK(registry_challenge_pick(c, n) == &c[1]);
    EQ(registry_challenges(p, STR("Bearer realm=\"never closed"), c, 4), 1);
    OK(!registry_challenge_pick(c, 1)); /* a Bearer without a realm cannot be answered */
    EQ(registry_challenges(p, STR("a, b, c, d, e, f"), c, 4), 4);
    EQ(registry_challenges(p, STR(""), c, 4), 0);
    pool_free(p);
}

TEST(tokens_that_would_break_a_header_are_refused)
{
    struct pool *p = pool_new();
    struct str t;
    struct err *e = NULL;
    FINE(registry_token_parse(p, STR("{\"token\":\"abc\"}"), &t, &e), e);
    EQ_STR(t, STR("abc"));
    FINE(registry_token_parse(p, STR("{\"access_token\":\"def\",\"expires_in\":300}"), &t, &e), e);
    EQ_STR(t, STR("def"));
    EQ(registry_token_parse(p, STR("{\"token\":\"a\\r\\nHost: x\"}"), &t, NULL), -ERR_PARSE);
    EQ(registry_token_parse(p, STR("{}"), &t, NULL), -ERR_PARSE);
    EQ(registry_token_parse(p, STR("<html>"), &t, NULL), -ERR_PARSE);
    EQ_STR(registry_error_text(p, STR("{\"errors\":[{\"code\":\"MANIFEST_UNKNOWN\",\"message\":\"manifest unknown\"}]}")),
        STR("MANIFEST_UNKNOWN: manifest unknown"));
    EQ(registry_error_text(p, STR("oops")).n, 0);
    pool_free(p);
}

TEST(credentials_go_to_the_images_that_their_key_fits)
{
    static const struct {
        const char *key, *ref;
        bool fits;
    } rows[] = {
        {"https://index.docker.io/v1/", "nginx", true},
        {"docker.io", "me/app", true},
        {"quay.io", "nginx", false},
        {"quay.io", "quay.io/a/b", true},
        {"quay.io/a", "quay.io/a/b", true},
        {"quay.io/c", "quay.io/a/b", false},
        {"reg.example.com", "reg.example.com:5000/x", false},
        {"reg.example.com:5000", "reg.example.com:5000/x", true},
        {"*.example.com", "reg.example.com/x", true},
        {"*.example.com", "a.b.example.com/x", false},
        {"*.example.com", "evil-example.com/x", false},
        {"https://reg.example.com/v2/team", "reg.example.com/team/x", true},
    };
    struct pool *p = pool_new();
    for (size_t k = 0; k < ARRAY_LEN(rows); k++) {
        struct registry_image i = image(p, rows[k].ref);
        if (registry_key_fits(p, str_of(rows[k].key), &i) != rows[k].fits)
            test_fail(__FILE__, __LINE__, "key %s and image %s", rows[k].key, rows[k].ref);
    }
    struct registry_image i = image(p, "quay.io/a/b");
    struct registry_creds c = {0};
    struct err *e = NULL;
    FINE(registry_creds_add(p,
             STR("{\"auths\":{\"quay.io\":{\"auth\":\"dTpwOnc=\"},\"other.io\":{\"username\":\"no\"},\"quay.io/"
                 "a\":{\"username\":\"team\",\"password\":\"x\"}}}"),
             &i, &c, &e),
        e);
    EQ(c.n, 2);
    EQ_STR(c.at[0].username, STR("team")); /* the more specific key first */
    EQ_STR(c.at[1].username, STR("u"));
    EQ_STR(c.at[1].password, STR("p:w"));
    FINE(registry_creds_add(p, STR("{\"https://quay.io\":{\"username\":\"old\",\"password\":\"y\"}}"), &i, &c, &e), e); /* dockercfg */
    EQ(c.n, 3);
    OK(registry_creds_add(p, STR("not json"), &i, &c, NULL) < 0);
    pool_free(p);
}

TEST(manifests_say_what_to_fetch_and_indexes_what_fits_this_machine)
{
    struct pool *p = pool_new();
    struct registry_manifest m;
    struct err *e = NULL;
    FINE(registry_manifest_parse(p,
             STR("{\"schemaVersion\":2,\"config\":{\"digest\":\"" D1 "\",\"size\":7},\"layers\":[{\"digest\":\"" D2
                 "\",\"size\":8},{\"digest\":\"" D3 "\",\"size\":9}]}"),
             &m, &e),
        e);
    EQ(m.nlayers, 2);
    EQ(m.config.size, 7);
    EQ_STR(m.layers[1].digest, STR(D3));
    FINE(registry_manifest_parse(p,
             STR("{\"manifests\":[{\"digest\":\"" D1 "\",\"size\":1,\"platform\":{\"os\":\"windows\",\"architecture\":\"" HERE "\"}},"
                 "{\"digest\":\"" D2 "\",\"size\":1,\"platform\":{\"os\":\"linux\",\"architecture\":\"" HERE "\"}}]}"),
             &m, &e),
        e);
    EQ_STR(m.picked.digest, STR(D2));
    EQ(registry_manifest_parse(p,
           STR("{\"manifests\":[{\"digest\":\"" D1 "\",\"size\":1,\"platform\":{\"os\":\"linux\",\"architecture\":\"s390x\"}}]}"), &m,
           NULL),
        -ERR_NOT_FOUND);
    pool_free(p);
}

TEST(manifests_with_bad_digests_sizes_or_kinds_are_refused)
{
    static const char *const bad[] = {
        "[]",
        "{}",
        "{\"schemaVersion\":1,\"fsLayers\":[]}",
        "{\"config\":{\"digest\":\"sha256:../../etc/passwd\",\"size\":1},\"layers\":[]}",
        "{\"config\":{\"digest\":\"sha512:" D1 "\",\"size\":1},\"layers\":[]}",
        "{\"config\":{\"digest\":\"" D1 "\",\"size\":-1},\"layers\":[]}",
        "{\"config\":{\"digest\":\"" D1 "\"},\"layers\":[]}",
        "{\"config\":{\"digest\":\"" D1 "\",\"size\":99999999},\"layers\":[]}",
        "{\"config\":{\"digest\":\"" D1 "\",\"size\":1},\"layers\":[{\"digest\":\"" D2 "\",\"size\":1e30}]}",
        "{\"config\":{\"digest\":\"" D1 "\",\"size\":1},\"layers\":[{\"digest\":\"" D2
        "\",\"size\":1,\"mediaType\":\"application/vnd.docker.image.rootfs.foreign.diff.tar.gzip\"}]}",
    };
    struct pool *p = pool_new();
    struct registry_manifest m;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        if (registry_manifest_parse(p, str_of(bad[i]), &m, NULL) >= 0)
            test_fail(__FILE__, __LINE__, "taken: %s", bad[i]);
    _cleanup_(buf_clear) struct buf b = BUF_INIT;
    buf_puts(&b, "{\"config\":{\"digest\":\"" D1 "\",\"size\":1},\"layers\":[");
    for (int i = 0; i < 1000; i++)
        buf_printf(&b, "%s{\"digest\":\"" D2 "\",\"size\":1}", i ? "," : "");
    buf_puts(&b, "]}");
    EQ(registry_manifest_parse(p, buf_str(&b), &m, NULL), -ERR_LIMIT);
    pool_free(p);
}

static struct str where(struct pool *p, const struct registries *r, const char *ref)
{
    struct registry_endpoint ep[REGISTRY_ENDPOINTS_MAX];
    struct registry_image i = image(p, ref);
    struct buf b = BUF_INIT;
    size_t n = registries_endpoints(r, p, &i, ep);
    for (size_t k = 0; k < n; k++)
        buf_printf(&b, "%s%s://%.*s%.*s/%.*s%s", k ? " " : "", ep[k].url.tls ? "https" : "http", STR_ARG(registry_url_host(p, &ep[k].url)),
            STR_ARG(ep[k].url.path), STR_ARG(ep[k].repository), ep[k].mirror ? "+" : "");
    return buf_to_pool(&b, p);
}

TEST(registries_yaml_names_other_places_in_order_and_the_registry_last)
{
    struct pool *p = pool_new();
    struct registries *r = NULL;
    struct err *e = NULL;
    FINE(registries_parse(STR("mirrors:\n"
                              "  docker.io:\n"
                              "    endpoint: [\"https://m1:5000\", \"http://m2/v2/proxy/\"]\n"
                              "    rewrite: {\"^library/(.*)\": \"copies/$1\", \"^(a)/(b)$\": \"${2}-$1\"}\n"
                              "  reg:5000:\n"
                              "    endpoint: [\"http://reg:5000\"]\n"
                              "  \"*\":\n"
                              "    endpoint: [\"any.example.com\"]\n"),
             &r, &e),
        e);
    EQ_STR(where(p, r, "nginx"),
        STR("https://m1:5000/v2/copies/nginx+ http://m2/v2/proxy/copies/nginx+ https://registry-1.docker.io/v2/library/nginx"));
    EQ_STR(where(p, r, "a/b"), STR("https://m1:5000/v2/b-a+ http://m2/v2/proxy/b-a+ https://registry-1.docker.io/v2/a/b"));
    EQ_STR(where(p, r, "reg:5000/x"), STR("http://reg:5000/v2/x"));
    EQ_STR(where(p, r, "quay.io/x/y"), STR("https://any.example.com/v2/x/y+ https://quay.io/v2/x/y"));
    registries_mirrors_only(r);
    EQ_STR(where(p, r, "quay.io/x/y"), STR("https://any.example.com/v2/x/y+"));
    EQ_STR(where(p, r, "reg:5000/x"), STR("http://reg:5000/v2/x")); /* named among its own mirrors: it is one */
    registries_free(r);
    FINE(registries_parse(STR(""), &r, &e), e);
    registries_mirrors_only(r);
    EQ_STR(where(p, r, "localhost:5000/x"), STR("http://localhost:5000/v2/x")); /* without mirrors there is nothing else to ask */
    EQ_STR(where(p, r, "127.0.0.1:5000/x"), STR("http://127.0.0.1:5000/v2/x"));
    registries_free(r);
    pool_free(p);
}

TEST(registries_yaml_says_how_to_speak_to_each_host)
{
    struct pool *p = pool_new();
    struct registries *r = NULL;
    struct registry_url u;
    struct err *e = NULL;
    FINE(registries_parse(STR("configs:\n"
                              "  m1:5000:\n"
                              "    auth: {username: u, password: p}\n"
                              "    tls: {insecure_skip_verify: true}\n"
                              "  quay.io:\n"
                              "    auth: {auth: dTpwOnc=}\n"),
             &r, &e),
        e);
    FINE(registry_url_parse(p, STR("https://m1:5000/v2"), &u, &e), e);
    const struct registry_config *c = registries_config(r, p, &u);
    OK(c && c->has_auth && c->insecure);
    EQ_STR(c->auth.password, STR("p"));
    FINE(registry_url_parse(p, STR("https://quay.io"), &u, &e), e);
    c = registries_config(r, p, &u);
    OK(c && c->has_auth && !c->has_tls);
    EQ_STR(c->auth.password, STR("p:w"));
    FINE(registry_url_parse(p, STR("https://m1:5001"), &u, &e), e);
    OK(!registries_config(r, p, &u));
    registries_free(r);
    pool_free(p);
}

TEST(registries_yaml_with_mistakes_names_them)
{
    static const struct {
        const char *text, *part;
    } rows[] = {
        {"mirors: {}", "\"mirors\" is not known"},
        {"mirrors: {x: {rewrites: {a: b}}}", "mirrors x: \"rewrites\" is not known"},
        {"mirrors: {x: {endpoint: \"http://y\"}}", "endpoint must be a list"},
        {"mirrors: {x: {endpoint: [\"ftp://y\"]}}", "mirrors x: endpoint: "},
        {"mirrors: {x: {rewrite: {\"(\": b}}}", "rewrite \"(\""},
        {"configs: {x: {tls: {ca_file: /nonexistent/ca}}}", "configs x: ca_file"},
        {"configs: {x: {auth: {auth: \"!\"}}}", "configs x: auth"},
        {"- a", "must be a map"},
        {"a: [", "line"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct registries *r = NULL;
        _cleanup_(err_freep) struct err *e = NULL;
        if (registries_parse(str_of(rows[i].text), &r, &e) >= 0)
            test_fail(__FILE__, __LINE__, "taken: %s", rows[i].text);
        if (e && str_find(str_of(err_msg(e)), str_of(rows[i].part)) < 0)
            test_fail(__FILE__, __LINE__, "%s: %s", rows[i].text, err_msg(e));
        registries_free(r);
    }
}

TEST(what_stands_under_a_star_is_for_hosts_that_are_not_named)
{
    struct pool *p = pool_new();
    struct registries *r = NULL;
    struct err *e = NULL;
    struct registry_url named, other;
    FINE(registries_parse(STR("configs:\n  \"*\": {tls: {insecure_skip_verify: true}}\n  a.example.com: {auth: {username: u, password: p}}\n"), &r, &e), e);
    FINE(registry_url_parse(p, STR("https://a.example.com/v2"), &named, &e), e);
    FINE(registry_url_parse(p, STR("https://b.example.com/v2"), &other, &e), e);
    OK(!registries_config(r, p, &named)->insecure);
    EQ_STR(registries_config(r, p, &named)->auth.username, STR("u"));
    OK(registries_config(r, p, &other)->insecure);
    registries_free(r);
    pool_free(p);
}
