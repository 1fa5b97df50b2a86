/* What the scheduler writes: bindings, conditions, annotations on claims; all as user system:kube-scheduler through the api. */
#include <stdlib.h>
#include "base/log.h"
#include "scheduler/inner.h"

struct writing {
    struct api_call call;
    struct scheduler *s;
    struct pool *pool;
    const struct obj *o;
    struct str node;
    void (*after)(struct writing *w);
};

static const struct str groups[] = {{"system:authenticated", 20}};
static const struct api_user user = {.name = {"system:kube-scheduler", 21}, .groups = groups, .ngroups = 1};

static void on_done(struct api_call *call)
{
    struct writing *w = container_of(call, struct writing, call);
    if (w->after)
        w->after(w);
    else if (call->err && call->err->code != ERR_NOT_FOUND && call->err->code != ERR_CONFLICT)
        log_warn("scheduler pod=%.*s/%.*s: %s", STR_ARG(w->o->ns), STR_ARG(w->o->name), err_msg(call->err));
    api_call_clear(call);
    struct scheduler *s = w->s;
    obj_unref(w->o);
    pool_free(w->pool);
    free(w);
    if (--s->flying == 0 && s->stopping)
        scheduler_free(s);
}

static void go(struct writing *w)
{
    w->s->flying++;
    api_do(w->s->cfg.api, w->s->cfg.loop, &w->call, on_done);
}

static struct writing *writing(struct scheduler *s, const struct obj *o, enum api_verb verb, const char *resource, const char *sub)
{
    struct writing *w = xcalloc(1, sizeof *w);
    w->s = s;
    w->pool = pool_new();
    w->o = obj_ref(o);
    w->call = (struct api_call){.verb = verb,
        .group = STR(""),
        .version = STR("v1"),
        .resource = str_of(resource),
        .sub = str_of(sub),
        .ns = w->o->ns,
        .name = w->o->name,
        .pool = w->pool,
        .user = &user};
    w->call.body = json_obj(w->pool);
    return w;
}

static void event(struct scheduler *s, const struct obj *o, bool warning, const char *reason, struct str message)
{
    const struct pod_view *v = pod_view_of(o); /* it speaks under the name that the pod asked for */
    struct str by = v ? pod_view_get(v, v->scheduler) : STR("");
    api_event(s->cfg.api, s->cfg.loop, o, STR("Pod"), STR("v1"), warning, reason, by.n ? by : s->names[0], "%.*s", STR_ARG(message));
}

static void after_binding(struct writing *w)
{
    struct scheduler *s = w->s;
    struct err *e = w->call.err;
    if (s->stopping)
        return;
    int64_t now = clock_now(s->cfg.clock);
    struct pending *p = map_get(&s->queue.all, w->o->uid);
    if (!e) {
        event(s, w->o, false, "Scheduled",
            pool_printf(w->pool, "Successfully assigned %.*s/%.*s to %.*s", STR_ARG(w->o->ns), STR_ARG(w->o->name), STR_ARG(w->node)));
        return;
    }
    struct pod_info *info = cache_pod(&s->cache, w->o->uid);
    if (info && info->assumed)
        cache_drop_pod(&s->cache, w->o->uid);
    if (e->code == ERR_NOT_FOUND) {
        pending_drop(&s->queue, w->o->uid);
        return;
    }
    if (e->code != ERR_CONFLICT)
        event(s, w->o, true, "FailedScheduling", pool_printf(w->pool, "binding rejected: %s", err_msg(e)));
    if (p)
        pending_retry(&s->queue, p, now);
}

void bind_pod(struct scheduler *s, struct pending *p, const struct node_info *n)
{
    struct writing *w = writing(s, p->o, API_CREATE, "pods", "binding");
    struct json *b = w->call.body, *meta, *target;
    w->node = pool_str(w->pool, n->name);
    w->after = after_binding;
    json_set_str(w->pool, b, STR("apiVersion"), STR("v1"));
    json_set_str(w->pool, b, STR("kind"), STR("Binding"));
    meta = json_put_obj(w->pool, b, STR("metadata"));
    json_set_str(w->pool, meta, STR("name"), p->o->name);
    json_set_str(w->pool, meta, STR("namespace"), p->o->ns);
    json_set_str(w->pool, meta, STR("uid"), p->o->uid);
    target = json_put_obj(w->pool, b, STR("target"));
    json_set_str(w->pool, target, STR("apiVersion"), STR("v1"));
    json_set_str(w->pool, target, STR("kind"), STR("Node"));
    json_set_str(w->pool, target, STR("name"), n->name);
    cache_put_pod(&s->cache, p->o, n->name); /* assumed there from now on, for those that come next */
    go(w);
}

void promise_claim(struct scheduler *s, const struct obj *claim, struct str node)
{
    struct writing *w = writing(s, claim, API_PATCH_MERGE, "persistentvolumeclaims", "");
    struct json *meta = json_put_obj(w->pool, w->call.body, STR("metadata"));
    json_set_str(w->pool, meta, STR("uid"), claim->uid);
    json_set_str(w->pool, json_put_obj(w->pool, meta, STR("annotations")), STR("volume.kubernetes.io/selected-node"), node);
    go(w);
}

static struct json *find_condition(struct json *conditions)
{
    json_for (conditions, c)
        if (str_eqz(json_get_str(c, "type"), "PodScheduled"))
            return c;
    return NULL;
}

static void delete_victim(struct writing *w)
{
    struct writing *d = writing(w->s, w->o, API_DELETE, "pods", "");
    d->call.expect_uid = d->o->uid;
    json_set_str(d->pool, d->call.body, STR("apiVersion"), STR("v1"));
    json_set_str(d->pool, d->call.body, STR("kind"), STR("DeleteOptions"));
    json_set_str(d->pool, json_put_obj(d->pool, d->call.body, STR("preconditions")), STR("uid"), d->o->uid);
    go(d);
}

void evict_victim(struct scheduler *s, const struct obj *victim, const struct obj *by, struct str node)
{
    struct writing *w = writing(s, victim, API_PATCH_STRATEGIC, "pods", "status");
    struct json *c;
    char text[TIME_MAX];
    w->after = delete_victim;
    json_set_str(w->pool, json_put_obj(w->pool, w->call.body, STR("metadata")), STR("uid"), victim->uid);
    c = json_append(json_put_arr(w->pool, json_put_obj(w->pool, w->call.body, STR("status")), STR("conditions")), json_obj(w->pool));
    json_set_str(w->pool, c, STR("type"), STR("DisruptionTarget"));
    json_set_str(w->pool, c, STR("status"), STR("True"));
    json_set_str(w->pool, c, STR("reason"), STR("PreemptionByScheduler"));
    json_set(w->pool, c, STR("message"),
        json_str_view(w->pool, pool_printf(w->pool, "%.*s: preempting to accommodate a higher priority pod", STR_ARG(s->names[0]))));
    json_set_str(w->pool, c, STR("lastTransitionTime"), time_format(clock_now(s->cfg.clock), text));
    event(s, victim, false, "Preempted", pool_printf(w->pool, "Preempted by pod %.*s on node %.*s", STR_ARG(by->uid), STR_ARG(node)));
    go(w);
}

void report_unschedulable(struct scheduler *s, const struct obj *o, struct str message, struct str nominated)
{
    struct writing *w = writing(s, o, API_UPDATE, "pods", "status");
    struct json *tree, *status, *conditions, *c;
    char text[TIME_MAX];
    event(s, o, true, "FailedScheduling", message);
    if (obj_parse(w->o, w->pool, &tree, NULL) < 0)
        tree = json_obj(w->pool);
    status = json_put_obj(w->pool, tree, STR("status"));
    conditions = json_put_arr(w->pool, status, STR("conditions"));
    c = find_condition(conditions);
    bool same = str_eqz(json_get_str(c, "status"), "False") && str_eqz(json_get_str(c, "reason"), "Unschedulable");
    if (same && str_eq(json_get_str(c, "message"), message) && str_eq(json_get_str(status, "nominatedNodeName"), nominated)) {
        obj_unref(w->o);
        pool_free(w->pool);
        free(w);
        return;
    }
    if (nominated.n)
        json_set_str(w->pool, status, STR("nominatedNodeName"), nominated);
    else
        json_del(status, STR("nominatedNodeName"));
    if (!c) {
        c = json_append(conditions, json_obj(w->pool));
        json_set_str(w->pool, c, STR("type"), STR("PodScheduled"));
    }
    json_set_str(w->pool, c, STR("status"), STR("False"));
    json_set_str(w->pool, c, STR("reason"), STR("Unschedulable"));
    json_set_str(w->pool, c, STR("message"), message);
    if (!same)
        json_set_str(w->pool, c, STR("lastTransitionTime"), time_format(clock_now(s->cfg.clock), text));
    w->call.body = tree;
    go(w);
}
