#include "kinds/rows.h"
#include "schema/selector.h"

static void dflt(struct kind_ctx *c, struct json *doc)
{
    struct str name = json_str_at(doc, "metadata", "name", NULL);
    if (name.n)
        json_set_str(c->pool, json_put_obj(c->pool, json_put_obj(c->pool, doc, STR("metadata")), STR("labels")),
            STR("kubernetes.io/metadata.name"), name);
}

/* spec.finalizers holds the namespace until its contents are gone; only the finalize subresource takes it away. */
static void prepare(struct kind_ctx *c, struct json *doc, const struct json *old)
{
    struct json *spec = json_put_obj(c->pool, doc, STR("spec"));
    if (!old) {
        struct json *list = json_put_arr(c->pool, spec, STR("finalizers"));
        bool has = false;
        json_for (list, f)
            has |= str_eqz(json_as_str(f), "kubernetes");
        if (!has)
            json_append(list, json_str(c->pool, STR("kubernetes")));
        json_set_str(c->pool, json_put_obj(c->pool, doc, STR("status")), STR("phase"), STR("Active"));
        dflt(c, doc); /* a generated name is known by now */
    } else if (!str_eqz(c->sub, "finalize")) {
        const struct json *was = json_path(old, "spec", "finalizers", NULL);
        if (was)
            json_set(c->pool, spec, STR("finalizers"), json_clone(c->pool, was));
        else
            json_del(spec, STR("finalizers"));
    }
}

const struct kind_hooks kind_namespace = {KIND("", "Namespace"), .dflt = dflt, .prepare = prepare, .name = name_dns1123_label};
