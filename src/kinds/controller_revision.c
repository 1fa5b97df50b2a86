#include "kinds/cell.h"
#include "kinds/rows.h"

static void cells(struct kind_ctx *c, const struct json *doc, struct json *row)
{
    struct str who = STR_NULL;
    json_for (json_path(doc, "metadata", "ownerReferences", NULL), o) {
        struct str api = json_get_str(o, "apiVersion"), group = STR(""), version;
        if (!json_get_bool(o, "controller", false))
            continue;
        str_cut(api, '/', &group, &version);
        who = pool_printf(c->pool, "%.*s%s%.*s/%.*s", STR_ARG(json_get_str(o, "kind")), group.n ? "." : "", STR_ARG(group),
            STR_ARG(json_get_str(o, "name")));
        ssize_t slash = str_chr(who, '/');
        char *p = (char *)who.p; /* just made */
        for (ssize_t i = 0; i < slash; i++)
            if (p[i] >= 'A' && p[i] <= 'Z')
                p[i] = (char)(p[i] + 32);
    }
    cell_add_str(c, row, json_str_at(doc, "metadata", "name", NULL));
    cell_add_or(c, row, who, "<none>");
    cell_add_int(c, row, json_get_int(doc, "revision", 0));
    cell_add_age(c, row, json_str_at(doc, "metadata", "creationTimestamp", NULL));
}

const struct kind_hooks kind_controller_revision = {KIND("apps", "ControllerRevision"), .cells = cells};
