/* A site's grant and a hub's request: whatever the path looks like, a write to the site's own namespace does not pass, and a grant of reading lets nothing but reading through. */
#include <stdlib.h>
#include "base/base.h"
#include "gate/grant.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool own_namespace(struct str path)
{
    struct str rest = str_sub(path, 1, path.n), word = STR_NULL;
    bool core = str_starts(path, STR("/api/"));
    for (int i = 0; i < (core ? 2 : 3); i++)
        if (!str_split(&rest, '/', &word))
            return false;
    return (core || str_starts(path, STR("/apis/"))) && (str_eqz(rest, "namespaces/" GRANT_NAMESPACE) || str_starts(rest, STR("namespaces/" GRANT_NAMESPACE "/")));
}

/* method, path and query, one a line; what is left is the grant's JSON */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct http_header user = {{"impersonate-user", 16}, {"hub:a", 5}};
    _cleanup_(pool_freep) struct pool *p = pool_new();
    struct str rest = str_make((const char *)data, size), method = STR_NULL, path = STR_NULL, query = STR_NULL, plain, why = STR_NULL;
    struct json *doc = NULL, *reading = NULL;
    if (!str_split(&rest, '\n', &method) || !str_split(&rest, '\n', &path) || !str_split(&rest, '\n', &query) || !path.n || path.p[0] != '/')
        return 0;
    struct http_req rq = {.pool = p, .method = method, .path = path, .query = query, .headers = &user, .nheaders = 1};
    bool reads = str_eqz(method, "GET") || str_eqz(method, "HEAD");
    struct grant *all = grant_all();
    if (grant_permits(all, &rq, &why) && !reads && http_unescape(p, path, &plain) && own_namespace(plain))
        abort();
    grant_free(all);
    if (json_parse(p, STR("{\"data\":{\"verbs\":\"get,list,watch\"}}"), NULL, &reading, NULL) == 0) {
        struct grant *g = grant_parse(reading);
        if (grant_permits(g, &rq, &why) && !reads && str_find(path, STR("selfsubject")) < 0 && str_chr(path, '%') < 0)
            abort();
        grant_free(g);
    }
    if (json_parse(p, rest, NULL, &doc, NULL) == 0) {
        struct grant *g = grant_parse(doc);
        (void)grant_permits(g, &rq, &why);
        grant_free(g);
    }
    return 0;
}
