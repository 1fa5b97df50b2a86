/* CSI node plugins: their registration, and the volumes that they publish for this node's pods. Inside the room.
 *
 * A plugin says that it is there by a socket in the kubelet's registration folder; node tells of these (NODE_PLUGINS). gate asks it who it
 * is (pluginregistration.Registration/GetInfo), asks the driver for its id of this node, and writes both into the CSINode object and the
 * node's labels. Other kinds of plugins are told that they are not supported.
 *
 * A volume of one pod
 *
 *     WAITING ──► STAGING ──► PUBLISHING ──► PUBLISHED ──► UNPUBLISHING ──► UNSTAGING ──► (gone)
 *        ▲           │             │             │              ▲               ▲
 *        └── error ──┴─────────────┘             └── the pod ───┘               └── nobody else has it staged
 *
 * WAITING is also for what has to be there first: the driver, the VolumeAttachment that the cluster's attacher sets. Each is written down
 * (<state_dir>/csi) before the plugin hears of it and struck out when it is gone, so that gate's restart loses none; after a reboot of the
 * machine nothing is mounted and all is published again. What fails is tried again with back-off, unpublishing without end: until then the
 * pod stays, as with the kubelet (pkg/volume/csi). */
#pragma once
#include "gate/impl.h"

int csi_open(struct gate *g, struct err **e) _must_check_;
void csi_close(struct gate *g);
void csi_plugins(struct gate *g, struct str body); /* NODE_PLUGINS */
/* A pod's volume: pv (of a claim), or volume (inline, pv NULL). Fills kind, path and give of v when it is published; ERR_UNAVAILABLE until
 * then, saying why; gpod_dirty is called when there is news. */
int csi_volume(
    struct gate *g, struct gpod *gp, const struct json *pv, const struct json *volume, struct node_volume *v, struct err **e) _must_check_;
/* The pod is gone from node: its volumes are unpublished. true: there are some; pods_gone is called again when they are gone. */
bool csi_release(struct gate *g, struct str uid);
void csi_synced(struct gate *g); /* node knows all pods: what is left of others is released */
