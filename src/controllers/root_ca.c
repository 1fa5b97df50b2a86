/* Every namespace has a ConfigMap kube-root-ca.crt, with which pods know the API server. */
#include "controllers/ctl.h"

#define MAP_NAME "kube-root-ca.crt"

static void fill(struct sync *s, struct json *map)
{
    struct json *meta = json_put_obj(s->pool, map, STR("metadata")), *data = json_set(s->pool, map, STR("data"), json_obj(s->pool));
    json_set_str(s->pool, meta, STR("name"), STR(MAP_NAME));
    json_set_str(s->pool, meta, STR("namespace"), s->name);
    json_set_str(s->pool, json_put_obj(s->pool, meta, STR("annotations")), STR("kubernetes.io/description"),
        STR("Holds the certificates by which clients inside the cluster verify the API server, for example at kubernetes.default.svc. "
            "Other uses are not guaranteed."));
    json_set_str(s->pool, data, STR("ca.crt"), api_ca_pem(s->ctl->api));
}

static int sync(struct sync *s, struct err **e)
{
    const struct obj *ns = sync_get(s, R_NAMESPACES, STR(""), s->name), *map = sync_get(s, R_CONFIGMAPS, s->name, STR(MAP_NAME));
    if (!ns || ns->deleted || !api_ca_pem(s->ctl->api).n)
        return 0;
    struct json *tree = map ? sync_tree(s, map) : json_obj(s->pool), *data = json_get(tree, STR("data"));
    if (map && json_count(data) == 1 && str_eq(json_get_str(data, "ca.crt"), api_ca_pem(s->ctl->api)))
        return 0;
    fill(s, tree);
    int r = map ? sync_update(s, R_CONFIGMAPS, map, NULL, tree, NULL, e) : sync_create(s, R_CONFIGMAPS, s->name, tree, NULL, e);
    return err_is(e, ERR_EXISTS) ? 0 : MIN(r, 0);
}

static void on_map(struct ctl *c, const struct change *ch)
{
    if (str_eqz(ch->obj->name, MAP_NAME))
        ctl_add_key(c, STR(""), ch->obj->ns);
}

const struct controller root_ca_controller = {
    .name = "root-ca",
    .account = "root-ca-cert-publisher",
    .watches = {{R_NAMESPACES, ctl_add_change}, {R_CONFIGMAPS, on_map}},
    .sync = sync,
};
