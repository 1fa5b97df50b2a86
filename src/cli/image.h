/* sampan image: what its verbs share. Inside the room. */
#pragma once
#include "image/image.h"

struct image_options {
    char *data_dir, *user, *output, *creds, *registries, *name;
    bool quiet, all, digests, no_trunc, pinned;
};

/* image_pull.c: fetches one image into the store. A process of user's fetches it (it is what speaks to the network and reads what strangers
 * wrote); we only import. */
int image_cli_pull(struct image_store *s, const struct image_options *o, struct str ref, struct err **e) _must_check_;
/* image_used.c: by which pod of this node an image is used ("namespace/name"), as the node process has it on disk; NULL: by none. */
struct image_uses;
struct image_uses *image_uses_load(const char *data_dir);
const char *image_used_by(const struct image_uses *u, const struct image *i);
void image_uses_free(struct image_uses *u);
DEFINE_CLEANUP(struct image_uses *, image_uses_free)
