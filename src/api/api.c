#include "api/api.h"
#include "api/api_keys.h"
#include "api/aggregate.h"
#include "api/audit.h"
#include "api/hooks.h"
#include "api/impl.h"
#include "api/list_cache.h"
#include "base/log.h"
#include "store/seal.h"

#define HOUSEKEEPING (60 * NS_PER_S)
#define HOUSEKEEPING_LONG 60 /* turns */

/* ---- the store's kinds ---- */

static void describe(void *arg, struct pool *p, const struct json *tree, struct obj_desc *out)
{
    const struct schema_resource *r = arg;
    *out = (struct obj_desc){0};
    if (!r->hooks)
        return;
    if (r->hooks->project) {
        struct str view = STR_NULL;
        r->hooks->project(p, tree, &view);
        out->view = view.p;
        out->nview = view.n;
    }
    if (r->hooks->index) {
        struct obj_index ix = {.pool = p};
        r->hooks->index(p, tree, &ix);
        struct obj_key *keys = pool_array(p, struct obj_key, ix.n);
        for (size_t i = 0; i < ix.n; i++)
            keys[i] = (struct obj_key){str_of(ix.items[i].index), ix.items[i].key};
        out->keys = keys;
        out->nkeys = ix.n;
    }
}

/* Is r the row that its objects are stored as? */
static bool is_storage(const struct schema_resource *r)
{
    ssize_t slash = str_rchr(r->storage, '/');
    return !r->virtual_only && slash >= 0 && str_eq(str_sub(r->storage, 0, (size_t)slash), r->group) &&
           str_eq(r->version, r->storage_version);
}

int api_store_open(const char *path, struct schema *schema, struct clock *clock, struct store **out, struct err **e)
{
    return api_store_open_sealed(path, schema, clock, NULL, out, e);
}

int api_store_open_sealed(const char *path, struct schema *schema, struct clock *clock, struct store_seal *seal, struct store **out, struct err **e)
{
    const struct schema_resource *r;
    size_t n = 0, cap = 0;
    while (schema_at(schema, cap))
        cap++;
    struct store_kind *kinds = xcalloc(cap + 1, sizeof *kinds);
    for (size_t i = 0; (r = schema_at(schema, i)); i++) {
        if (!is_storage(r))
            continue;
        bool events = str_eqz(r->storage, "/events");
        kinds[n++] = (struct store_kind){.name = r->storage,
            .namespaced = r->namespaced,
            .describe = describe,
            .arg = (void *)(uintptr_t)r,
            .budget_bytes = events ? 8u << 20 : 0,
            .ttl_ns = events ? 3600 * NS_PER_S : 0};
    }
    struct store_config c = {.path = path, .kinds = kinds, .nkinds = n, .clock = clock};
    if (seal)
        store_seal_config(seal, &c);
    int ret = store_open(&c, out, e);
    free(kinds);
    return ret;
}

/* ---- making and freeing ---- */

static void find_resources(struct api *a)
{
    struct {
        struct store_res **at;
        const char *name;
    } rows[] = {
        {&a->res.pods, "/pods"},
        {&a->res.nodes, "/nodes"},
        {&a->res.namespaces, "/namespaces"},
        {&a->res.secrets, "/secrets"},
        {&a->res.configmaps, "/configmaps"},
        {&a->res.services, "/services"},
        {&a->res.serviceaccounts, "/serviceaccounts"},
        {&a->res.events, "/events"},
        {&a->res.slices, "discovery.k8s.io/endpointslices"},
        {&a->res.roles, "rbac.authorization.k8s.io/roles"},
        {&a->res.role_bindings, "rbac.authorization.k8s.io/rolebindings"},
        {&a->res.cluster_roles, "rbac.authorization.k8s.io/clusterroles"},
        {&a->res.cluster_role_bindings, "rbac.authorization.k8s.io/clusterrolebindings"},
        {&a->res.quotas, "/resourcequotas"},
        {&a->res.limits, "/limitranges"},
        {&a->res.priorities, "scheduling.k8s.io/priorityclasses"},
        {&a->res.storage_classes, "storage.k8s.io/storageclasses"},
        {&a->res.ingress_classes, "networking.k8s.io/ingressclasses"},
        {&a->res.runtime_classes, "node.k8s.io/runtimeclasses"},
        {&a->res.network_policies, "networking.k8s.io/networkpolicies"},
        {&a->res.pvs, "/persistentvolumes"},
        {&a->res.pvcs, "/persistentvolumeclaims"},
        {&a->res.pdbs, "policy/poddisruptionbudgets"},
        {&a->res.leases, "coordination.k8s.io/leases"},
        {&a->res.csrs, "certificates.k8s.io/certificatesigningrequests"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        *rows[i].at = store_find(a->store, str_of(rows[i].name));
}

static void copy_config(struct api *a, const struct api_config *c)
{
    struct str *texts[] = {&a->cfg.version_git, &a->cfg.service_cidr, &a->cfg.cluster_cidr, &a->cfg.cluster_domain, &a->cfg.dns_ip,
        &a->cfg.advertise, &a->cfg.static_token_server, &a->cfg.static_token_agent};
    a->cfg = *c;
    for (size_t i = 0; i < ARRAY_LEN(texts); i++)
        *texts[i] = pool_str(a->pool, *texts[i]);
    a->cfg.audit_log = NULL; /* opened in api_new */
    a->cfg.audit_policy = STR_NULL;
    if (str_empty(a->cfg.cluster_domain))
        a->cfg.cluster_domain = STR("cluster.local");
    if (str_empty(a->cfg.version_git))
        a->cfg.version_git = STR("v1.36.2+sampan1");
    a->cfg.tls_dir = c->tls_dir ? pool_strz(a->pool, str_of(c->tls_dir)) : NULL;
    struct str *sans = pool_array(a->pool, struct str, c->ntls_sans);
    for (size_t i = 0; i < c->ntls_sans; i++)
        sans[i] = pool_str(a->pool, c->tls_sans[i]);
    a->cfg.tls_sans = sans;
}

static int open_keys(struct api *a, struct err **e)
{
    if (!a->cfg.tls_dir)
        return 0;
    struct api_keys_config k = {.dir = a->cfg.tls_dir,
        .clock = a->clock,
        .cluster_domain = a->cfg.cluster_domain,
        .service_ip = addresses_first(a, a->pool),
        .advertise = a->cfg.advertise,
        .sans = a->cfg.tls_sans,
        .nsans = a->cfg.ntls_sans};
    return api_keys_open(&k, &a->keys, e);
}

int api_new(const struct api_config *c, struct api **out, struct err **e)
{
    static const struct str groups[] = {STR("system:masters"), STR("system:authenticated")};
    struct api *a = xcalloc(1, sizeof *a);
    a->pool = pool_new();
    copy_config(a, c);
    a->store = c->store;
    a->clock = c->clock;
    a->schema = schema_ref(c->schema);
    pthread_mutex_init(&a->schema_lock, NULL);
    a->system = (struct api_user){.name = STR("system:apiserver"), .groups = groups, .ngroups = ARRAY_LEN(groups)};
    find_resources(a);
    a->rbac = rbac_new();
    a->pages = pages_new(a);
    a->lists = list_cache_new();
    a->discovery = discovery_new();
    a->metrics = metrics_new();
    a->quota = quota_new();
    a->hooks = hooks_new();
    a->remote = remote_new(a);
    a->addresses = addresses_new(a, e);
    struct audit_config ac = {c->audit_policy, c->audit_log, c->audit_max_mb, c->audit_backups, c->audit_days};
    if (!a->addresses || open_keys(a, e) < 0 || (c->audit_log && audit_open(&ac, a->clock, &a->audit, e) < 0)) {
        api_free(a);
        return -(*e)->code;
    }
    a->nodes = nodes_new(a);
    *out = a;
    return 0;
}

void api_free(struct api *a)
{
    if (!a)
        return;
    a->stopping = true;
    timer_del(&a->housekeeping);
    nodes_free(a->nodes);
    aggregate_free(a->aggregates);
    crds_free(a->crds);
    bootstrap_free(a->bootstrap);
    recorder_free(a->recorder);
    api_keys_free(a->keys);
    addresses_free(a->addresses);
    quota_free(a->quota);
    hooks_free(a->hooks);
    remote_free(a->remote);
    audit_free(a->audit);
    metrics_free(a->metrics);
    discovery_free(a->discovery);
    pages_free(a->pages);
    list_cache_free(a->lists);
    rbac_free(a->rbac);
    schema_unref(a->schema);
    pthread_mutex_destroy(&a->schema_lock);
    pool_free(a->pool);
    free(a);
}

/* ---- running ---- */

static void housekeeping(struct timer *t)
{
    struct api *a = container_of(t, struct api, housekeeping);
    struct err *e = NULL;
    pages_expire(a->pages);
    list_cache_expire(a->lists, clock_mono(a->clock));
    if (a->ready && bootstrap_service(a, &e) < 0)
        log_warn("the kubernetes Service was not repaired: %s", err_msg(e));
    err_free(TAKE(e));
    if (++a->turns % HOUSEKEEPING_LONG == 0) {
        if (a->keys && api_keys_renew(a->keys, &e) < 0)
            log_warn("certificates were not renewed: %s", err_msg(e));
        err_free(TAKE(e));
        if (addresses_rebuild(a, &e) < 0)
            log_warn("addresses were not repaired: %s", err_msg(e));
        err_free(e);
    }
    timer_in(a->control, t, HOUSEKEEPING, housekeeping);
}

int api_start(struct api *a, struct loop *control, struct err **e)
{
    a->control = control;
    if (addresses_rebuild(a, e) < 0)
        return -(*e)->code;
    timer_in(control, &a->housekeeping, HOUSEKEEPING, housekeeping);
    if (crds_start(a, e) < 0)
        return -(*e)->code;
    if (aggregate_start(a, e) < 0)
        return -(*e)->code;
    return bootstrap_start(a, e);
}

void api_on_ready(struct api *a, void (*fn)(void *arg), void *arg)
{
    a->on_ready = fn;
    a->on_ready_arg = arg;
}

/* ---- looking in ---- */

struct store *api_store(struct api *a)
{
    return a->store;
}
struct clock *api_clock(struct api *a)
{
    return a->clock;
}

struct schema *api_schema_ref(struct api *a)
{
    pthread_mutex_lock(&a->schema_lock);
    struct schema *s = schema_ref(a->schema);
    pthread_mutex_unlock(&a->schema_lock);
    return s;
}

/* Rows live as long as their registry; the one of now is kept by the api. */
const struct schema_resource *api_resource(struct api *a, struct str group, struct str version, struct str resource)
{
    _cleanup_(schema_unrefp) struct schema *s = api_schema_ref(a);
    const struct schema_resource *r;
    if (!str_empty(version))
        return schema_find(s, group, version, resource);
    for (size_t i = 0; (r = schema_at(s, i)); i++)
        if (str_eq(r->group, group) && str_eq(r->resource, resource) && is_storage(r))
            return r;
    return NULL;
}

struct store_res *api_store_res(struct api *a, const struct schema_resource *r)
{
    return r && !r->virtual_only ? store_find(a->store, r->storage) : NULL;
}

struct tls_ctx *api_server_tls(struct api *a)
{
    return a->keys ? api_keys_tls(a->keys) : NULL;
}
struct str api_ca_hash(struct api *a)
{
    return a->keys ? api_keys_ca_hash(a->keys) : STR_NULL;
}
struct str api_ca_pem(struct api *a)
{
    return a->keys ? api_keys_server_ca(a->keys) : STR_NULL;
}
struct api_keys *api_get_keys(struct api *a)
{
    return a->keys;
}
const struct ca *api_client_ca(struct api *a)
{
    return a->keys ? api_keys_client_signer(a->keys) : NULL;
}

int api_admin_kubeconfig(struct api *a, struct buf *out, struct err **e)
{
    if (!a->keys)
        return err_set(e, ERR_UNAVAILABLE, "this server has no keys");
    return api_keys_kubeconfig(a->keys, STR("127.0.0.1"), a->cfg.port, out, e);
}

void api_route(struct api *a, struct str prefix, bool auth, api_route_fn *fn, void *arg)
{
    if (a->nextra >= API_ROUTES) {
        log_error("too many routes: %.*s is not served", STR_ARG(prefix));
        return;
    }
    a->extra[a->nextra++] = (struct route){.path = pool_strz(a->pool, prefix), .foreign = fn, .arg = arg, .authenticate = auth};
}
