#include "api/convert.h"
#include "api/hooks.h"
#include "api/impl.h"
#include "base/file.h"

/* The way of every write: what VERB put into c->w is defaulted, admitted, prepared, validated and stored. */

#define GENERATE_TRIES 8
#define CONFLICT_TRIES 8

static void move_first(struct json *obj, const char *key)
{
    struct json *m = json_get(obj, str_of(key));
    if (!m || obj->first == m || !json_remove(obj, m))
        return;
    m->next = obj->first;
    obj->first = m;
    if (!obj->last)
        obj->last = m;
    obj->n++;
}

void write_head(struct json *doc)
{
    move_first(doc, "metadata");
    move_first(doc, "apiVersion");
    move_first(doc, "kind");
}

int write_read_old(struct call *c, struct err **e)
{
    _cleanup_(store_view_unrefp) struct store_view *v = store_view(c->api->store);
    const struct obj *o = view_get(v, c->sres, call_ns(c), c->ri.name);
    c->w.old_obj = NULL;
    c->w.old = NULL;
    if (!o) {
        call_depend(c, view_res_rev(v, c->sres));
        return call_not_found(c, c->ri.name, e);
    }
    c->w.old_obj = o;
    pool_hold_obj(c->pool, obj_ref(o));
    if (obj_parse(o, c->pool, &c->w.old, e) < 0)
        return -(*e)->code;
    return crd_row(c->stored) ? encode_between(c, c->stored, c->stored, &c->w.old, e) : 0; /* it may stand there as an older schema left it */
}

/* Kinds that take no update without a resourceVersion (AllowUnconditionalUpdate of their strategies). */
static bool needs_rv(const struct schema_resource *r)
{
    static const char *const names[] = {"leases", "poddisruptionbudgets", "runtimeclasses", "csidrivers", "csinodes",
        "csistoragecapacities", "volumeattachments", "validatingadmissionpolicies", "validatingadmissionpolicybindings",
        "mutatingadmissionpolicies", "mutatingadmissionpolicybindings", "validatingwebhookconfigurations", "mutatingwebhookconfigurations",
        "customresourcedefinitions", "leasecandidates"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (str_eqz(r->resource, names[i]))
            return true;
    return r->type->cr;
}

int write_expect(struct call *c, const struct json *doc, struct err **e)
{
    const struct json *meta = json_get(doc, STR("metadata"));
    struct str rv = json_get_str(meta, "resourceVersion"), uid = json_get_str(meta, "uid");
    const struct obj *old = c->w.old_obj;
    uint64_t want = 0;
    if (!str_empty(uid) && !str_eq(uid, old->uid)) {
        char why[256];
        snprintf(why, sizeof why,
            "StorageError: invalid object, Code: 4, Key: %.*s, ResourceVersion: 0, AdditionalErrorMsg: Precondition failed: UID in "
            "precondition: %.*s, UID in object meta: %.*s",
            STR_ARG(str_sub(c->ri.name, 0, 60)), STR_ARG(str_sub(uid, 0, 40)), STR_ARG(str_sub(old->uid, 0, 40)));
        return call_conflict(c, why, e);
    }
    if (c->in && c->in->expect_rev)
        want = (uint64_t)c->in->expect_rev;
    else if (!str_empty(rv) && !str_to_u64(rv, &want))
        return err_set(e, ERR_BAD_REQUEST, "metadata.resourceVersion: Invalid value: \"%.*s\": must be an unsigned integer", STR_ARG(rv));
    c->w.retry = want == 0;
    if (want && (int64_t)want != old->rev) {
        call_depend(c, old->soft ? 0 : old->rev);
        return call_conflict(c, OBJECT_MODIFIED, e);
    }
    if (!want && !c->in && c->ri.verb == VERB_UPDATE && needs_rv(c->stored)) {
        (void)err_set(e, ERR_INVALID,
            "%.*s \"%.*s\" is invalid: metadata.resourceVersion: Invalid value: 0: must be specified for an update",
            STR_ARG(call_qualified(c)), STR_ARG(c->ri.name));
        return err_cause(e, "FieldValueInvalid", STR("metadata.resourceVersion"), "Invalid value: 0: must be specified for an update"),
               -ERR_INVALID;
    }
    c->w.expect_rev = old->rev;
    return 0;
}

/* ---- metadata that is the server's ---- */

static const char *const created_never[] = {"resourceVersion", "selfLink", "deletionTimestamp", "deletionGracePeriodSeconds", "generation"};

static void fill_name(struct call *c, struct json *meta)
{
    char suffix[6];
    struct str base = str_sub(json_get_str(meta, "generateName"), 0, 58);
    random_suffix(suffix, 5);
    c->ri.name = pool_printf(c->pool, "%.*s%s", STR_ARG(base), suffix);
    json_set_str(c->pool, meta, STR("name"), c->ri.name);
}

static int meta_create(struct call *c, struct json *meta, struct err **e)
{
    char uid[UUID_LEN + 1], now[TIME_MAX];
    if (!str_empty(json_get_str(meta, "resourceVersion")) && c->ri.verb == VERB_CREATE)
        return err_set(e, ERR_BAD_REQUEST, "resourceVersion should not be set on objects to be created");
    for (size_t i = 0; i < ARRAY_LEN(created_never); i++)
        json_del(meta, str_of(created_never[i]));
    random_uuid(uid);
    json_set_str(c->pool, meta, STR("uid"), str_of(uid));
    json_set_str(c->pool, meta, STR("creationTimestamp"), time_format(clock_now(c->api->clock), now));
    struct str name = json_get_str(meta, "name");
    c->w.generate = str_empty(name) && !str_empty(json_get_str(meta, "generateName"));
    if (c->w.generate)
        fill_name(c, meta);
    else if (c->ri.verb == VERB_CREATE)
        c->ri.name = name;
    return 0;
}

static void keep(struct call *c, struct json *meta, const struct json *old, const char *key)
{
    const struct json *v = json_get(old, str_of(key));
    if (v)
        json_set(c->pool, meta, str_of(key), json_clone(c->pool, v));
    else
        json_del(meta, str_of(key));
}

static void meta_update(struct call *c, struct json *meta)
{
    static const char *const kept[] = {
        "uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "generation", "resourceVersion", "generateName"};
    const struct json *old = json_get(c->w.old, STR("metadata"));
    for (size_t i = 0; i < ARRAY_LEN(kept); i++)
        keep(c, meta, old, kept[i]);
    json_del(meta, STR("selfLink"));
}

/* Everything up to where webhooks may change it. */
static int admit_begin(struct call *c, struct kind_ctx *k, struct err **e)
{
    struct write *w = &c->w;
    if (w->op == WRITE_DELETE || w->internal)
        return admit(c, e);
    struct json *meta = json_put_obj(c->pool, w->doc, STR("metadata"));
    kind_default(k, w->doc);
    if (w->op == WRITE_CREATE) {
        if (meta_create(c, meta, e) < 0)
            return -(*e)->code;
    } else {
        meta_update(c, meta);
    }
    apply_manage(c); /* before admission: what that adds belongs to nobody */
    return admit(c, e);
}

static int admit_check(struct call *c, struct kind_ctx *k, struct err **e)
{
    struct write *w = &c->w;
    if (w->op == WRITE_DELETE || w->internal)
        return 0;
    if (kind_prepare(k, w->doc, w->old, e) < 0)
        return -(*e)->code;
    return kind_validate(k, w->doc, w->old, e) < 0 ? -(*e)->code : 0;
}

static int admit_end(struct call *c, struct err **e)
{
    if (c->w.op == WRITE_DELETE || c->w.internal)
        return 0;
    if (admit_after(c, e) < 0)
        return -(*e)->code;
    write_head(c->w.doc);
    return 0;
}

enum { ADMIT_BEGIN, ADMIT_MUTATE, ADMIT_CHECK, ADMIT_VALIDATE, ADMIT_END };

int write_admit(struct call *c, struct err **e)
{
    struct str sub = str_eqz(c->ri.sub, "scale") ? STR("") : c->ri.sub; /* a scale is a write of spec.replicas */
    const struct crd_row *custom = crd_row(c->res); /* versions that differ in nothing but their schema are judged by the one that was asked for */
    struct kind_ctx k = {c->pool, custom && !custom->webhook ? c->res : c->stored, sub, clock_now(c->api->clock)};
    for (; c->admit_phase <= ADMIT_END; c->admit_phase++) {
        int r = 0;
        switch (c->admit_phase) {
        case ADMIT_BEGIN:
            r = admit_begin(c, &k, e);
            break;
        case ADMIT_MUTATE:
            r = hooks_mutate(c, e);
            break;
        case ADMIT_CHECK:
            r = admit_check(c, &k, e);
            break;
        case ADMIT_VALIDATE:
            r = hooks_validate(c, e);
            break;
        default:
            r = admit_end(c, e);
        }
        if (conv_pending(c) && r != CALL_WAIT) {
            c->hook_run = NULL; /* this phase is run again when they are there */
            return r;
        }
        if (r == CALL_WAIT || r < 0)
            return r;
    }
    c->admit_phase = ADMIT_BEGIN; /* of the next try */
    return 0;
}

bool write_finished(const struct json *doc)
{
    const struct json *meta = json_get(doc, STR("metadata"));
    if (!json_get(meta, STR("deletionTimestamp")) || json_get_int(meta, "deletionGracePeriodSeconds", 0) > 0)
        return false;
    if (json_count(json_get(meta, STR("finalizers"))))
        return false;
    return !str_eqz(json_get_str(doc, "kind"), "Namespace") || json_count(json_path(doc, "spec", "finalizers", NULL)) == 0;
}

/* Heartbeats and Events cause no flush (ARCHITECTURE, idea 2). */
static unsigned soft_flags(struct call *c)
{
    if (c->sres == c->api->res.events)
        return STORE_SOFT;
    if (c->sres != c->api->res.leases || c->w.op != WRITE_UPDATE || !str_eqz(c->ri.ns, "kube-node-lease"))
        return 0;
    struct json *a = json_get(c->w.old, STR("spec")), *b = json_get(c->w.doc, STR("spec"));
    json_for (b, m)
        if (!str_eqz(json_key(m), "renewTime") && !json_equal(m, json_get(a, json_key(m))))
            return 0;
    return json_equal(json_path(c->w.old, "metadata", "ownerReferences", NULL), json_path(c->w.doc, "metadata", "ownerReferences", NULL))
               ? STORE_SOFT
               : 0;
}

static int store_reply(struct call *c, int code, const struct obj *o)
{
    admit_done(c);
    call_reply_obj(c, code, o);
    if (c->status_only && !c->in)
        obj_unref(TAKE(c->obj));
    return 0;
}

static int do_create(struct call *c, struct err **e)
{
    const struct obj *o = NULL;
    for (unsigned i = 0;; i++) {
        int r = store_create(c->api->store, c->sres, c->pool, c->w.doc, c->store_flags | soft_flags(c), &o, e);
        if (r >= 0)
            return store_reply(c, 201, o);
        if (r != -ERR_EXISTS || !c->w.generate || i >= GENERATE_TRIES)
            break;
        err_free(TAKE(*e));
        fill_name(c, json_get(c->w.doc, STR("metadata")));
    }
    admit_undo(c);
    if ((*e)->code != ERR_EXISTS)
        return -(*e)->code;
    err_free(TAKE(*e));
    _cleanup_(store_view_unrefp) struct store_view *v = store_view(c->api->store);
    const struct obj *there = view_get(v, c->sres, call_ns(c), c->ri.name);
    call_depend(c, there ? there->rev : view_res_rev(v, c->sres));
    if (c->w.generate)
        return err_set(e, ERR_EXISTS, "%.*s \"%.*s\" already exists, the server was not able to generate a unique name for the object",
            STR_ARG(call_qualified(c)), STR_ARG(c->ri.name));
    if (c->ri.verb != VERB_CREATE) { /* created by update or apply: somebody was faster */
        if (c->w.tries++ < CONFLICT_TRIES)
            return c->w.op = WRITE_NONE, CALL_VERB;
    }
    return err_set(e, ERR_EXISTS, "%.*s \"%.*s\" already exists", STR_ARG(call_qualified(c)), STR_ARG(c->ri.name));
}

static int on_conflict(struct call *c, struct err **e)
{
    admit_undo(c);
    enum err_code code = (*e)->code;
    if (code != ERR_CONFLICT && code != ERR_NOT_FOUND)
        return -code;
    err_free(TAKE(*e));
    if (code == ERR_NOT_FOUND)
        return call_not_found(c, c->ri.name, e);
    if (c->w.retry && c->w.tries++ < CONFLICT_TRIES) {
        c->w.op = WRITE_NONE;
        return CALL_VERB;
    }
    _cleanup_(store_view_unrefp) struct store_view *v = store_view(c->api->store);
    const struct obj *there = view_get(v, c->sres, call_ns(c), c->ri.name);
    call_depend(c, there && !there->soft ? there->rev : 0);
    return call_conflict(c, OBJECT_MODIFIED, e);
}

static int do_update(struct call *c, struct err **e)
{
    const struct obj *o = NULL;
    struct write *w = &c->w;
    int r;
    bool gone = write_finished(w->doc) && !str_eqz(c->ri.sub, "status");
    if (gone)
        r = store_delete(c->api->store, c->sres, call_ns(c), c->ri.name, w->old_obj->uid, w->expect_rev, STORE_RESERVE, &o, e);
    else
        r = store_update(c->api->store, c->sres, c->pool, w->doc, w->expect_rev, c->store_flags | soft_flags(c), &o, e);
    if (r < 0)
        return on_conflict(c, e);
    if (gone) {
        addresses_release(c->api, o);
        nodes_forget(c->api, c->loop, o);
    }
    return store_reply(c, c->code ? c->code : 200, o);
}

static int do_dry_run(struct call *c, struct err **e)
{
    admit_undo(c);
    struct json *doc = c->w.doc;
    if (c->w.op == WRITE_UPDATE && c->w.old_obj)
        json_set_str(c->pool, json_put_obj(c->pool, doc, STR("metadata")), STR("resourceVersion"),
            pool_printf(c->pool, "%" PRId64, c->w.old_obj->rev));
    if (encode_convert(c, &doc, e) < 0)
        return -(*e)->code;
    if (c->status_only)
        return c->code = 201, 0;
    if (str_eqz(c->ri.sub, "scale"))
        doc = scale_of(c, doc);
    if (c->accept.shape == SHAPE_PARTIAL)
        doc = encode_partial(c->pool, doc);
    if (c->accept.shape == SHAPE_TABLE) {
        struct buf b = BUF_INIT;
        table_begin(c, &b, STR_NULL, STR_NULL, -1, true);
        table_row(c, &b, doc, table_include(c));
        buf_puts(&b, "]}\n");
        call_reply_raw(c, c->w.op == WRITE_CREATE ? 201 : 200, "application/json", buf_to_bytes(&b));
        return 0;
    }
    call_reply_tree(c, c->w.op == WRITE_CREATE ? 201 : 200, doc);
    return 0;
}

int write_store(struct call *c, struct err **e)
{
    if (c->w.op == WRITE_DELETE)
        return delete_store(c, e);
    if (c->dry_run)
        return do_dry_run(c, e);
    return c->w.op == WRITE_CREATE ? do_create(c, e) : do_update(c, e);
}
