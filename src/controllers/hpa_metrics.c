/* What an autoscaler's metrics want. */
#include <math.h>
#include <stdlib.h>
#include "controllers/hpa.h"
#include "controllers/inner.h"
#include "schema/quantity.h"

#define CPU_SETTLES (300 * NS_PER_S) /* --horizontal-pod-autoscaler-cpu-initialization-period */
#define FIRST_READY (30 * NS_PER_S)  /* --horizontal-pod-autoscaler-initial-readiness-delay */

/* ---- asking ---- */

struct question {
    struct api_call call;
    struct hpa *h;
    size_t at;
};

static void on_answer(struct api_call *call)
{
    struct question *q = container_of(call, struct question, call);
    struct hpa *h = q->h;
    struct hpa_answer *a = &h->answers[q->at];
    a->come = true;
    a->pool = call->pool;
    if (call->err)
        a->error = xstrdup(err_msg(call->err));
    else
        a->doc = call->result;
    api_call_clear(call);
    if (--h->waiting == 0 && h->gone)
        hpa_free(h);
    else if (h->waiting == 0)
        ctl_add_raw(h->ctl, str_of(h->key));
}

static struct str kind_of(const struct json *metric)
{
    return json_get_str(metric, "type");
}

static bool is_resource(const struct json *metric)
{
    return str_eqz(kind_of(metric), "Resource") || str_eqz(kind_of(metric), "ContainerResource");
}

/* The source's own part of a MetricSpec: object, pods, resource... */
static const struct json *source_of(const struct json *metric)
{
    static const char *const members[] = {"resource", "containerResource", "pods", "object", "external"};
    for (size_t i = 0; i < ARRAY_LEN(members); i++)
        if (json_get(metric, str_of(members[i])))
            return json_get(metric, str_of(members[i]));
    return NULL;
}

static void ask_one(struct hpa_turn *t, size_t at, const struct json *metric)
{
    struct hpa *h = t->h;
    struct hpa_answer *a = &h->answers[at];
    const char *group = is_resource(metric)                    ? "metrics.k8s.io"
                        : str_eqz(kind_of(metric), "External") ? "external.metrics.k8s.io"
                                                               : "custom.metrics.k8s.io";
    a->asked = true;
    if (!is_resource(
            metric)) { /* served by adapters; there is no way to them from inside as long as the api cannot call aggregated APIs for us */
        a->come = true;
        a->error = xasprintf("no metrics API serves %s", group);
        return;
    }
    struct pool *p = pool_new();
    struct question *q = pool_new_of(p, struct question);
    q->h = h;
    q->at = at;
    q->call = (struct api_call){.verb = API_LIST,
        .group = str_of(group),
        .version = STR("v1beta1"),
        .resource = STR("pods"),
        .sub = STR(""),
        .ns = pool_str(p, t->o->ns),
        .name = STR(""),
        .pool = p,
        .user = &t->s->ctl->user};
    h->waiting++;
    if (t->s->ctl->all->cfg.metrics)
        t->s->ctl->all->cfg.metrics(t->s->ctl->all->cfg.metrics_arg, &q->call, on_answer);
    else
        api_do(t->s->ctl->api, t->s->ctl->loop, &q->call, on_answer);
}

void hpa_ask(struct hpa_turn *t)
{
    size_t i = 0;
    t->h->waiting++; /* held, so that an answer that comes at once does not queue the key */
    json_for (json_get(t->spec, STR("metrics")), m)
        if (i < HPA_METRICS)
            ask_one(t, i++, m);
    t->h->waiting--;
}

void hpa_forget_answers(struct hpa *h)
{
    for (size_t i = 0; i < HPA_METRICS; i++) {
        pool_free(h->answers[i].pool);
        free(h->answers[i].error);
        h->answers[i] = (struct hpa_answer){0};
    }
}

/* ---- figures ---- */

struct figure { /* one pod */
    struct str name;
    const struct obj *o;
    int64_t value, request; /* thousandths */
    bool has, counts;
    bool missing, unready;
};
struct figures {
    struct figure *at;
    size_t n, ready, nmissing, nunready;
};

static int64_t milli_of(const struct json *j)
{
    struct quantity q;
    if (json_is(j, JSON_INT))
        return j->i * 1000;
    return j && quantity_parse(json_as_str(j), &q, NULL) == 0 ? quantity_milli(q) : 0;
}

static const struct json *item_of(const struct json *list, struct str pod)
{
    json_for (json_get(list, STR("items")), i)
        if (str_eq(json_str_at(i, "metadata", "name", NULL), pod))
            return i;
    return NULL;
}

/* The pod's use, of one container or of all; false: not all of it is known. */
static bool usage_of(const struct json *item, struct str resource, struct str container, int64_t *out)
{
    bool any = false;
    *out = 0;
    json_for (json_get(item, STR("containers")), c) {
        const struct json *u = json_get(json_get(c, STR("usage")), resource);
        if (container.n && !str_eq(json_get_str(c, "name"), container))
            continue;
        if (!u)
            return false;
        *out += milli_of(u);
        any = true;
    }
    return any;
}

static int64_t window_of(const struct json *item)
{
    struct str s = json_get_str(item, "window"); /* "30s", "1m0s" */
    int64_t total = 0, n = 0;
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] >= '0' && s.p[i] <= '9' && n < 1000000)
            n = n * 10 + (s.p[i] - '0');
        else if (s.p[i] == '.')
            break;
        else {
            total += n * (s.p[i] == 'h' ? 3600 : s.p[i] == 'm' ? 60 : 1);
            n = 0;
        }
    }
    return (total + n) * NS_PER_S;
}

/* A young pod's CPU says little: it counts when it is ready and a whole window was measured since, and later unless it never was ready. */
static bool cpu_unsettled(const struct hpa_turn *t, const struct json *pod, const struct json *item)
{
    const struct json *ready = condition_find(json_path(pod, "status", "conditions", NULL), STR("Ready"));
    int64_t started = time_of(json_str_at(pod, "status", "startTime", NULL)), since = time_of(json_get_str(ready, "lastTransitionTime"));
    bool is = !str_eqz(json_get_str(ready, "status"), "False");
    if (!ready || !started)
        return true;
    if (started + CPU_SETTLES > t->s->now)
        return !is || time_of(json_get_str(item, "timestamp")) < since + window_of(item);
    return !is && started + FIRST_READY > since;
}

static int request_of(struct hpa_turn *t, const struct json *pod, struct str resource, struct str container, int64_t *out, struct err **e)
{
    static const char *const lists[] = {"containers", "initContainers"};
    struct str name = json_str_at(pod, "metadata", "name", NULL);
    const struct json *whole = json_get(json_path(pod, "spec", "resources", "requests", NULL), resource);
    bool found = false;
    *out = 0;
    if (whole && !container.n) {
        *out = milli_of(whole);
        return 0;
    }
    for (size_t i = 0; i < 2; i++)
        json_for (json_path(pod, "spec", lists[i], NULL), c) {
            struct str cn = json_get_str(c, "name");
            const struct json *q = json_get(json_path(c, "resources", "requests", NULL), resource);
            if ((i == 1 && !str_eqz(json_get_str(c, "restartPolicy"), "Always")) || (container.n && !str_eq(cn, container)))
                continue;
            if (!q)
                return err_set(e, ERR_INVALID, "missing request for %.*s in container %.*s of Pod %.*s", STR_ARG(resource), STR_ARG(cn),
                    STR_ARG(name));
            *out += milli_of(q);
            found = true;
        }
    if (container.n && !found)
        return err_set(e, ERR_INVALID, "container %.*s not found in Pod %.*s", STR_ARG(container), STR_ARG(name));
    return 0;
}

static int gather(struct hpa_turn *t, const struct json *list, struct str resource, struct str container, bool requests, struct figures *f,
    struct err **e)
{
    *f = (struct figures){.at = pool_array(t->s->pool, struct figure, t->pods.n + 1)};
    if (!t->pods.n)
        return err_set(e, ERR_NOT_FOUND, "no pods returned by selector while calculating replica count");
    size_t measured = 0;
    for (size_t i = 0; i < t->pods.n; i++) {
        const struct obj *o = t->pods.p[i];
        const struct json *pod = sync_tree(t->s, o), *item = item_of(list, o->name);
        struct figure *x = &f->at[f->n++];
        enum pod_phase phase = pod_phase_of(o);
        *x = (struct figure){.name = o->name, .o = o};
        x->has = item && usage_of(item, resource, container, &x->value);
        int r = requests ? request_of(t, pod, resource, container, &x->request, e) : 0;
        if (r < 0)
            return r;
        if (o->deleted || phase == POD_FAILED)
            continue;
        if (phase == POD_PENDING)
            x->unready = true;
        else if (!x->has)
            x->missing = true;
        else if (str_eqz(resource, "cpu") && cpu_unsettled(t, pod, item))
            x->unready = true;
        else
            x->counts = true;
        f->ready += x->counts;
        f->nmissing += x->missing;
        f->nunready += x->unready;
        measured += x->counts;
    }
    return measured ? 0 : err_set(e, ERR_NOT_FOUND, "did not receive metrics for targeted pods (pods might be unready)");
}

struct target {
    bool utilization;
    int64_t want; /* percent, or thousandths of the unit per pod */
};

/* How far what is used is from what should be: 1 is right. */
static int ratio_of(
    const struct figures *f, const struct target *g, double *ratio, int64_t *percent, int64_t *average, size_t *n, struct err **e)
{
    int64_t used = 0, asked = 0;
    *n = 0;
    for (size_t i = 0; i < f->n; i++) {
        if (!f->at[i].counts)
            continue;
        used += f->at[i].value;
        asked += f->at[i].request;
        (*n)++;
    }
    if (g->utilization && asked <= 0)
        return err_set(e, ERR_NOT_FOUND, "no metrics returned matched known pods");
    *average = used / (int64_t)*n;
    *percent = g->utilization ? used * 100 / asked : 0;
    *ratio = (double)(g->utilization ? *percent : *average) / (double)MAX(g->want, (int64_t)1);
    return 0;
}

static bool tolerable(const struct hpa_turn *t, double ratio)
{
    return 1 - t->tolerance_down <= ratio && ratio <= 1 + t->tolerance_up;
}

/* Pods without figures count so that they slow a change, never hasten it: nothing when going up, all they asked for when going down. */
static void assume(struct figures *f, const struct target *g, double ratio)
{
    for (size_t i = 0; i < f->n; i++) {
        struct figure *x = &f->at[i];
        if (x->missing && ratio != 1) {
            x->counts = true;
            x->value = ratio > 1 ? 0 : g->utilization ? x->request * MAX(g->want, (int64_t)100) / 100 : g->want;
        } else if (x->unready && ratio > 1) {
            x->counts = true;
            x->value = 0;
        }
    }
}

static int64_t whole(double n)
{
    return n > INT32_MAX ? INT32_MAX : (int64_t)ceil(n);
}

static int replicas_for(
    struct hpa_turn *t, struct figures *f, const struct target *g, int64_t *out, int64_t *percent, int64_t *average, struct err **e)
{
    double ratio, again;
    int64_t p2, a2;
    size_t n;
    int r = ratio_of(f, g, &ratio, percent, average, &n, e);
    if (r < 0)
        return r;
    bool up_with_unready = f->nunready && ratio > 1;
    *out = t->replicas;
    if (!up_with_unready && !f->nmissing) {
        if (!tolerable(t, ratio))
            *out = whole(ratio * (double)f->ready);
        return 0;
    }
    assume(f, g, ratio);
    r = ratio_of(f, g, &again, &p2, &a2, &n, e);
    if (r < 0)
        return r;
    if (tolerable(t, again) || (ratio < 1 && again > 1) || (ratio > 1 && again < 1))
        return 0;
    int64_t wanted = whole(again * (double)n);
    if (!((again < 1 && wanted > t->replicas) || (again > 1 && wanted < t->replicas)))
        *out = wanted;
    return 0;
}

/* ---- one metric ---- */

static struct json *quantity_json(struct pool *p, int64_t milli, bool binary)
{
    struct buf b = BUF_INIT;
    struct quantity q = {.digits = milli, .scale = -3, .format = binary ? Q_BINARY_SI : Q_DECIMAL_SI};
    if (milli % 1000 == 0)
        q = (struct quantity){.digits = milli / 1000, .format = q.format};
    quantity_write(&b, q);
    return json_str_view(p, buf_to_pool(&b, p));
}

struct proposal {
    int64_t n;
    struct str name;
};

static int by_resource(
    struct hpa_turn *t, const struct json *metric, const struct hpa_answer *a, struct proposal *out, struct json *current, struct err **e)
{
    bool one = str_eqz(kind_of(metric), "ContainerResource");
    const struct json *src = source_of(metric), *target = json_get(src, STR("target"));
    struct str resource = json_get_str(src, "name"), container = one ? json_get_str(src, "container") : STR("");
    const struct json *average = json_get(target, STR("averageValue"));
    struct target g = {.utilization = !average, .want = average ? milli_of(average) : json_get_int(target, "averageUtilization", 0)};
    struct figures f;
    struct pool *p = t->s->pool;
    int64_t percent, used;
    int r = 0;
    if (!average && !json_get(target, STR("averageUtilization")))
        return err_set(e, ERR_INVALID,
            "invalid resource metric source: neither an average utilization target nor an average value (usage) target was set");
    if (!a->doc || !json_count(json_get(a->doc, STR("items"))))
        r = err_set(e, ERR_UNAVAILABLE, "unable to get metrics for resource %.*s: %s%s", STR_ARG(resource),
            a->doc ? "no metrics returned from resource metrics API" : "unable to fetch metrics from resource metrics API: ",
            a->error ? a->error : "");
    if (r == 0)
        r = gather(t, a->doc, resource, container, g.utilization, &f, e);
    if (r == 0)
        r = replicas_for(t, &f, &g, &out->n, &percent, &used, e);
    if (r < 0)
        return err_wrap(e, "failed to get %.*s %s", STR_ARG(resource), average ? "usage" : "utilization");
    out->name = pool_printf(p, "%.*s %sresource%s", STR_ARG(resource), one && !average ? "container " : "",
        average ? "" : " utilization (percentage of request)");
    struct json *mine = json_put_obj(p, current, one ? STR("containerResource") : STR("resource")), *now;
    json_set_str(p, mine, STR("name"), resource);
    if (one)
        json_set_str(p, mine, STR("container"), container);
    now = json_put_obj(p, mine, STR("current"));
    if (!average)
        json_set_int(p, now, STR("averageUtilization"), percent);
    json_set(p, now, STR("averageValue"), quantity_json(p, used, str_eqz(resource, "memory")));
    return 0;
}

static struct {
    const char *type, *reason, *what;
} const failures[] = {
    {"Resource", "FailedGetResourceMetric", "resource metric value"},
    {"ContainerResource", "FailedGetContainerResourceMetric", "container metric value"},
    {"Pods", "FailedGetPodsMetric", "pods metric value"},
    {"Object", "FailedGetObjectMetric", "object metric value"},
    {"External", "FailedGetExternalMetric", "external metric value"},
};

static int by_adapter(const struct json *metric, const struct hpa_answer *a, struct err **e)
{
    struct str name = json_str_at(source_of(metric), "metric", "name", NULL);
    bool external = str_eqz(kind_of(metric), "External");
    return err_set(e, ERR_UNAVAILABLE, "unable to get %smetric %.*s: unable to fetch metrics from %s metrics API: %s",
        external ? "external " : "", STR_ARG(name), external ? "external" : "custom", a->error ? a->error : "no answer");
}

/* The event and the first failure's condition; a prefix as Kubernetes gives it. */
static void fail_one(struct hpa_turn *t, const struct json *metric, struct err **why, bool first, struct err **e)
{
    for (size_t i = 0; i < ARRAY_LEN(failures); i++) {
        if (!str_eqz(kind_of(metric), failures[i].type))
            continue;
        ctl_event(t->s->ctl, R_HPAS, t->o, true, failures[i].reason, "%s", err_msg(*why));
        if (first)
            hpa_condition(t, "ScalingActive", false, failures[i].reason,
                pool_printf(t->s->pool, "the HPA was unable to compute the replica count: %s", err_msg(*why)));
        struct str name = i == 1   ? json_get_str(source_of(metric), "container")
                          : i == 0 ? json_get_str(source_of(metric), "name")
                                   : STR("");
        (void)err_wrap(why, "failed to get %.*s%s%s", STR_ARG(name), name.n ? " " : "", failures[i].what);
    }
    if (first)
        (void)err_move(e, TAKE(*why));
    err_free(TAKE(*why));
}

int64_t hpa_propose(struct hpa_turn *t, struct json *current, struct str *name, bool *partly, struct err **e)
{
    int64_t best = 0;
    size_t i = 0, failed = 0;
    struct err *first = NULL;
    json_for (json_get(t->spec, STR("metrics")), m) {
        struct proposal x = {0};
        struct json *now = json_obj(t->s->pool);
        struct err *why = NULL;
        if (i == HPA_METRICS)
            break;
        struct hpa_answer *a = &t->h->answers[i++];
        json_set_str(t->s->pool, now, STR("type"), kind_of(m));
        int r = is_resource(m) ? by_resource(t, m, a, &x, now, &why) : by_adapter(m, a, &why);
        if (r < 0) {
            fail_one(t, m, &why, failed++ == 0, &first);
            continue;
        }
        json_append(current, now);
        if (best == 0 || x.n > best) {
            best = x.n;
            *name = x.name;
        }
    }
    *partly = failed > 0;
    if (failed && (failed >= i || best < t->replicas)) { /* never down on half of what was asked for */
        (void)err_move(e, first);
        (void)err_wrap(e, "invalid metrics (%zu invalid out of %zu), first error is", failed, i);
        return -1;
    }
    err_free(first);
    hpa_condition(t, "ScalingActive", true, "ValidMetricFound",
        pool_printf(t->s->pool, "the HPA was able to successfully calculate a replica count from %.*s", STR_ARG(*name)));
    return best;
}
