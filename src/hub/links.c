/* Clusters' uplinks: who may in, who is connected. */
#include <stdlib.h>

#include "base/log.h"
#include "hub/impl.h"

struct binding { /* writes the key into the Cluster, then lets the peer in */
    struct api_call call;
    struct link *link;
    struct store_wait wait;
    char *refused;
};

/* ---- presence ---- */

static void note(struct link *k, bool connected, const char *why)
{
    struct hub *h = k->hub;
    pthread_mutex_lock(&h->lock);
    struct presence *p = map_get(&h->presence, str_of(k->cluster));
    if (!p) {
        p = xcalloc(1, sizeof *p);
        map_put(&h->presence, str_of(k->cluster), p);
    }
    p->known = true;
    p->connected = connected;
    p->since = clock_now(api_clock(h->api));
    p->mono = loop_now(k->loop);
    if (!connected)
        p->seen = uplink_peer_seen(k->peer) ? p->since - MAX(p->mono - uplink_peer_seen(k->peer), 0) : p->since;
    snprintf(p->why, sizeof p->why, "%s", why);
    if (k->version)
        snprintf(p->version, sizeof p->version, "%s", k->version);
    pthread_mutex_unlock(&h->lock);
    clusters_touch(h, str_of(k->cluster));
}

bool links_presence(struct hub *h, struct str cluster, struct presence *out)
{
    pthread_mutex_lock(&h->lock);
    struct presence *p = map_get(&h->presence, cluster);
    if (p)
        *out = *p;
    pthread_mutex_unlock(&h->lock);
    return p != NULL;
}

struct http_client *links_client(struct hub *h, struct str cluster, struct loop **loop)
{
    struct http_client *client = NULL;
    pthread_mutex_lock(&h->lock);
    struct link *k = map_get(&h->links, cluster);
    if (k && k->connected) {
        client = uplink_peer_client(k->peer);
        *loop = k->loop;
    }
    bool ours = client && pthread_equal(k->thread, pthread_self());
    pthread_mutex_unlock(&h->lock);
    if (ours) /* nobody else ends it meanwhile */
        uplink_peer_probe(k->peer);
    return client;
}

/* ---- closing from another thread ---- */

struct closing { struct post post; struct hub *hub; struct loop *loop; char *cluster, *why; };

static void close_now(struct post *post)
{
    struct closing *c = container_of(post, struct closing, post);
    _cleanup_(err_freep) struct err *e = NULL;
    pthread_mutex_lock(&c->hub->lock);
    struct link *k = map_get(&c->hub->links, str_of(c->cluster));
    bool here = k && k->loop == c->loop;
    pthread_mutex_unlock(&c->hub->lock);
    (void)err_set(&e, ERR_FORBIDDEN, "%s", c->why);
    if (here)
        uplink_close(k->peer, e);
    free(c->cluster);
    free(c->why);
    free(c);
}

void links_close(struct hub *h, struct str cluster, const char *why)
{
    pthread_mutex_lock(&h->lock);
    struct link *k = map_get(&h->links, cluster);
    struct loop *loop = k ? k->loop : NULL;
    pthread_mutex_unlock(&h->lock);
    if (!loop)
        return;
    struct closing *c = xcalloc(1, sizeof *c);
    *c = (struct closing){.hub = h, .loop = loop, .cluster = str_dup(cluster), .why = xstrdup(why)};
    loop_post(loop, &c->post, close_now);
}

/* ---- what the cluster says of itself: its version ---- */

static void on_version_data(void *arg, const char *p, size_t n)
{
    struct link *k = arg;
    buf_add(&k->answer, p, n);
}

static void on_version_end(void *arg, const struct err *e)
{
    struct link *k = arg;
    _cleanup_(pool_freep) struct pool *p = pool_new();
    struct json *doc = NULL;
    k->asking = NULL;
    if (!e && !buf_failed(&k->answer) && json_parse(p, buf_str(&k->answer), NULL, &doc, NULL) == 0 && json_get_str(doc, "gitVersion").n) {
        free(k->version);
        k->version = str_dup(str_sub(json_get_str(doc, "gitVersion"), 0, 60));
        note(k, true, "");
    }
    buf_clear(&k->answer);
}

static void ask_version(struct link *k)
{
    static const struct http_call_events events = {NULL, on_version_data, NULL, on_version_end};
    static const struct http_header headers[] = {{{"impersonate-user", 16}, {HUB_PREFIX "observer", sizeof HUB_PREFIX "observer" - 1}}};
    struct http_request rq = {.method = STR("GET"), .path = STR("/version"), .headers = headers, .nheaders = 1};
    k->answer.limit = 64 * 1024;
    k->asking = http_call(uplink_peer_client(k->peer), &rq, &events, k);
}

/* ---- the peer's life ---- */

static void on_connected(void *arg, struct uplink_peer *peer)
{
    struct hub *h = arg;
    struct link *k = uplink_peer_user(peer);
    pthread_mutex_lock(&h->lock);
    struct link *old = map_put(&h->links, str_of(k->cluster), k);
    k->connected = true;
    pthread_mutex_unlock(&h->lock);
    log_info("cluster=%s connected", k->cluster);
    if (old) /* requests take the new connection at once; the old one ends by its own liveness bound */
        log_info("cluster=%s a new uplink replaces an older one", k->cluster);
    note(k, true, "");
    ask_version(k);
    site_roles_touch_from(h, str_of(k->cluster));
}

static void on_closed(void *arg, struct uplink_peer *peer, const struct err *why)
{
    struct hub *h = arg;
    struct link *k = uplink_peer_user(peer);
    if (!k)
        return; /* never let in */
    if (k->asking)
        http_call_cancel(TAKE(k->asking));
    pthread_mutex_lock(&h->lock);
    bool current = map_get(&h->links, str_of(k->cluster)) == k;
    if (current)
        map_del(&h->links, str_of(k->cluster));
    k->connected = false;
    pthread_mutex_unlock(&h->lock);
    if (current) {
        log_info("cluster=%s disconnected: %s", k->cluster, why ? err_msg(why) : "closed");
        note(k, false, why ? err_msg(why) : "the uplink was closed");
    }
    if (k->binding)
        k->binding->link = NULL; /* its write goes on; there is nobody to let in any more */
    buf_clear(&k->answer);
    free(k->cluster);
    free(k->version);
    free(k);
}

/* ---- admission ---- */

static void binding_free(struct binding *b)
{
    struct pool *p = b->call.pool;
    if (b->link)
        b->link->binding = NULL;
    api_call_clear(&b->call);
    pool_free(p);
    free(b);
}

static void admit(struct link *k)
{
    uplink_admit(k->peer, str_of(k->cluster));
}

static void on_bound_durable(struct store_wait *w, int result)
{
    struct binding *b = container_of(w, struct binding, wait);
    _cleanup_(err_freep) struct err *e = NULL;
    if (!b->link) {
        binding_free(b);
        return;
    }
    if (result < 0) {
        (void)err_set(&e, ERR_UNAVAILABLE, "the hub could not keep the registration");
        uplink_refuse(b->link->peer, e);
    } else {
        admit(b->link);
    }
    binding_free(b);
}

static void on_bound(struct api_call *c)
{
    struct binding *b = container_of(c, struct binding, call);
    if (c->err || !b->link) {
        if (b->link)
            uplink_refuse(b->link->peer, c->err);
        binding_free(b);
        return;
    }
    if (store_wait(api_store(b->link->hub->api), c->obj->rev, &b->wait, b->link->loop, on_bound_durable))
        on_bound_durable(&b->wait, 0);
}

/* The token's cluster takes this key, unless another key has redeemed the token already. The patch tests for that, so that of two at once one wins. */
static void bind_key(struct link *k, struct str key_id)
{
    struct binding *b = xcalloc(1, sizeof *b);
    struct pool *p = pool_new();
    struct json *patch = json_obj(p), *meta = json_put_obj(p, patch, STR("metadata"));
    struct store_view *v = store_view(api_store(k->hub->api));
    const struct obj *o = view_get(v, store_find(api_store(k->hub->api), STR(HUB_GROUP "/clusters")), STR_NULL, str_of(k->cluster));
    b->link = k;
    k->binding = b;
    if (o) /* conditional on what was read: nobody else bound it in between */
        json_set_str(p, meta, STR("resourceVersion"), pool_printf(p, "%" PRId64, o->rev));
    json_set_str(p, json_put_obj(p, meta, STR("annotations")), STR(HUB_KEY_ANNOTATION), key_id);
    store_view_unref(v);
    b->call = (struct api_call){.verb = API_PATCH_MERGE, .group = STR(HUB_GROUP), .version = STR(HUB_VERSION), .resource = STR("clusters"), .name = str_of(k->cluster), .body = patch, .pool = p};
    api_do(k->hub->api, k->loop, &b->call, on_bound);
}

static struct str bound_key(struct hub *h, struct pool *p, struct str cluster)
{
    _cleanup_(store_view_unrefp) struct store_view *v = store_view(api_store(h->api));
    const struct obj *o = view_get(v, store_find(api_store(h->api), STR(HUB_GROUP "/clusters")), STR_NULL, cluster);
    struct json *tree;
    if (!o || json_parse(p, o->json, NULL, &tree, NULL) < 0)
        return STR_NULL;
    return json_as_str(json_get(json_path(tree, "metadata", "annotations", NULL), STR(HUB_KEY_ANNOTATION)));
}

static void on_hello(void *arg, struct uplink_peer *peer, const struct uplink_who *who)
{
    struct hub *h = arg;
    _cleanup_(pool_freep) struct pool *p = pool_new();
    _cleanup_(err_freep) struct err *e = NULL;
    struct str cluster = clusters_by_key(h, p, who->key_id);
    bool bind = false;
    if (str_empty(cluster) && !str_empty(who->token)) {
        cluster = clusters_by_token(h, p, who->token);
        struct str bound = str_empty(cluster) ? STR_NULL : bound_key(h, p, cluster);
        if (!str_empty(bound) && !str_eq(bound, who->key_id)) {
            (void)err_set(&e, ERR_FORBIDDEN, "the token was redeemed by another key already");
            uplink_refuse(peer, e);
            return;
        }
        bind = true;
    }
    if (str_empty(cluster)) {
        (void)err_set(&e, ERR_UNAUTHORIZED, str_empty(who->token) ? "this key belongs to no cluster; a registration token is needed" : "the registration token is not valid");
        uplink_refuse(peer, e);
        return;
    }
    struct link *k = xcalloc(1, sizeof *k);
    *k = (struct link){.hub = h, .peer = peer, .loop = stream_loop(who->conn), .thread = pthread_self(), .cluster = str_dup(cluster)};
    uplink_peer_set_user(peer, k);
    if (bind)
        bind_key(k, pool_str(p, who->key_id));
    else
        admit(k);
}

/* The cluster's mirror upwards comes with the hub's view of clusters; a cluster asks for none yet. */
static void on_resume(void *arg, struct uplink_peer *p, bool known, int64_t epoch, int64_t rev) {}
static void on_inventory(void *arg, struct uplink_peer *p, const struct mirror_item *items, size_t n) {}
static void on_ack(void *arg, struct uplink_peer *p, int64_t rev) {}

static void on_entry(void *arg, struct uplink_peer *p, const struct outbox_entry *entry)
{
    uplink_entry_done(p, entry->seq, 404, STR("the hub takes no reports of this kind"));
}

static void on_call(void *arg, struct uplink_peer *p, uint64_t id, struct str method, struct str path, struct str content_type, struct str body)
{
    struct hub *h = arg;
    struct link *k = uplink_peer_user(p);
    bool changed;
    if (!str_eqz(path, "/view") || !str_eqz(method, "POST")) {
        uplink_reply(p, id, 404, STR("the hub offers no such call"));
        return;
    }
    uplink_reply(p, id, view_call(h, str_of(k->cluster), body, &changed), STR_NULL);
    if (changed)
        clusters_touch(h, str_of(k->cluster));
}

static int64_t epoch(void *arg)
{
    return store_epoch(api_store(((struct hub *)arg)->api));
}

void links_route(struct http_req *rq, const struct api_user *user, void *arg)
{
    struct hub *h = arg;
    struct uplink_accept_config c = {
        .loop = stream_loop(rq->conn),
        .clock = api_clock(h->api),
        .key = h->key,
        .store_uid = str_of(h->store_uid),
        .epoch = epoch,
        .on_hello = on_hello,
        .on_connected = on_connected,
        .on_resume = on_resume,
        .on_inventory = on_inventory,
        .on_ack = on_ack,
        .on_entry = on_entry,
        .on_call = on_call,
        .on_closed = on_closed,
        .arg = h,
    };
    uplink_accept(rq, &c);
}
