/* Health check node ports: who balances from outside asks each node at this port whether it has endpoints of a Service with
 * externalTrafficPolicy Local, and sends clients only to those that answer 200. The answer is kube-proxy's. */
#include <stdlib.h>

#include "gate/health.h"
#include "gate/impl.h"

#define RETRY_NS (5 * NS_PER_S)

struct check { /* one port */
    struct health *all;
    struct http_server *server;
    struct str ns, name;
    uint16_t port;
    size_t local;
};
struct health {
    struct loop *loop;
    struct map checks; /* ns/name → struct check */
    struct timer retry;
};

static void check_free(void *arg)
{
    struct check *c = arg;
    http_server_free(c->server);
    free((char *)(uintptr_t)c->ns.p);
    free((char *)(uintptr_t)c->name.p);
    free(c);
}

static void answer(struct http_req *rq, void *arg)
{
    struct check *c = arg;
    _cleanup_(pool_freep) struct pool *p = pool_new();
    struct str body =
        pool_printf(p, "{\"service\":{\"namespace\":\"%.*s\",\"name\":\"%.*s\"},\"localEndpoints\":%zu,\"serviceProxyHealthy\":true}",
            STR_ARG(c->ns), STR_ARG(c->name), c->local);
    http_reply_str(rq, c->local ? 200 : 503, "application/json", body);
}

static void again(struct timer *t);

/* A port that is taken is tried again: who holds it may go. */
static void listen_at(struct check *c)
{
    static const struct http_limits limits = {.head = 8192, .body = 1024, .connections = 64, .idle_ms = 5000}; /* the rest by default */
    char address[32];
    _cleanup_(err_freep) struct err *e = NULL;
    int fd;

    snprintf(address, sizeof address, "0.0.0.0:%u", c->port);
    fd = http_bind(address, 64, &e);
    if (fd < 0) {
        log_warn("health check node port of Service %.*s/%.*s: %s", STR_ARG(c->ns), STR_ARG(c->name), err_msg(e));
        if (!c->all->retry.loop)
            timer_in(c->all->loop, &c->all->retry, RETRY_NS, again);
        return;
    }
    c->server = http_server_new(c->all->loop, &limits, answer, c);
    if (http_listen(c->server, fd, NULL, &e) < 0)
        log_warn("health check node port: %s", err_msg(e));
}

static void again(struct timer *t)
{
    struct health *h = container_of(t, struct health, retry);
    map_for (&h->checks, it)
        if (!((struct check *)it->value)->server)
            listen_at(it->value);
}

void health_put(struct health *h, struct str key, uint16_t port, size_t local)
{
    struct check *c = map_get(&h->checks, key);
    struct str ns, name;

    if (c && c->port != port) {
        check_free(map_del(&h->checks, key));
        c = NULL;
    }
    if (!port || !str_cut(key, '/', &ns, &name))
        return;
    if (!c) {
        c = xcalloc(1, sizeof *c);
        c->all = h;
        c->port = port;
        c->ns = str_make(str_dup(ns), ns.n);
        c->name = str_make(str_dup(name), name.n);
        map_put(&h->checks, key, c);
        listen_at(c);
    }
    c->local = local;
}

struct health *health_new(struct loop *l)
{
    struct health *h = xcalloc(1, sizeof *h);
    h->loop = l;
    return h;
}

void health_free(struct health *h)
{
    if (!h)
        return;
    timer_del(&h->retry);
    map_clear(&h->checks, check_free);
    free(h);
}
