/* Who controls whom: owner references, adoption, release (after Kubernetes' ControllerRefManager). */
#include "controllers/ctl.h"

struct json *owner_ref(struct pool *p, enum ctl_resource kind, const struct obj *owner, bool controller)
{
    const struct ctl_res *k = &ctl_resources[kind];
    struct json *ref = json_obj(p);
    json_set(p, ref, STR("apiVersion"), json_str_view(p, pool_printf(p, "%s%s%s", k->group, *k->group ? "/" : "", k->version)));
    json_set_str(p, ref, STR("kind"), str_of(k->kind));
    json_set_str(p, ref, STR("name"), owner->name);
    json_set_str(p, ref, STR("uid"), owner->uid);
    if (controller) {
        json_set_bool(p, ref, STR("controller"), true);
        json_set_bool(p, ref, STR("blockOwnerDeletion"), true);
    }
    return ref;
}

/* What an adoption or a release may meet without harm: the object is gone, or it is no longer as it was (then the change brings the key
 * back). */
static int forgive(int r, struct err **e)
{
    return err_is(e, ERR_NOT_FOUND) || err_is(e, ERR_INVALID) ? 0 : r;
}

/* A strategic merge patch of the owner references: the list merges by uid, and controllers of pods may patch but not update them. */
static int patch_ref(struct sync *s, enum ctl_resource r, const struct obj *o, struct json *ref, struct err **e)
{
    struct json *patch = json_obj(s->pool);
    json_append(json_put_arr(s->pool, json_put_obj(s->pool, patch, STR("metadata")), STR("ownerReferences")), ref);
    return forgive(sync_patch_strategic(s, r, o, NULL, patch, e), e);
}

int sync_adopt(struct sync *s, enum ctl_resource r, const struct obj *o, enum ctl_resource kind, const struct obj *owner, struct err **e)
{
    return patch_ref(s, r, o, owner_ref(s->pool, kind, owner, true), e);
}

int sync_release(struct sync *s, enum ctl_resource r, const struct obj *o, struct str owner_uid, struct err **e)
{
    struct json *ref = json_obj(s->pool);
    json_set_str(s->pool, ref, STR("$patch"), STR("delete"));
    json_set_str(s->pool, ref, STR("uid"), owner_uid);
    return patch_ref(s, r, o, ref, e);
}

int sync_claim(struct sync *s, enum ctl_resource r, enum ctl_resource kind, const struct obj *owner, const struct selector *sel,
    struct obj_array *out, struct err **e)
{
    struct obj_array mine = sync_owned(s, r, owner->uid), all = {0};
    for (size_t i = 0; i < mine.n; i++) {
        if (obj_matches(mine.p[i], sel)) {
            array_add(s->pool, &all, mine.p[i]);
        } else if (!owner->deleted) {
            int rc = sync_release(s, r, mine.p[i], owner->uid, e);
            if (rc < 0)
                return rc;
        }
    }
    struct obj_array orphans = owner->deleted ? (struct obj_array){0} : sync_orphans(s, r, owner->ns, sel);
    for (size_t i = 0; i < orphans.n; i++) {
        int rc = sync_adopt(s, r, orphans.p[i], kind, owner, e);
        if (rc < 0)
            return rc;
        array_add(s->pool, &all, orphans.p[i]);
    }
    *out = all;
    return 0;
}
