/* Generic ephemeral volumes: each gets a claim of its own that lives as long as its pod. */
#include "controllers/ctl.h"

static int make_claim(struct sync *s, const struct obj *pod, const struct json *volume, struct err **e)
{
    struct pool *p = s->pool;
    const struct json *template = json_path(volume, "ephemeral", "volumeClaimTemplate", NULL), *from = json_get(template, STR("metadata"));
    struct str name = pool_printf(p, "%.*s-%.*s", STR_ARG(pod->name), STR_ARG(json_get_str(volume, "name")));
    const struct obj *old = sync_get(s, R_PVCS, pod->ns, name);
    const struct obj_owner *w = old ? obj_controller(old) : NULL;
    if (old && (!w || !str_eq(w->uid, pod->uid))) {
        ctl_event(s->ctl, R_PODS, pod, true, "FailedBinding", "ephemeral volume %.*s: PVC \"%.*s\" was not created for this pod",
            STR_ARG(json_get_str(volume, "name")), STR_ARG(name));
        return 0;
    }
    if (old)
        return 0;
    struct json *claim = json_obj(p), *meta = json_put_obj(p, claim, STR("metadata"));
    json_set_str(p, meta, STR("name"), name);
    json_set_str(p, meta, STR("namespace"), pod->ns);
    if (json_get(from, STR("labels")))
        json_set(p, meta, STR("labels"), json_clone(p, json_get(from, STR("labels"))));
    if (json_get(from, STR("annotations")))
        json_set(p, meta, STR("annotations"), json_clone(p, json_get(from, STR("annotations"))));
    json_append(json_put_arr(p, meta, STR("ownerReferences")), owner_ref(p, R_PODS, pod, true));
    json_set(p, claim, STR("spec"), json_clone(p, json_get(template, STR("spec"))));
    int r = sync_create(s, R_PVCS, pod->ns, claim, NULL, e);
    return err_is(e, ERR_EXISTS) ? 0 : MIN(r, 0);
}

static int sync(struct sync *s, struct err **e)
{
    const struct obj *pod = sync_self(s, R_PODS);
    if (!pod || pod->deleted)
        return 0;
    json_for (json_path(sync_tree(s, pod), "spec", "volumes", NULL), v) {
        int r = json_get(v, STR("ephemeral")) ? make_claim(s, pod, v, e) : 0;
        if (r < 0)
            return r;
    }
    return 0;
}

static void on_pod(struct ctl *c, const struct change *ch)
{
    if (!ch->gone && !ch->before && str_find(ch->obj->json, STR("\"ephemeral\":{")) >= 0)
        ctl_add(c, ch->obj);
}

/* A claim that went while its pod stands. */
static void on_claim(struct ctl *c, const struct change *ch)
{
    if (ch->gone)
        ctl_add_owner(c, ch, R_PODS);
}

const struct controller ephemeral_controller = {
    .name = "ephemeral-volume",
    .account = "ephemeral-volume-controller",
    .watches = {{R_PODS, on_pod}, {R_PVCS, on_claim}},
    .sync = sync,
};
