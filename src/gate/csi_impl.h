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
    bool stages, expands, multi_writer;
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
    bool released;    /* the pod is gone: out again as soon as nothing is under way */
    int64_t again_at; /* mono ns; 0: as soon as it is looked at (after a restart of ours) */
    bool staged, unpublished, unstaged, dir_done;
    struct csi_rpc *call;
    uint64_t asked; /* of node: a folder */
    struct buf stage_request, publish_request;
    char *claim_ns, *claim, *size; /* while it is being expanded: whose status is to say so */
    int64_t expand_at;             /* mono ns: not before, after a failure */
    struct timer retry;
    int64_t delay;
};

/* csi.c */
struct csi_mount *csi_mount_of(struct csi *s, struct str uid, struct str volume);
struct csi_mount *csi_mount_new(struct csi *s, struct str uid, struct str volume, struct str driver, const struct csi_volume *v);
void csi_begin(struct csi_mount *m, const struct csi_driver *d, const struct csi_volume *stage, const struct csi_volume *publish);
void csi_let_go(struct csi_mount *m);
/* The volume became larger than its claim's status says; tells the claim when the plugin has made its file system so. */
void csi_expand(struct csi_mount *m, const struct csi_driver *d, const struct csi_volume *v, struct str ns, struct str claim,
    struct str size, int64_t bytes);
/* CSIDriver.spec.requiresRepublish: whether it is time to publish a published volume once more, so that its plugin can renew what it shows
 * (tokens, secrets). Then csi_begin does. */
bool csi_wants_again(struct csi_mount *m, bool required);

/* csi_plugins.c */
const struct csi_driver *csi_driver(struct csi *s, struct str name);
void csi_plugins_free(struct csi *s);
