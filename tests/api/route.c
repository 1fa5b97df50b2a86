#include "api/call.h"
#include "harness.h"

static struct request_info parse(struct pool *p, const char *method, const char *path, const char *query)
{
    struct http_req rq = {.pool = p, .method = str_of(method), .path = str_of(path), .query = str_of(query)};
    struct request_info ri;
    route_parse(p, &rq, &ri);
    return ri;
}

TEST(a_path_is_taken_apart_as_request_info_does)
{
    static const struct {
        const char *method, *path, *query, *verb, *group, *version, *res, *sub, *ns, *name, *rest;
    } rows[] = {
        {"GET", "/api/v1/namespaces", "", "list", "", "v1", "namespaces", "", "", "", ""},
        {"GET", "/api/v1/namespaces/a", "", "get", "", "v1", "namespaces", "", "a", "a", ""},
        {"PUT", "/api/v1/namespaces/a/finalize", "", "update", "", "v1", "namespaces", "finalize", "a", "a", ""},
        {"PUT", "/api/v1/namespaces/a/status", "", "update", "", "v1", "namespaces", "status", "a", "a", ""},
        {"GET", "/api/v1/namespaces/a/pods", "", "list", "", "v1", "pods", "", "a", "", ""},
        {"GET", "/api/v1/namespaces/a/pods", "watch=true", "watch", "", "v1", "pods", "", "a", "", ""},
        {"GET", "/api/v1/namespaces/a/pods", "watch=0", "list", "", "v1", "pods", "", "a", "", ""},
        {"GET", "/api/v1/watch/namespaces/a/pods", "", "watch", "", "v1", "pods", "", "a", "", ""},
        {"GET", "/api/v1/pods", "fieldSelector=metadata.name%3Dx", "list", "", "v1", "pods", "", "", "x", ""},
        {"POST", "/apis/apps/v1/namespaces/a/deployments", "", "create", "apps", "v1", "deployments", "", "a", "", ""},
        {"PATCH", "/apis/apps/v1/namespaces/a/deployments/d/scale", "", "patch", "apps", "v1", "deployments", "scale", "a", "d", ""},
        {"DELETE", "/apis/apps/v1/namespaces/a/deployments", "", "deletecollection", "apps", "v1", "deployments", "", "a", "", ""},
        {"DELETE", "/apis/apps/v1/namespaces/a/deployments/d", "", "delete", "apps", "v1", "deployments", "", "a", "d", ""},
        {"GET", "/api/v1/namespaces/a/services/s:http/proxy/x/y", "", "get", "", "v1", "services", "proxy", "a", "s:http", "x/y"},
        {"GET", "/api/v1/nodes/n/proxy/stats/summary", "", "get", "", "v1", "nodes", "proxy", "", "n", "stats/summary"},
        {"GET", "/api/v1/namespaces/a/pods/p%2Fq", "", "get", "", "v1", "pods", "", "a", "p/q", ""},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct pool *p = pool_new();
        struct request_info ri = parse(p, rows[i].method, rows[i].path, rows[i].query);
        OK(ri.resource);
        EQ_Z(verb_name(ri.verb), rows[i].verb);
        EQ_STR(ri.group, str_of(rows[i].group));
        EQ_STR(ri.version, str_of(rows[i].version));
        EQ_STR(ri.res, str_of(rows[i].res));
        EQ_STR(ri.sub, str_of(rows[i].sub));
        EQ_STR(ri.ns, str_of(rows[i].ns));
        EQ_STR(ri.name, str_of(rows[i].name));
        EQ_STR(ri.rest, str_of(rows[i].rest));
        pool_free(p);
    }
}

TEST(paths_that_are_no_resources_stay_paths)
{
    static const char *const paths[] = {
        "/", "/api", "/apis", "/api/v1", "/apis/apps", "/apis/apps/v1", "/healthz", "/metrics", "/apix/v1/pods", ""};
    for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
        struct pool *p = pool_new();
        struct request_info ri = parse(p, "GET", paths[i], "");
        OK(!ri.resource);
        EQ_STR(ri.path, str_of(paths[i]));
        EQ_Z(ri.http_verb.p, "get");
        pool_free(p);
    }
}
