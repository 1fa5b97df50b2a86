#include "kinds/podspec.h"
#include "kinds/rows.h"

static void dflt(struct kind_ctx *c, struct json *doc)
{
    podspec_default(c->pool, json_path(doc, "template", "spec", NULL));
}

static void validate(struct kind_ctx *c, const struct json *doc, const struct json *old, struct err **e)
{
    struct fpath at = FPATH(NULL, "template");
    (void)old;
    podtemplate_validate(c->pool, json_get(doc, STR("template")), NULL, &at, e);
}

const struct kind_hooks kind_pod_template = {KIND("", "PodTemplate"), .dflt = dflt, .validate = validate};
