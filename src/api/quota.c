#include "api/admit.h"
#include "schema/quantity.h"

/* ResourceQuota at admission: what the namespace uses (counted from the store, under one lock per write) plus what this write adds must
 * stay within `hard`. Only namespaces that have a quota pay for it. The status that people see is the quota controller's. */

struct quota {
    pthread_mutex_t lock;
};

struct quota *quota_new(void)
{
    struct quota *q = xcalloc(1, sizeof *q);
    pthread_mutex_init(&q->lock, NULL);
    return q;
}

void quota_free(struct quota *q)
{
    if (!q)
        return;
    pthread_mutex_destroy(&q->lock);
    free(q);
}

/* ---- one object's usage of one quota key, in thousandths ---- */

static int64_t amount(const struct json *v)
{
    struct quantity q;
    if (json_is(v, JSON_INT))
        return v->i * 1000;
    return quantity_parse(json_as_str(v), &q, NULL) < 0 ? 0 : quantity_milli(q);
}

static int64_t container_amount(const struct json *container, const char *list, struct str name)
{
    return amount(json_get(json_path(container, "resources", list, NULL), name));
}

/* What a pod asks for: its containers and sidecars together, or its greediest init container, and the overhead. */
static int64_t pod_amount(const struct json *spec, const char *list, struct str name)
{
    int64_t sum = 0, side = 0, peak = 0;
    json_for (json_get(spec, STR("containers")), it)
        sum += container_amount(it, list, name);
    json_for (json_get(spec, STR("initContainers")), it) {
        int64_t a = container_amount(it, list, name);
        if (str_eqz(json_get_str(it, "restartPolicy"), "Always"))
            side += a;
        else
            peak = MAX(peak, side + a);
    }
    return MAX(sum + side, peak) + amount(json_get(json_get(spec, STR("overhead")), name));
}

static bool pod_ended(const struct json *doc)
{
    struct str phase = json_str_at(doc, "status", "phase", NULL);
    return str_eqz(phase, "Succeeded") || str_eqz(phase, "Failed");
}

static bool split_resource(struct str key, const char **list, struct str *name)
{
    *list = "requests";
    *name = key;
    if (str_starts(key, STR("requests.")))
        *name = str_sub(key, 9, key.n);
    else if (str_starts(key, STR("limits.")))
        *list = "limits", *name = str_sub(key, 7, key.n);
    else if (!str_eqz(key, "cpu") && !str_eqz(key, "memory") && !str_eqz(key, "ephemeral-storage"))
        return false;
    return true;
}

#define CLASS_KEY ".storageclass.storage.k8s.io/"

/* false: the key does not speak of this resource. */
static bool usage(struct str group, struct str res, const struct json *doc, struct str key, int64_t *out)
{
    const struct json *spec = json_get(doc, STR("spec"));
    const char *list;
    struct str name;
    bool core = str_empty(group), pod = core && str_eqz(res, "pods");
    *out = 1000;
    if (str_starts(key, STR("count/"))) {
        struct str r = str_sub(key, 6, key.n), g = STR("");
        (void)str_cut(r, '.', &r, &g);
        return str_eq(r, res) && str_eq(g, group);
    }
    if (pod && str_eqz(key, "pods")) {
        *out = pod_ended(doc) ? 0 : 1000;
        return true;
    }
    if (pod && !str_eqz(key, "requests.storage") && split_resource(key, &list, &name)) {
        *out = pod_ended(doc) ? 0 : pod_amount(spec, list, name);
        return true;
    }
    ssize_t by_class = core && str_eqz(res, "persistentvolumeclaims") ? str_find(key, STR(CLASS_KEY)) : -1;
    if (by_class > 0) { /* <class>.storageclass.storage.k8s.io/<resource> */
        struct str what = str_sub(key, (size_t)by_class + sizeof CLASS_KEY - 1, key.n);
        if (!str_eq(json_get_str(spec, "storageClassName"), str_sub(key, 0, (size_t)by_class)))
            *out = 0;
        else if (str_eqz(what, "requests.storage"))
            *out = amount(json_path(spec, "resources", "requests", "storage", NULL));
        return str_eqz(what, "requests.storage") || str_eqz(what, "persistentvolumeclaims");
    }
    if (core && str_eqz(res, "persistentvolumeclaims") && str_eqz(key, "requests.storage")) {
        *out = amount(json_path(spec, "resources", "requests", "storage", NULL));
        return true;
    }
    if (core && str_eqz(res, "services") && str_eqz(key, "services.loadbalancers")) {
        *out = str_eqz(json_get_str(spec, "type"), "LoadBalancer") ? 1000 : 0;
        return true;
    }
    if (core && str_eqz(res, "services") && str_eqz(key, "services.nodeports")) {
        *out = 0;
        json_for (json_get(spec, STR("ports")), it)
            *out += json_get_int(it, "nodePort", 0) ? 1000 : 0;
        return true;
    }
    return core && !pod && str_eq(key, res);
}

/* ---- scopes: which pods a quota is about ---- */

static bool best_effort(const struct json *spec)
{
    static const char *const lists[] = {"containers", "initContainers"};
    for (size_t i = 0; i < ARRAY_LEN(lists); i++)
        json_for (json_get(spec, str_of(lists[i])), it)
            if (json_count(json_path(it, "resources", "requests", NULL)) || json_count(json_path(it, "resources", "limits", NULL)))
                return false;
    return true;
}

static bool in_values(const struct json *values, struct str v)
{
    json_for (values, it)
        if (str_eq(json_as_str(it), v))
            return true;
    return false;
}

/* Does an affinity term name other namespaces than the pod's own? */
static bool terms_abroad(const struct json *list, bool weighted)
{
    json_for (list, it) {
        const struct json *term = weighted ? json_get(it, STR("podAffinityTerm")) : it;
        if (json_count(json_get(term, STR("namespaces"))) || json_is(json_get(term, STR("namespaceSelector")), JSON_OBJ))
            return true;
    }
    return false;
}

static bool looks_abroad(const struct json *spec)
{
    static const char *const kinds[] = {"podAffinity", "podAntiAffinity"};
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        const struct json *a = json_path(spec, "affinity", kinds[i], NULL);
        if (terms_abroad(json_get(a, STR("requiredDuringSchedulingIgnoredDuringExecution")), false) ||
            terms_abroad(json_get(a, STR("preferredDuringSchedulingIgnoredDuringExecution")), true))
            return true;
    }
    return false;
}

static bool scope_fits(const struct json *doc, struct str scope, struct str op, const struct json *values)
{
    const struct json *spec = json_get(doc, STR("spec"));
    bool terminating = json_is(json_get(spec, STR("activeDeadlineSeconds")), JSON_INT);
    if (str_eqz(scope, "BestEffort"))
        return best_effort(spec);
    if (str_eqz(scope, "NotBestEffort"))
        return !best_effort(spec);
    if (str_eqz(scope, "Terminating"))
        return terminating;
    if (str_eqz(scope, "NotTerminating"))
        return !terminating;
    if (str_eqz(scope, "PriorityClass")) {
        struct str class = json_get_str(spec, "priorityClassName");
        bool in = in_values(values, class);
        return str_eqz(op, "In") ? in : str_eqz(op, "NotIn") ? !in : str_eqz(op, "DoesNotExist") ? str_empty(class) : !str_empty(class);
    }
    if (str_eqz(scope, "CrossNamespacePodAffinity"))
        return looks_abroad(spec);
    return false;
}

static bool in_scope(const struct json *quota, const struct json *doc, bool pod)
{
    const struct json *spec = json_get(quota, STR("spec")), *scopes = json_get(spec, STR("scopes")),
                      *exprs = json_path(spec, "scopeSelector", "matchExpressions", NULL);
    if (!pod)
        return json_count(scopes) == 0 && json_count(exprs) == 0;
    json_for (scopes, it)
        if (!scope_fits(doc, json_as_str(it), STR("Exists"), NULL))
            return false;
    json_for (exprs, it)
        if (!scope_fits(doc, json_get_str(it, "scopeName"), json_get_str(it, "operator"), json_get(it, STR("values"))))
            return false;
    return true;
}

/* ---- the check ---- */

struct sum {
    struct call *c;
    const struct json *quota;
    struct str key;
    bool pod;
    int64_t total;
};

static int64_t used(struct sum *s)
{
    struct call *c = s->c;
    struct store_iter it;
    struct str self = json_str_at(c->w.doc, "metadata", "name", NULL);
    _cleanup_(store_view_unrefp) struct store_view *v = store_view(c->api->store);
    s->total = 0;
    iter_start(&it, v, c->sres, c->ri.ns, STR_NULL, STR_NULL);
    for (const struct obj *o; (o = iter_next(&it));) {
        _cleanup_(pool_freep) struct pool *p = pool_new();
        struct json *doc;
        int64_t one;
        if (str_eq(o->name, self) || obj_parse(o, p, &doc, NULL) < 0 || !in_scope(s->quota, doc, s->pod))
            continue;
        if (usage(c->ri.group, c->ri.res, doc, s->key, &one))
            s->total += one;
    }
    return s->total;
}

static struct str show(struct pool *p, struct str key, int64_t milli)
{
    bool plain = str_find(key, STR("memory")) >= 0 || str_find(key, STR("storage")) >= 0 || str_find(key, STR("cpu")) < 0;
    if (plain || milli % 1000 == 0)
        return pool_printf(p, "%.*s=%" PRId64, STR_ARG(key), milli / 1000);
    return pool_printf(p, "%.*s=%" PRId64 "m", STR_ARG(key), milli);
}

static int check_quota(struct call *c, const struct json *quota, struct err **e)
{
    bool pod = c->sres == c->api->res.pods;
    struct str name = json_str_at(quota, "metadata", "name", NULL);
    if (!in_scope(quota, c->w.doc, pod))
        return 0;
    json_for (json_path(quota, "spec", "hard", NULL), hard) {
        struct str key = json_key(hard);
        int64_t want, had = 0, limit = amount(hard);
        if (!usage(c->ri.group, c->ri.res, c->w.doc, key, &want))
            continue;
        if (c->w.old)
            (void)usage(c->ri.group, c->ri.res, c->w.old, key, &had);
        const char *list;
        struct str res;
        if (pod && c->w.op == WRITE_CREATE && want == 0 && split_resource(key, &list, &res))
            return admit_forbid(c, e, "failed quota: %.*s: must specify %.*s", STR_ARG(name), STR_ARG(key));
        if (want <= had)
            continue;
        struct sum s = {c, quota, key, pod, 0};
        int64_t others = used(&s);
        if (others + want > limit)
            return admit_forbid(c, e, "exceeded quota: %.*s, requested: %.*s, used: %.*s, limited: %.*s", STR_ARG(name),
                STR_ARG(show(c->pool, key, want - had)), STR_ARG(show(c->pool, key, others + had)), STR_ARG(show(c->pool, key, limit)));
    }
    return 0;
}

int quota_begin(struct call *c, struct err **e)
{
    if (!c->api->res.quotas || !c->res->namespaced || c->sres == c->api->res.events || c->sres == c->api->res.leases ||
        !str_empty(c->ri.sub))
        return 0;
    _cleanup_(store_view_unrefp) struct store_view *v = store_view(c->api->store);
    if (view_count(v, c->api->res.quotas, c->ri.ns) == 0)
        return 0;
    struct store_iter it;
    pthread_mutex_lock(&c->api->quota->lock);
    c->quota = true;
    iter_start(&it, v, c->api->res.quotas, c->ri.ns, STR_NULL, STR_NULL);
    for (const struct obj *o; (o = iter_next(&it));) {
        struct json *doc;
        pool_hold_obj(c->pool, obj_ref(o));
        if (obj_parse(o, c->pool, &doc, NULL) >= 0 && check_quota(c, doc, e) < 0) {
            quota_end(c);
            return -(*e)->code;
        }
    }
    return 0;
}

void quota_end(struct call *c)
{
    if (!c->quota)
        return;
    c->quota = false;
    pthread_mutex_unlock(&c->api->quota->lock);
}

/* ---- for the quota controller, which writes down what admission counts ---- */

bool api_quota_usage(struct str group, struct str resource, const struct json *doc, struct str key, int64_t *milli)
{
    return usage(group, resource, doc, key, milli);
}
bool api_quota_in_scope(const struct json *quota, const struct json *doc, bool pod)
{
    return in_scope(quota, doc, pod);
}
