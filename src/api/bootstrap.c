#include "api/impl.h"
#include "base/log.h"

/* What a cluster begins with: namespaces, RBAC's roles and bindings, priority classes, flow schemas (bootstrap.json, one object a line),
 * and the kubernetes Service. Written through the request path as system:apiserver; what is there already stays, except that roles marked
 * autoupdate get rules they miss. */

extern const char bootstrap_json[];
extern const size_t bootstrap_json_n;

struct bootstrap {
    struct api *api;
    struct store_wait wait;
    bool done;
};

static void finished(struct api_call *c)
{
    (void)c;
}

/* Inside calls end before api_do returns as long as nothing on their way waits. */
static int run(struct api *a, struct api_call *c, struct err **e)
{
    api_do(a, a->control, c, finished);
    if (c->state_)
        return err_set(e, ERR_INTERNAL, "a bootstrap write waits for somebody");
    obj_unref(TAKE(c->obj));
    if (!c->err)
        return 0;
    if (c->err->code == ERR_EXISTS) {
        err_free(TAKE(c->err));
        return 0;
    }
    struct err *why = TAKE(c->err);
    return err_move(e, why);
}

static int create(struct api *a, struct pool *p, const struct schema_resource *r, struct str ns, struct json *doc, struct err **e)
{
    struct api_call c = {
        .verb = API_CREATE, .group = r->group, .version = r->version, .resource = r->resource, .ns = ns, .body = doc, .pool = p};
    return run(a, &c, e);
}

static bool has_rule(const struct json *rules, const struct json *rule)
{
    json_for (rules, it)
        if (json_equal(it, rule))
            return true;
    return false;
}

/* A newer release brings new rules for the roles that it made. */
static int reconcile(
    struct api *a, struct pool *p, const struct schema_resource *r, const struct obj *o, const struct json *want, struct err **e)
{
    struct json *doc;
    bool missing = false;
    if (!json_get(want, STR("rules")) || json_get(want, STR("aggregationRule")) || obj_parse(o, p, &doc, NULL) < 0)
        return 0;
    if (!str_eqz(json_as_str(json_get(json_path(doc, "metadata", "annotations", NULL), STR("rbac.authorization.kubernetes.io/autoupdate"))),
            "true"))
        return 0;
    struct json *rules = json_put_arr(p, doc, STR("rules"));
    json_for (json_get(want, STR("rules")), it)
        if (!has_rule(rules, it)) {
            json_append(rules, json_clone(p, it));
            missing = true;
        }
    if (!missing)
        return 0;
    struct api_call c = {.verb = API_UPDATE,
        .group = r->group,
        .version = r->version,
        .resource = r->resource,
        .ns = o->ns,
        .name = o->name,
        .body = doc,
        .pool = p};
    return run(a, &c, e);
}

static int ensure(struct api *a, struct pool *p, struct json *doc, struct err **e)
{
    struct str group, version, kind, ns = json_str_at(doc, "metadata", "namespace", NULL),
                                     name = json_str_at(doc, "metadata", "name", NULL);
    _cleanup_(schema_unrefp) struct schema *s = api_schema_ref(a);
    if (!schema_gvk(doc, &group, &version, &kind))
        return err_set(e, ERR_INTERNAL, "a bootstrap object without kind");
    const struct schema_resource *r = schema_find_kind(s, group, version, kind);
    if (!r || r->virtual_only) /* the hub's registry is smaller */
        return 0;
    _cleanup_(store_view_unrefp) struct store_view *v = store_view(a->store);
    const struct obj *o = view_get(v, store_find(a->store, r->storage), ns, name);
    int ret = o ? reconcile(a, p, r, o, doc, e) : create(a, p, r, ns, doc, e);
    return ret < 0 ? err_wrap(e, "%.*s %.*s", STR_ARG(kind), STR_ARG(name)) : 0;
}

static int ensure_text(struct api *a, struct str text, struct err **e)
{
    _cleanup_(pool_freep) struct pool *p = pool_new();
    struct json *doc;
    if (json_parse(p, text, NULL, &doc, e) < 0)
        return err_wrap(e, "bootstrap objects");
    return ensure(a, p, doc, e);
}

static int namespaces(struct api *a, struct err **e)
{
    static const char *const names[] = {"default", "kube-system", "kube-public", "kube-node-lease"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        char text[160];
        snprintf(text, sizeof text, "{\"kind\":\"Namespace\",\"apiVersion\":\"v1\",\"metadata\":{\"name\":\"%s\"}}", names[i]);
        if (ensure_text(a, str_of(text), e) < 0)
            return -(*e)->code;
    }
    return 0;
}

/* ---- the kubernetes Service: its address is the first of the range, its endpoint is this server ---- */

static bool is_address(struct str s)
{
    bool dots = false;
    for (size_t i = 0; i < s.n; i++) {
        if (!((s.p[i] >= '0' && s.p[i] <= '9') || s.p[i] == '.'))
            return false;
        dots |= s.p[i] == '.';
    }
    return dots && s.n >= 7;
}

/* An object of ours as it should be: made, or brought to this form where one of the parts differs. */
static int keep(struct api *a, const struct schema_resource *r, struct str ns, struct str text, const char *const *parts, struct err **e)
{
    _cleanup_(pool_freep) struct pool *p = pool_new();
    _cleanup_(store_view_unrefp) struct store_view *v = store_view(a->store);
    struct store_res *res = r ? store_find(a->store, r->storage) : NULL;
    struct json *doc, *old;
    bool same = true;
    if (!res)
        return 0;
    if (json_parse(p, text, NULL, &doc, e) < 0)
        return -(*e)->code;
    const struct obj *o = view_get(v, res, ns, STR("kubernetes"));
    if (!o)
        return create(a, p, r, ns, doc, e);
    if (obj_parse(o, p, &old, e) < 0)
        return -(*e)->code;
    for (size_t i = 0; parts[i]; i++) {
        const struct json *x = json_get(old, str_of(parts[i])), *y = json_get(doc, str_of(parts[i]));
        same &= x && json_equal(x, y);
    }
    if (same)
        return 0;
    struct api_call c = {.verb = API_UPDATE,
        .group = r->group,
        .version = r->version,
        .resource = r->resource,
        .ns = ns,
        .name = STR("kubernetes"),
        .body = doc,
        .pool = p};
    return run(a, &c, e);
}

/* The EndpointSlice, and the same as Endpoints for clients that read these; the label keeps them from being mirrored. */
static int endpoints(struct api *a, struct err **e)
{
    static const char *const slice_parts[] = {"endpoints", "ports", NULL}, *const parts[] = {"subsets", NULL};
    _cleanup_(pool_freep) struct pool *p = pool_new();
    struct str slice = pool_printf(p,
        "{\"kind\":\"EndpointSlice\",\"apiVersion\":\"discovery.k8s.io/v1\",\"metadata\":{\"name\":\"kubernetes\",\"namespace\":\"default\","
        "\"labels\":{\"kubernetes.io/service-name\":\"kubernetes\"}},\"addressType\":\"IPv4\",\"endpoints\":[{\"addresses\":[\"%.*s\"],"
        "\"conditions\":{\"ready\":true}}],\"ports\":[{\"name\":\"https\",\"protocol\":\"TCP\",\"port\":%u}]}",
        STR_ARG(a->cfg.advertise), a->cfg.port);
    struct str old = pool_printf(p,
        "{\"kind\":\"Endpoints\",\"apiVersion\":\"v1\",\"metadata\":{\"name\":\"kubernetes\",\"namespace\":\"default\","
        "\"labels\":{\"endpointslice.kubernetes.io/skip-mirror\":\"true\"}},"
        "\"subsets\":[{\"addresses\":[{\"ip\":\"%.*s\"}],\"ports\":[{\"name\":\"https\",\"port\":%u,\"protocol\":\"TCP\"}]}]}",
        STR_ARG(a->cfg.advertise), a->cfg.port);
    int r = keep(a, api_resource(a, STR("discovery.k8s.io"), STR("v1"), STR("endpointslices")), STR("default"), slice, slice_parts, e);
    return r < 0 ? r : keep(a, api_resource(a, STR(""), STR("v1"), STR("endpoints")), STR("default"), old, parts, e);
}

/* The range of Services as an object, which clients read; it cannot be changed here. */
static int service_range(struct api *a, struct err **e)
{
    static const char *const parts[] = {NULL};
    _cleanup_(pool_freep) struct pool *p = pool_new();
    const struct schema_resource *r = api_resource(a, STR("networking.k8s.io"), STR("v1"), STR("servicecidrs"));
    char now[TIME_MAX];
    struct str text = pool_printf(p,
        "{\"kind\":\"ServiceCIDR\",\"apiVersion\":\"networking.k8s.io/v1\",\"metadata\":{\"name\":\"kubernetes\"},\"spec\":{\"cidrs\":[\"%.*s\"]}}",
        STR_ARG(a->cfg.service_cidr));
    int ret = str_empty(a->cfg.service_cidr) ? 0 : keep(a, r, STR(""), text, parts, e);
    if (ret < 0 || !r || str_empty(a->cfg.service_cidr))
        return ret;
    struct json *doc;
    text = pool_printf(p,
        "{\"status\":{\"conditions\":[{\"type\":\"Ready\",\"status\":\"True\",\"reason\":\"\",\"message\":\"Kubernetes Service CIDR is ready\",\"lastTransitionTime\":\"%.*s\"}]}}",
        STR_ARG(time_format(clock_now(a->clock), now)));
    _cleanup_(store_view_unrefp) struct store_view *v = store_view(a->store);
    const struct obj *o = view_get(v, store_find(a->store, r->storage), STR(""), STR("kubernetes"));
    if (!o || str_find(o->json, STR("\"lastTransitionTime\"")) >= 0)
        return 0;
    if (json_parse(p, text, NULL, &doc, e) < 0)
        return -(*e)->code;
    struct api_call c = {.verb = API_PATCH_MERGE, .group = r->group, .version = r->version, .resource = r->resource, .sub = STR("status"), .name = STR("kubernetes"), .body = doc, .pool = p};
    return run(a, &c, e);
}

int bootstrap_service(struct api *a, struct err **e)
{
    _cleanup_(pool_freep) struct pool *p = pool_new();
    struct str ip = addresses_first(a, p);
    if (a->cfg.hub || !a->res.services || str_empty(ip))
        return 0;
    struct str text = pool_printf(p,
        "{\"kind\":\"Service\",\"apiVersion\":\"v1\",\"metadata\":{\"name\":\"kubernetes\",\"namespace\":\"default\",\"labels\":{"
        "\"component\":\"apiserver\","
        "\"provider\":\"kubernetes\"}},\"spec\":{\"type\":\"ClusterIP\",\"clusterIP\":\"%.*s\",\"sessionAffinity\":\"None\",\"ports\":[{"
        "\"name\":\"https\",\"port\":443,\"protocol\":\"TCP\",\"targetPort\":%u}]}}",
        STR_ARG(ip), a->cfg.port);
    if (ensure_text(a, text, e) < 0)
        return -(*e)->code;
    int r = is_address(a->cfg.advertise) ? endpoints(a, e) : 0;
    return r < 0 ? r : service_range(a, e);
}

/* ---- */

static void durable(struct store_wait *w, int result)
{
    struct bootstrap *b = container_of(w, struct bootstrap, wait);
    struct api *a = b->api;
    b->done = true;
    if (result < 0) {
        log_error("bootstrap objects could not be made durable");
        return;
    }
    a->ready = true;
    if (a->on_ready)
        a->on_ready(a->on_ready_arg);
}

int bootstrap_start(struct api *a, struct err **e)
{
    struct str rest = {bootstrap_json, bootstrap_json_n}, line;
    if (namespaces(a, e) < 0)
        return -(*e)->code;
    while (str_split(&rest, '\n', &line))
        if (!str_empty(line) && ensure_text(a, line, e) < 0)
            return -(*e)->code;
    if (bootstrap_service(a, e) < 0)
        return err_wrap(e, "kubernetes Service");
    struct bootstrap *b = a->bootstrap = xcalloc(1, sizeof *b);
    b->api = a;
    _cleanup_(store_view_unrefp) struct store_view *v = store_view(a->store);
    if (store_wait(a->store, view_rev(v), &b->wait, a->control, durable))
        durable(&b->wait, 0);
    return 0;
}

void bootstrap_free(struct bootstrap *b)
{
    if (b && !b->done)
        store_wait_cancel(b->api->store, &b->wait);
    free(b);
}
