#include "image/impl.h"

#define DIGEST 128
#define NAME 1024

static const struct wire_field blob_fields[] = {WIRE_STR(struct plan_blob, digest, DIGEST), WIRE_U64(struct plan_blob, at),
    WIRE_U64(struct plan_blob, size), WIRE_BOOL(struct plan_blob, ranged), WIRE_END};
static const struct wire_type blob_type = {"blob", sizeof(struct plan_blob), blob_fields};
static const struct wire_field plan_image_fields[] = {WIRE_STRUCT(struct plan_image, config, &blob_type),
    WIRE_LIST(struct plan_image, layers, nlayers, &blob_type, LAYERS_MAX), WIRE_STRS(struct plan_image, names, nnames, 256),
    WIRE_STR(struct plan_image, manifest_digest, DIGEST), WIRE_END};
static const struct wire_type plan_image_type = {"image", sizeof(struct plan_image), plan_image_fields};
static const struct wire_field plan_fields[] = {WIRE_LIST(struct plan, images, nimages, &plan_image_type, PLAN_IMAGES), WIRE_END};
const struct wire_type plan_type = {"plan", sizeof(struct plan), plan_fields};

static const struct wire_field config_fields[] = {WIRE_STRS(struct image_config, entrypoint, nentrypoint, 4096),
    WIRE_STRS(struct image_config, cmd, ncmd, 4096), WIRE_STRS(struct image_config, env, nenv, 4096),
    WIRE_STR(struct image_config, working_dir, 4096), WIRE_STR(struct image_config, user, 256),
    WIRE_STR(struct image_config, stop_signal, 32), WIRE_STR(struct image_config, os, 64), WIRE_STR(struct image_config, arch, 64),
    WIRE_STRS(struct image_config, diff_ids, ndiff_ids, LAYERS_MAX), WIRE_END};
const struct wire_type image_config_type = {"config", sizeof(struct image_config), config_fields};

static const struct wire_field layer_fields[] = {
    WIRE_STR(struct image_layer, digest, DIGEST), WIRE_I64(struct image_layer, size), WIRE_END};
static const struct wire_type layer_type = {"layer", sizeof(struct image_layer), layer_fields};
static const struct wire_field image_fields[] = {WIRE_STR(struct image, id, DIGEST),
    WIRE_LIST(struct image, layers, nlayers, &layer_type, LAYERS_MAX), WIRE_STRUCT(struct image, config, &image_config_type),
    WIRE_STRS(struct image, digests, ndigests, 256), WIRE_I64(struct image, size), WIRE_I64(struct image, created), WIRE_END};
const struct wire_type image_type = {"image", sizeof(struct image), image_fields};

static const struct wire_field xattr_fields[] = {
    WIRE_STR(struct layer_xattr, name, 255), WIRE_STR(struct layer_xattr, value, 65536), WIRE_END};
static const struct wire_type xattr_type = {"xattr", sizeof(struct layer_xattr), xattr_fields};
static const struct wire_field op_fields[] = {WIRE_ENUM(struct layer_op, kind, OP_KINDS), WIRE_STR(struct layer_op, path, 4095),
    WIRE_STR(struct layer_op, link, 4095), WIRE_STR(struct layer_op, data, OP_DATA_MAX), WIRE_U64(struct layer_op, mode),
    WIRE_U64(struct layer_op, uid), WIRE_U64(struct layer_op, gid), WIRE_U64(struct layer_op, major), WIRE_U64(struct layer_op, minor),
    WIRE_I64(struct layer_op, mtime), WIRE_LIST(struct layer_op, xattrs, nxattrs, &xattr_type, 64), WIRE_END};
const struct wire_type layer_op_type = {"operation", sizeof(struct layer_op), op_fields};
