#include "api/call.h"
#include "api/aggregate.h"
#include "api/convert.h"
#include "api/hooks.h"
#include "api/audit.h"
#include "api/impl.h"

#define BIT(s) (1u << (s))
/* The moves that are allowed, state by state; drawn in call.h. */
static const unsigned moves[CALL_STATES] = {
    [CALL_ROUTE] = BIT(CALL_AUTHENTICATE) | BIT(CALL_DOOR),
    [CALL_AUTHENTICATE] = BIT(CALL_AUTHORIZE) | BIT(CALL_DOOR),
    [CALL_AUTHORIZE] = BIT(CALL_BODY) | BIT(CALL_DOOR),
    [CALL_BODY] = BIT(CALL_DECODE) | BIT(CALL_DOOR) | BIT(CALL_DONE),
    [CALL_DECODE] = BIT(CALL_VERB) | BIT(CALL_DOOR),
    [CALL_VERB] = BIT(CALL_ADMIT) | BIT(CALL_DOOR) | BIT(CALL_STREAM),
    [CALL_ADMIT] = BIT(CALL_STORE) | BIT(CALL_DOOR),
    [CALL_STORE] = BIT(CALL_VERB) | BIT(CALL_DOOR),
    [CALL_DOOR] = BIT(CALL_REPLY),
    [CALL_REPLY] = BIT(CALL_DONE),
    [CALL_STREAM] = BIT(CALL_DONE) | BIT(CALL_DOOR),
    [CALL_DONE] = 0,
};

int call_fail(struct call *c, struct err *e)
{
    err_free(c->err);
    c->err = e;
    if (!c->err)
        (void)err_set(&c->err, ERR_INTERNAL, "unknown error");
    return CALL_DOOR;
}

static void parts_drop(struct http_part *parts, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        bytes_unref(TAKE(parts[i].b));
        bytes_unref(TAKE(parts[i].packed));
    }
}

static void raw_clear(struct call *c)
{
    parts_drop(c->raw, c->nraw);
    c->nraw = 0;
}

static void call_clear(struct call *c)
{
    inflight_leave(c);
    schema_unref(TAKE(c->schema));
    obj_unref(TAKE(c->obj));
    err_free(TAKE(c->err));
    raw_clear(c);
}

/* ---- the steps ---- */

static int step_route(struct call *c)
{
    struct err *e = NULL;
    route_parse(c->pool, c->rq, &c->ri);
    c->schema = api_schema_ref(c->api);
    if (media_accept(c, &e) < 0)
        return call_fail(c, e);
    if (!c->ri.resource) {
        c->route = route_path(c->api, c->ri.path);
        c->ri.verb = VERB_NONE;
    }
    return CALL_AUTHENTICATE;
}

static int step_authenticate(struct call *c)
{
    struct err *e = NULL;
    if (c->sink)
        return CALL_AUTHORIZE;
    if (c->route && c->route->foreign && !c->route->authenticate) {
        c->user = user_new(c->pool, STR("system:anonymous"), STR_NULL, NULL, 0, false);
        return CALL_AUTHORIZE;
    }
    int r = authenticate(c, &e);
    audit_begin(c);
    if (r < 0)
        return call_fail(c, e);
    return CALL_AUTHORIZE;
}

static int step_authorize(struct call *c)
{
    struct err *e = NULL;
    bool open = c->route && (c->route->open || c->route->foreign);
    if (inflight_enter(c, &e) < 0)
        return call_fail(c, e);
    if (!open && authorize(c, &e) < 0) {
        if (c->audit)
            c->audit->denied = true;
        return call_fail(c, e);
    }
    if (aggregate_wants(c)) {
        c->aggregated = true;
        return CALL_BODY; /* the far side reads it */
    }
    if (c->ri.resource && route_resource(c, &e) < 0)
        return call_fail(c, e);
    if (!c->ri.resource && !c->route)
        return call_fail(c, (err_set(&e, ERR_NOT_FOUND, "the server could not find the requested resource"), e));
    if (c->rq && decode_options(c, &e) < 0)
        return call_fail(c, e);
    return CALL_BODY;
}

static void body_done(struct http_req *rq, struct str body)
{
    struct call *c = rq->user;
    c->body = body;
    call_resume(c);
}

static int step_body(struct call *c)
{
    struct err *e = NULL;
    if (!c->rq || !c->handler || !c->handler->body)
        return CALL_DECODE;
    if (c->resumed)
        return CALL_DECODE;
    if (media_content(c, &e) < 0)
        return call_fail(c, e);
    if (c->sink)
        return CALL_DECODE;
    http_body(c->rq, 0, body_done);
    return CALL_WAIT;
}

static int step_decode(struct call *c)
{
    struct err *e = NULL;
    if (c->handler && c->handler->document && decode_body(c, &e) < 0)
        return call_fail(c, e);
    audit_object(c);
    return CALL_VERB;
}

static void converted(void *c)
{
    call_resume(c);
}

/* The step rests on documents that a webhook has yet to convert: what came of it is thrown away, and it is run again when they are there. */
static int once_more(struct call *c, struct err *e)
{
    err_free(e);
    err_free(TAKE(c->err));
    obj_unref(TAKE(c->obj));
    raw_clear(c);
    c->tree = NULL;
    c->success = false;
    c->w.op = WRITE_NONE;
    c->hook_run = NULL;
    conv_begin(c, converted, c);
    return CALL_WAIT;
}

static int step_verb(struct call *c)
{
    struct err *e = NULL;
    if (c->aggregated) {
        int r = aggregate_proxy(c, &e);
        return r < 0 ? call_fail(c, e) : r;
    }
    if (c->sink && ((c->route && c->route->fn != route_cluster) || c->ri.verb == VERB_WATCH || (c->sub && !c->sub->type)))
        return call_fail(c, (err_set(&e, ERR_METHOD, "not over an uplink"), e));
    if (c->route && c->route->foreign) {
        const struct route *route = c->route;
        const struct api_user *user = c->user;
        struct http_req *rq = call_hand_over(c);
        route->foreign(rq, user, route->arg);
        return CALL_WAIT;
    }
    int r = c->route ? 0 : hooks_connect(c, &e);
    if (r == 0)
        r = c->route ? c->route->fn(c, &e) : c->handler->fn(c, &e);
    if (r != CALL_WAIT && r != CALL_STREAM && conv_pending(c)) /* one that waits may have been answered and freed */
        return once_more(c, e);
    if (r < 0)
        return call_fail(c, e);
    if (r == CALL_WAIT || r == CALL_STREAM)
        return r;
    return c->w.op != WRITE_NONE ? CALL_ADMIT : CALL_DOOR;
}

static int step_admit(struct call *c)
{
    struct err *e = NULL;
    int r = write_admit(c, &e);
    if (r != CALL_WAIT && conv_pending(c)) {
        err_free(e);
        conv_begin(c, converted, c);
        return CALL_WAIT;
    }
    if (r < 0)
        return call_fail(c, e);
    return r == CALL_WAIT ? CALL_WAIT : CALL_STORE;
}

static int step_store(struct call *c)
{
    struct err *e = NULL;
    int r = write_store(c, &e);
    if (r < 0)
        return call_fail(c, e);
    return r == CALL_VERB ? CALL_VERB : CALL_DOOR;
}

static void door_open(struct store_wait *w, int result)
{
    struct call *c = container_of(w, struct call, wait);
    if (result < 0 && !c->closed) { /* what this answer rests on was taken back */
        obj_unref(TAKE(c->obj));
        c->tree = NULL;
        c->success = false;
        raw_clear(c);
        err_free(TAKE(c->err));
        (void)err_set(&c->err, (enum err_code) - result, "the change could not be made durable");
    }
    call_resume(c);
}

/* The answer's object in the version that was asked for, made before the reply needs it. */
static bool convert_answer(struct call *c)
{
    struct json *doc;
    struct err *e = NULL;
    if (c->converted || c->in || c->err || !c->obj || !c->res || !conv_by_webhook(c->stored, c->res))
        return true;
    c->converted = true;
    if (obj_parse(c->obj, c->pool, &doc, &e) == 0 && encode_convert(c, &doc, &e) < 0)
        doc = NULL; /* the reply meets the same error and tells it */
    err_free(e);
    if (!conv_pending(c))
        return true;
    conv_begin(c, converted, c);
    return false;
}

static int step_door(struct call *c)
{
    if (!convert_answer(c))
        return CALL_WAIT;
    if (c->in || c->doored || c->depends <= 0)
        return CALL_REPLY;
    c->doored = true;
    if (store_wait(c->api->store, c->depends, &c->wait, c->loop, door_open))
        return CALL_REPLY;
    return CALL_WAIT;
}

/* ---- the answer ---- */

static void inside_reply(struct call *c)
{
    struct api_call *in = c->in;
    in->code = c->err ? err_http(c->err->code) : c->code ? c->code : 200;
    in->err = TAKE(c->err);
    in->obj = TAKE(c->obj);
    in->result = c->tree;
}

static size_t reply_parts(struct call *c, const char **type, struct http_part *out)
{
    struct buf b = BUF_INIT;
    struct err *e = NULL;
    *type = c->accept.media == MEDIA_YAML ? "application/yaml" : "application/json";
    if (!c->err && c->nraw) {
        size_t n = c->nraw;
        *type = c->raw_type;
        memcpy(out, c->raw, n * sizeof *out);
        c->nraw = 0;
        return n;
    }
    if (!c->err && c->obj) {
        encode_object(c, c->obj, &b, &e);
        if (e) {
            buf_reset(&b);
            (void)call_fail(c, e);
        }
    }
    if (c->err || !c->obj) {
        struct json *doc = c->err && c->denied ? c->denied : c->err || c->success || !c->tree ? status_tree(c) : c->tree;
        encode_doc(c, doc, &b);
    }
    if (c->accept.media == MEDIA_PROTO && b.n > 4 && memcmp(b.p, "k8s", 4) == 0)
        *type = "application/vnd.kubernetes.protobuf";
    out[0] = (struct http_part){.b = buf_to_bytes(&b)};
    return 1;
}

/* For who wants it in one piece. */
static struct bytes *parts_join(const struct http_part *parts, size_t n)
{
    size_t length = 0;
    for (size_t i = 0; i < n; i++)
        length += parts[i].b->n;
    struct bytes *all = bytes_alloc(length);
    length = 0;
    for (size_t i = 0; i < n; i++) {
        memcpy(all->p + length, parts[i].b->p, parts[i].b->n);
        length += parts[i].b->n;
    }
    return all;
}

/* The answer's text, where the log may want it. */
static void audit_reply(struct call *c, int code, const char *type, const struct http_part *parts, size_t n)
{
    bool wanted = c->audit->level == AUDIT_RESPONSE && strcmp(type, "application/json") == 0;
    struct buf b = BUF_INIT;
    for (size_t i = 0; wanted && i < n; i++)
        buf_str_add(&b, bytes_str(parts[i].b));
    audit_write(c, AUDIT_COMPLETE, code, buf_str(&b));
    buf_clear(&b);
}

static int step_reply(struct call *c)
{
    if (c->in) {
        inside_reply(c);
        return CALL_DONE;
    }
    if (c->closed || !c->rq)
        return CALL_DONE;
    const char *type;
    struct http_part body[ARRAY_LEN(c->raw)];
    size_t nbody = reply_parts(c, &type, body);
    int code = c->err && c->denied ? c->denied_code : c->err ? err_http(c->err->code) : c->code ? c->code : 200;
    struct http_header h[ARRAY_LEN(c->headers) + 40];
    size_t n = 0;
    h[n++] = (struct http_header){STR("content-type"), str_of(type)};
    h[n++] = (struct http_header){STR("cache-control"), STR("no-cache, private")};
    if (c->err && c->err->retry_after_s > 0)
        h[n++] = (struct http_header){STR("retry-after"), pool_printf(c->pool, "%d", c->err->retry_after_s)};
    if (c->err && c->err->code == ERR_UNAUTHORIZED)
        h[n++] = (struct http_header){STR("www-authenticate"), STR("Bearer realm=\"kubernetes\"")};
    for (size_t i = 0; i < c->nheaders; i++)
        h[n++] = c->headers[i];
    for (size_t i = 0; i < c->nwarnings && n < ARRAY_LEN(h); i++)
        h[n++] = (struct http_header){STR("warning"), c->warnings[i]};
    metrics_count(c->api, c, code);
    if (c->audit)
        audit_reply(c, code, type, body, nbody);
    if (c->sink) {
        call_clear(c);
        c->state = CALL_DONE;
        _cleanup_(bytes_unrefp) struct bytes *one = parts_join(body, nbody);
        parts_drop(body, nbody);
        c->sink(c, code, bytes_str(one)); /* may free the pool that c stands in */
        return CALL_WAIT;
    }
    struct http_req *rq = TAKE(c->rq);
    rq->on_close = NULL;
    rq->user = NULL;
    inflight_leave(c);
    schema_unref(TAKE(c->schema));
    obj_unref(TAKE(c->obj));
    err_free(TAKE(c->err));
    c->state = CALL_DONE; /* http_reply may free the pool that c stands in */
    http_reply_parts(rq, code, h, n, body, nbody);
    parts_drop(body, nbody);
    return CALL_WAIT;
}

static int step_none(struct call *c)
{
    (void)c;
    return CALL_WAIT;
}

static int (*const steps[CALL_STATES])(struct call *) = {
    [CALL_ROUTE] = step_route,
    [CALL_AUTHENTICATE] = step_authenticate,
    [CALL_AUTHORIZE] = step_authorize,
    [CALL_BODY] = step_body,
    [CALL_DECODE] = step_decode,
    [CALL_VERB] = step_verb,
    [CALL_ADMIT] = step_admit,
    [CALL_STORE] = step_store,
    [CALL_DOOR] = step_door,
    [CALL_REPLY] = step_reply,
    [CALL_STREAM] = step_none,
    [CALL_DONE] = step_none,
};

struct http_req *call_hand_over(struct call *c)
{
    bool streamed = c->state == CALL_STREAM; /* a watch, which ends here */
    audit_write(c, streamed ? AUDIT_COMPLETE : AUDIT_STARTED, streamed ? 200 : 0, STR_NULL);
    struct http_req *rq = TAKE(c->rq);
    rq->user = NULL;
    rq->on_close = NULL;
    rq->on_drain = NULL;
    call_clear(c);
    c->state = CALL_DONE;
    return rq;
}

static void call_end(struct call *c)
{
    struct api_call *in = c->in;
    void (*done)(struct api_call *) = c->in_done;
    call_clear(c);
    if (in) {
        in->state_ = NULL;
        done(in);
    }
}

static void call_run(struct call *c)
{
    for (;;) {
        int next = steps[c->state](c);
        if (next == CALL_WAIT)
            return; /* c may be gone: after a reply, or because the wait ended at once */
        if (!(moves[c->state] & BIT(next))) {
            fprintf(stderr, "api: a call moved from state %d to %d\n", c->state, next);
            abort();
        }
        c->state = (enum call_state)next;
        c->resumed = false;
        if (c->state == CALL_STREAM)
            return;
        if (c->state == CALL_DONE) {
            call_end(c);
            return;
        }
    }
}

void call_resume(struct call *c)
{
    c->resumed = true;
    call_run(c);
}

void call_stream_end(struct call *c)
{
    c->state = CALL_DONE;
    call_end(c);
}

/* ---- entrances ---- */

/* The peer went before the answer was out. A write that was applied stays; the rest of the call is dropped. */
static void gone(struct http_req *rq)
{
    struct call *c = rq->user;
    if (!c)
        return;
    c->closed = true;
    if (c->state == CALL_DOOR)
        store_wait_cancel(c->api->store, &c->wait);
    if (c->state == CALL_STREAM)
        audit_write(c, AUDIT_COMPLETE, 200, STR_NULL);
    c->audit = NULL;
    if (c->on_gone)
        c->on_gone(c);
    c->rq = NULL;
    call_clear(c);
}

void api_handle(struct http_req *rq, void *api)
{
    struct api *a = api;
    struct call *c = pool_new_of(rq->pool, struct call);
    c->api = a;
    c->pool = rq->pool;
    c->rq = rq;
    c->loop = stream_loop(rq->conn);
    rq->user = c;
    rq->on_close = gone;
    call_begin(c);
}

void call_begin(struct call *c)
{
    c->started = clock_mono(c->api->clock);
    c->state = CALL_ROUTE;
    call_run(c);
}

static enum verb inside_verb(enum api_verb v)
{
    static const enum verb verbs[] = {
        VERB_GET, VERB_LIST, VERB_CREATE, VERB_UPDATE, VERB_PATCH, VERB_PATCH, VERB_PATCH, VERB_PATCH, VERB_DELETE, VERB_DELETECOLLECTION};
    return verbs[v];
}

static enum media inside_media(enum api_verb v)
{
    switch (v) {
    case API_PATCH_MERGE:
        return MEDIA_MERGE_PATCH;
    case API_PATCH_STRATEGIC:
        return MEDIA_STRATEGIC;
    case API_PATCH_JSON:
        return MEDIA_JSON_PATCH;
    case API_APPLY:
        return MEDIA_APPLY;
    default:
        return MEDIA_JSON;
    }
}

/* An empty version means the storage version: found by the group's first row of that name. */
static struct str inside_version(struct call *c, struct str group, struct str resource)
{
    const struct schema_resource *r;
    for (size_t i = 0; (r = schema_at(c->schema, i)); i++)
        if (str_eq(r->group, group) && str_eq(r->resource, resource) && str_eq(r->storage_version, r->version))
            return r->version;
    return STR("v1");
}

void api_do(struct api *a, struct loop *l, struct api_call *in, void (*done)(struct api_call *c))
{
    struct call *c = pool_new_of(in->pool, struct call);
    c->api = a;
    c->pool = in->pool;
    c->loop = l;
    c->in = in;
    c->in_done = done;
    in->state_ = c;
    in->code = 0;
    in->err = NULL;
    in->obj = NULL;
    in->result = NULL;
    c->started = clock_mono(a->clock);
    c->schema = api_schema_ref(a);
    c->user = in->user ? in->user : &a->system;
    c->ri = (struct request_info){.resource = true,
        .verb = inside_verb(in->verb),
        .group = in->group,
        .version = in->version,
        .res = in->resource,
        .sub = in->sub,
        .ns = in->ns,
        .name = in->name};
    if (str_empty(c->ri.version))
        c->ri.version = inside_version(c, in->group, in->resource);
    c->content = inside_media(in->verb);
    c->manager = in->field_manager;
    c->force = in->force;
    c->dry_run = in->dry_run;
    c->validation = 2;
    c->store_flags = in->soft ? STORE_SOFT : 0;
    c->state = CALL_AUTHORIZE;
    call_run(c);
}

void api_call_clear(struct api_call *c)
{
    err_free(TAKE(c->err));
    obj_unref(TAKE(c->obj));
}

/* ---- small things that every handler uses ---- */

void call_warn(struct call *c, const char *fmt, ...)
{
    va_list ap;
    if (c->nwarnings >= 32 || c->in)
        return;
    _cleanup_(buf_clear) struct buf b = BUF_INIT, q = BUF_INIT;
    va_start(ap, fmt);
    buf_vprintf(&b, fmt, ap);
    va_end(ap);
    if (b.n > 1024)
        b.n = 1024;
    buf_puts(&q, "299 - \"");
    for (size_t i = 0; i < b.n; i++) {
        if (b.p[i] == '"' || b.p[i] == '\\')
            buf_putc(&q, '\\');
        buf_putc(&q, (unsigned char)b.p[i] < 0x20 || b.p[i] == 0x7f ? ' ' : b.p[i]);
    }
    buf_putc(&q, '"');
    c->warnings = pool_grow(c->pool, c->warnings, c->nwarnings * sizeof *c->warnings, (c->nwarnings + 1) * sizeof *c->warnings);
    c->warnings[c->nwarnings++] = buf_to_pool(&q, c->pool);
}

void call_header(struct call *c, const char *name, struct str value)
{
    if (c->nheaders < ARRAY_LEN(c->headers))
        c->headers[c->nheaders++] = (struct http_header){str_of(name), value};
}

void call_depend(struct call *c, int64_t rev)
{
    c->depends = MAX(c->depends, rev);
}

void call_reply_obj(struct call *c, int code, const struct obj *o)
{
    c->code = code;
    obj_unref(c->obj);
    c->obj = o;
    if (!o->soft) /* a heartbeat is nothing that a power cut must not take back */
        call_depend(c, o->rev);
}

void call_reply_tree(struct call *c, int code, struct json *tree)
{
    c->code = code;
    c->tree = tree;
}

void call_reply_raw(struct call *c, int code, const char *type, struct bytes *b)
{
    struct http_part whole = {.b = b};
    call_reply_parts(c, code, type, &whole, 1);
}

void call_reply_parts(struct call *c, int code, const char *type, const struct http_part *parts, size_t n)
{
    c->code = code;
    raw_clear(c);
    memcpy(c->raw, parts, n * sizeof *parts);
    c->nraw = n;
    c->raw_type = type;
}

struct str call_query(struct call *c, const char *name)
{
    return c->rq ? http_query(c->rq, str_of(name)) : STR_NULL;
}

bool call_query_bool(struct call *c, const char *name)
{
    struct str v = call_query(c, name);
    return v.p && !str_eqz(v, "0") && !str_eqz(v, "false");
}

struct str call_remote(const struct call *c)
{
    return c->rq && c->rq->conn ? stream_peer(c->rq->conn) : STR_NULL;
}

struct str call_list_kind(struct call *c)
{
    return c->res->list_kind.n ? c->res->list_kind : pool_printf(c->pool, "%.*sList", STR_ARG(c->res->kind));
}

struct str call_qualified(struct call *c)
{
    return str_empty(c->ri.group) ? c->ri.res : pool_printf(c->pool, "%.*s.%.*s", STR_ARG(c->ri.res), STR_ARG(c->ri.group));
}

int call_not_found(struct call *c, struct str name, struct err **e)
{
    struct str q = call_qualified(c);
    return err_set(e, ERR_NOT_FOUND, "%.*s \"%.*s\" not found", STR_ARG(q), STR_ARG(name));
}

int call_conflict(struct call *c, const char *why, struct err **e)
{
    struct str q = call_qualified(c);
    return err_set(e, ERR_CONFLICT, "Operation cannot be fulfilled on %.*s \"%.*s\": %s", STR_ARG(q), STR_ARG(c->ri.name), why);
}
