#include "kinds/podspec.h"
#include "kinds/rows.h"

static void dflt(struct kind_ctx *c, struct json *doc)
{
    struct json *labels = json_path(doc, "spec", "template", "metadata", "labels", NULL),
                *meta = json_put_obj(c->pool, doc, STR("metadata"));
    podspec_default(c->pool, json_path(doc, "spec", "template", "spec", NULL));
    if (json_count(labels) && !json_count(json_get(meta, STR("labels"))) && !json_count(json_path(doc, "spec", "selector", NULL)))
        json_set(c->pool, meta, STR("labels"), json_clone(c->pool, labels));
}

static void validate(struct kind_ctx *c, const struct json *doc, const struct json *old, struct err **e)
{
    struct fpath at = FPATH(NULL, "spec"), sel = FPATH(&at, "selector"), tmpl = FPATH(&at, "template");
    const struct json *spec = json_get(doc, STR("spec")), *selector = json_get(spec, STR("selector"));
    (void)old;
    if (str_eqz(c->sub, "status"))
        return;
    selector_validate(selector, &sel, e);
    if (json_is(selector, JSON_OBJ) && !selector->n)
        ferr_invalid(e, &sel, selector, "empty selector is invalid for deployment");
    podtemplate_validate(c->pool, json_get(spec, STR("template")), selector, &tmpl, e);
    podtemplate_always(json_get(spec, STR("template")), &tmpl, e);
}

const struct kind_hooks kind_replica_set = {KIND("apps", "ReplicaSet"), .dflt = dflt, .validate = validate};
