/* One key in hand: reading what stands, writing through the api. */
#include <stdio.h>
#include <stdlib.h>
#include "controllers/ctl.h"
#include "controllers/inner.h"

/* ---- keys ---- */

void ctl_add_raw(struct ctl *c, struct str key)
{
    queue_add(c->queue, key);
}

void ctl_add_key(struct ctl *c, struct str ns, struct str name)
{
    struct buf b = BUF_INIT;
    buf_str_add(&b, ns);
    if (ns.n)
        buf_putc(&b, '/');
    buf_str_add(&b, name);
    queue_add(c->queue, buf_str(&b));
    buf_clear(&b);
}

void ctl_add(struct ctl *c, const struct obj *o)
{
    ctl_add_key(c, o->ns, o->name);
}
void ctl_add_change(struct ctl *c, const struct change *ch)
{
    ctl_add(c, ch->obj);
}

static void add_controller_of(struct ctl *c, const struct obj *o, enum ctl_resource owner)
{
    const struct obj_owner *w = o ? obj_controller(o) : NULL;
    const struct ctl_res *r = &ctl_resources[owner];
    if (!w || !str_eqz(w->kind, r->kind))
        return;
    struct str group = STR(""), version;
    str_cut(w->api_version, '/', &group, &version);
    if (str_eqz(group, r->group))
        ctl_add_key(c, str_eqz(w->kind, "Node") ? STR("") : o->ns, w->name);
}

void ctl_add_owner(struct ctl *c, const struct change *ch, enum ctl_resource owner)
{
    add_controller_of(c, ch->obj, owner);
    const struct obj_owner *now = obj_controller(ch->obj), *was = ch->before ? obj_controller(ch->before) : NULL;
    if (was && (!now || !str_eq(was->uid, now->uid)))
        add_controller_of(c, ch->before, owner);
}

/* ---- a key's life ---- */

static enum queue_result sync_end(struct sync *s)
{
    enum queue_result r = s->failed ? QUEUE_RETRY : QUEUE_DONE;
    store_view_unref(s->view);
    pool_free(s->pool);
    free(s);
    return r;
}

static bool namespace_ends(struct sync *s)
{
    const struct obj *ns = s->ns.n ? sync_get(s, R_NAMESPACES, STR(""), s->ns) : NULL;
    return ns && ns->deleted;
}

enum queue_result sync_run(void *arg, struct str key)
{
    struct ctl *c = arg;
    struct sync *s = xcalloc(1, sizeof *s);
    _cleanup_(err_freep) struct err *e = NULL;
    s->ctl = c;
    s->pool = pool_new();
    s->key = pool_str(s->pool, key);
    if (!str_cut(s->key, '/', &s->ns, &s->name)) {
        s->ns = STR("");
        s->name = s->key;
    }
    s->view = store_view(c->store);
    s->now = clock_now(c->clock);
    int r = c->row->sync(s, &e);
    if (r == -ERR_FORBIDDEN && namespace_ends(s)) {
        r = 0; /* nothing new comes into being there; what stands is the namespace controller's */
    } else if (r < 0) {
        s->failed = true;
        if (r != -ERR_CONFLICT)
            log_warn("controller=%s key=%.*s: %s", c->row->name, STR_ARG(s->key), err_msg(e));
    }
    s->returned = true;
    if (!s->waiting)
        return sync_end(s);
    c->all->flying++;
    return QUEUE_PENDING;
}

/* ---- reading ---- */

struct store_res *ctl_store_res(struct ctl *c, enum ctl_resource r)
{
    return c->all->res[r];
}
bool obj_is(struct ctl *c, const struct obj *o, enum ctl_resource r)
{
    return o->res == c->all->res[r];
}

const struct obj *sync_get(struct sync *s, enum ctl_resource r, struct str ns, struct str name)
{
    struct store_res *res = ctl_store_res(s->ctl, r);
    return res ? view_get(s->view, res, ns, name) : NULL;
}

const struct obj *sync_self(struct sync *s, enum ctl_resource r)
{
    return sync_get(s, r, s->ns, s->name);
}

struct json *sync_tree(struct sync *s, const struct obj *o)
{
    struct json *tree;
    pool_hold_obj(s->pool, obj_ref(o));
    if (obj_parse(o, s->pool, &tree, NULL) < 0)
        return json_obj(s->pool); /* the store wrote these bytes itself */
    return tree;
}

static void unref_view(void *v)
{
    store_view_unref(v);
}

void sync_fresh(struct sync *s)
{
    pool_on_free(s->pool, unref_view, s->view); /* what was borrowed from the old one stays */
    s->view = store_view(s->ctl->store);
}

void array_add(struct pool *p, struct obj_array *a, const struct obj *o)
{
    if (a->n == a->cap) {
        size_t grown = a->cap ? a->cap * 2 : 16;
        a->p = pool_grow(p, a->p, a->cap * sizeof *a->p, grown * sizeof *a->p);
        a->cap = grown;
    }
    a->p[a->n++] = o;
}

struct obj_array sync_list(struct sync *s, enum ctl_resource r, struct str ns)
{
    struct obj_array a = {0};
    struct store_iter it;
    struct store_res *res = ctl_store_res(s->ctl, r);
    if (!res)
        return a;
    iter_start(&it, s->view, res, ns, STR_NULL, STR_NULL);
    for (const struct obj *o; (o = iter_next(&it));)
        array_add(s->pool, &a, o);
    return a;
}

struct collect {
    struct sync *s;
    struct obj_array a;
    struct str controller; /* absent: any */
};

static bool collect_one(void *arg, const struct obj *o)
{
    struct collect *c = arg;
    const struct obj_owner *w = c->controller.p ? obj_controller(o) : NULL;
    if (!c->controller.p || (w && str_eq(w->uid, c->controller)))
        array_add(c->s->pool, &c->a, o);
    return true;
}

struct obj_array sync_owned(struct sync *s, enum ctl_resource r, struct str uid)
{
    struct collect c = {.s = s, .controller = uid};
    struct store_res *res = ctl_store_res(s->ctl, r);
    if (res)
        view_index(s->view, res, STR("owner"), uid, collect_one, &c);
    return c.a;
}

struct obj_array sync_indexed(struct sync *s, enum ctl_resource r, struct str index, struct str key)
{
    struct collect c = {.s = s};
    struct store_res *res = ctl_store_res(s->ctl, r);
    if (res)
        view_index(s->view, res, index, key, collect_one, &c);
    return c.a;
}

bool obj_matches(const struct obj *o, const struct selector *sel)
{
    _Static_assert(sizeof(struct label) == sizeof(struct obj_label), "labels of the store and of selectors are the same pairs");
    return selector_match(sel, (const struct label *)(const void *)o->labels, o->nlabels);
}

struct obj_array sync_orphans(struct sync *s, enum ctl_resource r, struct str ns, const struct selector *sel)
{
    struct obj_array a = {0};
    const struct store_res *res = ctl_store_res(s->ctl, r);
    map_for (&s->ctl->all->orphans, it) {
        const struct obj *known = it->value, *o;
        if (known->res != res || !str_eq(known->ns, ns))
            continue;
        o = sync_get(s, r, ns, known->name);
        if (o && !obj_controller(o) && !o->deleted && obj_matches(o, sel))
            array_add(s->pool, &a, o);
    }
    return a;
}

/* ---- writing ---- */

struct write {
    struct api_call call;
    struct sync *s;
    bool done, left; /* left: sync_call has returned without it */
};

static void on_written(struct api_call *call)
{
    struct write *w = container_of(call, struct write, call);
    struct sync *s = w->s;
    w->done = true;
    if (!w->left)
        return;
    if (call->err && call->err->code != ERR_NOT_FOUND) {
        s->failed = true;
        if (call->err->code != ERR_CONFLICT)
            log_warn("controller=%s key=%.*s: %s", s->ctl->row->name, STR_ARG(s->key), err_msg(call->err));
    }
    api_call_clear(call);
    if (--s->waiting > 0 || !s->returned)
        return;
    struct controllers *cs = s->ctl->all;
    cs->flying--;
    if (cs->stopping) {
        sync_end(s);
        if (!cs->flying)
            controllers_free(cs);
    } else {
        struct queue *q = s->ctl->queue;
        char *key = str_dup(s->key);
        queue_finish(q, str_of(key), sync_end(s));
        free(key);
    }
}

static int call(struct sync *s, struct api_call *c, const struct obj **out, struct json **tree, struct err **e)
{
    struct write *w = pool_new_of(s->pool, struct write);
    if (out)
        *out = NULL;
    w->call = *c;
    w->call.pool = s->pool;
    w->call.user = &s->ctl->user;
    w->s = s;
    api_do(s->ctl->api, s->ctl->loop, &w->call, on_written);
    if (!w->done) {
        w->left = true;
        s->waiting++;
        return SYNC_WAITS;
    }
    int r = 0;
    if (w->call.err) {
        r = err_move(e, TAKE(w->call.err));
    } else if (w->call.obj) {
        pool_hold_obj(s->pool, w->call.obj);
        if (out)
            *out = w->call.obj;
        w->call.obj = NULL;
    }
    if (tree)
        *tree = r == 0 ? w->call.result : NULL;
    api_call_clear(&w->call);
    return r;
}

int sync_call(struct sync *s, struct api_call *c, const struct obj **out, struct err **e)
{
    return call(s, c, out, NULL, e);
}

int sync_call_tree(struct sync *s, struct api_call *c, struct json **tree, struct err **e)
{
    *tree = NULL;
    return call(s, c, NULL, tree, e);
}

static struct api_call call_of(enum api_verb verb, enum ctl_resource r, const char *sub)
{
    const struct ctl_res *k = &ctl_resources[r];
    return (struct api_call){.verb = verb,
        .group = str_of(k->group),
        .version = str_of(k->version),
        .resource = str_of(k->resource),
        .sub = sub ? str_of(sub) : STR("")};
}

int sync_create(struct sync *s, enum ctl_resource r, struct str ns, struct json *body, const struct obj **out, struct err **e)
{
    const struct ctl_res *k = &ctl_resources[r];
    struct api_call c = call_of(API_CREATE, r, NULL);
    if (!json_get(body, STR("apiVersion"))) {
        json_set(s->pool, body, STR("apiVersion"),
            json_str(s->pool, pool_printf(s->pool, "%s%s%s", k->group, *k->group ? "/" : "", k->version)));
        json_set_str(s->pool, body, STR("kind"), str_of(k->kind));
    }
    c.ns = ns;
    c.name = json_str_at(body, "metadata", "name", NULL);
    c.body = body;
    return sync_call(s, &c, out, e);
}

int sync_update(
    struct sync *s, enum ctl_resource r, const struct obj *o, const char *sub, struct json *tree, const struct obj **out, struct err **e)
{
    struct api_call c = call_of(API_UPDATE, r, sub);
    c.ns = o->ns;
    c.name = o->name;
    c.body = tree;
    return sync_call(s, &c, out, e);
}

static int patch_with(struct sync *s, enum api_verb verb, enum ctl_resource r, const struct obj *o, const char *sub, struct json *patch,
    const struct obj **out, struct err **e)
{
    struct api_call c = call_of(verb, r, sub);
    c.ns = o->ns;
    c.name = o->name;
    c.body = patch;
    json_set_str(s->pool, json_put_obj(s->pool, patch, STR("metadata")), STR("uid"), o->uid);
    return sync_call(s, &c, out, e);
}

int sync_patch(
    struct sync *s, enum ctl_resource r, const struct obj *o, const char *sub, struct json *patch, const struct obj **out, struct err **e)
{
    return patch_with(s, API_PATCH_MERGE, r, o, sub, patch, out, e);
}

int sync_patch_strategic(struct sync *s, enum ctl_resource r, const struct obj *o, const char *sub, struct json *patch, struct err **e)
{
    return patch_with(s, API_PATCH_STRATEGIC, r, o, sub, patch, NULL, e);
}

struct api_call sync_call_about(struct sync *s, const struct obj *o, enum api_verb verb)
{
    struct api_call c = {.verb = verb, .ns = o->ns, .name = o->name, .sub = STR("")};
    str_cut(store_res_name(o->res), '/', &c.group, &c.resource);
    for (size_t i = 0; i < R_RESOURCES; i++)
        if (s->ctl->all->res[i] == o->res)
            c.version = str_of(ctl_resources[i].version);
    return c;
}

static int delete_with(struct sync *s, const struct obj *o, const char *propagation, bool now, struct err **e)
{
    struct api_call c = sync_call_about(s, o, API_DELETE);
    struct err *e2 = NULL;
    c.expect_uid = o->uid;
    c.body = json_obj(s->pool);
    json_set_str(s->pool, c.body, STR("kind"), STR("DeleteOptions"));
    json_set_str(s->pool, c.body, STR("apiVersion"), STR("v1"));
    json_set_str(s->pool, json_put_obj(s->pool, c.body, STR("preconditions")), STR("uid"), o->uid);
    if (propagation)
        json_set_str(s->pool, c.body, STR("propagationPolicy"), str_of(propagation));
    if (now)
        json_set_int(s->pool, c.body, STR("gracePeriodSeconds"), 0);
    int r = sync_call(s, &c, NULL, &e2);
    /* gone, or another object stands under that name by now */
    return r == -ERR_NOT_FOUND || r == -ERR_CONFLICT ? (err_free(e2), 0) : r < 0 ? err_move(e, e2) : r;
}

int sync_delete(struct sync *s, const struct obj *o, const char *propagation, struct err **e)
{
    return delete_with(s, o, propagation, false, e);
}
int sync_delete_now(struct sync *s, const struct obj *o, struct err **e)
{
    return delete_with(s, o, NULL, true, e);
}

int sync_status(struct sync *s, enum ctl_resource r, const struct obj *o, struct json *tree, struct json *status, struct err **e)
{
    if (json_equal(json_get(tree, STR("status")), status))
        return 1;
    json_set(s->pool, tree, STR("status"), status);
    return sync_update(s, r, o, "status", tree, NULL, e);
}

bool err_is(struct err **e, enum err_code code)
{
    if (!*e || (*e)->code != code)
        return false;
    err_free(TAKE(*e));
    return true;
}

void ctl_event(struct ctl *c, enum ctl_resource r, const struct obj *about, bool warning, const char *reason, const char *fmt, ...)
{
    const struct ctl_res *k = &ctl_resources[r];
    struct buf message = BUF_INIT;
    char api_version[64];
    va_list ap;
    va_start(ap, fmt);
    buf_vprintf(&message, fmt, ap);
    va_end(ap);
    snprintf(api_version, sizeof api_version, "%s%s%s", k->group, *k->group ? "/" : "", k->version);
    api_event(c->api, c->loop, about, str_of(k->kind), str_of(api_version), warning, reason,
        str_of(c->row->component ? c->row->component : c->row->account), "%s", buf_str(&message).p);
    buf_clear(&message);
}
