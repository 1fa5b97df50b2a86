#include "controllers/volume.h"

struct str annotation_of(const struct json *tree, const char *name)
{
    return json_as_str(json_get(json_path(tree, "metadata", "annotations", NULL), str_of(name)));
}

void claim_read(struct sync *s, const struct obj *o, struct claim *c)
{
    *c = (struct claim){.s = s, .o = o, .tree = sync_tree(s, o)};
    c->spec = json_get(c->tree, STR("spec"));
    c->class = json_get_str(c->spec, "storageClassName");
    c->volume = json_get_str(c->spec, "volumeName");
    c->selected_node = annotation_of(c->tree, ANN_SELECTED_NODE);
    const struct obj *class = c->class.n ? sync_get(s, R_CLASSES, STR(""), c->class) : NULL;
    c->class_tree = class ? sync_tree(s, class) : NULL;
}

static bool reachable(struct claim *c, const struct json *volume)
{
    const struct json *required = json_path(volume, "spec", "nodeAffinity", "required", NULL);
    const struct obj *node = c->selected_node.n ? sync_get(c->s, R_NODES, STR(""), c->selected_node) : NULL;
    if (!required || !c->selected_node.n)
        return true;
    struct node_traits n = node ? traits_of(node) : (struct node_traits){0};
    return node && node_selector_matches(required, &n);
}

static bool fits(struct claim *c, const struct obj *o, const struct json *volume)
{
    return !o->deleted && !json_path(volume, "spec", "claimRef", NULL) && volume_fits_claim(c->s->pool, volume, c->tree) &&
           reachable(c, volume);
}

const struct obj *claim_find_volume(struct claim *c)
{
    struct obj_array all = sync_list(c->s, R_PVS, STR(""));
    const struct obj *best = NULL;
    const struct json *best_tree = NULL;
    for (size_t i = 0; i < all.n; i++) {
        const struct json *volume = sync_tree(c->s, all.p[i]);
        if (volume_is_for(volume, c->o->ns, c->o->name, c->o->uid) && !all.p[i]->deleted)
            return all.p[i];
        if (fits(c, all.p[i], volume) && (!best || volume_size_cmp(volume, best_tree) < 0)) {
            best = all.p[i];
            best_tree = volume;
        }
    }
    return best;
}
