#include "api/crd.h"

#include "api/impl.h"
#include "base/log.h"
#include "schema/structural.h"

#define FINALIZER "customresourcecleanup.apiextensions.k8s.io"
#define STORAGE STR("apiextensions.k8s.io/customresourcedefinitions")
enum { SLICE = 200 /* instances deleted in one turn */ };

struct entry { /* one CRD that is served */
    struct schema_pack *pack;
    struct str storage;      /* in the pack */
    int64_t generation, rev; /* of the CRD that the pack holds */
    bool ending;
};

struct crd_watch {
    _Atomic unsigned refs;
    struct crd_watch *next;
    char *storage;
    struct loop *loop;
    struct post post;
    void (*gone)(void *arg); /* NULL: dropped */
    void *arg;
};

struct crds {
    struct api *api;
    struct schema *base;
    struct store_res *res;
    struct store_watch *watch, *instances; /* instances: everything, while a CRD is going */
    struct map entries;                    /* by the CRD's name: struct entry */
    struct map ending;                     /* names of CRDs whose instances are being removed */
    struct map dirty;                      /* names to look at */
    struct defer defer;
    struct timer again;
    unsigned flying; /* status writes under way */
    bool stopping, changed;
    pthread_mutex_t lock; /* of watches */
    struct crd_watch *watches;
};

/* ---- watches that end with their resource ---- */

static void watch_unref(struct crd_watch *w)
{
    if (--w->refs != 0)
        return;
    free(w->storage);
    free(w);
}

struct crd_watch *crd_watch_add(struct api *a, struct str storage, struct loop *l, void (*gone)(void *arg), void *arg)
{
    struct crds *c = a->crds;
    struct crd_watch *w = xcalloc(1, sizeof *w);
    *w = (struct crd_watch){
        .refs = 2 /* the list's, or a post's, and the caller's */, .storage = str_dup(storage), .loop = l, .gone = gone, .arg = arg};
    pthread_mutex_lock(&c->lock);
    w->next = c->watches;
    c->watches = w;
    pthread_mutex_unlock(&c->lock);
    return w;
}

static bool watch_unlink(struct crds *c, struct crd_watch *w)
{
    for (struct crd_watch **at = &c->watches; *at; at = &(*at)->next)
        if (*at == w) {
            *at = w->next;
            return true;
        }
    return false;
}

void crd_watch_drop(struct api *a, struct crd_watch *w)
{
    struct crds *c = a->crds;
    if (!w)
        return;
    pthread_mutex_lock(&c->lock);
    bool linked = watch_unlink(c, w);
    pthread_mutex_unlock(&c->lock);
    w->gone = NULL;
    if (linked)
        watch_unref(w);
    watch_unref(w); /* a post that is on its way holds its own */
}

static void watch_post(struct post *p)
{
    struct crd_watch *w = container_of(p, struct crd_watch, post);
    if (w->gone)
        w->gone(w->arg);
    watch_unref(w);
}

static void end_watches(struct crds *c, struct str storage)
{
    pthread_mutex_lock(&c->lock);
    for (struct crd_watch **at = &c->watches; *at;) {
        struct crd_watch *w = *at;
        if (!str_eqz(storage, w->storage)) {
            at = &w->next;
            continue;
        }
        *at = w->next; /* the list's reference is the post's now */
        loop_post(w->loop, &w->post, watch_post);
    }
    pthread_mutex_unlock(&c->lock);
}

/* ---- the registry ---- */

static void entry_free(void *p)
{
    struct entry *e = p;
    schema_pack_unref(e->pack);
    free(e);
}

static void publish(struct crds *c)
{
    struct api *a = c->api;
    size_t n = 0;
    struct schema_pack **packs = xcalloc(map_count(&c->entries) + 1, sizeof *packs);
    map_for (&c->entries, it)
        packs[n++] = ((struct entry *)it->value)->pack;
    struct schema *s = schema_extend(c->base, packs, n), *old;
    free(packs);
    pthread_mutex_lock(&a->schema_lock);
    old = a->schema;
    a->schema = s;
    pthread_mutex_unlock(&a->schema_lock);
    schema_unref(old);
    c->changed = false;
}

void crds_publish(struct api *a)
{
    publish(a->crds);
}

/* The store's resource for the instances, made when it is not there. */
static int storage_of(struct crds *c, const struct schema_resource *r, struct err **e)
{
    struct store_res *res = store_find(c->api->store, r->storage);
    struct store_kind k = {.name = r->storage, .namespaced = r->namespaced};
    if (!res)
        return store_add_kind(c->api->store, &k, &res, e);
    store_res_scope(res, r->namespaced);
    return 0;
}

static bool in_use(const struct schema_pack *p)
{
    for (size_t i = 0; i < p->nrows; i++)
        if (p->types[i]->root)
            return true;
    return false;
}

/* Serves what the CRD says now. */
static int serve(struct crds *c, const struct obj *o, const struct json *doc, struct err **e)
{
    struct entry *have = map_get(&c->entries, o->name);
    bool same = have && have->generation == o->generation && have->ending == (o->deleted != 0);
    if (same && (have->rev == o->rev || in_use(have->pack))) /* an idle pack lets the older copy of the CRD go */
        return 0;
    struct schema_pack *pack = crd_pack_new(o, doc);
    if (!pack)
        return 0;
    if (storage_of(c, &pack->rows[0], e) < 0) {
        schema_pack_unref(pack);
        return -(*e)->code;
    }
    struct entry *x = xcalloc(1, sizeof *x);
    *x = (struct entry){
        .pack = pack, .storage = pack->rows[0].storage, .generation = o->generation, .rev = o->rev, .ending = o->deleted != 0};
    void *old = map_put(&c->entries, o->name, x);
    if (old)
        entry_free(old);
    c->changed = true;
    return 0;
}

/* ---- conditions ---- */

static struct json *condition(struct json *status, struct str type)
{
    json_for (json_get(status, STR("conditions")), x)
        if (str_eq(json_get_str(x, "type"), type))
            return x;
    return NULL;
}

static bool is_true(const struct json *status, const char *type)
{
    return str_eqz(json_get_str(condition((struct json *)(uintptr_t)status, str_of(type)), "status"), "True");
}

static void set_condition(
    struct api *a, struct pool *p, struct json *status, const char *type, const char *value, const char *reason, struct str message)
{
    struct json *c = condition(status, str_of(type));
    char now[TIME_MAX];
    bool turned = !c || !str_eqz(json_get_str(c, "status"), value);
    if (!c)
        c = json_append(json_put_arr(p, status, STR("conditions")), json_obj(p));
    json_set_str(p, c, STR("type"), str_of(type));
    json_set_str(p, c, STR("status"), str_of(value));
    if (turned)
        json_set_str(p, c, STR("lastTransitionTime"), time_format(clock_now(a->clock), now));
    json_set_str(p, c, STR("reason"), str_of(reason));
    json_set_str(p, c, STR("message"), message);
}

void crd_on_delete(struct call *c, struct json *doc)
{
    struct json *meta = json_put_obj(c->pool, doc, STR("metadata")), *list = json_put_arr(c->pool, meta, STR("finalizers"));
    if (!c->sres || !str_eq(store_res_name(c->sres), STORAGE) || json_get(meta, STR("deletionTimestamp"))) {
        if (!json_count(list))
            json_del(meta, STR("finalizers"));
        return;
    }
    bool has = false;
    json_for (list, f)
        has |= str_eqz(json_as_str(f), FINALIZER);
    if (!has)
        json_append(list, json_str(c->pool, STR(FINALIZER)));
    set_condition(c->api, c->pool, json_put_obj(c->pool, doc, STR("status")), "Terminating", "True", "InstanceDeletionPending",
        STR("CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon"));
}

/* ---- names ---- */

struct names { /* in use by others of the group */
    struct map resources, kinds;
};

static void use(struct map *m, struct str name)
{
    if (name.n)
        map_put(m, name, m);
}

static void names_of_group(struct crds *c, struct store_view *v, struct str group, struct str but, struct names *out)
{
    struct store_iter it;
    _cleanup_(pool_freep) struct pool *p = pool_new();
    iter_start(&it, v, c->res, STR(""), STR_NULL, STR_NULL);
    for (const struct obj *o; (o = iter_next(&it));) {
        struct json *doc;
        if (str_eq(o->name, but) || !str_ends(o->name, group) || obj_parse(o, p, &doc, NULL) < 0 ||
            !str_eq(json_str_at(doc, "spec", "group", NULL), group))
            continue;
        const struct json *n = json_path(doc, "status", "acceptedNames", NULL);
        use(&out->resources, json_get_str(n, "plural"));
        use(&out->resources, json_get_str(n, "singular"));
        json_for (json_get(n, STR("shortNames")), s)
            use(&out->resources, json_as_str(s));
        use(&out->kinds, json_get_str(n, "kind"));
        use(&out->kinds, json_get_str(n, "listKind"));
    }
}

static bool taken(const struct map *used, struct str want, struct str have)
{
    return !str_eq(want, have) && map_get(used, want);
}

static void accept_short_names(
    struct pool *p, const struct json *want, struct json *accepted, const struct names *used, const char **reason, struct str *message)
{
    const struct json *shorts = json_get(want, STR("shortNames"));
    bool clash = false;
    json_for (shorts, s) {
        bool mine = false;
        json_for (json_get(accepted, STR("shortNames")), m)
            mine |= str_eq(json_as_str(m), json_as_str(s));
        if (mine || !map_get(&used->resources, json_as_str(s)))
            continue;
        clash = true;
        *reason = "ShortNamesConflict";
        *message = pool_printf(p, "\"%.*s\" is already in use", STR_ARG(json_as_str(s)));
    }
    if (!clash && shorts)
        json_set(p, accepted, STR("shortNames"), json_clone(p, shorts));
    else if (!shorts)
        json_del(accepted, STR("shortNames"));
}

/* apiextensions' naming controller. Changes status. */
static void accept_names(struct crds *c, struct pool *p, struct store_view *v, const struct obj *o, struct json *doc)
{
    static const struct {
        const char *member, *reason;
        bool kind;
    } rows[] = {{"plural", "PluralConflict", false}, {"singular", "SingularConflict", false}, {"kind", "KindConflict", true},
        {"listKind", "ListKindConflict", true}};
    struct json *status = json_put_obj(p, doc, STR("status")), *accepted = json_put_obj(p, status, STR("acceptedNames"));
    const struct json *want = json_path(doc, "spec", "names", NULL), *cats = json_get(want, STR("categories"));
    struct names used = {0};
    const char *reason = NULL;
    struct str message = STR_NULL;
    if (json_equal(want, accepted) && is_true(status, "NamesAccepted"))
        return;
    names_of_group(c, v, json_str_at(doc, "spec", "group", NULL), o->name, &used);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct str w = json_get_str(want, rows[i].member), have = json_get_str(accepted, rows[i].member);
        if (i == 2) /* between resources and kinds, as Kubernetes does: the last conflict is the one that is told */
            accept_short_names(p, want, accepted, &used, &reason, &message);
        if (taken(rows[i].kind ? &used.kinds : &used.resources, w, have)) {
            reason = rows[i].reason;
            message = pool_printf(p, "\"%.*s\" is already in use", STR_ARG(w));
        } else {
            json_set_str(p, accepted, str_of(rows[i].member), w);
        }
    }
    if (cats)
        json_set(p, accepted, STR("categories"), json_clone(p, cats));
    else
        json_del(accepted, STR("categories"));
    map_clear(&used.resources, NULL);
    map_clear(&used.kinds, NULL);
    if (reason)
        set_condition(c->api, p, status, "NamesAccepted", "False", reason, message);
    else
        set_condition(c->api, p, status, "NamesAccepted", "True", "NoConflicts", STR("no conflicts found"));
    if (!reason && !is_true(status, "Established"))
        set_condition(c->api, p, status, "Established", "True", "InitialNamesAccepted", STR("the initial names have been accepted"));
    else if (reason && !condition(status, STR("Established")))
        set_condition(c->api, p, status, "Established", "False", "NotAccepted", STR("not all names are accepted"));
}

static void approval(struct crds *c, struct pool *p, const struct json *doc, struct json *status)
{
    struct str group = json_str_at(doc, "spec", "group", NULL),
               note = json_as_str(json_get(json_path(doc, "metadata", "annotations", NULL), STR("api-approved.kubernetes.io")));
    if (!str_ends(group, STR(".k8s.io")) && !str_ends(group, STR(".kubernetes.io")))
        return;
    if (str_starts(note, STR("unapproved")))
        set_condition(c->api, p, status, "KubernetesAPIApprovalPolicyConformant", "False", "UnapprovedAnnotation",
            pool_printf(p, "not approved: \"%.*s\"", STR_ARG(note)));
    else if (note.n)
        set_condition(c->api, p, status, "KubernetesAPIApprovalPolicyConformant", "True", "ApprovedAnnotation",
            pool_printf(p, "approved in %.*s", STR_ARG(note)));
    else
        set_condition(c->api, p, status, "KubernetesAPIApprovalPolicyConformant", "False", "MissingAnnotation",
            STR("protected groups must have approval annotation \"api-approved.kubernetes.io\", see "
                "https://github.com/kubernetes/enhancements/pull/1111"));
}

/* ---- writes ---- */

struct writing {
    struct crds *crds;
    struct api_call call;
    struct str name;
};

static void look_later(struct crds *c);

static void dirty(struct crds *c, struct str name)
{
    map_put(&c->dirty, name, c);
    look_later(c);
}

static void crds_drop(struct crds *c);

static void written(struct api_call *call)
{
    struct writing *w = container_of(call, struct writing, call);
    struct crds *c = w->crds;
    c->flying--;
    if (call->err && call->err->code == ERR_CONFLICT && !c->stopping)
        dirty(c, w->name);
    else if (call->err && call->err->code != ERR_NOT_FOUND)
        log_warn("crd=%.*s: %s", STR_ARG(w->name), err_msg(call->err));
    api_call_clear(call);
    pool_free(call->pool); /* w too */
    if (c->stopping && !c->flying)
        crds_drop(c);
}

static struct writing *write_new(struct crds *c, const struct obj *o, struct pool *p, struct json *doc, const char *sub)
{
    struct writing *w = pool_new_of(p, struct writing);
    w->crds = c;
    w->name = pool_str(p, o->name);
    w->call = (struct api_call){.verb = API_UPDATE,
        .group = STR("apiextensions.k8s.io"),
        .version = STR("v1"),
        .resource = STR("customresourcedefinitions"),
        .sub = str_of(sub),
        .name = w->name,
        .body = doc,
        .pool = p,
        .expect_rev = o->rev,
        .field_manager = STR("kube-apiserver")};
    c->flying++;
    return w;
}

static void delete_instance(struct crds *c, const struct schema_resource *r, const struct obj *o)
{
    struct pool *p = pool_new();
    struct writing *w = pool_new_of(p, struct writing);
    w->crds = c;
    w->name = pool_str(p, o->name);
    w->call = (struct api_call){.verb = API_DELETE,
        .group = pool_str(p, r->group),
        .version = pool_str(p, r->storage_version),
        .resource = pool_str(p, r->resource),
        .ns = pool_str(p, o->ns),
        .name = w->name,
        .pool = p,
        .expect_uid = pool_str(p, o->uid)};
    c->flying++;
    api_do(c->api, c->api->control, &w->call, written);
}

/* ---- the end of a CRD ---- */

static void on_instances(void *arg);

/* true: instances are left. */
static bool empty(struct crds *c, const struct schema_resource *r)
{
    struct store_res *res = store_find(c->api->store, r->storage);
    struct store_iter it;
    size_t n = 0;
    if (!res)
        return false;
    _cleanup_(store_view_unrefp) struct store_view *v = store_view(c->api->store);
    iter_start(&it, v, res, STR(""), STR_NULL, STR_NULL);
    for (const struct obj *o; n < SLICE && (o = iter_next(&it));)
        if (!o->deleted) {
            delete_instance(c, r, o);
            n++;
        }
    _cleanup_(store_view_unrefp) struct store_view *now = store_view(c->api->store);
    return view_count(now, res, STR("")) > 0;
}

static void look_again(struct timer *t)
{
    look_later(container_of(t, struct crds, again));
}

static void finish(struct crds *c, const struct obj *o, struct pool *p, struct json *doc)
{
    struct json *meta = json_get(doc, STR("metadata")), *list = json_get(meta, STR("finalizers")),
                *status = json_put_obj(p, doc, STR("status"));
    struct entry *x = map_get(&c->entries, o->name);
    bool ours = false;
    json_for (list, f)
        ours |= str_eqz(json_as_str(f), FINALIZER);
    if (!ours) {
        pool_free(p);
        return;
    }
    if (x && empty(c, &x->pack->rows[0])) {
        map_put(&c->ending, o->name, c);
        struct err *e = NULL;
        if (!c->instances &&
            store_watch_open(c->api->store, NULL, store_durable(c->api->store), 0, c->api->control, on_instances, c, &c->instances, &e) < 0)
            timer_in(c->api->control, &c->again, NS_PER_S, look_again);
        err_free(e);
        if (!str_eqz(json_get_str(condition(status, STR("Terminating")), "reason"), "InstanceDeletionInProgress")) {
            set_condition(
                c->api, p, status, "Terminating", "True", "InstanceDeletionInProgress", STR("CustomResource deletion is in progress"));
            struct writing *w = write_new(c, o, p, doc, "status");
            api_do(c->api, c->api->control, &w->call, written);
            return;
        }
        pool_free(p);
        return;
    }
    json_for (list, f)
        if (str_eqz(json_as_str(f), FINALIZER))
            json_remove(list, f);
    if (!json_count(list))
        json_del(meta, STR("finalizers"));
    map_del(&c->ending, o->name);
    struct writing *w = write_new(c, o, p, doc, "");
    api_do(c->api, c->api->control, &w->call, written);
}

/* Something went somewhere: CRDs on their way out are looked at. */
static void on_instances(void *arg)
{
    struct crds *c = arg;
    struct store_event *ev;
    struct err *e = NULL;
    bool any = false;
    while ((ev = store_watch_next(c->instances, &e))) {
        any |= ev->type != STORE_PUT;
        store_event_unref(ev);
    }
    if (e || !map_count(&c->ending)) {
        store_watch_close(TAKE(c->instances));
        any = true;
    }
    err_free(e);
    if (!any)
        return;
    map_for (&c->ending, it)
        map_put(&c->dirty, map_key(it), c);
    look_later(c);
}

/* ---- looking at one ---- */

static void others_of_group(struct crds *c, struct str name)
{
    struct str plural, group;
    struct store_iter it;
    if (!str_cut(name, '.', &plural, &group))
        return;
    _cleanup_(store_view_unrefp) struct store_view *v = store_view(c->api->store);
    iter_start(&it, v, c->res, STR(""), STR_NULL, STR_NULL);
    for (const struct obj *o; (o = iter_next(&it));)
        if (str_ends(o->name, group) && !map_get(&c->entries, o->name))
            dirty(c, o->name);
}

static void look(struct crds *c, struct str name)
{
    _cleanup_(store_view_unrefp) struct store_view *v = store_view(c->api->store);
    const struct obj *o = view_get(v, c->res, STR(""), name);
    struct entry *x = map_get(&c->entries, name);
    struct err *e = NULL;
    if (!o) {
        map_del(&c->ending, name);
        if (x) {
            struct entry *gone = map_del(&c->entries, name);
            publish(c);
            end_watches(c, gone->storage);
            entry_free(gone);
            others_of_group(c, name);
        }
        return;
    }
    struct pool *p = pool_new();
    struct json *doc, *before;
    pool_hold_obj(p, obj_ref(o));
    if (obj_parse(o, p, &doc, &e) < 0) {
        log_error("crd=%.*s: %s", STR_ARG(name), err_msg(e));
        err_free(e);
        pool_free(p);
        return;
    }
    before = json_clone(p, json_get(doc, STR("status")) ? json_get(doc, STR("status")) : json_obj(p));
    struct json *status = json_put_obj(p, doc, STR("status"));
    if (!o->deleted) {
        accept_names(c, p, v, o, doc);
        approval(c, p, doc, status);
    }
    if (is_true(status, "Established") && serve(c, o, doc, &e) < 0)
        log_error("crd=%.*s: %s", STR_ARG(name), err_msg(e));
    err_free(e);
    if (c->changed)
        publish(c); /* before anybody can read that it is established */
    if (o->deleted) {
        finish(c, o, p, doc);
    } else if (!json_equal(before, status)) {
        struct writing *w = write_new(c, o, p, doc, "status");
        api_do(c->api, c->api->control, &w->call, written);
    } else {
        pool_free(p);
    }
}

static void look_at_dirty(struct defer *d)
{
    struct crds *c = container_of(d, struct crds, defer);
    for (unsigned i = 0; i < 16 && map_count(&c->dirty); i++) {
        struct map_entry *it = map_next(&c->dirty, NULL);
        char *name = str_dup(map_key(it));
        map_del(&c->dirty, str_of(name));
        look(c, str_of(name));
        free(name);
    }
    if (map_count(&c->dirty))
        look_later(c);
}

static void look_later(struct crds *c)
{
    if (!c->stopping)
        loop_defer(c->api->control, &c->defer, look_at_dirty);
}

static int look_anew(struct crds *c, struct err **e);

static void on_crds(void *arg)
{
    struct crds *c = arg;
    struct store_event *ev;
    struct err *e = NULL;
    bool anew = false;
    while (!anew && (ev = store_watch_next(c->watch, &e))) {
        anew = ev->type == STORE_RESYNC;
        if (!anew)
            dirty(c, ev->obj->name);
        store_event_unref(ev);
    }
    anew |= e != NULL;
    err_free(TAKE(e));
    if (anew && look_anew(c, &e) < 0) {
        log_error("custom resource definitions: %s", err_msg(e));
        err_free(e);
    }
}

static int look_anew(struct crds *c, struct err **e)
{
    struct store_iter it;
    _cleanup_(store_view_unrefp) struct store_view *v = store_view(c->api->store);
    store_watch_close(TAKE(c->watch));
    int r = store_watch_open(c->api->store, c->res, view_rev(v), 0, c->api->control, on_crds, c, &c->watch, e);
    if (r < 0)
        return r;
    map_for (&c->entries, x)
        dirty(c, map_key(x));
    iter_start(&it, v, c->res, STR(""), STR_NULL, STR_NULL);
    for (const struct obj *o; (o = iter_next(&it));)
        dirty(c, o->name);
    return 0;
}

/* At the start all that is established is served at once, with one publication. */
static int serve_all(struct crds *c, struct err **e)
{
    struct store_iter it;
    _cleanup_(store_view_unrefp) struct store_view *v = store_view(c->api->store);
    iter_start(&it, v, c->res, STR(""), STR_NULL, STR_NULL);
    for (const struct obj *o; (o = iter_next(&it));) {
        _cleanup_(pool_freep) struct pool *p = pool_new();
        struct json *doc;
        if (obj_parse(o, p, &doc, e) < 0)
            return -(*e)->code;
        if (is_true(json_get(doc, STR("status")), "Established") && serve(c, o, doc, e) < 0)
            return -(*e)->code;
    }
    if (c->changed)
        publish(c);
    return 0;
}

int crds_start(struct api *a, struct err **e)
{
    struct store_res *res = store_find(a->store, STORAGE);
    struct crds *c = a->crds = xcalloc(1, sizeof *c);
    c->api = a;
    c->base = schema_ref(a->schema);
    pthread_mutex_init(&c->lock, NULL);
    if (!(c->res = res)) /* the hub's registry has none */
        return 0;
    if (serve_all(c, e) < 0)
        return err_wrap(e, "custom resource definitions");
    return look_anew(c, e);
}

static void crds_drop(struct crds *c)
{
    map_clear(&c->entries, entry_free);
    map_clear(&c->ending, NULL);
    map_clear(&c->dirty, NULL);
    schema_unref(c->base);
    pthread_mutex_destroy(&c->lock);
    free(c);
}

void crds_free(struct crds *c)
{
    if (!c)
        return;
    c->stopping = true;
    store_watch_close(TAKE(c->watch));
    store_watch_close(TAKE(c->instances));
    defer_del(c->api->control, &c->defer);
    timer_del(&c->again);
    if (!c->flying)
        crds_drop(c);
}
