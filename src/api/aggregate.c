#include "api/aggregate.h"

#include "api/api_keys.h"
#include "api/hooks.h"
#include "base/log.h"

#define PROBE_EVERY (30 * NS_PER_S)
#define PROBE_SOON (2 * NS_PER_S)
#define STORAGE STR("apiregistration.k8s.io/apiservices")

struct service { /* one APIService with a Service; under the lock, but for probe */
    struct service *next;
    char *name;
    struct pool *pool; /* of what follows */
    struct str group, version, ns, svc, ca;
    int64_t port, rev;
    bool insecure, available, seen;
    struct json *resources; /* APIResourceList, in found */
    struct pool *found;
    struct probe *probe;
};

struct probe { /* a GET of its discovery document; outlives its service if it must */
    struct aggregates *all;
    struct service *of; /* NULL: it has gone */
    struct pool *pool;
    struct remote_client *client;
    struct http_call *call;
    struct buf reply;
    int status;
};

struct aggregates {
    struct api *api;
    pthread_mutex_t lock;
    struct service *list;
    struct store_res *res;
    struct store_watch *watch;
    struct timer timer;
    struct str cert, key;
    bool told, stopping; /* told: the ConfigMap stands */
    unsigned flying;
};

/* ---- conditions and the ConfigMap ---- */

struct writing {
    struct aggregates *all;
    struct api_call call;
    bool config;
};

static void drop(struct aggregates *g);

static void written(struct api_call *call)
{
    struct writing *w = container_of(call, struct writing, call);
    struct aggregates *g = w->all;
    if (w->config)
        g->told = !call->err;
    else if (call->err && call->err->code != ERR_NOT_FOUND && call->err->code != ERR_CONFLICT)
        log_warn("apiservice=%.*s: %s", STR_ARG(call->name), err_msg(call->err));
    api_call_clear(call);
    pool_free(call->pool); /* w too */
    if (!--g->flying && g->stopping)
        drop(g);
}

static void write_start(struct aggregates *g, struct pool *p, struct api_call call, bool config)
{
    struct writing *w = pool_new_of(p, struct writing);
    *w = (struct writing){.all = g, .call = call, .config = config};
    w->call.pool = p;
    g->flying++;
    api_do(g->api, g->api->control, &w->call, written);
}

static void tell(struct aggregates *g)
{
    struct pool *p = pool_new();
    struct json *doc = json_obj(p), *meta = json_put_obj(p, doc, STR("metadata")), *data;
    json_set_str(p, doc, STR("apiVersion"), STR("v1"));
    json_set_str(p, doc, STR("kind"), STR("ConfigMap"));
    json_set_str(p, meta, STR("name"), STR("extension-apiserver-authentication"));
    json_set_str(p, meta, STR("namespace"), STR("kube-system"));
    data = json_put_obj(p, doc, STR("data"));
    json_set_str(p, data, STR("client-ca-file"), api_keys_client_ca(g->api->keys));
    json_set_str(p, data, STR("requestheader-allowed-names"), STR("[\"system:auth-proxy\"]"));
    json_set_str(p, data, STR("requestheader-client-ca-file"), api_keys_front_ca(g->api->keys));
    json_set_str(p, data, STR("requestheader-extra-headers-prefix"), STR("[\"X-Remote-Extra-\"]"));
    json_set_str(p, data, STR("requestheader-group-headers"), STR("[\"X-Remote-Group\"]"));
    json_set_str(p, data, STR("requestheader-uid-headers"), STR("[\"X-Remote-Uid\"]"));
    json_set_str(p, data, STR("requestheader-username-headers"), STR("[\"X-Remote-User\"]"));
    write_start(g, p,
        (struct api_call){.verb = API_APPLY,
            .group = STR(""),
            .version = STR("v1"),
            .resource = STR("configmaps"),
            .ns = STR("kube-system"),
            .name = STR("extension-apiserver-authentication"),
            .body = doc,
            .field_manager = STR("kube-apiserver"),
            .force = true},
        true);
}

static void set_available(struct aggregates *g, struct service *s, bool ok, const char *reason, struct str message)
{
    _cleanup_(store_view_unrefp) struct store_view *v = store_view(g->api->store);
    const struct obj *o = view_get(v, g->res, STR(""), str_of(s->name));
    struct json *doc, *c = NULL;
    char now[TIME_MAX];
    struct pool *p = pool_new();
    if (!o || (pool_hold_obj(p, obj_ref(o)), obj_parse(o, p, &doc, NULL)) < 0) {
        pool_free(p);
        return;
    }
    struct json *list = json_put_arr(p, json_put_obj(p, doc, STR("status")), STR("conditions"));
    json_for (list, x)
        if (str_eqz(json_get_str(x, "type"), "Available"))
            c = x;
    struct str status = ok ? STR("True") : STR("False");
    bool turned = !c || !str_eq(json_get_str(c, "status"), status);
    if (!turned && str_eqz(json_get_str(c, "reason"), reason) && str_eq(json_get_str(c, "message"), message)) {
        pool_free(p);
        return;
    }
    if (!c)
        c = json_append(list, json_obj(p));
    json_set_str(p, c, STR("type"), STR("Available"));
    json_set_str(p, c, STR("status"), status);
    if (turned)
        json_set_str(p, c, STR("lastTransitionTime"), time_format(clock_now(g->api->clock), now));
    json_set_str(p, c, STR("reason"), str_of(reason));
    json_set_str(p, c, STR("message"), message);
    write_start(g, p,
        (struct api_call){.verb = API_UPDATE,
            .group = STR("apiregistration.k8s.io"),
            .version = STR("v1"),
            .resource = STR("apiservices"),
            .sub = STR("status"),
            .name = pool_str(p, o->name),
            .body = doc,
            .expect_rev = o->rev,
            .field_manager = STR("kube-apiserver")},
        false);
}

/* ---- probes ---- */

static void probe_free(struct probe *k, bool broken)
{
    if (k->of)
        k->of->probe = NULL;
    if (k->client)
        remote_release(k->all->api, k->client, broken);
    buf_clear(&k->reply);
    pool_free(k->pool); /* k too */
}

static int target_of(struct aggregates *g, struct service *s, struct pool *p, struct remote_target *out, struct err **e)
{
    *out = (struct remote_target){.ca = s->ca, .insecure = s->insecure};
    return remote_service(g->api, p, s->ns, s->svc, s->port, out, e);
}

/* Documents that list the group versions are made anew. */
static void changed(struct aggregates *g, struct service *s, bool ok, struct json *doc, struct pool *found)
{
    pthread_mutex_lock(&g->lock);
    bool differs = s->available != ok || (ok && (!s->resources || !json_equal(s->resources, doc)));
    s->available = ok;
    if (ok) {
        pool_free(s->found);
        s->found = found;
        s->resources = doc;
    } else {
        pool_free(found);
    }
    pthread_mutex_unlock(&g->lock);
    if (differs)
        crds_publish(g->api);
}

static void judged(struct probe *k, const struct err *e)
{
    struct aggregates *g = k->all;
    struct service *s = k->of;
    struct pool *found = pool_new();
    struct json *doc = NULL;
    bool ok =
        !e && k->status == 200 && json_parse(found, pool_str(found, buf_str(&k->reply)), NULL, &doc, NULL) == 0 && json_is(doc, JSON_OBJ);
    if (s && !g->stopping) {
        struct str url = pool_printf(k->pool, "https://%.*s.%.*s.svc:%" PRId64 "/apis/%.*s/%.*s", STR_ARG(s->svc), STR_ARG(s->ns), s->port,
            STR_ARG(s->group), STR_ARG(s->version));
        if (ok)
            set_available(g, s, true, "Passed", STR("all checks passed"));
        else
            set_available(g, s, false, "FailedDiscoveryCheck",
                e ? pool_printf(k->pool, "failing or missing response from %.*s: %s", STR_ARG(url), err_msg(e))
                  : pool_printf(
                        k->pool, "failing or missing response from %.*s: bad status from %.*s: %d", STR_ARG(url), STR_ARG(url), k->status));
        changed(g, s, ok, doc, found);
        found = NULL;
    }
    pool_free(found);
    bool broken = e != NULL;
    probe_free(k, broken);
    if (!--g->flying && g->stopping)
        drop(g);
}

static void on_head(void *arg, const struct http_response *r)
{
    ((struct probe *)arg)->status = r->status;
}
static void on_data(void *arg, const char *p, size_t n)
{
    struct probe *k = arg;
    if (k->reply.n + n < 4u << 20)
        buf_add(&k->reply, p, n);
}
static void on_end(void *arg, const struct err *e)
{
    judged(arg, e);
}

static void probe(struct aggregates *g, struct service *s)
{
    static const struct http_call_events ev = {on_head, on_data, NULL, on_end};
    struct pool *p = pool_new();
    struct probe *k = pool_new_of(p, struct probe);
    struct remote_target t;
    struct err *e = NULL;
    *k = (struct probe){.all = g, .of = s, .pool = p};
    if (target_of(g, s, p, &t, &e) < 0) {
        const char *reason = str_find(str_of(err_msg(e)), STR("not found")) >= 0 ? "ServiceNotFound" : "MissingEndpoints";
        set_available(g, s, false, reason, pool_str(p, str_of(err_msg(e))));
        changed(g, s, false, NULL, NULL);
        k->of = NULL;
        probe_free(k, false);
        err_free(e);
        return;
    }
    s->probe = k;
    g->flying++;
    k->client = remote_client(g->api, g->api->control, &t, g->cert, g->key, &e);
    if (!k->client) {
        judged(k, e);
        err_free(e);
        return;
    }
    remote_hold(k->client);
    struct http_header h[] = {{STR("x-remote-user"), STR("system:kube-aggregator")}, {STR("x-remote-group"), STR("system:masters")},
        {STR("accept"), STR("application/json")}};
    struct http_request rq = {.method = STR("GET"),
        .path = pool_printf(p, "/apis/%.*s/%.*s", STR_ARG(s->group), STR_ARG(s->version)),
        .headers = h,
        .nheaders = ARRAY_LEN(h),
        .timeout_ms = 5000};
    k->call = http_call(remote_http(k->client), &rq, &ev, k);
}

/* ---- the table ---- */

static void service_free(struct service *s)
{
    if (s->probe)
        s->probe->of = NULL;
    pool_free(s->pool);
    pool_free(s->found);
    free(s->name);
    free(s);
}

static void take(struct aggregates *g, const struct obj *o, const struct json *doc)
{
    const struct json *spec = json_get(doc, STR("spec")), *svc = json_get(spec, STR("service"));
    struct service *s = g->list;
    struct buf ca = BUF_INIT;
    while (s && !str_eqz(o->name, s->name))
        s = s->next;
    if (s && s->rev == o->generation) {
        s->seen = true;
        return;
    }
    struct pool *p = pool_new();
    struct service now = {.pool = p,
        .group = pool_str(p, json_get_str(spec, "group")),
        .version = pool_str(p, json_get_str(spec, "version")),
        .ns = pool_str(p, json_get_str(svc, "namespace")),
        .svc = pool_str(p, json_get_str(svc, "name")),
        .port = json_get_int(svc, "port", 443),
        .rev = o->generation,
        .insecure = json_get_bool(spec, "insecureSkipTLSVerify", false),
        .seen = true};
    if (buf_unbase64(&ca, json_get_str(spec, "caBundle")))
        now.ca = pool_str(p, buf_str(&ca));
    buf_clear(&ca);
    pthread_mutex_lock(&g->lock);
    if (!s) {
        s = xcalloc(1, sizeof *s);
        s->name = str_dup(o->name);
        s->next = g->list;
        g->list = s;
    } else {
        pool_free(s->pool);
    }
    now.next = s->next, now.name = s->name, now.available = s->available, now.resources = s->resources, now.found = s->found,
    now.probe = s->probe;
    *s = now;
    pthread_mutex_unlock(&g->lock);
}

static void look(struct aggregates *g)
{
    struct store_iter it;
    bool any = false, gone = false;
    _cleanup_(store_view_unrefp) struct store_view *v = store_view(g->api->store);
    for (struct service *s = g->list; s; s = s->next)
        s->seen = false;
    iter_start(&it, v, g->res, STR(""), STR_NULL, STR_NULL);
    for (const struct obj *o; (o = iter_next(&it));) {
        _cleanup_(pool_freep) struct pool *p = pool_new();
        struct json *doc;
        if (!o->deleted && obj_parse(o, p, &doc, NULL) == 0 && json_is(json_path(doc, "spec", "service", NULL), JSON_OBJ))
            take(g, o, doc);
    }
    pthread_mutex_lock(&g->lock);
    for (struct service **at = &g->list; *at;) {
        struct service *s = *at;
        if (s->seen) {
            any = true;
            at = &s->next;
            continue;
        }
        *at = s->next;
        gone |= s->available;
        service_free(s);
    }
    pthread_mutex_unlock(&g->lock);
    if (gone)
        crds_publish(g->api);
    for (struct service *s = g->list; s; s = s->next)
        if (!s->probe)
            probe(g, s);
    (void)any;
}

static void tick(struct timer *t)
{
    struct aggregates *g = container_of(t, struct aggregates, timer);
    bool waiting = false;
    if (g->api->ready && !g->told && g->api->keys)
        tell(g);
    look(g);
    for (struct service *s = g->list; s; s = s->next)
        waiting |= !s->available;
    bool soon = waiting || (!g->told && g->api->keys);
    if (soon || g->list)
        timer_in(g->api->control, t, soon ? PROBE_SOON : PROBE_EVERY, tick);
}

static void on_change(void *arg)
{
    struct aggregates *g = arg;
    struct store_event *ev;
    struct err *e = NULL;
    bool spec = false;
    while ((ev = store_watch_next(g->watch, &e))) {
        spec |= ev->type != STORE_PUT || !ev->before || ev->before->generation != ev->obj->generation || !ev->obj->generation;
        store_event_unref(ev);
    }
    if (e) { /* fell behind: begin again from now */
        err_free(TAKE(e));
        store_watch_close(TAKE(g->watch));
        if (store_watch_open(g->api->store, g->res, store_durable(g->api->store), 0, g->api->control, on_change, g, &g->watch, &e) < 0)
            log_warn("apiservices: %s", err_msg(e));
        err_free(e);
        spec = true;
    }
    if (spec)
        timer_in(g->api->control, &g->timer, NS_PER_MS, tick);
}

int aggregate_start(struct api *a, struct err **e)
{
    struct aggregates *g = a->aggregates = xcalloc(1, sizeof *g);
    g->api = a;
    pthread_mutex_init(&g->lock, NULL);
    if (!(g->res = store_find(a->store, STORAGE))) /* the hub's registry has none */
        return 0;
    if (a->keys)
        api_keys_front_client(a->keys, &g->cert, &g->key);
    timer_in(a->control, &g->timer, NS_PER_S / 2, tick);
    _cleanup_(store_view_unrefp) struct store_view *v = store_view(a->store);
    return store_watch_open(a->store, g->res, view_rev(v), 0, a->control, on_change, g, &g->watch, e);
}

static void drop(struct aggregates *g)
{
    while (g->list) {
        struct service *s = g->list;
        g->list = s->next;
        service_free(s);
    }
    pthread_mutex_destroy(&g->lock);
    free(g);
}

void aggregate_free(struct aggregates *g)
{
    if (!g)
        return;
    g->stopping = true;
    store_watch_close(TAKE(g->watch));
    timer_del(&g->timer);
    for (struct service *s = g->list; s; s = s->next)
        if (s->probe) {
            http_call_cancel(TAKE(s->probe->call));
            probe_free(s->probe, false);
            g->flying--;
        }
    if (!g->flying)
        drop(g);
}

/* ---- requests ---- */

/* The group version that a path names: /apis/G/V[/...], /openapi/v3/apis/G/V. */
static bool names_group(struct str path, struct str *group, struct str *version)
{
    struct str rest = path, more;
    if (str_starts(rest, STR("/openapi/v3/apis/")))
        rest = str_sub(rest, 17, rest.n);
    else if (str_starts(rest, STR("/apis/")))
        rest = str_sub(rest, 6, rest.n);
    else
        return false;
    if (!str_cut(rest, '/', group, &rest) || !group->n)
        return false;
    *version = rest;
    (void)str_cut(rest, '/', version, &more);
    return version->n > 0;
}

static bool local(const struct schema *schema, struct str group, struct str version)
{
    const struct schema_resource *r;
    for (size_t i = 0; (r = schema_at(schema, i)); i++)
        if (!r->unserved && str_eq(r->group, group) && str_eq(r->version, version))
            return true;
    return false;
}

static struct service *find(struct aggregates *g, struct str group, struct str version)
{
    struct service *s = g->list;
    while (s && !(str_eq(s->group, group) && str_eq(s->version, version)))
        s = s->next;
    return s;
}

bool aggregate_wants(struct call *c)
{
    struct aggregates *g = c->api->aggregates;
    struct str group, version;
    if (!g || !g->list || !c->rq || c->sink || !names_group(c->ri.path, &group, &version) || local(c->schema, group, version))
        return false;
    pthread_mutex_lock(&g->lock);
    bool there = find(g, group, version) != NULL;
    pthread_mutex_unlock(&g->lock);
    return there;
}

struct held {
    struct api *api;
    struct remote_client *client;
};
static void release(void *p)
{
    struct held *h = p;
    remote_release(h->api, h->client, false);
}

static size_t identity(struct call *c, struct http_header *h, size_t max)
{
    struct pool *p = c->rq->pool;
    size_t n = 0;
    h[n++] = (struct http_header){STR("x-remote-user"), pool_str(p, c->user->name)};
    if (c->user->uid.n)
        h[n++] = (struct http_header){STR("x-remote-uid"), pool_str(p, c->user->uid)};
    for (size_t i = 0; i < c->user->ngroups && n < max; i++)
        h[n++] = (struct http_header){STR("x-remote-group"), pool_str(p, c->user->groups[i])};
    for (size_t i = 0; i < c->user->nextra; i++) {
        struct buf b = BUF_INIT;
        buf_puts(&b, "x-remote-extra-");
        for (size_t k = 0; k < c->user->extra[i].key.n; k++) {
            char ch = c->user->extra[i].key.p[k];
            bool plain = (ch >= 'a' && ch <= 'z') || (ch >= '0' && ch <= '9') || ch == '-' || ch == '.' || ch == '_';
            if (plain)
                buf_putc(&b, ch);
            else
                buf_printf(&b, "%%%02X", (unsigned char)ch);
        }
        struct str key = buf_to_pool(&b, p);
        for (size_t k = 0; k < c->user->extra[i].nvalues && n < max; k++)
            h[n++] = (struct http_header){key, pool_str(p, c->user->extra[i].values[k])};
    }
    return n;
}

int aggregate_proxy(struct call *c, struct err **e)
{
    struct aggregates *g = c->api->aggregates;
    struct str group, version;
    struct remote_target t;
    struct pool *p = c->rq->pool;
    (void)names_group(c->ri.path, &group, &version);
    pthread_mutex_lock(&g->lock);
    struct service *s = find(g, group, version);
    bool ok = s && s->available;
    struct service copy = {0};
    if (s)
        copy = (struct service){
            .ns = pool_str(p, s->ns), .svc = pool_str(p, s->svc), .ca = pool_str(p, s->ca), .port = s->port, .insecure = s->insecure};
    pthread_mutex_unlock(&g->lock);
    if (!ok || target_of(g, &copy, p, &t, NULL) < 0)
        return err_set(e, ERR_UNAVAILABLE, "service unavailable");
    struct remote_client *client = remote_client(c->api, c->loop, &t, g->cert, g->key, e);
    if (!client)
        return -(*e)->code;
    struct held *h = pool_new_of(p, struct held);
    *h = (struct held){c->api, client};
    remote_hold(client);
    pool_on_free(p, release, h);
    struct http_header *extra = pool_array(p, struct http_header, 64);
    size_t n = identity(c, extra, 60);
    extra[n++] = (struct http_header){STR("host"), t.name};
    struct str path = c->rq->query.n ? pool_printf(p, "%.*s?%.*s", STR_ARG(c->rq->path), STR_ARG(c->rq->query)) : c->rq->path;
    metrics_count(c->api, c, 200);
    struct loop *loop = c->loop;
    api_proxy(call_hand_over(c), remote_http(client), loop, path, extra, n - 1);
    return CALL_WAIT;
}

/* ---- discovery ---- */

void aggregate_each(struct api *a, void (*fn)(void *arg, struct str group, struct str version, const struct json *resources), void *arg)
{
    struct aggregates *g = a->aggregates;
    if (!g)
        return;
    _cleanup_(schema_unrefp) struct schema *schema = api_schema_ref(a);
    pthread_mutex_lock(&g->lock);
    for (struct service *s = g->list; s; s = s->next)
        if (s->available && s->resources && !local(schema, s->group, s->version))
            fn(arg, s->group, s->version, s->resources);
    pthread_mutex_unlock(&g->lock);
}
