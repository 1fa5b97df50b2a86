#include "api/audit.h"
#include "api/convert.h"
#include "api/impl.h"
#include "base/file.h"
#include "schema/wire.h"

/* A watch: an answer that goes on. First, where it is asked for, what is there (from one root, with backpressure), then a cursor in the
 * store's ring. Frames are made once per (event, version, shape) and shared by all watchers (store_event_encoding).
 *
 *      DOOR ──→ INITIAL ──→ LIVE ──→ (timeout, ERROR, peer gone) end
 */

#define WATCH_QUEUE ((size_t)128 << 10) /* bytes queued to one client before it is left behind in the ring */
#define WATCH_BOOKMARK (60 * NS_PER_S)

enum watch_phase { WATCH_DOOR, WATCH_INITIAL, WATCH_LIVE };
enum frame { FRAME_ADDED, FRAME_MODIFIED, FRAME_DELETED };
static const char *const frame_names[] = {"ADDED", "MODIFIED", "DELETED"};

struct watching {
    struct call *c;
    enum watch_phase phase;
    struct select sel;
    struct str ns;
    struct store_view *view; /* INITIAL */
    struct store_iter it;
    struct store_watch *watch; /* LIVE */
    struct timer timer;
    int64_t end, from;
    bool bookmarks, initial, initial_mark, columns_sent;
    enum include_object include;
    struct store_event *held; /* waits for a webhook to convert it */
    const struct obj *held_obj; /* INITIAL: the same */
    bool converting;
    bool leaving; /* its custom resource went; waits for the door */
    struct crd_watch *custom; /* of a custom resource: tells when that goes */
};

static void watch_clear(struct watching *w)
{
    timer_del(&w->timer);
    crd_watch_drop(w->c->api, TAKE(w->custom));
    if (w->leaving)
        store_wait_cancel(w->c->api->store, &w->c->wait);
    w->leaving = false;
    store_watch_close(TAKE(w->watch));
    store_view_unref(TAKE(w->view));
    store_event_unref(TAKE(w->held));
}

static void watch_gone(struct call *c)
{
    watch_clear(c->extra);
}

static void watch_end(struct watching *w)
{
    watch_clear(w);
    struct http_req *rq = call_hand_over(w->c);
    http_end(rq);
}

static void watch_error(struct watching *w, const struct err *err)
{
    struct str s = status_json(w->c->pool, err);
    if (w->c->accept.media == MEDIA_PROTO) {
        struct json *status = NULL;
        struct buf object = BUF_INIT, b = BUF_INIT;
        if (json_parse(w->c->pool, s, NULL, &status, NULL) >= 0 && protobuf_write(w->c, status, &object))
            protobuf_frame(STR("ERROR"), buf_str(&object), &b);
        http_send_str(w->c->rq, buf_str(&b));
        buf_clear(&object);
        buf_clear(&b);
        watch_end(w);
        return;
    }
    http_send_str(w->c->rq, STR("{\"type\":\"ERROR\",\"object\":"));
    http_send_str(w->c->rq, s);
    http_send_str(w->c->rq, STR("}\n"));
    watch_end(w);
}

/* ---- frames ---- */

struct framing {
    struct watching *w;
    const struct obj *o;
    int64_t rev;
    enum frame type;
};

static struct bytes *frame_make(struct framing *f)
{
    struct call *c = f->w->c;
    struct buf b = BUF_INIT;
    bool proto = c->accept.media == MEDIA_PROTO;
    bool old_rev = f->rev && f->rev != f->o->rev; /* left the selection: its last state, with the revision of now */
    buf_reserve(&b, f->o->json.n + 64);
    if (!proto)
        buf_printf(&b, "{\"type\":\"%s\",\"object\":", frame_names[f->type]);
    if (!proto && c->accept.shape == SHAPE_OBJECT && encode_as_stored(c) && !old_rev) {
        buf_str_add(&b, f->o->json);
        buf_puts(&b, "}\n");
        return buf_to_bytes(&b);
    }
    _cleanup_(pool_freep) struct pool *p = pool_new();
    struct pool *keep = c->pool;
    struct json *doc = NULL;
    c->whole = keep;
    c->pool = p;
    if (obj_parse(f->o, p, &doc, NULL) < 0 || encode_convert(c, &doc, NULL) < 0)
        doc = json_obj(p);
    if (old_rev)
        json_set_str(p, json_put_obj(p, doc, STR("metadata")), STR("resourceVersion"), pool_printf(p, "%" PRId64, f->rev));
    if (proto) {
        _cleanup_(buf_clear) struct buf object = BUF_INIT;
        if (protobuf_write(c, c->accept.shape == SHAPE_PARTIAL ? encode_partial(p, doc) : doc, &object))
            protobuf_frame(str_of(frame_names[f->type]), buf_str(&object), &b);
        c->pool = keep;
        c->whole = NULL;
        return buf_to_bytes(&b);
    }
    if (c->accept.shape == SHAPE_TABLE) {
        table_begin(c, &b, json_str_at(doc, "metadata", "resourceVersion", NULL), STR_NULL, -1, !f->w->columns_sent);
        table_row(c, &b, doc, f->w->include);
        buf_puts(&b, "]}");
    } else {
        json_write(&b, c->accept.shape == SHAPE_PARTIAL ? encode_partial(p, doc) : doc);
    }
    buf_puts(&b, "}\n");
    c->pool = keep;
    c->whole = NULL;
    return buf_to_bytes(&b);
}

static struct bytes *frame_shared(void *arg, struct store_event *ev)
{
    (void)ev;
    return frame_make(arg);
}

static uint64_t frame_number(const struct watching *w, enum frame type, bool before)
{
    const struct call *c = w->c;
    return ((uint64_t)(uintptr_t)c->res << 10) ^ (uint64_t)(c->accept.media == MEDIA_PROTO) << 6 ^
           ((uint64_t)type << 8 | (uint64_t)before << 7 | (uint64_t)c->accept.shape << 4 | (uint64_t)w->include << 2 |
               (uint64_t)w->columns_sent << 1);
}

static void frame_send(struct watching *w, struct store_event *ev, enum frame type, const struct obj *o, int64_t rev)
{
    struct framing f = {w, o, rev, type};
    struct bytes *b = ev ? store_event_encoding(ev, frame_number(w, type, o == ev->before), frame_shared, &f) : frame_make(&f);
    w->columns_sent = true;
    http_send(w->c->rq, b, 0, b->n);
    if (!ev) /* one that lives with its event is the event's */
        bytes_unref(b);
}

static void bookmark_proto(struct watching *w, int64_t rev, bool initial_end)
{
    struct call *c = w->c;
    _cleanup_(pool_freep) struct pool *p = pool_new();
    _cleanup_(buf_clear) struct buf object = BUF_INIT, b = BUF_INIT;
    struct json *doc = json_obj(p), *meta;
    bool partial = c->accept.shape == SHAPE_PARTIAL;
    json_set_str(p, doc, STR("kind"), partial ? STR("PartialObjectMetadata") : c->res->kind);
    json_set_str(p, doc, STR("apiVersion"), partial ? STR("meta.k8s.io/v1") : api_version(p, c->res->group, c->res->version));
    meta = json_put_obj(p, doc, STR("metadata"));
    json_set_str(p, meta, STR("resourceVersion"), pool_printf(p, "%" PRId64, rev));
    if (initial_end)
        json_set_str(p, json_put_obj(p, meta, STR("annotations")), STR("k8s.io/initial-events-end"), STR("true"));
    if (!protobuf_write(c, doc, &object))
        return;
    protobuf_frame(STR("BOOKMARK"), buf_str(&object), &b);
    http_send_str(c->rq, buf_str(&b));
}

static void bookmark_send(struct watching *w, int64_t rev, bool initial_end)
{
    struct call *c = w->c;
    if (c->accept.media == MEDIA_PROTO) {
        bookmark_proto(w, rev, initial_end);
        return;
    }
    const char *mark = initial_end ? ",\"annotations\":{\"k8s.io/initial-events-end\":\"true\"}" : "";
    _cleanup_(buf_clear) struct buf b = BUF_INIT;
    if (c->accept.shape == SHAPE_TABLE)
        buf_printf(&b,
            "{\"type\":\"BOOKMARK\",\"object\":{\"kind\":\"Table\",\"apiVersion\":\"meta.k8s.io/"
            "v1\",\"metadata\":{\"resourceVersion\":\"%" PRId64 "\"},\"columnDefinitions\":[],"
            "\"rows\":[{\"cells\":[],\"object\":{\"kind\":\"PartialObjectMetadata\",\"apiVersion\":\"meta.k8s.io/"
            "v1\",\"metadata\":{\"resourceVersion\":\"%" PRId64 "\",\"creationTimestamp\":null%s}}}]}}\n",
            rev, rev, mark);
    else
        buf_printf(&b,
            "{\"type\":\"BOOKMARK\",\"object\":{\"kind\":\"%.*s\",\"apiVersion\":\"%.*s\",\"metadata\":{\"resourceVersion\":\"%" PRId64
            "\",\"creationTimestamp\":null%s}}}\n",
            STR_ARG(c->accept.shape == SHAPE_PARTIAL ? STR("PartialObjectMetadata") : c->res->kind),
            STR_ARG(c->accept.shape == SHAPE_PARTIAL ? STR("meta.k8s.io/v1") : api_version(c->pool, c->res->group, c->res->version)), rev,
            mark);
    http_send_str(c->rq, buf_str(&b));
}

/* ---- the stream ---- */

static bool watch_match(struct watching *w, const struct obj *o)
{
    if ((!str_empty(w->ns) && !str_eq(w->ns, o->ns)) || (!str_empty(w->c->ri.name) && !str_eq(w->c->ri.name, o->name)))
        return false;
    return select_match(w->c, &w->sel, o);
}

static void event_send(struct watching *w, struct store_event *ev)
{
    const struct obj *before = ev->before;
    if (ev->type == STORE_DELETE) {
        if (watch_match(w, before ? before : ev->obj))
            frame_send(w, ev, FRAME_DELETED, ev->obj, 0);
        return;
    }
    if (!str_empty(w->ns) && !str_eq(w->ns, ev->obj->ns))
        return;
    bool all = str_empty(w->c->ri.name) && w->sel.labels.n == 0 && !w->sel.labels.nothing && w->sel.fields.n == 0;
    bool now = all || watch_match(w, ev->obj), was = before && (all || watch_match(w, before));
    if (now)
        frame_send(w, ev, was ? FRAME_MODIFIED : FRAME_ADDED, ev->obj, 0);
    else if (was)
        frame_send(w, ev, FRAME_DELETED, before, ev->rev);
}

/* ---- versions that a webhook converts ---- */

static void watch_drain(struct http_req *rq);

static void watch_converted(void *arg)
{
    struct watching *w = arg;
    w->converting = false;
    watch_drain(w->c->rq);
}

static bool ready(struct watching *w, const struct obj *o)
{
    struct call *c = w->c;
    _cleanup_(pool_freep) struct pool *p = pool_new();
    struct pool *keep = c->pool;
    struct json *doc;
    if (!o)
        return true;
    c->whole = keep;
    c->pool = p;
    if (obj_parse(o, p, &doc, NULL) >= 0 && encode_convert(c, &doc, NULL) < 0)
        doc = NULL;
    c->pool = keep;
    c->whole = NULL;
    return !conv_pending(c);
}

/* Are the objects there in the version that is watched? Otherwise they are asked for, and the watch goes on when they are. */
static bool watch_ready(struct watching *w, const struct obj *a, const struct obj *b)
{
    if (!conv_by_webhook(w->c->stored, w->c->res))
        return true;
    if (w->converting)
        return false;
    bool both = ready(w, a);
    both &= ready(w, b);
    if (both)
        return true;
    w->converting = true;
    conv_begin(w->c, watch_converted, w);
    return false;
}

/* false: the watch has ended. */
static bool deliver(struct watching *w)
{
    struct err *e = NULL;
    struct store_event *ev;
    while (http_queued(w->c->rq) < WATCH_QUEUE && (ev = w->held ? TAKE(w->held) : store_watch_next(w->watch, &e))) {
        bool resync = ev->type == STORE_RESYNC;
        if (!resync && !watch_ready(w, ev->obj, ev->before)) {
            w->held = ev;
            return true;
        }
        if (!resync)
            event_send(w, ev);
        store_event_unref(ev);
        conv_forget(w->c);
        if (resync) {
            (void)err_set(&e, ERR_EXPIRED, "the history of changes was taken back: start again from a list");
            break;
        }
    }
    if (!e)
        return true;
    watch_error(w, e);
    err_free(e);
    return false;
}

static void watch_notify(void *arg)
{
    (void)deliver(arg);
}

static bool watch_live(struct watching *w)
{
    struct err *e = NULL;
    w->phase = WATCH_LIVE;
    if (store_watch_open(w->c->api->store, w->c->sres, w->from, STORE_WATCH_DURABLE, w->c->loop, watch_notify, w, &w->watch, &e) < 0) {
        if (e->code == ERR_EXPIRED) {
            int64_t from = w->from;
            err_free(TAKE(e));
            (void)err_set(&e, ERR_EXPIRED, "too old resource version: %" PRId64 " (%" PRId64 ")", from, store_durable(w->c->api->store));
        }
        watch_error(w, e);
        err_free(e);
        return false;
    }
    return true;
}

static void watch_initial(struct watching *w)
{
    const struct obj *o;
    while (http_queued(w->c->rq) < WATCH_QUEUE) {
        if (!(o = w->held_obj ? w->held_obj : iter_next(&w->it))) {
            if (w->initial_mark)
                bookmark_send(w, w->from, true);
            store_view_unref(TAKE(w->view));
            if (watch_live(w))
                watch_notify(w);
            return;
        }
        w->held_obj = o; /* the view keeps it */
        if (!watch_ready(w, o, NULL))
            return;
        w->held_obj = NULL;
        if (watch_match(w, o))
            frame_send(w, NULL, FRAME_ADDED, o, 0);
        conv_forget(w->c);
    }
}

static void watch_drain(struct http_req *rq)
{
    struct call *c = rq->user;
    struct watching *w = c->extra;
    if (w->phase == WATCH_INITIAL)
        watch_initial(w);
    else if (w->phase == WATCH_LIVE)
        watch_notify(w);
}

static void watch_timer(struct timer *t)
{
    struct watching *w = container_of(t, struct watching, timer);
    int64_t now = loop_now(w->c->loop);
    if (w->bookmarks && w->phase == WATCH_LIVE)
        bookmark_send(w, store_watch_rev(w->watch), false);
    if (now >= w->end) {
        watch_end(w);
        return;
    }
    timer_set(w->c->loop, t, w->bookmarks ? MIN(w->end, now + WATCH_BOOKMARK) : w->end, watch_timer);
}

static void watch_custom_durable(struct store_wait *sw, int result)
{
    struct watching *w = container_of(sw, struct call, wait)->extra;
    (void)result;
    w->leaving = false;
    if (w->phase != WATCH_LIVE || deliver(w))
        watch_end(w);
}

/* The resource went: the deletions of its last objects are sent when they are on disk, and then the watch ends. */
static void watch_custom_gone(void *arg)
{
    struct watching *w = arg;
    _cleanup_(store_view_unrefp) struct store_view *v = store_view(w->c->api->store);
    w->leaving = true;
    if (store_wait(w->c->api->store, view_res_rev(v, w->c->sres), &w->c->wait, w->c->loop, watch_custom_durable))
        watch_custom_durable(&w->c->wait, 0);
}

static void watch_begin(struct watching *w)
{
    struct call *c = w->c;
    audit_write(c, AUDIT_STARTED, 200, STR_NULL);
    if (crd_row(c->res))
        w->custom = crd_watch_add(c->api, c->res->storage, c->loop, watch_custom_gone, w);
    if (c->accept.media == MEDIA_PROTO && (!schema_has_wire(c->res->type) || c->accept.shape == SHAPE_TABLE))
        c->accept.media = MEDIA_JSON;
    struct str type = c->accept.media == MEDIA_PROTO ? STR("application/vnd.kubernetes.protobuf;stream=watch") : STR("application/json");
    const struct http_header h[] = {{STR("content-type"), type}, {STR("cache-control"), STR("no-cache, private")}};
    c->rq->on_drain = watch_drain;
    http_start(c->rq, 200, h, ARRAY_LEN(h));
    int64_t now = loop_now(c->loop);
    timer_set(c->loop, &w->timer, w->bookmarks ? MIN(w->end, now + WATCH_BOOKMARK) : w->end, watch_timer);
    if (w->initial) {
        w->phase = WATCH_INITIAL;
        iter_start(&w->it, w->view, c->sres, w->ns, STR_NULL, STR_NULL);
        watch_initial(w);
        return;
    }
    store_view_unref(TAKE(w->view));
    if (watch_live(w))
        watch_notify(w);
}

static void watch_door(struct store_wait *sw, int result)
{
    struct call *c = container_of(sw, struct call, wait);
    struct watching *w = c->extra;
    c->state = CALL_STREAM;
    if (result < 0) {
        static const struct http_header h[] = {{STR("content-type"), STR("application/json")}};
        _cleanup_(err_freep) struct err *e = NULL;
        (void)err_set(&e, (enum err_code) - result, "what the watch begins with could not be made durable");
        http_start(c->rq, 200, h, ARRAY_LEN(h));
        watch_error(w, e);
        return;
    }
    watch_begin(w);
}

static int forbidden(struct err **e, const char *why)
{
    (void)err_set(e, ERR_INVALID, "ListOptions.meta.k8s.io \"\" is invalid: %s", why);
    return -ERR_INVALID;
}

static int watch_options(struct call *c, struct watching *w, struct err **e)
{
    struct str rv = call_query(c, "resourceVersion"), match = call_query(c, "resourceVersionMatch"),
               sie = call_query(c, "sendInitialEvents");
    struct str timeout = call_query(c, "timeoutSeconds");
    int64_t seconds = 0;
    uint64_t from = 0;
    if (!str_empty(match) && !sie.p)
        return forbidden(
            e, "resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided");
    if (sie.p && !str_eqz(match, "NotOlderThan"))
        return forbidden(e, "resourceVersionMatch: Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan");
    if (!str_empty(rv) && !str_to_u64(rv, &from))
        return err_set(e, ERR_BAD_REQUEST, "resourceVersion: Invalid value: \"%.*s\": must be an unsigned integer", STR_ARG(rv));
    if (!str_empty(timeout) && (!str_to_i64(timeout, &seconds) || seconds < 0))
        return err_set(e, ERR_BAD_REQUEST, "timeoutSeconds: Invalid value: \"%.*s\": must be a non-negative integer", STR_ARG(timeout));
    if (seconds == 0)
        seconds = 1800 + (int64_t)(random_u64() % 1800);
    w->end = loop_now(c->loop) + MIN(seconds, 86400) * NS_PER_S;
    w->bookmarks = call_query_bool(c, "allowWatchBookmarks");
    w->initial = sie.p ? call_query_bool(c, "sendInitialEvents") : from == 0;
    w->initial_mark = sie.p && w->initial && w->bookmarks;
    w->from = (int64_t)from;
    w->include = table_include(c);
    w->ns = call_ns(c);
    if (str_empty(w->ns) && c->res->namespaced)
        w->ns = w->sel.ns;
    return 0;
}

int verb_watch(struct call *c, struct err **e)
{
    if (!c->rq)
        return err_set(e, ERR_METHOD, "inside, changes are watched on the store");
    struct watching *w = pool_new_of(c->pool, struct watching);
    w->c = c;
    if (select_parse(c, &w->sel, e) < 0 || watch_options(c, w, e) < 0)
        return -(*e)->code;
    w->view = store_view(c->api->store);
    if (w->initial && check_not_older(c, view_rev(w->view), e) < 0) {
        watch_clear(w);
        return -(*e)->code;
    }
    if (w->initial || w->from == 0)
        w->from = view_rev(w->view);
    int64_t depends = w->initial ? view_res_rev(w->view, c->sres) : 0;
    c->extra = w;
    c->on_gone = watch_gone;
    c->state = CALL_DOOR; /* while it waits for the door; call.c's gone() cancels that wait */
    if (depends > 0 && !store_wait(c->api->store, depends, &c->wait, c->loop, watch_door))
        return CALL_WAIT;
    c->state = CALL_STREAM;
    watch_begin(w);
    return CALL_WAIT;
}
