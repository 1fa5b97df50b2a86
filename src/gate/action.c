#include "gate/action.h"

#include <stdlib.h>

#include "crypto/tls.h"

#define BODY_MAX (10 << 10)
#define REDIRECTS_MAX 10

struct action {
    struct action_spec s;
    void (*done)(void *arg, const struct action_result *r);
    void *arg;
    struct http_client *client;
    struct tls_ctx *tls;
    struct http_call *call;
    struct dial *dial;
    struct defer turn;        /* what is to be said, or asked next, when the stack is clear of the client */
    const char *what;         /* httpGet, tcpSocket, grpc */
    const struct json *spec;  /* what the handler has under that name */
    char *host, *path, *error;
    uint16_t port;
    bool https, again;
    int status, redirects;
    char *location;
    struct buf body;
};

static void stop_call(struct action *a)
{
    if (a->call)
        http_call_cancel(TAKE(a->call));
    if (a->dial)
        dial_cancel(TAKE(a->dial));
    http_client_free(TAKE(a->client));
}

void action_cancel(struct action *a)
{
    if (!a)
        return;
    stop_call(a);
    defer_del(a->s.gp->gate->loop, &a->turn);
    tls_ctx_free(a->tls);
    buf_clear(&a->body);
    free(a->host);
    free(a->path);
    free(a->error);
    free(a->location);
    free(a);
}

/* ---- the end ---- */

static bool is(const struct action *a, const char *what)
{
    return strcmp(a->what, what) == 0;
}

/* grpc.health.v1: HealthCheckResponse { ServingStatus status = 1 } behind gRPC's five bytes (compressed or not, length); absent is 0, UNKNOWN. */
static const char *grpc_verdict(const struct action *a)
{
    struct str b = buf_str(&a->body);
    if (a->status != 200)
        return "the health service answered with an HTTP error";
    if (b.n < 5)
        return "this server does not implement the grpc health protocol (grpc.health.v1.Health)";
    if (b.n >= 7 && b.p[5] == 0x08)
        return b.p[6] == 1 ? NULL : b.p[6] == 2 ? "service unhealthy (responded with \"NOT_SERVING\")" : "service unhealthy (responded with \"SERVICE_UNKNOWN\")";
    return "service unhealthy (responded with \"UNKNOWN\")";
}

static void finish(struct action *a)
{
    struct action_result r = {.error = a->error, .status = is(a, "httpGet") ? a->status : 0, .body = buf_str(&a->body)};
    if (!r.error && is(a, "grpc"))
        r.error = grpc_verdict(a);
    r.good = !r.error && (!is(a, "httpGet") || (r.status >= 200 && r.status < 400));
    r.redirected = r.good && is(a, "httpGet") && a->location != NULL;
    a->done(a->arg, &r);
    action_cancel(a);
}

static void begin(struct action *a);

static void on_turn(struct defer *d)
{
    struct action *a = container_of(d, struct action, turn);
    stop_call(a);
    if (!a->again) {
        finish(a);
        return;
    }
    a->again = false;
    a->status = 0;
    buf_clear(&a->body);
    begin(a);
}

static void settle(struct action *a, const char *error)
{
    if (error && !a->error)
        a->error = xstrdup(error);
    if (!a->turn.on)
        loop_defer(a->s.gp->gate->loop, &a->turn, on_turn);
}

/* ---- redirects ---- */

static bool local_host(const struct action *a, struct str authority, uint16_t *port)
{
    struct str host = authority, rest;
    uint64_t n;
    if (authority.n && authority.p[0] == '[') {
        ssize_t close = str_chr(authority, ']');
        host = close < 0 ? authority : str_sub(authority, 1, (size_t)close);
        rest = close < 0 ? STR_NULL : str_sub(authority, (size_t)close + 1, authority.n);
        if (rest.n > 1 && str_to_u64(str_sub(rest, 1, rest.n), &n))
            *port = (uint16_t)n;
    } else if (str_cut(authority, ':', &host, &rest) && str_to_u64(rest, &n)) {
        *port = (uint16_t)n;
    }
    return str_eqz(host, a->host);
}

/* Takes up the address that an answer points to. false: it is another host's. */
static bool follow(struct action *a)
{
    struct str to = str_of(a->location), authority = STR_NULL;
    bool https = a->https;
    uint16_t port = a->port;
    if (str_starts(to, STR("http://")) || str_starts(to, STR("https://"))) {
        https = str_starts(to, STR("https://"));
        to = str_sub(to, https ? 8 : 7, to.n);
        ssize_t slash = str_chr(to, '/');
        authority = slash < 0 ? to : str_sub(to, 0, (size_t)slash);
        to = slash < 0 ? STR("/") : str_sub(to, (size_t)slash, to.n);
        port = https ? 443 : 80;
        if (!local_host(a, authority, &port))
            return false;
    } else if (str_starts(to, STR("//"))) {
        return false;
    }
    struct str base = str_of(a->path);
    size_t keep = 0;
    for (size_t i = 0; i < base.n && base.p[i] != '?'; i++)
        keep = base.p[i] == '/' ? i + 1 : keep;
    char *path = to.n && to.p[0] == '/' ? str_dup(to) : xasprintf("%.*s%.*s", STR_ARG(str_sub(base, 0, keep)), STR_ARG(to));
    free(a->path);
    a->path = path;
    a->https = https;
    a->port = port;
    free(TAKE(a->location));
    return true;
}

/* ---- calls ---- */

static void on_head(void *arg, const struct http_response *r)
{
    struct action *a = arg;
    a->status = r->status;
    free(TAKE(a->location));
    for (size_t i = 0; i < r->nheaders && r->status >= 301 && r->status <= 308 && r->status != 304; i++)
        if (str_eqz(r->headers[i].name, "location") && !a->location)
            a->location = str_dup(r->headers[i].value);
}

static void on_data(void *arg, const char *p, size_t n)
{
    struct action *a = arg;
    if (a->body.n < BODY_MAX)
        buf_add(&a->body, p, MIN(n, BODY_MAX - a->body.n));
    else if (!is(a, "grpc"))
        settle(a, NULL); /* enough was read; a page without an end is an answer */
}

static void on_end(void *arg, const struct err *e)
{
    struct action *a = arg;
    a->call = NULL;
    bool too_many = !e && a->location && a->redirects++ >= REDIRECTS_MAX;
    a->again = !e && a->location && !too_many && follow(a);
    settle(a, e ? err_msg(e) : too_many ? "stopped after 10 redirects" : NULL);
}

static const struct http_call_events call_events = {on_head, on_data, NULL, on_end};

static void call_http(struct action *a)
{
    _cleanup_(err_freep) struct err *e = NULL;
    struct http_header headers[36];
    size_t n = 0;
    bool agent = true, accept = true;
    struct endpoint ep = {.host = a->host, .port = a->port, .timeout_ms = (int)MIN(a->s.timeout / NS_PER_MS, 60000)};
    struct tls_config c = {.clock = a->s.gp->gate->clock, .insecure = true};
    if (a->https && !a->tls && !(a->tls = tls_ctx_new(&c, &e))) {
        settle(a, err_msg(e));
        return;
    }
    ep.tls = a->https ? a->tls : NULL;
    json_for(json_get(a->spec, STR("httpHeaders")), h) {
        struct str name = json_get_str(h, "name");
        agent &= !str_eq_nocase(name, STR("user-agent"));
        accept &= !str_eq_nocase(name, STR("accept"));
        if (n < 32)
            headers[n++] = (struct http_header){name, json_get_str(h, "value")};
    }
    if (agent)
        headers[n++] = (struct http_header){STR("user-agent"), str_of(a->s.agent)};
    if (accept)
        headers[n++] = (struct http_header){STR("accept"), STR("*/*")};
    struct http_request rq = {.method = STR("GET"), .path = str_of(a->path), .headers = headers, .nheaders = n, .timeout_ms = -1};
    a->client = http_client_new(a->s.gp->gate->loop, &ep, NULL);
    a->call = http_call(a->client, &rq, &call_events, a);
}

static void on_grpc_closed(void *arg, const struct err *why)
{
    (void)arg;
    (void)why; /* the call fails of itself */
}

static void call_grpc(struct action *a, struct stream *s)
{
    static const struct http_header headers[] = {
        {{"content-type", 12}, {"application/grpc", 16}}, {{"te", 2}, {"trailers", 8}}, {{"user-agent", 10}, {"kube-probe/1.36 grpc", 20}}};
    struct str service = str_sub(json_get_str(a->spec, "service"), 0, 127); /* HealthCheckRequest { string service = 1 } */
    char body[5 + 2 + 127] = {0};
    size_t n = service.n ? service.n + 2 : 0;
    body[4] = (char)n;
    body[5] = 0x0a;
    body[6] = (char)service.n;
    if (service.n)
        memcpy(body + 7, service.p, service.n);
    struct http_request rq = {.method = STR("POST"), .path = STR("/grpc.health.v1.Health/Check"), .headers = headers, .nheaders = ARRAY_LEN(headers),
        .body = str_make(body, 5 + n), .timeout_ms = -1};
    a->client = http_client_over(s, NULL, on_grpc_closed, a);
    a->call = http_call(a->client, &rq, &call_events, a);
}

static void on_dialled(void *arg, struct stream *s, const struct err *e)
{
    struct action *a = arg;
    a->dial = NULL;
    if (s && is(a, "grpc")) {
        call_grpc(a, s);
        return;
    }
    if (s)
        stream_abort(s);
    settle(a, s ? NULL : err_msg(e));
}

/* ---- the beginning ---- */

static bool port_of(const struct action *a, uint16_t *out)
{
    const struct json *port = json_get(a->spec, STR("port"));
    struct str name = json_as_str(port);
    uint64_t n = (uint64_t)json_as_int(port, 0);
    if (name.n && !str_to_u64(name, &n))
        json_for(json_get(a->s.con, STR("ports")), p)
            if (str_eq(json_get_str(p, "name"), name))
                n = (uint64_t)json_get_int(p, "containerPort", 0);
    *out = (uint16_t)n;
    return n > 0 && n < 65536;
}

static struct str target_host(const struct action *a)
{
    struct gpod *gp = a->s.gp;
    struct str host = json_get_str(a->spec, "host");
    if (host.n && !is(a, "grpc"))
        return host;
    return json_get_bool(json_get(gpod_tree(gp), STR("spec")), "hostNetwork", false) ? str_of(gp->gate->host_ip) : gpod_ip(gp);
}

static void begin(struct action *a)
{
    struct endpoint ep = {.host = a->host, .port = a->port, .timeout_ms = (int)MIN(a->s.timeout / NS_PER_MS, 60000)};
    if (is(a, "httpGet"))
        call_http(a);
    else
        a->dial = stream_dial(a->s.gp->gate->loop, &ep, on_dialled, a);
}

struct action *action_start(const struct action_spec *s, void (*done)(void *arg, const struct action_result *r), void *arg)
{
    static const char *const kinds[] = {"httpGet", "tcpSocket", "grpc"};
    struct action *a = xcalloc(1, sizeof *a);
    *a = (struct action){.s = *s, .done = done, .arg = arg, .what = ""};
    for (size_t i = 0; i < ARRAY_LEN(kinds) && !a->spec; i++)
        if ((a->spec = json_get(s->handler, str_of(kinds[i]))))
            a->what = kinds[i];
    struct str path = json_get_str(a->spec, "path");
    a->path = !path.n ? xstrdup("/") : path.p[0] == '/' ? str_dup(path) : xasprintf("/%.*s", STR_ARG(path));
    a->https = str_eqz(json_get_str(a->spec, "scheme"), "HTTPS");
    a->host = a->spec ? str_dup(target_host(a)) : xstrdup("");
    if (!a->spec)
        settle(a, "invalid handler: it names no action");
    else if (!a->host[0])
        settle(a, "failed to find networking container: the pod has no address yet");
    else if (!port_of(a, &a->port))
        settle(a, "couldn't find port: the container has none of that name or number");
    else
        begin(a);
    return a;
}
