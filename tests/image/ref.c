#include "image/image.h"
#include "harness.h"

static void same(const char *in, const char *want)
{
    _cleanup_(buf_clear) struct buf b = BUF_INIT;
    _cleanup_(err_freep) struct err *e = NULL;
    FINE(image_ref_normalize(str_of(in), &b, &e), e);
    EQ_STR(buf_str(&b), str_of(want));
}

TEST(a_short_name_means_docker_hub_and_latest)
{
    same("nginx", "docker.io/library/nginx:latest");
    same("nginx:1.2", "docker.io/library/nginx:1.2");
    same("bitnami/redis", "docker.io/bitnami/redis:latest");
    same("index.docker.io/nginx", "docker.io/library/nginx:latest");
}

TEST(a_name_with_a_host_keeps_it)
{
    same("localhost/a:b", "localhost/a:b");
    same("registry:5000/a/b", "registry:5000/a/b:latest");
    same("quay.io/x@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
         "quay.io/x@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef");
}

TEST(what_is_no_name_is_refused)
{
    static const char *const bad[] = {"", "UPPER", "a//b", "a:", "a:b:c", "../x", "a b", "x@sha256:12", "-a", "a..b", "/a"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        _cleanup_(buf_clear) struct buf b = BUF_INIT;
        _cleanup_(err_freep) struct err *e = NULL;
        EQ(image_ref_normalize(str_of(bad[i]), &b, &e), -ERR_INVALID);
    }
}
