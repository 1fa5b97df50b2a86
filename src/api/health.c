#include "api/impl.h"

/* /healthz, /livez, /readyz: one line per check when verbose, one check by its path, some left out with exclude=. And /version. */

static const char *check_ping(struct api *a)
{
    (void)a;
    return NULL;
}
static const char *check_store(struct api *a)
{
    struct store_stats s;
    store_stats(a->store, &s);
    return s.full ? "the disk is full" : NULL;
}
static const char *check_bootstrap(struct api *a)
{
    return a->ready ? NULL : "bootstrap objects are not durable yet";
}
static const char *check_stopping(struct api *a)
{
    return a->stopping ? "the process is shutting down" : NULL;
}

static const struct {
    const char *name;
    const char *(*fn)(struct api *a);
    bool live, ready;
} checks[] = {
    {"ping", check_ping, true, true},
    {"etcd", check_store, true, true}, /* the name that monitoring looks for */
    {"poststarthook/rbac/bootstrap-roles", check_bootstrap, false, true},
    {"shutdown", check_stopping, false, true},
};

static bool excluded(struct call *c, const char *name)
{
    struct str rest = c->rq->query, k, v;
    while (http_query_each(c->rq, &rest, &k, &v))
        if (str_eqz(k, "exclude") && str_eqz(v, name))
            return true;
    return false;
}

int route_health(struct call *c, struct err **e)
{
    struct str path = str_sub(c->ri.path, 1, c->ri.path.n), kind = path, one = STR_NULL;
    (void)str_cut(path, '/', &kind, &one);
    bool ready = str_eqz(kind, "readyz"), live = str_eqz(kind, "livez"), bad = false, found = false;
    struct buf b = BUF_INIT;
    for (size_t i = 0; i < ARRAY_LEN(checks); i++) {
        if ((ready && !checks[i].ready) || (live && !checks[i].live) || (!str_empty(one) && !str_eqz(one, checks[i].name)))
            continue;
        found = true;
        if (excluded(c, checks[i].name)) {
            buf_printf(&b, "[+]%s excluded: ok\n", checks[i].name);
            continue;
        }
        const char *why = checks[i].fn(c->api);
        bad |= why != NULL;
        metrics_check(c->api, kind, checks[i].name, !why);
        if (why)
            buf_printf(&b, "[-]%s failed: %s\n", checks[i].name, why);
        else
            buf_printf(&b, "[+]%s ok\n", checks[i].name);
    }
    if (!found) {
        buf_clear(&b);
        return err_set(e, ERR_NOT_FOUND, "the server could not find the requested resource");
    }
    buf_printf(&b, "%.*s check %s\n", STR_ARG(kind), bad ? "failed" : "passed");
    if (!bad && !call_query(c, "verbose").p) {
        buf_reset(&b);
        buf_puts(&b, "ok");
    }
    call_reply_raw(c, bad ? 500 : 200, "text/plain; charset=utf-8", buf_to_bytes(&b));
    return 0;
}

/* What a node has to know of its cluster, so that nobody has to give each agent the server's flags again. For nodes and administrators. */
int route_cluster(struct call *c, struct err **e)
{
    const struct api_config *cfg = &c->api->cfg;
    struct pool *p = c->pool;
    bool admin = false;
    for (size_t i = 0; i < c->user->ngroups; i++)
        admin |= str_eqz(c->user->groups[i], "system:masters");
    if (!admin && !str_starts(c->user->name, STR("system:node:")))
        return err_set(e, ERR_FORBIDDEN, "the settings of the cluster are for its nodes");
    struct json *o = json_obj(p);
    json_set_str(p, o, STR("clusterCIDR"), cfg->cluster_cidr);
    json_set_str(p, o, STR("serviceCIDR"), cfg->service_cidr);
    json_set_str(p, o, STR("clusterDNS"), cfg->dns_ip);
    json_set_str(p, o, STR("clusterDomain"), cfg->cluster_domain);
    call_reply_tree(c, 200, o);
    return 0;
}

int route_version(struct call *c, struct err **e)
{
    (void)e;
    struct str git = c->api->cfg.version_git, rest = git, major = STR("1"), minor = STR("36");
    if (git.n > 1 && git.p[0] == 'v') {
        rest = str_sub(git, 1, git.n);
        (void)str_split(&rest, '.', &major);
        (void)str_split(&rest, '.', &minor);
    }
    struct pool *p = c->pool;
    struct json *o = json_obj(p);
    json_set_str(p, o, STR("major"), major);
    json_set_str(p, o, STR("minor"), minor);
    json_set_str(p, o, STR("emulationMajor"), major);
    json_set_str(p, o, STR("emulationMinor"), minor);
    json_set_str(p, o, STR("gitVersion"), git);
    json_set_str(p, o, STR("gitCommit"), STR(""));
    json_set_str(p, o, STR("gitTreeState"), STR("clean"));
    json_set_str(p, o, STR("buildDate"), STR("2026-01-01T00:00:00Z"));
    json_set_str(p, o, STR("goVersion"), STR(""));
    json_set_str(p, o, STR("compiler"), STR("gcc " __VERSION__));
    json_set_str(p, o, STR("platform"),
        STR("linux/"
#if defined(__x86_64__)
            "amd64"
#elif defined(__aarch64__)
            "arm64"
#else
            "arm"
#endif
            ));
    struct buf b = BUF_INIT;
    json_write_pretty(&b, o, 2);
    call_reply_raw(c, 200, "application/json", buf_to_bytes(&b));
    return 0;
}
