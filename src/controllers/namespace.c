/* Namespaces on their way out: all content is deleted, the conditions say what is left, and the finalizer "kubernetes" goes when nothing
 * is. */
#include <stdlib.h>
#include "controllers/ctl.h"

enum { SLICE = 500 }; /* objects deleted in one turn */

struct remains {
    size_t objects, deleted, finalizing;
    struct buf resources, finalizers; /* for the conditions' messages */
    struct err *failure;              /* the first */
};

static void count_finalizers(struct sync *s, struct remains *r, const struct obj *o)
{
    if (!o->deleted || !o->finalizers)
        return;
    r->finalizing++;
    json_for (json_path(sync_tree(s, o), "metadata", "finalizers", NULL), f)
        if (str_find(buf_str(&r->finalizers), json_as_str(f)) < 0)
            buf_printf(&r->finalizers, "%s%.*s in 1 resource instances", r->finalizers.n ? ", " : "", STR_ARG(json_as_str(f)));
}

/* Deletes what of one resource stands in the namespace. */
static void empty_resource(struct sync *s, const struct schema_resource *res, struct store_res *store, struct remains *r)
{
    struct store_iter it;
    size_t left = 0;
    iter_start(&it, s->view, store, s->name, STR_NULL, STR_NULL);
    for (const struct obj *o; (o = iter_next(&it));) {
        left++;
        count_finalizers(s, r, o);
        if (o->deleted || r->deleted >= SLICE)
            continue;
        struct err *e = NULL;
        if (sync_delete(s, o, "Background", &e) < 0 && !r->failure)
            r->failure = TAKE(e);
        err_free(e);
        r->deleted++;
    }
    if (!left)
        return;
    /* what had no finalizer and no grace is gone by now */
    _cleanup_(store_view_unrefp) struct store_view *v = store_view(s->ctl->store);
    left = view_count(v, store, s->name);
    r->objects += left;
    if (left)
        buf_printf(&r->resources, "%s%.*s.%.*s has %zu resource instances", r->resources.n ? ", " : "", STR_ARG(res->resource),
            STR_ARG(res->group), left);
}

/* Pods first, and nothing else before the last of them is gone: what protects a pod (a NetworkPolicy) or what it writes to must not go
 * while it runs (KEP-5080). */
static bool empty_pods(struct sync *s, struct schema *schema, struct remains *r)
{
    const struct schema_resource *pods = schema_find(schema, STR(""), STR("v1"), STR("pods"));
    struct store_res *store = pods ? store_find(s->ctl->store, pods->storage) : NULL;
    if (store)
        empty_resource(s, pods, store, r);
    return r->objects == 0 && !r->failure;
}

static void empty(struct sync *s, struct remains *r)
{
    struct schema *schema = api_schema_ref(s->ctl->api);
    const struct schema_resource *res;
    bool rest = empty_pods(s, schema, r);
    for (size_t i = 0; rest && (res = schema_at(schema, i)); i++) {
        struct store_res *store = res->namespaced && !res->virtual_only && str_eq(res->version, res->storage_version)
                                      ? store_find(s->ctl->store, res->storage)
                                      : NULL;
        char storage[160];
        snprintf(storage, sizeof storage, "%.*s/%.*s", STR_ARG(res->group), STR_ARG(res->resource));
        if (store && str_eqz(res->storage, storage)) /* a resource stored under another's name is emptied there */
            empty_resource(s, res, store, r);
    }
    schema_unref(schema);
}

static bool set_conditions(struct sync *s, struct json *status, const struct remains *r)
{
    struct pool *p = s->pool;
    struct json *c = json_put_arr(p, status, STR("conditions"));
    struct str what = pool_printf(p, "Some resources are remaining: %.*s", STR_ARG(buf_str(&r->resources)));
    struct str who = pool_printf(p, "Some content in the namespace has finalizers remaining: %.*s", STR_ARG(buf_str(&r->finalizers)));
    struct str why = pool_printf(p, "Failed to delete all resource types: %s", err_msg(r->failure));
    bool changed = condition_set(p, c, "NamespaceDeletionDiscoveryFailure", "False", "ResourcesDiscovered",
        STR("All resources successfully discovered"), s->now, false);
    changed |= condition_set(p, c, "NamespaceDeletionGroupVersionParsingFailure", "False", "ParsedGroupVersions",
        STR("All legacy kube types successfully parsed"), s->now, false);
    if (r->failure)
        changed |= condition_set(p, c, "NamespaceDeletionContentFailure", "True", "ContentDeletionFailed", why, s->now, false);
    else
        changed |= condition_set(p, c, "NamespaceDeletionContentFailure", "False", "ContentDeleted",
            STR("All content successfully deleted, may be waiting on finalization"), s->now, false);
    if (r->objects)
        changed |= condition_set(p, c, "NamespaceContentRemaining", "True", "SomeResourcesRemain", what, s->now, false);
    else
        changed |= condition_set(
            p, c, "NamespaceContentRemaining", "False", "ContentRemoved", STR("All content successfully removed"), s->now, false);
    if (r->finalizing)
        changed |= condition_set(p, c, "NamespaceFinalizersRemaining", "True", "SomeFinalizersRemain", who, s->now, false);
    else
        changed |= condition_set(p, c, "NamespaceFinalizersRemaining", "False", "ContentHasNoFinalizers",
            STR("All content-preserving finalizers finished"), s->now, false);
    if (str_eqz(json_get_str(status, "phase"), "Terminating"))
        return changed;
    json_set_str(p, status, STR("phase"), STR("Terminating"));
    return true;
}

/* Takes "kubernetes" out of spec.finalizers; when it was the last one, the api removes the namespace. */
static int finalize(struct sync *s, const struct obj *ns, struct err **e)
{
    struct json *tree = sync_tree(s, ns), *list = json_path(tree, "spec", "finalizers", NULL);
    bool found = false;
    json_for (list, f)
        if (str_eqz(json_as_str(f), "kubernetes"))
            found = json_remove(list, f);
    if (!found)
        return 0;
    return MIN(sync_update(s, R_NAMESPACES, ns, "finalize", tree, NULL, e), 0);
}

static int sync_content(struct sync *s, const struct obj *ns, struct remains *r, struct err **e)
{
    struct json *tree = sync_tree(s, ns), *status = json_put_obj(s->pool, tree, STR("status"));
    empty(s, r);
    if (r->objects == 0 && !r->failure)
        return finalize(s, ns, e);
    if (r->deleted >= SLICE)
        ctl_add_raw(s->ctl, s->key);
    if (set_conditions(s, status, r)) {
        int rc = sync_update(s, R_NAMESPACES, ns, "status", tree, NULL, e);
        if (rc < 0)
            return rc;
    }
    return r->failure ? err_move(e, TAKE(r->failure)) : 0;
}

static int sync(struct sync *s, struct err **e)
{
    const struct obj *ns = sync_get(s, R_NAMESPACES, STR(""), s->name);
    struct remains r = {0};
    if (!ns || !ns->deleted)
        return 0;
    int rc = sync_content(s, ns, &r, e);
    if (err_is(e, ERR_NOT_FOUND))
        rc = 0;
    buf_clear(&r.resources);
    buf_clear(&r.finalizers);
    err_free(r.failure);
    return rc;
}

static void on_namespace(struct ctl *c, const struct change *ch)
{
    struct map *ending = c->state;
    if (ch->gone)
        map_del(ending, ch->obj->name);
    else if (ch->obj->deleted)
        map_put(ending, ch->obj->name, c);
    if (!ch->gone && ch->obj->deleted)
        ctl_add(c, ch->obj);
}

/* Something went in a namespace that is ending, or stands there although it should not. */
static void on_any(struct ctl *c, const struct change *ch)
{
    struct map *ending = c->state;
    if (map_count(ending) && ch->obj->ns.n && (ch->gone || !ch->before || ch->obj->deleted) && map_get(ending, ch->obj->ns))
        ctl_add_key(c, STR(""), ch->obj->ns);
}

static int start(struct ctl *c, struct err **e)
{
    c->state = xcalloc(1, sizeof(struct map));
    return 0;
}

static void stop(struct ctl *c)
{
    if (c->state)
        map_clear(c->state, NULL);
    free(c->state);
}

const struct controller namespace_controller = {
    .name = "namespace",
    .account = "namespace-controller",
    .watches = {{R_NAMESPACES, on_namespace}, {R_ANY, on_any}},
    .sync = sync,
    .start = start,
    .stop = stop,
};
