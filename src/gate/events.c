/* Events: counted up on the spot as the kubelet's recorder does, handed to the outbox lazily. The same event of the same object within ten minutes is one object with a count. */
#include <stdarg.h>
#include <stdlib.h>

#include "base/file.h"
#include "gate/impl.h"

#define SAME_NS (600 * NS_PER_S)
#define KEPT 256

struct series { struct str key; char *name; int64_t first, last, count; };

/* The last KEPT different events, as a ring; what falls out starts anew. One process, one gate. */
struct events { struct series ring[KEPT]; size_t at; };

static struct series *find(struct events *ev, struct str key, int64_t now)
{
    for (size_t i = 0; i < KEPT; i++) {
        struct series *s = &ev->ring[i];
        if (s->name && now - s->last < SAME_NS && str_eq(s->key, key))
            return s;
    }
    struct series *s = &ev->ring[ev->at++ % KEPT];
    free((char *)s->key.p);
    free(s->name);
    *s = (struct series){.key = str_make(str_dup(key), key.n), .first = now};
    return s;
}

struct events *events_new(void)
{
    return xcalloc(1, sizeof(struct events));
}

void events_free(struct events *ev)
{
    for (size_t i = 0; ev && i < KEPT; i++) {
        free((char *)ev->ring[i].key.p);
        free(ev->ring[i].name);
    }
    free(ev);
}

struct about { struct str kind, ns, name, uid, field; };

static struct json *event_tree(struct gate *g, struct pool *p, const struct about *a, const struct series *s, bool warning, const char *reason, struct str message)
{
    char first[TIME_MAX], last[TIME_MAX];
    struct json *o = json_obj(p), *meta = json_put_obj(p, o, STR("metadata")), *involved = json_put_obj(p, o, STR("involvedObject")), *source = json_put_obj(p, o, STR("source"));
    json_set_str(p, o, STR("apiVersion"), STR("v1"));
    json_set_str(p, o, STR("kind"), STR("Event"));
    json_set_str(p, meta, STR("name"), str_of(s->name));
    json_set_str(p, meta, STR("namespace"), a->ns.n ? a->ns : STR("default"));
    json_set_str(p, involved, STR("kind"), a->kind);
    json_set_str(p, involved, STR("apiVersion"), STR("v1"));
    json_set_str(p, involved, STR("name"), a->name);
    json_set_str(p, involved, STR("uid"), a->uid);
    if (a->ns.n)
        json_set_str(p, involved, STR("namespace"), a->ns);
    if (a->field.n)
        json_set_str(p, involved, STR("fieldPath"), a->field);
    json_set_str(p, o, STR("reason"), str_of(reason));
    json_set_str(p, o, STR("message"), message);
    json_set_str(p, o, STR("type"), warning ? STR("Warning") : STR("Normal"));
    json_set_int(p, o, STR("count"), s->count);
    json_set_str(p, o, STR("firstTimestamp"), time_format(s->first, first));
    json_set_str(p, o, STR("lastTimestamp"), time_format(s->last, last));
    json_set_str(p, source, STR("component"), STR("kubelet"));
    json_set_str(p, source, STR("host"), str_of(g->o->node_name));
    json_set_str(p, o, STR("reportingComponent"), STR("kubelet"));
    json_set_str(p, o, STR("reportingInstance"), str_of(g->o->node_name));
    return o;
}

static void record(struct gate *g, const struct about *a, bool warning, const char *reason, struct str message)
{
    _cleanup_(pool_freep) struct pool *p = pool_new();
    _cleanup_(buf_clear) struct buf body = BUF_INIT;
    int64_t now = clock_now(g->clock);
    message = str_sub(message, 0, 1000);
    struct series *s = find(g->events, pool_printf(p, "%.*s %.*s %s %.*s", STR_ARG(a->uid), STR_ARG(a->field), reason, STR_ARG(message)), now);
    bool fresh = !s->name;
    if (fresh)
        s->name = xasprintf("%.*s.%016" PRIx64, STR_ARG(str_sub(a->name, 0, 230)), random_u64());
    s->last = now;
    s->count++;
    struct str ns = a->ns.n ? a->ns : STR("default"), path = pool_printf(p, "/api/v1/namespaces/%.*s/events", STR_ARG(ns));
    struct outbox_entry x = {.key = pool_printf(p, "event/%s", s->name), .method = STR("POST"), .path = path, .content_type = STR("application/json")};
    if (!fresh) {
        char last[TIME_MAX];
        x.method = STR("PATCH");
        x.path = pool_printf(p, "%.*s/%s", STR_ARG(path), s->name);
        x.content_type = STR("application/merge-patch+json");
        x.key = pool_printf(p, "event/%s/again", s->name);
        x.body = pool_printf(p, "{\"count\":%" PRId64 ",\"lastTimestamp\":\"%.*s\"}", s->count, STR_ARG(time_format(now, last)));
        outbox_put(g->outbox, &x, OUTBOX_LAZY);
        return;
    }
    json_write(&body, event_tree(g, p, a, s, warning, reason, message));
    x.body = buf_str(&body);
    outbox_put(g->outbox, &x, OUTBOX_LAZY | OUTBOX_APPEND);
}

void event_pod(struct gpod *gp, struct str container, bool warning, const char *reason, const char *fmt, ...)
{
    _cleanup_(buf_clear) struct buf message = BUF_INIT;
    _cleanup_(pool_freep) struct pool *p = pool_new();
    struct about a = {STR("Pod"), gp->ns, gp->name, gpod_api_uid(gp).n ? gpod_api_uid(gp) : gp->uid, STR_NULL};
    va_list ap;
    va_start(ap, fmt);
    buf_vprintf(&message, fmt, ap);
    va_end(ap);
    if (container.n)
        a.field = pool_printf(p, "spec.containers{%.*s}", STR_ARG(container));
    record(gp->gate, &a, warning, reason, buf_str(&message));
}

void event_node(struct gate *g, bool warning, const char *reason, const char *fmt, ...)
{
    _cleanup_(buf_clear) struct buf message = BUF_INIT;
    struct about a = {STR("Node"), STR_NULL, str_of(g->o->node_name), str_of(g->o->node_name), STR_NULL};
    va_list ap;
    va_start(ap, fmt);
    buf_vprintf(&message, fmt, ap);
    va_end(ap);
    record(g, &a, warning, reason, buf_str(&message));
}
