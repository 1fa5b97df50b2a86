#include "api/nodes.h"

/* pods/log, exec, attach, portforward, proxy, services/proxy and nodes/proxy: found to a node, asked of its gate over the uplink. The gate
 * serves the paths that kubelets serve:
 *
 *     /containerLogs/<namespace>/<pod>/<container>?follow=...      /exec/<namespace>/<pod>/<container>?command=...
 *     /attach/<namespace>/<pod>/<container>?stdin=...              /portForward/<namespace>/<pod>
 *     /proxy/<http|https>/<address>/<port>/<path>                  (ours: a plain proxy into the pod network)
 *
 * Every request carries sampan-pod-uid where it speaks of a pod, so that it cannot reach a newer pod of that name. */

static const char *const container_lists[] = {"containers", "initContainers", "ephemeralContainers"};

static bool has_container(const struct json *spec, struct str name)
{
    for (size_t i = 0; i < ARRAY_LEN(container_lists); i++)
        json_for (json_get(spec, str_of(container_lists[i])), it)
            if (str_eq(json_get_str(it, "name"), name))
                return true;
    return false;
}

static int pick_container(struct call *c, const struct json *pod, struct str *out, struct err **e)
{
    const struct json *spec = json_get(pod, STR("spec")), *list = json_get(spec, STR("containers"));
    *out = call_query(c, "container");
    if (!str_empty(*out))
        return has_container(spec, *out)
                   ? 0
                   : err_set(e, ERR_BAD_REQUEST, "container %.*s is not valid for pod %.*s", STR_ARG(*out), STR_ARG(c->ri.name));
    if (json_count(list) == 1) {
        *out = json_get_str(json_at(list, 0), "name");
        return 0;
    }
    struct buf names = BUF_INIT;
    json_for (list, it)
        buf_printf(&names, "%s%.*s", names.n ? " " : "", STR_ARG(json_get_str(it, "name")));
    int r = err_set(e, ERR_BAD_REQUEST, "a container name must be specified for pod %.*s, choose one of: [%.*s]", STR_ARG(c->ri.name),
        STR_ARG(buf_str(&names)));
    buf_clear(&names);
    return r;
}

static int read_pod(struct call *c, const struct obj **o, struct json **pod, struct err **e)
{
    _cleanup_(store_view_unrefp) struct store_view *v = store_view(c->api->store);
    const struct obj *p = view_get(v, c->api->res.pods, c->ri.ns, c->ri.name);
    if (!p)
        return call_not_found(c, c->ri.name, e);
    pool_hold_obj(c->pool, obj_ref(p));
    *o = p;
    return obj_parse(p, c->pool, pod, e) < 0 ? -(*e)->code : 0;
}

static void escape(struct buf *b, struct str s)
{
    for (size_t i = 0; i < s.n; i++) {
        unsigned char ch = (unsigned char)s.p[i];
        bool plain = (ch >= 'a' && ch <= 'z') || (ch >= 'A' && ch <= 'Z') || (ch >= '0' && ch <= '9') || ch == '-' || ch == '.' ||
                     ch == '_' || ch == '~';
        if (plain)
            buf_putc(b, (char)ch);
        else
            buf_printf(b, "%%%02X", ch);
    }
}

static struct http_client *find_node(void *arg, struct str node, struct loop **loop)
{
    return api_node_client(arg, node, loop);
}

static void node_missing(struct http_req *rq, void *arg, struct str node)
{
    _cleanup_(err_freep) struct err *gone = NULL;
    (void)arg;
    (void)err_set(&gone, ERR_UNAVAILABLE, "node \"%.*s\" is not connected", STR_ARG(node));
    gone->retry_after_s = 1;
    http_reply_str(rq, 503, "application/json", status_json(rq->pool, gone));
}

/* To the node's gate, also when its uplink is just coming back. c is gone afterwards. */
static int to_node(struct call *c, struct str node, struct str uid, struct str path, bool query, struct err **e)
{
    int64_t until = api_node_awaited(c->api, node, loop_now(stream_loop(c->rq->conn)));
    if (!until && !api_node_connected(c->api, node)) {
        (void)err_set(e, ERR_UNAVAILABLE, "node \"%.*s\" is not connected", STR_ARG(node));
        (*e)->retry_after_s = 1;
        return -ERR_UNAVAILABLE;
    }
    struct str target = query && c->rq->query.n ? pool_printf(c->pool, "%.*s?%.*s", STR_ARG(path), STR_ARG(c->rq->query)) : path;
    struct api *a = c->api;
    struct http_header *extra = pool_array(c->rq->pool, struct http_header, 1);
    size_t n = str_empty(uid) ? 0 : 1;
    extra[0] = (struct http_header){STR("sampan-pod-uid"), pool_str(c->rq->pool, uid)};
    target = pool_str(c->rq->pool, target);
    node = pool_str(c->rq->pool, node);
    metrics_count(a, c, 200);
    api_proxy_await(call_hand_over(c), find_node, node_missing, a, node, target, extra, n, until);
    return CALL_WAIT;
}

static int to_pod(struct call *c, const char *what, bool container, struct err **e)
{
    const struct obj *o;
    struct json *pod;
    struct str name = STR_NULL;
    if (read_pod(c, &o, &pod, e) < 0 || (container && pick_container(c, pod, &name, e) < 0))
        return -(*e)->code;
    struct str node = json_str_at(pod, "spec", "nodeName", NULL);
    if (str_empty(node))
        return err_set(e, ERR_BAD_REQUEST, "pod %.*s does not have a host assigned", STR_ARG(c->ri.name));
    struct buf path = BUF_INIT;
    buf_printf(&path, "/%s/", what);
    escape(&path, o->ns);
    buf_putc(&path, '/');
    escape(&path, o->name);
    if (container) {
        buf_putc(&path, '/');
        escape(&path, name);
    }
    return to_node(c, node, o->uid, buf_to_pool(&path, c->pool), true, e);
}

static int check_log_options(struct call *c, struct err **e)
{
    static const struct {
        const char *name;
        int64_t least;
    } numbers[] = {{"tailLines", 0}, {"limitBytes", 1}, {"sinceSeconds", 1}};
    for (size_t i = 0; i < ARRAY_LEN(numbers); i++) {
        struct str v = call_query(c, numbers[i].name);
        int64_t n;
        if (str_empty(v))
            continue;
        if (!str_to_i64(v, &n))
            return err_set(e, ERR_BAD_REQUEST, "%s: Invalid value: \"%.*s\": must be an integer", numbers[i].name, STR_ARG(v));
        if (n < numbers[i].least)
            return err_set(e, ERR_INVALID,
                "PodLogOptions \"%.*s\" is invalid: %s: Invalid value: %" PRId64 ": must be greater than or equal to %" PRId64,
                STR_ARG(c->ri.name), numbers[i].name, n, numbers[i].least);
    }
    if (!str_empty(call_query(c, "sinceSeconds")) && !str_empty(call_query(c, "sinceTime")))
        return err_set(e, ERR_INVALID,
            "PodLogOptions \"%.*s\" is invalid: : Forbidden: at most one of `sinceTime` or `sinceSeconds` may be specified",
            STR_ARG(c->ri.name));
    return 0;
}

int node_log(struct call *c, struct err **e)
{
    const struct obj *o;
    struct json *pod;
    struct str name;
    if (check_log_options(c, e) < 0 || read_pod(c, &o, &pod, e) < 0 || pick_container(c, pod, &name, e) < 0)
        return -(*e)->code;
    if (!str_empty(json_str_at(pod, "spec", "nodeName", NULL)))
        return to_pod(c, "containerLogs", true, e);
    call_reply_raw(c, 200, "text/plain", bytes_new("", 0)); /* no node yet: nothing was said */
    return 0;
}

int node_upgrade(struct call *c, struct err **e)
{
    bool forward = str_eqz(c->ri.sub, "portforward"), exec = str_eqz(c->ri.sub, "exec");
    if (c->ri.verb != VERB_GET && c->ri.verb != VERB_CREATE)
        return err_set(e, ERR_METHOD, "the server does not allow this method on the requested resource");
    if (exec && !call_query(c, "command").p)
        return err_set(e, ERR_BAD_REQUEST, "you must specify at least one command for the container");
    if (str_empty(c->rq->protocol))
        return err_set(e, ERR_BAD_REQUEST, "Upgrade request required");
    if (c->ri.verb == VERB_GET) { /* a WebSocket begins with GET, but what it does is no reading (KEP-4006's permission check) */
        struct api_attrs at;
        authz_attrs(&c->ri, &at);
        at.verb = STR("create");
        if (api_authorize(c->api, c->user, &at, e) < 0)
            return -(*e)->code;
    }
    return to_pod(c, forward ? "portForward" : exec ? "exec" : "attach", !forward, e);
}

/* ---- plain proxies ---- */

static struct str rest_of(struct call *c)
{
    return pool_printf(c->pool, "/%.*s", STR_ARG(c->ri.rest));
}

int node_proxy(struct call *c, struct err **e)
{
    _cleanup_(store_view_unrefp) struct store_view *v = store_view(c->api->store);
    struct str name = c->ri.name, port;
    (void)str_cut(name, ':', &name, &port);
    if (!view_get(v, c->api->res.nodes, STR_NULL, name))
        return call_not_found(c, name, e);
    return to_node(c, name, STR_NULL, rest_of(c), true, e);
}

/* A page asked for at ".../proxy" is at ".../proxy/", else its relative links would lead beside it. As the API server does it, for GET and HEAD. */
static bool to_folder(struct call *c)
{
    bool read = str_eqz(c->rq->method, "GET") || str_eqz(c->rq->method, "HEAD");
    if (!read || c->rq->protocol.n || !str_ends(c->rq->path, STR("/proxy")))
        return false;
    struct str to = pool_printf(
        c->rq->pool, "%.*s/%s%.*s", STR_ARG(c->rq->path), c->rq->query.n ? "?" : "", STR_ARG(c->rq->query));
    metrics_count(c->api, c, 301);
    struct http_req *rq = call_hand_over(c);
    http_reply(rq, 301, &(struct http_header){STR("location"), to}, 1, NULL);
    return true;
}

/* "[https:]name[:port]" */
static void split_target(struct str s, struct str *scheme, struct str *name, struct str *port)
{
    struct str a = s, b = STR_NULL, d = STR_NULL, rest;
    *scheme = STR("http");
    *port = STR_NULL;
    *name = s;
    if (!str_cut(s, ':', &a, &rest))
        return;
    if (str_cut(rest, ':', &b, &d)) {
        if (!str_empty(a))
            *scheme = a;
        *name = b;
        *port = d;
    } else {
        *name = a;
        *port = rest;
    }
}

static int proxy_path(struct call *c, struct str scheme, struct str ip, int64_t port, struct str *out, struct err **e)
{
    if (!str_eqz(scheme, "http") && !str_eqz(scheme, "https"))
        return err_set(e, ERR_BAD_REQUEST, "invalid scheme \"%.*s\"", STR_ARG(scheme));
    if (port < 1 || port > 65535)
        return err_set(e, ERR_BAD_REQUEST, "invalid port %" PRId64, port);
    struct buf b = BUF_INIT;
    buf_printf(&b, "/proxy/%.*s/", STR_ARG(scheme));
    escape(&b, ip);
    buf_printf(&b, "/%" PRId64 "/%.*s", port, STR_ARG(c->ri.rest));
    *out = buf_to_pool(&b, c->pool);
    return 0;
}

static int64_t named_port(const struct json *pod, struct str port)
{
    uint64_t n;
    if (str_to_u64(port, &n))
        return (int64_t)n;
    json_for (json_path(pod, "spec", "containers", NULL), ct) {
        json_for (json_get(ct, STR("ports")), it)
            if (str_empty(port) || str_eq(json_get_str(it, "name"), port))
                return json_get_int(it, "containerPort", 0);
    }
    return str_empty(port) ? 80 : 0;
}

int pod_proxy(struct call *c, struct err **e)
{
    const struct obj *o;
    struct json *pod;
    struct str scheme, port, path;
    split_target(c->ri.name, &scheme, &c->ri.name, &port);
    if (read_pod(c, &o, &pod, e) < 0)
        return -(*e)->code;
    struct str ip = json_str_at(pod, "status", "podIP", NULL), node = json_str_at(pod, "spec", "nodeName", NULL);
    if (to_folder(c))
        return CALL_WAIT;
    if (str_empty(ip) || str_empty(node))
        return err_set(e, ERR_BAD_REQUEST, "address not allowed");
    if (proxy_path(c, scheme, ip, named_port(pod, port), &path, e) < 0)
        return -(*e)->code;
    return to_node(c, node, o->uid, path, true, e);
}

/* A ready endpoint of the Service's port, from its slices. */
struct backend {
    struct str service, port_name;
    struct str ip, node;
    int64_t port;
};
static bool find_backend(struct call *c, struct store_view *v, struct backend *b)
{
    struct store_iter it;
    iter_start(&it, v, c->api->res.slices, c->ri.ns, STR_NULL, STR_NULL);
    for (const struct obj *o; (o = iter_next(&it));) {
        struct json *s;
        if (!str_eq(obj_label(o, STR("kubernetes.io/service-name")), b->service))
            continue;
        pool_hold_obj(c->pool, obj_ref(o));
        if (obj_parse(o, c->pool, &s, NULL) < 0)
            continue;
        json_for (json_get(s, STR("ports")), p)
            if (str_eq(json_get_str(p, "name"), b->port_name))
                b->port = json_get_int(p, "port", 0);
        json_for (json_get(s, STR("endpoints")), ep) {
            if (!b->port || !json_as_bool(json_path(ep, "conditions", "ready", NULL), true) || str_empty(json_get_str(ep, "nodeName")))
                continue;
            b->ip = json_as_str(json_at(json_get(ep, STR("addresses")), 0));
            b->node = json_get_str(ep, "nodeName");
            return true;
        }
    }
    return false;
}

int service_proxy(struct call *c, struct err **e)
{
    struct str scheme, port, path;
    split_target(c->ri.name, &scheme, &c->ri.name, &port);
    _cleanup_(store_view_unrefp) struct store_view *v = store_view(c->api->store);
    const struct obj *o = view_get(v, c->api->res.services, c->ri.ns, c->ri.name);
    struct json *svc;
    if (!o)
        return call_not_found(c, c->ri.name, e);
    if (to_folder(c))
        return CALL_WAIT;
    pool_hold_obj(c->pool, obj_ref(o));
    if (obj_parse(o, c->pool, &svc, e) < 0)
        return -(*e)->code;
    struct backend b = {.service = o->name, .port_name = STR_NULL};
    bool found = false;
    json_for (json_path(svc, "spec", "ports", NULL), it) {
        struct str number = pool_printf(c->pool, "%" PRId64, json_get_int(it, "port", 0));
        if (!found && (str_empty(port) || str_eq(port, number) || str_eq(port, json_get_str(it, "name")))) {
            b.port_name = json_get_str(it, "name");
            found = true;
        }
    }
    if (!found)
        return err_set(e, ERR_UNAVAILABLE, "no service port \"%.*s\" found for service \"%.*s\"", STR_ARG(port), STR_ARG(o->name));
    if (!find_backend(c, v, &b))
        return err_set(e, ERR_UNAVAILABLE, "no endpoints available for service \"%.*s\"", STR_ARG(o->name));
    if (proxy_path(c, scheme, b.ip, b.port, &path, e) < 0)
        return -(*e)->code;
    return to_node(c, b.node, STR_NULL, path, true, e);
}
