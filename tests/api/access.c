#include "fixture.h"

#define RBAC "/apis/rbac.authorization.k8s.io/v1"

static bool allowed(struct fixture *f, const char *user, const char *verb, const char *group, const char *res, const char *sub,
    const char *ns, const char *name)
{
    struct str body = pool_printf(f->pool,
        "{\"spec\":{\"user\":\"%s\",\"groups\":[\"%s\"],\"resourceAttributes\":{\"verb\":\"%s\",\"group\":\"%s\",\"resource\":\"%s\","
        "\"subresource\":\"%s\",\"namespace\":\"%s\",\"name\":\"%s\"}}}",
        user, strncmp(user, "system:node:", 12) == 0 ? "system:nodes" : "x", verb, group, res, sub, ns, name);
    const char *keep = f->user;
    f->user = NULL;
    struct json *o = want(f, 201, "POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", body.p);
    f->user = keep;
    return str_eqz(at(o, "status.allowed"), "true");
}

TEST(who_has_no_rule_is_refused_in_kubernetes_words)
{
    struct fixture *f = fixture_new();
    f->user = "bob";
    struct json *o = want(f, 403, "GET", "/api/v1/namespaces/default/pods", NULL);
    EQ_STR(at(o, "message"),
        STR("pods is forbidden: User \"bob\" cannot list resource \"pods\" in API group \"\" in the namespace \"default\""));
    EQ_STR(at(o, "reason"), STR("Forbidden"));
    EQ_STR(at(o, "details.kind"), STR("pods"));
    o = want(f, 403, "GET", "/apis/apps/v1/namespaces/default/deployments/x/scale", NULL);
    EQ_STR(at(o, "message"), STR("deployments.apps \"x\" is forbidden: User \"bob\" cannot get resource \"deployments/scale\" in API group "
                                 "\"apps\" in the namespace \"default\""));
    o = want(f, 403, "GET", "/api/v1/nodes", NULL);
    EQ_STR(at(o, "message"), STR("nodes is forbidden: User \"bob\" cannot list resource \"nodes\" in API group \"\" at the cluster scope"));
    o = want(f, 403, "GET", "/metrics", NULL);
    EQ_STR(at(o, "message"), STR("forbidden: User \"bob\" cannot get path \"/metrics\""));
    want(f, 200, "GET", "/version", NULL);
    fixture_free(f);
}

TEST(roles_and_bindings_take_effect_at_once)
{
    struct fixture *f = fixture_new();
    OK(!allowed(f, "bob", "get", "", "configmaps", "", "default", "a"));
    want(f, 201, "POST", RBAC "/namespaces/default/roles",
        "{\"metadata\":{\"name\":\"r\"},\"rules\":[{\"apiGroups\":[\"\"],\"resources\":[\"configmaps\"],\"resourceNames\":[\"a\"],"
        "\"verbs\":[\"get\"]}]}");
    want(f, 201, "POST", RBAC "/namespaces/default/rolebindings",
        "{\"metadata\":{\"name\":\"b\"},\"roleRef\":{\"apiGroup\":\"rbac.authorization.k8s.io\",\"kind\":\"Role\",\"name\":\"r\"},"
        "\"subjects\":[{\"kind\":\"User\",\"name\":\"bob\",\"apiGroup\":\"rbac.authorization.k8s.io\"}]}");
    OK(allowed(f, "bob", "get", "", "configmaps", "", "default", "a"));
    OK(!allowed(f, "bob", "get", "", "configmaps", "", "default", "b"));
    OK(!allowed(f, "bob", "get", "", "configmaps", "", "kube-system", "a"));
    OK(!allowed(f, "bob", "delete", "", "configmaps", "", "default", "a"));
    want(f, 200, "DELETE", RBAC "/namespaces/default/rolebindings/b", NULL);
    OK(!allowed(f, "bob", "get", "", "configmaps", "", "default", "a"));
    fixture_free(f);
}

TEST(nobody_grants_what_he_has_not)
{
    struct fixture *f = fixture_new();
    want(f, 201, "POST", RBAC "/namespaces/default/roles",
        "{\"metadata\":{\"name\":\"maker\"},\"rules\":[{\"apiGroups\":[\"rbac.authorization.k8s.io\"],\"resources\":[\"*\"],\"verbs\":["
        "\"create\"]},"
        "{\"apiGroups\":[\"\"],\"resources\":[\"pods\"],\"verbs\":[\"get\",\"list\"]}]}");
    want(f, 201, "POST", RBAC "/namespaces/default/rolebindings",
        "{\"metadata\":{\"name\":\"b\"},\"roleRef\":{\"apiGroup\":\"rbac.authorization.k8s.io\",\"kind\":\"Role\",\"name\":\"maker\"},"
        "\"subjects\":[{\"kind\":\"User\",\"name\":\"eve\",\"apiGroup\":\"rbac.authorization.k8s.io\"}]}");
    f->user = "eve";
    want(f, 201, "POST", RBAC "/namespaces/default/roles",
        "{\"metadata\":{\"name\":\"fine\"},\"rules\":[{\"apiGroups\":[\"\"],\"resources\":[\"pods\"],\"verbs\":[\"get\"]}]}");
    struct json *o = want(f, 403, "POST", RBAC "/namespaces/default/roles",
        "{\"metadata\":{\"name\":\"more\"},\"rules\":[{\"apiGroups\":[\"\"],\"resources\":[\"secrets\"],\"verbs\":[\"get\"]}]}");
    OK(str_find(at(o, "message"), STR("attempting to grant RBAC permissions not currently held")) >= 0);
    want(f, 403, "POST", RBAC "/namespaces/default/rolebindings",
        "{\"metadata\":{\"name\":\"c\"},\"roleRef\":{\"apiGroup\":\"rbac.authorization.k8s.io\",\"kind\":\"ClusterRole\",\"name\":"
        "\"cluster-admin\"},"
        "\"subjects\":[{\"kind\":\"User\",\"name\":\"eve\",\"apiGroup\":\"rbac.authorization.k8s.io\"}]}");
    want(f, 201, "POST", RBAC "/namespaces/default/rolebindings",
        "{\"metadata\":{\"name\":\"d\"},\"roleRef\":{\"apiGroup\":\"rbac.authorization.k8s.io\",\"kind\":\"Role\",\"name\":\"fine\"},"
        "\"subjects\":[{\"kind\":\"User\",\"name\":\"eve\",\"apiGroup\":\"rbac.authorization.k8s.io\"}]}");
    fixture_free(f);
}

TEST(a_node_reaches_its_own_things_and_what_its_pods_name)
{
    struct fixture *f = fixture_new();
    const char *n = "system:node:n1";
    want(f, 201, "POST", "/api/v1/namespaces/default/serviceaccounts", "{\"metadata\":{\"name\":\"default\"}}");
    want(f, 201, "POST", "/api/v1/namespaces/default/pods",
        "{\"metadata\":{\"name\":\"p\"},\"spec\":{\"nodeName\":\"n1\",\"containers\":[{\"name\":\"c\",\"image\":\"i\",\"envFrom\":[{"
        "\"secretRef\":{\"name\":\"s\"}}]}]}}");
    OK(allowed(f, n, "get", "", "secrets", "", "default", "s"));
    OK(!allowed(f, "system:node:n2", "get", "", "secrets", "", "default", "s"));
    OK(!allowed(f, n, "get", "", "secrets", "", "default", "other"));
    OK(!allowed(f, n, "list", "", "secrets", "", "default", ""));
    OK(allowed(f, n, "get", "", "configmaps", "", "default", "kube-root-ca.crt"));
    OK(allowed(f, n, "create", "", "serviceaccounts", "token", "default", "default"));
    OK(!allowed(f, n, "create", "", "serviceaccounts", "token", "kube-system", "default"));
    OK(allowed(f, n, "patch", "", "nodes", "status", "", "n1"));
    OK(!allowed(f, n, "patch", "", "nodes", "status", "", "n2"));
    OK(allowed(f, n, "update", "coordination.k8s.io", "leases", "", "kube-node-lease", "n1"));
    OK(!allowed(f, n, "update", "coordination.k8s.io", "leases", "", "kube-node-lease", "n2"));
    f->user = n;
    want(f, 403, "POST", "/api/v1/nodes", "{\"metadata\":{\"name\":\"n2\"}}");
    struct json *o = want(f, 201, "POST", "/api/v1/nodes", "{\"metadata\":{\"name\":\"n1\"}}");
    OK(str_starts(at(o, "spec.podCIDR"), STR("10.42.")));
    fixture_free(f);
}

TEST(a_service_account_token_is_its_bearer_until_its_object_goes)
{
    struct fixture *f = fixture_new();
    struct json *o, *spec;
    want(f, 201, "POST", "/api/v1/namespaces/default/serviceaccounts", "{\"metadata\":{\"name\":\"sa\"}}");
    o = want(f, 201, "POST", "/api/v1/namespaces/default/serviceaccounts/sa/token", "{\"spec\":{\"expirationSeconds\":600}}");
    struct str token = at(o, "status.token");
    OK(token.n > 100);
    struct str body = pool_printf(f->pool, "{\"spec\":{\"token\":\"%.*s\"}}", STR_ARG(token));
    spec = want(f, 201, "POST", "/apis/authentication.k8s.io/v1/tokenreviews", body.p);
    EQ_STR(at(spec, "status.authenticated"), STR("true"));
    EQ_STR(at(spec, "status.user.username"), STR("system:serviceaccount:default:sa"));
    struct str other = pool_printf(f->pool, "{\"spec\":{\"token\":\"%.*s\",\"audiences\":[\"elsewhere\"]}}", STR_ARG(token));
    EQ_STR(at(want(f, 201, "POST", "/apis/authentication.k8s.io/v1/tokenreviews", other.p), "status.authenticated"), STR("false"));
    struct str forged = pool_printf(f->pool, "{\"spec\":{\"token\":\"%.*sA\"}}", STR_ARG(str_sub(token, 0, token.n - 1)));
    if (token.p[token.n - 1] != 'A')
        EQ_STR(at(want(f, 201, "POST", "/apis/authentication.k8s.io/v1/tokenreviews", forged.p), "status.authenticated"), STR("false"));
    want(f, 422, "POST", "/api/v1/namespaces/default/serviceaccounts/sa/token", "{\"spec\":{\"expirationSeconds\":5}}");
    want(f, 404, "POST", "/api/v1/namespaces/default/serviceaccounts/none/token", "{\"spec\":{}}");
    want(f, 200, "DELETE", "/api/v1/namespaces/default/serviceaccounts/sa", NULL);
    EQ_STR(at(want(f, 201, "POST", "/apis/authentication.k8s.io/v1/tokenreviews", body.p), "status.authenticated"), STR("false"));
    fixture_free(f);
}

TEST(a_review_has_no_table_form)
{
    struct fixture *f = fixture_new();
    const char *body = "{\"spec\":{\"nonResourceAttributes\":{\"path\":\"/\",\"verb\":\"get\"}}}";
    f->accept = "application/json;as=Table;v=v1;g=meta.k8s.io";
    want(f, 406, "POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", body);
    f->accept = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";
    EQ_STR(at(want(f, 201, "POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", body), "status.allowed"), STR("true"));
    fixture_free(f);
}
