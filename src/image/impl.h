/* Inside the room: what the parsing side says to the root side, and the root side's parts. */
#pragma once
#include "base/wire.h"
#include "image/image.h"

#define PLAN_IMAGES 256
#define LAYERS_MAX 127
#define LAYER_BYTES (INT64_C(64) << 30)     /* unpacked */
#define LAYER_ENTRIES 4000000
#define ARCHIVE_BYTES (INT64_C(128) << 30)  /* a decompressed archive */
#define OP_DATA_MAX (256u << 10)
#define FRAME_MAX (2u << 20)

/* What an archive or layout holds. A blob is a range of the (plain) archive, or a file of the layout by its digest. */
struct plan_blob { struct str digest; uint64_t at, size; bool ranged; };
struct plan_image {
    struct plan_blob config;
    struct plan_blob *layers; size_t nlayers;
    struct str *names; size_t nnames;
    struct str manifest_digest;
};
struct plan { struct plan_image *images; size_t nimages; };
extern const struct wire_type plan_type, image_config_type, image_type, layer_op_type, layer_end_type;

enum layer_op_kind {
    OP_NONE,
    OP_DIR,
    OP_FILE,
    OP_DATA,
    OP_SYMLINK,
    OP_HARDLINK,
    OP_CHAR,
    OP_BLOCK,
    OP_FIFO,
    OP_WHITEOUT,
    OP_OPAQUE,
    OP_END,
    OP_ERROR,
    OP_KINDS
};
struct layer_xattr { struct str name, value; };
struct layer_op {
    uint64_t kind;              /* enum layer_op_kind */
    struct str path;            /* relative, clean; of the folder for OP_OPAQUE; the file that is hidden for OP_WHITEOUT */
    struct str link;            /* SYMLINK: the target as it is; HARDLINK: a path as above */
    struct str data;            /* DATA: next bytes of the last FILE; END: diff id; ERROR: message */
    uint64_t mode, uid, gid, major, minor;
    int64_t mtime;              /* ns */
    struct layer_xattr *xattrs; size_t nxattrs;
};

/* ---- the parsing side: each runs in a sandboxed process (sandbox.h) ---- */
int plan_archive(int fd, int plain /* an empty file for the decompressed form, when it is compressed */, struct pool *p, struct plan *out,
    struct err **e) _must_check_;
int plan_layout(struct pool *p, struct str index, struct str manifest, struct plan *out, struct err **e) _must_check_;
/* index.json → the digest of the manifest for this machine; *is_index: that is an index again. */
int plan_pick(struct pool *p, struct str index, struct str wanted, struct str *digest, bool *is_index, struct err **e) _must_check_;
int plan_config(struct pool *p, struct str text, struct image_config *out, struct err **e) _must_check_;
/* Reads a layer from fd and hands operations to emit until the end (OP_END with the diff id). */
int layer_parse(int fd, int (*emit)(void *arg, const struct layer_op *op, struct err **e), void *arg, struct err **e) _must_check_;

/* plain, gzip or zstd, told by the first bytes */
struct inflate;
struct inflate *inflate_new(int fd);
ssize_t inflate_read(struct inflate *z, const void **out, struct err **e); /* bytes at *out, 0 at the end, -code */
bool inflate_compressed(struct inflate *z);                                /* after the first read */
void inflate_free(struct inflate *z);
DEFINE_CLEANUP(struct inflate *, inflate_free)

/* ---- the root side ---- */
struct apply;                   /* one layer being made */
struct apply *apply_new(int dir_fd);
int apply_op(struct apply *a, const struct layer_op *op, struct err **e) _must_check_;
int apply_end(struct apply *a, struct err **e) _must_check_; /* times of folders */
int64_t apply_bytes(const struct apply *a);
void apply_free(struct apply *a);
DEFINE_CLEANUP(struct apply *, apply_free)

struct image_store {
    char *dir, *layers, *images, *names, *tmp, *user;
    struct pool *pool;          /* of what is loaded */
    struct map by_id, by_name;  /* struct image * */
};
int images_lock(struct image_store *s, struct err **e);   /* fd or -code; closing unlocks */
int store_put_image(struct image_store *s, const struct image *i, struct err **e) _must_check_;
int store_put_name(struct image_store *s, struct str name, struct str id, bool pinned, struct err **e) _must_check_;
void store_layer_name(struct str digest, struct buf *out);
bool store_has_layer(struct image_store *s, struct str digest);
