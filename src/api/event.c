#include "api/impl.h"
#include "base/file.h"

/* Events from inside, as client-go's recorder makes them: the same thing said again within ten minutes counts up one object instead of
 * making another. Control thread only by convention, but safe from any: the table has its lock. */

#define EVENTS_KNOWN 1024
#define EVENTS_WINDOW (600 * NS_PER_S)

struct event_key {
    uint64_t hash;
    int64_t last;
    char name[80], ns[64];
    int64_t count;
};
struct recorder {
    pthread_mutex_t lock;
    struct event_key at[EVENTS_KNOWN];
};

static struct recorder *recorder_of(struct api *a)
{
    pthread_mutex_lock(&a->schema_lock);
    if (!a->recorder) {
        a->recorder = xcalloc(1, sizeof *a->recorder);
        pthread_mutex_init(&a->recorder->lock, NULL);
    }
    struct recorder *ev = a->recorder;
    pthread_mutex_unlock(&a->schema_lock);
    return ev;
}

void recorder_free(struct recorder *ev)
{
    if (!ev)
        return;
    pthread_mutex_destroy(&ev->lock);
    free(ev);
}

static void event_done(struct api_call *c)
{
    struct pool *p = c->pool;
    api_call_clear(c);
    pool_free(p);
}

/* An event that came before: count and lastTimestamp rise. false: it is gone, make a new one. */
static bool count_up(struct api *a, struct loop *l, const struct event_key *k, int64_t now)
{
    char t[TIME_MAX];
    {
        _cleanup_(store_view_unrefp) struct store_view *v = store_view(a->store);
        if (!view_get(v, a->res.events, str_of(k->ns), str_of(k->name)))
            return false;
    }
    struct pool *p = pool_new();
    struct api_call *c = pool_new_of(p, struct api_call);
    struct json *body = json_obj(p);
    json_set_int(p, body, STR("count"), k->count);
    json_set_str(p, body, STR("lastTimestamp"), time_format(now, t));
    *c = (struct api_call){.verb = API_PATCH_MERGE,
        .group = STR(""),
        .version = STR("v1"),
        .resource = STR("events"),
        .ns = pool_str(p, str_of(k->ns)),
        .name = pool_str(p, str_of(k->name)),
        .body = body,
        .pool = p,
        .soft = true};
    api_do(a, l, c, event_done);
    return true;
}

static void make(struct api *a, struct loop *l, const struct event_key *k, const struct obj *o, struct str kind, struct str version,
    bool warning, const char *reason, struct str component, struct str message, int64_t now)
{
    struct pool *p = pool_new();
    struct api_call *c = pool_new_of(p, struct api_call);
    struct json *d = json_obj(p), *m, *i;
    char t[TIME_MAX];
    time_format(now, t);
    json_set_str(p, d, STR("kind"), STR("Event"));
    json_set_str(p, d, STR("apiVersion"), STR("v1"));
    m = json_put_obj(p, d, STR("metadata"));
    json_set_str(p, m, STR("name"), str_of(k->name));
    json_set_str(p, m, STR("namespace"), str_of(k->ns));
    i = json_put_obj(p, d, STR("involvedObject"));
    json_set_str(p, i, STR("kind"), kind);
    if (!str_empty(o->ns))
        json_set_str(p, i, STR("namespace"), o->ns);
    json_set_str(p, i, STR("name"), o->name);
    json_set_str(p, i, STR("uid"), o->uid);
    json_set_str(p, i, STR("apiVersion"), version);
    json_set_str(p, i, STR("resourceVersion"), pool_printf(p, "%" PRId64, o->rev));
    json_set_str(p, d, STR("reason"), str_of(reason));
    json_set_str(p, d, STR("message"), message);
    json_set_str(p, json_put_obj(p, d, STR("source")), STR("component"), component);
    json_set_str(p, d, STR("firstTimestamp"), str_of(t));
    json_set_str(p, d, STR("lastTimestamp"), str_of(t));
    json_set_int(p, d, STR("count"), 1);
    json_set_str(p, d, STR("type"), warning ? STR("Warning") : STR("Normal"));
    json_set_str(p, d, STR("reportingComponent"), component);
    json_set_str(p, d, STR("reportingInstance"), STR(""));
    *c = (struct api_call){.verb = API_CREATE,
        .group = STR(""),
        .version = STR("v1"),
        .resource = STR("events"),
        .ns = json_get_str(m, "namespace"),
        .body = d,
        .pool = p,
        .soft = true};
    api_do(a, l, c, event_done);
}

void api_event(struct api *a, struct loop *l, const struct obj *involved, struct str kind, struct str version, bool warning,
    const char *reason, struct str component, const char *fmt, ...)
{
    va_list ap;
    _cleanup_(buf_clear) struct buf message = BUF_INIT, key = BUF_INIT;
    if (!a->res.events)
        return;
    va_start(ap, fmt);
    buf_vprintf(&message, fmt, ap);
    va_end(ap);
    if (message.n > 1024)
        message.n = 1024; /* the limit of the API */
    buf_printf(&key, "%.*s/%.*s/%.*s/%s/%.*s/%.*s", STR_ARG(involved->uid), STR_ARG(kind), STR_ARG(component), reason, warning, "W",
        STR_ARG(buf_str(&message)));
    struct recorder *ev = recorder_of(a);
    uint64_t hash = str_hash(buf_str(&key));
    int64_t now = clock_now(a->clock);
    struct event_key *k = &ev->at[hash % EVENTS_KNOWN], copy;
    pthread_mutex_lock(&ev->lock);
    bool again = k->hash == hash && k->count > 0 && now - k->last < EVENTS_WINDOW;
    if (!again) {
        *k = (struct event_key){.hash = hash};
        struct str ns = str_empty(involved->ns) ? STR("default") : involved->ns;
        snprintf(k->ns, sizeof k->ns, "%.*s", STR_ARG(ns));
        snprintf(k->name, sizeof k->name, "%.*s.%016" PRIx64, STR_ARG(str_sub(involved->name, 0, 56)), random_u64());
    }
    k->last = now;
    k->count++;
    copy = *k;
    pthread_mutex_unlock(&ev->lock);
    if (!again || !count_up(a, l, &copy, now))
        make(a, l, &copy, involved, kind, version, warning, reason, component, buf_str(&message), now);
}
