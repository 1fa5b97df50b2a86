#include "api/convert.h"

#include "api/hooks.h"
#include "base/file.h"
#include "schema/structural.h"

struct item {
    struct item *next;
    const struct schema_resource *to;
    struct str key;
    const struct json *doc; /* as it was; in the conversions' pool */
    struct json *result;
    struct str error;
    bool asked;
};

struct conversions {
    struct call *c;
    struct pool *pool;
    struct map items; /* by key */
    struct item *wanted;
    struct item *asked; /* by the review under way */
    struct str uid;
    struct remote_call rc;
    void (*done)(void *arg);
    void *arg;
    struct defer failed;
    struct store_wait wait; /* what is asked about is durable before it leaves */
    int64_t rev;
    bool waiting;
};

bool conv_by_webhook(const struct schema_resource *from, const struct schema_resource *to)
{
    const struct crd_row *row = crd_row(to);
    return row && row->webhook && (from != to || to->type->cr->reread); /* the storage version may have been another one */
}

static void conversions_free(void *p)
{
    struct conversions *k = p;
    remote_cancel(&k->rc);
    defer_del(k->c->loop, &k->failed);
    if (k->waiting)
        store_wait_cancel(k->c->api->store, &k->wait);
    map_clear(&k->items, NULL);
    pool_free(k->pool);
    k->c->conversions = NULL;
}

static struct conversions *conversions_of(struct call *c)
{
    if (c->conversions)
        return c->conversions;
    struct conversions *k = c->conversions = pool_new_of(c->whole ? c->whole : c->pool, struct conversions);
    k->c = c;
    k->pool = pool_new();
    pool_on_free(c->whole ? c->whole : c->pool, conversions_free, k);
    return k;
}

int conv_convert(struct call *c, const struct schema_resource *from, const struct schema_resource *to, struct json **doc, struct err **e)
{
    struct conversions *k = conversions_of(c);
    struct buf b = BUF_INIT;
    (void)from;
    buf_printf(&b, "%.*s ", STR_ARG(to->version));
    json_write(&b, *doc);
    struct item *i = map_get(&k->items, buf_str(&b));
    if (!i) {
        i = pool_new_of(k->pool, struct item);
        i->to = to;
        i->key = pool_str(k->pool, buf_str(&b));
        i->doc = json_clone(k->pool, *doc);
        i->next = k->wanted;
        k->wanted = i;
        uint64_t rev = 0;
        if (str_to_u64(json_str_at(*doc, "metadata", "resourceVersion", NULL), &rev))
            k->rev = MAX(k->rev, (int64_t)rev);
        map_put(&k->items, i->key, i);
    }
    buf_clear(&b);
    if (i->error.n)
        return err_set(e, ERR_INTERNAL, "conversion webhook for %.*s, Kind=%.*s failed: %.*s",
            STR_ARG(api_version(c->pool, from->group, from->version)), STR_ARG(from->kind), STR_ARG(i->error));
    if (i->result)
        *doc = json_clone(c->pool, i->result);
    return 0;
}

bool conv_pending(const struct call *c)
{
    return c->conversions && c->conversions->wanted;
}

void conv_forget(struct call *c)
{
    struct conversions *k = c->conversions;
    if (!k || k->wanted || k->asked)
        return;
    map_clear(&k->items, NULL);
    pool_reset(k->pool);
}

/* ---- a review ---- */

static void next_review(struct conversions *k);

static void all_failed(struct conversions *k, struct str why)
{
    for (struct item *i = k->asked; i; i = i->next)
        if (!i->result && !i->error.n)
            i->error = pool_str(k->pool, why);
}

/* Metadata stays as it was, but for labels and annotations. */
static void keep_meta(struct conversions *k, struct json *doc, const struct json *was)
{
    static const char *const theirs[] = {"labels", "annotations"};
    struct json *now = json_get(doc, STR("metadata")), *meta = json_clone(k->pool, json_get(was, STR("metadata")));
    for (size_t i = 0; i < ARRAY_LEN(theirs); i++) {
        const struct json *v = json_get(now, str_of(theirs[i]));
        json_del(meta, str_of(theirs[i]));
        if (json_count(v))
            json_set(k->pool, meta, str_of(theirs[i]), json_clone(k->pool, v));
    }
    json_set(k->pool, doc, STR("metadata"), meta);
}

static void take_answer(struct conversions *k, const struct json *response)
{
    const struct json *list = json_get(response, STR("convertedObjects"));
    struct str status = json_str_at(response, "result", "status", NULL), message = json_str_at(response, "result", "message", NULL);
    if (!str_eq(json_get_str(response, "uid"), k->uid)) {
        all_failed(k, STR("expected another response.uid"));
        return;
    }
    if (!str_eqz(status, "Success")) {
        all_failed(k, message.n ? message : STR("no message"));
        return;
    }
    struct json *x = list ? list->first : NULL;
    for (struct item *i = k->asked; i; i = i->next, x = x ? x->next : NULL) {
        struct err *why = NULL;
        if (!json_is(x, JSON_OBJ) || !str_eq(json_get_str(x, "apiVersion"), api_version(k->pool, i->to->group, i->to->version))) {
            i->error = STR("the webhook returned something else than what was asked for");
            continue;
        }
        struct json *doc = json_clone(k->pool, x);
        doc->keyp = NULL, doc->keyn = 0;
        keep_meta(k, doc, i->doc);
        if (schema_decode(i->to, i->to->type, k->pool, doc, NULL, &why) < 0) {
            i->error = pool_str(k->pool, str_of(err_msg(why)));
            err_free(why);
            continue;
        }
        schema_default(i->to->type, k->pool, doc);
        schema_fill_zero(i->to->type, k->pool, doc);
        i->result = doc;
    }
}

static void answered(struct remote_call *rc)
{
    struct conversions *k = container_of(rc, struct conversions, rc);
    struct json *doc;
    struct str text = pool_str(k->pool, buf_str(&rc->reply));
    if (rc->err)
        all_failed(k, pool_printf(k->pool, "Post \"%.*s\": %s", STR_ARG(rc->target.text), err_msg(rc->err)));
    else if (rc->status != 200)
        all_failed(k, pool_printf(k->pool, "Post \"%.*s\": the server answered with status %d", STR_ARG(rc->target.text), rc->status));
    else if (json_parse(k->pool, text, NULL, &doc, NULL) < 0 || !json_is(json_get(doc, STR("response")), JSON_OBJ))
        all_failed(k, STR("the webhook returned no ConversionReview"));
    else
        take_answer(k, json_get(doc, STR("response")));
    remote_cancel(rc);
    k->asked = NULL;
    next_review(k);
}

static void failed_later(struct defer *d)
{
    struct conversions *k = container_of(d, struct conversions, failed);
    k->asked = NULL;
    next_review(k);
}

/* All that is wanted in one version. */
static struct json *review(struct conversions *k)
{
    struct item *rest = NULL, **tail = &k->asked;
    const struct schema_resource *to = k->wanted->to;
    struct json *r = json_obj(k->pool), *rq;
    char uid[UUID_LEN + 1];
    random_uuid(uid);
    k->uid = pool_str(k->pool, str_of(uid));
    json_set_str(k->pool, r, STR("kind"), STR("ConversionReview"));
    json_set_str(k->pool, r, STR("apiVersion"), STR("apiextensions.k8s.io/v1"));
    rq = json_put_obj(k->pool, r, STR("request"));
    json_set_str(k->pool, rq, STR("uid"), k->uid);
    json_set_str(k->pool, rq, STR("desiredAPIVersion"), api_version(k->pool, to->group, to->version));
    struct json *list = json_put_arr(k->pool, rq, STR("objects"));
    for (struct item *i = k->wanted, *next; i; i = next) {
        next = i->next;
        if (i->to != to) {
            i->next = rest;
            rest = i;
            continue;
        }
        json_append(list, json_clone(k->pool, i->doc));
        i->next = NULL;
        *tail = i;
        tail = &i->next;
    }
    k->wanted = rest;
    return r;
}

static void next_review(struct conversions *k)
{
    struct err *why = NULL;
    if (!k->wanted) {
        k->done(k->arg); /* k may be gone */
        return;
    }
    const struct crd_row *row = crd_row(k->wanted->to);
    struct json *r = review(k);
    k->rc = (struct remote_call){.api = k->c->api, .loop = k->c->loop, .timeout_ns = 30 * NS_PER_S, .done = answered};
    if (remote_target(k->c->api, k->pool, json_path(row->conversion, "webhook", "clientConfig", NULL), &k->rc.target, &why) < 0) {
        all_failed(k, str_of(err_msg(why)));
        err_free(why);
        loop_defer(k->c->loop, &k->failed, failed_later);
        return;
    }
    k->rc.body = json_to_pool(k->pool, r);
    remote_post(&k->rc);
}

static void durable(struct store_wait *w, int result)
{
    struct conversions *k = container_of(w, struct conversions, wait);
    (void)result;
    k->waiting = false;
    next_review(k);
}

/* A document from outside may carry any number. */
static int64_t newest(struct call *c)
{
    _cleanup_(store_view_unrefp) struct store_view *v = store_view(c->api->store);
    return view_rev(v);
}

void conv_begin(struct call *c, void (*done)(void *arg), void *arg)
{
    struct conversions *k = c->conversions;
    k->done = done;
    k->arg = arg;
    k->waiting = k->rev > 0 && !store_wait(c->api->store, MIN(k->rev, newest(c)), &k->wait, c->loop, durable);
    if (!k->waiting)
        next_review(k);
}
