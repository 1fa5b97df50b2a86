#include "api/impl.h"

/* The virtual kinds that answer questions about access: SubjectAccessReview and its sisters, SelfSubjectRulesReview, TokenReview,
 * SelfSubjectReview. */

static void put_status(struct call *c, struct json *status)
{
    json_set(c->pool, c->doc, STR("status"), status);
    struct json *meta = json_put_obj(c->pool, c->doc, STR("metadata"));
    if (!json_get(meta, STR("creationTimestamp")))
        json_set(c->pool, meta, STR("creationTimestamp"), json_null(c->pool));
    write_head(c->doc);
    call_reply_tree(c, 201, c->doc);
}

static int attrs_of(struct call *c, const struct json *spec, struct api_attrs *at, struct err **e)
{
    const struct json *r = json_get(spec, STR("resourceAttributes")), *n = json_get(spec, STR("nonResourceAttributes"));
    *at = (struct api_attrs){0};
    if (!!json_is(r, JSON_OBJ) == !!json_is(n, JSON_OBJ))
        return err_set(e, ERR_INVALID,
            "%.*s.%.*s \"\" is invalid: spec.resourceAttributes: Invalid value: exactly one of nonResourceAttributes or resourceAttributes "
            "must be specified",
            STR_ARG(c->res->kind), STR_ARG(c->res->group));
    if (json_is(n, JSON_OBJ)) {
        at->verb = json_get_str(n, "verb");
        at->path = json_get_str(n, "path");
        return 0;
    }
    at->verb = json_get_str(r, "verb");
    at->group = json_get_str(r, "group");
    at->version = json_get_str(r, "version");
    at->resource = json_get_str(r, "resource");
    at->subresource = json_get_str(r, "subresource");
    at->ns = json_get_str(r, "namespace");
    at->name = json_get_str(r, "name");
    if (str_empty(at->resource))
        at->resource = STR("*");
    return 0;
}

static int answer(struct call *c, const struct api_user *u, const struct json *spec, struct err **e)
{
    struct api_attrs at;
    struct buf why = BUF_INIT;
    if (attrs_of(c, spec, &at, e) < 0)
        return -(*e)->code;
    bool ok = authz_decide(c->api, u, &at, &why) == DECISION_ALLOW;
    struct json *s = json_obj(c->pool);
    json_set_bool(c->pool, s, STR("allowed"), ok);
    if (why.n)
        json_set_str(c->pool, s, STR("reason"), buf_str(&why));
    buf_clear(&why);
    put_status(c, s);
    return 0;
}

int review_access(struct call *c, struct err **e)
{
    const struct json *spec = json_get(c->doc, STR("spec"));
    struct api_user *u = user_from_json(c->pool, spec, STR("user"));
    if (str_empty(u->name) && u->ngroups == 0)
        return err_set(e, ERR_INVALID,
            "SubjectAccessReview.authorization.k8s.io \"\" is invalid: spec.user: Invalid value: \"\": at least one of user or group must "
            "be specified");
    return answer(c, u, spec, e);
}

int review_local_access(struct call *c, struct err **e)
{
    const struct json *spec = json_get(c->doc, STR("spec"));
    struct json *r = json_get(spec, STR("resourceAttributes"));
    if (json_is(r, JSON_OBJ) && !str_eq(json_get_str(r, "namespace"), c->ri.ns))
        return err_set(e, ERR_BAD_REQUEST, "spec.resourceAttributes.namespace must match namespace: %.*s", STR_ARG(c->ri.ns));
    return review_access(c, e);
}

int review_self_access(struct call *c, struct err **e)
{
    return answer(c, c->user, json_get(c->doc, STR("spec")), e);
}

static struct json *list_of(struct pool *p, const struct str *l, uint16_t n)
{
    struct json *a = json_arr(p);
    for (uint16_t i = 0; i < n; i++)
        json_append(a, json_str(p, l[i]));
    return a;
}

struct rules_out {
    struct pool *p;
    struct json *res, *non;
};
static void rule_out(void *arg, const struct rbac_rule *r)
{
    struct rules_out *o = arg;
    struct json *row = json_obj(o->p);
    json_set(o->p, row, STR("verbs"), list_of(o->p, r->verbs, r->nverbs));
    if (r->nurls) {
        json_set(o->p, row, STR("nonResourceURLs"), list_of(o->p, r->urls, r->nurls));
        json_append(o->non, row);
        return;
    }
    json_set(o->p, row, STR("apiGroups"), list_of(o->p, r->groups, r->ngroups));
    json_set(o->p, row, STR("resources"), list_of(o->p, r->resources, r->nresources));
    if (r->nnames)
        json_set(o->p, row, STR("resourceNames"), list_of(o->p, r->names, r->nnames));
    json_append(o->res, row);
}

int review_self_rules(struct call *c, struct err **e)
{
    struct str ns = json_str_at(c->doc, "spec", "namespace", NULL);
    if (str_empty(ns))
        return err_set(e, ERR_BAD_REQUEST, "no namespace on request");
    struct json *s = json_obj(c->pool);
    struct rules_out o = {c->pool, json_put_arr(c->pool, s, STR("resourceRules")), json_put_arr(c->pool, s, STR("nonResourceRules"))};
    if (user_in(c->user, GROUP_MASTERS)) {
        static const struct str star[] = {STR("*")};
        struct rbac_rule all = {.verbs = star, .groups = star, .resources = star, .nverbs = 1, .ngroups = 1, .nresources = 1},
                         urls = {.verbs = star, .urls = star, .nverbs = 1, .nurls = 1};
        rule_out(&o, &all);
        rule_out(&o, &urls);
    } else {
        rbac_rules(c->api, c->user, ns, rule_out, &o);
    }
    json_set_bool(c->pool, s, STR("incomplete"), false);
    put_status(c, s);
    return 0;
}

int review_token(struct call *c, struct err **e)
{
    const struct json *spec = json_get(c->doc, STR("spec")), *auds = json_get(spec, STR("audiences"));
    struct str token = json_get_str(spec, "token");
    size_t n = 0;
    struct str *want = pool_array(c->pool, struct str, json_count(auds) + 1);
    json_for (auds, it)
        want[n++] = json_as_str(it);
    if (str_empty(token))
        return err_set(e, ERR_BAD_REQUEST, "token is required for TokenReview in authentication");
    struct api_user *u = NULL;
    struct err *why = NULL;
    struct json *s = json_obj(c->pool);
    if (token_authenticate(c->api, c->pool, token, want, n, &u, &why) < 0) {
        json_set_bool(c->pool, s, STR("authenticated"), false);
        json_set(c->pool, s, STR("user"), json_obj(c->pool));
        json_set_str(c->pool, s, STR("error"), str_of(err_msg(why)));
        err_free(why);
    } else {
        json_set_bool(c->pool, s, STR("authenticated"), true);
        json_set(c->pool, s, STR("user"), user_json(c->pool, u));
        struct json *a = json_put_arr(c->pool, s, STR("audiences"));
        for (size_t i = 0; i < n; i++)
            json_append(a, json_str(c->pool, want[i]));
        if (n == 0)
            json_append(
                a, json_str(c->pool, pool_printf(c->pool, "https://kubernetes.default.svc.%.*s", STR_ARG(c->api->cfg.cluster_domain))));
    }
    put_status(c, s);
    return 0;
}

int review_self(struct call *c, struct err **e)
{
    (void)e;
    struct json *s = json_obj(c->pool);
    json_set(c->pool, s, STR("userInfo"), user_json(c->pool, c->user));
    put_status(c, s);
    return 0;
}
