#include "api/hooks.h"

#include "api/convert.h"
#include "base/file.h"
#include "base/log.h"

/* Asking webhooks: the AdmissionReview out, its response in. */

struct asked { /* one webhook of a run */
    const struct hook *hook;
    const struct schema_resource *row;
    struct json *sent; /* the object as it was sent */
    struct str uid;
    struct remote_call rc;
    bool asked, done, again;
};

struct hook_run { /* c->hook_run: while webhooks are asked */
    struct hook_request rq;
    struct asked *list;
    size_t n, at, open;
    bool doored;           /* what it tells of is on disk */
    bool mutating, second; /* second: the round of reinvocations */
    size_t objects;        /* of a collection: how many are through */
};

/* ---- documents ---- */

int hook_document(struct hook_request *rq, const struct schema_resource *row, const struct json *doc, struct json **out, struct err **e)
{
    *out = doc ? json_clone(rq->c->pool, doc) : NULL;
    if (!doc || rq->own)
        return 0;
    return encode_between(rq->c, rq->c->stored, row, out, e);
}

static struct json *gvk(struct pool *p, struct str group, struct str version, struct str kind, const char *last)
{
    struct json *o = json_obj(p);
    json_set_str(p, o, STR("group"), group.p ? group : STR(""));
    json_set_str(p, o, STR("version"), version);
    json_set_str(p, o, str_of(last), kind);
    return o;
}

static struct json *options_of(struct hook_request *rq)
{
    static const struct {
        enum hook_op op;
        const char *kind;
    } rows[] = {{HOOK_CREATE, "CreateOptions"}, {HOOK_UPDATE, "UpdateOptions"}, {HOOK_DELETE, "DeleteOptions"}};
    struct call *c = rq->c;
    struct pool *p = c->pool;
    struct json *o = json_obj(p);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (rows[i].op == rq->op)
            json_set_str(p, o, STR("kind"), rq->op != HOOK_DELETE && c->ri.verb == VERB_PATCH ? STR("PatchOptions") : str_of(rows[i].kind));
    if (!o->n)
        return NULL;
    json_set_str(p, o, STR("apiVersion"), STR("meta.k8s.io/v1"));
    if (c->dry_run)
        json_append(json_put_arr(p, o, STR("dryRun")), json_str(p, STR("All")));
    if (rq->op != HOOK_DELETE && c->manager.n)
        json_set_str(p, o, STR("fieldManager"), c->manager);
    return o;
}

struct json *hook_review_request(
    struct hook_request *rq, const struct schema_resource *row, struct json *object, struct json *old, struct str uid)
{
    static const struct {
        enum hook_op op;
        const char *name;
    } ops[] = {{HOOK_CREATE, "CREATE"}, {HOOK_UPDATE, "UPDATE"}, {HOOK_DELETE, "DELETE"}, {HOOK_CONNECT, "CONNECT"}};
    struct pool *p = rq->c->pool;
    struct json *r = json_obj(p);
    struct str kg = rq->own ? rq->kind_group : row->group, kv = rq->own ? rq->kind_version : row->version,
               k = rq->own ? rq->kind : row->kind;
    json_set_str(p, r, STR("uid"), uid);
    json_set(p, r, STR("kind"), gvk(p, kg, kv, k, "kind"));
    json_set(p, r, STR("resource"), gvk(p, row->group, row->version, row->resource, "resource"));
    if (rq->sub.n)
        json_set_str(p, r, STR("subResource"), rq->sub);
    json_set(p, r, STR("requestKind"),
        gvk(p, rq->own ? kg : rq->res->group, rq->own ? kv : rq->res->version, rq->own ? k : rq->res->kind, "kind"));
    json_set(p, r, STR("requestResource"), gvk(p, rq->res->group, rq->res->version, rq->res->resource, "resource"));
    if (rq->sub.n)
        json_set_str(p, r, STR("requestSubResource"), rq->sub);
    if (rq->name.n)
        json_set_str(p, r, STR("name"), rq->name);
    if (rq->ns.n)
        json_set_str(p, r, STR("namespace"), rq->ns);
    for (size_t i = 0; i < ARRAY_LEN(ops); i++)
        if (ops[i].op == rq->op)
            json_set_str(p, r, STR("operation"), str_of(ops[i].name));
    json_set(p, r, STR("userInfo"), user_json(p, rq->c->user));
    json_set(p, r, STR("object"), object ? object : json_null(p));
    json_set(p, r, STR("oldObject"), old ? old : json_null(p));
    json_set_bool(p, r, STR("dryRun"), rq->c->dry_run);
    struct json *options = options_of(rq);
    json_set(p, r, STR("options"), options ? options : json_null(p));
    return r;
}

int hook_take(struct hook_request *rq, const struct schema_resource *row, struct json *doc, struct err **e)
{
    struct call *c = rq->c;
    if (rq->own) {
        rq->object = doc;
        return 0;
    }
    if (!json_is(doc, JSON_OBJ))
        return err_set(e, ERR_INTERNAL, "the patched object is no object");
    if (schema_decode(row, row->type, c->pool, doc, NULL, e) < 0 || encode_between(c, row, c->stored, &doc, e) < 0)
        return -(*e)->code;
    struct str sub = str_eqz(c->ri.sub, "scale") ? STR("") : c->ri.sub;
    struct kind_ctx k = {c->pool, c->stored, sub, clock_now(c->api->clock)};
    kind_default(&k, doc);
    c->w.doc = rq->object = doc;
    return 0;
}

/* ---- asking ---- */

static void asked_done(struct remote_call *rc);

static void asked_free(void *p)
{
    remote_cancel(&((struct asked *)p)->rc);
}

static int failed(struct hook_run *run, const struct hook *h, const char *what, struct err **e)
{
    (void)run;
    if (h->ignore) {
        log_warn("webhook=%.*s: failed open: %s", STR_ARG(h->name), what);
        return 0;
    }
    return err_set(e, ERR_INTERNAL, "Internal error occurred: failed calling webhook \"%.*s\": %s", STR_ARG(h->name), what);
}

/* 1: the question is on its way; 0: this webhook need not be asked (or its failure is ignored). */
static int ask(struct hook_run *run, struct asked *a, struct err **e)
{
    struct call *c = run->rq.c;
    struct pool *p = c->pool;
    struct json *object, *old, *review = json_obj(p);
    char uid[UUID_LEN + 1];
    struct err *why = NULL;
    if (c->dry_run && a->hook->side_effects)
        return err_set(e, ERR_BAD_REQUEST, "admission webhook \"%.*s\" does not support dry run", STR_ARG(a->hook->name));
    if (hook_document(&run->rq, a->row, run->rq.object, &object, e) < 0 || hook_document(&run->rq, a->row, run->rq.old, &old, e) < 0)
        return -(*e)->code;
    if (conv_pending(c)) /* the phase is run again */
        return 0;
    random_uuid(uid);
    a->uid = pool_str(p, str_of(uid));
    a->sent = object;
    json_set_str(p, review, STR("kind"), STR("AdmissionReview"));
    json_set_str(p, review, STR("apiVersion"), a->hook->v1 ? STR("admission.k8s.io/v1") : STR("admission.k8s.io/v1beta1"));
    json_set(p, review, STR("request"), hook_review_request(&run->rq, a->row, object, old, a->uid));
    remote_cancel(&a->rc);
    a->rc =
        (struct remote_call){.api = c->api, .loop = c->loop, .timeout_ns = a->hook->timeout_s * NS_PER_S, .done = asked_done, .arg = run};
    int r = remote_target(c->api, p, a->hook->client, &a->rc.target, &why);
    if (r < 0) {
        struct str text = pool_printf(p, "failed to call webhook: %s", err_msg(why));
        err_free(why);
        return failed(run, a->hook, text.p, e);
    }
    struct str sep = str_chr(a->rc.target.path, '?') >= 0 ? STR("&") : STR("?");
    a->rc.target.path = pool_printf(p, "%.*s%.*stimeout=%ds", STR_ARG(a->rc.target.path), STR_ARG(sep), a->hook->timeout_s);
    a->rc.target.text = pool_printf(p, "%.*s%.*stimeout=%ds", STR_ARG(a->rc.target.text), STR_ARG(sep), a->hook->timeout_s);
    a->rc.body = json_to_pool(p, review);
    if (!a->asked)
        pool_on_free(p, asked_free, a);
    a->asked = true;
    a->done = false;
    run->open++;
    remote_post(&a->rc);
    return 1;
}

static void gone(struct call *c)
{
    struct hook_run *run = c->hook_run;
    for (size_t i = 0; run && i < run->n; i++)
        remote_cancel(&run->list[i].rc);
}

static void asked_done(struct remote_call *rc)
{
    struct asked *a = container_of(rc, struct asked, rc);
    struct hook_run *run = rc->arg;
    struct call *c = run->rq.c;
    a->done = true;
    if (--run->open)
        return;
    c->on_gone = NULL;
    call_resume(c);
}

static int wait_for(struct call *c)
{
    c->on_gone = gone;
    return CALL_WAIT;
}

/* ---- answers ---- */

static int denied(struct call *c, const struct hook *h, const struct json *status, struct err **e)
{
    struct str message = json_get_str(status, "message"), reason = json_get_str(status, "reason");
    int64_t code = json_get_int(status, "code", 400);
    struct pool *p = c->pool;
    struct json *s = status ? json_clone(p, status) : json_obj(p);
    struct str text = message.n  ? pool_printf(p, "admission webhook \"%.*s\" denied the request: %.*s", STR_ARG(h->name), STR_ARG(message))
                      : reason.n ? pool_printf(p, "admission webhook \"%.*s\" denied the request: %.*s", STR_ARG(h->name), STR_ARG(reason))
                                 : pool_printf(p, "admission webhook \"%.*s\" denied the request without explanation", STR_ARG(h->name));
    if (code < 400 || code > 599)
        code = 400;
    s->keyp = NULL, s->keyn = 0;
    json_set_str(p, s, STR("kind"), STR("Status"));
    json_set_str(p, s, STR("apiVersion"), STR("v1"));
    if (!json_get(s, STR("metadata")))
        json_set(p, s, STR("metadata"), json_obj(p));
    json_set_str(p, s, STR("status"), STR("Failure"));
    json_set_str(p, s, STR("message"), text);
    json_set_int(p, s, STR("code"), code);
    c->denied = s;
    c->denied_code = (int)code;
    enum err_code kind = code == 403   ? ERR_FORBIDDEN
                         : code == 404 ? ERR_NOT_FOUND
                         : code == 409 ? ERR_CONFLICT
                         : code == 422 ? ERR_INVALID
                         : code == 429 ? ERR_TOO_MANY
                         : code >= 500 ? ERR_INTERNAL
                                       : ERR_BAD_REQUEST;
    return err_set(e, kind, "%.*s", STR_ARG(text));
}

static int broken(struct hook_run *run, struct asked *a, const char *fmt, struct str what, struct err **e)
{
    struct str text = pool_printf(run->rq.c->pool, "%s%.*s", fmt, STR_ARG(what));
    return failed(run, a->hook, text.p, e);
}

/* Applies the patch of a mutating webhook. 1: the object changed. */
static int patched(struct hook_run *run, struct asked *a, const struct json *response, struct err **e)
{
    struct call *c = run->rq.c;
    struct str encoded = json_get_str(response, "patch"), type = json_get_str(response, "patchType");
    struct json *patch, *doc, *before = a->sent;
    struct err *why = NULL;
    struct buf text = BUF_INIT;
    if (!encoded.n || run->rq.op == HOOK_DELETE || !a->sent)
        return 0;
    if (type.n && !str_eqz(type, "JSONPatch"))
        return broken(run, a, "unsupported patch type: ", type, e);
    if (!buf_unbase64(&text, encoded)) {
        buf_clear(&text);
        return broken(run, a, "the patch is no base64", STR(""), e);
    }
    struct str plain = buf_to_pool(&text, c->pool);
    doc = json_clone(c->pool, before);
    if (json_parse(c->pool, plain, NULL, &patch, &why) < 0 || json_patch(c->pool, &doc, patch, &why) < 0) {
        struct str told = pool_str(c->pool, str_of(err_msg(why)));
        err_free(why);
        return err_set(e, ERR_INTERNAL, "Internal error occurred: %.*s", STR_ARG(told));
    }
    if (json_equal(doc, before))
        return 0;
    return hook_take(&run->rq, a->row, doc, e) < 0 ? -(*e)->code : 1;
}

/* The answer of one webhook: 0 allowed, 1 allowed and changed, negative: refused. */
static int answered(struct hook_run *run, struct asked *a, struct err **e)
{
    struct call *c = run->rq.c;
    struct json *doc = NULL;
    if (!a->asked)
        return 0;
    if (a->rc.err || a->rc.status != 200) {
        struct str why = a->rc.err ? str_of(err_msg(a->rc.err)) : pool_printf(c->pool, "the server answered with status %d", a->rc.status);
        return broken(run, a, pool_printf(c->pool, "failed to call webhook: Post \"%.*s\": ", STR_ARG(a->rc.target.text)).p, why, e);
    }
    struct str text = pool_str(c->pool, buf_str(&a->rc.reply));
    if (json_parse(c->pool, text, NULL, &doc, NULL) < 0 || !json_is(json_get(doc, STR("response")), JSON_OBJ))
        return broken(run, a, "expected webhook response of admission.k8s.io/v1, Kind=AdmissionReview, got something else", STR(""), e);
    const struct json *response = json_get(doc, STR("response"));
    if (!str_eq(json_get_str(response, "uid"), a->uid))
        return broken(run, a, "expected response.uid=", a->uid, e);
    json_for (json_get(response, STR("warnings")), w)
        call_warn(c, "%.*s", STR_ARG(json_as_str(w)));
    if (!json_get_bool(response, "allowed", false))
        return denied(c, a->hook, json_get(response, STR("status")), e);
    return run->mutating ? patched(run, a, response, e) : 0;
}

/* ---- runs ---- */

static const struct {
    int op;
    enum hook_op as;
} write_ops[] = {{WRITE_CREATE, HOOK_CREATE}, {WRITE_UPDATE, HOOK_UPDATE}, {WRITE_DELETE, HOOK_DELETE}};

static struct hook_request request_of(struct call *c)
{
    struct hook_request rq = {.c = c, .res = c->res, .sub = c->ri.sub.p ? c->ri.sub : STR(""), .ns = c->ri.ns, .name = c->ri.name};
    for (size_t i = 0; i < ARRAY_LEN(write_ops); i++)
        if (write_ops[i].op == (int)c->w.op)
            rq.op = write_ops[i].as;
    if (!rq.name.n && c->w.doc)
        rq.name = json_str_at(c->w.doc, "metadata", "name", NULL);
    rq.object = c->w.op == WRITE_DELETE ? NULL : c->w.doc;
    rq.old = c->w.op == WRITE_CREATE ? NULL : c->w.old;
    return rq;
}

/* The webhooks that match. NULL and no error: none. */
static struct hook_run *run_new(struct hook_request *rq, bool mutating, struct err **e)
{
    struct call *c = rq->c;
    size_t n, found = 0;
    const struct hook *all = hooks_list(c, mutating, &n);
    struct hook_run *run = NULL;
    for (size_t i = 0; i < n; i++) {
        const struct schema_resource *row = hook_matches(&all[i].match, rq);
        bool fail = false;
        if (!row)
            continue;
        struct err *why = NULL;
        if (!hook_conditions(all[i].conditions, all[i].nconditions, rq, row, &fail, &why)) {
            if (fail && !all[i].ignore)
                return (void)err_move(e, why), NULL;
            err_free(why);
            continue;
        }
        if (!run) {
            run = pool_new_of(c->pool, struct hook_run);
            run->rq = *rq;
            run->mutating = mutating;
            run->list = pool_array(c->pool, struct asked, n);
        }
        run->list[found++] = (struct asked){.hook = &all[i], .row = row};
        run->n = found;
    }
    return run;
}

/* One after the other; what a later one changed, earlier ones that want it see again, once. */
static int mutate_on(struct hook_run *run, struct err **e)
{
    for (;;) {
        if (run->at < run->n && run->list[run->at].done) { /* an answer is there */
            struct asked *a = &run->list[run->at];
            int r = answered(run, a, e);
            a->done = false;
            if (r < 0)
                return r;
            for (size_t i = 0; r == 1 && i < run->n && !run->second; i++)
                if (i != run->at && run->list[i].asked)
                    run->list[i].again = run->list[i].hook->reinvoke;
            run->at++;
            continue;
        }
        while (run->second && run->at < run->n && !run->list[run->at].again)
            run->at++;
        if (run->at < run->n) {
            int r = ask(run, &run->list[run->at], e);
            if (r < 0)
                return r;
            if (r == 1)
                return wait_for(run->rq.c);
            run->at++;
            continue;
        }
        if (run->second)
            return 0;
        run->second = true;
        run->at = 0;
    }
}

static int validate_on(struct hook_run *run, struct err **e)
{
    if (run->at == 0) {
        run->at = 1;
        for (size_t i = 0; i < run->n; i++)
            if (ask(run, &run->list[i], e) < 0) {
                gone(run->rq.c);
                return -(*e)->code;
            }
        if (run->open)
            return wait_for(run->rq.c);
    }
    for (size_t i = 0; i < run->n; i++)
        if (answered(run, &run->list[i], e) < 0)
            return -(*e)->code;
    return 0;
}

static void door_open(struct store_wait *w, int result)
{
    struct call *c = container_of(w, struct call, wait);
    (void)result; /* taken back: the store will say so when it comes to writing */
    c->on_gone = NULL;
    call_resume(c);
}

static void door_gone(struct call *c)
{
    store_wait_cancel(c->api->store, &c->wait);
}

/* A question leaves the process: not before what it tells of is durable. */
static bool passes_door(struct call *c)
{
    struct hook_run *run = c->hook_run;
    const struct obj *old = c->w.old_obj;
    if (run->doored)
        return true;
    run->doored = true;
    if (!old || old->soft || store_wait(c->api->store, old->rev, &c->wait, c->loop, door_open))
        return true;
    c->on_gone = door_gone;
    return false;
}

static int run_on(struct call *c, struct err **e)
{
    if (!passes_door(c))
        return CALL_WAIT;
    int r = c->hook_run->mutating ? mutate_on(c->hook_run, e) : validate_on(c->hook_run, e);
    if (r != CALL_WAIT)
        c->hook_run = NULL;
    return r;
}

int hooks_mutate(struct call *c, struct err **e)
{
    if (c->w.internal)
        return 0;
    if (!c->hook_run) {
        struct hook_request rq = request_of(c);
        struct err *why = NULL;
        if (policies_mutate(&rq, e) < 0)
            return -(*e)->code;
        c->hook_run = run_new(&rq, true, &why);
        if (why)
            return err_move(e, why);
    }
    return c->hook_run ? run_on(c, e) : 0;
}

int hooks_validate(struct call *c, struct err **e)
{
    if (c->w.internal)
        return 0;
    if (!c->hook_run) {
        struct hook_request rq = request_of(c);
        struct err *why = NULL;
        if (policies_validate(&rq, e) < 0)
            return -(*e)->code;
        c->hook_run = run_new(&rq, false, &why);
        if (why)
            return err_move(e, why);
    }
    return c->hook_run ? run_on(c, e) : 0;
}

/* ---- connections and subresources that write by themselves ---- */

static struct json *connect_options(struct call *c, struct hook_request *rq)
{
    static const struct {
        const char *sub, *kind, *flags;
    } rows[] = {{"exec", "PodExecOptions", "stdin,stdout,stderr,tty"}, {"attach", "PodAttachOptions", "stdin,stdout,stderr,tty"},
        {"portforward", "PodPortForwardOptions", ""}, {"proxy", "PodProxyOptions", ""}};
    struct pool *p = c->pool;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        if (!str_eqz(rq->sub, rows[i].sub))
            continue;
        struct json *o = json_obj(p);
        struct str rest = str_of(rows[i].flags), flag;
        rq->kind = str_eqz(rq->res->resource, "pods")       ? str_of(rows[i].kind)
                   : str_eqz(rq->res->resource, "services") ? STR("ServiceProxyOptions")
                                                            : STR("NodeProxyOptions");
        json_set_str(p, o, STR("kind"), rq->kind);
        json_set_str(p, o, STR("apiVersion"), STR("v1"));
        while (rest.n && str_split(&rest, ',', &flag))
            if (call_query_bool(c, pool_strz(p, flag)))
                json_set_bool(p, o, flag, true);
        if (call_query(c, "container").n)
            json_set_str(p, o, STR("container"), call_query(c, "container"));
        struct str left = c->rq ? c->rq->query : STR(""), name, value;
        while (c->rq && left.n && http_query_each(c->rq, &left, &name, &value))
            if (str_eqz(name, "command"))
                json_append(json_put_arr(p, o, STR("command")), json_str(p, value));
        if (c->ri.rest.n)
            json_set_str(p, o, STR("path"), c->ri.rest);
        return o;
    }
    return NULL;
}

static int connect_request(struct call *c, struct hook_request *rq)
{
    *rq = (struct hook_request){.c = c,
        .res = c->res,
        .sub = c->ri.sub,
        .ns = c->ri.ns,
        .name = c->ri.name,
        .own = true,
        .kind_group = STR(""),
        .kind_version = STR("v1")};
    if (!c->sub->type) {
        rq->op = HOOK_CONNECT;
        rq->object = connect_options(c, rq);
        return rq->object != NULL;
    }
    rq->op = HOOK_CREATE;
    rq->object = c->doc;
    rq->kind_group = c->sub->group.p ? c->sub->group : STR("");
    rq->kind_version = c->sub->version;
    rq->kind = c->sub->kind;
    return c->doc != NULL;
}

int hooks_connect(struct call *c, struct err **e)
{
    bool own_write = c->sub && c->ri.verb == VERB_CREATE && c->sub->type;
    if (!c->sub || !(own_write || !c->sub->type) || str_eqz(c->ri.sub, "log"))
        return 0;
    for (;; c->hook_phase++) {
        if (c->hook_phase > 1)
            return c->hook_phase = 0, 0;
        if (!c->hook_run) {
            struct hook_request rq;
            struct err *why = NULL;
            if (!connect_request(c, &rq))
                return 0;
            if (c->hook_phase == 1 && policies_validate(&rq, e) < 0)
                return -(*e)->code;
            c->hook_run = run_new(&rq, c->hook_phase == 0, &why);
            if (why)
                return err_move(e, why);
        }
        int r = c->hook_run ? run_on(c, e) : 0;
        if (r)
            return r;
    }
}

/* ---- collections ---- */

int hooks_delete_each(struct call *c, const struct obj *const *all, size_t n, struct err **e)
{
    for (; c->hook_object < n; c->hook_object++, c->hook_phase = 0) {
        const struct obj *o = all[c->hook_object];
        for (; c->hook_phase < 2; c->hook_phase++) {
            if (!c->hook_run) {
                struct hook_request rq = {.c = c, .op = HOOK_DELETE, .res = c->res, .sub = STR(""), .ns = o->ns, .name = o->name};
                struct err *why = NULL;
                if (obj_parse(o, c->pool, &rq.old, e) < 0)
                    return -(*e)->code;
                if (c->hook_phase == 1 && policies_validate(&rq, e) < 0)
                    return -(*e)->code;
                c->hook_run = run_new(&rq, c->hook_phase == 0, &why);
                if (why)
                    return err_move(e, why);
            }
            int r = c->hook_run ? run_on(c, e) : 0;
            if (r)
                return r;
        }
    }
    return 0;
}
