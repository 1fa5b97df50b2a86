/* The garbage collector: objects go when all their owners have (background), before them (foreground), or are let go (orphan).
 *
 * The store's own index answers "whom does this uid own", over all resources; so there is no graph to keep. Keys are of two forms:
 *   "o|<resource>|<namespace>|<name>"  an object that may have to go, or that waits for its dependents
 *   "u|<uid>"                          a uid that has gone: its dependents are looked at
 */
#include "controllers/ctl.h"

enum { SLICE = 500 }; /* dependents queued in one turn */

static void add_object(struct ctl *c, const struct obj *o)
{
    struct buf b = BUF_INIT;
    buf_printf(&b, "o|%.*s|%.*s|%.*s", STR_ARG(store_res_name(o->res)), STR_ARG(o->ns), STR_ARG(o->name));
    ctl_add_raw(c, buf_str(&b));
    buf_clear(&b);
}

static void add_uid(struct ctl *c, struct str uid)
{
    struct buf b = BUF_INIT;
    buf_printf(&b, "u|%.*s", STR_ARG(uid));
    ctl_add_raw(c, buf_str(&b));
    buf_clear(&b);
}

/* ---- owners ---- */

enum owner_state { OWNER_GONE, OWNER_SOLID, OWNER_WAITS /* is deleted in the foreground and waits for its dependents */ };

static bool has_finalizer(struct sync *s, const struct obj *o, const char *name)
{
    if (!o->finalizers)
        return false;
    json_for (json_path(sync_tree(s, o), "metadata", "finalizers", NULL), f)
        if (str_eqz(json_as_str(f), name))
            return true;
    return false;
}

/* Where the owner stands, by its kind. NULL and *unknown: no such kind here, or a reference that can mean nothing: left alone. */
static const struct obj *find_owner(struct sync *s, const struct obj *o, const struct obj_owner *w, bool *unknown)
{
    struct schema *schema = api_schema_ref(s->ctl->api);
    struct str group = STR(""), version = w->api_version;
    str_cut(w->api_version, '/', &group, &version);
    const struct schema_resource *r = schema_find_kind(schema, group, version, w->kind);
    struct store_res *res = r ? store_find(s->ctl->store, r->storage) : NULL;
    const struct obj *owner = NULL;
    *unknown = !res || (r->namespaced && !o->ns.n);
    if (!*unknown)
        owner = view_get(s->view, res, r->namespaced ? o->ns : STR(""), w->name);
    schema_unref(schema);
    return owner;
}

static enum owner_state owner_state(struct sync *s, const struct obj *o, const struct obj_owner *w)
{
    bool unknown;
    const struct obj *owner = find_owner(s, o, w, &unknown);
    if (unknown)
        return OWNER_SOLID;
    if (!owner || !str_eq(owner->uid, w->uid))
        return OWNER_GONE;
    return owner->deleted && has_finalizer(s, owner, "foregroundDeletion") ? OWNER_WAITS : OWNER_SOLID;
}

/* ---- writes ---- */

static int write_tree(struct sync *s, const struct obj *o, struct json *tree, struct err **e)
{
    struct api_call c = sync_call_about(s, o, API_UPDATE);
    c.body = tree;
    int r = sync_call(s, &c, NULL, e);
    return err_is(e, ERR_NOT_FOUND) ? 0 : MIN(r, 0);
}

static int remove_finalizer(struct sync *s, const struct obj *o, const char *name, struct err **e)
{
    struct json *tree = sync_tree(s, o), *meta = json_get(tree, STR("metadata")), *list = json_get(meta, STR("finalizers"));
    json_for (list, f)
        if (str_eqz(json_as_str(f), name))
            json_remove(list, f);
    if (json_count(list) == 0)
        json_del(meta, STR("finalizers"));
    return write_tree(s, o, tree, e);
}

/* Drops the references to owners that are gone or going; a reference to `uid` alone when it is set. */
static int drop_owners(struct sync *s, const struct obj *o, struct str uid, struct err **e)
{
    struct json *tree = sync_tree(s, o), *meta = json_get(tree, STR("metadata")), *refs = json_get(meta, STR("ownerReferences"));
    for (uint32_t i = 0; i < o->nowners; i++) {
        if (uid.p ? !str_eq(o->owners[i].uid, uid) : owner_state(s, o, &o->owners[i]) == OWNER_SOLID)
            continue;
        json_for (refs, ref)
            if (str_eq(json_get_str(ref, "uid"), o->owners[i].uid))
                json_remove(refs, ref);
    }
    if (json_count(refs) == 0)
        json_del(meta, STR("ownerReferences"));
    return write_tree(s, o, tree, e);
}

/* ---- dependents ---- */

struct dependents {
    struct sync *s;
    struct obj_array list;
};

static bool collect(void *arg, const struct obj *o)
{
    struct dependents *d = arg;
    array_add(d->s->pool, &d->list, o);
    return true;
}

static struct obj_array dependents_of(struct sync *s, struct str uid)
{
    struct dependents d = {.s = s};
    view_index(s->view, NULL, STR("owner"), uid, collect, &d);
    return d.list;
}

static bool blocks(const struct obj *o, struct str owner_uid)
{
    for (uint32_t i = 0; i < o->nowners; i++)
        if (str_eq(o->owners[i].uid, owner_uid))
            return o->owners[i].block;
    return false;
}

/* Foreground: the object goes when nothing that blocks it is left. */
static int wait_for_dependents(struct sync *s, const struct obj *o, struct err **e)
{
    struct obj_array deps = dependents_of(s, o->uid);
    bool blocked = false;
    for (size_t i = 0; i < deps.n; i++) {
        if (!blocks(deps.p[i], o->uid))
            continue;
        blocked = true;
        if (!deps.p[i]->deleted)
            add_object(s->ctl, deps.p[i]);
    }
    return blocked ? 0 : remove_finalizer(s, o, "foregroundDeletion", e);
}

static int orphan_dependents(struct sync *s, const struct obj *o, struct err **e)
{
    struct obj_array deps = dependents_of(s, o->uid);
    for (size_t i = 0; i < deps.n; i++) {
        int r = drop_owners(s, deps.p[i], o->uid, e);
        if (r < 0)
            return r;
    }
    return remove_finalizer(s, o, "orphan", e);
}

/* A dependent that itself waits in the foreground may wait for o: objects that own one another in a circle. So that the circle opens, o
 * holds up its owners no longer. (It may be no circle at all; then an owner goes a little early, as in Kubernetes.) */
static int open_circle(struct sync *s, const struct obj *o, const struct obj_array *deps, struct err **e)
{
    bool circle = false;
    for (size_t i = 0; i < deps->n && !circle; i++)
        circle = deps->p[i]->deleted && has_finalizer(s, deps->p[i], "foregroundDeletion");
    if (!circle)
        return 0;
    struct json *tree = sync_tree(s, o);
    json_for (json_path(tree, "metadata", "ownerReferences", NULL), ref)
        json_set_bool(s->pool, ref, STR("blockOwnerDeletion"), false);
    return write_tree(s, o, tree, e);
}

static int sync_ownerless(struct sync *s, const struct obj *o, size_t waits, struct err **e)
{
    struct obj_array deps = waits ? dependents_of(s, o->uid) : (struct obj_array){0};
    if (deps.n) {
        int r = open_circle(s, o, &deps, e);
        return r < 0 ? r : MIN(sync_delete(s, o, "Foreground", e), 0);
    }
    if (has_finalizer(s, o, "orphan"))
        return MIN(sync_delete(s, o, "Orphan", e), 0);
    return MIN(sync_delete(s, o, has_finalizer(s, o, "foregroundDeletion") ? "Foreground" : "Background", e), 0);
}

static int sync_object(struct sync *s, const struct obj *o, struct err **e)
{
    size_t count[3] = {0};
    if (o->deleted) {
        if (has_finalizer(s, o, "orphan"))
            return orphan_dependents(s, o, e);
        return has_finalizer(s, o, "foregroundDeletion") ? wait_for_dependents(s, o, e) : 0;
    }
    for (uint32_t i = 0; i < o->nowners; i++)
        count[owner_state(s, o, &o->owners[i])]++;
    if (o->nowners == 0 || count[OWNER_SOLID] == o->nowners)
        return 0;
    if (count[OWNER_SOLID])
        return drop_owners(s, o, STR_NULL, e);
    return sync_ownerless(s, o, count[OWNER_WAITS], e);
}

static int sync_gone(struct sync *s, struct str uid)
{
    struct obj_array deps = dependents_of(s, uid);
    for (size_t i = 0; i < MIN(deps.n, (size_t)SLICE); i++)
        add_object(s->ctl, deps.p[i]);
    if (deps.n > SLICE) /* those that go leave the index; so this ends */
        sync_again_at(s, s->now + NS_PER_S);
    return 0;
}

static int sync(struct sync *s, struct err **e)
{
    struct str rest = s->key, form, res, ns, name;
    if (!str_cut(rest, '|', &form, &rest))
        return 0;
    if (str_eqz(form, "u"))
        return sync_gone(s, rest);
    if (!str_cut(rest, '|', &res, &rest) || !str_cut(rest, '|', &ns, &name))
        return 0;
    struct store_res *r = store_find(s->ctl->store, res);
    const struct obj *o = r ? view_get(s->view, r, ns, name) : NULL;
    return o ? sync_object(s, o, e) : 0;
}

/* ---- what wakes it ---- */

static bool owners_changed(const struct change *ch)
{
    if (!ch->before)
        return ch->obj->nowners > 0;
    if (ch->before->nowners != ch->obj->nowners)
        return true;
    for (uint32_t i = 0; i < ch->obj->nowners; i++)
        if (!str_eq(ch->before->owners[i].uid, ch->obj->owners[i].uid) || ch->before->owners[i].block != ch->obj->owners[i].block)
            return true;
    return false;
}

/* Owners that wait in the foreground for this one, which has gone or blocks no longer. */
static void add_waiting_owners(struct ctl *c, struct store_view *v, const struct obj *o)
{
    struct sync look = {.ctl = c, .pool = pool_new(), .view = v};
    for (uint32_t i = 0; i < o->nowners; i++) {
        bool unknown;
        const struct obj *owner = find_owner(&look, o, &o->owners[i], &unknown);
        if (owner && owner->deleted && owner->finalizers)
            add_object(c, owner);
    }
    pool_free(look.pool);
}

static void on_any(struct ctl *c, const struct change *ch)
{
    const struct obj *o = ch->obj;
    if (o->soft) /* Events and leases own nothing and are owned by nothing that matters here */
        return;
    if (ch->gone || (ch->before && owners_changed(ch))) {
        _cleanup_(store_view_unrefp) struct store_view *v = store_view(c->store);
        if (o->nowners || (ch->before && ch->before->nowners))
            add_waiting_owners(c, v, ch->before ? ch->before : o);
        if (ch->gone && view_index_count(v, NULL, STR("owner"), o->uid))
            add_uid(c, o->uid);
    }
    if (!ch->gone && (owners_changed(ch) || (o->deleted && o->finalizers)))
        add_object(c, o);
}

const struct controller garbage_controller = {
    .name = "garbage",
    .account = "generic-garbage-collector",
    .watches = {{R_ANY, on_any}},
    .sync = sync,
};
