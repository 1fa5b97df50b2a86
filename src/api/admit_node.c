#include "api/admit.h"

/* Nodes: a new one gets its piece of the pod network, and a node's credentials reach only as far as the node (NodeRestriction). */

int admit_node(struct call *c, struct err **e)
{
    struct json *spec = json_put_obj(c->pool, c->w.doc, STR("spec"));
    if (!str_empty(c->ri.sub) || !str_empty(json_get_str(spec, "podCIDR")))
        return 0;
    return addresses_node(c, spec, e);
}

static bool labels_restricted(const struct json *meta, const struct json *old, struct str *which)
{
    const struct json *a = json_get(meta, STR("labels")), *b = json_get(old, STR("labels"));
    json_for (a, it) {
        const struct json *was = json_get(b, json_key(it));
        if (was && json_equal(was, it))
            continue;
        if (str_find(json_key(it), STR("node-restriction.kubernetes.io/")) >= 0) {
            *which = json_key(it);
            return true;
        }
    }
    return false;
}

static int node_object(struct call *c, struct str node, struct err **e)
{
    struct str which = STR_NULL;
    struct str name = str_empty(c->ri.name) ? json_str_at(c->w.doc, "metadata", "name", NULL) : c->ri.name;
    if (!str_eq(name, node))
        return admit_forbid(c, e, "node \"%.*s\" is not allowed to modify node \"%.*s\"", STR_ARG(node), STR_ARG(name));
    if (c->w.op == WRITE_DELETE)
        return admit_forbid(c, e, "node \"%.*s\" is not allowed to delete itself", STR_ARG(node));
    if (labels_restricted(json_get(c->w.doc, STR("metadata")), json_get(c->w.old, STR("metadata")), &which))
        return admit_forbid(c, e, "is not allowed to modify label %.*s", STR_ARG(which));
    if (c->w.op == WRITE_UPDATE && str_empty(c->ri.sub)) {
        const struct json *a = json_path(c->w.doc, "spec", "taints", NULL), *b = json_path(c->w.old, "spec", "taints", NULL);
        if (!(json_count(a) == 0 && json_count(b) == 0) && !(a && b && json_equal(a, b)))
            return admit_forbid(c, e, "node \"%.*s\" is not allowed to modify taints", STR_ARG(node));
    }
    return 0;
}

/* A node reports all conditions that it knew when it wrote. Those that are not its own (readiness gates and what controllers note) are as
 * they stand here, whatever the report says of them: it may have been long on its way. */
static void keep_foreign_conditions(struct call *c)
{
    static const char *const own[] = {"PodScheduled", "Initialized", "Ready", "ContainersReady", "PodReadyToStartContainers",
        "PodResizePending", "PodResizeInProgress", "DisruptionTarget"};
    struct json *list = json_put_arr(c->pool, json_put_obj(c->pool, c->w.doc, STR("status")), STR("conditions"));
    bool shared = false;
    json_for (list, it) {
        size_t i = 0;
        while (i < ARRAY_LEN(own) && !str_eqz(json_get_str(it, "type"), own[i]))
            i++;
        if (i == ARRAY_LEN(own))
            json_remove(list, it);
        shared |= str_eqz(json_get_str(it, "type"), "DisruptionTarget");
    }
    json_for (json_path(c->w.old, "status", "conditions", NULL), it) {
        size_t i = 0;
        while (i < ARRAY_LEN(own) && !str_eqz(json_get_str(it, "type"), own[i]))
            i++;
        if (i == ARRAY_LEN(own) || (!shared && str_eqz(json_get_str(it, "type"), "DisruptionTarget")))
            json_append(list, json_clone(c->pool, it));
    }
}

static int pod_object(struct call *c, struct str node, struct err **e)
{
    const struct json *doc = c->w.doc ? c->w.doc : c->w.old;
    if (c->w.op == WRITE_CREATE) {
        const struct json *spec = json_get(doc, STR("spec"));
        if (!json_get(json_path(doc, "metadata", "annotations", NULL), STR("kubernetes.io/config.mirror")))
            return admit_forbid(c, e,
                "pod does not have \"kubernetes.io/config.mirror\" annotation, node \"%.*s\" can only create mirror pods", STR_ARG(node));
        if (!str_eq(json_get_str(spec, "nodeName"), node))
            return admit_forbid(c, e, "node \"%.*s\" can only create pods with spec.nodeName set to itself", STR_ARG(node));
        return 0;
    }
    if (c->w.op == WRITE_UPDATE && !str_eqz(c->ri.sub, "status"))
        return admit_forbid(c, e, "node \"%.*s\" may only update pod status", STR_ARG(node));
    const struct json *old = c->w.old ? c->w.old : doc;
    if (!str_eq(json_str_at(old, "spec", "nodeName", NULL), node))
        return admit_forbid(c, e, "node \"%.*s\" can only %s pods with spec.nodeName set to itself", STR_ARG(node),
            c->w.op == WRITE_DELETE ? "delete" : "update status for");
    if (c->w.op == WRITE_UPDATE)
        keep_foreign_conditions(c);
    return 0;
}

int admit_node_restriction(struct call *c, struct err **e)
{
    struct str node = node_of_user(c->user);
    if (str_empty(node))
        return 0;
    if (str_eqz(c->ri.res, "nodes"))
        return node_object(c, node, e);
    if (str_eqz(c->ri.res, "pods"))
        return pod_object(c, node, e);
    if (str_eqz(c->ri.res, "leases")) {
        struct str name = str_empty(c->ri.name) ? json_str_at(c->w.doc, "metadata", "name", NULL) : c->ri.name;
        if (!str_eqz(c->ri.ns, "kube-node-lease") || !str_eq(name, node))
            return admit_forbid(c, e, "can only access node lease with the same name as the requesting node");
    }
    return 0;
}
