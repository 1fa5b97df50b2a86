#include "api/impl.h"

/* RBAC compiled: from every subject to the grants it has. Made anew when a role or binding has changed since (told by the revisions of the
 * four resources in a root, so that a decision is never older than the last write), shared by reference. */

struct role {
    struct rbac_rule *rules;
    size_t nrules;
};
struct grant {
    struct str ns; /* empty: everywhere */
    const struct role *role;
    struct str binding, role_kind, role_name, role_ns, subject_kind, subject;
};
struct grants {
    struct grant *at;
    size_t n, cap;
};

struct compiled {
    _Atomic uint32_t refs;
    struct pool *pool;
    struct map subjects; /* "u:name", "g:name" → struct grants */
    int64_t revs[4];
};

struct rbac {
    pthread_mutex_t lock;
    struct compiled *now;
};

static void compiled_unref(struct compiled *k)
{
    if (!k || --k->refs > 0)
        return;
    map_clear(&k->subjects, NULL);
    pool_free(k->pool);
    free(k);
}

struct rbac *rbac_new(void)
{
    struct rbac *r = xcalloc(1, sizeof *r);
    pthread_mutex_init(&r->lock, NULL);
    return r;
}

void rbac_free(struct rbac *r)
{
    if (!r)
        return;
    compiled_unref(r->now);
    pthread_mutex_destroy(&r->lock);
    free(r);
}

/* ---- compiling ---- */

static const struct str *strings(struct pool *p, const struct json *arr, uint16_t *n)
{
    size_t count = MIN(json_count(arr), (size_t)UINT16_MAX), i = 0;
    struct str *out = pool_array(p, struct str, count);
    json_for (arr, it)
        if (i < count)
            out[i++] = pool_str(p, json_as_str(it).p ? json_as_str(it) : STR(""));
    *n = (uint16_t)i;
    return out;
}

struct rbac_rule *rbac_rules_parse(struct pool *p, const struct json *rules, size_t *n)
{
    struct rbac_rule *out = pool_array(p, struct rbac_rule, json_count(rules) + 1);
    *n = 0;
    json_for (rules, it) {
        struct rbac_rule *r = &out[(*n)++];
        r->verbs = strings(p, json_get(it, STR("verbs")), &r->nverbs);
        r->groups = strings(p, json_get(it, STR("apiGroups")), &r->ngroups);
        r->resources = strings(p, json_get(it, STR("resources")), &r->nresources);
        r->names = strings(p, json_get(it, STR("resourceNames")), &r->nnames);
        r->urls = strings(p, json_get(it, STR("nonResourceURLs")), &r->nurls);
    }
    return out;
}

static struct str role_key(struct pool *p, struct str ns, struct str name)
{
    return pool_printf(p, "%.*s/%.*s", STR_ARG(ns), STR_ARG(name));
}

static void compile_roles(struct compiled *k, const struct store_view *v, struct store_res *res, struct map *roles)
{
    struct store_iter it;
    iter_start(&it, v, res, STR_NULL, STR_NULL, STR_NULL);
    for (const struct obj *o; (o = iter_next(&it));) {
        _cleanup_(pool_freep) struct pool *p = pool_new();
        struct json *doc;
        if (obj_parse(o, p, &doc, NULL) < 0)
            continue;
        struct role *r = pool_new_of(k->pool, struct role);
        r->rules = rbac_rules_parse(k->pool, json_get(doc, STR("rules")), &r->nrules);
        (void)map_put(roles, role_key(p, o->ns, o->name), r);
    }
}

static void grant_add(struct compiled *k, struct str subject, const struct grant *g)
{
    struct grants *gs = map_get(&k->subjects, subject);
    if (!gs) {
        gs = pool_new_of(k->pool, struct grants);
        (void)map_put(&k->subjects, subject, gs);
    }
    if (gs->n == gs->cap) {
        size_t cap = gs->cap ? gs->cap * 2 : 4;
        gs->at = pool_grow(k->pool, gs->at, gs->cap * sizeof *gs->at, cap * sizeof *gs->at);
        gs->cap = cap;
    }
    gs->at[gs->n++] = *g;
}

static void compile_binding(struct compiled *k, struct map *roles, const struct obj *o, const struct json *doc, struct pool *p)
{
    const struct json *ref = json_get(doc, STR("roleRef"));
    struct grant g = {.ns = pool_str(k->pool, o->ns),
        .binding = pool_str(k->pool, o->name),
        .role_kind = pool_str(k->pool, json_get_str(ref, "kind")),
        .role_name = pool_str(k->pool, json_get_str(ref, "name"))};
    bool cluster_role = str_eqz(g.role_kind, "ClusterRole");
    g.role_ns = cluster_role ? STR("") : g.ns;
    g.role = map_get(roles, role_key(p, g.role_ns, g.role_name)); /* NULL: the role is not there; it still is named in refusals */
    json_for (json_get(doc, STR("subjects")), s) {
        struct str kind = json_get_str(s, "kind"), name = json_get_str(s, "name"), ns = json_get_str(s, "namespace");
        g.subject_kind = pool_str(k->pool, kind);
        g.subject = pool_str(k->pool,
            str_eqz(kind, "ServiceAccount") ? pool_printf(p, "%.*s/%.*s", STR_ARG(name), STR_ARG(str_empty(ns) ? o->ns : ns)) : name);
        if (str_eqz(kind, "ServiceAccount"))
            grant_add(k, pool_printf(p, "u:system:serviceaccount:%.*s:%.*s", STR_ARG(str_empty(ns) ? o->ns : ns), STR_ARG(name)), &g);
        else if (str_eqz(kind, "User"))
            grant_add(k, pool_printf(p, "u:%.*s", STR_ARG(name)), &g);
        else if (str_eqz(kind, "Group"))
            grant_add(k, pool_printf(p, "g:%.*s", STR_ARG(name)), &g);
    }
}

static void compile_bindings(struct compiled *k, const struct store_view *v, struct store_res *res, struct map *roles)
{
    struct store_iter it;
    iter_start(&it, v, res, STR_NULL, STR_NULL, STR_NULL);
    for (const struct obj *o; (o = iter_next(&it));) {
        _cleanup_(pool_freep) struct pool *p = pool_new();
        struct json *doc;
        if (obj_parse(o, p, &doc, NULL) >= 0)
            compile_binding(k, roles, o, doc, p);
    }
}

static void revisions(struct api *a, const struct store_view *v, int64_t revs[4])
{
    revs[0] = view_res_rev(v, a->res.roles);
    revs[1] = view_res_rev(v, a->res.role_bindings);
    revs[2] = view_res_rev(v, a->res.cluster_roles);
    revs[3] = view_res_rev(v, a->res.cluster_role_bindings);
}

static struct compiled *compile(struct api *a, const struct store_view *v, const int64_t revs[4])
{
    struct compiled *k = xcalloc(1, sizeof *k);
    struct map roles = {0};
    k->refs = 1;
    k->pool = pool_new();
    memcpy(k->revs, revs, sizeof k->revs);
    compile_roles(k, v, a->res.roles, &roles);
    compile_roles(k, v, a->res.cluster_roles, &roles);
    compile_bindings(k, v, a->res.role_bindings, &roles);
    compile_bindings(k, v, a->res.cluster_role_bindings, &roles);
    map_clear(&roles, NULL);
    return k;
}

static struct compiled *current(struct api *a)
{
    struct rbac *r = a->rbac;
    int64_t revs[4];
    if (!a->res.roles || !a->res.role_bindings || !a->res.cluster_roles || !a->res.cluster_role_bindings)
        return NULL;
    _cleanup_(store_view_unrefp) struct store_view *v = store_view(a->store);
    revisions(a, v, revs);
    pthread_mutex_lock(&r->lock);
    if (!r->now || memcmp(r->now->revs, revs, sizeof revs) != 0) {
        compiled_unref(r->now);
        r->now = compile(a, v, revs);
    }
    struct compiled *k = r->now;
    k->refs++;
    pthread_mutex_unlock(&r->lock);
    return k;
}

/* ---- deciding ---- */

static bool any(const struct str *list, uint16_t n, struct str want)
{
    for (uint16_t i = 0; i < n; i++)
        if (str_eqz(list[i], "*") || str_eq(list[i], want))
            return true;
    return false;
}

static bool url_fits(const struct rbac_rule *r, struct str path)
{
    for (uint16_t i = 0; i < r->nurls; i++) {
        struct str u = r->urls[i];
        if (str_eqz(u, "*") || str_eq(u, path) || (u.n && u.p[u.n - 1] == '*' && str_starts(path, str_sub(u, 0, u.n - 1))))
            return true;
    }
    return false;
}

static bool resource_fits(const struct rbac_rule *r, const struct api_attrs *at)
{
    char both[256];
    struct str want = at->resource;
    if (!str_empty(at->subresource)) {
        int n = snprintf(both, sizeof both, "%.*s/%.*s", STR_ARG(at->resource), STR_ARG(at->subresource));
        if (n < 0 || (size_t)n >= sizeof both)
            return false;
        want = (struct str){both, (size_t)n};
    }
    for (uint16_t i = 0; i < r->nresources; i++) {
        struct str x = r->resources[i];
        if (str_eqz(x, "*") || str_eq(x, want))
            return true;
        if (!str_empty(at->subresource) && x.n > 2 && x.p[0] == '*' && x.p[1] == '/' && str_eq(str_sub(x, 2, x.n), at->subresource))
            return true;
    }
    return false;
}

static bool rule_fits(const struct rbac_rule *r, const struct api_attrs *at)
{
    if (!any(r->verbs, r->nverbs, at->verb))
        return false;
    if (str_empty(at->resource))
        return url_fits(r, at->path);
    if (!any(r->groups, r->ngroups, at->group) || !resource_fits(r, at))
        return false;
    if (r->nnames == 0)
        return true;
    for (uint16_t i = 0; i < r->nnames; i++)
        if (str_eq(r->names[i], at->name) && !str_empty(at->name))
            return true;
    return false;
}

static const struct grants *grants_of(const struct compiled *k, char kind, struct str name)
{
    char few[256];
    _cleanup_(freep) char *many = NULL;
    char *key = few;
    if (name.n + 3 > sizeof few)
        key = many = xmalloc(name.n + 3);
    key[0] = kind;
    key[1] = ':';
    memcpy(key + 2, name.p ? name.p : "", name.n);
    return map_get(&k->subjects, (struct str){key, name.n + 2});
}

static bool grants_allow(const struct grants *gs, const struct api_attrs *at, struct buf *why)
{
    for (size_t i = 0; gs && i < gs->n; i++) {
        const struct grant *g = &gs->at[i];
        if (!str_empty(g->ns) && (str_empty(at->resource) || !str_eq(g->ns, at->ns)))
            continue;
        for (size_t j = 0; g->role && j < g->role->nrules; j++) {
            if (!rule_fits(&g->role->rules[j], at))
                continue;
            if (why)
                buf_printf(why, "RBAC: allowed by %s \"%.*s%s%.*s\" of %.*s \"%.*s\" to %.*s \"%.*s\"",
                    str_empty(g->ns) ? "ClusterRoleBinding" : "RoleBinding", STR_ARG(g->binding), str_empty(g->ns) ? "" : "/",
                    STR_ARG(g->ns), STR_ARG(g->role_kind), STR_ARG(g->role_name), STR_ARG(g->subject_kind), STR_ARG(g->subject));
            return true;
        }
    }
    return false;
}

/* Names the roles that bindings of this user speak of and that are not there: the usual reason for a surprising refusal. */
static void missing_roles(const struct grants *gs, const struct api_attrs *at, struct buf *why)
{
    for (size_t i = 0; gs && i < gs->n; i++) {
        const struct grant *g = &gs->at[i];
        if (g->role || (!str_empty(g->ns) && !str_eq(g->ns, at->ns)) || why->n > 1024)
            continue;
        bool cluster = str_eqz(g->role_kind, "ClusterRole");
        buf_printf(why, "%s%s.rbac.authorization.k8s.io \"%.*s\" not found", why->n ? ", " : "RBAC: ", cluster ? "clusterrole" : "role",
            STR_ARG(g->role_name));
    }
}

bool rbac_allows(struct api *a, const struct api_user *u, const struct api_attrs *at, struct buf *why)
{
    struct compiled *k = current(a);
    if (!k)
        return false;
    bool ok = grants_allow(grants_of(k, 'u', u->name), at, why);
    for (size_t i = 0; !ok && i < u->ngroups; i++)
        ok = grants_allow(grants_of(k, 'g', u->groups[i]), at, why);
    if (!ok && why) {
        missing_roles(grants_of(k, 'u', u->name), at, why);
        for (size_t i = 0; i < u->ngroups; i++)
            missing_roles(grants_of(k, 'g', u->groups[i]), at, why);
    }
    compiled_unref(k);
    return ok;
}

static void grants_each(const struct grants *gs, struct str ns, void (*fn)(void *arg, const struct rbac_rule *r), void *arg)
{
    for (size_t i = 0; gs && i < gs->n; i++) {
        const struct grant *g = &gs->at[i];
        if (!str_empty(g->ns) && !str_eq(g->ns, ns))
            continue;
        for (size_t j = 0; g->role && j < g->role->nrules; j++)
            fn(arg, &g->role->rules[j]);
    }
}

void rbac_rules(struct api *a, const struct api_user *u, struct str ns, void (*fn)(void *arg, const struct rbac_rule *r), void *arg)
{
    struct compiled *k = current(a);
    if (!k)
        return;
    grants_each(grants_of(k, 'u', u->name), ns, fn, arg);
    for (size_t i = 0; i < u->ngroups; i++)
        grants_each(grants_of(k, 'g', u->groups[i]), ns, fn, arg);
    compiled_unref(k);
}
