#include "controllers/volume.h"
#include "schema/quantity.h"

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

bool volume_is_for(const struct json *volume, const struct obj *claim)
{
    const struct json *ref = json_path(volume, "spec", "claimRef", NULL);
    struct str uid = json_get_str(ref, "uid");
    return ref && str_eq(json_get_str(ref, "name"), claim->name) && str_eq(json_get_str(ref, "namespace"), claim->ns) &&
           (!uid.n || str_eq(uid, claim->uid));
}

static int compare_size(const struct json *a, const struct json *b)
{
    struct quantity x, y;
    if (quantity_parse(json_as_str(a), &x, NULL) < 0)
        return -1;
    return quantity_parse(json_as_str(b), &y, NULL) < 0 ? 1 : quantity_cmp(x, y);
}

static bool modes_fit(const struct json *offered, const struct json *asked)
{
    json_for ((struct json *)(uintptr_t)asked, want) {
        bool has = false;
        json_for ((struct json *)(uintptr_t)offered, mode)
            has |= str_eq(json_as_str(mode), json_as_str(want));
        if (!has)
            return false;
    }
    return true;
}

static bool block_mode(const struct json *spec)
{
    return str_eqz(json_get_str(spec, "volumeMode"), "Block");
}

static bool reachable(struct claim *c, const struct json *volume)
{
    const struct json *required = json_path(volume, "spec", "nodeAffinity", "required", NULL);
    const struct obj *node = c->selected_node.n ? sync_get(c->s, R_NODES, STR(""), c->selected_node) : NULL;
    if (!required || !c->selected_node.n)
        return true;
    struct json *spec = json_obj(c->s->pool),
                *affinity = json_put_obj(c->s->pool, json_put_obj(c->s->pool, spec, STR("affinity")), STR("nodeAffinity"));
    json_set(c->s->pool, affinity, STR("requiredDuringSchedulingIgnoredDuringExecution"), json_clone(c->s->pool, required));
    return node && node_selected(node, spec);
}

static bool fits(struct claim *c, const struct obj *o, const struct json *volume)
{
    const struct json *spec = json_get(volume, STR("spec")), *selector = json_get(c->spec, STR("selector"));
    struct str class = json_get_str(spec, "storageClassName");
    struct selector sel;
    if (o->deleted || json_get(spec, STR("claimRef")) || !str_eq(class.p ? class : STR(""), c->class.p ? c->class : STR("")) ||
        block_mode(spec) != block_mode(c->spec))
        return false;
    if (!modes_fit(json_get(spec, STR("accessModes")), json_get(c->spec, STR("accessModes"))) || !reachable(c, volume))
        return false;
    if (selector && (selector_from_json(c->s->pool, selector, &sel, NULL) < 0 || !obj_matches(o, &sel)))
        return false;
    return compare_size(json_path(spec, "capacity", "storage", NULL), json_path(c->spec, "resources", "requests", "storage", NULL)) >= 0;
}

const struct obj *claim_find_volume(struct claim *c)
{
    struct obj_array all = sync_list(c->s, R_PVS, STR(""));
    const struct obj *best = NULL;
    const struct json *best_size = NULL;
    for (size_t i = 0; i < all.n; i++) {
        const struct json *volume = sync_tree(c->s, all.p[i]), *size = json_path(volume, "spec", "capacity", "storage", NULL);
        if (volume_is_for(volume, c->o) && !all.p[i]->deleted)
            return all.p[i];
        if (fits(c, all.p[i], volume) && (!best || compare_size(size, best_size) < 0)) {
            best = all.p[i];
            best_size = size;
        }
    }
    return best;
}
