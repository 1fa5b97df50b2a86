#include "api/impl.h"

/* First row that fits. NULL stands for any group, resource or (only where it is said) subresource; "" is the resource itself. */
static const struct handler handlers[] = {
    /* group, resource, sub, verb, body, document, fn */
    {"", "pods", "binding", VERB_CREATE, true, true, sub_binding},
    {"", "bindings", "", VERB_CREATE, true, true, sub_bindings},
    {"", "pods", "eviction", VERB_CREATE, true, true, sub_eviction},
    {"", "pods", "log", VERB_GET, false, false, node_log},
    {"", "pods", "exec", VERB_NONE, false, false, node_upgrade},
    {"", "pods", "attach", VERB_NONE, false, false, node_upgrade},
    {"", "pods", "portforward", VERB_NONE, false, false, node_upgrade},
    {"", "pods", "proxy", VERB_NONE, false, false, pod_proxy},
    {"", "services", "proxy", VERB_NONE, false, false, service_proxy},
    {"", "nodes", "proxy", VERB_NONE, false, false, node_proxy},
    {"", "serviceaccounts", "token", VERB_CREATE, true, true, sub_token},
    {"", "namespaces", "finalize", VERB_UPDATE, true, true, sub_finalize},
    {"", "componentstatuses", "", VERB_GET, false, false, component_get},
    {"", "componentstatuses", "", VERB_LIST, false, false, component_list},
    {"metrics.k8s.io", NULL, "", VERB_GET, false, false, metrics_get},
    {"metrics.k8s.io", NULL, "", VERB_LIST, false, false, metrics_list},
    {"authorization.k8s.io", "subjectaccessreviews", "", VERB_CREATE, true, true, review_access},
    {"authorization.k8s.io", "localsubjectaccessreviews", "", VERB_CREATE, true, true, review_local_access},
    {"authorization.k8s.io", "selfsubjectaccessreviews", "", VERB_CREATE, true, true, review_self_access},
    {"authorization.k8s.io", "selfsubjectrulesreviews", "", VERB_CREATE, true, true, review_self_rules},
    {"authentication.k8s.io", "tokenreviews", "", VERB_CREATE, true, true, review_token},
    {"authentication.k8s.io", "selfsubjectreviews", "", VERB_CREATE, true, true, review_self},
    {NULL, NULL, "scale", VERB_GET, false, false, sub_scale_get},
    {NULL, NULL, "scale", VERB_UPDATE, true, true, sub_scale_update},
    {NULL, NULL, "scale", VERB_PATCH, true, false, sub_scale_patch},
    {NULL, NULL, NULL, VERB_GET, false, false, verb_get},
    {NULL, NULL, NULL, VERB_UPDATE, true, true, verb_update},
    {NULL, NULL, NULL, VERB_PATCH, true, false, verb_patch},
    {NULL, NULL, "", VERB_LIST, false, false, verb_list},
    {NULL, NULL, "", VERB_WATCH, false, false, verb_watch},
    {NULL, NULL, "", VERB_CREATE, true, true, verb_create},
    {NULL, NULL, "", VERB_DELETE, true, false, verb_delete},
    {NULL, NULL, "", VERB_DELETECOLLECTION, true, false, verb_delete_collection},
};

const struct handler *handler_find(const struct request_info *ri, const struct schema_resource *res)
{
    bool connect = false;
    const struct schema_subresource *sub = str_empty(ri->sub) ? NULL : schema_sub(res, ri->sub);
    if (sub && !sub->type)
        connect = true;
    for (size_t i = 0; i < ARRAY_LEN(handlers); i++) {
        const struct handler *h = &handlers[i];
        if (h->group && !str_eqz(ri->group, h->group))
            continue;
        if (h->res && !str_eqz(ri->res, h->res))
            continue;
        if (h->sub ? !str_eqz(ri->sub, h->sub) : connect)
            continue;
        if (h->verb != VERB_NONE && h->verb != ri->verb)
            continue;
        if (res->virtual_only && !h->res && !h->group)
            continue;
        return h;
    }
    return NULL;
}
