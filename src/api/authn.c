#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include "api/api_keys.h"
#include "api/impl.h"

/* Who asks: a client certificate, a bearer token, root on the local socket, else anonymous; then impersonation. */

/* A verified certificate is remembered by its hash until it ends, so that a connection pays for one signature check, not one per request.
 */
#define CERTS_KNOWN 256
static struct {
    pthread_mutex_t lock;
    struct {
        unsigned char hash[HASH_LEN];
        int64_t until;
        const struct ca *by;
        struct pool *pool;
        struct api_user *user;
    } at[CERTS_KNOWN];
} known = {.lock = PTHREAD_MUTEX_INITIALIZER};

static struct api_user *known_find(struct pool *p, const unsigned char *hash, const struct ca *by, int64_t now)
{
    struct api_user *u = NULL;
    size_t i = hash[0] % CERTS_KNOWN;
    pthread_mutex_lock(&known.lock);
    if (known.at[i].user && known.at[i].by == by && known.at[i].until > now && memcmp(known.at[i].hash, hash, HASH_LEN) == 0)
        u = user_copy(p, known.at[i].user);
    pthread_mutex_unlock(&known.lock);
    return u;
}

static void known_add(const unsigned char *hash, const struct ca *by, int64_t until, const struct api_user *u)
{
    struct pool *p = pool_new(), *old;
    struct api_user *copy = user_copy(p, u);
    size_t i = hash[0] % CERTS_KNOWN;
    pthread_mutex_lock(&known.lock);
    old = known.at[i].pool;
    memcpy(known.at[i].hash, hash, HASH_LEN);
    known.at[i].until = until;
    known.at[i].by = by;
    known.at[i].user = copy;
    known.at[i].pool = p;
    pthread_mutex_unlock(&known.lock);
    pool_free(old);
}

static int by_certificate(struct call *c, const struct api_user **out, struct err **e)
{
    struct str der[8];
    unsigned char hash[HASH_LEN];
    if (!c->rq->conn || !c->api->keys || !stream_peer_hash(c->rq->conn, hash))
        return 0;
    const struct ca *ca = api_keys_client_signer(c->api->keys);
    int64_t now = clock_now(c->api->clock);
    if ((*out = known_find(c->pool, hash, ca, now)))
        return 1;
    struct certs chain = {0}, cas = {0};
    size_t n = stream_peer_certs(c->rq->conn, der, ARRAY_LEN(der));
    int r = 0;
    for (size_t i = 0; i < n && r >= 0; i++)
        r = certs_parse(der[i], &chain, e);
    certs_add(&cas, cert_ref(ca_cert(ca)));
    if (r >= 0)
        r = cert_verify(&cas, &chain, CERT_CLIENT, now, e);
    if (r >= 0) {
        const struct cert_info *i = cert_info(chain.at[0]);
        struct api_user *u = user_new(c->pool, i->cn, STR_NULL, i->orgs, i->norgs, true);
        u = user_copy(c->pool, u);
        struct str id = pool_printf(c->pool, "X509SHA256=%.*s", STR_ARG(i->fingerprint));
        user_extra(c->pool, u, STR("authentication.kubernetes.io/credential-id"), &id, 1);
        known_add(hash, ca, i->not_after, u);
        *out = u;
        r = str_empty(i->cn) ? err_set(e, ERR_UNAUTHORIZED, "the certificate names no user") : 1;
    }
    certs_clear(&chain);
    certs_clear(&cas);
    return r;
}

/* kubectl exec over WebSocket in a browser carries the token as a subprotocol (base64url.bearer.authorization.k8s.io.<token>). */
static struct str bearer(struct call *c)
{
    struct str h = http_header(c->rq, STR("authorization")), scheme, token = STR_NULL;
    if (!str_empty(h))
        return str_cut(h, ' ', &scheme, &token) && str_eq_nocase(scheme, STR("bearer")) ? str_trim(token) : STR_NULL;
    struct str list = http_header(c->rq, STR("sec-websocket-protocol")), piece, prefix = STR("base64url.bearer.authorization.k8s.io.");
    while (str_split(&list, ',', &piece)) {
        piece = str_trim(piece);
        struct buf b = BUF_INIT;
        if (str_starts(piece, prefix) && buf_unbase64url(&b, str_sub(piece, prefix.n, piece.n)))
            return buf_to_pool(&b, c->pool);
        buf_clear(&b);
    }
    return STR_NULL;
}

/* Who is at the other end of the local socket; -1: it is no such connection. */
static int64_t local_uid(struct call *c)
{
    struct sockaddr_un un;
    socklen_t len = sizeof un;
    struct ucred cred;
    int fd = c->rq->conn ? stream_fd(c->rq->conn) : -1;
    if (fd < 0 || getsockname(fd, (struct sockaddr *)(void *)&un, &len) < 0 || un.sun_family != AF_UNIX)
        return -1;
    len = sizeof cred;
    return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) == 0 ? (int64_t)cred.uid : -1;
}

/* ---- impersonation ---- */

/* Our own gate process, which carries a hub's requests. It has no rights of its own but to speak for the hub's users and groups, which are
 * named hub:<name>. */
#define USER_CONNECT "system:sampan:connect"

static int may_impersonate(
    struct call *c, struct str group, const char *res, struct str sub, struct str ns, struct str name, struct err **e)
{
    if (str_eqz(c->user->name, USER_CONNECT) && (strcmp(res, "users") == 0 || strcmp(res, "groups") == 0) && str_starts(name, STR("hub:")))
        return 0;
    struct api_attrs at = {.verb = STR("impersonate"),
        .group = group,
        .version = STR("v1"),
        .resource = str_of(res),
        .subresource = sub,
        .ns = ns,
        .name = name};
    return api_authorize(c->api, c->user, &at, e);
}

#define IMPERSONATE_MAX 64

static int impersonate_extra(struct call *c, struct api_user *u, struct err **e)
{
    struct str prefix = STR("impersonate-extra-");
    for (size_t i = 0; i < c->rq->nheaders; i++) {
        const struct http_header *h = &c->rq->headers[i];
        struct str key;
        if (!str_starts(h->name, prefix) || !http_unescape(c->pool, str_sub(h->name, prefix.n, h->name.n), &key))
            continue;
        if (may_impersonate(c, STR("authentication.k8s.io"), "userextras", key, STR_NULL, h->value, e) < 0)
            return -(*e)->code;
        user_extra(c->pool, u, key, &h->value, 1);
    }
    return 0;
}

/* The groups that a ServiceAccount or a plain user has anyway. */
static int impersonate(struct call *c, struct err **e)
{
    struct str name = http_header(c->rq, STR("impersonate-user")), uid = http_header(c->rq, STR("impersonate-uid")),
               groups[IMPERSONATE_MAX + 4];
    size_t n = 0;
    for (size_t i = 0; i < c->rq->nheaders && n < IMPERSONATE_MAX; i++)
        if (str_eqz(c->rq->headers[i].name, "impersonate-group"))
            groups[n++] = c->rq->headers[i].value;
    if (str_empty(name))
        return n || !str_empty(uid) ? err_set(e, ERR_BAD_REQUEST, "requested groups or uid without impersonating a user name") : 0;
    struct str rest = name, sa_prefix = STR("system:serviceaccount:"), ns, sa;
    bool is_sa = str_starts(name, sa_prefix) && (rest = str_sub(name, sa_prefix.n, name.n), str_cut(rest, ':', &ns, &sa));
    int r = is_sa ? may_impersonate(c, STR(""), "serviceaccounts", STR_NULL, ns, sa, e)
                  : may_impersonate(c, STR(""), "users", STR_NULL, STR_NULL, name, e);
    for (size_t i = 0; r >= 0 && i < n; i++)
        r = may_impersonate(c, STR(""), "groups", STR_NULL, STR_NULL, groups[i], e);
    if (r >= 0 && !str_empty(uid))
        r = may_impersonate(c, STR("authentication.k8s.io"), "uids", STR_NULL, STR_NULL, uid, e);
    if (r < 0)
        return r;
    if (is_sa && n == 0) {
        groups[n++] = GROUP_SERVICEACCOUNTS;
        groups[n++] = pool_printf(c->pool, "system:serviceaccounts:%.*s", STR_ARG(ns));
    }
    struct api_user *u = user_new(c->pool, name, uid, groups, n, !str_eqz(name, "system:anonymous"));
    if (impersonate_extra(c, u, e) < 0)
        return -(*e)->code;
    c->caller = c->user;
    c->user = u;
    return 0;
}

int authenticate(struct call *c, struct err **e)
{
    struct err *why = NULL;
    struct str token = bearer(c);
    int r = by_certificate(c, &c->user, &why);
    if (r <= 0 && token.p) {
        struct api_user *u = NULL;
        err_free(TAKE(why));
        r = c->api->tokens ? c->api->tokens(c->api->tokens_arg, c->pool, token, c->rq->path, &u, &why) : 0;
        if (r == 0)
            r = token_authenticate(c->api, c->pool, token, NULL, 0, &u, &why);
        c->user = u;
        r = r < 0 ? r : 1;
    }
    if (r < 0) { /* the reason is for the log of the cluster, not for the one who knocks */
        err_free(why);
        return err_set(e, ERR_UNAUTHORIZED, "Unauthorized");
    }
    int64_t uid = r == 0 ? local_uid(c) : -1;
    if (uid == 0) {
        static const struct str masters[] = {STR("system:masters")};
        c->user = user_new(c->pool, STR("system:admin"), STR_NULL, masters, 1, true);
    } else if (uid > 0 && uid == (int64_t)geteuid()) {
        c->user = user_new(c->pool, STR(USER_CONNECT), STR_NULL, NULL, 0, true);
    } else if (r == 0) {
        c->user = user_new(c->pool, STR("system:anonymous"), STR_NULL, NULL, 0, false);
    }
    return impersonate(c, e);
}
