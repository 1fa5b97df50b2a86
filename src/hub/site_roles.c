/* What the hub's bindings and projects amount to at a site, written there as plain RBAC and quotas:
 *
 *   ClusterRoleTemplateBinding    ClusterRoleBindings of hub:<user> to ClusterRole hub-<template> and to every external role that the template inherits
 *   ProjectRoleTemplateBinding    RoleBindings in each namespace of the project (annotation field.cattle.io/projectId: <cluster>:<project>); what its template says of cluster-wide
 *                                 kinds (PROMOTED) as hub-<template>-promoted
 *   Project                       a ResourceQuota and a LimitRange in each of its namespaces; namespaces that no longer fit into the project's own limit get zeros
 *
 * Each object carries the label MADE_BY and, in SOURCE, the uid of what it was made for. It is removed when its source stands and no longer wants it, or is on its way out, which waits for
 * that by a finalizer (src/kinds/hub_access.c). An object whose source nobody knows stays: so a hub that was restored from an old backup, or began anew, takes nothing away anywhere.
 *
 * One key of the queue is one cluster. Its pass reads what is there (site.c), then makes one call after the other. */
#include <stdlib.h>

#include "base/log.h"
#include "crypto/crypto.h"
#include "hub/impl.h"
#include "schema/quantity.h"

#define MADE_BY "sampan.io/made-by"
#define SOURCE "sampan.io/hub-source"
#define FINALIZER "sampan.io/site"
#define PROJECT "field.cattle.io/projectId"
#define SELECTOR "?labelSelector=sampan.io%2Fmade-by%3Dhub"
#define RBAC_PATH "/apis/rbac.authorization.k8s.io/v1"
#define SETTLE (300 * NS_PER_MS)
#define EVERY (300 * NS_PER_S) /* projects' namespaces are looked at anew */
#define AGAIN (15 * NS_PER_S)
#define OPS_MAX 20000

enum read { READ_NAMESPACES, READ_CLUSTER_ROLES, READ_CLUSTER_BINDINGS, READ_BINDINGS, READ_QUOTAS, READ_LIMITS, READS };
static const struct {
    const char *list, *collection;
    bool namespaced, partial;
} reads[READS] = {
    {"/api/v1/namespaces", NULL, false, true},
    {RBAC_PATH "/clusterroles" SELECTOR, "clusterroles", false, false},
    {RBAC_PATH "/clusterrolebindings" SELECTOR, "clusterrolebindings", false, false},
    {RBAC_PATH "/rolebindings" SELECTOR, "rolebindings", true, false},
    {"/api/v1/resourcequotas" SELECTOR, "resourcequotas", true, false},
    {"/api/v1/limitranges" SELECTOR, "limitranges", true, false},
};

struct want {
    enum read kind;
    struct json *doc;
    bool seen;
};
struct op {
    const char *method;
    struct str path, body;
};
struct site {
    struct hub *hub;
    char *cluster;
    struct pool *pool; /* of the pass */
    struct site_call call;
    enum read at;
    struct json *have[READS];
    struct map wants; /* "collection/ns/name" → struct want */
    struct json *known, *leaving; /* uids of sources that stand, and of those on their way out */
    struct json *released;        /* [kind, ns, name]: whose finalizer goes after this pass */
    bool projects;                /* there is something that follows namespaces */
    struct op *ops;
    size_t nops, op;
    bool running;
};

static void next_op(struct site *s);

/* ---- what is wanted ---- */

static struct str meta(const struct json *doc, const char *field)
{
    return json_as_str(json_get(json_get(doc, STR("metadata")), str_of(field)));
}

static struct str note(const struct json *doc, const char *name)
{
    return json_as_str(json_get(json_path(doc, "metadata", "annotations", NULL), str_of(name)));
}

static struct str key_of(struct pool *p, enum read kind, struct str ns, struct str name)
{
    return pool_printf(p, "%s/%.*s/%.*s", reads[kind].collection, STR_ARG(ns), STR_ARG(name));
}

static struct json *want(struct site *s, enum read kind, struct str ns, struct str name, struct str source)
{
    struct pool *p = s->pool;
    struct str key = key_of(p, kind, ns, name);
    struct want *w = map_get(&s->wants, key);
    if (w)
        return w->doc;
    w = pool_new_of(p, struct want);
    *w = (struct want){kind, json_obj(p), false};
    struct json *m = json_put_obj(p, w->doc, STR("metadata"));
    json_set_str(p, m, STR("name"), name);
    if (ns.n)
        json_set_str(p, m, STR("namespace"), ns);
    json_set_str(p, json_put_obj(p, m, STR("labels")), STR(MADE_BY), STR("hub"));
    json_set_str(p, json_put_obj(p, m, STR("annotations")), STR(SOURCE), source);
    (void)map_put(&s->wants, key, w);
    return w->doc;
}

static void want_role(struct site *s, struct str name, struct json *rules)
{
    json_set(s->pool, want(s, READ_CLUSTER_ROLES, STR_NULL, name, STR("template")), STR("rules"), rules);
}

static void want_binding(struct site *s, const struct json *binding, struct str ns, struct str role)
{
    struct pool *p = s->pool;
    char hex[HASH_HEX + 1];
    struct str user = json_get_str(binding, "userName"), group = json_get_str(binding, "groupPrincipalName");
    if (!group.n)
        group = json_get_str(binding, "groupName");
    struct str id = hash_sha256_hex(pool_printf(p, "%.*s/%.*s/%.*s", STR_ARG(meta(binding, "namespace")), STR_ARG(meta(binding, "name")), STR_ARG(role)), hex);
    struct json *doc = want(s, ns.n ? READ_BINDINGS : READ_CLUSTER_BINDINGS, ns, pool_printf(p, "hub-%.*s-%.*s", STR_ARG(str_sub(role, 0, 40)), 10, id.p), meta(binding, "uid"));
    struct json *ref = json_put_obj(p, doc, STR("roleRef")), *subject = json_append(json_put_arr(p, doc, STR("subjects")), json_obj(p));
    json_set_str(p, ref, STR("apiGroup"), STR("rbac.authorization.k8s.io"));
    json_set_str(p, ref, STR("kind"), STR("ClusterRole"));
    json_set_str(p, ref, STR("name"), role);
    json_set_str(p, subject, STR("kind"), user.n ? STR("User") : STR("Group"));
    json_set_str(p, subject, STR("apiGroup"), STR("rbac.authorization.k8s.io"));
    json_set_str(p, subject, STR("name"), pool_printf(p, HUB_PREFIX "%.*s", STR_ARG(user.n ? user : group)));
}

static bool has(const struct json *list, const char *word)
{
    json_for (list, x)
        if (str_eqz(json_as_str(x), word))
            return true;
    return false;
}

/* Rules of a template as the site needs them: without what is about the hub's own objects alone. */
static struct json *site_rules(struct site *s, const struct json *rules)
{
    struct json *out = json_arr(s->pool);
    json_for (rules, r) {
        const struct json *groups = json_get(r, STR("apiGroups"));
        if (json_count(groups) == 1 && has(groups, HUB_GROUP))
            continue;
        json_append(out, json_clone(s->pool, r));
    }
    return out;
}

/* Of a project's template, what only holds cluster-wide. */
static struct json *promoted_rules(struct site *s, const struct json *rules)
{
    static const char *const PROMOTED[] = {"nodes", "persistentvolumes", "storageclasses", "apiservices", "namespaces"};
    struct json *out = json_arr(s->pool);
    json_for (rules, r) {
        struct json *some = json_arr(s->pool);
        for (size_t i = 0; i < ARRAY_LEN(PROMOTED); i++)
            if (has(json_get(r, STR("resources")), PROMOTED[i]))
                json_append(some, json_str(s->pool, str_of(PROMOTED[i])));
        if (!json_count(some))
            continue;
        struct json *copy = json_append(out, json_clone(s->pool, r));
        json_set(s->pool, copy, STR("resources"), some);
    }
    return out;
}

static void remember(struct site *s, const struct json *source)
{
    bool leaves = meta(source, "deletionTimestamp").n > 0;
    json_append(s->known, json_str(s->pool, meta(source, "uid")));
    if (leaves)
        json_append(s->leaving, json_str(s->pool, meta(source, "uid")));
}

static void release(struct site *s, const struct json *source, const char *resource)
{
    struct json *row = json_append(s->released, json_arr(s->pool));
    json_append(row, json_str(s->pool, str_of(resource)));
    json_append(row, json_str(s->pool, meta(source, "namespace")));
    json_append(row, json_str(s->pool, meta(source, "name")));
}

static bool cluster_binding(void *arg, struct json *b)
{
    struct site *s = arg;
    struct json *rules = json_arr(s->pool), *externals = json_arr(s->pool);
    struct str template = json_get_str(b, "roleTemplateName");
    if (!str_eqz(json_get_str(b, "clusterName"), s->cluster))
        return true;
    remember(s, b);
    if (meta(b, "deletionTimestamp").n) {
        release(s, b, "clusterroletemplatebindings");
        return true;
    }
    if (!template_flatten(s->hub, s->pool, template, rules, externals))
        return true;
    struct json *ours = site_rules(s, rules);
    if (json_count(ours)) {
        struct str role = pool_printf(s->pool, "hub-%.*s", STR_ARG(template));
        want_role(s, role, ours);
        want_binding(s, b, STR_NULL, role);
    }
    json_for (externals, x)
        want_binding(s, b, STR_NULL, json_as_str(x));
    return true;
}

static bool in_project(const struct json *ns, struct str project)
{
    return str_eq(note(ns, PROJECT), project) && !meta(ns, "deletionTimestamp").n;
}

static struct json *list_of(struct pool *p, struct str one)
{
    struct json *a = json_arr(p);
    json_append(a, json_str(p, one));
    return a;
}

/* A member may look at the namespaces of his project, each by name. */
static void want_namespaces(struct site *s, const struct json *b, struct str project)
{
    struct pool *p = s->pool;
    struct json *names = json_arr(p), *rules = json_arr(p), *r = json_obj(p);
    struct str cluster, id = project, role;
    json_for (json_get(s->have[READ_NAMESPACES], STR("items")), ns)
        if (in_project(ns, project))
            json_append(names, json_str(p, meta(ns, "name")));
    if (!json_count(names))
        return;
    (void)str_cut(project, ':', &cluster, &id);
    role = pool_printf(p, "hub-project-%.*s", STR_ARG(id));
    json_set(p, r, STR("apiGroups"), list_of(p, STR("")));
    json_set(p, r, STR("resources"), list_of(p, STR("namespaces")));
    json_set(p, r, STR("verbs"), list_of(p, STR("get")));
    json_set(p, r, STR("resourceNames"), names);
    json_append(rules, r);
    want_role(s, role, rules);
    want_binding(s, b, STR_NULL, role);
}

static bool project_binding(void *arg, struct json *b)
{
    struct site *s = arg;
    struct pool *p = s->pool;
    struct json *rules = json_arr(p), *externals = json_arr(p);
    struct str cluster, id, project = json_get_str(b, "projectName"), template = json_get_str(b, "roleTemplateName");
    if (!str_cut(project, ':', &cluster, &id) || !str_eqz(cluster, s->cluster))
        return true;
    s->projects = true;
    remember(s, b);
    if (meta(b, "deletionTimestamp").n) {
        release(s, b, "projectroletemplatebindings");
        return true;
    }
    if (!template_flatten(s->hub, p, template, rules, externals))
        return true;
    struct json *ours = site_rules(s, rules), *promoted = promoted_rules(s, ours);
    struct str role = pool_printf(p, "hub-%.*s", STR_ARG(template)), wide = pool_printf(p, "hub-%.*s-promoted", STR_ARG(template));
    if (json_count(ours))
        want_role(s, role, ours);
    if (json_count(promoted)) {
        want_role(s, wide, promoted);
        want_binding(s, b, STR_NULL, wide);
    }
    json_for (json_get(s->have[READ_NAMESPACES], STR("items")), ns) {
        if (!in_project(ns, project))
            continue;
        if (json_count(ours))
            want_binding(s, b, meta(ns, "name"), role);
        json_for (externals, x)
            want_binding(s, b, meta(ns, "name"), json_as_str(x));
    }
    want_namespaces(s, b, project);
    return true;
}

/* ---- projects' quotas ---- */

static const struct {
    const char *field, *key;
} limits[] = {
    {"pods", "pods"}, {"services", "services"}, {"replicationControllers", "replicationcontrollers"}, {"secrets", "secrets"}, {"configMaps", "configmaps"},
    {"persistentVolumeClaims", "persistentvolumeclaims"}, {"servicesNodePorts", "services.nodeports"}, {"servicesLoadBalancers", "services.loadbalancers"},
    {"requestsCpu", "requests.cpu"}, {"requestsMemory", "requests.memory"}, {"requestsStorage", "requests.storage"}, {"limitsCpu", "limits.cpu"}, {"limitsMemory", "limits.memory"},
};

/* What a namespace takes of a key: as much as it wants while the project has it, else nothing. rest: what the project has left; absent: no bound. */
static struct str share(struct pool *p, struct str wanted, struct json *rest, const char *field)
{
    struct quantity q, left;
    struct str have = json_get_str(rest, field);
    struct buf b = BUF_INIT;
    if (quantity_parse(wanted, &q, NULL) < 0)
        return STR_NULL;
    if (!have.n || quantity_parse(have, &left, NULL) < 0)
        return wanted;
    if (quantity_cmp(q, left) > 0)
        return STR("0");
    quantity_write(&b, quantity_sub(left, q));
    json_set_str(p, rest, str_of(field), buf_to_pool(&b, p));
    return wanted;
}

static void want_quota(struct site *s, const struct json *project, const struct json *ns, struct json *rest)
{
    struct pool *p = s->pool;
    struct json *asked = NULL, *dflt = json_path(project, "spec", "namespaceDefaultResourceQuota", "limit", NULL), *hard = json_obj(p);
    struct str text = note(ns, "field.cattle.io/resourceQuota");
    if (text.n && json_parse(p, text, NULL, &asked, NULL) == 0)
        asked = json_get(asked, STR("limit"));
    for (size_t i = 0; i < ARRAY_LEN(limits); i++) {
        struct str v = json_get_str(asked, limits[i].field);
        v = share(p, v.n ? v : json_get_str(dflt, limits[i].field), rest, limits[i].field);
        if (v.n)
            json_set_str(p, hard, str_of(limits[i].key), v);
    }
    if (json_count(hard))
        json_set(p, json_put_obj(p, want(s, READ_QUOTAS, meta(ns, "name"), STR("hub-project"), meta(project, "uid")), STR("spec")), STR("hard"), hard);
}

static void want_limits(struct site *s, const struct json *project, const struct json *ns)
{
    static const struct {
        const char *field, *part, *key;
    } rows[] = {{"requestsCpu", "defaultRequest", "cpu"}, {"requestsMemory", "defaultRequest", "memory"}, {"limitsCpu", "default", "cpu"}, {"limitsMemory", "default", "memory"}};
    struct pool *p = s->pool;
    const struct json *c = json_path(project, "spec", "containerDefaultResourceLimit", NULL);
    struct json *item = json_obj(p);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (json_get_str(c, rows[i].field).n)
            json_set_str(p, json_put_obj(p, item, str_of(rows[i].part)), str_of(rows[i].key), json_get_str(c, rows[i].field));
    if (!json_count(item))
        return;
    json_set_str(p, item, STR("type"), STR("Container"));
    struct json *list = json_arr(p);
    json_append(list, item);
    json_set(p, json_put_obj(p, want(s, READ_LIMITS, meta(ns, "name"), STR("hub-project"), meta(project, "uid")), STR("spec")), STR("limits"), list);
}

static int by_age(const void *a, const void *b)
{
    const struct json *const *x = a, *const *y = b;
    int c = str_cmp(meta(*x, "creationTimestamp"), meta(*y, "creationTimestamp"));
    return c ? c : str_cmp(meta(*x, "name"), meta(*y, "name"));
}

static bool each_project(void *arg, struct json *project)
{
    struct site *s = arg;
    struct pool *p = s->pool;
    if (!str_eqz(json_str_at(project, "spec", "clusterName", NULL), s->cluster))
        return true;
    s->projects = true;
    remember(s, project);
    if (meta(project, "deletionTimestamp").n) {
        release(s, project, "projects");
        return true;
    }
    struct str id = pool_printf(p, "%s:%.*s", s->cluster, STR_ARG(meta(project, "name")));
    struct json *items = json_get(s->have[READ_NAMESPACES], STR("items")), *limit = json_path(project, "spec", "resourceQuota", "limit", NULL);
    struct json *rest = limit ? json_clone(p, limit) : json_obj(p);
    struct json **of = pool_array(p, struct json *, json_count(items) + 1);
    size_t n = 0;
    json_for (items, ns)
        if (in_project(ns, id))
            of[n++] = ns;
    qsort(of, n, sizeof *of, by_age);
    for (size_t i = 0; i < n; i++) {
        want_quota(s, project, of[i], rest);
        want_limits(s, project, of[i]);
    }
    return true;
}

/* ---- the difference ---- */

static bool known(const struct json *list, struct str uid)
{
    json_for (list, x)
        if (str_eq(json_as_str(x), uid))
            return true;
    return false;
}

static void add_op(struct site *s, const char *method, enum read kind, struct str ns, struct str name, const struct json *doc)
{
    struct pool *p = s->pool;
    const char *base = kind >= READ_QUOTAS ? "/api/v1" : RBAC_PATH;
    struct str space = reads[kind].namespaced ? pool_printf(p, "/namespaces/%.*s", STR_ARG(ns)) : STR("");
    if (s->nops >= OPS_MAX)
        return;
    struct op *o = &s->ops[s->nops++];
    *o = (struct op){method, pool_printf(p, "%s%.*s/%s%s%.*s", base, STR_ARG(space), reads[kind].collection, name.n ? "/" : "", STR_ARG(name)), doc ? json_to_pool(p, doc) : STR_NULL};
}

static bool same(const struct json *a, const struct json *b)
{
    static const char *const fields[] = {"rules", "roleRef", "subjects", "spec"};
    for (size_t i = 0; i < ARRAY_LEN(fields); i++) {
        const struct json *x = json_get(a, str_of(fields[i])), *y = json_get(b, str_of(fields[i]));
        if (json_count(x) == 0 && json_count(y) == 0)
            continue;
        if (!x || !y || !json_equal(x, y))
            return false;
    }
    return true;
}

/* Roles belong to templates, not to one binding: they go when nothing on the site is of an unknown source, and so nothing that the hub forgot can need them. */
static bool all_known(struct site *s)
{
    for (enum read k = READ_CLUSTER_BINDINGS; k < READS; k++)
        json_for (json_get(s->have[k], STR("items")), x)
            if (!known(s->known, note(x, SOURCE)))
                return false;
    return true;
}

static void compare(struct site *s, enum read kind, bool roles_go)
{
    json_for (json_get(s->have[kind], STR("items")), x) {
        struct str ns = meta(x, "namespace"), name = meta(x, "name");
        struct want *w = map_get(&s->wants, key_of(s->pool, kind, ns, name));
        bool ours = kind == READ_CLUSTER_ROLES ? roles_go : known(s->known, note(x, SOURCE));
        if (w)
            w->seen = true;
        if (!w && ours)
            add_op(s, "DELETE", kind, ns, name, NULL);
        if (!w || same(w->doc, x))
            continue;
        bool ref = json_get(w->doc, STR("roleRef")) && !json_equal(json_get(w->doc, STR("roleRef")), json_get(x, STR("roleRef")));
        add_op(s, ref ? "DELETE" : "PUT", kind, ns, name, ref ? NULL : w->doc);
        w->seen = !ref;
    }
}

static void plan(struct site *s)
{
    struct str cluster = str_of(s->cluster);
    s->known = json_arr(s->pool);
    s->leaving = json_arr(s->pool);
    s->released = json_arr(s->pool);
    s->projects = false;
    hub_each(s->hub, s->pool, "clusterroletemplatebindings", cluster, cluster_binding, s);
    hub_each(s->hub, s->pool, "projectroletemplatebindings", STR_NULL, project_binding, s);
    hub_each(s->hub, s->pool, "projects", STR_NULL, each_project, s);
    size_t most = map_count(&s->wants) * 2;
    for (enum read k = READ_CLUSTER_ROLES; k < READS; k++)
        most += json_count(json_get(s->have[k], STR("items"))) * 2;
    s->ops = pool_array(s->pool, struct op, most + 1);
    bool roles_go = all_known(s);
    for (enum read k = READ_CLUSTER_ROLES; k < READS; k++)
        compare(s, k, roles_go);
    map_for (&s->wants, it) {
        struct want *w = it->value;
        if (!w->seen)
            add_op(s, "POST", w->kind, meta(w->doc, "namespace"), STR_NULL, w->doc);
    }
}

/* ---- its course ---- */

static void finish(struct site *s, enum queue_result r)
{
    struct hub *h = s->hub;
    bool follow = s->projects;
    map_clear(&s->wants, NULL);
    buf_clear(&s->call.reply);
    memset(s->have, 0, sizeof s->have);
    pool_free(TAKE(s->pool));
    s->running = false;
    queue_finish(h->sites, str_of(s->cluster), QUEUE_DONE);
    if (r == QUEUE_RETRY)
        queue_add_in(h->sites, str_of(s->cluster), AGAIN);
    else if (follow)
        queue_add_in(h->sites, str_of(s->cluster), EVERY);
}

static void drop_finalizer(struct hub *h, struct pool *p, const char *resource, struct str ns, struct str name)
{
    struct json *doc = hub_get(h, p, resource, ns, name);
    struct json *list = json_path(doc, "metadata", "finalizers", NULL);
    json_for (list, x)
        if (str_eqz(json_as_str(x), FINALIZER)) {
            json_remove(list, x);
            hub_write(h, h->control, API_UPDATE, STR(HUB_GROUP), STR(HUB_VERSION), str_of(resource), STR_NULL, ns, name, doc, NULL);
            return;
        }
}

static void release_all(struct site *s)
{
    json_for (s->released, row) {
        char *resource = pool_strz(s->pool, json_as_str(json_at(row, 0)));
        drop_finalizer(s->hub, s->pool, resource, json_as_str(json_at(row, 1)), json_as_str(json_at(row, 2)));
    }
}

static void on_op(struct site_call *c)
{
    struct site *s = container_of(c, struct site, call);
    const struct op *o = &s->ops[s->op];
    bool gone = c->status == 404 && strcmp(o->method, "DELETE") == 0, raced = c->status == 409;
    if ((c->status < 200 || c->status > 299) && !gone && !raced) {
        if (c->status)
            log_warn("cluster=%s rights: %s %.*s: %d %.*s", s->cluster, o->method, STR_ARG(o->path), c->status, STR_ARG(str_sub(buf_str(&c->reply), 0, 300)));
        finish(s, QUEUE_RETRY);
        return;
    }
    s->op++;
    next_op(s);
}

static void next_op(struct site *s)
{
    if (s->op == s->nops) {
        release_all(s);
        finish(s, QUEUE_DONE);
        return;
    }
    const struct op *o = &s->ops[s->op];
    s->call.method = str_of(o->method);
    s->call.path = o->path;
    s->call.body = o->body;
    s->call.accept = STR_NULL;
    s->call.done = on_op;
    site_call(&s->call);
}

static void read_next(struct site *s);

static void on_read(struct site_call *c)
{
    struct site *s = container_of(c, struct site, call);
    static const struct json_limits limits_ = {.bytes = 16u << 20, .nodes = 2000000};
    if (c->status != 200 || json_parse(s->pool, buf_to_pool(&c->reply, s->pool), &limits_, &s->have[s->at], NULL) < 0) {
        if (c->status)
            log_warn("cluster=%s rights cannot be kept in order: %.*s answers %d", s->cluster, STR_ARG(c->path), c->status);
        finish(s, QUEUE_RETRY);
        return;
    }
    s->at++;
    read_next(s);
}

static void read_next(struct site *s)
{
    if (s->at == READS) {
        plan(s);
        if (s->nops)
            log_info("cluster=%s rights: %zu changes", s->cluster, s->nops);
        next_op(s);
        return;
    }
    s->call.method = STR("GET");
    s->call.path = str_of(reads[s->at].list);
    s->call.body = STR_NULL;
    s->call.accept = reads[s->at].partial ? STR("application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json") : STR_NULL;
    s->call.done = on_read;
    site_call(&s->call);
}

/* ---- clusters that nothing can be done at: gone from the hub, or never joined ---- */

struct orphans {
    struct site *s;
    const char *resource;
};

static bool each_orphan(void *arg, struct json *doc)
{
    struct orphans *o = arg;
    struct str cluster = json_get_str(doc, "clusterName"), rest, project = json_get_str(doc, "projectName");
    if (project.n)
        (void)str_cut(project, ':', &cluster, &rest);
    if (!cluster.n)
        cluster = json_str_at(doc, "spec", "clusterName", NULL);
    if (str_eqz(cluster, o->s->cluster) && meta(doc, "deletionTimestamp").n)
        release(o->s, doc, o->resource);
    return true;
}

static void let_go(struct site *s)
{
    static const char *const resources[] = {"clusterroletemplatebindings", "projectroletemplatebindings", "projects"};
    s->released = json_arr(s->pool);
    for (size_t i = 0; i < ARRAY_LEN(resources); i++) {
        struct orphans o = {s, resources[i]};
        hub_each(s->hub, s->pool, resources[i], STR_NULL, each_orphan, &o);
    }
    release_all(s);
}

static enum queue_result sync(void *arg, struct str key)
{
    struct hub *h = arg;
    struct site *s = map_get(&h->site_states, key);
    struct loop *loop;
    if (!s) {
        s = xcalloc(1, sizeof *s);
        s->hub = h;
        s->cluster = str_dup(key);
        (void)map_put(&h->site_states, key, s);
    }
    s->pool = pool_new();
    struct json *cluster = hub_get(h, s->pool, "clusters", STR_NULL, key);
    bool joined = json_get_str(json_path(cluster, "metadata", "annotations", NULL), HUB_KEY_ANNOTATION).n > 0;
    if (!joined || meta(cluster, "deletionTimestamp").n)
        let_go(s);
    if (!joined || !links_client(h, key, &loop)) { /* touched again when it connects */
        pool_free(TAKE(s->pool));
        return QUEUE_DONE;
    }
    s->call = (struct site_call){.hub = h, .cluster = key.n ? str_of(s->cluster) : STR_NULL};
    s->at = READ_NAMESPACES;
    s->nops = s->op = 0;
    s->running = true;
    read_next(s);
    return QUEUE_PENDING;
}

/* ---- when ---- */

void site_roles_touch(struct hub *h, struct str cluster)
{
    if (h->sites)
        queue_add_in(h->sites, cluster, SETTLE);
}

static bool touch_cluster(void *arg, struct json *doc)
{
    site_roles_touch(arg, meta(doc, "name"));
    return true;
}

static bool touch_binding(void *arg, struct json *doc)
{
    struct str cluster = json_get_str(doc, "clusterName"), rest, project = json_get_str(doc, "projectName");
    if (project.n)
        (void)str_cut(project, ':', &cluster, &rest);
    if (meta(doc, "deletionTimestamp").n && cluster.n)
        site_roles_touch(arg, cluster);
    return true;
}

void site_roles_touch_all(struct hub *h)
{
    _cleanup_(pool_freep) struct pool *p = pool_new();
    hub_each(h, p, "clusters", STR_NULL, touch_cluster, h);
    hub_each(h, p, "clusterroletemplatebindings", STR_NULL, touch_binding, h);
    hub_each(h, p, "projectroletemplatebindings", STR_NULL, touch_binding, h);
}

struct touching {
    struct post post;
    struct hub *hub;
    char *cluster;
};

static void on_touching(struct post *post)
{
    struct touching *t = container_of(post, struct touching, post);
    site_roles_touch(t->hub, str_of(t->cluster));
    free(t->cluster);
    free(t);
}

void site_roles_touch_from(struct hub *h, struct str cluster)
{
    if (!h->control)
        return;
    struct touching *t = xcalloc(1, sizeof *t);
    t->hub = h;
    t->cluster = str_dup(cluster);
    loop_post(h->control, &t->post, on_touching);
}

void site_roles_start(struct hub *h)
{
    h->sites = queue_new(h->control, "site-rights", 8, sync, h);
}

void site_roles_stop(struct hub *h)
{
    queue_free(TAKE(h->sites));
}

static void site_free(void *v)
{
    struct site *s = v;
    map_clear(&s->wants, NULL);
    buf_clear(&s->call.reply);
    pool_free(s->pool);
    free(s->cluster);
    free(s);
}

void site_roles_free(struct hub *h)
{
    map_clear(&h->site_states, site_free);
}
