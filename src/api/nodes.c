#include "api/nodes.h"
#include <sys/socket.h>
#include <unistd.h>
#include "api/api_keys.h"
#include "api/tokens.h"
#include "base/log.h"

/* Nodes' uplinks: who may join, and the links that are up.
 *
 * A node is known by its key. The first join needs the agent's token and binds name and key in the Secret kube-system/<name>.node-key;
 * afterwards the key alone lets it in, and another key under that name is refused until the Secret is deleted. On the local unix socket
 * root and our own user need no token: that is the server's own node. */

#define KEY_SECRET_SUFFIX ".node-key"

struct nodes {
    struct api *api;
    pthread_mutex_t lock;
    struct map links; /* name → struct node_link, connected ones */
    struct map lost;  /* name → int64_t, clock_mono at which the last link went */
    int64_t started;
    struct key *key;
    char *store_uid;
};

struct node_binding {
    struct node_link *link;
    struct api_call call;
    struct store_wait wait;
    bool waiting;
};

static void accept_uplink(struct http_req *rq, const struct api_user *user, void *arg);

struct nodes *nodes_new(struct api *a)
{
    struct nodes *n = xcalloc(1, sizeof *n);
    struct err *e = NULL;
    n->api = a;
    n->started = clock_mono(NULL);
    pthread_mutex_init(&n->lock, NULL);
    n->store_uid = str_dup(store_uid(a->store));
    n->key = a->keys ? key_ref(api_keys_identity(a->keys)) : NULL;
    if (a->cfg.hub || !a->res.nodes || !a->res.pods)
        return n;
    if (!n->key && !(n->key = key_make(KEY_ED25519, &e)))
        log_error("no key for uplinks: %s", err_msg(e));
    err_free(e);
    if (n->key)
        api_route(a, STR(UPLINK_PATH), false, accept_uplink, a);
    return n;
}

void nodes_free(struct nodes *n)
{
    if (!n)
        return;
    map_clear(&n->links, NULL);
    map_clear(&n->lost, free);
    pthread_mutex_destroy(&n->lock);
    key_free(n->key);
    free(n->store_uid);
    free(n);
}

/* ---- links ---- */

struct http_client *api_node_client(struct api *a, struct str node, struct loop **loop)
{
    struct http_client *client = NULL;
    pthread_mutex_lock(&a->nodes->lock);
    struct node_link *l = map_get(&a->nodes->links, node);
    if (l && l->peer) {
        client = uplink_peer_client(l->peer);
        *loop = l->loop;
    }
    pthread_mutex_unlock(&a->nodes->lock);
    return client;
}

bool api_node_connected(struct api *a, struct str node)
{
    pthread_mutex_lock(&a->nodes->lock);
    bool on = map_get(&a->nodes->links, node) != NULL;
    pthread_mutex_unlock(&a->nodes->lock);
    return on;
}

int64_t api_node_awaited(struct api *a, struct str node, int64_t now)
{
    pthread_mutex_lock(&a->nodes->lock);
    const int64_t *lost = map_get(&a->nodes->lost, node);
    int64_t at = lost ? *lost : 0;
    pthread_mutex_unlock(&a->nodes->lock);
    return api_proxy_until(at, a->nodes->started, now);
}

static void note_lost(struct nodes *n, struct str name, int64_t now) /* with the lock */
{
    int64_t *at = map_get(&n->lost, name);
    if (!at) {
        at = xmalloc(sizeof *at);
        (void)map_put(&n->lost, name, at);
    }
    *at = now;
}

static void link_free(struct node_link *l)
{
    node_view_free(l->view);
    node_calls_drop(l);
    pool_free(l->pool);
    free(l);
}

static void on_closed(void *arg, struct uplink_peer *p, const struct err *why)
{
    struct api *a = arg;
    struct node_link *l = uplink_peer_user(p);
    if (!l)
        return;
    pthread_mutex_lock(&a->nodes->lock);
    if (map_get(&a->nodes->links, l->name) == l) {
        (void)map_del(&a->nodes->links, l->name);
        note_lost(a->nodes, l->name, loop_now(l->loop));
    }
    pthread_mutex_unlock(&a->nodes->lock);
    if (l->connected)
        log_info("node=%.*s disconnected: %s", STR_ARG(l->name), why ? err_msg(why) : "closed");
    l->peer = NULL;
    if (l->binding)
        l->binding->link = NULL;
    link_free(l);
}

static void on_connected(void *arg, struct uplink_peer *p)
{
    struct api *a = arg;
    struct node_link *l = uplink_peer_user(p), *old;
    l->connected = true;
    pthread_mutex_lock(&a->nodes->lock);
    old = map_put(&a->nodes->links, l->name, l); /* a newer connection takes the older one's place, which dies by itself */
    pthread_mutex_unlock(&a->nodes->lock);
    (void)old;
    log_info("node=%.*s connected", STR_ARG(l->name));
}

static void on_resume(void *arg, struct uplink_peer *p, bool known, int64_t epoch, int64_t rev)
{
    struct node_link *l = uplink_peer_user(p);
    (void)arg, (void)known, (void)epoch;
    if (!l->view)
        l->view = node_view_new(l);
    node_view_resume(l->view, rev);
}

static void on_inventory(void *arg, struct uplink_peer *p, const struct mirror_item *items, size_t n)
{
    struct node_link *l = uplink_peer_user(p);
    (void)arg;
    if (l->view)
        node_view_inventory(l->view, items, n);
}

static void on_ack(void *arg, struct uplink_peer *p, int64_t rev)
{
    (void)arg, (void)p, (void)rev;
}

/* ---- reports and calls ---- */

static void entry_done(struct node_link *l, uint64_t seq, int status, struct str body)
{
    _cleanup_(pool_freep) struct pool *p = pool_new();
    struct json *s = NULL;
    struct str message = STR("");
    if (status >= 300 && json_parse(p, body, NULL, &s, NULL) >= 0)
        message = json_get_str(s, "message");
    uplink_entry_done(l->peer, seq, status, str_sub(message, 0, 512));
}

static void on_entry(void *arg, struct uplink_peer *p, const struct outbox_entry *x)
{
    (void)arg;
    node_call(uplink_peer_user(p), x->seq, x->method, x->path, x->content_type, x->body, entry_done);
}

static void call_done(struct node_link *l, uint64_t id, int status, struct str body)
{
    uplink_reply(l->peer, id, status, body);
}

static void on_call(
    void *arg, struct uplink_peer *p, uint64_t id, struct str method, struct str path, struct str content_type, struct str body)
{
    (void)arg;
    node_call(uplink_peer_user(p), id, method, path, content_type, body, call_done);
}

/* ---- joining ---- */

static bool local_peer(const struct uplink_who *who)
{
    struct ucred cred;
    socklen_t len = sizeof cred;
    struct sockaddr_storage name;
    socklen_t nlen = sizeof name;
    int fd = who->conn ? stream_fd(who->conn) : -1;
    if (fd < 0 || getsockname(fd, (struct sockaddr *)(void *)&name, &nlen) < 0 || name.ss_family != AF_UNIX)
        return false;
    return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) == 0 && (cred.uid == 0 || cred.uid == geteuid());
}

static void forgotten(struct api_call *c)
{
    struct pool *p = c->pool;
    api_call_clear(c);
    pool_free(p);
}

/* A Node was deleted: its name is free for another key. */
void nodes_forget(struct api *a, struct loop *l, const struct obj *last)
{
    if (!a->res.nodes || last->res != a->res.nodes)
        return;
    struct pool *p = pool_new();
    struct api_call *c = pool_new_of(p, struct api_call);
    *c = (struct api_call){.verb = API_DELETE,
        .group = STR(""),
        .version = STR("v1"),
        .resource = STR("secrets"),
        .ns = STR("kube-system"),
        .pool = p,
        .name = pool_printf(p, "%.*s" KEY_SECRET_SUFFIX, STR_ARG(last->name))};
    api_do(a, l, c, forgotten);
}

static struct str known_key(struct api *a, struct pool *p, struct str name)
{
    _cleanup_(store_view_unrefp) struct store_view *v = store_view(a->store);
    const struct obj *o = view_get(v, a->res.secrets, STR("kube-system"), pool_printf(p, "%.*s" KEY_SECRET_SUFFIX, STR_ARG(name)));
    struct json *doc;
    struct buf b = BUF_INIT;
    if (!o)
        return STR_NULL;
    pool_hold_obj(p, obj_ref(o));
    if (obj_parse(o, p, &doc, NULL) < 0 || !buf_unbase64(&b, json_str_at(doc, "data", "key-id", NULL)))
        return buf_clear(&b), STR("");
    return buf_to_pool(&b, p);
}

static void bound_durable(struct store_wait *w, int result)
{
    struct node_binding *b = container_of(w, struct node_binding, wait);
    struct node_link *l = b->link;
    if (l) {
        l->binding = NULL;
        if (result >= 0) {
            uplink_admit(l->peer, l->name);
        } else {
            _cleanup_(err_freep) struct err *e = NULL;
            (void)err_set(&e, ERR_UNAVAILABLE, "the join could not be made durable");
            uplink_refuse(l->peer, e);
        }
    }
    struct pool *p = b->call.pool;
    api_call_clear(&b->call);
    pool_free(p);
}

static void bound(struct api_call *c)
{
    struct node_binding *b = container_of(c, struct node_binding, call);
    struct node_link *l = b->link;
    if (c->err && c->err->code != ERR_EXISTS) {
        if (l) {
            l->binding = NULL;
            uplink_refuse(l->peer, c->err);
        }
        struct pool *p = c->pool;
        api_call_clear(c);
        pool_free(p);
        return;
    }
    if (!l || !c->obj || store_wait(l->api->store, c->obj->rev, &b->wait, l->loop, bound_durable))
        bound_durable(&b->wait, 0);
}

static void bind_key(struct node_link *l, struct str key_id)
{
    struct pool *p = pool_new();
    struct node_binding *b = pool_new_of(p, struct node_binding);
    struct json *doc = json_obj(p);
    struct buf text = BUF_INIT;
    buf_base64(&text, key_id.p, key_id.n);
    json_set_str(p, doc, STR("kind"), STR("Secret"));
    json_set_str(p, doc, STR("apiVersion"), STR("v1"));
    struct json *m = json_put_obj(p, doc, STR("metadata"));
    json_set_str(p, m, STR("name"), pool_printf(p, "%.*s" KEY_SECRET_SUFFIX, STR_ARG(l->name)));
    json_set_str(p, m, STR("namespace"), STR("kube-system"));
    json_set_str(p, json_put_obj(p, doc, STR("data")), STR("key-id"), buf_str(&text));
    json_set_str(p, doc, STR("type"), STR("sampan.io/node-key"));
    buf_clear(&text);
    b->link = l;
    l->binding = b;
    b->call = (struct api_call){.verb = API_CREATE,
        .group = STR(""),
        .version = STR("v1"),
        .resource = STR("secrets"),
        .ns = STR("kube-system"),
        .body = doc,
        .pool = p};
    api_do(l->api, l->loop, &b->call, bound);
}

static int refuse(struct uplink_peer *p, enum err_code code, const char *why)
{
    _cleanup_(err_freep) struct err *e = NULL;
    (void)err_set(&e, code, "%s", why);
    uplink_refuse(p, e);
    return -1;
}

static struct node_link *link_new(struct api *a, struct uplink_peer *p, const struct uplink_who *who)
{
    static const struct str groups[] = {STR("system:nodes")};
    struct node_link *l = xcalloc(1, sizeof *l);
    l->api = a;
    l->loop = stream_loop(who->conn);
    l->peer = p;
    l->pool = pool_new();
    l->name = pool_str(l->pool, who->name);
    l->user = user_new(l->pool, pool_printf(l->pool, "system:node:%.*s", STR_ARG(who->name)), STR_NULL, groups, 1, true);
    list_init(&l->calls);
    uplink_peer_set_user(p, l);
    return l;
}

static void on_hello(void *arg, struct uplink_peer *p, const struct uplink_who *who)
{
    struct api *a = arg;
    _cleanup_(pool_freep) struct pool *pool = pool_new();
    if (!str_eqz(who->view, "node")) {
        (void)refuse(p, ERR_BAD_REQUEST, "this cluster has no such view: \"node\" is served");
        return;
    }
    if (name_dns1123_subdomain(who->name)) {
        (void)refuse(p, ERR_BAD_REQUEST, "the node's name is no DNS subdomain");
        return;
    }
    if (!a->ready) {
        (void)refuse(p, ERR_UNAVAILABLE, "the API server is starting");
        return;
    }
    struct str known = known_key(a, pool, who->name);
    bool local = local_peer(who), same = known.p && str_eq(known, who->key_id);
    if (!local && known.p && !same) {
        (void)refuse(p, ERR_FORBIDDEN,
            "a node of this name has joined with another key; delete the Secret kube-system/<name>" KEY_SECRET_SUFFIX
            " to let this one in");
        return;
    }
    bool token = token_is_join(a, who->token, a->cfg.static_token_agent) || token_is_join(a, who->token, a->cfg.static_token_server) ||
                 token_joins_nodes(a, who->token);
    if (!local && !same && !token) {
        (void)refuse(p, ERR_UNAUTHORIZED, "the join token is not valid");
        return;
    }
    struct node_link *l = link_new(a, p, who);
    if (same || (local && known.p))
        uplink_admit(p, l->name);
    else
        bind_key(l, who->key_id);
}

static int64_t epoch(void *arg)
{
    return store_epoch(((struct api *)arg)->store);
}

static void accept_uplink(struct http_req *rq, const struct api_user *user, void *arg)
{
    struct api *a = arg;
    (void)user;
    struct uplink_accept_config c = {.loop = stream_loop(rq->conn),
        .clock = a->clock,
        .key = a->nodes->key,
        .store_uid = str_of(a->nodes->store_uid),
        .epoch = epoch,
        .on_hello = on_hello,
        .on_connected = on_connected,
        .on_resume = on_resume,
        .on_inventory = on_inventory,
        .on_ack = on_ack,
        .on_entry = on_entry,
        .on_call = on_call,
        .on_closed = on_closed,
        .arg = a};
    uplink_accept(rq, &c);
}
