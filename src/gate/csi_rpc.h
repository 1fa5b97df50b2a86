/* One unary gRPC call to a node plugin's unix socket, and the messages of CSI 1.x and of the kubelet's plugin registration that gate needs
 * (github.com/container-storage-interface/spec csi.proto; k8s.io/kubelet/pkg/apis/pluginregistration/v1/api.proto). Inside the room.
 *
 * gate cannot reach those sockets (root's): node connects each call's. HTTP/2 without TLS, one connection per call: calls are few, and a
 * plugin that was started anew needs no care. Answers are a stranger's: bounded, and read field by field. */
#pragma once
#include "gate/impl.h"

#define CSI_ANSWER_MAX (1u << 20)

struct csi_rpc;
/* method: "/csi.v1.Node/NodeGetInfo". request: the message. done: once, never from within csi_call; the call is gone then. e:
 * ERR_UNAVAILABLE nobody answers, ERR_TIMEOUT, else what the plugin said ("rpc error: code = ... desc = ..."). answer: the message, valid
 * during done. */
struct csi_rpc *csi_call(struct gate *g, const char *socket, const char *method, struct str request,
    void (*done)(void *arg, const struct err *e, struct str answer), void *arg);
void csi_call_cancel(struct csi_rpc *c); /* NULL is fine */

struct csi_plugin_info {
    struct str type, name, endpoint;
};
bool csi_read_plugin_info(struct str in, struct csi_plugin_info *out);
struct csi_node_info {
    struct str node_id;
    int64_t max_volumes;
    struct json *topology; /* {key: value}, in p */
};
bool csi_read_node_info(struct pool *p, struct str in, struct csi_node_info *out);
bool csi_read_stages(struct str capabilities);       /* STAGE_UNSTAGE_VOLUME is among them */
bool csi_read_expands(struct str capabilities);      /* EXPAND_VOLUME is */
bool csi_read_multi_writer(struct str capabilities); /* SINGLE_NODE_MULTI_WRITER is */

/* What stage and publish say of a volume; maps are JSON objects of strings, NULL: empty. */
struct csi_volume {
    struct str handle, staging, target, fs_type;
    const struct json *publish_context, *volume_context, *secrets, *mount_flags /* array */;
    int access_mode; /* VolumeCapability.AccessMode.Mode */
    bool block, read_only;
};
void csi_write_stage(struct buf *out, const struct csi_volume *v);
void csi_write_publish(struct buf *out, const struct csi_volume *v);
void csi_write_unpublish(struct buf *out, struct str handle, struct str path); /* unstage has the same form */
void csi_write_expand(struct buf *out, const struct csi_volume *v, int64_t bytes);
void csi_write_registered(struct buf *out, bool good, struct str error);
