#include "supervisor/encrypt.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/log.h"
#include "json/json.h"

#define PREFIX "/v1-sampan/encrypt/"

enum stage { STAGE_START, STAGE_ACTIVE, STAGE_DONE, STAGE_FAILED };

struct encrypt {
    struct api *api;
    struct store_seal *seal;
    struct store *store;
    bool enabled;
    pthread_mutex_t mu; /* what stands below */
    enum stage stage;
    size_t changed;
    char message[300];
    bool threaded;
    pthread_t thread;
};

static void *rotate_main(void *arg)
{
    struct encrypt *x = arg;
    _cleanup_(err_freep) struct err *e = NULL;
    size_t changed = 0;
    int rc = store_seal_rotate(x->seal, x->store, &changed, &e);
    pthread_mutex_lock(&x->mu);
    x->stage = rc < 0 ? STAGE_FAILED : STAGE_DONE;
    x->changed = changed;
    snprintf(x->message, sizeof x->message, "%s", rc < 0 ? err_msg(e) : "");
    pthread_mutex_unlock(&x->mu);
    if (rc < 0)
        log_error("secrets encryption: new key: %s", err_msg(e));
    else
        log_info("secrets encryption: %zu rows were sealed anew under a new key", changed);
    return NULL;
}

/* Starts a rotation. Under mu. */
static int rotate(struct encrypt *x, struct err **e)
{
    if (!x->enabled)
        return err_set(e, ERR_BAD_REQUEST, "secrets encryption is disabled: start the server with --secrets-encryption");
    if (x->stage == STAGE_ACTIVE)
        return err_set(e, ERR_CONFLICT, "a rotation is under way");
    if (x->threaded)
        pthread_join(x->thread, NULL);
    x->threaded = false;
    int rc = pthread_create(&x->thread, NULL, rotate_main, x);
    if (rc != 0)
        return err_errno(e, rc, "thread");
    x->threaded = true;
    x->stage = STAGE_ACTIVE;
    return 0;
}

static void reply(struct encrypt *x, struct http_req *rq, int status)
{
    static const char *const names[] = {"start", "reencrypt_active", "reencrypt_finished", "reencrypt_failed"};
    _cleanup_(pool_freep) struct pool *p = pool_new();
    _cleanup_(buf_clear) struct buf b = BUF_INIT;
    struct json *doc = json_obj(p);
    pthread_mutex_lock(&x->mu);
    json_set_bool(p, doc, STR("enabled"), x->enabled);
    json_set_str(p, doc, STR("stage"), str_of(names[x->stage]));
    json_set_int(p, doc, STR("changed"), (int64_t)x->changed);
    if (x->message[0])
        json_set_str(p, doc, STR("message"), str_of(x->message));
    pthread_mutex_unlock(&x->mu);
    json_set_int(p, doc, STR("keys"), x->seal ? (int64_t)store_seal_keys(x->seal) : 0);
    json_write(&b, doc);
    http_reply_str(rq, status, "application/json", buf_str(&b));
}

static void on_request(struct http_req *rq, const struct api_user *user, void *arg)
{
    struct encrypt *x = arg;
    _cleanup_(err_freep) struct err *e = NULL;
    bool post = str_eqz(rq->method, "POST");
    struct api_attrs at = {.verb = post ? STR("create") : STR("get"), .path = rq->path};
    int rc = api_authorize(x->api, user, &at, &e);
    if (rc == 0 && post && str_eqz(rq->path, PREFIX "rotate-keys")) {
        pthread_mutex_lock(&x->mu);
        rc = rotate(x, &e);
        pthread_mutex_unlock(&x->mu);
    } else if (rc == 0 && (post || !str_eqz(rq->path, PREFIX "status"))) {
        rc = err_set(&e, ERR_NOT_FOUND, "the server could not find the requested resource");
    }
    if (rc == 0)
        reply(x, rq, post ? 202 : 200);
    else
        http_reply_str(rq, err_http(e->code), "text/plain; charset=utf-8", str_of(err_msg(e)));
}

struct encrypt *encrypt_new(struct api *api, struct store_seal *seal, struct store *store, bool enabled)
{
    struct encrypt *x = xcalloc(1, sizeof *x);
    *x = (struct encrypt){.api = api, .seal = seal, .store = store, .enabled = enabled};
    pthread_mutex_init(&x->mu, NULL);
    api_route(api, STR(PREFIX), true, on_request, x);
    return x;
}

void encrypt_free(struct encrypt *x)
{
    if (!x)
        return;
    if (x->threaded)
        pthread_join(x->thread, NULL);
    pthread_mutex_destroy(&x->mu);
    free(x);
}
