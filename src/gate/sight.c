#include "gate/sight.h"

#include <stdlib.h>

#include "base/file.h"
#include "base/log.h"
#include "base/map.h"
#include "gate/sight_rows.h"

#define PAGE 200
#define LINE_MAX_BYTES (4u << 20)
#define BATCH_BYTES (128u << 10)
#define ROWS_MAX 100000
#define FLUSH_SOON (1 * NS_PER_S)
#define FLUSH_EVERY (3 * NS_PER_S)
#define AGAIN (10 * NS_PER_S)

/*   LIST ──last page──> WATCH ──end──> WATCH again, or LIST when the API no longer has that revision
 *    └──────── error ───> WAIT ───timer──> LIST
 */
struct row {
    char *cells;          /* JSON; NULL: the object has gone */
    bool dirty, sending;  /* the hub has another; is being told */
    bool seen;            /* met in the listing under way */
};

struct follow {
    struct sight *view;
    const struct sight_kind *kind;
    struct http_call *call;
    struct timer timer;
    struct buf in;
    int status;
    bool watching, listed, absent;
    char *rev, *more; /* the continue token */
};

struct sight {
    struct loop *loop;
    struct kube *kube;
    struct uplink *uplink;
    struct uplink_call *calling;
    struct follow follows[SIGHT_KINDS];
    struct map rows; /* "kind/ns/name" → struct row */
    struct timer flush;
    bool allowed, told_off, resumed, all; /* resumed: the hub has said whether it goes on; all: the session's first rows are being sent */
    char session[17];
    int64_t sent_at;
    bool open;
};

static void list(struct follow *f);
static void watch(struct follow *f);
static void flush_in(struct sight *v, int64_t ns);

/* ---- rows ---- */

static void row_free(void *p)
{
    struct row *r = p;
    free(r->cells);
    free(r);
}

static struct str key_of(struct pool *p, const struct sight_kind *k, const struct json *o)
{
    return pool_printf(p, "%s/%.*s/%.*s", k->name, STR_ARG(json_str_at(o, "metadata", "namespace", NULL)), STR_ARG(json_str_at(o, "metadata", "name", NULL)));
}

static void drop(struct sight *v, struct str key)
{
    struct row *r = map_get(&v->rows, key);
    if (!r || !r->cells)
        return;
    free(TAKE(r->cells));
    r->dirty = true;
    flush_in(v, FLUSH_SOON);
}

static void put(struct follow *f, struct pool *p, const struct json *o)
{
    struct sight *v = f->view;
    struct json *cells = json_arr(p);
    struct str key = key_of(p, f->kind, o);
    if (!f->kind->cells(p, o, cells)) {
        drop(v, key);
        return;
    }
    struct str text = json_to_pool(p, cells);
    struct row *r = map_get(&v->rows, key);
    if (!r) {
        if (map_count(&v->rows) >= ROWS_MAX)
            return;
        r = xcalloc(1, sizeof *r);
        (void)map_put(&v->rows, key, r);
    }
    r->seen = true;
    if (r->cells && str_eq(str_of(r->cells), text))
        return;
    free(r->cells);
    r->cells = str_dup(text);
    r->dirty = true;
    flush_in(v, FLUSH_SOON);
}

/* ---- following one kind ---- */

static void on_timer(struct timer *t)
{
    struct follow *f = container_of(t, struct follow, timer);
    if (f->rev && f->listed)
        watch(f);
    else
        list(f);
}

static void later(struct follow *f, bool anew)
{
    if (anew) {
        f->listed = false;
        free(TAKE(f->rev));
        free(TAKE(f->more));
    }
    timer_in(f->view->loop, &f->timer, AGAIN / 2 + (int64_t)(random_u64() % (uint64_t)AGAIN), on_timer);
}

static void on_head(void *arg, const struct http_response *r)
{
    ((struct follow *)arg)->status = r->status;
}

/* One watch event. false: the watch is over, and the listing has to begin anew. */
static bool event(struct follow *f, struct str line)
{
    _cleanup_(pool_freep) struct pool *p = pool_new();
    struct json *ev;
    if (json_parse(p, line, NULL, &ev, NULL) < 0)
        return false;
    struct str type = json_get_str(ev, "type");
    const struct json *o = json_get(ev, STR("object"));
    if (str_eqz(type, "ERROR"))
        return false;
    if (json_str_at(o, "metadata", "resourceVersion", NULL).n) {
        free(f->rev);
        f->rev = str_dup(json_str_at(o, "metadata", "resourceVersion", NULL));
    }
    if (str_eqz(type, "DELETED"))
        drop(f->view, key_of(p, f->kind, o));
    else if (str_eqz(type, "ADDED") || str_eqz(type, "MODIFIED"))
        put(f, p, o);
    return true;
}

static void on_data(void *arg, const char *bytes, size_t n)
{
    struct follow *f = arg;
    buf_add(&f->in, bytes, n);
    if (!f->watching || f->status != 200)
        return;
    size_t at = 0;
    const char *nl;
    while (at < f->in.n && (nl = memchr(f->in.p + at, '\n', f->in.n - at))) {
        struct str line = str_make(f->in.p + at, (size_t)(nl - f->in.p) - at);
        at += line.n + 1;
        if (!event(f, line)) {
            buf_clear(&f->in);
            http_call_cancel(TAKE(f->call));
            later(f, true);
            return;
        }
    }
    buf_drop(&f->in, at);
    if (!f->in.n)
        buf_clear(&f->in);
}

static void on_end(void *arg, const struct err *e);

static void call(struct follow *f, struct str query, int timeout_ms)
{
    static const struct http_call_events events = {on_head, on_data, NULL, on_end};
    _cleanup_(pool_freep) struct pool *p = pool_new();
    struct str auth = kube_authorization(f->view->kube, p);
    struct http_header h[2] = {{STR("accept"), STR("application/json")}, {STR("authorization"), auth}};
    struct http_request rq = {.method = STR("GET"), .path = pool_printf(p, "%s?%s%s%.*s", f->kind->path, f->kind->query, f->kind->query[0] ? "&" : "", STR_ARG(query)), .headers = h,
        .nheaders = auth.n ? 2 : 1, .timeout_ms = timeout_ms};
    f->status = 0;
    buf_clear(&f->in);
    f->in.limit = LINE_MAX_BYTES * 2;
    f->call = http_call(kube_client(f->view->kube), &rq, &events, f);
}

static void escape(struct buf *b, const char *s)
{
    for (; *s; s++)
        if ((*s >= 'a' && *s <= 'z') || (*s >= 'A' && *s <= 'Z') || (*s >= '0' && *s <= '9') || *s == '-' || *s == '_')
            buf_putc(b, *s);
        else
            buf_printf(b, "%%%02X", (unsigned)(unsigned char)*s);
}

static void list(struct follow *f)
{
    _cleanup_(buf_clear) struct buf q = BUF_INIT;
    size_t prefix = strlen(f->kind->name);
    f->watching = false;
    if (!f->more)
        map_for (&f->view->rows, it)
            if (str_starts(map_key(it), str_of(f->kind->name)) && map_key(it).p[prefix] == '/')
                ((struct row *)it->value)->seen = false;
    buf_printf(&q, "limit=%d", PAGE);
    if (f->more) {
        buf_puts(&q, "&continue=");
        escape(&q, f->more);
    }
    call(f, buf_str(&q), 60000);
}

static void watch(struct follow *f)
{
    _cleanup_(buf_clear) struct buf q = BUF_INIT;
    buf_printf(&q, "watch=true&allowWatchBookmarks=true&resourceVersion=%s", f->rev);
    f->watching = true;
    call(f, buf_str(&q), -1);
}

/* What the listing did not meet has gone. */
static void all_listed(struct follow *f)
{
    size_t prefix = strlen(f->kind->name);
    f->listed = true;
    map_for (&f->view->rows, it)
        if (str_starts(map_key(it), str_of(f->kind->name)) && map_key(it).p[prefix] == '/' && !((struct row *)it->value)->seen)
            drop(f->view, map_key(it));
    flush_in(f->view, FLUSH_SOON);
}

static bool take_page(struct follow *f)
{
    _cleanup_(pool_freep) struct pool *p = pool_new();
    static const struct json_limits limits = {.bytes = LINE_MAX_BYTES * 2, .nodes = 2000000};
    struct json *doc;
    if (buf_failed(&f->in) || json_parse(p, buf_str(&f->in), &limits, &doc, NULL) < 0)
        return false;
    json_for (json_get(doc, STR("items")), o)
        put(f, p, o);
    free(TAKE(f->more));
    free(TAKE(f->rev));
    f->rev = str_dup(json_str_at(doc, "metadata", "resourceVersion", NULL));
    if (json_str_at(doc, "metadata", "continue", NULL).n)
        f->more = str_dup(json_str_at(doc, "metadata", "continue", NULL));
    return true;
}

static void on_end(void *arg, const struct err *e)
{
    struct follow *f = arg;
    bool taken = !f->watching && !e && f->status == 200 && take_page(f);
    f->call = NULL;
    buf_clear(&f->in);
    if (f->watching) {
        if (!e && f->status == 200)
            watch(f); /* the server ends watches now and then */
        else
            later(f, f->status == 410 || f->status == 400);
    } else if (taken && f->more) {
        list(f);
    } else if (taken) {
        all_listed(f);
        watch(f);
    } else {
        f->absent = f->status == 403 || f->status == 404; /* not to be waited for */
        later(f, true);
    }
}

/* ---- upwards ---- */

static void on_flush(struct timer *t);

static void flush_in(struct sight *v, int64_t ns)
{
    int64_t now = loop_now(v->loop), at = MAX(now + ns, v->sent_at + FLUSH_EVERY);
    if (v->uplink && !v->calling && v->open && !v->flush.loop)
        timer_set(v->loop, &v->flush, at, on_flush);
}

static void forget(struct sight *v)
{
    map_for (&v->rows, it) {
        struct row *r = it->value;
        if (r->cells || r->dirty || r->sending)
            continue;
        struct str key = map_key(it);
        _cleanup_(freep) char *copy = str_dup(key);
        row_free(map_del(&v->rows, str_of(copy)));
    }
}

/* What was on its way has arrived, or is to be sent again. */
static void settle(struct sight *v, bool arrived)
{
    map_for (&v->rows, it) {
        struct row *r = it->value;
        r->dirty |= r->sending && !arrived;
        r->sending = false;
    }
}

static void on_rows_done(void *arg, int status, struct str body, const struct err *e)
{
    struct sight *v = arg;
    (void)body;
    v->calling = NULL;
    settle(v, !e && status == 200);
    if (e)
        return; /* the link has gone: sight_connected says when there is another */
    if (status == 404) { /* it has lost the session meanwhile */
        v->resumed = false;
        flush_in(v, 0);
        return;
    }
    forget(v);
    flush_in(v, status == 200 ? FLUSH_SOON : AGAIN);
}

/* A batch of what the hub does not have. false: there is nothing to send. */
static bool compose(struct sight *v, struct buf *b, bool *last)
{
    _cleanup_(buf_clear) struct buf gone = BUF_INIT;
    size_t n = 0;
    *last = true;
    buf_printf(b, "{\"session\":\"%s\",\"rows\":[", v->session);
    map_for (&v->rows, it) {
        struct row *r = it->value;
        struct str rest = map_key(it), kind, ns;
        if (!r->dirty || !str_cut(rest, '/', &kind, &rest) || !str_cut(rest, '/', &ns, &rest))
            continue;
        if (b->n + gone.n > BATCH_BYTES) {
            *last = false;
            break;
        }
        struct buf *to = r->cells ? b : &gone;
        bool first = to == b ? to->p[to->n - 1] == '[' : to->n == 0;
        buf_puts(to, first ? "[" : ",[");
        json_write_str(to, kind);
        buf_putc(to, ',');
        json_write_str(to, ns);
        buf_putc(to, ',');
        json_write_str(to, rest);
        if (r->cells)
            buf_printf(to, ",%s", r->cells);
        buf_putc(to, ']');
        r->dirty = false;
        r->sending = true;
        n++;
    }
    buf_printf(b, "],\"gone\":[%.*s],\"end\":%s}", STR_ARG(buf_str(&gone)), v->all && *last ? "true" : "false");
    return n > 0 || v->all;
}

static void call_up(struct sight *v, struct str body, uplink_reply_fn *done)
{
    v->sent_at = loop_now(v->loop);
    v->calling = uplink_call(v->uplink, STR("POST"), STR("/view"), STR("application/json"), body, done, v);
}

static void on_resumed(void *arg, int status, struct str body, const struct err *e)
{
    struct sight *v = arg;
    (void)body;
    v->calling = NULL;
    if (e)
        return;
    v->resumed = true;
    if (status != 200) { /* all of it, in a session of its own */
        snprintf(v->session, sizeof v->session, "%016llx", (unsigned long long)random_u64());
        v->all = true;
        map_for (&v->rows, it)
            ((struct row *)it->value)->dirty = true;
    }
    v->sent_at = 0;
    flush_in(v, 0);
}

static void on_off(void *arg, int status, struct str body, const struct err *e)
{
    struct sight *v = arg;
    (void)body;
    v->calling = NULL;
    v->told_off = !e && status < 500;
}

static bool all_known(const struct sight *v)
{
    for (size_t i = 0; i < SIGHT_KINDS; i++)
        if (!v->follows[i].listed && !v->follows[i].absent)
            return false;
    return true;
}

static void on_flush(struct timer *t)
{
    struct sight *v = container_of(t, struct sight, flush);
    _cleanup_(buf_clear) struct buf b = BUF_INIT;
    bool last;
    if (!v->uplink || v->calling)
        return;
    if (!v->allowed) {
        if (!v->told_off)
            call_up(v, STR("{\"off\":true}"), on_off);
    } else if (!v->resumed) {
        buf_printf(&b, "{\"resume\":\"%s\"}", v->session);
        call_up(v, buf_str(&b), on_resumed);
    } else if (all_known(v) && compose(v, &b, &last)) {
        v->all = v->all && !last;
        call_up(v, buf_str(&b), on_rows_done);
    }
}

/* ---- its life ---- */

static void stop_following(struct sight *v)
{
    for (size_t i = 0; i < SIGHT_KINDS; i++) {
        struct follow *f = &v->follows[i];
        timer_del(&f->timer);
        if (f->call)
            http_call_cancel(TAKE(f->call));
        buf_clear(&f->in);
        free(TAKE(f->rev));
        free(TAKE(f->more));
        f->listed = f->absent = false;
    }
    map_clear(&v->rows, row_free);
}

struct sight *sight_open(struct loop *l, struct kube *kube)
{
    struct sight *v = xcalloc(1, sizeof *v);
    v->loop = l;
    v->kube = kube;
    v->open = true;
    for (size_t i = 0; i < SIGHT_KINDS; i++)
        v->follows[i] = (struct follow){.view = v, .kind = &sight_kinds[i]};
    return v;
}

void sight_close(struct sight *v)
{
    if (!v)
        return;
    v->open = false;
    if (v->calling)
        uplink_call_cancel(TAKE(v->calling));
    timer_del(&v->flush);
    stop_following(v);
    free(v);
}

void sight_allow(struct sight *v, bool allowed)
{
    if (v->allowed == allowed) {
        if (!allowed && !v->told_off)
            flush_in(v, 0);
        return;
    }
    v->allowed = allowed;
    v->told_off = v->resumed = v->all = false;
    v->session[0] = 0;
    stop_following(v);
    for (size_t i = 0; allowed && i < SIGHT_KINDS; i++)
        list(&v->follows[i]);
    flush_in(v, 0);
}

void sight_connected(struct sight *v, struct uplink *u)
{
    v->uplink = u;
    v->calling = NULL; /* a link that goes ends its calls */
    v->resumed = v->told_off = false;
    timer_del(&v->flush);
    v->sent_at = 0;
    flush_in(v, FLUSH_SOON);
}
