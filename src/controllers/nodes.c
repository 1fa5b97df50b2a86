/* Would a node take a pod with this spec, taints and selectors considered? For those who place pods by themselves (DaemonSets). */
#include "controllers/ctl.h"

bool taints_tolerated(const struct json *node, const struct json *tolerations, const char *effect)
{
    json_for (json_path(node, "spec", "taints", NULL), taint)
        if (str_eqz(json_get_str(taint, "effect"), effect) && !taint_tolerated(tolerations, taint))
            return false;
    return true;
}

static struct str label_of(const void *node, struct str key)
{
    return obj_label(node, key);
}

struct node_traits traits_of(const struct obj *node)
{
    return (struct node_traits){node, node->name, label_of};
}

bool node_selected(const struct obj *node, const struct json *pod_spec)
{
    return node_wanted(pod_spec, &(struct node_traits){node, node->name, label_of});
}
