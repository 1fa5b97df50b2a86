/* Endpoints: the older form of what EndpointSlices say, one object per Service, for clients that read it still. */
#include <stdlib.h>
#include "controllers/backends.h"

enum { ADDRESSES_MAX = 1000 };

static int by_ip(const void *a, const void *b)
{
    return str_cmp(((const struct backend *)a)->ip, ((const struct backend *)b)->ip);
}

static struct json *address_json(struct pool *p, const struct backend *b)
{
    struct json *a = json_obj(p), *ref;
    json_set_str(p, a, STR("ip"), b->ip);
    if (b->hostname.n)
        json_set_str(p, a, STR("hostname"), b->hostname);
    if (b->node.n)
        json_set_str(p, a, STR("nodeName"), b->node);
    ref = json_put_obj(p, a, STR("targetRef"));
    json_set_str(p, ref, STR("kind"), STR("Pod"));
    json_set_str(p, ref, STR("namespace"), b->pod->ns);
    json_set_str(p, ref, STR("name"), b->pod->name);
    json_set_str(p, ref, STR("uid"), b->pod->uid);
    return a;
}

static struct json *ports_json(struct pool *p, const struct backend *b)
{
    struct json *list = json_arr(p);
    for (size_t i = 0; i < b->nports; i++) {
        struct json *port = json_append(list, json_obj(p));
        if (b->ports[i].name.n)
            json_set_str(p, port, STR("name"), b->ports[i].name);
        json_set_int(p, port, STR("port"), b->ports[i].port);
        json_set_str(p, port, STR("protocol"), b->ports[i].protocol);
        if (b->ports[i].app_protocol.n)
            json_set_str(p, port, STR("appProtocol"), b->ports[i].app_protocol);
    }
    return list;
}

/* The subset with these ports, made when there is none yet. */
static struct json *subset_for(struct pool *p, struct json *subsets, struct json *ports)
{
    json_for (subsets, s)
        if (json_equal(json_get(s, STR("ports")), ports))
            return s;
    struct json *s = json_append(subsets, json_obj(p));
    return s;
}

static struct json *subsets_json(struct sync *s, const struct service *svc, bool ipv6, bool *truncated)
{
    struct pool *p = s->pool;
    struct json *subsets = json_arr(p);
    size_t n;
    struct backend *list = service_backends(s, svc, ipv6, &n);
    qsort(list, n, sizeof *list, by_ip);
    *truncated = n > ADDRESSES_MAX;
    for (size_t i = 0; i < MIN(n, (size_t)ADDRESSES_MAX); i++) {
        if (list[i].terminating && !svc->publish_all)
            continue;
        if (!list[i].nports && json_count(json_get(svc->spec, STR("ports"))))
            continue;
        struct json *ports = ports_json(p, &list[i]), *subset = subset_for(p, subsets, ports);
        struct json *ready = json_get(subset, STR("ports"));
        json_append(json_put_arr(p, subset, list[i].ready ? STR("addresses") : STR("notReadyAddresses")), address_json(p, &list[i]));
        if (!ready && json_count(ports))
            json_set(p, subset, STR("ports"), ports);
    }
    return subsets;
}

static struct json *labels_json(struct pool *p, const struct service *svc)
{
    struct json *labels = json_obj(p);
    for (uint32_t i = 0; i < svc->o->nlabels; i++)
        json_set_str(p, labels, svc->o->labels[i].key, svc->o->labels[i].value);
    json_set_str(p, labels, STR("endpoints.kubernetes.io/managed-by"), STR("endpoint-controller"));
    if (svc->headless)
        json_set_str(p, labels, STR("service.kubernetes.io/headless"), STR(""));
    return labels;
}

static int write_endpoints(struct sync *s, const struct service *svc, struct json *subsets, bool truncated, struct err **e)
{
    const struct obj *old = sync_self(s, R_ENDPOINTS);
    struct pool *p = s->pool;
    struct json *tree = old ? sync_tree(s, old) : json_obj(p), *meta = json_put_obj(p, tree, STR("metadata")),
                *labels = labels_json(p, svc);
    struct json *was = json_get(tree, STR("subsets"));
    if (old && json_equal(labels, json_get(meta, STR("labels"))) && (json_count(subsets) ? json_equal(was, subsets) : json_count(was) == 0))
        return 0;
    json_set(p, meta, STR("labels"), labels);
    json_set_str(p, meta, STR("name"), s->name);
    json_set_str(p, meta, STR("namespace"), s->ns);
    if (truncated)
        json_set_str(p, json_put_obj(p, meta, STR("annotations")), STR("endpoints.kubernetes.io/over-capacity"), STR("truncated"));
    else
        json_del(json_get(meta, STR("annotations")), STR("endpoints.kubernetes.io/over-capacity"));
    json_set(p, tree, STR("subsets"), subsets);
    int r = old ? sync_update(s, R_ENDPOINTS, old, NULL, tree, NULL, e) : sync_create(s, R_ENDPOINTS, s->ns, tree, NULL, e);
    return err_is(e, ERR_EXISTS) || err_is(e, ERR_NOT_FOUND) ? 0 : MIN(r, 0);
}

static int sync(struct sync *s, struct err **e)
{
    const struct obj *o = sync_self(s, R_SERVICES), *old = sync_self(s, R_ENDPOINTS);
    struct service svc;
    bool truncated;
    if (!o && old && str_eqz(obj_label(old, STR("endpoints.kubernetes.io/managed-by")), "endpoint-controller"))
        return MIN(sync_delete(s, old, NULL, e), 0);
    if (!service_read(s, o, &svc, e))
        return 0;
    bool ipv6 = str_eqz(json_as_str(json_at(json_get(svc.spec, STR("ipFamilies")), 0)), "IPv6");
    struct json *subsets = subsets_json(s, &svc, ipv6, &truncated);
    return write_endpoints(s, &svc, subsets, truncated, e);
}

static void on_endpoints(struct ctl *c, const struct change *ch)
{
    ctl_add(c, ch->obj);
}

const struct controller endpoints_controller = {
    .name = "endpoints",
    .account = "endpoint-controller",
    .watches = {{R_SERVICES, services_on_service}, {R_PODS, services_on_pod}, {R_ENDPOINTS, on_endpoints}},
    .sync = sync,
    .start = services_start,
    .stop = services_stop,
};
