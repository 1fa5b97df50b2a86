/* Who may do what at a hub: User, Token, RoleTemplate, GlobalRole and the bindings. What needs other objects (does the role exist, may its giver give it) is src/hub/admission.c. */
#include "base/clock.h"
#include "crypto/password.h"
#include "crypto/hash.h"
#include "kinds/rows.h"
#include "schema/ferr.h"

#define PHC "$argon2id$"
#define SHA "$sha256$"
#define SITE_FINALIZER "sampan.io/site" /* the rights at the site go before the binding does: hub/site_roles.c */

static bool starts(struct str s, const char *prefix)
{
    return str_starts(s, str_of(prefix));
}

/* ---- User: a password is stored as its Argon2id hash only; the copy that kubectl apply keeps beside goes too ---- */

static void forget_applied(struct json *doc)
{
    struct json *meta = json_get(doc, STR("metadata")), *notes = json_get(meta, STR("annotations"));
    (void)json_del(notes, STR("kubectl.kubernetes.io/last-applied-configuration"));
}

static void prepare_user(struct kind_ctx *c, struct json *doc, const struct json *old)
{
    struct str password = json_get_str(doc, "password");
    _cleanup_(buf_clear) struct buf phc = BUF_INIT;
    if (!password.n) { /* left out of an update: it stays */
        if (old && json_get_str(old, "password").n && !json_get(doc, STR("password")))
            json_set_str(c->pool, doc, STR("password"), json_get_str(old, "password"));
        return;
    }
    if (starts(password, PHC)) /* a hash already: an unchanged user written back, or one from a backup */
        return;
    forget_applied(doc);
    if (password_hash(password, NULL, &phc, NULL) == 0)
        json_set_str(c->pool, doc, STR("password"), buf_to_pool(&phc, c->pool));
    else
        (void)json_del(doc, STR("password")); /* too long; validation of the length came before, in admission */
}

static void validate_user(struct kind_ctx *c, const struct json *doc, const struct json *old, struct err **e)
{
    struct fpath at = FPATH(NULL, "username");
    struct str name = json_get_str(doc, "username"), was = json_get_str(old, "username");
    (void)c;
    if (name.n > 128)
        ferr_too_long(e, &at, 128);
    for (size_t i = 0; i < name.n; i++)
        if ((unsigned char)name.p[i] <= ' ' || name.p[i] == ':') {
            ferr_invalid_str(e, &at, name, "must not contain white space, control characters or colons");
            break;
        }
    if (was.n && !str_eq(name, was))
        ferr_forbidden(e, &at, "field is immutable once set");
}

const struct kind_hooks kind_hub_user = {KIND("management.cattle.io", "User"), .prepare = prepare_user, .validate = validate_user};

/* ---- Token: its secret is stored as a hash only. It has all the entropy it needs, so that a plain hash does ---- */

static void prepare_token(struct kind_ctx *c, struct json *doc, const struct json *old)
{
    struct str secret = json_get_str(doc, "token");
    char hex[HASH_HEX + 1];
    (void)old;
    if (secret.n && !starts(secret, SHA)) {
        forget_applied(doc);
        json_set_str(c->pool, doc, STR("token"), pool_printf(c->pool, SHA "%.*s", STR_ARG(hash_sha256_hex(secret, hex))));
    }
    int64_t ttl = json_get_int(doc, "ttl", 0), made;
    char text[TIME_MAX];
    if (ttl > 0 && !json_get_str(doc, "expiresAt").n) {
        if (!time_parse(json_str_at(doc, "metadata", "creationTimestamp", NULL), &made))
            made = c->now;
        json_set_str(c->pool, doc, STR("expiresAt"), pool_str(c->pool, time_format(made + ttl * NS_PER_MS, text)));
    }
}

static void validate_token(struct kind_ctx *c, const struct json *doc, const struct json *old, struct err **e)
{
    struct fpath user = FPATH(NULL, "userId"), ttl = FPATH(NULL, "ttl"), at = FPATH(NULL, "expiresAt");
    int64_t ms = json_get_int(doc, "ttl", 0), end;
    (void)c;
    (void)old;
    if (!json_get_str(doc, "userId").n)
        ferr_required(e, &user, "");
    if (ms < 0 || ms > INT64_C(3153600000000))
        ferr_invalid_int(e, &ttl, ms, "must be between 0 and a hundred years of milliseconds");
    if (json_get_str(doc, "expiresAt").n && !time_parse(json_get_str(doc, "expiresAt"), &end))
        ferr_invalid_str(e, &at, json_get_str(doc, "expiresAt"), "must be a time in RFC 3339");
}

const struct kind_hooks kind_hub_token = {KIND("management.cattle.io", "Token"), .prepare = prepare_token, .validate = validate_token};

/* ---- role templates and global roles ---- */

static void check_rules(const struct json *rules, const struct fpath *at, struct err **e)
{
    size_t i = 0;
    json_for (rules, r) {
        struct fpath here = fpath_at(at, i++), verbs = FPATH(&here, "verbs"), groups = FPATH(&here, "apiGroups"), res = FPATH(&here, "resources");
        if (!json_count(json_get(r, STR("verbs"))))
            ferr_required(e, &verbs, "verbs must contain at least one value");
        if (json_count(json_get(r, STR("nonResourceURLs"))))
            continue;
        if (!json_count(json_get(r, STR("apiGroups"))))
            ferr_required(e, &groups, "resource rules must supply at least one api group");
        if (!json_count(json_get(r, STR("resources"))))
            ferr_required(e, &res, "resource rules must supply at least one resource");
    }
}

static void validate_template(struct kind_ctx *c, const struct json *doc, const struct json *old, struct err **e)
{
    struct fpath rules = FPATH(NULL, "rules"), names = FPATH(NULL, "roleTemplateNames"), external = FPATH(NULL, "external");
    (void)c;
    (void)old;
    check_rules(json_get(doc, STR("rules")), &rules, e);
    if (json_get_bool(doc, "external", false) && json_count(json_get(doc, STR("rules"))))
        ferr_forbidden(e, &external, "an external role has its rules in the ClusterRole of its name");
    if (json_count(json_get(doc, STR("roleTemplateNames"))) > 64)
        ferr_too_many(e, &names, json_count(json_get(doc, STR("roleTemplateNames"))), 64);
}

const struct kind_hooks kind_hub_role_template = {KIND("management.cattle.io", "RoleTemplate"), .validate = validate_template};

static void validate_global(struct kind_ctx *c, const struct json *doc, const struct json *old, struct err **e)
{
    struct fpath rules = FPATH(NULL, "rules"), namespaced = FPATH(NULL, "namespacedRules");
    (void)c;
    (void)old;
    check_rules(json_get(doc, STR("rules")), &rules, e);
    json_for (json_get(doc, STR("namespacedRules")), ns) {
        struct fpath at = fpath_key(&namespaced, json_key(ns));
        check_rules(ns, &at, e);
    }
}

const struct kind_hooks kind_hub_global_role = {KIND("management.cattle.io", "GlobalRole"), .validate = validate_global};

/* ---- bindings ---- */

static void prepare_binding(struct kind_ctx *c, struct json *doc, const struct json *old)
{
    if (old)
        return;
    struct json *list = json_put_arr(c->pool, json_put_obj(c->pool, doc, STR("metadata")), STR("finalizers"));
    json_for (list, x)
        if (str_eqz(json_as_str(x), SITE_FINALIZER))
            return;
    json_append(list, json_str(c->pool, STR(SITE_FINALIZER)));
}

static void prepare_project(struct kind_ctx *c, struct json *doc, const struct json *old)
{
    prepare_binding(c, doc, old); /* its quotas at the site go before it does */
}

static void validate_project(struct kind_ctx *c, const struct json *doc, const struct json *old, struct err **e)
{
    struct fpath spec = FPATH(NULL, "spec"), at = FPATH(&spec, "clusterName");
    struct str cluster = json_str_at(doc, "spec", "clusterName", NULL);
    (void)c;
    (void)old;
    if (cluster.n && !str_eq(cluster, json_str_at(doc, "metadata", "namespace", NULL)))
        ferr_invalid_str(e, &at, cluster, "must be the namespace that the project is in");
}

const struct kind_hooks kind_hub_project = {KIND("management.cattle.io", "Project"), .prepare = prepare_project, .validate = validate_project};

static void one_subject(const struct json *doc, struct err **e)
{
    static const char *const fields[] = {"userName", "userPrincipalName", "groupName", "groupPrincipalName"};
    struct fpath at = FPATH(NULL, "userName");
    size_t n = 0;
    for (size_t i = 0; i < ARRAY_LEN(fields); i++)
        n += json_get_str(doc, fields[i]).n > 0;
    if (n == 0)
        ferr_required(e, &at, "must target a user or a group");
    if (json_get_str(doc, "userName").n && (json_get_str(doc, "groupName").n || json_get_str(doc, "groupPrincipalName").n))
        ferr_forbidden(e, &at, "must target a user or a group, not both");
}

static void validate_global_binding(struct kind_ctx *c, const struct json *doc, const struct json *old, struct err **e)
{
    (void)c;
    (void)old;
    one_subject(doc, e);
}

static void validate_cluster_binding(struct kind_ctx *c, const struct json *doc, const struct json *old, struct err **e)
{
    struct fpath at = FPATH(NULL, "clusterName");
    struct str cluster = json_get_str(doc, "clusterName");
    (void)c;
    (void)old;
    one_subject(doc, e);
    if (cluster.n && !str_eq(cluster, json_str_at(doc, "metadata", "namespace", NULL)))
        ferr_invalid_str(e, &at, cluster, "must be the namespace that the binding is in");
}

static void validate_project_binding(struct kind_ctx *c, const struct json *doc, const struct json *old, struct err **e)
{
    struct fpath at = FPATH(NULL, "projectName");
    struct str cluster, project, name = json_get_str(doc, "projectName");
    (void)c;
    (void)old;
    one_subject(doc, e);
    if (name.n && (!str_cut(name, ':', &cluster, &project) || !cluster.n || !project.n))
        ferr_invalid_str(e, &at, name, "must be <cluster>:<project>");
}

const struct kind_hooks kind_hub_global_binding = {KIND("management.cattle.io", "GlobalRoleBinding"), .validate = validate_global_binding};
const struct kind_hooks kind_hub_cluster_binding = {
    KIND("management.cattle.io", "ClusterRoleTemplateBinding"), .prepare = prepare_binding, .validate = validate_cluster_binding};
const struct kind_hooks kind_hub_project_binding = {
    KIND("management.cattle.io", "ProjectRoleTemplateBinding"), .prepare = prepare_binding, .validate = validate_project_binding};
