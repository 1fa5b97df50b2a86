#include "api/audit.h"
#include "base/pool.h"
#include "json/json.h"
#include "yaml/yaml.h"

#define RULES_MAX 1000

struct strings {
    struct str *items;
    size_t n;
};
struct target {
    struct str group;
    struct strings resources, names;
};
struct rule {
    enum audit_level level;
    unsigned omit;
    bool omit_managed;
    struct strings users, groups, verbs, namespaces, urls;
    struct target *targets;
    size_t ntargets;
};
struct audit_policy {
    struct pool *pool;
    struct rule *rules;
    size_t n;
};

void audit_policy_free(struct audit_policy *p)
{
    if (p)
        pool_free(p->pool);
}

static int wrong(struct err **e, size_t rule, const char *field, const char *why)
{
    return err_set(e, ERR_USAGE, "audit policy: rules[%zu].%s: %s", rule, field, why);
}

static int read_strings(struct pool *p, const struct json *o, const char *field, struct strings *out, size_t rule, struct err **e)
{
    const struct json *list = json_get(o, str_of(field));
    if (!list || json_is(list, JSON_NULL))
        return 0;
    if (!json_is(list, JSON_ARR))
        return wrong(e, rule, field, "must be a list of strings");
    out->items = pool_array(p, struct str, json_count(list));
    json_for (list, it) {
        if (!json_is(it, JSON_STR))
            return wrong(e, rule, field, "must be a list of strings");
        out->items[out->n++] = json_as_str(it);
    }
    return 0;
}

static int read_stages(const struct json *o, unsigned *out, size_t rule, struct err **e)
{
    static const char *const names[] = {"RequestReceived", "ResponseStarted", "ResponseComplete", "Panic"};
    json_for (json_get(o, STR("omitStages")), it) {
        size_t i = 0;
        while (i < ARRAY_LEN(names) && !str_eqz(json_as_str(it), names[i]))
            i++;
        if (i == ARRAY_LEN(names))
            return wrong(e, rule, "omitStages", "must be of RequestReceived, ResponseStarted, ResponseComplete, Panic");
        *out |= 1u << i;
    }
    return 0;
}

static int read_level(const struct json *o, enum audit_level *out, size_t rule, struct err **e)
{
    static const char *const names[] = {"None", "Metadata", "Request", "RequestResponse"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (str_eqz(json_get_str(o, "level"), names[i]))
            return *out = (enum audit_level)i, 0;
    return wrong(e, rule, "level", "must be None, Metadata, Request or RequestResponse");
}

static int read_rule(struct pool *p, const struct json *o, struct rule *r, size_t at, struct err **e)
{
    const struct json *list = json_get(o, STR("resources"));
    struct {
        const char *field;
        struct strings *to;
    } rows[] = {{"users", &r->users}, {"userGroups", &r->groups}, {"verbs", &r->verbs}, {"namespaces", &r->namespaces},
        {"nonResourceURLs", &r->urls}};
    if (!json_is(o, JSON_OBJ))
        return err_set(e, ERR_USAGE, "audit policy: rules[%zu]: must be a map", at);
    if (read_level(o, &r->level, at, e) < 0 || read_stages(o, &r->omit, at, e) < 0)
        return -(*e)->code;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (read_strings(p, o, rows[i].field, rows[i].to, at, e) < 0)
            return -(*e)->code;
    r->omit_managed = json_get_bool(o, "omitManagedFields", r->omit_managed);
    if (r->urls.n && (json_count(list) || r->namespaces.n))
        return wrong(e, at, "nonResourceURLs", "rules cannot apply to both regular resources and non-resource URLs");
    r->targets = pool_array(p, struct target, json_count(list));
    json_for (list, it) {
        struct target *t = &r->targets[r->ntargets++];
        t->group = json_get_str(it, "group");
        if (read_strings(p, it, "resources", &t->resources, at, e) < 0 || read_strings(p, it, "resourceNames", &t->names, at, e) < 0)
            return -(*e)->code;
        if (t->names.n && !t->resources.n)
            return wrong(e, at, "resources.resourceNames", "using resourceNames requires at least one resource");
    }
    return 0;
}

int audit_policy_parse(struct str text, struct audit_policy **out, struct err **e)
{
    struct pool *p = pool_new();
    struct json *doc = NULL;
    unsigned omit = 0;
    if (yaml_parse_one(p, text, NULL, &doc, e) < 0) {
        pool_free(p);
        return err_wrap(e, "audit policy");
    }
    const struct json *rules = json_get(doc, STR("rules"));
    struct audit_policy *a = pool_new_of(p, struct audit_policy);
    *a = (struct audit_policy){.pool = p, .rules = pool_array(p, struct rule, json_count(rules))};
    int r = 0;
    if (!str_eqz(json_get_str(doc, "apiVersion"), "audit.k8s.io/v1") || !str_eqz(json_get_str(doc, "kind"), "Policy"))
        r = err_set(e, ERR_USAGE, "audit policy: must be apiVersion: audit.k8s.io/v1, kind: Policy");
    else if (json_count(rules) == 0 || json_count(rules) > RULES_MAX)
        r = err_set(e, ERR_USAGE, "audit policy: rules: there must be 1 to %d", RULES_MAX);
    else
        r = read_stages(doc, &omit, 0, e);
    json_for (rules, it) {
        struct rule *one = &a->rules[a->n];
        if (r < 0)
            break;
        *one = (struct rule){.omit = omit, .omit_managed = json_get_bool(doc, "omitManagedFields", false)};
        r = read_rule(p, it, one, a->n, e);
        a->n++;
    }
    if (r < 0) {
        pool_free(p);
        return r;
    }
    *out = a;
    return 0;
}

/* ---- matching (k8s.io/apiserver pkg/audit/policy/checker.go) ---- */

static bool has(const struct strings *l, struct str s)
{
    for (size_t i = 0; i < l->n; i++)
        if (str_eq(l->items[i], s))
            return true;
    return false;
}

static bool resource_fits(const struct audit_subject *s, struct str want)
{
    bool sub = s->subresource.n > 0;
    if (str_eqz(want, "*"))
        return true;
    if (sub && str_starts(want, STR("*/")))
        return str_eq(str_sub(want, 2, want.n), s->subresource);
    if (str_ends(want, STR("/*")))
        return str_eq(str_sub(want, 0, want.n - 2), s->resource);
    if (!sub)
        return str_eq(want, s->resource);
    return want.n == s->resource.n + 1 + s->subresource.n && str_starts(want, s->resource) && want.p[s->resource.n] == '/' &&
           str_ends(want, s->subresource);
}

static bool target_fits(const struct rule *r, const struct audit_subject *s)
{
    if (r->namespaces.n && !has(&r->namespaces, s->ns.p ? s->ns : STR("")))
        return false;
    for (size_t i = 0; i < r->ntargets; i++) {
        const struct target *t = &r->targets[i];
        if (!str_eq(t->group.p ? t->group : STR(""), s->group.p ? s->group : STR("")))
            continue;
        if (!t->resources.n)
            return true;
        for (size_t k = 0; k < t->resources.n; k++)
            if ((!t->names.n || has(&t->names, s->name)) && resource_fits(s, t->resources.items[k]))
                return true;
    }
    return r->ntargets == 0;
}

static bool url_fits(const struct rule *r, struct str path)
{
    for (size_t i = 0; i < r->urls.n; i++) {
        struct str u = r->urls.items[i];
        if (str_eq(u, path) || (str_ends(u, STR("*")) && str_starts(path, str_sub(u, 0, u.n - 1))))
            return true;
    }
    return false;
}

static bool fits(const struct rule *r, const struct audit_subject *s)
{
    bool group = r->groups.n == 0;
    for (size_t i = 0; i < s->ngroups && !group; i++)
        group = has(&r->groups, s->groups[i]);
    if (!group || (r->users.n && !has(&r->users, s->user)) || (r->verbs.n && !has(&r->verbs, s->verb)))
        return false;
    if (r->namespaces.n || r->ntargets)
        return s->is_resource && target_fits(r, s);
    return r->urls.n == 0 || (!s->is_resource && url_fits(r, s->path));
}

enum audit_level audit_policy_find(const struct audit_policy *p, const struct audit_subject *s, unsigned *omit, bool *omit_managed)
{
    for (size_t i = 0; i < p->n; i++)
        if (fits(&p->rules[i], s)) {
            *omit = p->rules[i].omit;
            *omit_managed = p->rules[i].omit_managed;
            return p->rules[i].level;
        }
    return AUDIT_NONE;
}
