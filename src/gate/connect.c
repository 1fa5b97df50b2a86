/* The uplink to a hub, and the hub's requests re-issued to a Kubernetes API as its plain client.
 *
 * What the hub may do here is the site's decision: every request must carry the user that it is for, and that user and all its groups must be named hub:<...>. They are passed on as
 * impersonation headers, so that the site's own RBAC judges them; a request for anybody else (system:masters above all) is refused here, whatever the hub says.
 * Upgrades (exec, port-forward, WebSocket watches) are re-issued as HTTP/1.1 upgrades and spliced. */
#include <stdlib.h>

#include "base/file.h"

#include "gate/impl.h"
#include "gate/kube.h"
#include "gate/trust.h"

#define HUB "hub:"
#define WAITING_MAX ((size_t)256 << 10)
#define HEAD_MS 65000 /* the API server itself gives up after 60 s */
#define HEADERS_MAX 120

struct connect {
    struct gate *gate;
    struct kube *kube;
    struct trust *trust;
    struct uplink *uplink;
    struct pool *pool;
    struct str token;
    bool refusal_told;
};

/* One request under way. */
struct relay {
    struct connect *c;
    struct http_req *rq;         /* NULL: the hub does not wait any more */
    struct http_call *call;
    bool started;
};

/* ---- who asks ---- */

static void fail(struct http_req *rq, int status, const char *reason, struct str message)
{
    struct json *s = json_obj(rq->pool);
    _cleanup_(buf_clear) struct buf b = BUF_INIT;
    json_set_str(rq->pool, s, STR("kind"), STR("Status"));
    json_set_str(rq->pool, s, STR("apiVersion"), STR("v1"));
    json_set(rq->pool, s, STR("metadata"), json_obj(rq->pool));
    json_set_str(rq->pool, s, STR("status"), STR("Failure"));
    json_set_str(rq->pool, s, STR("message"), message);
    json_set_str(rq->pool, s, STR("reason"), str_of(reason));
    json_set_int(rq->pool, s, STR("code"), status);
    json_write(&b, s);
    http_reply_str(rq, status, "application/json", buf_str(&b));
}

/* The name is one that the hub may speak for. */
static bool of_hub(struct str v)
{
    return v.n > sizeof HUB - 1 && str_starts(v, STR(HUB));
}

static bool permitted(const struct http_req *rq, struct str *why)
{
    bool user = false;
    for (size_t i = 0; i < rq->nheaders; i++) {
        const struct http_header *h = &rq->headers[i];
        if (!str_starts(h->name, STR("impersonate-")))
            continue;
        if (str_eqz(h->name, "impersonate-user"))
            user = true;
        else if (!str_eqz(h->name, "impersonate-group")) {
            *why = STR("a hub may name a user and groups, nothing else");
            return false;
        }
        if (!of_hub(h->value)) {
            *why = STR("a hub may only speak for users and groups named hub:<name>");
            return false;
        }
    }
    *why = STR("the request names no user");
    return user;
}

/* ---- headers ---- */

static bool hop(struct str n)
{
    static const char *const names[] = {"connection", "keep-alive", "proxy-connection", "transfer-encoding", "te", "trailer", "upgrade", "host", "content-length",
        "http2-settings", "sec-websocket-key", "sec-websocket-accept", "authorization", "cookie", "expect"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (str_eqz(n, names[i]))
            return true;
    return false;
}

static struct http_request request(struct connect *c, struct http_req *rq, bool websocket)
{
    struct http_header *h = pool_array(rq->pool, struct http_header, rq->nheaders + 3);
    struct str auth = kube_authorization(c->kube, rq->pool);
    size_t n = 0;

    for (size_t i = 0; i < rq->nheaders && n < HEADERS_MAX; i++)
        if (!hop(rq->headers[i].name) && rq->headers[i].name.n && rq->headers[i].name.p[0] != ':')
            h[n++] = rq->headers[i];
    if (auth.n)
        h[n++] = (struct http_header){STR("authorization"), auth};
    if (websocket) { /* its answer proves nothing to us and is not passed on; the stream below is what matters */
        struct buf key = BUF_INIT;
        uint8_t raw[16];
        random_bytes(raw, sizeof raw);
        buf_base64(&key, raw, sizeof raw);
        h[n++] = (struct http_header){STR("sec-websocket-key"), buf_to_pool(&key, rq->pool)};
    }
    return (struct http_request){.method = rq->method, .path = pool_printf(rq->pool, "%.*s%s%.*s", STR_ARG(rq->path), rq->query.n ? "?" : "", STR_ARG(rq->query)),
        .headers = h, .nheaders = n, .timeout_ms = HEAD_MS};
}

static size_t answer_headers(struct pool *p, const struct http_response *r, struct http_header **out)
{
    struct http_header *h = pool_array(p, struct http_header, r->nheaders + 1);
    size_t n = 0;
    for (size_t i = 0; i < r->nheaders; i++)
        if (!hop(r->headers[i].name))
            h[n++] = (struct http_header){pool_str(p, r->headers[i].name), pool_str(p, r->headers[i].value)};
    *out = h;
    return n;
}

/* ---- plain requests ---- */

static void on_rq_close(struct http_req *rq)
{
    struct relay *x = rq->user;
    if (!x)
        return;
    x->rq = NULL;
    if (x->call)
        http_call_cancel(TAKE(x->call));
    free(x);
}

static struct http_req *let_go(struct relay *x) /* the request, for its last words */
{
    struct http_req *rq = TAKE(x->rq);
    if (rq) {
        rq->user = NULL;
        rq->on_close = NULL;
        rq->on_drain = NULL;
    }
    return rq;
}

static void on_rq_drain(struct http_req *rq)
{
    struct relay *x = rq->user;
    if (x && x->call)
        http_call_pause(x->call, false);
}

static void on_head(void *arg, const struct http_response *r)
{
    struct relay *x = arg;
    struct http_header *h;
    size_t n = answer_headers(x->rq->pool, r, &h);
    x->started = true;
    http_start(x->rq, r->status, h, n);
}

static void on_data(void *arg, const char *p, size_t n)
{
    struct relay *x = arg;
    http_send_str(x->rq, str_make(p, n));
    if (x->rq && http_queued(x->rq) > WAITING_MAX && x->call)
        http_call_pause(x->call, true);
}

static void on_end(void *arg, const struct err *e)
{
    struct relay *x = arg;
    struct http_req *rq = let_go(x);
    x->call = NULL;
    if (rq && !e)
        http_end(rq);
    else if (rq && x->started)
        http_abort(rq);
    else if (rq)
        fail(rq, 503, "ServiceUnavailable", pool_printf(rq->pool, "the cluster's API does not answer: %s", err_msg(e)));
    free(x);
}

static void with_body(struct http_req *rq, struct str body)
{
    static const struct http_call_events events = {on_head, on_data, NULL, on_end};
    struct relay *x = rq->user;
    struct http_request r = request(x->c, rq, false);
    r.body = body;
    rq->on_drain = on_rq_drain;
    x->call = http_call(kube_client(x->c->kube), &r, &events, x);
}

/* ---- upgrades ---- */

static void on_upgraded(void *arg, struct stream *s, const struct http_response *r, const struct err *e)
{
    struct relay *x = arg;
    struct http_req *rq = let_go(x);
    struct http_header *h;

    free(x);
    if (!rq) {
        if (s)
            stream_abort(s);
        return;
    }
    if (!s) {
        fail(rq, r && r->status >= 400 ? r->status : 502, "", str_of(err_msg(e)));
        return;
    }
    size_t n = answer_headers(rq->pool, r, &h);
    struct stream *front = http_upgrade(rq, h, n);
    if (front)
        stream_splice(front, s, NULL, NULL);
    else
        stream_abort(s);
}

static void upgrade(struct relay *x)
{
    struct http_req *rq = x->rq;
    struct http_request r = request(x->c, rq, str_eq_nocase(rq->protocol, STR("websocket")));
    if (str_eqz(r.method, "CONNECT"))
        r.method = STR("GET");
    x->call = http_call_upgrade(kube_client(x->c->kube), &r, rq->protocol, on_upgraded, x);
}

static void handle(struct http_req *rq, void *arg)
{
    struct connect *c = arg;
    struct str why;

    if (!permitted(rq, &why)) {
        fail(rq, 403, "Forbidden", why);
        return;
    }
    struct relay *x = xcalloc(1, sizeof *x);
    *x = (struct relay){.c = c, .rq = rq};
    rq->user = x;
    rq->on_close = on_rq_close;
    if (rq->protocol.n)
        upgrade(x);
    else
        http_body(rq, 0, with_body);
}

/* ---- the link ---- */

static void on_state(void *arg, bool connected, struct str assigned, const struct err *why)
{
    struct connect *c = arg;
    bool refused = why && (why->code == ERR_UNAUTHORIZED || why->code == ERR_FORBIDDEN);
    if (connected) {
        log_info("connected to the hub as cluster=%.*s", STR_ARG(assigned));
        c->refusal_told = false;
    } else if (!refused) {
        log_info("not connected to the hub: %s", err_msg(why));
    } else if (!c->refusal_told) {
        log_error("the hub refused this cluster: %s", err_msg(why));
        c->refusal_told = true;
    }
}

static void on_trust(void *arg, const struct endpoint *ep, const struct err *why)
{
    struct connect *c = arg;
    struct gate *g = c->gate;
    _cleanup_(err_freep) struct err *e = NULL;
    _cleanup_(freep) char *pin = xasprintf("%s/hub.pin", g->o->state_dir);

    if (!ep) {
        log_warn("the hub does not answer: %s", err_msg(why));
        return;
    }
    struct uplink_config u = {
        .loop = g->loop,
        .clock = g->clock,
        .endpoint = *ep,
        .key = g->key,
        .pin_path = pin,
        .view = STR("cluster"),
        .name = STR(""),
        .token = c->token,
        .info = STR("{\"version\":\"" SAMPAN_VERSION "\"}"),
        .handler = handle,
        .handler_arg = c,
        .idle_ns = 10 * NS_PER_S,
        .on_state = on_state,
        .arg = c,
    };
    c->uplink = uplink_new(&u, &e);
    if (!c->uplink)
        log_error("uplink to the hub: %s", err_msg(e));
}

/* "K10<ca hash>::<token>" or the token alone. */
static struct str token_split(struct str token, struct str *hash)
{
    struct str head = token;
    ssize_t at = str_find(token, STR("::"));
    *hash = STR_NULL;
    if (!str_starts(token, STR("K10")) || at < 0)
        return token;
    head = str_sub(token, 3, (size_t)at);
    *hash = head;
    return str_sub(token, (size_t)at + 2, token.n);
}

int connect_open(struct gate *g, struct connect **out, struct err **e)
{
    struct connect *c = xcalloc(1, sizeof *c);
    _cleanup_(freep) char *ca = xasprintf("%s/hub-ca.pem", g->o->state_dir);
    struct str hash;

    *out = c; /* the caller closes it, also after a failure */
    c->gate = g;
    c->pool = pool_new();
    c->token = pool_str(c->pool, token_split(g->o->hub_token, &hash));
    c->kube = kube_open(g->loop, g->clock, g->o->kubeconfig, g->o->api_socket, e);
    if (!c->kube)
        return -(int)(*e)->code;
    c->trust = trust_open(g->loop, g->clock, g->o->hub, hash, ca, on_trust, c, e);
    return c->trust ? 0 : err_wrap(e, "--hub");
}

void connect_close(struct connect *c)
{
    if (!c)
        return;
    uplink_free(c->uplink); /* ends what is under way */
    trust_close(c->trust);
    kube_close(c->kube);
    pool_free(c->pool);
    free(c);
}
