/* What every hub begins with: Rancher's built-in roles and settings (builtin.json, an object a line), and at the very first start an admin user whose password is shown once. */
#include <stdlib.h>

#include "base/file.h"
#include "base/log.h"
#include "crypto/crypto.h"
#include "hub/impl.h"

extern const char hub_builtin_json[];
extern const size_t hub_builtin_json_n;

#define ADMIN STR("admin")
#define PASSWORD_LEN 20

static void ended(struct api_call *c)
{
    (void)c;
}

/* Inside writes of these kinds wait for nobody. rev: of what stands then. */
static int write_now(struct hub *h, struct pool *p, enum api_verb verb, const char *resource, struct str name, struct json *body, int64_t *rev, struct err **e)
{
    struct api_call c = {.verb = verb, .group = STR(HUB_GROUP), .version = STR(HUB_VERSION), .resource = str_of(resource), .name = name, .body = body, .pool = p};
    api_do(h->api, h->control, &c, ended);
    if (c.state_)
        return err_set(e, ERR_INTERNAL, "the write of %s waits for somebody", resource);
    if (c.obj && rev)
        *rev = MAX(*rev, c.obj->rev);
    int r = c.err ? err_move(e, TAKE(c.err)) : 0;
    api_call_clear(&c);
    return r < 0 ? err_wrap(e, "%s", resource) : 0;
}

static const char *resource_of(struct str kind)
{
    return str_eqz(kind, "GlobalRole") ? "globalroles" : str_eqz(kind, "RoleTemplate") ? "roletemplates" : "settings";
}

/* A newer release brings other rules for the roles that it made; what people may change about them (whether new users get them, whether they are locked) stays. */
static int ensure(struct hub *h, struct pool *p, struct json *want, struct err **e)
{
    static const char *const ours[] = {"rules", "roleTemplateNames", "inheritedClusterRoles", "default"};
    const char *resource = resource_of(json_get_str(want, "kind"));
    struct str name = json_str_at(want, "metadata", "name", NULL);
    struct json *have = hub_get(h, p, resource, STR_NULL, name);
    bool differs = false;
    if (!have)
        return write_now(h, p, API_CREATE, resource, STR_NULL, want, NULL, e);
    for (size_t i = 0; i < ARRAY_LEN(ours); i++) {
        const struct json *x = json_get(want, str_of(ours[i]));
        if (!x || (json_get(have, str_of(ours[i])) && json_equal(x, json_get(have, str_of(ours[i])))))
            continue;
        json_set(p, have, str_of(ours[i]), json_clone(p, x));
        differs = true;
    }
    return differs ? write_now(h, p, API_UPDATE, resource, name, have, NULL, e) : 0;
}

static bool found_one(void *arg, struct json *doc)
{
    (void)doc;
    *(bool *)arg = true;
    return false;
}

static void on_first_durable(struct store_wait *w, int result)
{
    struct hub *h = container_of(w, struct hub, first_wait);
    if (result >= 0 && h->on_first)
        h->on_first(h->on_first_arg, str_of(h->first_password));
    crypto_wipe(h->first_password, strlen(h->first_password));
    free(TAKE(h->first_password));
}

static int first_admin(struct hub *h, struct pool *p, struct err **e)
{
    bool any = false;
    int64_t rev = 0;
    struct str label = STR("authz.management.cattle.io/bootstrapping");
    hub_each(h, p, "users", STR_NULL, found_one, &any);
    if (any)
        return 0;
    struct json *user = json_obj(p), *meta = json_put_obj(p, user, STR("metadata")), *binding = json_obj(p), *bmeta = json_put_obj(p, binding, STR("metadata"));
    h->first_password = xcalloc(1, PASSWORD_LEN + 1);
    random_suffix(h->first_password, PASSWORD_LEN);
    json_set_str(p, meta, STR("name"), ADMIN);
    json_set_str(p, json_put_obj(p, meta, STR("labels")), label, STR("admin-user"));
    json_set_str(p, user, STR("username"), ADMIN);
    json_set_str(p, user, STR("displayName"), STR("Default Admin"));
    json_set_str(p, user, STR("password"), str_of(h->first_password));
    json_set_bool(p, user, STR("mustChangePassword"), true);
    json_append(json_put_arr(p, user, STR("principalIds")), json_str(p, STR("local://admin")));
    json_set_str(p, bmeta, STR("name"), STR("globalrolebinding-admin"));
    json_set_str(p, json_put_obj(p, bmeta, STR("labels")), label, STR("admin-user"));
    json_set_str(p, binding, STR("userName"), ADMIN);
    json_set_str(p, binding, STR("globalRoleName"), STR("admin"));
    if (write_now(h, p, API_CREATE, "users", STR_NULL, user, &rev, e) < 0 || write_now(h, p, API_CREATE, "globalrolebindings", STR_NULL, binding, &rev, e) < 0)
        return -(int)(*e)->code;
    if (store_wait(api_store(h->api), rev, &h->first_wait, h->control, on_first_durable))
        on_first_durable(&h->first_wait, 0);
    return 0;
}

int builtin_start(struct hub *h, struct err **e)
{
    struct str rest = str_make(hub_builtin_json, hub_builtin_json_n), line;
    _cleanup_(pool_freep) struct pool *p = pool_new();
    while (str_split(&rest, '\n', &line)) {
        struct json *doc;
        if (!str_trim(line).n)
            continue;
        if (json_parse(p, line, NULL, &doc, e) < 0 || ensure(h, p, doc, e) < 0)
            return err_wrap(e, "built-in roles");
    }
    return first_admin(h, p, e) < 0 ? err_wrap(e, "the first admin") : 0;
}
