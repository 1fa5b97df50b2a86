/* Volumes: a pod waits for its claims, and goes where their volumes can be reached (kube-scheduler's VolumeRestrictions, NodeVolumeLimits,
 * VolumeBinding and VolumeZone).
 *
 * A claim whose class waits for its first consumer is told the chosen node (annotation volume.kubernetes.io/selected-node); the binder then
 * takes a volume that can be reached there, or its provisioner makes one, and the pod is bound when the claim is.
 */
#include "kinds/claim.h"
#include "scheduler/inner.h"

struct claim {
    const struct obj *o;
    const struct json *tree;
    const struct json *volume;   /* its volume's tree; NULL: not bound */
    const struct json *affinity; /* of its volume; NULL: anywhere */
    struct str selected;         /* the node it was promised, while unbound; absent: bound */
    const struct json *class;    /* unbound: what it is made by */
    struct str driver, handle;   /* of a CSI volume, or of the driver that would make it */
};
struct claims {
    struct claim *list;
    size_t n;
    const struct json **free; /* volumes nobody has, while some claim is unbound */
    size_t nfree;
    struct str *holders; /* uids of pods that hold a claim of ours that only one pod may use */
    size_t nholders;
    bool csi;
};

static const struct json *tree_of(struct cycle *c, const struct obj *o)
{
    struct json *tree;
    return o && obj_parse(o, c->pool, &tree, NULL) == 0 ? tree : NULL;
}

static struct str annotation(const struct json *tree, const char *name)
{
    return json_as_str(json_get(json_path(tree, "metadata", "annotations", NULL), str_of(name)));
}

/* ---- what the pod names ---- */

static bool read_bound(struct cycle *c, struct claims *all, struct claim *out, struct str volume)
{
    const struct obj *pv = c->s->pvs ? view_get(c->view, c->s->pvs, STR(""), volume) : NULL;
    if (!pv) {
        c->why = STR("node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)");
        return false;
    }
    out->volume = tree_of(c, pv);
    out->affinity = json_path(out->volume, "spec", "nodeAffinity", "required", NULL);
    out->driver = json_str_at(out->volume, "spec", "csi", "driver", NULL);
    out->handle = json_str_at(out->volume, "spec", "csi", "volumeHandle", NULL);
    all->csi |= out->driver.n > 0;
    return true;
}

static bool read_claim(struct cycle *c, struct claims *all, struct str name, struct claim *out)
{
    const struct obj *o = c->s->pvcs ? view_get(c->view, c->s->pvcs, c->o->ns, name) : NULL, *class;
    if (!o || o->deleted) {
        c->why = pool_printf(c->pool, "persistentvolumeclaim \"%.*s\" %s", STR_ARG(name), o ? "is being deleted" : "not found");
        return false;
    }
    *out = (struct claim){.o = o, .tree = tree_of(c, o)};
    struct str volume = json_str_at(out->tree, "spec", "volumeName", NULL), want = json_str_at(out->tree, "spec", "storageClassName", NULL);
    if (str_eqz(json_str_at(out->tree, "status", "phase", NULL), "Lost")) {
        c->why = pool_printf(
            c->pool, "persistentvolumeclaim \"%.*s\" bound to non-existent persistentvolume \"%.*s\"", STR_ARG(name), STR_ARG(volume));
        return false;
    }
    if (volume.n && annotation(out->tree, "pv.kubernetes.io/bind-completed").p)
        return read_bound(c, all, out, volume);
    class = c->s->classes && want.n ? view_get(c->view, c->s->classes, STR(""), want) : NULL;
    out->class = tree_of(c, class);
    if (volume.n || !str_eqz(json_get_str(out->class, "volumeBindingMode"), "WaitForFirstConsumer")) {
        c->why = STR("pod has unbound immediate PersistentVolumeClaims");
        return false;
    }
    out->selected = annotation(out->tree, "volume.kubernetes.io/selected-node");
    if (!out->selected.p)
        out->selected = STR("");
    out->driver = json_get_str(out->class, "provisioner");
    all->csi = true;
    return true;
}

static void read_free(struct cycle *c, struct claims *all)
{
    struct store_iter it;
    size_t n = c->s->pvs ? view_count(c->view, c->s->pvs, STR("")) : 0;
    all->free = pool_array(c->pool, const struct json *, n + 1);
    if (!n)
        return;
    iter_start(&it, c->view, c->s->pvs, STR(""), STR_NULL, STR_NULL);
    for (const struct obj *o; (o = iter_next(&it)) && all->nfree < n;)
        if (!o->deleted)
            all->free[all->nfree++] = tree_of(c, o);
}

struct holders {
    struct cycle *c;
    struct claims *all;
};

static bool add_holder(void *arg, const struct obj *pod)
{
    struct holders *h = arg;
    struct claims *all = h->all;
    const struct pod_view *v = pod_view_of(pod);
    if (pod_finished(pod) || str_eq(pod->uid, h->c->o->uid) || !v || (!pod_view_get(v, v->node).n && !cache_pod(h->c->cache, pod->uid)))
        return true;
    all->holders = pool_grow(h->c->pool, all->holders, all->nholders * sizeof *all->holders, (all->nholders + 1) * sizeof *all->holders);
    all->holders[all->nholders++] = pod->uid;
    return true;
}

bool volumes_prepare(struct cycle *c)
{
    const struct json *list = json_get(c->spec, STR("volumes"));
    struct claims *all = pool_new_of(c->pool, struct claims);
    bool unbound = false;
    all->list = pool_array(c->pool, struct claim, json_count(list) + 1);
    c->volume_state = all;
    json_for ((struct json *)(uintptr_t)list, v) {
        struct str name = json_str_at(v, "persistentVolumeClaim", "claimName", NULL);
        struct claim *x = &all->list[all->n];
        if (json_get(v, STR("ephemeral")))
            name = pool_printf(c->pool, "%.*s-%.*s", STR_ARG(c->o->name), STR_ARG(json_get_str(v, "name")));
        if (!name.p)
            continue;
        if (!read_claim(c, all, name, x))
            return false;
        all->n++;
        unbound |= x->selected.p != NULL;
        if (claim_has_mode(x->tree, "ReadWriteOncePod"))
            view_index(c->view, c->s->pods, STR("ref"),
                pool_printf(c->pool, "PersistentVolumeClaim/%.*s/%.*s", STR_ARG(c->o->ns), STR_ARG(name)), add_holder,
                &(struct holders){c, all});
    }
    if (unbound)
        read_free(c, all);
    return true;
}

/* ---- may this pod use them at all ---- */

/* Preemption lifts pods off a node: who is lifted holds nothing. */
void volumes_restrict(struct cycle *c, const struct node_info *n, struct reasons *r)
{
    const struct claims *all = c->volume_state;
    for (size_t i = 0; i < all->nholders; i++) {
        const struct pod_info *p = cache_pod(c->cache, all->holders[i]);
        if (p && list_empty(&p->on_node))
            continue;
        reason_add(r,
            STR("node(s) unavailable due to PersistentVolumeClaim with ReadWriteOncePod access mode already in-use by another pod"),
            p && p->node == n);
        return;
    }
}

/* ---- how many a node can hold ---- */

struct counted {
    struct cycle *c;
    struct map *seen; /* "driver^handle" */
    struct str driver;
};

static void count_volume(struct counted *k, struct str driver, struct str handle)
{
    if (driver.n && str_eq(driver, k->driver))
        map_put(k->seen, pool_printf(k->c->pool, "%.*s^%.*s", STR_ARG(driver), STR_ARG(handle)), k->c);
}

static void count_pod(struct counted *k, const struct obj *pod)
{
    struct str mark = STR("PersistentVolumeClaim/"), ns, name;
    for (uint32_t i = 0; i < pod->nkeys; i++) {
        if (!str_eqz(pod->keys[i].index, "ref") || !str_starts(pod->keys[i].key, mark) ||
            !str_cut(str_sub(pod->keys[i].key, mark.n, pod->keys[i].key.n), '/', &ns, &name))
            continue;
        const struct json *claim = tree_of(k->c, view_get(k->c->view, k->c->s->pvcs, ns, name));
        struct str volume = json_str_at(claim, "spec", "volumeName", NULL);
        const struct json *pv = volume.n ? tree_of(k->c, view_get(k->c->view, k->c->s->pvs, STR(""), volume)) : NULL;
        count_volume(k, json_str_at(pv, "spec", "csi", "driver", NULL), json_str_at(pv, "spec", "csi", "volumeHandle", NULL));
    }
}

static int64_t limit_of(struct cycle *c, const struct node_info *n, struct str driver)
{
    const struct obj *o = c->s->csinodes ? view_get(c->view, c->s->csinodes, STR(""), n->name) : NULL;
    json_for (json_path(tree_of(c, o), "spec", "drivers", NULL), d)
        if (str_eq(json_get_str(d, "name"), driver))
            return json_as_int(json_path(d, "allocatable", "count", NULL), -1);
    return -1;
}

void volumes_limit(struct cycle *c, const struct node_info *n, struct reasons *r)
{
    const struct claims *all = c->volume_state;
    for (size_t i = 0; all->csi && i < all->n; i++) {
        struct str driver = all->list[i].driver;
        int64_t most = driver.n ? limit_of(c, n, driver) : -1;
        struct map seen = {0};
        struct counted k = {c, &seen, driver};
        struct pod_info *p;
        if (most < 0)
            continue;
        list_for (&((struct node_info *)(uintptr_t)n)->pods, p, on_node)
            count_pod(&k, p->o);
        for (size_t m = 0; m < all->n; m++) /* what has no handle yet counts by its claim */
            count_volume(&k, all->list[m].driver, all->list[m].handle.n ? all->list[m].handle : all->list[m].o->uid);
        size_t count = map_count(&seen);
        map_clear(&seen, NULL);
        if ((int64_t)count > most) {
            reason_add(r, STR("node(s) exceed max volume count"), true);
            return;
        }
    }
}

/* ---- can they be reached from there ---- */

static bool terms_match(const struct json *affinity, const struct node_info *n)
{
    if (!affinity)
        return true;
    json_for (json_get(affinity, STR("nodeSelectorTerms")), term)
        if (node_selector_term(term, n))
            return true;
    return false;
}

/* StorageClass.allowedTopologies: any term, all of whose labels the node has with one of the values. */
static bool topology_allowed(const struct json *class, const struct node_info *n)
{
    const struct json *terms = json_get(class, STR("allowedTopologies"));
    json_for ((struct json *)(uintptr_t)terms, term) {
        bool all = true;
        json_for (json_get(term, STR("matchLabelExpressions")), x) {
            bool any = false;
            json_for (json_get(x, STR("values")), v)
                any |= node_label(n, json_get_str(x, "key")).p && str_eq(node_label(n, json_get_str(x, "key")), json_as_str(v));
            all &= any;
        }
        if (all)
            return true;
    }
    return !json_count(terms);
}

/* A volume for this claim that stands ready, reachable from the node, and not taken for a claim before it; the smallest. */
static const struct json *find_free(
    struct cycle *c, const struct claims *all, const struct claim *x, const struct node_info *n, const struct json **taken, size_t ntaken)
{
    const struct json *best = NULL;
    for (size_t i = 0; i < all->nfree; i++) {
        const struct json *v = all->free[i], *ref = json_path(v, "spec", "claimRef", NULL);
        bool used = ref && !volume_is_for(v, x->o->ns, x->o->name, x->o->uid);
        for (size_t k = 0; k < ntaken; k++)
            used |= taken[k] == v;
        if (used || !volume_fits_claim(c->pool, v, x->tree) || !terms_match(json_path(v, "spec", "nodeAffinity", "required", NULL), n))
            continue;
        if (ref)
            return v;
        if (!best || volume_size_cmp(v, best) < 0)
            best = v;
    }
    return best;
}

void volumes_filter(struct cycle *c, const struct node_info *n, struct reasons *r)
{
    const struct claims *all = c->volume_state;
    const struct json **taken = all->n ? pool_array(c->pool, const struct json *, all->n) : NULL;
    size_t ntaken = 0;
    bool node = false, bind = false;
    for (size_t i = 0; i < all->n; i++) {
        const struct claim *x = &all->list[i];
        if (!x->selected.p) {
            node |= !terms_match(x->affinity, n);
            continue;
        }
        const struct json *v = x->selected.n && !str_eq(x->selected, n->name) ? NULL : find_free(c, all, x, n, taken, ntaken);
        if (v)
            taken[ntaken++] = v;
        else
            bind |= (x->selected.n && !str_eq(x->selected, n->name)) ||
                    str_eqz(json_get_str(x->class, "provisioner"), "kubernetes.io/no-provisioner") || !topology_allowed(x->class, n);
    }
    if (node)
        reason_add(r, STR("node(s) didn't match PersistentVolume's node affinity"), false);
    if (bind)
        reason_add(r, STR("node(s) didn't find available persistent volumes to bind"), false);
}

/* Old volumes say their zone by labels; several zones are joined by "__". */
void volumes_zone(struct cycle *c, const struct node_info *n, struct reasons *r)
{
    static const char *const keys[] = {"topology.kubernetes.io/zone", "topology.kubernetes.io/region",
        "failure-domain.beta.kubernetes.io/zone", "failure-domain.beta.kubernetes.io/region"};
    const struct claims *all = c->volume_state;
    for (size_t i = 0; i < all->n; i++)
        for (size_t k = 0; k < ARRAY_LEN(keys); k++) {
            struct str want = json_as_str(json_get(json_path(all->list[i].volume, "metadata", "labels", NULL), str_of(keys[k])));
            struct str has = node_label(n, str_of(keys[k])), other = node_label(n, str_of(keys[k ^ 2]));
            bool ok = !want.n || (!has.p && !other.p && !node_label(n, str_of(keys[k ^ 1])).p); /* a cluster without zones */
            if (!has.p)
                has = other;
            while (!ok && want.n) {
                ssize_t at = str_find(want, STR("__"));
                ok = has.p && str_eq(at < 0 ? want : str_sub(want, 0, (size_t)at), has);
                want = at < 0 ? STR("") : str_sub(want, (size_t)at + 2, want.n);
            }
            if (!ok) {
                reason_add(r, STR("node(s) had no available volume zone"), false);
                return;
            }
        }
}

const struct obj *volumes_next_unbound(const struct cycle *c, bool *promised)
{
    const struct claims *all = c->volume_state;
    const struct obj *found = NULL;
    *promised = false;
    for (size_t i = 0; i < all->n; i++) {
        if (!all->list[i].selected.p)
            continue;
        *promised = true;
        if (!all->list[i].selected.n)
            found = found ? found : all->list[i].o;
    }
    return found;
}
