#include "controllers/hpa.h"
#include <stdlib.h>
#include "controllers/inner.h"
#include "schema/quantity.h"

struct autoscalers {
    struct map all; /* key to struct hpa */
};

void hpa_condition(struct hpa_turn *t, const char *type, bool status, const char *reason, struct str message)
{
    condition_set(t->s->pool, t->conditions, type, status ? "True" : "False", reason, message, t->s->now, false);
}

void hpa_free(struct hpa *h)
{
    hpa_forget_answers(h);
    free(h->selector);
    free(h->key);
    free(h);
}

static struct hpa *hpa_of(struct ctl *c, struct str key)
{
    struct autoscalers *a = c->state;
    struct hpa *h = map_get(&a->all, key);
    if (h)
        return h;
    h = xcalloc(1, sizeof *h);
    h->ctl = c;
    h->key = str_dup(key);
    map_put(&a->all, key, h);
    return h;
}

/* Answers may be on their way to it. */
static void drop(void *arg)
{
    struct hpa *h = arg;
    h->gone = true;
    if (h && !h->waiting)
        hpa_free(h);
}

/* ---- the target ---- */

static int target_of(struct hpa_turn *t, struct api_call *c, struct err **e)
{
    const struct json *ref = json_get(t->spec, STR("scaleTargetRef"));
    struct str group = STR(""), version = json_get_str(ref, "apiVersion"), kind = json_get_str(ref, "kind");
    struct schema *schema = api_schema_ref(t->s->ctl->api);
    str_cut(version, '/', &group, &version);
    const struct schema_resource *r = schema_find_kind(schema, group, version, kind);
    for (size_t i = 0; !r; i++) { /* another version of it */
        const struct schema_resource *any = schema_at(schema, i);
        if (!any)
            break;
        if (str_eq(any->group, group) && str_eq(any->kind, kind))
            r = any;
    }
    *c = (struct api_call){
        .verb = API_GET, .sub = STR("scale"), .ns = t->o->ns, .name = json_get_str(ref, "name"), .group = pool_str(t->s->pool, group)};
    if (r) {
        c->version = pool_str(t->s->pool, r->version);
        c->resource = pool_str(t->s->pool, r->resource);
    }
    schema_unref(schema);
    return r ? 0 : err_set(e, ERR_NOT_FOUND, "no matches for kind \"%.*s\" in group \"%.*s\"", STR_ARG(kind), STR_ARG(group));
}

static int read_scale(struct hpa_turn *t, struct api_call *target, struct json **scale, struct err **e)
{
    int r = target_of(t, target, e);
    if (r == 0)
        r = sync_call_tree(t->s, target, scale, e);
    if (r > 0)
        r = err_set(e, ERR_UNAVAILABLE, "the scale is not there yet");
    if (r < 0)
        return r;
    t->scale = json_clone(t->s->pool, *scale);
    t->replicas = json_as_int(json_path(*scale, "spec", "replicas", NULL), 0);
    t->status_replicas = json_as_int(json_path(*scale, "status", "replicas", NULL), 0);
    return 0;
}

static int write_scale(struct hpa_turn *t, const struct api_call *target, int64_t n, struct err **e)
{
    struct api_call c = *target;
    c.verb = API_UPDATE;
    c.body = t->scale;
    json_set_int(t->s->pool, json_put_obj(t->s->pool, c.body, STR("spec")), STR("replicas"), n);
    return MIN(sync_call(t->s, &c, NULL, e), 0);
}

/* ---- its pods ---- */

static bool others_match(struct hpa_turn *t, struct str *names)
{
    struct autoscalers *a = t->s->ctl->state;
    struct buf b = BUF_INIT;
    size_t n = 1;
    buf_str_add(&b, str_of(t->h->key));
    map_for (&a->all, it) {
        const struct hpa *x = it->value;
        struct str ns, name;
        struct selector sel;
        if (x == t->h || !x->selector || !str_cut(str_of(x->key), '/', &ns, &name) || !str_eq(ns, t->o->ns) ||
            selector_parse(t->s->pool, str_of(x->selector), &sel, NULL) < 0)
            continue;
        bool hit = false;
        for (size_t i = 0; i < t->pods.n && !hit; i++)
            hit = obj_matches(t->pods.p[i], &sel);
        if (hit && n++)
            buf_printf(&b, " %s", x->key);
    }
    *names = buf_to_pool(&b, t->s->pool);
    return n > 1;
}

static int read_pods(struct hpa_turn *t, const struct json *scale, struct err **e)
{
    struct str text = json_str_at(scale, "status", "selector", NULL), names;
    if (!text.n) {
        ctl_event(t->s->ctl, R_HPAS, t->o, true, "SelectorRequired", "selector is required");
        hpa_condition(t, "ScalingActive", false, "InvalidSelector", STR("the HPA target's scale is missing a selector"));
        return err_set(e, ERR_INVALID, "selector is required");
    }
    if (selector_parse(t->s->pool, text, &t->selector, e) < 0) {
        (void)err_wrap(e, "couldn't convert selector into a corresponding internal selector object");
        ctl_event(t->s->ctl, R_HPAS, t->o, true, "InvalidSelector", "%s", err_msg(*e));
        hpa_condition(t, "ScalingActive", false, "InvalidSelector", pool_printf(t->s->pool, "%s", err_msg(*e)));
        return -ERR_INVALID;
    }
    free(t->h->selector);
    t->h->selector = str_dup(text);
    struct obj_array all = sync_list(t->s, R_PODS, t->o->ns);
    for (size_t i = 0; i < all.n; i++)
        if (obj_matches(all.p[i], &t->selector))
            array_add(t->s->pool, &t->pods, all.p[i]);
    if (!others_match(t, &names))
        return 0;
    (void)err_set(e, ERR_INVALID, "pods by selector %.*s are controlled by multiple HPAs: [%.*s]", STR_ARG(text), STR_ARG(names));
    ctl_event(t->s->ctl, R_HPAS, t->o, true, "AmbiguousSelector", "%s", err_msg(*e));
    hpa_condition(t, "ScalingActive", false, "AmbiguousSelector", pool_printf(t->s->pool, "%s", err_msg(*e)));
    return -ERR_INVALID;
}

/* ---- one look ---- */

static double tolerance(const struct json *rules)
{
    struct quantity q;
    struct json *j = json_get(rules, STR("tolerance"));
    if (json_is(j, JSON_INT))
        return (double)j->i;
    return j && quantity_parse(json_as_str(j), &q, NULL) == 0 ? (double)quantity_milli(q) / 1000 : 0.1;
}

static void turn_init(struct hpa_turn *t, struct sync *s, struct hpa *h, const struct obj *o)
{
    *t = (struct hpa_turn){.s = s, .h = h, .o = o, .tree = sync_tree(s, o)};
    struct json *old = json_get(t->tree, STR("status"));
    t->spec = json_get(t->tree, STR("spec"));
    t->status = old ? json_clone(s->pool, old) : json_obj(s->pool);
    t->conditions = json_put_arr(s->pool, t->status, STR("conditions"));
    t->min = json_get_int(t->spec, "minReplicas", 1);
    t->max = json_get_int(t->spec, "maxReplicas", 1);
    t->tolerance_up = tolerance(json_path(t->spec, "behavior", "scaleUp", NULL));
    t->tolerance_down = tolerance(json_path(t->spec, "behavior", "scaleDown", NULL));
}

static int turn_end(struct hpa_turn *t, struct err **e)
{
    t->h->spec = str_hash(json_to_pool(t->s->pool, t->spec));
    t->h->next = t->s->now + HPA_PERIOD;
    hpa_forget_answers(t->h);
    sync_again_at(t->s, t->h->next);
    int r = sync_status(t->s, R_HPAS, t->o, t->tree, t->status, e);
    return err_is(e, ERR_NOT_FOUND) ? 0 : MIN(r, 0);
}

static void set_counts(struct hpa_turn *t, int64_t desired, struct json *metrics)
{
    json_set_int(t->s->pool, t->status, STR("currentReplicas"), t->replicas);
    json_set_int(t->s->pool, t->status, STR("desiredReplicas"), desired);
    if (metrics && json_count(metrics))
        json_set(t->s->pool, t->status, STR("currentMetrics"), metrics);
    else
        json_set(t->s->pool, t->status, STR("currentMetrics"), json_null(t->s->pool));
}

static int no_scale(struct hpa_turn *t, struct err *why, struct err **e)
{
    ctl_event(t->s->ctl, R_HPAS, t->o, true, "FailedGetScale", "%s", err_msg(why));
    hpa_condition(t, "AbleToScale", false, "FailedGetScale",
        pool_printf(t->s->pool, "the HPA controller was unable to get the target's current scale: %s", err_msg(why)));
    err_free(why);
    return turn_end(t, e);
}

static int rescale(
    struct hpa_turn *t, const struct api_call *target, int64_t desired, struct str reason, struct json *metrics, struct err **e)
{
    struct err *why = NULL;
    struct pool *p = t->s->pool;
    if (write_scale(t, target, desired, &why) < 0) {
        ctl_event(t->s->ctl, R_HPAS, t->o, true, "FailedRescale", "New size: %" PRId64 "; reason: %.*s; error: %s", desired,
            STR_ARG(reason), err_msg(why));
        hpa_condition(t, "AbleToScale", false, "FailedUpdateScale",
            pool_printf(p, "the HPA controller was unable to update the target scale: %s", err_msg(why)));
        set_counts(t, json_get_int(t->status, "desiredReplicas", 0), metrics);
        err_free(why);
        return turn_end(t, e);
    }
    hpa_condition(t, "AbleToScale", true, "SucceededRescale",
        pool_printf(p, "the HPA controller was able to update the target scale to %" PRId64, desired));
    ctl_event(t->s->ctl, R_HPAS, t->o, false, "SuccessfulRescale", "New size: %" PRId64 "; reason: %.*s", desired, STR_ARG(reason));
    hpa_note_change(t, desired);
    set_counts(t, desired, metrics);
    json_set(p, t->status, STR("lastScaleTime"), time_json(p, t->s->now));
    return turn_end(t, e);
}

static int by_metrics(struct hpa_turn *t, const struct api_call *target, const struct json *scale, struct err **e)
{
    struct json *metrics = json_arr(t->s->pool);
    struct str name = STR(""), reason = STR("");
    struct err *why = NULL;
    bool partly = false;
    int64_t wished = read_pods(t, scale, &why) < 0 ? -1 : hpa_propose(t, metrics, &name, &partly, &why);
    if (wished < 0) {
        ctl_event(t->s->ctl, R_HPAS, t->o, true, "FailedComputeMetricsReplicas", "%s", err_msg(why));
        set_counts(t, json_get_int(t->status, "desiredReplicas", 0), metrics);
        err_free(why);
        return turn_end(t, e);
    }
    if (wished > t->replicas)
        reason = pool_printf(t->s->pool, "%.*s above target", STR_ARG(name));
    else if (wished < t->replicas)
        reason = STR("All metrics below target");
    if (!t->h->wished.n)
        t->h->wished.at[t->h->wished.n++] = (struct hpa_sample){t->s->now, t->replicas};
    int64_t desired = hpa_limit(t, wished);
    if (desired != t->replicas)
        return rescale(t, target, desired, reason, metrics, e);
    set_counts(t, desired, metrics);
    return turn_end(t, e);
}

static int look(struct sync *s, struct hpa *h, const struct obj *o, struct err **e)
{
    struct hpa_turn t;
    struct api_call target;
    struct json *scale = NULL;
    struct err *why = NULL;
    turn_init(&t, s, h, o);
    if (o->generation)
        json_set_int(s->pool, t.status, STR("observedGeneration"), o->generation);
    if (read_scale(&t, &target, &scale, &why) < 0)
        return no_scale(&t, why, e);
    hpa_condition(&t, "AbleToScale", true, "SucceededGetScale", STR("the HPA controller was able to get the target's current scale"));
    if (t.replicas == 0 && t.min != 0) {
        hpa_condition(
            &t, "ScalingActive", false, "ScalingDisabled", STR("scaling is disabled since the replica count of the target is zero"));
        set_counts(&t, 0, NULL);
        return turn_end(&t, e);
    }
    if (t.replicas > t.max)
        return rescale(&t, &target, t.max, STR("Current number of replicas above Spec.MaxReplicas"), NULL, e);
    if (t.replicas < t.min)
        return rescale(&t, &target, t.min, STR("Current number of replicas below Spec.MinReplicas"), NULL, e);
    if (!h->answers[0].asked) {
        hpa_ask(&t);
        if (h->waiting)
            return 0; /* the last answer puts the key on the queue */
    }
    return by_metrics(&t, &target, scale, e);
}

static int sync_hpa(struct sync *s, struct err **e)
{
    struct autoscalers *a = s->ctl->state;
    const struct obj *o = sync_self(s, R_HPAS);
    if (!o || o->deleted) {
        struct hpa *h = map_del(&a->all, s->key);
        if (h)
            drop(h);
        return 0;
    }
    struct hpa *h = hpa_of(s->ctl, s->key);
    if (h->waiting)
        return 0;
    if (!h->answers[0].asked && s->now < h->next && h->spec == str_hash(json_to_pool(s->pool, json_get(sync_tree(s, o), STR("spec"))))) {
        sync_again_at(s, h->next);
        return 0;
    }
    return look(s, h, o, e);
}

static int start(struct ctl *c, struct err **e)
{
    c->state = xcalloc(1, sizeof(struct autoscalers));
    return 0;
}

static void stop(struct ctl *c)
{
    struct autoscalers *a = c->state;
    if (a)
        map_clear(&a->all, drop);
    free(a);
}

const struct controller hpa_controller = {
    .name = "horizontal-pod-autoscaler",
    .account = "horizontal-pod-autoscaler",
    .watches = {{R_HPAS, ctl_add_change}},
    .sync = sync_hpa,
    .start = start,
    .stop = stop,
};
