/* RoleTemplates inherit from others by name. What one amounts to: its own rules and those of all that it inherits, each taken once, so that a ring of names is no danger; and the
 * names of the ClusterRoles that external ones stand for. */
#include "hub/impl.h"

#define TEMPLATES_MAX 64

struct flatten {
    struct hub *hub;
    struct pool *p;
    struct json *rules, *externals;
    struct str seen[TEMPLATES_MAX];
    size_t n;
};

static bool take(struct flatten *f, struct str name)
{
    for (size_t i = 0; i < f->n; i++)
        if (str_eq(f->seen[i], name))
            return true;
    if (f->n == TEMPLATES_MAX)
        return true; /* further ones give nothing */
    f->seen[f->n++] = name;
    struct json *doc = hub_get(f->hub, f->p, "roletemplates", STR_NULL, name);
    if (!doc)
        return false;
    if (json_get_bool(doc, "external", false))
        json_append(f->externals, json_str(f->p, name));
    json_for (json_get(doc, STR("rules")), r)
        json_append(f->rules, json_clone(f->p, r));
    json_for (json_get(doc, STR("roleTemplateNames")), t)
        (void)take(f, json_as_str(t));
    return true;
}

bool template_flatten(struct hub *h, struct pool *p, struct str name, struct json *rules, struct json *externals)
{
    struct flatten f = {.hub = h, .p = p, .rules = rules, .externals = externals};
    return take(&f, name);
}

bool template_includes(struct hub *h, struct pool *p, struct str name, struct str wanted)
{
    struct flatten f = {.hub = h, .p = p, .rules = json_arr(p), .externals = json_arr(p)};
    (void)take(&f, name);
    for (size_t i = 0; i < f.n; i++)
        if (str_eq(f.seen[i], wanted))
            return true;
    return false;
}
