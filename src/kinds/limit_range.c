#include "kinds/rows.h"

static void fill(struct pool *p, struct json *into, const struct json *from)
{
    json_for (from, m)
        if (!json_get(into, json_key(m)))
            json_set(p, into, json_key(m), json_clone(p, m));
}

/* For containers: default limits come from the maxima, default requests from the default limits, then from the minima. */
static void dflt(struct kind_ctx *c, struct json *doc)
{
    json_for (json_path(doc, "spec", "limits", NULL), item) {
        if (!str_eqz(json_get_str(item, "type"), "Container"))
            continue;
        struct json *limit = json_put_obj(c->pool, item, STR("default")), *request = json_put_obj(c->pool, item, STR("defaultRequest"));
        fill(c->pool, limit, json_get(item, STR("max")));
        fill(c->pool, request, limit);
        fill(c->pool, request, json_get(item, STR("min")));
    }
}

const struct kind_hooks kind_limit_range = {KIND("", "LimitRange"), .dflt = dflt};
