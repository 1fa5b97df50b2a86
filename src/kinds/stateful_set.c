#include "kinds/podspec.h"
#include "kinds/rows.h"

static void dflt(struct kind_ctx *c, struct json *doc)
{
    struct json *spec = json_put_obj(c->pool, doc, STR("spec")), *strategy = json_put_obj(c->pool, spec, STR("updateStrategy"));
    podspec_default(c->pool, json_path(spec, "template", "spec", NULL));
    if (!json_get_str(strategy, "type").n) {
        json_set_str(c->pool, strategy, STR("type"), STR("RollingUpdate"));
        json_put_obj(c->pool, strategy, STR("rollingUpdate"));
    }
    struct json *rolling = json_get(strategy, STR("rollingUpdate"));
    if (str_eqz(json_get_str(strategy, "type"), "RollingUpdate") && json_is(rolling, JSON_OBJ) && !json_get(rolling, STR("partition")))
        json_set_int(c->pool, rolling, STR("partition"), 0);
    json_for (json_get(spec, STR("volumeClaimTemplates")), t) { /* written as whole objects */
        json_set_str(c->pool, t, STR("kind"), STR("PersistentVolumeClaim"));
        json_set_str(c->pool, t, STR("apiVersion"), STR("v1"));
    }
}

static void validate(struct kind_ctx *c, const struct json *doc, const struct json *old, struct err **e)
{
    static const char *const mutable[] = {"replicas", "template", "updateStrategy", "minReadySeconds", "ordinals", "revisionHistoryLimit",
        "persistentVolumeClaimRetentionPolicy"};
    struct fpath at = FPATH(NULL, "spec"), sel = FPATH(&at, "selector"), tmpl = FPATH(&at, "template");
    const struct json *spec = json_get(doc, STR("spec")), *selector = json_get(spec, STR("selector"));
    if (str_eqz(c->sub, "status"))
        return;
    selector_validate(selector, &sel, e);
    if (json_is(selector, JSON_OBJ) && !selector->n)
        ferr_invalid(e, &sel, selector, "empty selector is invalid for statefulset");
    podtemplate_validate(c->pool, json_get(spec, STR("template")), selector, &tmpl, e);
    podtemplate_always(json_get(spec, STR("template")), &tmpl, e);
    if (!old)
        return;
    struct json *a = json_clone(c->pool, spec), *b = json_clone(c->pool, json_get(old, STR("spec")));
    for (size_t i = 0; a && b && i < ARRAY_LEN(mutable); i++) {
        json_del(a, str_of(mutable[i]));
        json_del(b, str_of(mutable[i]));
    }
    if (a && b && !json_equal(a, b))
        ferr_forbidden(e, &at,
            "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', "
            "'revisionHistoryLimit', "
            "'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden");
}

const struct kind_hooks kind_stateful_set = {KIND("apps", "StatefulSet"), .dflt = dflt, .validate = validate};
