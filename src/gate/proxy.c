/* /proxy/{http|https}/{address}/{port}/{path}: a plain request to a server in the pod network, for the api room's pods/proxy and
 * services/proxy. TLS is not verified, as with kubelets: pods have no names that a certificate could be checked for. Addresses of this
 * machine itself (loopback, link-local) are nobody's pod. */
#include <arpa/inet.h>
#include <stdlib.h>

#include "crypto/tls.h"
#include "gate/relay.h"
#include "gate/serve.h"

#define HEAD_MS 65000

struct proxy {
    struct http_client *client;
    struct tls_ctx *tls;
};

static void proxy_free(void *arg)
{
    struct proxy *x = arg;
    http_client_free(x->client);
    tls_ctx_free(x->tls);
    free(x);
}

static bool address_ok(const char *text)
{
    struct in6_addr six;
    struct in_addr four;
    if (inet_pton(AF_INET6, text, &six) == 1) {
        if (!IN6_IS_ADDR_V4MAPPED(&six))
            return !IN6_IS_ADDR_LOOPBACK(&six) && !IN6_IS_ADDR_LINKLOCAL(&six) && !IN6_IS_ADDR_MULTICAST(&six) &&
                   !IN6_IS_ADDR_UNSPECIFIED(&six);
        memcpy(&four, six.s6_addr + 12, sizeof four);
    } else if (inet_pton(AF_INET, text, &four) != 1) {
        return false;
    }
    uint32_t a = ntohl(four.s_addr);
    return a >> 24 != 127 && a >> 24 != 0 && a >> 16 != 0xa9fe && a >> 28 < 0xe;
}

static void fail(struct http_req *rq, int status, struct str message)
{
    serve_fail(rq, status, "error trying to reach service: %.*s", STR_ARG(message));
}

/* The pod meant by its uid has that address. */
static bool of_pod(struct gate *g, struct http_req *rq, const char *address)
{
    struct str uid = http_header(rq, STR("sampan-pod-uid"));
    struct gpod *gp = uid.n ? pods_find(g, uid) : NULL;
    return !uid.n || (gp && (str_eqz(gpod_ip(gp), address) || strcmp(g->host_ip, address) == 0));
}

static size_t headers(struct http_req *rq, struct http_header **out)
{
    struct http_header *h;
    size_t n = relay_headers(rq, 0, &h), kept = 0;
    for (size_t i = 0; i < n; i++)
        if (!str_eqz(h[i].name, "sampan-pod-uid"))
            h[kept++] = h[i];
    *out = h;
    return kept;
}

void serve_proxy(struct gate *g, struct http_req *rq, struct str rest)
{
    static const char *const alpn[] = {"http/1.1", NULL};
    struct str scheme, address, port_text, path = STR(""), host;
    struct http_header *h;
    uint64_t port;
    _cleanup_(err_freep) struct err *e = NULL;
    if (!str_cut(rest, '/', &scheme, &rest) || !str_cut(rest, '/', &address, &rest) || !http_unescape(rq->pool, address, &host)) {
        serve_fail(rq, 404, "404 page not found");
        return;
    }
    port_text = rest;
    (void)str_cut(rest, '/', &port_text, &path);
    const char *ip = pool_strz(rq->pool, host);
    bool tls = str_eqz(scheme, "https");
    if ((!tls && !str_eqz(scheme, "http")) || !str_to_u64(port_text, &port) || port == 0 || port > 65535 || !address_ok(ip) ||
        !of_pod(g, rq, ip)) {
        serve_fail(rq, 400, "address not allowed");
        return;
    }
    struct proxy *x = xcalloc(1, sizeof *x);
    struct tls_config config = {.clock = g->clock, .insecure = true, .alpn = alpn};
    struct endpoint ep = {.host = ip, .port = (uint16_t)port};
    if (tls && !(x->tls = tls_ctx_new(&config, &e))) {
        serve_fail(rq, 500, "%s", err_msg(e));
        proxy_free(x);
        return;
    }
    ep.tls = x->tls;
    x->client = http_client_new(g->loop, &ep, NULL);
    struct relay_to to = {.client = x->client, .head_ms = HEAD_MS, .fail = fail, .done = proxy_free, .arg = x};
    to.path = pool_printf(rq->pool, "/%.*s%s%.*s", STR_ARG(path), rq->query.n ? "?" : "", STR_ARG(rq->query));
    to.nheaders = headers(rq, &h);
    to.headers = h;
    relay(rq, &to);
}
