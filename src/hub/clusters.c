/* Cluster objects: their namespace, their registration token, their conditions. One key of the queue is one cluster; its sync takes steps, each one write at most. */
#include <stdlib.h>

#include "base/file.h"
#include "base/log.h"
#include "crypto/crypto.h"
#include "hub/impl.h"

#define CLUSTERS STR(HUB_GROUP "/clusters")
#define TOKENS STR(HUB_GROUP "/clusterregistrationtokens")
#define TOKEN_NAME STR("default-token")
#define TOKEN_LEN 54
#define TOUCH_SETTLE (50 * NS_PER_MS)

/*   NAMESPACE → TOKEN → TOKEN_STATUS → STATUS → end; a step that has nothing to write passes on at once */
enum step { STEP_NAMESPACE, STEP_TOKEN, STEP_TOKEN_STATUS, STEP_STATUS, STEPS };
struct work {
    struct hub *hub;
    char *name;
    enum step step;
    struct api_call call;
};

static void next(struct work *w);

/* ---- looking up ---- */

struct find {
    struct pool *p;
    bool by_namespace;
    struct str found;
};

static struct str annotation(const struct json *tree)
{
    return json_as_str(json_get(json_path(tree, "metadata", "annotations", NULL), STR(HUB_KEY_ANNOTATION)));
}

static bool take_first(void *arg, const struct obj *o)
{
    struct find *f = arg;
    f->found = pool_str(f->p, f->by_namespace ? o->ns : o->name);
    return false;
}

static struct str look_up(struct hub *h, struct pool *p, struct str res, const char *index, struct str key)
{
    struct store *s = api_store(h->api);
    _cleanup_(store_view_unrefp) struct store_view *v = store_view(s);
    struct find f = {.p = p, .by_namespace = str_eqz(str_of(index), "token")};
    if (key.n)
        view_index(v, store_find(s, res), str_of(index), key, take_first, &f);
    return f.found;
}

struct str clusters_by_key(struct hub *h, struct pool *p, struct str key_id)
{
    return look_up(h, p, CLUSTERS, "uplink", key_id);
}

struct str clusters_by_token(struct hub *h, struct pool *p, struct str token)
{
    char hex[HASH_HEX + 1];
    return token.n ? look_up(h, p, TOKENS, "token", hash_sha256_hex(token, hex)) : STR_NULL;
}

/* The object as a tree in the work's pool; NULL when there is none. */
static struct json *tree_of(struct work *w, struct str res, struct str ns, struct str name, bool *deleted)
{
    struct store *s = api_store(w->hub->api);
    _cleanup_(store_view_unrefp) struct store_view *v = store_view(s);
    const struct obj *o = view_get(v, store_find(s, res), ns, name);
    struct json *tree;
    if (!o || json_parse(w->call.pool, o->json, NULL, &tree, NULL) < 0)
        return NULL;
    if (deleted)
        *deleted = o->deleted != 0;
    return tree;
}

/* With a CA of the public's in setting cacerts there is nothing to pin. The hash is of the first certificate's DER. */
struct str clusters_join_token(struct hub *h, struct pool *p, struct str token)
{
    struct certs cas = {0};
    struct str hash = api_ca_hash(h->api), pem = hub_setting(h, p, "cacerts");
    if (pem.n && certs_parse(pem, &cas, NULL) >= 0 && cas.n)
        hash = pool_str(p, cert_info(cas.at[0])->fingerprint);
    certs_clear(&cas);
    return pool_printf(p, "K10%.*s::%.*s", STR_ARG(hash), STR_ARG(token));
}

/* ---- steps ---- each returns whether it made a call */

static bool step_namespace(struct work *w)
{
    struct pool *p = w->call.pool;
    if (tree_of(w, STR("/namespaces"), STR_NULL, str_of(w->name), NULL))
        return false;
    w->call.verb = API_CREATE;
    w->call.version = STR("v1");
    w->call.resource = STR("namespaces");
    w->call.body = json_obj(p);
    json_set_str(p, json_put_obj(p, w->call.body, STR("metadata")), STR("name"), str_of(w->name));
    return true;
}

static void token_call(struct work *w, enum api_verb verb)
{
    w->call.verb = verb;
    w->call.group = STR(HUB_GROUP);
    w->call.version = STR(HUB_VERSION);
    w->call.resource = STR("clusterregistrationtokens");
    w->call.ns = str_of(w->name);
}

static bool step_token(struct work *w)
{
    struct pool *p = w->call.pool;
    if (tree_of(w, TOKENS, str_of(w->name), TOKEN_NAME, NULL))
        return false;
    token_call(w, API_CREATE);
    w->call.body = json_obj(p);
    struct json *meta = json_put_obj(p, w->call.body, STR("metadata"));
    json_set_str(p, meta, STR("name"), TOKEN_NAME);
    json_set_str(p, meta, STR("namespace"), str_of(w->name));
    json_set_str(p, json_put_obj(p, w->call.body, STR("spec")), STR("clusterName"), str_of(w->name));
    return true;
}

static bool step_token_status(struct work *w)
{
    struct pool *p = w->call.pool;
    struct json *tree = tree_of(w, TOKENS, str_of(w->name), TOKEN_NAME, NULL);
    char made[TOKEN_LEN + 1];
    if (!tree)
        return false;
    struct str have = json_str_at(tree, "status", "token", NULL);
    struct json *status = json_put_obj(p, tree, STR("status"));
    if (!have.n) {
        random_suffix(made, TOKEN_LEN);
        have = str_of(made);
    }
    struct str url = hub_url(w->hub, p), manifest = pool_printf(p, "%.*s/v3/import/%.*s_%s.yaml", STR_ARG(url), STR_ARG(have), w->name);
    struct str node = pool_printf(p, "sampan connect --hub %.*s --token %.*s", STR_ARG(url), STR_ARG(clusters_join_token(w->hub, p, have)));
    if (str_eq(json_get_str(status, "manifestUrl"), manifest) && str_eq(json_get_str(status, "nodeCommand"), node))
        return false;
    token_call(w, API_UPDATE);
    w->call.name = TOKEN_NAME;
    w->call.sub = STR("status");
    json_set_str(p, status, STR("token"), have);
    json_set_str(p, status, STR("manifestUrl"), manifest);
    json_set_str(p, status, STR("command"), pool_printf(p, "kubectl apply -f %.*s", STR_ARG(manifest)));
    json_set_str(p, status, STR("insecureCommand"), pool_printf(p, "curl --insecure -sfL %.*s | kubectl apply -f -", STR_ARG(manifest)));
    json_set_str(p, status, STR("nodeCommand"), node);
    w->call.body = tree;
    return true;
}

static struct json *condition(struct pool *p, struct json *list, const char *type)
{
    json_for(list, c)
        if (str_eqz(json_get_str(c, "type"), type))
            return c;
    struct json *made = json_append(list, json_obj(p));
    json_set_str(p, made, STR("type"), str_of(type));
    return made;
}

static bool set_condition(struct work *w, struct json *list, const char *type, bool on, const char *reason, struct str message, int64_t since)
{
    struct pool *p = w->call.pool;
    struct json *c = condition(p, list, type);
    struct str status = on ? STR("True") : STR("False");
    char text[TIME_MAX];
    bool turned = !str_eq(json_get_str(c, "status"), status);
    if (!turned && str_eq(json_get_str(c, "message"), message))
        return false;
    struct str at = time_format(since, text);
    json_set_str(p, c, STR("status"), status);
    json_set_str(p, c, STR("reason"), str_of(reason));
    json_set_str(p, c, STR("message"), message);
    json_set_str(p, c, STR("lastUpdateTime"), at);
    if (turned)
        json_set_str(p, c, STR("lastTransitionTime"), at);
    return true;
}

static bool set_map(struct pool *p, struct json *status, const char *field, struct json *value)
{
    struct json *have = json_get(status, str_of(field));
    if ((!have && !json_count(value)) || (have && json_equal(have, value)))
        return false;
    json_set(p, status, str_of(field), value);
    return true;
}

/* What the cluster says of itself, summed up; it stays as it was last known while the cluster is away. */
static bool set_summary(struct work *w, struct json *status)
{
    struct pool *p = w->call.pool;
    struct view_summary s;
    view_summary(w->hub, p, str_of(w->name), &s);
    if (!s.known)
        return false;
    bool changed = json_get_int(status, "nodeCount", 0) != s.nodes;
    json_set_int(p, status, STR("nodeCount"), s.nodes);
    changed |= set_map(p, status, "capacity", s.capacity);
    changed |= set_map(p, status, "allocatable", s.allocatable);
    changed |= set_map(p, status, "requested", s.requested);
    return changed;
}

static bool step_status(struct work *w)
{
    struct pool *p = w->call.pool;
    struct presence now = {.since = clock_now(api_clock(w->hub->api)), .why = "the cluster has not connected since the hub started"};
    struct json *tree = tree_of(w, CLUSTERS, STR_NULL, str_of(w->name), NULL);
    char seen[TIME_MAX];
    if (!tree)
        return false;
    struct json *status = json_put_obj(p, tree, STR("status")), *conditions = json_put_arr(p, status, STR("conditions"));
    if (!links_presence(w->hub, str_of(w->name), &now) && str_empty(annotation(tree)))
        memcpy(now.why, "Waiting for API to be available", sizeof "Waiting for API to be available"); /* Rancher's words for a cluster that never came */
    bool changed = set_condition(w, conditions, "Connected", now.connected, now.connected ? "Connected" : "Disconnected", str_of(now.connected ? "" : now.why), now.since);
    changed |= set_condition(w, conditions, "Ready", now.connected, now.connected ? "Connected" : "Disconnected", str_of(now.connected ? "" : "Cluster agent is not connected"), now.since);
    changed |= set_summary(w, status);
    if (!now.connected && now.seen && !str_eq(json_get_str(status, "lastSeen"), time_format(now.seen, seen))) {
        json_set_str(p, status, STR("lastSeen"), pool_str(p, time_format(now.seen, seen)));
        changed = true;
    }
    if (now.version[0] && !str_eqz(json_str_at(status, "version", "gitVersion", NULL), now.version)) {
        json_set_str(p, json_put_obj(p, status, STR("version")), STR("gitVersion"), str_of(now.version));
        changed = true;
    }
    if (!changed)
        return false;
    w->call.verb = API_UPDATE;
    w->call.group = STR(HUB_GROUP);
    w->call.version = STR(HUB_VERSION);
    w->call.resource = STR("clusters");
    w->call.name = str_of(w->name);
    w->call.sub = STR("status");
    w->call.body = tree;
    return true;
}

static bool (*const steps[STEPS])(struct work *w) = {step_namespace, step_token, step_token_status, step_status};

/* ---- going through them ---- */

static void work_end(struct work *w, enum queue_result r)
{
    struct hub *h = w->hub;
    struct pool *p = w->call.pool;
    _cleanup_(freep) char *name = w->name;
    api_call_clear(&w->call);
    free(w);
    queue_finish(h->queue, str_of(name), r);
    pool_free(p);
}

static void on_step_done(struct api_call *c)
{
    struct work *w = container_of(c, struct work, call);
    if (c->err && c->err->code != ERR_EXISTS) {
        if (c->err->code != ERR_CONFLICT)
            log_warn("cluster=%s %s", w->name, err_msg(c->err));
        work_end(w, c->err->code == ERR_NOT_FOUND ? QUEUE_DONE : QUEUE_RETRY);
        return;
    }
    w->step++;
    next(w);
}

static void next(struct work *w)
{
    for (; w->step < STEPS; w->step++) {
        struct pool *p = w->call.pool;
        api_call_clear(&w->call);
        w->call = (struct api_call){.pool = p};
        if (steps[w->step](w)) {
            api_do(w->hub->api, w->hub->control, &w->call, on_step_done);
            return;
        }
    }
    work_end(w, QUEUE_DONE);
}

static enum queue_result sync(void *arg, struct str key)
{
    struct work *w = xcalloc(1, sizeof *w);
    bool deleted = false;
    w->hub = arg;
    w->name = str_dup(key);
    w->call.pool = pool_new();
    if (!tree_of(w, CLUSTERS, STR_NULL, key, &deleted) || deleted) { /* a cluster that is no more is only disconnected: nothing at the site changes */
        links_close(w->hub, key, "the cluster was removed from the hub");
        view_forget(w->hub, key);
        work_end(w, QUEUE_DONE);
        return QUEUE_PENDING;
    }
    next(w);
    return QUEUE_PENDING;
}

/* ---- hearing of changes ---- */

static void drain(struct hub *h, struct store_watch *watch, bool by_namespace)
{
    struct store_event *ev;
    while ((ev = store_watch_next(watch, NULL))) {
        if (ev->obj)
            queue_add(h->queue, by_namespace ? ev->obj->ns : ev->obj->name);
        store_event_unref(ev);
    }
}

static void on_clusters(void *arg)
{
    struct hub *h = arg;
    drain(h, h->clusters, false);
    roles_touch(h); /* what global roles give in every cluster */
}

static void on_tokens(void *arg)
{
    struct hub *h = arg;
    drain(h, h->tokens, true);
}

struct touch { struct post post; struct hub *hub; char *cluster; };

static void on_touch(struct post *post)
{
    struct touch *t = container_of(post, struct touch, post);
    if (t->hub->queue)
        queue_add_in(t->hub->queue, str_of(t->cluster), TOUCH_SETTLE);
    free(t->cluster);
    free(t);
}

void clusters_touch(struct hub *h, struct str cluster)
{
    if (!h->control)
        return;
    struct touch *t = xcalloc(1, sizeof *t);
    t->hub = h;
    t->cluster = str_dup(cluster);
    loop_post(h->control, &t->post, on_touch);
}

int clusters_start(struct hub *h, struct err **e)
{
    struct store *s = api_store(h->api);
    struct store_res *clusters = store_find(s, CLUSTERS), *tokens = store_find(s, TOKENS);
    if (!clusters || !tokens)
        return err_set(e, ERR_INTERNAL, "the hub's kinds are not registered");
    h->queue = queue_new(h->control, "cluster", 1, sync, h);
    _cleanup_(store_view_unrefp) struct store_view *v = store_view(s);
    int r = store_watch_open(s, clusters, view_rev(v), 0, h->control, on_clusters, h, &h->clusters, e);
    if (r == 0)
        r = store_watch_open(s, tokens, view_rev(v), 0, h->control, on_tokens, h, &h->tokens, e);
    if (r < 0)
        return err_wrap(e, "clusters");
    struct store_iter it;
    iter_start(&it, v, clusters, STR_NULL, STR_NULL, STR_NULL);
    for (const struct obj *o; (o = iter_next(&it));)
        queue_add(h->queue, o->name);
    return 0;
}

void clusters_stop(struct hub *h)
{
    store_watch_close(TAKE(h->clusters));
    store_watch_close(TAKE(h->tokens));
    queue_free(TAKE(h->queue));
}
