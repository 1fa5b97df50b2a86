#include "gate/csi_rpc.h"

#include <stdlib.h>

#include "proto/wire.h"

#define CALL_NS (120 * NS_PER_S) /* as the kubelet's csiTimeout */

struct csi_rpc {
    struct gate *gate;
    void (*done)(void *arg, const struct err *e, struct str answer);
    void *arg;
    char *method;
    struct buf request, answer;
    uint64_t asked; /* of node: the socket */
    struct http_client *client;
    struct http_call *call;
    struct err *failed;
    struct timer limit;
    struct defer turn;
    int status;
    uint64_t code; /* grpc-status */
    char *message;
};

static void stop(struct csi_rpc *c)
{
    if (c->asked)
        gate_forget(c->gate, c->asked);
    c->asked = 0;
    if (c->call)
        http_call_cancel(TAKE(c->call));
    http_client_free(TAKE(c->client));
    timer_del(&c->limit);
}

void csi_call_cancel(struct csi_rpc *c)
{
    if (!c)
        return;
    stop(c);
    defer_del(c->gate->loop, &c->turn);
    if (c->request.p)
        explicit_bzero(c->request.p, c->request.n); /* it may hold a volume's secrets */
    buf_clear(&c->request);
    buf_clear(&c->answer);
    err_free(c->failed);
    free(c->method);
    free(c->message);
    free(c);
}

/* ---- the end ---- */

/* google.golang.org/grpc/codes */
static const char *code_name(uint64_t code)
{
    static const char *const names[] = {"OK", "Canceled", "Unknown", "InvalidArgument", "DeadlineExceeded", "NotFound", "AlreadyExists",
        "PermissionDenied", "ResourceExhausted", "FailedPrecondition", "Aborted", "OutOfRange", "Unimplemented", "Internal", "Unavailable",
        "DataLoss", "Unauthenticated"};
    return code < ARRAY_LEN(names) ? names[code] : "Unknown";
}

/* Five bytes (compressed or not, length) before the message; a call that failed has no message at all. */
static struct str message_of(struct csi_rpc *c)
{
    struct str b = buf_str(&c->answer);
    if (c->failed)
        return STR_NULL;
    if (c->status != 200)
        err_set(&c->failed, ERR_INTERNAL, "the plugin answered with HTTP status %d", c->status);
    else if (c->code || b.n < 5)
        err_set(&c->failed, ERR_INTERNAL, "rpc error: code = %s desc = %s", code_name(c->code ? c->code : 2), c->message ? c->message : "");
    else if (b.p[0] || ((size_t)(unsigned char)b.p[1] << 24 | (size_t)(unsigned char)b.p[2] << 16 | (size_t)(unsigned char)b.p[3] << 8 |
                           (size_t)(unsigned char)b.p[4]) != b.n - 5)
        err_set(&c->failed, ERR_PARSE, "the plugin's answer is not one gRPC message");
    return c->failed ? STR_NULL : str_sub(b, 5, b.n);
}

static void on_turn(struct defer *d)
{
    struct csi_rpc *c = container_of(d, struct csi_rpc, turn);
    stop(c);
    struct str answer = message_of(c);
    c->done(c->arg, c->failed, answer);
    csi_call_cancel(c);
}

static void settle(struct csi_rpc *c)
{
    if (!c->turn.on)
        loop_defer(c->gate->loop, &c->turn, on_turn);
}

static void on_limit(struct timer *t)
{
    struct csi_rpc *c = container_of(t, struct csi_rpc, limit);
    err_set(&c->failed, ERR_TIMEOUT, "rpc error: code = DeadlineExceeded desc = %s: no answer in time", c->method);
    settle(c);
}

/* ---- the call ---- */

static void on_head(void *arg, const struct http_response *r)
{
    struct csi_rpc *c = arg;
    c->status = r->status;
    for (size_t i = 0; i < r->nheaders; i++) {
        if (str_eqz(r->headers[i].name, "grpc-status"))
            (void)str_to_u64(r->headers[i].value, &c->code);
        else if (str_eqz(r->headers[i].name, "grpc-message") && !c->message)
            c->message = str_dup(str_sub(r->headers[i].value, 0, MIN(r->headers[i].value.n, 1024)));
    }
}

static void on_data(void *arg, const char *p, size_t n)
{
    struct csi_rpc *c = arg;
    if (c->answer.n + n <= CSI_ANSWER_MAX) {
        buf_add(&c->answer, p, n);
        return;
    }
    err_set(&c->failed, ERR_LIMIT, "the plugin's answer is larger than %u bytes", CSI_ANSWER_MAX);
    settle(c);
}

static void on_end(void *arg, const struct err *e)
{
    struct csi_rpc *c = arg;
    c->call = NULL;
    if (e && !c->failed)
        err_set(&c->failed, ERR_UNAVAILABLE, "%s", err_msg(e));
    settle(c);
}

static void on_closed(void *arg, const struct err *why)
{
    (void)arg;
    (void)why; /* the call fails of itself */
}

static void begin(struct csi_rpc *c, struct stream *s)
{
    static const struct http_call_events events = {on_head, on_data, NULL, on_end};
    static const struct http_header headers[] = {{{"content-type", 12}, {"application/grpc", 16}}, {{"te", 2}, {"trailers", 8}}};
    struct http_request rq = {.method = STR("POST"),
        .path = str_of(c->method),
        .headers = headers,
        .nheaders = ARRAY_LEN(headers),
        .body = buf_str(&c->request),
        .timeout_ms = -1};
    c->client = http_client_over(s, NULL, on_closed, c);
    c->call = http_call(c->client, &rq, &events, c);
}

static void on_socket(void *arg, struct wire_msg *m)
{
    struct csi_rpc *c = arg;
    _cleanup_(pool_freep) struct pool *p = pool_new();
    struct node_reply r = {.code = ERR_UNAVAILABLE, .message = STR("the node process is away")};
    c->asked = 0;
    if (m && (m->type != NODE_REPLY || wire_decode(&node_reply_type, m->body, p, &r, NULL) < 0 || (!r.code && m->nfds != 1)))
        r = (struct node_reply){ERR_INTERNAL, STR("node's answer holds no socket")};
    struct stream *s = r.code ? NULL : stream_fd_new(c->gate->loop, m->fds[0], &c->failed);
    if (!r.code)
        m->fds[0] = -1;
    if (s) {
        begin(c, s);
        return;
    }
    if (!c->failed)
        err_set(&c->failed, ERR_UNAVAILABLE, "%.*s", STR_ARG(r.message));
    settle(c);
}

struct csi_rpc *csi_call(struct gate *g, const char *socket, const char *method, struct str request,
    void (*done)(void *arg, const struct err *e, struct str answer), void *arg)
{
    struct csi_rpc *c = xcalloc(1, sizeof *c);
    struct node_storage ask = {.path = str_of(socket)};
    const char head[5] = {0, (char)(request.n >> 24), (char)(request.n >> 16), (char)(request.n >> 8), (char)request.n};
    *c = (struct csi_rpc){.gate = g, .done = done, .arg = arg, .method = xstrdup(method)};
    buf_add(&c->request, head, sizeof head);
    buf_str_add(&c->request, request);
    timer_in(g->loop, &c->limit, CALL_NS, on_limit);
    c->asked = gate_ask(g, NODE_PLUGIN_CONNECT, &node_storage_type, &ask, on_socket, c);
    return c;
}

/* ---- reading ---- */

bool csi_read_plugin_info(struct str in, struct csi_plugin_info *out)
{
    struct small s;
    if (!wire_small(in, &s))
        return false;
    *out = (struct csi_plugin_info){s.s[1], s.s[2], s.s[3]};
    return out->name.n > 0 && out->name.n < 254;
}

static bool read_topology(struct pool *p, struct str in, struct json *out)
{
    struct raw r;
    while (in.n) {
        struct small pair;
        if (!wire_next(&in, &r))
            return false;
        if (r.number != 1 || r.wt != WT_BYTES)
            continue;
        if (!wire_small(r.s, &pair) || pair.s[1].n > 317 || pair.s[2].n > 63 || json_count(out) >= 64)
            return false;
        json_set_str(p, out, pool_str(p, pair.s[1]), pool_str(p, pair.s[2]));
    }
    return true;
}

bool csi_read_node_info(struct pool *p, struct str in, struct csi_node_info *out)
{
    struct small s;
    *out = (struct csi_node_info){.topology = json_obj(p)};
    if (!wire_small(in, &s) || !read_topology(p, s.s[3], out->topology))
        return false;
    out->node_id = s.s[1];
    out->max_volumes = (int64_t)s.v[2];
    return out->node_id.n > 0 && out->node_id.n <= 256 && out->max_volumes >= 0;
}

/* repeated NodeServiceCapability { RPC rpc = 1 { Type type = 1 } } capabilities = 1 */
static bool has_capability(struct str in, uint64_t type)
{
    struct raw r;
    while (in.n && wire_next(&in, &r)) {
        struct small capability, rpc;
        if (r.number == 1 && r.wt == WT_BYTES && wire_small(r.s, &capability) && wire_small(capability.s[1], &rpc) && rpc.v[1] == type)
            return true;
    }
    return false;
}

bool csi_read_stages(struct str capabilities)
{
    return has_capability(capabilities, 1);
}
bool csi_read_expands(struct str capabilities)
{
    return has_capability(capabilities, 3);
}
bool csi_read_multi_writer(struct str capabilities)
{
    return has_capability(capabilities, 5);
}

/* ---- writing ---- */

static void put(struct buf *out, uint32_t number, struct str s)
{
    if (s.n)
        wire_bytes(out, number, s);
}

static void put_map(struct buf *out, uint32_t number, const struct json *map)
{
    json_for (map, it) {
        _cleanup_(buf_clear) struct buf b = BUF_INIT;
        wire_bytes(&b, 1, json_key(it));
        wire_bytes(&b, 2, json_as_str(it));
        wire_bytes(out, number, buf_str(&b));
        explicit_bzero(b.p, b.n);
    }
}

static void put_capability(struct buf *out, uint32_t number, const struct csi_volume *v)
{
    _cleanup_(buf_clear) struct buf capability = BUF_INIT, kind = BUF_INIT, mode = BUF_INIT;
    if (!v->block) {
        put(&kind, 1, v->fs_type);
        json_for (v->mount_flags, flag)
            put(&kind, 2, json_as_str(flag));
    }
    wire_bytes(&capability, v->block ? 1 : 2, buf_str(&kind));
    wire_number(&mode, 1, (uint64_t)v->access_mode);
    wire_bytes(&capability, 3, buf_str(&mode));
    wire_bytes(out, number, buf_str(&capability));
}

void csi_write_stage(struct buf *out, const struct csi_volume *v)
{
    put(out, 1, v->handle);
    put_map(out, 2, v->publish_context);
    put(out, 3, v->staging);
    put_capability(out, 4, v);
    put_map(out, 5, v->secrets);
    put_map(out, 6, v->volume_context);
}

void csi_write_publish(struct buf *out, const struct csi_volume *v)
{
    put(out, 1, v->handle);
    put_map(out, 2, v->publish_context);
    put(out, 3, v->staging);
    put(out, 4, v->target);
    put_capability(out, 5, v);
    if (v->read_only)
        wire_number(out, 6, 1);
    put_map(out, 7, v->secrets);
    put_map(out, 8, v->volume_context);
}

void csi_write_unpublish(struct buf *out, struct str handle, struct str path)
{
    put(out, 1, handle);
    put(out, 2, path);
}

/* NodeExpandVolumeRequest: the path is where it is published; capacity_range = 3 { required_bytes = 1 } */
void csi_write_expand(struct buf *out, const struct csi_volume *v, int64_t bytes)
{
    _cleanup_(buf_clear) struct buf range = BUF_INIT;
    put(out, 1, v->handle);
    put(out, 2, v->target);
    wire_number(&range, 1, (uint64_t)bytes);
    wire_bytes(out, 3, buf_str(&range));
    put(out, 4, v->staging);
    put_capability(out, 5, v);
    put_map(out, 6, v->secrets);
}

void csi_write_registered(struct buf *out, bool good, struct str error)
{
    if (good)
        wire_number(out, 1, 1);
    put(out, 2, error);
}
