#include "kinds/cell.h"
#include "kinds/rows.h"
#include "schema/ferr.h"
#include "schema/selector.h"

/* Roles and bindings of both scopes. */
static const struct str rbac_group = {"rbac.authorization.k8s.io", 25};

static void dflt_binding(struct kind_ctx *c, struct json *doc)
{
    json_for (json_get(doc, STR("subjects")), s) {
        struct str kind = json_get_str(s, "kind");
        if (!json_get_str(s, "apiGroup").n && (str_eqz(kind, "User") || str_eqz(kind, "Group")))
            json_set_str(c->pool, s, STR("apiGroup"), rbac_group);
    }
}

static void rules(const struct json *doc, bool namespaced, struct err **e)
{
    struct fpath at = FPATH(NULL, "rules");
    size_t i = 0;
    json_for (json_get(doc, STR("rules")), r) {
        struct fpath here = fpath_at(&at, i++), urls = FPATH(&here, "nonResourceURLs"), groups = FPATH(&here, "apiGroups"),
                     res = FPATH(&here, "resources");
        const struct json *u = json_get(r, STR("nonResourceURLs"));
        if (json_count(u)) {
            if (namespaced)
                ferr_invalid(e, &urls, u, "namespaced rules cannot apply to non-resource URLs");
            if (json_count(json_get(r, STR("apiGroups"))) || json_count(json_get(r, STR("resources"))) ||
                json_count(json_get(r, STR("resourceNames"))))
                ferr_invalid(e, &urls, u, "rules cannot apply to both regular resources and non-resource URLs");
            continue;
        }
        if (!json_count(json_get(r, STR("apiGroups"))))
            ferr_required(e, &groups, "resource rules must supply at least one api group");
        if (!json_count(json_get(r, STR("resources"))))
            ferr_required(e, &res, "resource rules must supply at least one resource");
    }
}

static void validate_role(struct kind_ctx *c, const struct json *doc, const struct json *old, struct err **e)
{
    (void)old;
    rules(doc, c->res->namespaced, e);
}

static void subject(const struct json *s, bool namespaced, const struct fpath *at, struct err **e)
{
    static const struct str kinds[] = {{"ServiceAccount", 14}, {"User", 4}, {"Group", 5}};
    static const struct str none[] = {{"", 0}};
    struct fpath kind_at = FPATH(at, "kind"), name_at = FPATH(at, "name"), ns_at = FPATH(at, "namespace"), group_at = FPATH(at, "apiGroup");
    struct str kind = json_get_str(s, "kind"), name = json_get_str(s, "name"), group = json_get_str(s, "apiGroup");
    (void)namespaced;
    if (str_eq(kind, kinds[0])) {
        const char *why = name.n ? name_dns1123_subdomain(name) : NULL;
        if (why)
            ferr_invalid_str(e, &name_at, name, why);
        if (group.n)
            ferr_not_supported(e, &group_at, group, none, 1);
        if (!json_get_str(s, "namespace").n)
            ferr_required(e, &ns_at, "");
    } else if (str_eq(kind, kinds[1]) || str_eq(kind, kinds[2])) {
        if (!str_eq(group, rbac_group))
            ferr_not_supported(e, &group_at, group, &rbac_group, 1);
    } else if (kind.n) {
        ferr_not_supported(e, &kind_at, kind, kinds, ARRAY_LEN(kinds));
    }
}

static void validate_binding(struct kind_ctx *c, const struct json *doc, const struct json *old, struct err **e)
{
    static const struct str any[] = {{"Role", 4}, {"ClusterRole", 11}}, only_cluster[] = {{"ClusterRole", 11}};
    struct fpath ref_at = FPATH(NULL, "roleRef"), kind_at = FPATH(&ref_at, "kind"), group_at = FPATH(&ref_at, "apiGroup"),
                 subs = FPATH(NULL, "subjects");
    const struct json *ref = json_get(doc, STR("roleRef")), *was = json_get(old, STR("roleRef"));
    struct str kind = json_get_str(ref, "kind"), group = json_get_str(ref, "apiGroup");
    bool ns = c->res->namespaced;
    if (group.n && !str_eq(group, rbac_group))
        ferr_not_supported(e, &group_at, group, &rbac_group, 1);
    if (kind.n && !str_eqz(kind, "ClusterRole") && !(ns && str_eqz(kind, "Role")))
        ferr_not_supported(e, &kind_at, kind, ns ? any : only_cluster, ns ? 2 : 1);
    size_t i = 0;
    json_for (json_get(doc, STR("subjects")), s) {
        struct fpath here = fpath_at(&subs, i++);
        subject(s, ns, &here, e);
    }
    if (was && ref && !json_equal(ref, was))
        ferr_invalid(e, &ref_at, ref, "cannot change roleRef");
}

static void cells(struct kind_ctx *c, const struct json *doc, struct json *row)
{
    static const char *const kinds[] = {"User", "Group", "ServiceAccount"};
    const struct json *ref = json_get(doc, STR("roleRef"));
    cell_add_str(c, row, json_str_at(doc, "metadata", "name", NULL));
    cell_add_str(c, row, pool_printf(c->pool, "%.*s/%.*s", STR_ARG(json_get_str(ref, "kind")), STR_ARG(json_get_str(ref, "name"))));
    cell_add_age(c, row, json_str_at(doc, "metadata", "creationTimestamp", NULL));
    for (size_t k = 0; k < ARRAY_LEN(kinds); k++) {
        struct buf b = BUF_INIT;
        json_for (json_get(doc, STR("subjects")), s) {
            struct str ns = json_get_str(s, "namespace");
            if (!str_eqz(json_get_str(s, "kind"), kinds[k]))
                continue;
            buf_puts(&b, b.n ? ", " : "");
            if (k == 2 && ns.n)
                buf_printf(&b, "%.*s/", STR_ARG(ns));
            buf_str_add(&b, json_get_str(s, "name"));
        }
        cell_add_str(c, row, buf_to_pool(&b, c->pool));
    }
}

#define GROUP "rbac.authorization.k8s.io"
const struct kind_hooks kind_role = {KIND(GROUP, "Role"), .validate = validate_role, .name = name_path_segment};
const struct kind_hooks kind_cluster_role = {KIND(GROUP, "ClusterRole"), .validate = validate_role, .name = name_path_segment};
const struct kind_hooks kind_role_binding = {
    KIND(GROUP, "RoleBinding"), .dflt = dflt_binding, .validate = validate_binding, .cells = cells, .name = name_path_segment};
const struct kind_hooks kind_cluster_role_binding = {
    KIND(GROUP, "ClusterRoleBinding"), .dflt = dflt_binding, .validate = validate_binding, .cells = cells, .name = name_path_segment};
