#include "kinds/podspec.h"
#include "kinds/rows.h"
#include "schema/selector.h"

static void dflt(struct kind_ctx *c, struct json *doc)
{
    struct json *spec = json_put_obj(c->pool, doc, STR("spec")), *labels = json_path(spec, "template", "metadata", "labels", NULL);
    podspec_default(c->pool, json_path(spec, "template", "spec", NULL));
    if (!json_count(labels))
        return;
    if (!json_count(json_get(spec, STR("selector"))))
        json_set(c->pool, spec, STR("selector"), json_clone(c->pool, labels));
    struct json *meta = json_put_obj(c->pool, doc, STR("metadata"));
    if (!json_count(json_get(meta, STR("labels"))))
        json_set(c->pool, meta, STR("labels"), json_clone(c->pool, labels));
}

static void validate(struct kind_ctx *c, const struct json *doc, const struct json *old, struct err **e)
{
    struct fpath spec = FPATH(NULL, "spec"), at = FPATH(&spec, "template"), sel = FPATH(&spec, "selector"), meta = FPATH(&at, "metadata"),
                 labels = FPATH(&meta, "labels");
    const struct json *tmpl = json_path(doc, "spec", "template", NULL), *selector = json_path(doc, "spec", "selector", NULL);
    struct selector s;
    (void)old;
    if (!json_count(selector))
        ferr_required(e, &sel, "");
    if (!tmpl) {
        ferr_required(e, &at, "");
        return;
    }
    selector_from_map(c->pool, selector, true, &s);
    if (s.n && !selector_match_json(&s, json_path(tmpl, "metadata", "labels", NULL)))
        ferr_invalid(e, &labels, json_path(tmpl, "metadata", "labels", NULL), "`selector` does not match template `labels`");
    podtemplate_validate(c->pool, tmpl, NULL, &at, e);
    podtemplate_always(tmpl, &at, e);
}

const struct kind_hooks kind_replication_controller = {KIND("", "ReplicationController"), .dflt = dflt, .validate = validate};
