#include "api/hook_cel.h"

static void free_cel(void *c)
{
    cel_free(c);
}

size_t hook_conditions_compile(struct pool *p, const struct json *list, struct hook_condition **out)
{
    size_t n = 0;
    *out = pool_array(p, struct hook_condition, json_count(list) + 1);
    json_for (list, x) {
        struct hook_condition *c = &(*out)[n++];
        *c = (struct hook_condition){.name = json_get_str(x, "name"), .text = json_get_str(x, "expression")};
        if (cel_parse(c->text, &c->program, NULL) == 0)
            pool_on_free(p, free_cel, c->program);
        else
            c->program = NULL;
    }
    return n;
}

void hook_env_json(struct hook_env *env, const char *name, const struct json *j)
{
    env->vars[env->n++] = (struct cel_var){.name = str_of(name), .value = cel_of_json(j, NULL, NULL)};
}

/* Expressions ask whether the request's user may do something. */
static bool ask_authorizer(void *arg, const struct cel_attributes *at, struct str *reason)
{
    struct hook_env *env = arg;
    struct call *c = env->rq->c;
    struct api_attrs attrs = {.verb = at->verb,
        .group = at->group,
        .version = STR("*"),
        .resource = at->resource,
        .subresource = at->sub,
        .ns = at->ns,
        .name = at->name,
        .path = at->path};
    const struct api_user *user = c->user;
    struct buf why = BUF_INIT;
    if (at->user_set) {
        struct str *groups = pool_array(c->pool, struct str, 3);
        groups[0] = GROUP_SERVICEACCOUNTS;
        groups[1] = pool_printf(c->pool, "%.*s:%.*s", STR_ARG(GROUP_SERVICEACCOUNTS), STR_ARG(at->sa_ns));
        groups[2] = GROUP_AUTHENTICATED;
        user = user_new(c->pool, pool_printf(c->pool, "system:serviceaccount:%.*s:%.*s", STR_ARG(at->sa_ns), STR_ARG(at->sa_name)),
            STR_NULL, groups, 3, true);
    }
    bool ok = authz_decide(c->api, user, &attrs, &why) == DECISION_ALLOW;
    *reason = buf_to_pool(&why, c->pool);
    return ok;
}

static void authorizer(struct hook_env *env)
{
    struct pool *p = env->rq->c->pool;
    struct cel_attributes *any = pool_new_of(p, struct cel_attributes), *own = pool_new_of(p, struct cel_attributes);
    *own = (struct cel_attributes){
        .group = env->row->group, .resource = env->row->resource, .sub = env->rq->sub, .ns = env->rq->ns, .name = env->rq->name};
    env->vars[env->n++] = (struct cel_var){.name = STR("authorizer"), .value = {.type = CEL_AUTHZ, .p = any}};
    env->vars[env->n++] = (struct cel_var){.name = STR("authorizer.requestResource"), .value = {.type = CEL_AUTHZ, .p = own}};
}

int hook_env(struct hook_request *rq, const struct schema_resource *row, struct hook_env **out, struct err **e)
{
    struct hook_env *env = pool_new_of(rq->c->pool, struct hook_env);
    struct json *old;
    env->rq = rq;
    env->row = row;
    if (hook_document(rq, row, rq->object, &env->object, e) < 0 || hook_document(rq, row, rq->old, &old, e) < 0)
        return -(*e)->code;
    hook_env_json(env, "object", env->object);
    hook_env_json(env, "oldObject", old);
    struct json *request = hook_review_request(rq, row, NULL, NULL, STR(""));
    json_del(request, STR("object"));
    json_del(request, STR("oldObject"));
    hook_env_json(env, "request", request);
    hook_env_json(env, "namespaceObject", rq->res->namespaced ? hook_namespace(rq) : NULL);
    authorizer(env);
    *out = env;
    return 0;
}

int hook_eval(struct hook_env *env, const struct cel *c, struct cel_value *out, struct cel_run *r, struct err **e)
{
    *r = (struct cel_run){
        .pool = env->rq->c->pool, .vars = env->vars, .nvars = env->n, .cost = env->cost, .authorize = ask_authorizer, .authorize_arg = env};
    int rc = cel_eval(c, r, out, e);
    env->cost = r->cost;
    return rc;
}

bool hook_conditions_env(const struct hook_condition *list, size_t n, struct hook_env *env, bool *failed, struct err **e)
{
    struct err *first = NULL;
    for (size_t i = 0; i < n; i++) {
        struct cel_value v;
        struct cel_run r;
        struct err *why = NULL;
        if (!list[i].program)
            (void)err_set(&why, ERR_INVALID, "matchCondition \"%.*s\" did not compile", STR_ARG(list[i].name));
        else if (hook_eval(env, list[i].program, &v, &r, &why) == 0 && v.type == CEL_BOOL && !v.b) {
            err_free(first);
            return false; /* one that is false decides, whatever became of others */
        } else if (!why && v.type != CEL_BOOL) {
            (void)err_set(&why, ERR_INVALID, "matchCondition \"%.*s\" evaluated to something that is no bool", STR_ARG(list[i].name));
        }
        if (why && !first)
            first = TAKE(why);
        err_free(why);
    }
    if (!first)
        return true;
    *failed = true;
    (void)err_move(e, first);
    return false;
}

bool hook_conditions(
    const struct hook_condition *list, size_t n, struct hook_request *rq, const struct schema_resource *row, bool *failed, struct err **e)
{
    struct hook_env *env;
    if (!n)
        return true;
    if (hook_env(rq, row, &env, e) < 0) {
        *failed = true;
        return false;
    }
    return hook_conditions_env(list, n, env, failed, e);
}
