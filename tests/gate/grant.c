/* What a site grants a hub. */
#include "gate/grant.h"
#include <stdlib.h>
#include "harness.h"

static bool passes(const char *grant, const char *method, const char *path, const char *query, const char *user)
{
    _cleanup_(pool_freep) struct pool *p = pool_new();
    struct http_header h[] = {{STR("impersonate-user"), str_of(user)}, {STR("impersonate-group"), STR("hub:system:authenticated")}};
    struct http_req rq = {.pool = p, .method = str_of(method), .path = str_of(path), .query = str_of(query), .headers = h, .nheaders = 2};
    struct json *doc = NULL;
    struct str why = STR_NULL;
    if (json_parse(p, str_of(grant), NULL, &doc, NULL) < 0)
        return false;
    struct grant *g = grant_parse(doc);
    bool ok = grant_permits(g, &rq, &why);
    if (ok == (why.n > 0)) /* a refusal says why, a permit says nothing */
        abort();
    grant_free(g);
    return ok;
}

#define LIMITED "{\"data\":{\"users\":\"hub:ann, hub:ops-*\",\"verbs\":\"get,list,watch,create\",\"namespaces\":\"shop, till-*\"}}"

TEST(without_bounds_everything_passes_but_writes_to_the_sites_own_namespace)
{
    OK(passes("{}", "DELETE", "/api/v1/nodes/a", "", "hub:x"));
    OK(passes("{\"data\":{}}", "POST", "/apis/apps/v1/namespaces/shop/deployments", "", "hub:x"));
    OK(passes("{}", "GET", GRANT_PATH, "", "hub:x"));
    OK(!passes("{}", "PUT", GRANT_PATH, "", "hub:x"));
    OK(!passes("{}", "DELETE", "/api/v1/namespaces/sampan-system/configmaps", "", "hub:x"));
    OK(!passes("{}", "DELETE", "/api/v1/namespaces/sampan-system", "", "hub:x"));
    OK(!passes("{}", "PATCH", "/api/v1/namespaces/sampan%2dsystem/configmaps/hub-grant", "", "hub:x"));
    OK(!passes("{}", "PATCH", "/api/v1/namespaces/x/../sampan-system/configmaps/hub-grant", "", "hub:x"));
    OK(!passes("{}", "PATCH", "/api/v1//namespaces/sampan-system/configmaps/hub-grant", "", "hub:x"));
    OK(!passes("{}", "GET", "/api/v1/namespaces/sampan-system/pods/p/exec", "command=sh", "hub:x"));
}

TEST(a_grant_bounds_users_verbs_and_namespaces)
{
    OK(passes(LIMITED, "GET", "/api/v1/namespaces/shop/pods", "", "hub:ann"));
    OK(passes(LIMITED, "GET", "/api/v1/namespaces/till-7/pods/x/log", "", "hub:ops-night"));
    OK(passes(LIMITED, "GET", "/api/v1/namespaces/shop", "", "hub:ann"));
    OK(passes(LIMITED, "GET", "/apis", "", "hub:ann"));
    OK(passes(LIMITED, "POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", "", "hub:ann"));
    OK(!passes(LIMITED, "GET", "/api/v1/namespaces/shop/pods", "", "hub:bob"));
    OK(!passes(LIMITED, "GET", "/api/v1/namespaces/kube-system/pods", "", "hub:ann"));
    OK(!passes(LIMITED, "GET", "/api/v1/pods", "", "hub:ann"));
    OK(!passes(LIMITED, "GET", "/api/v1/nodes", "watch=true", "hub:ann"));
    OK(!passes(LIMITED, "DELETE", "/api/v1/namespaces/shop/pods/x", "", "hub:ann"));
    OK(!passes(LIMITED, "PATCH", "/apis/apps/v1/namespaces/shop/deployments/x", "", "hub:ann"));
    OK(passes("{\"data\":{\"namespaces\":\"*\"}}", "GET", "/api/v1/nodes", "", "hub:ann"));
}

TEST(watch_and_list_are_told_apart_and_exec_is_no_reading)
{
    const char *reads = "{\"data\":{\"verbs\":\"get,watch\"}}";
    OK(passes(reads, "GET", "/api/v1/pods", "watch=1", "hub:a"));
    OK(!passes(reads, "GET", "/api/v1/pods", "", "hub:a"));
    OK(!passes(reads, "GET", "/api/v1/namespaces/n/pods/p/exec", "command=sh", "hub:a"));
    OK(!passes(reads, "GET", "/api/v1/namespaces/n/services/s/proxy/x", "", "hub:a"));
    OK(passes(reads, "GET", "/api/v1/namespaces/n/pods/p/log", "follow=true", "hub:a"));
}

TEST(a_grant_that_cannot_be_read_grants_nothing)
{
    OK(!passes("{\"data\":{\"verb\":\"get\"}}", "GET", "/version", "", "hub:a"));
    OK(!passes("{\"data\":{\"view\":\"no\"}}", "GET", "/version", "", "hub:a"));
    struct grant *g = grant_none();
    OK(grant_fault(g) != NULL);
    OK(!grant_view(g));
    grant_free(g);
}
