/* Local users: login with name and password, and changing it. Argon2id takes a quarter of a second and 19 MiB: one thread of its own does that, one at a time, for at most QUEUE_MAX
 * that wait. Wrong passwords are counted per user name and per address; who is over the limit waits, whether the name exists or not.
 *
 * Providers are rows of a table: local is the one that there is. An OIDC, LDAP or SAML provider is a row that finds the user by its principal. */
#include <pthread.h>
#include <stdlib.h>

#include "base/list.h"
#include "base/log.h"
#include "crypto/crypto.h"
#include "hub/impl.h"

#define QUEUE_MAX 32
#define USER_TRIES 5           /* before a name is locked: 10 s, doubling */
#define ADDRESS_TRIES 20
#define LOCK_FIRST (10 * NS_PER_S)
#define LOCK_MOST (900 * NS_PER_S)
#define FORGET (3600 * NS_PER_S) /* after so long without a new failure */
#define TRACKED_MAX 8192
/* Of no password: verified when the name does not exist, so that both take the same time. */
#define NOBODY "$argon2id$v=19$m=19456,t=2,p=1$c2FtcGFuLW5vLXVzZXI$RdescudvJCsgt3ub+b4dWRWJTmaaJObG0mN4ZhH0mE4"

struct tries {
    int64_t until, last;
    unsigned failed;
};

struct login {
    struct list node;
    struct hub *hub;
    struct loop *loop;
    struct http_req *rq; /* NULL: gone */
    struct pool *pool;
    struct str username, password, next /* the new password */, phc, user, description, address, cluster;
    bool change, good, must_change;
    int64_t ttl_ms;
    struct post post;
    struct mint mint;
    struct api_call call;
    struct store_wait wait;
};

struct logins {
    struct hub *hub;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t more;
    struct list queue;
    size_t waiting;
    bool stop, started;
    struct map tries; /* "u:name", "a:address" → struct tries */
};

/* ---- how often it may be tried ---- */

static struct tries *tries_of(struct logins *g, struct pool *p, char kind, struct str who)
{
    return map_get(&g->tries, pool_printf(p, "%c:%.*s", kind, STR_ARG(who)));
}

static int64_t locked_for(struct logins *g, struct login *l, int64_t now)
{
    pthread_mutex_lock(&g->lock);
    struct tries *u = tries_of(g, l->pool, 'u', l->username), *a = tries_of(g, l->pool, 'a', l->address);
    int64_t until = MAX(u ? u->until : 0, a ? a->until : 0);
    pthread_mutex_unlock(&g->lock);
    return until > now ? until - now : 0;
}

static void one_failed(struct logins *g, struct pool *p, char kind, struct str who, unsigned allowed, int64_t now)
{
    struct tries *t = tries_of(g, p, kind, who);
    if (!t) {
        if (map_count(&g->tries) >= TRACKED_MAX) /* somebody makes names up: the table starts anew rather than grow */
            map_clear(&g->tries, free);
        t = xcalloc(1, sizeof *t);
        (void)map_put(&g->tries, pool_printf(p, "%c:%.*s", kind, STR_ARG(who)), t);
    }
    if (now - t->last > FORGET)
        t->failed = 0;
    t->last = now;
    if (++t->failed >= allowed)
        t->until = now + MIN(LOCK_FIRST << MIN(t->failed - allowed, 8u), LOCK_MOST);
}

static void count(struct logins *g, struct login *l, int64_t now)
{
    pthread_mutex_lock(&g->lock);
    if (l->good) {
        struct tries *t = tries_of(g, l->pool, 'u', l->username);
        if (t)
            *t = (struct tries){0};
    } else {
        one_failed(g, l->pool, 'u', l->username, USER_TRIES, now);
        one_failed(g, l->pool, 'a', l->address, ADDRESS_TRIES, now);
    }
    pthread_mutex_unlock(&g->lock);
}

/* ---- the thread ---- */

static void answer(struct post *post);

static void *work(void *arg)
{
    struct logins *g = arg;
    pthread_mutex_lock(&g->lock);
    while (!g->stop) {
        if (list_empty(&g->queue)) {
            pthread_cond_wait(&g->more, &g->lock);
            continue;
        }
        struct login *l = list_first(&g->queue, struct login, node);
        list_remove(&l->node);
        pthread_mutex_unlock(&g->lock);
        l->good = password_verify(l->phc.n ? l->phc : STR(NOBODY), l->password) && l->phc.n;
        pthread_mutex_lock(&g->lock);
        g->waiting--;
        loop_post(l->loop, &l->post, answer);
    }
    pthread_mutex_unlock(&g->lock);
    return NULL;
}

static bool enqueue(struct logins *g, struct login *l)
{
    pthread_mutex_lock(&g->lock);
    bool room = g->waiting < QUEUE_MAX && !g->stop;
    if (room) {
        g->waiting++;
        list_push(&g->queue, &l->node);
        pthread_cond_signal(&g->more);
    }
    pthread_mutex_unlock(&g->lock);
    return room;
}

int login_open(struct hub *h, struct err **e)
{
    struct logins *g = xcalloc(1, sizeof *g);
    g->hub = h;
    h->logins = g;
    list_init(&g->queue);
    pthread_mutex_init(&g->lock, NULL);
    pthread_cond_init(&g->more, NULL);
    int r = pthread_create(&g->thread, NULL, work, g);
    if (r)
        return err_errno(e, r, "thread");
    g->started = true;
    return 0;
}

static void login_free(struct login *l)
{
    if (l->rq) {
        l->rq->user = NULL;
        l->rq->on_close = NULL;
    }
    crypto_wipe((char *)l->password.p, l->password.n);
    crypto_wipe((char *)l->next.p, l->next.n);
    pool_free(l->pool);
}

void login_close(struct hub *h)
{
    struct logins *g = TAKE(h->logins);
    if (!g)
        return;
    if (g->started) {
        pthread_mutex_lock(&g->lock);
        g->stop = true;
        pthread_cond_signal(&g->more);
        pthread_mutex_unlock(&g->lock);
        pthread_join(g->thread, NULL);
    }
    while (!list_empty(&g->queue)) {
        struct login *l = list_first(&g->queue, struct login, node);
        list_remove(&l->node);
        login_free(l);
    }
    map_clear(&g->tries, free);
    pthread_cond_destroy(&g->more);
    pthread_mutex_destroy(&g->lock);
    free(g);
}

/* ---- answers ---- */

static void refuse(struct login *l, const struct err *e)
{
    struct http_req *rq = TAKE(l->rq);
    if (rq) {
        rq->user = NULL;
        rq->on_close = NULL;
        hub_refuse(rq, e);
    }
    login_free(l);
}

static void refuse_with(struct login *l, enum err_code code, int retry, const char *message)
{
    _cleanup_(err_freep) struct err *e = NULL;
    (void)err_set(&e, code, "%s", message);
    e->retry_after_s = retry;
    refuse(l, e);
}

static void on_minted(struct mint *m, const struct err *e)
{
    struct login *l = container_of(m, struct login, mint);
    struct http_req *rq = l->rq;
    char text[TIME_MAX];
    if (e) {
        refuse(l, e);
        return;
    }
    if (rq) {
        struct pool *p = rq->pool;
        struct json *doc = json_obj(p);
        l->rq = NULL;
        rq->user = NULL;
        rq->on_close = NULL;
        json_set_str(p, doc, STR("type"), STR("token"));
        json_set_str(p, doc, STR("id"), m->name);
        json_set_str(p, doc, STR("name"), m->name);
        json_set_str(p, doc, STR("token"), pool_printf(p, "%.*s:%.*s", STR_ARG(m->name), STR_ARG(m->secret)));
        json_set_str(p, doc, STR("userId"), m->user);
        json_set_str(p, doc, STR("authProvider"), STR("local"));
        json_set_int(p, doc, STR("ttl"), m->ttl_ms);
        if (m->expires)
            json_set_str(p, doc, STR("expiresAt"), time_format(m->expires, text));
        json_set_bool(p, doc, STR("mustChangePassword"), l->must_change);
        hub_reply(rq, 201, doc);
    }
    login_free(l);
}

static void on_changed_durable(struct store_wait *w, int result)
{
    struct login *l = container_of(w, struct login, wait);
    if (result < 0) {
        refuse_with(l, ERR_UNAVAILABLE, 1, "the hub could not keep the new password");
        return;
    }
    struct http_req *rq = TAKE(l->rq);
    if (rq) {
        rq->user = NULL;
        rq->on_close = NULL;
        http_reply_str(rq, 200, "application/json", STR("{}"));
    }
    login_free(l);
}

static void on_changed(struct api_call *c)
{
    struct login *l = container_of(c, struct login, call);
    if (c->err) {
        _cleanup_(err_freep) struct err *e = TAKE(c->err);
        api_call_clear(c);
        refuse(l, e);
        return;
    }
    int64_t rev = c->obj->rev;
    api_call_clear(c);
    if (store_wait(api_store(l->hub->api), rev, &l->wait, l->loop, on_changed_durable))
        on_changed_durable(&l->wait, 0);
}

static void change(struct login *l)
{
    struct pool *p = l->pool;
    struct json *patch = json_obj(p);
    json_set_str(p, patch, STR("password"), l->next);
    json_set_bool(p, patch, STR("mustChangePassword"), false);
    l->call = (struct api_call){.verb = API_PATCH_MERGE, .group = STR(HUB_GROUP), .version = STR(HUB_VERSION), .resource = STR("users"), .name = l->user, .body = patch, .pool = p};
    api_do(l->hub->api, l->loop, &l->call, on_changed);
}

static void answer(struct post *post)
{
    struct login *l = container_of(post, struct login, post);
    count(l->hub->logins, l, clock_mono(NULL));
    if (!l->good) {
        log_warn("user=%.*s login failed from %.*s", STR_ARG(l->username), STR_ARG(l->address));
        refuse_with(l, ERR_UNAUTHORIZED, 0, "authentication failed");
    } else if (l->change) {
        change(l);
    } else {
        l->mint = (struct mint){.hub = l->hub, .loop = l->loop, .user = l->user, .kind = STR("session"), .description = l->description, .cluster = l->cluster,
            .ttl_ms = token_ttl_ms(l->hub, "auth-user-session-ttl-minutes", l->ttl_ms), .done = on_minted, .pool = l->pool};
        token_mint(&l->mint);
    }
}

/* ---- requests ---- */

struct finding {
    struct str username;
    struct json *user;
};

static bool is_user(void *arg, struct json *doc)
{
    struct finding *f = arg;
    if (!str_eq(json_get_str(doc, "username"), f->username))
        return true;
    f->user = doc;
    return false;
}

static struct json *local_find(struct hub *h, struct pool *p, struct str username)
{
    struct finding f = {username, NULL};
    if (username.n)
        hub_each(h, p, "users", STR_NULL, is_user, &f);
    return f.user && json_get_bool(f.user, "enabled", true) ? f.user : NULL;
}

/* Who may vouch for a user: a provider finds the User that a name stands for; local ones are proved by the password in it. */
static const struct provider {
    const char *name, *path;
    struct json *(*find)(struct hub *h, struct pool *p, struct str username);
} providers[] = {
    {"local", "/v3-public/localProviders/local", local_find},
    {"local", "/v1/sampan/login", local_find},
};

static void on_gone(struct http_req *rq)
{
    ((struct login *)rq->user)->rq = NULL;
}

static struct str without_port(struct str peer)
{
    ssize_t at = str_rchr(peer, ':');
    return at > 0 ? str_sub(peer, 0, (size_t)at) : peer;
}

static void begin(struct login *l)
{
    struct logins *g = l->hub->logins;
    int64_t wait = locked_for(g, l, clock_mono(NULL));
    if (wait)
        refuse_with(l, ERR_TOO_MANY, (int)(wait / NS_PER_S) + 1, "too many failed logins; try again later");
    else if (!enqueue(g, l))
        refuse_with(l, ERR_TOO_MANY, 2, "too many logins are waiting");
}

static void take_user(struct login *l, const struct json *user)
{
    l->user = pool_str(l->pool, json_str_at(user, "metadata", "name", NULL));
    l->phc = pool_str(l->pool, json_get_str(user, "password"));
    l->must_change = json_get_bool(user, "mustChangePassword", false);
}

static void on_login_body(struct http_req *rq, struct str body)
{
    struct login *l = rq->user;
    struct json *doc;
    rq->on_close = NULL; /* a refusal answers it, and then it is gone */
    if (!hub_body(rq, body, &doc)) {
        l->rq = NULL;
        login_free(l);
        return;
    }
    rq->on_close = on_gone;
    l->username = pool_str(l->pool, str_sub(json_get_str(doc, "username"), 0, 128));
    l->password = pool_str(l->pool, json_get_str(doc, "password"));
    l->description = pool_str(l->pool, json_get_str(doc, "description"));
    l->cluster = pool_str(l->pool, json_get_str(doc, "clusterName"));
    l->ttl_ms = json_get_int(doc, "ttl", 0);
    for (size_t i = 0; i < ARRAY_LEN(providers); i++)
        if (str_eqz(rq->path, providers[i].path))
            take_user(l, providers[i].find(l->hub, l->pool, l->username));
    begin(l);
}

static void on_password_body(struct http_req *rq, struct str body)
{
    struct login *l = rq->user;
    struct json *doc, *user = hub_get(l->hub, l->pool, "users", STR_NULL, l->user);
    rq->on_close = NULL;
    if (!hub_body(rq, body, &doc)) {
        l->rq = NULL;
        login_free(l);
        return;
    }
    rq->on_close = on_gone;
    l->password = pool_str(l->pool, json_get_str(doc, "currentPassword"));
    l->next = pool_str(l->pool, json_get_str(doc, "newPassword"));
    if ((int64_t)l->next.n < hub_setting_int(l->hub, "password-min-length", 12)) {
        refuse_with(l, ERR_INVALID, 0, "newPassword: shorter than the setting password-min-length");
        return;
    }
    take_user(l, user);
    l->username = pool_str(l->pool, json_get_str(user, "username"));
    begin(l);
}

static void never_read(struct http_req *rq)
{
    struct login *l = rq->user;
    l->rq = NULL;
    login_free(l);
}

static struct login *login_new(struct hub *h, struct http_req *rq)
{
    struct pool *p = pool_new();
    struct login *l = pool_new_of(p, struct login);
    l->hub = h;
    l->loop = stream_loop(rq->conn);
    l->rq = rq;
    l->pool = p;
    l->address = pool_str(p, without_port(stream_peer(rq->conn)));
    rq->user = l;
    rq->on_close = never_read;
    return l;
}

static bool posted(struct http_req *rq)
{
    _cleanup_(err_freep) struct err *e = NULL;
    if (str_eqz(rq->method, "POST"))
        return true;
    (void)err_set(&e, ERR_METHOD, "the server does not allow this method on the requested resource");
    hub_refuse(rq, e);
    return false;
}

void login_route(struct http_req *rq, const struct api_user *user, void *arg)
{
    (void)user;
    if (!posted(rq))
        return;
    (void)login_new(arg, rq);
    http_body(rq, 16 << 10, on_login_body);
}

void password_route(struct http_req *rq, const struct api_user *user, void *arg)
{
    _cleanup_(err_freep) struct err *e = NULL;
    if (!posted(rq))
        return;
    if (!hub_get(arg, rq->pool, "users", STR_NULL, user->name)) {
        (void)err_set(&e, ERR_FORBIDDEN, "\"%.*s\" is no local user", STR_ARG(user->name));
        hub_refuse(rq, e);
        return;
    }
    struct login *l = login_new(arg, rq);
    l->change = true;
    l->user = pool_str(l->pool, user->name);
    http_body(rq, 16 << 10, on_password_body);
}
