#include "base/log.h"
#include "node/impl.h"

static void reply_to(struct node *n, struct wire_msg *m, struct err *e)
{
    if (e)
        log_warn("request %u: %s", m->type, err_msg(e));
    node_reply(n, m->id, e, NULL, 0);
    err_free(e);
}

static void on_config(struct node *n, struct wire_msg *m)
{
    struct err *e = NULL;
    (void)!node_configure(n, m->body, &e);
    reply_to(n, m, e);
}

static void on_pod(struct node *n, struct wire_msg *m)
{
    struct err *e = NULL;
    (void)!pod_receive(n, m->body, &e);
    reply_to(n, m, e);
}

static void on_pod_stop(struct node *n, struct wire_msg *m)
{
    _cleanup_(pool_freep) struct pool *p = pool_new();
    struct node_pod_stop x;
    struct err *e = NULL;
    if (wire_decode(&node_pod_stop_type, m->body, p, &x, &e) == 0) {
        struct pod *pod = node_pod_by_uid(n, x.uid);
        struct node_uid gone = {x.uid};
        if (pod)
            pod_stop(pod, x.grace_s, x.reason);
        else if (n->gate) /* nothing is left of it */
            wire_send(n->gate, NODE_POD_GONE, 0, &node_uid_type, &gone, NULL, 0);
    }
    reply_to(n, m, e);
}

static void on_synced(struct node *n, struct wire_msg *m)
{
    map_for(&n->pods, it) {
        struct pod *p = it->value;
        if (!p->synced && !p->kept && !p->stop) {
            log_info("pod=%.*s/%.*s is not wanted any more", STR_ARG(p->spec.ns), STR_ARG(p->spec.name));
            pod_stop(p, p->spec.grace_s, STR_NULL);
        }
    }
    reply_to(n, m, NULL);
}

static void on_keep(struct node *n, struct wire_msg *m)
{
    _cleanup_(pool_freep) struct pool *p = pool_new();
    struct node_uid x;
    struct err *e = NULL;
    if (wire_decode(&node_uid_type, m->body, p, &x, &e) == 0) {
        struct pod *pod = node_pod_by_uid(n, x.uid);
        if (pod)
            pod->kept = true;
    }
    reply_to(n, m, e);
}

static void on_restart(struct node *n, struct wire_msg *m)
{
    _cleanup_(pool_freep) struct pool *p = pool_new();
    struct node_restart x;
    struct err *e = NULL;
    if (wire_decode(&node_restart_type, m->body, p, &x, &e) == 0) {
        struct pod *pod = node_pod_by_uid(n, x.uid);
        struct container *c = pod ? pod_container(pod, x.container) : NULL;
        if (!c) {
            err_set(&e, ERR_NOT_FOUND, "container \"%.*s\" is not on this node", STR_ARG(x.container));
        } else if (c->state == CON_RUNNING) {
            _cleanup_(freep) char *why = xasprintf("Container %s failed %.*s, will be restarted", c->name, STR_ARG(x.reason));
            con_stop(c, MIN(MAX(x.grace_s, 0), INT64_C(1000000)) * INT64_C(1000000000), why);
        }
    }
    reply_to(n, m, e);
}

static void on_started(struct node *n, struct wire_msg *m)
{
    _cleanup_(pool_freep) struct pool *p = pool_new();
    struct node_started x;
    struct err *e = NULL;
    if (wire_decode(&node_started_type, m->body, p, &x, &e) == 0) {
        struct pod *pod = node_pod_by_uid(n, x.uid);
        struct container *c = pod ? pod_container(pod, x.container) : NULL;
        if (c && c->id && str_eqz(x.run, c->id) && !c->startup_ok) { /* else it is of a run that is over */
            c->startup_ok = true;
            pod_report(pod);
            pod_kick(pod);
        }
    }
    reply_to(n, m, e);
}

static void on_volume(struct node *n, struct wire_msg *m)
{
    _cleanup_(pool_freep) struct pool *p = pool_new();
    struct node_volume_update x;
    struct err *e = NULL;
    if (wire_decode(&node_volume_update_type, m->body, p, &x, &e) == 0) {
        struct pod *pod = node_pod_by_uid(n, x.uid);
        if (!pod)
            err_set(&e, ERR_NOT_FOUND, "pod %.*s is not on this node", STR_ARG(x.uid));
        else
            (void)!pod_take_volume(pod, &x.volume, &e);
    }
    reply_to(n, m, e);
}

static void on_images(struct node *n, struct wire_msg *m)
{
    images_send(n);
}

static void on_stats(struct node *n, struct wire_msg *m)
{
    stats_send(n, m->id);
}

static const struct { void (*fn)(struct node *n, struct wire_msg *m);
} handlers[] = {
    [NODE_CONFIG] = {on_config},
    [NODE_POD] = {on_pod},
    [NODE_POD_STOP] = {on_pod_stop},
    [NODE_SYNCED] = {on_synced},
    [NODE_RESTART] = {on_restart},
    [NODE_EXEC] = {stream_exec},
    [NODE_EXEC_RESIZE] = {stream_resize},
    [NODE_ATTACH] = {stream_attach},
    [NODE_LOG] = {stream_log},
    [NODE_CONNECT] = {stream_connect},
    [NODE_LISTEN] = {stream_listen},
    [NODE_SERVICES] = {services_take},
    [NODE_PEERS] = {peers_take},
    [NODE_POLICIES] = {policies_take},
    [NODE_IMAGE_LIST] = {on_images},
    [NODE_IMAGE_LAYOUT] = {images_layout},
    [NODE_IMAGE_REMOVE] = {images_remove},
    [NODE_VOLUME] = {on_volume},
    [NODE_STORAGE_REMOVE] = {storage_remove},
    [NODE_POD_KEEP] = {on_keep},
    [NODE_PLUGIN_CONNECT] = {plugins_connect},
    [NODE_CSI_DIR] = {plugins_dir},
    [NODE_STATS] = {on_stats},
    [NODE_HOOK_DONE] = {hooks_done},
    [NODE_STARTED] = {on_started},
};

void node_message(void *arg, struct wire_msg *m)
{
    struct node *n = arg;
    if (m->type < ARRAY_LEN(handlers) && handlers[m->type].fn) {
        handlers[m->type].fn(n, m);
        return;
    }
    struct err *e = NULL;
    err_set(&e, ERR_NOT_IMPLEMENTED, "message type %u is not known to this node", m->type);
    reply_to(n, m, e);
}
