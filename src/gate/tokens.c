/* ServiceAccount tokens for pods' projected volumes: asked for over the uplink (TokenRequest), kept on disk sealed, renewed when four fifths of their time are over. A
 * token that is stale is better than a pod that does not start: it is handed out while a newer one is asked for. */
#include <dirent.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/file.h"
#include "base/wire.h"
#include "crypto/crypto.h"
#include "gate/impl.h"

#define AGAIN_NS (10 * NS_PER_S)
#define TOKEN_MAX (64u << 10)

struct kept { struct str key, token; int64_t issued, expires; };
static const struct wire_field kept_fields[] = {
    WIRE_STR(struct kept, key, 2048), WIRE_STR(struct kept, token, TOKEN_MAX), WIRE_I64(struct kept, issued), WIRE_I64(struct kept, expires), WIRE_END,
};
static const struct wire_type kept_type = {"token", sizeof(struct kept), kept_fields};

struct token {
    struct tokens *all;
    char *key;                  /* "uid/service account/audience/seconds" */
    char *uid, *ns, *account, *audience, *pod;
    int64_t seconds, issued, expires;
    char *text;                 /* NULL: none yet */
    struct uplink_call *asking;
    struct timer timer;
};

struct tokens {
    struct gate *gate;
    struct map by_key;
    char *dir;
};

static void token_free(void *arg)
{
    struct token *t = arg;
    uplink_call_cancel(t->asking);
    timer_del(&t->timer);
    if (t->text)
        explicit_bzero(t->text, strlen(t->text));
    char *all[] = {t->key, t->uid, t->ns, t->account, t->audience, t->pod, t->text};
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        free(all[i]);
    free(t);
}

/* ---- disk ---- */

static char *path_of(const struct tokens *ts, const char *key)
{
    char hex[HASH_HEX + 1];
    hash_sha256_hex(str_of(key), hex);
    return xasprintf("%s/%s", ts->dir, hex);
}

static void save(struct token *t)
{
    _cleanup_(freep) char *path = path_of(t->all, t->key);
    _cleanup_(crypto_wipe_buf) struct buf plain = BUF_INIT;
    _cleanup_(buf_clear) struct buf sealed = BUF_INIT;
    _cleanup_(err_freep) struct err *e = NULL;
    struct kept k = {str_of(t->key), str_of(t->text), t->issued, t->expires};
    wire_encode(&kept_type, &k, &plain);
    if (seal_close(t->all->gate->seal, buf_str(&plain), STR("token"), &sealed, &e) < 0 || file_replace(path, buf_str(&sealed), 0600, &e) < 0)
        log_warn("a token could not be kept on disk: %s", err_msg(e));
}

static void load(struct token *t)
{
    _cleanup_(freep) char *path = path_of(t->all, t->key);
    _cleanup_(pool_freep) struct pool *p = pool_new();
    _cleanup_(buf_clear) struct buf sealed = BUF_INIT;
    _cleanup_(crypto_wipe_buf) struct buf plain = BUF_INIT;
    struct kept k = {0};
    if (file_read(path, TOKEN_MAX * 2, &sealed, NULL) < 0 || seal_open(t->all->gate->seal, buf_str(&sealed), STR("token"), &plain, NULL) < 0 ||
        wire_decode(&kept_type, buf_str(&plain), p, &k, NULL) < 0 || !str_eqz(k.key, t->key))
        return;
    t->text = str_dup(k.token);
    t->issued = k.issued;
    t->expires = k.expires;
}

/* ---- asking ---- */

static void on_due(struct timer *timer);

static void plan(struct token *t)
{
    int64_t now = clock_now(t->all->gate->clock), left = t->issued + (t->expires - t->issued) / 5 * 4 - now;
    timer_in(t->all->gate->loop, &t->timer, MAX(left, AGAIN_NS), on_due);
}

static void on_answer(void *arg, int status, struct str body, const struct err *e)
{
    struct token *t = arg;
    struct gate *g = t->all->gate;
    _cleanup_(pool_freep) struct pool *p = pool_new();
    struct json *doc = NULL;
    t->asking = NULL;
    timer_in(g->loop, &t->timer, AGAIN_NS, on_due);
    if (e)
        return;
    if (status != 201 || json_parse(p, body, NULL, &doc, NULL) < 0 || !json_str_at(doc, "status", "token", NULL).n) {
        log_warn("pod=%s/%s token refused: %d %.*s", t->ns, t->pod, status, STR_ARG(str_sub(body, 0, 300)));
        return;
    }
    bool first = !t->text;
    free(t->text);
    t->text = str_dup(json_str_at(doc, "status", "token", NULL));
    t->issued = clock_now(g->clock);
    if (!time_parse(json_str_at(doc, "status", "expirationTimestamp", NULL), &t->expires))
        t->expires = t->issued + t->seconds * NS_PER_S;
    save(t);
    plan(t);
    struct gpod *gp = pods_find(g, str_of(t->uid));
    if (gp)
        gpod_dirty(gp);
    log_debug("pod=%s/%s token %s", t->ns, t->pod, first ? "came" : "was renewed");
}

static void ask(struct token *t)
{
    struct gate *g = t->all->gate;
    _cleanup_(pool_freep) struct pool *p = pool_new();
    _cleanup_(buf_clear) struct buf b = BUF_INIT;
    if (t->asking || !uplink_connected(g->uplink))
        return;
    struct json *doc = json_obj(p), *spec = json_put_obj(p, doc, STR("spec")), *ref = json_put_obj(p, spec, STR("boundObjectRef"));
    json_set_str(p, doc, STR("apiVersion"), STR("authentication.k8s.io/v1"));
    json_set_str(p, doc, STR("kind"), STR("TokenRequest"));
    struct json *audiences = json_put_arr(p, spec, STR("audiences"));
    if (t->audience[0])
        json_append(audiences, json_str(p, str_of(t->audience)));
    json_set_int(p, spec, STR("expirationSeconds"), t->seconds);
    json_set_str(p, ref, STR("kind"), STR("Pod"));
    json_set_str(p, ref, STR("apiVersion"), STR("v1"));
    json_set_str(p, ref, STR("name"), str_of(t->pod));
    json_set_str(p, ref, STR("uid"), str_of(t->uid));
    json_write(&b, doc);
    t->asking = uplink_call(g->uplink, STR("POST"), pool_printf(p, "/api/v1/namespaces/%s/serviceaccounts/%s/token", t->ns, t->account), STR("application/json"), buf_str(&b), on_answer, t);
}

static void on_due(struct timer *timer)
{
    struct token *t = container_of(timer, struct token, timer);
    if (!pods_find(t->all->gate, str_of(t->uid))) { /* the pod is gone, and its token with it */
        _cleanup_(freep) char *path = path_of(t->all, t->key);
        unlink(path);
        map_del(&t->all->by_key, str_of(t->key));
        token_free(t);
        return;
    }
    timer_in(t->all->gate->loop, &t->timer, AGAIN_NS, on_due);
    ask(t);
}

int tokens_get(struct gate *g, struct gpod *gp, struct str account, struct str audience, int64_t seconds, struct pool *pool, struct str *token, struct err **e)
{
    _cleanup_(freep) char *key = xasprintf("%.*s/%.*s/%.*s/%" PRId64, STR_ARG(gp->uid), STR_ARG(account), STR_ARG(audience), seconds);
    struct token *t = map_get(&g->tokens->by_key, str_of(key));
    if (!t) {
        t = xcalloc(1, sizeof *t);
        *t = (struct token){.all = g->tokens, .key = TAKE(key), .uid = str_dup(gp->uid), .ns = str_dup(gp->ns), .account = str_dup(account), .audience = str_dup(audience),
            .pod = str_dup(gp->name), .seconds = seconds};
        map_put(&g->tokens->by_key, str_of(t->key), t);
        load(t);
        if (t->text)
            plan(t);
        else
            timer_in(g->loop, &t->timer, AGAIN_NS, on_due);
    }
    if (!t->text || clock_now(g->clock) > t->expires)
        ask(t);
    if (!t->text)
        return err_set(e, ERR_UNAVAILABLE, "the token of service account %.*s/%.*s has not come yet", STR_ARG(gp->ns), STR_ARG(account));
    *token = pool_str(pool, str_of(t->text));
    return 0;
}

/* Called when the link is back: what waits is asked for at once. */
void tokens_connected(struct gate *g)
{
    map_for(&g->tokens->by_key, it) {
        struct token *t = it->value;
        if (!t->text)
            ask(t);
    }
}

int tokens_open(struct gate *g, struct err **e)
{
    struct tokens *ts = xcalloc(1, sizeof *ts);
    ts->gate = g;
    ts->dir = xasprintf("%s/tokens", g->o->state_dir);
    g->tokens = ts;
    return dir_make(ts->dir, 0700, e);
}

void tokens_close(struct gate *g)
{
    if (!g->tokens)
        return;
    map_clear(&g->tokens->by_key, token_free);
    free(g->tokens->dir);
    free(TAKE(g->tokens));
}
