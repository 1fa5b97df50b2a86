#include "api/impl.h"
#include "kinds/local_path.h"

/* What a node may do (Kubernetes' node authorizer): its own things, and what its pods refer to. Everything else it is refused or RBAC
 * decides. */

struct str node_of_user(const struct api_user *u)
{
    struct str prefix = STR("system:node:");
    return user_in(u, GROUP_NODES) && str_starts(u->name, prefix) && u->name.n > prefix.n ? str_sub(u->name, prefix.n, u->name.n)
                                                                                          : STR_NULL;
}

enum { R = V_GET | V_LIST | V_WATCH, W = V_CREATE | V_UPDATE | V_PATCH };
enum check { CHECK_NONE, CHECK_OWN_NAME, CHECK_OWN_LEASE, CHECK_REFERENCED, CHECK_OWN_POD, CHECK_OWN_POD_SA, CHECK_OWN_FOLDER };
static const struct {
    const char *group, *res, *sub;
    uint32_t verbs;
    enum check check;
} rows[] = {
    {"", "services", "", R, CHECK_NONE},
    {"discovery.k8s.io", "endpointslices", "", R, CHECK_NONE},
    {"", "nodes", "", V_CREATE | R, CHECK_NONE},
    {"", "nodes", "", V_UPDATE | V_PATCH, CHECK_OWN_NAME},
    {"", "nodes", "status", V_UPDATE | V_PATCH, CHECK_OWN_NAME},
    {"", "events", "", W, CHECK_NONE},
    {"events.k8s.io", "events", "", W, CHECK_NONE},
    {"", "pods", "", V_LIST | V_WATCH, CHECK_NONE},
    {"", "pods", "", V_GET | V_DELETE, CHECK_OWN_POD},
    {"", "pods", "", V_CREATE, CHECK_NONE}, /* mirror pods; NodeRestriction looks at them */
    {"", "pods", "status", V_UPDATE | V_PATCH, CHECK_OWN_POD},
    {"", "pods", "eviction", V_CREATE, CHECK_OWN_POD},
    {"", "secrets", "", R, CHECK_REFERENCED},
    {"", "configmaps", "", R, CHECK_REFERENCED},
    {"", "persistentvolumeclaims", "", V_GET, CHECK_NONE},
    {"", "persistentvolumes", "", V_GET, CHECK_NONE},
    {"", "persistentvolumes", "", V_DELETE, CHECK_OWN_FOLDER},
    {"", "persistentvolumeclaims", "status", V_GET | V_UPDATE | V_PATCH, CHECK_NONE},
    {"", "serviceaccounts", "token", V_CREATE, CHECK_OWN_POD_SA},
    {"storage.k8s.io", "csidrivers", "", R, CHECK_NONE},
    {"storage.k8s.io", "volumeattachments", "", V_GET, CHECK_NONE},
    {"storage.k8s.io", "csinodes", "", W | V_GET | V_DELETE, CHECK_OWN_NAME},
    {"node.k8s.io", "runtimeclasses", "", R, CHECK_NONE},
    {"coordination.k8s.io", "leases", "", W | V_GET | V_DELETE, CHECK_OWN_LEASE},
    {"certificates.k8s.io", "certificatesigningrequests", "", V_CREATE | R, CHECK_NONE},
    {"authentication.k8s.io", "tokenreviews", "", V_CREATE, CHECK_NONE},
    {"authorization.k8s.io", "subjectaccessreviews", "", V_CREATE, CHECK_NONE},
    {"authorization.k8s.io", "localsubjectaccessreviews", "", V_CREATE, CHECK_NONE},
};

static uint32_t verb_bit(struct str verb)
{
    static const struct {
        const char *name;
        uint32_t bit;
    } bits[] = {{"get", V_GET}, {"list", V_LIST}, {"watch", V_WATCH}, {"create", V_CREATE}, {"update", V_UPDATE}, {"patch", V_PATCH},
        {"delete", V_DELETE}};
    for (size_t i = 0; i < ARRAY_LEN(bits); i++)
        if (str_eqz(verb, bits[i].name))
            return bits[i].bit;
    return 0;
}

static bool on_node(const struct obj *pod, struct str node)
{
    for (uint32_t i = 0; i < pod->nkeys; i++)
        if (str_eqz(pod->keys[i].index, "node"))
            return str_eq(pod->keys[i].key, node);
    return false;
}

struct search {
    struct str node;
    bool found;
};
static bool search_pod(void *arg, const struct obj *o)
{
    struct search *s = arg;
    s->found = on_node(o, s->node);
    return !s->found;
}

static bool referenced(struct api *a, struct str node, const char *index, struct str key)
{
    struct search s = {node, false};
    _cleanup_(store_view_unrefp) struct store_view *v = store_view(a->store);
    view_index(v, a->res.pods, str_of(index), key, search_pod, &s);
    return s.found;
}

static bool own_pod(struct api *a, struct str node, const struct api_attrs *at)
{
    _cleanup_(store_view_unrefp) struct store_view *v = store_view(a->store);
    const struct obj *o = view_get(v, a->res.pods, at->ns, at->name);
    return !o || on_node(o, node); /* of one that is not there only that is told */
}

/* A volume of the class local-path, Released, whose folder this node removed. */
static bool own_folder(struct api *a, struct str node, const struct api_attrs *at)
{
    _cleanup_(store_view_unrefp) struct store_view *v = store_view(a->store);
    _cleanup_(pool_freep) struct pool *p = pool_new();
    const struct obj *o = str_empty(at->name) ? NULL : view_get(v, a->res.pvs, STR(""), at->name);
    struct json *doc;
    if (!o || obj_parse(o, p, &doc, NULL) < 0)
        return false;
    const struct json *ann = json_path(doc, "metadata", "annotations", NULL);
    return json_get(ann, STR(LOCAL_PATH_MANAGED)) && str_eq(json_get_str(ann, LOCAL_PATH_NODE), node) &&
           str_eqz(json_str_at(doc, "status", "phase", NULL), "Released") &&
           str_eqz(json_str_at(doc, "spec", "persistentVolumeReclaimPolicy", NULL), "Delete");
}

static bool check(struct api *a, struct str node, const struct api_attrs *at, enum check how)
{
    char key[600];
    switch (how) {
    case CHECK_NONE:
        return true;
    case CHECK_OWN_NAME:
        return str_eq(at->name, node) || (str_empty(at->name) && str_eqz(at->verb, "create"));
    case CHECK_OWN_LEASE:
        return str_eqz(at->ns, "kube-node-lease") && (str_eq(at->name, node) || str_eqz(at->verb, "create"));
    case CHECK_OWN_POD:
        return own_pod(a, node, at);
    case CHECK_REFERENCED: {
        int n = snprintf(
            key, sizeof key, "%s/%.*s/%.*s", str_eqz(at->resource, "secrets") ? "Secret" : "ConfigMap", STR_ARG(at->ns), STR_ARG(at->name));
        return !str_empty(at->name) && n > 0 && (size_t)n < sizeof key && referenced(a, node, "ref", (struct str){key, (size_t)n});
    }
    case CHECK_OWN_FOLDER:
        return own_folder(a, node, at);
    case CHECK_OWN_POD_SA: {
        int n = snprintf(key, sizeof key, "%.*s/%.*s", STR_ARG(at->ns), STR_ARG(at->name));
        return n > 0 && (size_t)n < sizeof key && referenced(a, node, "sa", (struct str){key, (size_t)n});
    }
    }
    return false;
}

enum decision node_authorize(struct api *a, const struct api_user *u, const struct api_attrs *at, struct buf *why)
{
    struct str node = node_of_user(u);
    uint32_t bit = verb_bit(at->verb);
    bool named = false;
    if (str_empty(node) || str_empty(at->resource))
        return DECISION_NONE;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        if (!str_eqz(at->group, rows[i].group) || !str_eqz(at->resource, rows[i].res) || !str_eqz(at->subresource, rows[i].sub) ||
            !(rows[i].verbs & bit))
            continue;
        if (check(a, node, at, rows[i].check))
            return DECISION_ALLOW;
        named = true;
    }
    if (named && why)
        buf_printf(why, "no relationship found between node '%.*s' and this object", STR_ARG(node));
    return DECISION_NONE;
}
