/* The uplink to a hub, and the hub's requests re-issued to a Kubernetes API as its plain client.
 *
 * What the hub may do here is the site's decision: every request must carry the user that it is for, and that user and all its groups must be named hub:<...>. They are passed on as
 * impersonation headers, so that the site's own RBAC judges them; a request for anybody else (system:masters above all) is refused here, whatever the hub says.
 * Upgrades (exec, port-forward, WebSocket watches) are re-issued as HTTP/1.1 upgrades and spliced. */
#include <stdlib.h>

#include "gate/impl.h"
#include "gate/connect.h"
#include "gate/grant.h"
#include "gate/kube.h"
#include "gate/relay.h"
#include "gate/trust.h"
#include "gate/sight.h"

#define HUB "hub:"
#define GRANT_EVERY (10 * NS_PER_S)
#define GRANT_EVERY_LOCAL (3 * NS_PER_S) /* over the local socket it costs next to nothing */
#define GRANT_SOON NS_PER_S
#define HEAD_MS 65000 /* the API server itself gives up after 60 s */

struct connect {
    struct gate *gate;
    struct kube *kube;
    struct trust *trust;
    struct uplink *uplink;
    struct pool *pool;
    struct str token;
    bool refusal_told, grant_read;
    struct grant *grant; /* what the hub may do here at most */
    struct sight *view;
    struct timer look;
    struct http_call *looking;
    struct buf seen;
    int seen_status, refused;
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

bool connect_permitted(const struct http_req *rq, struct str *why)
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

/* ---- what it asks ---- */

static void unanswered(struct http_req *rq, int status, struct str message)
{
    if (status == 503)
        fail(rq, 503, "ServiceUnavailable", pool_printf(rq->pool, "the cluster's API does not answer: %.*s", STR_ARG(message)));
    else
        fail(rq, status, "", message);
}

static void handle(struct http_req *rq, void *arg)
{
    struct connect *c = arg;
    struct str why, auth = kube_authorization(c->kube, rq->pool);
    struct http_header *h;

    if (!connect_permitted(rq, &why)) {
        fail(rq, 403, "Forbidden", why);
        return;
    }
    if (!c->grant_read) {
        fail(rq, 503, "ServiceUnavailable", STR("the cluster's API does not answer: the site's grant has not been read yet"));
        return;
    }
    if (!grant_permits(c->grant, rq, &why)) {
        fail(rq, 403, "Forbidden", pool_printf(rq->pool, "forbidden at the site: %.*s", STR_ARG(why)));
        return;
    }
    size_t n = relay_headers(rq, 1, &h);
    if (auth.n)
        h[n++] = (struct http_header){STR("authorization"), auth};
    struct relay_to to = {.client = kube_client(c->kube), .headers = h, .nheaders = n, .head_ms = HEAD_MS, .fail = unanswered};
    to.path = pool_printf(rq->pool, "%.*s%s%.*s", STR_ARG(rq->path), rq->query.n ? "?" : "", STR_ARG(rq->query));
    relay(rq, &to);
}

/* ---- the grant: read from the site's API again and again; a change is in force within GRANT_EVERY ---- */

static void look(struct timer *t);

static void take_grant(struct connect *c, struct grant *g)
{
    if (!grant_equal(g, c->grant)) {
        if (grant_fault(g))
            log_warn("%s: the hub may do nothing here", grant_fault(g));
        else
            log_info("the hub's grant of this site was read");
    }
    grant_free(c->grant);
    c->grant = g;
    c->grant_read = true;
    sight_allow(c->view, grant_view(g));
}

static void on_grant_head(void *arg, const struct http_response *r)
{
    ((struct connect *)arg)->seen_status = r->status;
}

static void on_grant_data(void *arg, const char *p, size_t n)
{
    buf_add(&((struct connect *)arg)->seen, p, n);
}

static void on_grant_end(void *arg, const struct err *e)
{
    struct connect *c = arg;
    _cleanup_(pool_freep) struct pool *p = pool_new();
    struct json *doc;
    c->looking = NULL;
    if (!e && c->seen_status == 404)
        take_grant(c, grant_all());
    else if (!e && c->seen_status == 200 && !buf_failed(&c->seen) && json_parse(p, buf_str(&c->seen), NULL, &doc, NULL) == 0)
        take_grant(c, grant_parse(doc));
    else if (!e && (c->seen_status == 401 || c->seen_status == 403) && !c->grant_read && ++c->refused == 30)
        log_error("configmap=" GRANT_NAMESPACE "/" GRANT_NAME " may not be read (%d): the hub can do nothing here", c->seen_status);
    /* anything else: what was known holds; nothing passes before the first answer */
    buf_clear(&c->seen);
    bool soon = !c->grant_read;
    timer_in(c->gate->loop, &c->look, soon ? GRANT_SOON : c->gate->o->kubeconfig || !c->gate->o->api_socket ? GRANT_EVERY : GRANT_EVERY_LOCAL, look);
}

static void look(struct timer *t)
{
    static const struct http_call_events events = {on_grant_head, on_grant_data, NULL, on_grant_end};
    struct connect *c = container_of(t, struct connect, look);
    _cleanup_(pool_freep) struct pool *p = pool_new();
    struct http_header h = {STR("authorization"), kube_authorization(c->kube, p)};
    struct http_request rq = {.method = STR("GET"), .path = STR(GRANT_PATH), .headers = &h, .nheaders = h.value.n ? 1 : 0, .timeout_ms = 10000};
    c->seen_status = 0;
    c->seen.limit = 256 << 10;
    c->looking = http_call(kube_client(c->kube), &rq, &events, c);
}

/* ---- the link ---- */

static void on_state(void *arg, bool connected, struct str assigned, const struct err *why)
{
    struct connect *c = arg;
    sight_connected(c->view, connected ? c->uplink : NULL);
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
        .idle_ns = (g->o->hub_heartbeat_s ? g->o->hub_heartbeat_s : 10) * NS_PER_S,
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
    c->grant = grant_none();
    c->view = sight_open(g->loop, c->kube);
    timer_in(g->loop, &c->look, 0, look);
    c->trust = trust_open(g->loop, g->clock, g->o->hub, hash, ca, on_trust, c, e);
    return c->trust ? 0 : err_wrap(e, "--hub");
}

void connect_close(struct connect *c)
{
    if (!c)
        return;
    sight_close(c->view);
    c->view = NULL;
    uplink_free(c->uplink); /* ends what is under way */
    timer_del(&c->look);
    if (c->looking)
        http_call_cancel(TAKE(c->looking));
    buf_clear(&c->seen);
    grant_free(c->grant);
    trust_close(c->trust);
    kube_close(c->kube);
    pool_free(c->pool);
    free(c);
}
