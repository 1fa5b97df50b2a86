#include "gate/registry.h"

#include <stdarg.h>
#include <stdlib.h>

#include "gate/registry_challenge.h"
#include "gate/registry_impl.h"

#define PEERS_MAX 24
#define REDIRECTS_MAX 10
#define BODY_MAX (8u << 10)
#define SILENCE_NS (60 * NS_PER_S)
#define CHECK_NS (10 * NS_PER_S)

/* ---- session ---- */

static struct registry_place *add_place(struct registry_session *s, const struct registry_endpoint *ep, const struct registry_creds *creds)
{
    struct registry_place *place = pool_new_of(s->pool, struct registry_place);
    const struct registry_config *config = registries_config(s->registries, s->pool, &ep->url);
    place->ep = *ep;
    if (creds && !ep->mirror)
        place->creds = *creds;
    if (config && config->has_auth && place->creds.n < REGISTRY_CREDS_MAX)
        place->creds.at[place->creds.n++] = config->auth;
    place->authorization = STR("");
    return place;
}

struct registry_session *registry_open(
    struct loop *l, const struct clock *clock, struct registries *r, const struct registry_image *image, const struct registry_creds *creds)
{
    struct registry_session *s = xcalloc(1, sizeof *s);
    struct registry_endpoint list[REGISTRY_ENDPOINTS_MAX];
    *s = (struct registry_session){.loop = l, .clock = clock, .registries = r, .image = image, .pool = pool_new()};
    s->nplaces = registries_endpoints(r, s->pool, image, list);
    for (size_t i = 0; i < s->nplaces; i++)
        s->places[i] = add_place(s, &list[i], creds);
    return s;
}

void registry_close(struct registry_session *s)
{
    if (!s)
        return;
    for (struct registry_peer *x = s->peers; x; x = x->next)
        http_client_free(x->client);
    pool_free(s->pool);
    free(s);
}

struct http_client *registry_client(struct registry_session *s, const struct registry_url *u, struct err **e)
{
    struct endpoint ep = {.port = u->port};
    for (struct registry_peer *x = s->peers; x; x = x->next)
        if (registry_url_same(&x->url, u))
            return x->client;
    if (s->npeers == PEERS_MAX) {
        err_set(e, ERR_LIMIT, "the registry sends us to more than %d places", PEERS_MAX);
        return NULL;
    }
    if (u->tls && !(ep.tls = registries_tls(s->registries, s->pool, u, s->clock, e)))
        return NULL;
    struct registry_peer *x = pool_new_of(s->pool, struct registry_peer);
    *x = (struct registry_peer){.next = s->peers, .url = *u};
    x->url.host = pool_str(s->pool, u->host);
    ep.host = pool_strz(s->pool, u->host);
    x->client = http_client_new(s->loop, &ep, NULL);
    s->peers = x;
    s->npeers++;
    return x->client;
}

/* ---- one get ---- */

static void get_free(struct registry_get *g)
{
    if (g->call)
        http_call_cancel(g->call);
    timer_del(&g->timer);
    buf_clear(&g->body);
    buf_clear(&g->why);
    pool_free(g->pool);
    free(g);
}

void registry_cancel(struct registry_get *g)
{
    if (g)
        get_free(g);
}

static void finish(struct registry_get *g, const struct err *e)
{
    struct registry_events ev = g->ev;
    void *arg = g->arg;
    get_free(g);
    ev.on_end(arg, e);
}

static void on_failed(struct timer *t)
{
    struct registry_get *g = container_of(t, struct registry_get, timer);
    _cleanup_(err_freep) struct err *e = NULL;
    err_set(&e, g->code ? g->code : ERR_INVALID, "%.*s", STR_ARG(buf_str(&g->why)));
    finish(g, e);
}

static void try_place(struct registry_get *g)
{
    struct registry_session *s = g->s;
    if (g->tried == s->nplaces) {
        if (!g->why.n)
            buf_printf(&g->why, "\"%.*s\" names no host that can be asked", STR_ARG(s->image->host));
        timer_in(s->loop, &g->timer, 0, on_failed);
        return;
    }
    struct registry_place *place = g->place = s->places[(s->first + g->tried++) % s->nplaces];
    _cleanup_(buf_clear) struct buf b = BUF_INIT;
    buf_printf(&b, "%.*s/%.*s/%.*s", STR_ARG(place->ep.url.path), STR_ARG(place->ep.repository), STR_ARG(g->what));
    if (place->ep.mirror) {
        buf_putc(&b, '?');
        registry_query_add(&b, "ns", s->image->host);
    }
    g->url = place->ep.url;
    g->url.path = pool_str(g->pool, buf_str(&b));
    g->redirects = g->auths = 0;
    registry_send(g);
}

void registry_refused(struct registry_get *g, enum err_code code, const char *fmt, ...)
{
    struct str host = registry_url_host(g->pool, &g->place->ep.url);
    va_list ap;
    if (g->why.n)
        buf_puts(&g->why, "; ");
    buf_printf(&g->why, "%.*s: ", STR_ARG(host));
    va_start(ap, fmt);
    buf_vprintf(&g->why, fmt, ap);
    va_end(ap);
    if (!g->code || !g->place->ep.mirror) /* what the registry itself says counts */
        g->code = code;
    try_place(g);
}

/* ---- answers ---- */

static struct str header(const struct http_response *r, const char *name)
{
    for (size_t i = 0; i < r->nheaders; i++)
        if (str_eqz(r->headers[i].name, name))
            return r->headers[i].value;
    return STR_NULL;
}

/* "bytes 100-199/200" */
static int64_t range_start(struct str s)
{
    uint64_t n;
    struct str from, rest;
    if (!str_starts(s, STR("bytes ")) || !str_cut(str_sub(s, 6, s.n), '-', &from, &rest) || !str_to_u64(from, &n) || n > INT64_MAX)
        return -1;
    return (int64_t)n;
}

static void on_silence(struct timer *t)
{
    struct registry_get *g = container_of(t, struct registry_get, timer);
    _cleanup_(err_freep) struct err *e = NULL;
    if (loop_now(g->s->loop) - g->heard < SILENCE_NS) {
        timer_in(g->s->loop, &g->timer, CHECK_NS, on_silence);
        return;
    }
    http_call_cancel(TAKE(g->call));
    err_set(&e, ERR_TIMEOUT, "%.*s sent nothing for %d s", STR_ARG(registry_url_host(g->pool, &g->url)), (int)(SILENCE_NS / NS_PER_S));
    if (g->streaming)
        finish(g, e);
    else
        registry_refused(g, ERR_TIMEOUT, "%s", err_msg(e));
}

static void on_head(void *arg, const struct http_response *r)
{
    struct registry_get *g = arg;
    uint64_t length;
    g->status = r->status;
    g->heard = loop_now(g->s->loop);
    timer_in(g->s->loop, &g->timer, CHECK_NS, on_silence);
    if (r->status == 200 || r->status == 206) {
        struct registry_head h = {.status = r->status, .length = -1, .digest = header(r, "docker-content-digest")};
        if (str_to_u64(header(r, "content-length"), &length) && length <= INT64_MAX)
            h.length = (int64_t)length;
        h.from = r->status == 206 ? range_start(header(r, "content-range")) : 0;
        g->streaming = true;
        for (size_t i = 0; i < g->s->nplaces; i++)
            if (g->s->places[i] == g->place)
                g->s->first = i;
        g->ev.on_head(g->arg, &h);
        return;
    }
    g->location = pool_str(g->pool, header(r, "location"));
    _cleanup_(buf_clear) struct buf b = BUF_INIT;
    for (size_t i = 0; i < r->nheaders; i++)
        if (str_eqz(r->headers[i].name, "www-authenticate"))
            buf_printf(&b, "%s%.*s", b.n ? ", " : "", STR_ARG(r->headers[i].value));
    g->challenge = pool_str(g->pool, buf_str(&b));
}

static void on_data(void *arg, const char *p, size_t n)
{
    struct registry_get *g = arg;
    g->heard = loop_now(g->s->loop);
    if (g->streaming)
        g->ev.on_data(g->arg, p, n);
    else
        buf_add(&g->body, p, MIN(n, BODY_MAX - g->body.n));
}

static void redirect(struct registry_get *g)
{
    _cleanup_(err_freep) struct err *e = NULL;
    struct registry_url to;
    bool by_digest = str_find(g->what, STR("sha256:")) >= 0;
    if (++g->redirects > REDIRECTS_MAX)
        registry_refused(g, ERR_LIMIT, "more than %d redirects", REDIRECTS_MAX);
    else if (registry_url_join(g->pool, &g->url, g->location, &to, &e) < 0)
        registry_refused(g, ERR_BAD_REQUEST, "redirect: %s", err_msg(e));
    else if (g->url.tls && !to.tls && !by_digest) /* what a digest vouches for may come by any way */
        registry_refused(g, ERR_FORBIDDEN, "redirects from https to http");
    else {
        g->url = to;
        registry_send(g);
    }
}

static enum err_code code_of(int status)
{
    return status == 404   ? ERR_NOT_FOUND
           : status == 401 ? ERR_UNAUTHORIZED
           : status == 403 ? ERR_FORBIDDEN
           : status == 429 ? ERR_TOO_MANY
                           : ERR_UNAVAILABLE;
}

static void refused_by_status(struct registry_get *g)
{
    struct str text = registry_error_text(g->pool, buf_str(&g->body));
    struct str name = pool_printf(g->pool, "%.*s %.*s", STR_ARG(g->place->ep.repository), STR_ARG(g->what));
    if (g->status == 404)
        registry_refused(g, ERR_NOT_FOUND, "%.*s: not found%s%.*s", STR_ARG(name), text.n ? ": " : "", STR_ARG(text));
    else
        registry_refused(
            g, code_of(g->status), "%.*s: unexpected status %d%s%.*s", STR_ARG(name), g->status, text.n ? ": " : "", STR_ARG(text));
}

static void on_end(void *arg, const struct err *e)
{
    struct registry_get *g = arg;
    g->call = NULL;
    timer_del(&g->timer);
    if (g->streaming)
        finish(g, e);
    else if (e)
        registry_refused(g, e->code, "%s", err_msg(e));
    else if (g->status >= 300 && g->status < 400 && g->location.n)
        redirect(g);
    else if (g->status == 401)
        registry_authenticate(g);
    else if (g->status == 403 && g->authorized && registry_next_cred(g))
        registry_send(g);
    else
        refused_by_status(g);
}

void registry_send(struct registry_get *g)
{
    static const struct http_call_events events = {on_head, on_data, NULL, on_end};
    _cleanup_(err_freep) struct err *e = NULL;
    struct http_header h[4];
    struct http_request rq = {.method = STR("GET"), .path = g->url.path.n ? g->url.path : STR("/"), .headers = h};
    struct http_client *client = registry_client(g->s, &g->url, &e);
    if (!client) {
        registry_refused(g, e->code, "%s", err_msg(e));
        return;
    }
    h[rq.nheaders++] = (struct http_header){STR("user-agent"), STR("sampan/" SAMPAN_VERSION)};
    if (g->accept)
        h[rq.nheaders++] = (struct http_header){STR("accept"), str_of(g->accept)};
    if (g->from > 0)
        h[rq.nheaders++] = (struct http_header){STR("range"), pool_printf(g->pool, "bytes=%" PRId64 "-", g->from)};
    g->authorized = g->place->authorization.n && registry_url_same(&g->url, &g->place->ep.url);
    if (g->authorized)
        h[rq.nheaders++] = (struct http_header){STR("authorization"), g->place->authorization};
    buf_reset(&g->body);
    g->status = 0;
    g->call = http_call(client, &rq, &events, g);
}

struct registry_get *registry_get(
    struct registry_session *s, struct str what, const char *accept, int64_t from, const struct registry_events *ev, void *arg)
{
    struct registry_get *g = xcalloc(1, sizeof *g);
    *g = (struct registry_get){.s = s, .pool = pool_new(), .accept = accept, .from = from, .ev = *ev, .arg = arg};
    g->what = pool_str(g->pool, what);
    g->why.limit = 4096;
    try_place(g);
    return g;
}
