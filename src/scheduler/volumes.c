/* Volumes: a pod waits for its claims, and goes where their volumes can be reached. A claim whose class waits for its first consumer is
 * told the chosen node (annotation volume.kubernetes.io/selected-node); its provisioner then makes the volume, and the pod is bound when
 * the claim is. */
#include "scheduler/inner.h"

struct claim {
    const struct obj *o;
    const struct json *tree;
    const struct json *affinity; /* of its volume; NULL: anywhere */
    struct str selected;         /* the node it was promised, while unbound */
};
struct claims {
    struct claim *list;
    size_t n;
};

static const struct json *tree_of(struct cycle *c, const struct obj *o)
{
    struct json *tree;
    return obj_parse(o, c->pool, &tree, NULL) == 0 ? tree : NULL;
}

static bool waits_for_consumer(struct cycle *c, struct str class)
{
    const struct obj *o = c->s->classes && class.n ? view_get(c->view, c->s->classes, STR(""), class) : NULL;
    return o && str_eqz(json_get_str(tree_of(c, o), "volumeBindingMode"), "WaitForFirstConsumer");
}

static bool read_claim(struct cycle *c, struct str name, struct claim *out)
{
    const struct obj *o = c->s->pvcs ? view_get(c->view, c->s->pvcs, c->o->ns, name) : NULL, *pv;
    if (!o || o->deleted) {
        c->why = pool_printf(c->pool, "persistentvolumeclaim \"%.*s\" %s", STR_ARG(name), o ? "is being deleted" : "not found");
        return false;
    }
    *out = (struct claim){.o = o, .tree = tree_of(c, o)};
    struct str volume = json_str_at(out->tree, "spec", "volumeName", NULL);
    if (volume.n) {
        pv = c->s->pvs ? view_get(c->view, c->s->pvs, STR(""), volume) : NULL;
        if (!pv)
            c->why = pool_printf(c->pool, "persistentvolume \"%.*s\" not found", STR_ARG(volume));
        else
            out->affinity = json_path(tree_of(c, pv), "spec", "nodeAffinity", "required", NULL);
        return pv != NULL;
    }
    if (!waits_for_consumer(c, json_str_at(out->tree, "spec", "storageClassName", NULL))) {
        c->why = STR("pod has unbound immediate PersistentVolumeClaims");
        return false;
    }
    out->selected = json_as_str(json_path(out->tree, "metadata", "annotations", "volume.kubernetes.io/selected-node", NULL));
    if (!out->selected.p)
        out->selected = STR("");
    return true;
}

bool volumes_prepare(struct cycle *c)
{
    const struct json *list = json_get(c->spec, STR("volumes"));
    struct claims *all = pool_new_of(c->pool, struct claims);
    all->list = pool_array(c->pool, struct claim, json_count(list) + 1);
    c->volume_state = all;
    json_for ((struct json *)(uintptr_t)list, v) {
        struct str name = json_str_at(v, "persistentVolumeClaim", "claimName", NULL);
        if (json_get(v, STR("ephemeral")))
            name = pool_printf(c->pool, "%.*s-%.*s", STR_ARG(c->o->name), STR_ARG(json_get_str(v, "name")));
        if (!name.p)
            continue;
        if (!read_claim(c, name, &all->list[all->n]))
            return false;
        all->n++;
    }
    return true;
}

static bool reachable(const struct claim *claim, const struct node_info *n)
{
    if (claim->selected.n && !str_eq(claim->selected, n->name))
        return false;
    if (!claim->affinity)
        return true;
    json_for (json_get(claim->affinity, STR("nodeSelectorTerms")), term)
        if (node_selector_term(term, n))
            return true;
    return false;
}

void volumes_filter(struct cycle *c, const struct node_info *n, struct reasons *r)
{
    const struct claims *all = c->volume_state;
    for (size_t i = 0; i < all->n; i++)
        if (!reachable(&all->list[i], n)) {
            reason_add(r, STR("node(s) didn't match PersistentVolume's node affinity"), false);
            return;
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
