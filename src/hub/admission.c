/* What is checked when the hub's objects are written, beyond what one object can tell (src/kinds/hub_access.c). The rule behind it: nobody gives what he does not have. */
#include "hub/impl.h"

static int forbid(const struct api_write *w, struct err **e, const char *why)
{
    struct str name = w->name.n ? w->name : json_str_at(w->doc, "metadata", "name", NULL);
    return err_set(e, ERR_FORBIDDEN, "%.*s." HUB_GROUP " \"%.*s\" is forbidden: %s", STR_ARG(w->resource), STR_ARG(name), why);
}

static int lacking(const struct api_write *w, struct err **e, const struct buf *missing)
{
    _cleanup_(buf_clear) struct buf b = BUF_INIT;
    buf_printf(&b, "user \"%.*s\" is attempting to grant RBAC permissions not currently held:%.*s", STR_ARG(w->user->name), STR_ARG(buf_str(missing)));
    buf_putc(&b, 0);
    return forbid(w, e, b.p);
}

static bool may(struct hub *h, const struct api_write *w, const char *verb, const char *resource, struct str name)
{
    struct api_attrs at = {.verb = str_of(verb), .group = STR(HUB_GROUP), .version = STR(HUB_VERSION), .resource = str_of(resource), .name = name};
    return api_authorize(h->api, w->user, &at, NULL) == 0;
}

static int covered(struct hub *h, const struct api_write *w, struct str ns, const struct json *rules, struct err **e)
{
    _cleanup_(buf_clear) struct buf missing = BUF_INIT;
    return api_covers(h->api, w->user, ns, rules, &missing) ? 0 : lacking(w, e, &missing);
}

static bool same(const struct api_write *w, const char *field)
{
    const struct json *x = json_get(w->doc, str_of(field)), *y = json_get(w->old, str_of(field));
    return x == y || (x && y && json_equal(x, y));
}

/* ---- users and tokens ---- */

struct holder {
    struct hub *hub;
    struct pool *p;
    struct str user;
    struct json *rules;
};

static bool gather(void *arg, struct json *binding)
{
    struct holder *x = arg;
    if (!str_eq(json_get_str(binding, "userName"), x->user))
        return true;
    struct json *role = hub_get(x->hub, x->p, "globalroles", STR_NULL, json_get_str(binding, "globalRoleName"));
    json_for (json_get(role, STR("rules")), r)
        json_append(x->rules, json_clone(x->p, r));
    return true;
}

/* Speaking for a user (a password, a token) is having his global rights. */
static int stands_above(struct hub *h, const struct api_write *w, struct str user, struct err **e)
{
    struct holder x = {h, w->pool, user, json_arr(w->pool)};
    if (str_eq(user, w->user->name))
        return 0;
    hub_each(h, w->pool, "globalrolebindings", STR_NULL, gather, &x);
    return covered(h, w, STR_NULL, x.rules, e);
}

struct taken {
    struct str username, name;
    bool found;
};

static bool is_taken(void *arg, struct json *doc)
{
    struct taken *t = arg;
    t->found = str_eq(json_get_str(doc, "username"), t->username) && !str_eq(json_str_at(doc, "metadata", "name", NULL), t->name);
    return !t->found;
}

static int check_user(struct hub *h, const struct api_write *w, struct err **e)
{
    struct str name = json_str_at(w->doc ? w->doc : w->old, "metadata", "name", NULL), password = json_get_str(w->doc, "password");
    struct taken t = {json_get_str(w->doc, "username"), name, false};
    if (!w->doc || w->sub.n)
        return w->internal || !w->old || w->sub.n ? 0 : stands_above(h, w, name, e);
    if (t.username.n && !same(w, "username"))
        hub_each(h, w->pool, "users", STR_NULL, is_taken, &t);
    if (t.found)
        return forbid(w, e, "username is taken by another user");
    if (password.n && !same(w, "password") && !str_starts(password, STR("$argon2id$")) && (int64_t)password.n < hub_setting_int(h, "password-min-length", 12))
        return forbid(w, e, "password is shorter than the setting password-min-length");
    if (password.n > 1024)
        return forbid(w, e, "password has more than 1024 bytes");
    return w->internal || !w->old ? 0 : stands_above(h, w, name, e);
}

static int check_token(struct hub *h, const struct api_write *w, struct err **e)
{
    struct str user = json_get_str(w->doc ? w->doc : w->old, "userId");
    return w->internal || !user.n || w->op == 'D' ? 0 : stands_above(h, w, user, e);
}

/* ---- roles ---- */

static int check_role(struct hub *h, const struct api_write *w, struct err **e)
{
    static const char *const fixed[] = {"rules", "roleTemplateNames", "inheritedClusterRoles", "namespacedRules", "inheritedNamespacedRules", "builtin", "external", "context"};
    bool builtin = json_get_bool(w->old, "builtin", false), changed = !w->old;
    if (w->internal)
        return 0;
    if (w->op == 'D')
        return builtin ? forbid(w, e, "built-in roles cannot be deleted") : 0;
    for (size_t i = 0; i < ARRAY_LEN(fixed); i++)
        changed |= !same(w, fixed[i]);
    if (builtin && changed)
        return forbid(w, e, "built-in roles are immutable");
    if (!w->old && json_get_bool(w->doc, "builtin", false))
        return forbid(w, e, "builtin: only the hub's own roles are");
    if (!changed || may(h, w, "escalate", w->resource.p[0] == 'g' ? "globalroles" : "roletemplates", w->name))
        return 0;
    struct json *rules = json_clone(w->pool, json_get(w->doc, STR("rules")) ? json_get(w->doc, STR("rules")) : json_arr(w->pool)), *externals = json_arr(w->pool);
    json_for (json_get(w->doc, STR("roleTemplateNames")), t)
        (void)template_flatten(h, w->pool, json_as_str(t), rules, externals);
    json_for (json_get(w->doc, STR("inheritedClusterRoles")), t)
        (void)template_flatten(h, w->pool, json_as_str(t), rules, externals);
    json_for (json_get(w->doc, STR("namespacedRules")), ns)
        json_for (ns, r)
            json_append(rules, json_clone(w->pool, r));
    json_for (json_get(w->doc, STR("externalRules")), r)
        json_append(rules, json_clone(w->pool, r));
    return covered(h, w, STR_NULL, rules, e);
}

/* ---- bindings ---- */

static int check_global_binding(struct hub *h, const struct api_write *w, struct err **e)
{
    struct str name = json_get_str(w->doc, "globalRoleName");
    struct json *role;
    if (w->op != 'C')
        return 0;
    if (!(role = hub_get(h, w->pool, "globalroles", STR_NULL, name)))
        return err_set(e, ERR_NOT_FOUND, "globalroles." HUB_GROUP " \"%.*s\" not found", STR_ARG(name));
    if (w->internal || may(h, w, "bind", "globalroles", name))
        return 0;
    struct json *rules = json_clone(w->pool, json_get(role, STR("rules")) ? json_get(role, STR("rules")) : json_arr(w->pool)), *externals = json_arr(w->pool);
    json_for (json_get(role, STR("inheritedClusterRoles")), t)
        (void)template_flatten(h, w->pool, json_as_str(t), rules, externals);
    return covered(h, w, STR_NULL, rules, e);
}

struct giver {
    struct hub *hub;
    const struct api_write *w;
    struct str wanted, project;
    bool builtin, has;
};

static bool is_givers(const struct api_user *u, const struct json *binding)
{
    struct str user = json_get_str(binding, "userName"), group = json_get_str(binding, "groupPrincipalName");
    if (user.n)
        return str_eq(user, u->name);
    if (!group.n)
        group = json_get_str(binding, "groupName");
    for (size_t i = 0; group.n && i < u->ngroups; i++)
        if (str_eq(u->groups[i], group))
            return true;
    return false;
}

/* The giver holds the wanted template himself, by name or by inheritance; who owns the cluster or the project holds every built-in one of its kind. */
static bool holds(void *arg, struct json *binding)
{
    struct giver *g = arg;
    struct str has = json_get_str(binding, "roleTemplateName"), project = json_get_str(binding, "projectName");
    if (!is_givers(g->w->user, binding) || json_str_at(binding, "metadata", "deletionTimestamp", NULL).n || (project.n && !str_eq(project, g->project)))
        return true;
    bool owner = template_includes(g->hub, g->w->pool, has, project.n ? STR("project-owner") : STR("cluster-owner"));
    g->has = template_includes(g->hub, g->w->pool, has, g->wanted) || (owner && (g->builtin || !project.n));
    return !g->has;
}

static int check_template_binding(struct hub *h, const struct api_write *w, struct err **e)
{
    bool project = str_eqz(w->resource, "projectroletemplatebindings");
    struct str name = json_get_str(w->doc, "roleTemplateName"), where = json_get_str(w->doc, "projectName"), cluster = where, rest;
    struct json *t;
    if (w->op != 'C')
        return 0;
    if (!(t = hub_get(h, w->pool, "roletemplates", STR_NULL, name)))
        return err_set(e, ERR_NOT_FOUND, "roletemplates." HUB_GROUP " \"%.*s\" not found", STR_ARG(name));
    struct str context = json_get_str(t, "context");
    if (context.n && !str_eqz(context, project ? "project" : "cluster") && !json_get_bool(t, "external", false))
        return forbid(w, e, project ? "the role template is for clusters" : "the role template is for projects");
    if (json_get_bool(t, "locked", false))
        return forbid(w, e, "the role template is locked");
    if (!project)
        cluster = json_get_str(w->doc, "clusterName");
    else if (!str_cut(where, ':', &cluster, &rest))
        return 0; /* validation says what is wrong with it */
    if (!hub_get(h, w->pool, "clusters", STR_NULL, cluster))
        return err_set(e, ERR_NOT_FOUND, "clusters." HUB_GROUP " \"%.*s\" not found", STR_ARG(cluster));
    if (project && !hub_get(h, w->pool, "projects", cluster, rest))
        return err_set(e, ERR_NOT_FOUND, "projects." HUB_GROUP " \"%.*s\" not found in cluster \"%.*s\"", STR_ARG(rest), STR_ARG(cluster));
    if (w->internal || may(h, w, "bind", "roletemplates", name))
        return 0;
    struct giver g = {.hub = h, .w = w, .wanted = name, .project = where, .builtin = json_get_bool(t, "builtin", false) && !str_eqz(name, "cluster-admin")};
    hub_each(h, w->pool, "clusterroletemplatebindings", cluster, holds, &g);
    if (!g.has && project)
        hub_each(h, w->pool, "projectroletemplatebindings", STR_NULL, holds, &g);
    if (g.has)
        return 0;
    struct json *rules = json_arr(w->pool), *externals = json_arr(w->pool);
    (void)template_flatten(h, w->pool, name, rules, externals);
    if (json_count(externals)) /* a ClusterRole of the site: nobody here knows what is in it */
        return forbid(w, e, "it gives a role that its giver does not hold there");
    return covered(h, w, STR_NULL, rules, e);
}

int hub_admit(void *arg, const struct api_write *w, struct err **e)
{
    static const struct {
        const char *resource;
        int (*fn)(struct hub *h, const struct api_write *w, struct err **e);
    } rows[] = {
        {"users", check_user},
        {"tokens", check_token},
        {"globalroles", check_role},
        {"roletemplates", check_role},
        {"globalrolebindings", check_global_binding},
        {"clusterroletemplatebindings", check_template_binding},
        {"projectroletemplatebindings", check_template_binding},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (str_eqz(w->resource, rows[i].resource))
            return rows[i].fn(arg, w, e);
    return 0;
}
