#include "api/hook_cel.h"
#include "base/log.h"
#include "schema/apply.h"

/* ValidatingAdmissionPolicy and MutatingAdmissionPolicy (KEP-3488, KEP-3962): rules in CEL, bound to where they hold, with parameters. */

enum { VARIABLES_MAX = 64, PARAMS_MAX = 1000 };

struct validation {
    struct cel *program, *message_program;
    struct str text, message, reason;
};
struct mutation {
    struct cel *program;
    bool json_patch;
    struct str text;
};
struct binding {
    struct str name;
    struct hook_match match;
    bool has_match, deny, warn, allow_missing;
    const struct json *param; /* paramRef */
};
struct policy {
    struct str name;
    struct hook_match match;
    bool ignore, mutating;
    const struct json *param_kind;
    struct hook_condition *conditions;
    size_t nconditions;
    struct hook_condition *variables; /* name and program */
    size_t nvariables;
    struct validation *validations;
    size_t nvalidations;
    struct mutation *mutations;
    size_t nmutations;
    struct binding *bindings;
    size_t nbindings;
};
struct policies {
    _Atomic unsigned refs;
    struct pool *pool;
    int64_t revs[4];
    struct policy *list; /* by name */
    size_t n;
};

/* ---- compiling ---- */

static void free_cel(void *c)
{
    cel_free(c);
}

static struct cel *program(struct pool *p, struct str text)
{
    struct cel *c = NULL;
    if (!text.n || cel_parse(text, &c, NULL) < 0)
        return NULL;
    pool_on_free(p, free_cel, c);
    return c;
}

static struct json *parse(struct policies *k, const struct obj *o)
{
    struct json *doc;
    pool_hold_obj(k->pool, obj_ref(o));
    return obj_parse(o, k->pool, &doc, NULL) < 0 ? NULL : doc;
}

static bool match_of(struct pool *p, const struct json *m, const char *what, struct hook_match *out)
{
    struct err *e = NULL;
    bool ok = hook_match_parse(p, json_get(m, STR("resourceRules")), json_get(m, STR("excludeResourceRules")),
                  json_get(m, STR("namespaceSelector")), json_get(m, STR("objectSelector")), json_get_str(m, "matchPolicy"), out, &e) == 0;
    if (!ok)
        log_warn("%s: %s", what, err_msg(e));
    err_free(e);
    return ok;
}

static void compile(struct policies *k, const struct json *doc, struct str name, bool mutating, struct policy *x)
{
    struct pool *p = k->pool;
    const struct json *spec = json_get(doc, STR("spec")), *all = json_get(spec, STR("validations")),
                      *muts = json_get(spec, STR("mutations"));
    *x = (struct policy){.name = name, .mutating = mutating, .ignore = str_eqz(json_get_str(spec, "failurePolicy"), "Ignore")};
    const struct json *kind = json_get(spec, STR("paramKind"));
    x->param_kind = json_is(kind, JSON_OBJ) ? kind : NULL;
    if (!match_of(p, json_get(spec, STR("matchConstraints")), "admission policy", &x->match))
        x->match.nrules = 0;
    x->nconditions = hook_conditions_compile(p, json_get(spec, STR("matchConditions")), &x->conditions);
    x->nvariables = MIN(hook_conditions_compile(p, json_get(spec, STR("variables")), &x->variables), (size_t)VARIABLES_MAX);
    x->validations = pool_array(p, struct validation, json_count(all) + 1);
    json_for (all, v)
        x->validations[x->nvalidations++] =
            (struct validation){program(p, json_get_str(v, "expression")), program(p, json_get_str(v, "messageExpression")),
                str_trim(json_get_str(v, "expression")), json_get_str(v, "message"), json_get_str(v, "reason")};
    x->mutations = pool_array(p, struct mutation, json_count(muts) + 1);
    json_for (muts, m) {
        bool patch = str_eqz(json_get_str(m, "patchType"), "JSONPatch");
        struct str text = json_str_at(m, patch ? "jsonPatch" : "applyConfiguration", "expression", NULL);
        x->mutations[x->nmutations++] = (struct mutation){program(p, text), patch, text};
    }
}

static void bind(struct policies *k, const struct json *doc, struct str name, struct policy *x)
{
    const struct json *spec = json_get(doc, STR("spec")), *m = json_get(spec, STR("matchResources")),
                      *param = json_get(spec, STR("paramRef"));
    struct binding *b;
    if ((x->nbindings & (x->nbindings - 1)) == 0)
        x->bindings = pool_grow(k->pool, x->bindings, x->nbindings * sizeof *b, (x->nbindings ? x->nbindings * 2 : 1) * sizeof *b);
    b = &x->bindings[x->nbindings++];
    *b = (struct binding){.name = name, .param = json_is(param, JSON_OBJ) ? param : NULL, .deny = x->mutating};
    b->allow_missing = str_eqz(json_get_str(param, "parameterNotFoundAction"), "Allow");
    b->has_match = json_is(m, JSON_OBJ) && match_of(k->pool, m, "admission policy binding", &b->match);
    json_for (json_get(spec, STR("validationActions")), a) {
        b->deny |= str_eqz(json_as_str(a), "Deny");
        b->warn |= str_eqz(json_as_str(a), "Warn");
    }
}

static void load(struct policies *k, struct store_view *v, struct store_res *policies, struct store_res *bindings, bool mutating)
{
    struct store_iter it;
    size_t first = k->n;
    iter_start(&it, v, policies, STR(""), STR_NULL, STR_NULL);
    for (const struct obj *o; (o = iter_next(&it));) {
        struct json *doc = o->deleted ? NULL : parse(k, o);
        if (!doc)
            continue;
        if ((k->n & (k->n - 1)) == 0)
            k->list = pool_grow(k->pool, k->list, k->n * sizeof *k->list, (k->n ? k->n * 2 : 1) * sizeof *k->list);
        compile(k, doc, o->name, mutating, &k->list[k->n++]);
    }
    iter_start(&it, v, bindings, STR(""), STR_NULL, STR_NULL);
    for (const struct obj *o; (o = iter_next(&it));) {
        struct json *doc = o->deleted ? NULL : parse(k, o);
        struct str policy = json_str_at(doc, "spec", "policyName", NULL);
        for (size_t i = first; doc && i < k->n; i++)
            if (str_eq(k->list[i].name, policy))
                bind(k, doc, o->name, &k->list[i]);
    }
}

void policies_unref(void *p)
{
    struct policies *k = p;
    if (!k || --k->refs != 0)
        return;
    pool_free(k->pool);
    free(k);
}

/* The policies of now, kept as long as the call. NULL: there are none. */
static struct policies *policies_now(struct call *c)
{
    struct hooks *h = c->api->hooks;
    struct store_res *res[4];
    int64_t revs[4];
    bool any = false;
    for (size_t i = 0; i < 4; i++)
        if (!(res[i] = hooks_source(c->api, HOOK_VALIDATING_POLICIES + i)))
            return NULL;
    _cleanup_(store_view_unrefp) struct store_view *v = store_view(c->api->store);
    for (size_t i = 0; i < 4; i++)
        revs[i] = view_res_rev(v, res[i]);
    any = view_count(v, res[0], STR("")) || view_count(v, res[2], STR(""));
    if (!any)
        return NULL;
    struct policies **at = hooks_policies(h); /* locked */
    if (!*at || memcmp((*at)->revs, revs, sizeof revs) != 0) {
        policies_unref(*at);
        struct policies *k = *at = xcalloc(1, sizeof *k);
        k->refs = 1;
        k->pool = pool_new();
        memcpy(k->revs, revs, sizeof revs);
        load(k, v, res[0], res[1], false);
        load(k, v, res[2], res[3], true);
    }
    struct policies *k = *at;
    k->refs++;
    hooks_policies_done(h);
    pool_on_free(c->pool, policies_unref, k);
    return k;
}

/* ---- parameters ---- */

struct params {
    const struct json *list[PARAMS_MAX];
    size_t n;
};

static int params_of(struct hook_request *rq, const struct policy *x, const struct binding *b, struct params *out, struct err **e)
{
    struct call *c = rq->c;
    struct str group = STR(""), version = json_get_str(x->param_kind, "apiVersion"), kind = json_get_str(x->param_kind, "kind"),
               name = json_get_str(b->param, "name"), ns = json_get_str(b->param, "namespace");
    (void)str_cut(version, '/', &group, &version);
    const struct schema_resource *r = schema_find_kind(c->schema, group, version, kind);
    struct store_res *res = r ? store_find(c->api->store, r->storage) : NULL;
    struct selector sel = {0};
    const struct json *labels = json_get(b->param, STR("selector"));
    if (!res)
        return err_set(e, ERR_INVALID, "failed to configure policy: failed to find resource referenced by paramKind: '%.*s, Kind=%.*s'",
            STR_ARG(json_get_str(x->param_kind, "apiVersion")), STR_ARG(kind));
    if (r->namespaced && !ns.n)
        ns = rq->ns;
    if (r->namespaced && !ns.n)
        return err_set(e, ERR_INVALID,
            "failed to configure binding: cannot use namespaced paramRef in policy binding that matches cluster-scoped resources");
    if (!r->namespaced)
        ns = STR("");
    if (!name.n && json_is(labels, JSON_OBJ) && selector_from_json(c->pool, labels, &sel, e) < 0)
        return -(*e)->code;
    struct store_view *v = store_view(c->api->store);
    struct store_iter it;
    iter_start(&it, v, res, ns, STR_NULL, STR_NULL);
    for (const struct obj *o; out->n < PARAMS_MAX && (o = iter_next(&it));) {
        struct json *doc;
        if (name.n && !str_eq(name, o->name))
            continue;
        pool_hold_obj(c->pool, obj_ref(o));
        if (obj_parse(o, c->pool, &doc, NULL) == 0 && (name.n || selector_match_json(&sel, json_path(doc, "metadata", "labels", NULL))))
            out->list[out->n++] = doc;
    }
    store_view_unref(v);
    if (!out->n && !b->allow_missing)
        return err_set(
            e, ERR_INVALID, "failed to configure binding: no params found for policy binding with `Deny` parameterNotFoundAction");
    return 0;
}

/* ---- validating ---- */

struct verdict {
    struct hook_request *rq;
    const struct policy *policy;
    const struct binding *binding;
    struct err **e;
    bool refused;
};

static enum err_code code_of(struct str reason)
{
    return str_eqz(reason, "Forbidden")               ? ERR_FORBIDDEN
           : str_eqz(reason, "Unauthorized")          ? ERR_UNAUTHORIZED
           : str_eqz(reason, "RequestEntityTooLarge") ? ERR_TOO_LARGE
                                                      : ERR_INVALID;
}

static void refuse(struct verdict *w, struct str message, struct str reason)
{
    struct call *c = w->rq->c;
    const char *kind = w->policy->mutating ? "MutatingAdmissionPolicy" : "ValidatingAdmissionPolicy";
    if (w->binding->warn)
        call_warn(c, "Validation failed for %s '%.*s' with binding '%.*s': %.*s", kind, STR_ARG(w->policy->name), STR_ARG(w->binding->name),
            STR_ARG(message));
    if (!w->binding->deny || w->refused)
        return;
    w->refused = true;
    struct str text = pool_printf(c->pool, "%s '%.*s' with binding '%.*s' denied request: %.*s", kind, STR_ARG(w->policy->name),
        STR_ARG(w->binding->name), STR_ARG(message));
    (void)err_set(w->e, code_of(reason), "%.*s%s%.*s%s is forbidden: %.*s", STR_ARG(call_qualified(c)), w->rq->name.n ? " \"" : "",
        STR_ARG(w->rq->name), w->rq->name.n ? "\"" : "", STR_ARG(text));
    (void)err_cause(w->e, "", STR(""), "%.*s", STR_ARG(text));
}

static void failed(struct verdict *w, struct str what)
{
    if (!w->policy->ignore)
        refuse(w, what, STR("Invalid"));
    else
        log_warn("policy=%.*s: %.*s", STR_ARG(w->policy->name), STR_ARG(what));
}

static void judge(struct verdict *w, struct hook_env *env, const struct validation *x)
{
    struct pool *p = w->rq->c->pool;
    struct cel_value v, text;
    struct cel_run r;
    struct err *why = NULL;
    struct str message = x->message;
    if (!x->program) {
        failed(w, pool_printf(p, "expression '%.*s' did not compile", STR_ARG(x->text)));
        return;
    }
    if (hook_eval(env, x->program, &v, &r, &why) < 0) {
        struct str said = pool_printf(p, "expression '%.*s' resulted in error: %s", STR_ARG(x->text), err_msg(why));
        err_free(why);
        failed(w, said);
        return;
    }
    if (v.type == CEL_BOOL && v.b)
        return;
    if (x->message_program && hook_eval(env, x->message_program, &text, &r, NULL) == 0 && text.type == CEL_STRING && str_trim(text.s).n)
        message = str_trim(text.s);
    refuse(w, message.n ? message : pool_printf(p, "failed expression: %.*s", STR_ARG(x->text)), x->reason.n ? x->reason : STR("Invalid"));
}

/* Variables are made when they are first named; each parameter sees its own. */
static void variables(struct hook_env *env, const struct policy *x, size_t fixed)
{
    env->n = fixed;
    env->vars[env->n++] = (struct cel_var){.name = STR("variables"), .value = {.type = CEL_MAP}};
    for (size_t i = 0; i < x->nvariables; i++)
        if (x->variables[i].program)
            env->vars[env->n++] = (struct cel_var){.name = x->variables[i].name, .lazy = x->variables[i].program};
}

static int mutate(struct verdict *w, struct hook_env *env, size_t fixed);

static int with_param(struct verdict *w, const struct schema_resource *row, const struct json *param)
{
    struct hook_env *env;
    struct err *why = NULL;
    bool fail = false;
    if (hook_env(w->rq, row, &env, &why) < 0) {
        failed(w, pool_str(w->rq->c->pool, str_of(err_msg(why))));
        err_free(why);
        return 0;
    }
    hook_env_json(env, "params", param);
    size_t fixed = env->n;
    variables(env, w->policy, fixed);
    if (!hook_conditions_env(w->policy->conditions, w->policy->nconditions, env, &fail, &why)) {
        if (fail)
            failed(w, pool_str(w->rq->c->pool, str_of(err_msg(why))));
        err_free(why);
        return 0;
    }
    if (w->policy->mutating)
        return mutate(w, env, fixed);
    for (size_t i = 0; i < w->policy->nvalidations; i++)
        judge(w, env, &w->policy->validations[i]);
    return 0;
}

static void with_binding(struct verdict *w, const struct schema_resource *row)
{
    struct params *params = pool_new_of(w->rq->c->pool, struct params);
    struct err *why = NULL;
    if (!w->policy->param_kind || !w->binding->param) {
        (void)with_param(w, row, NULL);
        return;
    }
    if (params_of(w->rq, w->policy, w->binding, params, &why) < 0) {
        failed(w, pool_str(w->rq->c->pool, str_of(err_msg(why))));
        err_free(why);
        return;
    }
    for (size_t i = 0; i < params->n && !w->refused; i++)
        (void)with_param(w, row, params->list[i]);
}

static bool bound(const struct binding *b, struct hook_request *rq)
{
    struct hook_match any = b->match;
    static const struct str star[] = {STR("*")};
    static const struct str all[] = {STR("*/*"), STR("*")};
    static struct hook_rule everything = {
        .ops = 15, .groups = star, .versions = star, .resources = all, .ngroups = 1, .nversions = 1, .nresources = 2, .scope = STR("*")};
    if (!b->has_match)
        return true;
    if (!any.nrules) {
        any.rules = &everything;
        any.nrules = 1;
    }
    return hook_matches(&any, rq) != NULL;
}

static int all(struct hook_request *rq, bool mutating, struct err **e)
{
    struct policies *k = policies_now(rq->c);
    for (size_t i = 0; k && i < k->n; i++) {
        struct policy *x = &k->list[i];
        const struct schema_resource *row = x->mutating == mutating && x->nbindings ? hook_matches(&x->match, rq) : NULL;
        for (size_t b = 0; row && b < x->nbindings; b++) {
            struct verdict w = {.rq = rq, .policy = x, .binding = &x->bindings[b], .e = e};
            if (bound(&x->bindings[b], rq))
                with_binding(&w, row);
            if (w.refused)
                return -(*e)->code;
        }
    }
    return 0;
}

int policies_validate(struct hook_request *rq, struct err **e)
{
    return all(rq, false, e);
}

/* ---- mutating ---- */

static int apply_one(struct verdict *w, struct hook_env *env, const struct mutation *m, struct err **e)
{
    struct pool *p = w->rq->c->pool;
    struct cel_value v;
    struct cel_run r;
    if (!m->program)
        return err_set(e, ERR_INVALID, "expression '%.*s' did not compile", STR_ARG(m->text));
    if (hook_eval(env, m->program, &v, &r, e) < 0)
        return err_wrap(e, "expression '%.*s' resulted in error", STR_ARG(m->text));
    struct json *result = cel_to_json(&r, v, e), *doc = json_clone(p, env->object);
    if (!result)
        return *e ? -(*e)->code : err_set(e, ERR_INVALID, "the expression gives no document");
    if (m->json_patch) {
        if (json_patch(p, &doc, result, e) < 0)
            return err_wrap(e, "JSON Patch");
    } else {
        doc = schema_merge(env->row->type, p, doc, result);
    }
    if (json_equal(doc, env->object))
        return 0;
    if (hook_take(w->rq, env->row, doc, e) < 0)
        return -(*e)->code;
    return hook_document(w->rq, env->row, w->rq->object, &env->object, e);
}

static int mutate(struct verdict *w, struct hook_env *env, size_t fixed)
{
    for (size_t i = 0; env->object && i < w->policy->nmutations; i++) {
        struct err *why = NULL;
        if (apply_one(w, env, &w->policy->mutations[i], &why) < 0) {
            failed(w, pool_str(w->rq->c->pool, str_of(err_msg(why))));
            err_free(why);
            return 0;
        }
        env->vars[0].value = cel_of_json(env->object, NULL, NULL);
        variables(env, w->policy, fixed); /* they see what it has become */
    }
    return 0;
}

int policies_mutate(struct hook_request *rq, struct err **e)
{
    return rq->op == HOOK_DELETE || rq->op == HOOK_CONNECT ? 0 : all(rq, true, e);
}
