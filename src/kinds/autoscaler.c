#include "kinds/cell.h"
#include "kinds/rows.h"
#include "schema/apply.h"
#include "schema/ferr.h"

/* HorizontalPodAutoscaler: v1 knows CPU only; the rest of a v2 object rides in annotations of its v1 form. */
static const struct str metrics_note = {"autoscaling.alpha.kubernetes.io/metrics", 39},
                        behavior_note = {"autoscaling.alpha.kubernetes.io/behavior", 40},
                        current_note = {"autoscaling.alpha.kubernetes.io/current-metrics", 47},
                        conditions_note = {"autoscaling.alpha.kubernetes.io/conditions", 42};

static bool is_v1(const struct json *doc)
{
    return str_eqz(json_get_str(doc, "apiVersion"), "autoscaling/v1");
}

static struct json *cpu_metric(struct pool *p, int64_t percent)
{
    struct json *m = json_obj(p), *res = json_obj(p), *target = json_obj(p);
    json_set_str(p, target, STR("type"), STR("Utilization"));
    json_set_int(p, target, STR("averageUtilization"), percent);
    json_set_str(p, res, STR("name"), STR("cpu"));
    json_set(p, res, STR("target"), target);
    json_set_str(p, m, STR("type"), STR("Resource"));
    json_set(p, m, STR("resource"), res);
    return m;
}

static void add_policy(struct pool *p, struct json *rules, const char *type, int64_t value)
{
    struct json *x = json_append(json_put_arr(p, rules, STR("policies")), json_obj(p));
    json_set_str(p, x, STR("type"), str_of(type));
    json_set_int(p, x, STR("value"), value);
    json_set_int(p, x, STR("periodSeconds"), 15);
}

static void dflt_rules(struct pool *p, struct json *behavior, const char *name, bool up)
{
    struct json *rules = json_put_obj(p, behavior, str_of(name));
    if (up && !json_get(rules, STR("stabilizationWindowSeconds")))
        json_set_int(p, rules, STR("stabilizationWindowSeconds"), 0);
    if (!json_get(rules, STR("selectPolicy")))
        json_set_str(p, rules, STR("selectPolicy"), STR("Max"));
    if (json_get(rules, STR("policies")))
        return;
    if (up)
        add_policy(p, rules, "Pods", 4);
    add_policy(p, rules, "Percent", 100);
}

static void dflt(struct kind_ctx *c, struct json *doc)
{
    struct json *spec = json_put_obj(c->pool, doc, STR("spec")), *behavior = json_get(spec, STR("behavior"));
    if (is_v1(doc)) {
        if (!json_get(spec, STR("targetCPUUtilizationPercentage")) &&
            !json_get(json_path(doc, "metadata", "annotations", NULL), metrics_note))
            json_set_int(c->pool, spec, STR("targetCPUUtilizationPercentage"), 80);
        return;
    }
    if (!json_count(json_get(spec, STR("metrics"))))
        json_append(json_put_arr(c->pool, spec, STR("metrics")), cpu_metric(c->pool, 80));
    if (json_is(behavior, JSON_OBJ)) {
        dflt_rules(c->pool, behavior, "scaleUp", true);
        dflt_rules(c->pool, behavior, "scaleDown", false);
    }
}

static void validate(struct kind_ctx *c, const struct json *doc, const struct json *old, struct err **e)
{
    struct fpath at = FPATH(NULL, "spec"), max = FPATH(&at, "maxReplicas"), min = FPATH(&at, "minReplicas");
    const struct json *spec = json_get(doc, STR("spec"));
    int64_t most = json_get_int(spec, "maxReplicas", 0), least = json_get_int(spec, "minReplicas", 1);
    (void)old;
    if (str_eqz(c->sub, "status"))
        return;
    if (least < 1)
        ferr_invalid_int(e, &min, least, "must be greater than or equal to 1");
    if (most < 1)
        ferr_invalid_int(e, &max, most, "must be greater than 0");
    if (most < least)
        ferr_invalid_int(e, &max, most, "must be greater than or equal to `minReplicas`");
}

static void note(struct kind_ctx *c, struct json *doc, struct str key, const struct json *value)
{
    struct json *ann = json_put_obj(c->pool, json_put_obj(c->pool, doc, STR("metadata")), STR("annotations"));
    json_set_str(c->pool, ann, key, json_to_pool(c->pool, value));
}

static struct json *take_note(struct kind_ctx *c, struct json *doc, struct str key)
{
    struct json *ann = json_path(doc, "metadata", "annotations", NULL), *v = NULL;
    struct str text = json_as_str(json_get(ann, key));
    if (text.n && json_parse(c->pool, pool_str(c->pool, text), NULL, &v, NULL) < 0)
        v = NULL;
    if (ann)
        json_del(ann, key);
    if (ann && !ann->n)
        json_del(json_get(doc, STR("metadata")), STR("annotations"));
    return v;
}

static bool is_cpu(const struct json *m)
{
    return str_eqz(json_get_str(m, "type"), "Resource") && str_eqz(json_str_at(m, "resource", "name", NULL), "cpu");
}

static void to_v1(struct kind_ctx *c, struct json *doc)
{
    struct json *spec = json_put_obj(c->pool, doc, STR("spec")), *status = json_put_obj(c->pool, doc, STR("status")),
                *rest = json_arr(c->pool);
    json_for (json_get(spec, STR("metrics")), m) {
        const struct json *percent = json_path(m, "resource", "target", "averageUtilization", NULL);
        if (is_cpu(m) && json_is(percent, JSON_INT) && !json_get(spec, STR("targetCPUUtilizationPercentage")))
            json_set_int(c->pool, spec, STR("targetCPUUtilizationPercentage"), percent->i);
        else
            json_append(rest, json_clone(c->pool, m));
    }
    if (rest->n)
        note(c, doc, metrics_note, rest);
    if (json_get(spec, STR("behavior")))
        note(c, doc, behavior_note, json_get(spec, STR("behavior")));
    json_for (json_get(status, STR("currentMetrics")), m) {
        const struct json *now = json_path(m, "resource", "current", "averageUtilization", NULL);
        if (is_cpu(m) && json_is(now, JSON_INT))
            json_set_int(c->pool, status, STR("currentCPUUtilizationPercentage"), now->i);
    }
    if (json_count(json_get(status, STR("currentMetrics"))))
        note(c, doc, current_note, json_get(status, STR("currentMetrics")));
    if (json_count(json_get(status, STR("conditions"))))
        note(c, doc, conditions_note, json_get(status, STR("conditions")));
    json_del(spec, STR("metrics"));
    json_del(spec, STR("behavior"));
    json_del(status, STR("currentMetrics"));
    json_del(status, STR("conditions"));
    if (!json_get(status, STR("desiredReplicas")))
        json_set_int(c->pool, status, STR("desiredReplicas"), 0);
    if (!json_get(status, STR("currentReplicas")))
        json_set_int(c->pool, status, STR("currentReplicas"), 0);
}

static void to_v2(struct kind_ctx *c, struct json *doc)
{
    struct json *spec = json_put_obj(c->pool, doc, STR("spec")), *status = json_put_obj(c->pool, doc, STR("status"));
    struct json *metrics = take_note(c, doc, metrics_note), *behavior = take_note(c, doc, behavior_note),
                *current = take_note(c, doc, current_note), *conditions = take_note(c, doc, conditions_note);
    const struct json *percent = json_get(spec, STR("targetCPUUtilizationPercentage"));
    struct json *list = json_is(metrics, JSON_ARR) ? metrics : json_arr(c->pool);
    if (json_is(percent, JSON_INT))
        json_append(list, cpu_metric(c->pool, percent->i));
    json_del(spec, STR("targetCPUUtilizationPercentage"));
    json_del(status, STR("currentCPUUtilizationPercentage"));
    if (list->n)
        json_set(c->pool, spec, STR("metrics"), list);
    if (json_is(behavior, JSON_OBJ))
        json_set(c->pool, spec, STR("behavior"), behavior);
    json_set(c->pool, status, STR("currentMetrics"), json_is(current, JSON_ARR) ? current : json_null(c->pool));
    if (json_is(conditions, JSON_ARR))
        json_set(c->pool, status, STR("conditions"), conditions);
}

static int convert(struct kind_ctx *c, struct json *doc, struct str to, struct err **e)
{
    bool want_v1 = str_eqz(to, "autoscaling/v1") || str_eqz(to, "v1");
    (void)e;
    if (want_v1 && !is_v1(doc))
        to_v1(c, doc);
    else if (!want_v1 && is_v1(doc))
        to_v2(c, doc);
    json_set_str(c->pool, doc, STR("apiVersion"), want_v1 ? STR("autoscaling/v1") : STR("autoscaling/v2"));
    return 0;
}

/* "cpu: 12%/80%" of one metric of the spec and what the status measured. */
static struct str target(struct kind_ctx *c, const struct json *m, const struct json *now)
{
    static const char *const members[][2] = {{"External", "external"}, {"Pods", "pods"}, {"Object", "object"}, {"Resource", "resource"},
        {"ContainerResource", "containerResource"}};
    struct str type = json_get_str(m, "type");
    size_t i = 0;
    while (i < ARRAY_LEN(members) && !str_eqz(type, members[i][0]))
        i++;
    if (i == ARRAY_LEN(members))
        return STR("<unknown type>");
    bool resource = i >= 3;
    const struct json *want = json_path(m, members[i][1], "target", NULL), *have = json_path(now, members[i][1], "current", NULL);
    struct str name = json_str_at(m, members[i][1], "name", NULL), average = json_get_str(want, "averageValue"), cur = STR_NULL;
    struct str prefix = resource ? pool_printf(c->pool, "%.*s: ", STR_ARG(name)) : STR("");
    if (average.n) {
        cur = json_get_str(have, "averageValue");
        return pool_printf(c->pool, "%.*s%.*s/%.*s%s", STR_ARG(prefix), STR_ARG(cur.n ? cur : STR("<unknown>")), STR_ARG(average),
            resource || i == 1 ? "" : " (avg)");
    }
    if (!resource) {
        cur = json_get_str(have, "value");
        return pool_printf(c->pool, "%.*s/%.*s", STR_ARG(cur.n ? cur : STR("<unknown>")), STR_ARG(json_get_str(want, "value")));
    }
    const struct json *p = json_get(have, STR("averageUtilization")), *w = json_get(want, STR("averageUtilization"));
    cur = json_is(p, JSON_INT) ? pool_printf(c->pool, "%" PRId64 "%%", p->i) : STR("<unknown>");
    struct str goal = json_is(w, JSON_INT) ? pool_printf(c->pool, "%" PRId64 "%%", w->i) : STR("<auto>");
    return pool_printf(c->pool, "%.*s%.*s/%.*s", STR_ARG(prefix), STR_ARG(cur), STR_ARG(goal));
}

static void cells(struct kind_ctx *c, const struct json *doc, struct json *row)
{
    struct json *d = json_clone(c->pool, doc);
    if (is_v1(d))
        to_v2(c, d);
    const struct json *spec = json_get(d, STR("spec")), *status = json_get(d, STR("status")), *metrics = json_get(spec, STR("metrics")),
                      *ref = json_get(spec, STR("scaleTargetRef"));
    struct buf b = BUF_INIT;
    size_t i = 0;
    json_for (metrics, m) {
        if (i < 2)
            buf_printf(&b, "%s%.*s", i ? ", " : "", STR_ARG(target(c, m, json_at(json_get(status, STR("currentMetrics")), i))));
        i++;
    }
    if (i > 2)
        buf_printf(&b, " + %zu more...", i - 2);
    const struct json *min = json_get(spec, STR("minReplicas"));
    cell_add_str(c, row, json_str_at(d, "metadata", "name", NULL));
    cell_add_str(c, row, pool_printf(c->pool, "%.*s/%.*s", STR_ARG(json_get_str(ref, "kind")), STR_ARG(json_get_str(ref, "name"))));
    cell_add_or(c, row, buf_to_pool(&b, c->pool), "<none>");
    cell_add_str(c, row, json_is(min, JSON_INT) ? pool_printf(c->pool, "%" PRId64, min->i) : STR("<unset>"));
    cell_add_int(c, row, json_get_int(spec, "maxReplicas", 0));
    cell_add_int(c, row, json_get_int(status, "currentReplicas", 0));
    cell_add_age(c, row, json_str_at(d, "metadata", "creationTimestamp", NULL));
}

#define NOTE(name) "metadata|annotations|autoscaling.alpha.kubernetes.io/" name
static const char *const moved[][2] = {{"spec|targetCPUUtilizationPercentage", "spec|metrics"}, {NOTE("metrics"), "spec|metrics"},
    {NOTE("behavior"), "spec|behavior"}, {"status|currentCPUUtilizationPercentage", "status|currentMetrics"},
    {NOTE("current-metrics"), "status|currentMetrics"}, {NOTE("conditions"), "status|conditions"}};
static const struct field_moves moves = {{"autoscaling/v1", 14}, {"autoscaling/v2", 14}, moved, ARRAY_LEN(moved)};

const struct kind_hooks kind_autoscaler = {
    KIND("autoscaling", "HorizontalPodAutoscaler"), .dflt = dflt, .validate = validate, .convert = convert, .cells = cells, .moves = &moves};
