/* What roles and bindings of the hub amount to in its own RBAC. One pass computes all of it from what stands now and writes what differs:
 *
 *   GlobalRole g                     ClusterRole cattle-globalrole-g; Roles for its namespacedRules
 *   GlobalRoleBinding b              ClusterRoleBinding cattle-globalrolebinding-b; for inheritedClusterRoles a ClusterRoleTemplateBinding in every cluster
 *   ClusterRoleTemplateBinding b     the right to see the Cluster and to go through to it (clusters/proxy); the template's rules on management.cattle.io in the cluster's namespace
 *   ProjectRoleTemplateBinding b     the same, with the rules in the project's namespace
 *
 * What a user may do once he is through is decided at the site, by what site_roles.c writes there. Everything made here carries the label MANAGED and goes when what it was made for goes.
 * A pass takes milliseconds per thousand bindings; changes that come together share one. */
#include <stdlib.h>

#include "base/log.h"
#include "crypto/crypto.h"
#include "hub/impl.h"

#define MANAGED "sampan.io/made-by"
#define MADE_BY "hub-roles"
#define RBAC STR("rbac.authorization.k8s.io")
#define GRB_OWNER "authz.management.cattle.io/grb-owner"
#define KEY STR("all")
#define SETTLE (200 * NS_PER_MS)
#define AGAIN (5 * NS_PER_S)

struct want {
    struct str group, version, resource, ns, name;
    struct json *doc;
    bool seen;
};
struct pass {
    struct hub *hub;
    struct pool *p;
    struct map wants; /* "resource/ns/name" → struct want */
    struct map clusters;
};

/* ---- what is wanted ---- */

static struct str key_of(struct pool *p, struct str resource, struct str ns, struct str name)
{
    return pool_printf(p, "%.*s/%.*s/%.*s", STR_ARG(resource), STR_ARG(ns), STR_ARG(name));
}

static struct json *want(struct pass *x, struct str group, const char *version, const char *resource, struct str ns, struct str name)
{
    struct want *w = pool_new_of(x->p, struct want);
    *w = (struct want){group, str_of(version), str_of(resource), ns, name, json_obj(x->p), false};
    struct json *meta = json_put_obj(x->p, w->doc, STR("metadata"));
    json_set_str(x->p, meta, STR("name"), name);
    if (ns.n)
        json_set_str(x->p, meta, STR("namespace"), ns);
    json_set_str(x->p, json_put_obj(x->p, meta, STR("labels")), STR(MANAGED), STR(MADE_BY));
    (void)map_put(&x->wants, key_of(x->p, w->resource, ns, name), w);
    return w->doc;
}

static void want_role(struct pass *x, struct str ns, struct str name, const struct json *rules)
{
    struct json *doc = want(x, RBAC, "v1", ns.n ? "roles" : "clusterroles", ns, name);
    json_set(x->p, doc, STR("rules"), rules ? json_clone(x->p, rules) : json_arr(x->p));
}

static void want_binding(struct pass *x, struct str ns, struct str name, bool cluster_role, struct str role, struct str user, struct str group)
{
    struct pool *p = x->p;
    struct json *doc = want(x, RBAC, "v1", ns.n ? "rolebindings" : "clusterrolebindings", ns, name), *ref = json_put_obj(p, doc, STR("roleRef"));
    struct json *subject = json_append(json_put_arr(p, doc, STR("subjects")), json_obj(p));
    json_set_str(p, ref, STR("apiGroup"), RBAC);
    json_set_str(p, ref, STR("kind"), cluster_role ? STR("ClusterRole") : STR("Role"));
    json_set_str(p, ref, STR("name"), role);
    json_set_str(p, subject, STR("kind"), user.n ? STR("User") : STR("Group"));
    json_set_str(p, subject, STR("apiGroup"), RBAC);
    json_set_str(p, subject, STR("name"), user.n ? user : group);
}

static struct str name_of(const struct json *doc)
{
    return json_str_at(doc, "metadata", "name", NULL);
}

static bool going(const struct json *doc)
{
    return json_str_at(doc, "metadata", "deletionTimestamp", NULL).n > 0;
}

static struct str group_of(const struct json *binding)
{
    struct str g = json_get_str(binding, "groupPrincipalName");
    return g.n ? g : json_get_str(binding, "groupName");
}

static bool each_cluster(void *arg, struct json *doc)
{
    struct pass *x = arg;
    if (!going(doc))
        (void)map_put(&x->clusters, name_of(doc), doc);
    return true;
}

static bool each_global(void *arg, struct json *doc)
{
    struct pass *x = arg;
    if (going(doc))
        return true;
    want_role(x, STR_NULL, pool_printf(x->p, "cattle-globalrole-%.*s", STR_ARG(name_of(doc))), json_get(doc, STR("rules")));
    json_for (json_get(doc, STR("namespacedRules")), ns)
        want_role(x, json_key(ns), pool_printf(x->p, "cattle-globalrole-%.*s", STR_ARG(name_of(doc))), ns);
    return true;
}

/* Rancher's way: what a global role inherits in clusters is a binding in each, with its owner in a label. */
static void want_inherited(struct pass *x, const struct json *grb, struct str cluster, struct str template)
{
    struct pool *p = x->p;
    char hex[HASH_HEX + 1];
    struct str id = hash_sha256_hex(pool_printf(p, "%.*s/%.*s/%.*s", STR_ARG(name_of(grb)), STR_ARG(cluster), STR_ARG(template)), hex);
    struct json *doc = want(x, STR(HUB_GROUP), HUB_VERSION, "clusterroletemplatebindings", cluster, pool_printf(p, "crtb-grb-%.*s", 10, id.p));
    json_set_str(p, json_path(doc, "metadata", "labels", NULL), STR(GRB_OWNER), str_sub(name_of(grb), 0, 63));
    json_set_str(p, doc, STR("clusterName"), cluster);
    json_set_str(p, doc, STR("roleTemplateName"), template);
    if (json_get_str(grb, "userName").n)
        json_set_str(p, doc, STR("userName"), json_get_str(grb, "userName"));
    else
        json_set_str(p, doc, STR("groupPrincipalName"), group_of(grb));
}

static bool each_global_binding(void *arg, struct json *doc)
{
    struct pass *x = arg;
    struct str role = json_get_str(doc, "globalRoleName"), name = pool_printf(x->p, "cattle-globalrolebinding-%.*s", STR_ARG(name_of(doc)));
    struct str cr = pool_printf(x->p, "cattle-globalrole-%.*s", STR_ARG(role));
    struct json *g = hub_get(x->hub, x->p, "globalroles", STR_NULL, role);
    if (going(doc) || !g)
        return true;
    want_binding(x, STR_NULL, name, true, cr, json_get_str(doc, "userName"), group_of(doc));
    json_for (json_get(g, STR("namespacedRules")), ns)
        want_binding(x, json_key(ns), name, false, cr, json_get_str(doc, "userName"), group_of(doc));
    json_for (json_get(g, STR("inheritedClusterRoles")), t)
        map_for (&x->clusters, c)
            want_inherited(x, doc, pool_str(x->p, map_key(c)), json_as_str(t));
    return true;
}

/* Of a template, what speaks of the hub's own objects. */
static struct json *own_rules(struct pass *x, struct str template)
{
    struct pool *p = x->p;
    struct json *rules = json_arr(p), *externals = json_arr(p), *out = json_arr(p);
    (void)template_flatten(x->hub, p, template, rules, externals);
    json_for (rules, r) {
        bool ours = false;
        json_for (json_get(r, STR("apiGroups")), g)
            ours |= str_eqz(json_as_str(g), "*") || str_eqz(json_as_str(g), HUB_GROUP);
        if (!ours || !json_count(json_get(r, STR("resources"))))
            continue;
        struct json *copy = json_append(out, json_clone(p, r)), *groups = json_arr(p);
        json_append(groups, json_str(p, STR(HUB_GROUP)));
        json_set(p, copy, STR("apiGroups"), groups);
    }
    return out;
}

static struct json *strings(struct pool *p, const char *a, const char *b)
{
    struct json *list = json_arr(p);
    json_append(list, json_str(p, str_of(a)));
    if (b)
        json_append(list, json_str(p, str_of(b)));
    return list;
}

static struct json *rule(struct pool *p, const char *resource, const char *verb, struct str name)
{
    struct json *r = json_obj(p), *names = json_arr(p);
    json_append(names, json_str(p, name));
    json_set(p, r, STR("apiGroups"), strings(p, HUB_GROUP, NULL));
    json_set(p, r, STR("resources"), strings(p, resource, NULL));
    json_set(p, r, STR("verbs"), strings(p, verb, NULL));
    json_set(p, r, STR("resourceNames"), names);
    return r;
}

/* A member sees the Cluster and goes through to it. */
static void want_member(struct pass *x, const struct json *binding, struct str cluster, struct str ns)
{
    struct pool *p = x->p;
    struct str role = pool_printf(p, "%.*s-clustermember", STR_ARG(cluster)), user = json_get_str(binding, "userName"), group = group_of(binding);
    struct str name = pool_printf(p, "%.*s-%.*s", STR_ARG(json_str_at(binding, "metadata", "namespace", NULL)), STR_ARG(name_of(binding)));
    struct json *rules = json_arr(p), *own = own_rules(x, json_get_str(binding, "roleTemplateName"));
    if (!map_get(&x->clusters, cluster) || (!user.n && !group.n))
        return;
    json_append(rules, rule(p, "clusters", "get", cluster));
    json_append(rules, rule(p, "clusters/proxy", "*", cluster));
    want_role(x, STR_NULL, role, rules);
    want_binding(x, STR_NULL, name, true, role, user, group);
    if (!json_count(own))
        return;
    struct str mgmt = pool_printf(p, "hub-%.*s", STR_ARG(json_get_str(binding, "roleTemplateName")));
    want_role(x, ns, mgmt, own);
    want_binding(x, ns, name, false, mgmt, user, group);
}

static bool each_cluster_binding(void *arg, struct json *doc)
{
    struct pass *x = arg;
    struct str cluster = json_get_str(doc, "clusterName");
    if (!going(doc))
        want_member(x, doc, cluster, cluster);
    return true;
}

static bool each_project_binding(void *arg, struct json *doc)
{
    struct pass *x = arg;
    struct str cluster, project;
    if (going(doc) || !str_cut(json_get_str(doc, "projectName"), ':', &cluster, &project))
        return true;
    struct json *pr = hub_get(x->hub, x->p, "projects", cluster, project);
    struct str ns = json_str_at(pr, "status", "backingNamespace", NULL);
    if (pr)
        want_member(x, doc, cluster, ns.n ? ns : cluster);
    return true;
}

/* ---- against what stands ---- */

static void on_failed(struct hub *h)
{
    if (h->roles)
        queue_add_in(h->roles, KEY, AGAIN);
}

static bool equal_but_meta(const struct json *a, const struct json *b)
{
    static const char *const fields[] = {"rules", "roleRef", "subjects", "clusterName", "roleTemplateName", "userName", "groupPrincipalName"};
    for (size_t i = 0; i < ARRAY_LEN(fields); i++) {
        const struct json *x = json_get(a, str_of(fields[i])), *y = json_get(b, str_of(fields[i]));
        bool empty = json_count(x) == 0 && json_count(y) == 0 && !json_as_str(x).n && !json_as_str(y).n;
        if (!empty && !(x && y && json_equal(x, y)))
            return false;
    }
    return true;
}

static void against(struct pass *x, struct str group, const char *version, const char *resource)
{
    struct hub *h = x->hub;
    struct store *s = api_store(h->api);
    _cleanup_(store_view_unrefp) struct store_view *v = store_view(s);
    char storage[160];
    int n = snprintf(storage, sizeof storage, "%.*s/%s", STR_ARG(group), resource);
    struct store_iter it;
    iter_start(&it, v, store_find(s, str_make(storage, (size_t)n)), STR_NULL, STR_NULL, STR_NULL);
    for (const struct obj *o; (o = iter_next(&it));) {
        struct json *have;
        if (str_find(o->json, STR(MADE_BY)) < 0 || o->deleted)
            continue;
        pool_hold_obj(x->p, obj_ref(o));
        if (obj_parse(o, x->p, &have, NULL) < 0 || !str_eqz(json_as_str(json_get(json_path(have, "metadata", "labels", NULL), STR(MANAGED))), MADE_BY))
            continue;
        struct want *w = map_get(&x->wants, key_of(x->p, str_of(resource), o->ns, o->name));
        if (w)
            w->seen = true;
        if (w && equal_but_meta(w->doc, have))
            continue;
        bool again = w && json_get(w->doc, STR("roleRef")) && !json_equal(json_get(w->doc, STR("roleRef")), json_get(have, STR("roleRef")));
        if (!w || again) /* a roleRef is immutable: made anew by the next pass */
            hub_write(h, h->control, API_DELETE, group, str_of(version), str_of(resource), STR_NULL, o->ns, o->name, NULL, NULL);
        else
            hub_write(h, h->control, API_UPDATE, group, str_of(version), str_of(resource), STR_NULL, o->ns, o->name, w->doc, on_failed);
    }
}

static enum queue_result pass(void *arg, struct str key)
{
    struct hub *h = arg;
    _cleanup_(pool_freep) struct pool *p = pool_new();
    struct pass x = {.hub = h, .p = p};
    (void)key;
    hub_each(h, p, "clusters", STR_NULL, each_cluster, &x);
    hub_each(h, p, "globalroles", STR_NULL, each_global, &x);
    hub_each(h, p, "globalrolebindings", STR_NULL, each_global_binding, &x);
    hub_each(h, p, "clusterroletemplatebindings", STR_NULL, each_cluster_binding, &x);
    hub_each(h, p, "projectroletemplatebindings", STR_NULL, each_project_binding, &x);
    static const char *const resources[] = {"roles", "clusterroles", "rolebindings", "clusterrolebindings"};
    for (size_t i = 0; i < ARRAY_LEN(resources); i++)
        against(&x, RBAC, "v1", resources[i]);
    against(&x, STR(HUB_GROUP), HUB_VERSION, "clusterroletemplatebindings");
    map_for (&x.wants, it) {
        struct want *w = it->value;
        if (!w->seen)
            hub_write(h, h->control, API_CREATE, w->group, w->version, w->resource, STR_NULL, w->ns, w->name, w->doc, on_failed);
    }
    map_clear(&x.wants, NULL);
    map_clear(&x.clusters, NULL);
    return QUEUE_DONE;
}

/* ---- hearing of changes ---- */

static void on_change(void *arg)
{
    struct hub *h = arg;
    for (size_t i = 0; i < h->nrole_watches; i++)
        for (struct store_event *ev; (ev = store_watch_next(h->role_watches[i], NULL));)
            store_event_unref(ev);
    queue_add_in(h->roles, KEY, SETTLE);
    site_roles_touch_all(h);
}

int roles_start(struct hub *h, struct err **e)
{
    static const char *const watched[] = {"globalroles", "globalrolebindings", "roletemplates", "clusterroletemplatebindings", "projectroletemplatebindings", "projects"};
    struct store *s = api_store(h->api);
    _cleanup_(store_view_unrefp) struct store_view *v = store_view(s);
    h->roles = queue_new(h->control, "roles", 1, pass, h);
    for (size_t i = 0; i < ARRAY_LEN(watched); i++) {
        if (store_watch_open(s, hub_res(h, watched[i]), view_rev(v), 0, h->control, on_change, h, &h->role_watches[h->nrole_watches], e) < 0)
            return err_wrap(e, "%s", watched[i]);
        h->nrole_watches++;
    }
    queue_add(h->roles, KEY);
    return 0;
}

void roles_touch(struct hub *h)
{
    if (h->roles)
        queue_add_in(h->roles, KEY, SETTLE);
}

void roles_stop(struct hub *h)
{
    while (h->nrole_watches)
        store_watch_close(TAKE(h->role_watches[--h->nrole_watches]));
    queue_free(TAKE(h->roles));
}
