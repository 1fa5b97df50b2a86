#include "api/hooks.h"

#include "base/log.h"

/* Webhook configurations compiled, and what matches a request. */

struct config {
    _Atomic unsigned refs;
    struct pool *pool;
    int64_t revs[2];
    struct hook *hooks; /* mutating ones first, by configuration's name and their order in it */
    size_t nmutating, n;
};

struct hooks {
    pthread_mutex_t lock;
    struct store_res *_Atomic res[HOOK_SOURCES]; /* found once: every write asks for their revisions */
    struct config *config;
    struct policies *policies;
};

struct store_res *hooks_source(struct api *a, enum hook_source i)
{
    static const char *const names[HOOK_SOURCES] = {"mutatingwebhookconfigurations", "validatingwebhookconfigurations",
        "validatingadmissionpolicies", "validatingadmissionpolicybindings", "mutatingadmissionpolicies", "mutatingadmissionpolicybindings"};
    struct store_res *r = a->hooks->res[i];
    char name[96];
    if (r)
        return r;
    snprintf(name, sizeof name, "admissionregistration.k8s.io/%s", names[i]);
    r = store_find(a->store, str_of(name));
    a->hooks->res[i] = r;
    return r;
}

struct policies **hooks_policies(struct hooks *h)
{
    pthread_mutex_lock(&h->lock);
    return &h->policies;
}

void hooks_policies_done(struct hooks *h)
{
    pthread_mutex_unlock(&h->lock);
}

struct hooks *hooks_new(void)
{
    struct hooks *h = xcalloc(1, sizeof *h);
    pthread_mutex_init(&h->lock, NULL);
    return h;
}

static void config_unref(void *p)
{
    struct config *c = p;
    if (!c || --c->refs != 0)
        return;
    pool_free(c->pool);
    free(c);
}

void hooks_free(struct hooks *h)
{
    if (!h)
        return;
    config_unref(h->config);
    policies_unref(h->policies);
    pthread_mutex_destroy(&h->lock);
    free(h);
}

/* ---- compiling ---- */

static const struct str *texts(struct pool *p, const struct json *list, uint16_t *n)
{
    struct str *out = pool_array(p, struct str, json_count(list) + 1);
    *n = 0;
    json_for (list, x)
        if (*n < UINT16_MAX)
            out[(*n)++] = json_as_str(x);
    return out;
}

static unsigned ops_of(const struct json *list)
{
    static const char *const names[] = {"CREATE", "UPDATE", "DELETE", "CONNECT"};
    unsigned ops = 0;
    json_for (list, x)
        for (size_t i = 0; i < ARRAY_LEN(names); i++)
            if (str_eqz(json_as_str(x), names[i]) || str_eqz(json_as_str(x), "*"))
                ops |= 1u << i;
    return ops;
}

static struct hook_rule *rules_of(struct pool *p, const struct json *list, size_t *n)
{
    struct hook_rule *out = pool_array(p, struct hook_rule, json_count(list) + 1);
    *n = 0;
    json_for (list, x) {
        struct hook_rule *r = &out[(*n)++];
        r->ops = ops_of(json_get(x, STR("operations")));
        r->groups = texts(p, json_get(x, STR("apiGroups")), &r->ngroups);
        r->versions = texts(p, json_get(x, STR("apiVersions")), &r->nversions);
        r->resources = texts(p, json_get(x, STR("resources")), &r->nresources);
        r->names = texts(p, json_get(x, STR("resourceNames")), &r->nnames);
        r->scope = json_get_str(x, "scope");
    }
    return out;
}

static int selector_of(struct pool *p, const struct json *sel, struct selector *out, struct err **e)
{
    *out = (struct selector){0};
    return json_is(sel, JSON_OBJ) ? selector_from_json(p, sel, out, e) : 0;
}

int hook_match_parse(struct pool *p, const struct json *rules, const struct json *excluded, const struct json *ns,
    const struct json *object, struct str policy, struct hook_match *out, struct err **e)
{
    *out = (struct hook_match){.exact = str_eqz(policy, "Exact")};
    out->rules = rules_of(p, rules, &out->nrules);
    out->excluded = rules_of(p, excluded, &out->nexcluded);
    int r = selector_of(p, ns, &out->ns, e);
    return r < 0 ? r : selector_of(p, object, &out->object, e);
}

static void hook_compile(struct pool *p, const struct json *w, struct str config, bool mutating, struct hook *h)
{
    struct err *e = NULL;
    struct str side = json_get_str(w, "sideEffects");
    *h = (struct hook){.config = config,
        .name = json_get_str(w, "name"),
        .client = json_get(w, STR("clientConfig")),
        .mutating = mutating,
        .ignore = str_eqz(json_get_str(w, "failurePolicy"), "Ignore"),
        .side_effects = !str_eqz(side, "None") && !str_eqz(side, "NoneOnDryRun"),
        .reinvoke = str_eqz(json_get_str(w, "reinvocationPolicy"), "IfNeeded"),
        .timeout_s = (int)MIN(MAX(json_get_int(w, "timeoutSeconds", 10), 1), 30)};
    if (hook_match_parse(p, json_get(w, STR("rules")), NULL, json_get(w, STR("namespaceSelector")), json_get(w, STR("objectSelector")),
            json_get_str(w, "matchPolicy"), &h->match, &e) < 0) {
        log_warn("webhook=%.*s: %s", STR_ARG(h->name), err_msg(e));
        h->match.nrules = 0;
    }
    err_free(e);
    json_for (json_get(w, STR("admissionReviewVersions")), v)
        h->v1 |= str_eqz(json_as_str(v), "v1");
    h->nconditions = hook_conditions_compile(p, json_get(w, STR("matchConditions")), &h->conditions);
}

static void config_add(struct config *k, struct store_view *v, struct store_res *res, bool mutating, size_t *cap)
{
    struct store_iter it;
    iter_start(&it, v, res, STR(""), STR_NULL, STR_NULL);
    for (const struct obj *o; (o = iter_next(&it));) {
        struct json *doc;
        pool_hold_obj(k->pool, obj_ref(o));
        if (obj_parse(o, k->pool, &doc, NULL) < 0)
            continue;
        json_for (json_get(doc, STR("webhooks")), w) {
            if (k->n == *cap) {
                size_t grown = *cap ? *cap * 2 : 8;
                k->hooks = pool_grow(k->pool, k->hooks, *cap * sizeof *k->hooks, grown * sizeof *k->hooks);
                *cap = grown;
            }
            hook_compile(k->pool, w, o->name, mutating, &k->hooks[k->n++]);
        }
    }
}

/* The configuration of now; a reference. NULL: there is none. */
static struct config *config_now(struct call *c)
{
    struct hooks *h = c->api->hooks;
    struct store_res *res[2] = {hooks_source(c->api, HOOK_MUTATING), hooks_source(c->api, HOOK_VALIDATING)};
    if (!res[0] || !res[1])
        return NULL;
    _cleanup_(store_view_unrefp) struct store_view *v = store_view(c->api->store);
    int64_t revs[2] = {view_res_rev(v, res[0]), view_res_rev(v, res[1])};
    pthread_mutex_lock(&h->lock);
    struct config *k = h->config;
    if (!k || k->revs[0] != revs[0] || k->revs[1] != revs[1]) {
        size_t cap = 0;
        config_unref(h->config);
        k = h->config = xcalloc(1, sizeof *k);
        *k = (struct config){.refs = 1, .pool = pool_new(), .revs = {revs[0], revs[1]}};
        config_add(k, v, res[0], true, &cap);
        k->nmutating = k->n;
        config_add(k, v, res[1], false, &cap);
    }
    k->refs++;
    pthread_mutex_unlock(&h->lock);
    return k;
}

const struct hook *hooks_list(struct call *c, bool mutating, size_t *n)
{
    struct config *k = config_now(c);
    *n = 0;
    if (!k)
        return NULL;
    pool_on_free(c->pool, config_unref, k);
    *n = mutating ? k->nmutating : k->n - k->nmutating;
    return mutating ? k->hooks : k->hooks + k->nmutating;
}

/* ---- matching ---- */

static bool listed(const struct str *list, size_t n, struct str s)
{
    for (size_t i = 0; i < n; i++)
        if (str_eqz(list[i], "*") || str_eq(list[i], s))
            return true;
    return false;
}

/* "pods", "pods/status", "*", "*" "/status", "pods/" "*", "*" "/" "*" */
static bool resource_listed(const struct hook_rule *r, struct str resource, struct str sub)
{
    for (size_t i = 0; i < r->nresources; i++) {
        struct str want = r->resources[i], want_sub = STR("");
        (void)str_cut(r->resources[i], '/', &want, &want_sub);
        if ((str_eqz(want, "*") || str_eq(want, resource)) && (str_eqz(want_sub, "*") || str_eq(want_sub, sub)))
            return true;
    }
    return false;
}

static bool rule_fits(const struct hook_rule *r, const struct hook_request *rq, const struct schema_resource *row)
{
    bool namespaced = rq->res->namespaced && rq->ns.n;
    if (!(r->ops & rq->op) || !listed(r->groups, r->ngroups, row->group) || !listed(r->versions, r->nversions, row->version) ||
        !resource_listed(r, row->resource, rq->sub))
        return false;
    if (r->nnames && !listed(r->names, r->nnames, rq->name))
        return false;
    if (str_eqz(r->scope, "Namespaced"))
        return namespaced;
    return !str_eqz(r->scope, "Cluster") || !namespaced;
}

static bool any_fits(const struct hook_rule *r, size_t n, const struct hook_request *rq, const struct schema_resource *row)
{
    for (size_t i = 0; i < n; i++)
        if (rule_fits(&r[i], rq, row))
            return true;
    return false;
}

static const struct schema_resource *row_of(
    const struct hook_match *m, const struct hook_rule *rules, size_t n, const struct hook_request *rq)
{
    const struct schema_resource *r;
    if (any_fits(rules, n, rq, rq->res))
        return rq->res;
    if (m->exact)
        return NULL;
    for (size_t i = 0; (r = schema_at(rq->c->schema, i)); i++)
        if (r != rq->res && !r->unserved && str_eq(r->storage, rq->res->storage) && any_fits(rules, n, rq, r))
            return r;
    return NULL;
}

const struct json *hook_namespace(struct hook_request *rq)
{
    struct call *c = rq->c;
    if (rq->namespace_read)
        return rq->namespace_;
    rq->namespace_read = true;
    if (c->sres == c->api->res.namespaces && c->sres)
        rq->namespace_ = rq->object ? rq->object : rq->old;
    else if (rq->ns.n && c->api->res.namespaces) {
        _cleanup_(store_view_unrefp) struct store_view *v = store_view(c->api->store);
        const struct obj *o = view_get(v, c->api->res.namespaces, STR(""), rq->ns);
        struct json *doc;
        if (o) {
            pool_hold_obj(c->pool, obj_ref(o));
            if (obj_parse(o, c->pool, &doc, NULL) >= 0)
                rq->namespace_ = doc;
        }
    }
    return rq->namespace_;
}

static bool ns_fits(const struct hook_match *m, struct hook_request *rq)
{
    bool is_ns = rq->c->sres && rq->c->sres == rq->c->api->res.namespaces;
    if ((!m->ns.n && !m->ns.nothing) || (!rq->res->namespaced && !is_ns))
        return true;
    return selector_match_json(&m->ns, json_path(hook_namespace(rq), "metadata", "labels", NULL));
}

static bool object_fits(const struct hook_match *m, const struct hook_request *rq)
{
    if (!m->object.n && !m->object.nothing)
        return true;
    return (rq->object && selector_match_json(&m->object, json_path(rq->object, "metadata", "labels", NULL))) ||
           (rq->old && selector_match_json(&m->object, json_path(rq->old, "metadata", "labels", NULL)));
}

/* What configures admission is not subject to it, so that a broken webhook can be removed. */
static bool exempt(const struct hook_request *rq)
{
    static const char *const names[] = {"mutatingwebhookconfigurations", "validatingwebhookconfigurations", "validatingadmissionpolicies",
        "validatingadmissionpolicybindings", "mutatingadmissionpolicies", "mutatingadmissionpolicybindings"};
    for (size_t i = 0; i < ARRAY_LEN(names) && str_eqz(rq->res->group, "admissionregistration.k8s.io"); i++)
        if (str_eqz(rq->res->resource, names[i]))
            return true;
    return false;
}

const struct schema_resource *hook_matches(const struct hook_match *m, struct hook_request *rq)
{
    const struct schema_resource *row = exempt(rq) ? NULL : row_of(m, m->rules, m->nrules, rq);
    if (!row || (m->nexcluded && row_of(m, m->excluded, m->nexcluded, rq)))
        return NULL;
    return ns_fits(m, rq) && object_fits(m, rq) ? row : NULL;
}
