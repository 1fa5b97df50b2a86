#include "api/impl.h"

/* Nobody gives more than he has: a role may hold only rules that its writer has himself (or the verb escalate), a binding only a role whose
 * rules the binder has (or the verb bind). component-helpers' rbac rule covering, done rule by rule in the smallest pieces. */

struct mine {
    struct pool *pool;
    struct rbac_rule *rules;
    size_t n, cap;
};

static void collect(void *arg, const struct rbac_rule *r)
{
    struct mine *m = arg;
    if (m->n == m->cap) {
        size_t cap = m->cap ? m->cap * 2 : 32;
        m->rules = pool_grow(m->pool, m->rules, m->cap * sizeof *r, cap * sizeof *r);
        m->cap = cap;
    }
    struct rbac_rule *c = &m->rules[m->n++]; /* a copy: the compiled rules go with the next change */
    *c = *r;
    struct {
        const struct str **list;
        uint16_t n;
    } parts[] = {
        {&c->verbs, c->nverbs}, {&c->groups, c->ngroups}, {&c->resources, c->nresources}, {&c->names, c->nnames}, {&c->urls, c->nurls}};
    for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
        struct str *l = pool_array(m->pool, struct str, parts[i].n);
        for (uint16_t j = 0; j < parts[i].n; j++)
            l[j] = pool_str(m->pool, (*parts[i].list)[j]);
        *parts[i].list = l;
    }
}

static bool has(const struct str *l, uint16_t n, struct str v)
{
    for (uint16_t i = 0; i < n; i++)
        if (str_eqz(l[i], "*") || str_eq(l[i], v))
            return true;
    return false;
}

static bool has_resource(const struct rbac_rule *r, struct str v)
{
    if (has(r->resources, r->nresources, v))
        return true;
    ssize_t slash = str_chr(v, '/');
    for (uint16_t i = 0; slash >= 0 && i < r->nresources; i++)
        if (str_starts(r->resources[i], STR("*/")) &&
            str_eq(str_sub(r->resources[i], 2, r->resources[i].n), str_sub(v, (size_t)slash + 1, v.n)))
            return true;
    return false;
}

static bool has_url(const struct rbac_rule *r, struct str v)
{
    for (uint16_t i = 0; i < r->nurls; i++) {
        struct str u = r->urls[i];
        if (str_eqz(u, "*") || str_eq(u, v) || (u.n && u.p[u.n - 1] == '*' && str_starts(v, str_sub(u, 0, u.n - 1))))
            return true;
    }
    return false;
}

static bool piece_covered(const struct mine *m, struct str verb, struct str group, struct str res, struct str name, struct str url)
{
    for (size_t i = 0; i < m->n; i++) {
        const struct rbac_rule *r = &m->rules[i];
        if (!has(r->verbs, r->nverbs, verb))
            continue;
        if (url.p) {
            if (has_url(r, url))
                return true;
            continue;
        }
        if (!has(r->groups, r->ngroups, group) || !has_resource(r, res))
            continue;
        if (r->nnames == 0)
            return true;
        for (uint16_t j = 0; name.p && j < r->nnames; j++)
            if (str_eq(r->names[j], name))
                return true;
    }
    return false;
}

static bool rule_covered(const struct mine *m, const struct rbac_rule *w)
{
    for (uint16_t v = 0; v < w->nverbs; v++) {
        for (uint16_t u = 0; u < w->nurls; u++)
            if (!piece_covered(m, w->verbs[v], STR_NULL, STR_NULL, STR_NULL, w->urls[u]))
                return false;
        for (uint16_t g = 0; g < w->ngroups; g++)
            for (uint16_t r = 0; r < w->nresources; r++)
                for (uint16_t n = 0; n < MAX(w->nnames, 1); n++)
                    if (!piece_covered(m, w->verbs[v], w->groups[g], w->resources[r], w->nnames ? w->names[n] : STR_NULL, STR_NULL))
                        return false;
    }
    return true;
}

static void quoted(struct buf *b, const char *name, const struct str *l, uint16_t n)
{
    buf_printf(b, "%s:[", name);
    for (uint16_t i = 0; i < n; i++)
        buf_printf(b, "%s\"%.*s\"", i ? ", " : "", STR_ARG(l[i]));
    buf_putc(b, ']');
}

static void describe(struct buf *b, const struct rbac_rule *w)
{
    buf_puts(b, "\n{");
    if (w->nurls) {
        quoted(b, "NonResourceURLs", w->urls, w->nurls);
    } else {
        quoted(b, "APIGroups", w->groups, w->ngroups);
        buf_puts(b, ", ");
        quoted(b, "Resources", w->resources, w->nresources);
        if (w->nnames) {
            buf_puts(b, ", ");
            quoted(b, "ResourceNames", w->names, w->nnames);
        }
    }
    buf_puts(b, ", ");
    quoted(b, "Verbs", w->verbs, w->nverbs);
    buf_putc(b, '}');
}

bool rbac_covers(
    struct api *a, const struct api_user *u, struct str ns, const struct rbac_rule *want, size_t n, struct pool *p, struct buf *missing)
{
    struct mine m = {.pool = p};
    bool ok = true;
    rbac_rules(a, u, ns, collect, &m);
    for (size_t i = 0; i < n; i++) {
        if (rule_covered(&m, &want[i]))
            continue;
        ok = false;
        if (missing->n < 4096)
            describe(missing, &want[i]);
    }
    return ok;
}

static bool may(struct call *c, const char *verb, const char *resource, struct str ns, struct str name)
{
    struct api_attrs at = {.verb = str_of(verb),
        .group = STR("rbac.authorization.k8s.io"),
        .version = STR("v1"),
        .resource = str_of(resource),
        .ns = ns,
        .name = name};
    return authz_decide(c->api, c->user, &at, NULL) == DECISION_ALLOW;
}

static int refuse(struct call *c, struct buf *missing, struct err **e)
{
    struct buf groups = BUF_INIT;
    for (size_t i = 0; i < c->user->ngroups; i++)
        buf_printf(&groups, "%s\"%.*s\"", i ? " " : "", STR_ARG(c->user->groups[i]));
    int r = err_set(e, ERR_FORBIDDEN,
        "%.*s \"%.*s\" is forbidden: user \"%.*s\" (groups=[%.*s]) is attempting to grant RBAC permissions not currently held:%.*s",
        STR_ARG(call_qualified(c)), STR_ARG(c->ri.name), STR_ARG(c->user->name), STR_ARG(buf_str(&groups)), STR_ARG(buf_str(missing)));
    buf_clear(&groups);
    return r;
}

static int check_rules(struct call *c, const struct json *rules, struct err **e)
{
    size_t n;
    struct rbac_rule *want = rbac_rules_parse(c->pool, rules, &n);
    _cleanup_(buf_clear) struct buf missing = BUF_INIT;
    if (rbac_covers(c->api, c->user, call_ns(c), want, n, c->pool, &missing))
        return 0;
    return refuse(c, &missing, e);
}

static int check_binding(struct call *c, struct err **e)
{
    const struct json *ref = json_get(c->w.doc, STR("roleRef"));
    struct str name = json_get_str(ref, "name"), ns = call_ns(c);
    bool cluster = str_eqz(json_get_str(ref, "kind"), "ClusterRole");
    if (may(c, "bind", cluster ? "clusterroles" : "roles", ns, name))
        return 0;
    _cleanup_(store_view_unrefp) struct store_view *v = store_view(c->api->store);
    const struct obj *o = view_get(v, cluster ? c->api->res.cluster_roles : c->api->res.roles, cluster ? STR_NULL : ns, name);
    struct json *doc;
    if (!o)
        return err_set(
            e, ERR_NOT_FOUND, "%s.rbac.authorization.k8s.io \"%.*s\" not found", cluster ? "clusterrole" : "role", STR_ARG(name));
    pool_hold_obj(c->pool, obj_ref(o));
    if (obj_parse(o, c->pool, &doc, e) < 0)
        return -(*e)->code;
    return check_rules(c, json_get(doc, STR("rules")), e);
}

int rbac_check_write(struct call *c, struct err **e)
{
    if (!str_eqz(c->ri.group, "rbac.authorization.k8s.io") || user_in(c->user, GROUP_MASTERS) || c->w.op == WRITE_DELETE)
        return 0;
    const char *fields[] = {"rules", "aggregationRule", "roleRef", "subjects"};
    bool same = c->w.old != NULL;
    for (size_t i = 0; same && i < ARRAY_LEN(fields); i++) {
        const struct json *x = json_get(c->w.doc, str_of(fields[i])), *y = json_get(c->w.old, str_of(fields[i]));
        same = x == y || (x && y && json_equal(x, y));
    }
    if (same)
        return 0;
    bool cluster = str_starts(c->ri.res, STR("cluster"));
    if (str_ends(c->ri.res, STR("bindings")))
        return check_binding(c, e);
    if (may(c, "escalate", cluster ? "clusterroles" : "roles", call_ns(c), c->ri.name))
        return 0;
    if (json_get(c->w.doc, STR("aggregationRule"))) { /* gathers rules nobody has looked at: only who has all */
        static const struct str star[] = {STR("*")};
        struct rbac_rule all[] = {{.verbs = star, .groups = star, .resources = star, .nverbs = 1, .ngroups = 1, .nresources = 1},
            {.verbs = star, .urls = star, .nverbs = 1, .nurls = 1}};
        _cleanup_(buf_clear) struct buf missing = BUF_INIT;
        if (!rbac_covers(c->api, c->user, STR_NULL, all, 2, c->pool, &missing))
            return refuse(c, &missing, e);
    }
    return check_rules(c, json_get(c->w.doc, STR("rules")), e);
}
