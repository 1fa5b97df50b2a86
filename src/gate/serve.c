#include "gate/serve.h"

#include <stdarg.h>

void serve_fail(struct http_req *rq, int status, const char *fmt, ...)
{
    _cleanup_(buf_clear) struct buf b = BUF_INIT;
    va_list ap;
    va_start(ap, fmt);
    buf_vprintf(&b, fmt, ap);
    va_end(ap);
    http_reply_str(rq, status, "text/plain; charset=utf-8", buf_str(&b));
}

bool serve_flag(const struct http_req *rq, const char *name)
{
    struct str v = http_query(rq, str_of(name));
    return v.p && !str_eqz(v, "0") && !str_eq_nocase(v, STR("false"));
}

const struct node_container_state *serve_state(const struct gpod *gp, struct str container)
{
    for (size_t i = 0; gp->state && i < gp->state->ncontainers; i++)
        if (str_eq(gp->state->containers[i].name, container))
            return &gp->state->containers[i];
    return NULL;
}

/* ---- which pod ---- */

static bool has_container(struct gpod *gp, struct str name)
{
    static const char *const lists[] = {"containers", "initContainers", "ephemeralContainers"};
    const struct json *tree = gpod_tree(gp);
    if (!tree) /* deleted above and being stopped here: node still knows it */
        return serve_state(gp, name) != NULL;
    for (size_t i = 0; i < ARRAY_LEN(lists); i++) {
        json_for (json_path(tree, "spec", lists[i], NULL), c)
            if (str_eq(json_get_str(c, "name"), name))
                return true;
    }
    return false;
}

/* "{namespace}/{pod}[/{uid}][/{container}]" → the pod. false: answered. */
static bool find_target(struct gate *g, struct http_req *rq, struct str rest, bool container, struct target *t)
{
    struct str part[5], piece, uid = http_header(rq, STR("sampan-pod-uid"));
    size_t n = 0, most = container ? 4 : 3;
    while (n < ARRAY_LEN(part) && str_split(&rest, '/', &piece))
        if (!http_unescape(rq->pool, piece, &part[n++])) {
            serve_fail(rq, 400, "malformed path");
            return false;
        }
    if (n != most && n != most - 1) {
        serve_fail(rq, 404, "404 page not found");
        return false;
    }
    if (n == most)
        uid = part[2];
    t->pod = pods_find_name(g, part[0], part[1]);
    if (!t->pod || (uid.n && !str_eq(uid, t->pod->uid) && !str_eq(uid, gpod_api_uid(t->pod)))) {
        serve_fail(rq, 404, "pod \"%.*s\" not found", STR_ARG(part[1]));
        return false;
    }
    t->container = container ? part[n - 1] : STR_NULL;
    if (container && !has_container(t->pod, t->container)) {
        serve_fail(rq, 404, "container \"%.*s\" not found in pod \"%.*s\"", STR_ARG(t->container), STR_ARG(part[1]));
        return false;
    }
    return true;
}

/* ---- the small ones ---- */

static void send_pods(struct gate *g, struct http_req *rq, bool running)
{
    static const struct http_header json = {{"content-type", 12}, {"application/json", 16}};
    bool first = true;
    http_start(rq, 200, &json, 1);
    http_send_str(rq, STR("{\"kind\":\"PodList\",\"apiVersion\":\"v1\",\"metadata\":{},\"items\":["));
    map_for (&g->pods, it) {
        struct gpod *gp = it->value;
        if (!gp->object || (running && !(gp->state && gp->state->sandbox_ready)))
            continue;
        if (!first)
            http_send_str(rq, STR(","));
        first = false;
        http_send(rq, gp->object, 0, gp->object->n);
    }
    http_send_str(rq, STR("]}\n"));
    http_end(rq);
}

static void serve_pods(struct gate *g, struct http_req *rq)
{
    send_pods(g, rq, false);
}

static void serve_running(struct gate *g, struct http_req *rq)
{
    send_pods(g, rq, true);
}

static void serve_health(struct gate *g, struct http_req *rq)
{
    if (g->node)
        http_reply_str(rq, 200, "text/plain; charset=utf-8", STR("ok"));
    else
        serve_fail(rq, 500, "the node process is away");
}

static void serve_summary(struct gate *g, struct http_req *rq)
{
    serve_stats(g, rq, STATS_SUMMARY);
}
static void serve_metrics(struct gate *g, struct http_req *rq)
{
    serve_stats(g, rq, STATS_METRICS);
}
static void serve_cadvisor(struct gate *g, struct http_req *rq)
{
    serve_stats(g, rq, STATS_CADVISOR);
}

static void serve_proxied(struct gate *g, struct http_req *rq)
{
    serve_proxy(g, rq, str_sub(rq->path, sizeof "/proxy/" - 1, rq->path.n));
}

/* ---- the table ---- */

enum method { GET = 1, ANY = 2 };
static const struct route {
    const char *prefix;
    enum method method;
    void (*whole)(struct gate *g, struct http_req *rq);                          /* the path is exactly this */
    void (*of_pod)(struct gate *g, struct http_req *rq, const struct target *t); /* or goes on with a pod */
    bool container, below; /* the path goes on with a container; whole takes all paths below */
} routes[] = {
    {"/healthz", GET, .whole = serve_health},
    {"/pods", GET, .whole = serve_pods},
    {"/stats/summary", GET, .whole = serve_summary},
    {"/metrics/resource", GET, .whole = serve_metrics},
    {"/metrics/cadvisor", GET, .whole = serve_cadvisor},
    {"/metrics", GET, .whole = serve_own_metrics},
    {"/stats/usage", GET, .whole = serve_usage},
    {"/runningpods", GET, .whole = serve_running},
    {"/containerLogs/", GET, .of_pod = serve_logs, .container = true},
    {"/exec/", ANY, .of_pod = serve_exec, .container = true},
    {"/attach/", ANY, .of_pod = serve_attach, .container = true},
    {"/portForward/", ANY, .of_pod = serve_forward},
    {"/proxy/", ANY, .whole = serve_proxied, .below = true},
};

void serve_request(struct http_req *rq, void *gate)
{
    struct gate *g = gate;
    struct target t;
    for (size_t i = 0; i < ARRAY_LEN(routes); i++) {
        const struct route *r = &routes[i];
        struct str prefix = str_of(r->prefix);
        if (r->whole && !r->below ? !str_eq(rq->path, prefix) : !str_starts(rq->path, prefix))
            continue;
        bool upgraded_log = r->of_pod == serve_logs && rq->protocol.n; /* over HTTP/2 an upgrade is a CONNECT */
        if (r->method == GET && !str_eqz(rq->method, "GET") && !upgraded_log) {
            serve_fail(rq, 405, "405: Method Not Allowed");
            return;
        }
        if (r->whole)
            r->whole(g, rq);
        else if (find_target(g, rq, str_sub(rq->path, prefix.n, rq->path.n), r->container, &t))
            r->of_pod(g, rq, &t);
        return;
    }
    serve_fail(rq, 404, "404 page not found");
}
