#include "kinds/podspec.h"
#include "kinds/rows.h"

static void dflt(struct kind_ctx *c, struct json *doc)
{
    struct json *spec = json_put_obj(c->pool, doc, STR("spec")), *strategy = json_put_obj(c->pool, spec, STR("strategy"));
    podspec_default(c->pool, json_path(spec, "template", "spec", NULL));
    if (!json_get_str(strategy, "type").n)
        json_set_str(c->pool, strategy, STR("type"), STR("RollingUpdate"));
    if (!str_eqz(json_get_str(strategy, "type"), "RollingUpdate"))
        return;
    struct json *rolling = json_put_obj(c->pool, strategy, STR("rollingUpdate"));
    if (!json_get(rolling, STR("maxUnavailable")))
        json_set_str(c->pool, rolling, STR("maxUnavailable"), STR("25%"));
    if (!json_get(rolling, STR("maxSurge")))
        json_set_str(c->pool, rolling, STR("maxSurge"), STR("25%"));
}

static void strategy(const struct json *s, const struct fpath *at, struct err **e)
{
    struct fpath roll = FPATH(at, "rollingUpdate"), un = FPATH(&roll, "maxUnavailable"), surge = FPATH(&roll, "maxSurge");
    const struct json *r = json_get(s, STR("rollingUpdate")), *u = json_get(r, STR("maxUnavailable")), *m = json_get(r, STR("maxSurge"));
    if (str_eqz(json_get_str(s, "type"), "Recreate")) {
        if (r)
            ferr_forbidden(e, &roll, "may not be specified when strategy `type` is 'Recreate'");
        return;
    }
    if (!r) {
        ferr_required(e, &roll, "this should be defaulted and never be nil");
        return;
    }
    int_or_percent_validate(u, &un, false, e);
    int_or_percent_validate(m, &surge, false, e);
    if (int_or_percent_value(u) == 0 && int_or_percent_value(m) == 0)
        ferr_invalid(e, &un, u, "may not be 0 when `maxSurge` is 0");
    if (json_is(u, JSON_STR))
        int_or_percent_validate(u, &un, true, e);
}

static void validate(struct kind_ctx *c, const struct json *doc, const struct json *old, struct err **e)
{
    struct fpath at = FPATH(NULL, "spec"), sel = FPATH(&at, "selector"), tmpl = FPATH(&at, "template"), str_at = FPATH(&at, "strategy"),
                 deadline = FPATH(&at, "progressDeadlineSeconds");
    const struct json *spec = json_get(doc, STR("spec")), *selector = json_get(spec, STR("selector"));
    (void)old;
    if (str_eqz(c->sub, "status"))
        return;
    selector_validate(selector, &sel, e);
    if (json_is(selector, JSON_OBJ) && !selector->n)
        ferr_invalid(e, &sel, selector, "empty selector is invalid for deployment");
    podtemplate_validate(c->pool, json_get(spec, STR("template")), selector, &tmpl, e);
    podtemplate_always(json_get(spec, STR("template")), &tmpl, e);
    strategy(json_get(spec, STR("strategy")), &str_at, e);
    const struct json *d = json_get(spec, STR("progressDeadlineSeconds"));
    if (d && json_as_int(d, 0) >= 0 && json_as_int(d, 0) <= json_get_int(spec, "minReadySeconds", 0))
        ferr_invalid(e, &deadline, d, "must be greater than minReadySeconds");
}

const struct kind_hooks kind_deployment = {KIND("apps", "Deployment"), .dflt = dflt, .validate = validate};
