#include "gate/identity.h"

#include <stdlib.h>
#include <unistd.h>

#include "base/file.h"
#include "crypto/crypto.h"
#include "gate/kube.h"
#include "json/json.h"

#define SA_NAMESPACE "/var/run/secrets/kubernetes.io/serviceaccount/namespace"
#define SECRET "sampan-connect-identity"
#define FIELD "uplink.key"

struct asking {
    struct loop *loop;
    struct kube *kube;
    struct pool *pool;
    struct str ns;
    int status;
    struct buf body;
    struct err *why;
};

static void on_head(void *arg, const struct http_response *r)
{
    ((struct asking *)arg)->status = r->status;
}

static void on_data(void *arg, const char *p, size_t n)
{
    buf_add(&((struct asking *)arg)->body, p, n);
}

static void on_end(void *arg, const struct err *e)
{
    struct asking *a = arg;
    if (e)
        (void)err_set(&a->why, e->code, "%s", err_msg(e));
    loop_stop(a->loop, 0);
}

static int ask(struct asking *a, struct str method, struct str path, struct str body, struct err **e)
{
    static const struct http_call_events events = {on_head, on_data, NULL, on_end};
    struct str auth = kube_authorization(a->kube, a->pool);
    struct http_header h[] = {{STR("authorization"), auth}, {STR("content-type"), STR("application/json")}};
    struct http_request rq = {.method = method, .path = path, .headers = h, .nheaders = 2, .body = body, .timeout_ms = 10000};
    a->status = 0;
    buf_clear(&a->body);
    a->body.limit = 256 << 10;
    (void)http_call(kube_client(a->kube), &rq, &events, a);
    loop_run(a->loop);
    if (a->why)
        return err_move(e, TAKE(a->why));
    return 0;
}

static int write_key(struct asking *a, const char *path, struct err **e)
{
    struct json *doc;
    _cleanup_(crypto_wipe_buf) struct buf key = BUF_INIT;
    if (json_parse(a->pool, buf_str(&a->body), NULL, &doc, e) < 0)
        return -(int)(*e)->code;
    if (!buf_unbase64(&key, json_str_at(doc, "data", FIELD, NULL)) || !key.n)
        return err_set(e, ERR_INVALID, "secret %.*s/" SECRET " has no " FIELD, STR_ARG(a->ns));
    return file_replace(path, buf_str(&key), 0600, e);
}

/* A new key, told to the Secret before anybody uses it. 1: another one was there first. */
static int make(struct asking *a, const char *path, struct err **e)
{
    struct pool *p = a->pool;
    _cleanup_(key_freep) struct key *key = NULL;
    _cleanup_(crypto_wipe_buf) struct buf pem = BUF_INIT, text = BUF_INIT;
    _cleanup_(freep) char *fresh = xasprintf("%s.new", path);
    if (key_load_or_make(fresh, KEY_ED25519, &key, e) < 0 || file_read(fresh, 64 << 10, &pem, e) < 0)
        return -(int)(*e)->code;
    struct json *doc = json_obj(p), *meta = json_put_obj(p, doc, STR("metadata"));
    json_set_str(p, doc, STR("apiVersion"), STR("v1"));
    json_set_str(p, doc, STR("kind"), STR("Secret"));
    json_set_str(p, meta, STR("name"), STR(SECRET));
    buf_base64(&text, pem.p, pem.n);
    json_set_str(p, json_put_obj(p, doc, STR("data")), STR(FIELD), buf_str(&text));
    if (ask(a, STR("POST"), pool_printf(p, "/api/v1/namespaces/%.*s/secrets", STR_ARG(a->ns)), json_to_pool(p, doc), e) < 0)
        return -(int)(*e)->code;
    unlink(fresh);
    if (a->status == 409)
        return 1;
    if (a->status != 201)
        return err_set(e, ERR_FORBIDDEN, "secret %.*s/" SECRET ": the API answers %d", STR_ARG(a->ns), a->status);
    return file_replace(path, buf_str(&pem), 0600, e);
}

static int fetch(struct asking *a, const char *path, struct err **e)
{
    struct str where = pool_printf(a->pool, "/api/v1/namespaces/%.*s/secrets/" SECRET, STR_ARG(a->ns));
    for (int tries = 0; tries < 2; tries++) {
        if (ask(a, STR("GET"), where, STR_NULL, e) < 0)
            return -(int)(*e)->code;
        if (a->status == 200)
            return write_key(a, path, e);
        if (a->status != 404)
            return err_set(e, ERR_FORBIDDEN, "secret %.*s/" SECRET ": the API answers %d", STR_ARG(a->ns), a->status);
        int r = make(a, path, e);
        if (r <= 0)
            return r;
    }
    return err_set(e, ERR_UNAVAILABLE, "secret %.*s/" SECRET " comes and goes", STR_ARG(a->ns));
}

int identity_fetch(const char *path, struct clock *clock, struct err **e)
{
    _cleanup_(buf_clear) struct buf ns = BUF_INIT;
    if (file_exists(path) || !getenv("KUBERNETES_SERVICE_HOST") || file_read(SA_NAMESPACE, 256, &ns, NULL) < 0)
        return 0;
    struct asking a = {.pool = pool_new(), .loop = loop_new(e)};
    a.ns = pool_str(a.pool, str_trim(buf_str(&ns)));
    int r = a.loop ? 0 : -ERR_IO;
    if (r == 0 && !(a.kube = kube_open(a.loop, clock, NULL, NULL, e)))
        r = -(int)(*e)->code;
    if (r == 0)
        r = fetch(&a, path, e);
    kube_close(a.kube);
    loop_free(a.loop);
    buf_clear(&a.body);
    pool_free(a.pool);
    return r;
}
