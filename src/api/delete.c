#include "api/convert.h"
#include "api/hooks.h"
#include "api/impl.h"

/* How an object goes (apiserver's rest.BeforeDelete and the generic store's Delete): at once, after its grace (pods), when its finalizers
 * are gone, or, for a namespace, when it is empty. */

static int option_int(struct err **e, const struct json *v, const char *name, int64_t *out)
{
    if (!v || v->type == JSON_NULL)
        return 0;
    if (v->type != JSON_INT)
        return err_set(e, ERR_BAD_REQUEST, "DeleteOptions: %s: a number is wanted", name);
    *out = v->i;
    return 1;
}

static int set_policy(struct delete_options *o, struct str policy, struct err **e)
{
    if (str_empty(policy))
        return 0;
    o->policy_set = true;
    o->orphan = str_eqz(policy, "Orphan");
    o->foreground = str_eqz(policy, "Foreground");
    if (o->orphan || o->foreground || str_eqz(policy, "Background"))
        return 0;
    (void)err_set(e, ERR_INVALID,
        "DeleteOptions.meta.k8s.io \"\" is invalid: propagationPolicy: Unsupported value: \"%.*s\": supported values: \"Background\", "
        "\"Foreground\", \"Orphan\"",
        STR_ARG(policy));
    return err_cause(e, "FieldValueNotSupported", STR("propagationPolicy"), "Unsupported value"), -ERR_INVALID;
}

int delete_options_parse(struct call *c, const struct json *body, struct delete_options *o, struct err **e)
{
    *o = (struct delete_options){0};
    struct str grace = call_query(c, "gracePeriodSeconds"), policy = call_query(c, "propagationPolicy"),
               orphan = call_query(c, "orphanDependents");
    if (!str_empty(grace)) {
        if (!str_to_i64(grace, &o->grace))
            return err_set(e, ERR_BAD_REQUEST, "gracePeriodSeconds: Invalid value: \"%.*s\": must be an integer", STR_ARG(grace));
        o->grace_set = true;
    }
    if (!str_empty(orphan))
        policy = str_eqz(orphan, "true") || str_eqz(orphan, "1") ? STR("Orphan") : STR("Background");
    if (body && !json_is(body, JSON_OBJ))
        return err_set(e, ERR_BAD_REQUEST, "DeleteOptions: an object is wanted");
    int r = option_int(e, json_get(body, STR("gracePeriodSeconds")), "gracePeriodSeconds", &o->grace);
    if (r < 0)
        return r;
    o->grace_set |= r > 0;
    const struct json *pre = json_get(body, STR("preconditions")), *dry = json_get(body, STR("dryRun")),
                      *od = json_get(body, STR("orphanDependents"));
    o->uid = json_get_str(pre, "uid");
    o->rv = json_get_str(pre, "resourceVersion");
    if (json_count(dry)) {
        if (!str_eqz(json_as_str(json_at(dry, 0)), "All"))
            return err_set(e, ERR_INVALID, "dryRun: Unsupported value: supported values: \"All\"");
        c->dry_run = true;
    }
    if (json_is(od, JSON_BOOL))
        policy = od->b ? STR("Orphan") : STR("Background");
    if (!str_empty(json_get_str(body, "propagationPolicy")))
        policy = json_get_str(body, "propagationPolicy");
    return set_policy(o, policy, e);
}

static int preconditions(struct call *c, const struct obj *o, const struct delete_options *opt, struct err **e)
{
    if (!str_empty(opt->uid) && !str_eq(opt->uid, o->uid)) {
        struct str why = pool_printf(c->pool,
            "the UID in the precondition (%.*s) does not match the UID in record (%.*s). The object might have been deleted and then "
            "recreated",
            STR_ARG(opt->uid), STR_ARG(o->uid));
        return call_conflict(c, why.p, e);
    }
    uint64_t rv = 0;
    if (!str_empty(opt->rv) && (!str_to_u64(opt->rv, &rv) || (int64_t)rv != o->rev)) {
        struct str why = pool_printf(c->pool,
            "the ResourceVersion in the precondition (%.*s) does not match the ResourceVersion in record (%" PRId64
            "). The object might have been modified",
            STR_ARG(opt->rv), o->rev);
        return call_conflict(c, why.p, e);
    }
    return 0;
}

static bool list_has(const struct json *arr, const char *s)
{
    json_for (arr, it)
        if (str_eqz(json_as_str(it), s))
            return true;
    return false;
}

static void list_drop(struct json *arr, const char *s)
{
    json_for (arr, it)
        if (str_eqz(json_as_str(it), s))
            json_remove(arr, it);
}

/* Deleted without a word about their pods, these two leave them: what the first clients of Kubernetes relied on (DefaultGarbageCollectionPolicy
 * of their strategies). kubectl and our own controllers always say what they want. */
static bool orphans_by_default(const struct call *c)
{
    return !c->in && (str_eqz(c->stored->storage, "/replicationcontrollers") || str_eqz(c->stored->storage, "batch/jobs"));
}

/* orphan and foregroundDeletion are finalizers that the garbage collector answers to. true: something changed. */
static bool policy_finalizers(struct call *c, struct json *meta, const struct delete_options *opt)
{
    struct json *f = json_get(meta, STR("finalizers"));
    bool orphan = list_has(f, "orphan"), fore = list_has(f, "foregroundDeletion");
    bool want_orphan = opt->policy_set ? opt->orphan : orphan || (!fore && orphans_by_default(c)), want_fore = opt->policy_set ? opt->foreground : fore;
    if (want_orphan == orphan && want_fore == fore)
        return false;
    if (!f)
        f = json_put_arr(c->pool, meta, STR("finalizers"));
    if (!want_orphan)
        list_drop(f, "orphan");
    if (!want_fore)
        list_drop(f, "foregroundDeletion");
    if (want_orphan && !orphan)
        json_append(f, json_str(c->pool, STR("orphan")));
    if (want_fore && !fore)
        json_append(f, json_str(c->pool, STR("foregroundDeletion")));
    if (json_count(f) == 0)
        json_del(meta, STR("finalizers"));
    return true;
}

/* A pod's own grace (registry/core/pod: CheckGracefulDelete). */
static int64_t pod_grace(const struct json *doc, const struct delete_options *opt)
{
    struct str phase = json_str_at(doc, "status", "phase", NULL);
    if (str_empty(json_str_at(doc, "spec", "nodeName", NULL)) || str_eqz(phase, "Failed") || str_eqz(phase, "Succeeded"))
        return 0;
    int64_t g = opt->grace_set ? opt->grace : json_as_int(json_path(doc, "spec", "terminationGracePeriodSeconds", NULL), 30);
    return g < 0 ? 1 : g;
}

static void mark(struct call *c, struct json *meta, int64_t grace)
{
    char t[TIME_MAX];
    json_set_str(c->pool, meta, STR("deletionTimestamp"), time_format(clock_now(c->api->clock) + grace * NS_PER_S, t));
    json_set_int(c->pool, meta, STR("deletionGracePeriodSeconds"), grace);
    int64_t gen = json_get_int(meta, "generation", 0);
    if (gen > 0)
        json_set_int(c->pool, meta, STR("generation"), gen + 1);
}

/* Being deleted already: the grace may only become shorter. true: changed. */
static bool shorten(struct call *c, struct json *meta, int64_t grace)
{
    int64_t had = json_get_int(meta, "deletionGracePeriodSeconds", 0), at = 0, now = clock_now(c->api->clock);
    if (had == 0 || grace >= had)
        return false;
    (void)time_parse(json_get_str(meta, "deletionTimestamp"), &at);
    at += (grace - had) * NS_PER_S;
    if (at < now) {
        at = now;
        grace = grace ? 1 : 0;
    }
    char t[TIME_MAX];
    json_set_str(c->pool, meta, STR("deletionTimestamp"), time_format(at, t));
    json_set_int(c->pool, meta, STR("deletionGracePeriodSeconds"), grace);
    return true;
}

enum fate { FATE_KEEP /* nothing to do */, FATE_UPDATE, FATE_REMOVE };

/* What a deletion makes of doc (changed in place). */
static enum fate decide(struct call *c, struct json *doc, const struct delete_options *opt)
{
    struct json *meta = json_put_obj(c->pool, doc, STR("metadata"));
    bool pod = c->sres == c->api->res.pods, ns = c->sres == c->api->res.namespaces;
    bool changed = policy_finalizers(c, meta, opt), marked = json_get(meta, STR("deletionTimestamp")) != NULL;
    int64_t grace = pod ? pod_grace(doc, opt) : 0;
    if (marked) {
        if (pod && opt->grace_set)
            changed |= shorten(c, meta, grace);
    }
    crd_on_delete(c, doc);
    bool held = json_count(json_get(meta, STR("finalizers"))) || (ns && json_count(json_path(doc, "spec", "finalizers", NULL)));
    if (!marked && (held || grace > 0)) {
        mark(c, meta, grace);
        if (ns)
            json_set_str(c->pool, json_put_obj(c->pool, doc, STR("status")), STR("phase"), STR("Terminating"));
        return FATE_UPDATE;
    }
    if (held)
        return changed ? FATE_UPDATE : FATE_KEEP;
    if (marked && json_get_int(meta, "deletionGracePeriodSeconds", 0) > 0)
        return changed ? FATE_UPDATE : FATE_KEEP;
    return FATE_REMOVE;
}

/* Deletes o; *out is what stands now, or what stood last. 1: gone; 0: marked; a conflict is tried again by the caller. */
static int delete_object(struct call *c, const struct obj *o, const struct delete_options *opt, const struct obj **out, struct err **e)
{
    struct json *doc;
    if (obj_parse(o, c->pool, &doc, e) < 0)
        return -(*e)->code;
    switch (decide(c, doc, opt)) {
    case FATE_KEEP:
        *out = obj_ref(o);
        return 0;
    case FATE_UPDATE:
        if (c->dry_run) {
            *out = obj_ref(o);
            return 0;
        }
        return store_update(c->api->store, c->sres, c->pool, doc, o->rev, STORE_RESERVE, out, e);
    default:
        if (c->dry_run) {
            *out = obj_ref(o);
            return 1;
        }
        int r = store_delete(c->api->store, c->sres, o->ns, o->name, o->uid, o->rev, STORE_RESERVE | (o->soft ? STORE_SOFT : 0), out, e);
        if (r < 0)
            return r;
        addresses_release(c->api, *out);
        nodes_forget(c->api, c->loop, *out);
        return 1;
    }
}

static int read_options(struct call *c, struct delete_options *opt, struct err **e)
{
    struct json *body = c->in ? c->in->body : NULL;
    if (!c->in && !str_empty(str_trim(c->body)) && decode_text(c, &body, NULL, e) < 0)
        return -(*e)->code;
    if (delete_options_parse(c, body, opt, e) < 0)
        return -(*e)->code;
    if (c->in && !str_empty(c->in->expect_uid))
        opt->uid = c->in->expect_uid;
    return 0;
}

int verb_delete(struct call *c, struct err **e)
{
    struct delete_options *opt = c->extra;
    if (!opt) {
        opt = pool_new_of(c->pool, struct delete_options);
        if (read_options(c, opt, e) < 0)
            return -(*e)->code;
        c->extra = opt;
    }
    if (write_read_old(c, e) < 0)
        return -(*e)->code;
    if (preconditions(c, c->w.old_obj, opt, e) < 0) {
        call_depend(c, c->w.old_obj->soft ? 0 : c->w.old_obj->rev);
        return -(*e)->code;
    }
    c->w.op = WRITE_DELETE;
    return 0;
}

/* Kinds whose DELETE answers with the object itself (ReturnDeletedObject of their storages). */
static bool returns_object(const struct call *c)
{
    static const char *const names[] = {
        "pods", "services", "serviceaccounts", "persistentvolumes", "persistentvolumeclaims", "podtemplates", "resourcequotas"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (str_empty(c->res->group) && str_eqz(c->res->resource, names[i]))
            return true;
    return false;
}

int delete_store(struct call *c, struct err **e)
{
    const struct obj *o = NULL;
    int r = delete_object(c, c->w.old_obj, c->extra, &o, e);
    if (r < 0) {
        enum err_code code = (*e)->code;
        if (code != ERR_CONFLICT && code != ERR_NOT_FOUND)
            return -code;
        err_free(TAKE(*e));
        if (code == ERR_NOT_FOUND)
            return call_not_found(c, c->ri.name, e);
        if (c->w.tries++ < 16) {
            c->w.op = WRITE_NONE;
            return CALL_VERB;
        }
        return call_conflict(c, OBJECT_MODIFIED, e);
    }
    if (r == 1)
        admit_done(c);
    if (!c->status_only && (r == 0 || c->in || returns_object(c))) {
        call_reply_obj(c, 200, o);
        return 0;
    }
    call_depend(c, o->soft ? 0 : o->rev);
    obj_unref(o);
    c->success = !c->status_only;
    c->code = c->status_only ? 201 : 200;
    return 0;
}

/* One by one, as Kubernetes does; an object that changes meanwhile is read again. */
static int delete_one(struct call *c, const struct obj *listed, const struct delete_options *opt, const struct obj **out, struct err **e)
{
    for (unsigned tries = 0;; tries++) {
        _cleanup_(store_view_unrefp) struct store_view *v = store_view(c->api->store);
        const struct obj *o = view_get(v, c->sres, listed->ns, listed->name);
        if (!o || !str_eq(o->uid, listed->uid))
            return 0;
        c->ri.name = o->name;
        c->w.old_obj = o;
        c->w.op = WRITE_DELETE;
        int r = admit(c, e);
        if (r >= 0)
            r = delete_object(c, o, opt, out, e);
        c->w.op = WRITE_NONE;
        c->w.old_obj = NULL;
        if (r == 1)
            admit_done(c);
        if (r >= 0)
            return 0;
        if ((*e)->code == ERR_NOT_FOUND || ((*e)->code == ERR_CONFLICT && tries < 16)) {
            err_free(TAKE(*e));
            continue;
        }
        return r;
    }
}

struct collection { /* what a deletecollection is about; kept while webhooks are asked */
    struct delete_options opt;
    struct store_view *view;
    const struct obj **all;
    size_t n;
};

static void view_drop(void *v)
{
    store_view_unref(v);
}

static int collect(struct call *c, struct collection *k, struct err **e)
{
    struct select sel;
    struct store_iter it;
    size_t cap = 0;
    if (read_options(c, &k->opt, e) < 0 || select_parse(c, &sel, e) < 0)
        return -(*e)->code;
    k->view = store_view(c->api->store);
    pool_on_free(c->pool, view_drop, k->view);
    iter_start(&it, k->view, c->sres, call_ns(c), STR_NULL, STR_NULL);
    for (const struct obj *o; (o = iter_next(&it));) {
        if (!select_match(c, &sel, o))
            continue;
        if (k->n == cap) {
            size_t grown = cap ? cap * 2 : 16;
            k->all = pool_grow(c->pool, k->all, cap * sizeof *k->all, grown * sizeof *k->all);
            cap = grown;
        }
        k->all[k->n++] = o;
    }
    return 0;
}

int verb_delete_collection(struct call *c, struct err **e)
{
    struct collection *k = c->extra;
    if (!k) {
        k = pool_new_of(c->pool, struct collection);
        if (collect(c, k, e) < 0)
            return -(*e)->code;
        if (conv_pending(c)) /* which objects are meant is known when they are converted */
            return 0;
        c->extra = k;
    }
    int r = hooks_delete_each(c, k->all, k->n, e);
    if (r || conv_pending(c))
        return r;
    _cleanup_(buf_clear) struct buf b = BUF_INIT;
    size_t n = 0;
    buf_printf(&b, "{\"kind\":\"%.*s\",\"apiVersion\":\"%.*s\",\"metadata\":{\"resourceVersion\":\"%" PRId64 "\"},\"items\":[",
        STR_ARG(call_list_kind(c)), STR_ARG(api_version(c->pool, c->res->group, c->res->version)), view_rev(k->view));
    for (size_t i = 0; i < k->n; i++) {
        const struct obj *out = NULL;
        if (delete_one(c, k->all[i], &k->opt, &out, e) < 0)
            return -(*e)->code;
        if (!out)
            continue;
        if (n++)
            buf_putc(&b, ',');
        buf_str_add(&b, out->json);
        call_depend(c, out->soft ? 0 : out->rev);
        obj_unref(out);
    }
    c->ri.name = STR_NULL;
    buf_puts(&b, "]}\n");
    if (c->in)
        c->code = 200;
    else
        call_reply_raw(c, 200, "application/json", buf_to_bytes(&b));
    return 0;
}
