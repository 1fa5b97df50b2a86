/* What a hub may do at this site, at most: the ConfigMap sampan-system/hub-grant, which only the site writes. Enforced here, before a request reaches the site's API; below it, the site's
 * RBAC decides as always. Without the object there is no bound but RBAC. Inside the room.
 *
 *     data:
 *       users: "hub:ann, hub:system:masters"   users or groups, one of which the request must be for; absent: all named hub:<...>
 *       verbs: "get, list, watch"              RBAC's verbs; absent: all. Discovery, /version and the like are reading
 *       namespaces: "shop, till-*"             absent: all. With a list, what is cluster-wide may be read when "*" is in it, or refused
 *       view: "false"                          no rows of this site leave it (sight.h); absent: true
 *
 * A key that nobody knows makes the grant unreadable, and then nothing is granted: a mistyped bound must not be no bound. The object itself, and the namespace that it is in, are
 * out of a hub's reach whatever the grant says. */
#pragma once
#include "base/pool.h"
#include "http/http.h"
#include "json/json.h"

#define GRANT_NAMESPACE "sampan-system"
#define GRANT_NAME "hub-grant"
#define GRANT_PATH "/api/v1/namespaces/" GRANT_NAMESPACE "/configmaps/" GRANT_NAME

struct grant;
struct grant *grant_none(void);                        /* not read yet: nothing is granted */
struct grant *grant_all(void);                         /* there is no such object */
struct grant *grant_parse(const struct json *configmap); /* never NULL; unreadable: grants nothing, and says why */
void grant_free(struct grant *g);
bool grant_equal(const struct grant *a, const struct grant *b);
bool grant_view(const struct grant *g);
const char *grant_fault(const struct grant *g);        /* NULL: readable */
/* May this request pass? why: in words, in the request's pool. */
bool grant_permits(const struct grant *g, const struct http_req *rq, struct str *why);
