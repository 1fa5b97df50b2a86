/* This node's volumes of the class local-path that nobody claims any more: the mirror shows them Released, node removes the folder, and
 * then the volume is deleted in the cluster, by this node, which may delete no other (src/api/node_authz.c). What does not succeed (a pod
 * still stands on it, node is away) is looked at again.
 *
 * A volume that is deleted by hand keeps its folder, as with every provisioner: its data may be what somebody wants to save. */
#include <stdlib.h>

#include "gate/impl.h"
#include "kinds/local_path.h"

#define VOLUMES STR("/persistentvolumes/")
#define AGAIN_NS (5 * NS_PER_S)

struct storage {
    struct gate *gate;
    struct timer again;
    struct map removing; /* name → struct removal */
};
struct removal {
    struct storage *s;
    char *name, *uid;
    bool done; /* the folder is gone; the cluster is being told */
};

static void removal_free(void *arg)
{
    struct removal *x = arg;
    free(x->name);
    free(x->uid);
    free(x);
}

static struct str annotation(const struct json *pv, const char *name)
{
    return json_as_str(json_get(json_path(pv, "metadata", "annotations", NULL), str_of(name)));
}

bool storage_ours(const struct json *pv)
{
    return annotation(pv, LOCAL_PATH_MANAGED).n > 0;
}

static bool to_remove(const struct gate *g, const struct json *pv)
{
    return storage_ours(pv) && str_eqz(annotation(pv, LOCAL_PATH_NODE), g->o->node_name) &&
           str_eqz(json_str_at(pv, "status", "phase", NULL), "Released") &&
           str_eqz(json_str_at(pv, "spec", "persistentVolumeReclaimPolicy", NULL), "Delete");
}

static void on_again(struct timer *t)
{
    struct storage *s = container_of(t, struct storage, again);
    s->gate->storage_dirty = true;
    gate_turn(s->gate);
}

static void tell_cluster(struct removal *x)
{
    _cleanup_(pool_freep) struct pool *p = pool_new();
    struct outbox_entry out = {
        .key = pool_printf(p, "volume/%s", x->uid),
        .method = STR("DELETE"),
        .path = pool_printf(p, "/api/v1/persistentvolumes/%s", x->name),
        .content_type = STR("application/json"),
        .body = pool_printf(p, "{\"kind\":\"DeleteOptions\",\"apiVersion\":\"v1\",\"preconditions\":{\"uid\":\"%s\"}}", x->uid),
    };
    outbox_put(x->s->gate->outbox, &out, 0);
}

static void on_removed(void *arg, struct wire_msg *m)
{
    struct removal *x = arg;
    struct storage *s = x->s;
    _cleanup_(pool_freep) struct pool *p = pool_new();
    struct node_reply r = {.code = ERR_UNAVAILABLE};
    if (m && (m->type != NODE_REPLY || wire_decode(&node_reply_type, m->body, p, &r, NULL) < 0))
        r.code = ERR_INTERNAL;
    if (r.code == 0) {
        x->done = true;
        tell_cluster(x);
        return; /* kept until the mirror no longer has it */
    }
    if (m && r.code != ERR_CONFLICT)
        log_warn("volume=%s: its folder cannot be removed: %.*s", x->name, STR_ARG(r.message));
    map_del(&s->removing, str_of(x->name));
    removal_free(x);
    timer_in(s->gate->loop, &s->again, AGAIN_NS, on_again);
}

static bool look_at(void *arg, const struct mirror_item *it)
{
    struct storage *s = arg;
    _cleanup_(pool_freep) struct pool *p = pool_new();
    struct json *pv;
    if (json_parse(p, bytes_str(it->bytes), &(struct json_limits){.view = true}, &pv, NULL) < 0 || !to_remove(s->gate, pv))
        return true;
    struct str name = json_str_at(pv, "metadata", "name", NULL);
    if (map_get(&s->removing, name))
        return true;
    struct removal *x = xcalloc(1, sizeof *x);
    *x = (struct removal){.s = s, .name = str_dup(name), .uid = str_dup(it->uid)};
    map_put(&s->removing, name, x);
    struct node_storage m = {.path = json_str_at(pv, "spec", "hostPath", "path", NULL)};
    gate_ask(s->gate, NODE_STORAGE_REMOVE, &node_storage_type, &m, on_removed, x);
    return true;
}

void storage_mirror_change(struct gate *g, struct str key, bool gone)
{
    struct str name = str_sub(key, VOLUMES.n + 1, key.n); /* cluster-scoped: an empty namespace */
    struct removal *x = gone ? map_get(&g->storage->removing, name) : NULL;
    if (x && x->done) {
        map_del(&g->storage->removing, name);
        removal_free(x);
    }
    g->storage_dirty = true;
}

void storage_work(struct gate *g)
{
    mirror_each(g->mirror, VOLUMES, look_at, g->storage);
}

void storage_open(struct gate *g)
{
    g->storage = xcalloc(1, sizeof *g->storage);
    g->storage->gate = g;
}

void storage_close(struct gate *g)
{
    struct storage *s = TAKE(g->storage);
    if (!s)
        return;
    timer_del(&s->again);
    map_clear(&s->removing, removal_free);
    free(s);
}
