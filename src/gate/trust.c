#include "gate/trust.h"

#include <stdlib.h>

#include "base/file.h"
#include "base/log.h"
#include "crypto/tls.h"

#define CA_LIMIT (64u << 10)
#define RETRY_NS (5 * NS_PER_S)

struct trust {
    struct loop *loop;
    struct clock *clock;
    struct pool *pool;
    struct endpoint ep;
    struct str hash;
    char *ca_path;
    struct certs cas;
    struct tls_ctx *tls, *open_tls;
    struct http_client *client;
    struct http_call *call;
    struct buf body;
    int status;
    struct timer timer;
    void (*done)(void *arg, const struct endpoint *ep, const struct err *e);
    void *arg;
};

int url_split(struct pool *p, struct str url, struct str *host, uint16_t *port, struct str *path, struct err **e)
{
    struct str rest = url, tail;
    uint64_t n = 443;
    if (!str_starts(url, STR("https://")))
        return err_set(e, ERR_USAGE, "\"%.*s\" must be an https:// URL", STR_ARG(url));
    rest = str_sub(url, 8, url.n);
    *path = STR("");
    ssize_t slash = str_chr(rest, '/');
    if (slash >= 0) {
        *path = pool_str(p, str_eqz(str_sub(rest, (size_t)slash, rest.n), "/") ? STR("") : str_sub(rest, (size_t)slash, rest.n));
        rest = str_sub(rest, 0, (size_t)slash);
    }
    ssize_t bracket = str_chr(rest, ']'), colon = str_rchr(rest, ':');
    if (colon > bracket) {
        tail = str_sub(rest, (size_t)colon + 1, rest.n);
        rest = str_sub(rest, 0, (size_t)colon);
        if (!str_to_u64(tail, &n) || n == 0 || n > 65535)
            return err_set(e, ERR_USAGE, "\"%.*s\": \"%.*s\" is no port", STR_ARG(url), STR_ARG(tail));
    }
    if (bracket > 0 && rest.p[0] == '[')
        rest = str_sub(rest, 1, (size_t)bracket);
    if (str_empty(rest))
        return err_set(e, ERR_USAGE, "\"%.*s\": the host is missing", STR_ARG(url));
    *host = pool_str(p, rest);
    *port = (uint16_t)n;
    return 0;
}

static const char *const alpn[] = {"http/1.1", NULL};

/* With the CA known: the endpoint that everything else uses. */
static int settle(struct trust *t, struct err **e)
{
    struct tls_config c = {.clock = t->clock, .cas = &t->cas, .alpn = alpn};
    t->tls = tls_ctx_new(&c, e);
    if (!t->tls)
        return err_wrap(e, "TLS");
    t->ep.tls = t->tls;
    return 0;
}

static void on_again(struct timer *timer);

static void fetched_badly(struct trust *t, const struct err *e)
{
    t->done(t->arg, NULL, e);
    timer_in(t->loop, &t->timer, RETRY_NS, on_again);
}

static int check(struct trust *t, struct err **e)
{
    if (t->status != 200)
        return err_set(e, ERR_UNAVAILABLE, "/cacerts answers with status %d", t->status);
    if (certs_parse(buf_str(&t->body), &t->cas, e) < 0)
        return err_wrap(e, "/cacerts");
    const struct cert_info *info = cert_info(t->cas.at[0]);
    if (t->hash.n && !str_eq_nocase(info->fingerprint, t->hash))
        return err_set(e, ERR_FORBIDDEN, "the server's CA has hash %.*s, the token says %.*s: another server, or somebody between", STR_ARG(info->fingerprint), STR_ARG(t->hash));
    if (!t->hash.n)
        log_warn("the token names no CA hash: the CA that answered (%.*s) is trusted from now on", STR_ARG(info->fingerprint));
    return file_replace(t->ca_path, buf_str(&t->body), 0600, e);
}

static void on_head(void *arg, const struct http_response *r)
{
    ((struct trust *)arg)->status = r->status;
}

static void on_data(void *arg, const char *p, size_t n)
{
    buf_add(&((struct trust *)arg)->body, p, n);
}

static void on_end(void *arg, const struct err *why)
{
    struct trust *t = arg;
    _cleanup_(err_freep) struct err *e = NULL;
    t->call = NULL;
    if (why) {
        fetched_badly(t, why);
        return;
    }
    if (check(t, &e) < 0 || settle(t, &e) < 0) {
        certs_clear(&t->cas);
        fetched_badly(t, e);
        return;
    }
    t->done(t->arg, &t->ep, NULL);
}

static void fetch(struct trust *t)
{
    static const struct http_call_events events = {on_head, on_data, NULL, on_end};
    struct http_request rq = {.method = STR("GET"), .path = STR("/cacerts")};
    struct endpoint ep = t->ep;
    struct tls_config c = {.clock = t->clock, .insecure = true, .alpn = alpn};
    _cleanup_(err_freep) struct err *e = NULL;
    http_client_free(TAKE(t->client));
    if (!t->open_tls && !(t->open_tls = tls_ctx_new(&c, &e))) {
        fetched_badly(t, e);
        return;
    }
    ep.tls = t->open_tls;
    buf_clear(&t->body);
    t->body.limit = CA_LIMIT;
    t->client = http_client_new(t->loop, &ep, NULL);
    t->call = http_call(t->client, &rq, &events, t);
}

static void on_again(struct timer *timer)
{
    fetch(container_of(timer, struct trust, timer));
}

static void on_known(struct timer *timer)
{
    struct trust *t = container_of(timer, struct trust, timer);
    t->done(t->arg, &t->ep, NULL);
}

struct trust *trust_open(struct loop *l, struct clock *clock, const char *url, struct str ca_hash, const char *ca_path,
    void (*done)(void *arg, const struct endpoint *ep, const struct err *e), void *arg, struct err **e)
{
    struct trust *t = xcalloc(1, sizeof *t);
    struct str host, path;
    uint16_t port;
    *t = (struct trust){.loop = l, .clock = clock, .pool = pool_new(), .ca_path = xstrdup(ca_path), .done = done, .arg = arg};
    t->hash = pool_str(t->pool, ca_hash);
    if (url_split(t->pool, str_of(url), &host, &port, &path, e) < 0)
        goto fail;
    t->ep.host = host.p;
    t->ep.port = port;
    if (!file_exists(ca_path)) {
        timer_in(l, &t->timer, 0, on_again);
        return t;
    }
    if (certs_load(ca_path, &t->cas, e) < 0 || settle(t, e) < 0)
        goto fail;
    timer_in(l, &t->timer, 0, on_known);
    return t;
fail:
    trust_close(t);
    return NULL;
}

void trust_close(struct trust *t)
{
    if (!t)
        return;
    timer_del(&t->timer);
    if (t->call)
        http_call_cancel(t->call);
    http_client_free(t->client);
    tls_ctx_free(t->tls);
    tls_ctx_free(t->open_tls);
    certs_clear(&t->cas);
    buf_clear(&t->body);
    pool_free(t->pool);
    free(t->ca_path);
    free(t);
}
