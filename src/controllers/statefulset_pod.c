/* A StatefulSet's pods and their claims. */
#include "controllers/statefulset.h"

static struct str claim_name(struct statefulset *d, const struct json *template, int64_t ordinal)
{
    struct str name = json_str_at(template, "metadata", "name", NULL);
    return pool_printf(d->s->pool, "%.*s-%.*s-%" PRId64, STR_ARG(name), STR_ARG(d->o->name), ordinal);
}

/* The pod's volumes of the claims' names are the claims, whatever its template says. */
static void put_volumes(struct statefulset *d, struct json *spec, int64_t ordinal)
{
    struct pool *p = d->s->pool;
    struct json *volumes = json_put_arr(p, spec, STR("volumes"));
    json_for (json_get(d->spec, STR("volumeClaimTemplates")), t) {
        struct str name = json_str_at(t, "metadata", "name", NULL);
        json_for (volumes, v)
            if (str_eq(json_get_str(v, "name"), name))
                json_remove(volumes, v);
        struct json *v = json_append(volumes, json_obj(p));
        json_set_str(p, v, STR("name"), name);
        json_set_str(p, json_put_obj(p, v, STR("persistentVolumeClaim")), STR("claimName"), claim_name(d, t, ordinal));
    }
    if (json_count(volumes) == 0)
        json_del(spec, STR("volumes"));
}

struct json *statefulset_pod(struct statefulset *d, int64_t ordinal, struct str name, const struct revision *r)
{
    struct pool *p = d->s->pool;
    struct json *template = r && r != d->h.update ? history_template(d->s, r) : json_get(d->spec, STR("template"));
    struct json *pod = pod_from_template(d->s, template, R_STATEFULSETS, d->o, name), *spec = json_put_obj(p, pod, STR("spec"));
    struct json *labels = json_put_obj(p, json_get(pod, STR("metadata")), STR("labels"));
    json_set_str(p, labels, STR("statefulset.kubernetes.io/pod-name"), name);
    json_set(p, labels, STR("apps.kubernetes.io/pod-index"), json_str_view(p, pool_printf(p, "%" PRId64, ordinal)));
    if (r)
        json_set_str(p, labels, STR("controller-revision-hash"), r->o->name);
    json_set_str(p, spec, STR("hostname"), name);
    if (json_get_str(d->spec, "serviceName").n)
        json_set_str(p, spec, STR("subdomain"), json_get_str(d->spec, "serviceName"));
    put_volumes(d, spec, ordinal);
    return pod;
}

static bool goes(const struct statefulset *d, const char *when)
{
    return str_eqz(json_get_str(json_get(d->spec, STR("persistentVolumeClaimRetentionPolicy")), when), "Delete");
}

static struct json *new_claim(struct statefulset *d, const struct json *template, struct str name)
{
    struct pool *p = d->s->pool;
    struct json *claim = json_clone(p, template), *meta = json_put_obj(p, claim, STR("metadata")),
                *labels = json_put_obj(p, meta, STR("labels"));
    json_del(claim, STR("status"));
    json_set_str(p, claim, STR("apiVersion"), STR("v1"));
    json_set_str(p, claim, STR("kind"), STR("PersistentVolumeClaim"));
    json_set_str(p, meta, STR("name"), name);
    json_set_str(p, meta, STR("namespace"), d->o->ns);
    json_for (json_path(d->spec, "selector", "matchLabels", NULL), l)
        json_set_str(p, labels, json_key(l), json_as_str(l));
    if (goes(d, "whenDeleted"))
        json_append(json_put_arr(p, meta, STR("ownerReferences")), owner_ref(p, R_STATEFULSETS, d->o, false));
    return claim;
}

static bool owned_by(const struct obj *o, struct str uid)
{
    for (uint32_t i = 0; i < o->nowners; i++)
        if (str_eq(o->owners[i].uid, uid))
            return true;
    return false;
}

/* Makes owner one of the claim's owners, or no longer. */
static int set_owner(
    struct statefulset *d, const struct obj *claim, enum ctl_resource kind, const struct obj *owner, bool wanted, struct err **e)
{
    struct pool *p = d->s->pool;
    if (owned_by(claim, owner->uid) == wanted)
        return 0;
    struct json *tree = sync_tree(d->s, claim), *meta = json_get(tree, STR("metadata")),
                *refs = json_put_arr(p, meta, STR("ownerReferences"));
    if (wanted) {
        json_append(refs, owner_ref(p, kind, owner, false));
    } else {
        json_for (refs, ref)
            if (str_eq(json_get_str(ref, "uid"), owner->uid))
                json_remove(refs, ref);
        if (json_count(refs) == 0)
            json_del(meta, STR("ownerReferences"));
    }
    int r = sync_update(d->s, R_PVCS, claim, NULL, tree, NULL, e);
    return err_is(e, ERR_NOT_FOUND) ? 0 : MIN(r, 0);
}

int statefulset_claims(struct statefulset *d, int64_t ordinal, const struct obj *leaving, struct err **e)
{
    json_for (json_get(d->spec, STR("volumeClaimTemplates")), t) {
        struct str name = claim_name(d, t, ordinal);
        const struct obj *claim = sync_get(d->s, R_PVCS, d->o->ns, name);
        int r = 0;
        if (leaving)
            r = claim && goes(d, "whenScaled") ? set_owner(d, claim, R_PODS, leaving, true, e) : 0;
        else if (!claim)
            r = sync_create(d->s, R_PVCS, d->o->ns, new_claim(d, t, name), NULL, e);
        if (err_is(e, ERR_EXISTS))
            r = 0;
        if (r < 0)
            return r;
    }
    return 0;
}

int statefulset_claim_owners(struct statefulset *d, struct err **e)
{
    json_for (json_get(d->spec, STR("volumeClaimTemplates")), t)
        for (int64_t i = 0; i < d->replicas; i++) {
            const struct obj *claim = sync_get(d->s, R_PVCS, d->o->ns, claim_name(d, t, d->start + i));
            int r = claim ? set_owner(d, claim, R_STATEFULSETS, d->o, goes(d, "whenDeleted"), e) : 0;
            if (r < 0)
                return r;
        }
    return 0;
}
