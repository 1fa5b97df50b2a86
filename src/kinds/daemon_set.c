#include "kinds/podspec.h"
#include "kinds/rows.h"

static void dflt(struct kind_ctx *c, struct json *doc)
{
    struct json *spec = json_put_obj(c->pool, doc, STR("spec")), *strategy = json_put_obj(c->pool, spec, STR("updateStrategy"));
    podspec_default(c->pool, json_path(spec, "template", "spec", NULL));
    if (!json_get_str(strategy, "type").n)
        json_set_str(c->pool, strategy, STR("type"), STR("RollingUpdate"));
    if (!str_eqz(json_get_str(strategy, "type"), "RollingUpdate"))
        return;
    struct json *rolling = json_put_obj(c->pool, strategy, STR("rollingUpdate"));
    if (!json_get(rolling, STR("maxUnavailable")))
        json_set_int(c->pool, rolling, STR("maxUnavailable"), 1);
    if (!json_get(rolling, STR("maxSurge")))
        json_set_int(c->pool, rolling, STR("maxSurge"), 0);
}

static void validate(struct kind_ctx *c, const struct json *doc, const struct json *old, struct err **e)
{
    struct fpath at = FPATH(NULL, "spec"), sel = FPATH(&at, "selector"), tmpl = FPATH(&at, "template"), us = FPATH(&at, "updateStrategy"),
                 roll = FPATH(&us, "rollingUpdate"), un = FPATH(&roll, "maxUnavailable"), surge = FPATH(&roll, "maxSurge");
    const struct json *spec = json_get(doc, STR("spec")), *selector = json_get(spec, STR("selector")),
                      *r = json_path(spec, "updateStrategy", "rollingUpdate", NULL), *u = json_get(r, STR("maxUnavailable")),
                      *m = json_get(r, STR("maxSurge"));
    (void)old;
    if (str_eqz(c->sub, "status"))
        return;
    selector_validate(selector, &sel, e);
    if (json_is(selector, JSON_OBJ) && !selector->n)
        ferr_invalid(e, &sel, selector, "empty selector is invalid for daemonset");
    podtemplate_validate(c->pool, json_get(spec, STR("template")), selector, &tmpl, e);
    podtemplate_always(json_get(spec, STR("template")), &tmpl, e);
    if (!str_eqz(json_str_at(spec, "updateStrategy", "type", NULL), "RollingUpdate"))
        return;
    int_or_percent_validate(u, &un, true, e);
    int_or_percent_validate(m, &surge, true, e);
    bool has_u = int_or_percent_value(u) != 0, has_s = int_or_percent_value(m) != 0;
    if (has_u && has_s)
        ferr_invalid(e, &surge, m, "may not be set when maxUnavailable is non-zero");
    else if (!has_u && !has_s)
        ferr_required(e, &un, "cannot be 0 when maxSurge is 0");
}

const struct kind_hooks kind_daemon_set = {KIND("apps", "DaemonSet"), .dflt = dflt, .validate = validate};
