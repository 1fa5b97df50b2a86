#include "api/remote.h"

#include "api/impl.h"
#include "base/file.h"
#include "crypto/cert.h"
#include "crypto/tls.h"

enum { CLIENTS_MAX = 128, REPLY_MAX = 4 << 20 };

struct remote_client {
    struct remote_client *next;
    struct loop *loop;
    char *key; /* what it is for */
    struct http_client *http;
    struct tls_ctx *tls;
    struct certs cas;
    unsigned held;
    bool broken;
    int64_t used;
};

struct remote {
    pthread_mutex_t lock;
    struct remote_client *list;
    size_t n;
};

struct remote *remote_new(struct api *a)
{
    struct remote *r = xcalloc(1, sizeof *r);
    (void)a;
    pthread_mutex_init(&r->lock, NULL);
    return r;
}

static void client_free(struct remote_client *c)
{
    http_client_free(c->http);
    tls_ctx_free(c->tls);
    certs_clear(&c->cas);
    free(c->key);
    free(c);
}

void remote_free(struct remote *r)
{
    if (!r)
        return;
    while (r->list) {
        struct remote_client *c = r->list;
        r->list = c->next;
        client_free(c);
    }
    pthread_mutex_destroy(&r->lock);
    free(r);
}

/* ---- targets ---- */

struct pick { /* a ready endpoint of the port, one of many by chance */
    struct store_view *v;
    struct pool *p;
    struct str port_name;
    struct str ip;
    int64_t port;
    uint64_t seen;
};

static bool ready(const struct json *ep)
{
    const struct json *r = json_path(ep, "conditions", "ready", NULL);
    return !r || json_as_bool(r, true);
}

static bool pick_slice(void *arg, const struct obj *o)
{
    struct pick *k = arg;
    struct json *doc;
    int64_t port = 0;
    pool_hold_obj(k->p, obj_ref(o));
    if (obj_parse(o, k->p, &doc, NULL) < 0)
        return true;
    json_for (json_get(doc, STR("ports")), it)
        if (str_eq(json_get_str(it, "name"), k->port_name))
            port = json_get_int(it, "port", 0);
    json_for (json_get(doc, STR("endpoints")), it) {
        if (!port || !ready(it))
            continue;
        uint64_t dice;
        k->seen++;
        random_bytes(&dice, sizeof dice);
        if (dice % k->seen)
            continue;
        k->ip = json_as_str(json_at(json_get(it, STR("addresses")), 0));
        k->port = port;
    }
    return true;
}

int remote_service(struct api *a, struct pool *p, struct str ns, struct str name, int64_t port, struct remote_target *out, struct err **e)
{
    _cleanup_(store_view_unrefp) struct store_view *v = store_view(a->store);
    const struct obj *o = view_get(v, a->res.services, ns, name);
    struct json *svc;
    if (!o)
        return err_set(e, ERR_UNAVAILABLE, "service \"%.*s\" not found", STR_ARG(name));
    pool_hold_obj(p, obj_ref(o));
    if (obj_parse(o, p, &svc, e) < 0)
        return -(*e)->code;
    out->name = pool_printf(p, "%.*s.%.*s.svc", STR_ARG(name), STR_ARG(ns));
    if (str_eqz(json_str_at(svc, "spec", "type", NULL), "ExternalName")) {
        out->host = json_str_at(svc, "spec", "externalName", NULL);
        out->port = (uint16_t)port;
        return 0;
    }
    struct pick k = {.v = v, .p = p};
    bool found = false;
    json_for (json_path(svc, "spec", "ports", NULL), it)
        if (json_get_int(it, "port", 0) == port) {
            struct str port_name = json_get_str(it, "name");
            k.port_name = port_name.p ? port_name : STR("");
            found = true;
        }
    if (!found)
        return err_set(e, ERR_UNAVAILABLE, "no service port %" PRId64 " found for service \"%.*s\"", port, STR_ARG(name));
    view_index(v, a->res.slices, STR("service"), pool_printf(p, "%.*s/%.*s", STR_ARG(ns), STR_ARG(name)), pick_slice, &k);
    if (!k.ip.n)
        return err_set(e, ERR_UNAVAILABLE, "no endpoints available for service \"%.*s\"", STR_ARG(name));
    out->host = k.ip;
    out->port = (uint16_t)k.port;
    return 0;
}

static int of_url(struct pool *p, struct str url, struct remote_target *out, struct err **e)
{
    struct str rest = url, host, port, path = STR("/");
    if (!str_starts(rest, STR("https://")))
        return err_set(e, ERR_INVALID, "the URL \"%.*s\" does not begin with https://", STR_ARG(url));
    rest = str_sub(rest, 8, rest.n);
    ssize_t slash = str_chr(rest, '/');
    if (slash >= 0) {
        path = str_sub(rest, (size_t)slash, rest.n);
        rest = str_sub(rest, 0, (size_t)slash);
    }
    host = rest;
    out->port = 443;
    ssize_t close = str_chr(rest, ']'), colon = str_rchr(rest, ':');
    if (colon > close) {
        uint64_t n;
        port = str_sub(rest, (size_t)colon + 1, rest.n);
        if (!str_to_u64(port, &n) || n == 0 || n > 65535)
            return err_set(e, ERR_INVALID, "the URL \"%.*s\" has no valid port", STR_ARG(url));
        out->port = (uint16_t)n;
        host = str_sub(rest, 0, (size_t)colon);
    }
    if (host.n > 2 && host.p[0] == '[')
        host = str_sub(host, 1, host.n - 1);
    if (!host.n)
        return err_set(e, ERR_INVALID, "the URL \"%.*s\" has no host", STR_ARG(url));
    out->host = out->name = pool_str(p, host);
    out->path = pool_str(p, path);
    out->text = pool_str(p, url);
    return 0;
}

int remote_target(struct api *a, struct pool *p, const struct json *config, struct remote_target *out, struct err **e)
{
    const struct json *svc = json_get(config, STR("service"));
    struct str url = json_get_str(config, "url"), ca = json_get_str(config, "caBundle");
    struct buf pem = BUF_INIT;
    *out = (struct remote_target){0};
    if (ca.n && buf_unbase64(&pem, ca))
        out->ca = buf_to_pool(&pem, p);
    buf_clear(&pem);
    if (url.n)
        return of_url(p, url, out, e);
    struct str ns = json_get_str(svc, "namespace"), name = json_get_str(svc, "name"), path = json_get_str(svc, "path");
    int64_t port = json_get_int(svc, "port", 443);
    out->path = path.n ? path : STR("/");
    out->text = pool_printf(p, "https://%.*s.%.*s.svc:%" PRId64 "%.*s", STR_ARG(name), STR_ARG(ns), port, STR_ARG(out->path));
    return remote_service(a, p, ns, name, port, out, e);
}

/* ---- clients ---- */

static struct remote_client *client_make(
    struct api *a, struct loop *l, const struct remote_target *t, struct str cert, struct str key, struct err **e)
{
    static const char *const alpn[] = {"h2", "http/1.1", NULL};
    struct remote_client *c = xcalloc(1, sizeof *c);
    _cleanup_(pool_freep) struct pool *p = pool_new();
    struct tls_config tc = {.clock = a->clock, .alpn = alpn, .insecure = t->insecure, .cert_pem = cert, .key_pem = key};
    c->loop = l;
    if (t->ca.n && certs_parse(t->ca, &c->cas, e) < 0)
        goto failed;
    tc.cas = t->ca.n ? &c->cas : NULL;
    if (!(c->tls = tls_ctx_new(&tc, e)))
        goto failed;
    struct endpoint ep = {.host = pool_strz(p, t->host), .port = t->port, .tls = c->tls, .sni = pool_strz(p, t->name), .timeout_ms = 10000};
    struct http_limits lim = {.connections = 8};
    c->http = http_client_new(l, &ep, &lim);
    return c;
failed:
    client_free(c);
    return NULL;
}

/* One of the loop's that nobody uses makes room. Under the lock; returned to be freed outside. */
static struct remote_client *take_old(struct remote *r, const struct loop *l, bool room)
{
    struct remote_client **oldest = NULL;
    for (struct remote_client **at = &r->list; *at; at = &(*at)->next)
        if ((*at)->loop == l && !(*at)->held && ((*at)->broken || (room && (!oldest || (*at)->used < (*oldest)->used))))
            oldest = at;
    if (!oldest)
        return NULL;
    struct remote_client *c = *oldest;
    *oldest = c->next;
    r->n--;
    return c;
}

struct remote_client *remote_client(
    struct api *a, struct loop *l, const struct remote_target *t, struct str cert, struct str key, struct err **e)
{
    struct remote *r = a->remote;
    struct buf id = BUF_INIT;
    buf_printf(&id, "%.*s|%u|%.*s|%d|%016" PRIx64 "|%016" PRIx64, STR_ARG(t->host), t->port, STR_ARG(t->name), t->insecure, str_hash(t->ca),
        str_hash(cert));
    struct remote_client *c, *old;
    pthread_mutex_lock(&r->lock);
    for (c = r->list; c; c = c->next)
        if (c->loop == l && !c->broken && str_eqz(buf_str(&id), c->key))
            break;
    pthread_mutex_unlock(&r->lock);
    if (!c && (c = client_make(a, l, t, cert, key, e))) {
        c->key = str_dup(buf_str(&id));
        pthread_mutex_lock(&r->lock);
        old = take_old(r, l, r->n >= CLIENTS_MAX);
        c->next = r->list;
        r->list = c;
        r->n++;
        pthread_mutex_unlock(&r->lock);
        if (old)
            client_free(old);
    }
    if (c)
        c->used = loop_now(l);
    buf_clear(&id);
    return c;
}

struct http_client *remote_http(struct remote_client *c)
{
    return c->http;
}

void remote_hold(struct remote_client *c)
{
    c->held++;
}

void remote_release(struct api *a, struct remote_client *c, bool broken)
{
    (void)a;
    c->held--;
    c->broken |= broken;
}

/* ---- a call ---- */

static void start(struct remote_call *c);

static void finish(struct remote_call *c)
{
    timer_del(&c->timer_);
    defer_del(c->loop, &c->defer_);
    if (c->client_)
        remote_release(c->api, TAKE(c->client_), c->err != NULL);
    c->busy_ = false;
    c->done(c);
}

static void on_timeout(struct timer *t)
{
    struct remote_call *c = container_of(t, struct remote_call, timer_);
    http_call_cancel(TAKE(c->call_));
    c->status = 0;
    err_free(TAKE(c->err));
    (void)err_set(&c->err, ERR_TIMEOUT, "context deadline exceeded");
    finish(c);
}

static void on_head(void *arg, const struct http_response *r)
{
    struct remote_call *c = arg;
    c->status = r->status;
    c->head_ = true;
}

static void on_data(void *arg, const char *p, size_t n)
{
    struct remote_call *c = arg;
    if (c->reply.n + n <= REPLY_MAX)
        buf_add(&c->reply, p, n);
    else
        c->reply.failed = true;
}

static void on_end(void *arg, const struct err *e)
{
    struct remote_call *c = arg;
    c->call_ = NULL;
    if (e && !c->head_ && !c->again_) { /* a connection that had gone stale: once more on a new one */
        c->again_ = true;
        remote_release(c->api, TAKE(c->client_), true);
        start(c);
        return;
    }
    if (e)
        (void)err_set(&c->err, ERR_UNAVAILABLE, "%s", err_msg(e));
    else if (c->reply.failed)
        (void)err_set(&c->err, ERR_LIMIT, "the reply has more than %d bytes", REPLY_MAX);
    finish(c);
}

static void failed_later(struct defer *d)
{
    finish(container_of(d, struct remote_call, defer_));
}

static void start(struct remote_call *c)
{
    static const struct http_header h[] = {{STR("content-type"), STR("application/json")}, {STR("accept"), STR("application/json, */*")}};
    static const struct http_call_events ev = {on_head, on_data, NULL, on_end};
    struct http_request rq = {
        .method = STR("POST"), .path = c->target.path, .headers = h, .nheaders = ARRAY_LEN(h), .body = c->body, .timeout_ms = -1};
    c->client_ = remote_client(c->api, c->loop, &c->target, STR_NULL, STR_NULL, &c->err);
    if (!c->client_) {
        loop_defer(c->loop, &c->defer_, failed_later);
        return;
    }
    remote_hold(c->client_);
    c->call_ = http_call(remote_http(c->client_), &rq, &ev, c);
}

void remote_post(struct remote_call *c)
{
    c->busy_ = true;
    timer_in(c->loop, &c->timer_, c->timeout_ns, on_timeout);
    start(c);
}

void remote_cancel(struct remote_call *c)
{
    if (c->busy_) {
        timer_del(&c->timer_);
        defer_del(c->loop, &c->defer_);
        http_call_cancel(TAKE(c->call_));
        if (c->client_)
            remote_release(c->api, TAKE(c->client_), false);
        c->busy_ = false;
    }
    buf_clear(&c->reply);
    err_free(TAKE(c->err));
}
