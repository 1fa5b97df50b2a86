#include "api/impl.h"

const struct str GROUP_AUTHENTICATED = STR("system:authenticated"), GROUP_UNAUTHENTICATED = STR("system:unauthenticated"),
                 GROUP_MASTERS = STR("system:masters"), GROUP_NODES = STR("system:nodes"),
                 GROUP_SERVICEACCOUNTS = STR("system:serviceaccounts");

bool user_in(const struct api_user *u, struct str group)
{
    for (size_t i = 0; i < u->ngroups; i++)
        if (str_eq(u->groups[i], group))
            return true;
    return false;
}

/* groups are views; system:authenticated or system:unauthenticated is added behind them. */
struct api_user *user_new(struct pool *p, struct str name, struct str uid, const struct str *groups, size_t ngroups, bool authenticated)
{
    struct api_user *u = pool_new_of(p, struct api_user);
    struct str *g = pool_array(p, struct str, ngroups + 1);
    struct str last = authenticated ? GROUP_AUTHENTICATED : GROUP_UNAUTHENTICATED;
    size_t n = 0;
    for (size_t i = 0; i < ngroups; i++)
        if (!str_eq(groups[i], last))
            g[n++] = groups[i];
    g[n++] = last;
    *u = (struct api_user){.name = name, .uid = uid, .groups = g, .ngroups = n};
    return u;
}

void user_extra(struct pool *p, struct api_user *u, struct str key, const struct str *values, size_t n)
{
    size_t size = sizeof *u->extra;
    struct str *v = pool_array(p, struct str, n);
    for (size_t i = 0; i < n; i++)
        v[i] = values[i];
    u->extra = pool_grow(p, u->extra, u->nextra * size, (u->nextra + 1) * size);
    u->extra[u->nextra].key = key;
    u->extra[u->nextra].values = v;
    u->extra[u->nextra++].nvalues = n;
}

struct api_user *user_copy(struct pool *p, const struct api_user *u)
{
    struct str *g = pool_array(p, struct str, u->ngroups);
    for (size_t i = 0; i < u->ngroups; i++)
        g[i] = pool_str(p, u->groups[i]);
    struct api_user *c = pool_new_of(p, struct api_user);
    *c = (struct api_user){.name = pool_str(p, u->name), .uid = pool_str(p, u->uid), .groups = g, .ngroups = u->ngroups};
    for (size_t i = 0; i < u->nextra; i++) {
        struct str *v = pool_array(p, struct str, u->extra[i].nvalues);
        for (size_t j = 0; j < u->extra[i].nvalues; j++)
            v[j] = pool_str(p, u->extra[i].values[j]);
        user_extra(p, c, pool_str(p, u->extra[i].key), v, u->extra[i].nvalues);
    }
    return c;
}

/* authentication.k8s.io/v1 UserInfo. */
struct json *user_json(struct pool *p, const struct api_user *u)
{
    struct json *o = json_obj(p);
    json_set_str(p, o, STR("username"), u->name);
    if (!str_empty(u->uid))
        json_set_str(p, o, STR("uid"), u->uid);
    struct json *g = json_put_arr(p, o, STR("groups"));
    for (size_t i = 0; i < u->ngroups; i++)
        json_append(g, json_str(p, u->groups[i]));
    for (size_t i = 0; i < u->nextra; i++) {
        struct json *v = json_put_arr(p, json_put_obj(p, o, STR("extra")), u->extra[i].key);
        for (size_t j = 0; j < u->extra[i].nvalues; j++)
            json_append(v, json_str(p, u->extra[i].values[j]));
    }
    return o;
}

/* From a SubjectAccessReview's spec. Groups are taken as they are: nothing is added. */
struct api_user *user_from_json(struct pool *p, const struct json *spec, struct str name_key)
{
    const struct json *groups = json_get(spec, STR("groups")), *extra = json_get(spec, STR("extra"));
    struct str *g = pool_array(p, struct str, json_count(groups) + 1);
    size_t n = 0;
    json_for (groups, it)
        g[n++] = json_as_str(it);
    struct api_user *u = pool_new_of(p, struct api_user);
    *u = (struct api_user){.name = json_as_str(json_get(spec, name_key)), .uid = json_get_str(spec, "uid"), .groups = g, .ngroups = n};
    json_for (extra, it) {
        struct str *v = pool_array(p, struct str, json_count(it) + 1);
        size_t k = 0;
        json_for (it, x)
            v[k++] = json_as_str(x);
        user_extra(p, u, json_key(it), v, k);
    }
    return u;
}
