/* Shared by csi.c (volumes' states), csi_plugins.c (registration, CSINode) and csi_volume.c (what a pod's volume says). */
#pragma once
#include "gate/csi.h"
#include "gate/csi_rpc.h"

enum csi_state { CSI_WAITING, CSI_STAGING, CSI_PUBLISHING, CSI_PUBLISHED, CSI_UNPUBLISHING, CSI_UNSTAGING };

struct csi_driver {
    char *name, *endpoint, *node_id;
    int64_t max_volumes;
    struct pool *pool;
    struct json *topology;
    bool stages, multi_writer;
};
struct csi_plugin { /* one registration socket */
    struct csi *csi;
    char *socket;
    struct csi_driver *driver; /* NULL until its driver has answered */
    struct csi_driver *asking; /* while it is being asked */
    struct csi_rpc *call;
    struct timer retry;
    int64_t delay;
    bool seen;
};
struct csi {
    struct gate *gate;
    struct map plugins; /* socket → struct csi_plugin */
    struct map mounts;  /* "<uid>/<volume>" → struct csi_mount */
    char *path, *boot;  /* boot: of the file, until compared */
};
struct csi_mount {
    struct csi *csi;
    char *key, *uid, *volume, *driver, *handle, *staging /* "": none */, *target, *why;
    enum csi_state state;
    bool released;      /* the pod is gone: out again as soon as nothing is under way */
    bool staged, unpublished, unstaged, dir_done;
    struct csi_rpc *call;
    uint64_t asked;     /* of node: a folder */
    struct buf stage_request, publish_request;
    struct timer retry;
    int64_t delay;
};

/* csi.c */
struct csi_mount *csi_mount_of(struct csi *s, struct str uid, struct str volume);
struct csi_mount *csi_mount_new(struct csi *s, struct str uid, struct str volume, struct str driver, const struct csi_volume *v);
void csi_begin(struct csi_mount *m, const struct csi_driver *d, const struct csi_volume *stage, const struct csi_volume *publish);
void csi_let_go(struct csi_mount *m);

/* csi_plugins.c */
const struct csi_driver *csi_driver(struct csi *s, struct str name);
void csi_plugins_free(struct csi *s);
