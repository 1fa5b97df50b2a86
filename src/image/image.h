/* Images on one machine: imported, unpacked once, listed, removed.
 *
 *     <dir>/lock            held while something is changed, by whichever process does it (the node process, `sampan image`)
 *     <dir>/layers/<24 hex> one unpacked layer, named by the digest of the bytes it came from: an overlayfs lower folder
 *     <dir>/images/<64 hex> one image by its id (digest of its config): layers and what a container needs from the config
 *     <dir>/names/<64 hex>  one name ("docker.io/library/hello:v1"), which image it means, and whether it is pinned
 *     <dir>/tmp/            what is under way; emptied at the next import
 *
 * Trust. Archives, manifests, configs and layers are made by strangers. They are parsed only in short-lived processes of an unprivileged
 * user without system calls to open, connect or run anything (sandbox.h); what they say comes back over a pipe in bounded records
 * (base/wire.h) and is checked again by the root side, which makes files with openat2 below the layer's own folder. The root side itself
 * hashes the bytes it hands in, so that a parser that was taken over by a layer can spoil that layer and nothing else: layers are shared by
 * the digest of exactly those bytes.
 *
 * Atomic: a layer is unpacked in tmp/, synced and renamed; the image's record follows, then its names. After kill -9 or a power cut there
 * is the whole image or none of it.
 */
#pragma once
#include "base/buf.h"
#include "base/err.h"
#include "base/map.h"
#include "base/pool.h"

#define IMAGE_LAYER_NAME 24       /* hex digits of a layer folder's name */
struct image_store;

struct image_layer { struct str digest; /* sha256:... of the bytes as they came */ int64_t size; /* unpacked bytes */ };
struct image_config {             /* from the image's config */
    struct str *entrypoint; size_t nentrypoint;
    struct str *cmd; size_t ncmd;
    struct str *env; size_t nenv;
    struct str working_dir, user, stop_signal, os, arch;
    struct str *diff_ids; size_t ndiff_ids;
};
struct image {
    struct str id;                /* sha256:... */
    struct image_layer *layers; size_t nlayers; /* lowest first */
    struct image_config config;
    struct str *digests; size_t ndigests;       /* name@sha256:..., of manifests it was pulled by */
    int64_t size, created;        /* unpacked bytes; when it was imported, ns since 1970 */
    /* kept by the store */
    struct str *names; size_t nnames;
    bool pinned;
};

/* dir is made when missing. user: who parses (must exist). */
int image_store_open(const char *dir, const char *user, struct image_store **out, struct err **e) _must_check_;
void image_store_free(struct image_store *s);
DEFINE_CLEANUP(struct image_store *, image_store_free)
/* Reads the folder anew: after an import by a helper or another process. Views that were handed out before die. */
int image_store_reload(struct image_store *s, struct err **e) _must_check_;
const char *image_layers_dir(const struct image_store *s);
const char *image_store_dir(const struct image_store *s);

/* By id ("sha256:...", or 64 hex), name (normalised first) or name@digest. NULL when it is not here. Valid until the next reload. */
const struct image *image_find(const struct image_store *s, struct str ref);
void image_each(const struct image_store *s, void (*fn)(void *arg, const struct image *i), void *arg);
void image_lower(const struct image *i, struct buf *out); /* "top:...:lowest", relative to image_layers_dir */

struct image_import_options {
    struct str name;              /* of an image that carries none; may be empty */
    struct str digest;            /* expected digest of the manifest (layouts); may be empty */
    bool layout;                  /* fd is an OCI layout folder, not an archive */
    bool pinned;
};
/* Blocking (run it in a helper process): fd is a docker or OCI archive (tar, plain, gzip or zstd) or a layout folder. Adds the imported
 * names (or ids) to out, one a line. ERR_PARSE, ERR_LIMIT, ERR_INVALID (a digest does not match), ERR_STORAGE_FULL. Nothing of an image
 * that fails stays. */
int image_import(struct image_store *s, int fd, const struct image_import_options *o, struct buf *out, struct err **e) _must_check_;
/* Writes an archive as "docker save" does, of images by name, id or digest, into to. Layers are packed anew from the store's folders: image
 * ids and digests differ from where the images came from. Blocking. ERR_NOT_FOUND. */
int image_export(struct image_store *s, const struct str *refs, size_t n, int to, struct err **e) _must_check_;
/* Removes a name; the image with its last one (an id removes all names), and layers that no image needs any more. ERR_NOT_FOUND;
 * ERR_CONFLICT when pinned. Blocking. */
int image_remove(struct image_store *s, struct str ref, struct err **e) _must_check_;
/* Layers that no image refers to, and leftovers. Blocking. Returns bytes freed or -code. */
int64_t image_sweep(struct image_store *s, struct err **e);
/* The archives of an air-gap folder (*.tar *.tar.gz *.tgz *.tar.zst), pinned; files that were imported before (same name, size and time)
 * are skipped. Blocking. One that fails does not stop the others; out gets one line each: "name: imported ..." or "name: error". */
int image_import_folder(struct image_store *s, const char *folder, struct buf *out, struct err **e) _must_check_;

/* "nginx" → "docker.io/library/nginx:latest" (distribution/reference's rules). ERR_INVALID "couldn't parse image name". */
int image_ref_normalize(struct str ref, struct buf *out, struct err **e) _must_check_;
bool image_digest_valid(struct str digest); /* sha256:<64 lower-case hex> */
